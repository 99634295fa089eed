/* transcript.h - runs a session against a server that follows a script; for tests.
 *
 * A script (tests/script/NAME.imap) is lines:
 *     # words           nothing
 *     S: bytes          the server sends the line and CRLF; lines in a row go in one piece. \xHH is
 *                       a byte, a backslash at the end means that no CRLF follows
 *     C: bytes          the client must have sent this line, and nothing else before the next S: or
 *                       ! line. $TAG in an S: line is the first word of the last C: line
 *     E: event          this must be the next that was told: see the on_* functions here
 *     !directive        something happens: see `directives`
 * A script is run several times: with the bytes in one piece, byte by byte, and stuttering. */
#pragma once
#include "../net/tls_test.h"

#include <stdio.h>

#include "imapfs/base/clock.h"
#include "imapfs/imap/session.h"

/* A script that goes wrong is known to in this time. */
#define SCRIPT_PATIENCE_S 10
#define TEST_HOST "mail.example.org"

typedef enum { RUN_WHOLE, RUN_BYTES, RUN_STUTTER, RUN_N } RunMode;

typedef struct Script Script;

typedef struct {
    Script *script;
    guint number;
    Command *command; /* NULL: done */
} Submitted;

struct Script {
    const char *path;
    RunMode mode;
    guint line;
    Account account;
    bool clear;
    Session *session;
    bool freed;
    Stream *client, *server; /* client is the session's */
    TlsServer *tls;
    GByteArray *got; /* from the client, not expected yet */
    GByteArray *send;
    GPtrArray *events; /* of char *, not expected yet */
    GArray *submitted; /* of Submitted * */
    char *tag;
    char *error; /* words of the last */
    bool ready;
    gint asked; /* how often the password was asked for; atomic, as that is another thread */
    gint hold;  /* atomic: the password is not told yet */
    bool retry;
    bool mute;
};

G_GNUC_PRINTF(2, 3) static inline void script_fail(Script *script, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *words = g_strdup_vprintf(format, args);
    va_end(args);
    fail_msg("%s:%u (mode %d): %s", script->path, script->line, (int)script->mode, words);
}

G_GNUC_PRINTF(2, 3) static inline void script_event(Script *script, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_ptr_array_add(script->events, g_strdup_vprintf(format, args));
    va_end(args);
}

/* --- what is told --- */

static inline const char *error_word(const GError *error)
{
    assert_true(error->domain == IMAPFS_ERROR);
    return imapfs_error_name((ImapfsError)error->code);
}

static inline void script_note_error(Script *script, const GError *error)
{
    g_free(script->error);
    script->error = g_strdup(error ? error->message : "");
}

/* E: ready | ready CODE */
static inline void script_on_ready(Session *session, const GError *error, gpointer data)
{
    Script *script = data;
    script->ready = !error;
    script_note_error(script, error);
    script_event(script, error ? "ready %s" : "ready", error ? error_word(error) : "");
}

/* E: selected NAME exists=N [uidvalidity=N] [uidnext=N] [modseq=N] [id=S] [flags=...] [ro] ... */
static inline void script_on_selected(Session *session, const char *mailbox,
                                      const SelectResult *result, const GError *error,
                                      gpointer data)
{
    g_autoptr(GString) out = g_string_new("selected ");
    g_string_append(out, mailbox);
    if (!result) {
        g_string_append_printf(out, " %s", error_word(error));
    } else {
        assert_null(error);
        g_string_append_printf(out, " exists=%u", result->exists);
        if (result->uidvalidity)
            g_string_append_printf(out, " uidvalidity=%u", result->uidvalidity);
        if (result->uidnext)
            g_string_append_printf(out, " uidnext=%u", result->uidnext);
        if (result->highestmodseq)
            g_string_append_printf(out, " modseq=%" G_GUINT64_FORMAT, result->highestmodseq);
        if (result->mailboxid)
            g_string_append_printf(out, " id=%s", result->mailboxid);
        if (result->has_permanent_flags) {
            g_string_append(out, " flags=");
            flags_print(&result->permanent_flags, out);
        }
        g_string_append(out, result->read_only ? " ro" : "");
        g_string_append(out, result->uid_not_sticky ? " notsticky" : "");
        g_string_append(out, result->qresync ? " qresync" : "");
    }
    script_event(data, "%s", out->str);
}

