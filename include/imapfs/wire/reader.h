/* reader.h - bytes in, responses out; does no I/O.
 *
 * Layer wire. Thread: its owner's. Feed it any split of the byte stream and take whole responses.
 * Literals are kept in memory, up to a bound; number lists (SEARCH, ESEARCH, VANISHED) are parsed
 * as they stream, so a million UIDs never are one line in memory. */
#pragma once
#include "imapfs/wire/response.h"

typedef enum {
    READ_OK,   /* a response */
    READ_MORE, /* needs more bytes */
    READ_BAD,  /* the stream is beyond use (over a limit, not IMAP): close. Stays BAD */
} ReadStatus;

typedef struct Reader Reader;
Reader *reader_new(void);
void reader_free(Reader *reader);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Reader, reader_free)

/* Before this the line limit is LIMIT_LINE_PREAUTH, and literals are at most 64 KiB. The limit is
 * on all of one response outside literals, line ends included. Over a limit the stream is bad; but
 * a FETCH is `broken` then, and what is too much of it passed over. */
void reader_set_authenticated(Reader *reader);

/* Adds bytes; copied. */
void reader_feed(Reader *reader, const void *bytes, gsize length);

/* The next whole response (caller frees), as often as it returns READ_OK. error: PROTOCOL. */
ReadStatus reader_next(Reader *reader, Response **response_out, GError **error);

/* Bytes fed and not yet consumed: must be 0 when TLS starts (response injection); for COMPRESS they
 * are taken out, as the start of the compressed stream. */
gsize reader_pending(const Reader *reader);
GBytes *reader_take_pending(Reader *reader);
/* Whether the reader stands inside a response: a stalled literal is not an idle connection. */
bool reader_mid_response(const Reader *reader);
