/* uidset.c - sorted, disjoint, never adjacent ranges in one array; appending is the common case. */
#include "imapfs/base/uidset.h"

#include <stdio.h>
#include <string.h>

#include "imapfs/base/limits.h"

struct UidSet {
    GArray *ranges; /* of UidRange */
};

static UidRange *range_at(const UidSet *set, guint i)
{
    return &g_array_index(set->ranges, UidRange, i);
}

UidSet *uidset_new(void)
{
    UidSet *set = g_new(UidSet, 1);
    set->ranges = g_array_new(FALSE, FALSE, sizeof(UidRange));
    return set;
}

UidSet *uidset_copy(const UidSet *set)
{
    UidSet *copy = uidset_new();
    if (set->ranges->len)
        g_array_append_vals(copy->ranges, set->ranges->data, set->ranges->len);
    return copy;
}

void uidset_free(UidSet *set)
{
    if (!set)
        return;
    g_array_free(set->ranges, TRUE);
    g_free(set);
}

/* The first range whose hi is >= uid; len if there is none. */
static guint find_range(const UidSet *set, guint32 uid)
{
    guint low = 0, high = set->ranges->len;
    while (low < high) {
        guint middle = low + (high - low) / 2;
        if (range_at(set, middle)->hi < uid)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void uidset_add(UidSet *set, guint32 uid)
{
    uidset_add_range(set, uid, uid);
}

void uidset_add_range(UidSet *set, guint32 lo, guint32 hi)
{
    if (lo == 0 || lo > hi)
        return;
    /* first: the first range that touches [lo, hi] or stands after it */
    guint first = find_range(set, lo - 1 ? lo - 1 : 1);
    guint end = first;
    while (end < set->ranges->len && (hi == G_MAXUINT32 || range_at(set, end)->lo <= hi + 1)) {
        lo = MIN(lo, range_at(set, end)->lo);
        hi = MAX(hi, range_at(set, end)->hi);
        end++;
    }
    UidRange merged = {lo, hi};
    if (end == first) {
        g_array_insert_val(set->ranges, first, merged);
        return;
    }
    *range_at(set, first) = merged;
    if (end - first > 1)
        g_array_remove_range(set->ranges, first + 1, end - first - 1);
}

/* Adds a range that begins no lower than the last one does. */
static void append_range(GArray *ranges, const UidRange *range)
{
    UidRange *last = ranges->len ? &g_array_index(ranges, UidRange, ranges->len - 1) : NULL;
    if (last && range->lo - 1 <= last->hi)
        last->hi = MAX(last->hi, range->hi);
    else
        g_array_append_val(ranges, *range);
}

/* One merge over both, as adding range by range moves the tail each time. */
static void merge(UidSet *set, const UidSet *other)
{
    GArray *all =
        g_array_sized_new(FALSE, FALSE, sizeof(UidRange), set->ranges->len + other->ranges->len);
    guint i = 0, j = 0;
    while (i < set->ranges->len || j < other->ranges->len) {
        bool own = j >= other->ranges->len ||
                   (i < set->ranges->len && range_at(set, i)->lo <= range_at(other, j)->lo);
        append_range(all, own ? range_at(set, i++) : range_at(other, j++));
    }
    g_array_free(set->ranges, TRUE);
    set->ranges = all;
}

void uidset_add_set(UidSet *set, const UidSet *other)
{
    guint n = set->ranges->len, more = other->ranges->len;
    if (more > 1 && n > 0 && range_at(other, 0)->lo < range_at(set, n - 1)->lo) {
        merge(set, other);
        return;
    }
    for (guint i = 0; i < more; i++)
        uidset_add_range(set, range_at(other, i)->lo, range_at(other, i)->hi);
}

guint32 uidset_nth(const UidSet *set, guint64 n)
{
    for (guint i = 0; n > 0 && i < set->ranges->len; i++) {
        const UidRange *range = range_at(set, i);
        guint64 length = (guint64)range->hi - range->lo + 1;
        if (n <= length)
            return range->lo + (guint32)(n - 1);
        n -= length;
    }
    return 0;
}

void uidset_remove(UidSet *set, guint32 uid)
{
    uidset_remove_range(set, uid, uid);
}

void uidset_remove_range(UidSet *set, guint32 lo, guint32 hi)
{
    if (lo > hi)
        return;
    guint i = find_range(set, lo);
    if (i < set->ranges->len && range_at(set, i)->lo < lo) {
        UidRange head = {range_at(set, i)->lo, lo - 1};
        if (range_at(set, i)->hi > hi) { /* a hole inside one range */
            range_at(set, i)->lo = hi + 1;
            g_array_insert_val(set->ranges, i, head);
            return;
        }
        *range_at(set, i) = head;
        i++;
    }
    guint end = i;
    while (end < set->ranges->len && range_at(set, end)->hi <= hi)
        end++;
    if (end > i)
        g_array_remove_range(set->ranges, i, end - i);
    if (i < set->ranges->len && range_at(set, i)->lo <= hi)
        range_at(set, i)->lo = hi + 1;
}

/* One merge over both, as removing range by range moves the tail each time. */
void uidset_remove_set(UidSet *set, const UidSet *other)
{
    GArray *left = g_array_sized_new(FALSE, FALSE, sizeof(UidRange), set->ranges->len);
    guint j = 0;
    for (guint i = 0; i < set->ranges->len; i++) {
        guint64 lo = range_at(set, i)->lo, hi = range_at(set, i)->hi;
        while (j < other->ranges->len && range_at(other, j)->hi < lo)
            j++;
        for (guint k = j; lo <= hi && k < other->ranges->len && range_at(other, k)->lo <= hi; k++) {
            if (range_at(other, k)->lo > lo) {
                UidRange before = {(guint32)lo, range_at(other, k)->lo - 1};
                g_array_append_val(left, before);
            }
            lo = (guint64)range_at(other, k)->hi + 1;
        }
        if (lo <= hi) {
            UidRange rest = {(guint32)lo, (guint32)hi};
            g_array_append_val(left, rest);
        }
    }
    g_array_free(set->ranges, TRUE);
    set->ranges = left;
}

bool uidset_contains(const UidSet *set, guint32 uid)
{
    guint i = find_range(set, uid);
    return uid != 0 && i < set->ranges->len && range_at(set, i)->lo <= uid;
}

bool uidset_is_empty(const UidSet *set)
{
    return set->ranges->len == 0;
}

guint64 uidset_count(const UidSet *set)
{
    guint64 n = 0;
    for (guint i = 0; i < set->ranges->len; i++)
        n += (guint64)range_at(set, i)->hi - range_at(set, i)->lo + 1;
    return n;
}

const UidRange *uidset_ranges(const UidSet *set, guint *n_out)
{
    *n_out = set->ranges->len;
    return (const UidRange *)(const void *)set->ranges->data;
}

void uid_iter_init(UidIter *iter, const UidSet *set)
{
    *iter = (UidIter){.set = set};
}

bool uid_iter_next(UidIter *iter, guint32 *uid_out)
{
    if (iter->range < iter->set->ranges->len && iter->last == range_at(iter->set, iter->range)->hi)
        iter->range++;
    if (iter->range >= iter->set->ranges->len)
        return false;
    guint32 lo = range_at(iter->set, iter->range)->lo;
    iter->last = iter->last < lo ? lo : iter->last + 1;
    *uid_out = iter->last;
    return true;
}

/* nz-number of 32 bits at *at; 0 when there is none. */
static guint32 parse_uid(const char **at, const char *end)
{
    guint64 value = 0;
    const char *p = *at;
    while (p < end && *p >= '0' && *p <= '9' && value <= G_MAXUINT32)
        value = value * 10 + (guint64)(*p++ - '0');
    *at = p;
    return value <= G_MAXUINT32 ? (guint32)value : 0;
}

bool uidset_parse(UidSet *set, const char *text, gsize length)
{
    const char *p = text, *end = text + length;
    while (p < end) {
        guint32 lo = parse_uid(&p, end), hi = lo;
        if (lo == 0)
            return false;
        if (p < end && *p == ':') {
            p++;
            hi = parse_uid(&p, end);
            if (hi == 0)
                return false;
        }
        if (set->ranges->len >= LIMIT_SET_RANGES)
            return false;
        uidset_add_range(set, MIN(lo, hi), MAX(lo, hi));
        if (p == end)
            return true;
        if (*p++ != ',')
            return false;
    }
    return false; /* empty, or a comma at the end */
}

static int print_range(const UidRange *range, char *buffer, gsize size)
{
    return range->lo == range->hi ? snprintf(buffer, size, "%u", range->lo)
                                  : snprintf(buffer, size, "%u:%u", range->lo, range->hi);
}

void uidset_print(const UidSet *set, GString *out)
{
    char buffer[32];
    for (guint i = 0; i < set->ranges->len; i++) {
        print_range(range_at(set, i), buffer, sizeof(buffer));
        if (i)
            g_string_append_c(out, ',');
        g_string_append(out, buffer);
    }
}

UidSet *uidset_take(UidSet *set, guint max_uids, gsize max_bytes)
{
    UidSet *taken = uidset_new();
    guint64 left = MAX(max_uids, 1);
    gsize bytes = 0;
    guint whole = 0;
    char buffer[32];
    for (; whole < set->ranges->len && left > 0; whole++) {
        UidRange range = *range_at(set, whole);
        guint64 n = (guint64)range.hi - range.lo + 1;
        if (n > left)
            range.hi = (guint32)(range.lo + left - 1);
        gsize need = (gsize)print_range(&range, buffer, sizeof(buffer)) + 1;
        if (taken->ranges->len && bytes + need > max_bytes)
            break;
        g_array_append_val(taken->ranges, range);
        bytes += need;
        if (n > left) {
            range_at(set, whole)->lo = range.hi + 1;
            break;
        }
        left -= n;
    }
    if (whole)
        g_array_remove_range(set->ranges, 0, whole);
    return taken;
}
