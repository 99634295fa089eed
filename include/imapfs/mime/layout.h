/* layout.h - from the structure of a message to the files a person sees.
 *
 * Layer mime. Pure functions. A layout is a flat table of nodes; node 0 is the message's directory.
 * It depends on the BODYSTRUCTURE alone and is the same on every machine, so the index of a node is
 * part of its inode number. */
#pragma once
#include <glib.h>
#include "imapfs/wire/bodystructure.h"

/* X(NAME) kinds of nodes in a message directory, also of nested messages */
#define LAYOUT_KINDS(X)                                                           \
    X(MESSAGE_DIR) /* the message; or part-N.message for a message/rfc822 part */ \
    X(HEADERS)     /* headers.txt */                                              \
    X(FLAGS)       /* flags (node 0's only) */                                    \
    X(EML)         /* message.eml: a symlink */                                   \
    X(ATTACHMENTS) /* attachments/ */                                             \
    X(TEXT)        /* body.txt: transfer-decoded, in UTF-8 */                     \
    X(HTML)        /* body.html: transfer-decoded, in UTF-8 with a BOM */         \
    X(PART)        /* attachments/NAME: transfer-decoded bytes */                 \
    X(PROBLEM)     /* PROBLEM.txt: why the rest is missing */
typedef enum {
#define LAYOUT_KIND_ENUM(name) LAYOUT_##name,
    LAYOUT_KINDS(LAYOUT_KIND_ENUM)
#undef LAYOUT_KIND_ENUM
} LayoutKind;

/* Indexes that every layout has, in this order; the rest follows in document order. */
enum {
    LAYOUT_INDEX_DIR,
    LAYOUT_INDEX_HEADERS,
    LAYOUT_INDEX_FLAGS,
    LAYOUT_INDEX_EML,
    LAYOUT_INDEX_FIRST_PART
};

typedef struct {
    LayoutKind kind;
    guint parent;       /* index of the directory it is in; 0 for node 0 */
    char *name;         /* file name: safe, unique in its directory, at most 255 bytes */
    char *section;      /* IMAP section of the part; for HEADERS and EML of a nested message the
                           section of the message/rfc822 part; "" for the message's own */
    char *encoding;     /* of the part: "base64", "quoted-printable", "7bit", ... */
    char *charset;      /* declared charset or NULL; TEXT and HTML only */
    char *content_type; /* "application/pdf" */
    guint64 encoded_size;
} LayoutNode;

typedef struct {
    GPtrArray *nodes; /* of LayoutNode * */
} Layout;
void layout_free(Layout *layout);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Layout, layout_free)

/* body NULL (the structure cannot be had or is over a limit), or over LIMIT_PARTS or LIMIT_NESTING,
 * or 32,000 nodes: headers.txt, flags, message.eml and PROBLEM.txt, and nothing else. Else TREE
 * section 2, in a message and in every message inside it:
 *
 * - Text of the message itself is text/plain or text/html that is not said to be an attachment, and
 *   is the first of its multipart, or has no name and is not in a multipart/related (RFC 8621
 *   4.1.4). The first is body.txt or body.html, further ones body-2.txt, body-2.html, ...
 * - A message/rfc822 is the directory part-SECTION.message in attachments/, where SECTION is as
 *   layout_section_name() has it, as in all names. One that was sent in
 *   base64, which servers parse without decoding, is there as part-SECTION.eml too.
 * - Every other leaf (inline images, signatures, calendars, reports, text with a name) is in
 *   attachments/ under its own name made safe (name.h), no name of which can be a directory's.
 *   So is a multipart without parts; at the top its section is "TEXT".
 *
 * So every leaf of the structure is the section of exactly one TEXT, HTML or PART. In a directory
 * the fixed files come first, then texts, then attachments, each in document order; a parent comes
 * before what is in it. */
Layout *layout_new(const BodyPart *body);

/* A section as it stands in the name of a file: itself, or, where it is too long for that (parts in
 * parts, a hundred deep), its beginning and a digest. Caller frees. */
char *layout_section_name(const char *section);

/* A guess of the decoded size from the encoded one, never 0 for a part that is not empty. EML of
 * the message itself: 0, RFC822.SIZE says it. */
guint64 layout_estimate_size(const LayoutNode *node);
