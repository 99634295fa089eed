/* net_test.h - what the tests of streams share: a loop with an end, and an actor on a stream. */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <gio/gio.h>
#include <string.h>

#include "imapfs/base/error.h"
#include "imapfs/base/limits.h"
#include "imapfs/base/log.h"
#include "imapfs/net/stream.h"

#define PATIENCE_S 30 /* then a test has hung */

/* Does what streams ask their users to do: on each notify writes, flushes and reads until nothing
 * goes on. A lost wake-up therefore hangs it, and the loop's end of patience shows that. */
typedef struct {
    Stream *stream;
    GByteArray *got;
    GByteArray *send;
    gsize sent;
    bool flushed;
    bool write_first; /* in each round */
    bool eof;
    GError *read_error, *write_error;
    guint rounds;
    bool in_call; /* a notify now would be from inside a stream call */
} Actor;

static inline void actor_write(Actor *actor)
{
    while (!actor->write_error && actor->sent < actor->send->len) {
        gsize n;
        StreamStatus status = stream_write(actor->stream, actor->send->data + actor->sent,
                                           actor->send->len - actor->sent, &n, &actor->write_error);
        if (status != STREAM_OK)
            return;
        assert_true(n > 0);
        actor->sent += n;
        actor->flushed = false;
    }
    if (!actor->write_error && !actor->flushed)
        actor->flushed = stream_flush(actor->stream, &actor->write_error) == STREAM_OK;
}

static inline void actor_read(Actor *actor)
{
    guint8 bytes[3000];
    gsize n;
    while (!actor->read_error && !actor->eof) {
        StreamStatus status =
            stream_read(actor->stream, bytes, sizeof bytes, &n, &actor->read_error);
        actor->eof = status == STREAM_EOF;
        if (status != STREAM_OK)
            return;
        assert_true(n > 0 && n <= sizeof bytes);
        g_byte_array_append(actor->got, bytes, (guint)n);
    }
}

static inline void actor_go(gpointer data)
{
    Actor *actor = data;
    assert_false(actor->in_call);
    actor->in_call = true;
    actor->rounds++;
    if (actor->write_first)
        actor_write(actor);
    actor_read(actor);
    if (!actor->write_first)
        actor_write(actor);
    actor->in_call = false;
}

/* Takes stream. */
static inline Actor *actor_new(Stream *stream, const void *send, gsize length)
{
    Actor *actor = g_new0(Actor, 1);
    actor->stream = stream;
    actor->got = g_byte_array_new();
    actor->send = g_byte_array_new();
    actor->flushed = true;
    g_byte_array_append(actor->send, send, (guint)length);
    stream_set_notify(stream, actor_go, actor);
    return actor;
}

static inline void actor_free(Actor *actor)
{
    stream_free(actor->stream);
    g_byte_array_unref(actor->got);
    g_byte_array_unref(actor->send);
    g_clear_error(&actor->read_error);
    g_clear_error(&actor->write_error);
    g_free(actor);
}

static inline gboolean on_patience_over(gpointer data)
{
    *(bool *)data = true;
    return G_SOURCE_REMOVE;
}

static inline gboolean on_tick(gpointer data)
{
    return G_SOURCE_CONTINUE;
}

/* Runs the main context until the condition holds; the test fails if it does not come to hold. */
#define run_until(condition)                                                                     \
    do {                                                                                         \
        bool over_ = false;                                                                      \
        guint timer_ = g_timeout_add_seconds(PATIENCE_S, on_patience_over, &over_);              \
        guint tick_ = g_timeout_add(20, on_tick, NULL); /* for conditions outside the process */ \
        while (!(condition) && !over_)                                                           \
            g_main_context_iteration(NULL, TRUE);                                                \
        if (over_)                                                                               \
            fail_msg("waited in vain for: %s", #condition);                                      \
        g_source_remove(tick_);                                                                  \
        g_source_remove(timer_);                                                                 \
    } while (0)

/* Dispatches what is ready now and returns how many rounds that took, at most max. */
static inline guint run_ready(guint max)
{
    guint n = 0;
    while (n < max && g_main_context_iteration(NULL, FALSE))
        n++;
    return n;
}

static inline void assert_bytes(const GByteArray *got, const void *want, gsize length)
{
    assert_int_equal(got->len, length);
    if (length)
        assert_memory_equal(got->data, want, length);
}

#define assert_error(error, want_code, want_words)                                         \
    do {                                                                                   \
        assert_non_null(error);                                                            \
        if (!g_error_matches((error), IMAPFS_ERROR, (want_code)) ||                        \
            !strstr((error)->message, (want_words)))                                       \
            fail_msg("%s: \"%s\", not %s: \"...%s...\"", imapfs_error_name((error)->code), \
                     (error)->message, imapfs_error_name(want_code), (want_words));        \
    } while (0)

/* Text that does not compress to nothing and in which a byte out of place shows. */
static inline GByteArray *sample_bytes(gsize length)
{
    GByteArray *bytes = g_byte_array_new();
    guint32 x = 12345;
    g_byte_array_set_size(bytes, (guint)length);
    for (gsize i = 0; i < length; i++) {
        x = x * 1664525 + 1013904223;
        bytes->data[i] = i % 7 < 4 ? (guint8)(x >> 24) : (guint8)("* FETCH"[i % 7]);
    }
    return bytes;
}

/* How the lower streams of a test behave. */
typedef struct {
    const char *name;
    gsize chunk, capacity;
    bool stutter;
    gsize length; /* bytes worth sending in this way, each direction */
} Way;

static const Way ways[] = {
    {"all at once", 0, 0, false, 300000},
    {"1 byte", 1, 0, false, 20000},
    {"1 byte, room for 1", 1, 1, false, 2000},
    {"3 bytes, stutter", 3, 0, true, 5000},
    {"room for 100, stutter", 0, 100, true, 30000},
    {"7 bytes, room for 5000", 7, 5000, false, 50000},
};

static inline void set_way(Stream *stream, const Way *way)
{
    memory_stream_set_chunk(stream, way->chunk);
    memory_stream_set_capacity(stream, way->capacity);
    memory_stream_set_stutter(stream, way->stutter);
}
