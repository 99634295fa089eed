/* entries.c - when the messages that a mailbox shows, or their Maildir letters, changed last.
 *
 * The time that the Maildir view gives to cur/: programs that find it unchanged do not look into
 * the directory. The rule: it is that of the transaction in which a name came, went, or became
 * another, and of no other. Triggers note whose rows a transaction touched, whoever wrote them;
 * before the commit what is shown of these is compared with what was shown before. */
#include "log_private.h"

#include <string.h>
#include "imapfs/base/clock.h"
#include "imapfs/wire/flags.h"

/* What may change what is shown of a message, and which message that is. */
static const struct {
    const char *event, *table, *when, *box, *uid;
} touches[] = {
    {"INSERT", "msg", "", "NEW.box", "NEW.uid"},
    {"DELETE", "msg", "", "OLD.box", "OLD.uid"},
    {"UPDATE OF flags", "msg", "WHEN OLD.flags IS NOT NEW.flags", "NEW.box", "NEW.uid"},
    {"INSERT", "log", "", "NEW.box", "NEW.uid"},
    {"DELETE", "log", "", "OLD.box", "OLD.uid"},
    {"UPDATE", "log", "", "OLD.box", "OLD.uid"},
    {"UPDATE", "log", "", "NEW.box", "NEW.uid"},
    {"INSERT", "log", "", LOG_SQL_PENDING, "NEW.to_n"}, /* and what it places */
    {"DELETE", "log", "", LOG_SQL_PENDING, "OLD.to_n"},
    {"UPDATE", "log", "", LOG_SQL_PENDING, "OLD.to_n"},
    {"UPDATE", "log", "", LOG_SQL_PENDING, "NEW.to_n"},
    {"INSERT", "hidden", "", "NEW.box", "NEW.uid"},
    {"DELETE", "hidden", "", "OLD.box", "OLD.uid"},
    {"INSERT", "local_flag", "", "NEW.box", "NEW.uid"},
    {"DELETE", "local_flag", "", "OLD.box", "OLD.uid"},
    {"UPDATE", "local_flag", "", "NEW.box", "NEW.uid"},
};

/* Of the writer's connection alone: they are no part of the file. */
static bool set_triggers(Db *db, GError **error)
{
    g_autoptr(GString) sql =
        g_string_new("CREATE TEMP TABLE touched(box INTEGER NOT NULL, uid INTEGER NOT NULL,"
                     " PRIMARY KEY (box, uid)) WITHOUT ROWID;"
                     "CREATE TEMP TRIGGER box_went AFTER DELETE ON main.box BEGIN"
                     " DELETE FROM entries WHERE box = OLD.id; END;");
    for (gsize i = 0; i < G_N_ELEMENTS(touches); i++)
        g_string_append_printf(sql,
                               "CREATE TEMP TRIGGER touch%zu AFTER %s ON main.%s %s BEGIN"
                               " INSERT OR IGNORE INTO touched VALUES(%s, %s); END;",
                               i, touches[i].event, touches[i].table, touches[i].when,
                               touches[i].box, touches[i].uid);
    return db_exec(db, sql->str, error);
}

bool entries_open(Store *store, GError **error)
{
    store->before.store = store;
    store->before.index =
        db_open(store->index_path, "index", false, INDEX_CACHE_KIB, &store->index_damaged, error);
    return store->before.index != NULL && set_triggers(store->writer, error);
}

void entries_close(Store *store)
{
    g_clear_pointer(&store->before.index, db_close);
    g_clear_error(&store->before.failure);
}

gint64 store_entries_changed(StoreReader *reader, guint32 box)
{
    static const char sql[] = "SELECT changed_ns FROM entries WHERE box = ?";
    Query query;
    if (!reader_open_query(reader, &query, sql))
        return 0;
    query_int(&query, box);
    gint64 changed_ns = query_step(&query) ? query_get_int(&query, 0) : 0;
    return reader_close_query(reader, &query) ? changed_ns : 0;
}

/* --- what is shown of a message --- */

