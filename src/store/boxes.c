/* boxes.c - mailboxes: reading them, and what a sync learned about one.
 *
 * The rule: a row says what the server last said; names and places in the tree change in
 * reconcile.c only. */
#include "private.h"

#include <string.h>
#include "imapfs/base/error.h"

void box_borrow(Query *query, StoreBox *out)
{
    *out = (StoreBox){
        .id = (guint32)query_get_int(query, 0),
        .parent = (guint32)query_get_int(query, 1),
        .name = query_get_text(query, 2),
        .leaf = query_get_text(query, 3),
        .delimiter = (char)query_get_int(query, 4),
        .attributes = (guint32)query_get_int(query, 5),
        .uidvalidity = (guint32)query_get_int(query, 6),
        .uidnext = (guint32)query_get_int(query, 7),
        .highestmodseq = (guint64)query_get_int(query, 8),
        .exists = (guint32)query_get_int(query, 9),
        .listed = query_get_int(query, 10) != 0,
        .synced_ns = query_get_int(query, 11),
        .changed_ns = query_get_int(query, 12),
        .permanent_flags = query_get_text(query, 13),
        .read_only = query_get_int(query, 14) != 0,
        .mailboxid = query_get_text(query, 15),
        .local = query_get_int(query, 16) != 0,
        .doomed = query_get_int(query, 17) != 0,
        .wire_name = query_get_text(query, 18),
        .rights = query_get_text(query, 19),
    };
}

StoreBox box_copy(const StoreBox *box)
{
    StoreBox out = *box;
    out.name = g_strdup(box->name);
    out.leaf = g_strdup(box->leaf);
    out.permanent_flags = g_strdup(box->permanent_flags);
    out.mailboxid = g_strdup(box->mailboxid);
    out.wire_name = g_strdup(box->wire_name);
    out.rights = g_strdup(box->rights);
    return out;
}

bool box_may(const StoreBox *box, const char *rights)
{
    for (const char *right = rights; box->rights != NULL && *right != '\0'; right++)
        if (strchr(box->rights, *right) == NULL)
            return false;
    return true;
}

void store_box_clear(StoreBox *box)
{
    g_clear_pointer(&box->name, g_free);
    g_clear_pointer(&box->leaf, g_free);
    g_clear_pointer(&box->permanent_flags, g_free);
    g_clear_pointer(&box->mailboxid, g_free);
    g_clear_pointer(&box->wire_name, g_free);
    g_clear_pointer(&box->rights, g_free);
}

static bool finish_one(StoreReader *reader, Query *query, StoreBox *out)
{
    StoreBox box = {0};
    bool found = query_step(query);
    if (found) {
        StoreBox row;
        box_borrow(query, &row);
        box = box_copy(&row);
    }
    if (!reader_close_query(reader, query) || !found) {
        store_box_clear(&box);
        return false;
    }
    *out = box;
    return true;
}

bool store_box_by_id(StoreReader *reader, guint32 id, StoreBox *out)
{
    static const char sql[] = "SELECT " BOX_COLUMNS " FROM box WHERE id = ?";
    Query query;
    if (!reader_open_query(reader, &query, sql))
        return false;
    query_int(&query, id);
    return finish_one(reader, &query, out);
}

bool store_box_by_name(StoreReader *reader, const char *name, StoreBox *out)
{
    static const char sql[] = "SELECT " BOX_COLUMNS " FROM box WHERE name = ? AND doomed = 0";
    Query query;
    if (!reader_open_query(reader, &query, sql))
        return false;
    query_text(&query, name);
    return finish_one(reader, &query, out);
}

bool store_box_by_wire_name(StoreReader *reader, const char *name, StoreBox *out)
{
    static const char sql[] =
        "SELECT " BOX_COLUMNS " FROM box WHERE wire_name = ? ORDER BY doomed, id LIMIT 1";
    Query query;
    if (!reader_open_query(reader, &query, sql))
        return false;
    query_text(&query, name);
    return finish_one(reader, &query, out);
}

bool store_box_by_leaf(StoreReader *reader, guint32 parent, const char *leaf, StoreBox *out)
{
    static const char sql[] = "SELECT " BOX_COLUMNS " FROM box WHERE parent = ? AND leaf = ?"
                              " AND doomed = 0";
    Query query;
    if (!reader_open_query(reader, &query, sql))
        return false;
    query_int(&query, parent);
    query_text(&query, leaf);
    return finish_one(reader, &query, out);
}

