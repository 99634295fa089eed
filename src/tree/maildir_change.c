/* maildir_change.c - what mail programs do to the files of a Maildir.
 *
 * The rule: a name says which message it is and which flags that is to have; nothing else can be
 * said by one, and is refused. */
#include <errno.h>
#include <string.h>

#include "imapfs/base/clock.h"
#include "imapfs/base/log.h"
#include "imapfs/wire/flags.h"
#include "node.h"

#define ALL_LETTERS "DFPRST"

/* EINVAL, told in .imapfs/log. */
static int refuse(const char *name, const char *why)
{
    g_autofree char *safe = log_printable(name, strlen(name), LIMIT_NAME);

    log_warn("tree", "%s: %s; nothing was changed", safe, why);
    return EINVAL;
}

/* What is between the flags that are shown and the letters. */
static void compare(const Flags *shown, const Flags *wanted, Flags *set, Flags *clear)
{
    flags_of_letters(clear, ALL_LETTERS);
    flags_keep_all(clear, shown);
    flags_remove_all(clear, wanted);
    flags_add_all(set, wanted);
    flags_remove_all(set, shown);
}

static int set_letters(Changing *changing, guint32 box, const StoreMsg *msg, const Flags *wanted)
{
    g_autofree char *text = flags_shown(changing->call->reader, box, msg);
    g_auto(Flags) shown = {0}, set = {0}, clear = {0};
    GError *error = NULL;

    flags_parse(&shown, text);
    compare(&shown, wanted, &set, &clear);
    if (flags_is_empty(&set) && flags_is_empty(&clear))
        return 0;
    if (!log_flags(changing->txn, box, msg->uid, &set, &clear, clock_real_ns(), NULL, &error))
        return changing_refuse(changing, error);
    changing_note(changing, box, msg->uid);
    return 0;
}

void maildir_target_clear(MaildirTarget *target)
{
    node_clear(&target->dir);
    flags_clear(&target->flags);
    g_clear_pointer(&target->base, g_free);
}

int maildir_target_of(const Call *call, const TreeChange *change, MaildirTarget *out)
{
    const char *letters;

    if (node_load(call, change->new_ino, &out->dir) != TREE_OK)
        return call->ask->err;
    if (*change->new_name == '.')
        return refuse(change->new_name, "a name cannot begin with a dot");
    if (!maildir_split(&out->dir, change->new_name, &out->base, &letters))
        return refuse(change->new_name, "a name in cur ends with :2, and letters");
    return flags_of_letters(&out->flags, letters)
               ? 0
               : refuse(change->new_name, "the letters can be D, F, P, R, S and T, in this order");
}

/* Before it is moved or copied: whether it can have these letters there. */
static int check_letters(Changing *changing, const Node *node, const MaildirTarget *target)
{
    g_autofree char *text = flags_shown(changing->call->reader, node->ino.box, &node->msg);
    g_auto(Flags) shown = {0}, set = {0}, clear = {0};
    GError *error = NULL;

    flags_parse(&shown, text);
    compare(&shown, &target->flags, &set, &clear);
    return log_may_flag(&target->dir.box, &set, &clear, text, &error)
               ? 0
               : changing_refuse(changing, error);
}

/* Of what was just moved or copied. */
static int set_made_letters(Changing *changing, const Flags *wanted)
{
    const TreeMessage *made = &changing->change->made;
    g_auto(StoreMsg) msg = {0};

    return store_msg_get(changing->call->reader, made->box, made->uid, &msg)
               ? set_letters(changing, made->box, &msg, wanted)
               : EIO;
}

/* --- files --- */

/* The file of a name. Nobody can have seen one that is to be waited for. */
static bool find(Changing *changing, const Node *dir, const char *name, Node *out)
{
    TreeEntry ignored = {0};

    return maildir_find(changing->call, dir, name, out, &ignored) == TREE_OK;
}

static bool is_taken(Changing *changing, const MaildirTarget *target)
{
    g_auto(Node) there = {0};

    return find(changing, &target->dir, changing->change->new_name, &there);
}

static int move_file(Changing *changing, const Node *dir, const Node *node,
                     const MaildirTarget *target)
{
    const TreeMessage message = {node->ino.box, node->ino.uid};
    int err;

    if (is_taken(changing, target))
        return EEXIST;
    err = check_letters(changing, node, target);
    if (err)
        return err;
    changing_note_names(changing, dir->ino.box, message.box, &node->msg);
    err = message_move(changing, &message, target->dir.ino.box, false);
    return err ? err : set_made_letters(changing, &target->flags);
}

static int rename_file(Changing *changing, const Node *dir)
{
    const TreeChange *change = changing->change;
    g_auto(Node) node = {0};
    g_auto(MaildirTarget) target = {0};
    g_autofree char *base = NULL;
    const char *letters;
    int err;

    if (!find(changing, dir, change->name, &node) ||
        !maildir_split(dir, change->name, &base, &letters))
        return ENOENT;
    if (!maildir_is_target(change))
        return EPERM;
    err = maildir_target_of(changing->call, change, &target);
    if (err)
        return err;
    if (target.dir.ino.box != dir->ino.box)
        return move_file(changing, dir, &node, &target);
    if (strcmp(base, target.base) != 0)
        return refuse(change->new_name, "only the letters of a name can be changed");
    return set_letters(changing, node.ino.box, &node.msg, &target.flags);
}

static int unlink_file(Changing *changing, const Node *dir)
{
    g_auto(Node) node = {0};
    TreeMessage message;

    if (!find(changing, dir, changing->change->name, &node))
        return ENOENT;
    message = (TreeMessage){node.ino.box, node.ino.uid};
    changing_note_names(changing, dir->ino.box, message.box, &node.msg);
    return message_delete(changing, dir->ino.box, &message);
}

int maildir_change(Changing *changing, const Node *dir)
{
    return changing->change->kind == TREE_CHANGE_RENAME ? rename_file(changing, dir)
                                                        : unlink_file(changing, dir);
}

/* A second name in another Maildir is a copy there. */
static int link_file(Changing *changing, const Node *node)
{
    TreeMessage message = {node->ino.box, node->ino.uid};
    g_auto(MaildirTarget) target = {0};
    int err;

    if (!maildir_is_target(changing->change))
        return EPERM;
    err = maildir_target_of(changing->call, changing->change, &target);
    if (!err && is_taken(changing, &target))
        err = EEXIST;
    if (!err)
        err = check_letters(changing, node, &target);
    if (!err)
        err = message_copy(changing, &message, target.dir.ino.box);
    return err ? err : set_made_letters(changing, &target.flags);
}

/* Times are the server's to give: programs that set them on what they have delivered are let. */
int maildir_file_change(Changing *changing, const Node *node)
{
    return changing->change->kind == TREE_CHANGE_LINK ? link_file(changing, node) : 0;
}
