/* ahead.c - reading ahead: which contents somebody who reads one after the other wants next.
 *
 * A program that walks a mailbox opens one file at a time, and each would cost a round trip. Reads
 * are seen here by kind (headers, texts, html, files, whole messages): when one follows the last in
 * the order of the directory, the next ones of the kind are asked for in UID sets, as many bytes as
 * the budget of the kind allows; it doubles with every read that was foreseen and ends with the
 * first that was not. So one `cat` never pays for neighbours it does not want. Files over ITEM_MAX
 * are left to whoever opens them.
 *
 * The rule: it only ever decides what to ask for. What comes is taken by ahead_fetch.c, and a read
 * that is waited for is answered whatever becomes of the guess. */
#include "ahead.h"

#include <string.h>

#include "imapfs/base/limits.h"
#include "imapfs/sync/structure_text.h"

#define BUDGET_MIN (16u * 1024)
#define ITEM_MAX (1024u * 1024)
#define HEADER_WEIGHT 4096 /* what a header is taken for: no server tells */
#define ITEMS_MAX 256      /* ahead of the reader, of a kind */
#define STRUCTURE_MAX 16384
#define SCAN_MAX 64 /* messages looked at in one go */
#define NEXT_FEW 4  /* so many may be left out without ending the sequence */

static const LayoutKind layout_kind_of[] = {
    [CONTENT_DECODED] = LAYOUT_PART,
    [CONTENT_TEXT] = LAYOUT_TEXT,
    [CONTENT_HTML] = LAYOUT_HTML,
    [CONTENT_HEADERS] = LAYOUT_HEADERS,
};

/* --- what is there to ask for --- */

typedef struct {
    Mailbox *mailbox;
    ContentKind kind;
    guint64 budget;
    guint max;
    bool wanted_too;  /* also what somebody waits for */
    GPtrArray *items; /* of AheadItem: found */
    guint64 weight;   /* of these */
    guint n_scanned;
    guint32 unknown; /* the first message whose structure is not known; 0: none met */
} Scan;

static void scan_add(Scan *scan, guint32 uid, const LayoutNode *node)
{
    StoreReader *reader = store_reader(scan->mailbox->engine->store);
    bool header = scan->kind == CONTENT_HEADERS;
    ContentKey key = {scan->mailbox->box, uid, scan->kind, node->section};
    if (scan->items->len >= scan->max ||
        (!header && (node->encoded_size == 0 || node->encoded_size > ITEM_MAX)) ||
        (!scan->wanted_too && ahead_is_asked(scan->mailbox, &key)) || content_exists(reader, &key))
        return;
    AheadItem *item = g_new0(AheadItem, 1);
    item->need = (Need){.kind = NEED_CONTENT,
                        .box = key.box,
                        .uid = uid,
                        .content = scan->kind,
                        .section = g_strdup(node->section),
                        .encoding = header ? NULL : g_strdup(node->encoding),
                        .charset = header ? NULL : g_strdup(node->charset),
                        .encoded_size = header ? -1 : (gint64)node->encoded_size};
    item->weight = header ? HEADER_WEIGHT : node->encoded_size;
    scan->weight += item->weight;
    g_ptr_array_add(scan->items, item);
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
        if (node->kind == layout_kind_of[scan->kind])
            scan_add(scan, uid, node);
    }
}

/* The header of the message itself, and all of it, need no structure to be known. */
static const LayoutNode own_header = {.kind = LAYOUT_HEADERS, .section = (char *)""};

static bool is_whole(ContentKind kind)
{
    return kind == CONTENT_LETTER || kind == CONTENT_RAW;
}

static bool scan_message(const StoreMsg *msg, gpointer data)
{
    Scan *scan = data;
    if (is_whole(scan->kind)) {
        const LayoutNode whole = {.section = (char *)"", .encoded_size = msg->size};
        scan_add(scan, msg->uid, &whole);
    } else if (msg->has_structure) {
        StoreReader *reader = store_reader(scan->mailbox->engine->store);
        g_autofree char *text = store_structure_get(reader, scan->mailbox->box, msg->uid);
        scan_structure(scan, msg->uid, text ? text : "");
    } else if (scan->kind == CONTENT_HEADERS) {
        scan_add(scan, msg->uid, &own_header);
    } else {
        scan->unknown = msg->uid;
        return false;
    }
    return ++scan->n_scanned < SCAN_MAX && scan->weight < scan->budget &&
           scan->items->len < scan->max;
}

/* Whole messages from uid on, until the budget is used. */
static void scan_run(Scan *scan, guint32 from)
{
    const Mailbox *mailbox = scan->mailbox;
    scan->items = g_ptr_array_new_with_free_func(ahead_item_free);
    store_msg_each(store_reader(mailbox->engine->store), mailbox->box, from - 1, scan_message,
                   scan);
}

