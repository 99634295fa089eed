/* The engine against a real Dovecot: listing, changes by others, resync, failures. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "imapfs/base/error.h"
#include "imapfs/base/log.h"
#include "world.h"

static void test_list_and_read(void **state)
{
    World *world = *state;
    open_engine(world);
    GError *error = NULL;
    if (!engine_wait_online(world->engine, 10000, &error))
        fail_msg("%s", error->message);
    guint32 inbox = list_inbox(world);
    StoreReader *reader = store_reader(world->store);
    assert_int_equal(store_msg_count(reader, inbox), 3);
    assert_true(engine_box_fresh(world->engine, inbox));
    assert_true(engine_boxes_fresh(world->engine));

    StoreMsg msg = {0};
    assert_true(store_msg_get(reader, inbox, 2, &msg));
    assert_string_equal(msg.from, "Alice Doe");
    assert_string_equal(msg.subject, "N\xc2\xb0 2");
    assert_string_equal(msg.flags, "\\Seen");
    assert_true(msg.internaldate > 0 && msg.size > 100);
    store_msg_clear(&msg);

    ask_ok(world, &(Need){.kind = NEED_STRUCTURE, .box = inbox, .uid = 1});
    g_autofree char *structure = store_structure_get(reader, inbox, 1);
    assert_non_null(structure);
    check_text(world, inbox, 1, "This is text 1.\n");

    ask_ok(world, &(Need){.kind = NEED_CONTENT,
                          .box = inbox,
                          .uid = 3,
                          .content = CONTENT_RAW,
                          .section = (char *)"",
                          .encoded_size = -1});
    g_autofree char *raw = content_text(world, &(ContentKey){inbox, 3, CONTENT_RAW, ""});
    assert_non_null(strstr(raw, "\r\n\r\nThis is text 3.\r\n"));

    ask_ok(world, &(Need){.kind = NEED_CONTENT,
                          .box = inbox,
                          .uid = 3,
                          .content = CONTENT_HEADERS,
                          .section = (char *)"",
                          .encoded_size = -1});
    g_autofree char *headers = content_text(world, &(ContentKey){inbox, 3, CONTENT_HEADERS, ""});
    assert_non_null(strstr(headers, "Subject: N\xc2\xb0 3\n"));

    ask_ok(world, &(Need){.kind = NEED_STATUS});
    g_autofree char *status = engine_status(world->engine);
    assert_non_null(strstr(status, "connection: online\n"));
    assert_non_null(strstr(status, "mailbox INBOX: 3 messages, watched\n"));

    /* reading changed nothing */
    g_autofree char *unread =
        g_build_filename(world->maildir, "cur", "1700000001.M1P1.test:2,", NULL);
    assert_true(g_file_test(unread, G_FILE_TEST_EXISTS));
}

static void test_what_is_not_there(void **state)
{
    World *world = *state;
    open_engine(world);
    guint32 inbox = list_inbox(world);
    g_autoptr(GError) gone = ask(world, &(Need){.kind = NEED_STRUCTURE, .box = inbox, .uid = 999});
    assert_true(g_error_matches(gone, IMAPFS_ERROR, IMAPFS_ERROR_GONE));
    g_autoptr(GError) also = ask(world, &(Need){.kind = NEED_CONTENT,
                                                .box = inbox,
                                                .uid = 999,
                                                .content = CONTENT_RAW,
                                                .section = (char *)"",
                                                .encoded_size = 100});
    assert_true(g_error_matches(also, IMAPFS_ERROR, IMAPFS_ERROR_GONE));
    g_autoptr(GError) box = ask(world, &(Need){.kind = NEED_MAILBOX, .box = 4711});
    assert_true(g_error_matches(box, IMAPFS_ERROR, IMAPFS_ERROR_GONE));
}

static void test_changes_by_another_client(void **state)
{
    World *world = *state;
    open_engine(world);
    guint32 inbox = list_inbox(world);
    StoreReader *reader = store_reader(world->store);

    g_autofree char *path = deliver(world, "", "");
    wait_told(&world->told, &world->told.added, 1);
    assert_int_equal(store_msg_count(reader, inbox), 4);

    g_autofree char *flagged = g_strconcat(path, "F", NULL);
    assert_int_equal(rename(path, flagged), 0);
    wait_told(&world->told, &world->told.flags, 1);
    StoreMsg msg = {0};
    assert_true(store_msg_get(reader, inbox, 4, &msg));
    assert_string_equal(msg.flags, "\\Flagged");
    store_msg_clear(&msg);

    assert_int_equal(unlink(flagged), 0);
    wait_told(&world->told, &world->told.removed, 1);
    assert_int_equal(store_msg_count(reader, inbox), 3);
    assert_false(store_msg_get(reader, inbox, 4, &msg));
}

