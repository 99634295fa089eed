/* tell.c - who hears what a batch came to: events, the log, the kernel's side, and whoever waits.
 *
 * After the commit. The rule: what shows elsewhere now, or again where it was, is named in both
 * places. */
#include "batch.h"

#include "imapfs/base/error.h"
#include "imapfs/base/log.h"

#define PARKED_SHOWN 5

/* The message that the operation placed shows under another number now (uid 0: not known, or it
 * shows no more). */
static void tell_placed(Engine *engine, const LogOp *op, guint32 box, guint32 uid)
{
    const EngineEvents *events = &engine->config.events;
    gpointer data = engine->config.events_data;
    if (!op->to_n)
        return;
    if (events->msg_numbered)
        events->msg_numbered(op->to_n, op->to_box, box, uid, op->name, data);
    if (uid && events->msg_added)
        events->msg_added(box, uid, op->name, data);
}

/* Its number, in the mailbox as it is known here: another UIDVALIDITY is another mailbox. */
static guint32 numbered_uid(const Item *item)
{
    return item->to_uidvalidity == item->op->fence_uidvalidity ? item->to_uid : 0;
}

void tell_op_changed(Engine *engine, const LogOp *op)
{
    const EngineEvents *events = &engine->config.events;
    bool hides = op->kind == LOG_MOVE || op->kind == LOG_EXPUNGE ||
                 op->kind == LOG_COPY; /* its deletion went with it, if there was one */
    if (op->kind == LOG_FLAGS && events->flags_changed)
        events->flags_changed(op->box, op->uid, engine->config.events_data);
    if (hides && events->msg_added) /* it shows again */
        events->msg_added(op->box, op->uid, op->name, engine->config.events_data);
    tell_placed(engine, op, op->to_box, 0);
}

static void tell_parked(Batch *batch, const Item *item, bool shown)
{
    Engine *engine = batch->mailbox->engine;
    const LogOp *op = item->op;
    g_autoptr(GError) error =
        g_error_new(IMAPFS_ERROR, (gint)item->error, "%s", item->reason ? item->reason : "refused");
    log_warn("replay", "%s: change %u is parked: %s", batch->mailbox->name, op->seq,
             error->message);
    if (shown && op->kind == LOG_APPEND)
        events_add(engine, "parked", "%u %s/%s.+%u: %s", op->seq, batch->mailbox->name, op->name,
                   op->to_n, error->message);
    else if (shown)
        events_add(engine, "parked", "%u %s/%s.%u: %s", op->seq, batch->mailbox->name, op->name,
                   op->uid, error->message);
    replay_note_op_failed(engine, op, error);
    tell_op_changed(engine, op);
    if (item->error == IMAPFS_ERROR_DENIED)
        batch->mailbox->writable = false; /* permitted by now, if it is tried again: SELECT tells */
}

static void tell_held(Batch *batch, const Item *item)
{
    g_autoptr(GError) error = g_error_new(IMAPFS_ERROR, (gint)item->error, "%s", item->reason);
    replay_note_op_failed(batch->mailbox->engine, item->op, error);
}

static void tell_done(Batch *batch, const Item *item)
{
    Engine *engine = batch->mailbox->engine;
    const EngineEvents *events = &engine->config.events;
    const LogOp *op = item->op;
    if (op->kind == LOG_FLAGS) {
        tell_op_changed(engine, op);
    } else if (op->kind == LOG_EXPUNGE) {
        if (events->msg_removed && !item->told)
            events->msg_removed(op->box, op->uid, op->name, engine->config.events_data);
    } else {
        Mailbox *target = mailbox_get(engine, op->to_box, NULL);
        if (target)
            target->placed_uid = MAX(target->placed_uid, numbered_uid(item));
        tell_placed(engine, op, op->to_box, numbered_uid(item));
        if (op->kind == LOG_MOVE && !batch->by_copy) /* the server says so as well, by and by */
            uidset_add(batch->mailbox->vanished, op->uid);
    }
}

static void tell_item(Batch *batch, const Item *item, guint *n)
{
    n[item->outcome]++;
    switch (item->outcome) {
    case OUTCOME_DONE:
        tell_done(batch, item);
        break;
    case OUTCOME_PARK:
        tell_parked(batch, item, n[OUTCOME_PARK] <= PARKED_SHOWN);
        break;
    case OUTCOME_HOLD:
        tell_held(batch, item);
        break;
    case OUTCOME_GONE:
        uidset_add(batch->mailbox->vanished, item->op->uid);
        break;
    case OUTCOME_UNSURE:
        probe_mark(batch->mailbox->engine, item->op->to_box);
        break;
    default:
        if (item->op->kind == LOG_FLAGS)
            tell_op_changed(batch->mailbox->engine, item->op);
    }
}

/* What arrived without a number shows when the mailbox is in sync. */
static void look_at_target(Batch *batch)
{
    Engine *engine = batch->mailbox->engine;
    const LogOp *first = batch->ops->pdata[0];
    bool unnumbered = false;
    for (guint i = 0; i < batch->items->len; i++) {
        const Item *item = batch->items->pdata[i];
        unnumbered |= item->placed && item->outcome == OUTCOME_DONE && !numbered_uid(item);
    }
    Mailbox *target = unnumbered ? mailbox_get(engine, first->to_box, NULL) : NULL;
    if (target)
        probe_unnumbered(target, batch->effects.unbound > 0);
    if (batch->target_gone)
        mailboxes_refresh(engine); /* LIST tells whether it is, or was renamed */
}

static void tell_counts(Batch *batch, const guint *n)
{
    Mailbox *mailbox = batch->mailbox;
    Engine *engine = mailbox->engine;
    for (guint outcome = 0; outcome <= OUTCOME_PARK; outcome++) {
        if (n[outcome])
            log_debug("replay", "%s: %s %u", mailbox->name, outcome_name((Outcome)outcome),
                      n[outcome]);
    }
    events_add_count(engine, "sent", mailbox->name, n[OUTCOME_DONE], "change");
    events_add_count(engine, "unsure", mailbox->name, n[OUTCOME_UNSURE], "change");
    events_add_count(engine, "kept-here", mailbox->name, n[OUTCOME_KEEP_HERE], "change");
    events_add_count(engine, "waiting", mailbox->name, n[OUTCOME_LATER] + n[OUTCOME_HOLD],
                     "change");
    if (n[OUTCOME_PARK] > PARKED_SHOWN)
        events_add_count(engine, "parked", mailbox->name, n[OUTCOME_PARK] - PARKED_SHOWN,
                         "more change");
}

void batch_tell(Batch *batch)
{
    Mailbox *mailbox = batch->mailbox;
    guint n[OUTCOME_PARK + 1] = {0};
    for (guint i = 0; i < batch->items->len; i++)
        tell_item(batch, batch->items->pdata[i], n);
    tell_counts(batch, n);
    look_at_target(batch);
    replay_tell_effects(mailbox->engine, mailbox->name, &batch->effects);
    if (n[OUTCOME_LATER] == 0 && n[OUTCOME_DONE] > 0)
        mailbox->replay.level = 0;
    else if (n[OUTCOME_LATER] > 0)
        mailbox->replay.level++;
    if (!batch_is_still_ours(batch))
        return;
    mailbox_flush(mailbox);
    if (n[OUTCOME_GONE] > 0 || batch->look_again)
        mailbox_mark(mailbox, DIRTY_VERIFY);
}
