/* password.h - the password from where the account gets it, and what SASL makes of it.
 *
 * Layer imap, private. Thread: the loop; the asking itself runs on a thread of its own. */
#pragma once
#include "imapfs/imap/account.h"

typedef struct PasswordJob PasswordJob;
/* Called once, from the main context, never before password_job_start returns; takes both (one of
 * them is NULL). The job is gone then. */
typedef void (*PasswordReady)(Secret *password, GError *error, gpointer data);

PasswordJob *password_job_start(const Account *account, bool retry, PasswordReady ready,
                                gpointer data);
/* ready will not be called; the thread runs to its end, and what it brings is wiped. */
void password_job_abandon(PasswordJob *job);

/* Base64 of the initial response. NULL when it would be over what a Secret holds. */
Secret *sasl_plain(const char *user, const Secret *password);    /* RFC 4616 */
Secret *sasl_external(const char *user);                         /* RFC 4422, appendix A */
Secret *sasl_oauthbearer(const char *user, const Secret *token); /* RFC 7628 3.1 */
Secret *sasl_xoauth2(const char *user, const Secret *token);     /* what Google had before that */
