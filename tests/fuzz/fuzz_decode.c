/* fuzz_decode.c - what is decoded does not depend on how it was cut, and text is valid UTF-8. */
#include <stdbool.h>
#include "imapfs/mime/charset.h"
#include "imapfs/mime/decode.h"
#include "fuzz.h"

static const char *const ENCODINGS[] = {"7bit", "base64", "quoted-printable", "x-uuencode",
                                        "x-yenc"};
/* NULL is undeclared; "*" takes a label from the input: any converter that iconv has. */
static const char *const CHARSETS[] = {NULL,        "utf-8",       "iso-8859-1",  "iso-2022-jp",
                                       "shift_jis", "big5",        "gb2312",      "euc-kr",
                                       "euc-jp",    "utf-7",       "utf-16",      "utf-32",
                                       "hz",        "iso-2022-kr", "iso-2022-cn", "*"};

static GByteArray *decode(Decoder *decoder, const uint8_t *data, size_t size, size_t step)
{
    GByteArray *out = g_byte_array_new();
    for (size_t i = 0; i < size; i += step)
        decoder_feed(decoder, data + i, MIN(step, size - i), out);
    decoder_finish(decoder, out);
    decoder_free(decoder);
    return out;
}

static void check_utf8(const GByteArray *text)
{
    for (guint i = 0; i < text->len;) {
        int step = charset_utf8_step(text->data + i, text->len - i);
        FUZZ_CHECK(step > 0, "at %u of %u", i, text->len);
        i += (guint)step;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3)
        return 0;
    const char *encoding = ENCODINGS[data[0] % G_N_ELEMENTS(ENCODINGS)];
    const char *charset = CHARSETS[data[1] % G_N_ELEMENTS(CHARSETS)];
    bool bom = data[0] & 0x80, text = !(data[1] & 0x80);
    size_t step = data[2] % 16 + 1;
    data += 3;
    size -= 3;
    char label[24] = "";
    bool any = charset && *charset == '*';
    if (any) {
        gsize n = MIN(size, sizeof label - 1);
        memcpy(label, data, n);
        charset = label;
        data += n;
        size -= n;
    }
    g_autoptr(GByteArray) whole =
        decode(decoder_new(encoding, charset, text, bom), data, size, size + 1);
    g_autoptr(GByteArray) pieces =
        decode(decoder_new(encoding, charset, text, bom), data, size, step);
    if (text) {
        check_utf8(whole);
        check_utf8(pieces);
    } else {
        FUZZ_CHECK(whole->len <= size, "%u from %zu", whole->len, size);
    }
    bool same = whole->len == pieces->len &&
                (whole->len == 0 || memcmp(whole->data, pieces->data, whole->len) == 0);
    FUZZ_CHECK(any || same, "%s %s in steps of %zu: %u and %u", encoding, charset ? charset : "-",
               step, whole->len, pieces->len);
    return 0;
}
