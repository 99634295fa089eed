/* stream_impl.h - what a kind of stream gives to stream.c; private to this layer.
 *
 * A kind embeds Stream as its first member. Wake-ups follow one rule: whoever returned STREAM_AGAIN
 * owes a notify (owes_read, owes_write) until a call of that direction succeeds. A notify too many
 * is harmless, one too few hangs; hence notifies are never withheld because one "should not" be
 * waiting, and each cause of one (a source, an idle) is gone when it has fired. */
#pragma once
#include <gio/gio.h>
#include "imapfs/base/error.h"
#include "imapfs/net/stream.h"

typedef struct {
    StreamStatus (*read)(Stream *stream, void *buffer, gsize size, gsize *n_out, GError **error);
    StreamStatus (*write)(Stream *stream, const void *bytes, gsize size, gsize *n_out,
                          GError **error);
    StreamStatus (*flush)(Stream *stream, GError **error);
    void (*on_lower)(Stream *stream);              /* lower notified. NULL: pass it on */
    bool (*is_secure)(const Stream *stream);       /* NULL: as lower; without lower false */
    char *(*describe)(const Stream *stream);       /* NULL: as lower; without lower the place */
    gint64 (*round_trip_us)(const Stream *stream); /* NULL: as lower; without lower -1 */
    void (*finish)(Stream *stream); /* release what the kind owns; lower is freed after it */
} StreamOps;

struct Stream {
    const StreamOps *ops;
    Stream *lower; /* owned; NULL at the bottom */
    char *place;   /* where the other end is */
    StreamNotify notify;
    gpointer notify_data;
    GSource *idle; /* a notify that was scheduled */
    bool owes_read, owes_write;
    GError *read_error, *write_error; /* kept: what failed once fails again, the same way */
    guint64 in, out;
};

/* Takes lower (may be NULL) and becomes its listener. */
void stream_init(Stream *stream, const StreamOps *ops, Stream *lower, const char *place);

/* Calls the listener. Only from the main context, as the last thing a function does: the stream
 * may be gone after it. */
void stream_notify_now(Stream *stream);
/* The same from an idle source, soon; may be called inside a stream call. */
void stream_notify_soon(Stream *stream);

/* socket errors: IMAPFS_ERROR_LOST with the place and the system's words */
void stream_set_errno(GError **error, const Stream *stream, int errsv);

/* tls_config.c: whether the files and the pin can be used, before anything is connected. */
bool tls_config_check(const TlsConfig *config, GError **error);
