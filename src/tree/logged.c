/* logged.c - .imapfs/queue and .imapfs/failed: what was changed here and the server does not have.
 *
 * Everything in them is made anew for every call and kept by nobody: operations come and go without
 * a word to the kernel. */
#include <errno.h>
#include <string.h>

#include "imapfs/base/clock.h"
#include "imapfs/base/error.h"
#include "imapfs/base/log.h"
#include "node.h"

/* --- doing something to operations --- */

/* What was logged or taken back shows in the mailboxes that it is about. */
static void note_op(Changing *changing, const LogOp *op)
{
    StoreReader *reader = changing->call->reader;
    g_auto(StoreMsg) msg = {0}, placed = {0};

    if (op->box)
        changing_note(changing, op->box, op->uid);
    if (op->kind == LOG_FLAGS)
        return;
    if (op->box && op->uid && store_msg_get(reader, op->box, op->uid, &msg))
        changing_note_names(changing, op->box, op->box, &msg);
    if (!op->to_box)
        return;
    changing_note(changing, op->to_box, 0);
    if (op->to_n && store_msg_get(reader, STORE_BOX_PENDING, op->to_n, &placed))
        changing_note_names(changing, op->to_box, STORE_BOX_PENDING, &placed);
}

/* Where it is now may be another mailbox: that of before was gone. */
static void note_placed(Changing *changing, const LogOp *op)
{
    StoreReader *reader = changing->call->reader;
    g_auto(StoreMsg) placed = {0};
    LogPending pending;

    if (!op->to_n || !log_pending_get(reader, op->to_n, &pending) || !pending.box ||
        pending.box == op->to_box)
        return;
    changing_note(changing, pending.box, 0);
    if (store_msg_get(reader, STORE_BOX_PENDING, op->to_n, &placed))
        changing_note_names(changing, pending.box, STORE_BOX_PENDING, &placed);
}

static guint length_of(const GArray *array)
{
    return array ? array->len : 0;
}

static void trim(GArray *array, guint length)
{
    if (array)
        g_array_set_size(array, length);
}

int logged_do(Changing *changing, LogDo what, guint32 seq)
{
    g_auto(LogOp) op = {0};
    GError *error = NULL;
    guint n_messages = length_of(changing->change->messages);
    guint n_places = length_of(changing->change->places);

    if (!log_get(changing->call->reader, seq, &op))
        return ENOENT;
    note_op(changing, &op); /* before: it may have gone then */
    if (what(changing->txn, seq, &error)) {
        note_placed(changing, &op);
        changing_note_boxes(changing);
        return 0;
    }
    trim(changing->change->messages, n_messages);
    trim(changing->change->places, n_places);
    return changing_refuse(changing, error);
}

static bool collect(const LogOp *op, gpointer data)
{
    g_array_append_val((GArray *)data, op->seq);
    return true;
}

/* One that is refused does not hold up the others; the last refusal is told. What is taken back is
 * so from the last on, as others build on the first; one that went with another is no refusal. */
int logged_do_all(Changing *changing, LogDo what, bool failed)
{
    g_autoptr(GArray) seqs = g_array_new(FALSE, FALSE, sizeof(guint32));
    bool forward = what == logged_retry;
    int err = 0;

    log_each(changing->call->reader, failed, 0, collect, seqs);
    for (guint i = 0; i < seqs->len && !changing->failed; i++) {
        guint at = forward ? i : seqs->len - 1 - i;
        int one = logged_do(changing, what, g_array_index(seqs, guint32, at));
        err = one && one != ENOENT ? one : err;
    }
    return err;
}

bool logged_retry(StoreTxn *txn, guint32 seq, GError **error)
{
    return log_retry(txn, seq, clock_real_ns(), error);
}

/* --- what an operation looks like --- */

static char *name_of(const LogOp *op)
{
    return g_strdup_printf("%" G_GUINT32_FORMAT "-%s", op->seq, log_kind_word(op->kind));
}

static void add_text(GString *out, const char *key, const char *text)
{
    g_autofree char *safe = text && *text ? log_printable(text, strlen(text), 1500) : NULL;

    if (safe)
        g_string_append_printf(out, "%s: %s\n", key, safe);
}

static void add_time(GString *out, const char *key, gint64 ns)
{
    g_autoptr(GDateTime) time = ns ? g_date_time_new_from_unix_utc(ns / 1000000000) : NULL;
    g_autofree char *text = time ? g_date_time_format_iso8601(time) : NULL;

    add_text(out, key, text);
}

