/* box_ops.c - the log's changes of mailboxes, sent one at a time in the order in which they were
 * logged: when, and what became of each.
 *
 * The rule: while a mailbox is being renamed or removed no session of ours has it, or one below it,
 * selected under the name that it loses, as what is selected under a name must be what has it. Who
 * wants it meanwhile waits. What was sent and not answered is never sent again before LIST has said
 * what came of it (store/box_overlay.c); a LIST that was asked for before something changed is
 * asked for again. */
#include "batch.h"
#include "box_ops.h"

#include <string.h>

#include "imapfs/base/clock.h"
#include "imapfs/base/fault.h"
#include "imapfs/base/log.h"
#include "imapfs/wire/response.h"

#define SETTLE_AGAIN_MS 1000

/* --- the mailboxes that it is about --- */

bool box_ops_hold(const Engine *engine, const char *name)
{
    const BoxOp *op = engine->boxes.now;
    if (!op || op->op.kind == LOG_MKBOX)
        return false;
    gsize length = strlen(op->name);
    return strncmp(name, op->name, length) == 0 &&
           (name[length] == '\0' || (op->delimiter && name[length] == op->delimiter));
}

static GPtrArray *held(const BoxOp *self)
{
    GPtrArray *out = g_ptr_array_new_with_free_func((GDestroyNotify)mailbox_unref);
    GHashTableIter iter;
    gpointer value;
    g_hash_table_iter_init(&iter, self->engine->mailboxes);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        if (box_ops_hold(self->engine, ((Mailbox *)value)->name))
            g_ptr_array_add(out, mailbox_ref(value));
    }
    return out;
}

/* Something is on its way into one of them from another mailbox, by the name that it loses. */
static bool is_sent_to(const BoxOp *self)
{
    GHashTableIter iter;
    gpointer value;
    g_hash_table_iter_init(&iter, self->engine->mailboxes);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        const Batch *batch = ((const Mailbox *)value)->replay.batch;
        if (batch && box_ops_hold(self->engine, batch->to_name))
            return true;
    }
    return false;
}

/* False: something is being sent in one of them, or into one, whose end comes back here. */
static bool freeze(const BoxOp *self)
{
    g_autoptr(GPtrArray) boxes = held(self);
    bool quiet = !is_sent_to(self);
    for (guint i = 0; i < boxes->len; i++)
        quiet = quiet && ((Mailbox *)boxes->pdata[i])->replay.phase != REPLAY_SENDING;
    for (guint i = 0; quiet && i < boxes->len; i++)
        mailbox_freeze(boxes->pdata[i]);
    return quiet;
}

/* The name that a mailbox has afterwards. */
static char *name_after(const BoxOp *self, const Mailbox *mailbox)
{
    bool renamed = self->op.kind == LOG_RENBOX && self->outcome == OUTCOME_DONE && self->claimed;
    return renamed ? g_strconcat(self->target, mailbox->name + strlen(self->name), NULL)
                   : g_strdup(mailbox->name);
}

static void thaw(BoxOp *self)
{
    g_autoptr(GPtrArray) boxes = held(self);
    bool removed = self->op.kind == LOG_RMBOX && self->outcome == OUTCOME_DONE && self->claimed;
    self->engine->boxes.now = NULL;
    for (guint i = 0; i < boxes->len; i++) {
        Mailbox *mailbox = boxes->pdata[i];
        g_autofree char *name = name_after(self, mailbox);
        if (mailbox->gone)
            continue;
        if (removed)
            mailbox_drop(mailbox);
        else
            mailbox_thaw(mailbox, name);
    }
}

/* --- the end --- */

void box_op_note(BoxOp *self, Outcome outcome, const char *reason, ImapfsError error)
{
    if (outcome <= self->outcome)
        return;
    self->outcome = outcome;
    self->error = error;
    g_free(self->reason);
    self->reason = g_strdup(reason);
}

static void op_free(BoxOp *self)
{
    engine_timer_clear(&self->settle);
    pool_release(self->lease);
    log_op_clear(&self->op);
    g_hash_table_unref(self->subscribed);
    g_free(self->name);
    g_free(self->target);
    g_free(self->reason);
    g_free(self);
}

static void end(BoxOp *self)
{
    thaw(self);
    op_free(self);
}

