/* ranged.h - what the files of ranged contents share. Private to src/sync.
 *
 * ranged_open.c finds out whether a content can be ranged, and makes one; ranged_table.c knows all
 * of them; ranged_bytes.c holds the bytes of one, ranged_ahead.c says what to read ahead, and
 * neither knows IMAP; ranged_fetch.c fetches; ranged_stream.c takes over where base64 is irregular;
 * ranged_keep.c makes an ordinary content of what is whole. */
#pragma once
#include "imapfs/mime/base64_map.h"
#include "imapfs/mime/transfer.h"
#include "imapfs/sync/ranged.h"
#include "sync.h"

#define RANGED_CHUNK_BLOCKS 12 /* of about 8 KiB: about 96 KiB, 128 KiB on the wire */

typedef enum {
    BLOCK_ABSENT,
    BLOCK_ASKED,
    BLOCK_HERE,
    BLOCK_READ, /* here, and somebody was given bytes of it */
} BlockState;

struct Ranged {
    gint refs; /* atomic */

    /* never changes */
    Engine *engine;
    ContentKey key; /* section is ours */
    char *name;     /* in the engine's table */
    int fd;
    bool base64;
    Base64Map map;
    guint64 told;                      /* its size as the ends have it */
    guint32 block_size, block_encoded; /* of every block but the last; decoded, and as sent */
    guint64 n_blocks, encoded;
    guint8 last;                  /* byte, as the ends have it */
    void (*wake)(Ranged *ranged); /* there is something to read ahead, or reading went on */

    pthread_mutex_t lock; /* a leaf; the engine's lock of what is shared may be held around it */
    guint opens;          /* goes up only under that lock, too */
    guint8 *blocks; /* BlockState of each; when it is streamed, the loop's, without the lock */
    guint64 n_here;
    guint64 size;
    bool streamed;              /* its base64 is irregular: only what is before frontier is known */
    bool ended;                 /* streamed, and size is its size */
    guint64 frontier;           /* decoded */
    guint64 run_start, run_end; /* what was read forward without a gap */
    guint64 ahead_end;          /* up to where to read ahead */
    guint64 run_told;           /* up to where the loop knows that it was read */
    bool idle;                  /* nothing is in flight: wake has to be called */
    bool expected;              /* somebody is expected to read it from its start on; */
    bool met;                   /* somebody opened it */
    GError *failed;             /* nothing more will come */

    /* the loop's */
    Mailbox *mailbox; /* while held or acquiring */
    guint generation;
    bool held, acquiring, dropped;
    bool lost;         /* the session goes: nothing is sent until all in flight is back */
    bool stalled;      /* something failed: nothing is asked until somebody wants something */
    bool in_turn;      /* it is one of several that are read one after the other */
    GPtrArray *chunks; /* of Chunk: in flight */
    GPtrArray *jobs;   /* of Job: NEED_RANGE, and NEED_CONTENT while it is streamed; references */
    gint64 used_us;
    GSource *commit;
    ContentWriter *writer;
    guint64 committed;
    bool commit_failed;
    Transfer *transfer;              /* of what is streamed */
    guint64 stream_at, stream_asked; /* encoded: what is taken next, asked for next */
    bool stepping;                   /* pieces came out of order: one at a time */
};

/* --- ranged_bytes.c --- */

/* Takes fd. map NULL: the bytes are as sent. last: the last byte. */
Ranged *ranged_new(Engine *engine, const ContentKey *key, const char *name, guint64 encoded,
                   const Base64Map *map, int fd, guint8 last);
Ranged *ranged_ref(Ranged *ranged);
void ranged_unref(Ranged *ranged);
guint64 ranged_block_of(const Ranged *ranged, guint64 offset);
/* The block after the last one that [.., end) touches. */
guint64 ranged_block_end(const Ranged *ranged, guint64 end);
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
void ranged_fail(Ranged *ranged, const GError *error);
bool ranged_write_at(const Ranged *ranged, const void *bytes, gsize length, guint64 offset,
                     GError **error);
bool ranged_read_at(const Ranged *ranged, void *buffer, gsize size, guint64 offset, GError **error);

/* --- ranged_ahead.c --- */

/* Under the lock: somebody reads this. */
void ranged_note_read(Ranged *ranged, guint64 offset, guint64 end);
/* Under the lock: whether the loop is to be woken for it. */
bool ranged_note_wake(Ranged *ranged);
/* The blocks [first, end) to read ahead now; false: none. */
bool ranged_ahead(Ranged *ranged, guint64 *first_out, guint64 *end_out);
void ranged_stop_ahead(Ranged *ranged);
/* Its first bytes are to be here when somebody opens it: so many, as sent. */
void ranged_note_expected(Ranged *ranged, guint64 encoded);
void ranged_set_idle(Ranged *ranged, bool idle);
/* Up to where it was read without a gap from its start on, as sent; 0: it was not. */
guint64 ranged_read_up_to(Ranged *ranged);

/* --- ranged_table.c --- */

char *ranged_name(const ContentKey *key);        /* caller frees */
void ranged_add(Engine *engine, Ranged *ranged); /* takes */
Ranged *ranged_find(Engine *engine, const char *name);
/* Takes it out of the table; who has it open may read on. unless_open: not if anybody has. */
void ranged_drop(Ranged *ranged, bool unless_open);
/* Nothing more will come: who waits is told, and who opens it next begins anew. */
void ranged_give_up(Ranged *ranged, const GError *error);
/* Wrong bytes of it were read. */
void ranged_set_corrected(Ranged *ranged);
void ranged_fail_box(Engine *engine, guint32 box, const GError *error);
void ranged_free_all(Engine *engine);

/* --- ranged_fetch.c --- */

void ranged_pump(Ranged *ranged); /* does what there is to do */
void ranged_add_job(Ranged *ranged, Job *job);
void ranged_expect(Ranged *ranged, guint64 encoded); /* ranged_note_expected(), and fetches them */

/* --- ranged_stream.c --- */

/* From now on it is decoded as a stream, from the first place on that is not here. */
void ranged_stream_begin(Ranged *ranged);
/* The next piece to ask for; false: none. */
bool ranged_stream_claim(Ranged *ranged, guint64 *origin_out, guint64 *length_out);
/* Takes a piece, if it is the next one (*taken_out). False: an error; DATA when bytes that were
 * read are shown to be wrong. */
bool ranged_stream_take(Ranged *ranged, guint64 origin, const guint8 *bytes, gsize length,
                        bool *taken_out, GError **error);
/* Nothing is in flight: what did not come, or too early, is asked for again. */
void ranged_stream_rewind(Ranged *ranged);

/* --- ranged_keep.c --- */

/* The exact size into the index, for stat. */
bool ranged_put_size(Ranged *ranged, guint64 size, bool computed, GError **error);
void ranged_keep_start(Ranged *ranged);
void ranged_keep_stop(Ranged *ranged);

/* --- ranged_open.c --- */

/* False: the need is not one for a ranged content. */
bool ranged_open_start(Job *job);
