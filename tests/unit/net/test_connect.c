/* test_connect.c - from targets to streams: loopback listeners, refusals, silence, SRV, tunnels. */
#include "tls_test.h"

#include <glib/gstdio.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "imapfs/net/connect.h"

typedef struct {
    Stream *stream;
    GError *error;
    guint calls;
} Outcome;

static void on_done(Stream *stream, const GError *error, gpointer data)
{
    Outcome *outcome = data;
    assert_true(!stream == !!error);
    outcome->calls++;
    outcome->stream = stream;
    outcome->error = error ? g_error_copy(error) : NULL;
}

static Outcome connect_to(const NetTarget *target, GCancellable *cancellable)
{
    Outcome outcome = {0};
    net_connect(target, cancellable, on_done, &outcome);
    assert_int_equal(outcome.calls, 0); /* never before it returns */
    run_until(outcome.calls);
    run_ready(100);
    assert_int_equal(outcome.calls, 1);
    return outcome;
}

static void outcome_clear(Outcome *outcome)
{
    stream_free(outcome->stream);
    g_clear_error(&outcome->error);
}

/* A listening socket on loopback. */
static int listener(int family, int backlog, guint16 *port_out)
{
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct sockaddr_storage bound;
    socklen_t length = sizeof bound;
    bool is_four = family == AF_INET;
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 ||
        bind(fd, is_four ? (void *)&four : (void *)&six, is_four ? sizeof four : sizeof six) < 0) {
        if (fd >= 0)
            close(fd);
        return -1;
    }
    assert_int_equal(listen(fd, backlog), 0);
    getsockname(fd, (struct sockaddr *)&bound, &length);
    *port_out = ntohs(is_four ? ((struct sockaddr_in *)&bound)->sin_port
                              : ((struct sockaddr_in6 *)&bound)->sin6_port);
    return fd;
}

static Stream *accept_stream(int listening)
{
    int fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
    assert_true(fd >= 0);
    return socket_stream_new(fd, "client");
}

static void test_clear_text(void **state)
{
    static const struct {
        int family;
        const char *host;
    } table[] = {{AF_INET, "127.0.0.1"}, {AF_INET6, "::1"}, {AF_INET, "localhost"}};
    for (gsize i = 0; i < G_N_ELEMENTS(table); i++) {
        guint16 port;
        int listening = listener(table[i].family, 5, &port);
        if (listening < 0 && table[i].family == AF_INET6)
            continue; /* a machine without IPv6 */
        NetTarget target = {.security = NET_STARTTLS, .host = (char *)table[i].host, .port = port};
        Outcome outcome = connect_to(&target, NULL);
        if (outcome.error)
            fail_msg("%s", outcome.error->message);
        assert_false(stream_is_secure(outcome.stream));
        g_autofree char *words = stream_describe(outcome.stream);
        g_autofree char *want = g_strdup_printf("clear text to %s:%u", table[i].host, port);
        assert_string_equal(words, want);
        assert_true(stream_round_trip_us(outcome.stream) >= 0);

        g_autoptr(GByteArray) bytes = sample_bytes(3000000); /* more than sockets hold */
        Actor *client = actor_new(outcome.stream, bytes->data, bytes->len);
        Actor *server = actor_new(accept_stream(listening), bytes->data, bytes->len);
        actor_go(client);
        actor_go(server);
        run_until(client->got->len == bytes->len && server->got->len == bytes->len);
        assert_bytes(client->got, bytes->data, bytes->len);
        assert_bytes(server->got, bytes->data, bytes->len);
        assert_int_equal(run_ready(50), 0); /* quiet when nothing can be done */
        actor_free(server);
        run_until(client->eof || client->read_error);
        assert_true(client->eof);
        assert_int_equal(run_ready(50), 0); /* also on a socket whose other end is gone */
        actor_free(client);
        close(listening);
    }
}

/* Descriptors on the client's side have what a long idle connection needs. */
static void test_socket_options(void **state)
{
    guint16 port;
    int listening = listener(AF_INET, 5, &port), found = 0;
    NetTarget target = {.security = NET_STARTTLS, .host = (char *)"127.0.0.1", .port = port};
    Outcome outcome = connect_to(&target, NULL);
    assert_non_null(outcome.stream);
    for (int fd = 3; fd < 64; fd++) {
        struct sockaddr_in peer;
        socklen_t length = sizeof peer;
        if (getpeername(fd, (struct sockaddr *)&peer, &length) < 0 || peer.sin_family != AF_INET ||
            ntohs(peer.sin_port) != port)
            continue;
        int keepalive = 0, nodelay = 0;
        length = sizeof(int);
        getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &keepalive, &length);
        getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &nodelay, &length);
        assert_true(keepalive && nodelay);
        found++;
    }
    assert_int_equal(found, 1);
    outcome_clear(&outcome);
    close(listening);
}

