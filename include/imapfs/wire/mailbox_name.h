/* mailbox_name.h - mailbox names between the wire and everything above it.
 *
 * Layer wire. Pure functions. Above this layer a mailbox is named by one valid UTF-8 string, the
 * canonical name: decoded from modified UTF-7 (RFC 3501 5.1.3) or UTF-8 (RFC 6855). A name that
 * does not survive decoding and encoding again is kept as U+0001 followed by the wire bytes
 * (bytes over 0x7f each as the code point of the same number), so that the server is always asked
 * with exactly the bytes it gave. "INBOX" in any case is "INBOX", also as the first level. */
#pragma once
#include <glib.h>
#include <stdbool.h>

/* utf8: the session has UTF8=ACCEPT enabled. delimiter: 0 if none. NULL when the name is empty,
 * has NUL, or is over LIMIT_MAILBOX_NAME. Caller frees. */
char *mailbox_name_from_wire(const char *wire, gsize length, bool utf8, char delimiter);
char *mailbox_name_to_wire(const char *name, bool utf8);

/* Modified UTF-7 itself. decode: NULL on anything not canonical. */
char *mutf7_encode(const char *utf8);
char *mutf7_decode(const char *text, gsize length);
