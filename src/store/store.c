/* store.c - opening and closing: directories, locks, what to do with a damaged file.
 *
 * The rule: nothing is touched before both locks are held, and nothing is thrown away but the cache
 * (a damaged index is moved aside). */
#include "private.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>
#include "imapfs/base/clock.h"
#include "imapfs/base/error.h"
#include "imapfs/base/log.h"
#include "schema.h"

static const char *const db_suffixes[] = {"", "-wal", "-shm"};

void store_date_text(char date[STORE_DATE_TEXT])
{
    time_t now = (time_t)(clock_real_ns() / 1000000000);
    struct tm tm;
    gmtime_r(&now, &tm);
    strftime(date, STORE_DATE_TEXT, "%Y%m%dT%H%M%SZ", &tm);
}

static bool move_aside(Store *store, GError **error)
{
    char date[STORE_DATE_TEXT];
    store_date_text(date);
    for (gsize i = 0; i < G_N_ELEMENTS(db_suffixes); i++) {
        g_autofree char *from = g_strconcat("index.db", db_suffixes[i], NULL);
        g_autofree char *to = g_strconcat("index.db.damaged-", date, db_suffixes[i], NULL);
        if (renameat(store->state.fd, from, store->state.fd, to) != 0 && errno != ENOENT) {
            db_set_errno("index", "the damaged file cannot be moved aside", errno, error);
            return false;
        }
    }
    log_error("store", "the index was damaged: moved to %s/index.db.damaged-%s, starting anew",
              store->state.path, date);
    return true;
}

static bool read_account(Db *db, char **name_out, char **generation_out, GError **error)
{
    Query query;
    query_open(&query, db, "SELECT name, generation FROM account");
    if (query_step(&query)) {
        *name_out = g_strdup(query_get_text(&query, 0));
        *generation_out = g_strdup(query_get_text(&query, 1));
    }
    return query_close(&query, error);
}

/* A new index gets a generation of its own: the content of another is not for it. Nor are letters
 * in the spool, which go first: from then on it is no new one. */
static bool add_account(Store *store, Db *db, const char *account, const char *generation,
                        GError **error)
{
    if (!spool_set_aside(store, error))
        return false;
    Query query;
    query_open(&query, db, "INSERT INTO account(id, name, generation) VALUES(1, ?, ?)");
    query_text(&query, account);
    query_text(&query, generation);
    return query_run(&query, error);
}

static bool check_account(Store *store, Db *db, const char *account, char **generation_out,
                          GError **error)
{
    g_autofree char *name = NULL;
    g_autofree char *generation = NULL;
    if (!read_account(db, &name, &generation, error))
        return false;
    if (generation == NULL) {
        generation = g_uuid_string_random();
        if (!add_account(store, db, account, generation, error))
            return false;
    } else if (g_strcmp0(name, account) != 0) {
        g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_CONFIG,
                    "the index is of the account %s, not of %s", name, account);
        return false;
    }
    *generation_out = g_steal_pointer(&generation);
    return true;
}

static bool open_index_once(Store *store, const char *account, bool check, char **generation_out,
                            bool *unknown_out, GError **error)
{
    if (!dir_prepare_file(&store->state, "index.db", error))
        return false;
    g_autoptr(Db) db =
        db_open(store->index_path, "index", true, INDEX_CACHE_KIB, &store->index_damaged, error);
    if (db == NULL || (check && !db_quick_check(db, error)) ||
        !schema_migrate(db, &schema_index, unknown_out, error) ||
        !check_account(store, db, account, generation_out, error))
        return false;
    store->writer = g_steal_pointer(&db);
    return true;
}

static bool open_index(Store *store, const char *account, bool check, char **generation_out,
                       GError **error)
{
    bool unknown = false;
    g_autoptr(GError) problem = NULL;
    if (open_index_once(store, account, check, generation_out, &unknown, &problem))
        return true;
    if (unknown || !g_atomic_int_get(&store->index_damaged)) {
        g_propagate_prefixed_error(error, g_steal_pointer(&problem), "%s: ", store->state.path);
        return false;
    }
    log_error("store", "%s", problem->message);
    if (!move_aside(store, error))
        return false;
    g_atomic_int_set(&store->index_damaged, 0);
    return open_index_once(store, account, false, generation_out, &unknown, error);
}

static Store *store_new(guint64 cache_size)
{
    Store *store = g_new0(Store, 1);
    store->cache_size = cache_size;
    store->next_number = 1;
    store->state = store->cache = store->files = store->spool = DIR_CLOSED;
    store->state_lock = store->cache_lock = -1;
    store->readers = g_ptr_array_new();
    store->checkpointer = checkpointer_new();
    pthread_mutex_init(&store->writer_lock, NULL);
    store->txn.store = store;
    store->txn.purge = g_array_new(FALSE, FALSE, sizeof(PurgeRange));
    store->txn.spooled = g_array_new(FALSE, FALSE, sizeof(guint32));
    return store;
}

Store *store_open(const StoreConfig *config, GError **error)
{
    g_autoptr(Store) store = store_new(config->cache_size);
    g_autofree char *generation = NULL;
    if (!dir_open(config->state_dir, &store->state, error) ||
        !dir_open(config->cache_dir, &store->cache, error) ||
        (store->state_lock = dir_lock(&store->state, "lock", &store->state_before, error)) < 0 ||
        (store->cache_lock = dir_lock(&store->cache, "cache.lock", &store->cache_before, error)) <
            0 ||
        !dir_open_child(&store->cache, "content", &store->files, error))
        return NULL;
    store->index_path = dir_file_path(&store->state, "index.db");
    store->content_path = dir_file_path(&store->cache, "content.db");
    if (!open_index(store, config->account, store->state_before >= LOCK_DOUBTFUL, &generation,
                    error))
        return NULL;
    store->txn.reader.store = store;
    store->txn.reader.index = store->writer;
    if (!spool_store_open(store, error) || !numbers_open(store, error) ||
        !entries_open(store, error) ||
        !content_store_open(store, generation, store->cache_before, error) ||
        !checkpointer_add(store->checkpointer, store->index_path, store->writer, error) ||
        !checkpointer_add(store->checkpointer, store->content_path, store->content.db, error))
        return NULL;
    store->opened = true;
    return g_steal_pointer(&store);
}

/* What was not opened is as it was before. */
static LockState left(const Store *store, LockState before, gint damaged)
{
    if (damaged)
        return LOCK_DAMAGED;
    return store->opened ? LOCK_CLEAN : before;
}

void store_close(Store *store)
{
    if (store == NULL)
        return;
    if (store->opened)
        content_store_flush(store);
    checkpointer_free(store->checkpointer);
    readers_close_all(store);
    content_store_close(store);
    g_clear_error(&store->txn.reader.failure);
    entries_close(store);
    db_close(store->writer);
    g_array_unref(store->txn.purge);
    g_array_unref(store->txn.spooled);
    g_clear_pointer(&store->txn.names, g_array_unref);
    g_clear_pointer(&store->txn.turned, g_array_unref);
    dir_unlock(store->cache_lock, left(store, store->cache_before, store->content_damaged));
    dir_unlock(store->state_lock, left(store, store->state_before, store->index_damaged));
    dir_close(&store->spool);
    dir_close(&store->files);
    dir_close(&store->cache);
    dir_close(&store->state);
    pthread_mutex_destroy(&store->writer_lock);
    g_ptr_array_unref(store->readers);
    g_free(store->index_path);
    g_free(store->content_path);
    g_free(store);
}

bool store_disk(Store *store, struct statvfs *out)
{
    return fstatvfs(store->state.fd, out) == 0;
}
