/* test_changes.c - a real mount, changed: flags, attributes, the queue and what has failed.
 *
 * Skipped (77) where there is no /dev/fuse. */
#include <pthread.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/xattr.h>

#include "imapfs/base/fault.h"
#include "imapfs/base/log.h"
#include "imapfs/store/log.h"
#include "mounted.h"

#define START "\\Seen $Work todo" /* of message 7, by world.h */

static char *flags_path(Mount *mount)
{
    return path_of(mount, A "/flags");
}

/* The lines of the flags file, with blanks between. */
static char *flags_now(Mount *mount)
{
    g_autofree char *path = flags_path(mount);
    char *text = NULL;

    assert_true(g_file_get_contents(path, &text, NULL, NULL));
    return g_strchomp(g_strdelimit(text, "\n", ' '));
}

static void check_flags(Mount *mount, const char *after, const char *want)
{
    g_autofree char *now = flags_now(mount), *path = flags_path(mount), *dir = path_of(mount, A);
    gsize length = *want ? strlen(want) + 1 : 0;
    char value[256] = "";
    struct stat st;

    if (strcmp(now, want) != 0)
        fail_msg("%s: \"%s\", not \"%s\"", after, now, want);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, length);
    assert_int_equal(getxattr(dir, "user.imap.flags", value, sizeof(value) - 1), strlen(want));
    assert_string_equal(value, want);
}

static void put_flags(Mount *mount, const char *flags)
{
    g_autofree char *dir = path_of(mount, A);

    if (setxattr(dir, "user.imap.flags", flags, strlen(flags), 0) != 0)
        fail_msg("%s: %s", flags, g_strerror(errno));
}

/* --- the flags file --- */

/* In the message's directory, from START; $t is a directory of the test. */
static const struct {
    const char *command, *want; /* want NULL: fails, and nothing is changed */
} writes[] = {
    {"echo '\\Flagged' >> flags", "\\Seen \\Flagged $Work todo"},
    {"echo '+\\Flagged' >> flags", "\\Seen \\Flagged $Work todo"},
    {"echo '-\\Seen' >> flags", "$Work todo"},
    {"printf %s '\\flagged' >> flags", "\\Seen \\Flagged $Work todo"},
    {"printf '%s' '\\Flagged' >> flags", "\\Seen \\Flagged $Work todo"},
    {"printf '%s\\n' -todo new '+\\Draft' >> flags", "\\Seen \\Draft $Work new"},
    {"echo '\\Flagged -todo' >> flags", "\\Seen \\Flagged $Work"},
    {"printf '%s\\n' +a -a >> flags", START},
    {"printf '%s\\n' -todo +todo >> flags", START},
    {"printf '\\r\\n  +x\\r\\n\\n' >> flags", "\\Seen $Work todo x"},
    {"echo >> flags", START},

    {"echo '\\Seen' > flags", "\\Seen"},
    {"printf '%s' '\\Seen' > flags", "\\Seen"},
    {"printf '%s\\n' new '\\Flagged' > flags", "\\Flagged new"},
    {"{ echo '\\Flagged'; echo new; } > flags", "\\Flagged new"},
    {"echo TODO > flags", "todo"},
    {"cat flags > $t/x; cat $t/x > flags", START},
    {"echo '\\Draft' > $t/x; cp $t/x flags", "\\Draft"},
    {"echo '\\Draft' > $t/x; dd if=$t/x of=flags status=none", "\\Draft"},
    {": > flags", ""},
    {"truncate -s 0 flags", ""},
    {"truncate -s 17 flags", START}, /* its size */
    {"echo > flags", ""},
    {": >> flags", START},

    {"echo '-todo' > flags", "\\Seen $Work"},
    {"printf '%s\\n' '+\\Flagged' -todo > flags", "\\Seen \\Flagged $Work"},
    {"{ echo +a; echo -todo; } > flags", "\\Seen $Work a"},
    {"echo '+\\Flagged' 1<> flags", "\\Seen \\Flagged $Work todo"},

    {"printf '%s\\n' '\\Flagged' -todo > flags", NULL},
    {"printf '%s\\n' -todo '\\Flagged' > flags", NULL},
    {"echo '\\Foo' > flags", NULL},
    {"echo '\\Foo' >> flags", NULL},
    {"printf '%s\\n' good '\\Foo' >> flags", NULL},
    {"echo '\\Recent' >> flags", NULL},
    {"echo '\\*' >> flags", NULL},
    {"echo '(bad' >> flags", NULL},
    {"echo 'b\303\244d' >> flags", NULL},
    {"echo + >> flags", NULL},
    {"printf 'a\\0b' >> flags", NULL},
    {"echo '\\Flagged' 1<> flags", NULL},
    {"truncate -s 5 flags", NULL},
    {"head -c 70000 /dev/zero | tr '\\0' '\\n' > $t/x; dd if=$t/x of=flags bs=70000 status=none",
     NULL},
    {"head -c 5000 /dev/zero | tr '\\0' ' ' > $t/x; dd if=$t/x of=flags bs=5000 status=none", NULL},
    {"seq -f k%g 1030 > $t/x; dd if=$t/x of=flags bs=64k status=none", NULL},
};

