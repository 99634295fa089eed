/* Decoding: every case is also fed byte by byte and split at every byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "imapfs/mime/charset.h"
#include "imapfs/mime/decode.h"

#define B(s) s, sizeof(s) - 1
#define FFFD "\xef\xbf\xbd"
#define E_ACUTE "\xc3\xa9"

typedef struct {
    const char *name, *encoding, *charset;
    bool text, bom;
    const char *input;
    gsize input_length;
    const char *want;
    gsize want_length;
} Case;

static const Case TRANSFER[] = {
    {"identity", "7bit", NULL, false, false, B("a\r\nb\0c"), B("a\r\nb\0c")},
    {"none", NULL, NULL, false, false, B("abc"), B("abc")},
    {"unknown", "x-what", NULL, false, false, B("a=3D"), B("a=3D")},
    {"base64", "base64", NULL, false, false, B("aGVsbG8="), B("hello")},
    {"BASE64", "BASE64", NULL, false, false, B("aGVsbG8="), B("hello")},
    {"base64 lines", "base64", NULL, false, false, B("aGVs\r\nbG8=\r\n"), B("hello")},
    {"base64 without padding", "base64", NULL, false, false, B("aGVsbG8"), B("hello")},
    {"base64 one letter left", "base64", NULL, false, false, B("aGVsbG8gd"), B("hello ")},
    {"base64 junk", "base64", NULL, false, false, B("aG!Vs*b-G8=\xff"), B("hello")},
    {"base64 too much padding", "base64", NULL, false, false, B("aGVsbG8====\r\n"), B("hello")},
    {"base64 padding first", "base64", NULL, false, false, B("=aGVsbG8="), B("hello")},
    {"base64 chunks", "base64", NULL, false, false, B("aGVsbG8=\r\nIHlvdQ==\r\n"), B("hello you")},
    {"base64 chunks on a line", "base64", NULL, false, false, B("YQ==Yg==Yw=="), B("abc")},
    {"base64 footer", "base64", NULL, false, false,
     B("aGVsbG8=\r\n_____\r\nA list of ours\r\nhttp://x/y\r\n"), B("hello")},
    {"base64 word after it", "base64", NULL, false, false, B("aGVsbG8= ignored\r\n"), B("hello")},
    {"base64 footer with a name on a line", "base64", NULL, false, false,
     B("aGVsbG8=\r\n\r\nRegards,\r\nJohn\r\nhis company\r\n"), B("hello")},
    {"base64 chunks in lines of 61", "base64", NULL, false, false,
     B("YQ==\r\nYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhY\r\nWFh\r\n"),
     B("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")},
    {"base64 empty", "base64", NULL, false, false, B(""), B("")},
    {"base64 only junk", "base64", NULL, false, false, B("!?\r\n"), B("")},
    {"qp", "quoted-printable", NULL, false, false, B("caf=C3=A9=20\r\n"), B("caf" E_ACUTE " \r\n")},
    {"qp lower case", "quoted-printable", NULL, false, false, B("=c3=a9"), B(E_ACUTE)},
    {"qp soft break", "quoted-printable", NULL, false, false, B("a=\r\nb=\nc"), B("abc")},
    {"qp soft break and blanks", "quoted-printable", NULL, false, false, B("a= \t\r\nb"), B("ab")},
    {"qp soft break at the end", "quoted-printable", NULL, false, false, B("a="), B("a")},
    {"qp blanks at the end of a line", "quoted-printable", NULL, false, false, B("a \t\r\nb  \n"),
     B("a\r\nb\n")},
    {"qp blanks at the end", "quoted-printable", NULL, false, false, B("a  "), B("a")},
    {"qp blanks inside", "quoted-printable", NULL, false, false, B("a  b\tc"), B("a  b\tc")},
    {"qp no code", "quoted-printable", NULL, false, false, B("a=zb =4z ="), B("a=zb =4z ")},
    {"qp equals twice", "quoted-printable", NULL, false, false, B("a==3D"), B("a==")},
    {"qp half a code", "quoted-printable", NULL, false, false, B("a=4"), B("a=4")},
    {"qp equals and blank", "quoted-printable", NULL, false, false, B("a= b"), B("a= b")},
    {"qp 8 bit", "quoted-printable", NULL, false, false, B("\xe9=E9"), B("\xe9\xe9")},
    {"uu", "x-uuencode", NULL, false, false, B("text\r\nbegin 644 a\r\n%:&5L;&\\\r\n`\r\nend\r\n"),
     B("hello")},
    {"uu LF", "x-uue", NULL, false, false, B("begin 644 a\n%:&5L;&\\\n \nend\nafter\n"),
     B("hello")},
    {"uu lost blanks", "uuencode", NULL, false, false, B("begin 644 a\n#   \n#\n`\nend\n"),
     B("\0\0\0\0\0\0")},
    {"uu no end", "uuencode", NULL, false, false, B("begin 644 a\n%:&5L;&\\"), B("hello")},
    {"uu no begin", "uuencode", NULL, false, false, B("%:&5L;&\\\n"), B("%:&5L;&\\\n")},
    {"uu no begin, no line", "uuencode", NULL, false, false, B("begi"), B("begi")},
    {"uu nothing", "uuencode", NULL, false, false, B(""), B("")},
    {"uu empty", "uuencode", NULL, false, false, B("text\nbegin 644 a\n`\nend\n"), B("")},
    {"yenc no begin", "x-yenc", NULL, false, false, B("=yend\r\n\x92=\x7d"),
     B("=yend\r\n\x92=\x7d")},
    {"yenc", "x-yenc", NULL, false, false,
     B("x\r\n=ybegin line=128 size=5 name=a\r\n\x92\x8f\x96\x96\x99\r\n=yend size=5\r\nafter"),
     B("hello")},
    {"yenc escape", "x-yenc", NULL, false, false,
     B("=ybegin\n=ypart begin=1\n=\x7d=\x6e=@\x92\n=yend\n"), B("\x13\x04\xd6h")},
};

static const Case TEXT[] = {
    {"ascii", "7bit", "us-ascii", true, false, B("a\r\nb\r\n"), B("a\nb\n")},
    {"CR alone", "7bit", NULL, true, false, B("a\rb\r\r\n\r"), B("a\rb\r\n\r")},
    {"LF stays", "7bit", NULL, true, false, B("a\nb"), B("a\nb")},
    {"utf-8", "8bit", "utf-8", true, false, B(E_ACUTE "\r\n"), B(E_ACUTE "\n")},
    {"utf-8 wrong", "8bit", "utf-8", true, false,
     B("a\xff\xc3"
       "b\xe4\xb8"),
     B("a" FFFD FFFD "b" FFFD)},
    {"utf-8 surrogate", "8bit", "utf-8", true, false, B("\xed\xa0\x80"), B(FFFD FFFD FFFD)},
    {"utf-8 overlong", "8bit", "utf-8", true, false, B("\xc0\xaf"), B(FFFD FFFD)},
    {"utf-8 too far", "8bit", "utf-8", true, false, B("\xf4\x90\x80\x80"), B(FFFD FFFD FFFD FFFD)},
    {"none, utf-8", "8bit", NULL, true, false, B("a" E_ACUTE), B("a" E_ACUTE)},
    {"none, latin1", "8bit", NULL, true, false, B("a\xe9 " E_ACUTE),
     B("a" E_ACUTE " \xc3\x83\xc2\xa9")},
    {"none, cut", "8bit", NULL, true, false, B("a\xc3"), B("a\xc3\x83")},
    {"ascii that is utf-8", "8bit", "US-ASCII", true, false, B(E_ACUTE), B(E_ACUTE)},
    {"unknown", "8bit", "x-unknown-thing", true, false, B("\x80"), B("\xe2\x82\xac")},
    {"latin1 is 1252", "8bit", "ISO-8859-1", true, false, B("\x80\x81\xe9"),
     B("\xe2\x82\xac\xc2\x81" E_ACUTE)},
    {"latin9", "8bit", "iso-8859-15", true, false, B("\xa4"), B("\xe2\x82\xac")},
    {"koi8_r", "8bit", "koi8_r", true, false, B("\xf0"), B("\xd0\x9f")},
    {"quoted label", "8bit", "\\\"koi8-r\\\"", true, false, B("\xf0"), B("\xd0\x9f")},
    {"shift_jis", "8bit", "shift_jis", true, false, B("\x93\xfa\x96{\x87\x40"),
     B("\xe6\x97\xa5\xe6\x9c\xac\xe2\x91\xa0")},
    {"shift_jis wrong", "8bit", "shift_jis", true, false,
     B("\xfa\xff"
       "a\x81"),
     B(FFFD "a" FFFD)},
    {"euc-kr", "8bit", "ks_c_5601-1987", true, false, B("\xc7\xd1\x8c\x63"),
     B("\xed\x95\x9c\xeb\x98\xa0")},
    {"gb2312 is gb18030", "8bit", "gb2312", true, false, B("\xd6\xd0\x81\x30\x84\x36"),
     B("\xe4\xb8\xad\xc2\xa5")},
    {"big5", "8bit", "big5", true, false, B("\xa4\xa4"), B("\xe4\xb8\xad")},
    {"iso-2022-jp", "7bit", "iso-2022-jp", true, false, B("a\x1b$B$\"$$\x1b(Bb\r\n"),
     B("a\xe3\x81\x82\xe3\x81\x84"
       "b\n")},
    {"iso-2022-jp wrong pair", "7bit", "iso-2022-jp", true, false, B("\x1b$B$\"y_$$\x1b(Bb"),
     B("\xe3\x81\x82" FFFD "\xe3\x81\x84"
       "b")},
    {"iso-2022-kr", "7bit", "iso-2022-kr", true, false, B("\x1b$)C\x0eGQ\x0f a"),
     B("\xed\x95\x9c a")},
    {"utf-7", "7bit", "utf-7", true, false, B("a+AOk-b"), B("a" E_ACUTE "b")},
    {"utf-7 plus", "7bit", "utf-7", true, false, B("+- +AOk +2D3eAA- \xe9 +2D0-x +AO"),
     B("+ " E_ACUTE " \xf0\x9f\x98\x80 " FFFD " " FFFD "x ")},
    {"hz", "7bit", "hz-gb-2312", true, false, B("a~{VP~}b~~~\nc"),
     B("a\xe4\xb8\xad"
       "b~c")},
    {"utf-16", "base64", "utf-16le", true, false, B("YQDpAA0ACgA="), B("a" E_ACUTE "\n")},
    {"utf-16be", "base64", "utf-16be", true, false, B("AGEA6Q=="), B("a" E_ACUTE)},
    {"utf-16 odd", "base64", "utf-16be", true, false, B("AGEA"), B("a" FFFD)},
    {"utf-16 lone surrogate", "base64", "utf-16be", true, false, B("AGHcAABi"), B("a" FFFD "b")},
    {"utf-16 with BOM", "base64", "utf-16", true, false, B("/v8AYQ=="), B("a")},
    {"utf-16 by its BOM alone", "base64", NULL, true, false, B("//5hAOkA"), B("a" E_ACUTE)},
    {"BOM of utf-16be in what is said to be utf-8", "base64", "utf-8", true, false, B("/v8AYQDp"),
     B("a" E_ACUTE)},
    {"BOM in what is said to be latin1", "8bit", "iso-8859-1", true, false,
     B("\xef\xbb\xbf" E_ACUTE), B(E_ACUTE)},
    {"BOM of utf-16 in html", "base64", NULL, true, true, B("//48AHAAPgDpAA=="),
     B("\xef\xbb\xbf<p>" E_ACUTE)},
    {"less than a BOM", "8bit", "koi8-r", true, false, B("\xef\xbb"), B("\xd0\x9e\xe2\x95\xa9")},
    {"own BOM goes", "8bit", "utf-8", true, false,
     B("\xef\xbb\xbf"
       "a"),
     B("a")},
    {"part of a BOM stays", "8bit", "utf-8", true, false, B("\xef\xbb"), B(FFFD)},
    {"html gets one", "8bit", "utf-8", true, true, B("a"),
     B("\xef\xbb\xbf"
       "a")},
    {"html has one", "8bit", "utf-8", true, true,
     B("\xef\xbb\xbf"
       "a"),
     B("\xef\xbb\xbf"
       "a")},
    {"empty html", "8bit", "utf-8", true, true, B(""), B("")},
    {"empty html, undeclared", "8bit", NULL, true, true, B(""), B("")},
    {"html says so itself", "8bit", NULL, true, true,
     B("<html><META http-equiv='x' content=\"text/html; charset=koi8-r\">\xf0"),
     B("\xef\xbb\xbf<html><META http-equiv='x' content=\"text/html; charset=koi8-r\">\xd0\x9f")},
    {"html says so in short", "8bit", NULL, true, true, B("<meta charset = 'koi8-r'>\xf0"),
     B("\xef\xbb\xbf<meta charset = 'koi8-r'>\xd0\x9f")},
    {"html, as servers say when nothing was declared", "8bit", "us-ascii", true, true,
     B("<meta charset=koi8-r>\xf0"), B("\xef\xbb\xbf<meta charset=koi8-r>\xd0\x9f")},
    {"html declared wins", "8bit", "utf-8", true, true, B("<meta charset=koi8-r>" E_ACUTE),
     B("\xef\xbb\xbf<meta charset=koi8-r>" E_ACUTE)},
    {"html says nonsense", "8bit", NULL, true, true, B("<meta charset=utf-16><meta charset>\xe9"),
     B("\xef\xbb\xbf<meta charset=utf-16><meta charset>" E_ACUTE)},
    {"qp and charset", "quoted-printable", "windows-1251", true, false, B("=CF=\r\n=F0\r\n"),
     B("\xd0\x9f\xd1\x80\n")},
    {"NUL stays", "8bit", NULL, true, false, B("a\0b"), B("a\0b")},
};

static void check(const Case *c, gsize first, gsize step)
{
    g_autoptr(Decoder) decoder = decoder_new(c->encoding, c->charset, c->text, c->bom);
    g_autoptr(GByteArray) out = g_byte_array_new();
    /* A copy of its own size, so that reading past it is seen. */
    for (gsize i = 0; i < c->input_length;) {
        gsize n = MIN(i == 0 && first > 0 ? first : step, c->input_length - i);
        g_autofree char *piece = g_memdup2(c->input + i, n);
        decoder_feed(decoder, piece, n, out);
        i += n;
    }
    decoder_finish(decoder, out);
    bool same =
        out->len == c->want_length && (out->len == 0 || memcmp(out->data, c->want, out->len) == 0);
    if (!same)
        print_error("%s, first %u: %u bytes \"%.*s\"\n", c->name, (guint)first, out->len,
                    (int)out->len, (char *)out->data);
    assert_true(same);
}

