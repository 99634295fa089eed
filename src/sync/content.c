/* content.c - brings the bytes of a section into the store, decoded as they are kept.
 *
 * A section of known small size comes in one piece; anything else in partial fetches, a few in
 * flight, so that memory stays bounded and no answer is longer than a stalled link may take.
 * Answers are taken in order; what comes otherwise (Dovecot answers the newest command first when
 * its output was blocked) is dropped and asked for again, one piece at a time. What is wrong with
 * one is an error on this content alone. */
#include "ranged.h"

#include <string.h>

#include "imapfs/base/clock.h"
#include "imapfs/base/error.h"
#include "imapfs/base/limits.h"
#include "imapfs/base/log.h"

#define CHUNK (256u * 1024)
#define IN_FLIGHT 4

/* Shared by the commands that are in flight for one content. */
typedef struct {
    Job *job;         /* a reference */
    Mailbox *mailbox; /* a reference */
    guint generation;
    guint32 uidvalidity;
    guint refs;

    char *section; /* IMAP section as asked for */
    bool partial;
    guint64 asked; /* offset of the next piece to ask for */
    guint64 got;   /* offset of the next byte to come */
    guint64 due;   /* what should have come by now: the pieces whose commands are over */
    guint64 shown; /* so far there are bytes of the section, by any piece that came */
    bool rewound;  /* pieces came out of order: one at a time from now on */
    bool named;    /* any FETCH of this message came */
    bool answered; /* and one with what was asked for */
    bool ended;    /* the section's end was seen, or it failed */
    Sink *sink;
    GError *error;
} Fetch;

static void fetch_unref(Fetch *fetch)
{
    if (--fetch->refs > 0)
        return;
    sink_free(fetch->sink);
    g_clear_error(&fetch->error);
    g_free(fetch->section);
    mailbox_release(fetch->mailbox, fetch->generation);
    mailbox_unref(fetch->mailbox);
    job_unref(fetch->job);
    g_free(fetch);
}

char *need_wire_section(const Need *need)
{
    const char *section = need->section ? need->section : "";
    if (need->content != CONTENT_HEADERS)
        return g_strdup(section);
    return *section ? g_strconcat(section, ".HEADER", NULL) : g_strdup("HEADER");
}

static void fetch_fail(Fetch *fetch, GError *error /* takes */)
{
    if (!fetch->error)
        fetch->error = error;
    else
        g_error_free(error);
    fetch->ended = true;
}

static G_GNUC_PRINTF(3, 4) void fetch_fail_with(Fetch *fetch, ImapfsError code, const char *format,
                                                ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    fetch_fail(fetch, g_error_new(IMAPFS_ERROR, (gint)code, "message %u, section %s: %s",
                                  fetch->job->need.uid, fetch->section, text));
}

/* --- what comes in --- */

static void take_bytes(Fetch *fetch, const void *bytes, gsize length)
{
    GError *error = NULL;
    fetch->got += length;
    if (sink_take(fetch->sink, bytes, length, &error))
        return;
    g_prefix_error(&error, "message %u, section %s: ", fetch->job->need.uid, fetch->section);
    fetch_fail(fetch, error);
}

/* An empty answer for a section that is not empty is how some servers say "expunged" (RFC 2180
 * 4.1.3); it must never be taken for the content. */
static bool is_suspicious(const Fetch *fetch)
{
    return fetch->got == 0 && fetch->job->need.encoded_size > 0;
}

static void take_body(Fetch *fetch, const FetchBody *body)
{
    gsize length = 0;
    const void *bytes = body->bytes ? g_bytes_get_data(body->bytes, &length) : NULL;
    fetch->answered = true;
    if (!body->bytes) {
        fetch_fail_with(fetch, IMAPFS_ERROR_DATA, "the server gave NIL");
        return;
    }
    if (length == 0 && is_suspicious(fetch)) {
        fetch_fail_with(fetch, IMAPFS_ERROR_DATA,
                        "the server gave nothing for %" G_GINT64_FORMAT " bytes",
                        fetch->job->need.encoded_size);
        mailbox_mark(fetch->mailbox, DIRTY_VERIFY);
        return;
    }
    if (fetch->got + length > LIMIT_LITERAL) {
        fetch_fail_with(fetch, IMAPFS_ERROR_TOO_BIG, "more than %llu bytes", LIMIT_LITERAL);
        return;
    }
    take_bytes(fetch, bytes, length);
    if (!fetch->partial || length < CHUNK)
        fetch->ended = true;
}

static bool is_of_section(const Fetch *fetch, const FetchBody *body)
{
    return !body->binary && g_ascii_strcasecmp(body->section, fetch->section) == 0;
}

