/* box_id.c - which number a new mailbox gets.
 *
 * The rule: (box, uid) names one message for ever, so a number is given again only when all others
 * were used, and then all that was kept under it goes first. */
#include "private.h"

#include "imapfs/base/error.h"

#define BITMAP_BYTES ((STORE_MAX_BOX_ID + 8) / 8)

static bool get_bit(const guint8 *map, guint32 id)
{
    return (map[id / 8] & (1u << (id % 8))) != 0;
}

static void set_bit(guint8 *map, guint32 id)
{
    map[id / 8] |= (guint8)(1u << (id % 8));
}

bool box_ids_load(StoreTxn *txn, BoxIds *ids, GError **error)
{
    static const char sql_next[] = "SELECT next_box FROM account";
    static const char sql_used[] = "SELECT id FROM box";
    *ids = (BoxIds){.cursor = 1,
                    .max = STORE_MAX_BOX_ID,
                    .used = g_malloc0(BITMAP_BYTES),
                    .retiring = g_malloc0(BITMAP_BYTES)};
    Query query;
    if (!txn_open_query(txn, &query, sql_next, error))
        return false;
    ids->next = query_step(&query) ? (guint32)query_get_int(&query, 0) : 1;
    if (!txn_close_query(txn, &query, error) || !txn_open_query(txn, &query, sql_used, error))
        return false;
    while (query_step(&query)) {
        gint64 id = query_get_int(&query, 0);
        if (id > 0 && id <= STORE_MAX_BOX_ID)
            set_bit(ids->used, (guint32)id);
    }
    return txn_close_query(txn, &query, error);
}

void box_ids_retire(BoxIds *ids, guint32 id)
{
    if (id <= STORE_MAX_BOX_ID)
        set_bit(ids->retiring, id);
}

static guint32 find_free(BoxIds *ids)
{
    for (; ids->cursor <= ids->max; ids->cursor++)
        if (!get_bit(ids->used, ids->cursor))
            return ids->cursor;
    /* Numbers that lost their mailbox just now: last, as the kernel may still know them. */
    for (guint32 id = 1; id <= ids->max; id++)
        if (get_bit(ids->retiring, id)) {
            ids->retiring[id / 8] &= (guint8) ~(1u << (id % 8));
            return id;
        }
    return 0;
}

guint32 box_ids_take(BoxIds *ids, StoreTxn *txn)
{
    guint32 id;
    if (ids->next <= ids->max) {
        id = ids->next++;
    } else {
        id = find_free(ids);
        if (id == 0)
            return 0;
        txn_purge(txn, id, 0, G_MAXUINT32, true);
    }
    set_bit(ids->used, id);
    return id;
}

bool box_ids_save(StoreTxn *txn, BoxIds *ids, GError **error)
{
    static const char sql[] = "UPDATE account SET next_box = ?";
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_int(&query, ids->next);
    return txn_run_query(txn, &query, error);
}

void box_ids_clear(BoxIds *ids)
{
    g_clear_pointer(&ids->used, g_free);
    g_clear_pointer(&ids->retiring, g_free);
}
