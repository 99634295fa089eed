/* reader.c - where a response ends: lines, literals, and lists of numbers (RFC 9051 2.2.2, 4.3).
 *
 * The rule: this file knows line ends and literal headers and nothing else of the grammar. A whole
 * response stands in one piece in `frame` before anything parses it, so how the bytes were split
 * cannot matter. A line that ends in {n}, {n+} or ~{n} goes on behind n bytes, but for lines of
 * text for people, which may end in anything. */
#include "imapfs/wire/reader.h"
#include <string.h>
#include "fetch_items.h"
#include "imapfs/base/error.h"
#include "imapfs/base/limits.h"
#include "number_stream.h"
#include "response_parse.h"

#define LITERAL_PREAUTH (64u * 1024)
#define KEEP_BUFFER (64u * 1024) /* larger buffers are given back after the response */
#define HEAD_BYTES 12            /* enough to know "* VANISHED" by */
#define SINK_MISSES_MAX 16       /* literals that look like a body's and are not; keeps it linear */

typedef enum { IN_LINE, IN_LITERAL, IN_SINK, IN_NUMBERS, IS_BAD } ReaderState;

struct Reader {
    ReaderState state;
    bool authenticated;
    const ReaderSinkOps *ops;
    gpointer ops_data;
    const char *bad; /* why */

    GByteArray *in; /* fed; the first `used` bytes are done with */
    gsize used;

    GByteArray *frame;    /* the response so far, sunk literals left out */
    gsize fragment;       /* offset of the line it is in: behind the last literal */
    gsize line_bytes;     /* of the response, outside literals */
    bool head_known;      /* numbers or not has been decided */
    bool text_line;       /* "{5}" at its end means nothing */
    guint64 literal_left; /* IN_LITERAL, IN_SINK */
    GArray *sunk;         /* of SunkLiteral, of this response */
    FetchScan scan;
    guint sink_misses;
    NumberStream *numbers;
};

Reader *reader_new(void)
{
    Reader *reader = g_new0(Reader, 1);
    reader->in = g_byte_array_new();
    reader->frame = g_byte_array_new();
    reader->sunk = g_array_new(FALSE, FALSE, sizeof(SunkLiteral));
    return reader;
}

static void abandon_sinks(Reader *reader)
{
    for (guint i = 0; i < reader->sunk->len; i++) {
        gpointer sink = g_array_index(reader->sunk, SunkLiteral, i).sink;
        if (sink != NULL)
            reader->ops->abandon(sink);
    }
    g_array_set_size(reader->sunk, 0);
}

static void empty_buffer(GByteArray **buffer)
{
    if ((*buffer)->len <= KEEP_BUFFER) {
        g_byte_array_set_size(*buffer, 0);
        return;
    }
    g_byte_array_unref(*buffer);
    *buffer = g_byte_array_new();
}

/* Ready for the next response. */
static void begin_response(Reader *reader)
{
    abandon_sinks(reader);
    empty_buffer(&reader->frame);
    g_clear_pointer(&reader->numbers, number_stream_free);
    reader->state = IN_LINE;
    reader->fragment = reader->line_bytes = 0;
    reader->head_known = reader->text_line = false;
    reader->literal_left = 0;
    reader->scan = (FetchScan){0};
    reader->sink_misses = 0;
}

void reader_free(Reader *reader)
{
    if (reader == NULL)
        return;
    begin_response(reader);
    g_byte_array_unref(reader->in);
    g_byte_array_unref(reader->frame);
    g_array_unref(reader->sunk);
    g_free(reader);
}

void reader_set_authenticated(Reader *reader)
{
    reader->authenticated = true;
}

void reader_set_sink(Reader *reader, const ReaderSinkOps *ops, gpointer data)
{
    reader->ops = ops;
    reader->ops_data = data;
}

void reader_feed(Reader *reader, const void *bytes, gsize length)
{
    if (reader->state != IS_BAD && length > 0)
        g_byte_array_append(reader->in, bytes, length);
}

/* The bytes not yet looked at. */
static const char *input(const Reader *reader, gsize *length_out)
{
    *length_out = reader->in->len - reader->used;
    return (const char *)reader->in->data + reader->used;
}

static void consume(Reader *reader, gsize length)
{
    reader->used += length;
    if (reader->used == reader->in->len) {
        empty_buffer(&reader->in);
        reader->used = 0;
    } else if (reader->used >= KEEP_BUFFER && reader->used >= reader->in->len / 2) {
        g_byte_array_remove_range(reader->in, 0, reader->used);
        reader->used = 0;
    }
}