/* --- one reader --- */

/* What was asked for and not read yet. */
typedef struct {
    guint32 uid;
    char *section;
    guint64 weight;
} Coming;

static void coming_free(gpointer data)
{
    g_free(((Coming *)data)->section);
    g_free(data);
}

static void stream_restart(AheadStream *stream)
{
    g_queue_clear_full(&stream->coming, coming_free);
    stream->weight = 0;
    stream->budget = 0;
    stream->last_asked = 0;
}

void ahead_stream_clear(AheadStream *stream)
{
    stream_restart(stream);
    g_free(stream->section);
    *stream = (AheadStream){0};
}

static void stream_drop(AheadStream *stream, GList *link)
{
    stream->weight -= ((Coming *)link->data)->weight;
    coming_free(link->data);
    g_queue_delete_link(&stream->coming, link);
}

/* Takes what is read out of what is coming, and what was passed over with it. False: it was not
 * foreseen. */
static bool stream_meet(AheadStream *stream, const Need *need)
{
    for (GList *link = stream->coming.head; link; link = link->next) {
        const Coming *coming = link->data;
        if (coming->uid != need->uid || strcmp(coming->section, need->section) != 0)
            continue;
        stream_drop(stream, link);
        while (stream->coming.head && ((Coming *)stream->coming.head->data)->uid < need->uid)
            stream_drop(stream, stream->coming.head);
        return true;
    }
    return false;
}

/* Whether it is one of the next few after the last that was read. */
static bool is_next(Mailbox *mailbox, const AheadStream *stream, const Need *need)
{
    if (stream->last_uid == 0 || need->uid < stream->last_uid)
        return false;
    Scan scan = {.mailbox = mailbox,
                 .kind = need->content,
                 .budget = G_MAXUINT64,
                 .max = NEXT_FEW,
                 .wanted_too = true};
    scan_run(&scan, stream->last_uid);
    bool found = false;
    for (guint i = 0; i < scan.items->len && !found; i++) {
        const AheadItem *item = g_ptr_array_index(scan.items, i);
        found = item->need.uid == need->uid && strcmp(item->need.section, need->section) == 0;
    }
    g_ptr_array_unref(scan.items);
    return found;
}

static void stream_fill(Mailbox *mailbox, AheadStream *stream, ContentKind kind)
{
    guint32 from = MAX(stream->last_asked, stream->last_uid);
    guint n = g_queue_get_length(&stream->coming);
    if (from == G_MAXUINT32 || stream->weight * 2 > stream->budget || n * 2 > ITEMS_MAX)
        return;                                 /* enough is coming */
    if (stream->last_asked >= stream->last_uid) /* of that message all was asked for */
        from++;
    Scan scan = {.mailbox = mailbox,
                 .kind = kind,
                 .budget = stream->budget - stream->weight,
                 .max = ITEMS_MAX - n};
    scan_run(&scan, from);
    for (guint i = 0; i < scan.items->len; i++) {
        const AheadItem *item = g_ptr_array_index(scan.items, i);
        Coming *coming = g_new(Coming, 1);
        *coming = (Coming){item->need.uid, g_strdup(item->need.section), item->weight};
        g_queue_push_tail(&stream->coming, coming);
        stream->weight += item->weight;
        stream->last_asked = MAX(stream->last_asked, item->need.uid);
    }
    ahead_fetch(mailbox, scan.items);
    g_ptr_array_unref(scan.items);
    if (scan.unknown)
        structure_ahead(mailbox, scan.unknown);
}

/* --- the calls --- */

static bool is_foreseeable(const Need *need)
{
    if (need->uid == 0 || !need->section)
        return false;
    /* Nobody walks single parts as they were sent; and what is needed to make others of it is no
     * sign that somebody reads. */
    if (is_whole(need->content))
        return *need->section == '\0' && !need->whole;
    return need->content < G_N_ELEMENTS(layout_kind_of) && layout_kind_of[need->content];
}

void ahead_note(Mailbox *mailbox, const Need *need)
{
    guint64 most = mailbox->engine->config.prefetch;
    if (most == 0 || !is_foreseeable(need))
        return;
    AheadStream *stream = ahead_stream(mailbox, need->content);
    if (stream->last_uid == need->uid && g_strcmp0(stream->section, need->section) == 0)
        return;
    bool foreseen = stream_meet(stream, need);
    if (foreseen || is_next(mailbox, stream, need))
        stream->budget = MIN(MAX(stream->budget * 2, BUDGET_MIN), most);
    else
        stream_restart(stream);
    stream->last_uid = need->uid;
    g_free(stream->section);
    stream->section = g_strdup(need->section);
    if (stream->budget)
        stream_fill(mailbox, stream, need->content);
}
