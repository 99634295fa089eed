/* test_spool.c - letters in the spool: line ends, limits, names, what is left behind. */
#include "store_test.h"

#include <fcntl.h>

#include "imapfs/base/limits.h"
#include "imapfs/store/log.h"
#include "imapfs/store/spool.h"

static void put(Spool *spool, const char *text)
{
    assert_int_equal(pwrite(spool_fd(spool), text, strlen(text), 0), strlen(text));
}

static char *committed(Store *store, guint32 n)
{
    GError *error = NULL;
    char buffer[256] = "";
    int fd = spool_open(store, n, &error);
    assert_no_error(error);
    assert_true(read(fd, buffer, sizeof buffer - 1) >= 0);
    close(fd);
    return g_strdup(buffer);
}

static guint n_files(Fixture *self)
{
    g_autofree char *path = g_build_filename(self->state, "spool", NULL);
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    guint n = 0;
    assert_non_null(dir);
    while (g_dir_read_name(dir) != NULL)
        n++;
    return n;
}

static void test_line_ends(void **state)
{
    static const struct {
        const char *text, *insert, *want;
    } rows[] = {
        {"A: b\r\n\r\nc\r\n", NULL, "A: b\r\n\r\nc\r\n"},
        {"A: b\n\nc\n", NULL, "A: b\r\n\r\nc\r\n"},
        {"A: b\r\rc\r", NULL, "A: b\r\n\r\nc\r\n"},
        {"A: b\r\n\n\rc", NULL, "A: b\r\n\r\n\r\nc"},
        {"\n", NULL, "\r\n"},
        {"", NULL, ""},
        {"A: b\r\n", "I: d\r\n", "I: d\r\nA: b\r\n"},
        {"A: b\n", "I: d\r\n", "I: d\r\nA: b\r\n"},
    };
    Fixture *self = *state;
    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(Spool) spool = spool_new(self->store, &error);
        g_autofree char *is = NULL;
        guint64 size = 0;
        assert_no_error(error);
        put(spool, rows[i].text);
        assert_int_equal(n_files(self), i); /* the ones before */
        assert_true(spool_commit(spool, rows[i].insert, &size, &error));
        is = committed(self->store, spool_number(spool));
        assert_string_equal(is, rows[i].want);
        assert_int_equal(size, strlen(rows[i].want));
    }
}

/* A CR that ends one slice, and the LF that begins the next, are one line end. */
static void test_over_slices(void **state)
{
    Fixture *self = *state;
    for (gsize before = 64 * 1024 - 2; before <= 64 * 1024 + 1; before++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(Spool) spool = spool_new(self->store, &error);
        g_autofree char *text = g_strnfill(before + 3, 'x');
        guint64 size = 0;
        memcpy(text + before, "\r\ny", 3);
        put(spool, text);
        assert_true(spool_commit(spool, NULL, &size, &error));
        assert_int_equal(size, before + 3);
    }
}

static void test_refused(void **state)
{
    Fixture *self = *state;
    const struct {
        off_t length;
        const char *text;
        int code;
    } rows[] = {
        {5, "A: b\n", IMAPFS_ERROR_INVALID}, /* and a zero byte from a hole */
        {(off_t)LIMIT_LETTER * 10, NULL, IMAPFS_ERROR_INVALID},
    };
    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(Spool) spool = spool_new(self->store, &error);
        guint64 size = 0;
        if (rows[i].text)
            put(spool, rows[i].text);
        assert_int_equal(ftruncate(spool_fd(spool), rows[i].length + 1), 0);
        assert_false(spool_commit(spool, NULL, &size, &error));
        assert_true(g_error_matches(error, IMAPFS_ERROR, rows[i].code));
        assert_int_equal(spool_open(self->store, spool_number(spool), NULL), -1);
    }
    assert_int_equal(n_files(self), 0);
}

/* Of exactly the limit, and over it, also when only the line ends make it so. */
static void test_limit(void **state)
{
    static const struct {
        gsize length; /* of x, then text */
        const char *text;
        bool ok;
    } rows[] = {
        {LIMIT_LETTER, "", true},
        {LIMIT_LETTER - 2, "\n", true},
        {LIMIT_LETTER - 1, "\n", false},
        {LIMIT_LETTER, "x", false},
    };
    Fixture *self = *state;
    g_autofree char *filler = g_strnfill(LIMIT_LETTER, 'x');
    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(Spool) spool = spool_new(self->store, &error);
        guint64 size = 0;
        int fd = spool_fd(spool);
        assert_int_equal(pwrite(fd, filler, rows[i].length, 0), rows[i].length);
        assert_int_equal(pwrite(fd, rows[i].text, strlen(rows[i].text), (off_t)rows[i].length),
                         strlen(rows[i].text));
        assert_int_equal(spool_commit(spool, NULL, &size, &error), rows[i].ok);
        if (!rows[i].ok)
            assert_true(g_error_matches(error, IMAPFS_ERROR, IMAPFS_ERROR_TOO_BIG));
        spool_unlink(self->store, spool_number(spool));
    }
}

