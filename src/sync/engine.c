/* engine.c - the loop thread: its start and end, posting to it, and the pool's events.
 *
 * Everything of sync, imap and net happens on this one thread. What other threads may read stands
 * in Engine.shared under its lock. */
#include "ranged.h"

#include <string.h>

#include "imapfs/base/clock.h"
#include "imapfs/base/error.h"
#include "imapfs/base/limits.h"
#include "imapfs/base/log.h"

#define CLOSE_WAIT_MS 1200
#define CLOSE_TICK_MS 10
#define LAST_ITERATIONS 100
#define EVICT_EVERY_MS 5000
#define EVICT_MORE_MS 5
#define EVICT_BUDGET_US 3000

/* --- posting --- */

typedef struct {
    Engine *engine;
    EngineFunc f;
    gpointer data;
    GDestroyNotify destroy;
    int filled; /* atomic: GLib's own hand-over is by a lock that ThreadSanitizer does not see */
} Post;

static gboolean post_run(gpointer data)
{
    Post *post = data;
    __atomic_load_n(&post->filled, __ATOMIC_ACQUIRE);
    post->f(post->engine, post->data);
    return G_SOURCE_REMOVE;
}

static void post_free(gpointer data)
{
    Post *post = data;
    __atomic_load_n(&post->filled, __ATOMIC_ACQUIRE);
    if (post->destroy)
        post->destroy(post->data);
    g_free(post);
}

void engine_post(Engine *engine, EngineFunc f, gpointer data, GDestroyNotify destroy)
{
    Post *post = g_new(Post, 1);
    *post = (Post){engine, f, data, destroy, 0};
    __atomic_store_n(&post->filled, 1, __ATOMIC_RELEASE);
    g_autoptr(GSource) source = g_idle_source_new();
    g_source_set_priority(source, G_PRIORITY_DEFAULT);
    g_source_set_callback(source, post_run, post, post_free);
    g_source_attach(source, engine->context);
}

GSource *engine_timer(Engine *engine, guint ms, GSourceFunc f, gpointer data)
{
    GSource *source = ms ? g_timeout_source_new(ms) : g_idle_source_new();
    g_source_set_callback(source, f, data, NULL);
    g_source_attach(source, engine->context);
    return source;
}

void engine_timer_clear(GSource **source)
{
    if (!*source)
        return;
    g_source_destroy(*source);
    g_clear_pointer(source, g_source_unref);
}

/* --- what other threads may know --- */

void engine_set_fresh(Engine *engine, guint32 box, gint64 until_us)
{
    pthread_mutex_lock(&engine->shared.lock);
    g_hash_table_replace(engine->shared.fresh_until, GUINT_TO_POINTER(box),
                         g_memdup2(&until_us, sizeof(until_us)));
    pthread_mutex_unlock(&engine->shared.lock);
}

bool engine_box_fresh(Engine *engine, guint32 box)
{
    pthread_mutex_lock(&engine->shared.lock);
    gint64 *until = g_hash_table_lookup(engine->shared.fresh_until, GUINT_TO_POINTER(box));
    bool fresh = until && *until > clock_mono_us();
    pthread_mutex_unlock(&engine->shared.lock);
    return fresh;
}

/* A list of mailboxes that was asked for this long ago still counts as the server's. */
#define LISTED_FRESH_US (15 * G_USEC_PER_SEC)

void engine_set_listed(Engine *engine, gint64 at_us)
{
    pthread_mutex_lock(&engine->shared.lock);
    engine->shared.listed_us = at_us;
    pthread_mutex_unlock(&engine->shared.lock);
}

bool engine_boxes_fresh(Engine *engine)
{
    pthread_mutex_lock(&engine->shared.lock);
    bool fresh = engine->shared.state == POOL_ONLINE && engine->shared.listed_us != 0 &&
                 clock_mono_us() - engine->shared.listed_us < LISTED_FRESH_US;
    pthread_mutex_unlock(&engine->shared.lock);
    return fresh;
}

void engine_set_progress(Engine *engine, const char *mailbox, guint64 done, guint64 total)
{
    pthread_mutex_lock(&engine->shared.lock);
    g_strlcpy(engine->shared.progress.mailbox, mailbox, sizeof(engine->shared.progress.mailbox));
    engine->shared.progress.done = done;
    engine->shared.progress.total = total;
    pthread_mutex_unlock(&engine->shared.lock);
}

void engine_progress(Engine *engine, EngineProgress *out)
{
    pthread_mutex_lock(&engine->shared.lock);
    *out = engine->shared.progress;
    pthread_mutex_unlock(&engine->shared.lock);
}

