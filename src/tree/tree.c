/* tree.c - from an inode number to a node, and from a question to the kind that answers it.
 *
 * Nothing is remembered between two calls: a number is unpacked, the rows it names are read, and
 * the table of kinds does the rest. */
#include "imapfs/tree/tree.h"

#include <errno.h>
#include <string.h>

#include "imapfs/base/clock.h"
#include "imapfs/wire/response.h"
#include "node.h"

Tree *tree_new(const TreeConfig *config)
{
    static gint serials;
    Tree *tree = g_new0(Tree, 1);

    tree->config = *config;
    tree->account = g_strdup(config->account);
    tree->config.account = tree->account;
    tree->serial = (guint64)g_atomic_int_add(&serials, 1) + 1;
    tree->bare = layout_new(NULL);
    tree->given = given_new();
    tree->unlinked = unlinked_new();
    tree->opens = opens_new();
    tree->guard = guard_new(config->guard);
    return tree;
}

void tree_free(Tree *tree)
{
    if (!tree)
        return;
    layouts_forget(tree);
    layout_free(tree->bare);
    given_free(tree->given);
    unlinked_free(tree->unlinked);
    opens_free(tree->opens);
    guard_free(tree->guard);
    g_free(tree->account);
    g_free(tree);
}

void tree_keep(Tree *tree)
{
    store_reader_keep(store_reader(tree->config.store));
}

void tree_rest(Tree *tree, bool stale)
{
    store_reader_rest(store_reader(tree->config.store), stale);
}

void tree_ask_clear(TreeAsk *ask)
{
    need_clear(&ask->need);
    memset(ask, 0, sizeof(*ask));
}

void tree_ask_settle(TreeAsk *ask, NeedKind kind)
{
    if (kind == NEED_MAILBOXES || kind == NEED_MAILBOX || kind == NEED_STATUS ||
        kind == NEED_SIZES || kind == NEED_REPLAYED)
        ask->settled |= 1u << kind;
}

bool tree_ask_is_settled(const TreeAsk *ask, NeedKind kind)
{
    return ask->settled & (1u << kind);
}

/* --- nodes --- */

void node_clear(Node *node)
{
    store_box_clear(&node->box);
    store_msg_clear(&node->msg);
    log_op_clear(&node->op);
    given_name_clear(&node->given);
    memset(node, 0, sizeof(*node));
}

static const NodeKind *const fixed_kinds[] = {
    [SLOT_ROOT] = &kind_root,
    [SLOT_CONTROL] = &kind_control,
    [SLOT_STATUS] = &kind_status,
    [SLOT_LOG] = &kind_log,
    [SLOT_RAW_TOP] = &kind_raw_top,
    [SLOT_QUEUE] = &kind_queue,
    [SLOT_FAILED] = &kind_failed,
    [SLOT_EVENTS] = &kind_events,
    [SLOT_CTL] = &kind_ctl,
    [SLOT_SYNC] = &kind_sync,
    [SLOT_MAILDIR_TOP] = &kind_maildir_top,
};
static const NodeKind *const op_kinds[] = {
    [SLOT_OP_QUEUED] = &kind_queued,   [SLOT_OP_FAILED] = &kind_parked,
    [SLOT_OP_REASON] = &kind_reason,   [SLOT_OP_MESSAGE] = &kind_op_message,
    [SLOT_OP_EML] = &kind_op_eml,      [SLOT_OP_RETRY] = &kind_retry,
    [SLOT_OP_DISCARD] = &kind_discard, [SLOT_OP_LETTER] = &kind_op_letter,
    [SLOT_GIVEN] = &kind_given,        [SLOT_LETTER] = &kind_letter,
};
static const NodeKind *const box_kinds[] = {
    [SLOT_BOX] = &kind_mailbox,
    [SLOT_UID_DIR] = &kind_uid_dir,
    [SLOT_RAW_BOX] = &kind_raw_box,
    [SLOT_MAILDIR_BOX] = &kind_maildir_box,
    [SLOT_MAILDIR_CUR] = &kind_maildir_cur,
    [SLOT_MAILDIR_NEW] = &kind_maildir_new,
    [SLOT_MAILDIR_TMP] = &kind_maildir_tmp,
};
/* Nodes that every layout has need no structure to be known. */
static const NodeKind *const message_kinds[] = {
    [LAYOUT_INDEX_DIR] = &kind_message,
    [LAYOUT_INDEX_HEADERS] = &kind_part,
    [LAYOUT_INDEX_FLAGS] = &kind_flags,
    [LAYOUT_INDEX_EML] = &kind_eml,
};
static const NodeKind *const raw_kinds[] = {
    [SLOT_RAW_DIR - SLOT_RAW] = &kind_raw_dir,
    [SLOT_RAW_EML - SLOT_RAW] = &kind_raw_eml,
    [SLOT_UID_LINK - SLOT_RAW] = &kind_uid_link,
    [SLOT_MAILDIR_FILE - SLOT_RAW] = &kind_maildir_file,
};
static const NodeKind *const layout_kinds[] = {
    [LAYOUT_MESSAGE_DIR] = &kind_message, [LAYOUT_HEADERS] = &kind_part,
    [LAYOUT_FLAGS] = &kind_flags,         [LAYOUT_EML] = &kind_eml,
    [LAYOUT_ATTACHMENTS] = &kind_message, [LAYOUT_TEXT] = &kind_part,
    [LAYOUT_HTML] = &kind_part,           [LAYOUT_PART] = &kind_part,
    [LAYOUT_PROBLEM] = &kind_problem,
};
#define KIND_AT(table, i) ((i) < G_N_ELEMENTS(table) ? (table)[i] : NULL)

