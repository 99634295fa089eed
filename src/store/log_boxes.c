/* log_boxes.c - what a person does to mailboxes: make, remove, rename; and which of it is sent
 * next.
 *
 * The rule: these operations are sent one at a time and in the order in which they were logged, so
 * each has its names as they will be then. What was not sent is changed rather than followed by
 * another, but only when nothing else was logged between. */
#include "box_private.h"

#include <string.h>
#include "imapfs/base/error.h"
#include "imapfs/base/limits.h"
#include "imapfs/mime/name.h"
#include "imapfs/wire/mailbox_name.h"
#include "imapfs/wire/response.h"

static bool refuse(GError **error, ImapfsError code, const char *words)
{
    g_set_error_literal(error, IMAPFS_ERROR, (gint)code, words);
    return false;
}

/* --- what is pending --- */

GPtrArray *log_box_ops(StoreTxn *txn, guint32 after, GError **error)
{
    static const char sql[] = "SELECT " LOG_COLUMNS " FROM log INDEXED BY log_boxes"
                              " WHERE kind >= 5 AND state != 5 AND seq > ? ORDER BY seq";
    G_STATIC_ASSERT(LOG_MKBOX == 5 && LOG_FAILED == 5);
    return log_read_ops_of(txn, sql, after, error);
}

bool log_set_names(StoreTxn *txn, const LogOp *op, const char *mailbox, const char *target,
                   GError **error)
{
    static const char sql[] = "UPDATE log SET mailbox = ?, target = ? WHERE seq = ?";
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_text(&query, mailbox);
    query_text(&query, target);
    query_int(&query, op->seq);
    return txn_run_query(txn, &query, error);
}

static bool log_one(StoreTxn *txn, LogKind kind, const StoreBox *box, const char *mailbox,
                    const char *target, gint64 now_ns, GError **error)
{
    LogOp op = {.kind = kind,
                .box = box->id,
                .uidvalidity = box->uidvalidity,
                .set = (char *)"",
                .clear = (char *)"",
                .logged_ns = now_ns,
                .mailbox = (char *)mailbox,
                .name = (char *)"",
                .target = (char *)target};
    guint32 seq;
    return log_insert(txn, &op, &seq, error);
}

/* --- names that may be --- */

/* A name that the server is told must come back as what it is, whichever encoding is spoken. */
static bool survives(const char *name, char delimiter)
{
    for (int utf8 = 0; utf8 < 2; utf8++) {
        g_autofree char *wire = mailbox_name_to_wire(name, utf8);
        g_autofree char *back =
            wire != NULL ? mailbox_name_from_wire(wire, strlen(wire), utf8, delimiter) : NULL;
        if (g_strcmp0(back, name) != 0)
            return false;
    }
    return true;
}

static bool check_name(const char *name, char delimiter, GError **error)
{
    const char *last = name + box_last_level(name, delimiter);
    if (*last == '\0' || name[0] == BOX_RAW_MARK || strlen(name) > LIMIT_MAILBOX_NAME ||
        !g_utf8_validate(name, -1, NULL) || box_depth(name, delimiter) >= LIMIT_MAILBOX_DEPTH ||
        !survives(name, delimiter))
        return refuse(error, IMAPFS_ERROR_INVALID, "no mailbox can have this name");
    return true;
}

static bool is_inbox(const char *name)
{
    return strcmp(name, "INBOX") == 0;
}

/* A name in a namespace of one's own (meta "namespaces": "PREFIX\n" for each); all are, while they
 * are not known. Only what would be at the top is checked: what is in a mailbox is where that is.
 */
static bool check_top(StoreTxn *txn, const char *name, GError **error)
{
    g_autofree char *known = store_meta_get(&txn->reader, STORE_META_NAMESPACES);
    g_auto(GStrv) prefixes = g_strsplit(known != NULL ? known : "\n", "\n", -1);
    for (guint i = 0; prefixes[i] != NULL && prefixes[i + 1] != NULL; i++)
        if (g_str_has_prefix(name, prefixes[i]))
            return true;
    g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_DENIED,
                "this server keeps your mailboxes below %s", prefixes[0]);
    return false;
}

