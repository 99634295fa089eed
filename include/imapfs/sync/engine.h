/* engine.h - puts into the store what is missing there, and keeps it as the server has it.
 *
 * Layer sync. The engine lives on the loop thread; functions marked [any] may be called from any
 * thread. Split by noun: engine.c (needs and waiters), mailboxes.c (LIST), mailbox.c (one mailbox's
 * listing and resync, one function a phase), fetch.c (structures and contents), status.c. */
#pragma once
#include "imapfs/imap/pool.h"
#include "imapfs/store/content.h"
#include "imapfs/store/store.h"

typedef struct Engine Engine;

typedef enum {
    NEED_MAILBOXES, /* the list of mailboxes, as the server has it now */
    NEED_MAILBOX,   /* all messages of a mailbox, as the server has them now */
    NEED_STRUCTURE, /* store_structure_get() of a message */
    NEED_SIZES,     /* store_size_get() of the decoded parts of a message, where it can be had
                       without fetching them; its structure is known */
    NEED_CONTENT,   /* content_open() of a content, whole; or engine_ranged(), for a large one */
    NEED_RANGE,     /* ranged_read() of offset and length of a content */
    NEED_STATUS,    /* a fresh engine_status() */
    NEED_REPLAYED,  /* nothing is pending (store/log.h) of a message, of a mailbox (uid 0) or at all
                       (box 0). Fails at once when there is no connection (OFFLINE, ...; an attempt
                       that is under way is waited for, a second at most after one that failed),
                       and when an operation that was awaited is parked or held (its reason) */
} NeedKind;

typedef struct {
    NeedKind kind;
    guint32 box, uid;
    ContentKind content;
    char *section;
    char *encoding, *charset; /* how to make DECODED, TEXT and HTML of the section */
    gint64 encoded_size;      /* of the section, by BODYSTRUCTURE or RFC822.SIZE; -1 not known */
    guint64 offset, length;   /* of NEED_RANGE: decoded bytes */
    bool whole;               /* of NEED_CONTENT: for content_open(), however large it is */
} Need;
/* The content that a need of one is about; its section is borrowed. */
ContentKey need_content_key(const Need *need);
Need *need_copy(const Need *need);
void need_clear(Need *need); /* frees what is inside */
void need_free(Need *need);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Need, need_free)

/* What changed, for whoever keeps copies (the kernel). Called on the loop, after the commit;
 * arguments are borrowed. Must not block. */
typedef struct {
    void (*box_added)(guint32 parent, guint32 box, const char *leaf, gpointer data);
    void (*box_removed)(guint32 parent, guint32 box, const char *leaf, gpointer data);
    void (*msg_added)(guint32 box, guint32 uid, const char *name, gpointer data);
    void (*msg_removed)(guint32 box, guint32 uid, const char *name, gpointer data);
    void (*flags_changed)(guint32 box, guint32 uid, gpointer data);
    /* It has another name, or another parent: it is elsewhere, and so are those below it. */
    void (*box_moved)(guint32 box, gpointer data);
    /* What was shown in shown_box as NAME.+n is this message now (msg_added tells of that, too);
     * uid 0: it has no number that is known yet, or is shown there no more. */
    void (*msg_numbered)(guint32 n, guint32 shown_box, guint32 box, guint32 uid, const char *name,
                         gpointer data);
    /* Its listing and attributes: what it holds is another whole. Of names that went, msg_removed
     * and msg_numbered tell. */
    void (*box_changed)(guint32 box, gpointer data);
    /* It holds no messages any more, and nobody tells which it held. */
    void (*box_emptied)(guint32 box, gpointer data);
} EngineEvents;

typedef struct {
    const Account *account; /* outlives the engine */
    Store *store;           /* outlives the engine */
    guint timeout_ms;       /* a wait without progress ends after this (30,000) */
    guint fresh_ms;         /* how long a listing that is cached waits to be confirmed, and a size
                               that can be estimated to be known (3,000) */
    guint poll_s;           /* STATUS of listed mailboxes that no session watches (60) */
    guint64 prefetch;       /* bytes that may be brought ahead of a reader; 0: none */
    bool offline;           /* begins so, as engine_set_offline() makes it: connects to nothing */
    bool exact;             /* every content comes whole, however large it is */
    bool read_only;         /* send nothing that changes anything: the log stays as it is */
    EngineEvents events;
    gpointer events_data;
} EngineConfig;

/* Makes the loop thread with its own main context, and starts connecting. */
Engine *engine_new(const EngineConfig *config, GError **error);
/* Ends the loop thread: waiters get CANCELLED, sessions log out within 1 s. */
void engine_free(Engine *engine);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Engine, engine_free)

/* [any] Waits, on the calling thread, until the first connection is ready (true), or failed (false,
 * error set: OFFLINE, AUTH, TLS, ...; the engine goes on trying). */
bool engine_wait_online(Engine *engine, guint timeout_ms, GError **error);

/* [any] Asks; done is called on the loop exactly once, never from inside this call. error NULL: the
 * store has it now. Equal needs share one job. Returns a handle for engine_cancel. */
typedef void (*NeedDone)(const GError *error, gpointer data);
guint64 engine_want(Engine *engine, const Need *need, NeedDone done, gpointer data);
/* [any] A content was opened for the first time since it came (content_is_first_use): what is read
 * next is brought before it is asked for. */
void engine_read(Engine *engine, guint32 box, guint32 uid, ContentKind kind, const char *section);
/* [any] done is called soon with CANCELLED, if it was not called yet. */
void engine_cancel(Engine *engine, guint64 handle);

/* [any] Whether the store's rows are known to be the server's: watched by IDLE or just polled. */
bool engine_boxes_fresh(Engine *engine);
bool engine_box_fresh(Engine *engine, guint32 box);

/* [any] What is pending, parked or kept here of a message (uid 0: of any) was changed, and
 * committed: tells flags_changed, and sends what is to be sent, within 50 ms when online. While
 * more keep coming in the same mailbox (a loop) they are kept together, for a second at most. */
void engine_logged(Engine *engine, guint32 box, guint32 uid);

/* [any] Adds a line to .imapfs/events. words are printed escaped. */
void engine_tell(Engine *engine, const char *word, const char *words);

/* [any] The text of .imapfs/events: a line for each thing that happened since the mount began
 * ("2026-11-22T07:20:01Z WORD words..."). Only grows, but that it begins anew when it has become
 * LIMIT_EVENTS long. Caller frees. */
char *engine_events(Engine *engine, gsize *length_out);
gsize engine_events_length(Engine *engine); /* [any] */

/* [any] The text of .imapfs/status as of the last NEED_STATUS. Caller frees. */
char *engine_status(Engine *engine);

typedef struct {
    char mailbox[128]; /* "" when nothing large is under way */
    guint64 done, total;
} EngineProgress;
void engine_progress(Engine *engine, EngineProgress *out); /* [any] */

/* [any] Somebody looks at the quota (meta "quota"): it is asked for again, once a minute at most.
 */
void engine_want_quota(Engine *engine);

/* [any] Try to connect now, or look for changes, of the list of mailboxes, too; stop and start
 * using the network. */
void engine_kick(Engine *engine);
/* Offline: connections end, changes are logged and wait. */
void engine_set_offline(Engine *engine, bool offline);
bool engine_is_offline(Engine *engine); /* [any] by engine_set_offline */
