/* test_deflate.c - COMPRESS=DEFLATE: round trips, early input, broken data, bombs. */
#include "net_test.h"

#include <zlib.h>

static void test_round_trips(void **state)
{
    for (gsize i = 0; i < G_N_ELEMENTS(ways); i++) {
        for (int first = 0; first < 4; first++) {
            Stream *a, *b;
            memory_stream_pair(&a, &b);
            set_way(a, &ways[i]);
            set_way(b, &ways[i]);
            memory_stream_set_secure(a, true);
            g_autoptr(GByteArray) bytes = sample_bytes(ways[i].length);
            Actor *left = actor_new(deflate_stream_new(a, NULL), bytes->data, bytes->len);
            Actor *right = actor_new(deflate_stream_new(b, NULL), bytes->data, bytes->len);
            left->write_first = first & 1;
            right->write_first = first & 2;
            assert_true(stream_is_secure(left->stream));
            g_autofree char *words = stream_describe(left->stream);
            assert_string_equal(words, "memory, compressed");
            actor_go(left);
            actor_go(right);
            run_until(left->got->len >= bytes->len && right->got->len >= bytes->len);
            run_until(left->flushed && right->flushed);
            assert_bytes(left->got, bytes->data, bytes->len);
            assert_bytes(right->got, bytes->data, bytes->len);
            assert_true(run_ready(1000) < 1000);
            actor_free(left);
            run_until(right->eof || right->read_error);
            assert_true(right->eof);
            actor_free(right);
        }
    }
}

/* Commands and answers by turns: each flush carries all that was written. */
static void test_dialogue(void **state)
{
    Stream *a, *b;
    gsize n;
    memory_stream_pair(&a, &b);
    Stream *left = deflate_stream_new(a, NULL), *right = deflate_stream_new(b, NULL);
    guint64 before, after, in;
    for (int i = 0; i < 100; i++) {
        char bytes[100];
        g_autofree char *line = g_strdup_printf("a%d NOOP\r\n", i);
        assert_int_equal(stream_write(left, line, strlen(line), &n, NULL), STREAM_OK);
        assert_int_equal(n, strlen(line));
        assert_int_equal(stream_flush(left, NULL), STREAM_OK);
        stream_counters(left, &in, &before);
        assert_int_equal(stream_flush(left, NULL), STREAM_OK); /* costs nothing again */
        stream_counters(left, &in, &after);
        assert_int_equal(before, after);
        assert_int_equal(stream_read(right, bytes, sizeof bytes, &n, NULL), STREAM_OK);
        assert_int_equal(n, strlen(line));
        assert_memory_equal(bytes, line, n);
        assert_int_equal(stream_read(right, bytes, sizeof bytes, &n, NULL), STREAM_AGAIN);
    }
    assert_true(after < 100 * 12);
    stream_free(left);
    stream_free(right);
}

static GByteArray *raw_deflate(const guint8 *bytes, gsize length, int end)
{
    GByteArray *out = g_byte_array_new();
    z_stream z = {0};
    deflateInit2(&z, 9, Z_DEFLATED, -15, 9, Z_DEFAULT_STRATEGY);
    g_byte_array_set_size(out, (guint)deflateBound(&z, length) + 100);
    z.next_in = (Bytef *)bytes;
    z.avail_in = (uInt)length;
    z.next_out = out->data;
    z.avail_out = out->len;
    deflate(&z, end);
    g_byte_array_set_size(out, (guint)z.total_out);
    deflateEnd(&z);
    return out;
}

