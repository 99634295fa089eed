/* bodystructure.c - BODYSTRUCTURE (RFC 9051 7.5.2 "body"), read into a tree of BodyPart.
 *
 * The rule: section numbers must be right (RFC 9051 6.4.5.1) even where the rest is junk, so every
 * parenthesised part counts, also one that says nothing.
 *
 * Tolerated by name:
 *   "missing fields"      the list may close anywhere; what is missing is NIL
 *   "empty part"          () counts as a part without content
 *   "NIL type"            and "" (Dovecot for a broken Content-Type): application/octet-stream
 *   "subtype missing"     ("TEXT" ("CHARSET" ..) ..), ("AUDIO" NIL NIL NIL "base64" 356)
 *   "type missing"        ("X-ZIP" (..) ..): application/x-zip
 *   "subtype as type"     ("RELATED" NIL ("ATTACHMENT" NIL) NIL), Gmail for a multipart in which
 *                         it lost its way: a multipart without parts
 *   "multipart as single" ("multipart" "mixed" (..) NIL NIL "7bit" 400 ..)
 *   "empty multipart"     (NIL "mixed" (..) ..)
 *   "lines missing"       in text; "lines in any type"
 *   "message without envelope" message/rfc822 as a plain part (Exchange)
 *   "NIL parameter"       ("boundary" NIL) is dropped (mail.ru)
 *   "bare disposition"    "attachment" without its list
 *   "swapped disposition" standing where the language belongs */
#include "structure.h"
#include <string.h>
#include "imapfs/base/error.h"
#include "imapfs/base/limits.h"

#define PARAMS_MAX 1000 /* of one list; more are dropped */

typedef struct {
    Lexer *lex;
    guint depth, parts;
} Builder;

static BodyPart *read_part(Builder *build, BodyPart *parent, char *section);

static void param_clear(gpointer data)
{
    BodyParam *param = data;
    g_free(param->name);
    g_free(param->value);
}

static char *ascii_lower(char *text)
{
    for (char *p = text; p != NULL && *p != '\0'; p++)
        *p = g_ascii_tolower(*p);
    return text;
}

static char *lower_or(char *text, const char *otherwise)
{
    if (text != NULL && text[0] != '\0')
        return ascii_lower(text);
    g_free(text);
    return g_strdup(otherwise);
}

/* Behind the "(" of a parameter list. */
static bool read_param_pairs(Lexer *lex, GArray *params)
{
    while (!lexer_closes(lex, ')')) {
        BodyParam param = {0};
        bool ok = lexer_nstring(lex, &param.name);
        lexer_skip_spaces(lex);
        if (ok && lexer_peek(lex) != ')')
            ok = lexer_nstring(lex, &param.value);
        if (ok && param.name != NULL && param.value != NULL && params->len < PARAMS_MAX) {
            ascii_lower(param.name);
            g_array_append_val(params, param);
        } else {
            param_clear(&param);
        }
        if (!ok)
            return false;
    }
    return true;
}

static bool read_params(Lexer *lex, GArray **out)
{
    lexer_skip_spaces(lex);
    if (lexer_peek(lex) == ')')
        return true;
    if (!lexer_take(lex, '('))
        return lexer_skip_value(lex);
    GArray *params = g_array_new(FALSE, FALSE, sizeof(BodyParam));
    g_array_set_clear_func(params, param_clear);
    bool ok = read_param_pairs(lex, params);
    if (ok && params->len > 0 && *out == NULL)
        *out = params;
    else
        g_array_unref(params);
    return ok;
}

static bool read_string(Lexer *lex, char **out)
{
    lexer_skip_spaces(lex);
    return lexer_peek(lex) == ')' || lexer_nstring(lex, out);
}

static bool read_number(Lexer *lex, guint64 *out)
{
    LexNumber number;
    lexer_skip_spaces(lex);
    if (lexer_peek(lex) == ')')
        return true;
    if (lexer_peek(lex) == '(')
        return lexer_skip_value(lex);
    if (!lexer_number(lex, &number))
        return false;
    *out = number.known ? number.value : 0;
    return true;
}

static bool number_is_next(Lexer *lex)
{
    lexer_skip_spaces(lex);
    int c = lexer_peek(lex);
    return g_ascii_isdigit(c) || c == '-';
}

static bool read_disposition(Lexer *lex, BodyPart *part)
{
    lexer_skip_spaces(lex);
    if (!lexer_take(lex, '(')) {
        char *bare = NULL;
        bool ok = read_string(lex, &bare);
        if (bare != NULL && bare[0] != '\0' && strpbrk(bare, " \t\r\n") == NULL)
            part->disposition = ascii_lower(bare);
        else
            g_free(bare);
        return ok;
    }
    if (!read_string(lex, &part->disposition) || !read_params(lex, &part->disposition_params))
        return false;
    ascii_lower(part->disposition);
    return lexer_skip_rest(lex);
}

