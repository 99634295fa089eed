/* change.c - one change by a person: on which node, and what became of it.
 *
 * The rule: a change that is refused has done nothing to the transaction, so the others in it go
 * on; where that cannot be promised the whole transaction has failed. What a file remembers is set
 * at once, as the next change may come in the same transaction, and taken back if it is not
 * committed. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "imapfs/base/clock.h"
#include "imapfs/base/error.h"
#include "imapfs/base/log.h"
#include "letter.h"
#include "node.h"

static bool is_xattr(const TreeChange *change)
{
    return change->kind == TREE_CHANGE_SETXATTR || change->kind == TREE_CHANGE_REMOVEXATTR;
}

static bool takes(const NodeKind *kind, TreeChangeKind change)
{
    return kind && kind->changes & (1u << change);
}

/* A directory inside a message is told by the message's structure, not by its number. */
static bool may_be_inside_message(guint64 number)
{
    Ino ino = ino_unpack(number);

    return ino.box && ino.uid && ino.slot >= LAYOUT_INDEX_FIRST_PART && !(ino.slot & SLOT_RAW);
}

/* Which node it is told by the number alone; what else there is takes no change. */
int tree_change_refusal(const TreeChange *change)
{
    const NodeKind *kind = node_kind_of_number(change->ino);

    if (is_xattr(change) && !g_str_has_prefix(change->name, "user."))
        return EOPNOTSUPP;
    if ((change->kind == TREE_CHANGE_UNLINK || change->kind == TREE_CHANGE_RMDIR) &&
        may_be_inside_message(change->ino))
        return 0;
    if (!takes(kind, change->kind))
        return EPERM;
    return (change->kind != TREE_CHANGE_RENAME && change->kind != TREE_CHANGE_LINK) ||
                   takes(node_kind_of_number(change->new_ino), change->kind)
               ? 0
               : EPERM;
}

void changing_note(Changing *changing, guint32 box, guint32 uid)
{
    TreeChange *change = changing->change;
    TreeMessage message = {box, uid};

    if (!change->messages)
        change->messages = g_array_new(FALSE, FALSE, sizeof(TreeMessage));
    g_array_append_val(change->messages, message);
}

static void place_clear(gpointer data)
{
    g_free(((TreePlace *)data)->name);
}

void changing_note_place(Changing *changing, guint64 dir, const char *name)
{
    TreeChange *change = changing->change;
    TreePlace place = {dir, g_strdup(name)};

    if (!change->places) {
        change->places = g_array_new(FALSE, FALSE, sizeof(TreePlace));
        g_array_set_clear_func(change->places, place_clear);
    }
    g_array_append_val(change->places, place);
}

static void name_clear(gpointer data)
{
    g_free(((StoreName *)data)->leaf);
}

static void note_name(Changing *changing, const StoreName *noted)
{
    TreeChange *change = changing->change;
    StoreName name = {noted->parent, g_strdup(noted->leaf), noted->moved};

    if (!change->names) {
        change->names = g_array_new(FALSE, FALSE, sizeof(StoreName));
        g_array_set_clear_func(change->names, name_clear);
    }
    g_array_append_val(change->names, name);
}

void changing_note_boxes(Changing *changing)
{
    g_autoptr(GArray) names = store_txn_take_names(changing->txn);

    for (guint i = 0; i < names->len; i++)
        note_name(changing, &g_array_index(names, StoreName, i));
}

int changing_refuse(Changing *changing, GError *error)
{
    int err = imapfs_error_to_errno(error);

    if (g_error_matches(error, IMAPFS_ERROR, IMAPFS_ERROR_STORE) ||
        g_error_matches(error, IMAPFS_ERROR, IMAPFS_ERROR_FULL)) {
        changing->failed = true;
        g_propagate_error(changing->error, error);
        return err;
    }
    log_warn("tree", "not changed: %s", error->message);
    g_error_free(error);
    return err;
}

/* What was moved is changed where it is shown now: who has it open, and the kernel for a moment,
 * know it by the number of before. Names in its directory are those of the number that is asked. */
static guint64 number_now(const Changing *changing)
{
    StoreReader *reader = changing->call->reader;
    const TreeChange *change = changing->change;
    Ino ino = ino_unpack(change->ino);
    TreeMessage now = {ino.box, ino.uid};

    if (!ino.box || !ino.uid || change->kind == TREE_CHANGE_UNLINK ||
        change->kind == TREE_CHANGE_RMDIR || where_shown(reader, ino.box, ino.uid))
        return change->ino;
    where_went(reader, &now);
    return ino_pack(now.box, now.uid, ino.slot);
}

