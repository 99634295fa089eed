/* log_replay.c - claiming what is to be sent, and recording what became of it.
 *
 * The rule: at most one QUEUED operation stands for a message. What comes back merges into it, the
 * later one winning flag by flag. */
#include "log_private.h"

#include "imapfs/base/clock.h"
#include "imapfs/base/error.h"
#include "imapfs/store/spool.h"

/* --- small steps --- */

/* The number of the FLAGS that are QUEUED for a message and may be merged with this one (no copy is
 * made in between); 0: none. */
static bool find_queued(StoreTxn *txn, guint32 box, guint32 uid, guint32 but, guint32 *seq_out,
                        GError **error)
{
    static const char sql[] =
        "SELECT seq FROM log WHERE box = ?1 AND uid = ?2 AND state = 0 AND kind = 0 AND seq != ?3"
        " AND NOT EXISTS (SELECT 1 FROM log AS c WHERE c.box = ?1 AND c.uid = ?2"
        " AND c.kind IN (1, 2) AND c.state != 5"
        " AND c.seq BETWEEN min(log.seq, ?3) AND max(log.seq, ?3)) ORDER BY seq LIMIT 1";
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_int(&query, box);
    query_int(&query, uid);
    query_int(&query, but);
    *seq_out = query_step(&query) ? (guint32)query_get_int(&query, 0) : 0;
    return txn_close_query(txn, &query, error);
}

/* Merges two operations of a message into the earlier one; the later one goes. */
static bool merge_two(StoreTxn *txn, guint32 earlier, guint32 later, GError **error)
{
    g_autoptr(LogOp) first = log_load(txn, earlier, error);
    g_autoptr(LogOp) second = first != NULL ? log_load(txn, later, error) : NULL;
    if (first == NULL || second == NULL)
        return !txn->failed;
    g_auto(Flags) set = {0};
    g_auto(Flags) clear = {0};
    flags_parse(&set, first->set);
    flags_parse(&clear, first->clear);
    log_merge(&set, &clear, second->set, second->clear);
    return log_set_flags(txn, earlier, &set, &clear, error) && log_end(txn, later, true, error);
}

static bool is_flags(StoreTxn *txn, guint32 seq, bool *flags_out, GError **error)
{
    static const char sql[] = "SELECT kind FROM log WHERE seq = ?";
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_int(&query, seq);
    *flags_out = query_step(&query) && query_get_int(&query, 0) == LOG_FLAGS;
    return txn_close_query(txn, &query, error);
}

bool log_place(StoreTxn *txn, guint32 seq, guint32 box, guint32 uid, guint32 uidvalidity,
               GError **error)
{
    static const char sql[] = "UPDATE log SET state = 0, box = ?, uid = ?, uidvalidity = ?,"
                              " changed_ns = ? WHERE seq = ?";
    guint32 other = 0;
    bool flags = false;
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_int(&query, box);
    query_int(&query, uid);
    query_int(&query, uidvalidity);
    query_int(&query, clock_real_ns());
    query_int(&query, seq);
    if (!txn_run_query(txn, &query, error) || !is_flags(txn, seq, &flags, error) ||
        (flags && !find_queued(txn, box, uid, seq, &other, error)))
        return false;
    return other == 0 || merge_two(txn, MIN(seq, other), MAX(seq, other), error);
}

/* --- the calls --- */

/* Numbers that placed messages got stay while some are still looked for there: each message stands
 * for one operation only (log_probe). */
static bool forget_went(StoreTxn *txn, GError **error)
{
    static const char sql[] = "DELETE FROM went WHERE box != " LOG_SQL_PENDING
                              " OR to_box NOT IN (SELECT to_box FROM log WHERE state = 6)";
    Query query;
    G_STATIC_ASSERT(LOG_UNSURE == 6);
    return txn_open_query(txn, &query, sql, error) && txn_run_query(txn, &query, error);
}

/* Letters of before that no operation names: whoever wrote them was never told that they are kept.
 * Not those of now: who has just written one is about to log it. */
