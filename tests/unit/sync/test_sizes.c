/* NEED_SIZES against a real Dovecot: sizes from the ends of parts are those of the decoded bytes,
 * what is irregular is left alone and asked for once, the next messages come along. */
#include "world.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "imapfs/base/error.h"
#include "imapfs/base/limits.h"
#include "imapfs/base/log.h"
#include "imapfs/mime/transfer.h"
#include "imapfs/sync/structure_text.h"

/* n random bytes in base64, in lines of some length (0: one line), without the last line end. */
static GString *encode(guint n, guint line)
{
    static guint32 seed = 1;
    g_autoptr(GRand) rand = g_rand_new_with_seed(seed++);
    g_autofree guint8 *bytes = g_malloc(n);
    for (guint i = 0; i < n; i++)
        bytes[i] = (guint8)g_rand_int(rand);
    g_autofree char *plain = g_base64_encode(bytes, n);
    gsize length = strlen(plain);
    gsize step = line ? line : length;
    GString *out = g_string_new(NULL);
    for (gsize i = 0; i < length; i += step) {
        g_string_append_len(out, plain + i, (gssize)MIN(step, length - i));
        if (i + step < length)
            g_string_append(out, "\r\n");
    }
    return out;
}

static guint64 decoded_size(const GString *text)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    g_autoptr(Transfer) transfer = transfer_new(TRANSFER_BASE64);
    transfer_feed(transfer, text->str, text->len, out);
    transfer_finish(transfer, out);
    return out->len;
}

static void begin_message(GString *out)
{
    g_string_append(out, "From: Alice Doe <alice@example.org>\r\nSubject: parts\r\n"
                         "MIME-Version: 1.0\r\n"
                         "Content-Type: multipart/mixed; boundary=b\r\n\r\n");
}

static void add_part(GString *out, const char *encoding, const char *text)
{
    g_string_append_printf(out,
                           "--b\r\nContent-Type: application/octet-stream\r\n"
                           "Content-Disposition: attachment; filename=x.bin\r\n"
                           "Content-Transfer-Encoding: %s\r\n\r\n%s\r\n",
                           encoding, text);
}

/* A message with one part. */
static void deliver_part(World *world, const char *text)
{
    g_autoptr(GString) out = g_string_new(NULL);
    begin_message(out);
    add_part(out, "base64", text);
    g_string_append(out, "--b--\r\n");
    g_free(deliver_bytes(world, "", "", out->str));
}

static gint64 size_of(World *world, guint32 box, guint32 uid, guint part)
{
    char section[16];
    g_snprintf(section, sizeof(section), "%u", part);
    return store_size_get(store_reader(world->store), box, uid, CONTENT_DECODED, section);
}

static void want_sizes(World *world, guint32 box, guint32 uid)
{
    ask_ok(world, &(Need){.kind = NEED_STRUCTURE, .box = box, .uid = uid});
    ask_ok(world, &(Need){.kind = NEED_SIZES, .box = box, .uid = uid});
}

/* Has all that is sent written to a file. */
static int trace(World *world)
{
    g_autofree char *path = g_build_filename(world->dir, "trace", NULL);
    world->account.trace_fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    assert_true(world->account.trace_fd >= 0);
    return world->account.trace_fd;
}

/* How often something stands in the trace. */
static guint count_in_trace(World *world, const char *what)
{
    g_autofree char *path = g_build_filename(world->dir, "trace", NULL);
    g_autofree char *text = NULL;
    guint n = 0;
    assert_true(g_file_get_contents(path, &text, NULL, NULL));
    for (const char *p = text; (p = strstr(p, what)); p += strlen(what))
        n++;
    return n;
}

static const struct {
    const char *name;
    guint bytes, line;
    const char *end; /* what follows the last line */
} regular[] = {
    {"76", 50000, 76, ""},          {"76, two pads", 50002, 76, "\r\n"},
    {"60", 12345, 60, "\r\n"},      {"64", 30001, 64, ""},
    {"72", 30000, 72, "\r\n\r\n"},  {"one line", 40000, 0, ""},
    {"long lines", 90000, 996, ""}, {"4", 5000, 4, ""},
};

