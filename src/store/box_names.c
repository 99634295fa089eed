/* box_names.c - names of mailboxes and their levels, and the rows under them.
 *
 * The rule: a mailbox has two names. `name` is the one it is shown by, which the log may have
 * changed; `wire_name` is the one the server knows it by, which only the server changes. Its number
 * is neither's: whatever it is called, it keeps that, and all that is kept under it. */
#include "box_private.h"

#include <string.h>
#include "imapfs/base/error.h"
#include "imapfs/base/limits.h"
#include "imapfs/mime/name.h"

/* --- names --- */

gsize box_last_level(const char *name, char delimiter)
{
    gsize start = name[0] == BOX_RAW_MARK ? 1 : 0;
    const char *at = delimiter > 0 ? strrchr(name, delimiter) : NULL;
    return at == NULL || (gsize)(at - name) <= start ? 0 : (gsize)(at - name) + 1;
}

/* A raw name's upper levels are raw only if they need to be: as they would have been decoded. */
static void unmark(char *name, char delimiter)
{
    if (name[0] != BOX_RAW_MARK)
        return;
    for (const char *at = name + 1; *at != '\0'; at++)
        if (*at < 0x20 || *at > 0x7e || *at == '&')
            return;
    memmove(name, name + 1, strlen(name));
    if (g_ascii_strncasecmp(name, "INBOX", 5) == 0 && (name[5] == '\0' || name[5] == delimiter))
        memcpy(name, "INBOX", 5);
}

char *box_parent_name(const char *name, char delimiter)
{
    gsize level = box_last_level(name, delimiter);
    if (level == 0)
        return NULL;
    char *out = g_strndup(name, level - 1);
    unmark(out, delimiter);
    return out;
}

guint box_depth(const char *name, char delimiter)
{
    guint depth = 0;
    for (g_autofree char *at = g_strdup(name); depth <= LIMIT_MAILBOX_DEPTH; depth++) {
        char *up = box_parent_name(at, delimiter);
        if (up == NULL)
            break;
        g_free(at);
        at = up;
    }
    return depth;
}

bool box_is_below(const char *name, const char *top, char delimiter)
{
    gsize length = strlen(top);
    return delimiter > 0 && strncmp(name, top, length) == 0 && name[length] == delimiter;
}

char *box_moved_name(const char *name, const char *top, const char *to, char delimiter)
{
    if (strcmp(name, top) != 0 && !box_is_below(name, top, delimiter))
        return NULL;
    return g_strconcat(to, name + strlen(top), NULL);
}

/* A cut one ends in a checksum of the whole. */
char *box_fit_leaf(char *leaf)
{
    gsize length = strlen(leaf);
    if (length <= LIMIT_NAME)
        return leaf;
    g_autofree char *sum = g_compute_checksum_for_string(G_CHECKSUM_SHA256, leaf, -1);
    gsize keep = LIMIT_NAME - 10;
    while (keep > 0 && ((guchar)leaf[keep] & 0xc0) == 0x80)
        keep--;
    char *out = g_strdup_printf("%.*s~%.8s", (int)keep, leaf, sum);
    g_free(leaf);
    return out;
}

char *box_numbered_leaf(const char *leaf, guint n)
{
    int keep = MIN((int)strlen(leaf), LIMIT_NAME - 14);
    while (keep > 0 && leaf[keep] != '\0' && ((guchar)leaf[keep] & 0xc0) == 0x80)
        keep--;
    return g_strdup_printf("%.*s (%u)", keep, leaf, n);
}

/* --- reading rows --- */

void box_each_row(StoreReader *reader, StoreBoxFunc f, gpointer data)
{
    static const char sql[] = "SELECT " BOX_COLUMNS " FROM box ORDER BY id";
    Query query;
    if (!reader_open_query(reader, &query, sql))
        return;
    while (query_step(&query)) {
        StoreBox box;
        box_borrow(&query, &box);
        if (!f(&box, data))
            break;
    }
    reader_close_query(reader, &query);
}

static bool note_child(const StoreBox *box, gpointer data)
{
    *(bool *)data = true;
    return false;
}

bool box_has_children(StoreReader *reader, guint32 box)
{
    bool found = false;
    store_box_children(reader, box, 0, note_child, &found);
    return found;
}

/* --- writing rows --- */

static bool is_free(StoreTxn *txn, guint32 parent, const char *leaf)
{
    StoreBox other = {0};
    bool taken = store_box_by_leaf(&txn->reader, parent, leaf, &other);
    store_box_clear(&other);
    return !taken;
}

/* The file name of the last level of a name, that nothing else in the directory has. */
static char *free_leaf(StoreTxn *txn, guint32 parent, const char *name, char delimiter)
{
    g_autofree char *base =
        box_fit_leaf(name_mailbox_level(name + box_last_level(name, delimiter)));
    char *leaf = g_strdup(base);
    for (guint n = 2; !is_free(txn, parent, leaf); n++) {
        g_free(leaf);
        leaf = box_numbered_leaf(base, n);
    }
    return leaf;
}

static bool insert_local(StoreTxn *txn, guint32 id, guint32 parent, const char *name,
                         const char *leaf, char delimiter, gint64 now_ns, GError **error)
{
    static const char sql[] =
        "INSERT INTO box(id, parent, name, leaf, delimiter, attributes, changed_ns, listed, local)"
        " VALUES(?, ?, ?, ?, ?, 0, ?, 1, 1)";
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_int(&query, id);
    query_int(&query, parent);
    query_text(&query, name);
    query_text(&query, leaf);
    query_int(&query, delimiter);
    query_int(&query, now_ns);
    return txn_run_query(txn, &query, error);
}

