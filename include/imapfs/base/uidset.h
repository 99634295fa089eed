/* uidset.h - a set of UIDs as sorted, disjoint ranges; never expanded.
 *
 * Layer base. Not thread-safe: one owner at a time. UIDs are 32-bit, unsigned, not 0
 * (RFC 9051 2.3.1.1). Printed ascending and normalised, as some servers refuse anything else. */
#pragma once
#include <glib.h>
#include <stdbool.h>

typedef struct {
    guint32 lo, hi; /* inclusive, lo <= hi */
} UidRange;
typedef struct UidSet UidSet;

UidSet *uidset_new(void);
UidSet *uidset_copy(const UidSet *set);
void uidset_free(UidSet *set); /* NULL is fine */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(UidSet, uidset_free)

/* Appending in ascending order is O(1); anything else O(ranges). uid 0 and lo > hi are ignored. */
void uidset_add(UidSet *set, guint32 uid);
void uidset_add_range(UidSet *set, guint32 lo, guint32 hi);
void uidset_add_set(UidSet *set, const UidSet *other);
void uidset_remove(UidSet *set, guint32 uid);
void uidset_remove_range(UidSet *set, guint32 lo, guint32 hi);
void uidset_remove_set(UidSet *set, const UidSet *other);

bool uidset_contains(const UidSet *set, guint32 uid);
bool uidset_is_empty(const UidSet *set);
guint64 uidset_count(const UidSet *set);
guint32 uidset_nth(const UidSet *set, guint64 n); /* from 1; 0: there are not so many. O(ranges) */
const UidRange *uidset_ranges(const UidSet *set, guint *n_out); /* borrowed until changed */

/* One after the other, ascending: while (uid_iter_next(&iter, &uid)). The set stays as it is until
 * then. */
typedef struct {
    const UidSet *set;
    guint range;
    guint32 last; /* that was told; 0: none yet */
} UidIter;
void uid_iter_init(UidIter *iter, const UidSet *set);
bool uid_iter_next(UidIter *iter, guint32 *uid_out);

/* Parses an IMAP sequence-set without '*' ("1:4,7,12:10"; RFC 9051 sequence-set). At most
 * LIMIT_SET_RANGES ranges. false on bad syntax; set then holds what came before. */
bool uidset_parse(UidSet *set, const char *text, gsize length);

/* "1:4,7"; empty string for the empty set. */
void uidset_print(const UidSet *set, GString *out);

/* Takes from the front of the set at most max_uids UIDs whose printed form has at most max_bytes
 * bytes (both at least room for one range end); they are removed from set. Caller frees. */
UidSet *uidset_take(UidSet *set, guint max_uids, gsize max_bytes);
