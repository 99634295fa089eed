/* place.c - MOVE and COPY on the wire: UID MOVE (RFC 6851), UID COPY, and what COPYUID says of it.
 *
 * The rule: nothing that places a message is sent twice on a guess. What was answered is settled
 * message by message: by its pair in COPYUID, else by whether it is still where it was; what cannot
 * be known is UNSURE, and looked for where it was to go. Where there is no MOVE, a source is only
 * deleted when its copy has a number, or was seen (probe.c). */
#include "batch.h"
#include "copyuid.h"

#include <string.h>

#include "imapfs/base/fault.h"
#include "imapfs/base/limits.h"
#include "imapfs/base/log.h"

#define PLACE_OVERHEAD 64 /* tag, verb and quotes */

/* One UID MOVE or UID COPY. */
typedef struct {
    Batch *batch;
    GPtrArray *members;     /* of Item */
    UidSet *uids;           /* of them */
    GHashTable *pairs;      /* source -> destination */
    guint32 uidvalidity;    /* of the destination */
    bool paired, distrusts; /* a COPYUID came; one that made no sense did */
} Sent;

static void sent_free(Sent *sent)
{
    g_ptr_array_unref(sent->members);
    uidset_free(sent->uids);
    g_hash_table_unref(sent->pairs);
    g_free(sent);
}

/* --- answers --- */

/* COPYUID may come in several parts, and before or in the tagged answer (RFC 6851 4.3). */
static bool take_copyuid(Sent *sent, const Response *response)
{
    if (response->code != CODE_COPYUID || !response->source_uids)
        return false;
    bool other = sent->paired && sent->uidvalidity != response->number;
    if (!other && copyuid_read(response, sent->uids, sent->pairs)) {
        sent->uidvalidity = (guint32)response->number;
        sent->paired = true;
        return true;
    }
    g_autoptr(UidSet) foreign = uidset_copy(sent->uids);
    uidset_remove_set(foreign, response->source_uids);
    if (uidset_count(foreign) == uidset_count(sent->uids))
        return false; /* of none of ours: another command's */
    log_warn("replay", "%s: a COPYUID that makes no sense", sent->batch->mailbox->name);
    sent->distrusts = true;
    return true;
}

static bool on_untagged(Command *command, Response *response, gpointer data)
{
    FAULT("replay.copyuid");
    return take_copyuid(data, response);
}

static void note_member(const Sent *sent, Item *item, Outcome outcome, const char *words,
                        const Response *tagged)
{
    gpointer to = NULL;
    item->was_sent = true;
    item->answer = outcome;
    item->paired = sent->paired && !sent->distrusts;
    if (item->paired &&
        g_hash_table_lookup_extended(sent->pairs, GUINT_TO_POINTER(item->op->uid), NULL, &to)) {
        item->placed = true;
        item->to_uid = GPOINTER_TO_UINT(to);
        item->to_uidvalidity = sent->uidvalidity;
    } else if (outcome != OUTCOME_DONE && outcome != OUTCOME_LOST) {
        item_keep_reason(item, words, outcome_error(tagged));
    }
}

static bool is_all_placed(const GPtrArray *members)
{
    for (guint i = 0; i < members->len; i++)
        if (!((const Item *)members->pdata[i])->placed)
            return false;
    return true;
}

static void on_done(Command *command, CommandResult result, const Response *tagged, gpointer data)
{
    Sent *sent = data;
    Batch *batch = sent->batch;
    Outcome outcome = outcome_of(result, tagged);
    g_autofree char *words = outcome_words(result, tagged);
    FAULT("replay.answer");
    if (tagged)
        take_copyuid(sent, tagged);
    batch_note_answer(batch, outcome, tagged);
    if (tagged && tagged->code == CODE_TRYCREATE)
        batch->target_gone = true;
    for (guint i = 0; command_was_sent(command) && i < sent->members->len; i++)
        note_member(sent, sent->members->pdata[i], outcome, words, tagged);
    if (!is_all_placed(sent->members) && outcome != OUTCOME_LOST) {
        batch->look_again |= outcome == OUTCOME_DONE;
        g_ptr_array_add(batch->halves, g_ptr_array_ref(sent->members));
    }
    sent_free(sent);
    batch_command_over(batch);
}

/* --- waves --- */

static void send_group(Batch *batch, GPtrArray *members)
{
    Session *session = batch->mailbox->session;
    Sent *sent = g_new0(Sent, 1);
    sent->batch = batch;
    sent->members = g_ptr_array_ref(members);
    sent->uids = plan_uids(members);
    sent->pairs = g_hash_table_new(NULL, NULL);
    Command *command = batch_command_new(batch, on_done, sent);
    command_text_add(command->text, batch->by_copy ? "UID COPY " : "UID MOVE ");
    command_text_add_uids(command->text, sent->uids);
    command_text_add(command->text, " ");
    command_text_add_mailbox(command->text, batch->to_name, session_utf8(session));
    command->wants = 1ull << RESP_OK | 1ull << RESP_NO;
    command->expected = 2 * members->len;
    command->on_untagged = on_untagged;
    session_submit(session, command);
}