/* Changes made while nobody was connected show after the next start, whatever the server can do. */
static void changes_while_away(World *world)
{
    StoreReader *reader;
    open_engine(world);
    guint32 inbox = list_inbox(world);
    check_text(world, inbox, 1, "This is text 1.\n");
    close_engine(world);

    g_autofree char *first =
        g_build_filename(world->maildir, "cur", "1700000001.M1P1.test:2,", NULL);
    g_autofree char *second =
        g_build_filename(world->maildir, "cur", "1700000002.M2P1.test:2,S", NULL);
    g_autofree char *answered =
        g_build_filename(world->maildir, "cur", "1700000002.M2P1.test:2,RS", NULL);
    assert_int_equal(unlink(first), 0);
    assert_int_equal(rename(second, answered), 0);
    g_free(deliver(world, "", "F"));

    open_engine(world);
    reader = store_reader(world->store);
    assert_int_equal(store_msg_count(reader, inbox), 3); /* as it was */
    assert_int_equal(list_inbox(world), inbox);
    assert_int_equal(store_msg_count(reader, inbox), 3);
    StoreMsg msg = {0};
    assert_false(store_msg_get(reader, inbox, 1, &msg));
    assert_true(store_msg_get(reader, inbox, 2, &msg));
    assert_string_equal(msg.flags, "\\Seen \\Answered");
    store_msg_clear(&msg);
    assert_true(store_msg_get(reader, inbox, 4, &msg));
    assert_string_equal(msg.flags, "\\Flagged");
    store_msg_clear(&msg);
}

static void test_away_qresync(void **state)
{
    changes_while_away(*state);
}

static void test_away_condstore(void **state)
{
    World *world = *state;
    world->disable[0] = (char *)"QRESYNC";
    changes_while_away(world);
}

static void test_away_plain(void **state)
{
    World *world = *state;
    static const char *const without[] = {"QRESYNC",       "CONDSTORE", "ESEARCH",  "ENABLE",
                                          "LIST-EXTENDED", "LITERAL+",  "NAMESPACE"};
    for (guint i = 0; i < G_N_ELEMENTS(without); i++)
        world->disable[i] = (char *)without[i];
    changes_while_away(world);
}

static void test_mailboxes_come_and_go(void **state)
{
    World *world = *state;
    g_autofree char *work = g_build_filename(world->maildir, "Work", NULL);
    g_autofree char *deep = g_build_filename(world->maildir, "Work", "Deep", NULL);
    make_maildir(world, work);
    make_maildir(world, deep);
    open_engine(world);
    ask_ok(world, &(Need){.kind = NEED_MAILBOXES});
    guint32 work_id = box_id(world, "Work"), deep_id = box_id(world, "Work/Deep");
    assert_int_not_equal(work_id, 0);
    assert_int_not_equal(deep_id, 0);
    StoreBox box = {0};
    assert_true(store_box_by_id(store_reader(world->store), deep_id, &box));
    assert_int_equal(box.parent, work_id);
    store_box_clear(&box);

    remove_tree(deep);
    guint removed = world->told.boxes_removed;
    ask_ok(world, &(Need){.kind = NEED_MAILBOXES});
    assert_int_equal(box_id(world, "Work/Deep"), 0);
    assert_int_equal(world->told.boxes_removed, removed + 1);
    g_autoptr(GError) error = ask(world, &(Need){.kind = NEED_MAILBOX, .box = deep_id});
    assert_true(g_error_matches(error, IMAPFS_ERROR, IMAPFS_ERROR_GONE));
}

/* A mailbox that another client makes when all are known. */
static void make_another(World *world)
{
    g_autofree char *work = g_build_filename(world->maildir, "Work", NULL);
    open_engine(world);
    ask_ok(world, &(Need){.kind = NEED_MAILBOXES});
    world->told.boxes_added = 0;
    make_maildir(world, work);
}

static void test_another_mailbox_is_polled_for(void **state)
{
    World *world = *state;
    world->poll_s = 1;
    make_another(world);
    wait_told(&world->told, &world->told.boxes_added, 1);
    assert_int_not_equal(box_id(world, "Work"), 0);
}

/* The only session has another one selected: STATUS tells. */
static void test_a_mailbox_nobody_watches_is_polled_for(void **state)
{
    World *world = *state;
    world->account.max_connections = 1;
    world->poll_s = 1;
    make_another(world);
    wait_told(&world->told, &world->told.boxes_added, 1);
    guint32 work = box_id(world, "Work");
    ask_ok(world, &(Need){.kind = NEED_MAILBOX, .box = work});
    guint32 inbox = list_inbox(world);
    world->told.added = 0;
    g_free(deliver(world, "Work", ""));
    wait_told(&world->told, &world->told.added, 1);
    assert_int_equal(store_msg_count(store_reader(world->store), work), 1);
    assert_int_equal(store_msg_count(store_reader(world->store), inbox), 3);
}

