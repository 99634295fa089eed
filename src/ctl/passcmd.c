/* passcmd.c - the user's command that prints a password, or a token.
 *
 * The rule: its output exists in one fixed buffer that is wiped, and nothing of it, standard error
 * included, gets into an error, as errors are logged. The end is when the command itself ended: a
 * daemon that it left behind (gpg-agent) may hold the pipes for ever. */
#include "passcmd.h"
#include "imapfs/base/clock.h"
#include "imapfs/base/error.h"
#include "imapfs/base/limits.h"
#include "imapfs/base/log.h"
#include <errno.h>
#include <glib-unix.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define STDERR_SHOWN 4096

typedef struct {
    char *bytes;
    gsize length, size;
    int fd; /* -1: ended */
} Capture;

typedef struct {
    const char *option; /* what it is called */
    GPid pid;
    int pidfd;
    bool grouped; /* it leads a process group of its own */
    Capture out, err;
} Run;

/* In the child, between fork and exec: async-signal-safe calls only. */
static void prepare_child(gpointer data)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (data)
        setsid();
}

static bool start(const char *command, bool at_terminal, Run *run, GError **error)
{
    const char *argv[] = {"/bin/sh", "-c", command, NULL};
    g_autoptr(GError) failed = NULL;
    /* Standard input is /dev/null and all other descriptors are closed: GLib's default. */
    if (!g_spawn_async_with_pipes(NULL, (char **)argv, NULL, G_SPAWN_DO_NOT_REAP_CHILD,
                                  prepare_child, at_terminal ? NULL : run, &run->pid, NULL,
                                  &run->out.fd, &run->err.fd, &failed)) {
        g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_AUTH, "%s cannot be started: %s", run->option,
                    failed->message);
        return false;
    }
    run->grouped = !at_terminal;
    g_unix_set_fd_nonblocking(run->out.fd, TRUE, NULL);
    g_unix_set_fd_nonblocking(run->err.fd, TRUE, NULL);
    return true;
}

static void finish(Run *run)
{
    for (Capture *capture = &run->out; capture; capture = capture == &run->out ? &run->err : NULL) {
        if (capture->fd >= 0)
            close(capture->fd);
        secret_wipe(capture->bytes, capture->size);
        g_free(capture->bytes);
    }
    if (run->pidfd >= 0)
        close(run->pidfd);
}

/* Reads what is there. false: there is more than fits (out only; err is cut). */
static bool drain(Capture *capture, bool cut)
{
    while (capture->fd >= 0) {
        char spill[512];
        bool full = capture->length == capture->size;
        gssize n = full ? read(capture->fd, spill, sizeof spill)
                        : read(capture->fd, capture->bytes + capture->length,
                               capture->size - capture->length);
        if (full)
            secret_wipe(spill, sizeof spill);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return true;
        if (n <= 0) {
            close(capture->fd);
            capture->fd = -1;
        } else if (!full) {
            capture->length += (gsize)n;
        } else if (!cut) {
            return false;
        }
    }
    return true;
}

static void kill_run(const Run *run)
{
    kill(run->grouped ? -run->pid : run->pid, SIGKILL);
}

static bool watch(Run *run, GError **error)
{
    run->pidfd = pidfd_open(run->pid, 0);
    if (run->pidfd >= 0)
        return true;
    g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_AUTH, "%s cannot be watched: %s", run->option,
                g_strerror(errno));
    kill_run(run);
    return false;
}

/* Waits for the command to end. false: too late or too much; it is killed then, and ends. */
static bool collect(Run *run, guint timeout_ms, GError **error)
{
    gint64 deadline = clock_mono_us() + (gint64)timeout_ms * 1000;
    for (bool ended = false; !ended;) {
        gint64 left_ms = (deadline - clock_mono_us() + 999) / 1000;
        struct pollfd fds[] = {
            {run->pidfd, POLLIN, 0}, {run->out.fd, POLLIN, 0}, {run->err.fd, POLLIN, 0}};
        int n = left_ms > 0 ? poll(fds, G_N_ELEMENTS(fds), (int)left_ms) : 0;
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            kill_run(run);
            g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_AUTH, "%s did not end within %u seconds",
                        run->option, (timeout_ms + 999) / 1000);
            return false;
        }
        ended = fds[0].revents != 0;
        if (!drain(&run->out, false)) {
            kill_run(run);
            g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_AUTH, "%s printed more than %u KiB",
                        run->option, LIMIT_PASSCMD_BYTES / 1024);
            return false;
        }
        drain(&run->err, true);
    }
    return true;
}

static Secret *first_line(const Run *run, GError **error)
{
    const char *bytes = run->out.bytes;
    const char *end = memchr(bytes, '\n', run->out.length);
    gsize length = end ? (gsize)(end - bytes) : run->out.length;
    if (length > 0 && bytes[length - 1] == '\r')
        length--;
    if (length == 0)
        g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_AUTH, "%s printed nothing on its first line",
                    run->option);
    else if (memchr(bytes, '\0', length))
        g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_AUTH, "%s printed a NUL character",
                    run->option);
    else
        return secret_new(bytes, length);
    return NULL;
}

static void show_stderr(const Run *run)
{
    if (run->err.length == 0)
        return;
    gsize length = run->err.length;
    while (length > 0 && g_ascii_isspace(run->err.bytes[length - 1]))
        length--;
    for (gsize from = 0, line = 0; from < length; from += line + 1) {
        const char *end = memchr(run->err.bytes + from, '\n', length - from);
        line = end ? (gsize)(end - run->err.bytes) - from : length - from;
        gsize shown = line && run->err.bytes[from + line - 1] == '\r' ? line - 1 : line;
        g_autofree char *text = log_printable(run->err.bytes + from, shown, STDERR_SHOWN);
        fprintf(stderr, "%s: %s\n", run->option, text);
    }
}

static Secret *judge(const Run *run, int status, GError **error)
{
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return first_line(run, error);
    if (WIFEXITED(status))
        g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_AUTH, "%s failed with exit code %d",
                    run->option, WEXITSTATUS(status));
    else
        g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_AUTH, "%s was ended by signal %d",
                    run->option, WTERMSIG(status));
    return NULL;
}

Secret *passcmd_run(const char *option, const char *command, guint timeout_ms, bool at_terminal,
                    GError **error)
{
    Run run = {.option = option,
               .pidfd = -1,
               .out = {.fd = -1, .size = LIMIT_PASSCMD_BYTES},
               .err = {.fd = -1, .size = STDERR_SHOWN}};
    if (!start(command, at_terminal, &run, error))
        return NULL;
    run.out.bytes = g_malloc(run.out.size);
    run.err.bytes = g_malloc(run.err.size);

    bool collected = watch(&run, error) && collect(&run, timeout_ms, error);
    int status = 0;
    while (waitpid(run.pid, &status, 0) < 0 && errno == EINTR)
        ;
    Secret *secret = collected ? judge(&run, status, error) : NULL;
    if (!secret && at_terminal)
        show_stderr(&run);
    finish(&run);
    return secret;
}
