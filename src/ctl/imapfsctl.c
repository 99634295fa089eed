/* imapfsctl.c - looks at mounts from outside, through their .imapfs directory.
 *
 * The rule: it never hangs. Which mounts there are is read from the kernel's list; a file in one is
 * read by a child, that is killed when it takes too long (a read of a FUSE file ends on SIGKILL
 * even when nobody answers it). */
#include "mounts.h"
#include "imapfs/base/clock.h"
#include "imapfs/base/version.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* Both files are made on the spot, without asking the server. */
#define READ_TIMEOUT_MS 10000
#define EXIT_WRONG_USAGE 2

static int complain(const char *path, const char *words)
{
    fprintf(stderr, "imapfsctl: %s: %s\n", path, words);
    return 1;
}

/* --- reading without hanging --- */

/* In the child: its exit code is an errno. */
static G_GNUC_NORETURN void copy_file(const char *path, int out)
{
    char buffer[16384];
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    gssize n = fd < 0 ? -1 : 0;
    while (fd >= 0 && (n = read(fd, buffer, sizeof buffer)) > 0)
        for (gssize done = 0, m; done < n; done += m)
            if ((m = write(out, buffer + done, (gsize)(n - done))) < 0)
                _exit(EPIPE);
    _exit(n < 0 ? errno : 0);
}

/* Until EOF or the deadline. false: too late. */
static bool collect(int fd, GString *text)
{
    gint64 deadline = clock_mono_us() + READ_TIMEOUT_MS * 1000LL;
    char buffer[16384];
    for (;;) {
        gint64 left_ms = (deadline - clock_mono_us() + 999) / 1000;
        struct pollfd poll_fd = {fd, POLLIN, 0};
        int ready = left_ms > 0 ? poll(&poll_fd, 1, (int)left_ms) : 0;
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready <= 0)
            return false;
        gssize n = read(fd, buffer, sizeof buffer);
        if (n <= 0)
            return n == 0;
        g_string_append_len(text, buffer, n);
    }
}

/* 0, or an errno; ETIMEDOUT when nobody answered. */
static int read_file(const char *path, GString *text)
{
    int fds[2], status = 0;
    if (pipe2(fds, O_CLOEXEC) != 0)
        return errno;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0)
        copy_file(path, fds[1]);
    close(fds[1]);
    bool in_time = child > 0 && collect(fds[0], text);
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

/* --- which mounts --- */

/* The path as the kernel lists it: what is above it resolved, the last component untouched, as that
 * may be a mount that does not answer. */
static char *resolve_above(const char *path)
{
    g_autofree char *above = g_path_get_dirname(path);
    g_autofree char *last = g_path_get_basename(path);
    char *real = realpath(above, NULL);
    char *whole = real ? g_build_filename(real, last, NULL) : g_strdup(path);
    free(real);
    return whole;
}

static const Mount *find_mount(const GPtrArray *mounts, const char *argument)
{
    g_autofree char *path = g_canonicalize_filename(argument, NULL);
    const Mount *mount = mounts_find(mounts, path);
    if (mount)
        return mount;
    g_autofree char *resolved = resolve_above(path);
    return mounts_find(mounts, resolved);
}

typedef int (*MountFunc)(const Mount *mount, bool alone);

static int print_file(const Mount *mount, const char *name)
{
    g_autofree char *path = g_build_filename(mount->mountpoint, ".imapfs", name, NULL);
    g_autoptr(GString) text = g_string_new(NULL);
    int err = read_file(path, text);
    fwrite(text->str, 1, text->len, stdout);
    if (err == ENOTCONN)
        return complain(mount->mountpoint,
                        "the imapfs of this mount is gone; unmount it with fusermount3 -u");
    if (err == ETIMEDOUT)
        return complain(mount->mountpoint, "the imapfs of this mount does not answer");
    return err ? complain(path, g_strerror(err)) : 0;
}

static int show_status(const Mount *mount, bool alone)
{
    if (!alone)
        printf("%s\n", mount->mountpoint);
    int code = print_file(mount, "status");
    if (!alone)
        putchar('\n');
    return code;
}

static int show_log(const Mount *mount, bool alone)
{
    if (!alone)
        printf("%s\n", mount->mountpoint);
    return print_file(mount, "log");
}

static int show_mount(const Mount *mount, bool alone)
{
    printf("%s\t%s\n", mount->source, mount->mountpoint);
    return 0;
}

static const struct {
    const char *name;
    MountFunc f;
    bool needs_one; /* no mount at all is an error */
    const char *help;
} commands[] = {
    {"status", show_status, true, "how the account and the connection are"},
    {"log", show_log, true, "the last lines of the log"},
    {"list", show_mount, false, "the mounts: SOURCE and MOUNTPOINT"},
};

static int run_on(guint command, const char *argument)
{
    g_autoptr(GPtrArray) mounts = mounts_load();
    guint mine = 0;
    int code = 0;
    if (argument) {
        const Mount *mount = find_mount(mounts, argument);
        return mount ? commands[command].f(mount, true)
                     : complain(argument, "not an imapfs mount (imapfsctl list shows them)");
    }
    for (guint i = 0; i < mounts->len; i++)
        mine += ((const Mount *)g_ptr_array_index(mounts, i))->user == getuid();
    for (guint i = 0; i < mounts->len; i++) {
        const Mount *mount = g_ptr_array_index(mounts, i);
        int one = mount->user == getuid() ? commands[command].f(mount, mine == 1) : 0;
        code = MAX(code, one);
    }
    if (mine == 0 && commands[command].needs_one) {
        fputs("imapfsctl: you have no imapfs mount here\n", stderr);
        code = 1;
    }
    return code;
}

static void print_help(FILE *out)
{
    fputs("usage: imapfsctl COMMAND [MOUNTPOINT]\n\n", out);
    for (guint i = 0; i < G_N_ELEMENTS(commands); i++)
        fprintf(out, "    %-8s %s\n", commands[i].name, commands[i].help);
    fputs("    help     this\n    version\n\nWithout MOUNTPOINT: all mounts of yours.\n", out);
}

static bool is_one_of(const char *word, const char *a, const char *b, const char *c)
{
    return strcmp(word, a) == 0 || strcmp(word, b) == 0 || strcmp(word, c) == 0;
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    if (is_one_of(name, "help", "--help", "-h")) {
        print_help(stdout);
        return 0;
    }
    if (is_one_of(name, "version", "--version", "-V")) {
        printf("imapfsctl %s\n", imapfs_version());
        return 0;
    }
    for (guint i = 0; argc <= 3 && i < G_N_ELEMENTS(commands); i++)
        if (strcmp(name, commands[i].name) == 0)
            return run_on(i, argc == 3 ? argv[2] : NULL);
    print_help(stderr);
    return EXIT_WRONG_USAGE;
}
