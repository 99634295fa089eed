/* ops.c - the operations of the kernel, as a table: which question each is, and how its answer is
 * told.
 *
 * Nothing here waits: questions go through request_start(), changes to changes.c. */
#include "impl.h"

#include <errno.h>
#include <string.h>

#include "imapfs/base/log.h"

static void note(Front *front, const TreeEntry *entry)
{
    if (front->no_open)
        exact_note(front, entry);
    else
        estimates_note(&front->estimates, entry);
}

struct fuse_entry_param ops_entry_param(Front *front, const TreeEntry *entry)
{
    note(front, entry);
    return (struct fuse_entry_param){.ino = entry->ino,
                                     .attr = entry->st,
                                     .entry_timeout = entry->entry_ttl,
                                     .attr_timeout = entry->attr_ttl};
}

/* --- lookup --- */

static TreeStatus lookup_ask(Request *r)
{
    TreeStatus status = tree_lookup(r->front->tree, &r->ask, r->ino, r->name, &r->entry);

    return status == TREE_OK ? exact_open_made(r) : status;
}

static void lookup_reply(Request *r)
{
    struct fuse_entry_param param;

    if (r->file) {
        exact_reply_made(r);
        return;
    }
    param = ops_entry_param(r->front, &r->entry);
    fuse_reply_entry(r->req, &param);
}

static void lookup_fail(Request *r, int err)
{
    struct fuse_entry_param none = {.entry_timeout = r->entry.entry_ttl};

    if (err == ENOENT && none.entry_timeout > 0)
        fuse_reply_entry(r->req, &none); /* the kernel may keep this one */
    else
        fuse_reply_err(r->req, err);
}

static const RequestKind lookup_kind = {"lookup", lookup_ask, lookup_reply, lookup_fail};

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    Request *r = request_new(req, &lookup_kind, parent);

    r->name = name;
    request_start(r);
}

static void forget(Front *front, fuse_ino_t ino)
{
    estimates_take(&front->estimates, ino);
    if (front->no_open)
        exact_forget(front, ino);
}

static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup)
{
    forget(fuse_req_userdata(req), ino);
    fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
    for (size_t i = 0; i < count; i++)
        forget(fuse_req_userdata(req), forgets[i].ino);
    fuse_reply_none(req);
}

/* --- getattr, readlink, statfs --- */

static TreeStatus getattr_ask(Request *r)
{
    if (exact_find(r->front, r->ino, &r->entry))
        return TREE_OK;
    return tree_getattr(r->front->tree, &r->ask, r->ino, &r->entry);
}

static void getattr_reply(Request *r)
{
    note(r->front, &r->entry);
    fuse_reply_attr(r->req, &r->entry.st, r->entry.attr_ttl);
}

/* A file that is open outlives its message. */
static void getattr_fail(Request *r, int err)
{
    TreeEntry entry;

    if (err == ESTALE && files_find(r->front, r->ino, &entry)) {
        entry.st.st_nlink = 0;
        fuse_reply_attr(r->req, &entry.st, entry.attr_ttl);
    } else {
        fuse_reply_err(r->req, err);
    }
}

static const RequestKind getattr_kind = {"getattr", getattr_ask, getattr_reply, getattr_fail};

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    request_start(request_new(req, &getattr_kind, ino));
}

static TreeStatus readlink_ask(Request *r)
{
    return tree_readlink(r->front->tree, &r->ask, r->ino, &r->target);
}

static void readlink_reply(Request *r)
{
    fuse_reply_readlink(r->req, r->target);
}

static const RequestKind readlink_kind = {"readlink", readlink_ask, readlink_reply, NULL};

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
    request_start(request_new(req, &readlink_kind, ino));
}

static TreeStatus statfs_ask(Request *r)
{
    return tree_statfs(r->front->tree, &r->ask, &r->statvfs);
}

static void statfs_reply(Request *r)
{
    fuse_reply_statfs(r->req, &r->statvfs);
}

static const RequestKind statfs_kind = {"statfs", statfs_ask, statfs_reply, NULL};

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
    request_start(request_new(req, &statfs_kind, ino));
}

/* --- listings --- */

/* ENOSYS: the kernel then opens directories by itself and keeps their listings. */
static void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    fuse_reply_err(req, ENOSYS);
}

static bool put(Request *r, gsize needed)
{
    if (needed > r->size - r->used)
        return false;
    r->used += needed;
    return true;
}

static bool add_name(const char *name, const TreeEntry *entry, guint64 cookie, gpointer data)
{
    Request *r = data;

    return put(r, fuse_add_direntry(r->req, r->buffer + r->used, r->size - r->used, name,
                                    &entry->st, (off_t)cookie));
}

static bool add_entry(const char *name, const TreeEntry *entry, guint64 cookie, gpointer data)
{
    Request *r = data;
    struct fuse_entry_param param = {.attr = entry->st};

    /* Those without attributes: number 0 says so. */
    if (entry->st.st_nlink && !(r->front->no_open && tree_ino_is_made(entry->ino)))
        param = ops_entry_param(r->front, entry);
    return put(r, fuse_add_direntry_plus(r->req, r->buffer + r->used, r->size - r->used, name,
                                         &param, (off_t)cookie));
}

static TreeStatus list(Request *r, bool full)
{
    r->used = 0;
    if (!r->buffer)
        r->buffer = g_malloc(r->size);
    return tree_readdir(r->front->tree, &r->ask, r->ino, r->offset, full,
                        full ? add_entry : add_name, r);
}

static TreeStatus readdir_ask(Request *r)
{
    return list(r, false);
}

static TreeStatus readdirplus_ask(Request *r)
{
    return list(r, true);
}