static void test_writes(void **state)
{
    Mount *mount = *state;

    for (guint i = 0; i < G_N_ELEMENTS(writes); i++) {
        g_autofree char *command =
            g_strdup_printf("t=%s; cd '" A "' && %s", mount->world->dir, writes[i].command);
        int status = -1;

        put_flags(mount, START);
        g_free(shell(mount, &status, command));
        if ((status == 0) != (writes[i].want != NULL))
            fail_msg("%s: status %d", command, status);
        check_flags(mount, command, writes[i].want ? writes[i].want : START);
    }
}

/* A mistake in a later part leaves what was taken before. */
static void test_parts_of_a_text(void **state)
{
    Mount *mount = *state;
    g_autofree char *path = flags_path(mount);
    int fd = open(path, O_WRONLY | O_TRUNC);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, "a\n", 2), 2);
    check_flags(mount, "a", "a");
    assert_int_equal(write(fd, "+b\n", 3), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(write(fd, "\\Foo\n", 5), -1);
    assert_int_equal(write(fd, "c\n", 2), 2);
    check_flags(mount, "c", "a c");
    assert_int_equal(ftruncate(fd, 0), 0);
    check_flags(mount, "ftruncate", "");
    assert_int_equal(write(fd, "d\n", 2), 2);
    check_flags(mount, "d", "d");
    close(fd);
    check_flags(mount, "close", "d");
}

/* Who writes over the file reads it there too. */
static void test_read_and_write(void **state)
{
    Mount *mount = *state;
    g_autofree char *path = flags_path(mount);
    char buffer[64] = "";
    struct stat st;
    int fd = open(path, O_RDWR);

    assert_true(fd >= 0);
    assert_int_equal(read(fd, buffer, sizeof(buffer) - 1), 17);
    assert_string_equal(buffer, "\\Seen\n$Work\ntodo\n");
    assert_int_equal(pwrite(fd, "-todo\n", 6, 0), 6);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, 12);
    memset(buffer, 0, sizeof(buffer));
    assert_int_equal(pread(fd, buffer, sizeof(buffer) - 1, 0), 12);
    assert_string_equal(buffer, "\\Seen\n$Work\n");
    close(fd);
}

static void test_reasons(void **state)
{
    Mount *mount = *state;
    g_autofree char *log = NULL;

    g_free(shell(mount, NULL, "cd '" A "' && printf '%s\\n' '\\Seen' '\\Foo\033[1m' > flags"));
    log = shell(mount, NULL, "cat .imapfs/log");
    if (!strstr(log, "flags of UID 7, line 2: \"\\Foo\\x1B[1m\" is no flag"))
        fail_msg("%s", log);
}

/* --- what others see --- */

/* Writes and looks at once, many times: this process. */
static void test_tight_loop(void **state)
{
    Mount *mount = *state;
    g_autofree char *path = flags_path(mount);

    for (guint i = 0; i < 2000; i++) {
        static const char *const texts[] = {"\\Seen\n", "\\Flagged\nlonger\n", "k\n", ""};
        const char *text = texts[i % G_N_ELEMENTS(texts)];
        gsize length = strlen(text);
        char buffer[64];
        struct stat st;
        int fd = open(path, O_WRONLY | O_TRUNC);

        assert_true(fd >= 0);
        if (length)
            assert_int_equal(write(fd, text, length), length);
        assert_int_equal(close(fd), 0);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_size, length);
        fd = open(path, O_RDONLY);
        assert_int_equal(fstat(fd, &st), 0);
        assert_int_equal(st.st_size, length);
        assert_int_equal(read(fd, buffer, sizeof(buffer)), length);
        assert_memory_equal(buffer, text, length);
        close(fd);
    }
}

