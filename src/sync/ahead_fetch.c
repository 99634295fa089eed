/* ahead_fetch.c - bringing contents that were guessed: one command for many messages.
 *
 * The rule: a guess may fail in any way, and nobody is told: what is not answered as it should be
 * is left out, and whoever waits for it then asks by itself. What came is written when the input
 * was read out, many in one transaction. */
#include "ahead.h"

#include <string.h>

#include "imapfs/base/clock.h"
#include "imapfs/base/log.h"

#define BUNCH_ITEMS 64
#define BUNCH_WEIGHT (128u * 1024)
#define SECTIONS_MAX 480 /* octets: with as many UIDs as come with these, any server takes it */
#define PROGRESS_US (100 * 1000)

struct Ahead {
    guint32 box; /* whose UIDs these are */
    AheadStream streams[AHEAD_KINDS];
    GHashTable *asked; /* key -> AheadItem, of a bunch: in flight, or not in the store yet */
};

/* One command. */
typedef struct {
    Mailbox *mailbox; /* a reference; a use of its session once it has one */
    guint generation;
    guint32 box;
    char *sections;   /* as asked for of each of its messages: " BODY.PEEK[1] BODY.PEEK[2]" */
    GPtrArray *items; /* of AheadItem */
    Command *command; /* NULL before and after */
    GSource *flush;
    gsize waiting;      /* bytes that came and are not written */
    gint64 progress_us; /* when those who wait were last told that something comes */
} Bunch;

void ahead_item_free(gpointer data)
{
    AheadItem *item = data;
    need_clear(&item->need);
    g_free(item->section);
    g_clear_pointer(&item->bytes, g_bytes_unref);
    g_free(item);
}

static char *key_of(guint32 uid, ContentKind kind, const char *section)
{
    return g_strdup_printf("%u:%d:%s", uid, kind, section ? section : "");
}

static char *item_key(const AheadItem *item)
{
    return key_of(item->need.uid, item->need.content, item->need.section);
}

/* --- what is kept of a mailbox --- */

void ahead_free(Ahead *ahead)
{
    if (!ahead)
        return;
    for (guint i = 0; i < AHEAD_KINDS; i++)
        ahead_stream_clear(&ahead->streams[i]);
    g_hash_table_unref(ahead->asked);
    g_free(ahead);
}

static Ahead *ahead_of(Mailbox *mailbox)
{
    if (mailbox->ahead && mailbox->ahead->box != mailbox->box)
        g_clear_pointer(&mailbox->ahead, ahead_free); /* UIDs mean other messages now */
    if (!mailbox->ahead) {
        mailbox->ahead = g_new0(Ahead, 1);
        mailbox->ahead->box = mailbox->box;
        mailbox->ahead->asked = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    }
    return mailbox->ahead;
}

AheadStream *ahead_stream(Mailbox *mailbox, ContentKind kind)
{
    return &ahead_of(mailbox)->streams[kind];
}

bool ahead_is_asked(Mailbox *mailbox, const ContentKey *key)
{
    g_autofree char *text = key_of(key->uid, key->kind, key->section);
    return g_hash_table_contains(ahead_of(mailbox)->asked, text) ||
           job_find(mailbox->engine, NEED_CONTENT, key->box, key->uid, key->kind, key->section);
}

/* --- writing --- */

static Job *job_of(const Bunch *bunch, const AheadItem *item)
{
    return job_find(bunch->mailbox->engine, NEED_CONTENT, bunch->box, item->need.uid,
                    item->need.content, item->need.section);
}

static bool write_item(const AheadItem *item, Store *store, GError **error)
{
    gsize length = 0;
    const void *bytes = g_bytes_get_data(item->bytes, &length);
    ContentKey key = {item->need.box, item->need.uid, item->need.content, item->need.section};
    if (content_exists(store_reader(store), &key)) /* who wanted it could not wait */
        return true;
    g_autoptr(Sink) sink = sink_new(store, &item->need, error);
    return sink && sink_take(sink, bytes, length, error) && sink_finish(sink, error);
}

/* False: none of them is there, as far as anybody may believe. */
static bool write_items(Bunch *bunch, GError **error)
{
    Store *store = bunch->mailbox->engine->store;
    if (!content_batch_begin(store, error))
        return false;
    bool ok = true;
    for (guint i = 0; ok && i < bunch->items->len; i++) {
        const AheadItem *item = g_ptr_array_index(bunch->items, i);
        ok = !item->bytes || write_item(item, store, error);
    }
    return content_batch_end(store, ok ? error : NULL) && ok;
}

static void forget(Bunch *bunch, guint index)
{
    AheadItem *item = g_ptr_array_index(bunch->items, index);
    g_autofree char *key = item_key(item);
    Ahead *ahead = bunch->mailbox->ahead;
    if (ahead && g_hash_table_lookup(ahead->asked, key) == item)
        g_hash_table_remove(ahead->asked, key);
    g_ptr_array_remove_index_fast(bunch->items, index);
}

