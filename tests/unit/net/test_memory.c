/* test_memory.c - the memory pair, and with it what all streams share. */
#include "net_test.h"

static void test_both_ways(void **state)
{
    for (gsize i = 0; i < G_N_ELEMENTS(ways); i++) {
        for (int first = 0; first < 4; first++) {
            Stream *a, *b;
            memory_stream_pair(&a, &b);
            set_way(a, &ways[i]);
            set_way(b, &ways[i]);
            g_autoptr(GByteArray) bytes = sample_bytes(ways[i].length);
            Actor *left = actor_new(a, bytes->data, bytes->len);
            Actor *right = actor_new(b, bytes->data, bytes->len);
            left->write_first = first & 1;
            right->write_first = first & 2;
            actor_go(left);
            actor_go(right);
            run_until(left->got->len == bytes->len && right->got->len == bytes->len);
            assert_bytes(left->got, bytes->data, bytes->len);
            assert_bytes(right->got, bytes->data, bytes->len);
            guint64 in, out;
            stream_counters(a, &in, &out);
            assert_int_equal(in, bytes->len);
            assert_int_equal(out, bytes->len);
            assert_true(run_ready(100) < 100); /* and then it is quiet */
            actor_free(left);
            run_until(right->eof);
            actor_free(right);
        }
    }
}

static void test_break(void **state)
{
    static const struct {
        bool as_error;
        ImapfsError write_code;
    } table[] = {{false, IMAPFS_ERROR_LOST}, {true, IMAPFS_ERROR_LOST}};
    for (gsize i = 0; i < G_N_ELEMENTS(table); i++) {
        Stream *a, *b;
        gsize n;
        memory_stream_pair(&a, &b);
        assert_int_equal(stream_write(a, "left over", 9, &n, NULL), STREAM_OK);
        Actor *right = actor_new(b, "x", 1);
        memory_stream_break(a, table[i].as_error);
        actor_go(right);
        assert_bytes(right->got, "left over", 9);
        assert_error(right->write_error, table[i].write_code, "was lost");
        assert_true(right->eof == !table[i].as_error);
        if (table[i].as_error)
            assert_error(right->read_error, IMAPFS_ERROR_LOST, "was lost");
        /* it stays so */
        char byte;
        assert_int_equal(stream_read(b, &byte, 1, &n, NULL),
                         table[i].as_error ? STREAM_ERROR : STREAM_EOF);
        assert_int_equal(stream_write(b, &byte, 1, &n, NULL), STREAM_ERROR);
        assert_int_equal(stream_flush(b, NULL), STREAM_ERROR);
        stream_free(a);
        actor_free(right);
    }
}

static void test_break_wakes(void **state)
{
    Stream *a, *b;
    memory_stream_pair(&a, &b);
    Actor *right = actor_new(b, NULL, 0);
    actor_go(right);
    assert_false(right->eof);
    stream_free(a);
    assert_false(right->eof); /* not from inside the call */
    run_until(right->eof);
    actor_free(right);
}

static void on_notify_free(gpointer data)
{
    Stream **stream = data;
    g_clear_pointer(stream, stream_free);
}

static void test_free_in_notify(void **state)
{
    Stream *a, *b;
    gsize n;
    char byte;
    memory_stream_pair(&a, &b);
    stream_set_notify(a, on_notify_free, &a);
    assert_int_equal(stream_read(a, &byte, 1, &n, NULL), STREAM_AGAIN);
    assert_int_equal(stream_write(b, "x", 1, &n, NULL), STREAM_OK);
    run_until(!a);
    stream_free(b);
    stream_free(NULL);
}

static void test_secure(void **state)
{
    Stream *a, *b;
    memory_stream_pair(&a, &b);
    assert_false(stream_is_secure(a));
    memory_stream_set_secure(a, true);
    assert_true(stream_is_secure(a));
    assert_false(stream_is_secure(b));
    g_autofree char *words = stream_describe(a);
    assert_string_equal(words, "memory");
    stream_free(a);
    stream_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_ways),   cmocka_unit_test(test_break),
        cmocka_unit_test(test_break_wakes), cmocka_unit_test(test_free_in_notify),
        cmocka_unit_test(test_secure),
    };
    return cmocka_run_group_tests_name("net/memory", tests, NULL, NULL);
}
