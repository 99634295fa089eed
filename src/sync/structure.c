/* structure.c - BODYSTRUCTURE of messages, with the next ones when they are asked for in order.
 *
 * A structure that is broken, over a limit or seems to hide something of its message (see
 * mime_structure_doubt) is not kept: when somebody waits for it, the message is parsed here.
 *
 * A walk over a mailbox asks for one message after the other. The window doubles as long as the
 * next need is the next message, and falls back to one otherwise, so that one `cat` never pays for
 * neighbours it does not want. */
#include "sync.h"

#include "imapfs/base/error.h"
#include "imapfs/base/limits.h"
#include "imapfs/base/log.h"
#include "imapfs/mime/structure.h"
#include "imapfs/sync/structure_text.h"

#define WINDOW_MAX 256
#define LINE_ROOM 60 /* octets of the command besides the UIDs */

typedef struct {
    Mailbox *mailbox; /* a reference */
    guint generation;
    guint32 box;
    UidSet *asked, *left; /* left: not answered yet */
    GPtrArray *texts;     /* of Text *: answered, not written yet */
    UidSet *doubtful;     /* answered, but of no use: parsed here when they are wanted */
} StructureFetch;

typedef struct {
    guint32 uid;
    char *text;
} Text;

static void text_free(gpointer data)
{
    g_free(((Text *)data)->text);
    g_free(data);
}

static Job *job_of(StructureFetch *fetch, guint32 uid)
{
    return job_find(fetch->mailbox->engine, NEED_STRUCTURE, fetch->box, uid, 0, NULL);
}

static bool write_texts(StructureFetch *fetch, GError **error)
{
    StoreTxn *txn = store_begin(fetch->mailbox->engine->store, false, error);
    if (!txn)
        return false;
    for (guint i = 0; i < fetch->texts->len; i++) {
        const Text *text = g_ptr_array_index(fetch->texts, i);
        if (!store_structure_put(txn, fetch->box, text->uid, text->text, error)) {
            store_rollback(txn);
            return false;
        }
    }
    return store_commit(txn, error);
}

static void flush(StructureFetch *fetch)
{
    g_autoptr(GError) error = NULL;
    if (fetch->texts->len == 0)
        return;
    write_texts(fetch, &error);
    for (guint i = 0; i < fetch->texts->len; i++) {
        Job *job = job_of(fetch, ((Text *)g_ptr_array_index(fetch->texts, i))->uid);
        if (job)
            job_finish(job, error);
    }
    g_ptr_array_set_size(fetch->texts, 0);
}

static void doubt_one(StructureFetch *fetch, guint32 uid, const char *doubt)
{
    Job *job = job_of(fetch, uid);
    if (job && !job->awaits)
        local_structure_start(job, doubt);
    else
        uidset_add(fetch->doubtful, uid);
}

static bool on_structure(Command *command, Response *response, gpointer data)
{
    StructureFetch *fetch = data;
    const FetchData *got = response->fetch;
    if (!got || !(got->present & FETCH_UID) || !uidset_contains(fetch->left, got->uid))
        return false;
    /* UID alone is what is left when the structure was NIL. */
    if (!got->body && !got->broken && got->present != FETCH_UID)
        return false;
    uidset_remove(fetch->left, got->uid);
    const char *doubt = got->problem ? got->problem : "the server's structure makes no sense";
    if (got->body)
        doubt = mime_structure_doubt(got->body);
    if (doubt) {
        doubt_one(fetch, got->uid, doubt);
        return true;
    }
    Text *text = g_new(Text, 1);
    *text = (Text){got->uid, structure_text_new(got->body, false)};
    g_ptr_array_add(fetch->texts, text);
    Job *waited = job_of(fetch, got->uid);
    if (waited) {
        job_progress(waited);
        flush(fetch);
    }
    return true;
}

/* Who still waits for one of these: gone when the server said OK, or tried again when it was lost.
 */
