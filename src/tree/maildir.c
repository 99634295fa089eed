/* maildir.c - .imapfs/maildir: the mailboxes as Maildirs, MAILBOX/{cur,new,tmp}, for mail programs.
 *
 * Every message is a file in cur/, called DATE.UIDVALIDITY_UID.imapfs:2,LETTERS; new/ and tmp/ are
 * listed empty. The rule: a name is compared whole, so the one with the old letters is gone at the
 * moment when the flags change, and the kernel keeps no name of cur/: it asks for each.
 *
 * A file that a program brought keeps the name that it got from that, besides, as long as the mount
 * lives; and the name of what the server has numbered meanwhile resolves on. */
#include <string.h>

#include "imapfs/wire/flags.h"
#include "node.h"

#define FLAGS_MARK ":2,"
#define FILE_TAIL ".imapfs"

/* --- names --- */

static const char *const own_names[] = {"cur", "new", "tmp"};
static const guint own_slots[] = {SLOT_MAILDIR_CUR, SLOT_MAILDIR_NEW, SLOT_MAILDIR_TMP};

/* Index of one of the three, or -1. */
static int find_own(const char *name)
{
    for (guint i = 0; i < G_N_ELEMENTS(own_names); i++) {
        if (strcmp(name, own_names[i]) == 0)
            return (int)i;
    }
    return -1;
}

char *maildir_leaf(const char *leaf)
{
    return find_own(leaf) < 0 ? g_strdup(leaf)
                              : g_strdup_printf("%%%02X%s", (guchar)leaf[0], leaf + 1);
}

char *maildir_leaf_decode(const char *name)
{
    for (guint i = 0; i < G_N_ELEMENTS(own_names); i++) {
        g_autofree char *encoded = maildir_leaf(own_names[i]);
        if (strcmp(name, encoded) == 0)
            return g_strdup(own_names[i]);
    }
    return NULL;
}

static void shown_letters(StoreReader *reader, guint32 box, const StoreMsg *msg,
                          char out[FLAGS_LETTERS_MAX])
{
    g_autofree char *shown = flags_shown(reader, box, msg);
    g_auto(Flags) flags = {0};

    flags_parse(&flags, shown);
    flags_letters(&flags, out);
}

/* BASE: what of a name never changes. number: as in the name. */
static char *print_base(const StoreBox *dir, const TreeMessage *number, const StoreMsg *msg)
{
    return g_strdup_printf("%" G_GINT64_FORMAT ".%" G_GUINT32_FORMAT
                           "_%s%" G_GUINT32_FORMAT FILE_TAIL,
                           msg->internaldate, dir->uidvalidity,
                           number->box == STORE_BOX_PENDING ? "+" : "", number->uid);
}

/* The number that stands in a base. False: it is none of ours. */
static bool parse_base(const Node *dir, const char *base, TreeMessage *out)
{
    const char *mark = strchr(base, '_');
    bool pending;

    if (!mark)
        return false;
    pending = *++mark == '+';
    *out = (TreeMessage){pending ? STORE_BOX_PENDING : dir->ino.box,
                         uid_parse(mark + pending, FILE_TAIL)};
    return out->uid;
}

bool maildir_split(const Node *dir, const char *name, char **base_out, const char **letters_out)
{
    const char *mark = g_strrstr(name, FLAGS_MARK);

    if (!mark && dir->ino.slot != SLOT_MAILDIR_NEW)
        return false;
    *base_out = mark ? g_strndup(name, (gsize)(mark - name)) : g_strdup(name);
    *letters_out = mark ? mark + strlen(FLAGS_MARK) : "";
    return true;
}

/* --- nodes --- */

static Node dir_node(const StoreBox *box, guint slot)
{
    return (Node){.number = ino_pack(box->id, 0, slot),
                  .ino = {box->id, 0, slot},
                  .kind = node_kind_of_number(ino_pack(box->id, 0, slot)),
                  .box = *box};
}

Node maildir_file_node(guint32 box, const StoreMsg *msg)
{
    return (Node){.number = ino_pack(box, msg->uid, SLOT_MAILDIR_FILE),
                  .ino = {box, msg->uid, SLOT_MAILDIR_FILE},
                  .kind = &kind_maildir_file,
                  .msg = *msg};
}

/* --- the top, and a mailbox --- */

static void top_fill(const Call *call, const Node *node, TreeEntry *out)
{
    gint64 changed = store_top_changed(call->reader);

    if (changed)
        entry_set_ns(out, changed);
}

static TreeStatus top_lookup(const Call *call, const Node *dir, const char *name, TreeEntry *out)
{
    return boxes_lookup(call, 0, name, TREE_VIEW_MAILDIR, out);
}

