/* test_verbs.c - messages moved, deleted, copied and written: what the tree shows of them before
 * the server knows. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "fake_engine.h"
#include "world.h"
#include "imapfs/base/clock.h"
#include "imapfs/base/fault.h"
#include "imapfs/base/limits.h"
#include "imapfs/store/log.h"
#include "imapfs/tree/ino.h"

#define A "2025-11-20 Alice Doe - Quarterly report"
#define B "2025-11-20 Bob - With parts"
#define LETTER "From: Ann <a@example.org>\nSubject: Hello\n\ntext\n"

static int change(World *world, TreeChange *what)
{
    TreeChange *pointer = what;
    TreeChangeTimes times;
    int err;

    tree_change_all(world->tree, &pointer, 1, &times);
    err = what->err;
    tree_change_clear(what);
    return err;
}

static int move(World *world, guint32 from, const char *name, guint32 to, const char *new_name)
{
    TreeChange what = {.kind = TREE_CHANGE_RENAME,
                       .ino = tree_ino_box(from),
                       .name = name,
                       .new_ino = tree_ino_box(to),
                       .new_name = new_name};

    return change(world, &what);
}

static int removal(World *world, TreeChangeKind kind, guint64 dir, const char *name)
{
    TreeChange what = {.kind = kind, .ino = dir, .name = name};

    return change(world, &what);
}

/* --- what is listed --- */

typedef struct {
    GString *names;
    guint64 last;
    guint room;
} Listed;

static bool add(const char *name, const TreeEntry *entry, guint64 cookie, gpointer data)
{
    Listed *listed = data;

    if (!listed->room)
        return false;
    listed->room--;
    assert_true(cookie > listed->last);
    listed->last = cookie;
    if (*name != '.')
        g_string_append_printf(listed->names, "%s\n", name);
    return true;
}

/* In pieces of so many entries. Caller frees. */
static char *list(World *world, guint64 dir, guint piece)
{
    Listed listed = {.names = g_string_new(NULL)};
    gsize before;

    do {
        TreeAsk ask = {0};

        before = listed.last;
        listed.room = piece;
        assert_int_equal(tree_readdir(world->tree, &ask, dir, listed.last, true, add, &listed),
                         TREE_OK);
    } while (listed.last != before);
    return g_string_free(listed.names, FALSE);
}

static void check_list(World *world, guint64 dir, const char *want)
{
    for (guint piece = 1; piece < 8; piece += 3) {
        g_autofree char *is = list(world, dir, piece);
        assert_string_equal(is, want);
    }
}

/* The type at a path, or minus the errno; a link is followed once. */
static int kind_at(World *world, const char *path)
{
    TreeAsk ask = {0};
    TreeEntry entry = {0};
    TreeStatus status = world_walk(world, &ask, path, &entry);
    int got = status == TREE_OK ? (int)(entry.st.st_mode & S_IFMT)
                                : -(status == TREE_NEED ? 1000 : ask.err);

    tree_ask_clear(&ask);
    return got;
}

static char *target_at(World *world, const char *path)
{
    TreeAsk ask = {0};
    TreeEntry entry = {0};
    char *target = NULL;

    assert_int_equal(world_walk(world, &ask, path, &entry), TREE_OK);
    assert_int_equal(tree_readlink(world->tree, &ask, entry.ino, &target), TREE_OK);
    assert_int_equal(strlen(target), entry.st.st_size);
    return target;
}

static void check_target(World *world, const char *path, const char *want)
{
    g_autofree char *is = target_at(world, path);
    assert_string_equal(is, want);
}

/* --- moving --- */

