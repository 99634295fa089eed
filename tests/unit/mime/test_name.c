/* Names of messages, attachments and mailboxes: what exactly comes out. */
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "imapfs/mime/name.h"

static const struct {
    gint64 date;
    gint32 zone;
    const char *from, *subject, *want;
} MESSAGES[] = {
    {1795132800, 0, "Alice Doe", "Quarterly report", "2026-11-20 Alice Doe - Quarterly report"},
    {1795132799, 0, "A", "B", "2026-11-19 A - B"},
    {1795132799, 60, "A", "B", "2026-11-20 A - B"},
    {1795132800, -1, "A", "B", "2026-11-19 A - B"},
    {0, 0, "", "", "1970-01-01 unknown - no subject"},
    {-1, 0, NULL, NULL, "1969-12-31 unknown - no subject"},
    {951782400, 0, "A", "leap", "2000-02-29 A - leap"},
    {G_MAXINT64, 0, "A", "B", "9999-12-31 A - B"},
    {G_MININT64, G_MININT32, "A", "B", "0000-01-01 A - B"},
    {0, 0, "A", "Re: 10:30?", "1970-01-01 A - Re 10_30"},
    {0, 0, "A", "a/b\\c|d<e>f*g\"h", "1970-01-01 A - a_b_c_d_e_f_g'h"},
    {0, 0, "A", "  ..hidden.. ", "1970-01-01 A - hidden"},
    {0, 0, "A", "-rf", "1970-01-01 A - rf"},
    {0, 0, "A", "two\r\n lines\tand  blanks", "1970-01-01 A - two lines and blanks"},
    {0, 0, "Zo\xc3\xab",
     "Gr\xc3\xbc\xc3\x9f"
     "e",
     "1970-01-01 Zo\xc3\xab - Gr\xc3\xbc\xc3\x9f"
     "e"},
    {0, 0, "A", "e\xcc\x81", "1970-01-01 A - \xc3\xa9"},
    {0, 0, "A", "caf\xe9", "1970-01-01 A - caf\xc3\xa9"},
};

static void test_message(void **state)
{
    for (guint i = 0; i < G_N_ELEMENTS(MESSAGES); i++) {
        g_autofree char *name =
            name_message(MESSAGES[i].date, MESSAGES[i].zone, MESSAGES[i].from, MESSAGES[i].subject);
        assert_string_equal(name, MESSAGES[i].want);
        g_autofree char *dir = g_strconcat(name, ".7", NULL);
        assert_true(name_looks_like_message(dir));
    }
}

/* Neither the zone nor the locale of the machine shows. */
static void test_message_machine(void **state)
{
    g_autofree char *before = name_message(1795132799, 60, "A", "I\xc4\xb0i");
    g_setenv("TZ", "Pacific/Kiritimati", TRUE);
    g_setenv("LC_ALL", "tr_TR.UTF-8", TRUE);
    setlocale(LC_ALL, "");
    g_autofree char *after = name_message(1795132799, 60, "A", "I\xc4\xb0i");
    assert_string_equal(before, after);
    setlocale(LC_ALL, "C");
}

static void test_message_length(void **state)
{
    static const char *const UNITS[] = {
        "x", "\xc3\xa9", "\xe4\xb8\xad", "\xf0\x9f\x98\x80", "e\xcc\xa7\xcc\xb5", "a b"};
    for (guint u = 0; u < G_N_ELEMENTS(UNITS); u++) {
        g_autoptr(GString) text = g_string_new(NULL);
        for (guint i = 0; i < 400; i++) {
            g_string_append(text, UNITS[u]);
            g_autofree char *name = name_message(0, 0, text->str, text->str);
            assert_true(strlen(name) <= 240);
            assert_true(g_utf8_validate(name, -1, NULL));
            assert_true(i < 200 || strlen(name) > 200);
        }
    }
    /* A base letter is not parted from its marks. */
    g_autofree char *x = g_strnfill(240 - strlen("1970-01-01 A - ") - 1, 'x');
    g_autofree char *subject = g_strconcat(x, "q\xcc\xb5", NULL);
    g_autofree char *name = name_message(0, 0, "A", subject);
    assert_string_equal(name + strlen("1970-01-01 A - "), x);
}

