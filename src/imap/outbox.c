/* outbox.c - bytes on their way out: in order, counted, secrets apart.
 *
 * The one rule: a secret is never copied here, and goes out in a write of its own while the trace
 * looks away; everything else is gathered, as eight commands should not be eight TLS records. Of a
 * file there is never more in memory than the piece that is being written. */
#include "outbox.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "imapfs/base/error.h"
#include "imapfs/base/secret.h"

#define GATHER_BYTES 8192u
#define FILE_BYTES (64u * 1024)

typedef struct {
    GArray *owner; /* or NULL: bytes is a reference */
    GBytes *bytes;
    CommandFile *file; /* or NULL; then there are no bytes */
    guint64 offset;
    bool secret;
} Chunk;

struct Outbox {
    GQueue chunks;
    guint64 added, written;
    guint8 *piece; /* of a file, while there is one */
    bool unflushed;
};

static void chunk_free(Chunk *chunk)
{
    if (chunk->owner)
        g_array_unref(chunk->owner);
    else if (chunk->file)
        command_file_unref(chunk->file);
    else
        g_bytes_unref(chunk->bytes);
    g_free(chunk);
}

static guint64 chunk_left(const Chunk *chunk)
{
    guint64 size = chunk->file ? chunk->file->size : g_bytes_get_size(chunk->bytes);
    return size - chunk->offset;
}

static const guint8 *chunk_data(const Chunk *chunk)
{
    return (const guint8 *)g_bytes_get_data(chunk->bytes, NULL) + chunk->offset;
}

Outbox *outbox_new(void)
{
    Outbox *outbox = g_new0(Outbox, 1);
    g_queue_init(&outbox->chunks);
    return outbox;
}

void outbox_free(Outbox *outbox)
{
    if (!outbox)
        return;
    g_queue_clear_full(&outbox->chunks, (GDestroyNotify)chunk_free);
    g_free(outbox->piece);
    g_free(outbox);
}

static void add(Outbox *outbox, GArray *owner, GBytes *bytes, bool secret)
{
    Chunk *chunk = g_new0(Chunk, 1);
    chunk->owner = owner;
    chunk->bytes = bytes;
    chunk->secret = secret;
    outbox->added += g_bytes_get_size(bytes);
    g_queue_push_tail(&outbox->chunks, chunk);
}

void outbox_add_piece(Outbox *outbox, GArray *owner, GBytes *bytes, bool secret)
{
    if (g_bytes_get_size(bytes) > 0)
        add(outbox, g_array_ref(owner), bytes, secret);
}

void outbox_add_file(Outbox *outbox, CommandFile *file)
{
    if (file->size == 0)
        return;
    Chunk *chunk = g_new0(Chunk, 1);
    chunk->file = command_file_ref(file);
    outbox->added += file->size;
    g_queue_push_tail(&outbox->chunks, chunk);
}

void outbox_add_line(Outbox *outbox, const char *line)
{
    char *bytes = g_strconcat(line, "\r\n", NULL);
    add(outbox, NULL, g_bytes_new_take(bytes, strlen(bytes)), false);
}

typedef struct {
    gsize length;
    char bytes[];
} SecretLine;

static void secret_line_free(gpointer data)
{
    SecretLine *line = data;
    secret_wipe(line->bytes, line->length);
    g_free(line);
}

void outbox_add_secret_line(Outbox *outbox, const char *bytes, gsize length)
{
    SecretLine *line = g_malloc(sizeof *line + length + 2);
    line->length = length + 2;
    memcpy(line->bytes, bytes, length);
    memcpy(line->bytes + length, "\r\n", 2);
    add(outbox, NULL, g_bytes_new_with_free_func(line->bytes, line->length, secret_line_free, line),
        true);
}

guint64 outbox_added(const Outbox *outbox)
{
    return outbox->added;
}

guint64 outbox_written(const Outbox *outbox)
{
    return outbox->written;
}

/* What was announced can no longer be sent: the server would wait for it for ever. */
static const guint8 *read_piece(Outbox *outbox, const Chunk *chunk, gsize *length_out,
                                GError **error)
{
    if (!outbox->piece)
        outbox->piece = g_malloc(FILE_BYTES);
    gssize n;
    do {
        n = pread(chunk->file->fd, outbox->piece, (gsize)MIN(chunk_left(chunk), FILE_BYTES),
                  (off_t)chunk->offset);
    } while (n < 0 && errno == EINTR);
    if (n <= 0) {
        g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_LOST, "what is being sent cannot be read: %s",
                    n < 0 ? g_strerror(errno) : "the file is shorter than it was");
        return NULL;
    }
    *length_out = (gsize)n;
    return outbox->piece;
}

/* The next bytes for one write: a chunk as it is when it is secret or large, else several. */
static const guint8 *gather(Outbox *outbox, guint8 *buffer, gsize *length_out, GError **error)
{
    Chunk *first = g_queue_peek_head(&outbox->chunks);
    if (first->file)
        return read_piece(outbox, first, length_out, error);
    if (first->secret || chunk_left(first) >= GATHER_BYTES) {
        *length_out = (gsize)chunk_left(first);
        return chunk_data(first);
    }
    gsize length = 0;
    for (GList *l = outbox->chunks.head; l; l = l->next) {
        Chunk *chunk = l->data;
        if (chunk->secret || chunk->file || length + chunk_left(chunk) > GATHER_BYTES)
            break;
        memcpy(buffer + length, chunk_data(chunk), (gsize)chunk_left(chunk));
        length += (gsize)chunk_left(chunk);
    }
    *length_out = length;
    return buffer;
}

static void consume(Outbox *outbox, gsize n)
{
    outbox->written += n;
    outbox->unflushed = true;
    while (n > 0) {
        Chunk *chunk = g_queue_peek_head(&outbox->chunks);
        gsize part = (gsize)MIN(n, chunk_left(chunk));
        chunk->offset += part;
        n -= part;
        if (chunk_left(chunk) == 0)
            chunk_free(g_queue_pop_head(&outbox->chunks));
    }
}

StreamStatus outbox_write(Outbox *outbox, Stream *stream, GError **error)
{
    guint8 buffer[GATHER_BYTES];
    StreamStatus status = STREAM_OK;
    while (status == STREAM_OK && !g_queue_is_empty(&outbox->chunks)) {
        gsize length = 0, written = 0;
        trace_stream_hide(stream, ((Chunk *)g_queue_peek_head(&outbox->chunks))->secret);
        const guint8 *bytes = gather(outbox, buffer, &length, error);
        if (!bytes) {
            trace_stream_hide(stream, false);
            return STREAM_ERROR;
        }
        status = stream_write(stream, bytes, length, &written, error);
        if (status == STREAM_OK)
            consume(outbox, written);
    }
    trace_stream_hide(stream, false);
    if (g_queue_is_empty(&outbox->chunks))
        g_clear_pointer(&outbox->piece, g_free);
    if (status == STREAM_ERROR || !outbox->unflushed)
        return status;
    StreamStatus flushed = stream_flush(stream, error);
    if (flushed == STREAM_OK)
        outbox->unflushed = status != STREAM_OK;
    return status == STREAM_OK ? flushed : flushed == STREAM_ERROR ? flushed : status;
}
