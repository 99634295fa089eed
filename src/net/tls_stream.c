/* tls_stream.c - TLS by OpenSSL on any lower stream.
 *
 * The one rule: OpenSSL writes into `out`, never to the lower stream, so a write it has begun never
 * has to be repeated, and the listener may change its mind between calls; `out` leaves in push().
 * Reading goes straight to the lower stream, and OpenSSL asks it only when it has nothing left to
 * decrypt: STREAM_AGAIN from a read thus always has a lower stream that owes a notify. What is left
 * are calls of one direction that use up what the other waits for; settle() sees to them. */
#include "stream_impl.h"

#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "tls_config.h"
#include "tls_words.h"

#define OUT_HIGH (64u * 1024)    /* no write is accepted while more waits for the lower stream */
#define WRITE_PIECE (16u * 1024) /* one TLS record */

typedef struct {
    Stream base;
    SSL *ssl;
    char *host;
    X509 *culprit; /* the certificate that was not accepted */
    bool pinned;
    guint8 pin[TLS_PIN_BYTES];
    bool up;         /* handshake done, certificate, name and pin verified */
    GError *cause;   /* OpenSSL failed, for this reason; it must not be called again */
    GByteArray *out; /* encrypted, not yet taken by the lower stream */
    gsize out_head;
    bool lower_eof;
    bool lower_moved;      /* in this call the lower stream gave something (bytes, EOF, error) */
    GError *read_failure;  /* of the lower stream */
    GError *write_failure; /* of the lower stream */
} TlsStream;

/* --- the lower stream as a BIO --- */

static int bio_read(BIO *bio, char *buffer, size_t size, size_t *n_out)
{
    TlsStream *self = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    *n_out = 0;
    if (size == 0 || self->lower_eof || self->read_failure)
        return 0;
    StreamStatus status = stream_read(self->base.lower, buffer, size, n_out, &self->read_failure);
    if (status == STREAM_AGAIN)
        BIO_set_retry_read(bio);
    else
        self->lower_moved = true;
    if (status == STREAM_EOF)
        self->lower_eof = true;
    return status == STREAM_OK;
}

static int bio_write(BIO *bio, const char *bytes, size_t size, size_t *n_out)
{
    TlsStream *self = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (self->out_head >= OUT_HIGH) {
        g_byte_array_remove_range(self->out, 0, (guint)self->out_head);
        self->out_head = 0;
    }
    g_byte_array_append(self->out, (const guint8 *)bytes, (guint)size);
    *n_out = size;
    return 1;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
    TlsStream *self = BIO_get_data(bio);
    switch (command) {
    case BIO_CTRL_FLUSH:
        return 1;
    case BIO_CTRL_EOF:
        return self->lower_eof;
    default:
        return 0;
    }
}

static BIO_METHOD *bio_method(void)
{
    static gsize once;
    static BIO_METHOD *method;
    if (g_once_init_enter(&once)) {
        method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "imapfs stream");
        BIO_meth_set_read_ex(method, bio_read);
        BIO_meth_set_write_ex(method, bio_write);
        BIO_meth_set_ctrl(method, bio_ctrl);
        g_once_init_leave(&once, 1);
    }
    return method;
}

/* --- pushing out --- */

static bool out_is_empty(const TlsStream *self)
{
    return self->out_head == self->out->len;
}

static StreamStatus push(TlsStream *self, GError **error)
{
    StreamStatus status = STREAM_OK;
    while (!out_is_empty(self) && !self->write_failure) {
        gsize n;
        status = stream_write(self->base.lower, self->out->data + self->out_head,
                              self->out->len - self->out_head, &n, &self->write_failure);
        if (status != STREAM_OK)
            break;
        self->out_head += n;
    }
    if (out_is_empty(self)) {
        g_byte_array_set_size(self->out, 0);
        self->out_head = 0;
    }
    if (!self->write_failure)
        return status;
    g_propagate_error(error, g_error_copy(self->write_failure));
    return STREAM_ERROR;
}

/* At the end of each call: push what OpenSSL has to say, and wake who waits for the direction that
 * was not called, if the call may have used up what would have woken him. (Who waits for room needs
 * no such help: what the lower stream owes for a refused write it still owes after a later one.) */
static void settle(TlsStream *self, bool was_up, bool is_write)
{
    push(self, NULL); /* a failure stays in write_failure until it matters */
    if (is_write && self->base.owes_read && self->lower_moved)
        stream_notify_soon(&self->base);
    if (!is_write && self->base.owes_write && (self->up != was_up || self->cause))
        stream_notify_soon(&self->base);
    self->lower_moved = false;
}

/* --- what OpenSSL says --- */

/* For good, and for both directions. */
static StreamStatus fail(TlsStream *self, GError **error)
{
    g_propagate_error(error, g_error_copy(self->cause));
    return STREAM_ERROR;
}