/* What the node says; the transaction's reads and writes are not looked at yet. */
static int run(Changing *changing)
{
    TreeChange *change = changing->change;
    g_auto(Node) node = {0};

    if (change->kind == TREE_CHANGE_LETTER)
        return letter_log(changing, changing->ready);
    if (changing->memory & FILE_DONE)
        return 0; /* what comes after it, from the same file, says nothing new */
    switch (node_load(changing->call, number_now(changing), &node)) {
    case TREE_ERROR:
        return changing->call->ask->err;
    case TREE_NEED: /* a node that takes changes needs nothing to be known */
        return EPERM;
    case TREE_OK:
        break;
    }
    return takes(node.kind, change->kind) ? node.kind->change(changing, &node) : EPERM;
}

/* The changes of one transaction. */
typedef struct {
    Tree *tree;
    TreeChange *const *changes;
    guint n, applied;
    LetterReady **ready; /* of those that are letters */
    Batch batch;
    gint64 commit_at;
} Work;

/* False: the transaction has failed. */
static bool apply(Work *work, StoreTxn *txn, guint i, GError **error)
{
    Tree *tree = work->tree;
    TreeChange *change = work->changes[i];
    TreeAsk ask = {0};
    Call call = {.tree = tree, .reader = store_txn_reader(txn), .ask = &ask};
    Changing changing = {.call = &call,
                         .txn = txn,
                         .change = change,
                         .error = error,
                         .batch = &work->batch,
                         .ready = work->ready[i]};

    change->before = change->file ? file_memory(change->file) : 0;
    changing.memory = change->before;
    if (!change->err)
        change->err = run(&changing);
    tree_ask_clear(&ask);
    if (changing.failed || !store_reader_check(call.reader, error))
        return false;
    if (change->file)
        file_remember(change->file, (change->err ? change->before : changing.memory) | FILE_TRIED);
    return true;
}

static void take_back(TreeChange *change, int err)
{
    g_clear_pointer(&change->messages, g_array_unref);
    g_clear_pointer(&change->places, g_array_unref);
    g_clear_pointer(&change->names, g_array_unref);
    change->must_wait = change->places_first = false;
    change->made = (TreeMessage){0, 0};
    if (!change->err)
        change->err = err;
    if (change->file)
        file_remember(change->file, change->before | FILE_TRIED);
}

static bool apply_all(Work *work, GError **error)
{
    StoreTxn *txn = store_begin(work->tree->config.store, true, error);

    if (!txn)
        return false;
    store_reader_check(store_txn_reader(txn), NULL);
    while (work->applied < work->n) {
        if (!apply(work, txn, work->applied++, error)) {
            store_rollback(txn);
            return false;
        }
    }
    work->commit_at = clock_mono_us();
    return store_commit(txn, error);
}

/* Takes the disk's time without the writer lock. */
static void prepare(Work *work)
{
    work->ready = g_new0(LetterReady *, work->n);
    for (guint i = 0; i < work->n; i++) {
        TreeChange *change = work->changes[i];
        Letter *letter = change->kind == TREE_CHANGE_LETTER
                             ? letter_ref(file_letter(change->file))
                             : maildir_letter_of(work->tree, change, &change->err);
        if (letter)
            work->ready[i] = letter_prepare(letter, &change->err);
        letter_unref(letter);
    }
}

/* What is remembered of a change that is committed, or not. */
static void finish_one(Tree *tree, TreeChange *change, bool committed)
{
    GivenKind kind =
        change->new_name && g_str_has_suffix(change->new_name, ".eml") ? GIVEN_EML : GIVEN_DIR;

    if (committed && maildir_is_target(change))
        maildir_changed(tree, change);
    else if (committed && change->made.box &&
             (change->kind == TREE_CHANGE_LINK || change->kind == TREE_CHANGE_RENAME))
        given_add(tree->given, kind, ino_unpack(change->new_ino).box, change->new_name,
                  &change->made);
}

static void finish(Work *work, bool committed)
{
    for (guint i = 0; i < work->n; i++) {
        finish_one(work->tree, work->changes[i], committed);
        if (work->ready[i])
            letter_finish(work->changes[i], work->ready[i], committed);
    }
    g_free(work->ready);
    if (committed && work->batch.n_held)
        guard_tell(work->tree, work->batch.n_held);
}

