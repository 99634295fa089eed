/* test_open.c - opening: directories, locks, accounts, versions, damage, no room. */
#include "store_test.h"
#include <fcntl.h>
#include <pwd.h>
#include <sqlite3.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include "../../../src/store/private.h"
#include "../../../src/store/schema.h"

static void run_sql(const char *path, const char *sql)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

/* Opening fails, with this code and these words. */
static void assert_refused(Fixture *fixture, int code, const char *words)
{
    g_autoptr(GError) error = NULL;
    Store *store = fixture_try(fixture, 1000, &error);
    assert_null(store);
    assert_non_null(error);
    if (!g_error_matches(error, IMAPFS_ERROR, code) || strstr(error->message, words) == NULL)
        fail_msg("want %s and \"%s\", got: %s", imapfs_error_name(code), words, error->message);
}

static void test_modes(void **state)
{
    static const struct {
        mode_t before;
        bool ok;
    } cases[] = {{0700, true}, {0755, true}, {0777, false}, {0720, false}, {0702, false}};
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++)
        for (int which = 0; which < 2; which++) {
            Fixture fixture;
            struct stat st;
            fixture_init(&fixture);
            const char *dir = which == 0 ? fixture.state : fixture.cache;
            assert_int_equal(mkdir(dir, 0700), 0);
            assert_int_equal(chmod(dir, cases[i].before), 0);
            if (cases[i].ok) {
                fixture_open(&fixture);
                assert_int_equal(stat(dir, &st), 0);
                assert_int_equal(st.st_mode & 07777, 0700);
            } else {
                assert_refused(&fixture, IMAPFS_ERROR_CONFIG, "may be written by others");
            }
            fixture_clear(&fixture);
        }
}

static void test_directories(void **state)
{
    Fixture fixture;
    fixture_init(&fixture);
    /* Parents are made. */
    g_free(fixture.state);
    fixture.state = g_build_filename(fixture.dir, "deep", "er", "state", NULL);
    fixture_open(&fixture);
    fixture_close(&fixture);
    /* A link in the last place is refused, wherever it leads. */
    g_autofree char *real = g_strdup(fixture.state);
    g_free(fixture.state);
    fixture.state = g_build_filename(fixture.dir, "link", NULL);
    assert_int_equal(symlink(real, fixture.state), 0);
    assert_refused(&fixture, IMAPFS_ERROR_CONFIG, "symbolic link");
    /* A link above is fine. */
    g_free(fixture.state);
    g_autofree char *up = g_path_get_dirname(real);
    g_autofree char *link = g_build_filename(fixture.dir, "up", NULL);
    assert_int_equal(symlink(up, link), 0);
    fixture.state = g_build_filename(link, "state", NULL);
    fixture_open(&fixture);
    fixture_close(&fixture);
    /* A file in its place. */
    g_free(fixture.state);
    fixture.state = g_build_filename(fixture.dir, "file", NULL);
    assert_true(g_file_set_contents(fixture.state, "x", 1, NULL));
    assert_refused(&fixture, IMAPFS_ERROR_CONFIG, "not a directory");
    fixture_clear(&fixture);
}

static void test_files_of_others(void **state)
{
    static const char *const names[] = {"state/index.db", "cache/content.db", "state/lock",
                                        "cache/cache.lock"};
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        Fixture fixture;
        fixture_init(&fixture);
        g_autofree char *path = g_build_filename(fixture.dir, names[i], NULL);
        g_autofree char *dir = g_path_get_dirname(path);
        assert_int_equal(mkdir(dir, 0700), 0);
        assert_int_equal(symlink("/dev/null", path), 0);
        assert_refused(&fixture, IMAPFS_ERROR_CONFIG, "symbolic link");
        assert_int_equal(unlink(path), 0);
        assert_int_equal(mkfifo(path, 0600), 0);
        assert_refused(&fixture, IMAPFS_ERROR_CONFIG, "not a file of ours");
        assert_int_equal(unlink(path), 0);
        if (geteuid() == 0) {
            assert_true(g_file_set_contents(path, "", 0, NULL));
            assert_int_equal(chown(path, 12345, 12345), 0);
            assert_refused(&fixture, IMAPFS_ERROR_CONFIG, "not a file of ours");
            assert_int_equal(chown(path, 0, 0), 0);
            assert_int_equal(chown(dir, 12345, 12345), 0);
            assert_refused(&fixture, IMAPFS_ERROR_CONFIG, "belongs to another user (12345)");
            assert_int_equal(chown(dir, 0, 0), 0);
        }
        /* Mere readability is corrected. */
        assert_true(g_file_set_contents(path, "", 0, NULL));
        assert_int_equal(chmod(path, 0644), 0);
        fixture_open(&fixture);
        struct stat st;
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
        fixture_clear(&fixture);
    }
}

