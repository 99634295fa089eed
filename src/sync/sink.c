/* sink.c - the encoded bytes of a section in, what the store keeps of them out.
 *
 * The one way for content to get into the store, wherever its bytes come from. */
#include "sync.h"

#include "imapfs/base/error.h"
#include "imapfs/base/limits.h"
#include "imapfs/mime/decode.h"

struct Sink {
    Decoder *decoder; /* DECODED, TEXT, HTML */
    GByteArray *raw;  /* HEADERS: gathered, then made readable */
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
    if (need->content == CONTENT_HEADERS)
        sink->raw = g_byte_array_new();
    else if (need->content == CONTENT_DECODED)
        sink->decoder = decoder_new(need->encoding, NULL, false, false);
    else if (need->content != CONTENT_RAW)
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

bool sink_take(Sink *sink, const void *bytes, gsize length, GError **error)
{
    if (sink->raw) {
        if (sink->raw->len + length > LIMIT_HEADER_BLOCK) {
            g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_TOO_BIG, "more than %u bytes of header",
                        LIMIT_HEADER_BLOCK);
            return false;
        }
        g_byte_array_append(sink->raw, bytes, (guint)length);
        return true;
    }
    if (!sink->decoder)
        return write_out(sink, bytes, length, error);
    g_autoptr(GByteArray) out = g_byte_array_new();
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
    return write_out(sink, out->data, out->len, error) &&
           content_commit(g_steal_pointer(&sink->writer), error);
}
