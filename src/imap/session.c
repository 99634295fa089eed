/* session.c - one connection: its states, the pump that moves bytes, its deadlines and its end.
 *
 * The one rule: everything happens in session_pump(), called from the main context: read, dispatch,
 * send, write, and at last the end, if there is one. Calls from outside only queue and wake it. */
#include "session_impl.h"

#include <string.h>

#define READ_BYTES (32u * 1024)
#define READ_BUDGET (256u * 1024) /* in one go, so that other work on the loop gets its turn */
#define PROGRESS_BYTES 1024u      /* inside a response this counts as progress (slow loris) */
#define CLOSE_MS 1000
#define DEFAULT_TIMEOUT_MS 60000u

static void session_pump(Session *session);

/* --- states --- */

static const char *const state_names[] = {
#define STATE_ROW(name) [SESSION_##name] = #name,
    SESSION_STATES(STATE_ROW)
#undef STATE_ROW
};

/* From each state, the states that may follow. */
#define S(name) (1u << SESSION_##name)
static const guint allowed_next[] = {
    [SESSION_CONNECTING] = S(GREETING) | S(ENDED),
    [SESSION_GREETING] = S(LOGIN) | S(ENDED),
    [SESSION_LOGIN] = S(READY) | S(CLOSING) | S(ENDED),
    [SESSION_READY] = S(CLOSING) | S(ENDED),
    [SESSION_CLOSING] = S(ENDED),
    [SESSION_ENDED] = 0,
};

const char *session_state_name(SessionState state)
{
    return (unsigned)state < G_N_ELEMENTS(state_names) ? state_names[state] : "?";
}

void session_set_state(Session *session, SessionState state)
{
    if (!(allowed_next[session->state] & (1u << state))) {
        log_error(LOG_IMAP, "%s: no way from %s to %s", session->label,
                  session_state_name(session->state), session_state_name(state));
        g_return_if_reached();
    }
    log_debug(LOG_IMAP, "%s: %s -> %s", session->label, session_state_name(session->state),
              session_state_name(state));
    session->state = state;
}

/* --- ending --- */

void session_fail(Session *session, GError *error)
{
    if (session->ending) {
        g_clear_error(&error);
        return;
    }
    session->ending = true;
    session->end_error = error;
    session_wake(session);
}

void session_violation(Session *session, const char *what)
{
    session_fail(session, G_ERRORF(PROTOCOL, "the server broke the protocol: %s", what));
}

/* Before READY a lost connection is one that could not be made. */
static void session_fail_stream(Session *session, GError *error)
{
    if (session->ending) {
        g_error_free(error);
        return;
    }
    if (session->login.starting_tls && !stream_is_secure(session->stream)) {
        session_fail(session, G_ERRORF(TLS, "TLS could not be started: %s", error->message));
        g_error_free(error);
        return;
    }
    if (session->state < SESSION_READY && g_error_matches(error, IMAPFS_ERROR, IMAPFS_ERROR_LOST))
        error->code = IMAPFS_ERROR_OFFLINE;
    session_fail(session, error);
}

static void session_fail_eof(Session *session)
{
    if (session->state == SESSION_CLOSING)
        session_fail(session, NULL);
    else
        session_fail_stream(session, G_ERRORF(LOST, "the server closed the connection"));
}

/* Everybody hears of it once; the order is: commands, on_ready if it never was, on_end. */
static void session_wind_up(Session *session)
{
    if (session->state != SESSION_ENDED)
        session_set_state(session, SESSION_ENDED);
    if (session->connecting)
        g_cancellable_cancel(session->connecting);
    login_clear(session);
    session_counters(session, &session->received, &session->sent);
    g_clear_pointer(&session->stream, stream_free);
    g_clear_pointer(&session->reader, reader_free);
    queue_lose_all(session);
    if (!session->told_ready) {
        session->told_ready = true;
        g_autoptr(GError) closed = G_ERRORF(CANCELLED, "closed before it was ready");
        if (session->events.on_ready)
            session->events.on_ready(session, session->end_error ? session->end_error : closed,
                                     session->data);
    }
    if (!session->told_end) {
        session->told_end = true;
        if (session->events.on_end)
            session->events.on_end(session, session->end_error, session->data);
    }
    queue_lose_all(session); /* what was submitted meanwhile */
}

