/* box_overlay.c - what LIST said, with what is pending about mailboxes laid over it.
 *
 * The rule: LIST is the server's word, so what was sent and not answered is decided by it (REPLAY
 * 1.5): a mailbox that is there was made, one that is not was removed, and of two names of one the
 * one that is there is its name. What is then still pending changes the list as it will change the
 * server, in the order in which it was logged; what cannot come true any more is parked. */
#include "box_private.h"

#include <string.h>
#include "imapfs/wire/response.h"

static void entry_free(gpointer data)
{
    BoxEntry *entry = data;
    g_free(entry->name);
    g_free(entry->wire_name);
    g_free(entry);
}

typedef struct {
    StoreTxn *txn;
    const StoreListing *listings;
    guint n;
    GPtrArray *entries; /* of BoxEntry */
    bool settled;       /* an operation came to its end: begin again */
} Overlay;

/* --- entries --- */

static BoxEntry *add_entry(Overlay *self, const char *name, char delimiter, guint32 attributes)
{
    BoxEntry *entry = g_new0(BoxEntry, 1);
    entry->name = g_strdup(name);
    entry->delimiter = delimiter;
    entry->attributes = attributes;
    g_ptr_array_add(self->entries, entry);
    return entry;
}

static void add_listing(Overlay *self, const StoreListing *listing)
{
    if (listing->name == NULL || listing->name[0] == '\0')
        return;
    BoxEntry *entry =
        add_entry(self, listing->name, listing->delimiter > 0 ? listing->delimiter : '\0',
                  listing->attributes);
    gsize length = strlen(entry->name);
    /* "Public/" is how some servers list a place that only holds others. */
    if ((entry->attributes & (LIST_NOSELECT | LIST_NONEXISTENT)) != 0 && length > 1 &&
        entry->name[length - 1] == entry->delimiter)
        entry->name[length - 1] = '\0';
    entry->wire_name = g_strdup(entry->name);
}

/* What is there under this name, for the server or for who looks; not what is doomed. */
static BoxEntry *find(const Overlay *self, const char *name, bool on_wire)
{
    for (guint i = 0; name != NULL && i < self->entries->len; i++) {
        BoxEntry *entry = self->entries->pdata[i];
        const char *its = on_wire ? entry->wire_name : entry->name;
        if (!entry->doomed && g_strcmp0(its, name) == 0)
            return entry;
    }
    return NULL;
}

static BoxEntry *find_of(const Overlay *self, const StoreBox *box)
{
    for (guint i = 0; box->local && i < self->entries->len; i++)
        if (((const BoxEntry *)self->entries->pdata[i])->box == box->id)
            return self->entries->pdata[i];
    return box->local ? NULL : find(self, box->wire_name, true);
}

/* --- what LIST settles --- */

static bool done(Overlay *self, const LogOp *op, GError **error)
{
    self->settled = true;
    return log_box_done(self->txn, op, error);
}

static bool park(Overlay *self, const LogOp *op, const char *reason, GError **error)
{
    self->settled = true;
    self->txn->effects.parked++;
    return log_park(self->txn, op->seq, reason, error);
}

/* It was not done: it is to be sent again. */
static bool queue_again(Overlay *self, const LogOp *op, GError **error)
{
    return op->state != LOG_UNSURE || log_set_state(self->txn, op->seq, LOG_QUEUED, NULL, error);
}

/* Another's mailbox of this name, that is on its way out, is not this one. */
static bool is_anothers(Overlay *self, const char *name)
{
    StoreBox other = {0};
    bool found = store_box_by_wire_name(&self->txn->reader, name, &other);
    store_box_clear(&other);
    return found;
}