static void check_all(const Case *cases, gsize n)
{
    for (gsize i = 0; i < n; i++) {
        check(&cases[i], 0, 4096);
        check(&cases[i], 0, 1);
        for (gsize split = 1; split < cases[i].input_length; split++)
            check(&cases[i], split, 4096);
    }
}

static void test_transfer(void **state)
{
    check_all(TRANSFER, G_N_ELEMENTS(TRANSFER));
}

/* Much text before the data is passed over; so much that no data comes is what the part is. */
static void test_begins_late(void **state)
{
    static const char DATA[] = "begin 644 a\n%:&5L;&\\\n`\nend\n";
    static const guint LINES[] = {1, 30000, 32768, 40000, 200000};
    for (gsize i = 0; i < G_N_ELEMENTS(LINES); i++) {
        g_autoptr(GString) text = g_string_new(NULL);
        for (guint line = 0; line < LINES[i]; line++)
            g_string_append(text, "x\n");
        g_string_append(text, DATA);
        bool found = LINES[i] <= 30000;
        const Case c = {"begins late",
                        "uuencode",
                        NULL,
                        false,
                        false,
                        text->str,
                        text->len,
                        found ? "hello" : text->str,
                        found ? 5 : text->len};
        check(&c, 0, 7);
        check(&c, 0, 4096);
        check(&c, 65535, 1);
        check(&c, 0, 1000000);
    }
}

