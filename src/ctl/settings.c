/* settings.c - SOURCE, options and configuration file made into what the layers below want.
 *
 * The rule: what is said twice must agree; nothing is overruled silently. */
#include "settings.h"
#include "fail.h"
#include "config.h"
#include "source.h"
#include "imapfs/base/limits.h"
#include "imapfs/base/log.h"
#include <string.h>

static bool load_section(Options *options, const Source *source, const char *text, const char *path,
                         GError **error)
{
    g_autofree char *file = path ? g_strdup(path) : config_path();
    bool found = false;
    if (!config_load(file, text, options, &found, error))
        return false;
    if (source->name && !found && !options_text(options, OPT_TUNNEL))
        return fail(error,
                    "%s has no section [%s]; SOURCE is USER@HOST, imaps://USER@HOST, or the name "
                    "of a section",
                    file, text);
    return true;
}

static bool choose_user(Settings *settings, const Options *options, const Source *source,
                        GError **error)
{
    const char *option = options_text(options, OPT_USER);
    bool asked = options_origin(options, OPT_USER) == OPTION_FROM_COMMAND;
    if (asked && source->user && g_strcmp0(option, source->user) != 0)
        return fail(error, "option user and SOURCE name different users");
    const char *user = source->user ? source->user : option;
    if (!user && !options_text(options, OPT_TUNNEL))
        return fail(error, "there is no user: say USER@HOST, or set the option user");
    settings->account.user = g_strdup(user ? user : "");
    return true;
}

static bool choose_port(NetTarget *target, const Options *options, const Source *source,
                        GError **error)
{
    guint16 port = (guint16)options_number(options, OPT_PORT);
    bool asked = options_origin(options, OPT_PORT) == OPTION_FROM_COMMAND;
    if (asked && source->port && source->port != port)
        return fail(error, "option port and SOURCE name different ports");
    target->port = source->port ? source->port : port;
    return true;
}

static bool choose_host(NetTarget *target, const Options *options, const Source *source,
                        GError **error)
{
    const char *host = options_text(options, OPT_HOST);
    if (source->host) {
        target->host = g_strdup(source->host);
        return true;
    }
    if (!host && !options_text(options, OPT_TUNNEL))
        return fail(error, "section [%s] has no host", source->name);
    target->host = host ? source_host(host, error) : g_strdup("");
    return target->host != NULL;
}

static bool choose_target(Settings *settings, const Options *options, const Source *source,
                          GError **error)
{
    NetTarget *target = &settings->account.target;
    const char *tunnel = options_text(options, OPT_TUNNEL);
    bool starttls = strcmp(options_text(options, OPT_SECURITY), "starttls") == 0;
    if (source->is_url)
        starttls = source->starttls;
    target->security = tunnel ? NET_TUNNEL : starttls ? NET_STARTTLS : NET_TLS;
    target->tunnel = g_strdup(tunnel);
    target->tls.cafile = g_strdup(options_text(options, OPT_CAFILE));
    target->tls.pin = g_strdup(options_text(options, OPT_PIN));
    target->tls.client_cert = g_strdup(options_text(options, OPT_CLIENTCERT));
    target->timeout_ms = (guint)options_number(options, OPT_TIMEOUT) * 1000;
    return choose_host(target, options, source, error) &&
           choose_port(target, options, source, error);
}

static AccountCompress choose_compression(const Options *options)
{
    const char *word = options_text(options, OPT_COMPRESS);
    return strcmp(word, "yes") == 0  ? COMPRESS_YES
           : strcmp(word, "no") == 0 ? COMPRESS_NO
                                     : COMPRESS_AUTO;
}

static char **upper_words(const Options *options, OptionId id)
{
    char **words = options_words(options, id);
    for (guint i = 0; words[i]; i++) {
        char *upper = g_ascii_strup(words[i], -1);
        g_free(words[i]);
        words[i] = upper;
    }
    return words;
}

static guint16 port_or_default(const NetTarget *target)
{
    return target->port ? target->port : target->security == NET_STARTTLS ? 143 : 993;
}

/* USER@HOST, and the port where it is an unusual one. A tunnel's command says nothing stable about
 * the mail behind it, so there SOURCE must do. */
static char *account_identity(const Account *account, const char *source)
{
    const NetTarget *target = &account->target;
    guint16 port = port_or_default(target);
    if (target->security == NET_TUNNEL)
        return g_strdup_printf("tunnel %s", source);
    if (port == (target->security == NET_STARTTLS ? 143 : 993))
        return g_strdup_printf("%s@%s", account->user, target->host);
    return g_strdup_printf("%s@%s:%u", account->user, target->host, port);
}

/* Absolute, whatever XDG_STATE_HOME says: the working directory will be another. */
static char *account_directory(const char *base, const char *name)
{
    g_autofree char *path = g_build_filename(base, name, NULL);
    return g_path_is_absolute(path) ? g_steal_pointer(&path) : g_canonicalize_filename(path, NULL);
}

static bool choose_directories(Settings *settings, const Options *options, GError **error)
{
    g_autofree char *directory = source_directory_name(settings->account.name);
    const char *state = options_text(options, OPT_STATE_DIR);
    const char *cache = options_text(options, OPT_CACHE_DIR);
    g_autofree char *state_default = g_build_filename(g_get_user_state_dir(), "imapfs", NULL);
    g_autofree char *cache_default = g_build_filename(g_get_user_cache_dir(), "imapfs", NULL);
    if (strlen(directory) > LIMIT_NAME)
        return fail(error, "the name of the account is too long");
    settings->state_dir = account_directory(state ? state : state_default, directory);
    settings->cache_dir = account_directory(cache ? cache : cache_default, directory);
    settings->cache_size = options_number(options, OPT_CACHE_SIZE);
    return true;
}