/* This program as a tool: answers every byte on standard input with the file, its size before it.
 */
static int tool_reader(const char *path, bool with_sendfile)
{
    char byte;

    while (read(STDIN_FILENO, &byte, 1) == 1) {
        char buffer[256];
        struct stat st;
        int fd = open(path, O_RDONLY);
        ssize_t n = 0;

        if (fd < 0 || (!with_sendfile && fstat(fd, &st) != 0))
            return 1;
        if (with_sendfile) {
            while (sendfile(STDOUT_FILENO, fd, NULL, 4096) > 0)
                ;
        } else {
            n = read(fd, buffer, sizeof(buffer));
            if (n != st.st_size || write(STDOUT_FILENO, buffer, (size_t)n) != n)
                return 1;
        }
        if (write(STDOUT_FILENO, ".", 1) != 1)
            return 1;
        close(fd);
    }
    return 0;
}

typedef struct {
    pid_t pid;
    int in, out;
} Looker;

static Looker start_reader(Mount *mount, const char *tool)
{
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL), *path = flags_path(mount);
    char *argv[] = {self, (char *)tool, path, NULL};
    Looker reader = {0};

    assert_true(g_spawn_async_with_pipes(NULL, argv, NULL, G_SPAWN_DO_NOT_REAP_CHILD, NULL, NULL,
                                         &reader.pid, &reader.in, &reader.out, NULL, NULL));
    return reader;
}

/* What the reader sees, up to ".". */
static void ask_reader(const Looker *reader, char *out, gsize size)
{
    gsize used = 0;

    assert_int_equal(write(reader->in, "x", 1), 1);
    while (used + 1 < size && read(reader->out, out + used, 1) == 1 && out[used] != '.')
        used++;
    out[used] = '\0';
}

static void check_reader(Mount *mount, const char *tool)
{
    Looker reader = start_reader(mount, tool);
    g_autofree char *path = flags_path(mount);
    int status = -1;

    for (guint i = 0; i < 1000; i++) {
        static const char *const texts[] = {"-longer", "+longer",    "+other",
                                            "-other",  "+\\Flagged", "-\\Flagged"};
        const char *text = texts[i % G_N_ELEMENTS(texts)];
        g_autofree char *want = NULL;
        char seen[256];
        int fd = open(path, O_WRONLY | O_APPEND);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, strlen(text)), strlen(text));
        close(fd);
        ask_reader(&reader, seen, sizeof(seen));
        want = flags_now(mount);
        g_strdelimit(g_strchomp(seen), "\n", ' ');
        if (strcmp(seen, want) != 0)
            fail_msg("%s %u: \"%s\", not \"%s\"", tool, i, seen, want);
        if (strstr(seen, text + 1) == NULL && *text == '+')
            fail_msg("%s %u: \"%s\" without %s", tool, i, seen, text);
    }
    close(reader.in);
    assert_int_equal(waitpid(reader.pid, &status, 0), reader.pid);
    assert_int_equal(status, 0);
    close(reader.out);
}

static void test_other_process(void **state)
{
    check_reader(*state, "read");
}

static void test_other_process_sendfile(void **state)
{
    check_reader(*state, "sendfile");
}

static void test_mmap(void **state)
{
    Mount *mount = *state;
    g_autofree char *path = flags_path(mount);
    int fd = open(path, O_RDONLY);
    volatile const char *map = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);

    assert_true(map != MAP_FAILED);
    assert_int_equal(map[1], 'S');
    for (guint i = 0; i < 500; i++) {
        put_flags(mount, i % 2 ? "\\Flagged" : "keyword");
        assert_int_equal(map[0], i % 2 ? '\\' : 'k');
    }
    munmap((void *)map, 4096);
    close(fd);
}

typedef struct {
    Mount *mount;
    guint number;
} Writer;

#define N_WRITERS 8
#define N_WRITES 60

static void *writer_thread(void *data)
{
    const Writer *writer = data;
    g_autofree char *path = g_strdup_printf("%s/INBOX/Projects/2025-11-20 Tool - Sizes.%u/flags",
                                            writer->mount->mountpoint, FIRST_TOOL + writer->number);

    for (guint i = 0; i < N_WRITES; i++) {
        g_autofree char *line = g_strdup_printf("+k%u\n", i);
        int fd = open(path, O_WRONLY | O_APPEND);

        if (fd < 0 || write(fd, line, strlen(line)) != (gssize)strlen(line))
            return (void *)"write";
        close(fd);
    }
    return NULL;
}

