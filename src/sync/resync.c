/* resync.c - makes the rows of a mailbox what the server has, one phase after the other:
 *
 *   1 flags   what changed on messages we know: came with SELECT (QRESYNC), or FETCH CHANGEDSINCE
 *             (CONDSTORE), or FETCH FLAGS of everything
 *   2 new     messages after the last known one; for a mailbox never seen, all of them
 *   3 verify  as many rows as EXISTS says; if not, the UIDs are compared (SEARCH) and what is
 * missing is fetched, what is gone is dropped 4 done    recorded, and whoever waited is told
 *
 * A first listing is phase 2 from UID 1; one that was cut short goes on where it ended, as phase 1
 * brings what is there up to date. Each phase leaves the rows true if nothing follows.
 *
 * Of a mailbox never seen, the beginning of phase 2 is sent behind SELECT, before that is answered.
 * What comes of it counts when SELECT succeeded, and then it is that mailbox's: a server has the
 * old one selected until SELECT's answer, and none after a refusal (RFC 9051 6.3.2). */
#include "sync.h"

#include <string.h>

#include "imapfs/base/clock.h"
#include "imapfs/base/error.h"
#include "imapfs/base/limits.h"
#include "imapfs/base/log.h"
#include "imapfs/mime/decode.h"
#include "imapfs/mime/name.h"

#define SOON_MS 10
#define FULL_FLAGS_MIN_MS 100
#define LISTING_ROOM 500 /* octets of a command besides UIDs */
#define LISTING_IN_FLIGHT 7
#define LISTING_BATCH 500                /* written at once, ... */
#define LISTING_BYTES (4u * 1024 * 1024) /* ... or so many bytes of texts */
#define TEXT_MAX (64u * 1024)            /* of a text that is kept; no attribute holds more */
#define LISTING_STEP                                                              \
    1000 /* of a command; Dovecot works on four, and the others are to last for a \
            round trip */
#define STRUCTURES_FIRST 8 /* are asked for while a first listing comes: it is seldom all */
#define PROGRESS_EVERY 32
#define PROGRESS_SHOWN_FROM 2000 /* messages: below it a listing is over before it can be seen */
#define MAX_VERIFY_ROUNDS 2
#define FOUND_BEYOND 1000 /* messages that SEARCH may find beyond twice as many as there are */
#define FEW_TOLD 10       /* messages that are named in events */

/* FETCH of the metadata of many messages: a range that is cut into steps, or a set. */
struct Listing {
    Mailbox *mailbox; /* a reference */
    guint generation;
    bool early;   /* SELECT is not answered yet */
    bool first;   /* it was never listed */
    guint64 next; /* of the range: the next UID to ask for; 0: none */
    guint64 last; /* G_MAXUINT64: "*" */
    guint64 step;
    guint32 floor; /* UIDs below are not ours ("n:*" past the end brings the last message) */
    UidSet *todo;  /* or this set */
    guint32 known; /* up to it the messages came, and more is asked of them: that is not ours */
    guint in_flight;
    guint64 n_done, n_expected;
    GPtrArray *batch; /* of StoreMsg * */
    gsize bytes;      /* of their texts */
    GError *error;
};

/* --- helpers --- */

static void msg_free(gpointer data)
{
    store_msg_clear(data);
    g_free(data);
}

static Job *waiting_job(Mailbox *mailbox)
{
    return job_find(mailbox->engine, NEED_MAILBOX, mailbox->box, 0, 0, NULL);
}

static void note_progress(Mailbox *mailbox)
{
    Job *job = waiting_job(mailbox);
    if (job)
        job_progress(job);
}

static guint32 last_uid(Mailbox *mailbox)
{
    return store_msg_last_uid(store_reader(mailbox->engine->store), mailbox->box);
}

static void resync_failed(Mailbox *mailbox, const GError *error)
{
    mailbox->syncing = false;
    log_info("sync", "%s: %s", mailbox->name, error->message);
    replay_on_unsynced(mailbox, error);
    mailbox_sync_over(mailbox);
    if (mailbox->engine->shared.progress.total)
        engine_set_progress(mailbox->engine, "", 0, 0);
    Job *job = waiting_job(mailbox);
    if (!job)
        return;
    if (g_error_matches(error, IMAPFS_ERROR, IMAPFS_ERROR_LOST))
        job_retry(job, mailbox_job_start, error);
    else
        job_finish(job, error);
}

