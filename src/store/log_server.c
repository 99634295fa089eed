/* log_server.c - what becomes of the log when the server changes under it.
 *
 * The rule: never guess. An operation follows its message by exact identity, when there is one such
 * message only; otherwise it is dropped where RFC 4549 says that it may be (the message is gone),
 * and parked where not. */
#include "private.h"

#include <string.h>
#include "imapfs/base/clock.h"
#include "imapfs/base/error.h"

const LogEffects *log_effects(const StoreTxn *txn)
{
    return &txn->effects;
}

static void op_free(gpointer op)
{
    log_op_free(op);
}

/* The operations that a query finds, copied: what is done with them changes the table. */
static GPtrArray *read_ops(StoreTxn *txn, Query *query, GError **error)
{
    g_autoptr(GPtrArray) ops = g_ptr_array_new_with_free_func(op_free);
    while (query_step(query)) {
        LogOp op;
        log_op_borrow(query, &op);
        g_ptr_array_add(ops, log_op_copy(&op));
    }
    return txn_close_query(txn, query, error) ? g_steal_pointer(&ops) : NULL;
}

static GPtrArray *ops_of_box(StoreTxn *txn, guint32 box, GError **error)
{
    static const char sql[] = "SELECT " LOG_COLUMNS " FROM log WHERE box = ? ORDER BY seq";
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return NULL;
    query_int(&query, box);
    return read_ops(txn, &query, error);
}

/* Where an operation belongs now; 0: nowhere. */
static bool move(StoreTxn *txn, guint32 seq, guint32 box, guint32 uid, GError **error)
{
    static const char sql[] = "UPDATE log SET box = ?, uid = ? WHERE seq = ?";
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_int(&query, box);
    query_int(&query, uid);
    query_int(&query, seq);
    return txn_run_query(txn, &query, error);
}

static bool park(StoreTxn *txn, const LogOp *op, guint32 box, const char *reason, GError **error)
{
    txn->effects.parked++;
    return move(txn, op->seq, box, 0, error) && log_park(txn, op->seq, reason, error);
}

/* --- a message went --- */

/* The one other message with this EMAILID. False: none, or several; or the read failed. */
static bool find_elsewhere(StoreTxn *txn, guint32 box, const char *emailid, guint32 *box_out,
                           guint32 *uid_out, guint *n_out, GError **error)
{
    static const char sql[] =
        "SELECT box, uid FROM msg INDEXED BY msg_emailid WHERE emailid = ? AND box != ? LIMIT 2";
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_text(&query, emailid);
    query_int(&query, box);
    for (*n_out = 0; query_step(&query); (*n_out)++) {
        *box_out = (guint32)query_get_int(&query, 0);
        *uid_out = (guint32)query_get_int(&query, 1);
    }
    return txn_close_query(txn, &query, error);
}

static bool follow(StoreTxn *txn, const LogOp *op, guint32 box, guint32 uid, GError **error)
{
    StoreBox row = {0};
    if (!store_box_by_id(&txn->reader, box, &row))
        return txn_refuse(txn, error, IMAPFS_ERROR_STORE, "mailbox %u is not known", box);
    guint32 uidvalidity = row.uidvalidity;
    store_box_clear(&row);
    txn->effects.followed++;
    return log_place(txn, op->seq, box, uid, uidvalidity, error);
}

static bool message_removed(StoreTxn *txn, const LogOp *op, GError **error)
{
    guint32 box = 0, uid = 0;
    guint n = 0;
    if (op->state == LOG_FAILED) /* can only be discarded now */
        return move(txn, op->seq, op->box, 0, error);
    if (op->emailid != NULL && !find_elsewhere(txn, op->box, op->emailid, &box, &uid, &n, error))
        return false;
    if (n == 1)
        return follow(txn, op, box, uid, error);
    if (n > 1 || op->emailid == NULL) {
        txn->effects.dropped++;
        return log_delete(txn, op->seq, error);
    }
    txn->effects.adrift++;
    txn->n_adrift = -1;
    return move(txn, op->seq, 0, 0, error) && log_set_state(txn, op->seq, LOG_ADRIFT, NULL, error);
}

bool log_messages_removed(StoreTxn *txn, guint32 box, const UidSet *uids, GError **error)
{
    if (uidset_is_empty(uids))
        return true;
    g_autoptr(GPtrArray) ops = ops_of_box(txn, box, error);
    if (ops == NULL)
        return false;
    for (guint i = 0; i < ops->len; i++) {
        const LogOp *op = ops->pdata[i];
        if (op->uid != 0 && uidset_contains(uids, op->uid) && !message_removed(txn, op, error))
            return false;
    }
    return true;
}

/* --- a message came --- */

static bool count_adrift(StoreTxn *txn, GError **error)
{
    static const char sql[] = "SELECT count(*) FROM log WHERE state = 4 /* ADRIFT */";
    Query query;
    G_STATIC_ASSERT(LOG_ADRIFT == 4);
    if (txn->n_adrift >= 0)
        return true;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    int n = query_step(&query) ? (int)query_get_int(&query, 0) : 0;
    if (!txn_close_query(txn, &query, error))
        return false;
    txn->n_adrift = n;
    return true;
}

