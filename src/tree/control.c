/* control.c - .imapfs: what the mount tells about itself.
 *
 * status and log are made anew for every open, so nothing may keep their bytes. */
#include <string.h>

#include "imapfs/base/clock.h"
#include "imapfs/base/log.h"
#include "node.h"

static const struct {
    const char *name;
    guint slot;
} children[] = {
    {"status", SLOT_STATUS},
    {"log", SLOT_LOG},
    {"raw", SLOT_RAW_TOP},
};

static TreeStatus control_lookup(const Call *call, const Node *dir, const char *name,
                                 TreeEntry *out)
{
    for (guint i = 0; i < G_N_ELEMENTS(children); i++) {
        if (strcmp(name, children[i].name) == 0) {
            g_auto(Node) node = {0};
            TreeStatus status = node_load(call, ino_pack(0, 0, children[i].slot), &node);

            if (status == TREE_OK)
                node_entry(call, &node, out);
            return status;
        }
    }
    return call_negative(call, NODE_TTL, out);
}

static TreeStatus control_readdir(const Node *dir, Listing *listing)
{
    bool more = listing_add_dots(listing, dir, TREE_ROOT_INO);

    for (guint i = 0; more && i < G_N_ELEMENTS(children); i++) {
        g_auto(Node) node = {0};
        TreeStatus status = node_load(listing->call, ino_pack(0, 0, children[i].slot), &node);

        if (status != TREE_OK)
            return status;
        more = listing_add(listing, COOKIE_MESSAGE + children[i].slot, children[i].name, &node);
    }
    return TREE_OK;
}

static void volatile_fill(TreeEntry *out, gsize length)
{
    entry_set_size(out, length);
    entry_set_ns(out, clock_real_ns());
    out->attr_ttl = 0;
}

static void status_fill(const Call *call, const Node *node, TreeEntry *out)
{
    g_autofree char *text = engine_status(call->tree->config.engine);

    volatile_fill(out, text ? strlen(text) : 0);
}

static TreeStatus status_open(const Call *call, const Node *node, TreeFile **file_out)
{
    char *text;

    if (!tree_ask_is_settled(call->ask, NEED_STATUS))
        return call_need(call, NEED_STATUS, 0, 0);
    text = engine_status(call->tree->config.engine);
    *file_out = file_of_text(text ? text : g_strdup(""), true);
    return TREE_OK;
}

static void log_fill(const Call *call, const Node *node, TreeEntry *out)
{
    gsize length = 0;

    g_free(log_ring_dup(&length));
    volatile_fill(out, length);
}

static TreeStatus log_open(const Call *call, const Node *node, TreeFile **file_out)
{
    gsize length = 0;

    *file_out = file_of_text(log_ring_dup(&length), true);
    return TREE_OK;
}

const NodeKind kind_control = {
    .name = "control",
    .mode = MODE_DIR,
    .lookup = control_lookup,
    .readdir = control_readdir,
};
const NodeKind kind_status = {
    .name = "status",
    .mode = MODE_FILE,
    .fill = status_fill,
    .open = status_open,
};
const NodeKind kind_log = {
    .name = "log",
    .mode = MODE_FILE,
    .fill = log_fill,
    .open = log_open,
};
