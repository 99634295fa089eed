/* content_db.c - the cache's database and directory of files: opening, transactions, taking out.
 *
 * The rule: whatever is wrong with it, it may be dropped; a row without its file or a file without
 * its row is never served. Rows of another index are never served either: their numbers mean other
 * messages. */
#include "private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include "content_private.h"
#include "imapfs/base/clock.h"
#include "imapfs/base/error.h"
#include "imapfs/base/fault.h"
#include "imapfs/base/log.h"
#include "schema.h"

/* What was written so long before the machine died is on disk. */
#define SETTLED_S (15 * 60)
#define SLICE (256u * 1024)
#define USES_WORTH_WRITING 256 /* with a transaction that is made for something else */

void content_file_name(guint64 id, char name[20])
{
    g_snprintf(name, 20, "%016" G_GINT64_MODIFIER "x", id);
}

/* 0 when it is not one of ours. */
static guint64 id_of_file(const char *name, bool *unfinished_out)
{
    gsize length = strspn(name, "0123456789abcdef");
    *unfinished_out = strcmp(name + length, CONTENT_TEMP_SUFFIX) == 0;
    if (length != 16 || (name[length] != '\0' && !*unfinished_out))
        return 0;
    return g_ascii_strtoull(name, NULL, 16);
}

/* --- opening --- */

typedef bool (*FileFunc)(Store *store, guint64 id, bool unfinished, GError **error);

