/* message_changes.c - what mv, rm and ln do to messages.
 *
 * The rule: a message's name is the server's to give. mv takes it to another mailbox under the name
 * that it has, rmdir deletes it, whatever is in its directory, and all else is refused: never with
 * an errno after which a program copies and deletes instead (EXDEV), or gives up half way
 * (ENOTEMPTY). */
#include <errno.h>
#include <string.h>

#include "imapfs/base/clock.h"
#include "imapfs/base/log.h"
#include "imapfs/mime/name.h"
#include "letter.h"
#include "node.h"

#ifndef RENAME_NOREPLACE /* linux/fs.h */
#define RENAME_NOREPLACE (1 << 0)
#endif

/* Refused, with the reason in .imapfs/log. */
static int refuse(const char *name, int err, const char *why)
{
    g_autofree char *safe = log_printable(name, strlen(name), LIMIT_NAME);

    log_warn("tree", "%s: %s; nothing was changed", safe, why);
    return err;
}

/* --- what the kernel is to forget --- */

void changing_note_names(Changing *changing, guint32 dir, guint32 box, const StoreMsg *msg)
{
    g_autofree char *name = tree_message_entry_name(box, msg->name, msg->uid);
    g_autofree char *uid = tree_uid_name(box, msg->uid, "");
    g_autofree char *eml = tree_uid_name(box, msg->uid, ".eml");

    changing_note_place(changing, tree_ino_box(dir), name);
    changing_note_place(changing, tree_ino_raw_box(dir), eml);
    changing_note_place(changing, tree_ino_raw_box(dir), uid);
    changing_note_place(changing, tree_ino_uid_dir(dir), uid);
}

/* What a message is shown as now, where it was put. */
void changing_note_made(Changing *changing)
{
    const TreeMessage *made = &changing->change->made;
    StoreReader *reader = changing->call->reader;
    g_auto(StoreMsg) msg = {0};
    guint32 shown = where_shown(reader, made->box, made->uid);

    if (shown && store_msg_get(reader, made->box, made->uid, &msg))
        changing_note_names(changing, shown, made->box, &msg);
}

/* --- which message --- */

/* The one of that name that is shown in a mailbox. 0 or ENOENT; EPERM: the name is an old one. */
static int find(Changing *changing, const Node *dir, const char *name, TreeMessage *out,
                StoreMsg *msg)
{
    StoreReader *reader = changing->call->reader;
    g_auto(Node) old = {0};
    NameParts parts;

    if (!where_parse(dir->ino.box, name, &parts))
        return ENOENT;
    *out = (TreeMessage){parts.box, parts.uid};
    if (store_msg_get(reader, parts.box, parts.uid, msg)) {
        if (where_is_named(msg, name, parts.length) &&
            where_shown(reader, parts.box, parts.uid) == dir->ino.box)
            return 0;
        store_msg_clear(msg);
    }
    /* Moved since its name was read: by the kernel's own name for it, it is the same. */
    if (!where_old_name(changing->call, dir->ino.box, name, &old))
        return ENOENT;
    *out = old.given.message;
    if (old.given.kind != GIVEN_EML && where_shown(reader, out->box, out->uid) == dir->ino.box &&
        store_msg_get(reader, out->box, out->uid, msg))
        return 0;
    return refuse(name, EPERM, "is the old name of a message that went elsewhere");
}

/* --- mv --- */

/* Whether a new name is the message's own, but for the number. */
static bool keeps_name(const char *new_name, const StoreMsg *msg)
{
    NameParts parts;

    return where_parse(1, new_name, &parts) && where_is_named(msg, new_name, parts.length);
}

static int check_new_name(Changing *changing, const Node *dir, const Node *to, const StoreMsg *msg)
{
    const TreeChange *change = changing->change;
    g_auto(StoreMsg) other = {0};
    TreeMessage there;

    if (change->flags & ~RENAME_NOREPLACE)
        return EINVAL;
    if (to->kind != &kind_mailbox || !box_is_selectable(&to->box))
        return refuse(change->name, EPERM, "a message can only be moved to a mailbox");
    if (!keeps_name(change->new_name, msg))
        return refuse(change->new_name, EPERM, "a message cannot be given another name");
    if (to->ino.box == dir->ino.box)
        return strcmp(change->name, change->new_name) == 0
                   ? 0
                   : refuse(change->new_name, EPERM, "a message cannot be given another number");
    if (find(changing, to, change->new_name, &there, &other) == 0)
        return EEXIST; /* another one, by chance, of the same name and number */
    return 0;
}

