/* ahead.h - what the files of reading ahead share: ahead.c decides, ahead_scan.c looks for what
 * there is, ahead_fetch.c brings it. Private to src/sync. */
#pragma once
#include "imapfs/mime/layout.h"
#include "sync.h"

#define AHEAD_KINDS (CONTENT_LETTER + 1) /* of contents */
#define AHEAD_BUDGET_MIN (16u * 1024)
#define AHEAD_ITEM_MAX (1024u * 1024) /* encoded: what is larger is read by ranges */

/* One content that is asked for before anybody wants it. */
typedef struct {
    Need need;
    char *section;           /* as asked for */
    guint64 weight;          /* bytes, about */
    bool large;              /* to be read by ranges: so many bytes are asked for at first, or 0 */
    GBytes *bytes;           /* came, and is not in the store yet */
    Command *const *command; /* of its bunch: NULL before it has a session */
} AheadItem;
void ahead_item_free(gpointer data);

/* Somebody who reads contents of one kind in order. */
typedef struct {
    guint32 last_uid;       /* read last; 0: nothing yet */
    char *section;          /* of it */
    guint32 scanned;        /* of the messages up to this one all was asked for that is missing */
    guint32 opened;         /* up to this one, the large ones were opened, or there are none */
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

/* --- ahead_scan.c --- */

bool ahead_is_whole(ContentKind kind); /* of a message */
bool ahead_is_part(ContentKind kind);  /* that is foreseen */

/* What is looked for of a kind. */
typedef struct {
    bool wanted;
    guint32 first; /* message */
    gint64 bytes;  /* that may still be found, about; */
    gint items;    /* as well as items: the message in which either ends is the last */
    guint n_large; /* of those that are ahead already, and found */
} Wish;

typedef struct {
    Mailbox *mailbox;
    Wish wishes[AHEAD_KINDS];
    bool whole;       /* it is a kind of whole messages that is looked for */
    bool needs_parts; /* ... or any but headers */
    bool wanted_too;  /* also what somebody waits for */
    bool soon; /* only the next large ones that are not open yet, of which nothing is asked */
    GPtrArray *items; /* of AheadItem: found */
    guint n_scanned;
    guint32 last;    /* message that was looked at */
    guint32 unknown; /* the first message whose structure is not known; 0: none met */
} Scan;

void scan_want(Scan *scan, ContentKind kind, guint32 first, gint64 bytes, gint items);
/* By whole messages; of kinds that begin at different ones, the first comes first. Makes items. */
void scan_run(Scan *scan);
