/* session.h - one connection: greeting to logout; commands pipelined; the selected mailbox.
 *
 * Layer imap. Thread: the loop only. Owned by the pool (tests own one directly). Split by noun:
 * session.c (the connection and its states), queue.c (commands in flight), login.c (TLS to ENABLE),
 * selected.c (SELECT, [CLOSED], IDLE).
 *
 * State: X table; every change goes through session_set_state(), which logs. Any violation, timeout
 * or loss ends the session: every command gets on_done(LOST) once, then on_end is called once. */
#pragma once
#include "imapfs/imap/account.h"
#include "imapfs/imap/capability.h"
#include "imapfs/wire/command.h"
#include "imapfs/wire/response.h"

#define SESSION_STATES(X) X(CONNECTING) X(GREETING) X(LOGIN) X(READY) X(CLOSING) X(ENDED)
typedef enum {
#define SESSION_STATE_ENUM(name) SESSION_##name,
    SESSION_STATES(SESSION_STATE_ENUM)
#undef SESSION_STATE_ENUM
} SessionState;
const char *session_state_name(SessionState state);

typedef struct Session Session;

/* --- commands --- */

/* X(NAME): what became of a command. OK, NO and BAD are the server's tagged answer. */
typedef enum { COMMAND_OK, COMMAND_NO, COMMAND_BAD, COMMAND_LOST, COMMAND_CANCELLED } CommandResult;

typedef enum {
    LANE_FOREGROUND, /* somebody waits */
    LANE_BACKGROUND, /* prefetch, resync, polling: sent only while few foreground ones are in flight
                      */
} CommandLane;

typedef struct Command Command;
/* An untagged response that came while the command was in flight and whose kind is in `wants`.
 * true: it was this command's own (others in flight do not see it). */
typedef bool (*CommandUntagged)(Command *command, Response *response, gpointer data);
/* Exactly once, for every submitted command. tagged is NULL for LOST and CANCELLED; borrowed. */
typedef void (*CommandDone)(Command *command, CommandResult result, const Response *tagged,
                            gpointer data);

/* Bytes of the session's answers, or of the command itself, moved while it was in flight: a long
 * literal is on its way, slowly. Only to be noted. */
typedef void (*CommandProgress)(gpointer data);

/* Fill, then session_submit(). Freed by the session after on_done. */
struct Command {
    CommandText *text; /* owned; without tag. Gone (NULL) when it was sent */
    CommandLane lane;
    guint64 wants;  /* bits 1 << RESP_* */
    guint expected; /* about how many untagged responses it brings (limit: see limits.h) */
    guint64 weight; /* about how many bytes are to come; few of the background are in flight when it
                       is many */
    bool alone;     /* nothing may be in flight beside it (AUTHENTICATE, COMPRESS, ...) */
    bool brief;     /* nobody waits yet, but its answer is short: the background does not wait */
    CommandUntagged on_untagged; /* may be NULL */
    CommandDone on_done;         /* may be NULL */
    CommandProgress on_progress; /* may be NULL */
    gpointer data;
    /* the rest is the session's */
    char *tag;
    GArray *pieces;
    guint next_piece;
    guint64 begin_offset; /* where it begins and ends in what the session wrote; */
    guint64 end_offset;   /* 0 while a "+" is awaited */
    guint64 n_untagged;
    guint64 most_exists; /* messages in the mailbox meanwhile */
    gint64 sent_us;
    gint64 progress_us; /* when bytes for it last moved; its timeout counts from here */
    guint8 needs;       /* what it needs before it is sent: see the table of verbs in queue.c */
    bool cancelled;
    bool void_mailbox; /* it was meant for a mailbox that could not be selected */
};
Command *command_new(CommandLane lane, CommandDone on_done, gpointer data);
/* In on_done: some of it may have reached the server. */
static inline bool command_was_sent(const Command *command)
{
    return command->tag != NULL;
}

/* --- the selected mailbox --- */

typedef struct {
    const char *mailbox; /* canonical name */
    bool examine;        /* read-only: nothing we do can change it */
    guint32 uidvalidity; /* with modseq != 0 and QRESYNC: send (QRESYNC (uidvalidity modseq ...)) */
    guint64 modseq;
    const UidSet *known; /* known-uids of QRESYNC, or NULL. Borrowed for the call */
} SelectParams;

typedef struct {
    guint32 uidvalidity, uidnext; /* 0: not told */
    guint32 exists;
    guint64 highestmodseq; /* 0: NOMODSEQ or not told */
    bool examined; /* it was an EXAMINE: read_only and permanent_flags say nothing of SELECT's */
    bool read_only, uid_not_sticky;
    bool has_permanent_flags;
    Flags permanent_flags;
    bool qresync;    /* the delta (VANISHED (EARLIER), FETCH) came with it */
    char *mailboxid; /* RFC 8474, or NULL */
} SelectResult;

