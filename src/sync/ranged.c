/* ranged.c - fetches the ranges of ranged contents, keeps the table of them, and makes them
 * ordinary contents when all of one is here.
 *
 * The rule: a block counts as here only after every byte of it was found to be what the size and
 * the encoding say stands there. Few pieces are in flight, so that what others wait for is not
 * behind megabytes; what a reader waits for goes before what is read ahead. */
#include "ranged.h"

#include <string.h>
#include <unistd.h>

#include "imapfs/base/clock.h"
#include "imapfs/base/error.h"
#include "imapfs/base/log.h"

#define IN_FLIGHT 3
#define KEPT_MAX 8 /* with gaps, and open nowhere */
#define COMMIT_SLICE (256u * 1024)

/* One command in flight. */
typedef struct {
    Ranged *ranged;   /* a reference */
    Mailbox *mailbox; /* a reference */
    guint generation;
    guint64 first, count;   /* blocks */
    guint64 origin, length; /* on the wire */
    bool answered, here;
    GError *error;
} Chunk;

static void pump(Ranged *self);

/* --- the table --- */

char *ranged_name(const ContentKey *key)
{
    return g_strdup_printf("%u:%u:%d:%s", key->box, key->uid, (int)key->kind, key->section);
}

Ranged *ranged_find(Engine *engine, const char *name)
{
    pthread_mutex_lock(&engine->shared.lock);
    Ranged *found = g_hash_table_lookup(engine->shared.ranged, name);
    pthread_mutex_unlock(&engine->shared.lock);
    return found;
}

Ranged *engine_ranged(Engine *engine, const ContentKey *key)
{
    g_autofree char *name = ranged_name(key);
    pthread_mutex_lock(&engine->shared.lock);
    Ranged *found = g_hash_table_lookup(engine->shared.ranged, name);
    if (found) {
        pthread_mutex_lock(&found->lock);
        found->opens++;
        pthread_mutex_unlock(&found->lock);
        ranged_ref(found);
    }
    pthread_mutex_unlock(&engine->shared.lock);
    return found;
}

static bool is_open(Ranged *self)
{
    pthread_mutex_lock(&self->lock);
    bool open = self->opens > 0;
    pthread_mutex_unlock(&self->lock);
    return open;
}

bool engine_was_corrected(Engine *engine, const ContentKey *key)
{
    g_autofree char *name = ranged_name(key);
    pthread_mutex_lock(&engine->shared.lock);
    bool corrected = g_hash_table_contains(engine->shared.corrected, name);
    pthread_mutex_unlock(&engine->shared.lock);
    return corrected;
}

static void set_corrected(Engine *engine, const char *name)
{
    pthread_mutex_lock(&engine->shared.lock);
    g_hash_table_add(engine->shared.corrected, g_strdup(name));
    pthread_mutex_unlock(&engine->shared.lock);
}

/* Takes it out of the table; who has it open may read on. unless_open: nobody opens it while this
 * looks, as that is done under the table's lock. */
static void ranged_drop(Ranged *self, bool unless_open)
{
    Engine *engine = self->engine;
    if (self->dropped)
        return;
    pthread_mutex_lock(&engine->shared.lock);
    self->dropped = !unless_open || !is_open(self);
    if (self->dropped)
        g_hash_table_remove(engine->shared.ranged, self->name);
    pthread_mutex_unlock(&engine->shared.lock);
    if (!self->dropped)
        return;
    engine_timer_clear(&self->commit);
    g_clear_pointer(&self->writer, content_abort);
    ranged_unref(self);
}

static bool is_kept_only(Ranged *self)
{
    return !is_open(self) && !self->in_flight && !self->jobs->len && !self->acquiring &&
           !self->commit;
}

static void all_ranged(Engine *engine, GPtrArray *out)
{
    GHashTableIter iter;
    gpointer value;
    pthread_mutex_lock(&engine->shared.lock);
    g_hash_table_iter_init(&iter, engine->shared.ranged);
    while (g_hash_table_iter_next(&iter, NULL, &value))
        g_ptr_array_add(out, ranged_ref(value));
    pthread_mutex_unlock(&engine->shared.lock);
}

