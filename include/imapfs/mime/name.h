/* name.h - text from senders and servers made into file names.
 *
 * Layer mime. Pure functions. SECURITY 2.4: no name from outside starts with '.' or '-', has
 * controls, bidi marks, separators or invalid UTF-8, or is over 255 bytes; NFC. */
#pragma once
#include <glib.h>
#include <stdbool.h>

/* Decodes RFC 2047 encoded words, raw UTF-8 and raw 8-bit of a header value to valid UTF-8.
 * Caller frees. */
char *mime_decode_header(const char *value);

/* Display name, else address, of the first address of a From header's raw value; "" if none.
 * UTF-8. Caller frees. */
char *mime_from_display(const char *value);

/* "2026-11-20 Alice Doe - Quarterly report": from INTERNALDATE's day in its own zone and the
 * decoded From display and Subject. At most 240 bytes, cut at a character; ".UID" is added by the
 * tree. Caller frees. */
char *name_message(gint64 internaldate, gint32 zone_minutes, const char *from, const char *subject);

/* An attachment's file name from what the sender called it (decoded; may be NULL) and its type;
 * fallback "part-SECTION" with an extension by type. At most 200 bytes keeping the extension.
 * Dangerous desktop extensions get ".txt" appended. Caller frees. */
char *name_attachment(const char *sender_name, const char *section, const char *type,
                      const char *subtype);

/* One level of a mailbox name as a file name, reversibly: '/', NUL, controls, '%', leading '.', "",
 * ".imapfs", and what name_looks_like_message() says yes to, are percent-encoded. Caller frees. */
char *name_mailbox_level(const char *level);

/* Whether a name ends in ".DIGITS" with a date in front, as message directories do. */
bool name_looks_like_message(const char *name);

/* Makes names unique in a directory (also without case): "a.pdf", "a (2).pdf". taken: a set of
 * g_utf8_casefold'ed names, owned strings, updated. Takes name, returns the one to use. */
char *name_make_unique(GHashTable *taken, char *name);
