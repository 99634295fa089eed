/* log_server.c - what becomes of the log when the server changes under it.
 *
 * The rule: never guess. An operation follows its message by exact identity, when there is one such
 * message only; otherwise it is dropped where RFC 4549 says that it may be (the message is gone),
 * and parked where not. */
#include "log_private.h"

#include <string.h>
#include "imapfs/base/error.h"
#include "imapfs/wire/response.h"

const LogEffects *log_effects(const StoreTxn *txn)
{
    return &txn->effects;
}

bool log_park_lost(StoreTxn *txn, const LogOp *op, guint32 box, const char *reason, GError **error)
{
    txn->effects.parked++;
    return log_set_message(txn, op->seq, box, 0, error) && log_park(txn, op->seq, reason, error);
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

static bool read_box(StoreTxn *txn, guint32 box, StoreBox *out, GError **error)
{
    return store_box_by_id(&txn->reader, box, out) ||
           txn_refuse(txn, error, IMAPFS_ERROR_STORE, "mailbox %u is not known", box);
}

static bool follow(StoreTxn *txn, const LogOp *op, guint32 box, guint32 uid, GError **error)
{
    StoreBox row = {0};
    if (!read_box(txn, box, &row, error))
        return false;
    guint32 uidvalidity = row.uidvalidity;
    store_box_clear(&row);
    txn->effects.followed++;
    if (log_has_source(op->kind) && op->to_box == box) /* another did what was to be done */
        return log_placed(txn, op->seq, uidvalidity, uid, false, error);
    return log_place(txn, op->seq, box, uid, uidvalidity, error) &&
           (op->kind != LOG_MOVE || (went_put(txn, box, uid, STORE_BOX_PENDING, op->to_n, error) &&
                                     log_touch(txn, box, error)));
}

/* Whether the target has a message with this EMAILID. */
static bool find_at_target(StoreTxn *txn, const LogOp *op, guint32 *uid_out, GError **error)
{
    static const char sql[] =
        "SELECT max(uid) FROM msg INDEXED BY msg_emailid WHERE emailid = ? AND box = ?";
    Query query;
    *uid_out = 0;
    if (op->emailid == NULL || !log_has_source(op->kind) || op->to_box == 0)
        return true;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_text(&query, op->emailid);
    query_int(&query, op->to_box);
    *uid_out = query_step(&query) ? (guint32)query_get_int(&query, 0) : 0;
    return txn_close_query(txn, &query, error);
}

/* It is not in any mailbox, and is known well enough to be found where it turns up. */
static bool set_adrift(StoreTxn *txn, const LogOp *op, GError **error)
{
    txn->effects.adrift++;
    txn->n_adrift = -1;
    return log_set_message(txn, op->seq, 0, 0, error) &&
           log_set_state(txn, op->seq, LOG_ADRIFT, NULL, error);
}

static bool park_gone(StoreTxn *txn, const LogOp *op, const char *reason, GError **error)
{
    return log_park_lost(txn, op, op->box, reason, error);
}

/* With Gmail a message that went is still in another mailbox as a rule ("All Mail"): who deletes it
 * here does not ask to delete it there. */
static bool is_deletion_at_gmail(const LogOp *op)
{
    if (op->emailid == NULL || !g_str_has_prefix(op->emailid, EMAILID_GMAIL))
        return false;
    const char *number = op->emailid + strlen(EMAILID_GMAIL);
    return number[strspn(number, "0123456789")] == '\0' && strstr(op->set, "\\Deleted") != NULL;
}

static bool flags_lost(StoreTxn *txn, const LogOp *op, GError **error)
{
    guint32 box = 0, uid = 0;
    guint n = 0;
    if (is_deletion_at_gmail(op)) {
        txn->effects.dropped++;
        return log_end(txn, op->seq, true, error);
    }
    if (op->emailid != NULL && !find_elsewhere(txn, op->box, op->emailid, &box, &uid, &n, error))
        return false;
    if (n == 1)
        return follow(txn, op, box, uid, error);
    if (n == 0 && op->emailid != NULL)
        return set_adrift(txn, op, error);
    txn->effects.dropped++;
    return log_end(txn, op->seq, true, error);
}

/* Goes to the \\Trash. */
static bool is_thrown_away(StoreTxn *txn, const LogOp *op)
{
    StoreBox to = {0};
    bool trash = op->kind == LOG_MOVE && store_box_by_id(&txn->reader, op->to_box, &to) &&
                 (to.attributes & LIST_TRASH) != 0;
    store_box_clear(&to);
    return trash;
}

static bool drop_thrown_away(StoreTxn *txn, const LogOp *op, GError **error)
{
    txn->effects.dropped++;
    return log_drop(txn, op, error);
}

/* A MOVE does not go after one that was elsewhere all along: that may be another copy, which nobody
 * asked to move. */
static bool source_lost(StoreTxn *txn, const LogOp *op, GError **error)
{
    guint32 box = 0, uid = 0, at_target;
    guint n = 0;
    if (!find_at_target(txn, op, &at_target, error))
        return false;
    if (at_target != 0)
        return follow(txn, op, op->to_box, at_target, error);
    if (is_thrown_away(txn, op))
        return drop_thrown_away(txn, op, error);
    if (op->emailid == NULL || op->state == LOG_HELD)
        return park_gone(txn, op, "the message is no longer on the server", error);
    if (!find_elsewhere(txn, op->box, op->emailid, &box, &uid, &n, error))
        return false;
    if (n == 0)
        return set_adrift(txn, op, error);
    if (op->kind == LOG_COPY)
        return follow(txn, op, box, uid, error);
    return park_gone(txn, op, "the message is in another mailbox now", error);
}

static bool message_removed(StoreTxn *txn, const LogOp *op, GError **error)
{
    if (op->state == LOG_FAILED) /* can only be discarded now */
        return log_set_message(txn, op->seq, op->box, 0, error);
    if (op->kind == LOG_FLAGS)
        return flags_lost(txn, op, error);
    if (!log_is_unsent(op->state))
        return true; /* its answer, or the probe, tells why */
    if (op->kind == LOG_EXPUNGE)
        return log_end(txn, op->seq, true, error);
    return !log_has_source(op->kind) || source_lost(txn, op, error);
}

bool log_message_lost(StoreTxn *txn, guint32 seq, GError **error)
{
    g_autoptr(LogOp) op = log_load(txn, seq, error);
    return op != NULL ? message_removed(txn, op, error) : !txn->failed;
}

/* Of these messages those that something is pending on, or failed. */
static UidSet *find_logged(StoreTxn *txn, guint32 box, const UidSet *uids, GError **error)
{
    static const char sql[] =
        "SELECT DISTINCT uid FROM log WHERE box = ? AND uid BETWEEN ? AND ? ORDER BY uid";
    guint n;
    const UidRange *ranges = uidset_ranges(uids, &n);
    g_autoptr(UidSet) found = uidset_new();
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return NULL;
    query_int(&query, box);
    query_int(&query, ranges[0].lo);
    query_int(&query, ranges[n - 1].hi);
    while (query_step(&query)) {
        guint32 uid = (guint32)query_get_int(&query, 0);
        if (uidset_contains(uids, uid))
            uidset_add(found, uid);
    }
    return txn_close_query(txn, &query, error) ? g_steal_pointer(&found) : NULL;
}

static bool one_removed(StoreTxn *txn, guint32 box, guint32 uid, GError **error)
{
    g_autoptr(GPtrArray) ops = log_ops_on(txn, box, uid, error);
    for (guint i = 0; ops != NULL && i < ops->len; i++)
        if (!message_removed(txn, ops->pdata[i], error))
            return false;
    return ops != NULL;
}

bool log_messages_removed(StoreTxn *txn, guint32 box, const UidSet *uids, GError **error)
{
    if (uidset_is_empty(uids))
        return true;
    g_autoptr(UidSet) logged = find_logged(txn, box, uids, error);
    if (logged == NULL || !pending_adopt_box(txn, box, uids, error))
        return false;
    UidIter iter;
    guint32 uid;
    uid_iter_init(&iter, logged);
    while (uid_iter_next(&iter, &uid))
        if (!one_removed(txn, box, uid, error))
            return false;
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

/* What was to be thrown away is gone, or another put it elsewhere: it stays there. */
static bool turned_up(StoreTxn *txn, const LogOp *op, guint32 box, guint32 uid, GError **error)
{
    return is_thrown_away(txn, op) && op->to_box != box ? drop_thrown_away(txn, op, error)
                                                        : follow(txn, op, box, uid, error);
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
    g_autoptr(GPtrArray) ops = log_read_ops(txn, &query, error);
    if (ops == NULL)
        return false;
    for (guint i = 0; i < ops->len; i++)
        if (!turned_up(txn, ops->pdata[i], box, msg->uid, error))
            return false;
    if (ops->len > 0)
        txn->n_adrift = -1;
    return true;
}

/* What waited for its message, or its mailbox, in vain. FLAGS of what is gone mean nothing, and
 * what was to be deleted is; the rest is told. */
static bool give_up(StoreTxn *txn, Query *query, const char *reason, guint *n_out, GError **error)
{
    g_autoptr(GPtrArray) ops = log_read_ops(txn, query, error);
    if (ops == NULL)
        return false;
    for (guint i = 0; i < ops->len; i++) {
        const LogOp *op = ops->pdata[i];
        bool ok = log_has_source(op->kind) ? log_park_lost(txn, op, 0, reason, error)
                                           : log_end(txn, op->seq, true, error);
        if (!ok)
            return false;
    }
    *n_out = ops->len;
    return true;
}

bool log_drop_adrift(StoreTxn *txn, gint64 before_ns, guint *n_out, GError **error)
{
    static const char sql[] =
        "SELECT " LOG_COLUMNS " FROM log WHERE state = 4 AND changed_ns < ? ORDER BY seq";
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_int(&query, before_ns);
    txn->n_adrift = -1;
    return give_up(txn, &query, "the message is no longer on the server", n_out, error);
}
