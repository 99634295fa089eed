/* db.c - SQLite connections: how they are opened, and what their errors mean.
 *
 * The rule: no connection is shared between threads, so none has SQLite's mutex. */
#include "db.h"

#include <errno.h>
#include <string.h>
#include "fault_vfs.h"
#include "imapfs/base/error.h"
#include "imapfs/base/log.h"

#define BUSY_MS 5000
#define WAL_KEEP_BYTES (8 * 1024 * 1024)

static void init_library(void)
{
    static gsize once;
    if (!g_once_init_enter(&once))
        return;
    /* The counters would be one lock that every allocation of every thread takes. */
    sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    sqlite3_initialize();
    g_once_init_leave(&once, 1);
}

static bool is_damage(int code)
{
    int primary = code & 0xff;
    return primary == SQLITE_CORRUPT || primary == SQLITE_NOTADB;
}

static bool is_full(sqlite3 *handle, int code)
{
    if ((code & 0xff) == SQLITE_FULL)
        return true;
    if (handle == NULL || ((code & 0xff) != SQLITE_IOERR && (code & 0xff) != SQLITE_CANTOPEN))
        return false;
    int err = sqlite3_system_errno(handle);
    return err == ENOSPC || err == EDQUOT;
}

void db_set_error(Db *db, int code, const char *doing, GError **error)
{
    sqlite3 *handle = db->handle;
    if (is_damage(code) && db->damaged != NULL)
        g_atomic_int_set(db->damaged, 1);
    /* The handle's text is of its last failed call, which may be an older one. */
    const char *text = handle != NULL && (sqlite3_extended_errcode(handle) & 0xff) == (code & 0xff)
                           ? sqlite3_errmsg(handle)
                           : sqlite3_errstr(code);
    int err = handle != NULL ? sqlite3_system_errno(handle) : 0;
    bool of_system = (code & 0xff) == SQLITE_IOERR || (code & 0xff) == SQLITE_CANTOPEN;
    g_set_error(error, IMAPFS_ERROR, is_full(handle, code) ? IMAPFS_ERROR_FULL : IMAPFS_ERROR_STORE,
                "%s: %s: %s%s%s (%d)", db->what, doing, text, of_system && err != 0 ? ": " : "",
                of_system && err != 0 ? g_strerror(err) : "", code);
}

void db_set_errno(const char *what, const char *doing, int err, GError **error)
{
    bool full = err == ENOSPC || err == EDQUOT;
    g_set_error(error, IMAPFS_ERROR, full ? IMAPFS_ERROR_FULL : IMAPFS_ERROR_STORE, "%s: %s: %s",
                what, doing, g_strerror(err));
}

bool db_exec(Db *db, const char *sql, GError **error)
{
    int code = sqlite3_exec(db->handle, sql, NULL, NULL, NULL);
    if (code == SQLITE_OK)
        return true;
    g_autofree char *doing = g_strdup_printf("%.60s", sql);
    db_set_error(db, code, doing, error);
    return false;
}

/* What the statements are is nothing to who cannot mount. */
static bool set_up(Db *db, const char *sql, GError **error)
{
    int code = sqlite3_exec(db->handle, sql, NULL, NULL, NULL);
    if (code != SQLITE_OK)
        db_set_error(db, code, "cannot be opened", error);
    return code == SQLITE_OK;
}

bool db_get_int(Db *db, const char *sql, gint64 *out, GError **error)
{
    Query query;
    query_open(&query, db, sql);
    gint64 value = query_step(&query) ? query_get_int(&query, 0) : 0;
    if (!query_close(&query, error))
        return false;
    *out = value;
    return true;
}

static int on_wal(void *data, sqlite3 *handle, const char *schema, int frames)
{
    Db *db = data;
    db->wal_frames = frames;
    return SQLITE_OK;
}

static bool set_journal_mode(Db *db, GError **error)
{
    Query query;
    query_open(&query, db, "PRAGMA journal_mode = WAL");
    bool wal = query_step(&query) && g_strcmp0(query_get_text(&query, 0), "wal") == 0;
    if (!query_close(&query, error))
        return false;
    if (!wal)
        g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_STORE,
                    "%s: this file system cannot hold a write-ahead log", db->what);
    return wal;
}

static bool configure(Db *db, bool writable, guint cache_kib, GError **error)
{
    sqlite3_extended_result_codes(db->handle, 1);
    sqlite3_busy_timeout(db->handle, BUSY_MS);
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    g_autofree char *pragmas = g_strdup_printf(
        "PRAGMA cache_size = -%u; PRAGMA mmap_size = 0; PRAGMA temp_store = MEMORY", cache_kib);
    if (!set_up(db, pragmas, error))
        return false;
    if (!writable)
        return true;
    /* auto_vacuum has an effect on a file without tables only. */
    if (!set_up(db, "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA secure_delete = FAST", error) ||
        !set_journal_mode(db, error) ||
        !set_up(db, "PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 0", error))
        return false;
    g_autofree char *limit = g_strdup_printf("PRAGMA journal_size_limit = %d", WAL_KEEP_BYTES);
    sqlite3_wal_hook(db->handle, on_wal, db);
    return set_up(db, limit, error);
}

Db *db_open(const char *path, const char *what, bool writable, guint cache_kib, gint *damaged,
            GError **error)
{
    init_library();
    fault_vfs_install();
    g_autoptr(Db) db = g_new0(Db, 1);
    db->what = what;
    db->damaged = damaged;
    db->statements = g_hash_table_new(g_direct_hash, g_direct_equal);
    int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW |
                (writable ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY);
    int code = sqlite3_open_v2(path, &db->handle, flags, NULL);
    if (code != SQLITE_OK) {
        db_set_error(db, code, "open", error);
        return NULL;
    }
    if (!configure(db, writable, cache_kib, error))
        return NULL;
    return g_steal_pointer(&db);
}

void db_close(Db *db)
{
    if (db == NULL)
        return;
    GHashTableIter iter;
    gpointer stmt;
    g_hash_table_iter_init(&iter, db->statements);
    while (g_hash_table_iter_next(&iter, NULL, &stmt))
        sqlite3_finalize(stmt);
    g_hash_table_unref(db->statements);
    int code = sqlite3_close(db->handle);
    if (code != SQLITE_OK)
        log_error("store", "%s: close: %s", db->what, sqlite3_errstr(code));
    g_free(db);
}

bool db_set_durable(Db *db, bool durable, GError **error)
{
    if (db->full_sync == durable)
        return true;
    if (!db_exec(db, durable ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL", error))
        return false;
    db->full_sync = durable;
    return true;
}

bool db_quick_check(Db *db, GError **error)
{
    Query query;
    query_open(&query, db, "PRAGMA quick_check(1)");
    g_autofree char *answer = query_step(&query) ? g_strdup(query_get_text(&query, 0)) : NULL;
    if (!query_close(&query, error))
        return false;
    if (g_strcmp0(answer, "ok") == 0)
        return true;
    db_set_error(db, SQLITE_CORRUPT, answer != NULL ? answer : "check", error);
    return false;
}
