/* tls_words.h - why TLS failed, in words that say what to do; private to this layer. */
#pragma once
#include <openssl/ssl.h>
#include "imapfs/net/stream.h"

/* From the thread's OpenSSL error queue and the handshake's verdict on the certificate (the refused
 * one, NULL when there is none). */
void tls_words_set(GError **error, SSL *ssl, X509 *certificate, const char *host);

/* The key is not the pinned one. */
void tls_words_set_pin(GError **error, const char *host, const guint8 *got, gsize length);
