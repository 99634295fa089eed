/* test_tree.c - names, attributes, listings, files and attributes of every kind of node, on a real
 * store and an engine that only says what is fresh. */
#include <errno.h>
#include <unistd.h>

#include "fake_engine.h"
#include "imapfs/mime/layout.h"
#include "world.h"

#define A "/INBOX/2025-11-20 Alice Doe - Quarterly report.7"
#define B "/INBOX/2025-11-20 Bob - With parts.9"
#define NO_STRUCTURE "/INBOX/2025-11-20 Eve - No structure.11"
#define UNKNOWN "/INBOX/2025-11-20 Last - Unknown yet.4294967295"
#define NESTED B "/attachments/part-4.message"
#define RAW "/.imapfs/raw"

/* --- lookup --- */

static const struct {
    const char *path;
    int err; /* 0: found; -1: asks for something */
    mode_t mode;
} lookups[] = {
    {"/", 0, S_IFDIR | 0700},
    {"/INBOX", 0, S_IFDIR | 0700},
    {"/Lists", 0, S_IFDIR | 0700},
    {"/Lists/announce", 0, S_IFDIR | 0700},
    {"/INBOX/Projects", 0, S_IFDIR | 0700},
    {"/inbox", ENOENT, 0},
    {"/Nothing", ENOENT, 0},
    {"/INBOX/.git", ENOENT, 0},
    {"/.uid", ENOENT, 0},
    {"/.imapfs", 0, S_IFDIR | 0500},
    {"/.imapfs/status", 0, S_IFREG | 0400},
    {"/.imapfs/log", 0, S_IFREG | 0400},
    {"/.imapfs/nothing", ENOENT, 0},
    {RAW, 0, S_IFDIR | 0500},
    {A, 0, S_IFDIR | 0700},
    {"/INBOX/2025-11-20 Alice Doe - Quarterly repor.7", ENOENT, 0},
    {"/INBOX/2025-11-20 Alice Doe - Quarterly report!.7", ENOENT, 0},
    {"/INBOX/2025-11-20 Alice Doe - Quarterly report.9", ENOENT, 0},
    {"/INBOX/2025-11-20 Alice Doe - Quarterly report.8", ENOENT, 0},
    {"/INBOX/2025-11-20 Alice Doe - Quarterly report.07", ENOENT, 0},
    {"/INBOX/2025-11-20 Alice Doe - Quarterly report.4294967303", ENOENT, 0}, /* 7 + 2^32 */
    {"/INBOX/2025-11-20 Alice Doe - Quarterly report.0", ENOENT, 0},
    {"/INBOX/2025-11-20 Alice Doe - Quarterly report.", ENOENT, 0},
    {"/INBOX/2025-11-20 Alice Doe - Quarterly report", ENOENT, 0},
    {"/INBOX/.7", ENOENT, 0},
    {"/INBOX/7", ENOENT, 0},
    {A "/headers.txt", 0, S_IFREG | 0400},
    {A "/flags", 0, S_IFREG | 0600},
    {A "/message.eml", 0, S_IFLNK | 0777},
    {A "/body.txt", 0, S_IFREG | 0400},
    {A "/body.html", ENOENT, 0},
    {A "/attachments", ENOENT, 0},
    {A "/body.txt/more", ENOTDIR, 0},
    {B "/body.html", 0, S_IFREG | 0400},
    {B "/attachments", 0, S_IFDIR | 0700},
    {B "/attachments/report.pdf", 0, S_IFREG | 0400},
    {B "/attachments/report (2).pdf", 0, S_IFREG | 0400},
    {B "/attachments/report (3).pdf", ENOENT, 0},
    {B "/attachments/body.html", ENOENT, 0},
    {NESTED, 0, S_IFDIR | 0700},
    {NESTED "/headers.txt", 0, S_IFREG | 0400},
    {NESTED "/flags", ENOENT, 0},
    {NESTED "/message.eml", 0, S_IFLNK | 0777},
    {NESTED "/body.txt", 0, S_IFREG | 0400},
    {NESTED "/attachments/report.pdf", 0, S_IFREG | 0400},
    {NO_STRUCTURE "/PROBLEM.txt", 0, S_IFREG | 0400},
    {NO_STRUCTURE "/message.eml", 0, S_IFLNK | 0777},
    {NO_STRUCTURE "/body.txt", ENOENT, 0},
    {UNKNOWN, 0, S_IFDIR | 0700},
    {UNKNOWN "/headers.txt", 0, S_IFREG | 0400}, /* without the structure */
    {UNKNOWN "/flags", 0, S_IFREG | 0600},
    {UNKNOWN "/message.eml", 0, S_IFLNK | 0777},
    {UNKNOWN "/body.txt", -1, 0},
    {"/INBOX/.uid", 0, S_IFDIR | 0500},
    {"/INBOX/.uid/7", 0, S_IFLNK | 0777},
    {"/INBOX/.uid/8", ENOENT, 0},
    {"/INBOX/.uid/07", ENOENT, 0},
    {"/INBOX/.uid/x", ENOENT, 0},
    {"/Lists/.uid", ENOENT, 0},
    {RAW "/INBOX", 0, S_IFDIR | 0500},
    {RAW "/INBOX/7.eml", 0, S_IFREG | 0400},
    {RAW "/INBOX/7", 0, S_IFDIR | 0500},
    {RAW "/INBOX/7/1", 0, S_IFREG | 0400},
    {RAW "/INBOX/7/2", ENOENT, 0},
    {RAW "/INBOX/7/", 0, S_IFDIR | 0500},
    {RAW "/INBOX/9/1.1", 0, S_IFREG | 0400},
    {RAW "/INBOX/9/4", 0, S_IFREG | 0400},
    {RAW "/INBOX/9/4.2", 0, S_IFREG | 0400},
    {RAW "/INBOX/8.eml", ENOENT, 0},
    {RAW "/INBOX/7.EML", ENOENT, 0},
    {RAW "/INBOX/2024", ENOENT, 0}, /* would be a message's directory */
    {RAW "/INBOX/%32024", 0, S_IFDIR | 0500},
    {RAW "/INBOX/%32024/3.eml", 0, S_IFREG | 0400},
    {RAW "/INBOX/Projects", 0, S_IFDIR | 0500},
};

