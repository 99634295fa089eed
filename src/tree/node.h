/* node.h - what the files of the tree share: a node, a kind of node, and the call being answered.
 *
 * Layer tree, private. A Node is made anew for every call from the bits of its inode number and the
 * rows of the store; nothing of it is kept. */
#pragma once
#include "imapfs/base/limits.h"
#include "imapfs/mime/base64_map.h"
#include "imapfs/mime/layout.h"
#include "imapfs/store/log.h"
#include "imapfs/tree/ino.h"
#include "imapfs/tree/tree.h"
#include "imapfs/wire/flags.h"
#include "given.h"

#define NODE_TTL 3600.0       /* the notifier takes back what changes sooner */
#define NODE_PENDING_TTL 1.0  /* names of what the server is about to number, and old names */
#define NODE_NEGATIVE_TTL 5.0 /* "no such name" in a mailbox whose rows are the server's */

typedef struct Unlinked Unlinked;
typedef struct Guard Guard;
typedef struct Opens Opens;

struct Tree {
    TreeConfig config;
    char *account;
    guint64 serial; /* tells the entries of two trees in a thread's cache apart */
    Layout *bare;   /* layout_new(NULL): headers.txt, flags, message.eml, PROBLEM.txt */
    Given *given;
    Unlinked *unlinked;
    Opens *opens;
    Guard *guard;    /* of the thread that applies changes */
    gint told_sizes; /* atomic: TOLD_*, of the sizes that the server tells of whole messages */
};

/* One call of tree.h. */
typedef struct {
    Tree *tree;
    StoreReader *reader;
    TreeAsk *ask;
} Call;

/* Slots of box 0, uid 0 (the fixed nodes) and of uid 0 in a mailbox. */
enum {
    SLOT_ROOT = TREE_ROOT_INO,
    SLOT_CONTROL,
    SLOT_STATUS,
    SLOT_LOG,
    SLOT_RAW_TOP,
    SLOT_QUEUE,
    SLOT_FAILED,
    SLOT_EVENTS,
    SLOT_CTL,
    SLOT_SYNC,
    SLOT_MAILDIR_TOP = 16,
};
enum {
    SLOT_BOX = 1,
    SLOT_UID_DIR,
    SLOT_RAW_BOX,
    SLOT_MAILDIR_BOX = 16,
    SLOT_MAILDIR_CUR,
    SLOT_MAILDIR_NEW,
    SLOT_MAILDIR_TMP,
};

/* Slots of a logged operation: box 0, its number in the place of the UID. */
enum {
    SLOT_OP_QUEUED = 1,
    SLOT_OP_FAILED,
    SLOT_OP_REASON,
    SLOT_OP_MESSAGE,
    SLOT_OP_EML,
    SLOT_OP_RETRY,
    SLOT_OP_DISCARD,
    SLOT_OP_LETTER,
    SLOT_GIVEN,  /* a name that a person gave, its number in the place of the UID */
    SLOT_LETTER, /* the same while it is being written */
    SLOT_MADE,   /* none of the tree's: tree_ino_of_made() */
};

/* Slots of a message: the index of a node in its layout, or that plus SLOT_RAW for the exact bytes
 * of its section. The first four nodes of a layout have no section of their own, so their numbers
 * serve the directory UID/, UID.eml, .uid/UID and the file in .imapfs/maildir. */
#define SLOT_RAW (1u << (INO_SLOT_BITS - 1))
enum { SLOT_RAW_DIR = SLOT_RAW, SLOT_RAW_EML, SLOT_UID_LINK, SLOT_MAILDIR_FILE };
#define SLOT_LAYOUT_MAX SLOT_RAW /* a layout with more nodes cannot be shown */

typedef struct NodeKind NodeKind;

