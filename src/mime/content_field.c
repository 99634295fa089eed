/* content_field.c - Content-Type and its like (RFC 2045 5.1), as they are really sent.
 *
 * The rule: a field that cannot be understood leaves the default, and a parameter that cannot be
 * understood leaves the others. */
#include "content_field.h"
#include <string.h>
#include "imapfs/base/limits.h"

#define MAX_PARAMS 1000

typedef struct {
    const char *p;
} Cursor;

static void skip_blanks(Cursor *cursor)
{
    guint depth = 0;
    for (; *cursor->p; cursor->p++) {
        char c = *cursor->p;
        if (c == '(')
            depth++;
        else if (c == ')' && depth > 0)
            depth--;
        else if (c == '\\' && depth > 0 && cursor->p[1])
            cursor->p++;
        else if (depth == 0 && !strchr(" \t\r\n", c))
            return;
    }
}

/* Characters up to one of `stops` (or a blank or comment), blanks and comments after it skipped.
 * Caller frees; lower case when asked. */
static char *take_token(Cursor *cursor, const char *stops, bool lower)
{
    skip_blanks(cursor);
    const char *start = cursor->p;
    while (*cursor->p && !strchr(stops, *cursor->p) && !strchr(" \t\r\n(", *cursor->p))
        cursor->p++;
    gsize n = (gsize)(cursor->p - start);
    skip_blanks(cursor);
    return lower ? g_ascii_strdown(start, (gssize)n) : g_strndup(start, n);
}

static char *take_quoted(Cursor *cursor)
{
    GString *out = g_string_new(NULL);
    for (cursor->p++; *cursor->p && *cursor->p != '"'; cursor->p++) {
        if (*cursor->p == '\\' && cursor->p[1])
            cursor->p++;
        g_string_append_c(out, *cursor->p);
    }
    if (*cursor->p)
        cursor->p++;
    return g_string_free(out, FALSE);
}

/* A value: quoted, or up to ';'. Blanks inside an unquoted one are kept (file names without
 * quotation marks), at its end not. */
static char *take_value(Cursor *cursor)
{
    skip_blanks(cursor);
    if (*cursor->p == '"')
        return take_quoted(cursor);
    gsize n = strcspn(cursor->p, ";");
    const char *comment = memchr(cursor->p, '(', n);
    char *value = g_strndup(cursor->p, comment && comment > cursor->p &&
                                               (comment[-1] == ' ' || comment[-1] == '\t')
                                           ? (gsize)(comment - cursor->p)
                                           : n);
    cursor->p += n;
    return g_strchomp(value);
}

static void param_clear(gpointer data)
{
    BodyParam *param = data;
    g_free(param->name);
    g_free(param->value);
}

/* ";name=value" as often as it comes. NULL when there is none. */
static GArray *take_params(Cursor *cursor)
{
    GArray *params = NULL;
    while (*cursor->p) {
        cursor->p += strcspn(cursor->p, ";");
        while (*cursor->p == ';') {
            cursor->p++;
            skip_blanks(cursor);
        }
        g_autofree char *name = take_token(cursor, "=;", true);
        if (*cursor->p != '=' || !*name)
            continue;
        cursor->p++;
        BodyParam param = {.name = NULL, .value = take_value(cursor)};
        if (!params) {
            params = g_array_new(FALSE, FALSE, sizeof(BodyParam));
            g_array_set_clear_func(params, param_clear);
        }
        if (params->len >= MAX_PARAMS) {
            g_free(param.value);
            break;
        }
        param.name = g_steal_pointer(&name);
        g_array_append_val(params, param);
    }
    return params;
}

static bool is_type_token(const char *text)
{
    for (const char *p = text; *p; p++) {
        if ((guchar)*p <= ' ' || (guchar)*p >= 0x7f || strchr("()<>@,;:\\\"/[]?=", *p))
            return false;
    }
    return *text != '\0';
}

static void set_content_type(BodyPart *part, const char *value)
{
    Cursor cursor = {value};
    g_autofree char *type = take_token(&cursor, "/;", true);
    if (*cursor.p != '/')
        return;
    cursor.p++;
    g_autofree char *subtype = take_token(&cursor, ";", true);
    if (!is_type_token(type) || !is_type_token(subtype))
        return;
    part->type = g_steal_pointer(&type);
    part->subtype = g_steal_pointer(&subtype);
    part->params = take_params(&cursor);
}

static void set_disposition(BodyPart *part, const char *value)
{
    Cursor cursor = {value};
    g_autofree char *disposition = take_token(&cursor, ";=", true);
    if (*cursor.p == '=') { /* "filename=x" without a kind */
        g_free(disposition);
        disposition = g_strdup("attachment");
        g_autofree char *whole = g_strconcat(";", value, NULL);
        Cursor again = {whole};
        part->disposition_params = take_params(&again);
    } else {
        part->disposition_params = take_params(&cursor);
    }
    if (*disposition)
        part->disposition = g_steal_pointer(&disposition);
}

static void set_encoding(BodyPart *part, const char *value)
{
    Cursor cursor = {value};
    g_autofree char *encoding = take_token(&cursor, ";", true);
    if (*encoding)
        part->encoding = g_steal_pointer(&encoding);
}

static void set_text(char **field, const char *value)
{
    if (*value)
        *field = g_strdup(value);
}

void content_part_field(BodyPart *part, const HeaderField *field)
{
    if (field->name_length < 8 || g_ascii_strncasecmp(field->name, "Content-", 8) != 0)
        return;
    g_autofree char *value = header_field_value(field);
    if (!part->type && header_field_is(field, "Content-Type"))
        set_content_type(part, value);
    else if (!part->disposition && header_field_is(field, "Content-Disposition"))
        set_disposition(part, value);
    else if (!part->encoding && header_field_is(field, "Content-Transfer-Encoding"))
        set_encoding(part, value);
    else if (!part->id && header_field_is(field, "Content-ID"))
        set_text(&part->id, value);
    else if (!part->description && header_field_is(field, "Content-Description"))
        set_text(&part->description, value);
    else if (!part->md5 && header_field_is(field, "Content-MD5"))
        set_text(&part->md5, value);
    else if (!part->location && header_field_is(field, "Content-Location"))
        set_text(&part->location, value);
}

void content_part_finish(BodyPart *part, bool in_digest)
{
    if (!part->type) {
        part->type = g_strdup(in_digest ? "message" : "text");
        part->subtype = g_strdup(in_digest ? "rfc822" : "plain");
    }
    if (!part->encoding)
        part->encoding = g_strdup("7bit");
}