static void test_lookup(void **state)
{
    World *world = *state;

    for (guint i = 0; i < G_N_ELEMENTS(lookups); i++) {
        TreeAsk ask = {0};
        TreeEntry entry = {0};
        TreeStatus status = world_walk(world, &ask, lookups[i].path, &entry);
        TreeStatus want = lookups[i].err > 0 ? TREE_ERROR : lookups[i].err ? TREE_NEED : TREE_OK;

        if (status != want || (want == TREE_ERROR && ask.err != lookups[i].err))
            fail_msg("%s: status %d errno %d need %d", lookups[i].path, status, ask.err,
                     ask.need.kind);
        if (status == TREE_OK) {
            TreeEntry again = {0};

            assert_int_equal(entry.st.st_mode, lookups[i].mode);
            assert_int_equal(entry.st.st_ino, entry.ino);
            assert_int_equal(entry.st.st_nlink, 1);
            assert_int_equal(tree_getattr(world->tree, &ask, entry.ino, &again), TREE_OK);
            assert_int_equal(again.st.st_size, entry.st.st_size);
            assert_int_equal(again.st.st_mode, entry.st.st_mode);
        }
        tree_ask_clear(&ask);
    }
}

static void test_names_too_long(void **state)
{
    World *world = *state;
    TreeAsk ask = {0};
    TreeEntry entry;
    g_autofree char *name = g_strnfill(256, 'x');

    assert_int_equal(tree_lookup(world->tree, &ask, TREE_ROOT_INO, name, &entry), TREE_ERROR);
    assert_int_equal(ask.err, ENAMETOOLONG);
}

/* Numbers that name nothing: whoever kept one too long, or made it up. */
static void test_stale_numbers(void **state)
{
    World *world = *state;
    const guint64 numbers[] = {
        0,
        2000,
        tree_ino_box(4711),
        tree_ino_message(world->inbox, 8),
        tree_ino_message(4711, 7),
        tree_ino_message(world->inbox, 7) + 5, /* has five nodes */
        tree_ino_message(world->inbox, 7) + 32767,
        tree_ino_box(world->inbox) + 3,
        G_MAXUINT64,
    };

    for (guint i = 0; i < G_N_ELEMENTS(numbers); i++) {
        TreeAsk ask = {0};
        TreeEntry entry;
        TreeFile *file = NULL;

        assert_int_equal(tree_getattr(world->tree, &ask, numbers[i], &entry), TREE_ERROR);
        assert_int_equal(ask.err, ESTALE);
        assert_int_equal(tree_open(world->tree, &ask, numbers[i], &file), TREE_ERROR);
        assert_int_equal(ask.err, ESTALE);
    }
}

/* --- freshness --- */

static const struct {
    const char *name; /* looked up in INBOX; NULL: INBOX is listed; "/": the root is listed */
    bool boxes_fresh, box_fresh;
    guint settled;
    TreeStatus want;
    NeedKind need;
} freshness[] = {
    /* a name that could be a message's */
    {"2025-11-20 X - Y.8", true, true, 0, TREE_ERROR, 0},
    {"2025-11-20 X - Y.8", false, true, 0, TREE_ERROR, 0},
    {"2025-11-20 X - Y.8", true, false, 0, TREE_NEED, NEED_MAILBOX},
    {"2025-11-20 X - Y.8", true, false, 1u << NEED_MAILBOX, TREE_ERROR, 0},
    {"2025-11-20 X - Y.8", true, false, 1u << NEED_MAILBOXES, TREE_NEED, NEED_MAILBOX},
    /* one that is known, under another name: no news can change that */
    {"2025-11-20 X - Y.7", false, false, 0, TREE_ERROR, 0},
    {"2025-11-20 Alice Doe - Quarterly report.7", false, false, 0, TREE_OK, 0},
    /* a name that could be a mailbox's */
    {".git", true, false, 0, TREE_ERROR, 0},
    {".git", false, true, 0, TREE_NEED, NEED_MAILBOXES},
    {".git", false, true, 1u << NEED_MAILBOXES, TREE_ERROR, 0},
    {"Projects", false, false, 0, TREE_OK, 0},
    /* listings */
    {NULL, true, true, 0, TREE_OK, 0},
    {NULL, false, true, 0, TREE_NEED, NEED_MAILBOXES},
    {NULL, true, false, 0, TREE_NEED, NEED_MAILBOX},
    {NULL, false, false, 1u << NEED_MAILBOXES, TREE_NEED, NEED_MAILBOX},
    {NULL, false, false, 1u << NEED_MAILBOXES | 1u << NEED_MAILBOX, TREE_OK, 0},
    {"/", true, false, 0, TREE_OK, 0},
    {"/", false, false, 0, TREE_NEED, NEED_MAILBOXES},
    {"/", false, false, 1u << NEED_MAILBOXES, TREE_OK, 0},
};

static bool count_entry(const char *name, const TreeEntry *entry, guint64 cookie, gpointer data)
{
    ++*(guint *)data;
    return true;
}

/* Of those with attributes. */
static bool count_complete(const char *name, const TreeEntry *entry, guint64 cookie, gpointer data)
{
    *(guint *)data += entry->st.st_nlink != 0;
    return true;
}

static void test_freshness(void **state)
{
    World *world = *state;

    for (guint i = 0; i < G_N_ELEMENTS(freshness); i++) {
        const char *name = freshness[i].name;
        TreeAsk ask = {.settled = freshness[i].settled};
        TreeEntry entry = {0};
        TreeStatus status;
        guint n = 0;

        fake_engine_set_fresh(world->engine, 0, freshness[i].boxes_fresh);
        fake_engine_set_fresh(world->engine, world->inbox, freshness[i].box_fresh);
        if (!name || *name == '/')
            status = tree_readdir(world->tree, &ask, tree_ino_box(name ? 0 : world->inbox), 0, true,
                                  count_entry, &n);
        else
            status = tree_lookup(world->tree, &ask, tree_ino_box(world->inbox), name, &entry);
        if (status != freshness[i].want ||
            (status == TREE_NEED && ask.need.kind != freshness[i].need))
            fail_msg("row %u: status %d need %d", i, status, ask.need.kind);
        if (status == TREE_NEED && ask.need.kind == NEED_MAILBOX)
            assert_int_equal(ask.need.box, world->inbox);
        /* "No such name" is only to be kept when nothing had to be taken on trust. */
        if (status == TREE_ERROR && ask.settled)
            assert_true(entry.entry_ttl == 0);
        tree_ask_clear(&ask);
    }
}

