/* mailbox.c - the live side of a mailbox: on which session it is, and what the server says of it.
 *
 * News is collected as it comes (vanished UIDs, flags) and written in one transaction when the
 * input is read out. What news leaves open (a new message, an EXPUNGE by number, flags without a
 * UID) becomes a dirty bit, which resync.c turns into commands. Message numbers are never mapped to
 * UIDs: a hole in such a map is how other clients delete the wrong mail. */
#include "sync.h"

#include <string.h>

#include "imapfs/base/clock.h"
#include "imapfs/base/error.h"
#include "imapfs/base/log.h"

/* For how long rows count as the server's when no session watches the mailbox. */
#define UNWATCHED_FRESH_US (2 * G_USEC_PER_SEC)

/* Up to so many vanished UIDs are looked up one by one rather than by reading all rows. */
#define FEW_VANISHED 1000
/* So much news is written without waiting for the input to be read out. */
#define NEWS_MAX 2000
/* Up to so many are named in events; more are a number. */
#define FEW_TOLD 10

typedef struct {
    MailboxReady ready;
    gpointer data;
} Acquire;

/* --- the table --- */

static void flag_news_clear(gpointer data)
{
    g_free(((FlagNews *)data)->flags);
}

Mailbox *mailbox_find(Engine *engine, const char *name)
{
    return g_hash_table_lookup(engine->mailboxes, name);
}

Mailbox *mailbox_ref(Mailbox *mailbox)
{
    mailbox->refs++;
    return mailbox;
}

void mailbox_unref(Mailbox *mailbox)
{
    if (--mailbox->refs > 0)
        return;
    engine_timer_clear(&mailbox->flush);
    engine_timer_clear(&mailbox->later);
    uidset_free(mailbox->vanished);
    g_array_unref(mailbox->expunged);
    g_array_unref(mailbox->flag_news);
    uidset_free(mailbox->structure_asked);
    sizes_clear(&mailbox->sizes);
    ahead_free(mailbox->ahead);
    g_clear_error(&mailbox->select_error);
    g_free(mailbox->name);
    g_free(mailbox);
}

static Mailbox *mailbox_new(Engine *engine, const StoreBox *box)
{
    Mailbox *mailbox = g_new0(Mailbox, 1);
    mailbox->engine = engine;
    mailbox->refs = 1;
    mailbox->name = g_strdup(box->wire_name);
    mailbox->box = box->id;
    mailbox->uidvalidity = box->uidvalidity;
    mailbox->uidnext = box->uidnext;
    mailbox->highestmodseq = box->highestmodseq;
    mailbox->vanished = uidset_new();
    mailbox->expunged = g_array_new(FALSE, FALSE, sizeof(guint32));
    mailbox->flag_news = g_array_new(FALSE, FALSE, sizeof(FlagNews));
    g_array_set_clear_func(mailbox->flag_news, flag_news_clear);
    mailbox->structure_asked = uidset_new();
    mailbox->structure_window = 1;
    mailbox->replay.maybe_unbound = true;
    g_queue_init(&mailbox->waiting);
    mailbox->frozen = box_ops_hold(engine, mailbox->name);
    g_hash_table_insert(engine->mailboxes, mailbox->name, mailbox);
    return mailbox;
}

Mailbox *mailbox_get(Engine *engine, guint32 id, GError **error)
{
    StoreBox box = {0};
    if (!store_box_by_id(store_reader(engine->store), id, &box)) {
        g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_GONE, "the mailbox is no longer there");
        return NULL;
    }
    if (!box.wire_name) {
        g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_BUSY,
                    "the mailbox is still to be made on the server");
        store_box_clear(&box);
        return NULL;
    }
    Mailbox *mailbox = mailbox_find(engine, box.wire_name);
    if (!mailbox)
        mailbox = mailbox_new(engine, &box);
    mailbox->box = box.id;
    store_box_clear(&box);
    return mailbox;
}

static void fail_waiting(Mailbox *mailbox, const GError *error)
{
    Acquire *acquire;
    while ((acquire = g_queue_pop_head(&mailbox->waiting))) {
        acquire->ready(mailbox, NULL, error, acquire->data);
        g_free(acquire);
    }
}

