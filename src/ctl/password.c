/* password.c - the account's password, from wherever it is kept, or its token.
 *
 * The rule: one asker at a time (several sessions log in at once, a person is asked once), and a
 * password that was refused is not offered again without a new reason. */
#include "password.h"
#include "keyring.h"
#include "netrc.h"
#include "passcmd.h"
#include "prompt.h"
#include "imapfs/base/error.h"
#include "imapfs/base/limits.h"
#include "imapfs/base/log.h"
#include <string.h>

#define WORDS_NONE                                                                                \
    "there is no password: use passcmd=COMMAND, ~/.netrc or ~/.authinfo, the Secret Service, or " \
    "mount from a terminal"
#define WORDS_TYPED_REFUSED \
    "the server refused the password that was typed; unmount and mount again"

struct PasswordSource {
    char *command, *user, *host, *files[2];
    const char *option; /* which the command is of */
    guint16 port;
    bool keyring;
    GMutex lock;        /* held while one is looked for; guards the next two */
    Secret *typed;      /* at the terminal, or NULL */
    bool refused;       /* the last one, whichever it was */
    guint given;        /* atomic */
    gint may_prompt;    /* atomic */
    gint asking;        /* atomic */
    const char *origin; /* atomic */
};

PasswordSource *password_source_new(const PasswordConfig *config)
{
    PasswordSource *source = g_new0(PasswordSource, 1);
    source->command = g_strdup(config->tokencmd ? config->tokencmd : config->passcmd);
    source->option = config->tokencmd ? "tokencmd" : "passcmd";
    source->user = g_strdup(config->user ? config->user : "");
    source->host = g_strdup(config->host ? config->host : "");
    source->files[0] = g_build_filename(config->home, ".authinfo", NULL);
    source->files[1] = g_build_filename(config->home, ".netrc", NULL);
    source->port = config->port;
    source->keyring = config->keyring;
    source->may_prompt = config->may_prompt;
    g_mutex_init(&source->lock);
    return source;
}

void password_source_free(PasswordSource *source)
{
    if (!source)
        return;
    g_free(source->command);
    g_free(source->user);
    g_free(source->host);
    for (guint i = 0; i < G_N_ELEMENTS(source->files); i++)
        g_free(source->files[i]);
    secret_unref(source->typed);
    g_mutex_clear(&source->lock);
    g_free(source);
}

static void set_origin(PasswordSource *source, const char *origin)
{
    g_atomic_pointer_set(&source->origin, origin);
}

/* NULL without an error: not there. */
static Secret *from_files(PasswordSource *source, GError **error)
{
    const NetrcQuery query = {source->host, source->user, source->port};
    for (guint i = 0; i < G_N_ELEMENTS(source->files); i++) {
        g_autoptr(GError) failed = NULL;
        Secret *secret = netrc_find_in_file(source->files[i], &query, &failed);
        if (failed) {
            g_propagate_error(error, g_steal_pointer(&failed));
            return NULL;
        }
        if (secret) {
            set_origin(source, source->files[i]);
            return secret;
        }
    }
    return NULL;
}

static Secret *from_keyring(PasswordSource *source)
{
    Secret *secret = source->keyring ? keyring_find(source->host, source->user) : NULL;
    if (secret)
        set_origin(source, "the Secret Service");
    return secret;
}

static Secret *from_terminal(PasswordSource *source, bool retry, GError **error)
{
    g_autofree char *user = log_printable(source->user, strlen(source->user), 200);
    g_autofree char *text = g_strdup_printf(
        "%sPassword for %s%s%s: ", retry ? "The server refused that password.\n" : "", user,
        *source->host ? " at " : "", source->host);
    set_origin(source, "the terminal");
    source->typed = prompt_password(text, error);
    return source->typed ? secret_ref(source->typed) : NULL;
}

static Secret *from_storage(PasswordSource *source, GError **error)
{
    g_autoptr(GError) failed = NULL;
    Secret *secret = from_files(source, &failed);
    if (failed)
        g_propagate_error(error, g_steal_pointer(&failed));
    else if (!secret)
        secret = from_keyring(source);
    return secret;
}

/* Without a command. */
static Secret *look(PasswordSource *source, bool retry, GError **error)
{
    bool person = g_atomic_int_get(&source->may_prompt) && prompt_possible();
    bool refused = source->refused || retry;
    if (source->typed && !refused)
        return secret_ref(source->typed);
    bool typed_before = source->typed != NULL;
    g_clear_pointer(&source->typed, secret_unref);
    source->refused = false;

    /* When what is stored was refused, a person knows better. */
    if (!typed_before && !(refused && person)) {
        g_autoptr(GError) failed = NULL;
        Secret *secret = from_storage(source, &failed);
        if (secret)
            return secret;
        if (failed) {
            g_propagate_error(error, g_steal_pointer(&failed));
            return NULL;
        }
    }
    if (person)
        return from_terminal(source, refused, error);
    g_set_error_literal(error, IMAPFS_ERROR, IMAPFS_ERROR_AUTH,
                        typed_before ? WORDS_TYPED_REFUSED : WORDS_NONE);
    return NULL;
}

Secret *password_source_get(gpointer data, bool retry, GError **error)
{
    PasswordSource *source = data;
    Secret *secret = NULL;
    g_atomic_int_inc(&source->asking);
    g_mutex_lock(&source->lock);
    if (source->command) {
        set_origin(source, source->option);
        secret = passcmd_run(source->option, source->command, LIMIT_PASSCMD_MS,
                             g_atomic_int_get(&source->may_prompt), error);
    } else {
        secret = look(source, retry, error);
    }
    if (secret)
        g_atomic_int_inc(&source->given);
    else
        set_origin(source, NULL);
    g_mutex_unlock(&source->lock);
    g_atomic_int_add(&source->asking, -1);
    return secret;
}

bool password_source_refused(PasswordSource *source)
{
    if (source->command || !g_atomic_int_get(&source->may_prompt) || !prompt_possible())
        return false;
    g_mutex_lock(&source->lock);
    source->refused = true;
    g_mutex_unlock(&source->lock);
    return true;
}

guint password_source_given(PasswordSource *source)
{
    return (guint)g_atomic_int_get(&source->given);
}

void password_source_detach(PasswordSource *source)
{
    g_atomic_int_set(&source->may_prompt, 0);
}

bool password_source_is_asking(PasswordSource *source)
{
    return g_atomic_int_get(&source->asking) > 0;
}

const char *password_source_origin(PasswordSource *source)
{
    return g_atomic_pointer_get(&source->origin);
}
