/* log_pending.c - messages that the server has not numbered yet.
 *
 * The rule: (STORE_BOX_PENDING, n) is a row like any other; where it is shown, and whether, is what
 * the operation that places it says (log.to_n), and is written nowhere else. Contents are of one
 * message at a time: of the original while that is there, then of its first copy. */
#include "log_private.h"

#include "imapfs/base/error.h"
#include "imapfs/base/limits.h"

#define CHAIN_MAX 100000 /* more is a loop, which cannot be */

/* --- reading --- */

/* from_box and from_uid of a pending message; false: there is none. */
static bool read_from(StoreReader *reader, guint32 n, guint32 *box, guint32 *uid, guint64 *spooled)
{
    static const char sql[] = "SELECT from_box, from_uid, spooled FROM pending WHERE n = ?";
    Query query;
    if (!reader_open_query(reader, &query, sql))
        return false;
    query_int(&query, n);
    bool found = query_step(&query);
    if (found) {
        *box = (guint32)query_get_int(&query, 0);
        *uid = (guint32)query_get_int(&query, 1);
        *spooled = (guint64)query_get_int(&query, 2);
    }
    return reader_close_query(reader, &query) && found;
}

void store_origin(StoreReader *reader, guint32 box, guint32 uid, guint32 *box_out, guint32 *uid_out)
{
    guint64 ignored;
    guint32 from_box, from_uid;
    for (int i = 0; i < CHAIN_MAX && box == STORE_BOX_PENDING &&
                    read_from(reader, uid, &from_box, &from_uid, &ignored) && from_box != 0;
         i++) {
        box = from_box;
        uid = from_uid;
    }
    *box_out = box;
    *uid_out = uid;
}

static bool msg_exists(StoreReader *reader, guint32 box, guint32 uid)
{
    static const char sql[] = "SELECT 1 FROM msg INDEXED BY msg_uid WHERE box = ? AND uid = ?";
    return reader_finds(reader, sql, box, uid);
}

void store_locate(StoreReader *reader, guint32 *box, guint32 *uid)
{
    guint32 now_box, now_uid;
    if (!msg_exists(reader, *box, *uid) && log_went(reader, *box, *uid, &now_box, &now_uid)) {
        *box = now_box;
        *uid = now_uid;
    }
    store_origin(reader, *box, *uid, box, uid);
}

bool log_placing(StoreReader *reader, guint32 n, LogOp *out)
{
    static const char sql[] =
        "SELECT " LOG_COLUMNS " FROM log WHERE to_n != 0 AND to_n = ? ORDER BY seq LIMIT 1";
    Query query;
    if (!reader_open_query(reader, &query, sql))
        return false;
    query_int(&query, n);
    return log_op_take(reader, &query, out);
}

bool log_pending_get(StoreReader *reader, guint32 n, LogPending *out)
{
    *out = (LogPending){.n = n};
    if (!read_from(reader, n, &out->from_box, &out->from_uid, &out->spooled))
        return false;
    LogOp op;
    if (!log_placing(reader, n, &op))
        return true;
    out->seq = op.seq;
    if (op.state != LOG_FAILED && !log_is_hidden(reader, STORE_BOX_PENDING, n))
        out->box = op.to_box;
    log_op_clear(&op);
    return true;
}

/* --- where a message went --- */

static bool step_went(StoreReader *reader, guint32 *box, guint32 *uid)
{
    static const char sql[] = "SELECT to_box, to_uid FROM went WHERE box = ? AND uid = ?";
    Query query;
    if (!reader_open_query(reader, &query, sql))
        return false;
    query_int(&query, *box);
    query_int(&query, *uid);
    bool found = query_step(&query);
    if (found) {
        *box = (guint32)query_get_int(&query, 0);
        *uid = (guint32)query_get_int(&query, 1);
    }
    return reader_close_query(reader, &query) && found;
}

bool log_went(StoreReader *reader, guint32 box, guint32 uid, guint32 *box_out, guint32 *uid_out)
{
    int steps = 0;
    while (steps < CHAIN_MAX && step_went(reader, &box, &uid))
        steps++;
    if (steps == 0 || !msg_exists(reader, box, uid))
        return false;
    *box_out = box;
    *uid_out = uid;
    return true;
}

guint32 log_numbered_in(StoreReader *reader, guint32 n)
{
    guint32 box = STORE_BOX_PENDING;
    for (int steps = 0; steps < CHAIN_MAX && step_went(reader, &box, &n); steps++) {
        if (box != STORE_BOX_PENDING)
            return box;
    }
    return 0;
}

/* Runs a statement of up to four numbers. */
static bool run(StoreTxn *txn, const char *sql, const gint64 *values, guint n, GError **error)
{
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    for (guint i = 0; i < n; i++)
        query_int(&query, values[i]);
    return txn_run_query(txn, &query, error);
}
#define RUN(txn, sql, error, ...)                                                               \
    run(txn, sql, (const gint64[]){__VA_ARGS__}, G_N_ELEMENTS(((const gint64[]){__VA_ARGS__})), \
        error)