static void settle_rest(StructureFetch *fetch, CommandResult result, const Response *tagged)
{
    g_autoptr(GError) error = NULL;
    if (result == COMMAND_OK)
        error =
            g_error_new(IMAPFS_ERROR, IMAPFS_ERROR_GONE, "the message is no longer on the server");
    else
        error = mailbox_command_error(fetch->mailbox, result, tagged, "structure");
    UidIter iter;
    guint32 uid;
    uid_iter_init(&iter, fetch->left);
    while (uid_iter_next(&iter, &uid)) {
        Job *job = job_of(fetch, uid);
        if (job && g_error_matches(error, IMAPFS_ERROR, IMAPFS_ERROR_LOST))
            job_retry(job, structure_job_start, error);
        else if (job)
            job_finish(job, error);
    }
    if (result == COMMAND_OK && !uidset_is_empty(fetch->left))
        mailbox_mark(fetch->mailbox, DIRTY_VERIFY);
}

/* Those that somebody began to wait for while the command ran. */
static void settle_doubtful(StructureFetch *fetch)
{
    UidIter iter;
    guint32 uid;
    uid_iter_init(&iter, fetch->doubtful);
    while (uid_iter_next(&iter, &uid)) {
        Job *job = job_of(fetch, uid);
        if (job && !job->awaits)
            local_structure_start(job, "the server's structure is doubtful");
    }
}

static void on_done(Command *command, CommandResult result, const Response *tagged, gpointer data)
{
    StructureFetch *fetch = data;
    Mailbox *mailbox = fetch->mailbox;
    flush(fetch);
    if (mailbox->box == fetch->box)
        uidset_remove_set(mailbox->structure_asked, fetch->asked);
    settle_rest(fetch, result, tagged);
    settle_doubtful(fetch);
    mailbox_release(mailbox, fetch->generation);
    uidset_free(fetch->asked);
    uidset_free(fetch->left);
    uidset_free(fetch->doubtful);
    g_ptr_array_unref(fetch->texts);
    g_free(fetch);
    mailbox_unref(mailbox);
}

/* The first of them that a command has room for. Takes the UIDs. */
static UidSet *fitting(Session *session, UidSet *uids)
{
    UidSet *some = uidset_take(uids, WINDOW_MAX, session_line_limit(session) - LINE_ROOM);
    uidset_free(uids);
    return some;
}

/* The message, and as many of those after it as the window has room for. */
static UidSet *choose(Mailbox *mailbox, Session *session, guint32 uid)
{
    StoreReader *reader = store_reader(mailbox->engine->store);
    g_autoptr(UidSet) next =
        store_msg_without_structure(reader, mailbox->box, mailbox->structure_last, uid, 1);
    if (mailbox->structure_last && uidset_contains(next, uid))
        mailbox->structure_window = MIN(mailbox->structure_window * 2, WINDOW_MAX);
    else
        mailbox->structure_window = 1;
    UidSet *chosen = uidset_new();
    uidset_add(chosen, uid);
    if (mailbox->structure_window > 1) {
        g_autoptr(UidSet) more = store_msg_without_structure(reader, mailbox->box, uid, G_MAXUINT32,
                                                             mailbox->structure_window - 1);
        uidset_remove_set(more, mailbox->structure_asked);
        twin_structures(mailbox->engine, mailbox->box, more);
        uidset_add_set(chosen, more);
    }
    chosen = fitting(session, chosen);
    guint n;
    const UidRange *ranges = uidset_ranges(chosen, &n);
    mailbox->structure_last = ranges[n - 1].hi;
    return chosen;
}

