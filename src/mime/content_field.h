/* content_field.h - the MIME header fields of a part, into a BodyPart. Private to layer mime. */
#pragma once
#include "header.h"
#include "imapfs/wire/bodystructure.h"

/* Takes what a field of the part's header says, when it is one that matters. The first of a kind
 * counts. */
void content_part_field(BodyPart *part, const HeaderField *field);

/* At the end of the header: the defaults of RFC 2045 5.2, or of a digest (RFC 2046 5.1.5), for what
 * was not said. */
void content_part_finish(BodyPart *part, bool in_digest);
