/* The fewest commands for a batch; what is missing; halving; answers and what they come to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "../../../src/sync/replay.h"

/* --- plans --- */

#define MAX_OPS 6

typedef struct {
    guint32 uid;
    const char *set, *clear;
    guint attempts;
} Op;

typedef struct {
    const char *name;
    const char *permanent; /* PERMANENTFLAGS; NULL: not told */
    gsize line_limit;
    Op ops[MAX_OPS];
    const char *want; /* one line a command */
} PlanCase;

static const PlanCase plans[] = {
    {"one change", NULL, 8000, {{7, "\\Seen", "", 0}}, "7 +(\\Seen)\n"},
    {"the same change is one command",
     NULL,
     8000,
     {{3, "\\Seen", "", 0}, {1, "\\Seen", "", 0}, {2, "\\Seen", "", 0}},
     "1:3 +(\\Seen)\n"},
    {"set and cleared are two",
     NULL,
     8000,
     {{1, "\\Seen", "\\Flagged", 0}, {2, "\\Seen", "\\Flagged", 0}},
     "1:2 +(\\Seen)\n1:2 -(\\Flagged)\n"},
    {"whatever is cleared, the same set is one",
     NULL,
     8000,
     {{1, "\\Seen", "\\Flagged", 0}, {2, "\\Seen", "", 0}},
     "1:2 +(\\Seen)\n1 -(\\Flagged)\n"},
    {"a list where it is fewer",
     NULL,
     8000,
     {{1, "\\Seen \\Flagged $A", "", 0}, {2, "\\Seen \\Flagged $A", "", 0}},
     "1:2 +(\\Seen \\Flagged $A)\n"},
    {"single flags where they are fewer",
     NULL,
     8000,
     {{1, "\\Seen", "", 0}, {2, "\\Flagged", "", 0}, {3, "\\Seen \\Flagged", "", 0}},
     "1,3 +(\\Seen)\n2:3 +(\\Flagged)\n"},
    {"keywords have no case",
     NULL,
     8000,
     {{1, "$Work", "", 0}, {2, "$WORK", "", 0}},
     "1:2 +($Work)\n"},
    {"what was refused goes alone",
     NULL,
     8000,
     {{1, "\\Seen", "", 0}, {2, "\\Seen", "", 1}, {3, "\\Seen", "", 0}},
     "1,3 +(\\Seen)\n2 +(\\Seen)\n"},
    {"what is not kept is not sent",
     "\\Seen \\Flagged",
     8000,
     {{1, "\\Seen $A", "", 0}, {2, "$A", "", 0}, {3, "", "\\Answered", 0}},
     "1 +(\\Seen)\n"},
    {"keywords are kept where new ones can be made",
     "\\Seen \\*",
     8000,
     {{1, "\\Seen $A \\Draft", "", 0}},
     "1 +(\\Seen $A)\n"},
    {"short lines are cut",
     NULL,
     82,
     {{1, "\\Seen", "", 0}, {30, "\\Seen", "", 0}, {500, "\\Seen", "", 0}, {7000, "\\Seen", "", 0}},
     "1,30,500 +(\\Seen)\n7000 +(\\Seen)\n"},
    {"the largest UID",
     NULL,
     8000,
     {{G_MAXUINT32, "\\Seen", "", 0}, {1, "\\Seen", "", 0}},
     "1,4294967295 +(\\Seen)\n"},
};

static void check_plan(void **state)
{
    const PlanCase *want = *state;
    StoreBox box = {.permanent_flags = (char *)want->permanent};
    LogOp ops[MAX_OPS] = {0};
    g_autoptr(GPtrArray) items = g_ptr_array_new_with_free_func((GDestroyNotify)item_free);
    for (guint i = 0; i < MAX_OPS && want->ops[i].uid; i++) {
        ops[i] = (LogOp){.seq = i + 1,
                         .uid = want->ops[i].uid,
                         .set = (char *)want->ops[i].set,
                         .clear = (char *)want->ops[i].clear,
                         .attempts = want->ops[i].attempts};
        g_ptr_array_add(items, item_new(&ops[i], &box));
    }
    g_autoptr(GPtrArray) stores = plan_flags(items, want->line_limit);
    g_autoptr(GString) got = g_string_new(NULL);
    for (guint i = 0; i < stores->len; i++) {
        const FlagStore *store = stores->pdata[i];
        g_autoptr(UidSet) uids = plan_uids(store->members);
        uidset_print(uids, got);
        g_string_append_printf(got, " %c(%s)\n", store->minus ? '-' : '+', store->flags);
    }
    assert_string_equal(got->str, want->want);
}