static void test_text(void **state)
{
    check_all(TEXT, G_N_ELEMENTS(TEXT));
}

/* Whatever is fed, in whatever pieces: one result, valid UTF-8, not much more than went in. */
static void test_random(void **state)
{
    static const char *const ENCODINGS[] = {"7bit", "base64", "quoted-printable", "uuencode",
                                            "x-yenc"};
    static const char *const CHARSETS[] = {
        NULL,     "utf-8",       "iso-8859-1",  "iso-2022-jp",  "shift_jis", "big5",
        "gb2312", "euc-kr",      "euc-jp",      "utf-7",        "utf-16",    "utf-32",
        "hz",     "iso-2022-kr", "iso-2022-cn", "windows-1258", "x-no"};
    static const char ALPHABET[] =
        "=AZaz09+/ \r\n\t\x1b$B(B~{}\x0e\x0f\x80\xa4\xc3\xe4\xff<begin =y";
    g_autoptr(GRand) rand = g_rand_new_with_seed(20261120);
    for (guint i = 0; i < 4000; i++) {
        guint8 input[300];
        guint n = (guint)g_rand_int_range(rand, 0, sizeof input);
        for (guint k = 0; k < n; k++)
            input[k] = g_rand_boolean(rand)
                           ? (guint8)ALPHABET[g_rand_int_range(rand, 0, sizeof ALPHABET - 1)]
                           : (guint8)g_rand_int(rand);
        const char *encoding = ENCODINGS[i % G_N_ELEMENTS(ENCODINGS)];
        const char *charset = CHARSETS[g_rand_int_range(rand, 0, G_N_ELEMENTS(CHARSETS))];
        bool text = i % 8 != 0, bom = i % 3 == 0;
        g_autoptr(GByteArray) whole = g_byte_array_new(), pieces = g_byte_array_new();
        g_autoptr(Decoder) a = decoder_new(encoding, charset, text, bom);
        g_autoptr(Decoder) b = decoder_new(encoding, charset, text, bom);
        decoder_feed(a, input, n, whole);
        decoder_finish(a, whole);
        for (guint k = 0; k < n;) {
            guint wish = (guint)g_rand_int_range(rand, 1, 9), step = MIN(wish, n - k);
            decoder_feed(b, input + k, step, pieces);
            k += step;
        }
        decoder_finish(b, pieces);
        if (whole->len != pieces->len)
            print_error("%s %s: %u and %u\n", encoding, charset, whole->len, pieces->len);
        assert_int_equal(whole->len, pieces->len);
        assert_true(whole->len == 0 || memcmp(whole->data, pieces->data, whole->len) == 0);
        assert_true(whole->len <= (text ? 3 : 1) * n + 3);
        for (guint k = 0; text && k < whole->len;) {
            int step = charset_utf8_step(whole->data + k, whole->len - k);
            assert_true(step > 0);
            k += (guint)step;
        }
    }
}