/* A mailbox that was never listed: even a settled ask has nothing to show. */
static void test_never_listed(void **state)
{
    World *world = *state;
    TreeAsk ask = {0};
    guint64 dir = tree_ino_box(world->empty);
    TreeEntry entry;
    guint n = 0;

    tree_ask_settle(&ask, NEED_MAILBOX);
    assert_int_equal(tree_readdir(world->tree, &ask, dir, 0, false, count_entry, &n), TREE_NEED);
    assert_int_equal(ask.need.kind, NEED_MAILBOX);
    assert_int_equal(tree_lookup(world->tree, &ask, dir, "2025-11-20 X - Y.8", &entry), TREE_NEED);
    assert_int_equal(n, 0);
    tree_ask_clear(&ask);
}

/* \Noselect: a plain directory, for which no mailbox is ever asked. */
static void test_noselect(void **state)
{
    World *world = *state;
    TreeAsk ask = {0};
    guint64 dir = tree_ino_box(world->lists);
    TreeEntry entry;
    guint n = 0;

    assert_int_equal(tree_readdir(world->tree, &ask, dir, 0, false, count_entry, &n), TREE_OK);
    assert_int_equal(n, 3); /* ".", "..", announce */
    assert_int_equal(tree_lookup(world->tree, &ask, dir, "2025-11-20 X - Y.8", &entry), TREE_ERROR);
    assert_int_equal(ask.err, ENOENT);
    tree_ask_clear(&ask);
}

/* --- listings --- */

typedef struct {
    GPtrArray *names;
    GArray *cookies, *inos;
    guint room; /* how many more fit */
} Listed;

static bool list_entry(const char *name, const TreeEntry *entry, guint64 cookie, gpointer data)
{
    Listed *listed = data;
    guint64 ino = entry->st.st_ino;

    if (listed->room-- == 0)
        return false;
    assert_true(S_ISDIR(entry->st.st_mode) || S_ISREG(entry->st.st_mode) ||
                S_ISLNK(entry->st.st_mode));
    g_ptr_array_add(listed->names, g_strdup(name));
    g_array_append_val(listed->cookies, cookie);
    g_array_append_val(listed->inos, ino);
    return true;
}

static Listed listed_new(void)
{
    return (Listed){g_ptr_array_new_with_free_func(g_free),
                    g_array_new(FALSE, FALSE, sizeof(guint64)),
                    g_array_new(FALSE, FALSE, sizeof(guint64)), G_MAXUINT};
}

static void listed_free(Listed *listed)
{
    g_ptr_array_unref(listed->names);
    g_array_unref(listed->cookies);
    g_array_unref(listed->inos);
}

/* The whole directory, at most n entries a call. */
static Listed list_by(World *world, guint64 dir, guint n, bool full)
{
    Listed listed = listed_new();
    guint64 after = 0;
    guint before;

    do {
        TreeAsk ask = {.settled = 1u << NEED_SIZES};

        before = listed.names->len;
        listed.room = n;
        assert_int_equal(tree_readdir(world->tree, &ask, dir, after, full, list_entry, &listed),
                         TREE_OK);
        tree_ask_clear(&ask);
        if (listed.cookies->len)
            after = g_array_index(listed.cookies, guint64, listed.cookies->len - 1);
    } while (listed.names->len > before);
    return listed;
}

static const struct {
    const char *path;
    const char *names[10]; /* after "." and ".." */
} listings[] = {
    {"/", {"INBOX", "Lists", "Never listed"}},
    {"/INBOX",
     {"2024", "Projects", "2025-11-20 Alice Doe - Quarterly report.7",
      "2025-11-20 Bob - With parts.9", "2025-11-20 Eve - No structure.11",
      "2025-11-20 Last - Unknown yet.4294967295"}},
    {"/INBOX/Projects", {NULL}},
    {"/Lists", {"announce"}},
    {"/.imapfs", {"status", "log", "raw", "queue", "failed", "events", "ctl", "maildir"}},
    {"/INBOX/.uid", {"7", "9", "11", "4294967295"}},
    {A, {"headers.txt", "flags", "message.eml", "body.txt"}},
    {B, {"headers.txt", "flags", "message.eml", "body.txt", "body.html", "attachments"}},
    {B "/attachments", {"report.pdf", "report (2).pdf", "part-4.message"}},
    {NESTED, {"headers.txt", "message.eml", "body.txt", "attachments"}},
    {NESTED "/attachments", {"report.pdf"}},
    {NO_STRUCTURE, {"headers.txt", "flags", "message.eml", "PROBLEM.txt"}},
    {RAW, {"INBOX", "Lists", "Never listed"}},
    {RAW "/INBOX", {"%32024", "Projects", "7.eml", "9.eml", "11.eml", "4294967295.eml"}},
    {RAW "/INBOX/9", {"1.1", "1.2", "2", "3", "4", "4.1", "4.2"}},
};

