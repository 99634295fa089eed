/* tunnel_child.c - starts a tunnel's command, logs what it says on standard error, and ends it.
 *
 * The one rule: nobody ever waits for the process; sources do, and the last of them frees it, or
 * the end of the main context they are in. */
#include "tunnel_child.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <glib-unix.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "imapfs/base/clock.h"
#include "imapfs/base/error.h"
#include "imapfs/base/log.h"

#define TERM_GRACE_S 2
#define STDERR_LINE 1000              /* bytes of one line that are shown */
#define STDERR_LINES_PER_MINUTE 60    /* more are left out, and counted */
#define STDERR_LAST_BYTES (64 * 1024) /* read at most this much when the tunnel is closed */

struct TunnelChild {
    GPid pid;        /* also its process group and session */
    GSource *watch;  /* NULL: reaped */
    GSource *killer; /* NULL: not abandoned, or killed */
    bool abandoned;
    bool ended;       /* freed, but for the memory */
    bool notify_owed; /* on_loop_gone will be called */
    int err_fd;       /* -1: closed */
    GSource *err_source;
    GString *line;
    gint64 window_us; /* when the current minute of lines began */
    guint window_lines;
    guint left_out;
};

static void drop_source(GSource **source)
{
    GSource *dropped = g_steal_pointer(source); /* first, for on_loop_gone */
    if (!dropped)
        return;
    g_source_destroy(dropped);
    g_source_unref(dropped);
}

static void attach(GSource *source, GSourceFunc on, gpointer data)
{
    g_source_set_callback(source, on, data, NULL);
    g_source_attach(source, g_main_context_get_thread_default());
}

/* --- standard error --- */

static void log_line(TunnelChild *child)
{
    gint64 now = clock_mono_us();
    if (now - child->window_us >= 60 * G_USEC_PER_SEC) {
        if (child->left_out)
            log_info("net", "tunnel: %u more lines were left out", child->left_out);
        child->window_us = now;
        child->window_lines = child->left_out = 0;
    }
    if (child->window_lines >= STDERR_LINES_PER_MINUTE) {
        child->left_out++;
    } else {
        child->window_lines++;
        g_autofree char *text = log_printable(child->line->str, child->line->len, STDERR_LINE);
        log_info("net", "tunnel: %s", text);
    }
    g_string_truncate(child->line, 0);
}

static void take_stderr(TunnelChild *child, const char *bytes, gsize length)
{
    for (gsize i = 0; i < length; i++) {
        if (bytes[i] == '\n') {
            if (child->line->len)
                log_line(child);
        } else if (child->line->len <= STDERR_LINE && bytes[i] != '\r') {
            g_string_append_c(child->line, bytes[i]);
        }
    }
}

static void close_stderr(TunnelChild *child)
{
    if (child->err_fd < 0)
        return;
    if (child->line->len)
        log_line(child);
    drop_source(&child->err_source);
    close(child->err_fd);
    child->err_fd = -1;
}

