/* test_trace.c - the transcript: exact, masked, and never in the way. */
#include "net_test.h"

#include <fcntl.h>
#include <unistd.h>

/* A step of a dialogue: who, what; hidden counts for the client only. */
typedef struct {
    char who; /* 'C', 'S'; 0: the end */
    bool hidden;
    const char *bytes;
    gsize length;
} Step;
#define C(text)                           \
    {                                     \
        'C', false, text, sizeof text - 1 \
    }
#define HIDDEN(text)                     \
    {                                    \
        'C', true, text, sizeof text - 1 \
    }
#define S(text)                           \
    {                                     \
        'S', false, text, sizeof text - 1 \
    }

static void move(Stream *from, Stream *to, const Step *step, gsize chunk)
{
    char bytes[100];
    gsize n;
    for (gsize i = 0; i < step->length; i += n)
        assert_int_equal(stream_write(from, step->bytes + i,
                                      MIN(chunk ? chunk : step->length, step->length - i), &n,
                                      NULL),
                         STREAM_OK);
    while (stream_read(to, bytes, sizeof bytes, &n, NULL) == STREAM_OK)
        ;
}

static char *trace_of(const Step *steps, gsize chunk)
{
    Stream *a, *b;
    g_autofree char *path = NULL;
    int fd = g_file_open_tmp("imapfs-test-XXXXXX", &path, NULL);
    assert_true(fd >= 0);
    memory_stream_pair(&a, &b);
    Stream *trace = trace_stream_new(a, fd);
    for (const Step *s = steps; s->who; s++) {
        trace_stream_hide(trace, s->hidden);
        move(s->who == 'C' ? trace : b, s->who == 'C' ? b : trace, s, chunk);
    }
    stream_free(trace);
    stream_free(b);
    close(fd);
    char *text = NULL;
    assert_true(g_file_get_contents(path, &text, NULL, NULL));
    unlink(path);
    return text;
}

static const struct {
    const char *name;
    Step steps[8];
    const char *want;
} cases[] = {
    {"dialogue",
     {S("* OK ready\r\n"), C("a1 NOOP\r\n"), S("a1 OK\r\n")},
     "S: * OK ready\nC: a1 NOOP\nS: a1 OK\n"},
    {"password",
     {C("a1 LOGIN joe "), HIDDEN("\"s3cret\"\r\n"), C("a2 NOOP\r\n")},
     "C: a1 LOGIN joe <secret>\nC: a2 NOOP\n"},
    {"whole line", {HIDDEN("AGpvZQBzM2NyZXQ=\r\n"), S("+ \r\n")}, "C: <secret>\nS: + \n"},
    {"password within a line",
     {C("a LOGIN "), HIDDEN("s3cret"), C(" tail\r\n")},
     "C: a LOGIN <secret> tail\n"},
    {"password in a literal",
     {C("a LOGIN joe {8}\r\n"), HIDDEN("s3c\r\nret"), C("\r\n")},
     "C: a LOGIN joe {8}\nC: <secret>\nC: <secret>\n"},
    {"binary",
     {S("\x00\x01\x7f\xff\xc3\xa4\t\x1b[m\r\n")},
     "S: \\x00\\x01\\x7f\\xff\303\244\\x09\\x1b[m\n"},
    {"bidi control",
     {S("a\xe2\x80\xae"
        "b\r\n")},
     "S: a\\xe2\\x80\\xaeb\n"},
    {"bare LF", {S("a\nb\r\n")}, "S: a\\x0a\\\nS: b\n"},
    {"bare CR", {S("a\rb\r\r\n")}, "S: a\\x0db\\x0d\n"},
    {"backslash", {S("\"\\\"\" \\Seen \\x41 \\\r\n")}, "S: \"\\\"\" \\Seen \\x5cx41 \\x5c\n"},
    {"no end", {S("* BYE"), C("x")}, "C: x\\\nS: * BYE\\\n"},
    {"half lines", {S("* O"), C("a1 NOOP\r\n"), S("K\r\n")}, "C: a1 NOOP\nS: * OK\n"},
    {"format", {S("%s%n\r\n")}, "S: %s%n\n"},
    {"empty line", {S("\r\n")}, "S: \n"},
};

static void test_format(void **state)
{
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        for (gsize chunk = 0; chunk < 4; chunk++) {
            g_autofree char *text = trace_of(cases[i].steps, chunk);
            if (strcmp(text, cases[i].want) != 0)
                fail_msg("%s by %zu: got\n%s, not\n%s", cases[i].name, chunk, text, cases[i].want);
        }
    }
}

