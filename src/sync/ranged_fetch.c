/* ranged_fetch.c - fetches the pieces of ranged contents.
 *
 * The rule: bytes count as here only after every one of them was found to be what the size and the
 * encoding say stands there. Few pieces are in flight, so that what others wait for is not behind
 * megabytes; what a reader waits for goes before what is read ahead. Answers may come in any order,
 * and several in one. */
#include "ranged.h"

#include "imapfs/base/clock.h"
#include "imapfs/base/error.h"
#include "imapfs/base/log.h"

#define IN_FLIGHT 6 /* more than the four that Dovecot works on at a time */
/* Of what is read ahead in its turn (ranged_expect), all is queued at once: what is asked for after
 * it is to come after it. */
#define QUEUED 24

/* One command in flight. */
typedef struct {
    Ranged *ranged;         /* a reference */
    Mailbox *mailbox;       /* a reference */
    guint64 first, count;   /* blocks; none when it is streamed */
    guint64 origin, length; /* on the wire */
    Command *command;
    bool answered, taken;
    bool named; /* something of this section came, but not this piece */
    GError *error;
} Chunk;

static void chunk_free(Chunk *chunk)
{
    g_clear_error(&chunk->error);
    g_clear_pointer(&chunk->mailbox, mailbox_unref);
    ranged_unref(chunk->ranged);
    g_free(chunk);
}

/* --- who waits --- */

static void note_progress(Ranged *self)
{
    for (guint i = 0; i < self->jobs->len; i++)
        job_progress(self->jobs->pdata[i]);
}

static bool is_over(Ranged *self, Job *job)
{
    if (!job_is_wanted(job))
        return true;
    if (job->need.kind == NEED_CONTENT)
        return ranged_is_whole(self);
    return ranged_has(self, job->need.offset, job->need.length);
}

/* Finishes and lets go of the jobs of which that can be said. */
static void finish_jobs(Ranged *self)
{
    for (guint i = 0; i < self->jobs->len;) {
        Job *job = self->jobs->pdata[i];
        if (!job->finished && is_over(self, job))
            job_finish(job, NULL);
        if (job->finished) {
            g_ptr_array_remove_index(self->jobs, i);
            job_unref(job);
        } else {
            i++;
        }
    }
}

