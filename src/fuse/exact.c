/* exact.c - files that are read without having been opened (FrontConfig.exact).
 *
 * An OPEN that is answered ENOSYS is the last one that the kernel sends: from then on it opens by
 * itself, keeps what it has read, and what it has read it reads again without a message. So there
 * is no moment left in which an estimated size could become exact, and every size is final when it
 * is told: that is what LOOKUP and GETATTR wait for (TreeConfig.exact). A READ has no file but an
 * inode: its content may be gone meanwhile and has to be fetched again, or come with another size
 * than the kernel was told, which is an error, as it would be cut or end in zeros.
 *
 * Files whose bytes are made by an open (status, log, ...) are opened by every LOOKUP, and have an
 * inode of their own each time: bytes and size belong together, and nobody's change under him. */
#include "impl.h"

#include <errno.h>

#include "imapfs/base/log.h"

#define MADE_TTL 3600.0
/* Large files that are being read, one READ after the other. */
#define RECENT 8

typedef struct {
    gint64 ino; /* what a hash table of 64-bit numbers needs, first */
    guint64 size;
} Told;

typedef struct {
    gint64 ino;
    guint64 origin;
    TreeFile *file;
    TreeEntry entry;
} Made;

struct Exact {
    pthread_mutex_t lock;
    GHashTable *told; /* of Told: the sizes of contents and flags that the kernel has */
    GHashTable *made; /* of Made */
    guint32 last_made;
    TreeFile *recent[RECENT];
    guint next_recent;
};

static void made_free(gpointer data)
{
    tree_file_close(((Made *)data)->file);
    g_free(data);
}

Exact *exact_new(void)
{
    Exact *self = g_new0(Exact, 1);

    pthread_mutex_init(&self->lock, NULL);
    self->told = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    self->made = g_hash_table_new_full(g_int64_hash, g_int64_equal, made_free, NULL);
    return self;
}

void exact_end(Exact *exact)
{
    if (!exact)
        return;
    g_hash_table_remove_all(exact->made);
    for (guint i = 0; i < RECENT; i++)
        g_clear_pointer(&exact->recent[i], tree_file_close);
}

void exact_free(Exact *exact)
{
    if (!exact)
        return;
    g_hash_table_unref(exact->told);
    g_hash_table_unref(exact->made);
    pthread_mutex_destroy(&exact->lock);
    g_free(exact);
}

/* --- what the kernel was told --- */

void exact_note(Front *front, const TreeEntry *entry)
{
    Exact *self = front->exact;
    const Told told = {(gint64)entry->ino, (guint64)entry->st.st_size};
    Told *known;

    if (!S_ISREG(entry->st.st_mode) || entry->attr_ttl <= 0)
        return;
    pthread_mutex_lock(&self->lock);
    known = g_hash_table_lookup(self->told, &told.ino);
    if (known)
        known->size = told.size;
    else
        g_hash_table_add(self->told, g_memdup2(&told, sizeof(told)));
    pthread_mutex_unlock(&self->lock);
}

void exact_forget(Front *front, guint64 ino)
{
    Exact *self = front->exact;
    gint64 key = (gint64)ino;
    gpointer made = NULL;

    pthread_mutex_lock(&self->lock);
    g_hash_table_remove(self->told, &key);
    g_hash_table_steal_extended(self->made, &key, &made, NULL);
    pthread_mutex_unlock(&self->lock);
    if (made)
        made_free(made);
}

static bool was_told(Exact *self, guint64 ino, guint64 *size_out)
{
    gint64 key = (gint64)ino;
    const Told *told;

    pthread_mutex_lock(&self->lock);
    told = g_hash_table_lookup(self->told, &key);
    if (told)
        *size_out = told->size;
    pthread_mutex_unlock(&self->lock);
    return told;
}

/* 0, or EIO. The kernel goes by the size that it was told: what is longer would be cut and what is
 * shorter might end in zeros, until it has asked again, which it is made to. Flags may change at
 * any time, and their reader then meets the new end when he reads on. */
static int check_told(Front *front, guint64 ino, TreeFile *file)
{
    guint64 told = 0, size = tree_file_size(file);

    if (tree_file_volatile(file) || !was_told(front->exact, ino, &told) || told == size)
        return 0;
    fuse_lowlevel_notify_inval_inode(front->session, ino, -1, 0); /* -1 waits for nothing */
    if (tree_file_is_flags(file))
        return 0;
    log_warn("fuse",
             "inode %" G_GUINT64_FORMAT ": %" G_GUINT64_FORMAT
             " bytes were fetched of a file that had %" G_GUINT64_FORMAT " before",
             ino, size, told);
    return EIO;
}

/* --- files that are made by a LOOKUP --- */

