/* settle.c - what a batch came to: judged, recorded in one transaction with the flags that the
 * server told, and told to whoever waits or watches.
 *
 * The rule: one outcome an operation, and nothing is forgotten but what the server has, or what has
 * nothing left that it could be done to. If the store fails it is settled again later. */
#include "batch.h"

#include <string.h>

#include "imapfs/base/clock.h"
#include "imapfs/base/error.h"
#include "imapfs/base/fault.h"
#include "imapfs/base/limits.h"
#include "imapfs/base/log.h"

#define SETTLE_AGAIN_MS 1000
#define PARKED_SHOWN 5

/* --- what became of each --- */

static char *flags_words(const Flags *flags)
{
    g_autofree char *text = flags_to_text(flags);
    return log_printable(text, strlen(text), LIMIT_SERVER_TEXT);
}

/* The server told what it has, and it is not what was wanted. */
static void judge_missing(Item *item, const Flags *missing)
{
    g_auto(Flags) rest = {0};
    g_autofree char *words = flags_words(missing);
    flags_add_all(&rest, missing);
    flags_remove_all(&rest, &item->denied);
    if (item->outcome != OUTCOME_DONE) /* a command was refused: its words say why */
        return;
    if (flags_is_empty(&rest)) {
        g_autofree char *reason = g_strdup_printf("the mailbox does not keep %s", words);
        item_note(item, OUTCOME_PARK, reason, IMAPFS_ERROR_DENIED);
    } else {
        g_autofree char *reason = g_strdup_printf("the server did not keep %s", words);
        item_note(item, OUTCOME_UNKEPT, reason, IMAPFS_ERROR_SERVER);
    }
}

static void judge(const Batch *batch, Item *item)
{
    g_auto(Flags) missing = {0};
    if (item->told) {
        item_missing(item, &missing);
        if (flags_is_empty(&missing))
            item->outcome = OUTCOME_DONE;
        else if (batch->lost && item->outcome == OUTCOME_DONE)
            item->outcome = OUTCOME_LOST; /* some of it was not asked */
        else
            judge_missing(item, &missing);
    } else if (item->silent) {
        item->outcome = OUTCOME_GONE;
    } else if (item->outcome == OUTCOME_DONE) {
        item->outcome = OUTCOME_LOST;
    }
}

/* The tries that were allowed are used up. */
static bool is_last_try(const Item *item)
{
    guint tries = item->outcome == OUTCOME_UNKEPT ? OUTCOME_UNKEPT_TRIES : OUTCOME_TRIES;
    return item->op->attempts + 1 >= tries;
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
    if (item->told)
        item_missing(item, &missing);
    return (flags_is_empty(&missing) || log_narrow(txn, item->op->seq, &missing, error)) &&
           log_park(txn, item->op->seq, item->reason ? item->reason : "?", error);
}

