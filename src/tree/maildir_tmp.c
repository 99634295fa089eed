/* maildir_tmp.c - delivery: a file is written in tmp/ and then gets a name in new/ or cur/.
 *
 * The rule: it is a message when it has that name, and not before; what never gets one is gone at
 * the end of the mount. The name in tmp/ then is another of the same file, until it is unlinked. */
#include <errno.h>
#include <string.h>

#include "letter.h"
#include "node.h"

static bool find_tmp(Tree *tree, guint32 box, const char *name, GivenName *out)
{
    return given_find(tree->given, MAILDIR_PLACE(box, MAILDIR_TMP), name, out);
}

TreeStatus maildir_tmp_lookup(const Call *call, const Node *dir, const char *name, TreeEntry *out)
{
    g_auto(GivenName) given = {0};
    g_auto(Node) node = {0};
    TreeStatus status = TREE_OK;

    if (!find_tmp(call->tree, dir->ino.box, name, &given))
        return call_negative(call, 0, out);
    if (given.kind == GIVEN_LETTER) {
        status = node_load(call, ino_pack(0, given.number, SLOT_LETTER), &node);
    } else {
        g_auto(StoreMsg) msg = {0};

        where_went(call->reader, &given.message);
        if (!store_msg_get(call->reader, given.message.box, given.message.uid, &msg))
            return call_negative(call, 0, out);
        node = maildir_file_node(given.message.box, &msg);
        memset(&msg, 0, sizeof(msg)); /* it is the node's now */
    }
    if (status == TREE_OK)
        node_entry(call, &node, out);
    return status;
}

/* --- changes --- */

bool maildir_is_target(const TreeChange *change)
{
    Ino to = ino_unpack(change->new_ino);

    return (change->kind == TREE_CHANGE_LINK || change->kind == TREE_CHANGE_RENAME) && to.box &&
           !to.uid && (to.slot == SLOT_MAILDIR_CUR || to.slot == SLOT_MAILDIR_NEW);
}

/* The file in tmp/ that a change names. */
static bool find_letter(Tree *tree, const TreeChange *change, GivenName *out)
{
    Ino ino = ino_unpack(change->ino);
    bool found = false;

    if (change->kind == TREE_CHANGE_LINK && tree_ino_is_letter(change->ino))
        found = given_get(tree->given, ino.uid, out);
    else if (change->kind == TREE_CHANGE_RENAME && !ino.uid && ino.slot == SLOT_MAILDIR_TMP)
        found = find_tmp(tree, ino.box, change->name, out);
    if (found && out->letter && out->letter->kept)
        return true;
    if (found)
        given_name_clear(out);
    return false;
}

Letter *maildir_letter_of(Tree *tree, const TreeChange *change, int *err_out)
{
    TreeAsk ask = {0};
    Call call = {.tree = tree, .reader = store_reader(tree->config.store), .ask = &ask};
    g_auto(GivenName) given = {0};
    g_auto(MaildirTarget) target = {0};
    Letter *letter;

    if (!maildir_is_target(change) || !find_letter(tree, change, &given))
        return NULL;
    *err_out = maildir_target_of(&call, change, &target);
    tree_ask_clear(&ask);
    if (*err_out)
        return NULL;
    letter = given.letter;
    pthread_mutex_lock(&letter->lock);
    if (!letter->settled) {
        letter->dir = target.dir.ino.box;
        g_free(letter->flags);
        letter->flags = flags_to_text(&target.flags);
    }
    pthread_mutex_unlock(&letter->lock);
    return letter_ref(letter);
}

static int deliver(Changing *changing)
{
    /* Not ready: it was tried before, and cannot be a message. */
    return changing->ready ? letter_log(changing, changing->ready) : EIO;
}

int maildir_letter_change(Changing *changing, const Node *node)
{
    const Letter *letter = node->given.letter; /* NULL: it is a message by now */

    return letter && letter->kept && maildir_is_target(changing->change) ? deliver(changing)
                                                                         : EPERM;
}

int maildir_tmp_change(Changing *changing, const Node *dir)
{
    const TreeChange *change = changing->change;
    Tree *tree = changing->call->tree;
    g_auto(GivenName) given = {0};

    if (!find_tmp(tree, dir->ino.box, change->name, &given))
        return ENOENT;
    if (change->kind == TREE_CHANGE_UNLINK) {
        given_forget(tree->given, given.number);
        return 0;
    }
    if (!maildir_is_target(change) || given.kind != GIVEN_LETTER)
        return EPERM;
    return deliver(changing);
}

/* --- afterwards --- */

/* A file that was in tmp/ has that name as well after link(), and no longer after rename(). */
static void keep_tmp_name(Tree *tree, const TreeChange *change)
{
    g_auto(GivenName) given = {0};

    if (!find_letter(tree, change, &given))
        return;
    if (change->kind == TREE_CHANGE_RENAME)
        given_forget(tree->given, given.number);
    else
        given_add(tree->given, GIVEN_FILE, given.dir, given.name, &change->made);
}

void maildir_changed(Tree *tree, const TreeChange *change)
{
    TreeAsk ask = {0};
    Call call = {.tree = tree, .reader = store_reader(tree->config.store), .ask = &ask};
    g_auto(MaildirTarget) target = {0};

    if (!change->err && change->made.box && maildir_target_of(&call, change, &target) == 0) {
        keep_tmp_name(tree, change);
        given_add(tree->given, GIVEN_FILE, MAILDIR_PLACE(target.dir.ino.box, MAILDIR_FILES),
                  target.base, &change->made);
    }
    tree_ask_clear(&ask);
}