/* --- reading --- */

static void session_note_bytes(Session *session, gsize n)
{
    session->unfinished += n;
    queue_note_bytes(session, n);
    if (session->check_us) /* alive; a NOOP under way has a little longer for its answer */
        session->check_us = session->idle.check ? clock_mono_us() + CHECK_US : 0;
    if (session->unfinished >= PROGRESS_BYTES && reader_mid_response(session->reader)) {
        session->unfinished = 0;
        queue_note_progress(session);
    }
}

/* Dispatching may put another reader and stream in place (TLS): all state is looked up anew. */
static void session_drain(Session *session)
{
    while (!session->ending) {
        g_autoptr(GError) error = NULL;
        g_autoptr(Response) response = NULL;
        ReadStatus status = reader_next(session->reader, &response, &error);
        if (status == READ_MORE)
            return;
        if (status == READ_BAD) {
            session_fail(session, g_steal_pointer(&error));
            return;
        }
        session->unfinished = 0;
        queue_note_progress(session);
        session_dispatch(session, response);
    }
}

static void session_read(Session *session)
{
    gsize budget = READ_BUDGET;
    while (!session->ending) {
        gsize n = 0;
        GError *error = NULL;
        StreamStatus status = stream_read(session->stream, session->buffer, READ_BYTES, &n, &error);
        if (status == STREAM_AGAIN)
            return;
        if (status == STREAM_ERROR) {
            session_fail_stream(session, error);
        } else if (status == STREAM_EOF) {
            session_fail_eof(session);
        } else {
            reader_feed(session->reader, session->buffer, n);
            session_note_bytes(session, n);
            session_drain(session);
            budget -= MIN(n, budget);
            if (budget == 0) {
                session_wake(session);
                return;
            }
        }
    }
}

/* --- writing --- */

static void session_write(Session *session)
{
    GError *error = NULL;
    guint64 before = outbox_written(session->queue.outbox);
    StreamStatus status = outbox_write(session->queue.outbox, session->stream, &error);
    if (outbox_written(session->queue.outbox) != before) {
        session->login.spoken = true;
        queue_note_progress(session);
    }
    if (status != STREAM_ERROR)
        return;
    session_read(session); /* what it had to say before it closed explains more */
    session_fail_stream(session, error);
}

/* --- time --- */

gint64 session_timeout_us(const Session *session)
{
    guint ms = session->account->timeout_ms ? session->account->timeout_ms : DEFAULT_TIMEOUT_MS;
    return (gint64)ms * 1000;
}

static gint64 earlier(gint64 a, gint64 b)
{
    return !a ? b : !b ? a : MIN(a, b);
}

static gint64 session_deadline(const Session *session)
{
    gint64 at = earlier(session->greeting_us, session->close_us);
    at = earlier(at, session->check_us);
    at = earlier(at, queue_deadline(session));
    at = earlier(at, queue_throttled_until(session));
    return earlier(at, idle_deadline(session));
}

static void session_check_deadlines(Session *session)
{
    gint64 now = clock_mono_us();
    gint64 answer = queue_deadline(session);
    if (session->close_us && now >= session->close_us)
        session_fail(session, NULL);
    else if (session->greeting_us && now >= session->greeting_us)
        session_fail(session, G_ERRORF(TIMEOUT, "the server sent no greeting in time"));
    else if (session->check_us && now >= session->check_us)
        session_fail(session, G_ERRORF(LOST, "the connection did not survive"));
    else if (answer && now >= answer)
        session_fail(session, G_ERRORF(TIMEOUT, "the server did not answer in time"));
}

