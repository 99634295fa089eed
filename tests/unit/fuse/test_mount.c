/* test_mount.c - a real mount: reading, waiting, what cannot be changed, news.
 *
 * Skipped (77) where there is no /dev/fuse. */
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

#include "mounted.h"

static int setup_read_only(void **state)
{
    return mount_with(state, true, 0);
}

static int setup_signalled(void **state)
{
    return mount_with(state, false, SIGINT);
}

static char *stalled_name(guint i, const char *file)
{
    return g_strdup_printf("INBOX/2024/2025-11-20 Slow - Stalled.%u/%s", FIRST_STALLED + i, file);
}

/* --- reading --- */

static void test_walk(void **state)
{
    Mount *mount = *state;

    check_shell(mount, "ls", "INBOX\nLists\nNever listed\n");
    check_shell(mount, "ls INBOX | wc -l", "6\n");
    check_shell(mount, "ls -a INBOX | head -2", ".\n..\n");
    check_shell(mount, "ls '" A "'", "body.txt\nflags\nheaders.txt\nmessage.eml\n");
    check_shell(mount, "cat '" A "/flags'", "\\Seen\n$Work\ntodo\n");
    check_shell(mount, "cat '" A "/body.txt' | wc -c", "300000\n");
    check_shell(mount, "cat '" A "/message.eml' | wc -c", "300000\n");
    check_shell(mount, "readlink '" A "/message.eml'", "../../.imapfs/raw/INBOX/7.eml\n");
    check_shell(mount, "cat '" B "/attachments/part-4.message/message.eml' | wc -c", "300000\n");
    check_shell(mount, "cat .imapfs/status", "state online\n");
    check_shell(mount, "cat INBOX/.uid/7/flags | wc -l", "3\n");
    check_shell(mount, "find INBOX/Projects -type f | wc -l", "360\n");
    check_shell(mount, "ls '" UNKNOWN "'", "body.txt\nflags\nheaders.txt\nmessage.eml\n");
    check_shell(mount, "stat -c '%A %h %u' '" A "' '" A "/flags'",
                "drwx------ 1 0\n-rw------- 1 0\n");
    check_shell(mount, "stat -f -c '%l' .", "255\n");
}

/* 360 files, each with an estimate, read by one walk; the second walk asks the engine nothing. */
static void test_grep(void **state)
{
    Mount *mount = *state;
    guint wants;

    check_shell(mount, "grep -rl abcdef INBOX/Projects | wc -l", "320\n");
    wants = count_wants(mount->world->engine);
    check_shell(mount, "grep -rl abcdef INBOX/Projects | wc -l", "320\n");
    assert_int_equal(count_wants(mount->world->engine), wants);
}

/* Each on a file whose size was an estimate until now, and was told before. */
static const struct {
    const char *command; /* $f the file, $x this test's own tools */
} tools[] = {
    {"cat \"$f\""},
    {"cp \"$f\" $t/x && cat $t/x"},
    {"cp -a \"$f\" $t/x && cat $t/x"},
    {"tar cf - \"$f\" | tar xOf -"},
    {"{ command -v rsync >/dev/null || alias rsync=cp; rsync -a \"$f\" $t/x; } && cat $t/x"},
    {"dd if=\"$f\" bs=4096 status=none"},
    {"head -c 1000000 \"$f\""},
    {"tail -c 1000000 \"$f\""},
    {"tail -n +1 \"$f\""},
    {"grep '' \"$f\""},
    {"gzip -c \"$f\" | gunzip -c"},
    {"$x mmap \"$f\""},
    {"$x sendfile \"$f\""},
    {"$x fstat \"$f\""},
};

static void check_tool(Mount *mount, guint tool, const char *file, gsize want_size)
{
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
    g_autofree char *command = g_strdup_printf(
        "f='INBOX/Projects/2025-11-20 Tool - Sizes.%u/%s'; x=%s; t=%s; stat \"$f\" >/dev/null; %s",
        FIRST_TOOL + tool, file, self, mount->world->dir, tools[tool].command);
    g_autofree char *want = NULL, *output = NULL;
    gsize length = 0;
    int status = -1;
    Need need = {.uid = FIRST_TOOL + tool,
                 .content = want_size == 3000 ? CONTENT_DECODED : CONTENT_TEXT};

    output = shell(mount, &status, command);
    want = content_bytes(&need, &length);
    assert_int_equal(length, want_size);
    if (status != 0 || strlen(output) != length || memcmp(output, want, length) != 0)
        fail_msg("%s: status %d, %zu bytes", command, status, strlen(output));
}