static void test_moved(void **state)
{
    World *world = *state;
    guint64 projects = tree_ino_box(world->projects);

    world_content(world, world->inbox, 7, CONTENT_RAW, "", "x", 1);
    assert_int_equal(move(world, world->inbox, A ".7", world->projects, A ".7"), 0);
    assert_int_equal(move(world, world->inbox, B ".9", world->projects, B ".9"), 0);
    check_list(world, projects, A ".+1\n" B ".+2\n");
    check_list(world, tree_ino_uid_dir(world->projects), "+1\n+2\n");
    check_list(world, tree_ino_raw_box(world->projects), "+1.eml\n+2.eml\n");
    check_target(world, "/INBOX/Projects/.uid/+1", "../" A ".+1");
    check_target(world, "/INBOX/Projects/" A ".+1/message.eml",
                 "../../../.imapfs/raw/INBOX/Projects/+1.eml");
    check_target(world, "/INBOX/" A ".7", "../INBOX/Projects/" A ".+1"); /* from INBOX */
    check_target(world, "/INBOX/Projects/" A ".7", A ".+1");
    assert_int_equal(kind_at(world, "/INBOX/" A ".+1"), -ENOENT);
    assert_int_equal(kind_at(world, "/INBOX/Projects/" A ".+2"), -ENOENT);
    assert_int_equal(kind_at(world, "/INBOX/Projects/" B ".+2/attachments/report.pdf"), S_IFREG);
    assert_int_equal(kind_at(world, "/.imapfs/raw/INBOX/7.eml"), -ENOENT);
    assert_int_equal(kind_at(world, "/.imapfs/raw/INBOX/Projects/+1.eml"), S_IFREG);
    /* back again, it is what it was */
    assert_int_equal(move(world, world->projects, A ".+1", world->inbox, A ".+1"), 0);
    assert_int_equal(kind_at(world, "/INBOX/" A ".7"), S_IFDIR);
    assert_int_equal(kind_at(world, "/INBOX/Projects/" A ".7"), -ENOENT);
    check_list(world, projects, B ".+2\n");
}

/* Once more through another mailbox before it was sent, and a name with another number. */
static void test_moved_on(void **state)
{
    World *world = *state;

    assert_int_equal(move(world, world->inbox, A ".7", world->projects, A ".4711"), 0);
    check_target(world, "/INBOX/Projects/" A ".4711", A ".+1");
    assert_int_equal(move(world, world->projects, A ".+1", world->announce, A ".+1"), 0);
    check_list(world, tree_ino_box(world->projects), "");
    check_list(world, tree_ino_box(world->announce), "2025-11-20 List - News.5\n" A ".+1\n");
    check_target(world, "/INBOX/" A ".7", "../Lists/announce/" A ".+1");
    assert_int_equal(kind_at(world, "/INBOX/Projects/" A ".4711"), -ENOENT);
}

/* What the kernel knows below the name that it moved by itself leads to where the message was. */
static void test_new_name_is_told_first(void **state)
{
    World *world = *state;
    TreeChange what = {.kind = TREE_CHANGE_RENAME,
                       .ino = tree_ino_box(world->inbox),
                       .name = A ".7",
                       .new_ino = tree_ino_box(world->projects),
                       .new_name = A ".7"};
    TreeChange *pointer = &what;
    TreeChangeTimes times;
    const TreePlace *first;

    assert_true(tree_change_all(world->tree, &pointer, 1, &times));
    assert_int_equal(what.err, 0);
    first = &g_array_index(what.places, TreePlace, 0);
    assert_true(first->dir == what.new_ino);
    assert_string_equal(first->name, A ".7");
    tree_change_clear(&what);
}

