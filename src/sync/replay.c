/* replay.c - when the log is sent: one mailbox at a time on each session, batch after batch.
 *
 * The ordinary path is the only one: a mailbox with something to be sent is selected like any other
 * (SELECT in place of EXAMINE), resynced, which checks its UIDVALIDITY and drops what is gone, and
 * only when it is in sync is anything sent. Nothing runs while the log is empty: the engine is told
 * of new entries (engine_logged), and one timer waits for what is due later. */
#include "replay.h"

#include "imapfs/base/clock.h"
#include "imapfs/base/error.h"
#include "imapfs/base/fault.h"
#include "imapfs/base/limits.h"
#include "imapfs/base/log.h"

#define GATHER_MS 5 /* changes that come together are sent together */
#define TELL_MS 250 /* and are one line in events */
#define WRITTEN_WITHIN_US (10 * 60 * G_USEC_PER_SEC) /* SELECT at once what was written lately */
#define ODD_US (60 * G_USEC_PER_SEC)
#define LOST_FREELY 2 /* connections lost over the same batch before it is slowed down */

/* --- may it? --- */

/* What was asked to be offline sends nothing from then on, though its session may still be there.
 */
bool replay_may_send(Engine *engine)
{
    return !engine->config.read_only && engine->pool && pool_state(engine->pool) == POOL_ONLINE &&
           clock_mono_us() >= engine->replay.pause_us && !engine_is_offline(engine);
}

static guint64 count_pending(Engine *engine, guint32 box, guint32 uid)
{
    LogCounts counts = {0};
    log_count(store_reader(engine->store), box, uid, &counts);
    return counts.pending;
}

bool replay_wants_select(Engine *engine, guint32 box)
{
    StoreBox row = {0};
    if (engine->config.read_only || !store_box_by_id(store_reader(engine->store), box, &row))
        return false;
    const Mailbox *mailbox = mailbox_find(engine, row.name);
    store_box_clear(&row);
    gint64 now = clock_mono_us();
    if (mailbox && mailbox->replay.not_before_us > now)
        return false; /* it was refused: reading goes on with EXAMINE */
    bool lately = mailbox && mailbox->replay.written_us &&
                  now - mailbox->replay.written_us < WRITTEN_WITHIN_US;
    return lately || count_pending(engine, box, 0) > 0;
}

/* --- who waits for it --- */

typedef struct {
    guint32 box, uid;
    const GError *error;
} Failed;

static void check_job(Job *job, gpointer data)
{
    job_progress(job);
    if (count_pending(job->engine, job->need.box, job->need.uid) == 0)
        job_finish(job, NULL);
}

void replay_note_settled(Engine *engine)
{
    jobs_each(engine, NEED_REPLAYED, check_job, NULL);
}

static void fail_job(Job *job, gpointer data)
{
    const Failed *failed = data;
    bool mine = job->need.box == 0 ||
                (job->need.box == failed->box &&
                 (job->need.uid == 0 || failed->uid == 0 || job->need.uid == failed->uid));
    if (mine)
        job_finish(job, failed->error);
}

void replay_note_failed(Engine *engine, guint32 box, guint32 uid, const GError *error)
{
    Failed failed = {box, uid, error};
    jobs_each(engine, NEED_REPLAYED, fail_job, &failed);
}

static void fail_any(Job *job, gpointer data)
{
    job_finish(job, data);
}

void replayed_job_start(Job *job)
{
    Engine *engine = job->engine;
    gint64 next;
    const GError *why = pool_error(engine->pool, &next);
    g_autoptr(GError) error = NULL;
    if (count_pending(engine, job->need.box, job->need.uid) == 0) {
        job_finish(job, NULL);
        return;
    }
    if (engine->config.read_only)
        error = g_error_new(IMAPFS_ERROR, IMAPFS_ERROR_READONLY, "the mount is read-only");
    else if (why &&
             (pool_state(engine->pool) == POOL_OFFLINE || pool_state(engine->pool) == POOL_STOPPED))
        error = g_error_new(IMAPFS_ERROR, IMAPFS_ERROR_OFFLINE, "%s", why->message);
    if (error)
        job_finish(job, error); /* while an attempt is under way it waits, but not for long */
    else
        replay_soon(engine);
}

/* --- what is due --- */

static gboolean on_due(gpointer data)
{
    Engine *engine = data;
    engine_timer_clear(&engine->replay.due);
    replay_soon(engine);
    return G_SOURCE_REMOVE;
}

