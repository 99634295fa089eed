/* content.h - bytes of parts and messages that can be fetched again.
 *
 * Layer store. Small contents are packed in content.db, large ones are files named by a number.
 * Readers: any thread. Writers: the loop. A content is visible, whole, when content_commit() has
 * returned true; inside a batch, when content_batch_end() has. Contents are immutable; the least
 * recently used are evicted when the cache is over its size, never one that is open or being
 * written, nor (for 10 s) one that was written and not opened yet. */
#pragma once
#include "imapfs/store/store.h"

typedef struct {
    guint32 box, uid;
    ContentKind kind;
    const char *section;
} ContentKey;

/* --- reading --- */
typedef struct Content Content;
/* NULL when it is not there, or was damaged (it is then dropped, so that it is fetched again).
 * Stays readable until closed, whatever is evicted or expunged; closed before store_close. */
Content *content_open(StoreReader *reader, const ContentKey *key);
Content *content_ref(Content *content);
void content_unref(Content *content);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Content, content_unref)
guint64 content_size(const Content *content);
/* Any thread. Bytes read (short only at the end), or -1 with error STORE: a damaged content is
 * dropped from the cache, so that it is fetched again. */
gssize content_read(Content *content, void *buffer, gsize size, guint64 offset, GError **error);
/* All of them, good as long as it is open; NULL: not in memory. */
const void *content_memory(const Content *content, gsize *size_out);
/* This open was the first since it was written: whoever keeps track of what is read need not hear
 * of later ones. */
bool content_is_first_use(const Content *content);
/* Some content came a moment ago that nobody opened yet. */
bool content_any_unused(Store *store);
bool content_exists(StoreReader *reader, const ContentKey *key); /* no atime update */

/* What a content was opened by, to open it again without a question to the database. It is void
 * when any content, or message, was removed since: content_removals(), asked before the first open,
 * then tells another number. */
typedef struct {
    guint64 id, size;
    gint64 used_ms;
    guint32 crc;
    bool is_file;
} ContentTicket;
guint64 content_removals(Store *store);
ContentTicket content_ticket(const Content *content);
/* NULL: it is void. Bytes are read when they are first asked for: who opens what was read before
 * mostly asks for none. The ticket remembers its use. */
Content *content_reopen(Store *store, ContentTicket *ticket, guint64 removals);

/* --- of messages that are the same (store_twin_structure) --- */

/* The same content of another message that is the same as this one. NULL: none is there. */
Content *content_open_twin(StoreReader *reader, const ContentKey *key);
/* Loop only, as all writing: as content_begin() with its bytes, and content_commit(). A large one
 * is one file with two names, and counted once. */
bool content_copy(Store *store, Content *from, const ContentKey *to, GError **error);

/* --- writing --- */
typedef struct ContentWriter ContentWriter;
/* size_hint: expected bytes, 0 unknown. Error FULL when the disk is. */
ContentWriter *content_begin(Store *store, const ContentKey *key, guint64 size_hint,
                             GError **error);
bool content_write(ContentWriter *writer, const void *bytes, gsize length, GError **error);
/* Makes it visible and records its exact size in the index (store_size_put). Frees the writer, also
 * when it fails. */
bool content_commit(ContentWriter *writer, GError **error);
void content_abort(ContentWriter *writer);

/* A file without a name in the cache's directory, for what is not whole yet: it is gone when it is
 * closed. -1 with error FULL or STORE. */
int content_temp_new(Store *store, GError **error);

/* Many small contents in one transaction: between these, commits are gathered. Loop only. When the
 * end fails, some or all of the batch are not there. */
bool content_batch_begin(Store *store, GError **error);
bool content_batch_end(Store *store, GError **error);

/* Evicts until under the size, about budget_us of work a call; true when there is more to do now.
 */
bool content_evict(Store *store, gint64 budget_us);
void content_stats(Store *store, guint64 *bytes_out, guint64 *count_out);
