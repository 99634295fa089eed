/* ranged.h - what the files of ranged contents share. Private to src/sync.
 *
 * ranged_bytes.c holds the bytes and knows nothing of IMAP; ranged.c fetches them; ranged_open.c
 * finds out the size and makes one. */
#pragma once
#include "imapfs/mime/base64_map.h"
#include "imapfs/sync/ranged.h"
#include "sync.h"

#define RANGED_CHUNK_BLOCKS 12 /* of about 8 KiB: about 96 KiB, 128 KiB on the wire */

typedef enum { BLOCK_ABSENT, BLOCK_ASKED, BLOCK_HERE } BlockState;

struct Ranged {
    gint refs; /* atomic */

    /* never changes */
    Engine *engine;
    ContentKey key; /* section is ours */
    char *name;     /* in the engine's table */
    guint64 size;
    int fd;
    bool base64;
    Base64Map map;
    guint32 block_size, block_encoded; /* of every block but the last; decoded, and as sent */
    guint64 n_blocks, encoded;
    GByteArray *tail; /* the last bytes: a reader wants them first, to see the size */
    guint64 tail_at;
    void (*wake)(Ranged *ranged); /* there is something to read ahead */

    pthread_mutex_t lock; /* a leaf; the engine's lock of what is shared may be held around it */
    guint opens;          /* goes up only under that lock, too */
    guint8 *blocks;       /* BlockState of each */
    guint64 n_here;
    guint64 run_start, run_end; /* what was read forward without a gap */
    guint64 ahead_end;          /* up to where to read ahead */
    bool idle;                  /* nothing is in flight: wake has to be called */
    GError *failed;             /* nothing more will come */

    /* the loop's */
    Mailbox *mailbox; /* while held or acquiring */
    guint generation;
    bool held, acquiring, dropped;
    bool lost; /* the session goes: nothing is sent until all in flight is back */
    guint in_flight;
    GPtrArray *jobs; /* of Job: NEED_RANGE, references */
    gint64 used_us;
    GSource *commit;
    ContentWriter *writer;
    guint64 committed;
    bool commit_failed;
};

/* --- ranged_bytes.c --- */

/* Takes fd and tail. map NULL: the bytes are as sent. */
Ranged *ranged_new(Engine *engine, const ContentKey *key, const char *name, guint64 encoded,
                   const Base64Map *map, int fd, GByteArray *tail, guint64 tail_at);
Ranged *ranged_ref(Ranged *ranged);
void ranged_unref(Ranged *ranged);
guint64 ranged_block_of(const Ranged *ranged, guint64 offset);
/* What a run of blocks is on the wire. */
void ranged_wire_range(const Ranged *ranged, guint64 first, guint64 count, guint64 *offset_out,
                       guint64 *length_out);
/* The next run to ask for, at most max blocks, in [first, end): marks it asked. 0: there is none.
 */
guint64 ranged_claim(Ranged *ranged, guint64 *first, guint64 end, guint64 max);
void ranged_unclaim(Ranged *ranged, guint64 first, guint64 count);
/* Writes decoded bytes of a run of blocks, which are here then. */
bool ranged_put(Ranged *ranged, guint64 first, guint64 count, const void *bytes, gsize length,
                GError **error);
bool ranged_has(Ranged *ranged, guint64 offset, guint64 length);
bool ranged_is_whole(Ranged *ranged);
/* The blocks [first, end) to read ahead now; false: none. */
bool ranged_ahead(Ranged *ranged, guint64 *first_out, guint64 *end_out);
void ranged_stop_ahead(Ranged *ranged);
void ranged_set_idle(Ranged *ranged, bool idle);
void ranged_fail(Ranged *ranged, const GError *error);

/* --- ranged.c --- */

void ranged_add(Engine *engine, Ranged *ranged); /* into the table */
Ranged *ranged_find(Engine *engine, const char *name);
/* The part is not what its ends promised: it is fetched whole from now on. */
void ranged_set_irregular(Engine *engine, const char *name);
void ranged_fail_box(Engine *engine, guint32 box, const GError *error);
void ranged_free_all(Engine *engine);
char *ranged_name(const ContentKey *key);

/* --- ranged_open.c --- */

/* False: the need is not one for a ranged content. */
bool ranged_open_start(Job *job);
