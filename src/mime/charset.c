/* charset.c - charset conversion to UTF-8 over iconv, with the names that mail uses.
 *
 * The rule: the output depends on the bytes and the label alone, never on where the stream was cut,
 * and is always valid UTF-8. */
#include "imapfs/mime/charset.h"
#include <errno.h>
#include <iconv.h>
#include <string.h>
#include "charset_label.h"

#define REPLACEMENT "\xef\xbf\xbd"
#define GUESS_WINDOW (256u * 1024)

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

typedef enum {
    KIND_GUESS,
    KIND_UTF8,
    KIND_CP1252,
    KIND_HZ,
    KIND_UTF7,
    KIND_ICONV,
    KIND_UTF16, /* its first bytes tell which end comes first; then KIND_ICONV */
    KIND_UTF32,
} Kind;

struct Charset {
    Kind kind;
    iconv_t iconv;    /* KIND_ICONV and KIND_HZ */
    char *iconv_name; /* to give it back under */
    Shape shape;      /* how much a bad character takes with it */
    bool two_bytes;   /* SHAPE_ISO2022: in a set of two bytes a character */
    bool hz_shifted;  /* between ~{ and ~} */
    struct {
        bool shifted, fresh; /* after '+'; right after it */
        guint bits, n_bits;
        guint high; /* the first half of a surrogate pair, or 0 */
    } utf7;
    GByteArray *input; /* bytes that wait for more */
    bool guess_ascii;  /* KIND_GUESS: nothing over 0x7f yet */
};

/* Converters that nobody uses, by name: opening one costs 40 us, and a listing may ask for one a
 * message. */
#define IDLE_MAX 64
static GMutex idle_lock;
static GHashTable *idle; /* char * -> iconv_t */

static iconv_t iconv_take(const char *name)
{
    gpointer key = NULL, converter = NULL;
    g_mutex_lock(&idle_lock);
    bool found = idle && g_hash_table_steal_extended(idle, name, &key, &converter);
    g_mutex_unlock(&idle_lock);
    g_free(key);
    if (!found)
        converter = iconv_open("UTF-8", name);
    return converter == (iconv_t)-1 ? NULL : converter;
}

static void iconv_give(const char *name, iconv_t converter)
{
    iconv(converter, NULL, NULL, NULL, NULL); /* to its first state */
    g_mutex_lock(&idle_lock);
    if (!idle)
        idle = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    bool kept = g_hash_table_size(idle) < IDLE_MAX && !g_hash_table_contains(idle, name);
    if (kept)
        g_hash_table_insert(idle, g_strdup(name), converter);
    g_mutex_unlock(&idle_lock);
    if (!kept)
        iconv_close(converter);
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
    charset->iconv = iconv_take(name);
    if (!charset->iconv)
        return false;
    charset->iconv_name = g_strdup(name);
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
    char clean[CHARSET_LABEL_MAX];
    const char *name = charset_label_resolve(label, clean);
    if (strcmp(name, "?") == 0)
        charset->kind = KIND_GUESS;
    else if (strcmp(name, "UTF-8") == 0)
        charset->kind = KIND_UTF8;
    else if (strcmp(name, "CP1252") == 0)
        charset->kind = KIND_CP1252;
    else if (strcmp(name, "HZ") == 0)
        charset->kind = open_iconv(charset, "GB18030") ? KIND_HZ : KIND_GUESS;
    else if (strcmp(name, "UTF-7") == 0)
        charset->kind = KIND_UTF7;
    else if (strcmp(name, "UTF-16") == 0)
        charset->kind = KIND_UTF16;
    else if (strcmp(name, "UTF-32") == 0)
        charset->kind = KIND_UTF32;
    else
        charset->kind = open_iconv(charset, name) ? KIND_ICONV : KIND_GUESS;
    return charset;
}

void charset_free(Charset *charset)
{
    if (!charset)
        return;
    if (charset->iconv)
        iconv_give(charset->iconv_name, charset->iconv);
    g_free(charset->iconv_name);
    g_byte_array_unref(charset->input);
    g_free(charset);
}

bool charset_known(const char *label)
{
    char clean[CHARSET_LABEL_MAX];
    if (strcmp(charset_label_resolve(label, clean), "?") == 0)
        return label && charset_label_lookup(clean) != NULL;
    g_autoptr(Charset) charset = charset_new(label);
    return charset->kind != KIND_GUESS;
}

