/* fetch_items.c - "BODY[HEADER.FIELDS (FROM)]<0>" and friends (RFC 9051 9 "msg-att-static").
 *
 * The rule: a section is compared with the one that was asked for, so there is one spelling of
 * it: upper case, single spaces, no quotes where an atom does. */
#include "fetch_items.h"
#include <string.h>

void fetch_name_clear(FetchName *name)
{
    g_clear_pointer(&name->section, g_free);
}

static bool is_plain_word(const LexString *word)
{
    for (gsize i = 0; i < word->length; i++)
        if (!g_ascii_isgraph(word->at[i]) || strchr("(){}%*\"\\[]", word->at[i]) != NULL)
            return false;
    return word->length > 0;
}

static void append_section_word(GString *section, const LexString *word)
{
    g_autofree char *text = lex_string_dup(word);
    g_autofree char *upper = g_ascii_strup(text, -1);
    if (section->len > 0 && section->str[section->len - 1] != '(')
        g_string_append_c(section, ' ');
    if (word->atom || is_plain_word(word))
        g_string_append(section, upper);
    else
        g_string_append_printf(section, "\"%s\"", upper);
}

/* Behind "["; takes the "]". */
static bool section_read(Lexer *lex, GString *section)
{
    for (;;) {
        LexString word = {.atom = true};
        lexer_skip_spaces(lex);
        int c = lexer_peek(lex);
        if (lexer_take(lex, ']'))
            return true;
        if (lexer_take(lex, '(')) {
            g_string_append(section, section->len > 0 ? " (" : "(");
        } else if (lexer_take(lex, ')')) {
            g_string_append_c(section, ')');
        } else if (c == '"' || c == '{') {
            if (!lexer_string(lex, &word))
                return false;
            append_section_word(section, &word);
        } else {
            if (!lexer_atom(lex, "]", &word.at, &word.length))
                return false;
            append_section_word(section, &word);
        }
    }
}

/* "<0>", or "<0.100>" as it was asked for. */
static bool origin_read(Lexer *lex, FetchName *name)
{
    if (!lexer_take(lex, '<'))
        return true;
    const char *close = memchr(lex->at, '>', MIN(lex->end - lex->at, 48));
    if (close == NULL)
        return lexer_fail(lex, "an origin is not closed");
    const char *dot = memchr(lex->at, '.', close - lex->at);
    gsize digits = (dot != NULL ? dot : close) - lex->at;
    if (!lex_parse_number(lex->at, digits, G_MAXINT64, &name->origin))
        return lexer_fail(lex, "an origin is not a number");
    name->has_origin = true;
    lex->at = close + 1;
    return true;
}

bool fetch_name_read(Lexer *lex, FetchName *name)
{
    *name = (FetchName){0};
    lexer_skip_spaces(lex);
    if (!g_ascii_isalpha(lexer_peek(lex)) || !lexer_atom(lex, "[{", &name->at, &name->length))
        return lexer_fail(lex, "an item has no name");
    if (!lexer_take(lex, '['))
        return true;
    g_autoptr(GString) section = g_string_new(NULL);
    if (!section_read(lex, section) || !origin_read(lex, name))
        return false;
    name->section = g_string_free(g_steal_pointer(&section), FALSE);
    return true;
}

bool fetch_name_is_body(const FetchName *name, bool *binary_out)
{
    *binary_out = lex_is(name->at, name->length, "BINARY");
    return name->section != NULL && (*binary_out || lex_is(name->at, name->length, "BODY"));
}

static bool open_list(FetchScan *scan, Lexer *lex)
{
    const char *at;
    gsize length;
    guint64 number;
    lexer_take(lex, '*');
    lexer_skip_spaces(lex);
    if (!lexer_atom(lex, "", &at, &length) || !lex_parse_number(at, length, G_MAXUINT32, &number))
        return false;
    lexer_skip_spaces(lex);
    if (!lexer_atom(lex, "", &at, &length) || !lex_is(at, length, "FETCH"))
        return false;
    if (!lexer_expect(lex, '('))
        return false;
    scan->resume = lex->at - lex->start;
    return true;
}

static bool pass_value(FetchScan *scan, Lexer *lex, const FetchName *name)
{
    LexNumber number;
    if (!lex_is(name->at, name->length, "UID"))
        return lexer_skip_value(lex);
    if (!lexer_number(lex, &number))
        return false;
    if (number.known && number.value <= G_MAXUINT32)
        scan->uid = (guint32)number.value;
    return true;
}

bool fetch_scan_literal(FetchScan *scan, const char *text, gsize length, GArray *sunk,
                        FetchName *name)
{
    Lexer lex;
    lexer_init(&lex, text, length);
    lex.sunk = sunk;
    if (scan->resume == 0 && !open_list(scan, &lex))
        return false;
    lex.at = lex.start + scan->resume;
    for (;;) {
        bool binary, found = false;
        bool named = fetch_name_read(&lex, name);
        lexer_skip_spaces(&lex);
        if (named && lexer_at_end(&lex))
            found = fetch_name_is_body(name, &binary);
        else if (named && pass_value(scan, &lex, name))
            scan->resume = lex.at - lex.start;
        else
            named = false;
        if (found)
            return true;
        bool stop = !named || lexer_at_end(&lex);
        fetch_name_clear(name);
        if (stop)
            return false;
    }
}
