/* log_change.c - what a person does to flags.
 *
 * The rule: a refusal leaves the transaction as it was, so that the changes of others that share it
 * go on. Only a failing database fails it. */
#include "log_private.h"

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

bool log_may_flag(const StoreBox *box, const Flags *set, const Flags *clear, const char *shown,
                  GError **error)
{
    return keeps_nothing(box) || check_permanent(box, set, clear, shown, error);
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

static bool insert_queued(StoreTxn *txn, const LogSubject *subject, const Flags *set,
                          const Flags *clear, gint64 now_ns, guint32 *seq_out, GError **error)
{
    g_autofree char *plus = flags_to_text(set), *minus = flags_to_text(clear);
    LogOp op = log_subject_op(subject, LOG_FLAGS, now_ns);
    op.set = plus;
    op.clear = minus;
    return log_insert(txn, &op, seq_out, error);
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

/* The mailbox keeps flags by now, and the server has these: what was kept here of them is over. */
bool log_unkeep(StoreTxn *txn, const LogOp *op, GError **error)
{
    static const char sql_read[] =
        "SELECT 0, plus, minus FROM local_flag WHERE box = ? AND uid = ?";
    static const char sql_drop[] = "DELETE FROM local_flag WHERE box = ? AND uid = ?"
                                   " AND plus = '' AND minus = ''";
    g_auto(Flags) sent = {0};
    g_auto(Flags) cleared = {0};
    g_auto(Flags) plus = {0};
    g_auto(Flags) minus = {0};
    guint32 unused;
    g_autoptr(GError) failed = NULL;
    Query query;
    if (!read_pair(txn, sql_read, op->box, op->uid, &unused, &plus, &minus, &failed)) {
        if (failed != NULL)
            g_propagate_error(error, g_steal_pointer(&failed));
        return !txn->failed;
    }
    flags_parse(&sent, op->set);
    flags_parse(&cleared, op->clear);
    flags_add_all(&sent, &cleared);
    flags_remove_all(&plus, &sent);
    flags_remove_all(&minus, &sent);
    if (!write_local(txn, op->box, op->uid, &plus, &minus, error) ||
        !txn_open_query(txn, &query, sql_drop, error))
        return false;
    query_int(&query, op->box);
    query_int(&query, op->uid);
    return txn_run_query(txn, &query, error);
}

/* Flags are not merged across a copy of the message: that has those of before. */
static bool queue(StoreTxn *txn, const LogSubject *subject, const char *set, const char *clear,
                  gint64 now_ns, guint32 *seq_out, GError **error)
{
    static const char sql[] =
        "SELECT seq, plus, minus FROM log WHERE box = ?1 AND uid = ?2 AND state = 0 AND kind = 0"
        " AND NOT EXISTS (SELECT 1 FROM log AS later WHERE later.box = ?1 AND later.uid = ?2"
        " AND later.kind IN (1, 2) AND later.state != 5 AND later.seq > log.seq)"
        " ORDER BY seq DESC LIMIT 1";
    G_STATIC_ASSERT(LOG_FLAGS == 0 && LOG_MOVE == 1 && LOG_COPY == 2);
    g_auto(Flags) plus = {0};
    g_auto(Flags) minus = {0};
    g_autoptr(GError) failed = NULL;
    bool found = read_pair(txn, sql, subject->box, subject->uid, seq_out, &plus, &minus, &failed);
    if (failed != NULL) {
        g_propagate_error(error, g_steal_pointer(&failed));
        return false;
    }
    log_merge(&plus, &minus, set, clear);
    return found ? write_queued(txn, *seq_out, &plus, &minus, error)
                 : insert_queued(txn, subject, &plus, &minus, now_ns, seq_out, error);
}

/* --- a letter that was not sent yet --- */

static bool has_ops(StoreTxn *txn, guint32 n, bool *has_out, GError **error)
{
    static const char sql[] = "SELECT 1 FROM log WHERE box = " LOG_SQL_PENDING " AND uid = ?"
                              " AND state != 5 LIMIT 1";
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_int(&query, n);
    *has_out = query_step(&query);
    return txn_close_query(txn, &query, error);
}

/* They are sent with it. */
static bool flag_letter(StoreTxn *txn, const LogSubject *subject, const char *set,
                        const char *clear, GError **error)
{
    g_auto(Flags) flags = {0};
    g_auto(Flags) ignored = {0};
    flags_parse(&flags, subject->msg.flags);
    log_merge(&flags, &ignored, set, clear);
    g_autofree char *text = flags_to_text(&flags);
    return store_msg_set_flags(txn, subject->box, subject->uid, text, 0, NULL, error);
}

/* --- the calls --- */

static bool change(StoreTxn *txn, const LogSubject *subject, const Flags *set, const Flags *clear,
                   gint64 now_ns, guint32 *seq_out, GError **error)
{
    const LogOp *placing = &subject->placing;
    bool busy = true;
    g_autofree char *plus = flags_to_text(set), *minus = flags_to_text(clear);
    g_autofree char *shown =
        log_shown_flags(&txn->reader, subject->box, subject->uid, subject->msg.flags);
    if (keeps_nothing(&subject->where))
        return keep_here(txn, subject->box, subject->uid, plus, minus, error);
    if (!log_may_flag(&subject->where, set, clear, shown, error))
        return false;
    if (placing->kind == LOG_APPEND && placing->state == LOG_QUEUED &&
        !has_ops(txn, subject->uid, &busy, error))
        return false;
    if (busy)
        return queue(txn, subject, plus, minus, now_ns, seq_out, error);
    *seq_out = placing->seq;
    return flag_letter(txn, subject, plus, minus, error);
}

bool log_flags(StoreTxn *txn, guint32 box, guint32 uid, const Flags *set, const Flags *clear,
               gint64 now_ns, guint32 *seq_out, GError **error)
{
    LogSubject subject;
    guint32 seq = 0;
    if (!log_subject_load(txn, box, uid, &subject, error))
        return false;
    bool ok = change(txn, &subject, set, clear, now_ns, &seq, error);
    log_subject_clear(&subject);
    if (ok && seq_out != NULL)
        *seq_out = seq;
    return ok;
}

/* What the mailbox is known to keep is not asked: that is of the last SELECT, and who retries says
 * that it may have changed. */
static bool retry_flags(StoreTxn *txn, const LogOp *op, gint64 now_ns, GError **error)
{
    LogSubject subject;
    guint32 seq;
    g_autoptr(GError) problem = NULL;
    if (!log_subject_load(txn, op->box, op->uid, &subject, &problem)) {
        if (g_error_matches(problem, IMAPFS_ERROR, IMAPFS_ERROR_GONE))
            return log_gone(txn, "its message is no longer there: it can only be discarded", error);
        g_propagate_error(error, g_steal_pointer(&problem));
        return false;
    }
    bool ok = queue(txn, &subject, op->set, op->clear, now_ns, &seq, error) &&
              log_end(txn, op->seq, true, error);
    log_subject_clear(&subject);
    return ok;
}

bool log_retry(StoreTxn *txn, guint32 seq, gint64 now_ns, GError **error)
{
    g_autoptr(LogOp) op = log_load(txn, seq, error);
    if (op == NULL || op->state != LOG_FAILED)
        return !txn->failed && log_gone(txn, "no such failed operation", error);
    if (log_is_of_box(op->kind))
        return log_box_retry(txn, op, now_ns, error);
    return op->kind == LOG_FLAGS ? retry_flags(txn, op, now_ns, error)
                                 : log_retry_message(txn, op, now_ns, error);
}

bool log_keep_here(StoreTxn *txn, guint32 seq, GError **error)
{
    g_autoptr(LogOp) op = log_load(txn, seq, error);
    if (op == NULL)
        return !txn->failed && log_gone(txn, "no such operation", error);
    if (op->box == 0 || op->uid == 0)
        return log_gone(txn, "its message is no longer there", error);
    return keep_here(txn, op->box, op->uid, op->set, op->clear, error) &&
           log_end(txn, seq, true, error);
}
