/* driver.c - the program without its file system, for tests that kill it.
 *
 *   crash_driver --state DIR --cache DIR --tunnel COMMAND [OPTION...] SCRIPT
 *
 * Opens the store, starts an engine, and runs a script of local steps (steps.c), a line each, as
 * the front does. A step that was run is told at once, on a line of its own:
 *
 *   at LAST           where it begins: this step and those before it are in the store
 *   ok STEP           or
 *   error STEP KIND WORDS...
 *
 * In the end the store is shown (show.c). Run again on the same store it goes on after the last
 * step that is committed there. IMAPFS_FAULT as in the program itself.
 *
 * SCRIPT "-": steps come on standard input, each with its number and a tab before it.
 *
 *   crash_driver --serve     runs as many of these as it is asked for (serve.c)
 */
#include "driver.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "imapfs/base/error.h"
#include "imapfs/base/fault.h"
#include "imapfs/base/log.h"
#include "imapfs/base/secret.h"

typedef struct {
    char *state, *cache, *letters, *tunnel, *trace, *disable, *password, *user, *cafile;
    int tls_port, connections, timeout_ms, wait_ms;
    gboolean kick, debug, again, quick;
} Options;

static bool parse_options(Options *options, int *argc, char ***argv, GError **error)
{
    const GOptionEntry entries[] = {
        {"state", 0, 0, G_OPTION_ARG_FILENAME, &options->state, "index.db", "DIR"},
        {"cache", 0, 0, G_OPTION_ARG_FILENAME, &options->cache, "contents", "DIR"},
        {"letters", 0, 0, G_OPTION_ARG_FILENAME, &options->letters, "to append", "DIR"},
        {"tunnel", 0, 0, G_OPTION_ARG_STRING, &options->tunnel, "speaks IMAP", "COMMAND"},
        {"tls", 0, 0, G_OPTION_ARG_INT, &options->tls_port, "of localhost, instead", "PORT"},
        {"cafile", 0, 0, G_OPTION_ARG_FILENAME, &options->cafile, "for TLS", "FILE"},
        {"user", 0, 0, G_OPTION_ARG_STRING, &options->user, "who logs in", "NAME"},
        {"password", 0, 0, G_OPTION_ARG_STRING, &options->password, "a test's", "WORD"},
        {"trace", 0, 0, G_OPTION_ARG_FILENAME, &options->trace, "appended to", "FILE"},
        {"disable", 0, 0, G_OPTION_ARG_STRING, &options->disable, "not to use", "CAP,..."},
        {"connections", 0, 0, G_OPTION_ARG_INT, &options->connections, "at most", "N"},
        {"timeout", 0, 0, G_OPTION_ARG_INT, &options->timeout_ms, "of an answer", "MS"},
        {"wait", 0, 0, G_OPTION_ARG_INT, &options->wait_ms, "of a step", "MS"},
        {"kick", 0, 0, G_OPTION_ARG_NONE, &options->kick, "connect again at once", NULL},
        {"again", 0, 0, G_OPTION_ARG_NONE, &options->again, "take a step that failed again", NULL},
        {"quick", 0, 0, G_OPTION_ARG_NONE, &options->quick, "end without closing", NULL},
        {"debug", 0, 0, G_OPTION_ARG_NONE, &options->debug, "tell all", NULL},
        {NULL}};
    g_autoptr(GOptionContext) context = g_option_context_new("SCRIPT");
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, argc, argv, error))
        return false;
    if (options->state && options->cache && (options->tunnel || options->tls_port) && *argc == 2)
        return true;
    g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_CONFIG,
                "--state, --cache, --tunnel or --tls, and SCRIPT");
    return false;
}

static Secret *give_password(gpointer data, bool retry, GError **error)
{
    const char *password = data;
    return secret_new(password, strlen(password));
}

