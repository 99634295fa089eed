/* log.c - reading the write-back log, and laying it over what the server said.
 *
 * The rule: what is shown is computed when it is read, from the row, what is kept here, and what is
 * pending, in this order. So to roll back is to delete a row. */
#include "log_private.h"

#include <string.h>

/* --- words --- */

const char *log_kind_word(LogKind kind)
{
    static const char *const words[] = {
#define LOG_KIND_WORD(name, word) [LOG_##name] = (word),
        LOG_KINDS(LOG_KIND_WORD)
#undef LOG_KIND_WORD
    };
    return kind < G_N_ELEMENTS(words) ? words[kind] : "?";
}

const char *log_state_words(LogState state)
{
    static const char *const words[] = {
#define LOG_STATE_WORD(name, word) [LOG_##name] = (word),
        LOG_STATES(LOG_STATE_WORD)
#undef LOG_STATE_WORD
    };
    return state < G_N_ELEMENTS(words) ? words[state] : "?";
}

/* --- operations as values --- */

void log_op_borrow(Query *query, LogOp *out)
{
    *out = (LogOp){
        .seq = (guint32)query_get_int(query, 0),
        .kind = (LogKind)query_get_int(query, 1),
        .state = (LogState)query_get_int(query, 2),
        .box = (guint32)query_get_int(query, 3),
        .uid = (guint32)query_get_int(query, 4),
        .uidvalidity = (guint32)query_get_int(query, 5),
        .set = query_get_text(query, 6),
        .clear = query_get_text(query, 7),
        .attempts = (guint)query_get_int(query, 8),
        .next_try_ns = query_get_int(query, 9),
        .logged_ns = query_get_int(query, 10),
        .reason = query_get_text(query, 11),
        .mailbox = query_get_text(query, 12),
        .name = query_get_text(query, 13),
        .message_id = query_get_text(query, 14),
        .emailid = query_get_text(query, 15),
        .internaldate = query_get_int(query, 16),
        .size = (guint64)query_get_int(query, 17),
        .to_box = (guint32)query_get_int(query, 18),
        .to_n = (guint32)query_get_int(query, 19),
        .target = query_get_text(query, 20),
        .fence_uidvalidity = (guint32)query_get_int(query, 21),
        .fence_uidnext = (guint32)query_get_int(query, 22),
        .after = (guint32)query_get_int(query, 23),
        .shown = query_get_text(query, 24),
    };
}

bool log_op_take(StoreReader *reader, Query *query, LogOp *out)
{
    g_autoptr(LogOp) op = NULL;
    if (query_step(query)) {
        LogOp row;
        log_op_borrow(query, &row);
        op = log_op_copy(&row);
    }
    if (!reader_close_query(reader, query) || op == NULL)
        return false;
    *out = *op;
    g_free(g_steal_pointer(&op)); /* its strings are the caller's now */
    return true;
}

LogOp *log_op_copy(const LogOp *op)
{
    LogOp *out = g_memdup2(op, sizeof(*op));
    out->set = g_strdup(op->set);
    out->clear = g_strdup(op->clear);
    out->reason = g_strdup(op->reason);
    out->mailbox = g_strdup(op->mailbox);
    out->name = g_strdup(op->name);
    out->message_id = g_strdup(op->message_id);
    out->emailid = g_strdup(op->emailid);
    out->target = g_strdup(op->target);
    out->shown = g_strdup(op->shown);
    return out;
}

void log_op_clear(LogOp *op)
{
    g_free(op->set);
    g_free(op->clear);
    g_free(op->reason);
    g_free(op->mailbox);
    g_free(op->name);
    g_free(op->message_id);
    g_free(op->emailid);
    g_free(op->target);
    g_free(op->shown);
    memset(op, 0, sizeof(*op));
}

void log_op_free(LogOp *op)
{
    if (!op)
        return;
    log_op_clear(op);
    g_free(op);
}

void log_merge(Flags *set, Flags *clear, const char *later_set, const char *later_clear)
{
    g_auto(Flags) plus = {0};
    g_auto(Flags) minus = {0};
    flags_parse(&plus, later_set);
    flags_parse(&minus, later_clear);
    flags_remove_all(clear, &plus);
    flags_add_all(set, &plus);
    flags_remove_all(set, &minus);
    flags_add_all(clear, &minus);
}

/* --- what is shown --- */

/* Applies the rows of a query (what is set, what is cleared) one after the other. */
static void apply_rows(StoreReader *reader, const char *sql, guint32 box, guint32 uid, Flags *flags)
{
    Query query;
    if (!reader_open_query(reader, &query, sql))
        return;
    query_int(&query, box);
    query_int(&query, uid);
    while (query_step(&query)) {
        g_auto(Flags) ignored = {0};
        log_merge(flags, &ignored, query_get_text(&query, 0), query_get_text(&query, 1));
    }
    reader_close_query(reader, &query);
}