/* The body in an answer that is the piece this fetch waits for; NULL if none is. */
static const FetchBody *find_body(const Fetch *fetch, const FetchData *got)
{
    for (guint i = 0; got->bodies && i < got->bodies->len; i++) {
        const FetchBody *body = g_ptr_array_index(got->bodies, i);
        if (!is_of_section(fetch, body))
            continue;
        if (fetch->partial ? body->has_origin && body->origin == fetch->got : !body->has_origin)
            return body;
    }
    return NULL;
}

/* A later piece than the one that this fetch waits for. */
static bool is_early(const Fetch *fetch, const FetchData *got)
{
    for (guint i = 0; fetch->partial && got->bodies && i < got->bodies->len; i++) {
        const FetchBody *body = g_ptr_array_index(got->bodies, i);
        if (is_of_section(fetch, body) && body->has_origin && body->origin > fetch->got)
            return true;
    }
    return false;
}

/* A piece past the end, asked for before the end was known. Another section of the message is
 * somebody else's, who asked for it meanwhile. */
static bool is_leftover(const Fetch *fetch, const FetchData *got)
{
    for (guint i = 0; fetch->ended && fetch->partial && got->bodies && i < got->bodies->len; i++) {
        if (is_of_section(fetch, g_ptr_array_index(got->bodies, i)))
            return true;
    }
    return false;
}

static void note_pieces(Fetch *fetch, const FetchData *got)
{
    for (guint i = 0; got->bodies && i < got->bodies->len; i++) {
        const FetchBody *body = g_ptr_array_index(got->bodies, i);
        if (is_of_section(fetch, body) && body->has_origin && body->bytes &&
            g_bytes_get_size(body->bytes) > 0)
            fetch->shown = MAX(fetch->shown, body->origin + g_bytes_get_size(body->bytes));
    }
}

static bool on_body(Command *command, Response *response, gpointer data)
{
    Fetch *fetch = data;
    const FetchData *got = response->fetch;
    if (!got || !(got->present & FETCH_UID) || got->uid != fetch->job->need.uid)
        return false;
    note_pieces(fetch, got);
    if (is_leftover(fetch, got))
        return true;
    job_progress(fetch->job);
    fetch->named = true;
    const FetchBody *body = find_body(fetch, got);
    if (body && !fetch->ended) {
        take_body(fetch, body);
        return true;
    }
    if (is_early(fetch, got)) {
        fetch->answered = true;
        return true;
    }
    if (got->broken && !fetch->ended) {
        fetch->answered = true;
        fetch_fail_with(fetch, IMAPFS_ERROR_DATA, "the server's answer cannot be understood: %s",
                        got->problem ? got->problem : "?");
        return true;
    }
    return false;
}

/* Part of a literal came. A waiter that waits without progress gives up, and a piece may take
 * longer than that on a slow link. */
static void on_progress(gpointer data)
{
    Fetch *fetch = data;
    job_progress(fetch->job);
}

/* --- the end --- */

static void fetch_end(Fetch *fetch)
{
    Job *job = fetch->job;
    if (job->finished)
        return;
    if (!fetch->ended) /* the session went away between two pieces */
        fetch_fail_with(fetch, IMAPFS_ERROR_LOST, "the connection was lost");
    if (!fetch->error && fetch->got < fetch->shown) /* a piece was short, and not the last one */
        fetch_fail_with(fetch, IMAPFS_ERROR_DATA, "the server gave less than there is");
    if (!fetch->error && fetch->mailbox->uidvalidity != fetch->uidvalidity)
        fetch_fail_with(fetch, IMAPFS_ERROR_GONE, "the mailbox was replaced on the server");
    if (!fetch->error && !sink_finish(fetch->sink, &fetch->error))
        g_prefix_error(&fetch->error, "message %u: ", job->need.uid);
    if (!fetch->error) {
        job_finish(job, NULL);
    } else if (g_error_matches(fetch->error, IMAPFS_ERROR, IMAPFS_ERROR_LOST)) {
        job_retry(job, content_job_start, fetch->error);
    } else {
        log_info("sync", "%s: %s", fetch->mailbox->name, fetch->error->message);
        job_finish(job, fetch->error);
    }
}

/* A piece that did not come, or not in its turn. */
static bool has_gap(const Fetch *fetch)
{
    return fetch->partial && fetch->got < fetch->due;
}

static void rewind_to_gap(Fetch *fetch)
{
    if (fetch->rewound) {
        fetch_fail_with(fetch, IMAPFS_ERROR_DATA,
                        "the server does not give what is at %" G_GUINT64_FORMAT, fetch->got);
        return;
    }
    fetch->rewound = true;
    fetch->asked = fetch->due = fetch->got;
}

static void fetch_more(Fetch *fetch);

