/* messages.c - the rows of messages.
 *
 * The rule: what RFC 9051 2.3.1.1 calls immutable is written once; later only flags, modseq and
 * what was not asked for before. So the name of a message never changes. */
#include "private.h"

#include <string.h>
#include "imapfs/base/error.h"
#include "imapfs/base/log.h"

#define MSG_COLUMNS                                                                     \
    "uid, name, sender, subject, message_id, internaldate, zone, size, flags, modseq, " \
    "emailid, has_structure"

/* With fewer ranges than this each is asked for; with more, all UIDs are walked once. */
#define RANGES_ONE_BY_ONE 32

static void msg_borrow(Query *query, StoreMsg *out)
{
    *out = (StoreMsg){
        .uid = (guint32)query_get_int(query, 0),
        .name = query_get_text(query, 1),
        .from = query_get_text(query, 2),
        .subject = query_get_text(query, 3),
        .message_id = query_get_text(query, 4),
        .internaldate = query_get_int(query, 5),
        .zone = (gint32)query_get_int(query, 6),
        .size = (guint64)query_get_int(query, 7),
        .flags = query_get_text(query, 8),
        .modseq = (guint64)query_get_int(query, 9),
        .emailid = query_get_text(query, 10),
        .has_structure = query_get_int(query, 11) != 0,
    };
}

static StoreMsg msg_copy(const StoreMsg *msg)
{
    StoreMsg out = *msg;
    out.name = g_strdup(msg->name);
    out.from = g_strdup(msg->from);
    out.subject = g_strdup(msg->subject);
    out.message_id = g_strdup(msg->message_id);
    out.flags = g_strdup(msg->flags);
    out.emailid = g_strdup(msg->emailid);
    return out;
}

void store_msg_clear(StoreMsg *msg)
{
    g_clear_pointer(&msg->name, g_free);
    g_clear_pointer(&msg->from, g_free);
    g_clear_pointer(&msg->subject, g_free);
    g_clear_pointer(&msg->message_id, g_free);
    g_clear_pointer(&msg->flags, g_free);
    g_clear_pointer(&msg->emailid, g_free);
}

static const char sql_get[] = "SELECT " MSG_COLUMNS " FROM msg WHERE box = ? AND uid = ?";

/* One message is asked for again and again, by each of its files. */
static bool is_last(const StoreReader *reader, guint32 box, guint32 uid)
{
    return reader->last_box == box && reader->last.uid == uid && uid != 0 &&
           keep_is_current(reader->index, reader->last_seen);
}

static void note_last(StoreReader *reader, guint32 box, const StoreMsg *msg)
{
    if (!reader->keeps)
        return;
    store_msg_clear(&reader->last);
    reader->last = msg_copy(msg);
    reader->last_box = box;
    reader->last_seen = reader->index->seen;
}

bool store_msg_get(StoreReader *reader, guint32 box, guint32 uid, StoreMsg *out)
{
    Query query;
    if (is_last(reader, box, uid)) {
        *out = msg_copy(&reader->last);
        return true;
    }
    if (!reader_open_query(reader, &query, sql_get))
        return false;
    query_int(&query, box);
    query_int(&query, uid);
    StoreMsg msg = {0};
    bool found = query_step(&query);
    if (found) {
        StoreMsg row;
        msg_borrow(&query, &row);
        msg = msg_copy(&row);
    }
    if (!reader_close_query(reader, &query) || !found) {
        store_msg_clear(&msg);
        return false;
    }
    note_last(reader, box, &msg);
    *out = msg;
    return true;
}

bool store_msg_is_anywhere(StoreReader *reader, guint32 uid, const char *name, gsize length)
{
    static const char sql[] = "SELECT 1 FROM box JOIN msg INDEXED BY msg_uid ON msg.box = box.id"
                              " AND msg.uid = ? WHERE msg.name = ? LIMIT 1";
    g_autofree char *text = g_strndup(name, length);
    Query query;
    if (!reader_open_query(reader, &query, sql))
        return false;
    query_int(&query, uid);
    query_text(&query, text);
    bool found = query_step(&query);
    return reader_close_query(reader, &query) && found;
}

