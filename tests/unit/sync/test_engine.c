/* The engine against a real Dovecot over a tunnel, whose mail is a Maildir of this test. "Another
 * client" is a file put into, taken from or renamed in that Maildir. */
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include <glib/gstdio.h>

#include "imapfs/base/error.h"
#include "imapfs/base/log.h"
#include "imapfs/sync/engine.h"

#define DOVECOT_IMAP "/usr/lib/dovecot/imap"
#define WAIT_S 20

/* --- what the engine told --- */

typedef struct {
    GMutex lock;
    GCond changed;
    guint added, removed, flags, boxes_added, boxes_removed;
} Told;

static void tell(Told *told, guint *what)
{
    g_mutex_lock(&told->lock);
    (*what)++;
    g_cond_broadcast(&told->changed);
    g_mutex_unlock(&told->lock);
}

static void on_box_added(guint32 parent, guint32 box, const char *leaf, gpointer data)
{
    tell(data, &((Told *)data)->boxes_added);
}
static void on_box_removed(guint32 parent, guint32 box, const char *leaf, gpointer data)
{
    tell(data, &((Told *)data)->boxes_removed);
}
static void on_msg_added(guint32 box, guint32 uid, const char *name, gpointer data)
{
    tell(data, &((Told *)data)->added);
}
static void on_msg_removed(guint32 box, guint32 uid, const char *name, gpointer data)
{
    tell(data, &((Told *)data)->removed);
}
static void on_flags_changed(guint32 box, guint32 uid, gpointer data)
{
    tell(data, &((Told *)data)->flags);
}

static const EngineEvents told_events = {
    .box_added = on_box_added,
    .box_removed = on_box_removed,
    .msg_added = on_msg_added,
    .msg_removed = on_msg_removed,
    .flags_changed = on_flags_changed,
};

static void wait_told(Told *told, const guint *what, guint n)
{
    gint64 until = g_get_monotonic_time() + WAIT_S * G_USEC_PER_SEC;
    g_mutex_lock(&told->lock);
    while (*what < n) {
        if (!g_cond_wait_until(&told->changed, &told->lock, until)) {
            g_mutex_unlock(&told->lock);
            fail_msg("the engine did not tell");
        }
    }
    g_mutex_unlock(&told->lock);
}

/* --- a world: mail, account, store, engine --- */

typedef struct {
    char *dir, *maildir, *state, *cache;
    uid_t uid;
    gid_t gid;
    guint n_delivered;
    Account account;
    Store *store;
    Engine *engine;
    Told told;
    char *disable[8];
} World;

static void write_file(World *world, const char *path, const char *text)
{
    assert_true(g_file_set_contents(path, text, -1, NULL));
    if (getuid() == 0)
        assert_int_equal(chown(path, world->uid, world->gid), 0);
}

static void make_dir(World *world, const char *path)
{
    assert_int_equal(g_mkdir_with_parents(path, 0755), 0);
    if (getuid() == 0)
        assert_int_equal(chown(path, world->uid, world->gid), 0);
}

static void make_maildir(World *world, const char *path)
{
    static const char *const parts[] = {"", "cur", "new", "tmp"};
    for (guint i = 0; i < G_N_ELEMENTS(parts); i++) {
        g_autofree char *sub = g_build_filename(path, parts[i], NULL);
        make_dir(world, sub);
    }
}

/* Delivers a message whose text says its number, into cur/ with Maildir flags. */
static char *deliver(World *world, const char *folder, const char *flags)
{
    guint n = ++world->n_delivered;
    g_autofree char *name = g_strdup_printf("%u.M%uP1.test:2,%s", 1700000000 + n, n, flags);
    char *path = g_build_filename(world->maildir, folder, "cur", name, NULL);
    g_autofree char *text = g_strdup_printf("From: Alice Doe <alice@example.org>\r\n"
                                            "Subject: =?utf-8?q?N=C2=B0?= %u\r\n"
                                            "Message-ID: <%u@example.org>\r\n"
                                            "Content-Type: text/plain; charset=utf-8\r\n"
                                            "\r\n"
                                            "This is text %u.\r\n",
                                            n, n, n);
    write_file(world, path, text);
    return path;
}

static char *tunnel_command(World *world)
{
    g_autofree char *step = getuid() == 0
                                ? g_strdup_printf("setpriv --reuid %u --regid %u --clear-groups ",
                                                  world->uid, world->gid)
                                : g_strdup("");
    return g_strdup_printf("exec %senv HOME=%s USER=test " DOVECOT_IMAP " -c %s/dovecot.conf", step,
                           world->dir, world->dir);
}

static void write_config(World *world)
{
    g_autofree char *path = g_build_filename(world->dir, "dovecot.conf", NULL);
    g_autofree char *text = g_strdup_printf("base_dir = %s/run\n"
                                            "state_dir = %s/run\n"
                                            "log_path = %s/dovecot.log\n"
                                            "stats_writer_socket_path =\n"
                                            "ssl = no\n"
                                            "mail_location = maildir:%s:LAYOUT=fs\n"
                                            "first_valid_uid = 0\n"
                                            "mailbox_list_index = no\n"
                                            "namespace inbox {\n"
                                            "  inbox = yes\n"
                                            "  separator = /\n"
                                            "}\n",
                                            world->dir, world->dir, world->dir, world->maildir);
    write_file(world, path, text);
}

