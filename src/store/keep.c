/* keep.c - what a reader sees, kept between its queries.
 *
 * A query alone begins and ends a transaction, which costs as much as the query: four calls for the
 * file's locks, and a look into the log. A thread that answers one short question after the other
 * keeps its transaction instead. The rule: not longer than until the next commit, which all come
 * from this process and are counted. A commit is counted before the call that made it returns, so
 * whoever is told of it sees it. */
#include "private.h"

/* What fails is told by the next query. */
static void run(Db *db, const char *sql)
{
    Query query;
    query_open(&query, db, sql);
    query_run(&query, NULL);
}

void keep_end(Db *db, bool stale)
{
    if (db == NULL || db->commits == NULL || db->open > 0 || sqlite3_get_autocommit(db->handle) ||
        (stale && g_atomic_int_get(db->commits) == db->seen))
        return;
    run(db, "COMMIT");
}

/* Outside of any query. */
static void take(Db *db)
{
    keep_end(db, true);
    if (!sqlite3_get_autocommit(db->handle))
        return;
    db->seen = g_atomic_int_get(db->commits); /* before: a commit in between is looked at twice */
    run(db, "BEGIN");
}

void keep_open(Db *db)
{
    if (db->commits == NULL)
        return;
    if (db->open == 0) /* else within a walk, which goes on with what it saw */
        take(db);
    db->open++;
}

void keep_close(Db *db)
{
    if (db->commits != NULL)
        db->open--;
}

bool keep_is_current(const Db *db, gint seen)
{
    return db != NULL && db->commits != NULL && g_atomic_int_get(db->commits) == seen;
}
