/* raw.c - .imapfs/raw: the exact bytes of messages (MAILBOX/UID.eml) and of parts
 * (MAILBOX/UID/SECTION).
 *
 * The directories UID/ are found by name and not listed, so that a walk through raw/ reads every
 * message once. */
#include <string.h>

#include "node.h"

static TreeStatus raw_top_lookup(const Call *call, const Node *dir, const char *name,
                                 TreeEntry *out)
{
    return boxes_lookup(call, 0, name, TREE_VIEW_RAW, out);
}

static TreeStatus raw_top_readdir(const Node *dir, Listing *listing)
{
    TreeStatus status = listing->after ? TREE_OK : call_boxes_fresh(listing->call);

    if (status == TREE_OK && listing_add_dots(listing, dir, ino_pack(0, 0, SLOT_CONTROL)))
        boxes_list(listing, 0, TREE_VIEW_RAW);
    return status;
}

static void raw_top_fill(const Call *call, const Node *node, TreeEntry *out)
{
    gint64 changed = store_top_changed(call->reader);

    if (changed)
        entry_set_ns(out, changed);
}

static Node raw_node(guint32 box, const StoreMsg *msg, guint slot)
{
    return (Node){.number = ino_pack(box, msg->uid, slot),
                  .ino = {box, msg->uid, slot},
                  .kind = slot == SLOT_RAW_DIR ? &kind_raw_dir : &kind_raw_eml,
                  .msg = *msg};
}

static TreeStatus raw_box_lookup(const Call *call, const Node *dir, const char *name,
                                 TreeEntry *out)
{
    bool pending = *name == '+';
    guint32 box = pending ? STORE_BOX_PENDING : dir->ino.box;
    guint32 eml = uid_parse(name + pending, ".eml"),
            uid = eml ? eml : uid_parse(name + pending, "");
    g_auto(StoreMsg) msg = {0};
    TreeStatus status;

    if (!uid)
        return boxes_lookup(call, dir->ino.box, name, TREE_VIEW_RAW, out);
    status = message_find_in(call, dir, box, uid, &msg, out);
    if (status == TREE_OK) {
        Node node = raw_node(box, &msg, eml ? SLOT_RAW_EML : SLOT_RAW_DIR);
        message_entry(call, &node, out);
    }
    return status;
}

static bool list_eml(const Listing *listing, guint32 box, const StoreMsg *msg)
{
    Node node = raw_node(box, msg, SLOT_RAW_EML);
    g_autofree char *name = tree_uid_name(box, msg->uid, ".eml");

    return listing_add(listing, message_cookie(box, msg->uid), name, &node);
}

static TreeStatus raw_box_readdir(const Node *dir, Listing *listing)
{
    return messages_readdir(dir, listing, TREE_VIEW_RAW, tree_ino_raw_box(dir->box.parent),
                            list_eml);
}

/* --- UID/ --- */

static bool is_leaf(const LayoutNode *part)
{
    return *part->section && (part->kind == LAYOUT_TEXT || part->kind == LAYOUT_HTML ||
                              part->kind == LAYOUT_PART || part->kind == LAYOUT_EML);
}

/* Whether a node is the one that stands for its section: a nested message that is sent encoded is
 * also a file beside its directory, three nodes before the directory's message.eml. */
static bool has_section(const Layout *layout, guint index)
{
    const LayoutNode *part = g_ptr_array_index(layout->nodes, index);
    const LayoutNode *file;

    if (!is_leaf(part) || part->kind != LAYOUT_EML)
        return is_leaf(part);
    file = g_ptr_array_index(layout->nodes, index - 3);
    return !(is_leaf(file) && strcmp(file->section, part->section) == 0);
}

static bool is_called(const LayoutNode *part, const char *name)
{
    g_autofree char *own = layout_section_name(part->section);

    return strcmp(own, name) == 0;
}

static Node section_node(const Node *of, const Layout *layout, guint index)
{
    Node node;

    node_of_layout(&node, of, layout, index);
    node.ino.slot |= SLOT_RAW;
    node.number = ino_pack(node.ino.box, node.ino.uid, node.ino.slot);
    node.kind = &kind_raw_section;
    return node;
}

static TreeStatus raw_dir_lookup(const Call *call, const Node *dir, const char *name,
                                 TreeEntry *out)
{
    const Layout *layout = NULL;
    TreeStatus status = layout_load(call, dir->ino.box, dir->ino.uid, &layout);

    if (status != TREE_OK)
        return status;
    for (guint i = LAYOUT_INDEX_FIRST_PART; i < layout->nodes->len; i++) {
        const LayoutNode *part = g_ptr_array_index(layout->nodes, i);
        if (has_section(layout, i) && is_called(part, name)) {
            Node node = section_node(dir, layout, i);
            node_entry(call, &node, out);
            return TREE_OK;
        }
    }
    return call_negative(call, NODE_TTL, out);
}