static void test_sizes_become_exact(void **state)
{
    Mount *mount = *state;

    for (guint i = 0; i < G_N_ELEMENTS(tools); i++) {
        check_tool(mount, i, "body.txt", 300000);             /* more than was told */
        check_tool(mount, i, "attachments/report.pdf", 3000); /* less */
    }
}

static void test_xattrs(void **state)
{
    Mount *mount = *state;
    g_autofree char *path = path_of(mount, A);
    char value[64], names[1024];
    ssize_t n;

    assert_int_equal(getxattr(path, "user.imap.uid", NULL, 0), 1);
    assert_int_equal(getxattr(path, "user.xdg.tags", value, sizeof(value)), strlen("$Work,todo"));
    assert_memory_equal(value, "$Work,todo", strlen("$Work,todo"));
    assert_int_equal(getxattr(path, "user.xdg.tags", value, 2), -1);
    assert_int_equal(errno, ERANGE);
    assert_int_equal(getxattr(path, "user.none", value, sizeof(value)), -1);
    assert_int_equal(errno, ENODATA);
    assert_int_equal(getxattr(path, "security.capability", value, sizeof(value)), -1);
    assert_int_equal(errno, EOPNOTSUPP);
    n = listxattr(path, names, sizeof(names));
    assert_true(n > 0);
    assert_int_equal(listxattr(path, NULL, 0), n);
    assert_non_null(memmem(names, (size_t)n, "user.imap.flags", sizeof("user.imap.flags")));
}

static void test_errors(void **state)
{
    Mount *mount = *state;
    g_autofree char *eml = path_of(mount, ".imapfs/raw/INBOX/11.eml");
    g_autofree char *unlisted = path_of(mount, "Never listed");
    GDir *dir;

    assert_int_equal(open(eml, O_RDONLY), -1);
    assert_int_equal(errno, ESTALE);
    assert_int_equal(errno_of_stat(mount, "INBOX/none"), ENOENT);
    assert_int_equal(errno_of_stat(mount, "INBOX/2025-11-20 X - Y.8"), ENOENT);
    assert_int_equal(errno_of_stat(mount, "Never listed/2025-11-20 X - Y.8"), ENETUNREACH);
    dir = g_dir_open(unlisted, 0, NULL);
    if (dir) { /* opening does not ask; reading does */
        errno = 0;
        assert_null(g_dir_read_name(dir));
        assert_int_equal(errno, ENETUNREACH);
        g_dir_close(dir);
    }
}

/* --- waiting --- */

static void check_interrupt(Mount *mount, guint i, int number)
{
    g_autofree char *name = stalled_name(i, "body.txt");
    guint cancels;
    pid_t pid;
    int status = 0;

    fake_engine_stall(mount->world->engine, FIRST_STALLED + i, true);
    pid = start_cat(mount, name);
    eventually(fake_engine_waiting(mount->world->engine) == 1);
    cancels = count_cancels(mount->world->engine);
    kill(pid, number);
    eventually(has_ended(pid, &status));
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), number);
    eventually(fake_engine_waiting(mount->world->engine) == 0);
    assert_int_equal(count_cancels(mount->world->engine), cancels + 1);
}

static void test_interrupt(void **state)
{
    Mount *mount = *state;

    check_interrupt(mount, 0, SIGINT);
    check_interrupt(mount, 1, SIGTERM);
    check_interrupt(mount, 2, SIGKILL);
    fake_engine_stall(mount->world->engine, FIRST_STALLED, false);
    check_shell(mount, "cat INBOX/2024/*.1000/body.txt | wc -c", "300000\n");
}

/* Many opens wait, and a lookup in a message whose structure is not known: everything else goes on,
 * in the same directories too. */
