/* meta.c - small facts of the account, by name. */
#include "private.h"

char *store_meta_get(StoreReader *reader, const char *key)
{
    static const char sql[] = "SELECT value FROM meta WHERE key = ?";
    Query query;
    if (!reader_open_query(reader, &query, sql))
        return NULL;
    query_text(&query, key);
    g_autofree char *value = query_step(&query) ? g_strdup(query_get_text(&query, 0)) : NULL;
    return reader_close_query(reader, &query) ? g_steal_pointer(&value) : NULL;
}

bool store_meta_put(StoreTxn *txn, const char *key, const char *value, GError **error)
{
    static const char sql_put[] = "INSERT OR REPLACE INTO meta(value, key) VALUES(?, ?)";
    static const char sql_drop[] = "DELETE FROM meta WHERE key = ?";
    Query query;
    if (!txn_open_query(txn, &query, value != NULL ? sql_put : sql_drop, error))
        return false;
    if (value != NULL)
        query_text(&query, value);
    query_text(&query, key);
    return txn_run_query(txn, &query, error);
}
