/* sizes.c - the exact decoded sizes of base64 parts, from the two ends of each.
 *
 * All such parts of a message are asked for at once, and with them those of the next messages when
 * messages are asked for in order. A size that is known is never replaced by one that is computed:
 * who had the whole content knows better. A message is asked about once: what its ends did not tell
 * then, they will not tell later.
 *
 * RFC 3516's BINARY.SIZE would tell sizes of every encoding, but it cannot be believed. Asked about
 * 555 encoded parts of 678 messages that people collected, Dovecot 2.3.19 gave a wrong size for 15
 * (12 of them without any fault; its BINARY.PEEK of the same parts is right), refused 33, also good
 * parts beside a damaged one, and closed the connection over 31. */
#include "sync.h"

#include <string.h>

#include "imapfs/base/error.h"
#include "imapfs/base/limits.h"
#include "imapfs/base/log.h"
#include "imapfs/mime/base64_map.h"
#include "imapfs/sync/structure_text.h"

#define PARTS_MAX 1000 /* of a message; the sizes of the others stay estimates */
/* More than the end of a part is asked for: if more comes, the part is longer than was told. */
#define BEYOND 16

typedef struct {
    char *section;
    guint64 encoded;
    GBytes *head, *tail;
    bool open; /* still to be asked for */
    bool wide; /* its lines are longer than the ends that came */
    gint64 size;
} Part;

/* One message. */
typedef struct {
    Mailbox *mailbox; /* a reference, and a use of its session */
    guint generation;
    guint32 box, uid;
    GPtrArray *parts; /* of Part */
    guint from, to;   /* those in flight */
    gsize ends;
    bool answered;
} SizeFetch;

static void part_free(gpointer data)
{
    Part *part = data;
    g_clear_pointer(&part->head, g_bytes_unref);
    g_clear_pointer(&part->tail, g_bytes_unref);
    g_free(part->section);
    g_free(part);
}

static void fetch_free(SizeFetch *fetch)
{
    g_ptr_array_unref(fetch->parts);
    mailbox_unref(fetch->mailbox);
    g_free(fetch);
}

/* --- which parts --- */

/* NULL also for a structure that was made here: the server may count its sections otherwise. */
static Layout *load_layout(Mailbox *mailbox, guint32 uid)
{
    StoreReader *reader = store_reader(mailbox->engine->store);
    g_autofree char *text = store_structure_get(reader, mailbox->box, uid);
    g_autoptr(BodyPart) body = NULL;
    if (!text || structure_text_is_local(text))
        return NULL;
    body = structure_text_parse(text, NULL);
    return body ? layout_new(body) : NULL;
}

/* Those whose sizes are not known. Caller unrefs. */
static GPtrArray *parts_of(Mailbox *mailbox, guint32 uid)
{
    StoreReader *reader = store_reader(mailbox->engine->store);
    g_autoptr(Layout) layout = load_layout(mailbox, uid);
    GPtrArray *parts = g_ptr_array_new_with_free_func(part_free);
    for (guint i = 0; layout && i < layout->nodes->len && parts->len < PARTS_MAX; i++) {
        const LayoutNode *node = g_ptr_array_index(layout->nodes, i);
        if (!base64_map_applies(node) ||
            store_size_get(reader, mailbox->box, uid, CONTENT_DECODED, node->section) >= 0)
            continue;
        Part *part = g_new0(Part, 1);
        part->section = g_strdup(node->section);
        part->encoded = node->encoded_size;
        part->open = true;
        part->size = -1;
        g_ptr_array_add(parts, part);
    }
    return parts;
}

/* NULL when there is nothing to ask: no such part, or all their sizes are known. */
static SizeFetch *fetch_new(Mailbox *mailbox, guint32 uid)
{
    g_autoptr(GPtrArray) parts = parts_of(mailbox, uid);
    if (parts->len > 0 && twin_sizes(mailbox->engine, mailbox->box, uid)) {
        g_ptr_array_unref(parts);
        parts = parts_of(mailbox, uid);
    }
    if (parts->len == 0)
        return NULL;
    SizeFetch *fetch = g_new0(SizeFetch, 1);
    fetch->mailbox = mailbox_ref(mailbox);
    fetch->box = mailbox->box;
    fetch->uid = uid;
    fetch->ends = BASE64_ENDS;
    fetch->parts = g_steal_pointer(&parts);
    return fetch;
}

