/* BODYSTRUCTURE and ENVELOPE: sections, every tolerance, limits, and print as the inverse. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "dump.h"
#include "imapfs/base/error.h"
#include "imapfs/base/limits.h"

#define T(subtype) "(\"TEXT\" \"" subtype "\" NIL NIL NIL \"7BIT\" 1 1)"
#define ENV "(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)"
#define P(type, subtype) "(\"" type "\" \"" subtype "\" NIL NIL NIL \"7bit\" 0 NIL NIL NIL NIL)"
#define PT(subtype, size, lines) \
    "(\"text\" \"" subtype "\" NIL NIL NIL \"7bit\" " size " " lines " NIL NIL NIL NIL)"

static char *print(const BodyPart *part)
{
    GString *out = g_string_new(NULL);
    bodystructure_print(part, out);
    return g_string_free(out, FALSE);
}

static char *sections(const BodyPart *part)
{
    GString *out = g_string_new(NULL);
    dump_part(out, part);
    return g_string_free(out, FALSE);
}

/* Parsing what was printed gives the same sections and the same print. */
static void check_inverse(const BodyPart *part)
{
    g_autofree char *printed = print(part), *tree = sections(part);
    g_autoptr(BodyPart) again = bodystructure_parse(printed, strlen(printed), NULL);
    if (again == NULL)
        fail_msg("cannot read back %s", printed);
    g_autofree char *printed_again = print(again), *tree_again = sections(again);
    assert_string_equal(printed_again, printed);
    assert_string_equal(tree_again, tree);
}

/* RFC 9051 6.4.5.1's example, the parts that have parts inside. */
static const struct {
    const char *name, *input, *want;
} section_cases[] = {
    {"single", T("PLAIN"), " [1 text/plain]"},
    {"multipart", "(" T("PLAIN") T("HTML") " \"ALTERNATIVE\")",
     " [ multipart/alternative] [1 text/plain] [2 text/html]"},
    {"nested", "(" T("A") "(" T("B") "(" T("C") " \"X\")" T("D") " \"Y\") \"Z\")",
     " [ multipart/z] [1 text/a] [2 multipart/y] [2.1 text/b] [2.2 multipart/x] [2.2.1 text/c] "
     "[2.3 text/d]"},
    {"message of one part", "(\"MESSAGE\" \"RFC822\" NIL NIL NIL \"7BIT\" 9 " ENV " " T("A") " 3)",
     " [1 message/rfc822] [1.1 text/a]"},
    {"message of several",
     "(\"MESSAGE\" \"RFC822\" NIL NIL NIL \"7BIT\" 9 " ENV " (" T("A") T("B") " \"M\") 3)",
     " [1 message/rfc822] [1 multipart/m] [1.1 text/a] [1.2 text/b]"},
    {"RFC 9051 6.4.5.1",
     "(" T("PLAIN") "(\"APPLICATION\" \"OCTET-STREAM\" NIL NIL NIL \"7BIT\" 1)"
                    "(\"MESSAGE\" \"RFC822\" NIL NIL NIL \"7BIT\" 9 " ENV
                    " (" T("PLAIN") "(\"APPLICATION\" \"OCTET-STREAM\" NIL NIL NIL \"7BIT\" 1) "
                                    "\"MIXED\") 3)"
                                    "((\"IMAGE\" \"GIF\" NIL NIL NIL \"7BIT\" 1)(\"MESSAGE\" "
                                    "\"RFC822\" NIL NIL NIL \"7BIT\" 9 " ENV
                                    " (" T("PLAIN") "(" T("PLAIN")
                                        T("RICHTEXT") " \"ALTERNATIVE\") \"MIXED\") 3) \"MIXED\") "
                                                      "\"MIXED\")",
     " [ multipart/mixed] [1 text/plain] [2 application/octet-stream] [3 message/rfc822] "
     "[3 multipart/mixed] [3.1 text/plain] [3.2 application/octet-stream] [4 multipart/mixed] "
     "[4.1 image/gif] [4.2 message/rfc822] [4.2 multipart/mixed] [4.2.1 text/plain] "
     "[4.2.2 multipart/alternative] [4.2.2.1 text/plain] [4.2.2.2 text/richtext]"},
    {"message in a message",
     "(\"MESSAGE\" \"RFC822\" NIL NIL NIL \"7BIT\" 9 " ENV " (\"MESSAGE\" \"GLOBAL\" NIL NIL NIL "
     "\"8BIT\" 9 " ENV " " T("A") " 3) 3)",
     " [1 message/rfc822] [1.1 message/global] [1.1.1 text/a]"},
};