typedef struct {
    guint32 box; /* 0: it is not shown */
    char letters[FLAGS_LETTERS_MAX];
} Entry;

/* The mailbox that a message is shown in; 0: none. */
static guint32 shown_in(StoreReader *reader, guint32 box, guint32 uid)
{
    LogPending pending = {0};
    if (box == STORE_BOX_PENDING)
        return log_pending_get(reader, uid, &pending) ? pending.box : 0;
    return log_is_hidden(reader, box, uid) ? 0 : box;
}

static Entry entry_of(StoreReader *reader, guint32 box, guint32 uid)
{
    Entry entry = {0};
    StoreMsg msg = {0};
    guint32 shown_box = shown_in(reader, box, uid);
    if (shown_box == 0 || !store_msg_get(reader, box, uid, &msg))
        return entry;
    g_auto(Flags) flags = {0};
    g_autofree char *shown = log_shown_flags(reader, box, uid, msg.flags);
    flags_parse(&flags, shown);
    flags_letters(&flags, entry.letters);
    entry.box = shown_box;
    store_msg_clear(&msg);
    return entry;
}

static bool is_same(const Entry *a, const Entry *b)
{
    return a->box == b->box && strcmp(a->letters, b->letters) == 0;
}

/* --- before a commit --- */

static void add_box(GHashTable *changed, guint32 box)
{
    if (box != 0)
        g_hash_table_add(changed, GUINT_TO_POINTER(box));
}

/* Compares what was touched, up to the first difference of each mailbox. */
static bool find_changed(StoreTxn *txn, GHashTable *changed, GError **error)
{
    static const char sql[] = "SELECT box, uid FROM touched ORDER BY box, uid";
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    while (query_step(&query)) {
        guint32 box = (guint32)query_get_int(&query, 0), uid = (guint32)query_get_int(&query, 1);
        if (box == 0 || uid == 0 || g_hash_table_contains(changed, GUINT_TO_POINTER(box)))
            continue;
        Entry before = entry_of(&txn->store->before, box, uid);
        Entry now = entry_of(&txn->reader, box, uid);
        if (is_same(&before, &now))
            continue;
        add_box(changed, before.box);
        add_box(changed, now.box);
    }
    /* What could not be read is taken for changed: at worst somebody looks in vain. */
    if (!store_reader_check(&txn->store->before, NULL))
        g_hash_table_add(changed, GUINT_TO_POINTER(0));
    return txn_close_query(txn, &query, error) && store_reader_check(&txn->reader, error);
}

static bool stamp(StoreTxn *txn, guint32 box, gint64 now_ns, GError **error)
{
    static const char sql[] =
        "INSERT INTO entries(box, changed_ns) VALUES(?, ?) ON CONFLICT DO UPDATE SET"
        " changed_ns = max(excluded.changed_ns, changed_ns + 1)";
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_int(&query, box);
    query_int(&query, now_ns);
    return txn_run_query(txn, &query, error);
}

static bool stamp_all(StoreTxn *txn, GError **error)
{
    static const char sql[] = "UPDATE entries SET changed_ns = max(?, changed_ns + 1)";
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_int(&query, clock_real_ns());
    return txn_run_query(txn, &query, error);
}

static bool forget_touched(StoreTxn *txn, GError **error)
{
    Query query;
    return txn_open_query(txn, &query, "DELETE FROM touched", error) &&
           txn_run_query(txn, &query, error);
}

bool entries_note(StoreTxn *txn, GError **error)
{
    g_autoptr(GHashTable) changed = g_hash_table_new(NULL, NULL);
    if (!find_changed(txn, changed, error))
        return false;
    bool ok = true;
    GHashTableIter iter;
    gpointer box;
    g_hash_table_iter_init(&iter, changed);
    while (ok && g_hash_table_iter_next(&iter, &box, NULL))
        ok =
            box ? stamp(txn, GPOINTER_TO_UINT(box), clock_real_ns(), error) : stamp_all(txn, error);
    return ok && forget_touched(txn, error);
}
