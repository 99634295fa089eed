/* test_log_place_parts.c - what is known of a message (structure, sizes, contents) while it is
 * moved, copied and appended; and a failing database in the middle of it. */
#include "plans_check.h"

#include "imapfs/base/fault.h"
#include "imapfs/store/log.h"
#include "imapfs/store/spool.h"
#include "../../../src/store/private.h"

#define SIZE_SMALL 1000
#define SIZE_LARGE 100000 /* a file of its own */
#define STRUCTURE "the structure"

typedef struct {
    Store *store;
    guint32 a, b, c;
} World;

static void set_known(Store *store, guint32 id)
{
    StoreBox box;
    StoreTxn *txn = begin(store);
    assert_true(store_box_by_id(store_txn_reader(txn), id, &box));
    box.uidvalidity = 10;
    box.uidnext = 100;
    box.listed = true;
    assert_true(store_box_update(txn, &box, NULL));
    store_box_clear(&box);
    commit(txn);
}

static const ContentKey *key_of(guint32 box, guint32 uid, bool large)
{
    static ContentKey key;
    key = (ContentKey){box, uid, large ? CONTENT_RAW : CONTENT_TEXT, large ? "" : "1"};
    return &key;
}

static World world(Fixture *fixture)
{
    World self = {.store = fixture->store};
    reconcile(self.store, "a b c", 1, NULL, NULL);
    self.a = box_id(self.store, "a");
    self.b = box_id(self.store, "b");
    self.c = box_id(self.store, "c");
    set_known(self.store, self.a);
    set_known(self.store, self.b);
    set_known(self.store, self.c);
    put_msgs(self.store, self.a, 1, 2);
    StoreTxn *txn = begin(self.store);
    assert_true(store_structure_put(txn, self.a, 1, STRUCTURE, NULL));
    assert_true(store_size_put(txn, self.a, 1, CONTENT_DECODED, "2", 77, NULL));
    commit(txn);
    put_content(self.store, key_of(self.a, 1, false), 1, SIZE_SMALL);
    put_content(self.store, key_of(self.a, 1, true), 2, SIZE_LARGE);
    return self;
}

static guint64 n_contents(Store *store)
{
    guint64 bytes, count;
    content_stats(store, &bytes, &count);
    return count;
}

/* All that was known of the message is known of this one. */
static void check_known(Store *store, guint32 box, guint32 uid, bool contents)
{
    StoreReader *reader = store_reader(store);
    g_autofree char *text = store_structure_get(reader, box, uid);
    assert_non_null(text);
    assert_string_equal(text, STRUCTURE);
    assert_int_equal(store_size_get(reader, box, uid, CONTENT_DECODED, "2"), 77);
    assert_int_equal(store_size_get(reader, box, uid, CONTENT_TEXT, "1"), SIZE_SMALL);
    StoreMsg msg;
    assert_true(store_msg_get(reader, box, uid, &msg));
    assert_true(msg.has_structure);
    store_msg_clear(&msg);
    for (int large = 0; large <= 1; large++) {
        assert_int_equal(content_exists(reader, key_of(box, uid, large)), contents);
        if (!contents)
            continue;
        g_autoptr(Content) content = content_open(reader, key_of(box, uid, large));
        check_content(content, large ? 2 : 1, large ? SIZE_LARGE : SIZE_SMALL);
    }
}

static void check_unknown(Store *store, guint32 box, guint32 uid)
{
    StoreReader *reader = store_reader(store);
    assert_null(store_structure_get(reader, box, uid));
    assert_int_equal(store_size_get(reader, box, uid, CONTENT_TEXT, "1"), -1);
    assert_false(content_exists(reader, key_of(box, uid, false)));
    assert_false(content_exists(reader, key_of(box, uid, true)));
}

/* --- one call, one transaction --- */

static guint32 do_move(const World *self, guint32 box, guint32 uid, guint32 to, bool copy)
{
    guint32 n = 0, seq;
    StoreTxn *txn = begin(self->store);
    assert_true(copy ? log_copy(txn, box, uid, to, 1, &n, &seq, NULL)
                     : log_move(txn, box, uid, to, false, 1, &n, &seq, NULL));
    commit(txn);
    return n;
}

