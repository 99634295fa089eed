/* Mailboxes that are made, removed and renamed, as others do it, too, and what the server answers.
 */
#include <string.h>

#include "cells.h"
#include "imapfs/base/clock.h"

static void begin(World *world)
{
    world_fake(world)->capabilities = "MOVE UIDPLUS OBJECTID";
    fake_add(world_fake(world), "Old", 7, "\\Seen");
    open_engine(world);
    listed(world, "Old");
}

static void change(World *world, LogKind kind, const char *name, const char *target)
{
    GError *error = NULL;
    StoreTxn *txn = store_begin(world->store, true, &error);
    assert_non_null(txn);
    gint64 now_ns = clock_real_ns();
    bool ok = kind == LOG_MKBOX   ? log_mkbox(txn, name, now_ns, NULL, &error)
              : kind == LOG_RMBOX ? log_rmbox(txn, box_id(world, name), now_ns, &error)
                                  : log_renbox(txn, box_id(world, name), target, now_ns, &error);
    if (!ok)
        fail_msg("%s", error->message);
    assert_true(store_commit(txn, &error));
    engine_logged(world->engine, 0, 0);
}

/* LIST was before, and nothing tells of it until the command is refused. */
static void others_rename(World *world, const char *from, const char *to)
{
    Fake *fake = world_fake(world);
    fake_lock(fake);
    FakeBox *box = fake_box(fake, from);
    g_free(box->name);
    box->name = g_strdup(to);
    fake_unlock(fake);
}

static void test_each(void **state)
{
    World *world = *state;
    begin(world);
    change(world, LOG_MKBOX, "Made", NULL);
    change(world, LOG_RENBOX, "Old", "New");
    settled(world);
    check_counts(world, 0, 0);
    check_flags(world, "New", 7, "\\Seen");
    listed(world, "Made");
    change(world, LOG_RMBOX, "Made", NULL);
    settled(world);
    check_counts(world, 0, 0);
    assert_int_equal(fake_count(world_fake(world), "DELETE \"Made\""), 1);
    assert_int_equal(box_id(world, "Made"), 0);
}

/* Renamed while it is listed for the first time: who waits for that has it under the new name. */
static void test_renamed_while_listed(void **state)
{
    World *world = *state;
    Fake *fake = world_fake(world);
    begin(world);
    fake_lock(fake);
    fake_add(fake, "Slow", 3, "");
    fake_unlock(fake);
    fake_rule(fake, (FakeRule){.words = "UID FETCH 1:", .after_ms = 300, .times = 1});
    ask_ok(world, &(Need){.kind = NEED_MAILBOXES});
    guint32 box = box_id(world, "Slow");
    guint listings = fake_count(fake, "UID FETCH 1:");
    Answer answer = {.over = false};
    engine_want(world->engine, &(Need){.kind = NEED_MAILBOX, .box = box}, on_answer, &answer);
    fake_wait(fake, "UID FETCH 1:", listings + 1);
    change(world, LOG_RENBOX, "Slow", "Slower");
    g_autoptr(GError) error = await_answer(&answer);
    if (error)
        fail_msg("%s", error->message);
    check_uids(world, box, "Slower", "3");
}

/* RENAME goes over another connection than that which has the mailbox and is slow to leave it. */
static void test_left_before(void **state)
{
    World *world = *state;
    Fake *fake = world_fake(world);
    begin(world);
    ask_ok(world, &(Need){.kind = NEED_MAILBOX, .box = box_id(world, "INBOX")});
    fake_wait(fake, "EXAMINE \"Old\"", 2); /* the second connection: INBOX has the first */
    fake_rule(fake, (FakeRule){.words = "imapfs-no-such-mailbox", .after_ms = 300});
    change(world, LOG_RENBOX, "Old", "New");
    settled(world);
    check_counts(world, 0, 0);
    fake_lock(fake);
    bool pulled = fake_box(fake, "New")->pulled;
    fake_unlock(fake);
    assert_false(pulled);
}

typedef struct {
    World *world;
    guint32 box;
    guint served, without; /* how many had it, and how many had nothing in its place */
} Waiters;

static void on_had(Mailbox *mailbox, Session *session, const GError *error, gpointer data)
{
    Waiters *waiters = data;
    waiters->served++;
    waiters->without += !session || mailbox->session != session;
    mailbox_release(mailbox, mailbox->generation);
}

static void two_wait(Engine *engine, gpointer data)
{
    Waiters *waiters = data;
    Mailbox *mailbox = mailbox_get(engine, waiters->box, NULL);
    mailbox_acquire(mailbox, LANE_FOREGROUND, on_had, waiters);
    mailbox_acquire(mailbox, LANE_FOREGROUND, on_had, waiters);
}

