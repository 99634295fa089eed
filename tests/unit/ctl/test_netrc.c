/* Tests of ctl/netrc. */
#include "netrc.h"
#include "imapfs/base/error.h"
#include <glib/gstdio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include <unistd.h>

static const NetrcQuery query = {"mail.example", "alice", 993};

static const struct {
    const char *text, *want;
} cases[] = {
    {"machine mail.example login alice password p1", "p1"},
    {"machine mail.example\n\tlogin alice\n\tpassword p1\n", "p1"},
    {"machine MAIL.example user alice password p1", "p1"},
    {"machine mail.example password p1", "p1"},
    {"machine mail.example password p1 login alice", "p1"},
    {"machine mail.example:993 login alice password p1", "p1"},
    {"machine mail.example login alice port imaps password p1", "p1"},
    {"machine mail.example login alice password p1 port 993", "p1"},
    {"machine other password x\nmachine mail.example login alice password p1", "p1"},
    {"machine mail.example login bob password x machine mail.example login alice password p1",
     "p1"},
    {"machine mail.example login alice password first machine mail.example password second",
     "first"},
    {"machine mail.example login alice account x password p1", "p1"},
    {"# machine mail.example password x\nmachine mail.example password #p1 # y\n", "#p1"},
    {"macdef init\nmachine mail.example password x\n\nmachine mail.example password p1", "p1"},
    {"machine mail.example login \"alice\" password \"p \\\"a\\\\s\"", "p \"a\\s"},
    {"machine mail.example login alice password \"p1", "p1"},
    {"machine mail.example login alice password w\xc3\xb6rd", "w\xc3\xb6rd"},

    {"", NULL},
    {"machine", NULL},
    {"machine mail.example", NULL},
    {"machine mail.example login alice password", NULL},
    {"machine mail.example login alice password \"\"", NULL},
    {"machine mail.example login alice password \"", NULL},
    {"machine mail.example login alice password \"\\", "\\"},
    {"machine mail.example2 login alice password x", NULL},
    {"machine mail.exampl login alice password x", NULL},
    {"machine mail.example:143 login alice password x", NULL},
    {"machine mail.example login Alice password x", NULL},
    {"machine mail.example login alice port imap password x", NULL},
    {"machine mail.example login alice port ftp password x", NULL},
    /* a password of somebody else's place is never shown to a server by default */
    {"default login alice password x", NULL},
    {"machine mail.example login alice default password x", NULL},
    {"login alice password x", NULL},
    {"password x machine mail.example login alice", NULL},
    {"macdef init\nmachine mail.example password x", NULL},
    {"# machine mail.example login alice password x", NULL},
};

static void check(const char *text, gsize length, const NetrcQuery *q, const char *want)
{
    /* An exact copy on the heap, so that ASan sees one byte too many. */
    g_autofree char *copy = g_memdup2(text, MAX(length, 1));
    g_autoptr(Secret) secret = netrc_find(copy, length, q);
    const char *got = secret ? secret_bytes(secret, NULL) : NULL;
    if (g_strcmp0(got, want) != 0)
        fail_msg("'%.*s': %s, not %s", (int)length, text, got, want);
}

static void test_find(void **state)
{
    (void)state;
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++)
        check(cases[i].text, strlen(cases[i].text), &query, cases[i].want);
}

/* Every beginning of every file: no crash, and never a longer password than there is. */
static void test_cut(void **state)
{
    (void)state;
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++)
        for (gsize n = 0; n < strlen(cases[i].text); n++) {
            g_autofree char *copy = g_memdup2(cases[i].text, MAX(n, 1));
            g_autoptr(Secret) secret = netrc_find(copy, n, &query);
            gsize length = 0;
            if (secret)
                secret_bytes(secret, &length);
            assert_true(length <= n);
        }
}

static void test_ipv6(void **state)
{
    (void)state;
    const NetrcQuery v6 = {"::1", "alice", 993};
    const char *text = "machine [::1]:143 password x machine [::1]:993 password p1";
    check(text, strlen(text), &v6, "p1");
    check("machine ::1 password p1", 23, &v6, "p1");
    check("machine [::1] password p1", 25, &v6, "p1");
    check("machine [::12] password p1", 26, &v6, NULL);
}

static void test_file(void **state)
{
    (void)state;
    g_autofree char *dir = g_dir_make_tmp("imapfs-netrc-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, ".netrc", NULL);
    const char *text = "machine mail.example login alice password hunter2\n";
    g_autoptr(GError) error = NULL;

    assert_null(netrc_find_in_file(path, &query, &error));
    assert_null(error);

    assert_true(g_file_set_contents_full(path, text, -1, G_FILE_SET_CONTENTS_NONE, 0600, NULL));
    g_autoptr(Secret) secret = netrc_find_in_file(path, &query, &error);
    assert_non_null(secret);
    assert_string_equal(secret_bytes(secret, NULL), "hunter2");

    /* Readable by others: refused in words, but only when it matters. */
    assert_int_equal(g_chmod(path, 0640), 0);
    assert_null(netrc_find_in_file(path, &query, &error));
    assert_true(g_error_matches(error, IMAPFS_ERROR, IMAPFS_ERROR_CONFIG));
    assert_non_null(strstr(error->message, "chmod 600"));
    g_clear_error(&error);
    const NetrcQuery other = {"mail.example", "bob", 993};
    assert_null(netrc_find_in_file(path, &other, &error));
    assert_null(error);

    assert_int_equal(g_unlink(path), 0);
    assert_int_equal(g_mkdir(path, 0700), 0);
    assert_null(netrc_find_in_file(path, &query, &error));
    assert_non_null(error);
    assert_int_equal(g_rmdir(path), 0);
    assert_int_equal(g_rmdir(dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_ipv6),
        cmocka_unit_test(test_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