static gint compare_names(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Entries stand in the order of their inode numbers; among mailboxes that is the store's order, so
 * names are compared as sets. */
static void check_listing(World *world, guint row, guint64 dir, const Listed *listed)
{
    g_autoptr(GPtrArray) want = g_ptr_array_new(), got = g_ptr_array_new();

    g_ptr_array_add(want, (gpointer) ".");
    g_ptr_array_add(want, (gpointer) "..");
    for (guint i = 0; listings[row].names[i]; i++)
        g_ptr_array_add(want, (gpointer)listings[row].names[i]);
    for (guint i = 0; i < listed->names->len; i++)
        g_ptr_array_add(got, g_ptr_array_index(listed->names, i));
    g_ptr_array_sort(want, compare_names);
    g_ptr_array_sort(got, compare_names);
    if (got->len != want->len)
        fail_msg("%s: %u entries, not %u", listings[row].path, got->len, want->len);
    for (guint i = 0; i < want->len; i++)
        assert_string_equal(g_ptr_array_index(got, i), g_ptr_array_index(want, i));

    for (guint i = 1; i < listed->cookies->len; i++)
        assert_true(g_array_index(listed->cookies, guint64, i) >
                    g_array_index(listed->cookies, guint64, i - 1));
    for (guint i = 2; i < listed->inos->len; i++) {
        TreeAsk ask = {.settled = 1u << NEED_SIZES};
        TreeEntry entry = {0};

        if (i > 2)
            assert_true(g_array_index(listed->inos, guint64, i) !=
                        g_array_index(listed->inos, guint64, i - 1));
        /* what is listed is found, under the same number */
        assert_int_equal(
            tree_lookup(world->tree, &ask, dir, g_ptr_array_index(listed->names, i), &entry),
            TREE_OK);
        assert_int_equal(entry.ino, g_array_index(listed->inos, guint64, i));
    }
}

static void test_listings(void **state)
{
    World *world = *state;

    for (guint row = 0; row < G_N_ELEMENTS(listings); row++) {
        TreeAsk ask = {0};
        TreeEntry entry = {0};

        assert_int_equal(world_walk(world, &ask, listings[row].path, &entry), TREE_OK);
        for (guint n = 1; n <= 11; n++) {
            Listed listed = list_by(world, entry.ino, n, n % 2);

            check_listing(world, row, entry.ino, &listed);
            listed_free(&listed);
        }
        tree_ask_clear(&ask);
    }
}

/* From every cookie the rest follows, also when the entry it stands for is gone meanwhile. */
static void test_listing_resumes(void **state)
{
    World *world = *state;
    guint64 dir = tree_ino_box(world->inbox);
    Listed all = list_by(world, dir, G_MAXUINT, false);
    g_autoptr(UidSet) gone = uidset_new(), removed = uidset_new();
    StoreTxn *txn;
    TreeAsk ask = {0};
    Listed rest = listed_new();

    for (guint i = 0; i < all.cookies->len; i++) {
        Listed part = listed_new();

        assert_int_equal(tree_readdir(world->tree, &ask, dir,
                                      g_array_index(all.cookies, guint64, i), true, list_entry,
                                      &part),
                         TREE_OK);
        assert_int_equal(part.names->len, all.names->len - i - 1);
        for (guint k = 0; k < part.names->len; k++)
            assert_string_equal(g_ptr_array_index(part.names, k),
                                g_ptr_array_index(all.names, i + 1 + k));
        listed_free(&part);
    }

    uidset_add(gone, 9);
    txn = store_begin(world->store, false, NULL);
    assert_true(store_msg_remove(txn, world->inbox, gone, removed, NULL));
    assert_true(store_commit(txn, NULL));
    /* ".", "..", 2024, Projects, 7, 9: after 9 */
    assert_int_equal(tree_readdir(world->tree, &ask, dir, g_array_index(all.cookies, guint64, 5),
                                  true, list_entry, &rest),
                     TREE_OK);
    assert_int_equal(rest.names->len, 2);
    listed_free(&rest);
    listed_free(&all);
}

/* --- links --- */

static void check_link(World *world, const char *path, const char *want_target,
                       const char *want_path)
{
    TreeAsk ask = {0};
    TreeEntry entry = {0}, target_entry = {0};
    g_autofree char *target = NULL, *dir = g_path_get_dirname(path), *joined = NULL, *whole = NULL;

    assert_int_equal(world_walk(world, &ask, path, &entry), TREE_OK);
    assert_int_equal(tree_readlink(world->tree, &ask, entry.ino, &target), TREE_OK);
    assert_string_equal(target, want_target);
    assert_int_equal(entry.st.st_size, strlen(target));
    joined = g_build_filename(dir, target, NULL);
    whole = g_canonicalize_filename(joined, "/");
    assert_string_equal(whole, want_path);
    assert_int_equal(world_walk(world, &ask, whole, &target_entry), TREE_OK);
    tree_ask_clear(&ask);
}

static void test_links(void **state)
{
    World *world = *state;

    check_link(world, A "/message.eml", "../../.imapfs/raw/INBOX/7.eml", RAW "/INBOX/7.eml");
    check_link(world, NESTED "/message.eml", "../../../../.imapfs/raw/INBOX/9/4", RAW "/INBOX/9/4");
    check_link(world, "/INBOX/2024/2025-11-20 Year - Old.3/message.eml",
               "../../../.imapfs/raw/INBOX/%32024/3.eml", RAW "/INBOX/%32024/3.eml");
    check_link(world, "/Lists/announce/2025-11-20 List - News.5/message.eml",
               "../../../.imapfs/raw/Lists/announce/5.eml", RAW "/Lists/announce/5.eml");
    check_link(world, "/INBOX/.uid/7", "../2025-11-20 Alice Doe - Quarterly report.7", A);
}

/* --- attributes --- */

static const struct {
    const char *path;
    off_t size; /* -1: not looked at */
    bool estimate;
} sizes[] = {
    {A "/headers.txt", -1, true},
    {A "/body.txt", 120, true}, /* identity encoding: still an estimate, charsets change it */
    {B "/attachments/report.pdf", 5700, true},
    {A "/flags", 17, false}, /* "\Seen\n$Work\ntodo\n" */
    {B "/flags", 0, false},
    {A "/message.eml", -1, false},
    {NO_STRUCTURE "/PROBLEM.txt", -1, false},
    {RAW "/INBOX/7.eml", 1000, true},
    {RAW "/INBOX/9/2", 7800, true},
    {RAW "/INBOX/9/4", 9000, true},
    {"/.imapfs/status", 13, true},
    {"/INBOX", -1, false},
    {A, -1, false},
};

static void test_sizes(void **state)
{
    World *world = *state;

    for (guint i = 0; i < G_N_ELEMENTS(sizes); i++) {
        TreeAsk ask = {0};
        TreeEntry entry = {0};

        assert_int_equal(world_walk(world, &ask, sizes[i].path, &entry), TREE_OK);
        if (sizes[i].size >= 0 && entry.st.st_size != sizes[i].size)
            fail_msg("%s: size %ld", sizes[i].path, (long)entry.st.st_size);
        if ((entry.attr_ttl == 0) != sizes[i].estimate)
            fail_msg("%s: ttl %f", sizes[i].path, entry.attr_ttl);
        if (S_ISREG(entry.st.st_mode) && sizes[i].estimate)
            assert_true(entry.st.st_size > 0);
        assert_int_equal(entry.st.st_blocks, (entry.st.st_size + 511) / 512);
        tree_ask_clear(&ask);
    }
}

static void test_exact_size(void **state)
{
    World *world = *state;
    TreeAsk ask = {0};
    TreeEntry entry = {0};

    world_content(world, world->inbox, 7, CONTENT_TEXT, "1", "hello\n", 6);
    world_content(world, world->inbox, 7, CONTENT_HEADERS, "", "", 0);
    assert_int_equal(world_walk(world, &ask, A "/body.txt", &entry), TREE_OK);
    assert_int_equal(entry.st.st_size, 6);
    assert_true(entry.attr_ttl > 0);
    assert_int_equal(world_walk(world, &ask, A "/headers.txt", &entry), TREE_OK);
    assert_int_equal(entry.st.st_size, 0);
    assert_true(entry.attr_ttl > 0);
}

static void put_size(World *world, guint32 uid, const char *section, guint64 size)
{
    StoreTxn *txn = store_begin(world->store, false, NULL);

    assert_non_null(txn);
    assert_true(
        store_size_put_computed(txn, world->inbox, uid, CONTENT_DECODED, section, size, NULL));
    assert_true(store_commit(txn, NULL));
}

static void check_needs_sizes(World *world, TreeStatus status, TreeAsk *ask)
{
    assert_int_equal(status, TREE_NEED);
    assert_int_equal(ask->need.kind, NEED_SIZES);
    assert_int_equal(ask->need.box, world->inbox);
    assert_int_equal(ask->need.uid, 9);
    tree_ask_clear(ask);
}

/* Attributes of a large base64 part wait once for its exact size; listings do not. */
static void test_needs_sizes(void **state)
{
    World *world = *state;
    TreeAsk ask = {0};
    TreeEntry dir = {0}, entry = {0};
    guint n = 0;

    assert_int_equal(world_walk(world, &ask, B "/attachments", &dir), TREE_OK);
    check_needs_sizes(world, tree_lookup(world->tree, &ask, dir.ino, "report.pdf", &entry), &ask);
    /* a listing tells the name, and leaves out what it would have to wait for */
    assert_int_equal(tree_readdir(world->tree, &ask, dir.ino, 0, true, count_complete, &n),
                     TREE_OK);
    assert_int_equal(n, 1); /* part-4.message */
    tree_ask_clear(&ask);
    assert_int_equal(tree_lookup(world->tree, &ask, dir.ino, "part-4.message", &entry), TREE_OK);

    /* settled: the estimate, which may not be kept */
    tree_ask_settle(&ask, NEED_SIZES);
    assert_int_equal(tree_lookup(world->tree, &ask, dir.ino, "report.pdf", &entry), TREE_OK);
    assert_int_equal(entry.st.st_size, 5700);
    assert_true(entry.attr_ttl == 0);
    tree_ask_clear(&ask);
    check_needs_sizes(world, tree_getattr(world->tree, &ask, entry.ino, &entry), &ask);

    /* computed: told, but not to be kept before the part was here */
    put_size(world, 9, "2", 5698);
    assert_int_equal(tree_lookup(world->tree, &ask, dir.ino, "report.pdf", &entry), TREE_OK);
    assert_int_equal(entry.st.st_size, 5698);
    assert_true(entry.attr_ttl == 0);
    check_needs_sizes(world, tree_lookup(world->tree, &ask, dir.ino, "report (2).pdf", &entry),
                      &ask);
    world_content(world, world->inbox, 9, CONTENT_DECODED, "2", "%PDF", 4);
    assert_int_equal(tree_lookup(world->tree, &ask, dir.ino, "report.pdf", &entry), TREE_OK);
    assert_int_equal(entry.st.st_size, 4);
    assert_true(entry.attr_ttl > 0);
    tree_ask_clear(&ask);
}

static void make_exact(World *world)
{
    tree_free(world->tree);
    world->tree = tree_new(&(TreeConfig){.store = world->store,
                                         .engine = world->engine,
                                         .account = "test",
                                         .mounted_ns = WORLD_NOW,
                                         .read_only = true,
                                         .exact = true});
}

static void check_needs_content(TreeStatus status, TreeAsk *ask, ContentKind kind)
{
    assert_int_equal(status, TREE_NEED);
    assert_int_equal(ask->need.kind, NEED_CONTENT);
    assert_int_equal(ask->need.content, kind);
    tree_ask_clear(ask);
}

static guint count_told(World *world, guint64 dir)
{
    TreeAsk ask = {0};
    guint n = 0;

    assert_int_equal(tree_readdir(world->tree, &ask, dir, 0, true, count_complete, &n), TREE_OK);
    tree_ask_clear(&ask);
    return n;
}

/* Where files are not opened, attributes wait for what makes them final, and listings leave them
 * out. */
static void test_final_attributes(void **state)
{
    World *world = *state;
    TreeAsk ask = {0};
    TreeEntry dir = {0}, entry = {0};

    make_exact(world);
    assert_int_equal(world_walk(world, &ask, A, &dir), TREE_OK);
    check_needs_content(tree_lookup(world->tree, &ask, dir.ino, "body.txt", &entry), &ask,
                        CONTENT_TEXT);
    check_needs_content(tree_getattr(world->tree, &ask, dir.ino + LAYOUT_INDEX_HEADERS, &entry),
                        &ask, CONTENT_HEADERS);
    check_needs_content(world_walk(world, &ask, RAW "/INBOX/7.eml", &entry), &ask, CONTENT_RAW);
    assert_int_equal(count_told(world, dir.ino), 2); /* flags, message.eml */

    /* it came, and who comes to it first is to be seen */
    world_content(world, world->inbox, 7, CONTENT_TEXT, "1", "hello\n", 6);
    assert_int_equal(count_told(world, dir.ino), 2);
    assert_int_equal(tree_lookup(world->tree, &ask, dir.ino, "body.txt", &entry), TREE_OK);
    assert_int_equal(entry.st.st_size, 6);
    assert_true(entry.attr_ttl > 0);
    assert_int_equal(count_told(world, dir.ino), 3);

    /* what was computed may be wrong */
    assert_int_equal(world_walk(world, &ask, B "/attachments", &dir), TREE_OK);
    put_size(world, 9, "2", 5698);
    check_needs_content(tree_lookup(world->tree, &ask, dir.ino, "report.pdf", &entry), &ask,
                        CONTENT_DECODED);
    assert_int_equal(count_told(world, dir.ino), 1); /* part-4.message */
}

static void test_made_numbers(void **state)
{
    World *world = *state;
    TreeAsk ask = {0};
    TreeEntry entry = {0};

    assert_int_equal(world_walk(world, &ask, "/.imapfs/status", &entry), TREE_OK);
    assert_true(tree_ino_is_made(entry.ino));
    assert_false(tree_ino_is_content(entry.ino));
    assert_int_equal(world_walk(world, &ask, "/.imapfs/events", &entry), TREE_OK);
    assert_false(tree_ino_is_made(entry.ino));
    assert_int_equal(world_walk(world, &ask, A "/flags", &entry), TREE_OK);
    assert_false(tree_ino_is_content(entry.ino));
    assert_int_equal(world_walk(world, &ask, A "/body.txt", &entry), TREE_OK);
    assert_true(tree_ino_is_content(entry.ino));
    assert_int_equal(tree_getattr(world->tree, &ask, tree_ino_of_made(1), &entry), TREE_ERROR);
    assert_int_equal(ask.err, ESTALE);
    tree_ask_clear(&ask);
}

static void list_comes(gpointer data)
{
    World *world = data;
    StoreListing late[] = {{"INBOX", '/', 0}, {"INBOX/Late", '/', 0}};
    StoreTxn *txn = store_begin(world->store, false, NULL);

    assert_true(store_boxes_reconcile(txn, late, 2, WORLD_NOW, NULL, NULL, NULL));
    assert_true(store_commit(txn, NULL));
}

static void message_comes(gpointer data)
{
    World *world = data;
    StoreTxn *txn = store_begin(world->store, false, NULL);
    StoreMsg msg = {
        .uid = 99, .name = "2026-01-01 Late - Hello", .from = "", .subject = "", .flags = ""};

    assert_true(store_msg_put(txn, world->inbox, &msg, NULL, NULL));
    assert_true(store_commit(txn, NULL));
}

/* What comes between the look and the question whether it can be believed is there. */
static void test_comes_meanwhile(void **state)
{
    World *world = *state;
    TreeAsk ask = {0};
    TreeEntry entry = {0};

    fake_engine_set_fresh(world->engine, world->inbox, true);
    world->engine->on_fresh_data = world;
    world->engine->on_fresh = message_comes;
    assert_int_equal(world_walk(world, &ask, "INBOX/2026-01-01 Late - Hello.99", &entry), TREE_OK);
    world->engine->on_fresh = list_comes;
    assert_int_equal(world_walk(world, &ask, "INBOX/Late", &entry), TREE_OK);
    assert_null(world->engine->on_fresh);
    tree_ask_clear(&ask);
}

static void test_times(void **state)
{
    World *world = *state;
    TreeAsk ask = {0};
    TreeEntry entry = {0};

    assert_int_equal(world_walk(world, &ask, A, &entry), TREE_OK);
    assert_int_equal(entry.st.st_mtim.tv_sec, WORLD_DATE);
    assert_int_equal(world_walk(world, &ask, B "/attachments/report.pdf", &entry), TREE_OK);
    assert_int_equal(entry.st.st_mtim.tv_sec, WORLD_DATE);
    assert_int_equal(world_walk(world, &ask, "/INBOX", &entry), TREE_OK);
    assert_int_equal(entry.st.st_mtim.tv_sec, WORLD_NOW / 1000000000);
    assert_int_equal(world_walk(world, &ask, "/", &entry), TREE_OK);
    assert_int_equal(entry.st.st_mtim.tv_sec, WORLD_NOW / 1000000000);
}

/* --- files --- */

static const struct {
    const char *path;
    NeedKind need;
    ContentKind content;
    const char *section, *encoding, *charset;
    gint64 encoded_size;
} opens[] = {
    {A "/headers.txt", NEED_CONTENT, CONTENT_HEADERS, "", NULL, NULL, -1},
    {A "/body.txt", NEED_CONTENT, CONTENT_TEXT, "1", "7bit", "utf-8", 120},
    {B "/body.html", NEED_CONTENT, CONTENT_HTML, "1.2", "quoted-printable", "utf-8", 300},
    {B "/attachments/report (2).pdf", NEED_CONTENT, CONTENT_DECODED, "3", "base64", NULL, 7800},
    {NESTED "/headers.txt", NEED_CONTENT, CONTENT_HEADERS, "4", NULL, NULL, -1},
    {NESTED "/attachments/report.pdf", NEED_CONTENT, CONTENT_DECODED, "4.2", "base64", NULL, 7800},
    {RAW "/INBOX/7.eml", NEED_CONTENT, CONTENT_RAW, "", NULL, NULL, 1000},
    {RAW "/INBOX/9/4", NEED_CONTENT, CONTENT_RAW, "4", NULL, NULL, 9000},
    {"/.imapfs/status", NEED_STATUS, 0, NULL, NULL, NULL, 0},
};

static void check_text(const char *got, const char *want)
{
    if (want)
        assert_string_equal(got ? got : "(null)", want);
}

static void test_open_needs(void **state)
{
    World *world = *state;

    for (guint i = 0; i < G_N_ELEMENTS(opens); i++) {
        TreeAsk ask = {0};
        TreeEntry entry = {0};
        TreeFile *file = NULL;

        assert_int_equal(world_walk(world, &ask, opens[i].path, &entry), TREE_OK);
        assert_int_equal(tree_open(world->tree, &ask, entry.ino, &file), TREE_NEED);
        assert_null(file);
        assert_int_equal(ask.need.kind, opens[i].need);
        if (opens[i].need == NEED_CONTENT) {
            assert_int_equal(ask.need.box, world->inbox);
            assert_int_equal(ask.need.content, opens[i].content);
            check_text(ask.need.section, opens[i].section);
            check_text(ask.need.encoding, opens[i].encoding);
            check_text(ask.need.charset, opens[i].charset);
            assert_int_equal(ask.need.encoded_size, opens[i].encoded_size);
        }
        tree_ask_clear(&ask);
    }
}

static char *read_whole(TreeFile *file)
{
    GString *text = g_string_new(NULL);
    char buffer[7];
    gssize n;
    int err = 0;

    while ((n = tree_file_read(file, buffer, sizeof(buffer), text->len, &err)) > 0)
        g_string_append_len(text, buffer, n);
    assert_int_equal(n, 0);
    assert_int_equal(text->len, tree_file_size(file));
    return g_string_free(text, FALSE);
}

static void check_file(World *world, const char *path, bool is_volatile, const char *want)
{
    TreeAsk ask = {0};
    TreeEntry entry = {0};
    TreeFile *file = NULL;
    g_autofree char *text = NULL;

    tree_ask_settle(&ask, NEED_STATUS);
    assert_int_equal(world_walk(world, &ask, path, &entry), TREE_OK);
    assert_int_equal(tree_open(world->tree, &ask, entry.ino, &file), TREE_OK);
    assert_int_equal(tree_file_volatile(file), is_volatile);
    text = read_whole(file);
    if (want)
        assert_string_equal(text, want);
    tree_file_close(file);
    tree_ask_clear(&ask);
}

static void test_open_reads(void **state)
{
    World *world = *state;

    world_content(world, world->inbox, 7, CONTENT_TEXT, "1", "hello, world\n", 13);
    world_content(world, world->inbox, 7, CONTENT_RAW, "", "Subject: x\r\n\r\nhello\r\n", 21);
    check_file(world, A "/body.txt", false, "hello, world\n");
    check_file(world, RAW "/INBOX/7.eml", false, "Subject: x\r\n\r\nhello\r\n");
    check_file(world, A "/flags", false, "\\Seen\n$Work\ntodo\n");
    check_file(world, B "/flags", false, "");
    check_file(world, NO_STRUCTURE "/PROBLEM.txt", false, NULL);
    check_file(world, "/.imapfs/status", true, "state online\n");
    check_file(world, "/.imapfs/log", true, NULL);
}

static void test_open_refused(void **state)
{
    World *world = *state;
    static const struct {
        const char *path;
        int err;
    } rows[] = {
        {"/", EISDIR},          {"/INBOX", EISDIR},        {A, EISDIR},
        {RAW "/INBOX", EISDIR}, {A "/message.eml", ELOOP},
    };

    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        TreeAsk ask = {0};
        TreeEntry entry = {0};
        TreeFile *file = NULL;

        assert_int_equal(world_walk(world, &ask, rows[i].path, &entry), TREE_OK);
        assert_int_equal(tree_open(world->tree, &ask, entry.ino, &file), TREE_ERROR);
        assert_int_equal(ask.err, rows[i].err);
    }
}

