/* Regular base64 mapped by its ends: against the tolerant decoder, for every shape, cut anywhere;
 * and irregular texts are refused, by the ends or by the slice that shows it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "imapfs/mime/base64_map.h"
#include "imapfs/mime/transfer.h"

static GByteArray *encode(GRand *rng, gsize size, guint line, guint line_ends)
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
    return text->len >= BASE64_MAP_END &&
           base64_map_init(map, text->len, text->data, text->data + text->len - BASE64_MAP_END);
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
    guint n = (guint)(map->last_at / line) + 1;
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

static void test_regular(void **state)
{
    static const guint lines[] = {4, 60, 64, 72, 76, 100, 152};
    g_autoptr(GRand) rng = g_rand_new_with_seed(1);
    for (guint i = 0; i < 700; i++) {
        guint line = lines[i % G_N_ELEMENTS(lines)], size = 1000 + i;
        g_autoptr(GByteArray) text = encode(rng, size, line, i % 3);
        g_autoptr(GByteArray) want = decode_all(text);
        g_autoptr(GByteArray) tail = g_byte_array_new();
        Base64Map map;
        if (!map_of(text, &map)) /* a last line that leaves no line end in what was seen */
            fail_msg("size %u, line %u", size, line);
        assert_int_equal(map.decoded, size);
        assert_int_equal(want->len, size);
        check_slices(rng, &map, text, want);
        guint64 at = base64_map_decode_tail(&map, text->data + text->len - BASE64_MAP_END, tail);
        assert_int_equal(at + tail->len, size);
        assert_true(tail->len > 0);
        assert_memory_equal(tail->data, want->data + at, tail->len);
    }
}

/* Whatever byte is another: either the ends refuse, or the slice it is in does, or what comes out
 * is what the tolerant decoder says. */
static void test_one_byte_wrong(void **state)
{
    static const char bytes[] = "A=\r\n -_\xff";
    g_autoptr(GRand) rng = g_rand_new_with_seed(2);
    g_autoptr(GByteArray) text = encode(rng, 1001, 76, 1);
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

static void test_irregular_ends(void **state)
{
    static const struct {
        const char *name;
        guint line;
        guint cut_head, cut_tail; /* bytes taken away there */
        const char *more;         /* behind it */
    } cases[] = {
        {"the first line is short", 76, 8, 0, ""},
        {"lines of no whole groups", 75, 0, 0, ""},
        {"one line", 100000, 0, 0, ""},
        {"lines longer than the end shows", 160, 0, 0, ""},
        {"its last group is not whole", 76, 0, 1, ""},
        {"words behind it", 76, 0, 0, "\r\n\r\n-- \r\nlist\r\n"},
        {"LF at the end", 76, 0, 0, "\n"},
        {"more padding", 76, 0, 0, "="},
        {"another text behind it", 76, 0, 0, "\r\nAAAA"},
        {"nothing but line ends", 76, 0, 0,
         "\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n"
         "\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n"
         "\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n"
         "\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n"},
    };
    g_autoptr(GRand) rng = g_rand_new_with_seed(3);
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GByteArray) text = encode(rng, 1000, cases[i].line, 0);
        Base64Map map;
        g_byte_array_remove_range(text, 0, cases[i].cut_head);
        g_byte_array_set_size(text, text->len - cases[i].cut_tail);
        g_byte_array_append(text, (const guint8 *)cases[i].more, (guint)strlen(cases[i].more));
        if (map_of(text, &map))
            fail_msg("%s", cases[i].name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_regular),
        cmocka_unit_test(test_one_byte_wrong),
        cmocka_unit_test(test_irregular_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
