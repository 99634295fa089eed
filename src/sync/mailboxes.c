/* mailboxes.c - which mailboxes there are (NAMESPACE, LIST), and asking after those that no session
 * watches (STATUS).
 *
 * One exchange: NAMESPACE and LIST are pipelined; other users' and shared namespaces that LIST ""
 * "*" leaves out are asked for in a second one. The result replaces what the store has, in one
 * transaction, and only when every part of it ended well. */
#include "sync.h"

#include <string.h>

#include "imapfs/base/clock.h"
#include "imapfs/base/error.h"
#include "imapfs/base/limits.h"
#include "imapfs/base/log.h"
#include "imapfs/wire/mailbox_name.h"

/* How often the list is asked for again when nobody needs it: every n-th poll. */
#define LIST_EVERY_POLLS 5
/* Mailboxes that nobody looked at for longer are asked after when somebody does. */
#define POLL_USED_WITHIN_US (10 * 60 * G_USEC_PER_SEC)
/* Up to so many that come or go are named in events. */
#define FEW_TOLD 10

typedef struct {
    Engine *engine;
    PoolLease *lease;
    Session *session;
    GHashTable *found;   /* canonical name -> StoreListing *, owned */
    GPtrArray *prefixes; /* char *: namespaces still to be asked for, wire form */
    char *prefix;        /* the one that is asked for; NULL: all of it */
    GString *own;        /* STORE_META_NAMESPACES; "" while it is not told */
    guint in_flight;
    guint changes; /* of mailboxes, when it was asked */
    bool extended; /* the LIST had a RETURN part */
    GError *error;
} Lister;

static void listing_free(gpointer data)
{
    StoreListing *listing = data;
    g_free((char *)listing->name);
    g_free(listing);
}

static void finish_jobs(Engine *engine, const GError *error)
{
    Job *job = job_find(engine, NEED_MAILBOXES, 0, 0, 0, NULL);
    if (job)
        job_finish(job, error);
}

static void lister_free(Lister *lister)
{
    if (lister->lease)
        pool_release(lister->lease);
    g_hash_table_unref(lister->found);
    g_ptr_array_unref(lister->prefixes);
    g_free(lister->prefix);
    g_string_free(lister->own, TRUE);
    g_clear_error(&lister->error);
    g_free(lister);
}

static void clear_box(gpointer data)
{
    store_box_clear(data);
}

static void tell_boxes(Engine *engine, GArray *boxes, bool added)
{
    const EngineEvents *events = &engine->config.events;
    void (*tell)(guint32, guint32, const char *, gpointer) =
        added ? events->box_added : events->box_removed;
    const char *word = added ? "mailbox-new" : "mailbox-gone";
    if (boxes->len > FEW_TOLD)
        events_add(engine, word, "%u mailboxes", boxes->len);
    for (guint i = 0; i < boxes->len; i++) {
        StoreBox *box = &g_array_index(boxes, StoreBox, i);
        if (boxes->len <= FEW_TOLD)
            events_add(engine, word, "%s", box->name);
        if (tell)
            tell(box->parent, box->id, box->leaf, engine->config.events_data);
        Mailbox *mailbox = added || !box->wire_name ? NULL : mailbox_find(engine, box->wire_name);
        if (mailbox)
            mailbox_drop(mailbox);
    }
}

/* It can hold messages from now on, or only others. */
static void tell_turned(Engine *engine, guint32 id)
{
    const EngineEvents *events = &engine->config.events;
    StoreBox box = {0};
    if (!store_box_by_id(store_reader(engine->store), id, &box))
        return;
    bool hollow = (box.attributes & LIST_NOSELECT) != 0;
    Mailbox *mailbox = hollow && box.wire_name ? mailbox_find(engine, box.wire_name) : NULL;
    store_box_clear(&box);
    if (mailbox)
        mailbox_drop(mailbox);
    void (*tell)(guint32, gpointer) = hollow ? events->box_emptied : events->box_changed;
    if (tell)
        tell(id, engine->config.events_data);
}

