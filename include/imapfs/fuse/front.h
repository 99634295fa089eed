/* front.h - the kernel's side: requests in, replies and invalidations out (libfuse low level).
 *
 * Layer fuse. Split: front.c (session, loop, signals), mount.c (options, what is wrong in words),
 * request.c (one question: run, wait, run again, reply once, interrupt), ops.c (the table of
 * operations), files.c (open, read, close), changes.c (what changes something, and its thread),
 * notify.c (the notifier thread), estimates.c (sizes the kernel holds that are not exact), exact.c
 * (files that are read without being opened), init.c (the INIT patch for PARALLEL_DIROPS, with the
 * libfuse versions it is for).
 *
 * Threads: front_run() is the front thread. A reply may come from the loop thread, when a request
 * had to wait, from the changer, or from the thread that opens files whose size was an estimate.
 * The front thread and the loop never call fuse_lowlevel_notify_*.
 *
 * Order of a program's life:
 *   front_new    mounts; makes no thread, so the program may still fork
 *   engine_new   with front_events, and the Front as events_data
 *   tree_new
 *   front_run    until unmounted or a signal; on the way out all that wait are answered EINTR, the
 *                notifier ends and the mount is taken away: nothing outside hangs on us any more
 *   engine_free  calls done (CANCELLED) for what was asked and uses the tree: both still there
 *   tree_free, store_close
 *   front_free   after this no callback may come */
#pragma once
#include "imapfs/tree/tree.h"

typedef struct Front Front;

typedef struct {
    const char *mountpoint;
    const char *fsname;        /* shown in /proc/mounts: never a secret */
    bool allow_other;          /* only by option */
    bool debug;                /* libfuse's own debug output */
    bool exact;                /* files are not opened (FUSE_NO_OPEN_SUPPORT), as TreeConfig.exact;
                                  with read_only */
    bool read_only;            /* nothing can be changed (EROFS), the log included */
    const char *extra_options; /* further mount options of the user, or NULL; the last word on an
                                  option wins */
} FrontConfig;

/* Whether it can be mounted here, as far as can be told before. Error CONFIG in words: no
 * /dev/fuse, no fusermount3, mountpoint not empty, not a directory, already mounted. */
bool front_check(const char *mountpoint, GError **error);
/* Mounts (noexec, nosuid, nodev; subtype imapfs; max_background 256). Errors as front_check(). */
Front *front_new(const FrontConfig *config, GError **error);
/* Serves until unmounted or a signal (INT, TERM, HUP) came; 0, or an exit code. Waiting requests
 * are ended with EINTR on the way out. */
int front_run(Front *front, Tree *tree, Engine *engine);
/* Unmounts (never hangs: a lazy unmount if the ordinary one is busy) and frees. */
void front_free(Front *front);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Front, front_free)

/* For EngineConfig: hands the engine's events to the notifier. data is the Front. */
extern const EngineEvents front_events;
