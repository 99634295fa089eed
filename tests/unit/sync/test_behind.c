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

/* --- the ways: flags are set on what comes; how many messages go where it came from --- */

static guint flag_moved(World *world, guint32 inbox, guint32 archive)
{
    fake_lock(world_fake(world)); /* it answers when both are logged */
    guint32 n = move_msg(world, inbox, 2, archive);
    world_change(world, STORE_BOX_PENDING, n, "\\Flagged", "");
    fake_unlock(world_fake(world));
    return 1;
}

/* By the number that the answer to the move has told. */
static guint flag_afterwards(World *world, guint32 inbox, guint32 archive)
{
    move_msg(world, inbox, 2, archive);
    settled(world);
    world_change(world, archive, 2, "\\Flagged", "");
    return 1;
}

static guint flag_appended(World *world, guint32 inbox, guint32 archive)
{
    fake_lock(world_fake(world));
    guint32 n = append_letter(world, archive, LETTER, "");
    world_change(world, STORE_BOX_PENDING, n, "\\Flagged", "");
    fake_unlock(world_fake(world));
    return 0;
}

static const struct {
    const char *name;
    guint (*flag)(World *world, guint32 inbox, guint32 archive);
} ways[] = {
    {"moved", flag_moved}, {"moved, and later", flag_afterwards}, {"appended", flag_appended}};

/* Number w * G_N_ELEMENTS(views) + v. */
static void check(void **state)
{
    guint number = GPOINTER_TO_UINT(*state);
    const View *view = &views[number % G_N_ELEMENTS(views)];
    void *made;
    assert_int_equal(fake_setup(&made), 0);
    World *world = made;
    guint32 archive, inbox = open_lagging(world, view, &archive);
    guint removed = world->told.removed;
    guint n_gone = ways[number / G_N_ELEMENTS(views)].flag(world, inbox, archive);
    check_follows(world, archive, view);
    check_uids(world, inbox, "INBOX", n_gone ? "1,3,4" : "1,2,3,4");
    assert_int_equal(world->told.removed, removed + n_gone); /* from the INBOX alone */
    fake_teardown(&made);
}

int main(int argc, char **argv)
{
    struct CMUnitTest tests[G_N_ELEMENTS(ways) * G_N_ELEMENTS(views)];
    gsize n = 0;
    for (; n < G_N_ELEMENTS(tests); n++)
        tests[n] = (struct CMUnitTest){
            .name = g_strdup_printf("%s: %s", ways[n / G_N_ELEMENTS(views)].name,
                                    views[n % G_N_ELEMENTS(views)].name),
            .test_func = check,
            .initial_state = GUINT_TO_POINTER((guint)n),
        };
    int failed = run_cells(argc, argv, tests, n);
    for (gsize i = 0; i < n; i++)
        g_free((char *)tests[i].name);
    return failed;
}
