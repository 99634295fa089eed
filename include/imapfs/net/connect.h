/* connect.h - from a place to a stream.
 *
 * Layer net. Thread: the loop only. Name resolution, SRV and happy eyeballs are GLib's. */
#pragma once
#include <gio/gio.h>
#include "imapfs/net/stream.h"

typedef enum {
    NET_TLS,      /* implicit TLS, port 993 (RFC 8314) */
    NET_STARTTLS, /* required STARTTLS, port 143: the stream returned is still in clear, and the
                     session must put TLS on it before anything else */
    NET_TUNNEL,   /* a command's standard input and output */
} NetSecurity;

typedef struct {
    NetSecurity security;
    char *host;   /* also the name that the certificate must have */
    guint16 port; /* 0: SRV (_imaps._tcp / _imap._tcp, RFC 6186; only a target in the same domain
                     is followed), then 993 or 143 */
    char *tunnel; /* NET_TUNNEL: run by /bin/sh -c, with closed descriptors and its own session;
                     its standard error goes to the log, line by line */
    TlsConfig tls;
    guint timeout_ms; /* for the whole of connecting; 0: 30,000 */
} NetTarget;

NetTarget *net_target_copy(const NetTarget *target);
void net_target_free(NetTarget *target);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(NetTarget, net_target_free)

/* stream (takes) is NULL on failure, and error then set (borrowed): OFFLINE, TIMEOUT, TLS,
 * CANCELLED or CONFIG. For NET_TLS the handshake is not necessarily done yet. */
typedef void (*NetConnectDone)(Stream *stream, const GError *error, gpointer data);

/* done is called exactly once, from the main context, never before this returns. */
void net_connect(const NetTarget *target, GCancellable *cancellable, NetConnectDone done,
                 gpointer data);