/* Writes what came, and tells who waits for it. */
static void flush(Bunch *bunch)
{
    g_autoptr(GError) error = NULL;
    engine_timer_clear(&bunch->flush);
    if (bunch->waiting == 0)
        return;
    bunch->waiting = 0;
    if (!write_items(bunch, &error))
        log_debug("sync", "%s: reading ahead: %s", bunch->mailbox->name, error->message);
    for (guint i = bunch->items->len; i > 0; i--) {
        const AheadItem *item = g_ptr_array_index(bunch->items, i - 1);
        if (!item->bytes)
            continue;
        Job *job = job_of(bunch, item);
        if (job)
            job_ref(job);
        forget(bunch, i - 1);
        if (job && error)
            content_job_start(job); /* by itself: it will hear why */
        else if (job)
            job_finish(job, NULL);
        if (job)
            job_unref(job);
    }
}

static gboolean on_flush(gpointer data)
{
    flush(data);
    return G_SOURCE_REMOVE;
}

/* --- what comes in --- */

/* The item that this body is the answer for; NULL: none. */
static AheadItem *find_item(const Bunch *bunch, guint32 uid, const FetchBody *body)
{
    if (body->binary || body->has_origin || !body->bytes)
        return NULL;
    for (guint i = 0; i < bunch->items->len; i++) {
        AheadItem *item = g_ptr_array_index(bunch->items, i);
        if (item->need.uid == uid && g_ascii_strcasecmp(item->section, body->section) == 0)
            return item;
    }
    return NULL;
}

/* An empty answer for what is not empty is how some servers say "expunged" (RFC 2180 4.1.3). */
static bool is_believable(const AheadItem *item, const FetchBody *body)
{
    return g_bytes_get_size(body->bytes) > 0 || item->need.encoded_size <= 0;
}

static void take_body(Bunch *bunch, AheadItem *item, const FetchBody *body)
{
    Job *job = job_of(bunch, item);
    if (job)
        job_progress(job);
    if (item->bytes || !is_believable(item, body) || bunch->box != bunch->mailbox->box)
        return;
    item->bytes = g_bytes_ref(body->bytes);
    bunch->waiting += 1 + g_bytes_get_size(body->bytes);
}

static bool on_body(Command *command, Response *response, gpointer data)
{
    Bunch *bunch = data;
    const FetchData *got = response->fetch;
    bool ours = false;
    if (!got || !(got->present & FETCH_UID) || got->broken)
        return false;
    for (guint i = 0; got->bodies && i < got->bodies->len; i++) {
        const FetchBody *body = g_ptr_array_index(got->bodies, i);
        AheadItem *item = find_item(bunch, got->uid, body);
        if (item)
            take_body(bunch, item, body);
        ours = ours || item;
    }
    if (bunch->waiting >= BUNCH_WEIGHT)
        flush(bunch);
    else if (bunch->waiting > 0 && !bunch->flush)
        bunch->flush = engine_timer(bunch->mailbox->engine, 0, on_flush, bunch);
    return ours;
}

/* Part of a literal came: those who wait for one of these shall not give up. */
static void on_progress(gpointer data)
{
    Bunch *bunch = data;
    gint64 now = clock_mono_us();
    if (now - bunch->progress_us < PROGRESS_US)
        return;
    bunch->progress_us = now;
    for (guint i = 0; i < bunch->items->len; i++) {
        Job *job = job_of(bunch, g_ptr_array_index(bunch->items, i));
        if (job)
            job_progress(job);
    }
}

/* --- the end --- */

/* Frees it. What did not come is asked for by whoever waits for it. */
static void bunch_end(Bunch *bunch)
{
    g_autoptr(GPtrArray) jobs = g_ptr_array_new_with_free_func((GDestroyNotify)job_unref);
    flush(bunch);
    while (bunch->items->len > 0) {
        Job *job = job_of(bunch, g_ptr_array_index(bunch->items, 0));
        if (job)
            g_ptr_array_add(jobs, job_ref(job));
        forget(bunch, 0);
    }
    for (guint i = 0; i < jobs->len; i++)
        if (!((Job *)g_ptr_array_index(jobs, i))->finished)
            content_job_start(g_ptr_array_index(jobs, i));
    mailbox_unref(bunch->mailbox);
    g_ptr_array_unref(bunch->items);
    g_free(bunch->sections);
    g_free(bunch);
}

static void on_done(Command *command, CommandResult result, const Response *tagged, gpointer data)
{
    Bunch *bunch = data;
    bunch->command = NULL;
    mailbox_release(bunch->mailbox, bunch->generation);
    bunch_end(bunch);
}