static void take_part(Node *node, const Layout *layout, guint index)
{
    node->layout = layout;
    node->part = g_ptr_array_index(layout->nodes, index);
}

/* A node of a message whose kind stands in its layout. */
static TreeStatus load_from_layout(const Call *call, Node *node)
{
    guint index = node->ino.slot & (SLOT_RAW - 1);
    const Layout *layout = NULL;
    TreeStatus status = layout_load(call, node->ino.box, node->ino.uid, &layout);

    if (status != TREE_OK)
        return status;
    if (index >= layout->nodes->len)
        return call_error(call, ESTALE);
    take_part(node, layout, index);
    node->kind = node->ino.slot & SLOT_RAW ? &kind_raw_section : layout_kinds[node->part->kind];
    return TREE_OK;
}

/* The row; of a message that has another number by now, the row of that: who has a directory open,
 * or a file that the kernel moved to another mailbox by its old number, goes on as if nothing was.
 */
static bool load_message(const Call *call, Node *node)
{
    TreeMessage now = {node->ino.box, node->ino.uid};

    if (store_msg_get(call->reader, now.box, now.uid, &node->msg))
        return true;
    where_went(call->reader, &now);
    node->ino.box = now.box;
    node->ino.uid = now.uid;
    return store_msg_get(call->reader, now.box, now.uid, &node->msg);
}

static TreeStatus load_of_message(const Call *call, Node *node)
{
    guint slot = node->ino.slot;

    if (!load_message(call, node))
        return call_error(call, ESTALE);
    if (slot & SLOT_RAW)
        node->kind = KIND_AT(raw_kinds, slot - SLOT_RAW);
    else if ((node->kind = KIND_AT(message_kinds, slot)))
        take_part(node, call->tree->bare, slot);
    return node->kind ? TREE_OK : load_from_layout(call, node);
}

/* A node of an operation is there as long as that is in the state that it shows. */
static TreeStatus load_of_op(const Call *call, Node *node)
{
    node->kind = KIND_AT(op_kinds, node->ino.slot);
    if (node->ino.slot == SLOT_GIVEN || node->ino.slot == SLOT_LETTER)
        return where_load_given(call, node);
    if (!node->kind || !log_get(call->reader, node->ino.uid, &node->op) ||
        (node->op.state == LOG_FAILED) != (node->ino.slot != SLOT_OP_QUEUED))
        return call_error(call, ESTALE);
    return TREE_OK;
}

const NodeKind *node_kind_of_number(guint64 number)
{
    Ino ino = ino_unpack(number);

    if (!ino.uid)
        return ino.box ? KIND_AT(box_kinds, ino.slot) : KIND_AT(fixed_kinds, ino.slot);
    if (!ino.box)
        return KIND_AT(op_kinds, ino.slot);
    return ino.slot & SLOT_RAW ? KIND_AT(raw_kinds, ino.slot - SLOT_RAW)
                               : KIND_AT(message_kinds, ino.slot);
}

