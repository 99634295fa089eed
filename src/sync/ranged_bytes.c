/* ranged_bytes.c - the bytes of a ranged content: a file, and which of its blocks are in it.
 *
 * The rule: a block that is here never changes and never goes, so what was seen to be here under
 * the lock may be read without it. */
#include "ranged.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "imapfs/base/error.h"

#define BLOCK_SIZE (8u * 1024) /* about: whole lines */
#define AHEAD_MAX (4u * 1024 * 1024)
/* Readers' requests overtake each other by so much. */
#define RUN_SLACK (256u * 1024)

Ranged *ranged_new(Engine *engine, const ContentKey *key, const char *name, guint64 encoded,
                   const Base64Map *map, int fd, GByteArray *tail, guint64 tail_at)
{
    Ranged *self = g_new0(Ranged, 1);
    guint32 line = 1, line_encoded = 1;

    self->refs = 1;
    self->engine = engine;
    self->key = *key;
    self->key.section = g_strdup(key->section);
    self->name = g_strdup(name);
    self->encoded = self->size = encoded;
    self->fd = fd;
    self->tail = tail;
    self->tail_at = tail_at;
    if (map) {
        self->base64 = true;
        self->map = *map;
        self->size = map->decoded;
        line = base64_map_line_decoded(map);
        line_encoded = base64_map_line_encoded(map);
    }
    self->block_size = BLOCK_SIZE / line * line;
    self->block_encoded = BLOCK_SIZE / line * line_encoded;
    self->n_blocks = (self->size + self->block_size - 1) / self->block_size;
    self->blocks = g_malloc0(self->n_blocks);
    self->jobs = g_ptr_array_new();
    self->idle = true;
    pthread_mutex_init(&self->lock, NULL);
    return self;
}

Ranged *ranged_ref(Ranged *ranged)
{
    g_atomic_int_inc(&ranged->refs);
    return ranged;
}

void ranged_unref(Ranged *ranged)
{
    if (!g_atomic_int_dec_and_test(&ranged->refs))
        return;
    close(ranged->fd);
    pthread_mutex_destroy(&ranged->lock);
    g_ptr_array_unref(ranged->jobs);
    g_byte_array_unref(ranged->tail);
    g_clear_error(&ranged->failed);
    g_free(ranged->blocks);
    g_free(ranged->name);
    g_free((char *)ranged->key.section);
    g_free(ranged);
}

void ranged_close(Ranged *ranged)
{
    pthread_mutex_lock(&ranged->lock);
    ranged->opens--;
    pthread_mutex_unlock(&ranged->lock);
    ranged_unref(ranged);
}

guint64 ranged_size(const Ranged *ranged)
{
    return ranged->size;
}

const ContentKey *ranged_key(const Ranged *ranged)
{
    return &ranged->key;
}

guint64 ranged_block_of(const Ranged *ranged, guint64 offset)
{
    return MIN(offset / ranged->block_size, ranged->n_blocks);
}

/* The block after the last one that [.., end) touches. */
static guint64 block_end(const Ranged *ranged, guint64 end)
{
    return MIN((end + ranged->block_size - 1) / ranged->block_size, ranged->n_blocks);
}

void ranged_wire_range(const Ranged *ranged, guint64 first, guint64 count, guint64 *offset_out,
                       guint64 *length_out)
{
    guint64 end = first + count < ranged->n_blocks ? (first + count) * ranged->block_encoded
                                                   : ranged->encoded;
    *offset_out = first * ranged->block_encoded;
    *length_out = end - *offset_out;
}

/* --- which are here --- */

static bool all_here(const Ranged *self, guint64 first, guint64 end)
{
    for (guint64 i = first; i < end; i++) {
        if (self->blocks[i] != BLOCK_HERE)
            return false;
    }
    return true;
}

/* The first absent block in [first, end), or end. */
static guint64 find_absent(const Ranged *self, guint64 first, guint64 end)
{
    while (first < end && self->blocks[first] != BLOCK_ABSENT)
        first++;
    return first;
}

guint64 ranged_claim(Ranged *ranged, guint64 *first, guint64 end, guint64 max)
{
    guint64 n = 0;

    pthread_mutex_lock(&ranged->lock);
    end = MIN(end, ranged->n_blocks);
    *first = find_absent(ranged, *first, end);
    while (n < max && *first + n < end && ranged->blocks[*first + n] == BLOCK_ABSENT)
        ranged->blocks[*first + n++] = BLOCK_ASKED;
    pthread_mutex_unlock(&ranged->lock);
    return n;
}

void ranged_unclaim(Ranged *ranged, guint64 first, guint64 count)
{
    pthread_mutex_lock(&ranged->lock);
    for (guint64 i = first; i < first + count; i++) {
        if (ranged->blocks[i] == BLOCK_ASKED)
            ranged->blocks[i] = BLOCK_ABSENT;
    }
    pthread_mutex_unlock(&ranged->lock);
}

bool ranged_has(Ranged *ranged, guint64 offset, guint64 length)
{
    guint64 end = MIN(ranged->size, offset + MIN(length, G_MAXUINT64 - offset));
    bool here;

    pthread_mutex_lock(&ranged->lock);
    here =
        offset >= end || all_here(ranged, ranged_block_of(ranged, offset), block_end(ranged, end));
    pthread_mutex_unlock(&ranged->lock);
    return here;
}

bool ranged_is_whole(Ranged *ranged)
{
    pthread_mutex_lock(&ranged->lock);
    bool whole = ranged->n_here == ranged->n_blocks;
    pthread_mutex_unlock(&ranged->lock);
    return whole;
}