void box_names_tell(Engine *engine, const GArray *names)
{
    const EngineEvents *events = &engine->config.events;
    for (guint i = 0; events->box_added && i < names->len; i++) {
        const StoreName *name = &g_array_index(names, StoreName, i);
        events->box_added(name->parent, name->moved, name->leaf, engine->config.events_data);
        if (name->moved && events->box_moved)
            events->box_moved(name->moved, engine->config.events_data);
    }
}

/* LIST is to tell what became of it. It was answered, which counts as a try. */
static bool look_for(StoreTxn *txn, guint32 seq, guint attempts, gint64 next_try_ns,
                     const char *reason, GError **error)
{
    return log_requeue(txn, seq, attempts, next_try_ns, reason, error) &&
           log_claim_box(txn, seq, error) && log_unsure(txn, seq, error);
}

/* What was not answered has no other try counted; what is refused for no reason has. */
static bool record(BoxOp *self, StoreTxn *txn, GError **error)
{
    guint32 seq = self->op.seq;
    guint attempts = self->op.attempts;
    gint64 in_us = outcome_backoff_us(attempts);
    switch (self->outcome) {
    case OUTCOME_DONE:
        return log_done(txn, seq, error);
    case OUTCOME_LOST:
        return log_unsure(txn, seq, error);
    case OUTCOME_UNSURE:
        return look_for(txn, seq, attempts + 1, clock_real_ns() + in_us * 1000, self->reason,
                        error);
    case OUTCOME_LATER:
        in_us = outcome_backoff_us(self->engine->boxes.level);
        break;
    case OUTCOME_HOLD:
        in_us = OUTCOME_HOLD_US;
        break;
    case OUTCOME_REFUSED:
        attempts++;
        break;
    default:
        break;
    }
    if (self->outcome == OUTCOME_PARK || self->outcome == OUTCOME_KEEP_HERE ||
        attempts >= OUTCOME_TRIES)
        return log_park(txn, seq, self->reason ? self->reason : "refused", error);
    return log_requeue(txn, seq, attempts, clock_real_ns() + in_us * 1000, self->reason, error);
}

static bool settle(BoxOp *self, LogOp *after, GArray **names_out, GError **error)
{
    StoreTxn *txn = store_begin(self->engine->store, true, error);
    if (!txn)
        return false;
    if (!record(self, txn, error)) {
        store_rollback(txn);
        return false;
    }
    if (!log_get(store_txn_reader(txn), self->op.seq, after))
        *after = (LogOp){0};
    *names_out = store_txn_take_names(txn);
    FAULT("boxes.settle");
    return store_commit(txn, error);
}

static void tell(BoxOp *self, const LogOp *after, const GArray *names)
{
    Engine *engine = self->engine;
    const char *word = log_kind_word(self->op.kind);
    bool failed = after->seq && after->state == LOG_FAILED;
    box_names_tell(engine, names);
    if (!after->seq) {
        log_info("replay", "%s %s: done", word, self->name);
        events_add(engine, "sent", "%s %s", word, self->name);
    } else if (failed) {
        g_autoptr(GError) error =
            g_error_new(IMAPFS_ERROR, (gint)self->error, "%s", after->reason ? after->reason : "?");
        log_warn("replay", "%s %s is parked: %s", word, self->name, error->message);
        events_add(engine, "parked", "%u %s %s: %s", after->seq, word, self->name, error->message);
        replay_note_failed(engine, self->op.box, 0, error);
    } else if (self->outcome != OUTCOME_LOST && self->outcome != OUTCOME_UNSURE) {
        const char *why = self->reason ? self->reason : "?";
        events_add(engine, "waiting", "%s %s: %s", word, self->name, why);
        g_autoptr(GError) error = g_error_new(IMAPFS_ERROR, (gint)self->error, "%s", why);
        if (self->outcome == OUTCOME_HOLD) /* not in an hour */
            replay_note_failed(engine, self->op.box, 0, error);
    }
    replay_note_settled(engine);
}

static gboolean on_settle_again(gpointer data)
{
    BoxOp *self = data;
    engine_timer_clear(&self->settle);
    box_op_over(self);
    return G_SOURCE_REMOVE;
}

