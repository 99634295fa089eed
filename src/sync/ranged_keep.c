/* ranged_keep.c - makes an ordinary content of a ranged one that is whole, in idle slices.
 *
 * If that fails, it stays what it is: readable while it is open. */
#include "ranged.h"

#include "imapfs/base/log.h"

#define SLICE (256u * 1024)

bool ranged_put_size(Ranged *ranged, guint64 size, bool computed, GError **error)
{
    const ContentKey *key = &ranged->key;
    StoreTxn *txn = store_begin(ranged->engine->store, false, error);
    if (!txn)
        return false;
    bool ok =
        computed
            ? store_size_put_computed(txn, key->box, key->uid, key->kind, key->section, size, error)
            : store_size_put(txn, key->box, key->uid, key->kind, key->section, size, error);
    if (ok)
        return store_commit(txn, error);
    store_rollback(txn);
    return false;
}

/* False: an error, or it is done. */
static bool keep_slice(Ranged *self, GError **error)
{
    g_autofree guint8 *buffer = g_malloc(SLICE);
    gsize n = (gsize)MIN(SLICE, self->size - self->committed);
    if (!ranged_read_at(self, buffer, n, self->committed, error) ||
        !content_write(self->writer, buffer, n, error))
        return false;
    self->committed += n;
    if (self->committed < self->size)
        return true;
    content_commit(g_steal_pointer(&self->writer), error);
    return false;
}

static void keep_failed(Ranged *self, const GError *error)
{
    self->commit_failed = true;
    log_warn("sync", "message %u: not kept in the cache: %s", self->key.uid, error->message);
}

static gboolean on_idle(gpointer data)
{
    Ranged *self = data;
    g_autoptr(GError) error = NULL;
    if (keep_slice(self, &error))
        return G_SOURCE_CONTINUE;
    g_clear_pointer(&self->writer, content_abort);
    g_clear_pointer(&self->commit, g_source_unref);
    if (error)
        keep_failed(self, error);
    else
        ranged_drop(self, false);
    return G_SOURCE_REMOVE;
}

void ranged_keep_start(Ranged *ranged)
{
    g_autoptr(GError) error = NULL;
    if (ranged->commit || ranged->commit_failed || ranged->dropped)
        return;
    ranged->writer = content_begin(ranged->engine->store, &ranged->key, ranged->size, &error);
    if (!ranged->writer) {
        keep_failed(ranged, error);
        return;
    }
    ranged->committed = 0;
    ranged->commit = engine_timer(ranged->engine, 0, on_idle, ranged);
}

void ranged_keep_stop(Ranged *ranged)
{
    engine_timer_clear(&ranged->commit);
    g_clear_pointer(&ranged->writer, content_abort);
}