static void each(StoreReader *reader, Query *query, StoreBoxFunc f, gpointer data)
{
    StoreBox box;
    while (query_step(query)) {
        box_borrow(query, &box);
        if (!f(&box, data))
            break;
    }
    reader_close_query(reader, query);
}

void store_box_children(StoreReader *reader, guint32 parent, guint32 after, StoreBoxFunc f,
                        gpointer data)
{
    static const char sql[] = "SELECT " BOX_COLUMNS " FROM box INDEXED BY box_parent"
                              " WHERE parent = ? AND id > ? AND doomed = 0 ORDER BY id";
    Query query;
    if (!reader_open_query(reader, &query, sql))
        return;
    query_int(&query, parent);
    query_int(&query, after);
    each(reader, &query, f, data);
}

void store_box_all(StoreReader *reader, StoreBoxFunc f, gpointer data)
{
    static const char sql[] = "SELECT " BOX_COLUMNS " FROM box WHERE doomed = 0 ORDER BY id";
    Query query;
    if (reader_open_query(reader, &query, sql))
        each(reader, &query, f, data);
}

static gint64 read_time(StoreReader *reader, const char *sql)
{
    Query query;
    if (!reader_open_query(reader, &query, sql))
        return 0;
    gint64 value = query_step(&query) ? query_get_int(&query, 0) : 0;
    return reader_close_query(reader, &query) ? value : 0;
}

gint64 store_boxes_synced(StoreReader *reader)
{
    static const char sql[] = "SELECT boxes_synced_ns FROM account";
    return read_time(reader, sql);
}

gint64 store_top_changed(StoreReader *reader)
{
    static const char sql[] = "SELECT top_changed_ns FROM account";
    return read_time(reader, sql);
}

/* --- writing --- */

bool box_bump(StoreTxn *txn, guint32 box, gint64 now_ns, GError **error)
{
    static const char sql_box[] = "UPDATE box SET changed_ns = max(?, changed_ns + 1) WHERE id = ?";
    static const char sql_top[] =
        "UPDATE account SET top_changed_ns = max(?, top_changed_ns + 1) WHERE id = 1 AND 0 = ?";
    Query query;
    if (!txn_open_query(txn, &query, box != 0 ? sql_box : sql_top, error))
        return false;
    query_int(&query, now_ns);
    query_int(&query, box);
    return txn_run_query(txn, &query, error);
}

bool store_box_touch(StoreTxn *txn, guint32 box, gint64 now_ns, GError **error)
{
    return box_bump(txn, box, now_ns, error);
}

static bool check_uidvalidity(StoreTxn *txn, const StoreBox *box, GError **error)
{
    static const char sql[] = "SELECT uidvalidity FROM box WHERE id = ?";
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_int(&query, box->id);
    bool found = query_step(&query);
    guint32 known = found ? (guint32)query_get_int(&query, 0) : 0;
    if (!txn_close_query(txn, &query, error))
        return false;
    if (!found)
        return txn_refuse(txn, error, IMAPFS_ERROR_NOT_FOUND, "mailbox %u is not known", box->id);
    if (known != 0 && box->uidvalidity != 0 && known != box->uidvalidity)
        return txn_refuse(txn, error, IMAPFS_ERROR_INVALID,
                          "mailbox %u has UIDVALIDITY %u, not %u: it is another one", box->id,
                          known, box->uidvalidity);
    return true;
}

bool store_box_update(StoreTxn *txn, const StoreBox *box, GError **error)
{
    static const char sql[] =
        "UPDATE box SET uidvalidity = iif(uidvalidity = 0, ?, uidvalidity), uidnext = ?,"
        " highestmodseq = ?, n_exists = ?, listed = ?, synced_ns = ?, permanent_flags = ?,"
        " read_only = ?, mailboxid = coalesce(?, mailboxid), rights = coalesce(?, rights)"
        " WHERE id = ?";
    if (!check_uidvalidity(txn, box, error))
        return false;
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_int(&query, box->uidvalidity);
    query_int(&query, box->uidnext);
    query_int(&query, (gint64)box->highestmodseq);
    query_int(&query, box->exists);
    query_int(&query, box->listed);
    query_int(&query, box->synced_ns);
    query_text(&query, box->permanent_flags);
    query_int(&query, box->read_only);
    query_text(&query, box->mailboxid);
    query_text(&query, box->rights);
    query_int(&query, box->id);
    return txn_run_query(txn, &query, error);
}