/* A phase's commands ended: on to the next phase, or all of it failed. */
static void phase_end(Mailbox *mailbox, guint generation, guint bits, const GError *error)
{
    mailbox_ref(mailbox);
    if (error) {
        mailbox->dirty |= bits; /* still to do, if it is selected still */
        resync_failed(mailbox, error);
    } else if (generation == mailbox->generation) {
        mailbox->syncing = false;
        mailbox_flush(mailbox);
        resync_run(mailbox);
    }
    mailbox_release(mailbox, generation);
    mailbox_unref(mailbox);
}

typedef struct {
    Mailbox *mailbox;
    guint generation;
    guint bits;
    UidSet *seen;  /* full FLAGS: what is there; SEARCH: what it found */
    UidSet *guess; /* SEARCH: what may be gone; NULL: all are asked for */
    guint32 witness;
    bool answered;  /* SEARCH came */
    guint32 exists; /* when it was asked */
    gint64 since_us;
} Phase;

static Phase *phase_new(Mailbox *mailbox, guint bits)
{
    Phase *phase = g_new0(Phase, 1);
    phase->mailbox = mailbox_ref(mailbox);
    phase->generation = mailbox->generation;
    phase->bits = bits;
    phase->exists = mailbox->exists;
    phase->since_us = clock_mono_us();
    return phase;
}

static void phase_free(Phase *phase)
{
    mailbox_unref(phase->mailbox);
    uidset_free(phase->seen);
    uidset_free(phase->guess);
    g_free(phase);
}

static void note_in_view(Mailbox *mailbox, guint32 uid)
{
    if (uid >= mailbox->view_uidnext)
        mailbox->view_uidnext = uid == G_MAXUINT32 ? uid : uid + 1;
    if (uid >= mailbox->placed_uid)
        mailbox->placed_uid = 0;
}

/* Drops those of the rows that are not in `there`. What was placed since, on another session, is
 * not in this one's view. Where SELECT told no UIDNEXT (Courier), the view ends with the last
 * message that was told, and what was behind that, and was not placed, is gone. So is what was in
 * the view before UIDNEXT went back. */
static void drop_absent(Mailbox *mailbox, UidSet *rows, const UidSet *there)
{
    guint32 end = MAX(mailbox->view_uidnext, mailbox->was_uidnext);
    uidset_remove_set(rows, there);
    if (mailbox->view_is_told || mailbox_is_behind(mailbox))
        uidset_remove_range(rows, MAX(end, 1), G_MAXUINT32);
    uidset_add_set(mailbox->vanished, rows);
}

static UidSet *rows_of(const Mailbox *mailbox)
{
    return store_msg_uids(store_reader(mailbox->engine->store), mailbox->box);
}

/* --- phase 1: flags --- */

static bool on_flags(Command *command, Response *response, gpointer data)
{
    Phase *phase = data;
    if (phase->seen && response->fetch && response->fetch->present & FETCH_UID) {
        uidset_add(phase->seen, response->fetch->uid);
        note_in_view(phase->mailbox, response->fetch->uid);
    }
    return false; /* the flags themselves are news like any other */
}

static void on_flags_done(Command *command, CommandResult result, const Response *tagged,
                          gpointer data)
{
    Phase *phase = data;
    Mailbox *mailbox = phase->mailbox;
    g_autoptr(GError) error = NULL;
    if (result != COMMAND_OK)
        error = error_from_result(result, tagged, "flags");
    else if (phase->seen && phase->generation == mailbox->generation) {
        mailbox->flags_us = clock_mono_us() - phase->since_us;
        if (uidset_count(phase->seen) >= mailbox->exists) { /* else a search tells what is gone */
            g_autoptr(UidSet) rows = rows_of(mailbox);
            drop_absent(mailbox, rows, phase->seen);
        }
    }
    phase_end(mailbox, phase->generation, phase->bits, error);
    phase_free(phase);
}

/* There is no asking for them in a mailbox that has none now (RFC 7162 3.1.2.2), and no use in it
 * where they went back. */
static bool modseqs_go_on(const Mailbox *mailbox)
{
    return session_condstore(mailbox->session) && mailbox->highestmodseq &&
           mailbox->select_modseq >= mailbox->highestmodseq;
}

static void phase_flags(Mailbox *mailbox)
{
    Phase *phase = phase_new(mailbox, DIRTY_FLAGS);
    Command *command = command_new(LANE_FOREGROUND, on_flags_done, phase);
    if (modseqs_go_on(mailbox)) {
        command_text_add(command->text,
                         "UID FETCH 1:* (FLAGS) (CHANGEDSINCE %" G_GUINT64_FORMAT ")",
                         mailbox->highestmodseq);
    } else {
        command_text_add(command->text, "UID FETCH 1:* (FLAGS)");
        phase->seen = uidset_new();
    }
    command->wants = 1ull << RESP_FETCH;
    command->expected = mailbox->exists;
    command->on_untagged = on_flags;
    session_submit(mailbox->session, command);
}

