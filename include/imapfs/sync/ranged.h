/* ranged.h - a large content of which only parts are here.
 *
 * Layer sync. Any thread. Its size is known exactly; its bytes arrive as they are wanted, and some
 * ahead of a reader who goes forward. When all are here it becomes an ordinary content of the
 * store; what was opened before stays readable until it is closed. */
#pragma once
#include "imapfs/sync/engine.h"

typedef struct Ranged Ranged;

/* The ranged content of that name, or NULL. The caller closes it. */
Ranged *engine_ranged(Engine *engine, const ContentKey *key);
/* Whether readers were told bytes or a size of this content that turned out to be wrong since: what
 * was kept of it is to be forgotten when it is opened. */
bool engine_was_corrected(Engine *engine, const ContentKey *key);
void ranged_close(Ranged *ranged);

guint64 ranged_size(const Ranged *ranged);
const ContentKey *ranged_key(const Ranged *ranged);

/* Bytes read (short only at the end); RANGED_ABSENT when some of them are not here: they are to be
 * wanted with NEED_RANGE; -1 when they will never be, with an error. */
#define RANGED_ABSENT (-2)
gssize ranged_read(Ranged *ranged, void *buffer, gsize size, guint64 offset, GError **error);
