/* test_messages.c - rows of messages, structures, sizes, small facts. */
#include "plans_check.h"

static void test_put_get(void **state)
{
    Store *store = ((Fixture *)*state)->store;
    GError *error = NULL;
    bool is_new;
    StoreMsg msg = sample_msg(7), out;
    StoreTxn *txn = begin(store);
    assert_true(store_msg_put(txn, 1, &msg, &is_new, &error));
    assert_true(is_new);
    assert_false(store_msg_get(store_reader(store), 1, 7, &out));  /* not committed yet */
    assert_true(store_msg_get(store_txn_reader(txn), 1, 7, &out)); /* but seen from inside */
    store_msg_clear(&out);
    commit(txn);
    assert_true(store_msg_get(store_reader(store), 1, 7, &out));
    assert_string_equal(out.name, msg.name);
    assert_string_equal(out.from, msg.from);
    assert_string_equal(out.subject, msg.subject);
    assert_string_equal(out.message_id, msg.message_id);
    assert_string_equal(out.flags, msg.flags);
    assert_null(out.emailid);
    assert_int_equal(out.internaldate, msg.internaldate);
    assert_int_equal(out.zone, 60);
    assert_int_equal(out.size, msg.size);
    assert_int_equal(out.modseq, msg.modseq);
    assert_false(out.has_structure);
    store_msg_clear(&out);
    assert_false(store_msg_get(store_reader(store), 1, 8, &out));
    assert_false(store_msg_get(store_reader(store), 2, 7, &out));
    assert_true(store_reader_check(store_reader(store), &error));
}

static void test_extreme_values(void **state)
{
    Store *store = ((Fixture *)*state)->store;
    GError *error = NULL;
    StoreMsg msg = {.uid = G_MAXUINT32,
                    .name = "n",
                    .from = "\xff\xfe not UTF-8",
                    .internaldate = G_MININT64,
                    .zone = -1440,
                    .size = G_MAXUINT64,
                    .modseq = G_MAXUINT64};
    StoreTxn *txn = begin(store);
    assert_true(store_msg_put(txn, STORE_MAX_BOX_ID, &msg, NULL, &error));
    commit(txn);
    StoreMsg out;
    assert_true(store_msg_get(store_reader(store), STORE_MAX_BOX_ID, G_MAXUINT32, &out));
    assert_string_equal(out.from, msg.from);
    assert_string_equal(out.subject, "");
    assert_string_equal(out.flags, "");
    assert_true(out.internaldate == G_MININT64 && out.zone == -1440);
    assert_true(out.size == G_MAXUINT64 && out.modseq == G_MAXUINT64);
    store_msg_clear(&out);
    txn = begin(store);
    msg.uid = 0;
    assert_false(store_msg_put(txn, 1, &msg, NULL, &error));
    assert_true(g_error_matches(error, IMAPFS_ERROR, IMAPFS_ERROR_INVALID));
    g_clear_error(&error);
    assert_false(store_commit(txn, &error)); /* a failed write fails the commit */
    assert_true(g_error_matches(error, IMAPFS_ERROR, IMAPFS_ERROR_STORE));
    g_clear_error(&error);
}

static void test_put_again(void **state)
{
    Store *store = ((Fixture *)*state)->store;
    GError *error = NULL;
    bool is_new;
    StoreMsg msg = sample_msg(7), out;
    msg.message_id = NULL;
    StoreTxn *txn = begin(store);
    assert_true(store_msg_put(txn, 1, &msg, &is_new, &error));
    assert_true(store_structure_put(txn, 1, 7, "(text plain)", &error));
    msg.name = "another name";
    msg.subject = "another subject";
    msg.size = 1;
    msg.internaldate = 2;
    msg.flags = "\\Seen \\Flagged";
    msg.modseq = 99;
    msg.message_id = "<late@example.org>";
    msg.emailid = "M1";
    assert_true(store_msg_put(txn, 1, &msg, &is_new, &error));
    assert_false(is_new);
    commit(txn);
    assert_true(store_msg_get(store_reader(store), 1, 7, &out));
    StoreMsg first = sample_msg(7);
    assert_string_equal(out.name, first.name);
    assert_string_equal(out.subject, first.subject);
    assert_int_equal(out.size, first.size);
    assert_int_equal(out.internaldate, first.internaldate);
    assert_string_equal(out.flags, "\\Seen \\Flagged");
    assert_int_equal(out.modseq, 99);
    assert_string_equal(out.message_id, "<late@example.org>");
    assert_string_equal(out.emailid, "M1");
    assert_true(out.has_structure);
    store_msg_clear(&out);
}

