/* test_tls.c - certificates good and bad, cuts, injected bytes, and every way of chunking. */
#include "tls_test.h"

#include <glib/gstdio.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zlib.h>

static Cert authority, other_authority;
static char *authority_file;

static int make_authorities(void **state)
{
    authority = cert_new(&(CertSpec){.cn = "Test Authority", .ca = true}, NULL);
    other_authority = cert_new(&(CertSpec){.cn = "Other Authority", .ca = true}, NULL);
    authority_file = cert_file(&authority, false);
    return 0;
}

static int drop_authorities(void **state)
{
    cert_clear(&authority);
    cert_clear(&other_authority);
    g_unlink(authority_file);
    g_free(authority_file);
    return 0;
}

static Stream *client_on(Stream *lower, const char *host, const TlsConfig *config)
{
    GError *error = NULL;
    Stream *stream = tls_stream_new(lower, host, config, &error);
    if (!stream)
        fail_msg("tls_stream_new: %s", error->message);
    return stream;
}

/* --- traffic --- */

static void exchange(const Way *way, const Cert *cert, int version, bool write_first)
{
    TlsConfig config = {.cafile = authority_file};
    g_autoptr(GByteArray) bytes = sample_bytes(way->length);
    Stream *a, *b;
    memory_stream_pair(&a, &b);
    set_way(a, way);
    set_way(b, way);
    Actor *client = actor_new(client_on(a, "mail.example.org", &config), bytes->data, bytes->len);
    client->write_first = write_first;
    assert_false(stream_is_secure(client->stream));
    actor_go(client);
    TlsServer *server = tls_server_new(b, cert, version, false, bytes);
    run_until((client->got->len >= bytes->len && server->got->len >= bytes->len) ||
              client->read_error || client->write_error || server->failed);
    assert_null(client->read_error);
    assert_null(client->write_error);
    assert_bytes(client->got, bytes->data, bytes->len);
    assert_bytes(server->got, bytes->data, bytes->len);
    assert_true(stream_is_secure(client->stream));
    assert_string_equal(server->sni, "mail.example.org");
    assert_string_equal(server->alpn, "imap");
    g_autofree char *words = stream_describe(client->stream);
    assert_string_equal(words,
                        version == TLS1_2_VERSION ? "TLSv1.2 to memory" : "TLSv1.3 to memory");
    assert_true(run_ready(1000) < 1000);

    server->shutdown_when_sent = true;
    tls_server_go(server);
    run_until(client->eof || client->read_error);
    assert_true(client->eof);
    actor_free(client);
    tls_server_free(server);
}

static void test_traffic(void **state)
{
    Cert cert = cert_new(&(CertSpec){.cn = "x", .san = "DNS:mail.example.org"}, &authority);
    for (gsize i = 0; i < G_N_ELEMENTS(ways); i++) {
        for (int first = 0; first < 2; first++) {
            exchange(&ways[i], &cert, TLS1_2_VERSION, first);
            exchange(&ways[i], &cert, 0, first);
        }
    }
    cert_clear(&cert);
}