static TreeStatus top_readdir(const Node *dir, Listing *listing)
{
    TreeStatus status = listing->after ? TREE_OK : call_boxes_fresh(listing->call);

    if (status == TREE_OK && listing_add_dots(listing, dir, ino_pack(0, 0, SLOT_CONTROL)))
        boxes_list(listing, 0, TREE_VIEW_MAILDIR);
    return status;
}

static TreeStatus box_lookup(const Call *call, const Node *dir, const char *name, TreeEntry *out)
{
    int own = find_own(name);
    TreeStatus status;
    Node node;

    if (own < 0)
        return boxes_lookup(call, dir->ino.box, name, TREE_VIEW_MAILDIR, out);
    if (!box_is_selectable(&dir->box))
        return call_negative(call, NODE_NEGATIVE_TTL, out);
    node = dir_node(&dir->box, own_slots[own]);
    status = call_size_known(call, &node);
    if (status == TREE_OK)
        node_entry(call, &node, out);
    return status;
}

/* Without its attributes when these would have to be asked for first. */
static bool add_own(const Listing *listing, guint index, const StoreBox *box)
{
    Node node = dir_node(box, own_slots[index]);
    Listing names = *listing;

    names.full = names.full && call_size_known(listing->call, &node) == TREE_OK;
    return listing_add(&names, COOKIE_DOTDOT + 1 + index, own_names[index], &node);
}

static TreeStatus box_readdir(const Node *dir, Listing *listing)
{
    TreeStatus status = listing->after ? TREE_OK : call_boxes_fresh(listing->call);
    bool more;

    if (status != TREE_OK)
        return status;
    more = listing_add_dots(listing, dir, tree_ino_maildir(dir->box.parent));
    for (guint i = 0; more && i < G_N_ELEMENTS(own_names) && box_is_selectable(&dir->box); i++)
        more = add_own(listing, i, &dir->box);
    if (more)
        boxes_list(listing, dir->ino.box, TREE_VIEW_MAILDIR);
    return TREE_OK;
}

/* --- cur, new, tmp --- */

#define CUR_TTL 1.0

/* Later than it ever was when a name came or went or became another, and at no other time. Who
 * finds it unchanged lists nothing: so asking for it is what has the mailbox looked at again, and
 * the kernel does not keep it. */
static void cur_fill(const Call *call, const Node *node, TreeEntry *out)
{
    gint64 changed = store_entries_changed(call->reader, node->ino.box);

    if (changed)
        entry_set_ns(out, changed);
    else
        entry_set_seconds(out, node->box.uidvalidity);
    out->attr_ttl = CUR_TTL;
}

static bool has_letters(const Call *call, guint32 box, const StoreMsg *msg, const char *letters)
{
    char shown[FLAGS_LETTERS_MAX];

    shown_letters(call->reader, box, msg, shown);
    return strcmp(shown, letters) == 0;
}

/* Its row, if it is shown here, or what it became is. */
static bool is_here(const Call *call, const Node *dir, TreeMessage *message, StoreMsg *msg)
{
    where_went(call->reader, message);
    return where_shown(call->reader, message->box, message->uid) == dir->ino.box &&
           store_msg_get(call->reader, message->box, message->uid, msg);
}

static bool find_own_base(const Call *call, const Node *dir, const char *base, TreeMessage *out,
                          StoreMsg *msg)
{
    g_autofree char *own = NULL;
    TreeMessage named;

    if (!parse_base(dir, base, &named))
        return false;
    *out = named;
    if (!is_here(call, dir, out, msg))
        return false;
    own = print_base(&dir->box, &named, msg);
    if (strcmp(own, base) == 0)
        return true;
    store_msg_clear(msg);
    return false;
}

/* What a name without its letters is about, if it is shown here. *out is set also when it is not:
 * it may come. */
static bool find_base(const Call *call, const Node *dir, const char *base, TreeMessage *out,
                      StoreMsg *msg)
{
    g_auto(GivenName) given = {0};

    if (find_own_base(call, dir, base, out, msg))
        return true;
    if (!given_find(call->tree->given, MAILDIR_PLACE(dir->ino.box, MAILDIR_FILES), base, &given) ||
        !is_here(call, dir, &given.message, msg))
        return false;
    *out = given.message;
    return true;
}

TreeStatus maildir_find(const Call *call, const Node *dir, const char *name, Node *out,
                        TreeEntry *entry_out)
{
    g_autofree char *base = NULL;
    g_auto(StoreMsg) msg = {0};
    TreeMessage message = {0};
    const char *letters;
    TreeStatus status = TREE_OK;

    if (!maildir_split(dir, name, &base, &letters))
        return call_negative(call, 0, entry_out);
    if (!find_base(call, dir, base, &message, &msg)) {
        /* It may be new, and come while it is waited for. */
        if (message.uid && message.box == dir->ino.box)
            status = call_messages_fresh(call, &dir->box);
        if (status != TREE_OK)
            return status;
        if (!find_base(call, dir, base, &message, &msg))
            return call_negative(call, 0, entry_out);
    }
    if (!has_letters(call, message.box, &msg, letters))
        return call_negative(call, 0, entry_out);
    *out = maildir_file_node(message.box, &msg);
    memset(&msg, 0, sizeof(msg)); /* it is the node's now */
    return TREE_OK;
}