/* Long before the next poll. */
static void test_another_mailbox_is_asked_for(void **state)
{
    World *world = *state;
    make_another(world);
    engine_kick(world->engine);
    wait_told(&world->told, &world->told.boxes_added, 1);
    assert_int_not_equal(box_id(world, "Work"), 0);
}

static void test_uidvalidity_changes(void **state)
{
    World *world = *state;
    open_engine(world);
    guint32 inbox = list_inbox(world);
    close_engine(world);
    g_autofree char *list = g_build_filename(world->maildir, "dovecot-uidlist", NULL);
    g_autofree char *text = NULL;
    assert_true(g_file_get_contents(list, &text, NULL, NULL));
    char *v = strstr(text, " V");
    assert_non_null(v);
    v[3] = v[3] == '9' ? '8' : (char)(v[3] + 1); /* a digit of the UIDVALIDITY */
    write_file(world, list, text);
    g_autofree char *command = g_strdup_printf("rm -f %s/dovecot.index*", world->maildir);
    assert_int_equal(system(command), 0);

    open_engine(world);
    ask_ok(world, &(Need){.kind = NEED_MAILBOXES});
    g_autoptr(GError) gone = ask(world, &(Need){.kind = NEED_MAILBOX, .box = inbox});
    assert_true(g_error_matches(gone, IMAPFS_ERROR, IMAPFS_ERROR_GONE));
    guint32 now = box_id(world, "INBOX");
    assert_int_not_equal(now, inbox);
    ask_ok(world, &(Need){.kind = NEED_MAILBOX, .box = now});
    assert_int_equal(store_msg_count(store_reader(world->store), now), 3);
    assert_int_equal(store_msg_count(store_reader(world->store), inbox), 0);
}

/* A server that is not there: needs fail at once and truly, what is cached stays readable. */
static void test_no_server(void **state)
{
    World *world = *state;
    open_engine(world);
    guint32 inbox = list_inbox(world);
    check_text(world, inbox, 1, "This is text 1.\n");
    close_engine(world);

    g_free(world->account.target.tunnel);
    world->account.target.tunnel = g_strdup("exit 1");
    open_engine(world);
    g_autoptr(GError) offline = NULL;
    assert_false(engine_wait_online(world->engine, 10000, &offline));
    assert_non_null(offline);
    assert_int_equal(store_msg_count(store_reader(world->store), inbox), 3);
    g_autofree char *text = content_text(world, &(ContentKey){inbox, 1, CONTENT_TEXT, "1"});
    assert_string_equal(text, "This is text 1.\n");
    g_autoptr(GError) error = ask(world, &(Need){.kind = NEED_MAILBOX, .box = inbox});
    assert_non_null(error);
    assert_int_equal(imapfs_error_to_errno(error), ENETUNREACH);
    assert_false(engine_box_fresh(world->engine, inbox));
}

static void test_cancel_and_end(void **state)
{
    World *world = *state;
    g_free(world->account.target.tunnel);
    world->account.target.tunnel = g_strdup("sleep 60"); /* never greets */
    open_engine(world);
    Answer cancelled = {.over = false}, ended = {.over = false};
    Need need = {.kind = NEED_MAILBOXES};
    guint64 handle = engine_want(world->engine, &need, on_answer, &cancelled);
    engine_want(world->engine, &need, on_answer, &ended);
    engine_cancel(world->engine, handle);
    pthread_mutex_lock(&cancelled.lock);
    while (!cancelled.over)
        pthread_cond_wait(&cancelled.done, &cancelled.lock);
    pthread_mutex_unlock(&cancelled.lock);
    assert_true(g_error_matches(cancelled.error, IMAPFS_ERROR, IMAPFS_ERROR_CANCELLED));
    assert_false(ended.over);
    close_engine(world);
    assert_true(ended.over);
    assert_true(g_error_matches(ended.error, IMAPFS_ERROR, IMAPFS_ERROR_CANCELLED));
    g_clear_error(&cancelled.error);
    g_clear_error(&ended.error);
}

int main(void)
{
    if (!world_is_possible())
        return 77;
    log_init(g_getenv("IMAPFS_DEBUG"));
    if (!g_getenv("IMAPFS_DEBUG"))
        log_set_target(LOG_TO_RING_ONLY);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_list_and_read, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_not_there, setup, teardown),
        cmocka_unit_test_setup_teardown(test_changes_by_another_client, setup, teardown),
        cmocka_unit_test_setup_teardown(test_away_qresync, setup, teardown),
        cmocka_unit_test_setup_teardown(test_away_condstore, setup, teardown),
        cmocka_unit_test_setup_teardown(test_away_plain, setup, teardown),
        cmocka_unit_test_setup_teardown(test_mailboxes_come_and_go, setup, teardown),
        cmocka_unit_test_setup_teardown(test_another_mailbox_is_polled_for, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_mailbox_nobody_watches_is_polled_for, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_another_mailbox_is_asked_for, setup, teardown),
        cmocka_unit_test_setup_teardown(test_uidvalidity_changes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_server, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cancel_and_end, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