void store_msg_each(StoreReader *reader, guint32 box, guint32 after, StoreMsgFunc f, gpointer data)
{
    static const char sql[] =
        "SELECT " MSG_COLUMNS " FROM msg WHERE box = ? AND uid > ? ORDER BY uid";
    Query query;
    if (!reader_open_query(reader, &query, sql))
        return;
    query_int(&query, box);
    query_int(&query, after);
    StoreMsg msg;
    while (query_step(&query)) {
        msg_borrow(&query, &msg);
        if (!f(&msg, data))
            break;
    }
    reader_close_query(reader, &query);
}

static void collect_uids(Query *query, UidSet *out)
{
    while (query_step(query))
        uidset_add(out, (guint32)query_get_int(query, 0));
}

UidSet *store_msg_uids(StoreReader *reader, guint32 box)
{
    static const char sql[] = "SELECT uid FROM msg INDEXED BY msg_uid WHERE box = ? ORDER BY uid";
    UidSet *out = uidset_new();
    Query query;
    if (!reader_open_query(reader, &query, sql))
        return out;
    query_int(&query, box);
    collect_uids(&query, out);
    reader_close_query(reader, &query);
    return out;
}

guint32 store_msg_count(StoreReader *reader, guint32 box)
{
    static const char sql[] = "SELECT count(*) FROM msg INDEXED BY msg_uid WHERE box = ?";
    Query query;
    if (!reader_open_query(reader, &query, sql))
        return 0;
    query_int(&query, box);
    guint32 count = query_step(&query) ? (guint32)query_get_int(&query, 0) : 0;
    return reader_close_query(reader, &query) ? count : 0;
}

guint32 store_msg_last_uid(StoreReader *reader, guint32 box)
{
    static const char sql[] =
        "SELECT uid FROM msg INDEXED BY msg_uid WHERE box = ? ORDER BY uid DESC LIMIT 1";
    Query query;
    if (!reader_open_query(reader, &query, sql))
        return 0;
    query_int(&query, box);
    guint32 uid = query_step(&query) ? (guint32)query_get_int(&query, 0) : 0;
    return reader_close_query(reader, &query) ? uid : 0;
}

UidSet *store_msg_without_structure(StoreReader *reader, guint32 box, guint32 after, guint32 last,
                                    guint n)
{
    static const char sql[] = "SELECT uid FROM msg INDEXED BY msg_uid WHERE box = ? AND uid > ?"
                              " AND uid <= ? AND has_structure = 0 ORDER BY uid LIMIT ?";
    UidSet *out = uidset_new();
    Query query;
    if (!reader_open_query(reader, &query, sql))
        return out;
    query_int(&query, box);
    query_int(&query, after);
    query_int(&query, last);
    query_int(&query, n);
    collect_uids(&query, out);
    reader_close_query(reader, &query);
    return out;
}

/* --- writing --- */

static const char *or_empty(const char *text)
{
    return text != NULL ? text : "";
}

static bool insert(StoreTxn *txn, guint32 box, const StoreMsg *msg, bool *new_out, GError **error)
{
    static const char sql[] =
        "INSERT INTO msg(box, uid, name, sender, subject, message_id, internaldate, zone, size,"
        " flags, modseq, emailid) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO "
        "NOTHING";
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_int(&query, box);
    query_int(&query, msg->uid);
    query_text(&query, or_empty(msg->name));
    query_text(&query, or_empty(msg->from));
    query_text(&query, or_empty(msg->subject));
    query_text(&query, msg->message_id);
    query_int(&query, msg->internaldate);
    query_int(&query, msg->zone);
    query_int(&query, (gint64)msg->size);
    query_text(&query, or_empty(msg->flags));
    query_int(&query, (gint64)msg->modseq);
    query_text(&query, msg->emailid);
    if (!txn_run_query(txn, &query, error))
        return false;
    *new_out = txn_changes(txn) > 0;
    return true;
}