/* The list is asked for again: for attributes, for what others did, and for what it decides. */
void box_op_over(BoxOp *self)
{
    Engine *engine = self->engine;
    g_autoptr(GError) error = NULL;
    g_autoptr(GArray) names = NULL;
    LogOp after = {0};
    if (!settle(self, &after, &names, &error)) { /* it stays as sent; nothing is lost */
        log_error("replay", "what became of a mailbox cannot be recorded: %s", error->message);
        self->settle = engine_timer(engine, SETTLE_AGAIN_MS, on_settle_again, self);
        return;
    }
    FAULT("boxes.settled");
    engine->boxes.changes++;
    engine->boxes.level = self->outcome == OUTCOME_LATER ? engine->boxes.level + 1 : 0;
    tell(self, &after, names);
    log_op_clear(&after);
    end(self);
    engine->boxes.list_again = true;
    replay_soon(engine);
}

/* --- the beginning --- */

/* As it is in the log now: a person may have changed it since it was looked at. */
static bool claim(BoxOp *self, GError **error)
{
    LogOp now = {0};
    StoreTxn *txn = store_begin(self->engine->store, true, error);
    if (!txn)
        return false;
    bool same = log_get(store_txn_reader(txn), self->op.seq, &now) && now.state == LOG_QUEUED &&
                g_strcmp0(now.mailbox, self->op.mailbox) == 0 &&
                g_strcmp0(now.target, self->op.target) == 0;
    log_op_clear(&now);
    if (!same || !log_claim_box(txn, self->op.seq, error)) {
        store_rollback(txn);
        return false;
    }
    return store_commit(txn, error);
}

static void on_lease(PoolLease *lease, Session *session, const GError *unused, gpointer data)
{
    BoxOp *self = data;
    Engine *engine = self->engine;
    g_autoptr(GError) error = NULL;
    self->waiting = false;
    self->lease = lease;
    self->session = session;
    if (!session || !replay_may_send(engine)) { /* asked again when it is online */
        end(self);
        return;
    }
    if (!freeze(self)) { /* the batch that is under way comes back to replay_soon() */
        end(self);
        return;
    }
    if (!claim(self, &error)) {
        if (error)
            log_error("replay", "%s", error->message);
        end(self);
        return;
    }
    FAULT("boxes.claimed");
    self->claimed = true;
    engine->boxes.changes++;
    box_commands_start(self);
}

static BoxOp *op_new(Engine *engine, LogOp *op /* takes what is in it */)
{
    StoreBox box = {0};
    BoxOp *self = g_new0(BoxOp, 1);
    self->engine = engine;
    self->op = *op;
    self->subscribed = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    if (store_box_by_id(store_reader(engine->store), op->box, &box)) {
        self->delimiter = box.delimiter;
        self->selectable = !(box.attributes & (LIST_NOSELECT | LIST_NONEXISTENT));
    }
    const char *wire = box.wire_name && op->kind != LOG_MKBOX ? box.wire_name : op->mailbox;
    self->name = g_strdup(wire);
    self->target = g_strdup(op->target);
    store_box_clear(&box);
    return self;
}

gint64 box_ops_start(Engine *engine)
{
    LogOp op = {0};
    gint64 due_ns = 0, now_ns = clock_real_ns();
    if (engine->boxes.now || !replay_may_send(engine))
        return -1; /* its end asks again */
    bool found = log_next_box(store_reader(engine->store), now_ns, &op, &due_ns);
    if (engine->boxes.list_again || (found && op.state == LOG_UNSURE)) {
        if (!found || op.state == LOG_UNSURE)
            mailboxes_refresh(engine);
    }
    if (!found)
        return due_ns ? MAX(0, (due_ns - now_ns) / 1000) : -1;
    if (op.state == LOG_UNSURE) { /* the end of that list asks again */
        log_op_clear(&op);
        return -1;
    }
    BoxOp *self = op_new(engine, &op);
    engine->boxes.now = self;
    self->waiting = true;
    PoolLease *lease = pool_lease(engine->pool, NULL, LANE_FOREGROUND, on_lease, self);
    if (engine->boxes.now == self && self->waiting)
        self->lease = lease;
    return -1;
}

void box_ops_clear(Engine *engine)
{
    BoxOp *self = g_steal_pointer(&engine->boxes.now);
    if (self)
        op_free(self);
}
