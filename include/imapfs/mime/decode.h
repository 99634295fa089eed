/* decode.h - transfer decoding and charset conversion, as a stream.
 *
 * Layer mime. One owner at a time. Damaged input gives what can be decoded, never a failure. */
#pragma once
#include <glib.h>
#include <stdbool.h>

typedef struct Decoder Decoder;

/* encoding: the part's ("base64", ...; unknown or NULL means identity). is_text false: the decoded
 * bytes are left alone and charset means nothing. is_text: they are text in that charset (see
 * charset.h: WHATWG aliases; NULL and unknown ones: UTF-8 if valid, else windows-1252; for HTML
 * also what its <meta> says), or in the one that a byte order mark at their beginning is of, and
 * come out as UTF-8 with LF line ends and without that mark. bom: it is HTML, and a UTF-8 byte
 * order mark goes in front unless it is empty.
 */
Decoder *decoder_new(const char *encoding, const char *charset, bool is_text, bool bom);
void decoder_free(Decoder *decoder);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Decoder, decoder_free)
void decoder_feed(Decoder *decoder, const void *bytes, gsize length, GByteArray *out);
void decoder_finish(Decoder *decoder, GByteArray *out);

/* headers.txt: every field unfolded, RFC 2047 decoded (at most 20,000 words), UTF-8, one a line,
 * LF; parameters in the pieces of RFC 2231 stay as they are. Up to the first empty line. Works on
 * any bytes: controls become U+FFFD, line breaks that are no folds a space, so a line always is a
 * field. What is over LIMIT_HEADER_BLOCK is left out and said so in a last line. */
void mime_headers_text(const char *raw, gsize length, GByteArray *out);

/* The raw value (unfolded, not decoded, NUL as a space) of the first field of that name in a header
 * block, or NULL. Caller frees. */
char *mime_header_value(const char *raw, gsize length, const char *name);

/* Structure of a whole message parsed here, for servers whose BODYSTRUCTURE is broken. Sections are
 * numbered as IMAP numbers them; structure.h also tells where they are. NULL with error DATA over a
 * limit. */
struct BodyPart;
struct BodyPart *mime_parse_structure(const char *raw, gsize length, GError **error);
