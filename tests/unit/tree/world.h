/* world.h - a small account in a store of its own, for tests of the tree and of the front.
 *
 * To be included by one source file of a test, after fake_engine.h. */
#pragma once
#include <glib/gstdio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "imapfs/mime/name.h"
#include "imapfs/store/content.h"
#include "imapfs/tree/tree.h"
#include "imapfs/wire/response.h"

#define WORLD_NOW (1700000000ll * 1000000000ll)
#define WORLD_DATE 1763632800 /* 2025-11-20 10:00:00 UTC */

#define TEXT_PART \
    "(\"TEXT\" \"PLAIN\" (\"CHARSET\" \"utf-8\") NIL NIL \"7BIT\" 120 4 NIL NIL NIL NIL)"
#define HTML_PART                                                                                \
    "(\"TEXT\" \"HTML\" (\"CHARSET\" \"utf-8\") NIL NIL \"QUOTED-PRINTABLE\" 300 8 NIL NIL NIL " \
    "NIL)"
#define PDF_PART                                                                      \
    "(\"APPLICATION\" \"PDF\" (\"NAME\" \"report.pdf\") NIL NIL \"BASE64\" 7800 NIL " \
    "(\"ATTACHMENT\" (\"FILENAME\" \"report.pdf\")) NIL NIL)"
#define ENVELOPE "(NIL \"inner\" NIL NIL NIL NIL NIL NIL NIL NIL)"
#define NESTED_PART                                                                       \
    "(\"MESSAGE\" \"RFC822\" NIL NIL NIL \"7BIT\" 9000 " ENVELOPE " (" TEXT_PART PDF_PART \
    " \"MIXED\" (\"BOUNDARY\" \"b\") NIL NIL NIL) 90 NIL NIL NIL NIL)"
#define SIMPLE_STRUCTURE TEXT_PART
#define RICH_STRUCTURE                                                                 \
    "((" TEXT_PART HTML_PART                                                           \
    " \"ALTERNATIVE\" (\"BOUNDARY\" \"a\") NIL NIL NIL)" PDF_PART PDF_PART NESTED_PART \
    " \"MIXED\" (\"BOUNDARY\" \"m\") NIL NIL NIL)"

typedef struct {
    char *dir;
    Store *store;
    Engine *engine;
    Tree *tree;
    guint32 inbox, projects, year, lists, announce, empty; /* ids */
} World;

/* Messages of INBOX. */
static const struct {
    guint32 uid;
    const char *from, *subject, *flags, *structure; /* NULL: not known, "": of no use */
    guint64 size;
} world_messages[] = {
    {7, "Alice Doe", "Quarterly report", "\\Seen $Work todo", SIMPLE_STRUCTURE, 1000},
    {9, "Bob", "With parts", "", RICH_STRUCTURE, 20000},
    {11, "Eve", "No structure", "\\Flagged", "", 500},
    {4294967295u, "Last", "Unknown yet", "", NULL, 77},
};

static void world_put(World *world, StoreTxn *txn, guint32 box, guint32 uid, const char *from,
                      const char *subject, const char *flags, guint64 size)
{
    g_autofree char *name = name_message(WORLD_DATE, 60, from, subject);
    StoreMsg msg = {.uid = uid,
                    .name = name,
                    .from = (char *)from,
                    .subject = (char *)subject,
                    .internaldate = WORLD_DATE,
                    .zone = 60,
                    .size = size,
                    .flags = (char *)flags,
                    .modseq = 40 + uid % 10};
    bool is_new = false;

    assert_true(store_msg_put(txn, box, &msg, &is_new, NULL));
}

static guint32 world_box(World *world, const char *name)
{
    StoreBox box = {0};
    guint32 id;

    assert_true(store_box_by_name(store_reader(world->store), name, &box));
    id = box.id;
    store_box_clear(&box);
    return id;
}

static void world_set_listed(World *world, StoreTxn *txn, guint32 id)
{
    StoreBox box = {0};

    assert_true(store_box_by_id(store_txn_reader(txn), id, &box));
    box.listed = true;
    box.uidvalidity = 1234;
    box.highestmodseq = 99;
    box.synced_ns = WORLD_NOW;
    assert_true(store_box_update(txn, &box, NULL));
    store_box_clear(&box);
}

