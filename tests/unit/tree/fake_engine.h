/* fake_engine.h - the engine's functions as a test wants them, in place of the real ones.
 *
 * To be included by one source file of a test. It defines every symbol of engine.h that the tree
 * and the front use, so the linker does not take the real engine out of the library. */
#pragma once
#include <pthread.h>
#include <string.h>

#include "imapfs/base/error.h"
#include "imapfs/sync/ranged.h"

/* Called on the fake's own thread for every need that is not stalled. */
typedef void (*FakeAnswer)(const Need *need, GError **error, gpointer data);

struct Engine {
    pthread_mutex_t lock; /* not GLib's: ThreadSanitizer does not see those */
    pthread_cond_t cond;
    bool boxes_fresh;
    void (*on_fresh)(gpointer data); /* called by the next question whether something is fresh */
    gpointer on_fresh_data;
    GHashTable *fresh;   /* box ids */
    GHashTable *stalled; /* uids: needs for these are only ended by engine_cancel() */
    char *status;
    FakeAnswer answer;
    gpointer answer_data;
    GThread *thread; /* NULL: needs are not expected */
    bool stopping;
    GQueue wants;
    guint64 last_handle;
    guint n_wants, n_cancels;
    bool offline;
    GString *events;
    guint32 logged_box, logged_uid; /* the last */
    guint n_logged;
};

typedef struct {
    guint64 handle;
    Need *need;
    NeedDone done;
    gpointer data;
    bool cancelled;
} FakeWant;

void engine_tell(Engine *engine, const char *word, const char *words)
{
    pthread_mutex_lock(&engine->lock);
    g_string_append_printf(engine->events, "%s %s\n", word, words);
    pthread_mutex_unlock(&engine->lock);
}

static Engine *fake_engine_new(void)
{
    Engine *engine = g_new0(Engine, 1);

    pthread_mutex_init(&engine->lock, NULL);
    pthread_cond_init(&engine->cond, NULL);
    engine->boxes_fresh = true;
    engine->fresh = g_hash_table_new(NULL, NULL);
    engine->stalled = g_hash_table_new(NULL, NULL);
    engine->status = g_strdup("state online\n");
    engine->events = g_string_new(NULL);
    return engine;
}

static void fake_engine_set_fresh(Engine *engine, guint32 box, bool fresh)
{
    pthread_mutex_lock(&engine->lock);
    if (box == 0)
        engine->boxes_fresh = fresh;
    else if (fresh)
        g_hash_table_add(engine->fresh, GUINT_TO_POINTER(box));
    else
        g_hash_table_remove(engine->fresh, GUINT_TO_POINTER(box));
    pthread_mutex_unlock(&engine->lock);
}

G_GNUC_UNUSED static void fake_engine_stall(Engine *engine, guint32 uid, bool stall)
{
    pthread_mutex_lock(&engine->lock);
    if (stall)
        g_hash_table_add(engine->stalled, GUINT_TO_POINTER(uid));
    else
        g_hash_table_remove(engine->stalled, GUINT_TO_POINTER(uid));
    pthread_cond_broadcast(&engine->cond);
    pthread_mutex_unlock(&engine->lock);
}

G_GNUC_UNUSED static guint fake_engine_waiting(Engine *engine)
{
    guint n;

    pthread_mutex_lock(&engine->lock);
    n = engine->wants.length;
    pthread_mutex_unlock(&engine->lock);
    return n;
}

/* How many needs were told so far, and how many were cancelled. */
G_GNUC_UNUSED static guint count_wants(Engine *engine)
{
    guint n;

    pthread_mutex_lock(&engine->lock);
    n = engine->n_wants;
    pthread_mutex_unlock(&engine->lock);
    return n;
}

G_GNUC_UNUSED static guint count_cancels(Engine *engine)
{
    guint n;

    pthread_mutex_lock(&engine->lock);
    n = engine->n_cancels;
    pthread_mutex_unlock(&engine->lock);
    return n;
}

static FakeWant *fake_engine_next(Engine *engine)
{
    for (GList *link = engine->wants.head; link; link = link->next) {
        FakeWant *want = link->data;
        if (want->cancelled || engine->stopping ||
            !g_hash_table_contains(engine->stalled, GUINT_TO_POINTER(want->need->uid))) {
            want->cancelled |= engine->stopping;
            g_queue_delete_link(&engine->wants, link);
            return want;
        }
    }
    return NULL;
}

static gpointer fake_engine_thread(gpointer data)
{
    Engine *engine = data;

    pthread_mutex_lock(&engine->lock);
    while (!engine->stopping || engine->wants.length) {
        FakeWant *want = fake_engine_next(engine);
        g_autoptr(GError) error = NULL;

        if (!want) {
            pthread_cond_wait(&engine->cond, &engine->lock);
            continue;
        }
        pthread_mutex_unlock(&engine->lock);
        if (want->cancelled)
            g_set_error(&error, IMAPFS_ERROR, IMAPFS_ERROR_CANCELLED, "cancelled");
        else if (engine->answer)
            engine->answer(want->need, &error, engine->answer_data);
        want->done(error, want->data);
        need_free(want->need);
        g_free(want);
        pthread_mutex_lock(&engine->lock);
    }
    pthread_mutex_unlock(&engine->lock);
    return NULL;
}

