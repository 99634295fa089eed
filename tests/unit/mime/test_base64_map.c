/* base64 mapped by its ends: the size is exact for whatever is regular, and never a guess; slices
 * cut anywhere are what the tolerant decoder says, or are refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "imapfs/mime/base64_map.h"
#include "imapfs/mime/transfer.h"

static const char *const names[] = {"regular", "irregular", "longer"};

static guint64 decoded_size(const char *text, gsize length)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    g_autoptr(Transfer) transfer = transfer_new(TRANSFER_BASE64);
    transfer_feed(transfer, text, length, out);
    transfer_finish(transfer, out);
    return out->len;
}

/* The answer for a text of which only its ends are given. */
static Base64Ends ask(const char *text, gsize length, gsize ends, guint64 *size_out)
{
    gsize n = MIN(length, ends);
    g_autofree char *head = g_memdup2(text, n), *tail = g_memdup2(text + length - n, n);
    Base64Map map = {0};
    Base64Ends got = base64_map_init(&map, length, head, n, tail, n);
    if (got == BASE64_REGULAR)
        *size_out = map.decoded;
    return got;
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
    Base64Ends want;
} cases[] = {
    {"76", "100*" L76 "\r\n", BASE64_REGULAR},
    {"76, no end", "100*" L76 "\r\n|" L76, BASE64_REGULAR},
    {"76, short last", "100*" L76 "\r\n|AAAA", BASE64_REGULAR},
    {"one pad", "100*" L76 "\r\n|AAA=\r\n", BASE64_REGULAR},
    {"two pads", "100*" L76 "\r\n|AA==\r\n\r\n\r\n", BASE64_REGULAR},
    {"60", "100*" L60 "\r\n|AA==", BASE64_REGULAR},
    {"4", "400*AAAA\r\n|A+/=", BASE64_REGULAR},
    {"one line", "2000*AAAA", BASE64_REGULAR},
    {"one line, end", "2000*AAAA|\r\n", BASE64_REGULAR},
    {"one line, pad", "2000*AAAA|AA==\r\n", BASE64_REGULAR},
    {"short", "AAAA", BASE64_REGULAR},
    {"short, pad", "AA==\r\n", BASE64_REGULAR},
    {"nothing", "", BASE64_IRREGULAR},
    {"no data", "500*\r\n", BASE64_IRREGULAR},
    {"blank line first", "\r\n|100*" L76 "\r\n", BASE64_IRREGULAR},
    {"line feeds", "100*" L76 "\n", BASE64_IRREGULAR},
    {"blanks at line ends", "100*" L76 " \r\n", BASE64_IRREGULAR},
    {"indented", "100* " L76 "\r\n", BASE64_IRREGULAR},
    {"junk at the start", "hello!\r\n|100*" L76 "\r\n", BASE64_IRREGULAR},
    {"a shorter line first", L60 "\r\n|100*" L76 "\r\n", BASE64_IRREGULAR},
    {"a longer line first", L76 "\r\n|100*" L60 "\r\n", BASE64_IRREGULAR},
    {"one character lost", "50*" L76 "\r\n|" L60 "\r\n|50*" L76 "\r\n", BASE64_IRREGULAR},
    {"empty line in between", "50*" L76 "\r\n|\r\n|50*" L76 "\r\n", BASE64_IRREGULAR},
    {"padding lost", "100*" L76 "\r\n|AAA\r\n", BASE64_IRREGULAR},
    {"padding too much", "100*" L76 "\r\n|AAAA=\r\n", BASE64_IRREGULAR},
    {"three pads", "100*" L76 "\r\n|A===\r\n", BASE64_IRREGULAR},
    {"padding before", "100*" L76 "\r\n|AA==AA==\r\n", BASE64_IRREGULAR},
    {"footer", "100*" L76 "\r\n|AA==\r\n-- \r\nlist\r\n", BASE64_IRREGULAR},
    {"footer of words", "100*" L76 "\r\n|AAAA\r\n\r\nfoot\r\n", BASE64_IRREGULAR},
    {"blank at the end", "100*" L76 "\r\n|AAAA ", BASE64_IRREGULAR},
    {"half a line end", "100*" L76 "\r\n|AAAA\r", BASE64_IRREGULAR},
};