/* --- phase 2: new messages --- */

static void listing_free(Listing *listing)
{
    g_ptr_array_unref(listing->batch);
    uidset_free(listing->todo);
    g_clear_error(&listing->error);
    g_free(listing);
}

static bool write_batch(Listing *listing, bool listed, GArray *is_new, LogEffects *effects_out,
                        GError **error)
{
    Mailbox *mailbox = listing->mailbox;
    StoreTxn *txn = store_begin(mailbox->engine->store, false, error);
    if (!txn)
        return false;
    bool ok = true, any = false;
    for (guint i = 0; ok && i < listing->batch->len; i++) {
        bool fresh = false;
        ok = store_msg_put(txn, mailbox->box, g_ptr_array_index(listing->batch, i), &fresh, error);
        g_array_append_val(is_new, fresh);
        any |= fresh;
    }
    if (ok && any && listed)
        ok = store_box_touch(txn, mailbox->box, clock_real_ns(), error);
    if (!ok) {
        store_rollback(txn);
        return false;
    }
    *effects_out = *log_effects(txn);
    return store_commit(txn, error);
}

/* In events: by name while they are few. A first listing is told when it is whole. */
static void tell_new(Listing *listing, const GArray *is_new)
{
    Mailbox *mailbox = listing->mailbox;
    guint n = 0;
    for (guint i = 0; i < is_new->len; i++)
        n += g_array_index(is_new, bool, i);
    if (n > FEW_TOLD)
        events_add_count(mailbox->engine, "new", mailbox->name, n, "message");
    for (guint i = 0; n <= FEW_TOLD && i < is_new->len; i++) {
        const StoreMsg *msg = g_ptr_array_index(listing->batch, i);
        if (g_array_index(is_new, bool, i))
            events_add_message(mailbox->engine, "new", mailbox->name, msg->name, msg->uid);
    }
}

static bool box_is_listed(Mailbox *mailbox)
{
    StoreBox box = {0};
    bool listed =
        store_box_by_id(store_reader(mailbox->engine->store), mailbox->box, &box) && box.listed;
    store_box_clear(&box);
    return listed;
}

static void listing_flush(Listing *listing)
{
    Mailbox *mailbox = listing->mailbox;
    Engine *engine = mailbox->engine;
    const EngineEvents *events = &engine->config.events;
    if (listing->batch->len == 0 || listing->error)
        return;
    bool listed = box_is_listed(mailbox);
    g_autoptr(GArray) is_new = g_array_new(FALSE, FALSE, sizeof(bool));
    LogEffects effects = {0};
    if (!write_batch(listing, listed, is_new, &effects, &listing->error))
        return;
    if (listed)
        tell_new(listing, is_new);
    replay_tell_effects(engine, mailbox->name, &effects);
    for (guint i = 0; listed && events->msg_added && i < listing->batch->len; i++) {
        const StoreMsg *msg = g_ptr_array_index(listing->batch, i);
        if (g_array_index(is_new, bool, i))
            events->msg_added(mailbox->box, msg->uid, msg->name, engine->config.events_data);
    }
    g_ptr_array_set_size(listing->batch, 0);
    listing->bytes = 0;
    if (listing->n_expected >= PROGRESS_SHOWN_FROM)
        engine_set_progress(engine, mailbox->name, listing->n_done, listing->n_expected);
}

/* What a sender wrote may be as long as a header can be. */
static void bound(char **text)
{
    if (strlen(*text) <= TEXT_MAX)
        return;
    char *all = *text;
    *text = g_strndup(all, (gsize)(g_utf8_find_prev_char(all, all + TEXT_MAX + 1) - all));
    g_free(all);
}

static gsize text_length(const StoreMsg *msg)
{
    return strlen(msg->from) + strlen(msg->subject) +
           (msg->message_id ? strlen(msg->message_id) : 0);
}

