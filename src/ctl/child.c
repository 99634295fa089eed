/* child.c - forks, collects what the child says, and kills it when it is silent for too long. */
#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "imapfs/base/clock.h"

int child_write_all(int fd, const char *bytes, gsize length)
{
    while (length) {
        gssize n = write(fd, bytes, length);
        if (n < 0)
            return errno;
        bytes += n;
        length -= (gsize)n;
    }
    return 0;
}

int child_copy_file(const char *path, int out)
{
    char buffer[16384];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY), err = fd < 0 ? errno : 0;
    gssize n = 0;

    while (!err && (n = read(fd, buffer, sizeof(buffer))) > 0)
        err = child_write_all(out, buffer, (gsize)n);
    if (n < 0)
        err = errno;
    if (fd >= 0)
        close(fd);
    return err;
}

int child_write_file(const char *path, int flags, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY | flags), err;

    if (fd < 0)
        return errno;
    err = child_write_all(fd, text, strlen(text));
    if (close(fd) != 0 && !err)
        err = errno;
    return err;
}

/* Until EOF, or nothing came for so long. false: too late. */
static bool collect(int fd, int timeout_ms, ChildOutput output, gpointer data)
{
    char buffer[16384];

    for (;;) {
        struct pollfd poll_fd = {fd, POLLIN, 0};
        int ready = poll(&poll_fd, 1, timeout_ms);
        gssize n;

        if (ready < 0 && errno == EINTR)
            continue;
        if (ready <= 0)
            return false;
        n = read(fd, buffer, sizeof(buffer));
        if (n <= 0)
            return n == 0;
        output(buffer, (gsize)n, data);
    }
}

static void to_stdout(const char *bytes, gsize length, gpointer data)
{
    fwrite(bytes, 1, length, stdout);
    fflush(stdout);
}

int child_run(ChildWork work, gconstpointer data, int timeout_ms, ChildOutput output,
              gpointer output_data)
{
    int fds[2], status = 0;
    bool in_time;
    pid_t child;

    if (pipe2(fds, O_CLOEXEC) != 0)
        return errno;
    fflush(NULL);
    child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(fds[0]);
        _exit(work(data, fds[1]));
    }
    close(fds[1]);
    in_time = child > 0 && collect(fds[0], timeout_ms, output ? output : to_stdout, output_data);
    close(fds[0]);
    if (child < 0)
        return EAGAIN;
    if (!in_time)
        kill(child, SIGKILL);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (!in_time)
        return ETIMEDOUT;
    return WIFEXITED(status) ? WEXITSTATUS(status) : EIO;
}
