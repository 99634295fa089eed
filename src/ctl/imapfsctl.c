/* imapfsctl.c - looks at mounts from outside, and tells them what to do, through their .imapfs.
 *
 * The rule: it never hangs. Which mounts there are is read from the kernel's list; a file in one is
 * touched by a child, that is killed when it takes too long. What waits for a server is what was
 * asked for (sync, events), and ends on a signal. */
#include "child.h"
#include "mounts.h"
#include "oplist.h"
#include "imapfs/base/log.h"
#include "imapfs/base/version.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What is read and written here is done on the spot, without asking the server. */
#define TIMEOUT_MS 10000
#define FOLLOW_US 250000

enum { DONE = 0, FAILED = 1, WRONG_USAGE = 2, NO_SERVER = 3, UNREADABLE = -1 /* tell the usage */ };

/* --- words --- */

static const struct {
    int err;
    const char *words;
} reasons[] = {
    {ENOTCONN, "the imapfs of this mount is gone; unmount it with fusermount3 -u"},
    {ETIMEDOUT, "the imapfs of this mount does not answer"},
    {EROFS,
     "mounted read-only: nothing can be changed (mount it without the options ro and exact)"},
    {ENETUNREACH, "the server cannot be reached; what was changed waits (see imapfsctl status)"},
    {EINTR, "interrupted"},
};

/* Prints one line; the exit code. words: for this errno in particular, or NULL. */
static int complain(const char *path, int err, const char *words)
{
    g_autofree char *safe = log_printable(path, strlen(path), 1000);
    for (guint i = 0; !words && i < G_N_ELEMENTS(reasons); i++)
        if (reasons[i].err == err)
            words = reasons[i].words;
    fprintf(stderr, "imapfsctl: %s: %s\n", safe, words ? words : g_strerror(err));
    return err == ENETUNREACH ? NO_SERVER : FAILED;
}

/* --- which mounts --- */

#define MAX_LINKS 40 /* as the kernel has it */

/* The path with its first symbolic link followed; NULL: there is none. */
static char *follow_link(const char *path)
{
    for (const char *end = path; *end;) {
        end += 1 + strcspn(end + 1, "/");
        g_autofree char *link = g_strndup(path, (gsize)(end - path));
        g_autofree char *target = g_file_read_link(link, NULL);
        if (target) {
            g_autofree char *above = g_path_get_dirname(link);
            g_autofree char *whole = g_strconcat(target, end, NULL);
            return g_canonicalize_filename(whole, above);
        }
    }
    return NULL;
}

/* Links are followed one by one, and none behind a mount point, where it could take for ever. */
static const Mount *find_mount(const GPtrArray *mounts, const char *argument)
{
    g_autofree char *path = g_canonicalize_filename(argument, NULL);
    const Mount *mount;
    for (guint links = 0; !(mount = mounts_find(mounts, path)) && links < MAX_LINKS; links++) {
        char *next = follow_link(path);
        if (!next)
            break;
        g_free(path);
        path = next;
    }
    return mount;
}

/* --- commands on one mount --- */

typedef struct {
    const Mount *mount;
    const char *word;     /* the command */
    const char *argument; /* SEQ or "all", or NULL */
    bool alone;           /* the only mount that it is run on */
} Run;

static char *inside(const Run *run, const char *name)
{
    return g_build_filename(run->mount->mountpoint, ".imapfs", name, NULL);
}

static void print_heading(const Run *run)
{
    if (!run->alone)
        printf("%s\n", run->mount->mountpoint);
}

static int copy_work(gconstpointer path, int out)
{
    return child_copy_file(path, out);
}

static int print_file(const Run *run, const char *name)
{
    g_autofree char *path = inside(run, name);
    int err = child_run(copy_work, path, TIMEOUT_MS, NULL, NULL);
    return err ? complain(run->mount->mountpoint, err, NULL) : DONE;
}

static int show_status(const Run *run)
{
    print_heading(run);
    int code = print_file(run, "status");
    if (!run->alone)
        putchar('\n');
    return code;
}

static int show_log(const Run *run)
{
    print_heading(run);
    return print_file(run, "log");
}