static StoreMsg *msg_from_fetch(const FetchData *fetch)
{
    StoreMsg *msg = g_new0(StoreMsg, 1);
    if (fetch->broken) { /* only its UID can be believed: it is listed, and reading it is EIO */
        msg->uid = fetch->uid;
        msg->from = g_strdup("");
        msg->subject = g_strdup("");
        msg->flags = g_strdup("");
        msg->name = name_message(0, 0, "", "");
        return msg;
    }
    gsize length = 0;
    const char *header = "";
    for (guint i = 0; fetch->bodies && i < fetch->bodies->len; i++) {
        const FetchBody *body = g_ptr_array_index(fetch->bodies, i);
        if (body->bytes && g_str_has_prefix(body->section, "HEADER.FIELDS"))
            header = g_bytes_get_data(body->bytes, &length);
    }
    g_autofree char *from = mime_header_value(header ? header : "", length, "From");
    g_autofree char *subject = mime_header_value(header ? header : "", length, "Subject");
    msg->uid = fetch->uid;
    msg->from = mime_from_display(from ? from : "");
    msg->subject = mime_decode_header(subject ? subject : "");
    msg->message_id = mime_header_value(header ? header : "", length, "Message-ID");
    if (msg->message_id && strlen(msg->message_id) > TEXT_MAX)
        g_clear_pointer(&msg->message_id, g_free); /* as good as none */
    msg->internaldate = fetch->internaldate;
    msg->zone = fetch->internaldate_zone;
    msg->size = fetch->size;
    msg->modseq = fetch->modseq;
    msg->emailid = g_strdup(fetch->emailid);
    msg->name = name_message(msg->internaldate, msg->zone, msg->from, msg->subject);
    bound(&msg->from);
    bound(&msg->subject);
    msg->flags = flags_to_text(&fetch->flags);
    return msg;
}

/* Who lists a mailbox for the first time looks into it next, from its first message on. */
static void ask_structures(Listing *listing, guint32 uid)
{
    Mailbox *mailbox = listing->mailbox;
    listing_flush(listing);
    listing->known = uid;
    if (!listing->error && mailbox->engine->config.prefetch)
        structure_ahead(mailbox, 1, STRUCTURES_FIRST);
}

static bool on_listed(Command *command, Response *response, gpointer data)
{
    Listing *listing = data;
    const FetchData *fetch = response->fetch;
    if (!fetch || !(fetch->present & FETCH_UID) || fetch->uid == 0 || fetch->uid <= listing->known)
        return false;
    if (!(fetch->present & (FETCH_INTERNALDATE | FETCH_BODY)) && !fetch->broken)
        return false; /* flags that changed meanwhile */
    if (fetch->uid < listing->floor)
        return true;
    if (fetch->broken)
        log_warn("sync", "%s: message %u: %s", listing->mailbox->name, fetch->uid,
                 fetch->problem ? fetch->problem : "cannot be understood");
    StoreMsg *msg = msg_from_fetch(fetch);
    g_ptr_array_add(listing->batch, msg);
    listing->bytes += text_length(msg);
    note_in_view(listing->mailbox, fetch->uid);
    listing->n_done++;
    if (listing->n_done % PROGRESS_EVERY == 0)
        note_progress(listing->mailbox);
    if (listing->generation != listing->mailbox->generation)
        return true;
    if (listing->first && listing->n_done == MIN(listing->n_expected, STRUCTURES_FIRST))
        ask_structures(listing, fetch->uid);
    else if (listing->batch->len >= LISTING_BATCH || listing->bytes >= LISTING_BYTES)
        listing_flush(listing);
    return true;
}

static void listing_next(Listing *listing);

static void on_listing_done(Command *command, CommandResult result, const Response *tagged,
                            gpointer data)
{
    Listing *listing = data;
    listing->in_flight--;
    if (result != COMMAND_OK && !listing->error)
        listing->error = error_from_result(result, tagged, "list of messages");
    if (listing->generation == listing->mailbox->generation)
        listing_flush(listing);
    listing_next(listing);
}

/* SELECT was refused, or is answered after this, which no server should do. Who waits has been told
 * or will be: this listing was never begun. */
static void listing_abandon(Listing *listing)
{
    Mailbox *mailbox = listing->mailbox;
    guint generation = listing->generation;
    if (mailbox->early == listing) {
        mailbox->early = NULL;
        mailbox->syncing = false;
    }
    listing_free(listing);
    mailbox_release(mailbox, generation);
    mailbox_unref(mailbox);
}

static void on_early_done(Command *command, CommandResult result, const Response *tagged,
                          gpointer data)
{
    Listing *listing = data;
    if (listing->early) {
        listing_abandon(listing);
        return;
    }
    /* What was asked for may have been more than this mailbox has. */
    if ((result == COMMAND_NO || result == COMMAND_BAD) &&
        listing->generation == listing->mailbox->generation) {
        listing->mailbox->dirty |= DIRTY_NEW;
        result = COMMAND_OK;
    }
    on_listing_done(command, result, tagged, listing);
}

