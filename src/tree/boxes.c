/* boxes.c - child mailboxes of a directory, as the tree, .imapfs/raw and .imapfs/maildir show them.
 *
 * Under raw/ a message's directory is called by its UID, so a mailbox called "2024" or "7.eml" has
 * its first digit percent-encoded there; so has "cur" its first letter under maildir/.
 * name_mailbox_level() encodes '%' itself, so this is as reversible as that. */
#include <string.h>

#include "imapfs/mime/name.h"
#include "node.h"

static bool looks_raw(const char *name)
{
    return uid_parse(name, "") || uid_parse(name, ".eml");
}

static char *raw_leaf(const char *leaf)
{
    return looks_raw(leaf) ? g_strdup_printf("%%%02X%s", (guchar)leaf[0], leaf + 1)
                           : g_strdup(leaf);
}

/* The leaf behind "%32024", or NULL. */
static char *raw_leaf_decode(const char *name)
{
    g_autofree char *leaf = NULL;

    if (name[0] != '%' || name[1] != '3' || !g_ascii_isdigit(name[2]))
        return NULL;
    leaf = g_strdup(name + 2);
    return looks_raw(leaf) ? g_steal_pointer(&leaf) : NULL;
}

static char *leaf_as_is(const char *leaf)
{
    return g_strdup(leaf);
}

static char *decode_nothing(const char *name)
{
    return NULL;
}

static const struct {
    guint slot;
    const NodeKind *kind;
    char *(*name)(const char *leaf);
    char *(*decode)(const char *name); /* NULL: the name is the leaf */
} views[] = {
    [TREE_VIEW_TREE] = {SLOT_BOX, &kind_mailbox, leaf_as_is, decode_nothing},
    [TREE_VIEW_RAW] = {SLOT_RAW_BOX, &kind_raw_box, raw_leaf, raw_leaf_decode},
    [TREE_VIEW_MAILDIR] = {SLOT_MAILDIR_BOX, &kind_maildir_box, maildir_leaf, maildir_leaf_decode},
};

char *boxes_leaf(const char *leaf, TreeView view)
{
    return views[view].name(leaf);
}

static Node node_of_box(const StoreBox *box, TreeView view)
{
    guint slot = views[view].slot;

    return (Node){.number = ino_pack(box->id, 0, slot),
                  .ino = {box->id, 0, slot},
                  .kind = views[view].kind,
                  .box = *box};
}

static bool find(const Call *call, guint32 parent, const char *name, TreeView view, StoreBox *out)
{
    g_autofree char *leaf = views[view].decode(name), *here = views[view].name(leaf ? leaf : name);

    return strcmp(here, name) == 0 &&
           store_box_by_leaf(call->reader, parent, leaf ? leaf : name, out);
}

TreeStatus boxes_lookup(const Call *call, guint32 parent, const char *name, TreeView view,
                        TreeEntry *out)
{
    g_auto(StoreBox) box = {0};
    bool found = find(call, parent, name, view, &box);
    TreeStatus status = found ? TREE_OK : call_boxes_fresh(call);

    if (status != TREE_OK)
        return status;
    /* The list may have come between the two. */
    if (found || find(call, parent, name, view, &box)) {
        Node node = node_of_box(&box, view);
        node_entry(call, &node, out);
        return TREE_OK;
    }
    return call_negative(
        call, engine_boxes_fresh(call->tree->config.engine) ? NODE_NEGATIVE_TTL : 0, out);
}

typedef struct {
    const Listing *listing;
    TreeView view;
    bool more; /* the buffer is not full */
} BoxWalk;

static bool list_one(const StoreBox *box, gpointer data)
{
    BoxWalk *walk = data;
    Node node = node_of_box(box, walk->view);
    g_autofree char *name = boxes_leaf(box->leaf, walk->view);

    walk->more = listing_add(walk->listing, COOKIE_BOX + box->id, name, &node);
    return walk->more;
}

bool boxes_list(const Listing *listing, guint32 parent, TreeView view)
{
    BoxWalk walk = {.listing = listing, .view = view, .more = true};

    if (listing->after < COOKIE_MESSAGE)
        store_box_children(listing->call->reader, parent,
                           listing->after > COOKIE_BOX ? (guint32)(listing->after - COOKIE_BOX) : 0,
                           list_one, &walk);
    return walk.more;
}

static char *path_of(const Call *call, guint32 box, TreeView view, guint *depth_out)
{
    g_autofree char *path = NULL;
    guint depth = 0;

    for (guint32 id = box; id; depth++) {
        g_auto(StoreBox) row = {0};
        g_autofree char *leaf = NULL, *below = g_steal_pointer(&path);

        if (depth > LIMIT_MAILBOX_DEPTH || !store_box_by_id(call->reader, id, &row))
            return NULL;
        leaf = boxes_leaf(row.leaf, view);
        path = below ? g_strdup_printf("%s/%s", leaf, below) : g_steal_pointer(&leaf);
        id = row.parent;
    }
    *depth_out = depth;
    return g_steal_pointer(&path);
}

char *boxes_path(const Call *call, guint32 box)
{
    guint depth = 0;

    return path_of(call, box, TREE_VIEW_TREE, &depth);
}

/* The last answer of boxes_raw_path(): message.eml of one mailbox after the other is asked for, and
 * its name seldom changes. */
typedef struct {
    guint64 serial;
    guint moves;
    guint32 box;
    guint depth;
    char *path;
} RawPath;

static void raw_path_free(gpointer data)
{
    RawPath *path = data;

    g_free(path->path);
    g_free(path);
}

static GPrivate last_path = G_PRIVATE_INIT(raw_path_free);

const char *boxes_raw_path(const Call *call, guint32 box, guint *depth_out)
{
    RawPath *last = g_private_get(&last_path);
    g_autofree char *path = NULL;
    guint moves = store_moves(call->tree->config.store); /* before it is looked at */
    guint depth = 0;

    if (last && last->serial == call->tree->serial && last->box == box && last->moves == moves) {
        *depth_out = last->depth;
        return last->path;
    }
    path = path_of(call, box, TREE_VIEW_RAW, &depth);
    if (!path)
        return NULL;
    if (!last)
        g_private_set(&last_path, last = g_new0(RawPath, 1));
    g_free(last->path);
    *last = (RawPath){call->tree->serial, moves, box, depth, g_steal_pointer(&path)};
    *depth_out = last->depth;
    return last->path;
}