typedef struct {
    guint64 number;
    Ino ino;
    const NodeKind *kind;
    StoreBox box;           /* nodes of a mailbox */
    StoreMsg msg;           /* nodes of a message */
    LogOp op;               /* nodes of a logged operation */
    GivenName given;        /* names that a person gave */
    const Layout *layout;   /* nodes in a message's directory: borrowed from the thread's cache, */
    const LayoutNode *part; /* good until the next layout_load() */
} Node;
void node_clear(Node *node);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Node, node_clear)
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(StoreBox, store_box_clear)
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(StoreMsg, store_msg_clear)
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(LogOp, log_op_clear)

/* A listing under way. Cookies of one directory ascend; 1 and 2 are "." and "..". */
typedef struct {
    const Call *call;
    guint64 after;
    bool full;
    TreeAdd add;
    gpointer data;
    const StoreBox *box; /* whose names need it */
} Listing;
#define COOKIE_DOT 1
#define COOKIE_DOTDOT 2
#define COOKIE_BOX (1ull << 33)     /* + id of a child mailbox */
#define COOKIE_MESSAGE (2ull << 33) /* + UID, or what else a directory counts by */
#define COOKIE_PENDING (3ull << 33) /* + n */

/* What a file that was opened to be changed remembers between two changes. */
enum {
    FILE_APPENDS = 1 << 0,   /* O_APPEND */
    FILE_TRUNCATED = 1 << 1, /* O_TRUNC, and nothing was done about it yet */
    FILE_EMPTIED = 1 << 2,   /* by ftruncate */
    FILE_LISTS = 1 << 3,     /* a full list of flags was begun */
    FILE_ALTERS = 1 << 4,    /* lines with + and - were written */
    FILE_DONE = 1 << 5,      /* what it is there for has happened */
    FILE_TRIED = 1 << 6,     /* to write, well or not: closing it changes nothing more */
};

typedef struct LetterReady LetterReady; /* letter.h */

/* What the changes of one transaction share. */
typedef struct {
    bool trash_known;
    guint32 trash; /* the mailbox; 0: none */
    guint n_held;
} Batch;

/* A change being applied. */
typedef struct {
    const Call *call;
    StoreTxn *txn;
    TreeChange *change;
    guint memory;   /* of the file, FILE_* */
    GError **error; /* of the transaction */
    Batch *batch;
    LetterReady *ready; /* of TREE_CHANGE_LETTER */
    bool failed;        /* set when the transaction has */
} Changing;

/* What a node can do; NULL: ENOTDIR, EISDIR, EINVAL or EPERM, whichever fits. A regular file with
 * `change` can be opened to be changed. */
struct NodeKind {
    const char *name;
    mode_t mode; /* type and permissions */
    guint xattrs;
    /* Completes an entry that node_entry() began: size, times, and ttls where they are not long. */
    void (*fill)(const Call *call, const Node *node, TreeEntry *out);
    TreeStatus (*lookup)(const Call *call, const Node *dir, const char *name, TreeEntry *out);
    TreeStatus (*readdir)(const Node *dir, Listing *listing);
    TreeStatus (*open)(const Call *call, const Node *node, TreeFile **file_out);
    TreeStatus (*readlink)(const Call *call, const Node *node, char **target_out);
    guint changes;                                       /* 1 << TREE_CHANGE_*: those it takes */
    int (*change)(Changing *changing, const Node *node); /* 0 or an errno */
    bool reopens; /* opening it again means the same as long as its message is there */
    bool made;    /* its bytes are made when it is opened */
};
enum {
    XATTR_OF_BOX = 1 << 0,
    XATTR_OF_MESSAGE = 1 << 1,
    XATTR_OF_PART = 1 << 2,    /* has a section and a type */
    XATTR_OF_CONTENT = 1 << 3, /* may be cached */
};

#define CHANGES_OF_A_FILE \
    (1 << TREE_CHANGE_WRITE | 1 << TREE_CHANGE_CLOSE | 1 << TREE_CHANGE_TRUNCATE)
#define CHANGES_OF_NAMES (1 << TREE_CHANGE_MKDIR | 1 << TREE_CHANGE_RMDIR | 1 << TREE_CHANGE_RENAME)
#define CHANGES_OF_MAILDIR \
    (1 << TREE_CHANGE_RENAME | 1 << TREE_CHANGE_UNLINK | 1 << TREE_CHANGE_LINK)