static void test_cases(void **state)
{
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *text = repeat(cases[i].text);
        gsize length = strlen(text);
        guint64 size = G_MAXUINT64;
        Base64Ends got = ask(text, length, BASE64_ENDS, &size);
        if (got == BASE64_LONGER)
            got = ask(text, length, BASE64_ENDS_WIDE, &size);
        if (got != cases[i].want)
            fail_msg("%s: %s", cases[i].name, names[got]);
        if (got == BASE64_REGULAR && size != decoded_size(text, length))
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
        Base64Ends first = ask(text, length, BASE64_ENDS, &size);
        assert_int_equal(first, lines[i] < BASE64_ENDS ? BASE64_REGULAR : BASE64_LONGER);
        assert_int_equal(ask(text, length, BASE64_ENDS_WIDE, &size), BASE64_REGULAR);
        assert_int_equal(size, decoded_size(text, length));
    }
}

static void test_absurd(void **state)
{
    Base64Map map;
    const char *line = L76 "\r\n" L76 "\r\n";
    gsize n = strlen(line);
    assert_int_equal(base64_map_init(&map, 0, "", 0, "", 0), BASE64_IRREGULAR);
    assert_int_equal(base64_map_init(&map, 10, line, n, line, n), BASE64_IRREGULAR);
    assert_int_equal(base64_map_init(&map, G_MAXUINT64, line, n, line, n), BASE64_IRREGULAR);
    /* 78 * 10^16 bytes are told, and may be */
    assert_int_equal(base64_map_init(&map, 780000000000000000, line, n, line, n), BASE64_REGULAR);
    assert_int_equal(map.decoded, 570000000000000000);
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
        Base64Ends got = ask(text->str, text->len, BASE64_ENDS, &size);
        if (got == BASE64_LONGER)
            got = ask(text->str, text->len, BASE64_ENDS_WIDE, &size);
        if (got == BASE64_REGULAR)
            assert_int_equal(size, decoded_size(text->str, text->len));
        told += got == BASE64_REGULAR;
        /* padding that begins at the end of one line and goes on in the next may be refused */
        if (got != BASE64_REGULAR && line >= 4 && line % 4 == 0)
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
        if (ask(text->str, text->len, BASE64_ENDS, &size) == BASE64_REGULAR)
            assert_int_equal(size, decoded_size(text->str, text->len));
    }
}

static GByteArray *encode_lines(GRand *rng, gsize size, guint line, guint line_ends)
{
    g_autofree guint8 *bytes = g_malloc(size + 1);
    for (gsize i = 0; i < size; i++)
        bytes[i] = (guint8)g_rand_int_range(rng, 0, 256);
    g_autofree char *text = g_base64_encode(bytes, size);
    gsize length = strlen(text);
    GByteArray *out = g_byte_array_new();
    for (gsize at = 0; at < length; at += line) {
        if (at)
            g_byte_array_append(out, (const guint8 *)"\r\n", 2);
        g_byte_array_append(out, (guint8 *)text + at, (guint)MIN(line, length - at));
    }
    while (line_ends--)
        g_byte_array_append(out, (const guint8 *)"\r\n", 2);
    return out;
}

static bool map_of(const GByteArray *text, Base64Map *map)
{
    gsize n = MIN(text->len, BASE64_ENDS_WIDE);
    return base64_map_init(map, text->len, text->data, n, text->data + text->len - n, n) ==
           BASE64_REGULAR;
}

static GByteArray *decode_all(const GByteArray *text)
{
    GByteArray *out = g_byte_array_new();
    g_autoptr(Transfer) transfer = transfer_new(TRANSFER_BASE64);
    transfer_feed(transfer, text->data, text->len, out);
    transfer_finish(transfer, out);
    return out;
}

