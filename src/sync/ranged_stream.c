/* ranged_stream.c - a ranged content whose base64 is irregular somewhere: from the first place on
 * that is not here, it is decoded as the whole of it would be.
 *
 * The rule: what somebody was given bytes of is compared, and not written again; if it is not what
 * the stream says, these bytes were wrong. Before that place all is right: every line of it was
 * checked to be regular. */
#include "ranged.h"

#include <string.h>
#include <unistd.h>

#include "imapfs/base/error.h"
#include "imapfs/base/log.h"

#define PIECE (128u * 1024) /* on the wire */

void ranged_stream_begin(Ranged *ranged)
{
    guint64 first = 0;

    pthread_mutex_lock(&ranged->lock);
    while (first < ranged->n_blocks &&
           (ranged->blocks[first] == BLOCK_HERE || ranged->blocks[first] == BLOCK_READ))
        first++;
    ranged->streamed = true;
    ranged->frontier = first * ranged->block_size;
    ranged->stream_at = ranged->stream_asked = first * ranged->block_encoded;
    pthread_mutex_unlock(&ranged->lock);
    ranged->transfer = transfer_new(TRANSFER_BASE64);
    log_info(
        "sync",
        "message %u, section %s: its base64 is irregular: read on from byte %" G_GUINT64_FORMAT,
        ranged->key.uid, ranged->key.section, ranged->stream_at);
}

bool ranged_stream_claim(Ranged *ranged, guint64 *origin_out, guint64 *length_out)
{
    if (ranged->stream_asked >= ranged->encoded)
        return false;
    *origin_out = ranged->stream_asked;
    *length_out = MIN(PIECE, ranged->encoded - ranged->stream_asked);
    ranged->stream_asked += *length_out;
    return true;
}

void ranged_stream_rewind(Ranged *ranged)
{
    ranged->stepping = ranged->stepping || ranged->stream_asked > ranged->stream_at;
    ranged->stream_asked = ranged->stream_at;
}

/* --- what comes out --- */

static bool fail_wrong(const Ranged *self, GError **error)
{
    g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_DATA,
                "message %u, section %s: its base64 is irregular, and bytes or a size were told "
                "before that was seen: it has to be opened again",
                self->key.uid, self->key.section);
    return false;
}

/* Bytes of one block. */
static bool put(const Ranged *self, guint64 block, const guint8 *bytes, gsize length,
                guint64 offset, GError **error)
{
    if (block >= self->n_blocks || self->blocks[block] != BLOCK_READ)
        return ranged_write_at(self, bytes, length, offset, error);
    g_autofree guint8 *was = g_malloc(length);
    guint64 known = MIN(length, self->told - MIN(offset, self->told));
    if (!ranged_read_at(self, was, (gsize)known, offset, error))
        return false;
    return (known == length && memcmp(was, bytes, length) == 0) || fail_wrong(self, error);
}

static bool put_all(const Ranged *self, const GByteArray *out, GError **error)
{
    for (gsize done = 0, n; done < out->len; done += n) {
        guint64 at = self->frontier + done;
        guint64 block = at / self->block_size;
        n = (gsize)MIN(out->len - done, (block + 1) * self->block_size - at);
        if (!put(self, block, out->data + done, n, at, error))
            return false;
    }
    return true;
}

/* Alone in its page, the last byte is shown by the kernel as it was told at the open. */
static bool last_is_right(const Ranged *self, guint64 size)
{
    guint8 last;

    if (self->told % (guint64)sysconf(_SC_PAGESIZE) != 1)
        return true;
    return size == self->told && ranged_read_at(self, &last, 1, size - 1, NULL) &&
           last == self->last;
}

/* Whether nobody read an end of it that is not there. One that is longer than was told cannot be
 * read to its end by all means: sendfile, splice and copy_file_range end at the size that the
 * kernel was told, without an error. So there has to be one. */
static bool end_is_right(const Ranged *self, guint64 size)
{
    if (size > self->told)
        return false;
    if (size == self->told)
        return last_is_right(self, size);
    for (guint64 i = size / self->block_size; i < self->n_blocks; i++) {
        if (self->blocks[i] == BLOCK_READ)
            return false;
    }
    return last_is_right(self, size);
}

static bool end(Ranged *self, guint64 size, GError **error)
{
    if (!end_is_right(self, size))
        return fail_wrong(self, error);
    if (!ranged_put_size(self, size, false, error))
        return false;
    if (size != self->told)
        log_info("sync",
                 "message %u, section %s: it has %" G_GUINT64_FORMAT
                 " bytes and not %" G_GUINT64_FORMAT " as its ends said",
                 self->key.uid, self->key.section, size, self->told);
    return true;
}

bool ranged_stream_take(Ranged *ranged, guint64 origin, const guint8 *bytes, gsize length,
                        bool *taken_out, GError **error)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    bool last = origin + length == ranged->encoded;
    guint64 frontier;

    *taken_out = origin == ranged->stream_at && !ranged->ended;
    if (!*taken_out)
        return true;
    transfer_feed(ranged->transfer, bytes, length, out);
    if (last)
        transfer_finish(ranged->transfer, out);
    frontier = ranged->frontier + out->len;
    if (!put_all(ranged, out, error) || (last && !end(ranged, frontier, error)))
        return false;
    ranged->stream_at += length;
    ranged->stream_asked = MAX(ranged->stream_asked, ranged->stream_at);
    pthread_mutex_lock(&ranged->lock);
    ranged->frontier = frontier;
    ranged->ended = last;
    if (last)
        ranged->size = frontier;
    pthread_mutex_unlock(&ranged->lock);
    return true;
}
