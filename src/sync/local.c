/* local.c - messages whose structure is made here, as the server's is broken or hides something.
 *
 * The rule: the parts of such a message are cut from its own bytes and never asked of the server,
 * whose section numbers need not agree with ours. The message itself and its header are the
 * server's. */
#include "sync.h"

#include "imapfs/base/error.h"
#include "imapfs/base/limits.h"
#include "imapfs/base/log.h"
#include "imapfs/mime/structure.h"
#include "imapfs/sync/structure_text.h"

/* How long the last message stays in memory: who reads one part of it reads the next as well. */
#define KEEP_MS 2000
#define SLICE (256u * 1024)

struct LocalMessage {
    guint32 box, uid;
    char *raw;
    gsize length;
    MimeIndex *index;
};

/* --- the message in memory --- */

static void message_free(LocalMessage *message)
{
    if (!message)
        return;
    mime_index_free(message->index);
    g_free(message->raw);
    g_free(message);
}

void local_forget(Engine *engine)
{
    g_clear_pointer(&engine->local, message_free);
    engine_timer_clear(&engine->local_end);
}

static gboolean on_end(gpointer data)
{
    local_forget(data);
    return G_SOURCE_REMOVE;
}

static bool read_all(Content *content, LocalMessage *message, GError **error)
{
    guint64 size = content_size(content);
    if (size > LIMIT_LOCAL_MESSAGE) {
        g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_DATA,
                    "%" G_GUINT64_FORMAT " bytes are too many to parse here", size);
        return false;
    }
    message->length = (gsize)size;
    message->raw = g_try_malloc(message->length + 1);
    if (!message->raw) {
        g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_TOO_BIG, "no memory for its bytes");
        return false;
    }
    gsize got = 0;
    while (got < message->length) {
        gssize n = content_read(content, message->raw + got, message->length - got, got, error);
        if (n < 0)
            return false;
        if (n == 0) {
            g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_STORE, "its bytes end early");
            return false;
        }
        got += (gsize)n;
    }
    return true;
}

static LocalMessage *message_new(Content *content, guint32 box, guint32 uid, GError **error)
{
    LocalMessage *message = g_new0(LocalMessage, 1);
    message->box = box;
    message->uid = uid;
    if (read_all(content, message, error))
        message->index = mime_index_new(message->raw, message->length, error);
    if (message->index)
        return message;
    message_free(message);
    return NULL;
}

/* The message of a job, parsed; borrowed. NULL with error NOT_FOUND when its bytes are not in the
 * store, and DATA when they are over a limit. */
static const LocalMessage *message_of(Job *job, GError **error)
{
    Engine *engine = job->engine;
    guint32 box = job->need.box, uid = job->need.uid;
    if (!engine->local || engine->local->box != box || engine->local->uid != uid) {
        ContentKey key = {box, uid, CONTENT_RAW, ""};
        g_autoptr(Content) content = content_open(store_reader(engine->store), &key);
        if (!content) {
            g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_NOT_FOUND, "it is not in the store");
            return NULL;
        }
        local_forget(engine);
        engine->local = message_new(content, box, uid, error);
    }
    engine_timer_clear(&engine->local_end);
    if (engine->local)
        engine->local_end = engine_timer(engine, KEEP_MS, on_end, engine);
    return engine->local;
}

/* By RFC822.SIZE; 0 when it is not known. */
static guint64 told_size(const Job *job)
{
    StoreMsg msg = {0};
    if (!store_msg_get(store_reader(job->engine->store), job->need.box, job->need.uid, &msg))
        return 0;
    guint64 size = msg.size;
    store_msg_clear(&msg);
    return size;
}

/* Waits for the whole message, then calls then(job, error). */
static void await_message(Job *job, void (*then)(Job *job, const GError *error))
{
    guint64 size = told_size(job);
    Need need = {.kind = NEED_CONTENT,
                 .box = job->need.box,
                 .uid = job->need.uid,
                 .content = CONTENT_RAW,
                 .section = (char *)"",
                 .encoded_size = size ? (gint64)size : -1,
                 .whole = true};
    job_await(job, &need, then);
}

/* --- its structure --- */

static bool put_structure(Job *job, const char *text, GError **error)
{
    StoreTxn *txn = store_begin(job->engine->store, false, error);
    if (!txn)
        return false;
    if (!store_structure_put(txn, job->need.box, job->need.uid, text, error)) {
        store_rollback(txn);
        return false;
    }
    return store_commit(txn, error);
}

