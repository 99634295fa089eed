/* MOVE, COPY and EXPUNGE: what is sent, every answer, every cut, with each capability and without.
 */
#include <string.h>

#include "cells.h"
#include "imapfs/base/clock.h"

#define ALL "MOVE UIDPLUS LITERAL+ OBJECTID"

static guint32 open_both(World *world, const char *capabilities, guint32 *archive_out)
{
    world_fake(world)->capabilities = capabilities;
    fake_box(world_fake(world), "Archive");
    guint32 inbox = open_listed(world);
    *archive_out = listed(world, "Archive");
    return inbox;
}

/* --- the ordinary way --- */

static void test_move(void **state)
{
    World *world = *state;
    Fake *fake = world_fake(world);
    guint32 archive, inbox = open_both(world, ALL, &archive);
    move_msg(world, inbox, 2, archive);
    assert_true(is_hidden(world, inbox, 2));
    assert_int_equal(shown_count(world, archive), 1);
    settled(world);
    check_counts(world, 0, 0);
    check_mail(world, "INBOX", "1,3,4");
    check_mail(world, "Archive", "2");
    check_uids(world, inbox, "INBOX", "1,3,4");
    check_uids(world, archive, "Archive", "1");
    assert_int_equal(shown_count(world, archive), 1);
    assert_int_equal(fake_count(fake, "UID MOVE 2 \"Archive\""), 1);
    assert_int_equal(fake_count(fake, "STORE"), 0);
}

static void test_copy(void **state)
{
    World *world = *state;
    Fake *fake = world_fake(world);
    guint32 archive, inbox = open_both(world, ALL, &archive);
    copy_msg(world, inbox, 2, archive);
    settled(world);
    check_counts(world, 0, 0);
    check_uids(world, inbox, "INBOX", "1,2,3,4");
    check_uids(world, archive, "Archive", "1");
    assert_int_equal(fake_count(fake, "UID COPY 2 \"Archive\""), 1);
}

static void test_expunge(void **state)
{
    World *world = *state;
    Fake *fake = world_fake(world);
    guint32 archive, inbox = open_both(world, ALL, &archive);
    fake_lock(fake);
    FakeMessage *other = fake_message(fake, "INBOX", 4);
    g_free(other->flags);
    other->flags = g_strdup("\\Deleted"); /* by another */
    fake_unlock(fake);
    expunge_msg(world, inbox, 2);
    settled(world);
    check_counts(world, 0, 0);
    check_uids(world, inbox, "INBOX", "1,3,4");
    assert_int_equal(fake_count(fake, "UID EXPUNGE 2"), 1);
}

/* --- where it goes has another name --- */

static void rename_box(Fake *fake, const char *from, const char *to)
{
    fake_lock(fake);
    FakeBox *box = fake_box(fake, from);
    g_free(box->name);
    box->name = g_strdup(to);
    fake_unlock(fake);
}

static void test_target_renamed(void **state)
{
    World *world = *state;
    Fake *fake = world_fake(world);
    guint32 archive, inbox = open_both(world, ALL, &archive);
    go_offline(world);
    move_msg(world, inbox, 2, archive);
    copy_msg(world, inbox, 3, archive);
    rename_box(fake, "Archive", "Renamed");
    go_online(world);
    settled(world);
    check_counts(world, 0, 0);
    check_mail(world, "INBOX", "1,3,4");
    check_mail(world, "Renamed", "2,3");
}

/* It is only asked for as what is moved needs it, and is renamed just then. */
static void test_target_renamed_online(void **state)
{
    World *world = *state;
    Fake *fake = world_fake(world);
    fake->capabilities = ALL;
    fake_box(fake, "Archive");
    guint32 inbox = open_listed(world);
    ask_ok(world, &(Need){.kind = NEED_MAILBOXES});
    fake_rule(fake, (FakeRule){.words = "UID MOVE", .answer = "NO [TRYCREATE] no", .times = 1});
    move_msg(world, inbox, 2, box_id(world, "Archive"));
    fake_wait(fake, "UID MOVE", 1);
    rename_box(fake, "Archive", "Renamed");
    settled(world);
    check_counts(world, 0, 0);
    check_mail(world, "INBOX", "1,3,4");
    check_mail(world, "Renamed", "2");
}