static void lease_end(Mailbox *mailbox)
{
    PoolLease *lease = g_steal_pointer(&mailbox->lease);
    mailbox->session = NULL;
    mailbox->users = mailbox->patient = 0;
    mailbox->generation++;
    if (lease)
        pool_release(lease);
}

void mailbox_drop(Mailbox *mailbox)
{
    g_autoptr(GError) error =
        g_error_new(IMAPFS_ERROR, IMAPFS_ERROR_GONE, "the mailbox is no longer on the server");
    mailbox_ref(mailbox);
    g_hash_table_remove(mailbox->engine->mailboxes, mailbox->name);
    mailbox->gone = true;
    replay_on_dropped(mailbox);
    fail_waiting(mailbox, error);
    jobs_fail_box(mailbox->engine, mailbox->box, error);
    if (mailbox->engine->pool) /* of another of that name its session would know nothing */
        pool_forget(mailbox->engine->pool, mailbox->name);
    lease_end(mailbox);
    engine_timer_clear(&mailbox->flush);
    engine_timer_clear(&mailbox->later);
    mailbox_unref(mailbox); /* the table's */
    mailbox_unref(mailbox);
}

void mailbox_free_all(Engine *engine)
{
    g_autoptr(GList) all = g_hash_table_get_values(engine->mailboxes);
    for (GList *at = all; at; at = at->next)
        mailbox_drop(at->data);
}

/* --- the session --- */

static void ask_lease(Mailbox *mailbox);

/* A lease that is waited for: under which name. */
typedef struct {
    Mailbox *mailbox; /* a reference */
    char *name;
} Asked;

/* It has another name by now, or is about to: that session is to have nothing selected under it. */
static bool is_outdated(const Asked *asked)
{
    return asked->mailbox->frozen || strcmp(asked->name, asked->mailbox->name) != 0;
}

/* It is held for all of them: the first may give it back at once. It may also be taken from them,
 * and then the others go on waiting. */
static void serve_waiting(Mailbox *mailbox)
{
    guint generation = mailbox->generation;
    Acquire *acquire;
    mailbox->users++;
    while (generation == mailbox->generation && (acquire = g_queue_pop_head(&mailbox->waiting))) {
        mailbox->users++;
        acquire->ready(mailbox, mailbox->session, NULL, acquire->data);
        g_free(acquire);
    }
    if (!g_queue_is_empty(&mailbox->waiting) && !mailbox->session)
        ask_lease(mailbox);
    mailbox_release(mailbox, generation);
}

static void on_lease(PoolLease *lease, Session *session, const GError *error, gpointer data)
{
    Asked *asked = data;
    Mailbox *mailbox = asked->mailbox;
    mailbox->leasing = false;
    mailbox->asked = NULL;
    if (session && !mailbox->gone && is_outdated(asked)) {
        pool_release(lease);
        pool_forget(mailbox->engine->pool, asked->name);
        ask_lease(mailbox);
    } else {
        mailbox->lease = lease;
        mailbox->session = session;
        if (session) {
            serve_waiting(mailbox);
        } else {
            lease_end(mailbox);
            fail_waiting(mailbox, error);
        }
    }
    mailbox_unref(mailbox);
    g_free(asked->name);
    g_free(asked);
}

static void ask_lease(Mailbox *mailbox)
{
    if (mailbox->frozen || mailbox->leasing)
        return; /* asked for when it is not any more */
    Asked *asked = g_new(Asked, 1);
    *asked = (Asked){mailbox_ref(mailbox), g_strdup(mailbox->name)};
    guint n = ++mailbox->n_asked;
    mailbox->leasing = true;
    mailbox_ref(mailbox);
    PoolLease *lease = pool_lease(mailbox->engine->pool, asked->name, mailbox->lane, on_lease,
                                  asked); /* may free asked */
    if (mailbox->leasing && n == mailbox->n_asked)
        mailbox->asked = lease;
    mailbox_unref(mailbox);
}