static void add_language(BodyPart *part, char *language)
{
    if (language == NULL)
        return;
    if (part->languages == NULL)
        part->languages = g_ptr_array_new_with_free_func(g_free);
    g_ptr_array_add(part->languages, language);
}

static bool is_disposition(const char *word)
{
    return word != NULL &&
           (g_ascii_strcasecmp(word, "inline") == 0 || g_ascii_strcasecmp(word, "attachment") == 0);
}

/* Whether the value that comes next reads ("inline" ..) or ("attachment" ..) or is that word. */
static bool disposition_is_next(const Lexer *lex)
{
    Lexer ahead = *lex;
    g_autofree char *word = NULL;
    lexer_closes(&ahead, '(');
    return read_string(&ahead, &word) && is_disposition(word);
}

static bool read_languages(Lexer *lex, BodyPart *part)
{
    bool swapped = part->disposition == NULL && part->disposition_params == NULL;
    if (swapped && disposition_is_next(lex))
        return read_disposition(lex, part);
    lexer_skip_spaces(lex);
    if (!lexer_take(lex, '(')) {
        char *language = NULL;
        bool ok = read_string(lex, &language);
        add_language(part, language);
        return ok;
    }
    while (!lexer_closes(lex, ')')) {
        char *language = NULL;
        if (!lexer_nstring(lex, &language))
            return false;
        /* NIL and lists are no languages; not first, so that printing reads back the same. */
        if (swapped && part->languages == NULL && is_disposition(language))
            g_clear_pointer(&language, g_free);
        add_language(part, language);
    }
    return true;
}

/* body-ext-*: disposition, language, location, then whatever comes. Takes the part's ")". */
static bool read_extension(Lexer *lex, BodyPart *part)
{
    return read_disposition(lex, part) && read_languages(lex, part) &&
           read_string(lex, &part->location) && lexer_skip_rest(lex);
}

static bool is_multipart_subtype(const char *word)
{
    static const char *const names[] = {"mixed",  "alternative", "related",
                                        "digest", "signed",      "encrypted",
                                        "report", "parallel",    "form-data"};
    for (guint i = 0; word != NULL && i < G_N_ELEMENTS(names); i++)
        if (g_ascii_strcasecmp(word, names[i]) == 0)
            return true;
    return false;
}

static bool is_top_level_type(const char *word)
{
    static const char *const names[] = {"text",  "image",   "audio", "video",    "application",
                                        "model", "message", "font",  "multipart"};
    for (guint i = 0; i < G_N_ELEMENTS(names); i++)
        if (strcmp(word, names[i]) == 0)
            return true;
    return false;
}

/* ("AUDIO" NIL NIL NIL "base64" 356): the octets stand one place too early. */
static bool subtype_is_missing(const Lexer *lex)
{
    Lexer ahead = *lex;
    lexer_skip_spaces(&ahead);
    if (lexer_peek(&ahead) == '(')
        return true;
    if (!lexer_take_nil(&ahead))
        return false;
    for (guint i = 0; i < 3; i++) {
        lexer_skip_spaces(&ahead);
        if (lexer_peek(&ahead) == ')' || !lexer_skip_value(&ahead))
            return false;
    }
    return number_is_next(&ahead);
}

static void settle_type(BodyPart *part, char *type, char *subtype)
{
    bool no_type = type == NULL || type[0] == '\0';
    bool no_subtype = subtype == NULL || subtype[0] == '\0';
    bool multipart =
        (no_subtype && is_multipart_subtype(type)) || (no_type && is_multipart_subtype(subtype));
    if (multipart) {
        part->type = g_strdup("multipart");
        part->subtype = g_ascii_strdown(no_subtype ? type : subtype, -1);
    } else if (no_subtype && !no_type && !is_top_level_type(ascii_lower(type))) {
        part->type = g_strdup("application");
        part->subtype = g_steal_pointer(&type);
    } else {
        part->type = lower_or(g_steal_pointer(&type), "application");
        part->subtype = lower_or(g_steal_pointer(&subtype),
                                 strcmp(part->type, "text") == 0    ? "plain"
                                 : strcmp(part->type, "audio") == 0 ? "basic"
                                                                    : "octet-stream");
    }
    g_free(type);
    g_free(subtype);
}

static bool read_type(Lexer *lex, BodyPart *part)
{
    char *type = NULL, *subtype = NULL;
    if (!read_string(lex, &type) || (!subtype_is_missing(lex) && !read_string(lex, &subtype))) {
        g_free(type);
        g_free(subtype);
        return false;
    }
    settle_type(part, type, subtype);
    return true;
}

static void add_child(BodyPart *part, BodyPart *child)
{
    if (part->children == NULL)
        part->children = g_ptr_array_new_with_free_func((GDestroyNotify)body_part_free);
    g_ptr_array_add(part->children, child);
}

static bool nil_or_list_is_next(Lexer *lex)
{
    lexer_skip_spaces(lex);
    return lexer_peek(lex) == '(' || lexer_take_nil(lex);
}

