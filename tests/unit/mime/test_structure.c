/* Messages parsed here: sections, their bytes, and what is over a limit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "imapfs/base/error.h"
#include "imapfs/base/limits.h"
#include "imapfs/mime/decode.h"
#include "imapfs/mime/structure.h"

#define MULTI(b) "Content-Type: multipart/mixed; boundary=\"" b "\"\r\n\r\n"
#define TXT "Content-Type: text/plain\r\n\r\n"

/* "section type/subtype size" of every part, in document order. */
static void describe(const BodyPart *part, GString *out)
{
    g_string_append_printf(out, "%s[%s] %s/%s", out->len ? " " : "", part->section, part->type,
                           part->subtype);
    if (!part->children || body_part_is(part, "message", NULL))
        g_string_append_printf(out, " %u", (guint)part->size);
    for (guint i = 0; part->children && i < part->children->len; i++)
        describe(g_ptr_array_index(part->children, i), out);
}

static const struct {
    const char *name, *raw, *want;
} TABLE[] = {
    {"empty", "", "[1] text/plain 0"},
    {"only an empty line", "\r\n", "[1] text/plain 0"},
    {"no header", "\r\nbody\r\n", "[1] text/plain 6"},
    {"no empty line", "A: b\r\n", "[1] text/plain 0"},
    {"text", TXT "body", "[1] text/plain 4"},
    {"LF", "A: b\n\nbody\n", "[1] text/plain 5"},
    {"bad type", "Content-Type: text\r\n\r\nx", "[1] text/plain 1"},
    {"bad type too", "Content-Type: a b/c\r\n\r\nx", "[1] text/plain 1"},
    {"type in capitals", "content-type: TEXT/HTML (c); charset=X\r\n\r\nx", "[1] text/html 1"},
    {"multipart", MULTI("a") "pre\r\n--a\r\n" TXT "one\r\n--a\r\n\r\ntwo\r\n--a--\r\npost",
     "[] multipart/mixed [1] text/plain 3 [2] text/plain 3"},
    {"not closed", MULTI("a") "--a\r\n" TXT "one\r\n", "[] multipart/mixed [1] text/plain 5"},
    {"boundary not there", MULTI("a") "text\r\n", "[1] text/plain 6"},
    {"no boundary", "Content-Type: multipart/mixed\r\n\r\n--a\r\n\r\nx", "[1] text/plain 8"},
    {"nested",
     MULTI("a") "--a\r\n" MULTI("b") "--b\r\n" TXT "1\r\n--b\r\n" TXT "22\r\n--b--\r\n--a\r\n" TXT
                                     "333\r\n--a--\r\n",
     "[] multipart/mixed [1] multipart/mixed [1.1] text/plain 1 [1.2] text/plain 2 [2] text/plain "
     "3"},
    {"inner not closed",
     MULTI("a") "--a\r\n" MULTI("b") "--b\r\n" TXT "1\r\n--a\r\n" TXT "333\r\n--a--\r\n",
     "[] multipart/mixed [1] multipart/mixed [1.1] text/plain 1 [2] text/plain 3"},
    {"boundary is the beginning of another",
     MULTI("x") "--x\r\n" MULTI("x1") "--x1\r\n" TXT "1\r\n--x1--\r\n--x\r\n" TXT "2\r\n--x--\r\n",
     "[] multipart/mixed [1] multipart/mixed [1.1] text/plain 1 [2] text/plain 1"},
    {"same boundary",
     MULTI("a") "--a\r\n" MULTI("a") "--a\r\n" TXT "1\r\n--a--\r\n--a\r\n" TXT "22\r\n--a--\r\n",
     "[] multipart/mixed [1] multipart/mixed [1.1] text/plain 1 [2] text/plain 2"},
    {"after the end", MULTI("a") "--a\r\n" TXT "1\r\n--a--\r\n--a\r\n" TXT "2\r\n",
     "[] multipart/mixed [1] text/plain 1"},
    {"message", "Content-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\nhi",
     "[1] message/rfc822 16 [1.1] text/plain 2"},
    {"message with a multipart",
     "Content-Type: message/rfc822\r\n\r\n" MULTI("a") "--a\r\n\r\nx\r\n--a--\r\n",
     "[1] message/rfc822 64 [1] multipart/mixed [1.1] text/plain 1"},
    {"digest",
     "Content-Type: multipart/digest; boundary=a\r\n\r\n--a\r\n\r\nA: b\r\n\r\nx\r\n--a\r\n" TXT
     "y\r\n--a--",
     "[] multipart/digest [1] message/rfc822 9 [1.1] text/plain 1 [2] text/plain 1"},
    {"delimiter in a header", MULTI("a") "--a\r\nA: b\r\n--a\r\n" TXT "x\r\n--a--",
     "[] multipart/mixed [1] text/plain 0 [2] text/plain 1"},
    {"boundary in pieces",
     "Content-Type: multipart/mixed; boundary*1=bc; "
     "boundary*0=\"a\"\r\n\r\n--abc\r\n\r\nx\r\n--abc--",
     "[] multipart/mixed [1] text/plain 1"},
    {"boundary in a charset",
     "Content-Type: multipart/mixed; boundary*=us-ascii'en'a%20b\r\n\r\n--a b\r\n\r\nx\r\n--a b--",
     "[] multipart/mixed [1] text/plain 1"},
    {"comment at a type", "Content-Type: text/html(a; b); charset=X\r\n\r\nx", "[1] text/html 1"},
    {"boundary without quotes", "Content-Type: multipart/mixed; boundary=a b\r\n\r\n--a b\r\n\r\nx",
     "[] multipart/mixed [1] text/plain 1"},
};