static int show_mount(const Run *run)
{
    printf("%s\t%s\n", run->mount->source, run->mount->mountpoint);
    return DONE;
}

/* queue, failed: the directory of that name. */
static int show_ops(const Run *run)
{
    g_autofree char *path = inside(run, run->word);
    print_heading(run);
    int err = child_run(oplist_print, path, TIMEOUT_MS, NULL, NULL);
    return err ? complain(run->mount->mountpoint, err, NULL) : DONE;
}

static int follow_work(gconstpointer path, int out)
{
    char buffer[16384];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY), err = fd < 0 ? errno : 0;
    off_t at = 0;
    while (!err) {
        struct stat st;
        gssize n = pread(fd, buffer, sizeof buffer, at);
        if (n > 0) {
            at += n;
            err = child_write_all(out, buffer, (gsize)n);
            continue;
        }
        if (n < 0 || fstat(fd, &st) != 0)
            return errno;
        if (st.st_size < at)
            at = 0; /* it began anew */
        else
            g_usleep(FOLLOW_US);
    }
    return err;
}

static int follow_events(const Run *run)
{
    g_autofree char *path = inside(run, "events");
    int err = child_run(follow_work, path, -1, NULL, NULL);
    return err ? complain(run->mount->mountpoint, err, NULL) : DONE;
}

typedef struct {
    char *path, *text;
} Order;

static int order_work(gconstpointer data, int out)
{
    const Order *order = data;
    return child_write_file(order->path, 0, order->text);
}

static const char *words_of_order(int err)
{
    return err == ENOENT   ? "there is no such change (imapfsctl queue, imapfsctl failed)"
           : err == EBUSY  ? "it is being sent, too late to cancel it"
           : err == ESTALE ? "its message is no longer there: it can only be discarded"
                           : NULL;
}

/* Writes the command, with its argument, into ctl. */
static int give_order(const Run *run)
{
    g_autofree char *path = inside(run, "ctl");
    g_autofree char *text = run->argument ? g_strdup_printf("%s %s\n", run->word, run->argument)
                                          : g_strdup_printf("%s\n", run->word);
    const Order order = {path, text};
    int err = child_run(order_work, &order, TIMEOUT_MS, NULL, NULL);
    return err ? complain(run->mount->mountpoint, err, words_of_order(err)) : DONE;
}

static const char *words_of_sync(int err)
{
    if (err == ETIMEDOUT)
        return "the server does not answer in time; what was changed waits";
    for (guint i = 0; i < G_N_ELEMENTS(reasons); i++)
        if (reasons[i].err == err)
            return NULL;
    return "not everything could be sent (see imapfsctl failed)";
}

/* The open of this file waits, and holds up nobody else, as a write to ctl would. */
static int sync_changes(const Run *run)
{
    g_autofree char *path = inside(run, "sync");
    int err = child_run(copy_work, path, -1, NULL, NULL);
    return err ? complain(run->mount->mountpoint, err, words_of_sync(err)) : DONE;
}

/* --- flag MESSAGE... +F -F --- */

/* Callers that come together share a commit in the mount. */
#define FLAGGING_THREADS 8

typedef struct {
    char *const *messages;
    const char *text;
    int out;
    gint next; /* atomic: the first message that nobody has taken */
} Flagging;

static bool is_change(const char *word)
{
    return *word == '+' || *word == '-';
}

/* A line to the parent, which shows that something happens: why it failed, or an empty one. */
static void flag_one(const Flagging *flagging, const char *message)
{
    g_autofree char *last = g_path_get_basename(message);
    g_autofree char *path =
        strcmp(last, "flags") == 0 ? g_strdup(message) : g_build_filename(message, "flags", NULL);
    int err = child_write_file(path, O_APPEND, flagging->text);
    g_autofree char *safe = log_printable(message, strlen(message), 500);
    g_autofree char *line =
        err == EINVAL ? g_strdup_printf("imapfsctl: %s: a flag is none (see imapfsctl log)\n", safe)
        : err         ? g_strdup_printf("imapfsctl: %s: %s\n", safe, g_strerror(err))
                      : g_strdup("\n");
    child_write_all(flagging->out, line,
                    strlen(line)); /* the parent may be gone: then it ends us */
}

