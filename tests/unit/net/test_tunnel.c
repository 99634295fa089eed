/* test_tunnel.c - commands behind tunnels: well behaved, gone, deaf, noisy. */
#include "net_test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

static Actor *tunnel(const char *command, const void *send, gsize length)
{
    GError *error = NULL;
    Stream *stream = tunnel_stream_new(command, &error);
    if (!stream)
        fail_msg("%s: %s", command, error->message);
    Actor *actor = actor_new(stream, send, length);
    actor_go(actor);
    return actor;
}

static bool log_has(const char *words)
{
    gsize length;
    g_autofree char *ring = log_ring_dup(&length);
    return g_strstr_len(ring, (gssize)length, words) != NULL;
}

static bool is_gone(pid_t pid)
{
    return kill(pid, 0) < 0 && errno == ESRCH;
}

/* For what is not our child: whether it is reaped then is up to others. */
static bool is_dead(pid_t pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/stat", (int)pid);
    g_autofree char *stat = NULL;
    return !g_file_get_contents(path, &stat, NULL, NULL) || strstr(stat, ") Z ");
}

/* The command's first line is its process id. */
static pid_t first_line_pid(Actor *actor)
{
    run_until(memchr(actor->got->data ? actor->got->data : (guint8 *)"", '\n', actor->got->len));
    return (pid_t)g_ascii_strtoll((const char *)actor->got->data, NULL, 10);
}

static void test_cat(void **state)
{
    g_autoptr(GByteArray) bytes = sample_bytes(1000000);
    Actor *actor = tunnel("exec cat", bytes->data, bytes->len);
    assert_true(stream_is_secure(actor->stream));
    run_until(actor->got->len == bytes->len);
    assert_bytes(actor->got, bytes->data, bytes->len);
    guint64 in, out;
    stream_counters(actor->stream, &in, &out);
    assert_int_equal(in, bytes->len);
    assert_int_equal(out, bytes->len);
    assert_true(run_ready(100) < 100);
    actor_free(actor);
}

static void test_exits(void **state)
{
    static const struct {
        const char *command, *output, *log;
    } table[] = {
        {"echo hello; exit 0", "hello\n", "the command exited"},
        {"exit 3", "", "exited with status 3"},
        {"/no/such/command", "", "exited with status 127"},
        {"kill -9 $$", "", "ended by signal 9"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(table); i++) {
        Actor *actor = tunnel(table[i].command, NULL, 0);
        run_until(actor->eof && log_has(table[i].log));
        assert_bytes(actor->got, table[i].output, strlen(table[i].output));
        actor_free(actor);
    }
    assert_true(log_has("/no/such/command")); /* the shell's own words, from standard error */
}

static void test_ends_with_stream(void **state)
{
    Actor *actor = tunnel("echo $$; exec cat", NULL, 0);
    pid_t pid = first_line_pid(actor);
    actor_free(actor);
    run_until(is_gone(pid)); /* and reaped, else it would not be gone */
}

static void test_ignores_term(void **state)
{
    Actor *actor = tunnel("trap '' TERM; echo $$; exec sleep 1000", NULL, 0);
    pid_t pid = first_line_pid(actor);
    actor_free(actor);
    run_until(is_gone(pid));
}

/* The shell dies of TERM at once, what it started does not. */
static void test_group_ignores_term(void **state)
{
    Actor *actor = tunnel("sh -c 'trap \"\" TERM; echo $$; exec sleep 1000' & wait", NULL, 0);
    pid_t pid = first_line_pid(actor);
    actor_free(actor);
    run_until(is_dead(pid));
}

static void test_stderr(void **state)
{
    Actor *actor = tunnel("printf 'bad \\033[31m word\\r\\nno end' >&2; exec cat", NULL, 0);
    run_until(log_has("tunnel: bad \\x1B[31m word"));
    actor_free(actor); /* what was said last shows too */
    run_until(log_has("tunnel: no end"));
}

/* Said just before the end, and the end is seen before the loop could read it. */
static void test_stderr_at_end(void **state)
{
    Stream *stream = tunnel_stream_new("echo the reason >&2; exit 1", NULL);
    gsize n;
    char byte;
    StreamStatus status;
    assert_non_null(stream);
    while ((status = stream_read(stream, &byte, 1, &n, NULL)) == STREAM_AGAIN)
        g_usleep(1000);
    assert_int_equal(status, STREAM_EOF);
    stream_free(stream);
    assert_true(log_has("tunnel: the reason"));
}

static void test_stderr_flood(void **state)
{
    Actor *actor = tunnel("yes flood 2>/dev/null | head -n 200000 >&2; echo done", NULL, 0);
    run_until(actor->eof);
    assert_bytes(actor->got, "done\n", 5);
    actor_free(actor);
    gsize length;
    g_autofree char *ring = log_ring_dup(&length);
    guint n = 0;
    for (const char *p = ring; (p = strstr(p, "tunnel: flood")); p++)
        n++;
    assert_in_range(n, 1, 100);
}

/* Its own session, three descriptors, no signal blocked or ignored. */
static void test_environment(void **state)
{
    int leak = open("/dev/null", O_RDONLY); /* on purpose without O_CLOEXEC */
    signal(SIGPIPE, SIG_IGN);
    Actor *actor = tunnel("echo $$; cut -d' ' -f6 /proc/$$/stat; ls -m /proc/self/fd; "
                          "exec grep -E 'SigBlk|SigIgn' /proc/self/status",
                          NULL, 0);
    run_until(actor->eof);
    g_byte_array_append(actor->got, (const guint8 *)"", 1);
    g_auto(GStrv) lines = g_strsplit((const char *)actor->got->data, "\n", -1);
    assert_int_equal(g_strv_length(lines), 6);
    assert_string_equal(lines[0], lines[1]);     /* it leads its session */
    assert_string_equal(lines[2], "0, 1, 2, 3"); /* 3 is ls reading the directory */
    assert_non_null(strstr(lines[3], "0000000000000000"));
    guint64 ignored = g_ascii_strtoull(strchr(lines[4], ':') + 2, NULL, 16);
    assert_int_equal(ignored & ~(G_GUINT64_CONSTANT(3) << 31), 0); /* but glibc's own, 32 and 33 */
    actor_free(actor);
    signal(SIGPIPE, SIG_DFL);
    close(leak);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cat),
        cmocka_unit_test(test_exits),
        cmocka_unit_test(test_ends_with_stream),
        cmocka_unit_test(test_ignores_term),
        cmocka_unit_test(test_group_ignores_term),
        cmocka_unit_test(test_stderr),
        cmocka_unit_test(test_stderr_at_end),
        cmocka_unit_test(test_stderr_flood),
        cmocka_unit_test(test_environment),
    };
    log_set_target(LOG_TO_RING_ONLY);
    return cmocka_run_group_tests_name("net/tunnel", tests, NULL, NULL);
}