static inline void describe_response(GString *out, const Response *response)
{
    g_string_append(out, response_kind_name(response->kind));
    if (response->kind == RESP_EXISTS || response->kind == RESP_EXPUNGE ||
        response->kind == RESP_RECENT)
        g_string_append_printf(out, " %" G_GUINT64_FORMAT, response->number);
    if (response->code != CODE_NONE)
        g_string_append_printf(out, " [%s]", response_code_name(response->code));
    if (response->uids) {
        g_string_append(out, response->earlier ? " earlier " : " ");
        uidset_print(response->uids, out);
    }
    if (response->fetch)
        g_string_append_printf(out, " %u uid=%u", response->fetch->seq, response->fetch->uid);
    GPtrArray *bodies = response->fetch ? response->fetch->bodies : NULL;
    for (guint i = 0; bodies && i < bodies->len; i++) {
        FetchBody *body = bodies->pdata[i];
        gsize length = 0;
        const char *bytes = body->bytes ? g_bytes_get_data(body->bytes, &length) : NULL;
        g_string_append_printf(out, " [%s]=%.*s", body->section, (int)length, bytes ? bytes : "");
    }
    if (response->list)
        g_string_append_printf(out, " %s", response->list->name);
    if (response->status)
        g_string_append_printf(out, " %s %u", response->status->name, response->status->messages);
}

/* E: untagged MAILBOX KIND ... */
static inline void script_on_untagged(Session *session, const char *mailbox, Response *response,
                                      gpointer data)
{
    g_autoptr(GString) out = g_string_new("untagged ");
    g_string_append_printf(out, "%s ", mailbox ? mailbox : "-");
    describe_response(out, response);
    script_event(data, "%s", out->str);
}

/* E: end | end CODE */
static inline void script_on_end(Session *session, const GError *error, gpointer data)
{
    script_note_error(data, error);
    script_event(data, error ? "end %s" : "end", error ? error_word(error) : "");
}

/* E: data N KIND ... */
static inline bool script_on_data(Command *command, Response *response, gpointer data)
{
    Submitted *submitted = data;
    g_autoptr(GString) out = g_string_new(NULL);
    describe_response(out, response);
    script_event(submitted->script, "data %u %s", submitted->number, out->str);
    return true;
}

/* E: done N OK|NO|BAD|LOST|CANCELLED */
static inline void script_on_done(Command *command, CommandResult result, const Response *tagged,
                                  gpointer data)
{
    static const char *const names[] = {"OK", "NO", "BAD", "LOST", "CANCELLED"};
    Submitted *submitted = data;
    assert_ptr_equal(submitted->command, command); /* once only */
    assert_true((tagged != NULL) == (result <= COMMAND_BAD));
    submitted->command = NULL;
    script_event(submitted->script, "done %u %s", submitted->number, names[result]);
}

/* --- the account --- */

static inline Secret *script_password(gpointer data, bool retry, GError **error)
{
    Script *script = data;
    g_atomic_int_inc(&script->asked);
    while (g_atomic_int_get(&script->hold))
        g_usleep(100);
    if (!script->account.user[0]) {
        g_set_error_literal(error, IMAPFS_ERROR, IMAPFS_ERROR_CONFIG, "none");
        return NULL;
    }
    return secret_new("secret", 6);
}

static inline Cert *script_cert(void)
{
    static Cert cert;
    if (!cert.x509)
        cert = cert_new(&(CertSpec){.cn = TEST_HOST, .san = "DNS:" TEST_HOST, .ca = true}, NULL);
    return &cert;
}

