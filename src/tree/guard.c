/* guard.c - how many messages were deleted in the last minute.
 *
 * The rule: the last `most` times are enough to know whether one more is one too many. */
#include "imapfs/base/log.h"
#include "node.h"

#define MINUTE_US (60 * (gint64)G_USEC_PER_SEC)

struct Guard {
    guint most, next;
    gint64 *times; /* a ring: next is the oldest */
};

Guard *guard_new(guint most)
{
    Guard *guard = g_new0(Guard, 1);

    guard->most = most;
    guard->times = g_new0(gint64, MAX(most, 1));
    return guard;
}

void guard_free(Guard *guard)
{
    g_free(guard->times);
    g_free(guard);
}

bool guard_exceeds(Guard *guard, gint64 now_us)
{
    gint64 oldest;

    if (!guard->most)
        return false;
    oldest = guard->times[guard->next];
    guard->times[guard->next] = now_us;
    guard->next = (guard->next + 1) % guard->most;
    return oldest && now_us - oldest < MINUTE_US;
}

void guard_tell(Tree *tree, guint n)
{
    g_autofree char *text = NULL;

    log_warn("tree",
             "more than %u messages were deleted within a minute: %u of them %s to be confirmed "
             "(imapfsctl confirm MOUNTPOINT all, or cancel)",
             tree->config.guard, n, n == 1 ? "waits" : "wait");
    text = g_strdup_printf("%u deletions", n);
    engine_tell(tree->config.engine, "held", text);
}