static TreeStatus raw_dir_readdir(const Node *dir, Listing *listing)
{
    const Layout *layout = NULL;
    TreeStatus status = layout_load(listing->call, dir->ino.box, dir->ino.uid, &layout);
    bool more;

    if (status != TREE_OK)
        return status;
    more = listing_add_dots(
        listing, dir,
        tree_ino_raw_box(where_shown(listing->call->reader, dir->ino.box, dir->ino.uid)));
    for (guint i = LAYOUT_INDEX_FIRST_PART; more && i < layout->nodes->len; i++) {
        const LayoutNode *part = g_ptr_array_index(layout->nodes, i);
        if (has_section(layout, i)) {
            Node node = section_node(dir, layout, i);
            g_autofree char *name = layout_section_name(part->section);

            more = listing_add(listing, COOKIE_MESSAGE + i, name, &node);
        }
    }
    return TREE_OK;
}

/* --- the bytes --- */

static ContentKey raw_key(const Node *node)
{
    return (ContentKey){.box = node->ino.box,
                        .uid = node->ino.uid,
                        .kind = CONTENT_RAW,
                        .section = node->part ? node->part->section : ""};
}

static void raw_fill(const Call *call, const Node *node, TreeEntry *out)
{
    ContentKey key = raw_key(node);
    guint64 told = node->part ? node->part->encoded_size : node->msg.size;

    entry_set_content_size(call, &key, MAX(told, 1), true, out);
}

/* A whole message that is not here need not be for a copy to be made of it. */
static TreeStatus open_whole(const Call *call, const Node *node, const ContentKey *key,
                             TreeStatus status, TreeFile **file_out)
{
    Tree *tree = call->tree;
    gint64 exact;

    if (status == TREE_OK && node->msg.size)
        file_note_told(tree, node->msg.size, tree_file_size(*file_out));
    if (status != TREE_NEED || node->ino.box == STORE_BOX_PENDING || tree->config.exact)
        return status;
    exact = store_size_get(call->reader, key->box, key->uid, CONTENT_RAW, "");
    if (exact < 0 && g_atomic_int_get(&tree->told_sizes) == TOLD_RIGHT && node->msg.size)
        exact = (gint64)node->msg.size;
    if (exact < 0)
        return status;
    need_clear(&call->ask->need);
    *file_out = file_of_later(tree, key, (guint64)exact);
    return TREE_OK;
}

static TreeStatus raw_open(const Call *call, const Node *node, TreeFile **file_out)
{
    ContentKey key = raw_key(node);
    gint64 told = -1;
    TreeStatus status;

    if (node->part)
        told = (gint64)node->part->encoded_size;
    else if (node->msg.size)
        told = (gint64)node->msg.size;
    status = file_open_content(call, &key, NULL, told, file_out);
    return node->part ? status : open_whole(call, node, &key, status, file_out);
}

const NodeKind kind_raw_top = {
    .name = "raw-top",
    .mode = MODE_DIR,
    .fill = raw_top_fill,
    .lookup = raw_top_lookup,
    .readdir = raw_top_readdir,
};
const NodeKind kind_raw_box = {
    .name = "raw-box",
    .mode = MODE_DIR,
    .xattrs = XATTR_OF_BOX,
    .lookup = raw_box_lookup,
    .readdir = raw_box_readdir,
};
const NodeKind kind_raw_dir = {
    .name = "raw-dir",
    .mode = MODE_DIR,
    .xattrs = XATTR_OF_MESSAGE,
    .lookup = raw_dir_lookup,
    .readdir = raw_dir_readdir,
};
const NodeKind kind_raw_eml = {
    .name = "raw-eml",
    .mode = MODE_FILE,
    .xattrs = XATTR_OF_MESSAGE | XATTR_OF_CONTENT,
    .fill = raw_fill,
    .open = raw_open,
    .changes = 1 << TREE_CHANGE_LINK,
    .change = message_change_link,
};
const NodeKind kind_raw_section = {
    .name = "raw-section",
    .mode = MODE_FILE,
    .xattrs = XATTR_OF_MESSAGE | XATTR_OF_PART | XATTR_OF_CONTENT,
    .fill = raw_fill,
    .open = raw_open,
};
