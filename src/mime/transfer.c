/* transfer.c - base64, quoted-printable, uuencode and yEnc, one byte at a time.
 *
 * The rule: each decoder is a state machine over single bytes, so the way the stream was cut cannot
 * show, and its state is of a bounded size. */
#include "imapfs/mime/transfer.h"
#include <string.h>
#include "base64_alphabet.h"

#define WORDS_MAX 60      /* no word is that long: a line without blanks that is has data */
#define LINE_MAX_KEPT 256 /* of a uuencoded or yEnc control line; the rest of it means nothing */
#define BLANKS_MAX 1024   /* blanks that may turn out to end a line of quoted-printable */
/* Where a uuencoded or yEnc part must have begun: what has not is what it says without decoding. */
#define BEGIN_WITHIN 65536

typedef enum { QP_TEXT, QP_EQUALS, QP_HEX, QP_SOFT, QP_SOFT_CR } QpState;

struct Transfer {
    TransferKind kind;
    /* base64 */
    guint32 bits;
    guint sextets;
    bool padded, in_padding; /* a text has ended; its '=' may go on */
    bool over;               /* and something else followed: that is all */
    /* quoted-printable */
    QpState qp;
    guint8 held[BLANKS_MAX]; /* blanks in QP_TEXT; what stood after '=' in the other states */
    guint n_held;
    /* uuencode, yEnc; base64 after padding */
    guint8 line[LINE_MAX_KEPT];
    guint n_line;
    bool inside, escaped;
    bool begun;          /* it was inside once */
    GByteArray *unclear; /* all that came so far, until it has begun */
};

TransferKind transfer_kind(const char *encoding)
{
    static const struct {
        const char *name;
        TransferKind kind;
    } NAMES[] = {
        {"base64", TRANSFER_BASE64},       {"x-base64", TRANSFER_BASE64},
        {"quoted-printable", TRANSFER_QP}, {"x-uuencode", TRANSFER_UUENCODE},
        {"uuencode", TRANSFER_UUENCODE},   {"x-uue", TRANSFER_UUENCODE},
        {"uue", TRANSFER_UUENCODE},        {"x-uu", TRANSFER_UUENCODE},
        {"x-yenc", TRANSFER_YENC},         {"yenc", TRANSFER_YENC},
    };
    for (guint i = 0; encoding && i < G_N_ELEMENTS(NAMES); i++) {
        if (g_ascii_strcasecmp(encoding, NAMES[i].name) == 0)
            return NAMES[i].kind;
    }
    return TRANSFER_IDENTITY;
}

Transfer *transfer_new(TransferKind kind)
{
    Transfer *transfer = g_new0(Transfer, 1);
    transfer->kind = kind;
    if (kind == TRANSFER_UUENCODE || kind == TRANSFER_YENC)
        transfer->unclear = g_byte_array_new();
    return transfer;
}

void transfer_free(Transfer *transfer)
{
    if (!transfer)
        return;
    g_clear_pointer(&transfer->unclear, g_byte_array_unref);
    g_free(transfer);
}

static void put(GByteArray *out, guint8 byte)
{
    g_byte_array_append(out, &byte, 1);
}

/* --- base64 (RFC 2045 6.8) --- */

static int sextet_value(guint8 c)
{
    return base64_values[c] - 1;
}

/* The whole bytes of an unfinished group: at '=' or at the end. A single sextet is dropped. */
static void base64_flush(Transfer *t, GByteArray *out)
{
    if (t->sextets >= 2)
        put(out, (guint8)(t->bits >> (t->sextets == 2 ? 4 : 10)));
    if (t->sextets == 3)
        put(out, (guint8)(t->bits >> 2));
    t->sextets = 0;
    t->bits = 0;
}

static void base64_data(Transfer *t, const guint8 *in, gsize length, GByteArray *out)
{
    guint8 buffer[3 * 1024];
    guint n = 0;
    for (gsize i = 0; i < length; i++) {
        int value = sextet_value(in[i]);
        if (value < 0)
            continue;
        t->bits = t->bits << 6 | (guint32)value;
        if (++t->sextets < 4)
            continue;
        buffer[n++] = (guint8)(t->bits >> 16);
        buffer[n++] = (guint8)(t->bits >> 8);
        buffer[n++] = (guint8)t->bits;
        t->sextets = 0;
        t->bits = 0;
        if (n == sizeof buffer) {
            g_byte_array_append(out, buffer, n);
            n = 0;
        }
    }
    g_byte_array_append(out, buffer, n);
}

/* Decodes the line kept if it is base64 that goes on after padding.
 *
 * After padding a text has ended. Another may follow at once (chunks that were encoded one by one),
 * but what follows most often is a list's footer in plain words: so a line counts only if it is
 * nothing but whole groups, or too long for a word, and the first that does not is the end. */