/* Bytes that came together with the answer to COMPRESS, split at each place. */
static void test_early_input(void **state)
{
    g_autoptr(GByteArray) bytes = sample_bytes(300);
    g_autoptr(GByteArray) raw = raw_deflate(bytes->data, bytes->len, Z_SYNC_FLUSH);
    for (gsize split = 0; split <= raw->len; split++) {
        Stream *a, *b;
        gsize n;
        memory_stream_pair(&a, &b);
        g_autoptr(GBytes) early = g_bytes_new(raw->data, split);
        Actor *actor = actor_new(deflate_stream_new(a, early), NULL, 0);
        if (split < raw->len)
            stream_write(b, raw->data + split, raw->len - split, &n, NULL);
        actor_go(actor);
        assert_bytes(actor->got, bytes->data, bytes->len);
        assert_null(actor->read_error);
        actor_free(actor);
        stream_free(b);
    }
}

/* What is read when exactly these bytes come and then the end. */
static Actor *read_raw(const guint8 *raw, gsize length, gsize chunk)
{
    Stream *a, *b;
    gsize n;
    memory_stream_pair(&a, &b);
    memory_stream_set_chunk(a, chunk);
    if (length)
        stream_write(b, raw, length, &n, NULL);
    stream_free(b);
    Actor *actor = actor_new(deflate_stream_new(a, NULL), NULL, 0);
    actor_go(actor);
    run_until(actor->eof || actor->read_error);
    return actor;
}

static void test_cut(void **state)
{
    g_autoptr(GByteArray) bytes = sample_bytes(500);
    g_autoptr(GByteArray) raw = raw_deflate(bytes->data, bytes->len, Z_SYNC_FLUSH);
    for (gsize at = 0; at <= raw->len; at++) {
        Actor *actor = read_raw(raw->data, at, at % 3);
        bool whole = at == 0 || at == raw->len;
        assert_int_equal(actor->eof, whole);
        if (!whole)
            assert_error(actor->read_error, IMAPFS_ERROR_LOST, "in the middle");
        if (actor->got->len)
            assert_memory_equal(actor->got->data, bytes->data, actor->got->len);
        actor_free(actor);
    }
}

static void test_broken(void **state)
{
    g_autoptr(GByteArray) bytes = sample_bytes(500);
    g_autoptr(GByteArray) ended = raw_deflate(bytes->data, bytes->len, Z_FINISH);
    Actor *actor = read_raw(ended->data, ended->len, 0);
    assert_true(actor->eof);
    assert_bytes(actor->got, bytes->data, bytes->len);
    actor_free(actor);

    g_byte_array_append(ended, (const guint8 *)"more", 4);
    for (gsize chunk = 0; chunk < 2; chunk++) {
        actor = read_raw(ended->data, ended->len, chunk);
        assert_error(actor->read_error, IMAPFS_ERROR_PROTOCOL, "after its end");
        assert_bytes(actor->got, bytes->data, bytes->len);
        actor_free(actor);
        actor = read_raw((const guint8 *)"\xff\xff\xff\xff", 4, chunk);
        assert_error(actor->read_error, IMAPFS_ERROR_PROTOCOL, "broken");
        actor_free(actor);
        actor = read_raw((const guint8 *)"* OK clear text\r\n", 17, chunk);
        assert_false(actor->eof); /* some of it may look like compressed data, but not for long */
        assert_non_null(actor->read_error);
        assert_true(actor->got->len < 10);
        actor_free(actor);
    }
}

/* Zeros come out of zlib at about 1,030:1. */
static void test_bomb(void **state)
{
    gsize size = 20 * 1024 * 1024;
    g_autofree guint8 *zeros = g_malloc0(size);
    g_autoptr(GByteArray) bomb = raw_deflate(zeros, size, Z_SYNC_FLUSH);
    assert_true(size / bomb->len >= LIMIT_INFLATE_RATIO);
    static const gsize chunks[] = {0, 1, 100};
    for (gsize i = 0; i < G_N_ELEMENTS(chunks); i++) {
        Actor *actor = read_raw(bomb->data, bomb->len, chunks[i]);
        assert_error(actor->read_error, IMAPFS_ERROR_PROTOCOL, "more than any mail would");
        assert_true(actor->got->len <= 3 * 1024 * 1024);
        actor_free(actor);
    }
}

