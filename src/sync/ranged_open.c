/* ranged_open.c - finds out whether a large section can be read by ranges, by its two ends.
 *
 * The rule: the last byte must be where the size that was told says it is, and base64 must show its
 * lines at both ends; else the section is fetched whole. One that is foreseen (ahead.c) is not
 * fetched whole for that: if it is wanted, it will be asked for anew. */
#include "ranged.h"

#include "imapfs/base/error.h"
#include "imapfs/base/log.h"
#include "imapfs/mime/transfer.h"

/* Encoded. A smaller one is fetched whole before it is opened, so that its size is exact then,
 * whatever its middle is like. */
#define RANGED_MIN (1024 * 1024)
#define END BASE64_ENDS_WIDE

typedef struct {
    char *name;    /* in the engine's table of these */
    Job *job;      /* a reference; NULL: nobody waits for it yet */
    bool expected; /* somebody is expected to read it: */
    guint64 ahead; /* so many bytes, as sent, are to be fetched when it is open */
    Need need;
    Mailbox *mailbox; /* a reference */
    guint generation;
    bool held; /* a use of its session */
    guint refs;
    char *section;
    bool base64;
    guint64 encoded;
    GBytes *head, *tail;
    GError *error;
} Ends;

/* A size that is known from when all of it was here is the right one. */
static bool is_known_otherwise(Ends *ends, const ContentKey *key, guint64 size)
{
    gint64 known = store_size_get(store_reader(ends->mailbox->engine->store), key->box, key->uid,
                                  key->kind, key->section);
    return known >= 0 && (guint64)known != size;
}

static bool is_end(GBytes *bytes)
{
    return bytes && g_bytes_get_size(bytes) == END;
}

static bool is_regular(Ends *ends, Base64Map *map)
{
    return is_end(ends->head) &&
           base64_map_init(map, ends->encoded, g_bytes_get_data(ends->head, NULL), END,
                           g_bytes_get_data(ends->tail, NULL), END) == BASE64_REGULAR &&
           base64_map_has_slices(map);
}

/* The last byte; false: the last line does not show. */
static bool find_last(Ends *ends, const Base64Map *map, guint8 *out)
{
    const guint8 *tail = g_bytes_get_data(ends->tail, NULL);
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    if (!ends->base64) {
        *out = tail[END - 1];
        return true;
    }
    guint64 begin = ends->encoded - END, at = base64_map_last_line(map);
    if (at < begin ||
        !base64_map_decode(map, at, tail + (at - begin), (gsize)(ends->encoded - at), bytes))
        return false;
    *out = bytes->data[bytes->len - 1];
    return true;
}

/* NULL, and no error: fetch it whole. Borrowed. */
static Ranged *make_ranged(Ends *ends, GError **error)
{
    Engine *engine = ends->mailbox->engine;
    ContentKey key = need_content_key(&ends->need);
    Base64Map map = {.decoded = ends->encoded};
    guint8 last;
    if (!is_end(ends->tail) || (ends->base64 && !is_regular(ends, &map)) ||
        !find_last(ends, &map, &last) || is_known_otherwise(ends, &key, map.decoded))
        return NULL;
    int fd = content_temp_new(engine->store, error);
    if (fd < 0)
        return NULL;
    Ranged *ranged =
        ranged_new(engine, &key, ends->name, ends->encoded, ends->base64 ? &map : NULL, fd, last);
    if (!ranged_put_size(ranged, map.decoded, true, error)) {
        ranged_unref(ranged);
        return NULL;
    }
    ranged_add(engine, ranged);
    return ranged;
}

/* Who waits for it goes on, or hears why not. */
static void tell_job(Ends *ends, Job *job, bool ranged)
{
    if (ranged) {
        job_finish(job, NULL);
    } else if (!ends->error) {
        log_debug("sync", "%s: message %u, section %s is fetched whole: its ends are irregular",
                  ends->mailbox->name, job->need.uid, ends->section);
        content_job_fetch(job);
    } else if (g_error_matches(ends->error, IMAPFS_ERROR, IMAPFS_ERROR_LOST)) {
        job_retry(job, content_job_start, ends->error);
    } else {
        log_info("sync", "%s: %s", ends->mailbox->name, ends->error->message);
        job_finish(job, ends->error);
    }
}

