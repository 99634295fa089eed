/* param.c - one readable value out of RFC 2231's pieces.
 *
 * The rule: a parameter that was cut in pieces or given twice has exactly one value, whatever the
 * order of the pieces, and nobody can make us look at more than LIMIT_RFC2231_PIECES of them. */
#include "imapfs/mime/param.h"
#include <string.h>
#include "imapfs/base/limits.h"
#include "imapfs/mime/charset.h"
#include "header.h"

typedef struct {
    const char *value;
    bool extended; /* percent-encoded */
} Piece;

/* charset'language'rest: the charset (caller frees) and where the rest starts. */
static char *split_charset(const char *value, const char **rest_out)
{
    const char *first = strchr(value, '\'');
    const char *second = first ? strchr(first + 1, '\'') : NULL;
    if (!second) {
        *rest_out = value;
        return NULL;
    }
    *rest_out = second + 1;
    return g_strndup(value, (gsize)(first - value));
}

static void append_percent_decoded(GByteArray *out, const char *text)
{
    for (const char *p = text; *p; p++) {
        guint8 byte = (guint8)*p;
        if (*p == '%' && g_ascii_isxdigit(p[1]) && g_ascii_isxdigit(p[2])) {
            byte = (guint8)(g_ascii_xdigit_value(p[1]) << 4 | g_ascii_xdigit_value(p[2]));
            p += 2;
        }
        g_byte_array_append(out, &byte, 1);
    }
}

/* Which piece of `name` a parameter is: -1 none, else its number ("name*" counts as 0). */
static int piece_number(const char *param, const char *name, bool *extended_out)
{
    gsize length = strlen(name);
    if (strncmp(param, name, length) != 0 || param[length] != '*')
        return -1;
    const char *p = param + length + 1;
    if (!*p) {
        *extended_out = true;
        return 0;
    }
    int number = 0, digits = 0;
    for (; g_ascii_isdigit(*p) && digits < 4; p++, digits++)
        number = number * 10 + (*p - '0');
    *extended_out = *p == '*';
    if (digits == 0 || (*p && strcmp(p, "*") != 0) || number >= LIMIT_RFC2231_PIECES)
        return -1;
    return number;
}

static char *join_pieces(const Piece *pieces, guint *words)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    g_autofree char *charset = NULL;
    for (guint i = 0; i < LIMIT_RFC2231_PIECES && pieces[i].value; i++) {
        const char *value = pieces[i].value;
        if (i == 0 && pieces[i].extended)
            charset = split_charset(value, &value);
        if (pieces[i].extended)
            append_percent_decoded(bytes, value);
        else
            g_byte_array_append(bytes, (const guint8 *)value, (guint)strlen(value));
    }
    if (charset)
        return charset_to_utf8(charset, bytes->data, bytes->len);
    g_byte_array_append(bytes, (const guint8 *)"", 1);
    return header_decode_text((const char *)bytes->data, words);
}

char *mime_param_text(const GArray *params, const char *name, guint *words)
{
    Piece pieces[LIMIT_RFC2231_PIECES] = {{0}};
    const char *plain = NULL;
    for (guint i = 0; params && i < params->len; i++) {
        const BodyParam *param = &g_array_index(params, BodyParam, i);
        if (!param->name || !param->value)
            continue;
        if (strcmp(param->name, name) == 0 && !plain)
            plain = param->value;
        bool extended = false;
        int number = piece_number(param->name, name, &extended);
        if (number >= 0 && !pieces[number].value)
            pieces[number] = (Piece){param->value, extended};
    }
    if (pieces[0].value)
        return join_pieces(pieces, words);
    return plain ? header_decode_text(plain, words) : NULL;
}

char *mime_part_filename(const BodyPart *part, guint *words)
{
    char *name = mime_param_text(part->disposition_params, "filename", words);
    if (name && *name)
        return name;
    char *other = mime_param_text(part->params, "name", words);
    if (!other)
        return name;
    g_free(name);
    return other;
}
