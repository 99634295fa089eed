/* where.c - where a message is shown, and the names that lead there without being listed.
 *
 * A message goes by what is logged from one mailbox to another, and by what the server says from
 * our number to its own. Names of before resolve on as symbolic links, but for what went to the
 * trash: a name that was deleted must not seem to be there. */
#include <errno.h>
#include <string.h>

#include "imapfs/wire/response.h"
#include "letter.h"
#include "node.h"

guint32 where_shown(StoreReader *reader, guint32 box, guint32 uid)
{
    LogPending pending = {0};

    if (box == STORE_BOX_PENDING)
        return log_pending_get(reader, uid, &pending) ? pending.box : 0;
    return log_is_hidden(reader, box, uid) ? 0 : box;
}

void where_went(StoreReader *reader, TreeMessage *message)
{
    TreeMessage now = *message;

    if (log_went(reader, message->box, message->uid, &now.box, &now.uid))
        *message = now;
}

/* "../" for every level of a mailbox. */
static bool add_ups(const Call *call, guint32 box, GString *out)
{
    for (guint depth = 0; box; depth++) {
        g_auto(StoreBox) row = {0};

        if (depth > LIMIT_MAILBOX_DEPTH || !store_box_by_id(call->reader, box, &row))
            return false;
        g_string_append(out, "../");
        box = row.parent;
    }
    return true;
}

char *where_path(const Call *call, guint32 from, guint32 box, guint32 uid)
{
    g_auto(StoreMsg) msg = {0};
    g_autoptr(GString) path = g_string_new(NULL);
    g_autofree char *name = NULL, *above = NULL;
    guint32 shown = where_shown(call->reader, box, uid);

    if (!shown || !store_msg_get(call->reader, box, uid, &msg))
        return NULL;
    name = tree_message_entry_name(box, msg.name, uid);
    if (shown == from)
        return g_steal_pointer(&name);
    above = boxes_path(call, shown);
    if (!above || !add_ups(call, from, path))
        return NULL;
    g_string_append_printf(path, "%s/%s", above, name);
    return g_string_free(g_steal_pointer(&path), FALSE);
}

bool where_parse(guint32 dir, const char *name, NameParts *out)
{
    const char *dot = strrchr(name, '.');
    bool pending = dot && dot[1] == '+';

    if (!dot)
        return false;
    *out = (NameParts){.box = pending ? STORE_BOX_PENDING : dir,
                       .uid = uid_parse(dot + 1 + pending, ""),
                       .length = (gsize)(dot - name)};
    return out->uid;
}

bool where_is_named(const StoreMsg *msg, const char *name, gsize length)
{
    return strlen(msg->name) == length && memcmp(msg->name, name, length) == 0;
}

/* --- the mailbox for what is deleted --- */

typedef struct {
    guint32 marked, named;
} TrashWalk;

static bool look_for_trash(const StoreBox *box, gpointer data)
{
    static const char *const names[] = {"Trash", "INBOX/Trash", "INBOX.Trash"};
    TrashWalk *walk = data;

    if (!box_is_selectable(box) || box->doomed)
        return true;
    if (box->attributes & LIST_TRASH && !walk->marked)
        walk->marked = box->id;
    for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
        if (strcmp(box->name, names[i]) == 0 && !walk->named)
            walk->named = box->id;
    }
    return true;
}

guint32 where_trash(StoreReader *reader)
{
    TrashWalk walk = {0};

    store_box_all(reader, look_for_trash, &walk);
    return walk.marked ? walk.marked : walk.named;
}

/* --- old and given names --- */

/* Whether a message has the number of this name now, by chance: then the name is left free, as it
 * may be moved back under it. */
static bool has_number(const NameParts *parts, const TreeMessage *now)
{
    bool pending = now->box == STORE_BOX_PENDING;

    return parts->uid == now->uid && (parts->box == STORE_BOX_PENDING) == pending;
}

/* It was pending, and got its number in another mailbox: there it had that name last. Elsewhere the
 * name is left free, as it may be on its way there: who moves it has looked it up before. */