#define CHANGES_OF_XATTRS (1 << TREE_CHANGE_SETXATTR | 1 << TREE_CHANGE_REMOVEXATTR)

#define MODE_DIR (S_IFDIR | 0500)
#define MODE_FILE (S_IFREG | 0400)
#define MODE_LINK (S_IFLNK | 0777)

extern const NodeKind kind_root;                                    /* top.c */
extern const NodeKind kind_control, kind_status, kind_log;          /* control.c */
extern const NodeKind kind_events, kind_ctl, kind_sync;             /* control.c */
extern const NodeKind kind_queue, kind_queued;                      /* logged.c */
extern const NodeKind kind_failed, kind_parked, kind_reason;        /* logged.c */
extern const NodeKind kind_op_message, kind_op_eml, kind_op_letter; /* logged.c */
extern const NodeKind kind_retry, kind_discard;                     /* logged.c */
extern const NodeKind kind_raw_top, kind_raw_box;                   /* raw.c */
extern const NodeKind kind_raw_dir, kind_raw_eml, kind_raw_section; /* raw.c */
extern const NodeKind kind_mailbox, kind_uid_dir, kind_uid_link;    /* mailbox.c */
extern const NodeKind kind_given;                                   /* where.c */
extern const NodeKind kind_letter;                                  /* letter.c */
extern const NodeKind kind_message;                                 /* message.c */
extern const NodeKind kind_maildir_top, kind_maildir_box;           /* maildir.c */
extern const NodeKind kind_maildir_cur, kind_maildir_new;           /* maildir.c */
extern const NodeKind kind_maildir_tmp, kind_maildir_file;          /* maildir.c */
extern const NodeKind kind_part, kind_problem, kind_eml;            /* part.c */
extern const NodeKind kind_flags;                                   /* flags.c */

/* --- tree.c --- */

/* Which node a number means, with its rows. ESTALE: no longer there. */
TreeStatus node_load(const Call *call, guint64 number, Node *out);
/* Its kind, where the number alone tells it; else NULL. */
const NodeKind *node_kind_of_number(guint64 number);
/* The child of a message's directory at an index of its layout. Borrows msg and layout. */
void node_of_layout(Node *out, const Node *of, const Layout *layout, guint index);
void node_entry(const Call *call, const Node *node, TreeEntry *out);

TreeStatus call_error(const Call *call, int err);
/* ENOENT, which may be believed for that long. */
TreeStatus call_negative(const Call *call, double ttl, TreeEntry *out);
/* Names what is missing; of the strings copies are kept. */
TreeStatus call_need(const Call *call, NeedKind kind, guint32 box, guint32 uid);
TreeStatus call_need_content(const Call *call, const ContentKey *key, const LayoutNode *part,
                             gint64 encoded_size);

/* TREE_OK when the size of a node may be told: it is known, or an estimate has to do; and the times
 * of a Maildir's directories, by which programs go. */
TreeStatus call_size_known(const Call *call, const Node *node);
/* TREE_OK when a listing, or a "no such name", may be given from the store. */
TreeStatus call_boxes_fresh(const Call *call);
TreeStatus call_messages_fresh(const Call *call, const StoreBox *box);

bool box_is_selectable(const StoreBox *box);
void entry_set_size(TreeEntry *entry, guint64 size);
void entry_set_seconds(TreeEntry *entry, gint64 seconds);
void entry_set_ns(TreeEntry *entry, gint64 ns);
/* The exact size when it is known, else the estimate with attr_ttl 0. proven: no size of such a
 * content was computed, so the kernel may keep what is in the store. */
void entry_set_content_size(const Call *call, const ContentKey *key, guint64 estimate, bool proven,
                            TreeEntry *entry);

/* False when the caller's buffer is full. */
bool listing_add(const Listing *listing, guint64 cookie, const char *name, const Node *node);
bool listing_add_dots(const Listing *listing, const Node *dir, guint64 parent);

