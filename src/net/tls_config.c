/* tls_config.c - from the user's TLS settings to an OpenSSL context.
 *
 * The one rule: whatever cannot be used as it was said is an error; nothing falls back. */
#include "tls_config.h"

#include <openssl/err.h>
#include <string.h>

#include "stream_impl.h"

#define PIN_PREFIX "sha256//"

static bool refuse(GError **error, const char *what, const char *file)
{
    /* Where a file cannot be opened the first error says why, and the last one "system lib". */
    unsigned long first = ERR_peek_error();
    const char *reason = ERR_SYSTEM_ERROR(first) ? g_strerror(ERR_GET_REASON(first))
                                                 : ERR_reason_error_string(ERR_peek_last_error());
    g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_CONFIG, "%s%s%s cannot be used: %s", what,
                file ? " " : "", file ? file : "", reason ? reason : "unknown reason");
    ERR_clear_error();
    return false;
}

/* Instead of asking on a terminal that we may not have. */
static int no_password(char *buffer, int size, int writing, void *data)
{
    return -1;
}

static bool load_trust(SSL_CTX *ctx, const TlsConfig *config, GError **error)
{
    if (!config || !config->cafile) {
        if (SSL_CTX_set_default_verify_paths(ctx) != 1)
            return refuse(error, "the system's list of certificate authorities", NULL);
        return true;
    }
    if (SSL_CTX_load_verify_file(ctx, config->cafile) != 1)
        return refuse(error, "cafile", config->cafile);
    /* A file that the user named is trusted as it stands: it may hold the server's own
     * certificate, without the authority that signed it. */
    X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(ctx), X509_V_FLAG_PARTIAL_CHAIN);
    return true;
}

static bool load_client(SSL_CTX *ctx, const TlsConfig *config, GError **error)
{
    if (!config || !config->client_cert)
        return true;
    const char *file = config->client_cert;
    if (SSL_CTX_use_certificate_chain_file(ctx, file) != 1)
        return refuse(error, "client certificate", file);
    if (SSL_CTX_use_PrivateKey_file(ctx, file, SSL_FILETYPE_PEM) != 1)
        return refuse(error, "the key (unencrypted PEM) in client certificate", file);
    return true;
}

static SSL_CTX *bare_context(void)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    if (!ctx)
        return NULL;
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION); /* whatever the system's configuration */
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(ctx, 1);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_default_passwd_cb(ctx, no_password);
    return ctx;
}

SSL_CTX *tls_config_context(const TlsConfig *config, GError **error)
{
    ERR_clear_error();
    SSL_CTX *ctx = bare_context();
    if (!ctx) {
        refuse(error, "OpenSSL", NULL);
        return NULL;
    }
    if (load_trust(ctx, config, error) && load_client(ctx, config, error))
        return ctx;
    SSL_CTX_free(ctx);
    return NULL;
}

bool tls_config_pin(const char *text, guint8 pin_out[TLS_PIN_BYTES], GError **error)
{
    gsize length = 0;
    g_autofree guint8 *bytes = NULL;
    g_autofree char *again = NULL;
    if (g_str_has_prefix(text, PIN_PREFIX)) {
        text += strlen(PIN_PREFIX);
        bytes = g_base64_decode(text, &length);
        again = g_base64_encode(bytes, length); /* GLib's decoder skips what it does not know */
    }
    if (length != TLS_PIN_BYTES || !g_str_equal(again, text)) {
        g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_CONFIG,
                    "pin must be \"" PIN_PREFIX "\" and the base64 of a SHA-256 (44 characters)");
        return false;
    }
    memcpy(pin_out, bytes, TLS_PIN_BYTES);
    return true;
}

bool tls_config_check(const TlsConfig *config, GError **error)
{
    guint8 pin[TLS_PIN_BYTES];
    if (config && config->pin && !tls_config_pin(config->pin, pin, error))
        return false;
    SSL_CTX *ctx = tls_config_context(config, error);
    SSL_CTX_free(ctx);
    return ctx != NULL;
}