/* Of those nobody has open, drops the one that was used longest ago, when they are too many. */
static void drop_oldest(Engine *engine, const Ranged *but)
{
    g_autoptr(GPtrArray) all = g_ptr_array_new_with_free_func((GDestroyNotify)ranged_unref);
    Ranged *oldest = NULL;
    guint kept = 0;
    all_ranged(engine, all);
    for (guint i = 0; i < all->len; i++) {
        Ranged *each = all->pdata[i];
        if (each == but || !is_kept_only(each))
            continue;
        kept++;
        if (!oldest || each->used_us < oldest->used_us)
            oldest = each;
    }
    if (kept >= KEPT_MAX)
        ranged_drop(oldest, true);
}

static void wake_run(Engine *engine, gpointer data)
{
    pump(data);
}

static void on_wake(Ranged *ranged)
{
    engine_post(ranged->engine, wake_run, ranged_ref(ranged), (GDestroyNotify)ranged_unref);
}

void ranged_add(Engine *engine, Ranged *ranged)
{
    drop_oldest(engine, ranged);
    ranged->wake = on_wake;
    ranged->used_us = clock_mono_us();
    pthread_mutex_lock(&engine->shared.lock);
    g_hash_table_insert(engine->shared.ranged, ranged->name, ranged);
    pthread_mutex_unlock(&engine->shared.lock);
}

void ranged_set_irregular(Engine *engine, const char *name)
{
    g_hash_table_add(engine->irregular, g_strdup(name));
}

/* Nothing more will come. */
static void give_up(Ranged *self, const GError *error)
{
    ranged_ref(self);
    ranged_fail(self, error);
    ranged_drop(self, false); /* before anybody hears of it, and opens it again */
    for (guint i = 0; i < self->jobs->len; i++)
        job_finish(self->jobs->pdata[i], error);
    ranged_unref(self);
}

void ranged_fail_box(Engine *engine, guint32 box, const GError *error)
{
    g_autoptr(GPtrArray) all = g_ptr_array_new_with_free_func((GDestroyNotify)ranged_unref);
    all_ranged(engine, all);
    for (guint i = 0; i < all->len; i++) {
        Ranged *each = all->pdata[i];
        if (each->key.box == box)
            give_up(each, error);
    }
}

static void remove_jobs(Ranged *self, bool (*is_over)(Ranged *, Job *))
{
    for (guint i = 0; i < self->jobs->len;) {
        Job *job = self->jobs->pdata[i];
        if (is_over && !is_over(self, job)) {
            i++;
            continue;
        }
        g_ptr_array_remove_index(self->jobs, i);
        job_unref(job);
    }
}

void ranged_free_all(Engine *engine)
{
    g_autoptr(GPtrArray) all = g_ptr_array_new_with_free_func((GDestroyNotify)ranged_unref);
    g_autoptr(GError) error =
        g_error_new(IMAPFS_ERROR, IMAPFS_ERROR_CANCELLED, "the file system is being unmounted");
    all_ranged(engine, all);
    for (guint i = 0; i < all->len; i++) {
        give_up(all->pdata[i], error);
        remove_jobs(all->pdata[i], NULL);
    }
}

/* --- becoming a content --- */

/* False: an error, or it is done. */
static bool commit_slice(Ranged *self, GError **error)
{
    g_autofree guint8 *buffer = g_malloc(COMMIT_SLICE);
    gsize n = (gsize)MIN(COMMIT_SLICE, self->size - self->committed);
    gssize got = n ? pread(self->fd, buffer, n, (off_t)self->committed) : 0;
    if (got < 0 || (gsize)got != n) {
        g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_STORE, "a temporary file cannot be read");
        return false;
    }
    if (!content_write(self->writer, buffer, n, error))
        return false;
    self->committed += n;
    if (self->committed < self->size)
        return true;
    content_commit(g_steal_pointer(&self->writer), error);
    return false;
}

