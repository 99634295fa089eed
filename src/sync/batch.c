/* batch.c - one batch of the log on its way: put on the wire, and asked after.
 *
 * The rule: what an operation came to is decided by what the server has afterwards (a UID FETCH
 * behind the commands that change, on the same line), not by the words of the answers. A batch that
 * is cut leaves its operations as they were: flags set twice are the same flags. */
#include "batch.h"

#include "imapfs/base/clock.h"
#include "imapfs/base/error.h"
#include "imapfs/base/fault.h"
#include "imapfs/base/limits.h"
#include "imapfs/base/log.h"

#define FETCH_OVERHEAD 64
#define PAUSE_MAX_MS (15 * 60 * 1000)

/* The kinds of operations: how a batch of one kind is put on the wire. What is claimed is of one
 * kind: the operations of a mailbox that are adjacent in the log. */
static void send_flags(Batch *batch);
static const struct {
    void (*send)(Batch *batch);
} kinds[] = {
    [LOG_FLAGS] = {send_flags},
};

void batch_unref(Batch *batch)
{
    if (--batch->refs > 0)
        return;
    engine_timer_clear(&batch->settle);
    g_hash_table_unref(batch->by_uid);
    g_ptr_array_unref(batch->again);
    g_ptr_array_unref(batch->refused);
    g_ptr_array_unref(batch->items);
    g_ptr_array_unref(batch->ops);
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

bool batch_can_send(const Batch *batch)
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
    if (batch->again->len > 0 && batch_can_send(batch)) {
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
    g_free(item->flags);
    item->flags = flags_to_text(&fetch->flags);
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
    if (!in_order && batch_can_send(batch))
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
