/* body_part.c - a part of a BODYSTRUCTURE as data: freeing it, asking it, printing it.
 *
 * The rule: what body_part_print writes, bodystructure_parse reads back to an equal tree; it is
 * what the store keeps. */
#include "structure.h"
#include <string.h>

void body_part_free(BodyPart *part)
{
    if (part == NULL)
        return;
    if (part->children != NULL)
        g_ptr_array_unref(part->children);
    if (part->params != NULL)
        g_array_unref(part->params);
    if (part->disposition_params != NULL)
        g_array_unref(part->disposition_params);
    if (part->languages != NULL)
        g_ptr_array_unref(part->languages);
    envelope_free(part->envelope);
    char *strings[] = {part->section, part->type,        part->subtype,
                       part->id,      part->description, part->encoding,
                       part->md5,     part->disposition, part->location};
    for (guint i = 0; i < G_N_ELEMENTS(strings); i++)
        g_free(strings[i]);
    g_free(part);
}

static const char *find_param(const GArray *params, const char *name)
{
    for (guint i = 0; params != NULL && i < params->len; i++) {
        const BodyParam *param = &g_array_index(params, BodyParam, i);
        if (g_ascii_strcasecmp(param->name, name) == 0)
            return param->value;
    }
    return NULL;
}

const char *body_part_param(const BodyPart *part, const char *name)
{
    return find_param(part->params, name);
}

const char *body_part_disposition_param(const BodyPart *part, const char *name)
{
    return find_param(part->disposition_params, name);
}

bool body_part_is(const BodyPart *part, const char *type, const char *subtype)
{
    return g_ascii_strcasecmp(part->type, type) == 0 &&
           (subtype == NULL || g_ascii_strcasecmp(part->subtype, subtype) == 0);
}

static void print_params(GString *out, const GArray *params)
{
    if (params == NULL || params->len == 0) {
        g_string_append(out, " NIL");
        return;
    }
    for (guint i = 0; i < params->len; i++) {
        const BodyParam *param = &g_array_index(params, BodyParam, i);
        g_string_append(out, i == 0 ? " (" : " ");
        print_nstring(out, param->name);
        g_string_append_c(out, ' ');
        print_nstring(out, param->value);
    }
    g_string_append_c(out, ')');
}

static void print_field(GString *out, const char *text)
{
    g_string_append_c(out, ' ');
    print_nstring(out, text);
}

static void print_extension(GString *out, const BodyPart *part)
{
    if (part->disposition == NULL && part->disposition_params == NULL) {
        g_string_append(out, " NIL");
    } else {
        g_string_append(out, " (");
        print_nstring(out, part->disposition);
        print_params(out, part->disposition_params);
        g_string_append_c(out, ')');
    }
    if (part->languages == NULL) {
        g_string_append(out, " NIL");
    } else {
        g_string_append(out, " (");
        for (guint i = 0; i < part->languages->len; i++) {
            if (i > 0)
                g_string_append_c(out, ' ');
            print_nstring(out, g_ptr_array_index(part->languages, i));
        }
        g_string_append_c(out, ')');
    }
    print_field(out, part->location);
}

static void print_embedded(GString *out, const BodyPart *part)
{
    g_string_append_c(out, ' ');
    if (part->envelope != NULL)
        envelope_print(part->envelope, out);
    else
        g_string_append(out, "NIL");
    g_string_append_c(out, ' ');
    if (part->children != NULL)
        bodystructure_print(g_ptr_array_index(part->children, 0), out);
    else
        g_string_append(out, "NIL");
}

static void print_single(GString *out, const BodyPart *part)
{
    print_nstring(out, part->type);
    print_field(out, part->subtype);
    print_params(out, part->params);
    print_field(out, part->id);
    print_field(out, part->description);
    print_field(out, part->encoding);
    g_string_append_printf(out, " %" G_GUINT64_FORMAT, part->size);
    bool embedded = part->envelope != NULL || part->children != NULL;
    if (embedded)
        print_embedded(out, part);
    if (embedded || part->lines > 0 || strcmp(part->type, "text") == 0)
        g_string_append_printf(out, " %" G_GUINT64_FORMAT, part->lines);
    print_field(out, part->md5);
    print_extension(out, part);
}

void bodystructure_print(const BodyPart *part, GString *out)
{
    g_string_append_c(out, '(');
    if (strcmp(part->type, "multipart") == 0 && part->children != NULL) {
        for (guint i = 0; i < part->children->len; i++)
            bodystructure_print(g_ptr_array_index(part->children, i), out);
        print_field(out, part->subtype);
        print_params(out, part->params);
        print_extension(out, part);
    } else {
        print_single(out, part);
    }
    g_string_append_c(out, ')');
}