/* Expunged by another before it was moved: what was read of it is kept with the parked move. */
static void test_parked_keeps_what_was_read(void **state)
{
    World *world = *state;
    const char *op = "/.imapfs/failed/1-move";
    GError *error = NULL;

    world_content(world, world->inbox, 7, CONTENT_RAW, "", "Subject: x\r\n\r\nx\r\n", 17);
    assert_int_equal(move(world, world->inbox, A ".7", world->projects, A ".7"), 0);
    assert_int_equal(move(world, world->inbox, B ".9", world->projects, B ".9"), 0);
    for (guint32 uid = 7; uid <= 9; uid += 2) {
        StoreTxn *txn = store_begin(world->store, true, &error);
        g_autoptr(UidSet) gone = uidset_new();
        uidset_add(gone, uid);
        assert_true(store_msg_remove(txn, world->inbox, gone, NULL, &error));
        assert_true(store_commit(txn, &error));
    }
    assert_int_equal(kind_at(world, op), S_IFDIR);
    g_autofree char *letter = g_strconcat(op, "/message.eml", NULL);
    TreeAsk ask = {0};
    TreeEntry entry = {0};
    TreeFile *file = NULL;
    char bytes[32];
    int err = 0;
    assert_int_equal(world_walk(world, &ask, letter, &entry), TREE_OK);
    assert_int_equal(entry.st.st_size, 17);
    assert_int_equal(tree_open(world->tree, &ask, entry.ino, &file), TREE_OK);
    assert_int_equal(tree_file_read(file, bytes, sizeof(bytes), 0, &err), 17);
    assert_memory_equal(bytes, "Subject: x\r\n\r\nx\r\n", 17);
    tree_file_close(file);
    assert_int_equal(kind_at(world, "/.imapfs/failed/2-move/reason.txt"), S_IFREG);
    assert_int_equal(kind_at(world, "/.imapfs/failed/2-move/message.eml"), -ENOENT);
}

static void test_not_moved(void **state)
{
    World *world = *state;
    const struct {
        guint32 from;
        const char *name;
        guint32 to;
        const char *new_name;
        int want;
    } rows[] = {
        {world->inbox, A ".7", world->projects, B ".7", EPERM},
        {world->inbox, A ".7", world->projects, A, EPERM},
        {world->inbox, A ".7", world->projects, A ".x", EPERM},
        {world->inbox, A ".7", world->inbox, A ".8", EPERM},
        {world->inbox, A ".7", world->inbox, A ".7", 0},
        {world->inbox, A ".7", world->lists, A ".7", EPERM}, /* \Noselect */
        {world->inbox, A ".7", 0, A ".7", EPERM},
        {world->inbox, A ".8", world->projects, A ".8", ENOENT},
        {world->inbox, B ".7", world->projects, B ".7", ENOENT},
        {world->inbox, A ".+1", world->projects, A ".+1", ENOENT},
    };

    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        int err = move(world, rows[i].from, rows[i].name, rows[i].to, rows[i].new_name);
        if (err != rows[i].want)
            fail_msg("row %u: %d", i, err);
    }
    check_list(world, tree_ino_box(world->projects), "");
}

/* --- deleting --- */

static guint64 pending(World *world)
{
    LogCounts counts = {0};

    log_count(store_reader(world->store), 0, 0, &counts);
    return counts.pending;
}

static void test_removed(void **state)
{
    World *world = *state;

    assert_int_equal(removal(world, TREE_CHANGE_RMDIR, tree_ino_box(world->inbox), B ".9"), 0);
    assert_int_equal(kind_at(world, "/INBOX/" B ".9"), -ENOENT); /* there is no Trash */
    assert_int_equal(removal(world, TREE_CHANGE_RMDIR, tree_ino_box(world->inbox), B ".9"), ENOENT);
    assert_int_equal(pending(world), 1);
}

