/* unlinked.c - parts of messages that were unlinked, for ten seconds.
 *
 * rm -r empties a directory before it removes it, and only the removal of a message's directory
 * deletes anything. So a part that is unlinked is not shown for a while, and comes back by itself
 * when that was all. In memory: nothing was changed. */
#include <pthread.h>

#include "imapfs/base/clock.h"
#include "node.h"

#define HIDDEN_NS (10 * (gint64)G_GINT64_CONSTANT(1000000000))

typedef struct {
    gint64 ino, dir;
    gint64 at_ns, until_us; /* real, monotonic */
} Part;

struct Unlinked {
    pthread_mutex_t lock;
    GHashTable *parts; /* Part by ino */
    GHashTable *dirs;  /* Part that was the last to go, by dir */
    GQueue age;        /* of Part: the first to come back first */
    gint n;            /* atomic: their number */
};

Unlinked *unlinked_new(void)
{
    Unlinked *unlinked = g_new0(Unlinked, 1);

    pthread_mutex_init(&unlinked->lock, NULL);
    unlinked->parts = g_hash_table_new(g_int64_hash, g_int64_equal);
    unlinked->dirs = g_hash_table_new(g_int64_hash, g_int64_equal);
    return unlinked;
}

void unlinked_free(Unlinked *unlinked)
{
    g_hash_table_unref(unlinked->parts);
    g_hash_table_unref(unlinked->dirs);
    g_queue_clear_full(&unlinked->age, g_free);
    pthread_mutex_destroy(&unlinked->lock);
    g_free(unlinked);
}

/* Those whose time is over. With the lock held. */
static void prune(Unlinked *unlinked)
{
    gint64 now = clock_mono_us();
    Part *part;

    while ((part = g_queue_peek_head(&unlinked->age)) && part->until_us <= now) {
        g_queue_pop_head(&unlinked->age);
        if (g_hash_table_lookup(unlinked->parts, &part->ino) == part)
            g_hash_table_remove(unlinked->parts, &part->ino);
        if (g_hash_table_lookup(unlinked->dirs, &part->dir) == part)
            g_hash_table_remove(unlinked->dirs, &part->dir);
        g_free(part);
    }
    g_atomic_int_set(&unlinked->n, (gint)unlinked->age.length);
}

void unlinked_add(Unlinked *unlinked, guint64 dir, guint64 ino)
{
    Part *part = g_new0(Part, 1);

    *part = (Part){(gint64)ino, (gint64)dir, clock_real_ns(), clock_mono_us() + HIDDEN_NS / 1000};
    pthread_mutex_lock(&unlinked->lock);
    g_hash_table_replace(unlinked->parts, &part->ino, part);
    g_hash_table_replace(unlinked->dirs, &part->dir, part);
    g_queue_push_tail(&unlinked->age, part);
    prune(unlinked);
    pthread_mutex_unlock(&unlinked->lock);
}

static gint64 find(Unlinked *unlinked, GHashTable *table, guint64 ino)
{
    gint64 key = (gint64)ino, at = 0;
    const Part *part;

    if (g_atomic_int_get(&unlinked->n) == 0)
        return 0;
    pthread_mutex_lock(&unlinked->lock);
    prune(unlinked);
    part = g_hash_table_lookup(table, &key);
    at = part ? part->at_ns : 0;
    pthread_mutex_unlock(&unlinked->lock);
    return at;
}

bool unlinked_has(Unlinked *unlinked, guint64 ino)
{
    return find(unlinked, unlinked->parts, ino) != 0;
}

gint64 unlinked_since(Unlinked *unlinked, guint64 dir)
{
    return find(unlinked, unlinked->dirs, dir);
}
