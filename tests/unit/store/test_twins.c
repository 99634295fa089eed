/* test_twins.c - messages that are the same: what of one is taken for another, and what not. */
#include "plans_check.h"
#include "../../../src/store/content_private.h"
#include <dirent.h>
#include <sqlite3.h>

#define LARGE 200000 /* a file */

static const char structure[] = "(\"TEXT\" \"PLAIN\" NIL NIL NIL \"7BIT\" 5 1)";
static const ContentKey first = {1, 1, CONTENT_DECODED, "1"}, second = {2, 7, CONTENT_DECODED, "1"};

static void put_msg(Store *store, guint32 box, guint32 uid, const char *emailid, guint64 size,
                    const char *text)
{
    GError *error = NULL;
    StoreMsg msg = sample_msg(uid);
    StoreTxn *txn = begin(store);
    msg.emailid = (char *)emailid;
    msg.size = size;
    assert_true(store_msg_put(txn, box, &msg, NULL, &error));
    assert_true(text == NULL || store_structure_put(txn, box, uid, text, &error));
    commit(txn);
}

/* 1/1 and 2/7 are the same; the second one's structure is not known. */
static Store *twins(void **state)
{
    Store *store = ((Fixture *)*state)->store;
    put_msg(store, 1, 1, "M1", 500, structure);
    put_msg(store, 2, 7, "M1", 500, NULL);
    return store;
}

static void take_structure(Store *store)
{
    StoreTxn *txn = begin(store);
    assert_true(store_structure_put(txn, 2, 7, structure, NULL));
    commit(txn);
}

static bool copy(Store *store, const ContentKey *to)
{
    GError *error = NULL;
    g_autoptr(Content) twin = content_open_twin(store_reader(store), to);
    if (twin == NULL)
        return false;
    take_number(store, to->box);
    assert_true(content_copy(store, twin, to, &error));
    assert_no_error(error);
    return true;
}

static void check(Store *store, const ContentKey *key, guint32 seed, gsize size)
{
    g_autoptr(Content) content = content_open(store_reader(store), key);
    check_content(content, seed, size);
    assert_int_equal(
        store_size_get(store_reader(store), key->box, key->uid, key->kind, key->section), size);
}

static guint files(Fixture *fixture, guint *nodes_out)
{
    g_autofree char *path = g_build_filename(fixture->cache, "content", NULL);
    g_autoptr(GHashTable) nodes = g_hash_table_new(NULL, NULL);
    GDir *dir = g_dir_open(path, 0, NULL);
    guint n = 0;
    for (const char *name; (name = g_dir_read_name(dir)) != NULL; n++) {
        g_autofree char *file = g_build_filename(path, name, NULL);
        struct stat st;
        assert_int_equal(stat(file, &st), 0);
        g_hash_table_add(nodes, GSIZE_TO_POINTER(st.st_ino));
    }
    g_dir_close(dir);
    *nodes_out = g_hash_table_size(nodes);
    return n;
}

/* --- who is the same --- */

static void test_who(void **state)
{
    static const struct {
        const char *name, *emailid;
        guint64 size;
        bool same;
    } cases[] = {{"the same", "M1", 500, true},    {"another size", "M1", 501, false},
                 {"another id", "M2", 500, false}, {"another case", "m1", 500, false},
                 {"no id", NULL, 500, false},      {"an empty one", "", 500, false}};
    Store *store = ((Fixture *)*state)->store;
    put_msg(store, 1, 1, "M1", 500, structure);
    put_msg(store, 1, 2, "", 500, structure);
    put_msg(store, 1, 3, NULL, 500, structure);
    for (guint32 i = 0; i < G_N_ELEMENTS(cases); i++) {
        put_msg(store, 3, i + 1, cases[i].emailid, cases[i].size, NULL);
        if (cases[i].same) /* ... is not the first of its kind for the next ones */
            continue;
        g_autofree char *text = store_twin_structure(store_reader(store), 3, i + 1);
        if (text != NULL)
            fail_msg("%s", cases[i].name);
    }
    g_autofree char *text = store_twin_structure(store_reader(store), 3, 1);
    assert_string_equal(text, structure);
    assert_null(store_twin_structure(store_reader(store), 9, 9));
}

