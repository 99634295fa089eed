/* files.c - opening, reading and closing files.
 *
 * OPEN is the place to wait for content, READ only for ranges of large ones; and OPEN is where an
 * estimated size becomes exact. An attribute that is taken back is asked for again by fstat and
 * read, but sendfile, splice and copy_file_range go by the size the kernel has: told too small,
 * they end there without an error. Storing the last byte makes the kernel's size large enough at
 * once. That may wait for a page that an unanswered READ holds, so where there may be one it is
 * done by a thread of its own, which answers the OPEN as well.
 */
#include "impl.h"

#include <errno.h>
#include <unistd.h>

typedef struct {
    fuse_req_t req;
    guint64 ino;
    struct fuse_file_info fi;
    TreeFile *file;
} Opening;

struct Opener {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool stopping;
    GQueue openings; /* of Opening */
};

/* True: no other file of its number is open. */
static bool opened(Front *front, TreeFile *file)
{
    guint64 ino = tree_file_ino(file);
    GHashTableIter iter;
    gpointer other;
    bool alone = true;

    pthread_mutex_lock(&front->lock);
    g_hash_table_iter_init(&iter, front->files);
    while (alone && g_hash_table_iter_next(&iter, &other, NULL))
        alone = tree_file_ino(other) != ino;
    g_hash_table_add(front->files, file);
    pthread_mutex_unlock(&front->lock);
    return alone;
}

static void store_bytes(Front *front, guint64 ino, const void *bytes, gsize size)
{
    struct fuse_bufvec buffer = FUSE_BUFVEC_INIT(size);

    buffer.buf[0].mem = (void *)bytes;
    fuse_lowlevel_notify_store(front->session, ino, 0, &buffer, 0);
}

/* Flags may change meanwhile: who makes the kernel forget them counts before it does. So either
 * that comes after what is stored here, or it is seen here. */
static void give_flags(Front *front, guint64 ino, TreeFile *file)
{
    gint forgotten = g_atomic_int_get(&front->flags_forgotten);
    char text[1024];
    int err = 0;
    gssize n = tree_file_read(file, text, sizeof(text), 0, &err);

    if (n <= 0 || n == sizeof(text)) /* there may be more */
        return;
    store_bytes(front, ino, text, (gsize)n);
    if (g_atomic_int_get(&front->flags_forgotten) != forgotten)
        fuse_lowlevel_notify_inval_inode(front->session, ino, 0, 0);
}

/* Puts all of a small file into the kernel's page cache, which saves it a READ, and a GETATTR as
 * well: it takes a READ for an access that makes the attributes old. Any thread, but only while
 * nobody else has it open: for pages that are being read this waits, perhaps for ourselves. */
static void give_bytes(Front *front, TreeFile *file)
{
    guint64 ino = tree_file_ino(file);
    gsize size = 0;
    const void *bytes = tree_file_bytes(file, &size);

    if (bytes && size)
        store_bytes(front, ino, bytes, size);
    else if (tree_file_is_flags(file))
        give_flags(front, ino, file);
}

void files_close(Front *front, TreeFile *file)
{
    pthread_mutex_lock(&front->lock);
    g_hash_table_remove(front->files, file);
    pthread_mutex_unlock(&front->lock);
    tree_file_close(file);
}

bool files_find(Front *front, guint64 ino, TreeEntry *out)
{
    GHashTableIter iter;
    gpointer file;
    bool found = false;

    pthread_mutex_lock(&front->lock);
    g_hash_table_iter_init(&iter, front->files);
    while (!found && g_hash_table_iter_next(&iter, &file, NULL)) {
        found = tree_file_ino(file) == ino;
        if (found)
            tree_file_entry(file, out);
    }
    pthread_mutex_unlock(&front->lock);
    return found;
}

/* Closes are only of interest where they are what makes a message. */
static void prepare(struct fuse_file_info *fi, TreeFile *file)
{
    fi->fh = (uintptr_t)file;
    fi->direct_io = tree_file_volatile(file);
    fi->keep_cache = !fi->direct_io && !tree_file_corrected(file);
    fi->noflush = !tree_file_is_letter(file);
}

void files_reply_create(Front *front, fuse_req_t req, const struct fuse_entry_param *entry,
                        struct fuse_file_info *fi, TreeFile *file)
{
    prepare(fi, file);
    opened(front, file);
    if (fuse_reply_create(req, entry, fi) != 0)
        files_close(front, file);
}