void ranged_fail(Ranged *ranged, const GError *error)
{
    pthread_mutex_lock(&ranged->lock);
    if (!ranged->failed)
        ranged->failed = g_error_copy(error);
    pthread_mutex_unlock(&ranged->lock);
}

/* --- writing --- */

static bool write_at(int fd, const guint8 *bytes, gsize length, guint64 offset, GError **error)
{
    while (length > 0) {
        ssize_t n = pwrite(fd, bytes, length, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            int err = n == 0 ? ENOSPC : errno;
            bool full = err == ENOSPC || err == EDQUOT || err == EFBIG;
            g_set_error(error, IMAPFS_ERROR, full ? IMAPFS_ERROR_FULL : IMAPFS_ERROR_STORE,
                        "a temporary file: %s", g_strerror(err));
            return false;
        }
        bytes += n;
        offset += (guint64)n;
        length -= (gsize)n;
    }
    return true;
}

bool ranged_put(Ranged *ranged, guint64 first, guint64 count, const void *bytes, gsize length,
                GError **error)
{
    if (!write_at(ranged->fd, bytes, length, first * ranged->block_size, error))
        return false;
    pthread_mutex_lock(&ranged->lock);
    for (guint64 i = first; i < first + count; i++) {
        ranged->n_here += ranged->blocks[i] != BLOCK_HERE;
        ranged->blocks[i] = BLOCK_HERE;
    }
    pthread_mutex_unlock(&ranged->lock);
    return true;
}

/* --- reading ahead --- */

/* One piece on the wire. A reader who begins somewhere and goes forward gets so much before it is
 * clear that he wants more; then as much ahead as he has read, in whole pieces. */
static guint64 ahead_step(const Ranged *self)
{
    return (guint64)RANGED_CHUNK_BLOCKS * self->block_size;
}

/* Under the lock. Telling the same read again changes nothing. */
static void note_read(Ranged *self, guint64 offset, guint64 end)
{
    guint64 run, ahead;

    if (self->run_end == 0 || offset < self->run_start || offset > self->run_end + RUN_SLACK) {
        self->run_start = offset;
        self->run_end = self->ahead_end = end;
        return;
    }
    if (end <= self->run_end)
        return;
    self->run_end = end;
    run = end - self->run_start;
    if (run <= ahead_step(self))
        ahead = self->run_start + ahead_step(self);
    else
        ahead = (end + MIN(run, AHEAD_MAX)) / ahead_step(self) * ahead_step(self);
    self->ahead_end = MIN(MAX(ahead, self->ahead_end), self->size);
}

/* Under the lock. */
static bool find_ahead(const Ranged *self, guint64 *first_out, guint64 *end_out)
{
    guint64 end = block_end(self, self->ahead_end);
    guint64 first = find_absent(self, ranged_block_of(self, self->run_end), end);

    *first_out = first;
    *end_out = end;
    return first < end && !self->failed && self->opens > 0;
}

bool ranged_ahead(Ranged *ranged, guint64 *first_out, guint64 *end_out)
{
    pthread_mutex_lock(&ranged->lock);
    bool found = find_ahead(ranged, first_out, end_out);
    pthread_mutex_unlock(&ranged->lock);
    return found;
}

void ranged_stop_ahead(Ranged *ranged)
{
    pthread_mutex_lock(&ranged->lock);
    ranged->run_start = ranged->run_end = ranged->ahead_end = 0;
    pthread_mutex_unlock(&ranged->lock);
}

void ranged_set_idle(Ranged *ranged, bool idle)
{
    pthread_mutex_lock(&ranged->lock);
    ranged->idle = idle;
    pthread_mutex_unlock(&ranged->lock);
}

/* Under the lock: whether the loop is to be told that there is something to do: when half of what
 * was read ahead is used up. */
static bool is_to_wake(Ranged *self)
{
    guint64 first, end;

    if (!self->idle || self->run_end - self->run_start <= ahead_step(self) ||
        !find_ahead(self, &first, &end) ||
        first * self->block_size > self->run_end + (self->ahead_end - self->run_end) / 2)
        return false;
    self->idle = false;
    return true;
}

/* --- reading --- */

static gssize read_at(const Ranged *self, guint8 *buffer, gsize size, guint64 offset,
                      GError **error)
{
    gsize done = 0;

    while (done < size) {
        ssize_t n = pread(self->fd, buffer + done, size - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_STORE, "a temporary file: %s",
                        n == 0 ? "it was cut short" : g_strerror(errno));
            return -1;
        }
        done += (gsize)n;
    }
    return (gssize)done;
}

gssize ranged_read(Ranged *ranged, void *buffer, gsize size, guint64 offset, GError **error)
{
    guint64 end;
    bool here, wake;

    if (offset >= ranged->size || size == 0)
        return 0;
    size = (gsize)MIN((guint64)MIN(size, (gsize)G_MAXSSIZE), ranged->size - offset);
    end = offset + size;
    if (offset >= ranged->tail_at) {
        memcpy(buffer, ranged->tail->data + (offset - ranged->tail_at), size);
        return (gssize)size;
    }
    pthread_mutex_lock(&ranged->lock);
    note_read(ranged, offset, end);
    here = all_here(ranged, ranged_block_of(ranged, offset), block_end(ranged, end));
    if (!here && ranged->failed)
        g_propagate_error(error, g_error_copy(ranged->failed));
    bool failed = !here && ranged->failed;
    wake = here && is_to_wake(ranged);
    pthread_mutex_unlock(&ranged->lock);
    if (wake)
        ranged->wake(ranged);
    if (failed)
        return -1;
    return here ? read_at(ranged, buffer, size, offset, error) : RANGED_ABSENT;
}
