/* ranged.h - a large content of which only parts are here.
 *
 * Layer sync. Any thread. Its bytes arrive as they are wanted, and some ahead of a reader who goes
 * forward. When all are here it becomes an ordinary content of the store; what was opened before
 * stays readable until it is closed.
 *
 * Where base64 turns out to be irregular between its ends, what is where is not known any more:
 * from the first place that is not known on it is fetched and decoded as a stream. Readers wait for
 * that, and bytes that were read stay right. At its end the size may turn out to be smaller: who
 * reads up to the old one waits for it. When it is larger, or bytes were read before that the
 * stream shows to be others, all further reading of what is open is an error; opened again, it is
 * fetched whole.
 */
#pragma once
#include "imapfs/sync/engine.h"

typedef struct Ranged Ranged;

/* The ranged content of that name, or NULL. The caller closes it. The first time counts as read, as
 * engine_read() of others. */
Ranged *engine_ranged(Engine *engine, const ContentKey *key);
/* Whether readers were given wrong bytes of this content since the mount: what was kept of them is
 * to be forgotten when it is opened. */
bool engine_was_corrected(Engine *engine, const ContentKey *key);
void ranged_close(Ranged *ranged);

guint64 ranged_size(Ranged *ranged); /* as far as it is known */
/* Its last byte, whether that is here or not; false: it is not known. */
bool ranged_last(Ranged *ranged, char *byte_out);
const ContentKey *ranged_key(const Ranged *ranged);

/* Bytes read (short only at the end); RANGED_ABSENT when some of them are not here: they are to be
 * wanted with NEED_RANGE; -1 when they will never be, with an error. */
#define RANGED_ABSENT (-2)
gssize ranged_read(Ranged *ranged, void *buffer, gsize size, guint64 offset, GError **error);