static gboolean on_commit(gpointer data)
{
    Ranged *self = data;
    g_autoptr(GError) error = NULL;
    if (commit_slice(self, &error))
        return G_SOURCE_CONTINUE;
    g_clear_pointer(&self->writer, content_abort);
    g_clear_pointer(&self->commit, g_source_unref);
    if (error) { /* it stays as it is: readable while it is kept */
        self->commit_failed = true;
        log_warn("sync", "message %u: not kept in the cache: %s", self->key.uid, error->message);
    } else {
        ranged_drop(self, false);
    }
    return G_SOURCE_REMOVE;
}

static void commit_start(Ranged *self)
{
    g_autoptr(GError) error = NULL;
    if (self->commit || self->commit_failed || self->dropped)
        return;
    self->writer = content_begin(self->engine->store, &self->key, self->size, &error);
    if (!self->writer) {
        self->commit_failed = true;
        log_warn("sync", "message %u: not kept in the cache: %s", self->key.uid, error->message);
        return;
    }
    self->committed = 0;
    self->commit = engine_timer(self->engine, 0, on_commit, self);
}

/* --- what comes in --- */

static G_GNUC_PRINTF(3, 4) void chunk_fail(Chunk *chunk, ImapfsError code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    const ContentKey *key = &chunk->ranged->key;
    if (!chunk->error)
        chunk->error = g_error_new(IMAPFS_ERROR, (gint)code, "message %u, section %s: %s", key->uid,
                                   key->section, text);
}

static void chunk_put(Chunk *chunk, const guint8 *bytes, gsize length)
{
    Ranged *self = chunk->ranged;
    g_autoptr(GByteArray) decoded = NULL;
    if (self->base64) {
        decoded = g_byte_array_new();
        if (!base64_map_decode(&self->map, chunk->origin, bytes, length, decoded)) {
            chunk_fail(chunk, IMAPFS_ERROR_DATA, "its base64 is irregular");
            ranged_set_irregular(self->engine, self->name);
            set_corrected(self->engine, self->name);
            give_up(self, chunk->error);
            return;
        }
        bytes = decoded->data;
        length = decoded->len;
    }
    chunk->here = ranged_put(self, chunk->first, chunk->count, bytes, length, &chunk->error);
}

static bool is_answered(Ranged *self, Job *job)
{
    if (!job->finished && ranged_has(self, job->need.offset, job->need.length))
        job_finish(job, NULL);
    if (!job->finished)
        job_progress(job);
    return job->finished;
}

static void chunk_take(Chunk *chunk, const FetchBody *body)
{
    gsize length = 0;
    const guint8 *bytes = body->bytes ? g_bytes_get_data(body->bytes, &length) : NULL;
    chunk->answered = true;
    if (chunk->mailbox->box != chunk->ranged->key.box)
        chunk_fail(chunk, IMAPFS_ERROR_GONE, "the mailbox was replaced on the server");
    else if (!body->bytes)
        chunk_fail(chunk, IMAPFS_ERROR_DATA, "the server gave NIL");
    else if (length != chunk->length)
        chunk_fail(chunk, IMAPFS_ERROR_DATA,
                   "the server gave %" G_GSIZE_FORMAT " bytes instead of %" G_GUINT64_FORMAT,
                   length, chunk->length);
    else
        chunk_put(chunk, bytes, length);
    if (chunk->here)
        remove_jobs(chunk->ranged, is_answered);
}

static bool on_body(Command *command, Response *response, gpointer data)
{
    Chunk *chunk = data;
    const FetchData *got = response->fetch;
    if (!got || !(got->present & FETCH_UID) || got->uid != chunk->ranged->key.uid ||
        chunk->answered)
        return false;
    for (guint i = 0; got->bodies && i < got->bodies->len; i++) {
        const FetchBody *body = g_ptr_array_index(got->bodies, i);
        if (body->binary || !body->has_origin || body->origin != chunk->origin ||
            g_ascii_strcasecmp(body->section, chunk->ranged->key.section) != 0)
            continue;
        chunk_take(chunk, body);
        return true;
    }
    if (!got->broken)
        return false;
    chunk->answered = true;
    chunk_fail(chunk, IMAPFS_ERROR_DATA, "the server's answer cannot be understood: %s",
               got->problem ? got->problem : "?");
    return true;
}

