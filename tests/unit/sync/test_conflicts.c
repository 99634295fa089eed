/* Every cell of the conflict matrix, every answer a server may give, and every cut, against a
 * server of the test's own. A test a cell: its name says which. */
#include <string.h>

#include "../../../src/sync/replay.h"
#include "cells.h"
#include "imapfs/base/clock.h"
#include "imapfs/base/error.h"

/* --- the matrix: FLAGS --- */

static void cell_expunged(void **state)
{
    World *world = *state;
    Fake *fake = world_fake(world);
    assert_int_equal(conflict_action(LOG_FLAGS, CONFLICT_EXPUNGED), ACTION_DROP);
    guint32 inbox = open_listed(world);
    go_offline(world);
    world_change(world, inbox, 2, "\\Seen", "");
    world_change(world, inbox, 3, "\\Seen", "");
    fake_lock(fake);
    fake_expunge(fake, "INBOX", 2);
    fake_unlock(fake);
    go_online(world);
    settled(world);
    check_counts(world, 0, 0);
    check_flags(world, "INBOX", 3, "\\Seen");
    wait_event(world, "dropped INBOX: 1");
    assert_int_equal(fake_count(fake, "UID STORE 3 "), 1);
}

/* It goes while the mailbox is selected, and the server says nothing of it. */
static void cell_expunged_unsaid(void **state)
{
    World *world = *state;
    Fake *fake = world_fake(world);
    guint32 inbox = open_listed(world);
    world_change(world, inbox, 1, "\\Seen", "");
    settled(world); /* it is selected for writing now */
    fake_lock(fake);
    fake_expunge(fake, "INBOX", 2);
    fake_unlock(fake);
    world_change(world, inbox, 2, "\\Seen", "");
    wait_event(world, "dropped INBOX: 1");
    check_counts(world, 0, 0);
    assert_int_equal(store_msg_count(store_reader(world->store), inbox), 3);
}

static void cell_moved(void **state)
{
    World *world = *state;
    Fake *fake = world_fake(world);
    assert_int_equal(conflict_action(LOG_FLAGS, CONFLICT_MOVED), ACTION_FOLLOW_ELSE_DROP);
    fake->capabilities = "OBJECTID";
    fake_box(fake, "Archive");
    guint32 inbox = open_listed(world);
    guint32 archive = listed(world, "Archive");
    go_offline(world);
    world_change(world, inbox, 2, "\\Flagged", "");
    fake_lock(fake);
    FakeMessage *moved = fake_add(fake, "Archive", 9, "\\Seen");
    g_free(moved->emailid);
    moved->emailid = g_strdup("M2");
    fake_expunge(fake, "INBOX", 2);
    fake_unlock(fake);
    go_online(world);
    ask_ok(world, &(Need){.kind = NEED_MAILBOX, .box = inbox});
    ask_ok(world, &(Need){.kind = NEED_MAILBOX, .box = archive});
    settled(world);
    check_counts(world, 0, 0);
    check_flags(world, "Archive", 9, "\\Seen \\Flagged");
}

static void cell_moved_nowhere(void **state)
{
    World *world = *state;
    Fake *fake = world_fake(world);
    fake->capabilities = "OBJECTID";
    guint32 inbox = open_listed(world);
    go_offline(world);
    world_change(world, inbox, 2, "\\Flagged", "");
    fake_lock(fake);
    fake_expunge(fake, "INBOX", 2);
    fake_unlock(fake);
    go_online(world);
    wait_event(world, "adrift INBOX: 1");
    check_counts(world, 1, 0); /* for an hour */
    g_autoptr(LogOp) op = op_of(world, false);
    assert_int_equal(op->state, LOG_ADRIFT);
}

static void cell_same_flag(void **state)
{
    World *world = *state;
    Fake *fake = world_fake(world);
    assert_int_equal(conflict_action(LOG_FLAGS, CONFLICT_SAME_FLAG), ACTION_OURS);
    guint32 inbox = open_listed(world);
    go_offline(world);
    world_change(world, inbox, 2, "", "\\Flagged");
    fake_lock(fake);
    FakeMessage *message = fake_message(fake, "INBOX", 2);
    g_free(message->flags);
    message->flags = g_strdup("\\Flagged");
    fake_unlock(fake);
    go_online(world);
    settled(world);
    check_flags(world, "INBOX", 2, "");
}

