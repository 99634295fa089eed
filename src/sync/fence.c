/* fence.c - what a mailbox said before something is placed in it: UIDVALIDITY and UIDNEXT.
 *
 * What was placed and not answered is looked for from there on. It is asked for with STATUS where
 * the mailbox was never listed; what was listed has it. */
#include "replay.h"

#include "imapfs/base/error.h"
#include "imapfs/base/log.h"
#include "imapfs/wire/mailbox_name.h"

char *replay_wire_name(Engine *engine, guint32 box)
{
    return log_wire_name(store_reader(engine->store), box);
}

typedef struct {
    Mailbox *mailbox; /* a reference: on whose behalf */
    guint32 to_box;
    FenceThen then;
    PoolLease *lease;
    char *name; /* as the server knows it */
    bool utf8;
    guint32 uidvalidity, uidnext;
    char *mailboxid; /* so that it is known again under another name; NULL: not told */
} Fence;

static bool on_status(Command *command, Response *response, gpointer data)
{
    Fence *fence = data;
    const StatusItem *status = response->status;
    if (response->kind != RESP_STATUS || !status)
        return false;
    g_autofree char *name =
        mailbox_name_from_wire(status->name, status->name_length, fence->utf8, 0);
    if (g_strcmp0(name, fence->name) != 0)
        return false;
    if (status->present & STATUS_UIDVALIDITY)
        fence->uidvalidity = status->uidvalidity;
    if (status->present & STATUS_UIDNEXT)
        fence->uidnext = status->uidnext;
    if (status->mailboxid && *status->mailboxid && !fence->mailboxid)
        fence->mailboxid = g_strdup(status->mailboxid);
    return true;
}

/* Only where nothing was listed: what a listing recorded says which messages it has seen. */
static bool record(Fence *fence, GError **error)
{
    StoreBox box = {0};
    StoreTxn *txn = store_begin(fence->mailbox->engine->store, false, error);
    if (!txn)
        return false;
    bool ok = store_box_by_id(store_txn_reader(txn), fence->to_box, &box);
    if (!ok)
        g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_GONE, "%s",
                    conflict_words(CONFLICT_TARGET_GONE));
    if (ok && box.uidvalidity && box.uidvalidity != fence->uidvalidity) {
        g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_LOST, "%s",
                    conflict_words(CONFLICT_UIDVALIDITY));
        ok = false; /* it is listed anew when it is selected */
    }
    box.uidvalidity = fence->uidvalidity;
    if (!box.uidnext)
        box.uidnext = fence->uidnext;
    if (!box.mailboxid)
        box.mailboxid = g_strdup(fence->mailboxid);
    ok = ok && store_box_update(txn, &box, error);
    store_box_clear(&box);
    if (!ok) {
        store_rollback(txn);
        return false;
    }
    return store_commit(txn, error);
}

static void end(Fence *fence, const GError *why)
{
    if (fence->lease)
        pool_release(fence->lease);
    fence->then(fence->mailbox, fence->to_box, why);
    mailbox_unref(fence->mailbox);
    g_free(fence->name);
    g_free(fence->mailboxid);
    g_free(fence);
}

static void on_done(Command *command, CommandResult result, const Response *tagged, gpointer data)
{
    Fence *fence = data;
    g_autoptr(GError) why = NULL;
    Outcome outcome = outcome_of(result, tagged);
    if (outcome > OUTCOME_LOST && outcome < OUTCOME_PARK)
        why = g_error_new(IMAPFS_ERROR, IMAPFS_ERROR_LOST, "%s", tagged->text ? tagged->text : "");
    else if (result != COMMAND_OK)
        why = error_from_result(result, tagged, fence->name);
    else if (!fence->uidvalidity || !fence->uidnext)
        why = g_error_new(IMAPFS_ERROR, IMAPFS_ERROR_SERVER,
                          "the server does not say what numbers its messages get");
    else
        record(fence, &why);
    end(fence, why);
}

static void on_lease(PoolLease *lease, Session *session, const GError *error, gpointer data)
{
    Fence *fence = data;
    fence->lease = lease;
    if (!session) {
        g_autoptr(GError) why = g_error_new(IMAPFS_ERROR, IMAPFS_ERROR_LOST, "%s", error->message);
        end(fence, why);
        return;
    }
    fence->utf8 = session_utf8(session);
    Command *command = command_new(LANE_FOREGROUND, on_done, fence);
    command_text_add(command->text, "STATUS ");
    command_text_add_mailbox(command->text, fence->name ? fence->name : "", fence->utf8);
    command_text_add(command->text, " (UIDNEXT UIDVALIDITY%s)",
                     server_can(session_server(session), CAP_OBJECTID) ? " MAILBOXID" : "");
    command->wants = 1ull << RESP_STATUS;
    command->expected = 1;
    command->on_untagged = on_status;
    session_submit(session, command);
}

void fence_ask(Mailbox *mailbox, guint32 to_box, FenceThen then)
{
    Engine *engine = mailbox->engine;
    Fence *fence = g_new0(Fence, 1);
    *fence = (Fence){.mailbox = mailbox_ref(mailbox), .to_box = to_box, .then = then};
    fence->name = replay_wire_name(engine, to_box);
    pool_lease(engine->pool, NULL, LANE_FOREGROUND, on_lease, fence);
}
