/* ranged_open.c - finds out whether a large section can be read by ranges, by its two ends.
 *
 * The rule: the last byte must be where the size that was told says it is, and base64 must show its
 * lines at both ends; else the section is fetched whole. */
#include "ranged.h"

#include <string.h>

#include "imapfs/base/error.h"
#include "imapfs/base/log.h"
#include "imapfs/mime/transfer.h"

#define RANGED_MIN (256 * 1024) /* encoded; below it is one fetch or two */
#define END BASE64_MAP_END

typedef struct {
    Job *job;         /* a reference */
    Mailbox *mailbox; /* a reference */
    guint generation;
    guint refs;
    char *section;
    bool base64;
    guint64 encoded;
    GBytes *head, *tail;
    bool answered;
    GError *error;
} Ends;

static ContentKey key_of(const Need *need)
{
    return (ContentKey){need->box, need->uid, need->content, need->section ? need->section : ""};
}

static bool make_ranged(Ends *ends, Ranged **out, GError **error)
{
    ContentKey key = key_of(&ends->job->need);
    g_autofree char *name = ranged_name(&key);
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    guint64 tail_at = ends->encoded - END;
    const guint8 *tail = g_bytes_get_data(ends->tail, NULL);
    Base64Map map;
    *out = NULL;
    if (ends->base64) {
        if (!base64_map_init(&map, ends->encoded, g_bytes_get_data(ends->head, NULL), tail))
            return true;
        tail_at = base64_map_decode_tail(&map, tail, bytes);
        if (tail_at == map.decoded)
            return true;
    } else {
        g_byte_array_append(bytes, tail, END);
    }
    int fd = content_temp_new(ends->job->engine->store, error);
    if (fd < 0)
        return false;
    *out = ranged_new(ends->job->engine, &key, name, ends->encoded, ends->base64 ? &map : NULL, fd,
                      g_steal_pointer(&bytes), tail_at);
    return true;
}

/* The exact size, for stat. */
static bool put_size(Ranged *ranged, GError **error)
{
    const ContentKey *key = ranged_key(ranged);
    StoreTxn *txn = store_begin(ranged->engine->store, false, error);
    if (!txn)
        return false;
    if (store_size_put(txn, key->box, key->uid, key->kind, key->section, ranged_size(ranged),
                       error))
        return store_commit(txn, error);
    store_rollback(txn);
    return false;
}

static bool is_end(GBytes *bytes)
{
    return bytes && g_bytes_get_size(bytes) == END;
}

/* error NULL and false: fetch it whole. */
static bool finish_ranged(Ends *ends, GError **error)
{
    Ranged *ranged = NULL;
    if (!is_end(ends->tail) || (ends->base64 && !is_end(ends->head)) ||
        !make_ranged(ends, &ranged, error) || !ranged)
        return false;
    if (!put_size(ranged, error)) {
        ranged_unref(ranged);
        return false;
    }
    ranged_add(ends->job->engine, ranged); /* takes */
    return true;
}

static void ends_over(Ends *ends)
{
    Job *job = ends->job;
    if (job->finished)
        return;
    if (!ends->error && ends->mailbox->box != job->need.box)
        ends->error =
            g_error_new(IMAPFS_ERROR, IMAPFS_ERROR_GONE, "the mailbox was replaced on the server");
    if (ends->error && g_error_matches(ends->error, IMAPFS_ERROR, IMAPFS_ERROR_LOST)) {
        job_retry(job, content_job_start, ends->error);
    } else if (!ends->error && finish_ranged(ends, &ends->error)) {
        job_finish(job, NULL);
    } else if (ends->error) {
        log_info("sync", "%s: %s", ends->mailbox->name, ends->error->message);
        job_finish(job, ends->error);
    } else {
        ContentKey key = key_of(&job->need);
        g_autofree char *name = ranged_name(&key);
        log_debug("sync", "%s: message %u, section %s is fetched whole: its ends are irregular",
                  ends->mailbox->name, job->need.uid, ends->section);
        ranged_set_irregular(job->engine, name);
        content_job_fetch(job);
    }
}