static bool listing_has_more(const Listing *listing)
{
    return listing->todo ? !uidset_is_empty(listing->todo) : listing->next != 0;
}

static void listing_add_range(Listing *listing, CommandText *text)
{
    guint64 lo = listing->next, hi = lo + listing->step - 1;
    if (hi >= listing->last || hi >= G_MAXUINT32) { /* the last: up to whatever there is by now */
        command_text_add(text, "UID FETCH %" G_GUINT64_FORMAT ":*", lo);
        listing->next = 0;
    } else {
        command_text_add(text, "UID FETCH %" G_GUINT64_FORMAT ":%" G_GUINT64_FORMAT, lo, hi);
        listing->next = hi + 1;
    }
}

/* In a mailbox without them, asking for them is BAD (RFC 7162 3.1.2.2). */
static bool has_modseqs(const Listing *listing)
{
    const Mailbox *mailbox = listing->mailbox;
    return session_condstore(mailbox->session) && (listing->early || mailbox->select_modseq);
}

static void listing_send(Listing *listing)
{
    Mailbox *mailbox = listing->mailbox;
    const ServerInfo *server = session_server(mailbox->session);
    Command *command =
        command_new(LANE_FOREGROUND, listing->early ? on_early_done : on_listing_done, listing);
    command->expected = (guint)MIN(listing->n_expected, G_MAXUINT);
    if (listing->todo) {
        g_autoptr(UidSet) some = uidset_take(listing->todo, LIMIT_COMMAND_UIDS,
                                             session_line_limit(mailbox->session) - LISTING_ROOM);
        command_text_add(command->text, "UID FETCH ");
        command_text_add_uids(command->text, some);
    } else {
        listing_add_range(listing, command->text);
    }
    command_text_add(command->text,
                     " (UID FLAGS INTERNALDATE RFC822.SIZE%s%s%s BODY.PEEK[HEADER.FIELDS (FROM "
                     "SUBJECT MESSAGE-ID)])",
                     has_modseqs(listing) ? " MODSEQ" : "",
                     server_can(server, CAP_OBJECTID) ? " EMAILID" : "",
                     server_can(server, CAP_GMAIL) ? " X-GM-MSGID" : "");
    command->wants = 1ull << RESP_FETCH;
    command->on_untagged = on_listed;
    listing->in_flight++;
    session_submit(mailbox->session, command);
}

static void listing_end(Listing *listing)
{
    Mailbox *mailbox = listing->mailbox;
    guint generation = listing->generation;
    g_autoptr(GError) error = g_steal_pointer(&listing->error);
    listing_free(listing);
    engine_set_progress(mailbox->engine, "", 0, 0);
    phase_end(mailbox, generation, DIRTY_NEW | DIRTY_VERIFY, error);
    mailbox_unref(mailbox);
}

static void listing_next(Listing *listing)
{
    bool alive = listing->generation == listing->mailbox->generation && !listing->error;
    while (alive && listing_has_more(listing) && listing->in_flight < LISTING_IN_FLIGHT)
        listing_send(listing);
    if (listing->in_flight > 0)
        return;
    if (!listing->error && listing_has_more(listing))
        listing->error = g_error_new(IMAPFS_ERROR, IMAPFS_ERROR_LOST, "the connection was lost");
    listing_end(listing);
}

static Listing *listing_new(Mailbox *mailbox)
{
    Listing *listing = g_new0(Listing, 1);
    listing->mailbox = mailbox_ref(mailbox);
    listing->generation = mailbox->generation;
    listing->batch = g_ptr_array_new_with_free_func(msg_free);
    return listing;
}

/* From where on it was never listed: rows above that were placed by us, with gaps between. */
static guint32 floor_of(Mailbox *mailbox, guint32 known)
{
    StoreBox box = {0};
    guint32 floor = known == G_MAXUINT32 ? known : known + 1;
    if (!store_box_by_id(store_reader(mailbox->engine->store), mailbox->box, &box))
        return floor;
    if (box.listed && box.uidnext)
        floor = MIN(floor, box.uidnext);
    mailbox->partial |= !box.listed && known > 0;
    store_box_clear(&box);
    return floor;
}

/* From the next one on: as many UIDs a command as hold LISTING_STEP messages if they are evenly
 * spread. */