/* Digits without a leading zero, 1 to 2^32-1, up to suffix and the end; 0 for anything else. */
guint32 uid_parse(const char *text, const char *suffix);

/* --- boxes.c: child mailboxes, in the tree, in .imapfs/raw and in .imapfs/maildir --- */

TreeStatus boxes_lookup(const Call *call, guint32 parent, const char *name, TreeView view,
                        TreeEntry *out);
bool boxes_list(const Listing *listing, guint32 parent, TreeView view);
/* The name of a mailbox in a view: its leaf, but for one that something else has there. Caller
 * frees. */
char *boxes_leaf(const char *leaf, TreeView view);
/* "A/B" under the root; NULL when it is gone. Caller frees. */
char *boxes_path(const Call *call, guint32 box);
/* "A/B" under raw/, and how many levels that are; NULL when it is gone. Borrowed from the thread
 * until the next call. */
const char *boxes_raw_path(const Call *call, guint32 box, guint *depth_out);

/* --- maildir.c --- */

char *maildir_leaf(const char *leaf);
/* What "%63ur" stands for, or NULL. Caller frees. */
char *maildir_leaf_decode(const char *name);
/* The message of a name in cur/ or new/; ENOENT (in entry_out how long that may be believed), or
 * what there is to wait for. */
TreeStatus maildir_find(const Call *call, const Node *dir, const char *name, Node *out,
                        TreeEntry *entry_out);
/* "BASE:2,LETTERS", in new/ also "BASE"; base is the caller's, letters are in name. False: it has
 * no letters. */
bool maildir_split(const Node *dir, const char *name, char **base_out, const char **letters_out);
Node maildir_file_node(guint32 box, const StoreMsg *msg); /* borrows msg */

/* Names that programs gave there, as `dir` of given.h: of files of a mailbox, without the letters,
 * and of those in its tmp/. */
enum { MAILDIR_FILES = 1, MAILDIR_TMP };
#define MAILDIR_PLACE(box, what) ((box) | (guint32)(what) << 20)

/* --- maildir_change.c --- */

int maildir_change(Changing *changing, const Node *dir); /* of names in cur/ and new/ */
int maildir_file_change(Changing *changing, const Node *node);
/* Where a change brings a file: its directory, base and flags. 0 or an errno. */
typedef struct {
    Node dir;
    char *base;
    Flags flags;
} MaildirTarget;
void maildir_target_clear(MaildirTarget *target);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(MaildirTarget, maildir_target_clear)
int maildir_target_of(const Call *call, const TreeChange *change, MaildirTarget *out);

/* --- maildir_tmp.c: files that are being delivered --- */

TreeStatus maildir_tmp_lookup(const Call *call, const Node *dir, const char *name, TreeEntry *out);
int maildir_tmp_change(Changing *changing, const Node *dir);
int maildir_letter_change(Changing *changing, const Node *node); /* LINK of what is in tmp/ */
/* The letter that a change makes a message of, a new reference, told where it goes; NULL: it is
 * about none, or *err_out is why it cannot be. */
Letter *maildir_letter_of(Tree *tree, const TreeChange *change, int *err_out);
/* It was done: the names by which its message is found. */
void maildir_changed(Tree *tree, const TreeChange *change);
bool maildir_is_target(const TreeChange *change); /* it brings a file to a cur/ or new/ */

/* --- box_changes.c --- */

/* MKDIR, and RMDIR and RENAME of a name that is no message's, in the root or a mailbox. */
int boxes_change(Changing *changing, const Node *dir);
/* RFC 4314, as far as it is known: whether the server says that this may be done. */
bool box_permits(const StoreBox *box, char right);

/* --- mailbox.c --- */

/* A message that is shown in a mailbox (box: that, or STORE_BOX_PENDING), also when it came while
 * it was looked for; else what there is to wait for, or ENOENT. */
TreeStatus message_find_in(const Call *call, const Node *dir, guint32 box, guint32 uid,
                           StoreMsg *msg, TreeEntry *out);
