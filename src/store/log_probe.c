/* log_probe.c - what was sent and not answered: whether it is there.
 *
 * The rule: a message of the target stands for one operation only, and only one that came there
 * since the fence. What is not found is sent again, so a wish is never taken for a fact; what is
 * found is never sent again, so nothing is doubled. */
#include "log_private.h"

#include <string.h>
#include "imapfs/base/error.h"

typedef struct {
    guint32 uid;
    char *emailid, *message_id, *name;
    gint64 internaldate;
    guint64 size;
    bool taken;
} Candidate;

typedef struct {
    StoreTxn *txn;
    const StoreBox *box;
    GPtrArray *all;         /* of Candidate, ascending by uid; owned */
    GHashTable *by_emailid; /* -> GPtrArray of Candidate */
    GHashTable *by_text;    /* Message-ID, or "" and what else there is -> the same */
    guint *found, *queued, *parked;
} Probe;

static void candidate_free(gpointer data)
{
    Candidate *self = data;
    g_free(self->emailid);
    g_free(self->message_id);
    g_free(self->name);
    g_free(self);
}

static void unref_array(gpointer array)
{
    g_ptr_array_unref(array);
}

/* Without a Message-ID it is the same as one that has none either, if all that is shown is. */
static char *text_key(const char *message_id, const char *name, gint64 internaldate)
{
    if (message_id != NULL && message_id[0] != '\0')
        return g_strdup(message_id);
    return g_strdup_printf("\n%" G_GINT64_FORMAT "\n%s", internaldate, name != NULL ? name : "");
}

/* --- candidates --- */

static void add_under(GHashTable *table, char *key, Candidate *candidate)
{
    GPtrArray *list = g_hash_table_lookup(table, key);
    if (list == NULL) {
        list = g_ptr_array_new();
        g_hash_table_insert(table, key, list);
    } else {
        g_free(key);
    }
    g_ptr_array_add(list, candidate);
}

static bool add_candidate(const StoreMsg *msg, gpointer data)
{
    Probe *self = data;
    Candidate *candidate = g_new0(Candidate, 1);
    candidate->uid = msg->uid;
    candidate->emailid = g_strdup(msg->emailid);
    candidate->message_id = g_strdup(msg->message_id);
    candidate->name = g_strdup(msg->name);
    candidate->internaldate = msg->internaldate;
    candidate->size = msg->size;
    g_ptr_array_add(self->all, candidate);
    if (msg->emailid != NULL)
        add_under(self->by_emailid, g_strdup(msg->emailid), candidate);
    add_under(self->by_text, text_key(msg->message_id, msg->name, msg->internaldate), candidate);
    return true;
}

/* What the server gave numbers to for other operations stands for those. */
static bool take_numbered(Probe *self, GError **error)
{
    static const char sql[] = "SELECT to_uid FROM went WHERE to_box = ? AND box = " LOG_SQL_PENDING;
    g_autoptr(GHashTable) taken = g_hash_table_new(g_direct_hash, g_direct_equal);
    Query query;
    if (!txn_open_query(self->txn, &query, sql, error))
        return false;
    query_int(&query, self->box->id);
    while (query_step(&query))
        g_hash_table_add(taken, GUINT_TO_POINTER((guint)query_get_int(&query, 0)));
    if (!txn_close_query(self->txn, &query, error))
        return false;
    for (guint i = 0; i < self->all->len; i++) {
        Candidate *candidate = self->all->pdata[i];
        candidate->taken = g_hash_table_contains(taken, GUINT_TO_POINTER(candidate->uid));
    }
    return true;
}

/* From where on a message can be what an operation placed. */
static guint32 floor_of(const Probe *self, const LogOp *op)
{
    return op->fence_uidvalidity == self->box->uidvalidity ? op->fence_uidnext : 1;
}

static bool read_candidates(Probe *self, const GPtrArray *ops, GError **error)
{
    guint32 floor = G_MAXUINT32;
    for (guint i = 0; i < ops->len; i++)
        floor = MIN(floor, MAX(floor_of(self, ops->pdata[i]), 1));
    store_msg_each(&self->txn->reader, self->box->id, floor - 1, add_candidate, self);
    return log_check_reads(self->txn, error) && take_numbered(self, error);
}

