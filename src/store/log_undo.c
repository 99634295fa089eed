/* log_undo.c - operations that are taken back, parked, tried again, or forgotten.
 *
 * The rule: undoing gives back what was before: a message that was moved here is where it came
 * from, with all that was done to it since. What depends on a message that will not be is parked
 * or goes with it. */
#include "log_private.h"

#include "imapfs/base/error.h"

bool log_source_is_there(StoreTxn *txn, const LogOp *op)
{
    StoreMsg msg;
    LogOp placing;
    if (op->box == 0 || op->uid == 0 || !store_msg_get(&txn->reader, op->box, op->uid, &msg))
        return false;
    store_msg_clear(&msg);
    if (op->box != STORE_BOX_PENDING)
        return true;
    if (!log_placing(&txn->reader, op->uid, &placing))
        return false;
    bool there = placing.state != LOG_FAILED;
    log_op_clear(&placing);
    return there;
}

/* Something was sent that places a message there, and it is not known which. */
static bool is_awaited_in(StoreTxn *txn, guint32 box, bool *awaited_out, GError **error)
{
    static const char sql[] = "SELECT 1 FROM log WHERE to_box != 0 AND to_box = ?"
                              " AND state IN (1, 6) /* INFLIGHT, UNSURE */ LIMIT 1";
    Query query;
    G_STATIC_ASSERT(LOG_INFLIGHT == 1 && LOG_UNSURE == 6);
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_int(&query, box);
    *awaited_out = query_step(&query);
    return txn_close_query(txn, &query, error);
}

/* The message that a MOVE is of is known by its old number again. No operation placed it there, so
 * it may be what one that was sent is looked for as: then the new number is forgotten, as the probe
 * would take it for another's (log_probe.c). */
static bool come_back(StoreTxn *txn, const LogOp *op, GError **error)
{
    bool awaited = false;
    return pending_rename(txn, op->to_n, op->box, op->uid, op->uidvalidity, error) &&
           is_awaited_in(txn, op->box, &awaited, error) &&
           (!awaited || went_forget(txn, STORE_BOX_PENDING, op->to_n, error));
}

bool log_undo_move(StoreTxn *txn, const LogOp *op, GError **error)
{
    bool there = log_source_is_there(txn, op);
    return log_end(txn, op->seq, false, error) && (!there || come_back(txn, op, error)) &&
           pending_drop(txn, op->to_n, error) && log_touch(txn, op->to_box, error) &&
           log_touch(txn, op->box, error) && log_check_reads(txn, error);
}

bool log_drop(StoreTxn *txn, const LogOp *op, GError **error)
{
    return log_end(txn, op->seq, false, error) &&
           (op->to_n == 0 || pending_drop(txn, op->to_n, error)) &&
           log_touch(txn, op->to_box, error) && log_touch(txn, op->box, error);
}

/* --- parked --- */

static bool park_ops(StoreTxn *txn, GPtrArray *ops, guint32 cause, GError **error)
{
    if (ops == NULL)
        return false;
    g_autofree char *reason = g_strdup_printf("it needs what operation %u was to do first", cause);
    for (guint i = 0; i < ops->len; i++) {
        const LogOp *op = ops->pdata[i];
        if (op->state != LOG_FAILED && !log_park(txn, op->seq, reason, error))
            return false;
    }
    return true;
}

/* Who deletes what he has copied deletes it because of the copy. */
static bool park_deletion(StoreTxn *txn, const LogOp *copy, GError **error)
{
    static const char sql[] = "SELECT " LOG_COLUMNS " FROM log WHERE box = ? AND uid = ?"
                              " AND kind = 3 /* EXPUNGE */ AND seq > ? AND uid != 0";
    G_STATIC_ASSERT(LOG_EXPUNGE == 3);
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_int(&query, copy->box);
    query_int(&query, copy->uid);
    query_int(&query, copy->seq);
    g_autoptr(GPtrArray) deletions = log_read_ops(txn, &query, error);
    return park_ops(txn, deletions, copy->seq, error);
}

static bool park_dependents(StoreTxn *txn, const LogOp *op, GError **error)
{
    static const char sql[] =
        "SELECT " LOG_COLUMNS " FROM log WHERE after_seq != 0 AND after_seq = ? ORDER BY seq";
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_int(&query, op->seq);
    g_autoptr(GPtrArray) after = log_read_ops(txn, &query, error);
    if (!park_ops(txn, after, op->seq, error) ||
        (op->kind == LOG_COPY && !park_deletion(txn, op, error)))
        return false;
    if (op->to_n == 0)
        return true;
    if (op->kind == LOG_MOVE && log_source_is_there(txn, op))
        return come_back(txn, op, error); /* they are of what was to be moved */
    g_autoptr(GPtrArray) on = log_ops_on(txn, STORE_BOX_PENDING, op->to_n, error);
    return park_ops(txn, on, op->seq, error);
}