static void remove_message(World *world, guint32 uid)
{
    g_autoptr(UidSet) uids = uidset_new(), removed = uidset_new();
    StoreTxn *txn = store_begin(world->store, false, NULL);

    uidset_add(uids, uid);
    assert_true(store_msg_remove(txn, world->inbox, uids, removed, NULL));
    assert_true(store_commit(txn, NULL));
}

/* What is open stays readable when its message is expunged; the rest of it is gone. */
static void test_expunged(void **state)
{
    World *world = *state;
    TreeAsk ask = {0};
    TreeEntry body = {0}, flags = {0}, entry;
    TreeFile *file = NULL, *flags_file = NULL;
    g_autofree char *text = NULL;
    char buffer[10];
    int err = 0;

    world_content(world, world->inbox, 7, CONTENT_TEXT, "1", "hello\n", 6);
    assert_int_equal(world_walk(world, &ask, A "/body.txt", &body), TREE_OK);
    assert_int_equal(world_walk(world, &ask, A "/flags", &flags), TREE_OK);
    assert_int_equal(tree_open(world->tree, &ask, body.ino, &file), TREE_OK);
    assert_int_equal(tree_open(world->tree, &ask, flags.ino, &flags_file), TREE_OK);
    remove_message(world, 7);
    text = read_whole(file);
    assert_string_equal(text, "hello\n");
    assert_int_equal(tree_file_read(flags_file, buffer, sizeof(buffer), 0, &err), -1);
    assert_int_equal(err, ESTALE);
    tree_file_close(file);
    tree_file_close(flags_file);
    assert_int_equal(tree_getattr(world->tree, &ask, body.ino, &entry), TREE_ERROR);
    assert_int_equal(ask.err, ESTALE);
    assert_int_equal(world_walk(world, &ask, A, &entry), TREE_ERROR);
    assert_int_equal(ask.err, ENOENT);
}

