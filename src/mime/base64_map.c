/* base64_map.c - regular base64 (RFC 2045 6.8): measured by its ends, cut into slices, decoded
 * strictly.
 *
 * The rule: every byte that is given must be the one that the arithmetic expects at its place, or
 * there is no answer. */
#include "imapfs/mime/base64_map.h"

#include <string.h>

#include "base64_alphabet.h"
#include "imapfs/base/limits.h"
#include "imapfs/mime/transfer.h"

/* --- measuring --- */

/* Whether bytes, which stand at an offset of the text, are as the map has them there. */
static bool fits(const Base64Map *map, const guint8 *bytes, gsize length, guint64 offset)
{
    for (gsize i = 0; i < length && offset + i < map->data; i++) {
        guint64 at = offset + i, column = at % (map->line + 2);
        bool ok;

        if (column == map->line)
            ok = bytes[i] == '\r';
        else if (column == map->line + 1)
            ok = bytes[i] == '\n';
        else if (at >= map->data - map->padding)
            ok = bytes[i] == '=';
        else
            ok = base64_values[bytes[i]] != 0;
        if (!ok)
            return false;
    }
    return true;
}

/* How many bytes at the end are line ends. */
static gsize trailing_line_ends(const guint8 *tail, gsize length)
{
    gsize n = 0;

    while (length - n >= 2 && memcmp(tail + length - n - 2, "\r\n", 2) == 0)
        n += 2;
    return n;
}

/* Takes line from the first line end, or the whole text for one line. */
static Base64Ends measure_line(Base64Map *map, const guint8 *head, gsize length)
{
    const guint8 *end = memchr(head, '\r', length);

    if (end && (guint64)(end - head) < map->data) {
        map->line = (guint64)(end - head);
        return map->line > 0 ? BASE64_REGULAR : BASE64_IRREGULAR;
    }
    map->line = map->data;
    return map->data > length && length < BASE64_ENDS_WIDE ? BASE64_LONGER : BASE64_REGULAR;
}

/* A line end that both ends agree on: without one in the tail, nothing says that lines between the
 * ends are as long as the first. */
static bool shows_line_end(const Base64Map *map, gsize tail_data)
{
    guint64 last = map->data % (map->line + 2);

    return map->data <= map->line || tail_data > last;
}

Base64Ends base64_map_init(Base64Map *map, guint64 encoded, const void *head, gsize head_length,
                           const void *tail, gsize tail_length)
{
    Base64Map new = {.encoded = encoded};
    const guint8 *end = (const guint8 *)tail + tail_length;
    gsize trailing, tail_data;
    guint64 characters;
    Base64Ends measured;

    if (encoded == 0 || encoded > G_MAXINT64 || head_length > encoded || tail_length > encoded)
        return BASE64_IRREGULAR;
    trailing = trailing_line_ends(tail, tail_length);
    if (trailing == tail_length)
        return BASE64_IRREGULAR;
    new.data = encoded - trailing;
    end -= trailing;
    tail_data = tail_length - trailing;
    while (new.padding < 2 && new.padding < tail_data && end[-1 - (gssize) new.padding] == '=')
        new.padding++;
    measured = measure_line(&new, head, head_length);
    if (measured != BASE64_REGULAR)
        return measured;
    if (new.data % (new.line + 2) > new.line || new.data % (new.line + 2) == 0 ||
        !fits(&new, head, head_length, 0) || !fits(&new, tail, tail_length, encoded - tail_length))
        return BASE64_IRREGULAR;
    if (!shows_line_end(&new, tail_data))
        return tail_length < BASE64_ENDS_WIDE ? BASE64_LONGER : BASE64_IRREGULAR;
    characters = new.data - 2 * (new.data / (new.line + 2));
    if (characters % 4 != 0)
        return BASE64_IRREGULAR;
    new.decoded = characters / 4 * 3 - new.padding;
    *map = new;
    return BASE64_REGULAR;
}

bool base64_map_applies(const LayoutNode *node)
{
    return node->kind == LAYOUT_PART && node->encoded_size > BASE64_ENDS_MIN &&
           transfer_kind(node->encoding) == TRANSFER_BASE64;
}

/* --- slices --- */

bool base64_map_has_slices(const Base64Map *map)
{
    return map->line % 4 == 0 && map->line < BASE64_ENDS_WIDE;
}

guint32 base64_map_line_decoded(const Base64Map *map)
{
    return (guint32)map->line / 4 * 3;
}

guint32 base64_map_line_encoded(const Base64Map *map)
{
    return (guint32)map->line + 2;
}

guint64 base64_map_last_line(const Base64Map *map)
{
    guint32 line = base64_map_line_encoded(map);

    return (map->data - 1) / line * line;
}

/* Whole groups without padding. */
static bool decode_groups(const guint8 *in, gsize length, guint8 *out)
{
    for (; length >= 4; in += 4, out += 3, length -= 4) {
        guint a = base64_values[in[0]], b = base64_values[in[1]];
        guint c = base64_values[in[2]], d = base64_values[in[3]];
        guint32 bits;

        if (!a || !b || !c || !d)
            return false;
        bits = (a - 1) << 18 | (b - 1) << 12 | (c - 1) << 6 | (d - 1);
        out[0] = (guint8)(bits >> 16);
        out[1] = (guint8)(bits >> 8);
        out[2] = (guint8)bits;
    }
    return length == 0;
}

/* The group that ends the text: 3 - padding bytes. */
static bool decode_last_group(const guint8 in[4], guint padding, guint8 *out)
{
    guint8 group[4], bytes[3];

    memcpy(group, in, 4);
    for (guint i = 0; i < padding; i++) {
        if (group[3 - i] != '=')
            return false;
        group[3 - i] = 'A';
    }
    if (!decode_groups(group, 4, bytes))
        return false;
    memcpy(out, bytes, 3 - padding);
    return true;
}

/* The last line and what follows it. */
static bool decode_end(const Base64Map *map, const guint8 *bytes, gsize length, gsize last,
                       guint8 *out)
{
    return length >= last && decode_groups(bytes, last - 4, out) &&
           decode_last_group(bytes + last - 4, map->padding, out + (last - 4) / 4 * 3) &&
           trailing_line_ends(bytes + last, length - last) == length - last;
}

bool base64_map_decode(const Base64Map *map, guint64 offset, const guint8 *bytes, gsize length,
                       GByteArray *out)
{
    guint32 line = (guint32)map->line, line_bytes = base64_map_line_decoded(map);
    guint64 last_at = base64_map_last_line(map);
    gsize last = (gsize)(map->data - last_at);
    guint used = out->len;
    guint8 *at;

    if (length > LIMIT_LITERAL || offset > map->encoded || length > map->encoded - offset ||
        offset % (line + 2) != 0 || !base64_map_has_slices(map))
        return false;
    g_byte_array_set_size(out, used + (guint)(length / (line + 2) + 1) * line_bytes);
    at = out->data + used;
    for (; length > 0 && offset < last_at; offset += line + 2, at += line_bytes) {
        if (length < line + 2 || bytes[line] != '\r' || bytes[line + 1] != '\n' ||
            !decode_groups(bytes, line, at))
            return false;
        bytes += line + 2;
        length -= line + 2;
    }
    if (length > 0) {
        if (length != map->encoded - last_at || !decode_end(map, bytes, length, last, at))
            return false;
        at += last / 4 * 3 - map->padding;
    }
    g_byte_array_set_size(out, (guint)(at - out->data));
    return true;
}
