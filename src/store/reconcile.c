/* reconcile.c - what LIST said, whole, becomes the mailbox rows.
 *
 * The rule: a name that stays keeps its id and its leaf. Names here are those that are shown: what
 * LIST said comes through box_overlay.c. The order:
 *   want      every listed name and the levels above it
 *   load      the rows there are
 *   remove    rows nobody wants
 *   keep      rows that stay where they are hold their file names
 *   place     the others, parents first: new rows, and rows whose parent is another now
 *   finish    times of directories whose entries changed
 * Also here: a mailbox that the server made anew (store_box_renew). */
#include "box_private.h"

#include <string.h>
#include "imapfs/base/error.h"
#include "imapfs/base/limits.h"
#include "imapfs/base/log.h"
#include "imapfs/mime/name.h"
#include "imapfs/wire/response.h"

typedef struct {
    char *name;
    char *wire_name; /* NULL: the server does not have it */
    bool local;      /* still to be made there */
    char delimiter;
    guint32 attributes;
    guint depth; /* 0 at the top */
    bool placed; /* its row is where it belongs */
} Level;

typedef struct {
    StoreTxn *txn;
    gint64 now_ns;
    GHashTable *wanted;  /* name -> Level * */
    GHashTable *known;   /* name -> StoreBox *, as the rows are */
    GHashTable *leaves;  /* "PARENT/LEAF" that are taken */
    GHashTable *touched; /* ids of directories whose entries changed */
    GHashTable *doomed;  /* ids of those that are still to be removed on the server */
    GPtrArray *leaving;  /* of StoreBox *: rows that nobody is shown */
    BoxIds ids;
    GArray *added_out, *removed_out;
} Reconcile;

/* --- levels --- */

static void level_free(gpointer data)
{
    Level *level = data;
    g_free(level->name);
    g_free(level->wire_name);
    g_free(level);
}

static void box_free(gpointer data)
{
    store_box_clear(data);
    g_free(data);
}

/* --- want --- */

static void want_name(Reconcile *self, const char *name, const char *wire_name, char delimiter,
                      guint32 attributes)
{
    if ((attributes & LIST_NONEXISTENT) != 0)
        attributes |= LIST_NOSELECT; /* RFC 9051 7.3.1 */
    Level *level = g_hash_table_lookup(self->wanted, name);
    if (level != NULL) { /* listed twice, or made up before: absent only if all say so */
        const guint32 absent = LIST_NONEXISTENT | LIST_NOSELECT;
        level->attributes = ((level->attributes | attributes) & ~absent) |
                            (level->attributes & attributes & absent);
        if (level->wire_name == NULL && !level->local)
            level->wire_name = g_strdup(wire_name);
        level->delimiter = level->delimiter != '\0' ? level->delimiter : delimiter;
        return;
    }
    level = g_new0(Level, 1);
    level->name = g_strdup(name);
    level->wire_name = g_strdup(wire_name);
    level->delimiter = delimiter;
    level->attributes = attributes;
    level->depth = box_depth(name, delimiter);
    g_hash_table_insert(self->wanted, level->name, level);
}

static bool is_usable(const char *name, char delimiter)
{
    const char *why = NULL;
    if (name == NULL || name[0] == '\0')
        why = "it has no name";
    else if (strlen(name) > LIMIT_MAILBOX_NAME || !g_utf8_validate(name, -1, NULL))
        why = "its name is too long or broken";
    else if (box_depth(name, delimiter) >= LIMIT_MAILBOX_DEPTH)
        why = "it has too many levels";
    if (why != NULL)
        log_warn("store", "a mailbox is left out: %s", why);
    return why == NULL;
}

/* The server's name of the level above: where the two names end alike, theirs do. */
static char *above_on_server(const char *name, const char *wire_name, char delimiter)
{
    if (wire_name == NULL || strcmp(name + box_last_level(name, delimiter),
                                    wire_name + box_last_level(wire_name, delimiter)) != 0)
        return NULL;
    return box_parent_name(wire_name, delimiter);
}

