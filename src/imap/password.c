/* password.c - the password from where the account gets it, and what SASL makes of it.
 *
 * The one rule: a secret is only ever in a Secret, or in a buffer that is wiped in the function
 * that made it. */
#include "password.h"

#include <gio/gio.h>
#include <string.h>

#include "imapfs/base/error.h"

struct PasswordJob {
    AccountPasswordFunc ask;
    gpointer ask_data;
    bool retry;
    PasswordReady ready; /* NULL: abandoned */
    gpointer data;
};

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

static void on_thread(GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
    PasswordJob *job = data;
    GError *error = NULL;
    Secret *password = job->ask(job->ask_data, job->retry, &error);
    if (password)
        g_task_return_pointer(task, password, (GDestroyNotify)secret_unref);
    else
        g_task_return_error(
            task,
            error ? error : g_error_new(IMAPFS_ERROR, IMAPFS_ERROR_AUTH, "there is no password"));
    count_running(-1);
}

static void on_loop(GObject *source, GAsyncResult *result, gpointer data)
{
    PasswordJob *job = data;
    GError *error = NULL;
    Secret *password = g_task_propagate_pointer(G_TASK(result), &error);
    if (job->ready) {
        job->ready(password, error, job->data);
    } else {
        secret_unref(password);
        g_clear_error(&error);
    }
    g_free(job);
}

PasswordJob *password_job_start(const Account *account, bool retry, PasswordReady ready,
                                gpointer data)
{
    PasswordJob *job = g_new0(PasswordJob, 1);
    *job = (PasswordJob){account->password, account->password_data, retry, ready, data};
    g_autoptr(GTask) task = g_task_new(NULL, NULL, on_loop, job);
    g_task_set_task_data(task, job, NULL);
    count_running(1);
    g_task_run_in_thread(task, on_thread);
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
