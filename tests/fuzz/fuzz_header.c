/* fuzz_header.c - decoded headers are valid UTF-8 without controls, and a field is one line. */
#include "imapfs/mime/decode.h"
#include "imapfs/mime/name.h"
#include "imapfs/mime/param.h"
#include "fuzz.h"

static void check_line(const char *text, gsize length)
{
    FUZZ_CHECK(g_utf8_validate(text, (gssize)length, NULL), "%.*s", (int)length, text);
    for (const char *p = text; p < text + length; p = g_utf8_next_char(p)) {
        gunichar c = g_utf8_get_char(p);
        FUZZ_CHECK(c >= 0x20 && (c < 0x7f || c >= 0xa0) && c != 0x2028 && c != 0x2029,
                   "U+%04X at %ld", c, (long)(p - text));
    }
}

static void check_block(const char *raw, gsize size)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    mime_headers_text(raw, size, out);
    guint lines = 0, raw_lines = 1;
    for (gsize i = 0; i < size; i++)
        raw_lines += raw[i] == '\n';
    const char *line = (const char *)out->data, *end = line ? line + out->len : NULL;
    while (line < end) {
        const char *nl = memchr(line, '\n', (gsize)(end - line));
        FUZZ_CHECK(nl != NULL, "the last line is not ended");
        check_line(line, (gsize)(nl - line));
        line = nl + 1;
        lines++;
    }
    FUZZ_CHECK(lines <= raw_lines, "%u lines from %u", lines, raw_lines);
    g_free(mime_header_value(raw, size, "Subject"));
}

static void check_param(const char *value)
{
    BodyParam list[] = {{(char *)"name*0*", (char *)value},
                        {(char *)"name*1", (char *)value},
                        {(char *)"file*", (char *)value},
                        {(char *)"plain", (char *)value}};
    g_autoptr(GArray) params = g_array_new(FALSE, FALSE, sizeof(BodyParam));
    g_array_append_vals(params, list, G_N_ELEMENTS(list));
    static const char *const NAMES[] = {"name", "file", "plain"};
    guint words = PARAM_WORDS;
    for (guint i = 0; i < G_N_ELEMENTS(NAMES); i++) {
        g_autofree char *text = mime_param_text(params, NAMES[i], &words);
        FUZZ_CHECK(text && g_utf8_validate(text, -1, NULL), "%s", NAMES[i]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_block((const char *)data, size);
    g_autofree char *value = g_strndup((const char *)data, size);
    g_autofree char *decoded = mime_decode_header(value);
    check_line(decoded, strlen(decoded));
    g_autofree char *from = mime_from_display(value);
    check_line(from, strlen(from));
    check_param(value);
    return 0;
}
