/* spool.c - letters that wait to be sent, one file each.
 *
 * The rule: a name in the directory means whole and synced. So a letter is written without a name
 * (or, where the file system cannot do that, under one that the next mount takes away), and its
 * bytes and the directory are on disk before anybody is told. */
#include "imapfs/store/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "imapfs/base/error.h"
#include "imapfs/base/limits.h"
#include "imapfs/base/log.h"
#include "private.h"

#define NAME_MAX_SPOOL 32
#define UNNAMED_PREFIX ".new-" /* where files cannot be without a name */
#define SLICE (64u * 1024)

struct Spool {
    Store *store;
    guint32 n;
    int fd;
    char unnamed[NAME_MAX_SPOOL]; /* "": it has no name at all */
};

static void spool_name(guint32 n, char name[NAME_MAX_SPOOL])
{
    g_snprintf(name, NAME_MAX_SPOOL, "%" G_GUINT32_FORMAT ".eml", n);
}

/* 0 for what is no letter's name. */
static guint32 number_of(const char *name)
{
    char *end = NULL;
    guint64 n = g_ascii_isdigit(name[0]) ? g_ascii_strtoull(name, &end, 10) : 0;
    return n > 0 && n <= G_MAXUINT32 && strcmp(end, ".eml") == 0 ? (guint32)n : 0;
}

/* --- the directory --- */

/* Calls f with every name in the spool. */
static bool each_name(Store *store, void (*f)(Store *, const char *, gpointer), gpointer data,
                      GError **error)
{
    g_autoptr(GError) problem = NULL;
    g_autoptr(GDir) dir = g_dir_open(store->spool.path, 0, &problem);
    if (dir == NULL) {
        g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_STORE, "spool: %s", problem->message);
        return false;
    }
    for (const char *name; (name = g_dir_read_name(dir)) != NULL;)
        f(store, name, data);
    return true;
}

static void see_name(Store *store, const char *name, gpointer data)
{
    guint32 n = number_of(name);
    if (n != 0)
        store_number_seen(store, n);
    else if (g_str_has_prefix(name, UNNAMED_PREFIX))
        unlinkat(store->spool.fd, name, 0);
}

static void count_letter(Store *store, const char *name, gpointer data)
{
    *(guint *)data += number_of(name) != 0;
}

/* Where they were to go is lost with the index, they are not. On disk before there is a new index,
 * in which nothing would name them. */
static bool move_aside(Store *store, guint n, GError **error)
{
    char date[STORE_DATE_TEXT];
    store_date_text(date);
    g_autofree char *name = g_strdup_printf("spool.unsent-%s", date);
    if (renameat(store->state.fd, "spool", store->state.fd, name) != 0 ||
        fsync(store->state.fd) != 0) {
        db_set_errno("spool", "unsent letters cannot be moved aside", errno, error);
        return false;
    }
    log_error("store",
              "%u letters that were not sent are in %s/%s: the index that knew where to is "
              "gone",
              n, store->state.path, name);
    return true;
}

bool spool_set_aside(Store *store, GError **error)
{
    guint n = 0;
    bool ok = dir_open_child(&store->state, "spool", &store->spool, error) &&
              each_name(store, count_letter, &n, error) && (n == 0 || move_aside(store, n, error));
    dir_close(&store->spool);
    return ok;
}

bool spool_store_open(Store *store, GError **error)
{
    return dir_open_child(&store->state, "spool", &store->spool, error) &&
           each_name(store, see_name, NULL, error);
}

static void add_number(Store *store, const char *name, gpointer data)
{
    guint32 n = number_of(name);
    if (n != 0)
        g_array_append_val((GArray *)data, n);
}

GArray *spool_numbers(Store *store, GError **error)
{
    GArray *numbers = g_array_new(FALSE, FALSE, sizeof(guint32));
    if (each_name(store, add_number, numbers, error))
        return numbers;
    g_array_unref(numbers);
    return NULL;
}

/* --- writing --- */

static bool fail(const char *doing, GError **error)
{
    db_set_errno("spool", doing, errno, error);
    return false;
}

/* A file without a name, or with one that says that it is nothing yet. -1: errno. */
static int open_unnamed(Spool *spool)
{
    int dir = spool->store->spool.fd;
    int fd = openat(dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
        return fd;
    g_snprintf(spool->unnamed, sizeof spool->unnamed, UNNAMED_PREFIX "%" G_GUINT32_FORMAT,
               store_take_number(spool->store));
    return openat(dir, spool->unnamed, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
}

Spool *spool_new(Store *store, GError **error)
{
    Spool *spool = g_new0(Spool, 1);
    spool->store = store;
    spool->n = store_take_number(store);
    spool->fd = spool->n != 0 ? open_unnamed(spool) : -1;
    if (spool->fd >= 0)
        return spool;
    if (spool->n == 0)
        g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_FULL, "there are no numbers left");
    else
        fail("a file cannot be made", error);
    g_free(spool);
    return NULL;
}

guint32 spool_number(const Spool *spool)
{
    return spool->n;
}

int spool_fd(Spool *spool)
{
    return spool->fd;
}

static void close_file(Spool *spool)
{
    if (spool->unnamed[0] != '\0')
        unlinkat(spool->store->spool.fd, spool->unnamed, 0);
    if (spool->fd >= 0)
        close(spool->fd);
}

void spool_free(Spool *spool)
{
    if (spool == NULL)
        return;
    close_file(spool);
    g_free(spool);
}

/* --- line ends --- */

/* A copy under way: what was read goes through a buffer, in which lines get their ends. */
typedef struct {
    int from, to;
    bool after_cr; /* the last byte read was a CR, which is not written yet */
    bool changed;  /* what was written is not what was read */
    guint64 size;  /* written, or it would be */
    GByteArray *out;
} Lines;

static bool flush_lines(Lines *lines, GError **error)
{
    for (gsize done = 0; lines->to >= 0 && done < lines->out->len;) {
        ssize_t n = write(lines->to, lines->out->data + done, lines->out->len - done);
        if (n < 0 && errno != EINTR)
            return fail("cannot be written", error);
        done += n > 0 ? (gsize)n : 0;
    }
    lines->size += lines->out->len;
    g_byte_array_set_size(lines->out, 0);
    if (lines->size <= LIMIT_LETTER)
        return true;
    g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_TOO_BIG,
                "the letter is over %u bytes, which is the most that one may have", LIMIT_LETTER);
    return false;
}

