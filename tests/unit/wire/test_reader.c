/* The reader: framing at every split, every limit, what is pending. */
#include "reader_case.h"
#include "imapfs/base/error.h"
#include "imapfs/base/limits.h"

static const ReaderCase framing_cases[] = {
    {"half a line", "* OK x", "INSIDE"},
    {"half a line end", "* OK x\r", "INSIDE"},
    {"half a literal", "* LIST () \"/\" {5}\r\nab", "INSIDE"},
    {"behind a literal of nothing", "* LIST () \"/\" {0}\r\n", "INSIDE"},
    {"half a search", "* SEARCH 1 2 3", "INSIDE"},
    {"two literals", "* 1 FETCH (BODY[1] {1}\r\na BODY[2] {1}\r\nb)\r\n* OK\r\n",
     "FETCH seq=1 present=100 body=\"1\"{1} bytes=\"a\" body=\"2\"{1} bytes=\"b\"\nOK text=\"\""},
    {"LF alone at a literal", "* LIST () \"/\" {3}\nabc\n",
     "LIST attributes=0 delimiter=\"/\" "
     "name=\"abc\""},
    {"leading zeros", "* LIST () \"/\" {0003}\r\nabc\r\n",
     "LIST attributes=0 delimiter=\"/\" name=\"abc\""},
    {"no literals", "* LIST () \"/\" {}\r\n* LIST () \"/\" {x}\r\n* LIST () \"/\" { 5}\r\n",
     "UNKNOWN text=\"* LIST () \\22/\\22 {}\"\nUNKNOWN text=\"* LIST () \\22/\\22 {x}\"\n"
     "UNKNOWN text=\"* LIST () \\22/\\22 { 5}\""},
    {"a tagged line is text", "A1 FETCH (X {5}\r\n* OK\r\n",
     "UNKNOWN text=\"A1 FETCH (X {5}\"\nOK text=\"\""},
    NUL_CASE("NUL in a line", "* OK a\0b\r\n", "BAD: a NUL outside of a literal"),
    NUL_CASE("NUL in a search", "* SEARCH 1\0\r\n", "BAD: a NUL outside of a literal"),
    NUL_CASE("NUL behind a literal", "* LIST () \"/\" {1}\r\na\0\r\n",
             "BAD: a NUL outside of a literal"),
    {"negative literal", "* LIST () \"/\" {-1}\r\nx", "BAD: a literal of an absurd size"},
    {"literal over 64 bits", "* OK\r\n* LIST () \"/\" {18446744073709551616}\r\nx",
     "OK text=\"\"\nBAD: a literal of an absurd size"},
    {"literal over 63 bits", "* 1 FETCH (BODY[] {18446744073709551615}\r\nx",
     "BAD: a literal of an absurd size"},
    {"literal of 4 GiB", "* 1 FETCH (BODY[] {4294967295}\r\nx", "BAD: a literal is too big"},
    {"literal of 2 GiB", "* 1 FETCH (BODY[] {2147483648}\r\nx", "INSIDE"},
    {"literal over 2 GiB", "* 1 FETCH (BODY[] {2147483649}\r\nx", "BAD: a literal is too big"},
    {"BAD stays", "* LIST () \"/\" {-1}\r\n* OK\r\n* OK\r\n", "BAD: a literal of an absurd size"},
};

static void test_framing(void **state)
{
    check_cases((DumpMode){0}, framing_cases);
}

#define AB "{2} bytes=\"ab\""