/* Numbers are not given again while a letter of that number is there; what was not committed is
 * nowhere, and what is no letter's is left alone. */
static void test_opened_again(void **state)
{
    Fixture *self = *state;
    g_autofree char *other = g_build_filename(self->state, "spool", "notes", NULL);
    g_autofree char *half = g_build_filename(self->state, "spool", ".new-7", NULL);
    GError *error = NULL;
    Spool *spool = spool_new(self->store, &error), *dropped = spool_new(self->store, &error);
    guint32 n = spool_number(spool);
    guint64 size = 0;
    GArray *numbers;

    assert_int_not_equal(spool_number(dropped), n);
    put(spool, "A: b\r\n\r\n");
    put(dropped, "C: d\r\n\r\n");
    assert_true(spool_commit(spool, NULL, &size, &error));
    spool_free(spool);
    spool_free(dropped);
    assert_true(g_file_set_contents(other, "x", 1, NULL));
    assert_true(g_file_set_contents(half, "x", 1, NULL));
    fixture_close(self);
    fixture_open(self);
    assert_true(g_file_test(other, G_FILE_TEST_EXISTS));
    assert_false(g_file_test(half, G_FILE_TEST_EXISTS));
    numbers = spool_numbers(self->store, &error);
    assert_int_equal(numbers->len, 1);
    assert_int_equal(g_array_index(numbers, guint32, 0), n);
    g_array_unref(numbers);
    spool = spool_new(self->store, &error);
    assert_true(spool_number(spool) > n);
    spool_free(spool);
    spool_unlink(self->store, n);
    spool_unlink(self->store, n);
    assert_int_equal(spool_open(self->store, n, &error), -1);
    assert_true(g_error_matches(error, IMAPFS_ERROR, IMAPFS_ERROR_GONE));
    g_clear_error(&error);
}

/* The index is gone, by damage or by hand: what was to be sent is not swept as nobody's. */
static void test_index_lost(void **state)
{
    Fixture *self = *state;
    g_autofree char *index = g_build_filename(self->state, "index.db", NULL);
    GError *error = NULL;
    Spool *spool = spool_new(self->store, &error);
    guint64 size = 0;
    guint n_letters = 0;

    put(spool, "A: b\r\n\r\n");
    assert_true(spool_commit(spool, NULL, &size, &error));
    spool_free(spool);
    fixture_close(self);
    assert_int_equal(unlink(index), 0);
    fixture_open(self);
    assert_int_equal(n_files(self), 0);
    g_autoptr(GDir) dir = g_dir_open(self->state, 0, NULL);
    for (const char *name; (name = g_dir_read_name(dir)) != NULL;) {
        g_autofree char *letter = g_build_filename(self->state, name, "1.eml", NULL);
        n_letters +=
            g_str_has_prefix(name, "spool.unsent-") && g_file_test(letter, G_FILE_TEST_EXISTS);
    }
    assert_int_equal(n_letters, 1);
}

/* They cannot be set aside, so nothing is opened; and they are still unsent letters of a lost index
 * when it is tried again. */
static void test_index_lost_twice(void **state)
{
    Fixture *self = *state;
    g_autofree char *index = g_build_filename(self->state, "index.db", NULL);
    g_autofree char *aside = g_build_filename(self->state, "spool.unsent-20270115T080000Z", NULL);
    g_autofree char *in_the_way = g_build_filename(aside, "x", NULL);
    g_autofree char *letter = g_build_filename(aside, "1.eml", NULL);
    g_autoptr(GError) error = NULL;
    Spool *spool = spool_new(self->store, &error);
    guint64 size = 0;

    put(spool, "A: b\r\n\r\n");
    assert_true(spool_commit(spool, NULL, &size, &error));
    spool_free(spool);
    fixture_close(self);
    assert_int_equal(unlink(index), 0);
    clock_fake_set(G_GINT64_CONSTANT(1800000000) * 1000000000);
    assert_int_equal(g_mkdir_with_parents(in_the_way, 0700), 0);
    assert_null(fixture_try(self, 1000, &error));
    assert_true(g_error_matches(error, IMAPFS_ERROR, IMAPFS_ERROR_STORE));
    assert_int_equal(rmdir(in_the_way), 0);
    fixture_open(self);
    StoreTxn *txn = begin(self->store);
    assert_true(log_recover(txn, NULL)); /* as each mount does: it sweeps what nobody names */
    commit(txn);
    assert_true(g_file_test(letter, G_FILE_TEST_EXISTS));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_line_ends, setup_store, teardown_store),
        cmocka_unit_test_setup_teardown(test_over_slices, setup_store, teardown_store),
        cmocka_unit_test_setup_teardown(test_refused, setup_store, teardown_store),
        cmocka_unit_test_setup_teardown(test_limit, setup_store, teardown_store),
        cmocka_unit_test_setup_teardown(test_opened_again, setup_store, teardown_store),
        cmocka_unit_test_setup_teardown(test_index_lost, setup_store, teardown_store),
        cmocka_unit_test_setup_teardown(test_index_lost_twice, setup_store, teardown_store),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
