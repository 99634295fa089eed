/* flags.c - FLAGS on the wire: UID STORE, and behind it the question what came of it.
 *
 * The rule: what an operation came to is decided by what the server has afterwards, not by the
 * words of the answers. A batch that is cut leaves its operations as they were: flags set twice are
 * the same flags. */
#include "batch.h"

#include <string.h>

#include "imapfs/base/fault.h"
#include "imapfs/base/limits.h"
#include "imapfs/base/log.h"

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
    batch_note_answer(batch, outcome, tagged);
    if (outcome == OUTCOME_REFUSED && sent->store->members->len > 1) {
        g_ptr_array_add(batch->refused, g_steal_pointer(&sent->store));
    } else if (outcome != OUTCOME_DONE) {
        for (guint i = 0; i < sent->store->members->len; i++)
            item_note(sent->store->members->pdata[i], outcome, words, outcome_error(tagged));
    }
    sent_free(sent);
    batch_command_over(batch);
}

static void store_send(Batch *batch, FlagStore *store /* takes */)
{
    Sent *sent = g_new(Sent, 1);
    *sent = (Sent){batch, store};
    g_autoptr(UidSet) uids = plan_uids(store->members);
    Command *command = batch_command_new(batch, on_store_done, sent);
    command_text_add(command->text, "UID STORE ");
    command_text_add_uids(command->text, uids);
    command_text_add(command->text, " %cFLAGS.SILENT (%s)", store->minus ? '-' : '+', store->flags);
    command->expected = store->members->len; /* CONDSTORE: MODSEQ of each (RFC 7162 3.1.3) */
    batch->stores++;
    session_submit(batch->mailbox->session, command);
}

/* --- waves --- */

/* Stores, and behind them on the same line the question what came of it. A server that is asked
 * both at once answers them in this order (RFC 9051 5.5). */
static void wave_send(Batch *batch, GPtrArray *stores)
{
    g_autoptr(UidSet) uids = uidset_new();
    batch->in_flight++; /* holds the end back until all are submitted */
    batch->refs++;
    FAULT("replay.send");
    while (stores->len > 0) {
        FlagStore *store = g_ptr_array_steal_index(stores, 0);
        g_autoptr(UidSet) some = plan_uids(store->members);
        uidset_add_set(uids, some);
        store_send(batch, store);
    }
    batch_ask(batch, uids);
    FAULT("replay.sent");
    batch_command_over(batch);
}

static void flags_wave_end(Batch *batch)
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

static void flags_send(Batch *batch)
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
    batch_ask_for_news(batch);
    wave_send(batch, stores);
    g_autoptr(UidSet) more = plan_uids(unsent);
    batch_ask(batch, more);
    batch_command_over(batch);
}

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

static void flags_judge(const Batch *batch, Item *item)
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

static bool flags_record(Batch *batch, StoreTxn *txn, const Item *item, GError **error)
{
    return log_done(txn, item->op->seq, error);
}

const BatchKind flags_kind = {
    .send = flags_send,
    .wave_end = flags_wave_end,
    .judge = flags_judge,
    .record = flags_record,
};