static void on_session(Mailbox *mailbox, Session *session, const GError *error, gpointer data)
{
    Bunch *bunch = data;
    if (!session || bunch->box != mailbox->box) {
        if (session)
            mailbox_release(mailbox, mailbox->generation);
        bunch_end(bunch);
        return;
    }
    g_autoptr(UidSet) uids = uidset_new();
    bunch->generation = mailbox->generation;
    bunch->command = command_new(LANE_BACKGROUND, on_done, bunch);
    for (guint i = 0; i < bunch->items->len; i++) {
        const AheadItem *item = g_ptr_array_index(bunch->items, i);
        uidset_add(uids, item->need.uid);
        bunch->command->weight += item->weight;
    }
    command_text_add(bunch->command->text, "UID FETCH ");
    command_text_add_uids(bunch->command->text, uids);
    command_text_add(bunch->command->text, " (UID%s)", bunch->sections);
    bunch->command->wants = 1ull << RESP_FETCH;
    bunch->command->expected = bunch->items->len;
    bunch->command->on_untagged = on_body;
    bunch->command->on_progress = on_progress;
    session_submit(session, bunch->command);
}

/* --- the calls --- */

/* The bunch that is being filled for these sections, with room for one more message. */
static Bunch *bunch_for(Mailbox *mailbox, GPtrArray *bunches, const char *sections, guint64 weight)
{
    for (guint i = 0; i < bunches->len; i++) {
        Bunch *bunch = g_ptr_array_index(bunches, i);
        if (bunch->items->len < BUNCH_ITEMS && bunch->waiting + weight <= BUNCH_WEIGHT &&
            strcmp(bunch->sections, sections) == 0)
            return bunch;
    }
    Bunch *bunch = g_new0(Bunch, 1);
    bunch->mailbox = mailbox_ref(mailbox);
    bunch->box = mailbox->box;
    bunch->sections = g_strdup(sections);
    bunch->items = g_ptr_array_new_with_free_func(ahead_item_free);
    g_ptr_array_add(bunches, bunch);
    return bunch;
}

/* The items of one message, from the front, as many as a command has room for: moves them into a
 * bunch. Also what is large of it: by the time when the message is listed, its sizes are known. */
static void take_message(Mailbox *mailbox, GPtrArray *items, GPtrArray *bunches)
{
    g_autoptr(GString) sections = g_string_new(NULL);
    guint32 uid = ((AheadItem *)g_ptr_array_index(items, 0))->need.uid;
    guint64 weight = 0;
    guint n = 0;
    for (; n < items->len && n < BUNCH_ITEMS && sections->len < SECTIONS_MAX; n++) {
        AheadItem *item = g_ptr_array_index(items, n);
        if (item->need.uid != uid)
            break;
        item->section = need_wire_section(&item->need);
        g_string_append_printf(sections, " BODY.PEEK[%s]", item->section);
        weight += item->weight;
    }
    Bunch *bunch = bunch_for(mailbox, bunches, sections->str, weight);
    bunch->waiting += weight;
    for (; n > 0; n--) {
        AheadItem *item = g_ptr_array_steal_index(items, 0);
        item->command = &bunch->command;
        g_ptr_array_add(bunch->items, item);
        g_hash_table_replace(ahead_of(mailbox)->asked, item_key(item), item);
    }
}

/* What a message that is the same has is not asked for again. */
static void take_from_twins(Mailbox *mailbox, GPtrArray *items)
{
    g_autoptr(GError) error = NULL;
    Store *store = mailbox->engine->store;
    if (!content_batch_begin(store, &error))
        return;
    for (guint i = items->len; i > 0; i--) {
        const AheadItem *item = g_ptr_array_index(items, i - 1);
        if (twin_takes(mailbox->engine, &item->need))
            g_ptr_array_remove_index(items, i - 1);
    }
    if (!content_batch_end(store, &error))
        log_debug("sync", "%s: reading ahead: %s", mailbox->name, error->message);
}

static void open_large(Mailbox *mailbox, GPtrArray *items)
{
    for (guint i = 0; i < items->len;) {
        const AheadItem *item = g_ptr_array_index(items, i);
        if (!item->large) {
            i++;
            continue;
        }
        ContentKey key = need_content_key(&item->need);
        if (!ranged_ask_ahead(mailbox->engine, &key, item->weight))
            ranged_open_ahead(mailbox, &item->need, item->weight);
        g_ptr_array_remove_index(items, i);
    }
}

void ahead_fetch(Mailbox *mailbox, GPtrArray *items)
{
    g_autoptr(GPtrArray) bunches = g_ptr_array_new();
    take_from_twins(mailbox, items);
    open_large(mailbox, items);
    while (items->len > 0)
        take_message(mailbox, items, bunches);
    for (guint i = 0; i < bunches->len; i++) {
        Bunch *bunch = g_ptr_array_index(bunches, i);
        bunch->waiting = 0;
        mailbox_acquire(mailbox, LANE_BACKGROUND, on_session, bunch);
    }
}

bool ahead_brings(Mailbox *mailbox, const Need *need)
{
    if (!mailbox->ahead || mailbox->ahead->box != mailbox->box)
        return false;
    g_autofree char *key = key_of(need->uid, need->content, need->section);
    const AheadItem *item = g_hash_table_lookup(mailbox->ahead->asked, key);
    if (!item || (!item->bytes && !*item->command))
        return false;
    if (!item->bytes && mailbox->session)
        session_hurry(mailbox->session, *item->command);
    return true;
}
