/* pace.c - see pace.h.
 *
 * The rule: what comes alone is sent at once, or as good as. While changes keep coming they are
 * kept together until there is a pause, a longer one the longer that goes on, so that a thousand
 * moves in a loop are a few commands; the first of them waits a second at most. */
#include "pace.h"

void pace_note(Pace *pace, gint64 now_us)
{
    if (!pace->last_us || now_us - pace->last_us >= PACE_GAP_US)
        pace->began_us = now_us;
    pace->last_us = now_us;
    if (!pace->first_us)
        pace->first_us = now_us;
}

bool pace_is_open(const Pace *pace)
{
    return pace->first_us != 0;
}

gint64 pace_due_us(const Pace *pace)
{
    gint64 pause_us = CLAMP((pace->last_us - pace->began_us) / 4, PACE_SOON_US, PACE_GAP_US);
    return MIN(pace->last_us + pause_us, pace->first_us + PACE_MOST_US);
}

void pace_end(Pace *pace)
{
    pace->first_us = 0;
}

bool pace_is_over(const Pace *pace, gint64 now_us)
{
    return !pace->first_us && now_us - pace->last_us >= PACE_GAP_US;
}