static void test_sections(void **state)
{
    for (gsize i = 0; i < G_N_ELEMENTS(section_cases); i++) {
        const char *input = section_cases[i].input;
        g_autoptr(BodyPart) part = bodystructure_parse(input, strlen(input), NULL);
        if (part == NULL)
            fail_msg("%s: not read", section_cases[i].name);
        g_autofree char *got = sections(part);
        if (strcmp(got, section_cases[i].want) != 0)
            fail_msg("%s: got %s", section_cases[i].name, got);
        check_inverse(part);
    }
}

static void test_fields(void **state)
{
    static const char text[] =
        "(\"APPLICATION\" \"PDF\" (\"NAME\" \"A \\\"B\\\".pdf\" \"X\" {2}\r\n\"() \"<id@x>\" "
        "\"Desc\" "
        "\"BASE64\" 1234 \"md5==\" (\"ATTACHMENT\" (\"FILENAME\" \"x.pdf\")) (\"en\" \"de\") "
        "\"http://x/\" (\"future\" (1)))";
    g_autoptr(BodyPart) part = bodystructure_parse(text, strlen(text), NULL);
    assert_non_null(part);
    assert_true(body_part_is(part, "application", "pdf"));
    assert_true(body_part_is(part, "Application", NULL));
    assert_false(body_part_is(part, "application", "zip"));
    assert_string_equal(body_part_param(part, "name"), "A \"B\".pdf");
    assert_string_equal(body_part_param(part, "x"), "\"(");
    assert_null(body_part_param(part, "y"));
    assert_string_equal(part->id, "<id@x>");
    assert_string_equal(part->description, "Desc");
    assert_string_equal(part->encoding, "base64");
    assert_int_equal(part->size, 1234);
    assert_string_equal(part->md5, "md5==");
    assert_string_equal(part->disposition, "attachment");
    assert_string_equal(body_part_disposition_param(part, "FileName"), "x.pdf");
    assert_null(body_part_disposition_param(part, "x"));
    assert_int_equal(part->languages->len, 2);
    assert_string_equal(part->location, "http://x/");
    assert_null(part->parent);
    check_inverse(part);
}

