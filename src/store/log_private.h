/* log_private.h - what the files of the log share; private.h has what the rest needs of it. */
#pragma once
#include "private.h"

#define LOG_SQL_PENDING "131071" /* STORE_BOX_PENDING */
G_STATIC_ASSERT(STORE_BOX_PENDING == 131071);

/* --- rows of the log (log_rows.c) --- */

/* Writes a row of all that a new operation has; its seq is given. */
bool log_insert(StoreTxn *txn, const LogOp *op, guint32 *seq_out, GError **error);
/* The operation, or NULL: it is gone (no error), or the read failed (error). */
LogOp *log_load(StoreTxn *txn, guint32 seq, GError **error);
/* What a query finds, copied: what is done with them changes the table. Ends the query. NULL: it
 * failed. */
GPtrArray *log_read_ops(StoreTxn *txn, Query *query, GError **error);
/* The same of a query with one number. */
GPtrArray *log_read_ops_of(StoreTxn *txn, const char *sql, gint64 number, GError **error);
/* All operations on a message, or on all of a mailbox and the mailbox itself. */
GPtrArray *log_ops_on(StoreTxn *txn, guint32 box, guint32 uid, GError **error);
GPtrArray *log_ops_of_box(StoreTxn *txn, guint32 box, GError **error);
/* Where an operation belongs now; 0: nowhere. */
bool log_set_message(StoreTxn *txn, guint32 seq, guint32 box, guint32 uid, GError **error);
bool log_redirect(StoreTxn *txn, guint32 seq, guint32 to_box, GError **error);
bool log_set_flags(StoreTxn *txn, guint32 seq, const Flags *set, const Flags *clear,
                   GError **error);
/* The row goes. done: what waited for it need not any more; else that goes, too. */
bool log_end(StoreTxn *txn, guint32 seq, bool done, GError **error);
/* What waits for an operation waits for another in its place (0: for none). */
bool log_wait_instead(StoreTxn *txn, guint32 seq, guint32 instead, GError **error);
/* What was read inside the transaction is a fact only if no read failed. False. */
bool log_gone(StoreTxn *txn, const char *words, GError **error);
bool log_check_reads(StoreTxn *txn, GError **error);
/* Was never sent, so it can be changed or taken back. */
bool log_is_unsent(LogState state);
static inline bool log_places(LogKind kind)
{
    return kind == LOG_MOVE || kind == LOG_COPY || kind == LOG_APPEND;
}
static inline bool log_has_source(LogKind kind)
{
    return kind == LOG_MOVE || kind == LOG_COPY;
}

/* --- flags (log_change.c) --- */

/* FLAGS that the server has now are not kept here any more. */
bool log_unkeep(StoreTxn *txn, const LogOp *op, GError **error);

/* --- mailboxes (log_boxes.c, box_undo.c) --- */

static inline bool log_is_of_box(LogKind kind)
{
    return kind == LOG_MKBOX || kind == LOG_RMBOX || kind == LOG_RENBOX;
}
bool log_box_done(StoreTxn *txn, const LogOp *op, GError **error); /* the server has it */
bool log_box_park(StoreTxn *txn, const LogOp *op, const char *reason, GError **error);
/* BUSY: something that is pending builds on it. */
bool log_box_cancel(StoreTxn *txn, const LogOp *op, GError **error);
bool log_box_retry(StoreTxn *txn, const LogOp *op, gint64 now_ns, GError **error);

/* --- pending messages (log_pending.c) --- */

/* What places a pending message; false: nothing does. */
bool log_placing(StoreReader *reader, guint32 n, LogOp *out);
bool pending_add(StoreTxn *txn, const StoreMsg *msg, guint32 from_box, guint32 from_uid,
                 guint64 spooled, GError **error);
/* It goes, and so does what is on it: operations that were not sent. */
bool pending_drop(StoreTxn *txn, guint32 n, GError **error);
/* A message (also a pending one) goes: the first of those that are copies of it gets its
 * structure, sizes and contents for its own, the others are copies of that. */
bool pending_adopt(StoreTxn *txn, guint32 box, guint32 uid, GError **error);
bool pending_adopt_box(StoreTxn *txn, guint32 box, const UidSet *uids /* NULL: all */,
                       GError **error);
/* What named this pending message names that message. */
bool pending_rename(StoreTxn *txn, guint32 n, guint32 box, guint32 uid, guint32 uidvalidity,
                    GError **error);
/* Structure and sizes of a message for another, too. */
bool pending_copy_parts(StoreTxn *txn, guint32 box, guint32 uid, guint32 to_box, guint32 to_uid,
                        GError **error);
bool went_put(StoreTxn *txn, guint32 box, guint32 uid, guint32 to_box, guint32 to_uid,
              GError **error);
bool went_forget(StoreTxn *txn, guint32 box, guint32 uid, GError **error);

/* --- placing (log_place.c, log_undo.c) --- */

/* A message that a person points at. */
typedef struct {
    guint32 box, uid;
    StoreBox where; /* the mailbox that shows it */
    StoreMsg msg;
    LogOp placing; /* of a pending one: what places it; else seq is 0 */
} LogSubject;
/* Errors: GONE: it is not there, or hidden. */
bool log_subject_load(StoreTxn *txn, guint32 box, guint32 uid, LogSubject *out, GError **error);
void log_subject_clear(LogSubject *subject);
/* An operation on it; its texts are borrowed. */
LogOp log_subject_op(const LogSubject *subject, LogKind kind, gint64 now_ns);
/* For LogOp.shown: what is known of a message's flags, those that are to be cleared with them, and
 * those of before (or NULL). Caller frees. */
char *log_seen_flags(const char *server, const char *shown, const char *before);
/* The same for an operation that is there, of its message now; NULL: that is gone. */
char *log_seen_again(StoreReader *reader, const LogOp *op);
/* A mailbox that messages can be put into. Errors: GONE, DENIED. */
bool log_target_load(StoreTxn *txn, guint32 box, StoreBox *out, GError **error);
/* A parked one of any kind but FLAGS. */
bool log_retry_message(StoreTxn *txn, const LogOp *op, gint64 now_ns, GError **error);

/* A MOVE that was not sent is as if it had never been. */
bool log_undo_move(StoreTxn *txn, const LogOp *op, GError **error);
/* Any operation goes, with what depends on it, and nothing is done. */
bool log_drop(StoreTxn *txn, const LogOp *op, GError **error);
/* The message that a MOVE or COPY is of is there, and not only wished for. */
bool log_source_is_there(StoreTxn *txn, const LogOp *op);

/* --- when the server changed under it (log_server.c, log_bind.c) --- */

/* What it is on is not there: it is followed, waits, is done, or is parked. */
bool log_message_lost(StoreTxn *txn, guint32 seq, GError **error);
/* Parked; it is on nothing in that mailbox (0: in none). */
bool log_park_lost(StoreTxn *txn, const LogOp *op, guint32 box, const char *reason, GError **error);
/* It waits for the new listing; a deletion for good is parked. */
bool log_unbind(StoreTxn *txn, const LogOp *op, guint32 box, GError **error);

/* --- showing (log_shown.c, log_place.c) --- */

bool hidden_put(StoreTxn *txn, guint32 box, guint32 uid, GError **error);
bool log_touch(StoreTxn *txn, guint32 box, GError **error); /* changed_ns; 0 and pending: no */
