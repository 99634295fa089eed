/* batch.c - one batch of the log on its way: claimed, sent, asked after, settled.
 *
 * The rule: what an operation came to is decided by what the server has afterwards (a UID FETCH
 * behind the commands that change, on the same line), not by the words of the answers; and it is
 * recorded, with the flags that the server told, in one transaction. A batch that is cut leaves its
 * operations as they were: flags set twice are the same flags. */
#include "replay.h"

#include <string.h>

#include "imapfs/base/clock.h"
#include "imapfs/base/error.h"
#include "imapfs/base/fault.h"
#include "imapfs/base/limits.h"
#include "imapfs/base/log.h"

#define FETCH_OVERHEAD 64
#define SETTLE_AGAIN_MS 1000
#define PARKED_SHOWN 5
#define PAUSE_MAX_MS (15 * 60 * 1000)

struct Batch {
    Mailbox *mailbox; /* a reference */
    guint32 box;
    guint generation;
    GPtrArray *ops;     /* of LogOp */
    GPtrArray *items;   /* of Item */
    GHashTable *by_uid; /* uid -> Item */
    GPtrArray *again;   /* of FlagStore: halves of what was refused */
    GPtrArray *refused; /* of FlagStore: of this wave, with more than one member */
    guint in_flight;    /* commands */
    guint stores;       /* of these, STOREs: what comes before their end is not our answer */
    bool lost;
    GSource *settle; /* the store failed: settled again later */
    guint refs;      /* commands, and the mailbox */

    guint n_sent, n_parked; /* of the settling */
    UidSet *gone;
    bool look_again; /* answers did not fit together */
};

/* The kinds of operations: how a run of adjacent ones of a kind is put on the wire. */
static void send_flags(Batch *batch);
static const struct {
    void (*send)(Batch *batch);
} kinds[] = {
    [LOG_FLAGS] = {send_flags},
};

static void batch_unref(Batch *batch)
{
    if (--batch->refs > 0)
        return;
    engine_timer_clear(&batch->settle);
    g_hash_table_unref(batch->by_uid);
    g_ptr_array_unref(batch->again);
    g_ptr_array_unref(batch->refused);
    g_ptr_array_unref(batch->items);
    g_ptr_array_unref(batch->ops);
    uidset_free(batch->gone);
    mailbox_unref(batch->mailbox);
    g_free(batch);
}

void batch_free(Batch *batch)
{
    if (!batch)
        return;
    engine_timer_clear(&batch->settle);
    batch_unref(batch);
}

static void wave_send(Batch *batch, GPtrArray *stores);
static void batch_settle(Batch *batch);

/* The session that it began on is still the mailbox's. */
static bool can_send(const Batch *batch)
{
    return !batch->lost && batch->mailbox->session &&
           batch->generation == batch->mailbox->generation;
}

/* Every command of a wave was answered. */
static void wave_end(Batch *batch)
{
    for (guint i = 0; i < batch->refused->len; i++)
        plan_halve(batch->refused->pdata[i], batch->again);
    g_ptr_array_set_size(batch->refused, 0);
    if (batch->again->len > 0 && can_send(batch)) {
        g_autoptr(GPtrArray) again = g_steal_pointer(&batch->again);
        batch->again = g_ptr_array_new_with_free_func(flag_store_free);
        wave_send(batch, again);
        return;
    }
    batch->lost |= batch->again->len > 0;
    batch_settle(batch);
}

static void command_over(Batch *batch)
{
    if (--batch->in_flight == 0)
        wave_end(batch);
    batch_unref(batch);
}

/* --- UID STORE --- */

typedef struct {
    Batch *batch;
    FlagStore *store;
} Sent;

static void sent_free(Sent *sent)
{
    if (sent->store)
        flag_store_free(sent->store);
    g_free(sent);
}

static void on_store_done(Command *command, CommandResult result, const Response *tagged,
                          gpointer data)
{
    Sent *sent = data;
    Batch *batch = sent->batch;
    Outcome outcome = outcome_of(result, tagged);
    g_autofree char *words = outcome_words(result, tagged);
    FAULT("replay.stored");
    batch->stores--;
    batch->lost |= outcome == OUTCOME_LOST;
    if (outcome == OUTCOME_LATER && tagged->backoff_ms > 0)
        batch->mailbox->engine->replay.pause_us =
            clock_mono_us() + 1000 * MIN(tagged->backoff_ms, PAUSE_MAX_MS);
    if (outcome == OUTCOME_REFUSED && sent->store->members->len > 1) {
        g_ptr_array_add(batch->refused, g_steal_pointer(&sent->store));
    } else if (outcome != OUTCOME_DONE) {
        for (guint i = 0; i < sent->store->members->len; i++)
            item_note(sent->store->members->pdata[i], outcome, words, outcome_error(tagged));
    }
    sent_free(sent);
    command_over(batch);
}

