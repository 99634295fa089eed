/* ahead.c - reading ahead: which contents somebody who reads one after the other wants next.
 *
 * A program that walks a mailbox opens one file at a time, and each would cost a round trip. Reads
 * are seen here by kind (headers, texts, html, files, whole messages): when one follows the last in
 * the order of the directory, the next ones of the kind are asked for in UID sets, as many bytes as
 * the budget of the kind allows; it doubles with every read that was foreseen, shrinks when more is
 * passed over than is read, and ends with the first read that was not foreseen. So one `cat` never
 * pays for neighbours it does not want. Kinds that are read together are asked for together, all of
 * a message at once: it comes in the order in which it is read, and a text and its html beside each
 * other are compressed better. Who reads two kinds of the first message of all is taken to go on at
 * once, and who walks so has the ends of the next large file, by which it is opened. Of files over
 * AHEAD_ITEM_MAX the first bytes are asked for, as many as the budget has room for, and more of
 * them when there is more; the rest when they are read.
 *
 * The rule: it only ever decides what to ask for. What comes is taken by ahead_fetch.c, and a read
 * that is waited for is answered whatever becomes of the guess. */
#include "ahead.h"

#include <string.h>

#define STEP_MIN (128u * 1024)
#define ITEMS_MAX 512        /* ahead of the reader */
#define STRUCTURES_AHEAD 256 /* messages after those asked for whose structure is to be known; */
#define STRUCTURES_FEW 8     /* before it is clear that somebody goes on */
#define NEXT_FEW 4           /* so many may be left out without ending the sequence */
#define IN_STEP 4            /* UIDs between what is read of kinds that are read together */
#define KEPT_PART 16         /* of what is ahead, reads of so much may be told later; */
#define KEPT_MAX 8           /* so many at most */
#define STRAGGLERS 16        /* programs with several threads are so far apart, or less */

/* --- one reader --- */

/* What was asked for and not read yet. */
typedef struct Coming {
    guint32 uid;
    char *section;
    guint64 weight; /* 0: it was passed over */
    guint64 large;  /* all of its bytes, when it is over AHEAD_ITEM_MAX; */
    guint64 asked;  /* of these */
} Coming;

static Coming *coming_new(const Need *need, guint64 weight)
{
    Coming *coming = g_new0(Coming, 1);
    *coming = (Coming){.uid = need->uid, .section = g_strdup(need->section), .weight = weight};
    if (need->encoded_size > AHEAD_ITEM_MAX) {
        coming->large = (guint64)need->encoded_size;
        coming->asked = weight;
    }
    return coming;
}

static void coming_free(gpointer data)
{
    g_free(((Coming *)data)->section);
    g_free(data);
}

static void stream_restart(AheadStream *stream)
{
    g_queue_clear_full(&stream->coming, coming_free);
    g_clear_pointer(&stream->current, coming_free);
    stream->weight = 0;
    stream->n_large = 0;
    stream->budget = 0;
    stream->scanned = stream->opened = 0;
}

void ahead_stream_clear(AheadStream *stream)
{
    stream_restart(stream);
    g_free(stream->section);
    *stream = (AheadStream){0};
}

/* The caller frees it. */
static Coming *stream_remove(AheadStream *stream, GList *link)
{
    Coming *coming = link->data;
    stream->weight -= coming->weight;
    stream->n_large -= coming->large > 0;
    g_queue_delete_link(&stream->coming, link);
    return coming;
}

static void stream_drop(AheadStream *stream, GList *link)
{
    coming_free(stream_remove(stream, link));
}

/* It is read no more, or was never read to its end. */
static void stream_drop_current(AheadStream *stream)
{
    if (!stream->current)
        return;
    stream->weight -= stream->current->weight;
    g_clear_pointer(&stream->current, coming_free);
}

/* Takes it. */
static void stream_set_current(AheadStream *stream, Coming *coming)
{
    stream_drop_current(stream);
    stream->current = coming;
    stream->weight += coming->weight;
}

