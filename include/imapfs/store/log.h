/* log.h - what a person changed and the server does not have yet: the write-back log.
 *
 * Layer store, in index.db. The rows of messages and mailboxes hold what the server last said and
 * nothing else; what a person sees is that with the log over it (log_shown_*). An operation is
 * intent, not state, on one message or one mailbox. It is logged in a durable transaction
 * (store_begin(store, true)) before the call that made it returns; to roll it back is to delete its
 * row.
 *
 * A message that the server has not numbered yet (it was moved, copied or appended here) is a row
 * like any other in the mailbox STORE_BOX_PENDING, with a number n of ours for a UID: (STORE_BOX_
 * PENDING, n) is its identity in everything, so it can be read, changed, moved on and deleted. What
 * it is a copy of gives its structure, sizes and contents (store_origin); what was appended has its
 * bytes in the spool (spool.h). When the server has numbered it, everything that named it names
 * that message instead (log_placed).
 *
 * States (who moves it):
 *
 *   QUEUED    to be sent. Merged with what comes later where that is exact: flags of the same
 *             message (the last value wins and is kept, never annihilated, as the earlier one may
 *             have been applied), moves of what was not sent yet.
 *   INFLIGHT  claimed by replay (log_claim): sent, or about to be. Never merged, never cancelled.
 *             When the mount starts, what can be sent twice (FLAGS, EXPUNGE) is QUEUED again, the
 *             rest is UNSURE.
 *   UNSURE    sent, and the answer was lost. Is looked for in the mailbox where it was to go, when
 *             that is in sync, and then done or QUEUED; never sent before. Never merged, never
 *             cancelled.
 *   HELD      waits for a person to confirm it (many deletions at once).
 *   UNBOUND   its mailbox has another UIDVALIDITY. Waits for the new listing; then it is bound to
 *             the one message that is the same by identity, or parked.
 *   HOMELESS  its mailbox, or the one where it goes, is no longer in LIST, and is looked for by its
 *             MAILBOXID.
 *   ADRIFT    its message left the mailbox and has an EMAILID: bound again if that turns up
 *             elsewhere, dropped (and counted) when it does not for a while.
 *   FAILED    parked with a reason, no longer shown in the view; a person retries or discards it.
 *
 * All but FAILED are "pending". Operations on the same message are sent in the order in which they
 * were logged; so are those on mailboxes, and a mailbox is only removed when nothing that was
 * logged before is left to do in it. */
#pragma once
#include "imapfs/store/store.h"
#include "imapfs/wire/flags.h"

/* X(NAME, word in file names and texts). The values stand in the database. */
#define LOG_KINDS(X)      \
    X(FLAGS, "flags")     \
    X(MOVE, "move")       \
    X(COPY, "copy")       \
    X(EXPUNGE, "expunge") \
    X(APPEND, "append")   \
    X(MKBOX, "mkbox")     \
    X(RMBOX, "rmbox")     \
    X(RENBOX, "renbox")
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
    X(FAILED, "failed")                               \
    X(UNSURE, "sent, not answered")                   \
    X(HELD, "waits to be confirmed")
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
    /* MOVE, COPY and APPEND: where to, and the message that they place there, whose number of ours
     * this is (the row (STORE_BOX_PENDING, to_n)). box and uid of an APPEND: to_box and 0. MKBOX,
     * RMBOX, RENBOX: box is the mailbox, target its new canonical name (RENBOX). */
    guint32 to_box, to_n;
    char *target; /* of MOVE, COPY, APPEND: canonical name of to_box when it was logged */
    /* INFLIGHT and UNSURE ones that place: what to_box said before they were sent. */
    guint32 fence_uidvalidity, fence_uidnext;
    guint32 after; /* of another operation, that must be done first; 0: none, or done */
    char *shown;   /* MOVE, COPY, EXPUNGE: the flags that were shown, or that the server had said;
                      NULL: not recorded */
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
typedef enum {
    LOG_MSG_SYNCED,
    LOG_MSG_LOCAL,
    LOG_MSG_QUEUED,
    LOG_MSG_FAILED,
    LOG_MSG_UNSURE,
} LogMsgState;
LogMsgState log_msg_state(StoreReader *reader, guint32 box, guint32 uid);

bool log_get(StoreReader *reader, guint32 seq, LogOp *out);
/* Ascending by seq, those after `after`; failed: only the parked ones, else only the pending ones.
 * op is borrowed for the call. */
typedef bool (*LogFunc)(const LogOp *op, gpointer data);
void log_each(StoreReader *reader, bool failed, guint32 after, LogFunc f, gpointer data);

typedef struct {
    guint64 pending, failed;
} LogCounts;
/* Of a message (a pending one: with what places it), of a mailbox (uid 0: with what goes there, and
 * what is to be done with messages that do), or of all (box 0). */
void log_count(StoreReader *reader, guint32 box, guint32 uid, LogCounts *out);

/* Mailboxes with QUEUED operations, or to be looked in for UNSURE ones, and when the first of each
 * is due (real ns, 0: now). */
