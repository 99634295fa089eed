/* spool.h - letters that wait to be sent: their bytes, in the state directory.
 *
 * Layer store. A letter is written to a file without a name, and gets its name, its number n, when
 * it is whole and synced (spool_commit); log_append() in a durable transaction then makes it a
 * message. A file that no operation names was never acknowledged, and is unlinked when the mount
 * starts. Lines end with CRLF. Any thread. */
#pragma once
#include "imapfs/store/store.h"

typedef struct Spool Spool;

/* n is unique for ever. Errors: FULL, STORE. */
Spool *spool_new(Store *store, GError **error);
guint32 spool_number(const Spool *spool);
int spool_fd(Spool *spool); /* to be read and written at will, until it is committed; borrowed */
/* Makes CRLF of LF that stand alone, and of CR that do; puts `insert` (or NULL) before the first
 * line; syncs, names, syncs the directory. Errors: TOO_BIG (over LIMIT_LETTER), INVALID (a zero
 * byte, which no server has to take), FULL, STORE. It is not to be committed twice. */
bool spool_commit(Spool *spool, const char *insert, guint64 *size_out, GError **error);
void spool_free(Spool *spool); /* what was not committed is gone */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Spool, spool_free)

/* The committed bytes: a descriptor, the caller's to close; -1 with error GONE, STORE. */
int spool_open(Store *store, guint32 n, GError **error);
/* store_commit() does so when the operation that names it has ended. Nothing happens when it is not
 * there. */
void spool_unlink(Store *store, guint32 n);
/* Of guint32: those that are committed, in no order. Caller frees. NULL with error STORE. */
GArray *spool_numbers(Store *store, GError **error);
