/* content.c - reading contents.
 *
 * The rule: an open Content holds its bytes (small) or its descriptor (large), so whatever is
 * evicted or removed meanwhile, it reads on; one that was opened by a ticket gets them when it is
 * first read, or before its row goes. Only whole, checked bytes are given out. */
#include "content_private.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include "imapfs/base/error.h"

struct Content {
    gint refs; /* atomic */
    Store *store;
    ContentTicket ticket;
    bool first_use;
    gint here;     /* atomic: 0 until these two are what they will be; set under use_lock */
    guint8 *bytes; /* or NULL: */
    int fd;
};

typedef struct {
    guint64 id, size;
    guint32 crc;
    ContentPlace place;
    gint64 used_ms;
    guint8 *bytes; /* owned; NULL for a file, or when the blob is missing */
    gsize length;
} Row;

static void bind_key(StoreReader *reader, Query *query, const ContentKey *key)
{
    guint32 box, uid;
    store_origin(reader, key->box, key->uid, &box, &uid);
    query_int(query, box);
    query_int(query, uid);
    query_int(query, key->kind);
    query_text(query, key->section);
}

static bool load_row(StoreReader *reader, const ContentKey *key, Row *row)
{
    static const char sql[] =
        "SELECT content.id, size, crc, place, used, bytes FROM content LEFT JOIN blob"
        " ON blob.id = content.id WHERE box = ? AND uid = ? AND kind = ? AND section = ?";
    *row = (Row){0};
    Query query;
    if (!reader_open_content_query(reader, &query, sql))
        return false;
    bind_key(reader, &query, key);
    bool found = query_step(&query);
    if (found) {
        row->id = (guint64)query_get_int(&query, 0);
        row->size = (guint64)query_get_int(&query, 1);
        row->crc = (guint32)query_get_int(&query, 2);
        row->place = query_get_int(&query, 3) == PLACE_FILE ? PLACE_FILE : PLACE_BLOB;
        row->used_ms = query_get_int(&query, 4);
        const void *bytes = sqlite3_column_blob(query.stmt, 5);
        row->length = (gsize)sqlite3_column_bytes(query.stmt, 5);
        row->bytes = row->length > 0 ? g_memdup2(bytes, row->length) : NULL;
    }
    if (!reader_close_query(reader, &query) || !found) {
        g_free(row->bytes);
        return false;
    }
    return true;
}

static Content *content_new(Store *store, const Row *row, int fd)
{
    Content *self = g_new0(Content, 1);
    self->refs = 1;
    self->store = store;
    self->ticket = (ContentTicket){
        row->id, row->size, row->used_ms, row->crc, row->place == PLACE_FILE,
    };
    self->bytes = row->bytes;
    self->fd = fd;
    self->here = 1;
    self->first_use = content_uses_opened(store, row->id, &self->ticket.used_ms);
    return self;
}

static bool is_whole(const guint8 *bytes, gsize length, guint64 size, guint32 crc)
{
    return length == size && crc32_z(0, bytes != NULL ? bytes : (const guint8 *)"", length) == crc;
}

/* Takes the row's bytes. */
static Content *open_blob(Store *store, Row *row)
{
    if (is_whole(row->bytes, row->length, row->size, row->crc))
        return content_new(store, row, -1);
    g_free(row->bytes);
    content_drop(store, row->id, "its checksum is wrong");
    return NULL;
}

