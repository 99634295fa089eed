/* Tests of ctl/passcmd: what counts as a password, and every way to fail. */
#include "passcmd.h"
#include "imapfs/base/error.h"
#include "imapfs/base/limits.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <unistd.h>

static const struct {
    const char *command, *want, *words;
    guint timeout_ms;
} cases[] = {
    {"echo hunter2", "hunter2", NULL, 20000},
    {"printf 'hunter2\\r\\nsecond line\\n'", "hunter2", NULL, 20000},
    {"printf hunter2", "hunter2", NULL, 20000},
    {"printf ' p\"a\\\\s w\\303\\266rd%%+ '", " p\"a\\s w\xc3\xb6rd%+ ", NULL, 20000},
    {"echo note >&2; echo hunter2", "hunter2", NULL, 20000},
    /* what it leaves behind may keep the pipes */
    {"sleep 30 & echo hunter2", "hunter2", NULL, 20000},
    /* its standard input is empty, and none of our descriptors is there */
    {"cat; echo hunter2", "hunter2", NULL, 20000},
    {"for fd in 3 4 5 6 7 8 9; do [ ! -e /proc/$$/fd/$fd ] || exit 3; done; echo ok", "ok", NULL,
     20000},

    {"true", NULL, "printed nothing", 20000},
    {"echo", NULL, "printed nothing", 20000},
    {"printf 'a\\000b\\n'", NULL, "NUL", 20000},
    {"echo hunter2; exit 3", NULL, "failed with exit code 3", 20000},
    {"echo hunter2 >&2; exit 1", NULL, "failed with exit code 1", 20000},
    {"/nonexistent/hunter2", NULL, "failed with exit code 127", 20000},
    {"kill -9 $$", NULL, "ended by signal 9", 20000},
    {"head -c 65537 /dev/zero | tr '\\0' x", NULL, "more than 64 KiB", 20000},
    {"yes hunter2", NULL, "more than 64 KiB", 20000},
    {"yes hunter2 >&2", NULL, "did not end within 1 seconds", 300},
    {"echo hunter2; exec sleep 30", NULL, "did not end within 1 seconds", 300},
    {"echo hunter2; exec >&- 2>&-; sleep 30", NULL, "did not end within 1 seconds", 300},
};

static void run_all(bool at_terminal)
{
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(Secret) secret =
            passcmd_run("passcmd", cases[i].command, cases[i].timeout_ms, at_terminal, &error);
        const char *got = secret ? secret_bytes(secret, NULL) : NULL;
        if (g_strcmp0(got, cases[i].want) != 0)
            fail_msg("%s: %s (%s)", cases[i].command, got, error ? error->message : "no error");
        if (cases[i].words) {
            assert_true(g_error_matches(error, IMAPFS_ERROR, IMAPFS_ERROR_AUTH));
            if (!strstr(error->message, cases[i].words))
                fail_msg("%s: %s", cases[i].command, error->message);
            assert_null(strstr(error->message, "hunter2"));
        }
    }
}

static void test_detached(void **state)
{
    (void)state;
    run_all(false);
}

static void test_at_terminal(void **state)
{
    (void)state;
    run_all(true);
}

/* A line of exactly the limit is one. */
static void test_limit(void **state)
{
    (void)state;
    g_autoptr(GError) error = NULL;
    g_autoptr(Secret) secret =
        passcmd_run("passcmd", "head -c 65535 /dev/zero | tr '\\0' x; echo", 20000, false, &error);
    gsize length = 0;
    assert_non_null(secret);
    secret_bytes(secret, &length);
    assert_int_equal(length, LIMIT_PASSCMD_BYTES - 1);
}

/* What it says on standard error is for the person, and only when it failed. */
static void test_stderr(void **state)
{
    (void)state;
    char name[] = "/tmp/imapfs-passcmd-XXXXXX";
    int file = mkstemp(name), saved = dup(STDERR_FILENO);
    dup2(file, STDERR_FILENO);
    secret_unref(passcmd_run("passcmd", "echo fine >&2; echo x", 20000, true, NULL));
    secret_unref(passcmd_run("passcmd", "echo unseen >&2; exit 1", 20000, false, NULL));
    secret_unref(passcmd_run("passcmd",
                             "printf 'gpg: \\033no key\\r\\ngpg: no card\\n' >&2; exit 1", 20000,
                             true, NULL));
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(file);
    g_autofree char *text = NULL;
    assert_true(g_file_get_contents(name, &text, NULL, NULL));
    unlink(name);
    assert_string_equal(text, "passcmd: gpg: \\x1Bno key\npasscmd: gpg: no card\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_detached),
        cmocka_unit_test(test_at_terminal),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_stderr),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
