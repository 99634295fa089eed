/* prompt.c - asks for a password at the terminal.
 *
 * The rule: whatever happens, echo comes back: signals are caught while it is off, and raised again
 * once it is on. */
#include "prompt.h"
#include "imapfs/base/error.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#define PASSWORD_MAX 4096

static const int caught[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP};

/* Signal handlers have no argument, hence one prompt at a time. */
static int signal_pipe[2] = {-1, -1};

/* What prompt_abort() has to put right. */
static struct {
    GMutex lock;
    bool quiet; /* echo was on and is off now */
    int terminal;
    struct termios before;
} echo;

static bool echo_off(int terminal)
{
    g_mutex_lock(&echo.lock);
    if (tcgetattr(terminal, &echo.before) == 0) {
        struct termios quiet = echo.before;
        quiet.c_lflag &= ~(tcflag_t)(ECHO | ECHONL);
        echo.terminal = terminal;
        echo.quiet = tcsetattr(terminal, TCSAFLUSH, &quiet) == 0;
    }
    bool quiet = echo.quiet;
    g_mutex_unlock(&echo.lock);
    return quiet;
}

void prompt_abort(void)
{
    g_mutex_lock(&echo.lock);
    if (echo.quiet)
        tcsetattr(echo.terminal, TCSAFLUSH, &echo.before);
    echo.quiet = false;
    g_mutex_unlock(&echo.lock);
}

static void on_signal(int number)
{
    int saved = errno;
    guchar byte = (guchar)number;
    gssize ignored = write(signal_pipe[1], &byte, 1);
    (void)ignored;
    errno = saved;
}

typedef struct {
    bool quiet;
    struct sigaction actions[G_N_ELEMENTS(caught)];
} Prompt;

static bool begin(Prompt *prompt, int terminal)
{
    if (pipe2(signal_pipe, O_CLOEXEC | O_NONBLOCK) != 0)
        return false;
    struct sigaction action = {.sa_handler = on_signal};
    sigfillset(&action.sa_mask);
    for (guint i = 0; i < G_N_ELEMENTS(caught); i++)
        sigaction(caught[i], &action, &prompt->actions[i]);
    prompt->quiet = echo_off(terminal);
    return true;
}

static void end(Prompt *prompt)
{
    prompt_abort();
    for (guint i = 0; i < G_N_ELEMENTS(caught); i++)
        sigaction(caught[i], &prompt->actions[i], NULL);
    close(signal_pipe[0]);
    close(signal_pipe[1]);
    signal_pipe[0] = signal_pipe[1] = -1;
}

static void say(int terminal, const char *text)
{
    gssize ignored = write(terminal, text, strlen(text));
    (void)ignored;
}

/* The length of the line, without its end; -1: the terminal ended; or a signal in *signal_out. */
static gssize read_line(int terminal, char *line, int *signal_out)
{
    gsize length = 0;
    for (;;) {
        struct pollfd fds[] = {{terminal, POLLIN, 0}, {signal_pipe[0], POLLIN, 0}};
        if (poll(fds, G_N_ELEMENTS(fds), -1) < 0 && errno != EINTR)
            return -1;
        guchar number;
        if (read(signal_pipe[0], &number, 1) == 1) {
            *signal_out = number;
            return -1;
        }
        if (!fds[0].revents)
            continue;
        gssize n = read(terminal, line + length, 1);
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n <= 0)
            return -1;
        if (line[length] == '\n' || line[length] == '\r')
            return (gssize)length;
        if (length + 1 < PASSWORD_MAX)
            length++;
    }
}

/* One question. *again_out: a signal stopped us meanwhile, and we go on. */
static Secret *ask_once(int terminal, const char *text, bool *again_out)
{
    Prompt prompt = {0};
    char line[PASSWORD_MAX];
    int number = 0;
    *again_out = false;
    if (!begin(&prompt, terminal))
        return NULL;
    say(terminal, text);
    gssize length = prompt.quiet ? read_line(terminal, line, &number) : -1;
    say(terminal, "\n");
    end(&prompt);
    Secret *secret = length > 0 ? secret_new(line, (gsize)length) : NULL;
    secret_wipe(line, sizeof line);
    if (number) {
        /* To this thread: the default action, which ends or stops the process, happens before
         * raise() returns. */
        raise(number);
        *again_out = number == SIGTSTP;
    }
    return secret;
}

Secret *prompt_password_at(int terminal, const char *text, GError **error)
{
    bool again = true;
    Secret *secret = NULL;
    while (!secret && again)
        secret = ask_once(terminal, text, &again);
    if (!secret)
        g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_AUTH, "no password was typed");
    return secret;
}

static int open_terminal(void)
{
    return open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
}

bool prompt_possible(void)
{
    int terminal = open_terminal();
    /* In the background reading would only stop us. */
    bool possible = terminal >= 0 && tcgetpgrp(terminal) == getpgrp();
    if (terminal >= 0)
        close(terminal);
    return possible;
}

Secret *prompt_password(const char *text, GError **error)
{
    int terminal = open_terminal();
    if (terminal < 0) {
        g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_AUTH, "there is no terminal to ask at");
        return NULL;
    }
    Secret *secret = prompt_password_at(terminal, text, error);
    close(terminal);
    return secret;
}
