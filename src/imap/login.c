/* login.c - from the greeting to READY, in as few round trips as is safe.
 *
 * The one rule: no credential, and no belief in anything the server says, before stream_is_secure()
 * (RFC 8314, RFC 9051 11.1; "NO STARTTLS", USENIX Security 2021). What was said in clear is thrown
 * away when TLS starts, and a byte that came too early ends the session. */
#include "session_impl.h"

#include <string.h>

#include "imapfs/base/version.h"

static void ask_capabilities(Session *session);
static void authenticate(Session *session);
static void after_login(Session *session);
static void enable_and_id(Session *session);

static void submit(Session *session, const char *text, CommandDone done, bool alone)
{
    Command *command = session_command(session, done, "%s", text);
    command->alone = alone;
    queue_submit_internal(session, command);
}

void login_set_capabilities(Session *session, const GPtrArray *words)
{
    server_info_set_capabilities(&session->server, words, session->account->disable);
    session->login.have_capabilities = true;
}

void login_clear(Session *session)
{
    Login *login = &session->login;
    g_clear_pointer(&login->password, password_job_abandon);
    g_clear_pointer(&login->response, secret_unref);
    g_clear_pointer(&login->refused, g_free);
    login->authenticate = NULL;
}

/* --- the greeting --- */

static bool is_greeting(const Response *response)
{
    return !response->tag && (response->kind == RESP_OK || response->kind == RESP_PREAUTH ||
                              response->kind == RESP_BYE);
}

static void start_tls(Session *session);

static void begin_login(Session *session, bool preauth)
{
    if (!stream_is_secure(session->stream)) {
        if (preauth)
            session_fail(session, G_ERRORF(TLS, "the server greets with PREAUTH in clear, which "
                                                "would leave the connection without TLS"));
        else
            start_tls(session);
    } else if (preauth) {
        after_login(session);
    } else if (session->login.have_capabilities) {
        authenticate(session);
    } else {
        ask_capabilities(session);
    }
}

/* Its words stand for the server's name until ID tells a better one. */
static void note_greeting_name(Session *session, const Response *response)
{
    if (!response->text || !*response->text)
        return;
    g_free(session->server.server_name);
    session->server.server_name = log_printable(response->text, strlen(response->text), 60);
}

void login_on_greeting(Session *session, const Response *response)
{
    if (!is_greeting(response)) {
        session_violation(session, "that is no greeting");
        return;
    }
    session->greeting_us = 0;
    if (response->kind == RESP_BYE) {
        g_autofree char *text = session_text(session, response);
        session_fail(session, G_ERRORF(OFFLINE, "the server does not let us in: %s", text));
        return;
    }
    session_set_state(session, SESSION_LOGIN);
    server_info_note_quirks(&session->server, QUIRK_FROM_GREETING, response->text);
    note_greeting_name(session, response);
    if (response->code == CODE_CAPABILITY && response->words)
        login_set_capabilities(session, response->words);
    begin_login(session, response->kind == RESP_PREAUTH);
}

/* --- STARTTLS (RFC 9051 6.2.1) --- */

/* Nothing of the clear phase survives: capabilities, quirks, the reader with what it holds. */
static void forget_clear_phase(Session *session)
{
    reader_free(session->reader);
    session->reader = reader_new();
    server_info_clear(&session->server);
    server_info_note_quirks(&session->server, QUIRK_FROM_HOST, session->account->target.host);
    session->login.have_capabilities = false;
    session->login.spoken = false;
}

/* Until our ClientHello the server has nothing to say; TLS would also stumble over it, but may wait
 * for more of it first. */
static bool has_early_bytes(Session *session)
{
    guint8 byte;
    gsize n = 0;
    return reader_pending(session->reader) > 0 ||
           stream_read(session->stream, &byte, 1, &n, NULL) == STREAM_OK;
}

static void starttls_done(Command *command, CommandResult result, const Response *tagged,
                          gpointer data)
{
    Session *session = data;
    GError *error = NULL;
    if (result == COMMAND_LOST)
        return;
    if (result != COMMAND_OK) {
        session_fail(session, G_ERRORF(TLS, "the server refuses STARTTLS"));
        return;
    }
    if (has_early_bytes(session)) {
        session_fail(session, G_ERRORF(TLS, "bytes came between the answer to STARTTLS and TLS: "
                                            "somebody may be tampering"));
        return;
    }
    const NetTarget *target = &session->account->target;
    Stream *tls = tls_stream_new(session->stream, target->host, &target->tls, &error);
    session->stream = NULL;
    if (!tls) {
        session_fail(session, error);
        return;
    }
    if (session->account->trace_fd >= 0)
        tls = trace_stream_new(tls, session->account->trace_fd);
    session_use_stream(session, tls);
    forget_clear_phase(session);
    ask_capabilities(session);
}