static const ReaderCase body_cases[] = {
    {"body", "* 3 FETCH (UID 7 BODY[] {3}\r\na\nb FLAGS ())\r\n",
     "FETCH seq=3 present=103 uid=7 flags=() body=\"\"{3} bytes=\"a\\0ab\""},
    {"uid behind", "* 3 FETCH (BODY[1] {2}\r\nab UID 7)\r\n",
     "FETCH seq=3 present=101 uid=7 body=\"1\"" AB},
    {"nothing", "* 3 FETCH (BODY[1] {0}\r\n UID 7)\r\n",
     "FETCH seq=3 present=101 uid=7 body=\"1\"{0} bytes=\"\""},
    NUL_CASE("binary with origin", "* 3 fetch (uid 7 binary[1.2]<9> ~{2}\r\n\0\1)\r\n",
             "FETCH seq=3 present=101 uid=7 binary=\"1.2\"<9>{2} bytes=\"\\00\\01\""),
    {"several",
     "* 3 FETCH (BODY[1] {2}\r\nab UID 7 BODY[2]{1}\r\nc BODY[3] \"d\" BODY[4]<8> {1}\r\ne)\r\n",
     "FETCH seq=3 present=101 uid=7 body=\"1\"" AB " body=\"2\"{1} bytes=\"c\" "
     "body=\"3\"{1} bytes=\"d\" body=\"4\"<8>{1} bytes=\"e\""},
    {"section with a literal", "* 3 FETCH (BODY[HEADER.FIELDS ({2}\r\nto)] {2}\r\nab)\r\n",
     "FETCH seq=3 present=100 body=\"HEADER.FIELDS (TO)\"" AB},
    {"behind a literal of something else", "* 3 FETCH (X {3}\r\n) ( UID 7 BODY[1] {2}\r\nab)\r\n",
     "FETCH seq=3 present=101 uid=7 body=\"1\"" AB},
    {"literals of others",
     "* 3 FETCH (RFC822 {1}\r\na X {1}\r\nb ENVELOPE ({1}\r\nc))\r\n* LIST () \"/\" {1}\r\nd\r\n",
     "FETCH seq=3 present=120 envelope=(\"c\" NIL NIL NIL NIL NIL NIL NIL NIL NIL) "
     "body=\"\"{1} bytes=\"a\"\nLIST attributes=0 delimiter=\"/\" name=\"d\""},
    {"looks like a body, inside another value", "* 3 FETCH (X (BODY[1] {2}\r\nab) UID 7)\r\n",
     "FETCH seq=3 present=1 uid=7"},
    {"not a FETCH", "* 3 FETCHED (BODY[1] {2}\r\nab)\r\n",
     "UNKNOWN text=\"* 3 FETCHED (BODY[1] {2}\\0d\\0aab)\""},
    {"broken behind it", "* 3 FETCH (BODY[1] {2}\r\nab UID 0)\r\n",
     "FETCH seq=3 present=100 broken=\"UID: not a UID\" body=\"1\"" AB},
    {"in what is not read any more", "* 3 FETCH (ENVELOPE x( BODY[1] {2}\r\nab UID 7)\r\n",
     "FETCH seq=3 present=1 broken=\"ENVELOPE: a list is missing\" uid=7"},
    {"never whole", "* 3 FETCH (BODY[1] {5}\r\nab", "INSIDE"},
    NUL_CASE("then the stream goes bad", "* 3 FETCH (BODY[1] {2}\r\nab\0",
             "BAD: a NUL outside of a literal"),
};

static void test_bodies(void **state)
{
    check_cases((DumpMode){0}, body_cases);
}

/* A reader that is fed bit by bit until it says something. */
typedef struct {
    Reader *reader;
    Response *response;
    ReadStatus status;
} Feeder;

static Feeder feeder(bool authenticated)
{
    Feeder feeder = {.reader = reader_new(), .status = READ_MORE};
    if (authenticated)
        reader_set_authenticated(feeder.reader);
    return feeder;
}

static void feed(Feeder *feeder, const char *bytes, gsize length)
{
    g_autoptr(GError) error = NULL;
    if (feeder->status != READ_MORE)
        return;
    reader_feed(feeder->reader, bytes, length);
    feeder->status = reader_next(feeder->reader, &feeder->response, &error);
    if (feeder->status == READ_BAD) {
        assert_true(g_error_matches(error, IMAPFS_ERROR, IMAPFS_ERROR_PROTOCOL));
        assert_int_equal(reader_next(feeder->reader, &feeder->response, NULL), READ_BAD);
        assert_int_equal(reader_pending(feeder->reader), 0);
    }
}

static void feed_fill(Feeder *feeder, char fill, gsize length)
{
    g_autofree char *piece = g_strnfill(65536, fill);
    for (; length > 0 && feeder->status == READ_MORE; length -= MIN(length, 65536))
        feed(feeder, piece, MIN(length, 65536));
}

static ReadStatus finish(Feeder *feeder)
{
    response_free(feeder->response);
    reader_free(feeder->reader);
    return feeder->status;
}

/* A line of n bytes with its end. */
static ReadStatus read_line(bool authenticated, const char *head, gsize n)
{
    Feeder line = feeder(authenticated);
    feed(&line, head, strlen(head));
    feed_fill(&line, 'x', n - strlen(head) - 2);
    feed(&line, "\r\n", 2);
    return finish(&line);
}

