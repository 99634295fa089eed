/* events.c - the text of .imapfs/events: a line for each thing that happened.
 *
 * Its lock is a leaf, taken for the copying of text alone. What a server or a person named is
 * printed escaped, and what comes in numbers (a first listing, a bulk change) is one line with the
 * number in it. The words: online, offline; mailbox-new, mailbox-gone; new, gone, flags (of
 * messages); queued, sent, waiting, parked, kept-here, dropped, bound, followed, adrift, homeless,
 * unbound (of changes). */
#include "sync.h"

#include <string.h>
#include <time.h>

#include "imapfs/base/clock.h"
#include "imapfs/base/limits.h"
#include "imapfs/base/log.h"

#define NAME_SHOWN 300
#define LINE_SHOWN 1000

static void append_time(GString *out)
{
    time_t seconds = (time_t)(clock_real_ns() / 1000000000);
    struct tm utc;
    char text[32];
    if (gmtime_r(&seconds, &utc) && strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &utc) > 0)
        g_string_append(out, text);
}

void events_add(Engine *engine, const char *word, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *words = g_strdup_vprintf(format, args);
    va_end(args);
    g_autofree char *safe = log_printable(words, strlen(words), LINE_SHOWN);
    g_autoptr(GString) line = g_string_new(NULL);
    append_time(line);
    g_string_append_printf(line, " %s%s%s\n", word, *safe ? " " : "", safe);

    pthread_mutex_lock(&engine->shared.lock);
    GString *text = engine->shared.events;
    if (text->len + line->len > LIMIT_EVENTS)
        g_string_truncate(text, 0);
    g_string_append_len(text, line->str, (gssize)line->len);
    pthread_mutex_unlock(&engine->shared.lock);
}

void events_add_count(Engine *engine, const char *word, const char *mailbox, guint64 n,
                      const char *what)
{
    if (n == 0)
        return;
    g_autofree char *name = log_printable(mailbox, strlen(mailbox), NAME_SHOWN);
    events_add(engine, word, "%s: %" G_GUINT64_FORMAT " %s%s", name, n, what, n == 1 ? "" : "s");
}

void events_add_message(Engine *engine, const char *word, const char *mailbox, const char *name,
                        guint32 uid)
{
    g_autofree char *box = log_printable(mailbox, strlen(mailbox), NAME_SHOWN);
    events_add(engine, word, "%s/%s.%u", box, name, uid);
}

void engine_tell(Engine *engine, const char *word, const char *words)
{
    events_add(engine, word, "%s", words);
}

char *engine_events(Engine *engine, gsize *length_out)
{
    pthread_mutex_lock(&engine->shared.lock);
    gsize length = engine->shared.events->len;
    char *copy = g_malloc(length + 1);
    memcpy(copy, engine->shared.events->str, length + 1);
    pthread_mutex_unlock(&engine->shared.lock);
    if (length_out)
        *length_out = length;
    return copy;
}

gsize engine_events_length(Engine *engine)
{
    pthread_mutex_lock(&engine->shared.lock);
    gsize length = engine->shared.events->len;
    pthread_mutex_unlock(&engine->shared.lock);
    return length;
}
