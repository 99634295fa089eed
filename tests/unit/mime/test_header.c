/* Header values and headers.txt, with the forms that are wrong and sent all the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "imapfs/base/limits.h"
#include "imapfs/mime/decode.h"
#include "imapfs/mime/name.h"
#include "imapfs/mime/param.h"

#define E_ACUTE "\xc3\xa9"
#define FFFD "\xef\xbf\xbd"

static const struct {
    const char *name, *input, *want;
} VALUES[] = {
    {"plain", "Hello world", "Hello world"},
    {"empty", "", ""},
    /* RFC 2047 8 */
    {"a", "(=?ISO-8859-1?Q?a?=)", "(a)"},
    {"a b", "(=?ISO-8859-1?Q?a?= b)", "(a b)"},
    {"two words", "(=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=)", "(ab)"},
    {"two words and blanks", "(=?ISO-8859-1?Q?a?=   =?ISO-8859-1?Q?b?=)", "(ab)"},
    {"two words folded", "(=?ISO-8859-1?Q?a?=\r\n    =?ISO-8859-1?Q?b?=)", "(ab)"},
    {"space inside", "(=?ISO-8859-1?Q?a_b?=)", "(a b)"},
    {"space between", "(=?ISO-8859-1?Q?a?= =?ISO-8859-2?Q?_b?=)", "(a b)"},
    /* charsets, encodings */
    {"q", "=?iso-8859-1?q?caf=E9?=", "caf" E_ACUTE},
    {"b", "=?UTF-8?B?Y2Fmw6k=?=", "caf" E_ACUTE},
    {"lower case", "=?utf-8?b?Y2Fmw6k=?=", "caf" E_ACUTE},
    {"without padding", "=?utf-8?B?Y2Fmw6k?=", "caf" E_ACUTE},
    {"language", "=?utf-8*fr?Q?caf=C3=A9?=", "caf" E_ACUTE},
    {"shift_jis", "=?Shift_JIS?B?k/qWew==?=", "\xe6\x97\xa5\xe6\x9c\xac"},
    {"iso-2022-jp", "=?ISO-2022-JP?B?GyRCRnxLXBsoQg==?=", "\xe6\x97\xa5\xe6\x9c\xac"},
    {"euc-kr", "=?euc-kr?B?x9GxuQ==?=", "\xed\x95\x9c\xea\xb5\xad"},
    {"gb2312", "=?gb2312?B?1tDOxA==?=", "\xe4\xb8\xad\xe6\x96\x87"},
    {"koi8-r", "=?koi8-r?Q?=F0=D2=C9?=", "\xd0\x9f\xd1\x80\xd0\xb8"},
    {"windows-1252 said latin1", "=?iso-8859-1?Q?=93x=94?=", "\xe2\x80\x9cx\xe2\x80\x9d"},
    {"unknown charset", "=?x-what?Q?caf=E9?=", "caf" E_ACUTE},
    {"character cut in two", "=?utf-8?Q?caf=C3?= =?utf-8?Q?=A9?=", "caf" E_ACUTE},
    {"character cut in two in b", "=?utf-8?B?Y2Fmww==?=\r\n =?UTF-8?B?qQ==?=", "caf" E_ACUTE},
    {"invalid bytes", "=?utf-8?Q?a=FFb?=", "a" FFFD "b"},
    /* broken words */
    {"blank in the text", "=?utf-8?Q?caf=C3=A9 au lait?=", "caf" E_ACUTE " au lait"},
    {"no blank before", "x=?utf-8?Q?=C3=A9?=y", "x" E_ACUTE "y"},
    {"no blank between", "=?utf-8?Q?a?==?utf-8?Q?b?=", "ab"},
    {"in quotes", "\"=?utf-8?Q?=C3=A9?=\" <a@b>", "\"" E_ACUTE "\" <a@b>"},
    {"no end", "=?utf-8?Q?abc", "=?utf-8?Q?abc"},
    {"no end, then one", "=?utf-8?Q?abc =?utf-8?Q?=C3=A9?=", "=?utf-8?Q?abc " E_ACUTE},
    {"bad encoding", "=?utf-8?X?abc?=", "=?utf-8?X?abc?="},
    {"empty charset",
     "=?"
     "?Q?abc?=",
     "=?"
     "?Q?abc?="},
    {"empty text",
     "=?utf-8?Q?"
     "?=",
     ""},
    {"bad hex", "=?utf-8?Q?a=ZZb=4?=", "a=ZZb=4"},
    {"question mark in q", "=?utf-8?Q?a?b?=", "a?b"},
    /* raw bytes */
    {"raw utf-8", "caf" E_ACUTE, "caf" E_ACUTE},
    {"raw latin1", "caf\xe9", "caf" E_ACUTE},
    {"raw beside words", "\xe9 =?utf-8?Q?=C3=A9?= \xc3\xa9", E_ACUTE " " E_ACUTE " " E_ACUTE},
    /* controls and lines */
    {"folded", "a\r\n b", "a b"},
    {"folded with tab", "a\r\n\tb", "a b"},
    {"line break in a word", "=?utf-8?Q?a=0D=0ABcc:_x?=", "a Bcc: x"},
    {"escape in a word", "=?utf-8?Q?a=1B[31m?=", "a" FFFD "[31m"},
    {"NUL in a word", "=?utf-8?Q?a=00b?=", "a" FFFD "b"},
    {"C1 in a word", "=?utf-8?Q?a=C2=9Bb?=", "a" FFFD "b"},
    {"raw escape",
     "a\x1b"
     "b\x7f",
     "a" FFFD "b" FFFD},
};

