/* mount.c - where to mount and with which options; what is wrong, in words.
 *
 * libfuse only says that a mount failed, and prints the reason. The usual reasons are found here
 * before; what libfuse says of the others is caught and becomes part of the error. */
#include "impl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "imapfs/base/error.h"
#include "imapfs/base/log.h"

#define FUSE_MAGIC 0x65735546 /* f_type of a FUSE file system */

static _Thread_local char complaint[256];

void mount_log(enum fuse_log_level level, const char *format, va_list args)
{
    g_autofree char *text = NULL;

    /* The lines are libfuse's own, with its own formats. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    text = g_strchomp(g_strdup_vprintf(format, args));
#pragma GCC diagnostic pop
    if (level == FUSE_LOG_DEBUG) {
        log_write(LOG_LEVEL_DEBUG, "libfuse", "%s", text);
        return;
    }
    g_strlcpy(complaint, text, sizeof(complaint));
    log_write(level <= FUSE_LOG_ERR ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, "libfuse", "%s", text);
}

const char *mount_last_complaint(void)
{
    return complaint;
}

static bool refuse(GError **error, const char *mountpoint, const char *words)
{
    g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_CONFIG, "%s: %s", mountpoint, words);
    return false;
}

static bool is_empty(const char *path)
{
    GDir *dir = g_dir_open(path, 0, NULL);
    bool empty = !dir || !g_dir_read_name(dir); /* what cannot be read is refused by mount */

    if (dir)
        g_dir_close(dir);
    return empty;
}

/* A FUSE file system has its root here. */
static bool is_fuse_mount(const char *path, const struct stat *st)
{
    g_autofree char *above = g_build_filename(path, "..", NULL);
    struct statfs fs;
    struct stat parent;

    return statfs(path, &fs) == 0 && fs.f_type == FUSE_MAGIC && stat(above, &parent) == 0 &&
           parent.st_dev != st->st_dev;
}

static bool device_check(GError **error)
{
    g_autofree char *fusermount = NULL;

    if (access("/dev/fuse", F_OK) != 0)
        return refuse(error, "/dev/fuse", "not there: load the kernel module (modprobe fuse)");
    if (geteuid() == 0)
        return true;
    fusermount = g_find_program_in_path("fusermount3");
    return fusermount || refuse(error, "fusermount3", "not installed (package fuse3)");
}

bool front_check(const char *mountpoint, GError **error)
{
    struct stat st;

    if (!device_check(error))
        return false;
    if (stat(mountpoint, &st) != 0) {
        if (errno == ENOTCONN)
            return refuse(error, mountpoint,
                          "a mount whose program is gone is still here (fusermount3 -u)");
        return refuse(error, mountpoint, g_strerror(errno));
    }
    if (!S_ISDIR(st.st_mode))
        return refuse(error, mountpoint, "not a directory");
    if (is_fuse_mount(mountpoint, &st))
        return refuse(error, mountpoint, "something is mounted here already");
    if (!is_empty(mountpoint))
        return refuse(error, mountpoint, "not empty");
    return true;
}

/* fuse_opt splits at commas and takes backslashes as escapes. */
static void append_escaped(GString *out, const char *text)
{
    for (; *text; text++) {
        if (*text == ',' || *text == '\\')
            g_string_append_c(out, '\\');
        g_string_append_c(out, *text);
    }
}

bool mount_options(const FrontConfig *config, struct fuse_args *args, GError **error)
{
    /* Not noatime: the kernel takes an uncached read for an access that makes the attributes old
     * unless the whole file system is ro, whatever the mount says; and it writes no atime to us. */
    g_autoptr(GString) options = g_string_new("noexec,nosuid,nodev,subtype=imapfs,fsname=");

    append_escaped(options, config->fsname ? config->fsname : "imapfs");
    if (config->read_only)
        g_string_append(options, ",ro");
    if (config->allow_other)
        g_string_append(options, ",allow_other,default_permissions");
    if (config->debug)
        g_string_append(options, ",debug");
    if (config->extra_options && *config->extra_options)
        g_string_append_printf(options, ",%s",
                               config->extra_options + (config->extra_options[0] == ','));
    if (fuse_opt_add_arg(args, "imapfs") == 0 && fuse_opt_add_arg(args, "-o") == 0 &&
        fuse_opt_add_arg(args, options->str) == 0)
        return true;
    g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_CONFIG, "out of memory");
    return false;
}
