/* The size of a base64 text by its ends: exact for whatever is regular, and never a guess. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "imapfs/mime/base64_size.h"
#include "imapfs/mime/transfer.h"

static const char *const names[] = {"exact", "irregular", "longer"};

static guint64 decoded_size(const char *text, gsize length)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    g_autoptr(Transfer) transfer = transfer_new(TRANSFER_BASE64);
    transfer_feed(transfer, text, length, out);
    transfer_finish(transfer, out);
    return out->len;
}

/* The answer for a text of which only its ends are given. */
static Base64Size ask(const char *text, gsize length, gsize ends, guint64 *size_out)
{
    gsize n = MIN(length, ends);
    g_autofree char *head = g_memdup2(text, n), *tail = g_memdup2(text + length - n, n);
    return base64_size_from_ends(length, head, n, tail, n, size_out);
}

/* "N*TEXT" for the text N times. */
static char *repeat(const char *pattern)
{
    GString *out = g_string_new(NULL);
    g_auto(GStrv) pieces = g_strsplit(pattern, "|", -1);
    for (char **piece = pieces; *piece; piece++) {
        char *text = NULL;
        guint64 n = g_ascii_strtoull(*piece, &text, 10);
        if (text == *piece || *text != '*') {
            g_string_append(out, *piece);
            continue;
        }
        for (guint64 i = 0; i < n; i++)
            g_string_append(out, text + 1);
    }
    return g_string_free(out, FALSE);
}

#define L60 "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define L76 L60 "BBBBBBBBBBBBBBBB"

static const struct {
    const char *name, *text;
    Base64Size want;
} cases[] = {
    {"76", "100*" L76 "\r\n", BASE64_SIZE_EXACT},
    {"76, no end", "100*" L76 "\r\n|" L76, BASE64_SIZE_EXACT},
    {"76, short last", "100*" L76 "\r\n|AAAA", BASE64_SIZE_EXACT},
    {"one pad", "100*" L76 "\r\n|AAA=\r\n", BASE64_SIZE_EXACT},
    {"two pads", "100*" L76 "\r\n|AA==\r\n\r\n\r\n", BASE64_SIZE_EXACT},
    {"60", "100*" L60 "\r\n|AA==", BASE64_SIZE_EXACT},
    {"4", "400*AAAA\r\n|A+/=", BASE64_SIZE_EXACT},
    {"one line", "2000*AAAA", BASE64_SIZE_EXACT},
    {"one line, end", "2000*AAAA|\r\n", BASE64_SIZE_EXACT},
    {"one line, pad", "2000*AAAA|AA==\r\n", BASE64_SIZE_EXACT},
    {"short", "AAAA", BASE64_SIZE_EXACT},
    {"short, pad", "AA==\r\n", BASE64_SIZE_EXACT},
    {"nothing", "", BASE64_SIZE_IRREGULAR},
    {"no data", "500*\r\n", BASE64_SIZE_IRREGULAR},
    {"blank line first", "\r\n|100*" L76 "\r\n", BASE64_SIZE_IRREGULAR},
    {"line feeds", "100*" L76 "\n", BASE64_SIZE_IRREGULAR},
    {"blanks at line ends", "100*" L76 " \r\n", BASE64_SIZE_IRREGULAR},
    {"indented", "100* " L76 "\r\n", BASE64_SIZE_IRREGULAR},
    {"junk at the start", "hello!\r\n|100*" L76 "\r\n", BASE64_SIZE_IRREGULAR},
    {"a shorter line first", L60 "\r\n|100*" L76 "\r\n", BASE64_SIZE_IRREGULAR},
    {"a longer line first", L76 "\r\n|100*" L60 "\r\n", BASE64_SIZE_IRREGULAR},
    {"one character lost", "50*" L76 "\r\n|" L60 "\r\n|50*" L76 "\r\n", BASE64_SIZE_IRREGULAR},
    {"empty line in between", "50*" L76 "\r\n|\r\n|50*" L76 "\r\n", BASE64_SIZE_IRREGULAR},
    {"padding lost", "100*" L76 "\r\n|AAA\r\n", BASE64_SIZE_IRREGULAR},
    {"padding too much", "100*" L76 "\r\n|AAAA=\r\n", BASE64_SIZE_IRREGULAR},
    {"three pads", "100*" L76 "\r\n|A===\r\n", BASE64_SIZE_IRREGULAR},
    {"padding before", "100*" L76 "\r\n|AA==AA==\r\n", BASE64_SIZE_IRREGULAR},
    {"footer", "100*" L76 "\r\n|AA==\r\n-- \r\nlist\r\n", BASE64_SIZE_IRREGULAR},
    {"footer of words", "100*" L76 "\r\n|AAAA\r\n\r\nfoot\r\n", BASE64_SIZE_IRREGULAR},
    {"blank at the end", "100*" L76 "\r\n|AAAA ", BASE64_SIZE_IRREGULAR},
    {"half a line end", "100*" L76 "\r\n|AAAA\r", BASE64_SIZE_IRREGULAR},
};

