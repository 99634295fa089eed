/* structure.h - ENVELOPE and BODYSTRUCTURE where they stand inside a response, and their printing.
 *
 * Layer wire, private. NULL with lex->problem set when broken beyond repair. */
#pragma once
#include "imapfs/wire/bodystructure.h"
#include "lexer.h"

Envelope *envelope_read(Lexer *lex);
BodyPart *bodystructure_read(Lexer *lex);

/* NIL, a quoted string, or a literal when a quoted string cannot hold it. */
void print_nstring(GString *out, const char *text);