static void ends_over(Ends *ends)
{
    Ranged *ranged = NULL;
    bool waited = ends->job && !ends->job->finished;
    if (!waited && !ends->expected)
        return;
    if (!ends->error && ends->mailbox->box != ends->need.box)
        ends->error =
            g_error_new(IMAPFS_ERROR, IMAPFS_ERROR_GONE, "the mailbox was replaced on the server");
    if (!ends->error)
        ranged = make_ranged(ends, &ends->error);
    if (waited)
        tell_job(ends, ends->job, ranged);
    if (ranged && ends->expected)
        ranged_expect(ranged, ends->ahead);
}

static void ends_unref(Ends *ends)
{
    if (--ends->refs > 0)
        return;
    GHashTable *opening = ends->mailbox->engine->opening;
    if (g_hash_table_lookup(opening, ends->name) == ends)
        g_hash_table_remove(opening, ends->name);
    ends_over(ends);
    g_clear_pointer(&ends->head, g_bytes_unref);
    g_clear_pointer(&ends->tail, g_bytes_unref);
    g_clear_error(&ends->error);
    g_free(ends->section);
    g_free(ends->name);
    need_clear(&ends->need);
    if (ends->held)
        mailbox_release(ends->mailbox, ends->generation);
    mailbox_unref(ends->mailbox);
    if (ends->job)
        job_unref(ends->job);
    g_free(ends);
}

static bool on_body(Command *command, Response *response, gpointer data)
{
    Ends *ends = data;
    const FetchData *got = response->fetch;
    if (!got || !(got->present & FETCH_UID) || got->uid != ends->need.uid)
        return false;
    bool ours = false;
    for (guint i = 0; got->bodies && i < got->bodies->len; i++) {
        const FetchBody *body = g_ptr_array_index(got->bodies, i);
        if (body->binary || !body->has_origin ||
            g_ascii_strcasecmp(body->section, ends->section) != 0 ||
            (body->origin != 0 && body->origin != ends->encoded - END))
            continue;
        GBytes **end = body->origin ? &ends->tail : &ends->head;
        if (body->bytes && !*end)
            *end = g_bytes_ref(body->bytes);
        ours = true;
    }
    if (ours && ends->job)
        job_progress(ends->job);
    return ours;
}

static void on_progress(gpointer data)
{
    Ends *ends = data;
    if (ends->job)
        job_progress(ends->job);
}

static void on_done(Command *command, CommandResult result, const Response *tagged, gpointer data)
{
    Ends *ends = data;
    if (result == COMMAND_LOST && !ends->error)
        ends->error = mailbox_command_error(ends->mailbox, result, tagged, "fetch");
    /* refused, or not understood: fetching it whole is what finds out why */
    ends_unref(ends);
}

/* In the foreground, also when nobody waits yet: it is short, and much is to come after it. */
static void ask_end(Ends *ends, guint64 origin, guint length)
{
    Command *command = command_new(LANE_FOREGROUND, on_done, ends);
    ends->refs++;
    command_text_add(command->text, "UID FETCH %u (UID BODY.PEEK[%s]<%" G_GUINT64_FORMAT ".%u>)",
                     ends->need.uid, ends->section, origin, length);
    command->wants = 1ull << RESP_FETCH;
    command->expected = 1;
    command->brief = !ends->job;
    command->on_untagged = on_body;
    command->on_progress = on_progress;
    session_submit(ends->mailbox->session, command);
}

static void ends_ask(Ends *ends)
{
    if (ends->base64)
        ask_end(ends, 0, END);
    ask_end(ends, ends->encoded - END, 2 * END); /* more than there is, to see the end */
}

static void on_session(Mailbox *mailbox, Session *session, const GError *error, gpointer data)
{
    Ends *ends = data;
    ends->held = session != NULL;
    ends->generation = mailbox->generation;
    if (!session) {
        ends->expected = false;
        if (ends->job)
            job_finish(ends->job, error);
    } else if (ends->expected || (ends->job && !ends->job->finished)) {
        ends_ask(ends);
    }
    ends_unref(ends);
}

