/* test_content.c - contents: writing, reading, batches, eviction, damage. */
#include "plans_check.h"
#include <fcntl.h>
#include <sqlite3.h>
#include "../../../src/store/content_private.h"

static void test_sizes(void **state)
{
    static const gsize sizes[] = {0,
                                  1,
                                  2999,
                                  4096,
                                  CONTENT_BLOB_MAX - 1,
                                  CONTENT_BLOB_MAX,
                                  CONTENT_BLOB_MAX + 1,
                                  3 * CONTENT_BLOB_MAX,
                                  1000000};
    Fixture *fixture = *state;
    Store *store = fixture->store;
    put_msgs(store, 1, 1, G_N_ELEMENTS(sizes));
    for (gsize i = 0; i < G_N_ELEMENTS(sizes); i++) {
        ContentKey key = {1, (guint32)i + 1, CONTENT_DECODED, "1.2"};
        assert_false(content_exists(store_reader(store), &key));
        assert_null(content_open(store_reader(store), &key));
        put_content(store, &key, (guint32)i, sizes[i]);
    }
    for (int round = 0; round < 2; round++) {
        guint64 bytes, count, total = 0;
        for (gsize i = 0; i < G_N_ELEMENTS(sizes); i++) {
            ContentKey key = {1, (guint32)i + 1, CONTENT_DECODED, "1.2"};
            assert_true(content_exists(store_reader(store), &key));
            g_autoptr(Content) content = content_open(store_reader(store), &key);
            check_content(content, (guint32)i, sizes[i]);
            assert_int_equal(
                store_size_get(store_reader(store), 1, key.uid, CONTENT_DECODED, "1.2"), sizes[i]);
            total += sizes[i];
        }
        content_stats(store, &bytes, &count);
        assert_int_equal(bytes, total);
        assert_int_equal(count, G_N_ELEMENTS(sizes));
        fixture_close(fixture);
        store = fixture_open(fixture);
    }
}

/* Keys that differ in one thing only are different contents. */
static void test_keys(void **state)
{
    static const ContentKey keys[] = {{1, 1, CONTENT_RAW, ""},     {2, 1, CONTENT_RAW, ""},
                                      {1, 2, CONTENT_RAW, ""},     {1, 1, CONTENT_TEXT, ""},
                                      {1, 1, CONTENT_HEADERS, ""}, {1, 1, CONTENT_RAW, "1"},
                                      {1, 1, CONTENT_RAW, "1.1"}};
    Store *store = ((Fixture *)*state)->store;
    for (gsize i = 0; i < G_N_ELEMENTS(keys); i++)
        put_content(store, &keys[i], (guint32)i, 100 + i);
    for (gsize i = 0; i < G_N_ELEMENTS(keys); i++) {
        g_autoptr(Content) content = content_open(store_reader(store), &keys[i]);
        check_content(content, (guint32)i, 100 + i);
    }
}

/* Written in pieces of every kind, with and without a hint. */
static void test_pieces(void **state)
{
    static const struct {
        gsize size, piece;
        guint64 hint;
    } cases[] = {{70000, 1, 0},      {70000, 70000, 0},      {65536, 7, 65536},
                 {10, 3, 10000000},  {0, 1, 1 << 20},        {200000, 65536, 0},
                 {200000, 65537, 5}, {200000, 9999, 200000}, {100, 100, G_MAXUINT64}};
    Store *store = ((Fixture *)*state)->store;
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        GError *error = NULL;
        ContentKey key = {1, (guint32)i + 1, CONTENT_RAW, ""};
        ContentWriter *writer = content_begin(store, &key, cases[i].hint, &error);
        assert_no_error(error);
        g_autoptr(GBytes) bytes = sample_bytes(9, cases[i].size);
        const guint8 *data = g_bytes_get_data(bytes, NULL);
        for (gsize at = 0; at < cases[i].size; at += cases[i].piece)
            assert_true(
                content_write(writer, data + at, MIN(cases[i].piece, cases[i].size - at), &error));
        assert_false(content_exists(store_reader(store), &key));
        assert_true(content_commit(writer, &error));
        g_autoptr(Content) content = content_open(store_reader(store), &key);
        check_content(content, 9, cases[i].size);
    }
}

