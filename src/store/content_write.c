/* content_write.c - writing contents: begin, write, commit; one by one or many in a transaction.
 *
 * The rule: bytes first, then the size in the index, then the row that makes it visible. A crash in
 * between leaves a file without a row, which the next open removes, or the size of a content that
 * is not there, which is still true. */
#include "content_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
#include <zlib.h>
#include "imapfs/base/clock.h"
#include "imapfs/base/error.h"
#include "imapfs/base/fault.h"

/* A batch goes to disk when it holds this much. */
#define BATCH_BYTES (4u * 1024 * 1024)
#define BATCH_COUNT 512

struct ContentWriter {
    Store *store;
    guint64 id, size;
    ContentKey key; /* section is ours */
    guint32 crc;
    GByteArray *buffer; /* all there is, or what is not in the file yet */
    int fd;             /* -1: small so far */
    bool named;         /* the file has its final name */
    guint64 same_as;    /* the content whose file it is as well; 0: none */
    bool failed;
    bool dead; /* under the content lock: its mailbox's number means another one now */
};

/* --- one writer --- */

static void file_name(const ContentWriter *self, bool final, char name[32])
{
    content_file_name(self->id, name);
    if (!final)
        g_strlcat(name, CONTENT_TEMP_SUFFIX, 32);
}

static void writer_free(ContentWriter *self)
{
    Store *store = self->store;
    pthread_mutex_lock(&store->content.lock);
    g_hash_table_remove(store->content.writers, self);
    pthread_mutex_unlock(&store->content.lock);
    if (self->fd >= 0)
        close(self->fd);
    g_byte_array_unref(self->buffer);
    g_free((char *)self->key.section);
    g_free(self);
}

static bool is_file(const ContentWriter *self)
{
    return self->fd >= 0 || self->named;
}

static void unlink_file(const ContentWriter *self)
{
    char name[32];
    if (!is_file(self))
        return;
    file_name(self, self->named, name);
    unlinkat(self->store->files.fd, name, 0);
}

static bool open_file(ContentWriter *self, GError **error)
{
    char name[32];
    file_name(self, false, name);
    self->fd = openat(self->store->files.fd, name,
                      O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (self->fd >= 0)
        return true;
    db_set_errno("content", "a file cannot be made", errno, error);
    return false;
}

int content_temp_new(Store *store, GError **error)
{
    int err = fault_errno("content.temp");
    int fd = err == 0 ? openat(store->files.fd, ".", O_RDWR | O_TMPFILE | O_CLOEXEC, 0600) : -1;
    if (fd < 0 && err == 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == ENOENT)) {
        /* A file system without O_TMPFILE. After a crash the sweep removes it by its suffix. */
        char name[32];
        content_file_name((guint64)__atomic_fetch_add(&store->content.next_id, 1, __ATOMIC_RELAXED),
                          name);
        g_strlcat(name, CONTENT_TEMP_SUFFIX, sizeof(name));
        fd =
            openat(store->files.fd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd >= 0)
            unlinkat(store->files.fd, name, 0);
    }
    if (fd < 0)
        db_set_errno("content", "a temporary file cannot be made", err != 0 ? err : errno, error);
    return fd;
}

ContentWriter *content_begin(Store *store, const ContentKey *key, guint64 size_hint, GError **error)
{
    ContentWriter *self = g_new0(ContentWriter, 1);
    self->store = store;
    self->id = (guint64)__atomic_fetch_add(&store->content.next_id, 1, __ATOMIC_RELAXED);
    self->key = *key;
    self->key.section = g_strdup(key->section);
    store_origin(store_reader(store), key->box, key->uid, &self->key.box, &self->key.uid);
    self->crc = (guint32)crc32_z(0, NULL, 0);
    self->buffer = g_byte_array_new();
    self->fd = -1;
    pthread_mutex_lock(&store->content.lock);
    g_hash_table_add(store->content.writers, self);
    pthread_mutex_unlock(&store->content.lock);
    if (size_hint > CONTENT_BLOB_MAX && !open_file(self, error)) {
        writer_free(self);
        return NULL;
    }
    return self;
}

void content_writers_kill(Store *store, guint32 box)
{
    GHashTableIter iter;
    gpointer key;
    g_hash_table_iter_init(&iter, store->content.writers);
    while (g_hash_table_iter_next(&iter, &key, NULL)) {
        ContentWriter *writer = key;
        writer->dead = writer->dead || writer->key.box == box;
    }
}

