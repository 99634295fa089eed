/* Tests of ctl/progress. */
#include "progress.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

static const struct {
    EngineProgress progress;
    guint width;
    const char *want;
} cases[] = {
    {{"", 0, 0}, 80, ""},
    {{"INBOX", 0, 0}, 80, ""},
    {{"", 5, 10}, 80, ""},
    {{"INBOX", 0, 10}, 80, "INBOX [........................................] 0/10"},
    {{"INBOX", 5, 10}, 80, "INBOX [####################....................] 5/10"},
    {{"INBOX", 10, 10}, 80, "INBOX [########################################] 10/10"},
    {{"INBOX", 11, 10}, 80, "INBOX [########################################] 10/10"},
    {{"INBOX", 5, 10}, 30, "INBOX [########........] 5/10"},
    {{"a/very/long/name/of/a/mailbox", 1, 2}, 30, "ame/of/a/mail"},
    {{"\x1b[31m\xff", 1, 2}, 40, "\\x1B[31m\\xFF ["},
    {{"日本語のメールボックス", 1, 2}, 30, NULL},
    {{"INBOX", G_MAXUINT64, G_MAXUINT64}, 30, NULL},
};

static void test_lines(void **state)
{
    (void)state;
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *line = progress_line(&cases[i].progress, cases[i].width);
        glong columns = 0;
        for (const char *c = line; *c; c = g_utf8_next_char(c))
            columns += g_unichar_iswide(g_utf8_get_char(c)) ? 2 : 1;
        assert_true(g_utf8_validate(line, -1, NULL));
        if (columns > (glong)MAX(cases[i].width, 44))
            fail_msg("too wide: %s", line);
    }
}

static void test_looks(void **state)
{
    (void)state;
    for (guint i = 0; i < 7; i++) {
        g_autofree char *line = progress_line(&cases[i].progress, cases[i].width);
        assert_string_equal(line, cases[i].want);
    }
    /* No byte of a mailbox's name reaches the terminal unchecked. */
    g_autofree char *line = progress_line(&cases[9].progress, 40);
    assert_null(strchr(line, '\x1b'));
    assert_non_null(strstr(line, cases[9].want));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_looks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