static void test_reset(void **state)
{
    guint16 port;
    int listening = listener(AF_INET, 5, &port);
    NetTarget target = {.security = NET_STARTTLS, .host = (char *)"127.0.0.1", .port = port};
    Outcome outcome = connect_to(&target, NULL);
    Actor *client = actor_new(outcome.stream, NULL, 0);
    actor_go(client);
    int fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
    struct linger linger = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    close(fd);
    run_until(client->read_error);
    assert_error(client->read_error, IMAPFS_ERROR_LOST, "was lost: Connection reset by peer");
    assert_int_equal(run_ready(50), 0);
    actor_free(client);
    close(listening);
}

/* A socket that is full again and again. */
static void test_narrow(void **state)
{
    int ends[2], size = 4096;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    for (int i = 0; i < 2; i++)
        setsockopt(ends[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    g_autoptr(GByteArray) bytes = sample_bytes(500000);
    Actor *left = actor_new(socket_stream_new(ends[0], "test"), bytes->data, bytes->len);
    Actor *right = actor_new(socket_stream_new(ends[1], "test"), NULL, 0);
    actor_go(left);
    actor_go(right);
    run_until(right->got->len == bytes->len);
    assert_bytes(right->got, bytes->data, bytes->len);
    assert_true(left->rounds > 50);
    assert_int_equal(run_ready(50), 0);
    actor_free(left);
    actor_free(right);
}

static void on_notify_free(gpointer data)
{
    Stream **stream = data;
    g_clear_pointer(stream, stream_free);
}

/* The listener may free the stack, whichever layers there are. */
static void test_free_in_notify(void **state)
{
    for (int layers = 0; layers < 4; layers++) {
        for (int writing = 0; writing < 2; writing++) {
            int ends[2];
            gsize n;
            char bytes[65536] = {0};
            assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
            Stream *stream = socket_stream_new(ends[0], "test");
            if (layers == 1)
                stream = tls_stream_new(stream, "h.example", NULL, NULL);
            if (layers == 2)
                stream = deflate_stream_new(stream, NULL);
            if (layers == 3)
                stream = trace_stream_new(stream, ends[0]);
            stream_set_notify(stream, on_notify_free, &stream);
            if (writing) {
                for (int i = 0; i < 1000000; i++) {
                    StreamStatus status = stream_write(stream, bytes, sizeof bytes, &n, NULL);
                    if (status == STREAM_AGAIN)
                        break;
                    assert_int_equal(status, STREAM_OK);
                    if (stream_flush(stream, NULL) == STREAM_AGAIN)
                        break;
                }
                while (recv(ends[1], bytes, sizeof bytes, MSG_DONTWAIT) > 0)
                    ;
                (void)!write(ends[1], bytes, 1);
            } else {
                assert_int_equal(stream_read(stream, bytes, 1, &n, NULL), STREAM_AGAIN);
                assert_int_equal(write(ends[1], bytes, 1), 1);
            }
            run_until(!stream);
            close(ends[1]);
        }
    }
}

static void test_tls(void **state)
{
    guint16 port;
    Cert authority = cert_new(&(CertSpec){.cn = "Test Authority", .ca = true}, NULL);
    Cert cert = cert_new(&(CertSpec){.cn = "x", .san = "IP:127.0.0.1"}, &authority);
    g_autofree char *cafile = cert_file(&authority, false);
    g_autoptr(GByteArray) bytes = sample_bytes(2000000);
    int listening = listener(AF_INET, 5, &port);
    NetTarget target = {
        .security = NET_TLS, .host = (char *)"127.0.0.1", .port = port, .tls = {.cafile = cafile}};
    Outcome outcome = connect_to(&target, NULL);
    assert_non_null(outcome.stream);
    Actor *client = actor_new(outcome.stream, bytes->data, bytes->len);
    actor_go(client);
    TlsServer *server = tls_server_new(accept_stream(listening), &cert, 0, false, bytes);
    run_until(client->got->len == bytes->len && server->got->len == bytes->len);
    assert_bytes(client->got, bytes->data, bytes->len);
    assert_bytes(server->got, bytes->data, bytes->len);
    g_autofree char *words = stream_describe(client->stream);
    g_autofree char *want = g_strdup_printf("TLSv1.3 to 127.0.0.1:%u", port);
    assert_string_equal(words, want);
    assert_true(stream_round_trip_us(client->stream) >= 0); /* the socket's, below */
    assert_int_equal(run_ready(50), 0);
    actor_free(client);
    tls_server_free(server);
    close(listening);
    g_unlink(cafile);
    cert_clear(&authority);
    cert_clear(&cert);
}

static void test_refused(void **state)
{
    guint16 port;
    int listening = listener(AF_INET, 5, &port);
    close(listening);
    NetTarget target = {.security = NET_STARTTLS, .host = (char *)"127.0.0.1", .port = port};
    g_autofree char *want =
        g_strdup_printf("cannot connect to 127.0.0.1 port %u: Connection refused", port);
    Outcome outcome = connect_to(&target, NULL);
    assert_null(outcome.stream);
    assert_error(outcome.error, IMAPFS_ERROR_OFFLINE, "cannot connect to");
    if (!strstr(outcome.error->message, "Connection refused"))
        fail_msg("%s, not %s", outcome.error->message, want);
    outcome_clear(&outcome);
}

/* A listener whose queue is full drops SYNs, so connecting to it just waits. */
typedef struct {
    int listening;
    int fillers[8];
    guint16 port;
} Silence;

static void silence_begin(Silence *silence)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    silence->listening = listener(AF_INET, 0, &silence->port);
    to.sin_port = htons(silence->port);
    for (gsize i = 0; i < G_N_ELEMENTS(silence->fillers); i++) {
        silence->fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)!connect(silence->fillers[i], (struct sockaddr *)&to, sizeof to);
    }
}

