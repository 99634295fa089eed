/* lexer.h - tokens of one whole response.
 *
 * Layer wire, private. The bytes are complete, so nothing here waits. Every function either
 * advances or returns false with `problem` set (a constant string); reading past the end, a depth
 * over LIMIT_NESTING or a literal longer than what is there are problems like any other. */
#pragma once
#include <glib.h>
#include <stdbool.h>

typedef struct {
    const char *at, *end;
    const char *problem;
} Lexer;

/* Bytes inside the frame, before unescaping. */
typedef struct {
    const char *at;
    gsize length;
    bool escaped; /* holds backslashes that quote */
    bool nil;     /* the atom NIL */
    bool atom;    /* neither quoted nor literal */
} LexString;

/* What a number turned out to be. */
typedef struct {
    guint64 value;
    bool known; /* false for NIL and negative numbers */
} LexNumber;

void lexer_init(Lexer *lex, const char *text, gsize length);
bool lexer_fail(Lexer *lex, const char *problem); /* keeps the first; returns false */

void lexer_skip_spaces(Lexer *lex);
bool lexer_at_end(const Lexer *lex);
int lexer_peek(const Lexer *lex);        /* -1 at the end */
bool lexer_take(Lexer *lex, char c);     /* takes c if it is next */
bool lexer_take_nil(Lexer *lex);         /* takes the atom NIL if it is next */
bool lexer_expect(Lexer *lex, char c);   /* skips spaces, then takes c or fails */
bool lexer_closes(Lexer *lex, char end); /* skips spaces; takes end if it is next */

/* Bytes up to space, parenthesis, quote, CR or LF, and up to any of `stops`; fails when empty. */
bool lexer_atom(Lexer *lex, const char *stops, const char **at_out, gsize *length_out);
/* A quoted string, a literal, or (tolerance "string as atom") an atom. */
bool lexer_string(Lexer *lex, LexString *string_out);
/* A copy with escapes resolved and NUL dropped, never NULL. */
char *lex_string_dup(const LexString *string);

/* NIL or a string; *out is NULL for NIL. Tolerance "list as string": skipped, NULL. */
bool lexer_nstring(Lexer *lex, char **out);
/* Tolerances "float number", "negative number", "quoted number", NIL for a number. */
bool lexer_number(Lexer *lex, LexNumber *out);
/* Skips one value of any kind: list, string, literal or atom. */
bool lexer_skip_value(Lexer *lex);
/* Skips values up to and with the parenthesis that closes the present list. */
bool lexer_skip_rest(Lexer *lex);

bool lex_is(const char *at, gsize length, const char *word); /* without ASCII case */
/* Digits only, at least one, no more than max. */
bool lex_parse_number(const char *at, gsize length, guint64 max, guint64 *value_out);

/* Whether the line (ending in LF) ends in a literal's header. *size_out saturates;
 * *begin_out is where "{" or "~{" starts. */
typedef enum { LITERAL_NONE, LITERAL_HERE, LITERAL_ABSURD } LiteralMark;
LiteralMark lex_literal_at_line_end(const char *line, gsize length, guint64 *size_out,
                                    gsize *begin_out);
