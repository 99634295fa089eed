/* ahead_scan.c - what there is to ask for ahead of a reader: goes through messages whose structure
 * is known, by the store alone. */
#include "ahead.h"

#include <string.h>

#include "imapfs/sync/structure_text.h"

#define HEADER_WEIGHT 4096 /* what a header is taken for: no server tells */
#define LARGE_MAX 6        /* ahead of the reader, of what is over AHEAD_ITEM_MAX */
#define STRUCTURE_MAX 16384
#define SCAN_MAX 128 /* messages looked at in one go */
#define SOON_MAX 32  /* after these, to find the next large one */

static const LayoutKind layout_kind_of[] = {
    [CONTENT_DECODED] = LAYOUT_PART,
    [CONTENT_TEXT] = LAYOUT_TEXT,
    [CONTENT_HTML] = LAYOUT_HTML,
    [CONTENT_HEADERS] = LAYOUT_HEADERS,
};

bool ahead_is_whole(ContentKind kind)
{
    return kind == CONTENT_LETTER || kind == CONTENT_RAW;
}

bool ahead_is_part(ContentKind kind)
{
    return kind < G_N_ELEMENTS(layout_kind_of) && layout_kind_of[kind];
}

void scan_want(Scan *scan, ContentKind kind, guint32 first, gint64 bytes, gint items)
{
    scan->wishes[kind] = (Wish){true, first, bytes, items, 0};
    scan->whole = scan->whole || ahead_is_whole(kind);
    scan->needs_parts = scan->needs_parts || (!ahead_is_whole(kind) && kind != CONTENT_HEADERS);
}

static Wish *scan_wish(Scan *scan, ContentKind kind, guint32 uid)
{
    Wish *wish = &scan->wishes[kind];
    return wish->wanted && uid >= wish->first ? wish : NULL;
}

/* Whether it is to be asked for before anybody wants it. */
static bool is_to_ask(const Scan *scan, const Wish *wish, const Need *need)
{
    Engine *engine = scan->mailbox->engine;
    ContentKey key = need_content_key(need);
    if (ahead_is_asked(scan->mailbox, &key))
        return false;
    if (need->encoded_size <= AHEAD_ITEM_MAX)
        return !scan->soon;
    return ranged_suits(engine, need) && wish->n_large < LARGE_MAX &&
           !(scan->soon ? ranged_ask_ahead(engine, &key, 0) : ranged_is_met(engine, &key));
}

static void scan_add(Scan *scan, guint32 uid, ContentKind kind, const LayoutNode *node)
{
    StoreReader *reader = store_reader(scan->mailbox->engine->store);
    Wish *wish = scan_wish(scan, kind, uid);
    bool header = kind == CONTENT_HEADERS;
    const Need need = {.kind = NEED_CONTENT,
                       .box = scan->mailbox->box,
                       .uid = uid,
                       .content = kind,
                       .section = node->section,
                       .encoding = header ? NULL : node->encoding,
                       .charset = header ? NULL : node->charset,
                       .encoded_size = header ? -1 : (gint64)node->encoded_size};
    ContentKey key = need_content_key(&need);
    if (!wish || wish->items <= 0 || need.encoded_size == 0 || content_exists(reader, &key) ||
        (!scan->wanted_too && !is_to_ask(scan, wish, &need)))
        return;
    AheadItem *item = g_new0(AheadItem, 1);
    g_autofree Need *copy = need_copy(&need);
    item->need = *copy;
    item->large = need.encoded_size > AHEAD_ITEM_MAX;
    item->weight = header ? HEADER_WEIGHT : node->encoded_size;
    if (item->large && !scan->wanted_too)
        item->weight = MIN(item->weight, (guint64)MAX(wish->bytes, (gint64)AHEAD_BUDGET_MIN));
    if (scan->soon)
        item->weight = 0;
    wish->bytes -= (gint64)item->weight;
    wish->items--;
    wish->n_large += item->large;
    g_ptr_array_add(scan->items, item);
}

