/* test_boxes.c - mailboxes: reconciling with LIST, levels, ids, times, renewing. */
#include "plans_check.h"
#include "imapfs/base/limits.h"
#include "../../../src/store/private.h"

typedef struct {
    StoreReader *reader;
    GString *out;
    int indent;
} Print;

static bool print_box(const StoreBox *box, gpointer data)
{
    Print *self = data;
    g_string_append_printf(self->out, "%s%s%s", self->indent > 0 ? ">" : "", box->leaf,
                           (box->attributes & LIST_NONEXISTENT) != 0 ? "?"
                           : (box->attributes & LIST_NOSELECT) != 0  ? "-"
                                                                     : "");
    self->indent++;
    store_box_children(self->reader, box->id, 0, print_box, self);
    self->indent--;
    g_string_append_c(self->out, ' ');
    return true;
}

/* The tree by ids: "a>b >c  d ", "?" for levels made up, "-" for \NoSelect. */
static char *print_tree(Store *store)
{
    Print self = {store_reader(store), g_string_new(NULL), 0};
    store_box_children(self.reader, 0, 0, print_box, &self);
    return g_string_free(self.out, FALSE);
}

static void test_trees(void **state)
{
    static const struct {
        const char *name, *list, *want;
    } cases[] = {
        {"flat", "INBOX Archive", "Archive INBOX "},
        {"exact names", "Inbox inbox", "Inbox inbox "},
        {"child before parent", "a/b a", "a>b  "},
        {"levels made up", "x/y/z", "x?>y?>z   "},
        {"one listed, one not", "a/b/c -a", "a->b?>c   "},
        {"twice", "a -a", "a "},
        {"twice \\NoSelect", "-a -a", "a- "},
        {"trailing delimiter", "-Public/ Public/x", "Public->x  "},
        {"leading delimiter", "/home/mail", "%2Fhome?>mail  "},
        {"an empty level", "a//b", NULL},
        {"dots", "a/.. a/. ..", NULL},
        {"nothing", "", ""},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        Fixture fixture;
        fixture_init(&fixture);
        Store *store = fixture_open(&fixture);
        reconcile(store, cases[i].list, 1000, NULL, NULL);
        g_autofree char *got = print_tree(store);
        if (cases[i].want != NULL && strcmp(got, cases[i].want) != 0)
            fail_msg("%s: \"%s\"", cases[i].name, got);
        assert_null(strstr(got, ".. "));
        fixture_clear(&fixture);
    }
    (void)state;
}

static void test_raw_names(void **state)
{
    Store *store = ((Fixture *)*state)->store;
    static const StoreListing listings[] = {
        {"\001Work/&bad-", '/', 0}, {"Work", '/', 0}, {"\001inbox/&x-", '/', 0}};
    GError *error = NULL;
    StoreTxn *txn = begin(store);
    assert_true(store_boxes_reconcile(txn, listings, 3, 1, NULL, NULL, &error));
    commit(txn);
    StoreBox box;
    assert_true(store_box_by_name(store_reader(store), "\001Work/&bad-", &box));
    assert_int_equal(box.parent, box_id(store, "Work"));
    assert_string_equal(box.leaf, "&bad-");
    store_box_clear(&box);
    assert_true(store_box_by_name(store_reader(store), "\001inbox/&x-", &box));
    assert_int_equal(box.parent, box_id(store, "INBOX"));
    store_box_clear(&box);
}

static char *names(GArray *boxes)
{
    GString *out = g_string_new(NULL);
    for (guint i = 0; i < boxes->len; i++) {
        StoreBox *box = &g_array_index(boxes, StoreBox, i);
        g_string_append_printf(out, "%s ", box->name);
        store_box_clear(box);
    }
    g_array_set_size(boxes, 0);
    return g_string_free(out, FALSE);
}