/* A level above both is renamed. */
static void test_both_renamed(void **state)
{
    World *world = *state;
    Fake *fake = world_fake(world);
    fake->capabilities = ALL;
    fake_add(fake, "Old/a", 1, "");
    fake_box(fake, "Old/b");
    open_engine(world);
    guint32 from = listed(world, "Old/a"), to = listed(world, "Old/b");
    go_offline(world);
    move_msg(world, from, 1, to);
    rename_box(fake, "Old/a", "New/a");
    rename_box(fake, "Old/b", "New/b");
    go_online(world);
    settled(world);
    check_counts(world, 0, 0);
    check_mail(world, "New/a", "");
    check_mail(world, "New/b", "5");
}

/* Sent, and not answered, and then it is renamed. */
static void test_target_renamed_unsure(void **state)
{
    World *world = *state;
    Fake *fake = world_fake(world);
    guint32 archive, inbox = open_both(world, ALL, &archive);
    fake_rule(fake, (FakeRule){.words = "UID COPY", .cut = true, .times = 1});
    copy_msg(world, inbox, 2, archive);
    fake_wait(fake, "UID COPY", 1);
    rename_box(fake, "Archive", "Renamed");
    settled(world);
    check_counts(world, 0, 0);
    check_mail(world, "Renamed", "2");
    assert_int_equal(fake_count(fake, "UID COPY"), 1);
}

/* The connection goes again while it is asked for news before it is looked for. */
static void test_news_cut(void **state)
{
    World *world = *state;
    Fake *fake = world_fake(world);
    guint32 archive, inbox = open_both(world, ALL, &archive);
    fake_rule(fake, (FakeRule){.words = "UID COPY", .cut = true, .times = 1});
    fake_rule(fake, (FakeRule){.words = "NOOP", .cut = true, .times = 2});
    copy_msg(world, inbox, 2, archive);
    fake_wait(fake, "NOOP", 3);
    settled(world);
    check_counts(world, 0, 0);
    check_mail(world, "Archive", "2");
    assert_int_equal(fake_count(fake, "UID COPY"), 1);
}

static void test_move_by_copy(void **state)
{
    World *world = *state;
    Fake *fake = world_fake(world);
    guint32 archive, inbox = open_both(world, "UIDPLUS", &archive);
    move_msg(world, inbox, 2, archive);
    settled(world);
    check_counts(world, 0, 0);
    check_uids(world, inbox, "INBOX", "1,3,4");
    check_uids(world, archive, "Archive", "1");
    assert_int_equal(fake_count(fake, "UID COPY 2 \"Archive\""), 1);
    assert_int_equal(fake_count(fake, "UID EXPUNGE 2"), 1);
    check_flags(world, "Archive", 1, ""); /* \Deleted came after the copy */
}

static void others_set(World *world, const char *mailbox, guint32 uid, const char *flags)
{
    Fake *fake = world_fake(world);
    fake_lock(fake);
    FakeMessage *message = fake_message(fake, mailbox, uid);
    g_free(message->flags);
    message->flags = g_strdup(flags);
    fake_unlock(fake);
}

/* Another flagged it before it was copied: it is moved for all that, and the flag with it. */
static void test_move_by_copy_marked(void **state)
{
    World *world = *state;
    guint32 archive, inbox = open_both(world, "UIDPLUS", &archive);
    go_offline(world);
    move_msg(world, inbox, 2, archive);
    others_set(world, "INBOX", 2, "\\Flagged");
    go_online(world);
    settled(world);
    check_counts(world, 0, 0);
    check_uids(world, inbox, "INBOX", "1,3,4");
    check_flags(world, "Archive", 1, "\\Flagged");
}

/* No MOVE and no UIDPLUS: \Deleted only when the copy was seen, and hidden here from then on. */
static void test_move_by_copy_plain(void **state)
{
    World *world = *state;
    Fake *fake = world_fake(world);
    guint32 archive, inbox = open_both(world, "", &archive);
    move_msg(world, inbox, 2, archive);
    settled(world);
    check_counts(world, 0, 0);
    check_mail(world, "Archive", "2");
    check_flags(world, "INBOX", 2, "\\Deleted");
    assert_true(is_hidden(world, inbox, 2));
    assert_int_equal(shown_count(world, inbox), 3);
    assert_int_equal(shown_count(world, archive), 1);
    assert_int_equal(fake_count(fake, "EXPUNGE"), 0);
    assert_int_equal(fake_count(fake, "COPY"), 1);
}