/* A list of flags that fills a line by itself goes flag by flag. */
static void test_long_list(void **state)
{
    StoreBox box = {0};
    g_autoptr(GString) set = g_string_new(NULL);
    for (guint i = 0; i < 300; i++)
        g_string_append_printf(set, "%s$keyword-of-some-length-%u", i ? " " : "", i);
    LogOp op = {.seq = 1, .uid = 1, .set = set->str, .clear = (char *)""};
    g_autoptr(GPtrArray) items = g_ptr_array_new_with_free_func((GDestroyNotify)item_free);
    g_ptr_array_add(items, item_new(&op, &box));
    g_autoptr(GPtrArray) stores = plan_flags(items, 1000 - 32);
    assert_int_equal(stores->len, 300);
}

/* --- what is missing --- */

static const struct {
    const char *set, *clear, *server, *missing;
} missing[] = {
    {"\\Seen", "", "\\Seen", ""},
    {"\\Seen", "", "\\Flagged", "\\Seen"},
    {"\\Seen $A", "\\Flagged", "$a \\Seen", ""},
    {"\\Seen $A", "\\Flagged $B", "\\Flagged $b", "\\Seen \\Flagged $A $B"},
    {"", "$A", "", ""},
};

static void test_missing(void **state)
{
    for (guint i = 0; i < G_N_ELEMENTS(missing); i++) {
        StoreBox box = {0};
        LogOp op = {
            .seq = 1, .uid = 1, .set = (char *)missing[i].set, .clear = (char *)missing[i].clear};
        Item *item = item_new(&op, &box);
        item->flags = g_strdup(missing[i].server);
        g_auto(Flags) got = {0};
        g_autoptr(GString) text = g_string_new(NULL);
        item_missing(item, &got);
        flags_print(&got, text);
        assert_string_equal(text->str, missing[i].missing);
        item_free(item);
    }
}

/* --- halving --- */

static void test_halving_ends(void **state)
{
    enum { N = 9 };
    StoreBox box = {0};
    LogOp ops[N];
    g_autoptr(GPtrArray) items = g_ptr_array_new_with_free_func((GDestroyNotify)item_free);
    for (guint i = 0; i < N; i++) {
        ops[i] = (LogOp){.seq = i + 1, .uid = i + 1, .set = (char *)"\\Seen", .clear = (char *)""};
        g_ptr_array_add(items, item_new(&ops[i], &box));
    }
    ((Item *)items->pdata[0])->silent = true; /* gone */
    ((Item *)items->pdata[1])->told = true;   /* has it already */
    ((Item *)items->pdata[1])->flags = g_strdup("\\Seen");
    g_autoptr(GPtrArray) todo = plan_flags(items, 8000);
    guint alone = 0;
    for (guint rounds = 0; todo->len > 0; rounds++) {
        assert_true(rounds < 100);
        FlagStore *store = g_ptr_array_steal_index(todo, 0);
        if (store->members->len > 1)
            plan_halve(store, todo);
        else
            alone++;
        flag_store_free(store);
    }
    assert_int_equal(alone, N - 2);
}

/* --- outcomes --- */

