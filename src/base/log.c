/* log.c - one lock, one ring, one place where text from outside is made printable. */
#include "imapfs/base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <time.h>

#define RING_SIZE (256u * 1024)
#define LINE_MAX_BYTES 2000u

static struct {
    pthread_mutex_t lock; /* not GMutex: ThreadSanitizer does not see its futex */
    LogTarget target;
    char **debug; /* categories; NULL: none */
    bool debug_all;
    char ring[RING_SIZE];
    gsize start, used; /* the oldest byte, and how many there are */
} logger = {.lock = PTHREAD_MUTEX_INITIALIZER, .target = LOG_TO_STDERR};

void log_init(const char *debug_categories)
{
    pthread_mutex_lock(&logger.lock);
    g_clear_pointer(&logger.debug, g_strfreev);
    logger.debug_all = false;
    if (debug_categories && *debug_categories) {
        logger.debug = g_strsplit(debug_categories, ",", -1);
        logger.debug_all = g_strv_contains((const char *const *)logger.debug, "all");
    }
    pthread_mutex_unlock(&logger.lock);
}

void log_set_target(LogTarget target)
{
    pthread_mutex_lock(&logger.lock);
    logger.target = target;
    pthread_mutex_unlock(&logger.lock);
}

bool log_debug_on(const char *category)
{
    if (!logger.debug) /* set before threads start, never after */
        return false;
    return logger.debug_all || g_strv_contains((const char *const *)logger.debug, category);
}

/* Drops whole lines from the front until there is room. */
static void ring_add(const char *line, gsize length)
{
    while (logger.used + length > RING_SIZE) {
        char gone = logger.ring[logger.start];
        logger.start = (logger.start + 1) % RING_SIZE;
        logger.used--;
        while (logger.used > 0 && gone != '\n') {
            gone = logger.ring[logger.start];
            logger.start = (logger.start + 1) % RING_SIZE;
            logger.used--;
        }
    }
    for (gsize i = 0; i < length; i++)
        logger.ring[(logger.start + logger.used++) % RING_SIZE] = line[i];
}

char *log_printable(const char *bytes, gsize length, gsize max)
{
    GString *out = g_string_sized_new(MIN(length, max) + 8);
    gsize shown = MIN(length, max);
    gsize i = 0;
    while (i < shown) {
        unsigned char c = (unsigned char)bytes[i];
        if (c >= 0x20 && c < 0x7f) {
            g_string_append_c(out, (char)c);
            i++;
            continue;
        }
        gunichar u =
            c < 0x80 ? (gunichar)-1 : g_utf8_get_char_validated(bytes + i, (gssize)(shown - i));
        if (u != (gunichar)-1 && u != (gunichar)-2 && g_unichar_isprint(u) &&
            g_unichar_type(u) != G_UNICODE_FORMAT) {
            g_string_append_unichar(out, u);
            i += (gsize)g_unichar_to_utf8(u, NULL);
        } else {
            g_string_append_printf(out, "\\x%02X", c);
            i++;
        }
    }
    if (length > max)
        g_string_append(out, "...");
    return g_string_free(out, FALSE);
}

static const char *level_words[] = {"error: ", "warning: ", "", ""};
static const int level_syslog[] = {LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG};

void log_write(LogLevel level, const char *category, const char *format, ...)
{
    int saved_errno = errno;
    va_list args;
    va_start(args, format);
    g_autofree char *raw = g_strdup_vprintf(format, args);
    va_end(args);
    g_autofree char *text = log_printable(raw, strlen(raw), LINE_MAX_BYTES);

    struct timespec now;
    struct tm tm;
    char stamp[32];
    clock_gettime(CLOCK_REALTIME, &now);
    localtime_r(&now.tv_sec, &tm);
    gsize n = strftime(stamp, sizeof(stamp), "%Y-%m-%d %H:%M:%S", &tm);
    g_snprintf(stamp + n, sizeof(stamp) - n, ".%03ld", now.tv_nsec / 1000000);
    g_autofree char *line =
        g_strdup_printf("%s %s: %s%s\n", stamp, category, level_words[level], text);

    pthread_mutex_lock(&logger.lock);
    ring_add(line, strlen(line));
    if (logger.target == LOG_TO_STDERR)
        fprintf(stderr, "imapfs: %s%s\n", level_words[level], text);
    else if (logger.target == LOG_TO_SYSLOG)
        syslog(level_syslog[level], "%s: %s%s", category, level_words[level], text);
    pthread_mutex_unlock(&logger.lock);
    errno = saved_errno;
}

char *log_ring_dup(gsize *length_out)
{
    pthread_mutex_lock(&logger.lock);
    char *copy = g_malloc(logger.used + 1);
    for (gsize i = 0; i < logger.used; i++)
        copy[i] = logger.ring[(logger.start + i) % RING_SIZE];
    copy[logger.used] = '\0';
    if (length_out)
        *length_out = logger.used;
    pthread_mutex_unlock(&logger.lock);
    return copy;
}
