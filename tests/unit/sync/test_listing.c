/* A first listing, of which the beginning is sent behind EXAMINE: what the server may answer. */
#include <string.h>

#include "cells.h"
#include "imapfs/base/error.h"

#define EARLY "UID FETCH 1:1000 "
#define EXAMINE "EXAMINE \"Box\""

/* An INBOX that is listed, and on the only connection; and a Box with so many messages. */
static guint32 begin(World *world, guint32 first, guint n)
{
    Fake *fake = world_fake(world);
    world->account.max_connections = 1;
    fake_lock(fake);
    fake_box(fake, "Box");
    for (guint i = 0; i < n; i++)
        fake_add(fake, "Box", first + i, i % 2 ? "\\Seen" : "");
    fake_unlock(fake);
    open_engine(world);
    listed(world, "INBOX");
    assert_int_equal(fake_count(fake, EARLY), 1);
    return box_id(world, "Box");
}

static void check_listed(World *world, guint32 box, guint n)
{
    ask_ok(world, &(Need){.kind = NEED_MAILBOX, .box = box});
    assert_int_equal(store_msg_count(store_reader(world->store), box), n);
    check_uids(world, box_id(world, "INBOX"), "INBOX", "1,2,3,4");
}

static void check_refused(World *world, guint32 box)
{
    g_autoptr(GError) error = ask(world, &(Need){.kind = NEED_MAILBOX, .box = box});
    assert_true(g_error_matches(error, IMAPFS_ERROR, IMAPFS_ERROR_SERVER));
    assert_non_null(strstr(error->message, "today"));
    assert_int_equal(store_msg_count(store_reader(world->store), box), 0);
    check_uids(world, box_id(world, "INBOX"), "INBOX", "1,2,3,4");
}

static void test_few(void **state)
{
    World *world = *state;
    guint32 box = begin(world, 1, 5);
    check_listed(world, box, 5);
    assert_int_equal(fake_count(world_fake(world), EARLY), 2);
    assert_int_equal(fake_count(world_fake(world), "INTERNALDATE"), 2); /* and nothing more */
    check_uids(world, box, "Box", "1,2,3,4,5");
    check_flags(world, "Box", 2, "\\Seen");
}

static void test_many(void **state)
{
    World *world = *state;
    guint32 box = begin(world, 1, 2500);
    check_listed(world, box, 2500);
    assert_int_equal(fake_count(world_fake(world), "UID SEARCH"), 0);
}

/* None of them is among the first UIDs. */
static void test_later(void **state)
{
    World *world = *state;
    guint32 box = begin(world, 70000, 3);
    check_listed(world, box, 3);
    check_uids(world, box, "Box", "70000,70001,70002");
    assert_int_equal(fake_count(world_fake(world), "UID SEARCH"), 0);
}

static void test_empty(void **state)
{
    World *world = *state;
    guint32 box = begin(world, 1, 0);
    check_listed(world, box, 0);
    assert_int_equal(fake_count(world_fake(world), "INTERNALDATE"), 2);
}

/* What is known is asked for by what is known of it. */
static void test_only_once(void **state)
{
    World *world = *state;
    Fake *fake = world_fake(world);
    guint32 box = begin(world, 1, 5);
    check_listed(world, box, 5);
    close_engine(world);
    fake_lock(fake);
    fake_add(fake, "Box", 6, "");
    fake_unlock(fake);
    open_engine(world);
    check_listed(world, box, 6);
    assert_int_equal(fake_count(fake, EARLY), 2);
}

/* This server still has the INBOX selected then, which it should not, and answers from there. */
static void test_refused(void **state)
{
    World *world = *state;
    Fake *fake = world_fake(world);
    guint32 box = begin(world, 1, 3);
    fake_rule(fake, (FakeRule){.words = EXAMINE, .answer = "NO not today", .times = 2});
    check_refused(world, box);
    check_refused(world, box);
    assert_int_equal(fake_count(fake, EARLY), 3);
    check_listed(world, box, 3);
    check_uids(world, box, "Box", "1,2,3");
}

/* The listing alone is refused, as where there are no mod-sequences (RFC 7162 3.1.2.2). */
static void test_no_modseqs(void **state)
{
    World *world = *state;
    Fake *fake = world_fake(world);
    fake->capabilities = "CONDSTORE";
    guint32 box = begin(world, 1, 3);
    fake_rule(fake, (FakeRule){.words = " MODSEQ ", .answer = "BAD no mod-sequences here"});
    check_listed(world, box, 3);
    check_uids(world, box, "Box", "1,2,3");
}

static void test_cut_in_select(void **state)
{
    World *world = *state;
    guint32 box = begin(world, 1, 3);
    fake_rule(world_fake(world), (FakeRule){.words = EXAMINE, .cut = true, .times = 1});
    check_listed(world, box, 3);
    check_uids(world, box, "Box", "1,2,3");
}

static void test_cut_in_listing(void **state)
{
    World *world = *state;
    guint32 box = begin(world, 1, 3);
    fake_rule(world_fake(world), (FakeRule){.words = EARLY, .cut = true, .times = 1});
    check_listed(world, box, 3);
    check_uids(world, box, "Box", "1,2,3");
}

/* Another client made another mailbox of that name. */
static void test_replaced(void **state)
{
    World *world = *state;
    Fake *fake = world_fake(world);
    guint32 box = begin(world, 1, 3);
    check_listed(world, box, 3);
    fake_lock(fake);
    fake_drop_box(fake, "Box");
    fake_box(fake, "Box")->uidvalidity += 7;
    fake_add(fake, "Box", 2, "\\Flagged");
    fake_unlock(fake);
    close_engine(world);
    open_engine(world);
    g_autoptr(GError) gone = ask(world, &(Need){.kind = NEED_MAILBOX, .box = box});
    assert_true(g_error_matches(gone, IMAPFS_ERROR, IMAPFS_ERROR_GONE));
    guint32 now = box_id(world, "Box");
    assert_int_not_equal(now, box);
    check_listed(world, now, 1);
    check_uids(world, now, "Box", "2");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(test_few),        TEST(test_many),          TEST(test_later),
        TEST(test_empty),      TEST(test_only_once),     TEST(test_refused),
        TEST(test_no_modseqs), TEST(test_cut_in_select), TEST(test_cut_in_listing),
        TEST(test_replaced),
    };
    return run_cells(argc, argv, tests, G_N_ELEMENTS(tests));
}
