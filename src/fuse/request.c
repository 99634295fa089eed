/* request.c - one question of the kernel: run, wait for what is missing, run again, reply once.
 *
 * The front thread runs a request first. When the store lacks something, the request goes to the
 * engine, and from then on whoever claims it (the loop thread with an answer, or the front thread
 * on its way out) replies; the others see the claim and let go. An interrupt only marks and
 * cancels: libfuse calls it with the request's lock held, in which nothing may be replied. */
#include "impl.h"

#include <errno.h>

#include "imapfs/base/error.h"
#include "imapfs/base/log.h"

#define ROUNDS_MAX 16

Request *request_new(fuse_req_t req, const RequestKind *kind, guint64 ino)
{
    Request *request = g_new0(Request, 1);

    request->front = fuse_req_userdata(req);
    request->req = req;
    request->kind = kind;
    request->ino = ino;
    request->refs = 1;
    request->link.data = request;
    return request;
}

static Request *request_ref(Request *request)
{
    g_atomic_int_inc(&request->refs);
    return request;
}

static void request_unref(Request *request)
{
    if (!g_atomic_int_dec_and_test(&request->refs))
        return;
    tree_ask_clear(&request->ask);
    tree_change_clear(&request->change);
    tree_file_close(request->file);
    g_clear_pointer(&request->value, g_bytes_unref);
    g_free(request->own_name);
    g_free(request->own_new_name);
    g_free(request->target);
    g_free(request->buffer);
    g_free(request);
}

/* True for one caller only: it has to reply, and if it waited, to call front_answered() then. */
static bool claim(Request *request)
{
    Front *front = request->front;
    bool mine;

    if (!request->waits)
        return true;
    pthread_mutex_lock(&front->lock);
    mine = !request->claimed;
    if (mine) {
        request->claimed = true;
        g_queue_unlink(&front->waiting, &request->link);
        front->answering++;
    }
    pthread_mutex_unlock(&front->lock);
    if (mine) /* after this no interrupt is running, and none will */
        fuse_req_interrupt_func(request->req, NULL, NULL);
    return mine;
}

void front_answering(Front *front)
{
    pthread_mutex_lock(&front->lock);
    front->answering++;
    pthread_mutex_unlock(&front->lock);
}

void front_answered(Front *front)
{
    bool wake;

    pthread_mutex_lock(&front->lock);
    wake = --front->answering == 0 && front->stopping;
    pthread_mutex_unlock(&front->lock);
    if (wake)
        front_wake(front);
}

/* Takes. */
static void finish(Request *request, int err)
{
    if (claim(request)) {
        if (!err)
            request->kind->reply(request);
        else if (request->kind->fail)
            request->kind->fail(request, err);
        else
            fuse_reply_err(request->req, err);
        if (request->waits)
            front_answered(request->front);
    }
    request_unref(request);
}

static void on_interrupt(fuse_req_t req, void *data)
{
    Request *request = data;
    Front *front = request->front;
    guint64 handle;

    pthread_mutex_lock(&front->lock);
    request->interrupted = true;
    handle = request->handle;
    pthread_mutex_unlock(&front->lock);
    if (handle)
        engine_cancel(front->engine, handle);
}

/* Needs that, when they fail, leave something to answer with. */
static bool is_optional(NeedKind kind)
{
    return kind == NEED_MAILBOXES || kind == NEED_MAILBOX || kind == NEED_STATUS ||
           kind == NEED_SIZES;
}

/* What became of a wait, under the lock. */
static void end_wait(Request *request, bool *interrupted_out, bool *claimed_out)
{
    Front *front = request->front;

    pthread_mutex_lock(&front->lock);
    request->handle = 0;
    request->round++;
    *interrupted_out = request->interrupted;
    *claimed_out = request->claimed;
    pthread_mutex_unlock(&front->lock);
}