/* A part that is unlinked is not shown for ten seconds, and nothing is logged. */
static void test_parts(void **state)
{
    World *world = *state;
    guint64 message = tree_ino_message(world->inbox, 9);
    const struct {
        TreeChangeKind kind;
        const char *name;
        int want;
    } rows[] = {
        {TREE_CHANGE_UNLINK, "body.txt", 0},         {TREE_CHANGE_UNLINK, "flags", 0},
        {TREE_CHANGE_UNLINK, "attachments", EISDIR}, {TREE_CHANGE_RMDIR, "attachments", 0},
        {TREE_CHANGE_RMDIR, "body.html", ENOTDIR},   {TREE_CHANGE_UNLINK, "nothing", ENOENT},
    };

    clock_fake_set(WORLD_NOW);
    for (guint i = 0; i < G_N_ELEMENTS(rows); i++)
        assert_int_equal(removal(world, rows[i].kind, message, rows[i].name), rows[i].want);
    check_list(world, message, "headers.txt\nmessage.eml\nbody.html\n");
    assert_int_equal(kind_at(world, "/INBOX/" B ".9/flags"), -ENOENT);
    assert_int_equal(kind_at(world, "/INBOX/" A ".7/flags"), S_IFREG);
    clock_fake_advance(9 * G_USEC_PER_SEC);
    assert_int_equal(kind_at(world, "/INBOX/" B ".9/body.txt"), -ENOENT);
    clock_fake_advance(G_USEC_PER_SEC);
    check_list(world, message,
               "headers.txt\nflags\nmessage.eml\nbody.txt\nbody.html\nattachments\n");
    assert_int_equal(pending(world), 0);
    clock_fake_off();
}

/* --- letters --- */

static TreeFile *make(World *world, guint32 box, const char *name, int want)
{
    TreeAsk ask = {0};
    TreeEntry entry = {0};
    TreeFile *file = NULL;
    TreeStatus status = tree_create(world->tree, &ask, tree_ino_box(box), name, &entry, &file);

    assert_int_equal(status == TREE_OK ? 0 : ask.err, want);
    return file;
}

static int put(World *world, TreeFile *file, const char *text)
{
    TreeChange what = {.kind = TREE_CHANGE_LETTER, .file = file};

    assert_int_equal(tree_file_write(file, text, strlen(text), 0), 0);
    assert_true(tree_file_owes_letter(file));
    return change(world, &what);
}

static void test_letter(void **state)
{
    World *world = *state;
    TreeFile *file = make(world, world->projects, "a.eml", 0);
    char buffer[100] = "";
    int err = 0;

    assert_int_equal(kind_at(world, "/INBOX/Projects/a.eml"), S_IFREG);
    check_list(world, tree_ino_box(world->projects), "");
    make(world, world->projects, "a.eml", EEXIST);
    assert_int_equal(put(world, file, LETTER), 0);
    assert_false(tree_file_owes_letter(file));
    assert_int_equal(tree_file_write(file, "x", 1, 0), EPERM);
    assert_true(tree_file_read(file, buffer, 5, 0, &err) <= 5);
    tree_file_close(file);
    {
        g_autofree char *names = list(world, tree_ino_box(world->projects), 9);
        assert_true(g_str_has_suffix(names, " Ann - Hello.+1\n"));
    }
    assert_int_equal(kind_at(world, "/INBOX/Projects/a.eml"), S_IFREG);
    make(world, world->projects, "a.eml", EEXIST);
}

/* Its name can be written to again, changed, also to another mailbox, and taken away. */
static void test_name_of_letter(void **state)
{
    World *world = *state;
    TreeFile *file = make(world, world->projects, "a.eml", 0);
    TreeAsk ask = {0};
    TreeEntry entry = {0};

    assert_int_equal(put(world, file, LETTER), 0);
    tree_file_close(file);
    assert_int_equal(world_walk(world, &ask, "/INBOX/Projects/a.eml", &entry), TREE_OK);
    assert_int_equal(tree_open_to_change(world->tree, &ask, entry.ino, O_WRONLY, &file),
                     TREE_ERROR);
    assert_int_equal(ask.err, EPERM);
    assert_int_equal(tree_open_to_change(world->tree, &ask, entry.ino, O_WRONLY | O_TRUNC, &file),
                     TREE_OK);
    assert_int_equal(put(world, file, LETTER), 0);
    tree_file_close(file);
    assert_int_equal(pending(world), 2);
    assert_int_equal(move(world, world->projects, "a.eml", world->projects, "b.eml"), 0);
    assert_int_equal(kind_at(world, "/INBOX/Projects/a.eml"), -ENOENT);
    assert_int_equal(move(world, world->projects, "b.eml", world->projects, "b.txt"), EPERM);
    assert_int_equal(move(world, world->projects, "b.eml", world->announce, "c.eml"), 0);
    assert_int_equal(kind_at(world, "/INBOX/Projects/b.eml"), -ENOENT);
    assert_int_equal(kind_at(world, "/Lists/announce/c.eml"), S_IFREG);
    assert_int_equal(removal(world, TREE_CHANGE_UNLINK, tree_ino_box(world->announce), "c.eml"), 0);
    assert_int_equal(kind_at(world, "/Lists/announce/c.eml"), -ENOENT);
    assert_int_equal(removal(world, TREE_CHANGE_UNLINK, tree_ino_box(world->announce), "c.eml"),
                     EPERM);
    assert_int_equal(pending(world), 2);
}