/* GLib's clock is the real one also when ours is a test's; the difference is what counts. */
static void session_arm(Session *session)
{
    gint64 at = session_deadline(session);
    if (at)
        g_source_set_ready_time(session->wake,
                                g_get_monotonic_time() + MAX(0, at - clock_mono_us()));
}

/* --- the pump --- */

static void session_ref(Session *session)
{
    session->refs++;
}

static void session_unref(Session *session)
{
    if (--session->refs > 0)
        return;
    g_source_destroy(session->wake);
    g_source_unref(session->wake);
    g_clear_object(&session->connecting);
    stream_free(session->stream);
    reader_free(session->reader);
    login_clear(session);
    selected_clear(session);
    queue_clear(&session->queue);
    server_info_clear(&session->server);
    g_clear_error(&session->end_error);
    g_free(session->buffer);
    g_free(session->label);
    g_free(session);
}

static void session_step(Session *session)
{
    if (session->stream && !session->ending)
        session_read(session);
    if (!session->ending)
        session_check_deadlines(session);
    if (session->stream && !session->ending) {
        idle_run(session);
        queue_run(session);
        session_write(session);
    }
}

static void session_pump(Session *session)
{
    session_ref(session);
    g_source_set_ready_time(session->wake, -1);
    session_step(session);
    if (session->ending)
        session_wind_up(session);
    else if (g_source_get_ready_time(session->wake) != 0)
        session_arm(session);
    session_unref(session);
}

void session_wake(Session *session)
{
    g_source_set_ready_time(session->wake, 0);
}

void session_tick(Session *session)
{
    session_pump(session);
}

static gboolean wake_dispatch(GSource *source, GSourceFunc callback, gpointer data)
{
    return callback(data);
}

static gboolean on_wake(gpointer data)
{
    session_pump(data);
    return G_SOURCE_CONTINUE;
}

static GSourceFuncs wake_funcs = {.dispatch = wake_dispatch};

/* --- beginning --- */

static void on_stream_notify(gpointer data)
{
    session_pump(data);
}

/* A new stream is a new beginning: nothing that was read before is believed. */
void session_use_stream(Session *session, Stream *stream)
{
    session->stream = stream;
    if (stream)
        stream_set_notify(stream, on_stream_notify, session);
}

static Session *session_alloc(const Account *account, const SessionEvents *events, gpointer data)
{
    static gint n_sessions;
    Session *session = g_new0(Session, 1);
    session->refs = 1;
    session->account = account;
    session->events = *events;
    session->data = data;
    session->label = g_strdup_printf("%s#%d", account->name ? account->name : "?",
                                     g_atomic_int_add(&n_sessions, 1) + 1);
    session->state = SESSION_CONNECTING;
    session->reader = reader_new();
    session->buffer = g_malloc(READ_BYTES);
    queue_init(&session->queue);
    idle_init(&session->idle);
    server_info_note_quirks(&session->server, QUIRK_FROM_HOST, account->target.host);
    session->wake = g_source_new(&wake_funcs, sizeof(GSource));
    g_source_set_callback(session->wake, on_wake, session, NULL);
    g_source_attach(session->wake, g_main_context_get_thread_default());
    return session;
}

static void session_begin(Session *session, Stream *stream)
{
    /* TLS of STARTTLS goes below the trace: login.c begins it then. */
    bool clear = session->account->target.security == NET_STARTTLS && !stream_is_secure(stream);
    if (session->account->trace_fd >= 0 && !clear)
        stream = trace_stream_new(stream, session->account->trace_fd);
    session_use_stream(session, stream);
    session->greeting_us = clock_mono_us() + (gint64)LIMIT_GREETING_MS * 1000;
    session_set_state(session, SESSION_GREETING);
    session_wake(session);
}

static void on_connected(Stream *stream, const GError *error, gpointer data)
{
    Session *session = data;
    g_clear_object(&session->connecting);
    if (session->ending || session->state != SESSION_CONNECTING) {
        stream_free(stream);
    } else if (!stream) {
        session_fail(session, error ? g_error_copy(error) : G_ERRORF(OFFLINE, "no connection"));
        session_pump(session);
    } else {
        session_begin(session, stream);
    }
    session_unref(session);
}

