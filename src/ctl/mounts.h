/* mounts.h - the imapfs mounts of this machine, as the kernel lists them.
 *
 * Layer ctl. Any thread; touches no mounted file system, so it cannot hang on one. */
#pragma once
#include <glib.h>
#include <stdbool.h>
#include <sys/types.h>

typedef struct {
    char *mountpoint;
    char *source;
    uid_t user; /* who mounted it */
} Mount;

/* From the text of /proc/self/mountinfo: of type fuse.imapfs, in order. Of Mount; free with
 * g_ptr_array_unref. */
GPtrArray *mounts_parse(const char *mountinfo);
GPtrArray *mounts_load(void); /* empty when it cannot be read */

/* The mount that this absolute path without "." and ".." is in, or NULL: the topmost one. */
const Mount *mounts_find(const GPtrArray *mounts, const char *path);