/* Two wait for the one connection, and the first gives it back as soon as he has it. */
static void test_given_back_at_once(void **state)
{
    World *world = *state;
    Fake *fake = world_fake(world);
    world->account.max_connections = 1;
    begin(world);
    Waiters waiters = {world, box_id(world, "Old"), 0, 0};
    Answer answer = {.over = false};
    Need busy = {.kind = NEED_STRUCTURE, .box = box_id(world, "INBOX"), .uid = 1};
    ask_ok(world, &(Need){.kind = NEED_MAILBOX, .box = busy.box});
    fake_rule(fake, (FakeRule){.words = "BODYSTRUCTURE", .answer = "NO no", .after_ms = 300});
    guint before = fake_count(fake, "BODYSTRUCTURE");
    engine_want(world->engine, &busy, on_answer, &answer);
    fake_wait(fake, "BODYSTRUCTURE", before + 1);
    engine_post(world->engine, two_wait, &waiters, NULL);
    g_clear_error(&(GError *){await_answer(&answer)});
    ask_ok(world, &(Need){.kind = NEED_MAILBOX, .box = waiters.box}); /* behind these */
    assert_int_equal(waiters.served, 2);
    assert_int_equal(waiters.without, 0);
}

static void test_renamed_so_by_another(void **state)
{
    World *world = *state;
    begin(world);
    guint32 box = box_id(world, "Old");
    others_rename(world, "Old", "New");
    change(world, LOG_RENBOX, "Old", "New");
    settled(world);
    check_counts(world, 0, 0);
    assert_int_equal(fake_count(world_fake(world), "RENAME"), 1);
    assert_int_equal(box_id(world, "New"), box); /* what is cached of it stays */
    check_uids(world, box, "New", "7");
}

static void test_another_has_the_name(void **state)
{
    World *world = *state;
    begin(world);
    fake_lock(world_fake(world));
    fake_box(world_fake(world), "New");
    fake_unlock(world_fake(world));
    change(world, LOG_RENBOX, "Old", "New");
    settled(world);
    check_counts(world, 0, 1);
    check_reason(world, true, "there is another mailbox of that name");
    check_flags(world, "Old", 7, "\\Seen");
    assert_int_not_equal(box_id(world, "Old"), 0);
}

static void test_renamed_otherwise(void **state)
{
    World *world = *state;
    begin(world);
    others_rename(world, "Old", "Other");
    change(world, LOG_RENBOX, "Old", "New");
    settled(world);
    check_counts(world, 0, 1);
    check_flags(world, "Other", 7, "\\Seen");
}

static void test_made_by_another(void **state)
{
    World *world = *state;
    begin(world);
    fake_lock(world_fake(world));
    fake_box(world_fake(world), "Made");
    fake_unlock(world_fake(world));
    change(world, LOG_MKBOX, "Made", NULL);
    settled(world);
    check_counts(world, 0, 0);
    listed(world, "Made");
}

static void test_removed_by_another(void **state)
{
    World *world = *state;
    begin(world);
    fake_lock(world_fake(world));
    fake_box(world_fake(world), "Empty");
    fake_unlock(world_fake(world));
    listed(world, "Empty");
    fake_lock(world_fake(world));
    fake_drop_box(world_fake(world), "Empty");
    fake_unlock(world_fake(world));
    change(world, LOG_RMBOX, "Empty", NULL);
    settled(world);
    check_counts(world, 0, 0);
}

/* Without UIDPLUS what was deleted is only marked, and its mailbox is not empty. */
static void test_remove_with_marked(void **state)
{
    World *world = *state;
    world_fake(world)->capabilities = "MOVE";
    fake_add(world_fake(world), "Old", 7, "\\Seen");
    open_engine(world);
    expunge_msg(world, listed(world, "Old"), 7);
    settled(world);
    check_flags(world, "Old", 7, "\\Seen \\Deleted");
    change(world, LOG_RMBOX, "Old", NULL);
    settled(world);
    check_counts(world, 0, 1);
    check_reason(world, true, "there are 1 messages in it, 1 of which were deleted here");
    assert_int_equal(fake_count(world_fake(world), "DELETE"), 0);
    assert_int_not_equal(box_id(world, "Old"), 0);
}

/* Without a reason: tried again, slower and slower, and not for ever. */
static void test_refused(void **state)
{
    World *world = *state;
    begin(world);
    fake_rule(world_fake(world), (FakeRule){.words = "CREATE", .answer = "NO no"});
    change(world, LOG_MKBOX, "Made", NULL);
    settled(world);
    check_counts(world, 0, 1);
    assert_int_equal(fake_count(world_fake(world), "CREATE"), OUTCOME_TRIES);
}

