/* log_place.c - what a person does with whole messages: move, copy, delete, append.
 *
 * The rule: what was never sent is changed in place, exactly; what may have been sent is left alone
 * and another operation is logged behind it. */
#include "log_private.h"

#include "imapfs/base/clock.h"
#include "imapfs/base/error.h"
#include "imapfs/wire/response.h"

bool log_touch(StoreTxn *txn, guint32 box, GError **error)
{
    return box == 0 || box == STORE_BOX_PENDING || box_bump(txn, box, clock_real_ns(), error);
}

/* --- the message that is meant --- */

void log_subject_clear(LogSubject *subject)
{
    store_box_clear(&subject->where);
    store_msg_clear(&subject->msg);
    log_op_clear(&subject->placing);
}

static bool load_subject(StoreTxn *txn, LogSubject *subject)
{
    StoreReader *reader = &txn->reader;
    guint32 shown = subject->box;
    if (subject->box == STORE_BOX_PENDING) {
        if (!log_placing(reader, subject->uid, &subject->placing) ||
            subject->placing.state == LOG_FAILED)
            return false;
        shown = subject->placing.to_box;
    }
    return store_box_by_id(reader, shown, &subject->where) &&
           store_msg_get(reader, subject->box, subject->uid, &subject->msg) &&
           !log_is_hidden(reader, subject->box, subject->uid);
}

bool log_subject_load(StoreTxn *txn, guint32 box, guint32 uid, LogSubject *out, GError **error)
{
    *out = (LogSubject){.box = box, .uid = uid};
    if (load_subject(txn, out) && log_check_reads(txn, error))
        return true;
    log_subject_clear(out);
    return !txn->failed && log_gone(txn, "the message is no longer there", error);
}

LogOp log_subject_op(const LogSubject *subject, LogKind kind, gint64 now_ns)
{
    bool pending = subject->placing.seq != 0;
    return (LogOp){
        .kind = kind,
        .box = subject->box,
        .uid = subject->uid,
        .uidvalidity = pending ? 0 : subject->where.uidvalidity,
        .logged_ns = now_ns,
        .mailbox = subject->where.name,
        .name = subject->msg.name,
        .message_id = subject->msg.message_id,
        .emailid = pending ? subject->placing.emailid : subject->msg.emailid,
        .internaldate = subject->msg.internaldate,
        .size = subject->msg.size,
    };
}

char *log_seen_flags(const char *server, const char *shown, const char *before)
{
    const char *const texts[] = {server, shown, before};
    g_auto(Flags) seen = {0};
    for (guint i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_auto(Flags) some = {0};
        flags_parse(&some, texts[i] != NULL ? texts[i] : "");
        flags_add_all(&seen, &some);
    }
    return flags_to_text(&seen);
}

char *log_seen_again(StoreReader *reader, const LogOp *op)
{
    StoreMsg msg;
    if (!store_msg_get(reader, op->box, op->uid, &msg))
        return NULL;
    g_autofree char *shown = log_shown_flags(reader, op->box, op->uid, msg.flags);
    char *seen = log_seen_flags(msg.flags, shown, op->shown);
    store_msg_clear(&msg);
    return seen;
}

/* --- the mailbox it goes to --- */

static bool deny(GError **error, const char *words)
{
    g_set_error_literal(error, IMAPFS_ERROR, IMAPFS_ERROR_DENIED, words);
    return false;
}

bool log_target_load(StoreTxn *txn, guint32 box, StoreBox *out, GError **error)
{
    const guint32 no_messages = LIST_NOSELECT | LIST_NONEXISTENT;
    *out = (StoreBox){0};
    if (!store_box_by_id(&txn->reader, box, out))
        return log_gone(txn, "there is no such mailbox", error);
    bool doomed = out->doomed, read_only = out->read_only, may = box_may(out, "i");
    if (!doomed && !read_only && may && (out->attributes & no_messages) == 0)
        return true;
    store_box_clear(out);
    if (doomed)
        return log_gone(txn, "the mailbox is being removed", error);
    if (!may)
        return deny(error, "the server does not permit messages to be put there");
    return deny(error, read_only ? "the mailbox is read-only" : "that mailbox has no messages");
}

/* --- move and copy --- */

typedef struct {
    LogKind kind;
    LogState state;
    gint64 now_ns;
    guint32 n, seq; /* what became of it */
} Placing;

/* Logs that a message is to be in another mailbox, and makes it pending there. */
static bool place_new(StoreTxn *txn, const LogSubject *subject, const StoreBox *to, Placing *what,
                      GError **error)
{
    g_autofree char *shown =
        log_shown_flags(&txn->reader, subject->box, subject->uid, subject->msg.flags);
    g_autofree char *seen = log_seen_flags(subject->msg.flags, shown, NULL);
    StoreMsg msg = subject->msg;
    LogOp op = log_subject_op(subject, what->kind, what->now_ns);
    what->n = store_take_number(txn->store);
    if (what->n == 0)
        return txn_refuse(txn, error, IMAPFS_ERROR_FULL, "there are no numbers left");
    msg.uid = op.to_n = what->n;
    msg.flags = shown;
    op.shown = seen;
    op.state = what->state;
    op.to_box = to->id;
    op.target = to->name;
    return log_insert(txn, &op, &what->seq, error) &&
           pending_add(txn, &msg, subject->box, subject->uid, 0, error) &&
           (what->kind == LOG_COPY ||
            (went_put(txn, subject->box, subject->uid, STORE_BOX_PENDING, what->n, error) &&
             log_touch(txn, subject->where.id, error))) &&
           log_touch(txn, to->id, error);
}