static void test_table(void **state)
{
    for (guint i = 0; i < G_N_ELEMENTS(TABLE); i++) {
        gsize length = strlen(TABLE[i].raw);
        g_autofree char *raw = g_memdup2(TABLE[i].raw, length); /* reading past it is seen */
        g_autoptr(MimeIndex) index = mime_index_new(raw, length, NULL);
        assert_non_null(index);
        g_autoptr(GString) have = g_string_new(NULL);
        describe(mime_index_body(index), have);
        if (strcmp(have->str, TABLE[i].want) != 0)
            print_error("%s\n", TABLE[i].name);
        assert_string_equal(have->str, TABLE[i].want);
    }
}

static void test_sections(void **state)
{
    static const char RAW[] =
        "Subject: top\r\n" MULTI("a") "--a\r\nX: one\r\n" TXT "first\r\n--a\r\n"
                                      "Content-Type: message/rfc822\r\n\r\nSubject: in\r\n" MULTI(
                                          "b") "--b\r\n" TXT
                                               "deep\r\n--b--\r\n--a\r\nContent-Type: "
                                               "message/rfc822\r\n\r\nS: t\r\n\r\nhi\r\n--a--\r\n";
    static const struct {
        const char *section, *want; /* NULL: there is none */
    } CASES[] = {
        {"1", "first"},
        {"1.MIME", "X: one\r\n" TXT},
        {"1.HEADER", NULL},
        {"1.TEXT", NULL},
        {"1.1", NULL},
        {"2.MIME", "Content-Type: message/rfc822\r\n\r\n"},
        {"2.HEADER", "Subject: in\r\n" MULTI("b")},
        {"2.TEXT", "--b\r\n" TXT "deep\r\n--b--"},
        {"2", "Subject: in\r\n" MULTI("b") "--b\r\n" TXT "deep\r\n--b--"},
        {"2.1", "deep"},
        {"2.1.MIME", TXT},
        {"3.1", "hi"},
        {"3.HEADER", "S: t\r\n\r\n"},
        {"4", NULL},
        {"0", NULL},
        {"MIME", NULL},
        {"1.", NULL},
        {".1", NULL},
        {"HEADER", "Subject: top\r\n" MULTI("a")},
    };
    g_autoptr(MimeIndex) index = mime_index_new(RAW, sizeof RAW - 1, NULL);
    for (guint i = 0; i < G_N_ELEMENTS(CASES); i++) {
        gsize offset, length;
        bool found = mime_index_find(index, CASES[i].section, &offset, &length);
        assert_int_equal(found, CASES[i].want != NULL);
        if (!found)
            continue;
        g_autofree char *have = g_strndup(RAW + offset, length);
        assert_string_equal(have, CASES[i].want);
    }
    gsize offset, length, text, text_length;
    assert_true(mime_index_find(index, "", &offset, &length));
    assert_true(offset == 0 && length == sizeof RAW - 1);
    assert_true(mime_index_find(index, "TEXT", &text, &text_length));
    assert_int_equal(text + text_length, length);
}

