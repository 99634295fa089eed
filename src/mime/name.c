/* name.c - names of messages and attachments, from what senders wrote.
 *
 * The rule (SECURITY 2.4): whatever comes in, what goes out is a valid UTF-8 file name that cannot
 * leave its directory, hide, look like an option, act on a terminal, or start something. */
#include "imapfs/mime/name.h"
#include <string.h>
#include "imapfs/base/limits.h"
#include "imapfs/mime/charset.h"
#include "name_chars.h"

#define MESSAGE_BYTES 240
#define MESSAGE_FROM_BYTES 80
#define ATTACHMENT_BYTES 195 /* "_" and ".txt" may be added */
#define EXTENSION_BYTES 16
/* What is looked at of a name: NFC sorts marks in quadratic time, and no name is that long. */
#define INPUT_BYTES 1024

/* --- code points --- */

/* Assigned, but nothing is to be seen of them (Default_Ignorable_Code_Point, and the Braille
 * blank): two names that look the same. */
static bool is_invisible(gunichar c)
{
    static const struct {
        gunichar first, last;
    } RANGES[] = {
        {0x034f, 0x034f}, {0x115f, 0x1160}, {0x17b4, 0x17b5}, {0x180b, 0x180f}, {0x2800, 0x2800},
        {0x3164, 0x3164}, {0xfe00, 0xfe0f}, {0xffa0, 0xffa0}, {0xfff0, 0xfffb}, {0xe0000, 0xe0fff},
    };
    for (guint i = 0; i < G_N_ELEMENTS(RANGES); i++) {
        if (c >= RANGES[i].first && c <= RANGES[i].last)
            return true;
    }
    return false;
}

NameChar name_char_class(gunichar c)
{
    if (c < 0x80) {
        if (c == '/' || c == '\\' || c == ':' || c == '*' || c == '?' || c == '"' || c == '<' ||
            c == '>' || c == '|')
            return NAME_CHAR_SEPARATOR;
        if (c == ' ' || c == '\t' || c == '\n' || c == '\r')
            return NAME_CHAR_SPACE;
        return c < 0x20 || c == 0x7f ? NAME_CHAR_DROP : NAME_CHAR_KEEP;
    }
    if (is_invisible(c) || c > 0x10ffff)
        return NAME_CHAR_DROP;
    switch (g_unichar_type(c)) {
    case G_UNICODE_CONTROL:
    case G_UNICODE_FORMAT: /* bidi controls, zero-width, BOM, tags, soft hyphen */
    case G_UNICODE_UNASSIGNED:
    case G_UNICODE_SURROGATE:
        return NAME_CHAR_DROP;
    case G_UNICODE_PRIVATE_USE: /* file servers keep '/' and '\' there (U+F000 and on) */
        return NAME_CHAR_SEPARATOR;
    case G_UNICODE_LINE_SEPARATOR:
    case G_UNICODE_PARAGRAPH_SEPARATOR:
    case G_UNICODE_SPACE_SEPARATOR:
        return NAME_CHAR_SPACE;
    default:
        return NAME_CHAR_KEEP;
    }
}

static bool is_mark(gunichar c)
{
    GUnicodeType type = g_unichar_type(c);
    return type == G_UNICODE_NON_SPACING_MARK || type == G_UNICODE_SPACING_MARK ||
           type == G_UNICODE_ENCLOSING_MARK;
}

/* --- cleaning --- */

/* A plain name needs nothing done: printable ASCII without separators, single spaces. */
static bool is_plain(const char *text, gsize length)
{
    for (gsize i = 0; i < length; i++) {
        guchar c = (guchar)text[i];
        if (c < ' ' || c >= 0x7f || name_char_class(c) == NAME_CHAR_SEPARATOR ||
            (c == ' ' && i + 1 < length && text[i + 1] == ' '))
            return false;
    }
    return true;
}