static void test_second_mount(void **state)
{
    Fixture fixture;
    fixture_init(&fixture);
    fixture_open(&fixture);
    g_autofree char *words = g_strdup_printf("in use by another imapfs, process %d", (int)getpid());
    Fixture other = fixture;
    assert_refused(&other, IMAPFS_ERROR_BUSY, words);
    other.cache = g_build_filename(fixture.dir, "cache2", NULL); /* the same state */
    assert_refused(&other, IMAPFS_ERROR_BUSY, words);
    g_free(other.cache);
    other.cache = fixture.cache;
    other.state = g_build_filename(fixture.dir, "state2", NULL); /* the same cache */
    assert_refused(&other, IMAPFS_ERROR_BUSY, words);
    g_free(other.state);
    /* The refused ones did no harm; and once it is closed, the next one may. */
    put_msgs(fixture.store, 1, 1, 1);
    fixture_close(&fixture);
    fixture_open(&fixture);
    fixture_clear(&fixture);
}

static void test_other_account(void **state)
{
    Fixture fixture;
    GError *error = NULL;
    fixture_init(&fixture);
    fixture_open(&fixture);
    fixture_close(&fixture);
    StoreConfig config = {fixture.state, fixture.cache, 1000, "bob@example.org"};
    assert_null(store_open(&config, &error));
    assert_true(g_error_matches(error, IMAPFS_ERROR, IMAPFS_ERROR_CONFIG));
    assert_non_null(strstr(error->message, "of the account alice@example.org, not of bob"));
    g_clear_error(&error);
    fixture_open(&fixture);
    fixture_clear(&fixture);
}

static void test_versions(void **state)
{
    static const struct {
        const char *sql, *words;
    } cases[] = {{"PRAGMA user_version = 9999", "written by a newer imapfs (schema version 9999"},
                 {"PRAGMA application_id = 7", "another program's"},
                 {"PRAGMA user_version = -1", "another program's"}};
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        Fixture fixture;
        fixture_init(&fixture);
        fixture_open(&fixture);
        put_msgs(fixture.store, 1, 1, 3);
        ContentKey key = {1, 1, CONTENT_RAW, ""};
        put_content(fixture.store, &key, 1, 200000);
        g_autofree char *index = g_strdup(fixture.store->index_path);
        g_autofree char *content = g_strdup(fixture.store->content_path);
        fixture_close(&fixture);
        /* The cache is just dropped ... */
        run_sql(content, cases[i].sql);
        fixture_open(&fixture);
        assert_false(content_exists(store_reader(fixture.store), &key));
        guint64 bytes, count;
        content_stats(fixture.store, &bytes, &count);
        assert_true(bytes == 0 && count == 0);
        put_content(fixture.store, &key, 1, 200000);
        assert_int_equal(store_msg_count(store_reader(fixture.store), 1), 3);
        fixture_close(&fixture);
        /* ... the index is not touched. */
        run_sql(index, cases[i].sql);
        assert_refused(&fixture, IMAPFS_ERROR_STORE, cases[i].words);
        assert_refused(&fixture, IMAPFS_ERROR_STORE, cases[i].words);
        fixture_clear(&fixture);
    }
}

static guint count_matching(const char *path, const char *prefix)
{
    GDir *dir = g_dir_open(path, 0, NULL);
    guint n = 0;
    for (const char *name; (name = g_dir_read_name(dir)) != NULL;)
        n += g_str_has_prefix(name, prefix) ? 1 : 0;
    g_dir_close(dir);
    return n;
}