static ReadStatus go_bad(Reader *reader, const char *why)
{
    begin_response(reader);
    g_byte_array_set_size(reader->in, 0);
    reader->used = 0;
    reader->state = IS_BAD;
    reader->bad = why;
    return READ_BAD;
}

static gsize line_limit(const Reader *reader)
{
    if (!reader->authenticated)
        return LIMIT_LINE_PREAUTH;
    return reader->state == IN_NUMBERS ? LIMIT_RESPONSE_MEMORY : LIMIT_LINE;
}

/* Counts bytes of a line; NULL, or what is wrong with them, whichever comes first in them. */
static const char *check_line(Reader *reader, const char *bytes, gsize length)
{
    gsize room = line_limit(reader) - reader->line_bytes;
    if (memchr(bytes, '\0', MIN(length, room)) != NULL)
        return "a NUL outside of a literal";
    if (length > room)
        return "a line is too long";
    reader->line_bytes += length;
    return NULL;
}

/* Bytes up to and with the line end, or all there are. */
static gsize line_piece(const char *bytes, gsize length, bool *whole_out)
{
    const char *newline = memchr(bytes, '\n', length);
    *whole_out = newline != NULL;
    return newline != NULL ? (gsize)(newline + 1 - bytes) : length;
}

static ReadStatus hand_over(Reader *reader, Response *response, Response **response_out)
{
    begin_response(reader);
    *response_out = response;
    return READ_OK;
}

static ReadStatus finish_frame(Reader *reader, Response **response_out)
{
    const char *frame = (const char *)reader->frame->data;
    gsize length = reader->frame->len;
    length -= length > 0 && frame[length - 1] == '\n';
    length -= length > 0 && frame[length - 1] == '\r';
    Response *response = response_parse(frame, length, reader->sunk);
    return hand_over(reader, response, response_out);
}

/* Whether the literal whose header stands at `offset` is a body's, and its sink wants it. */
static bool begin_sink(Reader *reader, gsize offset, guint64 size)
{
    const char *frame = (const char *)reader->frame->data;
    gsize end = offset;
    FetchName name;
    bool binary;
    while (end > 0 && frame[end - 1] == ' ')
        end--;
    if (reader->ops == NULL || reader->sink_misses >= SINK_MISSES_MAX || end == 0 ||
        (frame[end - 1] != ']' && frame[end - 1] != '>'))
        return false;
    if (!fetch_scan_literal(&reader->scan, frame, offset, reader->sunk, &name)) {
        reader->sink_misses++;
        return false;
    }
    fetch_name_is_body(&name, &binary);
    gpointer sink = reader->ops->begin(reader->ops_data, reader->scan.uid, name.section, binary,
                                       name.origin, size);
    fetch_name_clear(&name);
    if (sink == NULL)
        return false;
    SunkLiteral sunk = {.offset = offset, .length = size, .sink = sink};
    g_array_append_val(reader->sunk, sunk);
    return true;
}

/* Back to the line when the literal is whole, which one of no bytes is at once. */
static void end_literal(Reader *reader)
{
    if (reader->literal_left > 0)
        return;
    reader->state = IN_LINE;
    reader->fragment = reader->frame->len;
}

/* `begin` is where the header stands in the fragment. NULL, or what is wrong. */
static const char *begin_literal(Reader *reader, gsize begin, guint64 size)
{
    if (size > LIMIT_LITERAL || (!reader->authenticated && size > LITERAL_PREAUTH))
        return "a literal is too big";
    if (begin_sink(reader, reader->fragment + begin, size))
        reader->state = IN_SINK;
    else if (size > LIMIT_LITERAL_MEMORY || size > LIMIT_RESPONSE_MEMORY - reader->frame->len)
        return "a literal is too big";
    else
        reader->state = IN_LITERAL;
    reader->literal_left = size;
    end_literal(reader);
    return NULL;
}

/* A whole line stands at the end of the frame. */
static ReadStatus end_line(Reader *reader, Response **response_out)
{
    const char *line = (const char *)reader->frame->data + reader->fragment;
    gsize length = reader->frame->len - reader->fragment, begin = 0;
    guint64 size = 0;
    LiteralMark mark = LITERAL_NONE;
    if (reader->fragment == 0)
        reader->text_line = response_is_text_line(line, length);
    if (!reader->text_line)
        mark = lex_literal_at_line_end(line, length, &size, &begin);
    if (mark == LITERAL_ABSURD)
        return go_bad(reader, "a literal of an absurd size");
    if (mark == LITERAL_NONE)
        return finish_frame(reader, response_out);
    const char *bad = begin_literal(reader, begin, size);
    return bad != NULL ? go_bad(reader, bad) : READ_MORE;
}

