/* settle.c - what a batch came to: judged, and recorded in one transaction with what the server
 * told.
 *
 * The rule: one outcome an operation, and nothing is forgotten but what the server has, or what has
 * nothing left that it could be done to. If the store fails it is settled again later. Who hears of
 * it: tell.c. */
#include "batch.h"

#include "imapfs/base/clock.h"
#include "imapfs/base/error.h"
#include "imapfs/base/fault.h"
#include "imapfs/base/log.h"

#define SETTLE_AGAIN_MS 1000
#define HOLD_DAYS 3 /* what finds no room in that time finds none */
#define DAY_NS (G_GINT64_CONSTANT(24) * 60 * 60 * 1000000000)

/* --- what becomes of each --- */

/* The tries that were allowed are used up. */
static bool is_last_try(const Item *item)
{
    guint tries = item->outcome == OUTCOME_UNKEPT ? OUTCOME_UNKEPT_TRIES : OUTCOME_TRIES;
    return item->op->attempts + 1 >= tries;
}

static bool is_flags(const Item *item)
{
    return item->op->kind == LOG_FLAGS;
}

/* What the table of conflicts makes of an outcome. */
static void decide(const Batch *batch, Item *item)
{
    guint row = batch->to_trash ? CONFLICT_ROW_TRASH : item->op->kind;
    bool refused = item->outcome == OUTCOME_REFUSED || item->outcome == OUTCOME_UNKEPT;
    bool here = item->outcome == OUTCOME_KEEP_HERE;
    bool old = clock_real_ns() - item->op->logged_ns > HOLD_DAYS * DAY_NS;
    bool held = item->outcome == OUTCOME_HOLD;
    if (batch->target_gone && batch->to_known && item->outcome == OUTCOME_PARK &&
        item->op->attempts == 0)
        item->outcome = OUTCOME_REFUSED; /* it may have another name: LIST tells before the next */
    if ((refused && is_last_try(item)) ||
        (here && conflict_action(row, CONFLICT_READ_ONLY) != ACTION_KEEP_HERE) ||
        (held && (conflict_action(row, CONFLICT_QUOTA) != ACTION_HOLD || (old && !is_flags(item)))))
        item->outcome = OUTCOME_PARK;
}

static gint64 in_us(gint64 us)
{
    return clock_real_ns() + us * 1000;
}

static bool requeue(StoreTxn *txn, const Item *item, guint attempts, gint64 next_try_ns,
                    GError **error)
{
    return log_requeue(txn, item->op->seq, attempts, next_try_ns, item->reason, error);
}

/* What is parked is what was not done. */
static bool park(StoreTxn *txn, const Item *item, GError **error)
{
    g_auto(Flags) missing = {0};
    if (item->told && is_flags(item))
        item_missing(item, &missing);
    return (flags_is_empty(&missing) || log_narrow(txn, item->op->seq, &missing, error)) &&
           log_park(txn, item->op->seq, item->reason ? item->reason : "?", error);
}

static bool settle_op(Batch *batch, StoreTxn *txn, Item *item, GError **error)
{
    const LogOp *op = item->op;
    switch (item->outcome) {
    case OUTCOME_DONE:
        return batch->kind->record(batch, txn, item, error);
    case OUTCOME_GONE: /* its row goes next, and takes it along, or sends it after the message */
    case OUTCOME_LOST:
        return log_requeue(txn, op->seq, op->attempts, 0, NULL, error);
    case OUTCOME_UNSURE:
        return log_unsure(txn, op->seq, error);
    case OUTCOME_UNKEPT:
    case OUTCOME_REFUSED:
        return requeue(txn, item, op->attempts + 1, in_us(outcome_backoff_us(op->attempts)), error);
    case OUTCOME_LATER:
        return requeue(txn, item, op->attempts, batch->later_ns, error);
    case OUTCOME_HOLD:
        return requeue(txn, item, op->attempts, in_us(OUTCOME_HOLD_US), error);
    case OUTCOME_KEEP_HERE:
        return log_keep_here(txn, op->seq, error);
    case OUTCOME_PARK:
        return park(txn, item, error);
    }
    return true;
}

/* The mailbox may have gone, or become another one, while this was on its way: what became of its
 * operations then stands, but for what the server has. */
static bool settle_foreign(Batch *batch, StoreTxn *txn, Item *item, GError **error)
{
    bool placing = !is_flags(item) && item->op->kind != LOG_EXPUNGE;
    if (item->outcome == OUTCOME_DONE || (placing && item->outcome == OUTCOME_UNSURE))
        return settle_op(batch, txn, item, error);
    return log_requeue(txn, item->op->seq, item->op->attempts, 0, NULL, error);
}

static bool settle_item(Batch *batch, StoreTxn *txn, Item *item, GError **error)
{
    bool changed;
    if (!batch_is_still_ours(batch))
        return settle_foreign(batch, txn, item, error);
    if (item->told && !store_msg_set_flags(txn, batch->box, item->op->uid, item->flags,
                                           item->modseq, &changed, error))
        return false;
    return settle_op(batch, txn, item, error);
}

/* What was refused may not be sent again after a loss of power; what was done may: FLAGS and
 * EXPUNGE as they come to the same, the others as they are found where they were to go. */
static bool is_durable(const Batch *batch)
{
    bool durable = batch->kind->durable;
    for (guint i = 0; i < batch->items->len; i++)
        durable |= ((const Item *)batch->items->pdata[i])->outcome > OUTCOME_LOST;
    return durable;
}

