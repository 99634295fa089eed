/* test_threads.c - readers on several threads while one writes; for the thread sanitizer, too. */
#include "store_test.h"
#include <sys/stat.h>
#include "../../../src/store/private.h"

#define READERS 4
#define TXNS 120
#define TXN_MSGS 10
#define CONTENTS 12

typedef struct {
    Store *store;
    gint stop;    /* atomic */
    gint reads;   /* atomic */
    gint started; /* atomic */
} Shared;

typedef struct {
    guint count;
    char *flags; /* of the first: all others are as it, in one snapshot */
    bool torn;
} Seen;

static bool see(const StoreMsg *msg, gpointer data)
{
    Seen *seen = data;
    if (seen->flags == NULL)
        seen->flags = g_strdup(msg->flags);
    if (strcmp(seen->flags, msg->flags) != 0)
        seen->torn = true;
    seen->count++;
    return true;
}

/* cmocka's asserts are for its own thread: a reader returns what is wrong. */
static const char *read_content(Content *content, const ContentKey *key)
{
    gsize size = (gsize)content_size(content);
    g_autofree guint8 *bytes = g_malloc(size + 1);
    g_autoptr(GError) error = NULL;
    if (content_read(content, bytes, size, 0, &error) != (gssize)size)
        return "a content cannot be read";
    for (gsize k = 0; k < size; k++)
        if (bytes[k] != sample_byte(key->uid, k))
            return "a content has a wrong byte";
    return NULL;
}

static const char *read_once(Store *store, guint i)
{
    StoreReader *reader = store_reader(store);
    Seen seen = {0};
    store_msg_each(reader, 1, 0, see, &seen);
    g_free(seen.flags);
    if (seen.torn || seen.count % TXN_MSGS != 0)
        return "half a transaction was seen";
    ContentKey key = {1, i % CONTENTS + 1, CONTENT_RAW, ""};
    guint64 removals = content_removals(store);
    g_autoptr(Content) content = content_open(reader, &key);
    if (content == NULL)
        return NULL;
    ContentTicket ticket = content_ticket(content);
    g_autoptr(Content) again = content_reopen(store, &ticket, removals);
    const char *wrong = read_content(content, &key);
    if (wrong == NULL && again != NULL)
        wrong = read_content(again, &key);
    if (wrong != NULL)
        return wrong;
    GError *error = NULL;
    return store_reader_check(reader, &error) ? NULL : "a read failed";
}

static gpointer read_loop(gpointer data)
{
    Shared *shared = data;
    const char *wrong = NULL;
    if (g_atomic_int_add(&shared->started, 1) % 2 == 0)
        store_reader_keep(store_reader(shared->store));
    for (guint i = 0; wrong == NULL && g_atomic_int_get(&shared->stop) == 0; i++) {
        wrong = read_once(shared->store, i);
        store_reader_rest(store_reader(shared->store), i % 2 == 0);
        g_atomic_int_inc(&shared->reads);
    }
    return (gpointer)wrong;
}

static gsize size_of(guint32 uid)
{
    return uid % 4 == 0 ? 100000 : 5000 * uid;
}

static void write_some(Store *store, guint32 i)
{
    GError *error = NULL;
    g_autofree char *flags = g_strdup_printf("f%u", i);
    StoreTxn *txn = begin(store);
    for (guint32 uid = 1; uid <= (i + 1) * TXN_MSGS; uid++) {
        StoreMsg msg = sample_msg(uid);
        msg.flags = flags;
        assert_true(store_msg_put(txn, 1, &msg, NULL, &error));
    }
    commit(txn);
    ContentKey key = {1, i % CONTENTS + 1, CONTENT_RAW, ""};
    put_content(store, &key, key.uid, size_of(key.uid));
    if (i % 7 == 0)
        content_evict(store, 10000);
}

static goffset wal_size(const char *path)
{
    g_autofree char *wal = g_strconcat(path, "-wal", NULL);
    struct stat st;
    return stat(wal, &st) == 0 ? st.st_size : 0;
}

/* Readers overlap all the time, so that the log is never unused; it must not grow on and on. */
static void test_readers_and_writer(void **state)
{
    Fixture *fixture = *state;
    fixture_close(fixture);
    Shared shared = {.store = fixture_open_sized(fixture, 300000)};
    GThread *threads[READERS];
    for (int i = 0; i < READERS; i++)
        threads[i] = g_thread_new("reader", read_loop, &shared);
    while (g_atomic_int_get(&shared.started) < READERS)
        g_usleep(1000);
    goffset largest = 0;
    for (guint32 i = 0; i < TXNS; i++) {
        write_some(shared.store, i);
        largest = MAX(largest, wal_size(shared.store->index_path));
    }
    /* On one busy processor the readers may not have had their turn yet. */
    while (g_atomic_int_get(&shared.reads) < READERS)
        g_usleep(1000);
    g_atomic_int_set(&shared.stop, 1);
    const char *wrong = NULL;
    for (int i = 0; i < READERS; i++) {
        const char *one = g_thread_join(threads[i]);
        wrong = one != NULL ? one : wrong;
    }
    if (wrong != NULL)
        fail_msg("%s", wrong);
    assert_true(largest < 80 << 20);
    /* Threads that ended have left nothing. */
    for (guint i = 0; i < shared.store->readers->len; i++)
        assert_ptr_equal(shared.store->readers->pdata[i], store_reader(shared.store));
}

