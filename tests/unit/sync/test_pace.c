/* How long a change waits for more to come: loops of changes, by a clock of the test's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../../../src/sync/pace.h"

#define MS G_GINT64_CONSTANT(1000)
#define BEGIN (1000 * MS)

typedef struct {
    const char *name;
    guint n;               /* changes */
    gint64 every_ms;       /* one after so long */
    guint stutter;         /* every so manieth comes stutter_ms later; 0: none */
    gint64 stutter_ms;     /* a fork that took longer, a busy machine */
    guint most_sendings;   /* that they may become */
    gint64 most_wait_ms;   /* of any of them */
    gint64 last_wait_ms;   /* of the last */
    guint fewest_sendings; /* each alone */
} Case;

static const Case cases[] = {
    {"one", 1, 0, 0, 0, 1, 15, 15, 1},
    {"a few at once", 5, 1, 0, 0, 1, 50, 15, 1},
    {"five within half a second", 5, 100, 0, 0, 5, 100, 100, 1},
    {"one now and then", 20, 250, 0, 0, 20, 15, 15, 20},
    {"one a second", 20, 1000, 0, 0, 20, 15, 15, 20},
    {"a fast loop", 1000, 2, 0, 0, 4, 1000, 200, 1},
    {"a loop", 1000, 8, 0, 0, 10, 1000, 200, 1},
    {"a slow loop", 1000, 12, 0, 0, 16, 1000, 200, 1},
    {"a loop that stutters", 1000, 8, 40, 60, 14, 1000, 200, 1},
    {"a loop that stops now and then", 1000, 5, 100, 150, 20, 1000, 200, 1},
};

static void check(void **state)
{
    const Case *one = *state;
    Pace pace = {0};
    guint sendings = 0;
    gint64 now = BEGIN, longest = 0;
    for (guint i = 0; i < one->n; i++) {
        if (pace_is_open(&pace) && pace_due_us(&pace) <= now) {
            longest = MAX(longest, pace_due_us(&pace) - pace.first_us);
            pace_end(&pace);
            sendings++;
        }
        assert_false(pace_is_open(&pace) && pace_is_over(&pace, now));
        pace_note(&pace, now);
        assert_true(pace_is_open(&pace));
        bool stutters = one->stutter && i % one->stutter == one->stutter - 1;
        now += (one->every_ms + (stutters ? one->stutter_ms : 0)) * MS;
    }
    assert_in_range(pace_due_us(&pace) - pace.last_us, 0, one->last_wait_ms * MS);
    longest = MAX(longest, pace_due_us(&pace) - pace.first_us);
    sendings++;
    assert_in_range(sendings, one->fewest_sendings, one->most_sendings);
    assert_in_range(longest, 0, one->most_wait_ms * MS);
    gint64 last_us = pace.last_us;
    pace_end(&pace);
    assert_false(pace_is_over(&pace, last_us));
    assert_true(pace_is_over(&pace, last_us + PACE_GAP_US));
}

/* After a long run, what comes when it is over is alone again. */
static void test_after_a_run(void **state)
{
    Pace pace = {0};
    gint64 now = BEGIN;
    for (guint i = 0; i < 500; i++, now += 5 * MS)
        pace_note(&pace, now);
    pace_end(&pace);
    now += 250 * MS;
    pace_note(&pace, now);
    assert_int_equal(pace_due_us(&pace), now + PACE_SOON_US);
}

int main(void)
{
    struct CMUnitTest tests[G_N_ELEMENTS(cases) + 1];
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++)
        tests[i] = (struct CMUnitTest){
            .name = cases[i].name, .test_func = check, .initial_state = (gpointer)&cases[i]};
    tests[G_N_ELEMENTS(cases)] = (struct CMUnitTest)cmocka_unit_test(test_after_a_run);
    return _cmocka_run_group_tests("pace", tests, G_N_ELEMENTS(tests), NULL, NULL);
}
