/* gather.c - what a person changed just now: kept together for a moment, and told.
 *
 * One change is sent at once, or as good as; while more keep coming they are gathered, for longer
 * the longer that goes on, so that a thousand moves in a loop are a few commands. Whoever waits for
 * the server ends the moment. */
#include "replay.h"

#include "imapfs/base/clock.h"

#define GATHER_MS 15 /* without another change; twice as long each time, up to */
#define GATHER_LONG_MS 300
#define GATHER_MOST_MS 1000 /* from the first on */
#define RUN_MS 1000         /* so long after the last they are no longer one run of changes */
#define TELL_MS 250         /* they are one line in events */

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

bool gather_is_open(const Engine *engine)
{
    return engine->replay.gather != NULL;
}

static void end(Engine *engine)
{
    g_autoptr(GHashTable) logged = g_steal_pointer(&engine->replay.logged);
    engine->replay.n_gathered++;
    engine->replay.gathered_us = clock_mono_us();
    engine->replay.logged = g_hash_table_new(NULL, NULL);
    engine_timer_clear(&engine->replay.gather);
    replay_gathered(engine, logged);
}

static gint64 quiet_us(const Replay *replay)
{
    return 1000 * MIN(GATHER_MS * (1 << MIN(replay->n_gathered, 8)), GATHER_LONG_MS);
}

static gboolean on_gather(gpointer data)
{
    Engine *engine = data;
    gint64 now = clock_mono_us();
    gint64 quiet = engine->replay.logged_us + quiet_us(&engine->replay);
    gint64 most = engine->replay.gather_us + 1000 * GATHER_MOST_MS;
    gint64 left = replay_is_awaited(engine) ? 0 : MIN(quiet, most) - now;
    if (left <= 0) {
        end(engine);
        return G_SOURCE_REMOVE;
    }
    engine_timer_clear(&engine->replay.gather);
    engine->replay.gather = engine_timer(engine, (guint)(left / 1000 + 1), on_gather, engine);
    return G_SOURCE_REMOVE;
}

void gather_end_now(Engine *engine)
{
    if (engine->replay.gather)
        end(engine);
}

/* Opens the moment, or keeps it open. */
static void gather(Engine *engine)
{
    Replay *replay = &engine->replay;
    replay->logged_us = clock_mono_us();
    if (replay->gather)
        return;
    replay->gather_us = replay->logged_us;
    if (replay->logged_us - replay->gathered_us > 1000 * RUN_MS)
        replay->n_gathered = 0;
    guint ms = replay_is_awaited(engine) ? 0 : (guint)(quiet_us(replay) / 1000);
    replay->gather = engine_timer(engine, ms, on_gather, engine);
}

void gather_more(Engine *engine)
{
    gint64 since_us = clock_mono_us() - engine->replay.gathered_us;
    if (engine->replay.n_gathered > 1 && since_us < 1000 * RUN_MS && !replay_is_awaited(engine))
        gather(engine);
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
    g_hash_table_add(replay->logged, GUINT_TO_POINTER(logged->box));
    g_hash_table_add(replay->told, GUINT_TO_POINTER(logged->box));
    gather(engine);
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
    g_clear_pointer(&engine->replay.logged, g_hash_table_unref);
    g_clear_pointer(&engine->replay.told, g_hash_table_unref);
}
