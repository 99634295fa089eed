/* lexer.c - tokens of one whole response (RFC 9051 9, and what servers make of it).
 *
 * The rule: never look at `at` without comparing it with `end`, and always advance or fail. */
#include "lexer.h"
#include <math.h>
#include <string.h>
#include "imapfs/base/limits.h"

/* How far a closing quote is looked for after one that closes nothing; keeps it linear. */
#define STRAY_QUOTE_REACH 1024

void lexer_init(Lexer *lex, const char *text, gsize length)
{
    *lex = (Lexer){.at = text, .end = text + length};
}

bool lexer_fail(Lexer *lex, const char *problem)
{
    if (lex->problem == NULL)
        lex->problem = problem;
    return false;
}

void lexer_skip_spaces(Lexer *lex)
{
    while (lex->at < lex->end && (*lex->at == ' ' || *lex->at == '\t'))
        lex->at++;
}

bool lexer_at_end(const Lexer *lex)
{
    return lex->at >= lex->end;
}

int lexer_peek(const Lexer *lex)
{
    return lex->at < lex->end ? (guchar)*lex->at : -1;
}

bool lexer_take(Lexer *lex, char c)
{
    if (lex->at >= lex->end || *lex->at != c)
        return false;
    lex->at++;
    return true;
}

bool lexer_expect(Lexer *lex, char c)
{
    lexer_skip_spaces(lex);
    if (lexer_take(lex, c))
        return true;
    return lexer_fail(lex, c == '(' ? "a list is missing" : "a list is not closed");
}

bool lexer_closes(Lexer *lex, char end)
{
    lexer_skip_spaces(lex);
    return lexer_take(lex, end);
}

static bool ends_atom(char c)
{
    switch (c) {
    case ' ':
    case '\t':
    case '(':
    case ')':
    case '"':
    case '\r':
    case '\n':
        return true;
    default:
        return false;
    }
}

bool lexer_atom(Lexer *lex, const char *stops, const char **at_out, gsize *length_out)
{
    const char *p = lex->at;
    while (p < lex->end && !ends_atom(*p) && (*p == '\0' || strchr(stops, *p) == NULL))
        p++;
    if (p == lex->at)
        return lexer_fail(lex, "a word is missing");
    *at_out = lex->at;
    *length_out = p - lex->at;
    lex->at = p;
    return true;
}

bool lexer_take_nil(Lexer *lex)
{
    if (lex->end - lex->at < 3 || g_ascii_strncasecmp(lex->at, "NIL", 3) != 0)
        return false;
    if (lex->end - lex->at > 3 && !ends_atom(lex->at[3]))
        return false;
    lex->at += 3;
    return true;
}

static bool may_follow_quote(const char *p, const char *end)
{
    return p >= end || (*p != '"' && (ends_atom(*p) || *p == ']'));
}

/* The closing quote of a string whose text begins at p; NULL when the line ends first.
 * Tolerance "stray quotes": a quote that something else than a separator follows does not close
 * the string when a better one stands near (MailKit: badly quoted BODYSTRUCTURE, Message-ID). */
static const char *find_closing_quote(const char *p, const char *end, bool *escaped)
{
    const char *first = NULL;
    bool first_escaped = false, seen_escape = false;
    for (; p < end && *p != '\n'; p++) {
        if (first != NULL && p - first > STRAY_QUOTE_REACH)
            break;
        if (*p == '\\' && p + 1 < end && (p[1] == '"' || p[1] == '\\')) {
            seen_escape = true;
            p++;
        } else if (*p == '"') {
            if (may_follow_quote(p + 1, end)) {
                *escaped = seen_escape;
                return p;
            }
            if (first == NULL) {
                first = p;
                first_escaped = seen_escape;
            }
        }
    }
    *escaped = first_escaped;
    return first;
}

static bool quoted(Lexer *lex, LexString *out)
{
    bool escaped = false;
    const char *close = find_closing_quote(lex->at + 1, lex->end, &escaped);
    if (close == NULL)
        return lexer_fail(lex, "a quoted string is not closed");
    *out = (LexString){.at = lex->at + 1, .length = close - lex->at - 1, .escaped = escaped};
    lex->at = close + 1;
    return true;
}

static bool literal(Lexer *lex, LexString *out)
{
    const char *newline = memchr(lex->at, '\n', MIN(lex->end - lex->at, 64));
    guint64 size = 0;
    gsize begin = 0;
    if (newline == NULL ||
        lex_literal_at_line_end(lex->at, newline + 1 - lex->at, &size, &begin) != LITERAL_HERE ||
        begin != 0)
        return lexer_fail(lex, "a malformed literal");
    lex->at = newline + 1;
    if (size > (guint64)(lex->end - lex->at))
        return lexer_fail(lex, "a literal is longer than the response");
    *out = (LexString){.at = lex->at, .length = size};
    lex->at += size;
    return true;
}

static bool starts_literal(const Lexer *lex)
{
    int c = lexer_peek(lex);
    return c == '{' || (c == '~' && lex->end - lex->at > 1 && lex->at[1] == '{');
}

bool lexer_string(Lexer *lex, LexString *out)
{
    lexer_skip_spaces(lex);
    if (lexer_peek(lex) == '"')
        return quoted(lex, out);
    if (starts_literal(lex))
        return literal(lex, out);
    const char *at;
    gsize length;
    if (!lexer_atom(lex, "", &at, &length))
        return false;
    *out = (LexString){.at = at, .length = length, .atom = true, .nil = lex_is(at, length, "NIL")};
    return true;
}

