/* private.h - what the files of the store share.
 *
 * Locks, each held inside one function and in this order: the writer lock (index.db's writer; from
 * store_begin to store_commit), ContentStore.lock (content.db's writer), ContentStore.use_lock (the
 * tables of what is open or was used). The checkpointer has one of its own, last. pthread mutexes,
 * as the thread sanitizer knows them. */
#pragma once
#include <pthread.h>
#include "checkpoint.h"
#include "db.h"
#include "dir.h"
#include "imapfs/store/content.h"
#include "imapfs/store/log.h"
#include "imapfs/store/store.h"

/* --- readers (reader.c) --- */

struct StoreReader {
    Store *store; /* atomic; NULL once the store is closed */
    Db *index;    /* NULL when it could not be opened: failure says why */
    Db *content;  /* made when first asked for */
    bool keeps;   /* store_reader_keep() */

    StoreMsg last; /* while it keeps: the row that was last asked for, */
    guint32 last_box;
    gint last_seen;  /* as of so many commits */
    GError *failure; /* first since store_reader_check */
};
/* Ends a read: remembers its failure, if any, for store_reader_check. False when it failed. */
bool reader_close_query(StoreReader *reader, Query *query);
/* Starts one; false (and remembered) when there is no connection. */
bool reader_open_query(StoreReader *reader, Query *query, const char *sql);
bool reader_open_content_query(StoreReader *reader, Query *query, const char *sql);
/* Whether a query with two numbers has a row. */
bool reader_finds(StoreReader *reader, const char *sql, gint64 one, gint64 two);
/* Remembers and logs. Takes the failure. */
void reader_fail(StoreReader *reader, GError *failure);
void readers_close_all(Store *store);

/* --- what a reader sees, kept between its queries (keep.c) --- */

/* Around a query of a reader's; nothing unless the connection keeps. */
void keep_open(Db *db);
void keep_close(Db *db);
/* Lets go of what is kept; stale: only if something was committed since. */
void keep_end(Db *db, bool stale);
/* Whether what was read as of so many commits is what would be read now. */
bool keep_is_current(const Db *db, gint seen);

/* --- the writing transaction (txn.c) --- */

struct StoreTxn {
    Store *store;
    StoreReader reader; /* over the writer's connection */
    bool failed;        /* something in it failed: it can only be rolled back */
    GArray *purge;      /* of PurgeRange, in order: contents that go with what was removed */
    GArray *spooled;    /* of guint32: letters that nothing names any more, once it is committed */
    LogEffects effects; /* of what was removed and put on the log */
    int n_adrift;       /* ADRIFT operations; -1: not counted yet */
    GArray *names;      /* of StoreName: store_txn_take_names(); NULL: none */
    bool moves;         /* store_moves() */
    GArray *turned;     /* of guint32: store_txn_take_turned(); NULL: none */
};
typedef struct {
    guint32 box, lo, hi;
    bool reused; /* the number gets a new meaning: what is left behind would be a wrong byte */
    guint32 to_box, to_uid; /* not removed: they are contents of this message now; 0: removed */
} PurgeRange;

bool txn_open_query(StoreTxn *txn, Query *query, const char *sql, GError **error);
bool txn_run_query(StoreTxn *txn, Query *query, GError **error);
bool txn_close_query(StoreTxn *txn, Query *query, GError **error);
int txn_changes(StoreTxn *txn); /* rows of the last statement */
void txn_purge(StoreTxn *txn, guint32 box, guint32 lo, guint32 hi, bool reused);
/* Contents of a message are another's from now on (that has none). */
void txn_pass_on(StoreTxn *txn, guint32 box, guint32 uid, guint32 to_box, guint32 to_uid);
/* Something in this directory has become another mailbox's name, or nobody's. */
void txn_note_name(StoreTxn *txn, guint32 parent, const char *leaf, guint32 moved);
void txn_note_turned(StoreTxn *txn, guint32 box);
/* Fails the transaction for a reason of ours. Returns false. */
bool txn_refuse(StoreTxn *txn, GError **error, int code, const char *format, ...)
    G_GNUC_PRINTF(4, 5);