static void cell_other_flags(void **state)
{
    World *world = *state;
    Fake *fake = world_fake(world);
    assert_int_equal(conflict_action(LOG_FLAGS, CONFLICT_OTHER_FLAGS), ACTION_MERGE);
    guint32 inbox = open_listed(world);
    go_offline(world);
    world_change(world, inbox, 2, "\\Flagged", "");
    fake_lock(fake);
    FakeMessage *message = fake_message(fake, "INBOX", 2);
    g_free(message->flags);
    message->flags = g_strdup("\\Seen $Theirs");
    fake_unlock(fake);
    go_online(world);
    settled(world);
    check_flags(world, "INBOX", 2, "\\Seen \\Flagged $Theirs");
    check_shown(world, inbox, 2, "\\Seen \\Flagged $Theirs");
}

/* All UIDs mean other messages now; one message is gone, and one is there twice. */
static void cell_uidvalidity(void **state)
{
    World *world = *state;
    Fake *fake = world_fake(world);
    assert_int_equal(conflict_action(LOG_FLAGS, CONFLICT_UIDVALIDITY), ACTION_BIND_ELSE_PARK);
    guint32 inbox = open_listed(world);
    go_offline(world);
    world_change(world, inbox, 1, "\\Flagged", "");
    world_change(world, inbox, 2, "\\Answered", "");
    world_change(world, inbox, 3, "\\Draft", "");
    world_change(world, inbox, 4, "\\Deleted", "");
    fake_lock(fake);
    FakeBox *box = fake_box(fake, "INBOX");
    box->uidvalidity++;
    g_ptr_array_set_size(box->messages, 0);
    static const guint numbers[] = {4, 1, 3, 3}; /* UIDs 1..4; 2 is gone, 3 is there twice */
    for (guint32 uid = 1; uid <= 4; uid++)
        fake_add(fake, "INBOX", uid, "")->number = numbers[uid - 1];
    fake_unlock(fake);
    go_online(world);
    wait_event(world, "bound INBOX: 2 changes");
    settled(world);
    check_counts(world, 0, 2);
    check_flags(world, "INBOX", 1, "\\Deleted");
    check_flags(world, "INBOX", 2, "\\Flagged");
    check_flags(world, "INBOX", 3, "");
    check_flags(world, "INBOX", 4, "");
}

static void cell_mailbox_gone(void **state)
{
    World *world = *state;
    Fake *fake = world_fake(world);
    assert_int_equal(conflict_action(LOG_FLAGS, CONFLICT_MAILBOX_GONE), ACTION_DROP);
    fake->capabilities = "OBJECTID";
    fake_add(fake, "Work", 1, "");
    fake_box(fake, "Other");
    open_engine(world);
    guint32 work = listed(world, "Work");
    go_offline(world);
    world_change(world, work, 1, "\\Seen", "");
    fake_lock(fake);
    fake_drop_box(fake, "Work");
    fake_unlock(fake);
    go_online(world);
    wait_event(world, "dropped 1 changes: its mailbox is no longer on the server");
    check_counts(world, 0, 0);
    assert_int_equal(fake_count(fake, "STATUS \"Other\" (MAILBOXID"), 1);
}

static void cell_mailbox_gone_without_id(void **state)
{
    World *world = *state;
    Fake *fake = world_fake(world);
    fake_add(fake, "Work", 1, "");
    open_engine(world);
    guint32 work = listed(world, "Work");
    go_offline(world);
    world_change(world, work, 1, "\\Seen", "");
    fake_lock(fake);
    fake_drop_box(fake, "Work");
    fake_unlock(fake);
    go_online(world);
    wait_event(world, "parked mailboxes: 1");
    check_counts(world, 0, 1);
    check_reason(world, true, "no longer on the server");
}

