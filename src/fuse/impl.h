/* impl.h - what the files of the front share.
 *
 * Layer fuse, private. Locks (pthreads', as ThreadSanitizer does not see GLib's): Front.lock,
 * Notifier.lock, Changer.lock, Exact.lock and Estimates.lock are leaves, never held while libfuse
 * or the engine is called; libfuse's lock of a request may be held around Front.lock
 * (on_interrupt), never the other way round. */
#pragma once
#include <signal.h>
#include <fuse_lowlevel.h>
#include <pthread.h>

#include "imapfs/fuse/front.h"

/* --- notify.c --- */

typedef struct Request Request; /* request.c */
typedef struct Notifier Notifier;
Notifier *notifier_new(Front *front);
void notifier_free(Notifier *notifier);  /* joins, if it was started */
bool notifier_start(Notifier *notifier); /* false: no thread could be made */
/* Asks it to end; front->wake_fd is written when it did. */
void notifier_stop(Notifier *notifier);
bool notifier_is_running(Notifier *notifier);
/* The kernel is about to get a piece of a directory's listing, or the word that it has ended; it
 * keeps the listing, which is taken back when something in it changes or nobody watches over it. */
void notifier_note_listing(Notifier *notifier, guint64 ino, guint64 offset, bool ended);
/* Has the notifier run a request that is counted in front->answering, when all that it was told
 * before is done. False: it ends, run it yourself. */
bool notifier_answer(Notifier *notifier, Request *request);
/* From now on nobody is shown a listing of before. Any thread; waits for nobody. False: the kernel
 * does not know the directory. */
bool notifier_forget_listing(Notifier *notifier, guint64 dir);
/* What the kernel believes of a name is to be forgotten. */
void notifier_note_name(Notifier *notifier, guint64 dir, const char *name);

/* The kernel drops the bytes and the size that it has of a flags file, and the next open tells it
 * the size. Waits for READs of that file to be answered: not from the front thread. */
void front_forget_flags(Front *front, guint32 box, guint32 uid);
/* What it has of the listing and the times of MAILBOX/cur in .imapfs/maildir. */
void front_forget_maildir(Front *front, guint32 box);

/* --- estimates.c --- */

/* The inodes whose size the kernel was told as an estimate. */
typedef struct {
    pthread_mutex_t lock;
    GHashTable *inodes; /* keys: gint64 * in place of a set of 64-bit numbers */
} Estimates;
void estimates_init(Estimates *estimates);
void estimates_clear(Estimates *estimates);
/* The kernel is being told this entry. */
void estimates_note(Estimates *estimates, const TreeEntry *entry);
/* Whether the kernel may hold an estimate; it is forgotten. */
bool estimates_take(Estimates *estimates, guint64 ino);

/* --- exact.c --- */

typedef struct Exact Exact;
Exact *exact_new(void);
void exact_end(Exact *exact); /* when the mount is gone: closes what nobody will forget */
void exact_free(Exact *exact);
/* The kernel is being told this entry, or has forgotten an inode. */
void exact_note(Front *front, const TreeEntry *entry);
void exact_forget(Front *front, guint64 ino);
/* Where files are not opened, those whose bytes are made by an open are opened by their LOOKUP:
 * every one has a number of its own, by which these bytes are read until the kernel forgets it. */
TreeStatus exact_open_made(Request *request); /* of request->entry, which was looked up */
void exact_reply_made(Request *request);
bool exact_find(Front *front, guint64 ino, TreeEntry *out); /* false: no such number */
guint64 exact_origin(Front *front, guint64 ino); /* the tree's number of such a one; else ino */
void exact_op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset);

/* --- init.c --- */

/* What the two hooks of fuse_session_custom_io() know about the INIT exchange. */
typedef struct {
    gint expected;     /* atomic: the reply has not been seen yet */
    guint64 unique;    /* of the INIT request */
    guint32 add_flags; /* that libfuse forgets */
} InitPatch;
void init_patch_request(InitPatch *patch, const void *bytes, gsize length);
/* Bytes written, as writev(2). */
gssize init_patch_writev(InitPatch *patch, int fd, struct iovec *iov, int count);

/* --- mount.c --- */

/* Options as fuse_session_new() wants them. */
bool mount_options(const FrontConfig *config, struct fuse_args *args, GError **error);
void mount_log(enum fuse_log_level level, const char *format, va_list args);
/* What libfuse complained about last on this thread, or "". */
const char *mount_last_complaint(void);

/* --- request.c --- */

/* One kind of question. ask is run until it has an answer; then one of the others is run, once. */
typedef struct {
    const char *name;
    TreeStatus (*ask)(Request *request);
    void (*reply)(Request *request);
    void (*fail)(Request *request, int err); /* NULL: fuse_reply_err */
} RequestKind;

struct Request {
    Front *front;
    fuse_req_t req;
    const RequestKind *kind;
    TreeAsk ask;

    /* the question */
    guint64 ino;
    const char *name; /* libfuse's until the request waits, then own_name */
    char *own_name, *own_new_name;
    gsize size;
    guint64 offset;
    struct fuse_file_info fi;

    TreeChange change; /* of those that change something */
    bool has_change;

    /* the answer */
    TreeEntry entry;
    TreeFile *file;
    char *target;
    GBytes *value;
    struct statvfs statvfs;
    char *buffer; /* of size bytes, the first used of them filled */
    gsize used;

    /* waiting; from here on under front->lock */
    gint refs; /* atomic */
    guint rounds;
    NeedKind failed_kind;
    int failed_errno; /* of the last wait, when it failed */
    bool waits;       /* it is, or was, in front->waiting: others may see it */
    guint64 handle;   /* of engine_want; 0 when not known yet, or done */
    guint round;      /* tells a late handle from the current one */
    bool interrupted;
    bool claimed; /* somebody is replying, or has */
    GList link;
};