void mailbox_acquire(Mailbox *mailbox, CommandLane lane, MailboxReady ready, gpointer data)
{
    if (mailbox->gone) {
        g_autoptr(GError) error =
            g_error_new(IMAPFS_ERROR, IMAPFS_ERROR_GONE, "the mailbox is no longer on the server");
        ready(mailbox, NULL, error, data);
        return;
    }
    if (lane == LANE_FOREGROUND) /* somebody wants it, and not only polling */
        mailbox->used_us = clock_mono_us();
    if (mailbox->session) {
        mailbox->users++;
        ready(mailbox, mailbox->session, NULL, data);
        return;
    }
    Acquire *acquire = g_new(Acquire, 1);
    *acquire = (Acquire){ready, data};
    bool first = g_queue_is_empty(&mailbox->waiting);
    g_queue_push_tail(&mailbox->waiting, acquire);
    mailbox->lane = first ? lane : MIN(lane, mailbox->lane);
    if (first)
        ask_lease(mailbox);
    else if (lane == LANE_FOREGROUND && mailbox->asked)
        pool_hurry(mailbox->asked);
}

void mailbox_release(Mailbox *mailbox, guint generation)
{
    if (generation != mailbox->generation || mailbox->users == 0)
        return; /* that session is gone, and everybody's use of it */
    if (--mailbox->users == 0)
        lease_end(mailbox);
}

bool mailbox_serves(Mailbox *mailbox, Session *session, const GError *error, Job *job)
{
    if (session && !job->finished)
        return true;
    if (session)
        mailbox_release(mailbox, mailbox->generation);
    else
        job_finish(job, error);
    job_unref(job);
    return false;
}

GError *mailbox_command_error(const Mailbox *mailbox, CommandResult result, const Response *tagged,
                              const char *what)
{
    return result == COMMAND_LOST && mailbox->select_error
               ? g_error_copy(mailbox->select_error)
               : error_from_result(result, tagged, what);
}

bool mailbox_is_behind(const Mailbox *mailbox)
{
    return mailbox->placed_uid && mailbox->placed_uid >= mailbox->view_uidnext;
}

void mailbox_ask_for_news(Session *session, CommandDone done, gpointer data)
{
    Command *command = command_new(LANE_FOREGROUND, done, data);
    command_text_add(command->text, "NOOP");
    session_submit(session, command);
}

bool mailbox_is_watched(const Mailbox *mailbox)
{
    return mailbox->selected;
}

/* --- pool events --- */

void mailbox_select_params(Engine *engine, const char *name, SelectParams *params)
{
    StoreBox box = {0};
    params->examine = true; /* what is only read cannot be changed by us, and stays \\Recent */
    if (!store_box_by_wire_name(store_reader(engine->store), name, &box))
        return;
    params->examine = !replay_wants_select(engine, box.id);
    if (box.uidvalidity && box.highestmodseq &&
        store_msg_count(store_reader(engine->store), box.id)) {
        params->uidvalidity = box.uidvalidity;
        params->modseq = box.highestmodseq;
    }
    store_box_clear(&box);
}

static void forget_news(Mailbox *mailbox)
{
    engine_timer_clear(&mailbox->flush);
    g_array_set_size(mailbox->flag_news, 0);
    g_clear_pointer(&mailbox->vanished, uidset_free);
    mailbox->vanished = uidset_new();
    expunged_forget(mailbox);
}

/* The UIDs mean other messages now: everything known of it goes, and it gets another id. */
static bool renew(Mailbox *mailbox, const StoreBox *box, guint32 uidvalidity, GError **error)
{
    Engine *engine = mailbox->engine;
    const EngineEvents *events = &engine->config.events;
    guint32 new_id = 0;
    StoreTxn *txn = store_begin(engine->store, false, error);
    if (!txn)
        return false;
    if (!store_box_renew(txn, box->id, uidvalidity, clock_real_ns(), &new_id, error)) {
        store_rollback(txn);
        return false;
    }
    LogEffects effects = *log_effects(txn);
    if (!store_commit(txn, error))
        return false;
    log_warn("sync", "%s: UIDVALIDITY changed from %u to %u; what was known of it is dropped",
             mailbox->name, box->uidvalidity, uidvalidity);
    g_autoptr(GError) gone =
        g_error_new(IMAPFS_ERROR, IMAPFS_ERROR_GONE, "the mailbox was replaced on the server");
    jobs_fail_box(engine, box->id, gone);
    mailbox->box = new_id;
    mailbox->highestmodseq = 0;
    uidset_free(mailbox->structure_asked); /* of others that had these UIDs */
    mailbox->structure_asked = uidset_new();
    mailbox->replay.maybe_unbound = true;
    mailbox->replay.probe = PROBE_UNKNOWN;
    replay_tell_effects(engine, mailbox->name, &effects);
    if (events->box_removed)
        events->box_removed(box->parent, box->id, box->leaf, engine->config.events_data);
    if (events->box_added)
        events->box_added(box->parent, new_id, box->leaf, engine->config.events_data);
    return true;
}