/* What servers send, and what is made of it, printed. */
static const struct {
    const char *name, *input, *want;
} tolerance_cases[] = {
    {"missing fields", "(\"TEXT\" \"HTML\")", PT("html", "0", "0")},
    {"missing fields, a number", "(\"TEXT\" \"HTML\" NIL NIL NIL \"8BIT\")",
     "(\"text\" \"html\" NIL NIL NIL \"8bit\" 0 0 NIL NIL NIL NIL)"},
    {"empty part", "(()" T("A") " \"MIXED\")",
     "(" P("application", "octet-stream") PT("a", "1", "1") " \"mixed\" NIL NIL NIL NIL)"},
    {"nothing at all", "()", P("application", "octet-stream")},
    {"NIL type", "(NIL NIL NIL NIL NIL \"7BIT\" 563 NIL NIL NIL NIL)",
     "(\"application\" \"octet-stream\" NIL NIL NIL \"7bit\" 563 NIL NIL NIL NIL)"},
    {"empty type",
     "(\"\" \"\" NIL NIL NIL \"base64\" 723 NIL (\"attachment\" (\"filename\" \"I.pdf\")) "
     "NIL NIL)",
     "(\"application\" \"octet-stream\" NIL NIL NIL \"base64\" 723 NIL (\"attachment\" "
     "(\"filename\" "
     "\"I.pdf\")) NIL NIL)"},
    {"NIL encoding", "(\"IMAGE\" \"PNG\" NIL NIL NIL NIL 5)",
     "(\"image\" \"png\" NIL NIL NIL \"7bit\" 5 NIL NIL NIL NIL)"},
    {"subtype missing, then a list", "(\"TEXT\" (\"CHARSET\" \"x\") NIL NIL \"base64\" 356 5)",
     "(\"text\" \"plain\" (\"charset\" \"x\") NIL NIL \"base64\" 356 5 NIL NIL NIL NIL)"},
    {"subtype missing, then NIL", "(\"AUDIO\" NIL NIL NIL \"base64\" 356)",
     "(\"audio\" \"basic\" NIL NIL NIL \"base64\" 356 NIL NIL NIL NIL)"},
    {"subtype NIL", "(\"AUDIO\" NIL NIL NIL NIL \"base64\" 356)",
     "(\"audio\" \"basic\" NIL NIL NIL \"base64\" 356 NIL NIL NIL NIL)"},
    {"type missing", "( \"X-ZIP\" (\"BOUNDARY\" \"\") NIL NIL \"base64\" 4096)",
     "(\"application\" \"x-zip\" (\"boundary\" \"\") NIL NIL \"base64\" 4096 NIL NIL NIL NIL)"},
    {"subtype as type", "(\"RELATED\" NIL (\"ATTACHMENT\" NIL) NIL)", P("multipart", "related")},
    {"multipart as single",
     "(\"multipart\" \"related\" (\"boundary\" \"b\") NIL NIL \"7BIT\" 400 (\"boundary\" \"b\") "
     "NIL NIL "
     "NIL)",
     "(\"multipart\" \"related\" (\"boundary\" \"b\") NIL NIL \"7bit\" 0 NIL NIL NIL NIL)"},
    {"empty multipart", "(NIL \"mixed\" (\"boundary\" \"b\") NIL NIL)",
     "(\"multipart\" \"mixed\" (\"boundary\" \"b\") NIL NIL \"7bit\" 0 NIL NIL NIL NIL)"},
    {"multipart without subtype", "(" T("A") ")",
     "(" PT("a", "1", "1") " \"mixed\" NIL NIL NIL NIL)"},
    {"lines missing", "(\"TEXT\" \"XML\" NIL NIL NIL \"7BIT\" 209 NIL (\"inline\" NIL) NIL NIL)",
     "(\"text\" \"xml\" NIL NIL NIL \"7bit\" 209 0 NIL (\"inline\" NIL) NIL NIL)"},
    {"lines NIL",
     "(\"TEXT\" \"XML\" NIL NIL NIL \"7BIT\" 209 NIL NIL (\"attachment\" (\"filename\" "
     "\"x\")) NIL NIL)",
     "(\"text\" \"xml\" NIL NIL NIL \"7bit\" 209 0 NIL (\"attachment\" (\"filename\" \"x\")) NIL "
     "NIL)"},
    {"lines in any type", "(\"MESSAGE\" \"DELIVERY-STATUS\" NIL NIL NIL \"7BIT\" 421 12 NIL NIL)",
     "(\"message\" \"delivery-status\" NIL NIL NIL \"7bit\" 421 12 NIL NIL NIL NIL)"},
    {"negative size",
     "(\"multipart\" \"digest\" (\"boundary\" \"o\") NIL NIL \"7BIT\" -1 NIL NIL NIL NIL)",
     "(\"multipart\" \"digest\" (\"boundary\" \"o\") NIL NIL \"7bit\" 0 NIL NIL NIL NIL)"},
    {"float number", "(\"IMAGE\" \"PNG\" NIL NIL NIL NIL 9.3736e+06)",
     "(\"image\" \"png\" NIL NIL NIL \"7bit\" 9373600 NIL NIL NIL NIL)"},
    {"number over 64 bits", "(\"IMAGE\" \"PNG\" NIL NIL NIL NIL 9223372036854775807)",
     "(\"image\" \"png\" NIL NIL NIL \"7bit\" 9223372036854775807 NIL NIL NIL NIL)"},
    {"message without envelope",
     "(\"MESSAGE\" \"RFC822\" NIL NIL NIL \"7BIT\" 787 NIL (\"attachment\" (\"filename\" \"x\")) "
     "NIL NIL)",
     "(\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 787 NIL (\"attachment\" (\"filename\" \"x\")) "
     "NIL NIL)"},
    {"message with NIL for both",
     "(\"MESSAGE\" \"RFC822\" NIL NIL NIL \"7BIT\" 787 NIL NIL 12 NIL)",
     "(\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 787 12 NIL NIL NIL NIL)"},
    {"message with an empty body",
     "(\"MESSAGE\" \"RFC822\" NIL NIL NIL \"7BIT\" 787 " ENV " () 0 NIL)",
     "(\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 787 " ENV " NIL 0 NIL NIL NIL NIL)"},
    {"message with a NIL envelope",
     "(\"MESSAGE\" \"RFC822\" NIL NIL NIL \"7BIT\" 7 NIL " T("A") " 3)",
     "(\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 7 NIL " PT("a", "1", "1") " 3 NIL NIL NIL NIL)"},
    {"message with an envelope alone", "(\"MESSAGE\" \"RFC822\" NIL NIL NIL \"7BIT\" 7 " ENV " 3)",
     "(\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 7 " ENV " NIL 3 NIL NIL NIL NIL)"},
    {"NIL parameter", "(\"IMAGE\" \"PNG\" (\"boundary\" NIL \"name\" \"x\" \"odd\") NIL NIL NIL 5)",
     "(\"image\" \"png\" (\"name\" \"x\") NIL NIL \"7bit\" 5 NIL NIL NIL NIL)"},
    {"parameters as a string", "(\"IMAGE\" \"PNG\" \"name\" NIL NIL NIL 5)",
     "(\"image\" \"png\" NIL NIL NIL \"7bit\" 5 NIL NIL NIL NIL)"},
    {"empty parameters", "(\"IMAGE\" \"PNG\" () NIL NIL NIL 5)",
     "(\"image\" \"png\" NIL NIL NIL \"7bit\" 5 NIL NIL NIL NIL)"},
    {"bare disposition", "(\"IMAGE\" \"PNG\" NIL NIL NIL NIL 5 NIL \"Attachment\")",
     "(\"image\" \"png\" NIL NIL NIL \"7bit\" 5 NIL (\"attachment\" NIL) NIL NIL)"},
    {"no disposition where it belongs", "(" T("A") " \"mixed\" NIL \"Multipart message\" NIL)",
     "(" PT("a", "1", "1") " \"mixed\" NIL NIL NIL NIL)"},
    {"NIL disposition in a list", "(\"IMAGE\" \"PNG\" NIL NIL NIL NIL 5 NIL (NIL NIL) NIL NIL)",
     "(\"image\" \"png\" NIL NIL NIL \"7bit\" 5 NIL NIL NIL NIL)"},
    {"swapped disposition", "(" T("A") " \"mixed\" NIL NIL (\"inline\" (\"filename\" \"x\")) NIL)",
     "(" PT("a", "1", "1") " \"mixed\" NIL (\"inline\" (\"filename\" \"x\")) NIL NIL)"},
    {"language as a string", "(\"IMAGE\" \"PNG\" NIL NIL NIL NIL 5 NIL NIL \"en\" NIL)",
     "(\"image\" \"png\" NIL NIL NIL \"7bit\" 5 NIL NIL (\"en\") NIL)"},
    {"list as string", "(\"IMAGE\" \"PNG\" NIL (\"a\") (\"b\" (c)) NIL (5) NIL NIL NIL (x))",
     "(\"image\" \"png\" NIL NIL NIL \"7bit\" 0 NIL NIL NIL NIL)"},
    {"atoms", "(TEXT PLAIN (CHARSET utf-8) NIL NIL 7BIT 5 1)",
     "(\"text\" \"plain\" (\"charset\" \"utf-8\") NIL NIL \"7bit\" 5 1 NIL NIL NIL NIL)"},
    {"spaces", "  (  \"TEXT\"  \"PLAIN\"  ( )  NIL  NIL  \"7BIT\"  5  1  )  ",
     PT("plain", "5", "1")},
    {"stray quotes", "(\"MOUNDARY=\"_006_\"\" \"OCTET-STREAM\" NIL NIL NIL \"7bit\" 5)",
     "(\"moundary=\\\"_006_\\\"\" \"octet-stream\" NIL NIL NIL \"7bit\" 5 NIL NIL NIL NIL)"},
    {"line ends in a literal", "(\"TEXT\" \"PLAIN\" (\"name\" {4}\r\na\r\nb) NIL NIL \"7BIT\" 5 1)",
     "(\"text\" \"plain\" (\"name\" {4}\r\na\r\nb) NIL NIL \"7bit\" 5 1 NIL NIL NIL NIL)"},
};

