/* keyring.c - passwords of the Secret Service, through libsecret.
 *
 * The rule: a machine without the service, or a service that does not answer, is as one without the
 * password; it must not keep the other sources from being asked. */
#include "keyring.h"

#ifdef HAVE_LIBSECRET
#include "imapfs/base/limits.h"
#include "imapfs/base/log.h"
#include <libsecret/secret.h>

static const SecretSchema schema = {
    "org.imapfs.Password",
    SECRET_SCHEMA_DONT_MATCH_NAME,
    {{"service", SECRET_SCHEMA_ATTRIBUTE_STRING},
     {"server", SECRET_SCHEMA_ATTRIBUTE_STRING},
     {"user", SECRET_SCHEMA_ATTRIBUTE_STRING},
     {NULL, 0}},
};

typedef struct {
    GMainLoop *loop;
    GCancellable *cancellable;
    Secret *secret;
} Lookup;

static void on_found(GObject *source, GAsyncResult *result, gpointer data)
{
    Lookup *lookup = data;
    g_autoptr(GError) error = NULL;
    gchar *password = secret_password_lookup_nonpageable_finish(result, &error);
    if (password && *password)
        lookup->secret = secret_new(password, strlen(password));
    if (error)
        log_info("auth", "the Secret Service did not help: %s", error->message);
    secret_password_free(password);
    g_main_loop_quit(lookup->loop);
}

static gboolean on_timeout(gpointer data)
{
    Lookup *lookup = data;
    g_cancellable_cancel(lookup->cancellable);
    return G_SOURCE_REMOVE;
}

static Secret *look_up(const char *host, const char *user)
{
    /* A context of our own: this is any thread, and the answer must come to it. */
    g_autoptr(GMainContext) context = g_main_context_new();
    g_main_context_push_thread_default(context);
    g_autoptr(GMainLoop) loop = g_main_loop_new(context, FALSE);
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    Lookup lookup = {loop, cancellable, NULL};
    g_autoptr(GSource) timer = g_timeout_source_new(LIMIT_PASSCMD_MS);
    g_source_set_callback(timer, on_timeout, &lookup, NULL);
    g_source_attach(timer, context);
    secret_password_lookup(&schema, cancellable, on_found, &lookup, "service", "imap", "server",
                           host, "user", user, NULL);
    g_main_loop_run(loop);
    g_source_destroy(timer);
    g_main_context_pop_thread_default(context);
    return lookup.secret;
}

/* Without a session bus GLib would try to start one. */
static gboolean has_session_bus(void)
{
    if (g_getenv("DBUS_SESSION_BUS_ADDRESS"))
        return TRUE;
    g_autofree char *socket = g_build_filename(g_get_user_runtime_dir(), "bus", NULL);
    return g_file_test(socket, G_FILE_TEST_EXISTS);
}

Secret *keyring_find(const char *host, const char *user)
{
    return has_session_bus() ? look_up(host, user) : NULL;
}

#else

Secret *keyring_find(const char *host, const char *user)
{
    (void)host;
    (void)user;
    return NULL;
}
#endif