static const struct {
    const char *name;
    CommandResult result;
    ResponseCode code;
    gint64 backoff_ms;
    Outcome want;
} answers[] = {
    {"OK", COMMAND_OK, CODE_NONE, 0, OUTCOME_DONE},
    {"OK MODIFIED", COMMAND_OK, CODE_MODIFIED, 0, OUTCOME_DONE},
    {"BAD", COMMAND_BAD, CODE_NONE, 0, OUTCOME_PARK},
    {"BAD throttled", COMMAND_BAD, CODE_NONE, 500, OUTCOME_LATER},
    {"NO throttled", COMMAND_NO, CODE_NONE, 500, OUTCOME_LATER},
    {"NO", COMMAND_NO, CODE_NONE, 0, OUTCOME_REFUSED},
    {"NO ALERT", COMMAND_NO, CODE_ALERT, 0, OUTCOME_REFUSED},
    {"NO of an unknown code", COMMAND_NO, CODE_OTHER, 0, OUTCOME_REFUSED},
    {"NO MODIFIED", COMMAND_NO, CODE_MODIFIED, 0, OUTCOME_REFUSED},
    {"NO EXPUNGEISSUED", COMMAND_NO, CODE_EXPUNGEISSUED, 0, OUTCOME_REFUSED},
    {"NO UNAVAILABLE", COMMAND_NO, CODE_UNAVAILABLE, 0, OUTCOME_LATER},
    {"NO INUSE", COMMAND_NO, CODE_INUSE, 0, OUTCOME_LATER},
    {"NO SERVERBUG", COMMAND_NO, CODE_SERVERBUG, 0, OUTCOME_LATER},
    {"NO LIMIT", COMMAND_NO, CODE_LIMIT, 0, OUTCOME_LATER},
    {"NO OVERQUOTA", COMMAND_NO, CODE_OVERQUOTA, 0, OUTCOME_HOLD},
    {"NO PRIVACYREQUIRED", COMMAND_NO, CODE_PRIVACYREQUIRED, 0, OUTCOME_HOLD},
    {"NO CONTACTADMIN", COMMAND_NO, CODE_CONTACTADMIN, 0, OUTCOME_HOLD},
    {"NO EXPIRED", COMMAND_NO, CODE_EXPIRED, 0, OUTCOME_HOLD},
    {"NO CORRUPTION", COMMAND_NO, CODE_CORRUPTION, 0, OUTCOME_HOLD},
    {"NO NOPERM", COMMAND_NO, CODE_NOPERM, 0, OUTCOME_PARK},
    {"NO AUTHORIZATIONFAILED", COMMAND_NO, CODE_AUTHORIZATIONFAILED, 0, OUTCOME_PARK},
    {"NO CANNOT", COMMAND_NO, CODE_CANNOT, 0, OUTCOME_PARK},
    {"NO NONEXISTENT", COMMAND_NO, CODE_NONEXISTENT, 0, OUTCOME_PARK},
    {"NO CLIENTBUG", COMMAND_NO, CODE_CLIENTBUG, 0, OUTCOME_PARK},
    {"NO TOOBIG", COMMAND_NO, CODE_TOOBIG, 0, OUTCOME_PARK},
    {"NO READ-ONLY", COMMAND_NO, CODE_READ_ONLY, 0, OUTCOME_KEEP_HERE},
    {"lost", COMMAND_LOST, CODE_NONE, 0, OUTCOME_LOST},
};

static void test_outcomes(void **state)
{
    for (guint i = 0; i < G_N_ELEMENTS(answers); i++) {
        Response tagged = {.code = answers[i].code, .backoff_ms = answers[i].backoff_ms};
        bool lost = answers[i].result == COMMAND_LOST;
        Outcome got = outcome_of(answers[i].result, lost ? NULL : &tagged);
        if (got != answers[i].want)
            fail_msg("%s: %s", answers[i].name, outcome_name(got));
    }
}

static void test_words(void **state)
{
    Response no = {
        .code = CODE_NOPERM, .code_text = (char *)"NOPERM", .text = (char *)"not \033[31myours"};
    g_autofree char *refused = outcome_words(COMMAND_NO, &no);
    assert_string_equal(refused, "the server said: NO [NOPERM] not \\x1B[31myours");
    Response bad = {.text = (char *)"what?"};
    g_autofree char *misunderstood = outcome_words(COMMAND_BAD, &bad);
    assert_string_equal(misunderstood, "the server said: BAD what?");
    g_autofree char *lost = outcome_words(COMMAND_LOST, NULL);
    assert_string_equal(lost, "the connection was lost");
}

static void test_backoff(void **state)
{
    for (guint level = 0; level < 64; level++) {
        gint64 us = outcome_backoff_us(level);
        gint64 want = level < 10 ? G_USEC_PER_SEC << level : 900 * (gint64)G_USEC_PER_SEC;
        want = MIN(want, 900 * (gint64)G_USEC_PER_SEC);
        assert_true(us >= G_USEC_PER_SEC && us <= 900 * (gint64)G_USEC_PER_SEC);
        assert_true(us >= want * 8 / 10 && us <= want * 12 / 10);
    }
}

int main(void)
{
    static struct CMUnitTest tests[G_N_ELEMENTS(plans) + 6];
    guint n = 0;
    for (; n < G_N_ELEMENTS(plans); n++)
        tests[n] = (struct CMUnitTest){
            .name = plans[n].name, .test_func = check_plan, .initial_state = (void *)&plans[n]};
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_long_list);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_missing);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_halving_ends);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_outcomes);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_words);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_backoff);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