static gpointer flag_thread(gpointer data)
{
    Flagging *flagging = data;
    for (;;) {
        const char *message = flagging->messages[g_atomic_int_add(&flagging->next, 1)];
        if (!message)
            return NULL;
        flag_one(flagging, message);
    }
}

static int flag_work(gconstpointer data, int out)
{
    const Flagging *order = data;
    Flagging flagging = *order;
    GThread *threads[FLAGGING_THREADS];
    guint n = MIN(1 + g_strv_length((char **)order->messages) / 32, FLAGGING_THREADS);
    flagging.out = out;
    for (guint i = 0; i < n; i++)
        threads[i] = g_thread_new("flag", flag_thread, &flagging);
    for (guint i = 0; i < n; i++)
        g_thread_join(threads[i]);
    return 0;
}

typedef struct {
    GString *line; /* that has no end yet */
    bool failed;
} Problems;

static void show_problems(const char *bytes, gsize length, gpointer data)
{
    Problems *problems = data;
    GString *text = problems->line;
    const char *end;
    g_string_append_len(text, bytes, (gssize)length);
    while ((end = strchr(text->str, '\n'))) {
        gsize line = (gsize)(end - text->str) + 1;
        if (line > 1)
            fwrite(text->str, 1, line, stderr);
        problems->failed = problems->failed || line > 1;
        g_string_erase(text, 0, (gssize)line);
    }
}

static int flag_messages(char *const *words)
{
    g_autoptr(GPtrArray) mounts = mounts_load(), messages = g_ptr_array_new();
    g_autoptr(GString) text = g_string_new(NULL), rest = g_string_new(NULL);
    for (char *const *word = words; *word; word++) {
        if (is_change(*word)) {
            g_string_append_printf(text, "%s\n", *word);
            continue;
        }
        if (!find_mount(mounts, *word))
            return complain(*word, 0, "not in an imapfs mount (imapfsctl list shows them)");
        g_ptr_array_add(messages, *word);
    }
    if (!messages->len || !text->len)
        return UNREADABLE;
    for (guint i = 0; i <= FLAGGING_THREADS; i++) /* each thread finds its end */
        g_ptr_array_add(messages, NULL);
    const Flagging flagging = {.messages = (char *const *)messages->pdata, .text = text->str};
    Problems problems = {.line = rest};
    int err = child_run(flag_work, &flagging, TIMEOUT_MS, show_problems, &problems);
    if (err)
        return complain(words[0], err, NULL);
    return problems.failed ? FAILED : DONE;
}

/* --- the table --- */

typedef enum {
    TAKES_NOTHING,
    TAKES_OP,       /* SEQ or all */
    TAKES_OP_OR_ALL /* the same; without: all */
} Takes;

static const struct {
    const char *name;
    int (*run)(const Run *run);
    Takes takes;
    bool needs_one; /* no mount at all is an error */
    bool one_only;  /* with several, one must be named */
    const char *arguments, *help;
} commands[] = {
    {"status", show_status, TAKES_NOTHING, true, false, "",
     "how the account and the connection are"},
    {"log", show_log, TAKES_NOTHING, true, false, "", "the last lines of the log"},
    {"list", show_mount, TAKES_NOTHING, false, false, "", "the mounts: SOURCE and MOUNTPOINT"},
    {"events", follow_events, TAKES_NOTHING, true, true, "", "what happens, as it happens"},
    {"queue", show_ops, TAKES_NOTHING, true, false, "",
     "changes that the server does not have yet"},
    {"failed", show_ops, TAKES_NOTHING, true, false, "", "changes that it refused"},
    {"sync", sync_changes, TAKES_NOTHING, true, false, "", "wait until all changes are sent"},
    {"offline", give_order, TAKES_NOTHING, true, false, "", "use no network; changes wait"},
    {"online", give_order, TAKES_NOTHING, true, false, "", "use it again"},
    {"retry", give_order, TAKES_OP_OR_ALL, true, true, "[SEQ|all]", "send what failed again"},
    {"discard", give_order, TAKES_OP, true, true, "SEQ|all", "forget what failed"},
    {"cancel", give_order, TAKES_OP, true, true, "SEQ|all", "take back what was not sent"},
    {"confirm", give_order, TAKES_OP, true, true, "SEQ|all",
     "send deletions that wait for it, as there were many"},
};