static void log_violation(guint32 box, const StoreMsg *was, const StoreMsg *now)
{
    if (was->internaldate == now->internaldate && was->zone == now->zone && was->size == now->size)
        return;
    log_debug("store",
              "immutable-violation: %u/%u: date %" G_GINT64_FORMAT " -> %" G_GINT64_FORMAT
              ", size %" G_GUINT64_FORMAT " -> %" G_GUINT64_FORMAT,
              box, now->uid, was->internaldate, now->internaldate, was->size, now->size);
}

static bool was_undeleted(const char *before, const char *now)
{
    return strstr(or_empty(before), "\\Deleted") != NULL &&
           strstr(or_empty(now), "\\Deleted") == NULL;
}

/* Whether the row already says all that msg may still change. */
static bool is_known(const StoreMsg *row, const StoreMsg *msg)
{
    return g_strcmp0(row->flags, or_empty(msg->flags)) == 0 &&
           (msg->modseq == 0 || row->modseq == msg->modseq) &&
           (row->message_id != NULL || msg->message_id == NULL) &&
           (row->emailid != NULL || msg->emailid == NULL);
}

static bool update(StoreTxn *txn, guint32 box, const StoreMsg *msg, GError **error)
{
    static const char sql[] =
        "UPDATE msg SET flags = ?, modseq = coalesce(nullif(?, 0), modseq),"
        " message_id = coalesce(message_id, ?), emailid = coalesce(emailid, ?)"
        " WHERE box = ? AND uid = ?";
    Query query;
    if (!txn_open_query(txn, &query, sql_get, error))
        return false;
    query_int(&query, box);
    query_int(&query, msg->uid);
    bool known = false, undeleted = false;
    if (query_step(&query)) {
        StoreMsg row;
        msg_borrow(&query, &row);
        log_violation(box, &row, msg);
        known = is_known(&row, msg);
        undeleted = was_undeleted(row.flags, msg->flags);
    }
    if (!txn_close_query(txn, &query, error))
        return false;
    if (known)
        return true;
    if (undeleted && !log_undeleted(txn, box, msg->uid, error))
        return false;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_text(&query, or_empty(msg->flags));
    query_int(&query, (gint64)msg->modseq);
    query_text(&query, msg->message_id);
    query_text(&query, msg->emailid);
    query_int(&query, box);
    query_int(&query, msg->uid);
    return txn_run_query(txn, &query, error);
}

bool store_msg_put(StoreTxn *txn, guint32 box, const StoreMsg *msg, bool *new_out, GError **error)
{
    bool is_new;
    if (box == 0 || msg->uid == 0)
        return txn_refuse(txn, error, IMAPFS_ERROR_INVALID, "there is no message %u/%u", box,
                          msg->uid);
    if (!insert(txn, box, msg, &is_new, error) || (!is_new && !update(txn, box, msg, error)))
        return false;
    if (is_new && msg->emailid != NULL && !log_message_added(txn, box, msg, error))
        return false;
    if (new_out != NULL)
        *new_out = is_new;
    return true;
}

bool store_msg_set_flags(StoreTxn *txn, guint32 box, guint32 uid, const char *flags, guint64 modseq,
                         bool *changed_out, GError **error)
{
    static const char sql_read[] = "SELECT flags, modseq FROM msg WHERE box = ? AND uid = ?";
    static const char sql_write[] =
        "UPDATE msg SET flags = ?, modseq = ? WHERE box = ? AND uid = ?";
    Query query;
    if (!txn_open_query(txn, &query, sql_read, error))
        return false;
    query_int(&query, box);
    query_int(&query, uid);
    bool found = query_step(&query);
    bool same = found && g_strcmp0(query_get_text(&query, 0), or_empty(flags)) == 0;
    guint64 old_modseq = found ? (guint64)query_get_int(&query, 1) : 0;
    bool undeleted = found && was_undeleted(query_get_text(&query, 0), flags);
    if (!txn_close_query(txn, &query, error) || (undeleted && !log_undeleted(txn, box, uid, error)))
        return false;
    if (modseq == 0)
        modseq = old_modseq;
    if (found && (!same || modseq != old_modseq)) {
        if (!txn_open_query(txn, &query, sql_write, error))
            return false;
        query_text(&query, or_empty(flags));
        query_int(&query, (gint64)modseq);
        query_int(&query, box);
        query_int(&query, uid);
        if (!txn_run_query(txn, &query, error))
            return false;
    }
    if (changed_out != NULL)
        *changed_out = found && !same;
    return true;
}