static void fail_jobs(Ranged *self, const GError *error)
{
    ranged_stop_ahead(self);
    self->stalled = true;
    for (guint i = 0; i < self->jobs->len; i++)
        job_finish(self->jobs->pdata[i], error);
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

/* False: it is not as the map has it. */
static bool take_by_map(Chunk *chunk, const guint8 *bytes, gsize length)
{
    Ranged *self = chunk->ranged;
    g_autoptr(GByteArray) decoded = NULL;
    if (self->base64) {
        decoded = g_byte_array_new();
        if (!base64_map_decode(&self->map, chunk->origin, bytes, length, decoded))
            return false;
        bytes = decoded->data;
        length = decoded->len;
    }
    chunk->taken = ranged_put(self, chunk->first, chunk->count, bytes, length, &chunk->error);
    return true;
}

static void take_by_stream(Chunk *chunk, const guint8 *bytes, gsize length)
{
    Ranged *self = chunk->ranged;
    if (ranged_stream_take(self, chunk->origin, bytes, length, &chunk->taken, &chunk->error))
        return;
    if (g_error_matches(chunk->error, IMAPFS_ERROR, IMAPFS_ERROR_DATA))
        ranged_set_corrected(self);
    ranged_give_up(self, chunk->error); /* the decoder has what the file has not */
}

static void chunk_take(Chunk *chunk, const FetchBody *body)
{
    Ranged *self = chunk->ranged;
    gsize length = 0;
    const guint8 *bytes = body->bytes ? g_bytes_get_data(body->bytes, &length) : NULL;
    chunk->answered = true;
    if (chunk->mailbox->box != self->key.box) {
        chunk_fail(chunk, IMAPFS_ERROR_GONE, "the mailbox was replaced on the server");
    } else if (!body->bytes) {
        chunk_fail(chunk, IMAPFS_ERROR_DATA, "the server gave NIL");
        mailbox_mark(chunk->mailbox, DIRTY_VERIFY); /* how some say "expunged" (RFC 2180 4.1.3) */
    } else if (length != chunk->length) {
        chunk_fail(chunk, IMAPFS_ERROR_DATA,
                   "the server gave %" G_GSIZE_FORMAT " bytes instead of %" G_GUINT64_FORMAT,
                   length, chunk->length);
    } else {
        if (!self->streamed && !take_by_map(chunk, bytes, length))
            ranged_stream_begin(self);
        if (self->streamed)
            take_by_stream(chunk, bytes, length);
    }
    note_progress(self);
    finish_jobs(self);
}

/* Two may begin at the same place, when the stream has taken over: the one whose length it is. */
static Chunk *find_chunk(const Ranged *self, const FetchBody *body)
{
    gsize length = body->bytes ? g_bytes_get_size(body->bytes) : 0;
    Chunk *found = NULL;
    for (guint i = 0; i < self->chunks->len; i++) {
        Chunk *chunk = self->chunks->pdata[i];
        if (chunk->answered || !body->has_origin || chunk->origin != body->origin)
            continue;
        if (chunk->length == length)
            return chunk;
        found = chunk;
    }
    return found;
}

static bool on_body(Command *command, Response *response, gpointer data)
{
    Chunk *own = data;
    Ranged *self = own->ranged;
    const FetchData *got = response->fetch;
    bool ours = false;
    if (!got || !(got->present & FETCH_UID) || got->uid != self->key.uid)
        return false;
    for (guint i = 0; got->bodies && i < got->bodies->len; i++) {
        const FetchBody *body = g_ptr_array_index(got->bodies, i);
        if (body->binary || g_ascii_strcasecmp(body->section, self->key.section) != 0)
            continue;
        Chunk *chunk = find_chunk(self, body);
        own->named = own->named || !chunk;
        ours = ours || chunk;
        if (chunk)
            chunk_take(chunk, body);
    }
    if (ours || !got->broken || own->answered)
        return ours;
    own->answered = true;
    chunk_fail(own, IMAPFS_ERROR_DATA, "the server's answer cannot be understood: %s",
               got->problem ? got->problem : "?");
    return true;
}

/* Part of a piece came. */
static void on_progress(gpointer data)
{
    note_progress(((Chunk *)data)->ranged);
}

/* --- the end of a command --- */

static void release(Ranged *self)
{
    if (self->held)
        mailbox_release_patient(self->mailbox, self->generation);
    self->held = false;
    g_clear_pointer(&self->mailbox, mailbox_unref);
}

static void try_again(Job *job)
{
    if (job->need.kind == NEED_CONTENT)
        content_job_start(job);
    else
        ranged_job_start(job);
}

/* The connection went: who waits tries again, after all that was in flight has been told so, and
 * not from here: the session is still ending. */
static void retry_jobs(Ranged *self)
{
    g_autoptr(GError) error = error_from_result(COMMAND_LOST, NULL, "fetch");
    g_autoptr(GPtrArray) jobs = self->jobs;
    self->jobs = g_ptr_array_new();
    self->lost = false;
    self->stalled = true;
    release(self);
    ranged_stop_ahead(self);
    ranged_set_idle(self, true);
    for (guint i = 0; i < jobs->len; i++) {
        job_retry(jobs->pdata[i], try_again, error);
        job_unref(jobs->pdata[i]);
    }
}

/* Whether the job waits for some of these blocks. */
static bool wants_any(const Ranged *self, const Job *job, guint64 first, guint64 count)
{
    guint64 begin = first * self->block_size, end = (first + count) * self->block_size;
    return job->need.offset < end && job->need.offset + job->need.length > begin;
}

/* Those who wait for it; what is streamed is one piece. */
static void chunk_failed(Chunk *chunk)
{
    Ranged *self = chunk->ranged;
    log_info("sync", "%s: %s", chunk->mailbox->name, chunk->error->message);
    if (self->streamed) {
        fail_jobs(self, chunk->error);
        return;
    }
    ranged_stop_ahead(self);
    for (guint i = 0; i < self->jobs->len; i++) {
        Job *job = self->jobs->pdata[i];
        if (wants_any(self, job, chunk->first, chunk->count))
            job_finish(job, chunk->error);
    }
}

/* Why a piece did not come, if it did not. */
static void set_error(Chunk *chunk, CommandResult result, const Response *tagged)
{
    if (chunk->error || chunk->taken)
        return;
    if (result != COMMAND_OK) {
        chunk->error = mailbox_command_error(chunk->mailbox, result, tagged, "fetch");
    } else if (!chunk->answered) {
        if (chunk->named)
            chunk_fail(chunk, IMAPFS_ERROR_DATA, "the server left out what was asked for");
        else
            chunk_fail(chunk, IMAPFS_ERROR_GONE, "the message is no longer on the server");
        mailbox_mark(chunk->mailbox, DIRTY_VERIFY);
    }
}

static void on_done(Command *command, CommandResult result, const Response *tagged, gpointer data)
{
    Chunk *chunk = data;
    Ranged *self = chunk->ranged;
    g_ptr_array_remove_fast(self->chunks, chunk);
    self->lost = self->lost || result == COMMAND_LOST;
    if (!chunk->taken)
        ranged_unclaim(self, chunk->first, chunk->count);
    set_error(chunk, result, tagged);
    if (self->streamed && self->chunks->len == 0)
        ranged_stream_rewind(self);
    if (chunk->error && !g_error_matches(chunk->error, IMAPFS_ERROR, IMAPFS_ERROR_LOST))
        chunk_failed(chunk);
    if (!self->lost)
        ranged_pump(self);
    else if (self->chunks->len == 0)
        retry_jobs(self);
    chunk_free(chunk);
}

/* --- asking --- */

/* Takes the chunk. */
static void send(Ranged *self, CommandLane lane, Chunk *chunk)
{
    Command *command = chunk->command = command_new(lane, on_done, chunk);
    chunk->mailbox = mailbox_ref(self->mailbox);
    command_text_add(command->text,
                     "UID FETCH %u (UID BODY.PEEK[%s]<%" G_GUINT64_FORMAT ".%" G_GUINT64_FORMAT
                     ">)",
                     self->key.uid, self->key.section, chunk->origin, chunk->length);
    command->wants = 1ull << RESP_FETCH;
    command->expected = 1;
    command->weight = chunk->length;
    command->on_untagged = on_body;
    command->on_progress = on_progress;
    g_ptr_array_add(self->chunks, chunk);
    session_submit(self->mailbox->session, command);
}

/* Pieces that are sent, or that somebody waits for. */
static guint count_in_flight(const Ranged *self)
{
    guint n = 0;
    for (guint i = 0; i < self->chunks->len; i++) {
        const Command *command = ((const Chunk *)self->chunks->pdata[i])->command;
        n += !command->text || command->lane == LANE_FOREGROUND;
    }
    return n;
}

static bool has_room(const Ranged *self, CommandLane lane)
{
    if (lane == LANE_FOREGROUND)
        return count_in_flight(self) < IN_FLIGHT;
    return self->chunks->len < (self->in_turn ? QUEUED : IN_FLIGHT);
}

static bool is_waited_for(const Ranged *self, guint64 first, guint64 count)
{
    for (guint i = 0; i < self->jobs->len; i++)
        if (wants_any(self, self->jobs->pdata[i], first, count))
            return true;
    return false;
}

/* The blocks to ask for next; 0: none. While those that somebody waits for have no room, what is
 * read ahead in its turn is queued all the same: it is to come before what follows it. */
static guint64 claim_blocks(Ranged *self, guint64 *first_out, CommandLane *lane_out)
{
    guint64 ahead = 0, ahead_end = 0, n;
    bool more = ranged_ahead(self, &ahead, &ahead_end);
    bool room = has_room(self, LANE_FOREGROUND);
    *lane_out = LANE_FOREGROUND;
    for (guint i = 0; i < self->jobs->len && room; i++) {
        const Need *need = &((Job *)self->jobs->pdata[i])->need;
        guint64 end = ranged_block_end(self, need->offset + need->length);
        *first_out = ranged_block_of(self, need->offset);
        if (more && ahead <= end && ahead_end > end)
            end = ahead_end;
        if ((n = ranged_claim(self, first_out, end, RANGED_CHUNK_BLOCKS)))
            return n;
    }
    if (!more || !has_room(self, LANE_BACKGROUND) || (self->jobs->len && !room && !self->in_turn))
        return 0;
    *first_out = ahead;
    n = ranged_claim(self, first_out, ahead_end, RANGED_CHUNK_BLOCKS);
    if (!is_waited_for(self, *first_out, n))
        *lane_out = LANE_BACKGROUND;
    return n;
}

/* To its end while anybody has it open: its size is not known before. */
static bool is_stream_wanted(Ranged *self)
{
    pthread_mutex_lock(&self->lock);
    bool wanted = self->jobs->len > 0 || (self->opens > 0 && !self->stalled);
    pthread_mutex_unlock(&self->lock);
    return wanted && (!self->stepping || self->chunks->len == 0);
}

/* What to ask for next, or NULL. */
static Chunk *claim_next(Ranged *self, CommandLane *lane_out)
{
    Chunk next = {.ranged = self};
    if (self->dropped || self->engine->stop_us)
        return NULL;
    if (self->streamed) {
        if (self->chunks->len >= IN_FLIGHT)
            return NULL;
        *lane_out = self->jobs->len ? LANE_FOREGROUND : LANE_BACKGROUND;
        if (!is_stream_wanted(self) || !ranged_stream_claim(self, &next.origin, &next.length))
            return NULL;
    } else {
        next.count = claim_blocks(self, &next.first, lane_out);
        if (!next.count)
            return NULL;
        ranged_wire_range(self, next.first, next.count, &next.origin, &next.length);
    }
    ranged_ref(self);
    return g_memdup2(&next, sizeof(next));
}

static void unclaim(Ranged *self, Chunk *chunk)
{
    ranged_unclaim(self, chunk->first, chunk->count);
    if (self->streamed)
        self->stream_asked = chunk->origin;
    chunk_free(chunk);
}

static void on_session(Mailbox *mailbox, Session *session, const GError *error, gpointer data)
{
    Ranged *self = data;
    self->acquiring = false;
    self->held = session != NULL;
    self->generation = mailbox->generation;
    if (session)
        mailbox_is_patient(mailbox);
    if (!session)
        fail_jobs(self, error);
    ranged_pump(self);
    ranged_unref(self);
}

static void acquire(Ranged *self)
{
    g_autoptr(GError) error = NULL;
    Mailbox *mailbox = mailbox_get(self->engine, self->key.box, &error);
    if (!mailbox) {
        ranged_give_up(self, error);
        return;
    }
    release(self);
    self->mailbox = mailbox_ref(mailbox);
    self->acquiring = true;
    mailbox_acquire(mailbox, LANE_FOREGROUND, on_session, ranged_ref(self));
}

/* Lets go of the session when there is nothing to ask for. */
void ranged_pump(Ranged *ranged)
{
    CommandLane lane;
    Chunk *chunk;
    if (ranged->acquiring || ranged->lost)
        return;
    if (ranged->held && ranged->generation != ranged->mailbox->generation) { /* it was given up */
        if (ranged->chunks->len)
            return;
        release(ranged);
    }
    ranged_ref(ranged);
    finish_jobs(ranged);
    while ((chunk = claim_next(ranged, &lane))) {
        if (ranged->held) {
            send(ranged, lane, chunk);
            continue;
        }
        unclaim(ranged, chunk);
        acquire(ranged);
        break;
    }
    bool idle = ranged->chunks->len == 0 && !ranged->acquiring;
    ranged_set_idle(ranged, idle);
    if (idle)
        release(ranged);
    if (ranged_is_whole(ranged))
        ranged_keep_start(ranged);
    ranged_unref(ranged);
}

/* --- the start --- */

/* What was asked for ahead, and is waited for now, is ahead of nobody any more. */
static void hurry(Ranged *self, const Need *need)
{
    guint64 first = ranged_block_of(self, need->offset);
    guint64 end = ranged_block_end(self, need->offset + need->length);
    for (guint i = 0; i < self->chunks->len; i++) {
        const Chunk *chunk = self->chunks->pdata[i];
        if (self->streamed || (chunk->first < end && chunk->first + chunk->count > first))
            session_hurry(self->mailbox->session, chunk->command);
    }
}

void ranged_add_job(Ranged *ranged, Job *job)
{
    ranged->used_us = clock_mono_us();
    ranged->stalled = false;
    g_ptr_array_add(ranged->jobs, job_ref(job));
    if (ranged->held && ranged->generation == ranged->mailbox->generation)
        hurry(ranged, &job->need);
    ranged_pump(ranged);
}

void ranged_expect(Ranged *ranged, guint64 encoded)
{
    ranged->in_turn = true;
    ranged_note_expected(ranged, encoded);
    ranged_pump(ranged);
}

void ranged_job_start(Job *job)
{
    ContentKey key = need_content_key(&job->need);
    g_autofree char *name = ranged_name(&key);
    Ranged *self = ranged_find(job->engine, name);
    if (self)
        ranged_add_job(self, job);
    else /* it is whole by now, or will never be: reading again tells */
        job_finish(job, NULL);
}