static bool sweep_spool(StoreTxn *txn, GError **error)
{
    g_autoptr(GArray) numbers = spool_numbers(txn->store, error);
    if (numbers == NULL) {
        txn->failed = true;
        return false;
    }
    for (guint i = 0; i < numbers->len; i++) {
        guint32 n = g_array_index(numbers, guint32, i);
        LogOp op;
        if (n >= txn->store->first_number)
            continue;
        if (log_placing(&txn->reader, n, &op))
            log_op_clear(&op);
        else if (log_check_reads(txn, error))
            spool_unlink(txn->store, n);
        else
            return false;
    }
    return true;
}

bool log_recover(StoreTxn *txn, GError **error)
{
    static const char sql[] = "SELECT " LOG_COLUMNS " FROM log WHERE state = 1 ORDER BY seq";
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    g_autoptr(GPtrArray) ops = log_read_ops(txn, &query, error);
    if (ops == NULL)
        return false;
    for (guint i = 0; i < ops->len; i++)
        if (!log_unsure(txn, ((LogOp *)ops->pdata[i])->seq, error))
            return false;
    return forget_went(txn, error) && sweep_spool(txn, error);
}

bool log_unsure(StoreTxn *txn, guint32 seq, GError **error)
{
    g_autoptr(LogOp) op = log_load(txn, seq, error);
    if (op == NULL || op->state != LOG_INFLIGHT)
        return !txn->failed;
    if (op->kind == LOG_FLAGS || op->kind == LOG_EXPUNGE) /* can be sent twice */
        return log_requeue(txn, seq, op->attempts, 0, NULL, error);
    return log_set_state(txn, seq, LOG_UNSURE, NULL, error);
}

static bool note_try(StoreTxn *txn, guint32 seq, guint attempts, gint64 next_try_ns,
                     const char *reason, GError **error)
{
    static const char sql[] =
        "UPDATE log SET attempts = ?, next_try_ns = ?, reason = ?, fence_uidvalidity = 0,"
        " fence_uidnext = 0 WHERE seq = ?";
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_int(&query, attempts);
    query_int(&query, next_try_ns);
    query_text(&query, reason);
    query_int(&query, seq);
    return txn_run_query(txn, &query, error);
}

/* Its mailbox has another UIDVALIDITY than when it was sent (log_box_renewed). */
static bool was_renewed(StoreTxn *txn, const LogOp *op)
{
    StoreBox box = {0};
    bool renewed = log_has_source(op->kind) && op->uid == 0 && op->box != STORE_BOX_PENDING &&
                   op->box != 0 && store_box_by_id(&txn->reader, op->box, &box) &&
                   box.uidvalidity != op->uidvalidity;
    store_box_clear(&box);
    return renewed;
}

bool log_requeue(StoreTxn *txn, guint32 seq, guint attempts, gint64 next_try_ns, const char *reason,
                 GError **error)
{
    g_autoptr(LogOp) op = log_load(txn, seq, error);
    if (op == NULL)
        return !txn->failed;
    if (op->state != LOG_INFLIGHT && op->state != LOG_UNSURE)
        return true; /* the server changed under it, and it has gone another way */
    if (!note_try(txn, seq, attempts, next_try_ns, reason, error))
        return false;
    if (was_renewed(txn, op)) /* it was not done: its message is looked for, as for what waited */
        return log_unbind(txn, op, op->box, error);
    if (!log_place(txn, seq, op->box, op->uid, op->uidvalidity, error))
        return false;
    bool on_message = op->kind == LOG_EXPUNGE || log_has_source(op->kind);
    return !on_message || log_source_is_there(txn, op) || log_message_lost(txn, seq, error);
}

bool log_narrow(StoreTxn *txn, guint32 seq, const Flags *left, GError **error)
{
    g_autoptr(LogOp) op = log_load(txn, seq, error);
    if (op == NULL)
        return !txn->failed;
    g_auto(Flags) set = {0};
    g_auto(Flags) clear = {0};
    flags_parse(&set, op->set);
    flags_parse(&clear, op->clear);
    flags_keep_all(&set, left);
    flags_keep_all(&clear, left);
    return log_set_flags(txn, seq, &set, &clear, error);
}