/* Callers that come together all get what they asked for. */
static void test_many_writers(void **state)
{
    Mount *mount = *state;
    pthread_t threads[N_WRITERS];
    Writer writers[N_WRITERS];
    guint32 box = 0, uid = 0;

    for (guint i = 0; i < N_WRITERS; i++) {
        writers[i] = (Writer){mount, i};
        assert_int_equal(pthread_create(&threads[i], NULL, writer_thread, &writers[i]), 0);
    }
    for (guint i = 0; i < N_WRITERS; i++) {
        void *failed = NULL;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    for (guint i = 0; i < N_WRITERS; i++) {
        g_autofree char *command = g_strdup_printf(
            "sort -u 'INBOX/Projects/2025-11-20 Tool - Sizes.%u/flags' | wc -l", FIRST_TOOL + i);
        check_shell(mount, command, G_STRINGIFY(N_WRITES) "\n");
    }
    assert_int_equal(count_logged(mount->world->engine, &box, &uid), N_WRITERS * N_WRITES);
    assert_int_equal(box, mount->world->projects);
}

/* --- extended attributes --- */

#define IMAP "user.imap.flags"
#define TAGS "user.xdg.tags"

static const struct {
    const char *name, *value; /* value NULL: remove */
    int flags, err;
    const char *want;
} attributes[] = {
    {IMAP, "\\Flagged new", 0, 0, "\\Flagged new"},
    {IMAP, "", 0, 0, ""},
    {IMAP, "\\Seen\n$Work", XATTR_REPLACE, 0, "\\Seen $Work"},
    {IMAP, "\\Seen", XATTR_CREATE, EEXIST, START},
    {IMAP, "\\Foo", 0, EINVAL, START},
    {IMAP, NULL, 0, 0, ""},
    {TAGS, "a,b", 0, 0, "\\Seen a b"},
    {TAGS, " a , b,,", 0, 0, "\\Seen a b"},
    {TAGS, "TODO", 0, 0, "\\Seen todo"},
    {TAGS, "", 0, 0, "\\Seen"},
    {TAGS, "a b", 0, EINVAL, START},
    {TAGS, "\\Flagged", 0, EINVAL, START},
    {TAGS, "a", XATTR_CREATE, EEXIST, START},
    {TAGS, "a", XATTR_REPLACE, 0, "\\Seen a"},
    {TAGS, NULL, 0, 0, "\\Seen"},
    {"user.imap.uid", "8", 0, EPERM, START},
    {"user.imapfs.state", NULL, 0, EPERM, START},
    {"user.mine", "x", 0, EPERM, START},
    {"trusted.x", "x", 0, EOPNOTSUPP, START},
};

static void test_attributes(void **state)
{
    Mount *mount = *state;

    for (guint i = 0; i < G_N_ELEMENTS(attributes); i++) {
        g_autofree char *path = path_of(mount, i % 2 ? A : A "/flags");
        const char *value = attributes[i].value;
        int err;

        put_flags(mount, START);
        err = value ? setxattr(path, attributes[i].name, value, strlen(value), attributes[i].flags)
                    : removexattr(path, attributes[i].name);
        err = err ? errno : 0;
        if (err != attributes[i].err)
            fail_msg("%u: %s", i, g_strerror(err));
        check_flags(mount, attributes[i].name, attributes[i].want);
    }
    {
        g_autofree char *path = path_of(mount, A);
        put_flags(mount, "\\Seen");
        assert_int_equal(removexattr(path, TAGS), -1);
        assert_int_equal(errno, ENODATA);
        assert_int_equal(setxattr(path, TAGS, "a", 1, XATTR_REPLACE), -1);
        assert_int_equal(errno, ENODATA);
        assert_int_equal(setxattr(path, TAGS, "a", 1, XATTR_CREATE), 0);
        check_flags(mount, "created", "\\Seen a");
    }
}

static char *state_of(Mount *mount)
{
    g_autofree char *path = path_of(mount, A);
    char value[32] = "";

    assert_true(getxattr(path, "user.imapfs.state", value, sizeof(value) - 1) > 0);
    return g_strdup(value);
}

#define check_state(mount, want)                       \
    do {                                               \
        g_autofree char *state_now_ = state_of(mount); \
        assert_string_equal(state_now_, want);         \
    } while (0)

static void set_box(Mount *mount, const char *permanent, bool read_only)
{
    StoreTxn *txn = store_begin(mount->world->store, false, NULL);
    StoreBox box = {0};

    assert_true(store_box_by_name(store_txn_reader(txn), "INBOX", &box));
    g_free(box.permanent_flags);
    box.permanent_flags = g_strdup(permanent);
    box.read_only = read_only;
    assert_true(store_box_update(txn, &box, NULL));
    store_box_clear(&box);
    assert_true(store_commit(txn, NULL));
}

/* A mailbox that is known not to keep keywords, and one that keeps nothing: a bulletin board. */
static void test_what_mailboxes_keep(void **state)
{
    Mount *mount = *state;
    g_autofree char *dir = path_of(mount, A);

    set_box(mount, "\\Seen \\Flagged", false);
    assert_int_equal(setxattr(dir, IMAP, "new", 3, 0), -1);
    assert_int_equal(errno, EACCES);
    check_flags(mount, "denied", START);
    check_shell(mount, "echo '+\\Flagged' >> '" A "/flags' && ls .imapfs/queue | wc -l", "1\n");
    check_shell(mount, "rm .imapfs/queue/*", "");
    set_box(mount, "", true);
    check_shell(mount, "echo '+here' >> '" A "/flags' && ls .imapfs/queue | wc -l", "0\n");
    check_flags(mount, "kept here", "\\Seen $Work here todo");
    check_state(mount, "local");
}

/* --- failures --- */

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define RACES_ARE_SEEN /* points are armed before there are threads, except here */
#endif
#endif

static void arm(const char *fault)
{
#ifdef RACES_ARE_SEEN
    skip();
#endif
    g_setenv("IMAPFS_FAULT", fault, TRUE);
    fault_init();
}

/* The disk is full: true errno, nothing changed, and the next attempt means what this one did. */
static void test_disk_full(void **state)
{
    Mount *mount = *state;
    g_autofree char *path = flags_path(mount), *dir = path_of(mount, A);
    guint32 box = 0, uid = 0;
    int fd = open(path, O_WRONLY | O_TRUNC);

    assert_true(fd >= 0);
    arm("store.commit:1=ENOSPC");
    assert_int_equal(write(fd, "\\Flagged\n", 9), -1);
    assert_int_equal(errno, ENOSPC);
    check_flags(mount, "ENOSPC", START);
    assert_int_equal(count_logged(mount->world->engine, &box, &uid), 0);
    assert_int_equal(write(fd, "\\Draft\n", 7), 7);
    check_flags(mount, "again", "\\Draft");
    close(fd);
    arm("store.begin:1=EIO");
    assert_int_equal(setxattr(dir, IMAP, "x", 1, 0), -1);
    assert_int_equal(errno, EIO);
    check_flags(mount, "EIO", "\\Draft");
    fd = open(path, O_WRONLY | O_TRUNC);
    arm("store.commit:1=ENOSPC");
    assert_int_equal(write(fd, "a\n", 2), -1);
    close(fd); /* a text that was not taken is no empty text */
    check_flags(mount, "closed", "\\Draft");
}

/* --- .imapfs --- */

static guint32 first_seq(Mount *mount, const char *dir)
{
    g_autofree char *command = g_strdup_printf("ls .imapfs/%s | head -1", dir);
    g_autofree char *name = shell(mount, NULL, command);

    return (guint32)g_ascii_strtoull(name, NULL, 10);
}

static void in_txn(Mount *mount, bool (*f)(StoreTxn *, guint32, GError **), guint32 seq)
{
    StoreTxn *txn = store_begin(mount->world->store, true, NULL);
    g_autoptr(GError) error = NULL;

    assert_non_null(txn);
    if (!f(txn, seq, &error))
        fail_msg("%s", error->message);
    assert_true(store_commit(txn, NULL));
}

static bool park(StoreTxn *txn, guint32 seq, GError **error)
{
    return log_park(txn, seq, "not \033[1mpermitted", error);
}

static bool claim(StoreTxn *txn, guint32 seq, GError **error)
{
    g_autoptr(GPtrArray) ops = NULL;
    StoreBox box = {0};
    guint32 id;

    assert_true(store_box_by_name(store_txn_reader(txn), "INBOX", &box));
    id = box.id;
    store_box_clear(&box);
    return log_claim(txn, id, clock_real_ns(), LOG_ANY, 100, &ops, error);
}

static bool recover(StoreTxn *txn, guint32 seq, GError **error)
{
    return log_recover(txn, error);
}

static void test_queue(void **state)
{
    Mount *mount = *state;
    g_autofree char *name = NULL, *path = NULL;

    check_state(mount, "synced");
    check_shell(mount, "ls .imapfs", "ctl\nevents\nfailed\nlog\nmaildir\nqueue\nraw\nstatus\n");
    check_shell(mount, "ls .imapfs/queue .imapfs/failed", ".imapfs/failed:\n\n.imapfs/queue:\n");
    check_shell(mount, "printf '%s\\n' '+\\Flagged' -todo >> '" A "/flags'", "");
    check_state(mount, "queued");
    check_shell(mount, "ls .imapfs/queue | sed 's/^[0-9]*//'", "-flags\n");
    check_shell(mount, "sed '/^logged: 20..-..-..T..:..:..Z$/d' .imapfs/queue/*-flags",
                "mailbox: INBOX\nmessage: 2025-11-20 Alice Doe - Quarterly report.7\n"
                "set: \\Flagged\nclear: todo\nstate: queued\nattempts: 0\n");
    check_shell(mount, "cd .imapfs/queue; f=$(echo *); test $(stat -c %s $f) = $(cat $f | wc -c)",
                "");
    name = g_strdup_printf(".imapfs/queue/%u-flags", first_seq(mount, "queue"));
    path = path_of(mount, name);

    /* it is being sent: not to be taken back */
    in_txn(mount, claim, 0);
    assert_int_equal(unlink(path), -1);
    assert_int_equal(errno, EBUSY);
    check_shell(mount, "grep state .imapfs/queue/*", "state: being sent\n");
    in_txn(mount, recover, 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(unlink(path), -1);
    assert_int_equal(errno, ENOENT);
    check_flags(mount, "cancelled", START);
    check_state(mount, "synced");
    check_shell(mount, "ls .imapfs/queue", "");
    check_shell(mount, "rm .imapfs/queue/99-flags 2>/dev/null || echo no", "no\n");
}

/* Puts one operation where those are that failed. */
static guint32 fail_one(Mount *mount)
{
    guint32 seq;

    check_shell(mount, "echo '+\\Flagged' >> '" A "/flags'", "");
    seq = first_seq(mount, "queue");
    in_txn(mount, park, seq);
    check_flags(mount, "rolled back", START);
    check_state(mount, "failed");
    check_shell(mount, "ls .imapfs/queue", "");
    return seq;
}

#define FAILED ".imapfs/failed/*-flags"
#define IN_FAILED "cd " FAILED " && "

static void test_failed(void **state)
{
    Mount *mount = *state;

    fail_one(mount);
    check_shell(mount, "ls " FAILED, "discard\nmessage\nmessage.eml\nreason.txt\nretry\n");
    check_shell(mount, "sed '/^logged/d' " FAILED "/reason.txt",
                "mailbox: INBOX\nmessage: 2025-11-20 Alice Doe - Quarterly report.7\n"
                "set: \\Flagged\nstate: failed\nattempts: 0\nreason: not \\x1B[1mpermitted\n");
    check_shell(mount, "cat " FAILED "/message/flags", "\\Seen\n$Work\ntodo\n");
    check_shell(mount, "cat " FAILED "/message.eml | wc -c", "300000\n");
    check_shell(mount, "cat " FAILED "/retry | wc -l", "1\n");
    check_shell(mount, "cat " FAILED "/discard | wc -l", "1\n");
    check_state(mount, "failed"); /* reading does nothing */
}

/* Each way to retry: the operation is in the queue again, shown, and not in failed/. */
static void test_retry(void **state)
{
    static const char *const ways[] = {
        IN_FAILED "echo > retry",
        IN_FAILED ": > retry",
        IN_FAILED "echo now >> retry",
        "truncate -s 0 " FAILED "/retry",
        "touch " FAILED "/retry",
        "echo retry $(ls .imapfs/failed | sed s/-.*//) > .imapfs/ctl",
        "echo retry all > .imapfs/ctl",
    };
    Mount *mount = *state;

    for (guint i = 0; i < G_N_ELEMENTS(ways); i++) {
        fail_one(mount);
        check_shell(mount, ways[i], "");
        check_shell(mount, "ls .imapfs/failed; ls .imapfs/queue | wc -l", "1\n");
        check_state(mount, "queued");
        check_flags(mount, ways[i], "\\Seen \\Flagged $Work todo");
        check_shell(mount, "rm .imapfs/queue/*", "");
    }
}

static void test_discard(void **state)
{
    static const char *const ways[] = {
        IN_FAILED "echo > discard",
        IN_FAILED ": > discard",
        "touch " FAILED "/discard",
        "rmdir " FAILED,
        "rm -r " FAILED,
        "echo discard all > .imapfs/ctl",
        "echo discard $(ls .imapfs/failed | sed s/-.*//) > .imapfs/ctl",
    };
    Mount *mount = *state;

    for (guint i = 0; i < G_N_ELEMENTS(ways); i++) {
        fail_one(mount);
        check_shell(mount, ways[i], "");
        check_shell(mount, "ls .imapfs/failed .imapfs/queue | grep -c flags; true", "0\n");
        check_state(mount, "synced");
        check_flags(mount, ways[i], START);
    }
}

static int word_errno(Mount *mount, const char *text)
{
    g_autofree char *path = path_of(mount, ".imapfs/ctl");
    int fd = open(path, O_WRONLY), err;

    assert_true(fd >= 0);
    err = write(fd, text, strlen(text)) == (gssize)strlen(text) ? 0 : errno;
    close(fd);
    return err;
}

static void test_ctl(void **state)
{
    static const struct {
        const char *text;
        int err;
    } words[] = {
        {"nonsense\n", EINVAL},     {"\n", EINVAL},
        {"sync now\n", EINVAL},     {"retry\n", EINVAL},
        {"retry x\n", EINVAL},      {"retry 99\n", ENOENT},
        {"cancel 99", ENOENT},      {"discard 99", ENOENT},
        {"cancel all\n", 0},        {"retry all\n", 0},
        {"offline online", EINVAL}, {"sync\n", 0},
    };
    Mount *mount = *state;
    Engine *engine = mount->world->engine;

    for (guint i = 0; i < G_N_ELEMENTS(words); i++) {
        if (word_errno(mount, words[i].text) != words[i].err)
            fail_msg("%s: %s", words[i].text, g_strerror(word_errno(mount, words[i].text)));
    }
    assert_int_equal(word_errno(mount, "offline\n"), 0);
    assert_true(engine_is_offline(engine));
    assert_int_equal(word_errno(mount, "sync\n"), 0); /* nothing is pending */
    check_shell(mount, "echo +x >> '" A "/flags'", "");
    assert_int_equal(word_errno(mount, "sync\n"), ENETUNREACH);
    assert_int_equal(word_errno(mount, "online"), 0);
    assert_false(engine_is_offline(engine));
    assert_int_equal(word_errno(mount, "sync\n"), 0);
    assert_int_equal(word_errno(mount, "cancel all\n"), 0);
    check_flags(mount, "cancelled", START);
    check_shell(mount, "stat -c '%A %s' .imapfs/ctl", "--w------- 0\n");
}

static int fsync_errno(Mount *mount, const char *name)
{
    g_autofree char *path = path_of(mount, name);
    int fd = open(path, O_RDONLY), err;

    assert_true(fd >= 0);
    err = fsync(fd) == 0 ? 0 : errno;
    close(fd);
    return err;
}

static void test_fsync(void **state)
{
    static const struct {
        const char *name;
        int pending, failed; /* while message 7 has a change that is the one, or the other */
    } rows[] = {
        {A, ENETUNREACH, EIO},
        {A "/flags", 0, 0},
        {A "/body.txt", 0, 0},
        {"INBOX", ENETUNREACH, 0},
        {"", ENETUNREACH, 0},
        {".imapfs", ENETUNREACH, 0},
        {B, 0, 0},
        {"INBOX/Projects", 0, 0},
    };
    Mount *mount = *state;

    engine_set_offline(mount->world->engine, true);
    for (guint i = 0; i < G_N_ELEMENTS(rows); i++)
        assert_int_equal(fsync_errno(mount, rows[i].name), 0);
    check_shell(mount, "echo +x >> '" A "/flags'", "");
    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        if (fsync_errno(mount, rows[i].name) != rows[i].pending)
            fail_msg("%s pending", rows[i].name);
    }
    in_txn(mount, park, first_seq(mount, "queue"));
    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        if (fsync_errno(mount, rows[i].name) != rows[i].failed)
            fail_msg("%s failed", rows[i].name);
    }
}