/* The delimiter of the top level is INBOX's (RFC 9051 6.3.9: of the whole hierarchy there). */
static char top_delimiter(StoreTxn *txn)
{
    StoreBox inbox = {0};
    char delimiter = store_box_by_name(&txn->reader, "INBOX", &inbox) ? inbox.delimiter : '\0';
    store_box_clear(&inbox);
    return delimiter;
}

typedef struct {
    StoreReader *reader;
    const char *name;
    guint32 found;
} Above;

static bool is_above(const StoreBox *box, gpointer data)
{
    Above *above = data;
    g_autofree char *up = box->doomed ? NULL : box_parent_name(above->name, box->delimiter);
    if (up != NULL && strcmp(up, box->name) == 0)
        above->found = box->id;
    return above->found == 0;
}

/* The mailbox that a name is in; *parent_out with id 0: the top. */
static bool find_above(StoreTxn *txn, const char *name, StoreBox *parent_out, GError **error)
{
    Above above = {&txn->reader, name, 0};
    *parent_out = (StoreBox){.delimiter = top_delimiter(txn)};
    box_each_row(&txn->reader, is_above, &above);
    if (!log_check_reads(txn, error))
        return false;
    if (above.found != 0 && store_box_by_id(&txn->reader, above.found, parent_out))
        return true;
    g_autofree char *up = box_parent_name(name, parent_out->delimiter);
    return up == NULL ? check_top(txn, name, error)
                      : log_gone(txn, "there is no mailbox to have it in", error);
}

/* Whether something can be made in it under this name. */
static bool check_place(StoreTxn *txn, const StoreBox *parent, const char *name, GError **error)
{
    StoreBox other = {0};
    bool taken = store_box_by_name(&txn->reader, name, &other);
    store_box_clear(&other);
    if (taken || g_ascii_strcasecmp(name, "INBOX") == 0)
        return refuse(error, IMAPFS_ERROR_BUSY, "there is a mailbox of that name");
    if (parent->id != 0 && (parent->delimiter == '\0' || parent->attributes & LIST_NOINFERIORS))
        return refuse(error, IMAPFS_ERROR_DENIED, "the server has no mailboxes in this one");
    if (parent->id != 0 && !box_may(parent, "k"))
        return refuse(error, IMAPFS_ERROR_DENIED, "the server permits no mailboxes in this one");
    return check_name(name, parent->delimiter, error);
}

/* --- what is built on a name --- */

static bool touches(const LogOp *op, const char *name, char delimiter)
{
    const char *to = op->kind == LOG_RENBOX ? op->target : op->mailbox;
    return op->kind != LOG_RMBOX && to != NULL &&
           (strcmp(to, name) == 0 || box_is_below(to, name, delimiter));
}

static bool count_ops(StoreTxn *txn, guint32 box, guint64 *n_out, GError **error)
{
    static const char sql[] = "SELECT count(*) FROM log WHERE state != 5 AND (box = ?1 AND kind < 5"
                              " OR to_box != 0 AND to_box = ?1)";
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_int(&query, box);
    *n_out = query_step(&query) ? (guint64)query_get_int(&query, 0) : 0;
    return txn_close_query(txn, &query, error);
}

/* --- making --- */

typedef struct {
    const char *name;
    guint32 box;
} Doomed;

static bool is_doomed_as(const StoreBox *box, gpointer data)
{
    Doomed *doomed = data;
    if (box->doomed && strcmp(box->name, doomed->name) == 0)
        doomed->box = box->id;
    return true;
}

/* Removed and made again: as long as the one was not sent, and the name was nobody else's since,
 * the mailbox just stays. *box_out 0: no such. */
static bool take_back_removal(StoreTxn *txn, const char *name, gint64 now_ns, guint32 *box_out,
                              GError **error)
{
    Doomed doomed = {name, 0};
    StoreBox box = {0};
    *box_out = 0;
    box_each_row(&txn->reader, is_doomed_as, &doomed);
    if (doomed.box == 0 || !store_box_by_id(&txn->reader, doomed.box, &box))
        return log_check_reads(txn, error);
    g_autoptr(GPtrArray) ops = log_box_ops(txn, 0, error);
    const LogOp *removal = NULL;
    bool clear = ops != NULL;
    for (guint i = 0; clear && i < ops->len; i++) {
        const LogOp *op = ops->pdata[i];
        if (op->kind == LOG_RMBOX && op->box == box.id)
            removal = op;
        else if (removal != NULL && touches(op, name, box.delimiter))
            clear = false;
    }
    clear = clear && removal != NULL && removal->state == LOG_QUEUED;
    bool ok = ops != NULL;
    if (ok && clear)
        ok = box_set_doomed(txn, &box, false, now_ns, error) &&
             log_end(txn, removal->seq, true, error);
    if (ok && clear)
        *box_out = box.id;
    store_box_clear(&box);
    return ok;
}