static inline char *script_cafile(void)
{
    static char *path;
    if (!path)
        path = cert_file(script_cert(), false);
    return path;
}

static inline void script_start(Script *script)
{
    if (script->session || script->freed)
        return;
    static const SessionEvents events = {script_on_ready, script_on_selected, script_on_untagged,
                                         script_on_end};
    memory_stream_pair(&script->client, &script->server);
    memory_stream_set_secure(script->client, !script->clear);
    if (script->clear)
        script->account.target.security = NET_STARTTLS;
    memory_stream_set_chunk(script->client, script->mode == RUN_BYTES ? 1 : 0);
    memory_stream_set_stutter(script->client, script->mode == RUN_STUTTER);
    script->session = session_new_on_stream(&script->account, script->client, &events, script);
}

/* --- bytes --- */

/* Until nothing is left to do; a stream that stutters always has one more notify. */
static inline void script_settle(const Script *script)
{
    guint max = script->mode == RUN_STUTTER ? 1000 : G_MAXUINT;
    while (max-- && g_main_context_iteration(g_main_context_get_thread_default(), FALSE))
        ;
}

static inline void script_turn(Script *script)
{
    guint8 bytes[4096];
    gsize n;
    script_settle(script);
    if (script->tls) {
        g_byte_array_append(script->got, script->tls->got->data, script->tls->got->len);
        g_byte_array_set_size(script->tls->got, 0);
        return;
    }
    while (script->server &&
           stream_read(script->server, bytes, sizeof bytes, &n, NULL) == STREAM_OK)
        g_byte_array_append(script->got, bytes, (guint)n);
    script_settle(script);
}

static inline void script_send(Script *script)
{
    if (script->tls) {
        g_byte_array_append(script->tls->send, script->send->data, script->send->len);
        tls_server_go(script->tls);
    }
    gsize sent = 0, n = 0;
    while (!script->tls && script->server && sent < script->send->len &&
           stream_write(script->server, script->send->data + sent, script->send->len - sent, &n,
                        NULL) == STREAM_OK)
        sent += n;
    if (script->server && !script->tls)
        stream_flush(script->server, NULL);
    g_byte_array_set_size(script->send, 0);
}

/* \xHH is a byte; a backslash at the end leaves CRLF out. */
static inline void add_line(GByteArray *out, const char *line)
{
    for (; *line; line++) {
        guint8 byte = (guint8)*line;
        if (line[0] == '\\' && line[1] == 'x' && g_ascii_isxdigit(line[2]) &&
            g_ascii_isxdigit(line[3])) {
            byte = (guint8)(g_ascii_xdigit_value(line[2]) * 16 + g_ascii_xdigit_value(line[3]));
            line += 3;
        } else if (line[0] == '\\' && !line[1]) {
            return;
        }
        g_byte_array_append(out, &byte, 1);
    }
    g_byte_array_append(out, (const guint8 *)"\r\n", 2);
}

static inline void script_say(Script *script, const char *line)
{
    g_auto(GStrv) parts = g_strsplit(line, "$TAG", -1);
    g_autofree char *whole = g_strjoinv(script->tag ? script->tag : "$TAG", parts);
    add_line(script->send, whole);
}

static inline void script_expect_line(Script *script, const char *line)
{
    g_autoptr(GByteArray) want = g_byte_array_new();
    add_line(want, line);
    gint64 until = g_get_monotonic_time() + SCRIPT_PATIENCE_S * G_USEC_PER_SEC;
    for (script_turn(script); script->got->len < want->len; script_turn(script)) {
        if (script->got->len && memcmp(script->got->data, want->data, script->got->len) != 0)
            break;
        if (g_get_monotonic_time() > until)
            script_fail(script, "not sent: %s", line);
        g_usleep(100);
    }
    if (script->got->len < want->len || memcmp(script->got->data, want->data, want->len) != 0)
        script_fail(script, "sent: %.*s", (int)script->got->len, (char *)script->got->data);
    g_byte_array_remove_range(script->got, 0, want->len);
    g_free(script->tag);
    script->tag = g_strndup(line, strcspn(line, " "));
}

