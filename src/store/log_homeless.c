/* log_homeless.c - the log when a mailbox is no longer in LIST.
 *
 * The rule: what was to be done in it, or to go there, follows the mailbox when another one has its
 * MAILBOXID (RFC 8474), which is then only its new name; or else it is parked. An operation can
 * wait for two mailboxes, and goes on when both are known: what was never sent is QUEUED, what was
 * is UNSURE (it has a fence). */
#include "log_private.h"

#include "imapfs/base/error.h"

static const char no_mailbox[] = "its mailbox is no longer on the server";
static const char no_target[] = "the mailbox it goes to is no longer on the server";

/* --- a mailbox went --- */

/* id NULL: it is of the other mailbox. */
static bool make_homeless(StoreTxn *txn, const LogOp *op, const char *mailboxid,
                          const char *to_mailboxid, GError **error)
{
    static const char sql[] =
        "UPDATE log SET mailboxid = coalesce(?, iif(state = 3, mailboxid, NULL)),"
        " to_mailboxid = coalesce(?, iif(state = 3, to_mailboxid, NULL)) WHERE seq = ?";
    Query query;
    G_STATIC_ASSERT(LOG_HOMELESS == 3);
    txn->effects.homeless++;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_text(&query, mailboxid);
    query_text(&query, to_mailboxid);
    query_int(&query, op->seq);
    return txn_run_query(txn, &query, error) &&
           log_set_state(txn, op->seq, LOG_HOMELESS, NULL, error);
}

static bool source_box_removed(StoreTxn *txn, const LogOp *op, const StoreBox *box, GError **error)
{
    if (op->kind > LOG_EXPUNGE) /* APPEND: it is the target. MKBOX and so on: see log_boxes.c */
        return true;
    if (op->state == LOG_FAILED || (log_has_source(op->kind) && !log_is_unsent(op->state)))
        return log_set_message(txn, op->seq, 0, 0, error); /* the probe tells, in its target */
    if (box->mailboxid != NULL && op->uid != 0 && op->state != LOG_HELD)
        return log_set_message(txn, op->seq, 0, op->uid, error) &&
               make_homeless(txn, op, box->mailboxid, NULL, error);
    return log_park_lost(txn, op, 0, no_mailbox, error);
}

/* Without that id it keeps what it was to place; a mailbox of that name can be made, and it be
 * tried again. */
static bool target_removed(StoreTxn *txn, const LogOp *op, const StoreBox *box, GError **error)
{
    bool can_wait = op->state == LOG_QUEUED || op->state == LOG_HOMELESS ||
                    op->state == LOG_INFLIGHT || op->state == LOG_UNSURE;
    if (!log_redirect(txn, op->seq, 0, error))
        return false;
    if (op->state == LOG_FAILED)
        return true;
    if (box->mailboxid != NULL && can_wait)
        return make_homeless(txn, op, NULL, box->mailboxid, error);
    txn->effects.parked++;
    return log_park(txn, op->seq, no_target, error);
}

static GPtrArray *ops_into(StoreTxn *txn, guint32 box, GError **error)
{
    static const char sql[] =
        "SELECT " LOG_COLUMNS " FROM log WHERE to_box != 0 AND to_box = ? ORDER BY seq";
    return log_read_ops_of(txn, sql, box, error);
}

bool log_box_removed(StoreTxn *txn, const StoreBox *box, GError **error)
{
    g_autoptr(GPtrArray) into = ops_into(txn, box->id, error);
    if (into == NULL || !pending_adopt_box(txn, box->id, NULL, error))
        return false;
    for (guint i = 0; i < into->len; i++)
        if (!target_removed(txn, into->pdata[i], box, error))
            return false;
    g_autoptr(GPtrArray) ops = log_ops_of_box(txn, box->id, error); /* some came back there */
    bool ok = ops != NULL;
    for (guint i = 0; ok && i < ops->len; i++)
        ok = source_box_removed(txn, ops->pdata[i], box, error);
    return ok;
}

/* --- waiting --- */

GPtrArray *log_homeless(StoreReader *reader)
{
    static const char sql[] =
        "SELECT mailboxid FROM log WHERE state = 3 AND mailboxid IS NOT NULL"
        " UNION SELECT to_mailboxid FROM log WHERE state = 3 AND to_mailboxid IS NOT NULL";
    GPtrArray *out = g_ptr_array_new_with_free_func(g_free);
    Query query;
    if (!reader_open_query(reader, &query, sql))
        return out;
    while (query_step(&query))
        g_ptr_array_add(out, g_strdup(query_get_text(&query, 0)));
    reader_close_query(reader, &query);
    return out;
}

static GPtrArray *waiting_for(StoreTxn *txn, const char *sql, const char *mailboxid, GError **error)
{
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return NULL;
    query_text(&query, mailboxid);
    return log_read_ops(txn, &query, error);
}