static void overwrite(const char *path, off_t at, gsize length)
{
    g_autofree char *junk = g_strnfill(length, 'j');
    int fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, junk, length, at), (ssize_t)length);
    close(fd);
}

static void mark_unclean(const char *dir, const char *lock)
{
    g_autofree char *path = g_build_filename(dir, lock, NULL);
    assert_true(g_file_set_contents(path, "1\n", 2, NULL));
}

static void test_damaged_index(void **state)
{
    static const struct {
        const char *name;
        off_t at;
        gsize length;
        bool crashed;
    } cases[] = {{"no database", 0, 4096, false},
                 {"no schema", 100, 3900, false},
                 {"a page, after a crash", 3 * 4096, 4096, true}};
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        Fixture fixture;
        fixture_init(&fixture);
        fixture_open(&fixture);
        reconcile(fixture.store, "INBOX", 1, NULL, NULL);
        put_msgs(fixture.store, 1, 1, 2000);
        ContentKey key = {1, 1, CONTENT_RAW, ""}, large = {1, 2, CONTENT_RAW, ""};
        put_content(fixture.store, &key, 1, 100);
        put_content(fixture.store, &large, 1, 100000);
        g_autofree char *index = g_strdup(fixture.store->index_path);
        fixture_close(&fixture);
        overwrite(index, cases[i].at, cases[i].length);
        if (cases[i].crashed)
            mark_unclean(fixture.state, "lock");
        fixture_open(&fixture);
        if (count_matching(fixture.state, "index.db.damaged-") == 0)
            fail_msg("%s: not moved aside", cases[i].name);
        /* New, and without the contents that went by the old numbers. */
        assert_int_equal(box_id(fixture.store, "INBOX"), 0);
        assert_int_equal(store_msg_count(store_reader(fixture.store), 1), 0);
        assert_false(content_exists(store_reader(fixture.store), &key));
        assert_false(content_exists(store_reader(fixture.store), &large));
        g_autofree char *files = g_build_filename(fixture.cache, "content", NULL);
        assert_int_equal(count_matching(files, ""), 0);
        put_msgs(fixture.store, 1, 1, 1);
        fixture_clear(&fixture);
    }
}

/* Damage that is met while running: an error, never "there is nothing"; and the next open finds
 * it. */
static void test_damage_while_running(void **state)
{
    Fixture fixture;
    GError *error = NULL;
    fixture_init(&fixture);
    fixture_open(&fixture);
    put_msgs(fixture.store, 1, 1, 5000);
    g_autofree char *index = g_strdup(fixture.store->index_path);
    fixture_close(&fixture);
    struct stat st;
    assert_int_equal(stat(index, &st), 0);
    overwrite(index, 60 * 4096, (gsize)st.st_size - 60 * 4096); /* after the schema */
    fixture_open(&fixture); /* it was closed well: not all is checked */
    StoreReader *reader = store_reader(fixture.store);
    uidset_free(store_msg_uids(reader, 1));
    store_msg_count(reader, 1);
    assert_false(store_reader_check(reader, &error));
    assert_true(g_error_matches(error, IMAPFS_ERROR, IMAPFS_ERROR_STORE));
    g_clear_error(&error);
    assert_true(store_reader_check(reader, &error)); /* told once */
    fixture_close(&fixture);
    fixture_open(&fixture);
    assert_int_equal(count_matching(fixture.state, "index.db.damaged-"), 1);
    fixture_clear(&fixture);
}

static void test_damaged_content(void **state)
{
    Fixture fixture;
    fixture_init(&fixture);
    fixture_open(&fixture);
    put_msgs(fixture.store, 1, 1, 2);
    ContentKey key = {1, 1, CONTENT_RAW, ""};
    put_content(fixture.store, &key, 1, 100000);
    g_autofree char *path = g_strdup(fixture.store->content_path);
    fixture_close(&fixture);
    overwrite(path, 0, 4096);
    fixture_open(&fixture);
    assert_false(content_exists(store_reader(fixture.store), &key));
    assert_int_equal(store_msg_count(store_reader(fixture.store), 1), 2);
    assert_int_equal(store_size_get(store_reader(fixture.store), 1, 1, CONTENT_RAW, ""), 100000);
    put_content(fixture.store, &key, 1, 100000);
    fixture_clear(&fixture);
}