static void base64_line_after_padding(Transfer *t, GByteArray *out)
{
    guint n = t->n_line;
    t->n_line = 0;
    while (n > 0 && strchr("\r \t", t->line[n - 1]) && t->line[n - 1])
        n--;
    t->over = n % 4 != 0 && n < WORDS_MAX;
    for (guint i = 0; i < n && !t->over; i++)
        t->over = sextet_value(t->line[i]) < 0 && t->line[i] != '=';
    if (t->over || n == 0)
        return;
    t->padded = t->line[n - 1] == '=';
    for (const guint8 *p = t->line, *end = p + n; p < end;) {
        const guint8 *padding = memchr(p, '=', (gsize)(end - p));
        const guint8 *stop = padding ? padding : end;
        base64_data(t, p, (gsize)(stop - p), out);
        if (padding)
            base64_flush(t, out);
        p = stop + 1;
    }
}

static void base64_feed(Transfer *t, const guint8 *in, gsize length, GByteArray *out)
{
    while (length > 0 && !t->over) {
        if (!t->padded) {
            const guint8 *padding = memchr(in, '=', length);
            gsize n = padding ? (gsize)(padding - in) : length;
            base64_data(t, in, n, out);
            if (padding && t->sextets > 0) {
                base64_flush(t, out);
                t->padded = true;
                t->in_padding = true;
            }
            n += padding != NULL;
            in += n;
            length -= n;
            continue;
        }
        guint8 c = *in++;
        length--;
        if (t->in_padding && c == '=')
            continue;
        t->in_padding = false;
        if (c != '\n')
            t->line[t->n_line++] = c;
        if (c == '\n' || t->n_line == LINE_MAX_KEPT)
            base64_line_after_padding(t, out);
    }
}

static void base64_finish(Transfer *t, GByteArray *out)
{
    if (t->padded)
        base64_line_after_padding(t, out);
    base64_flush(t, out);
}

/* --- quoted-printable (RFC 2045 6.7) --- */

static void qp_release(Transfer *t, GByteArray *out)
{
    g_byte_array_append(out, t->held, t->n_held);
    t->n_held = 0;
}

static void qp_text(Transfer *t, guint8 c, GByteArray *out)
{
    if (c == ' ' || c == '\t') {
        if (t->n_held == BLANKS_MAX)
            qp_release(t, out);
        t->held[t->n_held++] = c;
        return;
    }
    if (c == '\r' || c == '\n')
        t->n_held = 0; /* blanks at the end of a line were added on the way */
    qp_release(t, out);
    if (c == '=') {
        t->qp = QP_EQUALS;
        t->held[t->n_held++] = c;
        return;
    }
    put(out, c);
}

/* What began with '=' was no encoding: it is text as it stands. */
static void qp_give_up(Transfer *t, guint8 c, GByteArray *out)
{
    qp_release(t, out);
    t->qp = QP_TEXT;
    qp_text(t, c, out);
}

static void qp_byte(Transfer *t, guint8 c, GByteArray *out)
{
    switch (t->qp) {
    case QP_TEXT:
        qp_text(t, c, out);
        return;
    case QP_EQUALS:
    case QP_SOFT:
        if (c == '\n') {
            t->qp = QP_TEXT;
            t->n_held = 0;
        } else if (c == '\r') {
            t->qp = QP_SOFT_CR;
        } else if ((c == ' ' || c == '\t') && t->n_held < BLANKS_MAX) {
            t->qp = QP_SOFT;
            t->held[t->n_held++] = c;
        } else if (t->qp == QP_EQUALS && g_ascii_isxdigit(c)) {
            t->qp = QP_HEX;
            t->held[t->n_held++] = c;
        } else {
            qp_give_up(t, c, out);
        }
        return;
    case QP_HEX:
        if (!g_ascii_isxdigit(c)) {
            qp_give_up(t, c, out);
            return;
        }
        put(out,
            (guint8)(g_ascii_xdigit_value((char)t->held[1]) << 4 | g_ascii_xdigit_value((char)c)));
        t->qp = QP_TEXT;
        t->n_held = 0;
        return;
    case QP_SOFT_CR:
        t->qp = QP_TEXT;
        t->n_held = 0;
        if (c != '\n')
            qp_text(t, c, out);
        return;
    }
}

static void qp_feed(Transfer *t, const guint8 *in, gsize length, GByteArray *out)
{
    for (gsize i = 0; i < length;) {
        gsize run = i;
        while (run < length && in[run] > ' ' && in[run] != '=')
            run++;
        if (run > i && t->qp == QP_TEXT) {
            qp_release(t, out);
            g_byte_array_append(out, in + i, (guint)(run - i));
            i = run;
            continue;
        }
        qp_byte(t, in[i++], out);
    }
}

static void qp_finish(Transfer *t, GByteArray *out)
{
    /* A '=' that ends the text is a soft break, a half of a code is text. */
    if (t->qp == QP_HEX)
        qp_release(t, out);
    t->qp = QP_TEXT;
    t->n_held = 0;
}

/* --- uuencode (POSIX uuencode) --- */

