/* estimates.c - the inodes whose size the kernel holds as an estimate.
 *
 * Told with attr_ttl 0, an estimate is asked for again by fstat and read, but not by sendfile, mmap
 * or copy_file_range: so an open that makes the size exact takes it back first. Without this set
 * every open would have to, and every warm open would cost a GETATTR. It holds no more than the
 * kernel's own inode cache does: FORGET takes out what the kernel drops. */
#include "impl.h"

void estimates_init(Estimates *estimates)
{
    pthread_mutex_init(&estimates->lock, NULL);
    estimates->inodes = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
}

void estimates_clear(Estimates *estimates)
{
    g_hash_table_unref(estimates->inodes);
    pthread_mutex_destroy(&estimates->lock);
}

void estimates_note(Estimates *estimates, const TreeEntry *entry)
{
    gint64 key = (gint64)entry->ino;

    if (!S_ISREG(entry->st.st_mode))
        return;
    pthread_mutex_lock(&estimates->lock);
    if (entry->attr_ttl > 0)
        g_hash_table_remove(estimates->inodes, &key);
    else if (!g_hash_table_contains(estimates->inodes, &key))
        g_hash_table_add(estimates->inodes, g_memdup2(&key, sizeof(key)));
    pthread_mutex_unlock(&estimates->lock);
}

bool estimates_take(Estimates *estimates, guint64 ino)
{
    gint64 key = (gint64)ino;
    bool held;

    pthread_mutex_lock(&estimates->lock);
    held = g_hash_table_remove(estimates->inodes, &key);
    pthread_mutex_unlock(&estimates->lock);
    return held;
}
