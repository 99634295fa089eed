/* password.c - the password from where the account gets it, and what SASL makes of it.
 *
 * The one rule: a secret is only ever in a Secret, or in a buffer that is wiped in the function
 * that made it. */
#include "password.h"

#include <string.h>

#include "imapfs/base/error.h"

struct PasswordJob {
    AccountPasswordFunc ask;
    gpointer ask_data;
    bool retry;
    GMainContext *context;
    PasswordReady ready; /* NULL: abandoned. The loop's alone */
    gpointer data;
    Secret *password; /* what the thread brought, one of them */
    GError *error;
};

static void job_free(gpointer data)
{
    PasswordJob *job = data;
    secret_unref(job->password);
    g_clear_error(&job->error);
    g_main_context_unref(job->context);
    g_free(job);
}

/* Calls of a password function under way or about to be, in the whole process. */
static struct {
    GMutex lock;
    GCond none;
    guint n;
} running;

static void count_running(int change)
{
    g_mutex_lock(&running.lock);
    running.n += (guint)change;
    if (running.n == 0)
        g_cond_broadcast(&running.none);
    g_mutex_unlock(&running.lock);
}

bool account_passwords_settled(guint wait_ms)
{
    gint64 until = g_get_monotonic_time() + (gint64)wait_ms * 1000;
    g_mutex_lock(&running.lock);
    while (running.n > 0 && g_cond_wait_until(&running.none, &running.lock, until))
        ;
    bool settled = running.n == 0;
    g_mutex_unlock(&running.lock);
    return settled;
}

static gboolean on_loop(gpointer data)
{
    PasswordJob *job = data;
    if (job->ready)
        job->ready(g_steal_pointer(&job->password), g_steal_pointer(&job->error), job->data);
    return G_SOURCE_REMOVE;
}

static gpointer on_thread(gpointer data)
{
    PasswordJob *job = data;
    job->password = job->ask(job->ask_data, job->retry, &job->error);
    if (!job->password && !job->error)
        job->error = g_error_new(IMAPFS_ERROR, IMAPFS_ERROR_AUTH, "there is no password");
    GSource *source = g_idle_source_new();
    g_source_set_priority(source, G_PRIORITY_DEFAULT);
    g_source_set_callback(source, on_loop, job, job_free);
    g_source_attach(source, job->context);
    g_source_unref(source);
    count_running(-1);
    return NULL;
}

/* A thread and not a task of GLib's pool: a prompt may keep it for minutes. */
PasswordJob *password_job_start(const Account *account, bool retry, PasswordReady ready,
                                gpointer data)
{
    PasswordJob *job = g_new0(PasswordJob, 1);
    job->ask = account->password;
    job->ask_data = account->password_data;
    job->retry = retry;
    job->context = g_main_context_ref_thread_default();
    job->ready = ready;
    job->data = data;
    count_running(1);
    g_thread_unref(g_thread_new("password", on_thread, job));
    return job;
}

void password_job_abandon(PasswordJob *job)
{
    job->ready = NULL;
}

static Secret *base64_secret(const guint8 *bytes, gsize length)
{
    g_autofree char *text = g_base64_encode(bytes, length);
    gsize n = strlen(text);
    Secret *secret = secret_new(text, n);
    secret_wipe(text, n);
    return secret;
}

Secret *sasl_plain(const char *user, const Secret *password)
{
    gsize n_password = 0, n_user = strlen(user);
    const char *bytes = secret_bytes(password, &n_password);
    gsize n = n_user + n_password + 2;
    g_autofree guint8 *message = g_malloc0(n); /* NUL user NUL password */
    memcpy(message + 1, user, n_user);
    memcpy(message + 2 + n_user, bytes, n_password);
    Secret *secret = base64_secret(message, n);
    secret_wipe(message, n);
    return secret;
}

Secret *sasl_external(const char *user)
{
    if (!user || !*user)
        return secret_new("=", 1); /* an empty initial response (RFC 4959 3) */
    return base64_secret((const guint8 *)user, strlen(user));
}