/* Undeclared text larger than what is looked at to guess: one result, however it is cut. */
static void test_guess_window(void **state)
{
    g_autoptr(GByteArray) input = g_byte_array_new();
    while (input->len < 600 * 1024)
        g_byte_array_append(input, (const guint8 *)"abc " E_ACUTE "\r\n", 8);
    g_byte_array_append(input, (const guint8 *)"\xe9 end", 5);
    const gsize steps[] = {1000, 262144, 262145, G_MAXINT32};
    g_autofree char *first = NULL;
    for (guint i = 0; i < G_N_ELEMENTS(steps); i++) {
        g_autoptr(Decoder) decoder = decoder_new("8bit", NULL, true, false);
        g_autoptr(GByteArray) out = g_byte_array_new();
        for (gsize k = 0; k < input->len; k += steps[i])
            decoder_feed(decoder, input->data + k, MIN(steps[i], input->len - k), out);
        decoder_finish(decoder, out);
        assert_memory_equal(out->data + out->len - 7, FFFD " end", 7);
        g_autofree char *sum = g_compute_checksum_for_data(G_CHECKSUM_SHA256, out->data, out->len);
        if (!first)
            first = g_steal_pointer(&sum);
        else
            assert_string_equal(sum, first);
    }
}

static void check_short(const char *label, const guint8 *bytes, gsize length)
{
    g_autofree guint8 *exact = g_memdup2(bytes, length); /* reading past it is seen */
    g_autofree char *text = charset_to_utf8(label, exact, length);
    assert_true(g_utf8_validate(text, -1, NULL));
    assert_true(strlen(text) <= 3 * length + 3);
}