/* '_' for a separator; ':' and '?' before a space or the end are punctuation and go ("Re: x"). */
static void append_separator(GString *out, gunichar c, const char *next)
{
    bool ends = *next == '\0' || *next == ' ' || *next == '\t' || *next == '\r' || *next == '\n';
    if ((c == ':' || c == '?') && ends)
        return;
    g_string_append_c(out, c == '"' ? '\'' : '_');
}

/* Each code point by its class; runs of space become one. text is valid UTF-8. */
static GString *filter(const char *text)
{
    GString *out = g_string_new(NULL);
    for (const char *p = text; *p && out->len < INPUT_BYTES; p = g_utf8_next_char(p)) {
        gunichar c = g_utf8_get_char(p);
        switch (name_char_class(c)) {
        case NAME_CHAR_KEEP:
            g_string_append_unichar(out, c);
            break;
        case NAME_CHAR_SEPARATOR:
            append_separator(out, c, g_utf8_next_char(p));
            break;
        case NAME_CHAR_SPACE:
            if (out->len == 0 || out->str[out->len - 1] != ' ')
                g_string_append_c(out, ' ');
            break;
        case NAME_CHAR_DROP:
            break;
        }
    }
    return out;
}

/* Nothing at the ends that hides a file, looks like an option or gets lost on other systems; no
 * combining mark in front, which would join whatever stands before the name. */
static void trim(GString *name)
{
    while (name->len > 0 && strchr(" .", name->str[name->len - 1]))
        g_string_truncate(name, name->len - 1);
    const char *p = name->str;
    while (*p && (strchr(" .-", *p) || is_mark(g_utf8_get_char(p))))
        p = g_utf8_next_char(p);
    g_string_erase(name, 0, p - name->str);
}

static char *to_valid(const char *text)
{
    gsize length = strlen(text);
    if (g_utf8_validate(text, (gssize)length, NULL))
        return g_strndup(text, length);
    return charset_to_utf8(NULL, text, length);
}

/* The whole: clean, NFC, trimmed; may be empty. */
static GString *clean(const char *text)
{
    gsize length = strlen(text);
    if (length <= INPUT_BYTES && is_plain(text, length)) {
        GString *name = g_string_new_len(text, (gssize)length);
        trim(name);
        return name;
    }
    g_autofree char *valid = to_valid(text);
    GString *filtered = filter(valid);
    g_autofree char *nfc = g_utf8_normalize(filtered->str, -1, G_NORMALIZE_NFC);
    g_string_assign(filtered, nfc ? nfc : "");
    trim(filtered);
    return filtered;
}

/* At most `bytes`, cut before a character that stands by itself. */
static void cut(GString *name, gsize bytes)
{
    if (name->len <= bytes)
        return;
    const char *p = name->str + bytes;
    while (p > name->str && (((guchar)*p & 0xc0) == 0x80 || is_mark(g_utf8_get_char(p))))
        p--;
    if (p == name->str) { /* nothing but marks: then at a character */
        p = name->str + bytes;
        while (((guchar)*p & 0xc0) == 0x80)
            p--;
    }
    g_string_truncate(name, (gsize)(p - name->str));
    while (name->len > 0 && strchr(" .", name->str[name->len - 1]))
        g_string_truncate(name, name->len - 1);
}

/* --- messages --- */

#define DAY_MIN G_GINT64_CONSTANT(-719528) /* 0000-01-01 */
#define DAY_MAX G_GINT64_CONSTANT(2932896) /* 9999-12-31 */

/* The proleptic Gregorian date of a day counted from 1970-01-01 (no locale, no time zone). */
static void civil_date(gint64 days, char out[16])
{
    days += 719468; /* from 0000-03-01 */
    gint64 era = (days >= 0 ? days : days - 146096) / 146097;
    gint64 doe = days - era * 146097;
    gint64 yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    gint64 doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    gint64 mp = (5 * doy + 2) / 153;
    gint64 month = mp < 10 ? mp + 3 : mp - 9;
    gint64 year = yoe + era * 400 + (month <= 2);
    g_snprintf(out, 16, "%04d-%02d-%02d", (int)year, (int)month,
               (int)(doy - (153 * mp + 2) / 5 + 1));
}