/* Whether it is offered is asked only where the greeting says so already: the list is in clear and
 * proves nothing, and a server without STARTTLS answers BAD. */
static void start_tls(Session *session)
{
    if (session->account->target.security != NET_STARTTLS) {
        session_fail(session, G_ERRORF(TLS, "the connection is not secure"));
        return;
    }
    if (session->login.have_capabilities && !server_can(&session->server, CAP_STARTTLS)) {
        session_fail(session, G_ERRORF(TLS, "the server offers no STARTTLS; try port 993"));
        return;
    }
    session->login.starting_tls = true;
    submit(session, "STARTTLS", starttls_done, true);
}

/* --- CAPABILITY --- */

static void capability_done(Command *command, CommandResult result, const Response *tagged,
                            gpointer data)
{
    Session *session = data;
    if (result == COMMAND_LOST)
        return;
    if (result != COMMAND_OK || !session->login.have_capabilities) {
        session_violation(session, "no answer to CAPABILITY");
        return;
    }
    if (session->login.authenticated)
        enable_and_id(session);
    else
        authenticate(session);
}

static void ask_capabilities(Session *session)
{
    submit(session, "CAPABILITY", capability_done, true);
}

/* --- authentication --- */

static ImapfsError refusal(ResponseCode code)
{
    switch (code) {
    case CODE_UNAVAILABLE: /* RFC 5530: the directory is down; the password may be right */
    case CODE_INUSE:
    case CODE_LIMIT:
    case CODE_SERVERBUG:
        return IMAPFS_ERROR_OFFLINE;
    case CODE_PRIVACYREQUIRED:
        return IMAPFS_ERROR_TLS;
    default:
        return IMAPFS_ERROR_AUTH;
    }
}

static void login_done(Command *command, CommandResult result, const Response *tagged,
                       gpointer data)
{
    Session *session = data;
    session->login.authenticate = NULL;
    g_clear_pointer(&session->login.response, secret_unref);
    if (result == COMMAND_LOST)
        return;
    if (result != COMMAND_OK) {
        g_autofree char *text = session_text(session, tagged);
        const char *why = session->login.refused;
        session_fail(session, g_error_new(IMAPFS_ERROR, refusal(tagged->code),
                                          "the server refused the login: %s%s%s%s", text,
                                          why ? " (" : "", why ? why : "", why ? ")" : ""));
        return;
    }
    if (tagged->code == CODE_CAPABILITY && tagged->words)
        login_set_capabilities(session, tagged->words);
    after_login(session);
}

/* What AUTHENTICATE and LOGIN send must not be sent unless TLS is up: asked here, once more, as
 * this is the only place that makes such a command. */
static void send_credentials(Session *session, Command *command)
{
    if (!stream_is_secure(session->stream)) {
        queue_finish_command(session, command, COMMAND_LOST, NULL);
        session_fail(session, G_ERRORF(TLS, "the connection is not secure"));
        return;
    }
    session->login.have_capabilities = false; /* those after the login are others */
    command->alone = true;
    queue_submit_internal(session, command);
}

#define MAX_INITIAL_RESPONSE 1000u /* longer ones go in a line of their own */

/* SASL-IR (RFC 4959) saves a round trip. */
static void send_authenticate(Session *session, const char *mechanism, Secret *response)
{
    Command *command = session_command(session, login_done, "AUTHENTICATE %s", mechanism);
    gsize length = 0;
    secret_bytes(response, &length);
    if (server_can(&session->server, CAP_SASL_IR) && length <= MAX_INITIAL_RESPONSE) {
        command_text_add(command->text, " ");
        command_text_add_secret(command->text, response, true);
    } else {
        session->login.response = secret_ref(response);
    }
    session->login.authenticate = command;
    send_credentials(session, command);
}

static void send_response(Session *session)
{
    Login *login = &session->login;
    gsize length = 0;
    const char *bytes = secret_bytes(login->response, &length);
    if (length == 1 && *bytes == '=') /* empty; spelt so only in an initial response */
        length = 0;
    outbox_add_secret_line(session->queue.outbox, bytes, length);
    g_clear_pointer(&login->response, secret_unref);
}

/* A token is refused in two steps: why, as JSON, and when that is acknowledged NO (RFC 7628 3.2.2
 * and 3.2.3). Of the JSON only the status is of use to anybody. */
static void dismiss(Session *session, const Response *response)
{
    static const char pattern[] = "\"status\"\\s*:\\s*\"([A-Za-z0-9_.-]{1,40})\"";
    Login *login = &session->login;
    gsize length = 0;
    g_autofree guchar *bytes = g_base64_decode(response->text ? response->text : "", &length);
    g_autofree char *text = g_strndup((const char *)bytes, length);
    g_autoptr(GRegex) regex = g_regex_new(pattern, G_REGEX_RAW, 0, NULL);
    g_autoptr(GMatchInfo) match = NULL;
    if (g_regex_match(regex, text, 0, &match))
        login->refused = g_match_info_fetch(match, 1);
    outbox_add_line(session->queue.outbox, login->dismissal);
    login->dismissal = NULL;
}

