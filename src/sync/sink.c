/* sink.c - the encoded bytes of a section in, what the store keeps of them out.
 *
 * The one way for content to get into the store, wherever its bytes come from. */
#include "sync.h"

#include <string.h>
#include "imapfs/base/limits.h"
#include "imapfs/mime/decode.h"

struct Sink {
    Decoder *decoder; /* DECODED, TEXT, HTML */
    GByteArray *raw;  /* HEADERS: gathered, then made readable */
    bool is_letter;
    bool owes_cr; /* of a letter: the last byte was CR, and is not written yet */
    ContentWriter *writer;
};

Sink *sink_new(Store *store, const Need *need, GError **error)
{
    ContentKey key = need_content_key(need);
    guint64 hint = need->encoded_size > 0 ? (guint64)need->encoded_size : 0;
    ContentWriter *writer = content_begin(store, &key, hint, error);
    if (!writer)
        return NULL;
    Sink *sink = g_new0(Sink, 1);
    sink->writer = writer;
    sink->is_letter = need->content == CONTENT_LETTER;
    if (need->content == CONTENT_HEADERS)
        sink->raw = g_byte_array_new();
    else if (need->content == CONTENT_DECODED)
        sink->decoder = decoder_new(need->encoding, NULL, false, false);
    else if (need->content != CONTENT_RAW && !sink->is_letter)
        sink->decoder = decoder_new(need->encoding, need->charset ? need->charset : "us-ascii",
                                    true, need->content == CONTENT_HTML);
    return sink;
}

void sink_free(Sink *sink)
{
    if (!sink)
        return;
    if (sink->writer)
        content_abort(sink->writer);
    decoder_free(sink->decoder);
    if (sink->raw)
        g_byte_array_unref(sink->raw);
    g_free(sink);
}

static bool write_out(Sink *sink, const void *bytes, gsize length, GError **error)
{
    return length == 0 || content_write(sink->writer, bytes, length, error);
}

/* LF for CRLF; a CR that stands alone stays. */
static void end_lines(Sink *sink, const char *bytes, gsize length, GByteArray *out)
{
    const char *end = bytes + length;
    while (bytes < end) {
        if (sink->owes_cr && *bytes != '\n')
            g_byte_array_append(out, (const guint8 *)"\r", 1);
        const char *cr = memchr(bytes, '\r', (gsize)(end - bytes));
        sink->owes_cr = cr != NULL;
        g_byte_array_append(out, (const guint8 *)bytes, (guint)((cr ? cr : end) - bytes));
        bytes = cr ? cr + 1 : end;
    }
}

bool sink_take(Sink *sink, const void *bytes, gsize length, GError **error)
{
    if (sink->raw) {
        /* One byte over the limit says that there is more: headers.txt then says so, too. */
        length = MIN(length, LIMIT_HEADER_BLOCK + 1 - sink->raw->len);
        g_byte_array_append(sink->raw, bytes, (guint)length);
        return true;
    }
    if (!sink->decoder && !sink->is_letter)
        return write_out(sink, bytes, length, error);
    g_autoptr(GByteArray) out = g_byte_array_new();
    if (sink->is_letter)
        end_lines(sink, bytes, length, out);
    else
        decoder_feed(sink->decoder, bytes, length, out);
    return write_out(sink, out->data, out->len, error);
}

bool sink_finish(Sink *sink, GError **error)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    if (sink->raw)
        mime_headers_text((const char *)sink->raw->data, sink->raw->len, out);
    else if (sink->decoder)
        decoder_finish(sink->decoder, out);
    else if (sink->owes_cr)
        g_byte_array_append(out, (const guint8 *)"\r", 1);
    return write_out(sink, out->data, out->len, error) &&
           content_commit(g_steal_pointer(&sink->writer), error);
}