static void test_set_flags(void **state)
{
    static const struct {
        const char *name;
        guint32 uid;
        const char *flags;
        guint64 modseq;
        bool changed;
        const char *want;
        guint64 want_modseq;
    } cases[] = {
        {"other flags", 1, "\\Flagged", 50, true, "\\Flagged", 50},
        {"the same", 1, "\\Flagged", 50, false, "\\Flagged", 50},
        {"only modseq", 1, "\\Flagged", 51, false, "\\Flagged", 51},
        {"modseq is left", 1, "", 0, true, "", 51},
        {"not known", 2, "\\Seen", 60, false, NULL, 0},
    };
    Store *store = ((Fixture *)*state)->store;
    put_msgs(store, 1, 1, 1);
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        GError *error = NULL;
        bool changed = !cases[i].changed;
        StoreTxn *txn = begin(store);
        assert_true(store_msg_set_flags(txn, 1, cases[i].uid, cases[i].flags, cases[i].modseq,
                                        &changed, &error));
        commit(txn);
        if (changed != cases[i].changed)
            fail_msg("%s", cases[i].name);
        StoreMsg out = {0};
        assert_int_equal(store_msg_get(store_reader(store), 1, cases[i].uid, &out),
                         cases[i].want != NULL);
        if (cases[i].want != NULL &&
            (strcmp(out.flags, cases[i].want) != 0 || out.modseq != cases[i].want_modseq))
            fail_msg("%s: %s %" G_GUINT64_FORMAT, cases[i].name, out.flags, out.modseq);
        store_msg_clear(&out);
    }
}

static bool add_uid(const StoreMsg *msg, gpointer data)
{
    GString *out = data;
    g_string_append_printf(out, "%u ", msg->uid);
    return msg->uid != 30;
}

static void test_each(void **state)
{
    static const struct {
        guint32 after;
        const char *want;
    } cases[] = {{0, "10 20 30 "}, {10, "20 30 "}, {15, "20 30 "},
                 {30, "40 "},      {40, ""},       {G_MAXUINT32, ""}};
    Store *store = ((Fixture *)*state)->store;
    put_msgs(store, 2, 5, 3); /* neighbours */
    for (guint32 uid = 40; uid >= 10; uid -= 10)
        put_msgs(store, 3, uid, 1);
    put_msgs(store, 4, 5, 3);
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GString) got = g_string_new(NULL);
        store_msg_each(store_reader(store), 3, cases[i].after, add_uid, got);
        assert_string_equal(got->str, cases[i].want);
    }
    g_autoptr(UidSet) uids = store_msg_uids(store_reader(store), 3);
    assert_uids(uids, "10,20,30,40");
    assert_int_equal(store_msg_count(store_reader(store), 3), 4);
    assert_int_equal(store_msg_count(store_reader(store), 5), 0);
    assert_int_equal(store_msg_last_uid(store_reader(store), 3), 40);
    assert_int_equal(store_msg_last_uid(store_reader(store), 5), 0);
}

typedef struct {
    Store *store;
    int depth;
    guint count;
} Nested;

static bool nest(const StoreMsg *msg, gpointer data)
{
    Nested *self = data;
    g_autofree char *name = g_strdup(msg->name);
    guint32 uid = msg->uid;
    self->count++;
    if (self->depth < 3) {
        self->depth++;
        store_msg_each(store_reader(self->store), 1, 0, nest, self);
        self->depth--;
    }
    assert_int_equal(msg->uid, uid); /* what we stand on is not disturbed */
    assert_string_equal(msg->name, name);
    return true;
}

static void test_each_nested(void **state)
{
    Store *store = ((Fixture *)*state)->store;
    put_msgs(store, 1, 1, 4);
    Nested nested = {store, 0, 0};
    store_msg_each(store_reader(store), 1, 0, nest, &nested);
    assert_int_equal(nested.count, 4 + 16 + 64 + 256);
}