/* A flags file that is open shows flags as they are, not as they were. */
static void test_flags_live(void **state)
{
    World *world = *state;
    TreeAsk ask = {0};
    TreeEntry entry = {0};
    TreeFile *file = NULL;
    StoreTxn *txn;
    bool changed = false;
    char buffer[64] = {0};
    int err = 0;

    assert_int_equal(world_walk(world, &ask, A "/flags", &entry), TREE_OK);
    assert_int_equal(tree_open(world->tree, &ask, entry.ino, &file), TREE_OK);
    txn = store_begin(world->store, false, NULL);
    assert_true(store_msg_set_flags(txn, world->inbox, 7, "\\Flagged", 50, &changed, NULL));
    assert_true(store_commit(txn, NULL));
    assert_int_equal(tree_file_read(file, buffer, sizeof(buffer), 0, &err), 9);
    assert_string_equal(buffer, "\\Flagged\n");
    tree_file_close(file);
}

/* --- extended attributes --- */

static const struct {
    const char *path, *name, *value; /* value NULL: err */
    int err;
} xattrs[] = {
    {A, "user.xdg.origin.email.from", "Alice Doe", 0},
    {A, "user.xdg.origin.email.subject", "Quarterly report", 0},
    {A, "user.xdg.origin.email.message-id", NULL, ENODATA},
    {A, "user.xdg.tags", "$Work,todo", 0},
    {B, "user.xdg.tags", NULL, ENODATA},
    {A, "user.imap.uid", "7", 0},
    {UNKNOWN, "user.imap.uid", "4294967295", 0},
    {A, "user.imap.uidvalidity", "1234", 0},
    {"/INBOX", "user.imap.uidvalidity", "1234", 0},
    {"/INBOX", "user.imap.modseq", "99", 0},
    {"/INBOX", "user.imap.uid", NULL, ENODATA},
    {A, "user.imap.flags", "\\Seen $Work todo", 0},
    {B, "user.imap.flags", "", 0},
    {A, "user.imap.modseq", "47", 0},
    {A, "user.imap.internaldate", "2025-11-20T11:00:00+01:00", 0},
    {A, "user.imap.section", NULL, ENODATA},
    {A "/body.txt", "user.imap.section", "1", 0},
    {A "/body.txt", "user.imap.content-type", "text/plain", 0},
    {A "/body.txt", "user.imapfs.cached", "0", 0},
    {A "/flags", "user.imapfs.cached", NULL, ENODATA},
    {B "/attachments/report.pdf", "user.imap.content-type", "application/pdf", 0},
    {B "/attachments/report.pdf", "user.imap.section", "2", 0},
    {B "/attachments/report.pdf", "user.xdg.origin.email.from", "Bob", 0},
    {RAW "/INBOX/9/2", "user.imap.section", "2", 0},
    {RAW "/INBOX/9.eml", "user.imapfs.cached", "0", 0},
    {"/", "user.imap.uid", NULL, ENODATA},
    {A, "user.nothing", NULL, ENODATA},
    {A, "security.capability", NULL, EOPNOTSUPP},
    {A, "system.posix_acl_access", NULL, EOPNOTSUPP},
    {A, "trusted.x", NULL, EOPNOTSUPP},
};

