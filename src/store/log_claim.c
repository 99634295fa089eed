/* log_claim.c - which operations may be sent now, and taking them up.
 *
 * The rule: those on one message go one after the other, as they were logged. What places is taken
 * up together with what its target said last (the fence): should the answer be lost, it is looked
 * for beyond that. */
#include "log_private.h"

#include "imapfs/base/clock.h"
#include "imapfs/base/error.h"

/* QUEUED, and nothing stands before it but time. The UIDVALIDITY is compared once more: what
 * slipped through must not reach another message. An APPEND (4) is on no message; it waits while
 * one of the same letter is UNSURE there, which would be taken to have arrived when this one has.
 */
#define SQL_READY                                                                             \
    "state = 0 AND kind <= 4"                                                                 \
    " AND (kind = 4 OR uidvalidity = (SELECT uidvalidity FROM box WHERE id = log.box))"       \
    " AND (uid = 0 OR NOT EXISTS (SELECT 1 FROM log AS e WHERE e.box = log.box"               \
    " AND e.uid = log.uid AND e.seq != log.seq"                                               \
    " AND (e.state = 1 OR (e.seq < log.seq AND e.state != 5))))"                              \
    " AND (after_seq = 0 OR NOT EXISTS (SELECT 1 FROM log AS a WHERE a.seq = log.after_seq))" \
    " AND (kind IN (0, 3) OR EXISTS (SELECT 1 FROM box AS t WHERE t.id = log.to_box"          \
    " AND t.local = 0))"                                                                      \
    " AND (kind != 4 OR NOT EXISTS (SELECT 1 FROM log AS u INDEXED BY log_state"              \
    " WHERE u.state = 6 AND u.to_box = log.to_box AND u.message_id IS log.message_id))"
G_STATIC_ASSERT(LOG_QUEUED == 0 && LOG_INFLIGHT == 1 && LOG_FAILED == 5 && LOG_UNSURE == 6);
G_STATIC_ASSERT(LOG_APPEND == 4 && LOG_EXPUNGE == 3);

/* When the first that may be sent is due; -1: none. One that is due now ends the search. */
static gint64 first_due(StoreReader *reader, guint32 box, gint64 now_ns)
{
    static const char sql[] =
        "SELECT next_try_ns FROM log WHERE box = ? AND " SQL_READY " ORDER BY seq";
    gint64 first = -1;
    Query query;
    if (!reader_open_query(reader, &query, sql))
        return -1;
    query_int(&query, box);
    while ((first < 0 || first > now_ns) && query_step(&query)) {
        gint64 due = query_get_int(&query, 0);
        first = first < 0 ? due : MIN(first, due);
    }
    reader_close_query(reader, &query);
    return first;
}

GArray *log_due(StoreReader *reader)
{
    static const char sql[] =
        "SELECT box, max(unsure) FROM ("
        "SELECT DISTINCT box, 0 AS unsure FROM log WHERE state = 0 AND box != 0"
        " AND box != " LOG_SQL_PENDING
        " UNION ALL SELECT DISTINCT to_box, 1 FROM log WHERE state = 6 AND to_box != 0"
        " AND kind <= 4) GROUP BY box ORDER BY box";
    GArray *out = g_array_new(FALSE, FALSE, sizeof(LogDue));
    gint64 now_ns = clock_real_ns();
    Query query;
    if (!reader_open_query(reader, &query, sql))
        return out;
    while (query_step(&query)) {
        guint32 box = (guint32)query_get_int(&query, 0);
        bool unsure = query_get_int(&query, 1) != 0;
        LogDue due = {box, unsure ? 0 : first_due(reader, box, now_ns)};
        if (due.due_ns >= 0)
            g_array_append_val(out, due);
    }
    reader_close_query(reader, &query);
    return out;
}

/* What to_box said; false: not everything is known. Rows that were placed count: they were there
 * before. */
