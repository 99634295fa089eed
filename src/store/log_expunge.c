/* log_expunge.c - deleting a message for good.
 *
 * The rule: what never reached the server is simply gone; what is copied from it first is copied
 * first. */
#include "log_private.h"

#include "imapfs/base/error.h"

typedef struct {
    guint32 after;
    LogState state;
    gint64 now_ns;
    guint32 seq; /* what became of it */
} Expunging;

static bool expunge_at(StoreTxn *txn, guint32 box, guint32 uid, Expunging *what, GError **error);

/* Whether copies are still to be made of a message. */
static bool is_copied(StoreTxn *txn, guint32 box, guint32 uid, bool *copied_out, GError **error)
{
    static const char sql[] = "SELECT 1 FROM log WHERE box = ? AND uid = ?"
                              " AND kind = 2 AND state != 5 /* COPY, FAILED */";
    G_STATIC_ASSERT(LOG_COPY == 2 && LOG_FAILED == 5);
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_int(&query, box);
    query_int(&query, uid);
    *copied_out = query_step(&query);
    return txn_close_query(txn, &query, error);
}

static bool check_deletable(const StoreBox *box, GError **error)
{
    bool may = box_may(box, "te");
    if (may && !box->read_only)
        return true;
    g_set_error_literal(error, IMAPFS_ERROR, IMAPFS_ERROR_DENIED,
                        may ? "the mailbox is read-only"
                            : "the server does not permit messages to be deleted there");
    return false;
}

/* Flags of what is deleted need not be sent. */
static bool drop_flags(StoreTxn *txn, guint32 box, guint32 uid, GError **error)
{
    g_autoptr(GPtrArray) ops = log_ops_on(txn, box, uid, error);
    if (ops == NULL)
        return false;
    for (guint i = 0; i < ops->len; i++) {
        const LogOp *op = ops->pdata[i];
        if (op->kind == LOG_FLAGS && op->state == LOG_QUEUED && !log_end(txn, op->seq, true, error))
            return false;
    }
    return true;
}

static bool expunge_new(StoreTxn *txn, const LogSubject *subject, bool copied, Expunging *what,
                        GError **error)
{
    g_autofree char *shown =
        log_shown_flags(&txn->reader, subject->box, subject->uid, subject->msg.flags);
    g_autofree char *seen = log_seen_flags(subject->msg.flags, shown, NULL);
    LogOp op = log_subject_op(subject, LOG_EXPUNGE, what->now_ns);
    op.state = what->state;
    op.after = what->after;
    op.shown = seen;
    return (copied || drop_flags(txn, subject->box, subject->uid, error)) &&
           log_insert(txn, &op, &what->seq, error) && log_touch(txn, subject->where.id, error);
}

/* Deletes it where it came from. */
static bool expunge_source(StoreTxn *txn, const LogOp *placing, Expunging *what, GError **error)
{
    guint32 box = placing->box, uid = placing->uid, n = placing->to_n;
    StoreBox from = {0};
    bool ok = !store_box_by_id(&txn->reader, box, &from) || check_deletable(&from, error);
    store_box_clear(&from);
    return ok && log_undo_move(txn, placing, error) &&
           went_forget(txn, STORE_BOX_PENDING, n, error) && expunge_at(txn, box, uid, what, error);
}

/* Who knows a draft by what it was finds what replaces it. */
static bool lead_on(StoreTxn *txn, guint32 n, guint32 after, GError **error)
{
    g_autoptr(LogOp) next = after != 0 ? log_load(txn, after, error) : NULL;
    if (next == NULL || next->to_n == 0)
        return !txn->failed;
    return went_put(txn, STORE_BOX_PENDING, n, STORE_BOX_PENDING, next->to_n, error);
}

/* A letter, or a copy, that was never sent. A draft that was to go when this one is there still
 * goes: with it, or when what replaces this one is there. */
static bool expunge_unsent(StoreTxn *txn, const LogSubject *subject, const Expunging *what,
                           GError **error)
{
    const LogOp *placing = &subject->placing;
    return log_wait_instead(txn, placing->seq, what->after, error) &&
           lead_on(txn, placing->to_n, what->after, error) && log_drop(txn, placing, error) &&
           log_touch(txn, subject->where.id, error);
}

static bool expunge(StoreTxn *txn, const LogSubject *subject, Expunging *what, GError **error)
{
    const LogOp *placing = &subject->placing;
    bool copied;
    if (!is_copied(txn, subject->box, subject->uid, &copied, error))
        return false;
    if (placing->seq == 0 && !check_deletable(&subject->where, error))
        return false;
    if (placing->seq != 0 && !copied && log_is_unsent(placing->state)) {
        if (placing->kind != LOG_MOVE)
            return expunge_unsent(txn, subject, what, error);
        if (log_source_is_there(txn, placing))
            return expunge_source(txn, placing, what, error);
    }
    return expunge_new(txn, subject, copied, what, error);
}

static bool expunge_at(StoreTxn *txn, guint32 box, guint32 uid, Expunging *what, GError **error)
{
    LogSubject subject;
    if (!log_subject_load(txn, box, uid, &subject, error))
        return false;
    bool ok = expunge(txn, &subject, what, error) && log_check_reads(txn, error);
    log_subject_clear(&subject);
    return ok;
}

bool log_expunge(StoreTxn *txn, guint32 box, guint32 uid, guint32 after, bool held, gint64 now_ns,
                 guint32 *seq_out, GError **error)
{
    Expunging what = {after, held ? LOG_HELD : LOG_QUEUED, now_ns, 0};
    if (!expunge_at(txn, box, uid, &what, error))
        return false;
    if (seq_out != NULL)
        *seq_out = what.seq;
    return true;
}