static void test_getxattr(void **state)
{
    World *world = *state;

    for (guint i = 0; i < G_N_ELEMENTS(xattrs); i++) {
        TreeAsk ask = {0};
        TreeEntry entry = {0};
        g_autoptr(GBytes) value = NULL;
        TreeStatus status;
        gsize length = 0;

        assert_int_equal(world_walk(world, &ask, xattrs[i].path, &entry), TREE_OK);
        status = tree_getxattr(world->tree, &ask, entry.ino, xattrs[i].name, &value);
        if (status != (xattrs[i].value ? TREE_OK : TREE_ERROR) ||
            (!xattrs[i].value && ask.err != xattrs[i].err))
            fail_msg("%s %s: status %d errno %d", xattrs[i].path, xattrs[i].name, status, ask.err);
        if (xattrs[i].value) {
            const char *bytes = g_bytes_get_data(value, &length);
            if (length != strlen(xattrs[i].value) || memcmp(bytes, xattrs[i].value, length) != 0)
                fail_msg("%s %s: %.*s", xattrs[i].path, xattrs[i].name, (int)length, bytes);
        }
    }
}

static void test_cached_xattr(void **state)
{
    World *world = *state;
    TreeAsk ask = {0};
    TreeEntry entry = {0};
    g_autoptr(GBytes) value = NULL;

    world_content(world, world->inbox, 7, CONTENT_TEXT, "1", "hello\n", 6);
    assert_int_equal(world_walk(world, &ask, A "/body.txt", &entry), TREE_OK);
    assert_int_equal(tree_getxattr(world->tree, &ask, entry.ino, "user.imapfs.cached", &value),
                     TREE_OK);
    assert_memory_equal(g_bytes_get_data(value, NULL), "1", 1);
}

