/* socket_stream.c - the bottom of real stacks: a connected socket that never blocks.
 *
 * The one rule: a source exists exactly while its direction got STREAM_AGAIN and has not been woken
 * since, so nothing polls a socket that nobody waits for, and a dead socket cannot spin the loop.
 *
 * recv and send rather than GSocket: those make a GError of every "would block", which is the most
 * common answer here. */
#include "stream_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <linux/tcp.h> /* the C library's has no tcpi_min_rtt */
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct {
    Stream base;
    int fd;
    GSource *readable, *writable; /* NULL: nobody waits for it */
} SocketStream;

static void disarm(GSource **source)
{
    if (!*source)
        return;
    g_source_destroy(*source);
    g_clear_pointer(source, g_source_unref);
}

static gboolean on_readable(int fd, GIOCondition condition, gpointer data)
{
    SocketStream *self = data;
    disarm(&self->readable);
    stream_notify_now(&self->base);
    return G_SOURCE_REMOVE;
}

static gboolean on_writable(int fd, GIOCondition condition, gpointer data)
{
    SocketStream *self = data;
    disarm(&self->writable);
    stream_notify_now(&self->base);
    return G_SOURCE_REMOVE;
}

static void arm(SocketStream *self, GSource **source, GIOCondition condition, GUnixFDSourceFunc on)
{
    if (*source)
        return;
    *source = g_unix_fd_source_new(self->fd, condition);
    g_source_set_callback(*source, G_SOURCE_FUNC(on), self, NULL);
    g_source_attach(*source, g_main_context_get_thread_default());
}

static bool would_block(int errsv)
{
    return errsv == EAGAIN || errsv == EWOULDBLOCK;
}

static StreamStatus socket_read(Stream *stream, void *buffer, gsize size, gsize *n_out,
                                GError **error)
{
    SocketStream *self = (SocketStream *)stream;
    ssize_t n;
    do {
        n = recv(self->fd, buffer, MIN(size, (gsize)G_MAXINT), MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    if (n > 0) {
        *n_out = (gsize)n;
        return STREAM_OK;
    }
    if (n == 0)
        return STREAM_EOF;
    if (would_block(errno)) {
        arm(self, &self->readable, G_IO_IN, on_readable);
        return STREAM_AGAIN;
    }
    stream_set_errno(error, stream, errno);
    return STREAM_ERROR;
}

static StreamStatus socket_write(Stream *stream, const void *bytes, gsize size, gsize *n_out,
                                 GError **error)
{
    SocketStream *self = (SocketStream *)stream;
    ssize_t n;
    do {
        n = send(self->fd, bytes, MIN(size, (gsize)G_MAXINT), MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n > 0) {
        *n_out = (gsize)n;
        return STREAM_OK;
    }
    if (n == 0 || would_block(errno)) {
        arm(self, &self->writable, G_IO_OUT, on_writable);
        return STREAM_AGAIN;
    }
    stream_set_errno(error, stream, errno);
    return STREAM_ERROR;
}

static char *socket_describe(const Stream *stream)
{
    return g_strdup_printf("clear text to %s", stream->place);
}

/* Of the last minutes, the SYN's answer included: what waited for the server's programs does not
 * count. */
static gint64 socket_round_trip_us(const Stream *stream)
{
    const SocketStream *self = (const SocketStream *)stream;
    struct tcp_info info = {0};
    socklen_t size = sizeof(info);
    if (getsockopt(self->fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0 ||
        size < G_STRUCT_OFFSET(struct tcp_info, tcpi_min_rtt) + sizeof(info.tcpi_min_rtt))
        return -1;
    return info.tcpi_min_rtt;
}

static void socket_finish(Stream *stream)
{
    SocketStream *self = (SocketStream *)stream;
    disarm(&self->readable);
    disarm(&self->writable);
    close(self->fd);
}

static const StreamOps socket_ops = {
    .read = socket_read,
    .write = socket_write,
    .describe = socket_describe,
    .round_trip_us = socket_round_trip_us,
    .finish = socket_finish,
};

Stream *socket_stream_new(int fd, const char *place)
{
    SocketStream *self = g_new0(SocketStream, 1);
    stream_init(&self->base, &socket_ops, NULL, place);
    self->fd = fd;
    return &self->base;
}
