/* mounted.h - a real mount of a small account, with an engine that answers, stalls and fails as a
 * test wants.
 *
 * To be included by one source file of a test. What waits or maps files runs in processes of its
 * own. A watchdog takes the mount away by force when a test does not end. */
#pragma once
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../tree/fake_engine.h"
#include "../tree/world.h"
#include "imapfs/base/clock.h"
#include "imapfs/fuse/front.h"

#define TIME_LIMIT_S 60
#define A "INBOX/2025-11-20 Alice Doe - Quarterly report.7"
#define B "INBOX/2025-11-20 Bob - With parts.9"
#define UNKNOWN "INBOX/2025-11-20 Last - Unknown yet.4294967295"
#define FIRST_STALLED 1000 /* UIDs of messages for waiting */
#define N_STALLED 20
#define FIRST_TOOL 2000 /* UIDs of messages that one tool each reads first */

typedef struct {
    World *world;
    Front *front;
    GThread *thread;
    char *mountpoint;
    gint ended; /* atomic: front_run() returned */
    int status;
} Mount;

/* --- the server's side --- */

/* The bytes of a content: many times the estimate for text, half of it for parts. */
static char *content_bytes(const Need *need, gsize *length_out)
{
    gsize length = need->content == CONTENT_DECODED ? 3000 : 300000;
    char *bytes;

    if (need->content == CONTENT_HEADERS)
        length = 700;
    bytes = g_malloc(length);
    for (gsize i = 0; i < length; i++)
        bytes[i] = i % 50 == 49 ? '\n' : (char)('a' + (i + need->uid) % 26);
    *length_out = length;
    return bytes;
}

static void answer_mailbox(World *world, guint32 box)
{
    StoreTxn *txn = store_begin(world->store, false, NULL);

    world_set_listed(world, txn, box);
    store_commit(txn, NULL);
    fake_engine_set_fresh(world->engine, box, true);
}

static void answer(const Need *need, GError **error, gpointer data)
{
    World *world = data;
    g_autofree char *bytes = NULL;
    gsize length = 0;
    StoreTxn *txn;

    switch (need->kind) {
    case NEED_MAILBOX:
        if (need->box == world->empty)
            g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_OFFLINE, "offline");
        else
            answer_mailbox(world, need->box);
        break;
    case NEED_MAILBOXES:
        fake_engine_set_fresh(world->engine, 0, true);
        break;
    case NEED_REPLAYED:
        if (engine_is_offline(world->engine))
            g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_OFFLINE, "offline");
        break;
    case NEED_STATUS:
    case NEED_RANGE:
        break;
    case NEED_STRUCTURE:
        txn = store_begin(world->store, false, NULL);
        store_structure_put(txn, need->box, need->uid, SIMPLE_STRUCTURE, NULL);
        store_commit(txn, NULL);
        break;
    case NEED_SIZES: /* nothing the kernel has to hear of */
        g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_OFFLINE, "offline");
        break;
    case NEED_CONTENT:
        if (need->uid == 11) {
            g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_GONE, "gone");
            break;
        }
        bytes = content_bytes(need, &length);
        world_content(world, need->box, need->uid, need->content, need->section, bytes, length);
        break;
    }
}

/* --- the fixture --- */

static Mount *current; /* for the watchdog */

static void on_watchdog(int number)
{
    static const char words[] = "time limit: taking the mount away\n";
    gssize ignored = write(STDERR_FILENO, words, sizeof(words) - 1);

    (void)ignored;
    if (current)
        umount2(current->mountpoint, MNT_FORCE | MNT_DETACH); /* NOLINT */
    _exit(1);
}

G_GNUC_UNUSED static char *path_of(Mount *mount, const char *name)
{
    return g_build_filename(mount->mountpoint, name, NULL);
}

G_GNUC_UNUSED static int errno_of_stat(Mount *mount, const char *name)
{
    g_autofree char *path = path_of(mount, name);
    struct stat st;

    return lstat(path, &st) == 0 ? 0 : errno;
}

static gpointer run_front(gpointer data)
{
    Mount *mount = data;

    mount->status = front_run(mount->front, mount->world->tree, mount->world->engine);
    g_atomic_int_set(&mount->ended, 1);
    return NULL;
}

