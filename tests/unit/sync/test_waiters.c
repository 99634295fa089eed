/* Who waits for what, while something of it is on its way already. */
#include <string.h>

#include "../../../src/sync/ranged.h"
#include "cells.h"
#include "imapfs/base/error.h"

#define STRUCTURE " (UID BODYSTRUCTURE)"

/* The structure has come, and the command that brought it is not over. */
static void test_structure_came(void **state)
{
    World *world = *state;
    Fake *fake = world_fake(world);
    guint32 inbox = open_listed(world);
    const Need need = {.kind = NEED_STRUCTURE, .box = inbox, .uid = 2};
    fake_rule(fake, (FakeRule){.words = STRUCTURE, .tag_after_ms = 500, .times = 1});
    ask_ok(world, &need);
    g_autofree char *text = store_structure_get(store_reader(world->store), inbox, 2);
    assert_non_null(text);
    ask_ok(world, &need);
    assert_int_equal(fake_count(fake, STRUCTURE), 1);
}

typedef struct {
    guint32 one, two;
    char order[8];
} Order;

static void on_one(Mailbox *mailbox, Session *session, const GError *error, gpointer data)
{
    g_strlcat(((Order *)data)->order, session ? "1" : "-", sizeof(((Order *)data)->order));
    mailbox_release(mailbox, mailbox->generation);
}

static void on_two(Mailbox *mailbox, Session *session, const GError *error, gpointer data)
{
    g_strlcat(((Order *)data)->order, session ? "2" : "-", sizeof(((Order *)data)->order));
    mailbox_release(mailbox, mailbox->generation);
}

static void all_wait(Engine *engine, gpointer data)
{
    Order *order = data;
    Mailbox *one = mailbox_get(engine, order->one, NULL);
    Mailbox *two = mailbox_get(engine, order->two, NULL);
    mailbox_acquire(one, LANE_BACKGROUND, on_one, order);
    mailbox_acquire(one, LANE_FOREGROUND, on_one, order);
    mailbox_acquire(two, LANE_FOREGROUND, on_two, order);
}

/* Somebody waits for a mailbox that is to be looked at in the background: nobody who comes after
 * him goes before him. */
static void test_behind_the_background(void **state)
{
    World *world = *state;
    Fake *fake = world_fake(world);
    world->account.max_connections = 1;
    fake_lock(fake);
    fake_box(fake, "One");
    fake_box(fake, "Two");
    fake_unlock(fake);
    guint32 inbox = open_listed(world);
    Order order = {.one = box_id(world, "One"), .two = box_id(world, "Two")};
    Answer answer = {.over = false};
    fake_rule(fake, (FakeRule){.words = STRUCTURE, .after_ms = 300, .times = 1});
    guint before = fake_count(fake, STRUCTURE);
    engine_want(world->engine, &(Need){.kind = NEED_STRUCTURE, .box = inbox, .uid = 4}, on_answer,
                &answer);
    fake_wait(fake, STRUCTURE, before + 1);
    engine_post(world->engine, all_wait, &order, NULL);
    g_clear_error(&(GError *){await_answer(&answer)});
    ask_ok(world, &(Need){.kind = NEED_MAILBOX, .box = order.two}); /* behind these */
    assert_string_equal(order.order, "112");
}

#define LARGE (2 * 1024 * 1024)

static void expect_large(Engine *engine, gpointer data)
{
    const Need *need = data;
    ranged_open_ahead(mailbox_get(engine, need->box, NULL), need, 0);
}

/* Somebody opens what was foreseen, while that still waits for a connection. */
static void test_opened_twice(void **state)
{
    World *world = *state;
    Fake *fake = world_fake(world);
    world->account.max_connections = 1;
    fake_add(fake, "Large", 1, "")->bytes = g_strnfill(LARGE, 'x');
    open_engine(world);
    guint32 large = listed(world, "Large"), inbox = listed(world, "INBOX");
    Need need = {.kind = NEED_CONTENT,
                 .box = large,
                 .uid = 1,
                 .content = CONTENT_RAW,
                 .section = (char *)"",
                 .encoded_size = LARGE};
    Answer busy = {.over = false};
    fake_rule(fake, (FakeRule){.words = STRUCTURE, .after_ms = 300, .only_uid = 3, .times = 1});
    guint before = fake_count(fake, STRUCTURE);
    engine_want(world->engine, &(Need){.kind = NEED_STRUCTURE, .box = inbox, .uid = 3}, on_answer,
                &busy);
    fake_wait(fake, STRUCTURE, before + 1);
    engine_post(world->engine, expect_large, &need, NULL);
    ask_ok(world, &need);
    g_clear_error(&(GError *){await_answer(&busy)});
    assert_int_equal(fake_count(fake, "BODY.PEEK[]<"), 1);
    ContentKey key = need_content_key(&need);
    Ranged *ranged = engine_ranged(world->engine, &key);
    assert_non_null(ranged);
    assert_int_equal(ranged_size(ranged), LARGE);
    ranged_close(ranged);
}

typedef struct {
    guint32 box;
    bool sync; /* else: looks */
    gint64 used_us;
    bool looked;
} Used;

static void look_at_use(Engine *engine, gpointer data)
{
    Used *used = data;
    Mailbox *mailbox = mailbox_get(engine, used->box, NULL);
    if (used->sync) {
        mailbox->used_us = 0;
        mailbox_sync_soon(mailbox, LANE_BACKGROUND);
    }
    used->used_us = mailbox->used_us;
    __atomic_store_n(&used->looked, true, __ATOMIC_RELEASE);
}

/* What polling finds in a mailbox does not make it one that somebody looks at. */
static void test_polled_is_not_used(void **state)
{
    World *world = *state;
    Fake *fake = world_fake(world);
    world->account.max_connections = 1;
    fake_add(fake, "Other", 1, "");
    open_engine(world);
    guint32 other = listed(world, "Other");
    listed(world, "INBOX");
    fake_lock(fake);
    fake_add(fake, "Other", 2, "");
    fake_unlock(fake);
    Used begin = {.box = other, .sync = true}, end = {.box = other};
    engine_post(world->engine, look_at_use, &begin, NULL);
    wait_told(&world->told, &world->told.added, 1);
    ask_ok(world, &(Need){.kind = NEED_STATUS});
    engine_post(world->engine, look_at_use, &end, NULL);
    while (!__atomic_load_n(&end.looked, __ATOMIC_ACQUIRE))
        g_usleep(1000);
    assert_int_equal(end.used_us, 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(test_structure_came),
        TEST(test_behind_the_background),
        TEST(test_opened_twice),
        TEST(test_polled_is_not_used),
    };
    return run_cells(argc, argv, tests, G_N_ELEMENTS(tests));
}
