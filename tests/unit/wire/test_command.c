/* Commands: pieces, literals, secrets, what may not be sent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "imapfs/wire/command.h"

/* "[piece]" for each, "!" behind a secret one, "+" behind one to wait after. */
static char *show(const CommandText *text, const char *tag, LiteralMode mode)
{
    GArray *pieces = command_text_pieces(text, tag, mode);
    if (pieces == NULL)
        return g_strdup("refused");
    GString *out = g_string_new(NULL);
    for (guint i = 0; i < pieces->len; i++) {
        const CommandPiece *piece = &g_array_index(pieces, CommandPiece, i);
        gsize length;
        const char *bytes = g_bytes_get_data(piece->bytes, &length);
        g_string_append_c(out, '[');
        for (gsize j = 0; j < length; j++)
            g_string_append_c(out, bytes[j] == '\r' ? '<' : bytes[j] == '\n' ? '>' : bytes[j]);
        g_string_append_printf(out, "]%s%s", piece->secret ? "!" : "",
                               piece->wait_continue ? "+" : "");
    }
    g_array_unref(pieces);
    return g_string_free(out, FALSE);
}

#define check(text, tag, mode, want)                         \
    do {                                                     \
        g_autofree char *got_ = show((text), (tag), (mode)); \
        assert_string_equal(got_, (want));                   \
    } while (0)

static void test_plain(void **state)
{
    g_autoptr(CommandText) text = command_text_new();
    g_autoptr(UidSet) uids = uidset_new();
    uidset_add_range(uids, 5, 9);
    uidset_add(uids, 1);
    command_text_add(text, "UID FETCH ");
    command_text_add_uids(text, uids);
    command_text_add(text, " (UID BODY.PEEK[%s]<%u.%u>)", "1.2", 0u, 100u);
    check(text, "A1", LITERAL_SYNC, "[A1 UID FETCH 1,5:9 (UID BODY.PEEK[1.2]<0.100>)<>]");
    assert_int_equal(command_text_length(text),
                     strlen("UID FETCH 1,5:9 (UID BODY.PEEK[1.2]<0.100>)"));
    g_autofree char *words = command_text_describe(text);
    assert_string_equal(words, "UID FETCH 1,5:9 (UID BODY.PEEK[1.2]<0.100>)");
}

static const struct {
    const char *name, *input, *want;
    gsize length;
} strings[] = {
    {"plain", "INBOX", "[T X \"INBOX\"<>]"},
    {"empty", "", "[T X \"\"<>]"},
    {"NIL", "NIL", "[T X \"NIL\"<>]"},
    {"quotes", "a\"b\\c", "[T X \"a\\\"b\\\\c\"<>]"},
    {"specials", "(){%*]", "[T X \"(){%*]\"<>]"},
    {"looks like a literal", "{5}", "[T X \"{5}\"<>]"},
    {"line end", "a\r\nA2 LOGOUT", "[T X {12}<>]+[a<>A2 LOGOUT][<>]"},
    {"LF", "\n", "[T X {1}<>]+[>][<>]"},
    {"control", "a\033b", "[T X {3}<>]+[a\033b][<>]"},
    {"8-bit", "\xc3\xa9", "[T X {2}<>]+[\xc3\xa9][<>]"},
    {"NUL", "a\0b", "refused", 3},
};

static void test_strings(void **state)
{
    for (gsize i = 0; i < G_N_ELEMENTS(strings); i++) {
        g_autoptr(CommandText) text = command_text_new();
        gsize length = strings[i].length > 0 ? strings[i].length : strlen(strings[i].input);
        command_text_add(text, "X ");
        command_text_add_astring(text, strings[i].input, length);
        g_autofree char *got = show(text, "T", LITERAL_SYNC);
        if (strcmp(got, strings[i].want) != 0)
            fail_msg("%s: got %s", strings[i].name, got);
    }
}

static void test_long_string(void **state)
{
    g_autofree char *bytes = g_strnfill(1001, 'a');
    g_autoptr(CommandText) quoted = command_text_new(), literal = command_text_new();
    command_text_add_astring(quoted, bytes, 1000);
    command_text_add_astring(literal, bytes, 1001);
    assert_int_equal(command_text_length(quoted), 1002);
    assert_int_equal(command_text_length(literal), strlen("{1001+}"));
}

static void test_mailbox(void **state)
{
    g_autoptr(CommandText) text = command_text_new(), utf8 = command_text_new();
    g_autoptr(CommandText) raw = command_text_new(), bad = command_text_new();
    command_text_add_mailbox(text, "Entw\u00fcrfe & co", false);
    check(text, "T", LITERAL_SYNC, "[T \"Entw&APw-rfe &- co\"<>]");
    command_text_add_mailbox(utf8, "Entw\u00fcrfe & co", true);
    check(utf8, "T", LITERAL_SYNC, "[T \"Entw\u00fcrfe & co\"<>]");
    command_text_add_mailbox(raw, "\001a\u00ff\n", false);
    check(raw, "T", LITERAL_PLUS, "[T {3+}<>][a\xff>][<>]");
    command_text_add_mailbox(bad, "\xff", false);
    check(bad, "T", LITERAL_SYNC, "refused");
}

