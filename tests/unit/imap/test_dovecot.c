/* test_dovecot.c - a session and a pool with a real server at the other end of a tunnel: Dovecot's
 * imap process, which needs no daemon and no set-up. Skipped where it is not installed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#include "imapfs/base/error.h"
#include "imapfs/base/log.h"
#include "imapfs/imap/session.h"

#define DOVECOT_IMAP "/usr/lib/dovecot/imap"
#define PATIENCE_S 30
#define NOBODY 65534

typedef struct {
    char *dir;
    Account account;
    GMainContext *context;
} Home;

/* One connection and what it was told. */
typedef struct {
    Home *home;
    Session *session;
    GString *log;
    bool ready, ended;
    guint32 uidvalidity;
    guint64 modseq;
} Client;

G_GNUC_PRINTF(2, 3) static void note(Client *client, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_string_append_vprintf(client->log, format, args);
    va_end(args);
    g_string_append_c(client->log, '\n');
}

static void on_ready(Session *session, const GError *error, gpointer data)
{
    Client *client = data;
    client->ready = !error;
    if (error)
        note(client, "not ready: %s", error->message);
}

static void on_selected(Session *session, const char *mailbox, const SelectResult *result,
                        const GError *error, gpointer data)
{
    Client *client = data;
    if (result) {
        client->uidvalidity = result->uidvalidity;
        client->modseq = result->highestmodseq;
    }
    if (result)
        note(client, "selected %s exists=%u%s%s", mailbox, result->exists,
             result->highestmodseq ? " modseq" : "", result->qresync ? " qresync" : "");
    else
        note(client, "not selected: %s", error->message);
}

static void on_untagged(Session *session, const char *mailbox, Response *response, gpointer data)
{
    g_autoptr(GString) uids = g_string_new(NULL);
    if (response->uids)
        uidset_print(response->uids, uids);
    note(data, "untagged %s %s %u %s", mailbox ? mailbox : "-", response_kind_name(response->kind),
         (guint)response->number, uids->str);
}

static void on_end(Session *session, const GError *error, gpointer data)
{
    Client *client = data;
    client->ended = true;
    note(client, "end %s", error ? error->message : "");
}

static void client_open(Home *home, Client *client)
{
    static const SessionEvents events = {on_ready, on_selected, on_untagged, on_end};
    client->home = home;
    client->log = g_string_new(NULL);
    client->session = session_new(&home->account, &events, client);
}

static gboolean on_over(gpointer data)
{
    *(bool *)data = true;
    return G_SOURCE_REMOVE;
}

/* Until this line stands in the log, which is then emptied up to it. */
static void await(Client *client, const char *words)
{
    bool over = false;
    char *found = NULL;
    GSource *timer = g_timeout_source_new_seconds(PATIENCE_S);
    g_source_set_callback(timer, on_over, &over, NULL);
    g_source_attach(timer, client->home->context);
    while (!over && !(found = strstr(client->log->str, words)) && !(client->ended && !found))
        g_main_context_iteration(client->home->context, TRUE);
    g_source_destroy(timer);
    g_source_unref(timer);
    if (!found)
        fail_msg("waited in vain for \"%s\"; told: %s", words, client->log->str);
    g_string_erase(client->log, 0, found - client->log->str + (gssize)strlen(words));
}

static void await_ready(Client *client)
{
    while (!client->ready && !client->ended)
        g_main_context_iteration(client->home->context, TRUE);
    if (!client->ready)
        fail_msg("%s", client->log->str);
}

static void client_close(Client *client)
{
    session_close(client->session);
    while (!client->ended)
        g_main_context_iteration(client->home->context, TRUE);
    session_free(client->session);
    g_string_free(client->log, TRUE);
}

static bool on_data(Command *command, Response *response, gpointer data)
{
    if (response->kind == RESP_LIST)
        note(data, "list %s", response->list->name);
    for (guint i = 0;
         response->fetch && response->fetch->bodies && i < response->fetch->bodies->len; i++) {
        const FetchBody *body = response->fetch->bodies->pdata[i];
        gsize length = 0;
        const char *bytes = g_bytes_get_data(body->bytes, &length);
        note(data, "body uid=%u %.*s", response->fetch->uid, (int)length, bytes);
    }
    return true;
}

