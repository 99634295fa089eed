/* txn.c - the one writing transaction of the index.
 *
 * The rule: after one failure inside a transaction nothing more is written and it cannot be
 * committed: SQLite may have rolled back already, and what came next would stand alone. */
#include "private.h"

#include <stdarg.h>
#include "imapfs/base/error.h"
#include "imapfs/base/fault.h"
#include "imapfs/base/log.h"
#include "imapfs/store/spool.h"

static bool begin(Store *store, bool durable, GError **error)
{
    int err = fault_errno("store.begin");
    if (err != 0) {
        db_set_errno("index", "begin", err, error);
        return false;
    }
    return db_set_durable(store->writer, durable, error) &&
           db_exec(store->writer, "BEGIN IMMEDIATE", error);
}

StoreTxn *store_begin(Store *store, bool durable, GError **error)
{
    pthread_mutex_lock(&store->writer_lock);
    if (!begin(store, durable, error)) {
        pthread_mutex_unlock(&store->writer_lock);
        return NULL;
    }
    store->txn.failed = false;
    store->txn.effects = (LogEffects){0};
    store->txn.n_adrift = -1;
    store->txn.moves = false;
    g_array_set_size(store->txn.purge, 0);
    g_array_set_size(store->txn.spooled, 0);
    if (store->txn.names != NULL)
        g_array_set_size(store->txn.names, 0);
    if (store->txn.turned != NULL)
        g_array_set_size(store->txn.turned, 0);
    return &store->txn;
}

void store_rollback(StoreTxn *txn)
{
    Store *store = txn->store;
    if (!sqlite3_get_autocommit(store->writer->handle))
        db_exec(store->writer, "ROLLBACK", NULL);
    g_clear_error(&txn->reader.failure);
    pthread_mutex_unlock(&store->writer_lock);
}

/* Contents go first: should the commit then fail, they are fetched again. The other way round a
 * crash would leave the bytes of messages that are gone, under an id that may be given anew. */
static bool purge_contents(StoreTxn *txn, GError **error)
{
    if (txn->purge->len == 0)
        return true;
    g_autoptr(GError) problem = NULL;
    if (content_purge(txn->store, txn->purge, &problem))
        return true;
    bool reused = false;
    for (guint i = 0; i < txn->purge->len; i++)
        reused = reused || g_array_index(txn->purge, PurgeRange, i).reused;
    if (reused) {
        g_propagate_error(error, g_steal_pointer(&problem));
        return false;
    }
    log_warn("store", "contents of removed messages stay for now: %s", problem->message);
    return true;
}

static bool commit(StoreTxn *txn, GError **error)
{
    if (!txn->failed && !store_reader_check(&txn->reader, error))
        return false; /* what was written rests on something that could not be read */
    if (txn->failed) {
        g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_STORE,
                    "index: a write of this transaction has failed");
        return false;
    }
    if (!entries_note(txn, error) || !purge_contents(txn, error))
        return false;
    int err = fault_errno("store.commit");
    if (err != 0) {
        db_set_errno("index", "commit", err, error);
        return false;
    }
    return db_exec(txn->store->writer, "COMMIT", error);
}

bool store_commit(StoreTxn *txn, GError **error)
{
    Store *store = txn->store;
    if (!commit(txn, error)) {
        store_rollback(txn);
        return false;
    }
    g_atomic_int_inc(&store->index_commits);
    if (txn->moves)
        g_atomic_int_inc(&store->moves);
    if (store->writer->full_sync)
        FAULT("store.committed"); /* it is done, and nobody knows yet */
    checkpointer_committed(store->checkpointer, store->writer);
    for (guint i = 0; i < txn->spooled->len; i++)
        spool_unlink(store, g_array_index(txn->spooled, guint32, i));
    g_clear_error(&txn->reader.failure);
    pthread_mutex_unlock(&store->writer_lock);
    return true;
}

StoreReader *store_txn_reader(StoreTxn *txn)
{
    return &txn->reader;
}

static void name_clear(gpointer data)
{
    g_free(((StoreName *)data)->leaf);
}

static GArray *names_new(void)
{
    GArray *names = g_array_new(FALSE, FALSE, sizeof(StoreName));
    g_array_set_clear_func(names, name_clear);
    return names;
}

GArray *store_txn_take_names(StoreTxn *txn)
{
    GArray *names = g_steal_pointer(&txn->names);
    return names != NULL ? names : names_new();
}

GArray *store_txn_take_turned(StoreTxn *txn)
{
    GArray *turned = g_steal_pointer(&txn->turned);
    return turned != NULL ? turned : g_array_new(FALSE, FALSE, sizeof(guint32));
}

void txn_note_turned(StoreTxn *txn, guint32 box)
{
    if (txn->turned == NULL)
        txn->turned = g_array_new(FALSE, FALSE, sizeof(guint32));
    g_array_append_val(txn->turned, box);
}

guint store_moves(Store *store)
{
    return (guint)g_atomic_int_get(&store->moves);
}

void txn_note_name(StoreTxn *txn, guint32 parent, const char *leaf, guint32 moved)
{
    StoreName name = {parent, g_strdup(leaf), moved};
    txn->moves = txn->moves || moved != 0;
    if (txn->names == NULL)
        txn->names = names_new();
    g_array_append_val(txn->names, name);
}

bool txn_open_query(StoreTxn *txn, Query *query, const char *sql, GError **error)
{
    if (txn->failed) {
        g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_STORE,
                    "index: a write of this transaction has failed");
        return false;
    }
    query_open(query, txn->store->writer, sql);
    return true;
}

bool txn_close_query(StoreTxn *txn, Query *query, GError **error)
{
    if (query_close(query, error))
        return true;
    txn->failed = true;
    return false;
}

bool txn_run_query(StoreTxn *txn, Query *query, GError **error)
{
    while (query_step(query))
        ;
    return txn_close_query(txn, query, error);
}

int txn_changes(StoreTxn *txn)
{
    return sqlite3_changes(txn->store->writer->handle);
}

void txn_purge(StoreTxn *txn, guint32 box, guint32 lo, guint32 hi, bool reused)
{
    PurgeRange range = {.box = box, .lo = lo, .hi = hi, .reused = reused};
    g_array_append_val(txn->purge, range);
}

void txn_pass_on(StoreTxn *txn, guint32 box, guint32 uid, guint32 to_box, guint32 to_uid)
{
    PurgeRange range = {.box = box, .lo = uid, .hi = uid, .to_box = to_box, .to_uid = to_uid};
    g_array_append_val(txn->purge, range);
}

bool txn_refuse(StoreTxn *txn, GError **error, int code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (error != NULL)
        *error = g_error_new_valist(IMAPFS_ERROR, code, format, args);
    va_end(args);
    txn->failed = true;
    return false;
}