static void ends_unref(Ends *ends)
{
    if (--ends->refs > 0)
        return;
    ends_over(ends);
    g_clear_pointer(&ends->head, g_bytes_unref);
    g_clear_pointer(&ends->tail, g_bytes_unref);
    g_clear_error(&ends->error);
    g_free(ends->section);
    mailbox_release(ends->mailbox, ends->generation);
    mailbox_unref(ends->mailbox);
    job_unref(ends->job);
    g_free(ends);
}

static bool on_body(Command *command, Response *response, gpointer data)
{
    Ends *ends = data;
    const FetchData *got = response->fetch;
    if (!got || !(got->present & FETCH_UID) || got->uid != ends->job->need.uid)
        return false;
    for (guint i = 0; got->bodies && i < got->bodies->len; i++) {
        const FetchBody *body = g_ptr_array_index(got->bodies, i);
        if (body->binary || !body->has_origin ||
            g_ascii_strcasecmp(body->section, ends->section) != 0 ||
            (body->origin != 0 && body->origin != ends->encoded - END))
            continue;
        GBytes **end = body->origin ? &ends->tail : &ends->head;
        ends->answered = true;
        job_progress(ends->job);
        if (body->bytes && !*end)
            *end = g_bytes_ref(body->bytes);
        return true;
    }
    return false;
}

static void on_progress(gpointer data)
{
    job_progress(((Ends *)data)->job);
}

static void on_done(Command *command, CommandResult result, const Response *tagged, gpointer data)
{
    Ends *ends = data;
    if (result == COMMAND_LOST && ends->mailbox->select_error && !ends->error)
        ends->error = g_error_copy(ends->mailbox->select_error);
    else if (result == COMMAND_LOST && !ends->error)
        ends->error = error_from_result(result, tagged, "fetch");
    /* refused, or not understood: fetching it whole is what finds out why */
    ends_unref(ends);
}

static void ask_end(Ends *ends, guint64 origin, guint length)
{
    Command *command = command_new(LANE_FOREGROUND, on_done, ends);
    ends->refs++;
    command_text_add(command->text, "UID FETCH %u (UID BODY.PEEK[%s]<%" G_GUINT64_FORMAT ".%u>)",
                     ends->job->need.uid, ends->section, origin, length);
    command->wants = 1ull << RESP_FETCH;
    command->expected = 1;
    command->on_untagged = on_body;
    command->on_progress = on_progress;
    session_submit(ends->mailbox->session, command);
}

static void on_session(Mailbox *mailbox, Session *session, const GError *error, gpointer data)
{
    Job *job = data;
    if (!session || job->finished) {
        if (session)
            mailbox_release(mailbox, mailbox->generation);
        else
            job_finish(job, error);
        job_unref(job);
        return;
    }
    Ends *ends = g_new0(Ends, 1);
    ends->refs = 1;
    ends->job = job; /* takes the reference */
    ends->mailbox = mailbox_ref(mailbox);
    ends->generation = mailbox->generation;
    ends->section = g_strdup(job->need.section ? job->need.section : "");
    ends->encoded = (guint64)job->need.encoded_size;
    ends->base64 = job->need.content == CONTENT_DECODED &&
                   transfer_kind(job->need.encoding) == TRANSFER_BASE64;
    if (ends->base64)
        ask_end(ends, 0, END);
    ask_end(ends, ends->encoded - END, 2 * END); /* more than there is, to see the end */
    ends_unref(ends);
}

static bool is_for_ranges(const Need *need)
{
    TransferKind kind = transfer_kind(need->encoding);
    return !need->whole && need->encoded_size > RANGED_MIN &&
           (need->content == CONTENT_RAW ||
            (need->content == CONTENT_DECODED &&
             (kind == TRANSFER_BASE64 || kind == TRANSFER_IDENTITY)));
}

bool ranged_open_start(Job *job)
{
    ContentKey key = key_of(&job->need);
    g_autofree char *name = ranged_name(&key);
    g_autoptr(GError) error = NULL;
    if (!is_for_ranges(&job->need) || g_hash_table_contains(job->engine->irregular, name))
        return false;
    if (ranged_find(job->engine, name)) {
        job_finish(job, NULL);
        return true;
    }
    Mailbox *mailbox = mailbox_get(job->engine, job->need.box, &error);
    if (!mailbox)
        job_finish(job, error);
    else
        mailbox_acquire(mailbox, LANE_FOREGROUND, on_session, job_ref(job));
    return true;
}
