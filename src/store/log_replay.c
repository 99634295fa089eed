/* log_replay.c - claiming what is to be sent, and recording what became of it.
 *
 * The rule: at most one QUEUED operation stands for a message. What comes back merges into it, the
 * later one winning flag by flag. */
#include "private.h"

#include "imapfs/base/clock.h"
#include "imapfs/base/error.h"

/* --- small steps --- */

bool log_delete(StoreTxn *txn, guint32 seq, GError **error)
{
    static const char sql[] = "DELETE FROM log WHERE seq = ?";
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_int(&query, seq);
    return txn_run_query(txn, &query, error);
}

bool log_set_state(StoreTxn *txn, guint32 seq, LogState state, const char *reason, GError **error)
{
    static const char sql[] = "UPDATE log SET state = ?, changed_ns = ?,"
                              " reason = coalesce(?, reason) WHERE seq = ?";
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_int(&query, state);
    query_int(&query, clock_real_ns());
    query_text(&query, reason);
    query_int(&query, seq);
    return txn_run_query(txn, &query, error);
}

/* An operation of the log, or NULL: it is gone (no error), or the read failed (error). */
static LogOp *load(StoreTxn *txn, guint32 seq, GError **error)
{
    LogOp op;
    if (log_get(&txn->reader, seq, &op))
        return g_memdup2(&op, sizeof(op));
    if (!store_reader_check(&txn->reader, error))
        txn->failed = true;
    return NULL;
}

/* The number of the operation that is QUEUED for a message, but for this one; 0: none. */
static bool find_queued(StoreTxn *txn, guint32 box, guint32 uid, guint32 but, guint32 *seq_out,
                        GError **error)
{
    static const char sql[] = "SELECT seq FROM log WHERE box = ? AND uid = ? AND state = 0"
                              " AND kind = 0 AND seq != ?";
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_int(&query, box);
    query_int(&query, uid);
    query_int(&query, but);
    *seq_out = query_step(&query) ? (guint32)query_get_int(&query, 0) : 0;
    return txn_close_query(txn, &query, error);
}

static bool set_flags(StoreTxn *txn, guint32 seq, const Flags *set, const Flags *clear,
                      GError **error)
{
    static const char sql[] = "UPDATE log SET plus = ?, minus = ? WHERE seq = ?";
    g_autofree char *plus = flags_to_text(set), *minus = flags_to_text(clear);
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_text(&query, plus);
    query_text(&query, minus);
    query_int(&query, seq);
    return txn_run_query(txn, &query, error);
}

/* Merges two operations of a message into the earlier one; the later one goes. */
static bool merge_two(StoreTxn *txn, guint32 earlier, guint32 later, GError **error)
{
    g_autoptr(LogOp) first = load(txn, earlier, error);
    g_autoptr(LogOp) second = first != NULL ? load(txn, later, error) : NULL;
    if (first == NULL || second == NULL)
        return !txn->failed;
    g_auto(Flags) set = {0};
    g_auto(Flags) clear = {0};
    flags_parse(&set, first->set);
    flags_parse(&clear, first->clear);
    log_merge(&set, &clear, second->set, second->clear);
    return set_flags(txn, earlier, &set, &clear, error) && log_delete(txn, later, error);
}

bool log_place(StoreTxn *txn, guint32 seq, guint32 box, guint32 uid, guint32 uidvalidity,
               GError **error)
{
    static const char sql[] = "UPDATE log SET state = 0, box = ?, uid = ?, uidvalidity = ?,"
                              " changed_ns = ? WHERE seq = ?";
    guint32 other;
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_int(&query, box);
    query_int(&query, uid);
    query_int(&query, uidvalidity);
    query_int(&query, clock_real_ns());
    query_int(&query, seq);
    if (!txn_run_query(txn, &query, error) || !find_queued(txn, box, uid, seq, &other, error))
        return false;
    return other == 0 || merge_two(txn, MIN(seq, other), MAX(seq, other), error);
}

