/* replay.h - what the files of replay share: kinds, conflicts, outcomes, plans. Private to
 * src/sync, and to its tests. Nothing here touches a session or the store but batch.c. */
#pragma once
#include "imapfs/base/error.h"
#include "sync.h"

/* --- conflicts (conflict.c) --- */

/* What the server did meanwhile. X(NAME, "words") */
#define CONFLICTS(X)                                            \
    X(EXPUNGED, "its message is no longer on the server")       \
    X(MOVED, "its message was moved by another client")         \
    X(SAME_FLAG, "another client changed the same flag")        \
    X(OTHER_FLAGS, "another client changed other flags")        \
    X(MARKED, "it was flagged or answered meanwhile")           \
    X(UIDVALIDITY, "the mailbox was replaced on the server")    \
    X(MAILBOX_GONE, "its mailbox is no longer on the server")   \
    X(TARGET_GONE, "where it was to go is no longer there")     \
    X(MAILBOX_RENAMED, "its mailbox was renamed on the server") \
    X(READ_ONLY, "the mailbox is read-only")                    \
    X(NOPERM, "the server does not permit it")                  \
    X(QUOTA, "over quota")                                      \
    X(TOO_BIG, "it is larger than the server takes")            \
    X(EXISTS, "there is one of that name")                      \
    X(NOT_EMPTY, "it has messages that were never seen here")
typedef enum {
#define CONFLICT_ENUM(name, words) CONFLICT_##name,
    CONFLICTS(CONFLICT_ENUM)
#undef CONFLICT_ENUM
        N_CONFLICTS
} Conflict;
const char *conflict_words(Conflict conflict);

/* What we do about it. X(NAME) */
#define ACTIONS(X)                                                            \
    X(NONE)             /* it cannot be */                                    \
    X(DONE)             /* that is what was wanted */                         \
    X(DONE_ELSE_PARK)   /* if it is where it was to be */                     \
    X(DROP)             /* it has become nothing; counted */                  \
    X(FOLLOW_ELSE_DROP) /* to the same message by exact identity, or drop */  \
    X(FOLLOW_ELSE_PARK) /* to the mailbox with the same MAILBOXID, or park */ \
    X(BIND_ELSE_PARK)   /* to the one message that is the same, or park */    \
    X(OURS)             /* our change is made over theirs */                  \
    X(MERGE)            /* both stand */                                      \
    X(KEEP_HERE)        /* kept in the log's own table for good */            \
    X(HOLD)             /* tried again hourly */                              \
    X(PARK)
typedef enum {
#define ACTION_ENUM(name) ACTION_##name,
    ACTIONS(ACTION_ENUM)
#undef ACTION_ENUM
} Action;
const char *action_name(Action action);
/* A row of the matrix: a LogKind, or a MOVE that is a deletion. */
#define CONFLICT_ROW_TRASH (LOG_RENBOX + 1)
guint conflict_row(const LogOp *op, const StoreBox *target);
Action conflict_action(guint row, Conflict conflict);
/* \\Flagged or \\Answered were set since the operation was logged: CONFLICT_MARKED. */
bool conflict_is_marked(const LogOp *op, const char *flags_now);

/* --- outcomes (outcome.c) --- */

/* What becomes of an operation. X(NAME): in the order in which the worse one of two counts. */
#define OUTCOMES(X)                                                        \
    X(DONE)      /* the server has it */                                   \
    X(GONE)      /* its message is not there: the resync says so */        \
    X(LOST)      /* no answer: sent again, not counted */                  \
    X(UNSURE)    /* no answer, and it may not be sent twice */             \
    X(UNKEPT)    /* the server said OK, and has not kept it */             \
    X(REFUSED)   /* without a reason: halved, then 3 tries, then parked */ \
    X(LATER)     /* for now: back-off */                                   \
    X(HOLD)      /* for longer: hourly */                                  \
    X(KEEP_HERE) /* the mailbox keeps no flags */                          \
    X(PARK)
typedef enum {
#define OUTCOME_ENUM(name) OUTCOME_##name,
    OUTCOMES(OUTCOME_ENUM)
#undef OUTCOME_ENUM
} Outcome;
const char *outcome_name(Outcome outcome);

Outcome outcome_of(CommandResult result, const Response *tagged);
/* In words for the person: what the server said. Caller frees. */
char *outcome_words(CommandResult result, const Response *tagged);
/* The error that who waits for the operation gets. */
ImapfsError outcome_error(const Response *tagged);
#define OUTCOME_TRIES 3 /* refusals without a reason, of an operation that stood alone */
#define OUTCOME_UNKEPT_TRIES \
    2 /* another client may have changed it back between the two commands */
#define OUTCOME_HOLD_US (G_GINT64_CONSTANT(60) * 60 * G_USEC_PER_SEC)
gint64 outcome_backoff_us(guint level); /* 1 s to 15 min, with jitter */

/* --- what is sent (plan.c) --- */

