/* numbers.c - our numbers of messages that the server has not numbered.
 *
 * The rule: each is given once, for ever: it stands in inode numbers, and names a file in the
 * spool. One that was taken and came to nothing is skipped. */
#include "private.h"

guint32 store_take_number(Store *store)
{
    guint64 n = __atomic_fetch_add(&store->next_number, 1, __ATOMIC_RELAXED);
    return n <= G_MAXUINT32 ? (guint32)n : 0;
}

void store_number_seen(Store *store, guint32 n)
{
    store->next_number = MAX(store->next_number, (guint64)n + 1);
}

bool numbers_open(Store *store, GError **error)
{
    gint64 last;
    if (!db_get_int(store->writer,
                    "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'pending'",
                    &last, error))
        return false;
    store_number_seen(store, (guint32)CLAMP(last, 0, (gint64)G_MAXUINT32));
    store->first_number = store->next_number;
    return true;
}
