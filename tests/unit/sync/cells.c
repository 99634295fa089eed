/* cells.c - see cells.h. */
#include "cells.h"

#include <string.h>
#include <unistd.h>

#include "imapfs/base/clock.h"
#include "imapfs/base/error.h"
#include "imapfs/base/log.h"
#include "imapfs/store/spool.h"

#define SETTLE_S 20

LogCounts counts_of(World *world, guint32 box)
{
    LogCounts counts = {0};
    log_count(store_reader(world->store), box, 0, &counts);
    return counts;
}

void retry(World *world, guint32 box, guint32 seq)
{
    g_autoptr(GError) error = NULL;
    StoreTxn *txn = store_begin(world->store, true, &error);
    assert_non_null(txn);
    assert_true(log_retry(txn, seq, clock_real_ns(), &error));
    assert_true(store_commit(txn, &error));
    engine_logged(world->engine, box, 0);
}

void check_counts(World *world, guint pending, guint failed)
{
    LogCounts counts = counts_of(world, 0);
    if (counts.pending != pending || counts.failed != failed) {
        g_autofree char *events = engine_events(world->engine, NULL);
        fail_msg("%u pending, %u failed; wanted %u, %u\n%s", (guint)counts.pending,
                 (guint)counts.failed, pending, failed, events);
    }
}

/* Nothing is pending any more; what was parked is no error here. */
void settled(World *world)
{
    gint64 until = g_get_monotonic_time() + SETTLE_S * G_USEC_PER_SEC;
    while (counts_of(world, 0).pending > 0 && g_get_monotonic_time() < until) {
        g_autoptr(GError) error = ask(world, &(Need){.kind = NEED_REPLAYED});
        if (error) /* while there is no connection it says so at once */
            g_usleep(10000);
    }
}

void check_flags(World *world, const char *mailbox, guint32 uid, const char *want)
{
    g_autofree char *flags = fake_flags(world_fake(world), mailbox, uid);
    if (!flags)
        fail_msg("%s %u is gone", mailbox, uid);
    assert_string_equal(flags, want);
}

guint32 open_listed(World *world)
{
    open_engine(world);
    return list_inbox(world);
}

guint32 listed(World *world, const char *name)
{
    ask_ok(world, &(Need){.kind = NEED_MAILBOXES});
    guint32 box = box_id(world, name);
    assert_int_not_equal(box, 0);
    ask_ok(world, &(Need){.kind = NEED_MAILBOX, .box = box});
    return box;
}

/* Offline, so that all is logged before anything is sent. */
void go_offline(World *world)
{
    engine_set_offline(world->engine, true);
    g_clear_error(&(GError *){ask(world, &(Need){.kind = NEED_MAILBOXES})});
}

void go_online(World *world)
{
    engine_set_offline(world->engine, false);
}

static bool first_op(const LogOp *op, gpointer data)
{
    *(LogOp **)data = log_op_copy(op);
    return false;
}

LogOp *op_of(World *world, bool failed)
{
    LogOp *op = NULL;
    log_each(store_reader(world->store), failed, 0, first_op, &op);
    return op;
}

void check_reason(World *world, bool failed, const char *want)
{
    g_autoptr(LogOp) op = op_of(world, failed);
    assert_non_null(op);
    assert_non_null(op->reason);
    if (!strstr(op->reason, want))
        fail_msg("\"%s\" does not have \"%s\"", op->reason, want);
}

void check_shown(World *world, guint32 box, guint32 uid, const char *want)
{
    StoreMsg msg = {0};
    assert_true(store_msg_get(store_reader(world->store), box, uid, &msg));
    g_autofree char *shown = log_shown_flags(store_reader(world->store), box, uid, msg.flags);
    assert_string_equal(shown, want);
    store_msg_clear(&msg);
}

/* --- what is seen --- */

guint shown_count(World *world, guint32 box)
{
    return log_shown_count(store_reader(world->store), box);
}

bool is_hidden(World *world, guint32 box, guint32 uid)
{
    return log_is_hidden(store_reader(world->store), box, uid);
}

static char *uids_text(GArray *uids)
{
    GString *text = g_string_new(NULL);
    for (guint i = 0; i < uids->len; i++)
        g_string_append_printf(text, "%s%u", i ? "," : "", g_array_index(uids, guint32, i));
    return g_string_free(text, FALSE);
}

