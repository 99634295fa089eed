/* netrc.h - passwords from ~/.authinfo and ~/.netrc.
 *
 * Layer ctl. Any thread. */
#pragma once
#include "imapfs/base/secret.h"
#include <glib.h>

typedef struct {
    const char *host, *user;
    guint16 port;
} NetrcQuery;

/* The password of the first entry
 *     machine HOST[:PORT] [login|user USER] [port PORT|imap|imaps] password PASSWORD
 * that fits. Words may stand in double quotes, with \ before " and \. An entry without login fits
 * every user. `default` entries are passed over: they are for hosts the user did not think of.
 * NULL: none. */
Secret *netrc_find(const char *text, gsize length, const NetrcQuery *query);

/* Looks into the file. NULL without an error: no such file, or no such entry. CONFIG when there is
 * one, but others may read the file, or it is not ours. */
Secret *netrc_find_in_file(const char *path, const NetrcQuery *query, GError **error);