static void test_regular(void **state)
{
    World *world = *state;
    guint64 want[G_N_ELEMENTS(regular)];
    g_autoptr(GString) out = g_string_new(NULL);
    begin_message(out);
    for (guint i = 0; i < G_N_ELEMENTS(regular); i++) {
        g_autoptr(GString) text = encode(regular[i].bytes, regular[i].line);
        g_string_append(text, regular[i].end);
        want[i] = regular[i].bytes;
        add_part(out, "base64", text->str);
    }
    g_string_append(out, "--b--\r\n");
    g_free(deliver_bytes(world, "", "", out->str));
    int fd = trace(world);
    open_engine(world);
    guint32 inbox = list_inbox(world);
    want_sizes(world, inbox, 4);
    for (guint i = 0; i < G_N_ELEMENTS(regular); i++) {
        if (size_of(world, inbox, 4, i + 1) != (gint64)want[i])
            fail_msg("%s: %ld", regular[i].name, (long)size_of(world, inbox, 4, i + 1));
    }
    /* all in one command, but for long lines, which take a second */
    assert_int_equal(count_in_trace(world, "UID FETCH 4 (UID BODY.PEEK["), 2);
    close_engine(world);
    close(fd);
}

static void test_irregular(void **state)
{
    World *world = *state;
    g_autoptr(GString) start = encode(30000, 76), middle = encode(30000, 76);
    g_autoptr(GString) small = encode(2000, 76), plain = encode(30000, 76);
    g_string_prepend(start, "not base64\r\n");
    g_string_insert(middle, (gssize)middle->len / 2, "\r\n\r\n");
    g_autoptr(GString) out = g_string_new(NULL);
    begin_message(out);
    add_part(out, "base64", start->str);
    add_part(out, "base64", middle->str);
    add_part(out, "base64", small->str);
    add_part(out, "7bit", plain->str);
    g_string_append(out, "--b--\r\n");
    g_free(deliver_bytes(world, "", "", out->str));
    int fd = trace(world);
    open_engine(world);
    guint32 inbox = list_inbox(world);
    for (guint i = 0; i < 3; i++)
        want_sizes(world, inbox, 4);
    for (guint part = 1; part <= 4; part++)
        assert_int_equal(size_of(world, inbox, 4, part), -1);
    assert_int_equal(count_in_trace(world, "UID FETCH 4 (UID BODY.PEEK["), 1);
    assert_int_equal(count_in_trace(world, "BODY.PEEK[3]"), 0);
    assert_int_equal(count_in_trace(world, "BODY.PEEK[4]"), 0);
    close_engine(world);
    close(fd);
}

/* What the ends cannot show: the size is wrong until the whole part was here, and then for ever
 * right. */
static void test_damaged_in_the_middle(void **state)
{
    World *world = *state;
    g_autoptr(GString) text = encode(60000, 76);
    memcpy(text->str + 78 * 300 + 10, "!!!!!!!!", 8);
    deliver_part(world, text->str);
    open_engine(world);
    guint32 inbox = list_inbox(world);
    want_sizes(world, inbox, 4);
    assert_int_equal(size_of(world, inbox, 4, 1), 60000);
    ask_ok(world, &(Need){.kind = NEED_CONTENT,
                          .box = inbox,
                          .uid = 4,
                          .content = CONTENT_DECODED,
                          .section = (char *)"1",
                          .encoding = (char *)"base64",
                          .encoded_size = (gint64)text->len});
    assert_int_equal(size_of(world, inbox, 4, 1), decoded_size(text));
    assert_int_not_equal(decoded_size(text), 60000);
    want_sizes(world, inbox, 4);
    assert_int_equal(size_of(world, inbox, 4, 1), decoded_size(text));
}

/* A size that comes true without being asked for. */
static void wait_size(World *world, guint32 box, guint32 uid, gint64 want)
{
    gint64 until = g_get_monotonic_time() + 20 * G_USEC_PER_SEC;
    while (size_of(world, box, uid, 1) != want) {
        if (g_get_monotonic_time() > until)
            fail_msg("%u: %ld", uid, (long)size_of(world, box, uid, 1));
        g_usleep(5000);
    }
}