/* One that has a UID. */
TreeStatus message_find(const Call *call, const Node *dir, guint32 uid, StoreMsg *msg,
                        TreeEntry *out);
/* The entry of a message's node; that of a pending one is not believed for long. */
void message_entry(const Call *call, Node *node, TreeEntry *out);
/* The messages that are shown in a mailbox, then the pending ones. False: the buffer is full. */
typedef bool (*MessageAdd)(const Listing *listing, guint32 box, const StoreMsg *msg);
typedef struct MessageWalk MessageWalk;
bool messages_list(const Listing *listing, guint32 box, MessageAdd add);
/* Of a mailbox's directory: the mailboxes in it, then its messages. parent: the inode of "..". */
TreeStatus messages_readdir(const Node *dir, Listing *listing, TreeView view, guint64 parent,
                            MessageAdd add);
guint64 message_cookie(guint32 box, guint32 uid);

/* --- where.c: where a message is shown, and under which name --- */

/* The mailbox; 0: nowhere, as it is hidden, or what places it was parked. */
guint32 where_shown(StoreReader *reader, guint32 box, guint32 uid);
/* "A/B/NAME.7" as it is reached from another mailbox (0: the root); NULL when it is not shown.
 * Caller frees. */
char *where_path(const Call *call, guint32 from, guint32 box, guint32 uid);
/* What a message's name is about: "NAME.7" or "NAME.+7" in a mailbox, well formed. */
typedef struct {
    guint32 box, uid;
    gsize length; /* of NAME */
} NameParts;
bool where_parse(guint32 dir, const char *name, NameParts *out);
bool where_is_named(const StoreMsg *msg, const char *name, gsize length);
/* A name of a message that is not, or no longer, its own: an old one, or one that a person gave.
 * False: there is none. */
bool where_old_name(const Call *call, guint32 dir, const char *name, Node *out);
TreeStatus where_load_given(const Call *call, Node *node); /* of SLOT_GIVEN and SLOT_LETTER */
/* The message that is meant when this one is named: itself, or what it was moved to. */
void where_went(StoreReader *reader, TreeMessage *message);
/* The mailbox for what is deleted; 0: none. */
guint32 where_trash(StoreReader *reader);

/* --- unlinked.c: parts of messages that were unlinked, for a while --- */

Unlinked *unlinked_new(void);
void unlinked_free(Unlinked *unlinked);
void unlinked_add(Unlinked *unlinked, guint64 dir, guint64 ino);
bool unlinked_has(Unlinked *unlinked, guint64 ino);
/* When the last part of a directory (message, or one inside it) was unlinked; 0: none is. */
gint64 unlinked_since(Unlinked *unlinked, guint64 dir);

/* --- message.c --- */

/* Index of the child of that name in a message's directory; 0: none. */
guint message_child(const Layout *layout, guint parent, const char *name);

/* --- message_changes.c --- */

/* RMDIR and RENAME of a message in a mailbox. */
int message_change_name(Changing *changing, const Node *dir);
/* UNLINK and RENAME of a name that a letter was written under. -1: it is none. */
int message_change_given(Changing *changing, const Node *dir);
/* LINK of its bytes. */
int message_change_link(Changing *changing, const Node *node);
/* Its xattrs; and UNLINK and RMDIR of what is in its directory. */
int message_change(Changing *changing, const Node *node);
/* Deletes one that is shown in a mailbox, as the options say. */
int message_delete(Changing *changing, guint32 shown, const TreeMessage *message);
int message_move(Changing *changing, const TreeMessage *message, guint32 to_box, bool held);
int message_copy(Changing *changing, const TreeMessage *message, guint32 to_box);
int letter_name_problem(const char *name); /* 0, or EPERM */
/* Notes all that the kernel knows of a message's name and of what stands for it elsewhere. */
void changing_note_names(Changing *changing, guint32 dir, guint32 box, const StoreMsg *msg);
/* The same of what this change has made. */
void changing_note_made(Changing *changing);

/* --- guard.c --- */

