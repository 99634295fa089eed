/* tree.h - what exists: names, inodes, attributes, bytes.
 *
 * Layer tree. Any thread; answers from the store alone and never waits: what is missing is named as
 * a Need, and the caller asks again when the engine has put it there. Knows neither FUSE nor IMAP.
 *
 * An inode number is a node's identity in packed bits (see ino.h), so there is no inode table and
 * nothing to forget: it is stable across mounts and ascends with the UID. */
#pragma once
#include <sys/stat.h>
#include <sys/statvfs.h>
#include "imapfs/sync/engine.h"

typedef struct Tree Tree;

typedef struct {
    Store *store;
    Engine *engine;
    uid_t uid; /* owner of everything */
    gid_t gid;
    const char *account;
    gint64 mounted_ns;
    bool read_only; /* nothing can be changed: no w in any mode */
    bool exact;     /* files are read without being opened: no size is told before it is exact,
                       which then takes what opening would have. read_only as well */
    bool delete_expunges; /* never to the mailbox for trash first */
    guint guard;          /* deletions in a minute that go without being confirmed; 0: any number */
    bool append_no_id;    /* no Message-ID is put into letters that have none */
    bool append_unseen;   /* letters are not marked \\Seen */
} TreeConfig;
Tree *tree_new(const TreeConfig *config);
void tree_free(Tree *tree);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Tree, tree_free)

/* The calling thread asks one question after the other: what it sees of the store is kept between
 * them (store_reader_keep). tree_rest() as store_reader_rest(). */
void tree_keep(Tree *tree);
void tree_rest(Tree *tree, bool stale);

#define TREE_ROOT_INO 1

typedef enum {
    TREE_OK,
    TREE_NEED,  /* ask.need says what to wait for; then call again with the same arguments */
    TREE_ERROR, /* ask.err is the errno */
} TreeStatus;

/* One question. Made by the caller (zeroed), kept over the retries. */
typedef struct {
    guint settled; /* bits 1 << NeedKind, see tree_ask_settle() */
    Need need;
    int err;
} TreeAsk;
void tree_ask_clear(TreeAsk *ask);
/* The need was answered, well or not. For NEED_MAILBOXES, NEED_MAILBOX, NEED_STATUS and NEED_SIZES
 * the store is then as good as it gets: the next try is answered from it, unless it has nothing at
 * all, which is told by the same need again (never for sizes: there are estimates). NEED_REPLAYED
 * is noted so that changes which came since are not waited for as well. The other kinds are not. */
void tree_ask_settle(TreeAsk *ask, NeedKind kind);
bool tree_ask_is_settled(const TreeAsk *ask, NeedKind kind);

typedef struct {
    guint64 ino;
    struct stat st;
    double entry_ttl,
        attr_ttl; /* seconds; attr_ttl 0: the size is an estimate until it is opened */
} TreeEntry;

/* TREE_ERROR ENOENT is only said when the store is fresh or the ask is settled; out->entry_ttl is
 * then how long the answer may be believed. ESTALE: the node asked about is no longer there. */
TreeStatus tree_lookup(Tree *tree, TreeAsk *ask, guint64 parent, const char *name, TreeEntry *out);
TreeStatus tree_getattr(Tree *tree, TreeAsk *ask, guint64 ino, TreeEntry *out);
TreeStatus tree_readlink(Tree *tree, TreeAsk *ask, guint64 ino, char **target_out);

/* Entries after the cookie `after` (0: from the start), in inode order: ".", "..", child mailboxes,
 * then messages. add returns false when its buffer is full. full: entry.st is complete
 * (READDIRPLUS) where st_nlink is not 0; else it has only st_ino and the type in st_mode: of all,
 * of "." and "..", and of files whose size would have to be asked for. */
typedef bool (*TreeAdd)(const char *name, const TreeEntry *entry, guint64 cookie, gpointer data);
TreeStatus tree_readdir(Tree *tree, TreeAsk *ask, guint64 ino, guint64 after, bool full,
                        TreeAdd add, gpointer data);

/* The one place to wait for content. The file holds what it needs until it is closed. */
typedef struct TreeFile TreeFile;
TreeStatus tree_open(Tree *tree, TreeAsk *ask, guint64 ino, TreeFile **file_out);
TreeFile *tree_file_ref(TreeFile *file); /* any thread */
void tree_file_close(TreeFile *file);
guint64 tree_file_size(const TreeFile *file); /* of a large damaged one it may shrink, once */
bool tree_file_shrank(const TreeFile *file);
/* Whether it shrank since the last call of this: the kernel is to be told. Any thread. */
bool tree_file_resized(TreeFile *file);
bool tree_file_last(const TreeFile *file,
                    char *byte_out); /* its last byte, now; or there is none */
/* Its attributes when it was opened, for when its message is gone meanwhile; with the exact size.
 */
