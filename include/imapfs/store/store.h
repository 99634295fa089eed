/* store.h - what we know: mailboxes, messages, structures, sizes (index.db), bytes (content.h).
 *
 * Layer store. SQLite, WAL. Readers: any thread, each with its own read-only connection, made on
 * first use (store_reader) and closed by store_close. Writers: one at a time, under the writer
 * lock, a leaf: a StoreTxn begins and ends inside one function. Rows hold what the server last said
 * and nothing else. A mailbox row's id is the identity of (account, name, UIDVALIDITY): when the
 * server changes UIDVALIDITY the mailbox gets a new id, so (box, uid) names one message for ever.
 * A store is not carried across fork(): open it afterwards. */
#pragma once
#include <glib.h>
#include <stdbool.h>
#include <sys/statvfs.h>
#include "imapfs/base/uidset.h"

typedef struct Store Store;
typedef struct StoreReader StoreReader; /* borrowed from the store, of this thread only */
typedef struct StoreTxn StoreTxn;

typedef struct {
    const char *state_dir; /* index.db; made 0700; refused when another owns or may write it */
    const char *cache_dir; /* content.db and content/ */
    guint64 cache_size;    /* bytes of content kept; least recently used goes first */
    const char *account;   /* recorded; a store of another account is refused */
} StoreConfig;

/* Opens, locks (flock; a second mount of the same account is refused with BUSY and words), checks
 * the schema version and migrates. A newer schema is refused. A damaged index.db is moved aside
 * (index.db.damaged-DATE) and logged; a damaged content.db is dropped. */
Store *store_open(const StoreConfig *config, GError **error);
void store_close(Store *store);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Store, store_close)

/* Of the disk that changes and letters are written to. False: it cannot be told. */
bool store_disk(Store *store, struct statvfs *out);

/* Never NULL. Reads have no error: one that fails answers as if nothing was there, and says so in
 * the log. Who must not take that for a fact asks afterwards: false, with the first failure of this
 * thread's reads since it was last asked. */
StoreReader *store_reader(Store *store);
bool store_reader_check(StoreReader *reader, GError **error);
/* This thread's reader keeps what it sees from one question to the next until something is
 * committed, and does not take the file's locks anew for each. The thread calls store_reader_rest()
 * before it sleeps for long, and with stale now and then: what is kept holds up the checkpoints. */
void store_reader_keep(StoreReader *reader);
/* Lets go of what is kept; stale: only if something was committed since. */
void store_reader_rest(StoreReader *reader, bool stale);

/* --- mailboxes --- */

#define STORE_MAX_BOX_ID ((1u << 17) - 2)
/* No mailbox: messages that the server has not numbered yet (log.h). */
#define STORE_BOX_PENDING ((1u << 17) - 1)

typedef struct {
    guint32 id;         /* 1 .. STORE_MAX_BOX_ID */
    guint32 parent;     /* id of the mailbox it is a child of; 0 at the top */
    char *name;         /* canonical name (wire/mailbox_name.h), all levels */
    char *leaf;         /* the file name of its directory (name_mailbox_level) */
    char delimiter;     /* 0: none */
    guint32 attributes; /* LIST_* of wire/response.h; LIST_NONEXISTENT also for levels we made up */
    guint32 uidvalidity, uidnext;
    guint64 highestmodseq;
    guint32 exists;        /* messages at the last sync */
    bool listed;           /* all messages were listed once: the rows are a whole mailbox */
    gint64 synced_ns;      /* when it was last known to be as on the server; 0 never */
    gint64 changed_ns;     /* when its entries last changed: mtime of the directory */
    char *permanent_flags; /* text form of Flags, or NULL when never selected for writing */
    bool read_only;        /* SELECT (not EXAMINE) said so */
    char *mailboxid;       /* RFC 8474, or NULL when not known */
    bool local;            /* not made on the server yet (log_mkbox) */
    bool doomed;           /* to be removed there (log_rmbox): shown to nobody */
    char *wire_name;       /* canonical name that the server knows it by: `name`, but for what is
                              pending (log_renbox); NULL: it does not know it */
    char *rights;          /* MYRIGHTS (RFC 4314) when it was last selected, or NULL */
} StoreBox;
void store_box_clear(StoreBox *box);