static void store_send(Batch *batch, FlagStore *store /* takes */)
{
    Sent *sent = g_new(Sent, 1);
    *sent = (Sent){batch, store};
    g_autoptr(UidSet) uids = plan_uids(store->members);
    Command *command = command_new(LANE_FOREGROUND, on_store_done, sent);
    command_text_add(command->text, "UID STORE ");
    command_text_add_uids(command->text, uids);
    command_text_add(command->text, " %cFLAGS.SILENT (%s)", store->minus ? '-' : '+', store->flags);
    command->expected = store->members->len; /* CONDSTORE: MODSEQ of each (RFC 7162 3.1.3) */
    batch->refs++;
    batch->in_flight++;
    batch->stores++;
    session_submit(batch->mailbox->session, command);
}

/* --- UID FETCH: what the server has now --- */

typedef struct {
    Batch *batch;
    UidSet *uids;
} Asked;

static void fetch_send_all(Batch *batch, const UidSet *uids);

/* The last that is said of a message counts. Dovecot answers the FETCH first and then says OK to
 * all of the STOREs before it together: the order of the tagged answers is what tells which it was.
 */
static bool on_fetch(Command *command, Response *response, gpointer data)
{
    Asked *asked = data;
    Batch *batch = asked->batch;
    const FetchData *fetch = response->fetch;
    if (!fetch || fetch->broken || !(fetch->present & FETCH_UID) || !(fetch->present & FETCH_FLAGS))
        return false;
    Item *item = g_hash_table_lookup(batch->by_uid, GUINT_TO_POINTER(fetch->uid));
    if (!item || !uidset_contains(asked->uids, fetch->uid))
        return false;
    GString *text = g_string_new(NULL);
    flags_print(&fetch->flags, text);
    g_free(item->flags);
    item->flags = g_string_free(text, FALSE);
    item->modseq = fetch->present & FETCH_MODSEQ ? fetch->modseq : 0;
    item->told = true;
    return true;
}

/* Silence means that the message is not there (RFC 2180 4.1.2). A server that has answered the
 * FETCH before the STOREs is asked again. */
static void take_answers(Batch *batch, const UidSet *uids)
{
    bool in_order = batch->stores == 0;
    for (guint i = 0; i < batch->items->len; i++) {
        Item *item = batch->items->pdata[i];
        if (!uidset_contains(uids, item->op->uid))
            continue;
        item->told &= in_order;
        item->silent = in_order && !item->told;
    }
    if (!in_order && can_send(batch))
        fetch_send_all(batch, uids);
    else if (!in_order)
        batch->lost = true;
}

/* NO may mean that some are gone (RFC 2180 4.1.1), but does not say which. */
static void take_refusal(Batch *batch, const UidSet *uids, CommandResult result,
                         const Response *tagged)
{
    Outcome outcome = MIN(outcome_of(result, tagged), OUTCOME_HOLD);
    g_autofree char *words = outcome_words(result, tagged);
    batch->lost |= outcome == OUTCOME_LOST;
    batch->look_again |= outcome != OUTCOME_LOST;
    for (guint i = 0; i < batch->items->len; i++) {
        Item *item = batch->items->pdata[i];
        if (!item->told && uidset_contains(uids, item->op->uid))
            item_note(item, outcome, words, outcome_error(tagged));
    }
}

static void on_fetch_done(Command *command, CommandResult result, const Response *tagged,
                          gpointer data)
{
    Asked *asked = data;
    Batch *batch = asked->batch;
    if (result == COMMAND_OK)
        take_answers(batch, asked->uids);
    else
        take_refusal(batch, asked->uids, result, tagged);
    uidset_free(asked->uids);
    g_free(asked);
    command_over(batch);
}

static void fetch_send(Batch *batch, UidSet *uids /* takes */)
{
    Session *session = batch->mailbox->session;
    Asked *asked = g_new(Asked, 1);
    *asked = (Asked){batch, uids};
    Command *command = command_new(LANE_FOREGROUND, on_fetch_done, asked);
    command_text_add(command->text, "UID FETCH ");
    command_text_add_uids(command->text, uids);
    command_text_add(command->text, " (UID FLAGS%s)", session_condstore(session) ? " MODSEQ" : "");
    command->wants = 1ull << RESP_FETCH;
    command->expected = (guint)uidset_count(uids);
    command->on_untagged = on_fetch;
    batch->refs++;
    batch->in_flight++;
    session_submit(session, command);
}