static StreamStatus fail_cut(TlsStream *self, GError **error)
{
    g_set_error(&self->cause, IMAPFS_ERROR, IMAPFS_ERROR_LOST, "%s closed the connection %s",
                self->host, self->up ? "without ending TLS" : "during the TLS handshake");
    return fail(self, error);
}

/* After an OpenSSL call that returned no success. */
static StreamStatus judge(TlsStream *self, int result, GError **error)
{
    int why = SSL_get_error(self->ssl, result);
    if (why == SSL_ERROR_WANT_READ)
        return STREAM_AGAIN;
    if (why == SSL_ERROR_ZERO_RETURN && self->up)
        return STREAM_EOF;
    if (self->lower_eof && !self->read_failure) {
        ERR_clear_error();
        return fail_cut(self, error);
    }
    if (self->read_failure)
        self->cause = g_error_copy(self->read_failure);
    else
        tls_words_set(&self->cause, self->ssl, self->culprit, self->host);
    ERR_clear_error();
    return fail(self, error);
}

/* Changes nothing about the verdict; OpenSSL forgets the certificate that it refuses. */
static int on_verify(int ok, X509_STORE_CTX *ctx)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(ctx, SSL_get_ex_data_X509_STORE_CTX_idx());
    TlsStream *self = SSL_get_app_data(ssl);
    X509 *certificate = X509_STORE_CTX_get_current_cert(ctx);
    if (!ok && certificate && !self->culprit && X509_up_ref(certificate))
        self->culprit = certificate;
    return ok;
}