/* An operation of a batch. It has one outcome in the end; before, what is known of it. */
typedef struct {
    const LogOp *op;
    Flags set, clear; /* what it wants */
    Flags denied;     /* of these, what the mailbox is known not to keep: not sent */

    bool told; /* FETCH said what the server has now: */
    char *flags;
    guint64 modseq;
    bool silent;     /* FETCH was answered without a word of it */
    Outcome outcome; /* of the commands it was in: the worst */
    char *reason;
    ImapfsError error;

    /* All but FLAGS: */
    bool was_sent;
    Outcome answer; /* to the last command it was in */
    bool paired;    /* a COPYUID came that can be believed; if not with this one, then without */
    bool placed;    /* the server has it, as to_uid (0: not told) */
    guint32 to_uidvalidity, to_uid;
} Item;
Item *item_new(const LogOp *op, const StoreBox *box);
void item_free(Item *item);
/* Keeps the worse outcome. reason: copied. */
void item_note(Item *item, Outcome outcome, const char *reason, ImapfsError error);
/* Why, should it be refused in the end. reason: copied. */
void item_keep_reason(Item *item, const char *reason, ImapfsError error);
/* Takes the flags that the server has out of what is wanted: what is missing; none: all is well. */
void item_missing(const Item *item, Flags *missing_out);

/* One UID STORE. */
typedef struct {
    bool minus;
    char *flags;        /* text form */
    GPtrArray *members; /* of Item, borrowed, ascending by UID */
} FlagStore;
void flag_store_free(gpointer data); /* a FlagStore */
/* As few as can be: one for each different list of flags to set, and to clear, or for each flag if
 * these are fewer. What was refused before goes alone. Lines stay below line_limit octets. */
GPtrArray *plan_flags(const GPtrArray *items, gsize line_limit);
/* Splits what was refused: two halves of those members that still want it (refused again, they are
 * split again, until the culprit stands alone). Appends to out. */
void plan_halve(const FlagStore *store, GPtrArray *out);
/* Whether the member lacks what this store was to bring it. */
bool plan_is_missing(const FlagStore *store, const Item *item);
UidSet *plan_uids(const GPtrArray *items); /* of Item; caller frees */

/* --- a batch (batch.c, settle.c) --- */

bool batch_can_begin(LogKind kind);
/* Sends the operations (takes the array) of a mailbox that is selected (for writing, but for COPY)
 * and in sync, or of one into which something is appended, and settles them. It is the mailbox's
 * replay.batch until replay_batch_over(), which may be called from inside. */
void batch_start(Mailbox *mailbox, GPtrArray *ops);
void batch_free(Batch *batch);
void replay_batch_over(Mailbox *mailbox, bool lost);
/* All FLAGS that are due in a mailbox that keeps none. False: nothing could be recorded. */
bool batch_keep_here(Mailbox *mailbox);
/* What is queued there and can never be sent. to_box 0: wherever it goes. */
#define PARK_ANY (-1)
bool batch_park_queued(Mailbox *mailbox, int kind, guint32 to_box, const GError *why);

/* --- where it goes to (fence.c), and whether it arrived (probe.c) --- */

/* Asks what the mailbox says (UIDVALIDITY, UIDNEXT), on any session, and records it. then() is
 * called once, perhaps from inside; why: it cannot be had (LOST: for now). */
/* The name that the server knows a mailbox by; NULL: it is gone. Caller frees. */
char *replay_wire_name(Engine *engine, guint32 box);
typedef void (*FenceThen)(Mailbox *mailbox, guint32 to_box, const GError *why);
void fence_ask(Mailbox *mailbox, guint32 to_box, FenceThen then);
/* Something is UNSURE into this mailbox. */
void probe_mark(Engine *engine, guint32 box);
/* Messages were placed here that its session has not been told of: it is asked for news, alone, as
 * what is on the same line would meet its old view. True: it is at work. */
bool probe_catch_up(Mailbox *mailbox);
/* Something is in this mailbox, and its number was not told: it shows when the mailbox is in sync.
 * needed: changes wait for it, so that is made now. */
void probe_unnumbered(Mailbox *mailbox, bool needed);
/* Whether anything is, by the log. */
bool probe_look(Mailbox *mailbox);
/* In sync and held. True: it is at work, or has put it off, and replay goes on then. */
bool probe_step(Mailbox *mailbox);

/* --- who waits (replayed.c) --- */

guint64 replay_count(Engine *engine, guint32 box, guint32 uid);
/* What waiters hear: operations were parked, or are held. uid 0: of any message. */
void replay_note_failed(Engine *engine, guint32 box, guint32 uid, const GError *error);
void replay_note_op_failed(Engine *engine, const LogOp *op, const GError *error);
void replay_note_settled(Engine *engine);
bool replay_is_awaited(Engine *engine);
void replay_fail_waiters(Engine *engine, const GError *error);

/* --- what was logged just now (gather.c) --- */

/* More may come in a moment: not to be sent yet. box 0: changes of mailboxes. */
bool gather_is_open(const Engine *engine, guint32 box);
/* Somebody waits. */
void gather_end_now(Engine *engine);
void gather_clear(Engine *engine);
/* The moment is over in these mailboxes. */
void replay_gathered(Engine *engine, GHashTable *boxes);

/* --- replay.c, for these --- */

void replay_step(Mailbox *mailbox);
void replay_put_off(Mailbox *mailbox, gint64 us);

/* --- where it belongs (rehome.c) --- */

/* It has UNBOUND operations: they are bound when it is in sync, which it is made now. */
void rehome_wake(Mailbox *mailbox);
void replay_wake_unbound(Engine *engine); /* all that have some */