/* gives: the kernel may not have its bytes. */
static void reply_open(Front *front, fuse_req_t req, struct fuse_file_info *fi, TreeFile *file,
                       bool gives)
{
    prepare(fi, file);
    /* Before the reply: RELEASE may be quicker than what comes after it. */
    if (opened(front, file) && gives && fi->keep_cache)
        give_bytes(front, file);
    if (fuse_reply_open(req, fi) != 0)
        files_close(front, file); /* the caller was interrupted, there will be no RELEASE */
}

void files_reply_open(Front *front, fuse_req_t req, struct fuse_file_info *fi, TreeFile *file)
{
    reply_open(front, req, fi, file, false);
}

static void tell_size(Front *front, const Opening *opening)
{
    guint64 size = tree_file_size(opening->file);
    gsize length = 0;
    const void *all = tree_file_bytes(opening->file, &length);
    char last = 0;
    struct fuse_bufvec bytes = FUSE_BUFVEC_INIT(1);

    bytes.buf[0].mem = &last;
    if (all && length)
        store_bytes(front, opening->ino, all, length);
    else if (size > 0 && tree_file_last(opening->file, &last))
        fuse_lowlevel_notify_store(front->session, opening->ino, (off_t)size - 1, &bytes, 0);
    /* A size that was too large: -1 waits for nothing. */
    fuse_lowlevel_notify_inval_inode(front->session, opening->ino, -1, 0);
}

/* NULL: there is no more, and there will be none. */
static Opening *next_opening(Opener *self)
{
    Opening *opening;

    pthread_mutex_lock(&self->lock);
    while (!(opening = g_queue_pop_head(&self->openings)) && !self->stopping)
        pthread_cond_wait(&self->cond, &self->lock);
    pthread_mutex_unlock(&self->lock);
    return opening;
}

static void *opener_thread(void *data)
{
    Front *front = data;
    Opening *opening;

    while ((opening = next_opening(front->opener))) {
        tell_size(front, opening);
        files_reply_open(front, opening->req, &opening->fi, opening->file);
        g_free(opening);
        front_answered(front);
    }
    return NULL;
}

static void push_opening(Opener *self, const Opening *opening)
{
    pthread_mutex_lock(&self->lock);
    g_queue_push_tail(&self->openings, g_memdup2(opening, sizeof(*opening)));
    pthread_cond_signal(&self->cond);
    pthread_mutex_unlock(&self->lock);
}

/* Whether no READ can be waiting for what this thread would do next. A READ of what is small and
 * here is answered by the front thread, at once: so the loop thread may wait for it, and the front
 * thread may not; but while nothing else is under way, nothing is opened that could be read. */
static bool is_sole(Request *r)
{
    Front *front = r->front;
    bool sole;

    if (r->waits)
        return true;
    pthread_mutex_lock(&front->lock);
    sole = front->answering == 0 && g_queue_is_empty(&front->waiting);
    pthread_mutex_unlock(&front->lock);
    return sole;
}

/* Of a small file that is here, and is open nowhere else: saves the way through another thread.
 * False: it is to go that way. */
static bool reply_open_sized(Request *r, const Opening *opening)
{
    Front *front = r->front;
    gsize length = 0;

    if (!tree_file_bytes(opening->file, &length) || length == 0 || !is_sole(r) ||
        !opened(front, opening->file))
        return false;
    tell_size(front, opening);
    files_reply_open(front, r->req, &r->fi, opening->file);
    return true;
}

static TreeStatus open_ask(Request *r)
{
    return front_can_wait(r, tree_open(r->front->tree, &r->ask, r->ino, &r->file));
}

static void open_reply(Request *r)
{
    TreeFile *file = g_steal_pointer(&r->file);
    Opening opening = {r->req, r->ino, r->fi, file};
    bool exact = tree_file_volatile(file) ||
                 (!estimates_take(&r->front->estimates, r->ino) && !tree_file_corrected(file));

    if (exact) {
        reply_open(r->front, r->req, &r->fi, file, true);
        return;
    }
    if (reply_open_sized(r, &opening))
        return;
    front_answering(r->front);
    push_opening(r->front->opener, &opening);
}

static const RequestKind open_kind = {"open", open_ask, open_reply, NULL};

void files_op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    const Front *front = fuse_req_userdata(req);
    Request *r;

    if (front->no_open) { /* the first of all is the only one that is sent */
        fuse_reply_err(req, ENOSYS);
        return;
    }
    if ((fi->flags & O_ACCMODE) != O_RDONLY || fi->flags & O_TRUNC) {
        changes_op_open(req, ino, fi);
        return;
    }
    r = request_new(req, &open_kind, ino);
    r->fi = *fi;
    request_start(r);
}