static guint count_files(Fixture *fixture)
{
    g_autofree char *path = g_build_filename(fixture->cache, "content", NULL);
    GDir *dir = g_dir_open(path, 0, NULL);
    guint n = 0;
    while (g_dir_read_name(dir) != NULL)
        n++;
    g_dir_close(dir);
    return n;
}

static void test_abort(void **state)
{
    Fixture *fixture = *state;
    GError *error = NULL;
    ContentKey key = {1, 1, CONTENT_RAW, ""};
    g_autoptr(GBytes) bytes = sample_bytes(9, 200000);
    ContentWriter *writer = content_begin(fixture->store, &key, 0, &error);
    assert_true(content_write(writer, g_bytes_get_data(bytes, NULL), 200000, &error));
    assert_int_equal(count_files(fixture), 1);
    content_abort(writer);
    content_abort(NULL);
    assert_int_equal(count_files(fixture), 0);
    assert_false(content_exists(store_reader(fixture->store), &key));
}

/* The same key again: the newest counts, readers of the old one go on. */
static void test_replace(void **state)
{
    static const gsize sizes[] = {100, 200000, 300000, 50};
    Fixture *fixture = *state;
    Store *store = fixture->store;
    ContentKey key = {1, 1, CONTENT_RAW, ""};
    put_msgs(store, 1, 1, 1);
    put_content(store, &key, 0, 10);
    gsize before = 10;
    for (gsize i = 0; i < G_N_ELEMENTS(sizes); i++) {
        g_autoptr(Content) old = content_open(store_reader(store), &key);
        put_content(store, &key, (guint32)i + 1, sizes[i]);
        check_content(old, (guint32)i, before);
        g_autoptr(Content) now = content_open(store_reader(store), &key);
        check_content(now, (guint32)i + 1, sizes[i]);
        guint64 bytes, count;
        content_stats(store, &bytes, &count);
        assert_int_equal(bytes, sizes[i]);
        assert_int_equal(count, 1);
        assert_int_equal(store_size_get(store_reader(store), 1, 1, CONTENT_RAW, ""), sizes[i]);
        before = sizes[i];
    }
    assert_int_equal(count_files(fixture), 0);
}

static void test_batch(void **state)
{
    Fixture *fixture = *state;
    Store *store = fixture->store;
    GError *error = NULL;
    put_msgs(store, 1, 1, 700);
    assert_true(content_batch_begin(store, &error));
    for (guint32 uid = 1; uid <= 700; uid++) {
        ContentKey key = {1, uid, CONTENT_TEXT, "1"};
        put_content(store, &key, uid, uid == 5 ? 100000 : uid);
    }
    ContentKey last = {1, 700, CONTENT_TEXT, "1"};
    assert_false(content_exists(store_reader(store), &last));
    assert_true(content_batch_end(store, &error));
    for (guint32 uid = 1; uid <= 700; uid++) {
        ContentKey key = {1, uid, CONTENT_TEXT, "1"};
        g_autoptr(Content) content = content_open(store_reader(store), &key);
        check_content(content, uid, uid == 5 ? 100000 : uid);
        assert_int_equal(store_size_get(store_reader(store), 1, uid, CONTENT_TEXT, "1"),
                         uid == 5 ? 100000 : uid);
    }
    /* A batch that is open when the store closes is not lost. */
    ContentKey key = {1, 1, CONTENT_RAW, ""};
    assert_true(content_batch_begin(store, &error));
    put_content(store, &key, 3, 30);
    fixture_close(fixture);
    store = fixture_open(fixture);
    g_autoptr(Content) content = content_open(store_reader(store), &key);
    check_content(content, 3, 30);
}

/* --- eviction --- */

static void pass_time(gint64 seconds)
{
    clock_fake_advance(seconds * 1000000);
}