static void listing_plan(Listing *listing, guint64 n_new)
{
    const Mailbox *mailbox = listing->mailbox;
    listing->last = G_MAXUINT64;
    listing->step = G_MAXUINT32;
    listing->n_expected = n_new;
    if (mailbox->uidnext > listing->next && n_new > LISTING_STEP) {
        guint64 span = mailbox->uidnext - listing->next;
        listing->last = mailbox->uidnext - 1;
        listing->step = MAX(LISTING_STEP, span * LISTING_STEP / n_new);
    }
}

static void phase_list_new(Mailbox *mailbox)
{
    Listing *listing = listing_new(mailbox);
    guint32 known = last_uid(mailbox);
    guint64 rows = store_msg_count(store_reader(mailbox->engine->store), mailbox->box);
    listing->next = listing->floor = floor_of(mailbox, known);
    listing->first = known == 0 && !box_is_listed(mailbox);
    listing_plan(listing, mailbox->exists > rows ? mailbox->exists - rows : 1);
    listing_next(listing);
}

/* Phase 2 of a mailbox of which nothing is known: the UIDs that a small one has. */
static void phase_list_early(Mailbox *mailbox, Session *session, const GError *error, gpointer data)
{
    Listing *listing = mailbox->early = listing_new(mailbox);
    listing->early = listing->first = true;
    listing->next = listing->floor = 1;
    listing->last = G_MAXUINT64;
    listing->step = listing->n_expected = LISTING_STEP;
    listing_send(listing);
}

/* SELECT is answered: to the end, if there is more. */
static void listing_go_on(Mailbox *mailbox)
{
    Listing *listing = g_steal_pointer(&mailbox->early);
    listing->early = false;
    listing_plan(listing, mailbox->exists);
    if (mailbox->exists == 0 || (mailbox->uidnext && mailbox->uidnext <= listing->next))
        listing->next = 0;
    listing_next(listing);
}

/* --- phase 3: verify --- */

static bool on_search(Command *command, Response *response, gpointer data)
{
    Phase *phase = data;
    if (response->kind != RESP_SEARCH && response->kind != RESP_ESEARCH)
        return false;
    phase->answered = true;
    if (response->uids)
        uidset_add_set(phase->seen, response->uids);
    return true;
}

/* Silence, or an empty answer for a mailbox that is not empty, must not be taken for "all gone";
 * and of far more than there are, most would be asked for in vain. */
static bool search_makes_sense(const Phase *phase)
{
    guint64 most = MAX(phase->exists, phase->mailbox->exists);
    return (phase->mailbox->exists == 0 || (phase->answered && !uidset_is_empty(phase->seen))) &&
           uidset_count(phase->seen) <= 2 * most + FOUND_BEYOND;
}

/* A server may tell of so many messages at a time and no more (RFC 9738): what it leaves out is
 * there. */
static bool is_limited(const Response *tagged)
{
    return tagged->code == CODE_OTHER && tagged->code_text &&
           g_ascii_strncasecmp(tagged->code_text, "MESSAGELIMIT", 12) == 0;
}

/* NULL: it was answered, and the mailbox is selected yet. */
static GError *search_error(const Phase *phase, CommandResult result, const Response *tagged)
{
    static const char what[] = "comparing with the server";
    if (result != COMMAND_OK)
        return error_from_result(result, tagged, what);
    bool lost = phase->generation != phase->mailbox->generation;
    return lost ? error_from_result(COMMAND_LOST, NULL, what) : NULL;
}

static void on_search_done(Command *command, CommandResult result, const Response *tagged,
                           gpointer data)
{
    Phase *phase = data;
    Mailbox *mailbox = phase->mailbox;
    g_autoptr(GError) error = search_error(phase, result, tagged);
    if (!error && !search_makes_sense(phase))
        error = g_error_new(IMAPFS_ERROR, IMAPFS_ERROR_PROTOCOL,
                            "the server did not say which of its %u messages there are",
                            mailbox->exists);
    if (error) {
        phase_end(mailbox, phase->generation, phase->bits, error);
        phase_free(phase);
        return;
    }
    mailbox->verify_rounds++; /* one that failed does not count: it is tried again */
    mailbox->partial = false;
    g_autoptr(UidSet) missing = uidset_copy(phase->seen);
    g_autoptr(UidSet) rows = rows_of(mailbox);
    uidset_remove_set(missing, rows);
    if (!is_limited(tagged))
        drop_absent(mailbox, rows, phase->seen);
    mailbox_flush(mailbox);
    if (uidset_is_empty(missing)) {
        phase_end(mailbox, phase->generation, phase->bits, NULL);
    } else { /* the listing takes over this phase's use of the session */
        log_info("sync", "%s: %" G_GUINT64_FORMAT " messages were missing", mailbox->name,
                 uidset_count(missing));
        Listing *listing = listing_new(mailbox);
        listing->n_expected = uidset_count(missing);
        listing->todo = g_steal_pointer(&missing);
        listing_next(listing);
    }
    phase_free(phase);
}

