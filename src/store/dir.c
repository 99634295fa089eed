/* dir.c - directories and files that only we may touch, and the lock.
 *
 * The rule: checked on the open descriptor, never on the name. */
#include "dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include "db.h"
#include "imapfs/base/error.h"
#include "imapfs/base/log.h"

#define DIR_FLAGS (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

G_GNUC_PRINTF(2, 3)
static bool refuse(GError **error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (error != NULL)
        *error = g_error_new_valist(IMAPFS_ERROR, IMAPFS_ERROR_CONFIG, format, args);
    va_end(args);
    return false;
}

static bool check_directory(int fd, const char *path, GError **error)
{
    struct stat st;
    if (fstat(fd, &st) != 0) {
        db_set_errno(path, "stat", errno, error);
        return false;
    }
    if (st.st_uid != geteuid())
        return refuse(error, "%s belongs to another user (%u)", path, (unsigned)st.st_uid);
    if ((st.st_mode & 022) != 0)
        return refuse(error, "%s may be written by others (mode %04o); chmod 700 it", path,
                      (unsigned)st.st_mode & 07777);
    if ((st.st_mode & 077) != 0 && fchmod(fd, 0700) != 0) {
        db_set_errno(path, "chmod", errno, error);
        return false;
    }
    return true;
}

static bool open_at(int at, const char *name, const char *shown, Dir *out, GError **error)
{
    if (mkdirat(at, name, 0700) != 0 && errno != EEXIST) {
        db_set_errno(shown, "cannot be made", errno, error);
        return false;
    }
    int fd = openat(at, name, DIR_FLAGS);
    if (fd < 0 && (errno == ELOOP || errno == ENOTDIR))
        return refuse(error, "%s is not a directory (or is a symbolic link)", shown);
    if (fd < 0) {
        db_set_errno(shown, "cannot be opened", errno, error);
        return false;
    }
    if (!check_directory(fd, shown, error)) {
        close(fd);
        return false;
    }
    out->fd = fd;
    return true;
}

/* SQLite opens by name: give it the one that leads to the directory we hold. */
static char *real_path(const char *path, int fd, GError **error)
{
    char *real = realpath(path, NULL);
    struct stat by_name, by_fd;
    if (real == NULL || stat(real, &by_name) != 0 || fstat(fd, &by_fd) != 0) {
        db_set_errno(path, "cannot be found", errno, error);
    } else if (by_name.st_dev == by_fd.st_dev && by_name.st_ino == by_fd.st_ino) {
        char *out = g_strdup(real);
        free(real);
        return out;
    } else {
        refuse(error, "%s was exchanged while it was opened", path);
    }
    free(real);
    return NULL;
}

bool dir_open(const char *path, Dir *out, GError **error)
{
    g_autofree char *parent = g_path_get_dirname(path);
    if (g_mkdir_with_parents(parent, 0700) != 0) {
        db_set_errno(parent, "cannot be made", errno, error);
        return false;
    }
    Dir dir = DIR_CLOSED;
    if (!open_at(AT_FDCWD, path, path, &dir, error))
        return false;
    dir.path = real_path(path, dir.fd, error);
    if (dir.path == NULL) {
        dir_close(&dir);
        return false;
    }
    *out = dir;
    return true;
}

bool dir_open_child(const Dir *parent, const char *name, Dir *out, GError **error)
{
    g_autofree char *path = dir_file_path(parent, name);
    Dir dir = DIR_CLOSED;
    if (!open_at(parent->fd, name, path, &dir, error))
        return false;
    dir.path = g_steal_pointer(&path);
    *out = dir;
    return true;
}

void dir_close(Dir *dir)
{
    if (dir->fd >= 0)
        close(dir->fd);
    dir->fd = -1;
    g_clear_pointer(&dir->path, g_free);
}

char *dir_file_path(const Dir *dir, const char *name)
{
    return g_build_filename(dir->path, name, NULL);
}