static void assert_there(Store *store, const char *want)
{
    g_autoptr(GString) got = g_string_new(NULL);
    for (guint32 uid = 1; uid <= 9; uid++) {
        ContentKey key = {1, uid, CONTENT_RAW, ""};
        if (content_exists(store_reader(store), &key))
            g_string_append_printf(got, "%u", uid);
    }
    assert_string_equal(got->str, want);
}

static void test_eviction(void **state)
{
    Fixture *fixture = *state;
    clock_fake_set(G_GINT64_CONSTANT(1800000000) * 1000000000);
    fixture_close(fixture);
    Store *store = fixture_open_sized(fixture, 400000);
    put_msgs(store, 1, 1, 9);
    for (guint32 uid = 1; uid <= 6; uid++) {
        ContentKey key = {1, uid, CONTENT_RAW, ""};
        put_content(store, &key, uid, uid % 2 == 0 ? 50000 : 100000);
        pass_time(120);
    }
    assert_there(store, "123456"); /* 450,000 bytes */
    ContentKey first = {1, 1, CONTENT_RAW, ""}, second = {1, 2, CONTENT_RAW, ""};
    content_unref(content_open(store_reader(store), &first)); /* used: 2 is the oldest now */
    assert_false(content_evict(store, G_MAXINT64 / 2));
    assert_there(store, "13456");
    guint64 bytes, count;
    content_stats(store, &bytes, &count);
    assert_int_equal(bytes, 400000);
    assert_int_equal(count, 5);
    assert_int_equal(store_size_get(store_reader(store), 1, 2, CONTENT_RAW, ""), 50000);
    /* An open one stays, though it is the oldest; also after others went. */
    ContentKey third = {1, 3, CONTENT_RAW, ""};
    Content *open = content_open(store_reader(store), &third);
    Content *again = content_ref(open);
    content_unref(open);
    pass_time(120);
    content_unref(content_open(store_reader(store), &first));
    put_content(store, &second, 2, 250000);
    pass_time(20);
    assert_false(content_evict(store, G_MAXINT64 / 2));
    assert_there(store, "23");
    check_content(again, 3, 100000);
    content_unref(again);
    /* Over the size with one that nobody has opened yet: it has its time. */
    pass_time(120);
    content_unref(content_open(store_reader(store), &third));
    put_content(store, &first, 1, 500000);
    assert_false(content_evict(store, G_MAXINT64 / 2));
    assert_there(store, "1");
    pass_time(11);
    assert_false(content_evict(store, G_MAXINT64 / 2));
    assert_there(store, "");
    assert_int_equal(count_files(fixture), 0);
}

/* With no budget, one step a call, and it says that there is more. */
static void test_eviction_budget(void **state)
{
    Fixture *fixture = *state;
    clock_fake_set(G_GINT64_CONSTANT(1800000000) * 1000000000);
    fixture_close(fixture);
    Store *store = fixture_open_sized(fixture, 1000);
    GError *error = NULL;
    assert_true(content_batch_begin(store, &error));
    for (guint32 uid = 1; uid <= 300; uid++) {
        ContentKey key = {1, uid, CONTENT_RAW, ""};
        put_content(store, &key, uid, 100);
    }
    assert_true(content_batch_end(store, &error));
    pass_time(60);
    guint calls = 1;
    guint64 bytes, before;
    content_stats(store, &before, NULL);
    while (content_evict(store, 0)) {
        content_stats(store, &bytes, NULL);
        assert_true(bytes < before && before - bytes <= 32 * 100);
        before = bytes;
        assert_true(++calls < 100);
    }
    assert_true(calls > 5);
    content_stats(store, &bytes, NULL);
    assert_int_equal(bytes, 1000);
}

