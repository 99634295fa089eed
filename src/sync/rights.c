/* rights.c - what the server permits in a mailbox (MYRIGHTS, RFC 4314), and how much of what may be
 * kept is (QUOTA, RFC 9208).
 *
 * The rule: both are only told, never enforced: what they say spares a person a change that the
 * server would refuse, and what they do not say is left to the server. Nobody waits for them. */
#include "sync.h"

#include <string.h>

#include "imapfs/base/clock.h"
#include "imapfs/base/log.h"

#define RIGHTS_AGAIN_US (60 * G_USEC_PER_SEC)
#define QUOTA_AGAIN_US (60 * G_USEC_PER_SEC)
#define RIGHTS_MAX 64

/* --- rights --- */

/* In the letters of RFC 4314. A server of RFC 2086 has c and d alone in place of kx and te. */
static char *rights_of(const char *told)
{
    GString *out = g_string_new(NULL);
    for (const char *at = told; *at && out->len < RIGHTS_MAX; at++) {
        if (g_ascii_islower(*at) || g_ascii_isdigit(*at))
            g_string_append_c(out, *at);
    }
    if (!strpbrk(out->str, "kxte") && strchr(out->str, 'c'))
        g_string_append(out, "kx");
    if (!strpbrk(out->str, "te") && strchr(out->str, 'd'))
        g_string_append(out, "te");
    return g_string_free(out, FALSE);
}

static bool write_rights(Mailbox *mailbox, const char *rights, bool *changed_out, GError **error)
{
    StoreBox box = {0};
    StoreTxn *txn = store_begin(mailbox->engine->store, false, error);
    if (!txn)
        return false;
    bool ok = true;
    *changed_out = store_box_by_id(store_txn_reader(txn), mailbox->box, &box) &&
                   g_strcmp0(box.rights, rights) != 0;
    if (*changed_out) {
        g_free(box.rights);
        box.rights = g_strdup(rights);
        ok = store_box_update(txn, &box, error);
    }
    store_box_clear(&box);
    if (ok)
        return store_commit(txn, error);
    store_rollback(txn);
    return false;
}

static bool on_rights(Command *command, Response *response, gpointer data)
{
    Mailbox *mailbox = data;
    const EngineEvents *events = &mailbox->engine->config.events;
    g_autoptr(GError) error = NULL;
    bool changed = false;
    if (response->kind != RESP_MYRIGHTS || !response->words || response->words->len == 0)
        return false;
    g_autofree char *rights = rights_of(response->words->pdata[0]);
    if (mailbox->gone)
        return true;
    if (!write_rights(mailbox, rights, &changed, &error))
        log_error("sync", "%s: %s", mailbox->name, error->message);
    if (changed && events->box_changed) /* its mode */
        events->box_changed(mailbox->box, mailbox->engine->config.events_data);
    return true;
}

static void on_rights_done(Command *command, CommandResult result, const Response *tagged,
                           gpointer data)
{
    mailbox_unref(data);
}

void rights_ask(Mailbox *mailbox, Session *session)
{
    gint64 now = clock_mono_us();
    bool lately = mailbox->rights_us && now - mailbox->rights_us < RIGHTS_AGAIN_US;
    if (lately || !server_can(session_server(session), CAP_ACL))
        return;
    mailbox->rights_us = now;
    Command *command = command_new(LANE_BACKGROUND, on_rights_done, mailbox_ref(mailbox));
    command_text_add(command->text, "MYRIGHTS ");
    command_text_add_mailbox(command->text, mailbox->name, session_utf8(session));
    command->wants = 1ull << RESP_MYRIGHTS;
    command->expected = 1;
    command->on_untagged = on_rights;
    session_submit(session, command);
}

/* --- quota --- */

typedef struct {
    Engine *engine;
    PoolLease *lease;
    QuotaItem least; /* of each resource the one with the least left */
} Asking;

static void write_quota(Engine *engine, const char *text)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *known = store_meta_get(store_reader(engine->store), STORE_META_QUOTA);
    if (g_strcmp0(known, text) == 0)
        return;
    StoreTxn *txn = store_begin(engine->store, false, &error);
    bool ok = txn && store_meta_put(txn, STORE_META_QUOTA, text, &error);
    if (txn && !ok)
        store_rollback(txn);
    if (!ok || !store_commit(txn, &error))
        log_error("sync", "quota: %s", error->message);
}

static guint64 left(const QuotaResource *resource)
{
    return resource->limit - MIN(resource->limit, resource->used);
}

static void take_least(QuotaResource *least, const QuotaResource *told)
{
    if (told->known && (!least->known || left(told) < left(least)))
        *least = *told;
}

static bool on_quota(Command *command, Response *response, gpointer data)
{
    Asking *asking = data;
    if (response->kind == RESP_QUOTAROOT)
        return true;
    if (response->kind != RESP_QUOTA)
        return false;
    take_least(&asking->least.storage, &response->quota.storage);
    take_least(&asking->least.message, &response->quota.message);
    return true;
}

static void append(GString *out, const char *word, const QuotaResource *resource)
{
    if (resource->known)
        g_string_append_printf(out, "%s %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT "\n", word,
                               resource->used, resource->limit);
}

static void asking_end(Asking *asking)
{
    asking->engine->asking_quota = false;
    pool_release(asking->lease);
    g_free(asking);
}

static void on_quota_done(Command *command, CommandResult result, const Response *tagged,
                          gpointer data)
{
    Asking *asking = data;
    g_autoptr(GString) text = g_string_new(NULL);
    append(text, "STORAGE", &asking->least.storage);
    append(text, "MESSAGE", &asking->least.message);
    if (result == COMMAND_OK)
        write_quota(asking->engine, text->len ? text->str : NULL);
    asking_end(asking);
}

static void on_session(PoolLease *lease, Session *session, const GError *error, gpointer data)
{
    Asking *asking = data;
    asking->lease = lease;
    if (session && !server_can(session_server(session), CAP_QUOTA))
        write_quota(asking->engine, NULL);
    if (!session || !server_can(session_server(session), CAP_QUOTA)) {
        asking_end(asking);
        return;
    }
    Command *command = command_new(LANE_BACKGROUND, on_quota_done, asking);
    command_text_add(command->text, "GETQUOTAROOT ");
    command_text_add_mailbox(command->text, "INBOX", session_utf8(session));
    command->wants = 1ull << RESP_QUOTA | 1ull << RESP_QUOTAROOT;
    command->expected = 8;
    command->on_untagged = on_quota;
    session_submit(session, command);
}

void quota_ask(Engine *engine)
{
    gint64 now = clock_mono_us();
    bool lately = engine->quota_us && now - engine->quota_us < QUOTA_AGAIN_US;
    if (lately || engine->asking_quota || !engine->pool || pool_state(engine->pool) != POOL_ONLINE)
        return;
    engine->quota_us = now;
    engine->asking_quota = true;
    Asking *asking = g_new0(Asking, 1);
    asking->engine = engine;
    pool_lease(engine->pool, NULL, LANE_BACKGROUND, on_session, asking); /* may free it */
}

static void want_run(Engine *engine, gpointer data)
{
    quota_ask(engine);
}

void engine_want_quota(Engine *engine)
{
    engine_post(engine, want_run, NULL, NULL);
}