bool store_box_by_id(StoreReader *reader, guint32 id, StoreBox *out);
bool store_box_by_name(StoreReader *reader, const char *name, StoreBox *out);
bool store_box_by_wire_name(StoreReader *reader, const char *name, StoreBox *out);
bool store_box_by_leaf(StoreReader *reader, guint32 parent, const char *leaf, StoreBox *out);
/* Calls f for the children of parent with id > after, ascending by id, until it returns false. */
typedef bool (*StoreBoxFunc)(const StoreBox *box, gpointer data);
void store_box_children(StoreReader *reader, guint32 parent, guint32 after, StoreBoxFunc f,
                        gpointer data);
/* All of them, ascending by id. */
void store_box_all(StoreReader *reader, StoreBoxFunc f, gpointer data);
/* When the list of mailboxes was last known to be the server's (ns), 0 never; and when the entries
 * of the top directory last changed. */
gint64 store_boxes_synced(StoreReader *reader);
gint64 store_top_changed(StoreReader *reader);

/* --- messages --- */

typedef struct {
    guint32 uid;
    char *name;           /* name_message(); the directory is NAME.UID */
    char *from, *subject; /* decoded, UTF-8 */
    char *message_id;     /* raw, or NULL when never asked for */
    gint64 internaldate;
    gint32 zone;  /* minutes east */
    guint64 size; /* RFC822.SIZE as told */
    char *flags;  /* text form of wire/flags.h */
    guint64 modseq;
    char *emailid; /* or NULL */
    bool has_structure;
} StoreMsg;
void store_msg_clear(StoreMsg *msg);

bool store_msg_get(StoreReader *reader, guint32 box, guint32 uid, StoreMsg *out);
/* Whether any mailbox has a message of this name and number. */
bool store_msg_is_anywhere(StoreReader *reader, guint32 uid, const char *name, gsize length);
/* The message whose structure, sizes and contents a message's are: itself, but for a pending one
 * that is a copy. All that reads them here, and engine_want(), asks it. */
void store_origin(StoreReader *reader, guint32 box, guint32 uid, guint32 *box_out,
                  guint32 *uid_out);
/* Messages with uid > after, ascending, until f returns false. msg is borrowed for the call. */
typedef bool (*StoreMsgFunc)(const StoreMsg *msg, gpointer data);
void store_msg_each(StoreReader *reader, guint32 box, guint32 after, StoreMsgFunc f, gpointer data);
UidSet *store_msg_uids(StoreReader *reader, guint32 box); /* caller frees */
guint32 store_msg_count(StoreReader *reader, guint32 box);
guint32 store_msg_last_uid(StoreReader *reader, guint32 box); /* 0: there is none */
/* When the messages that a mailbox shows, or their Maildir letters, changed last (ns); 0: never
 * since this is written down. */
gint64 store_entries_changed(StoreReader *reader, guint32 box);
/* The next at most n UIDs > after, <= last, that have no structure yet. Caller frees. */
UidSet *store_msg_without_structure(StoreReader *reader, guint32 box, guint32 after, guint32 last,
                                    guint n);

/* A message's structure as text (imapfs/sync/structure_text.h says how); NULL when not known. ""
 * when it is known that there is none of use. Caller frees. */
char *store_structure_get(StoreReader *reader, guint32 box, guint32 uid);

/* Exact decoded sizes, immutable, kept when the content is evicted. -1 when not known. */
typedef enum {
    CONTENT_RAW,     /* BODY[section]: the exact bytes, still encoded */
    CONTENT_DECODED, /* transfer-decoded */
    CONTENT_TEXT,    /* transfer-decoded, UTF-8, LF */
    CONTENT_HTML,    /* the same with a BOM */
    CONTENT_HEADERS, /* headers.txt */
    CONTENT_LETTER,  /* the whole message (section "") as Maildir programs want it: LF for CRLF */
} ContentKind;
gint64 store_size_get(StoreReader *reader, guint32 box, guint32 uid, ContentKind kind,
                      const char *section);
typedef struct {
    gint64 bytes; /* -1: not known */
    bool proven;  /* known from when all of it was here, and not from what its ends look like */
} StoreSize;
StoreSize store_size_find(StoreReader *reader, guint32 box, guint32 uid, ContentKind kind,
                          const char *section);

/* --- twins: messages that have the same EMAILID and size ---
 *
 * What is known of one is true of the other. What hangs on section numbers (sizes, contents but
 * those of the whole message) only if their structures are the same text. */

/* The structure of a twin of this message; NULL: there is none. Caller frees. */
char *store_twin_structure(StoreReader *reader, guint32 box, guint32 uid);
/* Whether a twin knows sizes of parts that this message lacks; and takes them from it. */
bool store_twin_has_sizes(StoreReader *reader, guint32 box, guint32 uid);
bool store_twin_copy_sizes(StoreTxn *txn, guint32 box, guint32 uid, GError **error);