/* Part of a piece came. */
static void on_progress(gpointer data)
{
    Chunk *chunk = data;
    for (guint i = 0; i < chunk->ranged->jobs->len; i++)
        job_progress(chunk->ranged->jobs->pdata[i]);
}

/* --- the end of a command --- */

static void release(Ranged *self)
{
    if (self->held)
        mailbox_release(self->mailbox, self->generation);
    self->held = false;
    g_clear_pointer(&self->mailbox, mailbox_unref);
}

static void chunk_free(Chunk *chunk)
{
    g_clear_error(&chunk->error);
    mailbox_unref(chunk->mailbox);
    ranged_unref(chunk->ranged);
    g_free(chunk);
}

/* The connection went: who waits tries again, after all that was in flight has been told so, and
 * not from here: the session is still ending. */
static void retry_jobs(Ranged *self)
{
    g_autoptr(GError) error = error_from_result(COMMAND_LOST, NULL, "fetch");
    g_autoptr(GPtrArray) jobs = self->jobs;
    self->jobs = g_ptr_array_new();
    self->lost = false;
    release(self);
    ranged_stop_ahead(self);
    ranged_set_idle(self, true);
    for (guint i = 0; i < jobs->len; i++) {
        job_retry(jobs->pdata[i], ranged_job_start, error);
        job_unref(jobs->pdata[i]);
    }
}

static void chunk_failed(Chunk *chunk)
{
    Ranged *self = chunk->ranged;
    guint64 begin = chunk->first * self->block_size;
    guint64 end = (chunk->first + chunk->count) * self->block_size;
    log_info("sync", "%s: %s", chunk->mailbox->name, chunk->error->message);
    ranged_stop_ahead(self);
    for (guint i = 0; i < self->jobs->len; i++) {
        Job *job = self->jobs->pdata[i];
        if (job->need.offset < end && job->need.offset + job->need.length > begin)
            job_finish(job, chunk->error);
    }
}

static void on_done(Command *command, CommandResult result, const Response *tagged, gpointer data)
{
    Chunk *chunk = data;
    Ranged *self = chunk->ranged;
    self->in_flight--;
    self->lost = self->lost || result == COMMAND_LOST;
    if (!chunk->here)
        ranged_unclaim(self, chunk->first, chunk->count);
    if (result == COMMAND_LOST && chunk->mailbox->select_error && !chunk->error)
        chunk->error = g_error_copy(chunk->mailbox->select_error);
    else if (result != COMMAND_OK && !chunk->here && !chunk->error)
        chunk->error = error_from_result(result, tagged, "fetch");
    else if (result == COMMAND_OK && !chunk->answered) {
        chunk_fail(chunk, IMAPFS_ERROR_GONE, "the message is no longer on the server");
        mailbox_mark(chunk->mailbox, DIRTY_VERIFY);
    }
    if (chunk->error && !g_error_matches(chunk->error, IMAPFS_ERROR, IMAPFS_ERROR_LOST))
        chunk_failed(chunk);
    if (!self->lost)
        pump(self);
    else if (self->in_flight == 0)
        retry_jobs(self);
    chunk_free(chunk);
}

/* --- asking --- */

static void send(Ranged *self, CommandLane lane, guint64 first, guint64 count)
{
    Chunk *chunk = g_new0(Chunk, 1);
    chunk->ranged = ranged_ref(self);
    chunk->mailbox = mailbox_ref(self->mailbox);
    chunk->generation = self->generation;
    chunk->first = first;
    chunk->count = count;
    ranged_wire_range(self, first, count, &chunk->origin, &chunk->length);
    Command *command = command_new(lane, on_done, chunk);
    command_text_add(command->text,
                     "UID FETCH %u (UID BODY.PEEK[%s]<%" G_GUINT64_FORMAT ".%" G_GUINT64_FORMAT
                     ">)",
                     self->key.uid, self->key.section, chunk->origin, chunk->length);
    command->wants = 1ull << RESP_FETCH;
    command->expected = 1;
    command->on_untagged = on_body;
    command->on_progress = on_progress;
    self->in_flight++;
    session_submit(self->mailbox->session, command);
}

