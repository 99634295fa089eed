/* memory_stream.c - two ends joined by two byte arrays, with knobs for tests.
 *
 * The one rule: an end wakes the other when it did what the other waits for. */
#include "stream_impl.h"

#include <string.h>

typedef enum { PIPE_OPEN, PIPE_EOF, PIPE_BROKEN } PipeState;

/* What one end reads and the other writes. */
typedef struct {
    GByteArray *bytes;
    gsize head; /* read up to here */
    PipeState state;
} MemoryPipe;

typedef struct MemoryStream MemoryStream;

typedef struct {
    MemoryStream *ends[2]; /* NULL: freed */
    MemoryPipe to[2];      /* to[i] is read by ends[i] */
} MemoryPair;

struct MemoryStream {
    Stream base;
    MemoryPair *pair;
    int side;
    gsize chunk, capacity;
    bool stutter;
    bool read_stuttered, write_stuttered; /* the last call was */
    bool secure;
};

static MemoryStream *other_end(const MemoryStream *self)
{
    return self->pair->ends[1 - self->side];
}

static gsize waiting(const MemoryPipe *pipe)
{
    return pipe->bytes->len - pipe->head;
}

static gsize bounded(gsize size, gsize bound)
{
    return bound ? MIN(size, bound) : size;
}

static bool stutters(MemoryStream *self, bool *stuttered)
{
    if (!self->stutter)
        return false;
    *stuttered = !*stuttered;
    if (*stuttered)
        stream_notify_soon(&self->base);
    return *stuttered;
}

static StreamStatus memory_read(Stream *stream, void *buffer, gsize size, gsize *n_out,
                                GError **error)
{
    MemoryStream *self = (MemoryStream *)stream;
    MemoryPipe *pipe = &self->pair->to[self->side];
    if (stutters(self, &self->read_stuttered))
        return STREAM_AGAIN;
    if (waiting(pipe) == 0) {
        if (pipe->state == PIPE_BROKEN)
            stream_set_errno(error, stream, ECONNRESET);
        return pipe->state == PIPE_OPEN  ? STREAM_AGAIN
               : pipe->state == PIPE_EOF ? STREAM_EOF
                                         : STREAM_ERROR;
    }
    gsize n = bounded(MIN(size, waiting(pipe)), self->chunk);
    memcpy(buffer, pipe->bytes->data + pipe->head, n);
    pipe->head += n;
    if (waiting(pipe) == 0) {
        g_byte_array_set_size(pipe->bytes, 0);
        pipe->head = 0;
    }
    MemoryStream *other = other_end(self);
    if (other && other->base.owes_write)
        stream_notify_soon(&other->base);
    *n_out = n;
    return STREAM_OK;
}

static StreamStatus memory_write(Stream *stream, const void *bytes, gsize size, gsize *n_out,
                                 GError **error)
{
    MemoryStream *self = (MemoryStream *)stream;
    MemoryPipe *pipe = &self->pair->to[1 - self->side];
    MemoryStream *other = other_end(self);
    if (!other || pipe->state != PIPE_OPEN || self->pair->to[self->side].state != PIPE_OPEN) {
        stream_set_errno(error, stream, EPIPE);
        return STREAM_ERROR;
    }
    if (stutters(self, &self->write_stuttered))
        return STREAM_AGAIN;
    if (self->capacity && waiting(pipe) >= self->capacity)
        return STREAM_AGAIN;
    gsize n = bounded(size, self->chunk);
    if (self->capacity)
        n = MIN(n, self->capacity - waiting(pipe));
    g_byte_array_append(pipe->bytes, bytes, (guint)n);
    if (other->base.owes_read)
        stream_notify_soon(&other->base);
    *n_out = n;
    return STREAM_OK;
}

static bool memory_is_secure(const Stream *stream)
{
    return ((const MemoryStream *)stream)->secure;
}

static void break_pipe(MemoryStream *self, PipeState state)
{
    MemoryPipe *pipe = &self->pair->to[1 - self->side];
    MemoryStream *other = other_end(self);
    pipe->state = state;
    if (other && (other->base.owes_read || other->base.owes_write))
        stream_notify_soon(&other->base);
}

static void memory_finish(Stream *stream)
{
    MemoryStream *self = (MemoryStream *)stream;
    MemoryPair *pair = self->pair;
    if (pair->to[1 - self->side].state == PIPE_OPEN)
        break_pipe(self, PIPE_EOF);
    pair->ends[self->side] = NULL;
    if (pair->ends[1 - self->side])
        return;
    for (int i = 0; i < 2; i++)
        g_byte_array_unref(pair->to[i].bytes);
    g_free(pair);
}

static const StreamOps memory_ops = {
    .read = memory_read,
    .write = memory_write,
    .is_secure = memory_is_secure,
    .finish = memory_finish,
};

void memory_stream_pair(Stream **a_out, Stream **b_out)
{
    MemoryPair *pair = g_new0(MemoryPair, 1);
    for (int i = 0; i < 2; i++) {
        MemoryStream *self = g_new0(MemoryStream, 1);
        stream_init(&self->base, &memory_ops, NULL, "memory");
        self->pair = pair;
        self->side = i;
        pair->ends[i] = self;
        pair->to[i].bytes = g_byte_array_new();
    }
    *a_out = &pair->ends[0]->base;
    *b_out = &pair->ends[1]->base;
}

static MemoryStream *memory_cast(Stream *stream)
{
    g_assert(stream->ops == &memory_ops);
    return (MemoryStream *)stream;
}

void memory_stream_set_chunk(Stream *stream, gsize bytes)
{
    memory_cast(stream)->chunk = bytes;
}

void memory_stream_set_capacity(Stream *stream, gsize bytes)
{
    memory_cast(stream)->capacity = bytes;
}

void memory_stream_set_stutter(Stream *stream, bool stutter)
{
    memory_cast(stream)->stutter = stutter;
}

void memory_stream_break(Stream *stream, bool as_error)
{
    break_pipe(memory_cast(stream), as_error ? PIPE_BROKEN : PIPE_EOF);
}

void memory_stream_set_secure(Stream *stream, bool secure)
{
    memory_cast(stream)->secure = secure;
}