/* What was evicted is given back to the file system. */
static void test_shrinking(void **state)
{
    Fixture *fixture = *state;
    clock_fake_set(G_GINT64_CONSTANT(1800000000) * 1000000000);
    fixture_close(fixture);
    Store *store = fixture_open_sized(fixture, 1000);
    GError *error = NULL;
    for (guint32 uid = 1; uid <= 400; uid++) {
        ContentKey key = {1, uid, CONTENT_RAW, ""};
        put_content(store, &key, uid, 40000);
    }
    gint64 before = 0, after = 0;
    assert_true(db_get_int(store->content.db, "PRAGMA page_count", &before, &error));
    pass_time(60);
    for (guint calls = 0; content_evict(store, 0); calls++)
        assert_true(calls < 1000);
    assert_true(db_get_int(store->content.db, "PRAGMA page_count", &after, &error));
    assert_true(before > 4000 && after < before - 1500);
    assert_true(db_quick_check(store->content.db, &error));
}

static void test_last_use_survives(void **state)
{
    Fixture *fixture = *state;
    clock_fake_set(G_GINT64_CONSTANT(1800000000) * 1000000000);
    put_msgs(fixture->store, 1, 1, 3);
    for (guint32 uid = 1; uid <= 3; uid++) {
        ContentKey key = {1, uid, CONTENT_RAW, ""};
        put_content(fixture->store, &key, uid, 100);
        pass_time(120);
    }
    ContentKey first = {1, 1, CONTENT_RAW, ""};
    content_unref(content_open(store_reader(fixture->store), &first));
    fixture_close(fixture);
    fixture_open_sized(fixture, 100);
    assert_false(content_evict(fixture->store, 0));
    assert_there(fixture->store, "1");
}

/* --- damage --- */

static void run_sql(const char *path, const char *sql)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void test_damaged_blob(void **state)
{
    static const struct {
        const char *name, *sql;
    } cases[] = {
        {"a wrong byte", "UPDATE blob SET bytes = zeroblob(100)"},
        {"cut", "UPDATE blob SET bytes = substr(bytes, 1, 99)"},
        {"grown", "UPDATE blob SET bytes = bytes || x'00'"},
        {"gone", "DELETE FROM blob"},
    };
    Fixture *fixture = *state;
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        ContentKey key = {1, 1, CONTENT_RAW, ""};
        put_content(fixture->store, &key, 1, 100);
        g_autofree char *path = g_strdup(fixture->store->content_path);
        fixture_close(fixture);
        run_sql(path, cases[i].sql);
        fixture_open(fixture);
        if (content_open(store_reader(fixture->store), &key) != NULL)
            fail_msg("%s", cases[i].name);
        assert_false(content_exists(store_reader(fixture->store), &key)); /* to be fetched again */
        guint64 count;
        content_stats(fixture->store, NULL, &count);
        assert_int_equal(count, 0);
    }
}

static char *only_file(Fixture *fixture)
{
    g_autofree char *path = g_build_filename(fixture->cache, "content", NULL);
    GDir *dir = g_dir_open(path, 0, NULL);
    char *file = g_build_filename(path, g_dir_read_name(dir), NULL);
    assert_null(g_dir_read_name(dir));
    g_dir_close(dir);
    return file;
}

static char *file_but(Fixture *fixture, const char *other)
{
    g_autofree char *path = g_build_filename(fixture->cache, "content", NULL);
    GDir *dir = g_dir_open(path, 0, NULL);
    char *file = NULL;
    for (const char *name; (name = g_dir_read_name(dir)) != NULL;) {
        g_autofree char *one = g_build_filename(path, name, NULL);
        if (strcmp(one, other) != 0)
            file = g_steal_pointer(&one);
    }
    g_dir_close(dir);
    return file;
}

static void test_damaged_file(void **state)
{
    static const struct {
        const char *name;
        off_t size; /* -1: gone, -2: a symbolic link */
    } cases[] = {{"cut", 150000}, {"empty", 0}, {"grown", 200001}, {"gone", -1}, {"a link", -2}};
    Fixture *fixture = *state;
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        ContentKey key = {1, 1, CONTENT_RAW, ""};
        put_content(fixture->store, &key, 1, 200000);
        g_autofree char *file = only_file(fixture);
        if (cases[i].size >= 0)
            assert_int_equal(truncate(file, cases[i].size), 0);
        else
            assert_int_equal(unlink(file), 0);
        if (cases[i].size == -2)
            assert_int_equal(symlink("/etc/passwd", file), 0);
        if (content_open(store_reader(fixture->store), &key) != NULL)
            fail_msg("%s", cases[i].name);
        assert_false(content_exists(store_reader(fixture->store), &key));
        assert_int_equal(count_files(fixture), 0);
    }
}

