/* probe.c - what was sent and not answered: is it where it was to go?
 *
 * The rule: asked only of a mailbox that was brought into sync after the loss, and not at once: a
 * server may be at work on a command whose client is gone. Found, it is done; else it is sent
 * again (store/log.h, log_probe). */
#include "replay.h"

#include "imapfs/base/clock.h"
#include "imapfs/base/fault.h"
#include "imapfs/base/log.h"

#define PROBE_AFTER_US (300 * G_GINT64_CONSTANT(1000))

void probe_mark(Engine *engine, guint32 box)
{
    Mailbox *mailbox = mailbox_get(engine, box, NULL);
    if (!mailbox)
        return;
    mailbox->replay.probe = PROBE_WANTED;
    mailbox->replay.probe_us = clock_mono_us() + PROBE_AFTER_US;
}

static bool run(Mailbox *mailbox, guint *found, guint *queued, guint *parked, GError **error)
{
    StoreTxn *txn = store_begin(mailbox->engine->store, false, error);
    if (!txn)
        return false;
    if (!log_probe(txn, mailbox->box, found, queued, parked, error)) {
        store_rollback(txn);
        return false;
    }
    FAULT("replay.probe");
    return store_commit(txn, error);
}

static void tell(Mailbox *mailbox, guint found, guint queued, guint parked)
{
    Engine *engine = mailbox->engine;
    const EngineEvents *events = &engine->config.events;
    log_info("replay", "%s: of what was sent and not answered %u arrived, %u did not, %u are lost",
             mailbox->name, found, queued, parked);
    events_add_count(engine, "arrived", mailbox->name, found, "message");
    events_add_count(engine, "again", mailbox->name, queued, "message");
    events_add_count(engine, "parked", mailbox->name, parked, "message");
    if (parked) {
        g_autoptr(GError) gone = g_error_new(IMAPFS_ERROR, IMAPFS_ERROR_GONE, "%s: %s",
                                             mailbox->name, conflict_words(CONFLICT_EXPUNGED));
        replay_note_failed(engine, 0, 0, gone);
    }
    if (found + parked && events->box_changed)
        events->box_changed(mailbox->box, engine->config.events_data);
    replay_note_settled(engine);
}

static void probe(Mailbox *mailbox)
{
    guint found = 0, queued = 0, parked = 0;
    g_autoptr(GError) error = NULL;
    if (!run(mailbox, &found, &queued, &parked, &error)) { /* UNSURE still */
        log_error("replay", "%s: %s", mailbox->name, error->message);
        replay_put_off(mailbox, outcome_backoff_us(mailbox->replay.level++));
        return;
    }
    FAULT("replay.probed");
    mailbox->replay.probe = PROBE_NONE;
    if (found + queued + parked == 0)
        return;
    tell(mailbox, found, queued, parked);
    if (queued > 0)
        replay_wake_unbound(
            mailbox->engine); /* what it was to be taken from was renewed meanwhile */
}

/* A session may show what it last saw until it is asked for news. */
static void on_news(Command *command, CommandResult result, const Response *tagged, gpointer data)
{
    Mailbox *mailbox = data;
    if (result == COMMAND_OK && mailbox->replay.probe == PROBE_NEWS && mailbox->selected) {
        mailbox->replay.probe = PROBE_SYNC;
        mailbox->dirty |= DIRTY_NEW | DIRTY_VERIFY;
        mailbox->must_sync = true;
        replay_step(mailbox);
    } else if (mailbox->replay.probe == PROBE_NEWS) {
        mailbox->replay.probe = PROBE_WANTED;
        if (result != COMMAND_LOST) /* else what becomes of the session ends the hold */
            replay_put_off(mailbox, PROBE_AFTER_US);
    }
    mailbox_unref(mailbox);
}

static void ask_for_news(Mailbox *mailbox)
{
    mailbox->replay.probe = PROBE_NEWS;
    mailbox_ask_for_news(mailbox->session, on_news, mailbox_ref(mailbox));
}

/* --- what is not in view --- */

static void on_caught_up(Command *command, CommandResult result, const Response *tagged,
                         gpointer data)
{
    Mailbox *mailbox = data;
    mailbox->replay.catching = false;
    if (result == COMMAND_OK && mailbox->selected) {
        mailbox->dirty |= DIRTY_NEW | DIRTY_VERIFY;
        mailbox->must_sync = true;
    }
    if (result != COMMAND_LOST)
        replay_step(mailbox);
    mailbox_unref(mailbox);
}

bool probe_catch_up(Mailbox *mailbox)
{
    MailboxReplay *replay = &mailbox->replay;
    if (!mailbox_is_behind(mailbox)) {
        replay->n_caught = 0;
        return false;
    }
    if (replay->catching || replay->reselecting)
        return true;
    if (replay->n_caught++ > 0) { /* it went again meanwhile: SELECT tells the true UIDNEXT */
        replay->n_caught = 0;
        mailbox->placed_uid = 0;
        replay->reselecting = pool_reselect(mailbox->engine->pool, mailbox->name);
        return replay->reselecting;
    }
    replay->catching = true;
    mailbox_ask_for_news(mailbox->session, on_caught_up, mailbox_ref(mailbox));
    return true;
}

/* --- what has no number --- */

static void on_unnumbered(Mailbox *mailbox, Session *session, const GError *error, gpointer data)
{
    if (session) { /* what is asked from now on comes behind the NOOP */
        mailbox_ask_for_news(session, NULL, NULL);
        mailbox->replay.maybe_unbound = true;
        mailbox_mark(mailbox, DIRTY_NEW | DIRTY_VERIFY);
        mailbox_sync_soon(mailbox, LANE_BACKGROUND);
        mailbox_release(mailbox, mailbox->generation);
    }
    mailbox_unref(mailbox);
}

void probe_unnumbered(Mailbox *mailbox, bool needed)
{
    engine_set_fresh(mailbox->engine, mailbox->box, 0);
    if (needed || mailbox->selected)
        mailbox_acquire(mailbox, LANE_BACKGROUND, on_unnumbered, mailbox_ref(mailbox));
}

/* --- what is unsure --- */

typedef struct {
    guint32 box;
    bool found;
} Look;

static bool is_unsure_into(const LogOp *op, gpointer data)
{
    Look *look = data;
    look->found = op->state == LOG_UNSURE && op->to_box == look->box;
    return !look->found;
}

bool probe_look(Mailbox *mailbox)
{
    Look look = {.box = mailbox->box};
    log_each(store_reader(mailbox->engine->store), false, 0, is_unsure_into, &look);
    mailbox->replay.probe = look.found ? PROBE_WANTED : PROBE_NONE;
    return look.found;
}

bool probe_step(Mailbox *mailbox)
{
    MailboxReplay *replay = &mailbox->replay;
    if (replay->probe == PROBE_UNKNOWN)
        probe_look(mailbox);
    gint64 wait_us = replay->probe_us - clock_mono_us();
    switch (replay->probe) {
    case PROBE_UNKNOWN:
    case PROBE_NONE:
        return false;
    case PROBE_WANTED:
        if (wait_us > 0)
            replay_put_off(mailbox, wait_us);
        else
            ask_for_news(mailbox);
        return true;
    case PROBE_NEWS:
        return true;
    case PROBE_SYNC:
        probe(mailbox);
        return replay->phase != REPLAY_HELD;
    }
    return false;
}