static void test_reconcile_again(void **state)
{
    static const struct {
        const char *list, *added, *removed;
    } steps[] = {
        {"INBOX a/b c", "INBOX a c a/b ", ""},
        {"INBOX a/b c", "", ""},
        {"INBOX a a/b c a/d", "a/d ", ""},
        {"INBOX a c", "", NULL},
        {"INBOX", "", NULL},
        {"INBOX a", "a ", ""},
    };
    Store *store = ((Fixture *)*state)->store;
    g_autoptr(GArray) added = g_array_new(FALSE, FALSE, sizeof(StoreBox));
    g_autoptr(GArray) removed = g_array_new(FALSE, FALSE, sizeof(StoreBox));
    guint32 inbox = 0, a = 0, b = 0;
    for (gsize i = 0; i < G_N_ELEMENTS(steps); i++) {
        reconcile(store, steps[i].list, 1000, added, removed);
        g_autofree char *got_added = names(added);
        g_autofree char *got_removed = names(removed);
        assert_string_equal(got_added, steps[i].added);
        if (steps[i].removed != NULL)
            assert_string_equal(got_removed, steps[i].removed);
        else
            assert_string_not_equal(got_removed, "");
        if (i == 0) {
            inbox = box_id(store, "INBOX");
            a = box_id(store, "a");
            b = box_id(store, "a/b");
        }
        assert_int_equal(box_id(store, "INBOX"), inbox);
        if (i < 3)
            assert_int_equal(box_id(store, "a/b"), b);
        if (i < 4)
            assert_int_equal(box_id(store, "a"), a);
    }
    assert_int_not_equal(box_id(store, "a"), a); /* came back: another one */
    assert_int_equal(store_boxes_synced(store_reader(store)), 1000);
}

static gint64 changed(Store *store, const char *name)
{
    StoreBox box;
    if (name == NULL)
        return store_top_changed(store_reader(store));
    assert_true(store_box_by_name(store_reader(store), name, &box));
    gint64 out = box.changed_ns;
    store_box_clear(&box);
    return out;
}

static void test_times(void **state)
{
    static const struct {
        const char *name, *list;
        gint64 now;
        bool top, a, b;
    } steps[] = {
        {"nothing", "a b", 2000, false, false, false},
        {"a child", "a b a/x", 3000, false, true, false},
        {"the clock went back", "a b a/x a/y", 500, false, true, false},
        {"a child goes", "a b a/y", 600, false, true, false},
        {"a child moves", "a b b/y", 700, false, true, true},
        {"at the top", "a b b/y c", 800, true, false, false},
        {"attributes only", "a b -b/y c", 900, false, false, false},
        {"at the top, same time", "a b b/y", 800, true, false, false},
    };
    Store *store = ((Fixture *)*state)->store;
    reconcile(store, "a b", 1000, NULL, NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(steps); i++) {
        gint64 top = changed(store, NULL), a = changed(store, "a"), b = changed(store, "b");
        reconcile(store, steps[i].list, steps[i].now, NULL, NULL);
        if ((changed(store, NULL) > top) != steps[i].top ||
            (changed(store, "a") > a) != steps[i].a || (changed(store, "b") > b) != steps[i].b)
            fail_msg("%s", steps[i].name);
        assert_true(changed(store, NULL) >= top);
    }
    GError *error = NULL;
    gint64 a = changed(store, "a"), top = changed(store, NULL);
    StoreTxn *txn = begin(store);
    assert_true(store_box_touch(txn, box_id(store, "a"), 1, &error));
    assert_true(store_box_touch(txn, 0, 1, &error));
    commit(txn);
    assert_int_equal(changed(store, "a"), a + 1);
    assert_int_equal(changed(store, NULL), top + 1);
}

/* A mailbox that becomes a mere level has no messages any more, but its UIDs stay used. */
static void test_hollow(void **state)
{
    Store *store = ((Fixture *)*state)->store;
    GError *error = NULL;
    reconcile(store, "a a/b", 1000, NULL, NULL);
    StoreBox box = {.id = box_id(store, "a"), .uidvalidity = 77, .exists = 2, .listed = true};
    put_msgs(store, box.id, 1, 2);
    StoreTxn *txn = begin(store);
    assert_true(store_box_update(txn, &box, &error));
    commit(txn);
    gint64 before = changed(store, "a");
    reconcile(store, "a/b", 1001, NULL, NULL);
    assert_int_equal(store_msg_count(store_reader(store), box.id), 0);
    StoreBox row;
    assert_true(store_box_by_id(store_reader(store), box.id, &row));
    assert_int_equal(row.attributes, LIST_NONEXISTENT | LIST_NOSELECT);
    assert_false(row.listed);
    assert_int_equal(row.exists, 0);
    assert_int_equal(row.uidvalidity, 77);
    assert_true(row.changed_ns > before);
    store_box_clear(&row);
}