static void put_more(World *world)
{
    StoreTxn *txn = store_begin(world->store, false, NULL);

    for (guint i = 0; i < N_STALLED; i++) {
        world_put(world, txn, world->year, FIRST_STALLED + i, "Slow", "Stalled", "", 100);
        store_structure_put(txn, world->year, FIRST_STALLED + i, SIMPLE_STRUCTURE, NULL);
    }
    for (guint i = 0; i < 40; i++) {
        world_put(world, txn, world->projects, FIRST_TOOL + i, "Tool", "Sizes", "", 100);
        store_structure_put(txn, world->projects, FIRST_TOOL + i, RICH_STRUCTURE, NULL);
    }
    assert_true(store_commit(txn, NULL));
}

static int mount_with(void **state, bool read_only, int early_signal)
{
    Mount *mount = g_new0(Mount, 1);
    g_autoptr(GError) error = NULL;

    signal(SIGALRM, on_watchdog);
    alarm(TIME_LIMIT_S);
    world_new((void **)&mount->world);
    put_more(mount->world);
    mount->mountpoint = g_build_filename(mount->world->dir, "mnt", NULL);
    g_mkdir(mount->mountpoint, 0700);
    mount->front = front_new(&(FrontConfig){.mountpoint = mount->mountpoint,
                                            .fsname = "alice@example.org,x\\y",
                                            .read_only = read_only},
                             &error);
    if (!mount->front)
        fail_msg("front_new: %s", error->message);
    current = mount;
    if (early_signal)
        kill(getpid(), early_signal);
    fake_engine_start(mount->world->engine, answer, mount->world);
    mount->thread = g_thread_new("front", run_front, mount);
    if (!early_signal)
        assert_int_equal(errno_of_stat(mount, "INBOX"), 0); /* it serves */
    *state = mount;
    return 0;
}

static int setup(void **state)
{
    return mount_with(state, false, 0);
}

/* In the order that front.h asks for. */
static int teardown(void **state)
{
    Mount *mount = *state;
    World *world = mount->world;

    if (mount->thread) {
        if (!g_atomic_int_get(&mount->ended))
            kill(getpid(), SIGTERM);
        g_thread_join(mount->thread);
    }
    g_clear_pointer(&world->engine, engine_free);
    g_clear_pointer(&world->tree, tree_free);
    g_clear_pointer(&world->store, store_close);
    front_free(mount->front);
    current = NULL;
    alarm(0);
    world_remove(world->dir);
    g_free(world->dir);
    g_free(world);
    g_free(mount->mountpoint);
    g_free(mount);
    return 0;
}

/* --- helpers --- */

/* Output of a shell command run in the mount; its exit status goes to *status_out. */
G_GNUC_UNUSED static char *shell(Mount *mount, int *status_out, const char *command)
{
    g_autoptr(GError) error = NULL;
    char *argv[] = {"timeout", "-k", "1", "20", "sh", "-c", (char *)command, NULL};
    char *output = NULL;
    int status = -1;

    if (!g_spawn_sync(mount->mountpoint, argv, NULL,
                      G_SPAWN_SEARCH_PATH | G_SPAWN_STDERR_TO_DEV_NULL, NULL, NULL, &output, NULL,
                      &status, &error))
        fail_msg("%s: %s", command, error->message);
    if (status_out)
        *status_out = WIFEXITED(status) ? WEXITSTATUS(status) : 128;
    return output;
}

G_GNUC_UNUSED static void check_shell(Mount *mount, const char *command, const char *want)
{
    int status = -1;
    g_autofree char *output = shell(mount, &status, command);

    if (status != 0 || strcmp(output, want) != 0)
        fail_msg("%s: status %d, output \"%.300s\", not \"%.300s\"", command, status, output, want);
}

/* Waits for something another thread or process brings about. */
#define eventually(condition)                                                 \
    do {                                                                      \
        for (guint tries_ = 0; !(condition); tries_++) {                      \
            if (tries_ == 2000)                                               \
                fail_msg("%s:%d: never: %s", __FILE__, __LINE__, #condition); \
            g_usleep(10000);                                                  \
        }                                                                     \
    } while (0)

G_GNUC_UNUSED static pid_t start_cat(Mount *mount, const char *name)
{
    g_autofree char *path = path_of(mount, name);
    char *argv[] = {"cat", path, NULL};
    pid_t pid = 0;

    assert_true(g_spawn_async(NULL, argv, NULL,
                              G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD |
                                  G_SPAWN_STDOUT_TO_DEV_NULL | G_SPAWN_STDERR_TO_DEV_NULL,
                              NULL, NULL, &pid, NULL));
    return pid;
}

G_GNUC_UNUSED static bool has_ended(pid_t pid, int *status_out)
{
    return waitpid(pid, status_out, WNOHANG) == pid;
}
