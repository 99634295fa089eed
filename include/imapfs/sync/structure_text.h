/* structure_text.h - the structure of a message as the store keeps it.
 *
 * Layer sync. Pure functions. "(...)" is the server's BODYSTRUCTURE, normalised, and its sections
 * are the server's; "L(...)" was made here from the message's bytes, and its sections are cut from
 * them, as the server may count otherwise; "" says that neither is of use. */
#pragma once
#include "imapfs/wire/bodystructure.h"

/* "" when it would be over LIMIT_STRUCTURE. Caller frees. */
char *structure_text_new(const BodyPart *body, bool local);
bool structure_text_is_local(const char *text);
/* NULL with error DATA; also for "". */
BodyPart *structure_text_parse(const char *text, GError **error);
