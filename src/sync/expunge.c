/* expunge.c - EXPUNGE on the wire: \Deleted, and UID EXPUNGE of our own UIDs (RFC 4315 2.1).
 *
 * The rule: never a plain EXPUNGE nor CLOSE, which would take what others have marked. Where there
 * is no UIDPLUS the message is marked and hidden here. All of it may be sent twice. */
#include "batch.h"

#include "imapfs/base/clock.h"
#include "imapfs/base/fault.h"
#include "imapfs/base/limits.h"
#include "imapfs/base/log.h"

#define EXPUNGE_OVERHEAD 64

/* One of the two commands for a group. */
typedef struct {
    Batch *batch;
    GPtrArray *members; /* of Item */
} Sent;

static void note_member(Item *item, Outcome outcome, const char *words, const Response *tagged)
{
    item->was_sent = true;
    if (outcome <= item->answer)
        return;
    item->answer = outcome;
    item_keep_reason(item, words, outcome_error(tagged));
}

static void on_done(Command *command, CommandResult result, const Response *tagged, gpointer data)
{
    Sent *sent = data;
    Batch *batch = sent->batch;
    Outcome outcome = outcome_of(result, tagged);
    g_autofree char *words = outcome_words(result, tagged);
    FAULT("replay.answer");
    batch->stores--;
    batch_note_answer(batch, outcome, tagged);
    for (guint i = 0; i < sent->members->len; i++)
        note_member(sent->members->pdata[i], outcome, words, tagged);
    g_ptr_array_unref(sent->members);
    g_free(sent);
    batch_command_over(batch);
}

static void send_one(Batch *batch, GPtrArray *members, const char *verb, const char *rest)
{
    g_autoptr(UidSet) uids = plan_uids(members);
    Sent *sent = g_new(Sent, 1);
    *sent = (Sent){batch, g_ptr_array_ref(members)};
    Command *command = batch_command_new(batch, on_done, sent);
    command_text_add(command->text, "%s", verb);
    command_text_add_uids(command->text, uids);
    command_text_add(command->text, "%s", rest);
    command->expected = 2 * members->len;
    batch->stores++;
    session_submit(batch->mailbox->session, command);
}

/* All on one line: the commands name UIDs alone, and are answered in order (RFC 9051 5.5). */
static void send_wave(Batch *batch)
{
    g_autoptr(GPtrArray) groups = g_steal_pointer(&batch->groups);
    g_autoptr(UidSet) uids = uidset_new();
    batch->groups = g_ptr_array_new_with_free_func((GDestroyNotify)g_ptr_array_unref);
    batch->refs++;
    batch->in_flight++;
    FAULT("replay.send");
    for (guint i = 0; i < groups->len; i++) {
        GPtrArray *members = groups->pdata[i];
        g_autoptr(UidSet) some = plan_uids(members);
        uidset_add_set(uids, some);
        for (guint m = 0; m < members->len; m++)
            ((Item *)members->pdata[m])->answer = OUTCOME_DONE;
        send_one(batch, members, "UID STORE ", " +FLAGS.SILENT (\\Deleted)");
        if (batch->uidplus)
            send_one(batch, members, "UID EXPUNGE ", "");
        g_ptr_array_add(batch->halves, g_ptr_array_ref(members));
    }
    batch_ask(batch, uids);
    FAULT("replay.sent");
    batch_command_over(batch);
}

static void expunge_wave_end(Batch *batch)
{
    batch_halve_refused(batch);
    if (batch->groups->len > 0)
        send_wave(batch);
    else
        batch_settle(batch);
}

static void expunge_send(Batch *batch)
{
    batch->uidplus = server_can(session_server(batch->mailbox->session), CAP_UIDPLUS) ||
                     server_can(session_server(batch->mailbox->session), CAP_IMAP4REV2);
    g_ptr_array_unref(batch->groups);
    batch->groups = batch_group(batch, EXPUNGE_OVERHEAD);
    batch->refs++;
    batch->in_flight++;
    batch_ask_for_news(batch);
    send_wave(batch);
    batch_command_over(batch);
}

/* --- what became of each --- */

static bool is_marked(const Item *item)
{
    g_auto(Flags) flags = {0};
    flags_parse(&flags, item->flags ? item->flags : "");
    return flags.system & FLAG_DELETED;
}

/* It is still there. */
static Outcome judge_kept(const Batch *batch, Item *item)
{
    if (item->answer != OUTCOME_DONE)
        return item->answer;
    if (!batch->uidplus && is_marked(item))
        return OUTCOME_DONE;
    item_keep_reason(item, "the server said that it deleted it, and has not", IMAPFS_ERROR_SERVER);
    return OUTCOME_UNKEPT;
}

static void expunge_judge(const Batch *batch, Item *item)
{
    if (item->outcome == OUTCOME_PARK && !item->was_sent)
        return;
    if (!item->was_sent)
        item->outcome = OUTCOME_LOST;
    else if (item->silent)
        item->outcome = OUTCOME_DONE; /* by us or by another: it is gone */
    else if (item->told)
        item->outcome = judge_kept(batch, item);
    else
        item->outcome = MAX(item->answer, OUTCOME_LOST);
}

static bool expunge_record(Batch *batch, StoreTxn *txn, const Item *item, GError **error)
{
    if (item->told)
        return log_hide(txn, item->op->seq, error);
    g_autoptr(UidSet) gone = uidset_new();
    uidset_add(gone, item->op->uid);
    return log_done(txn, item->op->seq, error) &&
           (!batch_is_still_ours(batch) ||
            (store_msg_remove(txn, batch->box, gone, NULL, error) &&
             store_box_touch(txn, batch->box, clock_real_ns(), error)));
}

const BatchKind expunge_kind = {
    .send = expunge_send,
    .wave_end = expunge_wave_end,
    .judge = expunge_judge,
    .record = expunge_record,
    .takes_away = true,
};