static void test_cases(void **state)
{
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *text = repeat(cases[i].text);
        gsize length = strlen(text);
        guint64 size = G_MAXUINT64;
        Base64Size got = ask(text, length, BASE64_ENDS, &size);
        if (got == BASE64_SIZE_LONGER)
            got = ask(text, length, BASE64_ENDS_WIDE, &size);
        if (got != cases[i].want)
            fail_msg("%s: %s", cases[i].name, names[got]);
        if (got == BASE64_SIZE_EXACT && size != decoded_size(text, length))
            fail_msg("%s: %" G_GUINT64_FORMAT, cases[i].name, size);
    }
}

/* A line too long for short ends is not taken for the only one. */
static void test_long_lines(void **state)
{
    static const guint lines[] = {156, 160, 200, 500, 996, 998};
    for (guint i = 0; i < G_N_ELEMENTS(lines); i++) {
        g_autofree char *line = g_strnfill(lines[i], 'A');
        g_autofree char *pattern = g_strdup_printf("20*%s\r\n|AAAA", line);
        g_autofree char *text = repeat(pattern);
        gsize length = strlen(text);
        guint64 size = 0;
        Base64Size first = ask(text, length, BASE64_ENDS, &size);
        assert_int_equal(first, lines[i] < BASE64_ENDS ? BASE64_SIZE_EXACT : BASE64_SIZE_LONGER);
        assert_int_equal(ask(text, length, BASE64_ENDS_WIDE, &size), BASE64_SIZE_EXACT);
        assert_int_equal(size, decoded_size(text, length));
    }
}

static void test_absurd(void **state)
{
    guint64 size = 0;
    const char *line = L76 "\r\n" L76 "\r\n";
    gsize n = strlen(line);
    assert_int_equal(base64_size_from_ends(0, "", 0, "", 0, &size), BASE64_SIZE_IRREGULAR);
    assert_int_equal(base64_size_from_ends(10, line, n, line, n, &size), BASE64_SIZE_IRREGULAR);
    assert_int_equal(base64_size_from_ends(G_MAXUINT64, line, n, line, n, &size),
                     BASE64_SIZE_IRREGULAR);
    /* 78 * 10^16 bytes are told, and may be */
    assert_int_equal(base64_size_from_ends(780000000000000000, line, n, line, n, &size),
                     BASE64_SIZE_EXACT);
    assert_int_equal(size, 570000000000000000);
}

/* Encodes random bytes in lines of some length, with some ends. */
static GString *encode(GRand *rand, guint line)
{
    gsize n = (gsize)g_rand_int_range(rand, 1, 20000);
    g_autofree guint8 *bytes = g_malloc(n);
    for (gsize i = 0; i < n; i++)
        bytes[i] = (guint8)g_rand_int(rand);
    g_autofree char *plain = g_base64_encode(bytes, n);
    gsize length = strlen(plain);
    GString *out = g_string_new(NULL);
    for (gsize i = 0; i < length; i += line) {
        g_string_append_len(out, plain + i, (gssize)MIN(line, length - i));
        if (i + line < length)
            g_string_append(out, "\r\n");
    }
    for (gint i = g_rand_int_range(rand, 0, 4); i > 0; i--)
        g_string_append(out, "\r\n");
    return out;
}

static void test_random(void **state)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(4711);
    guint told = 0;
    for (guint i = 0; i < 3000; i++) {
        guint line = (guint)g_rand_int_range(rand, 1, i % 2 ? 100 : 998);
        g_autoptr(GString) text = encode(rand, i % 20 == 0 ? G_MAXINT : line);
        guint64 size = 0;
        Base64Size got = ask(text->str, text->len, BASE64_ENDS, &size);
        if (got == BASE64_SIZE_LONGER)
            got = ask(text->str, text->len, BASE64_ENDS_WIDE, &size);
        if (got == BASE64_SIZE_EXACT)
            assert_int_equal(size, decoded_size(text->str, text->len));
        told += got == BASE64_SIZE_EXACT;
        /* padding that begins at the end of one line and goes on in the next may be refused */
        if (got != BASE64_SIZE_EXACT && line >= 4 && line % 4 == 0)
            fail_msg("line %u, %lu bytes: %s", line, (unsigned long)text->len, names[got]);
    }
    assert_true(told > 2900);
}

/* Any change of one byte near an end is noticed, or leaves the size right. */
static void test_damaged(void **state)
{
    static const char junk[] = "A=\r\n -!\xff";
    g_autoptr(GRand) rand = g_rand_new_with_seed(815);
    for (guint i = 0; i < 3000; i++) {
        g_autoptr(GString) text = encode(rand, 76);
        gsize span = MIN(text->len, BASE64_ENDS);
        gsize at = (gsize)g_rand_int_range(rand, 0, (gint)span);
        guint64 size = 0;
        if (i % 2)
            at = text->len - 1 - at;
        text->str[at] = junk[g_rand_int_range(rand, 0, (gint)strlen(junk))];
        if (ask(text->str, text->len, BASE64_ENDS, &size) == BASE64_SIZE_EXACT)
            assert_int_equal(size, decoded_size(text->str, text->len));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),   cmocka_unit_test(test_long_lines),
        cmocka_unit_test(test_absurd),  cmocka_unit_test(test_random),
        cmocka_unit_test(test_damaged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
