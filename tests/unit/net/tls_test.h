/* tls_test.h - certificates made on the spot, and a TLS server on a stream; for tests. */
#pragma once
#include "net_test.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#define DAY (24 * 60 * 60)

typedef struct {
    X509 *x509;
    EVP_PKEY *key;
} Cert;

typedef struct {
    const char *cn;
    const char *san;   /* OpenSSL's words: "DNS:a.example,IP:127.0.0.1"; NULL: none */
    long from_s, to_s; /* relative to now; both 0: a day around now */
    bool ca;
} CertSpec;

static inline void cert_extend(X509 *x509, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, x509, x509, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    assert_non_null(extension);
    X509_add_ext(x509, extension, -1);
    X509_EXTENSION_free(extension);
}

/* issuer NULL: self-signed. */
static inline Cert cert_new(const CertSpec *spec, const Cert *issuer)
{
    static long serial = 1;
    Cert cert = {.x509 = X509_new(), .key = EVP_EC_gen("P-256")};
    bool dated = spec->from_s || spec->to_s;
    X509_set_version(cert.x509, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(cert.x509), serial++);
    X509_gmtime_adj(X509_getm_notBefore(cert.x509), dated ? spec->from_s : -DAY);
    X509_gmtime_adj(X509_getm_notAfter(cert.x509), dated ? spec->to_s : DAY);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert.x509), "CN", MBSTRING_UTF8,
                               (const guint8 *)spec->cn, -1, -1, 0);
    X509_set_issuer_name(cert.x509, X509_get_subject_name(issuer ? issuer->x509 : cert.x509));
    X509_set_pubkey(cert.x509, cert.key);
    cert_extend(cert.x509, NID_basic_constraints, spec->ca ? "critical,CA:TRUE" : "CA:FALSE");
    if (spec->san)
        cert_extend(cert.x509, NID_subject_alt_name, spec->san);
    assert_true(X509_sign(cert.x509, issuer ? issuer->key : cert.key, EVP_sha256()) > 0);
    return cert;
}

static inline void cert_clear(Cert *cert)
{
    X509_free(cert->x509);
    EVP_PKEY_free(cert->key);
    *cert = (Cert){0};
}

/* Writes the certificate, and its key when asked, to a new file. Caller unlinks and frees. */
static inline char *cert_file(const Cert *cert, bool with_key)
{
    char *path = NULL;
    int fd = g_file_open_tmp("imapfs-test-XXXXXX.pem", &path, NULL);
    FILE *file = fdopen(fd, "w");
    assert_non_null(file);
    PEM_write_X509(file, cert->x509);
    if (with_key)
        PEM_write_PrivateKey(file, cert->key, NULL, NULL, 0, NULL, NULL);
    fclose(file);
    return path;
}

static inline char *cert_pin(const Cert *cert)
{
    guint8 digest[32];
    g_autofree guint8 *spki = NULL;
    int size = i2d_PUBKEY(cert->key, NULL);
    guint8 *end = spki = g_malloc((gsize)size);
    i2d_PUBKEY(cert->key, &end);
    EVP_Digest(spki, (size_t)size, digest, NULL, EVP_sha256(), NULL);
    g_autofree char *base64 = g_base64_encode(digest, sizeof digest);
    return g_strdup_printf("sha256//%s", base64);
}

/* --- a server: sends `send` once TLS is up, collects what it gets --- */

typedef struct {
    Stream *lower; /* owned */
    SSL *ssl;
    BIO *in, *out; /* the SSL's */
    GByteArray *got, *send;
    gsize sent;
    GByteArray *pending; /* encrypted, not taken by lower yet */
    bool up, failed, eof, shutdown_when_sent, said_goodbye;
    char *sni;
    char *alpn;
    bool got_client_cert;
} TlsServer;

static inline void tls_server_push(TlsServer *server)
{
    char bytes[4096];
    gsize n;
    for (int r; (r = BIO_read(server->out, bytes, sizeof bytes)) > 0;)
        g_byte_array_append(server->pending, (guint8 *)bytes, (guint)r);
    while (server->pending->len && stream_write(server->lower, server->pending->data,
                                                server->pending->len, &n, NULL) == STREAM_OK)
        g_byte_array_remove_range(server->pending, 0, (guint)n);
}