static void test_tolerances(void **state)
{
    for (gsize i = 0; i < G_N_ELEMENTS(tolerance_cases); i++) {
        const char *input = tolerance_cases[i].input;
        g_autoptr(GError) error = NULL;
        g_autoptr(BodyPart) part = bodystructure_parse(input, strlen(input), &error);
        if (part == NULL)
            fail_msg("%s: %s", tolerance_cases[i].name, error->message);
        g_autofree char *got = print(part);
        if (strcmp(got, tolerance_cases[i].want) != 0)
            fail_msg("%s: got %s", tolerance_cases[i].name, got);
        check_inverse(part);
    }
}

static void test_nul(void **state)
{
    static const char text[] = "(\"TEXT\" {5}\r\nPL\0AI (\"a\" {3}\r\n\0\0b) NIL NIL NIL 5)";
    g_autoptr(BodyPart) part = bodystructure_parse(text, sizeof text - 1, NULL);
    assert_non_null(part);
    assert_string_equal(part->subtype, "plai");
    assert_string_equal(body_part_param(part, "a"), "b");
}

static const char *const hopeless[] = {
    "",
    " ",
    "NIL",
    "x",
    "\"x\"",
    "(",
    "((",
    ")",
    "(\"TEXT\"",
    "(\"TEXT\" \"PLAIN\" (\"a\" \"b\"",
    "(\"TEXT\" \"PLAIN\" NIL NIL NIL \"7BIT\" many 5)",
    "(\"TEXT\" \"PLAIN",
    "(\"TEXT\" {5}\r\nPL)",
    "(\"TEXT\" {99999999999999999999}\r\nPL)",
    "(\"TEXT\" {-1}\r\n)",
    "(\"TEXT\" {5)",
    "((\"TEXT\" \"PLAIN\" NIL NIL NIL \"7BIT\" 5 1) \"MIXED\"",
};