char *engine_status(Engine *engine)
{
    pthread_mutex_lock(&engine->shared.lock);
    char *copy = g_strdup(engine->shared.status ? engine->shared.status : "");
    pthread_mutex_unlock(&engine->shared.lock);
    return copy;
}

bool engine_wait_online(Engine *engine, guint timeout_ms, GError **error)
{
    gint64 until_us = g_get_monotonic_time() + 1000 * (gint64)timeout_ms;
    struct timespec until = {.tv_sec = until_us / G_USEC_PER_SEC,
                             .tv_nsec = until_us % G_USEC_PER_SEC * 1000};
    pthread_mutex_lock(&engine->shared.lock);
    while (!engine->shared.decided) {
        if (pthread_cond_timedwait(&engine->shared.changed, &engine->shared.lock, &until) != 0)
            break;
    }
    bool online = engine->shared.decided && engine->shared.state == POOL_ONLINE;
    if (!online) {
        if (engine->shared.error)
            g_propagate_error(error, g_error_copy(engine->shared.error));
        else
            g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_TIMEOUT,
                        "the server did not answer within %u seconds", timeout_ms / 1000);
    }
    pthread_mutex_unlock(&engine->shared.lock);
    return online;
}

/* --- the pool's events --- */

static void on_state(Pool *pool, PoolState state, const GError *error, gpointer data)
{
    Engine *engine = data;
    bool came_back = state == POOL_ONLINE && engine->shared.state != POOL_ONLINE;
    pthread_mutex_lock(&engine->shared.lock);
    engine->shared.state = state;
    g_clear_error(&engine->shared.error);
    if (error)
        engine->shared.error = g_error_copy(error);
    if (state != POOL_ONLINE)
        engine->shared.listed_us = 0;
    if (state != POOL_CONNECTING)
        engine->shared.decided = true;
    pthread_cond_broadcast(&engine->shared.changed);
    pthread_mutex_unlock(&engine->shared.lock);
    if (state == POOL_CONNECTING)
        engine->connecting_us = clock_mono_us();
    else if (state != POOL_ONLINE)
        replay_offline(engine, error);
    if (came_back) {
        mailboxes_refresh(engine);
        mailboxes_poll(engine);
        replay_online(engine);
    }
}

static void on_select_params(Pool *pool, const char *mailbox, SelectParams *params, gpointer data)
{
    mailbox_select_params(data, mailbox, params);
}

static void on_selected(Pool *pool, Session *session, const char *mailbox,
                        const SelectResult *result, const GError *error, gpointer data)
{
    mailbox_on_selected(data, mailbox, session, result, error);
}

static void on_untagged(Pool *pool, Session *session, const char *mailbox, Response *response,
                        gpointer data)
{
    if (mailbox)
        mailbox_on_untagged(data, mailbox, response);
}

static void on_wanted(Pool *pool, const char *mailbox, gpointer data)
{
    mailbox_give_way(data, mailbox);
}

static void on_unselected(Pool *pool, const char *mailbox, gpointer data)
{
    mailbox_on_unselected(data, mailbox);
}

static void on_session(Pool *pool, Session *session, gpointer data)
{
    g_autofree char *what = session_describe(session);
    log_debug("engine", "connected: %s", what);
}

static const PoolEvents pool_events = {
    .on_state = on_state,
    .select_params = on_select_params,
    .on_selected = on_selected,
    .on_untagged = on_untagged,
    .on_unselected = on_unselected,
    .on_wanted = on_wanted,
    .on_session = on_session,
};

/* --- the thread --- */

static gboolean on_poll(gpointer data)
{
    mailboxes_poll(data);
    replay_poll(data);
    return G_SOURCE_CONTINUE;
}

/* Keeps the cache within its size, a little at a time. */
static gboolean on_evict(gpointer data)
{
    Engine *engine = data;
    bool more = content_evict(engine->store, EVICT_BUDGET_US);
    engine_timer_clear(&engine->evict);
    engine->evict = engine_timer(engine, more ? EVICT_MORE_MS : EVICT_EVERY_MS, on_evict, engine);
    return G_SOURCE_REMOVE;
}

static void start_run(Engine *engine, gpointer data)
{
    engine->evict = engine_timer(engine, EVICT_EVERY_MS, on_evict, engine);
    replay_init(engine);
    engine->pool = pool_new(engine->config.account, &pool_events, engine);
    engine->poll = engine_timer(engine, engine->config.poll_s * 1000, on_poll, engine);
    if (engine->config.offline)
        pool_set_offline(engine->pool, true);
    pool_start(engine->pool);
}