static void silence_end(Silence *silence)
{
    for (gsize i = 0; i < G_N_ELEMENTS(silence->fillers); i++)
        close(silence->fillers[i]);
    close(silence->listening);
}

static void test_timeout(void **state)
{
    Silence silence;
    silence_begin(&silence);
    NetTarget target = {.security = NET_STARTTLS,
                        .host = (char *)"127.0.0.1",
                        .port = silence.port,
                        .timeout_ms = 200};
    Outcome outcome = connect_to(&target, NULL);
    assert_null(outcome.stream);
    assert_error(outcome.error, IMAPFS_ERROR_TIMEOUT, "no answer within 1 s");
    outcome_clear(&outcome);
    silence_end(&silence);
}

static gboolean on_cancel(gpointer data)
{
    g_cancellable_cancel(data);
    return G_SOURCE_REMOVE;
}

static void test_cancel(void **state)
{
    Silence silence;
    silence_begin(&silence);
    NetTarget target = {
        .security = NET_STARTTLS, .host = (char *)"127.0.0.1", .port = silence.port};
    for (int before = 0; before < 2; before++) {
        g_autoptr(GCancellable) cancellable = g_cancellable_new();
        if (before)
            g_cancellable_cancel(cancellable);
        else
            g_timeout_add(50, on_cancel, cancellable);
        Outcome outcome = connect_to(&target, cancellable);
        assert_error(outcome.error, IMAPFS_ERROR_CANCELLED, "interrupted");
        outcome_clear(&outcome);
    }
    silence_end(&silence);
}