/* Removes all messages, structures, sizes of a mailbox, and has its contents purged. */
bool txn_empty_box(StoreTxn *txn, guint32 box, GError **error);
/* The same of one message, or of a pending one. */
bool txn_drop_msg(StoreTxn *txn, guint32 box, guint32 uid, GError **error);
/* Where what is kept of a message belongs now: as store_origin(), also for one that was numbered
 * meanwhile. */
void store_locate(StoreReader *reader, guint32 *box, guint32 *uid);

/* --- numbers of ours (numbers.c) --- */

bool numbers_open(Store *store, GError **error);
/* Of pending messages and of letters in the spool: each is given once. Any thread. 0: none left. */
guint32 store_take_number(Store *store);
void store_number_seen(Store *store, guint32 n); /* while the store is opened: it was given */

/* --- mailboxes (boxes.c, box_id.c) --- */

#define BOX_COLUMNS                                                                           \
    "id, parent, name, leaf, delimiter, attributes, uidvalidity, uidnext, highestmodseq, "    \
    "n_exists, listed, synced_ns, changed_ns, permanent_flags, read_only, mailboxid, local, " \
    "doomed, wire_name, rights"
void box_borrow(Query *query, StoreBox *out); /* the row the query stands on */
StoreBox box_copy(const StoreBox *box);
/* Whether the server says, as far as it is known, that one has all of these rights (RFC 4314). */
bool box_may(const StoreBox *box, const char *rights);
/* changed_ns of a mailbox's directory (0: the top), later than it ever was. */
bool box_bump(StoreTxn *txn, guint32 box, gint64 now_ns, GError **error);

/* Gives out ids: ascending while there are new ones, then the smallest that are free. */
typedef struct {
    guint32 next;     /* first id never given out */
    guint32 cursor;   /* no free one below */
    guint32 max;      /* STORE_MAX_BOX_ID, or less in tests */
    guint8 *used;     /* one bit an id: a mailbox has it */
    guint8 *retiring; /* and had it before this transaction: only if nothing else is left */
} BoxIds;
bool box_ids_load(StoreTxn *txn, BoxIds *ids, GError **error);
void box_ids_retire(BoxIds *ids, guint32 id);
guint32 box_ids_take(BoxIds *ids, StoreTxn *txn); /* 0: none left */
bool box_ids_save(StoreTxn *txn, BoxIds *ids, GError **error);
void box_ids_clear(BoxIds *ids);

/* --- the log (log.c, log_change.c, log_server.c) --- */

#define LOG_COLUMNS                                                                       \
    "seq, kind, state, box, uid, uidvalidity, plus, minus, attempts, next_try_ns, "       \
    "logged_ns, reason, mailbox, name, message_id, emailid, internaldate, size, to_box, " \
    "to_n, target, fence_uidvalidity, fence_uidnext, after_seq, shown"
void log_op_borrow(Query *query, LogOp *out); /* the row the query stands on */
/* The only row of a query, which ends with it; false: there is none. */
bool log_op_take(StoreReader *reader, Query *query, LogOp *out);
/* Merges later flags over earlier ones: the last value of each is kept. */
void log_merge(Flags *set, Flags *clear, const char *later_set, const char *later_clear);
/* Makes an operation QUEUED on a message, or merges it into the one that is QUEUED there. */
bool log_place(StoreTxn *txn, guint32 seq, guint32 box, guint32 uid, guint32 uidvalidity,
               GError **error);
bool log_set_state(StoreTxn *txn, guint32 seq, LogState state, const char *reason, GError **error);
/* A message that was \\Deleted is not any more: it is not hidden for that. */
bool log_undeleted(StoreTxn *txn, guint32 box, guint32 uid, GError **error);

/* What the server did to the rows under the log. Before the rows go: */
bool log_messages_removed(StoreTxn *txn, guint32 box, const UidSet *uids, GError **error);
bool log_box_removed(StoreTxn *txn, const StoreBox *box, GError **error);
/* box: as it is before it gets its new number. */
bool log_box_renewed(StoreTxn *txn, guint32 old_box, guint32 new_box, GError **error);
bool log_message_added(StoreTxn *txn, guint32 box, const StoreMsg *msg, GError **error);

