/* child.h - work on files of a mount that may not answer: in a child, that can be killed.
 *
 * Layer ctl. Main thread of a program without others. A call into a FUSE file system ends on
 * SIGKILL even when nobody answers it, so whoever waits for the child never hangs. */
#pragma once
#include <glib.h>

/* Runs in the child; what it writes to out is what the parent gets. 0, or an errno. */
typedef int (*ChildWork)(gconstpointer data, int out);

/* 0, an errno, or ETIMEDOUT when nothing came for so long (-1: for ever). Each piece that comes is
 * given to the parent's function, or to standard output when that is NULL. */
typedef void (*ChildOutput)(const char *bytes, gsize length, gpointer data);
int child_run(ChildWork work, gconstpointer data, int timeout_ms, ChildOutput output,
              gpointer output_data);

/* For work: all of it. 0 or an errno. */
int child_copy_file(const char *path, int out);
int child_write_file(const char *path, int flags, const char *text);
int child_write_all(int fd, const char *bytes, gsize length);
