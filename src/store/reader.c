/* reader.c - one read-only connection for each thread and store.
 *
 * The rule: a StoreReader's memory belongs to its thread, its connections to whoever ends first,
 * the thread or the store; the list lock decides. */
#include "private.h"

#include "imapfs/base/log.h"

static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER; /* Store.readers of every store */

static void close_connections(StoreReader *reader)
{
    g_clear_pointer(&reader->index, db_close);
    g_clear_pointer(&reader->content, db_close);
    g_clear_error(&reader->failure);
    store_msg_clear(&reader->last);
}

static void free_reader(gpointer data)
{
    StoreReader *reader = data;
    pthread_mutex_lock(&list_lock);
    Store *store = g_atomic_pointer_get(&reader->store);
    if (store != NULL) {
        g_ptr_array_remove_fast(store->readers, reader);
        close_connections(reader);
    }
    pthread_mutex_unlock(&list_lock);
    g_free(reader);
}

static void free_readers(gpointer data)
{
    g_ptr_array_unref(data);
}

static GPrivate thread_readers = G_PRIVATE_INIT(free_readers); /* GPtrArray of StoreReader * */

static void set_keeping(StoreReader *reader)
{
    Store *store = reader->store;
    if (!reader->keeps)
        return;
    if (reader->index != NULL)
        reader->index->commits = &store->index_commits;
    if (reader->content != NULL)
        reader->content->commits = &store->content_commits;
}

static void open_index(StoreReader *reader)
{
    g_clear_error(&reader->failure);
    reader->index = db_open(reader->store->index_path, "index", false, INDEX_CACHE_KIB,
                            &reader->store->index_damaged, &reader->failure);
    if (reader->index == NULL)
        log_error("store", "%s", reader->failure->message);
    set_keeping(reader);
}

static StoreReader *make_reader(Store *store)
{
    StoreReader *reader = g_new0(StoreReader, 1);
    reader->store = store;
    open_index(reader);
    pthread_mutex_lock(&list_lock);
    g_ptr_array_add(store->readers, reader);
    pthread_mutex_unlock(&list_lock);
    return reader;
}

/* Forgets readers of stores that were closed; all of them when nothing is left. */
static void prune(GPtrArray *mine)
{
    for (guint i = mine->len; i-- > 0;)
        if (g_atomic_pointer_get(&((StoreReader *)mine->pdata[i])->store) == NULL)
            g_ptr_array_remove_index_fast(mine, i);
    if (mine->len == 0)
        g_private_replace(&thread_readers, NULL);
}

StoreReader *store_reader(Store *store)
{
    GPtrArray *mine = g_private_get(&thread_readers);
    for (guint i = 0; mine != NULL && i < mine->len; i++) {
        StoreReader *reader = mine->pdata[i];
        if (g_atomic_pointer_get(&reader->store) != store)
            continue;
        if (reader->index == NULL)
            open_index(reader); /* descriptors may be free by now */
        return reader;
    }
    if (mine != NULL)
        prune(mine);
    mine = g_private_get(&thread_readers);
    if (mine == NULL) {
        mine = g_ptr_array_new_with_free_func(free_reader);
        g_private_set(&thread_readers, mine);
    }
    StoreReader *reader = make_reader(store);
    g_ptr_array_add(mine, reader);
    return reader;
}

void readers_close_all(Store *store)
{
    pthread_mutex_lock(&list_lock);
    for (guint i = 0; i < store->readers->len; i++) {
        StoreReader *reader = store->readers->pdata[i];
        close_connections(reader);
        g_atomic_pointer_set(&reader->store, NULL);
    }
    g_ptr_array_set_size(store->readers, 0);
    pthread_mutex_unlock(&list_lock);
    GPtrArray *mine = g_private_get(&thread_readers);
    if (mine != NULL)
        prune(mine);
}

void reader_fail(StoreReader *reader, GError *failure)
{
    /* Who asked cannot tell "not there" from this: so it is said here, and kept for who checks. */
    log_error("store", "%s", failure->message);
    if (reader->failure == NULL)
        reader->failure = failure;
    else
        g_error_free(failure);
}

bool store_reader_check(StoreReader *reader, GError **error)
{
    if (reader->failure == NULL)
        return true;
    g_propagate_error(error, g_steal_pointer(&reader->failure));
    return false;
}

bool reader_open_query(StoreReader *reader, Query *query, const char *sql)
{
    if (reader->index == NULL)
        return false; /* failure was set when it was made */
    keep_open(reader->index);
    query_open(query, reader->index, sql);
    return true;
}

bool reader_open_content_query(StoreReader *reader, Query *query, const char *sql)
{
    if (reader == &reader->store->txn.reader)
        reader = store_reader(reader->store); /* transactions are of the index */
    if (reader->content == NULL) {
        GError *failure = NULL;
        reader->content = db_open(reader->store->content_path, "content", false, CONTENT_CACHE_KIB,
                                  &reader->store->content_damaged, &failure);
        if (reader->content == NULL) {
            reader_fail(reader, failure);
            return false;
        }
        set_keeping(reader);
    }
    keep_open(reader->content);
    query_open(query, reader->content, sql);
    return true;
}

bool reader_close_query(StoreReader *reader, Query *query)
{
    GError *failure = NULL;
    bool ok = query_close(query, &failure);
    keep_close(query->db);
    if (!ok)
        reader_fail(reader, failure);
    return ok;
}

void store_reader_keep(StoreReader *reader)
{
    reader->keeps = true;
    set_keeping(reader);
}

void store_reader_rest(StoreReader *reader, bool stale)
{
    keep_end(reader->index, stale);
    keep_end(reader->content, stale);
}

bool reader_finds(StoreReader *reader, const char *sql, gint64 one, gint64 two)
{
    Query query;
    if (!reader_open_query(reader, &query, sql))
        return false;
    query_int(&query, one);
    query_int(&query, two);
    bool found = query_step(&query);
    return reader_close_query(reader, &query) && found;
}