static char *fake_list(World *world, const char *mailbox, bool numbers)
{
    Fake *fake = world_fake(world);
    g_autoptr(GArray) found = g_array_new(FALSE, FALSE, sizeof(guint32));
    fake_lock(fake);
    const FakeBox *box = fake_box(fake, mailbox);
    for (guint i = 0; i < box->messages->len; i++) {
        const FakeMessage *message = box->messages->pdata[i];
        guint32 value = numbers ? message->number : message->uid;
        g_array_append_val(found, value);
    }
    fake_unlock(fake);
    return uids_text(found);
}

void check_uids(World *world, guint32 box, const char *name, const char *want)
{
    g_autofree char *there = fake_list(world, name, false);
    g_autoptr(GString) here = g_string_new(NULL);
    g_autoptr(UidSet) rows = NULL;
    assert_string_equal(there, want);
    ask_ok(world, &(Need){.kind = NEED_MAILBOX, .box = box});
    rows = store_msg_uids(store_reader(world->store), box);
    g_autoptr(UidSet) wanted = uidset_new();
    if (*want)
        assert_true(uidset_parse(wanted, want, strlen(want)));
    g_autoptr(GString) normal = g_string_new(NULL);
    uidset_print(wanted, normal);
    uidset_print(rows, here);
    assert_string_equal(here->str, normal->str);
}

void check_mail(World *world, const char *mailbox, const char *want)
{
    g_autofree char *there = fake_list(world, mailbox, true);
    assert_string_equal(there, want);
}

/* --- what a person does --- */

static StoreTxn *begin(World *world)
{
    GError *error = NULL;
    StoreTxn *txn = store_begin(world->store, true, &error);
    assert_non_null(txn);
    return txn;
}

static void commit(World *world, StoreTxn *txn, bool ok, GError *error, guint32 box, guint32 uid)
{
    if (!ok)
        fail_msg("%s", error->message);
    assert_true(store_commit(txn, &error));
    if (world->engine)
        engine_logged(world->engine, box, uid);
}

guint32 move_msg(World *world, guint32 box, guint32 uid, guint32 to_box)
{
    GError *error = NULL;
    guint32 n = 0, seq = 0;
    StoreTxn *txn = begin(world);
    bool ok = log_move(txn, box, uid, to_box, false, clock_real_ns(), &n, &seq, &error);
    commit(world, txn, ok, error, box, uid);
    return n;
}

guint32 copy_msg(World *world, guint32 box, guint32 uid, guint32 to_box)
{
    GError *error = NULL;
    guint32 n = 0, seq = 0;
    StoreTxn *txn = begin(world);
    bool ok = log_copy(txn, box, uid, to_box, clock_real_ns(), &n, &seq, &error);
    commit(world, txn, ok, error, box, uid);
    return n;
}

guint32 expunge_msg(World *world, guint32 box, guint32 uid)
{
    GError *error = NULL;
    guint32 seq = 0;
    StoreTxn *txn = begin(world);
    bool ok = log_expunge(txn, box, uid, 0, false, clock_real_ns(), &seq, &error);
    commit(world, txn, ok, error, box, uid);
    return seq;
}

guint32 append_letter(World *world, guint32 to_box, const char *bytes, const char *flags)
{
    GError *error = NULL;
    guint64 size = 0;
    guint32 seq = 0;
    g_autoptr(Spool) spool = spool_new(world->store, &error);
    assert_non_null(spool);
    gsize length = strlen(bytes);
    assert_int_equal(write(spool_fd(spool), bytes, length), (gssize)length);
    assert_true(spool_commit(spool, NULL, &size, &error));
    guint32 n = spool_number(spool);
    const char *field = strstr(bytes, "Message-ID: ");
    g_autofree char *id = field ? g_strndup(field + 12, strcspn(field + 12, "\r\n")) : NULL;
    StoreMsg msg = {.uid = n,
                    .name = (char *)"2026-01-01 a - b",
                    .from = (char *)"a",
                    .subject = (char *)"b",
                    .message_id = id,
                    .internaldate = 1767225600,
                    .zone = 60,
                    .size = size,
                    .flags = (char *)flags};
    StoreTxn *txn = begin(world);
    bool ok = log_append(txn, to_box, &msg, clock_real_ns(), &seq, &error);
    commit(world, txn, ok, error, to_box, 0);
    return n;
}

/* --- main --- */

int run_cells(int argc, char **argv, const struct CMUnitTest *tests, gsize n)
{
    fake_main(argc, argv);
    log_init(g_getenv("IMAPFS_DEBUG"));
    if (!g_getenv("IMAPFS_DEBUG"))
        log_set_target(LOG_TO_RING_ONLY);
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return _cmocka_run_group_tests("sync", tests, n, NULL, NULL);
}