Session *session_new(const Account *account, const SessionEvents *events, gpointer data)
{
    Session *session = session_alloc(account, events, data);
    session->connecting = g_cancellable_new();
    session_ref(session); /* until on_connected */
    net_connect(&account->target, session->connecting, on_connected, session);
    return session;
}

Session *session_new_on_stream(const Account *account, Stream *stream, const SessionEvents *events,
                               gpointer data)
{
    Session *session = session_alloc(account, events, data);
    session_begin(session, stream);
    return session;
}

void session_free(Session *session)
{
    if (!session)
        return;
    memset(&session->events, 0, sizeof session->events);
    session_ref(session);
    session_fail(session, NULL);
    session_wind_up(session);
    g_source_set_ready_time(session->wake, -1);
    session_unref(session);
    session_unref(session);
}

static void logout_done(Command *command, CommandResult result, const Response *tagged,
                        gpointer data)
{
    session_fail(data, NULL);
}

void session_close(Session *session)
{
    if (session->ending || session->state == SESSION_CLOSING)
        return;
    if (session->state != SESSION_READY) {
        session_fail(session, NULL);
        return;
    }
    session_set_state(session, SESSION_CLOSING);
    session->close_us = clock_mono_us() + CLOSE_MS * 1000;
    queue_submit_internal(session, session_command(session, logout_done, "LOGOUT"));
}

void session_ready(Session *session)
{
    session_set_state(session, SESSION_READY);
    session->told_ready = true;
    if (session->events.on_ready)
        session->events.on_ready(session, NULL, session->data);
}

/* --- small questions --- */

Command *command_new(CommandLane lane, CommandDone on_done, gpointer data)
{
    Command *command = g_new0(Command, 1);
    command->text = command_text_new();
    command->lane = lane;
    command->on_done = on_done;
    command->data = data;
    return command;
}

Command *session_command(Session *session, CommandDone done, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    Command *command = command_new(LANE_FOREGROUND, done, session);
    command_text_add(command->text, "%s", text);
    return command;
}

SessionState session_state(const Session *session)
{
    return session->state;
}

const ServerInfo *session_server(const Session *session)
{
    return &session->server;
}

void session_counters(const Session *session, guint64 *received_out, guint64 *sent_out)
{
    *received_out = session->received;
    *sent_out = session->sent;
    if (session->stream)
        stream_counters(session->stream, received_out, sent_out);
}

bool session_utf8(const Session *session)
{
    return session->utf8;
}

bool session_qresync(const Session *session)
{
    return session->qresync;
}

bool session_condstore(const Session *session)
{
    return session->condstore;
}

gsize session_line_limit(const Session *session)
{
    return server_has_quirk(&session->server, QUIRK_SHORT_LINES) ? 1000 - 32 : LIMIT_COMMAND_LINE;
}

void session_set_password_retry(Session *session, bool retry)
{
    session->login.retry = retry;
}

char *session_describe(const Session *session)
{
    GString *out = g_string_new(session_state_name(session->state));
    g_string_ascii_down(out);
    if (session->stream) {
        g_autofree char *place = stream_describe(session->stream);
        g_string_append_printf(out, ", %s", place);
    }
    if (session->server.server_name)
        g_string_append_printf(out, ", %s", session->server.server_name);
    if (session->selected.mailbox) {
        g_autofree char *name =
            log_printable(session->selected.mailbox, strlen(session->selected.mailbox), 200);
        g_string_append_printf(out, ", %s%s", name,
                               session->idle.state == IDLE_ON ? " (watched)" : "");
    }
    guint in_flight = session_in_flight(session), queued = session_queued(session);
    if (in_flight || queued)
        g_string_append_printf(out, ", %u in flight, %u queued", in_flight, queued);
    return g_string_free(out, FALSE);
}
