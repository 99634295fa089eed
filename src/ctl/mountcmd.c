/* mountcmd.c - one mount from its settings to its end.
 *
 * The rule: nothing is mounted before there is something to serve, so whoever looks into the mount
 * point while we connect, or after we failed, sees an ordinary empty directory. The order:
 *   store, engine (connects), front (mounts), tree; serve; engine, tree, store, front.
 * The engine exists before the front, hence the relay for its events. */
#include "mountcmd.h"
#include "background.h"
#include "fail.h"
#include "mounts.h"
#include "watch.h"
#include "imapfs/base/clock.h"
#include "imapfs/base/error.h"
#include "imapfs/base/limits.h"
#include "imapfs/base/log.h"
#include "imapfs/fuse/front.h"
#include "imapfs/store/log.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define FRESH_MS 3000
/* Where mail is kept here: long enough to hear of a wrong password. */
#define FIRST_ANSWER_MS 2000
#define ASKING_POLL_US 100000
#define CLOSING_US (5 * G_USEC_PER_SEC)
#define CLOSING_POLL_US 20000
#define LOGIN_TRIES 3 /* of a person at a terminal */

/* --- words --- */

static const struct {
    ImapfsError error;
    ExitCode code;
} exit_codes[] = {
    {IMAPFS_ERROR_CONFIG, EXIT_USAGE},
    {IMAPFS_ERROR_BUSY, EXIT_USAGE}, /* the directories of the account are another's */
    {IMAPFS_ERROR_AUTH, EXIT_LOGIN},
    {IMAPFS_ERROR_TLS, EXIT_INSECURE},
};

ExitCode mount_complain(const GError *error)
{
    g_autofree char *text = log_printable(error->message, strlen(error->message), 1500);
    fprintf(stderr, "imapfs: %s\n", text);
    for (guint i = 0; i < G_N_ELEMENTS(exit_codes); i++)
        if (g_error_matches(error, IMAPFS_ERROR, (gint)exit_codes[i].error))
            return exit_codes[i].code;
    return EXIT_FAILED;
}

/* What a tunnel said last on its standard error is usually why it ended. */
static void show_tunnel_words(void)
{
    g_autofree char *ring = log_ring_dup(NULL);
    g_auto(GStrv) lines = g_strsplit(ring, "\n", -1);
    guint n = g_strv_length(lines);
    for (guint i = n > 8 ? n - 8 : 0; i < n; i++) {
        const char *words = strstr(lines[i], "tunnel: ");
        if (words)
            fprintf(stderr, "%s\n", words);
    }
}

/* --- the parts --- */

typedef struct {
    Settings *settings;
    const MountFlags *flags;
    Background background;
    Store *store;
    Engine *engine;
    Front *front; /* atomic: the loop looks for it */
    Tree *tree;
} Mounted;

/* EngineEvents before there is a Front concern nobody: the kernel keeps nothing of ours yet. */
#define RELAY(event, parameters, arguments)                             \
    static void relay_##event parameters                                \
    {                                                                   \
        Front *front = g_atomic_pointer_get(&((Mounted *)data)->front); \
        if (front)                                                      \
            front_events.event arguments;                               \
    }
RELAY(box_added, (guint32 parent, guint32 box, const char *leaf, gpointer data),
      (parent, box, leaf, front))
RELAY(box_removed, (guint32 parent, guint32 box, const char *leaf, gpointer data),
      (parent, box, leaf, front))
RELAY(box_moved, (guint32 box, gpointer data), (box, front))
RELAY(msg_added, (guint32 box, guint32 uid, const char *name, gpointer data),
      (box, uid, name, front))
RELAY(msg_removed, (guint32 box, guint32 uid, const char *name, gpointer data),
      (box, uid, name, front))
RELAY(msg_numbered,
      (guint32 n, guint32 shown_box, guint32 box, guint32 uid, const char *name, gpointer data),
      (n, shown_box, box, uid, name, front))
RELAY(flags_changed, (guint32 box, guint32 uid, gpointer data), (box, uid, front))
RELAY(box_changed, (guint32 box, gpointer data), (box, front))
RELAY(box_emptied, (guint32 box, gpointer data), (box, front))

/* Once its mount is gone an imapfs still needs a moment to close its store, and whoever unmounts
 * and mounts again need not know. */
