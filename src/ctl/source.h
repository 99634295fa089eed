/* source.h - SOURCE of the command line: which account on which server.
 *
 * Layer ctl. Any thread. USER@HOST[:PORT] | imaps://[USER@]HOST[:PORT] | imap://... | NAME */
#pragma once
#include <gio/gio.h>
#include <stdbool.h>

typedef struct {
    char *name; /* a name of the configuration file; else NULL, and host is set */
    char *user; /* or NULL */
    char *host;
    guint16 port;  /* 0: not said */
    bool is_url;   /* so the scheme says the security: */
    bool starttls; /* imap:// */
} Source;

/* Error CONFIG; a password in the text is refused and never repeated. */
bool source_parse(const char *text, Source *source_out, GError **error);
void source_clear(Source *source);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Source, source_clear)

/* A host name as it is looked up: IDNA for other scripts, brackets off. NULL with CONFIG. */
char *source_host(const char *text, GError **error);

/* Text as one file name: what could be a path or a surprise is percent-encoded. */
char *source_directory_name(const char *text);
