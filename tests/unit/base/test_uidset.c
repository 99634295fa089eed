/* Sets of UIDs against a plain bitmap, and their text form. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <unistd.h>

#include "imapfs/base/limits.h"
#include "imapfs/base/uidset.h"

static char *print(const UidSet *set)
{
    GString *out = g_string_new(NULL);
    uidset_print(set, out);
    return g_string_free(out, FALSE);
}

static void test_parse(void **state)
{
    static const struct {
        const char *input, *want;
        bool ok;
    } cases[] = {
        {"1", "1", true},
        {"1:4,7", "1:4,7", true},
        {"7,1:4", "1:4,7", true},
        {"4:1", "1:4", true},
        {"1,2,3", "1:3", true},
        {"2147483648:4294967295", "2147483648:4294967295", true},
        {"4294967295,4294967294", "4294967294:4294967295", true},
        {"1:4294967295,5", "1:4294967295", true},
        {"", "", false},
        {"0", "", false},
        {"1,", "1", false},
        {"1,,2", "1", false},
        {"1:*", "", false},
        {"4294967296", "", false},
        {"99999999999999999999999", "", false},
        {"1 2", "1", false},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(UidSet) set = uidset_new();
        assert_int_equal(uidset_parse(set, cases[i].input, strlen(cases[i].input)), cases[i].ok);
        g_autofree char *text = print(set);
        assert_string_equal(text, cases[i].want);
    }
}

static void test_range_limit(void **state)
{
    GString *text = g_string_new(NULL);
    for (guint i = 0; i <= LIMIT_SET_RANGES; i++)
        g_string_append_printf(text, "%s%u", i ? "," : "", 1 + 2 * i);
    g_autoptr(UidSet) set = uidset_new();
    assert_false(uidset_parse(set, text->str, text->len));
    char *cut = strrchr(text->str, ',');
    g_autoptr(UidSet) fits = uidset_new();
    assert_true(uidset_parse(fits, text->str, (gsize)(cut - text->str)));
    assert_int_equal(uidset_count(fits), LIMIT_SET_RANGES);
    g_string_free(text, TRUE);
}

enum { SPACE = 64 };

static void check_same(const UidSet *set, const bool *model)
{
    guint64 count = 0;
    for (guint uid = 1; uid < SPACE; uid++) {
        assert_int_equal(uidset_contains(set, uid), model[uid]);
        count += model[uid];
        if (model[uid])
            assert_int_equal(uidset_nth(set, count), uid);
    }
    assert_int_equal(uidset_count(set), count);
    assert_int_equal(uidset_nth(set, 0), 0);
    assert_int_equal(uidset_nth(set, count + 1), 0);
    guint n;
    const UidRange *ranges = uidset_ranges(set, &n);
    for (guint i = 1; i < n; i++)
        assert_true(ranges[i - 1].hi + 1 < ranges[i].lo); /* disjoint and not adjacent */
}

static void test_random_against_bitmap(void **state)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(7);
    for (guint round = 0; round < 200; round++) {
        g_autoptr(UidSet) set = uidset_new();
        bool model[SPACE] = {false};
        for (guint step = 0; step < 60; step++) {
            guint32 lo = (guint32)g_rand_int_range(rand, 1, SPACE);
            guint32 hi = lo + (guint32)g_rand_int_range(rand, 0, 9);
            hi = MIN(hi, SPACE - 1);
            bool add = g_rand_boolean(rand);
            if (add)
                uidset_add_range(set, lo, hi);
            else if (g_rand_boolean(rand))
                uidset_remove_range(set, lo, hi);
            else {
                g_autoptr(UidSet) other = uidset_new();
                uidset_add_range(other, lo, hi);
                uidset_remove_set(set, other);
            }
            for (guint32 uid = lo; uid <= hi; uid++)
                model[uid] = add;
            check_same(set, model);
        }
    }
}