static void refuse_all(Work *work, GError *error)
{
    int err = imapfs_error_to_errno(error);

    log_error("tree", "nothing was changed: %s", error->message);
    for (guint i = work->n; i > work->applied; i--) {
        if (!work->changes[i - 1]->err)
            work->changes[i - 1]->err = err;
    }
    for (guint i = work->applied; i; i--)
        take_back(work->changes[i - 1], err);
}

bool tree_change_all(Tree *tree, TreeChange *const *changes, guint n, TreeChangeTimes *times_out)
{
    Work work = {.tree = tree, .changes = changes, .n = n};
    g_autoptr(GError) error = NULL;
    gint64 began = clock_mono_us();
    bool committed;

    prepare(&work);
    committed = apply_all(&work, &error);
    if (committed)
        *times_out = (TreeChangeTimes){clock_mono_us() - began, clock_mono_us() - work.commit_at};
    else
        refuse_all(&work, error);
    finish(&work, committed);
    return committed;
}

guint64 tree_ino_made(const TreeChange *change)
{
    guint slot =
        maildir_is_target(change) ? (guint)SLOT_MAILDIR_FILE : ino_unpack(change->ino).slot;

    return ino_pack(change->made.box, change->made.uid, slot);
}

void tree_change_clear(TreeChange *change)
{
    g_clear_pointer(&change->messages, g_array_unref);
    g_clear_pointer(&change->places, g_array_unref);
    g_clear_pointer(&change->names, g_array_unref);
}

/* All of it, or nothing. */
static TreeStatus open_anew(Tree *tree, TreeAsk *ask, guint64 ino, int flags, TreeFile **file_out)
{
    Call call = {.tree = tree, .reader = store_reader(tree->config.store), .ask = ask};
    g_auto(Node) node = {0};
    TreeEntry entry;
    TreeStatus status = node_load(&call, ino, &node);

    if (status == TREE_OK && (flags & (O_TRUNC | O_APPEND)) != O_TRUNC)
        return call_error(&call, EPERM);
    if (status == TREE_OK)
        status = node.kind == &kind_letter ? letter_open_again(&call, &node, file_out)
                                           : letter_open_draft(&call, &node, file_out);
    if (status != TREE_OK)
        return status;
    node_entry(&call, &node, &entry);
    file_set_entry(*file_out, &entry);
    file_set_changes(*file_out, 0);
    return TREE_OK;
}

TreeStatus tree_open_to_change(Tree *tree, TreeAsk *ask, guint64 ino, int flags,
                               TreeFile **file_out)
{
    const TreeChange change = {.kind = TREE_CHANGE_WRITE, .ino = ino};
    guint memory = (flags & O_APPEND ? FILE_APPENDS : 0) | (flags & O_TRUNC ? FILE_TRUNCATED : 0);
    TreeStatus status;

    if (node_kind_of_number(ino) == &kind_raw_eml || node_kind_of_number(ino) == &kind_letter)
        return open_anew(tree, ask, ino, flags, file_out);
    ask->err = tree_change_refusal(&change);
    if (ask->err)
        return TREE_ERROR;
    status = tree_open(tree, ask, ino, file_out);
    if (status == TREE_OK)
        file_set_changes(*file_out, memory);
    return status;
}

bool tree_file_owes_change(const TreeFile *file)
{
    return tree_file_changes(file) &&
           (file_memory(file) & (FILE_TRUNCATED | FILE_TRIED)) == FILE_TRUNCATED;
}

TreeStatus tree_sync(Tree *tree, TreeAsk *ask, guint64 ino)
{
    StoreReader *reader = store_reader(tree->config.store);
    Ino bits = ino_unpack(ino);
    guint32 box = bits.box, uid = box ? bits.uid : 0;
    LogCounts counts = {0};

    store_reader_check(reader, NULL);
    log_count(reader, box, uid, &counts);
    if (!store_reader_check(reader, NULL) || (uid && counts.failed && !counts.pending)) {
        ask->err = EIO;
        return TREE_ERROR;
    }
    if (!counts.pending || tree_ask_is_settled(ask, NEED_REPLAYED))
        return TREE_OK;
    need_clear(&ask->need);
    ask->need = (Need){.kind = NEED_REPLAYED, .box = box, .uid = uid};
    return TREE_NEED;
}

bool tree_ino_is_of_message(guint64 ino, TreeMessage *out)
{
    Ino bits = ino_unpack(ino);

    *out = (TreeMessage){bits.box, bits.uid};
    return bits.box && bits.uid;
}