/* Takes the UIDs. */
static void ask(Mailbox *mailbox, Session *session, UidSet *uids, bool brief)
{
    StructureFetch *fetch = g_new0(StructureFetch, 1);
    fetch->mailbox = mailbox_ref(mailbox);
    fetch->generation = mailbox->generation;
    fetch->box = mailbox->box;
    fetch->asked = uids;
    fetch->left = uidset_copy(fetch->asked);
    fetch->doubtful = uidset_new();
    fetch->texts = g_ptr_array_new_with_free_func(text_free);
    uidset_add_set(mailbox->structure_asked, fetch->asked);
    Command *command = command_new(LANE_FOREGROUND, on_done, fetch);
    command_text_add(command->text, "UID FETCH ");
    command_text_add_uids(command->text, fetch->asked);
    command_text_add(command->text, " (UID BODYSTRUCTURE)");
    command->wants = 1ull << RESP_FETCH;
    command->expected = (guint)uidset_count(fetch->asked);
    command->brief = brief;
    command->on_untagged = on_structure;
    session_submit(session, command);
}

static void on_session(Mailbox *mailbox, Session *session, const GError *error, gpointer data)
{
    Job *job = data;
    if (!session)
        job_finish(job, error);
    else if (job->finished || uidset_contains(mailbox->structure_asked, job->need.uid))
        mailbox_release(mailbox, mailbox->generation); /* it is in flight: that answers this job */
    else
        ask(mailbox, session, choose(mailbox, session, job->need.uid), false);
    job_unref(job);
}

/* Came while the need was on its way here: what brought it may be in flight yet, but will not tell
 * of it again. */
static bool is_there(const Job *job)
{
    const Need *need = &job->need;
    StoreReader *reader = store_reader(job->engine->store);
    g_autofree char *text = store_structure_get(reader, need->box, need->uid);
    return text != NULL;
}

/* That of a message that is the same, as after a copy. */
static bool has_twin(const Job *job)
{
    g_autoptr(UidSet) uids = uidset_new();
    uidset_add(uids, job->need.uid);
    twin_structures(job->engine, job->need.box, uids);
    return uidset_is_empty(uids);
}

void structure_job_start(Job *job)
{
    g_autoptr(GError) error = NULL;
    if (is_there(job)) {
        job_finish(job, NULL);
        return;
    }
    job_ref(job);
    Mailbox *mailbox = has_twin(job) ? NULL : mailbox_get(job->engine, job->need.box, &error);
    if (mailbox)
        mailbox_acquire(mailbox, LANE_FOREGROUND, on_session, job_ref(job));
    else if (error)
        job_finish(job, error);
    job_unref(job);
}

/* --- before it is asked for --- */

typedef struct {
    guint32 uid;
    guint most;
} StructuresAhead;

/* In the foreground: it is short, and somebody may come to wait for it before it is sent. */
static void on_ahead(Mailbox *mailbox, Session *session, const GError *error, gpointer data)
{
    g_autofree StructuresAhead *ahead = data;
    if (!session)
        return;
    UidSet *uids = store_msg_without_structure(store_reader(mailbox->engine->store), mailbox->box,
                                               ahead->uid - 1, G_MAXUINT32, ahead->most);
    uidset_remove_set(uids, mailbox->structure_asked);
    if (uidset_is_empty(uids)) {
        uidset_free(uids);
        mailbox_release(mailbox, mailbox->generation);
        return;
    }
    ask(mailbox, session, fitting(session, uids), true);
}

void structure_ahead(Mailbox *mailbox, guint32 uid, guint most)
{
    StructuresAhead ahead = {uid, MIN(most, WINDOW_MAX)};
    if (uidset_contains(mailbox->structure_asked, uid))
        return;
    g_autoptr(UidSet) uids = store_msg_without_structure(
        store_reader(mailbox->engine->store), mailbox->box, uid - 1, G_MAXUINT32, ahead.most);
    uidset_remove_set(uids, mailbox->structure_asked);
    twin_structures(mailbox->engine, mailbox->box, uids);
    if (!uidset_is_empty(uids))
        mailbox_acquire(mailbox, LANE_BACKGROUND, on_ahead, g_memdup2(&ahead, sizeof(ahead)));
}