static void cell_mailbox_renamed(void **state)
{
    World *world = *state;
    Fake *fake = world_fake(world);
    assert_int_equal(conflict_action(LOG_FLAGS, CONFLICT_MAILBOX_RENAMED), ACTION_FOLLOW_ELSE_PARK);
    fake->capabilities = "OBJECTID";
    fake_add(fake, "Work", 7, "");
    open_engine(world);
    guint32 work = listed(world, "Work");
    go_offline(world);
    world_change(world, work, 7, "\\Seen", "");
    fake_lock(fake);
    FakeBox *box = fake_box(fake, "Work");
    g_free(box->name);
    box->name = g_strdup("Done");
    fake_unlock(fake);
    go_online(world);
    wait_event(world, "followed Done: ");
    settled(world);
    check_counts(world, 0, 0);
    check_flags(world, "Done", 7, "\\Seen");
}

/* Renamed, and its messages have other UIDs. */
static void cell_mailbox_renamed_and_replaced(void **state)
{
    World *world = *state;
    Fake *fake = world_fake(world);
    fake->capabilities = "OBJECTID";
    FakeMessage *message = fake_add(fake, "Work", 7, "");
    fake_add(fake, "Work", 8, "");
    open_engine(world);
    guint32 work = listed(world, "Work");
    go_offline(world);
    world_change(world, work, 7, "\\Seen", "");
    fake_lock(fake);
    FakeBox *box = fake_box(fake, "Work");
    g_free(box->name);
    box->name = g_strdup("Done");
    box->uidvalidity = 77;
    message->uid = 5;
    fake_unlock(fake);
    go_online(world);
    wait_event(world, "bound Done: 1 change");
    settled(world);
    check_flags(world, "Done", 5, "\\Seen");
    check_flags(world, "Done", 8, "");
    check_counts(world, 0, 0);
}

static void cell_read_only(void **state)
{
    World *world = *state;
    Fake *fake = world_fake(world);
    assert_int_equal(conflict_action(LOG_FLAGS, CONFLICT_READ_ONLY), ACTION_KEEP_HERE);
    fake_box(fake, "INBOX")->read_only = true;
    guint32 inbox = open_listed(world);
    world_change(world, inbox, 2, "\\Seen", "");
    wait_event(world, "kept-here INBOX: 1 change");
    check_counts(world, 0, 0);
    check_shown(world, inbox, 2, "\\Seen");
    assert_int_equal(fake_count(fake, "STORE"), 0);
    assert_int_equal(world_change(world, inbox, 3, "\\Flagged", ""), 0); /* known by now */
    check_shown(world, inbox, 3, "\\Flagged");
    ask_ok(world, &(Need){.kind = NEED_STATUS});
    g_autofree char *status = engine_status(world->engine);
    assert_non_null(strstr(status, "mailbox INBOX: 4 messages, flags kept here, "));
}

static void cell_read_only_by_permanentflags(void **state)
{
    World *world = *state;
    Fake *fake = world_fake(world);
    fake_box(fake, "INBOX")->permanent = "";
    guint32 inbox = open_listed(world);
    world_change(world, inbox, 2, "\\Seen", "");
    wait_event(world, "kept-here INBOX: 1 change");
    check_counts(world, 0, 0);
    check_shown(world, inbox, 2, "\\Seen");
    assert_int_equal(fake_count(fake, "STORE"), 0);
}

static void cell_noperm(void **state)
{
    World *world = *state;
    Fake *fake = world_fake(world);
    assert_int_equal(conflict_action(LOG_FLAGS, CONFLICT_NOPERM), ACTION_PARK);
    fake_rule(fake, (FakeRule){.words = "UID STORE", .answer = "NO [NOPERM] not yours"});
    guint32 inbox = open_listed(world);
    go_offline(world);
    world_change(world, inbox, 2, "\\Seen", "");
    go_online(world);
    g_autoptr(GError) error = ask(world, &(Need){.kind = NEED_REPLAYED, .box = inbox, .uid = 2});
    assert_true(g_error_matches(error, IMAPFS_ERROR, IMAPFS_ERROR_DENIED));
    check_counts(world, 0, 1);
    check_reason(world, true, "the server said: NO [NOPERM] not yours");
    check_shown(world, inbox, 2, "");
    wait_event(world, "parked 1 INBOX/");
}