char *name_message(gint64 internaldate, gint32 zone_minutes, const char *from, const char *subject)
{
    const gint64 day = 24 * 60 * 60;
    gint64 utc = CLAMP(internaldate, DAY_MIN * day, DAY_MAX * day);
    gint64 local = utc + (gint64)zone_minutes * 60;
    gint64 days = CLAMP(local / day - (local % day < 0), DAY_MIN, DAY_MAX);
    char date[16];
    civil_date(days, date);
    GString *name = g_string_sized_new(MESSAGE_BYTES);
    g_string_append(name, date);
    g_string_append_c(name, ' ');

    GString *part = clean(from ? from : "");
    cut(part, MESSAGE_FROM_BYTES);
    g_string_append(name, part->len > 0 ? part->str : "unknown");
    g_string_free(part, TRUE);

    part = clean(subject ? subject : "");
    g_string_append(name, " - ");
    g_string_append(name, part->len > 0 ? part->str : "no subject");
    g_string_free(part, TRUE);
    cut(name, MESSAGE_BYTES);
    return g_string_free(name, FALSE);
}

bool name_looks_like_message(const char *name)
{
    static const char SHAPE[] = "dddd-dd-dd ";
    for (guint i = 0; SHAPE[i]; i++) {
        if (SHAPE[i] == 'd' ? !g_ascii_isdigit(name[i]) : name[i] != SHAPE[i])
            return false;
    }
    const char *end = name + strlen(name), *p = end;
    while (p > name && g_ascii_isdigit(p[-1]))
        p--;
    if (p == end)
        return false;
    return p[-1] == '.' || (p[-1] == '+' && p[-2] == '.'); /* "...+N" has no UID yet */
}

/* --- attachments --- */

/* Types that desktops act on when they are opened, run or merely listed, executable or not. */
static bool is_dangerous_extension(const char *extension)
{
    static const char *const LIST[] = {
        "desktop",
        "directory",
        "kdelnk",
        "url",
        "website",
        "lnk",
        "pif",
        "scf",
        "webloc",
        "inetloc",
        "fileloc",
        "service",
        "mount",
        "automount",
        "socket",
        "timer",
        "library-ms",
        "search-ms",
        "searchconnector-ms",
    };
    for (guint i = 0; i < G_N_ELEMENTS(LIST); i++) {
        if (g_ascii_strcasecmp(extension, LIST[i]) == 0)
            return true;
    }
    return false;
}

static bool is_in_list(const char *name, gsize n, const char *const *list)
{
    for (; *list; list++) {
        if (strlen(*list) == n && g_ascii_strncasecmp(name, *list, n) == 0)
            return true;
    }
    return false;
}

/* Names that tools act on by themselves: git takes a directory with HEAD and what "commondir" or
 * its own objects/ and refs/ give for a repository; DOS devices are devices in any directory and
 * with any extension. */
static bool is_dangerous_name(const char *name)
{
    static const char *const GIT[] = {"head", "commondir", "gitdir", NULL};
    static const char *const DOS[] = {"con",  "prn",  "aux",  "nul",  "com1", "com2",
                                      "com3", "com4", "com5", "com6", "com7", "com8",
                                      "com9", "lpt1", "lpt2", "lpt3", "lpt4", "lpt5",
                                      "lpt6", "lpt7", "lpt8", "lpt9", NULL};
    return is_in_list(name, strlen(name), GIT) || is_in_list(name, strcspn(name, "."), DOS);
}

/* The extension by type, for parts without a name. The list is what mail holds; the machine's own
 * database is not asked, so that names are the same everywhere. */
