/* fetch_items.h - the name of a FETCH item with its section, for the parser; and how a FETCH
 * begins, for the reader, which must know before the response is whole.
 *
 * Layer wire, private. */
#pragma once
#include "lexer.h"

typedef struct {
    const char *at; /* the name without brackets, in the frame */
    gsize length;
    char *section; /* between the brackets, normalised; NULL without brackets */
    bool has_origin;
    guint64 origin;
} FetchName;

bool fetch_name_read(Lexer *lex, FetchName *name);
void fetch_name_clear(FetchName *name);

/* Whether text is the beginning of a FETCH response, with its list opened. */
bool fetch_is_begun(const char *text, gsize length);
