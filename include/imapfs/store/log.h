/* log.h - what a person changed and the server does not have yet: the write-back log.
 *
 * Layer store, in index.db. The rows of messages hold what the server last said and nothing else;
 * what a person sees is that with the log over it (log_shown_flags). An operation is intent, not
 * state: the flags to set and to clear on one message. It is logged in a durable transaction
 * (store_begin(store, true)) before the call that made it returns; to roll it back is to delete its
 * row.
 *
 * States (who moves it):
 *
 *   QUEUED    to be sent. Merged with what comes later for the same message: the last value of a
 *             flag wins and is kept, never annihilated, as the earlier one may have been applied.
 *   INFLIGHT  claimed by replay (log_claim): sent, or about to be. Never merged, never cancelled.
 *             When the mount starts it is QUEUED again: setting flags twice is harmless.
 *   UNBOUND   its mailbox has another UIDVALIDITY. Waits for the new listing; then it is bound to
 *             the one message that is the same by identity, or parked.
 *   HOMELESS  its mailbox is no longer in LIST, and is looked for by its MAILBOXID.
 *   ADRIFT    its message left the mailbox and has an EMAILID: bound again if that turns up
 *             elsewhere, dropped (and counted) when it does not for a while.
 *   FAILED    parked with a reason, no longer shown in the view; a person retries or discards it.
 *
 * QUEUED, INFLIGHT and UNBOUND, HOMELESS, ADRIFT are "pending". */
#pragma once
#include "imapfs/store/store.h"
#include "imapfs/wire/flags.h"

/* X(NAME, word in file names and texts) */
#define LOG_KINDS(X) X(FLAGS, "flags")
typedef enum {
#define LOG_KIND_ENUM(name, word) LOG_##name,
    LOG_KINDS(LOG_KIND_ENUM)
#undef LOG_KIND_ENUM
} LogKind;
const char *log_kind_word(LogKind kind);

/* The values stand in the database. */
#define LOG_STATES(X)                                 \
    X(QUEUED, "queued")                               \
    X(INFLIGHT, "being sent")                         \
    X(UNBOUND, "waits for the mailbox's new listing") \
    X(HOMELESS, "waits for its mailbox")              \
    X(ADRIFT, "waits for its message")                \
    X(FAILED, "failed")
typedef enum {
#define LOG_STATE_ENUM(name, word) LOG_##name,
    LOG_STATES(LOG_STATE_ENUM)
#undef LOG_STATE_ENUM
} LogState;
const char *log_state_words(LogState state);

#define LOG_MAX_SEQ G_MAXUINT32 /* it stands in inode numbers */

typedef struct {
    guint32 seq; /* ascending, never used again */
    LogKind kind;
    LogState state;
    guint32 box, uid;    /* 0 while they are not known */
    guint32 uidvalidity; /* of the mailbox when it was logged, or bound again */
    char *set, *clear;   /* text form of Flags; "" for none */
    guint attempts;      /* refused, not lost */
    gint64 next_try_ns;  /* real time; 0: at once */
    gint64 logged_ns;    /* when it was first logged; real time */
    char *reason;        /* of the last refusal, or why it was parked; NULL */
    /* The message as it was known when it was logged. */
    char *mailbox;              /* canonical name */
    char *name;                 /* of its directory, without .UID */
    char *message_id, *emailid; /* or NULL */
    gint64 internaldate;
    guint64 size;
} LogOp;
void log_op_clear(LogOp *op);
void log_op_free(LogOp *op);
LogOp *log_op_copy(const LogOp *op);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LogOp, log_op_free)

/* --- reading: any thread --- */

/* The flags a person sees: what the server said, the flags kept here for mailboxes that cannot keep
 * them, and what is pending, over each other in this order. server: text form (StoreMsg.flags).
 * Caller frees. */
char *log_shown_flags(StoreReader *reader, guint32 box, guint32 uid, const char *server);

/* What stands between this message and the server: for user.imapfs.state. */
typedef enum { LOG_MSG_SYNCED, LOG_MSG_LOCAL, LOG_MSG_QUEUED, LOG_MSG_FAILED } LogMsgState;
LogMsgState log_msg_state(StoreReader *reader, guint32 box, guint32 uid);

bool log_get(StoreReader *reader, guint32 seq, LogOp *out);
/* Ascending by seq, those after `after`; failed: only the parked ones, else only the pending ones.
 * op is borrowed for the call. */
typedef bool (*LogFunc)(const LogOp *op, gpointer data);
void log_each(StoreReader *reader, bool failed, guint32 after, LogFunc f, gpointer data);

typedef struct {
    guint64 pending, failed;
} LogCounts;
/* Of a message, of a mailbox (uid 0), or of all (box 0). */
void log_count(StoreReader *reader, guint32 box, guint32 uid, LogCounts *out);