/* Deflate on TLS, as after COMPRESS; the server does its own with zlib. */
static void through_stack(const Way *way, const Cert *cert, bool write_first)
{
    TlsConfig config = {.cafile = authority_file};
    g_autoptr(GByteArray) bytes = sample_bytes(way->length);
    Stream *a, *b;
    memory_stream_pair(&a, &b);
    set_way(a, way);
    set_way(b, way);
    Stream *stack = deflate_stream_new(client_on(a, "mail.example.org", &config), NULL);
    Actor *client = actor_new(stack, bytes->data, bytes->len);
    client->write_first = write_first;
    actor_go(client);

    g_autoptr(GByteArray) packed = g_byte_array_new();
    g_byte_array_set_size(packed, bytes->len + 1000);
    z_stream z = {.next_in = bytes->data, .avail_in = bytes->len, .next_out = packed->data};
    z.avail_out = packed->len;
    deflateInit2(&z, 9, Z_DEFLATED, -15, 9, Z_DEFAULT_STRATEGY);
    deflate(&z, Z_SYNC_FLUSH);
    g_byte_array_set_size(packed, (guint)z.total_out);
    deflateEnd(&z);
    TlsServer *server = tls_server_new(b, cert, 0, false, packed);
    run_until((client->got->len >= bytes->len && client->flushed) || client->read_error ||
              client->write_error);
    assert_bytes(client->got, bytes->data, bytes->len);
    run_until(server->eof || run_ready(1000) < 1000);

    g_autoptr(GByteArray) unpacked = g_byte_array_new();
    g_byte_array_set_size(unpacked, bytes->len + 1000);
    z = (z_stream){.next_in = server->got->data, .avail_in = server->got->len};
    z.next_out = unpacked->data;
    z.avail_out = unpacked->len;
    inflateInit2(&z, -15);
    inflate(&z, Z_SYNC_FLUSH);
    g_byte_array_set_size(unpacked, (guint)z.total_out);
    inflateEnd(&z);
    assert_bytes(unpacked, bytes->data, bytes->len);
    actor_free(client);
    tls_server_free(server);
}

static void test_stack(void **state)
{
    Cert cert = cert_new(&(CertSpec){.cn = "x", .san = "DNS:mail.example.org"}, &authority);
    for (gsize i = 0; i < G_N_ELEMENTS(ways); i++) {
        through_stack(&ways[i], &cert, false);
        through_stack(&ways[i], &cert, true);
    }
    cert_clear(&cert);
}

/* --- certificates --- */

typedef enum { BY_AUTHORITY, BY_OTHER, BY_SELF } Issuer;
typedef enum { PIN_NONE, PIN_RIGHT, PIN_WRONG } Pin;