static void arm(Engine *engine, gint64 in_us)
{
    engine_timer_clear(&engine->replay.due);
    guint ms = (guint)CLAMP(in_us / 1000 + 1, 1, 60 * 60 * 1000);
    engine->replay.due = engine_timer(engine, ms, on_due, engine);
}

/* Starts what is due now; returns in how many us the next one is, or -1. */
static gint64 start_due(Engine *engine, const GArray *dues)
{
    gint64 now_ns = clock_real_ns(), now_us = clock_mono_us(), next_us = -1;
    for (guint i = 0; i < dues->len; i++) {
        const LogDue *due = &g_array_index(dues, LogDue, i);
        Mailbox *mailbox = mailbox_get(engine, due->box, NULL);
        if (!mailbox || mailbox->replay.phase != REPLAY_IDLE)
            continue; /* its end asks again */
        gint64 in_us = MAX((due->due_ns - now_ns) / 1000, mailbox->replay.not_before_us - now_us);
        if (in_us <= 0)
            replay_mailbox(mailbox, LANE_BACKGROUND);
        else if (next_us < 0 || in_us < next_us)
            next_us = in_us;
    }
    return next_us;
}

void replay_soon(Engine *engine)
{
    if (engine->config.read_only || !engine->pool || pool_state(engine->pool) != POOL_ONLINE)
        return; /* asked again when it is online */
    gint64 pause_us = engine->replay.pause_us - clock_mono_us();
    if (pause_us > 0) {
        arm(engine, pause_us);
        return;
    }
    g_autoptr(GArray) dues = log_due(store_reader(engine->store));
    gint64 next_us = start_due(engine, dues), boxes_us = box_ops_start(engine);
    if (boxes_us >= 0 && (next_us < 0 || boxes_us < next_us))
        next_us = boxes_us;
    engine_timer_clear(&engine->replay.due);
    if (next_us >= 0)
        arm(engine, next_us);
}

/* --- one mailbox --- */

static void replay_step(Mailbox *mailbox);

static void end_hold(Mailbox *mailbox)
{
    MailboxReplay *replay = &mailbox->replay;
    bool held = replay->holds;
    replay->phase = REPLAY_IDLE;
    replay->holds = replay->reselecting = false;
    if (held)
        mailbox_release(mailbox, replay->generation);
}

static void soon_run(Engine *engine, gpointer data)
{
    replay_soon(engine);
}

/* Nothing more for now; what is due later, or was put off, has its timer. */
static void replay_end(Mailbox *mailbox)
{
    end_hold(mailbox);
    if (!mailbox->gone)
        engine_post(mailbox->engine, soon_run, NULL, NULL);
}

static void put_off(Mailbox *mailbox, gint64 us)
{
    mailbox->replay.not_before_us = clock_mono_us() + us;
    replay_end(mailbox);
}

static bool keeps_no_flags(Mailbox *mailbox)
{
    StoreBox box = {0};
    if (!store_box_by_id(store_reader(mailbox->engine->store), mailbox->box, &box))
        return false;
    g_auto(Flags) permanent = {0};
    if (box.permanent_flags)
        flags_parse(&permanent, box.permanent_flags);
    bool none = box.read_only || (box.permanent_flags && flags_is_empty(&permanent));
    store_box_clear(&box);
    return none;
}

static GPtrArray *claim(Mailbox *mailbox, GError **error)
{
    g_autoptr(GPtrArray) ops = NULL;
    StoreTxn *txn = store_begin(mailbox->engine->store, false, error);
    if (!txn)
        return NULL;
    if (!log_claim(txn, mailbox->box, clock_real_ns(), LIMIT_COMMAND_UIDS, &ops, error)) {
        store_rollback(txn);
        return NULL;
    }
    if (!store_commit(txn, error))
        return NULL;
    FAULT("replay.claimed");
    return g_steal_pointer(&ops);
}

static bool is_due(Mailbox *mailbox)
{
    gint64 now_ns = clock_real_ns();
    g_autoptr(GArray) dues = log_due(store_reader(mailbox->engine->store));
    for (guint i = 0; i < dues->len; i++) {
        const LogDue *due = &g_array_index(dues, LogDue, i);
        if (due->box == mailbox->box)
            return due->due_ns <= now_ns;
    }
    return false;
}

