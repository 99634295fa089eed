/* base64_map.c - regular base64 (RFC 2045 6.8), mapped by arithmetic and decoded strictly.
 *
 * The rule: no byte is passed over. What is not exactly where the map has it is a refusal. */
#include "imapfs/mime/base64_map.h"

#include <string.h>

#define LINE_SHORTEST 4
#define LINE_LONGEST (BASE64_MAP_END - 2) /* so that the head shows its end */

/* Value + 1 of a character of the alphabet; 0 for any other byte. */
static const guint8 *alphabet(void)
{
    static const char characters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    static guint8 table[256];
    static gsize made;

    if (g_once_init_enter(&made)) {
        for (guint i = 0; i < 64; i++)
            table[(guint8)characters[i]] = (guint8)(i + 1);
        g_once_init_leave(&made, 1);
    }
    return table;
}

/* Whole groups without padding. */
static bool decode_groups(const guint8 *in, gsize length, guint8 *out)
{
    const guint8 *values = alphabet();

    for (; length >= 4; in += 4, out += 3, length -= 4) {
        guint a = values[in[0]], b = values[in[1]], c = values[in[2]], d = values[in[3]];
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

static bool is_line_ends(const guint8 *bytes, gsize length)
{
    for (gsize i = 0; i + 1 < length; i += 2) {
        if (bytes[i] != '\r' || bytes[i + 1] != '\n')
            return false;
    }
    return length % 2 == 0;
}

guint32 base64_map_line_decoded(const Base64Map *map)
{
    return map->line / 4 * 3;
}

guint32 base64_map_line_encoded(const Base64Map *map)
{
    return map->line + 2;
}

bool base64_map_decode(const Base64Map *map, guint64 offset, const guint8 *bytes, gsize length,
                       GByteArray *out)
{
    guint32 line = map->line, line_bytes = line / 4 * 3;
    guint used = out->len;
    guint8 *at;

    if (length > G_MAXUINT / 2 || offset > map->encoded || length > map->encoded - offset ||
        offset % (line + 2) != 0)
        return false;
    g_byte_array_set_size(out, used + (guint)(length / (line + 2) + 1) * line_bytes);
    at = out->data + used;
    for (; length > 0 && offset < map->last_at; offset += line + 2, at += line_bytes) {
        if (length < line + 2 || bytes[line] != '\r' || bytes[line + 1] != '\n' ||
            !decode_groups(bytes, line, at))
            return false;
        bytes += line + 2;
        length -= line + 2;
    }
    if (length > 0) {
        if (length < map->last || !decode_groups(bytes, map->last - 4, at) ||
            !decode_last_group(bytes + map->last - 4, map->padding, at + (map->last - 4) / 4 * 3) ||
            length != map->encoded - map->last_at ||
            !is_line_ends(bytes + map->last, length - map->last))
            return false;
        at += map->last / 4 * 3 - map->padding;
    }
    g_byte_array_set_size(out, (guint)(at - out->data));
    return true;
}

/* Whether bytes at an offset are as the map has them there. */
static bool fits(const Base64Map *map, const guint8 *bytes, gsize length, guint64 offset)
{
    const guint8 *values = alphabet();
    guint64 end = map->last_at + map->last;

    for (gsize i = 0; i < length; i++) {
        guint64 at = offset + i;
        guint column = (guint)(at % (map->line + 2));
        bool ok;

        if (at >= end)
            ok = bytes[i] == ((at - end) % 2 == 0 ? '\r' : '\n');
        else if (at >= end - map->padding)
            ok = bytes[i] == '=';
        else if (column >= map->line)
            ok = bytes[i] == (column == map->line ? '\r' : '\n');
        else
            ok = values[bytes[i]] != 0;
        if (!ok)
            return false;
    }
    return true;
}

/* Lays out the last line and what follows it. */
static bool measure_end(Base64Map *map, const guint8 tail[BASE64_MAP_END])
{
    const guint8 *end = tail + BASE64_MAP_END;
    guint64 data;

    while (end - tail >= 2 && end[-2] == '\r' && end[-1] == '\n')
        end -= 2;
    /* a whole line before the last one must show, with its end */
    if (end - tail < 4)
        return false;
    for (map->padding = 0; map->padding < 3 && end[-1 - (gssize)map->padding] == '=';)
        map->padding++;
    data = map->encoded - (guint64)(tail + BASE64_MAP_END - end);
    map->last_at = (data - 1) / (map->line + 2) * (map->line + 2);
    map->last = (guint32)(data - map->last_at);
    return map->padding < 3 && map->last <= map->line && map->last % 4 == 0 &&
           end - tail >= (gssize)map->last + 2;
}

bool base64_map_init(Base64Map *map, guint64 encoded, const guint8 head[BASE64_MAP_END],
                     const guint8 tail[BASE64_MAP_END])
{
    const guint8 *end = memchr(head, '\r', BASE64_MAP_END);

    *map = (Base64Map){.encoded = encoded, .line = end ? (guint32)(end - head) : 0};
    if (encoded < 2 * BASE64_MAP_END || encoded > G_MAXINT64 || map->line < LINE_SHORTEST ||
        map->line > LINE_LONGEST || map->line % 4 != 0 || !measure_end(map, tail) ||
        !fits(map, head, BASE64_MAP_END, 0) ||
        !fits(map, tail, BASE64_MAP_END, encoded - BASE64_MAP_END))
        return false;
    map->decoded =
        map->last_at / (map->line + 2) * (map->line / 4 * 3) + map->last / 4 * 3 - map->padding;
    return true;
}

guint64 base64_map_decode_tail(const Base64Map *map, const guint8 tail[BASE64_MAP_END],
                               GByteArray *out)
{
    guint64 begin = map->encoded - BASE64_MAP_END;
    guint64 at = map->last_at;

    /* whole lines, from the first one that begins in the tail */
    while (at >= begin + map->line + 2)
        at -= map->line + 2;
    if (!base64_map_decode(map, at, tail + (at - begin), (gsize)(map->encoded - at), out))
        return map->decoded;
    return at / (map->line + 2) * (map->line / 4 * 3);
}