bool login_on_continue(Session *session, const Response *response)
{
    Login *login = &session->login;
    Command *command = login->authenticate;
    if (!command || command->end_offset == 0 || (!login->response && !login->dismissal) ||
        outbox_written(session->queue.outbox) < command->end_offset)
        return false;
    if (login->response)
        send_response(session);
    else
        dismiss(session, response);
    command->end_offset = outbox_added(session->queue.outbox);
    return true;
}

static void login_with_password(Session *session, const Secret *password)
{
    const char *user = session->account->user;
    if (server_can(&session->server, CAP_AUTH_PLAIN)) {
        g_autoptr(Secret) response = sasl_plain(user, password);
        if (response)
            send_authenticate(session, "PLAIN", response);
        else
            session_fail(session, G_ERRORF(CONFIG, "the password is too long"));
        return;
    }
    Command *command = session_command(session, login_done, "LOGIN ");
    command_text_add_astring(command->text, user, strlen(user));
    command_text_add(command->text, " ");
    command_text_add_secret(command->text, password, false);
    send_credentials(session, command);
}

static void login_with_token(Session *session, const Secret *token)
{
    const char *user = session->account->user;
    bool standard = server_can(&session->server, CAP_AUTH_OAUTHBEARER);
    g_autoptr(Secret) response =
        standard ? sasl_oauthbearer(user, token) : sasl_xoauth2(user, token);
    if (!response) {
        session_fail(session, G_ERRORF(CONFIG, "the token is too long"));
        return;
    }
    session->login.dismissal = standard ? "AQ==" : "";
    send_authenticate(session, standard ? "OAUTHBEARER" : "XOAUTH2", response);
}

static void on_password(Secret *password, GError *error, gpointer data)
{
    Session *session = data;
    session->login.password = NULL;
    if (!password)
        session_fail(session, error);
    else if (session->account->with_token)
        login_with_token(session, password);
    else
        login_with_password(session, password);
    secret_unref(password);
    session_wake(session);
}

static bool can_use_token(const Session *session)
{
    return server_can(&session->server, CAP_AUTH_OAUTHBEARER) ||
           server_can(&session->server, CAP_AUTH_XOAUTH2);
}

static bool can_use_password(const Session *session)
{
    return server_can(&session->server, CAP_AUTH_PLAIN) ||
           !server_can(&session->server, CAP_LOGINDISABLED);
}

/* What is missing for a login with what the account has; NULL: nothing. */
static const char *missing(const Session *session)
{
    if (session->account->with_token)
        return can_use_token(session) ? NULL
                                      : "the server takes no tokens (AUTH=OAUTHBEARER or "
                                        "AUTH=XOAUTH2): use a password, with passcmd";
    if (can_use_password(session))
        return NULL;
    return can_use_token(session) ? "the server takes OAuth tokens, and no passwords: use tokencmd"
                                  : "the server offers no way to log in that imapfs has "
                                    "(AUTH=PLAIN, LOGIN, or OAuth tokens)";
}

static void authenticate(Session *session)
{
    const Account *account = session->account;
    const char *lacks = missing(session);
    if (account->target.tls.client_cert && server_can(&session->server, CAP_AUTH_EXTERNAL)) {
        g_autoptr(Secret) response = sasl_external(account->user);
        send_authenticate(session, "EXTERNAL", response);
    } else if (lacks) {
        session_fail(session, g_error_new_literal(IMAPFS_ERROR, IMAPFS_ERROR_AUTH, lacks));
    } else if (!account->password || !account->user) {
        session_fail(session, G_ERRORF(CONFIG, "the server wants a user and a password"));
    } else {
        session->login.password =
            password_job_start(account, session->login.retry, on_password, session);
    }
}

/* --- after it --- */

static void after_login(Session *session)
{
    session->login.authenticated = true;
    reader_set_authenticated(session->reader);
    if (session->login.have_capabilities)
        enable_and_id(session);
    else
        ask_capabilities(session);
}

static void one_answered(Session *session)
{
    if (--session->login.pending == 0 && !session->ending)
        session_ready(session);
}

static bool on_enabled(Command *command, Response *response, gpointer data)
{
    Session *session = data;
    for (guint i = 0; response->words && i < response->words->len; i++) {
        const char *word = response->words->pdata[i];
        session->qresync |= g_ascii_strcasecmp(word, "QRESYNC") == 0;
        session->utf8 |= g_ascii_strcasecmp(word, "UTF8=ACCEPT") == 0;
    }
    return true;
}