static void test_next_messages(void **state)
{
    enum { N = 12, FIRST = 4 };
    World *world = *state;
    for (guint i = 0; i < N; i++) {
        g_autoptr(GString) text = encode(10000 + i, 76);
        deliver_part(world, text->str);
        g_free(deliver(world, "", "")); /* one without a part in between */
    }
    int fd = trace(world);
    open_engine(world);
    guint32 inbox = list_inbox(world);
    for (guint32 uid = 1; uid < FIRST + 2 * N; uid++)
        ask_ok(world, &(Need){.kind = NEED_STRUCTURE, .box = inbox, .uid = uid});
    ask_ok(world, &(Need){.kind = NEED_SIZES, .box = inbox, .uid = FIRST});
    assert_int_equal(size_of(world, inbox, FIRST, 1), 10000);
    ask_ok(world, &(Need){.kind = NEED_SIZES, .box = inbox, .uid = FIRST + 2});
    wait_size(world, inbox, FIRST + 4, 10002); /* window 2 */
    ask_ok(world, &(Need){.kind = NEED_SIZES, .box = inbox, .uid = FIRST + 6});
    for (guint i = 3; i <= 6; i++) /* window 4 */
        wait_size(world, inbox, FIRST + 2 * i, 10000 + i);
    /* out of order: that one alone */
    ask_ok(world, &(Need){.kind = NEED_SIZES, .box = inbox, .uid = FIRST + 2 * 11});
    assert_int_equal(size_of(world, inbox, FIRST + 2 * 11, 1), 10011);
    close_engine(world);
    assert_int_equal(count_in_trace(world, "BODY.PEEK[1]<0."), 8);
    close(fd);
}

/* Sections of a structure that was made here may be others than the server's. */
static void test_local_structure(void **state)
{
    World *world = *state;
    g_autoptr(GString) text = encode(10000, 76);
    deliver_part(world, text->str);
    int fd = trace(world);
    open_engine(world);
    guint32 inbox = list_inbox(world);
    ask_ok(world, &(Need){.kind = NEED_STRUCTURE, .box = inbox, .uid = 4});
    g_autofree char *structure = store_structure_get(store_reader(world->store), inbox, 4);
    g_autoptr(BodyPart) body = structure_text_parse(structure, NULL);
    g_autofree char *local = structure_text_new(body, true);
    StoreTxn *txn = store_begin(world->store, false, NULL);
    assert_true(store_structure_put(txn, inbox, 4, local, NULL));
    assert_true(store_commit(txn, NULL));
    ask_ok(world, &(Need){.kind = NEED_SIZES, .box = inbox, .uid = 4});
    assert_int_equal(size_of(world, inbox, 4, 1), -1);
    close_engine(world);
    assert_int_equal(count_in_trace(world, "BODY.PEEK[1]"), 0);
    close(fd);
}

static void test_not_there(void **state)
{
    World *world = *state;
    g_autoptr(GString) text = encode(10000, 76);
    deliver_part(world, text->str);
    open_engine(world);
    guint32 inbox = list_inbox(world);
    ask_ok(world, &(Need){.kind = NEED_SIZES, .box = inbox, .uid = 4}); /* no structure: nothing */
    assert_int_equal(size_of(world, inbox, 4, 1), -1);
    ask_ok(world, &(Need){.kind = NEED_STRUCTURE, .box = inbox, .uid = 4});
    close_engine(world);

    g_free(world->account.target.tunnel);
    world->account.target.tunnel = g_strdup("exit 1");
    open_engine(world);
    g_autoptr(GError) offline = ask(world, &(Need){.kind = NEED_SIZES, .box = inbox, .uid = 4});
    assert_non_null(offline);
    assert_int_equal(size_of(world, inbox, 4, 1), -1);
}

/* Long names by the thousand: such a message is shown without its parts. */
static void test_long_structure(void **state)
{
    static const gsize LENGTHS[] = {LIMIT_STRUCTURE, LIMIT_STRUCTURE + 1, 10 * LIMIT_STRUCTURE};
    for (guint i = 0; i < G_N_ELEMENTS(LENGTHS); i++) {
        g_autoptr(BodyPart) body =
            structure_text_parse("(\"text\" \"plain\" NIL NIL \"\" \"7bit\" 0 0)", NULL);
        g_autofree char *shorter = structure_text_new(body, true);
        g_free(body->description);
        body->description = g_strnfill(LENGTHS[i] - strlen(shorter), 'x');
        g_autofree char *text = structure_text_new(body, true);
        assert_int_equal(strlen(text), LENGTHS[i] <= LIMIT_STRUCTURE ? LENGTHS[i] : 0);
    }
}

int main(void)
{
    if (!world_is_possible())
        return 77;
    log_init(g_getenv("IMAPFS_DEBUG"));
    if (!g_getenv("IMAPFS_DEBUG"))
        log_set_target(LOG_TO_RING_ONLY);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_regular, setup, teardown),
        cmocka_unit_test_setup_teardown(test_irregular, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damaged_in_the_middle, setup, teardown),
        cmocka_unit_test_setup_teardown(test_next_messages, setup, teardown),
        cmocka_unit_test_setup_teardown(test_local_structure, setup, teardown),
        cmocka_unit_test_setup_teardown(test_not_there, setup, teardown),
        cmocka_unit_test(test_long_structure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
