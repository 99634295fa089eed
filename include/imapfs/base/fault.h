/* fault.h - named points at which tests stop the program or make an operation fail.
 *
 * Layer base. Any thread. FAULT("store.commit") stands beside each durable step. Off, it costs one
 * load. IMAPFS_FAULT="store.commit:3=kill" kills the process (SIGKILL) the third time the point is
 * passed; "=EIO", "=ENOSPC" make fault_errno() return that errno there, once; "=EIO+" from then on.
 * "=power" is a kill after which what was written to the databases and not synced is not there, as
 * when the machine loses its power. "*:17=kill" counts all points but the fine ones, "disk.*:17"
 * all that begin so. Standard error is told at which point it happened.
 *
 * Fine points are counted only when they are named: disk.write, disk.sync, disk.truncate (SQLite's
 * calls), wire.out and wire.in (a pass is a byte). */
#pragma once
#include <stdbool.h>
#include <stddef.h>

extern bool fault_enabled;
void fault_init(void); /* reads IMAPFS_FAULT; called once by main */
int fault_hit(const char *point);

/* 0, or the errno that the operation at this point shall fail with. */
static inline int fault_errno(const char *point)
{
    return fault_enabled ? fault_hit(point) : 0;
}
#define FAULT(point) ((void)fault_errno(point))

/* --- for those who bring the fine points --- */

/* Whether a point that begins so is named: else nothing is put in the way. */
bool fault_names(const char *prefix);
/* How many of the next n passes of a point come before the one at which it happens; and that so
 * many, not more than these, were passed. */
size_t fault_room(const char *point, size_t n);
void fault_passed(const char *point, size_t n);
/* The kind is "power"; and what is called before that kill. */
bool fault_is_power(void);
void fault_set_power_loss(void (*lose)(void));