/* What is deleted was flagged when that was asked for, though it was shown without. */
static void test_unflag_and_expunge(void **state)
{
    World *world = *state;
    guint32 archive;
    others_set(world, "INBOX", 2, "\\Flagged");
    guint32 inbox = open_both(world, ALL, &archive);
    go_offline(world);
    world_change(world, inbox, 2, "", "\\Flagged");
    expunge_msg(world, inbox, 2);
    go_online(world);
    settled(world);
    check_counts(world, 0, 0);
    check_uids(world, inbox, "INBOX", "1,3,4");
}

/* Kept, as another has flagged it since; deleted when that is asked for again. */
static void test_expunge_marked_again(void **state)
{
    World *world = *state;
    guint32 archive, inbox = open_both(world, ALL, &archive);
    go_offline(world);
    guint32 seq = expunge_msg(world, inbox, 2);
    others_set(world, "INBOX", 2, "\\Flagged");
    go_online(world);
    settled(world);
    check_counts(world, 0, 1);
    retry(world, inbox, seq);
    settled(world);
    check_counts(world, 0, 0);
    check_uids(world, inbox, "INBOX", "1,3,4");
}

/* What was deleted as it had been copied is still there when it could not be. */
static void test_copy_refused_and_expunge(void **state)
{
    World *world = *state;
    Fake *fake = world_fake(world);
    guint32 archive, inbox = open_both(world, ALL, &archive);
    fake_rule(fake, (FakeRule){.words = "UID COPY", .answer = "NO [NOPERM] no"});
    go_offline(world);
    copy_msg(world, inbox, 2, archive);
    expunge_msg(world, inbox, 2);
    go_online(world);
    settled(world);
    check_counts(world, 0, 2);
    check_uids(world, inbox, "INBOX", "1,2,3,4");
    assert_false(is_hidden(world, inbox, 2));
}

static void test_expunge_plain(void **state)
{
    World *world = *state;
    Fake *fake = world_fake(world);
    guint32 archive, inbox = open_both(world, "", &archive);
    expunge_msg(world, inbox, 2);
    settled(world);
    check_counts(world, 0, 0);
    check_flags(world, "INBOX", 2, "\\Deleted");
    assert_true(is_hidden(world, inbox, 2));
    assert_int_equal(fake_count(fake, "EXPUNGE"), 0);
    fake_lock(fake);
    fake_expunge(fake, "INBOX", 2); /* another client does it in the end */
    fake_unlock(fake);
    go_offline(world);
    go_online(world);
    check_uids(world, inbox, "INBOX", "1,3,4");
}

/* COPY where nothing tells the new UID: it shows when the mailbox is in sync. */
static void test_copy_plain(void **state)
{
    World *world = *state;
    guint32 archive, inbox = open_both(world, "", &archive);
    copy_msg(world, inbox, 2, archive);
    settled(world);
    check_counts(world, 0, 0);
    check_uids(world, archive, "Archive", "1");
    assert_int_equal(shown_count(world, archive), 1);
}

/* A mailbox that was never listed says first what numbers it gives. */
static void test_target_never_listed(void **state)
{
    World *world = *state;
    Fake *fake = world_fake(world);
    fake->capabilities = ALL;
    for (guint32 uid = 10; uid < 15; uid++)
        fake_add(fake, "Archive", uid, "");
    guint32 inbox = open_listed(world), archive = box_id(world, "Archive");
    move_msg(world, inbox, 2, archive);
    settled(world);
    check_counts(world, 0, 0);
    assert_int_equal(fake_count(fake, "STATUS \"Archive\" (UIDNEXT UIDVALIDITY MAILBOXID)"), 1);
    check_uids(world, archive, "Archive", "10,11,12,13,14,15");
}

/* Flags that are set on what is not there yet follow it. */
static void test_flags_follow(void **state)
{
    World *world = *state;
    guint32 archive, inbox = open_both(world, ALL, &archive);
    go_offline(world);
    world_change(world, inbox, 2, "\\Seen", "");
    guint32 n = move_msg(world, inbox, 2, archive);
    world_change(world, STORE_BOX_PENDING, n, "\\Flagged", "");
    go_online(world);
    settled(world);
    check_counts(world, 0, 0);
    check_flags(world, "Archive", 1, "\\Seen \\Flagged");
    check_uids(world, inbox, "INBOX", "1,3,4");
}

