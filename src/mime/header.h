/* header.h - header fields as byte ranges, and their decoding. Private to layer mime. */
#pragma once
#include <glib.h>
#include <stdbool.h>

/* Encoded words decoded in one value; what comes after stays as it was sent. */
#define HEADER_MAX_WORDS 10000

typedef struct {
    const char *name;
    gsize name_length; /* 0: a line that is no field; then value is all of it */
    const char *value; /* as sent, still folded */
    gsize value_length;
} HeaderField;

/* The field at *pos, which moves on; false at the empty line or the end. */
bool header_next_field(const char *raw, gsize length, gsize *pos, HeaderField *field);
bool header_field_is(const HeaderField *field, const char *name);
char *header_field_value(const HeaderField *field);

/* mime_decode_header() on bytes that may hold NUL. */
void header_decode(const char *value, gsize length, GByteArray *out);
