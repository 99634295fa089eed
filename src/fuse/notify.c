/* notify.c - the thread that tells the kernel what to forget.
 *
 * It calls fuse_lowlevel_notify_*, which wait for locks in the kernel that are held while a LOOKUP
 * or READ of ours is unanswered: no thread that answers these may. (files.c and changes.c have
 * threads of their own for what must be told before something is answered.) Events that come faster
 * than the kernel takes them are folded into "forget this whole mailbox". */
#include "impl.h"

#include <string.h>

#define QUEUE_MAX 4096 /* single events kept */
#define LISTING_CHECK_US (5 * G_TIME_SPAN_SECOND)
#define READING_US G_TIME_SPAN_SECOND /* from one READDIR of a listing to the next */

typedef enum {
    BOX_ADDED,
    BOX_REMOVED,
    MSG_ADDED,
    MSG_REMOVED,
    FLAGS_CHANGED,
    NAME_CHANGED, /* of no mailbox: dir says where */
    ANSWER,       /* a request waits for what was told before it */
    BOX_MOVED,
} EventKind;

typedef struct {
    EventKind kind;
    guint32 box; /* the parent mailbox, for BOX_* */
    guint32 id;  /* the mailbox or the UID */
    char *name;
    guint64 dir;
    Request *request;
} Event;

/* A listing of which the kernel has a beginning. It gives that to nobody; but when its pages go
 * then, it keeps this listing no more, however often it is read (Linux 6.18: fuse_readdir_cached
 * and fuse_add_dirent_to_cache). So a beginning is taken back when the end is there. */
typedef struct {
    gint64 ino;   /* what a hash table of 64-bit numbers needs, first */
    gint64 until; /* monotonic; later nobody reads on */
    bool forget;
} Reading;

struct Notifier {
    Front *front;
    pthread_t thread;
    bool started;
    pthread_mutex_t lock;
    pthread_cond_t cond; /* of CLOCK_MONOTONIC */
    bool accepting, stopping, running;
    GQueue events;        /* of Event */
    GHashTable *changed;  /* boxes to forget as a whole */
    GHashTable *listings; /* inode (gint64) of directories whose listing the kernel may keep */
    GHashTable *readings; /* of Reading */
    gint64 check_at;      /* monotonic; of the thread */

    /* of the thread, for one batch */
    GHashTable *dirs; /* inode (gint64) -> whether the kernel knows it */
};

static void event_free(gpointer data)
{
    Event *event = data;

    g_free(event->name);
    g_free(event);
}

static GHashTable *inode_set(void)
{
    return g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
}

Notifier *notifier_new(Front *front)
{
    Notifier *notifier = g_new0(Notifier, 1);
    pthread_condattr_t monotonic;

    notifier->front = front;
    pthread_mutex_init(&notifier->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&notifier->cond, &monotonic);
    pthread_condattr_destroy(&monotonic);
    notifier->changed = g_hash_table_new(NULL, NULL);
    notifier->listings = inode_set();
    notifier->readings = inode_set();
    notifier->dirs = inode_set();
    return notifier;
}

void notifier_free(Notifier *notifier)
{
    if (!notifier)
        return;
    notifier_stop(notifier);
    if (notifier->started)
        pthread_join(notifier->thread, NULL);
    g_queue_clear_full(&notifier->events, event_free);
    g_hash_table_unref(notifier->changed);
    g_hash_table_unref(notifier->listings);
    g_hash_table_unref(notifier->readings);
    g_hash_table_unref(notifier->dirs);
    pthread_mutex_destroy(&notifier->lock);
    pthread_cond_destroy(&notifier->cond);
    g_free(notifier);
}

/* --- listings that are being read --- */

/* Under the lock. */
static void note_listing(Notifier *notifier, gint64 ino)
{
    if (!g_hash_table_contains(notifier->listings, &ino))
        g_hash_table_add(notifier->listings, g_memdup2(&ino, sizeof(ino)));
}