/* Damage behind what an open looks at: the next open drops the cache, whether it was met while
 * running or is met when what a crash left is looked for; and it can be written again. */
static void test_damaged_content_later(void **state)
{
    for (int crashed = 0; crashed < 2; crashed++) {
        Fixture fixture;
        fixture_init(&fixture);
        fixture_open(&fixture);
        for (guint32 uid = 1; uid <= 200; uid++) {
            ContentKey key = {1, uid, CONTENT_RAW, ""};
            put_content(fixture.store, &key, uid, uid == 200 ? 100000 : 2000);
        }
        g_autofree char *path = g_strdup(fixture.store->content_path);
        fixture_close(&fixture);
        struct stat st;
        assert_int_equal(stat(path, &st), 0);
        gsize length = crashed ? (gsize)st.st_size - 10 * 4096 : 50 * 4096;
        overwrite(path, 10 * 4096, length); /* after the schema */
        if (crashed)
            mark_unclean(fixture.cache, "cache.lock");
        fixture_open(&fixture);
        ContentKey key = {1, 100, CONTENT_RAW, ""};
        if (!crashed) {
            assert_null(content_open(store_reader(fixture.store), &key));
            assert_false(store_reader_check(store_reader(fixture.store), NULL));
            fixture_close(&fixture);
            fixture_open(&fixture);
        }
        assert_false(content_exists(store_reader(fixture.store), &key));
        assert_true(store_reader_check(store_reader(fixture.store), NULL));
        put_content(fixture.store, &key, 1, 100000);
        g_autofree char *files = g_build_filename(fixture.cache, "content", NULL);
        assert_int_equal(count_matching(files, ""), 1);
        fixture_clear(&fixture);
    }
}

/* An open that fails leaves the files as it found them, and what the one before it had left to do.
 */
static void test_refused_changes_nothing(void **state)
{
    Fixture fixture;
    GError *error = NULL;
    const ContentKey key = {1, 1, CONTENT_RAW, ""};
    fixture_init(&fixture);
    fixture_open(&fixture);
    put_content(fixture.store, &key, 1, 100);
    fixture_close(&fixture);
    for (int unclean = 0; unclean < 2; unclean++) {
        StoreConfig other = {fixture.state, fixture.cache, 1000, "bob@example.org"};
        g_autofree char *half =
            g_build_filename(fixture.cache, "content", "00000000000000ff.tmp", NULL);
        assert_true(g_file_set_contents(half, "x", 1, NULL));
        if (unclean)
            mark_unclean(fixture.cache, "cache.lock");
        assert_null(store_open(&other, &error));
        g_clear_error(&error);
        fixture_open(&fixture);
        assert_true(content_exists(store_reader(fixture.store), &key));
        assert_int_equal(g_file_test(half, G_FILE_TEST_EXISTS), !unclean);
        fixture_close(&fixture);
    }
    fixture_clear(&fixture);
}

/* The cache may be wiped, and the state, each without the other. */
static void test_wiped(void **state)
{
    Fixture fixture;
    fixture_init(&fixture);
    fixture_open(&fixture);
    put_msgs(fixture.store, 1, 1, 2);
    ContentKey key = {1, 1, CONTENT_RAW, ""};
    put_content(fixture.store, &key, 1, 100);
    fixture_close(&fixture);
    remove_tree(fixture.cache);
    fixture_open(&fixture);
    assert_int_equal(store_msg_count(store_reader(fixture.store), 1), 2);
    assert_false(content_exists(store_reader(fixture.store), &key));
    put_content(fixture.store, &key, 1, 100);
    fixture_close(&fixture);
    remove_tree(fixture.state);
    fixture_open(&fixture);
    assert_int_equal(store_msg_count(store_reader(fixture.store), 1), 0);
    assert_false(content_exists(store_reader(fixture.store), &key));
    fixture_clear(&fixture);
}