/* What is no letter leaves nothing behind. */
static void test_no_letters(void **state)
{
    static const struct {
        const char *text;
        int want;
    } rows[] = {
        {"hello\n", EINVAL},           {"\nFrom: x\n", EINVAL},    {": x\n", EINVAL},
        {"From x\nFrom: x\n", EINVAL}, {" folded: x\n\n", EINVAL}, {"From:", 0},
        {"Fr\xc3\xb6m: x\n", EINVAL},  {"Subject : x\n\n", 0},     {"x: y", 0},
    };
    World *world = *state;
    guint made = 0;

    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        TreeFile *file = make(world, world->projects, "b.eml", 0);
        int err = put(world, file, rows[i].text);

        if (err != rows[i].want)
            fail_msg("row %u: %d", i, err);
        tree_file_close(file);
        made += !err;
        assert_int_equal(kind_at(world, "/INBOX/Projects/b.eml"), err ? -ENOENT : S_IFREG);
        if (!err)
            assert_int_equal(
                removal(world, TREE_CHANGE_UNLINK, tree_ino_box(world->projects), "b.eml"), 0);
        assert_int_equal(pending(world), made);
    }
}

/* When the log cannot be written, the letter was not taken. */
static void test_letter_lost(void **state)
{
    World *world = *state;
    g_autofree char *spool = g_build_filename(world->dir, "state", "spool", NULL);
    TreeFile *file = make(world, world->projects, "a.eml", 0);
    GDir *dir;

    g_setenv("IMAPFS_FAULT", "store.commit:1=ENOSPC", TRUE);
    fault_init();
    assert_int_equal(put(world, file, LETTER), ENOSPC);
    tree_file_close(file);
    assert_int_equal(pending(world), 0);
    assert_int_equal(kind_at(world, "/INBOX/Projects/a.eml"), -ENOENT);
    dir = g_dir_open(spool, 0, NULL);
    assert_null(g_dir_read_name(dir));
    g_dir_close(dir);
}

/* Letters that the other mailbox does not keep: nothing is moved or copied then. */
static void test_letters_not_kept(void **state)
{
    World *world = *state;
    guint64 from = tree_ino_maildir_cur(world->inbox), to = tree_ino_maildir_cur(world->projects);
    StoreBox box = {0};
    StoreTxn *txn = store_begin(world->store, false, NULL);
    g_autofree char *names = list(world, from, 9);
    g_auto(GStrv) each = g_strsplit(names, "\n", -1);
    g_autofree char *new_name = NULL, *path = NULL;
    TreeAsk ask = {0};
    TreeEntry entry = {0};

    assert_true(store_box_by_id(store_txn_reader(txn), world->projects, &box));
    box.permanent_flags = g_strdup("\\Seen");
    assert_true(store_box_update(txn, &box, NULL));
    assert_true(store_commit(txn, NULL));
    store_box_clear(&box);
    assert_true(g_str_has_suffix(each[1], ":2,")); /* UID 9 */
    new_name = g_strconcat(each[1], "F", NULL);
    path = g_strconcat("/.imapfs/maildir/INBOX/cur/", each[1], NULL);
    assert_int_equal(world_walk(world, &ask, path, &entry), TREE_OK);
    TreeChange moved = {.kind = TREE_CHANGE_RENAME,
                        .ino = from,
                        .name = each[1],
                        .new_ino = to,
                        .new_name = new_name};
    TreeChange linked = {
        .kind = TREE_CHANGE_LINK, .ino = entry.ino, .new_ino = to, .new_name = new_name};
    assert_int_equal(change(world, &moved), EACCES);
    assert_int_equal(change(world, &linked), EACCES);
    assert_int_equal(pending(world), 0);
}