TreeStatus exact_open_made(Request *r)
{
    if (!r->front->no_open || r->file || !tree_ino_is_made(r->entry.ino))
        return TREE_OK;
    return front_can_wait(r, tree_open(r->front->tree, &r->ask, r->entry.ino, &r->file));
}

/* Takes the file. */
static Made *made_new(const TreeEntry *entry, TreeFile *file)
{
    Made *made = g_new0(Made, 1);
    TreeEntry opened;

    tree_file_entry(file, &opened);
    made->origin = entry->ino;
    made->file = file;
    /* With the node's own number in st_ino: to programs it is the same file. */
    made->entry = *entry;
    made->entry.st.st_size = opened.st.st_size;
    made->entry.st.st_blocks = opened.st.st_blocks;
    made->entry.entry_ttl = 0;
    made->entry.attr_ttl = MADE_TTL;
    return made;
}

static void add_made(Exact *self, Made *made)
{
    pthread_mutex_lock(&self->lock);
    do {
        made->entry.ino = tree_ino_of_made(++self->last_made);
        made->ino = (gint64)made->entry.ino;
    } while (self->last_made == 0 || g_hash_table_contains(self->made, &made->ino));
    g_hash_table_add(self->made, made);
    pthread_mutex_unlock(&self->lock);
}

void exact_reply_made(Request *r)
{
    Made *made = made_new(&r->entry, g_steal_pointer(&r->file));
    struct fuse_entry_param param = {.attr = made->entry.st, .attr_timeout = MADE_TTL};

    add_made(r->front->exact, made);
    param.ino = made->entry.ino;
    if (fuse_reply_entry(r->req, &param) != 0) /* the caller was interrupted */
        exact_forget(r->front, param.ino);
}

static bool find_made(Front *front, guint64 ino, Made *out)
{
    Exact *self = front->exact;
    gint64 key = (gint64)ino;
    const Made *made;

    if (!front->no_open)
        return false;
    pthread_mutex_lock(&self->lock);
    made = g_hash_table_lookup(self->made, &key);
    if (made) {
        *out = *made;
        tree_file_ref(out->file);
    }
    pthread_mutex_unlock(&self->lock);
    return made;
}

bool exact_find(Front *front, guint64 ino, TreeEntry *out)
{
    Made made;

    if (!find_made(front, ino, &made))
        return false;
    *out = made.entry;
    tree_file_close(made.file);
    return true;
}

guint64 exact_origin(Front *front, guint64 ino)
{
    Made made;

    if (!find_made(front, ino, &made))
        return ino;
    tree_file_close(made.file);
    return made.origin;
}

/* --- reading --- */

/* A new reference, or NULL. */
static TreeFile *find_recent(Exact *self, guint64 ino)
{
    TreeFile *file = NULL;

    pthread_mutex_lock(&self->lock);
    for (guint i = 0; i < RECENT && !file; i++) {
        if (self->recent[i] && tree_file_ino(self->recent[i]) == ino)
            file = tree_file_ref(self->recent[i]);
    }
    pthread_mutex_unlock(&self->lock);
    return file;
}

/* Keeps a file of which there is more to read, and no other. */
static void note_recent(Exact *self, TreeFile *file, bool more)
{
    TreeFile *old = NULL;
    guint at = RECENT;

    pthread_mutex_lock(&self->lock);
    for (guint i = 0; i < RECENT && at == RECENT; i++) {
        if (self->recent[i] && tree_file_ino(self->recent[i]) == tree_file_ino(file))
            at = i;
    }
    if (at == RECENT && more)
        at = self->next_recent++ % RECENT;
    if (at != RECENT) {
        old = self->recent[at];
        self->recent[at] = more ? tree_file_ref(file) : NULL;
    }
    pthread_mutex_unlock(&self->lock);
    tree_file_close(old);
}

static TreeStatus open_by_inode(Request *r)
{
    Made made;

    if (r->file)
        return TREE_OK;
    if (find_made(r->front, r->ino, &made))
        r->file = made.file;
    else
        r->file = find_recent(r->front->exact, r->ino);
    return r->file ? TREE_OK : tree_open(r->front->tree, &r->ask, r->ino, &r->file);
}

static TreeStatus read_ask(Request *r)
{
    TreeStatus status = open_by_inode(r);

    if (status != TREE_OK)
        return status;
    r->ask.err = check_told(r->front, r->ino, r->file);
    return r->ask.err ? TREE_ERROR : files_read_ask(r);
}

static void read_reply(Request *r)
{
    note_recent(r->front->exact, r->file,
                r->used == r->size && r->offset + r->used < tree_file_size(r->file));
    fuse_reply_buf(r->req, r->buffer, r->used);
}

static const RequestKind read_kind = {"read", read_ask, read_reply, NULL};

void exact_op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset)
{
    Request *r = request_new(req, &read_kind, ino);

    r->size = size;
    r->offset = (guint64)offset;
    request_start(r);
}