static bool lister_store(Lister *lister, GError **error)
{
    Engine *engine = lister->engine;
    g_autoptr(GArray) listings = g_array_new(FALSE, FALSE, sizeof(StoreListing));
    g_autoptr(GArray) added = g_array_new(FALSE, TRUE, sizeof(StoreBox));
    g_autoptr(GArray) removed = g_array_new(FALSE, TRUE, sizeof(StoreBox));
    g_array_set_clear_func(added, clear_box);
    g_array_set_clear_func(removed, clear_box);
    GHashTableIter iter;
    gpointer value;
    g_hash_table_iter_init(&iter, lister->found);
    while (g_hash_table_iter_next(&iter, NULL, &value))
        g_array_append_vals(listings, value, 1);
    if (listings->len == 0) { /* there is always INBOX; nothing is dropped on such a word */
        g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_PROTOCOL, "the server listed no mailbox");
        return false;
    }

    StoreTxn *txn = store_begin(engine->store, false, error);
    if (!txn)
        return false;
    if (!store_boxes_reconcile(txn, (const StoreListing *)(void *)listings->data, listings->len,
                               clock_real_ns(), added, removed, error) ||
        !store_meta_put(txn, STORE_META_NAMESPACES, lister->own->len ? lister->own->str : NULL,
                        error)) {
        store_rollback(txn);
        return false;
    }
    LogEffects effects = *log_effects(txn);
    g_autoptr(GArray) names = store_txn_take_names(txn);
    g_autoptr(GArray) turned = store_txn_take_turned(txn);
    if (!store_commit(txn, error))
        return false;
    log_debug("sync", "%u mailboxes, %u new, %u gone", listings->len, added->len, removed->len);
    tell_boxes(engine, removed, false);
    tell_boxes(engine, added, true);
    for (guint i = 0; i < turned->len; i++)
        tell_turned(engine, g_array_index(turned, guint32, i));
    box_names_tell(engine, names);
    replay_tell_effects(engine, "mailboxes", &effects);
    return true;
}

static void lister_end(Lister *lister)
{
    Engine *engine = lister->engine;
    engine->listing = false;
    if (!lister->error && (engine->boxes.now || lister->changes != engine->boxes.changes)) {
        lister_free(lister); /* of before, or from the middle: nothing is known by it */
        engine->boxes.list_again = true;
        replay_soon(engine);
        return;
    }
    if (!lister->error && lister_store(lister, &lister->error))
        engine_set_listed(engine, clock_mono_us());
    if (lister->error)
        log_warn("sync", "list of mailboxes: %s", lister->error->message);
    finish_jobs(engine, lister->error);
    bool ok = !lister->error;
    lister_free(lister);
    if (!ok)
        return;
    rehome_homeless(engine);
    replay_soon(engine); /* it may have decided what came of something */
}

/* --- LIST --- */

static void take_listing(Lister *lister, const ListItem *item)
{
    if (g_hash_table_size(lister->found) >= LIMIT_MAILBOXES)
        return;
    char *name = mailbox_name_from_wire(item->name, item->name_length,
                                        session_utf8(lister->session), item->delimiter);
    if (!name)
        return; /* the namespace's root ("" or a bare prefix), or nothing that could be a name */
    StoreListing *listing = g_new0(StoreListing, 1);
    listing->name = name;
    listing->delimiter = item->delimiter;
    listing->attributes = item->attributes;
    g_hash_table_replace(lister->found, name, listing);
}

static bool on_list(Command *command, Response *response, gpointer data)
{
    if (response->kind != RESP_LIST || !response->list)
        return false;
    take_listing(data, response->list);
    return true;
}

static void lister_send(Lister *lister, const char *prefix);
static void lister_next(Lister *lister);

/* The name that mailboxes of a namespace begin with. Caller frees; NULL: it is none. */
static char *prefix_name(const Lister *lister, const char *prefix)
{
    return mailbox_name_from_wire(prefix, strlen(prefix), session_utf8(lister->session), 0);
}

typedef struct {
    const char *name;
    bool found;
} Known;

static bool is_known_below(const StoreBox *box, gpointer data)
{
    Known *known = data;
    known->found = g_str_has_prefix(box->name, known->name);
    return !known->found;
}

/* Other users' mailboxes, or news: refused, they are left out, unless that took something away. */
static bool may_be_refused(const Lister *lister)
{
    g_autofree char *name = lister->prefix ? prefix_name(lister, lister->prefix) : NULL;
    Known known = {.name = name};
    if (name)
        store_box_all(store_reader(lister->engine->store), is_known_below, &known);
    return name && !known.found;
}

