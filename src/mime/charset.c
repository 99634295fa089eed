/* charset.c - charset conversion to UTF-8 over iconv, with the names that mail uses.
 *
 * The rule: the output depends on the bytes and the label alone, never on where the stream was cut,
 * and is always valid UTF-8. */
#include "imapfs/mime/charset.h"
#include <errno.h>
#include <iconv.h>
#include <string.h>

#define REPLACEMENT "\xef\xbf\xbd"
#define GUESS_WINDOW (256u * 1024)
#define LABEL_MAX 64

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
    {"UTF-16LE", "csunicode iso-10646-ucs-2 ucs-2 unicode unicodefeff utf-16le"},
    {"UTF-16", "utf-16"},
    {"UTF-7", "utf-7 unicode-1-1-utf-7 csunicode11utf7 x-unicode-2-0-utf-7 unicode-2-0-utf-7"},
};

/* windows-1252 from 0x80 to 0x9f; iconv refuses the five holes, which the standard maps to
 * themselves. */
static const guint16 CP1252_HIGH[32] = {
    0x20ac, 0x81,   0x201a, 0x192,  0x201e, 0x2026, 0x2020, 0x2021, 0x2c6,  0x2030, 0x160,
    0x2039, 0x152,  0x8d,   0x17d,  0x8f,   0x90,   0x2018, 0x2019, 0x201c, 0x201d, 0x2022,
    0x2013, 0x2014, 0x2dc,  0x2122, 0x161,  0x203a, 0x153,  0x9d,   0x17e,  0x178,
};

/* How iconv's charset forms characters. */
typedef enum {
    SHAPE_BYTES,
    SHAPE_PAIRS,   /* a lead byte over 0x80 and a second byte: GB, Big5, EUC, Shift_JIS */
    SHAPE_ISO2022, /* escape sequences, SO and SI */
    SHAPE_UTF16,
    SHAPE_UTF32,
} Shape;

typedef enum { KIND_GUESS, KIND_UTF8, KIND_CP1252, KIND_HZ, KIND_ICONV } Kind;

struct Charset {
    Kind kind;
    iconv_t iconv;     /* KIND_ICONV and KIND_HZ */
    Shape shape;       /* how much a bad character takes with it */
    bool two_bytes;    /* SHAPE_ISO2022: in a set of two bytes a character */
    bool hz_shifted;   /* between ~{ and ~} */
    GByteArray *input; /* bytes that wait for more */
    bool guess_ascii;  /* KIND_GUESS: nothing over 0x7f yet */
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
static void label_clean(const char *label, char out[LABEL_MAX])
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
        if (n + 1 >= LABEL_MAX) {
            n = 0;
            break;
        }
        out[n++] = g_ascii_tolower(*p);
    }
    out[n] = '\0';
}

static const char *table_lookup(char *clean)
{
    const char *name = g_hash_table_lookup(labels_table(), clean);
    if (name)
        return name;
    /* "iso_8859_15", "windows_1252": underscores for hyphens. */
    g_strdelimit(clean, "_", '-');
    return g_hash_table_lookup(labels_table(), clean);
}

/* iconv's name for a label into `clean`, "?" when it says nothing or nobody knows it. */
static const char *label_resolve(const char *label, char clean[LABEL_MAX])
{
    if (!label)
        return "?";
    label_clean(label, clean);
    if (g_str_has_prefix(clean, "cs-"))
        memmove(clean, clean + 3, strlen(clean + 3) + 1);
    if (!*clean)
        return "?";
    const char *name = table_lookup(clean);
    return name ? name : clean;
}

static bool open_iconv(Charset *charset, const char *name)
{
    static const struct {
        const char *prefix;
        Shape shape;
    } SHAPES[] = {
        {"UTF-16", SHAPE_UTF16},     {"UCS-2", SHAPE_UTF16}, {"UTF-32", SHAPE_UTF32},
        {"UCS-4", SHAPE_UTF32},      {"GB", SHAPE_PAIRS},    {"BIG5", SHAPE_PAIRS},
        {"EUC", SHAPE_PAIRS},        {"CP932", SHAPE_PAIRS}, {"CP949", SHAPE_PAIRS},
        {"ISO-2022", SHAPE_ISO2022}, {"JOHAB", SHAPE_PAIRS}, {"SHIFT", SHAPE_PAIRS},
    };
    charset->iconv = iconv_open("UTF-8", name);
    if (charset->iconv == (iconv_t)-1) {
        charset->iconv = NULL;
        return false;
    }
    charset->shape = SHAPE_BYTES;
    for (guint i = 0; i < G_N_ELEMENTS(SHAPES); i++) {
        if (g_ascii_strncasecmp(name, SHAPES[i].prefix, strlen(SHAPES[i].prefix)) == 0) {
            charset->shape = SHAPES[i].shape;
            break;
        }
    }
    return true;
}