static void test_values(void **state)
{
    for (guint i = 0; i < G_N_ELEMENTS(VALUES); i++) {
        g_autofree char *have = mime_decode_header(VALUES[i].input);
        if (strcmp(have, VALUES[i].want) != 0)
            print_error("%s\n", VALUES[i].name);
        assert_string_equal(have, VALUES[i].want);
    }
}

static const struct {
    const char *input, *want;
} FROM[] = {
    {"", ""},
    {"Alice Doe <alice@example.com>", "Alice Doe"},
    {"\"Doe, Alice\" <alice@example.com>", "Doe, Alice"},
    {"alice@example.com", "alice@example.com"},
    {"<alice@example.com>", "alice@example.com"},
    {"alice@example.com (Alice Doe)", "Alice Doe"},
    {"Alice (work) <alice@example.com>", "Alice"},
    {"(Alice) <alice@example.com>", "Alice"},
    {"\"\" <alice@example.com>", "alice@example.com"},
    {"\" \" <alice@example.com>", "alice@example.com"},
    {"=?utf-8?Q?Zo=C3=A9?= <z@x>", "Zo" E_ACUTE},
    {"\"=?utf-8?Q?Zo=C3=A9?=\" <z@x>", "Zo" E_ACUTE},
    {"=?utf-8?Q?Doe,_Zo=C3=A9?= <z@x>", "Doe, Zo" E_ACUTE},
    {"=?utf-8?Q?a@b:_c?= <z@x>", "a@b: c"},
    {"Zo\xe9 <z@x>", "Zo" E_ACUTE},
    {"A <a@x>, B <b@x>", "A"},
    {", A <a@x>", "A"},
    {"Friends: A <a@x>, B <b@x>;", "A"},
    {"undisclosed-recipients:;", "undisclosed-recipients"},
    {"Friends:;", "Friends"},
    {"Doe, Alice <a@x>", "Doe, Alice"},
    {"\"Alice <a@x>", "Alice"},
    {"\"A \"B\" C\" <a@x>", "A B C"},
    {"\"a\\\"b\\\\c\" <a@x>", "a\"b\\c"},
    {"Alice <a@x", "Alice"},
    {"<a@x", "a@x"},
    {"<>", ""},
    {"Alice", "Alice"},
    {"A.  B.\tDoe <a@x>", "A. B. Doe"},
    {"a@x (b (c) \\) d)", "b (c) ) d"},
    {"(((((", "(((("},
    {"=?utf-8?Q?a=0Ab?= <a@x>", "a b"},
    {"foo: bar: <a@x>", "bar:"},
    {"\"Alice @ Home\" <a@x>", "Alice @ Home"},
};

static void test_from(void **state)
{
    for (guint i = 0; i < G_N_ELEMENTS(FROM); i++) {
        g_autofree char *have = mime_from_display(FROM[i].input);
        if (strcmp(have, FROM[i].want) != 0)
            print_error("%s\n", FROM[i].input);
        assert_string_equal(have, FROM[i].want);
    }
}