static Store *open_when_free(const StoreConfig *config, GError **error)
{
    gint64 until_us = clock_mono_us() + CLOSING_US;
    for (;;) {
        g_autoptr(GError) failed = NULL;
        Store *store = store_open(config, &failed);
        if (store)
            return store;
        if (!g_error_matches(failed, IMAPFS_ERROR, IMAPFS_ERROR_BUSY) ||
            clock_mono_us() >= until_us) {
            g_propagate_error(error, g_steal_pointer(&failed));
            return NULL;
        }
        g_usleep(CLOSING_POLL_US);
    }
}

static bool open_store(Mounted *mounted, GError **error)
{
    const Settings *settings = mounted->settings;
    const StoreConfig config = {settings->state_dir, settings->cache_dir, settings->cache_size,
                                settings->identity};
    g_autofree char *above_state = g_path_get_dirname(settings->state_dir);
    g_autofree char *above_cache = g_path_get_dirname(settings->cache_dir);
    if (g_mkdir_with_parents(above_state, 0700) != 0)
        return fail(error, "%s: %s", above_state, g_strerror(errno));
    if (g_mkdir_with_parents(above_cache, 0700) != 0)
        return fail(error, "%s: %s", above_cache, g_strerror(errno));
    mounted->store = open_when_free(&config, error);
    return mounted->store != NULL;
}