static inline void script_expect_event(Script *script, const char *event)
{
    gint64 until = g_get_monotonic_time() + SCRIPT_PATIENCE_S * G_USEC_PER_SEC;
    for (script_turn(script); script->events->len == 0; script_turn(script)) {
        if (g_get_monotonic_time() > until)
            script_fail(script, "not told: %s", event);
        g_usleep(100);
    }
    g_autofree char *got = g_ptr_array_steal_index(script->events, 0);
    if (strcmp(got, event) != 0)
        script_fail(script, "told: %s", got);
}

static inline void script_expect_nothing(Script *script)
{
    script_turn(script);
    if (script->got->len && !script->mute)
        script_fail(script, "sent unasked: %.*s", (int)script->got->len, (char *)script->got->data);
    if (script->events->len)
        script_fail(script, "told unasked: %s", (char *)script->events->pdata[0]);
}

/* --- directives --- */

static inline void do_clear(Script *script, const char *words)
{
    script->clear = true;
}

static inline void do_disable(Script *script, const char *words)
{
    g_strfreev(script->account.disable);
    script->account.disable = g_strsplit(words, " ", -1);
}

static inline void do_user(Script *script, const char *words)
{
    g_free(script->account.user);
    script->account.user = g_strdup(words);
}

static inline void do_hold(Script *script, const char *words)
{
    g_atomic_int_set(&script->hold, 1);
}

/* The password that was held back is told. */
static inline void do_tell(Script *script, const char *words)
{
    g_atomic_int_set(&script->hold, 0);
}

static inline void do_host(Script *script, const char *words)
{
    g_free(script->account.target.host);
    script->account.target.host = g_strdup(words);
}

static inline void do_compress(Script *script, const char *words)
{
    script->account.compress = strcmp(words, "auto") == 0 ? COMPRESS_AUTO : COMPRESS_YES;
}

static inline void do_client_cert(Script *script, const char *words)
{
    g_free(script->account.target.tls.client_cert);
    script->account.target.tls.client_cert = g_strdup(words);
}

/* The password is a token. */
static inline void do_token(Script *script, const char *words)
{
    script->account.with_token = true;
}

static inline void do_start(Script *script, const char *words)
{
    script_start(script);
}

static inline void do_tls(Script *script, const char *words)
{
    script->tls = tls_server_new(g_steal_pointer(&script->server), script_cert(), 0, false, NULL);
}

static inline void do_drop(Script *script, const char *words)
{
    if (script->tls)
        g_clear_pointer(&script->tls, tls_server_free);
    g_clear_pointer(&script->server, stream_free);
}

static inline void do_deflate(Script *script, const char *words)
{
    script->server = deflate_stream_new(script->server, NULL);
}

/* Whatever the client sends from now on (a TLS handshake) is not looked at, but for the password.
 */
static inline void do_mute(Script *script, const char *words)
{
    script->mute = true;
}

static inline void do_break(Script *script, const char *words)
{
    memory_stream_break(script->server, true);
}

static inline void do_stall(Script *script, const char *words)
{
    script_expect_nothing(script);
}

static inline void do_advance(Script *script, const char *words)
{
    script_expect_nothing(script);
    clock_fake_advance(g_ascii_strtoll(words, NULL, 10) * 1000);
    session_tick(script->session);
    script_turn(script);
}

/* !select NAME [examine] [qresync VALIDITY MODSEQ [KNOWN]] */
static inline void do_select(Script *script, const char *words)
{
    g_auto(GStrv) word = g_strsplit(words, " ", -1);
    g_autoptr(UidSet) known = uidset_new();
    SelectParams params = {.mailbox = word[0]};
    for (guint i = 1; word[i]; i++) {
        params.examine |= strcmp(word[i], "examine") == 0;
        if (strcmp(word[i], "qresync") != 0)
            continue;
        params.uidvalidity = (guint32)g_ascii_strtoull(word[i + 1], NULL, 10);
        params.modseq = g_ascii_strtoull(word[i + 2], NULL, 10);
        if (word[i + 3] && uidset_parse(known, word[i + 3], strlen(word[i + 3])))
            params.known = known;
        break;
    }
    session_select(script->session, &params);
}