/* All calls from the main context, never from inside a session_* call but session_free's. */
typedef struct {
    /* READY (error NULL), or it could not be: AUTH, TLS, OFFLINE, TIMEOUT, PROTOCOL, CONFIG. Once.
     */
    void (*on_ready)(Session *session, const GError *error, gpointer data);
    /* SELECT or EXAMINE was answered, or the session ended before (LOST); once for every
     * session_select(). result NULL on failure (then nothing is selected). */
    void (*on_selected)(Session *session, const char *mailbox, const SelectResult *result,
                        const GError *error, gpointer data);
    /* Unsolicited news of the selected mailbox, or any untagged data no command took: EXISTS,
     * EXPUNGE, VANISHED, FETCH, FLAGS, LIST, STATUS, ... Also what belongs to a SELECT in progress
     * (between its start, after [CLOSED], and its tagged answer): mailbox is then the new one.
     * Names in LIST and STATUS are the wire's bytes still: mailbox_name_from_wire() with
     * session_utf8(). The response is freed after the call. */
    void (*on_untagged)(Session *session, const char *mailbox, Response *response, gpointer data);
    /* It is over; error says why (NULL after session_close). The session may be freed here (or in
     * any other event). */
    void (*on_end)(Session *session, const GError *error, gpointer data);
} SessionEvents;

/* Starts connecting. account outlives the session. */
Session *session_new(const Account *account, const SessionEvents *events, gpointer data);
/* For tests: over a stream (takes) that is connected already. */
Session *session_new_on_stream(const Account *account, Stream *stream, const SessionEvents *events,
                               gpointer data);
/* Ends at once; commands get LOST; no events but those. NULL is fine. */
void session_free(Session *session);
/* LOGOUT, wait at most 1 s, end. */
void session_close(Session *session);

SessionState session_state(const Session *session);
const ServerInfo *session_server(const Session *session);
/* Bytes on the wire, as stream_counters(); of one that has ended, all that there were. */
void session_counters(const Session *session, guint64 *received_out, guint64 *sent_out);
bool session_utf8(const Session *session);    /* UTF8=ACCEPT is enabled */
bool session_qresync(const Session *session); /* QRESYNC is enabled */
bool session_condstore(const Session *session);
char *session_describe(const Session *session); /* for .imapfs/status; caller frees */
guint session_in_flight(const Session *session);
guint session_queued(const Session *session);
/* Octets of a command outside literals that this server takes (LIMIT_COMMAND_LINE or fewer). */
gsize session_line_limit(const Session *session);

/* Queues (takes). Pipelined by one policy, in queue.c: FIFO in a lane; foreground first; at most
 * LIMIT_PIPELINE in flight; `alone` commands wait for an empty pipe; a sync literal holds the line;
 * a state-changing command (SELECT) lets reads follow it. IDLE is left first (DONE, pipelined). */
void session_submit(Session *session, Command *command);
/* One of the background that is still to be sent goes before all that nobody waits for. In flight
 * it counts as what it is. */
void session_hurry(Session *session, Command *command);
/* The callback is called with CANCELLED, now if it was not sent, else when it is answered. */
void session_cancel(Session *session, Command *command);

/* Once READY. Submits SELECT or EXAMINE; on_selected follows. Commands submitted after it are meant
 * for it. If it fails those that need a mailbox are answered COMMAND_LOST, or with the server's NO
 * or BAD. Only commands that change nothing are sent before it is answered. */
void session_select(Session *session, const SelectParams *params);
/* UNSELECT, or EXAMINE of a name that does not exist; never CLOSE. */
void session_unselect(Session *session);
/* The mailbox that commands submitted now would meet; NULL. Canonical. */
const char *session_mailbox(const Session *session);
/* What it had selected it may still have: one of these two is not answered yet. */
bool session_is_switching(const Session *session);

/* With nothing to do for linger_ms and a mailbox selected, enter IDLE (or NOOP every minute where
 * there is none); renewed every LIMIT_IDLE_RENEW_S. The default is on, 200 ms. */
void session_set_idle(Session *session, bool on, guint linger_ms);

/* The machine slept or the network changed: every connection proves itself with a NOOP within 5 s.
 */
void session_check(Session *session);

/* What is due by clock_mono_us() happens now. The session's own timer calls it; tests that move a
 * fake clock call it themselves. */
void session_tick(Session *session);