static void readdir_reply(Request *r)
{
    notifier_note_listing(r->front->notifier, r->ino, r->offset, r->used == 0);
    fuse_reply_buf(r->req, r->buffer, r->used);
}

static const RequestKind readdir_kind = {"readdir", readdir_ask, readdir_reply, NULL};
static const RequestKind readdirplus_kind = {"readdirplus", readdirplus_ask, readdir_reply, NULL};

static void start_list(fuse_req_t req, const RequestKind *kind, fuse_ino_t ino, size_t size,
                       off_t offset)
{
    Request *r = request_new(req, kind, ino);

    r->size = size;
    r->offset = (guint64)offset;
    request_start(r);
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                       struct fuse_file_info *fi)
{
    start_list(req, &readdir_kind, ino, size, offset);
}

static void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                           struct fuse_file_info *fi)
{
    start_list(req, &readdirplus_kind, ino, size, offset);
}

/* --- extended attributes --- */

static TreeStatus getxattr_ask(Request *r)
{
    return tree_getxattr(r->front->tree, &r->ask, r->ino, r->name, &r->value);
}

static TreeStatus listxattr_ask(Request *r)
{
    return tree_listxattr(r->front->tree, &r->ask, r->ino, &r->value);
}

static void xattr_reply(Request *r)
{
    gsize length = 0;
    const char *bytes = g_bytes_get_data(r->value, &length);

    if (r->size == 0)
        fuse_reply_xattr(r->req, length);
    else if (length > r->size)
        fuse_reply_err(r->req, ERANGE);
    else
        fuse_reply_buf(r->req, bytes, length);
}

static const RequestKind getxattr_kind = {"getxattr", getxattr_ask, xattr_reply, NULL};
static const RequestKind listxattr_kind = {"listxattr", listxattr_ask, xattr_reply, NULL};

static void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
    Request *r = request_new(req, &getxattr_kind, exact_origin(fuse_req_userdata(req), ino));

    r->name = name;
    r->size = size;
    request_start(r);
}

static void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
    Request *r = request_new(req, &listxattr_kind, exact_origin(fuse_req_userdata(req), ino));

    r->size = size;
    request_start(r);
}

/* --- what cannot be done yet --- */

static void refuse(fuse_req_t req)
{
    const Front *front = fuse_req_userdata(req);

    fuse_reply_err(req, front->read_only ? EROFS : EPERM);
}

static void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
    refuse(req);
}

static void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
    refuse(req);
}

/* --- the table --- */

#define READAHEAD (16u * 1024)

/* The kernel then never sends OPEN and RELEASE, and keeps what it has read; O_TRUNC, which it would
 * lose, is none of a read-only mount. Contents are whole, so it may read them as it likes. */
static void init_exact(Front *front, struct fuse_conn_info *connection)
{
    front->no_open = connection->capable & FUSE_CAP_NO_OPEN_SUPPORT;
    if (!front->no_open)
        log_warn("fuse", "the kernel does not read files without opening them: exact is slower");
    connection->want &= ~(unsigned)FUSE_CAP_ATOMIC_O_TRUNC;
    connection->want |=
        connection->capable & FUSE_CAP_AUTO_INVAL_DATA; /* for events, as it grows */
}

static void op_init(void *userdata, struct fuse_conn_info *connection)
{
    Front *front = userdata;

    /* The kernel's 12 hold up every other large read once 12 wait. */
    connection->max_background = 256;
    connection->congestion_threshold = 192;
    /* What the kernel reads ahead of a small read of a large part comes over the network: a reader
     * who goes on is recognised here, and large reads are asked for as they are. */
    if (!front->exact)
        connection->max_readahead = MIN(connection->max_readahead, READAHEAD);
    /* O_TRUNC comes with the OPEN and stays with its file: as a SETATTR before the OPEN, which does
     * not name the file, "echo +F > flags" could not be told from "truncate -s 0 flags". The kernel
     * loses it only where opens go unanswered (ENOSYS). */
    connection->want |= connection->capable & FUSE_CAP_ATOMIC_O_TRUNC;
    connection->want |= connection->capable & FUSE_CAP_CACHE_SYMLINKS;
    /* Left to itself the kernel asks for the attributes of a directory's first names only, and then
     * for each of the others when a walk comes there. Which listings have them is decided in the
     * tree. */
    connection->want &= ~(unsigned)FUSE_CAP_READDIRPLUS_AUTO;
    if (front->exact)
        init_exact(front, connection);
}

/* No access: the kernel checks modes itself (allow_other), or nobody but the owner gets in. */
const struct fuse_lowlevel_ops front_ops = {
    .init = op_init,
    .lookup = op_lookup,
    .forget = op_forget,
    .forget_multi = op_forget_multi,
    .getattr = op_getattr,
    .readlink = op_readlink,
    .statfs = op_statfs,
    .opendir = op_opendir,
    .readdir = op_readdir,
    .readdirplus = op_readdirplus,
    .open = files_op_open,
    .read = files_op_read,
    .release = files_op_release,
    .getxattr = op_getxattr,
    .listxattr = op_listxattr,
    .mknod = op_mknod,
    .mkdir = names_op_mkdir,
    .unlink = names_op_unlink,
    .rmdir = names_op_rmdir,
    .symlink = op_symlink,
    .rename = names_op_rename,
    .link = letters_op_link,
    .create = letters_op_create,
    .flush = letters_op_flush,
    .copy_file_range = letters_op_copy_file_range,
    .setattr = changes_op_setattr,
    .setxattr = changes_op_setxattr,
    .removexattr = changes_op_removexattr,
    .write = changes_op_write,
    .fsync = changes_op_fsync,
    .fsyncdir = changes_op_fsyncdir,
};
