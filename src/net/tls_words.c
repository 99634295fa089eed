/* tls_words.c - why TLS failed, in words that say what to do.
 *
 * The one rule: what a certificate says is the other side's text, so it is made printable and cut
 * before it is shown. */
#include "tls_words.h"

#include <gio/gio.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "imapfs/base/error.h"
#include "imapfs/base/limits.h"
#include "imapfs/base/log.h"

#define NAMES_SHOWN 5

typedef enum { ADVICE_TRUST, ADVICE_NAME, ADVICE_DATE_OVER, ADVICE_DATE_BEFORE } Advice;

static const struct {
    int verdict;
    Advice advice;
    const char *words;
} verdicts[] = {
    {X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, ADVICE_TRUST, "it is self-signed"},
    {X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, ADVICE_TRUST, "its authority is a private one"},
    {X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, ADVICE_TRUST, "its authority is not known here"},
    {X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, ADVICE_TRUST,
     "its authority is not known here, or the server does not send the whole chain"},
    {X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, ADVICE_TRUST,
     "its authority is not known here, or the server does not send the whole chain"},
    {X509_V_ERR_CERT_UNTRUSTED, ADVICE_TRUST, "its authority is not trusted here"},
    {X509_V_ERR_HOSTNAME_MISMATCH, ADVICE_NAME, NULL},
    {X509_V_ERR_IP_ADDRESS_MISMATCH, ADVICE_NAME, NULL},
    {X509_V_ERR_CERT_HAS_EXPIRED, ADVICE_DATE_OVER, NULL},
    {X509_V_ERR_CERT_NOT_YET_VALID, ADVICE_DATE_BEFORE, NULL},
};

/* --- names in a certificate --- */

static char *general_name_words(const GENERAL_NAME *name)
{
    int type;
    const ASN1_STRING *value = GENERAL_NAME_get0_value(name, &type);
    if (type == GEN_DNS)
        return log_printable((const char *)ASN1_STRING_get0_data(value),
                             (gsize)ASN1_STRING_length(value), 100);
    if (type != GEN_IPADD)
        return NULL;
    const guint8 *bytes = ASN1_STRING_get0_data(value);
    int length = ASN1_STRING_length(value);
    if (length != 4 && length != 16)
        return NULL;
    g_autoptr(GInetAddress) address = g_inet_address_new_from_bytes(
        bytes, length == 4 ? G_SOCKET_FAMILY_IPV4 : G_SOCKET_FAMILY_IPV6);
    return g_inet_address_to_string(address);
}

static char *names_of(X509 *certificate)
{
    GString *out = g_string_new(NULL);
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    int n = sk_GENERAL_NAME_num(names), shown = 0;
    for (int i = 0; i < n && shown < NAMES_SHOWN; i++) {
        g_autofree char *words = general_name_words(sk_GENERAL_NAME_value(names, i));
        if (words)
            g_string_append_printf(out, "%s%s", shown++ ? ", " : "", words);
    }
    if (n > shown && shown == NAMES_SHOWN)
        g_string_append(out, ", ...");
    GENERAL_NAMES_free(names);
    return g_string_free(out, FALSE);
}

static char *date_words(const ASN1_TIME *date)
{
    struct tm tm;
    char words[32];
    if (ASN1_TIME_to_tm(date, &tm) != 1 || strftime(words, sizeof words, "%Y-%m-%d", &tm) == 0)
        return g_strdup("an unreadable date");
    return g_strdup(words);
}

/* --- the verdict on the certificate --- */

static void say_name(GError **error, X509 *certificate, const char *host)
{
    g_autofree char *names = names_of(certificate);
    g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_TLS,
                "the certificate is not for %s but for %s: give host= the name that is meant, or "
                "tell the server's administrator",
                host, *names ? names : "no host at all (a common name does not count)");
}

static void say_date(GError **error, X509 *certificate, const char *host, bool over)
{
    g_autofree char *date =
        date_words(over ? X509_get0_notAfter(certificate) : X509_get0_notBefore(certificate));
    g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_TLS,
                "the certificate of %s (or of its authority) %s (%s): check this machine's clock, "
                "or tell the server's administrator",
                host, over ? "has expired" : "is not valid yet", date);
}

static void say_verdict(GError **error, int verdict, X509 *certificate, const char *host)
{
    for (gsize i = 0; i < G_N_ELEMENTS(verdicts); i++) {
        if (verdicts[i].verdict != verdict)
            continue;
        if (verdicts[i].advice == ADVICE_TRUST)
            g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_TLS,
                        "the certificate of %s is not trusted (%s): if you know it to be right, "
                        "give cafile= a PEM file with the certificate of its authority",
                        host, verdicts[i].words);
        else if (verdicts[i].advice == ADVICE_NAME)
            say_name(error, certificate, host);
        else
            say_date(error, certificate, host, verdicts[i].advice == ADVICE_DATE_OVER);
        return;
    }
    g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_TLS,
                "the certificate of %s cannot be accepted (%s): tell the server's administrator",
                host, X509_verify_cert_error_string(verdict));
}

/* --- everything else --- */

static const struct {
    int reason;
    const char *words;
} reasons[] = {
    {SSL_R_WRONG_VERSION_NUMBER,
     "it does not speak TLS on this port (is it the port for STARTTLS or for clear text?)"},
    {SSL_R_UNSUPPORTED_PROTOCOL, "it offers no TLS version from 1.2 on"},
    {SSL_R_TLSV1_ALERT_PROTOCOL_VERSION, "it offers no TLS version from 1.2 on"},
    {SSL_R_NO_PROTOCOLS_AVAILABLE, "the system's OpenSSL configuration permits no usable version"},
    {SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC, "somebody changed the bytes on the way"},
    {SSL_R_EE_KEY_TOO_SMALL, "the key of its certificate is too short to be safe"},
    {SSL_R_DH_KEY_TOO_SMALL, "its Diffie-Hellman key is too short to be safe"},
    {SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED, "it wants a client certificate: give clientcert="},
    {SSL_R_TLSV1_ALERT_UNKNOWN_CA, "it does not trust our client certificate"},
};

void tls_words_set(GError **error, SSL *ssl, X509 *certificate, const char *host)
{
    unsigned long code = ERR_peek_error(); /* the first one is the cause */
    int reason = ERR_GET_LIB(code) == ERR_LIB_SSL ? ERR_GET_REASON(code) : 0;
    long verdict = SSL_get_verify_result(ssl);
    if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED && verdict != X509_V_OK && certificate) {
        say_verdict(error, (int)verdict, certificate, host);
        ERR_clear_error();
        return;
    }
    const char *words = ERR_reason_error_string(code);
    for (gsize i = 0; i < G_N_ELEMENTS(reasons); i++) {
        if (reason && reasons[i].reason == reason)
            words = reasons[i].words;
    }
    g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_TLS, "no secure connection to %s: %s", host,
                words ? words : "TLS failed");
    ERR_clear_error();
}

void tls_words_set_pin(GError **error, const char *host, const guint8 *got, gsize length)
{
    g_autofree char *text = g_base64_encode(got, length);
    g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_TLS,
                "the key of %s is not the pinned one: if its administrator says that it was "
                "changed, give pin=sha256//%s",
                host, text);
}