/* The mailbox may be read, but not be selected for writing. */
static void cell_noperm_of_select(void **state)
{
    World *world = *state;
    Fake *fake = world_fake(world);
    fake_rule(fake, (FakeRule){.words = "SELECT", .answer = "NO [NOPERM] look, do not touch"});
    guint32 inbox = open_listed(world);
    world_change(world, inbox, 2, "\\Seen", "");
    wait_event(world, "parked INBOX: 1 changes");
    check_counts(world, 0, 1);
    check_reason(world, true, "look, do not touch");
    fake_lock(fake);
    fake_add(fake, "INBOX", 5, "");
    fake_unlock(fake);
    ask_ok(world, &(Need){.kind = NEED_MAILBOX, .box = inbox}); /* reading goes on */
    assert_int_equal(store_msg_count(store_reader(world->store), inbox), 5);
}

static void cell_quota(void **state)
{
    World *world = *state;
    Fake *fake = world_fake(world);
    assert_int_equal(conflict_action(LOG_FLAGS, CONFLICT_QUOTA), ACTION_HOLD);
    fake_rule(fake, (FakeRule){.words = "UID STORE", .answer = "NO [OVERQUOTA] full"});
    guint32 inbox = open_listed(world);
    go_offline(world);
    world_change(world, inbox, 2, "\\Seen", "");
    go_online(world);
    g_autoptr(GError) error = ask(world, &(Need){.kind = NEED_REPLAYED});
    assert_true(g_error_matches(error, IMAPFS_ERROR, IMAPFS_ERROR_QUOTA)); /* not in an hour */
    check_counts(world, 1, 0);
    g_autoptr(LogOp) op = op_of(world, false);
    gint64 in_s = (op->next_try_ns - clock_real_ns()) / 1000000000;
    assert_true(in_s > 3500 && in_s <= 3600);
    check_shown(world, inbox, 2, "\\Seen");
    assert_int_equal(fake_count(fake, "STORE"), 1);
}

/* --- answers --- */

typedef struct {
    const char *name;
    const char *answer;
    guint times;
    guint pending, failed; /* afterwards */
    guint stores;          /* commands sent in all */
    const char *reason;    /* of what is parked */
} AnswerCase;

static const AnswerCase answer_cases[] = {
    {"UNAVAILABLE", "NO [UNAVAILABLE] later", 1, 0, 0, 2, NULL},
    {"INUSE", "NO [INUSE] later", 1, 0, 0, 2, NULL},
    {"SERVERBUG", "NO [SERVERBUG] oops", 1, 0, 0, 2, NULL},
    {"LIMIT", "NO [LIMIT] too many", 1, 0, 0, 2, NULL},
    {"throttled by NO", "NO throttled. Suggested Backoff Time: 300 milliseconds", 1, 0, 0, 2, NULL},
    {"throttled by BAD", "BAD Request is throttled. Suggested Backoff Time: 300 milliseconds", 1, 0,
     0, 2, NULL},
    {"NO twice, then OK", "NO no", 2, 0, 0, 3, NULL},
    {"NO for good", "NO just no", 0, 0, 1, 3, "the server said: NO just no"},
    {"BAD", "BAD what?", 0, 0, 1, 1, "the server said: BAD what?"},
    {"CANNOT", "NO [CANNOT] never", 0, 0, 1, 1, "[CANNOT] never"},
    {"NONEXISTENT", "NO [NONEXISTENT] where?", 0, 0, 1, 1, "[NONEXISTENT]"},
    {"CLIENTBUG", "NO [CLIENTBUG] you", 0, 0, 1, 1, "[CLIENTBUG]"},
    {"READ-ONLY", "NO [READ-ONLY] look only", 0, 0, 0, 1, NULL},
};

static void check_answer(void **state)
{
    const AnswerCase *want = *state;
    void *made;
    assert_int_equal(fake_setup(&made), 0);
    World *world = made;
    Fake *fake = world_fake(world);
    fake_rule(fake, (FakeRule){.words = "UID STORE", .answer = want->answer, .times = want->times});
    guint32 inbox = open_listed(world);
    world_change(world, inbox, 2, "\\Seen", "");
    settled(world);
    check_counts(world, want->pending, want->failed);
    assert_int_equal(fake_count(fake, "UID STORE"), want->stores);
    if (want->reason)
        check_reason(world, true, want->reason);
    check_flags(world, "INBOX", 2, want->failed || want->times == 0 ? "" : "\\Seen");
    fake_teardown(&made);
}