static void test_waiting_blocks_nothing(void **state)
{
    Mount *mount = *state;
    Engine *engine = mount->world->engine;
    pid_t pids[N_STALLED + 1];
    int status = 0;

    check_shell(mount, "ls -lR INBOX/2024 >/dev/null && ls '" UNKNOWN "/flags' | wc -l", "1\n");
    fake_engine_stall(engine, 4294967295u, true);
    for (guint i = 0; i < N_STALLED; i++) {
        g_autofree char *name = stalled_name(i, "body.txt");
        fake_engine_stall(engine, FIRST_STALLED + i, true);
        pids[i] = start_cat(mount, name);
    }
    pids[N_STALLED] = start_cat(mount, UNKNOWN "/body.txt");
    eventually(fake_engine_waiting(engine) == N_STALLED + 1);

    check_shell(mount, "cat '" A "/body.txt' | wc -c", "300000\n");
    check_shell(mount, "ls -l INBOX/2024/*.1003 | wc -l", "5\n");
    check_shell(mount, "cat INBOX/2024/*.1003/flags", "");
    check_shell(mount, "cat '" UNKNOWN "/flags'", "");
    /* a name not looked up yet, beside one whose lookup waits: needs FUSE_PARALLEL_DIROPS */
    check_shell(mount, "readlink '" UNKNOWN "/message.eml' | wc -l", "1\n");
    assert_int_equal(fake_engine_waiting(engine), N_STALLED + 1);

    for (guint i = 0; i < N_STALLED; i++)
        fake_engine_stall(engine, FIRST_STALLED + i, false);
    fake_engine_stall(engine, 4294967295u, false);
    for (guint i = 0; i <= N_STALLED; i++) {
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
    }
}

/* A signal that comes between the mount and the loop is not lost, and leaves no dead mount. */
static void test_signal_before_the_loop(void **state)
{
    Mount *mount = *state;

    eventually(g_atomic_int_get(&mount->ended));
    assert_int_equal(mount->status, 0);
}

/* A signal ends the mount while opens wait and files are open. */
static void test_signal_ends_waiting(void **state)
{
    Mount *mount = *state;
    g_autofree char *path = path_of(mount, ".imapfs/status"); /* the kernel keeps nothing of it */
    int fd = open(path, O_RDONLY), status = 0;
    pid_t pids[3];
    char byte;

    assert_true(fd >= 0);
    for (guint i = 0; i < G_N_ELEMENTS(pids); i++) {
        g_autofree char *name = stalled_name(i, "body.txt");
        fake_engine_stall(mount->world->engine, FIRST_STALLED + i, true);
        pids[i] = start_cat(mount, name);
    }
    eventually(fake_engine_waiting(mount->world->engine) == G_N_ELEMENTS(pids));
    kill(getpid(), SIGTERM);
    eventually(g_atomic_int_get(&mount->ended));
    assert_int_equal(mount->status, 0);
    for (guint i = 0; i < G_N_ELEMENTS(pids); i++) {
        eventually(has_ended(pids[i], &status));
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    }
    assert_int_equal(pread(fd, &byte, 1, 1), -1);
    assert_int_equal(errno, ENOTCONN);
    close(fd);
    assert_int_equal(errno_of_stat(mount, "INBOX"), ENOENT); /* the empty mountpoint */
}

static void test_umount_ends(void **state)
{
    Mount *mount = *state;

    check_shell(mount, "ls | wc -l", "3\n");
    assert_int_equal(umount2(mount->mountpoint, 0), 0);
    eventually(g_atomic_int_get(&mount->ended));
    assert_int_equal(mount->status, 0);
}

/* Taken away lazily while an open waits: the caller can still be ended, and then the loop ends. */
static void test_lazy_umount_with_waiter(void **state)
{
    Mount *mount = *state;
    g_autofree char *name = stalled_name(0, "body.txt");
    pid_t pid;
    int status = 0;

    fake_engine_stall(mount->world->engine, FIRST_STALLED, true);
    pid = start_cat(mount, name);
    eventually(fake_engine_waiting(mount->world->engine) == 1);
    assert_int_equal(umount2(mount->mountpoint, 0), -1);
    assert_int_equal(errno, EBUSY);
    assert_int_equal(umount2(mount->mountpoint, MNT_DETACH), 0);
    kill(pid, SIGINT);
    eventually(has_ended(pid, &status));
    eventually(g_atomic_int_get(&mount->ended));
}

/* --- changing --- */

static int refused_open(const char *path, int flags)
{
    int fd = open(path, flags, 0600);

    if (fd < 0)
        return errno;
    close(fd);
    return 0;
}

#define CALL(expression) ((expression) == 0 ? 0 : errno)