static bool want_entry(Reconcile *self, const BoxEntry *entry, GError **error)
{
    if (entry->doomed) {
        g_hash_table_add(self->doomed, GUINT_TO_POINTER(entry->box));
        return true;
    }
    if (!is_usable(entry->name, entry->delimiter))
        return true;
    g_autofree char *name = g_strdup(entry->name), *wire = g_strdup(entry->wire_name);
    want_name(self, name, wire, entry->delimiter, entry->attributes);
    if (entry->box != 0) { /* the level of that name that the server may have is none yet */
        Level *level = g_hash_table_lookup(self->wanted, name);
        level->local = true;
        g_clear_pointer(&level->wire_name, g_free);
    }
    char *up;
    while ((up = box_parent_name(name, entry->delimiter)) != NULL) {
        char *wire_up = above_on_server(name, wire, entry->delimiter);
        g_free(name);
        g_free(wire);
        name = up;
        wire = wire_up;
        if (g_hash_table_contains(self->wanted, name))
            break; /* and so are those above */
        want_name(self, name, wire, entry->delimiter, LIST_NONEXISTENT);
    }
    if (g_hash_table_size(self->wanted) > LIMIT_MAILBOXES)
        return txn_refuse(self->txn, error, IMAPFS_ERROR_TOO_BIG,
                          "the server has more than %d mailboxes", LIMIT_MAILBOXES);
    return true;
}

/* --- load --- */

static bool load_row(const StoreBox *row, gpointer data)
{
    Reconcile *self = data;
    StoreBox *box = g_new(StoreBox, 1);
    *box = box_copy(row);
    if (row->doomed)
        g_ptr_array_add(self->leaving, box);
    else
        g_hash_table_insert(self->known, box->name, box);
    return true;
}

static bool load(Reconcile *self, GError **error)
{
    StoreReader *reader = &self->txn->reader;
    box_each_row(reader, load_row, self);
    if (!store_reader_check(reader, error)) {
        self->txn->failed = true;
        return false;
    }
    return box_ids_load(self->txn, &self->ids, error);
}

static void touch(Reconcile *self, guint32 directory)
{
    g_hash_table_add(self->touched, GUINT_TO_POINTER(directory));
}

/* --- remove --- */

static bool remove_row(Reconcile *self, const StoreBox *box, GError **error)
{
    if (!box_delete(self->txn, box, error))
        return false;
    box_ids_retire(&self->ids, box->id);
    touch(self, box->parent);
    if (self->removed_out != NULL) {
        StoreBox copy = box_copy(box);
        g_array_append_val(self->removed_out, copy);
    }
    return true;
}

static bool remove_unwanted(Reconcile *self, GError **error)
{
    GHashTableIter iter;
    gpointer key, value;
    g_hash_table_iter_init(&iter, self->known);
    while (g_hash_table_iter_next(&iter, &key, &value)) {
        StoreBox *box = value;
        if (g_hash_table_contains(self->wanted, key))
            continue;
        if (!remove_row(self, box, error))
            return false;
        g_hash_table_iter_remove(&iter);
    }
    for (guint i = 0; i < self->leaving->len; i++) {
        const StoreBox *box = self->leaving->pdata[i];
        if (!g_hash_table_contains(self->doomed, GUINT_TO_POINTER(box->id)) &&
            !remove_row(self, box, error))
            return false;
    }
    return true;
}

/* --- keep --- */

static char *leaf_key(guint32 parent, const char *leaf)
{
    return g_strdup_printf("%u/%s", parent, leaf);
}

/* The id of the directory a name is in. False when that has no row yet. */
static bool find_parent(Reconcile *self, const Level *level, guint32 *parent_out)
{
    g_autofree char *up = box_parent_name(level->name, level->delimiter);
    StoreBox *row = up != NULL ? g_hash_table_lookup(self->known, up) : NULL;
    if (up != NULL && row == NULL)
        return false;
    *parent_out = row != NULL ? row->id : 0;
    return true;
}