/* Whoever waits for the server can be interrupted. */
static void test_fsync_interrupted(void **state)
{
    Mount *mount = *state;
    Engine *engine = mount->world->engine;
    char *argv[] = {"sh", "-c", "echo sync > .imapfs/ctl", NULL};
    pid_t pid = 0;
    int status = 0;

    check_shell(mount, "echo +x >> '" A "/flags'", "");
    fake_engine_stall(engine, 0, true);
    assert_true(
        g_spawn_async(mount->mountpoint, argv, NULL,
                      G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_STDERR_TO_DEV_NULL,
                      NULL, NULL, &pid, NULL));
    eventually(fake_engine_waiting(engine) == 1);
    check_shell(mount, "echo +y >> '" A "/flags'", ""); /* holds nobody else up */
    kill(pid, SIGINT);
    eventually(has_ended(pid, &status));
    assert_true(WIFSIGNALED(status));
    eventually(fake_engine_waiting(engine) == 0);
}

/* A real tail -f. */
static void test_events(void **state)
{
    Mount *mount = *state;
    Engine *engine = mount->world->engine;
    char *argv[] = {"tail", "-n", "+1", "-s", "0.05", "-f", ".imapfs/events", NULL};
    char seen[256] = "";
    gsize used = 0;
    pid_t pid = 0;
    int out = -1, status = 0;

    fake_engine_add_event(engine, "one\n");
    check_shell(mount, "cat .imapfs/events; stat -c %s .imapfs/events", "one\n4\n");
    assert_true(g_spawn_async_with_pipes(mount->mountpoint, argv, NULL,
                                         G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD, NULL,
                                         NULL, &pid, NULL, &out, NULL, NULL));
    for (guint i = 2; i < 6; i++) {
        g_autofree char *line = g_strdup_printf("event %u\n", i);
        const char *last = i == 2 ? "one\n" : line;

        fake_engine_add_event(engine, i == 2 ? "" : line);
        while (!strstr(seen, last)) {
            ssize_t n = read(out, seen + used, sizeof(seen) - 1 - used);
            assert_true(n > 0);
            used += (gsize)n;
        }
    }
    assert_string_equal(seen, "one\nevent 3\nevent 4\nevent 5\n");
    kill(pid, SIGTERM);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    close(out);
}

