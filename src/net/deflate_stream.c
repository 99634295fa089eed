/* deflate_stream.c - COMPRESS=DEFLATE (RFC 4978) on any lower stream: raw deflate both ways.
 *
 * The one rule: what goes out leaves whole only at a flush (a sync flush, RFC 4978 section 3), and
 * what comes in is not inflated beyond what the reader asked for, so a bomb costs its sender, not
 * us; one that inflates beyond LIMIT_INFLATE_RATIO is an error. */
#include "stream_impl.h"

#include <string.h>
#include <zlib.h>

#include "imapfs/base/limits.h"

#define RAW_WINDOW_BITS (-15)
#define IN_SIZE (16u * 1024)
#define OUT_HIGH (64u * 1024) /* no write is accepted while more waits for the lower stream */
#define WRITE_PIECE (64u * 1024)
#define RATIO_WINDOW (1024u * 1024) /* bytes of output over which the ratio is taken */
#define FRUITLESS_FILLS 64          /* buffers that inflate to nothing, before others get a turn */
#define BLOCK_END 128               /* in z_stream.data_type after inflate() */
#define UNUSED_BITS 31

typedef struct {
    Stream base;
    z_stream in, out;
    guint8 in_bytes[IN_SIZE];
    GBytes *early; /* the first input: it came before the stream was made; NULL when used up */
    bool between;  /* no block is open: an end here is orderly */
    bool finished; /* the other side ended its deflate stream */
    guint64 window_in, window_out;
    GByteArray *pending; /* compressed, not yet taken by lower */
    gsize pending_head;
    bool dirty; /* written to since the last sync flush */
} DeflateStream;

/* --- reading --- */

static StreamStatus fail_data(GError **error, const char *why)
{
    g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_PROTOCOL, "the compressed data is broken: %s",
                why);
    return STREAM_ERROR;
}

/* A cut inside a block is no orderly end, whatever the layer below says. */
static StreamStatus end_of_input(DeflateStream *self, GError **error)
{
    if (self->between || self->finished)
        return STREAM_EOF;
    g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_LOST,
                "the connection was closed in the middle of compressed data");
    return STREAM_ERROR;
}

static StreamStatus fill(DeflateStream *self, GError **error)
{
    g_clear_pointer(&self->early, g_bytes_unref); /* used up, or there was none */
    gsize n;
    StreamStatus status = stream_read(self->base.lower, self->in_bytes, IN_SIZE, &n, error);
    if (status == STREAM_EOF)
        return end_of_input(self, error);
    self->in.next_in = self->in_bytes;
    self->in.avail_in = (uInt)n;
    return status;
}

static bool ratio_is_fair(DeflateStream *self, gsize in, gsize out)
{
    self->window_in += in;
    self->window_out += out;
    if (self->window_out < RATIO_WINDOW)
        return true;
    bool fair = self->window_out / LIMIT_INFLATE_RATIO <= self->window_in;
    self->window_in = self->window_out = 0;
    return fair;
}

/* STREAM_AGAIN: it needs more input. */
static StreamStatus inflate_some(DeflateStream *self, void *buffer, gsize size, gsize *n_out,
                                 GError **error)
{
    if (self->finished)
        return self->in.avail_in ? fail_data(error, "bytes after its end") : STREAM_AGAIN;
    uInt had_in = self->in.avail_in;
    uInt room = (uInt)MIN(size, (gsize)G_MAXINT);
    self->in.next_out = buffer;
    self->in.avail_out = room;
    int result = inflate(&self->in, Z_SYNC_FLUSH);
    if (result != Z_OK && result != Z_BUF_ERROR && result != Z_STREAM_END)
        return fail_data(error, self->in.msg ? self->in.msg : "it cannot be inflated");
    self->finished = result == Z_STREAM_END;
    *n_out = room - self->in.avail_out;
    gsize consumed = had_in - self->in.avail_in;
    if (consumed || *n_out) /* a call without progress forgets that a block has ended */
        self->between = self->in.data_type & BLOCK_END && (self->in.data_type & UNUSED_BITS) == 0;
    if (!ratio_is_fair(self, consumed, *n_out)) {
        *n_out = 0;
        return fail_data(error, "it inflates to more than any mail would");
    }
    return *n_out ? STREAM_OK : STREAM_AGAIN;
}

static StreamStatus deflate_read(Stream *stream, void *buffer, gsize size, gsize *n_out,
                                 GError **error)
{
    DeflateStream *self = (DeflateStream *)stream;
    for (int i = 0; i < FRUITLESS_FILLS; i++) {
        StreamStatus status = inflate_some(self, buffer, size, n_out, error);
        if (status != STREAM_AGAIN)
            return status;
        if (self->in.avail_in)
            continue;
        status = fill(self, error);
        if (status != STREAM_OK)
            return status;
    }
    stream_notify_soon(stream);
    return STREAM_AGAIN;
}