static const struct {
    const char *sender, *section, *type, *subtype, *want;
} ATTACHMENTS[] = {
    {"report.pdf", "2", "application", "pdf", "report.pdf"},
    {NULL, "2", "application", "pdf", "part-2.pdf"},
    {"", "1.2", "image", "jpeg", "part-1.2.jpg"},
    {"...", "3", "x", "y", "part-3.bin"},
    {NULL, "3", NULL, NULL, "part-3.bin"},
    {NULL, "3", "text", "x-unheard-of", "part-3.txt"},
    {NULL, "3", "application", "pgp-signature", "part-3.asc"},
    {NULL, "3", "application", "pkcs7-signature", "part-3.p7s"},
    {"../../etc/passwd", "2", NULL, NULL, "_.._etc_passwd"},
    {"..\\..\\boot.ini", "2", NULL, NULL, "_.._boot.ini"},
    {"C:\\x\\y.doc", "2", NULL, NULL, "C__x_y.doc"},
    {".bashrc", "2", NULL, NULL, "bashrc"},
    {"-rf", "2", NULL, NULL, "rf"},
    {"a.desktop", "2", NULL, NULL, "a.desktop.txt"},
    {".desktop", "2", NULL, NULL, "desktop.txt"},
    {"a.DESKTOP. ", "2", NULL, NULL, "a.DESKTOP.txt"},
    {"a.des\xe2\x84\xaatop", "2", NULL, NULL, "a.desKtop.txt"},
    {"a.url", "2", NULL, NULL, "a.url.txt"},
    {"a.lnk", "2", NULL, NULL, "a.lnk.txt"},
    {"HEAD", "2", NULL, NULL, "HEAD_"},
    {"head.jpg", "2", NULL, NULL, "head.jpg"},
    {"commondir", "2", NULL, NULL, "commondir_"},
    {"CON", "2", NULL, NULL, "CON_"},
    {"con.txt", "2", NULL, NULL, "con_.txt"},
    {"a\xe2\x80\xaegpj.exe", "2", NULL, NULL, "agpj.exe"},
    {"a\xe2\x80\x8b"
     "b",
     "2", NULL, NULL, "ab"},
    {"a\x1b[31mb", "2", NULL, NULL, "a[31mb"},
    {"a\nb", "2", NULL, NULL, "a b"},
};

static void test_attachment(void **state)
{
    for (guint i = 0; i < G_N_ELEMENTS(ATTACHMENTS); i++) {
        g_autofree char *name = name_attachment(ATTACHMENTS[i].sender, ATTACHMENTS[i].section,
                                                ATTACHMENTS[i].type, ATTACHMENTS[i].subtype);
        assert_string_equal(name, ATTACHMENTS[i].want);
    }
}

static void test_attachment_length(void **state)
{
    for (guint n = 150; n < 2000; n += 7) {
        g_autofree char *stem = g_strnfill(n, 'x');
        g_autofree char *sent = g_strconcat(stem, ".docx", NULL);
        g_autofree char *name = name_attachment(sent, "2", NULL, NULL);
        assert_true(strlen(name) <= 200);
        assert_true(g_str_has_suffix(name, "x.docx"));
        g_autofree char *bad = g_strconcat(stem, "\xe4\xb8.desktop", NULL);
        g_autofree char *bad_name = name_attachment(bad, "2", NULL, NULL);
        assert_true(strlen(bad_name) <= 200);
        assert_true(g_str_has_suffix(bad_name, ".desktop.txt"));
    }
}

static const struct {
    const char *level, *want;
} LEVELS[] = {
    {"INBOX", "INBOX"},
    {"", "%00"},
    {".", "%2E"},
    {"..", "%2E%2E"},
    {".imapfs", "%2Eimapfs"},
    {"-x", "%2Dx"},
    {"a/b", "a%2Fb"},
    {"100%", "100%25"},
    {"%2F", "%252F"},
    {"a.b", "a.b"},
    {"a.", "a%2E"},
    {"a ", "a%20"},
    {"name with spaces", "name with spaces"},
    {"quo\"te", "quo\"te"},
    {"it's [odd] {5} 100%*", "it's [odd] {5} 100%25*"},
    {"Entw\xc3\xbcrfe", "Entw\xc3\xbcrfe"},
    {"\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e", "\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e"},
    {"u\xcc\x88", "u%CC%88"},
    {"a\nb", "a%0Ab"},
    {"a\xe2\x80\xae"
     "b",
     "a%E2%80%AEb"},
    {"\x01"
     "abc",
     "%01abc"},
    {"\xff\xfe", "%FF%FE"},
    {"2026-11-20 A - B.7", "%32026-11-20 A - B.7"},
    {"2026-11-20 A - B.+7", "%32026-11-20 A - B.+7"},
    {"2026-11-20 A - B", "2026-11-20 A - B"},
};

static void test_level(void **state)
{
    for (guint i = 0; i < G_N_ELEMENTS(LEVELS); i++) {
        g_autofree char *name = name_mailbox_level(LEVELS[i].level);
        assert_string_equal(name, LEVELS[i].want);
        g_autofree char *back = name_mailbox_level_decode(name);
        assert_string_equal(back, LEVELS[i].level);
    }
    static const char *const NOT_NAMES[] = {"%", "%4", "%zz", "a%0", "a%00", "%~0123"};
    for (guint i = 0; i < G_N_ELEMENTS(NOT_NAMES); i++)
        assert_null(name_mailbox_level_decode(NOT_NAMES[i]));
}

