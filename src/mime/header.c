/* header.c - header values: unfolding, RFC 2047 words, raw 8-bit, whatever was sent.
 *
 * The rule: what comes out is valid UTF-8 without control characters, on one line. */
#include "imapfs/mime/decode.h"
#include <string.h>
#include "imapfs/base/limits.h"
#include "imapfs/mime/charset.h"
#include "imapfs/mime/name.h"
#include "imapfs/mime/transfer.h"
#include "charset_label.h"
#include "header.h"

#define CONVERTER_SLOTS 4

/* A word "=?charset?encoding?text?=" found at some place. */
typedef struct {
    char charset[CHARSET_LABEL_MAX];
    char encoding; /* 'b' or 'q' */
    const char *text;
    gsize text_length;
    gsize length; /* of all of it */
} Word;

static gsize find_end_of_word(const char *text, gsize length)
{
    for (gsize i = 0; i + 1 < length; i++) {
        if (text[i] == '?' && text[i + 1] == '=')
            return i;
        bool padding = i + 2 < length && text[i + 2] == '='; /* of base64: "=?=" */
        if (text[i] == '=' && text[i + 1] == '?' && !padding)
            return G_MAXSIZE; /* another word begins: this one has no end */
    }
    return G_MAXSIZE;
}

/* RFC 2047 2, with blanks allowed in the text (seen in the wild); language of RFC 2231 5 ignored.
 */
static bool word_parse(const char *p, gsize length, Word *word)
{
    if (length < 8 || p[0] != '=' || p[1] != '?')
        return false;
    gsize i = 2, n = 0;
    bool language = false;
    for (; i < length && p[i] != '?'; i++) {
        if ((guchar)p[i] <= ' ' || (guchar)p[i] > '~' || n + 1 >= CHARSET_LABEL_MAX)
            return false;
        language = language || p[i] == '*';
        if (!language)
            word->charset[n++] = p[i];
    }
    word->charset[n] = '\0';
    if (n == 0 || i + 3 >= length || p[i + 2] != '?')
        return false;
    word->encoding = g_ascii_tolower(p[i + 1]);
    if (word->encoding != 'b' && word->encoding != 'q')
        return false;
    word->text = p + i + 3;
    gsize end = find_end_of_word(word->text, length - (i + 3));
    if (end == G_MAXSIZE)
        return false;
    word->text_length = end;
    word->length = i + 3 + end + 2;
    return true;
}

static void decode_q(const char *text, gsize length, GByteArray *out)
{
    for (gsize i = 0; i < length; i++) {
        guint8 byte = text[i] == '_' ? ' ' : (guint8)text[i];
        if (text[i] == '=' && i + 2 < length && g_ascii_isxdigit(text[i + 1]) &&
            g_ascii_isxdigit(text[i + 2])) {
            byte = (guint8)(g_ascii_xdigit_value(text[i + 1]) << 4 |
                            g_ascii_xdigit_value(text[i + 2]));
            i += 2;
        }
        g_byte_array_append(out, &byte, 1);
    }
}

static void word_decode(const Word *word, GByteArray *out)
{
    if (word->encoding == 'q') {
        decode_q(word->text, word->text_length, out);
        return;
    }
    g_autoptr(Transfer) transfer = transfer_new(TRANSFER_BASE64);
    transfer_feed(transfer, word->text, word->text_length, out);
    transfer_finish(transfer, out);
}

/* Bytes of words that stand together in one charset, converted at once: senders cut multibyte
 * characters between words. */
typedef struct {
    char charset[CHARSET_LABEL_MAX];
    GByteArray *bytes;
    GByteArray *out;
} Run;

static void run_flush(Run *run)
{
    if (run->bytes->len == 0)
        return;
    g_autoptr(Charset) charset = charset_new(run->charset);
    charset_feed(charset, run->bytes->data, run->bytes->len, run->out);
    charset_finish(charset, run->out);
    g_byte_array_set_size(run->bytes, 0);
}

static void run_add(Run *run, const Word *word)
{
    if (g_ascii_strcasecmp(run->charset, word->charset) != 0)
        run_flush(run);
    g_strlcpy(run->charset, word->charset, sizeof run->charset);
    word_decode(word, run->bytes);
}

static bool is_blank(const char *text, gsize length)
{
    for (gsize i = 0; i < length; i++) {
        if (!strchr(" \t\r\n", text[i]) || !text[i])
            return false;
    }
    return true;
}

static void append_literal(const char *text, gsize length, GByteArray *out)
{
    g_autoptr(Charset) charset = charset_new(NULL);
    charset_feed(charset, text, length, out);
    charset_finish(charset, out);
}

