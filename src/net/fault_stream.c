/* fault_stream.c - the byte boundaries of a connection as fault points: wire.out and wire.in.
 *
 * The one rule: what comes before the byte is on its way (or was handed up) when it happens. Bytes
 * of all connections are counted together. With an errno the connection is lost there. */
#include "fault_stream.h"

#include "imapfs/base/fault.h"
#include "stream_impl.h"

typedef struct {
    Stream base;
} FaultStream;

/* The next byte is the one: does not return, or sets the error. false: it is a byte as any. */
static bool happens(Stream *stream, const char *point, GError **error)
{
    int err = fault_hit(point);
    if (err != 0)
        stream_set_errno(error, stream, err);
    return err != 0;
}

static StreamStatus fault_read(Stream *stream, void *buffer, gsize size, gsize *n_out,
                               GError **error)
{
    gsize room = fault_room("wire.in", size);
    StreamStatus status = stream_read(stream->lower, buffer, MAX(room, 1), n_out, error);
    if (status != STREAM_OK)
        return status;
    if (room == 0 && happens(stream, "wire.in", error)) {
        *n_out = 0;
        return STREAM_ERROR;
    }
    fault_passed("wire.in", room ? *n_out : 0);
    return STREAM_OK;
}

static StreamStatus fault_write(Stream *stream, const void *bytes, gsize size, gsize *n_out,
                                GError **error)
{
    gsize room = fault_room("wire.out", size);
    if (room == 0 && happens(stream, "wire.out", error))
        return STREAM_ERROR;
    StreamStatus status = stream_write(stream->lower, bytes, MAX(room, 1), n_out, error);
    if (status == STREAM_OK)
        fault_passed("wire.out", room ? *n_out : 0);
    return status;
}

static const StreamOps fault_ops = {.read = fault_read, .write = fault_write};

Stream *fault_stream_wrap(Stream *lower)
{
    if (!lower || !fault_names("wire."))
        return lower;
    FaultStream *self = g_new0(FaultStream, 1);
    stream_init(&self->base, &fault_ops, lower, NULL);
    return &self->base;
}