/* True: not now, but when its end is read, or nobody reads on. */
static bool put_off(Notifier *notifier, gint64 ino)
{
    Reading *reading;
    bool off;

    pthread_mutex_lock(&notifier->lock);
    reading = g_hash_table_lookup(notifier->readings, &ino);
    off = reading && g_get_monotonic_time() < reading->until;
    if (off) {
        reading->forget = true;
        notifier->check_at = MIN(notifier->check_at, reading->until);
    } else if (reading) {
        g_hash_table_remove(notifier->readings, &ino);
    }
    pthread_mutex_unlock(&notifier->lock);
    return off;
}

/* Under the lock. */
static void note_reading(Notifier *notifier, gint64 ino, bool begins)
{
    const gint64 until = g_get_monotonic_time() + READING_US;
    Reading *reading = g_hash_table_lookup(notifier->readings, &ino);

    if (reading) {
        reading->until = until;
    } else if (begins) {
        const Reading new = {.ino = ino, .until = until};

        g_hash_table_add(notifier->readings, g_memdup2(&new, sizeof(new)));
    }
}

/* --- what the kernel is told --- */

/* Offset 0, not -1: the listing goes whatever the directory's mtime was. Waits for nobody. */
static int notify_listing(struct fuse_session *session, guint64 ino)
{
    return fuse_lowlevel_notify_inval_inode(session, ino, 0, 0);
}

/* Forgets a directory's listing and attributes, once a batch. False: the kernel does not know the
 * directory, so it knows no name in it either. */
static bool forget_listing(Notifier *notifier, guint64 ino)
{
    gint64 key = (gint64)ino;
    gpointer known = NULL;

    if (!g_hash_table_lookup_extended(notifier->dirs, &key, NULL, &known)) {
        known = GINT_TO_POINTER(put_off(notifier, key) ||
                                notify_listing(notifier->front->session, ino) == 0);
        g_hash_table_insert(notifier->dirs, g_memdup2(&key, sizeof(key)), known);
    }
    return GPOINTER_TO_INT(known);
}

/* A name that is new: whatever the kernel believes of it, mostly that it does not exist. */
static void forget_name(Notifier *notifier, guint64 dir, const char *name)
{
    if (forget_listing(notifier, dir))
        fuse_lowlevel_notify_inval_entry(notifier->front->session, dir, name, strlen(name));
}

static void forget_node(Notifier *notifier, guint64 dir, guint64 ino, const char *name)
{
    struct fuse_session *session = notifier->front->session;

    if (forget_listing(notifier, dir) &&
        fuse_lowlevel_notify_delete(session, dir, ino, name, strlen(name)) != 0)
        fuse_lowlevel_notify_inval_entry(session, dir, name, strlen(name));
}

static void tell_box(Notifier *notifier, const Event *event)
{
    for (guint view = 0; view < TREE_VIEWS; view++) {
        g_autofree char *name = tree_box_entry_name(event->name, view);
        guint64 dir = tree_ino_box_in(event->box, view);

        if (event->kind == BOX_ADDED)
            forget_name(notifier, dir, name);
        else
            forget_node(notifier, dir, tree_ino_box_in(event->id, view), name);
    }
}

static void tell_message(Notifier *notifier, const Event *event)
{
    g_autofree char *name = tree_message_entry_name(event->box, event->name, event->id);
    g_autofree char *uid = g_strdup_printf("%" G_GUINT32_FORMAT, event->id);
    g_autofree char *eml = g_strconcat(uid, ".eml", NULL);
    guint64 dir = tree_ino_box(event->box), raw = tree_ino_raw_box(event->box);

    if (event->kind == MSG_ADDED)
        forget_name(notifier, dir, name);
    else
        forget_node(notifier, dir, tree_ino_message(event->box, event->id), name);
    forget_name(notifier, raw, eml);
    forget_name(notifier, raw, uid);
    forget_name(notifier, tree_ino_uid_dir(event->box), uid);
    forget_listing(notifier, tree_ino_maildir_cur(event->box));
}

void front_forget_maildir(Front *front, guint32 box)
{
    fuse_lowlevel_notify_inval_inode(front->session, tree_ino_maildir_cur(box), 0, 0);
}

