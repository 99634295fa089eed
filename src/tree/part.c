/* part.c - the files of a message: headers.txt, bodies, attachments, message.eml.
 *
 * A size is exact when the store knows it, else the best estimate, which the kernel may not keep;
 * opening a file is what makes its size exact. A size that may be computed from the ends of a part
 * is not kept either before the part was here whole: its middle may be damaged. */
#include <string.h>

#include "node.h"

static const char problem_text[] =
    "The parts of this message cannot be shown: the server does not tell its structure,\n"
    "or the structure is over a limit. The message itself is in message.eml.\n";

ContentKind part_content_kind(LayoutKind kind)
{
    switch (kind) {
    case LAYOUT_HEADERS:
        return CONTENT_HEADERS;
    case LAYOUT_TEXT:
        return CONTENT_TEXT;
    case LAYOUT_HTML:
        return CONTENT_HTML;
    case LAYOUT_PART:
        return CONTENT_DECODED;
    default:
        return CONTENT_RAW;
    }
}

static ContentKey content_key(const Node *node)
{
    return (ContentKey){.box = node->ino.box,
                        .uid = node->ino.uid,
                        .kind = part_content_kind(node->part->kind),
                        .section = node->part->section};
}

static void part_fill(const Call *call, const Node *node, TreeEntry *out)
{
    ContentKey key = content_key(node);
    bool computed = base64_map_applies(node->part); /* perhaps so */

    entry_set_content_size(call, &key, layout_estimate_size(node->part), !computed, out);
}

static TreeStatus part_open(const Call *call, const Node *node, TreeFile **file_out)
{
    ContentKey key = content_key(node);
    bool known = node->part->kind != LAYOUT_HEADERS; /* no server tells the size of a header */

    return file_open_content(call, &key, node->part, known ? (gint64)node->part->encoded_size : -1,
                             file_out);
}

static void problem_fill(const Call *call, const Node *node, TreeEntry *out)
{
    entry_set_size(out, strlen(problem_text));
}

static TreeStatus problem_open(const Call *call, const Node *node, TreeFile **file_out)
{
    *file_out = file_of_text(g_strdup(problem_text), false);
    return TREE_OK;
}

/* "../../../.imapfs/raw/A/B/7.eml" from A/B/NAME.7/message.eml; for a nested message the section of
 * its part stands in the place of ".eml". NULL when the mailbox is gone. */
static char *eml_target(const Call *call, const Node *node)
{
    guint ups = 0;
    guint32 shown = node->ino.box == STORE_BOX_PENDING
                        ? where_shown(call->reader, node->ino.box, node->ino.uid)
                        : node->ino.box;
    const char *path = shown ? boxes_raw_path(call, shown, &ups) : NULL;
    g_autofree char *uid = tree_uid_name(node->ino.box, node->ino.uid, "");
    g_autofree char *section = layout_section_name(node->part->section);
    GString *target;

    if (!path)
        return NULL;
    for (guint i = node->part->parent; i;) {
        const LayoutNode *above = g_ptr_array_index(node->layout->nodes, i);
        i = above->parent;
        ups++;
    }
    target = g_string_new(NULL);
    for (ups++; ups; ups--)
        g_string_append(target, "../");
    g_string_append_printf(target, ".imapfs/raw/%s/%s", path, uid);
    if (*section)
        g_string_append_printf(target, "/%s", section);
    else
        g_string_append(target, ".eml");
    return g_string_free(target, FALSE);
}

static void eml_fill(const Call *call, const Node *node, TreeEntry *out)
{
    g_autofree char *target = eml_target(call, node);

    entry_set_size(out, target ? strlen(target) : 0);
    if (node->ino.box == STORE_BOX_PENDING)
        out->entry_ttl = out->attr_ttl = NODE_PENDING_TTL; /* it will point elsewhere soon */
}

static TreeStatus eml_readlink(const Call *call, const Node *node, char **target_out)
{
    char *target = eml_target(call, node);

    if (!target)
        return call_error(call, ESTALE);
    *target_out = target;
    return TREE_OK;
}

typedef struct {
    Tree *tree;
    guint32 box;
    guint depth;
    TreeForget f;
    gpointer data;
} LinkWalk;

/* Those of messages in the message as well. */
static bool forget_links(const StoreMsg *msg, gpointer data)
{
    const LinkWalk *walk = data;
    TreeAsk ask = {0};
    Call call = {.tree = walk->tree, .reader = store_reader(walk->tree->config.store), .ask = &ask};
    const Layout *layout = walk->tree->bare;

    if (!walk->f(tree_ino_message(walk->box, msg->uid), walk->data))
        return true;
    if (msg->has_structure && layout_load(&call, walk->box, msg->uid, &layout) != TREE_OK)
        layout = walk->tree->bare;
    for (guint i = 0; i < layout->nodes->len; i++) {
        const LayoutNode *node = g_ptr_array_index(layout->nodes, i);

        if (node->kind == LAYOUT_EML)
            walk->f(ino_pack(walk->box, msg->uid, i), walk->data);
    }
    tree_ask_clear(&ask);
    return true;
}

static bool forget_below(const StoreBox *box, gpointer data)
{
    LinkWalk walk = *(const LinkWalk *)data;

    walk.box = box->id;
    if (++walk.depth > LIMIT_MAILBOX_DEPTH)
        return false;
    store_msg_each(store_reader(walk.tree->config.store), box->id, 0, forget_links, &walk);
    store_box_children(store_reader(walk.tree->config.store), box->id, 0, forget_below, &walk);
    return true;
}

void tree_each_link(Tree *tree, guint32 box, TreeForget f, gpointer data)
{
    g_auto(StoreBox) row = {0};
    LinkWalk walk = {.tree = tree, .f = f, .data = data};

    if (store_box_by_id(store_reader(tree->config.store), box, &row))
        forget_below(&row, &walk);
}

const NodeKind kind_part = {
    .name = "part",
    .mode = MODE_FILE,
    .xattrs = XATTR_OF_MESSAGE | XATTR_OF_PART | XATTR_OF_CONTENT,
    .fill = part_fill,
    .open = part_open,
    .reopens = true,
};
const NodeKind kind_problem = {
    .name = "problem",
    .mode = MODE_FILE,
    .xattrs = XATTR_OF_MESSAGE,
    .fill = problem_fill,
    .open = problem_open,
};
const NodeKind kind_eml = {
    .name = "eml",
    .mode = MODE_LINK,
    .fill = eml_fill,
    .readlink = eml_readlink,
    .changes = 1 << TREE_CHANGE_LINK,
    .change = message_change_link,
};
