/* decode.c - transfer decoding, charset and line ends in one stream.
 *
 * The rule: the same bytes in give the same bytes out, however they were cut, and no input is an
 * error. */
#include "imapfs/mime/decode.h"
#include <string.h>
#include "imapfs/mime/charset.h"
#include "imapfs/mime/transfer.h"

#define BOM "\xef\xbb\xbf"

struct Decoder {
    Transfer *transfer;
    char *label;      /* the charset as declared, or NULL */
    Charset *charset; /* NULL: bytes, or not known yet */
    bool is_text, bom;
    bool started; /* the first bytes of text were seen */
    bool cr;      /* a CR waits for its LF */
    GByteArray *bytes, *text;
    GByteArray *head; /* of text: its first bytes, which may say what it is */
    gsize head_bytes; /* so many are looked at */
};

#define HEAD_BYTES 1024 /* of HTML that nobody declared */

Decoder *decoder_new(const char *encoding, const char *charset, bool is_text, bool bom)
{
    Decoder *decoder = g_new0(Decoder, 1);
    decoder->transfer = transfer_new(transfer_kind(encoding));
    decoder->is_text = is_text;
    decoder->bom = bom;
    decoder->bytes = g_byte_array_new();
    decoder->text = g_byte_array_new();
    if (!is_text)
        return decoder;
    decoder->label = g_strdup(charset);
    decoder->head = g_byte_array_new();
    decoder->head_bytes = bom && charset_is_guessed(charset) ? HEAD_BYTES : strlen(BOM);
    return decoder;
}

void decoder_free(Decoder *decoder)
{
    if (!decoder)
        return;
    transfer_free(decoder->transfer);
    g_free(decoder->label);
    charset_free(decoder->charset);
    g_byte_array_unref(decoder->bytes);
    g_byte_array_unref(decoder->text);
    if (decoder->head)
        g_byte_array_unref(decoder->head);
    g_free(decoder);
}

/* <meta charset=X> or <meta http-equiv ... content="...; charset=X"> (HTML, prescan a byte stream),
 * for mail that says it nowhere else. Caller frees. */
static char *html_charset(const guint8 *head, gsize length)
{
    g_autofree char *text = g_strndup((const char *)head, length);
    for (char *p = text; *p; p++)
        *p = g_ascii_tolower(*p);
    for (const char *meta = strstr(text, "<meta"); meta; meta = strstr(meta + 1, "<meta")) {
        const char *end = strchr(meta, '>');
        const char *p = strstr(meta, "charset");
        if (!end || !p || p > end)
            continue;
        p += strlen("charset");
        p += strspn(p, " \t\r\n");
        if (*p != '=')
            continue;
        p++;
        p += strspn(p, " \t\r\n\"'");
        gsize n = strcspn(p, " \t\r\n\"';/>");
        /* What can be read as ASCII so far cannot be UTF-16 (the standard says UTF-8 then). */
        if (n > 0 && !g_str_has_prefix(p, "utf-16"))
            return g_strndup(p, n);
    }
    return NULL;
}

/* A byte order mark says more than any label (Encoding Standard 6, decode). */
static const char *marked_charset(const GByteArray *head)
{
    if (head->len >= 3 && memcmp(head->data, BOM, 3) == 0)
        return "utf-8";
    if (head->len >= 2 &&
        (memcmp(head->data, "\xff\xfe", 2) == 0 || memcmp(head->data, "\xfe\xff", 2) == 0))
        return "utf-16";
    return NULL;
}

/* The first bytes are here. */
static void settle_charset(Decoder *decoder)
{
    g_autoptr(GByteArray) head = g_steal_pointer(&decoder->head);
    const char *marked = marked_charset(head);
    g_autofree char *named = NULL;
    if (!marked && decoder->head_bytes == HEAD_BYTES && head->len > 0)
        named = html_charset(head->data, MIN(head->len, HEAD_BYTES));
    decoder->charset = charset_new(marked ? marked : named ? named : decoder->label);
    charset_feed(decoder->charset, head->data, head->len, decoder->text);
}

/* CR LF to LF; other CRs are text. */
static void append_lines(Decoder *decoder, const guint8 *text, gsize length, GByteArray *out)
{
    while (length > 0) {
        if (decoder->cr && *text != '\n')
            g_byte_array_append(out, (const guint8 *)"\r", 1);
        decoder->cr = false;
        const guint8 *cr = memchr(text, '\r', length);
        gsize n = cr ? (gsize)(cr - text) : length;
        g_byte_array_append(out, text, (guint)n);
        decoder->cr = cr != NULL;
        n += cr != NULL;
        text += n;
        length -= n;
    }
}

/* decoder->text goes out. A BOM that the text has itself is not text. */
static void flush_text(Decoder *decoder, bool last, GByteArray *out)
{
    GByteArray *text = decoder->text;
    gsize skip = 0;
    if (!decoder->started && text->len > 0) {
        gsize n = MIN(text->len, strlen(BOM));
        bool begins = memcmp(text->data, BOM, n) == 0;
        if (begins && n < strlen(BOM) && !last)
            return;
        skip = begins && n == strlen(BOM) ? n : 0;
        decoder->started = true;
    }
    if (decoder->bom && text->len > skip) {
        g_byte_array_append(out, (const guint8 *)BOM, 3);
        decoder->bom = false;
    }
    if (text->len > skip)
        append_lines(decoder, text->data + skip, text->len - skip, out);
    g_byte_array_set_size(text, 0);
    if (last && decoder->cr)
        g_byte_array_append(out, (const guint8 *)"\r", 1);
}

static void feed_text(Decoder *decoder, const guint8 *bytes, gsize length, bool last,
                      GByteArray *out)
{
    if (decoder->head) {
        g_byte_array_append(decoder->head, bytes, (guint)length);
        if (decoder->head->len < decoder->head_bytes && !last)
            return;
        settle_charset(decoder);
    } else {
        charset_feed(decoder->charset, bytes, length, decoder->text);
    }
    if (last)
        charset_finish(decoder->charset, decoder->text);
    flush_text(decoder, last, out);
}

void decoder_feed(Decoder *decoder, const void *bytes, gsize length, GByteArray *out)
{
    if (!decoder->is_text) {
        transfer_feed(decoder->transfer, bytes, length, out);
        return;
    }
    transfer_feed(decoder->transfer, bytes, length, decoder->bytes);
    feed_text(decoder, decoder->bytes->data, decoder->bytes->len, false, out);
    g_byte_array_set_size(decoder->bytes, 0);
}

void decoder_finish(Decoder *decoder, GByteArray *out)
{
    if (!decoder->is_text) {
        transfer_finish(decoder->transfer, out);
        return;
    }
    transfer_finish(decoder->transfer, decoder->bytes);
    feed_text(decoder, decoder->bytes->data, decoder->bytes->len, true, out);
    g_byte_array_set_size(decoder->bytes, 0);
}