static bool is_told(const StoreBox *box, const SelectResult *result, GError **error)
{
    if (box->uidvalidity == 0 || result->uidvalidity != 0)
        return true;
    g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_PROTOCOL,
                "the server does not say whether messages have the numbers that they had");
    return false;
}

/* Records what SELECT said, and gives the mailbox another identity if it is another one. */
static bool adopt(Mailbox *mailbox, const SelectResult *result, GError **error)
{
    Engine *engine = mailbox->engine;
    StoreBox box = {0};
    if (!store_box_by_wire_name(store_reader(engine->store), mailbox->name, &box)) {
        g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_GONE, "the mailbox is no longer there");
        return false;
    }
    if (!is_told(&box, result, error)) {
        store_box_clear(&box);
        return false;
    }
    bool other = box.uidvalidity != 0 && box.uidvalidity != result->uidvalidity;
    bool ok =
        !(other || result->uid_not_sticky) || renew(mailbox, &box, result->uidvalidity, error);
    if (other || result->uid_not_sticky) {
        forget_news(mailbox);
        store_box_clear(&box);
        if (!ok || !store_box_by_id(store_reader(engine->store), mailbox->box, &box))
            return false;
    }
    StoreTxn *txn = store_begin(engine->store, false, error);
    if (!txn) {
        store_box_clear(&box);
        return false;
    }
    if (!result->examined) { /* of EXAMINE they would say that nothing can be changed */
        g_free(box.permanent_flags);
        box.permanent_flags =
            result->has_permanent_flags ? flags_to_text(&result->permanent_flags) : NULL;
        box.read_only = result->read_only;
    }
    if (result->mailboxid) {
        g_free(box.mailboxid);
        box.mailboxid = g_strdup(result->mailboxid);
    }
    box.uidvalidity = result->uidvalidity;
    /* the modseq from which a listing that is still to come can be brought up to date */
    bool first = store_msg_count(store_txn_reader(txn), box.id) == 0;
    if (first)
        box.highestmodseq = result->highestmodseq;
    ok = store_box_update(txn, &box, error);
    mailbox->uidvalidity = box.uidvalidity;
    mailbox->highestmodseq = box.highestmodseq;
    store_box_clear(&box);
    if (!ok) {
        store_rollback(txn);
        return false;
    }
    return store_commit(txn, error);
}

/* Nothing is selected there now. refused: why, if it was the server's word. */
static void mailbox_left(Mailbox *mailbox, const GError *refused)
{
    mailbox->selected = false;
    mailbox->syncing = mailbox->kept = false;
    mailbox->early = NULL; /* its commands are still to be answered: that ends it */
    mailbox->dirty = 0;
    engine_timer_clear(&mailbox->later);
    forget_news(mailbox);
    lease_end(mailbox);
    replay_on_unselected(mailbox, refused);
}

/* What was begun is answered; a resync begins anew when it is selected again, for which who waits
 * for it asks again. */
void mailbox_freeze(Mailbox *mailbox)
{
    bool begun = mailbox->lease;
    if (mailbox->frozen)
        return;
    mailbox->frozen = true;
    pool_forget(mailbox->engine->pool, mailbox->name);
    if (mailbox->lease)
        mailbox_left(mailbox, NULL);
    Job *job = job_find(mailbox->engine, NEED_MAILBOX, mailbox->box, 0, 0, NULL);
    if (begun && job && !job->awaits)
        mailbox_job_start(job);
}

