/* test_fault.c - the byte at which a connection is lost, or the program ends. */
#include "net_test.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "../../../src/net/fault_stream.h"
#include "imapfs/base/fault.h"

#define BYTES 40

static void arm(const char *fault)
{
    g_setenv("IMAPFS_FAULT", fault, TRUE);
    fault_init();
}

static void test_nothing_in_the_way(void **state)
{
    static const char *const others[] = {"*:1=kill", "store.commit:1=EIO", "disk.*:1=EIO"};
    for (gsize i = 0; i < G_N_ELEMENTS(others); i++) {
        Stream *a, *b;
        arm(others[i]);
        memory_stream_pair(&a, &b);
        assert_ptr_equal(fault_stream_wrap(a), a);
        stream_free(a);
        stream_free(b);
    }
}

/* What passes before the fault, for every n, however the bytes come. */
static void test_each_byte(void **state)
{
    g_autoptr(GByteArray) bytes = sample_bytes(BYTES);
    for (gsize i = 0; i < G_N_ELEMENTS(ways); i++) {
        for (guint n = 1; n <= BYTES + 1; n++) {
            Stream *a, *b;
            g_autofree char *fault =
                g_strdup_printf("wire.%s:%u=EIO", n % 2 ? "out" : "in", (n + 1) / 2);
            arm(fault);
            memory_stream_pair(&a, &b);
            set_way(a, &ways[i]);
            set_way(b, &ways[i]);
            Actor *left = actor_new(fault_stream_wrap(a), bytes->data, bytes->len);
            Actor *right = actor_new(b, bytes->data, bytes->len);
            actor_go(left);
            actor_go(right);
            const GError *const *error =
                (const GError *const *)(n % 2 ? &left->write_error : &left->read_error);
            run_until(*error);
            assert_error(*error, IMAPFS_ERROR_LOST, "was lost");
            if (n % 2)
                run_until(right->got->len >= (n - 1) / 2);
            assert_bytes(n % 2 ? right->got : left->got, bytes->data, (n - 1) / 2);
            actor_free(left);
            actor_free(right);
        }
    }
}

static void test_after_it(void **state)
{
    static const struct {
        const char *fault;
        bool again;
    } table[] = {{"wire.out:3=EIO", false}, {"wire.out:3=EIO+", true}};
    for (gsize i = 0; i < G_N_ELEMENTS(table); i++) {
        gsize n;
        arm(table[i].fault);
        for (int round = 0; round < 2; round++) { /* the next connection */
            Stream *a, *b;
            memory_stream_pair(&a, &b);
            Stream *wrapped = fault_stream_wrap(a);
            StreamStatus first = stream_write(wrapped, "abc", 3, &n, NULL);
            if (round == 0)
                assert_true(first == STREAM_OK && n == 2);
            else
                assert_int_equal(first, table[i].again ? STREAM_ERROR : STREAM_OK);
            if (round == 0)
                assert_int_equal(stream_write(wrapped, "c", 1, &n, NULL), STREAM_ERROR);
            stream_free(wrapped);
            stream_free(b);
        }
    }
}

static void test_kill(void **state)
{
    for (int n = 1; n <= 5; n++) {
        int ends[2], status;
        char got[16];
        g_autofree char *fault = g_strdup_printf("wire.out:%d=kill", n);
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
        pid_t pid = fork();
        if (pid == 0) {
            gsize out;
            arm(fault);
            Stream *stream = fault_stream_wrap(socket_stream_new(ends[0], "test"));
            while (stream_write(stream, "abcde", 5, &out, NULL) == STREAM_OK)
                ;
            _exit(0);
        }
        close(ends[0]);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        assert_int_equal(read(ends[1], got, sizeof got), n - 1);
        assert_memory_equal(got, "abcde", n - 1);
        close(ends[1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_in_the_way),
        cmocka_unit_test(test_each_byte),
        cmocka_unit_test(test_after_it),
        cmocka_unit_test(test_kill),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
