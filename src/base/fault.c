/* fault.c - counts passes of the point that IMAPFS_FAULT names. */
#include "imapfs/base/fault.h"

#include <errno.h>
#include <glib.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef enum { FAULT_KILL, FAULT_POWER, FAULT_ERRNO } FaultKind;

bool fault_enabled;

static struct {
    pthread_mutex_t lock;
    char *point;    /* what a point begins with, or ... */
    bool whole;     /* ... its whole name */
    bool fine;      /* the fine points count, too */
    guint64 left;   /* passes until it happens; 0: it is over */
    bool persisted; /* it happened, and goes on */
    FaultKind kind;
    int err;
    bool persists;
    void (*lose)(void);
} armed = {.lock = PTHREAD_MUTEX_INITIALIZER};

static const struct {
    const char *name;
    FaultKind kind;
    int err;
    bool persists;
} fault_kinds[] = {
    {"kill", FAULT_KILL, 0, false},         {"power", FAULT_POWER, 0, false},
    {"EIO", FAULT_ERRNO, EIO, false},       {"EIO+", FAULT_ERRNO, EIO, true},
    {"ENOSPC", FAULT_ERRNO, ENOSPC, false}, {"ENOSPC+", FAULT_ERRNO, ENOSPC, true},
    {"EINTR", FAULT_ERRNO, EINTR, false},
};

static bool is_fine(const char *point)
{
    return g_str_has_prefix(point, "disk.") || g_str_has_prefix(point, "wire.");
}

static void arm_point(const char *name, gsize length)
{
    armed.whole = name[length - 1] != '*';
    armed.point = g_strndup(name, armed.whole ? length : length - 1);
    armed.fine = is_fine(armed.point);
}

void fault_init(void)
{
    const char *spec = getenv("IMAPFS_FAULT");
    if (!spec)
        return;
    const char *colon = strchr(spec, ':');
    const char *equals = strchr(spec, '=');
    if (!colon || !equals || equals < colon || colon == spec)
        g_error("IMAPFS_FAULT: expected POINT:N=kill|power|EIO[+]|ENOSPC[+]|EINTR");
    for (gsize i = 0; i < G_N_ELEMENTS(fault_kinds); i++) {
        if (strcmp(equals + 1, fault_kinds[i].name) != 0)
            continue;
        g_free(armed.point);
        arm_point(spec, (gsize)(colon - spec));
        armed.left = strtoull(colon + 1, NULL, 10);
        armed.kind = fault_kinds[i].kind;
        armed.err = fault_kinds[i].err;
        armed.persists = fault_kinds[i].persists;
        armed.persisted = false;
        fault_enabled = true;
        return;
    }
    g_error("IMAPFS_FAULT: unknown kind %s", equals + 1);
}

/* With the lock held. */
static bool is_ours(const char *point)
{
    if (!armed.fine && is_fine(point))
        return false;
    return armed.whole ? strcmp(point, armed.point) == 0 : g_str_has_prefix(point, armed.point);
}

int fault_hit(const char *point)
{
    pthread_mutex_lock(&armed.lock);
    bool ours = is_ours(point);
    bool now = ours && armed.left > 0 && --armed.left == 0;
    armed.persisted = armed.persisted || (now && armed.persists);
    bool again = ours && armed.persisted;
    pthread_mutex_unlock(&armed.lock);
    if (!now && !again)
        return 0;
    if (now)
        dprintf(STDERR_FILENO, "IMAPFS_FAULT: at %s\n", point);
    if (armed.kind == FAULT_ERRNO)
        return armed.err;
    if (armed.kind == FAULT_POWER && armed.lose)
        armed.lose();
    kill(getpid(), SIGKILL);
    for (;;)
        pause(); /* the signal may be for another thread to take */
}

bool fault_names(const char *prefix)
{
    return fault_enabled && armed.fine && g_str_has_prefix(armed.point, prefix);
}

size_t fault_room(const char *point, size_t n)
{
    pthread_mutex_lock(&armed.lock);
    size_t room = n;
    if (is_ours(point) && armed.persisted)
        room = 0;
    else if (is_ours(point) && armed.left > 0)
        room = MIN(n, armed.left - 1);
    pthread_mutex_unlock(&armed.lock);
    return room;
}

void fault_passed(const char *point, size_t n)
{
    pthread_mutex_lock(&armed.lock);
    if (is_ours(point) && armed.left > n)
        armed.left -= n;
    pthread_mutex_unlock(&armed.lock);
}

bool fault_is_power(void)
{
    return fault_enabled && armed.kind == FAULT_POWER;
}

void fault_set_power_loss(void (*lose)(void))
{
    armed.lose = lose;
}
