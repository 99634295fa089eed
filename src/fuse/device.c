/* device.c - reading requests from /dev/fuse, and writing answers.
 *
 * It is read without blocking and then polled together with an eventfd, so that whoever has the
 * loop look up always can. Between the two it is read for a moment again and again: who reads one
 * file after the other asks again some microseconds after each answer, and to sleep and be woken
 * takes longer than that, on virtual machines many times as long. */
#include "impl.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define REST_MS 50   /* without a request: what was kept for the next is let go */
#define SOON_US 50   /* how long the next request is looked for */
#define BRISK_US 150 /* and when that begins: one came so soon after it was slept for */

/* --- reading --- */

/* Where there is only one, the asker would wait for us to stop looking. */
static bool have_processors(void)
{
    cpu_set_t set;

    return sched_getaffinity(0, sizeof(set), &set) != 0 || CPU_COUNT(&set) > 1;
}

static ssize_t read_soon(Front *front, int fd, void *buffer, size_t size)
{
    ssize_t n = read(fd, buffer, size);
    gint64 until;

    if (n >= 0 || errno != EAGAIN || !front->brisk)
        return n;
    until = g_get_monotonic_time() + SOON_US;
    while (n < 0 && errno == EAGAIN && g_get_monotonic_time() < until) {
        sched_yield(); /* others may need this processor */
        n = read(fd, buffer, size);
    }
    front->brisk = n >= 0;
    return n;
}

/* 0, or an errno: EINTR when somebody wants the loop to look up. */
static int sleep_until_read(Front *front, int fd)
{
    struct pollfd fds[] = {{.fd = fd, .events = POLLIN}, {.fd = front->wake_fd, .events = POLLIN}};
    const gint64 began = g_get_monotonic_time();
    int ready = poll(fds, G_N_ELEMENTS(fds), REST_MS);
    eventfd_t count;

    if (ready == 0) {
        tree_rest(front->tree, false);
        front->has_processors = have_processors(); /* may be changed from outside */
        ready = poll(fds, G_N_ELEMENTS(fds), -1);
    }
    if (ready < 0)
        return errno == EINTR ? 0 : errno;
    front->brisk = front->has_processors && g_get_monotonic_time() - began < BRISK_US;
    return fds[1].revents & POLLIN && read(front->wake_fd, &count, sizeof(count)) > 0 ? EINTR : 0;
}

static ssize_t device_read(int fd, void *buffer, size_t size, void *data)
{
    Front *front = data;
    int err = 0;
    ssize_t n;

    do {
        n = read_soon(front, fd, buffer, size);
        if (n < 0)
            err = errno == EAGAIN ? sleep_until_read(front, fd) : errno;
    } while (n < 0 && !err);
    if (n >= 0)
        init_patch_request(&front->init, buffer, (gsize)n);
    else
        errno = err;
    return n;
}

/* --- writing --- */

/* libfuse prints every error but ENOENT. These are no news: the mount is gone, or the kernel cannot
 * forget a directory that is in use (notify.c then does with less). */
static ssize_t device_writev(int fd, struct iovec *iov, int count, void *data)
{
    Front *front = data;
    ssize_t n = init_patch_writev(&front->init, fd, iov, count);

    if (n < 0 && (errno == ENODEV || errno == ENOTCONN || errno == ENOTEMPTY))
        errno = ENOENT;
    return n;
}

static const struct fuse_custom_io device_io = {.read = device_read, .writev = device_writev};

bool device_set_up(Front *front, int fd)
{
    front->has_processors = have_processors();
    return fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) == 0 &&
           fuse_session_custom_io(front->session, &device_io, fd) == 0;
}
