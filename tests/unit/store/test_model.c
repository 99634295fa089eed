/* test_model.c - random operations, compared with a model in memory after each few. */
#include "store_test.h"

#define SEEDS 20
#define OPERATIONS 400
#define BOXES 6
#define UIDS 60

typedef struct {
    bool there;
    guint32 size; /* immutable */
    char flags[16];
    guint64 modseq;
    bool structure;
    gint64 known_size; /* of its content; -1 */
    bool content;
    guint32 content_seed;
} ModelMsg;

typedef struct {
    bool there;
    guint32 id, uidvalidity;
    ModelMsg msgs[UIDS + 1];
} ModelBox;

typedef struct {
    Fixture fixture;
    GRand *rand;
    ModelBox boxes[BOXES], saved[BOXES];
    GHashTable *ids; /* every id that was ever seen -> name and UIDVALIDITY */
    gint64 now;
    StoreTxn *txn;
    GArray *removed;
} Model;

static const char *const box_names[BOXES] = {"INBOX", "a", "a/b", "a/b/c", "z/y", "z"};

static guint32 below(Model *self, guint32 n)
{
    return (guint32)g_rand_int_range(self->rand, 0, (gint32)n);
}

static ModelMsg fresh_msg(void)
{
    return (ModelMsg){.known_size = -1};
}

static void clear_msgs(ModelBox *box)
{
    for (int uid = 1; uid <= UIDS; uid++)
        box->msgs[uid] = fresh_msg();
}

/* --- operations --- */

static void op_reconcile(Model *self)
{
    g_autoptr(GString) list = g_string_new(NULL);
    bool want[BOXES];
    for (int i = 0; i < BOXES; i++) {
        want[i] = below(self, 10) < 8;
        if (want[i])
            g_string_append_printf(list, "%s ", box_names[i]);
    }
    reconcile(self->fixture.store, list->str, ++self->now, NULL, NULL);
    for (int i = 0; i < BOXES; i++) {
        ModelBox *box = &self->boxes[i];
        if (!want[i] || !box->there)
            clear_msgs(box);
        guint32 id = box_id(self->fixture.store, box_names[i]);
        bool level = false; /* of a wanted one below */
        for (int k = 0; k < BOXES; k++) {
            g_autofree char *under = g_strconcat(box_names[i], "/", NULL);
            level = level || (want[k] && g_str_has_prefix(box_names[k], under));
        }
        assert_int_equal(id != 0, want[i] || level);
        if (id != 0 && id != box->id && !g_hash_table_add(self->ids, GUINT_TO_POINTER(id)))
            fail_msg("the id %u is given again", id);
        if (box->there && box->id != 0 && id != 0)
            assert_int_equal(id, box->id);
        box->id = id;
        box->there = want[i];
    }
}

static ModelBox *pick_box(Model *self)
{
    ModelBox *box = &self->boxes[below(self, BOXES)];
    return box->there ? box : NULL;
}

static void op_renew(Model *self, ModelBox *box)
{
    GError *error = NULL;
    guint32 id = 0;
    StoreTxn *txn = begin(self->fixture.store);
    store_box_renew(txn, box->id, ++box->uidvalidity, ++self->now, &id, &error);
    assert_no_error(error);
    commit(txn);
    if (!g_hash_table_add(self->ids, GUINT_TO_POINTER(id)))
        fail_msg("the id %u is given again", id);
    box->id = id;
    clear_msgs(box);
}

static void put_one(Model *self, ModelBox *box, guint32 uid)
{
    GError *error = NULL;
    bool is_new;
    ModelMsg *model = &box->msgs[uid];
    StoreMsg msg = sample_msg(uid);
    g_autofree char *flags = g_strdup_printf("f%u", below(self, 5));
    msg.flags = flags;
    msg.modseq = below(self, 4);
    msg.size = below(self, 1000);
    store_msg_put(self->txn, box->id, &msg, &is_new, &error);
    assert_no_error(error);
    assert_int_equal(is_new, !model->there);
    if (!model->there) {
        *model = fresh_msg();
        model->content = false;
        model->size = (guint32)msg.size;
        model->there = true;
        model->modseq = msg.modseq;
    }
    g_strlcpy(model->flags, flags, sizeof model->flags);
    model->modseq = msg.modseq != 0 ? msg.modseq : model->modseq;
}