/* --- matching --- */

static bool same_emailid(const Candidate *candidate, const LogOp *op)
{
    return candidate->emailid != NULL && op->emailid != NULL &&
           strcmp(candidate->emailid, op->emailid) == 0;
}

/* Both have one, and they differ. An APPEND has none yet. */
static bool other_emailid(const Candidate *candidate, const LogOp *op)
{
    return candidate->emailid != NULL && op->emailid != NULL && !same_emailid(candidate, op);
}

/* exact: of the same size; else any, if it is the only one. */
static Candidate *pick(const Probe *self, GPtrArray *list, const LogOp *op, bool by_emailid,
                       bool exact)
{
    Candidate *one = NULL;
    for (guint i = 0; list != NULL && i < list->len; i++) {
        Candidate *candidate = list->pdata[i];
        if (candidate->taken || candidate->uid < floor_of(self, op) ||
            (!by_emailid && other_emailid(candidate, op)) || (exact && candidate->size != op->size))
            continue;
        if (exact || by_emailid)
            return candidate; /* the lowest: they are all the same */
        if (one != NULL)
            return NULL;
        one = candidate;
    }
    return one;
}

/* An APPEND may have been rewritten by the server, so that its size differs: then a Message-ID that
 * only one has is enough. */
static Candidate *find(const Probe *self, const LogOp *op)
{
    Candidate *found = NULL;
    if (op->emailid != NULL)
        found = pick(self, g_hash_table_lookup(self->by_emailid, op->emailid), op, true, false);
    if (found != NULL)
        return found;
    g_autofree char *key = text_key(op->message_id, op->name, op->internaldate);
    GPtrArray *list = g_hash_table_lookup(self->by_text, key);
    found = pick(self, list, op, false, true);
    if (found == NULL && op->kind == LOG_APPEND && key[0] != '\n')
        found = pick(self, list, op, false, false);
    return found;
}

static bool resolve(Probe *self, const LogOp *op, GError **error)
{
    Candidate *found = find(self, op);
    if (found != NULL) {
        found->taken = true;
        (*self->found)++;
        return log_placed(self->txn, op->seq, self->box->uidvalidity, found->uid, true, error);
    }
    if (!log_requeue(self->txn, op->seq, op->attempts, 0, NULL, error))
        return false;
    g_autoptr(LogOp) now = log_load(self->txn, op->seq, error);
    if (now != NULL && now->state == LOG_FAILED)
        (*self->parked)++;
    else if (now != NULL)
        (*self->queued)++;
    return !self->txn->failed;
}

/* --- the call --- */

static bool probe(Probe *self, const GPtrArray *ops, GError **error)
{
    if (!read_candidates(self, ops, error))
        return false;
    for (guint i = 0; i < ops->len; i++)
        if (!resolve(self, ops->pdata[i], error))
            return false;
    return true;
}

static GPtrArray *unsure_of(StoreTxn *txn, guint32 box, GError **error)
{
    static const char sql[] = "SELECT " LOG_COLUMNS " FROM log WHERE to_box != 0 AND to_box = ?"
                              " AND state = 6 /* UNSURE */ AND kind IN (1, 2, 4) ORDER BY seq";
    return log_read_ops_of(txn, sql, box, error);
}

bool log_probe(StoreTxn *txn, guint32 box, guint *found_out, guint *queued_out, guint *parked_out,
               GError **error)
{
    *found_out = *queued_out = *parked_out = 0;
    g_autoptr(GPtrArray) ops = unsure_of(txn, box, error);
    if (ops == NULL)
        return false;
    StoreBox row;
    if (ops->len == 0 || !store_box_by_id(&txn->reader, box, &row))
        return log_check_reads(txn, error);
    Probe self = {
        .txn = txn,
        .box = &row,
        .all = g_ptr_array_new_with_free_func(candidate_free),
        .by_emailid = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, unref_array),
        .by_text = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, unref_array),
        .found = found_out,
        .queued = queued_out,
        .parked = parked_out,
    };
    bool ok = !row.listed || probe(&self, ops, error);
    g_hash_table_unref(self.by_emailid);
    g_hash_table_unref(self.by_text);
    g_ptr_array_unref(self.all);
    store_box_clear(&row);
    return ok;
}
