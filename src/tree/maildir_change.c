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

static int refuse(const char *name, const char *why)
{
    g_autofree char *safe = log_printable(name, strlen(name), LIMIT_NAME);

    log_warn("tree", "%s: %s; nothing was changed", safe, why);
    return EINVAL;
}

/* What is between the flags that are shown and the letters. */
static void compare(const Flags *shown, const Flags *wanted, Flags *set, Flags *clear)
{
    g_auto(Flags) others = {0};

    flags_of_letters(clear, ALL_LETTERS);
    flags_remove_all(clear, wanted);
    flags_add_all(set, wanted);
    flags_remove_all(set, shown);
    /* of those to be cleared, the ones that are there */
    flags_add_all(&others, clear);
    flags_remove_all(&others, shown);
    flags_remove_all(clear, &others);
}

static int set_letters(Changing *changing, const Node *node, const Flags *wanted)
{
    g_autofree char *text = flags_shown(changing->call->reader, node->ino.box, &node->msg);
    g_auto(Flags) shown = {0}, set = {0}, clear = {0};
    GError *error = NULL;

    flags_parse(&shown, text);
    compare(&shown, wanted, &set, &clear);
    if (flags_is_empty(&set) && flags_is_empty(&clear))
        return 0;
    if (!log_flags(changing->txn, node->ino.box, node->ino.uid, &set, &clear, clock_real_ns(), NULL,
                   &error))
        return changing_refuse(changing, error);
    changing_note(changing, node->ino.box, node->ino.uid);
    return 0;
}

/* The base of a new name, and the flags it asks for. new/ is for what has no letters. */
static int parse_new_name(const Node *to, const char *name, char **base_out, Flags *wanted)
{
    const char *letters = "";

    if (!maildir_split(name, base_out, &letters)) {
        if (to->ino.slot != SLOT_MAILDIR_NEW)
            return refuse(name, "a name in cur ends with :2, and letters");
        *base_out = g_strdup(name);
    }
    return flags_of_letters(wanted, letters)
               ? 0
               : refuse(name, "the letters can be D, F, P, R, S and T, in this order");
}

static char *base_of(const char *name)
{
    const char *letters;
    char *base = NULL;

    return maildir_split(name, &base, &letters) ? base : g_strdup(name);
}

static int rename_file(Changing *changing, const Node *dir)
{
    const TreeChange *change = changing->change;
    g_autofree char *base = base_of(change->name), *new_base = NULL;
    g_auto(Node) node = {0}, to = {0};
    g_auto(Flags) wanted = {0};
    TreeEntry ignored = {0};
    int err;

    if (maildir_find(changing->call, dir, change->name, &node, &ignored) != TREE_OK)
        return ENOENT; /* what is to be waited for nobody can have seen */
    if (node_load(changing->call, change->new_ino, &to) != TREE_OK)
        return changing->call->ask->err;
    err = parse_new_name(&to, change->new_name, &new_base, &wanted);
    if (err)
        return err;
    if (to.ino.box != dir->ino.box)
        return EPERM;
    if (strcmp(base, new_base) != 0)
        return refuse(change->new_name, "only the letters of a name can be changed");
    return set_letters(changing, &node, &wanted);
}

int maildir_change(Changing *changing, const Node *dir)
{
    return rename_file(changing, dir);
}
