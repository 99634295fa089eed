/* jobs.c - what is wanted, by whom, and until when.
 *
 * Equal needs share one Job. A waiter is answered exactly once: by its job, by its deadline, or by
 * being cancelled; whichever comes first takes it out of the table. */
#include "ranged.h"

#include "imapfs/base/clock.h"
#include "imapfs/base/error.h"
#include "imapfs/base/log.h"

#define TICK_MS 250
#define MAX_ATTEMPTS 3

typedef struct {
    guint64 handle;
    Job *job;
    NeedDone done;
    gpointer data;
    gint64 since_us;
    gint64 limit_us; /* without progress */
    bool fixed;      /* progress does not move the deadline: what is cached can be had instead */
} Waiter;

static void (*const job_start[])(Job *job) = {
    [NEED_MAILBOXES] = mailboxes_job_start, [NEED_MAILBOX] = mailbox_job_start,
    [NEED_STRUCTURE] = structure_job_start, [NEED_CONTENT] = content_job_start,
    [NEED_SIZES] = sizes_job_start,         [NEED_STATUS] = status_job_start,
    [NEED_REPLAYED] = replayed_job_start,   [NEED_RANGE] = ranged_job_start,
};

static void start(Job *job)
{
    if (!spooled_start(job))
        job_start[job->need.kind](job);
}

static char *job_key(NeedKind kind, guint32 box, guint32 uid, ContentKind content,
                     const char *section)
{
    return g_strdup_printf("%d:%u:%u:%d:%s", kind, box, uid, content, section ? section : "");
}

static char *job_key_of(const Need *need)
{
    g_autofree char *key = job_key(need->kind, need->box, need->uid, need->content, need->section);
    if (need->kind == NEED_CONTENT && need->whole)
        return g_strconcat(key, ":whole", NULL);
    if (need->kind != NEED_RANGE)
        return g_steal_pointer(&key);
    return g_strdup_printf("%s:%" G_GUINT64_FORMAT ":%" G_GUINT64_FORMAT, key, need->offset,
                           need->length);
}

Job *job_find(Engine *engine, NeedKind kind, guint32 box, guint32 uid, ContentKind content,
              const char *section)
{
    g_autofree char *key = job_key(kind, box, uid, content, section);
    return g_hash_table_lookup(engine->jobs, key);
}

Job *job_ref(Job *job)
{
    job->refs++;
    return job;
}

void job_unref(Job *job)
{
    if (--job->refs > 0)
        return;
    need_clear(&job->need);
    g_array_unref(job->handles);
    g_free(job->key);
    g_free(job);
}

void job_progress(Job *job)
{
    job->progress_us = clock_mono_us();
}

bool job_is_wanted(const Job *job)
{
    return !job->finished && job->handles->len > 0;
}

/* Takes the waiter out of the table and answers it. The job stays. */
static void waiter_answer(Engine *engine, guint64 handle, const GError *error)
{
    Waiter *waiter = g_hash_table_lookup(engine->waiters, &handle);
    if (!waiter)
        return;
    g_hash_table_steal(engine->waiters, &handle);
    waiter->done(error, waiter->data);
    job_unref(waiter->job);
    g_free(waiter);
}

void job_finish(Job *job, const GError *error)
{
    if (job->finished)
        return;
    job_ref(job);
    job->finished = true;
    g_hash_table_steal(job->engine->jobs, job->key);
    for (guint i = 0; i < job->handles->len; i++)
        waiter_answer(job->engine, g_array_index(job->handles, guint64, i), error);
    g_array_set_size(job->handles, 0);
    job_unref(job); /* the table's */
    job_unref(job);
}

static void job_forget_waiter(Job *job, guint64 handle)
{
    for (guint i = 0; i < job->handles->len; i++) {
        if (g_array_index(job->handles, guint64, i) == handle) {
            g_array_remove_index_fast(job->handles, i);
            return;
        }
    }
}

