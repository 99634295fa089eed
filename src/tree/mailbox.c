/* mailbox.c - a mailbox: child mailboxes and messages; .uid, which is not listed.
 *
 * A message's name is looked up by the UID at its end and then compared as a whole. No mailbox is
 * called as a message could be (name_mailbox_level), so a name is only ever searched in one of the
 * two, and only that one has to be fresh to say that it is not there. */
#include <errno.h>
#include <string.h>

#include "imapfs/mime/name.h"
#include "node.h"

/* Its row, if it is shown in a mailbox: those of others, pending ones first of all, are not there,
 * and neither is what is hidden. */
static bool is_here(const Call *call, guint32 dir, guint32 box, guint32 uid, StoreMsg *msg)
{
    if (!store_msg_get(call->reader, box, uid, msg))
        return false;
    if (where_shown(call->reader, box, uid) == dir)
        return true;
    store_msg_clear(msg);
    return false;
}

TreeStatus message_find_in(const Call *call, const Node *dir, guint32 box, guint32 uid,
                           StoreMsg *msg, TreeEntry *out)
{
    guint32 here = dir->ino.box;
    bool found = is_here(call, here, box, uid, msg);
    TreeStatus status = TREE_OK;

    if (!found && box != STORE_BOX_PENDING)
        status = call_messages_fresh(call, &dir->box);
    /* It may have come between the two. */
    if (status != TREE_OK || found || is_here(call, here, box, uid, msg))
        return status;
    return call_negative(
        call, engine_box_fresh(call->tree->config.engine, here) ? NODE_NEGATIVE_TTL : 0, out);
}

TreeStatus message_find(const Call *call, const Node *dir, guint32 uid, StoreMsg *msg,
                        TreeEntry *out)
{
    return message_find_in(call, dir, dir->ino.box, uid, msg, out);
}

void message_entry(const Call *call, Node *node, TreeEntry *out)
{
    node->number = ino_pack(node->ino.box, node->ino.uid, node->ino.slot);
    node_entry(call, node, out);
    if (node->ino.box == STORE_BOX_PENDING)
        out->entry_ttl = NODE_PENDING_TTL; /* it will have another name soon */
}

/* Whatever the name means besides. */
static bool other_name(const Call *call, const Node *dir, const char *name, TreeEntry *out)
{
    g_auto(Node) node = {0};

    if (!where_old_name(call, dir->ino.box, name, &node))
        return false;
    node_entry(call, &node, out);
    return true;
}

/* mv asks for the name in the mailbox that it goes to. Where nothing was listed yet that waits for
 * all of the listing, or fails without the network: a name that another mailbox has is not there.
 */
static bool is_of_another(const Call *call, const Node *dir, const char *name,
                          const NameParts *parts)
{
    return !dir->box.listed && parts->box == dir->ino.box &&
           store_msg_is_anywhere(call->reader, parts->uid, name, parts->length);
}

static TreeStatus message_lookup(const Call *call, const Node *dir, const char *name,
                                 TreeEntry *out)
{
    Node node = {.kind = &kind_message};
    NameParts parts;
    g_auto(StoreMsg) msg = {0};
    TreeStatus status;

    if (!where_parse(dir->ino.box, name, &parts))
        return call_negative(call, NODE_TTL, out);
    if (!is_here(call, dir->ino.box, parts.box, parts.uid, &msg) ||
        !where_is_named(&msg, name, parts.length)) {
        if (other_name(call, dir, name, out))
            return TREE_OK;
        store_msg_clear(&msg);
        if (is_of_another(call, dir, name, &parts))
            return call_negative(call, 0, out);
        status = message_find_in(call, dir, parts.box, parts.uid, &msg, out);
        if (status != TREE_OK)
            return status;
        if (!where_is_named(&msg, name, parts.length)) /* it will never have another name */
            return call_negative(call, NODE_NEGATIVE_TTL, out);
    }
    node.ino = (Ino){parts.box, parts.uid, LAYOUT_INDEX_DIR};
    node.msg = msg;
    message_entry(call, &node, out);
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
    if (g_str_has_suffix(name, ".eml") && other_name(call, dir, name, out))
        return TREE_OK;
    return boxes_lookup(call, dir->ino.box, name, TREE_VIEW_TREE, out);
}

/* --- listings --- */

struct MessageWalk {
    const Listing *listing;
    guint32 box; /* of the messages: a mailbox, or STORE_BOX_PENDING */
    MessageAdd add;
    bool more; /* the buffer is not full */
};

static bool walk_one(const StoreMsg *msg, gpointer data)
{
    MessageWalk *walk = data;

    walk->more = walk->add(walk->listing, walk->box, msg);
    return walk->more;
}

guint64 message_cookie(guint32 box, guint32 uid)
{
    return (box == STORE_BOX_PENDING ? COOKIE_PENDING : COOKIE_MESSAGE) + uid;
}

bool messages_list(const Listing *listing, guint32 box, MessageAdd add)
{
    StoreReader *reader = listing->call->reader;
    MessageWalk walk = {.listing = listing, .box = box, .add = add, .more = true};
    guint64 after = listing->after;

    if (after < COOKIE_MESSAGE + G_MAXUINT32)
        log_shown_each(reader, box, after > COOKIE_MESSAGE ? (guint32)(after - COOKIE_MESSAGE) : 0,
                       walk_one, &walk);
    if (!walk.more)
        return false;
    walk.box = STORE_BOX_PENDING;
    if (after < COOKIE_PENDING + G_MAXUINT32)
        log_pending_each(reader, box,
                         after > COOKIE_PENDING ? (guint32)(after - COOKIE_PENDING) : 0, walk_one,
                         &walk);
    return walk.more;
}