/* The database of the cache alone is deleted: its files are not left behind for ever. */
static void test_wiped_database(void **state)
{
    Fixture fixture;
    fixture_init(&fixture);
    fixture_open(&fixture);
    ContentKey key = {1, 1, CONTENT_RAW, ""};
    put_content(fixture.store, &key, 1, 100000);
    g_autofree char *content = g_strdup(fixture.store->content_path);
    g_autofree char *files = g_build_filename(fixture.cache, "content", NULL);
    fixture_close(&fixture);
    assert_int_equal(count_matching(files, ""), 1);
    assert_int_equal(unlink(content), 0);
    fixture_open(&fixture);
    assert_int_equal(count_matching(files, ""), 0);
    fixture_clear(&fixture);
}

static void copy_file(const char *from, const char *to)
{
    g_autofree char *bytes = NULL;
    gsize length;
    assert_true(g_file_get_contents(from, &bytes, &length, NULL));
    assert_true(g_file_set_contents(to, bytes, (gssize)length, NULL));
}

/* The index is one of before (of a backup; or the machine died, and the cache was on disk sooner):
 * the numbers that it gives next have had other mailboxes. */
static void test_index_of_before(void **state)
{
    for (int newer = 0; newer < 2; newer++) {
        Fixture fixture;
        fixture_init(&fixture);
        fixture_open(&fixture);
        reconcile(fixture.store, "INBOX", 1, NULL, NULL);
        guint32 inbox = box_id(fixture.store, "INBOX");
        const ContentKey key = {inbox, 1, CONTENT_RAW, ""};
        put_content(fixture.store, &key, 1, 100);
        g_autofree char *index = g_strdup(fixture.store->index_path);
        g_autofree char *copy = g_build_filename(fixture.dir, "copy", NULL);
        fixture_close(&fixture);
        copy_file(index, copy);
        fixture_open(&fixture);
        reconcile(fixture.store, "INBOX Work", 2, NULL, NULL);
        const ContentKey work = {box_id(fixture.store, "Work"), 1, CONTENT_RAW, ""};
        if (newer)
            put_content(fixture.store, &work, 2, 100);
        fixture_close(&fixture);
        copy_file(copy, index);
        fixture_open(&fixture);
        reconcile(fixture.store, "Family INBOX", 3, NULL, NULL);
        assert_int_equal(box_id(fixture.store, "Family"), work.box);
        assert_false(content_exists(store_reader(fixture.store), &work));
        assert_int_equal(content_exists(store_reader(fixture.store), &key), !newer);
        fixture_clear(&fixture);
    }
}

/* --- migrations --- */

static const char *const synthetic[] = {
    "CREATE TABLE t(a); INSERT INTO t VALUES(1)",
    "ALTER TABLE t ADD COLUMN b; UPDATE t SET b = a + 1",
    "CREATE TABLE u AS SELECT a + b AS c FROM t; DROP TABLE t",
    "INSERT INTO u VALUES(10); INSERT INTO nowhere VALUES(1)", /* fails after its first half */
};

static Db *open_db(Fixture *fixture)
{
    GError *error = NULL;
    g_autofree char *path = g_build_filename(fixture->dir, "test.db", NULL);
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    close(fd);
    Db *db = db_open(path, "test", true, 100, NULL, &error);
    assert_no_error(error);
    return db;
}

static gint64 get_int(Db *db, const char *sql)
{
    GError *error = NULL;
    gint64 out = -1;
    assert_true(db_get_int(db, sql, &out, &error));
    return out;
}

static void test_migrations(void **state)
{
    for (int from = 0; from <= 3; from++) {
        Fixture fixture;
        GError *error = NULL;
        bool unknown;
        fixture_init(&fixture);
        Db *db = open_db(&fixture);
        Schema old = {77, synthetic, from}, now = {77, synthetic, 3}, broken = {77, synthetic, 4};
        assert_true(schema_migrate(db, &old, &unknown, &error));
        db_close(db);
        db = open_db(&fixture);
        assert_true(schema_migrate(db, &now, &unknown, &error));
        assert_true(schema_migrate(db, &now, &unknown, &error)); /* nothing to do */
        assert_int_equal(get_int(db, "PRAGMA user_version"), 3);
        assert_int_equal(get_int(db, "PRAGMA application_id"), 77);
        assert_int_equal(get_int(db, "SELECT sum(c) FROM u"), 3);
        /* A step that fails leaves the version before it, whole. */
        assert_false(schema_migrate(db, &broken, &unknown, &error));
        assert_non_null(strstr(error->message, "schema version 4"));
        assert_false(unknown);
        g_clear_error(&error);
        assert_int_equal(get_int(db, "PRAGMA user_version"), 3);
        assert_int_equal(get_int(db, "SELECT sum(c) FROM u"), 3);
        /* An older program. */
        Schema older = {77, synthetic, 2};
        assert_false(schema_migrate(db, &older, &unknown, &error));
        assert_true(unknown);
        g_clear_error(&error);
        db_close(db);
        fixture_clear(&fixture);
    }
}

