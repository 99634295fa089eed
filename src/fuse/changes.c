/* changes.c - what changes something, and the thread that writes it down.
 *
 * The rule: a change is on disk before its caller is answered, and neither the front thread nor
 * anybody else's call waits for the disk. The changer takes all that wait and writes them in one
 * transaction, so callers that come together share a commit. It does not wait for the network; as
 * on a local disk, a call in its queue is not interrupted but finished.
 *
 * A change that a close has left (": > flags") is the one that its caller does not wait for. So
 * that nobody sees the old flags afterwards, what is asked about that message meanwhile goes
 * through the queue too. */
#include "impl.h"

#include <errno.h>
#include <string.h>

#include "imapfs/base/log.h"

#define BATCH_MAX 1000

struct Changer {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool stopping;
    GQueue requests; /* of Request; each is counted in front->answering */
    GArray *closing; /* of TreeMessage, for every close in the queue */
    gint n_closing;  /* atomic: its length */
};

/* --- the queue --- */

static void push(Front *front, Request *request)
{
    Changer *self = front->changer;

    front_answering(front);
    pthread_mutex_lock(&self->lock);
    g_queue_push_tail(&self->requests, request);
    pthread_cond_signal(&self->cond);
    pthread_mutex_unlock(&self->lock);
}

void changes_push(Request *request)
{
    push(request->front, request);
}

static bool find_closing(const Changer *self, guint64 ino, guint *index_out)
{
    TreeMessage message;

    if (!tree_ino_is_of_message(ino, &message))
        return false;
    for (guint i = 0; i < self->closing->len; i++) {
        const TreeMessage *one = &g_array_index(self->closing, TreeMessage, i);
        if (one->box == message.box && one->uid == message.uid) {
            *index_out = i;
            return true;
        }
    }
    return false;
}

bool changes_defer(Front *front, Request *request)
{
    Changer *self = front->changer;
    guint index = 0;
    bool found;

    if (g_atomic_int_get(&self->n_closing) == 0)
        return false;
    pthread_mutex_lock(&self->lock);
    found = find_closing(self, request->ino, &index);
    pthread_mutex_unlock(&self->lock);
    if (!found)
        return false;
    if (request->name)
        request->name = request->own_name = g_strdup(request->name);
    push(front, request);
    return true;
}

static void note_closing(Changer *self, guint64 ino)
{
    TreeMessage message;

    if (!tree_ino_is_of_message(ino, &message))
        return;
    pthread_mutex_lock(&self->lock);
    g_array_append_val(self->closing, message);
    g_atomic_int_set(&self->n_closing, (gint)self->closing->len);
    pthread_mutex_unlock(&self->lock);
}

static void forget_closing(Changer *self, guint64 ino)
{
    guint index = 0;

    pthread_mutex_lock(&self->lock);
    if (find_closing(self, ino, &index))
        g_array_remove_index_fast(self->closing, index);
    g_atomic_int_set(&self->n_closing, (gint)self->closing->len);
    pthread_mutex_unlock(&self->lock);
}

/* --- the thread --- */

/* The mailbox in whose Maildir a message is a file; one that is pending is shown where it goes to.
 */
static guint32 maildir_of(Front *front, const TreeMessage *message)
{
    return message->box == STORE_BOX_PENDING
               ? tree_message_box(front->tree, message->box, message->uid)
               : message->box;
}

/* Before the callers are answered: who looks then must see what they have done. */
static void tell(Front *front, const TreeChange *change)
{
    for (guint i = 0; change->messages && i < change->messages->len; i++) {
        const TreeMessage *message = &g_array_index(change->messages, TreeMessage, i);

        if (message->uid)
            front_forget_flags(front, message->box, message->uid);
        front_forget_maildir(front, maildir_of(front, message));
        engine_logged(front->engine, message->box, message->uid);
    }
    for (guint i = 0; change->names && i < change->names->len; i++) {
        const StoreName *name = &g_array_index(change->names, StoreName, i);

        front_events.box_added(name->parent, name->moved, name->leaf, front);
        if (name->moved)
            front_events.box_moved(name->moved, front);
    }
    for (guint i = 0; change->places && i < change->places->len; i++) {
        const TreePlace *place = &g_array_index(change->places, TreePlace, i);

        notifier_forget_listing(front->notifier, place->dir);
        if (tree_ino_listed_box(place->dir) > 0)
            front_forget_maildir(front, (guint32)tree_ino_listed_box(place->dir));
        notifier_note_name(front->notifier, place->dir, place->name);
    }
}

static void change_all(Front *front, GPtrArray *requests)
{
    g_autoptr(GPtrArray) changes = g_ptr_array_new();
    TreeChangeTimes times = {0};

    for (guint i = 0; i < requests->len; i++) {
        Request *request = g_ptr_array_index(requests, i);

        if (request->has_change)
            g_ptr_array_add(changes, &request->change);
    }
    if (!changes->len)
        return;
    if (tree_change_all(front->tree, (TreeChange *const *)changes->pdata, changes->len, &times))
        log_debug("fuse",
                  "%u changes in %" G_GINT64_FORMAT " us, of which commit %" G_GINT64_FORMAT,
                  changes->len, times.whole_us, times.commit_us);
    for (guint i = 0; i < changes->len; i++)
        tell(front, g_ptr_array_index(changes, i));
}

