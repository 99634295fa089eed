/* content.c - reading contents.
 *
 * The rule: an open Content holds its bytes (small) or its descriptor (large), so whatever is
 * evicted or removed meanwhile, it reads on. Only whole, checked bytes are given out. */
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
    guint64 id, size;
    guint8 *bytes; /* or NULL: */
    int fd;
    bool first_use;
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
    self->id = row->id;
    self->size = row->size;
    self->bytes = row->bytes;
    self->fd = fd;
    self->first_use = content_uses_opened(store, row->id, row->used_ms);
    return self;
}

/* Takes the row's bytes. */
static Content *open_blob(Store *store, Row *row)
{
    if (row->length == row->size &&
        crc32_z(0, row->bytes != NULL ? row->bytes : (const guint8 *)"", row->length) == row->crc)
        return content_new(store, row, -1);
    g_free(row->bytes);
    content_drop(store, row->id, "its checksum is wrong");
    return NULL;
}

static Content *open_file(StoreReader *reader, const Row *row)
{
    Store *store = reader->store;
    char name[20];
    content_file_name(row->id, name);
    struct stat st;
    int fd = openat(store->files.fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (guint64)st.st_size == row->size)
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
    content_uses_closed(content->store, content->id);
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
    return content->size;
}

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
            content_drop(self->store, self->id, "its file cannot be read");
            return -1;
        }
    }
    return (gssize)done;
}

gssize content_read(Content *content, void *buffer, gsize size, guint64 offset, GError **error)
{
    if (offset >= content->size)
        return 0;
    size = (gsize)MIN((guint64)MIN(size, (gsize)G_MAXSSIZE), content->size - offset);
    if (content->fd >= 0)
        return read_file(content, buffer, size, offset, error);
    if (size > 0)
        memcpy(buffer, content->bytes + offset, size);
    return (gssize)size;
}