char *lex_string_dup(const LexString *string)
{
    char *copy = g_malloc(string->length + 1), *to = copy;
    if (!string->escaped && memchr(string->at, '\0', string->length) == NULL) {
        memcpy(copy, string->at, string->length);
        copy[string->length] = '\0';
        return copy;
    }
    for (gsize i = 0; i < string->length; i++) {
        char c = string->at[i];
        /* Tolerance "lone backslash": before anything but a quote or a backslash it stays. */
        if (string->escaped && c == '\\' && i + 1 < string->length &&
            (string->at[i + 1] == '"' || string->at[i + 1] == '\\'))
            c = string->at[++i];
        if (c != '\0')
            *to++ = c;
    }
    *to = '\0';
    return copy;
}

bool lexer_nstring(Lexer *lex, char **out)
{
    *out = NULL;
    lexer_skip_spaces(lex);
    if (lexer_peek(lex) == '(')
        return lexer_skip_value(lex);
    LexString string;
    if (!lexer_string(lex, &string))
        return false;
    if (!string.nil)
        *out = lex_string_dup(&string);
    return true;
}

bool lex_is(const char *at, gsize length, const char *word)
{
    return strlen(word) == length && g_ascii_strncasecmp(at, word, length) == 0;
}

bool lex_parse_number(const char *at, gsize length, guint64 max, guint64 *value_out)
{
    guint64 value = 0;
    if (length == 0)
        return false;
    for (gsize i = 0; i < length; i++) {
        if (!g_ascii_isdigit(at[i]))
            return false;
        guint digit = at[i] - '0';
        if (value > (max - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *value_out = value;
    return true;
}

/* Tolerance "float number": mail.ru sends sizes as 9.3736e+06. */
static bool parse_float(const char *at, gsize length, LexNumber *out)
{
    char copy[64], *rest = NULL;
    if (length >= sizeof copy || !g_ascii_isdigit(at[0]))
        return false;
    for (gsize i = 0; i < length; i++)
        if (!g_ascii_isdigit(at[i]) && strchr(".eE+-", at[i]) == NULL)
            return false;
    memcpy(copy, at, length);
    copy[length] = '\0';
    double value = g_ascii_strtod(copy, &rest);
    if (*rest != '\0' || !isfinite(value) || value < 0 || value >= 9.2e18)
        return false;
    *out = (LexNumber){.value = (guint64)value, .known = true};
    return true;
}

bool lexer_number(Lexer *lex, LexNumber *out)
{
    LexString string;
    *out = (LexNumber){0};
    lexer_skip_spaces(lex);
    if (!lexer_string(lex, &string))
        return false;
    if (string.nil)
        return true;
    out->known = true;
    if (lex_parse_number(string.at, string.length, G_MAXINT64, &out->value))
        return true;
    guint64 magnitude;
    out->known = false;
    if (string.length > 1 && string.at[0] == '-' &&
        lex_parse_number(string.at + 1, string.length - 1, G_MAXUINT64, &magnitude))
        return true;
    if (string.length > 0 && parse_float(string.at, string.length, out))
        return true;
    return lexer_fail(lex, "not a number");
}

static bool skip_scalar(Lexer *lex)
{
    LexString string;
    return lexer_string(lex, &string);
}

/* Skips until `depth` open lists are closed; one value when depth is 0. */
static bool skip_balanced(Lexer *lex, guint depth)
{
    do {
        lexer_skip_spaces(lex);
        if (lexer_take(lex, '(')) {
            if (++depth > LIMIT_NESTING)
                return lexer_fail(lex, "nested too deep");
        } else if (depth > 0 && lexer_take(lex, ')')) {
            depth--;
        } else if (!skip_scalar(lex)) {
            return false;
        }
    } while (depth > 0);
    return true;
}

bool lexer_skip_value(Lexer *lex)
{
    return skip_balanced(lex, 0);
}

bool lexer_skip_rest(Lexer *lex)
{
    return skip_balanced(lex, 1);
}

LiteralMark lex_literal_at_line_end(const char *line, gsize length, guint64 *size_out,
                                    gsize *begin_out)
{
    gsize end = length;
    if (end == 0 || line[--end] != '\n')
        return LITERAL_NONE;
    if (end > 0 && line[end - 1] == '\r')
        end--;
    if (end < 3 || line[--end] != '}')
        return LITERAL_NONE;
    if (line[end - 1] == '+') /* non-synchronising, which a server may not send, but no harm */
        end--;
    gsize digits = end;
    while (digits > 0 && g_ascii_isdigit(line[digits - 1]))
        digits--;
    if (digits == end)
        return LITERAL_NONE;
    bool negative = digits > 0 && line[digits - 1] == '-';
    gsize begin = digits - (negative ? 1 : 0);
    if (begin == 0 || line[--begin] != '{')
        return LITERAL_NONE;
    if (begin > 0 && line[begin - 1] == '~')
        begin--;
    /* After a letter or digit it is the end of some word, such as an unquoted name. */
    if (begin > 0 && !ends_atom(line[begin - 1]) && strchr("]>", line[begin - 1]) == NULL)
        return LITERAL_NONE;
    *begin_out = begin;
    if (negative || !lex_parse_number(line + digits, end - digits, G_MAXINT64, size_out))
        return LITERAL_ABSURD;
    return LITERAL_HERE;
}
