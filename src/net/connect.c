/* connect.c - from a place to a stream: names, SRV, addresses, one limit of time.
 *
 * The one rule: however it ends, it ends in conclude(), once, from the main context. GSocketClient
 * resolves and races the addresses (RFC 8305); its TLS and proxies are off, as both would decide
 * about trust elsewhere than here. */
#include "imapfs/net/connect.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>

#include "imapfs/base/log.h"
#include "fault_stream.h"
#include "stream_impl.h"

#define DEFAULT_TIMEOUT_MS 30000
#define PORT_TLS 993
#define PORT_STARTTLS 143
#define KEEPALIVE_IDLE_S 120 /* a dead peer shows after this and */
#define KEEPALIVE_PROBES 4   /* this many probes unanswered, this far apart */
#define KEEPALIVE_INTERVAL_S 30
#define SRV_TARGETS 8 /* more are not tried */

typedef struct {
    char *host;
    guint16 port;
} Candidate;

typedef struct {
    NetTarget *target;
    GCancellable *caller; /* NULL: cannot be cancelled */
    gulong caller_handler;
    GCancellable *cancellable; /* ours: the caller's and the timer's */
    GSource *timer;
    bool timed_out;
    GSocketClient *client;
    GArray *candidates;
    guint next; /* the candidate to try next */
    NetConnectDone done;
    gpointer data;
    Stream *stream;  /* the result, until it is handed over, ... */
    GError *failure; /* ... or this */
} Connect;

/* --- targets --- */

NetTarget *net_target_copy(const NetTarget *target)
{
    NetTarget *copy = g_new(NetTarget, 1);
    *copy = *target;
    copy->host = g_strdup(target->host);
    copy->tunnel = g_strdup(target->tunnel);
    copy->tls.cafile = g_strdup(target->tls.cafile);
    copy->tls.pin = g_strdup(target->tls.pin);
    copy->tls.client_cert = g_strdup(target->tls.client_cert);
    return copy;
}

void net_target_free(NetTarget *target)
{
    if (!target)
        return;
    g_free(target->host);
    g_free(target->tunnel);
    g_free(target->tls.cafile);
    g_free(target->tls.pin);
    g_free(target->tls.client_cert);
    g_free(target);
}

static void candidate_clear(gpointer data)
{
    g_free(((Candidate *)data)->host);
}

static void add_candidate(Connect *self, const char *host, guint16 port)
{
    Candidate candidate = {g_strdup(host), port};
    g_array_append_val(self->candidates, candidate);
}

/* --- the end --- */

static void connect_free(Connect *self)
{
    if (self->caller_handler)
        g_cancellable_disconnect(self->caller, self->caller_handler);
    if (self->timer) {
        g_source_destroy(self->timer);
        g_source_unref(self->timer);
    }
    g_clear_object(&self->caller);
    g_clear_object(&self->cancellable);
    g_clear_object(&self->client);
    g_array_unref(self->candidates);
    net_target_free(self->target);
    stream_free(self->stream);
    g_clear_error(&self->failure);
    g_free(self);
}

/* Takes failure; exactly one of it and self->stream is set. */
static void conclude(Connect *self, GError *failure)
{
    NetConnectDone done = self->done;
    gpointer data = self->data;
    Stream *stream = failure ? NULL : fault_stream_wrap(g_steal_pointer(&self->stream));
    connect_free(self);
    done(stream, failure, data);
    g_clear_error(&failure);
}

static gboolean on_conclude_idle(gpointer data)
{
    Connect *self = data;
    if (!self->failure && g_cancellable_is_cancelled(self->cancellable))
        g_set_error(&self->failure, IMAPFS_ERROR, IMAPFS_ERROR_CANCELLED, "interrupted");
    conclude(self, g_steal_pointer(&self->failure));
    return G_SOURCE_REMOVE;
}

/* For what is known before net_connect() returns. */
static void conclude_soon(Connect *self)
{
    GSource *idle = g_idle_source_new();
    g_source_set_priority(idle, G_PRIORITY_DEFAULT);
    g_source_set_callback(idle, on_conclude_idle, self, NULL);
    g_source_attach(idle, g_main_context_get_thread_default());
    g_source_unref(idle);
}