/* The oldest go, but for those that are still to be placed or that a probe must know of. */
static bool forget_oldest(StoreTxn *txn, guint32 n, GError **error)
{
    static const char sql_placed[] = "DELETE FROM went WHERE box = " LOG_SQL_PENDING
                                     " AND uid < ? AND uid NOT IN (SELECT n FROM pending)"
                                     " AND to_box NOT IN (SELECT to_box FROM log WHERE state = 6)";
    static const char sql_left[] = "DELETE FROM went WHERE to_box = " LOG_SQL_PENDING
                                   " AND to_uid < ? AND to_uid NOT IN (SELECT n FROM pending)";
    G_STATIC_ASSERT(LOG_UNSURE == 6);
    if (n <= LIMIT_GIVEN_NAMES || n % (LIMIT_GIVEN_NAMES / 16) != 0)
        return true;
    return RUN(txn, sql_placed, error, n - LIMIT_GIVEN_NAMES) &&
           RUN(txn, sql_left, error, n - LIMIT_GIVEN_NAMES);
}

bool went_put(StoreTxn *txn, guint32 box, guint32 uid, guint32 to_box, guint32 to_uid,
              GError **error)
{
    static const char sql[] = "INSERT OR REPLACE INTO went(box, uid, to_box, to_uid)"
                              " VALUES(?, ?, ?, ?)";
    return RUN(txn, sql, error, box, uid, to_box, to_uid) &&
           (box != STORE_BOX_PENDING || forget_oldest(txn, uid, error));
}

bool went_forget(StoreTxn *txn, guint32 box, guint32 uid, GError **error)
{
    static const char sql[] = "DELETE FROM went WHERE box = ? AND uid = ?";
    return RUN(txn, sql, error, box, uid);
}

/* --- rows --- */

bool pending_add(StoreTxn *txn, const StoreMsg *msg, guint32 from_box, guint32 from_uid,
                 guint64 spooled, GError **error)
{
    static const char sql[] =
        "INSERT INTO pending(n, from_box, from_uid, spooled) VALUES(?, ?, ?, ?)";
    static const char sql_mark[] = "UPDATE msg SET has_structure = 1 WHERE box = ? AND uid = ?";
    StoreMsg row = *msg;
    row.emailid = NULL; /* of the message that the server has; see log_server.c */
    row.modseq = 0;
    return RUN(txn, sql, error, msg->uid, from_box, from_uid, (gint64)spooled) &&
           store_msg_put(txn, STORE_BOX_PENDING, &row, NULL, error) &&
           (!msg->has_structure || RUN(txn, sql_mark, error, STORE_BOX_PENDING, msg->uid));
}

bool pending_copy_parts(StoreTxn *txn, guint32 box, guint32 uid, guint32 to_box, guint32 to_uid,
                        GError **error)
{
    static const char sql_structure[] =
        "INSERT OR IGNORE INTO structure(box, uid, text)"
        " SELECT ?1, ?2, text FROM structure WHERE box = ?3 AND uid = ?4";
    static const char sql_size[] =
        "INSERT OR IGNORE INTO size(box, uid, kind, section, size, proven)"
        " SELECT ?1, ?2, kind, section, size, proven FROM size WHERE box = ?3 AND uid = ?4";
    static const char sql_mark[] =
        "UPDATE msg SET has_structure = 1 WHERE box = ?1 AND uid = ?2 AND has_structure = 0"
        " AND EXISTS (SELECT 1 FROM structure WHERE box = ?1 AND uid = ?2)";
    return RUN(txn, sql_structure, error, to_box, to_uid, box, uid) &&
           RUN(txn, sql_size, error, to_box, to_uid, box, uid) &&
           RUN(txn, sql_mark, error, to_box, to_uid);
}

/* The first copy of a message; 0: none. */
static bool first_copy(StoreTxn *txn, guint32 box, guint32 uid, guint32 *n_out, GError **error)
{
    static const char sql[] =
        "SELECT min(n) FROM pending WHERE from_box != 0 AND from_box = ? AND from_uid = ?";
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_int(&query, box);
    query_int(&query, uid);
    *n_out = query_step(&query) ? (guint32)query_get_int(&query, 0) : 0;
    return txn_close_query(txn, &query, error);
}

static bool set_from(StoreTxn *txn, guint32 box, guint32 uid, guint32 to_box, guint32 to_uid,
                     GError **error)
{
    static const char sql[] = "UPDATE pending SET from_box = ?, from_uid = ?"
                              " WHERE from_box != 0 AND from_box = ? AND from_uid = ?";
    return RUN(txn, sql, error, to_box, to_uid, box, uid);
}

