/* Mailbox names: modified UTF-7, names that do not survive it, INBOX, limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "imapfs/base/limits.h"
#include "imapfs/wire/mailbox_name.h"

static const struct {
    const char *text, *utf8;
} pairs[] = {
    {"", ""},
    {"INBOX", "INBOX"},
    {"~peter/mail/&U,BTFw-/&ZeVnLIqe-", "~peter/mail/\u53f0\u5317/\u65e5\u672c\u8a9e"},
    {"Entw&APw-rfe", "Entw\u00fcrfe"},
    {"&-", "&"},
    {"a&-b&-", "a&b&"},
    {"&2D3eAA-", "\U0001f600"}, /* a surrogate pair */
    {"&AAk-", "\t"},
    {"&AH8-", "\177"},
    {"&AOkA6A-", "\u00e9\u00e8"},
    {"&AOk-&-&AOg-", "\u00e9&\u00e8"},
};

static void test_mutf7(void **state)
{
    for (gsize i = 0; i < G_N_ELEMENTS(pairs); i++) {
        g_autofree char *encoded = mutf7_encode(pairs[i].utf8);
        g_autofree char *decoded = mutf7_decode(pairs[i].text, strlen(pairs[i].text));
        assert_string_equal(encoded, pairs[i].text);
        assert_non_null(decoded);
        assert_string_equal(decoded, pairs[i].utf8);
    }
}

static const char *const not_canonical[] = {
    "&",          "a&",       "&AOk",  "&AOk/",  "&AOl",
    "&ZeVnLIqe",  "&AGEA-",   "&AGE-", /* a letter that needs no base64 */
    "&AOk-&AOg-",                      /* two runs side by side */
    "&AOm-",                           /* bits left over */
    "&AOkA-",                          /* half a unit left over */
    "&2D0-",                           /* half a surrogate pair */
    "&3gA-",                           /* the other half */
    "&2D3YPQ-",   "&AAA-",             /* NUL */
    "&A/k-",                           /* '/' is ',' here */
    "&\xc3\xa9-", "\xc3\xa9", "a\tb",  "&AOk=-", "&!-",
};

static void test_not_canonical(void **state)
{
    for (gsize i = 0; i < G_N_ELEMENTS(not_canonical); i++) {
        g_autofree char *decoded = mutf7_decode(not_canonical[i], strlen(not_canonical[i]));
        if (decoded != NULL)
            fail_msg("%s became \"%s\"", not_canonical[i], decoded);
    }
    assert_null(mutf7_decode("a\0b", 3));
    assert_null(mutf7_encode("\xff"));
}

static const struct {
    const char *name, *wire;
    bool utf8;
    char delimiter;
    const char *want;
} names[] = {
    {"plain", "Archive/2024", false, '/', "Archive/2024"},
    {"mutf7", "Entw&APw-rfe", false, '/', "Entw\u00fcrfe"},
    {"mutf7 in a UTF-8 session", "Entw&APw-rfe", true, '/', "Entw&APw-rfe"},
    {"utf8", "Entw\u00fcrfe", true, '/', "Entw\u00fcrfe"},
    {"inbox", "inBox", false, '/', "INBOX"},
    {"below inbox", "Inbox.Sent", false, '.', "INBOX.Sent"},
    {"not below inbox", "Inbox.Sent", false, '/', "Inbox.Sent"},
    {"no delimiter", "inbox/x", false, 0, "inbox/x"},
    {"longer than inbox", "inboxes", false, '/', "inboxes"},
    {"raw 8-bit", "Entw\xfcrfe", false, '/', "\001Entw\u00fcrfe"},
    {"UTF-8 where it may not be", "\xc3\xa9", false, '/', "\001\u00c3\u00a9"},
    {"bad UTF-8 in a UTF-8 session", "a\xff", true, '/', "\001a\u00ff"},
    {"not canonical", "&AGE-", false, '/', "\001&AGE-"},
    {"open run", "R&D", false, '/', "\001R&D"},
    {"begins with the mark", "\001x", true, '/', "\001\001x"},
    {"begins with the mark, encoded", "&AAE-x", false, '/', "\001&AAE-x"},
    {"control", "a\nb", false, '/', "\001a\nb"},
    {"control in a UTF-8 session", "a\nb", true, '/', "a\nb"},
    {"dots", "../..", false, '/', "../.."},
};

static void test_names(void **state)
{
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *name = mailbox_name_from_wire(names[i].wire, strlen(names[i].wire),
                                                       names[i].utf8, names[i].delimiter);
        assert_non_null(name);
        if (strcmp(name, names[i].want) != 0)
            fail_msg("%s: got \"%s\"", names[i].name, name);
        g_autofree char *wire = mailbox_name_to_wire(name, names[i].utf8);
        assert_non_null(wire);
        if (g_ascii_strcasecmp(wire, names[i].wire) != 0)
            fail_msg("%s: back to \"%s\"", names[i].name, wire);
        if (g_ascii_strncasecmp(wire, "inbox", 5) != 0)
            assert_string_equal(wire, names[i].wire);
    }
}

static void test_other_session(void **state)
{
    g_autofree char *name = mailbox_name_from_wire("Entw&APw-rfe", 12, false, '/');
    g_autofree char *utf8 = mailbox_name_to_wire(name, true);
    assert_string_equal(utf8, "Entw\u00fcrfe");
    assert_null(mailbox_name_to_wire("\001\u0100", false)); /* no byte has that number */
    assert_null(mailbox_name_to_wire("\xff", true));
}

static void test_limits(void **state)
{
    g_autofree char *long_name = g_strnfill(10 * LIMIT_MAILBOX_NAME, 'a');
    g_autofree char *at = mailbox_name_from_wire(long_name, LIMIT_MAILBOX_NAME, false, '/');
    assert_non_null(at);
    assert_int_equal(strlen(at), LIMIT_MAILBOX_NAME);
    assert_null(mailbox_name_from_wire(long_name, LIMIT_MAILBOX_NAME + 1, false, '/'));
    assert_null(mailbox_name_from_wire(long_name, 10 * LIMIT_MAILBOX_NAME, true, '/'));
    assert_null(mailbox_name_from_wire("", 0, false, '/'));
    assert_null(mailbox_name_from_wire("a\0b", 3, false, '/'));
    assert_null(mailbox_name_from_wire("a\0b", 3, true, '/'));
}

/* Every string of few bytes from those that matter: what comes back is what was given. */
static void test_all_short_names(void **state)
{
    static const char alphabet[] = "&-A,/k\xc3\xa9\001";
    const gsize n = sizeof alphabet - 1;
    for (gsize length = 1; length <= 5; length++) {
        gsize total = 1;
        for (gsize i = 0; i < length; i++)
            total *= n;
        for (gsize number = 0; number < total; number++) {
            char wire[8] = {0};
            for (gsize i = 0, rest = number; i < length; i++, rest /= n)
                wire[i] = alphabet[rest % n];
            for (int utf8 = 0; utf8 < 2; utf8++) {
                g_autofree char *name = mailbox_name_from_wire(wire, length, utf8, '/');
                assert_true(g_utf8_validate(name, -1, NULL));
                g_autofree char *back = mailbox_name_to_wire(name, utf8);
                assert_string_equal(back, wire);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mutf7),  cmocka_unit_test(test_not_canonical),
        cmocka_unit_test(test_names),  cmocka_unit_test(test_other_session),
        cmocka_unit_test(test_limits), cmocka_unit_test(test_all_short_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