static void end_line(Lines *lines)
{
    g_byte_array_append(lines->out, (const guint8 *)"\r\n", 2);
}

static void add_bytes(Lines *lines, const guint8 *bytes, gsize length)
{
    for (gsize i = 0; i < length; i++) {
        bool lf = bytes[i] == '\n';
        if (lines->after_cr || lf) {
            lines->changed |= lines->after_cr != lf;
            end_line(lines);
        }
        lines->after_cr = bytes[i] == '\r';
        if (!lf && !lines->after_cr)
            g_byte_array_append(lines->out, bytes + i, 1);
    }
}

static bool add_slice(Lines *lines, const guint8 *bytes, gsize length, GError **error)
{
    if (memchr(bytes, 0, length) != NULL) {
        g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_INVALID, "the letter has a zero byte in it");
        return false;
    }
    add_bytes(lines, bytes, length);
    return flush_lines(lines, error);
}

static bool read_all(Lines *lines, GError **error)
{
    g_autofree guint8 *slice = g_malloc(SLICE);
    off_t at = 0;
    for (;;) {
        ssize_t n = pread(lines->from, slice, SLICE, at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail("cannot be read", error);
        if (n == 0)
            break;
        at += n;
        if (!add_slice(lines, slice, (gsize)n, error))
            return false;
    }
    if (lines->after_cr) {
        lines->changed = true;
        end_line(lines);
    }
    return flush_lines(lines, error);
}

/* From one file to another (-1: to none, only to see whether anything would change). */
static bool copy_lines(int from, int to, const char *insert, guint64 *size_out, bool *changed_out,
                       GError **error)
{
    Lines lines = {.from = from, .to = to, .out = g_byte_array_new()};
    if (insert != NULL)
        g_byte_array_append(lines.out, (const guint8 *)insert, (guint)strlen(insert));
    bool ok = read_all(&lines, error);
    *size_out = lines.size;
    *changed_out = lines.changed || insert != NULL;
    g_byte_array_unref(lines.out);
    return ok;
}

/* The bytes as they are to be sent, in another file that takes the place of the first. */
static bool rewrite(Spool *spool, const char *insert, guint64 *size_out, GError **error)
{
    Spool other = {.store = spool->store, .n = spool->n};
    bool changed;
    other.fd = open_unnamed(&other);
    if (other.fd < 0)
        return fail("a file cannot be made", error);
    if (!copy_lines(spool->fd, other.fd, insert, size_out, &changed, error)) {
        close_file(&other);
        return false;
    }
    close_file(spool);
    *spool = other;
    return true;
}

/* --- its name --- */

static bool give_name(Spool *spool, GError **error)
{
    char name[NAME_MAX_SPOOL], self[64];
    int dir = spool->store->spool.fd;
    spool_name(spool->n, name);
    g_snprintf(self, sizeof self, "/proc/self/fd/%d", spool->fd);
    if (spool->unnamed[0] != '\0' ? renameat(dir, spool->unnamed, dir, name)
                                  : linkat(AT_FDCWD, self, dir, name, AT_SYMLINK_FOLLOW))
        return fail("cannot be named", error);
    spool->unnamed[0] = '\0';
    if (fsync(dir) == 0)
        return true;
    fail("cannot be synced", error);
    unlinkat(dir, name, 0);
    return false;
}

bool spool_commit(Spool *spool, const char *insert, guint64 *size_out, GError **error)
{
    bool changed;
    if (!copy_lines(spool->fd, -1, insert, size_out, &changed, error) ||
        (changed && !rewrite(spool, insert, size_out, error)))
        return false;
    if (fdatasync(spool->fd) != 0)
        return fail("cannot be synced", error);
    return give_name(spool, error);
}

/* --- what is committed --- */

int spool_open(Store *store, guint32 n, GError **error)
{
    char name[NAME_MAX_SPOOL];
    spool_name(n, name);
    int fd = openat(store->spool.fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_GONE, "the letter %s is not in the spool",
                    name);
    else if (fd < 0)
        fail("a letter cannot be opened", error);
    return fd;
}

void spool_unlink(Store *store, guint32 n)
{
    char name[NAME_MAX_SPOOL];
    spool_name(n, name);
    if (unlinkat(store->spool.fd, name, 0) != 0 && errno != ENOENT)
        log_warn("store", "spool/%s cannot be removed: %s", name, g_strerror(errno));
}