/* One id for everything: only so many are looked at, and none of another size is taken. */
static void test_one_id_for_all(void **state)
{
    GError *error = NULL;
    Store *store = ((Fixture *)*state)->store;
    StoreTxn *txn = begin(store);
    for (guint32 uid = 1; uid <= 500; uid++) {
        StoreMsg msg = sample_msg(uid);
        msg.emailid = "M1";
        msg.size = 500 + uid;
        assert_true(store_msg_put(txn, 1, &msg, NULL, &error));
        assert_true(store_structure_put(txn, 1, uid, structure, &error));
    }
    commit(txn);
    put_msg(store, 2, 7, "M1", 500, NULL);
    assert_null(store_twin_structure(store_reader(store), 2, 7));
    put_msg(store, 2, 8, "M1", 510, NULL);
    g_autofree char *text = store_twin_structure(store_reader(store), 2, 8);
    assert_string_equal(text, structure);
}

/* --- contents --- */

static void test_copy(void **state)
{
    static const gsize sizes[] = {0, 1, 70, CONTENT_BLOB_MAX, CONTENT_BLOB_MAX + 1, LARGE};
    Store *store = twins(state);
    take_structure(store);
    for (guint32 i = 0; i < G_N_ELEMENTS(sizes); i++) {
        put_content(store, &first, i, sizes[i]);
        assert_true(copy(store, &second));
        check(store, &first, i, sizes[i]);
        check(store, &second, i, sizes[i]);
        assert_true(store_size_find(store_reader(store), 2, 7, CONTENT_DECODED, "1").proven);
        guint64 bytes, count;
        content_stats(store, &bytes, &count);
        assert_int_equal(bytes, sizes[i] > CONTENT_BLOB_MAX ? sizes[i] : 2 * sizes[i]);
        assert_int_equal(count, 2);
    }
    fixture_close(*state);
    store = fixture_open(*state);
    check(store, &second, G_N_ELEMENTS(sizes) - 1, LARGE);
}

static void remove_first(Store *store)
{
    StoreTxn *txn = begin(store);
    g_autoptr(UidSet) uids = parse_uids("1");
    assert_true(store_msg_remove(txn, 1, uids, NULL, NULL));
    commit(txn);
}

static void test_one_file(void **state)
{
    Fixture *fixture = *state;
    guint nodes;
    Store *store = twins(state);
    take_structure(store);
    put_content(store, &first, 3, LARGE);
    assert_true(copy(store, &second));
    assert_int_equal(files(fixture, &nodes), 2);
    assert_int_equal(nodes, 1);
    remove_first(store);
    assert_int_equal(files(fixture, &nodes), 1);
    check(store, &second, 3, LARGE);
}

static guint64 bytes_kept(Store *store)
{
    guint64 bytes;
    content_stats(store, &bytes, NULL);
    return bytes;
}

/* A file with several names is counted once, and until the last of them goes, whichever that is. */
static void test_counted_once(void **state)
{
    Fixture *fixture = *state;
    for (int last = 0; last < 3; last++) {
        guint nodes;
        Store *store = twins(state);
        put_msg(store, 2, 8, "M1", 500, NULL);
        take_structure(store);
        const ContentKey third = {2, 8, CONTENT_RAW, ""}, whole = {1, 1, CONTENT_RAW, ""},
                         other = {2, 7, CONTENT_RAW, ""};
        const ContentKey *const keys[] = {&whole, &other, &third};
        put_content(store, &whole, 3, LARGE);
        assert_true(copy(store, &other));
        assert_true(copy(store, &third));
        assert_true(copy(store, &third)); /* again, in place of itself */
        assert_int_equal(files(fixture, &nodes), 3);
        assert_int_equal(bytes_kept(store), LARGE);
        fixture_close(fixture);
        store = fixture_open(fixture);
        for (int i = 1; i < 3; i++) {
            g_autoptr(Content) going =
                content_open(store_reader(store), keys[(last + i) % G_N_ELEMENTS(keys)]);
            content_drop(store, content_ticket(going).id, "a test");
            assert_int_equal(bytes_kept(store), LARGE);
        }
        check(store, keys[last], 3, LARGE);
        put_content(store, keys[last], 4, 70);
        assert_int_equal(bytes_kept(store), 70);
    }
}

/* The second is about to be the first's file under another name. */
static ContentWriter *begin_copy(Store *store)
{
    take_structure(store);
    put_content(store, &first, 3, LARGE);
    g_autoptr(Content) twin = content_open_twin(store_reader(store), &second);
    const ContentTicket ticket = content_ticket(twin);
    ContentWriter *writer = content_begin(store, &second, 0, NULL);
    assert_true(content_write_link(writer, &ticket));
    return writer;
}