void mailbox_thaw(Mailbox *mailbox, const char *name)
{
    GHashTable *table = mailbox->engine->mailboxes;
    if (strcmp(name, mailbox->name) != 0) {
        Mailbox *other = g_hash_table_lookup(table, name);
        if (other)
            mailbox_drop(other);
        g_hash_table_steal(table, mailbox->name);
        g_free(mailbox->name);
        mailbox->name = g_strdup(name);
        g_hash_table_insert(table, mailbox->name, mailbox);
    }
    mailbox->frozen = false;
    if (!g_queue_is_empty(&mailbox->waiting))
        ask_lease(mailbox);
}

/* LIST has told whether it is still there; if not, the job ended with the mailbox. */
static void refused_and_listed(Job *job, const GError *ignored)
{
    g_autoptr(GError) gone = NULL;
    const Mailbox *mailbox = mailbox_get(job->engine, job->need.box, &gone);
    if (mailbox && !mailbox->select_error) /* somebody has selected it since */
        mailbox_job_start(job);
    else
        job_finish(job, mailbox ? mailbox->select_error : gone);
}

/* It may have been removed or renamed since LIST; Dovecot and Cyrus have no code for that. */
static bool is_perhaps_gone(const GError *error)
{
    return g_error_matches(error, IMAPFS_ERROR, IMAPFS_ERROR_NOT_FOUND) ||
           g_error_matches(error, IMAPFS_ERROR, IMAPFS_ERROR_SERVER);
}

static void select_failed(Mailbox *mailbox, const GError *error)
{
    bool lost = g_error_matches(error, IMAPFS_ERROR, IMAPFS_ERROR_LOST);
    Job *job = job_find(mailbox->engine, NEED_MAILBOX, mailbox->box, 0, 0, NULL);
    g_clear_error(&mailbox->select_error);
    engine_set_fresh(mailbox->engine, mailbox->box, 0);
    if (!lost) {
        log_info("sync", "%s: %s", mailbox->name, error->message);
        mailbox->select_error = g_error_copy(error);
    }
    if (job && lost)
        job_retry(job, mailbox_job_start, error);
    else if (job && is_perhaps_gone(error) && !job->awaits)
        job_await(job, &(Need){.kind = NEED_MAILBOXES}, refused_and_listed);
    else if (job && !job->awaits)
        job_finish(job, error);
    mailbox_left(mailbox, lost ? NULL : error);
}

void mailbox_on_selected(Engine *engine, const char *name, Session *session,
                         const SelectResult *result, const GError *error)
{
    Mailbox *mailbox = mailbox_find(engine, name);
    if (!mailbox)
        return;
    if (!result) {
        select_failed(mailbox, error);
        return;
    }
    g_autoptr(GError) failed = NULL;
    if (!adopt(mailbox, result, &failed)) {
        if (!failed)
            failed = g_error_new(IMAPFS_ERROR, IMAPFS_ERROR_GONE, "the mailbox is no longer there");
        mailbox_ref(mailbox);
        select_failed(mailbox, failed);
        pool_forget(engine->pool, name); /* there it is selected, which would be all it ever is */
        mailbox_unref(mailbox);
        return;
    }
    g_clear_error(&mailbox->select_error);
    mailbox->selected = true;
    mailbox->writable = !result->examined;
    mailbox->replay.reselecting = false;
    mailbox->exists = result->exists;
    mailbox->uidnext = mailbox->view_uidnext = result->uidnext;
    mailbox->view_is_told = result->uidnext != 0;
    mailbox->must_sync = true;
    mailbox->verify_rounds = 0;
    mailbox_flush(mailbox);
    rights_ask(mailbox, session);
    resync_on_selected(mailbox, result);
}

void mailbox_is_patient(Mailbox *mailbox)
{
    mailbox->patient++;
}

void mailbox_release_patient(Mailbox *mailbox, guint generation)
{
    if (generation == mailbox->generation)
        mailbox->patient--;
    mailbox_release(mailbox, generation);
}

/* What is in flight is answered; the commands of others come behind it. */
void mailbox_give_way(Engine *engine, const char *name)
{
    Mailbox *mailbox = mailbox_find(engine, name);
    if (mailbox && mailbox->lease && mailbox->users == mailbox->patient)
        lease_end(mailbox);
}