void front_forget_flags(Front *front, guint32 box, guint32 uid)
{
    const TreeEntry old = {.ino = tree_ino_flags(box, uid), .st.st_mode = S_IFREG};

    g_atomic_int_inc(&front->flags_forgotten); /* before: see give_flags() */
    if (fuse_lowlevel_notify_inval_inode(front->session, old.ino, 0, 0) == 0)
        estimates_note(&front->estimates, &old);
}

/* With what is kept of it: its target. */
static bool forget_link(guint64 ino, gpointer data)
{
    return fuse_lowlevel_notify_inval_inode(((Notifier *)data)->front->session, ino, 0, 0) == 0;
}

static void answer(Notifier *notifier, const Event *event)
{
    request_run(event->request);
    front_answered(notifier->front);
}

static void tell(Notifier *notifier, const Event *event)
{
    Front *front = notifier->front;

    switch (event->kind) {
    case BOX_ADDED:
    case BOX_REMOVED:
        tell_box(notifier, event);
        break;
    case MSG_ADDED:
    case MSG_REMOVED:
        tell_message(notifier, event);
        break;
    case FLAGS_CHANGED:
        front_forget_flags(front, event->box, event->id);
        forget_listing(notifier,
                       tree_ino_maildir_cur(tree_message_box(front->tree, event->box, event->id)));
        break;
    case NAME_CHANGED:
        forget_name(notifier, event->dir, event->name);
        break;
    case ANSWER:
        answer(notifier, event);
        break;
    case BOX_MOVED:
        tree_each_link(notifier->front->tree, event->box, forget_link, notifier);
        break;
    }
}

/* The kernel has no call for "all names in this directory". Invalidating the directory's own name
 * prunes what is cached below it; the name itself is looked up again by the next to use it. */
static void tell_changed(Notifier *notifier, guint32 box)
{
    TreePlace places[TREE_VIEWS] = {{0}};

    for (guint view = 0; view < TREE_VIEWS; view++)
        forget_listing(notifier, tree_ino_box_in(box, view));
    if (!box)
        return;
    forget_listing(notifier, tree_ino_uid_dir(box));
    forget_listing(notifier, tree_ino_maildir_cur(box));
    if (!tree_place_of_box(notifier->front->tree, box, places))
        return;
    for (guint view = 0; view < TREE_VIEWS; view++) {
        fuse_lowlevel_notify_inval_entry(notifier->front->session, places[view].dir,
                                         places[view].name, strlen(places[view].name));
        g_free(places[view].name);
    }
}

/* --- the thread --- */

static bool is_watched(Notifier *notifier, gint64 ino)
{
    gint64 box = tree_ino_listed_box((guint64)ino);
    Engine *engine = notifier->front->engine;

    return engine_boxes_fresh(engine) && (box == 0 || engine_box_fresh(engine, (guint32)box));
}

/* A listing that nobody keeps up to date must not be the kernel's for long: the next ls has to ask
 * for it, and so to confirm it. */
static void check_listings(Notifier *notifier, GHashTable *listings)
{
    GHashTableIter iter;
    gpointer key;

    g_hash_table_iter_init(&iter, listings);
    while (g_hash_table_iter_next(&iter, &key, NULL)) {
        if (!is_watched(notifier, *(gint64 *)key)) {
            forget_listing(notifier, *(guint64 *)key);
            continue;
        }
        pthread_mutex_lock(&notifier->lock);
        note_listing(notifier, *(gint64 *)key);
        pthread_mutex_unlock(&notifier->lock);
    }
    g_hash_table_unref(listings);
}

/* Those that nobody reads on. */
static void end_readings(Notifier *notifier)
{
    const gint64 now = g_get_monotonic_time();
    g_autoptr(GArray) inodes = g_array_new(FALSE, FALSE, sizeof(gint64));
    GHashTableIter iter;
    Reading *reading;

    pthread_mutex_lock(&notifier->lock);
    g_hash_table_iter_init(&iter, notifier->readings);
    while (g_hash_table_iter_next(&iter, (gpointer *)&reading, NULL)) {
        if (now < reading->until)
            continue;
        if (reading->forget)
            g_array_append_val(inodes, reading->ino);
        g_hash_table_iter_remove(&iter);
    }
    pthread_mutex_unlock(&notifier->lock);
    for (guint i = 0; i < inodes->len; i++)
        notify_listing(notifier->front->session, (guint64)g_array_index(inodes, gint64, i));
}