/* It goes elsewhere: what was to place it does so there. */
static bool redirect(StoreTxn *txn, const LogSubject *subject, const StoreBox *to, Placing *what,
                     GError **error)
{
    static const char sql[] = "UPDATE log SET attempts = 0, next_try_ns = 0, reason = NULL,"
                              " state = iif(state IN (0, 7) /* QUEUED, HELD */, ?, state)"
                              " WHERE seq = ?";
    G_STATIC_ASSERT(LOG_QUEUED == 0 && LOG_HELD == 7);
    Query query;
    what->n = subject->uid;
    what->seq = subject->placing.seq;
    if (!log_redirect(txn, what->seq, to->id, error) || !txn_open_query(txn, &query, sql, error))
        return false;
    query_int(&query, what->state);
    query_int(&query, what->seq);
    return txn_run_query(txn, &query, error) && log_touch(txn, subject->where.id, error) &&
           log_touch(txn, to->id, error);
}

/* The mailbox that shows what an operation is on; 0: none. */
static guint32 source_box(StoreTxn *txn, const LogOp *op)
{
    LogPending pending;
    LogOp placing;
    guint32 box = op->box;
    if (op->box != STORE_BOX_PENDING)
        return box;
    if (!log_pending_get(&txn->reader, op->uid, &pending) ||
        !log_placing(&txn->reader, op->uid, &placing))
        return 0;
    box = placing.to_box;
    log_op_clear(&placing);
    return box;
}

static bool move_subject(StoreTxn *txn, const LogSubject *subject, const StoreBox *to,
                         Placing *what, GError **error)
{
    const LogOp *placing = &subject->placing;
    if (subject->where.id == to->id) { /* it is there: nothing to do */
        what->n = subject->box == STORE_BOX_PENDING ? subject->uid : 0;
        what->seq = placing->seq;
        return true;
    }
    if (placing->seq == 0 && subject->where.read_only)
        return deny(error, "the mailbox is read-only: it can only be copied from there");
    if (placing->seq == 0 && what->kind == LOG_MOVE && !box_may(&subject->where, "te"))
        return deny(error, "the server does not permit messages to be taken away from there");
    if (placing->seq == 0 || !log_is_unsent(placing->state))
        return place_new(txn, subject, to, what, error);
    if (placing->kind == LOG_MOVE && source_box(txn, placing) == to->id)
        return log_undo_move(txn, placing, error);
    return redirect(txn, subject, to, what, error);
}

static bool place(StoreTxn *txn, guint32 box, guint32 uid, guint32 to_box, Placing *what,
                  GError **error)
{
    LogSubject subject;
    StoreBox to;
    if (!log_subject_load(txn, box, uid, &subject, error))
        return false;
    bool ok = log_target_load(txn, to_box, &to, error);
    if (ok)
        ok = what->kind == LOG_MOVE ? move_subject(txn, &subject, &to, what, error)
                                    : place_new(txn, &subject, &to, what, error);
    if (ok)
        ok = log_check_reads(txn, error);
    log_subject_clear(&subject);
    store_box_clear(&to);
    return ok;
}

static void give(guint32 value, guint32 *out)
{
    if (out != NULL)
        *out = value;
}

bool log_move(StoreTxn *txn, guint32 box, guint32 uid, guint32 to_box, bool held, gint64 now_ns,
              guint32 *n_out, guint32 *seq_out, GError **error)
{
    Placing what = {.kind = LOG_MOVE, .state = held ? LOG_HELD : LOG_QUEUED, .now_ns = now_ns};
    if (!place(txn, box, uid, to_box, &what, error))
        return false;
    give(what.n, n_out);
    give(what.seq, seq_out);
    return true;
}

bool log_copy(StoreTxn *txn, guint32 box, guint32 uid, guint32 to_box, gint64 now_ns,
              guint32 *n_out, guint32 *seq_out, GError **error)
{
    Placing what = {.kind = LOG_COPY, .state = LOG_QUEUED, .now_ns = now_ns};
    if (!place(txn, box, uid, to_box, &what, error))
        return false;
    give(what.n, n_out);
    give(what.seq, seq_out);
    return true;
}

/* --- append --- */

bool log_append(StoreTxn *txn, guint32 to_box, const StoreMsg *msg, gint64 now_ns, guint32 *seq_out,
                GError **error)
{
    StoreBox to;
    if (!log_target_load(txn, to_box, &to, error))
        return false;
    LogOp op = {
        .kind = LOG_APPEND,
        .box = to_box,
        .uidvalidity = to.uidvalidity,
        .logged_ns = now_ns,
        .mailbox = to.name,
        .name = msg->name,
        .message_id = msg->message_id,
        .internaldate = msg->internaldate,
        .size = msg->size,
        .to_box = to_box,
        .to_n = msg->uid,
        .target = to.name,
    };
    guint32 seq = 0;
    bool ok = log_insert(txn, &op, &seq, error) && pending_add(txn, msg, 0, 0, msg->size, error) &&
              log_touch(txn, to_box, error);
    store_box_clear(&to);
    if (ok)
        give(seq, seq_out);
    return ok;
}
