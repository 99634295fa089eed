/* names.c - what changes names: unlink, rmdir, mkdir, rename.
 *
 * The kernel holds the locks of the directories until it is answered, and then has the new names
 * without asking. What else it believes (of .imapfs/raw, of listings) the notifier takes back,
 * which waits for these locks: so never before the answer. */
#include "impl.h"

#include <errno.h>
#include <string.h>

#ifndef RENAME_NOREPLACE /* linux/fs.h */
#define RENAME_NOREPLACE (1 << 0)
#endif

static const RequestKind name_kind = {"name", changes_ask, changes_reply, NULL};

static void change(fuse_req_t req, const RequestKind *kind, TreeChange what)
{
    Request *r = changes_begin(req, kind, what);

    if (r)
        changes_submit(r);
}

void names_op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    change(req, &name_kind, (TreeChange){.kind = TREE_CHANGE_UNLINK, .ino = parent, .name = name});
}

/* First what has to be known for it, which may have to be waited for. */
static TreeStatus rmdir_ask(Request *r)
{
    r->change.name = r->name;
    return tree_prepare(r->front->tree, &r->ask, &r->change);
}

static void rmdir_reply(Request *r)
{
    change(r->req, &name_kind, r->change);
}

static const RequestKind rmdir_kind = {"rmdir", rmdir_ask, rmdir_reply, NULL};

void names_op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    Front *front = fuse_req_userdata(req);
    TreeChange what = {.kind = TREE_CHANGE_RMDIR, .ino = parent, .name = name};
    int err = front->read_only ? EROFS : tree_change_refusal(&what);
    Request *r;

    if (err) {
        fuse_reply_err(req, err);
        return;
    }
    r = request_new(req, &rmdir_kind, parent);
    r->name = name;
    r->change = what;
    request_start(r);
}

void names_op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
                     const char *new_name, unsigned int flags)
{
    if (flags & ~(unsigned int)RENAME_NOREPLACE) {
        fuse_reply_err(req, EINVAL);
        return;
    }
    change(req, &name_kind,
           (TreeChange){.kind = TREE_CHANGE_RENAME,
                        .ino = parent,
                        .name = name,
                        .new_ino = new_parent,
                        .new_name = new_name,
                        .flags = (int)flags});
}

/* Done; and what the new directory is. */
static TreeStatus mkdir_ask(Request *r)
{
    TreeStatus status = changes_ask(r);

    return status == TREE_OK
               ? tree_lookup(r->front->tree, &r->ask, r->ino, r->change.name, &r->entry)
               : status;
}

static void mkdir_reply(Request *r)
{
    struct fuse_entry_param param = ops_entry_param(r->front, &r->entry);

    fuse_reply_entry(r->req, &param);
}

static const RequestKind mkdir_kind = {"mkdir", mkdir_ask, mkdir_reply, NULL};

/* The mode means nothing: rights are the server's. */
void names_op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    change(req, &mkdir_kind, (TreeChange){.kind = TREE_CHANGE_MKDIR, .ino = parent, .name = name});
}