static void open_engine(World *world)
{
    StoreConfig store_config = {.state_dir = world->state,
                                .cache_dir = world->cache,
                                .cache_size = 1 << 24,
                                .account = "test"};
    GError *error = NULL;
    world->store = store_open(&store_config, &error);
    assert_null(error);
    assert_non_null(world->store);
    EngineConfig config = {.account = &world->account,
                           .store = world->store,
                           .timeout_ms = WAIT_S * 1000,
                           .fresh_ms = 10000,
                           .poll_s = 60,
                           .events = told_events,
                           .events_data = &world->told};
    world->engine = engine_new(&config, &error);
    assert_non_null(world->engine);
}

static void close_engine(World *world)
{
    g_clear_pointer(&world->engine, engine_free);
    g_clear_pointer(&world->store, store_close);
}

static int setup(void **state)
{
    if (access(DOVECOT_IMAP, X_OK) != 0)
        return -1;
    World *world = g_new0(World, 1);
    struct passwd *nobody = getpwnam("nobody");
    world->uid = getuid() == 0 && nobody ? nobody->pw_uid : getuid();
    world->gid = getuid() == 0 && nobody ? nobody->pw_gid : getgid();
    world->dir = g_dir_make_tmp("imapfs-engine-XXXXXX", NULL);
    assert_int_equal(chmod(world->dir, 0755), 0);
    make_dir(world, world->dir);
    world->maildir = g_build_filename(world->dir, "mail", NULL);
    world->state = g_build_filename(world->dir, "state", NULL);
    world->cache = g_build_filename(world->dir, "cache", NULL);
    make_maildir(world, world->maildir);
    for (guint i = 0; i < 3; i++)
        g_free(deliver(world, "", i == 1 ? "S" : ""));
    write_config(world);
    world->account = (Account){.name = g_strdup("test"),
                               .user = g_strdup("test"),
                               .target = {.security = NET_TUNNEL, .tunnel = tunnel_command(world)},
                               .timeout_ms = 10000,
                               .max_connections = 3,
                               .trace_fd = -1,
                               .disable = world->disable};
    *state = world;
    return 0;
}

static void remove_tree(const char *path)
{
    g_autofree char *quoted = g_shell_quote(path);
    g_autofree char *command = g_strdup_printf("rm -rf %s", quoted);
    assert_int_equal(system(command), 0);
}

static int teardown(void **state)
{
    World *world = *state;
    if (!world)
        return 0;
    close_engine(world);
    remove_tree(world->dir);
    g_free(world->account.name);
    g_free(world->account.user);
    g_free(world->account.target.tunnel);
    g_free(world->dir);
    g_free(world->maildir);
    g_free(world->state);
    g_free(world->cache);
    g_free(world);
    return 0;
}

/* --- asking --- */

typedef struct {
    GMutex lock;
    GCond done;
    bool over;
    GError *error;
} Answer;

static void on_answer(const GError *error, gpointer data)
{
    Answer *answer = data;
    g_mutex_lock(&answer->lock);
    assert_false(answer->over); /* exactly once */
    answer->over = true;
    answer->error = error ? g_error_copy(error) : NULL;
    g_cond_signal(&answer->done);
    g_mutex_unlock(&answer->lock);
}

static GError *ask(World *world, const Need *need)
{
    Answer answer = {.over = false};
    gint64 until = g_get_monotonic_time() + 2 * WAIT_S * G_USEC_PER_SEC;
    engine_want(world->engine, need, on_answer, &answer);
    g_mutex_lock(&answer.lock);
    while (!answer.over)
        assert_true(g_cond_wait_until(&answer.done, &answer.lock, until));
    g_mutex_unlock(&answer.lock);
    return answer.error;
}

static void ask_ok(World *world, const Need *need)
{
    g_autoptr(GError) error = ask(world, need);
    if (error)
        fail_msg("%s", error->message);
}

static guint32 box_id(World *world, const char *name)
{
    StoreBox box = {0};
    if (!store_box_by_name(store_reader(world->store), name, &box))
        return 0;
    guint32 id = box.id;
    store_box_clear(&box);
    return id;
}

static guint32 list_inbox(World *world)
{
    ask_ok(world, &(Need){.kind = NEED_MAILBOXES});
    guint32 inbox = box_id(world, "INBOX");
    assert_int_not_equal(inbox, 0);
    ask_ok(world, &(Need){.kind = NEED_MAILBOX, .box = inbox});
    return inbox;
}

static char *content_text(World *world, const ContentKey *key)
{
    g_autoptr(Content) content = content_open(store_reader(world->store), key);
    if (!content)
        return NULL;
    char *text = g_malloc0(content_size(content) + 1);
    assert_int_equal(content_read(content, text, content_size(content), 0, NULL),
                     content_size(content));
    return text;
}

static void check_text(World *world, guint32 box, guint32 uid, const char *want)
{
    Need need = {.kind = NEED_CONTENT,
                 .box = box,
                 .uid = uid,
                 .content = CONTENT_TEXT,
                 .section = (char *)"1",
                 .encoding = (char *)"7bit",
                 .charset = (char *)"utf-8",
                 .encoded_size = -1};
    ask_ok(world, &need);
    g_autofree char *text = content_text(world, &(ContentKey){box, uid, CONTENT_TEXT, "1"});
    assert_string_equal(text, want);
}

/* --- tests --- */

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
    g_mutex_lock(&cancelled.lock);
    while (!cancelled.over)
        g_cond_wait(&cancelled.done, &cancelled.lock);
    g_mutex_unlock(&cancelled.lock);
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
    if (access(DOVECOT_IMAP, X_OK) != 0)
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
        cmocka_unit_test_setup_teardown(test_uidvalidity_changes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_server, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cancel_and_end, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
