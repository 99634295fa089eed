/* gather.c - what a person changed just now: kept together for a moment in each mailbox (pace.c),
 * and told.
 *
 * What goes on in one mailbox holds up no other. Whoever waits for the server ends the moment. */
#include "replay.h"

#include "imapfs/base/clock.h"
#include "pace.h"

#define TELL_MS 250 /* they are one line in events */

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
        guint64 n = replay_count(engine, box.id, 0);
        if (n > 0)
            events_add(engine, "queued", "%s: %" G_GUINT64_FORMAT " pending", box.name, n);
        store_box_clear(&box);
    }
    g_hash_table_remove_all(engine->replay.told);
    return G_SOURCE_REMOVE;
}

bool gather_is_open(const Engine *engine, guint32 box)
{
    const Pace *pace = g_hash_table_lookup(engine->replay.paces, GUINT_TO_POINTER(box));
    return pace && pace_is_open(pace);
}

static gboolean on_gather(gpointer data);

/* For the first that is due. */
static void arm(Engine *engine)
{
    Replay *replay = &engine->replay;
    GHashTableIter iter;
    gpointer value;
    gint64 due_us = G_MAXINT64;
    engine_timer_clear(&replay->gather);
    g_hash_table_iter_init(&iter, replay->paces);
    while (g_hash_table_iter_next(&iter, NULL, &value))
        if (pace_is_open(value))
            due_us = MIN(due_us, pace_due_us(value));
    if (due_us == G_MAXINT64)
        return;
    gint64 left_us = replay_is_awaited(engine) ? 0 : MAX(0, due_us - clock_mono_us());
    replay->gather = engine_timer(engine, (guint)((left_us + 999) / 1000), on_gather, engine);
}

static void end_due(Engine *engine, bool all)
{
    g_autoptr(GHashTable) ended = g_hash_table_new(NULL, NULL);
    gint64 now_us = clock_mono_us();
    GHashTableIter iter;
    gpointer key, value;
    g_hash_table_iter_init(&iter, engine->replay.paces);
    while (g_hash_table_iter_next(&iter, &key, &value)) {
        Pace *pace = value;
        if (pace_is_open(pace) && (all || pace_due_us(pace) <= now_us)) {
            g_hash_table_add(ended, key);
            pace_end(pace);
        }
        if (pace_is_over(pace, now_us))
            g_hash_table_iter_remove(&iter);
    }
    arm(engine);
    if (g_hash_table_size(ended) > 0)
        replay_gathered(engine, ended);
}

static gboolean on_gather(gpointer data)
{
    Engine *engine = data;
    end_due(engine, replay_is_awaited(engine));
    return G_SOURCE_REMOVE;
}

void gather_end_now(Engine *engine)
{
    end_due(engine, true);
}

static void gather(Engine *engine, guint32 box)
{
    Replay *replay = &engine->replay;
    Pace *pace = g_hash_table_lookup(replay->paces, GUINT_TO_POINTER(box));
    if (!pace) {
        pace = g_new0(Pace, 1);
        g_hash_table_insert(replay->paces, GUINT_TO_POINTER(box), pace);
    }
    bool was_open = pace_is_open(pace);
    pace_note(pace, clock_mono_us());
    if (!was_open) /* of one that is open the timer finds that it is due later */
        arm(engine);
}

typedef struct {
    guint32 box, uid;
} Logged;

static void logged_run(Engine *engine, gpointer data)
{
    const Logged *logged = data;
    Replay *replay = &engine->replay;
    const EngineEvents *events = &engine->config.events;
    if (logged->uid && events->flags_changed)
        events->flags_changed(logged->box, logged->uid, engine->config.events_data);
    else if (!logged->uid && events->box_changed)
        events->box_changed(logged->box, engine->config.events_data);
    g_hash_table_add(replay->told, GUINT_TO_POINTER(logged->box));
    gather(engine, logged->box);
    if (!replay->tell)
        replay->tell = engine_timer(engine, TELL_MS, on_tell, engine);
}

void engine_logged(Engine *engine, guint32 box, guint32 uid)
{
    Logged logged = {box, uid};
    engine_post(engine, logged_run, g_memdup2(&logged, sizeof(logged)), g_free);
}

void gather_clear(Engine *engine)
{
    engine_timer_clear(&engine->replay.gather);
    engine_timer_clear(&engine->replay.tell);
    g_clear_pointer(&engine->replay.paces, g_hash_table_unref);
    g_clear_pointer(&engine->replay.told, g_hash_table_unref);
}