static void test_remove(void **state)
{
    static const struct {
        const char *name, *remove, *removed, *left;
    } cases[] = {
        {"one", "3", "3", "1:2,4:100"},
        {"not there", "3,200:300", "", "1:2,4:100"},
        {"ranges", "1:2,5,90:4294967295", "1:2,5,90:100", "4,6:89"},
        /* more ranges than are asked for one by one */
        {"many ranges",
         "4,6,8,10,12,14,16,18,20,22,24,26,28,30,32,34,36,38,40,42,44,46,48,50,52,54,56,58,60,62,"
         "64,66,68,70,72,74,500",
         "4,6,8,10,12,14,16,18,20,22,24,26,28,30,32,34,36,38,40,42,44,46,48,50,52,54,56,58,60,62,"
         "64,66,68,70,72,74",
         "7,9,11,13,15,17,19,21,23,25,27,29,31,33,35,37,39,41,43,45,47,49,51,53,55,57,59,61,63,65,"
         "67,69,71,73,75:89"},
        {"all", "1:4294967295",
         "7,9,11,13,15,17,19,21,23,25,27,29,31,33,35,37,39,41,43,45,47,49,51,53,55,57,59,61,63,65,"
         "67,69,71,73,75:89",
         ""},
    };
    Store *store = ((Fixture *)*state)->store;
    put_msgs(store, 1, 1, 100);
    put_msgs(store, 2, 1, 100);
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        GError *error = NULL;
        g_autoptr(UidSet) set = parse_uids(cases[i].remove);
        g_autoptr(UidSet) removed = uidset_new();
        StoreTxn *txn = begin(store);
        assert_true(store_msg_remove(txn, 1, set, removed, &error));
        commit(txn);
        assert_uids(removed, cases[i].removed);
        g_autoptr(UidSet) left = store_msg_uids(store_reader(store), 1);
        assert_uids(left, cases[i].left);
    }
    assert_int_equal(store_msg_count(store_reader(store), 2), 100);
}

static void test_remove_takes_all_with_it(void **state)
{
    Store *store = ((Fixture *)*state)->store;
    GError *error = NULL;
    put_msgs(store, 1, 5, 2);
    ContentKey gone = {1, 5, CONTENT_TEXT, "1"}, stays = {1, 6, CONTENT_TEXT, "1"};
    put_content(store, &gone, 1, 100);
    put_content(store, &stays, 2, 100);
    StoreTxn *txn = begin(store);
    assert_true(store_structure_put(txn, 1, 5, "x", &error));
    g_autoptr(UidSet) set = parse_uids("5");
    assert_true(store_msg_remove(txn, 1, set, NULL, &error));
    commit(txn);
    StoreReader *reader = store_reader(store);
    assert_null(store_structure_get(reader, 1, 5));
    assert_int_equal(store_size_get(reader, 1, 5, CONTENT_TEXT, "1"), -1);
    assert_false(content_exists(reader, &gone));
    assert_true(content_exists(reader, &stays));
    assert_int_equal(store_size_get(reader, 1, 6, CONTENT_TEXT, "1"), 100);
    /* Nothing is kept of what is not known. */
    txn = begin(store);
    assert_true(store_structure_put(txn, 1, 5, "x", &error));
    assert_true(store_size_put(txn, 1, 5, CONTENT_RAW, "", 3, &error));
    commit(txn);
    assert_null(store_structure_get(reader, 1, 5));
    assert_int_equal(store_size_get(reader, 1, 5, CONTENT_RAW, ""), -1);
}

static void test_structures(void **state)
{
    Store *store = ((Fixture *)*state)->store;
    StoreReader *reader = store_reader(store);
    GError *error = NULL;
    put_msgs(store, 1, 1, 10);
    assert_null(store_structure_get(reader, 1, 1));
    StoreTxn *txn = begin(store);
    assert_true(store_structure_put(txn, 1, 1, "(\"text\" \"plain\")", &error));
    assert_true(store_structure_put(txn, 1, 3, "", &error));
    commit(txn);
    g_autofree char *text = store_structure_get(reader, 1, 1);
    assert_string_equal(text, "(\"text\" \"plain\")");
    g_autofree char *useless = store_structure_get(reader, 1, 3);
    assert_string_equal(useless, "");
    g_autoptr(UidSet) all = store_msg_without_structure(reader, 1, 0, G_MAXUINT32, 100);
    assert_uids(all, "2,4:10");
    g_autoptr(UidSet) some = store_msg_without_structure(reader, 1, 2, G_MAXUINT32, 3);
    assert_uids(some, "4:6");
    g_autoptr(UidSet) few = store_msg_without_structure(reader, 1, 2, 5, 3);
    assert_uids(few, "4:5");
}

static void test_sizes(void **state)
{
    Store *store = ((Fixture *)*state)->store;
    StoreReader *reader = store_reader(store);
    GError *error = NULL;
    put_msgs(store, 1, 1, 1);
    StoreTxn *txn = begin(store);
    for (int kind = CONTENT_RAW; kind <= CONTENT_HEADERS; kind++) {
        assert_true(store_size_put(txn, 1, 1, (ContentKind)kind, "", 100 + (guint64)kind, &error));
        assert_true(store_size_put(txn, 1, 1, (ContentKind)kind, "1.2", 0, &error));
    }
    assert_true(store_size_put(txn, 1, 1, CONTENT_RAW, "1.2", 5, &error)); /* the newest counts */
    commit(txn);
    for (int kind = CONTENT_RAW; kind <= CONTENT_HEADERS; kind++)
        assert_int_equal(store_size_get(reader, 1, 1, (ContentKind)kind, ""), 100 + kind);
    assert_int_equal(store_size_get(reader, 1, 1, CONTENT_RAW, "1.2"), 5);
    assert_int_equal(store_size_get(reader, 1, 1, CONTENT_TEXT, "1.2"), 0);
    assert_int_equal(store_size_get(reader, 1, 1, CONTENT_TEXT, "1"), -1);
}

