/* content_private.h - what the files of content share; private.h has what the index needs of it. */
#pragma once
#include "private.h"

#define CONTENT_BLOB_MAX (64u * 1024) /* up to this it is a row, beyond a file */
#define CONTENT_TEMP_SUFFIX ".tmp"

/* --- what is open or was used (content_use.c); any thread --- */

bool content_uses_opened(Store *store, guint64 id, gint64 used_ms);
void content_uses_closed(Store *store, guint64 id);
void content_uses_committed(Store *store, guint64 id); /* stays a while for who waits for it */
void content_uses_mark_bad(Store *store, guint64 id);
bool content_uses_is_bad(Store *store, guint64 id);
/* Whether it must not be evicted now. */
bool content_uses_is_held(Store *store, guint64 id);
/* Puts the times of use into the running transaction. */
bool content_uses_write(Store *store, GError **error);
guint content_uses_pending(Store *store);