static bool open_trace(Settings *settings, GError **error)
{
    struct stat st;
    if (!settings->trace_path)
        return true;
    settings->account.trace_fd =
        open(settings->trace_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (settings->account.trace_fd < 0 || fstat(settings->account.trace_fd, &st) != 0)
        return fail(error, "%s: %s", settings->trace_path, g_strerror(errno));
    if (S_ISREG(st.st_mode) && st.st_mode & 077)
        return fail(error, "%s: others can read it, and a trace has mail in it: chmod 600 %s",
                    settings->trace_path, settings->trace_path);
    return true;
}

static bool start_engine(Mounted *mounted, GError **error)
{
    const Settings *settings = mounted->settings;
    const EngineConfig config = {
        .account = &settings->account,
        .store = mounted->store,
        .timeout_ms = settings->account.timeout_ms,
        .fresh_ms = MIN(FRESH_MS, settings->account.timeout_ms),
        .poll_s = settings->poll_s,
        .prefetch = settings->prefetch,
        .offline = settings->offline,
        .read_only = settings->read_only,
        .exact = settings->exact,
        .events = {.box_added = relay_box_added,
                   .box_removed = relay_box_removed,
                   .box_moved = relay_box_moved,
                   .msg_added = relay_msg_added,
                   .msg_removed = relay_msg_removed,
                   .msg_numbered = relay_msg_numbered,
                   .flags_changed = relay_flags_changed,
                   .box_changed = relay_box_changed,
                   .box_emptied = relay_box_emptied},
        .events_data = mounted,
    };
    mounted->engine = engine_new(&config, error);
    return mounted->engine != NULL;
}

static bool found_one(const StoreBox *box, gpointer data)
{
    *(bool *)data = true;
    return false;
}

/* The mailboxes were listed once, so there is something to show without the network. */
static bool is_cache_usable(Store *store)
{
    bool found = false;
    store_box_children(store_reader(store), 0, 0, found_one, &found);
    return found;
}

static bool is_weather(const GError *error)
{
    return g_error_matches(error, IMAPFS_ERROR, IMAPFS_ERROR_OFFLINE) ||
           g_error_matches(error, IMAPFS_ERROR, IMAPFS_ERROR_TIMEOUT) ||
           g_error_matches(error, IMAPFS_ERROR, IMAPFS_ERROR_LOST);
}

/* How long to wait for the first connection, where a person may have to be asked for the password,
 * who is slower than any timeout. */
typedef struct {
    gint64 until_us; /* failures count for nothing before */
    guint expected;  /* so many passwords must have been given out for a refusal to be a new one */
    guint refusals;
    bool was_asking;
} Patience;

static void be_patient(Patience *patience, const Settings *settings)
{
    patience->until_us = clock_mono_us() + (gint64)settings->account.timeout_ms * 1000;
}

/* Whether this failure is not the last word. */
static bool go_on_waiting(Mounted *mounted, Patience *patience, const GError *failed)
{
    PasswordSource *passwords = mounted->settings->passwords;
    guint given = password_source_given(passwords);
    bool asking = password_source_is_asking(passwords), answered = patience->was_asking && !asking;
    patience->was_asking = asking;
    if (asking) {
        be_patient(patience, mounted->settings);
        return true;
    }
    if (g_error_matches(failed, IMAPFS_ERROR, IMAPFS_ERROR_AUTH)) {
        if (given < patience->expected)
            return clock_mono_us() < patience->until_us;
        if (given == 0 || ++patience->refusals >= LOGIN_TRIES ||
            !password_source_refused(passwords))
            return false;
        patience->expected = given + 1;
        be_patient(patience, mounted->settings);
        engine_kick(mounted->engine);
        return true;
    }
    /* The server lost its patience meanwhile: once more, with what was typed. */
    if (answered)
        engine_kick(mounted->engine);
    return is_weather(failed) && clock_mono_us() < patience->until_us;
}

static bool wait_online(Mounted *mounted, guint timeout_ms, GError **error)
{
    Patience patience = {0};
    for (;;) {
        g_autoptr(GError) failed = NULL;
        if (engine_wait_online(mounted->engine, timeout_ms, &failed))
            return true;
        if (!go_on_waiting(mounted, &patience, failed)) {
            g_propagate_error(error, g_steal_pointer(&failed));
            return false;
        }
        g_usleep(ASKING_POLL_US);
    }
}

/* A refused login, or a connection that is not secure, is the user's to hear at once. Without
 * network, or when it takes long, what is kept here is worth mounting; the engine goes on. */
static bool connect_or_use_cache(Mounted *mounted, GError **error)
{
    g_autoptr(GError) failed = NULL;
    bool usable = is_cache_usable(mounted->store);
    guint timeout_ms = mounted->settings->account.timeout_ms;
    if (mounted->settings->offline)
        return usable || fail(error,
                              "%s: nothing of this account is kept here yet: mount it once without "
                              "the option offline",
                              mounted->settings->account.name);
    if (wait_online(mounted, usable ? MIN(timeout_ms, FIRST_ANSWER_MS) : timeout_ms, &failed))
        return true;
    if (is_weather(failed) && usable) {
        g_autofree char *text = log_printable(failed->message, strlen(failed->message), 1500);
        fprintf(stderr, "imapfs: %s; mounting what is kept here\n", text);
        return true;
    }
    if (mounted->settings->account.target.security == NET_TUNNEL)
        show_tunnel_words();
    const char *origin = password_source_origin(mounted->settings->passwords);
    if (origin && g_error_matches(failed, IMAPFS_ERROR, IMAPFS_ERROR_AUTH))
        g_prefix_error(&failed, "with the %s of %s: ",
                       mounted->settings->account.with_token ? "token" : "password", origin);
    g_prefix_error(&failed, "%s: ", mounted->settings->account.name);
    g_propagate_error(error, g_steal_pointer(&failed));
    return false;
}

static bool mount_front(Mounted *mounted, GError **error)
{
    const Settings *settings = mounted->settings;
    const FrontConfig config = {
        .mountpoint = settings->mountpoint,
        .fsname = settings->source,
        .allow_other = settings->allow_other,
        .debug = mounted->flags->debug_fuse,
        .exact = settings->exact,
        .read_only = settings->read_only,
    };
    Front *front = front_new(&config, error);
    g_atomic_pointer_set(&mounted->front, front);
    return front != NULL;
}

static void make_tree(Mounted *mounted)
{
    const TreeConfig config = {
        .store = mounted->store,
        .engine = mounted->engine,
        .uid = getuid(),
        .gid = getgid(),
        .account = mounted->settings->account.name,
        .mounted_ns = clock_real_ns(),
        .exact = mounted->settings->exact,
        .read_only = mounted->settings->read_only,
        .delete_expunges = mounted->settings->delete_expunges,
        .guard = mounted->settings->guard,
        .append_no_id = mounted->settings->append_no_id,
        .append_unseen = mounted->settings->append_unseen,
    };
    mounted->tree = tree_new(&config);
}

/* --- the whole --- */

static bool prepare(Mounted *mounted, GError **error)
{
    return open_store(mounted, error) && open_trace(mounted->settings, error) &&
           start_engine(mounted, error) && connect_or_use_cache(mounted, error) &&
           mount_front(mounted, error);
}

/* Nothing is lost, but who expects it to be sent should know. */
static void tell_pending(Mounted *mounted)
{
    LogCounts counts = {0};
    log_count(store_reader(mounted->store), 0, 0, &counts);
    if (counts.pending)
        log_info("imapfs", "%" G_GUINT64_FORMAT " %s queued and will be sent at the next mount%s",
                 counts.pending, counts.pending == 1 ? "change is" : "changes are",
                 mounted->settings->read_only ? " that is not read-only" : "");
}

static ExitCode serve(Mounted *mounted)
{
    bool foreground = mounted->flags->foreground;
    make_tree(mounted);
    log_set_target(foreground ? LOG_TO_STDERR : LOG_TO_SYSLOG);
    if (!foreground) {
        password_source_detach(mounted->settings->passwords);
        background_ready(&mounted->background);
    }
    Watch *watch =
        watch_start(mounted->engine, foreground && isatty(STDERR_FILENO) ? STDERR_FILENO : -1);
    int code = front_run(mounted->front, mounted->tree, mounted->engine);
    watch_stop(watch);
    tell_pending(mounted);
    return code == 0 ? EXIT_FINE : EXIT_FAILED;
}

static void take_down(Mounted *mounted)
{
    engine_free(mounted->engine);
    tree_free(mounted->tree);
    store_close(mounted->store);
    front_free(mounted->front);
    if (mounted->settings->account.trace_fd >= 0)
        close(mounted->settings->account.trace_fd);
    mounted->settings->account.trace_fd = -1;
}

/* What is kept must not be made in the directory that is to be empty, and would be hidden. */
static bool check_outside(const char *path, const char *mountpoint, GError **error)
{
    gsize length = strlen(mountpoint);
    if (strncmp(path, mountpoint, length) != 0 || (path[length] && path[length] != '/'))
        return true;
    return fail(error, "%s: is in the mount point: choose another directory for it", path);
}

/* Before a password is asked for and the server is reached. Our own mounts are found without
 * touching them, as they may be dead. */
static bool check_mountpoint(Settings *settings, GError **error)
{
    /* We leave the working directory, and others may see another path to this. */
    char *real = realpath(settings->mountpoint, NULL);
    if (!real)
        return fail(error, "%s: %s", settings->mountpoint, g_strerror(errno));
    g_free(settings->mountpoint);
    settings->mountpoint = g_strdup(real);
    free(real);
    g_autoptr(GPtrArray) mounts = mounts_load();
    const Mount *mount = mounts_find(mounts, settings->mountpoint);
    if (mount && strcmp(mount->mountpoint, settings->mountpoint) == 0)
        return fail(error,
                    "%s: an imapfs is mounted here already, or died here; unmount it with "
                    "fusermount3 -u %s",
                    settings->mountpoint, settings->mountpoint);
    return front_check(settings->mountpoint, error) &&
           check_outside(settings->state_dir, settings->mountpoint, error) &&
           check_outside(settings->cache_dir, settings->mountpoint, error);
}

/* Before a command is run for the first time, as passcmd and tunnel are run again for each
 * connection: one that is found only from here is refused now, not when the first connection is
 * lost. */
static bool leave_directory(GError **error)
{
    return chdir("/") == 0 || fail(error, "/: %s", g_strerror(errno));
}

/* SIGUSR1 is for the watch thread alone; a peer that is gone, and a file that may not grow, are
 * error codes. */
static void set_signals(void)
{
    sigset_t kick;
    sigemptyset(&kick);
    sigaddset(&kick, SIGUSR1);
    sigprocmask(SIG_BLOCK, &kick, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
}

/* Every letter that is not delivered yet and every large file that is open has one here: with the
 * usual 1,024, those of one program would end the mount for all. */
static void allow_files(void)
{
    const rlim_t enough = 65536;
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= enough)
        return;
    limit.rlim_cur = MIN(limit.rlim_max, enough);
    setrlimit(RLIMIT_NOFILE, &limit);
}

ExitCode mount_run(Settings *settings, const MountFlags *flags)
{
    Mounted mounted = {.settings = settings, .flags = flags, .background = {-1}};
    g_autoptr(GError) error = NULL;
    umask(077);
    set_signals();
    allow_files();
    if (!check_mountpoint(settings, &error) || !leave_directory(&error))
        return mount_complain(error);
    /* Until it serves, the one line that tells why it does not is all there is to read. */
    if (!flags->foreground || !settings->debug)
        log_set_target(LOG_TO_RING_ONLY);
    if (!flags->foreground && !background_start(&mounted.background, &error))
        return mount_complain(error);
    ExitCode code = prepare(&mounted, &error) ? serve(&mounted) : mount_complain(error);
    take_down(&mounted);
    return code;
}