void jobs_fail_box(Engine *engine, guint32 box, const GError *error)
{
    /* with references: the end of one may end another that awaits it */
    g_autoptr(GPtrArray) doomed = g_ptr_array_new_with_free_func((GDestroyNotify)job_unref);
    GHashTableIter iter;
    gpointer value;
    g_hash_table_iter_init(&iter, engine->jobs);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        if (((Job *)value)->need.box == box)
            g_ptr_array_add(doomed, job_ref(value));
    }
    for (guint i = 0; i < doomed->len; i++)
        job_finish(g_ptr_array_index(doomed, i), error);
    ranged_fail_box(engine, box, error);
}

void jobs_each(Engine *engine, NeedKind kind, void (*f)(Job *job, gpointer data), gpointer data)
{
    g_autoptr(GPtrArray) found = g_ptr_array_new_with_free_func((GDestroyNotify)job_unref);
    GHashTableIter iter;
    gpointer value;
    g_hash_table_iter_init(&iter, engine->jobs);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        if (((Job *)value)->need.kind == kind)
            g_ptr_array_add(found, job_ref(value));
    }
    for (guint i = 0; i < found->len; i++)
        f(g_ptr_array_index(found, i), data);
}

static void fail_job(Job *job, gpointer data)
{
    job_finish(job, data);
}

void jobs_fail_all(Engine *engine, const GError *error)
{
    g_autoptr(GError) copy = g_error_copy(error);
    for (guint kind = 0; kind < G_N_ELEMENTS(job_start); kind++) {
        if (kind != NEED_STATUS)
            jobs_each(engine, (NeedKind)kind, fail_job, copy);
    }
}

/* --- retrying --- */

typedef struct {
    Job *job;
    void (*again)(Job *job);
} Retry;

static void retry_free(gpointer data)
{
    Retry *retry = data;
    job_unref(retry->job);
    g_free(retry);
}

static void retry_run(Engine *engine, gpointer data)
{
    Retry *retry = data;
    if (!retry->job->finished)
        retry->again(retry->job);
}

void job_retry(Job *job, void (*again)(Job *job), const GError *error)
{
    if (job->finished)
        return;
    if (++job->attempts >= MAX_ATTEMPTS || !job_is_wanted(job)) {
        job_finish(job, error);
        return;
    }
    Retry *retry = g_new(Retry, 1);
    retry->job = job_ref(job);
    retry->again = again;
    engine_post(job->engine, retry_run, retry, retry_free);
}

/* --- deadlines --- */

static bool is_online(const Engine *engine)
{
    return engine->pool && pool_state(engine->pool) == POOL_ONLINE;
}

/* How long to wait for what the cache can serve instead. While there is no connection all who wait
 * share one such time, counted from when the attempt began, and after a failure little of it: a
 * walk through the tree must not wait anew in every directory. */
#define RETRY_WAIT_MS 1000

static gint64 fresh_limit_us(const Engine *engine)
{
    gint64 fresh_us = 1000 * (gint64)engine->config.fresh_ms;
    if (!engine->pool || is_online(engine))
        return fresh_us;
    if (pool_error(engine->pool, NULL)) /* it is tried again, or will be now */
        fresh_us = MIN(fresh_us, 1000 * RETRY_WAIT_MS);
    if (pool_state(engine->pool) != POOL_CONNECTING)
        return fresh_us;
    return MAX(0, engine->connecting_us + fresh_us - clock_mono_us());
}

/* How long to wait for a connection by which changes can be sent. */
static gint64 replayed_limit_us(const Job *job)
{
    guint fresh_ms = job->engine->config.fresh_ms;
    return 1000 * (gint64)(replayed_job_insists(job) ? fresh_ms : MIN(fresh_ms, RETRY_WAIT_MS));
}

static gint64 waiter_deadline(const Waiter *waiter)
{
    if (waiter->job->need.kind == NEED_REPLAYED && !is_online(waiter->job->engine))
        return waiter->since_us + replayed_limit_us(waiter->job);
    gint64 from = waiter->since_us;
    for (const Job *job = waiter->job; job && !waiter->fixed; job = job->awaits)
        from = MAX(from, job->progress_us);
    return from + waiter->limit_us;
}

