/* secret.h - bytes that must not be seen: locked in memory, left out of cores, wiped when freed.
 *
 * Layer base. Any thread; a Secret is immutable after it is made, and reference counted because
 * the configuration and several sessions share one. Never passed to a format. */
#pragma once
#include <glib.h>

typedef struct Secret Secret;

/* Copies; the caller wipes its own buffer (secret_wipe). At most 64 KiB, else NULL. */
Secret *secret_new(const char *bytes, gsize length);
Secret *secret_ref(Secret *secret);
void secret_unref(Secret *secret);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Secret, secret_unref)

const char *secret_bytes(const Secret *secret, gsize *length_out); /* borrowed; NUL follows */
void secret_wipe(void *bytes, gsize length);

/* No core dumps of this process, no ptrace by others of the same user (2.3 of the security notes
 * in the README). Called once by main before any secret is read. */
void secret_harden_process(void);
