/* serve.c - a driver that has been started already: each run is a fork of it.
 *
 * The one rule: what forks has done nothing but start, so that a run begins as if it were a process
 * of its own. Loading a program with its sanitizers takes longer than most of these runs.
 *
 * A request on standard input (a socket of packets) is the words of a run, each ended by NUL, the
 * first of them the fault (or nothing), with the run's standard input, output and error beside it.
 * The answers are its pid, and when it has ended its status as waitpid() gives it. */
#include "driver.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STDIO_FDS = 3 };

typedef struct {
    char *text; /* the words */
    gsize length;
    int fds[STDIO_FDS];
} Request;

/* false: nobody asks any more. */
static bool receive(Request *request, char *buffer, gsize size)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int) * STDIO_FDS)];
    } control;
    struct iovec piece = {buffer, size};
    struct msghdr message = {.msg_iov = &piece,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
    ssize_t length = recvmsg(STDIN_FILENO, &message, MSG_CMSG_CLOEXEC);
    struct cmsghdr *header = length > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    if (!header || header->cmsg_len != CMSG_LEN(sizeof request->fds) ||
        (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) || buffer[length - 1] != '\0')
        return false;
    memcpy(request->fds, CMSG_DATA(header), sizeof request->fds);
    request->text = buffer;
    request->length = (gsize)length;
    return true;
}

static int run(const Request *request, char *name)
{
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    unsetenv("LD_BIND_NOW");
    if (*request->text)
        setenv("IMAPFS_FAULT", request->text, 1);
    for (int fd = 0; fd < STDIO_FDS; fd++)
        dup2(request->fds[fd], fd);
    g_ptr_array_add(argv, name);
    const char *end = request->text + request->length;
    for (char *word = request->text; (word += strlen(word) + 1) < end;)
        g_ptr_array_add(argv, word);
    g_ptr_array_add(argv, NULL);
    return driver_main((int)argv->len - 1, (char **)argv->pdata);
}

static bool answer(int number)
{
    return send(STDIN_FILENO, &number, sizeof number, MSG_NOSIGNAL) == sizeof number;
}

int driver_serve(char *name)
{
    static char buffer[1 << 18];
    Request request;
    while (receive(&request, buffer, sizeof buffer)) {
        int status = 0;
        pid_t pid = fork();
        if (pid == 0)
            exit(run(&request, name));
        for (int i = 0; i < STDIO_FDS; i++)
            close(request.fds[i]);
        if (pid < 0 || !answer(pid))
            return 1;
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
        if (!answer(status))
            return 1;
    }
    return 0;
}