static const struct CertCase {
    const char *name;
    const char *host;
    CertSpec spec;
    Issuer issuer;
    Pin pin;
    int max_version;
    bool trust_itself; /* cafile is the server's own certificate */
    bool system_trust; /* no cafile */
    const char *want;  /* words of the error, NULL: it works */
} cert_cases[] = {
    {"good", "mail.example.org", {"x", "DNS:mail.example.org"}, .want = NULL},
    {"good, upper case", "MAIL.Example.ORG", {"x", "DNS:mail.example.org"}, .want = NULL},
    {"good, dot at the end", "mail.example.org.", {"x", "DNS:mail.example.org"}, .want = NULL},
    {"second name", "mail.example.org", {"x", "DNS:a.b,DNS:mail.example.org"}, .want = NULL},
    {"wildcard", "mail.example.org", {"x", "DNS:*.example.org"}, .want = NULL},
    {"wildcard over two labels",
     "a.mail.example.org",
     {"x", "DNS:*.example.org"},
     .want = "not for a.mail.example.org but for *.example.org: give host="},
    {"wildcard for the domain", "example.org", {"x", "DNS:*.example.org"}, .want = "not for"},
    {"partial wildcard", "mail.example.org", {"x", "DNS:m*.example.org"}, .want = "not for"},
    {"wildcard over a top level", "example.org", {"x", "DNS:*.org"}, .want = "not for"},
    {"IPv4", "127.0.0.1", {"x", "IP:127.0.0.1"}, .want = NULL},
    {"IPv6", "::1", {"x", "IP:::1"}, .want = NULL},
    {"other IP", "127.0.0.2", {"x", "IP:127.0.0.1"}, .want = "not for 127.0.0.2 but for 127.0.0.1"},
    {"IP as DNS name", "127.0.0.1", {"x", "DNS:127.0.0.1"}, .want = "not for"},
    {"wrong host",
     "mail.example.org",
     {"mail.example.org", "DNS:www.example.org"},
     .want = "not for mail.example.org but for www.example.org"},
    {"host with something before",
     "mail.example.org",
     {"x", "DNS:mail.example.org.evil.example"},
     .want = "not for"},
    {"common name only",
     "mail.example.org",
     {"mail.example.org", NULL},
     .want = "no host at all (a common name does not count)"},
    {"self-signed",
     "mail.example.org",
     {"x", "DNS:mail.example.org"},
     .issuer = BY_SELF,
     .want = "not trusted (it is self-signed): if you know it to be right, give cafile="},
    {"self-signed and named by cafile",
     "mail.example.org",
     {"x", "DNS:mail.example.org"},
     .issuer = BY_SELF,
     .trust_itself = true,
     .want = NULL},
    {"by authority and itself named by cafile",
     "mail.example.org",
     {"x", "DNS:mail.example.org"},
     .trust_itself = true,
     .want = NULL},
    {"itself named by cafile, wrong host",
     "mail.example.org",
     {"x", "DNS:www.example.org"},
     .trust_itself = true,
     .want = "not for"},
    {"itself named by cafile, expired",
     "mail.example.org",
     {"x", "DNS:mail.example.org", -2 * DAY, -DAY},
     .trust_itself = true,
     .want = "has expired"},
    {"other authority",
     "mail.example.org",
     {"x", "DNS:mail.example.org"},
     .issuer = BY_OTHER,
     .want = "its authority is not known here"},
    {"not known to the system",
     "mail.example.org",
     {"x", "DNS:mail.example.org"},
     .system_trust = true,
     .want = "its authority is not known here"},
    {"expired",
     "mail.example.org",
     {"x", "DNS:mail.example.org", -2 * DAY, -DAY},
     .want = "has expired (20"},
    {"not yet valid",
     "mail.example.org",
     {"x", "DNS:mail.example.org", DAY, 2 * DAY},
     .want = "is not valid yet (20"},
    {"pin right",
     "mail.example.org",
     {"x", "DNS:mail.example.org"},
     .pin = PIN_RIGHT,
     .want = NULL},
    {"pin wrong",
     "mail.example.org",
     {"x", "DNS:mail.example.org"},
     .pin = PIN_WRONG,
     .want = "not the pinned one"},
    {"pin right, self-signed",
     "mail.example.org",
     {"x", "DNS:mail.example.org"},
     .issuer = BY_SELF,
     .pin = PIN_RIGHT,
     .want = "not trusted (it is self-signed)"},
    {"pin right, wrong host",
     "mail.example.org",
     {"x", "DNS:www.example.org"},
     .pin = PIN_RIGHT,
     .want = "not for"},
    {"TLS 1.2",
     "mail.example.org",
     {"x", "DNS:mail.example.org"},
     .max_version = TLS1_2_VERSION,
     .want = NULL},
    {"TLS 1.1",
     "mail.example.org",
     {"x", "DNS:mail.example.org"},
     .max_version = TLS1_1_VERSION,
     .want = "no TLS version from 1.2 on"},
    {"escapes in a name",
     "mail.example.org",
     {"x", "DNS:a\033[31m.example"},
     .want = "but for a\\x1B[31m.example"},
};