static inline void do_unselect(Script *script, const char *words)
{
    session_unselect(script->session);
}

static inline guint64 wants_of(const char *text)
{
    if (strstr(text, "FETCH"))
        return 1ull << RESP_FETCH;
    if (strstr(text, "EXPUNGE"))
        return 1ull << RESP_EXPUNGE;
    if (strstr(text, "SEARCH"))
        return 1ull << RESP_SEARCH | 1ull << RESP_ESEARCH;
    if (g_str_has_prefix(text, "LIST"))
        return 1ull << RESP_LIST;
    return 0;
}

/* "TEXT", or "TEXT {}BYTES" with a literal at the end. Commands are numbered from 1. */
static inline Command *submit(Script *script, CommandLane lane, const char *words, bool alone)
{
    Submitted *submitted = g_new0(Submitted, 1);
    const char *literal = strstr(words, "{}");
    g_autofree char *text = literal ? g_strndup(words, (gsize)(literal - words)) : g_strdup(words);
    submitted->script = script;
    submitted->number = script->submitted->len + 1;
    submitted->command = command_new(lane, script_on_done, submitted);
    submitted->command->on_untagged = script_on_data;
    submitted->command->wants = wants_of(words);
    submitted->command->alone = alone;
    command_text_add(submitted->command->text, "%s", text);
    if (literal) {
        g_autoptr(GBytes) bytes = g_bytes_new(literal + 2, strlen(literal + 2));
        command_text_add_literal(submitted->command->text, bytes);
    }
    g_array_append_val(script->submitted, submitted);
    session_submit(script->session, submitted->command);
    return submitted->command;
}

static inline void do_fg(Script *script, const char *words)
{
    submit(script, LANE_FOREGROUND, words, false);
}

static inline void do_bg(Script *script, const char *words)
{
    submit(script, LANE_BACKGROUND, words, false);
}

/* Its answer is large. */
static inline void do_heavy(Script *script, const char *words)
{
    submit(script, LANE_BACKGROUND, words, false)->weight = 1024 * 1024;
}

static inline void do_alone(Script *script, const char *words)
{
    submit(script, LANE_FOREGROUND, words, true);
}

/* A command that would be two. */
static inline void do_fg_crlf(Script *script, const char *words)
{
    submit(script, LANE_FOREGROUND, "NOOP\r\nA9 DELETE INBOX", false);
}

static inline void do_cancel(Script *script, const char *words)
{
    guint i = (guint)g_ascii_strtoull(words, NULL, 10) - 1;
    session_cancel(script->session, g_array_index(script->submitted, Submitted *, i)->command);
}

/* Somebody waits for it now. */
static inline void do_hurry(Script *script, const char *words)
{
    guint i = (guint)g_ascii_strtoull(words, NULL, 10) - 1;
    session_hurry(script->session, g_array_index(script->submitted, Submitted *, i)->command);
}

static inline void do_close(Script *script, const char *words)
{
    session_close(script->session);
}

static inline void do_free(Script *script, const char *words)
{
    session_free(g_steal_pointer(&script->session));
    script->freed = true;
}

static inline void do_check(Script *script, const char *words)
{
    session_check(script->session);
}

/* !idle off | !idle LINGER_MS */
static inline void do_idle(Script *script, const char *words)
{
    bool on = strcmp(words, "off") != 0;
    session_set_idle(script->session, on, on ? (guint)g_ascii_strtoull(words, NULL, 10) : 0);
}