/* --- several writers wait for each other --- */

static gpointer write_loop(gpointer data)
{
    Shared *shared = data;
    for (int i = 0; i < 100; i++) {
        StoreTxn *txn = store_begin(shared->store, i % 10 == 0, NULL);
        if (txn == NULL)
            return (gpointer) "begin failed";
        g_autofree char *was = store_meta_get(store_txn_reader(txn), "counter");
        g_autofree char *now = g_strdup_printf("%d", (was != NULL ? atoi(was) : 0) + 1);
        if (!store_meta_put(txn, "counter", now, NULL) || !store_commit(txn, NULL))
            return (gpointer) "a write failed";
    }
    return NULL;
}

static void test_writers(void **state)
{
    Shared shared = {.store = ((Fixture *)*state)->store};
    GThread *threads[READERS];
    for (int i = 0; i < READERS; i++)
        threads[i] = g_thread_new("writer", write_loop, &shared);
    for (int i = 0; i < READERS; i++)
        assert_null(g_thread_join(threads[i]));
    g_autofree char *counter = store_meta_get(store_reader(shared.store), "counter");
    assert_int_equal(atoi(counter), READERS * 100);
}

/* --- readers of stores that come and go --- */

typedef struct {
    Store *store;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    int step; /* the parent's and the thread's turns */
} Turns;

static void wait_for(Turns *turns, int step)
{
    pthread_mutex_lock(&turns->lock);
    while (turns->step < step)
        pthread_cond_wait(&turns->cond, &turns->lock);
    pthread_mutex_unlock(&turns->lock);
}

static void go_on(Turns *turns)
{
    pthread_mutex_lock(&turns->lock);
    turns->step++;
    pthread_cond_broadcast(&turns->cond);
    pthread_mutex_unlock(&turns->lock);
}

static gpointer outlive(gpointer data)
{
    Turns *turns = data;
    guint32 first = store_msg_count(store_reader(turns->store), 1);
    go_on(turns);
    wait_for(turns, 2); /* closed and opened again meanwhile */
    guint32 second = store_msg_count(store_reader(turns->store), 1);
    go_on(turns);
    wait_for(turns, 4); /* closed for good; then the thread ends */
    return GUINT_TO_POINTER(first * 100 + second);
}

static void test_reader_outlives_store(void **state)
{
    Fixture *fixture = *state;
    Turns turns = {.store = fixture->store};
    pthread_mutex_init(&turns.lock, NULL);
    pthread_cond_init(&turns.cond, NULL);
    put_msgs(fixture->store, 1, 1, 5);
    GThread *thread = g_thread_new("outlive", outlive, &turns);
    wait_for(&turns, 1);
    fixture_close(fixture);
    turns.store = fixture_open(fixture);
    put_msgs(fixture->store, 1, 6, 2);
    go_on(&turns);
    wait_for(&turns, 3);
    fixture_close(fixture);
    go_on(&turns);
    assert_int_equal(GPOINTER_TO_UINT(g_thread_join(thread)), 507);
    pthread_mutex_destroy(&turns.lock);
    pthread_cond_destroy(&turns.cond);
}

/* Two stores in one thread, closed in the other order. */
static void test_two_stores(void **state)
{
    Fixture *one = *state, two;
    fixture_init(&two);
    fixture_open(&two);
    put_msgs(one->store, 1, 1, 3);
    put_msgs(two.store, 1, 1, 4);
    assert_int_equal(store_msg_count(store_reader(one->store), 1), 3);
    assert_int_equal(store_msg_count(store_reader(two.store), 1), 4);
    fixture_close(one);
    assert_int_equal(store_msg_count(store_reader(two.store), 1), 4);
    fixture_open(one);
    assert_int_equal(store_msg_count(store_reader(one->store), 1), 3);
    fixture_clear(&two);
}

#define STORE_TEST(f) cmocka_unit_test_setup_teardown(f, setup_store, teardown_store)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(test_readers_and_writer),
        STORE_TEST(test_writers),
        STORE_TEST(test_reader_outlives_store),
        STORE_TEST(test_two_stores),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
