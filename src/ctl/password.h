/* password.h - the account's password, from wherever it is kept, or its token.
 *
 * Layer ctl. Any thread. With passcmd or tokencmd only that is asked; else ~/.authinfo, ~/.netrc,
 * the Secret Service, and the terminal while there is one. What was typed is kept (a Secret) for
 * the life of the process, as a lost connection needs it again; the others are asked again each
 * time. */
#pragma once
#include "imapfs/base/secret.h"
#include <glib.h>
#include <stdbool.h>

typedef struct {
    const char *passcmd;  /* or NULL */
    const char *tokencmd; /* for an access token; or NULL */
    const char *user, *host;
    guint16 port;
    const char *home; /* where .authinfo and .netrc are */
    bool may_prompt;  /* a terminal may be asked, until password_source_detach */
    bool keyring;     /* look into the Secret Service */
} PasswordConfig;

typedef struct PasswordSource PasswordSource;
PasswordSource *password_source_new(const PasswordConfig *config); /* copies */
void password_source_free(PasswordSource *source);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(PasswordSource, password_source_free)

/* An AccountPasswordFunc; data is the PasswordSource. */
Secret *password_source_get(gpointer data, bool retry, GError **error);

/* The server refused the last one. true: a person can be asked for another, and will be the next
 * time. */
bool password_source_refused(PasswordSource *source);

/* The terminal is no longer ours. */
void password_source_detach(PasswordSource *source);
/* Somebody is being asked right now, so nothing else should run out of patience. */
bool password_source_is_asking(PasswordSource *source);
/* How many were given out so far. */
guint password_source_given(PasswordSource *source);
/* Where the last one came from ("passcmd", "tokencmd", "/home/alice/.netrc", ...); NULL when there
 * was none. Static or borrowed from the source. */
const char *password_source_origin(PasswordSource *source);