/* The machine died: a file can have its size, and zeros for what did not get to the disk. Its clock
 * was wrong at some time. */
static void test_machine_died(void **state)
{
    static const struct timespec future[] = {{G_MAXINT32, 0}, {G_MAXINT32, 0}};
    Fixture *fixture = *state;
    const ContentKey key = {1, 1, CONTENT_RAW, ""}, good = {1, 2, CONTENT_RAW, ""};
    put_content(fixture->store, &good, 2, 200000);
    g_autofree char *other = only_file(fixture);
    assert_int_equal(utimensat(AT_FDCWD, other, future, 0), 0);
    put_content(fixture->store, &key, 1, 200000);
    g_autofree char *file = file_but(fixture, other);
    fixture_close(fixture);
    int fd = open(file, O_WRONLY);
    assert_int_equal(pwrite(fd, "\0\0\0\0", 4, 150000), 4);
    close(fd);
    g_autofree char *lock = g_build_filename(fixture->cache, "cache.lock", NULL);
    assert_true(g_file_set_contents(lock, "1 another-boot\n", -1, NULL));
    Store *store = fixture_open(fixture);
    assert_null(content_open(store_reader(store), &key));
    assert_false(content_exists(store_reader(store), &key)); /* to be fetched again */
    for (int i = 0; i < 2; i++) {
        g_autoptr(Content) content = content_open(store_reader(store), &good);
        check_content(content, 2, 200000);
    }
    put_content(store, &key, 3, 200000);
    g_autoptr(Content) content = content_open(store_reader(store), &key);
    check_content(content, 3, 200000);
}

static void test_cut_while_open(void **state)
{
    Fixture *fixture = *state;
    GError *error = NULL;
    char buffer[1000];
    ContentKey key = {1, 1, CONTENT_RAW, ""};
    put_content(fixture->store, &key, 1, 200000);
    g_autoptr(Content) content = content_open(store_reader(fixture->store), &key);
    g_autofree char *file = only_file(fixture);
    assert_int_equal(truncate(file, 100500), 0);
    assert_int_equal(content_read(content, buffer, 1000, 99000, &error), 1000);
    assert_int_equal(content_read(content, buffer, 1000, 100000, &error), -1);
    assert_true(g_error_matches(error, IMAPFS_ERROR, IMAPFS_ERROR_STORE));
    g_clear_error(&error);
    assert_false(content_exists(store_reader(fixture->store), &key));
}

/* --- opening again --- */

static void remove_msgs(Store *store, const char *text)
{
    GError *error = NULL;
    g_autoptr(UidSet) uids = parse_uids(text);
    StoreTxn *txn = begin(store);
    assert_true(store_msg_remove(txn, 1, uids, NULL, &error));
    commit(txn);
}

typedef struct {
    ContentTicket ticket;
    guint64 removals;
} Known;

static Known know(Store *store, const ContentKey *key)
{
    Known known = {.removals = content_removals(store)};
    g_autoptr(Content) content = content_open(store_reader(store), key);
    assert_non_null(content);
    known.ticket = content_ticket(content);
    return known;
}

/* What was opened again and not read yet reads on, whatever takes it out of the cache; after that
 * no ticket opens anything, also not one that is of something else. */