static void test_literal_modes(void **state)
{
    static const struct {
        gsize size;
        LiteralMode mode;
        bool wait;
    } modes[] = {
        {1, LITERAL_SYNC, true},     {1, LITERAL_MINUS, false},   {4096, LITERAL_MINUS, false},
        {4097, LITERAL_MINUS, true}, {4097, LITERAL_PLUS, false}, {0, LITERAL_SYNC, true},
        {0, LITERAL_PLUS, false},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(modes); i++) {
        g_autofree char *data = g_strnfill(modes[i].size, 'x');
        g_autoptr(GBytes) bytes = g_bytes_new(data, modes[i].size);
        g_autoptr(CommandText) text = command_text_new();
        command_text_add(text, "APPEND ");
        command_text_add_literal(text, bytes);
        g_autofree char *want =
            g_strdup_printf("[T APPEND {%zu%s}<>]%s[%s][<>]", modes[i].size,
                            modes[i].wait ? "" : "+", modes[i].wait ? "+" : "", data);
        check(text, "T", modes[i].mode, want);
        g_autofree char *words = command_text_describe(text);
        g_autofree char *want_words = g_strdup_printf("APPEND {%zu}", modes[i].size);
        assert_string_equal(words, want_words);
    }
}

static CommandText *login(const char *password, bool raw)
{
    CommandText *text = command_text_new();
    g_autoptr(Secret) secret = secret_new(password, strlen(password));
    command_text_add(text, "LOGIN ");
    command_text_add_astring(text, "joe", 3);
    command_text_add(text, " ");
    command_text_add_secret(text, secret, raw);
    return text;
}

static void test_secrets(void **state)
{
    static const struct {
        const char *password;
        bool raw;
        const char *want;
    } cases[] = {
        {"pass word", false, "[T LOGIN \"joe\" ][\"pass word\"]![<>]"},
        {"a\"b\\", false, "[T LOGIN \"joe\" ][\"a\\\"b\\\\\"]![<>]"},
        {"", false, "[T LOGIN \"joe\" ][\"\"]![<>]"},
        {"p\xc3\xa4ss", false, "[T LOGIN \"joe\" {5}<>]+[p\xc3\xa4ss]![<>]"},
        {"a\r\nb", false, "[T LOGIN \"joe\" {4}<>]+[a<>b]![<>]"},
        {"dGVzdA==", true, "[T LOGIN \"joe\" ][dGVzdA==]![<>]"},
        {"a\nb", true, "refused"},
        {"a\rb", true, "refused"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(CommandText) text = login(cases[i].password, cases[i].raw);
        check(text, "T", LITERAL_SYNC, cases[i].want);
        g_autofree char *words = command_text_describe(text);
        assert_string_equal(words, "LOGIN \"joe\" <secret>");
    }
}

static void test_continuation(void **state)
{
    g_autoptr(CommandText) text = command_text_new();
    g_autoptr(Secret) secret = secret_new("AGpvZQBw", 8);
    command_text_add_secret(text, secret, true);
    check(text, "", LITERAL_SYNC, "[AGpvZQBw]![<>]");
    assert_int_equal(command_text_length(text), 8);
}

static void test_refused(void **state)
{
    g_autoptr(CommandText) atoms = command_text_new(), fine = command_text_new();
    g_autoptr(CommandText) none = command_text_new(), secret_text = command_text_new();
    g_autoptr(UidSet) empty = uidset_new();
    g_autoptr(Secret) nul = secret_new("a\0b", 3);
    command_text_add(atoms, "NOOP%s", "\r\nA2 LOGOUT");
    check(atoms, "T", LITERAL_SYNC, "refused");
    command_text_add(fine, "NOOP");
    check(fine, "T\r\nT2", LITERAL_SYNC, "refused");
    check(fine, "T", LITERAL_SYNC, "[T NOOP<>]");
    command_text_add_uids(none, empty);
    check(none, "T", LITERAL_SYNC, "refused");
    command_text_add_secret(secret_text, nul, false);
    check(secret_text, "T", LITERAL_SYNC, "refused");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),         cmocka_unit_test(test_strings),
        cmocka_unit_test(test_long_string),   cmocka_unit_test(test_mailbox),
        cmocka_unit_test(test_literal_modes), cmocka_unit_test(test_secrets),
        cmocka_unit_test(test_continuation),  cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
