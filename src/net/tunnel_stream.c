/* tunnel_stream.c - a command's standard input and output as a stream.
 *
 * The one rule: bytes are the socket stream's business, the process is tunnel_child.c's. What runs
 * on this machine by the user's own word counts as secure. */
#include "stream_impl.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tunnel_child.h"

typedef struct {
    Stream base;
    TunnelChild *child;
} TunnelStream;

static StreamStatus tunnel_read(Stream *stream, void *buffer, gsize size, gsize *n_out,
                                GError **error)
{
    return stream_read(stream->lower, buffer, size, n_out, error);
}

static StreamStatus tunnel_write(Stream *stream, const void *bytes, gsize size, gsize *n_out,
                                 GError **error)
{
    return stream_write(stream->lower, bytes, size, n_out, error);
}

static bool tunnel_is_secure(const Stream *stream)
{
    return true;
}

static char *tunnel_describe(const Stream *stream)
{
    return g_strdup(stream->place);
}

static void tunnel_finish(Stream *stream)
{
    tunnel_child_abandon(((TunnelStream *)stream)->child);
}

static const StreamOps tunnel_ops = {
    .read = tunnel_read,
    .write = tunnel_write,
    .is_secure = tunnel_is_secure,
    .describe = tunnel_describe,
    .finish = tunnel_finish,
};

Stream *tunnel_stream_new(const char *command, GError **error)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
        g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_CONFIG, "the tunnel cannot be started: %s",
                    g_strerror(errno));
        return NULL;
    }
    TunnelChild *child = tunnel_child_new(command, ends[1], error);
    close(ends[1]);
    if (!child) {
        close(ends[0]);
        return NULL;
    }
    TunnelStream *self = g_new0(TunnelStream, 1);
    /* The command may hold a secret in its arguments, so it is not shown. */
    stream_init(&self->base, &tunnel_ops, socket_stream_new(ends[0], "the tunnel"), NULL);
    self->child = child;
    return &self->base;
}
