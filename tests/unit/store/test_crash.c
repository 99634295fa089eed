/* test_crash.c - killed, or an operation failing, at every fault point: what is left is whole.
 *
 * A child does some work with IMAPFS_FAULT set; the parent opens the store again and checks. */
#include "store_test.h"
#include <dirent.h>
#include <sys/wait.h>
#include "imapfs/base/fault.h"
#include "imapfs/base/log.h"
#include "../../../src/store/private.h"

#define TXN_MSGS 10
#define ROUNDS 4

/* --- the work; every step may fail, none may lie --- */

static bool work_put(Store *store, guint32 first)
{
    StoreTxn *txn = store_begin(store, first % 20 == 1, NULL);
    if (txn == NULL)
        return false;
    for (guint32 uid = first; uid < first + TXN_MSGS; uid++) {
        StoreMsg msg = sample_msg(uid);
        if (!store_msg_put(txn, 1, &msg, NULL, NULL) ||
            !store_structure_put(txn, 1, uid, "structure", NULL)) {
            store_rollback(txn);
            return false;
        }
    }
    return store_commit(txn, NULL);
}

static bool work_content(Store *store, guint32 uid, gsize size, bool in_batch)
{
    g_autoptr(GBytes) bytes = sample_bytes(uid, size);
    ContentKey key = {1, uid, CONTENT_RAW, ""};
    ContentWriter *writer = content_begin(store, &key, 0, NULL);
    if (writer == NULL)
        return false;
    if (!content_write(writer, g_bytes_get_data(bytes, NULL), size, NULL)) {
        content_abort(writer);
        return false;
    }
    bool ok = content_commit(writer, NULL);
    /* What was said to be there is there. */
    if (ok && !in_batch && !content_exists(store_reader(store), &key))
        _exit(3);
    return ok;
}

static gsize content_size_of(guint32 uid)
{
    return uid % 3 == 0 ? 150000 + uid : uid * 100;
}

/* One more of the same bytes; a large one is the same file. */
static bool work_copy(Store *store, guint32 uid)
{
    ContentKey key = {1, uid, CONTENT_RAW, ""}, copy = {1, uid, CONTENT_LETTER, ""};
    g_autoptr(Content) content = content_open(store_reader(store), &key);
    bool ok = content != NULL && content_copy(store, content, &copy, NULL);
    if (ok && !content_exists(store_reader(store), &copy))
        _exit(3);
    return ok;
}

static bool work_remove(Store *store, guint32 uid)
{
    g_autoptr(UidSet) set = uidset_new();
    uidset_add_range(set, uid, uid + TXN_MSGS - 1);
    StoreTxn *txn = store_begin(store, false, NULL);
    if (txn == NULL)
        return false;
    if (!store_msg_remove(txn, 1, set, NULL, NULL)) {
        store_rollback(txn);
        return false;
    }
    return store_commit(txn, NULL);
}

/* Counts of steps that failed. */
static int work(Store *store)
{
    int failed = 0;
    for (guint32 round = 0; round < ROUNDS; round++) {
        guint32 first = round * TXN_MSGS + 1;
        failed += !work_put(store, first);
        failed += !work_content(store, first, content_size_of(first), false);
        failed += !work_content(store, first + 2, content_size_of(first + 2), false);
        failed += !work_copy(store, first) + !work_copy(store, first + 2);
        content_batch_begin(store, NULL);
        for (guint32 uid = first + 3; uid < first + 8; uid++)
            failed += !work_content(store, uid, content_size_of(uid), true);
        failed += !content_batch_end(store, NULL);
        content_evict(store, 1000000);
        if (round == 2)
            failed += !work_remove(store, 1);
    }
    return failed;
}

/* 0: no fault was met; 1: steps failed; -1: killed. */
static int run_child(Fixture *fixture, const char *fault)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        alarm(60);
        log_set_target(LOG_TO_RING_ONLY);
        g_setenv("IMAPFS_FAULT", fault, TRUE);
        fault_init();
        Store *store = fixture_try(fixture, 400000, NULL);
        if (store == NULL)
            _exit(2);
        int failed = work(store);
        store_close(store);
        _exit(failed > 0 ? 1 : 0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status)) {
        assert_int_equal(WTERMSIG(status), SIGKILL);
        return -1;
    }
    if (WEXITSTATUS(status) > 1)
        fail_msg("%s: exit %d", fault, WEXITSTATUS(status));
    return WEXITSTATUS(status);
}

/* --- what must hold --- */

static gint64 get_int(Db *db, const char *sql)
{
    GError *error = NULL;
    gint64 out = -1;
    db_get_int(db, sql, &out, &error);
    assert_no_error(error);
    return out;
}