static void on_list_done(Command *command, CommandResult result, const Response *tagged,
                         gpointer data)
{
    Lister *lister = data;
    lister->in_flight--;
    if (result == COMMAND_NO && may_be_refused(lister)) {
        g_autofree char *name = log_printable(lister->prefix, strlen(lister->prefix), 128);
        log_info("sync", "the server does not list \"%s\"", name);
        result = COMMAND_OK;
    }
    if (result == COMMAND_BAD && lister->extended && !lister->engine->list_plain) {
        log_info("sync", "LIST with RETURN was refused; the plain form is used from now on");
        lister->engine->list_plain = true;
        lister_send(lister, "");
        return;
    }
    if (result != COMMAND_OK && !lister->error)
        lister->error = error_from_result(result, tagged, "LIST");
    lister_next(lister);
}

static void lister_send(Lister *lister, const char *prefix)
{
    const ServerInfo *server = session_server(lister->session);
    Command *command = command_new(LANE_FOREGROUND, on_list_done, lister);
    lister->extended = !lister->engine->list_plain && server_can(server, CAP_LIST_EXTENDED) &&
                       server_can(server, CAP_SPECIAL_USE) &&
                       !server_has_quirk(server, QUIRK_NO_LIST_EXTENDED);
    g_autofree char *pattern = g_strconcat(prefix, "*", NULL);
    command_text_add(command->text, "LIST \"\" ");
    command_text_add_astring(command->text, pattern, strlen(pattern));
    if (lister->extended)
        command_text_add(command->text, " RETURN (SPECIAL-USE)");
    command->wants = 1ull << RESP_LIST;
    command->expected = LIMIT_MAILBOXES / LIMIT_UNTAGGED_FACTOR;
    command->on_untagged = on_list;
    lister->in_flight++;
    session_submit(lister->session, command);
}

/* Whether LIST "" "*" brought anything of this namespace. */
static bool prefix_was_listed(Lister *lister, const char *prefix)
{
    g_autofree char *name = prefix_name(lister, prefix);
    GHashTableIter iter;
    gpointer key;
    g_hash_table_iter_init(&iter, lister->found);
    while (name && g_hash_table_iter_next(&iter, &key, NULL)) {
        if (g_str_has_prefix(key, name))
            return true;
    }
    return false;
}

/* When everything in flight is answered: the namespaces that were left out, then the end. */
static void lister_next(Lister *lister)
{
    while (lister->in_flight == 0 && !lister->error && lister->prefixes->len > 0) {
        g_free(lister->prefix);
        lister->prefix = g_ptr_array_steal_index(lister->prefixes, 0);
        if (!prefix_was_listed(lister, lister->prefix))
            lister_send(lister, lister->prefix);
    }
    if (lister->in_flight == 0)
        lister_end(lister);
}

/* --- NAMESPACE (RFC 2342) --- */

/* Where a person's own mailboxes are (RFC 2342 5): new ones can only be made there. */
static void note_own(Lister *lister, const NamespaceItem *item)
{
    const char *prefix = item->prefix ? item->prefix : "";
    g_autofree char *name = mailbox_name_from_wire(prefix, strlen(prefix),
                                                   session_utf8(lister->session), item->delimiter);
    if (!strchr(prefix, '\n'))
        g_string_append_printf(lister->own, "%s\n", name ? name : "");
}

static bool on_namespace(Command *command, Response *response, gpointer data)
{
    Lister *lister = data;
    if (response->kind != RESP_NAMESPACE)
        return false;
    for (guint kind = 0; kind < G_N_ELEMENTS(response->namespaces); kind++) {
        GArray *items = response->namespaces[kind];
        for (guint i = 0; items && i < items->len; i++) {
            const NamespaceItem *item = &g_array_index(items, NamespaceItem, i);
            if (kind == 0)
                note_own(lister, item);
            if (item->prefix && *item->prefix)
                g_ptr_array_add(lister->prefixes, g_strdup(item->prefix));
        }
    }
    return true;
}

static void on_namespace_done(Command *command, CommandResult result, const Response *tagged,
                              gpointer data)
{
    Lister *lister = data;
    lister->in_flight--;
    if (result == COMMAND_LOST && !lister->error)
        lister->error = error_from_result(result, tagged, "NAMESPACE");
    lister_next(lister); /* NO and BAD: some servers do not know it; LIST alone then */
}