static void cancel_all_jobs(Engine *engine)
{
    g_autoptr(GError) error =
        g_error_new(IMAPFS_ERROR, IMAPFS_ERROR_CANCELLED, "the file system is being unmounted");
    g_autoptr(GList) jobs = g_hash_table_get_values(engine->jobs);
    for (GList *at = jobs; at; at = at->next)
        job_ref(at->data);
    for (GList *at = jobs; at; at = at->next) {
        job_finish(at->data, error);
        job_unref(at->data);
    }
}

static void count_session(Session *session, gpointer data)
{
    (*(guint *)data)++;
}

static guint count_sessions(Engine *engine)
{
    guint n = 0;
    if (engine->pool)
        pool_each_session(engine->pool, count_session, &n);
    return n;
}

static gboolean on_closing(gpointer data)
{
    Engine *engine = data;
    if (count_sessions(engine) > 0 && clock_mono_us() < engine->stop_us)
        return G_SOURCE_CONTINUE;
    g_main_loop_quit(engine->loop);
    return G_SOURCE_REMOVE;
}

/* Says LOGOUT on every session and gives them a moment; nothing that waits outlives this. */
static void stop_run(Engine *engine, gpointer data)
{
    cancel_all_jobs(engine);
    engine_timer_clear(&engine->poll);
    engine_timer_clear(&engine->evict);
    if (engine->pool)
        pool_set_offline(engine->pool, true);
    engine->stop_us = clock_mono_us() + 1000 * CLOSE_WAIT_MS;
    g_source_unref(engine_timer(engine, CLOSE_TICK_MS, on_closing, engine));
}

static gpointer thread_main(gpointer data)
{
    Engine *engine = data;
    g_main_context_push_thread_default(engine->context);
    g_main_loop_run(engine->loop);
    cancel_all_jobs(engine);
    pool_free(engine->pool);
    engine->pool = NULL;
    cancel_all_jobs(engine);
    ranged_free_all(engine);
    mailbox_free_all(engine);
    box_ops_clear(engine);
    replay_clear(engine);
    local_forget(engine);
    engine_timer_clear(&engine->tick);
    /* what a closing session left to run: reaping a tunnel, freeing a stream */
    for (guint i = 0; i < LAST_ITERATIONS; i++) {
        if (!g_main_context_iteration(engine->context, FALSE))
            break;
    }
    g_main_context_pop_thread_default(engine->context);
    return NULL;
}

static GPtrArray *new_reads(void)
{
    return g_ptr_array_new_with_free_func((GDestroyNotify)need_free);
}

Engine *engine_new(const EngineConfig *config, GError **error)
{
    Engine *engine = g_new0(Engine, 1);
    engine->config = *config;
    engine->store = config->store;
    engine->started_us = clock_mono_us();
    engine->context = g_main_context_new();
    engine->loop = g_main_loop_new(engine->context, FALSE);
    engine->jobs = g_hash_table_new(g_str_hash, g_str_equal);
    engine->waiters = g_hash_table_new(g_int64_hash, g_int64_equal);
    engine->mailboxes = g_hash_table_new(g_str_hash, g_str_equal);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&engine->shared.lock, NULL);
    pthread_cond_init(&engine->shared.changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    engine->shared.state = POOL_CONNECTING;
    engine->shared.offline = config->offline;
    engine->opening = g_hash_table_new(g_str_hash, g_str_equal);
    engine->shared.reads = new_reads();
    engine->shared.ranged = g_hash_table_new(g_str_hash, g_str_equal);
    engine->shared.corrected = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    engine->shared.fresh_until = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    engine->shared.events = g_string_new(NULL);
    engine_post(engine, start_run, NULL, NULL);
    engine->thread = g_thread_try_new("imapfs-loop", thread_main, engine, error);
    if (!engine->thread) {
        engine_free(engine);
        return NULL;
    }
    return engine;
}

void engine_free(Engine *engine)
{
    if (!engine)
        return;
    if (engine->thread) {
        engine_post(engine, stop_run, NULL, NULL);
        g_thread_join(engine->thread);
    }
    g_main_loop_unref(engine->loop);
    g_main_context_unref(engine->context); /* answers what was posted too late */
    g_hash_table_unref(engine->jobs);
    g_hash_table_unref(engine->waiters);
    g_hash_table_unref(engine->mailboxes);
    g_hash_table_unref(engine->opening);
    g_ptr_array_unref(engine->shared.reads);
    g_hash_table_unref(engine->shared.ranged);
    g_hash_table_unref(engine->shared.corrected);
    g_hash_table_unref(engine->shared.fresh_until);
    g_clear_error(&engine->shared.error);
    g_free(engine->shared.status);
    g_string_free(engine->shared.events, TRUE);
    pthread_mutex_destroy(&engine->shared.lock);
    pthread_cond_destroy(&engine->shared.changed);
    g_free(engine);
}