/* What is still there was not the one that EXPUNGE was of, and all are asked for next. Nothing is
 * told from an answer without the message that must be in it. */
static void on_guess_done(Command *command, CommandResult result, const Response *tagged,
                          gpointer data)
{
    Phase *phase = data;
    g_autoptr(GError) error = search_error(phase, result, tagged);
    if (!error && uidset_contains(phase->seen, phase->witness) && !is_limited(tagged))
        drop_absent(phase->mailbox, phase->guess, phase->seen);
    phase_end(phase->mailbox, phase->generation, phase->bits, error);
    phase_free(phase);
}

static void send_search(Phase *phase, CommandDone done, const UidSet *uids)
{
    Session *session = phase->mailbox->session;
    Command *command = command_new(LANE_FOREGROUND, done, phase);
    bool esearch = server_can(session_server(session), CAP_ESEARCH);
    command_text_add(command->text, esearch ? "UID SEARCH RETURN (ALL) " : "UID SEARCH ");
    command_text_add(command->text, uids ? "UID " : "ALL");
    if (uids)
        command_text_add_uids(command->text, uids);
    command->wants = 1ull << RESP_SEARCH | 1ull << RESP_ESEARCH;
    command->expected = 1;
    command->on_untagged = on_search;
    session_submit(session, command);
}

/* Returns false when the rows are as many as they should be, or it cannot be mended. */
static bool phase_verify(Mailbox *mailbox)
{
    guint32 rows = store_msg_count(store_reader(mailbox->engine->store), mailbox->box);
    if (rows == mailbox->exists && !mailbox->partial)
        return false;
    guint32 witness = 0;
    UidSet *guess = expunged_guess(mailbox, &witness);
    if (!guess && mailbox->verify_rounds >= MAX_VERIFY_ROUNDS) {
        log_warn("sync", "%s: the server says it has %u messages, but gives %u", mailbox->name,
                 mailbox->exists, rows);
        return false;
    }
    Phase *phase = phase_new(mailbox, DIRTY_VERIFY);
    phase->seen = uidset_new();
    if (guess) {
        g_autoptr(UidSet) asked = uidset_copy(guess);
        uidset_add(asked, witness);
        phase->guess = guess;
        phase->witness = witness;
        send_search(phase, on_guess_done, asked);
    } else {
        send_search(phase, on_search_done, NULL);
    }
    return true;
}

/* --- phase 4: done --- */

static bool record(Mailbox *mailbox, bool *first_out, GError **error)
{
    Engine *engine = mailbox->engine;
    StoreBox box = {0};
    StoreTxn *txn = store_begin(engine->store, false, error);
    if (!txn)
        return false;
    bool ok = store_box_by_id(store_txn_reader(txn), mailbox->box, &box);
    if (!ok)
        g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_GONE, "the mailbox is no longer there");
    guint32 known = ok ? last_uid(mailbox) : 0;
    *first_out = !box.listed;
    box.listed = true;
    box.exists = mailbox->exists;
    if (mailbox->view_uidnext)
        box.uidnext = mailbox->view_uidnext; /* not what was placed beyond it */
    else
        box.uidnext = MAX(mailbox->uidnext, known == G_MAXUINT32 ? known : known + 1);
    box.highestmodseq = mailbox->highestmodseq;
    box.synced_ns = clock_real_ns();
    /* No touch: to have learnt what was in the directory all along is no change of it. tar, which
     * looks at the directory before and after it reads it, would say that there was one. */
    ok = ok && store_box_update(txn, &box, error);
    mailbox->uidnext = box.uidnext;
    store_box_clear(&box);
    if (!ok) {
        store_rollback(txn);
        return false;
    }
    return store_commit(txn, error);
}