static void decode_words(const char *value, gsize length, guint *words, GByteArray *out)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    Run run = {.bytes = bytes, .out = out};
    gsize literal = 0; /* where the text that is not yet written begins */
    bool after_word = false;
    for (gsize i = 0; i < length;) {
        const char *next = memchr(value + i, '=', length - i);
        if (!next)
            break;
        i = (gsize)(next - value);
        Word word;
        if (*words == 0 || !word_parse(next, length - i, &word)) {
            i++;
            continue;
        }
        --*words;
        /* RFC 2047 6.2: blanks between two words are not there. */
        if (!after_word || !is_blank(value + literal, i - literal)) {
            run_flush(&run);
            append_literal(value + literal, i - literal, out);
        }
        run_add(&run, &word);
        after_word = true;
        i += word.length;
        literal = i;
    }
    run_flush(&run);
    append_literal(value + literal, length - literal, out);
}

/* One line without controls. Lines that were folded are joined by what was there between. */
static void append_safe(const char *utf8, gsize length, GByteArray *out)
{
    for (gsize i = 0; i < length;) {
        const guint8 *p = (const guint8 *)utf8 + i;
        int step = charset_utf8_step(p, length - i);
        gsize n = step > 0 ? (gsize)step : 1;
        gunichar c = n == 1 ? *p : g_utf8_get_char((const char *)p);
        bool folding = c == '\r' || c == '\n';
        if (c == '\t' || c == ' ' || c == 0x2028 || c == 0x2029)
            g_byte_array_append(out, (const guint8 *)" ", 1);
        else if (!folding && (c < 0x20 || (c >= 0x7f && c < 0xa0)))
            g_byte_array_append(out, (const guint8 *)"\xef\xbf\xbd", 3);
        else if (!folding)
            g_byte_array_append(out, p, (guint)n);
        else if (i + 1 >= length || !strchr(" \t\r\n", utf8[i + 1]))
            g_byte_array_append(out, (const guint8 *)" ", 1); /* not a fold: keep words apart */
        i += n;
    }
}

void header_decode(const char *value, gsize length, guint *words, GByteArray *out)
{
    bool plain = memmem(value, length, "=?", 2) == NULL;
    for (gsize i = 0; plain && i < length; i++)
        plain = (guchar)value[i] >= ' ' && (guchar)value[i] < 0x7f;
    if (plain) {
        g_byte_array_append(out, (const guint8 *)value, (guint)length);
        return;
    }
    g_autoptr(GByteArray) decoded = g_byte_array_new();
    decode_words(value, length, words, decoded);
    append_safe((const char *)decoded->data, decoded->len, out);
}

char *header_decode_text(const char *value, guint *words)
{
    GByteArray *out = g_byte_array_new();
    header_decode(value, MIN(strlen(value), (gsize)LIMIT_HEADER_BLOCK), words, out);
    g_byte_array_append(out, (const guint8 *)"", 1);
    return (char *)g_byte_array_free(out, FALSE);
}

char *mime_decode_header(const char *value)
{
    guint words = HEADER_VALUE_WORDS;
    return header_decode_text(value, &words);
}

bool header_next_field(const char *raw, gsize length, gsize *pos, HeaderField *field)
{
    gsize start = *pos;
    if (start >= length || raw[start] == '\n' ||
        (raw[start] == '\r' && start + 1 < length && raw[start + 1] == '\n'))
        return false;
    gsize end = start;
    do { /* a line, and the lines that continue it */
        const char *nl = memchr(raw + end, '\n', length - end);
        end = nl ? (gsize)(nl - raw) + 1 : length;
    } while (end < length && (raw[end] == ' ' || raw[end] == '\t'));
    *pos = end;
    while (end > start && (raw[end - 1] == '\n' || raw[end - 1] == '\r'))
        end--;
    *field = (HeaderField){.name = raw + start, .value = raw + start, .value_length = end - start};
    const char *colon = memchr(raw + start, ':', end - start);
    if (!colon)
        return true;
    gsize name_length = (gsize)(colon - (raw + start));
    while (name_length > 0 && strchr(" \t", raw[start + name_length - 1]))
        name_length--;
    for (gsize i = 0; i < name_length; i++) {
        if ((guchar)raw[start + i] <= ' ' || (guchar)raw[start + i] >= 0x7f)
            return true; /* not a field name: a line of junk */
    }
    field->name_length = name_length;
    field->value = colon + 1;
    field->value_length = (gsize)(raw + end - (colon + 1));
    return true;
}

bool header_field_is(const HeaderField *field, const char *name)
{
    return field->name_length == strlen(name) &&
           g_ascii_strncasecmp(field->name, name, field->name_length) == 0;
}

/* Unfolded and trimmed, NUL as space; still encoded. */
char *header_field_value(const HeaderField *field)
{
    GString *out = g_string_sized_new(field->value_length);
    for (gsize i = 0; i < field->value_length; i++) {
        char c = field->value[i];
        if (c == '\n' || (c == '\r' && i + 1 < field->value_length && field->value[i + 1] == '\n'))
            continue;
        g_string_append_c(out, c ? c : ' ');
    }
    return g_strstrip(g_string_free(out, FALSE));
}

char *mime_header_value(const char *raw, gsize length, const char *name)
{
    HeaderField field;
    for (gsize pos = 0; header_next_field(raw, length, &pos, &field);) {
        if (header_field_is(&field, name))
            return header_field_value(&field);
    }
    return NULL;
}