/* Waits for something to do. False: stop. */
static bool take_batch(Changer *self, GPtrArray *out)
{
    Request *request;

    g_ptr_array_set_size(out, 0);
    pthread_mutex_lock(&self->lock);
    while (self->requests.length == 0 && !self->stopping)
        pthread_cond_wait(&self->cond, &self->lock);
    while (out->len < BATCH_MAX && (request = g_queue_pop_head(&self->requests)))
        g_ptr_array_add(out, request);
    pthread_mutex_unlock(&self->lock);
    return out->len > 0;
}

static void *changer_thread(void *data)
{
    Front *front = data;
    Changer *self = front->changer;
    g_autoptr(GPtrArray) batch = g_ptr_array_new();

    while (take_batch(self, batch)) {
        change_all(front, batch);
        for (guint i = 0; i < batch->len; i++) {
            Request *request = g_ptr_array_index(batch, i);

            if (request->has_change && request->change.kind == TREE_CHANGE_CLOSE)
                forget_closing(self, request->ino);
            if (request->change.places_first && notifier_answer(front->notifier, request))
                continue;
            request_run(request);
            front_answered(front);
        }
    }
    return NULL;
}

bool changes_start(Front *front)
{
    Changer *self = front->changer = g_new0(Changer, 1);

    pthread_mutex_init(&self->lock, NULL);
    pthread_cond_init(&self->cond, NULL);
    self->closing = g_array_new(FALSE, FALSE, sizeof(TreeMessage));
    if (pthread_create(&self->thread, NULL, changer_thread, front) != 0) {
        self->thread = 0;
        return false;
    }
    pthread_setname_np(self->thread, "imapfs-change");
    return true;
}

void changes_end(Front *front)
{
    Changer *self = front->changer;

    if (!self)
        return;
    pthread_mutex_lock(&self->lock);
    self->stopping = true;
    pthread_cond_signal(&self->cond);
    pthread_mutex_unlock(&self->lock);
    if (self->thread)
        pthread_join(self->thread, NULL);
    front->changer = NULL;
    g_array_unref(self->closing);
    pthread_cond_destroy(&self->cond);
    pthread_mutex_destroy(&self->lock);
    g_free(self);
}

/* --- requests --- */

/* What became of the change. */
TreeStatus changes_ask(Request *r)
{
    if (r->change.err) {
        r->ask.err = r->change.err;
        return TREE_ERROR;
    }
    if (!r->change.must_wait || tree_ask_is_settled(&r->ask, NEED_REPLAYED))
        return TREE_OK;
    need_clear(&r->ask.need);
    r->ask.need = r->change.need;
    return TREE_NEED;
}

void changes_reply(Request *r)
{
    fuse_reply_err(r->req, 0);
}

static const RequestKind change_kind = {"change", changes_ask, changes_reply, NULL};

/* Refuses at once what can be, and answers it. NULL: it was. */
Request *changes_begin(fuse_req_t req, const RequestKind *kind, TreeChange change)
{
    Front *front = fuse_req_userdata(req);
    int err = front->read_only ? EROFS : tree_change_refusal(&change);
    Request *r;

    if (err) {
        fuse_reply_err(req, err);
        return NULL;
    }
    r = request_new(req, kind, change.ino);
    r->change = change;
    r->has_change = true;
    return r;
}

/* With copies of what is libfuse's. Takes. */
void changes_submit(Request *r)
{
    TreeChange *change = &r->change;

    if (change->name)
        change->name = r->own_name = g_strdup(change->name);
    if (change->new_name)
        change->new_name = r->own_new_name = g_strdup(change->new_name);
    if (change->bytes) {
        r->buffer = g_memdup2(change->bytes, change->size);
        change->bytes = r->buffer ? r->buffer : "";
    }
    push(r->front, r);
}

/* --- files --- */

static void open_reply(Request *r)
{
    letters_opened(r->req, r->file);
    files_reply_open(r->front, r->req, &r->fi, g_steal_pointer(&r->file));
}

static TreeStatus open_ask(Request *r)
{
    return r->file ? changes_ask(r)
                   : tree_open_to_change(r->front->tree, &r->ask, r->ino, r->fi.flags, &r->file);
}

static const RequestKind open_kind = {"open", open_ask, open_reply, NULL};

void changes_op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    Front *front = fuse_req_userdata(req);
    TreeChange change = {.kind = TREE_CHANGE_OPEN, .ino = ino};
    Request *r;

    if (front->read_only) {
        fuse_reply_err(req, EROFS);
        return;
    }
    r = request_new(req, &open_kind, ino);
    r->fi = *fi;
    if (!(fi->flags & O_TRUNC) || tree_change_refusal(&change) ||
        tree_open_to_change(front->tree, &r->ask, ino, fi->flags, &r->file) != TREE_OK) {
        request_start(r);
        return;
    }
    change.file = r->file;
    r->change = change;
    r->has_change = true;
    changes_submit(r);
}