TreeStatus node_load(const Call *call, guint64 number, Node *out)
{
    out->number = number;
    out->ino = ino_unpack(number);
    if (out->ino.uid)
        return out->ino.box ? load_of_message(call, out) : load_of_op(call, out);
    out->kind = node_kind_of_number(number);
    if (!out->kind)
        return call_error(call, ESTALE);
    if (out->ino.box && !store_box_by_id(call->reader, out->ino.box, &out->box))
        return call_error(call, ESTALE);
    return TREE_OK;
}

void node_of_layout(Node *out, const Node *of, const Layout *layout, guint index)
{
    *out = (Node){.ino = {of->ino.box, of->ino.uid, index}, .msg = of->msg};
    out->number = ino_pack(of->ino.box, of->ino.uid, index);
    take_part(out, layout, index);
    out->kind = layout_kinds[out->part->kind];
}

/* All but what the kind knows. */
static void node_entry_begin(const Call *call, const Node *node, TreeEntry *out)
{
    const TreeConfig *config = &call->tree->config;

    memset(out, 0, sizeof(*out));
    out->ino = node->number;
    out->entry_ttl = out->attr_ttl = NODE_TTL;
    out->st.st_ino = node->number;
    out->st.st_mode = node->kind->mode;
    if (config->read_only && !S_ISLNK(out->st.st_mode))
        out->st.st_mode &= ~(mode_t)0222;
    out->st.st_nlink = 1;
    out->st.st_uid = config->uid;
    out->st.st_gid = config->gid;
    out->st.st_blksize = 4096;
    if (node->ino.uid && !node->ino.box)
        entry_set_ns(out, node->op.logged_ns);
    else if (node->ino.uid)
        entry_set_seconds(out, node->msg.internaldate);
    else if (node->ino.box && node->box.changed_ns)
        entry_set_ns(out, node->box.changed_ns);
    else
        entry_set_ns(out, config->mounted_ns);
}

void node_entry(const Call *call, const Node *node, TreeEntry *out)
{
    node_entry_begin(call, node, out);
    if (node->kind->fill)
        node->kind->fill(call, node, out);
}

/* --- answers --- */

TreeStatus call_error(const Call *call, int err)
{
    call->ask->err = err;
    return TREE_ERROR;
}

TreeStatus call_negative(const Call *call, double ttl, TreeEntry *out)
{
    memset(out, 0, sizeof(*out));
    out->entry_ttl = ttl;
    return call_error(call, ENOENT);
}

TreeStatus call_need(const Call *call, NeedKind kind, guint32 box, guint32 uid)
{
    need_clear(&call->ask->need);
    call->ask->need = (Need){.kind = kind, .box = box, .uid = uid};
    return TREE_NEED;
}

TreeStatus call_need_content(const Call *call, const ContentKey *key, const LayoutNode *part,
                             gint64 encoded_size)
{
    Need *need = &call->ask->need;

    call_need(call, NEED_CONTENT, key->box, key->uid);
    need->content = key->kind;
    need->section = g_strdup(key->section);
    need->encoded_size = encoded_size;
    if (part) {
        need->encoding = g_strdup(part->encoding);
        need->charset = g_strdup(part->charset);
    }
    return TREE_NEED;
}

bool box_is_selectable(const StoreBox *box)
{
    return !(box->attributes & (LIST_NOSELECT | LIST_NONEXISTENT));
}

TreeStatus call_size_known(const Call *call, const Node *node)
{
    const Ino *ino = &node->ino;

    if (node->kind == &kind_maildir_cur || node->kind == &kind_maildir_new ||
        node->kind == &kind_maildir_tmp)
        return call_messages_fresh(call, &node->box);
    if (call->tree->config.exact || node->kind != &kind_part || !node->part ||
        !base64_map_applies(node->part) || tree_ask_is_settled(call->ask, NEED_SIZES) ||
        store_size_get(call->reader, ino->box, ino->uid, CONTENT_DECODED, node->part->section) >= 0)
        return TREE_OK;
    return call_need(call, NEED_SIZES, ino->box, ino->uid);
}

