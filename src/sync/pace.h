/* pace.h - how long a change waits for more to come, in one mailbox. Private to src/sync, and to
 * its tests. Knows no clock: times are monotonic us. */
#pragma once
#include <glib.h>
#include <stdbool.h>

#define PACE_SOON_US (15 * G_GINT64_CONSTANT(1000)) /* a change that comes alone */
#define PACE_GAP_US (200 * G_GINT64_CONSTANT(1000)) /* after it they are no longer one run */
#define PACE_MOST_US G_USEC_PER_SEC                 /* from the first that waits on */

typedef struct {
    gint64 began_us, last_us; /* of the run of changes; 0: there was none yet */
    gint64 first_us;          /* of those that wait; 0: none do */
} Pace;

void pace_note(Pace *pace, gint64 now_us);
bool pace_is_open(const Pace *pace);
/* When those that wait are to be sent. */
gint64 pace_due_us(const Pace *pace);
void pace_end(Pace *pace);
/* Nothing waits, and what comes begins a new run. */
bool pace_is_over(const Pace *pace, gint64 now_us);