/* "a.b" under "." and "a/b" under "/" have one parent and one leaf. */
static void test_same_leaf(void **state)
{
    Store *store = ((Fixture *)*state)->store;
    static const StoreListing two[] = {{"a/b", '/', 0}, {"a.b", '.', 0}, {"a/b (2)", '/', 0}};
    GError *error = NULL;
    for (int round = 0; round < 2; round++) {
        StoreTxn *txn = begin(store);
        assert_true(store_boxes_reconcile(txn, two, 3, 1, NULL, NULL, &error));
        commit(txn);
        StoreBox box;
        guint32 parent = box_id(store, "a");
        static const char *const leaves[] = {"b", "b (2)", "b (2) (2)"};
        for (gsize i = 0; i < G_N_ELEMENTS(leaves); i++) {
            assert_true(store_box_by_leaf(store_reader(store), parent, leaves[i], &box));
            store_box_clear(&box);
        }
        assert_false(store_box_by_leaf(store_reader(store), 0, "b", &box));
    }
}

/* The server's delimiter changes: rows keep their ids and move, also into each other's places. */
static void test_delimiter_change(void **state)
{
    Store *store = ((Fixture *)*state)->store;
    static const StoreListing before[] = {{"a.b", '/', 0}, {"a", '/', 0}, {"b", '/', 0}};
    static const StoreListing after[] = {{"a.b", '.', 0}, {"a", '.', 0}, {"b", '.', 0}};
    GError *error = NULL;
    StoreTxn *txn = begin(store);
    assert_true(store_boxes_reconcile(txn, before, 3, 1, NULL, NULL, &error));
    commit(txn);
    g_autofree char *tree = print_tree(store);
    assert_string_equal(tree, "a a.b b ");
    guint32 id = box_id(store, "a.b");
    gint64 top = changed(store, NULL), a = changed(store, "a");
    txn = begin(store);
    assert_true(store_boxes_reconcile(txn, after, 3, 2, NULL, NULL, &error));
    commit(txn);
    g_autofree char *moved = print_tree(store);
    assert_string_equal(moved, "a>b  b ");
    assert_int_equal(box_id(store, "a.b"), id);
    assert_true(changed(store, NULL) > top && changed(store, "a") > a);
}

static void test_limits(void **state)
{
    Store *store = ((Fixture *)*state)->store;
    g_autofree char *longest = g_strnfill(LIMIT_MAILBOX_NAME, 'x');
    g_autofree char *too_long = g_strnfill(LIMIT_MAILBOX_NAME + 1, 'y');
    g_autoptr(GString) deep = g_string_new("0");
    for (int i = 1; i < LIMIT_MAILBOX_DEPTH; i++)
        g_string_append_printf(deep, "/%d", i % 10);
    g_autofree char *deepest = g_strdup(deep->str);
    g_string_append(deep, "/over");
    const StoreListing listings[] = {{longest, '/', 0},   {too_long, '/', 0}, {deepest, '/', 0},
                                     {deep->str, '/', 0}, {"", '/', 0},       {"\xff", '/', 0},
                                     {"ok", '/', 0}};
    GError *error = NULL;
    StoreTxn *txn = begin(store);
    assert_true(
        store_boxes_reconcile(txn, listings, G_N_ELEMENTS(listings), 1, NULL, NULL, &error));
    commit(txn);
    assert_int_not_equal(box_id(store, longest), 0);
    assert_int_not_equal(box_id(store, deepest), 0);
    assert_int_not_equal(box_id(store, "ok"), 0);
    assert_int_equal(box_id(store, too_long), 0);
    assert_int_equal(box_id(store, deep->str), 0);
    StoreBox box;
    assert_true(store_box_by_name(store_reader(store), longest, &box));
    assert_true(strlen(box.leaf) <= LIMIT_NAME);
    store_box_clear(&box);
}