/* The server refuses one of many without saying which: the others get through. */
static void test_halving(void **state)
{
    World *world = *state;
    Fake *fake = world_fake(world);
    for (guint32 uid = 5; uid <= 20; uid++)
        fake_add(fake, "INBOX", uid, "");
    fake_rule(fake, (FakeRule){.words = "UID STORE", .answer = "NO not that one", .only_uid = 13});
    guint32 inbox = open_listed(world);
    go_offline(world);
    for (guint32 uid = 1; uid <= 20; uid++)
        world_change(world, inbox, uid, "\\Seen", "");
    go_online(world);
    settled(world);
    check_counts(world, 0, 1);
    g_autoptr(LogOp) op = op_of(world, true);
    assert_int_equal(op->uid, 13);
    for (guint32 uid = 1; uid <= 20; uid++)
        check_flags(world, "INBOX", uid, uid == 13 ? "" : "\\Seen");
    guint halves = 1 + 2 * 5; /* 20 down to 1 */
    assert_true(fake_count(fake, "UID STORE") <= halves + 2);
}

/* A change that is refused holds nobody up. */
static void test_others_go_on(void **state)
{
    World *world = *state;
    Fake *fake = world_fake(world);
    fake_rule(fake, (FakeRule){.words = "$Bad", .answer = "BAD such a word"});
    guint32 inbox = open_listed(world);
    go_offline(world);
    world_change(world, inbox, 1, "$Bad", "");
    world_change(world, inbox, 2, "\\Seen", "");
    go_online(world);
    settled(world);
    check_counts(world, 0, 1);
    check_flags(world, "INBOX", 2, "\\Seen");
}

/* --- what the server does not keep --- */

static void test_keyword_not_permitted(void **state)
{
    World *world = *state;
    Fake *fake = world_fake(world);
    fake_box(fake, "INBOX")->permanent = "\\Seen \\Flagged";
    guint32 inbox = open_listed(world);
    go_offline(world);
    world_change(world, inbox, 1, "\\Seen $Foo", "");
    world_change(world, inbox, 2, "$Foo", "");
    world_change(world, inbox, 3, "\\Flagged", "$Foo");
    go_online(world);
    settled(world);
    check_counts(world, 0, 2);
    check_reason(world, true, "the mailbox does not keep $Foo");
    check_flags(world, "INBOX", 1, "\\Seen"); /* what it does keep it has */
    check_flags(world, "INBOX", 2, "");
    check_flags(world, "INBOX", 3, "\\Flagged");
    assert_int_equal(fake_count(fake, "$Foo"), 0);
}

/* Its owner permits it meanwhile, and the session is still the same. */
static void test_permitted_and_retried(void **state)
{
    World *world = *state;
    Fake *fake = world_fake(world);
    fake_box(fake, "INBOX")->permanent = "\\Seen";
    guint32 inbox = open_listed(world);
    go_offline(world);
    guint32 seq = world_change(world, inbox, 2, "\\Flagged", "");
    go_online(world);
    settled(world);
    check_counts(world, 0, 1);
    fake_lock(fake);
    fake_box(fake, "INBOX")->permanent = "\\Seen \\Flagged";
    fake_unlock(fake);
    retry(world, inbox, seq);
    settled(world);
    check_counts(world, 0, 0);
    check_flags(world, "INBOX", 2, "\\Flagged");
}

static void test_said_ok_and_did_not(void **state)
{
    World *world = *state;
    Fake *fake = world_fake(world);
    fake_box(fake, "INBOX")->loses = "$Foo";
    guint32 inbox = open_listed(world);
    world_change(world, inbox, 2, "$Foo \\Seen", "");
    settled(world);
    check_counts(world, 0, 1);
    check_reason(world, true, "the server did not keep $Foo");
    check_flags(world, "INBOX", 2, "\\Seen");
    assert_int_equal(fake_count(fake, "UID STORE"), 2); /* somebody might have taken it back */
}

