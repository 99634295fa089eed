/* replayed.c - who waits until nothing is pending (NEED_REPLAYED).
 *
 * A message that has no number yet is waited for by ours, n: its placing counts as well, and once
 * it is placed, what is pending of what it became. */
#include "replay.h"

/* What a number that was known earlier stands for now. */
static void follow(Engine *engine, guint32 *box, guint32 *uid)
{
    guint32 now_box, now_uid;
    if (*uid && log_went(store_reader(engine->store), *box, *uid, &now_box, &now_uid)) {
        *box = now_box;
        *uid = now_uid;
    }
}

guint64 replay_count(Engine *engine, guint32 box, guint32 uid)
{
    LogCounts counts = {0};
    if (box == STORE_BOX_PENDING)
        follow(engine, &box, &uid);
    log_count(store_reader(engine->store), box, uid, &counts);
    return counts.pending;
}

static void check_job(Job *job, gpointer data)
{
    job_progress(job);
    if (replay_count(job->engine, job->need.box, job->need.uid) == 0)
        job_finish(job, NULL);
}

void replay_note_settled(Engine *engine)
{
    jobs_each(engine, NEED_REPLAYED, check_job, NULL);
}

static void note_job(Job *job, gpointer data)
{
    *(bool *)data |= job_is_wanted(job);
}

bool replay_is_awaited(Engine *engine)
{
    bool awaited = false;
    jobs_each(engine, NEED_REPLAYED, note_job, &awaited);
    return awaited;
}

typedef struct {
    guint32 box, uid, to_box, to_n;
    const GError *error;
} Failed;

static void fail_job(Job *job, gpointer data)
{
    const Failed *failed = data;
    const Need *need = &job->need;
    bool here = need->box == failed->box &&
                (need->uid == 0 || failed->uid == 0 || need->uid == failed->uid);
    bool there = failed->to_n && ((need->box == failed->to_box && need->uid == 0) ||
                                  (need->box == STORE_BOX_PENDING && need->uid == failed->to_n));
    if (need->box == 0 || here || there)
        job_finish(job, failed->error);
}

void replay_note_failed(Engine *engine, guint32 box, guint32 uid, const GError *error)
{
    Failed failed = {.box = box, .uid = uid, .error = error};
    jobs_each(engine, NEED_REPLAYED, fail_job, &failed);
}

void replay_note_op_failed(Engine *engine, const LogOp *op, const GError *error)
{
    Failed failed = {op->box, op->uid, op->to_box, op->to_n, error};
    jobs_each(engine, NEED_REPLAYED, fail_job, &failed);
}

static void fail_any(Job *job, gpointer data)
{
    job_finish(job, data);
}

void replay_fail_waiters(Engine *engine, const GError *error)
{
    g_autoptr(GError) copy = g_error_copy(error);
    jobs_each(engine, NEED_REPLAYED, fail_any, copy);
}

bool replayed_job_insists(const Job *job)
{
    return job->need.box == 0;
}

void replayed_job_start(Job *job)
{
    Engine *engine = job->engine;
    g_autoptr(GError) error = NULL;
    if (replay_count(engine, job->need.box, job->need.uid) == 0) {
        job_finish(job, NULL);
        return;
    }
    if (engine->config.read_only)
        error = g_error_new(IMAPFS_ERROR, IMAPFS_ERROR_READONLY, "the mount is read-only");
    else if (!pool_reach(engine->pool, replayed_job_insists(job)))
        error = g_error_new(IMAPFS_ERROR, IMAPFS_ERROR_OFFLINE, "%s",
                            pool_error(engine->pool, NULL)->message);
    if (error) {
        job_finish(job, error); /* while an attempt is under way it waits, but not for long */
    } else {
        gather_end_now(engine);
        replay_soon(engine);
    }
}
