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

/* Display name, else address, of the first address of a From header's raw value; of a group its
 * first member, else its name; "" if there is none. UTF-8 on one line. Caller frees. */
char *mime_from_display(const char *value);

/* "2026-11-20 Alice Doe - Quarterly report": from INTERNALDATE's day in its own zone (years 0 to
 * 9999) and the decoded From display and Subject ("unknown" and "no subject" when they leave
 * nothing). At most 240 bytes, cut at a character, never before a combining mark; ".UID" is added
 * by the tree. Depends on nothing of the machine. Caller frees.
 *
 * Of characters that file names should not have, / \ * < > | become '_' and " becomes ', as do :
 * and ? in the middle of words ("10:30"); before a space or the end those two are dropped ("Re: x"
 * is "Re x"). Everything that cannot be seen is dropped, runs of blanks are one space. */
char *name_message(gint64 internaldate, gint32 zone_minutes, const char *from, const char *subject);

/* An attachment's file name from what the sender called it (decoded; may be NULL) and its type;
 * fallback "part-SECTION" with an extension by type (type may be NULL: "bin"). At most 200 bytes
 * keeping the extension. Extensions that desktops act on (.desktop, .url, ...) get ".txt" appended;
 * names that git or DOS act on (HEAD, con.txt) get a '_'. Caller frees. */
char *name_attachment(const char *sender_name, const char *section, const char *type,
                      const char *subtype);

/* One level of a mailbox name as a file name, reversibly: '/', controls, all that is invisible,
 * '%', leading '.', '-' and space, trailing '.' and space, "", what is not in NFC or not UTF-8, and
 * what name_looks_like_message() says yes to, are percent-encoded. A level whose name would be over
 * 255 bytes is cut and ends in "%~" and a digest; only such a one cannot be decoded (NULL).
 * Caller frees. */
char *name_mailbox_level(const char *level);
char *name_mailbox_level_decode(const char *name);

/* Whether a name ends in ".DIGITS" or ".+DIGITS" with a date in front, as message directories do.
 */
bool name_looks_like_message(const char *name);

/* Makes names unique in a directory (also without case): "a.pdf", "a (2).pdf". taken: a set of
 * g_utf8_casefold'ed names, owned strings (g_hash_table_new_full(g_str_hash, g_str_equal, g_free,
 * NULL)), updated; add to it with g_hash_table_add only. Takes name, returns the one to use, at
 * most 255 bytes. */
char *name_make_unique(GHashTable *taken, char *name);
