/* response_parse.h - one whole response to a Response; the nouns it is split by.
 *
 * Layer wire, private. */
#pragma once
#include "imapfs/wire/response.h"
#include "lexer.h"

/* frame: one response without its last line end, literals in line. Never fails: what makes no sense
 * is RESP_UNKNOWN, or FETCH with broken set. */
Response *response_parse(const char *frame, gsize length);

/* Whether a line that begins like this holds text for people, so that a "{5}" at its end is no
 * literal: tagged answers, "+", and untagged OK, NO, BAD, BYE, PREAUTH. */
bool response_is_text_line(const char *line, gsize length);

/* Words of a list as flags; takes the "(" and ")". Tolerances "nested flag list", "flag with
 * spaces" (becomes several), "quoted flag". */
bool flags_read(Lexer *lex, Flags *flags);
/* Words to the end, upper-cased when asked; at most LIMIT_CAPABILITIES. */
GPtrArray *words_read(Lexer *lex, bool upper);

/* After the name of the response. false: cannot be understood. */
bool list_read(Lexer *lex, Response *response);
bool status_read(Lexer *lex, Response *response);
bool namespace_read(Lexer *lex, Response *response);
bool fetch_read(Lexer *lex, Response *response); /* response->number is the sequence number */
/* "[CODE ...] text" */
void resp_text_read(Lexer *lex, Response *response);

void list_item_free(ListItem *item);
void status_item_free(StatusItem *item);
void fetch_data_free(FetchData *fetch);