/* "key: value" lines. */
static char *text_of(const LogOp *op)
{
    GString *out = g_string_new(NULL);
    bool appends = op->kind == LOG_APPEND; /* what it was moved to before it was sent */
    g_autofree char *name =
        op->uid ? tree_message_entry_name(op->box, op->name ? op->name : "", op->uid)
                : g_strdup(op->name);

    add_time(out, "logged", op->logged_ns);
    add_text(out, "mailbox", appends ? op->target : op->mailbox);
    add_text(out, "message", name);
    add_text(out, "to", appends ? NULL : op->target);
    add_text(out, "set", op->set);
    add_text(out, "clear", op->clear);
    add_text(out, "state", log_state_words(op->state));
    g_string_append_printf(out, "attempts: %u\n", op->attempts);
    if (op->state != LOG_FAILED)
        add_time(out, "next try", op->next_try_ns);
    add_text(out, "reason", op->reason);
    return g_string_free(out, FALSE);
}

static void never_kept(TreeEntry *out)
{
    out->entry_ttl = out->attr_ttl = 0;
}

static void text_fill(const Call *call, const Node *node, TreeEntry *out)
{
    g_autofree char *text = text_of(&node->op);

    entry_set_size(out, strlen(text));
    never_kept(out);
}

static TreeStatus text_open(const Call *call, const Node *node, TreeFile **file_out)
{
    *file_out = file_of_text(text_of(&node->op), true);
    return TREE_OK;
}

/* --- queue/ and failed/ --- */

/* The kernel keeps a listing as long as the directory's time is the same. */
static void top_fill(const Call *call, const Node *node, TreeEntry *out)
{
    entry_set_ns(out, clock_real_ns());
    out->attr_ttl = 0;
}

static bool shows_failed(const Node *dir)
{
    return dir->ino.slot == SLOT_FAILED;
}

/* The operation borrowed. */
static Node node_of_op(const LogOp *op, guint slot)
{
    guint64 number = ino_pack(0, op->seq, slot);

    return (Node){.number = number,
                  .ino = {0, op->seq, slot},
                  .kind = node_kind_of_number(number),
                  .op = *op};
}

static bool find(const Call *call, const Node *dir, const char *name, LogOp *out)
{
    g_autofree char *digits = g_strndup(name, strcspn(name, "-")), *whole = NULL;
    guint32 seq = uid_parse(digits, "");

    if (!seq || !log_get(call->reader, seq, out))
        return false;
    whole = name_of(out);
    return strcmp(whole, name) == 0 && (out->state == LOG_FAILED) == shows_failed(dir);
}

static TreeStatus top_lookup(const Call *call, const Node *dir, const char *name, TreeEntry *out)
{
    g_auto(LogOp) op = {0};
    Node node;

    if (!find(call, dir, name, &op))
        return call_negative(call, 0, out);
    node = node_of_op(&op, shows_failed(dir) ? SLOT_OP_FAILED : SLOT_OP_QUEUED);
    node_entry(call, &node, out);
    return TREE_OK;
}

typedef struct {
    const Listing *listing;
    guint slot;
} OpWalk;

static bool list_op(const LogOp *op, gpointer data)
{
    const OpWalk *walk = data;
    Node node = node_of_op(op, walk->slot);
    g_autofree char *name = name_of(op);

    return listing_add(walk->listing, COOKIE_MESSAGE + op->seq, name, &node);
}

static TreeStatus top_readdir(const Node *dir, Listing *listing)
{
    OpWalk walk = {listing, shows_failed(dir) ? SLOT_OP_FAILED : SLOT_OP_QUEUED};
    guint64 after = listing->after > COOKIE_MESSAGE ? listing->after - COOKIE_MESSAGE : 0;

    if (listing_add_dots(listing, dir, ino_pack(0, 0, SLOT_CONTROL)) && after < LOG_MAX_SEQ)
        log_each(listing->call->reader, shows_failed(dir), (guint32)after, list_op, &walk);
    return TREE_OK;
}

/* rm of an operation that was not sent, rmdir of one that has failed. */
static int top_change(Changing *changing, const Node *dir)
{
    g_auto(LogOp) op = {0};

    if (!find(changing->call, dir, changing->change->name, &op))
        return ENOENT;
    return logged_do(changing, shows_failed(dir) ? log_discard : log_cancel, op.seq);
}

