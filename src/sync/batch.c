/* batch.c - one batch of the log on its way: its beginning, its commands, and the question what the
 * server has afterwards.
 *
 * What is claimed is of one kind and to one mailbox: operations that are adjacent in the log. The
 * rule: no answer is believed that the mailbox does not bear out, where it can be asked. */
#include "batch.h"

#include "imapfs/base/clock.h"
#include "imapfs/base/limits.h"
#include "imapfs/base/log.h"

#define FETCH_OVERHEAD 64
#define PAUSE_MAX_MS (15 * 60 * 1000)

static const BatchKind *const kinds[] = {
    [LOG_FLAGS] = &flags_kind,     [LOG_MOVE] = &place_kind,    [LOG_COPY] = &place_kind,
    [LOG_EXPUNGE] = &expunge_kind, [LOG_APPEND] = &append_kind,
};

/* --- its end --- */

void batch_unref(Batch *batch)
{
    if (--batch->refs > 0)
        return;
    engine_timer_clear(&batch->settle);
    if (batch->lease)
        pool_release(batch->lease);
    g_hash_table_unref(batch->by_uid);
    g_ptr_array_unref(batch->again);
    g_ptr_array_unref(batch->refused);
    g_ptr_array_unref(batch->groups);
    g_ptr_array_unref(batch->halves);
    g_ptr_array_unref(batch->items);
    g_ptr_array_unref(batch->ops);
    g_free(batch->to_name);
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

bool batch_can_send(const Batch *batch)
{
    return !batch->lost && batch->mailbox->session &&
           batch->generation == batch->mailbox->generation;
}

bool batch_is_still_ours(const Batch *batch)
{
    return !batch->mailbox->gone && batch->mailbox->box == batch->box;
}

/* --- commands --- */

Command *batch_command_new(Batch *batch, CommandDone done, gpointer data)
{
    batch->refs++;
    batch->in_flight++;
    return command_new(LANE_FOREGROUND, done, data);
}

void batch_command_over(Batch *batch)
{
    if (--batch->in_flight == 0)
        batch->kind->wave_end(batch);
    batch_unref(batch);
}

void batch_note_answer(Batch *batch, Outcome outcome, const Response *tagged)
{
    batch->lost |= outcome == OUTCOME_LOST;
    if (!tagged)
        return;
    if (tagged->code == CODE_OVERQUOTA)
        batch->mailbox->engine->quota_us = 0; /* asked for again when the batch is over */
    if (outcome == OUTCOME_LATER && tagged->backoff_ms > 0)
        batch->mailbox->engine->replay.pause_us =
            clock_mono_us() + 1000 * MIN(tagged->backoff_ms, PAUSE_MAX_MS);
}

/* A session of Courier works on what it last read of the mailbox: it says OK to changes of what
 * another client has expunged, and a STORE of one keyword takes away those that others have set
 * since (measured). NOOP makes it read again, and costs nothing on the same line. Servers with
 * CONDSTORE keep count of changes, and have no such view. */
void batch_ask_for_news(Batch *batch)
{
    Session *session = batch->mailbox->session;
    if (session_condstore(session))
        return;
    mailbox_ask_for_news(session, NULL, NULL);
}

/* --- groups --- */

static gint by_uid(gconstpointer a, gconstpointer b)
{
    guint32 x = (*(const Item *const *)a)->op->uid, y = (*(const Item *const *)b)->op->uid;
    return x < y ? -1 : x > y;
}

static void cut_group(const GPtrArray *items, gsize room, GPtrArray *out)
{
    g_autoptr(UidSet) all = plan_uids(items);
    guint at = 0;
    while (at < items->len) {
        g_autoptr(UidSet) some = uidset_take(all, LIMIT_COMMAND_UIDS, room);
        GPtrArray *group = g_ptr_array_new();
        for (guint64 n = uidset_count(some); n > 0 && at < items->len; n--)
            g_ptr_array_add(group, items->pdata[at++]);
        g_ptr_array_add(out, group);
    }
}

GPtrArray *batch_group(const Batch *batch, gsize used)
{
    gsize limit = session_line_limit(batch->mailbox->session);
    gsize room = limit > used ? limit - used : 0;
    GPtrArray *out = g_ptr_array_new_with_free_func((GDestroyNotify)g_ptr_array_unref);
    g_autoptr(GPtrArray) together = g_ptr_array_new();
    for (guint i = 0; i < batch->items->len; i++) {
        Item *item = batch->items->pdata[i];
        if (item->outcome != OUTCOME_DONE)
            continue; /* it is decided already */
        if (item->op->attempts == 0) {
            g_ptr_array_add(together, item);
            continue;
        }
        GPtrArray *alone = g_ptr_array_new();
        g_ptr_array_add(alone, item);
        g_ptr_array_add(out, alone);
    }
    g_ptr_array_sort(together, by_uid);
    cut_group(together, room, out);
    return out;
}

static void halve(Batch *batch, const GPtrArray *group)
{
    g_autoptr(GPtrArray) left = g_ptr_array_new();
    for (guint i = 0; i < group->len; i++)
        if (((const Item *)group->pdata[i])->told)
            g_ptr_array_add(left, group->pdata[i]);
    for (guint from = 0, half = (left->len + 1) / 2; from < left->len; from += half) {
        GPtrArray *piece = g_ptr_array_new();
        for (guint i = from; i < MIN(from + half, left->len); i++)
            g_ptr_array_add(piece, left->pdata[i]);
        g_ptr_array_add(batch->groups, piece);
    }
}

static bool was_refused_together(const GPtrArray *members)
{
    return members->len > 1 && ((const Item *)members->pdata[0])->answer == OUTCOME_REFUSED;
}

void batch_halve_refused(Batch *batch)
{
    for (guint i = 0; batch_can_send(batch) && i < batch->halves->len; i++)
        if (was_refused_together(batch->halves->pdata[i]))
            halve(batch, batch->halves->pdata[i]);
    g_ptr_array_set_size(batch->halves, 0);
}

/* --- UID FETCH: what the server has now --- */

typedef struct {
    Batch *batch;
    UidSet *uids;
} Asked;

static void ask_again(Batch *batch, const UidSet *uids);

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

/* Silence means that the message is not there (RFC 2180 4.1.2), unless this session was never told
 * of it: another one has placed it, and Dovecot answers by its old view (measured). A server that
 * has answered the FETCH before the STOREs is asked again. */
static void take_answers(Batch *batch, const UidSet *uids)
{
    bool in_order = batch->stores == 0;
    for (guint i = 0; i < batch->items->len; i++) {
        Item *item = batch->items->pdata[i];
        if (!uidset_contains(uids, item->op->uid))
            continue;
        item->told &= in_order;
        bool in_view = item->op->uid < batch->view_uidnext;
        item->silent = in_order && !item->told && in_view;
        if (!in_view && !item->told)
            batch->mailbox->placed_uid = MAX(batch->mailbox->placed_uid, item->op->uid);
    }
    if (!in_order && batch_can_send(batch))
        ask_again(batch, uids);
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
    batch_command_over(batch);
}

static void fetch_send(Batch *batch, UidSet *uids /* takes */)
{
    Session *session = batch->mailbox->session;
    Asked *asked = g_new(Asked, 1);
    *asked = (Asked){batch, uids};
    Command *command = batch_command_new(batch, on_fetch_done, asked);
    command_text_add(command->text, "UID FETCH ");
    command_text_add_uids(command->text, uids);
    command_text_add(command->text, " (UID FLAGS%s)", session_condstore(session) ? " MODSEQ" : "");
    command->wants = 1ull << RESP_FETCH;
    command->expected = (guint)uidset_count(uids);
    command->on_untagged = on_fetch;
    session_submit(session, command);
}

static void ask_again(Batch *batch, const UidSet *uids)
{
    gsize room = session_line_limit(batch->mailbox->session) - FETCH_OVERHEAD;
    g_autoptr(UidSet) left = uidset_copy(uids);
    while (!uidset_is_empty(left))
        fetch_send(batch, uidset_take(left, LIMIT_COMMAND_UIDS, room));
}

void batch_ask(Batch *batch, const UidSet *uids)
{
    for (guint i = 0; i < batch->items->len; i++) {
        Item *item = batch->items->pdata[i];
        if (uidset_contains(uids, item->op->uid))
            item->told = item->silent = false;
    }
    ask_again(batch, uids);
}

/* --- its beginning --- */

/* Somebody cares for what we are about to delete. */
static void check_marked(const Batch *batch, Item *item, const StoreBox *target)
{
    StoreMsg msg = {0};
    guint row = conflict_row(item->op, target);
    if (conflict_action(row, CONFLICT_MARKED) != ACTION_PARK ||
        !store_msg_get(store_reader(batch->mailbox->engine->store), batch->box, item->op->uid,
                       &msg))
        return;
    if (conflict_is_marked(item->op, msg.flags))
        item_note(item, OUTCOME_PARK, conflict_words(CONFLICT_MARKED), IMAPFS_ERROR_CONFLICT);
    store_msg_clear(&msg);
}

static GPtrArray *groups_new(void)
{
    return g_ptr_array_new_with_free_func((GDestroyNotify)g_ptr_array_unref);
}

/* The server's name of where it goes to: another than ours while a RENAME is pending. */
static char *name_of_target(Engine *engine, const LogOp *op)
{
    char *name = op->to_box ? replay_wire_name(engine, op->to_box) : NULL;
    return name ? name : g_strdup(op->target ? op->target : op->mailbox);
}

static Batch *batch_new(Mailbox *mailbox, GPtrArray *ops)
{
    Batch *batch = g_new0(Batch, 1);
    const LogOp *first = ops->pdata[0];
    batch->kind = kinds[first->kind];
    batch->mailbox = mailbox_ref(mailbox);
    batch->box = mailbox->box;
    batch->generation = mailbox->generation;
    batch->view_uidnext = mailbox->view_uidnext;
    batch->ops = ops;
    batch->items = g_ptr_array_new_with_free_func((GDestroyNotify)item_free);
    batch->by_uid = g_hash_table_new(NULL, NULL);
    batch->again = g_ptr_array_new_with_free_func(flag_store_free);
    batch->refused = g_ptr_array_new_with_free_func(flag_store_free);
    batch->groups = groups_new();
    batch->halves = groups_new();
    batch->to_name = name_of_target(mailbox->engine, first);
    batch->refs = 1;
    return batch;
}

bool batch_can_begin(LogKind kind)
{
    return (unsigned)kind < G_N_ELEMENTS(kinds) && kinds[kind] != NULL;
}

void batch_start(Mailbox *mailbox, GPtrArray *ops)
{
    StoreBox box = {0}, target = {0};
    StoreReader *reader = store_reader(mailbox->engine->store);
    Batch *batch = batch_new(mailbox, ops);
    store_box_by_id(reader, mailbox->box, &box);
    store_box_by_id(reader, ((const LogOp *)ops->pdata[0])->to_box, &target);
    batch->to_trash = target.attributes & LIST_TRASH;
    batch->to_known = target.mailboxid != NULL;
    for (guint i = 0; i < ops->len; i++) {
        Item *item = item_new(ops->pdata[i], &box);
        g_ptr_array_add(batch->items, item);
        if (item->op->kind != LOG_APPEND)
            g_hash_table_insert(batch->by_uid, GUINT_TO_POINTER(item->op->uid), item);
        check_marked(batch, item, &target);
    }
    store_box_clear(&box);
    store_box_clear(&target);
    log_debug("replay", "%s: %u of kind %s to be sent", mailbox->name, ops->len,
              log_kind_word(((const LogOp *)ops->pdata[0])->kind));
    mailbox->replay.batch = batch;
    batch->kind->send(batch);
}
