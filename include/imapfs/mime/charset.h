/* charset.h - text in any charset that mail names, made UTF-8, as a stream.
 *
 * Layer mime. One owner at a time. Never fails: bytes that mean nothing become U+FFFD. */
#pragma once
#include <glib.h>
#include <stdbool.h>

typedef struct Charset Charset;

/* label: as declared (quotes, case, underscores and the aliases of the WHATWG Encoding Standard are
 * seen through). NULL, unknown, or one that says nothing (us-ascii, unknown-8bit): the bytes are
 * UTF-8 when they are valid as such, else windows-1252. That is decided on the first 256 KiB after
 * the first byte over 0x7f, so the result does not depend on how the stream was cut. */
Charset *charset_new(const char *label);
void charset_free(Charset *charset);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Charset, charset_free)
void charset_feed(Charset *charset, const void *bytes, gsize length, GByteArray *out);
void charset_finish(Charset *charset, GByteArray *out);

/* Whether a label names a charset that we can convert; and whether what it names is guessed all the
 * same (NULL, unknown, us-ascii, which servers also say when nothing was declared). */
bool charset_known(const char *label);
bool charset_is_guessed(const char *label);

/* All at once; valid UTF-8, NUL-terminated, NULs of the text dropped. Caller frees. */
char *charset_to_utf8(const char *label, const void *bytes, gsize length);

/* One code point of UTF-8: its length when valid, 0 when the bytes may go on to be valid, minus the
 * number of bytes to replace by one U+FFFD when they are not (Unicode 3.9, maximal subparts). */
int charset_utf8_step(const guint8 *bytes, gsize length);