static TreeStatus file_lookup(const Call *call, const Node *dir, const char *name, TreeEntry *out)
{
    g_auto(Node) node = {0};
    TreeStatus status = maildir_find(call, dir, name, &node, out);

    if (status == TREE_OK)
        node_entry(call, &node, out);
    return status;
}

static bool list_file(const Listing *listing, guint32 box, const StoreMsg *msg)
{
    Node node = maildir_file_node(box, msg);
    const TreeMessage number = {box, msg->uid};
    g_autofree char *base = print_base(listing->box, &number, msg), *name = NULL;
    char letters[FLAGS_LETTERS_MAX];

    shown_letters(listing->call->reader, box, msg, letters);
    name = g_strconcat(base, FLAGS_MARK, letters, NULL);
    return listing_add(listing, message_cookie(box, msg->uid), name, &node);
}

static TreeStatus cur_readdir(const Node *dir, Listing *listing)
{
    TreeStatus status = listing->after ? TREE_OK : call_messages_fresh(listing->call, &dir->box);

    listing->box = &dir->box;
    if (status == TREE_OK && listing_add_dots(listing, dir, tree_ino_maildir(dir->ino.box)))
        messages_list(listing, dir->ino.box, list_file);
    return status;
}

/* They never change: nothing is listed in them. */
static void empty_fill(const Call *call, const Node *node, TreeEntry *out)
{
    entry_set_seconds(out, node->box.uidvalidity);
}

static TreeStatus empty_readdir(const Node *dir, Listing *listing)
{
    listing_add_dots(listing, dir, tree_ino_maildir(dir->ino.box));
    return TREE_OK;
}

/* --- a message --- */

static ContentKey letter_key(const Call *call, const Node *node)
{
    guint32 box, uid;

    store_origin(call->reader, node->ino.box, node->ino.uid, &box, &uid);
    return (ContentKey){.box = box, .uid = uid, .kind = CONTENT_LETTER, .section = ""};
}

/* RFC822.SIZE counts two bytes for the end of a line: a little more than there will be. */
static void file_fill(const Call *call, const Node *node, TreeEntry *out)
{
    ContentKey key = letter_key(call, node);

    entry_set_content_size(call, &key, MAX(node->msg.size, 1), true, out);
    out->entry_ttl = 0;
}

static TreeStatus file_open(const Call *call, const Node *node, TreeFile **file_out)
{
    ContentKey key = letter_key(call, node);
    guint64 told = node->msg.size;

    return file_open_content(call, &key, NULL, told ? (gint64)told : -1, file_out);
}

const NodeKind kind_maildir_top = {
    .name = "maildir-top",
    .mode = MODE_DIR,
    .fill = top_fill,
    .lookup = top_lookup,
    .readdir = top_readdir,
};
const NodeKind kind_maildir_box = {
    .name = "maildir-box",
    .mode = MODE_DIR,
    .xattrs = XATTR_OF_BOX,
    .lookup = box_lookup,
    .readdir = box_readdir,
};
const NodeKind kind_maildir_cur = {
    .name = "maildir-cur",
    .mode = S_IFDIR | 0700,
    .fill = cur_fill,
    .lookup = file_lookup,
    .readdir = cur_readdir,
    .changes = CHANGES_OF_MAILDIR,
    .change = maildir_change,
};
const NodeKind kind_maildir_new = {
    .name = "maildir-new",
    .mode = S_IFDIR | 0700,
    .fill = empty_fill,
    .lookup = file_lookup,
    .readdir = empty_readdir,
    .changes = CHANGES_OF_MAILDIR,
    .change = maildir_change,
};
const NodeKind kind_maildir_tmp = {
    .name = "maildir-tmp",
    .mode = S_IFDIR | 0700,
    .fill = empty_fill,
    .lookup = maildir_tmp_lookup,
    .readdir = empty_readdir,
    .changes = 1 << TREE_CHANGE_RENAME | 1 << TREE_CHANGE_UNLINK,
    .change = maildir_tmp_change,
};
const NodeKind kind_maildir_file = {
    .name = "maildir-file",
    .mode = S_IFREG | 0600,
    .xattrs = XATTR_OF_MESSAGE | XATTR_OF_CONTENT,
    .fill = file_fill,
    .open = file_open,
    .changes = 1 << TREE_CHANGE_LINK | 1 << TREE_CHANGE_TOUCH,
    .change = maildir_file_change,
};