static void close_reply(Request *r)
{
    files_close(r->front, r->change.file);
    fuse_reply_err(r->req, 0);
}

/* Nobody is there any more to be told. */
static void close_fail(Request *r, int err)
{
    log_warn("fuse", "a file that was emptied and closed: %s; nothing was changed",
             g_strerror(err));
    close_reply(r);
}

static const RequestKind close_kind = {"close", changes_ask, close_reply, close_fail};

void changes_op_close(fuse_req_t req, fuse_ino_t ino, TreeFile *file)
{
    Request *r = request_new(req, &close_kind, ino);

    r->change = (TreeChange){.kind = TREE_CHANGE_CLOSE, .ino = ino, .file = file};
    r->has_change = true;
    note_closing(r->front->changer, ino);
    changes_submit(r);
}

static void write_reply(Request *r)
{
    fuse_reply_write(r->req, r->change.size);
}

static const RequestKind write_kind = {"write", changes_ask, write_reply, NULL};

void changes_op_write(fuse_req_t req, fuse_ino_t ino, const char *bytes, size_t size, off_t offset,
                      struct fuse_file_info *fi)
{
    TreeFile *file = (TreeFile *)(uintptr_t)fi->fh;
    Request *r;

    if (tree_file_is_letter(file)) {
        letters_write(req, file, bytes, size, offset);
        return;
    }
    r = changes_begin(
        req, &write_kind,
        (TreeChange){
            .kind = TREE_CHANGE_WRITE, .ino = ino, .file = file, .bytes = bytes, .size = size});
    if (r)
        changes_submit(r);
}

/* --- attributes --- */

static TreeStatus setattr_ask(Request *r)
{
    TreeStatus status = changes_ask(r);

    /* What was changed may be gone by that; then the attributes are those of before. */
    if (status == TREE_OK)
        tree_getattr(r->front->tree, &r->ask, r->ino, &r->entry);
    return status;
}

static void setattr_reply(Request *r)
{
    estimates_note(&r->front->estimates, &r->entry);
    fuse_reply_attr(r->req, &r->entry.st, r->entry.attr_ttl);
}

static const RequestKind setattr_kind = {"setattr", setattr_ask, setattr_reply, NULL};

#define SET_OTHERS (FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)

/* A new size comes with new times, which mean nothing then. */
void changes_op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
                        struct fuse_file_info *fi)
{
    Front *front = fuse_req_userdata(req);
    TreeChange change = {.kind = TREE_CHANGE_TOUCH, .ino = ino};
    Request *r;

    if (letters_setattr(req, ino, attr, to_set, fi ? (TreeFile *)(uintptr_t)fi->fh : NULL))
        return;
    if (to_set & SET_OTHERS) {
        fuse_reply_err(req, front->read_only ? EROFS : EPERM);
        return;
    }
    if (to_set & FUSE_SET_ATTR_SIZE) {
        change.kind = TREE_CHANGE_TRUNCATE;
        change.size = (guint64)attr->st_size;
        change.file = fi ? (TreeFile *)(uintptr_t)fi->fh : NULL;
    }
    r = changes_begin(req, &setattr_kind, change);
    if (!r)
        return;
    if (tree_getattr(front->tree, &r->ask, ino, &r->entry) == TREE_OK) {
        changes_submit(r);
    } else {
        r->change.err = r->ask.err;
        request_run(r);
    }
}

void changes_op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value,
                         size_t size, int flags)
{
    Request *r = changes_begin(req, &change_kind,
                               (TreeChange){.kind = TREE_CHANGE_SETXATTR,
                                            .ino = ino,
                                            .name = name,
                                            .bytes = value,
                                            .size = size,
                                            .flags = flags});

    if (r)
        changes_submit(r);
}

void changes_op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
    Request *r = changes_begin(
        req, &change_kind, (TreeChange){.kind = TREE_CHANGE_REMOVEXATTR, .ino = ino, .name = name});

    if (r)
        changes_submit(r);
}

/* --- fsync --- */

TreeStatus front_can_wait(Request *r, TreeStatus status)
{
    if (status != TREE_NEED || r->ask.need.kind != NEED_REPLAYED || !r->front->read_only)
        return status;
    r->ask.err = EROFS;
    return TREE_ERROR;
}

/* What was written to a file is on disk when the write returns: editors that make sure of it need
 * no network. */
void changes_op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    fuse_reply_err(req, 0);
}

/* A directory's waits for the server. The kernel holds the inode's lock meanwhile: other calls in
 * the same directory that need it wait as well. */
static TreeStatus fsync_ask(Request *r)
{
    return front_can_wait(r, tree_sync(r->front->tree, &r->ask, r->ino));
}

static const RequestKind fsync_kind = {"fsync", fsync_ask, changes_reply, NULL};

void changes_op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    request_start(request_new(req, &fsync_kind, ino));
}