/* The kind of content that a node's file is; -1: it is none that is foreseen. */
static int kind_of(const LayoutNode *node)
{
    for (guint i = 0; i < G_N_ELEMENTS(layout_kind_of); i++)
        if (layout_kind_of[i] && layout_kind_of[i] == node->kind)
            return (int)i;
    return -1;
}

static void scan_structure(Scan *scan, guint32 uid, const char *text)
{
    g_autoptr(BodyPart) body = NULL;
    /* its parts are not to be had by section; it is not worth being read over and over */
    if (structure_text_is_local(text) || strlen(text) > STRUCTURE_MAX)
        return;
    body = structure_text_parse(text, NULL);
    g_autoptr(Layout) layout = body ? layout_new(body) : NULL;
    for (guint i = 0; layout && i < layout->nodes->len; i++) {
        const LayoutNode *node = g_ptr_array_index(layout->nodes, i);
        int kind = kind_of(node);
        if (kind >= 0)
            scan_add(scan, uid, (ContentKind)kind, node);
    }
}

/* The header of the message itself, and all of it, need no structure to be known. */
static const LayoutNode own_header = {.kind = LAYOUT_HEADERS, .section = (char *)""};

/* Any of those that begin before this message, or with it, has found enough. */
static bool scan_is_full(Scan *scan, guint32 uid)
{
    for (ContentKind kind = 0; kind < AHEAD_KINDS; kind++) {
        const Wish *wish = scan_wish(scan, kind, uid);
        if (wish && (wish->bytes <= 0 || wish->items <= 0))
            return true;
    }
    return false;
}

static void scan_parts(Scan *scan, guint32 uid)
{
    StoreReader *reader = store_reader(scan->mailbox->engine->store);
    g_autofree char *text = store_structure_get(reader, scan->mailbox->box, uid);
    scan_structure(scan, uid, text ? text : "");
}

static bool scan_message(const StoreMsg *msg, gpointer data)
{
    Scan *scan = data;
    const LayoutNode whole = {.section = (char *)"", .encoded_size = msg->size};
    if (scan_is_full(scan, msg->uid))
        return false;
    if (scan->whole) {
        scan_add(scan, msg->uid, CONTENT_LETTER, &whole);
        scan_add(scan, msg->uid, CONTENT_RAW, &whole);
    } else if (msg->has_structure) {
        scan_parts(scan, msg->uid);
    } else if (!scan->needs_parts) {
        scan_add(scan, msg->uid, CONTENT_HEADERS, &own_header);
    } else {
        scan->unknown = msg->uid;
        return false;
    }
    scan->last = msg->uid;
    return ++scan->n_scanned < SCAN_MAX;
}

/* To the first message that has any. Where there are none, it is not looked at again before half of
 * these were read. */
static bool scan_soon(const StoreMsg *msg, gpointer data)
{
    Scan *scan = data;
    if (msg->size > AHEAD_ITEM_MAX && !msg->has_structure)
        return false;
    if (msg->size > AHEAD_ITEM_MAX)
        scan_parts(scan, msg->uid);
    if (++scan->n_scanned <= SOON_MAX / 2)
        scan->last = msg->uid;
    return scan->items->len == 0 && scan->n_scanned < SOON_MAX;
}

/* By whole messages; of kinds that begin at different ones, the first comes first. */
void scan_run(Scan *scan)
{
    const Mailbox *mailbox = scan->mailbox;
    guint32 first = G_MAXUINT32;
    for (ContentKind kind = 0; kind < AHEAD_KINDS; kind++)
        if (scan->wishes[kind].wanted)
            first = MIN(first, scan->wishes[kind].first);
    scan->items = g_ptr_array_new_with_free_func(ahead_item_free);
    store_msg_each(store_reader(mailbox->engine->store), mailbox->box, first - 1,
                   scan->soon ? scan_soon : scan_message, scan);
}
