/* keyring.h - passwords of the Secret Service (GNOME Keyring, KWallet, KeePassXC).
 *
 * Layer ctl. Any thread; blocks up to 30 s, as a locked keyring asks its user. */
#pragma once
#include "imapfs/base/secret.h"

/* The item with service=imap server=HOST user=USER, as `secret-tool store` makes it. NULL: none, no
 * such service, or built without libsecret. */
Secret *keyring_find(const char *host, const char *user);