/* --- what changed in the Maildir view (entries.c) --- */

bool entries_open(Store *store, GError **error);
void entries_close(Store *store);
bool entries_note(StoreTxn *txn, GError **error); /* the last thing before a commit */

/* --- the spool (spool.c) --- */

bool spool_store_open(Store *store, GError **error);
/* Before that, when the index that knew of what is in the spool is lost. */
bool spool_set_aside(Store *store, GError **error);

/* --- content --- */

typedef struct {
    pthread_mutex_t lock; /* db and what is up to `dead` */
    Db *db;
    guint64 bytes, count; /* of what is committed */
    GHashTable *writers;  /* ContentWriter * that are not freed yet */

    /* The loop's own. */
    bool batching;
    GPtrArray *pending; /* of ContentWriter *: finished, in no transaction yet */
    gsize pending_bytes;
    GError *batch_error; /* why some of the batch was lost */

    guint64 next_id; /* atomic */
    bool died;       /* the machine did, before it was opened; while it is: */
    gint64 died_s;   /* at this time or later */

    pthread_mutex_t use_lock;
    GHashTable *open;    /* id -> Content * that exist */
    GHashTable *touched; /* id -> when it was used (ms): not in db yet */
    GHashTable *fresh;   /* id -> until when (monotonic us) it stays though nobody opened it yet */
    guint fresh_prune_at;
    gint64 fresh_until; /* the latest of these times */
    GHashTable *unread; /* Content * that are open, and whose bytes were not read yet */
    guint64 removals;   /* transactions that took out contents or messages, so far */
    bool removing;      /* one is under way */
    GHashTable *bad;    /* ids found damaged that could not be taken out of db */
} ContentStore;

struct Store {
    guint64 cache_size;
    Dir state, cache, files, spool;
    int state_lock, cache_lock;
    LockState state_before, cache_before;
    bool opened;                         /* wholly */
    guint64 next_number;                 /* atomic; store_take_number() */
    guint64 first_number;                /* ... when it was opened */
    gint moves;                          /* atomic */
    gint index_commits, content_commits; /* atomic */
    char *index_path, *content_path;
    gint index_damaged, content_damaged; /* atomic; told by SQLite while running */

    pthread_mutex_t writer_lock; /* writer, txn */
    Db *writer;
    StoreTxn txn;
    StoreReader before; /* sees what is committed; of who writes */
    Checkpointer *checkpointer;

    GPtrArray *readers; /* under the lock in reader.c */
    ContentStore content;
};

/* Now, as it stands in names of what was moved aside. */
#define STORE_DATE_TEXT 32
void store_date_text(char date[STORE_DATE_TEXT]);

#define INDEX_CACHE_KIB 2048
#define CONTENT_CACHE_KIB 1024

/* content_db.c: the file behind it. generation: of the index. */
bool content_store_open(Store *store, const char *generation, LockState before, GError **error);
void content_store_flush(Store *store); /* what is still in memory, before the end */
void content_store_close(Store *store);

typedef enum { PLACE_BLOB, PLACE_FILE } ContentPlace;

/* A transaction of content.db. Holds the lock from begin to the end; files of rows that went are
 * unlinked after the commit. */
typedef struct {
    Store *store;
    gint64 bytes, count; /* what it adds */
    GArray *unlink;      /* of guint64: ids */
    bool with_uses;      /* write the times of last use, even if they are few */
    bool removes;        /* contents, or messages are gone */
} ContentTxn;
bool content_txn_begin(ContentTxn *txn, Store *store, GError **error);
bool content_txn_remove(ContentTxn *txn, guint64 id, guint64 size, ContentPlace place,
                        GError **error);
/* Ends it either way. */
bool content_txn_commit(ContentTxn *txn, GError **error);
void content_txn_rollback(ContentTxn *txn);
void content_file_name(guint64 id, char name[20]);

/* Of the messages that a committed StoreTxn removed. Called with the writer lock held. */
bool content_purge(Store *store, const GArray *ranges, GError **error);
void content_writers_kill(Store *store, guint32 box); /* under lock */
/* Takes a damaged one out. Any thread. */
void content_drop(Store *store, guint64 id, const char *why);