TreeStatus call_boxes_fresh(const Call *call)
{
    bool settled = tree_ask_is_settled(call->ask, NEED_MAILBOXES);

    if (store_boxes_synced(call->reader) &&
        (settled || engine_boxes_fresh(call->tree->config.engine)))
        return TREE_OK;
    return call_need(call, NEED_MAILBOXES, 0, 0);
}

TreeStatus call_messages_fresh(const Call *call, const StoreBox *box)
{
    bool settled = tree_ask_is_settled(call->ask, NEED_MAILBOX);

    if (!box_is_selectable(box) || box->local)
        return TREE_OK;
    if (box->listed && (settled || engine_box_fresh(call->tree->config.engine, box->id)))
        return TREE_OK;
    return call_need(call, NEED_MAILBOX, box->id, 0);
}

void entry_set_size(TreeEntry *entry, guint64 size)
{
    entry->st.st_size = (off_t)MIN(size, (guint64)G_MAXINT64);
    entry->st.st_blocks = entry->st.st_size / 512 + (entry->st.st_size % 512 != 0);
}

void entry_set_seconds(TreeEntry *entry, gint64 seconds)
{
    struct timespec time = {.tv_sec = seconds};

    entry->st.st_mtim = entry->st.st_ctim = entry->st.st_atim = time;
}

void entry_set_ns(TreeEntry *entry, gint64 ns)
{
    struct timespec time = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};

    entry->st.st_mtim = entry->st.st_ctim = entry->st.st_atim = time;
}

void entry_set_content_size(const Call *call, const ContentKey *key, guint64 estimate, bool proven,
                            TreeEntry *entry)
{
    StoreSize exact = store_size_find(call->reader, key->box, key->uid, key->kind, key->section);

    entry_set_size(entry, exact.bytes >= 0 ? (guint64)exact.bytes : estimate);
    if (exact.bytes < 0 || !(proven || exact.proven || content_exists(call->reader, key)))
        entry->attr_ttl = 0;
}

/* Where files are not opened, an entry is told as it will be read, or not yet. In a listing, and
 * for a name, the attributes of what came and was not used yet are not told either: so who comes to
 * it is seen, and what is next can be brought. */
static bool is_final(const Call *call, const TreeEntry *entry, bool is_named)
{
    if (!call->tree->config.exact || !S_ISREG(entry->st.st_mode) ||
        !tree_ino_is_content(entry->ino))
        return true;
    return entry->attr_ttl > 0 && !(is_named && content_any_unused(call->tree->config.store));
}

bool listing_add(const Listing *listing, guint64 cookie, const char *name, const Node *node)
{
    TreeEntry entry = {.ino = node->number};

    if (cookie <= listing->after)
        return true;
    if (listing->full)
        node_entry(listing->call, node, &entry);
    if (!listing->full || !is_final(listing->call, &entry, true))
        entry = (TreeEntry){.ino = node->number, .st.st_mode = node->kind->mode};
    entry.st.st_ino = node->number;
    return listing->add(name, &entry, cookie, listing->data);
}

bool listing_add_dots(const Listing *listing, const Node *dir, guint64 parent)
{
    Node above = {.number = parent, .kind = dir->kind, .ino = ino_unpack(parent)};
    Listing names = *listing;

    names.full = false; /* the kernel takes no attributes from these two */
    return listing_add(&names, COOKIE_DOT, ".", dir) &&
           listing_add(&names, COOKIE_DOTDOT, "..", &above);
}

guint32 uid_parse(const char *text, const char *suffix)
{
    guint64 value = 0;
    const char *p = text;

    if (*p == '0')
        return 0;
    for (; g_ascii_isdigit(*p) && p - text < 10; p++)
        value = value * 10 + (guint64)(*p - '0');
    return value <= G_MAXUINT32 && strcmp(p, suffix) == 0 ? (guint32)value : 0;
}

/* --- questions --- */

static Call call_of(Tree *tree, TreeAsk *ask)
{
    Call call = {.tree = tree, .reader = store_reader(tree->config.store), .ask = ask};

    store_reader_check(call.reader, NULL); /* what failed before is not this call's */
    return call;
}

