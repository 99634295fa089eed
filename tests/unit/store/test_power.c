/* test_power.c - the disk fails at the n-th call of SQLite, or the power is lost there: what was
 * committed durably is there, nothing is half, and an error is told.
 *
 * A child commits and tells each commit on a pipe; the parent opens the store again and looks. */
#include "store_test.h"
#include <sys/wait.h>
#include "imapfs/base/fault.h"
#include "imapfs/base/log.h"
#include "../../../src/store/private.h"

#define COMMITS 4
#define TXN_KEYS 3

typedef struct {
    int result;         /* 0: nothing failed; 1: something did, and was told; -1: killed */
    guint acknowledged; /* the last commit that was told */
} Outcome;

static bool commit_one(Store *store, guint number, bool durable)
{
    StoreTxn *txn = store_begin(store, durable, NULL);
    if (txn == NULL)
        return false;
    g_autofree char *value = g_strdup_printf("%u", number);
    for (guint i = 0; i < TXN_KEYS; i++) {
        g_autofree char *key = g_strdup_printf("%u.%u", number, i);
        if (!store_meta_put(txn, key, value, NULL)) {
            store_rollback(txn);
            return false;
        }
    }
    return store_commit(txn, NULL);
}

static void child(Fixture *fixture, const char *fault, bool durable, int told)
{
    int failed = 0;
    alarm(60);
    log_set_target(LOG_TO_RING_ONLY);
    g_setenv("IMAPFS_FAULT", fault, TRUE);
    fault_init();
    Store *store = fixture_try(fixture, 400000, NULL);
    if (store == NULL)
        _exit(1);
    for (guint8 number = 1; number <= COMMITS; number++) {
        bool ok = commit_one(store, number, durable);
        failed += !ok;
        if (ok && write(told, &number, 1) != 1)
            _exit(2);
    }
    store_close(store);
    _exit(failed > 0 ? 1 : 0);
}

static Outcome run_child(Fixture *fixture, const char *fault, bool durable, guint8 *told)
{
    int ends[2], status;
    Outcome out = {0};
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        child(fixture, fault, durable, ends[1]);
    close(ends[1]);
    guint8 number;
    while (read(ends[0], &number, 1) == 1) {
        told[number] = 1;
        out.acknowledged = number;
    }
    close(ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) || WTERMSIG(status) == SIGKILL);
    out.result = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    assert_true(out.result < 2);
    return out;
}

/* How many commits that were told are not there. */
static guint count_lost(Fixture *fixture, const char *fault, const guint8 *told)
{
    guint lost = 0;
    /* after a loss of power the machine has started anew */
    g_autofree char *lock = g_build_filename(fixture->state, "lock", NULL);
    g_file_set_contents(lock, "1 another-boot\n", -1, NULL);
    g_autoptr(GError) error = NULL;
    fixture->store = fixture_try(fixture, 400000, &error);
    assert_no_error(error);
    assert_true(db_quick_check(fixture->store->writer, NULL));
    for (guint number = 1; number <= COMMITS; number++) {
        guint there = 0;
        for (guint i = 0; i < TXN_KEYS; i++) {
            g_autofree char *key = g_strdup_printf("%u.%u", number, i);
            g_autofree char *value = store_meta_get(store_reader(fixture->store), key);
            there += value != NULL ? 1 : 0;
        }
        if (there != 0 && there != TXN_KEYS)
            fail_msg("%s: commit %u is there by half", fault, number);
        lost += told[number] && there == 0 ? 1 : 0;
    }
    assert_true(commit_one(fixture->store, COMMITS + 1, true)); /* and it goes on */
    fixture_close(fixture);
    return lost;
}

static Outcome run_case(const char *fault, bool durable, guint *lost_out)
{
    Fixture fixture;
    guint8 told[COMMITS + 1] = {0};
    fixture_init_small(&fixture);
    fixture_open(&fixture); /* the files are there already: it is about what is written later */
    fixture_close(&fixture);
    Outcome out = run_child(&fixture, fault, durable, told);
    *lost_out = count_lost(&fixture, fault, told);
    fixture_clear(&fixture);
    return out;
}

/* Every n until nothing happens any more; how many did. */
static guint each_n(const char *point, const char *kind, bool durable, guint *lost_out)
{
    guint n = 0;
    *lost_out = 0;
    for (;;) {
        guint lost;
        g_autofree char *fault = g_strdup_printf("%s:%u=%s", point, n + 1, kind);
        Outcome out = run_case(fault, durable, &lost);
        if (out.result == 0 && out.acknowledged == COMMITS)
            return n;
        *lost_out += lost;
        n++;
        assert_true(n < 1000);
    }
}

static void test_power(void **state)
{
    guint lost;
    assert_true(each_n("disk.*", "power", true, &lost) > 2 * COMMITS);
    assert_int_equal(lost, 0);
    assert_true(each_n("store.commit", "power", true, &lost) >= COMMITS);
    assert_int_equal(lost, 0);
}

/* That the test can fail: what is not synced is lost with the power, and not with a kill. */
static void test_power_not_durable(void **state)
{
    guint lost;
    each_n("store.commit", "power", false, &lost);
    assert_true(lost > 0);
    each_n("store.commit", "kill", false, &lost);
    assert_int_equal(lost, 0);
}

static void test_errors(void **state)
{
    static const char *const kinds[] = {"EIO", "ENOSPC", "EIO+", "ENOSPC+", "kill"};
    for (gsize i = 0; i < G_N_ELEMENTS(kinds); i++) {
        guint lost;
        assert_true(each_n("disk.*", kinds[i], true, &lost) > 2 * COMMITS);
        assert_int_equal(lost, 0);
    }
}

static void reuse_number(Fixture *fixture)
{
    static const StoreListing listings[] = {{"INBOX", '/', 0}, {"Other", '/', 0}};
    alarm(60);
    log_set_target(LOG_TO_RING_ONLY);
    g_setenv("IMAPFS_FAULT", "store.committed:1=power", TRUE);
    fault_init();
    Store *store = fixture_try(fixture, 400000, NULL);
    StoreTxn *txn = store != NULL ? store_begin(store, true, NULL) : NULL;
    if (txn != NULL && store_boxes_reconcile(txn, listings, 2, 2, NULL, NULL, NULL))
        store_commit(txn, NULL);
    _exit(1);
}

/* A mailbox gets a number that another had: what is kept under that does not come back. */
static void test_power_number_reused(void **state)
{
    const ContentKey key = {2, 1, CONTENT_RAW, ""};
    Fixture fixture;
    int status;
    fixture_init_small(&fixture);
    fixture_open(&fixture);
    reconcile(fixture.store, "INBOX", 1, NULL, NULL);
    put_content(fixture.store, &key, 1, 100);
    StoreTxn *txn = begin(fixture.store);
    assert_true(db_exec(fixture.store->writer, "UPDATE account SET next_box = 131071", NULL));
    commit(txn);
    fixture_close(&fixture);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        reuse_number(&fixture);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    fixture_open(&fixture);
    assert_int_equal(box_id(fixture.store, "Other"), 2);
    assert_false(content_exists(store_reader(fixture.store), &key));
    fixture_clear(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_power),
        cmocka_unit_test(test_power_not_durable),
        cmocka_unit_test(test_power_number_reused),
        cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
