/* mailbox.c - a mailbox: child mailboxes and messages; .uid, which is not listed.
 *
 * A message's name is looked up by the UID at its end and then compared as a whole. No mailbox is
 * called as a message could be (name_mailbox_level), so a name is only ever searched in one of the
 * two, and only that one has to be fresh to say that it is not there. */
#include <errno.h>
#include <string.h>

#include "imapfs/mime/name.h"
#include "node.h"

TreeStatus message_find(const Call *call, const Node *dir, guint32 uid, StoreMsg *msg,
                        TreeEntry *out)
{
    bool found = store_msg_get(call->reader, dir->ino.box, uid, msg);
    TreeStatus status = found ? TREE_OK : call_messages_fresh(call, &dir->box);

    /* It may have come between the two. */
    if (status != TREE_OK || found || store_msg_get(call->reader, dir->ino.box, uid, msg))
        return status;
    return call_negative(
        call, engine_box_fresh(call->tree->config.engine, dir->ino.box) ? NODE_NEGATIVE_TTL : 0,
        out);
}

static TreeStatus message_lookup(const Call *call, const Node *dir, const char *name,
                                 TreeEntry *out)
{
    const char *dot = strrchr(name, '.');
    Node node = {.ino = {dir->ino.box, dot ? uid_parse(dot + 1, "") : 0, LAYOUT_INDEX_DIR},
                 .kind = &kind_message};
    g_auto(StoreMsg) msg = {0};
    TreeStatus status;

    if (!node.ino.uid)
        return call_negative(call, NODE_TTL, out);
    status = message_find(call, dir, node.ino.uid, &msg, out);
    if (status != TREE_OK)
        return status;
    if (strlen(msg.name) != (gsize)(dot - name) || memcmp(msg.name, name, dot - name) != 0)
        return call_negative(call, NODE_TTL, out); /* this UID will never have another name */
    node.msg = msg;
    node.number = tree_ino_message(node.ino.box, node.ino.uid);
    node_entry(call, &node, out);
    return TREE_OK;
}

static TreeStatus mailbox_lookup(const Call *call, const Node *dir, const char *name,
                                 TreeEntry *out)
{
    if (strcmp(name, ".uid") == 0 && box_is_selectable(&dir->box)) {
        Node node = {.ino = {dir->ino.box, 0, SLOT_UID_DIR},
                     .number = tree_ino_uid_dir(dir->ino.box),
                     .kind = &kind_uid_dir,
                     .box = dir->box};
        node_entry(call, &node, out);
        return TREE_OK;
    }
    if (name_looks_like_message(name))
        return message_lookup(call, dir, name, out);
    return boxes_lookup(call, dir->ino.box, name, TREE_VIEW_TREE, out);
}

typedef struct {
    const Listing *listing;
    guint32 box;
    GString *name;
} MessageWalk;

static bool list_message(const StoreMsg *msg, gpointer data)
{
    MessageWalk *walk = data;
    Node node = {.number = tree_ino_message(walk->box, msg->uid),
                 .ino = {walk->box, msg->uid, LAYOUT_INDEX_DIR},
                 .kind = &kind_message,
                 .msg = *msg};

    g_string_printf(walk->name, "%s.%" G_GUINT32_FORMAT, msg->name, msg->uid);
    return listing_add(walk->listing, COOKIE_MESSAGE + msg->uid, walk->name->str, &node);
}

static bool list_uid_link(const StoreMsg *msg, gpointer data)
{
    MessageWalk *walk = data;
    Node node = {.number = ino_pack(walk->box, msg->uid, SLOT_UID_LINK),
                 .ino = {walk->box, msg->uid, SLOT_UID_LINK},
                 .kind = &kind_uid_link,
                 .msg = *msg};

    g_string_printf(walk->name, "%" G_GUINT32_FORMAT, msg->uid);
    return listing_add(walk->listing, COOKIE_MESSAGE + msg->uid, walk->name->str, &node);
}

