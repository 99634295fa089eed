/* hurry.c - what was put off is due now, as a person says so: there is room again, or a network.
 *
 * It is claimed and given back in one transaction; nothing of it is sent from here, and what has
 * tries left keeps their count. */
#include "replay.h"

#include "imapfs/base/clock.h"
#include "imapfs/base/limits.h"
#include "imapfs/base/log.h"

/* Claims all of a mailbox that only time holds back. */
static bool claim_all(StoreTxn *txn, guint32 box, GPtrArray *all, GError **error)
{
    for (;;) {
        g_autoptr(GPtrArray) ops = NULL;
        if (!log_claim(txn, box, G_MAXINT64, LOG_ANY, G_MAXINT, &ops, error))
            return false;
        if (ops->len == 0)
            return true;
        while (ops->len > 0)
            g_ptr_array_add(all, g_ptr_array_steal_index(ops, 0));
    }
}

static bool hurry(StoreTxn *txn, const GArray *dues, GError **error)
{
    g_autoptr(GPtrArray) ops = g_ptr_array_new_with_free_func((GDestroyNotify)log_op_free);
    gint64 now_ns = clock_real_ns();
    bool ok = true;
    for (guint i = 0; ok && i < dues->len; i++) {
        const LogDue *due = &g_array_index(dues, LogDue, i);
        if (due->due_ns > now_ns)
            ok = claim_all(txn, due->box, ops, error);
    }
    for (guint i = 0; ok && i < ops->len; i++) {
        const LogOp *op = ops->pdata[i];
        ok = log_requeue(txn, op->seq, op->attempts, 0, op->reason, error);
    }
    return ok;
}

void replay_hurry(Engine *engine)
{
    GHashTableIter iter;
    gpointer value;
    g_autoptr(GError) error = NULL;
    engine->quota_us = 0;
    quota_ask(engine); /* or when it is online */
    if (engine->config.read_only)
        return;
    g_autoptr(GArray) dues = log_due(store_reader(engine->store));
    g_hash_table_iter_init(&iter, engine->mailboxes);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        ((Mailbox *)value)->replay.not_before_us = 0;
        ((Mailbox *)value)->replay.level = 0;
    }
    StoreTxn *txn = dues->len > 0 ? store_begin(engine->store, false, &error) : NULL;
    bool ok = txn && hurry(txn, dues, &error);
    if (txn && !ok)
        store_rollback(txn);
    else if (txn)
        store_commit(txn, &error);
    if (error)
        log_error("replay", "%s", error->message);
    replay_soon(engine);
}