/* --- writing --- */

/* Waits for the writer lock. durable: fsynced at commit (log rows); else only consistent. */
StoreTxn *store_begin(Store *store, bool durable, GError **error);
/* Ends it either way; on failure everything is as before. When a write inside the transaction has
 * failed, the commit fails too. */
bool store_commit(StoreTxn *txn, GError **error);
void store_rollback(StoreTxn *txn);
StoreReader *store_txn_reader(StoreTxn *txn); /* sees the transaction's own writes */

/* What LIST said, whole. Adds the levels that are missing in between, keeps ids of names that stay,
 * takes away the rest (messages, structures and sizes with them; removed_out gets their StoreBox;
 * free with store_box_clear), bumps changed_ns of directories whose entries changed. */
typedef struct {
    const char *name;
    char delimiter;
    guint32 attributes;
} StoreListing;
bool store_boxes_reconcile(StoreTxn *txn, const StoreListing *listings, guint n, gint64 now_ns,
                           GArray *added_out /* of StoreBox, or NULL */,
                           GArray *removed_out /* of StoreBox, or NULL */, GError **error);

/* The mailbox has another UIDVALIDITY: gives it a new id without messages, moves its children,
 * bumps changed_ns of its parent. The old id's rows are gone. */
bool store_box_renew(StoreTxn *txn, guint32 box, guint32 uidvalidity, gint64 now_ns,
                     guint32 *new_id_out, GError **error);
/* uidvalidity (only from 0; another one than the row's is an error), uidnext, highestmodseq,
 * exists, listed, synced_ns, permanent_flags, read_only, mailboxid and rights (these unless NULL)
 * of the row with box->id. */
bool store_box_update(StoreTxn *txn, const StoreBox *box, GError **error);
bool store_box_touch(StoreTxn *txn, guint32 box, gint64 now_ns, GError **error); /* changed_ns */

/* Inserts; or updates flags, modseq (unless 0), and message_id and emailid if they were not known.
 * A row that is there keeps the rest, as that is immutable, and its structure. *new_out (or NULL):
 * it was not there. */
bool store_msg_put(StoreTxn *txn, guint32 box, const StoreMsg *msg, bool *new_out, GError **error);
/* *changed_out false when they were the same already, or the message is not known. modseq 0: leave.
 */
bool store_msg_set_flags(StoreTxn *txn, guint32 box, guint32 uid, const char *flags, guint64 modseq,
                         bool *changed_out, GError **error);
/* Messages, structures, sizes and contents of these UIDs; removed_out gets those that were there.
 */
bool store_msg_remove(StoreTxn *txn, guint32 box, const UidSet *uids, UidSet *removed_out,
                      GError **error);
/* Structures and sizes of messages that are not (or no longer) known are not kept: no error. */
bool store_structure_put(StoreTxn *txn, guint32 box, guint32 uid, const char *text, GError **error);
bool store_size_put(StoreTxn *txn, guint32 box, guint32 uid, ContentKind kind, const char *section,
                    guint64 size, GError **error);
/* One that was computed from its ends: only where none is known. */
bool store_size_put_computed(StoreTxn *txn, guint32 box, guint32 uid, ContentKind kind,
                             const char *section, guint64 size, GError **error);

/* Names in directories of mailboxes (parent 0: the top) that mean something else after this
 * transaction, for reasons of the log: since it began, or since this was called. Of StoreName;
 * caller unrefs. */
typedef struct {
    guint32 parent;
    char *leaf;
    guint32 moved; /* the mailbox that has this name now, with those below it; 0: none */
} StoreName;
GArray *store_txn_take_names(StoreTxn *txn);
/* Mailboxes that can hold messages from now on, or cannot any more: store_boxes_reconcile() has
 * found so since the transaction began, or since this was called. Of guint32; caller unrefs. */
GArray *store_txn_take_turned(StoreTxn *txn);
/* Counts what was committed that gave mailboxes other names. Any thread. */
guint store_moves(Store *store);

/* Small facts by name, of the account: last good mechanism, capabilities, schema notes. */
#define STORE_META_NAMESPACES "namespaces" /* one's own: the prefix of each, and LF */
#define STORE_META_QUOTA "quota"           /* lines: STORAGE (KiB) or MESSAGE, used, limit */
char *store_meta_get(StoreReader *reader, const char *key); /* caller frees */
/* value NULL: forget it. */
bool store_meta_put(StoreTxn *txn, const char *key, const char *value, GError **error);
