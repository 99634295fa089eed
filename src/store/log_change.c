/* log_change.c - what a person does to the log: change flags, take back, retry, forget.
 *
 * The rule: a refusal leaves the transaction as it was, so that the changes of others that share it
 * go on. Only a failing database fails it. */
#include "private.h"

#include <string.h>
#include "imapfs/base/error.h"

/* --- what the mailbox keeps --- */

static bool keeps_nothing(const StoreBox *box)
{
    return box->read_only || (box->permanent_flags != NULL && box->permanent_flags[0] == '\0');
}

/* DENIED when the mailbox is known not to keep a flag that is to be set, or one to be cleared that
 * is there. */
static bool check_permanent(const StoreBox *box, const Flags *set, const Flags *clear,
                            const char *shown, GError **error)
{
    g_auto(Flags) permanent = {0};
    g_auto(Flags) wrong = {0};
    g_auto(Flags) there = {0};
    if (box->permanent_flags == NULL)
        return true;
    flags_parse(&permanent, box->permanent_flags);
    flags_parse(&there, shown);
    flags_remove_all(&there, &permanent);
    flags_add_all(&wrong, clear); /* of these, those that are there and not permanent */
    flags_keep_all(&wrong, &there);
    flags_add_all(&wrong, set);
    flags_remove_all(&wrong, &permanent);
    if (permanent.system & FLAG_ANY_KEYWORD)
        g_clear_pointer(&wrong.keywords, g_ptr_array_unref);
    if (flags_is_empty(&wrong))
        return true;
    g_autofree char *words = flags_to_text(&wrong);
    g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_DENIED, "this mailbox does not keep %s", words);
    return false;
}

/* --- rows --- */

/* Reads two texts of flags; false when there is no row (error not set) or it failed (set). */
static bool read_pair(StoreTxn *txn, const char *sql, guint32 box, guint32 uid, guint32 *seq_out,
                      Flags *set, Flags *clear, GError **error)
{
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_int(&query, box);
    query_int(&query, uid);
    bool found = query_step(&query);
    if (found) {
        *seq_out = (guint32)query_get_int(&query, 0);
        flags_parse(set, query_get_text(&query, 1));
        flags_parse(clear, query_get_text(&query, 2));
    }
    return txn_close_query(txn, &query, error) && found;
}

static bool write_queued(StoreTxn *txn, guint32 seq, const Flags *set, const Flags *clear,
                         GError **error)
{
    static const char sql[] = "UPDATE log SET plus = ?, minus = ?, attempts = 0, next_try_ns = 0,"
                              " reason = NULL WHERE seq = ?";
    g_autofree char *plus = flags_to_text(set), *minus = flags_to_text(clear);
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_text(&query, plus);
    query_text(&query, minus);
    query_int(&query, seq);
    return txn_run_query(txn, &query, error);
}

static bool insert_queued(StoreTxn *txn, const StoreBox *box, const StoreMsg *msg, const Flags *set,
                          const Flags *clear, gint64 now_ns, guint32 *seq_out, GError **error)
{
    static const char sql[] =
        "INSERT INTO log(kind, box, uid, uidvalidity, plus, minus, logged_ns, mailbox, name,"
        " message_id, emailid, internaldate, size) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    g_autofree char *plus = flags_to_text(set), *minus = flags_to_text(clear);
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_int(&query, LOG_FLAGS);
    query_int(&query, box->id);
    query_int(&query, msg->uid);
    query_int(&query, box->uidvalidity);
    query_text(&query, plus);
    query_text(&query, minus);
    query_int(&query, now_ns);
    query_text(&query, box->name);
    query_text(&query, msg->name);
    query_text(&query, msg->message_id);
    query_text(&query, msg->emailid);
    query_int(&query, msg->internaldate);
    query_int(&query, (gint64)msg->size);
    if (!txn_run_query(txn, &query, error))
        return false;
    gint64 seq = sqlite3_last_insert_rowid(txn->store->writer->handle);
    if (seq > LOG_MAX_SEQ)
        return txn_refuse(txn, error, IMAPFS_ERROR_FULL, "the log has no numbers left");
    *seq_out = (guint32)seq;
    return true;
}

static bool write_local(StoreTxn *txn, guint32 box, guint32 uid, const Flags *set,
                        const Flags *clear, GError **error)
{
    static const char sql[] = "INSERT INTO local_flag(box, uid, plus, minus) VALUES(?, ?, ?, ?)"
                              " ON CONFLICT DO UPDATE SET plus = excluded.plus,"
                              " minus = excluded.minus";
    g_autofree char *plus = flags_to_text(set), *minus = flags_to_text(clear);
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_int(&query, box);
    query_int(&query, uid);
    query_text(&query, plus);
    query_text(&query, minus);
    return txn_run_query(txn, &query, error);
}

static bool keep_here(StoreTxn *txn, guint32 box, guint32 uid, const char *set, const char *clear,
                      GError **error)
{
    static const char sql[] = "SELECT 0, plus, minus FROM local_flag WHERE box = ? AND uid = ?";
    g_auto(Flags) plus = {0};
    g_auto(Flags) minus = {0};
    guint32 ignored;
    g_autoptr(GError) failed = NULL;
    if (!read_pair(txn, sql, box, uid, &ignored, &plus, &minus, &failed) && failed != NULL) {
        g_propagate_error(error, g_steal_pointer(&failed));
        return false;
    }
    log_merge(&plus, &minus, set, clear);
    return write_local(txn, box, uid, &plus, &minus, error);
}