static void phase_done(Mailbox *mailbox)
{
    Engine *engine = mailbox->engine;
    g_autoptr(GError) error = NULL;
    bool first = false;
    mailbox->highestmodseq = mailbox->select_modseq;
    mailbox->was_uidnext = 0;
    mailbox->verify_rounds = 0;
    expunged_forget(mailbox);
    if (!record(mailbox, &first, &error)) {
        resync_failed(mailbox, error);
        return;
    }
    mailbox->must_sync = false;
    engine_set_fresh(engine, mailbox->box, G_MAXINT64);
    if (first && engine->config.events.box_changed)
        engine->config.events.box_changed(mailbox->box, engine->config.events_data);
    if (first)
        events_add_count(engine, "new", mailbox->name, mailbox->exists, "message");
    Job *job = waiting_job(mailbox);
    if (job)
        job_finish(job, NULL);
    replay_on_synced(mailbox);
    mailbox_sync_over(mailbox);
}

/* --- the order --- */

static void start_phase(Mailbox *mailbox, Session *session, const GError *error, gpointer data)
{
    if (!session) { /* lost in between; the loss has told everybody */
        mailbox->syncing = false;
        return;
    }
    guint generation = mailbox->generation;
    if (!mailbox->selected) { /* left in between; the answer of the next SELECT begins anew */
        mailbox->syncing = false;
        mailbox_release(mailbox, generation);
    } else if (mailbox->dirty & DIRTY_FLAGS) {
        mailbox->dirty &= ~(guint)DIRTY_FLAGS; /* what comes meanwhile sets it again */
        phase_flags(mailbox);
    } else if (mailbox->dirty & DIRTY_NEW) {
        mailbox->dirty &= ~(guint)DIRTY_NEW;
        phase_list_new(mailbox);
    } else if (phase_verify(mailbox)) {
        return;
    } else {
        mailbox->dirty = 0;
        mailbox->syncing = false;
        phase_done(mailbox);
        mailbox_release(mailbox, generation);
    }
}

void resync_begin(Mailbox *mailbox)
{
    g_return_if_fail(mailbox->session);
    if (mailbox->syncing || mailbox->selected || mailbox->gone || replay_holds_back(mailbox) ||
        box_is_listed(mailbox) ||
        store_msg_count(store_reader(mailbox->engine->store), mailbox->box) > 0)
        return;
    mailbox->syncing = true;
    mailbox_acquire(mailbox, LANE_BACKGROUND, phase_list_early, NULL);
}

void resync_run(Mailbox *mailbox)
{
    if (mailbox->syncing || !mailbox->selected || mailbox->gone || replay_holds_back(mailbox))
        return; /* the end of what is being sent runs it */
    engine_timer_clear(&mailbox->later);
    mailbox->syncing = true;
    mailbox_acquire(mailbox, LANE_BACKGROUND, start_phase, NULL); /* nobody looks at it by this */
}

static gboolean on_later(gpointer data)
{
    Mailbox *mailbox = data;
    engine_timer_clear(&mailbox->later);
    resync_run(mailbox);
    return G_SOURCE_REMOVE;
}

void resync_soon(Mailbox *mailbox)
{
    if (mailbox->later || mailbox->syncing)
        return;
    guint delay = SOON_MS;
    if (mailbox->dirty & DIRTY_FLAGS && !mailbox->highestmodseq) /* everything is asked for again */
        delay = (guint)CLAMP(mailbox->flags_us * 4 / 1000, FULL_FLAGS_MIN_MS, 60000);
    mailbox->later = engine_timer(mailbox->engine, delay, on_later, mailbox);
}

void resync_on_selected(Mailbox *mailbox, const SelectResult *result)
{
    StoreReader *reader = store_reader(mailbox->engine->store);
    StoreBox box = {0};
    if (!store_box_by_id(reader, mailbox->box, &box))
        return;
    guint32 rows = store_msg_count(reader, mailbox->box);
    mailbox->select_modseq = result->highestmodseq;
    mailbox->dirty |= DIRTY_VERIFY;
    mailbox->was_uidnext = box.uidnext;
    expunged_forget(mailbox);
    if (result->uidnext && result->uidnext < box.uidnext)
        mailbox->partial = true; /* as after a backup was put back */
    bool delta_came = result->qresync && result->highestmodseq >= box.highestmodseq;
    bool unchanged = result->highestmodseq && result->highestmodseq == box.highestmodseq;
    if (rows > 0 && !delta_came && !unchanged)
        mailbox->dirty |= DIRTY_FLAGS;
    bool none_new = box.listed && result->uidnext && result->uidnext <= box.uidnext;
    if (result->exists > 0 && !none_new && !mailbox->early)
        mailbox->dirty |= DIRTY_NEW;
    store_box_clear(&box);
    if (mailbox->early)
        listing_go_on(mailbox);
    else
        resync_run(mailbox);
}
