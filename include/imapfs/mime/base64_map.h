/* base64_map.h - where the bytes of a regular base64 text are, without reading all of it.
 *
 * Layer mime. Pure functions. A regular text has lines of one length, a multiple of four, with CRLF
 * between them, a last line that may be shorter, padding at its end alone, and then nothing but
 * CRLFs. Its two ends and its size tell where everything is; every slice that is decoded is checked
 * against that, byte by byte. */
#pragma once
#include <glib.h>
#include <stdbool.h>

#define BASE64_MAP_END 160u /* bytes of each end that base64_map_init() wants */

typedef struct {
    guint64 encoded; /* bytes of the text */
    guint64 decoded;
    guint32 line;    /* characters in a line */
    guint64 last_at; /* offset of the last line */
    guint32 last;    /* its characters, padding included */
    guint32 padding;
} Base64Map;

/* False: the text is not regular, or does not show that it is. encoded must be at least twice
 * BASE64_MAP_END. */
bool base64_map_init(Base64Map *map, guint64 encoded, const guint8 head[BASE64_MAP_END],
                     const guint8 tail[BASE64_MAP_END]);

/* What a line and its CRLF carry, and are. */
guint32 base64_map_line_decoded(const Base64Map *map);
guint32 base64_map_line_encoded(const Base64Map *map);

/* Appends the bytes of a slice, which begins at a line and ends with one, or with the text. False:
 * it is not as the map has it; what was appended is then worth nothing. */
bool base64_map_decode(const Base64Map *map, guint64 offset, const guint8 *bytes, gsize length,
                       GByteArray *out);
/* The decoded bytes that the text's last bytes carry, from the first whole group on. Returns their
 * offset in the decoded text. */
guint64 base64_map_decode_tail(const Base64Map *map, const guint8 tail[BASE64_MAP_END],
                               GByteArray *out);
