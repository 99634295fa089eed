/* trace_stream.c - writes down what passes, in a form that can be played again as a test.
 *
 * The one rule: the traffic is never held up by the trace and never fails because of it. What the
 * file cannot take at once waits in a bounded buffer; what does not fit is left out, and the trace
 * says how much. What is hidden is masked before it is kept anywhere. */
#include "stream_impl.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#define LINE_MAX_BYTES 4096u       /* longer lines continue on the next */
#define PENDING_MAX (1024u * 1024) /* waits for the file */
#define WRITE_PIECE \
    ((gsize)PIPE_BUF) /* a pipe that polls writable takes so much without blocking */
#define SECRET "<secret>"

/* One direction. */
typedef struct {
    const char *prefix;
    GByteArray *line;    /* raw bytes, not yet shown */
    bool secret_in_line; /* what was hidden stands as SECRET in `line`'s place in `shown` */
    GString *shown;      /* of the same line, made printable, before `line` */
} Side;

typedef struct {
    Stream base;
    int fd;
    bool hidden;
    Side client, server;
    GString *pending;
    guint64 left_out; /* lines */
} TraceStream;

/* --- towards the file --- */

static bool file_takes(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    return poll(&p, 1, 0) == 1 && p.revents & POLLOUT;
}

static void push(TraceStream *self)
{
    gsize done = 0;
    while (done < self->pending->len && file_takes(self->fd)) {
        ssize_t n =
            write(self->fd, self->pending->str + done, MIN(self->pending->len - done, WRITE_PIECE));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        done += (gsize)n;
    }
    g_string_erase(self->pending, 0, (gssize)done);
}

/* A whole line of the trace. */
static void put_line(TraceStream *self, const char *prefix, const char *text)
{
    push(self);
    if (self->pending->len + strlen(text) > PENDING_MAX) {
        self->left_out++;
        return;
    }
    if (self->left_out) {
        g_string_append_printf(self->pending, "# %" G_GUINT64_FORMAT " lines were left out\n",
                               self->left_out);
        self->left_out = 0;
    }
    g_string_append_printf(self->pending, "%s%s\n", prefix, text);
}

/* --- lines --- */

/* A backslash is itself unless it would read as an escape: before x, or at the end. */
static bool backslash_is_plain(const guint8 *bytes, gsize length, gsize i)
{
    return i + 1 < length && bytes[i + 1] != 'x';
}

static void show_bytes(GString *out, const guint8 *bytes, gsize length)
{
    gsize i = 0;
    while (i < length) {
        guint8 c = bytes[i];
        gunichar u =
            c < 0x80 ? c : g_utf8_get_char_validated((const char *)bytes + i, (gssize)(length - i));
        bool plain = u != (gunichar)-1 && u != (gunichar)-2 && g_unichar_isprint(u) &&
                     g_unichar_type(u) != G_UNICODE_FORMAT &&
                     (c != '\\' || backslash_is_plain(bytes, length, i));
        if (plain) {
            g_string_append_unichar(out, u);
            i += (gsize)g_unichar_to_utf8(u, NULL);
        } else {
            g_string_append_printf(out, "\\x%02x", c);
            i++;
        }
    }
}

static void show_line_part(Side *side)
{
    show_bytes(side->shown, side->line->data, side->line->len);
    g_byte_array_set_size(side->line, 0);
}

/* complete: CRLF came after what is there; it is not shown otherwise. */
static void end_line(TraceStream *self, Side *side, bool complete)
{
    show_line_part(side);
    if (!complete)
        g_string_append_c(side->shown, '\\');
    put_line(self, side->prefix, side->shown->str);
    g_string_truncate(side->shown, 0);
    side->secret_in_line = false;
}

static bool ends_in_cr(const GByteArray *line)
{
    return line->len && line->data[line->len - 1] == '\r';
}

static void take_byte(TraceStream *self, Side *side, guint8 byte)
{
    if (byte == '\n' && ends_in_cr(side->line)) {
        g_byte_array_set_size(side->line, side->line->len - 1);
        end_line(self, side, true);
        return;
    }
    g_byte_array_append(side->line, &byte, 1);
    gsize length = side->line->len;
    bool too_long = length >= LINE_MAX_BYTES && byte != '\r';     /* CR and LF stay together, ... */
    if (byte == '\n' || too_long || length >= 2 * LINE_MAX_BYTES) /* ... within reason */
        end_line(self, side, false);
}

/* Only where lines end is kept of it. */
static void take_secret(TraceStream *self, Side *side, guint8 byte)
{
    if (!side->secret_in_line) {
        show_line_part(side);
        g_string_append(side->shown, SECRET);
        side->secret_in_line = true;
    }
    if (byte == '\n')
        end_line(self, side, true);
}

static void take(TraceStream *self, Side *side, const guint8 *bytes, gsize length, bool hidden)
{
    for (gsize i = 0; i < length; i++) {
        if (hidden)
            take_secret(self, side, bytes[i]);
        else
            take_byte(self, side, bytes[i]);
    }
    push(self);
}

/* --- the calls --- */

static StreamStatus trace_read(Stream *stream, void *buffer, gsize size, gsize *n_out,
                               GError **error)
{
    TraceStream *self = (TraceStream *)stream;
    StreamStatus status = stream_read(stream->lower, buffer, size, n_out, error);
    if (status == STREAM_OK)
        take(self, &self->server, buffer, *n_out, false);
    return status;
}

static StreamStatus trace_write(Stream *stream, const void *bytes, gsize size, gsize *n_out,
                                GError **error)
{
    TraceStream *self = (TraceStream *)stream;
    StreamStatus status = stream_write(stream->lower, bytes, size, n_out, error);
    if (status == STREAM_OK)
        take(self, &self->client, bytes, *n_out, self->hidden);
    return status;
}

static void side_init(Side *side, const char *prefix)
{
    side->prefix = prefix;
    side->line = g_byte_array_new();
    side->shown = g_string_new(NULL);
}

static void side_finish(TraceStream *self, Side *side)
{
    if (side->line->len || side->shown->len)
        end_line(self, side, false);
    g_byte_array_unref(side->line);
    g_string_free(side->shown, TRUE);
}

static void trace_finish(Stream *stream)
{
    TraceStream *self = (TraceStream *)stream;
    side_finish(self, &self->client);
    side_finish(self, &self->server);
    push(self);
    g_string_free(self->pending, TRUE);
}

static const StreamOps trace_ops = {
    .read = trace_read,
    .write = trace_write,
    .finish = trace_finish,
};

Stream *trace_stream_new(Stream *lower, int fd)
{
    TraceStream *self = g_new0(TraceStream, 1);
    stream_init(&self->base, &trace_ops, lower, NULL);
    self->fd = fd;
    self->pending = g_string_new(NULL);
    side_init(&self->client, "C: ");
    side_init(&self->server, "S: ");
    return &self->base;
}

void trace_stream_hide(Stream *stream, bool hidden)
{
    if (stream->ops == &trace_ops)
        ((TraceStream *)stream)->hidden = hidden;
}