Charset *charset_new(const char *label)
{
    Charset *charset = g_new0(Charset, 1);
    charset->input = g_byte_array_new();
    charset->guess_ascii = true;
    char clean[LABEL_MAX];
    const char *name = label_resolve(label, clean);
    if (strcmp(name, "?") == 0)
        charset->kind = KIND_GUESS;
    else if (strcmp(name, "UTF-8") == 0)
        charset->kind = KIND_UTF8;
    else if (strcmp(name, "CP1252") == 0)
        charset->kind = KIND_CP1252;
    else if (strcmp(name, "HZ") == 0)
        charset->kind = open_iconv(charset, "GB18030") ? KIND_HZ : KIND_GUESS;
    else
        charset->kind = open_iconv(charset, name) ? KIND_ICONV : KIND_GUESS;
    return charset;
}

void charset_free(Charset *charset)
{
    if (!charset)
        return;
    if (charset->iconv)
        iconv_close(charset->iconv);
    g_byte_array_unref(charset->input);
    g_free(charset);
}

bool charset_known(const char *label)
{
    char clean[LABEL_MAX];
    if (strcmp(label_resolve(label, clean), "?") == 0)
        return label && g_hash_table_contains(labels_table(), clean);
    g_autoptr(Charset) charset = charset_new(label);
    return charset->kind != KIND_GUESS;
}