static void test_line_limits(void **state)
{
    static const char *const heads[] = {"* OK ", "* CAPABILITY ", "* LIST () NIL ", "A1 OK ",
                                        "xxxx"};
    for (gsize i = 0; i < G_N_ELEMENTS(heads); i++) {
        assert_int_equal(read_line(false, heads[i], LIMIT_LINE_PREAUTH), READ_OK);
        assert_int_equal(read_line(false, heads[i], LIMIT_LINE_PREAUTH + 1), READ_BAD);
        assert_int_equal(read_line(false, heads[i], 10 * LIMIT_LINE_PREAUTH), READ_BAD);
        assert_int_equal(read_line(true, heads[i], LIMIT_LINE), READ_OK);
        assert_int_equal(read_line(true, heads[i], LIMIT_LINE + 1), READ_BAD);
        assert_int_equal(read_line(true, heads[i], 10 * LIMIT_LINE), READ_BAD);
    }
    assert_int_equal(read_line(false, "* SEARCH ", LIMIT_LINE_PREAUTH + 1), READ_BAD);
}

/* A response with n literals of that size. */
static ReadStatus read_literals(bool authenticated, gsize size, guint n)
{
    Feeder response = feeder(authenticated);
    g_autofree char *head = g_strdup_printf(" X {%zu}\r\n", size);
    feed(&response, "* STATUS x (", 12);
    for (guint i = 0; i < n; i++) {
        feed(&response, head, strlen(head));
        feed_fill(&response, 'y', size);
    }
    feed(&response, ")\r\n", 3);
    return finish(&response);
}

static void test_literal_limits(void **state)
{
    assert_int_equal(read_literals(false, 65536, 1), READ_OK);
    assert_int_equal(read_literals(false, 65537, 1), READ_BAD);
    assert_int_equal(read_literals(false, 655360, 1), READ_BAD);
    assert_int_equal(read_literals(true, LIMIT_LITERAL_MEMORY, 1), READ_OK);
    assert_int_equal(read_literals(true, LIMIT_LITERAL_MEMORY + 1, 1), READ_BAD);
    assert_int_equal(read_literals(true, 10 * LIMIT_LITERAL_MEMORY, 1), READ_BAD);
}

static void test_response_limits(void **state)
{
    const gsize part = LIMIT_RESPONSE_MEMORY / 4;
    assert_int_equal(read_literals(true, part - 100, 4), READ_OK);
    assert_int_equal(read_literals(true, part, 4), READ_BAD);
    assert_int_equal(read_literals(true, part, 40), READ_BAD);
}

/* What a FETCH is about, and that its rest was passed over: the next response is the next. */
static void expect_cut(Feeder *fetch, guint32 uid)
{
    assert_int_equal(fetch->status, READ_OK);
    assert_int_equal(fetch->response->kind, RESP_FETCH);
    assert_true(fetch->response->fetch->broken);
    assert_int_equal(fetch->response->fetch->uid, uid);
    assert_null(fetch->response->fetch->body);
    assert_false(reader_mid_response(fetch->reader));
    g_clear_pointer(&fetch->response, response_free);
    fetch->status = READ_MORE;
    feed(fetch, "* 7 EXISTS\r\n", 12);
    assert_int_equal(fetch->status, READ_OK);
    assert_int_equal(fetch->response->kind, RESP_EXISTS);
    finish(fetch);
}

/* How long it is can be a sender's doing, who has no say in the connection: as in a message with
 * many recipients inside another. */
static void test_long_fetch(void **state)
{
    static const char *const ends[] = {"\" UID 9)\r\n", "\" {5}\r\n)\r\n\"( UID 9)\r\n",
                                       " UID 9)\" {0}\r\n UID 9)\r\n"};
    for (gsize i = 0; i < G_N_ELEMENTS(ends); i++) {
        for (gsize size = LIMIT_LINE - 80; size < LIMIT_LINE + 40; size++) {
            Feeder fetch = feeder(true);
            feed(&fetch, "* 1 FETCH (UID 8 BODYSTRUCTURE (\"", 33);
            feed_fill(&fetch, 'x', size);
            for (const char *p = ends[i]; *p != '\0'; p++)
                feed(&fetch, p, 1);
            if (size > LIMIT_LINE - 33)
                expect_cut(&fetch, 8);
            else
                finish(&fetch);
        }
    }
}

/* Nothing behind the cut, or half of what is before it, is taken for a UID. */
static void test_long_fetch_uid(void **state)
{
    static const char name[] = " UID 1234 UID 5)";
    for (gsize before = 0; before < sizeof name; before++) {
        Feeder fetch = feeder(true);
        feed(&fetch, "* 1 FETCH (X \"", 14);
        feed_fill(&fetch, 'x', LIMIT_LINE - 14 - before);
        feed(&fetch, name, strlen(name));
        feed(&fetch, "\" UID 6)\r\n", 10);
        expect_cut(&fetch, 0);
    }
    for (gsize before = 0; before < 7; before++) {
        Feeder fetch = feeder(true);
        feed(&fetch, "* 1 FETCH (", 11);
        feed_fill(&fetch, ' ', LIMIT_LINE - 11 - before);
        feed(&fetch, "UID 1234 X NIL)\r\n", 17);
        expect_cut(&fetch, 0);
    }
}