/* A mail may name any converter that there is, and what iconv refuses may be the end of the text.
 */
static void test_any_converter(void **state)
{
    static const char *const LABELS[] = {
        "iso-2022-cn-ext", "iso-2022-cn",   "iso-2022-kr", "iso-2022-jp",  "iso-2022-jp-1",
        "iso-2022-jp-2",   "iso-2022-jp-3", "euc-tw",      "euc-jisx0213", "shift_jisx0213",
        "big5-hkscs",      "johab",         "tcvn",        "ibm1399",      "ibm937",
        "iso-10646/utf7",  "utf-7-imap",    "ucs-2",       "ucs-4be",      "internal",
    };
    for (guint i = 0; i < G_N_ELEMENTS(LABELS); i++) {
        for (guint n = 0; n < 65536; n += n < 256 ? 1 : 7) {
            const guint8 bytes[] = {(guint8)n, (guint8)(n >> 8), 'a'};
            check_short(LABELS[i], bytes, n < 256 ? 1 : 2);
            check_short(LABELS[i], bytes, 3);
        }
    }
}

static void test_labels(void **state)
{
    static const struct {
        const char *label;
        bool known;
    } LABELS[] = {
        {"utf-8", true},
        {" UTF8 ", true},
        {"\"iso-8859-1\"", true},
        {"Latin1", true},
        {"iso_8859-7", true},
        {"ISO8859-2", true},
        {"cp1251", true},
        {"x-sjis", true},
        {"us-ascii", true},
        {"ibm850", true},
        {"", false},
        {"//TRANSLIT", false},
        {"utf-8//IGNORE", false},
        {"x-nonsense", false},
        {"../../x", false},
        {"a b c", false},
        {"x-mac-cyrillic", true},
        {"utf-8; format=flowed", true},
    };
    for (guint i = 0; i < G_N_ELEMENTS(LABELS); i++) {
        if (charset_known(LABELS[i].label) != LABELS[i].known)
            print_error("%s\n", LABELS[i].label);
        assert_int_equal(charset_known(LABELS[i].label), LABELS[i].known);
    }
    assert_false(charset_known(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transfer),      cmocka_unit_test(test_begins_late),
        cmocka_unit_test(test_text),          cmocka_unit_test(test_random),
        cmocka_unit_test(test_guess_window),  cmocka_unit_test(test_labels),
        cmocka_unit_test(test_any_converter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