/* What it was a copy of was evicted before it was written down. */
static void test_counted_without_source(void **state)
{
    Store *store = twins(state);
    ContentWriter *writer = begin_copy(store);
    remove_first(store);
    assert_int_equal(bytes_kept(store), 0);
    assert_true(content_commit(writer, NULL));
    assert_int_equal(bytes_kept(store), LARGE);
    check(store, &second, 3, LARGE);
    put_content(store, &second, 4, 70);
    assert_int_equal(bytes_kept(store), 70);
}

/* A copy whose source is evicted while it is open; and file systems without links. */
static void test_without_link(void **state)
{
    GError *error = NULL;
    Fixture *fixture = *state;
    guint nodes;
    Store *store = twins(state);
    take_structure(store);
    put_content(store, &first, 3, LARGE);
    g_autoptr(Content) twin = content_open_twin(store_reader(store), &second);
    assert_non_null(twin);
    remove_first(store);
    assert_int_equal(files(fixture, &nodes), 0);
    assert_true(content_copy(store, twin, &second, &error));
    assert_int_equal(files(fixture, &nodes), 1);
    check(store, &second, 3, LARGE);
}

/* Nothing is left of a copy that is not there in the end. */
static void test_abandoned(void **state)
{
    Fixture *fixture = *state;
    guint nodes;
    Store *store = twins(state);
    ContentWriter *writer = begin_copy(store);
    assert_int_equal(files(fixture, &nodes), 2);
    content_abort(writer);
    assert_int_equal(files(fixture, &nodes), 1);
    check(store, &first, 3, LARGE);
    assert_false(content_exists(store_reader(store), &second));
}

static void test_batch(void **state)
{
    GError *error = NULL;
    Store *store = twins(state);
    static const ContentKey keys[] = {
        {1, 1, CONTENT_TEXT, "1"}, {1, 1, CONTENT_DECODED, "1"}, {1, 1, CONTENT_RAW, ""}};
    take_structure(store);
    for (guint32 i = 0; i < G_N_ELEMENTS(keys); i++)
        put_content(store, &keys[i], i, i == 1 ? LARGE : 100 + i);
    assert_true(content_batch_begin(store, &error));
    for (guint32 i = 0; i < G_N_ELEMENTS(keys); i++) {
        ContentKey to = {2, 7, keys[i].kind, keys[i].section};
        assert_true(copy(store, &to));
    }
    assert_true(content_batch_end(store, &error));
    for (guint32 i = 0; i < G_N_ELEMENTS(keys); i++) {
        ContentKey to = {2, 7, keys[i].kind, keys[i].section};
        check(store, &to, i, i == 1 ? LARGE : 100 + i);
    }
}

/* --- what is not taken --- */

static void test_structures_differ(void **state)
{
    const ContentKey whole = {1, 1, CONTENT_RAW, ""}, other_whole = {2, 7, CONTENT_RAW, ""};
    static const char *const others[] = {"L(\"TEXT\" \"PLAIN\" NIL NIL NIL \"7BIT\" 5 1)", ""};
    Store *store = twins(state);
    put_content(store, &first, 3, 100);
    put_content(store, &whole, 4, 100);
    assert_false(copy(store, &second)); /* it is not known */
    for (gsize i = 0; i < G_N_ELEMENTS(others); i++) {
        StoreTxn *txn = begin(store);
        assert_true(store_structure_put(txn, 2, 7, others[i], NULL));
        commit(txn);
        assert_false(copy(store, &second));
    }
    assert_true(copy(store, &other_whole)); /* no section */
    take_structure(store);
    assert_true(copy(store, &second));
}

static void test_keys(void **state)
{
    Store *store = twins(state);
    static const ContentKey others[] = {{2, 7, CONTENT_TEXT, "1"}, {2, 7, CONTENT_DECODED, "2"}};
    take_structure(store);
    put_content(store, &first, 3, 100);
    for (gsize i = 0; i < G_N_ELEMENTS(others); i++)
        assert_false(copy(store, &others[i]));
}

static void run_sql(const char *path, const char *sql)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

