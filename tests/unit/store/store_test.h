/* store_test.h - a store in a directory of its own, and short ways to fill it. */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
#include <sys/stat.h>
#include <cmocka.h>
#include <glib.h>
#include <glib/gstdio.h>
#include "imapfs/base/clock.h"
#include "imapfs/base/error.h"
#include "imapfs/store/content.h"
#include "imapfs/store/store.h"
#include "imapfs/wire/response.h"
#include "../../../src/store/private.h"

typedef struct {
    char *dir, *state, *cache;
    Store *store;
} Fixture;

#define assert_no_error(error)                       \
    do {                                             \
        if ((error) != NULL)                         \
            fail_msg("error: %s", (error)->message); \
    } while (0)

static inline void fixture_init_at(Fixture *self, char *dir)
{
    *self = (Fixture){.dir = dir};
    assert_non_null(self->dir);
    self->state = g_build_filename(self->dir, "state", NULL);
    self->cache = g_build_filename(self->dir, "cache", NULL);
}

static inline void fixture_init(Fixture *self)
{
    fixture_init_at(self, g_dir_make_tmp("imapfs-store-XXXXXX", NULL));
}

/* In memory where there is some, as syncing takes most of the time of tests that open often. */
static inline void fixture_init_small(Fixture *self)
{
    char *dir = g_strdup("/dev/shm/imapfs-store-XXXXXX");
    if (g_mkdtemp(dir) != NULL) {
        fixture_init_at(self, dir);
        return;
    }
    g_free(dir);
    fixture_init(self);
}

static inline Store *fixture_try(Fixture *self, guint64 cache_size, GError **error)
{
    StoreConfig config = {self->state, self->cache, cache_size, "alice@example.org"};
    return store_open(&config, error);
}

static inline Store *fixture_open_sized(Fixture *self, guint64 cache_size)
{
    GError *error = NULL;
    self->store = fixture_try(self, cache_size, &error);
    assert_no_error(error);
    return self->store;
}

static inline Store *fixture_open(Fixture *self)
{
    return fixture_open_sized(self, 1 << 20);
}

static inline void fixture_close(Fixture *self)
{
    store_close(g_steal_pointer(&self->store));
}

static inline void remove_tree(const char *path)
{
    GDir *dir = g_dir_open(path, 0, NULL);
    if (dir != NULL) {
        for (const char *name; (name = g_dir_read_name(dir)) != NULL;) {
            g_autofree char *child = g_build_filename(path, name, NULL);
            if (g_file_test(child, G_FILE_TEST_IS_DIR) &&
                !g_file_test(child, G_FILE_TEST_IS_SYMLINK))
                remove_tree(child);
            else
                g_unlink(child);
        }
        g_dir_close(dir);
    }
    g_rmdir(path);
}

static inline void fixture_clear(Fixture *self)
{
    fixture_close(self);
    remove_tree(self->dir);
    g_free(self->dir);
    g_free(self->state);
    g_free(self->cache);
}

/* cmocka setup and teardown: a Fixture with an open store. */
static inline int setup_store(void **state)
{
    Fixture *self = g_new0(Fixture, 1);
    fixture_init(self);
    fixture_open(self);
    *state = self;
    return 0;
}

static inline int teardown_store(void **state)
{
    clock_fake_off();
    fixture_clear(*state);
    g_free(*state);
    return 0;
}

static inline StoreTxn *begin(Store *store)
{
    GError *error = NULL;
    StoreTxn *txn = store_begin(store, false, &error);
    assert_no_error(error);
    return txn;
}

static inline void commit(StoreTxn *txn)
{
    GError *error = NULL;
    assert_true(store_commit(txn, &error));
    assert_no_error(error);
}

/* names: space-separated, a leading '-' makes it \NoSelect; delimiter '/'. */
static inline void reconcile(Store *store, const char *names, gint64 now_ns, GArray *added,
                             GArray *removed)
{
    g_auto(GStrv) words = g_strsplit(names, " ", 0);
    g_autoptr(GArray) listings = g_array_new(FALSE, FALSE, sizeof(StoreListing));
    for (guint i = 0; words[i] != NULL; i++) {
        bool noselect = words[i][0] == '-';
        StoreListing listing = {words[i] + noselect, '/', noselect ? LIST_NOSELECT : 0};
        if (words[i][0] != '\0')
            g_array_append_val(listings, listing);
    }
    GError *error = NULL;
    StoreTxn *txn = begin(store);
    store_boxes_reconcile(txn, (StoreListing *)(void *)listings->data, listings->len, now_ns, added,
                          removed, &error);
    assert_no_error(error);
    commit(txn);
}

