/* charset_label.c - the names of charsets, as senders write them, and what they mean by them.
 *
 * The rule: one table, and what it does not know is left to iconv under a name that can be nothing
 * but a name. */
#include "charset_label.h"
#include <string.h>

/* What a label stands for and the labels, WHATWG Encoding Standard 4.2 first, then what else is
 * seen in mail. The right side is iconv's name: the superset that senders mean (windows-1252 for
 * latin1, CP949 for euc-kr), as the standard says. "?" is a label that says nothing. */
static const struct {
    const char *name, *labels;
} CHARSETS[] = {
    {"?",
     "us-ascii ascii ansi_x3.4-1968 iso-ir-6 iso646-us ansi_x3.4-1986 iso_646.irv:1991 us cp367 "
     "ibm367 csascii 646 x-unknown unknown unknown-8bit unknown-7bit unknown8bit x-user-defined "
     "default none binary 7bit 8bit utf-7bit x-us-ascii _iso-2022-jp$esc replacement"},
    {"UTF-8", "utf-8 utf8 unicode-1-1-utf-8 unicode11utf8 unicode20utf8 x-unicode20utf8 utf-8n "
              "x-utf-8 utf-8-sig utf8mb4 cp65001 65001"},
    {"CP1252", "windows-1252 iso-8859-1 iso8859-1 iso88591 iso_8859-1 iso_8859-1:1987 iso-ir-100 "
               "latin1 latin-1 l1 cp819 ibm819 csisolatin1 cp1252 x-cp1252 ansi cp-1252 win-1252 "
               "windows1252 x-ansi iso-8859-1-windows-3.1-latin-1 iso-8559-1 8859-1 8859_1"},
    {"IBM866", "866 cp866 csibm866 ibm866"},
    {"ISO-8859-2", "csisolatin2 iso-8859-2 iso-ir-101 iso8859-2 iso88592 iso_8859-2 "
                   "iso_8859-2:1987 l2 latin2"},
    {"ISO-8859-3", "csisolatin3 iso-8859-3 iso-ir-109 iso8859-3 iso88593 iso_8859-3 "
                   "iso_8859-3:1988 l3 latin3"},
    {"ISO-8859-4", "csisolatin4 iso-8859-4 iso-ir-110 iso8859-4 iso88594 iso_8859-4 "
                   "iso_8859-4:1988 l4 latin4"},
    {"ISO-8859-5", "csisolatincyrillic cyrillic iso-8859-5 iso-ir-144 iso8859-5 iso88595 "
                   "iso_8859-5 iso_8859-5:1988"},
    {"ISO-8859-6", "arabic asmo-708 csiso88596e csiso88596i csisolatinarabic ecma-114 iso-8859-6 "
                   "iso-8859-6-e iso-8859-6-i iso-ir-127 iso8859-6 iso88596 iso_8859-6 "
                   "iso_8859-6:1987"},
    {"ISO-8859-7", "csisolatingreek ecma-118 elot_928 greek greek8 iso-8859-7 iso-ir-126 "
                   "iso8859-7 iso88597 iso_8859-7 iso_8859-7:1987 sun_eu_greek"},
    {"ISO-8859-8", "csiso88598e csisolatinhebrew hebrew iso-8859-8 iso-8859-8-e iso-ir-138 "
                   "iso8859-8 iso88598 iso_8859-8 iso_8859-8:1988 visual csiso88598i iso-8859-8-i "
                   "logical"},
    {"ISO-8859-10", "csisolatin6 iso-8859-10 iso-ir-157 iso8859-10 iso885910 l6 latin6"},
    {"ISO-8859-13", "iso-8859-13 iso8859-13 iso885913"},
    {"ISO-8859-14", "iso-8859-14 iso8859-14 iso885914"},
    {"ISO-8859-15", "csisolatin9 iso-8859-15 iso8859-15 iso885915 iso_8859-15 l9 latin9 latin-9"},
    {"ISO-8859-16", "iso-8859-16 iso8859-16"},
    {"KOI8-R", "cskoi8r koi koi8 koi8-r koi8_r"},
    {"KOI8-U", "koi8-ru koi8-u"},
    {"MACINTOSH", "csmacintosh mac macintosh x-mac-roman macroman"},
    {"MAC-CYRILLIC", "x-mac-cyrillic x-mac-ukrainian maccyrillic"},
    {"MAC-CENTRALEUROPE", "x-mac-ce x-mac-centraleurroman"},
    {"CP874", "dos-874 iso-8859-11 iso8859-11 iso885911 tis-620 windows-874 tis620"},
    {"CP1250", "cp1250 windows-1250 x-cp1250 win-1250 windows1250"},
    {"CP1251", "cp1251 windows-1251 x-cp1251 cp-1251 win-1251 windows1251 win1251"},
    {"CP1253", "cp1253 windows-1253 x-cp1253"},
    {"CP1254", "cp1254 csisolatin5 iso-8859-9 iso-ir-148 iso8859-9 iso88599 iso_8859-9 "
               "iso_8859-9:1989 l5 latin5 windows-1254 x-cp1254"},
    {"CP1255", "cp1255 windows-1255 x-cp1255"},
    {"CP1256", "cp1256 windows-1256 x-cp1256"},
    {"CP1257", "cp1257 windows-1257 x-cp1257"},
    {"CP1258", "cp1258 windows-1258 x-cp1258"},
    {"GB18030", "gb18030 chinese csgb2312 csiso58gb231280 gb2312 gb_2312 gb_2312-80 gbk "
                "iso-ir-58 x-gbk cp936 ms936 windows-936 euc-cn gb2312_charset x-euc-cn"},
    {"HZ", "hz-gb-2312 hz"},
    {"BIG5-HKSCS", "big5 big5-hkscs cn-big5 csbig5 x-x-big5 big-5 cp950"},
    {"EUC-JP-MS", "cseucpkdfmtjapanese euc-jp x-euc-jp eucjp ujis x-euc"},
    {"ISO-2022-JP", "csiso2022jp iso-2022-jp"},
    {"CP932", "csshiftjis ms932 ms_kanji shift-jis shift_jis sjis windows-31j x-sjis cp932 "
              "shift_jis-2004"},
    {"CP949", "cseuckr csksc56011987 euc-kr iso-ir-149 korean ks_c_5601-1987 ks_c_5601-1989 "
              "ksc5601 ksc_5601 windows-949 cp949 ks_c_5601 uhc x-windows-949 ksc_5601-1987"},
    {"UTF-16BE", "unicodefffe utf-16be"},
    {"UTF-16LE", "utf-16le unicodefeff"},
    {"UTF-16", "utf-16 utf16 csunicode iso-10646-ucs-2 ucs-2 ucs2 unicode"},
    {"UTF-32", "utf-32 utf32 ucs-4 ucs4 iso-10646-ucs-4"},
    {"UTF-7", "utf-7 unicode-1-1-utf-7 csunicode11utf7 x-unicode-2-0-utf-7 unicode-2-0-utf-7"},
};