static bool read_fence(StoreReader *reader, guint32 to_box, guint32 *uidvalidity, guint32 *uidnext)
{
    static const char sql[] = "SELECT uidvalidity, iif(uidnext = 0, 0, max(uidnext, (SELECT"
                              " coalesce(max(uid), 0) + 1 FROM msg INDEXED BY msg_uid"
                              " WHERE box = ?1))) FROM box WHERE id = ?1";
    Query query;
    if (!reader_open_query(reader, &query, sql))
        return false;
    query_int(&query, to_box);
    bool found = query_step(&query);
    gint64 next = found ? query_get_int(&query, 1) : 0;
    *uidvalidity = found ? (guint32)query_get_int(&query, 0) : 0;
    *uidnext = (guint32)MIN(next, (gint64)G_MAXUINT32);
    return reader_close_query(reader, &query) && *uidvalidity != 0 && *uidnext != 0;
}

bool log_next(StoreReader *reader, guint32 box, gint64 now_ns, LogNext *out)
{
    static const char sql[] = "SELECT kind, to_box FROM log WHERE box = ? AND next_try_ns <= ?"
                              " AND " SQL_READY " ORDER BY seq LIMIT 1";
    *out = (LogNext){0};
    Query query;
    if (!reader_open_query(reader, &query, sql))
        return false;
    query_int(&query, box);
    query_int(&query, now_ns);
    bool found = query_step(&query);
    if (found)
        *out = (LogNext){.kind = (LogKind)query_get_int(&query, 0),
                         .to_box = (guint32)query_get_int(&query, 1)};
    if (!reader_close_query(reader, &query) || !found)
        return false;
    guint32 uidvalidity, uidnext;
    out->fenced = log_places(out->kind) && read_fence(reader, out->to_box, &uidvalidity, &uidnext);
    return true;
}

static bool take(StoreTxn *txn, LogOp *op, guint32 uidvalidity, guint32 uidnext, GError **error)
{
    static const char sql[] =
        "UPDATE log SET fence_uidvalidity = ?, fence_uidnext = ? WHERE seq = ?";
    Query query;
    op->state = LOG_INFLIGHT;
    if (!log_set_state(txn, op->seq, LOG_INFLIGHT, NULL, error))
        return false;
    if (!log_places(op->kind))
        return true;
    op->fence_uidvalidity = uidvalidity;
    op->fence_uidnext = uidnext;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_int(&query, uidvalidity);
    query_int(&query, uidnext);
    query_int(&query, op->seq);
    return txn_run_query(txn, &query, error);
}

static GPtrArray *read_next(StoreTxn *txn, guint32 box, gint64 now_ns, guint max,
                            const LogNext *next, GError **error)
{
    static const char sql[] = "SELECT " LOG_COLUMNS " FROM log WHERE box = ? AND next_try_ns <= ?"
                              " AND kind = ? AND to_box = ? AND " SQL_READY " ORDER BY seq LIMIT ?";
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return NULL;
    query_int(&query, box);
    query_int(&query, now_ns);
    query_int(&query, next->kind);
    query_int(&query, next->to_box);
    query_int(&query, max);
    return log_read_ops(txn, &query, error);
}

bool log_claim(StoreTxn *txn, guint32 box, gint64 now_ns, int kind, guint max, GPtrArray **ops_out,
               GError **error)
{
    LogNext next;
    guint32 uidvalidity = 0, uidnext = 0;
    bool any = log_next(&txn->reader, box, now_ns, &next) &&
               (kind == LOG_ANY || next.kind == (LogKind)kind);
    if (any && log_places(next.kind))
        any = read_fence(&txn->reader, next.to_box, &uidvalidity, &uidnext);
    if (!log_check_reads(txn, error))
        return false;
    g_autoptr(GPtrArray) ops = read_next(txn, any ? box : 0, now_ns, any ? max : 0, &next, error);
    if (ops == NULL)
        return false;
    for (guint i = 0; i < ops->len; i++)
        if (!take(txn, ops->pdata[i], uidvalidity, uidnext, error))
            return false;
    *ops_out = g_steal_pointer(&ops);
    return true;
}