static int open_by_id(Store *store, guint64 id)
{
    char name[20];
    content_file_name(id, name);
    return openat(store->files.fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
}

static bool has_size(int fd, guint64 size)
{
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (guint64)st.st_size == size;
}

static Content *open_file(StoreReader *reader, const Row *row)
{
    Store *store = reader->store;
    int fd = open_by_id(store, row->id);
    if (fd >= 0 && has_size(fd, row->size))
        return content_new(store, row, fd);
    if (fd >= 0) {
        close(fd);
        content_drop(store, row->id, "its file has another size");
    } else if (errno == ENOENT || errno == ELOOP) {
        content_drop(store, row->id, "its file is missing");
    } else {
        /* No descriptors left, ...: nothing is wrong with the content. */
        GError *failure = NULL;
        db_set_errno("content", "open", errno, &failure);
        reader_fail(reader, failure);
    }
    return NULL;
}

Content *content_open(StoreReader *reader, const ContentKey *key)
{
    Row row;
    if (!load_row(reader, key, &row))
        return NULL;
    Store *store = reader->store;
    if (content_uses_is_bad(store, row.id)) {
        g_free(row.bytes);
        return NULL;
    }
    return row.place == PLACE_BLOB ? open_blob(store, &row) : open_file(reader, &row);
}

bool content_exists(StoreReader *reader, const ContentKey *key)
{
    static const char sql[] =
        "SELECT id FROM content WHERE box = ? AND uid = ? AND kind = ? AND section = ?";
    Query query;
    if (!reader_open_content_query(reader, &query, sql))
        return false;
    bind_key(reader, &query, key);
    guint64 id = query_step(&query) ? (guint64)query_get_int(&query, 0) : 0;
    return reader_close_query(reader, &query) && id != 0 && !content_uses_is_bad(reader->store, id);
}

Content *content_ref(Content *content)
{
    g_atomic_int_inc(&content->refs);
    return content;
}

void content_unref(Content *content)
{
    if (content == NULL || !g_atomic_int_dec_and_test(&content->refs))
        return;
    content_uses_closed(content->store, content, content->ticket.id);
    if (content->fd >= 0)
        close(content->fd);
    g_free(content->bytes);
    g_free(content);
}

bool content_is_first_use(const Content *content)
{
    return content->first_use;
}

guint64 content_size(const Content *content)
{
    return content->ticket.size;
}

/* --- opening again --- */

ContentTicket content_ticket(const Content *content)
{
    return content->ticket;
}

Content *content_reopen(Store *store, ContentTicket *ticket, guint64 removals)
{
    Content *self = g_new0(Content, 1);
    self->refs = 1;
    self->store = store;
    self->fd = -1;
    self->ticket = *ticket;
    if (!content_uses_reopened(store, self, ticket->id, &ticket->used_ms, removals)) {
        g_free(self);
        return NULL;
    }
    return self;
}

/* What its row stands for. False: damaged, or not there (any more). */
static bool fetch_blob(Query *query, const ContentTicket *ticket, guint8 **bytes_out)
{
    query_int(query, (gint64)ticket->id);
    if (!query_step(query))
        return false;
    const guint8 *bytes = sqlite3_column_blob(query->stmt, 0);
    gsize length = (gsize)sqlite3_column_bytes(query->stmt, 0);
    if (!is_whole(bytes, length, ticket->size, ticket->crc))
        return false;
    *bytes_out = length > 0 ? g_memdup2(bytes, length) : NULL;
    return true;
}

static bool fetch_file(Store *store, const ContentTicket *ticket, int *fd_out)
{
    int fd = open_by_id(store, ticket->id);
    if (fd >= 0 && has_size(fd, ticket->size)) {
        *fd_out = fd;
        return true;
    }
    if (fd >= 0)
        close(fd);
    return false;
}

static const char sql_blob[] = "SELECT bytes FROM blob WHERE id = ?";

static bool fetch(StoreReader *reader, const ContentTicket *ticket, guint8 **bytes_out, int *fd_out)
{
    Query query;
    if (ticket->is_file)
        return fetch_file(reader->store, ticket, fd_out);
    if (!reader_open_content_query(reader, &query, sql_blob))
        return false;
    bool ok = fetch_blob(&query, ticket, bytes_out);
    return reader_close_query(reader, &query) && ok;
}

/* Within use_lock. */
static void take(Content *self, guint8 *bytes, int fd)
{
    self->bytes = bytes;
    self->fd = fd;
    g_atomic_int_set(&self->here, 1);
}

bool content_read_before_removal(Content *content, guint64 id)
{
    guint8 *bytes = NULL;
    int fd = -1;
    bool ok;
    if (content->ticket.id != id)
        return false;
    if (content->ticket.is_file) {
        ok = fetch_file(content->store, &content->ticket, &fd);
    } else {
        Query query;
        query_open(&query, content->store->content.db, sql_blob);
        ok = fetch_blob(&query, &content->ticket, &bytes);
        ok = query_close(&query, NULL) && ok;
    }
    if (ok)
        take(content, bytes, fd);
    return ok;
}

/* False: who removed it could not read it either, or it is damaged. */
static bool content_load(Content *self, GError **error)
{
    pthread_mutex_t *lock = &self->store->content.use_lock;
    guint8 *bytes = NULL;
    int fd = -1;
    bool ok = fetch(store_reader(self->store), &self->ticket, &bytes, &fd);
    pthread_mutex_lock(lock);
    bool here = self->here != 0; /* another thread was quicker */
    if (ok && !here) {
        g_hash_table_remove(self->store->content.unread, self);
        take(self, bytes, fd);
    }
    pthread_mutex_unlock(lock);
    if (ok && here) {
        g_free(bytes);
        if (fd >= 0)
            close(fd);
    }
    if (ok || here)
        return true;
    content_drop(self->store, self->ticket.id, "it cannot be read");
    db_set_errno("content", "read", EIO, error);
    return false;
}

/* --- reading --- */

static gssize read_file(Content *self, guint8 *buffer, gsize size, guint64 offset, GError **error)
{
    gsize done = 0;
    while (done < size) {
        ssize_t n = pread(self->fd, buffer + done, size - done, (off_t)(offset + done));
        if (n > 0) {
            done += (gsize)n;
        } else if (n == 0 || errno != EINTR) {
            db_set_errno("content", n == 0 ? "a file was cut short" : "read", n == 0 ? EIO : errno,
                         error);
            content_drop(self->store, self->ticket.id, "its file cannot be read");
            return -1;
        }
    }
    return (gssize)done;
}

const void *content_memory(const Content *content, gsize *size_out)
{
    *size_out = (gsize)content->ticket.size;
    return g_atomic_int_get(&content->here) ? content->bytes : NULL;
}

gssize content_read(Content *content, void *buffer, gsize size, guint64 offset, GError **error)
{
    if (offset >= content->ticket.size)
        return 0;
    if (!g_atomic_int_get(&content->here) && !content_load(content, error))
        return -1;
    size = (gsize)MIN((guint64)MIN(size, (gsize)G_MAXSSIZE), content->ticket.size - offset);
    if (content->fd >= 0)
        return read_file(content, buffer, size, offset, error);
    if (size > 0)
        memcpy(buffer, content->bytes + offset, size);
    return (gssize)size;
}