typedef struct {
    GQueue events;
    GHashTable *changed;
    GHashTable *listings; /* NULL: it is not their time yet */
} Batch;

/* Waits for something to do. False: stop. */
static bool take_batch(Notifier *notifier, Batch *out)
{
    const struct timespec until = {.tv_sec = notifier->check_at / G_USEC_PER_SEC,
                                   .tv_nsec = notifier->check_at % G_USEC_PER_SEC * 1000};

    pthread_mutex_lock(&notifier->lock);
    while (!notifier->stopping && notifier->events.length == 0 &&
           g_hash_table_size(notifier->changed) == 0 &&
           g_get_monotonic_time() < notifier->check_at)
        pthread_cond_timedwait(&notifier->cond, &notifier->lock, &until);
    if (notifier->stopping) {
        pthread_mutex_unlock(&notifier->lock);
        return false;
    }
    *out = (Batch){.events = notifier->events, .changed = notifier->changed};
    g_queue_init(&notifier->events);
    notifier->changed = g_hash_table_new(NULL, NULL);
    if (g_get_monotonic_time() >= notifier->check_at) {
        out->listings = notifier->listings;
        notifier->listings = inode_set();
        notifier->check_at = g_get_monotonic_time() + LISTING_CHECK_US;
    }
    pthread_mutex_unlock(&notifier->lock);
    return true;
}

static void tell_batch(Notifier *notifier, Batch *batch)
{
    GHashTableIter iter;
    gpointer box;
    Event *event;

    g_hash_table_remove_all(notifier->dirs);
    while ((event = g_queue_pop_head(&batch->events))) {
        if (!g_hash_table_contains(batch->changed, GUINT_TO_POINTER(event->box)) ||
            event->kind >= FLAGS_CHANGED || event->kind == BOX_REMOVED)
            tell(notifier, event);
        event_free(event);
    }
    g_hash_table_iter_init(&iter, batch->changed);
    while (g_hash_table_iter_next(&iter, &box, NULL))
        tell_changed(notifier, GPOINTER_TO_UINT(box));
    g_hash_table_unref(batch->changed);
    if (batch->listings) {
        check_listings(notifier, batch->listings);
        end_readings(notifier);
    }
}

/* At the end: the kernel need not be told any more, but who waits does. Nothing new comes. */
static void answer_all(Notifier *notifier)
{
    Event *event;

    while ((event = g_queue_pop_head(&notifier->events))) {
        if (event->kind == ANSWER)
            answer(notifier, event);
        event_free(event);
    }
}

static void *notifier_thread(void *data)
{
    Notifier *notifier = data;
    Batch batch;

    notifier->check_at = g_get_monotonic_time() + LISTING_CHECK_US;
    while (take_batch(notifier, &batch))
        tell_batch(notifier, &batch);
    answer_all(notifier);
    pthread_mutex_lock(&notifier->lock);
    notifier->running = false;
    pthread_mutex_unlock(&notifier->lock);
    front_wake(notifier->front);
    return NULL;
}

bool notifier_start(Notifier *notifier)
{
    pthread_mutex_lock(&notifier->lock);
    notifier->accepting = notifier->running = notifier->started =
        pthread_create(&notifier->thread, NULL, notifier_thread, notifier) == 0;
    pthread_mutex_unlock(&notifier->lock);
    if (notifier->started)
        pthread_setname_np(notifier->thread, "imapfs-notify");
    return notifier->started;
}

void notifier_stop(Notifier *notifier)
{
    pthread_mutex_lock(&notifier->lock);
    notifier->stopping = true;
    notifier->accepting = false;
    pthread_cond_signal(&notifier->cond);
    pthread_mutex_unlock(&notifier->lock);
}

bool notifier_is_running(Notifier *notifier)
{
    bool running;

    pthread_mutex_lock(&notifier->lock);
    running = notifier->running;
    pthread_mutex_unlock(&notifier->lock);
    return running;
}