bool log_message_added(StoreTxn *txn, guint32 box, const StoreMsg *msg, GError **error)
{
    static const char sql[] =
        "SELECT " LOG_COLUMNS " FROM log WHERE state = 4 AND emailid = ? ORDER BY seq";
    if (!count_adrift(txn, error))
        return false;
    if (txn->n_adrift == 0)
        return true;
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_text(&query, msg->emailid);
    g_autoptr(GPtrArray) ops = read_ops(txn, &query, error);
    if (ops == NULL)
        return false;
    for (guint i = 0; i < ops->len; i++)
        if (!follow(txn, ops->pdata[i], box, msg->uid, error))
            return false;
    if (ops->len > 0)
        txn->n_adrift = -1;
    return true;
}

bool log_drop_adrift(StoreTxn *txn, gint64 before_ns, guint *n_out, GError **error)
{
    static const char sql[] = "DELETE FROM log WHERE state = 4 AND changed_ns < ?";
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_int(&query, before_ns);
    if (!txn_run_query(txn, &query, error))
        return false;
    *n_out = (guint)txn_changes(txn);
    txn->n_adrift = -1;
    return true;
}

/* --- a mailbox went --- */

static bool make_homeless(StoreTxn *txn, const LogOp *op, const char *mailboxid, GError **error)
{
    static const char sql[] = "UPDATE log SET box = 0, mailboxid = ? WHERE seq = ?";
    Query query;
    txn->effects.homeless++;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_text(&query, mailboxid);
    query_int(&query, op->seq);
    return txn_run_query(txn, &query, error) &&
           log_set_state(txn, op->seq, LOG_HOMELESS, NULL, error);
}

bool log_box_removed(StoreTxn *txn, const StoreBox *box, GError **error)
{
    g_autoptr(GPtrArray) ops = ops_of_box(txn, box->id, error);
    bool ok = ops != NULL;
    for (guint i = 0; ok && i < ops->len; i++) {
        const LogOp *op = ops->pdata[i];
        if (op->state == LOG_FAILED)
            ok = move(txn, op->seq, 0, 0, error);
        else if (box->mailboxid != NULL && op->uid != 0)
            ok = make_homeless(txn, op, box->mailboxid, error);
        else
            ok = park(txn, op, 0, "its mailbox is no longer on the server", error);
    }
    return ok;
}

GPtrArray *log_homeless(StoreReader *reader)
{
    static const char sql[] = "SELECT DISTINCT mailboxid FROM log WHERE state = 3 /* HOMELESS */";
    GPtrArray *out = g_ptr_array_new_with_free_func(g_free);
    Query query;
    G_STATIC_ASSERT(LOG_HOMELESS == 3);
    if (!reader_open_query(reader, &query, sql))
        return out;
    while (query_step(&query))
        g_ptr_array_add(out, g_strdup(query_get_text(&query, 0)));
    reader_close_query(reader, &query);
    return out;
}

static GPtrArray *homeless_of(StoreTxn *txn, const char *mailboxid, GError **error)
{
    static const char sql[] =
        "SELECT " LOG_COLUMNS " FROM log WHERE state = 3 AND mailboxid = ? ORDER BY seq";
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return NULL;
    query_text(&query, mailboxid);
    return read_ops(txn, &query, error);
}

static bool unbind(StoreTxn *txn, const LogOp *op, guint32 box, GError **error)
{
    txn->effects.unbound++;
    return move(txn, op->seq, box, 0, error) &&
           log_set_state(txn, op->seq, LOG_UNBOUND, NULL, error);
}

bool log_rehouse(StoreTxn *txn, const char *mailboxid, guint32 box, guint32 uidvalidity,
                 GError **error)
{
    g_autoptr(GPtrArray) ops = homeless_of(txn, mailboxid, error);
    bool ok = ops != NULL;
    for (guint i = 0; ok && i < ops->len; i++) {
        const LogOp *op = ops->pdata[i];
        ok = op->uidvalidity == uidvalidity
                 ? log_place(txn, op->seq, box, op->uid, uidvalidity, error)
                 : unbind(txn, op, box, error);
    }
    return ok;
}

bool log_drop_homeless(StoreTxn *txn, const char *mailboxid, guint *n_out, GError **error)
{
    static const char sql[] = "DELETE FROM log WHERE state = 3 AND mailboxid = ?";
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_text(&query, mailboxid);
    if (!txn_run_query(txn, &query, error))
        return false;
    *n_out = (guint)txn_changes(txn);
    return true;
}

/* --- the UIDs mean other messages now --- */

/* What is the same about a message under another UID; NULL when nothing tells it from others. */
static char *identity(const char *message_id, gint64 internaldate, guint64 size)
{
    if (message_id == NULL || message_id[0] == '\0')
        return NULL;
    return g_strdup_printf("%" G_GINT64_FORMAT " %" G_GUINT64_FORMAT " %s", internaldate, size,
                           message_id);
}

typedef struct {
    guint n;     /* messages that have it */
    guint32 uid; /* of one of them */
} Match;

