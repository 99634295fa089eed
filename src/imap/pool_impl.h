/* pool_impl.h - the inside of a pool, shared by pool.c (connections) and leases.c (who has them).
 *
 * Layer imap, private. */
#pragma once
#include "session_impl.h"

#include "imapfs/imap/pool.h"

#define LOG_POOL "pool"

/* A connection, from the attempt to make it until the last lease on it is released. */
typedef struct {
    Pool *pool;
    Session *session;
    bool ready;   /* leases may be given on it */
    bool closing; /* by pool_set_offline: what comes of it is not of interest */
    bool ended;
    bool telling;   /* that it ended: who gives it back meanwhile does not free it */
    char *mailbox;  /* selected, or a SELECT for it is under way; NULL */
    bool selected;  /* ... and on_selected told so: on_unselected is owed */
    char *watch;    /* what to select when it is ready, unless somebody has it by then */
    guint n_leases; /* of any kind */
    guint n_held;   /* of those, for its mailbox: it is not switched away */
    gint64 ready_us, used_us;
    gint64 wanted_us; /* when on_wanted was last told of it */
} Member;

struct PoolLease {
    Pool *pool;    /* NULL: freed before the lease */
    char *mailbox; /* NULL: any session */
    CommandLane lane;
    PoolReady ready;
    gpointer data;
    Member *member; /* granted */
    guint64 serial;
    gint64 since_us;
    bool in_call;  /* pool_lease has not returned */
    bool released; /* inside it */
};

struct Pool {
    const Account *account;
    PoolEvents events;
    gpointer data;
    PoolConnector connector;
    gpointer connector_data;
    GPtrArray *members; /* of Member */
    GPtrArray *leases;  /* of PoolLease: all there are */
    guint64 n_leases;   /* ever made */
    GQueue waiting[2];  /* of PoolLease, by lane */
    bool serving, serve_again;

    PoolState state;
    GError *error;          /* of the last attempt that failed, or the last loss */
    guint level;            /* of back-off */
    guint n_refused;        /* logins refused in a row */
    gint64 failed_us;       /* when the last attempt failed; 0: it did not */
    gint64 attempt_us;      /* the next one; 0: none */
    gint64 grow_us;         /* no connection beside others before this */
    gint64 resumed_us;      /* the last resume from suspend; 0: none */
    gint64 asleep_us;       /* boot clock minus mono clock */
    gint64 tick_us;         /* when to compare them next */
    gint64 wanted_us;       /* when on_wanted was last told */
    guint64 received, sent; /* bytes, by sessions that have ended */
    bool started, freeing;
    GSource *timer;
};

/* --- pool.c --- */

bool pool_is_connecting(const Pool *pool);
guint pool_count_ready(const Pool *pool);
bool pool_waits_for_kick(const Pool *pool); /* too many refused logins */
/* One more connection, if there may be one; watch: see Member. */
void pool_grow(Pool *pool, const char *watch);
void pool_attempt(Pool *pool);
void pool_arm(Pool *pool);         /* the timer, for what is due next */
void member_leave(Member *member); /* its mailbox: it has none then */
void member_switch(Member *member, const char *mailbox);
void member_select(Member *member); /* its mailbox, as select_params says now */
/* Frees it when it ended and nobody has it. */
void member_unref(Member *member);

/* --- leases.c --- */

/* Gives sessions to leases that wait, as far as it goes. */
void leases_serve(Pool *pool);
/* Since when somebody waits for a session that others hold; 0: nobody does. */
gint64 leases_wait_since(const Pool *pool);
void leases_fail_waiting(Pool *pool, const GError *error);
void leases_orphan(Pool *pool);
