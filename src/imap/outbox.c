/* outbox.c - bytes on their way out: in order, counted, secrets apart.
 *
 * The one rule: a secret is never copied here, and goes out in a write of its own while the trace
 * looks away; everything else is gathered, as eight commands should not be eight TLS records. */
#include "outbox.h"

#include <string.h>

#include "imapfs/base/secret.h"

#define GATHER_BYTES 8192u

typedef struct {
    GArray *owner; /* or NULL: bytes is a reference */
    GBytes *bytes;
    gsize offset;
    bool secret;
} Chunk;

struct Outbox {
    GQueue chunks;
    guint64 added, written;
    bool unflushed;
};

static void chunk_free(Chunk *chunk)
{
    if (chunk->owner)
        g_array_unref(chunk->owner);
    else
        g_bytes_unref(chunk->bytes);
    g_free(chunk);
}

static gsize chunk_left(const Chunk *chunk)
{
    return g_bytes_get_size(chunk->bytes) - chunk->offset;
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

/* The next bytes for one write: a chunk as it is when it is secret or large, else several. */
static const guint8 *gather(Outbox *outbox, guint8 *buffer, gsize *length_out)
{
    Chunk *first = g_queue_peek_head(&outbox->chunks);
    if (first->secret || chunk_left(first) >= GATHER_BYTES) {
        *length_out = chunk_left(first);
        return chunk_data(first);
    }
    gsize length = 0;
    for (GList *l = outbox->chunks.head; l; l = l->next) {
        Chunk *chunk = l->data;
        if (chunk->secret || length + chunk_left(chunk) > GATHER_BYTES)
            break;
        memcpy(buffer + length, chunk_data(chunk), chunk_left(chunk));
        length += chunk_left(chunk);
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
        gsize part = MIN(n, chunk_left(chunk));
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
        const guint8 *bytes = gather(outbox, buffer, &length);
        status = stream_write(stream, bytes, length, &written, error);
        if (status == STREAM_OK)
            consume(outbox, written);
    }
    trace_stream_hide(stream, false);
    if (status == STREAM_ERROR || !outbox->unflushed)
        return status;
    StreamStatus flushed = stream_flush(stream, error);
    if (flushed == STREAM_OK)
        outbox->unflushed = status != STREAM_OK;
    return status == STREAM_OK ? flushed : flushed == STREAM_ERROR ? flushed : status;
}