/* Unlinks the files of which wanted says false. */
static bool sweep_files(Store *store, FileFunc wanted, GError **error)
{
    int fd = openat(store->files.fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (dir == NULL) {
        db_set_errno(store->files.path, "cannot be listed", errno, error);
        if (fd >= 0)
            close(fd);
        return false;
    }
    GError *problem = NULL;
    for (struct dirent *entry; problem == NULL && (entry = readdir(dir)) != NULL;) {
        bool unfinished;
        guint64 id = id_of_file(entry->d_name, &unfinished);
        if (id != 0 && !wanted(store, id, unfinished, &problem) && problem == NULL)
            unlinkat(store->files.fd, entry->d_name, 0);
    }
    closedir(dir);
    if (problem != NULL)
        g_propagate_error(error, problem);
    return problem == NULL;
}

static bool want_none(Store *store, guint64 id, bool unfinished, GError **error)
{
    return false;
}

static bool read_crc(int fd, guint64 size, guint32 *crc_out)
{
    g_autofree guint8 *slice = g_malloc(SLICE);
    guint32 crc = (guint32)crc32_z(0, NULL, 0);
    guint64 done = 0;
    while (done < size) {
        ssize_t n = pread(fd, slice, SLICE, (off_t)done);
        if (n == 0 || (n < 0 && errno != EINTR))
            return false;
        if (n > 0)
            crc = (guint32)crc32_z(crc, slice, (gsize)n);
        done += n > 0 ? (guint64)n : 0;
    }
    *crc_out = crc;
    return true;
}

static bool is_settled(const ContentStore *self, int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && st.st_mtime < self->died_s - SETTLED_S;
}

/* A file of the right size can be without its last bytes, if the machine died soon after. */
static bool is_on_disk(Store *store, guint64 id, guint64 size, guint32 crc)
{
    char name[20];
    guint32 is;
    if (!store->content.died)
        return true;
    content_file_name(id, name);
    int fd = openat(store->files.fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    bool ok =
        fd >= 0 && (is_settled(&store->content, fd) || (read_crc(fd, size, &is) && is == crc));
    if (fd >= 0)
        close(fd);
    if (!ok)
        log_warn("store", "a content was not wholly on the disk when the machine stopped");
    return ok;
}

static bool want_with_row(Store *store, guint64 id, bool unfinished, GError **error)
{
    static const char sql[] = "SELECT size, crc FROM content WHERE id = ? AND place = 1";
    if (unfinished)
        return false;
    Query query;
    query_open(&query, store->content.db, sql);
    query_int(&query, (gint64)id);
    bool found = query_step(&query);
    guint64 size = found ? (guint64)query_get_int(&query, 0) : 0;
    guint32 crc = found ? (guint32)query_get_int(&query, 1) : 0;
    return query_close(&query, error) && found && is_on_disk(store, id, size, crc);
}

/* Until when the machine was alive, at least; but for what a wrong clock said. */
static bool note_time(Store *store, guint64 id, bool unfinished, GError **error)
{
    ContentStore *self = &store->content;
    char name[20];
    struct stat st;
    content_file_name(id, name);
    if (!unfinished && fstatat(store->files.fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
        st.st_mtime <= clock_real_ns() / 1000000000)
        self->died_s = MAX(self->died_s, (gint64)st.st_mtime);
    return true;
}

/* What the one before did not come to; or the files of a database that somebody deleted. */
static bool clean_up(Store *store, LockState before, bool is_new, GError **error)
{
    if (before == LOCK_CLEAN && !is_new)
        return true;
    store->content.died = before == LOCK_DOUBTFUL;
    return (!store->content.died || sweep_files(store, note_time, error)) &&
           sweep_files(store, want_with_row, error);
}

static bool drop_everything(Store *store, GError **error)
{
    static const char *const names[] = {"content.db", "content.db-wal", "content.db-shm"};
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++)
        if (unlinkat(store->cache.fd, names[i], 0) != 0 && errno != ENOENT) {
            db_set_errno("content", "the old cache cannot be removed", errno, error);
            return false;
        }
    return sweep_files(store, want_none, error);
}

/* *new_out: it was made just now. *stale_out: it is of another index. */
static bool check_generation(Db *db, const char *generation, bool *new_out, bool *stale_out,
                             GError **error)
{
    Query query;
    query_open(&query, db, "INSERT INTO state(id, generation) VALUES(1, ?) ON CONFLICT DO NOTHING");
    query_text(&query, generation);
    if (!query_run(&query, error))
        return false;
    *new_out = sqlite3_changes(db->handle) > 0;
    query_open(&query, db, "SELECT generation FROM state");
    *stale_out = query_step(&query) && g_strcmp0(query_get_text(&query, 0), generation) != 0;
    return query_close(&query, error);
}

/* *stale_out: the index is one of before (of a backup; or the machine died, and the cache was on
 * the disk sooner). It gives numbers to others that contents are of already. */
static bool check_numbers(Store *store, bool *stale_out, GError **error)
{
    static const char sql[] = "SELECT EXISTS (SELECT 1 FROM content WHERE box BETWEEN ?1 AND ?2)"
                              " OR EXISTS (SELECT 1 FROM content WHERE box = ?3 AND uid >= ?4)";
    gint64 next_box;
    if (!db_get_int(store->writer, "SELECT next_box FROM account", &next_box, error))
        return false;
    Query query;
    query_open(&query, store->content.db, sql);
    query_int(&query, next_box);
    query_int(&query, STORE_MAX_BOX_ID);
    query_int(&query, STORE_BOX_PENDING);
    query_int(&query, (gint64)store->first_number);
    *stale_out = query_step(&query) && query_get_int(&query, 0) != 0;
    return query_close(&query, error);
}

static bool load_totals(ContentStore *self, GError **error)
{
    gint64 bytes, count, last;
    if (!db_get_int(self->db, "SELECT bytes FROM state", &bytes, error) ||
        !db_get_int(self->db, "SELECT count FROM state", &count, error) ||
        !db_get_int(self->db, "SELECT coalesce(max(id), 0) FROM content", &last, error))
        return false;
    self->bytes = (guint64)bytes;
    self->count = (guint64)count;
    self->next_id = (guint64)last + 1;
    return true;
}

static bool open_once(Store *store, const char *generation, LockState before, bool *useless_out,
                      GError **error)
{
    ContentStore *self = &store->content;
    *useless_out = false;
    if (!dir_prepare_file(&store->cache, "content.db", error))
        return false;
    bool unknown = false, stale = false, is_new = false;
    self->db = db_open(store->content_path, "content", true, CONTENT_CACHE_KIB,
                       &store->content_damaged, error);
    if (self->db != NULL && schema_migrate(self->db, &schema_content, &unknown, error) &&
        check_generation(self->db, generation, &is_new, &stale, error) && !stale &&
        check_numbers(store, &stale, error) && !stale && clean_up(store, before, is_new, error) &&
        load_totals(self, error))
        return true;
    g_clear_pointer(&self->db, db_close);
    if (stale)
        g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_STORE,
                    "content: it is of another index, or newer than that");
    *useless_out = unknown || stale || g_atomic_int_get(&store->content_damaged) != 0;
    return false;
}

static void init(ContentStore *self)
{
    pthread_mutex_init(&self->lock, NULL);
    pthread_mutex_init(&self->use_lock, NULL);
    self->writers = g_hash_table_new(g_direct_hash, g_direct_equal);
    self->pending = g_ptr_array_new();
    self->open = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    self->touched = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, g_free);
    self->fresh = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, g_free);
    self->bad = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    self->unread = g_hash_table_new(NULL, NULL);
}

