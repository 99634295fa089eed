/* idle.c - what a session does when there is nothing to do: IDLE, or asking now and then.
 *
 * The one rule: DONE is sent only after "+" (RFC 2177), and a server that does not answer a renewal
 * in time is a dead connection. */
#include "session_impl.h"

#define LINGER_MS 200u
#define POLL_S 60                     /* where the account says nothing */
#define SHORT_US (5 * G_USEC_PER_SEC) /* ended by the server sooner than this: not meant */
#define MAX_SHORT 3u

void idle_init(Idle *idle)
{
    idle->wanted = true;
    idle->linger_ms = LINGER_MS;
}

/* --- entering and leaving --- */

static void note_end(Session *session, CommandResult result)
{
    Idle *idle = &session->idle;
    bool ours = idle->state == IDLE_LEAVING;
    bool refused = result == COMMAND_NO || result == COMMAND_BAD;
    if (refused && !ours)
        idle->refused = true;
    if (clock_mono_us() - idle->since_us >= SHORT_US)
        idle->n_short = 0;
    else if (result == COMMAND_OK && !ours && ++idle->n_short >= MAX_SHORT)
        idle->refused = true;
    if (idle->refused)
        log_info(LOG_IMAP, "%s: IDLE does not work here; polling instead", session->label);
}

static void idle_done(Command *command, CommandResult result, const Response *tagged, gpointer data)
{
    Session *session = data;
    Idle *idle = &session->idle;
    if (result != COMMAND_LOST)
        note_end(session, result);
    idle->state = IDLE_OFF;
    idle->command = NULL;
    idle->leave = false;
}

static void enter(Session *session)
{
    Idle *idle = &session->idle;
    idle->state = IDLE_STARTING;
    idle->again = false;
    idle->since_us = clock_mono_us();
    idle->command = session_command(session, idle_done, "IDLE");
    queue_submit_internal(session, idle->command);
}

static void send_done(Session *session)
{
    session->idle.state = IDLE_LEAVING;
    session->idle.leave = false;
    session->idle.n_done++;
    session->idle.command->progress_us = clock_mono_us();
    outbox_add_line(session->queue.outbox, "DONE");
}

bool idle_make_way(Session *session)
{
    Idle *idle = &session->idle;
    if (g_queue_find(&session->queue.internal, idle->command))
        return true; /* it is what is about to be sent */
    if (idle->state == IDLE_STARTING) {
        idle->leave = true;
        return false;
    }
    if (idle->state == IDLE_ON)
        send_done(session);
    return true;
}

bool idle_on_continue(Session *session)
{
    Idle *idle = &session->idle;
    if (!idle->command || idle->command->end_offset == 0 ||
        outbox_written(session->queue.outbox) < idle->command->end_offset)
        return false;
    if (idle->state != IDLE_STARTING)
        return true; /* said again: harmless */
    idle->state = IDLE_ON;
    idle->renew_us = clock_mono_us() + LIMIT_IDLE_RENEW_S * G_USEC_PER_SEC;
    if (idle->leave)
        send_done(session);
    return true;
}

/* It had ended by itself when the DONE came, which then was a command that nobody knows. */
bool idle_on_unknown_tag(Session *session, const Response *response)
{
    if (!session->idle.n_done || response->kind == RESP_OK ||
        g_ascii_strcasecmp(response->tag, "DONE") != 0)
        return false;
    session->idle.n_done--;
    return true;
}

void session_set_idle(Session *session, bool on, guint linger_ms)
{
    session->idle.wanted = on;
    session->idle.linger_ms = linger_ms;
    session_wake(session);
}

/* --- what is due when nothing else is --- */

static bool can_idle(const Session *session)
{
    return session->idle.wanted && !session->idle.refused && session->selected.mailbox &&
           server_can(&session->server, CAP_IDLE);
}

static gint64 quiet_for_us(const Session *session)
{
    const Idle *idle = &session->idle;
    if (can_idle(session))
        return idle->again ? 0 : (gint64)idle->linger_ms * 1000;
    bool polls = idle->wanted && session->selected.mailbox;
    guint poll_s = session->account->poll_s ? session->account->poll_s : POLL_S;
    return (polls ? poll_s : LIMIT_IDLE_RENEW_S) * G_USEC_PER_SEC;
}

static void run_quiet(Session *session)
{
    Idle *idle = &session->idle;
    gint64 now = clock_mono_us();
    if (!queue_is_quiet(session)) {
        idle->quiet_us = 0;
        idle->again = false;
        return;
    }
    if (idle->quiet_us == 0)
        idle->quiet_us = now;
    if (now < idle->quiet_us + quiet_for_us(session))
        return;
    idle->quiet_us = 0;
    if (can_idle(session))
        enter(session);
    else
        queue_submit_internal(session, session_command(session, NULL, "NOOP"));
}

void idle_run(Session *session)
{
    Idle *idle = &session->idle;
    if (session->state != SESSION_READY)
        return;
    if (idle->state == IDLE_OFF) {
        run_quiet(session);
    } else if (idle->state == IDLE_ON && !idle->wanted) {
        send_done(session);
    } else if (idle->state == IDLE_ON && clock_mono_us() >= idle->renew_us) {
        idle->again = true;
        send_done(session);
    }
}

gint64 idle_deadline(const Session *session)
{
    const Idle *idle = &session->idle;
    if (session->state != SESSION_READY)
        return 0;
    if (idle->state == IDLE_ON)
        return idle->renew_us;
    return idle->state == IDLE_OFF && idle->quiet_us ? idle->quiet_us + quiet_for_us(session) : 0;
}

/* --- is it still there? --- */

static void check_done(Command *command, CommandResult result, const Response *tagged,
                       gpointer data)
{
    Session *session = data;
    session->idle.check = NULL;
    session->check_us = 0;
}

void session_check(Session *session)
{
    if (session->ending || session->state == SESSION_CONNECTING ||
        session->state == SESSION_CLOSING)
        return;
    session->check_us = clock_mono_us() + CHECK_US;
    /* Of a login something is in flight, but for the time that the password is being asked for. */
    bool nothing_due = session->state == SESSION_READY || session->login.password;
    if (nothing_due && !session->idle.check) {
        session->idle.check = session_command(session, check_done, "NOOP");
        queue_submit_internal(session, session->idle.check);
    }
    session_wake(session);
}
