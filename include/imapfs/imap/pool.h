/* pool.h - the connections of an account: which mailbox is on which, and coming back.
 *
 * Layer imap. Thread: the loop only. Owned by the engine. One session is the first to be made and
 * the last to go. A mailbox is selected on at most one session. Loss is answered by back-off (1 s
 * to 5 min, with jitter, at once after a resume from suspend or pool_kick), never by giving up;
 * refused logins are tried twice and then wait for pool_kick, as more would lock the account. */
#pragma once
#include "imapfs/imap/session.h"

typedef struct Pool Pool;

typedef enum {
    POOL_CONNECTING, /* first attempt, or an attempt after a loss, is under way */
    POOL_ONLINE,     /* at least one session is ready */
    POOL_OFFLINE,    /* the last attempt failed; error and next attempt are known */
    POOL_STOPPED,    /* by pool_set_offline */
} PoolState;

typedef struct {
    void (*on_state)(Pool *pool, PoolState state, const GError *error, gpointer data);
    /* What to select this mailbox with: uidvalidity, modseq, examine. */
    void (*select_params)(Pool *pool, const char *mailbox, SelectParams *params, gpointer data);
    void (*on_selected)(Pool *pool, Session *session, const char *mailbox,
                        const SelectResult *result, const GError *error, gpointer data);
    void (*on_untagged)(Pool *pool, Session *session, const char *mailbox, Response *response,
                        gpointer data);
    /* A mailbox is no longer on any session (switched away, or lost): what is known of it ages. */
    void (*on_unselected)(Pool *pool, const char *mailbox, gpointer data);
    /* Somebody has waited for a while for a session, and all are held: who holds this mailbox's for
     * long may give it back, and ask for it anew. What he submitted is answered all the same. Said
     * again while it is so. May be NULL. */
    void (*on_wanted)(Pool *pool, const char *mailbox, gpointer data);
    /* Every new session, once it is ready, before anything else is submitted. */
    void (*on_session)(Pool *pool, Session *session, gpointer data);
} PoolEvents;

Pool *pool_new(const Account *account, const PoolEvents *events, gpointer data);
void pool_free(Pool *pool);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Pool, pool_free)

void pool_start(Pool *pool);
PoolState pool_state(const Pool *pool);
/* Why it is offline, borrowed; and when the next attempt is (CLOCK_MONOTONIC us, 0: none). */
const GError *pool_error(const Pool *pool, gint64 *next_attempt_us_out);

typedef struct PoolLease PoolLease;
typedef void (*PoolReady)(PoolLease *lease, Session *session, const GError *error, gpointer data);

/* A session on which `mailbox` is selected (already, or a SELECT for it is submitted and what
 * follows is pipelined behind it), or any ready session when mailbox is NULL. ready is called once;
 * at once if it can be, from inside this call. session is NULL with error OFFLINE, LOST, TIMEOUT,
 * AUTH. A session that somebody holds for another mailbox is not taken away: the lease waits for
 * one to be free (least recently used idle mailbox goes first), or for a new connection. */
typedef struct PoolLease PoolLease;
typedef void (*PoolReady)(PoolLease *lease, Session *session, const GError *error, gpointer data);
/* When ready is called with an error the lease is still to be released. When ready releases it from
 * inside this call, NULL is returned. A session that is lost stays in place (its commands answer
 * LOST) until its leases are released. */
PoolLease *pool_lease(Pool *pool, const char *mailbox, CommandLane lane, PoolReady ready,
                      gpointer data);
/* Somebody waits for it now, and nobody did when it was asked for. */
void pool_hurry(PoolLease *lease);
/* Ends the lease (also one that never became ready: then ready is not called). */
void pool_release(PoolLease *lease);

/* Selects a mailbox again on the session that has it, asking select_params anew: EXAMINE becomes
 * SELECT. Leases stay as they are, and commands in flight are answered; on_selected follows, but no
 * on_unselected: the mailbox was never left. False: no session has it. */
bool pool_reselect(Pool *pool, const char *mailbox);

/* What this mailbox is called is going to be another's name: the session that has it, or is about
 * to, leaves it, behind what was submitted there. on_unselected follows from inside, if it was
 * selected. */
void pool_forget(Pool *pool, const char *mailbox);

/* Tries at once. */
void pool_kick(Pool *pool);
/* Somebody asks for the server now: tries at once, unless it was refused (the account might be
 * locked) or is to be offline; with insist also when an attempt failed a moment ago. False: there
 * is no connection and no attempt is under way; pool_error() says why. */
bool pool_reach(Pool *pool, bool insist);
/* Offline: every session logs out (within 1 s), and waiting leases end with OFFLINE. */
void pool_set_offline(Pool *pool, bool offline);
/* Those that are logging out as well. */
void pool_each_session(Pool *pool, void (*f)(Session *session, gpointer data), gpointer data);

/* Bytes on the wire since pool_new(), by all sessions that there were. */
void pool_counters(Pool *pool, guint64 *received_out, guint64 *sent_out);

/* For tests: how sessions are made (with session_new otherwise), and what is due by clock_mono_us()
 * happening now. */
typedef Session *(*PoolConnector)(const Account *account, const SessionEvents *events,
                                  gpointer session_data, gpointer data);
void pool_set_connector(Pool *pool, PoolConnector connector, gpointer data);
void pool_tick(Pool *pool);
/* The machine slept: what the pool's timer finds out by comparing two clocks. */
void pool_resumed(Pool *pool);