static bool list_message(const Listing *listing, guint32 box, const StoreMsg *msg)
{
    Node node = {.number = tree_ino_message(box, msg->uid),
                 .ino = {box, msg->uid, LAYOUT_INDEX_DIR},
                 .kind = &kind_message,
                 .msg = *msg};
    char name[LIMIT_NAME + 16];

    g_snprintf(name, sizeof(name), "%s.%s%" G_GUINT32_FORMAT, msg->name,
               box == STORE_BOX_PENDING ? "+" : "", msg->uid);
    return listing_add(listing, message_cookie(box, msg->uid), name, &node);
}

static bool list_uid_link(const Listing *listing, guint32 box, const StoreMsg *msg)
{
    Node node = {.number = ino_pack(box, msg->uid, SLOT_UID_LINK),
                 .ino = {box, msg->uid, SLOT_UID_LINK},
                 .kind = &kind_uid_link,
                 .msg = *msg};
    g_autofree char *name = tree_uid_name(box, msg->uid, "");

    return listing_add(listing, message_cookie(box, msg->uid), name, &node);
}

TreeStatus messages_readdir(const Node *dir, Listing *listing, TreeView view, guint64 parent,
                            MessageAdd add)
{
    TreeStatus status = TREE_OK;

    /* Only the beginning waits: a listing under way goes on with what is there. */
    if (!listing->after)
        status = call_boxes_fresh(listing->call);
    if (!listing->after && status == TREE_OK)
        status = call_messages_fresh(listing->call, &dir->box);
    if (status != TREE_OK)
        return status;
    if (listing_add_dots(listing, dir, parent) && boxes_list(listing, dir->ino.box, view))
        messages_list(listing, dir->ino.box, add);
    return TREE_OK;
}

static TreeStatus mailbox_readdir(const Node *dir, Listing *listing)
{
    return messages_readdir(dir, listing, TREE_VIEW_TREE, tree_ino_box(dir->box.parent),
                            list_message);
}

static TreeStatus uid_dir_lookup(const Call *call, const Node *dir, const char *name,
                                 TreeEntry *out)
{
    bool pending = *name == '+';
    guint32 box = pending ? STORE_BOX_PENDING : dir->ino.box, uid = uid_parse(name + pending, "");
    Node node = {.ino = {box, uid, SLOT_UID_LINK}, .kind = &kind_uid_link};
    g_auto(StoreMsg) msg = {0};
    TreeStatus status;

    if (!uid)
        return call_negative(call, NODE_TTL, out);
    status = message_find_in(call, dir, box, uid, &msg, out);
    if (status != TREE_OK)
        return status;
    node.msg = msg;
    message_entry(call, &node, out);
    return TREE_OK;
}

static TreeStatus uid_dir_readdir(const Node *dir, Listing *listing)
{
    TreeStatus status = listing->after ? TREE_OK : call_messages_fresh(listing->call, &dir->box);

    if (status == TREE_OK && listing_add_dots(listing, dir, tree_ino_box(dir->ino.box)))
        messages_list(listing, dir->ino.box, list_uid_link);
    return status;
}

static void uid_link_fill(const Call *call, const Node *node, TreeEntry *out)
{
    g_autofree char *name = tree_message_entry_name(node->ino.box, node->msg.name, node->ino.uid);

    entry_set_size(out, strlen("../") + strlen(name));
}

static TreeStatus uid_link_readlink(const Call *call, const Node *node, char **target_out)
{
    g_autofree char *name = tree_message_entry_name(node->ino.box, node->msg.name, node->ino.uid);

    *target_out = g_strconcat("../", name, NULL);
    return TREE_OK;
}

/* What is there besides messages and mailboxes: .uid, and names that a person gave. */
static bool is_no_entry(Changing *changing, const Node *dir, const char *name)
{
    g_auto(Node) other = {0};

    return strcmp(name, ".uid") == 0 ||
           (g_str_has_suffix(name, ".eml") &&
            where_old_name(changing->call, dir->ino.box, name, &other));
}

/* What a change of names is about is told by the name, as in a lookup. */
static int mailbox_change(Changing *changing, const Node *dir)
{
    const TreeChange *change = changing->change;

    if (change->kind == TREE_CHANGE_LINK)
        return EPERM; /* what is linked is in its directory, never a mailbox */
    if (change->kind != TREE_CHANGE_MKDIR && change->kind != TREE_CHANGE_UNLINK &&
        name_looks_like_message(change->name))
        return message_change_name(changing, dir);
    if (change->kind == TREE_CHANGE_UNLINK || change->kind == TREE_CHANGE_RENAME) {
        int err = message_change_given(changing, dir);
        if (err >= 0)
            return err;
    }
    if (change->kind == TREE_CHANGE_UNLINK)
        return EPERM;
    if (change->kind != TREE_CHANGE_MKDIR && is_no_entry(changing, dir, change->name))
        return EPERM;
    return boxes_change(changing, dir);
}

/* What the server does not permit is not permitted here (RFC 4314: i; READ-ONLY). */
static void mailbox_fill(const Call *call, const Node *node, TreeEntry *out)
{
    if (node->box.read_only || !box_permits(&node->box, 'i'))
        out->st.st_mode &= ~(mode_t)0222;
}

const NodeKind kind_mailbox = {
    .name = "mailbox",
    .mode = S_IFDIR | 0700,
    .xattrs = XATTR_OF_BOX,
    .fill = mailbox_fill,
    .lookup = mailbox_lookup,
    .readdir = mailbox_readdir,
    .changes = CHANGES_OF_NAMES | 1 << TREE_CHANGE_LINK | 1 << TREE_CHANGE_UNLINK,
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