#define BYTES(s) s, sizeof(s) - 1
static const struct {
    const char *name, *input;
    gsize length;
    const char *want;
} BLOCKS[] = {
    {"one", BYTES("Subject: x\r\n\r\n"), "Subject: x\n"},
    {"LF", BYTES("Subject: x\nTo: y\n\nbody: z\n"), "Subject: x\nTo: y\n"},
    {"no end", BYTES("Subject: x"), "Subject: x\n"},
    {"empty", BYTES(""), ""},
    {"only the empty line", BYTES("\r\nx: y\r\n"), ""},
    {"folded", BYTES("Subject: a\r\n  b\r\n\tc\r\n\r\n"), "Subject: a b c\n"},
    {"folded at once", BYTES("Subject:\r\n a\r\n\r\n"), "Subject: a\n"},
    {"blank continuation", BYTES("Subject: a\r\n \r\n b\r\n"), "Subject: a b\n"},
    {"no value", BYTES("Subject:\r\nTo: x\r\n"), "Subject:\nTo: x\n"},
    {"blank before the colon", BYTES("Subject : x\r\n"), "Subject: x\n"},
    {"no field", BYTES("From me Mon Jan 1\r\nA: b\r\n"), "From me Mon Jan 1\nA: b\n"},
    {"words", BYTES("Subject: =?utf-8?Q?caf=C3=A9?=\r\n =?utf-8?Q?!?=\r\n"),
     "Subject: caf" E_ACUTE "!\n"},
    {"parameters stay", BYTES("Content-Type: a/b;\r\n\tname*=utf-8''%C3%A9\r\n"),
     "Content-Type: a/b; name*=utf-8''%C3%A9\n"},
    {"NUL", BYTES("Subject: a\0b\r\nX: y\r\n"), "Subject: a" FFFD "b\nX: y\n"},
    {"forged line", BYTES("Subject: =?utf-8?Q?a=0AFrom:_x?=\r\n"), "Subject: a From: x\n"},
    {"bare CR", BYTES("Subject: a\rFrom: x\r\n"), "Subject: a From: x\n"},
    {"8 bit", BYTES("Subject: \xe9\r\n"), "Subject: " E_ACUTE "\n"},
};

static void test_blocks(void **state)
{
    for (guint i = 0; i < G_N_ELEMENTS(BLOCKS); i++) {
        g_autoptr(GByteArray) out = g_byte_array_new();
        g_autofree char *copy = g_memdup2(BLOCKS[i].input, BLOCKS[i].length);
        mime_headers_text(copy, BLOCKS[i].length, out);
        g_byte_array_append(out, (const guint8 *)"", 1);
        if (strcmp((char *)out->data, BLOCKS[i].want) != 0)
            print_error("%s\n", BLOCKS[i].name);
        assert_string_equal((char *)out->data, BLOCKS[i].want);
    }
}

static void test_value(void **state)
{
    static const char RAW[] =
        "From: a\r\nsubject : x\r\n  y \r\nSubject: z\r\nN: a\0b\r\n\r\nTo: w\r\n";
    static const struct {
        const char *name, *want;
    } CASES[] = {
        {"From", "a"}, {"Subject", "x  y"}, {"SUBJECT", "x  y"},
        {"To", NULL},  {"Fro", NULL},       {"N", "a b"},
    };
    for (guint i = 0; i < G_N_ELEMENTS(CASES); i++) {
        g_autofree char *have = mime_header_value(RAW, sizeof RAW - 1, CASES[i].name);
        if (CASES[i].want)
            assert_string_equal(have, CASES[i].want);
        else
            assert_null(have);
    }
}

/* At the limit of a header block, one over, and ten times over. */
static void test_limit(void **state)
{
    const gsize sizes[] = {LIMIT_HEADER_BLOCK, LIMIT_HEADER_BLOCK + 1, 10 * LIMIT_HEADER_BLOCK};
    for (guint i = 0; i < G_N_ELEMENTS(sizes); i++) {
        g_autofree char *raw = g_malloc(sizes[i]);
        memset(raw, 'x', sizes[i]);
        memcpy(raw, "A: ", 3);
        g_autoptr(GByteArray) out = g_byte_array_new();
        mime_headers_text(raw, sizes[i], out);
        g_byte_array_append(out, (const guint8 *)"", 1);
        assert_true(out->len < LIMIT_HEADER_BLOCK + 200);
        const char *notice = strstr((char *)out->data, "[imapfs: ");
        assert_int_equal(notice != NULL, i > 0);
    }
}