static void test_hopeless(void **state)
{
    for (gsize i = 0; i < G_N_ELEMENTS(hopeless); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(BodyPart) part = bodystructure_parse(hopeless[i], strlen(hopeless[i]), &error);
        if (part != NULL)
            fail_msg("read: %s", hopeless[i]);
        assert_true(g_error_matches(error, IMAPFS_ERROR, IMAPFS_ERROR_DATA));
    }
}

static void repeat(GString *text, const char *piece, guint times)
{
    for (guint i = 0; i < times; i++)
        g_string_append(text, piece);
}

/* Messages in messages: n parts deep. */
static bool nested_messages_parse(guint n)
{
    g_autoptr(GString) text = g_string_new(NULL);
    repeat(text, "(\"MESSAGE\" \"RFC822\" NIL NIL NIL \"7BIT\" 9 " ENV " ", n - 1);
    repeat(text, T("A"), 1);
    repeat(text, " 3)", n - 1);
    g_autoptr(BodyPart) part = bodystructure_parse(text->str, text->len, NULL);
    if (part != NULL)
        check_inverse(part);
    return part != NULL;
}

static bool nested_multiparts_parse(guint n)
{
    g_autoptr(GString) text = g_string_new(NULL);
    repeat(text, "(", n - 1);
    repeat(text, T("A"), 1);
    repeat(text, " \"MIXED\")", n - 1);
    g_autoptr(BodyPart) part = bodystructure_parse(text->str, text->len, NULL);
    if (part != NULL)
        check_inverse(part);
    return part != NULL;
}