static void test_computed_sizes(void **state)
{
    Store *store = ((Fixture *)*state)->store;
    StoreReader *reader = store_reader(store);
    GError *error = NULL;
    put_msgs(store, 1, 1, 1);
    StoreTxn *txn = begin(store);
    assert_true(store_size_put_computed(txn, 1, 1, CONTENT_DECODED, "2", 77, &error));
    assert_true(store_size_put_computed(txn, 1, 1, CONTENT_DECODED, "3", 10, &error));
    assert_true(store_size_put_computed(txn, 1, 1, CONTENT_DECODED, "3", 11, &error));
    assert_true(store_size_put_computed(txn, 1, 9, CONTENT_DECODED, "3", 1, &error)); /* no row */
    commit(txn);
    assert_int_equal(store_size_get(reader, 1, 1, CONTENT_DECODED, "2"), 77);
    assert_int_equal(store_size_get(reader, 1, 1, CONTENT_DECODED, "3"), 10);
    assert_int_equal(store_size_get(reader, 1, 9, CONTENT_DECODED, "3"), -1);
    assert_false(store_size_find(reader, 1, 1, CONTENT_DECODED, "2").proven);
    txn = begin(store);
    assert_true(store_size_put(txn, 1, 1, CONTENT_DECODED, "2", 77, &error)); /* it was right */
    assert_true(store_size_put(txn, 1, 1, CONTENT_DECODED, "3", 12, &error));
    assert_true(store_size_put_computed(txn, 1, 1, CONTENT_DECODED, "3", 11, &error));
    commit(txn);
    assert_true(store_size_find(reader, 1, 1, CONTENT_DECODED, "2").proven);
    assert_true(store_size_find(reader, 1, 1, CONTENT_DECODED, "3").proven);
    assert_int_equal(store_size_get(reader, 1, 1, CONTENT_DECODED, "3"), 12);
    assert_false(store_size_find(reader, 1, 1, CONTENT_DECODED, "4").proven);
}

static void test_meta(void **state)
{
    Fixture *fixture = *state;
    GError *error = NULL;
    assert_null(store_meta_get(store_reader(fixture->store), "mechanism"));
    StoreTxn *txn = store_begin(fixture->store, true, &error);
    assert_true(store_meta_put(txn, "mechanism", "PLAIN", &error));
    assert_true(store_meta_put(txn, "mechanism", "SCRAM-SHA-256", &error));
    assert_true(store_meta_put(txn, "gone", "x", &error));
    assert_true(store_meta_put(txn, "gone", NULL, &error));
    commit(txn);
    fixture_close(fixture);
    fixture_open(fixture);
    g_autofree char *value = store_meta_get(store_reader(fixture->store), "mechanism");
    assert_string_equal(value, "SCRAM-SHA-256");
    assert_null(store_meta_get(store_reader(fixture->store), "gone"));
}

static void test_rollback(void **state)
{
    Store *store = ((Fixture *)*state)->store;
    GError *error = NULL;
    put_msgs(store, 1, 1, 5);
    ContentKey key = {1, 1, CONTENT_RAW, ""};
    put_content(store, &key, 1, 10);
    StoreTxn *txn = begin(store);
    g_autoptr(UidSet) all = parse_uids("1:5");
    assert_true(store_msg_remove(txn, 1, all, NULL, &error));
    assert_int_equal(store_msg_count(store_txn_reader(txn), 1), 0);
    store_rollback(txn);
    assert_int_equal(store_msg_count(store_reader(store), 1), 5);
    assert_true(content_exists(store_reader(store), &key));
    put_msgs(store, 1, 6, 1); /* the lock is free, the connection usable */
    assert_int_equal(store_msg_count(store_reader(store), 1), 6);
}

#define STORE_TEST(f) cmocka_unit_test_setup_teardown(f, setup_store, plans_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(test_put_get),        STORE_TEST(test_extreme_values),
        STORE_TEST(test_put_again),      STORE_TEST(test_set_flags),
        STORE_TEST(test_each),           STORE_TEST(test_each_nested),
        STORE_TEST(test_remove),         STORE_TEST(test_remove_takes_all_with_it),
        STORE_TEST(test_structures),     STORE_TEST(test_sizes),
        STORE_TEST(test_computed_sizes), STORE_TEST(test_meta),
        STORE_TEST(test_rollback),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