static void test_long_fetch_literals(void **state)
{
    static const char *const items[] = {"X", "BODY[HEADER]", "BODY[]<0>"};
    for (gsize i = 0; i < G_N_ELEMENTS(items); i++) {
        Feeder fetch = feeder(true);
        g_autofree char *head =
            g_strdup_printf("* 1 FETCH (UID 8 %s {%u}\r\n", items[i], LIMIT_LITERAL_MEMORY + 1);
        feed(&fetch, head, strlen(head));
        feed_fill(&fetch, '\n', LIMIT_LITERAL_MEMORY + 1);
        feed(&fetch, " Y {3}\r\n)\r\n UID 9)\r\n", 20);
        expect_cut(&fetch, 8);
    }
    Feeder many = feeder(true);
    const guint part = LIMIT_RESPONSE_MEMORY / 4;
    g_autofree char *head = g_strdup_printf(" X {%u}\r\n", part);
    feed(&many, "* 1 FETCH (UID 8", 16);
    for (guint i = 0; i < 10; i++) {
        feed(&many, head, strlen(head));
        feed_fill(&many, 'y', part);
    }
    feed(&many, ")\r\n", 3);
    expect_cut(&many, 8);
}

/* n UIDs with gaps, so that each is a range of its own. */
static ReadStatus read_numbers(const char *head, char between, guint n, bool descending, guint *got)
{
    Feeder list = feeder(true);
    g_autoptr(GString) text = g_string_new(head);
    for (guint i = 0; i < n && list.status == READ_MORE; i++) {
        g_string_append_printf(text, "%c%u", i > 0 ? between : ' ',
                               (descending ? n - i : i + 1) * 2);
        if (text->len > 65536) {
            feed(&list, text->str, text->len);
            g_string_truncate(text, 0);
        }
    }
    g_string_append(text, "\r\n");
    feed(&list, text->str, text->len);
    *got = 0;
    if (list.status == READ_OK && list.response->uids != NULL)
        uidset_ranges(list.response->uids, got);
    return finish(&list);
}

static void test_number_limits(void **state)
{
    static const struct {
        const char *head;
        char between;
    } kinds[] = {{"* SEARCH", ' '}, {"* ESEARCH (TAG \"A1\") UID ALL", ','}, {"* VANISHED", ','}};
    guint got;
    for (gsize i = 0; i < G_N_ELEMENTS(kinds); i++) {
        const char *head = kinds[i].head;
        char between = kinds[i].between;
        assert_int_equal(read_numbers(head, between, LIMIT_SET_RANGES, false, &got), READ_OK);
        assert_int_equal(got, LIMIT_SET_RANGES);
        assert_int_equal(read_numbers(head, between, LIMIT_SET_RANGES + 1, false, &got), READ_BAD);
    }
    assert_int_equal(read_numbers("* SEARCH", ' ', 300000, true, &got), READ_OK);
    assert_int_equal(got, 300000);
    assert_int_equal(read_numbers("* SEARCH", ' ', 10 * LIMIT_SET_RANGES, false, &got), READ_BAD);
}

/* A list that says nothing new for ever. */
static void test_endless_numbers(void **state)
{
    Feeder list = feeder(true);
    feed(&list, "* SEARCH", 8);
    feed_fill(&list, ' ', LIMIT_RESPONSE_MEMORY - 8);
    assert_int_equal(list.status, READ_MORE);
    feed(&list, " ", 1);
    assert_int_equal(finish(&list), READ_BAD);
}

/* Parentheses: a value skipped at the limit, and over it, breaks that message only. */
static void test_nesting_limits(void **state)
{
    static const struct {
        guint depth;
        bool broken;
    } depths[] = {{LIMIT_NESTING, false},
                  {LIMIT_NESTING + 1, true},
                  {10 * LIMIT_NESTING, true},
                  {400000, true}};
    for (gsize i = 0; i < G_N_ELEMENTS(depths); i++) {
        g_autofree char *open = g_strnfill(depths[i].depth, '(');
        g_autofree char *close = g_strnfill(depths[i].depth, ')');
        g_autofree char *text = g_strdup_printf("* 1 FETCH (X %s%s UID 5)\r\n", open, close);
        Feeder line = feeder(true);
        feed(&line, text, strlen(text));
        assert_int_equal(line.status, READ_OK);
        assert_int_equal(line.response->fetch->broken, depths[i].broken);
        assert_int_equal(line.response->fetch->uid, 5);
        finish(&line);
    }
}

