/* main.c - imapfs: the command line. */
#include "mountcmd.h"
#include "options.h"
#include "prompt.h"
#include "imapfs/base/fault.h"
#include "imapfs/base/log.h"
#include "imapfs/base/secret.h"
#include "imapfs/base/version.h"
#include <fcntl.h>
#include <getopt.h>
#include <locale.h>
#include <pwd.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    Options *options;
    MountFlags flags;
    const char *source, *mountpoint;
} CommandLine;

static void print_help(void)
{
    fputs("usage: imapfs [-f] [-o OPTION[,OPTION...]] SOURCE MOUNTPOINT\n\n"
          "Shows the mail of an IMAP account as directories and files.\n\n"
          "SOURCE: USER@HOST[:PORT]              TLS, as imaps://\n"
          "        imaps://[USER@]HOST[:PORT]    TLS\n"
          "        imap://[USER@]HOST[:PORT]     STARTTLS, required\n"
          "        NAME                          a section of the configuration file\n\n"
          "    -f                         stay in the foreground\n"
          "    -d                         tell all that happens, in the foreground\n"
          "    -o OPTION[,OPTION...]      see below; a comma in a value is \"\\,\"\n"
          "    -h, --help; -V, --version\n\n",
          stdout);
    options_print_help(stdout);
    fputs("\nUnmount with: fusermount3 -u MOUNTPOINT\n", stdout);
}

/* words NULL: getopt has said them. */
static ExitCode usage_error(const char *words)
{
    if (words)
        fprintf(stderr, "imapfs: %s\n", words);
    fputs(
        "usage: imapfs [-f] [-o OPTION[,OPTION...]] SOURCE MOUNTPOINT (imapfs --help tells more)\n",
        stderr);
    return EXIT_USAGE;
}

/* EXIT_FINE with line->source NULL: all was done. */
static ExitCode parse_command_line(int argc, char **argv, CommandLine *line)
{
    static const struct option longs[] = {
        {"help", no_argument, NULL, 'h'}, {"version", no_argument, NULL, 'V'}, {0}};
    g_autoptr(GError) error = NULL;
    int c;
    /* getopt_long moves options that stand behind the arguments, as mount.fuse3 puts them. */
    while ((c = getopt_long(argc, argv, "fdho:V", longs, NULL)) != -1) {
        switch (c) {
        case 'd':
            line->flags.debug_fuse = true;
            options_set(line->options, "debug", NULL, OPTION_FROM_COMMAND, NULL);
            line->flags.foreground = true;
            break;
        case 'f':
            line->flags.foreground = true;
            break;
        case 'o':
            if (!options_parse(line->options, optarg, &error))
                return mount_complain(error);
            break;
        case 'h':
            print_help();
            return EXIT_FINE;
        case 'V':
            printf("imapfs %s\n", imapfs_version());
            return EXIT_FINE;
        default:
            return usage_error(NULL);
        }
    }
    if (argc - optind != 2)
        return usage_error(argc - optind < 2 ? "SOURCE or MOUNTPOINT is missing"
                                             : "more than SOURCE and MOUNTPOINT");
    line->source = argv[optind];
    line->mountpoint = argv[optind + 1];
    return EXIT_FINE;
}

/* Whoever starts us without standard descriptors must not find the store's data sent to one. */
static void open_standard_descriptors(void)
{
    int fd;
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= 2);
    if (fd > 2)
        close(fd);
}

/* mount(8) takes HOME away when a user mounts what fstab has, and mount.fuse3 then says /root.
 * Passwords and configuration are at home, and a command of the user expects to be told where that
 * is. */
static void find_home(void)
{
    const char *said = getenv("HOME");
    bool is_ours = said && *said == '/' && (geteuid() == 0 || strcmp(said, "/root") != 0);
    const struct passwd *user = is_ours ? NULL : getpwuid(geteuid());
    if (user && user->pw_dir && *user->pw_dir == '/')
        setenv("HOME", user->pw_dir, 1);
}

static ExitCode run(const CommandLine *line)
{
    /* For the life of the process: a thread that asks for a password may outlive all else. */
    static Settings *settings;
    g_autoptr(GError) error = NULL;
    settings = settings_new(line->options, line->source, line->mountpoint, NULL, &error);
    if (!settings)
        return mount_complain(error);
    log_init(settings->debug);
    ExitCode code = mount_run(settings, &line->flags);
    prompt_abort();
    return code;
}

int main(int argc, char **argv)
{
    open_standard_descriptors();
    signal(SIGCHLD, SIG_DFL); /* else nobody can tell how a command ended */
    find_home();
    setlocale(LC_CTYPE, "");
    secret_harden_process();
    fault_init();
    g_set_prgname("imapfs");
    CommandLine line = {.options = options_new()};
    ExitCode code = parse_command_line(argc, argv, &line);
    if (code == EXIT_FINE && line.source)
        code = run(&line);
    options_free(line.options);
    return code;
}
