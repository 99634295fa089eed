/* name_mailbox.c - one level of a mailbox name as a file name, and back.
 *
 * The rule: two levels that differ have names that differ, and decoding gives the level again. What
 * a file name should not hold is percent-encoded byte by byte; '%' always is, so nothing is
 * ambiguous. */
#include "imapfs/mime/name.h"
#include <string.h>
#include "imapfs/base/limits.h"
#include "name_chars.h"

/* What is encoded beside '%', '/' and all that no name shows (name_chars.h). */
typedef enum {
    ENCODE_USUAL,
    ENCODE_MARKS,     /* also combining marks: the level is not in NFC because of them */
    ENCODE_NON_ASCII, /* everything: not in NFC for other reasons */
} EncodeMode;

static bool is_encoded(gunichar c, EncodeMode mode)
{
    if (c == '%' || c == '/')
        return true;
    if (mode == ENCODE_NON_ASCII && c >= 0x80)
        return true;
    if (mode == ENCODE_MARKS && g_unichar_combining_class(c) != 0)
        return true;
    switch (name_char_class(c)) {
    case NAME_CHAR_DROP:
        return true;
    case NAME_CHAR_SPACE:
        return c != ' ';
    case NAME_CHAR_SEPARATOR: /* only '/' separates here; of others, those that are not ASCII */
        return c >= 0x80;
    case NAME_CHAR_KEEP:
        break;
    }
    return false;
}

static void append_encoded(GString *out, const char *bytes, gsize n)
{
    for (gsize i = 0; i < n; i++)
        g_string_append_printf(out, "%%%02X", (guchar)bytes[i]);
}

static GString *encode(const char *level, EncodeMode mode)
{
    GString *out = g_string_sized_new(strlen(level) + 8);
    for (const char *p = level; *p;) {
        gunichar c = g_utf8_get_char_validated(p, -1);
        bool valid = c < 0x110000;
        gsize n = valid ? (gsize)(g_utf8_next_char(p) - p) : 1;
        bool first = p == level && (c == '.' || c == '-' || c == ' ');
        bool last = p[n] == '\0' && (c == '.' || c == ' ');
        if (!valid || first || last || is_encoded(c, mode))
            append_encoded(out, p, n);
        else
            g_string_append_len(out, p, (gssize)n);
        p += n;
    }
    return out;
}

static bool is_nfc(const char *text)
{
    const char *p = text;
    while (*p && (guchar)*p < 0x80)
        p++;
    if (!*p)
        return true;
    g_autofree char *nfc = g_utf8_normalize(text, -1, G_NORMALIZE_NFC);
    return nfc && strcmp(nfc, text) == 0;
}

/* A level that is too long for a name: its beginning, and a digest instead of the rest. "%~" stands
 * in no other name. */
static void shorten(GString *name, const char *level)
{
    g_autofree char *digest = g_compute_checksum_for_string(G_CHECKSUM_SHA256, level, -1);
    digest[16] = '\0';
    gsize keep = LIMIT_NAME - strlen("%~") - 16;
    while (keep > 0 && ((guchar)name->str[keep] & 0xc0) == 0x80)
        keep--;
    for (guint back = 1; back <= 2 && back <= keep; back++) { /* not inside "%XX" */
        if (name->str[keep - back] == '%') {
            keep -= back;
            break;
        }
    }
    g_string_truncate(name, keep);
    g_string_append_printf(name, "%%~%s", digest);
}

char *name_mailbox_level(const char *level)
{
    if (!*level)
        return g_strdup("%00"); /* NUL is in no mailbox name, so this is no other level's */
    GString *out = NULL;
    for (EncodeMode mode = ENCODE_USUAL; mode <= ENCODE_NON_ASCII; mode++) {
        if (out)
            g_string_free(out, TRUE);
        out = encode(level, mode);
        if (is_nfc(out->str))
            break;
    }
    if (name_looks_like_message(out->str)) {
        char digit = out->str[0];
        g_string_erase(out, 0, 1);
        g_autofree char *code = g_strdup_printf("%%%02X", (guchar)digit);
        g_string_prepend(out, code);
    }
    if (out->len > LIMIT_NAME)
        shorten(out, level);
    return g_string_free(out, FALSE);
}

char *name_mailbox_level_decode(const char *name)
{
    if (strcmp(name, "%00") == 0)
        return g_strdup("");
    GString *out = g_string_sized_new(strlen(name));
    for (const char *p = name; *p; p++) {
        if (*p != '%') {
            g_string_append_c(out, *p);
            continue;
        }
        int high = g_ascii_xdigit_value(p[1]), low = high < 0 ? -1 : g_ascii_xdigit_value(p[2]);
        if (low < 0 || (high == 0 && low == 0)) {
            g_string_free(out, TRUE);
            return NULL;
        }
        g_string_append_c(out, (char)(high << 4 | low));
        p += 2;
    }
    return g_string_free(out, FALSE);
}