/* What hinders an answer: 0, or EIO. The size of an open file may turn out to be smaller. The
 * kernel takes a short answer for the end of the file only if it asked after it was last told a
 * size; else it would show what is missing as zeros. So what it asked before, perhaps, fails where
 * the end is now. Nearly always that was read ahead, and the kernel asks again, a page at a time,
 * when a reader comes there. */
static int check_size(Front *front, guint64 ino, TreeFile *file, gsize size, guint64 offset,
                      bool waited)
{
    bool now;

    if (!tree_file_shrank(file))
        return 0;
    now = tree_file_resized(file);
    if (now) /* -1 waits for nothing */
        fuse_lowlevel_notify_inval_inode(front->session, ino, -1, 0);
    if (offset + size <= tree_file_size(file))
        return 0;
    return now || waited || size > (gsize)sysconf(_SC_PAGESIZE) ? EIO : 0;
}

TreeStatus files_read_ask(Request *r)
{
    int err = EIO;
    gssize n;

    if (!r->buffer)
        r->buffer = g_malloc(r->size);
    n = tree_file_read(r->file, r->buffer, r->size, r->offset, &err);
    if (n >= 0) {
        r->used = (gsize)n;
        return TREE_OK;
    }
    g_clear_pointer(&r->buffer, g_free); /* not held while it waits */
    if (err == EAGAIN) {
        tree_file_need(r->file, r->size, r->offset, &r->ask);
        return TREE_NEED;
    }
    r->ask.err = err;
    return TREE_ERROR;
}

static void read_reply(Request *r)
{
    int err = check_size(r->front, r->ino, r->file, r->size, r->offset, r->waits);

    if (err)
        fuse_reply_err(r->req, err);
    else
        fuse_reply_buf(r->req, r->buffer, r->used);
}

static const RequestKind read_kind = {"read", files_read_ask, read_reply, NULL};

static void wait_and_read(fuse_req_t req, fuse_ino_t ino, TreeFile *file, size_t size,
                          guint64 offset)
{
    Request *r = request_new(req, &read_kind, ino);

    r->file = tree_file_ref(file);
    r->size = size;
    r->offset = offset;
    request_run(r);
}

/* On the front thread: nearly always what is open is here. */
void files_op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                   struct fuse_file_info *fi)
{
    Front *front = fuse_req_userdata(req);
    TreeFile *file = (TreeFile *)(uintptr_t)fi->fh;
    int err = EIO;
    gssize n;

    if (!file) {
        exact_op_read(req, ino, size, offset);
        return;
    }
    if (front->read_size < size) {
        g_free(front->read_buffer);
        front->read_buffer = g_malloc(size);
        front->read_size = size;
    }
    n = tree_file_read(file, front->read_buffer, size, (guint64)offset, &err);
    if (n >= 0)
        err = check_size(front, ino, file, size, (guint64)offset, false);
    if (n < 0 && err == EAGAIN)
        wait_and_read(req, ino, file, size, (guint64)offset);
    else if (err)
        fuse_reply_err(req, err);
    else
        fuse_reply_buf(req, front->read_buffer, (size_t)n);
}

void files_op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    TreeFile *file = (TreeFile *)(uintptr_t)fi->fh;

    if (!file) {
        fuse_reply_err(req, 0);
        return;
    }
    if (tree_file_owes_letter(file)) {
        letters_release(req, ino, file);
        return;
    }
    if (tree_file_owes_change(file)) {
        changes_op_close(req, ino, file);
        return;
    }
    files_close(fuse_req_userdata(req), file);
    fuse_reply_err(req, 0);
}

bool files_start(Front *front)
{
    Opener *self = front->opener = g_new0(Opener, 1);

    pthread_mutex_init(&self->lock, NULL);
    pthread_cond_init(&self->cond, NULL);
    if (pthread_create(&self->thread, NULL, opener_thread, front) != 0) {
        self->thread = 0;
        return false;
    }
    pthread_setname_np(self->thread, "imapfs-open");
    return true;
}

static void opener_end(Opener *self)
{
    pthread_mutex_lock(&self->lock);
    self->stopping = true;
    pthread_cond_signal(&self->cond);
    pthread_mutex_unlock(&self->lock);
    if (self->thread)
        pthread_join(self->thread, NULL);
    pthread_cond_destroy(&self->cond);
    pthread_mutex_destroy(&self->lock);
    g_free(self);
}

void files_end(Front *front)
{
    GHashTableIter iter;
    gpointer file;

    opener_end(front->opener);
    front->opener = NULL;
    g_hash_table_iter_init(&iter, front->files);
    while (g_hash_table_iter_next(&iter, &file, NULL))
        tree_file_close(file);
    g_hash_table_remove_all(front->files);
}
