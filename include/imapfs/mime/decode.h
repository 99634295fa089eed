/* decode.h - transfer decoding and charset conversion, as a stream.
 *
 * Layer mime. One owner at a time. Damaged input gives what can be decoded, never a failure. */
#pragma once
#include <glib.h>
#include <stdbool.h>

typedef struct Decoder Decoder;

/* encoding: the part's ("base64", ...; unknown means identity). charset: NULL leaves the bytes
 * alone, else they are text in that charset (unknown or wrong ones as mail readers do it:
 * WHATWG aliases, UTF-8 if valid, else windows-1252) and come out as UTF-8 with LF line ends.
 * bom: put a UTF-8 byte order mark in front. */
Decoder *decoder_new(const char *encoding, const char *charset, bool is_text, bool bom);
void decoder_free(Decoder *decoder);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Decoder, decoder_free)
void decoder_feed(Decoder *decoder, const void *bytes, gsize length, GByteArray *out);
void decoder_finish(Decoder *decoder, GByteArray *out);

/* headers.txt: every field unfolded, RFC 2047 decoded, UTF-8, one a line, LF. Works on any bytes;
 * over LIMIT_HEADER_BLOCK the rest is left out and said so in a last line. */
void mime_headers_text(const char *raw, gsize length, GByteArray *out);

/* The raw value (unfolded, not decoded) of the first field of that name in a header block, or NULL.
 * Caller frees. */
char *mime_header_value(const char *raw, gsize length, const char *name);

/* Structure of a whole message parsed here, for servers whose BODYSTRUCTURE is broken. Sections are
 * numbered as IMAP numbers them. NULL with error DATA over a limit. */
struct BodyPart;
struct BodyPart *mime_parse_structure(const char *raw, gsize length, GError **error);