/* Every name that is listed has a value, and every name of the table that has one is listed. */
static void test_listxattr(void **state)
{
    World *world = *state;

    for (guint i = 0; i < G_N_ELEMENTS(xattrs); i++) {
        TreeAsk ask = {0};
        TreeEntry entry = {0};
        g_autoptr(GBytes) names = NULL;
        gsize length = 0;
        const char *text;
        bool listed = false;

        assert_int_equal(world_walk(world, &ask, xattrs[i].path, &entry), TREE_OK);
        assert_int_equal(tree_listxattr(world->tree, &ask, entry.ino, &names), TREE_OK);
        text = g_bytes_get_data(names, &length);
        for (gsize at = 0; at < length; at += strlen(text + at) + 1) {
            g_autoptr(GBytes) value = NULL;

            assert_int_equal(tree_getxattr(world->tree, &ask, entry.ino, text + at, &value),
                             TREE_OK);
            listed |= strcmp(text + at, xattrs[i].name) == 0;
        }
        assert_int_equal(listed, xattrs[i].value != NULL);
    }
}

/* --- the rest --- */

static void test_statfs(void **state)
{
    World *world = *state;
    TreeAsk ask = {0};
    struct statvfs fs;

    assert_int_equal(tree_statfs(world->tree, &ask, &fs), TREE_OK);
    assert_int_equal(fs.f_namemax, 255);
    assert_true(fs.f_blocks > 0);
    assert_true(fs.f_bavail > 0 && fs.f_bavail < fs.f_blocks); /* of the disk here */
}

static void test_numbers(void **state)
{
    World *world = *state;
    g_autofree char *name = tree_message_entry_name(1, "2025-11-20 A - B", 42);
    TreePlace places[TREE_VIEWS] = {{0}};

    assert_string_equal(name, "2025-11-20 A - B.42");
    assert_int_equal(tree_ino_box(0), TREE_ROOT_INO);
    assert_int_equal(tree_ino_listed_box(TREE_ROOT_INO), 0);
    assert_int_equal(tree_ino_listed_box(tree_ino_raw_box(0)), 0);
    assert_int_equal(tree_ino_listed_box(tree_ino_box(world->inbox)), world->inbox);
    assert_int_equal(tree_ino_listed_box(tree_ino_raw_box(world->inbox)), world->inbox);
    assert_int_equal(tree_ino_listed_box(tree_ino_uid_dir(world->inbox)), world->inbox);
    assert_int_equal(tree_ino_listed_box(tree_ino_message(world->inbox, 7)), -1);
    assert_true(tree_ino_message(world->inbox, 7) < tree_ino_message(world->inbox, 8));
    assert_int_equal(tree_ino_listed_box(tree_ino_maildir_cur(world->inbox)), world->inbox);
    assert_true(tree_place_of_box(world->tree, world->year, places));
    assert_int_equal(places[TREE_VIEW_TREE].dir, tree_ino_box(world->inbox));
    assert_string_equal(places[TREE_VIEW_TREE].name, "2024");
    assert_int_equal(places[TREE_VIEW_RAW].dir, tree_ino_raw_box(world->inbox));
    assert_string_equal(places[TREE_VIEW_RAW].name, "%32024");
    assert_int_equal(places[TREE_VIEW_MAILDIR].dir, tree_ino_maildir(world->inbox));
    assert_string_equal(places[TREE_VIEW_MAILDIR].name, "2024");
    for (guint i = 0; i < TREE_VIEWS; i++)
        g_free(places[i].name);
}

/* 100,000 messages, in buffers of the kernel's size: the whole is found, in order. */
static void test_large_mailbox(void **state)
{
    World *world = *state;
    const guint n = 100000;
    StoreTxn *txn = store_begin(world->store, false, NULL);
    gint64 started;
    Listed listed;

    for (guint uid = 1; uid <= n; uid++)
        world_put(world, txn, world->projects, uid, "Someone", "A subject of usual length", "", 1);
    assert_true(store_commit(txn, NULL));
    started = g_get_monotonic_time();
    listed = list_by(world, tree_ino_box(world->projects), 200, true);
    print_message("100,000 entries with attributes, 200 a call: %" G_GINT64_FORMAT " ms\n",
                  (g_get_monotonic_time() - started) / 1000);
    assert_int_equal(listed.names->len, n + 2);
    for (guint i = 3; i < listed.inos->len; i++)
        assert_true(g_array_index(listed.inos, guint64, i) >
                    g_array_index(listed.inos, guint64, i - 1));
    listed_free(&listed);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, world_new, world_free)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_lookup),          TEST(test_names_too_long),
        TEST(test_stale_numbers),   TEST(test_freshness),
        TEST(test_never_listed),    TEST(test_noselect),
        TEST(test_listings),        TEST(test_listing_resumes),
        TEST(test_links),           TEST(test_sizes),
        TEST(test_exact_size),      TEST(test_needs_sizes),
        TEST(test_comes_meanwhile), TEST(test_times),
        TEST(test_open_needs),      TEST(test_open_reads),
        TEST(test_open_refused),    TEST(test_expunged),
        TEST(test_flags_live),      TEST(test_getxattr),
        TEST(test_cached_xattr),    TEST(test_listxattr),
        TEST(test_statfs),          TEST(test_numbers),
        TEST(test_large_mailbox),   TEST(test_final_attributes),
        TEST(test_made_numbers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