/* The client waits for bytes, or it writes: the error must come both ways. */
static void run_cert_case(const struct CertCase *c, const Way *way, bool write_first)
{
    const Cert *issuers[] = {&authority, &other_authority, NULL};
    Cert cert = cert_new(&c->spec, issuers[c->issuer]);
    g_autofree char *own_file = cert_file(&cert, false);
    g_autofree char *pin =
        c->pin == PIN_NONE ? NULL : cert_pin(c->pin == PIN_RIGHT ? &cert : &authority);
    TlsConfig config = {.cafile = c->system_trust   ? NULL
                                  : c->trust_itself ? own_file
                                                    : authority_file,
                        .pin = pin};
    g_autoptr(GByteArray) hello = sample_bytes(50);
    Stream *a, *b;
    memory_stream_pair(&a, &b);
    set_way(a, way);
    set_way(b, way);
    Actor *client = actor_new(client_on(a, c->host, &config), "LOGIN secret", 12);
    TlsServer *server = tls_server_new(b, &cert, c->max_version, false, hello);
    client->write_first = write_first;
    actor_go(client);
    run_until(client->read_error || client->write_error ||
              (client->got->len == 50 && server->got->len == 12));
    if (c->want) {
        GError *first = write_first ? client->write_error : client->read_error;
        assert_error(first                ? first
                     : client->read_error ? client->read_error
                                          : client->write_error,
                     IMAPFS_ERROR_TLS, c->want);
        assert_false(stream_is_secure(client->stream));
        run_ready(10000);
        assert_int_equal(server->got->len, 0); /* nothing of ours was sent */
        assert_int_equal(client->got->len, 0); /* nothing of its was believed */
    } else {
        assert_null(client->read_error);
        assert_null(client->write_error);
        assert_true(stream_is_secure(client->stream));
        g_autofree char *lower = g_ascii_strdown(c->host, -1);
        if (g_str_has_suffix(lower, "."))
            lower[strlen(lower) - 1] = '\0';
        assert_string_equal(server->sni, g_hostname_is_ip_address(c->host) ? "" : lower);
    }
    actor_free(client);
    tls_server_free(server);
    g_unlink(own_file);
    cert_clear(&cert);
}

static void test_certificates(void **state)
{
    for (gsize i = 0; i < G_N_ELEMENTS(cert_cases); i++) {
        print_message("           %s\n", cert_cases[i].name);
        for (gsize w = 0; w < 4; w++)
            run_cert_case(&cert_cases[i], &ways[w], w & 1);
    }
}

static void test_client_certificate(void **state)
{
    Cert cert = cert_new(&(CertSpec){.cn = "x", .san = "DNS:mail.example.org"}, &authority);
    Cert mine = cert_new(&(CertSpec){.cn = "me"}, &authority);
    g_autofree char *file = cert_file(&mine, true);
    for (int given = 0; given < 2; given++) {
        for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
            TlsConfig config = {.cafile = authority_file, .client_cert = given ? file : NULL};
            g_autoptr(GByteArray) hello = sample_bytes(50);
            Stream *a, *b;
            memory_stream_pair(&a, &b);
            Actor *client = actor_new(client_on(a, "mail.example.org", &config), "x", 1);
            TlsServer *server = tls_server_new(b, &cert, version, true, hello);
            actor_go(client);
            run_until(client->got->len == 50 || client->read_error);
            assert_int_equal(server->got_client_cert, given);
            if (!given)
                assert_error(client->read_error, IMAPFS_ERROR_TLS,
                             version == TLS1_3_VERSION ? "give clientcert=" : "handshake failure");
            actor_free(client);
            tls_server_free(server);
        }
    }
    g_unlink(file);
    cert_clear(&cert);
    cert_clear(&mine);
}