static gunichar random_char(GRand *rand)
{
    static const gunichar ODD[] = {'%',    '/',    '.',      ' ',    '-',    '0',    '~',
                                   0x301,  0x1100, 0x1161,   0xac00, 0x212a, 0x202e, 0x200b,
                                   0xfeff, 0x2028, 0x10ffff, 0xe000, 0x1f600};
    if (g_rand_boolean(rand))
        return ODD[g_rand_int_range(rand, 0, G_N_ELEMENTS(ODD))];
    gunichar c = (gunichar)g_rand_int_range(rand, 1, 0x3000);
    return g_unichar_validate(c) ? c : 'x';
}

static void check_level_name(const char *name)
{
    assert_true(strlen(name) > 0 && strlen(name) <= 255);
    assert_true(g_utf8_validate(name, -1, NULL));
    assert_null(strchr(name, '/'));
    assert_false(name[0] == '.' || name[0] == '-' || name_looks_like_message(name));
    g_autofree char *nfc = g_utf8_normalize(name, -1, G_NORMALIZE_NFC);
    assert_string_equal(nfc, name);
    for (const char *p = name; *p; p = g_utf8_next_char(p)) {
        GUnicodeType type = g_unichar_type(g_utf8_get_char(p));
        assert_false(type == G_UNICODE_CONTROL || type == G_UNICODE_FORMAT ||
                     type == G_UNICODE_LINE_SEPARATOR);
    }
}

/* decode(encode(x)) is x, so different levels never have one name. */
static void test_level_round_trip(void **state)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(20261120);
    guint cut = 0;
    for (guint i = 0; i < 20000; i++) {
        g_autoptr(GString) level = g_string_new(NULL);
        int n = g_rand_int_range(rand, 0, i % 50 == 0 ? 200 : 12);
        for (int k = 0; k < n; k++) {
            if (i % 7 == 0)
                g_string_append_c(level, (char)g_rand_int_range(rand, 1, 256));
            else
                g_string_append_unichar(level, random_char(rand));
        }
        g_autofree char *name = name_mailbox_level(level->str);
        check_level_name(name);
        g_autofree char *back = name_mailbox_level_decode(name);
        if (strstr(name, "%~"))
            cut++;
        else
            assert_string_equal(back, level->str);
    }
    assert_true(cut > 0 && cut < 1000);
}

static void test_level_long(void **state)
{
    g_autofree char *a = g_strnfill(300, 'a');
    g_autofree char *b = g_strconcat(a, "b", NULL);
    g_autofree char *name_a = name_mailbox_level(a), *name_b = name_mailbox_level(b);
    assert_int_equal(strlen(name_a), 255);
    assert_string_not_equal(name_a, name_b);
    for (guint n = 225; n < 260; n++) {
        g_autofree char *x = g_strnfill(n, 'x');
        g_autofree char *slashes = g_strconcat(x, "//////////////////////", NULL);
        g_autofree char *name = name_mailbox_level(slashes);
        check_level_name(name);
        const char *tilde = strstr(name, "%~");
        assert_true(tilde && tilde[-1] != '%' && (tilde[-1] == 'x' || tilde[-1] == 'F'));
    }
}

static void test_unique(void **state)
{
    g_autoptr(GHashTable) taken = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    static const struct {
        const char *name, *want;
    } STEPS[] = {
        {"a.pdf", "a.pdf"},
        {"a.pdf", "a (2).pdf"},
        {"A.PDF", "A (3).PDF"},
        {"a (2).pdf", "a (2) (2).pdf"},
        {"a", "a"},
        {"a", "a (2)"},
        {"x.tar.gz", "x.tar.gz"},
        {"x.tar.gz", "x.tar (2).gz"},
        {"STRASSE", "STRASSE"},
        {"stra\xc3\x9f"
         "e",
         "stra\xc3\x9f"
         "e (2)"},
    };
    for (guint i = 0; i < G_N_ELEMENTS(STEPS); i++) {
        g_autofree char *name = name_make_unique(taken, g_strdup(STEPS[i].name));
        assert_string_equal(name, STEPS[i].want);
    }
    g_hash_table_add(taken, g_strdup("part-3.message"));
    g_autofree char *name = name_make_unique(taken, g_strdup("Part-3.message"));
    assert_string_equal(name, "Part-3 (2).message");
}

static void test_unique_many(void **state)
{
    g_autoptr(GHashTable) taken = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_autofree char *x = g_strnfill(255, 'x');
    char *last = NULL;
    for (guint i = 0; i < 10000; i++) {
        g_free(last);
        last = name_make_unique(taken, g_strdup(x));
        assert_true(strlen(last) <= 255);
    }
    assert_true(g_str_has_suffix(last, " (10000)"));
    g_free(last);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_message),
        cmocka_unit_test(test_message_machine),
        cmocka_unit_test(test_message_length),
        cmocka_unit_test(test_attachment),
        cmocka_unit_test(test_attachment_length),
        cmocka_unit_test(test_level),
        cmocka_unit_test(test_level_round_trip),
        cmocka_unit_test(test_level_long),
        cmocka_unit_test(test_unique),
        cmocka_unit_test(test_unique_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