/* --- drafts --- */

static void set_rights(World *world, const char *rights)
{
    StoreBox box = {0};
    StoreTxn *txn = store_begin(world->store, false, NULL);

    assert_true(store_box_by_id(store_txn_reader(txn), world->inbox, &box));
    g_free(box.rights);
    box.rights = g_strdup(rights);
    assert_true(store_box_update(txn, &box, NULL));
    assert_true(store_commit(txn, NULL));
    store_box_clear(&box);
}

static void make_draft(World *world, guint32 uid)
{
    StoreTxn *txn = store_begin(world->store, false, NULL);

    assert_true(store_msg_set_flags(txn, world->inbox, uid, "\\Draft", 0, NULL, NULL));
    assert_true(store_commit(txn, NULL));
}

static TreeFile *open_anew(World *world, const char *path, int want)
{
    TreeAsk ask = {0};
    TreeEntry entry = {0};
    TreeFile *file = NULL;

    assert_int_equal(world_walk(world, &ask, path, &entry), TREE_OK);
    tree_open_to_change(world->tree, &ask, entry.ino, O_WRONLY | O_TRUNC, &file);
    assert_int_equal(ask.err, want);
    tree_ask_clear(&ask);
    return file;
}

static void write_anew(World *world, const char *path)
{
    TreeFile *file = open_anew(world, path, 0);

    assert_int_equal(put(world, file, LETTER), 0);
    tree_file_close(file);
}

/* An editor saves often: what was on the server goes when the last of it is there. */
static void test_draft(void **state)
{
    World *world = *state;
    LogOp op = {0};

    make_draft(world, 7);
    write_anew(world, "/.imapfs/raw/INBOX/7.eml");
    write_anew(world, "/.imapfs/raw/INBOX/+1.eml");
    write_anew(world, "/.imapfs/raw/INBOX/+2.eml");
    assert_int_equal(pending(world), 2);
    assert_true(log_is_hidden(store_reader(world->store), world->inbox, 7));
    assert_true(log_get(store_reader(world->store), 2, &op));
    assert_int_equal(op.kind, LOG_EXPUNGE);
    assert_int_equal(op.uid, 7);
    assert_int_equal(op.after, 4);
    log_op_clear(&op);
}

/* Whatever builds on what, all of it is taken back. */
static void test_cancel_all(void **state)
{
    World *world = *state;
    TreeChange made = {.kind = TREE_CHANGE_MKDIR, .ino = TREE_ROOT_INO, .name = "New"};
    TreeAsk ask = {0};
    TreeEntry entry = {0};
    TreeFile *file = NULL;
    static const char words[] = "cancel all\n";

    make_draft(world, 7);
    write_anew(world, "/.imapfs/raw/INBOX/7.eml");
    assert_int_equal(change(world, &made), 0);
    file = make(world, world_box(world, "New"), "a.eml", 0);
    assert_int_equal(put(world, file, LETTER), 0);
    tree_file_close(file);
    assert_int_equal(pending(world), 4);
    assert_int_equal(world_walk(world, &ask, "/.imapfs/ctl", &entry), TREE_OK);
    assert_int_equal(tree_open_to_change(world->tree, &ask, entry.ino, O_WRONLY, &file), TREE_OK);
    TreeChange what = {.kind = TREE_CHANGE_WRITE,
                       .ino = entry.ino,
                       .file = file,
                       .bytes = words,
                       .size = sizeof words - 1};
    assert_int_equal(change(world, &what), 0);
    tree_file_close(file);
    assert_int_equal(pending(world), 0);
    assert_false(log_is_hidden(store_reader(world->store), world->inbox, 7));
}

