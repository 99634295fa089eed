/* account.h - who we are to which server.
 *
 * Layer imap. Made by the configuration, read-only afterwards. */
#pragma once
#include "imapfs/base/secret.h"
#include "imapfs/net/connect.h"

/* Asks for the password, or the token; called on a thread of its own as it may run a command or a
 * prompt. retry: the last one was refused. NULL with error AUTH or CONFIG. */
typedef Secret *(*AccountPasswordFunc)(gpointer data, bool retry, GError **error);

typedef enum {
    COMPRESS_NO,
    COMPRESS_YES,
    COMPRESS_AUTO, /* where the server is far enough away that it pays */
} AccountCompress;

typedef struct {
    char *name; /* the account's directory name: "alice@mail.example.org" or the section */
    char *user;
    NetTarget target;
    AccountPasswordFunc password;
    gpointer password_data;
    bool with_token;          /* what that brings is an OAuth 2.0 access token */
    guint timeout_ms;         /* of one answer */
    guint max_connections;    /* 1 .. 16 */
    guint poll_s;             /* how often to ask where a server has no IDLE; 0: 60 */
    char **disable;           /* capabilities to act as if the server had not named (upper case) */
    int trace_fd;             /* -1: no trace */
    AccountCompress compress; /* use COMPRESS=DEFLATE where offered */
} Account;

/* A password function that runs a command cannot be called back: it may still run when the session
 * that asked is gone, and what it uses must be there. Waits until none runs, at most wait_ms;
 * false: one still does, and the account must not be freed. */
bool account_passwords_settled(guint wait_ms);