static int open_file(const Dir *dir, const char *name, GError **error)
{
    g_autofree char *path = dir_file_path(dir, name);
    int fd = openat(dir->fd, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0600);
    if (fd < 0 && errno == ELOOP) {
        refuse(error, "%s is a symbolic link", path);
        return -1;
    }
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0) {
        db_set_errno(path, "cannot be opened", errno, error);
    } else if (!S_ISREG(st.st_mode) || st.st_uid != geteuid()) {
        refuse(error, "%s is not a file of ours", path);
    } else if ((st.st_mode & 077) != 0 && fchmod(fd, 0600) != 0) {
        db_set_errno(path, "chmod", errno, error);
    } else {
        return fd;
    }
    if (fd >= 0)
        close(fd);
    return -1;
}

bool dir_prepare_file(const Dir *dir, const char *name, GError **error)
{
    int fd = open_file(dir, name, error);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static void refuse_second(const Dir *dir, int fd, GError **error)
{
    char text[32] = "";
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    guint64 pid = n > 0 ? g_ascii_strtoull(text, NULL, 10) : 0;
    if (pid != 0)
        g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_BUSY,
                    "%s is in use by another imapfs, process %" G_GUINT64_FORMAT, dir->path, pid);
    else
        g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_BUSY, "%s is in use by another imapfs",
                    dir->path);
}

/* "PID BOOT\n": a process that died leaves its files as it wrote them, a machine may not. */
static char *lock_text(void)
{
    g_autofree char *boot = NULL;
    if (g_file_get_contents("/proc/sys/kernel/random/boot_id", &boot, NULL, NULL))
        g_strchomp(boot);
    return g_strdup_printf("%ld %s\n", (long)getpid(), boot != NULL ? boot : "?");
}

/* What stands in the file when nobody has it. After a crash it is what the process wrote. */
static const char *const left_texts[] = {
    [LOCK_CLEAN] = "", [LOCK_DOUBTFUL] = "doubtful\n", [LOCK_DAMAGED] = "damaged\n"};

static LockState judge(const char *was, const char *ours)
{
    const char *boot = strchr(was, ' ');
    if (was[0] == '\0')
        return LOCK_CLEAN;
    if (strcmp(was, left_texts[LOCK_DAMAGED]) == 0)
        return LOCK_DAMAGED;
    return boot != NULL && strchr(boot, '?') == NULL && strcmp(boot, strchr(ours, ' ')) == 0
               ? LOCK_CRASHED
               : LOCK_DOUBTFUL;
}

int dir_lock(const Dir *dir, const char *name, LockState *before_out, GError **error)
{
    int fd = open_file(dir, name, error);
    if (fd < 0)
        return -1;
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK)
            refuse_second(dir, fd, error);
        else
            db_set_errno(dir->path, "cannot be locked", errno, error);
        close(fd);
        return -1;
    }
    char was[128] = "";
    g_autofree char *text = lock_text();
    ssize_t length = (ssize_t)strlen(text);
    errno = 0;
    /* In this order, as an empty one says that all is well. */
    if (pread(fd, was, sizeof was - 1, 0) < 0 || pwrite(fd, text, (size_t)length, 0) != length ||
        ftruncate(fd, length) != 0) {
        db_set_errno(dir->path, "cannot be written", errno != 0 ? errno : ENOSPC, error);
        close(fd);
        return -1;
    }
    *before_out = judge(was, text);
    return fd;
}

void dir_unlock(int lock, LockState left)
{
    if (lock < 0)
        return;
    /* The file stays: removing a lock file that another may just have opened splits the lock. What
     * fails here makes the next open check more. */
    const char *text = left_texts[left];
    if (text != NULL &&
        (pwrite(lock, text, strlen(text), 0) < 0 || ftruncate(lock, (off_t)strlen(text)) != 0))
        log_warn("store", "the lock file cannot be written: %s", g_strerror(errno));
    close(lock);
}