static void send_batch(Mailbox *mailbox)
{
    g_autoptr(GError) error = NULL;
    GPtrArray *ops = claim(mailbox, &error);
    if (!ops) {
        log_error("replay", "%s: %s", mailbox->name, error->message);
        put_off(mailbox, outcome_backoff_us(mailbox->replay.level++));
    } else if (ops->len == 0) { /* it was due, but cannot be had: not to be asked for in a loop */
        g_ptr_array_unref(ops);
        log_warn("replay", "%s: what is to be sent cannot be taken up", mailbox->name);
        put_off(mailbox, ODD_US);
    } else {
        mailbox->replay.phase = REPLAY_SENDING;
        mailbox->replay.written_us = clock_mono_us();
        batch_start(mailbox, ops);
    }
}

static void reselect(Mailbox *mailbox)
{
    if (mailbox->replay.reselecting)
        return;
    mailbox->replay.reselecting = true; /* cleared when it is selected, or not */
    if (!pool_reselect(mailbox->engine->pool, mailbox->name))
        put_off(mailbox, outcome_backoff_us(mailbox->replay.level++));
}

/* With the session in hand: what is in the way, or the next batch. Called again by what happens. */
static void replay_step(Mailbox *mailbox)
{
    if (mailbox->replay.phase != REPLAY_HELD || !mailbox->replay.holds)
        return;
    if (!replay_may_send(mailbox->engine) || mailbox->gone || mailbox->frozen) {
        replay_end(mailbox);
        return;
    }
    if (!mailbox->selected || mailbox->syncing)
        return;
    if (mailbox->must_sync) {
        resync_run(mailbox);
        return;
    }
    if (!is_due(mailbox))
        replay_end(mailbox);
    else if (!mailbox->writable)
        reselect(mailbox);
    else if (!keeps_no_flags(mailbox))
        send_batch(mailbox);
    else if (batch_keep_here(mailbox))
        replay_end(mailbox);
    else
        put_off(mailbox, outcome_backoff_us(mailbox->replay.level++));
}

static void on_session(Mailbox *mailbox, Session *session, const GError *error, gpointer data)
{
    MailboxReplay *replay = &mailbox->replay;
    bool wanted = replay->phase == REPLAY_HELD && !replay->holds;
    if (session && !wanted)
        mailbox_release(mailbox, mailbox->generation);
    if (wanted && session) {
        replay->holds = true;
        replay->generation = mailbox->generation;
        replay_step(mailbox);
    } else if (wanted && pool_state(mailbox->engine->pool) == POOL_ONLINE) {
        put_off(mailbox, outcome_backoff_us(mailbox->replay.level++));
    } else if (wanted) { /* asked again when it is online */
        replay_end(mailbox);
    }
    mailbox_unref(mailbox);
}

void replay_mailbox(Mailbox *mailbox, CommandLane lane)
{
    bool patience = clock_mono_us() < mailbox->replay.not_before_us;
    if (mailbox->replay.phase != REPLAY_IDLE || mailbox->gone || mailbox->frozen || patience ||
        !replay_may_send(mailbox->engine))
        return;
    mailbox->replay.phase = REPLAY_HELD;
    mailbox_acquire(mailbox, lane, on_session, mailbox_ref(mailbox));
}

void replay_batch_over(Mailbox *mailbox, bool lost)
{
    MailboxReplay *replay = &mailbox->replay;
    batch_free(g_steal_pointer(&replay->batch));
    replay->phase = REPLAY_HELD;
    replay->n_lost = lost ? replay->n_lost + 1 : 0;
    if (lost && replay->n_lost > LOST_FREELY)
        put_off(mailbox, outcome_backoff_us(replay->n_lost - LOST_FREELY));
    else if (lost || !replay->holds || replay->generation != mailbox->generation)
        replay_end(mailbox);
    else
        replay_step(mailbox);
}

/* --- what happens to a mailbox --- */

void replay_on_synced(Mailbox *mailbox)
{
    rehome_unbound(mailbox);
    replay_step(mailbox);
}

void replay_on_unsynced(Mailbox *mailbox, const GError *error)
{
    if (mailbox->replay.phase != REPLAY_HELD || !mailbox->replay.holds)
        return;
    if (g_error_matches(error, IMAPFS_ERROR, IMAPFS_ERROR_LOST))
        replay_end(mailbox);
    else
        put_off(mailbox, outcome_backoff_us(mailbox->replay.level++));
}