static void world_fill(World *world)
{
    static const StoreListing listings[] = {
        {"INBOX", '/', 0},          {"INBOX/2024", '/', 0},
        {"INBOX/Projects", '/', 0}, {"Lists", '/', LIST_NOSELECT},
        {"Lists/announce", '/', 0}, {"Never listed", '/', 0},
    };
    StoreTxn *txn = store_begin(world->store, false, NULL);

    assert_non_null(txn);
    assert_true(
        store_boxes_reconcile(txn, listings, G_N_ELEMENTS(listings), WORLD_NOW, NULL, NULL, NULL));
    assert_true(store_commit(txn, NULL));
    world->inbox = world_box(world, "INBOX");
    world->projects = world_box(world, "INBOX/Projects");
    world->year = world_box(world, "INBOX/2024");
    world->lists = world_box(world, "Lists");
    world->announce = world_box(world, "Lists/announce");
    world->empty = world_box(world, "Never listed");

    txn = store_begin(world->store, false, NULL);
    for (guint i = 0; i < G_N_ELEMENTS(world_messages); i++) {
        world_put(world, txn, world->inbox, world_messages[i].uid, world_messages[i].from,
                  world_messages[i].subject, world_messages[i].flags, world_messages[i].size);
        if (world_messages[i].structure)
            assert_true(store_structure_put(txn, world->inbox, world_messages[i].uid,
                                            world_messages[i].structure, NULL));
    }
    world_put(world, txn, world->year, 3, "Year", "Old", "", 10);
    world_put(world, txn, world->announce, 5, "List", "News", "", 10);
    world_set_listed(world, txn, world->inbox);
    world_set_listed(world, txn, world->projects);
    world_set_listed(world, txn, world->year);
    world_set_listed(world, txn, world->announce);
    assert_true(store_commit(txn, NULL));
}

static int world_new(void **state)
{
    World *world = g_new0(World, 1);
    g_autofree char *state_dir = NULL, *cache_dir = NULL;
    g_autoptr(GError) error = NULL;

    world->dir = g_dir_make_tmp("imapfs-test-XXXXXX", NULL);
    state_dir = g_build_filename(world->dir, "state", NULL);
    cache_dir = g_build_filename(world->dir, "cache", NULL);
    g_mkdir(state_dir, 0700);
    g_mkdir(cache_dir, 0700);
    world->store = store_open(&(StoreConfig){.state_dir = state_dir,
                                             .cache_dir = cache_dir,
                                             .cache_size = 64 << 20,
                                             .account = "test"},
                              &error);
    if (!world->store)
        fail_msg("store_open: %s", error->message);
    world_fill(world);
    world->engine = fake_engine_new();
    fake_engine_set_fresh(world->engine, world->inbox, true);
    fake_engine_set_fresh(world->engine, world->projects, true);
    fake_engine_set_fresh(world->engine, world->year, true);
    fake_engine_set_fresh(world->engine, world->announce, true);
    world->tree = tree_new(&(TreeConfig){.store = world->store,
                                         .engine = world->engine,
                                         .uid = getuid(),
                                         .gid = getgid(),
                                         .account = "test",
                                         .mounted_ns = WORLD_NOW});
    *state = world;
    return 0;
}

static void world_remove(const char *path)
{
    GDir *dir = g_dir_open(path, 0, NULL);
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *child = g_build_filename(path, name, NULL);
        world_remove(child);
    }
    if (dir)
        g_dir_close(dir);
    g_remove(path);
}

G_GNUC_UNUSED static void world_close(World *world)
{
    engine_free(world->engine);
    tree_free(world->tree);
    store_close(world->store);
    world_remove(world->dir);
    g_free(world->dir);
    g_free(world);
}

G_GNUC_UNUSED static int world_free(void **state)
{
    world_close(*state);
    return 0;
}

/* Puts a content into the store, as the engine would. */
G_GNUC_UNUSED static void world_content(World *world, guint32 box, guint32 uid, ContentKind kind,
                                        const char *section, const char *bytes, gsize length)
{
    ContentKey key = {.box = box, .uid = uid, .kind = kind, .section = section};
    ContentWriter *writer = content_begin(world->store, &key, length, NULL);

    assert_non_null(writer);
    assert_true(content_write(writer, bytes, (gssize)length >= 0 ? length : 0, NULL));
    assert_true(content_commit(writer, NULL));
}

/* From the root, by lookups; ".." is taken textually. On failure, out is the last answer. Sizes
 * that are not known are left to be estimated. */
G_GNUC_UNUSED static TreeStatus world_walk(World *world, TreeAsk *ask, const char *path,
                                           TreeEntry *out)
{
    g_autofree char *whole = g_canonicalize_filename(path, "/");
    g_auto(GStrv) names = g_strsplit(whole + 1, "/", -1);
    TreeStatus status = tree_getattr(world->tree, ask, TREE_ROOT_INO, out);

    for (char **name = names; status == TREE_OK && *name && **name; name++) {
        guint64 dir = out->ino;
        status = tree_lookup(world->tree, ask, dir, *name, out);
        if (status == TREE_NEED && ask->need.kind == NEED_SIZES) {
            tree_ask_settle(ask, NEED_SIZES);
            status = tree_lookup(world->tree, ask, dir, *name, out);
        }
    }
    return status;
}