static void test_reopen(void **state)
{
    enum { REPLACED, EXPUNGED, EVICTED, WAYS };
    static const gsize sizes[] = {0, 100, 200000};
    Fixture *fixture = *state;
    for (gsize i = 0; i < G_N_ELEMENTS(sizes) * WAYS; i++) {
        gsize size = sizes[i / WAYS];
        int way = i % WAYS;
        Store *store = fixture->store;
        const ContentKey key = {1, 1, CONTENT_RAW, ""}, other = {1, 2, CONTENT_RAW, ""};
        put_msgs(store, 1, 1, 2);
        put_content(store, &key, 1, size);
        put_content(store, &other, 2, 50);
        Known known = know(store, &key), of_other = know(store, &other);
        g_autoptr(Content) unread = content_reopen(store, &known.ticket, known.removals);
        g_autoptr(Content) twice = content_reopen(store, &known.ticket, known.removals);
        check_content(twice, 1, size);
        if (way == REPLACED)
            put_content(store, &key, 3, 70);
        else if (way == EXPUNGED)
            remove_msgs(store, "1");
        else
            content_drop(store, known.ticket.id, "a test");
        assert_null(content_reopen(store, &known.ticket, known.removals));
        assert_null(content_reopen(store, &of_other.ticket, of_other.removals));
        check_content(unread, 1, size);
        of_other = know(store, &other);
        g_autoptr(Content) again = content_reopen(store, &of_other.ticket, of_other.removals);
        check_content(again, 2, 50);
        g_clear_pointer(&unread, content_unref);
        g_clear_pointer(&twice, content_unref);
        g_clear_pointer(&again, content_unref);
        remove_msgs(store, "1:2");
    }
}

/* Messages of which nothing is kept are removals, too. */
static void test_removals(void **state)
{
    Store *store = ((Fixture *)*state)->store;
    put_msgs(store, 1, 1, 3);
    guint64 removals = content_removals(store);
    remove_msgs(store, "2");
    assert_int_not_equal(content_removals(store), removals);
}

static void test_reopen_damaged(void **state)
{
    Fixture *fixture = *state;
    GError *error = NULL;
    char buffer[100];
    const ContentKey key = {1, 1, CONTENT_RAW, ""};
    put_content(fixture->store, &key, 1, 100);
    Known known = know(fixture->store, &key);
    run_sql(fixture->store->content_path, "UPDATE blob SET bytes = zeroblob(100)");
    g_autoptr(Content) content = content_reopen(fixture->store, &known.ticket, known.removals);
    assert_int_equal(content_read(content, buffer, 100, 0, &error), -1);
    assert_true(g_error_matches(error, IMAPFS_ERROR, IMAPFS_ERROR_STORE));
    g_clear_error(&error);
    assert_false(content_exists(store_reader(fixture->store), &key)); /* to be fetched again */
}

/* Nothing in the cache directory has a name from outside, and none is open to others. */
static void test_names_and_modes(void **state)
{
    Fixture *fixture = *state;
    ContentKey key = {1, 1, CONTENT_RAW, "../../evil"};
    put_content(fixture->store, &key, 1, 200000);
    g_autofree char *file = only_file(fixture);
    g_autofree char *name = g_path_get_basename(file);
    assert_int_equal(strlen(name), 16);
    struct stat st;
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    const char *paths[] = {fixture->store->index_path, fixture->store->content_path};
    for (gsize i = 0; i < G_N_ELEMENTS(paths); i++) {
        assert_int_equal(stat(paths[i], &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
        g_autofree char *wal = g_strconcat(paths[i], "-wal", NULL);
        assert_int_equal(stat(wal, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
    }
    g_autoptr(Content) content = content_open(store_reader(fixture->store), &key);
    check_content(content, 1, 200000);
}

#define STORE_TEST(f) cmocka_unit_test_setup_teardown(f, setup_store, plans_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(test_sizes),          STORE_TEST(test_keys),
        STORE_TEST(test_pieces),         STORE_TEST(test_abort),
        STORE_TEST(test_replace),        STORE_TEST(test_batch),
        STORE_TEST(test_eviction),       STORE_TEST(test_eviction_budget),
        STORE_TEST(test_shrinking),      STORE_TEST(test_last_use_survives),
        STORE_TEST(test_damaged_blob),   STORE_TEST(test_damaged_file),
        STORE_TEST(test_cut_while_open), STORE_TEST(test_names_and_modes),
        STORE_TEST(test_reopen),         STORE_TEST(test_removals),
        STORE_TEST(test_reopen_damaged), STORE_TEST(test_machine_died),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