static void uu_line(Transfer *t, GByteArray *out)
{
    const guint8 *line = t->line;
    guint n = t->n_line;
    if (!t->inside) {
        t->inside = n > 6 && memcmp(line, "begin ", 6) == 0;
        t->begun = t->begun || t->inside;
        return;
    }
    while (n > 0 && line[n - 1] == '\r')
        n--;
    if (n == 0)
        return;
    if (n == 3 && memcmp(line, "end", 3) == 0) {
        t->inside = false;
        return;
    }
    guint count = (line[0] - ' ') & 077;
    guint bits = 0, have = 0;
    /* Spaces at the end of a line get lost: what is missing is read as spaces, as all decoders do,
     * but a line that is mostly missing is no line of data. */
    if (line[0] < ' ' || line[0] > '`' || (n - 1) * 3 / 4 + 3 < count)
        return;
    for (guint i = 1; count > 0; i++) {
        guint8 c = i < n ? line[i] : ' ';
        bits = bits << 6 | ((c - ' ') & 077u);
        have += 6;
        if (have < 8)
            continue;
        have -= 8;
        put(out, (guint8)(bits >> have));
        count--;
    }
}

static void lines_feed(Transfer *t, const guint8 *in, gsize length, GByteArray *out)
{
    for (gsize i = 0; i < length; i++) {
        if (in[i] == '\n') {
            uu_line(t, out);
            t->n_line = 0;
        } else if (t->n_line < LINE_MAX_KEPT) {
            t->line[t->n_line++] = in[i];
        }
    }
}

/* --- yEnc (draft 1.3) --- */

static void yenc_control(Transfer *t)
{
    if (t->n_line >= 7 && memcmp(t->line, "=ybegin", 7) == 0)
        t->inside = t->begun = true;
    else if (t->n_line >= 5 && memcmp(t->line, "=yend", 5) == 0)
        t->inside = false;
}

/* line: the first bytes of a control line, or of any line outside the data. n_line is 0 at the
 * start of a line; `escaped` is after '='. */
static void yenc_feed(Transfer *t, const guint8 *in, gsize length, GByteArray *out)
{
    for (gsize i = 0; i < length; i++) {
        guint8 c = in[i];
        bool control = !t->inside || (t->n_line >= 2 && t->line[0] == '=' && t->line[1] == 'y');
        if (c == '\n') {
            if (control)
                yenc_control(t);
            t->n_line = 0;
            t->escaped = false;
            continue;
        }
        if (t->n_line < LINE_MAX_KEPT)
            t->line[t->n_line++] = c;
        if (control || c == '\r')
            continue;
        if (t->escaped) {
            t->escaped = false;
            if (c == 'y' && t->n_line == 2)
                continue; /* "=y" begins a control line */
            put(out, (guint8)(c - 64 - 42));
        } else if (c == '=') {
            t->escaped = true;
        } else {
            put(out, (guint8)(c - 42));
        }
    }
}

/* --- all --- */

static void feed_kind(Transfer *t, const guint8 *in, gsize length, GByteArray *out)
{
    switch (t->kind) {
    case TRANSFER_IDENTITY:
        g_byte_array_append(out, in, (guint)length);
        return;
    case TRANSFER_BASE64:
        base64_feed(t, in, length, out);
        return;
    case TRANSFER_QP:
        qp_feed(t, in, length, out);
        return;
    case TRANSFER_UUENCODE:
        lines_feed(t, in, length, out);
        return;
    case TRANSFER_YENC:
        yenc_feed(t, in, length, out);
        return;
    }
}

/* It does not begin: the encoding is not what it is said to be. */
static void give_unclear(Transfer *t, GByteArray *out)
{
    t->kind = TRANSFER_IDENTITY;
    g_byte_array_append(out, t->unclear->data, t->unclear->len);
    g_clear_pointer(&t->unclear, g_byte_array_unref);
}

static void feed_chunk(Transfer *t, const guint8 *in, gsize length, GByteArray *out)
{
    if (t->unclear) {
        gsize n = MIN(length, BEGIN_WITHIN - t->unclear->len);
        g_byte_array_append(t->unclear, in, (guint)n);
        feed_kind(t, in, n, out);
        in += n;
        length -= n;
        if (t->begun)
            g_clear_pointer(&t->unclear, g_byte_array_unref);
        else if (t->unclear->len == BEGIN_WITHIN)
            give_unclear(t, out);
    }
    feed_kind(t, in, length, out);
}

void transfer_feed(Transfer *transfer, const void *bytes, gsize length, GByteArray *out)
{
    const guint8 *p = bytes;
    while (length > 0) { /* GByteArray counts in 32 bits */
        gsize chunk = MIN(length, (gsize)1 << 20);
        feed_chunk(transfer, p, chunk, out);
        p += chunk;
        length -= chunk;
    }
}

void transfer_finish(Transfer *transfer, GByteArray *out)
{
    if (transfer->kind == TRANSFER_BASE64)
        base64_finish(transfer, out);
    else if (transfer->kind == TRANSFER_QP)
        qp_finish(transfer, out);
    else if (transfer->kind == TRANSFER_UUENCODE && transfer->n_line > 0)
        uu_line(transfer, out);
    if (transfer->unclear && !transfer->begun)
        give_unclear(transfer, out);
    transfer->n_line = 0;
}