static inline guint32 box_id(Store *store, const char *name)
{
    StoreBox box;
    if (!store_box_by_name(store_reader(store), name, &box))
        return 0;
    guint32 id = box.id;
    store_box_clear(&box);
    return id;
}

static inline StoreMsg sample_msg(guint32 uid)
{
    return (StoreMsg){.uid = uid,
                      .name = "2026-11-20 Alice Doe - Quarterly report for the board",
                      .from = "Alice Doe <alice@example.org>",
                      .subject = "Quarterly report for the board",
                      .message_id = "<20261120.1234567890@mail.example.org>",
                      .internaldate = 1795000000 + uid,
                      .zone = 60,
                      .size = 6000 + uid,
                      .flags = "\\Seen",
                      .modseq = uid + 1ull};
}

static inline void put_msgs(Store *store, guint32 box, guint32 first, guint32 n)
{
    GError *error = NULL;
    StoreTxn *txn = begin(store);
    for (guint32 i = 0; i < n; i++) {
        StoreMsg msg = sample_msg(first + i);
        store_msg_put(txn, box, &msg, NULL, &error);
        assert_no_error(error);
    }
    commit(txn);
}

static inline UidSet *parse_uids(const char *text)
{
    UidSet *set = uidset_new();
    assert_true(uidset_parse(set, text, strlen(text)));
    return set;
}

static inline void assert_uids(const UidSet *set, const char *want)
{
    g_autoptr(GString) text = g_string_new(NULL);
    uidset_print(set, text);
    assert_string_equal(text->str, want);
}

/* Byte i of a content made from a seed. */
static inline guint8 sample_byte(guint32 seed, gsize i)
{
    return (guint8)((seed * 2654435761u + i * 31 + (i >> 9)) >> 3);
}

static inline GBytes *sample_bytes(guint32 seed, gsize size)
{
    guint8 *bytes = g_malloc(size + 1);
    for (gsize i = 0; i < size; i++)
        bytes[i] = sample_byte(seed, i);
    return g_bytes_new_take(bytes, size);
}

/* A mailbox has, or had, this number, as far as the index knows. */
static inline void take_number(Store *store, guint32 box)
{
    g_autofree char *sql =
        g_strdup_printf("UPDATE account SET next_box = max(next_box, %u)", box + 1);
    if (box != STORE_BOX_PENDING)
        assert_true(db_exec(store->writer, sql, NULL));
}

static inline void put_content(Store *store, const ContentKey *key, guint32 seed, gsize size)
{
    GError *error = NULL;
    take_number(store, key->box);
    g_autoptr(GBytes) bytes = sample_bytes(seed, size);
    ContentWriter *writer = content_begin(store, key, 0, &error);
    assert_no_error(error);
    assert_true(content_write(writer, g_bytes_get_data(bytes, NULL), size, &error));
    assert_true(content_commit(writer, &error));
    assert_no_error(error);
}

/* Reads all of it in pieces and compares. */
static inline void check_content(Content *content, guint32 seed, gsize size)
{
    GError *error = NULL;
    assert_non_null(content);
    assert_int_equal(content_size(content), size);
    guint8 piece[3000];
    for (gsize at = 0; at < size;) {
        gssize n = content_read(content, piece, sizeof piece, at, &error);
        assert_no_error(error);
        assert_int_equal(n, MIN(sizeof piece, size - at));
        for (gssize i = 0; i < n; i++)
            if (piece[i] != sample_byte(seed, at + (gsize)i))
                fail_msg("byte %zu differs", at + (gsize)i);
        at += (gsize)n;
    }
    assert_int_equal(content_read(content, piece, sizeof piece, size, &error), 0);
    assert_int_equal(content_read(content, piece, sizeof piece, G_MAXUINT64, &error), 0);
}
