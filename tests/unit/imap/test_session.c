/* test_session.c - what transcripts cannot show: secrets, connecting, real time, the tables. */
#include "../net/net_test.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "imapfs/imap/session.h"

typedef struct {
    bool ready, failed, ended;
    ImapfsError code;
} Told;

static void on_ready(Session *session, const GError *error, gpointer data)
{
    Told *told = data;
    told->ready = !error;
    told->failed = error != NULL;
    told->code = error ? (ImapfsError)error->code : IMAPFS_N_ERRORS;
}

static void on_end(Session *session, const GError *error, gpointer data)
{
    ((Told *)data)->ended = true;
}

static const SessionEvents events = {.on_ready = on_ready, .on_end = on_end};

#define PASSWORD "s3cr\"et-hunter2"

static Secret *password(gpointer data, bool retry, GError **error)
{
    return secret_new(PASSWORD, strlen(PASSWORD));
}

static Account account(NetSecurity security)
{
    return (Account){.name = (char *)"test",
                     .user = (char *)"alice",
                     .target = {.security = security},
                     .password = password,
                     .timeout_ms = 20000,
                     .trace_fd = -1};
}

static void say(Stream *server, const char *text)
{
    gsize n;
    assert_int_equal(stream_write(server, text, strlen(text), &n, NULL), STREAM_OK);
    assert_int_equal(n, strlen(text));
}

/* Reads until the client's words contain these. */
static void await_words(Stream *server, GString *got, const char *words)
{
    gint64 until = g_get_monotonic_time() + PATIENCE_S * G_USEC_PER_SEC;
    while (!strstr(got->str, words)) {
        char bytes[1000];
        gsize n;
        while (g_main_context_iteration(NULL, FALSE))
            ;
        while (stream_read(server, bytes, sizeof bytes, &n, NULL) == STREAM_OK)
            g_string_append_len(got, bytes, (gssize)n);
        if (g_get_monotonic_time() > until)
            fail_msg("waited in vain for %s in %s", words, got->str);
        g_usleep(100);
    }
}

/* --- secrets --- */

static const struct {
    const char *name, *greeting, *first, *answer, *second;
} logins[] = {
    {"LOGIN", "* OK [CAPABILITY IMAP4rev1] hi\r\n", "hunter2\"\r\n", NULL, NULL},
    {"PLAIN in one line", "* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] hi\r\n",
     "AUTHENTICATE PLAIN ", NULL, NULL},
    {"PLAIN in two", "* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hi\r\n", "AUTHENTICATE PLAIN\r\n",
     "+ \r\n", "\r\n"},
};

static void assert_hidden(const char *text, const char *where)
{
    g_autofree char *base64 =
        g_base64_encode((const guint8 *)"\0alice\0" PASSWORD, 7 + strlen(PASSWORD));
    const char *const forms[] = {PASSWORD, "s3cr\\\"et-hunter2", "hunter2", base64};
    for (gsize i = 0; i < G_N_ELEMENTS(forms); i++)
        if (strstr(text, forms[i]))
            fail_msg("%s shows the password: %s", where, text);
}

static void test_secrets(void **state)
{
    log_init("all");
    for (gsize i = 0; i < G_N_ELEMENTS(logins); i++) {
        Account me = account(NET_TLS);
        Told told = {0};
        Stream *client, *server;
        g_autofree char *path = NULL, *trace = NULL;
        g_autoptr(GString) got = g_string_new(NULL);
        me.trace_fd = g_file_open_tmp("imapfs-trace-XXXXXX", &path, NULL);
        memory_stream_pair(&client, &server);
        memory_stream_set_secure(client, true);
        Session *session = session_new_on_stream(&me, client, &events, &told);
        say(server, logins[i].greeting);
        await_words(server, got, logins[i].first);
        if (logins[i].answer) {
            g_string_truncate(got, 0);
            say(server, logins[i].answer);
            await_words(server, got, logins[i].second);
        }
        say(server, "A1 OK [CAPABILITY IMAP4rev1] in\r\n");
        run_until(told.ready);
        session_free(session);
        stream_free(server);
        close(me.trace_fd);
        assert_true(g_file_get_contents(path, &trace, NULL, NULL));
        g_unlink(path);
        g_autofree char *log = log_ring_dup(NULL);
        assert_non_null(strstr(trace, "<secret>"));
        assert_non_null(strstr(trace, "S: A1 OK"));
        assert_hidden(trace, "the trace");
        assert_hidden(log, "the log");
    }
    log_init(NULL);
}

/* --- connecting --- */

/* A port that nobody listens on. */
static guint16 closed_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    close(fd);
    return ntohs(address.sin_port);
}

static void test_refused(void **state)
{
    Account me = account(NET_TLS);
    Told told = {0};
    me.target.host = (char *)"127.0.0.1";
    me.target.port = closed_port();
    Session *session = session_new(&me, &events, &told);
    assert_false(told.failed); /* not from inside the call */
    run_until(told.ended);
    assert_true(told.failed);
    assert_int_equal(told.code, IMAPFS_ERROR_OFFLINE);
    session_free(session);
}