static guint32 do_claim(const World *self, guint32 box)
{
    g_autoptr(GPtrArray) ops = NULL;
    StoreTxn *txn = begin(self->store);
    assert_true(log_claim(txn, box, G_MAXINT64, LOG_ANY, 1, &ops, NULL));
    commit(txn);
    assert_int_equal(ops->len, 1);
    return ((LogOp *)ops->pdata[0])->seq;
}

static void do_placed(const World *self, guint32 seq, guint32 uid, bool still_there)
{
    StoreTxn *txn = begin(self->store);
    assert_true(log_placed(txn, seq, uid ? 10 : 0, uid, still_there, NULL));
    commit(txn);
}

static void do_remove(const World *self, guint32 box, guint32 uid)
{
    g_autoptr(UidSet) uids = uidset_new();
    uidset_add(uids, uid);
    StoreTxn *txn = begin(self->store);
    assert_true(store_msg_remove(txn, box, uids, NULL, NULL));
    commit(txn);
}

/* --- tests --- */

static void test_origin(void **state)
{
    World self = world(*state);
    StoreReader *reader = store_reader(self.store);
    guint32 n = do_move(&self, self.a, 1, self.b, true);
    guint32 n2 = do_move(&self, STORE_BOX_PENDING, n, self.c, true);
    guint32 box, uid;
    store_origin(reader, STORE_BOX_PENDING, n2, &box, &uid);
    assert_int_equal(box, self.a);
    assert_int_equal(uid, 1);
    check_known(self.store, STORE_BOX_PENDING, n, true);
    check_known(self.store, STORE_BOX_PENDING, n2, true);
    /* What is learned of a copy is of the original. */
    put_content(self.store, &(ContentKey){STORE_BOX_PENDING, n2, CONTENT_TEXT, "9"}, 9, 50);
    assert_true(content_exists(reader, &(ContentKey){self.a, 1, CONTENT_TEXT, "9"}));
    assert_int_equal(store_size_get(reader, self.a, 1, CONTENT_TEXT, "9"), 50);
    assert_int_equal(n_contents(self.store), 3);
}

/* Whichever comes first: the answer, or that the source went. */
static void test_move(void **state)
{
    for (int removed_first = 0; removed_first <= 1; removed_first++) {
        Fixture fixture;
        fixture_init_small(&fixture);
        fixture_open(&fixture);
        World self = world(&fixture);
        guint32 n = do_move(&self, self.a, 1, self.b, false);
        g_autoptr(Content) open =
            content_open(store_reader(self.store), key_of(STORE_BOX_PENDING, n, true));
        guint32 seq = do_claim(&self, self.a);
        if (removed_first) {
            do_remove(&self, self.a, 1);
            check_unknown(self.store, self.a, 1);
            check_known(self.store, STORE_BOX_PENDING, n, true);
        }
        do_placed(&self, seq, 100, false);
        check_known(self.store, self.b, 100, true);
        check_unknown(self.store, STORE_BOX_PENDING, n);
        if (!removed_first) {
            assert_true(log_is_hidden(store_reader(self.store), self.a, 1));
            do_remove(&self, self.a, 1);
        }
        check_known(self.store, self.b, 100, true);
        assert_int_equal(n_contents(self.store), 2);
        check_content(open, 2, SIZE_LARGE);
        g_clear_pointer(&open, content_unref);
        fixture_close(&fixture); /* and it is so on disk */
        fixture_open(&fixture);
        check_known(fixture.store, self.b, 100, true);
        fixture_clear(&fixture);
    }
}

static void test_copy(void **state)
{
    World self = world(*state);
    do_move(&self, self.a, 1, self.b, true);
    do_placed(&self, do_claim(&self, self.a), 100, false);
    check_known(self.store, self.a, 1, true);
    check_known(self.store, self.b, 100, false); /* contents are of one message */
    assert_int_equal(n_contents(self.store), 2);
}

