/* fuzz_name.c - no name escapes, hides or misleads; mailbox levels come back as they were. */
#include "imapfs/mime/name.h"
#include "fuzz.h"

static void check(const char *name, gsize limit)
{
    gsize length = strlen(name);
    FUZZ_CHECK(length > 0 && length <= limit, "%zu bytes", length);
    FUZZ_CHECK(g_utf8_validate(name, -1, NULL), "%s", name);
    FUZZ_CHECK(name[0] != '.' && name[0] != '-' && name[0] != ' ', "%s", name);
    FUZZ_CHECK(strchr(name, '/') == NULL, "%s", name);
    g_autofree char *nfc = g_utf8_normalize(name, -1, G_NORMALIZE_NFC);
    FUZZ_CHECK(strcmp(nfc, name) == 0, "%s", name);
    for (const char *p = name; *p; p = g_utf8_next_char(p)) {
        GUnicodeType type = g_unichar_type(g_utf8_get_char(p));
        FUZZ_CHECK(type != G_UNICODE_CONTROL && type != G_UNICODE_FORMAT &&
                       type != G_UNICODE_UNASSIGNED && type != G_UNICODE_LINE_SEPARATOR &&
                       type != G_UNICODE_PARAGRAPH_SEPARATOR,
                   "U+%04X in %s", g_utf8_get_char(p), name);
    }
}

static void check_level(const char *text)
{
    g_autofree char *level = name_mailbox_level(text);
    check(level, 255);
    FUZZ_CHECK(!name_looks_like_message(level), "%s", level);
    if (strstr(level, "%~"))
        return;
    g_autofree char *back = name_mailbox_level_decode(level);
    FUZZ_CHECK(back && strcmp(back, text) == 0, "%s", level);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *text = g_strndup((const char *)data, size);
    gint64 date = 0;
    memcpy(&date, data, MIN(size, sizeof date));
    g_autofree char *message = name_message(date, (gint32)date, text, text);
    check(message, 240);
    g_autoptr(GHashTable) taken = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    for (guint i = 0; i < 3; i++) {
        g_autofree char *name = name_attachment(text, "1", "a", "b");
        check(name, 200);
        FUZZ_CHECK(!g_str_has_suffix(name, ".desktop"), "%s", name);
        g_autofree char *own = name_make_unique(taken, g_steal_pointer(&name));
        check(own, 255);
    }
    FUZZ_CHECK(g_hash_table_size(taken) == 3, "%u", g_hash_table_size(taken));
    check_level(text);
    g_free(name_mailbox_level_decode(text));
    return 0;
}
