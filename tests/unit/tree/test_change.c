/* test_change.c - changes as the tree applies them: together, each with its own answer. */
#include <errno.h>
#include <fcntl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "fake_engine.h"
#include "world.h"
#include "imapfs/base/clock.h"
#include "imapfs/base/fault.h"
#include "imapfs/store/log.h"
#include "imapfs/tree/ino.h"

#define NAME "user.imap.flags"

static TreeChange set_flags(guint64 ino, const char *flags)
{
    return (TreeChange){.kind = TREE_CHANGE_SETXATTR,
                        .ino = ino,
                        .name = NAME,
                        .bytes = flags,
                        .size = strlen(flags)};
}

static bool change_all(World *world, TreeChange *changes, guint n)
{
    TreeChange *pointers[16];
    TreeChangeTimes times;

    for (guint i = 0; i < n; i++)
        pointers[i] = &changes[i];
    return tree_change_all(world->tree, pointers, n, &times);
}

static void clear_all(TreeChange *changes, guint n)
{
    for (guint i = 0; i < n; i++)
        tree_change_clear(&changes[i]);
}

static void check_shown(World *world, guint32 uid, const char *want)
{
    TreeAsk ask = {0};
    GBytes *value = NULL;
    gsize length = 0;

    assert_int_equal(
        tree_getxattr(world->tree, &ask, tree_ino_message(world->inbox, uid), NAME, &value),
        TREE_OK);
    if (g_bytes_get_size(value) != strlen(want) ||
        memcmp(g_bytes_get_data(value, &length), want, strlen(want)) != 0)
        fail_msg("%u: \"%.*s\", not \"%s\"", uid, (int)g_bytes_get_size(value),
                 (const char *)g_bytes_get_data(value, &length), want);
    g_bytes_unref(value);
}

static guint64 pending(World *world)
{
    LogCounts counts = {0};

    log_count(store_reader(world->store), 0, 0, &counts);
    return counts.pending;
}

/* One that is refused leaves the others, and says what it is that changed. */
static void test_each_its_own(void **state)
{
    World *world = *state;
    guint64 a = tree_ino_message(world->inbox, 7), b = tree_ino_message(world->inbox, 9);
    TreeChange changes[] = {
        set_flags(a, "new"),
        set_flags(a, "\\Foo"),
        set_flags(tree_ino_message(world->inbox, 8), "x"), /* no such message */
        set_flags(b, "\\Flagged other"),
        {.kind = TREE_CHANGE_UNLINK, .ino = tree_ino_box(world->inbox), .name = "x"},
    };
    const int want[] = {0, EINVAL, ESTALE, 0, EPERM};

    assert_true(change_all(world, changes, G_N_ELEMENTS(changes)));
    for (guint i = 0; i < G_N_ELEMENTS(changes); i++) {
        assert_int_equal(changes[i].err, want[i]);
        assert_int_equal(changes[i].messages ? changes[i].messages->len : 0, want[i] ? 0 : 1);
    }
    assert_int_equal(g_array_index(changes[3].messages, TreeMessage, 0).uid, 9);
    check_shown(world, 7, "new");
    check_shown(world, 9, "\\Flagged other");
    assert_int_equal(pending(world), 2);
    clear_all(changes, G_N_ELEMENTS(changes));
}

/* The second sees what the first has done. */
static void test_one_after_the_other(void **state)
{
    World *world = *state;
    guint64 a = tree_ino_message(world->inbox, 7);
    TreeChange changes[] = {set_flags(a, "one"), set_flags(a, "two"), set_flags(a, "two three")};

    assert_true(change_all(world, changes, G_N_ELEMENTS(changes)));
    check_shown(world, 7, "three two");
    assert_int_equal(pending(world), 1); /* merged */
    clear_all(changes, G_N_ELEMENTS(changes));
}

static void arm(const char *fault)
{
    g_setenv("IMAPFS_FAULT", fault, TRUE);
    fault_init();
}

/* When it cannot be written down, all have the errno, but for who was refused before, and all is as
 * it was: what files remember too. */
static void test_all_or_nothing(void **state)
{
    World *world = *state;
    guint64 a = tree_ino_message(world->inbox, 7), flags = tree_ino_flags(world->inbox, 9);
    TreeFile *file = NULL;
    TreeAsk ask = {0};

    assert_int_equal(tree_open_to_change(world->tree, &ask, flags, O_WRONLY | O_TRUNC, &file),
                     TREE_OK);
    for (guint round = 0; round < 2; round++) {
        TreeChange changes[] = {set_flags(a, "new"),
                                set_flags(a, "\\Foo"),
                                {.kind = TREE_CHANGE_WRITE,
                                 .ino = flags,
                                 .file = file,
                                 .bytes = "\\Draft\n",
                                 .size = 7}};

        assert_int_equal(tree_file_owes_change(file), round == 0);
        arm(round ? "store.begin:1=EIO" : "store.commit:1=ENOSPC");
        assert_false(change_all(world, changes, G_N_ELEMENTS(changes)));
        assert_int_equal(changes[0].err, round ? EIO : ENOSPC);
        assert_int_equal(changes[1].err, round ? EIO : EINVAL);
        assert_int_equal(changes[2].err, round ? EIO : ENOSPC);
        for (guint i = 0; i < G_N_ELEMENTS(changes); i++)
            assert_null(changes[i].messages);
        check_shown(world, 7, "\\Seen $Work todo");
        check_shown(world, 9, "");
        assert_int_equal(pending(world), 0);
        clear_all(changes, G_N_ELEMENTS(changes));
    }
    {
        /* the same file again: still the text that replaces the old one */
        TreeChange put = set_flags(tree_ino_message(world->inbox, 9), "before");
        TreeChange change = {
            .kind = TREE_CHANGE_WRITE, .ino = flags, .file = file, .bytes = "\\Draft\n", .size = 7};

        assert_true(change_all(world, &put, 1));
        assert_true(change_all(world, &change, 1));
        check_shown(world, 9, "\\Draft");
        tree_change_clear(&put);
        tree_change_clear(&change);
    }
    tree_file_close(file);
}

