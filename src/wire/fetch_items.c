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

bool fetch_is_begun(const char *text, gsize length)
{
    Lexer lex;
    const char *at;
    gsize word;
    guint64 number;
    lexer_init(&lex, text, length);
    lexer_take(&lex, '*');
    lexer_skip_spaces(&lex);
    if (!lexer_atom(&lex, "", &at, &word) || !lex_parse_number(at, word, G_MAXUINT32, &number))
        return false;
    lexer_skip_spaces(&lex);
    return lexer_atom(&lex, "", &at, &word) && lex_is(at, word, "FETCH") && lexer_expect(&lex, '(');
}
