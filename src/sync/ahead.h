/* ahead.h - what the two files of reading ahead share. Private to src/sync. */
#pragma once
#include "imapfs/mime/layout.h"
#include "sync.h"

#define AHEAD_KINDS (CONTENT_LETTER + 1) /* of contents */

/* One content that is asked for before anybody wants it. */
typedef struct {
    Need need;
    char *section;           /* as asked for */
    guint64 weight;          /* bytes, about */
    bool large;              /* to be read by ranges: so many bytes are asked for at first */
    GBytes *bytes;           /* came, and is not in the store yet */
    Command *const *command; /* of its bunch: NULL before it has a session */
} AheadItem;
void ahead_item_free(gpointer data);

/* Somebody who reads contents of one kind in order. */
typedef struct {
    guint32 last_uid;       /* read last; 0: nothing yet */
    char *section;          /* of it */
    guint32 scanned;        /* of the messages up to this one all was asked for that is missing */
    guint64 budget;         /* bytes that may be ahead of the reader; 0: none */
    GQueue coming;          /* of Coming: asked for, not read yet */
    guint64 weight;         /* of these */
    guint n_large;          /* of these */
    struct Coming *current; /* a large one that is being read: what it still needs is in weight */
} AheadStream;
AheadStream *ahead_stream(Mailbox *mailbox, ContentKind kind);
void ahead_stream_clear(AheadStream *stream);

/* Asks for them in the background, by section in UID sets. Steals the items. */
void ahead_fetch(Mailbox *mailbox, GPtrArray *items);
bool ahead_is_asked(Mailbox *mailbox, const ContentKey *key);