/* --- writing --- */

static gsize waiting(const DeflateStream *self)
{
    return self->pending->len - self->pending_head;
}

static StreamStatus push(DeflateStream *self, GError **error)
{
    StreamStatus status = STREAM_OK;
    while (waiting(self) && status == STREAM_OK) {
        gsize n;
        status = stream_write(self->base.lower, self->pending->data + self->pending_head,
                              waiting(self), &n, error);
        self->pending_head += n;
    }
    if (waiting(self) == 0) {
        g_byte_array_set_size(self->pending, 0);
        self->pending_head = 0;
    }
    return status;
}

/* All of the input goes into zlib or into pending. */
static void compress_all(DeflateStream *self, const void *bytes, uInt length, int mode)
{
    self->out.next_in = (Bytef *)bytes;
    self->out.avail_in = length;
    do {
        guint8 piece[8192];
        self->out.next_out = piece;
        self->out.avail_out = sizeof piece;
        int result = deflate(&self->out, mode);
        g_assert(result == Z_OK || result == Z_BUF_ERROR); /* else the z_stream is ours to blame */
        g_byte_array_append(self->pending, piece, (guint)(sizeof piece - self->out.avail_out));
    } while (self->out.avail_out == 0);
}

static StreamStatus deflate_write(Stream *stream, const void *bytes, gsize size, gsize *n_out,
                                  GError **error)
{
    DeflateStream *self = (DeflateStream *)stream;
    if (waiting(self) >= OUT_HIGH) {
        StreamStatus status = push(self, error);
        if (status == STREAM_ERROR || waiting(self) >= OUT_HIGH)
            return status;
    }
    if (self->pending_head >= OUT_HIGH) {
        g_byte_array_remove_range(self->pending, 0, (guint)self->pending_head);
        self->pending_head = 0;
    }
    gsize n = MIN(size, WRITE_PIECE);
    compress_all(self, bytes, (uInt)n, Z_NO_FLUSH);
    self->dirty = true;
    *n_out = n;
    return STREAM_OK;
}

static StreamStatus deflate_flush(Stream *stream, GError **error)
{
    DeflateStream *self = (DeflateStream *)stream;
    if (self->dirty) {
        compress_all(self, NULL, 0, Z_SYNC_FLUSH);
        self->dirty = false;
    }
    StreamStatus status = push(self, error);
    return status == STREAM_OK ? stream_flush(stream->lower, error) : status;
}

static void deflate_on_lower(Stream *stream)
{
    DeflateStream *self = (DeflateStream *)stream;
    push(self, NULL); /* the lower stream keeps its error for the next call */
    if (stream->owes_read || stream->owes_write)
        stream_notify_now(stream);
}

static char *deflate_describe(const Stream *stream)
{
    g_autofree char *lower = stream_describe(stream->lower);
    return g_strdup_printf("%s, compressed", lower);
}

static void deflate_finish(Stream *stream)
{
    DeflateStream *self = (DeflateStream *)stream;
    inflateEnd(&self->in);
    deflateEnd(&self->out);
    g_clear_pointer(&self->early, g_bytes_unref);
    g_byte_array_unref(self->pending);
}

static const StreamOps deflate_ops = {
    .read = deflate_read,
    .write = deflate_write,
    .flush = deflate_flush,
    .on_lower = deflate_on_lower,
    .describe = deflate_describe,
    .finish = deflate_finish,
};

Stream *deflate_stream_new(Stream *lower, GBytes *early_input)
{
    DeflateStream *self = g_new0(DeflateStream, 1);
    stream_init(&self->base, &deflate_ops, lower, NULL);
    self->pending = g_byte_array_new();
    self->between = true;
    if (early_input) {
        gsize length;
        self->early = g_bytes_ref(early_input);
        self->in.next_in = (Bytef *)g_bytes_get_data(early_input, &length);
        g_assert(length <= G_MAXINT); /* somebody's buffer, far smaller */
        self->in.avail_in = (uInt)length;
    }
    if (inflateInit2(&self->in, RAW_WINDOW_BITS) != Z_OK ||
        deflateInit2(&self->out, Z_DEFAULT_COMPRESSION, Z_DEFLATED, RAW_WINDOW_BITS, 8,
                     Z_DEFAULT_STRATEGY) != Z_OK)
        g_error("zlib has no memory"); /* as GLib does when it has none */
    return &self->base;
}
