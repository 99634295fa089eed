/* xattr.c - what is known of a message besides its bytes, as extended attributes: one table.
 *
 * Values are for other programs (desktop search shows user.xdg.*), so they are plain text. */
#include <errno.h>
#include <string.h>

#include "node.h"

#define VALUE_MAX 65536 /* XATTR_SIZE_MAX of the kernel */

typedef struct {
    const Call *call;
    const Node *node;
    StoreBox box; /* loaded by mailbox_of(), when asked for */
} Xattr;

/* False: no such attribute on this node. */
typedef bool (*XattrValue)(Xattr *x, GString *out);

static bool put(GString *out, const char *text)
{
    if (!text || !*text)
        return false;
    g_string_append(out, text);
    return true;
}

static bool value_from(Xattr *x, GString *out)
{
    return put(out, x->node->msg.from);
}

static bool value_subject(Xattr *x, GString *out)
{
    return put(out, x->node->msg.subject);
}

static bool value_message_id(Xattr *x, GString *out)
{
    return put(out, x->node->msg.message_id);
}

static bool value_tags(Xattr *x, GString *out)
{
    g_autofree char *shown = flags_shown(x->call->reader, x->node->ino.box, &x->node->msg);
    g_auto(GStrv) words = g_strsplit(shown, " ", -1);

    for (char **word = words; *word; word++) {
        if (**word && **word != '\\')
            g_string_append_printf(out, "%s%s", out->len ? "," : "", *word);
    }
    return out->len;
}

static bool value_uid(Xattr *x, GString *out)
{
    g_string_append_printf(out, "%" G_GUINT32_FORMAT, x->node->ino.uid);
    return true;
}

static const StoreBox *mailbox_of(Xattr *x)
{
    if (x->node->box.id)
        return &x->node->box;
    return store_box_by_id(x->call->reader, x->node->ino.box, &x->box) ? &x->box : NULL;
}

static bool value_uidvalidity(Xattr *x, GString *out)
{
    const StoreBox *box = mailbox_of(x);

    if (!box || !box->uidvalidity)
        return false;
    g_string_append_printf(out, "%" G_GUINT32_FORMAT, box->uidvalidity);
    return true;
}

static bool value_flags(Xattr *x, GString *out)
{
    g_autofree char *shown = flags_shown(x->call->reader, x->node->ino.box, &x->node->msg);

    g_string_append(out, shown);
    return true;
}

static bool value_modseq(Xattr *x, GString *out)
{
    guint64 modseq = x->node->ino.uid ? x->node->msg.modseq : x->node->box.highestmodseq;

    if (modseq)
        g_string_append_printf(out, "%" G_GUINT64_FORMAT, modseq);
    return modseq;
}

static bool value_internaldate(Xattr *x, GString *out)
{
    gint32 minutes = CLAMP(x->node->msg.zone, -24 * 60 + 1, 24 * 60 - 1);
    g_autoptr(GTimeZone) zone = g_time_zone_new_offset(minutes * 60);
    g_autoptr(GDateTime) utc = g_date_time_new_from_unix_utc(x->node->msg.internaldate);
    g_autoptr(GDateTime) local = utc ? g_date_time_to_timezone(utc, zone) : NULL;
    g_autofree char *text = local ? g_date_time_format(local, "%Y-%m-%dT%H:%M:%S%:z") : NULL;

    return put(out, text);
}

static bool value_section(Xattr *x, GString *out)
{
    return put(out, x->node->part->section);
}

static bool value_content_type(Xattr *x, GString *out)
{
    return put(out, x->node->part->content_type);
}

static bool value_state(Xattr *x, GString *out)
{
    static const char *const words[] = {
        [LOG_MSG_SYNCED] = "synced", [LOG_MSG_LOCAL] = "local",   [LOG_MSG_QUEUED] = "queued",
        [LOG_MSG_FAILED] = "failed", [LOG_MSG_UNSURE] = "unsure",
    };

    return put(out, words[log_msg_state(x->call->reader, x->node->ino.box, x->node->ino.uid)]);
}

static bool value_cached(Xattr *x, GString *out)
{
    const Node *node = x->node;
    bool raw = node->ino.slot & SLOT_RAW;
    ContentKey key = {.box = node->ino.box,
                      .uid = node->ino.uid,
                      .kind = raw ? CONTENT_RAW : part_content_kind(node->part->kind),
                      .section = node->part ? node->part->section : ""};

    return put(out, content_exists(x->call->reader, &key) ? "1" : "0");
}

static const struct {
    const char *name;
    guint on; /* XATTR_OF_*: on nodes that have any of these bits */
    XattrValue value;
} xattrs[] = {
    {"user.xdg.origin.email.from", XATTR_OF_MESSAGE, value_from},
    {"user.xdg.origin.email.subject", XATTR_OF_MESSAGE, value_subject},
    {"user.xdg.origin.email.message-id", XATTR_OF_MESSAGE, value_message_id},
    {"user.xdg.tags", XATTR_OF_MESSAGE, value_tags},
    {"user.imap.uid", XATTR_OF_MESSAGE, value_uid},
    {"user.imap.uidvalidity", XATTR_OF_MESSAGE | XATTR_OF_BOX, value_uidvalidity},
    {"user.imap.flags", XATTR_OF_MESSAGE, value_flags},
    {"user.imap.modseq", XATTR_OF_MESSAGE | XATTR_OF_BOX, value_modseq},
    {"user.imap.internaldate", XATTR_OF_MESSAGE, value_internaldate},
    {"user.imap.section", XATTR_OF_PART, value_section},
    {"user.imap.content-type", XATTR_OF_PART, value_content_type},
    {"user.imapfs.state", XATTR_OF_MESSAGE, value_state},
    {"user.imapfs.cached", XATTR_OF_CONTENT, value_cached},
};

static bool value_of(const Call *call, const Node *node, guint i, GString *out)
{
    Xattr x = {.call = call, .node = node};
    bool found = (node->kind->xattrs & xattrs[i].on) && xattrs[i].value(&x, out);

    store_box_clear(&x.box);
    return found;
}

TreeStatus xattr_get(const Call *call, const Node *node, const char *name, GBytes **value_out)
{
    for (guint i = 0; i < G_N_ELEMENTS(xattrs); i++) {
        g_autoptr(GString) value = NULL;

        if (strcmp(name, xattrs[i].name) != 0)
            continue;
        value = g_string_new(NULL);
        if (!value_of(call, node, i, value))
            break;
        g_string_truncate(value, MIN(value->len, VALUE_MAX));
        *value_out = g_string_free_to_bytes(g_steal_pointer(&value));
        return TREE_OK;
    }
    return call_error(call, ENODATA);
}

TreeStatus xattr_list(const Call *call, const Node *node, GBytes **names_out)
{
    GString *names = g_string_new(NULL);

    for (guint i = 0; i < G_N_ELEMENTS(xattrs); i++) {
        g_autoptr(GString) value = g_string_new(NULL);

        if (value_of(call, node, i, value))
            g_string_append_len(names, xattrs[i].name, (gssize)strlen(xattrs[i].name) + 1);
    }
    *names_out = g_string_free_to_bytes(names);
    return TREE_OK;
}
