/* outbox.h - bytes on their way out: in order, counted, secrets apart.
 *
 * Layer imap, private. */
#pragma once
#include "imapfs/net/stream.h"
#include "imapfs/wire/command.h"

typedef struct Outbox Outbox;
Outbox *outbox_new(void);
void outbox_free(Outbox *outbox);

/* owner: a GArray that holds the bytes (a reference is taken), so that secrets are wiped with it.
 */
void outbox_add_piece(Outbox *outbox, GArray *owner, GBytes *bytes, bool secret);
/* Read 64 KiB at a time, when they are about to be written. */
void outbox_add_file(Outbox *outbox, CommandFile *file);
void outbox_add_line(Outbox *outbox, const char *line); /* CRLF is added */
void outbox_add_secret_line(Outbox *outbox, const char *bytes, gsize length);

/* How many bytes were ever added, and how many the stream took. */
guint64 outbox_added(const Outbox *outbox);
guint64 outbox_written(const Outbox *outbox);

/* Writes as much as the stream takes: STREAM_OK when all went (and was flushed), STREAM_AGAIN, or
 * STREAM_ERROR. */
StreamStatus outbox_write(Outbox *outbox, Stream *stream, GError **error);