static UidSet *random_set(GRand *rand, bool *model)
{
    UidSet *set = uidset_new();
    for (gint n = g_rand_int_range(rand, 0, 12); n > 0; n--) {
        guint32 lo = (guint32)g_rand_int_range(rand, 1, SPACE);
        guint32 hi = lo + (guint32)g_rand_int_range(rand, 0, 4);
        hi = MIN(hi, SPACE - 1);
        uidset_add_range(set, lo, hi);
        for (guint32 uid = lo; uid <= hi; uid++)
            model[uid] = true;
    }
    return set;
}

static void test_add_set(void **state)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(8);
    for (guint round = 0; round < 5000; round++) {
        bool model[SPACE] = {false};
        g_autoptr(UidSet) one = random_set(rand, model), other = random_set(rand, model);
        uidset_add_set(one, other);
        check_same(one, model);
    }
    g_autoptr(UidSet) low = uidset_new(), high = uidset_new();
    uidset_add(low, 1);
    uidset_add_range(high, 4294967290u, 4294967295u);
    uidset_add(high, 2);
    uidset_add_set(high, low);
    uidset_add_set(low, high);
    g_autofree char *text = print(low);
    assert_string_equal(text, "1:2,4294967290:4294967295");
}

/* Two sets as large as a server can make them, each in the gaps of the other: it is over at once,
 * not in minutes. */
static void test_add_large_set(void **state)
{
    g_autoptr(UidSet) set = uidset_new(), other = uidset_new();
    for (guint32 i = 0; i < LIMIT_SET_RANGES; i++) {
        uidset_add(set, 4 * i + 1);
        uidset_add(other, 4 * i + 3);
    }
    alarm(60);
    uidset_add_set(set, other);
    alarm(0);
    assert_int_equal(uidset_count(set), 2 * LIMIT_SET_RANGES);
}

static void test_take(void **state)
{
    g_autoptr(UidSet) set = uidset_new();
    uidset_add_range(set, 1, 10);
    uidset_add_range(set, 20, 25);
    uidset_add(set, 4294967295u);
    g_autoptr(UidSet) a = uidset_take(set, 4, 1000);
    g_autoptr(UidSet) b = uidset_take(set, 100, 6); /* only "5:10" fits */
    g_autoptr(UidSet) c = uidset_take(set, 100, 1); /* at least one range */
    g_autoptr(UidSet) d = uidset_take(set, 100, 100);
    g_autofree char *ta = print(a), *tb = print(b), *tc = print(c), *td = print(d);
    assert_string_equal(ta, "1:4");
    assert_string_equal(tb, "5:10");
    assert_string_equal(tc, "20:25");
    assert_string_equal(td, "4294967295");
    assert_true(uidset_is_empty(set));
}

static void check_each(const char *text, const guint32 *want, guint n)
{
    g_autoptr(UidSet) set = uidset_new();
    assert_true(!*text || uidset_parse(set, text, strlen(text)));
    UidIter iter;
    guint32 uid = 0;
    uid_iter_init(&iter, set);
    for (guint i = 0; i < n; i++) {
        assert_true(uid_iter_next(&iter, &uid));
        assert_int_equal(uid, want[i]);
    }
    assert_false(uid_iter_next(&iter, &uid));
    assert_false(uid_iter_next(&iter, &uid)); /* and it stays so */
}

static void test_each(void **state)
{
    check_each("", NULL, 0);
    check_each("1", (guint32[]){1}, 1);
    check_each("3:5,9,11:12", (guint32[]){3, 4, 5, 9, 11, 12}, 6);
    check_each("1,4294967294:4294967295", (guint32[]){1, 4294967294u, 4294967295u}, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_range_limit),
        cmocka_unit_test(test_random_against_bitmap),
        cmocka_unit_test(test_add_set),
        cmocka_unit_test(test_add_large_set),
        cmocka_unit_test(test_take),
        cmocka_unit_test(test_each),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