/* --- no room, no writing --- */

/* In a process and mount namespace of its own. */
static void in_child(void (*body)(void))
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        alarm(60);
        body();
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (!WIFEXITED(status) || (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != 77))
        fail_msg("status %x", (unsigned)status);
    if (WEXITSTATUS(status) == 77)
        skip();
}

#define child_check(condition)                                      \
    do {                                                            \
        if (!(condition)) {                                         \
            fprintf(stderr, "line %d: %s\n", __LINE__, #condition); \
            _exit(1);                                               \
        }                                                           \
    } while (0)

static void mount_tmpfs(const char *dir, const char *options)
{
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("tmpfs", dir, "tmpfs", 0, options) != 0)
        _exit(77); /* not allowed here */
}

static Fixture in_tmpfs;

static void read_only_body(void)
{
    GError *error = NULL;
    mount_tmpfs(in_tmpfs.dir, "size=4m");
    child_check(mount(NULL, in_tmpfs.dir, NULL, MS_REMOUNT | MS_RDONLY, NULL) == 0);
    child_check(fixture_try(&in_tmpfs, 1000, &error) == NULL);
    child_check(g_error_matches(error, IMAPFS_ERROR, IMAPFS_ERROR_STORE));
    child_check(strstr(error->message, "Read-only file system") != NULL);
    g_clear_error(&error);
    /* With everything there already. */
    child_check(mount(NULL, in_tmpfs.dir, NULL, MS_REMOUNT, NULL) == 0);
    child_check((in_tmpfs.store = fixture_try(&in_tmpfs, 1000, &error)) != NULL);
    fixture_close(&in_tmpfs);
    child_check(mount(NULL, in_tmpfs.dir, NULL, MS_REMOUNT | MS_RDONLY, NULL) == 0);
    child_check(fixture_try(&in_tmpfs, 1000, &error) == NULL);
    child_check(strstr(error->message, "Read-only file system") != NULL);
}

static void fill(const char *dir)
{
    g_autofree char *path = g_build_filename(dir, "fill", NULL);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    char bytes[4096] = {0};
    while (write(fd, bytes, sizeof bytes) > 0)
        ;
    close(fd);
}

static bool put_until_full(Store *store, guint32 *uid, GError **error)
{
    for (; *uid < 100000; ++*uid) {
        StoreTxn *txn = store_begin(store, false, error);
        if (txn == NULL)
            return false;
        StoreMsg msg = sample_msg(*uid);
        if (!store_msg_put(txn, 1, &msg, NULL, error)) {
            store_rollback(txn);
            return false;
        }
        if (!store_commit(txn, error))
            return false;
    }
    return true;
}