G_GNUC_UNUSED static void fake_engine_start(Engine *engine, FakeAnswer answer, gpointer data)
{
    engine->answer = answer;
    engine->answer_data = data;
    engine->thread = g_thread_new("fake-engine", fake_engine_thread, engine);
}

void engine_free(Engine *engine)
{
    pthread_mutex_lock(&engine->lock);
    engine->stopping = true;
    pthread_cond_broadcast(&engine->cond);
    pthread_mutex_unlock(&engine->lock);
    if (engine->thread)
        g_thread_join(engine->thread);
    g_hash_table_unref(engine->fresh);
    g_hash_table_unref(engine->stalled);
    g_free(engine->status);
    g_string_free(engine->events, TRUE);
    pthread_mutex_destroy(&engine->lock);
    pthread_cond_destroy(&engine->cond);
    g_free(engine);
}

guint64 engine_want(Engine *engine, const Need *need, NeedDone done, gpointer data)
{
    FakeWant *want = g_new0(FakeWant, 1);
    guint64 handle;

    want->need = need_copy(need);
    want->done = done;
    want->data = data;
    pthread_mutex_lock(&engine->lock);
    handle = want->handle = ++engine->last_handle;
    engine->n_wants++;
    g_queue_push_tail(&engine->wants, want);
    pthread_cond_broadcast(&engine->cond);
    pthread_mutex_unlock(&engine->lock);
    return handle;
}

void engine_cancel(Engine *engine, guint64 handle)
{
    pthread_mutex_lock(&engine->lock);
    engine->n_cancels++;
    for (GList *link = engine->wants.head; link; link = link->next) {
        FakeWant *want = link->data;
        want->cancelled |= want->handle == handle;
    }
    pthread_cond_broadcast(&engine->cond);
    pthread_mutex_unlock(&engine->lock);
}

static void fake_engine_meanwhile(Engine *engine)
{
    void (*f)(gpointer data) = engine->on_fresh;

    engine->on_fresh = NULL;
    if (f)
        f(engine->on_fresh_data);
}

bool engine_boxes_fresh(Engine *engine)
{
    bool fresh;

    fake_engine_meanwhile(engine);
    pthread_mutex_lock(&engine->lock);
    fresh = engine->boxes_fresh;
    pthread_mutex_unlock(&engine->lock);
    return fresh;
}

void engine_want_quota(Engine *engine)
{
}

bool engine_box_fresh(Engine *engine, guint32 box)
{
    bool fresh;

    fake_engine_meanwhile(engine);
    pthread_mutex_lock(&engine->lock);
    fresh = g_hash_table_contains(engine->fresh, GUINT_TO_POINTER(box));
    pthread_mutex_unlock(&engine->lock);
    return fresh;
}

bool engine_was_corrected(Engine *engine, const ContentKey *key)
{
    return false;
}

Ranged *engine_ranged(Engine *engine, const ContentKey *key)
{
    return NULL;
}

char *engine_status(Engine *engine)
{
    return g_strdup(engine->status);
}

void engine_read(Engine *engine, guint32 box, guint32 uid, ContentKind kind, const char *section)
{
}

void engine_logged(Engine *engine, guint32 box, guint32 uid)
{
    pthread_mutex_lock(&engine->lock);
    engine->logged_box = box;
    engine->logged_uid = uid;
    engine->n_logged++;
    pthread_mutex_unlock(&engine->lock);
}

/* What engine_logged() was told last, and how often it was. */
G_GNUC_UNUSED static guint count_logged(Engine *engine, guint32 *box_out, guint32 *uid_out)
{
    guint n;

    pthread_mutex_lock(&engine->lock);
    *box_out = engine->logged_box;
    *uid_out = engine->logged_uid;
    n = engine->n_logged;
    pthread_mutex_unlock(&engine->lock);
    return n;
}

G_GNUC_UNUSED static void fake_engine_add_event(Engine *engine, const char *line)
{
    pthread_mutex_lock(&engine->lock);
    g_string_append(engine->events, line);
    pthread_mutex_unlock(&engine->lock);
}

char *engine_events(Engine *engine, gsize *length_out)
{
    char *text;

    pthread_mutex_lock(&engine->lock);
    *length_out = engine->events->len;
    text = g_strdup(engine->events->str);
    pthread_mutex_unlock(&engine->lock);
    return text;
}

gsize engine_events_length(Engine *engine)
{
    gsize length;

    pthread_mutex_lock(&engine->lock);
    length = engine->events->len;
    pthread_mutex_unlock(&engine->lock);
    return length;
}

void engine_set_offline(Engine *engine, bool offline)
{
    pthread_mutex_lock(&engine->lock);
    engine->offline = offline;
    pthread_mutex_unlock(&engine->lock);
}

bool engine_is_offline(Engine *engine)
{
    bool offline;

    pthread_mutex_lock(&engine->lock);
    offline = engine->offline;
    pthread_mutex_unlock(&engine->lock);
    return offline;
}
