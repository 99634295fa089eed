/* base64_size.c - counts what is between the two ends of a base64 text.
 *
 * The rule: every byte that is given must be the one that the arithmetic expects at its place, or
 * there is no answer. */
#include "imapfs/mime/base64_size.h"

#include <string.h>

#include "imapfs/mime/transfer.h"

/* A text of lines of `line` characters and CRLF, the last one perhaps shorter, then padding; `data`
 * is all of that, and only line ends may follow. */
typedef struct {
    guint64 data;
    guint64 line;
    guint padding;
} Shape;

static bool is_sextet(char c)
{
    return g_ascii_isalnum(c) || c == '+' || c == '/';
}

/* Whether bytes, which stand at an offset of the text, are as the shape has them there. */
static bool fits(const Shape *shape, const char *bytes, gsize length, guint64 offset)
{
    for (gsize i = 0; i < length && offset + i < shape->data; i++) {
        guint64 at = offset + i, column = at % (shape->line + 2);
        bool ok;
        if (column == shape->line)
            ok = bytes[i] == '\r';
        else if (column == shape->line + 1)
            ok = bytes[i] == '\n';
        else if (at >= shape->data - shape->padding)
            ok = bytes[i] == '=';
        else
            ok = is_sextet(bytes[i]);
        if (!ok)
            return false;
    }
    return true;
}

/* How many bytes at the end are line ends. */
static gsize trailing_line_ends(const char *tail, gsize length)
{
    gsize n = 0;
    while (length - n >= 2 && memcmp(tail + length - n - 2, "\r\n", 2) == 0)
        n += 2;
    return n;
}

/* Takes line from the first line end, or the whole text for one line. */
static Base64Size measure_line(Shape *shape, const char *head, gsize length)
{
    const char *end = memchr(head, '\r', length);
    if (end && (guint64)(end - head) < shape->data) {
        shape->line = (guint64)(end - head);
        return shape->line > 0 ? BASE64_SIZE_EXACT : BASE64_SIZE_IRREGULAR;
    }
    shape->line = shape->data;
    return shape->data > length && length < BASE64_ENDS_WIDE ? BASE64_SIZE_LONGER
                                                             : BASE64_SIZE_EXACT;
}

/* A line end that both ends agree on: without one in the tail, nothing says that lines between the
 * ends are as long as the first. */
static bool shows_line_end(const Shape *shape, gsize tail_data)
{
    guint64 last = shape->data % (shape->line + 2);
    return shape->data <= shape->line || tail_data > last;
}

Base64Size base64_size_from_ends(guint64 encoded, const void *head, gsize head_length,
                                 const void *tail, gsize tail_length, guint64 *size_out)
{
    Shape shape = {0};
    const char *end = (const char *)tail + tail_length;
    if (encoded == 0 || encoded > G_MAXINT64 || head_length > encoded || tail_length > encoded)
        return BASE64_SIZE_IRREGULAR;
    gsize trailing = trailing_line_ends(tail, tail_length);
    if (trailing == tail_length)
        return BASE64_SIZE_IRREGULAR;
    shape.data = encoded - trailing;
    end -= trailing;
    gsize tail_data = tail_length - trailing;
    while (shape.padding < 2 && shape.padding < tail_data && end[-1 - (gssize)shape.padding] == '=')
        shape.padding++;
    Base64Size measured = measure_line(&shape, head, head_length);
    if (measured != BASE64_SIZE_EXACT)
        return measured;
    if (shape.data % (shape.line + 2) > shape.line || shape.data % (shape.line + 2) == 0 ||
        !fits(&shape, head, head_length, 0) ||
        !fits(&shape, tail, tail_length, encoded - tail_length))
        return BASE64_SIZE_IRREGULAR;
    if (!shows_line_end(&shape, tail_data))
        return tail_length < BASE64_ENDS_WIDE ? BASE64_SIZE_LONGER : BASE64_SIZE_IRREGULAR;
    guint64 characters = shape.data - 2 * (shape.data / (shape.line + 2));
    if (characters % 4 != 0)
        return BASE64_SIZE_IRREGULAR;
    *size_out = characters / 4 * 3 - shape.padding;
    return BASE64_SIZE_EXACT;
}

bool base64_size_applies(const LayoutNode *node)
{
    return node->kind == LAYOUT_PART && node->encoded_size > BASE64_ENDS_MIN &&
           transfer_kind(node->encoding) == TRANSFER_BASE64;
}
