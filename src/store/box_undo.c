/* box_undo.c - what becomes of what was logged about mailboxes: done, or taken back.
 *
 * The rule: what is taken back takes along all that was logged later and builds on it, the last
 * first, so that each is undone in the state that it was made in. Nothing of that is lost: it is
 * parked, and can be tried again. */
#include "box_private.h"

#include <string.h>
#include "imapfs/base/clock.h"
#include "imapfs/base/error.h"

/* --- done --- */

static bool made(StoreTxn *txn, const LogOp *op, StoreBox *box, GError **error)
{
    return box_set_made(txn, box->id, op->mailbox, error);
}

static bool removed(StoreTxn *txn, const LogOp *op, StoreBox *box, GError **error)
{
    return box_delete(txn, box, error);
}

static bool renamed(StoreTxn *txn, const LogOp *op, StoreBox *box, GError **error)
{
    return box->wire_name == NULL ||
           box_rename_on_server(txn, box->wire_name, op->target, box->delimiter, error);
}

bool log_box_done(StoreTxn *txn, const LogOp *op, GError **error)
{
    static bool (*const done[])(StoreTxn *, const LogOp *, StoreBox *, GError **) = {
        [LOG_MKBOX] = made, [LOG_RMBOX] = removed, [LOG_RENBOX] = renamed};
    StoreBox box = {0};
    if (!log_end(txn, op->seq, true, error))
        return false;
    bool ok = !store_box_by_id(&txn->reader, op->box, &box) || done[op->kind](txn, op, &box, error);
    store_box_clear(&box);
    return ok && log_check_reads(txn, error);
}

/* --- what builds on what --- */

static bool is_at(const char *name, const char *top, char delimiter)
{
    return name != NULL && top != NULL &&
           (strcmp(name, top) == 0 || box_is_below(name, top, delimiter));
}

/* A later one is about the same mailbox, or has a name that is this one's, or below it. */
static bool builds_on(const LogOp *later, const LogOp *op, char delimiter)
{
    const char *to = later->kind == LOG_RENBOX ? later->target : later->mailbox;
    const char *from = op->kind == LOG_RENBOX ? op->mailbox : NULL;
    const char *name = op->kind == LOG_RENBOX ? op->target : op->mailbox;
    if (later->box == op->box)
        return true;
    if (is_at(to, name, delimiter) || is_at(to, from, delimiter))
        return later->kind != LOG_RMBOX;
    return later->kind == LOG_RENBOX && is_at(later->mailbox, name, delimiter);
}

static char delimiter_of(StoreTxn *txn, guint32 id)
{
    StoreBox box = {0};
    char delimiter = store_box_by_id(&txn->reader, id, &box) ? box.delimiter : '\0';
    store_box_clear(&box);
    return delimiter;
}

/* Those that place messages in a mailbox. */
static GPtrArray *placing_in(StoreTxn *txn, guint32 box, GError **error)
{
    static const char sql[] =
        "SELECT " LOG_COLUMNS " FROM log WHERE to_box != 0 AND to_box = ? AND state != 5"
        " ORDER BY seq DESC";
    return log_read_ops_of(txn, sql, box, error);
}

static bool is_built_on(StoreTxn *txn, const LogOp *op, bool *yes_out, GError **error)
{
    g_autoptr(GPtrArray) later = log_box_ops(txn, op->seq, error);
    g_autoptr(GPtrArray) placing =
        later != NULL && op->kind == LOG_MKBOX ? placing_in(txn, op->box, error) : NULL;
    char delimiter = delimiter_of(txn, op->box);
    *yes_out = placing != NULL && placing->len > 0;
    if (later == NULL || (op->kind == LOG_MKBOX && placing == NULL))
        return false;
    for (guint i = 0; i < later->len; i++)
        *yes_out = *yes_out || builds_on(later->pdata[i], op, delimiter);
    return true;
}

static bool park_later(StoreTxn *txn, const LogOp *op, GError **error)
{
    g_autoptr(GPtrArray) later = log_box_ops(txn, op->seq, error);
    char delimiter = delimiter_of(txn, op->box);
    if (later == NULL)
        return false;
    for (guint i = later->len; i-- > 0;) {
        const LogOp *one = later->pdata[i];
        if (builds_on(one, op, delimiter) &&
            !log_park(txn, one->seq, "an earlier change of a mailbox was not possible", error))
            return false;
    }
    return true;
}

/* --- taken back --- */

static bool unmake(StoreTxn *txn, const LogOp *op, StoreBox *box, GError **error)
{
    g_autoptr(GPtrArray) placing = placing_in(txn, box->id, error);
    if (placing == NULL)
        return false;
    for (guint i = 0; i < placing->len; i++)
        if (!log_park(txn, ((const LogOp *)placing->pdata[i])->seq,
                      "the mailbox where it was to go could not be made", error))
            return false;
    txn_note_name(txn, box->parent, box->leaf, 0);
    return box_delete(txn, box, error) && box_bump(txn, box->parent, clock_real_ns(), error);
}

static bool unremove(StoreTxn *txn, const LogOp *op, StoreBox *box, GError **error)
{
    return box_set_doomed(txn, box, false, clock_real_ns(), error);
}

/* Something may have its old name that the log knows nothing of: then it goes, and is listed anew
 * as what it is. */
static bool unrename(StoreTxn *txn, const LogOp *op, StoreBox *box, GError **error)
{
    bool done;
    if (!box_rename(txn, box, op->mailbox, clock_real_ns(), &done, error))
        return false;
    if (done)
        return true;
    txn_note_name(txn, box->parent, box->leaf, 0);
    return box_delete(txn, box, error);
}

bool log_box_undo(StoreTxn *txn, const LogOp *op, GError **error)
{
    static bool (*const undo[])(StoreTxn *, const LogOp *, StoreBox *, GError **) = {
        [LOG_MKBOX] = unmake, [LOG_RMBOX] = unremove, [LOG_RENBOX] = unrename};
    StoreBox box = {0};
    if (!park_later(txn, op, error))
        return false;
    bool ok = !store_box_by_id(&txn->reader, op->box, &box) || undo[op->kind](txn, op, &box, error);
    store_box_clear(&box);
    return ok && log_check_reads(txn, error);
}

/* The state first: what is parked takes no part in what is looked for. */
bool log_box_park(StoreTxn *txn, const LogOp *op, const char *reason, GError **error)
{
    return log_set_state(txn, op->seq, LOG_FAILED, reason, error) && log_box_undo(txn, op, error);
}

bool log_box_cancel(StoreTxn *txn, const LogOp *op, GError **error)
{
    bool needed;
    if (!is_built_on(txn, op, &needed, error))
        return false;
    if (!needed)
        return log_end(txn, op->seq, false, error) && log_box_undo(txn, op, error);
    g_set_error_literal(error, IMAPFS_ERROR, IMAPFS_ERROR_BUSY,
                        "later changes build on it: take these back first");
    return false;
}

/* As a new one, on what is there now. */
bool log_box_retry(StoreTxn *txn, const LogOp *op, gint64 now_ns, GError **error)
{
    bool ok = op->kind == LOG_MKBOX   ? log_mkbox(txn, op->mailbox, now_ns, NULL, error)
              : op->kind == LOG_RMBOX ? log_rmbox(txn, op->box, now_ns, error)
                                      : log_renbox(txn, op->box, op->target, now_ns, error);
    return ok && log_end(txn, op->seq, true, error);
}
