/* dir.h - directories and files that only we may touch, and the lock.
 *
 * Private to the store. */
#pragma once
#include <glib.h>
#include <stdbool.h>

typedef struct {
    int fd;
    char *path; /* absolute, without symbolic links */
} Dir;
#define DIR_CLOSED ((Dir){.fd = -1})

/* Makes (0700, parents too) and opens a directory; refuses one that is a symbolic link, that
 * another owns, or that others may write. Others' right to look inside is taken away. */
bool dir_open(const char *path, Dir *out, GError **error);
/* The same for a directory inside. */
bool dir_open_child(const Dir *parent, const char *name, Dir *out, GError **error);
void dir_close(Dir *dir); /* DIR_CLOSED is fine */

/* Makes the file, empty and 0600, unless it is there; refuses one that is no regular file or that
 * another owns. */
bool dir_prepare_file(const Dir *dir, const char *name, GError **error);
char *dir_file_path(const Dir *dir, const char *name); /* caller frees */

/* How the one before us left it. */
typedef enum {
    LOCK_CLEAN,    /* or there was none */
    LOCK_CRASHED,  /* the process died: what it wrote is there */
    LOCK_DOUBTFUL, /* the machine did: all is to be checked */
    LOCK_DAMAGED   /* it found damage */
} LockState;

/* An flock'ed file that says who we are while we have it. -1 with CONFIG when another process has
 * it. */
int dir_lock(const Dir *dir, const char *name, LockState *before_out, GError **error);
/* left: how it is left for the next. */
void dir_unlock(int lock, LockState left);
