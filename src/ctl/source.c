/* source.c - SOURCE taken apart.
 *
 * The rule: what could hold a password is never repeated in a message, and nothing that could end
 * a line or a string early (NUL, CR, LF, any control) comes through (CVE-2012-0036, -2026-43859).
 */
#include "source.h"
#include "fail.h"
#include <string.h>

void source_clear(Source *source)
{
    g_free(source->name);
    g_free(source->user);
    g_free(source->host);
    memset(source, 0, sizeof *source);
}

static bool is_clean(const char *text)
{
    for (const char *c = text; *c; c++)
        if ((guchar)*c < 0x20 || *c == 0x7f)
            return false;
    return g_utf8_validate(text, -1, NULL);
}

char *source_host(const char *text, GError **error)
{
    g_autofree char *bare = NULL;
    gsize length = strlen(text);
    if (length > 2 && text[0] == '[' && text[length - 1] == ']') {
        bare = g_strndup(text + 1, length - 2);
        if (g_hostname_is_ip_address(bare) && strchr(bare, ':'))
            return g_steal_pointer(&bare);
        fail(error, "what stands in brackets is not an IPv6 address");
        return NULL;
    }
    if (strchr(text, ':') && g_hostname_is_ip_address(text)) {
        fail(error, "an IPv6 address stands in brackets, as in [2001:db8::1]");
        return NULL;
    }
    g_autofree char *ascii = is_clean(text) ? g_hostname_to_ascii(text) : NULL;
    bare = ascii ? g_ascii_strdown(ascii, -1) : NULL;
    if (!bare || !*bare || strlen(bare) > 253 || *bare == '-' || *bare == '.' ||
        bare[strspn(bare, "abcdefghijklmnopqrstuvwxyz0123456789.-_")]) {
        fail(error, "that is not a host name");
        return NULL;
    }
    return g_steal_pointer(&bare);
}

/* HOST[:PORT], where HOST may be an IPv6 address in brackets. */
static bool parse_host_port(const char *text, Source *source, GError **error)
{
    const char *bracket = *text == '[' ? strchr(text, ']') : NULL;
    const char *colon = strchr(bracket ? bracket : text, ':');
    guint64 port = 0;
    if (colon && strchr(colon + 1, ':'))
        return fail(error, "an IPv6 address stands in brackets, as in [2001:db8::1]");
    if (colon && !g_ascii_string_to_unsigned(colon + 1, 10, 1, 65535, &port, NULL))
        return fail(error, "the port behind ':' is not a number from 1 to 65535");
    g_autofree char *host = colon ? g_strndup(text, (gsize)(colon - text)) : g_strdup(text);
    source->host = source_host(host, error);
    source->port = (guint16)port;
    return source->host != NULL;
}

static bool refuse_password(GError **error)
{
    return fail(error, "SOURCE seems to hold a password (USER:PASSWORD@), which others could read "
                       "in the list of processes; leave it out and use passcmd=COMMAND, ~/.netrc, "
                       "the Secret Service or the prompt (a ':' in a user name is %%3A in a URL)");
}

/* RFC 5092 iuserinfo, without ";AUTH=". */
static bool parse_url_user(const char *text, Source *source, GError **error)
{
    if (strchr(text, ':'))
        return refuse_password(error);
    if (strchr(text, ';'))
        return fail(error, ";AUTH= is not supported: the mechanism is chosen by what is offered");
    g_autofree char *user = g_uri_unescape_string(text, "");
    if (!user || !*user || !is_clean(user))
        return fail(error, "the user name in the URL is empty, or wrongly %%-encoded, or has "
                           "control characters");
    source->user = g_steal_pointer(&user);
    return true;
}

static bool parse_url(const char *rest, Source *source, GError **error)
{
    gsize length = strcspn(rest, "/?#");
    g_autofree char *authority = g_strndup(rest, length);
    const char *path = rest + length;
    char *at = strrchr(authority, '@');
    if (at) {
        *at = '\0';
        if (!parse_url_user(authority, source, error))
            return false;
    }
    if (*path && strcmp(path, "/") != 0)
        return fail(error, "a mailbox in the URL is not supported: mount the account, the mailbox "
                           "is a directory in it");
    return parse_host_port(at ? at + 1 : authority, source, error);
}

static bool parse_user_at_host(const char *text, const char *at, Source *source, GError **error)
{
    g_autofree char *user = g_strndup(text, (gsize)(at - text));
    if (strchr(user, ':'))
        return refuse_password(error);
    if (!*user)
        return fail(error, "the user name before '@' is empty");
    source->user = g_steal_pointer(&user);
    return parse_host_port(at + 1, source, error);
}

static bool parse_name(const char *text, Source *source, GError **error)
{
    if (!*text || strlen(text) > 200 || *text == '.' || *text == '-' || strpbrk(text, "/[]:"))
        return fail(error, "SOURCE is USER@HOST, imaps://USER@HOST, imap://USER@HOST, or the name "
                           "of a section of the configuration file");
    source->name = g_strdup(text);
    return true;
}

static bool parse_any(const char *text, Source *source, GError **error)
{
    if (!is_clean(text))
        return fail(error, "SOURCE has control characters or is not UTF-8");
    const char *scheme_end = strstr(text, "://");
    if (scheme_end) {
        source->is_url = true;
        source->starttls = g_ascii_strncasecmp(text, "imap://", 7) == 0;
        if (!source->starttls && g_ascii_strncasecmp(text, "imaps://", 8) != 0)
            return fail(error, "a URL begins with imaps:// or imap:// here");
        return parse_url(scheme_end + 3, source, error);
    }
    const char *at = strrchr(text, '@');
    return at ? parse_user_at_host(text, at, source, error) : parse_name(text, source, error);
}

bool source_parse(const char *text, Source *source_out, GError **error)
{
    g_auto(Source) source = {0};
    if (!parse_any(text, &source, error))
        return false;
    *source_out = source;
    memset(&source, 0, sizeof source);
    return true;
}

char *source_directory_name(const char *text)
{
    GString *name = g_string_new(NULL);
    for (const char *c = text; *c; c++) {
        bool plain = g_ascii_isalnum(*c) || strchr("@_+=:-", *c) || (guchar)*c >= 0x80 ||
                     (*c == '.' && name->len > 0);
        if (plain)
            g_string_append_c(name, *c);
        else
            g_string_append_printf(name, "%%%02X", (guchar)*c);
    }
    return g_string_free(name, FALSE);
}
