/* mutf7.c - modified UTF-7 (RFC 3501 5.1.3).
 *
 * The rule: decoding accepts exactly what encoding makes, so that a name comes back to the server
 * as the bytes it gave. */
#include "imapfs/wire/mailbox_name.h"
#include <string.h>

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";

static bool is_direct(gunichar c)
{
    return c >= 0x20 && c <= 0x7e;
}

/* Bits that wait to become a digit, or an octet. */
typedef struct {
    guint32 bits;
    guint count;
} BitQueue;

static void encode_unit(BitQueue *queue, guint unit, GString *out)
{
    queue->bits = (queue->bits << 16 | unit) & 0x3fffff; /* at most 5 bits waited */
    queue->count += 16;
    for (; queue->count >= 6; queue->count -= 6)
        g_string_append_c(out, digits[queue->bits >> (queue->count - 6) & 0x3f]);
}

static const char *encode_run(const char *p, GString *out)
{
    BitQueue queue = {0};
    g_string_append_c(out, '&');
    for (; *p != '\0' && !is_direct(g_utf8_get_char(p)); p = g_utf8_next_char(p)) {
        gunichar c = g_utf8_get_char(p);
        if (c >= 0x10000) {
            encode_unit(&queue, 0xd800 + ((c - 0x10000) >> 10), out);
            c = 0xdc00 + ((c - 0x10000) & 0x3ff);
        }
        encode_unit(&queue, c, out);
    }
    if (queue.count > 0)
        g_string_append_c(out, digits[queue.bits << (6 - queue.count) & 0x3f]);
    g_string_append_c(out, '-');
    return p;
}

char *mutf7_encode(const char *utf8)
{
    if (!g_utf8_validate(utf8, -1, NULL))
        return NULL;
    GString *out = g_string_new(NULL);
    for (const char *p = utf8; *p != '\0';) {
        if (!is_direct(g_utf8_get_char(p))) {
            p = encode_run(p, out);
            continue;
        }
        g_string_append_c(out, *p);
        if (*p++ == '&')
            g_string_append_c(out, '-');
    }
    return g_string_free(out, FALSE);
}

/* One UTF-16 unit; *high keeps the first half of a pair. */
static bool decode_unit(guint unit, guint *high, GString *out)
{
    if (unit >= 0xd800 && unit <= 0xdbff) {
        if (*high != 0)
            return false;
        *high = unit;
        return true;
    }
    bool low = unit >= 0xdc00 && unit <= 0xdfff;
    if (unit == 0 || low != (*high != 0))
        return false;
    g_string_append_unichar(out, low ? 0x10000 + ((*high - 0xd800) << 10) + (unit - 0xdc00) : unit);
    *high = 0;
    return true;
}

/* After '&'; returns behind the '-', or NULL. */
static const char *decode_run(const char *p, const char *end, GString *out)
{
    BitQueue queue = {0};
    guint high = 0;
    for (; p < end && *p != '-'; p++) {
        const char *digit = *p != '\0' ? strchr(digits, *p) : NULL;
        if (digit == NULL)
            return NULL;
        queue.bits = (queue.bits << 6 | (guint)(digit - digits)) & 0x3fffff;
        queue.count += 6;
        if (queue.count < 16)
            continue;
        queue.count -= 16;
        if (!decode_unit(queue.bits >> queue.count & 0xffff, &high, out))
            return NULL;
    }
    return p < end && high == 0 ? p + 1 : NULL;
}

char *mutf7_decode(const char *text, gsize length)
{
    const char *p = text, *end = text + length;
    g_autoptr(GString) out = g_string_sized_new(length);
    while (p < end) {
        if (!is_direct((guchar)*p))
            return NULL;
        if (*p != '&') {
            g_string_append_c(out, *p++);
        } else if (end - p > 1 && p[1] == '-') {
            g_string_append_c(out, '&');
            p += 2;
        } else if ((p = decode_run(p + 1, end, out)) == NULL) {
            return NULL;
        }
    }
    /* Printable ASCII in base64, runs side by side, bits left over: all not canonical. */
    g_autofree char *again = mutf7_encode(out->str);
    if (again == NULL || strlen(again) != length || memcmp(again, text, length) != 0)
        return NULL;
    return g_string_free(g_steal_pointer(&out), FALSE);
}
