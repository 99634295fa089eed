/* box_changes.c - mkdir, rmdir and mv of mailboxes, in the root and in mailboxes.
 *
 * The rule: a name is taken only if it is the very name that the mailbox will be shown by; all
 * others get EPERM, as desktops make directories of their own wherever they may (".Trash-1000").
 * What the log refuses for reasons of the tree is EPERM, what the server's rights forbid EACCES. */
#include <errno.h>
#include <string.h>

#include "imapfs/base/clock.h"
#include "imapfs/base/error.h"
#include "imapfs/base/limits.h"
#include "imapfs/base/log.h"
#include "imapfs/mime/name.h"
#include "imapfs/wire/response.h"
#include "node.h"

#ifndef RENAME_NOREPLACE /* linux/fs.h */
#define RENAME_NOREPLACE (1 << 0)
#endif

/* What the log says no to, where it has not failed. */
static int refuse(Changing *changing, GError *error)
{
    bool mine = g_error_matches(error, IMAPFS_ERROR, IMAPFS_ERROR_DENIED) ||
                g_error_matches(error, IMAPFS_ERROR, IMAPFS_ERROR_INVALID);
    int err = changing_refuse(changing, error);

    return mine ? EPERM : err;
}

static int done(Changing *changing)
{
    changing_note_boxes(changing);
    changing_note(changing, 0, 0);
    return 0;
}

bool box_permits(const StoreBox *box, char right)
{
    return !box->rights || strchr(box->rights, right);
}

/* The delimiter of the names in a directory; 0: there can be none in it. */
static char delimiter_in(const Call *call, const Node *dir)
{
    g_auto(StoreBox) inbox = {0};

    if (dir->ino.box)
        return dir->box.attributes & LIST_NOINFERIORS ? '\0' : dir->box.delimiter;
    return store_box_by_name(call->reader, "INBOX", &inbox) && inbox.delimiter ? inbox.delimiter
                                                                               : '/';
}

/* The canonical name of what is to be called so in a directory. */
static int name_in(const Call *call, const Node *dir, const char *name, char **out)
{
    g_autofree char *level = name_mailbox_level_decode(name);
    g_autofree char *shown = level ? name_mailbox_level(level) : NULL;
    char delimiter = delimiter_in(call, dir);

    if (!delimiter || !level || !*level || strcmp(shown, name) != 0 || strchr(level, delimiter)) {
        g_autofree char *safe = log_printable(name, strlen(name), LIMIT_NAME);
        log_warn("tree", "%s: a mailbox cannot be called so here; nothing was changed", safe);
        return EPERM;
    }
    if (!dir->ino.box && g_ascii_strcasecmp(level, "INBOX") == 0)
        return EEXIST;
    if (dir->ino.box && !box_permits(&dir->box, 'k'))
        return EACCES;
    *out = dir->ino.box ? g_strdup_printf("%s%c%s", dir->box.name, delimiter, level)
                        : g_steal_pointer(&level);
    return 0;
}

static bool is_there(const Call *call, const Node *dir, const char *leaf, StoreBox *out)
{
    return store_box_by_leaf(call->reader, dir->ino.box, leaf, out);
}

static bool note_child(const StoreBox *box, gpointer data)
{
    *(bool *)data = true;
    return false;
}

static bool is_empty(const Call *call, const StoreBox *box)
{
    bool children = false;

    store_box_children(call->reader, box->id, 0, note_child, &children);
    return !children && !log_shown_count(call->reader, box->id) &&
           (box->listed || !box_is_selectable(box));
}

static int make(Changing *changing, const Node *dir)
{
    const Call *call = changing->call;
    const char *leaf = changing->change->name;
    g_auto(StoreBox) other = {0};
    g_autofree char *name = NULL;
    GError *error = NULL;
    int err;

    if (is_there(call, dir, leaf, &other))
        return EEXIST;
    err = name_in(call, dir, leaf, &name);
    if (err)
        return err;
    return log_mkbox(changing->txn, name, clock_real_ns(), NULL, &error) ? done(changing)
                                                                         : refuse(changing, error);
}

static int remove_one(Changing *changing, const Node *dir)
{
    const Call *call = changing->call;
    g_auto(StoreBox) box = {0};
    GError *error = NULL;

    if (!is_there(call, dir, changing->change->name, &box))
        return ENOENT;
    if (strcmp(box.name, "INBOX") == 0)
        return EPERM;
    if (!box_permits(&box, 'x'))
        return EACCES;
    if (!is_empty(call, &box))
        return ENOTEMPTY;
    return log_rmbox(changing->txn, box.id, clock_real_ns(), &error) ? done(changing)
                                                                     : refuse(changing, error);
}

/* What has the name already, if it is not the mailbox itself. */
static int check_target(const Call *call, const Node *dir, const StoreBox *box,
                        const TreeChange *change)
{
    g_auto(StoreBox) other = {0};

    if (!is_there(call, dir, change->new_name, &other) || other.id == box->id)
        return 0;
    return change->flags & RENAME_NOREPLACE || is_empty(call, &other) ? EEXIST : ENOTEMPTY;
}

static int rename_one(Changing *changing, const Node *dir)
{
    const Call *call = changing->call;
    const TreeChange *change = changing->change;
    g_auto(Node) to = {0};
    g_auto(StoreBox) box = {0};
    g_autofree char *name = NULL;
    GError *error = NULL;
    int err;

    if (node_load(call, change->new_ino, &to) != TREE_OK)
        return ESTALE;
    if (to.kind != &kind_mailbox && to.kind != &kind_root)
        return EPERM; /* cur/ and new/ are of a mailbox, but hold none */
    if (!is_there(call, dir, change->name, &box))
        return ENOENT;
    if (strcmp(box.name, "INBOX") == 0)
        return EPERM; /* RFC 9051 6.3.6: it would stay, and only its messages go */
    if (!box_permits(&box, 'x'))
        return EACCES;
    err = check_target(call, &to, &box, change);
    if (!err)
        err = name_in(call, &to, change->new_name, &name);
    if (err)
        return err;
    return log_renbox(changing->txn, box.id, name, clock_real_ns(), &error)
               ? done(changing)
               : refuse(changing, error);
}

int boxes_change(Changing *changing, const Node *dir)
{
    switch (changing->change->kind) {
    case TREE_CHANGE_MKDIR:
        return make(changing, dir);
    case TREE_CHANGE_RMDIR:
        return remove_one(changing, dir);
    case TREE_CHANGE_RENAME:
        return rename_one(changing, dir);
    default:
        return EPERM;
    }
}

/* Whether a mailbox that is to be removed is empty can only be told when it was listed. */
TreeStatus tree_prepare(Tree *tree, TreeAsk *ask, const TreeChange *change)
{
    Call call = {.tree = tree, .reader = store_reader(tree->config.store), .ask = ask};
    Ino dir = ino_unpack(change->ino);
    g_auto(StoreBox) box = {0};

    if (change->kind != TREE_CHANGE_RMDIR || dir.uid || name_looks_like_message(change->name) ||
        !store_box_by_leaf(call.reader, dir.box, change->name, &box) || box.listed || box.local ||
        !box_is_selectable(&box))
        return TREE_OK;
    return call_need(&call, NEED_MAILBOX, box.id, 0);
}