void tree_file_entry(const TreeFile *file, TreeEntry *out);
guint64 tree_file_ino(const TreeFile *file);
/* All its bytes, good as long as it is open, if they are at hand and will never change; else NULL.
 * Those of what is opened again are not: the kernel has them. */
const void *tree_file_bytes(const TreeFile *file, gsize *size_out);
/* Flags that are not opened again: they are read, and may change. */
bool tree_file_is_flags(const TreeFile *file);
bool tree_file_volatile(const TreeFile *file);  /* status, log: not to be kept in the page cache */
bool tree_file_corrected(const TreeFile *file); /* what was cached of it before may be wrong */
/* Bytes, or -1 with *err_out an errno; EAGAIN: some of the bytes are not here yet, and
 * tree_file_need() says what to wait for. Any thread. */
gssize tree_file_read(TreeFile *file, void *buffer, gsize size, guint64 offset, int *err_out);
/* The need for a range of a file whose bytes come as they are read. */
void tree_file_need(const TreeFile *file, gsize size, guint64 offset, TreeAsk *ask);

/* value NULL in the answer with TREE_ERROR ENODATA: no such attribute here. */
TreeStatus tree_getxattr(Tree *tree, TreeAsk *ask, guint64 ino, const char *name,
                         GBytes **value_out);
TreeStatus tree_listxattr(Tree *tree, TreeAsk *ask, guint64 ino,
                          GBytes **names_out); /* NUL-separated */
TreeStatus tree_statfs(Tree *tree, TreeAsk *ask, struct statvfs *out);

/* --- changing: any thread, one at a time ---
 *
 * What a person changes is logged (store/log.h) in a durable transaction, which many changes share.
 */

/* Opens what can be changed: flags, and files of .imapfs. flags: of open(2). EPERM for others. */
TreeStatus tree_open_to_change(Tree *tree, TreeAsk *ask, guint64 ino, int flags,
                               TreeFile **file_out);
bool tree_file_changes(const TreeFile *file); /* it was opened so */
/* Closing it changes something yet: it was truncated when it was opened, and nothing was written.
 */
bool tree_file_owes_change(const TreeFile *file);

typedef enum {
    TREE_CHANGE_OPEN,        /* of a file opened to be changed, with O_TRUNC; unless it is refused,
                                in which case a truncation only counts with what follows */
    TREE_CHANGE_WRITE,       /* bytes */
    TREE_CHANGE_CLOSE,       /* of a file that owes a change */
    TREE_CHANGE_TRUNCATE,    /* to size; file, or NULL */
    TREE_CHANGE_TOUCH,       /* times */
    TREE_CHANGE_SETXATTR,    /* name, bytes, flags of setxattr(2) */
    TREE_CHANGE_REMOVEXATTR, /* name */
    TREE_CHANGE_UNLINK,      /* name in a directory */
    TREE_CHANGE_RMDIR,
    TREE_CHANGE_MKDIR,
    TREE_CHANGE_RENAME, /* name in a directory to new_name in new_ino; flags of renameat2(2) */
    TREE_CHANGE_LINK,   /* ino as new_name in new_ino: a copy there */
    TREE_CHANGE_LETTER, /* a file of tree_create() is closed: it becomes a message */
} TreeChangeKind;

typedef struct {
    guint32 box, uid;
} TreeMessage;

typedef struct {
    guint64 dir;
    char *name;
} TreePlace;

/* Made by the caller, zeroed but for the question, whose pointers are borrowed. */
typedef struct {
    TreeChangeKind kind;
    guint64 ino;
    TreeFile *file;
    const char *name;
    const char *bytes;
    guint64 size;
    int flags;
    guint64 new_ino;
    const char *new_name;

    int err;           /* 0, or why it was refused */
    bool must_wait;    /* it is only done when this need was answered */
    Need need;         /* (has no strings) */
    GArray *messages;  /* of TreeMessage (uid 0: of the mailbox as a whole); NULL: none */
    GArray *places;    /* of TreePlace: names that mean something else now; NULL: none */
    GArray *names;     /* of StoreName: the same of mailboxes, wherever they are shown */
    bool places_first; /* the kernel holds no lock for it: its places go before it is answered */
    TreeMessage made;  /* what a message is now that was moved, copied or appended; or 0, 0 */
    guint before;      /* what the file remembered */
} TreeChange;

/* What has to be known before it can be tried: a question like any other. */
TreeStatus tree_prepare(Tree *tree, TreeAsk *ask, const TreeChange *change);
/* 0, or the errno by which such a change is refused whatever the store says. */
int tree_change_refusal(const TreeChange *change);
/* Applies them, in their order, in one durable transaction. One that is refused leaves the others;
 * when the transaction fails (false) all have its errno and nothing was changed. Then, of the
 * messages that a change names, the kernel must forget what it keeps of their flags, and
 * engine_logged() be called, before who asked for it is answered; and its places soon after (not
 * before: the kernel may hold their directories' locks). The times are for measuring. */