static void check_slices(GRand *rng, const Base64Map *map, const GByteArray *text,
                         const GByteArray *want)
{
    guint line = base64_map_line_encoded(map), bytes = base64_map_line_decoded(map);
    guint n = (guint)((map->data - 1) / line) + 1;
    for (guint i = 0; i < 20; i++) {
        guint first = (guint)g_rand_int_range(rng, 0, (gint)n);
        guint end = (guint)g_rand_int_range(rng, (gint)first + 1, (gint)n + 1);
        gsize from = (gsize)first * line, to = end == n ? text->len : (gsize)end * line;
        g_autoptr(GByteArray) out = g_byte_array_new();
        assert_true(base64_map_decode(map, from, text->data + from, to - from, out));
        gsize left = want->len - (gsize)first * bytes;
        assert_int_equal(out->len, MIN(left, (gsize)(end - first) * bytes));
        assert_memory_equal(out->data, want->data + (gsize)first * bytes, out->len);
        /* cut short, or moved by one, it is no slice */
        g_byte_array_set_size(out, 0);
        assert_false(base64_map_decode(map, from, text->data + from, to - from - 1, out));
        assert_false(base64_map_decode(map, from + 1, text->data + from, to - from - 1, out));
    }
}

static void test_slices(void **state)
{
    static const guint lines[] = {4, 60, 64, 72, 76, 100, 152, 996};
    g_autoptr(GRand) rng = g_rand_new_with_seed(1);
    for (guint i = 0; i < 700; i++) {
        guint line = lines[i % G_N_ELEMENTS(lines)], size = 2000 + i;
        g_autoptr(GByteArray) text = encode_lines(rng, size, line, i % 3);
        g_autoptr(GByteArray) want = decode_all(text);
        Base64Map map;
        if (!map_of(text, &map) || !base64_map_has_slices(&map))
            fail_msg("size %u, line %u", size, line);
        assert_int_equal(map.decoded, size);
        assert_int_equal(want->len, size);
        check_slices(rng, &map, text, want);
    }
}

/* Whatever byte is another: either the ends refuse, or the slice it is in does, or what comes out
 * is what the tolerant decoder says. */
static void test_one_byte_wrong(void **state)
{
    static const char bytes[] = "A=\r\n -_\xff";
    g_autoptr(GRand) rng = g_rand_new_with_seed(2);
    g_autoptr(GByteArray) text = encode_lines(rng, 1001, 76, 1);
    guint refused = 0;
    for (guint i = 0; i < text->len; i++) {
        for (guint k = 0; k < sizeof(bytes); k++) {
            g_autoptr(GByteArray) out = g_byte_array_new();
            guint8 was = text->data[i];
            Base64Map map;
            text->data[i] = (guint8)bytes[k];
            if (map_of(text, &map) && base64_map_decode(&map, 0, text->data, text->len, out)) {
                g_autoptr(GByteArray) want = decode_all(text);
                assert_int_equal(out->len, map.decoded);
                assert_int_equal(out->len, want->len);
                assert_memory_equal(out->data, want->data, out->len);
            } else {
                refused++;
            }
            text->data[i] = was;
        }
    }
    assert_true(refused > text->len * (sizeof(bytes) - 2));
}

/* A size, but no slices: lines of no whole groups, and lines longer than mail may have. */
static void test_no_slices(void **state)
{
    static const guint lines[] = {75, 74, 998, 1200, 100000};
    g_autoptr(GRand) rng = g_rand_new_with_seed(3);
    for (guint i = 0; i < G_N_ELEMENTS(lines); i++) {
        g_autoptr(GByteArray) text = encode_lines(rng, 3000, lines[i], 0);
        g_autoptr(GByteArray) out = g_byte_array_new();
        Base64Map map;
        if (!map_of(text, &map))
            continue;
        assert_false(base64_map_has_slices(&map));
        assert_false(base64_map_decode(&map, 0, text->data, text->len, out));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),          cmocka_unit_test(test_long_lines),
        cmocka_unit_test(test_absurd),         cmocka_unit_test(test_random),
        cmocka_unit_test(test_damaged),        cmocka_unit_test(test_slices),
        cmocka_unit_test(test_one_byte_wrong), cmocka_unit_test(test_no_slices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