static bool was_numbered_elsewhere(const Call *call, guint32 dir, const NameParts *parts)
{
    guint32 box = parts->box == STORE_BOX_PENDING ? log_numbered_in(call->reader, parts->uid) : 0;

    return box && box != dir;
}

/* Where a message of this name went; the name as it was. */
static bool find_old(const Call *call, guint32 dir, const char *name, GivenName *out)
{
    NameParts parts;
    TreeMessage now;
    g_auto(StoreMsg) msg = {0};
    guint32 shown, number;

    if (!where_parse(dir, name, &parts) || was_numbered_elsewhere(call, dir, &parts))
        return false;
    now = (TreeMessage){parts.box, parts.uid};
    if (!log_went(call->reader, parts.box, parts.uid, &now.box, &now.uid) ||
        !store_msg_get(call->reader, now.box, now.uid, &msg) ||
        !where_is_named(&msg, name, parts.length) || has_number(&parts, &now))
        return false;
    shown = where_shown(call->reader, now.box, now.uid);
    if (!shown || (shown != dir && shown == where_trash(call->reader)))
        return false;
    number = given_add(call->tree->given, GIVEN_OLD, dir, name, &now);
    return given_get(call->tree->given, number, out);
}

/* Whether it means something now; its message is where that is now. */
static bool is_good(const Call *call, GivenName *given)
{
    NameParts parts;
    guint32 shown;

    if (given->kind == GIVEN_LETTER)
        return true;
    where_went(call->reader, &given->message);
    if (given->kind == GIVEN_OLD && where_parse(given->dir, given->name, &parts) &&
        has_number(&parts, &given->message))
        return false;
    shown = where_shown(call->reader, given->message.box, given->message.uid);
    return shown && (shown == given->dir ||
                     (given->kind == GIVEN_OLD && shown != where_trash(call->reader)));
}

static bool given_is_file(const GivenName *given)
{
    return given->kind == GIVEN_LETTER || given->kind == GIVEN_EML;
}

static void node_of_given(Node *out)
{
    guint slot = given_is_file(&out->given) ? SLOT_LETTER : SLOT_GIVEN;

    out->ino = (Ino){0, out->given.number, slot};
    out->number = ino_pack(0, out->given.number, slot);
    out->kind = slot == SLOT_LETTER ? &kind_letter : &kind_given;
}

bool where_old_name(const Call *call, guint32 dir, const char *name, Node *out)
{
    if (given_find(call->tree->given, dir, name, &out->given)) {
        if (is_good(call, &out->given)) {
            node_of_given(out);
            return true;
        }
        given_name_clear(&out->given);
    }
    if (!find_old(call, dir, name, &out->given))
        return false;
    node_of_given(out);
    return true;
}

TreeStatus where_load_given(const Call *call, Node *node)
{
    bool is_letter = node->ino.slot == SLOT_LETTER;

    if (!given_get(call->tree->given, node->ino.uid, &node->given) ||
        given_is_file(&node->given) != is_letter || !is_good(call, &node->given))
        return call_error(call, ESTALE);
    node->kind = is_letter ? &kind_letter : &kind_given;
    return TREE_OK;
}

static char *target_of(const Call *call, const Node *node)
{
    const GivenName *given = &node->given;

    return where_path(call, given->dir, given->message.box, given->message.uid);
}

static void given_fill(const Call *call, const Node *node, TreeEntry *out)
{
    g_autofree char *target = target_of(call, node);
    g_auto(StoreMsg) msg = {0};

    if (store_msg_get(call->reader, node->given.message.box, node->given.message.uid, &msg))
        entry_set_seconds(out, msg.internaldate);
    entry_set_size(out, target ? strlen(target) : 0);
    out->entry_ttl = out->attr_ttl = 0;
}

static TreeStatus given_readlink(const Call *call, const Node *node, char **target_out)
{
    char *target = target_of(call, node);

    if (!target)
        return call_error(call, ESTALE);
    *target_out = target;
    return TREE_OK;
}

const NodeKind kind_given = {
    .name = "given",
    .mode = MODE_LINK,
    .fill = given_fill,
    .readlink = given_readlink,
};