Guard *guard_new(guint most);
void guard_free(Guard *guard);
/* One more deletion. True: it is one too many for this minute, and has to be confirmed. */
bool guard_exceeds(Guard *guard, gint64 now_us);
void guard_tell(Tree *tree, guint n); /* that so many more wait to be confirmed */

/* --- layouts.c --- */

/* The layout of a message, from a small cache of the thread. */
TreeStatus layout_load(const Call *call, guint32 box, guint32 uid, const Layout **out);
void layouts_forget(Tree *tree); /* this thread's */

/* --- part.c --- */

ContentKind part_content_kind(LayoutKind kind);

/* --- flags.c --- */

/* The flags a person sees: all that shows flags asks here. In their text form, or one a line.
 * Caller frees. */
char *flags_shown(StoreReader *reader, guint32 box, const StoreMsg *msg);
char *flags_text(StoreReader *reader, guint32 box, const StoreMsg *msg);
int flags_change(Changing *changing, const Node *node); /* of flags, and a message's xattrs */

/* --- file.c --- */

enum { TOLD_UNKNOWN, TOLD_RIGHT, TOLD_WRONG };
void file_note_told(Tree *tree, guint64 told, guint64 is);
/* A whole message that is fetched when it is read, not when it is opened: who copies it need not
 * read it. Only where the size that was told may be believed: one that is wrong then makes every
 * read fail, as its reader has been misled. */
TreeFile *file_of_later(Tree *tree, const ContentKey *key, guint64 told);

TreeFile *file_of_content(Content *content);          /* takes */
TreeFile *file_of_text(char *text, bool is_volatile); /* takes */
TreeFile *file_of_events(Engine *engine);
TreeFile *file_of_letter(Letter *letter);  /* takes */
Letter *file_letter(const TreeFile *file); /* NULL: it is none */
TreeFile *file_of_flags(Tree *tree, guint32 box, guint32 uid, bool again);
/* False: it is of no content, or of one that may not be what the kernel keeps of it. */
bool file_ticket(const TreeFile *file, ContentTicket *out);
void file_set_entry(TreeFile *file, const TreeEntry *entry);
void file_set_changes(TreeFile *file, guint memory); /* opened to be changed */
guint file_memory(const TreeFile *file);
void file_remember(TreeFile *file, guint memory);
/* Opens a content or asks for it; encoded_size is for Need. */
TreeStatus file_open_content(const Call *call, const ContentKey *key, const LayoutNode *part,
                             gint64 encoded_size, TreeFile **file_out);

/* --- opens.c --- */

Opens *opens_new(void);
void opens_free(Opens *opens);
/* removals: content_removals(). NULL: not known. Of the node what an entry begins with. */
TreeFile *opens_open(Tree *tree, guint64 number, guint64 removals, Node *out);
/* removals: as it was before the file was opened. */
void opens_note(Tree *tree, const Node *node, TreeFile *file, guint64 removals);

/* --- change.c --- */

/* What is shown of a message has changed, if this is committed. */
void changing_note(Changing *changing, guint32 box, guint32 uid);
/* ... and a name in a directory means something else then. */
void changing_note_place(Changing *changing, guint64 dir, const char *name);
void changing_note_boxes(Changing *changing); /* names of mailboxes, as the transaction has them */
/* The errno for an error of log_*(), which is freed; notes when the transaction failed with it. */
int changing_refuse(Changing *changing, GError *error);

/* --- logged.c --- */

/* On the operation of that number, or on all of the kind that this can be done to. */
typedef bool (*LogDo)(StoreTxn *txn, guint32 seq, GError **error);
int logged_do(Changing *changing, LogDo what, guint32 seq);
int logged_do_all(Changing *changing, LogDo what, bool failed);
bool logged_retry(StoreTxn *txn, guint32 seq, GError **error); /* log_retry, now */

/* --- xattr.c --- */

TreeStatus xattr_get(const Call *call, const Node *node, const char *name, GBytes **value_out);
TreeStatus xattr_list(const Call *call, const Node *node, GBytes **names_out);