/* It held messages and does not any more: they go, and their numbers are never used for others, as
 * uidvalidity stays. */
static bool hollow_out(Reconcile *self, const StoreBox *row, GError **error)
{
    guint32 id = row->id;
    static const char sql[] =
        "UPDATE box SET uidnext = 0, highestmodseq = 0, n_exists = 0, listed = 0, synced_ns = 0,"
        " permanent_flags = NULL, read_only = 0 WHERE id = ?";
    Query query;
    if (!log_box_removed(self->txn, row, error) || !txn_empty_box(self->txn, id, error) ||
        !txn_open_query(self->txn, &query, sql, error))
        return false;
    query_int(&query, id);
    touch(self, id);
    return txn_run_query(self->txn, &query, error);
}

static bool update_row(Reconcile *self, StoreBox *row, const Level *level, GError **error)
{
    static const char sql[] =
        "UPDATE box SET attributes = ?, delimiter = ?, wire_name = ?, local = ? WHERE id = ?";
    if (row->attributes == level->attributes && row->delimiter == level->delimiter &&
        row->local == level->local && g_strcmp0(row->wire_name, level->wire_name) == 0)
        return true;
    bool turned = ((level->attributes ^ row->attributes) & LIST_NOSELECT) != 0;
    bool hollow = turned && (level->attributes & LIST_NOSELECT) != 0;
    if (turned)
        txn_note_turned(self->txn, row->id);
    row->attributes = level->attributes;
    row->delimiter = level->delimiter;
    Query query;
    if (!txn_open_query(self->txn, &query, sql, error))
        return false;
    query_int(&query, row->attributes);
    query_int(&query, row->delimiter);
    query_text(&query, level->wire_name);
    query_int(&query, level->local);
    query_int(&query, row->id);
    return txn_run_query(self->txn, &query, error) && (!hollow || hollow_out(self, row, error));
}

/* Out of the way, so that names can be exchanged. */
static bool unplace(Reconcile *self, StoreBox *row, GError **error)
{
    static const char sql[] = "UPDATE box SET parent = -1, leaf = name WHERE id = ?";
    Query query;
    touch(self, row->parent);
    if (!txn_open_query(self->txn, &query, sql, error))
        return false;
    query_int(&query, row->id);
    return txn_run_query(self->txn, &query, error);
}

static bool keep_rows(Reconcile *self, GError **error)
{
    GHashTableIter iter;
    gpointer value;
    g_hash_table_iter_init(&iter, self->wanted);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        Level *level = value;
        StoreBox *row = g_hash_table_lookup(self->known, level->name);
        guint32 parent;
        if (row == NULL)
            continue;
        if (!update_row(self, row, level, error))
            return false;
        level->placed = find_parent(self, level, &parent) && parent == row->parent;
        if (level->placed)
            g_hash_table_add(self->leaves, leaf_key(parent, row->leaf));
        else if (!unplace(self, row, error))
            return false;
    }
    return true;
}

/* --- place --- */

/* Two names may have one leaf ("a/b" and "a.b" where namespaces have different delimiters): the
 * second gets a number. Takes the leaf's place. Caller frees. */
static char *take_leaf(Reconcile *self, guint32 parent, const Level *level)
{
    const char *text = level->name + box_last_level(level->name, level->delimiter);
    g_autofree char *base = box_fit_leaf(name_mailbox_level(text));
    char *leaf = g_strdup(base);
    for (guint n = 2; !g_hash_table_add(self->leaves, leaf_key(parent, leaf)); n++) {
        g_free(leaf);
        leaf = box_numbered_leaf(base, n);
    }
    return leaf;
}

