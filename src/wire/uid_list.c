/* uid_list.c - gathers ranges in the server's order and sorts them once.
 *
 * The rule: never more than LIMIT_SET_RANGES ranges, whatever their order. */
#include "uid_list.h"
#include <string.h>
#include "imapfs/base/limits.h"
#include "lexer.h"

struct UidList {
    GArray *ranges; /* of UidRange, as they came; neighbours merged when ascending */
    bool sorted;
};

UidList *uid_list_new(void)
{
    UidList *list = g_new0(UidList, 1);
    list->ranges = g_array_new(FALSE, FALSE, sizeof(UidRange));
    list->sorted = true;
    return list;
}

void uid_list_free(UidList *list)
{
    if (list == NULL)
        return;
    g_array_free(list->ranges, TRUE);
    g_free(list);
}

static UidListStatus add_range(UidList *list, guint32 lo, guint32 hi)
{
    UidRange *last = NULL;
    if (list->ranges->len > 0)
        last = &g_array_index(list->ranges, UidRange, list->ranges->len - 1);
    if (last != NULL && lo >= last->lo && lo - 1 <= last->hi) {
        last->hi = MAX(last->hi, hi);
        return UID_LIST_OK;
    }
    if (list->ranges->len >= LIMIT_SET_RANGES)
        return UID_LIST_FULL;
    if (last != NULL && lo < last->lo)
        list->sorted = false;
    UidRange range = {lo, hi};
    g_array_append_val(list->ranges, range);
    return UID_LIST_OK;
}

UidListStatus uid_list_add(UidList *list, const char *text, gsize length)
{
    const char *colon = memchr(text, ':', length);
    gsize first = colon != NULL ? (gsize)(colon - text) : length;
    guint64 lo, hi;
    if (!lex_parse_number(text, first, G_MAXUINT32, &lo))
        return UID_LIST_SYNTAX;
    hi = lo;
    if (colon != NULL && !lex_parse_number(colon + 1, length - first - 1, G_MAXUINT32, &hi))
        return UID_LIST_SYNTAX;
    if (lo > hi) {
        guint64 swap = lo;
        lo = hi;
        hi = swap;
    }
    if (hi == 0)
        return UID_LIST_OK;
    return add_range(list, MAX(lo, 1), hi);
}

static gint compare_ranges(gconstpointer a, gconstpointer b)
{
    const UidRange *left = a, *right = b;
    return (left->lo > right->lo) - (left->lo < right->lo);
}

UidSet *uid_list_to_set(UidList *list)
{
    if (!list->sorted)
        g_array_sort(list->ranges, compare_ranges);
    list->sorted = true;
    UidSet *set = uidset_new();
    for (guint i = 0; i < list->ranges->len; i++) {
        const UidRange *range = &g_array_index(list->ranges, UidRange, i);
        uidset_add_range(set, range->lo, range->hi);
    }
    return set;
}

UidSet *uid_list_parse(const char *text, gsize length)
{
    g_autoptr(UidList) list = uid_list_new();
    const char *end = text + length;
    for (;;) {
        const char *comma = memchr(text, ',', end - text);
        const char *stop = comma != NULL ? comma : end;
        if (uid_list_add(list, text, stop - text) != UID_LIST_OK)
            return NULL;
        if (comma == NULL)
            return uid_list_to_set(list);
        text = comma + 1;
    }
}