/* The mount ends while changes come: each call ends, in one way or another. */
static void test_end_while_changing(void **state)
{
    Mount *mount = *state;
    char *argv[] = {"sh", "-c", "while echo +x >> '" A "/flags'; do :; done", NULL};
    pid_t pids[4];
    int status = 0;

    for (guint i = 0; i < G_N_ELEMENTS(pids); i++)
        assert_true(g_spawn_async(mount->mountpoint, argv, NULL,
                                  G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD |
                                      G_SPAWN_STDERR_TO_DEV_NULL,
                                  NULL, NULL, &pids[i], NULL));
    g_usleep(200000);
    kill(getpid(), SIGTERM);
    eventually(g_atomic_int_get(&mount->ended));
    assert_int_equal(mount->status, 0);
    for (guint i = 0; i < G_N_ELEMENTS(pids); i++)
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(test_writes),
        TEST(test_parts_of_a_text),
        TEST(test_read_and_write),
        TEST(test_reasons),
        TEST(test_tight_loop),
        TEST(test_other_process),
        TEST(test_other_process_sendfile),
        TEST(test_mmap),
        TEST(test_many_writers),
        TEST(test_attributes),
        TEST(test_what_mailboxes_keep),
        TEST(test_disk_full),
        TEST(test_queue),
        TEST(test_failed),
        TEST(test_retry),
        TEST(test_discard),
        TEST(test_ctl),
        TEST(test_fsync),
        TEST(test_fsync_interrupted),
        TEST(test_events),
        TEST(test_end_while_changing),
    };

    setvbuf(stdout, NULL, _IOLBF, 0); /* so that a crash shows where */
    if (argc == 3)
        return tool_reader(argv[2], strcmp(argv[1], "sendfile") == 0);
    if (access("/dev/fuse", R_OK | W_OK) != 0)
        return 77;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