static void test_fields(void **state)
{
    static const char RAW[] =
        "Content-Type: Application/PDF; name=\"a;b\\\"c.pdf\"; x; Y=z (w); charset=\r\n"
        "Content-Disposition: ATTACHMENT; filename*0=one;\r\n\tfilename*1=\"two\"\r\n"
        "Content-Transfer-Encoding: BASE64 \r\nContent-ID: <i@d>\r\n"
        "Content-Type: text/html\r\n\r\nx\r\ny";
    g_autoptr(BodyPart) body = mime_parse_structure(RAW, sizeof RAW - 1, NULL);
    assert_string_equal(body->type, "application");
    assert_string_equal(body->subtype, "pdf");
    assert_string_equal(body_part_param(body, "name"), "a;b\"c.pdf");
    assert_string_equal(body_part_param(body, "y"), "z");
    assert_string_equal(body_part_param(body, "charset"), "");
    assert_string_equal(body->disposition, "attachment");
    assert_string_equal(body_part_disposition_param(body, "filename*1"), "two");
    assert_string_equal(body->encoding, "base64");
    assert_string_equal(body->id, "<i@d>");
    assert_int_equal(body->size, 4);
}

/* What is parsed here is stored like a server's: printed and parsed again it is the same. */
static void test_print(void **state)
{
    for (guint i = 0; i < G_N_ELEMENTS(TABLE); i++) {
        g_autoptr(BodyPart) body = mime_parse_structure(TABLE[i].raw, strlen(TABLE[i].raw), NULL);
        g_autoptr(GString) printed = g_string_new(NULL), first = g_string_new(NULL),
                           second = g_string_new(NULL);
        bodystructure_print(body, printed);
        g_autoptr(BodyPart) again = bodystructure_parse(printed->str, printed->len, NULL);
        if (!again)
            print_error("%s: %s\n", TABLE[i].name, printed->str);
        assert_non_null(again);
        describe(body, first);
        describe(again, second);
        assert_string_equal(first->str, second->str);
    }
}

static void assert_limit(const GString *raw, bool fits)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(MimeIndex) index = mime_index_new(raw->str, raw->len, &error);
    assert_int_equal(index != NULL, fits);
    assert_true(fits || g_error_matches(error, IMAPFS_ERROR, IMAPFS_ERROR_DATA));
}

static void test_limit_parts(void **state)
{
    const guint parts[] = {LIMIT_PARTS, LIMIT_PARTS + 1, 10 * LIMIT_PARTS, 1000000};
    for (guint i = 0; i < G_N_ELEMENTS(parts); i++) {
        g_autoptr(GString) raw = g_string_new(MULTI("a"));
        for (guint n = 1; n < parts[i]; n++)
            g_string_append(raw, "--a\r\n\r\nx\r\n");
        assert_limit(raw, i == 0);
    }
}

static void test_limit_nesting(void **state)
{
    const guint levels[] = {LIMIT_NESTING, LIMIT_NESTING + 1, 10 * LIMIT_NESTING, 100000};
    for (guint i = 0; i < G_N_ELEMENTS(levels); i++) {
        g_autoptr(GString) messages = g_string_new(NULL), parts = g_string_new(NULL);
        for (guint n = 1; n < levels[i]; n++) {
            g_string_append(messages, "Content-Type: message/rfc822\r\n\r\n");
            g_string_append_printf(
                parts, "Content-Type: multipart/mixed; boundary=b%u\r\n\r\n--b%u\r\n", n, n);
        }
        assert_limit(messages, i == 0);
        assert_limit(parts, i == 0);
    }
}