/* --- what is remembered of a mailbox --- */

static MailboxSizes *sizes_of(Mailbox *mailbox)
{
    MailboxSizes *sizes = &mailbox->sizes;
    if (sizes->box == mailbox->box)
        return sizes;
    sizes_clear(sizes); /* UIDs mean other messages now */
    *sizes = (MailboxSizes){
        .box = mailbox->box, .window = 1, .in_flight = uidset_new(), .asked = uidset_new()};
    return sizes;
}

void sizes_clear(MailboxSizes *sizes)
{
    uidset_free(sizes->in_flight);
    uidset_free(sizes->asked);
    *sizes = (MailboxSizes){0};
}

/* --- the end --- */

static bool write_sizes(SizeFetch *fetch, GError **error)
{
    StoreTxn *txn = store_begin(fetch->mailbox->engine->store, false, error);
    if (!txn)
        return false;
    for (guint i = 0; i < fetch->parts->len; i++) {
        const Part *part = g_ptr_array_index(fetch->parts, i);
        if (part->size < 0)
            continue;
        if (!store_size_put_computed(txn, fetch->box, fetch->uid, CONTENT_DECODED, part->section,
                                     (guint64)part->size, error)) {
            store_rollback(txn);
            return false;
        }
    }
    return store_commit(txn, error);
}

/* Takes the error, which may be NULL. Who waits is told. done: the server has answered; a
 * connection that is lost over and over is not risked again for this message either. */
static void fetch_end(SizeFetch *fetch, bool done, GError *error)
{
    Mailbox *mailbox = fetch->mailbox;
    MailboxSizes *sizes = sizes_of(mailbox);
    bool lost = g_error_matches(error, IMAPFS_ERROR, IMAPFS_ERROR_LOST);
    if (!error)
        write_sizes(fetch, &error);
    else
        log_debug("sync", "%s: message %u: %s", mailbox->name, fetch->uid, error->message);
    if (sizes->box == fetch->box)
        uidset_remove(sizes->in_flight, fetch->uid);
    Job *job = job_find(mailbox->engine, NEED_SIZES, fetch->box, fetch->uid, 0, NULL);
    if (job) {
        job_ref(job);
        if (lost)
            job_retry(job, sizes_job_start, error);
        else
            job_finish(job, error);
        done = done || (lost && job->finished && job->attempts > 1);
        job_unref(job);
    }
    if (done && sizes->box == fetch->box)
        uidset_add(sizes->asked, fetch->uid);
    g_clear_error(&error);
    mailbox_release(mailbox, fetch->generation);
    fetch_free(fetch);
}

/* --- asking --- */

static bool take_body(SizeFetch *fetch, const FetchBody *body)
{
    for (guint i = fetch->from; i < fetch->to; i++) {
        Part *part = g_ptr_array_index(fetch->parts, i);
        if (!part->open || g_ascii_strcasecmp(part->section, body->section) != 0)
            continue;
        GBytes **end = body->origin == 0                             ? &part->head
                       : body->origin == part->encoded - fetch->ends ? &part->tail
                                                                     : NULL;
        if (!end)
            return false;
        g_clear_pointer(end, g_bytes_unref);
        *end = body->bytes ? g_bytes_ref(body->bytes) : NULL;
        return true;
    }
    return false;
}

static bool on_ends(Command *command, Response *response, gpointer data)
{
    SizeFetch *fetch = data;
    const FetchData *got = response->fetch;
    bool ours = false;
    if (!got || !(got->present & FETCH_UID) || got->uid != fetch->uid)
        return false;
    for (guint i = 0; got->bodies && i < got->bodies->len; i++) {
        const FetchBody *body = g_ptr_array_index(got->bodies, i);
        ours = (!body->binary && body->has_origin && take_body(fetch, body)) || ours;
    }
    if (!ours)
        return false;
    fetch->answered = true;
    Job *job = job_find(fetch->mailbox->engine, NEED_SIZES, fetch->box, fetch->uid, 0, NULL);
    if (job)
        job_progress(job);
    return true;
}

