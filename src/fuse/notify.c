/* notify.c - the thread that tells the kernel what to forget.
 *
 * It calls fuse_lowlevel_notify_*, which wait for locks in the kernel that are held while a LOOKUP
 * or READ of ours is unanswered: no thread that answers these may. (files.c and changes.c have
 * threads of their own for what must be told before something is answered.) Events that come faster
 * than the kernel takes them are folded into "forget this whole mailbox", which it does only to who
 * is not in there: his working directory has no name until somebody looks that up again. */
#include "impl.h"

#include <string.h>

#define QUEUE_MAX 4096 /* single events kept */
#define LISTING_CHECK_US (5 * G_TIME_SPAN_SECOND)
#define LATE_US G_TIME_SPAN_SECOND /* a READDIR that was on its way when another met the end */

typedef enum {
    BOX_ADDED,
    BOX_REMOVED,
    MSG_ADDED,
    MSG_REMOVED,
    MSG_NUMBERED, /* box is where it is shown, id its number of ours */
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

/* What the kernel has of the listing of a directory. While that is but a beginning it gives it to
 * nobody; but when the pages of a beginning go, it keeps this listing no more, however often it is
 * read (Linux 6.18: fuse_readdir_cached and fuse_add_dirent_to_cache). So they go when the end is
 * there. */
typedef struct {
    gint64 ino;     /* what a hash table of 64-bit numbers needs, first */
    gint64 all_at;  /* monotonic: since when it has all; 0: it does not */
    gint64 old_at;  /* monotonic: since when its beginning is out of date; 0: it is not */
    bool beginning; /* it has a beginning, perhaps all but the end */
} Kept;

struct Notifier {
    Front *front;
    pthread_t thread;
    bool started;
    pthread_mutex_t lock;
    pthread_cond_t cond; /* of CLOCK_MONOTONIC */
    bool accepting, stopping, running;
    GQueue events;        /* of Event */
    GHashTable *changed;  /* boxes to forget as a whole */
    GHashTable *relisted; /* boxes whose listings and attributes are to be forgotten */
    GHashTable *listings; /* inode (gint64) of directories whose listing the kernel may keep */
    GHashTable *kept;     /* of Kept: one for each directory of a mailbox that was ever listed */

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
    notifier->relisted = g_hash_table_new(NULL, NULL);
    notifier->listings = inode_set();
    notifier->kept = inode_set();
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
    g_hash_table_unref(notifier->relisted);
    g_hash_table_unref(notifier->listings);
    g_hash_table_unref(notifier->kept);
    g_hash_table_unref(notifier->dirs);
    pthread_mutex_destroy(&notifier->lock);
    pthread_cond_destroy(&notifier->cond);
    g_free(notifier);
}

/* --- what the kernel has of a listing --- */

/* Under the lock. */
static void note_listing(Notifier *notifier, gint64 ino)
{
    if (!g_hash_table_contains(notifier->listings, &ino))
        g_hash_table_add(notifier->listings, g_memdup2(&ino, sizeof(ino)));
}

/* Under the lock. A reader that was on its way while another one met the end makes no beginning. */
static void note_beginning(Notifier *notifier, gint64 ino)
{
    const gint64 now = g_get_monotonic_time();
    Kept *kept = g_hash_table_lookup(notifier->kept, &ino);

    if (!kept) {
        const Kept none = {.ino = ino};

        kept = g_memdup2(&none, sizeof(none));
        g_hash_table_add(notifier->kept, kept);
    }
    if (kept->all_at && now - kept->all_at < LATE_US)
        return;
    kept->beginning = true;
    kept->all_at = 0;
}

/* Under the lock. True: it is out of date. */
static bool note_end(Notifier *notifier, gint64 ino)
{
    Kept *kept = g_hash_table_lookup(notifier->kept, &ino);
    bool old;

    if (!kept)
        return false;
    old = kept->old_at != 0;
    kept->beginning = false;
    kept->old_at = 0;
    kept->all_at = old ? 0 : g_get_monotonic_time();
    return old;
}

/* False: not now, but when the end is there; or some seconds later, if nobody reads on. */
static bool may_forget(Notifier *notifier, gint64 ino)
{
    Kept *kept;
    bool now;

    pthread_mutex_lock(&notifier->lock);
    kept = g_hash_table_lookup(notifier->kept, &ino);
    now = !kept || !kept->beginning;
    if (kept) {
        kept->all_at = 0;
        if (kept->beginning && !kept->old_at)
            kept->old_at = g_get_monotonic_time();
    }
    pthread_mutex_unlock(&notifier->lock);
    return now;
}

/* --- what the kernel is told --- */

/* The attributes, and the pages of the listing: offset 0, as it goes whatever the directory's mtime
 * was. Waits for nobody. */
static int notify_directory(struct fuse_session *session, guint64 ino, bool listing)
{
    return fuse_lowlevel_notify_inval_inode(session, ino, listing ? 0 : -1, 0);
}

bool notifier_forget_listing(Notifier *notifier, guint64 dir)
{
    bool listing = may_forget(notifier, (gint64)dir);

    return notify_directory(notifier->front->session, dir, listing) == 0;
}

/* Forgets a directory's listing and attributes, once a batch. False: the kernel does not know the
 * directory, so it knows no name in it either. */
static bool forget_listing(Notifier *notifier, guint64 ino)
{
    gint64 key = (gint64)ino;
    gpointer known = NULL;

    if (!g_hash_table_lookup_extended(notifier->dirs, &key, NULL, &known)) {
        known = GINT_TO_POINTER(notifier_forget_listing(notifier, ino));
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
    guint32 box = event->kind == MSG_NUMBERED ? STORE_BOX_PENDING : event->box;
    g_autofree char *name = tree_message_entry_name(box, event->name, event->id);
    g_autofree char *uid = tree_uid_name(box, event->id, "");
    g_autofree char *eml = tree_uid_name(box, event->id, ".eml");
    guint64 dir = tree_ino_box(event->box), raw = tree_ino_raw_box(event->box);

    if (event->kind != MSG_REMOVED)
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
    notifier_forget_listing(front->notifier, tree_ino_maildir_cur(box));
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
    case MSG_NUMBERED:
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

static void tell_relisted(Notifier *notifier, guint32 box)
{
    for (guint view = 0; view < TREE_VIEWS; view++)
        forget_listing(notifier, tree_ino_box_in(box, view));
    if (!box)
        return;
    forget_listing(notifier, tree_ino_uid_dir(box));
    forget_listing(notifier, tree_ino_maildir_cur(box));
}

/* The kernel has no call for "all names in this directory". Invalidating the directory's own name
 * prunes what is cached below it; the name itself is looked up again by the next to use it. */
static void tell_changed(Notifier *notifier, guint32 box)
{
    TreePlace places[TREE_VIEWS] = {{0}};

    tell_relisted(notifier, box);
    if (!box)
        return;
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

/* Beginnings that nobody has read on from. */
static void end_beginnings(Notifier *notifier)
{
    const gint64 now = g_get_monotonic_time();
    g_autoptr(GArray) inodes = g_array_new(FALSE, FALSE, sizeof(gint64));
    GHashTableIter iter;
    Kept *kept;

    pthread_mutex_lock(&notifier->lock);
    g_hash_table_iter_init(&iter, notifier->kept);
    while (g_hash_table_iter_next(&iter, (gpointer *)&kept, NULL)) {
        if (!kept->old_at || now - kept->old_at < LISTING_CHECK_US)
            continue;
        kept->old_at = 0;
        kept->beginning = false;
        g_array_append_val(inodes, kept->ino);
    }
    pthread_mutex_unlock(&notifier->lock);
    for (guint i = 0; i < inodes->len; i++)
        notify_directory(notifier->front->session, (guint64)g_array_index(inodes, gint64, i), true);
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

typedef struct {
    GQueue events;
    GHashTable *changed, *relisted;
    GHashTable *listings; /* NULL: it is not their time yet */
} Batch;

/* Waits for something to do. False: stop. */
static bool take_batch(Notifier *notifier, gint64 *check_at, Batch *out)
{
    const struct timespec until = {.tv_sec = *check_at / G_USEC_PER_SEC,
                                   .tv_nsec = *check_at % G_USEC_PER_SEC * 1000};

    pthread_mutex_lock(&notifier->lock);
    while (!notifier->stopping && notifier->events.length == 0 &&
           g_hash_table_size(notifier->changed) == 0 &&
           g_hash_table_size(notifier->relisted) == 0 && g_get_monotonic_time() < *check_at)
        pthread_cond_timedwait(&notifier->cond, &notifier->lock, &until);
    if (notifier->stopping) {
        pthread_mutex_unlock(&notifier->lock);
        return false;
    }
    *out = (Batch){
        .events = notifier->events, .changed = notifier->changed, .relisted = notifier->relisted};
    g_queue_init(&notifier->events);
    notifier->changed = g_hash_table_new(NULL, NULL);
    notifier->relisted = g_hash_table_new(NULL, NULL);
    if (g_get_monotonic_time() >= *check_at) {
        out->listings = notifier->listings;
        notifier->listings = inode_set();
        *check_at = g_get_monotonic_time() + LISTING_CHECK_US;
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
    g_hash_table_iter_init(&iter, batch->relisted);
    while (g_hash_table_iter_next(&iter, &box, NULL))
        tell_relisted(notifier, GPOINTER_TO_UINT(box));
    g_hash_table_unref(batch->changed);
    g_hash_table_unref(batch->relisted);
    if (batch->listings) {
        check_listings(notifier, batch->listings);
        end_beginnings(notifier);
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
    gint64 check_at = g_get_monotonic_time() + LISTING_CHECK_US;
    Batch batch;

    while (take_batch(notifier, &check_at, &batch))
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
    bool forget = false;

    if ((offset != 0 && !ended) || tree_ino_listed_box(ino) < 0)
        return;
    pthread_mutex_lock(&notifier->lock);
    if (notifier->accepting && offset == 0)
        note_listing(notifier, key);
    if (ended)
        forget = note_end(notifier, key);
    else
        note_beginning(notifier, key);
    pthread_mutex_unlock(&notifier->lock);
    if (forget)
        notify_directory(notifier->front->session, ino, true);
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

static void on_msg_numbered(guint32 n, guint32 shown_box, guint32 box, guint32 uid,
                            const char *name, gpointer data)
{
    push(data, MSG_NUMBERED, shown_box, n, name);
}

static void on_flags_changed(guint32 box, guint32 uid, gpointer data)
{
    push(data, FLAGS_CHANGED, box, uid, NULL);
}

/* boxes: one of the notifier's tables. */
static void push_box(Notifier *notifier, GHashTable *const *boxes, guint32 box)
{
    pthread_mutex_lock(&notifier->lock);
    if (notifier->accepting)
        g_hash_table_add(*boxes, GUINT_TO_POINTER(box));
    pthread_cond_signal(&notifier->cond);
    pthread_mutex_unlock(&notifier->lock);
}

static void on_box_changed(guint32 box, gpointer data)
{
    Notifier *notifier = ((Front *)data)->notifier;

    push_box(notifier, &notifier->relisted, box);
}

static void on_box_emptied(guint32 box, gpointer data)
{
    Notifier *notifier = ((Front *)data)->notifier;

    push_box(notifier, &notifier->changed, box);
}

const EngineEvents front_events = {
    .box_added = on_box_added,
    .box_removed = on_box_removed,
    .box_moved = on_box_moved,
    .msg_added = on_msg_added,
    .msg_removed = on_msg_removed,
    .msg_numbered = on_msg_numbered,
    .flags_changed = on_flags_changed,
    .box_changed = on_box_changed,
    .box_emptied = on_box_emptied,
};