/* What comes before this message was passed over; the last few of it are remembered: with several
 * threads, files are not opened in their order. Returns the weight of what is passed over now. */
static guint64 stream_pass(AheadStream *stream, guint32 uid)
{
    guint64 wasted = 0;
    guint n = 0;
    for (GList *link = stream->coming.head; link; link = link->next, n++) {
        Coming *coming = link->data;
        if (coming->uid >= uid)
            break;
        wasted += coming->weight;
        stream->weight -= coming->weight;
        coming->weight = 0;
    }
    for (; n > STRAGGLERS; n--)
        stream_drop(stream, stream->coming.head);
    return wasted;
}

/* Takes what is read out of what is coming. False: it was not foreseen. */
static bool stream_meet(AheadStream *stream, const Need *need, guint64 most)
{
    for (GList *link = stream->coming.head; link; link = link->next) {
        Coming *coming = link->data;
        if (coming->uid != need->uid || strcmp(coming->section, need->section) != 0)
            continue;
        guint64 read = coming->weight;
        bool late = read == 0;
        stream_remove(stream, link);
        guint64 budget = stream_pass(stream, need->uid) > read && !late ? stream->budget / 2
                                                                        : stream->budget * 2;
        stream->budget = CLAMP(budget, MIN(AHEAD_BUDGET_MIN, most), most);
        if (coming->large)
            stream_set_current(stream, coming);
        else
            coming_free(coming);
        return true;
    }
    stream_pass(stream, need->uid);
    return false;
}

/* Whether it is one of the next few after the last that was read. */
static bool is_next(Mailbox *mailbox, const AheadStream *stream, const Need *need)
{
    if (stream->last_uid == 0 || need->uid < stream->last_uid)
        return false;
    Scan scan = {.mailbox = mailbox, .wanted_too = true};
    scan_want(&scan, need->content, stream->last_uid, G_MAXINT64, NEXT_FEW);
    scan_run(&scan);
    bool found = false;
    for (guint i = 0; i < scan.items->len && !found; i++) {
        const AheadItem *item = g_ptr_array_index(scan.items, i);
        found = item->need.uid == need->uid && strcmp(item->need.section, need->section) == 0;
    }
    g_ptr_array_unref(scan.items);
    return found;
}

typedef struct {
    guint32 last;
    guint n;
} Distance;

static bool count_message(const StoreMsg *msg, gpointer data)
{
    Distance *distance = data;
    return msg->uid < distance->last && ++distance->n <= STRAGGLERS;
}

/* Whether it is one of the few before the last that was read: a thread that is behind another. */
static bool is_straggler(Mailbox *mailbox, const AheadStream *stream, const Need *need)
{
    Distance distance = {.last = stream->last_uid};
    if (need->uid > stream->last_uid)
        return false;
    store_msg_each(store_reader(mailbox->engine->store), mailbox->box, need->uid - 1, count_message,
                   &distance);
    return distance.n <= STRAGGLERS;
}

/* Whether what is read of another kind is read along with this message. */
static bool is_in_step(const AheadStream *stream, guint32 uid)
{
    const GList *next = stream->coming.head;
    while (next && ((const Coming *)next->data)->weight == 0)
        next = next->next;
    guint64 until =
        next ? ((const Coming *)next->data)->uid : MAX(stream->scanned, stream->last_uid);
    until += IN_STEP;
    return stream->budget > 0 && stream->last_uid <= (guint64)uid + IN_STEP && until >= uid;
}

/* The first message of which something may be missing. */
static guint32 stream_first(const AheadStream *stream)
{
    return stream->scanned < stream->last_uid ? stream->last_uid
           : stream->scanned == G_MAXUINT32   ? G_MAXUINT32
                                              : stream->scanned + 1;
}

static void stream_take(AheadStream *stream, const AheadItem *item)
{
    g_queue_push_tail(&stream->coming, coming_new(&item->need, item->weight));
    stream->weight += item->weight;
    stream->n_large += item->large;
}

