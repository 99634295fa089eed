/* structures.c - what is known of a message's parts: its structure, and exact sizes.
 *
 * The rule: only of messages that have a row, so that nothing stays behind when one goes. */
#include "private.h"

#include "imapfs/base/log.h"

char *store_structure_get(StoreReader *reader, guint32 box, guint32 uid)
{
    static const char sql[] = "SELECT text FROM structure WHERE box = ? AND uid = ?";
    Query query;
    store_origin(reader, box, uid, &box, &uid);
    if (!reader_open_query(reader, &query, sql))
        return NULL;
    query_int(&query, box);
    query_int(&query, uid);
    g_autofree char *text = query_step(&query) ? g_strdup(query_get_text(&query, 0)) : NULL;
    return reader_close_query(reader, &query) ? g_steal_pointer(&text) : NULL;
}

StoreSize store_size_find(StoreReader *reader, guint32 box, guint32 uid, ContentKind kind,
                          const char *section)
{
    static const char sql[] =
        "SELECT size, proven FROM size WHERE box = ? AND uid = ? AND kind = ? AND section = ?";
    const StoreSize unknown = {-1, false};
    StoreSize size = unknown;
    Query query;
    store_origin(reader, box, uid, &box, &uid);
    if (!reader_open_query(reader, &query, sql))
        return unknown;
    query_int(&query, box);
    query_int(&query, uid);
    query_int(&query, kind);
    query_text(&query, section);
    if (query_step(&query))
        size = (StoreSize){query_get_int(&query, 0), query_get_int(&query, 1) != 0};
    return reader_close_query(reader, &query) ? size : unknown;
}

gint64 store_size_get(StoreReader *reader, guint32 box, guint32 uid, ContentKind kind,
                      const char *section)
{
    return store_size_find(reader, box, uid, kind, section).bytes;
}

static bool mark_message(StoreTxn *txn, guint32 box, guint32 uid, bool *known_out, GError **error)
{
    static const char sql[] = "UPDATE msg SET has_structure = 1 WHERE box = ? AND uid = ?";
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_int(&query, box);
    query_int(&query, uid);
    if (!txn_run_query(txn, &query, error))
        return false;
    *known_out = txn_changes(txn) > 0;
    return true;
}

bool store_structure_put(StoreTxn *txn, guint32 box, guint32 uid, const char *text, GError **error)
{
    static const char sql[] = "INSERT OR REPLACE INTO structure(box, uid, text) VALUES(?, ?, ?)";
    bool known;
    store_origin(&txn->reader, box, uid, &box, &uid);
    if (!mark_message(txn, box, uid, &known, error))
        return false;
    if (!known) /* removed while the answer was on its way */
        return true;
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_int(&query, box);
    query_int(&query, uid);
    query_text(&query, text);
    return txn_run_query(txn, &query, error);
}

static bool put_size(StoreTxn *txn, guint32 box, guint32 uid, ContentKind kind, const char *section,
                     const StoreSize *size, GError **error)
{
    static const char sql[] =
        "INSERT INTO size(box, uid, kind, section, size, proven) SELECT ?1, ?2, ?3, ?4, ?5, ?6"
        " WHERE EXISTS (SELECT 1 FROM msg INDEXED BY msg_uid WHERE box = ?1 AND uid = ?2)"
        " ON CONFLICT DO UPDATE SET size = excluded.size, proven = excluded.proven";
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_int(&query, box);
    query_int(&query, uid);
    query_int(&query, kind);
    query_text(&query, section);
    query_int(&query, size->bytes);
    query_int(&query, size->proven);
    return txn_run_query(txn, &query, error);
}

bool store_size_put(StoreTxn *txn, guint32 box, guint32 uid, ContentKind kind, const char *section,
                    guint64 size, GError **error)
{
    const StoreSize put = {(gint64)size, true};
    store_origin(&txn->reader, box, uid, &box, &uid);
    StoreSize known = store_size_find(&txn->reader, box, uid, kind, section);
    if (known.proven && known.bytes == put.bytes)
        return true;
    if (known.bytes >= 0 && known.bytes != put.bytes)
        log_debug("store",
                  "immutable-violation: %u/%u[%s]: %" G_GINT64_FORMAT
                  " bytes, now %" G_GUINT64_FORMAT,
                  box, uid, section, known.bytes, size);
    return put_size(txn, box, uid, kind, section, &put, error);
}

bool store_size_put_computed(StoreTxn *txn, guint32 box, guint32 uid, ContentKind kind,
                             const char *section, guint64 size, GError **error)
{
    const StoreSize put = {(gint64)size, false};
    store_origin(&txn->reader, box, uid, &box, &uid);
    return store_size_find(&txn->reader, box, uid, kind, section).bytes >= 0 ||
           put_size(txn, box, uid, kind, section, &put, error);
}