/* It is dropped, as it is when it is read; and the next twin is asked. */
static void test_damaged(void **state)
{
    static const char *const damage[] = {"UPDATE blob SET bytes = zeroblob(100)",
                                         "DELETE FROM blob"};
    Fixture *fixture = *state;
    Store *store = twins(state);
    take_structure(store);
    for (gsize i = 0; i < G_N_ELEMENTS(damage); i++) {
        put_content(store, &first, 3, 100);
        g_autofree char *path = g_strdup(store->content_path);
        fixture_close(fixture);
        run_sql(path, damage[i]);
        store = fixture_open(fixture);
        assert_false(copy(store, &second));
        assert_false(content_exists(store_reader(store), &first));
        assert_false(content_exists(store_reader(store), &second));
    }
    const ContentKey third = {4, 4, CONTENT_DECODED, "1"};
    put_msg(store, 4, 4, "M1", 500, structure);
    put_content(store, &first, 3, LARGE);
    put_content(store, &third, 3, LARGE);
    g_autofree char *dir = g_build_filename(fixture->cache, "content", NULL);
    g_autoptr(Content) content = content_open(store_reader(store), &first);
    char name[32];
    content_file_name(content_ticket(content).id, name);
    g_autofree char *file = g_build_filename(dir, name, NULL);
    assert_int_equal(truncate(file, LARGE - 1), 0);
    assert_true(copy(store, &second));
    check(store, &second, 3, LARGE);
    assert_false(content_exists(store_reader(store), &first));
}

/* A file with wrong bytes of the right number is seen where it is copied by bytes. */
static void test_damaged_bytes(void **state)
{
    GError *error = NULL;
    Store *store = twins(state);
    take_structure(store);
    put_content(store, &first, 3, LARGE);
    g_autoptr(Content) twin = content_open_twin(store_reader(store), &second);
    char name[32];
    content_file_name(content_ticket(twin).id, name);
    g_autofree char *file = g_build_filename(((Fixture *)*state)->cache, "content", name, NULL);
    FILE *stream = fopen(file, "r+");
    assert_int_equal(fputs("wrong", stream) < 0, 0);
    fclose(stream);
    assert_int_equal(unlink(file), 0); /* so that it cannot be linked */
    assert_false(content_copy(store, twin, &second, &error));
    assert_true(g_error_matches(error, IMAPFS_ERROR, IMAPFS_ERROR_STORE));
    g_clear_error(&error);
    assert_false(content_exists(store_reader(store), &second));
    assert_false(content_exists(store_reader(store), &first));
}

static void test_evicted(void **state)
{
    Fixture *fixture = *state;
    Store *store = twins(state);
    take_structure(store);
    put_content(store, &first, 3, 1000);
    fixture_close(fixture);
    store = fixture_open_sized(fixture, 100);
    assert_false(content_evict(store, 0));
    assert_false(copy(store, &second));
}

/* --- sizes --- */

static void put_size(Store *store, guint32 box, guint32 uid, const char *section, guint64 size,
                     bool proven)
{
    StoreTxn *txn = begin(store);
    assert_true(proven
                    ? store_size_put(txn, box, uid, CONTENT_DECODED, section, size, NULL)
                    : store_size_put_computed(txn, box, uid, CONTENT_DECODED, section, size, NULL));
    commit(txn);
}

static void copy_sizes(Store *store)
{
    StoreTxn *txn = begin(store);
    assert_true(store_twin_copy_sizes(txn, 2, 7, NULL));
    commit(txn);
}

static void test_sizes(void **state)
{
    Store *store = twins(state);
    StoreReader *reader = store_reader(store);
    put_size(store, 1, 1, "1", 100, true);
    put_size(store, 1, 1, "2", 200, false);
    assert_false(store_twin_has_sizes(reader, 2, 7)); /* of what sections? */
    take_structure(store);
    put_size(store, 2, 7, "1", 101, false);
    assert_true(store_twin_has_sizes(reader, 2, 7));
    copy_sizes(store);
    assert_int_equal(store_size_get(reader, 2, 7, CONTENT_DECODED, "1"), 101); /* its own */
    assert_int_equal(store_size_get(reader, 2, 7, CONTENT_DECODED, "2"), 200);
    assert_false(store_size_find(reader, 2, 7, CONTENT_DECODED, "2").proven);
    assert_false(store_twin_has_sizes(reader, 2, 7));
    copy_sizes(store);
}

#define STORE_TEST(f) cmocka_unit_test_setup_teardown(f, setup_store, plans_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(test_who),           STORE_TEST(test_one_id_for_all),
        STORE_TEST(test_copy),          STORE_TEST(test_one_file),
        STORE_TEST(test_counted_once),  STORE_TEST(test_counted_without_source),
        STORE_TEST(test_without_link),  STORE_TEST(test_abandoned),
        STORE_TEST(test_batch),         STORE_TEST(test_structures_differ),
        STORE_TEST(test_keys),          STORE_TEST(test_damaged),
        STORE_TEST(test_damaged_bytes), STORE_TEST(test_evicted),
        STORE_TEST(test_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