static bool write_out(ContentWriter *self, GError **error)
{
    const guint8 *at = self->buffer->data;
    gsize left = self->buffer->len;
    int err = fault_errno("content.write");
    while (err == 0 && left > 0) {
        ssize_t n = write(self->fd, at, left);
        if (n > 0) {
            at += n;
            left -= (gsize)n;
        } else if (n == 0 || errno != EINTR) {
            err = n == 0 ? ENOSPC : errno;
        }
    }
    if (err != 0) {
        self->failed = true;
        db_set_errno("content", "write", err, error);
        return false;
    }
    g_byte_array_set_size(self->buffer, 0);
    return true;
}

bool content_write(ContentWriter *writer, const void *bytes, gsize length, GError **error)
{
    if (writer->failed) {
        db_set_errno("content", "an earlier write has failed", EIO, error);
        return false;
    }
    const guint8 *at = bytes;
    while (length > 0) {
        gsize room = CONTENT_BLOB_MAX - writer->buffer->len;
        gsize n = MIN(length, room);
        if (n == 0) { /* the buffer is full, and there is more */
            if ((writer->fd < 0 && !open_file(writer, error)) || !write_out(writer, error)) {
                writer->failed = true;
                return false;
            }
            continue;
        }
        g_byte_array_append(writer->buffer, at, (guint)n);
        writer->crc = (guint32)crc32_z(writer->crc, at, n);
        writer->size += n;
        at += n;
        length -= n;
    }
    return true;
}

bool content_write_link(ContentWriter *writer, const ContentTicket *ticket)
{
    char from[32], to[32];
    int dir = writer->store->files.fd;
    g_return_val_if_fail(writer->size == 0 && writer->fd < 0, false);
    content_file_name(ticket->id, from);
    file_name(writer, true, to);
    if (fault_errno("content.link") != 0 || linkat(dir, from, dir, to, 0) != 0)
        return false;
    writer->named = true;
    writer->same_as = ticket->id;
    writer->size = ticket->size;
    writer->crc = ticket->crc;
    return true;
}

void content_abort(ContentWriter *writer)
{
    if (writer == NULL)
        return;
    unlink_file(writer);
    writer_free(writer);
}

/* --- making them visible --- */

static bool finish_file(ContentWriter *self, GError **error)
{
    char from[32], to[32];
    if (self->fd < 0 || self->named)
        return true;
    if (!write_out(self, error))
        return false;
    file_name(self, false, from);
    file_name(self, true, to);
    int dir = self->store->files.fd;
    int err = fault_errno("content.rename");
    if (err == 0 && renameat(dir, from, dir, to) != 0)
        err = errno;
    if (err != 0) {
        db_set_errno("content", "rename", err, error);
        return false;
    }
    self->named = true;
    return true;
}

static bool put_sizes(Store *store, GPtrArray *writers, GError **error)
{
    StoreTxn *txn = store_begin(store, false, error);
    if (txn == NULL)
        return false;
    for (guint i = 0; i < writers->len; i++) {
        ContentWriter *w = writers->pdata[i];
        /* The server may have numbered it since it was begun. */
        store_locate(&txn->reader, &w->key.box, &w->key.uid);
        if (!store_size_put(txn, w->key.box, w->key.uid, w->key.kind, w->key.section, w->size,
                            error)) {
            store_rollback(txn);
            return false;
        }
    }
    return store_commit(txn, error);
}

/* A content that is there already gives way: the newest answer of the server counts. */
static bool remove_old(ContentTxn *txn, const ContentKey *key, GError **error)
{
    static const char sql[] = "SELECT id, size, place FROM content"
                              " WHERE box = ? AND uid = ? AND kind = ? AND section = ?";
    Query query;
    query_open(&query, txn->store->content.db, sql);
    query_int(&query, key->box);
    query_int(&query, key->uid);
    query_int(&query, key->kind);
    query_text(&query, key->section);
    bool found = query_step(&query);
    guint64 id = found ? (guint64)query_get_int(&query, 0) : 0;
    guint64 size = found ? (guint64)query_get_int(&query, 1) : 0;
    ContentPlace place = found ? (ContentPlace)query_get_int(&query, 2) : PLACE_BLOB;
    return query_close(&query, error) &&
           (!found || content_txn_remove(txn, id, size, place, error));
}

static bool insert_blob(ContentTxn *txn, const ContentWriter *w, GError **error)
{
    static const char sql[] = "INSERT INTO blob(id, bytes) VALUES(?, ?)";
    Query query;
    query_open(&query, txn->store->content.db, sql);
    query_int(&query, (gint64)w->id);
    query_blob(&query, w->buffer->data, w->buffer->len);
    return query_run(&query, error);
}

/* *same_out 0: what it was a copy of has gone meanwhile, or there was nothing. */
static bool join_file(ContentTxn *txn, const ContentWriter *w, gint64 *same_out, GError **error)
{
    static const char sql[] =
        "UPDATE content SET same = iif(same = 0, id, same) WHERE id = ? RETURNING same";
    *same_out = 0;
    if (w->same_as == 0)
        return true;
    Query query;
    query_open(&query, txn->store->content.db, sql);
    query_int(&query, (gint64)w->same_as);
    *same_out = query_step(&query) ? query_get_int(&query, 0) : 0;
    return query_close(&query, error);
}