/* n parts in all, the multipart counted. */
static bool many_parts_parse(guint n)
{
    g_autoptr(GString) text = g_string_new("(");
    repeat(text, "(\"A\" \"B\")", n - 1);
    g_string_append(text, " \"MIXED\")");
    g_autoptr(BodyPart) part = bodystructure_parse(text->str, text->len, NULL);
    if (part != NULL)
        assert_int_equal(part->children->len, n - 1);
    return part != NULL;
}

static void test_limits(void **state)
{
    assert_true(nested_messages_parse(LIMIT_NESTING));
    assert_false(nested_messages_parse(LIMIT_NESTING + 1));
    assert_false(nested_messages_parse(10 * LIMIT_NESTING));
    assert_true(nested_multiparts_parse(LIMIT_NESTING));
    assert_false(nested_multiparts_parse(LIMIT_NESTING + 1));
    assert_false(nested_multiparts_parse(10 * LIMIT_NESTING));
    assert_true(many_parts_parse(LIMIT_PARTS));
    assert_false(many_parts_parse(LIMIT_PARTS + 1));
    assert_false(many_parts_parse(10 * LIMIT_PARTS));
    assert_false(nested_multiparts_parse(200000));
}

static void test_many_params(void **state)
{
    g_autoptr(GString) text = g_string_new("(\"A\" \"B\" (");
    repeat(text, "\"n\" \"v\" ", 10000);
    g_string_append(text, ") NIL NIL NIL 5)");
    g_autoptr(BodyPart) part = bodystructure_parse(text->str, text->len, NULL);
    assert_non_null(part);
    assert_int_equal(part->params->len, 1000); /* the rest is dropped */
    assert_int_equal(part->size, 5);
}

static const struct {
    const char *name, *input, *want;
} envelope_cases[] = {
    {"RFC 9051 7.5.2",
     "(\"Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\" \"IMAP4rev1 WG mtg\" ((\"Terry Gray\" NIL "
     "\"gray\" "
     "\"cac.washington.edu\")) NIL NIL ((NIL NIL \"imap\" \"x\")(NIL NIL \"y\" \"z\")) NIL NIL NIL "
     "\"<B27@x>\")",
     "(\"Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\" \"IMAP4rev1 WG mtg\" ((\"Terry Gray\" NIL "
     "\"gray\" "
     "\"cac.washington.edu\")) NIL NIL ((NIL NIL \"imap\" \"x\")(NIL NIL \"y\" \"z\")) NIL NIL NIL "
     "\"<B27@x>\")"},
    {"literals", "({3}\r\na\"b {2}\r\n(\r (({1}\r\nN NIL {1}\r\nm \"h\")))",
     "(\"a\\\"b\" {2}\r\n(\r ((\"N\" NIL \"m\" \"h\")) NIL NIL NIL NIL NIL NIL NIL)"},
    {"missing fields", "(NIL \"s\")", "(NIL \"s\" NIL NIL NIL NIL NIL NIL NIL NIL)"},
    {"nothing", "()", ENV},
    {"missing message-id", "(NIL \"s\" NIL NIL NIL NIL NIL NIL \"<r@x>\")",
     "(NIL \"s\" NIL NIL NIL NIL NIL NIL \"<r@x>\" NIL)"},
    {"extra parentheses", "((NIL \"s\" NIL NIL NIL NIL NIL NIL NIL \"<m>\"))",
     "(NIL \"s\" NIL NIL NIL NIL NIL NIL NIL \"<m>\")"},
    {"extra parentheses round a list",
     "(NIL NIL (((\"a\" NIL \"b\" \"c\"))) ((((NIL NIL \"d\" \"e\"))) "
     "(NIL NIL \"f\" \"g\")))",
     "(NIL NIL ((\"a\" NIL \"b\" \"c\")) ((NIL NIL \"d\" \"e\")(NIL NIL \"f\" \"g\")) NIL NIL NIL "
     "NIL NIL NIL)"},
    {"spaces between addresses", "(NIL NIL ( (NIL NIL \"a\" \"b\")  (NIL NIL \"c\" \"d\") ))",
     "(NIL NIL ((NIL NIL \"a\" \"b\")(NIL NIL \"c\" \"d\")) NIL NIL NIL NIL NIL NIL NIL)"},
    {"missing fields of an address", "(NIL NIL ((\"a\")()(NIL NIL \"m\" \"h\" \"x\" (y))))",
     "(NIL NIL ((\"a\" NIL NIL NIL)(NIL NIL NIL NIL)(NIL NIL \"m\" \"h\")) NIL NIL NIL NIL NIL NIL "
     "NIL)"},
    {"NIL address", "(NIL NIL (NIL (NIL NIL \"m\" \"h\") \"x\"))",
     "(NIL NIL ((NIL NIL \"m\" \"h\")) NIL NIL NIL NIL NIL NIL NIL)"},
    {"empty list", "(NIL NIL () ( ) \"\")", ENV},
    {"string as list", "(NIL NIL \"joe@x\" joe NIL)", ENV},
    {"list as string", "(NIL (\"x\" (y)) NIL)", ENV},
    {"group", "(NIL NIL ((NIL NIL \"undisclosed\" NIL)(NIL NIL NIL NIL)))",
     "(NIL NIL ((NIL NIL \"undisclosed\" NIL)(NIL NIL NIL NIL)) NIL NIL NIL NIL NIL NIL NIL)"},
    {"stray quotes", "(NIL NIL NIL NIL NIL NIL NIL NIL NIL \"<\"392.JavaMail\"@R>\")",
     "(NIL NIL NIL NIL NIL NIL NIL NIL NIL \"<\\\"392.JavaMail\\\"@R>\")"},
    {"more fields", "(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL (x))", ENV},
};

