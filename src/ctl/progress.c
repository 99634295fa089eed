/* progress.c - the line that shows a listing under way.
 *
 * The rule: it never is wider than the terminal, as a line that wraps cannot be drawn over. */
#include "progress.h"
#include "imapfs/base/log.h"
#include <string.h>

#define WIDTH_MIN 30

static glong columns_of(const char *text)
{
    glong columns = 0;
    for (; *text; text = g_utf8_next_char(text))
        columns += g_unichar_iswide(g_utf8_get_char(text)) ? 2 : 1;
    return columns;
}

/* The end of the mailbox's name says more than its beginning. */
static char *fit_name(const char *name, glong room)
{
    g_autofree char *clean =
        log_printable(name, strlen(name), sizeof((EngineProgress *)0)->mailbox);
    const char *from = clean + strlen(clean);
    glong used = 0;
    while (from > clean) {
        const char *before = g_utf8_prev_char(from);
        glong columns = g_unichar_iswide(g_utf8_get_char(before)) ? 2 : 1;
        if (used + columns > room)
            break;
        used += columns;
        from = before;
    }
    return g_strdup(from);
}

static void append_bar(GString *line, gint64 room, guint64 done, guint64 total)
{
    guint64 filled = (guint64)((double)done / (double)total * (double)room);
    g_string_append_c(line, '[');
    for (gint64 i = 0; i < room; i++)
        g_string_append_c(line, (guint64)i < filled ? '#' : '.');
    g_string_append_c(line, ']');
}

char *progress_line(const EngineProgress *progress, guint width)
{
    if (!*progress->mailbox || progress->total == 0)
        return g_strdup("");
    width = MAX(width, WIDTH_MIN);
    guint64 total = progress->total, done = MIN(progress->done, total);
    g_autofree char *counts =
        g_strdup_printf(" %" G_GUINT64_FORMAT "/%" G_GUINT64_FORMAT, done, total);
    gint64 room = (gint64)width - (gint64)strlen(counts);
    g_autofree char *name = fit_name(progress->mailbox, CLAMP(room / 2, 0, 40));
    GString *line = g_string_new(name);
    /* name, space, '[', bar, ']', counts */
    gint64 bar = room - columns_of(name) - 3;
    if (bar >= 4) {
        g_string_append_c(line, ' ');
        append_bar(line, MIN(bar, 40), done, total);
    }
    g_string_append(line, counts);
    return g_string_free(line, FALSE);
}
