/* replay.c - when the log is sent: one mailbox at a time on each session, batch after batch.
 *
 * The ordinary path is the only one: a mailbox with something to be sent is selected like any other
 * (SELECT in place of EXAMINE), resynced, which checks its UIDVALIDITY and drops what is gone, and
 * only when it is in sync is anything sent from it. What is appended needs no mailbox. Nothing runs
 * while the log is empty: the engine is told of new entries (gather.c), and one timer waits for
 * what is due later. */
#include "replay.h"

#include "batch.h"
#include "imapfs/base/clock.h"
#include "imapfs/base/error.h"
#include "imapfs/base/fault.h"
#include "imapfs/base/limits.h"
#include "imapfs/base/log.h"

#define WRITTEN_WITHIN_US (10 * 60 * G_USEC_PER_SEC) /* SELECT at once what was written lately */
#define ODD_SOON_US (10 * G_GINT64_CONSTANT(1000))
#define ODD_MOST_US (60 * G_USEC_PER_SEC)
#define ODD_OFTEN 3
#define LOST_FREELY 2 /* connections lost over the same batch before it is slowed down */
#define TARGET_MOVES_US (200 * G_GINT64_CONSTANT(1000))
#define APPENDS_CLAIMED 50 /* each is UNSURE when the connection goes */

/* --- may it? --- */

/* What was asked to be offline sends nothing from then on, though its session may still be there.
 */
bool replay_may_send(Engine *engine)
{
    return !engine->config.read_only && engine->pool && pool_state(engine->pool) == POOL_ONLINE &&
           clock_mono_us() >= engine->replay.pause_us && !engine_is_offline(engine);
}

bool replay_wants_select(Engine *engine, guint32 box)
{
    StoreBox row = {0};
    if (engine->config.read_only || !store_box_by_id(store_reader(engine->store), box, &row))
        return false;
    const Mailbox *mailbox = row.wire_name ? mailbox_find(engine, row.wire_name) : NULL;
    store_box_clear(&row);
    gint64 now = clock_mono_us();
    if (mailbox && mailbox->replay.not_before_us > now)
        return false; /* it was refused: reading goes on with EXAMINE */
    bool lately = mailbox && mailbox->replay.written_us &&
                  now - mailbox->replay.written_us < WRITTEN_WITHIN_US;
    return lately || replay_count(engine, box, 0) > 0;
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
        if (!mailbox || mailbox->replay.phase != REPLAY_IDLE || gather_is_open(engine, due->box))
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
    gint64 next_us = start_due(engine, dues);
    gint64 boxes_us = gather_is_open(engine, 0) ? -1 : box_ops_start(engine);
    if (boxes_us >= 0 && (next_us < 0 || boxes_us < next_us))
        next_us = boxes_us;
    engine_timer_clear(&engine->replay.due);
    if (next_us >= 0)
        arm(engine, next_us);
}

/* --- one mailbox --- */