/* The server says later that no more keywords can be made. */
static void test_keywords_run_out(void **state)
{
    World *world = *state;
    Fake *fake = world_fake(world);
    guint32 inbox = open_listed(world);
    fake_lock(fake);
    fake_box(fake, "INBOX")->says = "OK [PERMANENTFLAGS (\\Seen $One)] full";
    fake_unlock(fake);
    world_change(world, inbox, 1, "$One", "");
    settled(world);
    check_counts(world, 0, 0);
    StoreBox box = {0};
    assert_true(store_box_by_id(store_reader(world->store), inbox, &box));
    assert_string_equal(box.permanent_flags, "\\Seen $One");
    store_box_clear(&box);
}

/* --- cuts --- */

/* The connection is cut after the command came: done or not, the end is the same. */
static void cut_store(World *world, const char *answer)
{
    Fake *fake = world_fake(world);
    guint32 inbox = open_listed(world);
    go_offline(world);
    fake_rule(fake, (FakeRule){.words = "UID STORE", .answer = answer, .times = 1, .cut = true});
    world_change(world, inbox, 2, "\\Seen", "\\Flagged");
    world_change(world, inbox, 3, "\\Seen", "");
    go_online(world);
    fake_wait(fake, "UID STORE 2:3 +", 2);
    settled(world);
    check_counts(world, 0, 0);
    check_flags(world, "INBOX", 2, "\\Seen");
    check_flags(world, "INBOX", 3, "\\Seen");
    guint stores = fake_count(fake, "UID STORE");
    close_engine(world);
    open_engine(world);
    settled(world);
    list_inbox(world);
    assert_int_equal(fake_count(fake, "UID STORE"), stores); /* nothing is sent again */
}

static void test_cut_before_it_was_done(void **state)
{
    cut_store(*state, "OK never seen");
}

static void test_cut_after_it_was_done(void **state)
{
    cut_store(*state, NULL);
}

/* The mount ends while a STORE is not answered; the next one sends it. */
static void test_end_in_between(void **state)
{
    World *world = *state;
    Fake *fake = world_fake(world);
    guint32 inbox = open_listed(world);
    fake_rule(fake, (FakeRule){.words = "UID STORE", .answer = "OK", .times = 1, .cut = true});
    world_change(world, inbox, 2, "\\Seen", "");
    fake_wait(fake, "UID STORE", 1);
    close_engine(world);
    open_engine(world);
    settled(world);
    check_counts(world, 0, 0);
    check_flags(world, "INBOX", 2, "\\Seen");
}

/* The program was killed after it had claimed a change: whether it was sent is not known. */
static void test_killed_in_between(void **state)
{
    World *world = *state;
    Fake *fake = world_fake(world);
    guint32 inbox = open_listed(world);
    close_engine(world);
    open_store(world);
    world_change(world, inbox, 2, "\\Seen", "");
    StoreTxn *txn = store_begin(world->store, false, NULL);
    g_autoptr(GPtrArray) ops = NULL;
    assert_true(log_claim(txn, inbox, clock_real_ns(), LOG_ANY, 500, &ops, NULL));
    assert_int_equal(ops->len, 1);
    assert_true(store_commit(txn, NULL));
    g_clear_pointer(&world->store, store_close);
    open_engine(world);
    settled(world);
    check_flags(world, "INBOX", 2, "\\Seen");
    assert_int_equal(fake_count(fake, "UID STORE"), 1);
}

/* Nothing is sent to a mailbox that could not be brought up to date: its UIDs may be stale. */
static void test_only_in_sync(void **state)
{
    World *world = *state;
    Fake *fake = world_fake(world);
    guint32 inbox = open_listed(world);
    go_offline(world);
    world_change(world, inbox, 2, "\\Seen", "");
    fake_lock(fake);
    g_ptr_array_set_size(fake->commands, 0);
    fake_unlock(fake);
    fake_rule(fake, (FakeRule){.words = "UID FETCH 1:* (FLAGS)", .answer = "NO no", .times = 1});
    go_online(world);
    settled(world);
    check_flags(world, "INBOX", 2, "\\Seen");
    fake_lock(fake);
    guint synced = 0, asked = 0;
    for (guint i = 0; i < fake->commands->len; i++) {
        asked += strstr(fake->commands->pdata[i], "UID FETCH 1:* (FLAGS)") != NULL;
        if (strstr(fake->commands->pdata[i], "UID STORE"))
            synced = asked;
    }
    fake_unlock(fake);
    assert_int_equal(synced, 2);
}