/* The original of two copies and a move goes while all are under way. */
static void test_shared(void **state)
{
    World self = world(*state);
    guint32 n1 = do_move(&self, self.a, 1, self.b, true);
    guint32 s1 = do_claim(&self, self.a);
    guint32 n2 = do_move(&self, self.a, 1, self.c, true);
    guint32 n3 = do_move(&self, STORE_BOX_PENDING, n1, self.c, true);
    do_remove(&self, self.a, 1); /* n2, never sent, is parked; n1 waits for its answer */
    check_known(self.store, STORE_BOX_PENDING, n1, true);
    check_known(self.store, STORE_BOX_PENDING, n2, true);
    check_known(self.store, STORE_BOX_PENDING, n3, true);
    LogPending pending;
    assert_true(log_pending_get(store_reader(self.store), n2, &pending));
    assert_int_equal(pending.box, 0);
    do_placed(&self, s1, 100, false);
    check_known(self.store, self.b, 100, true);
    check_known(self.store, STORE_BOX_PENDING, n2, true);
    check_known(self.store, STORE_BOX_PENDING, n3, true);
    assert_int_equal(n_contents(self.store), 2);
    do_remove(&self, self.b, 100);
    check_known(self.store, STORE_BOX_PENDING, n2, true);
    check_unknown(self.store, self.b, 100);
}

/* What is parked stays readable, until it is discarded. */
static void test_parked(void **state)
{
    World self = world(*state);
    guint32 n = do_move(&self, self.a, 1, self.b, false);
    do_remove(&self, self.a, 1);
    check_known(self.store, STORE_BOX_PENDING, n, true);
    LogCounts counts;
    log_count(store_reader(self.store), STORE_BOX_PENDING, n, &counts);
    assert_int_equal(counts.failed, 1);
    LogPending pending;
    assert_true(log_pending_get(store_reader(self.store), n, &pending));
    StoreTxn *txn = begin(self.store);
    assert_true(log_discard(txn, pending.seq, NULL));
    commit(txn);
    check_unknown(self.store, STORE_BOX_PENDING, n);
    assert_false(log_pending_get(store_reader(self.store), n, &pending));
    assert_int_equal(n_contents(self.store), 0);
}

/* A mailbox that is replaced or removed takes nothing with it that is still needed. */
static void test_box_gone(void **state)
{
    for (int renew = 0; renew <= 1; renew++) {
        Fixture fixture;
        fixture_init_small(&fixture);
        fixture_open(&fixture);
        World self = world(&fixture);
        guint32 n = do_move(&self, self.a, 1, self.b, false);
        if (renew) {
            guint32 id;
            StoreTxn *txn = begin(self.store);
            assert_true(store_box_renew(txn, self.a, 11, 1, &id, NULL));
            commit(txn);
        } else {
            reconcile(self.store, "b c", 1, NULL, NULL);
        }
        check_known(self.store, STORE_BOX_PENDING, n, true);
        check_unknown(self.store, self.a, 1);
        fixture_clear(&fixture);
    }
}

/* A content that is on its way while its message gets another number. */
static void test_under_way(void **state)
{
    World self = world(*state);
    guint32 n = do_move(&self, self.a, 1, self.b, false);
    GError *error = NULL;
    ContentKey from_source = {self.a, 1, CONTENT_TEXT, "5"};
    ContentKey from_pending = {STORE_BOX_PENDING, n, CONTENT_TEXT, "6"};
    ContentWriter *one = content_begin(self.store, &from_source, 0, &error);
    ContentWriter *two = content_begin(self.store, &from_pending, 0, &error);
    assert_true(content_write(one, "one", 3, &error));
    assert_true(content_write(two, "two", 3, &error));
    guint32 seq = do_claim(&self, self.a);
    do_remove(&self, self.a, 1);
    do_placed(&self, seq, 100, false);
    assert_true(content_commit(one, &error));
    assert_true(content_commit(two, &error));
    StoreReader *reader = store_reader(self.store);
    assert_true(content_exists(reader, &(ContentKey){self.b, 100, CONTENT_TEXT, "5"}));
    assert_true(content_exists(reader, &(ContentKey){self.b, 100, CONTENT_TEXT, "6"}));
    assert_int_equal(store_size_get(reader, self.b, 100, CONTENT_TEXT, "5"), 3);
}

/* A letter that goes to b and was decoded here; *seq_out places it. */
static guint32 append_letter(const World *self, const char *message_id, guint32 *seq_out)
{
    g_autoptr(Spool) spool = spool_new(self->store, NULL);
    guint64 size;
    assert_int_equal(write(spool_fd(spool), "A: b\r\n\r\n", 8), 8);
    assert_true(spool_commit(spool, NULL, &size, NULL));
    StoreMsg msg = sample_msg(spool_number(spool));
    guint32 n = msg.uid;
    msg.size = size;
    msg.message_id = (char *)message_id;
    StoreTxn *txn = begin(self->store);
    assert_true(log_append(txn, self->b, &msg, 1, seq_out, NULL));
    assert_true(store_structure_put(txn, STORE_BOX_PENDING, n, STRUCTURE, NULL));
    assert_true(store_size_put(txn, STORE_BOX_PENDING, n, CONTENT_DECODED, "2", 77, NULL));
    commit(txn);
    put_content(self->store, key_of(STORE_BOX_PENDING, n, false), 1, SIZE_SMALL);
    put_content(self->store, key_of(STORE_BOX_PENDING, n, true), 2, SIZE_LARGE);
    return n;
}

