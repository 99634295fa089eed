/* param.h - parameters of Content-Type and Content-Disposition (RFC 2045 5.1, RFC 2231).
 *
 * Layer mime. Pure functions on what a BODYSTRUCTURE holds, where servers differ: Dovecot joins the
 * pieces of RFC 2231 and keeps "filename*", Cyrus keeps all of them, Gmail decodes. */
#pragma once
#include <glib.h>
#include "imapfs/wire/bodystructure.h"

/* Encoded words that are decoded in the names of one message; what comes after them stays as it was
 * sent. A word can cost the opening of a charset, which takes thousands of times its length. */
#define PARAM_WORDS 20000

/* The text of a parameter in valid UTF-8: name*=charset'lang'%XX, name*0*=..., name*0=..., else
 * name= with RFC 2047 words and raw 8-bit. At most LIMIT_RFC2231_PIECES pieces, and *words encoded
 * words, which becomes less by those there are. NULL when it is not there. Caller frees. */
char *mime_param_text(const GArray *params, const char *name, guint *words);

/* What the sender called a part: filename of its disposition, else name of its type; NULL when
 * neither is there. May hold anything but NUL: see name_attachment(). Caller frees. */
char *mime_part_filename(const BodyPart *part, guint *words);
