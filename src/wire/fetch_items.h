/* fetch_items.h - the name of a FETCH item with its section, for the parser and for the reader
 * that must know which item a literal belongs to before the response is whole.
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
/* BODY[...] or BINARY[...], whose value is bytes. */
bool fetch_name_is_body(const FetchName *name, bool *binary_out);

/* What the reader knows of the FETCH response whose beginning it has. */
typedef struct {
    gsize resume; /* offset of the first item not yet passed; 0 before the list was opened */
    guint32 uid;
} FetchScan;

/* text ends where a literal's header begins. Whether that literal is the value of a body item of
 * the FETCH list itself; then *name is that item (clear it). */
bool fetch_scan_literal(FetchScan *scan, const char *text, gsize length, GArray *sunk,
                        FetchName *name);
