/* session_impl.h - the inside of a session, shared by the files that make it up.
 *
 * Layer imap, private. One rule for all of them: only session_pump() touches the stream and calls
 * events, so nothing a caller does inside a session_* call can come back to him. Whatever ends the
 * session goes through session_fail(), which only notes it; the pump then winds up. */
#pragma once
#include "imapfs/base/clock.h"
#include "imapfs/base/error.h"
#include "imapfs/base/limits.h"
#include "imapfs/base/log.h"
#include "imapfs/imap/session.h"
#include "imapfs/wire/reader.h"
#include "outbox.h"
#include "password.h"

#define LOG_IMAP "imap"
#define CHECK_US (5 * G_USEC_PER_SEC) /* session_check */

/* --- queue.c --- */

/* What lies between two changes of the selected mailbox. */
typedef struct {
    Command *barrier; /* the SELECT, EXAMINE or UNSELECT that begins it; NULL when it was sent */
    GQueue lanes[2];  /* of Command, by CommandLane */
} Segment;

typedef struct {
    GQueue internal;  /* of Command: login, IDLE, NOOP, LOGOUT; before all others */
    GQueue segments;  /* of Segment; never empty */
    GQueue in_flight; /* of Command, in the order sent */
    Outbox *outbox;
    guint n_tags;
    Command *literal;     /* in flight, waits for "+": nothing else may be written */
    guint64 n_stray;      /* untagged responses while nothing was in flight, ... */
    guint64 stray_exists; /* ... and the most messages that there were meanwhile */
    gint64 throttled_us;  /* the background waits until then */
} Queue;

void queue_init(Queue *queue);
void queue_clear(Queue *queue);
/* Answers every command with LOST. They may submit more: those are answered as well. */
void queue_lose_all(Session *session);
void queue_submit_internal(Session *session, Command *command);
void queue_submit_barrier(Session *session, Command *command);
/* Sends what the policy lets. */
void queue_run(Session *session);
bool queue_is_quiet(const Session *session); /* nothing queued, nothing in flight (IDLE excepted) */
void queue_on_tagged(Session *session, const Response *response);
void queue_on_continue(Session *session, const Response *response);
/* Counts an untagged response against the command that is being answered; false: too many. */
bool queue_count_untagged(Session *session);
/* Offers to the commands in flight, as far as `until` (exclusive, NULL: all); true: one took it. */
bool queue_offer(Session *session, Response *response, const Command *until);
void queue_note_progress(Session *session);
void queue_note_bytes(Session *session, gsize n); /* came; of what is in flight */
gint64 queue_deadline(const Session *session);    /* of the command that waits longest */
gint64 queue_throttled_until(const Session *session);
/* A SELECT failed: what was meant for its mailbox must not meet another, or none. */
void queue_void_behind(Session *session, GQueue *doomed_out);
void queue_answer_lost(Session *session, GQueue *doomed);
void queue_finish_command(Session *session, Command *command, CommandResult result,
                          const Response *tagged);

/* --- login.c --- */

typedef struct {
    PasswordJob *password;  /* under way on its thread */
    Secret *response;       /* to be sent at the "+" of AUTHENTICATE */
    const char *dismissal;  /* is to be said when the server says why it refuses; NULL: it cannot */
    char *refused;          /* why it did; or NULL */
    Command *authenticate;  /* in flight */
    bool authenticated;     /* what the server says now counts */
    bool have_capabilities; /* those that hold in this phase */
    bool spoken;            /* something was sent since the stream began (or became TLS) */
    bool starting_tls;      /* STARTTLS was sent: losing the stream now is a TLS failure */
    guint pending;          /* ENABLE and ID still to be answered */
    bool retry;             /* the last password was refused */
} Login;

void login_on_greeting(Session *session, const Response *response);
/* A "+" for AUTHENTICATE; false when none is expected. */
bool login_on_continue(Session *session, const Response *response);
void login_clear(Session *session);
/* A capability list came: untagged or as a response code. */
void login_set_capabilities(Session *session, const GPtrArray *words);

/* --- selected.c --- */

typedef struct {
    char *mailbox; /* selected on the server, as far as its answers have been read; NULL */
    guint64 exists;
    char *intent;  /* what commands submitted now would meet; NULL */
    guint n_asked; /* session_select() and session_unselect() so far: whose intent it is */
    guint n_answered;
} Selected;

