/* COPYUID as pairs: legal shapes, and what a server may say to mislead. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "../../../src/sync/copyuid.h"
#include "imapfs/wire/reader.h"

typedef struct {
    const char *name, *sets, *asked;
    const char *want; /* "source:destination ..."; NULL: not believed */
} Case;

static const Case cases[] = {
    {"one", "7 3 99", "3", "3:99"},
    {"ranges", "7 3:5,9 20:23", "3:9", "3:20 4:21 5:22 9:23"},
    {"a range backward", "7 5:3 20:22", "3:5", "3:20 4:21 5:22"},
    {"not ascending", "7 9,3 20,21", "3,9", "3:21 9:20"},
    {"destinations not ascending", "7 3,9 21,20", "3,9", "3:21 9:20"},
    {"fewer than asked", "7 3 20", "3:9", "3:20"},
    {"fewer destinations", "7 3:5 20:21", "3:5", NULL},
    {"more destinations", "7 3 20:21", "3", NULL},
    {"not asked for", "7 3:4 20:21", "3", NULL},
    {"a source twice", "7 3,3 20,21", "3", NULL},
    {"a source twice, a range", "7 3:4,4 20:22", "3:4", NULL},
    {"a destination twice", "7 3,4 20,20", "3:4", NULL},
    {"both twice", "7 3,3 20,20", "3", NULL},
    {"huge", "7 1:4294967295 1:4294967295", "3", NULL},
    {"huge, asked for", "7 1:100000 1:100000", "1:100000", NULL},
    {"no UIDVALIDITY", "0 3 20", "3", NULL},
    {"the largest", "4294967295 4294967295 4294967294", "4294967295", "4294967295:4294967294"},
};

static Response *respond(const char *sets)
{
    g_autofree char *line = g_strdup_printf("* OK [COPYUID %s] done\r\n", sets);
    Reader *reader = reader_new();
    Response *response = NULL;
    GError *error = NULL;
    reader_set_authenticated(reader);
    reader_feed(reader, line, strlen(line));
    reader_next(reader, &response, &error);
    reader_free(reader);
    return response;
}

static gint by_source(gconstpointer a, gconstpointer b)
{
    return GPOINTER_TO_UINT(a) < GPOINTER_TO_UINT(b) ? -1 : 1;
}

static void check(void **state)
{
    const Case *one = *state;
    g_autoptr(Response) response = respond(one->sets);
    g_autoptr(UidSet) asked = uidset_new();
    g_autoptr(GHashTable) pairs = g_hash_table_new(NULL, NULL);
    g_autoptr(GString) got = g_string_new(NULL);
    assert_non_null(response);
    uidset_parse(asked, one->asked, strlen(one->asked));
    bool ok = copyuid_read(response, asked, pairs);
    assert_int_equal(ok, one->want != NULL);
    g_autoptr(GList) sources = g_list_sort(g_hash_table_get_keys(pairs), by_source);
    for (GList *at = sources; at; at = at->next)
        g_string_append_printf(got, "%s%u:%u", got->len ? " " : "", GPOINTER_TO_UINT(at->data),
                               GPOINTER_TO_UINT(g_hash_table_lookup(pairs, at->data)));
    assert_string_equal(got->str, one->want ? one->want : "");
}

int main(void)
{
    struct CMUnitTest tests[G_N_ELEMENTS(cases)];
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++)
        tests[i] = (struct CMUnitTest){
            .name = cases[i].name, .test_func = check, .initial_state = (void *)&cases[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
