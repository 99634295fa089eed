/* message.c - the directories of a message: its own, attachments/, and those of nested messages.
 *
 * What is in them is immutable: it follows from the structure of the message alone. */
#include <string.h>

#include "node.h"

static bool is_child(const LayoutNode *part, guint index, guint parent)
{
    return index != LAYOUT_INDEX_DIR && part->parent == parent;
}

/* Index of the child of that name, 0 for none. */
static guint find_child(const Layout *layout, guint parent, const char *name, guint end)
{
    for (guint i = LAYOUT_INDEX_HEADERS; i < MIN(end, layout->nodes->len); i++) {
        const LayoutNode *part = g_ptr_array_index(layout->nodes, i);
        if (is_child(part, i, parent) && strcmp(part->name, name) == 0)
            return i;
    }
    return 0;
}

guint message_child(const Layout *layout, guint parent, const char *name)
{
    return find_child(layout, parent, name, G_MAXUINT);
}

static TreeStatus message_lookup(const Call *call, const Node *dir, const char *name,
                                 TreeEntry *out)
{
    const Layout *layout = call->tree->bare;
    guint index = 0;
    TreeStatus status;
    Node node;

    /* headers.txt, flags and message.eml are in every message, whatever its structure is. */
    if (dir->ino.slot == LAYOUT_INDEX_DIR)
        index = find_child(layout, LAYOUT_INDEX_DIR, name, LAYOUT_INDEX_FIRST_PART);
    if (!index) {
        status = layout_load(call, dir->ino.box, dir->ino.uid, &layout);
        if (status != TREE_OK)
            return status;
        index = find_child(layout, dir->ino.slot, name, G_MAXUINT);
    }
    if (!index)
        return call_negative(call, NODE_TTL, out);
    node_of_layout(&node, dir, layout, index);
    if (unlinked_has(call->tree->unlinked, node.number))
        return call_negative(call, 0, out);
    status = call_size_known(call, &node);
    if (status == TREE_OK)
        node_entry(call, &node, out);
    return status;
}

static guint64 parent_number(const Call *call, const Node *dir)
{
    if (dir->ino.slot == LAYOUT_INDEX_DIR)
        return tree_ino_box(where_shown(call->reader, dir->ino.box, dir->ino.uid));
    return ino_pack(dir->ino.box, dir->ino.uid, dir->part->parent);
}

/* Without its attributes when its size would have to be asked for first: who walks names (grep,
 * find) does not want it, and who does asks for it by name. */
static bool add_part(Listing *listing, guint index, const char *name, const Node *node)
{
    Listing names = *listing;

    names.full = names.full && call_size_known(listing->call, node) == TREE_OK;
    return listing_add(&names, COOKIE_MESSAGE + index, name, node);
}

static TreeStatus message_readdir(const Node *dir, Listing *listing)
{
    const Layout *layout = NULL;
    TreeStatus status = layout_load(listing->call, dir->ino.box, dir->ino.uid, &layout);
    bool more;

    if (status != TREE_OK)
        return status;
    more = listing_add_dots(listing, dir, parent_number(listing->call, dir));
    for (guint i = LAYOUT_INDEX_HEADERS; more && i < layout->nodes->len; i++) {
        const LayoutNode *part = g_ptr_array_index(layout->nodes, i);
        Node node;

        if (!is_child(part, i, dir->ino.slot))
            continue;
        node_of_layout(&node, dir, layout, i);
        if (unlinked_has(listing->call->tree->unlinked, node.number))
            continue;
        more = add_part(listing, i, part->name, &node);
    }
    return TREE_OK;
}

/* A directory that something was taken out of has the time of that, until it is back: the kernel
 * keeps its listing as long as its time is the same. */
static void message_fill(const Call *call, const Node *node, TreeEntry *out)
{
    gint64 since = unlinked_since(call->tree->unlinked, node->number);

    if (!since)
        return;
    entry_set_ns(out, since);
    out->attr_ttl = 0;
}

const NodeKind kind_message = {
    .name = "message",
    .mode = S_IFDIR | 0700,
    .xattrs = XATTR_OF_MESSAGE,
    .lookup = message_lookup,
    .fill = message_fill,
    .readdir = message_readdir,
    .changes = CHANGES_OF_XATTRS | 1 << TREE_CHANGE_UNLINK | 1 << TREE_CHANGE_RMDIR,
    .change = message_change,
};