/* Which messages of a mailbox are the same as those of the operations: one pass over its rows. */
typedef struct {
    GHashTable *by_emailid, *by_identity; /* of Match */
} Matches;

static void matches_clear(Matches *matches)
{
    g_hash_table_unref(matches->by_emailid);
    g_hash_table_unref(matches->by_identity);
}

static void want(GHashTable *table, char *key)
{
    if (key != NULL && !g_hash_table_contains(table, key))
        g_hash_table_insert(table, key, g_new0(Match, 1));
    else
        g_free(key);
}

static void meet(GHashTable *table, const char *key, guint32 uid)
{
    Match *match = key != NULL ? g_hash_table_lookup(table, key) : NULL;
    if (match == NULL)
        return;
    match->n++;
    match->uid = uid;
}

static bool meet_message(const StoreMsg *msg, gpointer data)
{
    Matches *matches = data;
    g_autofree char *key = identity(msg->message_id, msg->internaldate, msg->size);
    meet(matches->by_emailid, msg->emailid, msg->uid);
    meet(matches->by_identity, key, msg->uid);
    return true;
}

static Matches matches_of(StoreTxn *txn, guint32 box, const GPtrArray *ops)
{
    Matches matches = {g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free),
                       g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free)};
    for (guint i = 0; i < ops->len; i++) {
        const LogOp *op = ops->pdata[i];
        want(matches.by_emailid, g_strdup(op->emailid));
        want(matches.by_identity, identity(op->message_id, op->internaldate, op->size));
    }
    if (ops->len > 0)
        store_msg_each(&txn->reader, box, 0, meet_message, &matches);
    return matches;
}

/* EMAILID decides where both have one (RFC 8474 5.1). */
static const Match *match_of(const Matches *matches, const LogOp *op)
{
    static const Match none = {0};
    const Match *match = op->emailid ? g_hash_table_lookup(matches->by_emailid, op->emailid) : NULL;
    if (match != NULL && match->n > 0)
        return match;
    g_autofree char *key = identity(op->message_id, op->internaldate, op->size);
    match = key != NULL ? g_hash_table_lookup(matches->by_identity, key) : NULL;
    return match != NULL ? match : &none;
}

/* The rows were read to the end. */
static bool check_reads(StoreTxn *txn, GError **error)
{
    if (store_reader_check(&txn->reader, error))
        return true;
    txn->failed = true;
    return false;
}

static bool renewed(StoreTxn *txn, const LogOp *op, const Match *old, guint32 box, GError **error)
{
    if (op->state == LOG_FAILED)
        return move(txn, op->seq, 0, 0, error);
    if (op->state != LOG_UNBOUND && old->n != 1)
        return park(
            txn, op, 0,
            "the mailbox was replaced on the server (UIDVALIDITY), and other messages of it "
            "were the same as this one",
            error);
    return unbind(txn, op, box, error);
}

bool log_box_renewed(StoreTxn *txn, guint32 old_box, guint32 new_box, GError **error)
{
    g_autoptr(GPtrArray) ops = ops_of_box(txn, old_box, error);
    if (ops == NULL)
        return false;
    Matches matches = matches_of(txn, old_box, ops);
    bool ok = check_reads(txn, error);
    for (guint i = 0; ok && i < ops->len; i++) {
        const LogOp *op = ops->pdata[i];
        ok = renewed(txn, op, match_of(&matches, op), new_box, error);
    }
    matches_clear(&matches);
    return ok;
}

static bool bind(StoreTxn *txn, const LogOp *op, const Match *match, const StoreBox *box,
                 guint *bound_out, guint *parked_out, GError **error)
{
    if (match->n == 1) {
        (*bound_out)++;
        return log_place(txn, op->seq, box->id, match->uid, box->uidvalidity, error);
    }
    (*parked_out)++;
    return park(txn, op, box->id,
                match->n == 0 ? "the mailbox was replaced on the server (UIDVALIDITY), and this "
                                "message is not in the new one"
                              : "the mailbox was replaced on the server (UIDVALIDITY), and more "
                                "than one message of the new one is the same as this one",
                error);
}

bool log_bind_unbound(StoreTxn *txn, guint32 box, guint *bound_out, guint *parked_out,
                      GError **error)
{
    static const char sql[] =
        "SELECT " LOG_COLUMNS " FROM log WHERE state = 2 AND box = ? ORDER BY seq";
    StoreBox row = {0};
    Query query;
    G_STATIC_ASSERT(LOG_UNBOUND == 2);
    *bound_out = *parked_out = 0;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_int(&query, box);
    g_autoptr(GPtrArray) ops = read_ops(txn, &query, error);
    if (ops == NULL)
        return false;
    if (ops->len == 0)
        return true;
    if (!store_box_by_id(&txn->reader, box, &row))
        return check_reads(txn, error);
    Matches matches = matches_of(txn, box, ops);
    bool ok = check_reads(txn, error);
    for (guint i = 0; ok && i < ops->len; i++) {
        const LogOp *op = ops->pdata[i];
        ok = bind(txn, op, match_of(&matches, op), &row, bound_out, parked_out, error);
    }
    matches_clear(&matches);
    store_box_clear(&row);
    return ok;
}
