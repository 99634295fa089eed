/* command.h - what we say: a command as lines and literals, quoted for every server.
 *
 * Layer wire. Pure builder. Strict: atoms upper case, ascending UID sets, a literal for anything a
 * quoted string cannot hold, CR, LF and NUL never outside a literal (RFC 9051 4). */
#pragma once
#include <glib.h>
#include <stdbool.h>
#include "imapfs/base/secret.h"
#include "imapfs/base/uidset.h"

typedef enum { LITERAL_SYNC, LITERAL_MINUS, LITERAL_PLUS } LiteralMode; /* RFC 7888 */

typedef struct CommandText CommandText;
CommandText *command_text_new(void);
void command_text_free(CommandText *text);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(CommandText, command_text_free)

void command_text_add(CommandText *text, const char *format, ...) G_GNUC_PRINTF(2, 3); /* atoms */
void command_text_add_astring(CommandText *text, const char *bytes, gsize length);
void command_text_add_mailbox(CommandText *text, const char *name, bool utf8); /* canonical name */
void command_text_add_uids(CommandText *text, const UidSet *uids);
void command_text_add_literal(CommandText *text, GBytes *bytes);
/* The first size bytes of a file (takes the descriptor), which are read while they are sent. The
 * file must not change: what cannot be read any more ends the session. */
void command_text_add_literal_file(CommandText *text, int fd, guint64 size);
/* An astring, or a raw token (base64 of AUTHENTICATE), that traces and logs never show. */
void command_text_add_secret(CommandText *text, const Secret *secret, bool raw);

/* Counted: closed with the last reference. The loop's. */
typedef struct {
    int fd;
    guint64 size;
} CommandFile;
CommandFile *command_file_ref(CommandFile *file);
void command_file_unref(CommandFile *file);

/* Serialised: alternately bytes to send and points to wait for a continuation. LITERAL_MINUS
 * sends up to 4,096 bytes without waiting. */
typedef struct {
    GBytes *bytes;      /* NULL: those of the file */
    CommandFile *file;  /* or NULL */
    bool secret;        /* hide in traces */
    bool wait_continue; /* after sending, wait for "+" before the next piece */
} CommandPiece;
/* Array of CommandPiece, ending with CRLF. Caller unrefs; pieces are freed with it. The bytes of
 * secret pieces are wiped when freed. NULL when the command may not be sent: CR, LF or NUL where it
 * cannot stand, a name that has no wire form, an empty UID set. An empty tag is left out, for the
 * answer to a continuation. */
GArray *command_text_pieces(const CommandText *text, const char *tag, LiteralMode mode);
/* Octets of the command outside literals, without the tag; to keep under LIMIT_COMMAND_LINE. */
gsize command_text_length(const CommandText *text);
/* For the log: secrets as "<secret>", literals as {n}. Caller frees. */
char *command_text_describe(const CommandText *text);
