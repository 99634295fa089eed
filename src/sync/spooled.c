/* spooled.c - letters that wait to be sent are read from the spool, online or not.
 *
 * Their bytes are made a content like any other, and parsed here as those of a message whose
 * structure the server gets wrong (local.c). Nothing is asked of a server. */
#include "sync.h"

#include <errno.h>
#include <unistd.h>

#include "imapfs/base/error.h"
#include "imapfs/base/limits.h"
#include "imapfs/store/spool.h"

#define PIECE (256u * 1024)

static bool copy_all(int fd, Sink *sink, GError **error)
{
    g_autofree guint8 *piece = g_malloc(PIECE);
    for (;;) {
        gssize n = read(fd, piece, PIECE);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_STORE, "the spool: %s",
                        g_strerror(errno));
        if (n <= 0)
            return n == 0;
        if (!sink_take(sink, piece, (gsize)n, error))
            return false;
    }
}

static bool make_content(const Job *job, GError **error)
{
    Store *store = job->engine->store;
    int fd = spool_open(store, job->need.uid, error);
    if (fd < 0)
        return false;
    g_autoptr(Sink) sink = sink_new(store, &job->need, error);
    bool ok = sink && copy_all(fd, sink, error) && sink_finish(sink, error);
    close(fd);
    return ok;
}

static void content_start(Job *job)
{
    const Need *need = &job->need;
    const char *section = need->section ? need->section : "";
    ContentKey key = {need->box, need->uid, need->content, section};
    g_autoptr(GError) error = NULL;
    if (content_exists(store_reader(job->engine->store), &key)) {
        job_finish(job, NULL);
    } else if ((need->content == CONTENT_RAW || need->content == CONTENT_LETTER) && !*section) {
        make_content(job, &error);
        job_finish(job, error);
    } else {
        local_content_start(job);
    }
}

bool spooled_start(Job *job)
{
    if (job->need.box != STORE_BOX_PENDING || job->need.uid == 0)
        return false;
    switch (job->need.kind) {
    case NEED_STRUCTURE:
        local_structure_start(job, "it waits to be sent");
        return true;
    case NEED_CONTENT:
        content_start(job);
        return true;
    case NEED_SIZES: /* exact once they are opened */
    case NEED_RANGE: /* there is never one of these: reading again tells */
        job_finish(job, NULL);
        return true;
    default:
        return false;
    }
}