static void test_envelopes(void **state)
{
    for (gsize i = 0; i < G_N_ELEMENTS(envelope_cases); i++) {
        const char *input = envelope_cases[i].input;
        g_autoptr(GError) error = NULL;
        g_autoptr(Envelope) envelope = envelope_parse(input, strlen(input), &error);
        if (envelope == NULL)
            fail_msg("%s: %s", envelope_cases[i].name, error->message);
        g_autoptr(GString) got = g_string_new(NULL), again = g_string_new(NULL);
        envelope_print(envelope, got);
        if (strcmp(got->str, envelope_cases[i].want) != 0)
            fail_msg("%s: got %s", envelope_cases[i].name, got->str);
        g_autoptr(Envelope) back = envelope_parse(got->str, got->len, NULL);
        assert_non_null(back);
        envelope_print(back, again);
        assert_string_equal(again->str, got->str);
    }
}

static void test_bad_envelopes(void **state)
{
    static const char *const bad[] = {"",
                                      "NIL",
                                      "x",
                                      "(",
                                      "(NIL",
                                      "(NIL NIL ((NIL",
                                      "(NIL NIL (",
                                      "(\"x",
                                      "({5}\r\nabc)",
                                      "((((",
                                      "(NIL NIL ((\"a\" NIL \"b\" \"c\")"};
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        assert_null(envelope_parse(bad[i], strlen(bad[i]), &error));
        assert_true(g_error_matches(error, IMAPFS_ERROR, IMAPFS_ERROR_DATA));
    }
    g_autoptr(GString) deep = g_string_new(NULL);
    repeat(deep, "(", 200000);
    assert_null(envelope_parse(deep->str, deep->len, NULL));
    g_string_assign(deep, "(NIL NIL ");
    repeat(deep, "(", 200000);
    assert_null(envelope_parse(deep->str, deep->len, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sections),      cmocka_unit_test(test_fields),
        cmocka_unit_test(test_tolerances),    cmocka_unit_test(test_nul),
        cmocka_unit_test(test_hopeless),      cmocka_unit_test(test_limits),
        cmocka_unit_test(test_many_params),   cmocka_unit_test(test_envelopes),
        cmocka_unit_test(test_bad_envelopes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
