/* content_private.h - what the files of content share; private.h has what the index needs of it. */
#pragma once
#include "private.h"

#define CONTENT_BLOB_MAX (64u * 1024) /* up to this it is a row, beyond a file */
#define CONTENT_TEMP_SUFFIX ".tmp"

/* What is to be written is the file that another content is, under one more name. False: that
 * cannot be, nothing was done. */
bool content_write_link(ContentWriter *writer, const ContentTicket *ticket);

/* --- what is open or was used (content_use.c); any thread --- */

/* used_ms: what its row says, or will. True: the first time since it was written. */
bool content_uses_opened(Store *store, guint64 id, gint64 *used_ms);
/* The same of one whose bytes are not read yet. False: something was removed meanwhile. */
bool content_uses_reopened(Store *store, Content *unread, guint64 id, gint64 *used_ms,
                           guint64 removals);
void content_uses_closed(Store *store, Content *content, guint64 id);
/* Before a row goes, in the transaction that takes it out: who has it open and did not read it yet
 * gets its bytes now. */
void content_uses_removing(Store *store, guint64 id);
void content_uses_removed(Store *store); /* when that transaction has ended */
/* Within use_lock: if it is that content, its bytes by the writer's connection. True: they are
 * here. */
bool content_read_before_removal(Content *content, guint64 id);
void content_uses_committed(Store *store, guint64 id); /* stays a while for who waits for it */
void content_uses_mark_bad(Store *store, guint64 id);
bool content_uses_is_bad(Store *store, guint64 id);
/* Whether it must not be evicted now. */
bool content_uses_is_held(Store *store, guint64 id);
/* Puts the times of use into the running transaction. */
bool content_uses_write(Store *store, GError **error);
guint content_uses_pending(Store *store);