/* --- failed/SEQ-KIND/ --- */

typedef enum {
    OF_ALL,
    OF_MESSAGE, /* only while that is there */
    OF_LETTER,  /* whose bytes are here, and perhaps nowhere else */
} FileOf;

static const struct {
    const char *name;
    guint slot;
    FileOf of;
} files[] = {
    {"reason.txt", SLOT_OP_REASON, OF_ALL},   {"message", SLOT_OP_MESSAGE, OF_MESSAGE},
    {"message.eml", SLOT_OP_EML, OF_MESSAGE}, {"retry", SLOT_OP_RETRY, OF_ALL},
    {"discard", SLOT_OP_DISCARD, OF_ALL},     {"message.eml", SLOT_OP_LETTER, OF_LETTER},
};

/* The message's directory, without ".UID"; false: it is gone, or its mailbox is. */
static bool message_of(const Call *call, const LogOp *op, StoreMsg *out)
{
    return op->box && op->uid && where_shown(call->reader, op->box, op->uid) &&
           store_msg_get(call->reader, op->box, op->uid, out);
}

static ContentKey letter_key(const LogOp *op)
{
    return (ContentKey){STORE_BOX_PENDING, op->to_n, CONTENT_RAW, ""};
}

/* What was to be moved or copied and is no longer on the server: what was read of it here is of the
 * message that it would have become (store/log_pending.c). */
static bool has_letter(const Call *call, const LogOp *op)
{
    g_auto(StoreMsg) msg = {0};
    ContentKey key = letter_key(op);

    return op->kind == LOG_APPEND ||
           (op->to_n && !message_of(call, op, &msg) && content_exists(call->reader, &key));
}

static bool has_file(const Call *call, const LogOp *op, guint i)
{
    g_auto(StoreMsg) msg = {0};

    if (files[i].of == OF_LETTER)
        return has_letter(call, op);
    return files[i].of == OF_ALL || message_of(call, op, &msg);
}

static TreeStatus parked_lookup(const Call *call, const Node *dir, const char *name, TreeEntry *out)
{
    for (guint i = 0; i < G_N_ELEMENTS(files); i++) {
        if (strcmp(name, files[i].name) == 0 && has_file(call, &dir->op, i)) {
            Node node = node_of_op(&dir->op, files[i].slot);
            node_entry(call, &node, out);
            return TREE_OK;
        }
    }
    return call_negative(call, 0, out);
}

static TreeStatus parked_readdir(const Node *dir, Listing *listing)
{
    bool more = listing_add_dots(listing, dir, ino_pack(0, 0, SLOT_FAILED));

    for (guint i = 0; more && i < G_N_ELEMENTS(files); i++) {
        Node node = node_of_op(&dir->op, files[i].slot);
        if (has_file(listing->call, &dir->op, i))
            more = listing_add(listing, COOKIE_MESSAGE + files[i].slot, files[i].name, &node);
    }
    return TREE_OK;
}

static void parked_fill(const Call *call, const Node *node, TreeEntry *out)
{
    entry_set_ns(out, clock_real_ns());
    never_kept(out);
}

/* rm -r empties a directory before it removes it: what that does to the files means nothing, they
 * go with the directory. */
static int parked_change(Changing *changing, const Node *dir)
{
    for (guint i = 0; i < G_N_ELEMENTS(files); i++) {
        if (strcmp(changing->change->name, files[i].name) == 0)
            return 0;
    }
    return ENOENT;
}

/* From failed/SEQ-KIND/; NULL when there is no such message. Caller frees. */
static char *target_of(const Call *call, const Node *node)
{
    g_autofree char *path = NULL, *eml = NULL;
    guint32 box = node->op.box, uid = node->op.uid, shown = where_shown(call->reader, box, uid);
    const char *raw;
    guint depth = 0;

    if (node->ino.slot == SLOT_OP_EML) {
        raw = shown ? boxes_raw_path(call, shown, &depth) : NULL;
        eml = tree_uid_name(box, uid, ".eml");
        return raw ? g_strdup_printf("../../raw/%s/%s", raw, eml) : NULL;
    }
    path = where_path(call, 0, box, uid);
    return path ? g_strconcat("../../../", path, NULL) : NULL;
}

