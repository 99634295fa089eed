/* Tests of ctl/password and ctl/prompt: which source is asked when, and that echo comes back. */
#include "password.h"
#include "prompt.h"
#include "imapfs/base/error.h"
#include <glib/gstdio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static char *home;

static int set_up(void **state)
{
    (void)state;
    home = g_dir_make_tmp("imapfs-home-XXXXXX", NULL);
    return home ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    const char *const names[] = {".netrc", ".authinfo"};
    for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *path = g_build_filename(home, names[i], NULL);
        g_unlink(path);
    }
    g_rmdir(home);
    g_clear_pointer(&home, g_free);
    return 0;
}

static void write_home(const char *name, const char *text, int mode)
{
    g_autofree char *path = g_build_filename(home, name, NULL);
    assert_true(g_file_set_contents_full(path, text, -1, G_FILE_SET_CONTENTS_NONE, mode, NULL));
    assert_int_equal(g_chmod(path, mode), 0);
}

static PasswordSource *make_source(const char *passcmd)
{
    const PasswordConfig config = {
        .passcmd = passcmd, .user = "alice", .host = "mail.example", .port = 993, .home = home};
    return password_source_new(&config);
}

static void check(PasswordSource *source, bool retry, const char *want, const char *origin,
                  const char *words)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Secret) secret = password_source_get(source, retry, &error);
    const char *got = secret ? secret_bytes(secret, NULL) : NULL;
    if (g_strcmp0(got, want) != 0)
        fail_msg("got %s, want %s (%s)", got, want, error ? error->message : "no error");
    if (origin)
        assert_non_null(strstr(password_source_origin(source), origin));
    if (words && !strstr(error->message, words))
        fail_msg("%s", error->message);
    assert_false(password_source_is_asking(source));
}

static void test_order(void **state)
{
    (void)state;
    g_autoptr(PasswordSource) source = make_source(NULL);
    check(source, false, NULL, NULL, "there is no password: use passcmd");

    write_home(".netrc", "machine mail.example login alice password from-netrc", 0600);
    check(source, false, "from-netrc", ".netrc", NULL);
    write_home(".authinfo", "machine mail.example login alice password from-authinfo", 0600);
    check(source, false, "from-authinfo", ".authinfo", NULL);
    /* Without a person, the files are asked again: they may have been put right. */
    check(source, true, "from-authinfo", ".authinfo", NULL);

    write_home(".authinfo", "machine mail.example login alice password from-authinfo", 0644);
    check(source, false, NULL, NULL, "can be read by others");
}

static void test_passcmd_alone(void **state)
{
    (void)state;
    write_home(".netrc", "machine mail.example login alice password from-netrc", 0600);
    g_autoptr(PasswordSource) good = make_source("echo from-command");
    check(good, false, "from-command", "passcmd", NULL);
    check(good, true, "from-command", "passcmd", NULL);
    /* A command that fails is heard of: no other source hides it. */
    g_autoptr(PasswordSource) bad = make_source("exit 1");
    check(bad, false, NULL, NULL, "failed with exit code 1");
    assert_null(password_source_origin(bad));
}

/* --- the terminal --- */

static bool echo_on(int terminal)
{
    struct termios now;
    assert_int_equal(tcgetattr(terminal, &now), 0);
    return (now.c_lflag & ECHO) != 0;
}

/* Reads the question, so that echo is known to be off. */
static void await_question(int master)
{
    char text[256];
    gsize length = 0;
    for (;;) {
        struct pollfd fd = {master, POLLIN, 0};
        if (poll(&fd, 1, 20000) != 1)
            fail_msg("no question came");
        gssize n = read(master, text + length, sizeof text - 1 - length);
        assert_true(n > 0);
        length += (gsize)n;
        text[length] = '\0';
        if (strstr(text, "Password: "))
            return;
    }
}

/* In a child on a terminal of its own: exits 0 when the answer was `want`. */
static pid_t start_prompt(int *master_out, int *slave_out, const char *want)
{
    int master, slave;
    assert_int_equal(openpty(&master, &slave, NULL, NULL, NULL), 0);
    pid_t pid = fork();
    if (pid == 0) {
        /* Beside its parent's, so not orphaned: the kernel does not stop what nobody could
         * continue. */
        setpgid(0, 0);
        g_autoptr(Secret) secret = prompt_password_at(slave, "Password: ", NULL);
        _exit(g_strcmp0(secret ? secret_bytes(secret, NULL) : NULL, want) == 0 ? 0 : 1);
    }
    assert_true(pid > 0);
    *master_out = master;
    *slave_out = slave;
    return pid;
}

static int end_prompt(pid_t pid, int master, int slave)
{
    int status = -1;
    bool back = false;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    back = echo_on(slave);
    close(master);
    close(slave);
    assert_true(back);
    return status;
}

static const struct {
    const char *typed, *want;
} answers[] = {
    {"hunter2\n", "hunter2"},
    {" p\"a\\s w\xc3\xb6rd%+ \n", " p\"a\\s w\xc3\xb6rd%+ "},
    {"x\x7fhunter2\n", "hunter2"}, /* the terminal's own erase */
    {"\n", NULL},
    {"\x04", NULL}, /* Ctrl-D */
};

static void test_prompt(void **state)
{
    (void)state;
    for (guint i = 0; i < G_N_ELEMENTS(answers); i++) {
        int master, slave;
        pid_t pid = start_prompt(&master, &slave, answers[i].want);
        await_question(master);
        assert_false(echo_on(slave));
        gsize length = strlen(answers[i].typed);
        assert_int_equal(write(master, answers[i].typed, length), length);
        int status = end_prompt(pid, master, slave);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
            fail_msg("answer %u: status %d", i, status);
    }
}

static void test_prompt_signals(void **state)
{
    (void)state;
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    for (guint i = 0; i < G_N_ELEMENTS(signals); i++) {
        int master, slave;
        pid_t pid = start_prompt(&master, &slave, "x");
        await_question(master);
        assert_false(echo_on(slave));
        assert_int_equal(kill(pid, signals[i]), 0);
        int status = end_prompt(pid, master, slave);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), signals[i]);
    }
}

/* Ctrl-Z and back: echo is on while stopped, and the question comes again. */
static void test_prompt_stopped(void **state)
{
    (void)state;
    int master, slave, status = 0;
    pid_t pid = start_prompt(&master, &slave, "hunter2");
    await_question(master);
    assert_int_equal(kill(pid, SIGTSTP), 0);
    assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
    assert_true(WIFSTOPPED(status));
    assert_true(echo_on(slave));
    assert_int_equal(kill(pid, SIGCONT), 0);
    await_question(master);
    assert_false(echo_on(slave));
    assert_int_equal(write(master, "hunter2\n", 8), 8);
    status = end_prompt(pid, master, slave);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_passcmd_alone, set_up, tear_down),
        cmocka_unit_test(test_prompt),
        cmocka_unit_test(test_prompt_signals),
        cmocka_unit_test(test_prompt_stopped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
