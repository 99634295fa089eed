/* account.h - who we are to which server.
 *
 * Layer imap. Made by the configuration, read-only afterwards. */
#pragma once
#include "imapfs/base/secret.h"
#include "imapfs/net/connect.h"

/* Asks for the password; called on a thread of its own as it may run a command or a prompt.
 * retry: the last one was refused. NULL with error AUTH or CONFIG. */
typedef Secret *(*AccountPasswordFunc)(gpointer data, bool retry, GError **error);

typedef struct {
    char *name; /* the account's directory name: "alice@mail.example.org" or the section */
    char *user;
    NetTarget target;
    AccountPasswordFunc password;
    gpointer password_data;
    guint timeout_ms;      /* of one answer */
    guint max_connections; /* 1 .. 16 */
    char **disable;        /* capabilities to act as if the server had not named (upper case) */
    int trace_fd;          /* -1: no trace */
    bool compress;         /* use COMPRESS=DEFLATE where offered */
} Account;
