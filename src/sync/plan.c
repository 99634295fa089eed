/* plan.c - the fewest UID STORE commands that bring a batch of flag changes to the server.
 *
 * The rule: only deltas (+FLAGS, -FLAGS), never a message's whole list, so that what others set
 * stands. No flag of an operation is both set and cleared, and there is one operation a message:
 * the order of the commands does not matter. */
#include "replay.h"

#include <string.h>

#include "imapfs/base/limits.h"

#define STORE_OVERHEAD 64 /* tag, verb, item and parentheses */

/* --- items --- */

/* Adds to out what is in both. */
static void flags_common(const Flags *a, const Flags *b, Flags *out)
{
    g_auto(Flags) only_a = {0};
    flags_add_all(&only_a, a);
    flags_remove_all(&only_a, b);
    g_auto(Flags) both = {0};
    flags_add_all(&both, a);
    flags_remove_all(&both, &only_a);
    flags_add_all(out, &both);
}

/* What of the wish the mailbox is known not to keep (PERMANENTFLAGS, RFC 9051 7.1). */
static void find_denied(Item *item, const StoreBox *box)
{
    g_auto(Flags) permanent = {0};
    if (!box->permanent_flags) /* not told: all are kept */
        return;
    flags_parse(&permanent, box->permanent_flags);
    flags_add_all(&item->denied, &item->set);
    flags_add_all(&item->denied, &item->clear);
    flags_remove_all(&item->denied, &permanent);
    if (permanent.system & FLAG_ANY_KEYWORD && item->denied.keywords)
        g_clear_pointer(&item->denied.keywords, g_ptr_array_unref);
}

Item *item_new(const LogOp *op, const StoreBox *box)
{
    Item *item = g_new0(Item, 1);
    item->op = op;
    flags_parse(&item->set, op->set);
    flags_parse(&item->clear, op->clear);
    item->set.system &= ~(guint32)FLAG_ANY_KEYWORD; /* no flag of a message */
    item->clear.system &= ~(guint32)FLAG_ANY_KEYWORD;
    find_denied(item, box);
    return item;
}

void item_free(Item *item)
{
    flags_clear(&item->set);
    flags_clear(&item->clear);
    flags_clear(&item->denied);
    g_free(item->flags);
    g_free(item->reason);
    g_free(item);
}

void item_note(Item *item, Outcome outcome, const char *reason, ImapfsError error)
{
    if (outcome <= item->outcome)
        return;
    item->outcome = outcome;
    g_free(item->reason);
    item->reason = g_strdup(reason);
    item->error = error;
}

void item_keep_reason(Item *item, const char *reason, ImapfsError error)
{
    char *copy = g_strdup(reason);
    g_free(item->reason);
    item->reason = copy;
    item->error = error;
}

static void find_missing(const Item *item, const Flags *set, const Flags *clear, Flags *out)
{
    g_auto(Flags) have = {0};
    flags_parse(&have, item->flags ? item->flags : "");
    flags_add_all(out, set);
    flags_remove_all(out, &have);
    flags_common(clear, &have, out);
}

void item_missing(const Item *item, Flags *missing_out)
{
    find_missing(item, &item->set, &item->clear, missing_out);
}

/* --- grouping --- */

void flag_store_free(gpointer data)
{
    FlagStore *store = data;
    g_free(store->flags);
    g_ptr_array_unref(store->members);
    g_free(store);
}

static FlagStore *flag_store_new(bool minus, const char *flags)
{
    FlagStore *store = g_new0(FlagStore, 1);
    store->minus = minus;
    store->flags = g_strdup(flags);
    store->members = g_ptr_array_new();
    return store;
}

/* The stores of one sign, found by what they bring. */
typedef struct {
    bool minus;
    GPtrArray *stores; /* of FlagStore, in the order of their first member */
    GHashTable *by_key;
} Grouping;

static void grouping_init(Grouping *grouping, bool minus)
{
    grouping->minus = minus;
    grouping->stores = g_ptr_array_new_with_free_func(flag_store_free);
    grouping->by_key = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
}

static void grouping_clear(Grouping *grouping)
{
    g_hash_table_unref(grouping->by_key);
    g_ptr_array_unref(grouping->stores);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Grouping, grouping_clear)

static void grouping_add(Grouping *grouping, Item *item, const char *flags)
{
    /* what was refused before goes alone, so that it takes nobody with it */
    guint32 alone = item->op->attempts > 0 ? item->op->seq : 0;
    g_autofree char *folded = g_ascii_strdown(flags, -1); /* flags have no case */
    g_autofree char *key = g_strdup_printf("%u %s", alone, folded);
    FlagStore *store = g_hash_table_lookup(grouping->by_key, key);
    if (!store) {
        store = flag_store_new(grouping->minus, flags);
        g_ptr_array_add(grouping->stores, store);
        g_hash_table_insert(grouping->by_key, g_steal_pointer(&key), store);
    }
    g_ptr_array_add(store->members, item);
}