static GError *words_for(const Connect *self, const GError *failure, const Candidate *candidate)
{
    guint seconds = (self->target->timeout_ms + 999) / 1000;
    if (self->timed_out)
        return g_error_new(IMAPFS_ERROR, IMAPFS_ERROR_TIMEOUT,
                           "cannot connect to %s port %u: no answer within %u s", candidate->host,
                           candidate->port, seconds);
    if (g_cancellable_is_cancelled(self->cancellable))
        return g_error_new(IMAPFS_ERROR, IMAPFS_ERROR_CANCELLED, "interrupted");
    if (g_error_matches(failure, G_IO_ERROR, G_IO_ERROR_TIMED_OUT))
        return g_error_new(IMAPFS_ERROR, IMAPFS_ERROR_TIMEOUT,
                           "cannot connect to %s port %u: no answer", candidate->host,
                           candidate->port);
    if (failure->domain == G_RESOLVER_ERROR)
        return g_error_new(IMAPFS_ERROR, IMAPFS_ERROR_OFFLINE, "cannot find host %s: %s",
                           candidate->host, failure->message);
    return g_error_new(IMAPFS_ERROR, IMAPFS_ERROR_OFFLINE, "cannot connect to %s port %u: %s",
                       candidate->host, candidate->port, failure->message);
}

/* --- a connection --- */

static void set_option(GSocket *socket, int level, int option, int value)
{
    g_autoptr(GError) ignored = NULL; /* without it the connection works, only less well */
    if (!g_socket_set_option(socket, level, option, value, &ignored))
        log_debug("net", "socket option %d/%d: %s", level, option, ignored->message);
}

static void set_options(GSocket *socket)
{
    g_socket_set_keepalive(socket, TRUE);
    set_option(socket, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(socket, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S);
    set_option(socket, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S);
    set_option(socket, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES);
}

/* A stream over the connection's socket. The connection closes its own descriptor when it goes. */
static Stream *stream_over(GSocketConnection *connection, const Candidate *candidate,
                           GError **error)
{
    GSocket *socket = g_socket_connection_get_socket(connection);
    set_options(socket);
    int fd = fcntl(g_socket_get_fd(socket), F_DUPFD_CLOEXEC, 3);
    if (fd < 0) {
        g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_OFFLINE, "cannot connect to %s port %u: %s",
                    candidate->host, candidate->port, g_strerror(errno));
        return NULL;
    }
    g_autofree char *place = g_strdup_printf("%s:%u", candidate->host, candidate->port);
    return socket_stream_new(fd, place);
}

static void try_next(Connect *self);

static void on_connected(GObject *source, GAsyncResult *result, gpointer data)
{
    Connect *self = data;
    g_autoptr(GError) failure = NULL;
    const Candidate *candidate = &g_array_index(self->candidates, Candidate, self->next - 1);
    g_autoptr(GSocketConnection) connection =
        g_socket_client_connect_finish(G_SOCKET_CLIENT(source), result, &failure);
    if (connection && g_cancellable_is_cancelled(self->cancellable))
        g_clear_object(&connection);
    if (!connection) {
        bool over = g_cancellable_is_cancelled(self->cancellable);
        if (!over && self->next < self->candidates->len)
            try_next(self);
        else
            conclude(self, words_for(self, failure, candidate));
        return;
    }
    GError *error = NULL;
    self->stream = stream_over(connection, candidate, &error);
    if (self->stream && self->target->security == NET_TLS)
        self->stream = tls_stream_new(g_steal_pointer(&self->stream), self->target->host,
                                      &self->target->tls, &error);
    conclude(self, error);
}

static void try_next(Connect *self)
{
    const Candidate *candidate = &g_array_index(self->candidates, Candidate, self->next++);
    g_autoptr(GSocketConnectable) address = g_network_address_new(candidate->host, candidate->port);
    g_socket_client_connect_async(self->client, address, self->cancellable, on_connected, self);
}

/* --- SRV (RFC 6186) --- */

/* DNS can be forged. As the certificate must have target->host in any case, a false answer can at
 * most lead to a refused connection; that it leaves the domain is not even tried. */
static bool in_domain(const char *name, const char *domain)
{
    gsize n = strlen(name), d = strlen(domain);
    if (n && name[n - 1] == '.')
        n--;
    if (d && domain[d - 1] == '.')
        d--;
    if (n < d || g_ascii_strncasecmp(name + n - d, domain, d) != 0)
        return false;
    return n == d || name[n - d - 1] == '.';
}

static guint16 default_port(const NetTarget *target)
{
    return target->security == NET_TLS ? PORT_TLS : PORT_STARTTLS;
}