static void test_erofs(void **state)
{
    Mount *mount = *state;
    g_autofree char *dir = path_of(mount, A), *flags = path_of(mount, A "/flags");
    g_autofree char *fresh = path_of(mount, "INBOX/new"), *box = path_of(mount, "INBOX/Projects");
    const struct timespec times[2] = {{1, 0}, {1, 0}};
    const struct {
        const char *what;
        int got;
    } rows[] = {
        {"open for writing", refused_open(flags, O_WRONLY)},
        {"open for both", refused_open(flags, O_RDWR)},
        {"open to append", refused_open(flags, O_WRONLY | O_APPEND)},
        {"open to truncate", refused_open(flags, O_WRONLY | O_TRUNC)},
        {"create", refused_open(fresh, O_CREAT | O_WRONLY)},
        {"mkdir", CALL(mkdir(fresh, 0700))},
        {"rmdir", CALL(rmdir(dir))},
        {"rmdir of a mailbox", CALL(rmdir(box))},
        {"unlink", CALL(unlink(flags))},
        {"rename", CALL(rename(dir, fresh))},
        {"symlink", CALL(symlink("x", fresh))},
        {"link", CALL(link(flags, fresh))},
        {"mknod", CALL(mknod(fresh, S_IFIFO | 0600, 0))},
        {"chmod", CALL(chmod(flags, 0600))},
        {"chown", CALL(chown(flags, 1, 1))},
        {"truncate", CALL(truncate(flags, 0))},
        {"utimens", CALL(utimensat(AT_FDCWD, flags, times, 0))},
        {"setxattr", CALL(setxattr(flags, "user.x", "1", 1, 0))},
        {"removexattr", CALL(removexattr(flags, "user.imap.uid"))},
    };

    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        if (rows[i].got != EROFS)
            fail_msg("%s: %s", rows[i].what, g_strerror(rows[i].got));
    }
    check_shell(mount, "cat '" A "/flags' | wc -l", "3\n");
}

/* What is not possible yet, and never on these files. */
static void test_eperm(void **state)
{
    Mount *mount = *state;
    g_autofree char *dir = path_of(mount, A), *flags = path_of(mount, A "/flags");
    g_autofree char *fresh = path_of(mount, "INBOX/new"), *box = path_of(mount, "INBOX");
    g_autofree char *litter = path_of(mount, "INBOX/.Trash-1000");
    g_autofree char *below = path_of(mount, A "/new"), *other = path_of(mount, "New");
    g_autofree char *body = path_of(mount, A "/body.txt");
    const struct timespec times[2] = {{1, 0}, {1, 0}};
    const struct {
        const char *what;
        int got;
    } rows[] = {
        {"open for writing", refused_open(body, O_WRONLY)},
        {"open for both", refused_open(body, O_RDWR)},
        {"open to append", refused_open(body, O_WRONLY | O_APPEND)},
        {"open to truncate", refused_open(body, O_WRONLY | O_TRUNC)},
        {"open to truncate alone", refused_open(body, O_RDONLY | O_TRUNC)},
        {"create", refused_open(fresh, O_CREAT | O_WRONLY)},
        {"mkdir of a desktop", CALL(mkdir(litter, 0700))},
        {"mkdir in a message", CALL(mkdir(below, 0700))},
        {"rmdir of INBOX", CALL(rmdir(box))},
        {"rename of INBOX", CALL(rename(box, other))},
        {"rename", CALL(rename(dir, fresh))},
        {"symlink", CALL(symlink("x", fresh))},
        {"link", CALL(link(flags, fresh))},
        {"mknod", CALL(mknod(fresh, S_IFIFO | 0600, 0))},
        {"chmod", CALL(chmod(flags, 0400))},
        {"chown", CALL(chown(flags, 1, 1))},
        {"truncate", CALL(truncate(body, 0))},
        {"utimens", CALL(utimensat(AT_FDCWD, flags, times, 0))},
        {"setxattr", CALL(setxattr(flags, "user.x", "1", 1, 0))},
        {"setxattr of a part", CALL(setxattr(body, "user.imap.flags", "\\Seen", 5, 0))},
        {"removexattr", CALL(removexattr(flags, "user.imap.uid"))},
    };

    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        if (rows[i].got != EPERM)
            fail_msg("%s: %s", rows[i].what, g_strerror(rows[i].got));
    }
    assert_int_equal(CALL(setxattr(flags, "security.x", "1", 1, 0)), EOPNOTSUPP);
    check_shell(mount, "cat '" A "/flags' | wc -l", "3\n");
}

/* --- news --- */

static void add_message(Mount *mount, guint32 uid, const char *subject)
{
    World *world = mount->world;
    StoreTxn *txn = store_begin(world->store, false, NULL);
    g_autofree char *name = name_message(WORLD_DATE, 60, "New", subject);

    world_put(world, txn, world->inbox, uid, "New", subject, "", 10);
    assert_true(store_box_touch(txn, world->inbox, clock_real_ns(), NULL));
    assert_true(store_commit(txn, NULL));
    front_events.msg_added(world->inbox, uid, name, mount->front);
}