int message_move(Changing *changing, const TreeMessage *message, guint32 to_box, bool held)
{
    TreeChange *change = changing->change;
    GError *error = NULL;
    guint32 n = 0;

    if (!log_move(changing->txn, message->box, message->uid, to_box, held, clock_real_ns(), &n,
                  NULL, &error))
        return changing_refuse(changing, error);
    change->made = (TreeMessage){STORE_BOX_PENDING, n};
    if (!n) { /* it is back where it came from */
        change->made = *message;
        where_went(changing->call->reader, &change->made);
    }
    changing_note(changing, message->box, message->uid);
    changing_note_made(changing);
    return 0;
}

static int rename_message(Changing *changing, const Node *dir)
{
    const TreeChange *change = changing->change;
    g_auto(StoreMsg) msg = {0};
    g_auto(Node) to = {0};
    TreeMessage message;
    int err = find(changing, dir, change->name, &message, &msg);

    if (!err && node_load(changing->call, change->new_ino, &to) != TREE_OK)
        err = changing->call->ask->err;
    if (!err)
        err = check_new_name(changing, dir, &to, &msg);
    if (err || to.ino.box == dir->ino.box)
        return err;
    /* First: the kernel has what is below that, links by the number of before, too. */
    changing_note_place(changing, change->new_ino, change->new_name);
    changing_note_names(changing, dir->ino.box, message.box, &msg);
    return message_move(changing, &message, to.ino.box, false);
}

/* --- rm --- */

static guint32 trash_of(Changing *changing)
{
    Batch *batch = changing->batch;

    if (!batch->trash_known)
        batch->trash = where_trash(changing->call->reader);
    batch->trash_known = true;
    return batch->trash;
}

static int expunge(Changing *changing, const TreeMessage *message, bool held)
{
    GError *error = NULL;

    if (!log_expunge(changing->txn, message->box, message->uid, 0, held, clock_real_ns(), NULL,
                     &error))
        return changing_refuse(changing, error);
    changing_note(changing, message->box, message->uid);
    return 0;
}

int message_delete(Changing *changing, guint32 shown, const TreeMessage *message)
{
    const TreeConfig *config = &changing->call->tree->config;
    guint32 trash = config->delete_expunges ? 0 : trash_of(changing);
    bool held = guard_exceeds(changing->call->tree->guard, clock_mono_us());
    int err = !trash || trash == shown ? expunge(changing, message, held)
                                       : message_move(changing, message, trash, held);

    changing->batch->n_held += held && !err;
    return err;
}

static int remove_message(Changing *changing, const Node *dir)
{
    g_auto(StoreMsg) msg = {0};
    TreeMessage message;
    int err = find(changing, dir, changing->change->name, &message, &msg);

    if (err)
        return err == EPERM ? ENOTDIR : err; /* old names are links */
    changing_note_names(changing, dir->ino.box, message.box, &msg);
    return message_delete(changing, dir->ino.box, &message);
}

int message_change_name(Changing *changing, const Node *dir)
{
    return changing->change->kind == TREE_CHANGE_RENAME ? rename_message(changing, dir)
                                                        : remove_message(changing, dir);
}

/* --- names of letters --- */

static int rename_given(Changing *changing, const GivenName *given)
{
    const TreeChange *change = changing->change;
    g_auto(Node) to = {0}, other = {0};
    int err = letter_name_problem(change->new_name);

    if (err)
        return err;
    if (change->flags & ~RENAME_NOREPLACE)
        return EINVAL;
    if (node_load(changing->call, change->new_ino, &to) != TREE_OK)
        return changing->call->ask->err;
    if (to.kind != &kind_mailbox || !box_is_selectable(&to.box))
        return refuse(change->name, EPERM, "a message can only be moved to a mailbox");
    if (where_old_name(changing->call, to.ino.box, change->new_name, &other))
        return EEXIST;
    changing_note_place(changing, change->new_ino, change->new_name);
    if (to.ino.box != given->dir)
        return message_move(changing, &given->message, to.ino.box, false);
    changing->change->made = given->message;
    return 0;
}