bool log_park(StoreTxn *txn, guint32 seq, const char *reason, GError **error)
{
    g_autoptr(LogOp) op = log_load(txn, seq, error);
    if (op == NULL)
        return !txn->failed;
    if (log_is_of_box(op->kind))
        return log_box_park(txn, op, reason, error);
    if (!log_set_state(txn, seq, LOG_FAILED, reason, error))
        return false;
    if (op->state == LOG_FAILED)
        return true;
    return park_dependents(txn, op, error) && log_touch(txn, op->to_box, error) &&
           (op->kind == LOG_FLAGS || log_touch(txn, op->box, error)) && log_check_reads(txn, error);
}

/* --- tried again --- */

/* The same operation, under a new number: those that wait for it wait for that. */
static bool renumber(StoreTxn *txn, const LogOp *op, gint64 now_ns, GError **error)
{
    static const char sql_drop[] = "DELETE FROM log WHERE seq = ?";
    LogOp again = *op;
    guint32 seq;
    g_autofree char *seen = log_seen_again(&txn->reader, op);
    again.state = LOG_QUEUED;
    again.logged_ns = now_ns;
    again.shown = seen; /* who says it again has seen what others did since */
    Query query;
    if (!log_insert(txn, &again, &seq, error) || !log_wait_instead(txn, op->seq, seq, error) ||
        !txn_open_query(txn, &query, sql_drop, error))
        return false;
    query_int(&query, op->seq);
    return txn_run_query(txn, &query, error);
}

/* Where it goes to: the mailbox, or the one that has its name now. */
static bool find_target(StoreTxn *txn, const LogOp *op, StoreBox *out, GError **error)
{
    guint32 id = op->to_box;
    StoreBox box;
    if (id == 0 && op->target != NULL && store_box_by_name(&txn->reader, op->target, &box)) {
        id = box.id;
        store_box_clear(&box);
    }
    return log_target_load(txn, id, out, error);
}

static bool retry_place(StoreTxn *txn, const LogOp *op, gint64 now_ns, GError **error)
{
    StoreBox to;
    if (!find_target(txn, op, &to, error))
        return false;
    LogOp again = *op;
    again.to_box = to.id;
    again.target = to.name;
    if (op->kind == LOG_APPEND) {
        again.box = to.id;
        again.uidvalidity = to.uidvalidity;
    }
    bool ok = renumber(txn, &again, now_ns, error) && log_touch(txn, to.id, error);
    store_box_clear(&to);
    if (ok && op->kind == LOG_MOVE)
        ok = went_forget(txn, STORE_BOX_PENDING, op->to_n, error) &&
             went_put(txn, op->box, op->uid, STORE_BOX_PENDING, op->to_n, error) &&
             log_touch(txn, op->box, error);
    return ok;
}

bool log_retry_message(StoreTxn *txn, const LogOp *op, gint64 now_ns, GError **error)
{
    LogOp before;
    if (op->after != 0 && log_get(&txn->reader, op->after, &before)) {
        bool failed = before.state == LOG_FAILED;
        log_op_clear(&before);
        if (failed)
            return log_gone(txn, "it comes after another that failed: retry that first", error);
    }
    if (op->kind != LOG_APPEND &&
        (!log_source_is_there(txn, op) || log_is_hidden(&txn->reader, op->box, op->uid)))
        return log_gone(txn, "its message is no longer there: it can only be discarded", error);
    if (op->kind == LOG_EXPUNGE)
        return renumber(txn, op, now_ns, error) && log_touch(txn, op->box, error);
    return retry_place(txn, op, now_ns, error);
}

/* --- what a person says --- */

bool log_cancel(StoreTxn *txn, guint32 seq, GError **error)
{
    g_autoptr(LogOp) op = log_load(txn, seq, error);
    if (op == NULL)
        return !txn->failed && log_gone(txn, "no such operation; it was sent, or dropped", error);
    if (!log_is_unsent(op->state)) {
        g_set_error_literal(error, IMAPFS_ERROR, IMAPFS_ERROR_BUSY,
                            op->state == LOG_FAILED ? "it was sent, and failed"
                                                    : "it is being sent");
        return false;
    }
    if (log_is_of_box(op->kind))
        return log_box_cancel(txn, op, error);
    return op->kind == LOG_MOVE ? log_undo_move(txn, op, error) : log_drop(txn, op, error);
}

bool log_discard(StoreTxn *txn, guint32 seq, GError **error)
{
    g_autoptr(LogOp) op = log_load(txn, seq, error);
    if (op != NULL && op->state == LOG_FAILED)
        return log_drop(txn, op, error);
    return !txn->failed && log_gone(txn, "no such failed operation", error);
}

bool log_confirm(StoreTxn *txn, guint32 seq, GError **error)
{
    g_autoptr(LogOp) op = log_load(txn, seq, error);
    if (op != NULL && op->state == LOG_HELD)
        return log_set_state(txn, seq, LOG_QUEUED, NULL, error);
    return !txn->failed && log_gone(txn, "no such operation waits to be confirmed", error);
}
