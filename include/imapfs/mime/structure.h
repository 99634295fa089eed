/* structure.h - a whole message parsed here, for servers whose BODYSTRUCTURE is broken.
 *
 * Layer mime. An index is made once and only read after that. Sections are numbered and cut as IMAP
 * does (RFC 9051 6.4.5), so what a server would give for BODY[1.2] is a range of the bytes of the
 * message. Feed it the message as the server gave it, CRLF line ends and all; LF works too. */
#pragma once
#include <glib.h>
#include <stdbool.h>
#include "imapfs/wire/bodystructure.h"

typedef struct MimeIndex MimeIndex;

/* raw must stay as long as the index. NULL with error DATA over LIMIT_NESTING, LIMIT_PARTS or
 * LIMIT_HEADERS_ALL; anything else is a message. One pass; memory by the number of parts alone. A
 * multipart in which no boundary is found is one text/plain part, so nothing of it is hidden. */
MimeIndex *mime_index_new(const char *raw, gsize length, GError **error);
void mime_index_free(MimeIndex *index);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MimeIndex, mime_index_free)

/* Borrowed. Nested messages have no envelope. */
const BodyPart *mime_index_body(const MimeIndex *index);

/* Where a section is: "", "HEADER", "TEXT", "1.2", "1.2.MIME", and of a message/rfc822 part
 * "3.HEADER" and "3.TEXT". Upper case. false when there is no such section. */
bool mime_index_find(const MimeIndex *index, const char *section, gsize *offset_out,
                     gsize *length_out);

/* Why a server's BODYSTRUCTURE may hide something of the message, so that it should be fetched
 * whole and parsed here: a multipart without parts, or with nothing but one empty text/plain that
 * says nothing of itself (Dovecot, when the boundary is never found), a message/rfc822 without a
 * body, a part of which nothing is said, or a multipart in a multipart where one's boundary begins
 * the other's (Cyrus and Gmail lose parts then). NULL when there is no doubt. */
const char *mime_structure_doubt(const BodyPart *body);