static inline bool tls_server_pull(TlsServer *server)
{
    char bytes[4096];
    gsize n;
    StreamStatus status = stream_read(server->lower, bytes, sizeof bytes, &n, NULL);
    if (status == STREAM_OK)
        BIO_write(server->in, bytes, (int)n);
    server->eof = status == STREAM_EOF;
    return status == STREAM_OK;
}

/* One round of what OpenSSL can do with what it has. */
static inline void tls_server_step(TlsServer *server)
{
    char bytes[4096];
    ERR_clear_error();
    if (!server->up) {
        int r = SSL_do_handshake(server->ssl);
        server->up = r == 1;
        server->failed |= r != 1 && SSL_get_error(server->ssl, r) != SSL_ERROR_WANT_READ;
    }
    if (!server->up)
        return;
    for (int r; (r = SSL_read(server->ssl, bytes, sizeof bytes)) > 0;)
        g_byte_array_append(server->got, (guint8 *)bytes, (guint)r);
    while (server->sent < server->send->len) {
        int n = (int)MIN(server->send->len - server->sent, 5000);
        assert_int_equal(SSL_write(server->ssl, server->send->data + server->sent, n), n);
        server->sent += (gsize)n;
    }
    if (server->shutdown_when_sent && !server->said_goodbye) {
        SSL_shutdown(server->ssl);
        server->said_goodbye = true;
    }
}

static inline void tls_server_go(gpointer data)
{
    TlsServer *server = data;
    if (server->failed) {
        tls_server_push(server);
        return;
    }
    do {
        tls_server_step(server);
        tls_server_push(server);
    } while (!server->failed && tls_server_pull(server));
    if (server->up && !server->sni) {
        const char *name = SSL_get_servername(server->ssl, TLSEXT_NAMETYPE_host_name);
        X509 *client = SSL_get1_peer_certificate(server->ssl);
        server->sni = g_strdup(name ? name : "");
        server->got_client_cert = client != NULL;
        X509_free(client);
    }
}

static inline int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_length,
                          const unsigned char *in, unsigned int length, void *data)
{
    TlsServer *server = data;
    g_free(server->alpn);
    server->alpn = g_strndup((const char *)in + 1, MIN(in[0], length - 1));
    *out = in + 1;
    *out_length = in[0];
    return SSL_TLSEXT_ERR_OK;
}

static inline int on_verify_anything(int ok, X509_STORE_CTX *ctx)
{
    return 1;
}

/* Takes lower. max_version 0: whatever OpenSSL has. issuer: sent along unless NULL. */
static inline TlsServer *tls_server_new(Stream *lower, const Cert *cert, int max_version,
                                        bool ask_client, const GByteArray *send)
{
    TlsServer *server = g_new0(TlsServer, 1);
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (max_version && max_version < TLS1_2_VERSION) {
        SSL_CTX_set_min_proto_version(ctx, TLS1_VERSION);
        SSL_CTX_set_cipher_list(ctx, "DEFAULT:@SECLEVEL=0");
    }
    SSL_CTX_set_max_proto_version(ctx, max_version);
    SSL_CTX_use_certificate(ctx, cert->x509);
    SSL_CTX_use_PrivateKey(ctx, cert->key);
    SSL_CTX_set_alpn_select_cb(ctx, on_alpn, server);
    if (ask_client)
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
                           on_verify_anything);
    server->ssl = SSL_new(ctx);
    SSL_CTX_free(ctx);
    server->in = BIO_new(BIO_s_mem());
    server->out = BIO_new(BIO_s_mem());
    BIO_set_mem_eof_return(server->in, -1);
    BIO_set_mem_eof_return(server->out, -1);
    SSL_set_bio(server->ssl, server->in, server->out);
    SSL_set_accept_state(server->ssl);
    server->got = g_byte_array_new();
    server->send = g_byte_array_new();
    if (send)
        g_byte_array_append(server->send, send->data, send->len);
    server->pending = g_byte_array_new();
    server->lower = lower;
    stream_set_notify(lower, tls_server_go, server);
    tls_server_go(server);
    return server;
}

static inline void tls_server_free(TlsServer *server)
{
    stream_free(server->lower);
    SSL_free(server->ssl);
    g_byte_array_unref(server->got);
    g_byte_array_unref(server->send);
    g_byte_array_unref(server->pending);
    g_free(server->sni);
    g_free(server->alpn);
    g_free(server);
}