static gint64 count_files(Fixture *fixture)
{
    gint64 n = 0;
    DIR *dir = opendir(fixture->store->files.path);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        n += entry->d_name[0] != '.' ? 1 : 0;
    closedir(dir);
    return n;
}

static void check_index(Store *store, const char *fault)
{
    GError *error = NULL;
    assert_true(db_quick_check(store->writer, &error));
    assert_no_error(error);
    guint32 count = store_msg_count(store_reader(store), 1);
    if (count % TXN_MSGS != 0)
        fail_msg("%s: %u messages: a transaction is torn", fault, count);
    for (guint32 uid = 1; uid <= ROUNDS * TXN_MSGS; uid++) {
        StoreMsg msg = {0};
        bool there = store_msg_get(store_reader(store), 1, uid, &msg);
        g_autofree char *structure = store_structure_get(store_reader(store), 1, uid);
        if (there != (structure != NULL) || msg.has_structure != there)
            fail_msg("%s: message %u without its structure, or the other way round", fault, uid);
        store_msg_clear(&msg);
    }
    assert_int_equal(get_int(store->writer, "SELECT count(*) FROM size WHERE NOT EXISTS"
                                            " (SELECT 1 FROM msg WHERE msg.box = size.box"
                                            " AND msg.uid = size.uid)"),
                     0);
}

static void check_one(Store *store, const ContentKey *key, const char *fault)
{
    if (!content_exists(store_reader(store), key))
        return;
    g_autoptr(Content) content = content_open(store_reader(store), key);
    if (content == NULL)
        fail_msg("%s: content %u is there, but not whole", fault, key->uid);
    check_content(content, key->uid, content_size_of(key->uid));
    StoreMsg msg;
    if (!store_msg_get(store_reader(store), 1, key->uid, &msg))
        return; /* its row was what failed: then no size is kept either */
    store_msg_clear(&msg);
    assert_int_equal(store_size_get(store_reader(store), 1, key->uid, key->kind, ""),
                     content_size_of(key->uid));
}

static void check_contents(Fixture *fixture, const char *fault)
{
    Store *store = fixture->store;
    for (guint32 uid = 1; uid <= ROUNDS * TXN_MSGS; uid++) {
        const ContentKey key = {1, uid, CONTENT_RAW, ""}, copy = {1, uid, CONTENT_LETTER, ""};
        check_one(store, &key, fault);
        check_one(store, &copy, fault);
    }
    Db *db = store->content.db;
    assert_int_equal(get_int(db, "SELECT count(*) FROM content WHERE place = 1"),
                     count_files(fixture));
    assert_int_equal(get_int(db, "SELECT coalesce(sum(size), 0) FROM content"),
                     store->content.bytes);
    assert_int_equal(get_int(db, "SELECT count(*) FROM content"), store->content.count);
    assert_int_equal(get_int(db, "SELECT count(*) FROM blob"),
                     get_int(db, "SELECT count(*) FROM content WHERE place = 0"));
}

static void check_after(Fixture *fixture, const char *fault)
{
    fixture_open_sized(fixture, 400000);
    check_index(fixture->store, fault);
    check_contents(fixture, fault);
    /* And it goes on from there. */
    assert_int_equal(work(fixture->store), 0);
    assert_int_equal(store_msg_count(store_reader(fixture->store), 1), (ROUNDS - 1) * TXN_MSGS);
    check_contents(fixture, fault);
    fixture_close(fixture);
}

static int run_case(const char *fault)
{
    Fixture fixture;
    fixture_init_small(&fixture);
    int result = run_child(&fixture, fault);
    check_after(&fixture, fault);
    fixture_clear(&fixture);
    return result;
}

static int n_points; /* how many the work passes */

static void test_killed(void **state)
{
    for (;;) {
        g_autofree char *fault = g_strdup_printf("*:%d=kill", n_points + 1);
        if (run_case(fault) != -1)
            break;
        n_points++;
    }
    assert_true(n_points > 50);
}

/* What fails may be something that is only tried (eviction): then no step fails. */
static void test_disk_full(void **state)
{
    int failures = 0;
    for (int n = 1; n <= n_points; n++) {
        g_autofree char *fault = g_strdup_printf("*:%d=ENOSPC", n);
        int result = run_case(fault);
        assert_int_not_equal(result, -1);
        failures += result;
    }
    assert_true(failures > n_points / 2);
}

static void test_named_points(void **state)
{
    static const char *const points[] = {"store.begin", "store.commit", "content.write",
                                         "content.rename", "content.commit"};
    for (gsize i = 0; i < G_N_ELEMENTS(points); i++) {
        g_autofree char *fault = g_strdup_printf("%s:2=EIO", points[i]);
        if (run_case(fault) != 1)
            fail_msg("%s: not met", points[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_killed),
        cmocka_unit_test(test_disk_full),
        cmocka_unit_test(test_named_points),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