/* Mailboxes with QUEUED operations, and when the first of each is due (real ns, 0: now). */
typedef struct {
    guint32 box;
    gint64 due_ns;
} LogDue;
GArray *log_due(StoreReader *reader); /* of LogDue, by box; caller frees */

/* --- what a person does: any thread, in a durable transaction --- */

/* Logs flags to set and to clear on a message (at least one; a flag in both is cleared), or merges
 * them into what is QUEUED for it. *seq_out (or NULL) is the operation. In a mailbox known to keep
 * no flags (read_only, or no permanent ones) they are kept here for good instead, and *seq_out is
 * 0. Errors: GONE: no such message. DENIED: the mailbox is known not to keep one of the flags
 * (PERMANENTFLAGS); words say which. FULL, STORE. After GONE and DENIED the transaction is as it
 * was, and goes on. */
bool log_flags(StoreTxn *txn, guint32 box, guint32 uid, const Flags *set, const Flags *clear,
               gint64 now_ns, guint32 *seq_out, GError **error);
/* Takes back what was not sent. Errors: GONE: no such operation. BUSY: it is being sent. */
bool log_cancel(StoreTxn *txn, guint32 seq, GError **error);
/* A parked operation is queued again, as a new one (merged as any; whatever the mailbox was known
 * to keep), or forgotten. Errors: GONE (no such operation, or its message is no longer there: only
 * discarding is left). */
bool log_retry(StoreTxn *txn, guint32 seq, gint64 now_ns, GError **error);
bool log_discard(StoreTxn *txn, guint32 seq, GError **error);

/* --- replay: the loop --- */

/* Once, when the mount starts: what was INFLIGHT is QUEUED. */
bool log_recover(StoreTxn *txn, GError **error);
/* The next at most max operations of a mailbox that are QUEUED and due, in order of seq, at most
 * one a message and none of a message that has one INFLIGHT; they are INFLIGHT then. ops_out: of
 * LogOp *, caller frees. Needs no durable transaction. */
bool log_claim(StoreTxn *txn, guint32 box, gint64 now_ns, guint max, GPtrArray **ops_out,
               GError **error);
/* The server has it: the row goes. Write the flags the server told in the same transaction. */
bool log_done(StoreTxn *txn, guint32 seq, GError **error);
/* Not sent, or not answered: QUEUED again. attempts, next_try_ns, reason (or NULL) are recorded.
 * Merged into a QUEUED one for the same message, whose flags win. */
bool log_requeue(StoreTxn *txn, guint32 seq, guint attempts, gint64 next_try_ns, const char *reason,
                 GError **error);
/* Of what it is to set and to clear, only these flags are still to be done: the rest was. */
bool log_narrow(StoreTxn *txn, guint32 seq, const Flags *left, GError **error);
/* Parks any pending one. */
bool log_park(StoreTxn *txn, guint32 seq, const char *reason, GError **error);
/* The mailbox keeps no flags: they stay here, over what the server says (bulletin boards). */
bool log_keep_here(StoreTxn *txn, guint32 seq, GError **error);

/* --- when the server changed under it: the loop --- */

/* The mailbox is listed again: each UNBOUND operation of it is QUEUED on the one message that is
 * the same by EMAILID, or by Message-ID, INTERNALDATE and size (merged as any); or parked, when
 * there is none or more than one. */
bool log_bind_unbound(StoreTxn *txn, guint32 box, guint *bound_out, guint *parked_out,
                      GError **error);

/* MAILBOXIDs that HOMELESS operations wait for; of char *, caller frees. */
GPtrArray *log_homeless(StoreReader *reader);
/* The mailbox with this id is now that one: QUEUED there, or UNBOUND if its UIDVALIDITY differs. */
bool log_rehouse(StoreTxn *txn, const char *mailboxid, guint32 box, guint32 uidvalidity,
                 GError **error);
/* It is nowhere: they go. *n_out: how many. */
bool log_drop_homeless(StoreTxn *txn, const char *mailboxid, guint *n_out, GError **error);

/* Drops what is ADRIFT since before then. *n_out: how many. */
bool log_drop_adrift(StoreTxn *txn, gint64 before_ns, guint *n_out, GError **error);

/* What store_boxes_reconcile(), store_box_renew(), store_msg_remove() and store_msg_put() of this
 * transaction did to the log; for telling the person. */
typedef struct {
    guint dropped; /* their message was expunged */
    guint parked;  /* their mailbox is gone, or the message cannot be known again */
    guint unbound, homeless, adrift;
    guint followed; /* bound to the message where it turned up */
} LogEffects;
const LogEffects *log_effects(const StoreTxn *txn);