static void compute(const SizeFetch *fetch, Part *part)
{
    gsize n_head = 0, n_tail = 0;
    const void *head = part->head ? g_bytes_get_data(part->head, &n_head) : NULL;
    const void *tail = part->tail ? g_bytes_get_data(part->tail, &n_tail) : NULL;
    Base64Map map;
    part->open = false;
    if (n_head == fetch->ends && n_tail == fetch->ends) {
        Base64Ends got = base64_map_init(&map, part->encoded, head, n_head, tail, n_tail);
        if (got == BASE64_REGULAR)
            part->size = (gint64)map.decoded;
        part->wide = got == BASE64_LONGER && fetch->ends < BASE64_ENDS_WIDE;
    }
    g_clear_pointer(&part->head, g_bytes_unref);
    g_clear_pointer(&part->tail, g_bytes_unref);
}

static bool find_open(SizeFetch *fetch, guint from)
{
    for (fetch->from = from; fetch->from < fetch->parts->len; fetch->from++) {
        if (((const Part *)g_ptr_array_index(fetch->parts, fetch->from))->open)
            return true;
    }
    return false;
}

/* Whether there is more to ask: of the parts whose lines are long, once all others are done. */
static bool next_parts(SizeFetch *fetch)
{
    if (find_open(fetch, fetch->to))
        return true;
    if (fetch->ends == BASE64_ENDS_WIDE)
        return false;
    fetch->ends = BASE64_ENDS_WIDE;
    for (guint i = 0; i < fetch->parts->len; i++) {
        Part *part = g_ptr_array_index(fetch->parts, i);
        part->open = part->wide;
    }
    return find_open(fetch, 0);
}

static void send(SizeFetch *fetch);

static void on_done(Command *command, CommandResult result, const Response *tagged, gpointer data)
{
    SizeFetch *fetch = data;
    Mailbox *mailbox = fetch->mailbox;
    GError *error = NULL;
    if (result != COMMAND_OK) {
        error = mailbox_command_error(mailbox, result, tagged, "sizes");
    } else if (!fetch->answered) {
        error = g_error_new(IMAPFS_ERROR, IMAPFS_ERROR_GONE, "the server gave no answer for it");
        mailbox_mark(mailbox, DIRTY_VERIFY);
    }
    for (guint i = fetch->from; !error && i < fetch->to; i++) {
        Part *part = g_ptr_array_index(fetch->parts, i);
        if (part->open)
            compute(fetch, part);
    }
    if (error || !next_parts(fetch))
        fetch_end(fetch, result != COMMAND_LOST && result != COMMAND_CANCELLED, error);
    else if (fetch->generation != mailbox->generation)
        fetch_end(fetch, false, error_from_result(COMMAND_LOST, NULL, "sizes"));
    else
        send(fetch);
}

/* As many of the open parts, from the first one on, as a command line has room for. */
static void send(SizeFetch *fetch)
{
    Session *session = fetch->mailbox->session;
    Command *command = command_new(LANE_FOREGROUND, on_done, fetch);
    gsize limit = session_line_limit(session);
    command_text_add(command->text, "UID FETCH %u (UID", fetch->uid);
    for (fetch->to = fetch->from; fetch->to < fetch->parts->len; fetch->to++) {
        const Part *part = g_ptr_array_index(fetch->parts, fetch->to);
        gsize room = 2 * strlen(part->section) + 80;
        if (!part->open)
            continue;
        if (fetch->to > fetch->from && command_text_length(command->text) + room > limit)
            break;
        command_text_add(command->text,
                         " BODY.PEEK[%s]<0.%" G_GSIZE_FORMAT "> BODY.PEEK[%s]<%" G_GUINT64_FORMAT
                         ".%" G_GSIZE_FORMAT ">",
                         part->section, fetch->ends, part->section, part->encoded - fetch->ends,
                         fetch->ends + BEYOND);
    }
    command_text_add(command->text, ")");
    fetch->answered = false;
    command->wants = 1ull << RESP_FETCH;
    command->expected = 1;
    command->on_untagged = on_ends;
    session_submit(session, command);
}

static void start(SizeFetch *fetch)
{
    fetch->generation = fetch->mailbox->generation;
    uidset_add(sizes_of(fetch->mailbox)->in_flight, fetch->uid);
    send(fetch);
}

/* --- the next messages ---
 *
 * Offsets of ends differ, so every message takes a command of its own. They go out in the lane of
 * the one that is waited for, as the background's is too narrow: who walks will wait for each. */

#define WINDOW_MAX 64
#define SCAN_MAX 256   /* messages whose structure is looked at */
#define WALK_MAX 10000 /* rows read for that: small messages have no part that is worth it */