/* The name is still another's on the server, which goes only when messages have left it: they could
 * come to wait for each other. */
static bool check_doomed(StoreTxn *txn, const char *name, GError **error)
{
    Doomed doomed = {name, 0};
    guint64 n = 0;
    box_each_row(&txn->reader, is_doomed_as, &doomed);
    if (doomed.box != 0 && !count_ops(txn, doomed.box, &n, error))
        return false;
    return n == 0 || refuse(error, IMAPFS_ERROR_BUSY,
                            "a mailbox of that name is still being emptied and removed");
}

static bool make(StoreTxn *txn, const StoreBox *parent, const char *name, gint64 now_ns,
                 guint32 *box_out, GError **error)
{
    if (!take_back_removal(txn, name, now_ns, box_out, error) || *box_out != 0)
        return *box_out != 0;
    if (!check_doomed(txn, name, error) ||
        !box_add_local(txn, parent->id != 0 ? parent : NULL, name, parent->delimiter, now_ns,
                       box_out, error))
        return false;
    const StoreBox row = {.id = *box_out};
    return log_one(txn, LOG_MKBOX, &row, name, NULL, now_ns, error);
}

bool log_mkbox(StoreTxn *txn, const char *name, gint64 now_ns, guint32 *box_out, GError **error)
{
    StoreBox parent = {0};
    guint32 box = 0;
    bool ok = find_above(txn, name, &parent, error) && check_place(txn, &parent, name, error) &&
              make(txn, &parent, name, now_ns, &box, error);
    store_box_clear(&parent);
    if (ok && box_out != NULL)
        *box_out = box;
    return ok;
}

/* --- removing --- */

static bool check_empty(StoreTxn *txn, const StoreBox *box, GError **error)
{
    bool selectable = !(box->attributes & (LIST_NOSELECT | LIST_NONEXISTENT));
    if (box_has_children(&txn->reader, box->id))
        return refuse(error, IMAPFS_ERROR_DENIED, "there are mailboxes in it");
    if (log_shown_count(&txn->reader, box->id) > 0)
        return refuse(error, IMAPFS_ERROR_DENIED, "there are messages in it");
    if (selectable && !box->listed)
        return refuse(error, IMAPFS_ERROR_DENIED, "it is not known yet what is in it");
    return log_check_reads(txn, error);
}

/* One that was never sent goes with all that was logged about it; *gone_out. */
static bool unmake(StoreTxn *txn, const StoreBox *box, bool *gone_out, GError **error)
{
    guint64 n = 0;
    g_autoptr(GPtrArray) ops = log_box_ops(txn, 0, error);
    if (ops == NULL || !count_ops(txn, box->id, &n, error))
        return false;
    *gone_out = box->local && n == 0;
    for (guint i = 0; i < ops->len; i++) {
        const LogOp *op = ops->pdata[i];
        bool mine = op->box == box->id;
        if ((mine && op->state != LOG_QUEUED) || (!mine && touches(op, box->name, box->delimiter)))
            *gone_out = false;
    }
    for (guint i = 0; *gone_out && i < ops->len; i++)
        if (((const LogOp *)ops->pdata[i])->box == box->id &&
            !log_end(txn, ((const LogOp *)ops->pdata[i])->seq, true, error))
            return false;
    return true;
}

static bool remove_row(StoreTxn *txn, const StoreBox *box, gint64 now_ns, GError **error)
{
    bool gone = false;
    if (!unmake(txn, box, &gone, error))
        return false;
    if (!gone)
        return box_set_doomed(txn, box, true, now_ns, error) &&
               log_one(txn, LOG_RMBOX, box, box->name, NULL, now_ns, error);
    txn_note_name(txn, box->parent, box->leaf, 0);
    return box_delete(txn, box, error) && box_bump(txn, box->parent, now_ns, error);
}