static const struct {
    const char *type, *extension;
} EXTENSIONS[] = {
    {"text/plain", "txt"},
    {"text/html", "html"},
    {"text/calendar", "ics"},
    {"text/csv", "csv"},
    {"text/vcard", "vcf"},
    {"text/x-vcard", "vcf"},
    {"text/directory", "vcf"},
    {"text/xml", "xml"},
    {"text/css", "css"},
    {"text/markdown", "md"},
    {"text/rtf", "rtf"},
    {"text/enriched", "txt"},
    {"text/richtext", "txt"},
    {"text/x-amp-html", "html"},
    {"text/x-patch", "patch"},
    {"text/x-diff", "patch"},
    {"text/rfc822-headers", "txt"},
    {"text/*", "txt"},
    {"message/rfc822", "eml"},
    {"message/global", "eml"},
    {"message/delivery-status", "txt"},
    {"message/disposition-notification", "txt"},
    {"message/global-delivery-status", "txt"},
    {"message/feedback-report", "txt"},
    {"message/*", "txt"},
    {"multipart/*", "txt"},
    {"image/jpeg", "jpg"},
    {"image/pjpeg", "jpg"},
    {"image/jpg", "jpg"},
    {"image/png", "png"},
    {"image/gif", "gif"},
    {"image/webp", "webp"},
    {"image/svg+xml", "svg"},
    {"image/tiff", "tiff"},
    {"image/bmp", "bmp"},
    {"image/heic", "heic"},
    {"image/heif", "heif"},
    {"image/avif", "avif"},
    {"image/x-icon", "ico"},
    {"image/vnd.microsoft.icon", "ico"},
    {"audio/mpeg", "mp3"},
    {"audio/mp4", "m4a"},
    {"audio/ogg", "ogg"},
    {"audio/wav", "wav"},
    {"audio/x-wav", "wav"},
    {"audio/amr", "amr"},
    {"video/mp4", "mp4"},
    {"video/mpeg", "mpg"},
    {"video/quicktime", "mov"},
    {"video/webm", "webm"},
    {"video/x-msvideo", "avi"},
    {"application/pdf", "pdf"},
    {"application/zip", "zip"},
    {"application/x-zip-compressed", "zip"},
    {"application/gzip", "gz"},
    {"application/x-gzip", "gz"},
    {"application/x-tar", "tar"},
    {"application/x-7z-compressed", "7z"},
    {"application/json", "json"},
    {"application/xml", "xml"},
    {"application/rtf", "rtf"},
    {"application/postscript", "ps"},
    {"application/javascript", "js"},
    {"application/ics", "ics"},
    {"application/pgp-signature", "asc"},
    {"application/pgp-encrypted", "asc"},
    {"application/pgp-keys", "asc"},
    {"application/pkcs7-signature", "p7s"},
    {"application/x-pkcs7-signature", "p7s"},
    {"application/pkcs7-mime", "p7m"},
    {"application/x-pkcs7-mime", "p7m"},
    {"application/ms-tnef", "dat"},
    {"application/vnd.ms-tnef", "dat"},
    {"application/msword", "doc"},
    {"application/vnd.ms-excel", "xls"},
    {"application/vnd.ms-powerpoint", "ppt"},
    {"application/vnd.openxmlformats-officedocument.wordprocessingml.document", "docx"},
    {"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "xlsx"},
    {"application/vnd.openxmlformats-officedocument.presentationml.presentation", "pptx"},
    {"application/vnd.oasis.opendocument.text", "odt"},
    {"application/vnd.oasis.opendocument.spreadsheet", "ods"},
    {"application/vnd.oasis.opendocument.presentation", "odp"},
};

static const char *extension_of_type(const char *type, const char *subtype)
{
    if (!type || !subtype)
        return "bin";
    gsize type_length = strlen(type);
    for (guint i = 0; i < G_N_ELEMENTS(EXTENSIONS); i++) {
        const char *entry = EXTENSIONS[i].type;
        if (g_ascii_strncasecmp(entry, type, type_length) != 0 || entry[type_length] != '/')
            continue;
        const char *rest = entry + type_length + 1;
        if (strcmp(rest, "*") == 0 || g_ascii_strcasecmp(rest, subtype) == 0)
            return EXTENSIONS[i].extension;
    }
    return "bin";
}

/* The extension that is kept when a name is cut: the last, up to 16 bytes, with its dot. */
static gsize extension_length(const GString *name)
{
    const char *dot = strrchr(name->str, '.');
    if (!dot || dot == name->str)
        return 0;
    gsize n = (gsize)(name->str + name->len - dot);
    return n <= EXTENSION_BYTES + 1 && !strchr(dot, ' ') ? n : 0;
}

static void cut_keeping_extension(GString *name, gsize bytes)
{
    if (name->len <= bytes)
        return;
    gsize n = extension_length(name);
    g_autofree char *extension = g_strdup(name->str + name->len - n);
    g_string_truncate(name, name->len - n);
    cut(name, bytes - n);
    g_string_append(name, extension);
}

/* A long name keeps its end too, where the extension is, before it is looked at. */
static char *bounded_input(const char *text)
{
    gsize length = strlen(text);
    if (length <= INPUT_BYTES)
        return g_strndup(text, length);
    const char *dot = strrchr(text, '.');
    gsize keep = dot && (gsize)(text + length - dot) <= 4 * EXTENSION_BYTES
                     ? (gsize)(text + length - dot)
                     : 0;
    /* Both cuts between characters: where the bytes are not UTF-8 it does not matter. */
    gsize head = INPUT_BYTES / 2;
    while (head > INPUT_BYTES / 2 - 4 && ((guchar)text[head] & 0xc0) == 0x80)
        head--;
    GString *out = g_string_new_len(text, (gssize)head);
    g_string_append(out, text + length - keep);
    return g_string_free(out, FALSE);
}

char *name_attachment(const char *sender_name, const char *section, const char *type,
                      const char *subtype)
{
    g_autofree char *bounded = bounded_input(sender_name ? sender_name : "");
    GString *name = clean(bounded);
    cut_keeping_extension(name, ATTACHMENT_BYTES);
    if (name->len == 0)
        g_string_printf(name, "part-%s.%s", section, extension_of_type(type, subtype));
    if (is_dangerous_name(name->str))
        g_string_insert_c(name, (gssize)strcspn(name->str, "."), '_');
    const char *dot = strrchr(name->str, '.');
    const char *extension = dot ? dot + 1 : name->str;
    if (is_dangerous_extension(extension))
        g_string_append(name, ".txt");
    return g_string_free(name, FALSE);
}

/* --- names in a directory --- */

/* The number to try next for a name is kept as its value in the set, or ten thousand parts of one
 * name would be tried against each other. Members put there by g_hash_table_add have themselves. */
static guint next_number(GHashTable *taken, const char *key)
{
    gpointer own_key = NULL, value = NULL;
    g_hash_table_lookup_extended(taken, key, &own_key, &value);
    return value == own_key ? 2 : GPOINTER_TO_UINT(value);
}

char *name_make_unique(GHashTable *taken, char *name)
{
    g_autofree char *key = g_utf8_casefold(name, -1);
    if (!g_hash_table_contains(taken, key)) {
        g_hash_table_add(taken, g_steal_pointer(&key));
        return name;
    }
    g_autoptr(GString) stem = g_string_new(name);
    gsize n = extension_length(stem);
    g_autofree char *extension = g_strdup(stem->str + stem->len - n);
    g_string_truncate(stem, stem->len - n);
    g_free(name);
    for (guint i = next_number(taken, key);; i++) {
        g_autofree char *suffix = g_strdup_printf(" (%u)%s", i, extension);
        g_autoptr(GString) next = g_string_new(stem->str);
        cut(next, LIMIT_NAME - strlen(suffix));
        g_string_append(next, suffix);
        g_autofree char *next_key = g_utf8_casefold(next->str, -1);
        if (g_hash_table_contains(taken, next_key))
            continue;
        g_hash_table_add(taken, g_steal_pointer(&next_key));
        g_hash_table_insert(taken, g_steal_pointer(&key), GUINT_TO_POINTER(i + 1));
        return g_string_free(g_steal_pointer(&next), FALSE);
    }
}