static void on_done(Command *command, CommandResult result, const Response *tagged, gpointer data)
{
    note(data, "done %s", result == COMMAND_OK ? "OK" : tagged ? tagged->text : "LOST");
}

static void submit(Client *client, const char *text, const char *literal)
{
    Command *command = command_new(LANE_FOREGROUND, on_done, client);
    command->on_untagged = on_data;
    command->wants = 1ull << RESP_LIST | (strstr(text, "BODY") ? 1ull << RESP_FETCH : 0);
    command_text_add(command->text, "%s", text);
    if (literal) {
        g_autoptr(GBytes) bytes = g_bytes_new(literal, strlen(literal));
        command_text_add_literal(command->text, bytes);
    }
    session_submit(client->session, command);
}

/* --- the home --- */

static char *make_tunnel(const char *dir)
{
    g_autofree char *imap = g_strdup_printf("HOME=%s USER=nobody exec " DOVECOT_IMAP
                                            " -o mail_location=maildir:%s/Maildir "
                                            "-o stats_writer_socket_path= -o first_valid_uid=0",
                                            dir, dir);
    if (geteuid() != 0)
        return g_steal_pointer(&imap);
    /* It refuses to be root. */
    return g_strdup_printf("exec setpriv --reuid %d --regid %d --clear-groups sh -c '%s'", NOBODY,
                           NOBODY, imap);
}

static int set_up(void **state)
{
    Home *home = g_new0(Home, 1);
    home->dir = g_dir_make_tmp("imapfs-dovecot-XXXXXX", NULL);
    if (geteuid() == 0 && chown(home->dir, NOBODY, NOBODY) != 0)
        return -1;
    home->context = g_main_context_new();
    g_main_context_push_thread_default(home->context);
    home->account = (Account){
        .name = (char *)"test",
        .user = (char *)"alice",
        .target = {.security = NET_TUNNEL, .tunnel = make_tunnel(home->dir)},
        .timeout_ms = 20000,
        .max_connections = 2,
        .trace_fd = -1,
    };
    *state = home;
    return 0;
}

static void remove_tree(const char *path)
{
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    const char *name;
    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *child = g_build_filename(path, name, NULL);
        remove_tree(child);
    }
    g_remove(path);
}

static int tear_down(void **state)
{
    Home *home = *state;
    g_main_context_pop_thread_default(home->context);
    g_main_context_unref(home->context);
    remove_tree(home->dir);
    g_free(home->account.target.tunnel);
    g_free(home->dir);
    g_free(home);
    return 0;
}

/* --- tests --- */

#define MESSAGE(subject) "Subject: " subject "\r\n\r\nbody of " subject "\r\n"

static void test_session(void **state)
{
    Home *home = *state;
    Client here = {0}, there = {0};
    client_open(home, &here);
    client_open(home, &there);
    await_ready(&here);
    await_ready(&there);
    assert_true(server_can(session_server(here.session), CAP_QRESYNC));
    assert_true(session_qresync(here.session));
    assert_string_equal(session_server(here.session)->server_name, "Dovecot");

    submit(&here, "LIST \"\" *", NULL);
    await(&here, "list INBOX");
    await(&here, "done OK");
    submit(&here, "APPEND INBOX ", MESSAGE("one"));
    submit(&here, "APPEND INBOX ", MESSAGE("two"));
    await(&here, "done OK");
    await(&here, "done OK");

    SelectParams params = {.mailbox = "INBOX"};
    session_select(here.session, &params);
    submit(&here, "UID FETCH 1:2 (BODY.PEEK[1])", NULL);
    await(&here, "selected INBOX exists=2 modseq\n");
    await(&here, "body uid=1 body of one\r\n");
    await(&here, "body uid=2 body of two\r\n");
    await(&here, "done OK");

    /* News comes by IDLE, from what another connection does. */
    session_set_idle(here.session, true, 0);
    submit(&there, "APPEND INBOX ", MESSAGE("three"));
    await(&here, "untagged INBOX EXISTS 3");
    session_select(there.session, &params);
    submit(&there, "UID STORE 2 +FLAGS.SILENT (\\Deleted)", NULL);
    await(&here, "untagged INBOX FETCH");
    submit(&there, "UID EXPUNGE 2", NULL);
    await(&here, "untagged INBOX VANISHED 0 2");

    /* IDLE is left for a command, and entered again. */
    submit(&here, "UID FETCH 3 (BODY.PEEK[1])", NULL);
    await(&here, "body uid=3 body of three\r\n");
    submit(&there, "APPEND INBOX ", MESSAGE("four"));
    await(&here, "untagged INBOX EXISTS 3");

    session_unselect(here.session);
    submit(&here, "NOOP", NULL);
    await(&here, "done OK");
    params.mailbox = "No such mailbox";
    session_select(here.session, &params);
    await(&here, "not selected: No such mailbox: ");
    client_close(&here);
    client_close(&there);
}