static void make_account(Account *account, const Options *options)
{
    *account = (Account){.name = (char *)"test",
                         .user = options->user,
                         .target = {.security = options->tls_port ? NET_TLS : NET_TUNNEL,
                                    .host = (char *)"localhost",
                                    .port = (guint16)options->tls_port,
                                    .tunnel = options->tunnel,
                                    .tls = {.cafile = options->cafile},
                                    .timeout_ms = (guint)options->timeout_ms},
                         .password = options->password ? give_password : NULL,
                         .password_data = options->password,
                         .timeout_ms = (guint)options->timeout_ms,
                         .max_connections = (guint)options->connections,
                         .trace_fd = -1};
    account->disable = g_strsplit(options->disable ? options->disable : "", ",", -1);
    if (options->trace)
        account->trace_fd = open(options->trace, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static void tell(guint step, const GError *error)
{
    if (!error)
        printf("ok\t%u\n", step);
    else
        printf("error\t%u\t%s\t%s\n", step,
               error->domain == IMAPFS_ERROR ? imapfs_error_name((ImapfsError)error->code) : "?",
               error->message);
    fflush(stdout);
}

/* The disk's fault, not the step's. */
static bool is_store_error(const GError *error)
{
    return g_error_matches(error, IMAPFS_ERROR, IMAPFS_ERROR_STORE) ||
           g_error_matches(error, IMAPFS_ERROR, IMAPFS_ERROR_FULL);
}

/* As a person does: what failed is tried once more, unless it is there after all. */
static bool run_step(Driver *driver, guint step, const char *line, bool again)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GError) second = NULL;
    driver_step(driver, step, line, &error);
    tell(step, error);
    if (!is_store_error(error))
        return true;
    if (!again || driver_last_step(driver->store) == step)
        return again;
    driver_step(driver, step, line, &second);
    tell(step, second);
    return !is_store_error(second);
}

/* Whether the steps that are behind left it so. */
static bool begins_offline(const Driver *driver, const char *script)
{
    g_auto(GStrv) lines = g_strsplit(script, "\n", -1);
    bool offline = false;
    for (guint step = 1; step <= driver->last && lines[step - 1]; step++) {
        if (driver_step_is_mode(lines[step - 1]))
            offline = g_str_has_prefix(lines[step - 1], "offline");
    }
    return offline;
}

static bool run_script(Driver *driver, char **lines, bool again)
{
    for (guint step = driver->last + 1; lines[step - 1]; step++) {
        if (!run_step(driver, step, lines[step - 1], again))
            return false;
    }
    return true;
}

/* Until the end of the input. */
static void run_input(Driver *driver)
{
    char *line = NULL;
    size_t size = 0;
    while (getline(&line, &size, stdin) > 0) {
        char *text = NULL;
        guint step = (guint)strtoul(line, &text, 10);
        run_step(driver, step, g_strchomp(text) + 1, false);
    }
    free(line);
}

static bool run_all(Driver *driver, const Options *options, const char *script)
{
    if (strcmp(script, "-") == 0) {
        run_input(driver);
        return true;
    }
    g_autofree char *text = g_strchomp(g_strdup(script));
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    bool finished = run_script(driver, lines, options->again);
    driver_show(driver->store);
    fflush(stdout);
    return finished;
}

static bool drive(const Options *options, const char *script, GError **error)
{
    Account account;
    make_account(&account, options);
    StoreConfig store_config = {.state_dir = options->state,
                                .cache_dir = options->cache,
                                .cache_size = 1 << 24,
                                .account = "test"};
    g_autoptr(Store) store = store_open(&store_config, error);
    if (!store)
        return false;
    Driver driver = {.store = store,
                     .letters = options->letters ? options->letters : ".",
                     .wait_ms = (guint)options->wait_ms,
                     .kick = options->kick,
                     .last = driver_last_step(store)};
    driver.offline = begins_offline(&driver, script);
    printf("at\t%u%s\n", driver.last, driver_last_was_refused(store) ? "\trefused" : "");
    fflush(stdout);
    EngineConfig config = {.account = &account,
                           .store = store,
                           .timeout_ms = (guint)options->timeout_ms,
                           .fresh_ms = 10000,
                           .offline = driver.offline,
                           .poll_s = 60};
    driver.engine = engine_new(&config, error);
    if (!driver.engine)
        return false;
    bool finished = run_all(&driver, options, script);
    if (options->quick)
        _exit(finished ? 0 : 3);
    engine_free(driver.engine);
    if (!finished)
        g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_STORE, "the script was not finished");
    if (account.trace_fd >= 0)
        close(account.trace_fd);
    g_strfreev(account.disable);
    return finished;
}

int driver_main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    Options options = {.connections = 1, .timeout_ms = 5000, .wait_ms = 10000};
    fault_init();
    if (parse_options(&options, &argc, &argv, &error)) {
        log_init(options.debug ? "all" : NULL);
        drive(&options, argv[1], &error);
    }
    g_free(options.state);
    g_free(options.cache);
    g_free(options.letters);
    g_free(options.tunnel);
    g_free(options.trace);
    g_free(options.disable);
    g_free(options.cafile);
    g_free(options.user);
    g_free(options.password);
    if (error)
        fprintf(stderr, "crash_driver: %s\n", error->message);
    return error ? 1 : 0;
}

int main(int argc, char **argv)
{
    return argc == 2 && strcmp(argv[1], "--serve") == 0 ? driver_serve(argv[0])
                                                        : driver_main(argc, argv);
}
