/* letter.c - a file in a mailbox while it is written.
 *
 * The rule: it is nobody's message before it is closed. Until then it is in the spool without a
 * name, and seen in its mailbox by whoever asks for it; if it is never closed with bytes in it,
 * nothing was made. */
#include "letter.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "imapfs/base/clock.h"
#include "imapfs/base/error.h"
#include "imapfs/base/log.h"
#include "imapfs/wire/flags.h"
#include "imapfs/wire/response.h"

/* --- one of them --- */

Letter *letter_ref(Letter *letter)
{
    g_atomic_int_inc(&letter->refs);
    return letter;
}

void letter_unref(Letter *letter)
{
    if (!letter || !g_atomic_int_dec_and_test(&letter->refs))
        return;
    spool_free(letter->spool);
    pthread_mutex_destroy(&letter->lock);
    g_free(letter->flags);
    g_free(letter);
}

static Letter *letter_new(Tree *tree, guint32 dir, GError **error)
{
    Spool *spool = spool_new(tree->config.store, error);
    Letter *letter;

    if (!spool)
        return NULL;
    letter = g_new0(Letter, 1);
    letter->refs = 1;
    letter->tree = tree;
    letter->dir = dir;
    letter->spool = spool;
    pthread_mutex_init(&letter->lock, NULL);
    return letter;
}

void letter_closed(Letter *letter)
{
    guint32 given;

    if (letter->kept)
        return;
    pthread_mutex_lock(&letter->lock);
    letter->settled = true;
    given = letter->given;
    letter->given = 0;
    pthread_mutex_unlock(&letter->lock);
    if (given)
        given_forget(letter->tree->given, given);
}

static guint64 spooled_size(const Letter *letter)
{
    struct stat st;

    return fstat(spool_fd(letter->spool), &st) == 0 ? (guint64)st.st_size : 0;
}

guint64 letter_size(Letter *letter)
{
    guint64 size;

    pthread_mutex_lock(&letter->lock);
    size = letter->copied.box ? letter->copied_size : spooled_size(letter);
    pthread_mutex_unlock(&letter->lock);
    return size;
}

bool letter_owes(Letter *letter)
{
    bool owes;

    pthread_mutex_lock(&letter->lock);
    owes = !letter->settled && !letter->kept && (letter->copied.box || spooled_size(letter) > 0);
    pthread_mutex_unlock(&letter->lock);
    return owes;
}

/* --- its bytes --- */

/* What can be done to it, with the lock held: 0 or an errno. */
static int check(const Letter *letter)
{
    if (letter->settled)
        return EPERM; /* it is a message now, and those do not change */
    return letter->copied.box ? EPERM : 0;
}

gssize letter_read(Letter *letter, void *buffer, gsize size, guint64 offset, int *err_out)
{
    gssize n = -1;

    pthread_mutex_lock(&letter->lock);
    if (letter->copied.box)
        *err_out = EPERM; /* its bytes are those of another message: read that */
    else if ((n = pread(spool_fd(letter->spool), buffer, size, (off_t)offset)) < 0)
        *err_out = errno;
    pthread_mutex_unlock(&letter->lock);
    return n;
}

static int write_all(int fd, const char *bytes, gsize size, guint64 offset)
{
    for (gsize done = 0; done < size;) {
        gssize n = pwrite(fd, bytes + done, size - done, (off_t)(offset + done));

        if (n < 0 && errno != EINTR)
            return errno;
        done += n > 0 ? (gsize)n : 0;
    }
    return 0;
}

int letter_write(Letter *letter, const void *bytes, gsize size, guint64 offset)
{
    int err;

    pthread_mutex_lock(&letter->lock);
    err = check(letter);
    if (!err && (offset > LIMIT_LETTER || size > LIMIT_LETTER - offset))
        err = EFBIG;
    if (!err)
        err = write_all(spool_fd(letter->spool), bytes, size, offset);
    pthread_mutex_unlock(&letter->lock);
    return err;
}

int letter_truncate(Letter *letter, guint64 size)
{
    int err;

    pthread_mutex_lock(&letter->lock);
    err = check(letter);
    if (!err && size > LIMIT_LETTER)
        err = EFBIG;
    if (!err && ftruncate(spool_fd(letter->spool), (off_t)size) != 0)
        err = errno;
    pthread_mutex_unlock(&letter->lock);
    return err;
}

int letter_touch(Letter *letter, gint64 seconds)
{
    pthread_mutex_lock(&letter->lock);
    letter->mtime = seconds;
    pthread_mutex_unlock(&letter->lock);
    return 0;
}

int letter_copy(Letter *letter, const TreeMessage *message, guint64 size)
{
    int err;

    pthread_mutex_lock(&letter->lock);
    err = check(letter) || letter->kept || letter->replaces.box || spooled_size(letter) ? EOPNOTSUPP
                                                                                        : 0;
    if (!err) {
        letter->copied = *message;
        letter->copied_size = size;
    }
    pthread_mutex_unlock(&letter->lock);
    return err;
}