static void list_boxes(World *world, const char *name)
{
    const StoreListing listings[] = {{"INBOX", '/', 0}, {name, '/', 0}};
    StoreTxn *txn = store_begin(world->store, false, NULL);

    assert_true(store_boxes_reconcile(txn, listings, 2, WORLD_NOW, NULL, NULL, NULL));
    assert_true(store_commit(txn, NULL));
}

/* Its mailbox went, and one of that name is there again: the letter goes to that. */
static void test_retried_elsewhere(void **state)
{
    World *world = *state;
    TreeFile *file = make(world, world->projects, "a.eml", 0);
    TreeAsk ask = {0};
    TreeEntry entry = {0};
    TreeChangeTimes times;
    bool told = false;

    assert_int_equal(put(world, file, LETTER), 0);
    tree_file_close(file);
    list_boxes(world, "Other");
    list_boxes(world, "INBOX/Projects");
    assert_int_equal(kind_at(world, "/.imapfs/failed/1-append"), S_IFDIR);
    assert_int_equal(world_walk(world, &ask, "/.imapfs/failed/1-append/retry", &entry), TREE_OK);
    assert_int_equal(tree_open_to_change(world->tree, &ask, entry.ino, O_WRONLY, &file), TREE_OK);
    TreeChange what = {
        .kind = TREE_CHANGE_WRITE, .ino = entry.ino, .file = file, .bytes = "x", .size = 1};
    TreeChange *pointer = &what;
    tree_change_all(world->tree, &pointer, 1, &times);
    assert_int_equal(what.err, 0);
    for (guint i = 0; what.messages && i < what.messages->len; i++)
        told |=
            g_array_index(what.messages, TreeMessage, i).box == world_box(world, "INBOX/Projects");
    tree_change_clear(&what);
    tree_file_close(file);
    assert_true(told);
}

/* Where nothing may be deleted a draft is not written anew. That may be so from a moment on that is
 * too late: then both are there, and what was written is not lost. */
static void test_draft_stays(void **state)
{
    World *world = *state;
    TreeFile *file;

    make_draft(world, 7);
    file = open_anew(world, "/.imapfs/raw/INBOX/7.eml", 0);
    set_rights(world, "lrswi");
    assert_int_equal(put(world, file, LETTER), 0);
    tree_file_close(file);
    assert_int_equal(pending(world), 1);
    assert_false(log_is_hidden(store_reader(world->store), world->inbox, 7));
    assert_null(open_anew(world, "/.imapfs/raw/INBOX/7.eml", EACCES));
}

static void test_names_of_letters(void **state)
{
    static const struct {
        const char *name;
        int want;
    } rows[] = {
        {"x", EPERM},    {".x.eml", EPERM}, {"-x.eml", EPERM}, {"x.EML", EPERM},
        {".eml", EPERM}, {"x.eml~", EPERM}, {"x y.eml", 0},    {"\xc3\xa9.eml", 0},
    };
    World *world = *state;

    for (guint i = 0; i < G_N_ELEMENTS(rows); i++)
        tree_file_close(make(world, world->projects, rows[i].name, rows[i].want));
    make(world, world->lists, "x.eml", EPERM); /* \Noselect */
    make(world, 0, "x.eml", EPERM);
    check_list(world, tree_ino_box(world->projects), "");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, world_new, world_free)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_moved),
        TEST(test_moved_on),
        TEST(test_parked_keeps_what_was_read),
        TEST(test_not_moved),
        TEST(test_removed),
        TEST(test_parts),
        TEST(test_letter),
        TEST(test_name_of_letter),
        TEST(test_no_letters),
        TEST(test_letter_lost),
        TEST(test_names_of_letters),
        TEST(test_draft),
        TEST(test_draft_stays),
        TEST(test_cancel_all),
        TEST(test_retried_elsewhere),
        TEST(test_letters_not_kept),
        TEST(test_new_name_is_told_first),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
