/* log_placed.c - what was to be placed is there.
 *
 * The rule: in the transaction in which the pending message becomes one of the server's, everything
 * that named it names that one, so that nothing of it is lost, fetched again, or sent twice. */
#include "log_private.h"

#include "imapfs/base/error.h"

/* The row of what the server has numbered; one that a sync made before stays. *other_out: that is
 * of another size than the letter that was appended, so the server has rewritten it. */
static bool make_row(StoreTxn *txn, const LogOp *op, guint32 uid, bool *other_out, GError **error)
{
    StoreMsg msg, there;
    *other_out = false;
    if (store_msg_get(&txn->reader, op->to_box, uid, &there)) {
        *other_out = op->kind == LOG_APPEND && there.size != op->size;
        store_msg_clear(&there);
        return true;
    }
    if (!log_check_reads(txn, error))
        return false;
    if (!store_msg_get(&txn->reader, STORE_BOX_PENDING, op->to_n, &msg))
        return log_check_reads(txn, error); /* the next sync makes it */
    msg.uid = uid;
    bool ok = store_msg_put(txn, op->to_box, &msg, NULL, error);
    store_msg_clear(&msg);
    return ok;
}

/* What is known of the pending message is known of that one. A MOVE's source gives it all, and
 * copies that are still to be made are of that one. */
static bool pass_on(StoreTxn *txn, const LogOp *op, guint32 uid, GError **error)
{
    static const char sql[] = "UPDATE pending SET from_box = ?, from_uid = ?"
                              " WHERE from_box != 0 AND from_box = ? AND from_uid = ?";
    guint32 box, own;
    store_origin(&txn->reader, STORE_BOX_PENDING, op->to_n, &box, &own);
    if (!log_check_reads(txn, error) || !pending_copy_parts(txn, box, own, op->to_box, uid, error))
        return false;
    bool is_pending = box == STORE_BOX_PENDING && own == op->to_n;
    if (op->kind == LOG_COPY && !is_pending)
        return true;
    txn_pass_on(txn, box, own, op->to_box, uid);
    if (is_pending)
        return true;
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_int(&query, op->to_box);
    query_int(&query, uid);
    query_int(&query, box);
    query_int(&query, own);
    return txn_run_query(txn, &query, error);
}

static bool numbered(StoreTxn *txn, const LogOp *op, guint32 uidvalidity, guint32 uid,
                     GError **error)
{
    bool other;
    return make_row(txn, op, uid, &other, error) && (other || pass_on(txn, op, uid, error)) &&
           pending_rename(txn, op->to_n, op->to_box, uid, uidvalidity, error);
}

/* It is there under a number that is not known: what is to be done with it waits for the listing,
 * and finds it by what it is. */
static bool unnumbered(StoreTxn *txn, const LogOp *op, guint32 uidvalidity, GError **error)
{
    static const char sql_failed[] = "UPDATE log SET box = 0, uid = 0"
                                     " WHERE box = " LOG_SQL_PENDING " AND uid = ? AND state = 5";
    static const char sql[] = "UPDATE log SET box = ?, uid = 0, uidvalidity = ?, state = 2,"
                              " mailbox = coalesce(?, mailbox)"
                              " WHERE box = " LOG_SQL_PENDING " AND uid = ? AND state != 5";
    G_STATIC_ASSERT(LOG_UNBOUND == 2 && LOG_FAILED == 5);
    Query query;
    if (!txn_open_query(txn, &query, sql_failed, error)) /* these can only be discarded now */
        return false;
    query_int(&query, op->to_n);
    if (!txn_run_query(txn, &query, error))
        return false;
    if (op->to_box == 0)
        return true; /* its mailbox is not known either */
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_int(&query, op->to_box);
    query_int(&query, uidvalidity);
    query_text(&query, op->target);
    query_int(&query, op->to_n);
    if (!txn_run_query(txn, &query, error))
        return false;
    txn->effects.unbound += (guint)txn_changes(txn);
    return true;
}

/* A copy of it was made, and now it is to go. What others marked before has the copy, too, and is
 * no reason to keep it. */
static bool expunge_source(StoreTxn *txn, const LogOp *op, GError **error)
{
    LogOp expunge = *op;
    g_autofree char *seen = log_seen_again(&txn->reader, op);
    guint32 seq;
    expunge.kind = LOG_EXPUNGE;
    expunge.state = LOG_QUEUED;
    expunge.to_box = expunge.to_n = expunge.after = 0;
    expunge.target = NULL;
    expunge.shown = seen;
    return log_insert(txn, &expunge, &seq, error);
}

static bool end_source(StoreTxn *txn, const LogOp *op, bool still_there, GError **error)
{
    if (op->kind != LOG_MOVE || op->box == STORE_BOX_PENDING || !log_source_is_there(txn, op))
        return true;
    return still_there ? expunge_source(txn, op, error) : hidden_put(txn, op->box, op->uid, error);
}

static bool placed(StoreTxn *txn, const LogOp *op, guint32 uidvalidity, guint32 uid,
                   bool still_there, GError **error)
{
    StoreBox to = {0};
    bool known = op->to_box != 0 && store_box_by_id(&txn->reader, op->to_box, &to);
    guint32 now = to.uidvalidity;
    store_box_clear(&to);
    if (!log_check_reads(txn, error) || !log_end(txn, op->seq, true, error))
        return false;
    bool ok = known && uid != 0 && uidvalidity == now && now != 0
                  ? numbered(txn, op, uidvalidity, uid, error)
                  : unnumbered(txn, op, now, error);
    return ok && pending_drop(txn, op->to_n, error) && end_source(txn, op, still_there, error) &&
           log_touch(txn, op->to_box, error) && log_check_reads(txn, error);
}

bool log_placed(StoreTxn *txn, guint32 seq, guint32 uidvalidity, guint32 uid, bool still_there,
                GError **error)
{
    g_autoptr(LogOp) op = log_load(txn, seq, error);
    if (op == NULL)
        return !txn->failed;
    if (!log_places(op->kind))
        return log_end(txn, seq, true, error);
    return placed(txn, op, uidvalidity, uid, still_there, error);
}

bool log_done(StoreTxn *txn, guint32 seq, GError **error)
{
    g_autoptr(LogOp) op = log_load(txn, seq, error);
    if (op == NULL)
        return !txn->failed;
    if (log_is_of_box(op->kind))
        return log_box_done(txn, op, error);
    if (op->kind == LOG_FLAGS && !log_unkeep(txn, op, error))
        return false;
    return log_placed(txn, seq, 0, 0, false, error);
}

bool log_hide(StoreTxn *txn, guint32 seq, GError **error)
{
    g_autoptr(LogOp) op = log_load(txn, seq, error);
    if (op == NULL)
        return !txn->failed;
    return (op->box == 0 || op->uid == 0 || hidden_put(txn, op->box, op->uid, error)) &&
           log_end(txn, seq, true, error);
}