Request *request_new(fuse_req_t req, const RequestKind *kind, guint64 ino);
/* Takes. Replies, now or later, exactly once. */
void request_run(Request *request);
/* The same; what concerns a message whose flags are just being changed by a close waits for that.
 */
void request_start(Request *request);
/* Answers all that wait with EINTR. From the front thread, when front->stopping is set. */
void requests_end(Front *front);
/* No other thread is in the middle of a reply. */
bool requests_are_quiet(Front *front);

/* A reply that another thread than the front's is going to make, or has made. */
void front_answering(Front *front);
void front_answered(Front *front);

/* --- files.c --- */

typedef struct Opener Opener;
/* Files that are open in the kernel, and the thread that opens those whose size was an estimate. */
bool files_start(Front *front); /* false: no thread could be made */
void files_end(Front *front);   /* when the mount is gone: closes what nobody will release */
/* The attributes of an open file of this number. */
bool files_find(Front *front, guint64 ino, TreeEntry *out);
void files_op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
TreeStatus files_read_ask(Request *request); /* of request->file */
void files_op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                   struct fuse_file_info *fi);
void files_op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);

/* Take the file. */
void files_reply_create(Front *front, fuse_req_t req, const struct fuse_entry_param *entry,
                        struct fuse_file_info *fi, TreeFile *file);
void files_reply_open(Front *front, fuse_req_t req, struct fuse_file_info *fi, TreeFile *file);
void files_close(Front *front, TreeFile *file);

/* --- changes.c --- */

typedef struct Changer Changer;
/* The thread that writes down what is changed; replies come from it. */
bool changes_start(Front *front); /* false: no thread could be made */
void changes_end(Front *front);   /* when nothing comes any more */
/* Takes the request when it has to wait for a change that a close has left. */
bool changes_defer(Front *front, Request *request);
/* Refuses at once what can be, and answers it. NULL: it was. */
Request *changes_begin(fuse_req_t req, const RequestKind *kind, TreeChange change);
void changes_submit(Request *request);    /* with copies of what is libfuse's. Takes. */
void changes_push(Request *request);      /* one that changes nothing, but takes the disk's time */
TreeStatus changes_ask(Request *request); /* what became of the change */
void changes_reply(Request *request);     /* of one that answers with its errno only */
/* EROFS in place of a need that will never be answered: nothing is sent from a read-only mount. */
TreeStatus front_can_wait(Request *request, TreeStatus status);
void changes_op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void changes_op_close(fuse_req_t req, fuse_ino_t ino, TreeFile *file);
void changes_op_write(fuse_req_t req, fuse_ino_t ino, const char *bytes, size_t size, off_t offset,
                      struct fuse_file_info *fi);
void changes_op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
                        struct fuse_file_info *fi);
void changes_op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value,
                         size_t size, int flags);
void changes_op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name);
void changes_op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void changes_op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);

/* --- names.c --- */

void names_op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void names_op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void names_op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void names_op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
                     const char *new_name, unsigned int flags);

/* --- letters.c --- */

void letters_op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
                       struct fuse_file_info *fi);
void letters_op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void letters_op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t new_parent, const char *new_name);
void letters_op_copy_file_range(fuse_req_t req, fuse_ino_t from, off_t from_offset,
                                struct fuse_file_info *from_fi, fuse_ino_t to, off_t to_offset,
                                struct fuse_file_info *to_fi, size_t length, int flags);
/* Of what others have found to be one: a file that was opened, written, released. */
void letters_opened(fuse_req_t req, TreeFile *file);
void letters_write(fuse_req_t req, TreeFile *file, const char *bytes, size_t size, off_t offset);
void letters_release(fuse_req_t req, fuse_ino_t ino, TreeFile *file);
/* False: it is none. */
bool letters_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, TreeFile *file);

/* --- ops.c --- */

/* As the kernel is told it. */
struct fuse_entry_param ops_entry_param(Front *front, const TreeEntry *entry);

extern const struct fuse_lowlevel_ops front_ops;

/* --- front.c --- */

/* What the ending signals did before the front had them. */
typedef struct {
    struct sigaction ending[3];
    struct sigaction pipe;
} OldSignals;

struct Front {
    struct fuse_session *session;
    char *mountpoint;
    Tree *tree;     /* both borrowed, and only during front_run() and */
    Engine *engine; /* by requests that wait */
    Notifier *notifier;
    InitPatch init;
    Estimates estimates;
    int wake_fd;         /* eventfd: look up from /dev/fuse */
    bool brisk;          /* of the front thread: requests come one soon after the other */
    bool has_processors; /* of the front thread: more than one */
    gint signal;         /* atomic: the signal that ends the mount, or 0 */
    OldSignals old_signals;
    char *read_buffer; /* of the front thread */
    gsize read_size;

    Opener *opener;   /* during front_run() */
    Changer *changer; /* likewise */
    Exact *exact;     /* NULL: files are opened */
    bool no_open;     /* ... which the kernel has agreed to */
    bool read_only;
    gint flags_forgotten; /* atomic: how often the kernel was told to forget some flags */

    pthread_mutex_t lock;
    GHashTable *files; /* of TreeFile: open in the kernel */
    bool stopping;
    GQueue waiting;  /* of Request */
    guint answering; /* requests being replied to by other threads than the front's */
};
void front_wake(Front *front);

/* --- device.c --- */

/* libfuse reads and writes fd, the device, by our calls. False: errno. */
bool device_set_up(Front *front, int fd);
