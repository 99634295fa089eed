/* rehome.c - changes whose mailbox or message is not where it was.
 *
 * The rule: by exact identity or not at all. Messages of a mailbox with a new UIDVALIDITY are
 * matched when the new listing is whole; a mailbox that left LIST is looked for by its MAILBOXID
 * (RFC 8474) among those that are there, and its changes are dropped only when every one of them
 * has said what its id is. */
#include "replay.h"

#include <string.h>

#include "imapfs/base/clock.h"
#include "imapfs/base/error.h"
#include "imapfs/base/log.h"
#include "imapfs/wire/mailbox_name.h"

#define ADRIFT_US (G_GINT64_CONSTANT(60) * 60 * G_USEC_PER_SEC)

/* --- a new UIDVALIDITY --- */

static bool bind(Mailbox *mailbox, guint *bound, guint *parked, GError **error)
{
    StoreTxn *txn = store_begin(mailbox->engine->store, false, error);
    if (!txn)
        return false;
    if (!log_bind_unbound(txn, mailbox->box, bound, parked, error)) {
        store_rollback(txn);
        return false;
    }
    return store_commit(txn, error);
}

void rehome_unbound(Mailbox *mailbox)
{
    Engine *engine = mailbox->engine;
    const EngineEvents *events = &engine->config.events;
    g_autoptr(GError) error = NULL;
    guint bound = 0, parked = 0;
    if (!mailbox->replay.maybe_unbound || engine->config.read_only)
        return;
    if (!bind(mailbox, &bound, &parked, &error)) { /* again when it is in sync next */
        log_error("replay", "%s: %s", mailbox->name, error->message);
        return;
    }
    mailbox->replay.maybe_unbound = false;
    if (bound + parked == 0)
        return;
    log_info("replay", "%s: %u changes found their messages again, %u did not", mailbox->name,
             bound, parked);
    events_add_count(engine, "bound", mailbox->name, bound, "change");
    events_add_count(engine, "parked", mailbox->name, parked,
                     "change to a message that is not found again");
    if (parked) {
        g_autoptr(GError) gone = g_error_new(IMAPFS_ERROR, IMAPFS_ERROR_GONE, "%s: %s",
                                             mailbox->name, conflict_words(CONFLICT_UIDVALIDITY));
        replay_note_failed(engine, mailbox->box, 0, gone);
    }
    if (events->box_changed)
        events->box_changed(mailbox->box, engine->config.events_data);
    replay_note_settled(engine);
    replay_soon(engine);
}

void rehome_wake(Mailbox *mailbox)
{
    mailbox->replay.maybe_unbound = true;
    if (mailbox->selected && !mailbox->must_sync && !mailbox->syncing)
        rehome_unbound(mailbox);
    else
        mailbox_sync_soon(mailbox, LANE_BACKGROUND);
}

/* --- a mailbox that left LIST --- */

typedef struct {
    Engine *engine;
    PoolLease *lease;
    GHashTable *wanted; /* of char *: MAILBOXIDs */
    GHashTable *ask;    /* of char *: names of mailboxes whose id is not known */
    guint in_flight;
    bool utf8;
    bool failed; /* not all have answered: nobody is dropped */
} Search;

static void search_free(Search *search)
{
    search->engine->replay.rehoming = false;
    if (search->lease)
        pool_release(search->lease);
    g_hash_table_unref(search->wanted);
    g_hash_table_unref(search->ask);
    g_free(search);
}

static bool rehouse(Engine *engine, const char *mailboxid, guint32 box, guint32 uidvalidity,
                    GError **error)
{
    StoreTxn *txn = store_begin(engine->store, false, error);
    if (!txn)
        return false;
    StoreBox row = {0};
    bool ok = store_box_by_id(store_txn_reader(txn), box, &row);
    if (ok && !row.uidvalidity) { /* never selected: it is what the operations are bound to */
        row.uidvalidity = uidvalidity;
        ok = store_box_update(txn, &row, error);
    }
    store_box_clear(&row);
    if (!ok || !log_rehouse(txn, mailboxid, box, uidvalidity, error)) {
        store_rollback(txn);
        return false;
    }
    return store_commit(txn, error);
}

/* A mailbox has this id: if changes wait for it, they are its. */
static void found(Search *search, const char *mailboxid, const char *name, guint32 uidvalidity)
{
    Engine *engine = search->engine;
    StoreBox box = {0};
    g_autoptr(GError) error = NULL;
    if (!g_hash_table_contains(search->wanted, mailboxid) || !uidvalidity ||
        !store_box_by_wire_name(store_reader(engine->store), name, &box))
        return;
    if (!rehouse(engine, mailboxid, box.id, uidvalidity, &error)) {
        log_error("replay", "%s: %s", name, error ? error->message : "it is gone");
        search->failed = true;
    } else {
        log_info("replay", "%s is what another mailbox is called now: its changes follow", name);
        events_add(engine, "followed", "%s: the changes to a mailbox that was renamed", name);
        g_hash_table_remove(search->wanted, mailboxid);
        Mailbox *mailbox = mailbox_get(engine, box.id, NULL);
        if (mailbox)
            rehome_wake(mailbox);
        replay_soon(engine);
    }
    store_box_clear(&box);
}