bool content_store_open(Store *store, const char *generation, LockState before, GError **error)
{
    bool useless = before == LOCK_DAMAGED;
    g_autoptr(GError) problem = NULL;
    init(&store->content);
    if (useless)
        g_set_error(&problem, IMAPFS_ERROR, IMAPFS_ERROR_STORE, "content: it was found damaged");
    else if (open_once(store, generation, before, &useless, &problem))
        return true;
    if (!useless) {
        g_propagate_prefixed_error(error, g_steal_pointer(&problem), "%s: ", store->cache.path);
        return false;
    }
    log_warn("store", "the cache is dropped: %s", problem->message);
    if (!drop_everything(store, error))
        return false;
    g_atomic_int_set(&store->content_damaged, 0);
    return open_once(store, generation, LOCK_CLEAN, &useless, error);
}

void content_store_flush(Store *store)
{
    g_autoptr(GError) error = NULL;
    ContentTxn txn;
    if (store->content.batching && !content_batch_end(store, &error))
        log_warn("store", "contents are lost at the end: %s", error->message);
    if (content_uses_pending(store) == 0 || !content_txn_begin(&txn, store, NULL))
        return;
    txn.with_uses = true;
    content_txn_commit(&txn, NULL); /* no loss: those contents look less used */
}

void content_store_close(Store *store)
{
    ContentStore *self = &store->content;
    if (self->writers == NULL)
        return; /* never opened */
    g_clear_pointer(&self->db, db_close);
    g_clear_error(&self->batch_error);
    g_hash_table_unref(self->writers);
    g_ptr_array_unref(self->pending);
    g_hash_table_unref(self->open);
    g_hash_table_unref(self->touched);
    g_hash_table_unref(self->fresh);
    g_hash_table_unref(self->bad);
    g_hash_table_unref(self->unread);
    pthread_mutex_destroy(&self->lock);
    pthread_mutex_destroy(&self->use_lock);
}

/* --- transactions --- */

static bool begin_txn(ContentTxn *txn, Store *store, bool durable, GError **error)
{
    Db *db = store->content.db;
    pthread_mutex_lock(&store->content.lock);
    if (!db_set_durable(db, durable, error) || !db_exec(db, "BEGIN IMMEDIATE", error)) {
        pthread_mutex_unlock(&store->content.lock);
        return false;
    }
    *txn = (ContentTxn){.store = store, .unlink = g_array_new(FALSE, FALSE, sizeof(guint64))};
    return true;
}