static bool move_row(Reconcile *self, StoreBox *row, GError **error)
{
    static const char sql[] = "UPDATE box SET parent = ?, leaf = ? WHERE id = ?";
    Query query;
    if (!txn_open_query(self->txn, &query, sql, error))
        return false;
    query_int(&query, row->parent);
    query_text(&query, row->leaf);
    query_int(&query, row->id);
    return txn_run_query(self->txn, &query, error);
}

static bool insert_row(Reconcile *self, const StoreBox *row, GError **error)
{
    static const char sql[] =
        "INSERT INTO box(id, parent, name, leaf, delimiter, attributes, changed_ns, wire_name)"
        " VALUES(?, ?, ?, ?, ?, ?, ?, ?)";
    Query query;
    if (!txn_open_query(self->txn, &query, sql, error))
        return false;
    query_int(&query, row->id);
    query_int(&query, row->parent);
    query_text(&query, row->name);
    query_text(&query, row->leaf);
    query_int(&query, row->delimiter);
    query_int(&query, row->attributes);
    query_int(&query, row->changed_ns);
    query_text(&query, row->wire_name);
    return txn_run_query(self->txn, &query, error);
}

static StoreBox *make_row(Reconcile *self, const Level *level, GError **error)
{
    guint32 id = box_ids_take(&self->ids, self->txn);
    if (id == 0) {
        txn_refuse(self->txn, error, IMAPFS_ERROR_TOO_BIG, "there are no mailbox numbers left");
        return NULL;
    }
    StoreBox *row = g_new0(StoreBox, 1);
    row->id = id;
    row->name = g_strdup(level->name);
    row->wire_name = g_strdup(level->wire_name);
    row->delimiter = level->delimiter;
    row->attributes = level->attributes;
    row->changed_ns = self->now_ns;
    g_hash_table_insert(self->known, row->name, row);
    return row;
}

static bool place(Reconcile *self, Level *level, GError **error)
{
    StoreBox *row = g_hash_table_lookup(self->known, level->name);
    bool is_new = row == NULL;
    if (is_new && (row = make_row(self, level, error)) == NULL)
        return false;
    guint32 parent = 0;
    if (!find_parent(self, level, &parent)) /* cannot be: parents come first */
        return txn_refuse(self->txn, error, IMAPFS_ERROR_STORE, "a mailbox has lost its parent");
    row->parent = parent;
    g_free(row->leaf);
    row->leaf = take_leaf(self, parent, level);
    touch(self, parent);
    if (!(is_new ? insert_row(self, row, error) : move_row(self, row, error)))
        return false;
    if (is_new && self->added_out != NULL) {
        StoreBox copy = box_copy(row);
        g_array_append_val(self->added_out, copy);
    }
    return true;
}

static gint by_depth(gconstpointer a, gconstpointer b)
{
    const Level *one = *(Level *const *)a, *two = *(Level *const *)b;
    return one->depth != two->depth ? (one->depth < two->depth ? -1 : 1)
                                    : strcmp(one->name, two->name);
}

static bool place_rest(Reconcile *self, GError **error)
{
    g_autoptr(GPtrArray) rest = g_ptr_array_new();
    GHashTableIter iter;
    gpointer value;
    g_hash_table_iter_init(&iter, self->wanted);
    while (g_hash_table_iter_next(&iter, NULL, &value))
        if (!((Level *)value)->placed)
            g_ptr_array_add(rest, value);
    g_ptr_array_sort(rest, by_depth);
    for (guint i = 0; i < rest->len; i++)
        if (!place(self, rest->pdata[i], error))
            return false;
    return true;
}

/* --- finish --- */

static bool finish(Reconcile *self, GError **error)
{
    static const char sql[] = "UPDATE account SET boxes_synced_ns = ?";
    GHashTableIter iter;
    gpointer key;
    g_hash_table_iter_init(&iter, self->touched);
    while (g_hash_table_iter_next(&iter, &key, NULL))
        if (!box_bump(self->txn, GPOINTER_TO_UINT(key), self->now_ns, error))
            return false;
    Query query;
    if (!txn_open_query(self->txn, &query, sql, error))
        return false;
    query_int(&query, self->now_ns);
    return txn_run_query(self->txn, &query, error) && box_ids_save(self->txn, &self->ids, error);
}