/* What untagged data about messages means now: drops it, offers it to commands, or tells it. */
void selected_on_data(Session *session, Response *response);
/* Response codes that a SELECT brings; true: this was said in one. */
bool selected_on_status(Session *session, const Response *response);
/* A SELECT is in flight. */
bool selected_is_selecting(const Session *session);
guint64 selected_exists(const Session *session);
void selected_clear(Session *session);

/* --- idle.c --- */

typedef enum { IDLE_OFF, IDLE_STARTING, IDLE_ON, IDLE_LEAVING } IdleState;

typedef struct {
    bool wanted;
    guint linger_ms;
    IdleState state;
    Command *command; /* in flight unless IDLE_OFF */
    bool leave;       /* DONE as soon as the "+" is there */
    bool again;       /* enter anew at once */
    bool refused;     /* this server does not mean it: NOOP instead */
    guint n_done;     /* DONEs said that were not answered as if they were commands */
    guint n_short;    /* how often in a row the server ended it right away */
    gint64 quiet_us;  /* since when there is nothing to do; 0: there is */
    gint64 since_us, renew_us;
    Command *check; /* NOOP of session_check, until it is answered */
} Idle;

void idle_init(Idle *idle);
/* Makes room for another command: sends DONE. True when commands may be written now. */
bool idle_make_way(Session *session);
bool idle_on_continue(Session *session);
/* An answer to the DONE itself; false: it is none. */
bool idle_on_unknown_tag(Session *session, const Response *response);
/* Enters, renews, or asks, when it is time. */
void idle_run(Session *session);
gint64 idle_deadline(const Session *session);

/* --- dispatch.c --- */

void session_dispatch(Session *session, Response *response);
/* What the server said, fit for a log or an error; before TLS nothing of it. Caller frees. */
char *session_text(const Session *session, const Response *response);
void session_tell_untagged(Session *session, const char *mailbox, Response *response);

/* --- session.c --- */

struct Session {
    guint refs; /* the owner's, and one while the pump runs */
    const Account *account;
    SessionEvents events;
    gpointer data;
    char *label; /* for the log: "alice#3" */
    SessionState state;
    GSource *wake; /* calls the pump: soon, or at the next deadline */
    GCancellable *connecting;
    Stream *stream;
    guint64 received, sent; /* on the wire, when the stream is gone */
    Reader *reader;
    guint8 *buffer;

    bool ending;       /* session_fail was called */
    GError *end_error; /* why; NULL: as wished */
    bool told_ready, told_end;

    ServerInfo server;
    bool utf8, qresync, condstore;
    Queue queue;
    Login login;
    Selected selected;
    Idle idle;

    gint64 greeting_us, close_us, check_us; /* deadlines; 0: none */
    gsize unfinished;                       /* bytes since the last sign of progress */
    gint64 alert_us;
    guint n_alerts;
};

#define G_ERRORF(code, ...) g_error_new(IMAPFS_ERROR, IMAPFS_ERROR_##code, __VA_ARGS__)

void session_set_state(Session *session, SessionState state);
/* Ends the session (takes error; NULL: as wished). The first reason counts. */
void session_fail(Session *session, GError *error);
void session_violation(Session *session, const char *what);
/* Calls the pump from the main context. */
void session_wake(Session *session);
/* Puts another stream under the session: takes it. */
void session_use_stream(Session *session, Stream *stream);
void session_ready(Session *session);
gint64 session_timeout_us(const Session *session);
Command *session_command(Session *session, CommandDone done, const char *format, ...)
    G_GNUC_PRINTF(3, 4);
/* Whether the next login follows one that was refused (pool.c). */
void session_set_password_retry(Session *session, bool retry);

/* --- capability.c --- */

/* Replaces the capabilities. disable: as in Account. */
void server_info_set_capabilities(ServerInfo *info, const GPtrArray *words, char *const *disable);
typedef enum {
    QUIRK_FROM_GREETING,
    QUIRK_FROM_ID,
    QUIRK_FROM_CAPABILITY,
    QUIRK_FROM_HOST
} QuirkFrom;
void server_info_note_quirks(ServerInfo *info, QuirkFrom from, const char *text);
void server_info_clear(ServerInfo *info);
