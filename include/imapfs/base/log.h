/* log.h - one log: standard error or syslog, and a ring that .imapfs/log shows.
 *
 * Layer base. Any thread. The place that decides logs, once; others return a GError. No subject,
 * address, body or secret above debug. Control characters in the text are escaped, so nothing a
 * server says reaches a terminal raw; a line is cut at 2,000 bytes. */
#pragma once
#include <glib.h>
#include <stdbool.h>

typedef enum { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG } LogLevel;
typedef enum { LOG_TO_STDERR, LOG_TO_SYSLOG, LOG_TO_RING_ONLY } LogTarget;

/* Those that have something to say at debug level; log_init() takes "all" as well. */
#define LOG_DEBUG_CATEGORIES "engine", "fuse", "imap", "net", "replay", "store", "sync"

/* Categories that IMAPFS_DEBUG=imap,store,... (or "all") turns on at debug level. */
void log_init(const char *debug_categories);
void log_set_target(LogTarget target);

void log_write(LogLevel level, const char *category, const char *format, ...) G_GNUC_PRINTF(3, 4);
bool log_debug_on(const char *category);

#define log_error(cat, ...) log_write(LOG_LEVEL_ERROR, cat, __VA_ARGS__)
#define log_warn(cat, ...) log_write(LOG_LEVEL_WARN, cat, __VA_ARGS__)
#define log_info(cat, ...) log_write(LOG_LEVEL_INFO, cat, __VA_ARGS__)
#define log_debug(cat, ...)                               \
    do {                                                  \
        if (log_debug_on(cat))                            \
            log_write(LOG_LEVEL_DEBUG, cat, __VA_ARGS__); \
    } while (0)

/* The last lines (at most 256 KiB), newest last, each ending in a newline. Caller frees. */
char *log_ring_dup(gsize *length_out);

/* A printable copy of bytes from outside: controls, DEL and invalid UTF-8 as \xNN, at most max
 * input bytes ("..." marks a cut). Caller frees. */
char *log_printable(const char *bytes, gsize length, gsize max);
