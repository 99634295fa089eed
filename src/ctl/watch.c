/* watch.c - the bar on the terminal, and SIGUSR1.
 *
 * The rule: the cursor always waits at the beginning of the line, so that a line of the log that
 * comes between two drawings begins there. */
#include "watch.h"
#include "progress.h"
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define REDRAW_MS 250

struct Watch {
    Engine *engine;
    int terminal;
    gint stop; /* atomic */
    GThread *thread;
};

static guint terminal_width(int terminal)
{
    struct winsize size;
    return ioctl(terminal, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col - 1u : 79;
}

static void draw(Watch *watch, bool *drawn)
{
    EngineProgress progress;
    engine_progress(watch->engine, &progress);
    g_autofree char *line = progress_line(&progress, terminal_width(watch->terminal));
    if (!*line && !*drawn)
        return;
    *drawn = *line != '\0';
    g_autofree char *text = g_strdup_printf("\r\033[K%s\r", line);
    gssize ignored = write(watch->terminal, text, strlen(text));
    (void)ignored;
}

static gpointer run(gpointer data)
{
    Watch *watch = data;
    const struct timespec pause = {0, REDRAW_MS * 1000000L};
    bool drawn = false;
    sigset_t kick;
    sigemptyset(&kick);
    sigaddset(&kick, SIGUSR1);
    while (!g_atomic_int_get(&watch->stop)) {
        int number = sigtimedwait(&kick, NULL, watch->terminal >= 0 ? &pause : NULL);
        if (number == SIGUSR1 && !g_atomic_int_get(&watch->stop))
            engine_kick(watch->engine);
        if (watch->terminal >= 0)
            draw(watch, &drawn);
    }
    if (drawn) {
        gssize ignored = write(watch->terminal, "\r\033[K", 4);
        (void)ignored;
    }
    return NULL;
}

Watch *watch_start(Engine *engine, int terminal)
{
    Watch *watch = g_new0(Watch, 1);
    watch->engine = engine;
    watch->terminal = terminal;
    watch->thread = g_thread_new("watch", run, watch);
    return watch;
}

void watch_stop(Watch *watch)
{
    if (!watch)
        return;
    g_atomic_int_set(&watch->stop, 1);
    kill(getpid(), SIGUSR1); /* only that thread takes it */
    g_thread_join(watch->thread);
    g_free(watch);
}