/* What changed while another mailbox was selected comes with the SELECT, behind [CLOSED]. */
static void test_qresync(void **state)
{
    Home *home = *state;
    Client client = {0};
    client_open(home, &client);
    await_ready(&client);
    submit(&client, "CREATE Box", NULL);
    submit(&client, "APPEND Box ", MESSAGE("one"));
    submit(&client, "APPEND Box ", MESSAGE("two"));
    SelectParams params = {.mailbox = "Box"};
    session_select(client.session, &params);
    await(&client, "selected Box exists=2 modseq\n");
    SelectParams later = {
        .mailbox = "Box", .uidvalidity = client.uidvalidity, .modseq = client.modseq};
    submit(&client, "UID STORE 1 +FLAGS.SILENT (\\Deleted)", NULL);
    submit(&client, "UID EXPUNGE 1", NULL);
    submit(&client, "UID STORE 2 +FLAGS.SILENT (\\Flagged)", NULL);
    params.mailbox = "INBOX";
    session_select(client.session, &params);
    session_select(client.session, &later);
    await(&client, "selected INBOX");
    await(&client, "untagged Box EXISTS 1");
    await(&client, "untagged Box VANISHED 0 1\n");
    await(&client, "untagged Box FETCH");
    await(&client, "selected Box exists=1 modseq qresync\n");
    client_close(&client);
}

static void test_compressed(void **state)
{
    Home *home = *state;
    Client client = {0};
    g_autofree char *plain = home->account.target.tunnel;
    g_autoptr(GString) zlib = g_string_new(plain);
    g_string_replace(zlib, "-o first_valid_uid=0", "-o first_valid_uid=0 -o mail_plugins=imap_zlib",
                     1);
    home->account.target.tunnel = g_strdup(zlib->str);
    home->account.compress = COMPRESS_YES;
    client_open(home, &client);
    await_ready(&client);
    if (!server_can(session_server(client.session), CAP_COMPRESS_DEFLATE)) {
        client_close(&client);
        skip();
    }
    submit(&client, "APPEND INBOX ", MESSAGE("one"));
    SelectParams params = {.mailbox = "INBOX"};
    session_select(client.session, &params);
    submit(&client, "UID FETCH 1 (BODY.PEEK[1])", NULL);
    await(&client, "body uid=1 body of one\r\n");
    guint64 in = 0, out = 0;
    session_counters(client.session, &in, &out);
    assert_true(in > 0 && out > 0);
    client_close(&client);
}

static void test_says_goodbye(void **state)
{
    Home *home = *state;
    Client client = {0};
    client_open(home, &client);
    await_ready(&client);
    submit(&client, "XKILL", NULL);
    await(&client, "done "); /* BAD */
    submit(&client, "LOGOUT", NULL);
    await(&client, "end ");
    session_free(client.session);
    g_string_free(client.log, TRUE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_session, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_qresync, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_compressed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_says_goodbye, set_up, tear_down),
    };
    if (access(DOVECOT_IMAP, X_OK) != 0)
        return 77;
    log_init(g_getenv("IMAPFS_DEBUG"));
    log_set_target(g_getenv("IMAPFS_DEBUG") ? LOG_TO_STDERR : LOG_TO_RING_ONLY);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