static void on_done(const GError *error, gpointer data)
{
    Request *request = data;
    bool interrupted, claimed;
    int err = error ? imapfs_error_to_errno(error) : 0;
    NeedKind kind;

    /* Pairs with the reference taken for this call: all that the asking thread wrote is seen. */
    g_assert(g_atomic_int_get(&request->refs) > 0);
    end_wait(request, &interrupted, &claimed);
    if (claimed) {
        request_unref(request);
        return;
    }
    kind = request->ask.need.kind;
    if (err)
        log_debug("fuse", "%s %" G_GUINT64_FORMAT ": %s", request->kind->name, request->ino,
                  error->message);
    if (err && (interrupted || !is_optional(kind) ||
                g_error_matches(error, IMAPFS_ERROR, IMAPFS_ERROR_CANCELLED))) {
        finish(request, interrupted ? EINTR : err);
        return;
    }
    tree_ask_settle(&request->ask, kind);
    request->failed_kind = kind;
    request->failed_errno = err;
    request_run(request);
}

/* Makes the request one that others can see. False: nothing may wait any more. */
static bool enter_waiting(Request *request)
{
    Front *front = request->front;
    bool entered;

    if (!request->own_name)
        request->name = request->own_name = g_strdup(request->name);
    pthread_mutex_lock(&front->lock);
    entered = !front->stopping;
    if (entered) {
        request->waits = true;
        g_queue_push_tail_link(&front->waiting, &request->link);
    }
    pthread_mutex_unlock(&front->lock);
    if (entered)
        fuse_req_interrupt_func(request->req, on_interrupt, request);
    return entered;
}

/* Takes: the reference goes to on_done(). */
static void wait_for_need(Request *request)
{
    Front *front = request->front;
    const Need *need = &request->ask.need;
    guint64 handle;
    guint round;
    bool ended;

    if (!request->waits && !enter_waiting(request)) {
        finish(request, EINTR);
        return;
    }
    pthread_mutex_lock(&front->lock);
    ended = request->interrupted || request->claimed;
    round = ++request->round;
    pthread_mutex_unlock(&front->lock);
    if (ended) {
        finish(request, EINTR);
        return;
    }

    request_ref(request);
    handle = engine_want(front->engine, need, on_done, request);
    /* on_done() may have run already, and the request may wait for something else by now. */
    pthread_mutex_lock(&front->lock);
    if (request->round == round)
        request->handle = handle;
    ended = request->interrupted || request->claimed;
    pthread_mutex_unlock(&front->lock);
    if (ended)
        engine_cancel(front->engine, handle);
    request_unref(request);
}

void request_run(Request *request)
{
    TreeStatus status = request->kind->ask(request);
    NeedKind needed = request->ask.need.kind;

    if (status == TREE_OK) {
        finish(request, 0);
    } else if (status == TREE_ERROR) {
        finish(request, request->ask.err);
    } else if (request->failed_errno && request->failed_kind == needed) {
        finish(request, request->failed_errno); /* the store has nothing that would do */
    } else if (request->rounds++ >= ROUNDS_MAX) {
        log_warn("fuse", "%s %" G_GUINT64_FORMAT ": still not there after %u tries",
                 request->kind->name, request->ino, ROUNDS_MAX);
        finish(request, EIO);
    } else {
        wait_for_need(request);
    }
}

void request_start(Request *request)
{
    if (!changes_defer(request->front, request))
        request_run(request);
}

void requests_end(Front *front)
{
    GList *link;

    pthread_mutex_lock(&front->lock);
    while ((link = g_queue_pop_head_link(&front->waiting))) {
        Request *request = request_ref(link->data);
        guint64 handle = request->handle;

        request->claimed = true;
        pthread_mutex_unlock(&front->lock);
        if (handle)
            engine_cancel(front->engine, handle);
        fuse_req_interrupt_func(request->req, NULL, NULL);
        fuse_reply_err(request->req, EINTR);
        request_unref(request);
        pthread_mutex_lock(&front->lock);
    }
    pthread_mutex_unlock(&front->lock);
}

bool requests_are_quiet(Front *front)
{
    bool quiet;

    pthread_mutex_lock(&front->lock);
    quiet = front->answering == 0;
    pthread_mutex_unlock(&front->lock);
    return quiet;
}
