/* header.h - header fields as byte ranges, and their decoding. Private to layer mime. */
#pragma once
#include <glib.h>
#include <stdbool.h>

/* Encoded words decoded in one value, and in one header block; what comes after them stays as it
 * was sent. A word can cost the opening of a charset, which takes thousands of times its length. */
#define HEADER_VALUE_WORDS 2000
#define HEADER_BLOCK_WORDS 20000

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

/* mime_decode_header() on bytes that may hold NUL; *words is how many encoded words may still be
 * decoded. */
void header_decode(const char *value, gsize length, guint *words, GByteArray *out);
char *header_decode_text(const char *value, guint *words);
