/* Replay against a real Dovecot: the log reaches the server, whatever happens on the way. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "imapfs/base/clock.h"
#include "imapfs/base/error.h"
#include "imapfs/base/log.h"
#include "imapfs/store/log.h"
#include "world.h"

static void replayed(World *world, guint32 box)
{
    ask_ok(world, &(Need){.kind = NEED_REPLAYED, .box = box});
    LogCounts counts = {0};
    log_count(store_reader(world->store), box, 0, &counts);
    assert_int_equal(counts.pending, 0);
    assert_int_equal(counts.failed, 0);
}

/* The Maildir flags of the n-th delivered message, as Dovecot wrote them. */
static char *maildir_flags(World *world, const char *folder, guint n)
{
    g_autofree char *path = g_build_filename(world->maildir, folder, "cur", NULL);
    g_autofree char *prefix = g_strdup_printf("%u.M%uP1.test", 1700000000 + n, n);
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    const char *name;
    while ((name = g_dir_read_name(dir))) {
        const char *info = strstr(name, ":2,");
        if (g_str_has_prefix(name, prefix) && info)
            return g_strdup(info + 3);
    }
    return NULL;
}

static void check_flags(World *world, guint n, const char *want)
{
    g_autofree char *flags = maildir_flags(world, "", n);
    assert_string_equal(flags, want);
}

static void check_row(World *world, guint32 box, guint32 uid, const char *want)
{
    StoreMsg msg = {0};
    assert_true(store_msg_get(store_reader(world->store), box, uid, &msg));
    assert_string_equal(msg.flags, want);
    store_msg_clear(&msg);
}

static void test_online(void **state)
{
    World *world = *state;
    open_engine(world);
    guint32 inbox = list_inbox(world);
    world_change(world, inbox, 1, "\\Seen \\Flagged", "");
    world_change(world, inbox, 2, "$Forwarded", "\\Seen");
    replayed(world, inbox);
    check_flags(world, 1, "FS");
    check_flags(world, 3, "");
    check_row(world, inbox, 1, "\\Seen \\Flagged");
    check_row(world, inbox, 2, "$Forwarded");
    world_change(world, inbox, 1, "", "\\Flagged");
    replayed(world, 0);
    check_flags(world, 1, "S");
    g_autofree char *events = engine_events(world->engine, NULL);
    assert_non_null(strstr(events, " online\n"));
    assert_non_null(strstr(events, " new INBOX: 3 messages\n"));
    assert_non_null(strstr(events, " sent INBOX: 1 change\n"));
}

/* Logged while there was no engine; nobody opens the mailbox in the mount that sends it. */
static void test_from_the_last_mount(void **state)
{
    World *world = *state;
    open_engine(world);
    guint32 inbox = list_inbox(world);
    close_engine(world);
    open_store(world);
    world_change(world, inbox, 1, "\\Seen", "");
    world_change(world, inbox, 3, "\\Answered", "");
    g_clear_pointer(&world->store, store_close);

    open_engine(world);
    replayed(world, 0);
    check_flags(world, 1, "S");
    check_flags(world, 3, "R");
}

static void test_offline_as_wished(void **state)
{
    World *world = *state;
    open_engine(world);
    guint32 inbox = list_inbox(world);
    engine_set_offline(world->engine, true);
    assert_true(engine_is_offline(world->engine));
    world_change(world, inbox, 1, "\\Seen", "");
    g_autoptr(GError) error = ask(world, &(Need){.kind = NEED_REPLAYED});
    assert_true(g_error_matches(error, IMAPFS_ERROR, IMAPFS_ERROR_OFFLINE));
    g_autoptr(GError) listing = ask(world, &(Need){.kind = NEED_MAILBOX, .box = inbox});
    assert_true(g_error_matches(listing, IMAPFS_ERROR, IMAPFS_ERROR_OFFLINE));
    ask_ok(world, &(Need){.kind = NEED_STATUS});
    g_autofree char *status = engine_status(world->engine);
    assert_non_null(strstr(status, "mode: offline\n"));
    assert_non_null(strstr(status, "pending: 1\n"));
    assert_non_null(strstr(status, "mailbox INBOX: 3 messages, 1 pending, "));
    check_flags(world, 1, "");
    engine_set_offline(world->engine, false);
    replayed(world, 0);
    check_flags(world, 1, "S");
}

/* Another client: its flags stand, the one that both changed is ours, what it expunged is dropped.
 */
static void test_changes_by_another_client(void **state)
{
    World *world = *state;
    open_engine(world);
    guint32 inbox = list_inbox(world);
    engine_set_offline(world->engine, true);
    world_change(world, inbox, 1, "\\Seen", "");
    world_change(world, inbox, 2, "", "\\Seen");
    world_change(world, inbox, 3, "\\Flagged", "");
    g_autofree char *cur = g_build_filename(world->maildir, "cur", NULL);
    g_autofree char *one = g_build_filename(cur, "1700000001.M1P1.test:2,", NULL);
    g_autofree char *one_now = g_build_filename(cur, "1700000001.M1P1.test:2,R", NULL);
    g_autofree char *two = g_build_filename(cur, "1700000002.M2P1.test:2,S", NULL);
    g_autofree char *two_now = g_build_filename(cur, "1700000002.M2P1.test:2,FS", NULL);
    g_autofree char *three = g_build_filename(cur, "1700000003.M3P1.test:2,", NULL);
    assert_int_equal(rename(one, one_now), 0);
    assert_int_equal(rename(two, two_now), 0);
    assert_int_equal(unlink(three), 0);
    engine_set_offline(world->engine, false);
    replayed(world, 0);
    check_flags(world, 1, "RS");
    check_flags(world, 2, "F");
    check_row(world, inbox, 1, "\\Seen \\Answered");
    check_row(world, inbox, 2, "\\Flagged");
    g_autofree char *events = engine_events(world->engine, NULL);
    assert_non_null(strstr(events, " dropped INBOX: 1 "));
}

static void test_read_only_sends_nothing(void **state)
{
    World *world = *state;
    world->read_only = true;
    open_engine(world);
    guint32 inbox = list_inbox(world);
    world_change(world, inbox, 1, "\\Seen", "");
    g_autoptr(GError) error = ask(world, &(Need){.kind = NEED_REPLAYED});
    assert_true(g_error_matches(error, IMAPFS_ERROR, IMAPFS_ERROR_READONLY));
    check_flags(world, 1, "");
}

int main(void)
{
    if (!world_is_possible())
        return 77;
    log_init(g_getenv("IMAPFS_DEBUG"));
    if (!g_getenv("IMAPFS_DEBUG"))
        log_set_target(LOG_TO_RING_ONLY);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_online, setup, teardown),
        cmocka_unit_test_setup_teardown(test_from_the_last_mount, setup, teardown),
        cmocka_unit_test_setup_teardown(test_offline_as_wished, setup, teardown),
        cmocka_unit_test_setup_teardown(test_changes_by_another_client, setup, teardown),
        cmocka_unit_test_setup_teardown(test_read_only_sends_nothing, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
