/* stream.c - what all kinds of streams share: dispatch, notifies, errors that stay.
 *
 * The one rule: the listener is called from the main context only, never inside a call, and
 * nothing here touches a stream after its listener ran. */
#include "stream_impl.h"

#include <string.h>

static void on_lower_notify(gpointer data)
{
    Stream *stream = data;
    if (stream->ops->on_lower)
        stream->ops->on_lower(stream);
    else
        stream_notify_now(stream);
}

void stream_init(Stream *stream, const StreamOps *ops, Stream *lower, const char *place)
{
    stream->ops = ops;
    stream->lower = lower;
    stream->place = g_strdup(place ? place : lower ? lower->place : NULL);
    if (lower)
        stream_set_notify(lower, on_lower_notify, stream);
}

void stream_free(Stream *stream)
{
    if (!stream)
        return;
    stream->notify = NULL;
    if (stream->ops->finish)
        stream->ops->finish(stream);
    stream_free(stream->lower);
    if (stream->idle) {
        g_source_destroy(stream->idle);
        g_source_unref(stream->idle);
    }
    g_clear_error(&stream->read_error);
    g_clear_error(&stream->write_error);
    g_free(stream->place);
    g_free(stream);
}

/* --- notifies --- */

void stream_set_notify(Stream *stream, StreamNotify notify, gpointer data)
{
    stream->notify = notify;
    stream->notify_data = data;
}

void stream_notify_now(Stream *stream)
{
    if (stream->notify)
        stream->notify(stream->notify_data);
}

static gboolean on_idle(gpointer data)
{
    Stream *stream = data;
    g_clear_pointer(&stream->idle, g_source_unref);
    stream_notify_now(stream);
    return G_SOURCE_REMOVE;
}

void stream_notify_soon(Stream *stream)
{
    if (stream->idle)
        return;
    stream->idle = g_idle_source_new();
    g_source_set_priority(stream->idle, G_PRIORITY_DEFAULT);
    g_source_set_callback(stream->idle, on_idle, stream, NULL);
    g_source_attach(stream->idle, g_main_context_get_thread_default());
}

/* --- calls --- */

/* Notes what a call brought and hands its error on; *kept keeps a copy for the next call. */
static StreamStatus conclude(StreamStatus status, GError *failure, GError **kept, GError **error)
{
    if (status != STREAM_ERROR)
        return status;
    *kept = g_error_copy(failure);
    g_propagate_error(error, failure);
    return STREAM_ERROR;
}

static StreamStatus repeat_error(const GError *kept, GError **error)
{
    g_propagate_error(error, g_error_copy(kept));
    return STREAM_ERROR;
}

StreamStatus stream_read(Stream *stream, void *buffer, gsize size, gsize *n_out, GError **error)
{
    g_assert(size > 0);
    *n_out = 0;
    if (stream->read_error)
        return repeat_error(stream->read_error, error);

    GError *failure = NULL;
    StreamStatus status = stream->ops->read(stream, buffer, size, n_out, &failure);
    stream->owes_read = status == STREAM_AGAIN;
    stream->in += *n_out;
    return conclude(status, failure, &stream->read_error, error);
}

StreamStatus stream_write(Stream *stream, const void *bytes, gsize size, gsize *n_out,
                          GError **error)
{
    g_assert(size > 0);
    *n_out = 0;
    if (stream->write_error)
        return repeat_error(stream->write_error, error);

    GError *failure = NULL;
    StreamStatus status = stream->ops->write(stream, bytes, size, n_out, &failure);
    stream->owes_write = status == STREAM_AGAIN;
    stream->out += *n_out;
    return conclude(status, failure, &stream->write_error, error);
}

StreamStatus stream_flush(Stream *stream, GError **error)
{
    if (stream->write_error)
        return repeat_error(stream->write_error, error);
    if (!stream->ops->flush)
        return stream->lower ? stream_flush(stream->lower, error) : STREAM_OK;

    GError *failure = NULL;
    StreamStatus status = stream->ops->flush(stream, &failure);
    if (status == STREAM_AGAIN)
        stream->owes_write = true; /* a flush that succeeds does not pay for a write that waits */
    return conclude(status, failure, &stream->write_error, error);
}

/* --- questions --- */

bool stream_is_secure(const Stream *stream)
{
    if (stream->ops->is_secure)
        return stream->ops->is_secure(stream);
    return stream->lower ? stream_is_secure(stream->lower) : false;
}

gint64 stream_round_trip_us(const Stream *stream)
{
    if (stream->ops->round_trip_us)
        return stream->ops->round_trip_us(stream);
    return stream->lower ? stream_round_trip_us(stream->lower) : -1;
}

char *stream_describe(const Stream *stream)
{
    if (stream->ops->describe)
        return stream->ops->describe(stream);
    return stream->lower ? stream_describe(stream->lower) : g_strdup(stream->place);
}

void stream_counters(const Stream *stream, guint64 *in_out, guint64 *out_out)
{
    while (stream->lower)
        stream = stream->lower;
    *in_out = stream->in;
    *out_out = stream->out;
}

void stream_set_errno(GError **error, const Stream *stream, int errsv)
{
    g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_LOST, "the connection to %s was lost: %s",
                stream->place, g_strerror(errsv));
}