/* More news than are told one by one: of a mailbox that is forgotten as a whole then. */
#define MANY_NEWS 20000

static void remove_messages(Mount *mount, guint32 uid, const char *name, bool tell_many)
{
    World *world = mount->world;
    StoreTxn *txn = store_begin(world->store, false, NULL);
    g_autoptr(UidSet) uids = uidset_new(), removed = uidset_new();

    uidset_add(uids, uid);
    assert_true(store_msg_remove(txn, world->inbox, uids, removed, NULL));
    assert_true(store_box_touch(txn, world->inbox, clock_real_ns(), NULL));
    assert_true(store_commit(txn, NULL));
    for (guint i = 0; tell_many && i < MANY_NEWS; i++)
        front_events.msg_added(world->inbox, 100 + i, "x", mount->front);
    front_events.msg_removed(world->inbox, uid, name, mount->front);
}

static bool lists(Mount *mount, const char *dir, const char *name)
{
    g_autofree char *path = path_of(mount, dir);
    GDir *listing = g_dir_open(path, 0, NULL);
    const char *entry;
    bool found = false;

    assert_non_null(listing);
    while ((entry = g_dir_read_name(listing))) /* to the end: only then the kernel may keep it */
        found |= strcmp(entry, name) == 0;
    g_dir_close(listing);
    return found;
}

#define NEW "2025-11-20 New - Hello.20"

static void test_added(void **state)
{
    Mount *mount = *state;

    /* the kernel keeps the listing, and that there is no such name */
    assert_false(lists(mount, "INBOX", NEW));
    assert_false(lists(mount, ".imapfs/raw/INBOX", "20.eml"));
    assert_int_equal(errno_of_stat(mount, "INBOX/" NEW), ENOENT);
    assert_int_equal(errno_of_stat(mount, "INBOX/.uid/20"), ENOENT);
    add_message(mount, 20, "Hello");
    eventually(lists(mount, "INBOX", NEW));
    eventually(lists(mount, ".imapfs/raw/INBOX", "20.eml"));
    eventually(errno_of_stat(mount, "INBOX/" NEW) == 0);
    eventually(errno_of_stat(mount, "INBOX/.uid/20") == 0);
}

static void test_removed(void **state)
{
    Mount *mount = *state;
    g_autofree char *path = path_of(mount, A "/body.txt");
    char buffer[16];
    int fd;

    check_shell(mount, "ls -lR INBOX .imapfs/raw/INBOX >/dev/null; cat INBOX/.uid/7/flags | wc -l",
                "3\n");
    fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    remove_messages(mount, 7, "2025-11-20 Alice Doe - Quarterly report", false);
    eventually(!lists(mount, "INBOX", "2025-11-20 Alice Doe - Quarterly report.7"));
    eventually(errno_of_stat(mount, A) == ENOENT);
    eventually(errno_of_stat(mount, "INBOX/.uid/7") == ENOENT);
    eventually(errno_of_stat(mount, ".imapfs/raw/INBOX/7.eml") == ENOENT);
    assert_int_equal(pread(fd, buffer, sizeof(buffer), 100000), sizeof(buffer));
    close(fd);
}

/* Who stands in a directory keeps standing in it: its name is not taken from him. */
static void test_box_changed(void **state)
{
    Mount *mount = *state;
    g_autofree char *inbox = path_of(mount, "INBOX"), *old = g_get_current_dir();
    World *world = mount->world;

    check_shell(mount, "ls -lR INBOX >/dev/null; echo", "\n");
    assert_int_equal(chdir(inbox), 0);
    front_events.box_changed(world->inbox, mount->front);
    front_events.msg_numbered(3, world->inbox, world->inbox, 20, "New", mount->front);
    add_message(mount, 20, "Hello");
    for (guint i = 0; i < 500 && access("2025-11-20 New - Hello.20", F_OK) != 0; i++)
        g_usleep(10000);
    assert_int_equal(access("2025-11-20 New - Hello.20", F_OK), 0);
    {
        g_autofree char *here = getcwd(NULL, 0);
        assert_non_null(here);
        assert_string_equal(here, inbox);
    }
    assert_int_equal(chdir(old), 0);
}

/* What is forgotten as a whole loses its name until it is looked up, and more news may be on their
 * way when the first were taken: so one look need not be enough. */
static bool is_named(Mount *mount, const char *dir)
{
    g_autofree char *path = path_of(mount, dir), *here = NULL;

    assert_int_equal(errno_of_stat(mount, dir), 0);
    here = getcwd(NULL, 0);
    if (!here)
        assert_int_equal(errno, ENOENT);
    return g_strcmp0(here, path) == 0;
}