/* Moved on, before it had a number. */
static void test_chain(void **state)
{
    World *world = *state;
    Fake *fake = world_fake(world);
    fake_box(fake, "Third");
    guint32 archive, inbox = open_both(world, ALL, &archive);
    guint32 third = listed(world, "Third");
    go_offline(world);
    guint32 n = copy_msg(world, inbox, 2, archive);
    copy_msg(world, STORE_BOX_PENDING, n, third);
    move_msg(world, STORE_BOX_PENDING, n, third);
    go_online(world);
    settled(world);
    check_counts(world, 0, 0);
    check_mail(world, "INBOX", "1,2,3,4");
    check_mail(world, "Archive", "");
    check_mail(world, "Third", "2,2");
}

/* --- COPYUID --- */

typedef struct {
    const char *name;
    FakeCopyUid copyuid;
    const char *capabilities;
} Shape;

static const Shape shapes[] = {
    {"usual", COPYUID_USUAL, ALL},
    {"tagged", COPYUID_TAGGED, ALL},
    {"one for each", COPYUID_APART, ALL},
    {"none", COPYUID_NONE, ALL},
    {"more than was asked for", COPYUID_MORE, ALL},
    {"uneven", COPYUID_UNEVEN, ALL},
    {"a destination twice", COPYUID_TWICE, ALL},
    {"huge", COPYUID_HUGE, ALL},
    {"another UIDVALIDITY", COPYUID_OTHER, ALL},
    {"backward", COPYUID_BACKWARD, ALL},
    {"usual, no MOVE", COPYUID_USUAL, "UIDPLUS OBJECTID"},
    {"one for each, no MOVE", COPYUID_APART, "UIDPLUS"},
    {"none, no MOVE", COPYUID_NONE, "UIDPLUS"},
    {"more than was asked for, no MOVE", COPYUID_MORE, "UIDPLUS"},
    {"uneven, no MOVE", COPYUID_UNEVEN, "UIDPLUS"},
    {"huge, no MOVE", COPYUID_HUGE, "UIDPLUS OBJECTID"},
    {"another UIDVALIDITY, no MOVE", COPYUID_OTHER, "UIDPLUS"},
    {"backward, no MOVE", COPYUID_BACKWARD, "UIDPLUS"},
    {"no UIDPLUS", COPYUID_USUAL, "MOVE"},
};

/* Whatever the server says of numbers: the letters are where they belong, once, under the names
 * that are theirs, with the flags that are theirs. */
static void check_shape(void **state)
{
    const Shape *shape = *state;
    void *made;
    assert_int_equal(fake_setup(&made), 0);
    World *world = made;
    Fake *fake = world_fake(world);
    fake->copyuid = shape->copyuid;
    guint32 archive, inbox = open_both(world, shape->capabilities, &archive);
    go_offline(world);
    for (guint32 uid = 1; uid <= 3; uid++) {
        guint32 n = move_msg(world, inbox, uid, archive);
        g_autofree char *mark = g_strdup_printf("$Was%u", uid);
        world_change(world, STORE_BOX_PENDING, n, mark, "");
    }
    go_online(world);
    settled(world);
    check_counts(world, 0, 0);
    check_mail(world, "Archive", "1,2,3");
    check_mail(world, "INBOX", "4");
    check_uids(world, inbox, "INBOX", "4");
    check_uids(world, archive, "Archive", "1,2,3");
    settled(world);
    for (guint32 uid = 1; uid <= 3; uid++) {
        g_autofree char *mark = g_strdup_printf("$Was%u", uid);
        check_flags(world, "Archive", uid, mark);
    }
    fake_teardown(&made);
}

/* --- cuts --- */

typedef enum { DO_MOVE, DO_COPY, DO_EXPUNGE } Doing;

typedef struct {
    const char *name;
    Doing doing;
    const char *words; /* the command that is cut */
    bool done;         /* the server had done it */
    const char *capabilities;
} Cut;