/* What of the item is to be sent with this sign. Caller frees. */
static char *item_text(const Item *item, bool minus)
{
    g_auto(Flags) send = {0};
    flags_add_all(&send, minus ? &item->clear : &item->set);
    flags_remove_all(&send, &item->denied);
    return flags_to_text(&send);
}

/* Groups by whole lists and by single flags; the one with fewer commands goes to out. */
static void group_sign(const GPtrArray *items, bool minus, gsize line_limit, GPtrArray *out)
{
    g_auto(Grouping) lists = {0};
    g_auto(Grouping) singles = {0};
    grouping_init(&lists, minus);
    grouping_init(&singles, minus);
    bool too_long = false;
    for (guint i = 0; i < items->len; i++) {
        Item *item = items->pdata[i];
        g_autofree char *text = item_text(item, minus);
        if (!*text)
            continue;
        too_long |= strlen(text) > line_limit / 2;
        grouping_add(&lists, item, text);
        g_auto(GStrv) words = g_strsplit(text, " ", -1);
        for (guint w = 0; words[w]; w++)
            grouping_add(&singles, item, words[w]);
    }
    Grouping *best = too_long || singles.stores->len < lists.stores->len ? &singles : &lists;
    while (best->stores->len > 0)
        g_ptr_array_add(out, g_ptr_array_steal_index(best->stores, 0));
}

/* --- cutting --- */

UidSet *plan_uids(const GPtrArray *items)
{
    UidSet *uids = uidset_new();
    for (guint i = 0; i < items->len; i++)
        uidset_add(uids, ((const Item *)items->pdata[i])->op->uid);
    return uids;
}

/* Cuts a store (takes it) into lines that the server takes. */
static void cut(FlagStore *store, gsize line_limit, GPtrArray *out)
{
    gsize used = strlen(store->flags) + STORE_OVERHEAD;
    gsize room = line_limit > used ? line_limit - used : 0;
    g_autoptr(UidSet) all = plan_uids(store->members);
    guint at = 0;
    while (at < store->members->len) {
        g_autoptr(UidSet) some = uidset_take(all, LIMIT_COMMAND_UIDS, room);
        FlagStore *piece = flag_store_new(store->minus, store->flags);
        for (guint64 n = uidset_count(some); n > 0 && at < store->members->len; n--)
            g_ptr_array_add(piece->members, store->members->pdata[at++]);
        g_ptr_array_add(out, piece);
    }
    flag_store_free(store);
}

static gint by_uid(gconstpointer a, gconstpointer b)
{
    guint32 x = (*(const Item *const *)a)->op->uid, y = (*(const Item *const *)b)->op->uid;
    return x < y ? -1 : x > y;
}

GPtrArray *plan_flags(const GPtrArray *items, gsize line_limit)
{
    g_autoptr(GPtrArray) sorted = g_ptr_array_new();
    g_autoptr(GPtrArray) whole = g_ptr_array_new_with_free_func(flag_store_free);
    GPtrArray *out = g_ptr_array_new_with_free_func(flag_store_free);
    for (guint i = 0; i < items->len; i++)
        g_ptr_array_add(sorted, items->pdata[i]);
    g_ptr_array_sort(sorted, by_uid);
    group_sign(sorted, false, line_limit, whole);
    group_sign(sorted, true, line_limit, whole);
    while (whole->len > 0)
        cut(g_ptr_array_steal_index(whole, 0), line_limit, out);
    return out;
}

/* --- what was refused --- */

bool plan_is_missing(const FlagStore *store, const Item *item)
{
    g_auto(Flags) wish = {0};
    g_auto(Flags) missing = {0};
    static const Flags none = {0};
    flags_parse(&wish, store->flags);
    find_missing(item, store->minus ? &none : &wish, store->minus ? &wish : &none, &missing);
    return !flags_is_empty(&missing);
}

void plan_halve(const FlagStore *store, GPtrArray *out)
{
    g_autoptr(GPtrArray) left = g_ptr_array_new();
    for (guint i = 0; i < store->members->len; i++) {
        Item *item = store->members->pdata[i];
        bool over = item->told ? !plan_is_missing(store, item) : item->silent;
        if (!over)
            g_ptr_array_add(left, item);
    }
    for (guint from = 0, half = (left->len + 1) / 2; from < left->len; from += half) {
        FlagStore *piece = flag_store_new(store->minus, store->flags);
        for (guint i = from; i < MIN(from + half, left->len); i++)
            g_ptr_array_add(piece->members, left->pdata[i]);
        g_ptr_array_add(out, piece);
    }
}