static void flag_one(Model *self, ModelBox *box, guint32 uid)
{
    GError *error = NULL;
    bool changed;
    ModelMsg *model = &box->msgs[uid];
    g_autofree char *flags = g_strdup_printf("f%u", below(self, 5));
    guint64 modseq = below(self, 4);
    store_msg_set_flags(self->txn, box->id, uid, flags, modseq, &changed, &error);
    assert_no_error(error);
    assert_int_equal(changed, model->there && strcmp(model->flags, flags) != 0);
    if (!model->there)
        return;
    g_strlcpy(model->flags, flags, sizeof model->flags);
    model->modseq = modseq != 0 ? modseq : model->modseq;
}

static void structure_one(Model *self, ModelBox *box, guint32 uid)
{
    GError *error = NULL;
    g_autofree char *text = g_strdup_printf("structure %u/%u", box->id, uid);
    store_structure_put(self->txn, box->id, uid, text, &error);
    assert_no_error(error);
    box->msgs[uid].structure = box->msgs[uid].there;
}

static void remove_some(Model *self, ModelBox *box, guint32 uid)
{
    GError *error = NULL;
    g_autoptr(UidSet) set = uidset_new();
    g_autoptr(UidSet) removed = uidset_new();
    for (guint32 n = below(self, 3) == 0 ? 50 : 3; n > 0; n--)
        uidset_add(set, 1 + below(self, UIDS * 2));
    uidset_add_range(set, uid, uid + below(self, 4));
    store_msg_remove(self->txn, box->id, set, removed, &error);
    assert_no_error(error);
    for (guint32 i = 1; i <= UIDS; i++) {
        bool goes = box->msgs[i].there && uidset_contains(set, i);
        assert_int_equal(uidset_contains(removed, i), goes);
        if (goes)
            box->msgs[i] = fresh_msg();
    }
}

/* Some changes in one transaction; now and then it is rolled back. */
static void op_transaction(Model *self)
{
    static void (*const changes[])(Model *, ModelBox *, guint32) = {
        put_one, put_one, put_one, flag_one, structure_one, remove_some};
    GError *error = NULL;
    memcpy(self->saved, self->boxes, sizeof self->boxes);
    self->txn = store_begin(self->fixture.store, below(self, 20) == 0, &error);
    assert_no_error(error);
    for (guint32 n = 1 + below(self, 15); n > 0; n--) {
        ModelBox *box = pick_box(self);
        if (box != NULL)
            changes[below(self, G_N_ELEMENTS(changes))](self, box, 1 + below(self, UIDS));
    }
    if (below(self, 8) == 0) {
        store_rollback(self->txn);
        memcpy(self->boxes, self->saved, sizeof self->boxes);
    } else {
        commit(self->txn);
    }
}

static gsize content_length(guint32 seed)
{
    return seed % 10 == 0 ? 70000 : seed % 977;
}

static void op_content(Model *self, ModelBox *box)
{
    guint32 uid = 1 + below(self, UIDS);
    ModelMsg *model = &box->msgs[uid];
    if (!model->there)
        return;
    ContentKey key = {box->id, uid, CONTENT_TEXT, "1"};
    model->content_seed = below(self, 100000);
    put_content(self->fixture.store, &key, model->content_seed,
                content_length(model->content_seed));
    model->content = true;
    model->known_size = (gint64)content_length(model->content_seed);
}