static void end_hold(Mailbox *mailbox)
{
    MailboxReplay *replay = &mailbox->replay;
    bool held = replay->holds;
    replay->phase = REPLAY_IDLE;
    replay->holds = replay->reselecting = replay->fencing = false;
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

void replay_put_off(Mailbox *mailbox, gint64 us)
{
    mailbox->replay.not_before_us = clock_mono_us() + us;
    replay_end(mailbox);
}

static void back_off(Mailbox *mailbox)
{
    replay_put_off(mailbox, outcome_backoff_us(mailbox->replay.level++));
}

/* What was due cannot be had. A person may have taken it back just then, or logged more: it is
 * looked at again soon. If that goes on it is an error of ours, and no loop. */
static void look_again(Mailbox *mailbox)
{
    MailboxReplay *replay = &mailbox->replay;
    gint64 wait_us = ODD_SOON_US;
    for (guint i = 0; i < replay->n_odd && wait_us < ODD_MOST_US; i++)
        wait_us *= 8;
    if (++replay->n_odd >= ODD_OFTEN)
        log_warn("replay", "%s: what is to be sent cannot be taken up", mailbox->name);
    replay_put_off(mailbox, MIN(wait_us, ODD_MOST_US));
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

static bool is_read_only(Mailbox *mailbox)
{
    StoreBox box = {0};
    bool read_only =
        store_box_by_id(store_reader(mailbox->engine->store), mailbox->box, &box) && box.read_only;
    store_box_clear(&box);
    return read_only;
}

/* What may not be sent twice is claimed durably, before a byte of it is sent. None: something else
 * is next by now, as another thread has taken that back, or a time has come. */
static GPtrArray *claim(Mailbox *mailbox, LogKind kind, GError **error)
{
    g_autoptr(GPtrArray) ops = NULL;
    bool twice = kind == LOG_FLAGS || kind == LOG_EXPUNGE;
    guint max = kind == LOG_APPEND ? APPENDS_CLAIMED : LIMIT_COMMAND_UIDS;
    StoreTxn *txn = store_begin(mailbox->engine->store, !twice, error);
    if (!txn)
        return NULL;
    if (!log_claim(txn, mailbox->box, clock_real_ns(), (int)kind, max, &ops, error)) {
        store_rollback(txn);
        return NULL;
    }
    FAULT("replay.claim");
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

static void send_batch(Mailbox *mailbox, LogKind kind)
{
    g_autoptr(GError) error = NULL;
    GPtrArray *ops = claim(mailbox, kind, &error);
    if (!ops) {
        log_error("replay", "%s: %s", mailbox->name, error->message);
        back_off(mailbox);
    } else if (ops->len == 0) {
        g_ptr_array_unref(ops);
        look_again(mailbox);
    } else {
        mailbox->replay.n_odd = 0;
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
        back_off(mailbox);
}

/* --- where it goes --- */

/* It has another UIDVALIDITY, or is no longer there: to select it tells. */
static void look_at_target(Engine *engine, guint32 to_box)
{
    Mailbox *target = mailbox_get(engine, to_box, NULL);
    if (target && !target->selected)
        mailbox_sync_soon(target, LANE_BACKGROUND);
    mailboxes_refresh(engine);
}

/* The connection's doing, or that of the disk here: no word of the server about it. */
static bool is_passing(const GError *why)
{
    return g_error_matches(why, IMAPFS_ERROR, IMAPFS_ERROR_LOST) ||
           g_error_matches(why, IMAPFS_ERROR, IMAPFS_ERROR_STORE) ||
           g_error_matches(why, IMAPFS_ERROR, IMAPFS_ERROR_FULL);
}

static void on_fence(Mailbox *mailbox, guint32 to_box, const GError *why)
{
    if (!mailbox->replay.fencing)
        return; /* the hold ended meanwhile */
    mailbox->replay.fencing = false;
    if (!why && mailbox->replay.holds) {
        replay_step(mailbox);
        return;
    }
    if (!why) { /* of what is appended: from the beginning */
        replay_end(mailbox);
        return;
    }
    look_at_target(mailbox->engine, to_box);
    if (!is_passing(why) && mailbox->replay.level > 0) /* LIST had the time to tell why */
        batch_park_queued(mailbox, PARK_ANY, to_box, why);
    back_off(mailbox);
}

static void ask_fence(Mailbox *mailbox, const LogNext *next)
{
    if (mailbox->replay.fencing)
        return;
    mailbox->replay.fencing = true;
    fence_ask(mailbox, next->to_box, on_fence);
}

/* --- what is next --- */

static void next_flags(Mailbox *mailbox)
{
    if (!mailbox->writable)
        reselect(mailbox);
    else if (!keeps_no_flags(mailbox))
        send_batch(mailbox, LOG_FLAGS);
    else if (batch_keep_here(mailbox))
        replay_end(mailbox);
    else
        back_off(mailbox);
}

static void next_taking(Mailbox *mailbox, const LogNext *next)
{
    if (!mailbox->writable) {
        reselect(mailbox);
    } else if (is_read_only(mailbox)) {
        g_autoptr(GError) why = g_error_new(IMAPFS_ERROR, IMAPFS_ERROR_DENIED, "%s",
                                            conflict_words(CONFLICT_READ_ONLY));
        if (batch_park_queued(mailbox, (int)next->kind, 0, why))
            replay_end(mailbox);
        else
            back_off(mailbox);
    } else if (next->kind == LOG_MOVE && !next->fenced) {
        ask_fence(mailbox, next);
    } else {
        send_batch(mailbox, next->kind);
    }
}

/* It is being renamed or removed at this moment. */
static bool target_moves(Engine *engine, guint32 to_box)
{
    g_autofree char *name = to_box ? replay_wire_name(engine, to_box) : NULL;
    return name && box_ops_hold(engine, name);
}

static void go_on(Mailbox *mailbox, const LogNext *next)
{
    if (target_moves(mailbox->engine, next->to_box)) {
        replay_put_off(mailbox, TARGET_MOVES_US);
        return;
    }
    switch (next->kind) {
    case LOG_FLAGS:
        next_flags(mailbox);
        break;
    case LOG_MOVE:
    case LOG_EXPUNGE:
        next_taking(mailbox, next);
        break;
    default: /* COPY, APPEND: what is only read, or not at all, may be EXAMINEd */
        if (!next->fenced)
            ask_fence(mailbox, next);
        else
            send_batch(mailbox, next->kind);
    }
}

/* With the session in hand: what is in the way, or the next batch. Called again by what happens. */
void replay_step(Mailbox *mailbox)
{
    LogNext next = {0};
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
    if (probe_step(mailbox) || probe_catch_up(mailbox))
        return;
    if (gather_is_open(mailbox->engine, mailbox->box))
        return; /* its end comes here */
    if (log_next(store_reader(mailbox->engine->store), mailbox->box, clock_real_ns(), &next)) {
        go_on(mailbox, &next);
    } else if (!is_due(mailbox)) {
        mailbox->replay.n_odd = 0;
        replay_end(mailbox);
    } else if (!probe_look(mailbox)) { /* neither to be sent nor to be looked for */
        look_again(mailbox);
    } else {
        replay_step(mailbox);
    }
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
        back_off(mailbox);
    } else if (wanted) { /* asked again when it is online */
        replay_end(mailbox);
    }
    mailbox_unref(mailbox);
}

void replay_mailbox(Mailbox *mailbox, CommandLane lane)
{
    LogNext next = {0};
    Engine *engine = mailbox->engine;
    bool patience = clock_mono_us() < mailbox->replay.not_before_us;
    if (mailbox->replay.phase != REPLAY_IDLE || mailbox->gone || mailbox->frozen || patience ||
        !replay_may_send(engine))
        return;
    mailbox->replay.phase = REPLAY_HELD;
    if (log_next(store_reader(engine->store), mailbox->box, clock_real_ns(), &next) &&
        next.kind == LOG_APPEND) /* whatever is selected */
        go_on(mailbox, &next);
    else
        mailbox_acquire(mailbox, lane, on_session, mailbox_ref(mailbox));
}

void replay_gathered(Engine *engine, GHashTable *boxes)
{
    GHashTableIter iter;
    gpointer key;
    replay_note_settled(engine); /* it may have been cancelled */
    g_hash_table_iter_init(&iter, boxes);
    while (g_hash_table_iter_next(&iter, &key, NULL)) {
        guint32 box = GPOINTER_TO_UINT(key);
        Mailbox *mailbox = mailbox_get(engine, box, NULL);
        if (mailbox && replay_count(engine, box, 0) > 0)
            replay_mailbox(mailbox, LANE_FOREGROUND);
    }
    g_autoptr(GList) all = g_hash_table_get_values(engine->mailboxes);
    g_list_foreach(all, (GFunc)(void (*)(void))mailbox_ref, NULL);
    for (GList *at = all; at; at = at->next) { /* those that waited for more */
        replay_step(at->data);
        mailbox_unref(at->data);
    }
    replay_soon(engine);
}

void replay_batch_over(Mailbox *mailbox, bool lost)
{
    MailboxReplay *replay = &mailbox->replay;
    mailbox_ref(mailbox);
    batch_free(g_steal_pointer(&replay->batch));
    if (mailbox->engine->quota_us == 0)
        quota_ask(mailbox->engine);
    replay->phase = REPLAY_HELD;
    replay->n_lost = lost ? replay->n_lost + 1 : 0;
    Job *waiting = job_find(mailbox->engine, NEED_MAILBOX, mailbox->box, 0, 0, NULL);
    if ((mailbox->dirty || waiting) && mailbox->selected)
        resync_run(mailbox); /* what was held back while it was sent */
    if (lost && replay->n_lost > LOST_FREELY)
        replay_put_off(mailbox, outcome_backoff_us(replay->n_lost - LOST_FREELY));
    else if (lost || !replay->holds || replay->generation != mailbox->generation)
        replay_end(mailbox);
    else
        replay_step(mailbox);
    mailbox_unref(mailbox);
}

bool replay_holds_back(const Mailbox *mailbox)
{
    const Batch *batch = mailbox->replay.batch;
    return batch && batch->kind->takes_away && !batch->settled;
}

void replay_hold_back(const Mailbox *mailbox, UidSet *gone)
{
    const Batch *batch = mailbox->replay.batch;
    for (guint i = 0; replay_holds_back(mailbox) && i < batch->items->len; i++)
        uidset_remove(gone, ((const Item *)batch->items->pdata[i])->op->uid);
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
        back_off(mailbox);
}

/* What needs a mailbox that may be written; a COPY out of it does not. */
static void park_writing(Mailbox *mailbox, const GError *why)
{
    static const LogKind writing[] = {LOG_FLAGS, LOG_MOVE, LOG_EXPUNGE};
    for (guint i = 0; i < G_N_ELEMENTS(writing); i++)
        if (conflict_action(writing[i], CONFLICT_NOPERM) == ACTION_PARK)
            batch_park_queued(mailbox, (int)writing[i], 0, why);
}

/* SELECT was refused. It is EXAMINEd until it is tried again. Perhaps it was renamed, or is gone:
 * LIST tells (Cyrus says NO without a code). */
static void select_refused(Mailbox *mailbox, const GError *refused)
{
    bool denied = g_error_matches(refused, IMAPFS_ERROR, IMAPFS_ERROR_DENIED);
    if (denied)
        park_writing(mailbox, refused);
    else if (mailbox->replay.level == 0)
        mailboxes_refresh(mailbox->engine);
    else
        replay_note_failed(mailbox->engine, mailbox->box, 0, refused);
    back_off(mailbox);
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
    replay_note_settled(engine); /* a deletion of what is gone is done, and no effect */
    if (effects->followed)
        engine_post(engine, soon_run, NULL, NULL);
}

/* --- the account --- */

void replay_init(Engine *engine)
{
    engine->replay.paces = g_hash_table_new_full(NULL, NULL, NULL, g_free);
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
    gather_clear(engine);
    engine_timer_clear(&engine->replay.due);
}

static bool note_unbound(const LogOp *op, gpointer data)
{
    if (op->state == LOG_UNBOUND)
        g_hash_table_add(data, GUINT_TO_POINTER(op->box));
    return true;
}

/* Those whose mailbox became another one, and whose new listing never came to its end. */
void replay_wake_unbound(Engine *engine)
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
    quota_ask(engine);
    if (engine->config.read_only || replay_count(engine, 0, 0) == 0)
        return;
    replay_wake_unbound(engine);
    replay_soon(engine);
}

void replay_offline(Engine *engine, const GError *error)
{
    g_autoptr(GError) offline =
        g_error_new(IMAPFS_ERROR, IMAPFS_ERROR_OFFLINE, "%s", error ? error->message : "offline");
    engine->replay.online_us = 0;
    engine_timer_clear(&engine->replay.due);
    events_add(engine, "offline", "%s", offline->message);
    replay_fail_waiters(engine, offline);
}

void replay_poll(Engine *engine)
{
    if (!engine->config.read_only && engine->replay.online_us && replay_count(engine, 0, 0) > 0)
        rehome_drop_adrift(engine);
}