static bool settle_all(Batch *batch, GError **error)
{
    StoreTxn *txn = store_begin(batch->mailbox->engine->store, is_durable(batch), error);
    if (!txn)
        return false;
    for (guint i = 0; i < batch->items->len; i++) {
        if (!settle_item(batch, txn, batch->items->pdata[i], error)) {
            store_rollback(txn);
            return false;
        }
    }
    batch->effects = *log_effects(txn);
    FAULT("replay.settle");
    return store_commit(txn, error);
}

static gboolean on_settle_again(gpointer data)
{
    Batch *batch = data;
    engine_timer_clear(&batch->settle);
    batch_settle(batch);
    return G_SOURCE_REMOVE;
}

void batch_settle(Batch *batch)
{
    Mailbox *mailbox = batch->mailbox;
    g_autoptr(GError) error = NULL;
    batch->later_ns = in_us(outcome_backoff_us(mailbox->replay.level)); /* together again */
    for (guint i = 0; i < batch->items->len; i++) {
        batch->kind->judge(batch, batch->items->pdata[i]);
        decide(batch, batch->items->pdata[i]);
    }
    if (!settle_all(batch, &error)) { /* it stays as sent; nothing is lost, only known later */
        log_error("replay", "%s: what was sent cannot be recorded: %s", mailbox->name,
                  error->message);
        if (mailbox->replay.batch == batch)
            batch->settle = engine_timer(mailbox->engine, SETTLE_AGAIN_MS, on_settle_again, batch);
        return;
    }
    FAULT("replay.settled");
    batch->refs++;
    batch->settled = true;
    batch_tell(batch);
    replay_note_settled(mailbox->engine);
    if (mailbox->replay.batch == batch)
        replay_batch_over(mailbox, batch->lost);
    batch_unref(batch);
}

/* --- mailboxes that do not take anything --- */

static bool keep_all(Mailbox *mailbox, GPtrArray **ops_out, GError **error)
{
    StoreTxn *txn = store_begin(mailbox->engine->store, true, error);
    if (!txn)
        return false;
    bool ok = log_claim(txn, mailbox->box, clock_real_ns(), LOG_FLAGS, G_MAXINT, ops_out, error);
    for (guint i = 0; ok && i < (*ops_out)->len; i++) {
        const LogOp *op = (*ops_out)->pdata[i];
        ok = conflict_action(op->kind, CONFLICT_READ_ONLY) == ACTION_KEEP_HERE
                 ? log_keep_here(txn, op->seq, error)
                 : log_park(txn, op->seq, conflict_words(CONFLICT_READ_ONLY), error);
    }
    if (!ok) {
        store_rollback(txn);
        return false;
    }
    return store_commit(txn, error);
}

bool batch_keep_here(Mailbox *mailbox)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) ops = NULL;
    if (!keep_all(mailbox, &ops, &error)) {
        log_error("replay", "%s: %s", mailbox->name, error->message);
        return false;
    }
    if (ops->len == 0) /* another thread took them back just now */
        return true;
    log_info("replay", "%s keeps no flags: %u changes stay here", mailbox->name, ops->len);
    events_add_count(mailbox->engine, "kept-here", mailbox->name, ops->len, "change");
    for (guint i = 0; i < ops->len; i++)
        tell_op_changed(mailbox->engine, ops->pdata[i]);
    replay_note_settled(mailbox->engine);
    return true;
}

typedef struct {
    guint32 box, to_box;
    int kind;
    GPtrArray *found; /* of LogOp */
} Unsendable;

/* APPENDs are of the mailbox where they go. */
static bool find_unsendable(const LogOp *op, gpointer data)
{
    Unsendable *unsendable = data;
    bool kind = unsendable->kind == PARK_ANY ? op->kind <= LOG_APPEND
                                             : (LogKind)unsendable->kind == op->kind;
    if (op->state == LOG_QUEUED && op->box == unsendable->box && kind &&
        (!unsendable->to_box || op->to_box == unsendable->to_box))
        g_ptr_array_add(unsendable->found, log_op_copy(op));
    return true;
}

static bool park_all(Engine *engine, const GPtrArray *ops, const char *reason, GError **error)
{
    StoreTxn *txn = store_begin(engine->store, true, error);
    if (!txn)
        return false;
    for (guint i = 0; i < ops->len; i++) {
        if (!log_park(txn, ((const LogOp *)ops->pdata[i])->seq, reason, error)) {
            store_rollback(txn);
            return false;
        }
    }
    return store_commit(txn, error);
}

bool batch_park_queued(Mailbox *mailbox, int kind, guint32 to_box, const GError *why)
{
    Engine *engine = mailbox->engine;
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) ops = g_ptr_array_new_with_free_func((GDestroyNotify)log_op_free);
    Unsendable unsendable = {mailbox->box, to_box, kind, ops};
    log_each(store_reader(engine->store), false, 0, find_unsendable, &unsendable);
    if (ops->len == 0)
        return true;
    if (!park_all(engine, ops, why->message, &error)) {
        log_error("replay", "%s: %s", mailbox->name, error->message);
        return false;
    }
    log_warn("replay", "%s: %u changes are parked: %s", mailbox->name, ops->len, why->message);
    events_add(engine, "parked", "%s: %u changes: %s", mailbox->name, ops->len, why->message);
    for (guint i = 0; i < ops->len; i++) {
        replay_note_op_failed(engine, ops->pdata[i], why);
        tell_op_changed(engine, ops->pdata[i]);
    }
    replay_note_settled(engine);
    return true;
}