static bool lay_making(Overlay *self, const LogOp *op, const StoreBox *box, GError **error)
{
    BoxEntry *there = find(self, op->mailbox, true);
    if (there != NULL && !(there->attributes & LIST_NONEXISTENT) && !is_anothers(self, op->mailbox))
        return done(self, op, error);
    if (!box->local) /* made, and LIST does not have it any more */
        return done(self, op, error);
    if (find(self, op->mailbox, false) != NULL && there != find(self, op->mailbox, false))
        return park(self, op, "there is another mailbox of that name", error);
    if (!queue_again(self, op, error))
        return false;
    BoxEntry *entry = add_entry(self, op->mailbox, box->delimiter, box->attributes);
    entry->box = box->id;
    return true;
}

static bool lay_removal(Overlay *self, const LogOp *op, const StoreBox *box, GError **error)
{
    BoxEntry *entry = find_of(self, box);
    bool selectable = entry != NULL && !(entry->attributes & (LIST_NOSELECT | LIST_NONEXISTENT));
    if (entry == NULL || (op->state == LOG_UNSURE && !selectable))
        return done(self, op, error);
    if (!queue_again(self, op, error))
        return false;
    entry->doomed = true;
    entry->box = box->id;
    return true;
}

/* A level that only holds others is not in the way of a mailbox. */
static bool is_taken(const BoxEntry *entry)
{
    return entry != NULL && !(entry->attributes & LIST_NONEXISTENT);
}

static bool lay_renaming(Overlay *self, const LogOp *op, const StoreBox *box, GError **error)
{
    BoxEntry *entry = find_of(self, box), *there = find(self, op->target, false);
    if (entry == NULL && is_taken(there) && !is_anothers(self, op->target))
        return done(self, op, error);
    if (entry == NULL)
        return park(self, op, "its mailbox is no longer on the server", error);
    if (is_taken(there))
        return park(self, op, "there is another mailbox of that name", error);
    if (!queue_again(self, op, error))
        return false;
    g_autofree char *from = g_strdup(entry->name);
    for (guint i = 0; i < self->entries->len; i++) {
        BoxEntry *one = self->entries->pdata[i];
        char *name =
            one->doomed ? NULL : box_moved_name(one->name, from, op->target, box->delimiter);
        if (name == NULL)
            continue;
        g_free(one->name);
        one->name = name;
    }
    return true;
}

/* Its mailbox has no row any more: nothing can come of it. */
static bool lay_nothing(Overlay *self, const LogOp *op, GError **error)
{
    if (op->kind == LOG_RMBOX)
        return done(self, op, error);
    return park(self, op, "its mailbox is no longer on the server", error);
}

static bool lay(Overlay *self, const LogOp *op, GError **error)
{
    static bool (*const kinds[])(Overlay *, const LogOp *, const StoreBox *, GError **) = {
        [LOG_MKBOX] = lay_making, [LOG_RMBOX] = lay_removal, [LOG_RENBOX] = lay_renaming};
    StoreBox box = {0};
    if (!store_box_by_id(&self->txn->reader, op->box, &box))
        return log_check_reads(self->txn, error) && lay_nothing(self, op, error);
    bool ok = kinds[op->kind](self, op, &box, error);
    store_box_clear(&box);
    return ok;
}

/* From the list to what is shown, or to the first operation that this ends. */
static bool run(Overlay *self, GError **error)
{
    g_autoptr(GPtrArray) ops = log_box_ops(self->txn, 0, error);
    self->settled = false;
    g_ptr_array_set_size(self->entries, 0);
    for (guint i = 0; i < self->n; i++)
        add_listing(self, &self->listings[i]);
    for (guint i = 0; ops != NULL && i < ops->len && !self->settled; i++)
        if (!lay(self, ops->pdata[i], error))
            return false;
    return ops != NULL;
}

GPtrArray *box_overlay(StoreTxn *txn, const StoreListing *listings, guint n, GError **error)
{
    g_autoptr(GPtrArray) entries = g_ptr_array_new_with_free_func(entry_free);
    Overlay self = {txn, listings, n, entries, false};
    do {
        if (!run(&self, error))
            return NULL;
    } while (self.settled); /* each time there is one less */
    return g_steal_pointer(&entries);
}
