/* log_bind.c - the log when the UIDs of a mailbox mean other messages (UIDVALIDITY).
 *
 * The rule: what is the one same message before and after, by identity (EMAILID; else Message-ID,
 * INTERNALDATE and size together), is it; nothing else is, and what has no Message-ID is never. A
 * deletion for good is not bound: a person says it again. A MOVE to the Trash is, as any MOVE, as
 * what it does can be undone from there. */
#include "log_private.h"

#include <string.h>
#include "imapfs/base/error.h"

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

static const char expunge_words[] =
    "the mailbox was replaced on the server (UIDVALIDITY): whether the message is still the one "
    "to be deleted is not certain";
static const char twin_words[] =
    "the mailbox was replaced on the server (UIDVALIDITY), and other messages of it were the same "
    "as this one";

bool log_unbind(StoreTxn *txn, const LogOp *op, guint32 box, GError **error)
{
    if (op->kind == LOG_EXPUNGE)
        return log_park_lost(txn, op, 0, expunge_words, error);
    txn->effects.unbound++;
    return log_set_message(txn, op->seq, box, 0, error) &&
           log_set_state(txn, op->seq, LOG_UNBOUND, NULL, error);
}

static bool renewed(StoreTxn *txn, const LogOp *op, const Match *old, guint32 box, GError **error)
{
    if (op->kind == LOG_RMBOX && op->state == LOG_QUEUED) /* it was meant for the other one */
        return log_park(txn, op->seq, "the mailbox was replaced on the server (UIDVALIDITY)",
                        error) &&
               log_set_message(txn, op->seq, box, 0, error);
    if (op->kind > LOG_EXPUNGE) /* APPEND: only its target is another. MKBOX, ...: the same one */
        return log_set_message(txn, op->seq, box, op->uid, error);
    if (op->state == LOG_FAILED)
        return log_set_message(txn, op->seq, 0, 0, error);
    if (op->kind == LOG_EXPUNGE)
        return log_unbind(txn, op, box, error);
    if (log_has_source(op->kind) && !log_is_unsent(op->state)) /* the probe tells, in its target */
        return log_set_message(txn, op->seq, old->n == 1 || op->uid == 0 ? box : 0, 0, error);
    if (op->state == LOG_HELD || (op->state != LOG_UNBOUND && old->n != 1))
        return log_park_lost(txn, op, 0, twin_words, error);
    return log_unbind(txn, op, box, error);
}

/* What goes to it goes to it still. */
static bool set_targets(StoreTxn *txn, guint32 old_box, guint32 new_box, GError **error)
{
    static const char sql[] = "UPDATE log SET to_box = ? WHERE to_box != 0 AND to_box = ?";
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_int(&query, new_box);
    query_int(&query, old_box);
    return txn_run_query(txn, &query, error);
}

bool log_box_renewed(StoreTxn *txn, guint32 old_box, guint32 new_box, GError **error)
{
    g_autoptr(GPtrArray) ops = log_ops_of_box(txn, old_box, error);
    if (ops == NULL || !pending_adopt_box(txn, old_box, NULL, error) ||
        !set_targets(txn, old_box, new_box, error))
        return false;
    Matches matches = matches_of(txn, old_box, ops);
    bool ok = log_check_reads(txn, error);
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
    return log_park_lost(txn, op, box->id,
                         match->n == 0
                             ? "the mailbox was replaced on the server (UIDVALIDITY), and this "
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
    G_STATIC_ASSERT(LOG_UNBOUND == 2);
    *bound_out = *parked_out = 0;
    g_autoptr(GPtrArray) ops = log_read_ops_of(txn, sql, box, error);
    if (ops == NULL)
        return false;
    if (ops->len == 0)
        return true;
    if (!store_box_by_id(&txn->reader, box, &row))
        return log_check_reads(txn, error);
    Matches matches = matches_of(txn, box, ops);
    bool ok = log_check_reads(txn, error);
    for (guint i = 0; ok && i < ops->len; i++) {
        const LogOp *op = ops->pdata[i];
        ok = bind(txn, op, match_of(&matches, op), &row, bound_out, parked_out, error);
    }
    matches_clear(&matches);
    store_box_clear(&row);
    return ok;
}