/* "Forget all of this": names that the kernel had looked up go too, and who stands in the directory
 * keeps standing in it. */
static void test_many_news(void **state)
{
    Mount *mount = *state;
    g_autofree char *inbox = path_of(mount, "INBOX"), *old = g_get_current_dir();

    check_shell(mount, "ls -lR INBOX >/dev/null; echo", "\n");
    assert_int_equal(errno_of_stat(mount, A), 0);
    assert_int_equal(chdir(inbox), 0);
    remove_messages(mount, 7, "2025-11-20 Alice Doe - Quarterly report", true);
    eventually(!lists(mount, "INBOX", "2025-11-20 Alice Doe - Quarterly report.7"));
    eventually(errno_of_stat(mount, A) == ENOENT);
    assert_int_equal(access("2025-11-20 Bob - With parts.9", F_OK), 0);
    eventually(is_named(mount, "INBOX"));
    assert_int_equal(chdir(old), 0);
}

static bool flags_are(Mount *mount, const char *want)
{
    g_autofree char *path = path_of(mount, A "/flags"), *text = NULL;
    struct stat st;

    assert_int_equal(stat(path, &st), 0);
    assert_true(g_file_get_contents(path, &text, NULL, NULL));
    return strcmp(text, want) == 0 && st.st_size == (off_t)strlen(want);
}

static void test_flags_changed(void **state)
{
    Mount *mount = *state;
    StoreTxn *txn;
    bool changed = false;

    assert_true(flags_are(mount, "\\Seen\n$Work\ntodo\n"));
    txn = store_begin(mount->world->store, false, NULL);
    /* the same length, so that only the bytes tell */
    assert_true(
        store_msg_set_flags(txn, mount->world->inbox, 7, "\\Seen $Work done", 50, &changed, NULL));
    assert_true(store_commit(txn, NULL));
    front_events.flags_changed(mount->world->inbox, 7, mount->front);
    eventually(flags_are(mount, "\\Seen\n$Work\ndone\n"));
}

static void reconcile(Mount *mount, const StoreListing *listings, guint n)
{
    GArray *added = g_array_new(FALSE, FALSE, sizeof(StoreBox));
    GArray *removed = g_array_new(FALSE, FALSE, sizeof(StoreBox));
    StoreTxn *txn = store_begin(mount->world->store, false, NULL);

    assert_true(store_boxes_reconcile(txn, listings, n, clock_real_ns(), added, removed, NULL));
    assert_true(store_commit(txn, NULL));
    for (guint i = 0; i < added->len; i++) {
        StoreBox *box = &g_array_index(added, StoreBox, i);
        front_events.box_added(box->parent, box->id, box->leaf, mount->front);
        store_box_clear(box);
    }
    for (guint i = 0; i < removed->len; i++) {
        StoreBox *box = &g_array_index(removed, StoreBox, i);
        front_events.box_removed(box->parent, box->id, box->leaf, mount->front);
        store_box_clear(box);
    }
    g_array_unref(added);
    g_array_unref(removed);
}

static void test_mailboxes_change(void **state)
{
    Mount *mount = *state;
    const StoreListing listings[] = {{"INBOX", '/', 0}, {"INBOX/2024", '/', 0}, {"Added", '/', 0}};

    check_shell(mount, "ls -l INBOX INBOX/Projects >/dev/null; ls", "INBOX\nLists\nNever listed\n");
    assert_int_equal(errno_of_stat(mount, "Added"), ENOENT);
    reconcile(mount, listings, G_N_ELEMENTS(listings));
    eventually(lists(mount, "", "Added"));
    eventually(errno_of_stat(mount, "Added") == 0);
    eventually(!lists(mount, "", "Lists"));
    eventually(errno_of_stat(mount, "Lists") == ENOENT);
    eventually(errno_of_stat(mount, "INBOX/Projects") == ENOENT);
    eventually(errno_of_stat(mount, ".imapfs/raw/Added") == 0);
}

/* A burst, told while an answer is owed in the same directory: nothing hangs, all arrive. */
static void test_burst(void **state)
{
    Mount *mount = *state;
    pid_t pid;
    int status = 0;

    check_shell(mount, "ls -l INBOX | wc -l; ls '" UNKNOWN "/flags' | wc -l", "7\n1\n");
    fake_engine_stall(mount->world->engine, 4294967295u, true);
    pid = start_cat(mount, UNKNOWN "/body.txt");
    eventually(fake_engine_waiting(mount->world->engine) == 1);
    for (guint32 uid = 100; uid < 6000; uid++) {
        g_autofree char *name = name_message(WORLD_DATE, 60, "New", "Burst");
        front_events.msg_added(mount->world->inbox, uid, name, mount->front);
    }
    add_message(mount, 20, "Hello");
    eventually(lists(mount, "INBOX", NEW));
    fake_engine_stall(mount->world->engine, 4294967295u, false);
    eventually(has_ended(pid, &status));
    assert_int_equal(status, 0);
}

