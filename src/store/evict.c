/* evict.c - keeps the cache under its size: the least recently used goes first.
 *
 * The rule: never one that is open, nor one that was just written for somebody who has not opened
 * it yet. So the cache may be over its size for a while. */
#include "content_private.h"

#include "imapfs/base/clock.h"
#include "imapfs/base/log.h"

#define EVICT_ROWS 32 /* in one transaction */
#define SHRINK_PAGES 128
#define SHRINK_MIN_PAGES 2048 /* less than this free space in the file is not worth the work */

typedef struct {
    gint64 used;
    guint64 id;
    guint64 size;
    ContentPlace place;
} Candidate;

/* The next rows after `last`, oldest use first. */
static bool next_candidates(Store *store, const Candidate *last, GArray *out, GError **error)
{
    static const char sql[] = "SELECT used, id, size, place FROM content INDEXED BY content_used"
                              " WHERE (used, id) > (?, ?) ORDER BY used, id LIMIT ?";
    Query query;
    query_open(&query, store->content.db, sql);
    query_int(&query, last->used);
    query_int(&query, (gint64)last->id);
    query_int(&query, EVICT_ROWS);
    while (query_step(&query)) {
        Candidate row = {query_get_int(&query, 0), (guint64)query_get_int(&query, 1),
                         (guint64)query_get_int(&query, 2), (ContentPlace)query_get_int(&query, 3)};
        g_array_append_val(out, row);
    }
    return query_close(&query, error);
}

static bool evict_rows(ContentTxn *txn, Candidate *last, bool *end_out, GError **error)
{
    Store *store = txn->store;
    g_autoptr(GArray) rows = g_array_new(FALSE, FALSE, sizeof(Candidate));
    if (!next_candidates(store, last, rows, error))
        return false;
    for (guint i = 0; i < rows->len; i++) {
        const Candidate *row = &g_array_index(rows, Candidate, i);
        *last = *row;
        if ((gint64)store->content.bytes + txn->bytes <= (gint64)store->cache_size)
            break;
        if (!content_uses_is_held(store, row->id) &&
            !content_txn_remove(txn, row->id, row->size, row->place, error))
            return false;
    }
    *end_out = rows->len < EVICT_ROWS;
    return true;
}

/* One transaction's worth. False when there is nothing more that could go. */
static bool evict_some(Store *store, Candidate *last, GError **error)
{
    bool end = true;
    ContentTxn txn;
    if (!content_txn_begin(&txn, store, error))
        return false;
    /* Times of use that are not in the rows yet decide who goes. */
    if (!content_uses_write(store, error) || !evict_rows(&txn, last, &end, error)) {
        content_txn_rollback(&txn);
        return false;
    }
    return content_txn_commit(&txn, error) && !end;
}

/* Gives back a piece of the file's free space, when that is more than a quarter. True when there is
 * more to give. */
static bool shrink(Store *store)
{
    g_autoptr(GError) error = NULL;
    ContentStore *self = &store->content;
    gint64 unused = 0, pages = 0;
    ContentTxn txn;
    pthread_mutex_lock(&self->lock);
    bool ok = db_get_int(self->db, "PRAGMA freelist_count", &unused, &error) &&
              db_get_int(self->db, "PRAGMA page_count", &pages, &error);
    pthread_mutex_unlock(&self->lock);
    if (!ok || unused < SHRINK_MIN_PAGES || unused < pages / 4 ||
        !content_txn_begin(&txn, store, &error))
        return false;
    g_autofree char *sql = g_strdup_printf("PRAGMA incremental_vacuum(%d)", SHRINK_PAGES);
    if (db_exec(self->db, sql, &error))
        return content_txn_commit(&txn, &error);
    content_txn_rollback(&txn);
    return false;
}

static bool is_over(Store *store)
{
    guint64 bytes;
    content_stats(store, &bytes, NULL);
    return bytes > store->cache_size;
}

bool content_evict(Store *store, gint64 budget_us)
{
    gint64 until = clock_mono_us() + budget_us;
    Candidate last = {.used = G_MININT64};
    while (is_over(store)) {
        g_autoptr(GError) error = NULL;
        bool more = evict_some(store, &last, &error);
        if (error != NULL) {
            log_warn("store", "the cache cannot be made smaller: %s", error->message);
            return false;
        }
        if (!more)
            break; /* the rest is held */
        if (clock_mono_us() >= until)
            return true; /* perhaps only space to give back */
    }
    while (shrink(store))
        if (clock_mono_us() >= until)
            return true;
    return false;
}

void content_stats(Store *store, guint64 *bytes_out, guint64 *count_out)
{
    ContentStore *self = &store->content;
    pthread_mutex_lock(&self->lock);
    if (bytes_out != NULL)
        *bytes_out = self->bytes;
    if (count_out != NULL)
        *count_out = self->count;
    pthread_mutex_unlock(&self->lock);
}