static void full_body(void)
{
    GError *error = NULL;
    struct stat st;
    mount_tmpfs(in_tmpfs.dir, "size=1m");
    fill(in_tmpfs.dir);
    child_check(fixture_try(&in_tmpfs, 1000, &error) == NULL);
    child_check(g_error_matches(error, IMAPFS_ERROR, IMAPFS_ERROR_FULL));
    g_clear_error(&error);
    g_autofree char *path = g_build_filename(in_tmpfs.dir, "fill", NULL);
    child_check(unlink(path) == 0);
    /* It fills while we write: an error, the same rows, and it goes on when there is room. */
    child_check((in_tmpfs.store = fixture_try(&in_tmpfs, 1000, &error)) != NULL);
    guint32 uid = 1;
    child_check(!put_until_full(in_tmpfs.store, &uid, &error));
    child_check(g_error_matches(error, IMAPFS_ERROR, IMAPFS_ERROR_FULL));
    g_clear_error(&error);
    child_check(uid > 10 && store_msg_count(store_reader(in_tmpfs.store), 1) == uid - 1);
    ContentKey key = {1, 1, CONTENT_RAW, ""};
    ContentWriter *writer = content_begin(in_tmpfs.store, &key, 1 << 20, &error);
    g_autoptr(GBytes) bytes = sample_bytes(1, 1 << 20);
    bool ok =
        writer != NULL && content_write(writer, g_bytes_get_data(bytes, NULL), 1 << 20, &error);
    child_check(!ok && g_error_matches(error, IMAPFS_ERROR, IMAPFS_ERROR_FULL));
    g_clear_error(&error);
    content_abort(writer);
    child_check(mount(NULL, in_tmpfs.dir, NULL, MS_REMOUNT, "size=8m") == 0);
    StoreTxn *txn = store_begin(in_tmpfs.store, true, &error);
    StoreMsg msg = sample_msg(uid);
    child_check(txn != NULL && store_msg_put(txn, 1, &msg, NULL, &error));
    child_check(store_commit(txn, &error));
    child_check(store_msg_count(store_reader(in_tmpfs.store), 1) == uid);
    fixture_close(&in_tmpfs);
    child_check((in_tmpfs.store = fixture_try(&in_tmpfs, 1000, &error)) != NULL);
    child_check(store_msg_count(store_reader(in_tmpfs.store), 1) == uid);
    fixture_close(&in_tmpfs);
    /* Who mounts where there is room for the locks and no more is told so, and not which statement
     * met it. */
    fill(in_tmpfs.dir);
    child_check(stat(path, &st) == 0 && truncate(path, st.st_size - 2 * 4096) == 0);
    child_check(fixture_try(&in_tmpfs, 1000, &error) == NULL);
    child_check(g_error_matches(error, IMAPFS_ERROR, IMAPFS_ERROR_FULL));
    child_check(strstr(error->message, ": index: cannot be opened: ") != NULL);
    g_clear_error(&error);
}

static void no_writing_body(void)
{
    GError *error = NULL;
    const struct rlimit none = {0, 0};
    signal(SIGXFSZ, SIG_IGN);
    child_check(setrlimit(RLIMIT_FSIZE, &none) == 0);
    child_check(fixture_try(&in_tmpfs, 1000, &error) == NULL);
}

/* The lock cannot be written: what it says of the one before is not lost. */
static void test_lock_not_written(void **state)
{
    g_autofree char *text = NULL;
    fixture_init(&in_tmpfs);
    fixture_open(&in_tmpfs);
    fixture_close(&in_tmpfs);
    g_autofree char *lock = g_build_filename(in_tmpfs.state, "lock", NULL);
    mark_unclean(in_tmpfs.state, "lock");
    in_child(no_writing_body);
    assert_true(g_file_get_contents(lock, &text, NULL, NULL));
    assert_string_equal(text, "1\n");
    fixture_clear(&in_tmpfs);
}

static void test_read_only(void **state)
{
    fixture_init(&in_tmpfs);
    in_child(read_only_body);
    fixture_clear(&in_tmpfs);
}

static void test_full(void **state)
{
    fixture_init(&in_tmpfs);
    in_child(full_body);
    fixture_clear(&in_tmpfs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_modes),
        cmocka_unit_test(test_directories),
        cmocka_unit_test(test_files_of_others),
        cmocka_unit_test(test_second_mount),
        cmocka_unit_test(test_other_account),
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_damaged_index),
        cmocka_unit_test(test_damage_while_running),
        cmocka_unit_test(test_damaged_content),
        cmocka_unit_test(test_damaged_content_later),
        cmocka_unit_test(test_refused_changes_nothing),
        cmocka_unit_test(test_wiped),
        cmocka_unit_test(test_wiped_database),
        cmocka_unit_test(test_index_of_before),
        cmocka_unit_test(test_migrations),
        cmocka_unit_test(test_read_only),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_lock_not_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