/* Envelope, body, lines follow, rather than md5, disposition, ... of a plain part: the body is a
 * list, or the lines are there. "NIL NIL (..)" is md5, language or location. */
static bool message_is_next(const Lexer *lex)
{
    Lexer ahead = *lex;
    lexer_skip_spaces(&ahead);
    if (lexer_peek(&ahead) == '(')
        return true;
    if (!lexer_take_nil(&ahead) || !nil_or_list_is_next(&ahead))
        return false;
    if (lexer_peek(&ahead) == '(' && !lexer_skip_value(&ahead))
        return false;
    return number_is_next(&ahead);
}

/* "(" or "NIL" or "()" for the body of a message/rfc822. */
static bool read_message_body(Builder *build, BodyPart *part)
{
    Lexer *lex = build->lex, ahead;
    lexer_skip_spaces(lex);
    if (lexer_peek(lex) != '(')
        return lexer_peek(lex) == ')' || number_is_next(lex) || lexer_skip_value(lex);
    ahead = *lex;
    lexer_take(&ahead, '(');
    if (lexer_closes(&ahead, ')')) {
        *lex = ahead;
        return true;
    }
    bool multipart = lexer_peek(&ahead) == '(';
    char *section = multipart ? g_strdup(part->section) : g_strconcat(part->section, ".1", NULL);
    BodyPart *child = read_part(build, part, section);
    if (child == NULL)
        return false;
    add_child(part, child);
    return true;
}

static bool read_message(Builder *build, BodyPart *part)
{
    Lexer *lex = build->lex;
    lexer_skip_spaces(lex);
    if (!lexer_take_nil(lex) && (part->envelope = envelope_read(lex)) == NULL)
        return false;
    return read_message_body(build, part);
}

/* Behind "(", at the type. */
static bool read_single(Builder *build, BodyPart *part)
{
    Lexer *lex = build->lex;
    if (!read_type(lex, part) || !read_params(lex, &part->params) || !read_string(lex, &part->id) ||
        !read_string(lex, &part->description) || !read_string(lex, &part->encoding) ||
        !read_number(lex, &part->size))
        return false;
    part->encoding = lower_or(part->encoding, "7bit");
    if (body_part_is(part, "multipart", NULL))
        part->size = 0;
    bool message =
        body_part_is(part, "message", "rfc822") || body_part_is(part, "message", "global");
    if (message && message_is_next(lex) && !read_message(build, part))
        return false;
    if (number_is_next(lex) && !read_number(lex, &part->lines))
        return false;
    return read_string(lex, &part->md5) && read_extension(lex, part);
}

/* Behind "(", at the "(" of the first child. */
static bool read_multipart(Builder *build, BodyPart *part)
{
    Lexer *lex = build->lex;
    part->type = g_strdup("multipart");
    part->encoding = g_strdup("7bit");
    for (guint n = 1; lexer_skip_spaces(lex), lexer_peek(lex) == '('; n++) {
        char *section = part->section[0] == '\0' ? g_strdup_printf("%u", n)
                                                 : g_strdup_printf("%s.%u", part->section, n);
        BodyPart *child = read_part(build, part, section);
        if (child == NULL)
            return false;
        add_child(part, child);
    }
    if (!read_string(lex, &part->subtype) || !read_params(lex, &part->params))
        return false;
    part->subtype = lower_or(part->subtype, "mixed");
    return read_extension(lex, part);
}

/* At "("; consumes section. A part that fails is freed by whoever made it. */
static BodyPart *read_part(Builder *build, BodyPart *parent, char *section)
{
    Lexer *lex = build->lex;
    g_autoptr(BodyPart) part = g_new0(BodyPart, 1);
    part->section = section;
    part->parent = parent;
    if (build->depth >= LIMIT_NESTING) {
        lexer_fail(lex, "parts are nested too deep");
        return NULL;
    }
    if (++build->parts > LIMIT_PARTS) {
        lexer_fail(lex, "too many parts");
        return NULL;
    }
    if (!lexer_expect(lex, '('))
        return NULL;
    lexer_skip_spaces(lex);
    build->depth++;
    bool ok = lexer_peek(lex) == '(' ? read_multipart(build, part) : read_single(build, part);
    build->depth--;
    return ok ? g_steal_pointer(&part) : NULL;
}

BodyPart *bodystructure_read(Lexer *lex)
{
    Builder build = {.lex = lex};
    Lexer ahead = *lex;
    bool multipart = false;
    if (lexer_closes(&ahead, '('))
        multipart = lexer_closes(&ahead, '(');
    return read_part(&build, NULL, g_strdup(multipart ? "" : "1"));
}

BodyPart *bodystructure_parse(const char *text, gsize length, GError **error)
{
    Lexer lex;
    lexer_init(&lex, text, length);
    BodyPart *part = bodystructure_read(&lex);
    if (part == NULL)
        g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_DATA, "BODYSTRUCTURE: %s", lex.problem);
    return part;
}