bool charset_is_guessed(const char *label)
{
    char clean[CHARSET_LABEL_MAX];
    return strcmp(charset_label_resolve(label, clean), "?") == 0 || !charset_known(label);
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

static void append_char(GByteArray *out, gunichar c)
{
    char utf8[6];
    g_byte_array_append(out, (const guint8 *)utf8, (guint)g_unichar_to_utf8(c, utf8));
}

static void cp1252_convert(const guint8 *bytes, gsize length, GByteArray *out)
{
    gsize copied = 0;
    for (gsize i = 0; i < length; i++) {
        if (bytes[i] < 0x80)
            continue;
        g_byte_array_append(out, bytes + copied, (guint)(i - copied));
        copied = i + 1;
        append_char(out, bytes[i] < 0xa0 ? CP1252_HIGH[bytes[i] - 0x80] : bytes[i]);
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

/* What iconv wrote: whole characters, but glibc passes some on that Unicode does not have. */
static void append_checked(const char *utf8, gsize length, GByteArray *out)
{
    if (length > 0 && utf8_convert((const guint8 *)utf8, length, out) < length)
        g_byte_array_append(out, (const guint8 *)REPLACEMENT, 3);
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
        append_checked(buffer, sizeof buffer - room, out);
        if (charset->shape == SHAPE_ISO2022)
            track_shifts(charset, (const guint8 *)before, (const guint8 *)in);
        if (result != (gsize)-1 || err == E2BIG) {
            if (in == before && room == sizeof buffer)
                break; /* no progress: cannot happen, and must not hang */
            continue;
        }
        if (err == EINVAL)
            break;
        /* ISO-2022-CN-EXT has already passed the shift that it refuses, which may be the last byte.
         */
        gsize skip = left > 0 ? bad_length(charset, (const guint8 *)in, left) : 0;
        if (skip == 0 && left > 0)
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

/* A unit of UTF-16, 0 at the end of a run: a half pair left alone is U+FFFD. */
static void utf7_unit(Charset *charset, guint unit, bool end, GByteArray *out)
{
    guint high = charset->utf7.high;
    charset->utf7.high = 0;
    if (!end && high && unit >= 0xdc00 && unit < 0xe000) {
        append_char(out, 0x10000 + ((high - 0xd800) << 10) + (unit - 0xdc00));
        return;
    }
    if (high)
        append_char(out, 0xfffd);
    if (end)
        return;
    if (unit >= 0xd800 && unit < 0xdc00)
        charset->utf7.high = unit;
    else
        append_char(out, unit >= 0xdc00 && unit < 0xe000 ? 0xfffd : unit);
}

/* UTF-7 (RFC 2152). Here and not in iconv, whose answer to damage depends on where the text was
 * cut. */
static void utf7_convert(Charset *charset, const guint8 *bytes, gsize length, GByteArray *out)
{
    for (gsize i = 0; i < length; i++) {
        guint8 c = bytes[i];
        int value = g_ascii_isupper(c)   ? c - 'A'
                    : g_ascii_islower(c) ? c - 'a' + 26
                    : g_ascii_isdigit(c) ? c - '0' + 52
                    : c == '+'           ? 62
                    : c == '/'           ? 63
                                         : -1;
        if (charset->utf7.shifted && value >= 0) {
            charset->utf7.fresh = false;
            charset->utf7.bits = (charset->utf7.bits << 6 | (guint)value) & 0x3fffff;
            charset->utf7.n_bits += 6;
            if (charset->utf7.n_bits < 16)
                continue;
            charset->utf7.n_bits -= 16;
            utf7_unit(charset, charset->utf7.bits >> charset->utf7.n_bits & 0xffff, false, out);
            continue;
        }
        if (charset->utf7.shifted) {
            charset->utf7.shifted = false;
            utf7_unit(charset, 0, true, out);
            if (c == '-') {
                if (charset->utf7.fresh)
                    append_char(out, '+');
                continue;
            }
        }
        if (c == '+') {
            charset->utf7.shifted = charset->utf7.fresh = true;
            charset->utf7.bits = charset->utf7.n_bits = 0;
        } else {
            append_char(out, c < 0x80 ? c : 0xfffd);
        }
    }
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
    if (length == 0)
        return 0;
    switch (charset->kind) {
    case KIND_UTF8:
        return utf8_convert(bytes, length, out);
    case KIND_CP1252:
        cp1252_convert(bytes, length, out);
        return length;
    case KIND_HZ:
        return hz_convert(charset, bytes, length, last, out);
    case KIND_UTF7:
        utf7_convert(charset, bytes, length, out);
        return length;
    case KIND_ICONV:
        return iconv_convert(charset, bytes, length, out);
    case KIND_GUESS:
    case KIND_UTF16:
    case KIND_UTF32:
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

/* A byte order mark decides; without one it is little-endian, as the standard says and iconv, which
 * looks at its first call alone, does not always. */
static void endian_settle(Charset *charset, bool last, GByteArray *out)
{
    static const struct {
        const char *big, *little, *big_mark;
        guint unit;
    } FORMS[] = {{"UTF-16BE", "UTF-16LE", "\xfe\xff", 2},
                 {"UTF-32BE", "UTF-32LE", "\0\0\xfe\xff", 4}};
    guint form = charset->kind == KIND_UTF32;
    guint unit = FORMS[form].unit;
    if (charset->input->len < unit && !last)
        return;
    bool big = charset->input->len >= unit &&
               memcmp(charset->input->data, FORMS[form].big_mark, unit) == 0;
    bool opened = open_iconv(charset, big ? FORMS[form].big : FORMS[form].little);
    charset->kind = opened ? KIND_ICONV : KIND_CP1252;
    drain(charset, last, out);
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
    if (charset->kind == KIND_UTF16 || charset->kind == KIND_UTF32) {
        g_byte_array_append(charset->input, bytes, (guint)length);
        endian_settle(charset, false, out);
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
    if (charset->kind == KIND_UTF16 || charset->kind == KIND_UTF32)
        endian_settle(charset, true, out);
    drain(charset, true, out);
    if (charset->kind == KIND_UTF7)
        utf7_unit(charset, 0, true, out);
    if (charset->kind != KIND_ICONV)
        return;
    char buffer[64]; /* stateful decoders may hold a character back */
    char *to = buffer;
    gsize room = sizeof buffer;
    iconv(charset->iconv, NULL, NULL, &to, &room);
    append_checked(buffer, sizeof buffer - room, out);
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