typedef struct {
    GArray *uids;
    guint32 until;
    guint rows;
} Scan;

static bool scan_one(const StoreMsg *msg, gpointer data)
{
    Scan *scan = data;
    if (msg->uid > scan->until || ++scan->rows > WALK_MAX || scan->uids->len == SCAN_MAX)
        return false;
    if (msg->size <= BASE64_ENDS_MIN)
        return true;
    if (!msg->has_structure)
        return false;
    g_array_append_val(scan->uids, msg->uid);
    return true;
}

/* Messages between the two that may have such parts, up to the first that is not known well enough.
 */
static GArray *scan_messages(Mailbox *mailbox, guint32 after, guint32 until)
{
    StoreReader *reader = store_reader(mailbox->engine->store);
    Scan scan = {.uids = g_array_new(FALSE, FALSE, sizeof(guint32)), .until = until};
    store_msg_each(reader, mailbox->box, after, scan_one, &scan);
    return scan.uids;
}

static bool is_to_ask(MailboxSizes *sizes, guint32 uid)
{
    return !uidset_contains(sizes->in_flight, uid) && !uidset_contains(sizes->asked, uid);
}

/* Whether this message is the next to ask for after the last one. */
static bool is_next(Mailbox *mailbox, guint32 uid)
{
    MailboxSizes *sizes = sizes_of(mailbox);
    if (sizes->last == 0 || uid <= sizes->last)
        return false;
    g_autoptr(GArray) uids = scan_messages(mailbox, sizes->last, uid);
    for (guint i = 0; i < uids->len; i++) {
        guint32 each = g_array_index(uids, guint32, i);
        SizeFetch *fetch = is_to_ask(sizes, each) ? fetch_new(mailbox, each) : NULL;
        if (!fetch)
            continue;
        fetch_free(fetch);
        return false; /* the message itself is in flight already */
    }
    return uids->len > 0 && g_array_index(uids, guint32, uids->len - 1) == uid;
}

static void on_next_session(Mailbox *mailbox, Session *session, const GError *error, gpointer data)
{
    if (session)
        start(data);
    else
        fetch_free(data);
}

static void ask_ahead(Mailbox *mailbox, guint32 uid)
{
    MailboxSizes *sizes = sizes_of(mailbox);
    sizes->window = is_next(mailbox, uid) ? MIN(sizes->window * 2, WINDOW_MAX) : 1;
    sizes->last = uid;
    if (sizes->window == 1)
        return;
    g_autoptr(GArray) uids = scan_messages(mailbox, uid, G_MAXUINT32);
    for (guint i = 0, n = 1; i < uids->len && n < sizes->window; i++) {
        sizes->last = g_array_index(uids, guint32, i);
        SizeFetch *fetch = is_to_ask(sizes, sizes->last) ? fetch_new(mailbox, sizes->last) : NULL;
        if (!fetch)
            continue;
        mailbox_acquire(mailbox, LANE_FOREGROUND, on_next_session, fetch);
        n++;
    }
}

/* --- the start --- */

static void on_session(Mailbox *mailbox, Session *session, const GError *error, gpointer data)
{
    Job *job = data;
    SizeFetch *fetch = NULL;
    if (!session) {
        job_finish(job, error);
    } else if (job->finished || uidset_contains(sizes_of(mailbox)->in_flight, job->need.uid)) {
        mailbox_release(mailbox, mailbox->generation); /* what is in flight answers this job */
    } else if (!(fetch = fetch_new(mailbox, job->need.uid))) {
        mailbox_release(mailbox, mailbox->generation);
        job_finish(job, NULL);
    } else {
        guint32 uid = fetch->uid;
        start(fetch);
        ask_ahead(mailbox, uid);
    }
    job_unref(job);
}

void sizes_job_start(Job *job)
{
    g_autoptr(GError) error = NULL;
    Mailbox *mailbox = mailbox_get(job->engine, job->need.box, &error);
    SizeFetch *fetch = NULL;
    if (!mailbox) {
        job_finish(job, error);
    } else if (uidset_contains(sizes_of(mailbox)->asked, job->need.uid) ||
               !(fetch = fetch_new(mailbox, job->need.uid))) {
        job_finish(job, NULL); /* no session is taken for that */
    } else {
        fetch_free(fetch);
        mailbox_acquire(mailbox, LANE_FOREGROUND, on_session, job_ref(job));
    }
}