/* An appended letter is decoded here; the server then has the same. */
static void test_append(void **state)
{
    World self = world(*state);
    guint32 seq, n = append_letter(&self, "<a@b>", &seq);
    LogPending pending;
    assert_true(log_pending_get(store_reader(self.store), n, &pending));
    assert_int_equal(pending.spooled, 8);
    assert_int_equal(pending.from_box, 0);
    assert_int_equal(pending.box, self.b);
    assert_int_equal(do_claim(&self, self.b), seq);
    do_placed(&self, seq, 100, false);
    check_known(self.store, self.b, 100, true);
    assert_int_equal(spool_open(self.store, n, NULL), -1); /* went with the commit */
}

/* The server has it, but rewrote it, as its size tells: what is known of the letter is not known of
 * that. */
static void test_append_rewritten(void **state)
{
    World self = world(*state);
    guint32 seq, n = append_letter(&self, "<a@b>", &seq);
    guint found, queued, parked;
    do_claim(&self, self.b);
    StoreMsg msg = sample_msg(100);
    msg.message_id = (char *)"<a@b>";
    msg.size = 9;
    StoreTxn *txn = begin(self.store);
    assert_true(store_msg_put(txn, self.b, &msg, NULL, NULL));
    assert_true(log_unsure(txn, seq, NULL));
    assert_true(log_probe(txn, self.b, &found, &queued, &parked, NULL));
    commit(txn);
    assert_int_equal(found, 1);
    check_unknown(self.store, self.b, 100);
    check_unknown(self.store, STORE_BOX_PENDING, n);
    guint32 box, uid;
    assert_true(log_went(store_reader(self.store), STORE_BOX_PENDING, n, &box, &uid));
    assert_int_equal(uid, 100);
}

/* Numbers are given once: also when all that had one is gone, and after a restart. */
static void test_numbers(void **state)
{
    Fixture *fixture = *state;
    World self = world(fixture);
    guint32 n = do_move(&self, self.a, 1, self.b, false);
    assert_int_equal(do_move(&self, STORE_BOX_PENDING, n, self.a, false), 0);
    fixture_close(fixture);
    self.store = fixture_open(fixture);
    assert_true(do_move(&self, self.a, 1, self.b, false) > n);
}

/* What a crash leaves: logged changes are there, what was sent is unsure, letters that nobody was
 * told of are gone. */
static void test_recover(void **state)
{
    Fixture *fixture = *state;
    World self = world(fixture);
    guint32 n = do_move(&self, self.a, 1, self.b, false);
    guint32 seq = do_claim(&self, self.a);
    guint64 size;
    g_autoptr(Spool) spool = spool_new(self.store, NULL);
    guint32 orphan = spool_number(spool);
    assert_true(spool_commit(spool, NULL, &size, NULL));
    g_clear_pointer(&spool, spool_free);
    fixture_close(fixture);
    self.store = fixture_open(fixture);
    spool = spool_new(self.store, NULL); /* somebody writes before it is recovered */
    guint32 early = spool_number(spool);
    assert_true(spool_commit(spool, NULL, &size, NULL));
    StoreTxn *txn = begin(self.store);
    assert_true(log_recover(txn, NULL));
    commit(txn);
    LogOp op;
    assert_true(log_get(store_reader(self.store), seq, &op));
    assert_int_equal(op.state, LOG_UNSURE);
    assert_int_equal(op.fence_uidvalidity, 10);
    assert_int_equal(op.fence_uidnext, 100);
    assert_int_equal(op.to_n, n);
    assert_string_equal(op.target, "b");
    assert_string_equal(op.shown, "\\Seen");
    log_op_clear(&op);
    guint32 box, uid;
    assert_false(log_went(store_reader(self.store), self.a, 1, &box, &uid));
    assert_int_equal(spool_open(self.store, orphan, NULL), -1);
    int fd = spool_open(self.store, early, NULL);
    assert_true(fd >= 0);
    close(fd);
}

