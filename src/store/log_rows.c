/* log_rows.c - rows of the log: reading, writing, ending.
 *
 * The rule: what waits for another operation goes on only when that was done; when that came to
 * nothing, it does, too. */
#include "log_private.h"

#include "imapfs/base/clock.h"
#include "imapfs/base/error.h"

bool log_check_reads(StoreTxn *txn, GError **error)
{
    if (store_reader_check(&txn->reader, error))
        return true;
    txn->failed = true;
    return false;
}

bool log_gone(StoreTxn *txn, const char *words, GError **error)
{
    if (log_check_reads(txn, error))
        g_set_error_literal(error, IMAPFS_ERROR, IMAPFS_ERROR_GONE, words);
    return false;
}

bool log_is_unsent(LogState state)
{
    return state != LOG_INFLIGHT && state != LOG_UNSURE && state != LOG_FAILED;
}

/* --- reading --- */

LogOp *log_load(StoreTxn *txn, guint32 seq, GError **error)
{
    LogOp op;
    if (log_get(&txn->reader, seq, &op))
        return g_memdup2(&op, sizeof(op));
    log_check_reads(txn, error);
    return NULL;
}

static void op_free(gpointer op)
{
    log_op_free(op);
}

GPtrArray *log_read_ops(StoreTxn *txn, Query *query, GError **error)
{
    g_autoptr(GPtrArray) ops = g_ptr_array_new_with_free_func(op_free);
    while (query_step(query)) {
        LogOp op;
        log_op_borrow(query, &op);
        g_ptr_array_add(ops, log_op_copy(&op));
    }
    return txn_close_query(txn, query, error) ? g_steal_pointer(&ops) : NULL;
}

GPtrArray *log_read_ops_of(StoreTxn *txn, const char *sql, gint64 number, GError **error)
{
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return NULL;
    query_int(&query, number);
    return log_read_ops(txn, &query, error);
}

GPtrArray *log_ops_on(StoreTxn *txn, guint32 box, guint32 uid, GError **error)
{
    static const char sql[] =
        "SELECT " LOG_COLUMNS " FROM log WHERE box = ? AND uid = ? ORDER BY seq";
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return NULL;
    query_int(&query, box);
    query_int(&query, uid);
    return log_read_ops(txn, &query, error);
}

GPtrArray *log_ops_of_box(StoreTxn *txn, guint32 box, GError **error)
{
    static const char sql[] = "SELECT " LOG_COLUMNS " FROM log WHERE box = ? ORDER BY seq";
    return log_read_ops_of(txn, sql, box, error);
}

/* --- writing --- */

bool log_insert(StoreTxn *txn, const LogOp *op, guint32 *seq_out, GError **error)
{
    static const char sql[] =
        "INSERT INTO log(kind, state, box, uid, uidvalidity, plus, minus, logged_ns, mailbox, name,"
        " message_id, emailid, internaldate, size, to_box, to_n, target, after_seq, shown)"
        " VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_int(&query, op->kind);
    query_int(&query, op->state);
    query_int(&query, op->box);
    query_int(&query, op->uid);
    query_int(&query, op->uidvalidity);
    query_text(&query, op->set != NULL ? op->set : "");
    query_text(&query, op->clear != NULL ? op->clear : "");
    query_int(&query, op->logged_ns);
    query_text(&query, op->mailbox);
    query_text(&query, op->name);
    query_text(&query, op->message_id);
    query_text(&query, op->emailid);
    query_int(&query, op->internaldate);
    query_int(&query, (gint64)op->size);
    query_int(&query, op->to_box);
    query_int(&query, op->to_n);
    query_text(&query, op->target);
    query_int(&query, op->after);
    query_text(&query, op->shown);
    if (!txn_run_query(txn, &query, error))
        return false;
    gint64 seq = sqlite3_last_insert_rowid(txn->store->writer->handle);
    if (seq > LOG_MAX_SEQ)
        return txn_refuse(txn, error, IMAPFS_ERROR_FULL, "the log has no numbers left");
    *seq_out = (guint32)seq;
    return true;
}

/* Runs "... WHERE seq = ?" with two numbers before. */
static bool set_two(StoreTxn *txn, const char *sql, gint64 one, gint64 two, guint32 seq,
                    GError **error)
{
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_int(&query, one);
    query_int(&query, two);
    query_int(&query, seq);
    return txn_run_query(txn, &query, error);
}

bool log_set_message(StoreTxn *txn, guint32 seq, guint32 box, guint32 uid, GError **error)
{
    static const char sql[] = "UPDATE log SET box = ?, uid = ? WHERE seq = ?";
    return set_two(txn, sql, box, uid, seq, error);
}

bool log_redirect(StoreTxn *txn, guint32 seq, guint32 to_box, GError **error)
{
    static const char sql[] =
        "UPDATE log SET to_box = ?1, box = iif(kind = 4 /* APPEND */, ?2, box),"
        " target = coalesce((SELECT name FROM box WHERE id = ?1), target) WHERE seq = ?3";
    G_STATIC_ASSERT(LOG_APPEND == 4);
    return set_two(txn, sql, to_box, to_box, seq, error);
}

bool log_set_flags(StoreTxn *txn, guint32 seq, const Flags *set, const Flags *clear, GError **error)
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

/* --- ending --- */

static GPtrArray *ops_after(StoreTxn *txn, guint32 seq, GError **error)
{
    static const char sql[] =
        "SELECT " LOG_COLUMNS " FROM log WHERE after_seq != 0 AND after_seq = ? ORDER BY seq";
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return NULL;
    query_int(&query, seq);
    return log_read_ops(txn, &query, error);
}

bool log_wait_instead(StoreTxn *txn, guint32 seq, guint32 instead, GError **error)
{
    static const char sql[] = "UPDATE log SET after_seq = ? WHERE after_seq != 0 AND after_seq = ?";
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_int(&query, instead);
    query_int(&query, seq);
    return txn_run_query(txn, &query, error);
}

static bool drop_after(StoreTxn *txn, guint32 seq, GError **error)
{
    g_autoptr(GPtrArray) ops = ops_after(txn, seq, error);
    if (ops == NULL)
        return false;
    for (guint i = 0; i < ops->len; i++)
        if (!log_drop(txn, ops->pdata[i], error))
            return false;
    return true;
}

bool log_end(StoreTxn *txn, guint32 seq, bool done, GError **error)
{
    static const char sql[] = "DELETE FROM log WHERE seq = ?";
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_int(&query, seq);
    return txn_run_query(txn, &query, error) &&
           (done ? log_wait_instead(txn, seq, 0, error) : drop_after(txn, seq, error));
}