/* Only one makes a ranged content of what is found out. */
static void take_over(Ends *ends)
{
    GHashTable *opening = ends->mailbox->engine->opening;
    Ends *before = g_hash_table_lookup(opening, ends->name);
    if (before) {
        ends->expected = before->expected;
        ends->ahead = before->ahead;
        before->expected = false;
    }
    g_hash_table_replace(opening, ends->name, ends);
}

static Ends *ends_new(Mailbox *mailbox, const Need *need)
{
    ContentKey key = need_content_key(need);
    g_autofree Need *copy = need_copy(need);
    Ends *ends = g_new0(Ends, 1);
    ends->refs = 1;
    ends->name = ranged_name(&key);
    ends->need = *copy;
    ends->mailbox = mailbox_ref(mailbox);
    ends->section = g_strdup(key.section);
    ends->encoded = (guint64)need->encoded_size;
    ends->base64 =
        need->content == CONTENT_DECODED && transfer_kind(need->encoding) == TRANSFER_BASE64;
    take_over(ends);
    return ends;
}

/* Text and quoted-printable, where only decoding tells what is where, are small in practice. */
bool ranged_suits(const Engine *engine, const Need *need)
{
    TransferKind kind = transfer_kind(need->encoding);
    return !engine->config.exact && !need->whole && need->encoded_size > RANGED_MIN &&
           (need->content == CONTENT_RAW ||
            (need->content == CONTENT_DECODED &&
             (kind == TRANSFER_BASE64 || kind == TRANSFER_IDENTITY)));
}

bool ranged_open_start(Job *job)
{
    ContentKey key = need_content_key(&job->need);
    g_autofree char *name = ranged_name(&key);
    g_autoptr(GError) error = NULL;
    Ranged *ranged = ranged_find(job->engine, name);
    Ends *ends = g_hash_table_lookup(job->engine->opening, name);
    if (!ranged_suits(job->engine, &job->need) || engine_was_corrected(job->engine, &key))
        return false;
    if (ranged) {
        if (ranged->streamed)
            ranged_add_job(ranged, job);
        else
            job_finish(job, NULL);
        return true;
    }
    Mailbox *mailbox = mailbox_get(job->engine, job->need.box, &error);
    if (!mailbox) {
        job_finish(job, error);
        return true;
    }
    job_ref(job);
    mailbox_ref(mailbox);
    if (ends && ends->held && !ends->job) {
        ends->job = job_ref(job);
    } else {
        ends = ends_new(mailbox, &job->need);
        ends->job = job_ref(job);
        mailbox_acquire(mailbox, LANE_FOREGROUND, on_session, ends);
    }
    if (!job->finished)
        ahead_note(mailbox, &job->need);
    mailbox_unref(mailbox);
    job_unref(job);
    return true;
}

bool ranged_ask_ahead(Engine *engine, const ContentKey *key, guint64 encoded)
{
    g_autofree char *name = ranged_name(key);
    Ranged *ranged = ranged_find(engine, name);
    Ends *ends = g_hash_table_lookup(engine->opening, name);
    if (ranged && encoded) {
        ranged_expect(ranged, encoded);
    } else if (ends && encoded) {
        ends->expected = true;
        ends->ahead = MAX(ends->ahead, encoded);
    }
    return ranged || ends;
}

bool ranged_is_met(Engine *engine, const ContentKey *key)
{
    g_autofree char *name = ranged_name(key);
    Ranged *ranged = ranged_find(engine, name);
    const Ends *ends = g_hash_table_lookup(engine->opening, name);
    if (!ranged)
        return ends && ends->job;
    pthread_mutex_lock(&ranged->lock);
    bool met = ranged->met;
    pthread_mutex_unlock(&ranged->lock);
    return met;
}

void ranged_open_ahead(Mailbox *mailbox, const Need *need, guint64 encoded)
{
    Ends *ends = ends_new(mailbox, need);
    ends->expected = true;
    ends->ahead = encoded;
    mailbox_acquire(mailbox, LANE_BACKGROUND, on_session, ends);
}