void mailbox_on_unselected(Engine *engine, const char *name)
{
    Mailbox *mailbox = mailbox_find(engine, name);
    if (!mailbox)
        return;
    if (mailbox->selected && !mailbox->must_sync && !mailbox->dirty)
        engine_set_fresh(engine, mailbox->box, clock_mono_us() + UNWATCHED_FRESH_US);
    else
        engine_set_fresh(engine, mailbox->box, 0);
    mailbox_left(mailbox, NULL);
}

/* --- what the server says --- */

static gboolean on_flush(gpointer data)
{
    mailbox_flush(data);
    return G_SOURCE_REMOVE;
}

static void flush_soon(Mailbox *mailbox)
{
    if (!mailbox->flush && mailbox->selected)
        mailbox->flush = engine_timer(mailbox->engine, 0, on_flush, mailbox);
}

static void news_fetch(Mailbox *mailbox, const FetchData *fetch)
{
    if (!(fetch->present & FETCH_FLAGS))
        return;
    if (!(fetch->present & FETCH_UID)) { /* RFC 9051 allows it in unsolicited FETCH */
        mailbox_mark(mailbox, DIRTY_FLAGS);
        return;
    }
    FlagNews news = {fetch->uid, flags_to_text(&fetch->flags),
                     fetch->present & FETCH_MODSEQ ? fetch->modseq : 0};
    g_array_append_val(mailbox->flag_news, news);
    if (mailbox->flag_news->len >= NEWS_MAX && mailbox->selected)
        mailbox_flush(mailbox);
    else
        flush_soon(mailbox);
}

static void news_vanished(Mailbox *mailbox, const Response *response)
{
    if (!response->uids)
        return;
    uidset_add_set(mailbox->vanished, response->uids);
    if (!response->earlier) {
        guint64 n = uidset_count(response->uids);
        mailbox->exists -= (guint32)MIN(n, mailbox->exists);
        mailbox_mark(mailbox, DIRTY_VERIFY);
    }
    flush_soon(mailbox);
}

/* A new keyword was made, or no more can be (RFC 9051 7.1): PERMANENTFLAGS is told again. */
static void note_permanent_flags(Mailbox *mailbox, const Flags *permanent)
{
    StoreBox box = {0};
    g_autoptr(GError) error = NULL;
    StoreTxn *txn = store_begin(mailbox->engine->store, false, &error);
    bool ok = txn && store_box_by_id(store_txn_reader(txn), mailbox->box, &box);
    if (ok) {
        g_free(box.permanent_flags);
        box.permanent_flags = flags_to_text(permanent);
        ok = store_box_update(txn, &box, &error);
    }
    store_box_clear(&box);
    if (txn && !ok)
        store_rollback(txn);
    if (!ok || !store_commit(txn, &error))
        log_warn("sync", "%s: %s", mailbox->name, error ? error->message : "it is gone");
}

void mailbox_on_untagged(Engine *engine, const char *name, Response *response)
{
    Mailbox *mailbox = mailbox_find(engine, name);
    if (!mailbox)
        return;
    switch (response->kind) {
    case RESP_EXISTS:
        if (mailbox->selected && response->number > mailbox->exists)
            mailbox_mark(mailbox, DIRTY_NEW | DIRTY_VERIFY);
        else if (mailbox->selected && response->number < mailbox->exists)
            mailbox_mark(mailbox, DIRTY_VERIFY); /* of an EXPUNGE it did not tell */
        mailbox->exists = (guint32)MIN(response->number, G_MAXUINT32);
        break;
    case RESP_EXPUNGE:
        if (mailbox->exists > 0)
            mailbox->exists--;
        expunged_note(mailbox, response->number);
        mailbox_mark(mailbox, DIRTY_VERIFY);
        break;
    case RESP_VANISHED:
        news_vanished(mailbox, response);
        break;
    case RESP_FETCH:
        if (response->fetch)
            news_fetch(mailbox, response->fetch);
        break;
    case RESP_OK:
        if (response->code == CODE_PERMANENTFLAGS && mailbox->writable)
            note_permanent_flags(mailbox, &response->flags);
        break;
    default:
        break;
    }
}