/* --- by number, for what comes without a file --- */

bool tree_ino_is_letter(guint64 ino)
{
    Ino bits = ino_unpack(ino);

    return !bits.box && bits.uid && bits.slot == SLOT_LETTER;
}

/* A new reference, or NULL. */
static Letter *letter_of(Tree *tree, guint64 ino, TreeFile *file)
{
    g_auto(GivenName) given = {0};
    Letter *letter = file ? file_letter(file) : NULL;

    if (!letter && tree_ino_is_letter(ino) && given_get(tree->given, ino_unpack(ino).uid, &given))
        letter = given.letter;
    return letter ? letter_ref(letter) : NULL;
}

int tree_letter_truncate(Tree *tree, guint64 ino, TreeFile *file, guint64 size)
{
    Letter *letter = letter_of(tree, ino, file);
    int err = letter ? letter_truncate(letter, size) : EPERM;

    letter_unref(letter);
    return err;
}

/* Who copies a file may set its times when it is closed, and takes a refusal for a copy that
 * failed; the message has its date by then, and keeps it. */
int tree_letter_touch(Tree *tree, guint64 ino, gint64 seconds)
{
    Letter *letter = letter_of(tree, ino, NULL);
    int err = letter ? letter_touch(letter, seconds) : 0;

    letter_unref(letter);
    return err;
}

int tree_file_copy(Tree *tree, guint64 from, guint64 offset, guint64 length, TreeFile *to,
                   guint64 to_offset, guint64 *copied_out)
{
    TreeAsk ask = {0};
    Call call = {.tree = tree, .reader = store_reader(tree->config.store), .ask = &ask};
    g_auto(Node) node = {0};
    TreeEntry entry;
    TreeMessage message;
    bool whole = !offset && !to_offset && node_load(&call, from, &node) == TREE_OK &&
                 node.kind == &kind_raw_eml;

    tree_ask_clear(&ask);
    if (!whole)
        return EOPNOTSUPP;
    node_entry(&call, &node, &entry);
    if (length < (guint64)entry.st.st_size)
        return EOPNOTSUPP;
    message = (TreeMessage){node.ino.box, node.ino.uid};
    *copied_out = (guint64)entry.st.st_size;
    return letter_copy(file_letter(to), &message, *copied_out);
}

/* --- making one --- */

static int store_errno(GError *error)
{
    int err = imapfs_error_to_errno(error);

    log_warn("tree", "a letter cannot be taken: %s", error->message);
    g_error_free(error);
    return err;
}

/* In tmp/ any name does. */
static int check_tmp(const Call *call, const Node *dir, const char *name)
{
    g_auto(GivenName) there = {0};

    if (*name == '.')
        return EPERM;
    if (dir->box.read_only || !box_permits(&dir->box, 'i'))
        return EACCES;
    return given_find(call->tree->given, MAILDIR_PLACE(dir->ino.box, MAILDIR_TMP), name, &there)
               ? EEXIST
               : 0;
}

/* Whether a letter can be made there at all: 0 or an errno. */
static int check_place(const Call *call, const Node *dir, const char *name)
{
    g_auto(Node) old = {0};
    g_auto(StoreBox) box = {0};
    int err;

    if (dir->kind == &kind_maildir_tmp)
        return check_tmp(call, dir, name);
    err = dir->kind == &kind_mailbox && box_is_selectable(&dir->box) ? letter_name_problem(name)
                                                                     : EPERM;

    if (!err && (dir->box.read_only || !box_permits(&dir->box, 'i')))
        err = EACCES;
    if (!err && (where_old_name(call, dir->ino.box, name, &old) ||
                 store_box_by_leaf(call->reader, dir->ino.box, name, &box)))
        err = EEXIST;
    return err;
}

TreeStatus tree_create(Tree *tree, TreeAsk *ask, guint64 parent, const char *name,
                       TreeEntry *entry_out, TreeFile **file_out)
{
    Call call = {.tree = tree, .reader = store_reader(tree->config.store), .ask = ask};
    g_auto(Node) dir = {0}, node = {0};
    GError *error = NULL;
    TreeStatus status = node_load(&call, parent, &dir);
    Letter *letter;

    if (status == TREE_OK && (ask->err = check_place(&call, &dir, name)))
        status = TREE_ERROR;
    if (status != TREE_OK)
        return status;
    letter = letter_new(tree, dir.ino.box, &error);
    if (!letter)
        return call_error(&call, store_errno(error));
    letter->kept = dir.kind == &kind_maildir_tmp;
    letter->given = given_add_letter(
        tree->given, letter->kept ? MAILDIR_PLACE(dir.ino.box, MAILDIR_TMP) : dir.ino.box, name,
        letter);
    status = node_load(&call, ino_pack(0, letter->given, SLOT_LETTER), &node);
    g_assert(status == TREE_OK);
    node_entry(&call, &node, entry_out);
    *file_out = file_of_letter(letter);
    file_set_entry(*file_out, entry_out);
    file_set_changes(*file_out, 0);
    return TREE_OK;
}