typedef struct {
    gint64 whole_us, commit_us;
} TreeChangeTimes;
bool tree_change_all(Tree *tree, TreeChange *const *changes, guint n, TreeChangeTimes *times_out);
guint64 tree_ino_made(const TreeChange *change); /* of a LINK that was done: what is there now */
void tree_change_clear(TreeChange *change);

/* --- letters: files that become messages --- */

/* Makes a file in a mailbox: only NAME.eml, else EPERM. What is written to it is kept aside and
 * becomes a message by TREE_CHANGE_LETTER; without that, or without a byte, it is gone when it is
 * closed. Takes the disk's time, not the network's. */
TreeStatus tree_create(Tree *tree, TreeAsk *ask, guint64 parent, const char *name,
                       TreeEntry *entry_out, TreeFile **file_out);
bool tree_file_is_letter(const TreeFile *file); /* of tree_create(), or a draft being replaced */
/* It has bytes, or stands for a copy, and did not become a message yet. */
bool tree_file_owes_letter(const TreeFile *file);
/* Who may make a message of it; the front's own, 0 at first. */
void tree_file_set_owner(TreeFile *file, guint64 owner);
guint64 tree_file_owner(const TreeFile *file);
/* 0, or an errno. Any thread. */
int tree_file_write(TreeFile *file, const void *bytes, gsize size, guint64 offset);
bool tree_ino_is_letter(guint64 ino); /* of one that tree_create() made */
/* file: or NULL. */
int tree_letter_truncate(Tree *tree, guint64 ino, TreeFile *file, guint64 size);
int tree_letter_touch(Tree *tree, guint64 ino, gint64 seconds); /* its INTERNALDATE is to be that */
/* The whole of a message's bytes into an empty letter, without reading them: what becomes of it is
 * a copy. 0, or EOPNOTSUPP: not the whole of a message, so read and write. */
int tree_file_copy(Tree *tree, guint64 from, guint64 offset, guint64 length, TreeFile *to,
                   guint64 to_offset, guint64 *copied_out);

/* fsync: nothing is pending of a message, of a mailbox, or for other nodes at all. EIO: a change of
 * this message was refused by the server, and is kept in .imapfs/failed. */
TreeStatus tree_sync(Tree *tree, TreeAsk *ask, guint64 ino);

/* The message that a number belongs to; false: none. */
bool tree_ino_is_of_message(guint64 ino, TreeMessage *out);

/* Its bytes are made when it is opened: those of two opens may differ. */
bool tree_ino_is_made(guint64 ino);
/* A number that no node has, for the n-th of them. */
guint64 tree_ino_of_made(guint32 n);
bool tree_ino_is_content(guint64 ino); /* a regular file's: of bytes that came from the server */

/* For the notifier: the inode numbers behind the engine's events. */
guint64 tree_ino_box(guint32 box);                  /* a mailbox's directory; 0: the root */
guint64 tree_ino_message(guint32 box, guint32 uid); /* a message's directory */
guint64 tree_ino_flags(guint32 box, guint32 uid);   /* its flags file */
guint64 tree_ino_raw_box(guint32 box);              /* .imapfs/raw/MAILBOX */
guint64 tree_ino_uid_dir(guint32 box);              /* MAILBOX/.uid */
/* "NAME.UID", of a pending one "NAME.+n"; caller frees. */
char *tree_message_entry_name(guint32 box, const char *name, guint32 uid);
char *tree_uid_name(guint32 box, guint32 uid, const char *suffix); /* "UID" or "+n"; caller frees */
guint64 tree_ino_maildir(guint32 box);                             /* .imapfs/maildir/MAILBOX */
guint64 tree_ino_maildir_cur(guint32 box);
/* The mailbox that a message is shown in; 0: none. */
guint32 tree_message_box(Tree *tree, guint32 box, guint32 uid);
/* The places where mailboxes are directories. */
typedef enum { TREE_VIEW_TREE, TREE_VIEW_RAW, TREE_VIEW_MAILDIR } TreeView;
#define TREE_VIEWS 3
guint64 tree_ino_box_in(guint32 box, TreeView view);
char *tree_box_entry_name(const char *leaf, TreeView view); /* caller frees */
/* Where a mailbox's directories are; names are the caller's to free. */
bool tree_place_of_box(Tree *tree, guint32 box, TreePlace places_out[TREE_VIEWS]);
/* The links in a mailbox that is elsewhere now, and in those below it, which point elsewhere now: f
 * tells the kernel, and whether it knew that inode; of messages that it does not know, none. */
typedef bool (*TreeForget)(guint64 ino, gpointer data);
void tree_each_link(Tree *tree, guint32 box, TreeForget f, gpointer data);
/* The mailbox whose listing a directory shows: -1 when it is no such directory, 0 for those that
 * show mailboxes only. */
gint64 tree_ino_listed_box(guint64 ino);
