/* test_keep.c - a reader that keeps what it sees between its questions. */
#include "store_test.h"
#include "../../../src/store/private.h"

static StoreReader *keeping_reader(Store *store)
{
    StoreReader *reader = store_reader(store);
    store_reader_keep(reader);
    return reader;
}

static bool keeps_now(const Db *db)
{
    return !sqlite3_get_autocommit(db->handle);
}

static void assert_flags(StoreReader *reader, guint32 uid, const char *flags)
{
    StoreMsg msg;
    assert_true(store_msg_get(reader, 1, uid, &msg));
    assert_string_equal(msg.flags, flags);
    store_msg_clear(&msg);
}

static void set_flags(Store *store, guint32 uid, const char *flags)
{
    GError *error = NULL;
    StoreTxn *txn = begin(store);
    assert_true(store_msg_set_flags(txn, 1, uid, flags, 0, NULL, &error));
    commit(txn);
}

/* Whatever it keeps: a commit is seen by the next question. */
static void test_commits_are_seen(void **state)
{
    Store *store = ((Fixture *)*state)->store;
    GError *error = NULL;
    StoreReader *reader = keeping_reader(store);
    put_msgs(store, 1, 1, 3);
    assert_int_equal(store_msg_count(reader, 1), 3);
    assert_true(keeps_now(reader->index));
    set_flags(store, 2, "\\Seen");
    assert_flags(reader, 2, "\\Seen");
    assert_flags(reader, 2, "\\Seen"); /* the same row again */
    set_flags(store, 2, "\\Flagged");
    assert_flags(reader, 2, "\\Flagged");
    StoreTxn *txn = begin(store);
    g_autoptr(UidSet) two = parse_uids("2");
    assert_true(store_msg_remove(txn, 1, two, NULL, &error));
    assert_flags(reader, 2, "\\Flagged"); /* it is not committed yet */
    commit(txn);
    StoreMsg msg;
    assert_false(store_msg_get(reader, 1, 2, &msg));
    assert_int_equal(store_msg_count(reader, 1), 2);
}

static void test_contents_are_seen(void **state)
{
    Store *store = ((Fixture *)*state)->store;
    StoreReader *reader = keeping_reader(store);
    ContentKey key = {1, 1, CONTENT_RAW, ""};
    GError *error = NULL;
    put_msgs(store, 1, 1, 1);
    assert_false(content_exists(reader, &key));
    assert_true(keeps_now(reader->content));
    put_content(store, &key, 1, 1000);
    assert_true(content_exists(reader, &key));
    StoreTxn *txn = begin(store);
    g_autoptr(UidSet) one = parse_uids("1");
    assert_true(store_msg_remove(txn, 1, one, NULL, &error));
    commit(txn);
    assert_false(content_exists(reader, &key));
}

typedef struct {
    Store *store;
    guint count;
} Walk;

/* In the middle of it another question, and a commit: the walk goes on as it began. */
static bool walk(const StoreMsg *msg, gpointer data)
{
    Walk *self = data;
    if (self->count++ == 1) {
        put_msgs(self->store, 1, 100, 5);
        set_flags(self->store, 3, "changed");
    }
    assert_string_not_equal(msg->flags, "changed");
    assert_int_equal(store_msg_count(store_reader(self->store), 1), 4);
    return true;
}

static void test_walks_go_on(void **state)
{
    Store *store = ((Fixture *)*state)->store;
    StoreReader *reader = keeping_reader(store);
    Walk self = {.store = store};
    put_msgs(store, 1, 1, 4);
    store_msg_each(reader, 1, 0, walk, &self);
    assert_int_equal(self.count, 4);
    assert_int_equal(store_msg_count(reader, 1), 9);
    assert_flags(reader, 3, "changed");
}

static int checkpoint(Store *store)
{
    Db *db = store->writer;
    return sqlite3_wal_checkpoint_v2(db->handle, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
}

/* What is kept holds the log up, and only until the reader rests. */
static void test_rest(void **state)
{
    Store *store = ((Fixture *)*state)->store;
    StoreReader *reader = keeping_reader(store);
    sqlite3_busy_timeout(store->writer->handle, 0);
    put_msgs(store, 1, 1, 3);
    assert_int_equal(store_msg_count(reader, 1), 3);
    store_reader_rest(reader, true); /* nothing was committed since */
    assert_true(keeps_now(reader->index));
    set_flags(store, 1, "\\Seen");
    assert_int_equal(checkpoint(store), SQLITE_BUSY);
    store_reader_rest(reader, true);
    assert_false(keeps_now(reader->index));
    assert_int_equal(checkpoint(store), SQLITE_OK);
    assert_flags(reader, 1, "\\Seen");
    assert_true(keeps_now(reader->index));
    store_reader_rest(reader, false);
    assert_false(keeps_now(reader->index));
}

#define STORE_TEST(f) cmocka_unit_test_setup_teardown(f, setup_store, teardown_store)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(test_commits_are_seen),
        STORE_TEST(test_contents_are_seen),
        STORE_TEST(test_walks_go_on),
        STORE_TEST(test_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