/* A FETCH that is refused says nothing about what is there. */
static void test_no_answer_to_the_question(void **state)
{
    World *world = *state;
    Fake *fake = world_fake(world);
    guint32 inbox = open_listed(world);
    fake_rule(
        fake,
        (FakeRule){.words = "UID FETCH 2 (UID FLAGS)", .answer = "NO some are gone", .times = 1});
    world_change(world, inbox, 2, "\\Seen", "");
    settled(world);
    check_counts(world, 0, 0);
    check_flags(world, "INBOX", 2, "\\Seen");
    assert_int_equal(store_msg_count(store_reader(world->store), inbox), 4);
}

/* --- many --- */

static void test_ten_thousand(void **state)
{
    enum { BOXES = 20, EACH = 500 };
    World *world = *state;
    Fake *fake = world_fake(world);
    guint32 ids[BOXES];
    for (guint b = 0; b < BOXES; b++) {
        g_autofree char *name = g_strdup_printf("Box%02u", b);
        for (guint32 uid = 1; uid <= EACH; uid++)
            fake_add(fake, name, uid, "");
    }
    open_engine(world);
    for (guint b = 0; b < BOXES; b++) {
        g_autofree char *name = g_strdup_printf("Box%02u", b);
        ids[b] = listed(world, name);
    }
    go_offline(world);
    StoreTxn *txn = store_begin(world->store, true, NULL);
    for (guint b = 0; b < BOXES; b++) {
        for (guint32 uid = 1; uid <= EACH; uid++) {
            Flags set = {.system = uid % 3 ? FLAG_SEEN : FLAG_SEEN | FLAG_FLAGGED}, clear = {0};
            assert_true(log_flags(txn, ids[b], uid, &set, &clear, clock_real_ns(), NULL, NULL));
        }
    }
    assert_true(store_commit(txn, NULL));
    check_counts(world, BOXES * EACH, 0);
    go_online(world);
    settled(world);
    check_counts(world, 0, 0);
    assert_int_equal(fake_count(fake, "UID STORE"), 2 * BOXES);
    check_flags(world, "Box19", 500, "\\Seen");
    check_flags(world, "Box19", 498, "\\Seen \\Flagged");
}

/* Another client renamed or removed it since LIST, and somebody looks into it: gone, whatever code
 * the server has for that (Dovecot has none), and not an error of its own. */
static void check_gone_when_looked_at(World *world, const char *answer)
{
    Fake *fake = world_fake(world);
    fake_add(fake, "Work", 1, "");
    open_engine(world);
    ask_ok(world, &(Need){.kind = NEED_MAILBOXES});
    guint32 work = box_id(world, "Work");
    fake_lock(fake);
    fake_drop_box(fake, "Work");
    fake_unlock(fake);
    fake_rule(fake, (FakeRule){.words = "EXAMINE", .answer = answer, .times = 1});
    g_autoptr(GError) error = ask(world, &(Need){.kind = NEED_MAILBOX, .box = work});
    assert_true(g_error_matches(error, IMAPFS_ERROR, IMAPFS_ERROR_GONE));
}

static void test_gone_when_looked_at(void **state)
{
    check_gone_when_looked_at(*state, "NO Mailbox doesn't exist: Work");
}

static void test_gone_when_looked_at_with_code(void **state)
{
    check_gone_when_looked_at(*state, "NO [NONEXISTENT] where?");
}