void mailbox_mark(Mailbox *mailbox, guint dirty)
{
    if (!mailbox->selected)
        return; /* what SELECT brings is looked at when it is answered */
    mailbox->dirty |= dirty;
    engine_set_fresh(mailbox->engine, mailbox->box, 0);
    resync_soon(mailbox);
}

/* --- writing news --- */

typedef struct {
    guint32 uid;
    char *name;
} Gone;

static void gone_clear(gpointer data)
{
    g_free(((Gone *)data)->name);
}

/* The names under which the kernel knows those that vanish. */
static GArray *names_of(Engine *engine, guint32 box, const UidSet *uids)
{
    GArray *out = g_array_new(FALSE, FALSE, sizeof(Gone));
    g_array_set_clear_func(out, gone_clear);
    StoreReader *reader = store_reader(engine->store);
    UidIter iter;
    guint32 uid;
    uid_iter_init(&iter, uids);
    while (uid_iter_next(&iter, &uid)) {
        StoreMsg msg = {0};
        if (!store_msg_get(reader, box, uid, &msg))
            continue;
        Gone gone = {uid, g_steal_pointer(&msg.name)};
        g_array_append_val(out, gone);
        store_msg_clear(&msg);
    }
    return out;
}

/* Bounds VANISHED's ranges, which may name UIDs that never were, to what the store has. */
static UidSet *known_of(Engine *engine, guint32 box, const UidSet *uids)
{
    if (uidset_count(uids) <= FEW_VANISHED)
        return uidset_copy(uids);
    g_autoptr(UidSet) have = store_msg_uids(store_reader(engine->store), box);
    UidSet *known = uidset_copy(have);
    uidset_remove_set(have, uids); /* what stays */
    uidset_remove_set(known, have);
    return known;
}

static bool write_news(Mailbox *mailbox, const UidSet *gone, GArray *flagged,
                       LogEffects *effects_out, GError **error)
{
    Engine *engine = mailbox->engine;
    StoreTxn *txn = store_begin(engine->store, false, error);
    if (!txn)
        return false;
    bool ok = true;
    for (guint i = 0; ok && i < mailbox->flag_news->len; i++) {
        const FlagNews *news = &g_array_index(mailbox->flag_news, FlagNews, i);
        bool changed = false;
        ok = store_msg_set_flags(txn, mailbox->box, news->uid, news->flags, news->modseq, &changed,
                                 error);
        if (ok && changed)
            g_array_append_val(flagged, news->uid);
    }
    if (ok && !uidset_is_empty(gone))
        ok = store_msg_remove(txn, mailbox->box, gone, NULL, error) &&
             store_box_touch(txn, mailbox->box, clock_real_ns(), error);
    if (!ok) {
        store_rollback(txn);
        return false;
    }
    *effects_out = *log_effects(txn);
    return store_commit(txn, error);
}

/* In events: by name while they are few. */
static void tell_news(Mailbox *mailbox, const GArray *gone, const GArray *flagged)
{
    Engine *engine = mailbox->engine;
    for (guint i = 0; gone->len <= FEW_TOLD && i < gone->len; i++) {
        const Gone *message = &g_array_index(gone, Gone, i);
        events_add_message(engine, "gone", mailbox->name, message->name, message->uid);
    }
    if (gone->len > FEW_TOLD)
        events_add_count(engine, "gone", mailbox->name, gone->len, "message");
    events_add_count(engine, "flags", mailbox->name, flagged->len, "message");
}

