/* copyuid.h - which message became which (COPYUID, RFC 4315 3).
 *
 * Layer sync. Pure functions. */
#pragma once
#include "imapfs/wire/response.h"

#define COPYUID_MAX 4096 /* pairs */

/* The pairs of a COPYUID in their order, into pairs_out (guint32 source -> guint32 destination, as
 * pointers). False, with nothing taken, when it cannot be believed: counts that differ, the same
 * message twice on either side, a source that was not asked for, more than COPYUID_MAX. */
bool copyuid_read(const Response *response, const UidSet *asked, GHashTable *pairs_out);
