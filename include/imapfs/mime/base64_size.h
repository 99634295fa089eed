/* base64_size.h - the decoded size of a base64 part by its two ends.
 *
 * Layer mime. Pure functions. Encoders write lines of one length, so the first lines and the last
 * bytes tell how much there is, and any irregularity that shows in them is a reason to say nothing.
 * What is irregular in the middle only shows when the part is decoded. */
#pragma once
#include <stdbool.h>
#include "imapfs/mime/layout.h"

/* How much of each end shows the lines of nearly all mail, and of any line mail may have (RFC 5322
 * 2.1.1: 998 characters), and from what encoded size on it pays to ask for them. */
#define BASE64_ENDS 160
#define BASE64_ENDS_WIDE 1100
#define BASE64_ENDS_MIN 4096

typedef enum {
    BASE64_SIZE_EXACT,
    BASE64_SIZE_IRREGULAR,
    BASE64_SIZE_LONGER, /* a line is longer than what was given: give BASE64_ENDS_WIDE */
} Base64Size;

/* encoded: bytes of the part. head and tail: its first and its last bytes; they may overlap, and
 * be all of it. *size_out is set for EXACT only. */
Base64Size base64_size_from_ends(guint64 encoded, const void *head, gsize head_length,
                                 const void *tail, gsize tail_length, guint64 *size_out);

/* A file whose decoded size is worth to be had from the ends of its section. */
bool base64_size_applies(const LayoutNode *node);