static gint64 next_try_of(World *world, guint n)
{
    fake_wait(world_fake(world), "CREATE", n);
    for (;;) {
        g_autoptr(LogOp) op = op_of(world, false);
        if (op->state == LOG_QUEUED && fake_count(world_fake(world), "CREATE") == n)
            return op->next_try_ns;
        g_usleep(1000);
    }
}

/* Who waits for what is held back hears why, as with messages. */
static void test_held_back_is_told(void **state)
{
    World *world = *state;
    begin(world);
    fake_rule(world_fake(world), (FakeRule){.words = "CREATE", .answer = "NO [OVERQUOTA] full"});
    change(world, LOG_MKBOX, "Full", NULL);
    g_autoptr(GError) error = ask(world, &(Need){.kind = NEED_REPLAYED});
    assert_true(g_error_matches(error, IMAPFS_ERROR, IMAPFS_ERROR_QUOTA));
    check_counts(world, 1, 0);
}

/* Not now: asked again less and less often. */
static void test_later(void **state)
{
    World *world = *state;
    begin(world);
    fake_rule(world_fake(world), (FakeRule){.words = "CREATE", .answer = "NO [LIMIT] too many"});
    change(world, LOG_MKBOX, "Made", NULL);
    gint64 first_ns = next_try_of(world, 1), second_ns = next_try_of(world, 2);
    assert_true(second_ns - first_ns > 1500 * G_GINT64_CONSTANT(1000000));
}

/* A batch into it is under way: it is renamed behind that. */
static void test_renamed_while_filled(void **state)
{
    World *world = *state;
    Fake *fake = world_fake(world);
    fake->capabilities = "MOVE UIDPLUS"; /* no id to know it again by */
    fake_add(fake, "Old", 7, "\\Seen");
    open_engine(world);
    listed(world, "Old");
    guint32 inbox = listed(world, "INBOX");
    fake_rule(fake, (FakeRule){.words = "UID MOVE", .after_ms = 500, .times = 1});
    move_msg(world, inbox, 2, box_id(world, "Old"));
    fake_wait(fake, "UID MOVE", 1);
    change(world, LOG_RENBOX, "Old", "New");
    settled(world);
    check_counts(world, 0, 0);
    check_uids(world, box_id(world, "New"), "New", "7,8");
}

/* It says that there is one, and LIST does not have it. */
static void test_there_and_not_there(void **state)
{
    World *world = *state;
    begin(world);
    fake_rule(world_fake(world),
              (FakeRule){.words = "RENAME", .answer = "NO [ALREADYEXISTS] there is one"});
    change(world, LOG_RENBOX, "Old", "New");
    settled(world);
    check_counts(world, 0, 1);
    check_reason(world, true, "ALREADYEXISTS");
    assert_int_equal(fake_count(world_fake(world), "RENAME"), 2);
    assert_int_not_equal(box_id(world, "Old"), 0);
}

/* What has nothing to do with it does not wait for what is held back. */
static void test_held_back(void **state)
{
    World *world = *state;
    begin(world);
    fake_rule(world_fake(world),
              (FakeRule){.words = "CREATE \"Full", .answer = "NO [OVERQUOTA] full"});
    change(world, LOG_MKBOX, "Full", NULL);
    change(world, LOG_MKBOX, "Full/Below", NULL);
    change(world, LOG_MKBOX, "Made", NULL);
    change(world, LOG_RENBOX, "Old", "Full/Old");
    fake_wait(world_fake(world), "CREATE \"Made\"", 1);
    g_clear_error(&(GError *){ask(world, &(Need){.kind = NEED_MAILBOXES})});
    check_counts(world, 3, 0);
    assert_int_equal(fake_count(world_fake(world), "CREATE \"Full"), 1);
    assert_int_equal(fake_count(world_fake(world), "RENAME"), 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(test_each),
        TEST(test_renamed_while_listed),
        TEST(test_left_before),
        TEST(test_given_back_at_once),
        TEST(test_renamed_so_by_another),
        TEST(test_another_has_the_name),
        TEST(test_renamed_otherwise),
        TEST(test_made_by_another),
        TEST(test_removed_by_another),
        TEST(test_remove_with_marked),
        TEST(test_refused),
        TEST(test_held_back_is_told),
        TEST(test_later),
        TEST(test_renamed_while_filled),
        TEST(test_there_and_not_there),
        TEST(test_held_back),
    };
    return run_cells(argc, argv, tests, G_N_ELEMENTS(tests));
}
