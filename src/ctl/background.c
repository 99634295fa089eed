/* background.c - a daemon whose starter waits until it serves.
 *
 * The rule: the child never outlives a starter that did not get its answer, so a script that is
 * interrupted leaves no mount behind. */
#include "background.h"
#include "fail.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static G_GNUC_NORETURN void wait_for(pid_t child, int fd)
{
    char byte;
    gssize n;
    while ((n = read(fd, &byte, 1)) < 0 && errno == EINTR)
        ;
    if (n == 1)
        _exit(0);
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFEXITED(status))
        _exit(WEXITSTATUS(status) ? WEXITSTATUS(status) : 1);
    /* Ctrl-C went to both of us; any other signal was not meant for it. */
    if (WTERMSIG(status) != SIGINT)
        fprintf(stderr, "imapfs: ended by signal %d (%s)\n", WTERMSIG(status),
                strsignal(WTERMSIG(status)));
    _exit(128 + WTERMSIG(status));
}

bool background_start(Background *background, GError **error)
{
    int fds[2];
    pid_t parent = getpid();
    fflush(NULL);
    if (pipe2(fds, O_CLOEXEC) != 0)
        return fail(error, "pipe: %s", g_strerror(errno));
    pid_t child = fork();
    if (child < 0) {
        close(fds[0]);
        close(fds[1]);
        return fail(error, "fork: %s", g_strerror(errno));
    }
    if (child > 0) {
        close(fds[1]);
        wait_for(child, fds[0]);
    }
    close(fds[0]);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(1);
    background->ready_fd = fds[1];
    return true;
}

void background_ready(Background *background)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    prctl(PR_SET_PDEATHSIG, 0);
    setsid();
    for (int fd = 0; null >= 0 && fd <= 2; fd++)
        dup2(null, fd);
    if (null > 2)
        close(null);
    gssize ignored = write(background->ready_fd, "r", 1);
    (void)ignored;
    close(background->ready_fd);
    background->ready_fd = -1;
}
