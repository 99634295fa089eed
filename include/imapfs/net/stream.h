/* stream.h - bytes in, bytes out, stacked: socket or tunnel, TLS, deflate, trace; memory for tests.
 *
 * Layer net. Thread: the loop only. A stream owns the one below it. Nothing blocks: what cannot go
 * on returns STREAM_AGAIN and the notify callback is called, from the main context and never from
 * inside a stream call, when it may. */
#pragma once
#include <glib.h>
#include <stdbool.h>

typedef struct Stream Stream;

typedef enum {
    STREAM_OK,    /* *n_out > 0 bytes were moved */
    STREAM_AGAIN, /* nothing now; notify will be called */
    STREAM_EOF,   /* the other side closed in an orderly way (read only) */
    STREAM_ERROR, /* error is set; the stream is only good for freeing, except that after a failed
                     write or flush what the other side had sent before may still be read */
} StreamStatus;

typedef void (*StreamNotify)(gpointer data);

/* size is not 0. Read until STREAM_AGAIN: no notify is owed after STREAM_OK. What a write accepted
 * goes out without more calls as soon as the layers below take it, except what deflate holds back
 * until a flush; a write that got STREAM_AGAIN may be repeated with other bytes. */
StreamStatus stream_read(Stream *stream, void *buffer, gsize size, gsize *n_out, GError **error);
StreamStatus stream_write(Stream *stream, const void *bytes, gsize size, gsize *n_out,
                          GError **error);
/* Pushes out what layers hold back (deflate, TLS). STREAM_AGAIN when not all went. */
StreamStatus stream_flush(Stream *stream, GError **error);

/* One callback for both directions: try again whatever got STREAM_AGAIN. It may come without need,
 * and may free the stream. A stream without one stays silent. Events arrive in the thread-default
 * main context of the thread that made the call. */
void stream_set_notify(Stream *stream, StreamNotify notify, gpointer data);

/* TLS is up, or the stream is a tunnel: credentials and PREAUTH are allowed on it. A TLS stream
 * says true only after its handshake verified the certificate and the name. */
bool stream_is_secure(const Stream *stream);

/* "TLSv1.3 to mail.example.org:993" and the like, for status and log. Caller frees. */
char *stream_describe(const Stream *stream);

/* The shortest time in which the other end's system has answered so far, in microseconds; -1: it is
 * not known (a tunnel, memory). */
gint64 stream_round_trip_us(const Stream *stream);

/* Bytes moved at the bottom of the stack since it was made. */
void stream_counters(const Stream *stream, guint64 *in_out, guint64 *out_out);

/* Closes at once and frees the whole stack. NULL is fine. Reaps a tunnel's child: TERM, then KILL
 * after 2 s from a timer; never waits. */
void stream_free(Stream *stream);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Stream, stream_free)

/* --- layers --- */

/* Takes fd, a connected stream socket. place: "mail.example.org:993" and the like. */
Stream *socket_stream_new(int fd, const char *place);

/* Runs /bin/sh -c command in a session of its own with no descriptors but the three; its standard
 * error goes to the log, line by line. IMAPFS_ERROR_CONFIG when it cannot be started. */
Stream *tunnel_stream_new(const char *command, GError **error);

typedef struct {
    char *cafile;      /* PEM file of trusted CAs instead of the system's; NULL for the system's */
    char *pin;         /* "sha256//BASE64" of the server key's SPKI, required in addition; NULL */
    char *client_cert; /* PEM certificate and key for EXTERNAL; NULL */
} TlsConfig;

/* Takes lower, also when it fails (IMAPFS_ERROR_CONFIG: a file or the pin cannot be used). config
 * may be NULL. The handshake runs inside read, write and flush. Verifies chain, dates and that host
 * is in the subjectAltName (RFC 9525; no common name); TLS 1.2 at least; SNI; ALPN "imap"
 * (offered, not required). Failure: IMAPFS_ERROR_TLS with words that say what to do. An end of file
 * without TLS's own goodbye is an error (LOST), as it may be somebody else's doing. */
Stream *tls_stream_new(Stream *lower, const char *host, const TlsConfig *config, GError **error);

/* Takes lower. COMPRESS=DEFLATE (RFC 4978): raw deflate, window bits 15; LIMIT_INFLATE_RATIO.
 * early_input: bytes already read from lower that belong to the compressed stream (may be NULL). */
Stream *deflate_stream_new(Stream *lower, GBytes *early_input);

/* Takes lower. Appends "C: "/"S: " lines of the traffic to fd (not owned) in the format of
 * tests/script: a line stands for its bytes and CRLF; \xHH is a byte that is not printable UTF-8; a
 * backslash at the end means that no CRLF follows; any other backslash is itself. What is written
 * while hidden shows as "C: <secret>". When fd would block, lines are left out and counted. */
Stream *trace_stream_new(Stream *lower, int fd);
void trace_stream_hide(Stream *stream, bool hidden); /* no effect on other kinds of streams */

/* --- memory streams, for tests --- */

/* Two ends joined: what one writes the other reads. Each is freed on its own; the other then reads
 * what was left, and then STREAM_EOF. */
void memory_stream_pair(Stream **a_out, Stream **b_out);
/* At most this many bytes move per call on this end (0: no bound). */
void memory_stream_set_chunk(Stream *stream, gsize bytes);
/* A write gets STREAM_AGAIN while this many bytes wait for the other end (0: no bound). */
void memory_stream_set_capacity(Stream *stream, gsize bytes);
/* Every other call on this end gets STREAM_AGAIN, with its notify. */
void memory_stream_set_stutter(Stream *stream, bool stutter);
/* The other end reads what was left, then an error or EOF; its writes fail at once. */
void memory_stream_break(Stream *stream, bool as_error);
void memory_stream_set_secure(Stream *stream, bool secure);
