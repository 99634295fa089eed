/* content_use.c - which contents are open, and when each was used last.
 *
 * The rule: a read writes nothing to disk; times of use go along with the next transaction that
 * is made for another reason, or with eviction. */
#include "content_private.h"

#include "imapfs/base/clock.h"

/* A time in the row that is this young is good enough for choosing whom to evict. */
#define USE_RESOLUTION_MS (60 * 1000)
#define USES_MAX 65536
/* Who waits for a content opens it within this; until then it is not evicted, however small the
 * cache is. */
#define FRESH_US (10 * 1000 * 1000)

static guint64 *key_new(guint64 id)
{
    guint64 *key = g_new(guint64, 1);
    *key = id;
    return key;
}

static gint64 *time_new(gint64 time)
{
    gint64 *out = g_new(gint64, 1);
    *out = time;
    return out;
}

/* Within the lock. */
static void note_open(ContentStore *self, guint64 id, gint64 *used_ms)
{
    gint64 now = clock_real_ns() / 1000000;
    guint n = GPOINTER_TO_UINT(g_hash_table_lookup(self->open, &id));
    g_hash_table_replace(self->open, key_new(id), GUINT_TO_POINTER(n + 1));
    if (ABS(now - *used_ms) < USE_RESOLUTION_MS || g_hash_table_size(self->touched) >= USES_MAX)
        return;
    g_hash_table_replace(self->touched, key_new(id), time_new(now));
    *used_ms = now;
}

bool content_uses_opened(Store *store, guint64 id, gint64 *used_ms)
{
    ContentStore *self = &store->content;
    pthread_mutex_lock(&self->use_lock);
    note_open(self, id, used_ms);
    bool first = g_hash_table_remove(self->fresh, &id);
    pthread_mutex_unlock(&self->use_lock);
    return first;
}

bool content_uses_reopened(Store *store, Content *unread, guint64 id, gint64 *used_ms,
                           guint64 removals)
{
    ContentStore *self = &store->content;
    pthread_mutex_lock(&self->use_lock);
    bool valid = self->removals == removals && !self->removing;
    if (valid) {
        note_open(self, id, used_ms);
        g_hash_table_add(self->unread, unread);
    }
    pthread_mutex_unlock(&self->use_lock);
    return valid;
}

guint64 content_removals(Store *store)
{
    pthread_mutex_lock(&store->content.use_lock);
    guint64 removals = store->content.removals;
    pthread_mutex_unlock(&store->content.use_lock);
    return removals;
}

static gboolean is_read_now(gpointer content, gpointer value, gpointer id)
{
    return content_read_before_removal(content, *(guint64 *)id);
}

void content_uses_removing(Store *store, guint64 id)
{
    ContentStore *self = &store->content;
    pthread_mutex_lock(&self->use_lock);
    self->removing = true; /* no ticket opens any more, so these are all there are */
    g_hash_table_foreach_remove(self->unread, is_read_now, &id);
    pthread_mutex_unlock(&self->use_lock);
}

void content_uses_removed(Store *store)
{
    ContentStore *self = &store->content;
    pthread_mutex_lock(&self->use_lock);
    self->removing = false;
    self->removals++; /* also for who saw the row before the transaction's end */
    pthread_mutex_unlock(&self->use_lock);
}

void content_uses_closed(Store *store, Content *content, guint64 id)
{
    ContentStore *self = &store->content;
    pthread_mutex_lock(&self->use_lock);
    g_hash_table_remove(self->unread, content);
    guint n = GPOINTER_TO_UINT(g_hash_table_lookup(self->open, &id));
    if (n > 1)
        g_hash_table_replace(self->open, key_new(id), GUINT_TO_POINTER(n - 1));
    else
        g_hash_table_remove(self->open, &id);
    pthread_mutex_unlock(&self->use_lock);
}

static gboolean is_past(gpointer key, gpointer value, gpointer now)
{
    return *(gint64 *)value <= *(gint64 *)now;
}

void content_uses_committed(Store *store, guint64 id)
{
    ContentStore *self = &store->content;
    gint64 now = clock_mono_us();
    pthread_mutex_lock(&self->use_lock);
    if (g_hash_table_size(self->fresh) >= self->fresh_prune_at) {
        g_hash_table_foreach_remove(self->fresh, is_past, &now);
        self->fresh_prune_at = 2 * g_hash_table_size(self->fresh) + 1024;
    }
    self->fresh_until = now + FRESH_US;
    g_hash_table_replace(self->fresh, key_new(id), time_new(now + FRESH_US));
    pthread_mutex_unlock(&self->use_lock);
}

bool content_any_unused(Store *store)
{
    ContentStore *self = &store->content;
    pthread_mutex_lock(&self->use_lock);
    bool any = g_hash_table_size(self->fresh) > 0 && clock_mono_us() < self->fresh_until;
    pthread_mutex_unlock(&self->use_lock);
    return any;
}

void content_uses_mark_bad(Store *store, guint64 id)
{
    pthread_mutex_lock(&store->content.use_lock);
    g_hash_table_add(store->content.bad, key_new(id));
    store->content.removals++;
    pthread_mutex_unlock(&store->content.use_lock);
}

bool content_uses_is_bad(Store *store, guint64 id)
{
    pthread_mutex_lock(&store->content.use_lock);
    bool bad = g_hash_table_contains(store->content.bad, &id);
    pthread_mutex_unlock(&store->content.use_lock);
    return bad;
}

bool content_uses_is_held(Store *store, guint64 id)
{
    ContentStore *self = &store->content;
    pthread_mutex_lock(&self->use_lock);
    gint64 *until = g_hash_table_lookup(self->fresh, &id);
    bool held = g_hash_table_contains(self->open, &id);
    if (until != NULL && clock_mono_us() < *until)
        held = true;
    else if (until != NULL)
        g_hash_table_remove(self->fresh, &id);
    pthread_mutex_unlock(&self->use_lock);
    return held;
}

guint content_uses_pending(Store *store)
{
    pthread_mutex_lock(&store->content.use_lock);
    guint n = g_hash_table_size(store->content.touched);
    pthread_mutex_unlock(&store->content.use_lock);
    return n;
}

bool content_uses_write(Store *store, GError **error)
{
    static const char sql[] = "UPDATE content SET used = ? WHERE id = ?";
    ContentStore *self = &store->content;
    pthread_mutex_lock(&self->use_lock);
    /* Should the transaction fail, the times are lost: rows then look less used than they are. */
    g_autoptr(GHashTable) touched = self->touched;
    self->touched = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, g_free);
    pthread_mutex_unlock(&self->use_lock);
    GHashTableIter iter;
    gpointer id, used;
    g_hash_table_iter_init(&iter, touched);
    while (g_hash_table_iter_next(&iter, &id, &used)) {
        Query query;
        query_open(&query, self->db, sql);
        query_int(&query, *(gint64 *)used);
        query_int(&query, *(gint64 *)id);
        if (!query_run(&query, error))
            return false;
    }
    return true;
}
