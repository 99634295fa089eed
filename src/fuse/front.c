/* front.c - the session with the kernel: mount, loop, signals, end.
 *
 * A signal, whichever thread gets it, always ends the loop (device.c). On the way out it goes on
 * answering until the notifier and the loop thread are through with the kernel: only then is nobody
 * left who could hang. */
#include "impl.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "imapfs/base/error.h"
#include "imapfs/base/log.h"

void front_wake(Front *front)
{
    eventfd_t one = 1;
    gssize ignored = write(front->wake_fd, &one, sizeof(one)); /* full: it wakes anyway */

    (void)ignored;
}

/* --- signals --- */

static const int ending_signals[] = {SIGINT, SIGTERM, SIGHUP};
static Front *signalled; /* the front that is, or is about to be, mounted */

static void on_signal(int number)
{
    Front *front = g_atomic_pointer_get(&signalled);
    int saved = errno;

    if (front) {
        g_atomic_int_set(&front->signal, number);
        front_wake(front);
    }
    errno = saved;
}

static void signals_set(Front *front)
{
    OldSignals *old = &front->old_signals;
    struct sigaction ours = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    struct sigaction ignore = {.sa_handler = SIG_IGN};

    if (!g_atomic_pointer_compare_and_exchange(&signalled, NULL, front))
        return; /* there is a mount already, which keeps them */
    sigaction(SIGPIPE, &ignore, &old->pipe);
    for (guint i = 0; i < G_N_ELEMENTS(ending_signals); i++) {
        sigaction(ending_signals[i], NULL, &old->ending[i]);
        if (old->ending[i].sa_handler != SIG_IGN) /* nohup stays in force */
            sigaction(ending_signals[i], &ours, NULL);
    }
}

static void signals_restore(Front *front)
{
    const OldSignals *old = &front->old_signals;

    if (g_atomic_pointer_get(&signalled) != front)
        return;
    for (guint i = 0; i < G_N_ELEMENTS(ending_signals); i++)
        sigaction(ending_signals[i], &old->ending[i], NULL);
    sigaction(SIGPIPE, &old->pipe, NULL);
    g_atomic_pointer_set(&signalled, NULL);
}

/* --- the loop --- */

static bool was_signalled(Front *front)
{
    return g_atomic_int_get(&front->signal) != 0;
}

static bool is_quiet(Front *front)
{
    return !notifier_is_running(front->notifier) && requests_are_quiet(front);
}

/* Answers requests until there is an end to it: 1 until() said so, 0 the mount is gone, else a
 * negative errno. */
static int serve(Front *front, bool (*until)(Front *))
{
    struct fuse_buf buffer = {0};
    int status = 1;

    while (!until(front)) {
        status = fuse_session_receive_buf(front->session, &buffer);
        tree_rest(front->tree, true); /* also if no question comes */
        if (status > 0)
            fuse_session_process_buf(front->session, &buffer);
        else if (status != -EINTR && status != -EAGAIN)
            break;
        status = 1;
    }
    free(buffer.mem);
    return status;
}

/* The mount went away by itself: nothing more comes from the device. */
static void wait_until_quiet(Front *front)
{
    struct pollfd wake = {.fd = front->wake_fd, .events = POLLIN};
    eventfd_t count;

    while (!is_quiet(front)) {
        if (poll(&wake, 1, -1) > 0 && read(front->wake_fd, &count, sizeof(count)) < 0)
            return;
    }
}

static void end(Front *front)
{
    pthread_mutex_lock(&front->lock);
    front->stopping = true; /* from here on nothing waits any more */
    pthread_mutex_unlock(&front->lock);
    requests_end(front);
    notifier_stop(front->notifier);
    fuse_session_reset(front->session);
    if (serve(front, is_quiet) <= 0)
        wait_until_quiet(front);
    fuse_session_unmount(front->session); /* lazily, so it does not wait for open files */
    changes_end(front);
    files_end(front);
    exact_end(front->exact);
}

int front_run(Front *front, Tree *tree, Engine *engine)
{
    int status;

    front->tree = tree;
    front->engine = engine;
    if (!files_start(front) || !changes_start(front) || !notifier_start(front->notifier)) {
        log_error("fuse", "no thread can be started");
        end(front);
        return 1;
    }
    tree_keep(tree);
    status = serve(front, was_signalled);
    if (status < 0)
        log_error("fuse", "reading /dev/fuse: %s", g_strerror(-status));
    else if (status > 0)
        log_info("fuse", "signal %d: unmounting", g_atomic_int_get(&front->signal));
    end(front);
    return status < 0 ? 1 : 0;
}

/* --- making and freeing --- */

static bool fail(GError **error, const char *mountpoint, const char *words)
{
    const char *complaint = mount_last_complaint();

    g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_CONFIG, "%s: %s%s%s", mountpoint, words,
                *complaint ? ": " : "", complaint);
    return false;
}

static bool start_session(Front *front, const FrontConfig *config, GError **error)
{
    struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
    bool ok = mount_options(config, &args, error);
    int fd;

    if (ok && !(front->session = fuse_session_new(&args, &front_ops, sizeof(front_ops), front)))
        ok = fail(error, config->mountpoint, "mount options are not understood");
    fuse_opt_free_args(&args);
    if (!ok)
        return false;
    if (fuse_session_mount(front->session, config->mountpoint) != 0)
        return fail(error, config->mountpoint, "cannot be mounted");
    fd = fuse_session_fd(front->session);
    if (!device_set_up(front, fd))
        return fail(error, config->mountpoint, "the FUSE device cannot be set up");
    return true;
}

Front *front_new(const FrontConfig *config, GError **error)
{
    Front *front;

    fuse_set_log_func(mount_log);
    if (!front_check(config->mountpoint, error))
        return NULL;
    front = g_new0(Front, 1);
    front->mountpoint = g_strdup(config->mountpoint);
    front->read_only = config->read_only;
    pthread_mutex_init(&front->lock, NULL);
    g_queue_init(&front->waiting);
    front->files = g_hash_table_new(NULL, NULL);
    estimates_init(&front->estimates);
    front->exact = config->exact ? exact_new() : NULL;
    front->notifier = notifier_new(front);
    front->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (front->wake_fd < 0) {
        g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_CONFIG, "eventfd: %s", g_strerror(errno));
        front_free(front);
        return NULL;
    }
    signals_set(front); /* before there is a mount that a signal could leave behind */
    if (!start_session(front, config, error)) {
        front_free(front);
        return NULL;
    }
    return front;
}

void front_free(Front *front)
{
    if (!front)
        return;
    notifier_free(front->notifier);
    if (front->session) {
        fuse_session_unmount(front->session);
        fuse_session_destroy(front->session);
    }
    signals_restore(front);
    if (front->wake_fd >= 0)
        close(front->wake_fd);
    g_hash_table_unref(front->files);
    estimates_clear(&front->estimates);
    exact_free(front->exact);
    pthread_mutex_destroy(&front->lock);
    g_free(front->read_buffer);
    g_free(front->mountpoint);
    g_free(front);
}