static bool queue(StoreTxn *txn, const StoreBox *box, const StoreMsg *msg, const char *set,
                  const char *clear, gint64 now_ns, guint32 *seq_out, GError **error)
{
    static const char sql[] = "SELECT seq, plus, minus FROM log WHERE box = ? AND uid = ?"
                              " AND state = 0 AND kind = 0 /* QUEUED, FLAGS */";
    g_auto(Flags) plus = {0};
    g_auto(Flags) minus = {0};
    g_autoptr(GError) failed = NULL;
    bool found = read_pair(txn, sql, box->id, msg->uid, seq_out, &plus, &minus, &failed);
    if (failed != NULL) {
        g_propagate_error(error, g_steal_pointer(&failed));
        return false;
    }
    log_merge(&plus, &minus, set, clear);
    return found ? write_queued(txn, *seq_out, &plus, &minus, error)
                 : insert_queued(txn, box, msg, &plus, &minus, now_ns, seq_out, error);
}

/* --- the calls --- */

/* What was read inside the transaction is a fact only if no read failed. */
static bool gone(StoreTxn *txn, const char *words, GError **error)
{
    if (!store_reader_check(&txn->reader, error)) {
        txn->failed = true;
        return false;
    }
    g_set_error_literal(error, IMAPFS_ERROR, IMAPFS_ERROR_GONE, words);
    return false;
}

static bool change(StoreTxn *txn, const StoreBox *box, const StoreMsg *msg, const Flags *set,
                   const Flags *clear, gint64 now_ns, guint32 *seq_out, GError **error)
{
    g_autofree char *plus = flags_to_text(set), *minus = flags_to_text(clear);
    g_autofree char *shown = log_shown_flags(&txn->reader, box->id, msg->uid, msg->flags);
    if (keeps_nothing(box))
        return keep_here(txn, box->id, msg->uid, plus, minus, error);
    return check_permanent(box, set, clear, shown, error) &&
           queue(txn, box, msg, plus, minus, now_ns, seq_out, error);
}

bool log_flags(StoreTxn *txn, guint32 box, guint32 uid, const Flags *set, const Flags *clear,
               gint64 now_ns, guint32 *seq_out, GError **error)
{
    StoreBox row = {0};
    StoreMsg msg = {0};
    guint32 seq = 0;
    bool ok = false;
    if (!store_box_by_id(&txn->reader, box, &row))
        ok = gone(txn, "the mailbox is no longer there", error);
    else if (!store_msg_get(&txn->reader, box, uid, &msg))
        ok = gone(txn, "the message is no longer there", error);
    else
        ok = change(txn, &row, &msg, set, clear, now_ns, &seq, error);
    store_box_clear(&row);
    store_msg_clear(&msg);
    if (ok && seq_out != NULL)
        *seq_out = seq;
    return ok;
}

bool log_cancel(StoreTxn *txn, guint32 seq, GError **error)
{
    LogOp op = {0};
    if (!log_get(&txn->reader, seq, &op))
        return gone(txn, "no such operation; it was sent, or dropped", error);
    LogState state = op.state;
    log_op_clear(&op);
    if (state == LOG_INFLIGHT || state == LOG_FAILED) {
        g_set_error_literal(error, IMAPFS_ERROR, IMAPFS_ERROR_BUSY,
                            state == LOG_INFLIGHT ? "it is being sent" : "it was sent, and failed");
        return false;
    }
    return log_delete(txn, seq, error);
}

/* What the mailbox is known to keep is not asked: that is of the last SELECT, and who retries says
 * that it may have changed. */
static bool retry(StoreTxn *txn, const LogOp *op, gint64 now_ns, GError **error)
{
    StoreBox box = {0};
    StoreMsg msg = {0};
    guint32 seq;
    bool ok;
    if (op->uid == 0 || op->box == 0)
        return gone(txn, "its message is no longer there: it can only be discarded", error);
    if (!store_box_by_id(&txn->reader, op->box, &box) ||
        !store_msg_get(&txn->reader, op->box, op->uid, &msg))
        ok = gone(txn, "its message is no longer there: it can only be discarded", error);
    else
        ok = queue(txn, &box, &msg, op->set, op->clear, now_ns, &seq, error) &&
             log_delete(txn, op->seq, error);
    store_box_clear(&box);
    store_msg_clear(&msg);
    return ok;
}

/* The parked operation of that number, or false. */
static bool get_parked(StoreTxn *txn, guint32 seq, LogOp *out, GError **error)
{
    if (log_get(&txn->reader, seq, out)) {
        if (out->state == LOG_FAILED)
            return true;
        log_op_clear(out);
    }
    return gone(txn, "no such failed operation", error);
}

bool log_retry(StoreTxn *txn, guint32 seq, gint64 now_ns, GError **error)
{
    LogOp op = {0};
    if (!get_parked(txn, seq, &op, error))
        return false;
    bool ok = retry(txn, &op, now_ns, error);
    log_op_clear(&op);
    return ok;
}

bool log_discard(StoreTxn *txn, guint32 seq, GError **error)
{
    LogOp op = {0};
    if (!get_parked(txn, seq, &op, error))
        return false;
    log_op_clear(&op);
    return log_delete(txn, seq, error);
}

bool log_keep_here(StoreTxn *txn, guint32 seq, GError **error)
{
    LogOp op = {0};
    if (!log_get(&txn->reader, seq, &op))
        return gone(txn, "no such operation", error);
    bool ok = op.box != 0 && op.uid != 0 ? keep_here(txn, op.box, op.uid, op.set, op.clear, error)
                                         : gone(txn, "its message is no longer there", error);
    log_op_clear(&op);
    return ok && log_delete(txn, seq, error);
}