/* The inverse of the format: what the trace says passed from one side. */
static GByteArray *replay(const char *text, const char *prefix)
{
    GByteArray *out = g_byte_array_new();
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (char **line = lines; *line; line++) {
        if (!g_str_has_prefix(*line, prefix))
            continue;
        const char *p = *line + strlen(prefix);
        bool ended = true;
        for (; *p; p++) {
            guint8 byte = (guint8)*p;
            if (p[0] == '\\' && p[1] == 'x') {
                byte = (guint8)(g_ascii_xdigit_value(p[2]) * 16 + g_ascii_xdigit_value(p[3]));
                p += 3;
            } else if (p[0] == '\\' && p[1] == '\0') {
                ended = false;
                break;
            }
            g_byte_array_append(out, &byte, 1);
        }
        if (ended)
            g_byte_array_append(out, (const guint8 *)"\r\n", 2);
    }
    return out;
}

static void test_exact(void **state)
{
    g_autoptr(GByteArray) bytes = sample_bytes(100000);
    memset(bytes->data + 20000, '\r', 20000);
    memset(bytes->data + 50000, '\\', 10000);
    memcpy(bytes->data + 70000, "end\r\n", 5);
    const Step steps[] = {{'S', false, (char *)bytes->data, bytes->len}, {0}};
    g_autofree char *text = trace_of(steps, 0);
    g_autoptr(GByteArray) again = replay(text, "S: ");
    assert_bytes(again, bytes->data, bytes->len);
}

/* A pipe that nobody empties does not stop the traffic; what was lost is counted. */
static void test_never_blocks(void **state)
{
    Stream *a, *b;
    int ends[2];
    gsize n, total = 0;
    char bytes[65536];
    assert_int_equal(pipe(ends), 0); /* blocking, on purpose */
    memory_stream_pair(&a, &b);
    Stream *trace = trace_stream_new(a, ends[1]);
    g_autofree char *line = g_strnfill(1000, 'x');
    memcpy(line + 998, "\r\n", 2);
    for (int i = 0; i < 5000; i++) {
        assert_int_equal(stream_write(trace, line, 1000, &n, NULL), STREAM_OK);
        assert_int_equal(n, 1000);
        while (stream_read(b, bytes, sizeof bytes, &n, NULL) == STREAM_OK)
            ;
    }
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    GString *got = g_string_new(NULL);
    for (int i = 0; i < 1000; i++) {
        ssize_t r;
        while ((r = read(ends[0], bytes, sizeof bytes)) > 0) {
            g_string_append_len(got, bytes, r);
            total += (gsize)r;
        }
        stream_write(trace, "z\r\n", 3, &n, NULL);
    }
    stream_free(trace);
    close(ends[1]);
    assert_true(total > 1000 * 1000 && total < 2000 * 1000);
    assert_non_null(strstr(got->str, " lines were left out\n"));
    assert_true(g_str_has_suffix(got->str, "C: z\n"));
    g_string_free(got, TRUE);
    stream_free(b);
    close(ends[0]);
}

static void test_gone_file(void **state)
{
    Stream *a, *b;
    gsize n;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    close(ends[1]);
    memory_stream_pair(&a, &b);
    Stream *trace = trace_stream_new(a, ends[0]); /* cannot be written to */
    assert_int_equal(stream_write(trace, "a\r\n", 3, &n, NULL), STREAM_OK);
    assert_int_equal(stream_write(trace, "b\r\n", 3, &n, NULL), STREAM_OK);
    stream_free(trace);
    stream_free(b);
    close(ends[0]);
}

/* Wake-ups pass through, and hiding other streams does nothing. */
static void test_passes(void **state)
{
    for (gsize i = 0; i < G_N_ELEMENTS(ways); i++) {
        Stream *a, *b;
        memory_stream_pair(&a, &b);
        set_way(a, &ways[i]);
        set_way(b, &ways[i]);
        trace_stream_hide(b, true);
        int fd = open("/dev/null", O_WRONLY);
        g_autoptr(GByteArray) bytes = sample_bytes(ways[i].length);
        Actor *left = actor_new(trace_stream_new(a, fd), bytes->data, bytes->len);
        Actor *right = actor_new(b, bytes->data, bytes->len);
        actor_go(left);
        actor_go(right);
        run_until(left->got->len == bytes->len && right->got->len == bytes->len);
        assert_bytes(left->got, bytes->data, bytes->len);
        assert_bytes(right->got, bytes->data, bytes->len);
        actor_free(left);
        actor_free(right);
        close(fd);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_format),       cmocka_unit_test(test_exact),
        cmocka_unit_test(test_never_blocks), cmocka_unit_test(test_gone_file),
        cmocka_unit_test(test_passes),
    };
    return cmocka_run_group_tests_name("net/trace", tests, NULL, NULL);
}
