/* checkpoint.c - moves what was committed from the logs (WAL) into the database files.
 *
 * The rule: the log is bounded whatever readers and writers do, but for a read that never ends.
 * A pass that waits for nobody comes every few megabytes. It leaves the log to be reused from its
 * start only if nobody reads or writes meanwhile; so when the log is large, one comes that keeps
 * writers out and waits for readers, for a short time. */
#include "checkpoint.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>
#include "imapfs/base/error.h"
#include "imapfs/base/log.h"

#define FILES_MAX 2
#define DUE_FRAMES 1000   /* 4 MiB of log: a pass */
#define LARGE_FRAMES 4000 /* 16 MiB: one that waits */
#define FULL_FRAMES 16000 /* 64 MiB: whoever writes waits */
#define READERS_MS 100    /* how long the waiting one waits for readers */
#define BACKPRESSURE_S 1  /* and a writer for it, at most */
#define CACHE_KIB 64

typedef struct {
    Db *db, *writer;
    int last, next_at; /* frames at the last commit, and at which it asks again; the writer's own */
    bool due, large;   /* asked for */
    bool running;      /* the pass that was asked for last */
} File;

struct Checkpointer {
    GThread *thread;
    pthread_mutex_t lock;
    pthread_cond_t wake, done;
    bool stop;
    File files[FILES_MAX];
    int n_files;
};

static void run_pass(Db *db, int mode)
{
    int frames = 0, moved = 0;
    int code = sqlite3_wal_checkpoint_v2(db->handle, NULL, mode, &frames, &moved);
    if (code != SQLITE_OK && (code & 0xff) != SQLITE_BUSY)
        log_warn("store", "%s: checkpoint: %s", db->what, sqlite3_errstr(code));
    log_debug("store", "%s: checkpoint: %d of %d frames", db->what, moved, frames);
}

static File *find_due(Checkpointer *self)
{
    for (int i = 0; i < self->n_files; i++)
        if (self->files[i].due)
            return &self->files[i];
    return NULL;
}

static gpointer move_logs(gpointer data)
{
    Checkpointer *self = data;
    sigset_t all; /* signals are for the threads that expect them */
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    pthread_mutex_lock(&self->lock);
    while (!self->stop) {
        File *file = find_due(self);
        if (file == NULL) {
            pthread_cond_wait(&self->wake, &self->lock);
            continue;
        }
        bool large = file->large;
        file->due = file->large = false;
        file->running = true;
        pthread_mutex_unlock(&self->lock);
        run_pass(file->db, SQLITE_CHECKPOINT_PASSIVE);
        if (large) /* little is left for it to move */
            run_pass(file->db, SQLITE_CHECKPOINT_TRUNCATE);
        pthread_mutex_lock(&self->lock);
        file->running = false;
        pthread_cond_broadcast(&self->done);
    }
    pthread_mutex_unlock(&self->lock);
    return NULL;
}

Checkpointer *checkpointer_new(void)
{
    Checkpointer *self = g_new0(Checkpointer, 1);
    pthread_mutex_init(&self->lock, NULL);
    pthread_cond_init(&self->wake, NULL);
    pthread_cond_init(&self->done, NULL);
    return self;
}

bool checkpointer_add(Checkpointer *self, const char *path, Db *writer, GError **error)
{
    g_return_val_if_fail(self->n_files < FILES_MAX, false);
    Db *db = db_open(path, writer->what, true, CACHE_KIB, NULL, error);
    if (db == NULL)
        return false;
    sqlite3_busy_timeout(db->handle, READERS_MS);
    pthread_mutex_lock(&self->lock);
    self->files[self->n_files++] = (File){.db = db, .writer = writer, .next_at = DUE_FRAMES};
    pthread_mutex_unlock(&self->lock);
    if (self->thread != NULL)
        return true;
    g_autoptr(GError) problem = NULL;
    self->thread = g_thread_try_new("checkpoint", move_logs, self, &problem);
    if (self->thread == NULL)
        g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_STORE, "%s", problem->message);
    return self->thread != NULL;
}

void checkpointer_free(Checkpointer *self)
{
    if (self == NULL)
        return;
    pthread_mutex_lock(&self->lock);
    self->stop = true;
    pthread_cond_signal(&self->wake);
    pthread_mutex_unlock(&self->lock);
    if (self->thread != NULL)
        g_thread_join(self->thread);
    for (int i = 0; i < self->n_files; i++)
        db_close(self->files[i].db);
    pthread_cond_destroy(&self->wake);
    pthread_cond_destroy(&self->done);
    pthread_mutex_destroy(&self->lock);
    g_free(self);
}

/* Under the lock: until what was just asked for is done. */
static void wait_for_pass(Checkpointer *self, const File *file)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += BACKPRESSURE_S;
    while (file->due || file->running)
        if (pthread_cond_timedwait(&self->done, &self->lock, &until) == ETIMEDOUT)
            break;
}

void checkpointer_committed(Checkpointer *self, Db *writer)
{
    int frames = writer->wal_frames;
    File *file = &self->files[0];
    while (file->writer != writer)
        file++;
    if (frames < file->last) /* it began anew */
        file->next_at = DUE_FRAMES;
    file->last = frames;
    if (frames < file->next_at)
        return;
    file->next_at = frames + DUE_FRAMES;
    pthread_mutex_lock(&self->lock);
    file->due = true;
    file->large = file->large || frames >= LARGE_FRAMES;
    pthread_cond_signal(&self->wake);
    if (frames >= FULL_FRAMES)
        wait_for_pass(self, file);
    pthread_mutex_unlock(&self->lock);
}
