/* base64_map.h - where the bytes of a base64 part are, and how many, by its two ends.
 *
 * Layer mime. Pure functions. Encoders write lines of one length, so the first lines and the last
 * bytes tell where everything in between is, and any irregularity that shows in them is a reason to
 * say nothing. What is irregular in the middle shows when a slice of it is decoded: every byte is
 * checked to be what the map has at its place. */
#pragma once
#include <stdbool.h>
#include "imapfs/mime/layout.h"

/* How much of each end shows the lines of nearly all mail, and of any line mail may have (RFC 5322
 * 2.1.1: 998 characters), and from what encoded size on it pays to ask for them. */
#define BASE64_ENDS 160
#define BASE64_ENDS_WIDE 1100
#define BASE64_ENDS_MIN 4096

/* Lines of `line` characters and CRLF, the last one perhaps shorter, then padding; `data` is all of
 * that, and only line ends follow. */
typedef struct {
    guint64 encoded; /* bytes of the text */
    guint64 data;
    guint64 line; /* data: there is but one line */
    guint64 decoded;
    guint padding;
} Base64Map;

typedef enum {
    BASE64_REGULAR,
    BASE64_IRREGULAR,
    BASE64_LONGER, /* a line is longer than what was given: give BASE64_ENDS_WIDE */
} Base64Ends;

/* encoded: bytes of the part. head and tail: its first and its last bytes; they may overlap, and
 * be all of it. *map is set for REGULAR only. */
Base64Ends base64_map_init(Base64Map *map, guint64 encoded, const void *head, gsize head_length,
                           const void *tail, gsize tail_length);

/* A file whose decoded size is worth to be had from the ends of its section. */
bool base64_map_applies(const LayoutNode *node);

/* Whether every line is whole groups, so that slices can be cut at lines. */
bool base64_map_has_slices(const Base64Map *map);
/* What a line and its CRLF carry, and are. */
guint32 base64_map_line_decoded(const Base64Map *map);
guint32 base64_map_line_encoded(const Base64Map *map);
/* Where the last line begins. */
guint64 base64_map_last_line(const Base64Map *map);
/* Appends the bytes of a slice, which begins at a line and ends with one, or with the text. False:
 * it is not as the map has it; what was appended is then worth nothing. */
bool base64_map_decode(const Base64Map *map, guint64 offset, const guint8 *bytes, gsize length,
                       GByteArray *out);
