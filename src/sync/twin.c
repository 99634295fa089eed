/* twin.c - what the store has of one message is not fetched for another that is the same: a copy in
 * another mailbox; with Gmail, every label.
 *
 * The rule: what goes wrong here is nobody's error; the server is asked as if there was no twin. */
#include "sync.h"

#include "imapfs/base/log.h"

/* --- structures and sizes --- */

static bool take_structure(StoreTxn *txn, guint32 box, guint32 uid, UidSet *taken, GError **error)
{
    g_autofree char *text = store_twin_structure(store_txn_reader(txn), box, uid);
    if (!text)
        return true;
    uidset_add(taken, uid);
    return store_structure_put(txn, box, uid, text, error) &&
           store_twin_copy_sizes(txn, box, uid, error);
}

static bool take_structures(StoreTxn *txn, guint32 box, const UidSet *uids, UidSet *taken,
                            GError **error)
{
    UidIter iter;
    guint32 uid;
    uid_iter_init(&iter, uids);
    while (uid_iter_next(&iter, &uid))
        if (!take_structure(txn, box, uid, taken, error))
            return false;
    return true;
}

static void finish_jobs(Engine *engine, guint32 box, const UidSet *uids)
{
    UidIter iter;
    guint32 uid;
    uid_iter_init(&iter, uids);
    while (uid_iter_next(&iter, &uid)) {
        Job *job = job_find(engine, NEED_STRUCTURE, box, uid, 0, NULL);
        if (job)
            job_finish(job, NULL);
    }
}

/* Those of which a twin's is known. Caller frees. */
static UidSet *with_twin(StoreReader *reader, guint32 box, const UidSet *uids)
{
    UidSet *found = uidset_new();
    UidIter iter;
    guint32 uid;
    uid_iter_init(&iter, uids);
    while (uid_iter_next(&iter, &uid)) {
        g_autofree char *text = store_twin_structure(reader, box, uid);
        if (text)
            uidset_add(found, uid);
    }
    return found;
}

void twin_structures(Engine *engine, guint32 box, UidSet *uids)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(UidSet) found = with_twin(store_reader(engine->store), box, uids);
    g_autoptr(UidSet) taken = uidset_new();
    StoreTxn *txn = uidset_is_empty(found) ? NULL : store_begin(engine->store, false, &error);
    if (txn && !take_structures(txn, box, found, taken, &error))
        store_rollback(txn);
    else if (txn && store_commit(txn, &error))
        uidset_remove_set(uids, taken);
    if (error)
        log_debug("sync", "structures of messages that are the same: %s", error->message);
    else
        finish_jobs(engine, box, taken);
}

bool twin_sizes(Engine *engine, guint32 box, guint32 uid)
{
    g_autoptr(GError) error = NULL;
    if (!store_twin_has_sizes(store_reader(engine->store), box, uid))
        return false;
    StoreTxn *txn = store_begin(engine->store, false, &error);
    if (txn && !store_twin_copy_sizes(txn, box, uid, &error))
        store_rollback(txn);
    else if (txn && store_commit(txn, &error))
        return true;
    log_debug("sync", "sizes of a message that is the same: %s", error->message);
    return false;
}

/* --- contents --- */

static bool copy(Engine *engine, Content *twin, const ContentKey *key)
{
    g_autoptr(GError) error = NULL;
    if (content_copy(engine->store, twin, key, &error))
        return true;
    log_debug("sync", "content of a message that is the same: %s", error->message);
    return false;
}

/* Before it is here: it is one read of those that come one after the other. */
static void note(Job *job)
{
    Mailbox *mailbox = mailbox_get(job->engine, job->need.box, NULL);
    if (!mailbox)
        return;
    mailbox_ref(mailbox);
    ahead_note(mailbox, &job->need);
    mailbox_unref(mailbox);
}

bool twin_content_start(Job *job)
{
    ContentKey key = need_content_key(&job->need);
    g_autoptr(Content) twin = content_open_twin(store_reader(job->engine->store), &key);
    if (!twin)
        return false;
    job_ref(job);
    note(job);
    bool done = job->finished || copy(job->engine, twin, &key);
    if (done)
        job_finish(job, NULL);
    job_unref(job);
    return done;
}

bool twin_takes(Engine *engine, const Need *need)
{
    ContentKey key = need_content_key(need);
    g_autoptr(Content) twin = content_open_twin(store_reader(engine->store), &key);
    return twin && copy(engine, twin, &key);
}
