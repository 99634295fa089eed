/* log_shown.c - the messages of a mailbox as a person sees them.
 *
 * The rule: a mailbox has a million messages and hides a few, so the hidden ones are walked beside
 * the rows, in the same order, and nothing is asked of each row. */
#include "log_private.h"

/* In order of uid, without a sort: both halves come out of an index. */
#define SQL_HIDDEN                                             \
    "SELECT uid FROM hidden WHERE box = ?1 AND uid > ?2 UNION" \
    " SELECT uid FROM log WHERE box = ?1 AND uid > ?2 AND kind IN (1, 3) AND state != 5"
G_STATIC_ASSERT(LOG_MOVE == 1 && LOG_EXPUNGE == 3 && LOG_FAILED == 5);

bool log_is_hidden(StoreReader *reader, guint32 box, guint32 uid)
{
    static const char sql[] =
        "SELECT 1 FROM hidden WHERE box = ?1 AND uid = ?2 UNION ALL"
        " SELECT 1 FROM log WHERE box = ?1 AND uid = ?2 AND kind IN (1, 3) AND state != 5 LIMIT 1";
    return reader_finds(reader, sql, box, uid);
}

/* --- listing --- */

typedef struct {
    Query hidden;
    bool more;
    guint32 next; /* the hidden one that comes next, while there are more */
    StoreMsgFunc f;
    gpointer data;
} Shown;

static void next_hidden(Shown *shown)
{
    shown->more = query_step(&shown->hidden);
    if (shown->more)
        shown->next = (guint32)query_get_int(&shown->hidden, 0);
}

static bool show(const StoreMsg *msg, gpointer data)
{
    Shown *shown = data;
    while (shown->more && shown->next < msg->uid)
        next_hidden(shown);
    return (shown->more && shown->next == msg->uid) || shown->f(msg, shown->data);
}

void log_shown_each(StoreReader *reader, guint32 box, guint32 after, StoreMsgFunc f, gpointer data)
{
    static const char sql[] = SQL_HIDDEN " ORDER BY uid";
    Shown shown = {.f = f, .data = data};
    if (!reader_open_query(reader, &shown.hidden, sql))
        return;
    query_int(&shown.hidden, box);
    query_int(&shown.hidden, after);
    next_hidden(&shown);
    store_msg_each(reader, box, after, show, &shown);
    reader_close_query(reader, &shown.hidden);
}

static guint32 count(StoreReader *reader, const char *sql, guint32 box)
{
    Query query;
    if (!reader_open_query(reader, &query, sql))
        return 0;
    query_int(&query, box);
    query_int(&query, 0);
    guint32 n = query_step(&query) ? (guint32)query_get_int(&query, 0) : 0;
    return reader_close_query(reader, &query) ? n : 0;
}

/* Shown in a mailbox, n > ?2: what places it is pending, and nothing takes it away. */
#define SQL_PLACED                                                                          \
    " FROM log AS p WHERE p.to_box != 0 AND p.to_box = ?1 AND p.to_n > ?2 AND p.state != 5" \
    " AND NOT EXISTS (SELECT 1 FROM log AS h WHERE h.box = " LOG_SQL_PENDING                \
    " AND h.uid = p.to_n AND h.kind IN (1, 3) AND h.state != 5)"

guint32 log_shown_count(StoreReader *reader, guint32 box)
{
    static const char sql_hidden[] = "SELECT count(*) FROM (" SQL_HIDDEN ")";
    static const char sql_placed[] = "SELECT count(*)" SQL_PLACED;
    guint32 rows = store_msg_count(reader, box);
    return rows - MIN(rows, count(reader, sql_hidden, box)) + count(reader, sql_placed, box);
}

void log_pending_each(StoreReader *reader, guint32 box, guint32 after, StoreMsgFunc f,
                      gpointer data)
{
    static const char sql[] = "SELECT p.to_n" SQL_PLACED " ORDER BY p.to_n";
    Query query;
    if (!reader_open_query(reader, &query, sql))
        return;
    query_int(&query, box);
    query_int(&query, after);
    bool more = true;
    while (more && query_step(&query)) {
        StoreMsg msg;
        if (!store_msg_get(reader, STORE_BOX_PENDING, (guint32)query_get_int(&query, 0), &msg))
            continue;
        more = f(&msg, data);
        store_msg_clear(&msg);
    }
    reader_close_query(reader, &query);
}

/* --- writing --- */

bool hidden_put(StoreTxn *txn, guint32 box, guint32 uid, GError **error)
{
    static const char sql[] =
        "INSERT OR IGNORE INTO hidden(box, uid) SELECT ?1, ?2"
        " WHERE EXISTS (SELECT 1 FROM msg INDEXED BY msg_uid WHERE box = ?1 AND uid = ?2)";
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_int(&query, box);
    query_int(&query, uid);
    return txn_run_query(txn, &query, error);
}

bool log_undeleted(StoreTxn *txn, guint32 box, guint32 uid, GError **error)
{
    static const char sql[] = "DELETE FROM hidden WHERE box = ? AND uid = ?";
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_int(&query, box);
    query_int(&query, uid);
    return txn_run_query(txn, &query, error);
}