/* The groups of this wave; a group that is refused is asked after before it is halved. */
static void send_wave(Batch *batch)
{
    g_autoptr(GPtrArray) groups = g_steal_pointer(&batch->groups);
    batch->groups = g_ptr_array_new_with_free_func((GDestroyNotify)g_ptr_array_unref);
    batch->asked = false;
    batch->refs++;
    batch->in_flight++; /* holds the end back until all are submitted */
    FAULT("replay.send");
    for (guint i = 0; i < groups->len; i++)
        send_group(batch, groups->pdata[i]);
    FAULT("replay.sent");
    batch_command_over(batch);
}

/* What COPYUID did not name: is it still there? */
static bool ask_wave(Batch *batch)
{
    g_autoptr(UidSet) open = uidset_new();
    for (guint i = 0; i < batch->halves->len; i++) {
        const GPtrArray *members = batch->halves->pdata[i];
        for (guint m = 0; m < members->len; m++) {
            const Item *item = members->pdata[m];
            if (!item->placed)
                uidset_add(open, item->op->uid);
        }
    }
    if (batch->asked || uidset_is_empty(open) || !batch_can_send(batch))
        return false;
    batch->asked = true;
    batch->refs++;
    batch->in_flight++;
    batch_ask_for_news(batch);
    batch_ask(batch, open);
    batch_command_over(batch);
    return true;
}

static void place_wave_end(Batch *batch)
{
    if (ask_wave(batch))
        return;
    batch_halve_refused(batch);
    if (batch->groups->len > 0)
        send_wave(batch);
    else
        batch_settle(batch);
}

static void place_send(Batch *batch)
{
    const LogOp *first = batch->ops->pdata[0];
    Session *session = batch->mailbox->session;
    batch->by_copy = first->kind == LOG_COPY || !server_can(session_server(session), CAP_MOVE);
    g_ptr_array_unref(batch->groups);
    batch->groups = batch_group(batch, PLACE_OVERHEAD + 3 * strlen(batch->to_name));
    batch->refs++;
    batch->in_flight++;
    batch_ask_for_news(batch);
    send_wave(batch);
    batch_command_over(batch);
}

/* --- what became of each --- */

/* OK was said, and COPYUID does not name it. */
static Outcome judge_unnamed(const Batch *batch, Item *item)
{
    bool copy = item->op->kind == LOG_COPY;
    if (!batch->by_copy && item->silent) { /* it went; if COPYUID named others, not by us */
        item->placed = !item->paired;
        return item->paired ? OUTCOME_GONE : OUTCOME_DONE;
    }
    if (!batch->by_copy && item->told) {
        item_keep_reason(item, "the server said that it moved it, and has not",
                         IMAPFS_ERROR_SERVER);
        return OUTCOME_UNKEPT;
    }
    if (batch->by_copy && item->silent && item->paired)
        return OUTCOME_GONE;
    if (copy && item->told && !item->paired) { /* no UIDPLUS: where it is shows by itself */
        item->placed = true;
        return OUTCOME_DONE;
    }
    return copy && item->silent ? OUTCOME_GONE : OUTCOME_UNSURE;
}

/* NO or BAD: of a MOVE some may have been moved (RFC 6851 3.3), of a COPY none. */
static Outcome judge_refused(const Batch *batch, const Item *item)
{
    if (item->told || (batch->by_copy && !item->silent))
        return item->answer;
    return batch->by_copy ? OUTCOME_GONE : OUTCOME_UNSURE;
}

static void place_judge(const Batch *batch, Item *item)
{
    if (!item->was_sent) {
        if (item->outcome != OUTCOME_PARK)
            item->outcome = OUTCOME_LOST;
    } else if (item->placed) {
        item->outcome = OUTCOME_DONE;
    } else if (item->answer == OUTCOME_LOST) {
        item->outcome = OUTCOME_UNSURE;
    } else if (item->answer == OUTCOME_DONE) {
        item->outcome = judge_unnamed(batch, item);
    } else {
        item->outcome = judge_refused(batch, item);
    }
}

static bool place_record(Batch *batch, StoreTxn *txn, const Item *item, GError **error)
{
    bool still_there = batch->by_copy && item->op->kind == LOG_MOVE;
    return log_placed(txn, item->op->seq, item->to_uidvalidity, item->to_uid, still_there, error);
}

const BatchKind place_kind = {
    .send = place_send,
    .wave_end = place_wave_end,
    .judge = place_judge,
    .record = place_record,
    .takes_away = true,
};
