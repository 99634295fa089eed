/* db.h - one SQLite connection with its prepared statements, and one running statement.
 *
 * Private to the store. A Db belongs to one thread at a time. A Query is a value on the stack:
 * open, bind in order, step, close; whatever fails is remembered and told by query_close. */
#pragma once
#include <glib.h>
#include <sqlite3.h>
#include <stdbool.h>

typedef struct {
    sqlite3 *handle;
    GHashTable *statements; /* SQL text (by address, a literal) -> sqlite3_stmt * */
    const char *what;       /* "index", "content": for error texts */
    gint *damaged;          /* set when SQLite says that the file is; or NULL */
    int wal_frames;         /* frames in the log (WAL) after the last commit */
    bool full_sync;
    const gint *commits; /* atomic, counts what is committed to the file; set: what it sees is kept
                            between queries (keep.c) */
    gint seen;           /* commits when what is kept was taken */
    guint open;          /* queries that are open, while it is kept */
} Db;

/* The file is there already (dir_prepare_file). cache_kib bounds the page cache. */
Db *db_open(const char *path, const char *what, bool writable, guint cache_kib, gint *damaged,
            GError **error);
void db_close(Db *db); /* NULL is fine */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Db, db_close)

/* Turns a result code into an error: FULL or STORE, with what was attempted in words. */
void db_set_error(Db *db, int code, const char *doing, GError **error);
/* The same for an errno. */
void db_set_errno(const char *what, const char *doing, int err, GError **error);
bool db_exec(Db *db, const char *sql, GError **error); /* one or more statements, no results */
bool db_get_int(Db *db, const char *sql, gint64 *out, GError **error);

/* Makes the next commits survive power loss (FULL), or only keep the file consistent (NORMAL).
 * Outside of a transaction. */
bool db_set_durable(Db *db, bool durable, GError **error);
bool db_quick_check(Db *db, GError **error);

typedef struct {
    Db *db;
    sqlite3_stmt *stmt;
    int bound;
    int code; /* first failure, or SQLITE_OK */
    bool own; /* made for this use, as the cached one is being stepped through */
} Query;

/* sql: a literal or static; its address is the key of the cache. */
void query_open(Query *query, Db *db, const char *sql);
void query_int(Query *query, gint64 value);
void query_text(Query *query, const char *text); /* NULL is NULL; borrowed until query_close */
void query_blob(Query *query, const void *bytes, gsize length);
bool query_step(Query *query); /* true: there is a row */
/* false, with error, when anything went wrong since query_open. */
bool query_close(Query *query, GError **error);
bool query_run(Query *query, GError **error); /* steps to the end, closes */

static inline gint64 query_get_int(Query *query, int column)
{
    return sqlite3_column_int64(query->stmt, column);
}
/* Borrowed until the next step; NULL for NULL. */
static inline char *query_get_text(Query *query, int column)
{
    return (char *)sqlite3_column_text(query->stmt, column);
}