bool content_txn_begin(ContentTxn *txn, Store *store, GError **error)
{
    return begin_txn(txn, store, false, error);
}

static void end(ContentTxn *txn)
{
    if (txn->removes)
        content_uses_removed(txn->store);
    pthread_mutex_unlock(&txn->store->content.lock);
    g_array_unref(txn->unlink);
}

void content_txn_rollback(ContentTxn *txn)
{
    Db *db = txn->store->content.db;
    if (!sqlite3_get_autocommit(db->handle))
        db_exec(db, "ROLLBACK", NULL);
    end(txn);
}

static bool write_totals(ContentTxn *txn, GError **error)
{
    static const char sql[] = "UPDATE state SET bytes = ?, count = ?";
    ContentStore *self = &txn->store->content;
    if (txn->bytes == 0 && txn->count == 0)
        return true;
    Query query;
    query_open(&query, self->db, sql);
    query_int(&query, (gint64)self->bytes + txn->bytes);
    query_int(&query, (gint64)self->count + txn->count);
    return query_run(&query, error);
}

static bool do_commit(ContentTxn *txn, GError **error)
{
    Db *db = txn->store->content.db;
    bool uses = txn->with_uses || content_uses_pending(txn->store) >= USES_WORTH_WRITING;
    if ((uses && !content_uses_write(txn->store, error)) || !write_totals(txn, error))
        return false;
    int err = fault_errno("content.commit");
    if (err != 0) {
        db_set_errno("content", "commit", err, error);
        return false;
    }
    return db_exec(db, "COMMIT", error);
}

bool content_txn_commit(ContentTxn *txn, GError **error)
{
    ContentStore *self = &txn->store->content;
    if (!do_commit(txn, error)) {
        content_txn_rollback(txn);
        return false;
    }
    g_atomic_int_inc(&txn->store->content_commits); /* before it is told what was removed */
    self->bytes += (guint64)txn->bytes;
    self->count += (guint64)txn->count;
    for (guint i = 0; i < txn->unlink->len; i++) {
        char name[20];
        content_file_name(g_array_index(txn->unlink, guint64, i), name);
        unlinkat(txn->store->files.fd, name, 0);
    }
    checkpointer_committed(txn->store->checkpointer, self->db);
    end(txn);
    return true;
}

/* *same_out: of the row that went. */
static bool delete_row(Db *db, guint64 id, bool *found_out, gint64 *same_out, GError **error)
{
    static const char sql[] = "DELETE FROM content WHERE id = ? RETURNING same";
    Query query;
    query_open(&query, db, sql);
    query_int(&query, (gint64)id);
    *found_out = query_step(&query);
    *same_out = *found_out ? query_get_int(&query, 0) : 0;
    return query_close(&query, error);
}

static bool has_other_name(Db *db, gint64 same, bool *has_out, GError **error)
{
    static const char sql[] = "SELECT 1 FROM content WHERE same != 0 AND same = ? LIMIT 1";
    Query query;
    query_open(&query, db, sql);
    query_int(&query, same);
    *has_out = query_step(&query);
    return query_close(&query, error);
}

bool content_txn_remove(ContentTxn *txn, guint64 id, guint64 size, ContentPlace place,
                        GError **error)
{
    static const char sql_blob[] = "DELETE FROM blob WHERE id = ?";
    Db *db = txn->store->content.db;
    bool found, stays = false;
    gint64 same;
    txn->removes = true;
    content_uses_removing(txn->store, id);
    if (!delete_row(db, id, &found, &same, error) ||
        (same != 0 && !has_other_name(db, same, &stays, error)))
        return false;
    if (!found)
        return true; /* another took it out before */
    txn->bytes -= stays ? 0 : (gint64)size;
    txn->count--;
    if (place == PLACE_FILE) {
        g_array_append_val(txn->unlink, id);
        return true;
    }
    Query query;
    query_open(&query, db, sql_blob);
    query_int(&query, (gint64)id);
    return query_run(&query, error);
}