static bool choose_passwords(Settings *settings, const Options *options, GError **error)
{
    const Account *account = &settings->account;
    const PasswordConfig config = {
        .passcmd = options_text(options, OPT_PASSCMD),
        .tokencmd = options_text(options, OPT_TOKENCMD),
        .user = account->user,
        .host = account->target.host,
        .port = port_or_default(&account->target),
        .home = g_get_home_dir(),
        .may_prompt = true,
        .keyring = true,
    };
    if (config.passcmd && config.tokencmd)
        return fail(error, "passcmd is for a password and tokencmd for a token: only one of them");
    settings->passwords = password_source_new(&config);
    settings->account.password = password_source_get;
    settings->account.password_data = settings->passwords;
    settings->account.with_token = config.tokencmd != NULL;
    return true;
}

/* The categories behind a debug option or IMAPFS_DEBUG, as log_init() takes them. */
static bool choose_debug(Settings *settings, const Options *options, GError **error)
{
    static const char *const known[] = {"all", LOG_DEBUG_CATEGORIES, NULL};
    const char *given = options_text(options, OPT_DEBUG);
    settings->debug = g_strdup(given ? given : g_getenv("IMAPFS_DEBUG"));
    if (!settings->debug)
        return true;
    g_strdelimit(settings->debug, ":", ',');
    g_auto(GStrv) words = g_strsplit(settings->debug, ",", -1);
    for (guint i = 0; words[i]; i++) {
        if (*words[i] && !g_strv_contains(known, words[i])) {
            g_autofree char *all = g_strjoinv(", ", (char **)known);
            return fail(error, "debug: there is no category %s; there are %s", words[i], all);
        }
    }
    return true;
}

static bool check_mode(const Options *options, GError **error)
{
    const char *mode = options_text(options, OPT_MODE);
    if (strcmp(mode, "disconnected") != 0)
        return fail(error,
                    "mode=%s is not in this version, which has only mode=disconnected: what was "
                    "read is kept and stays readable without the network",
                    mode);
    return true;
}

/* What is opened without a word cannot be opened to be written. */
static bool choose_exact(Settings *settings, const Options *options, GError **error)
{
    settings->read_only = options_bool(options, OPT_RO);
    settings->exact = options_bool(options, OPT_EXACT);
    if (settings->exact && !settings->read_only &&
        options_origin(options, OPT_RO) != OPTION_FROM_NOBODY)
        return fail(error, "option exact is for a read-only mount: it does not go with ro=no");
    settings->read_only = settings->read_only || settings->exact;
    return true;
}

static bool fill(Settings *settings, Options *options, const char *text, const char *path,
                 GError **error)
{
    g_auto(Source) source = {0};
    if (!source_parse(text, &source, error) || !load_section(options, &source, text, path, error) ||
        !check_mode(options, error) || !choose_exact(settings, options, error) ||
        !choose_debug(settings, options, error) ||
        !choose_user(settings, options, &source, error) ||
        !choose_target(settings, options, &source, error))
        return false;
    Account *account = &settings->account;
    settings->identity = account_identity(account, text);
    account->name = g_strdup(source.name                              ? source.name
                             : account->target.security == NET_TUNNEL ? text
                                                                      : settings->identity);
    account->timeout_ms = account->target.timeout_ms;
    account->max_connections = (guint)options_number(options, OPT_MAX_CONNECTIONS);
    account->disable = upper_words(options, OPT_DISABLE);
    account->compress = choose_compression(options);
    settings->trace_path = g_strdup(options_text(options, OPT_TRACE));
    settings->poll_s = account->poll_s = (guint)options_number(options, OPT_POLL);
    settings->allow_other = options_bool(options, OPT_ALLOW_OTHER);
    settings->prefetch = options_number(options, OPT_PREFETCH);
    settings->offline = options_bool(options, OPT_OFFLINE);
    settings->delete_expunges = strcmp(options_text(options, OPT_DELETE), "expunge") == 0;
    settings->guard = (guint)options_number(options, OPT_GUARD);
    settings->append_no_id = strcmp(options_text(options, OPT_APPEND_ID), "never") == 0;
    settings->append_unseen = !options_bool(options, OPT_APPEND_SEEN);
    return choose_directories(settings, options, error) &&
           choose_passwords(settings, options, error);
}

Settings *settings_new(Options *options, const char *source, const char *mountpoint,
                       const char *path, GError **error)
{
    g_autoptr(Settings) settings = g_new0(Settings, 1);
    settings->account.trace_fd = -1;
    settings->source = g_strdup(source);
    settings->mountpoint = g_strdup(mountpoint);
    return fill(settings, options, source, path, error) ? g_steal_pointer(&settings) : NULL;
}

void settings_free(Settings *settings)
{
    if (!settings)
        return;
    NetTarget *target = &settings->account.target;
    password_source_free(settings->passwords);
    g_free(settings->account.name);
    g_free(settings->account.user);
    g_strfreev(settings->account.disable);
    g_free(target->host);
    g_free(target->tunnel);
    g_free(target->tls.cafile);
    g_free(target->tls.pin);
    g_free(target->tls.client_cert);
    g_free(settings->source);
    g_free(settings->mountpoint);
    g_free(settings->state_dir);
    g_free(settings->cache_dir);
    g_free(settings->identity);
    g_free(settings->trace_path);
    g_free(settings->debug);
    g_free(settings);
}