static gboolean on_tick(gpointer data)
{
    Engine *engine = data;
    gint64 now = clock_mono_us();
    g_autoptr(GArray) late = g_array_new(FALSE, FALSE, sizeof(guint64));
    GHashTableIter iter;
    gpointer value;
    g_hash_table_iter_init(&iter, engine->waiters);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        Waiter *waiter = value;
        if (now >= waiter_deadline(waiter))
            g_array_append_val(late, waiter->handle);
    }
    g_autoptr(GError) error =
        is_online(engine)
            ? g_error_new(IMAPFS_ERROR, IMAPFS_ERROR_TIMEOUT, "the server did not answer in time")
            : g_error_new(IMAPFS_ERROR, IMAPFS_ERROR_OFFLINE,
                          "the server cannot be reached for now");
    for (guint i = 0; i < late->len; i++) {
        guint64 handle = g_array_index(late, guint64, i);
        Waiter *waiter = g_hash_table_lookup(engine->waiters, &handle);
        if (!waiter)
            continue;
        log_debug("engine", "timeout: %s", waiter->job->key);
        job_forget_waiter(waiter->job, handle);
        waiter_answer(engine, handle, error);
    }
    if (g_hash_table_size(engine->waiters) > 0)
        return G_SOURCE_CONTINUE;
    g_clear_pointer(&engine->tick, g_source_unref);
    return G_SOURCE_REMOVE;
}

/* --- wanting --- */

typedef struct {
    guint64 handle;
    Need *need;
    NeedDone done;
    gpointer data;
} Want;

static void want_free(gpointer data)
{
    Want *want = data;
    if (want->done) { /* the loop ended before it could be taken up */
        g_autoptr(GError) error =
            g_error_new(IMAPFS_ERROR, IMAPFS_ERROR_CANCELLED, "the file system is being unmounted");
        want->done(error, want->data);
    }
    need_free(want->need);
    g_free(want);
}

/* How long this waiter waits: what the cache can serve in its place is only waited
 * for briefly. */
static void waiter_set_limit(Engine *engine, Waiter *waiter)
{
    const Need *need = &waiter->job->need;
    bool cached = false;
    if (need->kind == NEED_MAILBOX) {
        StoreBox box = {0};
        if (store_box_by_id(store_reader(engine->store), need->box, &box)) {
            cached = box.listed;
            store_box_clear(&box);
        }
    } else if (need->kind == NEED_MAILBOXES) {
        cached = store_boxes_synced(store_reader(engine->store)) != 0;
    } else if (need->kind == NEED_SIZES) {
        cached = true; /* there is the estimate */
    }
    waiter->fixed = cached;
    waiter->limit_us = cached ? fresh_limit_us(engine) : 1000 * (gint64)engine->config.timeout_ms;
}

/* The job for a need; *fresh_out when it is new and is still to be started. */
static Job *job_for(Engine *engine, const Need *need, bool *fresh_out)
{
    g_autofree char *key = job_key_of(need);
    Job *job = g_hash_table_lookup(engine->jobs, key);
    *fresh_out = job == NULL;
    if (job)
        return job;
    job = g_new0(Job, 1);
    job->engine = engine;
    job->refs = 1; /* the table's */
    g_autofree Need *copy = need_copy(need);
    job->need = *copy;
    job->key = g_steal_pointer(&key);
    job->handles = g_array_new(FALSE, FALSE, sizeof(guint64));
    job_progress(job);
    g_hash_table_insert(engine->jobs, job->key, job);
    return job;
}

static void job_add_waiter(Job *job, guint64 handle, NeedDone done, gpointer data)
{
    Engine *engine = job->engine;
    Waiter *waiter = g_new0(Waiter, 1);
    waiter->handle = handle;
    waiter->job = job_ref(job);
    waiter->done = done;
    waiter->data = data;
    waiter->since_us = clock_mono_us();
    waiter_set_limit(engine, waiter);
    g_hash_table_insert(engine->waiters, &waiter->handle, waiter);
    g_array_append_val(job->handles, waiter->handle);
    if (!engine->tick)
        engine->tick = engine_timer(engine, TICK_MS, on_tick, engine);
}