static void kick_run(Engine *engine, gpointer data)
{
    pool_kick(engine->pool);
    if (engine->shared.state == POOL_ONLINE)
        mailboxes_refresh(engine); /* and not by every n-th poll alone: somebody asks */
    mailboxes_poll(engine);
    replay_hurry(engine);
}

void engine_kick(Engine *engine)
{
    engine_post(engine, kick_run, NULL, NULL);
}

/* Whoever waits is answered now: the sessions have a second yet to say LOGOUT. */
static void offline_run(Engine *engine, gpointer data)
{
    bool offline = GPOINTER_TO_INT(data);
    pool_set_offline(engine->pool, offline);
    if (!offline) { /* wished for: not when the next attempt is due */
        pool_kick(engine->pool);
        replay_hurry(engine);
        return;
    }
    g_autoptr(GError) error = g_error_new(IMAPFS_ERROR, IMAPFS_ERROR_OFFLINE, "offline, as wished");
    jobs_fail_all(engine, error);
}

void engine_set_offline(Engine *engine, bool offline)
{
    pthread_mutex_lock(&engine->shared.lock);
    engine->shared.offline = offline;
    pthread_mutex_unlock(&engine->shared.lock);
    engine_post(engine, offline_run, GINT_TO_POINTER(offline), NULL);
}

bool engine_is_offline(Engine *engine)
{
    pthread_mutex_lock(&engine->shared.lock);
    bool offline = engine->shared.offline;
    pthread_mutex_unlock(&engine->shared.lock);
    return offline;
}

/* --- hints --- */

void engine_take_reads(Engine *engine)
{
    g_autoptr(GPtrArray) reads = NULL;
    pthread_mutex_lock(&engine->shared.lock);
    if (engine->shared.reads->len) {
        reads = engine->shared.reads;
        engine->shared.reads = new_reads();
    }
    engine->shared.reads_posted = false;
    pthread_mutex_unlock(&engine->shared.lock);
    for (guint i = 0; reads && i < reads->len; i++) {
        Need *need = reads->pdata[i];
        Mailbox *mailbox = mailbox_get(engine, need->box, NULL);
        need->encoded_size = ranged_encoded_size(engine, need);
        if (mailbox)
            ahead_note(mailbox, need);
    }
}

static void reads_run(Engine *engine, gpointer data)
{
    engine_take_reads(engine);
}

void engine_read(Engine *engine, guint32 box, guint32 uid, ContentKind kind, const char *section)
{
    const Need need = {
        .kind = NEED_CONTENT, .box = box, .uid = uid, .content = kind, .section = (char *)section};
    pthread_mutex_lock(&engine->shared.lock);
    g_ptr_array_add(engine->shared.reads, need_copy(&need));
    bool wake =
        !engine->shared.reads_posted && engine->shared.reads->len > engine->shared.reads_kept;
    engine->shared.reads_posted = engine->shared.reads_posted || wake;
    pthread_mutex_unlock(&engine->shared.lock);
    if (wake)
        engine_post(engine, reads_run, NULL, NULL);
}

/* --- errors --- */

/* X: what a response code of a tagged NO means. */
static const struct {
    ResponseCode code;
    ImapfsError error;
} code_errors[] = {
    {CODE_NONEXISTENT, IMAPFS_ERROR_GONE},   {CODE_NOPERM, IMAPFS_ERROR_DENIED},
    {CODE_OVERQUOTA, IMAPFS_ERROR_QUOTA},    {CODE_TOOBIG, IMAPFS_ERROR_TOO_BIG},
    {CODE_UNAVAILABLE, IMAPFS_ERROR_SERVER}, {CODE_EXPUNGEISSUED, IMAPFS_ERROR_GONE},
    {CODE_INUSE, IMAPFS_ERROR_SERVER},       {CODE_PRIVACYREQUIRED, IMAPFS_ERROR_TLS},
};

GError *error_from_result(CommandResult result, const Response *tagged, const char *what)
{
    if (result == COMMAND_LOST)
        return g_error_new(IMAPFS_ERROR, IMAPFS_ERROR_LOST, "%s: the connection was lost", what);
    if (result == COMMAND_CANCELLED)
        return g_error_new(IMAPFS_ERROR, IMAPFS_ERROR_CANCELLED, "%s: interrupted", what);
    ImapfsError code = IMAPFS_ERROR_SERVER;
    for (gsize i = 0; tagged && i < G_N_ELEMENTS(code_errors); i++) {
        if (code_errors[i].code == tagged->code)
            code = code_errors[i].error;
    }
    const char *said = tagged && tagged->text ? tagged->text : "";
    g_autofree char *text = log_printable(said, strlen(said), LIMIT_SERVER_TEXT);
    return g_error_new(IMAPFS_ERROR, (gint)code, "%s: the server said: %s", what, text);
}
