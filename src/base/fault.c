/* fault.c - counts passes of the point that IMAPFS_FAULT names. */
#include "imapfs/base/fault.h"

#include <errno.h>
#include <glib.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool fault_enabled;

static struct {
    pthread_mutex_t lock;
    char *point; /* "*" for all */
    long left;   /* passes until it happens */
    int err;     /* 0: kill */
} armed = {.lock = PTHREAD_MUTEX_INITIALIZER};

static const struct {
    const char *name;
    int err;
} fault_kinds[] = {{"kill", 0}, {"EIO", EIO}, {"ENOSPC", ENOSPC}, {"EINTR", EINTR}};

void fault_init(void)
{
    const char *spec = getenv("IMAPFS_FAULT");
    if (!spec)
        return;
    const char *colon = strchr(spec, ':');
    const char *equals = strchr(spec, '=');
    if (!colon || !equals || equals < colon)
        g_error("IMAPFS_FAULT: expected POINT:N=kill|EIO|ENOSPC|EINTR");
    for (gsize i = 0; i < G_N_ELEMENTS(fault_kinds); i++) {
        if (strcmp(equals + 1, fault_kinds[i].name) != 0)
            continue;
        g_free(armed.point);
        armed.point = g_strndup(spec, (gsize)(colon - spec));
        armed.left = strtol(colon + 1, NULL, 10);
        armed.err = fault_kinds[i].err;
        fault_enabled = true;
        return;
    }
    g_error("IMAPFS_FAULT: unknown kind %s", equals + 1);
}

int fault_hit(const char *point)
{
    pthread_mutex_lock(&armed.lock);
    bool ours = strcmp(armed.point, "*") == 0 || strcmp(armed.point, point) == 0;
    bool now = ours && armed.left > 0 && --armed.left == 0;
    pthread_mutex_unlock(&armed.lock);
    if (!now)
        return 0;
    if (armed.err == 0)
        kill(getpid(), SIGKILL);
    return armed.err;
}
