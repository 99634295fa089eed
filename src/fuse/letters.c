/* letters.c - files that become messages: create, write, close; and copies of whole messages.
 *
 * What counts is the close of the program that made the file. A file that it handed on to others
 * (a shell's redirection for several commands) is closed by each of them, and none of these closes
 * is the end; neither is that of a child which the program happens to start meanwhile. When it is
 * closed by nobody who made it, its release is the end, of which nobody can be told. */
#include "impl.h"

#include <errno.h>
#include <string.h>

#include "imapfs/base/log.h"
#include "imapfs/tree/ino.h"

/* --- who --- */

/* The process of a thread; 0: not known (it is in another PID namespace, or gone). */
static guint64 process_of(fuse_req_t req)
{
    pid_t thread = fuse_req_ctx(req)->pid;
    g_autofree char *path = NULL, *text = NULL;
    const char *line;

    if (thread <= 0)
        return 0;
    path = g_strdup_printf("/proc/%ld/status", (long)thread);
    if (!g_file_get_contents(path, &text, NULL, NULL) || !(line = strstr(text, "\nTgid:")))
        return 0;
    return g_ascii_strtoull(line + strlen("\nTgid:"), NULL, 10);
}

/* --- create --- */

static TreeStatus create_ask(Request *r)
{
    TreeStatus status = tree_create(r->front->tree, &r->ask, r->ino, r->name, &r->entry, &r->file);

    if (status == TREE_OK)
        tree_file_set_owner(r->file, process_of(r->req));
    return status;
}

static void create_reply(Request *r)
{
    struct fuse_entry_param param = ops_entry_param(r->front, &r->entry);

    files_reply_create(r->front, r->req, &param, &r->fi, g_steal_pointer(&r->file));
}

static const RequestKind create_kind = {"create", create_ask, create_reply, NULL};

void letters_op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
                       struct fuse_file_info *fi)
{
    Front *front = fuse_req_userdata(req);
    Request *r;

    if (front->read_only) {
        fuse_reply_err(req, EROFS);
        return;
    }
    r = request_new(req, &create_kind, parent);
    r->name = r->own_name = g_strdup(name);
    r->fi = *fi;
    changes_push(r); /* it makes a file on the disk */
}

void letters_opened(fuse_req_t req, TreeFile *file)
{
    if (tree_file_is_letter(file))
        tree_file_set_owner(file, process_of(req));
}

/* --- write, attributes --- */

void letters_write(fuse_req_t req, TreeFile *file, const char *bytes, size_t size, off_t offset)
{
    int err = tree_file_write(file, bytes, size, (guint64)offset);

    if (err)
        fuse_reply_err(req, err);
    else
        fuse_reply_write(req, size);
}

/* Who copies a file sets mode and owner as well: the same owner is no change, and there is nothing
 * that a mode would mean. */
static int set_attributes(Front *front, fuse_ino_t ino, TreeFile *file, const struct stat *attr,
                          int to_set, const struct stat *now)
{
    int err = 0;

    if ((to_set & FUSE_SET_ATTR_UID && attr->st_uid != now->st_uid) ||
        (to_set & FUSE_SET_ATTR_GID && attr->st_gid != now->st_gid))
        return EPERM;
    if (to_set & FUSE_SET_ATTR_SIZE)
        err = tree_letter_truncate(front->tree, ino, file, (guint64)attr->st_size);
    else if (to_set & FUSE_SET_ATTR_MTIME && !(to_set & FUSE_SET_ATTR_MTIME_NOW))
        err = tree_letter_touch(front->tree, ino, attr->st_mtim.tv_sec);
    return err;
}