static void list_messages(const Listing *listing, guint32 box, StoreMsgFunc add)
{
    g_autoptr(GString) name = g_string_new(NULL);
    MessageWalk walk = {.listing = listing, .box = box, .name = name};
    guint64 after = listing->after > COOKIE_MESSAGE ? listing->after - COOKIE_MESSAGE : 0;

    if (after < G_MAXUINT32)
        store_msg_each(listing->call->reader, box, (guint32)after, add, &walk);
}

static TreeStatus mailbox_readdir(const Node *dir, Listing *listing)
{
    TreeStatus status = TREE_OK;

    /* Only the beginning waits: a listing under way goes on with what is there. */
    if (!listing->after)
        status = call_boxes_fresh(listing->call);
    if (!listing->after && status == TREE_OK)
        status = call_messages_fresh(listing->call, &dir->box);
    if (status != TREE_OK)
        return status;
    if (listing_add_dots(listing, dir, tree_ino_box(dir->box.parent)) &&
        boxes_list(listing, dir->ino.box, TREE_VIEW_TREE))
        list_messages(listing, dir->ino.box, list_message);
    return TREE_OK;
}

static TreeStatus uid_dir_lookup(const Call *call, const Node *dir, const char *name,
                                 TreeEntry *out)
{
    Node node = {.ino = {dir->ino.box, uid_parse(name, ""), SLOT_UID_LINK}, .kind = &kind_uid_link};
    g_auto(StoreMsg) msg = {0};
    TreeStatus status;

    if (!node.ino.uid)
        return call_negative(call, NODE_TTL, out);
    status = message_find(call, dir, node.ino.uid, &msg, out);
    if (status != TREE_OK)
        return status;
    node.msg = msg;
    node.number = ino_pack(node.ino.box, node.ino.uid, SLOT_UID_LINK);
    node_entry(call, &node, out);
    return TREE_OK;
}

static TreeStatus uid_dir_readdir(const Node *dir, Listing *listing)
{
    TreeStatus status = listing->after ? TREE_OK : call_messages_fresh(listing->call, &dir->box);

    if (status == TREE_OK && listing_add_dots(listing, dir, tree_ino_box(dir->ino.box)))
        list_messages(listing, dir->ino.box, list_uid_link);
    return status;
}

static void uid_link_fill(const Call *call, const Node *node, TreeEntry *out)
{
    g_autofree char *name = tree_message_entry_name(node->msg.name, node->ino.uid);

    entry_set_size(out, strlen("../") + strlen(name));
}

static TreeStatus uid_link_readlink(const Call *call, const Node *node, char **target_out)
{
    *target_out = g_strdup_printf("../%s.%" G_GUINT32_FORMAT, node->msg.name, node->ino.uid);
    return TREE_OK;
}

/* What a change of names is about is told by the name, as in a lookup. */
static int mailbox_change(Changing *changing, const Node *dir)
{
    const TreeChange *change = changing->change;

    if (change->kind != TREE_CHANGE_MKDIR && name_looks_like_message(change->name))
        return EPERM;
    return boxes_change(changing, dir);
}

const NodeKind kind_mailbox = {
    .name = "mailbox",
    .mode = S_IFDIR | 0700,
    .xattrs = XATTR_OF_BOX,
    .lookup = mailbox_lookup,
    .readdir = mailbox_readdir,
    .changes = CHANGES_OF_NAMES,
    .change = mailbox_change,
};
const NodeKind kind_uid_dir = {
    .name = "uid-dir",
    .mode = MODE_DIR,
    .lookup = uid_dir_lookup,
    .readdir = uid_dir_readdir,
};
const NodeKind kind_uid_link = {
    .name = "uid-link",
    .mode = MODE_LINK,
    .fill = uid_link_fill,
    .readlink = uid_link_readlink,
};