/* What nobody watches over is asked for again some seconds later, not at every ls. */
static void test_listing_lapses(void **state)
{
    Mount *mount = *state;
    Engine *engine = mount->world->engine;
    guint wants;

    assert_false(lists(mount, "INBOX", NEW));
    fake_engine_set_fresh(engine, mount->world->inbox, false);
    wants = count_wants(engine);
    assert_false(lists(mount, "INBOX", NEW));
    assert_int_equal(count_wants(engine), wants);
    for (guint i = 0; i < 100 && count_wants(engine) == wants; i++) {
        g_usleep(100000);
        assert_false(lists(mount, "INBOX", NEW));
    }
    assert_true(count_wants(engine) > wants);
}

/* A directory's entries by getdents64, which takes no more than asked for. */
static bool some_entries(int fd, gsize size)
{
    char buffer[4096];

    return syscall(SYS_getdents64, fd, buffer, MIN(size, sizeof(buffer))) > 0;
}

/* Whether a message that nobody is told of is not seen, so that the kernel lists by itself. It is
 * gone again afterwards. */
static bool kernel_lists(Mount *mount, guint32 uid)
{
    g_autofree char *name = g_strdup_printf("2025-11-20 Nobody - Secret.%u", uid);
    World *world = mount->world;
    StoreTxn *txn = store_begin(world->store, false, NULL);
    g_autoptr(UidSet) uids = uidset_new(), removed = uidset_new();
    bool seen;

    world_put(world, txn, world->inbox, uid, "Nobody", "Secret", "", 100);
    assert_true(store_commit(txn, NULL));
    seen = lists(mount, "INBOX", name);
    uidset_add(uids, uid);
    txn = store_begin(world->store, false, NULL);
    assert_true(store_msg_remove(txn, world->inbox, uids, removed, NULL));
    assert_true(store_commit(txn, NULL));
    return !seen;
}

/* News amid a listing. A kernel that loses the first half of what it has begun to keep never keeps
 * that listing again, and asks for it each time. */
static void test_news_amid_a_listing(void **state)
{
    Mount *mount = *state;
    g_autofree char *path = path_of(mount, "INBOX");
    int fd = open(path, O_RDONLY | O_DIRECTORY);
    guint32 uid = 77;

    assert_int_equal(errno_of_stat(mount, "INBOX/" NEW), ENOENT);
    assert_true(some_entries(fd, 80));
    add_message(mount, 20, "Hello");
    eventually(errno_of_stat(mount, "INBOX/" NEW) == 0); /* they have come */
    while (some_entries(fd, 4096))
        ;
    close(fd);
    eventually(lists(mount, "INBOX", NEW));
    eventually(kernel_lists(mount, ++uid));
}

/* The same of a change that is made here, which every listing that begins later has in it. */
static void test_change_amid_a_listing(void **state)
{
    Mount *mount = *state;
    g_autofree char *path = path_of(mount, "INBOX"), *new = path_of(mount, "INBOX/New one");
    int fd = open(path, O_RDONLY | O_DIRECTORY);
    guint32 uid = 77;

    assert_true(some_entries(fd, 80));
    assert_int_equal(mkdir(new, 0700), 0);
    assert_true(lists(mount, "INBOX", "New one"));
    while (some_entries(fd, 4096))
        ;
    close(fd);
    assert_true(lists(mount, "INBOX", "New one"));
    eventually(kernel_lists(mount, ++uid));
}

/* A listing that its reader leaves amid news: what comes is seen all the same. */
static void test_listing_left_amid(void **state)
{
    Mount *mount = *state;
    g_autofree char *path = path_of(mount, "INBOX");
    int fd = open(path, O_RDONLY | O_DIRECTORY);

    assert_true(some_entries(fd, 80));
    close(fd);
    add_message(mount, 20, "Hello");
    eventually(lists(mount, "INBOX", NEW));
    assert_true(lists(mount, "INBOX", NEW));
    remove_messages(mount, 20, "2025-11-20 New - Hello", false);
    eventually(!lists(mount, "INBOX", NEW));
}