static bool get_shown(StoreTxn *txn, guint32 id, StoreBox *out, GError **error)
{
    if (!store_box_by_id(&txn->reader, id, out))
        return log_gone(txn, "the mailbox is no longer there", error);
    if (!out->doomed)
        return true;
    store_box_clear(out);
    return refuse(error, IMAPFS_ERROR_GONE, "the mailbox is being removed");
}

bool log_rmbox(StoreTxn *txn, guint32 id, gint64 now_ns, GError **error)
{
    StoreBox box = {0};
    bool ok = false;
    if (!get_shown(txn, id, &box, error))
        return false;
    if (is_inbox(box.name))
        refuse(error, IMAPFS_ERROR_DENIED, "INBOX cannot be removed");
    else if (!box_may(&box, "x"))
        refuse(error, IMAPFS_ERROR_DENIED, "the server does not permit its removal");
    else
        ok = check_empty(txn, &box, error) && remove_row(txn, &box, now_ns, error);
    store_box_clear(&box);
    return ok;
}

/* --- renaming --- */

/* Changes what was logged last, or logs it. In between others may have been logged that are below
 * this mailbox: they follow. */
static bool log_rename(StoreTxn *txn, const StoreBox *box, const char *name, gint64 now_ns,
                       GError **error)
{
    g_autoptr(GPtrArray) ops = log_box_ops(txn, 0, error);
    const LogOp *last = NULL;
    if (ops == NULL)
        return false;
    for (guint i = 0; i < ops->len; i++) {
        const LogOp *op = ops->pdata[i];
        if (op->box == box->id)
            last = op->kind == LOG_RMBOX || op->state != LOG_QUEUED ? NULL : op;
        else if (!touches(op, box->name, box->delimiter) || op->state != LOG_QUEUED)
            last = NULL;
    }
    if (last == NULL)
        return log_one(txn, LOG_RENBOX, box, box->name, name, now_ns, error);
    for (guint i = 0; i < ops->len; i++) {
        const LogOp *op = ops->pdata[i];
        if (op->seq < last->seq)
            continue;
        bool from = op != last || op->kind == LOG_MKBOX;
        g_autofree char *mailbox =
            from ? box_moved_name(op->mailbox, box->name, name, box->delimiter) : NULL;
        g_autofree char *target =
            op->target != NULL ? box_moved_name(op->target, box->name, name, box->delimiter) : NULL;
        if (!log_set_names(txn, op, mailbox != NULL ? mailbox : op->mailbox,
                           target != NULL ? target : op->target, error))
            return false;
    }
    return last->kind != LOG_RENBOX || strcmp(last->mailbox, name) != 0 ||
           log_end(txn, last->seq, true, error); /* back to what it was */
}

static bool rename_box(StoreTxn *txn, const StoreBox *box, const char *name, gint64 now_ns,
                       GError **error)
{
    StoreBox parent = {0};
    bool done = false;
    bool ok = find_above(txn, name, &parent, error) && check_place(txn, &parent, name, error) &&
              check_doomed(txn, name, error);
    if (ok && parent.delimiter != box->delimiter)
        ok = refuse(error, IMAPFS_ERROR_DENIED, "it cannot be moved to that part of the tree");
    ok = ok && log_rename(txn, box, name, now_ns, error) &&
         box_rename(txn, box, name, now_ns, &done, error);
    store_box_clear(&parent);
    return ok;
}

bool log_renbox(StoreTxn *txn, guint32 id, const char *name, gint64 now_ns, GError **error)
{
    StoreBox box = {0};
    bool ok = false;
    if (!get_shown(txn, id, &box, error))
        return false;
    if (is_inbox(box.name)) /* RFC 9051 6.3.6: it would only move its messages */
        refuse(error, IMAPFS_ERROR_DENIED, "INBOX cannot be renamed");
    else if (!box_may(&box, "x"))
        refuse(error, IMAPFS_ERROR_DENIED, "the server does not permit it");
    else if (box_is_below(name, box.name, box.delimiter))
        refuse(error, IMAPFS_ERROR_INVALID, "it cannot be moved into itself");
    else
        ok = strcmp(name, box.name) == 0 || rename_box(txn, &box, name, now_ns, error);
    store_box_clear(&box);
    return ok;
}