static bool count_box(const StoreBox *box, gpointer data)
{
    ++*(guint *)data;
    return true;
}

static void test_many(void **state)
{
    static const struct {
        guint n;
        bool ok;
    } cases[] = {{LIMIT_MAILBOXES, true}, {LIMIT_MAILBOXES + 1, false}};
    Store *store = ((Fixture *)*state)->store;
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GPtrArray) all = g_ptr_array_new_with_free_func(g_free);
        g_autofree StoreListing *listings = g_new0(StoreListing, cases[i].n);
        for (guint k = 0; k < cases[i].n; k++) {
            g_ptr_array_add(all, g_strdup_printf("box%u", k));
            listings[k] = (StoreListing){all->pdata[k], '/', 0};
        }
        g_autoptr(GError) error = NULL;
        StoreTxn *txn = begin(store);
        bool ok = store_boxes_reconcile(txn, listings, cases[i].n, 1, NULL, NULL, &error);
        assert_int_equal(ok, cases[i].ok);
        if (ok)
            commit(txn);
        else
            store_rollback(txn);
        guint count = 0;
        store_box_all(store_reader(store), count_box, &count);
        assert_int_equal(count, LIMIT_MAILBOXES);
    }
}

static void test_id_order(void **state)
{
    Store *store = ((Fixture *)*state)->store;
    GError *error = NULL;
    reconcile(store, "a b c d", 1, NULL, NULL); /* 1 2 3 4 */
    reconcile(store, "b d", 1, NULL, NULL);
    reconcile(store, "b d e", 1, NULL, NULL);
    assert_int_equal(box_id(store, "e"), 5); /* not 1, not 3 */
    StoreTxn *txn = begin(store);
    BoxIds ids;
    assert_true(box_ids_load(txn, &ids, &error));
    ids.max = 7;
    box_ids_retire(&ids, 2);
    static const guint32 want[] = {6, 7, 1, 3, 2, 0};
    for (gsize i = 0; i < G_N_ELEMENTS(want); i++)
        assert_int_equal(box_ids_take(&ids, txn), want[i]);
    box_ids_clear(&ids);
    store_rollback(txn);
}

/* A number that is given anew brings nothing of the old mailbox, not even what is being written. */
static void test_id_reuse(void **state)
{
    Store *store = ((Fixture *)*state)->store;
    GError *error = NULL;
    reconcile(store, "a b", 1, NULL, NULL);
    ContentKey key = {box_id(store, "a"), 1, CONTENT_RAW, ""};
    put_msgs(store, key.box, 1, 1);
    put_content(store, &key, 1, 10);
    ContentWriter *writer = content_begin(store, &key, 0, &error);
    assert_true(content_write(writer, "old", 3, &error));
    StoreTxn *txn = begin(store);
    g_autofree char *sql =
        g_strdup_printf("UPDATE account SET next_box = %u", STORE_MAX_BOX_ID + 1);
    assert_true(db_exec(store->writer, sql, &error));
    commit(txn);
    reconcile(store, "b", 2, NULL, NULL);
    reconcile(store, "b z", 3, NULL, NULL);
    assert_int_equal(box_id(store, "z"), key.box);
    assert_false(content_commit(writer, &error));
    assert_true(g_error_matches(error, IMAPFS_ERROR, IMAPFS_ERROR_GONE));
    g_clear_error(&error);
    assert_false(content_exists(store_reader(store), &key));
    assert_int_equal(store_msg_count(store_reader(store), key.box), 0);
}