/* --- mounting --- */

static void test_mount_options(void **state)
{
    g_autofree char *mounts = NULL, *line = NULL, *words = NULL;

    assert_true(g_file_get_contents("/proc/self/mounts", &mounts, NULL, NULL));
    line = g_strdup(strstr(mounts, "alice@example.org"));
    assert_non_null(line);
    words = g_strndup(line, strcspn(line, "\n"));
    assert_non_null(strstr(words, "alice@example.org,x\\134y"));
    assert_non_null(strstr(words, " fuse.imapfs "));
    assert_non_null(strstr(words, "rw,nosuid,nodev,noexec"));
    assert_null(strstr(words, "allow_other"));
}

static void check_refused(const char *mountpoint, const char *options, const char *words)
{
    g_autoptr(GError) error = NULL;
    Front *front =
        front_new(&(FrontConfig){.mountpoint = mountpoint, .extra_options = options}, &error);

    assert_null(front);
    assert_true(g_error_matches(error, IMAPFS_ERROR, IMAPFS_ERROR_CONFIG));
    if (!strstr(error->message, words))
        fail_msg("%s", error->message);
}

static void test_mount_refused(void **state)
{
    Mount *mount = *state;
    g_autofree char *none = g_build_filename(mount->world->dir, "none", NULL);
    g_autofree char *empty = g_build_filename(mount->world->dir, "empty", NULL);

    g_mkdir(empty, 0700);
    check_refused(mount->mountpoint, NULL, "mounted here already");
    check_refused(mount->world->dir, NULL, "not empty");
    check_refused("/proc/self/exe", NULL, "not a directory");
    check_refused(none, NULL, "No such file");
    check_refused(empty, ",nonsense", "nonsense");
    rmdir(empty);
}

/* --- this program as a tool: reads a file in unusual ways, writes it to standard output --- */

static int tool_mmap(const char *path)
{
    int fd = open(path, O_RDONLY);
    struct stat st;
    void *map;

    if (fd < 0 || fstat(fd, &st) != 0)
        return 1;
    map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    return map == MAP_FAILED || write(STDOUT_FILENO, map, (size_t)st.st_size) != st.st_size;
}

static int tool_sendfile(const char *path)
{
    int fd = open(path, O_RDONLY);
    ssize_t n = 1;

    while (fd >= 0 && n > 0)
        n = sendfile(STDOUT_FILENO, fd, NULL, 1 << 20);
    return fd < 0 || n < 0;
}

/* Reads exactly what fstat said, as archivers do. */
static int tool_fstat(const char *path)
{
    int fd = open(path, O_RDONLY);
    struct stat st;
    g_autofree char *bytes = NULL;

    if (fd < 0 || fstat(fd, &st) != 0)
        return 1;
    bytes = g_malloc((gsize)st.st_size);
    return read(fd, bytes, (size_t)st.st_size) != st.st_size ||
           write(STDOUT_FILENO, bytes, (size_t)st.st_size) != st.st_size;
}

static int tool_main(const char *name, const char *path)
{
    if (strcmp(name, "mmap") == 0)
        return tool_mmap(path);
    return strcmp(name, "sendfile") == 0 ? tool_sendfile(path) : tool_fstat(path);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(test_walk),
        TEST(test_grep),
        TEST(test_sizes_become_exact),
        TEST(test_xattrs),
        TEST(test_errors),
        TEST(test_interrupt),
        TEST(test_waiting_blocks_nothing),
        cmocka_unit_test_setup_teardown(test_signal_before_the_loop, setup_signalled, teardown),
        TEST(test_signal_ends_waiting),
        TEST(test_umount_ends),
        TEST(test_lazy_umount_with_waiter),
        cmocka_unit_test_setup_teardown(test_erofs, setup_read_only, teardown),
        TEST(test_eperm),
        TEST(test_added),
        TEST(test_removed),
        TEST(test_box_changed),
        TEST(test_many_news),
        TEST(test_flags_changed),
        TEST(test_mailboxes_change),
        TEST(test_burst),
        TEST(test_listing_lapses),
        TEST(test_news_amid_a_listing),
        TEST(test_change_amid_a_listing),
        TEST(test_listing_left_amid),
        TEST(test_mount_options),
        TEST(test_mount_refused),
    };

    setvbuf(stdout, NULL, _IOLBF, 0); /* so that a crash shows where */
    if (argc == 3)
        return tool_main(argv[1], argv[2]);
    if (access("/dev/fuse", R_OK | W_OK) != 0)
        return 77;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
