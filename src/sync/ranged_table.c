/* ranged_table.c - the ranged contents that there are: found by name, kept a while, dropped.
 *
 * The rule: they are opened under the table's lock, so that one that nobody has open can be dropped
 * under it. The table and whoever has one open hold a reference. */
#include "ranged.h"

#include "imapfs/base/clock.h"
#include "imapfs/base/error.h"
#include "imapfs/base/log.h"

#define KEPT_MAX 8 /* with gaps, and open nowhere */

char *ranged_name(const ContentKey *key)
{
    return g_strdup_printf("%u:%u:%d:%s", key->box, key->uid, (int)key->kind, key->section);
}

Ranged *ranged_find(Engine *engine, const char *name)
{
    pthread_mutex_lock(&engine->shared.lock);
    Ranged *found = g_hash_table_lookup(engine->shared.ranged, name);
    pthread_mutex_unlock(&engine->shared.lock);
    return found;
}

gint64 ranged_encoded_size(Engine *engine, const Need *need)
{
    ContentKey key = need_content_key(need);
    g_autofree char *name = ranged_name(&key);
    const Ranged *ranged = ranged_find(engine, name);
    return ranged ? (gint64)ranged->encoded : -1;
}

/* What is streamed has no size to be opened with before its end. */
Ranged *engine_ranged(Engine *engine, const ContentKey *key)
{
    g_autofree char *name = ranged_name(key);
    pthread_mutex_lock(&engine->shared.lock);
    Ranged *found = g_hash_table_lookup(engine->shared.ranged, name);
    bool first = false;
    if (found) {
        pthread_mutex_lock(&found->lock);
        bool known = !found->streamed || found->ended;
        first = known && !found->met;
        found->opens += known;
        found->met = found->met || known;
        found->expected = found->expected && !known;
        pthread_mutex_unlock(&found->lock);
        found = known ? ranged_ref(found) : NULL;
    }
    pthread_mutex_unlock(&engine->shared.lock);
    if (first)
        engine_read(engine, key->box, key->uid, key->kind, key->section);
    return found;
}

bool engine_was_corrected(Engine *engine, const ContentKey *key)
{
    g_autofree char *name = ranged_name(key);
    pthread_mutex_lock(&engine->shared.lock);
    bool corrected = g_hash_table_contains(engine->shared.corrected, name);
    pthread_mutex_unlock(&engine->shared.lock);
    return corrected;
}

void ranged_set_corrected(Ranged *ranged)
{
    Engine *engine = ranged->engine;
    pthread_mutex_lock(&engine->shared.lock);
    g_hash_table_add(engine->shared.corrected, g_strdup(ranged->name));
    pthread_mutex_unlock(&engine->shared.lock);
}

static bool is_open(Ranged *self)
{
    pthread_mutex_lock(&self->lock);
    bool open = self->opens > 0;
    pthread_mutex_unlock(&self->lock);
    return open;
}

void ranged_drop(Ranged *ranged, bool unless_open)
{
    Engine *engine = ranged->engine;
    if (ranged->dropped)
        return;
    pthread_mutex_lock(&engine->shared.lock);
    ranged->dropped = !unless_open || !is_open(ranged);
    if (ranged->dropped)
        g_hash_table_remove(engine->shared.ranged, ranged->name);
    pthread_mutex_unlock(&engine->shared.lock);
    if (!ranged->dropped)
        return;
    ranged_keep_stop(ranged);
    ranged_unref(ranged);
}

static GPtrArray *all_ranged(Engine *engine)
{
    GPtrArray *all = g_ptr_array_new_with_free_func((GDestroyNotify)ranged_unref);
    GHashTableIter iter;
    gpointer value;
    pthread_mutex_lock(&engine->shared.lock);
    g_hash_table_iter_init(&iter, engine->shared.ranged);
    while (g_hash_table_iter_next(&iter, NULL, &value))
        g_ptr_array_add(all, ranged_ref(value));
    pthread_mutex_unlock(&engine->shared.lock);
    return all;
}

static bool is_kept_only(Ranged *self)
{
    return !is_open(self) && !self->chunks->len && !self->jobs->len && !self->acquiring &&
           !self->commit;
}

/* Of those nobody has open, drops the one that was used longest ago, when they are too many. */
static void drop_oldest(Engine *engine)
{
    g_autoptr(GPtrArray) all = all_ranged(engine);
    Ranged *oldest = NULL;
    guint kept = 0;
    for (guint i = 0; i < all->len; i++) {
        Ranged *each = all->pdata[i];
        if (!is_kept_only(each))
            continue;
        kept++;
        if (!oldest || each->used_us < oldest->used_us)
            oldest = each;
    }
    if (kept >= KEPT_MAX)
        ranged_drop(oldest, true);
}

static void wake_run(Engine *engine, gpointer data)
{
    Ranged *ranged = data;
    Mailbox *mailbox = mailbox_get(engine, ranged->key.box, NULL);
    if (mailbox)
        ahead_went_on(mailbox, &ranged->key, ranged_read_up_to(ranged));
    ranged_pump(ranged);
}

static void on_wake(Ranged *ranged)
{
    engine_post(ranged->engine, wake_run, ranged_ref(ranged), (GDestroyNotify)ranged_unref);
}

void ranged_add(Engine *engine, Ranged *ranged)
{
    drop_oldest(engine);
    ranged->wake = on_wake;
    ranged->used_us = clock_mono_us();
    pthread_mutex_lock(&engine->shared.lock);
    g_hash_table_insert(engine->shared.ranged, ranged->name, ranged);
    pthread_mutex_unlock(&engine->shared.lock);
}

void ranged_give_up(Ranged *ranged, const GError *error)
{
    ranged_ref(ranged);
    ranged_fail(ranged, error);
    ranged_drop(ranged, false); /* before anybody hears of it, and opens it again */
    for (guint i = 0; i < ranged->jobs->len; i++)
        job_finish(ranged->jobs->pdata[i], error);
    ranged_unref(ranged);
}

void ranged_fail_box(Engine *engine, guint32 box, const GError *error)
{
    g_autoptr(GPtrArray) all = all_ranged(engine);
    for (guint i = 0; i < all->len; i++) {
        Ranged *each = all->pdata[i];
        if (each->key.box == box)
            ranged_give_up(each, error);
    }
}

void ranged_free_all(Engine *engine)
{
    g_autoptr(GPtrArray) all = all_ranged(engine);
    g_autoptr(GError) error =
        g_error_new(IMAPFS_ERROR, IMAPFS_ERROR_CANCELLED, "the file system is being unmounted");
    for (guint i = 0; i < all->len; i++) {
        Ranged *each = all->pdata[i];
        ranged_give_up(each, error);
        for (guint k = 0; k < each->jobs->len; k++)
            job_unref(each->jobs->pdata[k]);
        g_ptr_array_set_size(each->jobs, 0);
    }
}
