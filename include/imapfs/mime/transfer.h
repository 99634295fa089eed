/* transfer.h - content transfer encodings (RFC 2045 6), as a stream.
 *
 * Layer mime. One owner at a time. Tolerant: what is not of the alphabet is passed over, what is
 * missing at the end is missing, and never more comes out than goes in. What is said to be
 * uuencoded or yEnc and does not begin as these do comes out as it is. */
#pragma once
#include <glib.h>
#include <stdbool.h>

typedef enum {
    TRANSFER_IDENTITY, /* 7bit, 8bit, binary, and what nobody knows */
    TRANSFER_BASE64,
    TRANSFER_QP,
    TRANSFER_UUENCODE, /* also the x- names */
    TRANSFER_YENC,
} TransferKind;
TransferKind transfer_kind(const char *encoding); /* NULL is identity */

typedef struct Transfer Transfer;
Transfer *transfer_new(TransferKind kind);
void transfer_free(Transfer *transfer);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Transfer, transfer_free)
void transfer_feed(Transfer *transfer, const void *bytes, gsize length, GByteArray *out);
void transfer_finish(Transfer *transfer, GByteArray *out);
