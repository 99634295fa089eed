/* headers_text.c - headers.txt: a header block made readable, one field a line.
 *
 * The rule: a line is a field and a field is a line, whatever the words in it decode to. */
#include "imapfs/mime/decode.h"
#include <string.h>
#include "imapfs/base/limits.h"
#include "header.h"

#define CUT_NOTICE "[imapfs: the header goes on; what is over 10 MiB is only in message.eml]\n"

static bool is_wsp(char c)
{
    return c == ' ' || c == '\t';
}

/* The lines of a field joined: a fold with the blanks around it is one space. */
static void unfold(const char *value, gsize length, GByteArray *out)
{
    g_byte_array_set_size(out, 0);
    gsize start = 0;
    while (start < length && is_wsp(value[start]))
        start++;
    while (start < length) {
        const char *nl = memchr(value + start, '\n', length - start);
        gsize end = nl ? (gsize)(nl - value) : length;
        gsize next = nl ? end + 1 : length;
        if (nl && end > start && value[end - 1] == '\r')
            end--;
        while (next < length && is_wsp(value[next]))
            next++;
        while (nl && end > start && is_wsp(value[end - 1]))
            end--;
        if (end > start) {
            if (out->len > 0)
                g_byte_array_append(out, (const guint8 *)" ", 1);
            g_byte_array_append(out, (const guint8 *)value + start, (guint)(end - start));
        }
        start = next;
    }
}

void mime_headers_text(const char *raw, gsize length, GByteArray *out)
{
    gsize bounded = MIN(length, (gsize)LIMIT_HEADER_BLOCK);
    g_autoptr(GByteArray) value = g_byte_array_new();
    HeaderField field;
    gsize pos = 0;
    guint words = HEADER_BLOCK_WORDS;
    while (header_next_field(raw, bounded, &pos, &field)) {
        unfold(field.value, field.value_length, value);
        if (field.name_length > 0) {
            g_byte_array_append(out, (const guint8 *)field.name, (guint)field.name_length);
            g_byte_array_append(out, (const guint8 *)": ", value->len > 0 ? 2 : 1);
        }
        if (value->len > 0)
            header_decode((const char *)value->data, value->len, &words, out);
        g_byte_array_append(out, (const guint8 *)"\n", 1);
    }
    if (pos >= bounded && bounded < length)
        g_byte_array_append(out, (const guint8 *)CUT_NOTICE, (guint)strlen(CUT_NOTICE));
}