/* Of a large one, what there is room for now. */
static void top_up(Mailbox *mailbox, AheadStream *stream, ContentKind kind, Coming *coming)
{
    ContentKey key = {mailbox->box, coming->uid, kind, coming->section};
    guint64 room = stream->budget - MIN(stream->weight, stream->budget);
    guint64 rest = coming->large - MIN(coming->asked, coming->large);
    if (rest == 0 || room < MIN(rest, AHEAD_BUDGET_MIN))
        return;
    coming->asked += MIN(rest, room);
    coming->weight += MIN(rest, room);
    stream->weight += MIN(rest, room);
    ranged_ask_ahead(mailbox->engine, &key, coming->asked);
}

static void stream_top_up(Mailbox *mailbox, AheadStream *stream, ContentKind kind)
{
    if (stream->current)
        top_up(mailbox, stream, kind, stream->current);
    for (GList *link = stream->coming.head; link && stream->n_large; link = link->next)
        if (((Coming *)link->data)->weight)
            top_up(mailbox, stream, kind, link->data);
}

/* So that little is asked for often: half of a small budget, but little of a large one, as the link
 * may be idle meanwhile. */
static bool has_enough(AheadStream *stream)
{
    guint64 step = MIN(stream->budget / 2, MAX(stream->budget / 8, STEP_MIN));
    return stream->weight + step > stream->budget ||
           g_queue_get_length(&stream->coming) * 2 > ITEMS_MAX;
}

/* Structures after a message, when the next ones are not known. */
static void fill_structures(Mailbox *mailbox, guint32 after, guint most)
{
    guint32 last = after + MIN(most, G_MAXUINT32 - after);
    g_autoptr(UidSet) next = store_msg_without_structure(store_reader(mailbox->engine->store),
                                                         mailbox->box, after, last, 1);
    guint n;
    const UidRange *ranges = uidset_ranges(next, &n);
    if (n)
        structure_ahead(mailbox, ranges[0].lo, most);
}

static bool is_text(ContentKind kind)
{
    return kind == CONTENT_HEADERS || kind == CONTENT_TEXT || kind == CONTENT_HTML;
}

/* Nothing of a large one can be asked for before its ends are here: these are, by the time when
 * there is room for it. Of one message at a time. */
static void open_next_large(Mailbox *mailbox, guint32 after)
{
    AheadStream *stream = ahead_stream(mailbox, CONTENT_DECODED);
    Scan scan = {.mailbox = mailbox, .soon = true};
    if (stream->opened > after || after == G_MAXUINT32)
        return;
    scan_want(&scan, CONTENT_DECODED, after + 1, G_MAXINT64, NEXT_FEW);
    scan_run(&scan);
    if (scan.items->len) {
        stream->opened = ((const AheadItem *)scan.items->pdata[0])->need.uid;
        ahead_fetch(mailbox, scan.items);
    } else if (scan.last) {
        stream->opened = scan.last;
    }
    g_ptr_array_unref(scan.items);
}

/* Before it is clear that somebody goes on, few. */
static guint structures_wanted(const AheadStream *stream)
{
    return stream->budget > AHEAD_BUDGET_MIN ? STRUCTURES_AHEAD : STRUCTURES_FEW;
}

/* Who reads the headers and the text of a message reads its page, too, where there is one; if not,
 * what a small budget has room for was asked for in vain, once. */
static void expect_pages(Mailbox *mailbox, guint32 uid)
{
    AheadStream *stream = ahead_stream(mailbox, CONTENT_HTML);
    if (stream->last_uid != 0 || !is_in_step(ahead_stream(mailbox, CONTENT_HEADERS), uid) ||
        !is_in_step(ahead_stream(mailbox, CONTENT_TEXT), uid))
        return;
    stream->last_uid = uid;
    stream->budget = MIN(AHEAD_BUDGET_MIN, mailbox->engine->config.prefetch);
}