static void test_update(void **state)
{
    Store *store = ((Fixture *)*state)->store;
    GError *error = NULL;
    reconcile(store, "a", 1, NULL, NULL);
    StoreBox box = {.id = box_id(store, "a"),
                    .uidvalidity = 5,
                    .uidnext = 4294967295u,
                    .highestmodseq = G_MAXUINT64,
                    .exists = 9,
                    .listed = true,
                    .synced_ns = 123,
                    .permanent_flags = "\\Seen",
                    .read_only = true};
    StoreBox row;
    StoreTxn *txn = begin(store);
    assert_true(store_box_update(txn, &box, &error));
    commit(txn);
    assert_true(store_box_by_leaf(store_reader(store), 0, "a", &row));
    assert_int_equal(row.uidvalidity, 5);
    assert_int_equal(row.uidnext, 4294967295u);
    assert_true(row.highestmodseq == G_MAXUINT64 && row.exists == 9 && row.listed);
    assert_true(row.synced_ns == 123 && row.read_only);
    assert_string_equal(row.permanent_flags, "\\Seen");
    assert_int_equal(row.delimiter, '/');
    store_box_clear(&row);
    static const struct {
        guint32 id, uidvalidity;
        int code;
    } bad[] = {{1, 6, IMAPFS_ERROR_INVALID}, {99, 5, IMAPFS_ERROR_NOT_FOUND}};
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        box.id = bad[i].id;
        box.uidvalidity = bad[i].uidvalidity;
        txn = begin(store);
        assert_false(store_box_update(txn, &box, &error));
        assert_true(g_error_matches(error, IMAPFS_ERROR, bad[i].code));
        g_clear_error(&error);
        store_rollback(txn);
    }
}

static void test_renew(void **state)
{
    Store *store = ((Fixture *)*state)->store;
    GError *error = NULL;
    reconcile(store, "a a/b a/b/c", 1000, NULL, NULL);
    guint32 a = box_id(store, "a"), b = box_id(store, "a/b"), c = box_id(store, "a/b/c"), new_id;
    put_msgs(store, b, 1, 3);
    ContentKey key = {b, 1, CONTENT_RAW, ""};
    put_content(store, &key, 1, 10);
    StoreBox box = {.id = b, .uidvalidity = 5, .uidnext = 4, .exists = 3, .listed = true};
    StoreTxn *txn = begin(store);
    assert_true(store_box_update(txn, &box, &error));
    commit(txn);
    gint64 before = changed(store, "a"), own = changed(store, "a/b");
    txn = begin(store);
    assert_true(store_box_renew(txn, b, 6, 900, &new_id, &error));
    commit(txn);
    assert_int_not_equal(new_id, b);
    assert_int_equal(box_id(store, "a/b"), new_id);
    StoreBox row;
    assert_false(store_box_by_id(store_reader(store), b, &row));
    assert_true(store_box_by_id(store_reader(store), new_id, &row));
    assert_int_equal(row.uidvalidity, 6);
    assert_int_equal(row.parent, a);
    assert_string_equal(row.leaf, "b");
    assert_true(!row.listed && row.exists == 0 && row.uidnext == 0);
    assert_true(row.changed_ns > own);
    store_box_clear(&row);
    assert_true(store_box_by_id(store_reader(store), c, &row));
    assert_int_equal(row.parent, new_id);
    store_box_clear(&row);
    assert_true(changed(store, "a") > before);
    assert_int_equal(store_msg_count(store_reader(store), b), 0);
    assert_int_equal(store_msg_count(store_reader(store), new_id), 0);
    assert_int_equal(store_size_get(store_reader(store), b, 1, CONTENT_RAW, ""), -1);
    assert_false(content_exists(store_reader(store), &key));
    txn = begin(store);
    assert_false(store_box_renew(txn, b, 7, 900, &new_id, &error));
    assert_true(g_error_matches(error, IMAPFS_ERROR, IMAPFS_ERROR_NOT_FOUND));
    g_clear_error(&error);
    store_rollback(txn);
}

#define STORE_TEST(f) cmocka_unit_test_setup_teardown(f, setup_store, plans_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trees),
        STORE_TEST(test_raw_names),
        STORE_TEST(test_reconcile_again),
        STORE_TEST(test_times),
        STORE_TEST(test_hollow),
        STORE_TEST(test_same_leaf),
        STORE_TEST(test_delimiter_change),
        STORE_TEST(test_limits),
        STORE_TEST(test_many),
        STORE_TEST(test_id_order),
        STORE_TEST(test_id_reuse),
        STORE_TEST(test_update),
        STORE_TEST(test_renew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