/* The status of a call, unless it rests on a read that failed: then nothing is known, and least of
 * all that there is no such file. */
static TreeStatus end(const Call *call, TreeStatus status)
{
    return store_reader_check(call->reader, NULL) ? status : call_error(call, EIO);
}

static TreeStatus open_from_store(const Call *call, guint64 ino, Node *node, TreeFile **file_out)
{
    TreeStatus status;

    store_reader_check(call->reader, NULL); /* what failed before is not this call's */
    status = node_load(call, ino, node);
    if (status == TREE_OK && node->kind->open)
        status = node->kind->open(call, node, file_out);
    else if (status == TREE_OK)
        status = call_error(call, S_ISDIR(node->kind->mode) ? EISDIR : ELOOP); /* a link */
    return end(call, status);
}

/* What an open would wait for, and say to who reads ahead, where there are none. */
static TreeStatus make_final(const Call *call, TreeEntry *entry, bool is_named)
{
    g_auto(Node) node = {0};
    TreeFile *file = NULL;
    TreeStatus status;

    if (is_final(call, entry, is_named))
        return TREE_OK;
    status = open_from_store(call, entry->ino, &node, &file);
    if (status == TREE_OK) {
        entry_set_size(entry, tree_file_size(file));
        entry->attr_ttl = NODE_TTL;
    }
    tree_file_close(file);
    return status;
}

TreeStatus tree_lookup(Tree *tree, TreeAsk *ask, guint64 parent, const char *name, TreeEntry *out)
{
    Call call = call_of(tree, ask);
    g_auto(Node) dir = {0};
    TreeStatus status = node_load(&call, parent, &dir);

    memset(out, 0, sizeof(*out));
    if (status == TREE_OK && !dir.kind->lookup)
        status = call_error(&call, ENOTDIR);
    else if (status == TREE_OK && strlen(name) > LIMIT_NAME)
        status = call_error(&call, ENAMETOOLONG);
    else if (status == TREE_OK)
        status = dir.kind->lookup(&call, &dir, name, out);
    status = end(&call, status);
    return status == TREE_OK ? make_final(&call, out, true) : status;
}

TreeStatus tree_getattr(Tree *tree, TreeAsk *ask, guint64 ino, TreeEntry *out)
{
    Call call = call_of(tree, ask);
    g_auto(Node) node = {0};
    TreeStatus status = node_load(&call, ino, &node);

    if (status == TREE_OK)
        status = call_size_known(&call, &node);
    if (status == TREE_OK)
        node_entry(&call, &node, out);
    status = end(&call, status);
    return status == TREE_OK ? make_final(&call, out, false) : status;
}

TreeStatus tree_readlink(Tree *tree, TreeAsk *ask, guint64 ino, char **target_out)
{
    Call call = call_of(tree, ask);
    g_auto(Node) node = {0};
    TreeStatus status = node_load(&call, ino, &node);

    if (status == TREE_OK)
        status = node.kind->readlink ? node.kind->readlink(&call, &node, target_out)
                                     : call_error(&call, EINVAL);
    return end(&call, status);
}

/* Whoever walks a tree (grep -r, find) lists a directory to its end before looking at what is in
 * it, and is then spared a question for each entry. Where attributes cost something, and in large
 * mailboxes, as whoever only wants names pays for them too, only the first ones are told. */
#define FULL_MAX 32768

static bool lists_attributes(const Node *dir, guint64 after)
{
    return after == 0 || dir->kind == &kind_message ||
           (dir->kind == &kind_mailbox && dir->box.exists <= FULL_MAX);
}

TreeStatus tree_readdir(Tree *tree, TreeAsk *ask, guint64 ino, guint64 after, bool full,
                        TreeAdd add, gpointer data)
{
    Call call = call_of(tree, ask);
    Listing listing = {.call = &call, .after = after, .add = add, .data = data};
    g_auto(Node) dir = {0};
    TreeStatus status = node_load(&call, ino, &dir);

    listing.full = full && status == TREE_OK && lists_attributes(&dir, after);
    if (status == TREE_OK)
        status = dir.kind->readdir ? dir.kind->readdir(&dir, &listing) : call_error(&call, ENOTDIR);
    return end(&call, status);
}