char *log_shown_flags(StoreReader *reader, guint32 box, guint32 uid, const char *server)
{
    static const char sql_local[] = "SELECT plus, minus FROM local_flag WHERE box = ? AND uid = ?";
    static const char sql_pending[] = "SELECT plus, minus FROM log WHERE box = ? AND uid = ?"
                                      " AND state <= 1 /* QUEUED, INFLIGHT */ AND kind = 0"
                                      " ORDER BY seq";
    g_auto(Flags) flags = {0};
    flags_parse(&flags, server != NULL ? server : "");
    apply_rows(reader, sql_local, box, uid, &flags);
    apply_rows(reader, sql_pending, box, uid, &flags);
    return flags_to_text(&flags);
}

static bool has_local(StoreReader *reader, guint32 box, guint32 uid)
{
    static const char sql[] = "SELECT 1 FROM local_flag WHERE box = ? AND uid = ?";
    return reader_finds(reader, sql, box, uid);
}

/* Something was sent that may have been done or not. */
static bool is_unsure(StoreReader *reader, guint32 box, guint32 uid)
{
    static const char sql[] =
        "SELECT 1 FROM log WHERE box = ?1 AND uid = ?2 AND state = 6 UNION ALL"
        " SELECT 1 FROM log WHERE to_n != 0 AND to_n = ?2 AND ?1 = " LOG_SQL_PENDING
        " AND state = 6 LIMIT 1";
    G_STATIC_ASSERT(LOG_UNSURE == 6);
    return reader_finds(reader, sql, box, uid);
}

LogMsgState log_msg_state(StoreReader *reader, guint32 box, guint32 uid)
{
    LogCounts counts;
    log_count(reader, box, uid, &counts);
    if (counts.pending > 0)
        return is_unsure(reader, box, uid) ? LOG_MSG_UNSURE : LOG_MSG_QUEUED;
    if (counts.failed > 0)
        return LOG_MSG_FAILED;
    return has_local(reader, box, uid) ? LOG_MSG_LOCAL : LOG_MSG_SYNCED;
}

/* --- lists and counts --- */

bool log_get(StoreReader *reader, guint32 seq, LogOp *out)
{
    static const char sql[] = "SELECT " LOG_COLUMNS " FROM log WHERE seq = ?";
    Query query;
    if (!reader_open_query(reader, &query, sql))
        return false;
    query_int(&query, seq);
    return log_op_take(reader, &query, out);
}

void log_each(StoreReader *reader, bool failed, guint32 after, LogFunc f, gpointer data)
{
    static const char sql[] =
        "SELECT " LOG_COLUMNS " FROM log WHERE seq > ? AND (state = 5) = ? ORDER BY seq";
    G_STATIC_ASSERT(LOG_FAILED == 5);
    Query query;
    if (!reader_open_query(reader, &query, sql))
        return;
    query_int(&query, after);
    query_int(&query, failed);
    while (query_step(&query)) {
        LogOp op;
        log_op_borrow(&query, &op);
        if (!f(&op, data))
            break;
    }
    reader_close_query(reader, &query);
}

/* What a count is of, from the whole to the one. */
static const char sql_count_all[] = "SELECT state = 5, count(*) FROM log GROUP BY 1";
static const char sql_count_box[] =
    "SELECT state = 5, count(*) FROM log WHERE seq IN (SELECT seq FROM log WHERE box = ?1"
    " UNION SELECT seq FROM log WHERE to_box != 0 AND to_box = ?1"
    " UNION SELECT o.seq FROM log AS p JOIN log AS o ON o.box = " LOG_SQL_PENDING
    " AND o.uid = p.to_n WHERE p.to_box != 0 AND p.to_box = ?1) GROUP BY 1";
static const char sql_count_msg[] =
    "SELECT state = 5, count(*) FROM log WHERE box = ? AND uid = ? GROUP BY 1";
static const char sql_count_pending[] =
    "SELECT state = 5, count(*) FROM (SELECT state FROM log WHERE box = ?1 AND uid = ?2"
    " UNION ALL SELECT state FROM log WHERE to_n != 0 AND to_n = ?2) GROUP BY 1";

void log_count(StoreReader *reader, guint32 box, guint32 uid, LogCounts *out)
{
    const char *sql = box == 0                   ? sql_count_all
                      : uid == 0                 ? sql_count_box
                      : box == STORE_BOX_PENDING ? sql_count_pending
                                                 : sql_count_msg;
    Query query;
    *out = (LogCounts){0};
    if (!reader_open_query(reader, &query, sql))
        return;
    if (box != 0)
        query_int(&query, box);
    if (box != 0 && uid != 0)
        query_int(&query, uid);
    while (query_step(&query)) {
        guint64 *count = query_get_int(&query, 0) ? &out->failed : &out->pending;
        *count = (guint64)query_get_int(&query, 1);
    }
    reader_close_query(reader, &query);
}
