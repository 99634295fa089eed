/* control.c - .imapfs: what the mount tells about itself, and ctl, that takes a word from outside.
 *
 * status and log are made anew for every open, and events for every read, so nothing may keep their
 * bytes. */
#include <errno.h>
#include <string.h>

#include "imapfs/base/clock.h"
#include "imapfs/base/log.h"
#include "node.h"

static const struct {
    const char *name;
    guint slot;
    bool is_hidden; /* not listed */
} children[] = {
    {"status", SLOT_STATUS, false}, {"log", SLOT_LOG, false},
    {"raw", SLOT_RAW_TOP, false},   {"queue", SLOT_QUEUE, false},
    {"failed", SLOT_FAILED, false}, {"events", SLOT_EVENTS, false},
    {"ctl", SLOT_CTL, false},       {"maildir", SLOT_MAILDIR_TOP, false},
    {"sync", SLOT_SYNC, true}, /* whoever reads all there is shall not wait for it */
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
        TreeStatus status;

        if (children[i].is_hidden)
            continue;
        status = node_load(listing->call, ino_pack(0, 0, children[i].slot), &node);

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

static bool count_held(const LogOp *op, gpointer data)
{
    *(guint *)data += op->state == LOG_HELD;
    return true;
}

/* The engine's, and what waits for a person. */
static char *status_text(const Call *call)
{
    g_autofree char *text = engine_status(call->tree->config.engine);
    guint held = 0;

    log_each(call->reader, false, 0, count_held, &held);
    if (!held)
        return text ? g_steal_pointer(&text) : g_strdup("");
    return g_strdup_printf("%sheld: %u %s to be confirmed: imapfsctl confirm MOUNTPOINT all, or "
                           "cancel\n",
                           text ? text : "", held, held == 1 ? "deletion waits" : "deletions wait");
}

static void status_fill(const Call *call, const Node *node, TreeEntry *out)
{
    g_autofree char *text = status_text(call);

    volatile_fill(out, strlen(text));
}

static TreeStatus status_open(const Call *call, const Node *node, TreeFile **file_out)
{
    if (!tree_ask_is_settled(call->ask, NEED_STATUS))
        return call_need(call, NEED_STATUS, 0, 0);
    *file_out = file_of_text(status_text(call), true);
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

/* --- events: grows while it is open --- */

static void events_fill(const Call *call, const Node *node, TreeEntry *out)
{
    volatile_fill(out, engine_events_length(call->tree->config.engine));
}

static TreeStatus events_open(const Call *call, const Node *node, TreeFile **file_out)
{
    *file_out = file_of_events(call->tree->config.engine);
    return TREE_OK;
}

/* --- sync: its open waits until nothing is pending --- */

static void sync_fill(const Call *call, const Node *node, TreeEntry *out)
{
    volatile_fill(out, 0);
}

static TreeStatus sync_open(const Call *call, const Node *node, TreeFile **file_out)
{
    TreeStatus status = tree_sync(call->tree, call->ask, TREE_ROOT_INO);

    if (status == TREE_OK)
        *file_out = file_of_text(g_strdup(""), true);
    return status;
}

/* --- ctl --- */

static void ctl_fill(const Call *call, const Node *node, TreeEntry *out)
{
    volatile_fill(out, 0);
}

static TreeStatus ctl_open(const Call *call, const Node *node, TreeFile **file_out)
{
    *file_out = file_of_text(g_strdup(""), true);
    return TREE_OK;
}

/* argument: "" for none. */
typedef int (*CtlCommand)(Changing *changing, const char *argument);

static int command_offline(Changing *changing, const char *argument)
{
    engine_set_offline(changing->call->tree->config.engine, true);
    return 0;
}

static int command_online(Changing *changing, const char *argument)
{
    engine_set_offline(changing->call->tree->config.engine, false);
    return 0;
}

static int command_sync(Changing *changing, const char *argument)
{
    LogCounts counts = {0};

    log_count(changing->call->reader, 0, 0, &counts);
    if (counts.pending) {
        changing->change->must_wait = true;
        changing->change->need = (Need){.kind = NEED_REPLAYED};
    }
    return 0;
}

static int act_on(Changing *changing, const char *argument, LogDo what, bool failed)
{
    guint32 seq = uid_parse(argument, "");
    g_auto(LogOp) op = {0};

    if (strcmp(argument, "all") == 0)
        return logged_do_all(changing, what, failed);
    if (!seq)
        return EINVAL;
    if (!log_get(changing->call->reader, seq, &op) || (op.state == LOG_FAILED) != failed)
        return ENOENT;
    return logged_do(changing, what, seq);
}

static int command_retry(Changing *changing, const char *argument)
{
    return act_on(changing, argument, logged_retry, true);
}

static int command_discard(Changing *changing, const char *argument)
{
    return act_on(changing, argument, log_discard, true);
}

static int command_cancel(Changing *changing, const char *argument)
{
    return act_on(changing, argument, log_cancel, false);
}

static bool collect_held(const LogOp *op, gpointer data)
{
    if (op->state == LOG_HELD)
        g_array_append_val((GArray *)data, op->seq);
    return true;
}

static GArray *held_of(StoreReader *reader)
{
    GArray *seqs = g_array_new(FALSE, FALSE, sizeof(guint32));

    log_each(reader, false, 0, collect_held, seqs);
    return seqs;
}

static int command_confirm(Changing *changing, const char *argument)
{
    g_autoptr(GArray) seqs = NULL;
    int err = 0;

    if (strcmp(argument, "all") != 0)
        return act_on(changing, argument, log_confirm, false);
    seqs = held_of(changing->call->reader);
    for (guint i = 0; i < seqs->len && !changing->failed; i++) {
        int one = logged_do(changing, log_confirm, g_array_index(seqs, guint32, i));
        err = one ? one : err;
    }
    return err;
}

static const struct {
    const char *word;
    bool has_argument;
    CtlCommand run;
} commands[] = {
    {"offline", false, command_offline}, {"online", false, command_online},
    {"sync", false, command_sync},       {"retry", true, command_retry},
    {"discard", true, command_discard},  {"cancel", true, command_cancel},
    {"confirm", true, command_confirm},
};

#define COMMAND_MAX 100 /* bytes */

/* One command a write: "WORD" or "WORD ARGUMENT", and a newline or none. */
static int ctl_change(Changing *changing, const Node *node)
{
    const TreeChange *change = changing->change;
    g_autofree char *text = NULL;
    g_auto(GStrv) words = NULL;
    const char *argument;

    if (change->kind != TREE_CHANGE_WRITE)
        return 0; /* "echo WORD > ctl" truncates it first */
    if (change->size > COMMAND_MAX)
        return EINVAL;
    text = g_strndup(change->bytes, change->size);
    words = g_strsplit(g_strstrip(text), " ", 2);
    if (!words[0])
        return EINVAL;
    argument = words[1] ? g_strstrip(words[1]) : "";
    for (guint i = 0; i < G_N_ELEMENTS(commands); i++) {
        if (strcmp(words[0], commands[i].word) == 0 && commands[i].has_argument == (*argument != 0))
            return commands[i].run(changing, argument);
    }
    return EINVAL;
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
    .made = true,
};
const NodeKind kind_log = {
    .name = "log",
    .mode = MODE_FILE,
    .fill = log_fill,
    .open = log_open,
    .made = true,
};
const NodeKind kind_events = {
    .name = "events",
    .mode = MODE_FILE,
    .fill = events_fill,
    .open = events_open,
};
const NodeKind kind_ctl = {
    .name = "ctl",
    .mode = S_IFREG | 0200,
    .fill = ctl_fill,
    .open = ctl_open,
    .changes = CHANGES_OF_A_FILE,
    .change = ctl_change,
    .made = true,
};
const NodeKind kind_sync = {
    .name = "sync",
    .mode = MODE_FILE,
    .fill = sync_fill,
    .open = sync_open,
    .made = true,
};
