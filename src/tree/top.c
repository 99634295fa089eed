/* top.c - the root: the mailboxes of the top level, and .imapfs, which is not listed.
 *
 * What is in it is as good as the list of mailboxes. */
#include <errno.h>
#include <string.h>

#include "node.h"

static void root_fill(const Call *call, const Node *node, TreeEntry *out)
{
    gint64 changed = store_top_changed(call->reader);

    if (changed)
        entry_set_ns(out, changed);
}

static TreeStatus root_lookup(const Call *call, const Node *dir, const char *name, TreeEntry *out)
{
    if (strcmp(name, ".imapfs") == 0) {
        g_auto(Node) control = {0};
        TreeStatus status = node_load(call, ino_pack(0, 0, SLOT_CONTROL), &control);

        if (status == TREE_OK)
            node_entry(call, &control, out);
        return status;
    }
    return boxes_lookup(call, 0, name, TREE_VIEW_TREE, out);
}

static TreeStatus root_readdir(const Node *dir, Listing *listing)
{
    TreeStatus status = listing->after ? TREE_OK : call_boxes_fresh(listing->call);

    if (status != TREE_OK)
        return status;
    if (listing_add_dots(listing, dir, TREE_ROOT_INO))
        boxes_list(listing, 0, TREE_VIEW_TREE);
    return TREE_OK;
}

static int root_change(Changing *changing, const Node *dir)
{
    return strcmp(changing->change->name, ".imapfs") == 0 ? EPERM : boxes_change(changing, dir);
}

const NodeKind kind_root = {
    .name = "root",
    .mode = S_IFDIR | 0700,
    .fill = root_fill,
    .lookup = root_lookup,
    .readdir = root_readdir,
    .changes = CHANGES_OF_NAMES,
    .change = root_change,
};