bool pending_adopt(StoreTxn *txn, guint32 box, guint32 uid, GError **error)
{
    static const char sql_own[] = "UPDATE pending SET from_box = 0, from_uid = 0 WHERE n = ?";
    guint32 n, own_box, own_uid;
    if (!first_copy(txn, box, uid, &n, error))
        return false;
    if (n == 0)
        return true;
    store_origin(&txn->reader, box, uid, &own_box, &own_uid);
    if (own_box != box || own_uid != uid) /* it is a copy itself: they are of what it is of */
        return set_from(txn, box, uid, own_box, own_uid, error);
    txn_pass_on(txn, box, uid, STORE_BOX_PENDING, n);
    return RUN(txn, sql_own, error, n) && set_from(txn, box, uid, STORE_BOX_PENDING, n, error) &&
           pending_copy_parts(txn, box, uid, STORE_BOX_PENDING, n, error);
}

bool pending_adopt_box(StoreTxn *txn, guint32 box, const UidSet *uids, GError **error)
{
    static const char sql[] =
        "SELECT DISTINCT from_uid FROM pending WHERE from_box != 0 AND from_box = ?";
    g_autoptr(UidSet) found = uidset_new();
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_int(&query, box);
    while (query_step(&query)) {
        guint32 uid = (guint32)query_get_int(&query, 0);
        if (uids == NULL || uidset_contains(uids, uid))
            uidset_add(found, uid);
    }
    if (!txn_close_query(txn, &query, error))
        return false;
    UidIter iter;
    guint32 uid;
    uid_iter_init(&iter, found);
    while (uid_iter_next(&iter, &uid))
        if (!pending_adopt(txn, box, uid, error))
            return false;
    return true;
}

/* --- going --- */

bool pending_drop(StoreTxn *txn, guint32 n, GError **error)
{
    static const char sql[] = "DELETE FROM pending WHERE n = ?";
    g_autoptr(GPtrArray) ops = log_ops_on(txn, STORE_BOX_PENDING, n, error);
    if (ops == NULL)
        return false;
    for (guint i = 0; i < ops->len; i++)
        if (!log_drop(txn, ops->pdata[i], error)) /* of a message that never came to be */
            return false;
    guint32 from_box, from_uid;
    guint64 spooled;
    if (read_from(&txn->reader, n, &from_box, &from_uid, &spooled) && from_box == 0)
        g_array_append_val(txn->spooled, n);
    return log_check_reads(txn, error) && pending_adopt(txn, STORE_BOX_PENDING, n, error) &&
           txn_drop_msg(txn, STORE_BOX_PENDING, n, error) && RUN(txn, sql, error, n);
}

/* --- being another --- */

static bool rename_op(StoreTxn *txn, const LogOp *op, guint32 box, guint32 uid, guint32 uidvalidity,
                      GError **error)
{
    static const char sql[] =
        "UPDATE log SET box = ?1, uid = ?2, uidvalidity = ?3,"
        " mailbox = coalesce((SELECT name FROM box WHERE id = ?1), mailbox) WHERE seq = ?4";
    if (!RUN(txn, sql, error, box, uid, uidvalidity, op->seq))
        return false;
    if (op->kind == LOG_FLAGS && op->state == LOG_QUEUED)
        return log_place(txn, op->seq, box, uid, uidvalidity, error); /* merges */
    if (op->kind != LOG_MOVE || op->to_box != box || !log_is_unsent(op->state))
        return true;
    g_autoptr(LogOp) now = log_load(txn, op->seq, error); /* it is there already */
    return now != NULL ? log_undo_move(txn, now, error) : !txn->failed;
}

/* Who knows it by n finds it by its new name, and from there where it was moved since. */
static bool rename_went(StoreTxn *txn, guint32 n, guint32 box, guint32 uid, GError **error)
{
    guint32 on_box = STORE_BOX_PENDING, on_uid = n;
    bool moved_on = step_went(&txn->reader, &on_box, &on_uid);
    return log_check_reads(txn, error) &&
           (moved_on ? went_put(txn, box, uid, on_box, on_uid, error)
                     : went_forget(txn, box, uid, error)) &&
           went_put(txn, STORE_BOX_PENDING, n, box, uid, error);
}

bool pending_rename(StoreTxn *txn, guint32 n, guint32 box, guint32 uid, guint32 uidvalidity,
                    GError **error)
{
    static const char sql_local[] = "UPDATE OR REPLACE local_flag SET box = ?, uid = ?"
                                    " WHERE box = ? AND uid = ?";
    g_autoptr(GPtrArray) ops = log_ops_on(txn, STORE_BOX_PENDING, n, error);
    if (ops == NULL || !rename_went(txn, n, box, uid, error) ||
        !set_from(txn, STORE_BOX_PENDING, n, box, uid, error) ||
        !RUN(txn, sql_local, error, box, uid, STORE_BOX_PENDING, n))
        return false;
    for (guint i = 0; i < ops->len; i++)
        if (!rename_op(txn, ops->pdata[i], box, uid, uidvalidity, error))
            return false;
    return true;
}