static void test_bad_config(void **state)
{
    g_autofree char *no_key = cert_file(&authority, false);
    g_autofree char *good_pin = cert_pin(&authority);
    g_autofree char *odd_pin = g_strdup_printf("%.12s!%s", good_pin, good_pin + 12);
    g_autofree char *long_pin = g_strdup_printf("sha256//%064d", 0);
    const struct {
        const char *host;
        TlsConfig config;
        const char *want;
    } table[] = {
        {"h.example", {.cafile = (char *)"/no/such/file"}, "cafile /no/such/file cannot be used"},
        {"h.example", {.cafile = (char *)"/dev/null"}, "cafile /dev/null cannot be used"},
        {"h.example", {.client_cert = (char *)"/no/such/file"}, "client certificate /no/such"},
        {"h.example", {.client_cert = no_key}, "the key (unencrypted PEM) in client certificate"},
        {"h.example", {.pin = (char *)""}, "pin must be"},
        {"h.example", {.pin = (char *)"sha256//"}, "pin must be"},
        {"h.example", {.pin = (char *)"sha256//AAAA"}, "pin must be"},
        {"h.example", {.pin = (char *)"sha1//qqqqqqqqqqqqqqqqqqqqqqqqqqo="}, "pin must be"},
        {"h.example", {.pin = odd_pin}, "pin must be"},
        {"h.example", {.pin = long_pin}, "pin must be"},
        {"", {0}, "not a host name"},
        {".", {0}, "not a host name"},
        {NULL, {0}, "not a host name"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(table); i++) {
        Stream *a, *b;
        g_autoptr(GError) error = NULL;
        memory_stream_pair(&a, &b);
        Actor *other = actor_new(b, NULL, 0);
        assert_null(tls_stream_new(a, table[i].host, &table[i].config, &error));
        assert_error(error, IMAPFS_ERROR_CONFIG, table[i].want);
        actor_go(other);
        assert_true(other->eof); /* lower was taken and freed */
        actor_free(other);
    }
    g_unlink(no_key);
}

/* --- hostile wires --- */

/* Everything the server sends, recorded, so that it can be cut and changed at each byte is not
 * possible in TLS (fresh keys each time): instead a relay between the two cuts or changes. */
typedef struct {
    Stream *left, *right; /* towards client, towards server */
    gsize from_server;    /* bytes relayed so far */
    gsize cut_at, change_at;
    bool orderly, cut;
    GByteArray *to_left, *to_right;
} Relay;

static void relay_out(Stream *to, GByteArray *bytes)
{
    gsize n;
    while (to && bytes->len && stream_write(to, bytes->data, bytes->len, &n, NULL) == STREAM_OK)
        g_byte_array_remove_range(bytes, 0, (guint)n);
}

static void relay_go(gpointer data)
{
    Relay *relay = data;
    guint8 byte;
    gsize n;
    while (!relay->cut && stream_read(relay->right, &byte, 1, &n, NULL) == STREAM_OK) {
        if (relay->from_server == relay->cut_at) {
            memory_stream_break(relay->left, !relay->orderly);
            relay->cut = true;
            break;
        }
        if (relay->from_server == relay->change_at)
            byte ^= 0x41;
        relay->from_server++;
        g_byte_array_append(relay->to_left, &byte, 1);
        relay_out(relay->left, relay->to_left);
    }
    guint8 bytes[1000];
    while (stream_read(relay->left, bytes, sizeof bytes, &n, NULL) == STREAM_OK)
        g_byte_array_append(relay->to_right, bytes, (guint)n);
    relay_out(relay->right, relay->to_right);
}

/* Returns the bytes that the server sent in all. */
static gsize through_relay(const Cert *cert, gsize cut_at, bool orderly, gsize change_at,
                           Actor **client_out)
{
    TlsConfig config = {.cafile = authority_file};
    g_autoptr(GByteArray) hello = sample_bytes(200);
    Relay relay = {.cut_at = cut_at, .orderly = orderly, .change_at = change_at};
    relay.to_left = g_byte_array_new();
    relay.to_right = g_byte_array_new();
    Stream *a, *b;
    memory_stream_pair(&a, &relay.left);
    memory_stream_pair(&relay.right, &b);
    stream_set_notify(relay.left, relay_go, &relay);
    stream_set_notify(relay.right, relay_go, &relay);
    Actor *client = actor_new(client_on(a, "mail.example.org", &config), "x", 1);
    TlsServer *server = tls_server_new(b, cert, 0, false, hello);
    actor_go(client);
    relay_go(&relay);
    while (g_main_context_iteration(NULL, FALSE))
        ;
    stream_free(relay.left);
    stream_free(relay.right);
    g_byte_array_unref(relay.to_left);
    g_byte_array_unref(relay.to_right);
    tls_server_free(server);
    *client_out = client;
    return relay.from_server;
}

static void test_cut_everywhere(void **state)
{
    Cert cert = cert_new(&(CertSpec){.cn = "x", .san = "DNS:mail.example.org"}, &authority);
    Actor *client;
    gsize all = through_relay(&cert, G_MAXSIZE, true, G_MAXSIZE, &client);
    assert_int_equal(client->got->len, 200);
    assert_null(client->read_error);
    actor_free(client);
    assert_true(all > 500);
    for (gsize at = 0; at < all - 8; at += at < 20 || at > all - 400 ? 1 : 13) {
        for (int orderly = 0; orderly < 2; orderly++) {
            through_relay(&cert, at, orderly, G_MAXSIZE, &client);
            if (client->got->len != 200 || client->read_error) {
                assert_false(client->eof);
                assert_error(client->read_error, IMAPFS_ERROR_LOST, "");
                assert_int_equal(client->got->len, 0); /* one record: all or nothing */
            }
            actor_free(client);
        }
    }
    cert_clear(&cert);
}

static void test_change_everywhere(void **state)
{
    Cert cert = cert_new(&(CertSpec){.cn = "x", .san = "DNS:mail.example.org"}, &authority);
    Actor *client;
    gsize all = through_relay(&cert, G_MAXSIZE, true, G_MAXSIZE, &client);
    actor_free(client);
    for (gsize at = 0; at < all - 8; at += at < 150 || at > all - 300 ? 1 : 11) {
        through_relay(&cert, G_MAXSIZE, false, at, &client);
        /* A length made longer waits for more and gets nothing; never wrong bytes, never EOF. */
        g_autoptr(GByteArray) hello = sample_bytes(200);
        assert_false(client->eof);
        assert_true(client->got->len == 0 || client->got->len == 200);
        if (client->got->len)
            assert_bytes(client->got, hello->data, 200);
        actor_free(client);
    }
    cert_clear(&cert);
}

/* Clear text where TLS should be. */
static void test_no_tls(void **state)
{
    Stream *a, *b;
    gsize n;
    memory_stream_pair(&a, &b);
    Actor *client = actor_new(client_on(a, "mail.example.org", NULL), "x", 1);
    actor_go(client);
    assert_int_equal(stream_write(b, "* OK ready\r\n", 12, &n, NULL), STREAM_OK);
    run_until(client->read_error);
    assert_error(client->read_error, IMAPFS_ERROR_TLS, "does not speak TLS on this port");
    assert_false(client->eof);
    actor_free(client);
    stream_free(b);
}

/* --- wake-ups that one direction takes from the other --- */

/* On sockets, as a socket whose bytes were read wakes nobody. TLS 1.2, as 1.3 sends tickets late.
 */
typedef struct {
    Cert cert;
    Actor *client;
    TlsServer *server;
} Pair;

static void pair_begin(Pair *pair, const void *say, const GByteArray *server_says)
{
    TlsConfig config = {.cafile = authority_file};
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    pair->cert = cert_new(&(CertSpec){.cn = "x", .san = "DNS:mail.example.org"}, &authority);
    Stream *client = client_on(socket_stream_new(ends[0], "test"), "mail.example.org", &config);
    pair->client = actor_new(client, say, say ? strlen(say) : 0);
    pair->server = tls_server_new(socket_stream_new(ends[1], "test"), &pair->cert, TLS1_2_VERSION,
                                  false, server_says);
}

static void pair_end(Pair *pair)
{
    actor_free(pair->client);
    tls_server_free(pair->server);
    cert_clear(&pair->cert);
}

/* A write that waits for the handshake is woken when a read has finished it. */
static void test_read_finishes_handshake(void **state)
{
    Pair pair;
    gsize n;
    char bytes[1000];
    pair_begin(&pair, "x", NULL);
    Stream *client = pair.client->stream;
    assert_int_equal(stream_write(client, "x", 1, &n, NULL), STREAM_AGAIN);
    for (int i = 0; i < 10 && !stream_is_secure(client); i++) {
        tls_server_go(pair.server);
        assert_int_equal(stream_read(client, bytes, sizeof bytes, &n, NULL), STREAM_AGAIN);
    }
    assert_true(stream_is_secure(client));
    run_until(pair.server->got->len == 1);
    assert_int_equal(run_ready(50), 0);
    pair_end(&pair);
}

/* A read that waits is woken when a write has taken its bytes from the lower stream. */
static void test_write_takes_bytes(void **state)
{
    g_autoptr(GByteArray) hello = sample_bytes(50);
    Pair pair;
    gsize n;
    char bytes[1000];
    pair_begin(&pair, NULL, hello);
    Stream *client = pair.client->stream;
    assert_int_equal(stream_read(client, bytes, sizeof bytes, &n, NULL), STREAM_AGAIN);
    for (int i = 0; i < 10 && !stream_is_secure(client); i++) {
        tls_server_go(pair.server);
        stream_write(client, "x", 1, &n, NULL);
    }
    assert_true(stream_is_secure(client));
    run_until(pair.client->got->len == 50);
    assert_int_equal(run_ready(50), 0);
    pair_end(&pair);
}

/* A write that waits is woken when the handshake that a read went on with fails. */
static void test_read_fails_handshake(void **state)
{
    int ends[2];
    gsize n;
    char bytes[100];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    Stream *stream = client_on(socket_stream_new(ends[0], "test"), "mail.example.org", NULL);
    Actor *client = actor_new(stream, "x", 1);
    assert_int_equal(stream_write(stream, "x", 1, &n, NULL), STREAM_AGAIN);
    assert_int_equal(write(ends[1], "* OK ready\r\n", 12), 12);
    assert_int_equal(stream_read(stream, bytes, sizeof bytes, &n, NULL), STREAM_ERROR);
    run_until(client->write_error);
    assert_error(client->write_error, IMAPFS_ERROR_TLS, "does not speak TLS");
    actor_free(client);
    close(ends[1]);
}

/* What a write accepted leaves without more calls, when the wire has room again. */
static void test_goes_by_itself(void **state)
{
    g_autofree guint8 *bytes = g_malloc0(1 << 16);
    Pair pair;
    gsize n, total = 0;
    pair_begin(&pair, NULL, NULL);
    Stream *client = pair.client->stream;
    actor_go(pair.client);
    while (!stream_is_secure(client)) {
        tls_server_go(pair.server);
        actor_go(pair.client);
    }
    run_ready(100);
    while (stream_write(client, bytes, 1 << 16, &n, NULL) == STREAM_OK)
        total += n; /* until the socket and the stream are full */
    stream_set_notify(client, NULL, NULL);
    assert_true(pair.server->got->len < total);
    run_until(pair.server->got->len == total);
    pair_end(&pair);
}

static void on_notify_free(gpointer data)
{
    Stream **stream = data;
    g_clear_pointer(stream, stream_free);
}

static void test_free_in_notify(void **state)
{
    Stream *a, *b;
    gsize n;
    char byte;
    memory_stream_pair(&a, &b);
    Stream *client = client_on(a, "mail.example.org", NULL);
    stream_set_notify(client, on_notify_free, &client);
    assert_int_equal(stream_read(client, &byte, 1, &n, NULL), STREAM_AGAIN);
    assert_int_equal(stream_write(b, "x", 1, &n, NULL), STREAM_OK);
    run_until(!client);
    stream_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_traffic),
        cmocka_unit_test(test_stack),
        cmocka_unit_test(test_certificates),
        cmocka_unit_test(test_client_certificate),
        cmocka_unit_test(test_bad_config),
        cmocka_unit_test(test_cut_everywhere),
        cmocka_unit_test(test_change_everywhere),
        cmocka_unit_test(test_no_tls),
        cmocka_unit_test(test_read_finishes_handshake),
        cmocka_unit_test(test_write_takes_bytes),
        cmocka_unit_test(test_read_fails_handshake),
        cmocka_unit_test(test_goes_by_itself),
        cmocka_unit_test(test_free_in_notify),
    };
    log_set_target(LOG_TO_RING_ONLY);
    return cmocka_run_group_tests_name("net/tls", tests, make_authorities, drop_authorities);
}