/* What takes long if anything does: nothing is timed, but the test has a time limit. */
static void test_hostile(void **state)
{
    static const char *const UNITS[] = {
        "=?", "=?a?q?",  "=?utf-8?b?4?= ", "=?iso-2022-jp?q?a?= x", "a\r\n ", "\"", "(", "<", ":",
        ";,", "a:b\r\n", "\xe9 \xc3"};
    for (guint u = 0; u < G_N_ELEMENTS(UNITS); u++) {
        g_autoptr(GString) text = g_string_new("A: ");
        while (text->len < 1024 * 1024)
            g_string_append(text, UNITS[u]);
        g_autoptr(GByteArray) out = g_byte_array_new();
        mime_headers_text(text->str, text->len, out);
        assert_true(g_utf8_validate((const char *)out->data, out->len, NULL));
        g_autofree char *value = mime_decode_header(text->str);
        assert_null(strpbrk(value, "\r\n\t\x1b"));
        g_autofree char *from = mime_from_display(text->str);
        assert_true(g_utf8_validate(from, -1, NULL));
    }
}

static void clear_param(gpointer data)
{
    BodyParam *param = data;
    g_free(param->name);
    g_free(param->value);
}

/* "name=value|name=value" */
static GArray *params_of(const char *text)
{
    GArray *params = g_array_new(FALSE, FALSE, sizeof(BodyParam));
    g_array_set_clear_func(params, clear_param);
    g_auto(GStrv) words = g_strsplit(text, "|", -1);
    for (guint i = 0; words[i]; i++) {
        char *equals = strchr(words[i], '=');
        BodyParam param = {g_strndup(words[i], (gsize)(equals - words[i])), g_strdup(equals + 1)};
        g_array_append_val(params, param);
    }
    return params;
}

static const struct {
    const char *params, *want;
} PARAMS[] = {
    {"filename=a.txt", "a.txt"},
    {"other=a.txt", NULL},
    {"filename==?utf-8?Q?=C3=A9?=", E_ACUTE},
    {"filename=\xe9", E_ACUTE},
    {"filename*=utf-8''%C3%A9", E_ACUTE},
    {"filename*=utf-8'fr'%C3%A9", E_ACUTE},
    {"filename*=''%C3%A9", E_ACUTE},
    {"filename*=%41b", "Ab"},
    {"filename*=utf-8''%zz%4", "%zz%4"},
    {"filename=plain|filename*=utf-8''better", "better"},
    {"filename*0=a|filename*1=b|filename*2=c", "abc"},
    {"filename*2=c|filename*0=a|filename*1=b", "abc"},
    {"filename*0*=utf-8''%C3|filename*1*=%A9", E_ACUTE},
    {"filename*0*=utf-8''%C3%A9|filename*1=%41", E_ACUTE "%41"},
    {"filename*0=a|filename*2=c", "a"},
    {"filename*1=b", NULL},
    {"filename*0=a|filename*0=z", "a"},
    {"filename*00=a|filename*x=b|filename**=c", "a"},
    {"filename*0==?utf-8?Q?=C3|filename*1==A9?=", E_ACUTE},
    {"filename*99999999999999999999=x|filename=y", "y"},
};

static void test_params(void **state)
{
    guint words = PARAM_WORDS;
    for (guint i = 0; i < G_N_ELEMENTS(PARAMS); i++) {
        g_autoptr(GArray) params = params_of(PARAMS[i].params);
        g_autofree char *have = mime_param_text(params, "filename", &words);
        if (g_strcmp0(have, PARAMS[i].want) != 0)
            print_error("%s\n", PARAMS[i].params);
        assert_int_equal(g_strcmp0(have, PARAMS[i].want), 0);
    }
}

static void test_param_pieces(void **state)
{
    guint words = PARAM_WORDS;
    const guint counts[] = {LIMIT_RFC2231_PIECES, LIMIT_RFC2231_PIECES + 1,
                            10 * LIMIT_RFC2231_PIECES, 100000};
    for (guint i = 0; i < G_N_ELEMENTS(counts); i++) {
        g_autoptr(GArray) params = g_array_new(FALSE, FALSE, sizeof(BodyParam));
        g_array_set_clear_func(params, clear_param);
        for (guint n = 0; n < counts[i]; n++) {
            BodyParam param = {g_strdup_printf("filename*%u*", n), g_strdup("x")};
            g_array_append_val(params, param);
        }
        g_autofree char *have = mime_param_text(params, "filename", &words);
        assert_int_equal(strlen(have), LIMIT_RFC2231_PIECES);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values), cmocka_unit_test(test_from),
        cmocka_unit_test(test_blocks), cmocka_unit_test(test_value),
        cmocka_unit_test(test_limit),  cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_params), cmocka_unit_test(test_param_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