static GHashTable *labels_table(void)
{
    static gsize once;
    static GHashTable *table;
    if (g_once_init_enter(&once)) {
        table = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        for (guint i = 0; i < G_N_ELEMENTS(CHARSETS); i++) {
            g_auto(GStrv) words = g_strsplit(CHARSETS[i].labels, " ", -1);
            for (guint w = 0; words[w]; w++)
                g_hash_table_insert(table, g_strdup(words[w]), (gpointer)CHARSETS[i].name);
        }
        g_once_init_leave(&once, 1);
    }
    return table;
}

/* Lower case without quotes, blanks and backslashes around it; "" when it cannot be a label. */
static void label_clean(const char *label, char out[CHARSET_LABEL_MAX])
{
    gsize n = 0;
    for (const char *p = label; *p; p++) {
        if (strchr("\"'\\ \t\r\n;<>", *p)) {
            if (n > 0 && *p == ';')
                break;
            continue;
        }
        if (!g_ascii_isalnum(*p) && !strchr("-_.:+$", *p)) {
            n = 0;
            break;
        }
        if (n + 1 >= CHARSET_LABEL_MAX) {
            n = 0;
            break;
        }
        out[n++] = g_ascii_tolower(*p);
    }
    out[n] = '\0';
}

const char *charset_label_lookup(char *clean)
{
    const char *name = g_hash_table_lookup(labels_table(), clean);
    if (name)
        return name;
    /* "iso_8859_15", "windows_1252": underscores for hyphens. */
    g_strdelimit(clean, "_", '-');
    return g_hash_table_lookup(labels_table(), clean);
}

/* iconv's name for a label into `clean`, "?" when it says nothing or nobody knows it. */
const char *charset_label_resolve(const char *label, char clean[CHARSET_LABEL_MAX])
{
    if (!label)
        return "?";
    label_clean(label, clean);
    if (g_str_has_prefix(clean, "cs-"))
        memmove(clean, clean + 3, strlen(clean + 3) + 1);
    if (!*clean)
        return "?";
    const char *name = charset_label_lookup(clean);
    return name ? name : clean;
}
