/* append.c - APPEND on the wire: letters from the spool, streamed as literals.
 *
 * No mailbox is selected for it: any session will do. The rule: a letter is sent whole and once, or
 * its operation is UNSURE; its bytes here are only unlinked when it is recorded, durably, that the
 * server has them. At most a piece of a letter is in memory. */
#include "batch.h"

#include <sys/stat.h>
#include <unistd.h>

#include "imapfs/base/clock.h"
#include "imapfs/base/error.h"
#include "imapfs/base/fault.h"
#include "imapfs/base/limits.h"
#include "imapfs/base/log.h"
#include "imapfs/store/spool.h"

/* Submitted at a time: as many as the session has in flight, and the next. */
#define APPEND_AHEAD (2 * LIMIT_PIPELINE)
#define LAST_SECOND G_GINT64_CONSTANT(253402300799) /* of the year 9999 */

typedef struct {
    Batch *batch;
    Item *item;
} Sent;

static void append_more(Batch *batch);

/* --- what is sent --- */

/* date-time of RFC 9051; NULL: it has no such form, and the server takes its own clock. */
static char *date_text(gint64 seconds, gint32 zone)
{
    static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    zone = CLAMP(zone, -(99 * 60 + 59), 99 * 60 + 59);
    gint64 local = seconds + 60 * (gint64)zone;
    if (seconds <= 0 || local <= 0 || local > LAST_SECOND)
        return NULL;
    g_autoptr(GDateTime) at = g_date_time_new_from_unix_utc(local);
    if (!at)
        return NULL;
    guint minutes = (guint)ABS(zone);
    return g_strdup_printf("%02d-%s-%04d %02d:%02d:%02d %c%02u%02u",
                           g_date_time_get_day_of_month(at), months[g_date_time_get_month(at) - 1],
                           g_date_time_get_year(at), g_date_time_get_hour(at),
                           g_date_time_get_minute(at), g_date_time_get_second(at),
                           zone < 0 ? '-' : '+', minutes / 60, minutes % 60);
}

/* Those the mailbox keeps: some servers refuse the letter for the others. */
static char *flags_text(Batch *batch, const StoreMsg *msg)
{
    StoreBox box = {0};
    g_auto(Flags) flags = {0};
    flags_parse(&flags, msg->flags ? msg->flags : "");
    flags.system &= ~(guint32)FLAG_ANY_KEYWORD;
    if (store_box_by_id(store_reader(batch->mailbox->engine->store), batch->box, &box) &&
        box.permanent_flags) {
        g_auto(Flags) permanent = {0};
        g_auto(Flags) lost = {0};
        flags_parse(&permanent, box.permanent_flags);
        flags_add_all(&lost, &flags);
        flags_remove_all(&lost, &permanent);
        if (permanent.system & FLAG_ANY_KEYWORD && lost.keywords)
            g_clear_pointer(&lost.keywords, g_ptr_array_unref);
        flags_remove_all(&flags, &lost);
    }
    store_box_clear(&box);
    return flags_to_text(&flags);
}

static void refuse(Item *item, ImapfsError code, const char *why)
{
    item_note(item, OUTCOME_PARK, why, code);
}

/* Its bytes; -1: it cannot be sent, and the item knows. A limit of one mailbox (RFC 7889 3) is not
 * asked for: TOOBIG tells. */
static int open_letter(Batch *batch, Item *item, guint64 *size_out)
{
    const ServerInfo *server = session_server(batch->session);
    g_autoptr(GError) error = NULL;
    struct stat stat;
    int fd = spool_open(batch->mailbox->engine->store, item->op->to_n, &error);
    if (fd < 0) {
        bool gone = g_error_matches(error, IMAPFS_ERROR, IMAPFS_ERROR_GONE);
        item_note(item, gone ? OUTCOME_PARK : OUTCOME_LATER, error->message, IMAPFS_ERROR_STORE);
        return -1;
    }
    if (fstat(fd, &stat) != 0 || stat.st_size <= 0) {
        refuse(item, IMAPFS_ERROR_STORE, "its bytes here are damaged");
    } else if (server->append_limit && (guint64)stat.st_size > server->append_limit) {
        g_autofree char *why = g_strdup_printf(
            "%s: %" G_GUINT64_FORMAT " bytes, and it takes %" G_GUINT64_FORMAT,
            conflict_words(CONFLICT_TOO_BIG), (guint64)stat.st_size, server->append_limit);
        refuse(item, IMAPFS_ERROR_TOO_BIG, why);
    } else {
        *size_out = (guint64)stat.st_size;
        return fd;
    }
    close(fd);
    return -1;
}

/* --- what is answered --- */