/* --- the calls --- */

bool log_recover(StoreTxn *txn, GError **error)
{
    static const char sql[] = "SELECT seq FROM log WHERE state = 1 ORDER BY seq";
    g_autoptr(GArray) seqs = g_array_new(FALSE, FALSE, sizeof(guint32));
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    while (query_step(&query)) {
        guint32 seq = (guint32)query_get_int(&query, 0);
        g_array_append_val(seqs, seq);
    }
    if (!txn_close_query(txn, &query, error))
        return false;
    for (guint i = 0; i < seqs->len; i++)
        if (!log_requeue(txn, g_array_index(seqs, guint32, i), 0, 0, NULL, error))
            return false;
    return true;
}

bool log_claim(StoreTxn *txn, guint32 box, gint64 now_ns, guint max, GPtrArray **ops_out,
               GError **error)
{
    /* The UIDVALIDITY is compared once more: an operation that slipped through must not reach
     * another message. */
    static const char sql[] =
        "SELECT " LOG_COLUMNS " FROM log WHERE state = 0 AND box = ?1 AND next_try_ns <= ?2"
        " AND uidvalidity = (SELECT uidvalidity FROM box WHERE id = ?1)"
        " AND NOT EXISTS (SELECT 1 FROM log AS sent WHERE sent.box = log.box"
        " AND sent.uid = log.uid AND sent.state = 1) ORDER BY seq LIMIT ?3";
    g_autoptr(GPtrArray) ops = g_ptr_array_new_with_free_func((GDestroyNotify)log_op_free);
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_int(&query, box);
    query_int(&query, now_ns);
    query_int(&query, max);
    while (query_step(&query)) {
        LogOp op;
        log_op_borrow(&query, &op);
        op.state = LOG_INFLIGHT;
        g_ptr_array_add(ops, log_op_copy(&op));
    }
    if (!txn_close_query(txn, &query, error))
        return false;
    for (guint i = 0; i < ops->len; i++)
        if (!log_set_state(txn, ((LogOp *)ops->pdata[i])->seq, LOG_INFLIGHT, NULL, error))
            return false;
    *ops_out = g_steal_pointer(&ops);
    return true;
}

bool log_done(StoreTxn *txn, guint32 seq, GError **error)
{
    return log_delete(txn, seq, error);
}

static bool note_try(StoreTxn *txn, guint32 seq, guint attempts, gint64 next_try_ns,
                     const char *reason, GError **error)
{
    static const char sql[] =
        "UPDATE log SET attempts = ?, next_try_ns = ?, reason = ? WHERE seq = ?";
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_int(&query, attempts);
    query_int(&query, next_try_ns);
    query_text(&query, reason);
    query_int(&query, seq);
    return txn_run_query(txn, &query, error);
}

bool log_requeue(StoreTxn *txn, guint32 seq, guint attempts, gint64 next_try_ns, const char *reason,
                 GError **error)
{
    g_autoptr(LogOp) op = load(txn, seq, error);
    if (op == NULL)
        return !txn->failed;
    if (op->state != LOG_INFLIGHT)
        return true; /* the server changed under it, and it has gone another way */
    return note_try(txn, seq, attempts, next_try_ns, reason, error) &&
           log_place(txn, seq, op->box, op->uid, op->uidvalidity, error);
}

bool log_narrow(StoreTxn *txn, guint32 seq, const Flags *left, GError **error)
{
    g_autoptr(LogOp) op = load(txn, seq, error);
    if (op == NULL)
        return !txn->failed;
    g_auto(Flags) set = {0};
    g_auto(Flags) clear = {0};
    flags_parse(&set, op->set);
    flags_parse(&clear, op->clear);
    flags_keep_all(&set, left);
    flags_keep_all(&clear, left);
    return set_flags(txn, seq, &set, &clear, error);
}

bool log_park(StoreTxn *txn, guint32 seq, const char *reason, GError **error)
{
    return log_set_state(txn, seq, LOG_FAILED, reason, error);
}