/* Decides once per response, at a point that does not depend on how the bytes came. */
static void look_at_head(Reader *reader, bool whole_line)
{
    gsize head;
    if (reader->head_known || (reader->frame->len < HEAD_BYTES && !whole_line))
        return;
    reader->head_known = true;
    const char *frame = (const char *)reader->frame->data;
    ResponseKind kind = number_stream_kind(frame, reader->frame->len, &head);
    if (kind == RESP_UNKNOWN)
        return;
    reader->numbers = number_stream_new(kind);
    reader->state = IN_NUMBERS;
    number_stream_feed(reader->numbers, frame + head, reader->frame->len - head);
}

static ReadStatus end_numbers(Reader *reader, Response **response_out)
{
    Response *response = number_stream_finish(reader->numbers);
    if (response == NULL)
        return go_bad(reader, "a set has too many ranges");
    return hand_over(reader, response, response_out);
}

/* Each step takes bytes from the input; READ_MORE: look again if there is input. */
static ReadStatus step_line(Reader *reader, Response **response_out)
{
    gsize length;
    bool whole;
    const char *bytes = input(reader, &length);
    if (!reader->head_known)
        length = MIN(length, HEAD_BYTES - reader->frame->len);
    length = line_piece(bytes, length, &whole);
    const char *bad = check_line(reader, bytes, length);
    if (bad == NULL && reader->frame->len + length > LIMIT_RESPONSE_MEMORY)
        bad = "a response is too big";
    if (bad != NULL)
        return go_bad(reader, bad);
    g_byte_array_append(reader->frame, (const guint8 *)bytes, (guint)length);
    consume(reader, length);
    look_at_head(reader, whole);
    if (!whole)
        return READ_MORE;
    return reader->state == IN_NUMBERS ? end_numbers(reader, response_out)
                                       : end_line(reader, response_out);
}

static ReadStatus step_numbers(Reader *reader, Response **response_out)
{
    gsize length;
    bool whole;
    const char *bytes = input(reader, &length);
    length = line_piece(bytes, length, &whole);
    const char *bad = check_line(reader, bytes, length);
    if (bad == NULL && !number_stream_feed(reader->numbers, bytes, length))
        bad = "a set has too many ranges";
    if (bad != NULL)
        return go_bad(reader, bad);
    consume(reader, length);
    return whole ? end_numbers(reader, response_out) : READ_MORE;
}

static ReadStatus step_literal(Reader *reader)
{
    gsize length;
    const char *bytes = input(reader, &length);
    length = MIN(length, reader->literal_left);
    if (reader->state == IN_LITERAL)
        g_byte_array_append(reader->frame, (const guint8 *)bytes, (guint)length);
    else
        reader->ops->write(g_array_index(reader->sunk, SunkLiteral, reader->sunk->len - 1).sink,
                           bytes, length);
    reader->literal_left -= length;
    consume(reader, length);
    end_literal(reader);
    return READ_MORE;
}

static ReadStatus step(Reader *reader, Response **response_out)
{
    switch (reader->state) {
    case IN_LINE:
        return step_line(reader, response_out);
    case IN_NUMBERS:
        return step_numbers(reader, response_out);
    case IN_LITERAL:
    case IN_SINK:
        return step_literal(reader);
    case IS_BAD:
        break;
    }
    return READ_BAD;
}

ReadStatus reader_next(Reader *reader, Response **response_out, GError **error)
{
    ReadStatus status = reader->state == IS_BAD ? READ_BAD : READ_MORE;
    while (status == READ_MORE && reader->used < reader->in->len)
        status = step(reader, response_out);
    if (status == READ_BAD)
        g_set_error_literal(error, IMAPFS_ERROR, IMAPFS_ERROR_PROTOCOL, reader->bad);
    return status;
}

gsize reader_pending(const Reader *reader)
{
    return reader->line_bytes + (reader->in->len - reader->used);
}

GBytes *reader_take_pending(Reader *reader)
{
    GByteArray *pending = g_byte_array_new();
    gsize length;
    const char *bytes = input(reader, &length);
    g_byte_array_append(pending, reader->frame->data, reader->frame->len);
    g_byte_array_append(pending, (const guint8 *)bytes, (guint)length);
    consume(reader, length);
    if (reader->state != IS_BAD)
        begin_response(reader);
    return g_byte_array_free_to_bytes(pending);
}

bool reader_mid_response(const Reader *reader)
{
    return reader->line_bytes > 0;
}