/* Of this kind, and of those that are read along with it. */
static void fill(Mailbox *mailbox, ContentKind kind, guint32 uid)
{
    Scan scan = {.mailbox = mailbox};
    guint32 first = stream_first(ahead_stream(mailbox, kind));
    guint n_wanted = 0;
    expect_pages(mailbox, uid);
    for (ContentKind k = 0; k < AHEAD_KINDS; k++) {
        AheadStream *stream = ahead_stream(mailbox, k);
        if (k != kind && (ahead_is_whole(k) || ahead_is_whole(kind) || !is_in_step(stream, uid)))
            continue;
        if (stream->current && stream->current->uid < uid)
            stream_drop_current(stream);
        stream_top_up(mailbox, stream, k); /* it is read before what is found now */
        if (stream_first(stream) <= first && has_enough(stream))
            return;
        scan_want(&scan, k, stream_first(stream), (gint64)(stream->budget - stream->weight),
                  ITEMS_MAX - (gint)g_queue_get_length(&stream->coming));
        scan.wishes[k].n_large = stream->n_large;
    }
    scan_run(&scan);
    for (guint i = 0; i < scan.items->len; i++) {
        const AheadItem *item = g_ptr_array_index(scan.items, i);
        stream_take(ahead_stream(mailbox, item->need.content), item);
    }
    for (ContentKind k = 0; k < AHEAD_KINDS; k++) {
        AheadStream *stream = ahead_stream(mailbox, k);
        if (scan.wishes[k].wanted)
            stream->scanned = MAX(stream->scanned, scan.last);
        n_wanted += scan.wishes[k].wanted;
    }
    ahead_fetch(mailbox, scan.items);
    g_ptr_array_unref(scan.items);
    if (n_wanted >= 2 && scan.last)
        open_next_large(mailbox, scan.wishes[CONTENT_DECODED].wanted ? scan.last : uid);
    guint n_structures = structures_wanted(ahead_stream(mailbox, kind));
    if (scan.unknown)
        structure_ahead(mailbox, scan.unknown, n_structures);
    else if (scan.last && scan.needs_parts)
        fill_structures(mailbox, scan.last, n_structures);
}

/* As many bytes as two of the kind that is read have, or more. */
static guint64 first_budget(const Need *need)
{
    return MAX(AHEAD_BUDGET_MIN, 2 * (guint64)MAX(0, need->encoded_size));
}

/* --- several kinds --- */

/* How many are read along with this message. */
static guint count_in_step(Mailbox *mailbox, guint32 uid)
{
    guint n = 0;
    for (ContentKind k = 0; k < AHEAD_KINDS; k++)
        n += !ahead_is_whole(k) && is_in_step(ahead_stream(mailbox, k), uid);
    return n;
}

/* Who reads several kinds of each message in turn, and one of this kind for the first time, reads
 * all that there is. */
static bool is_in_walk(Mailbox *mailbox, const Need *need)
{
    return ahead_stream(mailbox, need->content)->last_uid == 0 && !ahead_is_whole(need->content) &&
           count_in_step(mailbox, need->uid) >= 2;
}

static bool is_second_kind(Mailbox *mailbox, const Need *need)
{
    for (ContentKind k = 0; k < AHEAD_KINDS; k++)
        if (k != need->content && ahead_stream(mailbox, k)->last_uid == need->uid)
            return true;
    return false;
}

static bool note_first(const StoreMsg *msg, gpointer data)
{
    *(guint32 *)data = msg->uid;
    return false;
}

/* Who reads a second kind of the first message of all is likely to walk through all. */
static bool is_beginning(Mailbox *mailbox, const Need *need)
{
    guint32 first = 0;
    if (ahead_stream(mailbox, need->content)->last_uid != 0 || !is_text(need->content) ||
        !is_second_kind(mailbox, need))
        return false;
    store_msg_each(store_reader(mailbox->engine->store), mailbox->box, 0, note_first, &first);
    return need->uid == first;
}

/* A second message is being read: what was read of the first is wanted of this one, too. */
static void begin_others(Mailbox *mailbox, ContentKind kind, guint32 first_uid, guint64 most)
{
    for (ContentKind k = 0; k < AHEAD_KINDS; k++) {
        AheadStream *stream = ahead_stream(mailbox, k);
        if (k != kind && !ahead_is_whole(k) && !ahead_is_whole(kind) && stream->budget == 0 &&
            stream->last_uid == first_uid)
            stream->budget = MIN(AHEAD_BUDGET_MIN, most);
    }
}

