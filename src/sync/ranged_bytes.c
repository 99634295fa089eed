/* ranged_bytes.c - the bytes of a ranged content: a file, and which of its blocks are in it.
 *
 * The rule: a block that somebody was given bytes of never changes, so what was marked read under
 * the lock may be read without it. */
#include "ranged.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "imapfs/base/error.h"
#include "imapfs/base/fault.h"

#define BLOCK_SIZE (8u * 1024) /* about: whole lines */

Ranged *ranged_new(Engine *engine, const ContentKey *key, const char *name, guint64 encoded,
                   const Base64Map *map, int fd, guint8 last)
{
    Ranged *self = g_new0(Ranged, 1);
    guint32 line = 1, line_encoded = 1;

    self->refs = 1;
    self->engine = engine;
    self->key = *key;
    self->key.section = g_strdup(key->section);
    self->name = g_strdup(name);
    self->encoded = self->told = encoded;
    self->fd = fd;
    self->last = last;
    if (map) {
        self->base64 = true;
        self->map = *map;
        self->told = map->decoded;
        line = base64_map_line_decoded(map);
        line_encoded = base64_map_line_encoded(map);
    }
    self->size = self->told;
    self->block_size = BLOCK_SIZE / line * line;
    self->block_encoded = BLOCK_SIZE / line * line_encoded;
    self->n_blocks = (self->told + self->block_size - 1) / self->block_size;
    self->blocks = g_malloc0(self->n_blocks);
    self->jobs = g_ptr_array_new();
    self->chunks = g_ptr_array_new();
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
    g_ptr_array_unref(ranged->chunks);
    g_clear_pointer(&ranged->transfer, transfer_free);
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

guint64 ranged_size(Ranged *ranged)
{
    pthread_mutex_lock(&ranged->lock);
    guint64 size = ranged->size;
    pthread_mutex_unlock(&ranged->lock);
    return size;
}

bool ranged_last(Ranged *ranged, char *byte_out)
{
    pthread_mutex_lock(&ranged->lock);
    bool known = !ranged->streamed;
    pthread_mutex_unlock(&ranged->lock);
    *byte_out = (char)ranged->last;
    return known;
}

const ContentKey *ranged_key(const Ranged *ranged)
{
    return &ranged->key;
}

guint64 ranged_block_of(const Ranged *ranged, guint64 offset)
{
    return MIN(offset / ranged->block_size, ranged->n_blocks);
}

guint64 ranged_block_end(const Ranged *ranged, guint64 end)
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

static bool is_here(const Ranged *self, guint64 block)
{
    return self->blocks[block] == BLOCK_HERE || self->blocks[block] == BLOCK_READ;
}

/* Under the lock: whether what is on its way comes right before a block. */
static bool is_after_asked(const Ranged *self, guint64 block)
{
    while (block > 0 && self->blocks[block - 1] == BLOCK_HERE)
        block--;
    return block > 0 && self->blocks[block - 1] == BLOCK_ASKED;
}

/* Under the lock: whether the bytes [offset, end) are here, and the right ones as far as is known.
 * What is streamed may go on after the size that was told: that is known at its end. Pieces that
 * come out of order are given in order: the one that is still to come may be irregular. */
static bool has(const Ranged *self, guint64 offset, guint64 end)
{
    guint64 last = ranged_block_end(self, end);

    if (self->streamed)
        return self->ended || (end <= self->frontier && end < self->told);
    for (guint64 i = ranged_block_of(self, offset); i < last; i++) {
        if (!is_here(self, i))
            return false;
    }
    return !is_after_asked(self, ranged_block_of(self, offset));
}

guint64 ranged_claim(Ranged *ranged, guint64 *first, guint64 end, guint64 max)
{
    guint64 n = 0;

    pthread_mutex_lock(&ranged->lock);
    end = MIN(end, ranged->n_blocks);
    while (*first < end && ranged->blocks[*first] != BLOCK_ABSENT)
        ++*first;
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
    guint64 end = MIN(ranged->told, offset + MIN(length, G_MAXUINT64 - offset));
    bool here;

    pthread_mutex_lock(&ranged->lock);
    here = has(ranged, offset, end);
    pthread_mutex_unlock(&ranged->lock);
    return here;
}

bool ranged_is_whole(Ranged *ranged)
{
    pthread_mutex_lock(&ranged->lock);
    bool whole = ranged->streamed ? ranged->ended : ranged->n_here == ranged->n_blocks;
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

/* --- the file --- */

bool ranged_write_at(const Ranged *ranged, const void *bytes, gsize length, guint64 offset,
                     GError **error)
{
    const guint8 *at = bytes;
    int err = fault_errno("ranged.write");

    while (err == 0 && length > 0) {
        ssize_t n = pwrite(ranged->fd, at, length, (off_t)offset);
        if (n > 0) {
            at += n;
            offset += (guint64)n;
            length -= (gsize)n;
        } else if (n == 0 || errno != EINTR) {
            err = n == 0 ? ENOSPC : errno;
        }
    }
    if (err == 0)
        return true;
    bool full = err == ENOSPC || err == EDQUOT || err == EFBIG;
    g_set_error(error, IMAPFS_ERROR, full ? IMAPFS_ERROR_FULL : IMAPFS_ERROR_STORE,
                "a temporary file: %s", g_strerror(err));
    return false;
}

bool ranged_read_at(const Ranged *ranged, void *buffer, gsize size, guint64 offset, GError **error)
{
    guint8 *at = buffer;

    while (size > 0) {
        ssize_t n = pread(ranged->fd, at, size, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_STORE, "a temporary file: %s",
                        n == 0 ? "it was cut short" : g_strerror(errno));
            return false;
        }
        at += n;
        offset += (guint64)n;
        size -= (gsize)n;
    }
    return true;
}

bool ranged_put(Ranged *ranged, guint64 first, guint64 count, const void *bytes, gsize length,
                GError **error)
{
    if (!ranged_write_at(ranged, bytes, length, first * ranged->block_size, error))
        return false;
    pthread_mutex_lock(&ranged->lock);
    for (guint64 i = first; i < first + count; i++) {
        if (is_here(ranged, i))
            continue;
        ranged->n_here++;
        ranged->blocks[i] = BLOCK_HERE;
    }
    pthread_mutex_unlock(&ranged->lock);
    return true;
}

/* --- reading --- */

/* Under the lock. What is streamed is not marked: it is right. */
static void mark_read(Ranged *self, guint64 offset, guint64 end)
{
    guint64 last = ranged_block_end(self, end);

    for (guint64 i = ranged_block_of(self, offset); !self->streamed && i < last; i++)
        self->blocks[i] = BLOCK_READ;
}

/* Under the lock. The bytes of it that there are, or what ranged_read() says in their place. */
static gssize begin_read(Ranged *self, gsize size, guint64 offset, bool *wake_out, GError **error)
{
    guint64 end, length;
    bool here;

    if (offset >= self->size && (!self->streamed || self->ended))
        return 0;
    length = MIN(MIN((guint64)size, G_MAXSSIZE), self->size - MIN(offset, self->size));
    end = offset + length;
    if (!self->streamed)
        ranged_note_read(self, offset, end);
    here = has(self, offset, end);
    if (self->failed && (!here || self->streamed)) {
        g_propagate_error(error, g_error_copy(self->failed));
        return -1;
    }
    if (!here)
        return RANGED_ABSENT;
    mark_read(self, offset, end);
    *wake_out = !self->streamed && ranged_note_wake(self);
    return (gssize)length;
}

gssize ranged_read(Ranged *ranged, void *buffer, gsize size, guint64 offset, GError **error)
{
    bool wake = false;
    gssize n;

    if (size == 0)
        return 0;
    pthread_mutex_lock(&ranged->lock);
    n = begin_read(ranged, size, offset, &wake, error);
    pthread_mutex_unlock(&ranged->lock);
    if (wake)
        ranged->wake(ranged);
    if (n > 0 && !ranged_read_at(ranged, buffer, (gsize)n, offset, error))
        return -1;
    return n;
}