static bool is_op(const char *word)
{
    return *word && (strcmp(word, "all") == 0 || strspn(word, "0123456789") == strlen(word));
}

/* On all mounts of the user. */
static int run_on_all(guint command, Run run)
{
    g_autoptr(GPtrArray) mounts = mounts_load();
    guint mine = 0;
    int code = DONE;
    for (guint i = 0; i < mounts->len; i++)
        mine += ((const Mount *)g_ptr_array_index(mounts, i))->user == getuid();
    if (mine > 1 && commands[command].one_only) {
        fputs("imapfsctl: you have several mounts: say which (imapfsctl list)\n", stderr);
        return WRONG_USAGE;
    }
    run.alone = mine == 1;
    for (guint i = 0; i < mounts->len; i++) {
        run.mount = g_ptr_array_index(mounts, i);
        int one = run.mount->user == getuid() ? commands[command].run(&run) : DONE;
        code = MAX(code, one);
    }
    if (mine == 0 && commands[command].needs_one) {
        fputs("imapfsctl: you have no imapfs mount here\n", stderr);
        code = FAILED;
    }
    return code;
}

/* words: what stands behind the command. */
static int run_command(guint command, char *const *words)
{
    Run run = {.word = commands[command].name, .alone = true};
    Takes takes = commands[command].takes;
    const char *where = NULL;
    /* A directory that is called as a number is "./12". */
    if (words[0] && !(takes != TAKES_NOTHING && is_op(words[0])))
        where = *words++;
    if (words[0] && takes != TAKES_NOTHING && is_op(words[0]))
        run.argument = *words++;
    else if (takes == TAKES_OP_OR_ALL)
        run.argument = "all";
    if (words[0] || (takes == TAKES_OP && !run.argument))
        return UNREADABLE;
    if (!where)
        return run_on_all(command, run);
    g_autoptr(GPtrArray) mounts = mounts_load();
    run.mount = find_mount(mounts, where);
    return run.mount ? commands[command].run(&run)
                     : complain(where, 0, "not an imapfs mount (imapfsctl list shows them)");
}

static void print_help(FILE *out)
{
    fputs("usage: imapfsctl COMMAND [MOUNTPOINT] [SEQ|all]\n"
          "       imapfsctl flag MESSAGE... +FLAG... -FLAG...\n\n",
          out);
    for (guint i = 0; i < G_N_ELEMENTS(commands); i++)
        fprintf(out, "    %-8s%-10s %s\n", commands[i].name, commands[i].arguments,
                commands[i].help);
    fputs("    flag               set and clear flags of messages (their directories)\n"
          "    help               this\n"
          "    version\n\n"
          "Without MOUNTPOINT: all mounts of yours, or the only one.\n",
          out);
}

static bool is_one_of(const char *word, const char *a, const char *b, const char *c)
{
    return strcmp(word, a) == 0 || strcmp(word, b) == 0 || strcmp(word, c) == 0;
}

static int run_any(const char *name, char *const *words)
{
    if (strcmp(name, "flag") == 0)
        return flag_messages(words);
    for (guint i = 0; i < G_N_ELEMENTS(commands); i++)
        if (strcmp(name, commands[i].name) == 0)
            return run_command(i, words);
    return UNREADABLE;
}

static int run(const char *name, char *const *words)
{
    if (is_one_of(name, "help", "--help", "-h"))
        print_help(stdout);
    else if (is_one_of(name, "version", "--version", "-V"))
        printf("imapfsctl %s\n", imapfs_version());
    else
        return run_any(name, words);
    return DONE;
}

int main(int argc, char **argv)
{
    signal(SIGCHLD, SIG_DFL); /* else nobody can tell how a child ended */
    int code = run(argc > 1 ? argv[1] : "", argc > 2 ? argv + 2 : argv + argc);
    if (code == UNREADABLE) {
        print_help(stderr);
        code = WRONG_USAGE;
    }
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    fputs("imapfsctl: not all of it could be written\n", stderr);
    return MAX(code, FAILED);
}