/* SELECT was refused. It is EXAMINEd until it is tried again. Perhaps it was renamed, or is gone:
 * LIST tells (Cyrus says NO without a code). */
static void select_refused(Mailbox *mailbox, const GError *refused)
{
    bool denied = g_error_matches(refused, IMAPFS_ERROR, IMAPFS_ERROR_DENIED);
    if (denied && conflict_action(LOG_FLAGS, CONFLICT_NOPERM) == ACTION_PARK)
        batch_park_all(mailbox, refused);
    else if (mailbox->replay.level == 0)
        mailboxes_refresh(mailbox->engine);
    else
        replay_note_failed(mailbox->engine, mailbox->box, 0, refused);
    put_off(mailbox, outcome_backoff_us(mailbox->replay.level++));
}

void replay_on_unselected(Mailbox *mailbox, const GError *refused)
{
    MailboxReplay *replay = &mailbox->replay;
    mailbox->writable = false;
    replay->reselecting = false;
    if (replay->phase != REPLAY_HELD || !replay->holds)
        return;            /* a batch that is under way hears of it by its commands */
    replay->holds = false; /* and everybody else's use of it */
    if (refused)
        select_refused(mailbox, refused);
    else
        replay_end(mailbox);
}

void replay_on_dropped(Mailbox *mailbox)
{
    end_hold(mailbox);
    batch_free(g_steal_pointer(&mailbox->replay.batch));
}

/* --- telling --- */

void replay_tell_effects(Engine *engine, const char *mailbox, const LogEffects *effects)
{
    static const struct {
        const char *word;
        gsize offset;
        const char *what;
    } rows[] = {
        {"dropped", G_STRUCT_OFFSET(LogEffects, dropped), "change to messages that are gone"},
        {"parked", G_STRUCT_OFFSET(LogEffects, parked), "change that cannot be placed any more"},
        {"unbound", G_STRUCT_OFFSET(LogEffects, unbound), "change that waits for the new list"},
        {"homeless", G_STRUCT_OFFSET(LogEffects, homeless), "change that waits for its mailbox"},
        {"adrift", G_STRUCT_OFFSET(LogEffects, adrift), "change that waits for its message"},
        {"followed", G_STRUCT_OFFSET(LogEffects, followed), "change to a message that was moved"},
    };
    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        guint n = G_STRUCT_MEMBER(guint, effects, rows[i].offset);
        if (n == 0)
            continue;
        log_info("replay", "%s: %s: %u (%s)", mailbox, rows[i].word, n, rows[i].what);
        events_add(engine, rows[i].word, "%s: %u (%s)", mailbox, n, rows[i].what);
    }
    if (effects->parked) {
        g_autoptr(GError) error = g_error_new(IMAPFS_ERROR, IMAPFS_ERROR_GONE, "%s: %s", mailbox,
                                              conflict_words(CONFLICT_MAILBOX_GONE));
        replay_note_failed(engine, 0, 0, error);
    }
    if (effects->dropped || effects->parked)
        replay_note_settled(engine);
    if (effects->followed)
        engine_post(engine, soon_run, NULL, NULL);
}

/* --- what a person changed --- */

typedef struct {
    guint32 box, uid;
} Logged;

static gboolean on_tell(gpointer data)
{
    Engine *engine = data;
    GHashTableIter iter;
    gpointer key;
    engine_timer_clear(&engine->replay.tell);
    g_hash_table_iter_init(&iter, engine->replay.told);
    while (g_hash_table_iter_next(&iter, &key, NULL)) {
        StoreBox box = {0};
        if (!store_box_by_id(store_reader(engine->store), GPOINTER_TO_UINT(key), &box))
            continue;
        guint64 n = count_pending(engine, box.id, 0);
        if (n > 0)
            events_add(engine, "queued", "%s: %" G_GUINT64_FORMAT " pending", box.name, n);
        store_box_clear(&box);
    }
    g_hash_table_remove_all(engine->replay.told);
    return G_SOURCE_REMOVE;
}

