/* Flags: text form, order, case, what is dropped, and the limit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "imapfs/base/limits.h"
#include "imapfs/wire/flags.h"

static const struct {
    const char *name, *input, *want;
} cases[] = {
    {"order", "$b \\Draft $a \\Deleted \\Flagged \\Answered \\Seen",
     "\\Seen \\Answered \\Flagged \\Deleted \\Draft $a $b"},
    {"case of system flags", "\\SEEN \\draft", "\\Seen \\Draft"},
    {"case of keywords", "$Junk $JUNK $junk", "$Junk"},
    {"first spelling stays", "b B a A", "a b"},
    {"upper before lower", "b A", "A b"},
    {"any", "\\* \\Seen", "\\Seen \\*"},
    {"recent and unknown", "\\Recent \\Foo \\ \\Seen", "\\Seen"},
    {"bracket", "OIB-Seen-[Gmail]/All", "OIB-Seen-[Gmail]/All"},
    {"no atoms", "a(b c)d e{f g%h i*j k\"l m\\n ok", "ok"},
    {"controls and 8-bit", "a\033[31m b\177 \xc3\xa9 \xc2\x9b ok", "ok"},
    {"empty", "", ""},
    {"spaces", "  \\Seen   x ", "\\Seen x"},
};

static void test_cases(void **state)
{
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        Flags flags = {0}, again = {0};
        flags_parse(&flags, cases[i].input);
        g_autofree char *got = flags_to_text(&flags);
        if (strcmp(got, cases[i].want) != 0)
            fail_msg("%s: got \"%s\"", cases[i].name, got);
        flags_parse(&again, got);
        assert_true(flags_equal(&flags, &again));
        flags_clear(&flags);
        flags_clear(&again);
    }
}

static void test_add(void **state)
{
    Flags flags = {0};
    assert_true(flags_add(&flags, "\\Seen"));
    assert_true(flags_add(&flags, "$x"));
    assert_true(flags_add(&flags, "$X"));
    assert_false(flags_add(&flags, "\\Recent"));
    assert_false(flags_add(&flags, ""));
    g_autofree char *just = g_strnfill(255, 'k'), *over = g_strnfill(256, 'k');
    assert_true(flags_add(&flags, just));
    assert_false(flags_add(&flags, over));
    assert_int_equal(flags.keywords->len, 2);
    flags_clear(&flags);
    flags_clear(&flags);
}

static void test_equal(void **state)
{
    static const struct {
        const char *a, *b;
        bool equal;
    } pairs[] = {
        {"", "", true},        {"\\Seen", "", false}, {"x", "X", true},
        {"a B", "b A", true}, /* byte order differs, the set does not */
        {"a b", "a c", false}, {"a", "a b", false},   {"\\Seen a", "\\Draft a", false},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(pairs); i++) {
        Flags a = {0}, b = {0};
        flags_parse(&a, pairs[i].a);
        flags_parse(&b, pairs[i].b);
        assert_int_equal(flags_equal(&a, &b), pairs[i].equal);
        assert_int_equal(flags_equal(&b, &a), pairs[i].equal);
        flags_clear(&a);
        flags_clear(&b);
    }
}

static void test_sets(void **state)
{
    static const struct {
        const char *of, *what, *all, *without, *kept;
    } rows[] = {
        {"\\Seen \\Draft a b", "\\Draft B c", "\\Seen \\Draft a b c", "\\Seen a", "\\Draft b"},
        {"\\Seen a", "", "\\Seen a", "\\Seen a", ""},
        {"", "\\Seen a", "\\Seen a", "", ""},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        static void (*const changes[])(Flags *, const Flags *) = {flags_add_all, flags_remove_all,
                                                                  flags_keep_all};
        const char *want[] = {rows[i].all, rows[i].without, rows[i].kept};
        for (gsize n = 0; n < G_N_ELEMENTS(changes); n++) {
            g_auto(Flags) of = {0}, what = {0};
            flags_parse(&of, rows[i].of);
            flags_parse(&what, rows[i].what);
            changes[n](&of, &what);
            g_autofree char *got = flags_to_text(&of);
            assert_string_equal(got, want[n]);
        }
    }
}

static void test_limit(void **state)
{
    Flags flags = {0};
    for (guint i = 0; i < 10 * LIMIT_FLAGS; i++) {
        g_autofree char *keyword = g_strdup_printf("k%u", i);
        assert_int_equal(flags_add(&flags, keyword), i < LIMIT_FLAGS);
    }
    assert_int_equal(flags.keywords->len, LIMIT_FLAGS);
    assert_true(flags_add(&flags, "K7")); /* is there already */
    assert_true(flags_add(&flags, "\\Seen"));
    flags_clear(&flags);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases), cmocka_unit_test(test_add),   cmocka_unit_test(test_equal),
        cmocka_unit_test(test_sets),  cmocka_unit_test(test_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