static void test_limit_headers(void **state)
{
    const gsize sizes[] = {LIMIT_HEADERS_ALL, (gsize)LIMIT_HEADERS_ALL + 1};
    for (guint i = 0; i < G_N_ELEMENTS(sizes); i++) {
        g_autoptr(GString) raw = g_string_sized_new(sizes[i] + 1);
        g_autofree char *value = g_strnfill(1000, 'v');
        while (raw->len + 1006 <= sizes[i])
            g_string_append_printf(raw, "A: %s\r\n", value);
        while (raw->len < sizes[i])
            g_string_append_c(raw, 'x');
        assert_limit(raw, i == 0);
    }
}

/* Large, and within the limits: each has to end, in memory that the parts alone decide. */
static void test_large(void **state)
{
    g_autoptr(GString) lines = g_string_new(NULL);
    for (guint i = 0; i < 500000; i++)
        g_string_append(lines, "A: b\r\n");
    assert_limit(lines, true);
    g_autoptr(GString) line = g_string_new("Content-Type: multipart/mixed; boundary=\"");
    for (guint i = 0; i < 10 * 1024 * 1024; i++)
        g_string_append_c(line, 'x');
    assert_limit(line, true);
    g_autoptr(GString) pieces = g_string_new("Content-Type: a/b");
    for (guint i = 0; i < 100000; i++)
        g_string_append_printf(pieces, ";\r\n name*%u*=x", i);
    assert_limit(pieces, true);
    g_autoptr(GString) dashes = g_string_new(NULL);
    for (guint i = 0; i < LIMIT_NESTING - 2; i++)
        g_string_append_printf(dashes, MULTI("%s%u") "--%s%u\r\n", "--", i, "--", i);
    for (guint i = 0; i < 200000; i++)
        g_string_append(dashes, "\r\n------\r\n");
    assert_limit(dashes, true);
}

#define NESTED_BOUNDARIES(outer, inner)                                                      \
    "(((\"text\" \"plain\" NIL NIL NIL \"7bit\" 5 1) \"alternative\" (\"boundary\" \"" inner \
    "\") NIL NIL NIL)(\"text\" \"plain\" NIL NIL NIL \"7bit\" 5 1) \"mixed\" (\"boundary\" " \
    "\"" outer "\") NIL NIL NIL)"

static void test_doubtful(void **state)
{
    static const struct {
        const char *body;
        bool doubtful;
    } CASES[] = {
        {"(\"text\" \"plain\" NIL NIL NIL \"7bit\" 0 0)", false},
        {"((\"text\" \"plain\" NIL NIL NIL \"7bit\" 0 0) \"mixed\")", true},
        {"((\"text\" \"plain\" NIL NIL NIL \"7bit\" 9 1) \"mixed\")", false},
        {"((\"text\" \"plain\" NIL NIL NIL \"7bit\" 0 0)(\"a\" \"b\" NIL NIL NIL \"7bit\" 0) "
         "\"mixed\")",
         false},
        {"((\"a\" \"b\" NIL NIL NIL \"7bit\" 0)((\"text\" \"plain\" NIL NIL NIL \"7bit\" 0 0) "
         "\"mixed\") "
         "\"mixed\")",
         true},
        {"()", true},
        {"(\"application\" \"octet-stream\" (\"name\" \"a\") NIL NIL \"base64\" 0)", false},
        {NESTED_BOUNDARIES("x", "x"), true},
        {NESTED_BOUNDARIES("x", "x-1"), true},
        {NESTED_BOUNDARIES("x-1", "x"), true},
        {NESTED_BOUNDARIES("x-1", "x-2"), false},
    };
    for (guint i = 0; i < G_N_ELEMENTS(CASES); i++) {
        g_autoptr(BodyPart) body = bodystructure_parse(CASES[i].body, strlen(CASES[i].body), NULL);
        assert_non_null(body);
        assert_int_equal(mime_structure_doubt(body) != NULL, CASES[i].doubtful);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),         cmocka_unit_test(test_sections),
        cmocka_unit_test(test_fields),        cmocka_unit_test(test_print),
        cmocka_unit_test(test_limit_parts),   cmocka_unit_test(test_limit_nesting),
        cmocka_unit_test(test_limit_headers), cmocka_unit_test(test_large),
        cmocka_unit_test(test_doubtful),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
