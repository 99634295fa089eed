/* query.c - one running statement.
 *
 * The rule: a failure is remembered in the Query and told once, by query_close; what comes after it
 * does nothing. A statement that is being stepped through by a caller up the stack (a callback that
 * asks again) is not disturbed: a second one is made for the time. */
#include "db.h"

static sqlite3_stmt *prepare(Query *query, const char *sql, unsigned flags)
{
    sqlite3_stmt *stmt = NULL;
    query->code = sqlite3_prepare_v3(query->db->handle, sql, -1, flags, &stmt, NULL);
    return stmt;
}

void query_open(Query *query, Db *db, const char *sql)
{
    *query = (Query){.db = db};
    query->stmt = g_hash_table_lookup(db->statements, sql);
    if (query->stmt != NULL && sqlite3_stmt_busy(query->stmt)) {
        query->own = true;
        query->stmt = prepare(query, sql, 0);
    } else if (query->stmt == NULL) {
        query->stmt = prepare(query, sql, SQLITE_PREPARE_PERSISTENT);
        if (query->stmt != NULL)
            g_hash_table_insert(db->statements, (gpointer)sql, query->stmt);
    }
}

static void note(Query *query, int code)
{
    if (query->code == SQLITE_OK)
        query->code = code;
}

void query_int(Query *query, gint64 value)
{
    if (query->code == SQLITE_OK)
        note(query, sqlite3_bind_int64(query->stmt, ++query->bound, value));
}

void query_text(Query *query, const char *text)
{
    if (query->code == SQLITE_OK)
        note(query, sqlite3_bind_text(query->stmt, ++query->bound, text, -1, SQLITE_STATIC));
}

void query_blob(Query *query, const void *bytes, gsize length)
{
    if (query->code == SQLITE_OK)
        /* A NULL pointer would bind NULL rather than no bytes. */
        note(query, sqlite3_bind_blob64(query->stmt, ++query->bound, length > 0 ? bytes : "",
                                        length, SQLITE_STATIC));
}

bool query_step(Query *query)
{
    if (query->code != SQLITE_OK)
        return false;
    int code = sqlite3_step(query->stmt);
    if (code != SQLITE_ROW && code != SQLITE_DONE)
        note(query, code);
    return code == SQLITE_ROW;
}

bool query_close(Query *query, GError **error)
{
    bool ok = query->code == SQLITE_OK;
    if (!ok) {
        g_autofree char *sql = query->stmt != NULL
                                   ? g_strdup_printf("%.60s", sqlite3_sql(query->stmt))
                                   : g_strdup("prepare");
        db_set_error(query->db, query->code, sql, error);
    }
    if (query->own) {
        sqlite3_finalize(query->stmt);
    } else if (query->stmt != NULL) {
        sqlite3_reset(query->stmt);
        sqlite3_clear_bindings(query->stmt);
    }
    query->stmt = NULL;
    return ok;
}

bool query_run(Query *query, GError **error)
{
    while (query_step(query))
        ;
    return query_close(query, error);
}