static void enable_done(Command *command, CommandResult result, const Response *tagged,
                        gpointer data)
{
    if (result != COMMAND_LOST)
        one_answered(data);
}

/* Some servers answer OK without ENABLED: then nothing is taken to be enabled, as believing in a
 * QRESYNC that is not there would lose expunges, and doing without costs only bytes. */
static void send_enable(Session *session)
{
    g_autoptr(GString) text = g_string_new("ENABLE");
    if (server_can(&session->server, CAP_QRESYNC))
        g_string_append(text, " QRESYNC");
    else if (server_can(&session->server, CAP_CONDSTORE))
        g_string_append(text, " CONDSTORE");
    if (server_can(&session->server, CAP_UTF8_ACCEPT))
        g_string_append(text, " UTF8=ACCEPT");
    if (!server_can(&session->server, CAP_ENABLE) || strcmp(text->str, "ENABLE") == 0)
        return;
    Command *command = session_command(session, enable_done, "%s", text->str);
    command->wants = 1ull << RESP_ENABLED;
    command->on_untagged = on_enabled;
    session->login.pending++;
    queue_submit_internal(session, command);
}

static void append_name(GString *out, const char *value)
{
    g_autofree char *printable = log_printable(value, strlen(value), 60);
    if (*printable)
        g_string_append_printf(out, "%s%s", out->len ? " " : "", printable);
}

static bool on_id(Command *command, Response *response, gpointer data)
{
    Session *session = data;
    g_autoptr(GString) name = g_string_new(NULL);
    for (guint i = 0; response->id && i + 1 < response->id->len; i += 2) {
        const char *key = response->id->pdata[i], *value = response->id->pdata[i + 1];
        if (!key || !value)
            continue;
        if (g_ascii_strcasecmp(key, "name") == 0 || g_ascii_strcasecmp(key, "version") == 0)
            append_name(name, value);
        if (g_ascii_strcasecmp(key, "name") == 0 || g_ascii_strcasecmp(key, "vendor") == 0)
            server_info_note_quirks(&session->server, QUIRK_FROM_ID, value);
    }
    if (name->len) {
        g_free(session->server.server_name);
        session->server.server_name = g_strdup(name->str);
    }
    return true;
}

/* RFC 2971. Some servers want to know who we are before they let us SELECT. */
static void send_id(Session *session)
{
    bool wanted =
        server_can(&session->server, CAP_ID) || server_has_quirk(&session->server, QUIRK_ID_FIRST);
    if (!wanted)
        return;
    bool nil = server_has_quirk(&session->server, QUIRK_ID_NIL);
    Command *command =
        nil ? session_command(session, enable_done, "ID NIL")
            : session_command(session, enable_done, "ID (\"name\" \"imapfs\" \"version\" \"%s\")",
                              imapfs_version());
    command->wants = 1ull << RESP_ID;
    command->on_untagged = on_id;
    session->login.pending++;
    queue_submit_internal(session, command);
}

static void set_up(Session *session)
{
    session->login.pending = 1; /* this function itself */
    session->condstore =
        server_can(&session->server, CAP_CONDSTORE) || server_can(&session->server, CAP_QRESYNC);
    /* Names of an IMAP4rev2 server are UTF-8 (RFC 9051 5.1), unless it is in its rev1 mode. */
    session->utf8 =
        server_can(&session->server, CAP_IMAP4REV2) && !server_can(&session->server, CAP_IMAP4REV1);
    send_enable(session);
    send_id(session);
    one_answered(session);
}

static void compress_done(Command *command, CommandResult result, const Response *tagged,
                          gpointer data)
{
    Session *session = data;
    if (result == COMMAND_LOST)
        return;
    if (result == COMMAND_OK) {
        g_autoptr(GBytes) early = reader_take_pending(session->reader);
        session_use_stream(session, deflate_stream_new(session->stream, early));
    }
    set_up(session);
}

/* Packing and unpacking cost processor time on both sides, and where the server answers sooner than
 * this the wire is quicker than that. */
#define NEAR_US 3000

static bool wants_compression(const Session *session)
{
    AccountCompress wish = session->account->compress;
    if (wish != COMPRESS_AUTO)
        return wish == COMPRESS_YES;
    return stream_round_trip_us(session->stream) >= NEAR_US;
}

/* After the login only: no secret shares a dictionary with text that others wrote. A trace is there
 * to be read, and lies above TLS; then it is left out. */
static void enable_and_id(Session *session)
{
    if (session->account->trace_fd < 0 && server_can(&session->server, CAP_COMPRESS_DEFLATE) &&
        wants_compression(session))
        submit(session, "COMPRESS DEFLATE", compress_done, true);
    else
        set_up(session);
}
