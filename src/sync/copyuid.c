/* copyuid.c - COPYUID as pairs.
 *
 * The rule: the sets are paired in the order in which the server wrote them, which a UidSet does
 * not keep: a pair that is wrong would give one letter's name, flags and bytes to another. A set
 * that does not fit is believed in nothing. */
#include "copyuid.h"

#include <string.h>

/* Walks the UIDs of a set as it was written. "4:2" is 2, 3, 4 (RFC 4315 4, uid-range). */
typedef struct {
    const char *at, *end;
    guint64 next, last; /* of the range that is being walked; next > last: it is over */
} Cursor;

static bool take_number(Cursor *cursor, guint64 *out)
{
    guint64 value = 0;
    const char *from = cursor->at;
    while (cursor->at < cursor->end && g_ascii_isdigit(*cursor->at)) {
        value = value * 10 + (guint64)(*cursor->at++ - '0');
        if (value > G_MAXUINT32)
            return false;
    }
    *out = value;
    return cursor->at > from && value > 0;
}

/* False: the end, or what is no set. */
static bool cursor_next(Cursor *cursor, guint32 *uid_out)
{
    if (cursor->next > cursor->last || cursor->next == 0) {
        guint64 lo, hi;
        if (cursor->at < cursor->end && *cursor->at == ',')
            cursor->at++;
        if (!take_number(cursor, &lo))
            return false;
        hi = lo;
        if (cursor->at < cursor->end && *cursor->at == ':') {
            cursor->at++;
            if (!take_number(cursor, &hi))
                return false;
        }
        cursor->next = MIN(lo, hi);
        cursor->last = MAX(lo, hi);
    }
    *uid_out = (guint32)cursor->next++;
    return true;
}

static bool cursor_is_over(const Cursor *cursor)
{
    return cursor->at == cursor->end && cursor->next > cursor->last;
}

static bool pair_up(Cursor *source, Cursor *destination, guint64 n, GHashTable *pairs)
{
    g_autoptr(GHashTable) taken = g_hash_table_new(NULL, NULL);
    for (guint64 i = 0; i < n; i++) {
        guint32 from, to;
        if (!cursor_next(source, &from) || !cursor_next(destination, &to) ||
            !g_hash_table_insert(pairs, GUINT_TO_POINTER(from), GUINT_TO_POINTER(to)) ||
            !g_hash_table_add(taken, GUINT_TO_POINTER(to)))
            return false;
    }
    return cursor_is_over(source) && cursor_is_over(destination);
}

/* The n-th word of the code, which is "COPYUID uidvalidity source destination". */
static bool word(const char *text, guint n, Cursor *out)
{
    const char *at = text + strspn(text, " ");
    for (; n > 0; n--) {
        at += strcspn(at, " ");
        at += strspn(at, " ");
    }
    *out = (Cursor){.at = at, .end = at + strcspn(at, " ")};
    return out->end > out->at;
}

bool copyuid_read(const Response *response, const UidSet *asked, GHashTable *pairs_out)
{
    Cursor source, destination;
    if (response->code != CODE_COPYUID || !response->source_uids || !response->uids ||
        !response->code_text || response->number == 0)
        return false;
    guint64 n = uidset_count(response->source_uids);
    g_autoptr(UidSet) others = uidset_copy(response->source_uids);
    uidset_remove_set(others, asked);
    if (n == 0 || n > COPYUID_MAX || uidset_count(response->uids) != n || !uidset_is_empty(others))
        return false;
    g_autoptr(GHashTable) pairs = g_hash_table_new(NULL, NULL);
    if (!word(response->code_text, 2, &source) || !word(response->code_text, 3, &destination) ||
        !pair_up(&source, &destination, n, pairs))
        return false;
    GHashTableIter iter;
    gpointer from, to;
    g_hash_table_iter_init(&iter, pairs);
    while (g_hash_table_iter_next(&iter, &from, &to))
        g_hash_table_insert(pairs_out, from, to);
    return true;
}