/* A second kind of a message is being read: somebody may go on to the next messages. */
static void expect_walk(Mailbox *mailbox, const Need *need)
{
    if (is_second_kind(mailbox, need))
        fill_structures(mailbox, need->uid, STRUCTURES_FEW);
}

/* How many reads need not be told at once: where many small ones are ahead, a few make no
 * difference, and waking the loop for each costs as much as all the rest. */
static guint reads_to_keep(Mailbox *mailbox, ContentKind kind)
{
    const AheadStream *stream = ahead_stream(mailbox, kind);
    guint n = g_queue_get_length((GQueue *)&stream->coming);
    if (ahead_is_whole(kind) || ahead_stream(mailbox, CONTENT_DECODED)->budget || n < KEPT_PART)
        return 0;
    return MIN(n / KEPT_PART, KEPT_MAX);
}

static void keep_reads(Mailbox *mailbox, ContentKind kind)
{
    Engine *engine = mailbox->engine;
    guint kept = reads_to_keep(mailbox, kind);
    pthread_mutex_lock(&engine->shared.lock);
    engine->shared.reads_kept = kept;
    pthread_mutex_unlock(&engine->shared.lock);
}

/* --- the calls --- */

static bool is_foreseeable(const Need *need)
{
    if (need->uid == 0 || !need->section)
        return false;
    /* Nobody walks single parts as they were sent; and what is needed to make others of it is no
     * sign that somebody reads. */
    if (ahead_is_whole(need->content))
        return *need->section == '\0' && !need->whole;
    return ahead_is_part(need->content);
}

void ahead_note(Mailbox *mailbox, const Need *need)
{
    guint64 most = mailbox->engine->config.prefetch;
    if (most == 0 || !is_foreseeable(need))
        return;
    AheadStream *stream = ahead_stream(mailbox, need->content);
    if (stream->last_uid == need->uid && g_strcmp0(stream->section, need->section) == 0)
        return;
    stream_drop_current(stream);
    if (!stream_meet(stream, need, most)) {
        bool next = is_next(mailbox, stream, need);
        bool begins = is_beginning(mailbox, need);
        if (begins || (next && stream->budget == 0))
            begin_others(mailbox, need->content, begins ? need->uid : stream->last_uid, most);
        if (begins)
            stream->budget = MIN(AHEAD_BUDGET_MIN, most);
        else if (next || is_in_walk(mailbox, need))
            stream->budget = MIN(MAX(stream->budget * 2, first_budget(need)), most);
        else if (is_straggler(mailbox, stream, need))
            return;
        else
            stream_restart(stream);
    }
    if (need->uid < stream->last_uid && stream->budget)
        return;
    stream->last_uid = need->uid;
    g_free(stream->section);
    stream->section = g_strdup(need->section);
    keep_reads(mailbox, need->content);
    if (!stream->budget) {
        expect_walk(mailbox, need);
        return;
    }
    if (!stream->current && ranged_suits(mailbox->engine, need))
        stream_set_current(stream, coming_new(need, 0));
    fill(mailbox, need->content, need->uid);
}

void ahead_went_on(Mailbox *mailbox, const ContentKey *key, guint64 encoded)
{
    guint64 most = mailbox->engine->config.prefetch;
    if (key->kind >= AHEAD_KINDS || !mailbox->ahead || mailbox->box != key->box)
        return;
    AheadStream *stream = ahead_stream(mailbox, key->kind);
    Coming *current = stream->current;
    if (!current || current->uid != key->uid || strcmp(current->section, key->section) != 0)
        return;
    guint64 left = current->asked - MIN(current->asked, encoded);
    stream->weight -= current->weight - MIN(left, current->weight);
    current->weight = MIN(left, current->weight);
    stream->budget = MIN(stream->budget * 2, most);
    fill(mailbox, key->kind, key->uid);
}