/* !repeat N LINE: the server sends LINE N times. */
static inline void do_repeat(Script *script, const char *words)
{
    char *line = NULL;
    guint64 n = g_ascii_strtoull(words, &line, 10);
    for (guint64 i = 0; i < n; i++)
        script_say(script, line + 1);
    script_send(script);
    script_turn(script);
}

/* !each N EVENT: it was told N times, and nothing else. */
static inline void do_each(Script *script, const char *words)
{
    char *event = NULL;
    guint n = (guint)g_ascii_strtoull(words, &event, 10);
    script_turn(script);
    for (guint i = 0; i < script->events->len; i++)
        if (strcmp(script->events->pdata[i], event + 1) != 0)
            script_fail(script, "told: %s", (char *)script->events->pdata[i]);
    if (script->events->len != n)
        script_fail(script, "told %u times", script->events->len);
    g_ptr_array_set_size(script->events, 0);
}

static inline void do_asked(Script *script, const char *words)
{
    if (g_atomic_int_get(&script->asked) != atoi(words))
        script_fail(script, "the password was asked for %d times", script->asked);
}

/* !has words of session_describe() */
static inline void do_has(Script *script, const char *words)
{
    g_autofree char *text = session_describe(script->session);
    if (!strstr(text, words))
        script_fail(script, "it is described as: %s", text);
}

static inline void do_quirk(Script *script, const char *words)
{
    for (int i = 0; i < QUIRK_N; i++)
        if (strcmp(words, quirk_name((Quirk)i)) == 0 &&
            server_has_quirk(session_server(script->session), (Quirk)i))
            return;
    script_fail(script, "no such quirk");
}

/* !error WORDS | !error not WORDS: in the last error told */
static inline void do_error(Script *script, const char *words)
{
    bool absent = g_str_has_prefix(words, "not ");
    if ((strstr(script->error, absent ? words + 4 : words) != NULL) == absent)
        script_fail(script, "the error: %s", script->error);
}

static inline void do_log(Script *script, const char *words)
{
    g_autofree char *log = log_ring_dup(NULL);
    bool absent = g_str_has_prefix(words, "not ");
    if ((strstr(log, absent ? words + 4 : words) != NULL) == absent)
        script_fail(script, "the log: %s", log);
}

static const struct {
    const char *name;
    void (*run)(Script *script, const char *words);
    bool before; /* before the session is made */
} directives[] = {
    {"!clear", do_clear, true},
    {"!disable", do_disable, true},
    {"!user", do_user, true},
    {"!host", do_host, true},
    {"!hold", do_hold, true},
    {"!tell", do_tell, false},
    {"!compress", do_compress, true},
    {"!client-cert", do_client_cert, true},
    {"!token", do_token, true},
    {"!start", do_start, false},
    {"!tls", do_tls, false},
    {"!drop", do_drop, false},
    {"!deflate", do_deflate, false},
    {"!mute", do_mute, false},
    {"!break", do_break, false},
    {"!stall", do_stall, false},
    {"!advance", do_advance, false},
    {"!select", do_select, false},
    {"!unselect", do_unselect, false},
    {"!fg", do_fg, false},
    {"!bg", do_bg, false},
    {"!fg-crlf", do_fg_crlf, false},
    {"!heavy", do_heavy, false},
    {"!alone", do_alone, false},
    {"!cancel", do_cancel, false},
    {"!hurry", do_hurry, false},
    {"!close", do_close, false},
    {"!free", do_free, false},
    {"!check", do_check, false},
    {"!idle", do_idle, false},
    {"!repeat", do_repeat, false},
    {"!each", do_each, false},
    {"!asked", do_asked, false},
    {"!has", do_has, false},
    {"!quirk", do_quirk, false},
    {"!error", do_error, false},
    {"!log", do_log, false},
};

static inline void script_do(Script *script, const char *line)
{
    gsize n = strcspn(line, " ");
    const char *words = line[n] ? line + n + 1 : "";
    for (gsize i = 0; i < G_N_ELEMENTS(directives); i++) {
        if (strlen(directives[i].name) != n || strncmp(directives[i].name, line, n) != 0)
            continue;
        if (!directives[i].before)
            script_start(script);
        directives[i].run(script, words);
        return;
    }
    script_fail(script, "unknown directive");
}