int charset_utf8_step(const guint8 *bytes, gsize length)
{
    static const struct {
        guint8 first, last, low, high;
        int size;
    } FORMS[] = {
        {0x00, 0x7f, 0, 0, 1},       {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };
    if (length == 0)
        return 0;
    for (guint i = 0; i < G_N_ELEMENTS(FORMS); i++) {
        if (bytes[0] < FORMS[i].first || bytes[0] > FORMS[i].last)
            continue;
        guint8 low = FORMS[i].low, high = FORMS[i].high;
        for (int n = 1; n < FORMS[i].size; n++) {
            if ((gsize)n >= length)
                return 0;
            if (bytes[n] < low || bytes[n] > high)
                return -n;
            low = 0x80;
            high = 0xbf;
        }
        return FORMS[i].size;
    }
    return -1;
}

/* Appends what is valid of the bytes with U+FFFD for the rest; returns how many were used (all but
 * an unfinished sequence at the end). */
static gsize utf8_convert(const guint8 *bytes, gsize length, GByteArray *out)
{
    gsize done = 0, copied = 0;
    while (done < length) {
        if (bytes[done] < 0x80) {
            done++;
            continue;
        }
        int step = charset_utf8_step(bytes + done, length - done);
        if (step == 0)
            break;
        if (step > 0) {
            done += (gsize)step;
            continue;
        }
        g_byte_array_append(out, bytes + copied, (guint)(done - copied));
        g_byte_array_append(out, (const guint8 *)REPLACEMENT, 3);
        done += (gsize)-step;
        copied = done;
    }
    g_byte_array_append(out, bytes + copied, (guint)(done - copied));
    return done;
}

static void cp1252_convert(const guint8 *bytes, gsize length, GByteArray *out)
{
    gsize copied = 0;
    for (gsize i = 0; i < length; i++) {
        if (bytes[i] < 0x80)
            continue;
        g_byte_array_append(out, bytes + copied, (guint)(i - copied));
        copied = i + 1;
        char utf8[6];
        gunichar c = bytes[i] < 0xa0 ? CP1252_HIGH[bytes[i] - 0x80] : bytes[i];
        int n = g_unichar_to_utf8(c, utf8);
        g_byte_array_append(out, (const guint8 *)utf8, (guint)n);
    }
    g_byte_array_append(out, bytes + copied, (guint)(length - copied));
}

/* Where escape sequences leave ISO 2022 (RFC 1468, RFC 1557): "ESC $" and SO begin two bytes a
 * character, "ESC (" and SI end it. */
static void track_shifts(Charset *charset, const guint8 *from, const guint8 *to)
{
    for (const guint8 *p = from; p < to; p++) {
        if (*p == 0x0e || *p == 0x0f)
            charset->two_bytes = *p == 0x0e;
        else if (*p == 0x1b && p + 1 < to && (p[1] == '$' || p[1] == '('))
            charset->two_bytes = p[1] == '$';
    }
}

/* How many bytes one U+FFFD stands for where iconv refuses what is at p, as the WHATWG standard has
 * it: of a pair both, unless the second is ASCII. 0: it takes the next byte to tell. */
static gsize bad_length(const Charset *charset, const guint8 *p, gsize left)
{
    switch (charset->shape) {
    case SHAPE_UTF16:
        return MIN(left, 2);
    case SHAPE_UTF32:
        return MIN(left, 4);
    case SHAPE_PAIRS:
        if (*p <= 0x80 || *p == 0xff)
            return 1;
        return left < 2 ? 0 : p[1] >= 0x80 ? 2 : 1;
    case SHAPE_ISO2022:
        if (!charset->two_bytes || *p <= 0x20 || *p >= 0x7f)
            return 1;
        return left < 2 ? 0 : p[1] > 0x20 && p[1] < 0x7f ? 2 : 1;
    case SHAPE_BYTES:
        break;
    }
    return 1;
}

/* Through iconv; returns the bytes used (an unfinished character at the end stays). */
static gsize iconv_convert(Charset *charset, const guint8 *bytes, gsize length, GByteArray *out)
{
    char buffer[8192];
    char *in = (char *)bytes;
    gsize left = length;
    while (left > 0) {
        char *to = buffer;
        gsize room = sizeof buffer;
        const char *before = in;
        gsize result = iconv(charset->iconv, &in, &left, &to, &room);
        int err = errno;
        g_byte_array_append(out, (const guint8 *)buffer, (guint)(sizeof buffer - room));
        if (charset->shape == SHAPE_ISO2022)
            track_shifts(charset, (const guint8 *)before, (const guint8 *)in);
        if (result != (gsize)-1 || err == E2BIG) {
            if (in == before && room == sizeof buffer)
                break; /* no progress: cannot happen, and must not hang */
            continue;
        }
        if (err == EINVAL)
            break;
        gsize skip = bad_length(charset, (const guint8 *)in, left);
        if (skip == 0)
            break;
        g_byte_array_append(out, (const guint8 *)REPLACEMENT, 3);
        in += skip;
        left -= skip;
    }
    return length - left;
}

/* HZ (RFC 1843): GB 2312 in seven bits between ~{ and ~}, which glibc does not know. */
static gsize hz_convert(Charset *charset, const guint8 *bytes, gsize length, bool last,
                        GByteArray *out)
{
    gsize i = 0;
    while (i < length) {
        if (bytes[i] == '\n')
            charset->hz_shifted = false;
        bool pair = bytes[i] == '~' || (charset->hz_shifted && bytes[i] > 0x20);
        if (pair && i + 1 >= length && !last)
            break;
        guint8 next = i + 1 < length ? bytes[i + 1] : 0;
        if (bytes[i] == '~' && (next == '{' || next == '}' || next == '~' || next == '\n')) {
            if (next == '~')
                g_byte_array_append(out, bytes + i, 1);
            else
                charset->hz_shifted = next == '{';
            i += 2;
        } else if (charset->hz_shifted && bytes[i] > 0x20 && bytes[i] < 0x80 && next > 0x20 &&
                   next < 0x80) {
            guint8 gb[2] = {bytes[i] | 0x80, next | 0x80};
            iconv_convert(charset, gb, 2, out);
            i += 2;
        } else if (bytes[i] < 0x80) {
            g_byte_array_append(out, bytes + i, 1);
            i++;
        } else {
            g_byte_array_append(out, (const guint8 *)REPLACEMENT, 3);
            i++;
        }
    }
    return i;
}

/* Whether it is UTF-8; an unfinished character at the end is forgiven unless this is the whole. */
static bool utf8_plausible(const guint8 *bytes, gsize length, bool whole)
{
    for (gsize i = 0; i < length;) {
        int step = charset_utf8_step(bytes + i, length - i);
        if (step < 0)
            return false;
        if (step == 0)
            return !whole;
        i += (gsize)step;
    }
    return true;
}

static gsize convert(Charset *charset, const guint8 *bytes, gsize length, bool last,
                     GByteArray *out)
{
    switch (charset->kind) {
    case KIND_UTF8:
        return utf8_convert(bytes, length, out);
    case KIND_CP1252:
        cp1252_convert(bytes, length, out);
        return length;
    case KIND_HZ:
        return hz_convert(charset, bytes, length, last, out);
    case KIND_ICONV:
        return iconv_convert(charset, bytes, length, out);
    case KIND_GUESS:
        break;
    }
    return 0;
}

/* Uses up charset->input as far as it goes. */
static void drain(Charset *charset, bool last, GByteArray *out)
{
    GByteArray *input = charset->input;
    gsize used = convert(charset, input->data, input->len, last, out);
    g_byte_array_remove_range(input, 0, (guint)used);
    if (!last || input->len == 0)
        return;
    g_byte_array_append(out, (const guint8 *)REPLACEMENT, 3); /* cut off in a character */
    g_byte_array_set_size(input, 0);
}

static void guess_settle(Charset *charset, bool last, GByteArray *out)
{
    const GByteArray *input = charset->input;
    gsize window = MIN(input->len, GUESS_WINDOW);
    bool utf8 = utf8_plausible(input->data, window, last);
    charset->kind = utf8 ? KIND_UTF8 : KIND_CP1252;
    drain(charset, last, out);
}

static void guess_feed(Charset *charset, const guint8 *bytes, gsize length, GByteArray *out)
{
    gsize ascii = 0;
    if (charset->guess_ascii) {
        while (ascii < length && bytes[ascii] < 0x80)
            ascii++;
        g_byte_array_append(out, bytes, (guint)ascii);
        if (ascii == length)
            return;
        charset->guess_ascii = false;
    }
    g_byte_array_append(charset->input, bytes + ascii, (guint)(length - ascii));
    if (charset->input->len >= GUESS_WINDOW)
        guess_settle(charset, false, out);
}

static void feed_chunk(Charset *charset, const guint8 *bytes, gsize length, GByteArray *out)
{
    if (charset->kind == KIND_GUESS) {
        guess_feed(charset, bytes, length, out);
        return;
    }
    if (charset->input->len > 0) {
        g_byte_array_append(charset->input, bytes, (guint)length);
        drain(charset, false, out);
        return;
    }
    gsize used = convert(charset, bytes, length, false, out);
    g_byte_array_append(charset->input, bytes + used, (guint)(length - used));
}

void charset_feed(Charset *charset, const void *bytes, gsize length, GByteArray *out)
{
    const guint8 *p = bytes;
    while (length > 0) { /* GByteArray counts in 32 bits; also bounds what is copied at once */
        gsize chunk = MIN(length, 1024 * 1024);
        feed_chunk(charset, p, chunk, out);
        p += chunk;
        length -= chunk;
    }
}

void charset_finish(Charset *charset, GByteArray *out)
{
    if (charset->kind == KIND_GUESS) {
        guess_settle(charset, true, out);
        return;
    }
    drain(charset, true, out);
    if (charset->kind != KIND_ICONV)
        return;
    char buffer[64]; /* stateful decoders may hold a character back */
    char *to = buffer;
    gsize room = sizeof buffer;
    iconv(charset->iconv, NULL, NULL, &to, &room);
    g_byte_array_append(out, (const guint8 *)buffer, (guint)(sizeof buffer - room));
}

char *charset_to_utf8(const char *label, const void *bytes, gsize length)
{
    g_autoptr(Charset) charset = charset_new(label);
    g_autoptr(GByteArray) out = g_byte_array_sized_new((guint)MIN(length + 1, G_MAXINT32));
    charset_feed(charset, bytes, length, out);
    charset_finish(charset, out);
    guint kept = 0;
    for (guint i = 0; i < out->len; i++) {
        if (out->data[i])
            out->data[kept++] = out->data[i];
    }
    g_byte_array_set_size(out, kept);
    g_byte_array_append(out, (const guint8 *)"", 1);
    return (char *)g_byte_array_free(g_steal_pointer(&out), FALSE);
}