static const Cut cuts[] = {
    {"MOVE, not done", DO_MOVE, "UID MOVE", false, ALL},
    {"MOVE, done", DO_MOVE, "UID MOVE", true, ALL},
    {"MOVE, done, no ids", DO_MOVE, "UID MOVE", true, "MOVE UIDPLUS"},
    {"MOVE, not done, no UIDPLUS", DO_MOVE, "UID MOVE", false, "MOVE"},
    {"MOVE, done, no UIDPLUS", DO_MOVE, "UID MOVE", true, "MOVE"},
    {"MOVE by COPY, not done", DO_MOVE, "UID COPY", false, "UIDPLUS"},
    {"MOVE by COPY, done", DO_MOVE, "UID COPY", true, "UIDPLUS"},
    {"MOVE by COPY, ids, done", DO_MOVE, "UID COPY", true, "UIDPLUS OBJECTID"},
    {"MOVE by COPY, marking not done", DO_MOVE, "UID STORE", false, "UIDPLUS"},
    {"MOVE by COPY, marking done", DO_MOVE, "UID STORE", true, "UIDPLUS"},
    {"MOVE by COPY, deleting not done", DO_MOVE, "UID EXPUNGE", false, "UIDPLUS"},
    {"MOVE by COPY, deleting done", DO_MOVE, "UID EXPUNGE", true, "UIDPLUS"},
    {"COPY, not done", DO_COPY, "UID COPY", false, ALL},
    {"COPY, done", DO_COPY, "UID COPY", true, ALL},
    {"COPY, not done, no UIDPLUS", DO_COPY, "UID COPY", false, ""},
    {"COPY, done, no UIDPLUS", DO_COPY, "UID COPY", true, ""},
    {"EXPUNGE, marking not done", DO_EXPUNGE, "UID STORE", false, ALL},
    {"EXPUNGE, marking done", DO_EXPUNGE, "UID STORE", true, ALL},
    {"EXPUNGE, not done", DO_EXPUNGE, "UID EXPUNGE", false, ALL},
    {"EXPUNGE, done", DO_EXPUNGE, "UID EXPUNGE", true, ALL},
};

static void do_it(World *world, Doing doing, guint32 inbox, guint32 uid, guint32 archive)
{
    if (doing == DO_MOVE)
        move_msg(world, inbox, uid, archive);
    else if (doing == DO_COPY)
        copy_msg(world, inbox, uid, archive);
    else
        expunge_msg(world, inbox, uid);
}

static guint count_changing(Fake *fake)
{
    return fake_count(fake, "UID MOVE") + fake_count(fake, "UID COPY") +
           fake_count(fake, "UID STORE") + fake_count(fake, "UID EXPUNGE") +
           fake_count(fake, "APPEND");
}

/* What is there once the log is empty; and that nothing is sent by the next mount. */
static void check_end(World *world, Doing doing)
{
    Fake *fake = world_fake(world);
    settled(world);
    check_counts(world, 0, 0);
    check_mail(world, "INBOX", doing == DO_COPY ? "1,2,3,4" : "1,4");
    check_mail(world, "Archive", doing == DO_EXPUNGE ? "" : "2,3");
    check_uids(world, box_id(world, "INBOX"), "INBOX", doing == DO_COPY ? "1,2,3,4" : "1,4");
    check_uids(world, box_id(world, "Archive"), "Archive", doing == DO_EXPUNGE ? "" : "1,2");
    guint sent = count_changing(fake);
    close_engine(world);
    open_engine(world);
    settled(world);
    list_inbox(world);
    assert_int_equal(count_changing(fake), sent);
}

static void cut_amid(const Cut *cut, bool and_end)
{
    void *made;
    assert_int_equal(fake_setup(&made), 0);
    World *world = made;
    Fake *fake = world_fake(world);
    guint32 archive, inbox = open_both(world, cut->capabilities, &archive);
    go_offline(world);
    fake_rule(fake, (FakeRule){.words = cut->words,
                               .answer = cut->done ? NULL : "OK never seen",
                               .times = 1,
                               .cut = true});
    do_it(world, cut->doing, inbox, 2, archive);
    do_it(world, cut->doing, inbox, 3, archive);
    go_online(world);
    fake_wait(fake, cut->words, 1);
    if (and_end) {
        close_engine(world);
        open_engine(world);
    }
    check_end(world, cut->doing);
    fake_teardown(&made);
}

static void check_cut(void **state)
{
    cut_amid(*state, false);
}

/* The mount ends in place of the answer. */
static void check_end_in_between(void **state)
{
    cut_amid(*state, true);
}

/* --- answers --- */

typedef struct {
    const char *name;
    Doing doing;
    const char *capabilities;
    FakeRule rule;
    guint pending, failed;
    const char *inbox, *archive;
    const char *reason;
} Answered;