/* Nothing of the time to wait is left: answered at once, rather than at the next tick. */
static void answer_if_late(Engine *engine, guint64 handle)
{
    Waiter *waiter = g_hash_table_lookup(engine->waiters, &handle);
    if (!waiter || waiter->limit_us > 0)
        return;
    g_autoptr(GError) error =
        g_error_new(IMAPFS_ERROR, IMAPFS_ERROR_OFFLINE, "the server cannot be reached for now");
    job_forget_waiter(waiter->job, handle);
    waiter_answer(engine, handle, error);
}

/* What the bytes of a message are asked for under: one that has no number yet, or is a copy, has
 * those of another; one that was moved since is elsewhere. */
static void map_need(Engine *engine, Need *need)
{
    StoreReader *reader = store_reader(engine->store);
    bool bytes = need->kind == NEED_STRUCTURE || need->kind == NEED_CONTENT ||
                 need->kind == NEED_SIZES || need->kind == NEED_RANGE;
    guint32 box, uid;
    if (!bytes || !need->uid)
        return;
    StoreMsg msg = {0};
    bool there = store_msg_get(reader, need->box, need->uid, &msg);
    store_msg_clear(&msg);
    if (!there && log_went(reader, need->box, need->uid, &box, &uid)) {
        need->box = box;
        need->uid = uid;
    }
    if (need->box == STORE_BOX_PENDING)
        store_origin(reader, need->box, need->uid, &need->box, &need->uid);
}

static void want_run(Engine *engine, gpointer data)
{
    Want *want = data;
    guint64 handle = want->handle;
    bool fresh;
    engine_take_reads(engine); /* this comes after them */
    map_need(engine, want->need);
    Job *job = job_for(engine, want->need, &fresh);
    job_add_waiter(job, handle, g_steal_pointer(&want->done), want->data);
    if (fresh)
        start(job);
    answer_if_late(engine, handle);
}

static guint64 next_handle(Engine *engine)
{
    return __atomic_add_fetch(&engine->next_handle, 1, __ATOMIC_RELAXED);
}

guint64 engine_want(Engine *engine, const Need *need, NeedDone done, gpointer data)
{
    Want *want = g_new0(Want, 1);
    want->handle = next_handle(engine);
    want->need = need_copy(need);
    want->done = done;
    want->data = data;
    guint64 handle = want->handle; /* the loop may free it before this returns */
    engine_post(engine, want_run, want, want_free);
    return handle;
}

static void cancel_run(Engine *engine, gpointer data)
{
    guint64 handle = *(guint64 *)data;
    Waiter *waiter = g_hash_table_lookup(engine->waiters, &handle);
    if (!waiter)
        return;
    g_autoptr(GError) error = g_error_new(IMAPFS_ERROR, IMAPFS_ERROR_CANCELLED, "interrupted");
    job_forget_waiter(waiter->job, handle);
    waiter_answer(engine, handle, error);
}

void engine_cancel(Engine *engine, guint64 handle)
{
    engine_post(engine, cancel_run, g_memdup2(&handle, sizeof(handle)), g_free);
}

/* --- jobs that need other jobs --- */

typedef struct {
    Job *job; /* a reference */
    void (*then)(Job *job, const GError *error);
} Await;

static void on_awaited(const GError *error, gpointer data)
{
    Await *await = data;
    Job *job = await->job;
    g_clear_pointer(&job->awaits, job_unref);
    job_progress(job);
    if (!job->finished)
        await->then(job, error);
    job_unref(job);
    g_free(await);
}

void job_await(Job *job, const Need *need, void (*then)(Job *job, const GError *error))
{
    Await *await = g_new(Await, 1);
    *await = (Await){job_ref(job), then};
    bool fresh;
    Job *other = job_for(job->engine, need, &fresh);
    job->awaits = job_ref(other);
    job_add_waiter(other, next_handle(job->engine), on_awaited, await);
    if (fresh)
        start(other);
}