static bool settle_op(Batch *batch, StoreTxn *txn, Item *item, GError **error)
{
    const LogOp *op = item->op;
    MailboxReplay *replay = &batch->mailbox->replay;
    if ((item->outcome == OUTCOME_REFUSED || item->outcome == OUTCOME_UNKEPT) && is_last_try(item))
        item->outcome = OUTCOME_PARK;
    if (item->outcome == OUTCOME_KEEP_HERE &&
        conflict_action(op->kind, CONFLICT_READ_ONLY) != ACTION_KEEP_HERE)
        item->outcome = OUTCOME_PARK;
    switch (item->outcome) {
    case OUTCOME_DONE:
        return log_done(txn, op->seq, error);
    case OUTCOME_GONE: /* its row goes next, and takes it along, or sends it after the message */
    case OUTCOME_LOST:
        return log_requeue(txn, op->seq, op->attempts, 0, NULL, error);
    case OUTCOME_UNKEPT:
    case OUTCOME_REFUSED:
        return requeue(txn, item, op->attempts + 1, in_us(outcome_backoff_us(op->attempts)), error);
    case OUTCOME_LATER:
        return requeue(txn, item, op->attempts, in_us(outcome_backoff_us(replay->level)), error);
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
static bool is_still_ours(const Batch *batch)
{
    return !batch->mailbox->gone && batch->mailbox->box == batch->box;
}

static bool settle_item(Batch *batch, StoreTxn *txn, Item *item, GError **error)
{
    bool changed;
    if (!is_still_ours(batch)) /* what was made of the others is left as it is */
        return item->outcome == OUTCOME_DONE
                   ? log_done(txn, item->op->seq, error)
                   : log_requeue(txn, item->op->seq, item->op->attempts, 0, NULL, error);
    if (item->told && !store_msg_set_flags(txn, batch->box, item->op->uid, item->flags,
                                           item->modseq, &changed, error))
        return false;
    return settle_op(batch, txn, item, error);
}

/* What was refused may not be sent again after a loss of power; what was done may. */
static bool may_park(const Batch *batch)
{
    for (guint i = 0; i < batch->items->len; i++)
        if (((const Item *)batch->items->pdata[i])->outcome > OUTCOME_LOST)
            return true;
    return false;
}

static bool settle_all(Batch *batch, GError **error)
{
    StoreTxn *txn = store_begin(batch->mailbox->engine->store, may_park(batch), error);
    if (!txn)
        return false;
    for (guint i = 0; i < batch->items->len; i++) {
        if (!settle_item(batch, txn, batch->items->pdata[i], error)) {
            store_rollback(txn);
            return false;
        }
    }
    FAULT("replay.settle");
    return store_commit(txn, error);
}

/* --- and who hears of it --- */

static void tell_parked(Batch *batch, const Item *item, bool shown)
{
    Engine *engine = batch->mailbox->engine;
    const LogOp *op = item->op;
    g_autoptr(GError) error =
        g_error_new(IMAPFS_ERROR, (gint)item->error, "%s", item->reason ? item->reason : "refused");
    log_warn("replay", "%s: change %u is parked: %s", batch->mailbox->name, op->seq,
             error->message);
    if (shown)
        events_add(engine, "parked", "%u %s/%s.%u: %s", op->seq, batch->mailbox->name, op->name,
                   op->uid, error->message);
    replay_note_failed(engine, batch->box, op->uid, error);
    if (item->error == IMAPFS_ERROR_DENIED)
        batch->mailbox->writable = false; /* permitted by now, if it is tried again: SELECT tells */
}

static void tell_item(Batch *batch, const Item *item, guint *n)
{
    Engine *engine = batch->mailbox->engine;
    n[item->outcome]++;
    if (item->outcome == OUTCOME_PARK)
        tell_parked(batch, item, n[OUTCOME_PARK] <= PARKED_SHOWN);
    if (item->outcome == OUTCOME_HOLD) {
        g_autoptr(GError) error = g_error_new(IMAPFS_ERROR, (gint)item->error, "%s", item->reason);
        replay_note_failed(engine, batch->box, item->op->uid, error);
    }
    if (item->outcome == OUTCOME_GONE)
        uidset_add(batch->mailbox->vanished, item->op->uid);
    else if (engine->config.events.flags_changed)
        engine->config.events.flags_changed(batch->box, item->op->uid, engine->config.events_data);
}

static void tell_all(Batch *batch)
{
    Mailbox *mailbox = batch->mailbox;
    Engine *engine = mailbox->engine;
    guint n[OUTCOME_PARK + 1] = {0};
    for (guint i = 0; i < batch->items->len; i++)
        tell_item(batch, batch->items->pdata[i], n);
    for (guint outcome = 0; outcome < G_N_ELEMENTS(n); outcome++) {
        if (n[outcome])
            log_debug("replay", "%s: %s %u", mailbox->name, outcome_name((Outcome)outcome),
                      n[outcome]);
    }
    events_add_count(engine, "sent", mailbox->name, n[OUTCOME_DONE], "change");
    events_add_count(engine, "kept-here", mailbox->name, n[OUTCOME_KEEP_HERE], "change");
    events_add_count(engine, "waiting", mailbox->name, n[OUTCOME_LATER] + n[OUTCOME_HOLD],
                     "change");
    if (n[OUTCOME_PARK] > PARKED_SHOWN)
        events_add_count(engine, "parked", mailbox->name, n[OUTCOME_PARK] - PARKED_SHOWN,
                         "more change");
    if (n[OUTCOME_LATER] == 0 && n[OUTCOME_DONE] > 0)
        mailbox->replay.level = 0;
    else if (n[OUTCOME_LATER] > 0)
        mailbox->replay.level++;
    if (!is_still_ours(batch))
        return;
    if (n[OUTCOME_GONE] > 0)
        mailbox_flush(mailbox);
    if (n[OUTCOME_GONE] > 0 || batch->look_again)
        mailbox_mark(mailbox, DIRTY_VERIFY);
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
    for (guint i = 0; i < batch->items->len; i++)
        judge(batch, batch->items->pdata[i]);
    if (!settle_all(batch, &error)) { /* it stays as sent; nothing is lost, only known later */
        log_error("replay", "%s: what was sent cannot be recorded: %s", mailbox->name,
                  error->message);
        if (mailbox->replay.batch == batch)
            batch->settle = engine_timer(mailbox->engine, SETTLE_AGAIN_MS, on_settle_again, batch);
        return;
    }
    FAULT("replay.settled");
    batch->refs++;
    tell_all(batch);
    replay_note_settled(mailbox->engine);
    if (mailbox->replay.batch == batch)
        replay_batch_over(mailbox, batch->lost);
    batch_unref(batch);
}

/* --- mailboxes that do not take anything --- */

typedef bool (*Verdict)(StoreTxn *txn, const LogOp *op, const char *reason, GError **error);

static bool park_it(StoreTxn *txn, const LogOp *op, const char *reason, GError **error)
{
    return log_park(txn, op->seq, reason, error);
}

static bool keep_it(StoreTxn *txn, const LogOp *op, const char *reason, GError **error)
{
    return conflict_action(op->kind, CONFLICT_READ_ONLY) == ACTION_KEEP_HERE
               ? log_keep_here(txn, op->seq, error)
               : log_park(txn, op->seq, reason, error);
}

/* Claims what is due and settles it unsent, all of it in one transaction. */
static GPtrArray *settle_unsent(Mailbox *mailbox, Verdict verdict, const char *reason,
                                GError **error)
{
    g_autoptr(GPtrArray) ops = NULL;
    StoreTxn *txn = store_begin(mailbox->engine->store, true, error);
    if (!txn)
        return NULL;
    bool ok = log_claim(txn, mailbox->box, clock_real_ns(), G_MAXINT, &ops, error);
    for (guint i = 0; ok && i < ops->len; i++)
        ok = verdict(txn, ops->pdata[i], reason, error);
    if (!ok) {
        store_rollback(txn);
        return NULL;
    }
    return store_commit(txn, error) ? g_steal_pointer(&ops) : NULL;
}

static void tell_unsent(Mailbox *mailbox, const GPtrArray *ops)
{
    const EngineEvents *events = &mailbox->engine->config.events;
    for (guint i = 0; events->flags_changed && i < ops->len; i++)
        events->flags_changed(mailbox->box, ((const LogOp *)ops->pdata[i])->uid,
                              mailbox->engine->config.events_data);
    replay_note_settled(mailbox->engine);
}

bool batch_keep_here(Mailbox *mailbox)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) ops =
        settle_unsent(mailbox, keep_it, conflict_words(CONFLICT_READ_ONLY), &error);
    if (!ops) {
        log_error("replay", "%s: %s", mailbox->name, error->message);
        return false;
    }
    log_info("replay", "%s keeps no flags: %u changes stay here", mailbox->name, ops->len);
    events_add_count(mailbox->engine, "kept-here", mailbox->name, ops->len, "change");
    tell_unsent(mailbox, ops);
    return true;
}

bool batch_park_all(Mailbox *mailbox, const GError *why)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) ops = settle_unsent(mailbox, park_it, why->message, &error);
    if (!ops) {
        log_error("replay", "%s: %s", mailbox->name, error->message);
        return false;
    }
    log_warn("replay", "%s: %u changes are parked: %s", mailbox->name, ops->len, why->message);
    events_add(mailbox->engine, "parked", "%s: %u changes: %s", mailbox->name, ops->len,
               why->message);
    replay_note_failed(mailbox->engine, mailbox->box, 0, why);
    tell_unsent(mailbox, ops);
    return true;
}