static void test_words_limit(void **state)
{
    g_autoptr(GString) text = g_string_new("* CAPABILITY");
    for (guint i = 0; i < 10 * LIMIT_CAPABILITIES; i++)
        g_string_append_printf(text, " C%u", i);
    g_string_append(text, "\r\n");
    Feeder line = feeder(true);
    feed(&line, text->str, text->len);
    assert_int_equal(line.status, READ_OK);
    assert_int_equal(line.response->words->len, LIMIT_CAPABILITIES);
    finish(&line);
}

static void test_pending(void **state)
{
    static const char text[] = "A1 OK begin TLS\r\n* CAPABILITY X\r\n* O";
    g_autoptr(Reader) reader = reader_new();
    Response *response = NULL;
    assert_int_equal(reader_pending(reader), 0);
    assert_false(reader_mid_response(reader));
    reader_feed(reader, text, strlen(text));
    assert_int_equal(reader_next(reader, &response, NULL), READ_OK);
    response_free(response);
    assert_int_equal(reader_pending(reader), strlen("* CAPABILITY X\r\n* O"));
    assert_int_equal(reader_next(reader, &response, NULL), READ_OK);
    response_free(response);
    assert_int_equal(reader_next(reader, &response, NULL), READ_MORE);
    assert_int_equal(reader_pending(reader), 3); /* also what the reader has looked at */
    assert_true(reader_mid_response(reader));
}

static void test_take_pending(void **state)
{
    static const char text[] = "A1 OK compressed from here\r\n\x01\x00\n{5}\r\n";
    g_autoptr(Reader) reader = reader_new();
    Response *response = NULL;
    reader_feed(reader, text, sizeof text - 1);
    assert_int_equal(reader_next(reader, &response, NULL), READ_OK);
    response_free(response);
    g_autoptr(GBytes) pending = reader_take_pending(reader);
    gsize length;
    const char *bytes = g_bytes_get_data(pending, &length);
    assert_int_equal(length, 8);
    assert_memory_equal(bytes, "\x01\x00\n{5}\r\n", 8);
    assert_int_equal(reader_pending(reader), 0);
    reader_feed(reader, "* OK\r\n", 6);
    assert_int_equal(reader_next(reader, &response, NULL), READ_OK);
    assert_int_equal(response->kind, RESP_OK);
    response_free(response);
    g_autoptr(GBytes) none = reader_take_pending(reader);
    assert_int_equal(g_bytes_get_size(none), 0);
}

/* Several responses and literals, cut at three places at random; the seed is fixed. */
static void test_random_splits(void **state)
{
    static const char text[] =
        "* OK [CAPABILITY IMAP4rev1] hi {5}\r\n* 2 FETCH (UID 9 BODY[1] {4}\r\n\r\n\r\n BODY[2] "
        "{0}\r\n"
        " ENVELOPE ({3}\r\n{1} NIL))\r\n* SEARCH 1 2 3\r\n* LIST () \"/\" {4}\r\n{9}\n\r\n"
        "* ESEARCH (TAG \"x\") ALL 1,2\r\n* 3 FETCH (BODY[] {6}\r\n* OK\r\n UID 3)\r\n+ {3}\r\n";
    g_autoptr(GRand) random = g_rand_new_with_seed(1);
    DumpMode mode = {0};
    g_autofree char *want = dump_whole(mode, text, sizeof text - 1);
    for (guint i = 0; i < 3000; i++) {
        gsize a = g_rand_int_range(random, 0, sizeof text),
              b = g_rand_int_range(random, 0, sizeof text);
        gsize cuts[] = {MIN(a, b), MAX(a, b), 0};
        cuts[2] = cuts[1] + (sizeof text - 1 - cuts[1]) / 2;
        g_autofree char *got = dump_stream(mode, text, sizeof text - 1, cuts, 3);
        assert_string_equal(got, want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_framing),         cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_line_limits),     cmocka_unit_test(test_literal_limits),
        cmocka_unit_test(test_response_limits), cmocka_unit_test(test_long_fetch),
        cmocka_unit_test(test_long_fetch_uid),  cmocka_unit_test(test_long_fetch_literals),
        cmocka_unit_test(test_number_limits),   cmocka_unit_test(test_endless_numbers),
        cmocka_unit_test(test_nesting_limits),  cmocka_unit_test(test_words_limit),
        cmocka_unit_test(test_pending),         cmocka_unit_test(test_take_pending),
        cmocka_unit_test(test_random_splits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