static const Answered answers[] = {
    {"MOVE: NO for good",
     DO_MOVE,
     ALL,
     {.words = "UID MOVE", .answer = "NO no"},
     0,
     2,
     "1,2,3,4",
     "",
     "the server said: NO no"},
    {"MOVE: NO twice",
     DO_MOVE,
     ALL,
     {.words = "UID MOVE", .answer = "NO no", .times = 2},
     0,
     0,
     "1,4",
     "3,2",
     NULL},
    {"MOVE: of one",
     DO_MOVE,
     ALL,
     {.words = "UID MOVE", .answer = "NO not that", .only_uid = 3},
     0,
     1,
     "1,3,4",
     "2",
     "not that"},
    {"MOVE: some were moved",
     DO_MOVE,
     ALL,
     {.words = "UID MOVE", .answer = "NO oops", .times = 1, .partly = 1},
     0,
     0,
     "1,4",
     "2,3",
     NULL},
    {"MOVE: some were moved, no UIDPLUS",
     DO_MOVE,
     "MOVE",
     {.words = "UID MOVE", .answer = "NO oops", .times = 1, .partly = 1},
     0,
     0,
     "1,4",
     "2,3",
     NULL},
    {"MOVE: BAD",
     DO_MOVE,
     ALL,
     {.words = "UID MOVE", .answer = "BAD what?"},
     0,
     2,
     "1,2,3,4",
     "",
     "BAD what?"},
    {"MOVE: NOPERM",
     DO_MOVE,
     ALL,
     {.words = "UID MOVE", .answer = "NO [NOPERM] no"},
     0,
     2,
     "1,2,3,4",
     "",
     "NOPERM"},
    {"MOVE: OVERQUOTA",
     DO_MOVE,
     ALL,
     {.words = "UID MOVE", .answer = "NO [OVERQUOTA] full"},
     2,
     0,
     "1,2,3,4",
     "",
     NULL},
    {"MOVE: TRYCREATE",
     DO_MOVE,
     ALL,
     {.words = "UID MOVE", .answer = "NO [TRYCREATE] where?"},
     0,
     2,
     "1,2,3,4",
     "",
     "TRYCREATE"},
    {"MOVE: INUSE",
     DO_MOVE,
     ALL,
     {.words = "UID MOVE", .answer = "NO [INUSE] soon", .times = 1},
     0,
     0,
     "1,4",
     "2,3",
     NULL},
    {"MOVE: OK, and not done",
     DO_MOVE,
     ALL,
     {.words = "UID MOVE", .answer = "OK done"},
     0,
     2,
     "1,2,3,4",
     "",
     "has not"},
    {"COPY: NO for good",
     DO_COPY,
     ALL,
     {.words = "UID COPY", .answer = "NO no"},
     0,
     2,
     "1,2,3,4",
     "",
     "NO no"},
    {"COPY: TOOBIG",
     DO_COPY,
     ALL,
     {.words = "UID COPY", .answer = "NO [TOOBIG] big"},
     0,
     2,
     "1,2,3,4",
     "",
     "TOOBIG"},
    {"COPY: of one",
     DO_COPY,
     ALL,
     {.words = "UID COPY", .answer = "NO not that", .only_uid = 3},
     0,
     1,
     "1,2,3,4",
     "2",
     "not that"},
    {"MOVE by COPY: NO for good",
     DO_MOVE,
     "UIDPLUS",
     {.words = "UID COPY", .answer = "NO no"},
     0,
     2,
     "1,2,3,4",
     "",
     "NO no"},
    {"EXPUNGE: NO for good",
     DO_EXPUNGE,
     ALL,
     {.words = "UID EXPUNGE", .answer = "NO no"},
     0,
     2,
     "1,2,3,4",
     "",
     "NO no"},
    {"EXPUNGE: NO to marking",
     DO_EXPUNGE,
     ALL,
     {.words = "UID STORE", .answer = "NO [NOPERM] no"},
     0,
     2,
     "1,2,3,4",
     "",
     "NOPERM"},
    {"EXPUNGE: of one",
     DO_EXPUNGE,
     ALL,
     {.words = "UID STORE", .answer = "NO not that", .only_uid = 3},
     0,
     1,
     "1,3,4",
     "",
     "not that"},
    {"EXPUNGE: OK, and not done",
     DO_EXPUNGE,
     ALL,
     {.words = "UID EXPUNGE", .answer = "OK done"},
     0,
     2,
     "1,2,3,4",
     "",
     "has not"},
};

