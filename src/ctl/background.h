/* background.h - a daemon whose starter waits until it serves, as sshfs does it.
 *
 * Layer ctl. The fork happens before any thread is made. The child stays in the starter's session,
 * so it may ask at the terminal, until background_ready. */
#pragma once
#include <glib.h>
#include <stdbool.h>

typedef struct {
    int ready_fd; /* the child's end, or -1 */
} Background;

/* In the parent this does not return: it waits for the child to be ready (exit code 0) or to end
 * (the child's code; the child has said why on standard error). false: could not fork. */
bool background_start(Background *background, GError **error);

/* In the child: leaves session, terminal and standard descriptors, and lets the parent go. */
void background_ready(Background *background);