TreeStatus tree_open(Tree *tree, TreeAsk *ask, guint64 ino, TreeFile **file_out)
{
    Call call = {.tree = tree, .reader = store_reader(tree->config.store), .ask = ask};
    guint64 removals = content_removals(tree->config.store);
    g_auto(Node) node = {0};
    /* Where files are not opened the kernel keeps what it has read. */
    TreeFile *file = tree->config.exact ? NULL : opens_open(tree, ino, removals, &node);
    bool known = file;
    TreeStatus status = known ? TREE_OK : open_from_store(&call, ino, &node, &file);

    if (status == TREE_OK) {
        TreeEntry entry;

        node_entry_begin(&call, &node, &entry);
        file_set_entry(file, &entry);
        if (!known && !tree->config.exact)
            opens_note(tree, &node, file, removals);
        *file_out = file;
    } else {
        tree_file_close(file);
    }
    return status;
}

TreeStatus tree_getxattr(Tree *tree, TreeAsk *ask, guint64 ino, const char *name,
                         GBytes **value_out)
{
    Call call = call_of(tree, ask);
    g_auto(Node) node = {0};
    g_autoptr(GBytes) value = NULL;
    TreeStatus status;

    /* Asked for by ls on every file, and told before anything is read: after this answer ls asks
     * no more on the whole mount. */
    if (!g_str_has_prefix(name, "user."))
        return call_error(&call, EOPNOTSUPP);
    status = node_load(&call, ino, &node);
    if (status == TREE_OK)
        status = xattr_get(&call, &node, name, &value);
    status = end(&call, status);
    if (status == TREE_OK)
        *value_out = g_steal_pointer(&value);
    return status;
}

TreeStatus tree_listxattr(Tree *tree, TreeAsk *ask, guint64 ino, GBytes **names_out)
{
    Call call = call_of(tree, ask);
    g_auto(Node) node = {0};
    g_autoptr(GBytes) names = NULL;
    TreeStatus status = node_load(&call, ino, &node);

    if (status == TREE_OK)
        status = xattr_list(&call, &node, &names);
    status = end(&call, status);
    if (status == TREE_OK)
        *names_out = g_steal_pointer(&names);
    return status;
}

static bool count_messages(const StoreBox *box, gpointer data)
{
    *(guint64 *)data += box->exists;
    return true;
}

/* What the server says of one resource, when it was last asked (RFC 9208). */
static bool read_quota(StoreReader *reader, const char *resource, guint64 *used, guint64 *limit)
{
    g_autofree char *text = store_meta_get(reader, STORE_META_QUOTA);
    g_auto(GStrv) lines = g_strsplit(text ? text : "", "\n", -1);

    for (char **line = lines; *line; line++) {
        g_auto(GStrv) words = g_strsplit(*line, " ", 3);

        if (g_strv_length(words) == 3 && strcmp(words[0], resource) == 0)
            return g_ascii_string_to_unsigned(words[1], 10, 0, G_MAXINT64, used, NULL) &&
                   g_ascii_string_to_unsigned(words[2], 10, 0, G_MAXINT64, limit, NULL);
    }
    return false;
}

/* Without a quota: what is kept here, and what there is room for, as a letter is written here
 * first.
 */
static void statfs_of_disk(Tree *tree, struct statvfs *out)
{
    guint64 bytes = 0, contents = 0;
    struct statvfs disk;

    content_stats(tree->config.store, &bytes, &contents);
    out->f_bsize = out->f_frsize = 4096;
    out->f_blocks = bytes / 4096 + 1;
    if (store_disk(tree->config.store, &disk)) {
        out->f_bfree = out->f_bavail = disk.f_bavail * disk.f_frsize / 4096;
        out->f_blocks += out->f_bfree;
        out->f_ffree = out->f_favail = disk.f_favail;
        out->f_files += disk.f_favail;
    }
}