/* --- taking out --- */

typedef struct {
    guint64 id, size;
    ContentPlace place;
} Victim;

static bool remove_range(ContentTxn *txn, const PurgeRange *range, GError **error)
{
    static const char sql[] =
        "SELECT id, size, place FROM content WHERE box = ? AND uid BETWEEN ? AND ?";
    g_autoptr(GArray) victims = g_array_new(FALSE, FALSE, sizeof(Victim));
    Query query;
    query_open(&query, txn->store->content.db, sql);
    query_int(&query, range->box);
    query_int(&query, range->lo);
    query_int(&query, range->hi);
    while (query_step(&query)) {
        Victim victim = {(guint64)query_get_int(&query, 0), (guint64)query_get_int(&query, 1),
                         (ContentPlace)query_get_int(&query, 2)};
        g_array_append_val(victims, victim);
    }
    if (!query_close(&query, error))
        return false;
    for (guint i = 0; i < victims->len; i++) {
        Victim *victim = &g_array_index(victims, Victim, i);
        if (!content_txn_remove(txn, victim->id, victim->size, victim->place, error))
            return false;
    }
    return true;
}

/* What the other has already stays: the rest is removed. */
static bool pass_on(ContentTxn *txn, const PurgeRange *range, GError **error)
{
    static const char sql[] =
        "UPDATE OR IGNORE content SET box = ?, uid = ? WHERE box = ? AND uid = ?";
    Query query;
    query_open(&query, txn->store->content.db, sql);
    query_int(&query, range->to_box);
    query_int(&query, range->to_uid);
    query_int(&query, range->box);
    query_int(&query, range->lo);
    return query_run(&query, error);
}

/* Durable where a number gets a new meaning: the index may be on disk before the cache is. */
bool content_purge(Store *store, const GArray *ranges, GError **error)
{
    ContentTxn txn;
    bool reused = false;
    for (guint i = 0; i < ranges->len; i++)
        reused = reused || g_array_index(ranges, PurgeRange, i).reused;
    if (!begin_txn(&txn, store, reused, error))
        return false;
    txn.removes = true; /* messages, even if nothing is kept of them */
    for (guint i = 0; i < ranges->len; i++) {
        const PurgeRange *range = &g_array_index(ranges, PurgeRange, i);
        if (range->reused)
            content_writers_kill(store, range->box);
        if ((range->to_box != 0 && !pass_on(&txn, range, error)) ||
            !remove_range(&txn, range, error)) {
            content_txn_rollback(&txn);
            return false;
        }
    }
    return content_txn_commit(&txn, error);
}

static bool drop_row(Store *store, guint64 id, bool *found_out, GError **error)
{
    static const char sql[] = "SELECT size, place FROM content WHERE id = ?";
    ContentTxn txn;
    if (!content_txn_begin(&txn, store, error))
        return false;
    Query query;
    query_open(&query, store->content.db, sql);
    query_int(&query, (gint64)id);
    bool found = query_step(&query);
    guint64 size = found ? (guint64)query_get_int(&query, 0) : 0;
    ContentPlace place = found ? (ContentPlace)query_get_int(&query, 1) : PLACE_BLOB;
    *found_out = found;
    if (!query_close(&query, error) ||
        (found && !content_txn_remove(&txn, id, size, place, error))) {
        content_txn_rollback(&txn);
        return false;
    }
    return content_txn_commit(&txn, error);
}

void content_drop(Store *store, guint64 id, const char *why)
{
    g_autoptr(GError) error = NULL;
    bool found = true;
    if (!drop_row(store, id, &found, &error)) {
        log_error("store", "a damaged content (%s) cannot be dropped: %s", why, error->message);
        content_uses_mark_bad(store, id);
    } else if (found) { /* else it was evicted just now, which is why it looked odd */
        log_warn("store", "a damaged content was dropped: %s", why);
    }
}