static guint n_pending(const World *self, guint32 box, guint32 uid)
{
    LogCounts counts;
    log_count(store_reader(self->store), box, uid, &counts);
    return (guint)counts.pending;
}

/* Who waits for a mailbox waits for what goes there, too. */
static void test_counts(void **state)
{
    World self = world(*state);
    guint32 n1 = do_move(&self, self.a, 1, self.b, false);
    do_claim(&self, self.a);
    guint32 n2 = do_move(&self, STORE_BOX_PENDING, n1, self.c, false);
    assert_int_equal(n_pending(&self, 0, 0), 2);
    assert_int_equal(n_pending(&self, self.a, 0), 1);
    assert_int_equal(n_pending(&self, self.b, 0), 2);
    assert_int_equal(n_pending(&self, self.c, 0), 1);
    assert_int_equal(n_pending(&self, self.a, 1), 1);
    assert_int_equal(n_pending(&self, self.a, 2), 0);
    assert_int_equal(n_pending(&self, STORE_BOX_PENDING, n1), 2);
    assert_int_equal(n_pending(&self, STORE_BOX_PENDING, n2), 1);
}

/* --- a listing --- */

typedef struct {
    guint32 last, n;
} Listing;

static bool list_one(const StoreMsg *msg, gpointer data)
{
    Listing *listing = data;
    assert_true(msg->uid > listing->last);
    assert_int_not_equal(msg->uid % 10, 0);
    listing->last = msg->uid;
    listing->n++;
    return listing->n % 7 != 0; /* in pages */
}

/* Every tenth of many is hidden, one way or the other; read in pages. */
static void test_listing(void **state)
{
    enum { N = 2000 };
    World self = world(*state);
    put_msgs(self.store, self.b, 1, N);
    StoreTxn *txn = begin(self.store);
    for (guint32 uid = 10; uid <= N; uid += 10) {
        guint32 seq;
        assert_true(uid % 20 ? log_expunge(txn, self.b, uid, 0, false, 1, &seq, NULL)
                             : log_move(txn, self.b, uid, self.c, false, 1, NULL, NULL, NULL));
        if (uid % 50 == 10)
            assert_true(log_hide(txn, seq, NULL));
    }
    commit(txn);
    StoreReader *reader = store_reader(self.store);
    Listing listing = {0};
    for (guint32 before = 1; before != listing.n;) {
        before = listing.n;
        log_shown_each(reader, self.b, listing.last, list_one, &listing);
    }
    assert_int_equal(listing.n, N - N / 10);
    assert_int_equal(log_shown_count(reader, self.b), N - N / 10);
    assert_int_equal(log_shown_count(reader, self.c), N / 20);
    assert_true(store_reader_check(reader, NULL));
}

/* --- a database that fails --- */

typedef struct {
    guint left; /* steps of SQLite's machine until it fails; 0: it has */
} Breaking;

static int break_now(void *data)
{
    Breaking *breaking = data;
    if (breaking->left > 0)
        breaking->left--;
    return breaking->left == 0;
}

static bool break_move(const World *self, StoreTxn *txn, GError **error)
{
    return log_move(txn, self->a, 2, self->b, false, 1, NULL, NULL, error);
}

static bool break_move_on(const World *self, StoreTxn *txn, GError **error)
{
    return log_move(txn, STORE_BOX_PENDING, 3, self->c, false, 1, NULL, NULL, error);
}

static bool break_move_back(const World *self, StoreTxn *txn, GError **error)
{
    return log_move(txn, STORE_BOX_PENDING, 3, self->a, false, 1, NULL, NULL, error);
}

static bool break_expunge(const World *self, StoreTxn *txn, GError **error)
{
    return log_expunge(txn, STORE_BOX_PENDING, 3, 0, false, 1, NULL, error);
}

static bool break_claim(const World *self, StoreTxn *txn, GError **error)
{
    g_autoptr(GPtrArray) ops = NULL;
    return log_claim(txn, self->a, G_MAXINT64, LOG_ANY, 9, &ops, error);
}

static bool break_placed(const World *self, StoreTxn *txn, GError **error)
{
    return log_placed(txn, 1, 10, 100, false, error);
}

static bool break_still_there(const World *self, StoreTxn *txn, GError **error)
{
    return log_placed(txn, 1, 10, 100, true, error);
}

