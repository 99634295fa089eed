/* password.c - the password from where the account gets it, and what SASL makes of it.
 *
 * The one rule: a secret is only ever in a Secret, or in a buffer that is wiped in the function
 * that made it. */
#include "password.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

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

/* Calls of a password function under way or about to be, in the whole process. The lock also stands
 * between what a thread brings and the loop that takes it. POSIX's and not GLib's: it is what
 * ThreadSanitizer can see. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t settled = PTHREAD_COND_INITIALIZER;
static guint n_running;

static void begin_call(void)
{
    pthread_mutex_lock(&lock);
    n_running++;
    pthread_mutex_unlock(&lock);
}

static void end_call(void)
{
    pthread_mutex_lock(&lock);
    if (--n_running == 0)
        pthread_cond_broadcast(&settled);
    pthread_mutex_unlock(&lock);
}

bool account_passwords_settled(guint wait_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += wait_ms / 1000;
    until.tv_nsec += (long)(wait_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&lock);
    while (n_running > 0 && pthread_cond_clockwait(&settled, &lock, CLOCK_MONOTONIC, &until) == 0)
        ;
    bool none = n_running == 0;
    pthread_mutex_unlock(&lock);
    return none;
}

static void job_free(gpointer data)
{
    PasswordJob *job = data;
    pthread_mutex_lock(&lock);
    secret_unref(job->password); /* only when the loop was gone before it could take it */
    g_clear_error(&job->error);
    pthread_mutex_unlock(&lock);
    g_main_context_unref(job->context);
    g_free(job);
}

static gboolean on_loop(gpointer data)
{
    PasswordJob *job = data;
    pthread_mutex_lock(&lock);
    Secret *password = g_steal_pointer(&job->password);
    GError *error = g_steal_pointer(&job->error);
    pthread_mutex_unlock(&lock);
    if (job->ready) {
        job->ready(password, error, job->data);
    } else {
        secret_unref(password);
        g_clear_error(&error);
    }
    return G_SOURCE_REMOVE;
}

static gpointer on_thread(gpointer data)
{
    PasswordJob *job = data;
    GError *error = NULL;
    Secret *password = job->ask(job->ask_data, job->retry, &error);
    if (!password && !error)
        error = g_error_new(IMAPFS_ERROR, IMAPFS_ERROR_AUTH, "there is no password");
    pthread_mutex_lock(&lock);
    job->password = password;
    job->error = error;
    GMainContext *context = job->context; /* the job is the loop's once the source is attached */
    pthread_mutex_unlock(&lock);
    GSource *source = g_idle_source_new();
    g_source_set_priority(source, G_PRIORITY_DEFAULT);
    g_source_set_callback(source, on_loop, job, job_free);
    g_source_attach(source, context);
    g_source_unref(source);
    end_call();
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
    begin_call();
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

static Secret *bearer(const char *begin, const Secret *token)
{
    static const char before[] = "\x01"
                                 "auth=Bearer ",
                      end[] = "\x01\x01";
    gsize n_begin = strlen(begin), n_before = strlen(before), n_token = 0;
    const char *bytes = secret_bytes(token, &n_token);
    gsize n = n_begin + n_before + n_token + strlen(end);
    g_autofree guint8 *message = g_malloc(n);
    memcpy(message, begin, n_begin);
    memcpy(message + n_begin, before, n_before);
    memcpy(message + n_begin + n_before, bytes, n_token);
    memcpy(message + n - strlen(end), end, strlen(end));
    Secret *secret = base64_secret(message, n);
    secret_wipe(message, n);
    return secret;
}

/* A name as it stands in a GS2 header (RFC 5801 4). */
static char *gs2_name(const char *user)
{
    GString *out = g_string_new(user);
    g_string_replace(out, "=", "=3D", 0);
    g_string_replace(out, ",", "=2C", 0);
    return g_string_free(out, FALSE);
}

Secret *sasl_oauthbearer(const char *user, const Secret *token)
{
    g_autofree char *name = gs2_name(user);
    g_autofree char *begin = g_strdup_printf("n,a=%s,", name);
    return bearer(begin, token);
}

Secret *sasl_xoauth2(const char *user, const Secret *token)
{
    g_autofree char *begin = g_strdup_printf("user=%s", user);
    return bearer(begin, token);
}

Secret *sasl_external(const char *user)
{
    if (!user || !*user)
        return secret_new("=", 1); /* an empty initial response (RFC 4959 3) */
    return base64_secret((const guint8 *)user, strlen(user));
}