/* LIST has it still: what the server said. */
static void test_refused_when_looked_at(void **state)
{
    World *world = *state;
    Fake *fake = world_fake(world);
    fake_add(fake, "Work", 1, "");
    open_engine(world);
    ask_ok(world, &(Need){.kind = NEED_MAILBOXES});
    guint32 work = box_id(world, "Work");
    fake_rule(fake, (FakeRule){.words = "EXAMINE", .answer = "NO not today", .times = 1});
    g_autoptr(GError) error = ask(world, &(Need){.kind = NEED_MAILBOX, .box = work});
    assert_true(g_error_matches(error, IMAPFS_ERROR, IMAPFS_ERROR_SERVER));
    assert_non_null(strstr(error->message, "not today"));
    ask_ok(world, &(Need){.kind = NEED_MAILBOX, .box = work});
}

#define SOON_US (300 * 1000) /* it has come there; if not, nothing is shown and nothing fails */

/* A person takes it back between the look at what is due and its being taken up, which waits for
 * that person's transaction. What is changed next does not wait for long. */
static void test_taken_back_at_the_last_moment(void **state)
{
    World *world = *state;
    GError *error = NULL;
    guint32 seq = 0, inbox = open_listed(world);
    g_auto(Flags) set = {0};
    g_auto(Flags) clear = {0};
    flags_parse(&set, "\\Seen");
    world_change(world, inbox, 1, "\\Seen", "");
    settled(world); /* it is selected for writing */
    StoreTxn *txn = store_begin(world->store, true, &error);
    assert_true(log_flags(txn, inbox, 2, &set, &clear, clock_real_ns(), &seq, &error));
    assert_true(store_commit(txn, &error));
    txn = store_begin(world->store, true, &error);
    engine_logged(world->engine, inbox, 2);
    g_usleep(SOON_US);
    assert_true(log_cancel(txn, seq, &error));
    assert_true(store_commit(txn, &error));
    g_usleep(SOON_US);
    world_change(world, inbox, 3, "\\Flagged", "");
    settled(world);
    check_counts(world, 0, 0);
    check_flags(world, "INBOX", 2, "");
    check_flags(world, "INBOX", 3, "\\Flagged");
}

static const struct CMUnitTest plain_tests[] = {
    CELL("FLAGS", cell_expunged),
    CELL("FLAGS", cell_expunged_unsaid),
    CELL("FLAGS", cell_moved),
    CELL("FLAGS", cell_moved_nowhere),
    CELL("FLAGS", cell_same_flag),
    CELL("FLAGS", cell_other_flags),
    CELL("FLAGS", cell_uidvalidity),
    CELL("FLAGS", cell_mailbox_gone),
    CELL("FLAGS", cell_mailbox_gone_without_id),
    CELL("FLAGS", cell_mailbox_renamed),
    CELL("FLAGS", cell_mailbox_renamed_and_replaced),
    CELL("FLAGS", cell_read_only),
    CELL("FLAGS", cell_read_only_by_permanentflags),
    CELL("FLAGS", cell_noperm),
    CELL("FLAGS", cell_noperm_of_select),
    CELL("FLAGS", cell_quota),
    TEST(test_gone_when_looked_at),
    TEST(test_gone_when_looked_at_with_code),
    TEST(test_refused_when_looked_at),
    TEST(test_halving),
    TEST(test_others_go_on),
    TEST(test_keyword_not_permitted),
    TEST(test_permitted_and_retried),
    TEST(test_said_ok_and_did_not),
    TEST(test_keywords_run_out),
    TEST(test_cut_before_it_was_done),
    TEST(test_cut_after_it_was_done),
    TEST(test_end_in_between),
    TEST(test_killed_in_between),
    TEST(test_only_in_sync),
    TEST(test_no_answer_to_the_question),
    TEST(test_ten_thousand),
    TEST(test_taken_back_at_the_last_moment),
};

int main(int argc, char **argv)
{
    static struct CMUnitTest tests[G_N_ELEMENTS(plain_tests) + G_N_ELEMENTS(answer_cases)];
    memcpy(tests, plain_tests, sizeof(plain_tests));
    for (guint i = 0; i < G_N_ELEMENTS(answer_cases); i++)
        tests[G_N_ELEMENTS(plain_tests) + i] = (struct CMUnitTest){
            .name = answer_cases[i].name,
            .test_func = check_answer,
            .initial_state = (void *)&answer_cases[i],
        };
    return run_cells(argc, argv, tests, G_N_ELEMENTS(tests));
}
