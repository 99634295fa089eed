/* dispatch.c - what a response means in the state the session is in, and who is told of it.
 *
 * The one rule: nothing said before the login, or about messages while no mailbox is selected,
 * reaches an event (RFC 9051 11.3); and words of the server are printed escaped, or not at all. */
#include "session_impl.h"

#include <string.h>

#define ALERTS_PER_MINUTE 5u

char *session_text(const Session *session, const Response *response)
{
    const char *text = response->text ? response->text : "";
    if (!session->stream || !stream_is_secure(session->stream))
        return g_strdup("(words that nobody vouches for)");
    g_autofree char *printable = log_printable(text, strlen(text), LIMIT_SERVER_TEXT);
    if (response->code == CODE_NONE || !response->code_text)
        return g_steal_pointer(&printable);
    g_autofree char *code =
        log_printable(response->code_text, strlen(response->code_text), LIMIT_SERVER_TEXT / 5);
    return g_strdup_printf("[%s] %s", code, printable);
}

/* RFC 9051 7.1: an ALERT must be shown; but not before TLS, when anybody may have written it. */
static void session_alert(Session *session, const Response *response)
{
    if (response->code != CODE_ALERT || !stream_is_secure(session->stream))
        return;
    gint64 now = clock_mono_us();
    if (session->alert_us == 0 || now - session->alert_us >= 60 * G_USEC_PER_SEC) {
        session->alert_us = now;
        session->n_alerts = 0;
    }
    if (session->n_alerts++ >= ALERTS_PER_MINUTE)
        return;
    g_autofree char *text = session_text(session, response);
    log_warn(LOG_IMAP, "%s: the server says: %s", session->label, text);
}

static void dispatch_bye(Session *session, const Response *response)
{
    session_alert(session, response);
    if (session->state == SESSION_CLOSING)
        return;
    g_autofree char *text = session_text(session, response);
    if (session->login.starting_tls && !stream_is_secure(session->stream))
        session_fail(session, G_ERRORF(TLS, "the server said BYE instead of starting TLS"));
    else if (session->state != SESSION_READY)
        session_fail(session, G_ERRORF(OFFLINE, "the server said BYE: %s", text));
    else
        session_fail(session, G_ERRORF(LOST, "the server said BYE: %s", text));
}

static void dispatch_status(Session *session, Response *response)
{
    session_alert(session, response);
    if (response->code == CODE_CAPABILITY && response->words)
        login_set_capabilities(session, response->words);
    if (selected_on_status(session, response) || session->state != SESSION_READY ||
        queue_offer(session, response, NULL))
        return;
    if (response->code != CODE_NONE && response->code != CODE_OTHER &&
        response->code != CODE_ALERT && response->code != CODE_CAPABILITY &&
        response->code != CODE_CLOSED)
        session_tell_untagged(session, session->selected.mailbox, response);
}

static bool is_about_messages(ResponseKind kind)
{
    return kind == RESP_EXISTS || kind == RESP_RECENT || kind == RESP_EXPUNGE ||
           kind == RESP_VANISHED || kind == RESP_FETCH || kind == RESP_FLAGS;
}

/* Data before the login is nobody's: it never reaches an event (RFC 9051 11.3). */
static void dispatch_data(Session *session, Response *response)
{
    if (!session->login.authenticated)
        log_debug(LOG_IMAP, "%s: unasked %s before the login", session->label,
                  response_kind_name(response->kind));
    else if (is_about_messages(response->kind))
        selected_on_data(session, response);
    else if (!queue_offer(session, response, NULL) && session->state == SESSION_READY &&
             response->kind != RESP_UNKNOWN)
        session_tell_untagged(session, session->selected.mailbox, response);
}

static void dispatch_untagged(Session *session, Response *response)
{
    if (session->state == SESSION_LOGIN && !session->login.spoken && response->kind != RESP_BYE) {
        session_violation(session, "it answered before it was asked");
        return;
    }
    if (!queue_count_untagged(session)) {
        session_violation(session, "too many untagged responses");
        return;
    }
    switch (response->kind) {
    case RESP_BYE:
        dispatch_bye(session, response);
        break;
    case RESP_PREAUTH:
        session_violation(session, "PREAUTH after the greeting");
        break;
    case RESP_OK:
    case RESP_NO:
    case RESP_BAD:
        dispatch_status(session, response);
        break;
    case RESP_CAPABILITY:
        login_set_capabilities(session, response->words);
        break;
    default:
        dispatch_data(session, response);
    }
}

void session_dispatch(Session *session, Response *response)
{
    if (session->state == SESSION_GREETING) {
        session_alert(session, response);
        login_on_greeting(session, response);
    } else if (response->tag) {
        session_alert(session, response);
        queue_on_tagged(session, response);
    } else if (response->kind == RESP_CONTINUE) {
        queue_on_continue(session, response);
    } else {
        dispatch_untagged(session, response);
    }
}

void session_tell_untagged(Session *session, const char *mailbox, Response *response)
{
    if (!session->events.on_untagged)
        return;
    g_autofree char *name = g_strdup(mailbox);
    session->events.on_untagged(session, name, response, session->data);
}