/* What the message's bytes tell; when that is nothing of use, the store knows that, too: the
 * message is then shown without its parts. */
static void structure_from_bytes(Job *job, const GError *error)
{
    g_autoptr(GError) failed = NULL;
    g_autofree char *text = NULL;
    const LocalMessage *message = error ? NULL : message_of(job, &failed);
    if (message)
        text = structure_text_new(mime_index_body(message->index), true);
    else if (g_error_matches(failed, IMAPFS_ERROR, IMAPFS_ERROR_DATA))
        text = g_strdup("");
    if (failed)
        log_warn("sync", "message %u cannot be parsed here: %s", job->need.uid, failed->message);
    if (text) {
        g_clear_error(&failed);
        put_structure(job, text, &failed);
    }
    job_finish(job, error ? error : failed);
}

void local_structure_start(Job *job, const char *doubt)
{
    log_info("sync", "message %u is parsed here: %s", job->need.uid, doubt);
    if (told_size(job) <= LIMIT_LOCAL_MESSAGE) {
        await_message(job, structure_from_bytes);
        return;
    }
    g_autoptr(GError) error = NULL;
    put_structure(job, "", &error);
    job_finish(job, error);
}

/* --- its parts --- */

/* A structure may be long, and has as many parts that are read; once it is there it stays. */
bool local_has_parts(const Job *job)
{
    const Need *need = &job->need;
    if (!need->section || !*need->section)
        return false;
    Engine *engine = job->engine;
    if (engine->known.box == need->box && engine->known.uid == need->uid)
        return engine->known.local;
    StoreReader *reader = store_reader(engine->store);
    g_autofree char *text = store_structure_get(reader, need->box, need->uid);
    if (!text)
        return false;
    engine->known.box = need->box;
    engine->known.uid = need->uid;
    engine->known.local = structure_text_is_local(text);
    return engine->known.local;
}

static bool cut(Job *job, const LocalMessage *message, GError **error)
{
    g_autofree char *section = need_wire_section(&job->need);
    gsize offset, length;
    if (!mime_index_find(message->index, section, &offset, &length)) {
        g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_DATA, "message %u has no section %s",
                    job->need.uid, section);
        return false;
    }
    g_autoptr(Sink) sink = sink_new(job->engine->store, &job->need, error);
    for (gsize done = 0; sink && done < length; done += SLICE) {
        if (!sink_take(sink, message->raw + offset + done, MIN(SLICE, length - done), error))
            return false;
    }
    return sink && sink_finish(sink, error);
}

static void content_from_bytes(Job *job, const GError *error)
{
    g_autoptr(GError) failed = NULL;
    const LocalMessage *message = error ? NULL : message_of(job, &failed);
    if (message)
        cut(job, message, &failed);
    job_finish(job, error ? error : failed);
}

void local_content_start(Job *job)
{
    g_autoptr(GError) error = NULL;
    if (!message_of(job, &error) && g_error_matches(error, IMAPFS_ERROR, IMAPFS_ERROR_NOT_FOUND))
        await_message(job, content_from_bytes);
    else
        content_from_bytes(job, error);
}

/* --- letters --- */

static ContentKey raw_key(const Job *job)
{
    return (ContentKey){job->need.box, job->need.uid, CONTENT_RAW, ""};
}

bool local_has_letter(const Job *job)
{
    ContentKey key = raw_key(job);
    return job->need.content == CONTENT_LETTER &&
           content_exists(store_reader(job->engine->store), &key);
}

static bool copy_letter(Job *job, Content *content, GError **error)
{
    g_autoptr(Sink) sink = sink_new(job->engine->store, &job->need, error);
    g_autofree char *slice = g_malloc(SLICE);
    guint64 done = 0;
    while (sink && done < content_size(content)) {
        gssize n = content_read(content, slice, SLICE, done, error);
        if (n < 0 || !sink_take(sink, slice, (gsize)n, error))
            return false;
        done += (guint64)n;
    }
    return sink && sink_finish(sink, error);
}

void local_letter_start(Job *job)
{
    ContentKey key = raw_key(job);
    g_autoptr(Content) content = content_open(store_reader(job->engine->store), &key);
    g_autoptr(GError) error = NULL;
    if (!content) { /* evicted just now, or damaged */
        content_job_fetch(job);
        return;
    }
    copy_letter(job, content, &error);
    job_finish(job, error);
}