static void check_answer(void **state)
{
    const Answered *want = *state;
    void *made;
    assert_int_equal(fake_setup(&made), 0);
    World *world = made;
    Fake *fake = world_fake(world);
    guint32 archive, inbox = open_both(world, want->capabilities, &archive);
    go_offline(world);
    fake_rule(fake, want->rule);
    do_it(world, want->doing, inbox, 2, archive);
    do_it(world, want->doing, inbox, 3, archive);
    go_online(world);
    if (want->pending == 0)
        settled(world);
    else
        g_clear_error(&(GError *){ask(world, &(Need){.kind = NEED_REPLAYED})});
    check_counts(world, want->pending, want->failed);
    check_mail(world, "INBOX", want->inbox);
    check_mail(world, "Archive", want->archive);
    if (want->reason)
        check_reason(world, true, want->reason);
    if (want->failed) /* what was refused shows where it is */
        assert_false(is_hidden(world, inbox, 3));
    fake_teardown(&made);
}

/* --- many --- */

/* A thousand moves, one after the other, are a few commands. */
static void test_thousand(void **state)
{
    enum { MANY = 1000 };
    World *world = *state;
    Fake *fake = world_fake(world);
    for (guint32 uid = 5; uid <= MANY; uid++)
        fake_add(fake, "INBOX", uid, "");
    guint32 archive, inbox = open_both(world, ALL, &archive);
    guint listed = fake_count(fake, "UID FETCH 1:1000");
    for (guint32 uid = 1; uid <= MANY; uid++)
        move_msg(world, inbox, uid, archive);
    settled(world);
    check_counts(world, 0, 0);
    assert_int_equal(fake_number(fake, "Archive"), MANY);
    assert_int_equal(fake_number(fake, "INBOX"), 0);
    assert_true(fake_count(fake, "UID MOVE") <= 20);
    assert_int_equal(fake_count(fake, "UID FETCH 1:1000"), listed);
    assert_int_equal(shown_count(world, archive), MANY);
    assert_int_equal(shown_count(world, inbox), 0);
}

static const struct CMUnitTest plain_tests[] = {
    TEST(test_move),
    TEST(test_copy),
    TEST(test_expunge),
    TEST(test_target_renamed),
    TEST(test_target_renamed_online),
    TEST(test_both_renamed),
    TEST(test_target_renamed_unsure),
    TEST(test_news_cut),
    TEST(test_move_by_copy),
    TEST(test_move_by_copy_marked),
    TEST(test_copy_plain),
    TEST(test_move_by_copy_plain),
    TEST(test_copy_refused_and_expunge),
    TEST(test_unflag_and_expunge),
    TEST(test_expunge_marked_again),
    TEST(test_expunge_plain),
    TEST(test_target_never_listed),
    TEST(test_flags_follow),
    TEST(test_chain),
    TEST(test_thousand),
};

#define N_TESTS                                                                  \
    (G_N_ELEMENTS(plain_tests) + G_N_ELEMENTS(shapes) + 2 * G_N_ELEMENTS(cuts) + \
     G_N_ELEMENTS(answers))

static struct CMUnitTest tests[N_TESTS];

static void add(gsize *n, const char *prefix, const char *name, CMUnitTestFunction f,
                const void *what)
{
    tests[(*n)++] = (struct CMUnitTest){
        .name = g_strconcat(prefix, name, NULL), .test_func = f, .initial_state = (void *)what};
}

int main(int argc, char **argv)
{
    gsize n = G_N_ELEMENTS(plain_tests);
    memcpy(tests, plain_tests, sizeof(plain_tests));
    for (guint i = 0; i < G_N_ELEMENTS(shapes); i++)
        add(&n, "COPYUID: ", shapes[i].name, check_shape, &shapes[i]);
    for (guint i = 0; i < G_N_ELEMENTS(cuts); i++) {
        add(&n, "cut: ", cuts[i].name, check_cut, &cuts[i]);
        add(&n, "end: ", cuts[i].name, check_end_in_between, &cuts[i]);
    }
    for (guint i = 0; i < G_N_ELEMENTS(answers); i++)
        add(&n, "", answers[i].name, check_answer, &answers[i]);
    int failed = run_cells(argc, argv, tests, n);
    for (gsize i = G_N_ELEMENTS(plain_tests); i < n; i++)
        g_free((char *)tests[i].name);
    return failed;
}