static void on_srv(GObject *source, GAsyncResult *result, gpointer data)
{
    Connect *self = data;
    g_autoptr(GError) failure = NULL;
    GList *targets = g_resolver_lookup_service_finish(G_RESOLVER(source), result, &failure);
    for (GList *l = targets; l && self->candidates->len < SRV_TARGETS; l = l->next) {
        const char *name = g_srv_target_get_hostname(l->data);
        g_autofree char *shown = log_printable(name, strlen(name), 255);
        guint16 port = g_srv_target_get_port(l->data);
        if (in_domain(name, self->target->host) && port)
            add_candidate(self, name, port);
        else
            log_info("net", "the SRV record of %s names %s, which is not followed",
                     self->target->host, shown);
    }
    g_resolver_free_targets(targets);
    if (self->candidates->len == 0)
        add_candidate(self, self->target->host, default_port(self->target));
    if (g_cancellable_is_cancelled(self->cancellable))
        conclude(self, words_for(self, failure, &g_array_index(self->candidates, Candidate, 0)));
    else
        try_next(self);
}

static void look_up_srv(Connect *self)
{
    const char *service = self->target->security == NET_TLS ? "imaps" : "imap";
    g_autoptr(GResolver) resolver = g_resolver_get_default();
    g_resolver_lookup_service_async(resolver, service, "tcp", self->target->host, self->cancellable,
                                    on_srv, self);
}

/* --- the beginning --- */

static gboolean on_timeout(gpointer data)
{
    Connect *self = data;
    self->timed_out = true;
    g_cancellable_cancel(self->cancellable);
    return G_SOURCE_REMOVE;
}

static void on_caller_cancelled(GCancellable *caller, gpointer data)
{
    g_cancellable_cancel(data);
}

static void watch_limits(Connect *self)
{
    self->timer = g_timeout_source_new(self->target->timeout_ms);
    g_source_set_callback(self->timer, on_timeout, self, NULL);
    g_source_attach(self->timer, g_main_context_get_thread_default());
    if (self->caller)
        self->caller_handler =
            g_cancellable_connect(self->caller, G_CALLBACK(on_caller_cancelled),
                                  g_object_ref(self->cancellable), g_object_unref);
}

static bool check_target(const NetTarget *target, GError **error)
{
    const char *tunnel = target->tunnel, *host = target->host;
    if (target->security == NET_TUNNEL) {
        if (tunnel && *tunnel)
            return true;
        g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_CONFIG, "the tunnel has no command");
        return false;
    }
    g_autofree char *ascii = host ? g_hostname_to_ascii(host) : NULL;
    if (!ascii || !*ascii || strpbrk(ascii, " \t\r\n/@%") || strlen(ascii) > 255) {
        g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_CONFIG, "\"%s\" is not a host name",
                    host ? host : "");
        return false;
    }
    return tls_config_check(&target->tls, error);
}

static Connect *connect_new(const NetTarget *target, GCancellable *cancellable, NetConnectDone done,
                            gpointer data)
{
    Connect *self = g_new0(Connect, 1);
    self->target = net_target_copy(target);
    if (self->target->timeout_ms == 0)
        self->target->timeout_ms = DEFAULT_TIMEOUT_MS;
    self->caller = cancellable ? g_object_ref(cancellable) : NULL;
    self->cancellable = g_cancellable_new();
    self->candidates = g_array_new(FALSE, FALSE, sizeof(Candidate));
    g_array_set_clear_func(self->candidates, candidate_clear);
    self->done = done;
    self->data = data;
    watch_limits(self);
    return self;
}

void net_connect(const NetTarget *target, GCancellable *cancellable, NetConnectDone done,
                 gpointer data)
{
    Connect *self = connect_new(target, cancellable, done, data);
    if (!check_target(target, &self->failure)) {
        conclude_soon(self);
        return;
    }
    if (target->security == NET_TUNNEL) {
        self->stream = tunnel_stream_new(target->tunnel, &self->failure);
        conclude_soon(self);
        return;
    }
    self->client = g_socket_client_new();
    g_socket_client_set_enable_proxy(self->client, FALSE);
    if (target->port || g_hostname_is_ip_address(target->host) ||
        !strchr(target->host, '.')) { /* no domain, no SRV */
        add_candidate(self, target->host, target->port ? target->port : default_port(target));
        try_next(self);
    } else {
        look_up_srv(self);
    }
}