TreeStatus tree_statfs(Tree *tree, TreeAsk *ask, struct statvfs *out)
{
    Call call = call_of(tree, ask);
    guint64 messages = 0, used = 0, limit = 0;

    engine_want_quota(tree->config.engine);
    store_box_all(call.reader, count_messages, &messages);
    memset(out, 0, sizeof(*out));
    out->f_files = messages;
    out->f_namemax = LIMIT_NAME;
    statfs_of_disk(tree, out);
    if (read_quota(call.reader, "STORAGE", &used, &limit)) {
        out->f_bsize = out->f_frsize = 1024;
        out->f_blocks = limit;
        out->f_bfree = out->f_bavail = limit - MIN(used, limit);
    }
    if (read_quota(call.reader, "MESSAGE", &used, &limit)) {
        out->f_files = limit;
        out->f_ffree = out->f_favail = limit - MIN(used, limit);
    }
    return end(&call, TREE_OK);
}

/* --- numbers --- */

guint64 tree_ino_box(guint32 box)
{
    return box ? ino_pack(box, 0, SLOT_BOX) : TREE_ROOT_INO;
}

guint64 tree_ino_message(guint32 box, guint32 uid)
{
    return ino_pack(box, uid, LAYOUT_INDEX_DIR);
}

guint64 tree_ino_flags(guint32 box, guint32 uid)
{
    return ino_pack(box, uid, LAYOUT_INDEX_FLAGS);
}

bool tree_ino_is_made(guint64 ino)
{
    const NodeKind *kind = node_kind_of_number(ino);

    return kind && kind->made;
}

guint64 tree_ino_of_made(guint32 n)
{
    return ino_pack(0, n, SLOT_MADE);
}

bool tree_ino_is_content(guint64 ino)
{
    Ino bits = ino_unpack(ino);

    return bits.box && bits.slot != LAYOUT_INDEX_FLAGS;
}

guint64 tree_ino_raw_box(guint32 box)
{
    return box ? ino_pack(box, 0, SLOT_RAW_BOX) : ino_pack(0, 0, SLOT_RAW_TOP);
}

guint64 tree_ino_uid_dir(guint32 box)
{
    return ino_pack(box, 0, SLOT_UID_DIR);
}

guint64 tree_ino_maildir(guint32 box)
{
    return box ? ino_pack(box, 0, SLOT_MAILDIR_BOX) : ino_pack(0, 0, SLOT_MAILDIR_TOP);
}

guint32 tree_message_box(Tree *tree, guint32 box, guint32 uid)
{
    return where_shown(store_reader(tree->config.store), box, uid);
}

guint64 tree_ino_maildir_cur(guint32 box)
{
    return ino_pack(box, 0, SLOT_MAILDIR_CUR);
}

gint64 tree_ino_listed_box(guint64 ino)
{
    Ino bits = ino_unpack(ino);

    if (bits.uid)
        return -1;
    if (bits.box)
        return bits.box;
    return bits.slot == SLOT_ROOT || bits.slot == SLOT_RAW_TOP || bits.slot == SLOT_MAILDIR_TOP
               ? 0
               : -1;
}

#define PLUS(box) ((box) == STORE_BOX_PENDING ? "+" : "")

char *tree_message_entry_name(guint32 box, const char *name, guint32 uid)
{
    return g_strdup_printf("%s.%s%" G_GUINT32_FORMAT, name, PLUS(box), uid);
}

char *tree_uid_name(guint32 box, guint32 uid, const char *suffix)
{
    return g_strdup_printf("%s%" G_GUINT32_FORMAT "%s", PLUS(box), uid, suffix);
}

char *tree_box_entry_name(const char *leaf, TreeView view)
{
    return boxes_leaf(leaf, view);
}

guint64 tree_ino_box_in(guint32 box, TreeView view)
{
    return view == TREE_VIEW_RAW       ? tree_ino_raw_box(box)
           : view == TREE_VIEW_MAILDIR ? tree_ino_maildir(box)
                                       : tree_ino_box(box);
}

bool tree_place_of_box(Tree *tree, guint32 box, TreePlace places_out[TREE_VIEWS])
{
    g_auto(StoreBox) row = {0};

    if (!store_box_by_id(store_reader(tree->config.store), box, &row))
        return false;
    for (guint i = 0; i < TREE_VIEWS; i++)
        places_out[i] = (TreePlace){tree_ino_box_in(row.parent, i), boxes_leaf(row.leaf, i)};
    return true;
}