static void take_answer(Sent *sent, bool was_sent, Outcome outcome, const Response *tagged)
{
    Item *item = sent->item;
    item->was_sent = was_sent;
    item->answer = outcome;
    item->placed = outcome == OUTCOME_DONE;
    if (item->placed && tagged && tagged->code == CODE_APPENDUID && tagged->uids &&
        uidset_count(tagged->uids) == 1 && tagged->number) { /* RFC 4315 3 */
        item->to_uidvalidity = (guint32)tagged->number;
        item->to_uid = uidset_ranges(tagged->uids, &(guint){0})[0].lo;
    }
}

static void on_done(Command *command, CommandResult result, const Response *tagged, gpointer data)
{
    Sent *sent = data;
    Batch *batch = sent->batch;
    Outcome outcome = outcome_of(result, tagged);
    FAULT("replay.answer");
    batch_note_answer(batch, outcome, tagged);
    batch->target_gone |= tagged && tagged->code == CODE_TRYCREATE;
    take_answer(sent, command_was_sent(command), outcome, tagged);
    if (outcome != OUTCOME_DONE && outcome != OUTCOME_LOST) {
        g_autofree char *words = outcome_words(result, tagged);
        item_keep_reason(sent->item, words, outcome_error(tagged));
    }
    g_free(sent);
    append_more(batch);
    batch_command_over(batch);
}

/* Bytes go as they are, also an 8-bit header where UTF8=ACCEPT is enabled: Courier takes it so, and
 * refuses the "UTF8 (~{n}...)" of RFC 6855 4 (measured). Who does insist on that says NO, and the
 * letter is parked with its words. */
static void send_letter(Batch *batch, Item *item)
{
    StoreMsg msg = {0};
    guint64 size = 0;
    StoreReader *reader = store_reader(batch->mailbox->engine->store);
    if (!store_msg_get(reader, STORE_BOX_PENDING, item->op->to_n, &msg)) {
        refuse(item, IMAPFS_ERROR_STORE, "nothing is known of it any more");
        return;
    }
    int fd = open_letter(batch, item, &size);
    if (fd >= 0) {
        g_autofree char *flags = flags_text(batch, &msg);
        g_autofree char *date = date_text(msg.internaldate, msg.zone);
        Sent *sent = g_new(Sent, 1);
        *sent = (Sent){batch, item};
        Command *command = batch_command_new(batch, on_done, sent);
        command_text_add(command->text, "APPEND ");
        command_text_add_mailbox(command->text, batch->to_name, session_utf8(batch->session));
        command_text_add(command->text, *flags ? " (%s)" : "%s", flags);
        command_text_add(command->text, date ? " \"%s\" " : "%s ", date ? date : "");
        command_text_add_literal_file(command->text, fd, size);
        session_submit(batch->session, command);
    }
    store_msg_clear(&msg);
}

/* --- waves --- */

static void append_more(Batch *batch)
{
    while (!batch->lost && batch->next < batch->items->len && batch->in_flight < APPEND_AHEAD)
        send_letter(batch, batch->items->pdata[batch->next++]);
}

static void on_lease(PoolLease *lease, Session *session, const GError *error, gpointer data)
{
    Batch *batch = data;
    batch->lease = lease;
    batch->session = session;
    batch->lost |= session == NULL;
    FAULT("replay.send");
    append_more(batch);
    FAULT("replay.sent");
    batch_command_over(batch);
}

static void append_send(Batch *batch)
{
    batch->in_flight++;
    batch->refs++;
    pool_lease(batch->mailbox->engine->pool, NULL, LANE_FOREGROUND, on_lease, batch);
}

static void append_wave_end(Batch *batch)
{
    PoolLease *lease = g_steal_pointer(&batch->lease);
    batch->session = NULL;
    if (lease)
        pool_release(lease);
    batch_settle(batch);
}

static void append_judge(const Batch *batch, Item *item)
{
    if (!item->was_sent) { /* the connection, or a reason of our own */
        if (item->outcome == OUTCOME_DONE)
            item->outcome = OUTCOME_LOST;
    } else if (item->placed) {
        item->outcome = OUTCOME_DONE;
    } else {
        item->outcome = item->answer == OUTCOME_LOST ? OUTCOME_UNSURE : item->answer;
    }
}

static bool append_record(Batch *batch, StoreTxn *txn, const Item *item, GError **error)
{
    return log_placed(txn, item->op->seq, item->to_uidvalidity, item->to_uid, false, error);
}

const BatchKind append_kind = {
    .send = append_send,
    .wave_end = append_wave_end,
    .judge = append_judge,
    .record = append_record,
    .durable = true,
};
