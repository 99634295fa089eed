/* What is logged is printable, bounded, and found again in the ring. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "imapfs/base/log.h"

static void test_printable(void **state)
{
    static const struct {
        const char *input;
        gsize length, max;
        const char *want;
    } cases[] = {
        {"plain", 5, 100, "plain"},
        {"a\x1b[31mb", 7, 100, "a\\x1B[31mb"},
        {"a\r\nb", 4, 100, "a\\x0D\\x0Ab"},
        {"a\0b", 3, 100, "a\\x00b"},
        {"gr\xc3\xbc\xc3\x9f", 6, 100, "gr\xc3\xbc\xc3\x9f"},
        {"\xff\xfe", 2, 100, "\\xFF\\xFE"},
        {"\xc2\x9b", 2, 100, "\\xC2\\x9B"},          /* C1 CSI */
        {"\xe2\x80\xae", 3, 100, "\\xE2\\x80\\xAE"}, /* bidi override */
        {"abcdef", 6, 3, "abc..."},
        {"ab\xc3\xbc", 4, 3, "ab\\xC3..."}, /* cut inside a character */
        {"", 0, 3, ""},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *got = log_printable(cases[i].input, cases[i].length, cases[i].max);
        assert_string_equal(got, cases[i].want);
    }
}

static void test_ring_keeps_the_newest_lines(void **state)
{
    log_set_target(LOG_TO_RING_ONLY);
    for (guint i = 0; i < 20000; i++)
        log_info("test", "line %u of many, so that the ring goes round", i);
    log_info("test", "last \x1b[2J line");
    gsize length;
    g_autofree char *ring = log_ring_dup(&length);
    assert_true(length <= 256 * 1024);
    assert_non_null(strstr(ring, "last \\x1B[2J line\n"));
    assert_non_null(strstr(ring, "line 19999 of"));
    assert_null(strstr(ring, "line 3 of"));
    assert_int_equal(ring[4], '-'); /* starts at the start of a line */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_printable),
        cmocka_unit_test(test_ring_keeps_the_newest_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