static bool insert(ContentTxn *txn, const ContentWriter *w, gint64 now_ms, GError **error)
{
    static const char sql[] =
        "INSERT INTO content(id, box, uid, kind, section, size, crc, place, used, same)"
        " VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    bool file = is_file(w);
    gint64 same;
    if (!remove_old(txn, &w->key, error) || !join_file(txn, w, &same, error) ||
        (!file && !insert_blob(txn, w, error)))
        return false;
    Query query;
    query_open(&query, txn->store->content.db, sql);
    query_int(&query, (gint64)w->id);
    query_int(&query, w->key.box);
    query_int(&query, w->key.uid);
    query_int(&query, w->key.kind);
    query_text(&query, w->key.section);
    query_int(&query, (gint64)w->size);
    query_int(&query, w->crc);
    query_int(&query, file ? PLACE_FILE : PLACE_BLOB);
    query_int(&query, now_ms);
    query_int(&query, same);
    txn->bytes += same == 0 ? (gint64)w->size : 0;
    txn->count++;
    return query_run(&query, error);
}

static bool insert_all(Store *store, GPtrArray *writers, GError **error)
{
    gint64 now_ms = clock_real_ns() / 1000000;
    ContentTxn txn;
    if (!content_txn_begin(&txn, store, error))
        return false;
    for (guint i = 0; i < writers->len; i++) {
        ContentWriter *w = writers->pdata[i];
        if (w->dead || insert(&txn, w, now_ms, error))
            continue;
        content_txn_rollback(&txn);
        return false;
    }
    return content_txn_commit(&txn, error);
}

static bool publish(Store *store, GPtrArray *writers, GError **error)
{
    for (guint i = 0; i < writers->len; i++)
        if (!finish_file(writers->pdata[i], error))
            return false;
    if (!put_sizes(store, writers, error) || !insert_all(store, writers, error))
        return false;
    for (guint i = 0; i < writers->len; i++) {
        const ContentWriter *w = writers->pdata[i];
        if (!w->dead)
            content_uses_committed(store, w->id);
    }
    return true;
}

/* Publishes, and frees the writers either way. */
static bool publish_all(Store *store, GPtrArray *writers, GError **error)
{
    bool ok = writers->len == 0 || publish(store, writers, error);
    for (guint i = 0; i < writers->len; i++) {
        ContentWriter *w = writers->pdata[i];
        if (!ok || w->dead)
            unlink_file(w);
        writer_free(w);
    }
    g_ptr_array_set_size(writers, 0);
    return ok;
}

static bool publish_one(ContentWriter *writer, GError **error)
{
    g_autoptr(GPtrArray) one = g_ptr_array_new();
    g_ptr_array_add(one, writer);
    pthread_mutex_lock(&writer->store->content.lock);
    bool dead = writer->dead;
    pthread_mutex_unlock(&writer->store->content.lock);
    if (!dead)
        return publish_all(writer->store, one, error);
    content_abort(writer);
    g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_GONE, "the mailbox is gone");
    return false;
}

bool content_commit(ContentWriter *writer, GError **error)
{
    Store *store = writer->store;
    ContentStore *self = &store->content;
    if (writer->failed) {
        content_abort(writer);
        db_set_errno("content", "an earlier write has failed", EIO, error);
        return false;
    }
    if (!self->batching)
        return publish_one(writer, error);
    self->pending_bytes += writer->fd < 0 ? writer->buffer->len : 0;
    g_ptr_array_add(self->pending, writer);
    if (self->pending_bytes < BATCH_BYTES && self->pending->len < BATCH_COUNT)
        return true;
    self->pending_bytes = 0;
    g_autoptr(GError) problem = NULL;
    if (publish_all(store, self->pending, &problem))
        return true;
    if (self->batch_error == NULL) /* others of the batch are lost, too: its end tells */
        self->batch_error = g_error_copy(problem);
    g_propagate_error(error, g_steal_pointer(&problem));
    return false;
}

bool content_batch_begin(Store *store, GError **error)
{
    g_return_val_if_fail(!store->content.batching, false);
    store->content.batching = true;
    return true;
}

bool content_batch_end(Store *store, GError **error)
{
    ContentStore *self = &store->content;
    g_return_val_if_fail(self->batching, false);
    self->batching = false;
    self->pending_bytes = 0;
    if (self->batch_error == NULL)
        return publish_all(store, self->pending, error);
    g_propagate_error(error, g_steal_pointer(&self->batch_error));
    publish_all(store, self->pending, NULL); /* the rest is good all the same */
    return false;
}