static void drop_wanted(Search *search)
{
    Engine *engine = search->engine;
    GHashTableIter iter;
    gpointer key;
    g_hash_table_iter_init(&iter, search->wanted);
    while (g_hash_table_iter_next(&iter, &key, NULL)) {
        guint n = 0;
        g_autoptr(GError) error = NULL;
        StoreTxn *txn = store_begin(engine->store, false, &error);
        bool ok = txn && log_drop_homeless(txn, key, &n, &error);
        if (txn && !ok)
            store_rollback(txn);
        if (!ok || !store_commit(txn, &error)) {
            log_error("replay", "%s", error->message);
            continue;
        }
        log_warn("replay", "%u changes are dropped: %s", n, conflict_words(CONFLICT_MAILBOX_GONE));
        events_add(engine, "dropped", "%u changes: %s", n, conflict_words(CONFLICT_MAILBOX_GONE));
    }
    replay_note_settled(engine);
}

static void search_over(Search *search)
{
    if (--search->in_flight > 0)
        return;
    if (!search->failed && conflict_action(LOG_FLAGS, CONFLICT_MAILBOX_GONE) == ACTION_DROP)
        drop_wanted(search);
    search_free(search);
}

static bool on_status(Command *command, Response *response, gpointer data)
{
    Search *search = data;
    const StatusItem *status = response->status;
    if (response->kind != RESP_STATUS || !status)
        return false;
    g_autofree char *name =
        mailbox_name_from_wire(status->name, status->name_length, search->utf8, 0);
    if (!name || !g_hash_table_contains(search->ask, name))
        return false;
    if (status->mailboxid && *status->mailboxid)
        found(search, status->mailboxid, name, status->uidvalidity);
    return true;
}

static void on_status_done(Command *command, CommandResult result, const Response *tagged,
                           gpointer data)
{
    Search *search = data;
    search->failed |= result == COMMAND_LOST || result == COMMAND_BAD;
    search_over(search);
}

static void ask(Search *search, Session *session, const char *name)
{
    Command *command = command_new(LANE_BACKGROUND, on_status_done, search);
    command_text_add(command->text, "STATUS ");
    command_text_add_mailbox(command->text, name, search->utf8);
    command_text_add(command->text, " (MAILBOXID UIDVALIDITY)");
    command->wants = 1ull << RESP_STATUS;
    command->expected = 1;
    command->on_untagged = on_status;
    search->in_flight++;
    session_submit(session, command);
}

static void on_session(PoolLease *lease, Session *session, const GError *error, gpointer data)
{
    Search *search = data;
    GHashTableIter iter;
    gpointer key;
    search->lease = lease;
    search->in_flight = 1;
    if (!session || !server_can(session_server(session), CAP_OBJECTID)) {
        search->failed = true; /* asked again after the next LIST */
    } else {
        search->utf8 = session_utf8(session);
        g_hash_table_iter_init(&iter, search->ask);
        while (g_hash_table_iter_next(&iter, &key, NULL))
            ask(search, session, key);
    }
    search_over(search);
}

typedef struct {
    Search *search;
    GPtrArray *known; /* of StoreBox * whose id is wanted */
} Candidates;

static void box_free(gpointer data)
{
    store_box_clear(data);
    g_free(data);
}

static bool each_box(const StoreBox *box, gpointer data)
{
    Candidates *candidates = data;
    if (box->attributes & (LIST_NOSELECT | LIST_NONEXISTENT) || !box->wire_name)
        return true;
    if (!box->mailboxid)
        g_hash_table_add(candidates->search->ask, g_strdup(box->wire_name));
    else if (g_hash_table_contains(candidates->search->wanted, box->mailboxid)) {
        StoreBox *copy = g_new0(StoreBox, 1);
        copy->name = g_strdup(box->wire_name);
        copy->mailboxid = g_strdup(box->mailboxid);
        copy->uidvalidity = box->uidvalidity;
        g_ptr_array_add(candidates->known, copy);
    }
    return true;
}

void rehome_homeless(Engine *engine)
{
    if (engine->config.read_only || engine->replay.rehoming)
        return;
    g_autoptr(GPtrArray) ids = log_homeless(store_reader(engine->store));
    if (ids->len == 0)
        return;
    g_autoptr(GPtrArray) known = g_ptr_array_new_with_free_func(box_free);
    Search *search = g_new0(Search, 1);
    search->engine = engine;
    search->wanted = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    search->ask = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    for (guint i = 0; i < ids->len; i++)
        g_hash_table_add(search->wanted, g_strdup(ids->pdata[i]));
    engine->replay.rehoming = true;
    store_box_all(store_reader(engine->store), each_box, &(Candidates){search, known});
    for (guint i = 0; i < known->len; i++) {
        const StoreBox *box = known->pdata[i];
        found(search, box->mailboxid, box->name, box->uidvalidity);
    }
    if (g_hash_table_size(search->wanted) == 0)
        search_free(search);
    else
        pool_lease(engine->pool, NULL, LANE_BACKGROUND, on_session, search); /* may free it */
}

/* --- a message that went elsewhere --- */

void rehome_drop_adrift(Engine *engine)
{
    guint n = 0;
    g_autoptr(GError) error = NULL;
    if (clock_mono_us() - engine->replay.online_us < ADRIFT_US)
        return;
    StoreTxn *txn = store_begin(engine->store, false, &error);
    bool ok = txn && log_drop_adrift(txn, clock_real_ns() - ADRIFT_US * 1000, &n, &error);
    if (txn && !ok)
        store_rollback(txn);
    if (!ok || !store_commit(txn, &error)) {
        log_error("replay", "%s", error->message);
        return;
    }
    if (n == 0)
        return;
    log_info("replay", "%u changes are dropped: %s", n, conflict_words(CONFLICT_EXPUNGED));
    events_add(engine, "dropped", "%u changes: %s", n, conflict_words(CONFLICT_EXPUNGED));
    replay_note_settled(engine);
}
