/* fault.h - named points at which tests stop the program or make an operation fail.
 *
 * Layer base. Any thread. FAULT("store.commit") stands beside each durable step. Off, it costs one
 * load. IMAPFS_FAULT="store.commit:3=kill" kills the process (SIGKILL) the third time the point is
 * passed; "=EIO", "=ENOSPC" make fault_errno() return that errno there, once;
 * "*:17=kill" counts all points. */
#pragma once
#include <stdbool.h>

extern bool fault_enabled;
void fault_init(void); /* reads IMAPFS_FAULT; called once by main */
int fault_hit(const char *point);

/* 0, or the errno that the operation at this point shall fail with. */
static inline int fault_errno(const char *point)
{
    return fault_enabled ? fault_hit(point) : 0;
}
#define FAULT(point) ((void)fault_errno(point))