static bool run(Reconcile *self, const StoreListing *listings, guint n, GError **error)
{
    g_autoptr(GPtrArray) entries = box_overlay(self->txn, listings, n, error);
    for (guint i = 0; entries != NULL && i < entries->len; i++)
        if (!want_entry(self, entries->pdata[i], error))
            return false;
    return entries != NULL && load(self, error) && remove_unwanted(self, error) &&
           keep_rows(self, error) && place_rest(self, error) && finish(self, error);
}

bool store_boxes_reconcile(StoreTxn *txn, const StoreListing *listings, guint n, gint64 now_ns,
                           GArray *added_out, GArray *removed_out, GError **error)
{
    Reconcile self = {
        .txn = txn,
        .now_ns = now_ns,
        .wanted = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, level_free),
        .known = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, box_free),
        .leaves = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL),
        .touched = g_hash_table_new(g_direct_hash, g_direct_equal),
        .doomed = g_hash_table_new(g_direct_hash, g_direct_equal),
        .leaving = g_ptr_array_new_with_free_func(box_free),
        .added_out = added_out,
        .removed_out = removed_out,
    };
    bool ok = run(&self, listings, n, error);
    g_hash_table_unref(self.wanted);
    g_hash_table_unref(self.known);
    g_hash_table_unref(self.leaves);
    g_hash_table_unref(self.touched);
    g_hash_table_unref(self.doomed);
    g_ptr_array_unref(self.leaving);
    box_ids_clear(&self.ids);
    return ok;
}

/* --- renew --- */

static bool renumber(StoreTxn *txn, guint32 from, guint32 to, guint32 uidvalidity, GError **error)
{
    static const char sql_row[] =
        "UPDATE box SET id = ?, uidvalidity = ?, uidnext = 0, highestmodseq = 0, n_exists = 0,"
        " listed = 0, synced_ns = 0, permanent_flags = NULL, read_only = 0 WHERE id = ?";
    static const char sql_children[] = "UPDATE box SET parent = ? WHERE parent = ?";
    Query query;
    if (!txn_open_query(txn, &query, sql_row, error))
        return false;
    query_int(&query, to);
    query_int(&query, uidvalidity);
    query_int(&query, from);
    if (!txn_run_query(txn, &query, error) || !txn_open_query(txn, &query, sql_children, error))
        return false;
    query_int(&query, to);
    query_int(&query, from);
    return txn_run_query(txn, &query, error);
}

bool store_box_renew(StoreTxn *txn, guint32 box, guint32 uidvalidity, gint64 now_ns,
                     guint32 *new_id_out, GError **error)
{
    StoreBox row;
    if (!store_box_by_id(&txn->reader, box, &row))
        return txn_refuse(txn, error, IMAPFS_ERROR_NOT_FOUND, "mailbox %u is not known", box);
    guint32 parent = row.parent;
    store_box_clear(&row);
    BoxIds ids = {0};
    bool ok = box_ids_load(txn, &ids, error);
    guint32 id = ok ? box_ids_take(&ids, txn) : 0;
    if (ok && id == 0)
        ok = txn_refuse(txn, error, IMAPFS_ERROR_TOO_BIG, "there are no mailbox numbers left");
    ok = ok && log_box_renewed(txn, box, id, error) && txn_empty_box(txn, box, error) &&
         renumber(txn, box, id, uidvalidity, error) && box_bump(txn, id, now_ns, error) &&
         box_bump(txn, parent, now_ns, error) && box_ids_save(txn, &ids, error);
    box_ids_clear(&ids);
    if (ok)
        *new_id_out = id;
    return ok;
}