typedef struct {
    guint32 box;
    gint64 due_ns;
} LogDue;
GArray *log_due(StoreReader *reader); /* of LogDue, by box; caller frees */

/* --- the messages of a mailbox as a person sees them: any thread --- */

/* A move or a deletion that is pending takes it away. */
bool log_is_hidden(StoreReader *reader, guint32 box, guint32 uid);
/* store_msg_each() and store_msg_uids() without those that are hidden. */
void log_shown_each(StoreReader *reader, guint32 box, guint32 after, StoreMsgFunc f, gpointer data);
guint32 log_shown_count(StoreReader *reader, guint32 box); /* with those that are placed there */

/* A message that is pending: (STORE_BOX_PENDING, n). Its row is store_msg_get() of that. */
typedef struct {
    guint32 n;
    guint32 box; /* where it is shown; 0: nowhere, as what places it was parked, or it is hidden */
    guint32 seq; /* what places it */
    guint32 from_box, from_uid; /* what it is a copy of, perhaps pending itself; 0: the spool */
    guint64 spooled;            /* bytes in the spool; 0: none */
} LogPending;
bool log_pending_get(StoreReader *reader, guint32 n, LogPending *out);
/* Those that are shown in a mailbox, n > after, ascending. msg->uid is n. */
void log_pending_each(StoreReader *reader, guint32 box, guint32 after, StoreMsgFunc f,
                      gpointer data);

/* Where a message is now that was known by this number earlier in this mount: moved by us, or
 * numbered by the server. Follows chains. False: not known. */
bool log_went(StoreReader *reader, guint32 box, guint32 uid, guint32 *box_out, guint32 *uid_out);
/* The mailbox where a pending message got its number of the server; 0: it has none, or is unknown.
 */
guint32 log_numbered_in(StoreReader *reader, guint32 n);

/* --- what a person does: any thread, in a durable transaction --- */

/* Logs flags to set and to clear on a message (at least one; a flag in both is cleared), or merges
 * them into what is QUEUED for it. *seq_out (or NULL) is the operation. In a mailbox known to keep
 * no flags (read_only, or no permanent ones) they are kept here for good instead, and *seq_out is
 * 0. Errors: GONE: no such message. DENIED: the mailbox is known not to keep one of the flags
 * (PERMANENTFLAGS); words say which. FULL, STORE. After GONE and DENIED the transaction is as it
 * was, and goes on. */
bool log_flags(StoreTxn *txn, guint32 box, guint32 uid, const Flags *set, const Flags *clear,
               gint64 now_ns, guint32 *seq_out, GError **error);
/* Whether they could be, of a message with these flags (text form) in this mailbox. Errors: DENIED.
 */
bool log_may_flag(const StoreBox *box, const Flags *set, const Flags *clear, const char *shown,
                  GError **error);
/* Moves or copies a message (also a pending one) to another mailbox (GONE: no such). *n_out is the
 * message that it is there: (STORE_BOX_PENDING, *n_out). Moving what was not sent yet only changes
 * where that goes; back where it came from, it is as if nothing had happened (*n_out is 0 then, and
 * the message shows at its old place). FLAGS that are pending for it go before, and with it.
 * Errors: GONE. DENIED: a mailbox is known to be read-only, or has no messages (\\Noselect). FULL,
 * STORE. held: waits to be confirmed. */
bool log_move(StoreTxn *txn, guint32 box, guint32 uid, guint32 to_box, bool held, gint64 now_ns,
              guint32 *n_out, guint32 *seq_out, GError **error);
bool log_copy(StoreTxn *txn, guint32 box, guint32 uid, guint32 to_box, gint64 now_ns,
              guint32 *n_out, guint32 *seq_out, GError **error);
/* Deletes it for good (\\Deleted and UID EXPUNGE). A pending one that was appended or copied here
 * and never sent is as if it had never been; one that was moved here is deleted where it came from.
 * after: only when that operation is done (0: none). */
bool log_expunge(StoreTxn *txn, guint32 box, guint32 uid, guint32 after, bool held, gint64 now_ns,
                 guint32 *seq_out, GError **error);
/* A letter whose bytes are in the spool (spool.h), committed under this number. Its row is made of
 * msg (whose uid is n; flags: to be set with it). */
bool log_append(StoreTxn *txn, guint32 to_box, const StoreMsg *msg, gint64 now_ns, guint32 *seq_out,
                GError **error);
/* HELD ones become QUEUED. Errors: GONE. */
bool log_confirm(StoreTxn *txn, guint32 seq, GError **error);

/* Mailboxes. MKBOX makes the row at once (StoreBox.local), RMBOX hides it (StoreBox.doomed), RENBOX
 * renames it and those below, at once: on the server it has its old name (log_wire_name) until it
 * is done. RMBOX of what was never made drops both; RENBOX of what was never made, or was not sent,
 * changes that. name: canonical, whole. Errors: EXISTS is BUSY with words; GONE; NOTEMPTY (RMBOX
 * with messages or mailboxes shown in it) is DENIED with words; DENIED: INBOX, rights. */
