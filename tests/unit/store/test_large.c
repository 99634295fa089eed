/* test_large.c - a mailbox of 100,000 messages: memory stays small, the log is bounded. */
#include "store_test.h"
#include "../../../src/store/private.h"

#define MANY 100000u
#define IN_TXN 500u

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

static gsize rss_bytes(void)
{
    g_autofree char *text = NULL;
    unsigned long total, resident = 0;
    assert_true(g_file_get_contents("/proc/self/statm", &text, NULL, NULL));
    assert_int_equal(sscanf(text, "%lu %lu", &total, &resident), 2);
    return resident * (gsize)sysconf(_SC_PAGESIZE);
}

static gsize connection_bytes(Db *db)
{
    int now, highest, total = 0;
    static const int kinds[] = {SQLITE_DBSTATUS_CACHE_USED, SQLITE_DBSTATUS_SCHEMA_USED,
                                SQLITE_DBSTATUS_STMT_USED};
    for (gsize i = 0; i < G_N_ELEMENTS(kinds); i++) {
        assert_int_equal(sqlite3_db_status(db->handle, kinds[i], &now, &highest, 0), SQLITE_OK);
        total += now;
    }
    return (gsize)total;
}

typedef struct {
    guint32 last, count;
    gsize most_rss;
} Walk;

static bool walk(const StoreMsg *msg, gpointer data)
{
    Walk *self = data;
    assert_true(msg->uid > self->last);
    self->last = msg->uid;
    if (++self->count % 10000 == 0)
        self->most_rss = MAX(self->most_rss, rss_bytes());
    return true;
}

static void check_memory(Store *store, gsize before, gsize now)
{
    assert_true(connection_bytes(store->writer) < 4 << 20);
    assert_true(connection_bytes(store_reader(store)->index) < 4 << 20);
    if (!SANITIZED && now > before + (24 << 20))
        fail_msg("%zu MiB more are resident", (now - before) >> 20);
}

static void test_100000(void **state)
{
    Store *store = ((Fixture *)*state)->store;
    GError *error = NULL;
    gsize before = rss_bytes();
    for (guint32 first = 1; first < MANY; first += IN_TXN)
        put_msgs(store, 1, first, IN_TXN);
    g_autofree char *wal = g_strconcat(store->index_path, "-wal", NULL);
    struct stat st;
    assert_int_equal(stat(wal, &st), 0);
    assert_true(st.st_size < 80 << 20);
    Walk whole = {0};
    store_msg_each(store_reader(store), 1, 0, walk, &whole);
    assert_int_equal(whole.count, MANY);
    check_memory(store, before, whole.most_rss);
    assert_int_equal(store_msg_count(store_reader(store), 1), MANY);
    g_autoptr(UidSet) uids = store_msg_uids(store_reader(store), 1);
    assert_uids(uids, "1:100000");
    /* All flags in one transaction. */
    StoreTxn *txn = begin(store);
    for (guint32 uid = 1; uid <= MANY; uid += 10)
        assert_true(store_msg_set_flags(txn, 1, uid, "\\Flagged", 200000 + uid, NULL, &error));
    commit(txn);
    check_memory(store, before, rss_bytes());
    /* And all of it away. */
    reconcile(store, "x", 1, NULL, NULL);
    guint32 id;
    txn = begin(store);
    assert_true(store_box_renew(txn, box_id(store, "x"), 1, 1, &id, &error));
    assert_true(store_msg_remove(txn, 1, uids, NULL, &error));
    commit(txn);
    assert_int_equal(store_msg_count(store_reader(store), 1), 0);
    check_memory(store, before, rss_bytes());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_100000, setup_store, teardown_store),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