static void lister_ready(PoolLease *lease, Session *session, const GError *error, gpointer data)
{
    Lister *lister = data;
    lister->lease = lease;
    if (!session) {
        lister->error = g_error_copy(error);
        lister_end(lister);
        return;
    }
    lister->session = session;
    lister->in_flight++; /* holds lister_next() back until all are submitted */
    if (server_can(session_server(session), CAP_NAMESPACE)) {
        Command *command = command_new(LANE_FOREGROUND, on_namespace_done, lister);
        command_text_add(command->text, "NAMESPACE");
        command->wants = 1ull << RESP_NAMESPACE;
        command->expected = 1;
        command->on_untagged = on_namespace;
        lister->in_flight++;
        session_submit(session, command);
    }
    lister_send(lister, "");
    lister->in_flight--;
}

void mailboxes_refresh(Engine *engine)
{
    if (engine->listing)
        return;
    engine->listing = true;
    engine->boxes.list_again = false;
    Lister *lister = g_new0(Lister, 1);
    lister->engine = engine;
    lister->changes = engine->boxes.changes;
    lister->found = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, listing_free);
    lister->prefixes = g_ptr_array_new_with_free_func(g_free);
    lister->own = g_string_new(NULL);
    pool_lease(engine->pool, NULL, LANE_FOREGROUND, lister_ready, lister); /* may free lister */
}

void mailboxes_job_start(Job *job)
{
    mailboxes_refresh(job->engine);
}

/* --- polling --- */

static bool on_status(Command *command, Response *response, gpointer data)
{
    Mailbox *mailbox = data;
    const StatusItem *status = response->status;
    if (response->kind != RESP_STATUS || !status || !mailbox->session_polled)
        return false;
    g_autofree char *name =
        mailbox_name_from_wire(status->name, status->name_length, mailbox->polled_utf8, 0);
    if (g_strcmp0(name, mailbox->name) != 0)
        return false;
    mailbox_on_status(mailbox, status);
    return true;
}

static void on_status_done(Command *command, CommandResult result, const Response *tagged,
                           gpointer data)
{
    Mailbox *mailbox = data;
    mailbox->session_polled = false;
    if (result == COMMAND_NO && tagged && tagged->code == CODE_NONEXISTENT && !mailbox->gone)
        mailboxes_refresh(mailbox->engine);
    mailbox_unref(mailbox);
}

static void poll_one(Session *session, Mailbox *mailbox)
{
    Command *command = command_new(LANE_BACKGROUND, on_status_done, mailbox_ref(mailbox));
    mailbox->session_polled = true;
    mailbox->polled_utf8 = session_utf8(session);
    command_text_add(command->text, "STATUS ");
    command_text_add_mailbox(command->text, mailbox->name, session_utf8(session));
    command_text_add(command->text, " (MESSAGES UIDNEXT UIDVALIDITY%s)",
                     session_condstore(session) ? " HIGHESTMODSEQ" : "");
    command->wants = 1ull << RESP_STATUS;
    command->expected = 1;
    command->on_untagged = on_status;
    session_submit(session, command);
}

static void poll_ready(PoolLease *lease, Session *session, const GError *error, gpointer data)
{
    Engine *engine = data;
    GHashTableIter iter;
    gpointer value;
    g_hash_table_iter_init(&iter, engine->mailboxes);
    while (session && g_hash_table_iter_next(&iter, NULL, &value)) {
        Mailbox *mailbox = value;
        bool used = clock_mono_us() - mailbox->used_us < POLL_USED_WITHIN_US;
        if (used && !mailbox_is_watched(mailbox) && !mailbox->session_polled && !mailbox->session)
            poll_one(session, mailbox);
    }
    engine->polling = false;
    pool_release(lease);
}

void mailboxes_poll(Engine *engine)
{
    if (engine->polling || engine->shared.state != POOL_ONLINE)
        return;
    if (++engine->polls % LIST_EVERY_POLLS == 0)
        mailboxes_refresh(engine);
    engine->polling = true;
    pool_lease(engine->pool, NULL, LANE_BACKGROUND, poll_ready, engine);
}
