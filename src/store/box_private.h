/* box_private.h - what the files share that lay the log over the mailboxes: names and their rows
 * (box_names.c), what is logged about them (log_boxes.c), what becomes of it (box_undo.c), LIST
 * (box_overlay.c, reconcile.c). */
#pragma once
#include "log_private.h"

/* --- names (box_names.c) --- */

#define BOX_RAW_MARK                                                            \
    '\001' /* in front of names that could not be decoded (wire/mailbox_name.h) \
            */

/* Where the last level begins in a name; 0 when the name is at the top. A delimiter in front of
 * everything belongs to the first level. */
gsize box_last_level(const char *name, char delimiter);
/* NULL at the top. Caller frees. */
char *box_parent_name(const char *name, char delimiter);
guint box_depth(const char *name, char delimiter);
bool box_is_below(const char *name, const char *top, char delimiter);
/* A name that is top, or below it, with another in the place of top; else NULL. Caller frees. */
char *box_moved_name(const char *name, const char *top, const char *to, char delimiter);
/* At most LIMIT_NAME bytes. Takes, and returns what the caller frees. */
char *box_fit_leaf(char *leaf);
/* The n-th with this name in a directory, from 2 on. Caller frees. */
char *box_numbered_leaf(const char *leaf, guint n);

/* --- rows (box_names.c) --- */

/* All rows, also those that nobody is shown. */
void box_each_row(StoreReader *reader, StoreBoxFunc f, gpointer data);
/* Whether something is shown in a mailbox's directory that is a mailbox. */
bool box_has_children(StoreReader *reader, guint32 box);
/* A mailbox that is here only, empty. parent: its row, or NULL. */
bool box_add_local(StoreTxn *txn, const StoreBox *parent, const char *name, char delimiter,
                   gint64 now_ns, guint32 *id_out, GError **error);
/* Renames what is shown: this row and those below, which stay what they are. *done_out false: the
 * name is taken. */
bool box_rename(StoreTxn *txn, const StoreBox *box, const char *name, gint64 now_ns, bool *done_out,
                GError **error);
/* The server renamed it: the names that it knows. */
bool box_rename_on_server(StoreTxn *txn, const char *from, const char *to, char delimiter,
                          GError **error);
bool box_set_made(StoreTxn *txn, guint32 box, const char *wire_name, GError **error);
bool box_set_doomed(StoreTxn *txn, const StoreBox *box, bool doomed, gint64 now_ns, GError **error);
/* With all that is in it and was logged for it. */
bool box_delete(StoreTxn *txn, const StoreBox *box, GError **error);

/* --- what is pending about mailboxes (log_boxes.c) --- */

/* Of LogOp, ascending, seq > after, but for what is parked; NULL: the read failed. */
GPtrArray *log_box_ops(StoreTxn *txn, guint32 after, GError **error);
bool log_set_names(StoreTxn *txn, const LogOp *op, const char *mailbox, const char *target,
                   GError **error);

/* --- what becomes of it (box_undo.c) --- */

/* It is taken out of what is shown; what builds on it is parked. The operation itself stays. */
bool log_box_undo(StoreTxn *txn, const LogOp *op, GError **error);

/* --- LIST (box_overlay.c) --- */

/* A mailbox as LIST has it, or as it will. */
typedef struct {
    char *name;      /* shown */
    char *wire_name; /* NULL: it is here only */
    char delimiter;
    guint32 attributes;
    guint32 box; /* doomed, or here only: whose row it is; else 0 */
    bool doomed;
} BoxEntry;
/* Of BoxEntry: what LIST said, with what is pending laid over it. What LIST answers of that (it was
 * done after all, it cannot be done) is settled. Caller unrefs; NULL: error. */
GPtrArray *box_overlay(StoreTxn *txn, const StoreListing *listings, guint n, GError **error);