static void link_fill(const Call *call, const Node *node, TreeEntry *out)
{
    g_autofree char *target = target_of(call, node);

    entry_set_size(out, target ? strlen(target) : 0);
    never_kept(out);
}

static TreeStatus link_readlink(const Call *call, const Node *node, char **target_out)
{
    char *target = target_of(call, node);

    if (!target)
        return call_error(call, ESTALE);
    *target_out = target;
    return TREE_OK;
}

/* --- message.eml of what the server did not take, or has no more --- */

static void op_letter_fill(const Call *call, const Node *node, TreeEntry *out)
{
    ContentKey key = letter_key(&node->op);

    entry_set_seconds(out, node->op.internaldate);
    if (node->op.kind == LOG_APPEND)
        entry_set_size(out, node->op.size);
    else
        entry_set_content_size(call, &key, MAX(node->op.size, 1), true, out);
    never_kept(out);
}

static TreeStatus op_letter_open(const Call *call, const Node *node, TreeFile **file_out)
{
    const ContentKey key = letter_key(&node->op);

    return file_open_content(call, &key, NULL, (gint64)node->op.size, file_out);
}

/* --- retry, discard --- */

static const char *help_of(const Node *node)
{
    return node->ino.slot == SLOT_OP_RETRY
               ? "Write anything into this file to have the change sent again.\n"
               : "Write anything into this file to have the change forgotten.\n";
}

static void act_fill(const Call *call, const Node *node, TreeEntry *out)
{
    entry_set_size(out, strlen(help_of(node)));
    never_kept(out);
}

static TreeStatus act_open(const Call *call, const Node *node, TreeFile **file_out)
{
    *file_out = file_of_text(g_strdup(help_of(node)), true);
    return TREE_OK;
}

static int act_change(Changing *changing, const Node *node)
{
    bool retries = node->ino.slot == SLOT_OP_RETRY;
    int err = logged_do(changing, retries ? logged_retry : log_discard, node->ino.uid);

    if (!err)
        changing->memory = (changing->memory & ~(guint)FILE_TRUNCATED) | FILE_DONE;
    return err;
}

const NodeKind kind_queue = {
    .name = "queue",
    .mode = S_IFDIR | 0700,
    .fill = top_fill,
    .lookup = top_lookup,
    .readdir = top_readdir,
    .changes = 1 << TREE_CHANGE_UNLINK,
    .change = top_change,
};
const NodeKind kind_queued = {
    .name = "queued",
    .mode = MODE_FILE,
    .fill = text_fill,
    .open = text_open,
    .made = true,
};
const NodeKind kind_failed = {
    .name = "failed",
    .mode = S_IFDIR | 0700,
    .fill = top_fill,
    .lookup = top_lookup,
    .readdir = top_readdir,
    .changes = 1 << TREE_CHANGE_RMDIR,
    .change = top_change,
};
const NodeKind kind_parked = {
    .name = "parked",
    .mode = S_IFDIR | 0700,
    .fill = parked_fill,
    .lookup = parked_lookup,
    .readdir = parked_readdir,
    .changes = 1 << TREE_CHANGE_UNLINK,
    .change = parked_change,
};
const NodeKind kind_reason = {
    .name = "reason",
    .mode = MODE_FILE,
    .fill = text_fill,
    .open = text_open,
    .made = true,
};
const NodeKind kind_op_message = {
    .name = "op-message",
    .mode = MODE_LINK,
    .fill = link_fill,
    .readlink = link_readlink,
};
const NodeKind kind_op_eml = {
    .name = "op-eml",
    .mode = MODE_LINK,
    .fill = link_fill,
    .readlink = link_readlink,
};
const NodeKind kind_op_letter = {
    .name = "op-letter",
    .mode = MODE_FILE,
    .fill = op_letter_fill,
    .open = op_letter_open,
    .made = true,
};
#define ACTS (CHANGES_OF_A_FILE | 1 << TREE_CHANGE_OPEN | 1 << TREE_CHANGE_TOUCH)
const NodeKind kind_retry = {
    .name = "retry",
    .mode = S_IFREG | 0600,
    .fill = act_fill,
    .open = act_open,
    .changes = ACTS,
    .change = act_change,
    .made = true,
};
const NodeKind kind_discard = {
    .name = "discard",
    .mode = S_IFREG | 0600,
    .fill = act_fill,
    .open = act_open,
    .changes = ACTS,
    .change = act_change,
    .made = true,
};
