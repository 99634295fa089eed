/* reader.c - where a response ends: lines, literals, and lists of numbers (RFC 9051 2.2.2, 4.3).
 *
 * The rule: this file knows line ends and literal headers and nothing else of the grammar. A whole
 * response stands in one piece in `frame` before anything parses it, so how the bytes were split
 * cannot matter. A line that ends in {n}, {n+} or ~{n} goes on behind n bytes, but for lines of
 * text for people, which may end in anything. A FETCH over a limit is cut there, and broken: how
 * long it is can be a sender's doing, who must not be able to end the connection. */
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
#define TAIL_BYTES 64            /* of a line: more than the header of a literal at its end */

typedef enum { IN_LINE, IN_LITERAL, IN_PASSED, IN_NUMBERS, IS_BAD } ReaderState;

struct Reader {
    ReaderState state;
    bool authenticated;
    const char *bad; /* why */

    GByteArray *in; /* fed; the first `used` bytes are done with */
    gsize used;

    GByteArray *frame;     /* the response so far */
    gsize fragment;        /* offset of the line it is in: behind the last literal */
    gsize line_bytes;      /* of the response, outside literals */
    bool head_known;       /* numbers or not has been decided */
    bool text_line;        /* "{5}" at its end means nothing */
    guint64 literal_left;  /* IN_LITERAL, IN_PASSED */
    bool cut;              /* what comes is not kept; only where it ends is looked for */
    char tail[TAIL_BYTES]; /* when cut: the end of the line it is in */
    gsize tail_length;
    NumberStream *numbers;
};

Reader *reader_new(void)
{
    Reader *reader = g_new0(Reader, 1);
    reader->in = g_byte_array_new();
    reader->frame = g_byte_array_new();
    return reader;
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
    empty_buffer(&reader->frame);
    g_clear_pointer(&reader->numbers, number_stream_free);
    reader->state = IN_LINE;
    reader->fragment = reader->line_bytes = 0;
    reader->head_known = reader->text_line = false;
    reader->literal_left = 0;
    reader->cut = false;
    reader->tail_length = 0;
}

void reader_free(Reader *reader)
{
    if (reader == NULL)
        return;
    begin_response(reader);
    g_byte_array_unref(reader->in);
    g_byte_array_unref(reader->frame);
    g_free(reader);
}

void reader_set_authenticated(Reader *reader)
{
    reader->authenticated = true;
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
    if (reader->cut)
        return LIMIT_LITERAL;
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
    Response *response = response_parse(frame, length);
    if (reader->cut && response->fetch != NULL) {
        response->fetch->broken = true;
        g_free(response->fetch->problem);
        response->fetch->problem = g_strdup("it is too long");
    }
    return hand_over(reader, response, response_out);
}

/* Keeps the end of the line, of which these bytes come next. */
static void note_tail(Reader *reader, const char *bytes, gsize length)
{
    gsize kept = MIN(reader->tail_length, TAIL_BYTES - MIN(length, TAIL_BYTES));
    memmove(reader->tail, reader->tail + reader->tail_length - kept, kept);
    reader->tail_length = kept + MIN(length, TAIL_BYTES);
    memcpy(reader->tail + kept, bytes + length - (reader->tail_length - kept),
           reader->tail_length - kept);
}

/* Keeps what there is of a FETCH, but for the word it is in, which may be half a UID. What is put
 * in its place makes no sense as anything, so that no bytes of a sender can stand at the end as if
 * the server had said them. False: it is no FETCH. */
static bool cut_fetch(Reader *reader)
{
    GByteArray *frame = reader->frame;
    if (!reader->authenticated || !fetch_is_begun((const char *)frame->data, frame->len))
        return false;
    note_tail(reader, (const char *)frame->data + reader->fragment, frame->len - reader->fragment);
    while (frame->len > reader->fragment && frame->data[frame->len - 1] != ' ')
        g_byte_array_set_size(frame, frame->len - 1);
    g_byte_array_append(frame, (const guint8 *)" {", 2);
    reader->cut = true;
    return true;
}

/* Back to the line when the literal is whole, which one of no bytes is at once. */
static void end_literal(Reader *reader)
{
    if (reader->literal_left > 0)
        return;
    reader->state = IN_LINE;
    reader->fragment = reader->frame->len;
    reader->tail_length = 0;
}

/* NULL, or what is wrong. */
static const char *begin_literal(Reader *reader, guint64 size)
{
    if (size > LIMIT_LITERAL || (!reader->authenticated && size > LITERAL_PREAUTH))
        return "a literal is too big";
    if (reader->cut)
        reader->state = IN_PASSED;
    else if (size <= LIMIT_LITERAL_MEMORY && size <= LIMIT_RESPONSE_MEMORY - reader->frame->len)
        reader->state = IN_LITERAL;
    else if (cut_fetch(reader))
        reader->state = IN_PASSED;
    else
        return "a literal is too big";
    reader->literal_left = size;
    end_literal(reader);
    return NULL;
}

/* A whole line stands at the end of the frame, or, when it is cut, its end in the tail. */
static ReadStatus end_line(Reader *reader, Response **response_out)
{
    const char *line =
        reader->cut ? reader->tail : (const char *)reader->frame->data + reader->fragment;
    gsize length = reader->cut ? reader->tail_length : reader->frame->len - reader->fragment;
    gsize begin = 0;
    guint64 size = 0;
    LiteralMark mark = LITERAL_NONE;
    if (reader->fragment == 0 && !reader->cut)
        reader->text_line = response_is_text_line(line, length);
    if (!reader->text_line)
        mark = lex_literal_at_line_end(line, length, &size, &begin);
    if (mark == LITERAL_ABSURD)
        return go_bad(reader, "a literal of an absurd size");
    if (mark == LITERAL_NONE)
        return finish_frame(reader, response_out);
    const char *bad = begin_literal(reader, size);
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

/* What the limits leave of room for the line. */
static gsize line_room(const Reader *reader)
{
    return MIN(line_limit(reader) - reader->line_bytes, LIMIT_RESPONSE_MEMORY - reader->frame->len);
}

/* There is room for so much of the line. READ_MORE: the response goes on all the same. */
static ReadStatus go_over(Reader *reader, const char *bytes, gsize room)
{
    const char *bad = check_line(reader, bytes, room);
    if (bad != NULL)
        return go_bad(reader, bad);
    g_byte_array_append(reader->frame, (const guint8 *)bytes, (guint)room);
    consume(reader, room);
    return cut_fetch(reader) ? READ_MORE : go_bad(reader, "a line is too long");
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
    if (length > line_room(reader))
        return go_over(reader, bytes, line_room(reader));
    const char *bad = check_line(reader, bytes, length);
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

/* Of a line behind a cut. */
static ReadStatus step_rest(Reader *reader, Response **response_out)
{
    gsize length;
    bool whole;
    const char *bytes = input(reader, &length);
    length = line_piece(bytes, length, &whole);
    const char *bad = check_line(reader, bytes, length);
    if (bad != NULL)
        return go_bad(reader, bad);
    note_tail(reader, bytes, length);
    consume(reader, length);
    return whole ? end_line(reader, response_out) : READ_MORE;
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
    reader->literal_left -= length;
    consume(reader, length);
    end_literal(reader);
    return READ_MORE;
}

static ReadStatus step(Reader *reader, Response **response_out)
{
    switch (reader->state) {
    case IN_LINE:
        return reader->cut ? step_rest(reader, response_out) : step_line(reader, response_out);
    case IN_NUMBERS:
        return step_numbers(reader, response_out);
    case IN_LITERAL:
    case IN_PASSED:
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