static gboolean on_gather(gpointer data)
{
    Engine *engine = data;
    g_autoptr(GHashTable) logged = g_steal_pointer(&engine->replay.logged);
    GHashTableIter iter;
    gpointer key;
    engine->replay.logged = g_hash_table_new(NULL, NULL);
    engine_timer_clear(&engine->replay.gather);
    replay_note_settled(engine); /* it may have been cancelled */
    g_hash_table_iter_init(&iter, logged);
    while (g_hash_table_iter_next(&iter, &key, NULL)) {
        guint32 box = GPOINTER_TO_UINT(key);
        Mailbox *mailbox = mailbox_get(engine, box, NULL);
        if (mailbox && count_pending(engine, box, 0) > 0)
            replay_mailbox(mailbox, LANE_FOREGROUND);
        if (box == 0)
            replay_soon(engine);
    }
    return G_SOURCE_REMOVE;
}

static void logged_run(Engine *engine, gpointer data)
{
    const Logged *logged = data;
    Replay *replay = &engine->replay;
    const EngineEvents *events = &engine->config.events;
    if (logged->uid && events->flags_changed)
        events->flags_changed(logged->box, logged->uid, engine->config.events_data);
    else if (!logged->uid && events->box_changed)
        events->box_changed(logged->box, engine->config.events_data);
    g_hash_table_add(replay->logged, GUINT_TO_POINTER(logged->box));
    g_hash_table_add(replay->told, GUINT_TO_POINTER(logged->box));
    if (!replay->gather)
        replay->gather = engine_timer(engine, GATHER_MS, on_gather, engine);
    if (!replay->tell)
        replay->tell = engine_timer(engine, TELL_MS, on_tell, engine);
}

void engine_logged(Engine *engine, guint32 box, guint32 uid)
{
    Logged logged = {box, uid};
    engine_post(engine, logged_run, g_memdup2(&logged, sizeof(logged)), g_free);
}

/* --- the account --- */

void replay_init(Engine *engine)
{
    engine->replay.logged = g_hash_table_new(NULL, NULL);
    engine->replay.told = g_hash_table_new(NULL, NULL);
    if (engine->config.read_only)
        return;
    g_autoptr(GError) error = NULL;
    StoreTxn *txn = store_begin(engine->store, false, &error);
    bool ok = txn && log_recover(txn, &error);
    if (txn && !ok)
        store_rollback(txn);
    if (!ok || !store_commit(txn, &error))
        log_error("replay", "the log of changes cannot be taken up: %s", error->message);
}

void replay_clear(Engine *engine)
{
    engine_timer_clear(&engine->replay.gather);
    engine_timer_clear(&engine->replay.tell);
    engine_timer_clear(&engine->replay.due);
    g_clear_pointer(&engine->replay.logged, g_hash_table_unref);
    g_clear_pointer(&engine->replay.told, g_hash_table_unref);
}

static bool note_unbound(const LogOp *op, gpointer data)
{
    if (op->state == LOG_UNBOUND)
        g_hash_table_add(data, GUINT_TO_POINTER(op->box));
    return true;
}

/* Those whose mailbox became another one, and whose new listing never came to its end. */
static void wake_unbound(Engine *engine)
{
    g_autoptr(GHashTable) boxes = g_hash_table_new(NULL, NULL);
    GHashTableIter iter;
    gpointer key;
    log_each(store_reader(engine->store), false, 0, note_unbound, boxes);
    g_hash_table_iter_init(&iter, boxes);
    while (g_hash_table_iter_next(&iter, &key, NULL)) {
        Mailbox *mailbox = mailbox_get(engine, GPOINTER_TO_UINT(key), NULL);
        if (mailbox)
            rehome_wake(mailbox);
    }
}

void replay_online(Engine *engine)
{
    engine->replay.online_us = clock_mono_us();
    events_add(engine, "online", "%s", "");
    if (engine->config.read_only || count_pending(engine, 0, 0) == 0)
        return;
    wake_unbound(engine);
    replay_soon(engine);
}

void replay_offline(Engine *engine, const GError *error)
{
    g_autoptr(GError) offline =
        g_error_new(IMAPFS_ERROR, IMAPFS_ERROR_OFFLINE, "%s", error ? error->message : "offline");
    engine->replay.online_us = 0;
    engine_timer_clear(&engine->replay.due);
    events_add(engine, "offline", "%s", offline->message);
    jobs_each(engine, NEED_REPLAYED, fail_any, offline);
}

void replay_poll(Engine *engine)
{
    if (!engine->config.read_only && engine->replay.online_us && count_pending(engine, 0, 0) > 0)
        rehome_drop_adrift(engine);
}