void mailbox_flush(Mailbox *mailbox)
{
    Engine *engine = mailbox->engine;
    const EngineEvents *events = &engine->config.events;
    engine_timer_clear(&mailbox->flush);
    if (mailbox->flag_news->len == 0 && uidset_is_empty(mailbox->vanished))
        return;
    g_autoptr(UidSet) gone = uidset_is_empty(mailbox->vanished)
                                 ? uidset_new()
                                 : known_of(engine, mailbox->box, mailbox->vanished);
    g_autoptr(UidSet) held = uidset_copy(gone);
    replay_hold_back(mailbox, gone);
    uidset_remove_set(held, gone);
    if (mailbox->flag_news->len == 0 && uidset_is_empty(gone))
        return;
    g_autoptr(GArray) names = names_of(engine, mailbox->box, gone);
    g_autoptr(GArray) flagged = g_array_new(FALSE, FALSE, sizeof(guint32));
    g_autoptr(GError) error = NULL;
    LogEffects effects = {0};
    if (!write_news(mailbox, gone, flagged, &effects, &error)) {
        /* not lost: the modseq is not recorded either, so the next SELECT brings it again */
        log_error("sync", "%s: %s", mailbox->name, error->message);
        mailbox->dirty |= DIRTY_FLAGS | DIRTY_VERIFY;
        return;
    }
    g_array_set_size(mailbox->flag_news, 0);
    g_clear_pointer(&mailbox->vanished, uidset_free);
    mailbox->vanished = g_steal_pointer(&held);
    for (guint i = 0; events->msg_removed && i < names->len; i++) {
        const Gone *message = &g_array_index(names, Gone, i);
        events->msg_removed(mailbox->box, message->uid, message->name, engine->config.events_data);
    }
    for (guint i = 0; events->flags_changed && i < flagged->len; i++)
        events->flags_changed(mailbox->box, g_array_index(flagged, guint32, i),
                              engine->config.events_data);
    tell_news(mailbox, names, flagged);
    replay_tell_effects(engine, mailbox->name, &effects);
}

/* --- being wanted --- */

static void keep(Mailbox *mailbox)
{
    bool clean = mailbox->selected && !mailbox->must_sync && !mailbox->dirty && !mailbox->syncing;
    if (clean || mailbox->kept) {
        mailbox_release(mailbox, mailbox->generation);
    } else {
        mailbox->kept = true;
        mailbox->kept_generation = mailbox->generation;
        if (mailbox->selected)
            resync_run(mailbox);
        else
            resync_begin(mailbox); /* SELECT's answer does the rest */
    }
}

void mailbox_sync_over(Mailbox *mailbox)
{
    if (!mailbox->kept)
        return;
    mailbox->kept = false;
    mailbox_release(mailbox, mailbox->kept_generation);
}

static void sync_ready(Mailbox *mailbox, Session *session, const GError *error, gpointer data)
{
    if (session)
        keep(mailbox);
    mailbox_unref(mailbox);
}

void mailbox_sync_soon(Mailbox *mailbox, CommandLane lane)
{
    mailbox_acquire(mailbox, lane, sync_ready, mailbox_ref(mailbox));
}

static void job_ready(Mailbox *mailbox, Session *session, const GError *error, gpointer data)
{
    Job *job = data;
    if (!session)
        job_finish(job, error);
    else if (mailbox->selected)
        resync_run(mailbox); /* it may be clean already, or the last run failed */
    if (session)
        keep(mailbox);
    job_unref(job);
}

void mailbox_job_start(Job *job)
{
    g_autoptr(GError) error = NULL;
    Mailbox *mailbox = mailbox_get(job->engine, job->need.box, &error);
    if (!mailbox) {
        job_finish(job, error);
        return;
    }
    mailbox_acquire(mailbox, LANE_FOREGROUND, job_ready, job_ref(job));
}

/* --- polled --- */

void mailbox_on_status(Mailbox *mailbox, const StatusItem *status)
{
    StoreBox box = {0};
    if (mailbox->gone || !store_box_by_id(store_reader(mailbox->engine->store), mailbox->box, &box))
        return;
    /* without CONDSTORE, changed flags show when it is selected next */
    bool same =
        box.listed && status->uidvalidity == box.uidvalidity && status->uidnext == box.uidnext &&
        status->messages == box.exists &&
        (!(status->present & STATUS_HIGHESTMODSEQ) || status->highestmodseq == box.highestmodseq);
    store_box_clear(&box);
    if (same)
        engine_set_fresh(mailbox->engine, mailbox->box, clock_mono_us() + UNWATCHED_FRESH_US);
    else /* selecting it is what brings it up to date */
        mailbox_sync_soon(mailbox, LANE_BACKGROUND);
}