/* --- a run --- */

/* At these lines there may be what is still to be expected. */
static inline bool is_in_one_go(const char *line)
{
    static const char *const verbs[] = {"!fg",      "!bg ",      "!heavy ",  "!alone ",
                                        "!select ", "!unselect", "!cancel ", "!idle ",
                                        "!tls",     "!deflate",  "!mute",    "!each "};
    for (gsize i = 0; i < G_N_ELEMENTS(verbs); i++)
        if (g_str_has_prefix(line, verbs[i]))
            return true;
    return false;
}

static inline void script_line(Script *script, const char *line, const char *next)
{
    if (!line[0] || line[0] == '#')
        return;
    if (g_str_has_prefix(line, "S: ")) {
        script_start(script);
        if (script->send->len == 0)
            script_expect_nothing(script);
        script_say(script, line + 3);
        if (!next || !g_str_has_prefix(next, "S: "))
            script_send(script);
        return;
    }
    script_start(script);
    if (g_str_has_prefix(line, "C: "))
        script_expect_line(script, line + 3);
    else if (g_str_has_prefix(line, "E: "))
        script_expect_event(script, line + 3);
    else
        script_fail(script, "no such line");
}

static inline void script_end(Script *script)
{
    script->line = 0;
    script_expect_nothing(script);
    session_free(g_steal_pointer(&script->session));
    for (guint i = 0; i < script->submitted->len; i++) {
        Submitted *submitted = g_array_index(script->submitted, Submitted *, i);
        if (submitted->command)
            script_fail(script, "command %u was never answered", submitted->number);
        g_free(submitted);
    }
    do_tell(script, "");
    assert_true(account_passwords_settled(PATIENCE_S * 1000));
    script_turn(script);
    do_drop(script, "");
    script_settle(script);
    g_array_unref(script->submitted);
    g_ptr_array_unref(script->events);
    g_byte_array_unref(script->got);
    g_byte_array_unref(script->send);
    g_free(script->tag);
    g_free(script->error);
    g_free(script->account.user);
    g_free(script->account.target.host);
    g_free(script->account.target.tls.client_cert);
    g_strfreev(script->account.disable);
    clock_fake_off();
}

/* On the heap, and in a context of its own: what a failed script leaves behind disturbs no other.
 */
static inline void script_run(const char *path, const char *text, RunMode mode)
{
    Script *script = g_new0(Script, 1);
    GMainContext *context = g_main_context_new();
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    g_main_context_push_thread_default(context);
    script->path = path;
    script->mode = mode;
    script->account = (Account){
        .name = (char *)"test",
        .user = g_strdup("alice"),
        .target = {.security = NET_TLS, .host = g_strdup(TEST_HOST)},
        .password = script_password,
        .password_data = script,
        .timeout_ms = 60000,
        .max_connections = 1,
        .trace_fd = -1,
    };
    script->account.target.tls.cafile = script_cafile();
    script->got = g_byte_array_new();
    script->send = g_byte_array_new();
    script->events = g_ptr_array_new_with_free_func(g_free);
    script->submitted = g_array_new(FALSE, FALSE, sizeof(Submitted *));
    clock_fake_set(G_GINT64_CONSTANT(1700000000) * G_USEC_PER_SEC * 1000);
    for (guint i = 0; lines[i]; i++) {
        script->line = i + 1;
        if (lines[i][0] == '!') {
            if (script->session && !is_in_one_go(lines[i]))
                script_expect_nothing(script);
            script_do(script, lines[i]);
        } else {
            script_line(script, lines[i], lines[i + 1]);
        }
    }
    script_end(script);
    g_main_context_pop_thread_default(context);
    g_main_context_unref(context);
    g_free(script);
}