static void fetch_send_all(Batch *batch, const UidSet *uids)
{
    gsize room = session_line_limit(batch->mailbox->session) - FETCH_OVERHEAD;
    g_autoptr(UidSet) left = uidset_copy(uids);
    while (!uidset_is_empty(left))
        fetch_send(batch, uidset_take(left, LIMIT_COMMAND_UIDS, room));
}

static void item_ask(Item *item)
{
    item->told = item->silent = false;
}

/* Stores, and behind them on the same line the question what came of it. A server that is asked
 * both at once answers them in this order (RFC 9051 5.5). */
static void wave_send(Batch *batch, GPtrArray *stores)
{
    g_autoptr(UidSet) uids = uidset_new();
    batch->in_flight++; /* holds the end back until all are submitted */
    batch->refs++;
    while (stores->len > 0) {
        FlagStore *store = g_ptr_array_steal_index(stores, 0);
        g_autoptr(UidSet) some = plan_uids(store->members);
        uidset_add_set(uids, some);
        for (guint i = 0; i < store->members->len; i++)
            item_ask(store->members->pdata[i]);
        store_send(batch, store);
    }
    fetch_send_all(batch, uids);
    FAULT("replay.sent");
    command_over(batch);
}

/* A session of Courier works on what it last read of the mailbox: it says OK to changes of what
 * another client has expunged, and a STORE of one keyword takes away those that others have set
 * since (measured). NOOP makes it read again, and costs nothing on the same line. Servers with
 * CONDSTORE keep count of changes, and have no such view. */
static void ask_for_news(Batch *batch)
{
    Session *session = batch->mailbox->session;
    if (session_condstore(session))
        return;
    Command *command = command_new(LANE_FOREGROUND, NULL, NULL);
    command_text_add(command->text, "NOOP");
    session_submit(session, command);
}

static void send_flags(Batch *batch)
{
    g_autoptr(GPtrArray) stores =
        plan_flags(batch->items, session_line_limit(batch->mailbox->session));
    g_autoptr(GPtrArray) unsent =
        g_ptr_array_new(); /* all of it is denied: what is there decides */
    g_autoptr(UidSet) sent = uidset_new();
    for (guint i = 0; i < stores->len; i++) {
        g_autoptr(UidSet) some = plan_uids(((FlagStore *)stores->pdata[i])->members);
        uidset_add_set(sent, some);
    }
    for (guint i = 0; i < batch->items->len; i++) {
        Item *item = batch->items->pdata[i];
        if (!uidset_contains(sent, item->op->uid))
            g_ptr_array_add(unsent, item);
    }
    batch->in_flight++;
    batch->refs++;
    ask_for_news(batch);
    wave_send(batch, stores);
    g_autoptr(UidSet) more = plan_uids(unsent);
    fetch_send_all(batch, more);
    command_over(batch);
}

/* --- what became of each --- */

static char *flags_words(const Flags *flags)
{
    g_autoptr(GString) text = g_string_new(NULL);
    flags_print(flags, text);
    return log_printable(text->str, text->len, LIMIT_SERVER_TEXT);
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

static bool settle_all(Batch *batch, GError **error)
{
    StoreTxn *txn = store_begin(batch->mailbox->engine->store, false, error);
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

static void batch_settle(Batch *batch)
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

/* --- its beginning --- */

Batch *batch_start(Mailbox *mailbox, GPtrArray *ops)
{
    StoreBox box = {0};
    Batch *batch = g_new0(Batch, 1);
    batch->mailbox = mailbox_ref(mailbox);
    batch->box = mailbox->box;
    batch->generation = mailbox->generation;
    batch->ops = ops;
    batch->items = g_ptr_array_new_with_free_func((GDestroyNotify)item_free);
    batch->by_uid = g_hash_table_new(NULL, NULL);
    batch->again = g_ptr_array_new_with_free_func(flag_store_free);
    batch->refused = g_ptr_array_new_with_free_func(flag_store_free);
    batch->refs = 1;
    store_box_by_id(store_reader(mailbox->engine->store), mailbox->box, &box);
    for (guint i = 0; i < ops->len; i++) {
        Item *item = item_new(ops->pdata[i], &box);
        g_ptr_array_add(batch->items, item);
        g_hash_table_insert(batch->by_uid, GUINT_TO_POINTER(item->op->uid), item);
    }
    store_box_clear(&box);
    log_debug("replay", "%s: %u to be sent", mailbox->name, ops->len);
    mailbox->replay.batch = batch;
    kinds[((const LogOp *)ops->pdata[0])->kind].send(batch);
    return batch;
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
    StoreTxn *txn = store_begin(mailbox->engine->store, false, error);
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