static void test_bad_targets(void **state)
{
    static const struct {
        NetTarget target;
        const char *want;
    } table[] = {
        {{.security = NET_TLS}, "\"\" is not a host name"},
        {{.security = NET_TLS, .host = (char *)""}, "is not a host name"},
        {{.security = NET_TLS, .host = (char *)"a b"}, "\"a b\" is not a host name"},
        {{.security = NET_TLS, .host = (char *)"imap://a.example"}, "is not a host name"},
        {{.security = NET_TUNNEL}, "the tunnel has no command"},
        {{.security = NET_TUNNEL, .tunnel = (char *)""}, "the tunnel has no command"},
        {{.security = NET_TLS,
          .host = (char *)"a.example",
          .tls = {.cafile = (char *)"/no/such/file"}},
         "cafile /no/such/file cannot be used: No such file or directory"},
        {{.security = NET_STARTTLS, .host = (char *)"a.example", .tls = {.pin = (char *)"x"}},
         "pin must be"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(table); i++) {
        Outcome outcome = connect_to(&table[i].target, NULL);
        assert_null(outcome.stream);
        assert_error(outcome.error, IMAPFS_ERROR_CONFIG, table[i].want);
        outcome_clear(&outcome);
    }
}

static void test_tunnel(void **state)
{
    NetTarget target = {.security = NET_TUNNEL, .tunnel = (char *)"echo '* PREAUTH hi'; cat"};
    Outcome outcome = connect_to(&target, NULL);
    assert_non_null(outcome.stream);
    assert_true(stream_is_secure(outcome.stream));
    Actor *actor = actor_new(outcome.stream, "a1 NOOP\r\n", 9);
    actor_go(actor);
    run_until(actor->got->len == 22);
    assert_bytes(actor->got, "* PREAUTH hi\na1 NOOP\r\n", 22);
    actor_free(actor);

    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    g_cancellable_cancel(cancellable);
    outcome = connect_to(&target, cancellable);
    assert_error(outcome.error, IMAPFS_ERROR_CANCELLED, "interrupted");
    outcome_clear(&outcome);
}

static void test_copy(void **state)
{
    NetTarget target = {.security = NET_TLS,
                        .host = (char *)"h",
                        .port = 7,
                        .tls = {.cafile = (char *)"c", .pin = (char *)"p"}};
    g_autoptr(NetTarget) copy = net_target_copy(&target);
    assert_string_equal(copy->host, "h");
    assert_int_equal(copy->port, 7);
    assert_string_equal(copy->tls.cafile, "c");
    assert_ptr_not_equal(copy->tls.pin, target.tls.pin);
    assert_null(copy->tunnel);
    net_target_free(NULL);
}

/* --- names: a resolver that knows what the test says --- */

typedef GResolver FakeResolver;
typedef GResolverClass FakeResolverClass;
static struct {
    const char *srv_target; /* NULL: no such record */
    guint16 srv_port;
    bool offline; /* no name is known */
    char *srv_asked, *host_asked;
} dns;

GType fake_resolver_get_type(void);
G_DEFINE_TYPE(FakeResolver, fake_resolver, G_TYPE_RESOLVER)

static void look_up_name(GResolver *resolver, const char *host, GResolverNameLookupFlags flags,
                         GCancellable *cancellable, GAsyncReadyCallback callback, gpointer data)
{
    g_autoptr(GTask) task = g_task_new(resolver, cancellable, callback, data);
    g_free(dns.host_asked);
    dns.host_asked = g_strdup(host);
    if (dns.offline)
        g_task_return_new_error(task, G_RESOLVER_ERROR, G_RESOLVER_ERROR_TEMPORARY_FAILURE,
                                "no network");
    else if (flags == G_RESOLVER_NAME_LOOKUP_FLAGS_IPV6_ONLY)
        g_task_return_new_error(task, G_RESOLVER_ERROR, G_RESOLVER_ERROR_NOT_FOUND, "no IPv6");
    else
        g_task_return_pointer(
            task, g_list_append(NULL, g_inet_address_new_loopback(G_SOCKET_FAMILY_IPV4)), NULL);
}

static void look_up_by_name(GResolver *resolver, const char *host, GCancellable *cancellable,
                            GAsyncReadyCallback callback, gpointer data)
{
    look_up_name(resolver, host, 0, cancellable, callback, data);
}

static GList *look_up_finish(GResolver *resolver, GAsyncResult *result, GError **error)
{
    return g_task_propagate_pointer(G_TASK(result), error);
}

static void look_up_service(GResolver *resolver, const char *rrname, GCancellable *cancellable,
                            GAsyncReadyCallback callback, gpointer data)
{
    g_autoptr(GTask) task = g_task_new(resolver, cancellable, callback, data);
    g_free(dns.srv_asked);
    dns.srv_asked = g_strdup(rrname);
    if (dns.srv_target)
        g_task_return_pointer(
            task, g_list_append(NULL, g_srv_target_new(dns.srv_target, dns.srv_port, 1, 1)), NULL);
    else
        g_task_return_new_error(task, G_RESOLVER_ERROR, G_RESOLVER_ERROR_NOT_FOUND, "no SRV");
}

static void fake_resolver_init(FakeResolver *self)
{
}

static void fake_resolver_class_init(FakeResolverClass *class)
{
    class->lookup_by_name_async = look_up_by_name;
    class->lookup_by_name_finish = look_up_finish;
    class->lookup_by_name_with_flags_async = look_up_name;
    class->lookup_by_name_with_flags_finish = look_up_finish;
    class->lookup_service_async = look_up_service;
    class->lookup_service_finish = look_up_finish;
}

static void test_srv(void **state)
{
    guint16 port;
    int listening = listener(AF_INET, 5, &port);
    const struct {
        const char *target;
        guint16 port;
        NetSecurity security;
        const char *srv, *asked; /* what is looked up */
        const char *described;   /* NULL: nothing listens there */
    } table[] = {
        {"imap.example.org", port, NET_TLS, "_imaps._tcp.example.org", "imap.example.org", "TLS"},
        {"imap.example.org", port, NET_STARTTLS, "_imap._tcp.example.org", "imap.example.org",
         "clear text to imap.example.org:"},
        {"EXAMPLE.org", port, NET_TLS, "_imaps._tcp.example.org", "EXAMPLE.org", "TLS"},
        {"imap.evil.example", port, NET_TLS, "_imaps._tcp.example.org", "example.org", NULL},
        {"evilexample.org", port, NET_TLS, "_imaps._tcp.example.org", "example.org", NULL},
        {"imap.example.org", 0, NET_TLS, "_imaps._tcp.example.org", "example.org", NULL},
        {NULL, 0, NET_TLS, "_imaps._tcp.example.org", "example.org", NULL},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(table); i++) {
        dns.srv_target = table[i].target;
        dns.srv_port = table[i].port;
        NetTarget target = {.security = table[i].security, .host = (char *)"example.org"};
        Outcome outcome = connect_to(&target, NULL);
        assert_string_equal(dns.srv_asked, table[i].srv);
        assert_string_equal(dns.host_asked, table[i].asked);
        if (table[i].described) {
            assert_non_null(outcome.stream);
            g_autofree char *words = stream_describe(outcome.stream);
            assert_true(g_str_has_prefix(words, table[i].described));
        } else {
            /* The usual port of the name itself, whether or not anything listens there. */
            g_autofree char *words = outcome.stream ? stream_describe(outcome.stream) : NULL;
            if (words)
                assert_non_null(strstr(words, "to example.org:993"));
            else
                assert_error(outcome.error, IMAPFS_ERROR_OFFLINE,
                             "cannot connect to example.org port 993");
        }
        outcome_clear(&outcome);
    }
    close(listening);
}

static void test_offline(void **state)
{
    dns.offline = true;
    dns.srv_target = NULL;
    for (int port = 0; port < 2; port++) {
        NetTarget target = {
            .security = NET_TLS, .host = (char *)"example.org", .port = (guint16)port};
        Outcome outcome = connect_to(&target, NULL);
        assert_error(outcome.error, IMAPFS_ERROR_OFFLINE,
                     "cannot find host example.org: no network");
        outcome_clear(&outcome);
    }
    dns.offline = false;
}

static int use_fake_resolver(void **state)
{
    g_autoptr(GResolver) fake = g_object_new(fake_resolver_get_type(), NULL);
    g_resolver_set_default(fake);
    return 0;
}

static int drop_fake_resolver(void **state)
{
    g_free(dns.srv_asked);
    g_free(dns.host_asked);
    return 0;
}

int main(void)
{
    const struct CMUnitTest real_names[] = {
        cmocka_unit_test(test_clear_text),     cmocka_unit_test(test_socket_options),
        cmocka_unit_test(test_reset),          cmocka_unit_test(test_narrow),
        cmocka_unit_test(test_free_in_notify), cmocka_unit_test(test_tls),
        cmocka_unit_test(test_refused),        cmocka_unit_test(test_timeout),
        cmocka_unit_test(test_cancel),         cmocka_unit_test(test_bad_targets),
        cmocka_unit_test(test_tunnel),         cmocka_unit_test(test_copy),
    };
    const struct CMUnitTest told_names[] = {
        cmocka_unit_test(test_srv),
        cmocka_unit_test(test_offline),
    };
    log_set_target(LOG_TO_RING_ONLY);
    return cmocka_run_group_tests_name("net/connect", real_names, NULL, NULL) +
           cmocka_run_group_tests_name("net/names", told_names, use_fake_resolver,
                                       drop_fake_resolver);
}