static bool check_pin(TlsStream *self)
{
    guint8 digest[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    g_autofree guint8 *spki = NULL;
    X509_PUBKEY *key = X509_get_X509_PUBKEY(SSL_get0_peer_certificate(self->ssl));
    int size = i2d_X509_PUBKEY(key, NULL);
    if (size > 0) {
        guint8 *end = spki = g_malloc((gsize)size);
        size = i2d_X509_PUBKEY(key, &end);
    }
    if (size > 0 && EVP_Digest(spki, (size_t)size, digest, &length, EVP_sha256(), NULL) == 1 &&
        length == TLS_PIN_BYTES && CRYPTO_memcmp(digest, self->pin, TLS_PIN_BYTES) == 0)
        return true;
    tls_words_set_pin(&self->cause, self->host, digest, length);
    return false;
}

static StreamStatus finish_handshake(TlsStream *self, GError **error)
{
    /* OpenSSL would have failed the handshake; that it did is not left to its configuration. */
    if (SSL_get_verify_result(self->ssl) != X509_V_OK || !SSL_get0_peer_certificate(self->ssl) ||
        SSL_version(self->ssl) < TLS1_2_VERSION)
        g_set_error(&self->cause, IMAPFS_ERROR, IMAPFS_ERROR_TLS, "%s was not verified",
                    self->host);
    else if (!self->pinned || check_pin(self))
        self->up = true;
    return self->up ? STREAM_OK : fail(self, error);
}

/* STREAM_OK when TLS is up. */
static StreamStatus shake_hands(TlsStream *self, GError **error)
{
    if (self->up)
        return STREAM_OK;
    ERR_clear_error();
    int result = SSL_do_handshake(self->ssl);
    return result == 1 ? finish_handshake(self, error) : judge(self, result, error);
}

/* --- the calls --- */

static StreamStatus decrypt(TlsStream *self, void *buffer, gsize size, gsize *n_out, GError **error)
{
    StreamStatus status = shake_hands(self, error);
    if (status != STREAM_OK)
        return status;
    ERR_clear_error();
    int result = SSL_read_ex(self->ssl, buffer, size, n_out);
    return result == 1 ? STREAM_OK : judge(self, result, error);
}

static StreamStatus tls_read(Stream *stream, void *buffer, gsize size, gsize *n_out, GError **error)
{
    TlsStream *self = (TlsStream *)stream;
    bool was_up = self->up;
    if (self->cause)
        return fail(self, error);
    StreamStatus status = decrypt(self, buffer, size, n_out, error);
    settle(self, was_up, false);
    if (status == STREAM_AGAIN && self->write_failure) {
        /* Nothing more can be said, so nothing more will be answered. */
        g_propagate_error(error, g_error_copy(self->write_failure));
        return STREAM_ERROR;
    }
    return status;
}

static StreamStatus encrypt(TlsStream *self, const void *bytes, gsize size, gsize *n_out,
                            GError **error)
{
    StreamStatus status = shake_hands(self, error);
    if (status != STREAM_OK)
        return status;
    status = push(self, error);
    if (status == STREAM_ERROR || self->out->len - self->out_head >= OUT_HIGH)
        return status;
    ERR_clear_error();
    int result = SSL_write_ex(self->ssl, bytes, MIN(size, WRITE_PIECE), n_out);
    if (result == 1)
        return STREAM_OK;
    status = judge(self, result, error);
    return status == STREAM_EOF ? fail_cut(self, error) : status;
}

static StreamStatus tls_write(Stream *stream, const void *bytes, gsize size, gsize *n_out,
                              GError **error)
{
    TlsStream *self = (TlsStream *)stream;
    bool was_up = self->up;
    if (self->cause)
        return fail(self, error);
    StreamStatus status = encrypt(self, bytes, size, n_out, error);
    settle(self, was_up, true);
    return status;
}

static StreamStatus tls_flush(Stream *stream, GError **error)
{
    TlsStream *self = (TlsStream *)stream;
    bool was_up = self->up;
    if (self->cause)
        return fail(self, error);
    StreamStatus status = shake_hands(self, error);
    settle(self, was_up, true);
    if (status == STREAM_OK)
        status = push(self, error);
    return status == STREAM_OK ? stream_flush(stream->lower, error) : status;
}

static void tls_on_lower(Stream *stream)
{
    TlsStream *self = (TlsStream *)stream;
    push(self, NULL);
    if (stream->owes_read || stream->owes_write)
        stream_notify_now(stream);
}

static bool tls_is_secure(const Stream *stream)
{
    return ((const TlsStream *)stream)->up;
}

static char *tls_describe(const Stream *stream)
{
    const TlsStream *self = (const TlsStream *)stream;
    return g_strdup_printf("%s to %s", self->up ? SSL_get_version(self->ssl) : "TLS (not up yet)",
                           stream->place);
}

static void tls_finish(Stream *stream)
{
    TlsStream *self = (TlsStream *)stream;
    if (self->up && !self->cause) {
        ERR_clear_error();
        SSL_shutdown(self->ssl); /* our goodbye; the other's is not waited for */
        push(self, NULL);
        ERR_clear_error();
    }
    X509_free(self->culprit);
    SSL_free(self->ssl); /* with its BIO */
    g_byte_array_unref(self->out);
    g_clear_error(&self->cause);
    g_clear_error(&self->read_failure);
    g_clear_error(&self->write_failure);
    g_free(self->host);
}

static const StreamOps tls_ops = {
    .read = tls_read,
    .write = tls_write,
    .flush = tls_flush,
    .on_lower = tls_on_lower,
    .is_secure = tls_is_secure,
    .describe = tls_describe,
    .finish = tls_finish,
};

/* --- making one --- */

/* The name as certificates and SNI have it: ASCII, without the dot at the end. */
static char *host_for_tls(const char *host)
{
    g_autofree char *ascii = host ? g_hostname_to_ascii(host) : NULL;
    if (ascii && g_str_has_suffix(ascii, "."))
        ascii[strlen(ascii) - 1] = '\0';
    return ascii && *ascii ? g_steal_pointer(&ascii) : NULL;
}

/* RFC 9525: only the subjectAltName counts, and a wildcard only as the whole leftmost label. */
static bool expect_host(SSL *ssl, const char *host)
{
    static const unsigned char alpn[] = "\x04imap";
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT |
                                               X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (SSL_set_alpn_protos(ssl, alpn, sizeof alpn - 1) != 0)
        return false;
    if (g_hostname_is_ip_address(host)) /* RFC 6066 3: no SNI for addresses */
        return X509_VERIFY_PARAM_set1_ip_asc(param, host) == 1;
    return X509_VERIFY_PARAM_set1_host(param, host, 0) == 1 &&
           SSL_set_tlsext_host_name(ssl, host) == 1;
}

static SSL *new_ssl(const TlsConfig *config, const char *host, GError **error)
{
    SSL_CTX *ctx = tls_config_context(config, error);
    if (!ctx)
        return NULL;
    SSL *ssl = SSL_new(ctx);
    SSL_CTX_free(ctx);
    if (ssl && expect_host(ssl, host)) {
        SSL_set_connect_state(ssl);
        return ssl;
    }
    SSL_free(ssl);
    ERR_clear_error();
    g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_CONFIG, "TLS cannot be set up for host %s", host);
    return NULL;
}

Stream *tls_stream_new(Stream *lower, const char *host, const TlsConfig *config, GError **error)
{
    g_autoptr(Stream) owned = lower;
    g_autofree char *name = host_for_tls(host);
    guint8 pin[TLS_PIN_BYTES] = {0};
    bool pinned = config && config->pin;
    if (!name) {
        g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_CONFIG, "\"%s\" is not a host name",
                    host ? host : "");
        return NULL;
    }
    if (pinned && !tls_config_pin(config->pin, pin, error))
        return NULL;
    SSL *ssl = new_ssl(config, name, error);
    if (!ssl)
        return NULL;

    TlsStream *self = g_new0(TlsStream, 1);
    BIO *bio = BIO_new(bio_method());
    BIO_set_data(bio, self);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio);
    SSL_set_app_data(ssl, self);
    SSL_set_verify(ssl, SSL_VERIFY_PEER, on_verify);
    stream_init(&self->base, &tls_ops, g_steal_pointer(&owned), NULL);
    self->ssl = ssl;
    self->host = g_steal_pointer(&name);
    self->pinned = pinned;
    memcpy(self->pin, pin, sizeof pin);
    self->out = g_byte_array_new();
    return &self->base;
}