bool box_add_local(StoreTxn *txn, const StoreBox *parent, const char *name, char delimiter,
                   gint64 now_ns, guint32 *id_out, GError **error)
{
    guint32 above = parent != NULL ? parent->id : 0;
    g_autofree char *leaf = free_leaf(txn, above, name, delimiter);
    BoxIds ids = {0};
    bool ok = box_ids_load(txn, &ids, error);
    *id_out = ok ? box_ids_take(&ids, txn) : 0;
    if (ok && *id_out == 0)
        ok = txn_refuse(txn, error, IMAPFS_ERROR_TOO_BIG, "there are no mailbox numbers left");
    ok = ok && box_ids_save(txn, &ids, error) &&
         insert_local(txn, *id_out, above, name, leaf, delimiter, now_ns, error) &&
         box_bump(txn, above, now_ns, error);
    box_ids_clear(&ids);
    txn_note_name(txn, above, leaf, 0);
    return ok;
}

static bool place_row(StoreTxn *txn, guint32 box, guint32 parent, const char *leaf, GError **error)
{
    static const char sql[] = "UPDATE box SET parent = ?, leaf = ? WHERE id = ?";
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_int(&query, parent);
    query_text(&query, leaf);
    query_int(&query, box);
    return txn_run_query(txn, &query, error);
}

static bool rename_rows(StoreTxn *txn, const char *sql, const char *from, const char *to,
                        char delimiter, GError **error)
{
    char between[2] = {delimiter, '\0'};
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_text(&query, from);
    query_text(&query, to);
    query_text(&query, between);
    return txn_run_query(txn, &query, error);
}

bool box_rename(StoreTxn *txn, const StoreBox *box, const char *name, gint64 now_ns, bool *done_out,
                GError **error)
{
    static const char sql[] =
        "UPDATE box SET name = ?2 || substr(name, length(?1) + 1)"
        " WHERE doomed = 0"
        " AND (name = ?1 OR (?3 != '' AND substr(name, 1, length(?1) + 1) = ?1 || ?3))";
    g_autofree char *up = box_parent_name(name, box->delimiter);
    StoreBox above = {0}, other = {0};
    *done_out = !store_box_by_name(&txn->reader, name, &other);
    store_box_clear(&other);
    if (!*done_out)
        return true;
    if (up != NULL)
        store_box_by_name(&txn->reader, up, &above); /* else at the top, until LIST is laid anew */
    guint32 parent = above.id;
    store_box_clear(&above);
    g_autofree char *leaf = free_leaf(txn, parent, name, box->delimiter);
    bool ok = rename_rows(txn, sql, box->name, name, box->delimiter, error) &&
              place_row(txn, box->id, parent, leaf, error) &&
              box_bump(txn, box->parent, now_ns, error) && box_bump(txn, parent, now_ns, error);
    txn_note_name(txn, box->parent, box->leaf, 0);
    txn_note_name(txn, parent, leaf, box->id);
    return ok;
}

bool box_rename_on_server(StoreTxn *txn, const char *from, const char *to, char delimiter,
                          GError **error)
{
    static const char sql[] = "UPDATE box SET wire_name = ?2 || substr(wire_name, length(?1) + 1)"
                              " WHERE wire_name = ?1"
                              " OR (?3 != '' AND substr(wire_name, 1, length(?1) + 1) = ?1 || ?3)";
    return rename_rows(txn, sql, from, to, delimiter, error);
}

bool box_set_made(StoreTxn *txn, guint32 box, const char *wire_name, GError **error)
{
    static const char sql[] = "UPDATE box SET local = 0, wire_name = ? WHERE id = ?";
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_text(&query, wire_name);
    query_int(&query, box);
    return txn_run_query(txn, &query, error);
}

static bool write_doomed(StoreTxn *txn, guint32 box, bool doomed, GError **error)
{
    static const char sql[] = "UPDATE box SET doomed = ? WHERE id = ?";
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_int(&query, doomed);
    query_int(&query, box);
    return txn_run_query(txn, &query, error);
}

/* Where it is shown again: in the directory that it was in, whatever that is called now. */
static bool show_again(StoreTxn *txn, const StoreBox *box, GError **error)
{
    static const char sql[] = "UPDATE box SET name = ?, parent = ?, leaf = ? WHERE id = ?";
    StoreBox above = {0};
    bool has = box->parent != 0 && store_box_by_id(&txn->reader, box->parent, &above);
    const char *level = box->name + box_last_level(box->name, box->delimiter);
    g_autofree char *name =
        has ? g_strdup_printf("%s%c%s", above.name, above.delimiter, level) : g_strdup(box->name);
    guint32 parent = above.id;
    store_box_clear(&above);
    g_autofree char *leaf = free_leaf(txn, parent, name, box->delimiter);
    Query query;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    query_text(&query, name);
    query_int(&query, parent);
    query_text(&query, leaf);
    query_int(&query, box->id);
    if (!txn_run_query(txn, &query, error))
        return false;
    txn_note_name(txn, parent, leaf, box->id);
    return true;
}

bool box_set_doomed(StoreTxn *txn, const StoreBox *box, bool doomed, gint64 now_ns, GError **error)
{
    if (doomed)
        txn_note_name(txn, box->parent, box->leaf, 0);
    return (doomed || show_again(txn, box, error)) && write_doomed(txn, box->id, doomed, error) &&
           box_bump(txn, box->parent, now_ns, error);
}

bool box_delete(StoreTxn *txn, const StoreBox *box, GError **error)
{
    static const char sql[] = "DELETE FROM box WHERE id = ?";
    Query query;
    if (!log_box_removed(txn, box, error) || !txn_empty_box(txn, box->id, error) ||
        !txn_open_query(txn, &query, sql, error))
        return false;
    query_int(&query, box->id);
    return txn_run_query(txn, &query, error);
}