bool log_mkbox(StoreTxn *txn, const char *name, gint64 now_ns, guint32 *box_out, GError **error);
bool log_rmbox(StoreTxn *txn, guint32 box, gint64 now_ns, GError **error);
bool log_renbox(StoreTxn *txn, guint32 box, const char *name, gint64 now_ns, GError **error);

/* Takes back what was not sent. Errors: GONE: no such operation. BUSY: it is being sent. */
bool log_cancel(StoreTxn *txn, guint32 seq, GError **error);
/* A parked operation is queued again, as a new one (merged as any; whatever the mailbox was known
 * to keep), or forgotten. Errors: GONE (no such operation, or its message is no longer there: only
 * discarding is left). */
bool log_retry(StoreTxn *txn, guint32 seq, gint64 now_ns, GError **error);
bool log_discard(StoreTxn *txn, guint32 seq, GError **error);

/* --- replay: the loop --- */

/* Once, when the mount starts: what was INFLIGHT is QUEUED or UNSURE; what went where is forgotten;
 * spool files that no operation names are unlinked. */
bool log_recover(StoreTxn *txn, GError **error);
/* What log_claim() would take next of a mailbox: the kind, where to, and whether what to_box said
 * (UIDVALIDITY, UIDNEXT) is known, without which it cannot be claimed. False: nothing is due. */
typedef struct {
    LogKind kind;
    guint32 to_box;
    bool fenced;
} LogNext;
bool log_next(StoreReader *reader, guint32 box, gint64 now_ns, LogNext *out);
/* The next at most max operations of a mailbox that are QUEUED and due, in order of seq, of one
 * kind (none, if that is not `kind` by now) and to one mailbox, none of a message that has an
 * earlier one pending, none whose `after` is not done, none to a mailbox that is still to be made;
 * they are INFLIGHT then, those that place with the fence that the row of to_box gives. ops_out: of
 * LogOp *, caller frees. FLAGS and EXPUNGE need no durable transaction; the others do. APPENDs are
 * of the mailbox where they go. */
#define LOG_ANY (-1) /* whichever kind is next */
bool log_claim(StoreTxn *txn, guint32 box, gint64 now_ns, int kind, guint max, GPtrArray **ops_out,
               GError **error);
/* The server has it: the row goes. Write the flags the server told in the same transaction. */
bool log_done(StoreTxn *txn, guint32 seq, GError **error);
/* The server has what a MOVE, COPY or APPEND was to place, as this message: its row is made, with
 * structure, sizes, and (of a MOVE and an APPEND) contents of the pending one, and everything that
 * named that names it. uid 0: it is there but its number is not known: the pending one goes, and
 * shows as what it is when the mailbox is in sync. MOVE: its source is hidden until the server says
 * that it went. still_there: it was only copied so far, and an EXPUNGE of the source is logged in
 * its place. The operation is done. */
bool log_placed(StoreTxn *txn, guint32 seq, guint32 uidvalidity, guint32 uid, bool still_there,
                GError **error);
/* An EXPUNGE that could only set \\Deleted (no UIDPLUS): it is done, and the message stays hidden
 * while it is there and has that flag. */
bool log_hide(StoreTxn *txn, guint32 seq, GError **error);
/* Sent, and not answered. FLAGS and EXPUNGE are QUEUED again. What is not INFLIGHT stays as it is.
 */
bool log_unsure(StoreTxn *txn, guint32 seq, GError **error);
/* What is UNSURE into this mailbox, which is in sync: compared with what came there since its fence
 * (EMAILID, or Message-ID and size; each message stands for one operation only). Found: log_placed.
 * Not found: QUEUED, or UNBOUND where its source has another UIDVALIDITY since; a MOVE whose source
 * is gone as well is parked. */
bool log_probe(StoreTxn *txn, guint32 box, guint *found_out, guint *queued_out, guint *parked_out,
               GError **error);
/* MKBOX, RMBOX and RENBOX: the next that may be sent, one at a time (what is put off holds up those
 * whose names are its own, or above or below them); or, with state UNSURE, one that the next
 * store_boxes_reconcile() decides. False: none; *due_ns_out (real time): before then,
 * 0: until something else is done. Claimed durably; log_done() or log_park() ends it. */
bool log_next_box(StoreReader *reader, gint64 now_ns, LogOp *out, gint64 *due_ns_out);
bool log_claim_box(StoreTxn *txn, guint32 seq, GError **error);
/* The name that the server knows a mailbox by, while a RENBOX is pending; caller frees. */
char *log_wire_name(StoreReader *reader, guint32 box);

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
/* The mailbox with this id is now that one: QUEUED there, or UNBOUND if its UIDVALIDITY differs;
 * what was sent to it is UNSURE. */
bool log_rehouse(StoreTxn *txn, const char *mailboxid, guint32 box, guint32 uidvalidity,
                 GError **error);
/* It is nowhere: FLAGS and EXPUNGE go, the others are parked. *n_out: how many. */
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