/* Very repetitive mail, below the limit. */
static void test_no_bomb(void **state)
{
    gsize size = 4 * 1024 * 1024;
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    g_byte_array_set_size(bytes, (guint)size);
    for (gsize i = 0; i < size; i++)
        bytes->data[i] = (guint8)(i % 4000 < 3990 ? 'A' : (i / 4000) >> (i % 4));
    g_autoptr(GByteArray) raw = raw_deflate(bytes->data, size, Z_SYNC_FLUSH);
    assert_true(size / raw->len > 100);
    Actor *actor = read_raw(raw->data, raw->len, 0);
    assert_true(actor->eof);
    assert_bytes(actor->got, bytes->data, size);
    actor_free(actor);
}

/* Empty blocks without end inflate to nothing: others must get their turn meanwhile. */
static void test_fruitless(void **state)
{
    Stream *a, *b;
    gsize n;
    char byte;
    memory_stream_pair(&a, &b);
    memory_stream_set_chunk(a, 5);
    for (int i = 0; i < 10000; i++)
        stream_write(b, "\x00\x00\x00\xff\xff", 5, &n, NULL);
    Actor *actor = actor_new(deflate_stream_new(a, NULL), NULL, 0);
    assert_int_equal(stream_read(actor->stream, &byte, 1, &n, NULL), STREAM_AGAIN);
    stream_free(b);
    run_until(actor->eof);
    assert_true(actor->rounds > 100);
    actor_free(actor);
}

/* What a flush began goes on without more calls. */
static void test_goes_by_itself(void **state)
{
    g_autoptr(GByteArray) bytes = sample_bytes(5000);
    Stream *a, *b;
    gsize n;
    memory_stream_pair(&a, &b);
    memory_stream_set_capacity(a, 10);
    Stream *left = deflate_stream_new(a, NULL);
    assert_int_equal(stream_write(left, bytes->data, bytes->len, &n, NULL), STREAM_OK);
    assert_int_equal(n, bytes->len);
    assert_int_equal(stream_flush(left, NULL), STREAM_AGAIN);
    Actor *right = actor_new(deflate_stream_new(b, NULL), NULL, 0);
    actor_go(right);
    run_until(right->got->len == bytes->len);
    assert_bytes(right->got, bytes->data, bytes->len);
    stream_free(left);
    actor_free(right);
}

static void on_notify_flush(gpointer data)
{
    Actor *actor = data;
    actor->rounds++;
    actor->flushed = stream_flush(actor->stream, NULL) == STREAM_OK;
}

/* Who only flushes, and waits for no bytes, is woken too. */
static void test_flush_is_woken(void **state)
{
    g_autoptr(GByteArray) bytes = sample_bytes(1000);
    Stream *a, *b;
    memory_stream_pair(&a, &b);
    memory_stream_set_capacity(a, 10);
    Actor *left = actor_new(deflate_stream_new(a, NULL), bytes->data, bytes->len);
    stream_set_notify(left->stream, on_notify_flush, left);
    actor_write(left);
    assert_int_equal(left->sent, bytes->len);
    assert_false(left->flushed);
    Actor *right = actor_new(b, NULL, 0);
    actor_go(right);
    run_until(left->flushed);
    assert_true(left->rounds > 1);
    actor_free(left);
    actor_free(right);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trips),    cmocka_unit_test(test_dialogue),
        cmocka_unit_test(test_early_input),    cmocka_unit_test(test_cut),
        cmocka_unit_test(test_broken),         cmocka_unit_test(test_bomb),
        cmocka_unit_test(test_no_bomb),        cmocka_unit_test(test_fruitless),
        cmocka_unit_test(test_goes_by_itself), cmocka_unit_test(test_flush_is_woken),
    };
    return cmocka_run_group_tests_name("net/deflate", tests, NULL, NULL);
}