/* false at its end. */
static bool read_stderr(TunnelChild *child, gsize *n_out)
{
    char bytes[4096];
    ssize_t n = read(child->err_fd, bytes, sizeof bytes);
    *n_out = n > 0 ? (gsize)n : 0;
    if (n > 0)
        take_stderr(child, bytes, (gsize)n);
    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

static gboolean on_stderr(int fd, GIOCondition condition, gpointer data)
{
    TunnelChild *child = data;
    gsize n;
    if (!read_stderr(child, &n))
        close_stderr(child);
    return G_SOURCE_CONTINUE; /* close_stderr destroyed the source when it was the end */
}

/* What was said just before the end is often the reason for it. */
static void drain_stderr(TunnelChild *child)
{
    gsize total = 0, n = 1;
    while (child->err_fd >= 0 && n > 0 && total < STDERR_LAST_BYTES) {
        if (!read_stderr(child, &n))
            close_stderr(child);
        total += n;
    }
    close_stderr(child);
}

/* --- the end --- */

/* The killer's destroy notify may come after this, when GLib has finished dispatching it: then that
 * is what frees the memory. */
static void child_free(TunnelChild *child)
{
    drop_source(&child->watch);
    close_stderr(child);
    g_string_free(child->line, TRUE);
    child->ended = true;
    if (child->notify_owed)
        drop_source(&child->killer);
    else
        g_free(child);
}

/* Whether anything is left to signal. A process group keeps its number from being used again while
 * it has members; when its leader is reaped, a process of that number is somebody else. */
static bool group_alive(const TunnelChild *child)
{
    if (child->watch)
        return true;
    if (kill(child->pid, 0) == 0 || errno != ESRCH)
        return false;
    return kill(-child->pid, 0) == 0;
}

static gboolean on_grace_over(gpointer data)
{
    TunnelChild *child = data;
    drop_source(&child->killer);
    if (group_alive(child))
        kill(-child->pid, SIGKILL);
    if (!child->watch)
        child_free(child); /* else the watch frees it, soon */
    return G_SOURCE_REMOVE;
}

/* The main context ended before the process did: there is no grace left, and no watch. */
static void on_loop_gone(gpointer data)
{
    TunnelChild *child = data;
    child->notify_owed = false;
    if (child->ended) {
        g_free(child);
        return;
    }
    if (!child->killer)
        return; /* it was ours to drop */
    g_clear_pointer(&child->killer, g_source_unref);
    if (group_alive(child))
        kill(-child->pid, SIGKILL);
    child_free(child);
}

static void log_exit(int status)
{
    if (WIFSIGNALED(status))
        log_warn("net", "tunnel: the command was ended by signal %d (%s)", WTERMSIG(status),
                 g_strsignal(WTERMSIG(status)));
    else if (WEXITSTATUS(status) != 0)
        log_warn("net", "tunnel: the command exited with status %d", WEXITSTATUS(status));
    else
        log_info("net", "tunnel: the command exited");
}

static void on_exit_status(GPid pid, gint status, gpointer data)
{
    TunnelChild *child = data;
    g_clear_pointer(&child->watch, g_source_unref); /* GLib removes it, and has reaped */
    if (!child->abandoned)
        log_exit(status);
    else if (!child->killer || !group_alive(child))
        child_free(child);
}

void tunnel_child_abandon(TunnelChild *child)
{
    child->abandoned = true;
    drain_stderr(child);
    if (!group_alive(child)) {
        child_free(child);
        return;
    }
    kill(-child->pid, SIGTERM);
    child->killer = g_timeout_source_new_seconds(TERM_GRACE_S);
    child->notify_owed = true;
    g_source_set_callback(child->killer, on_grace_over, child, on_loop_gone);
    g_source_attach(child->killer, g_main_context_get_thread_default());
}

/* --- the beginning --- */

/* A session and a process group of its own, no signal blocked or ignored, no file of ours. */
static int describe(posix_spawnattr_t *how, posix_spawn_file_actions_t *files, int stdio_fd,
                    int err_fd)
{
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setflags(how,
                             POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setsigmask(how, &none);
    posix_spawnattr_setsigdefault(how, &all);
    int code = posix_spawn_file_actions_adddup2(files, stdio_fd, STDIN_FILENO);
    if (code == 0)
        code = posix_spawn_file_actions_adddup2(files, stdio_fd, STDOUT_FILENO);
    if (code == 0)
        code = posix_spawn_file_actions_adddup2(files, err_fd, STDERR_FILENO);
    return code != 0 ? code : posix_spawn_file_actions_addclosefrom_np(files, STDERR_FILENO + 1);
}

/* Not by fork(): what a mount has in memory would be copied for it, page table by page table. */
static bool spawn(const char *command, int stdio_fd, int err_fd, GPid *pid_out, GError **error)
{
    const char *argv[] = {"sh", "-c", command, NULL};
    posix_spawnattr_t how;
    posix_spawn_file_actions_t files;
    posix_spawnattr_init(&how);
    posix_spawn_file_actions_init(&files);
    int code = describe(&how, &files, stdio_fd, err_fd);
    if (code == 0)
        code = posix_spawn(pid_out, "/bin/sh", &files, &how, (char **)argv, environ);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&how);
    if (code == 0)
        return true;
    g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_CONFIG, "the tunnel cannot be started: %s",
                g_strerror(code));
    return false;
}

TunnelChild *tunnel_child_new(const char *command, int stdio_fd, GError **error)
{
    int err_pipe[2];
    GPid pid;
    if (pipe2(err_pipe, O_CLOEXEC) < 0) {
        g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_CONFIG, "the tunnel cannot be started: %s",
                    g_strerror(errno));
        return NULL;
    }
    bool started = spawn(command, stdio_fd, err_pipe[1], &pid, error);
    close(err_pipe[1]);
    if (!started) {
        close(err_pipe[0]);
        return NULL;
    }
    g_unix_set_fd_nonblocking(err_pipe[0], TRUE, NULL);

    TunnelChild *child = g_new0(TunnelChild, 1);
    child->pid = pid;
    child->line = g_string_new(NULL);
    child->window_us = clock_mono_us();
    child->err_fd = err_pipe[0];
    child->err_source = g_unix_fd_source_new(child->err_fd, G_IO_IN | G_IO_HUP);
    attach(child->err_source, G_SOURCE_FUNC(on_stderr), child);
    child->watch = g_child_watch_source_new(pid);
    attach(child->watch, G_SOURCE_FUNC(on_exit_status), child);
    return child;
}