static void op_batch(Model *self)
{
    GError *error = NULL;
    assert_true(content_batch_begin(self->fixture.store, &error));
    for (guint32 n = below(self, 10); n > 0; n--) {
        ModelBox *box = pick_box(self);
        if (box != NULL)
            op_content(self, box);
    }
    assert_true(content_batch_end(self->fixture.store, &error));
}

/* --- comparing --- */

static void check_msg(Model *self, ModelBox *box, guint32 uid)
{
    StoreReader *reader = store_reader(self->fixture.store);
    const ModelMsg *model = &box->msgs[uid];
    ContentKey key = {box->id, uid, CONTENT_TEXT, "1"};
    StoreMsg msg = {0};
    assert_int_equal(store_msg_get(reader, box->id, uid, &msg), model->there);
    g_autofree char *structure = store_structure_get(reader, box->id, uid);
    assert_int_equal(structure != NULL, model->structure);
    assert_int_equal(store_size_get(reader, box->id, uid, CONTENT_TEXT, "1"), model->known_size);
    if (model->there) {
        assert_string_equal(msg.flags, model->flags);
        assert_int_equal(msg.modseq, model->modseq);
        assert_int_equal(msg.size, model->size);
        assert_int_equal(msg.has_structure, model->structure);
    }
    store_msg_clear(&msg);
    g_autoptr(Content) content = content_open(reader, &key);
    if (content != NULL && !model->content)
        fail_msg("a content of %u/%u came from nowhere", box->id, uid);
    if (model->content)
        check_content(content, model->content_seed, content_length(model->content_seed));
}

static void check_all(Model *self)
{
    GError *error = NULL;
    StoreReader *reader = store_reader(self->fixture.store);
    for (int i = 0; i < BOXES; i++) {
        ModelBox *box = &self->boxes[i];
        if (!box->there)
            continue;
        g_autoptr(UidSet) uids = store_msg_uids(reader, box->id);
        g_autoptr(UidSet) bare = store_msg_without_structure(reader, box->id, 0, G_MAXUINT32, UIDS);
        guint32 count = 0;
        for (guint32 uid = 1; uid <= UIDS; uid++) {
            check_msg(self, box, uid);
            assert_int_equal(uidset_contains(uids, uid), box->msgs[uid].there);
            assert_int_equal(uidset_contains(bare, uid),
                             box->msgs[uid].there && !box->msgs[uid].structure);
            count += box->msgs[uid].there ? 1 : 0;
        }
        assert_int_equal(store_msg_count(reader, box->id), count);
    }
    assert_true(store_reader_check(reader, &error));
}

static void step(Model *self)
{
    ModelBox *box = pick_box(self);
    guint32 dice = below(self, 100);
    if (dice < 4) {
        op_reconcile(self);
    } else if (dice < 7 && box != NULL) {
        op_renew(self, box);
    } else if (dice < 60) {
        op_transaction(self);
    } else if (dice < 85 && box != NULL) {
        op_content(self, box);
    } else if (dice < 95) {
        op_batch(self);
    } else if (dice < 97) {
        check_all(self);
    } else if (dice == 97) {
        fixture_close(&self->fixture);
        fixture_open_sized(&self->fixture, 1 << 30);
    }
}

static void test_model(void **state)
{
    for (guint32 seed = 1; seed <= SEEDS; seed++) {
        Model self = {.rand = g_rand_new_with_seed(seed),
                      .ids = g_hash_table_new(g_direct_hash, g_direct_equal)};
        for (int i = 0; i < BOXES; i++)
            clear_msgs(&self.boxes[i]);
        fixture_init_small(&self.fixture);
        fixture_open_sized(&self.fixture, 1 << 30);
        op_reconcile(&self);
        for (int i = 0; i < OPERATIONS; i++)
            step(&self);
        check_all(&self);
        fixture_clear(&self.fixture);
        g_hash_table_unref(self.ids);
        g_rand_free(self.rand);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_model)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
