/* A session that was not told yet of a message which another one has just brought: it answers as if
 * there were none, and that is not to be taken for its end. */
#include <string.h>

#include "cells.h"

#define LETTER \
    "From: a@example.org\r\nSubject: letter\r\nMessage-ID: <l@example.org>\r\n\r\nText\r\n"

typedef struct {
    const char *name, *capabilities;
    bool no_uidnext; /* as Courier: where a session's view ends is known by its messages alone */
    guint n;         /* messages that are there before */
} View;

static const View views[] = {
    {"it tells UIDNEXT", "MOVE UIDPLUS", false, 1},
    {"no UIDNEXT", "MOVE UIDPLUS", true, 1},
    {"no UIDNEXT, no MOVE", "UIDPLUS", true, 1},
    {"no UIDNEXT, and none was there", "UIDPLUS", true, 0},
};

/* Until each of the two is selected for writing in a session of its own. */
static void take_apart(World *world, guint32 inbox, guint32 archive)
{
    Fake *fake = world_fake(world);
    guint selected;
    guint turn = 0;
    do {
        const char *set = turn % 2 ? "" : "\\Seen", *clear = turn % 2 ? "\\Seen" : "";
        selected = fake_count(fake, "SELECT");
        fake_lock(fake); /* both are wanted before one of them is done */
        world_change(world, archive, 1, set, clear);
        world_change(world, inbox, 1, set, clear);
        fake_unlock(fake);
        settled(world);
        assert_true(++turn < 100);
    } while (fake_count(fake, "SELECT") != selected);
}

static guint32 open_lagging(World *world, const View *view, guint32 *archive_out)
{
    Fake *fake = world_fake(world);
    fake->capabilities = view->capabilities;
    fake->no_uidnext = view->no_uidnext;
    fake->lags = true;
    fake_add(fake, "Archive", 1, "");
    guint32 inbox = open_listed(world), archive = listed(world, "Archive");
    take_apart(world, inbox, archive);
    if (view->n == 0) {
        expunge_msg(world, archive, 1);
        settled(world);
    }
    *archive_out = archive;
    return inbox;
}

/* Flags are set on a message that another session brings just then. They are made, and nobody is
 * told in between that it went. */
static void check_follows(World *world, guint32 archive, const View *view)
{
    settled(world);
    check_counts(world, 0, 0);
    check_flags(world, "Archive", 2, "\\Flagged");
    check_uids(world, archive, "Archive", view->n ? "1,2" : "2");
    check_shown(world, archive, 2, "\\Flagged");
}

static void check_moved(void **state)
{
    const View *view = *state;
    void *made;
    assert_int_equal(fake_setup(&made), 0);
    World *world = made;
    guint32 archive, inbox = open_lagging(world, view, &archive);
    guint removed = world->told.removed;
    fake_lock(world_fake(world)); /* it answers when both are logged */
    guint32 n = move_msg(world, inbox, 2, archive);
    world_change(world, STORE_BOX_PENDING, n, "\\Flagged", "");
    fake_unlock(world_fake(world));
    check_follows(world, archive, view);
    check_uids(world, inbox, "INBOX", "1,3,4");
    assert_int_equal(world->told.removed, removed + 1); /* from the INBOX */
    fake_teardown(&made);
}

/* By the number that the answer to the move has told. */
static void check_afterwards(void **state)
{
    const View *view = *state;
    void *made;
    assert_int_equal(fake_setup(&made), 0);
    World *world = made;
    guint32 archive, inbox = open_lagging(world, view, &archive);
    guint removed = world->told.removed;
    move_msg(world, inbox, 2, archive);
    settled(world);
    world_change(world, archive, 2, "\\Flagged", "");
    check_follows(world, archive, view);
    assert_int_equal(world->told.removed, removed + 1);
    fake_teardown(&made);
}

static void check_appended(void **state)
{
    const View *view = *state;
    void *made;
    assert_int_equal(fake_setup(&made), 0);
    World *world = made;
    guint32 archive;
    open_lagging(world, view, &archive);
    guint removed = world->told.removed;
    fake_lock(world_fake(world));
    guint32 n = append_letter(world, archive, LETTER, "");
    world_change(world, STORE_BOX_PENDING, n, "\\Flagged", "");
    fake_unlock(world_fake(world));
    check_follows(world, archive, view);
    assert_int_equal(world->told.removed, removed);
    fake_teardown(&made);
}

static const struct {
    const char *name;
    CMUnitTestFunction check;
} ways[] = {
    {"moved", check_moved}, {"moved, and later", check_afterwards}, {"appended", check_appended}};

int main(int argc, char **argv)
{
    struct CMUnitTest tests[G_N_ELEMENTS(ways) * G_N_ELEMENTS(views)];
    gsize n = 0;
    for (guint w = 0; w < G_N_ELEMENTS(ways); w++)
        for (guint v = 0; v < G_N_ELEMENTS(views); v++)
            tests[n++] = (struct CMUnitTest){
                .name = g_strdup_printf("%s: %s", ways[w].name, views[v].name),
                .test_func = ways[w].check,
                .initial_state = (void *)&views[v],
            };
    int failed = run_cells(argc, argv, tests, n);
    for (gsize i = 0; i < n; i++)
        g_free((char *)tests[i].name);
    return failed;
}