static void on_done(Command *command, CommandResult result, const Response *tagged, gpointer data)
{
    Fetch *fetch = data;
    if (result != COMMAND_OK && !fetch->ended)
        fetch_fail(fetch, mailbox_command_error(fetch->mailbox, result, tagged, "fetch"));
    else if (result == COMMAND_OK && !fetch->answered && !fetch->ended) {
        if (fetch->named)
            fetch_fail_with(fetch, IMAPFS_ERROR_DATA, "the server left out what was asked for");
        else
            fetch_fail_with(fetch, IMAPFS_ERROR_GONE, "the message is no longer on the server");
        mailbox_mark(fetch->mailbox, DIRTY_VERIFY);
    }
    fetch->due += CHUNK;
    if (!fetch->ended && has_gap(fetch) && fetch->refs == 1)
        rewind_to_gap(fetch);
    if (!fetch->ended && job_is_wanted(fetch->job) && !has_gap(fetch))
        fetch_more(fetch);
    else if (!fetch->ended && fetch->refs == 1)
        fetch_fail_with(fetch, IMAPFS_ERROR_CANCELLED, "nobody waits for it any more");
    if (fetch->refs == 1) /* this is the last command */
        fetch_end(fetch);
    fetch_unref(fetch);
}

static void fetch_send(Fetch *fetch)
{
    const Need *need = &fetch->job->need;
    Command *command = command_new(LANE_FOREGROUND, on_done, fetch);
    fetch->refs++;
    command_text_add(command->text, "UID FETCH %u (UID BODY.PEEK[%s]", need->uid, fetch->section);
    if (fetch->partial)
        command_text_add(command->text, "<%" G_GUINT64_FORMAT ".%u>", fetch->asked, CHUNK);
    command_text_add(command->text, ")");
    fetch->asked += CHUNK;
    command->wants = 1ull << RESP_FETCH;
    command->expected = 1;
    command->on_untagged = on_body;
    command->on_progress = on_progress;
    session_submit(fetch->mailbox->session, command);
}

/* Keeps a few pieces in flight; past the size that was told, one at a time, as it may be wrong. */
static void fetch_more(Fetch *fetch)
{
    if (fetch->generation != fetch->mailbox->generation)
        return; /* lost: the answers that are still owed say so */
    gint64 size = fetch->job->need.encoded_size;
    do {
        fetch_send(fetch);
    } while (fetch->partial && !fetch->rewound && fetch->refs <= IN_FLIGHT && size > 0 &&
             fetch->asked < (guint64)size);
}

/* --- the start --- */

static bool fetch_prepare(Fetch *fetch, GError **error)
{
    const Need *need = &fetch->job->need;
    fetch->section = need_wire_section(need);
    fetch->partial = need->content != CONTENT_HEADERS &&
                     (need->encoded_size < 0 || need->encoded_size > (gint64)CHUNK);
    fetch->sink = sink_new(fetch->job->engine->store, need, error);
    return fetch->sink != NULL;
}

static void on_session(Mailbox *mailbox, Session *session, const GError *error, gpointer data)
{
    Job *job = data;
    if (!mailbox_serves(mailbox, session, error, job))
        return;
    Fetch *fetch = g_new0(Fetch, 1);
    fetch->refs = 1;
    fetch->job = job; /* takes the reference */
    fetch->mailbox = mailbox_ref(mailbox);
    fetch->generation = mailbox->generation;
    fetch->uidvalidity = mailbox->uidvalidity;
    g_autoptr(GError) failed = NULL;
    if (fetch_prepare(fetch, &failed))
        fetch_more(fetch);
    else
        job_finish(job, failed);
    fetch_unref(fetch);
}

/* Came while the need was on its way here. */
static bool is_there(const Job *job)
{
    ContentKey key = need_content_key(&job->need);
    return content_exists(store_reader(job->engine->store), &key);
}

void content_job_fetch(Job *job)
{
    if (local_has_parts(job)) {
        local_content_start(job);
        return;
    }
    g_autoptr(GError) error = NULL;
    Mailbox *mailbox = mailbox_get(job->engine, job->need.box, &error);
    if (!mailbox) {
        job_finish(job, error);
        return;
    }
    job_ref(job);
    mailbox_ref(mailbox);
    if (!ahead_brings(mailbox, &job->need))
        mailbox_acquire(mailbox, LANE_FOREGROUND, on_session, job_ref(job));
    if (!job->finished) /* there is a connection; and after it, as nobody waits for the others */
        ahead_note(mailbox, &job->need);
    mailbox_unref(mailbox);
    job_unref(job);
}

void content_job_start(Job *job)
{
    if (is_there(job))
        job_finish(job, NULL);
    else if (local_has_letter(job))
        local_letter_start(job);
    else if (twin_content_start(job))
        return;
    else if (local_has_parts(job) || !ranged_open_start(job))
        content_job_fetch(job);
}