void notifier_note_listing(Notifier *notifier, guint64 ino, guint64 offset, bool ended)
{
    gint64 key = (gint64)ino;
    const Reading *reading;
    bool forget = false;

    if (tree_ino_listed_box(ino) < 0)
        return;
    pthread_mutex_lock(&notifier->lock);
    if (notifier->accepting && offset == 0)
        note_listing(notifier, key);
    if (!ended) {
        note_reading(notifier, key, offset == 0);
    } else {
        reading = g_hash_table_lookup(notifier->readings, &key);
        forget = reading && reading->forget;
        g_hash_table_remove(notifier->readings, &key);
    }
    pthread_mutex_unlock(&notifier->lock);
    if (forget)
        notify_listing(notifier->front->session, ino);
}

/* --- events, on the loop --- */

static void change(Notifier *notifier, guint32 box)
{
    g_hash_table_add(notifier->changed, GUINT_TO_POINTER(box));
}

static void push(Front *front, EventKind kind, guint32 box, guint32 id, const char *name)
{
    Notifier *notifier = front->notifier;

    pthread_mutex_lock(&notifier->lock);
    if (!notifier->accepting) {
        /* Before the first request and after the last the kernel keeps nothing. */
    } else if (notifier->events.length >= QUEUE_MAX && kind < FLAGS_CHANGED &&
               kind != BOX_REMOVED) {
        change(notifier, box);
    } else {
        Event event = {kind, box, id, g_strdup(name), 0, NULL};
        g_queue_push_tail(&notifier->events, g_memdup2(&event, sizeof(event)));
    }
    pthread_cond_signal(&notifier->cond);
    pthread_mutex_unlock(&notifier->lock);
}

void notifier_note_name(Notifier *notifier, guint64 dir, const char *name)
{
    Event event = {.kind = NAME_CHANGED, .name = g_strdup(name), .dir = dir};

    pthread_mutex_lock(&notifier->lock);
    if (notifier->accepting)
        g_queue_push_tail(&notifier->events, g_memdup2(&event, sizeof(event)));
    else
        g_free(event.name);
    pthread_cond_signal(&notifier->cond);
    pthread_mutex_unlock(&notifier->lock);
}

bool notifier_answer(Notifier *notifier, Request *request)
{
    const Event event = {.kind = ANSWER, .request = request};
    bool accepted;

    pthread_mutex_lock(&notifier->lock);
    accepted = notifier->accepting;
    if (accepted)
        g_queue_push_tail(&notifier->events, g_memdup2(&event, sizeof(event)));
    pthread_cond_signal(&notifier->cond);
    pthread_mutex_unlock(&notifier->lock);
    return accepted;
}

static void on_box_added(guint32 parent, guint32 box, const char *leaf, gpointer data)
{
    push(data, BOX_ADDED, parent, box, leaf);
}

static void on_box_removed(guint32 parent, guint32 box, const char *leaf, gpointer data)
{
    push(data, BOX_REMOVED, parent, box, leaf);
}

static void on_box_moved(guint32 box, gpointer data)
{
    push(data, BOX_MOVED, box, 0, NULL);
}

static void on_msg_added(guint32 box, guint32 uid, const char *name, gpointer data)
{
    push(data, MSG_ADDED, box, uid, name);
}

static void on_msg_removed(guint32 box, guint32 uid, const char *name, gpointer data)
{
    push(data, MSG_REMOVED, box, uid, name);
}

static void on_flags_changed(guint32 box, guint32 uid, gpointer data)
{
    push(data, FLAGS_CHANGED, box, uid, NULL);
}

static void on_box_changed(guint32 box, gpointer data)
{
    Notifier *notifier = ((Front *)data)->notifier;

    pthread_mutex_lock(&notifier->lock);
    if (notifier->accepting)
        change(notifier, box);
    pthread_cond_signal(&notifier->cond);
    pthread_mutex_unlock(&notifier->lock);
}

const EngineEvents front_events = {
    .box_added = on_box_added,
    .box_removed = on_box_removed,
    .box_moved = on_box_moved,
    .msg_added = on_msg_added,
    .msg_removed = on_msg_removed,
    .flags_changed = on_flags_changed,
    .box_changed = on_box_changed,
};