/* The blocks to ask for next; 0: none. */
static guint64 claim_next(Ranged *self, guint64 *first_out, CommandLane *lane_out)
{
    guint64 ahead = 0, ahead_end = 0, n;
    bool more = ranged_ahead(self, &ahead, &ahead_end);
    *lane_out = LANE_FOREGROUND;
    for (guint i = 0; i < self->jobs->len; i++) {
        const Need *need = &((Job *)self->jobs->pdata[i])->need;
        guint64 end = ranged_block_of(self, need->offset + need->length - 1) + 1;
        *first_out = ranged_block_of(self, need->offset);
        if (more && ahead <= end && ahead_end > end)
            end = ahead_end;
        if ((n = ranged_claim(self, first_out, end, RANGED_CHUNK_BLOCKS)))
            return n;
    }
    *lane_out = LANE_BACKGROUND;
    *first_out = ahead;
    return more ? ranged_claim(self, first_out, ahead_end, RANGED_CHUNK_BLOCKS) : 0;
}

static void on_session(Mailbox *mailbox, Session *session, const GError *error, gpointer data)
{
    Ranged *self = data;
    self->acquiring = false;
    self->held = session != NULL;
    self->generation = mailbox->generation;
    if (!session) {
        ranged_stop_ahead(self);
        for (guint i = 0; i < self->jobs->len; i++)
            job_finish(self->jobs->pdata[i], error);
    }
    pump(self);
    ranged_unref(self);
}

static void acquire(Ranged *self)
{
    g_autoptr(GError) error = NULL;
    Mailbox *mailbox = mailbox_get(self->engine, self->key.box, &error);
    if (!mailbox) {
        give_up(self, error);
        return;
    }
    release(self);
    self->mailbox = mailbox_ref(mailbox);
    self->acquiring = true;
    mailbox_acquire(mailbox, LANE_FOREGROUND, on_session, ranged_ref(self));
}

static bool is_unwanted(Ranged *self, Job *job)
{
    if (!job_is_wanted(job))
        job_finish(job, NULL);
    return job->finished;
}

/* Does what there is to do, and lets go of the session when there is nothing. */
static void pump(Ranged *self)
{
    CommandLane lane;
    guint64 first, n;
    if (self->acquiring || self->lost)
        return;
    if (self->held && self->generation != self->mailbox->generation) { /* it was given up */
        if (self->in_flight)
            return;
        release(self);
    }
    ranged_ref(self);
    remove_jobs(self, is_unwanted);
    while (!self->dropped && !self->engine->stop_us && self->in_flight < IN_FLIGHT &&
           (n = claim_next(self, &first, &lane))) {
        if (self->held) {
            send(self, lane, first, n);
            continue;
        }
        ranged_unclaim(self, first, n);
        acquire(self);
        break;
    }
    ranged_set_idle(self, self->in_flight == 0 && !self->acquiring);
    if (self->in_flight == 0 && !self->acquiring)
        release(self);
    if (ranged_is_whole(self))
        commit_start(self);
    ranged_unref(self);
}

void ranged_job_start(Job *job)
{
    const Need *need = &job->need;
    ContentKey key = {need->box, need->uid, need->content, need->section ? need->section : ""};
    g_autofree char *name = ranged_name(&key);
    Ranged *self = ranged_find(job->engine, name);
    if (!self) { /* it is whole by now, or will never be: reading again tells */
        job_finish(job, NULL);
        return;
    }
    if (need->length == 0 || need->offset >= self->size ||
        ranged_has(self, need->offset, need->length)) {
        job_finish(job, NULL);
        return;
    }
    self->used_us = clock_mono_us();
    g_ptr_array_add(self->jobs, job_ref(job));
    pump(self);
}