/* Adds to found the UIDs of the mailbox that are in set and between lo and hi. */
static bool find_between(StoreTxn *txn, guint32 box, UidRange range, const UidSet *set,
                         UidSet *found, GError **error)
{
    static const char sql[] = "SELECT uid FROM msg INDEXED BY msg_uid WHERE box = ?"
                              " AND uid BETWEEN ? AND ? ORDER BY uid";
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_int(&query, box);
    query_int(&query, range.lo);
    query_int(&query, range.hi);
    while (query_step(&query)) {
        guint32 uid = (guint32)query_get_int(&query, 0);
        if (set == NULL || uidset_contains(set, uid))
            uidset_add(found, uid);
    }
    return txn_close_query(txn, &query, error);
}

static bool find_present(StoreTxn *txn, guint32 box, const UidSet *uids, UidSet *found,
                         GError **error)
{
    guint n;
    const UidRange *ranges = uidset_ranges(uids, &n);
    if (n > RANGES_ONE_BY_ONE) {
        UidRange whole = {ranges[0].lo, ranges[n - 1].hi};
        return find_between(txn, box, whole, uids, found, error);
    }
    for (guint i = 0; i < n; i++)
        if (!find_between(txn, box, ranges[i], NULL, found, error))
            return false;
    return true;
}

static const char sql_drop_msg[] = "DELETE FROM msg WHERE box = ? AND uid BETWEEN ? AND ?";
static const char sql_drop_structure[] =
    "DELETE FROM structure WHERE box = ? AND uid BETWEEN ? AND ?";
static const char sql_drop_size[] = "DELETE FROM size WHERE box = ? AND uid BETWEEN ? AND ?";
static const char sql_drop_local[] = "DELETE FROM local_flag WHERE box = ? AND uid BETWEEN ? AND ?";
static const char sql_drop_hidden[] = "DELETE FROM hidden WHERE box = ? AND uid BETWEEN ? AND ?";
static const char *const sql_drop[] = {sql_drop_msg, sql_drop_structure, sql_drop_size,
                                       sql_drop_local, sql_drop_hidden};

static bool drop_range(StoreTxn *txn, guint32 box, guint32 lo, guint32 hi, GError **error)
{
    for (gsize i = 0; i < G_N_ELEMENTS(sql_drop); i++) {
        Query query;
        if (!txn_open_query(txn, &query, sql_drop[i], error))
            return false;
        query_int(&query, box);
        query_int(&query, lo);
        query_int(&query, hi);
        if (!txn_run_query(txn, &query, error))
            return false;
    }
    txn_purge(txn, box, lo, hi, false);
    return true;
}

bool txn_empty_box(StoreTxn *txn, guint32 box, GError **error)
{
    return drop_range(txn, box, 0, G_MAXUINT32, error);
}

bool txn_drop_msg(StoreTxn *txn, guint32 box, guint32 uid, GError **error)
{
    return drop_range(txn, box, uid, uid, error);
}

bool store_msg_remove(StoreTxn *txn, guint32 box, const UidSet *uids, UidSet *removed_out,
                      GError **error)
{
    g_autoptr(UidSet) found = uidset_new();
    if (!find_present(txn, box, uids, found, error) ||
        !log_messages_removed(txn, box, found, error))
        return false;
    guint n;
    const UidRange *ranges = uidset_ranges(found, &n);
    for (guint i = 0; i < n; i++)
        if (!drop_range(txn, box, ranges[i].lo, ranges[i].hi, error))
            return false;
    if (removed_out != NULL)
        uidset_add_set(removed_out, found);
    return true;
}