static GPtrArray *waiting_sources(StoreTxn *txn, const char *mailboxid, GError **error)
{
    static const char sql[] =
        "SELECT " LOG_COLUMNS " FROM log WHERE state = 3 AND mailboxid = ? ORDER BY seq";
    return waiting_for(txn, sql, mailboxid, error);
}

static GPtrArray *waiting_targets(StoreTxn *txn, const char *mailboxid, GError **error)
{
    static const char sql[] =
        "SELECT " LOG_COLUMNS " FROM log WHERE state = 3 AND to_mailboxid = ? ORDER BY seq";
    return waiting_for(txn, sql, mailboxid, error);
}

/* --- the mailbox is found --- */

static bool forget_id(StoreTxn *txn, guint32 seq, bool target, GError **error)
{
    static const char sql[] = "UPDATE log SET mailboxid = iif(?1, mailboxid, NULL),"
                              " to_mailboxid = iif(?1, NULL, to_mailboxid) WHERE seq = ?2";
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_int(&query, target);
    query_int(&query, seq);
    return txn_run_query(txn, &query, error);
}

/* Goes on, unless it still waits for the other one. */
static bool go_on(StoreTxn *txn, guint32 seq, GError **error)
{
    static const char sql[] = "UPDATE log SET state = iif(fence_uidvalidity != 0, 6, 0)"
                              " WHERE seq = ? AND mailboxid IS NULL AND to_mailboxid IS NULL";
    Query query;
    G_STATIC_ASSERT(LOG_UNSURE == 6 && LOG_QUEUED == 0);
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_int(&query, seq);
    return txn_run_query(txn, &query, error);
}

static bool rehouse_target(StoreTxn *txn, const LogOp *op, guint32 box, GError **error)
{
    return log_redirect(txn, op->seq, box, error) && forget_id(txn, op->seq, true, error) &&
           go_on(txn, op->seq, error) && log_touch(txn, box, error);
}

static bool rehouse_source(StoreTxn *txn, const LogOp *op, guint32 box, guint32 uidvalidity,
                           GError **error)
{
    if (!forget_id(txn, op->seq, false, error))
        return false;
    if (op->uidvalidity != uidvalidity && !log_has_source(op->kind))
        return log_unbind(txn, op, box, error);
    if (!log_has_source(op->kind))
        return log_place(txn, op->seq, box, op->uid, uidvalidity, error);
    if (op->uidvalidity == uidvalidity)
        return log_set_message(txn, op->seq, box, op->uid, error) && go_on(txn, op->seq, error);
    if (op->to_box == 0) /* binding would queue it */
        return log_park_lost(txn, op, 0, no_target, error);
    return op->fence_uidvalidity == 0
               ? log_unbind(txn, op, box, error)
               : log_set_message(txn, op->seq, box, 0, error) && go_on(txn, op->seq, error);
}

bool log_rehouse(StoreTxn *txn, const char *mailboxid, guint32 box, guint32 uidvalidity,
                 GError **error)
{
    g_autoptr(GPtrArray) into = waiting_targets(txn, mailboxid, error);
    bool ok = into != NULL;
    for (guint i = 0; ok && i < into->len; i++)
        ok = rehouse_target(txn, into->pdata[i], box, error);
    g_autoptr(GPtrArray) ops = ok ? waiting_sources(txn, mailboxid, error) : NULL;
    ok = ops != NULL;
    for (guint i = 0; ok && i < ops->len; i++)
        ok = rehouse_source(txn, ops->pdata[i], box, uidvalidity, error);
    return ok;
}

/* --- it is nowhere --- */

/* FLAGS of what is gone mean nothing, and what was to be deleted is; the rest is told. */
static bool give_up_source(StoreTxn *txn, const LogOp *op, GError **error)
{
    return forget_id(txn, op->seq, false, error) &&
           (log_has_source(op->kind) ? log_park_lost(txn, op, 0, no_mailbox, error)
                                     : log_end(txn, op->seq, true, error));
}

static bool give_up_target(StoreTxn *txn, const LogOp *op, GError **error)
{
    txn->effects.parked++;
    return forget_id(txn, op->seq, true, error) && log_park(txn, op->seq, no_target, error);
}

bool log_drop_homeless(StoreTxn *txn, const char *mailboxid, guint *n_out, GError **error)
{
    g_autoptr(GPtrArray) into = waiting_targets(txn, mailboxid, error);
    bool ok = into != NULL;
    for (guint i = 0; ok && i < into->len; i++)
        ok = give_up_target(txn, into->pdata[i], error);
    g_autoptr(GPtrArray) ops = ok ? waiting_sources(txn, mailboxid, error) : NULL;
    ok = ops != NULL;
    for (guint i = 0; ok && i < ops->len; i++)
        ok = give_up_source(txn, ops->pdata[i], error);
    *n_out = ok ? into->len + ops->len : 0;
    return ok;
}