static bool is_draft(const Call *call, const Node *node)
{
    g_auto(StoreBox) box = {0};
    g_auto(Flags) flags = {0};
    g_autofree char *shown = flags_shown(call->reader, node->ino.box, &node->msg);
    guint32 in = where_shown(call->reader, node->ino.box, node->ino.uid);

    flags_parse(&flags, shown);
    return in && store_box_by_id(call->reader, in, &box) && !box.read_only &&
           (flags.system & FLAG_DRAFT || box.attributes & LIST_DRAFTS);
}

/* As log_append() and log_expunge() will see it: here the text is not written yet. */
static bool may_be_replaced(const Call *call, const TreeMessage *message, guint32 in)
{
    g_auto(StoreBox) box = {0};

    return store_box_by_id(call->reader, in, &box) && box_permits(&box, 'i') &&
           (message->box == STORE_BOX_PENDING ||
            (box_permits(&box, 't') && box_permits(&box, 'e')));
}

TreeStatus letter_open_draft(const Call *call, const Node *node, TreeFile **file_out)
{
    TreeMessage message = {node->ino.box, node->ino.uid};
    GError *error = NULL;
    guint32 in = where_shown(call->reader, message.box, message.uid);
    Letter *letter;

    if (!is_draft(call, node)) {
        log_warn("tree", "UID %" G_GUINT32_FORMAT ": only drafts can be written anew",
                 node->ino.uid);
        return call_error(call, EPERM);
    }
    if (!may_be_replaced(call, &message, in))
        return call_error(call, EACCES);
    letter = letter_new(call->tree, in, &error);
    if (!letter)
        return call_error(call, store_errno(error));
    letter->replaces = message;
    *file_out = file_of_letter(letter);
    return TREE_OK;
}

TreeStatus letter_open_again(const Call *call, const Node *node, TreeFile **file_out)
{
    const GivenName *given = &node->given;
    g_auto(StoreBox) box = {0};
    GError *error = NULL;
    Letter *letter;

    if (given->letter)
        return call_error(call, EBUSY);
    if (!store_box_by_id(call->reader, given->dir, &box))
        return call_error(call, ESTALE);
    if (box.read_only || !box_permits(&box, 'i'))
        return call_error(call, EACCES);
    letter = letter_new(call->tree, given->dir, &error);
    if (!letter)
        return call_error(call, store_errno(error));
    letter->given = given_add_letter(call->tree->given, given->dir, given->name, letter);
    *file_out = file_of_letter(letter);
    return TREE_OK;
}

/* --- as others see it --- */

static ContentKey message_key(const Node *node)
{
    const TreeMessage *message = &node->given.message;

    return (ContentKey){message->box, message->uid, CONTENT_RAW, ""};
}

/* It is a message by now: the same bytes as in raw/. */
static void message_fill(const Call *call, const Node *node, TreeEntry *out)
{
    ContentKey key = message_key(node);
    g_auto(StoreMsg) msg = {0};

    out->entry_ttl = out->attr_ttl = 0;
    if (!store_msg_get(call->reader, key.box, key.uid, &msg))
        return;
    entry_set_seconds(out, msg.internaldate);
    entry_set_content_size(call, &key, MAX(msg.size, 1), true, out);
    out->attr_ttl = 0;
}

static void letter_fill(const Call *call, const Node *node, TreeEntry *out)
{
    Letter *letter = node->given.letter;
    gint64 mtime;

    if (!letter) {
        message_fill(call, node, out);
        return;
    }
    pthread_mutex_lock(&letter->lock);
    mtime = letter->mtime;
    pthread_mutex_unlock(&letter->lock);
    if (mtime)
        entry_set_seconds(out, mtime);
    else
        entry_set_ns(out, clock_real_ns());
    entry_set_size(out, letter_size(letter));
    out->entry_ttl = out->attr_ttl = 0;
}

static TreeStatus letter_open(const Call *call, const Node *node, TreeFile **file_out)
{
    Letter *letter = node->given.letter;
    ContentKey key = message_key(node);
    g_auto(StoreMsg) msg = {0};

    if (letter && letter->kept) {
        *file_out = file_of_letter(letter_ref(letter));
        return TREE_OK;
    }
    if (letter)
        return call_error(call, EBUSY); /* whoever writes it has it open */
    if (!store_msg_get(call->reader, key.box, key.uid, &msg))
        return call_error(call, ESTALE);
    return file_open_content(call, &key, NULL, msg.size ? (gint64)msg.size : -1, file_out);
}

const NodeKind kind_letter = {
    .name = "letter",
    .mode = S_IFREG | 0600,
    .fill = letter_fill,
    .open = letter_open,
    .changes = 1 << TREE_CHANGE_LINK,
    .change = maildir_letter_change,
};