/* --- what is sent next --- */

/* Something that was logged before is still to be done in a mailbox that goes, or with one in it;
 * what was moved out by a copy is still to be expunged there, which is logged when it was copied.
 * Who waits so is passed by the others, which do not need its name (check_doomed): what it waits
 * for may wait for a mailbox that is still to be made. */
static bool must_wait(StoreReader *reader, const LogOp *op)
{
    static const char sql[] =
        "SELECT EXISTS (SELECT 1 FROM log WHERE state != 5 AND kind < 5 AND (seq < ?2 OR kind = 3)"
        " AND (box = ?1 OR to_box != 0 AND to_box = ?1)) OR EXISTS (SELECT 1 FROM box WHERE parent "
        "= ?1)";
    Query query;
    if (op->kind != LOG_RMBOX || !reader_open_query(reader, &query, sql))
        return false;
    query_int(&query, op->box);
    query_int(&query, op->seq);
    bool waits = query_step(&query) && query_get_int(&query, 0) != 0;
    return !reader_close_query(reader, &query) || waits;
}

static bool is_near(const char *name, const char *other, char delimiter)
{
    return name != NULL && other != NULL &&
           (strcmp(name, other) == 0 || box_is_below(name, other, delimiter) ||
            box_is_below(other, name, delimiter));
}

/* A name of the one is a name of the other, or is above or below one. */
static bool is_related(const LogOp *op, const LogOp *other, char delimiter)
{
    return op->box == other->box || is_near(op->mailbox, other->mailbox, delimiter) ||
           is_near(op->mailbox, other->target, delimiter) ||
           is_near(op->target, other->mailbox, delimiter) ||
           is_near(op->target, other->target, delimiter);
}

/* One before it, that is put off, must be done first. */
static bool is_behind(StoreReader *reader, const GPtrArray *put_off, const LogOp *op)
{
    StoreBox box = {0};
    char delimiter = store_box_by_id(reader, op->box, &box) ? box.delimiter : '\0';
    store_box_clear(&box);
    for (guint i = 0; i < put_off->len; i++)
        if (is_related(op, put_off->pdata[i], delimiter))
            return true;
    return false;
}

static bool is_next(StoreReader *reader, gint64 now_ns, const LogOp *op, GPtrArray *put_off,
                    gint64 *due_ns)
{
    bool later = op->next_try_ns > now_ns;
    if (op->state == LOG_UNSURE)
        return true;
    if (later || is_behind(reader, put_off, op)) {
        g_ptr_array_add(put_off, log_op_copy(op));
        if (later && (*due_ns == 0 || op->next_try_ns < *due_ns))
            *due_ns = op->next_try_ns;
        return false;
    }
    return !must_wait(reader, op);
}

bool log_next_box(StoreReader *reader, gint64 now_ns, LogOp *out, gint64 *due_ns_out)
{
    static const char sql[] = "SELECT " LOG_COLUMNS " FROM log INDEXED BY log_boxes"
                              " WHERE kind >= 5 AND state != 5 ORDER BY seq";
    g_autoptr(GPtrArray) put_off = g_ptr_array_new_with_free_func((GDestroyNotify)log_op_free);
    Query query;
    bool found = false;
    *due_ns_out = 0;
    if (!reader_open_query(reader, &query, sql))
        return false;
    while (!found && query_step(&query)) {
        LogOp row;
        log_op_borrow(&query, &row);
        if (row.state == LOG_INFLIGHT)
            break;
        found = is_next(reader, now_ns, &row, put_off, due_ns_out);
        if (found) {
            g_autofree LogOp *copy = log_op_copy(&row);
            *out = *copy;
        }
    }
    return reader_close_query(reader, &query) && found;
}

bool log_claim_box(StoreTxn *txn, guint32 seq, GError **error)
{
    return log_set_state(txn, seq, LOG_INFLIGHT, NULL, error);
}

char *log_wire_name(StoreReader *reader, guint32 box)
{
    StoreBox row = {0};
    char *name = NULL;
    if (store_box_by_id(reader, box, &row))
        name = g_strdup(row.wire_name != NULL ? row.wire_name : row.name);
    store_box_clear(&row);
    return name;
}
