/* bodystructure.h - BODYSTRUCTURE and ENVELOPE (RFC 9051 7.5.2).
 *
 * Layer wire. Pure functions. Strings are as the server gave them (RFC 2047 not decoded, any bytes
 * but NUL, which is dropped); NULL is NIL. */
#pragma once
#include <glib.h>
#include <stdbool.h>

typedef struct {
    char *name, *route, *mailbox, *host;
} WireAddress; /* host NULL: group start (mailbox = its name) or end (mailbox NULL) */

typedef struct {
    char *date, *subject;
    GPtrArray *from, *sender, *reply_to, *to, *cc, *bcc; /* of WireAddress *, NULL for NIL */
    char *in_reply_to, *message_id;
} Envelope;
void envelope_free(Envelope *envelope);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Envelope, envelope_free)

typedef struct {
    char *name, *value;
} BodyParam;

typedef struct BodyPart BodyPart;
struct BodyPart {
    char *section;        /* "1.2"; "" for the message itself when it is a multipart;
                             "1" for a message that is a single part */
    char *type, *subtype; /* lower case; never NULL */
    GArray *params;       /* of BodyParam; names lower case; NULL when none */
    char *id, *description;
    char *encoding; /* lower case; "7bit" when NIL */
    guint64 size;   /* octets, still encoded; 0 for multiparts */
    guint64 lines;  /* text and message/rfc822 */
    char *md5;
    char *disposition; /* lower case; NULL */
    GArray *disposition_params;
    char *location;
    GPtrArray *languages; /* of char * or NULL */
    Envelope *envelope;   /* message/rfc822 and message/global only */
    GPtrArray *children;  /* of BodyPart *: the parts of a multipart; of message/rfc822 its one
                             body, whose section is "N" + ".1", or the children's "N.1", ... when
                             that body is a multipart (whose own section is then "N") */
    BodyPart *parent;     /* borrowed */
};
void body_part_free(BodyPart *part);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(BodyPart, body_part_free)

const char *body_part_param(const BodyPart *part, const char *name);             /* or NULL */
const char *body_part_disposition_param(const BodyPart *part, const char *name); /* or NULL */
bool body_part_is(const BodyPart *part, const char *type,
                  const char *subtype); /* subtype NULL: any */

/* Parses the value of a BODYSTRUCTURE item: "(...)" with literals in line. Depth, parts and
 * parameters are bounded; NULL with error DATA when it is over a limit or broken beyond repair.
 * Tolerates what SERVERS says servers do (NIL parameter lists, missing fields, extra spaces,
 * numbers as "9.3e+06", negative sizes, empty multipart "(NIL)"), each by name in the source. */
BodyPart *bodystructure_parse(const char *text, gsize length, GError **error);

/* The same value printed normalised, for the store; parse(print(x)) equals x. */
void bodystructure_print(const BodyPart *part, GString *out);

Envelope *envelope_parse(const char *text, gsize length, GError **error);
void envelope_print(const Envelope *envelope, GString *out);