static bool break_park(const World *self, StoreTxn *txn, GError **error)
{
    return log_park(txn, 1, "refused", error);
}

static bool break_requeue(const World *self, StoreTxn *txn, GError **error)
{
    return log_requeue(txn, 1, 1, 0, NULL, error);
}

static bool break_recover(const World *self, StoreTxn *txn, GError **error)
{
    return log_recover(txn, error);
}

static bool break_probe(const World *self, StoreTxn *txn, GError **error)
{
    guint found, queued, parked;
    return log_unsure(txn, 1, error) && log_probe(txn, self->b, &found, &queued, &parked, error);
}

static bool break_remove(const World *self, StoreTxn *txn, GError **error)
{
    g_autoptr(UidSet) uids = parse_uids("1:2");
    return store_msg_remove(txn, self->a, uids, NULL, error);
}

static bool break_renew(const World *self, StoreTxn *txn, GError **error)
{
    guint32 id;
    return store_box_renew(txn, self->a, 11, 1, &id, error);
}

/* Each call is broken off after one step, after two, ... until it gets through: broken, it cannot
 * be committed, and nothing has changed. */
static void test_broken(void **state)
{
    static bool (*const calls[])(const World *, StoreTxn *, GError **) = {
        break_move,   break_move_on, break_move_back, break_expunge, break_claim,
        break_placed, break_park,    break_requeue,   break_recover, break_still_there,
        break_probe,  break_remove,  break_renew,
    };
    World self = world(*state);
    g_auto(Flags) set = {0};
    g_auto(Flags) none = {0};
    flags_parse(&set, "\\Flagged");
    guint32 n1 = do_move(&self, self.a, 1, self.b, false); /* being sent, flagged, moved on */
    assert_int_equal(do_claim(&self, self.a), 1);
    guint32 n2 = do_move(&self, STORE_BOX_PENDING, n1, self.c, false);
    guint32 n3 = do_move(&self, self.a, 2, self.b, false); /* queued, flagged */
    assert_int_equal(n3, 3);
    StoreTxn *txn = begin(self.store);
    assert_true(log_flags(txn, STORE_BOX_PENDING, n2, &set, &none, 1, NULL, NULL));
    assert_true(log_flags(txn, STORE_BOX_PENDING, n3, &set, &none, 1, NULL, NULL));
    commit(txn);
    LogCounts before, now;
    log_count(store_reader(self.store), 0, 0, &before);
    sqlite3 *writer = self.store->writer->handle;
    for (gsize i = 0; i < G_N_ELEMENTS(calls); i++) {
        bool through = false;
        for (guint steps = 1; !through; steps += 1 + steps / 20) {
            g_autoptr(GError) error = NULL;
            Breaking breaking = {steps};
            txn = begin(self.store);
            sqlite3_progress_handler(writer, 1, break_now, &breaking);
            bool ok = calls[i](&self, txn, &error);
            sqlite3_progress_handler(writer, 0, NULL, NULL);
            through = breaking.left > 0;
            if (through) {
                if (!ok && !g_error_matches(error, IMAPFS_ERROR, IMAPFS_ERROR_GONE))
                    fail_msg("call %zu: %s", i, error ? error->message : "no error");
                store_rollback(txn);
                continue;
            }
            assert_true(ok || error != NULL);
            assert_false(store_commit(txn, NULL));
            log_count(store_reader(self.store), 0, 0, &now);
            assert_int_equal(now.pending, before.pending);
            assert_int_equal(now.failed, before.failed);
        }
    }
    check_known(self.store, STORE_BOX_PENDING, n2, true);
}

int main(void)
{
#define WITH_STORE(test) cmocka_unit_test_setup_teardown(test, setup_store, plans_teardown)
    const struct CMUnitTest tests[] = {
        WITH_STORE(test_origin),     WITH_STORE(test_copy),
        WITH_STORE(test_shared),     WITH_STORE(test_parked),
        WITH_STORE(test_append),     WITH_STORE(test_append_rewritten),
        WITH_STORE(test_under_way),  WITH_STORE(test_numbers),
        WITH_STORE(test_counts),     WITH_STORE(test_recover),
        WITH_STORE(test_listing),    WITH_STORE(test_broken),
        cmocka_unit_test(test_move), cmocka_unit_test(test_box_gone),
    };
    return cmocka_run_group_tests_name("log_place_parts", tests, NULL, NULL);
}