bool letters_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, TreeFile *file)
{
    Front *front = fuse_req_userdata(req);
    TreeAsk ask = {0};
    TreeEntry entry = {0};
    int err = 0;

    if (!tree_ino_is_letter(ino) && !(file && tree_file_is_letter(file)))
        return false;
    if (front->read_only)
        err = EROFS;
    else if (tree_getattr(front->tree, &ask, ino, &entry) != TREE_OK)
        err = ask.err ? ask.err : ESTALE;
    if (!err)
        err = set_attributes(front, ino, file, attr, to_set, &entry.st);
    if (!err)
        tree_getattr(front->tree, &ask, ino, &entry);
    tree_ask_clear(&ask);
    if (err) {
        fuse_reply_err(req, err);
        return true;
    }
    if (file)
        entry.st.st_size = (off_t)tree_file_size(file);
    fuse_reply_attr(req, &entry.st, 0);
    return true;
}

/* --- close --- */

static Request *letter_request(fuse_req_t req, const RequestKind *kind, fuse_ino_t ino,
                               TreeFile *file)
{
    Request *r = request_new(req, kind, ino);

    r->change = (TreeChange){.kind = TREE_CHANGE_LETTER, .ino = ino, .file = file};
    r->has_change = true;
    return r;
}

static const RequestKind flush_kind = {"flush", changes_ask, changes_reply, NULL};

void letters_op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    TreeFile *file = (TreeFile *)(uintptr_t)fi->fh;
    guint64 owner, who;

    if (((Front *)fuse_req_userdata(req))->no_open) {
        fuse_reply_err(req, ENOSYS); /* and never again */
        return;
    }
    if (!file || !tree_file_owes_letter(file)) {
        fuse_reply_err(req, 0);
        return;
    }
    owner = tree_file_owner(file);
    who = process_of(req);
    if (owner && who && owner != who)
        fuse_reply_err(req, 0);
    else
        changes_submit(letter_request(req, &flush_kind, ino, file));
}

static void release_reply(Request *r)
{
    files_close(r->front, r->change.file);
    fuse_reply_err(r->req, 0);
}

static void release_fail(Request *r, int err)
{
    log_warn("fuse",
             "a letter that was closed by another program than its own: %s; no message "
             "was made",
             g_strerror(err));
    release_reply(r);
}

static const RequestKind release_kind = {"release", changes_ask, release_reply, release_fail};

void letters_release(fuse_req_t req, fuse_ino_t ino, TreeFile *file)
{
    changes_submit(letter_request(req, &release_kind, ino, file));
}

/* --- copies of whole messages --- */

/* EOPNOTSUPP: the kernel reads and writes in place of this. */
void letters_op_copy_file_range(fuse_req_t req, fuse_ino_t from, off_t from_offset,
                                struct fuse_file_info *from_fi, fuse_ino_t to, off_t to_offset,
                                struct fuse_file_info *to_fi, size_t length, int flags)
{
    Front *front = fuse_req_userdata(req);
    TreeFile *file = (TreeFile *)(uintptr_t)to_fi->fh;
    guint64 copied = 0;
    int err = EOPNOTSUPP;

    if (file && tree_file_is_letter(file))
        err = tree_file_copy(front->tree, from, (guint64)from_offset, length, file,
                             (guint64)to_offset, &copied);
    if (err)
        fuse_reply_err(req, err);
    else
        fuse_reply_write(req, copied);
}

/* The kernel wants a node of the same type. */
static TreeStatus link_ask(Request *r)
{
    TreeStatus status = changes_ask(r);

    if (status == TREE_OK)
        status = tree_getattr(r->front->tree, &r->ask, tree_ino_made(&r->change), &r->entry);
    r->entry.entry_ttl = r->entry.attr_ttl = 0;
    return status;
}

static void link_reply(Request *r)
{
    struct fuse_entry_param param = ops_entry_param(r->front, &r->entry);

    fuse_reply_entry(r->req, &param);
}

static const RequestKind link_kind = {"link", link_ask, link_reply, NULL};

void letters_op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t new_parent, const char *new_name)
{
    Request *r = changes_begin(
        req, &link_kind,
        (TreeChange){
            .kind = TREE_CHANGE_LINK, .ino = ino, .new_ino = new_parent, .new_name = new_name});

    if (r)
        changes_submit(r);
}