/* A name of a person's own can be taken away again, or changed, also to another mailbox: then its
 * message goes there. */
int message_change_given(Changing *changing, const Node *dir)
{
    const TreeChange *change = changing->change;
    g_auto(Node) node = {0};
    int err = 0;

    if (!where_old_name(changing->call, dir->ino.box, change->name, &node) ||
        node.given.kind != GIVEN_EML)
        return -1;
    if (change->kind == TREE_CHANGE_RENAME)
        err = rename_given(changing, &node.given);
    if (!err)
        given_forget(changing->call->tree->given, node.given.number);
    return err;
}

/* --- rm of what is in a message's directory --- */

static int unlink_part(Changing *changing, const Node *dir)
{
    const Call *call = changing->call;
    const TreeChange *change = changing->change;
    const Layout *layout = call->tree->bare;
    guint index = dir->ino.slot == LAYOUT_INDEX_DIR
                      ? message_child(layout, LAYOUT_INDEX_DIR, change->name)
                      : 0;
    Node part;
    bool is_dir;

    if (!index || index >= LAYOUT_INDEX_FIRST_PART) {
        if (layout_load(call, dir->ino.box, dir->ino.uid, &layout) != TREE_OK)
            return EBUSY; /* nobody can have seen the name yet */
        index = message_child(layout, dir->ino.slot, change->name);
    }
    if (!index)
        return ENOENT;
    node_of_layout(&part, dir, layout, index);
    is_dir = S_ISDIR(part.kind->mode);
    if (is_dir != (change->kind == TREE_CHANGE_RMDIR))
        return is_dir ? EISDIR : ENOTDIR;
    unlinked_add(call->tree->unlinked, dir->number, part.number);
    return 0;
}

int message_change(Changing *changing, const Node *node)
{
    TreeChangeKind kind = changing->change->kind;

    return kind == TREE_CHANGE_UNLINK || kind == TREE_CHANGE_RMDIR ? unlink_part(changing, node)
                                                                   : flags_change(changing, node);
}

/* --- ln --- */

int letter_name_problem(const char *name)
{
    if (*name == '.' || *name == '-' || !g_str_has_suffix(name, ".eml"))
        return refuse(name, EPERM, "only NAME.eml can be made in a mailbox");
    return 0;
}

int message_copy(Changing *changing, const TreeMessage *message, guint32 to_box)
{
    GError *error = NULL;
    guint32 n = 0;

    if (!log_copy(changing->txn, message->box, message->uid, to_box, clock_real_ns(), &n, NULL,
                  &error))
        return changing_refuse(changing, error);
    changing->change->made = (TreeMessage){STORE_BOX_PENDING, n};
    changing_note(changing, message->box, message->uid);
    changing_note_made(changing);
    return 0;
}

/* A copy, in the server's own way, of a whole message. */
int message_change_link(Changing *changing, const Node *node)
{
    const TreeChange *change = changing->change;
    TreeMessage message = {node->ino.box, node->ino.uid};
    g_auto(Node) to = {0}, old = {0};
    int err = letter_name_problem(change->new_name);

    if (err)
        return err;
    if (node->part && *node->part->section)
        return refuse(change->new_name, EPERM, "a message inside a message cannot be linked");
    if (node_load(changing->call, change->new_ino, &to) != TREE_OK)
        return changing->call->ask->err;
    if (to.kind != &kind_mailbox || !box_is_selectable(&to.box))
        return EPERM;
    if (where_old_name(changing->call, to.ino.box, change->new_name, &old))
        return EEXIST;
    where_went(changing->call->reader, &message);
    changing_note_place(changing, change->new_ino, change->new_name);
    return message_copy(changing, &message, to.ino.box);
}