static void test_freed_while_connecting(void **state)
{
    Account me = account(NET_TLS);
    Told told = {0};
    me.target.host = (char *)"127.0.0.1";
    me.target.port = closed_port();
    session_free(session_new(&me, &events, &told));
    Session *session = session_new(&me, &events, &told);
    session_close(session);
    run_until(told.ended);
    assert_int_equal(told.code, IMAPFS_ERROR_CANCELLED);
    session_free(session);
    run_ready(1000);
}

static void test_tunnel_that_fails(void **state)
{
    Account me = account(NET_TUNNEL);
    Told told = {0};
    me.target.tunnel = (char *)"exit 3";
    Session *session = session_new(&me, &events, &told);
    run_until(told.ended);
    assert_true(told.failed);
    assert_int_equal(told.code, IMAPFS_ERROR_OFFLINE);
    session_free(session);
}

/* --- the real clock --- */

/* That timers are armed at all; the transcripts move a fake clock and call the session themselves.
 */
static void test_real_time(void **state)
{
    Account me = account(NET_TLS);
    Told told = {0};
    Stream *client, *server;
    g_autoptr(GString) got = g_string_new(NULL);
    me.timeout_ms = 50;
    memory_stream_pair(&client, &server);
    memory_stream_set_secure(client, true);
    Session *session = session_new_on_stream(&me, client, &events, &told);
    say(server, "* PREAUTH [CAPABILITY IMAP4rev1 IDLE] in\r\n");
    run_until(told.ready);
    session_set_idle(session, true, 10);
    session_select(session, &(SelectParams){.mailbox = "INBOX"});
    await_words(server, got, "A1 SELECT \"INBOX\"\r\n");
    say(server, "* 1 EXISTS\r\nA1 OK in\r\n");
    await_words(server, got, "A2 IDLE\r\n");
    run_until(told.ended); /* the "+" never comes */
    session_free(session);
    stream_free(server);
}

/* --- tables --- */

static const struct {
    const char *words;
    const char *disable;
    Capability cap;
    bool want;
    guint64 append_limit;
} capabilities[] = {
    {"IMAP4rev1 IDLE", NULL, CAP_IDLE, true, 0},
    {"imap4REV1 idle", NULL, CAP_IDLE, true, 0},
    {"IMAP4rev1 IDLEX XIDLE", NULL, CAP_IDLE, false, 0},
    {"IMAP4rev1 IDLE", "idle", CAP_IDLE, false, 0},
    {"IMAP4rev1 X-GM-EXT-1", NULL, CAP_GMAIL, true, 0},
    {"IMAP4rev1 APPENDLIMIT=35651584", NULL, CAP_APPENDLIMIT, true, 35651584},
    {"IMAP4rev1 APPENDLIMIT", NULL, CAP_APPENDLIMIT, true, 0},
    {"IMAP4rev1 APPENDLIMIT=-1", NULL, CAP_APPENDLIMIT, true, 0},
    {"IMAP4rev1 APPENDLIMIT=99999999999999999999999", NULL, CAP_APPENDLIMIT, true, 0},
    {"IMAP4rev2", NULL, CAP_UIDPLUS, true, 0},
    {"IMAP4rev2", "UIDPLUS", CAP_UIDPLUS, false, 0},
    {"IMAP4rev1 IMAP4rev2", NULL, CAP_UIDPLUS, false, 0},
    {"IMAP4rev2", NULL, CAP_CONDSTORE, false, 0},
};

static void test_capabilities(void **state)
{
    for (gsize i = 0; i < G_N_ELEMENTS(capabilities); i++) {
        Account me = account(NET_TLS);
        Told told = {0};
        Stream *client, *server;
        char *disable[] = {(char *)capabilities[i].disable, NULL};
        g_autofree char *greeting =
            g_strdup_printf("* PREAUTH [CAPABILITY %s] in\r\n", capabilities[i].words);
        me.disable = disable;
        memory_stream_pair(&client, &server);
        memory_stream_set_secure(client, true);
        Session *session = session_new_on_stream(&me, client, &events, &told);
        say(server, greeting);
        run_ready(100);
        const ServerInfo *info = session_server(session);
        if (server_can(info, capabilities[i].cap) != capabilities[i].want ||
            info->append_limit != capabilities[i].append_limit)
            fail_msg("%s: %s", capabilities[i].words, capability_name(capabilities[i].cap));
        session_free(session);
        stream_free(server);
    }
    run_ready(100);
}

static void test_names(void **state)
{
    assert_string_equal(capability_name(CAP_LITERAL_PLUS), "LITERAL+");
    assert_string_equal(capability_name(CAP_N), "?");
    assert_string_equal(quirk_name(QUIRK_ID_NIL), "ID_NIL");
    assert_string_equal(quirk_name(QUIRK_N), "?");
    assert_string_equal(session_state_name(SESSION_READY), "READY");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_secrets),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_freed_while_connecting),
        cmocka_unit_test(test_tunnel_that_fails),
        cmocka_unit_test(test_real_time),
        cmocka_unit_test(test_capabilities),
        cmocka_unit_test(test_names),
    };
    log_set_target(LOG_TO_RING_ONLY);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