/* What is refused without asking the store. */
static void test_refusals(void **state)
{
    World *world = *state;
    guint64 message = tree_ino_message(world->inbox, 7), flags = tree_ino_flags(world->inbox, 7);
    const struct {
        TreeChange change;
        int want;
    } rows[] = {
        {{.kind = TREE_CHANGE_WRITE, .ino = flags}, 0},
        {{.kind = TREE_CHANGE_OPEN, .ino = flags}, EPERM}, /* means nothing yet */
        {{.kind = TREE_CHANGE_TOUCH, .ino = flags}, EPERM},
        {{.kind = TREE_CHANGE_WRITE, .ino = message}, EPERM},
        {{.kind = TREE_CHANGE_SETXATTR, .ino = message, .name = NAME}, 0},
        {{.kind = TREE_CHANGE_SETXATTR, .ino = message, .name = "user.mine"}, 0}, /* EPERM later */
        {{.kind = TREE_CHANGE_SETXATTR, .ino = message, .name = "system.x"}, EOPNOTSUPP},
        {{.kind = TREE_CHANGE_SETXATTR, .ino = tree_ino_box(world->inbox), .name = NAME}, EPERM},
        {{.kind = TREE_CHANGE_RMDIR, .ino = tree_ino_box(world->inbox), .name = "x"},
         0},                                                           /* later */
        {{.kind = TREE_CHANGE_RMDIR, .ino = message, .name = "x"}, 0}, /* ENOENT later */
        {{.kind = TREE_CHANGE_MKDIR, .ino = TREE_ROOT_INO, .name = "x"}, 0},
        {{.kind = TREE_CHANGE_MKDIR, .ino = message, .name = "x"}, EPERM},
        {{.kind = TREE_CHANGE_RENAME, .ino = TREE_ROOT_INO, .name = "x", .new_ino = message},
         EPERM},
        {{.kind = TREE_CHANGE_RENAME, .ino = TREE_ROOT_INO, .name = "x", .new_ino = 1}, 0},
        {{.kind = TREE_CHANGE_UNLINK, .ino = message, .name = "flags"}, 0},
        {{.kind = TREE_CHANGE_UNLINK, .ino = tree_ino_box(world->inbox), .name = "x"}, 0},
        {{.kind = TREE_CHANGE_LINK, .ino = flags, .new_ino = tree_ino_box(world->inbox)}, EPERM},
        {{.kind = TREE_CHANGE_LINK, .ino = flags + 1, .new_ino = tree_ino_box(world->inbox)}, 0},
        {{.kind = TREE_CHANGE_UNLINK, .ino = TREE_ROOT_INO, .name = "x"}, EPERM},
        {{.kind = TREE_CHANGE_WRITE, .ino = ino_pack(0, 12, 1)}, EPERM}, /* of the queue */
        {{.kind = TREE_CHANGE_WRITE, .ino = ino_pack(1, 1, 12345)}, EPERM},
        {{.kind = TREE_CHANGE_WRITE, .ino = G_MAXUINT64}, EPERM},
    };

    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        if (tree_change_refusal(&rows[i].change) != rows[i].want)
            fail_msg("row %u: %d", i, tree_change_refusal(&rows[i].change));
    }
}

/* fsync: what it waits for. */
static void test_sync(void **state)
{
    World *world = *state;
    guint64 a = tree_ino_message(world->inbox, 7);
    TreeChange change = set_flags(a, "new");
    const struct {
        guint64 ino;
        TreeStatus want;
        guint32 box, uid;
    } rows[] = {
        {a, TREE_NEED, world->inbox, 7},
        {tree_ino_flags(world->inbox, 7), TREE_NEED, world->inbox, 7},
        {tree_ino_box(world->inbox), TREE_NEED, world->inbox, 0},
        {TREE_ROOT_INO, TREE_NEED, 0, 0},
        {tree_ino_message(world->inbox, 9), TREE_OK, 0, 0},
        {tree_ino_box(world->projects), TREE_OK, 0, 0},
    };

    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        TreeAsk ask = {0};
        assert_int_equal(tree_sync(world->tree, &ask, rows[i].ino), TREE_OK);
    }
    assert_true(change_all(world, &change, 1));
    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        TreeAsk ask = {0};

        assert_int_equal(tree_sync(world->tree, &ask, rows[i].ino), rows[i].want);
        if (rows[i].want != TREE_NEED)
            continue;
        assert_int_equal(ask.need.kind, NEED_REPLAYED);
        assert_int_equal(ask.need.box, rows[i].box);
        assert_int_equal(ask.need.uid, rows[i].uid);
        tree_ask_settle(&ask, NEED_REPLAYED); /* what came since is not waited for as well */
        assert_int_equal(tree_sync(world->tree, &ask, rows[i].ino), TREE_OK);
        tree_ask_clear(&ask);
    }
    tree_change_clear(&change);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, world_new, world_free)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_each_its_own),   TEST(test_one_after_the_other),
        TEST(test_all_or_nothing), TEST(test_refusals),
        TEST(test_sync),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
