/* tls_config.h - what TLS needs to know before it talks; private to this layer. */
#pragma once
#include <openssl/ssl.h>
#include "imapfs/net/stream.h"

#define TLS_PIN_BYTES 32

/* A context with trust, client certificate and the floor of versions. Caller frees. */
SSL_CTX *tls_config_context(const TlsConfig *config, GError **error);

/* "sha256//BASE64" to bytes. */
bool tls_config_pin(const char *text, guint8 pin_out[TLS_PIN_BYTES], GError **error);
