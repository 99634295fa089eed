/* tunnel_child.h - the process behind a tunnel; private to this layer.
 *
 * Thread: the loop only. Owned by its stream until tunnel_child_abandon(); after that it owns
 * itself, through its sources in the main context, until the process is reaped. */
#pragma once
#include <glib.h>
#include <stdbool.h>

typedef struct TunnelChild TunnelChild;

/* Starts /bin/sh -c command with stdio_fd (not taken) as its standard input and output. */
TunnelChild *tunnel_child_new(const char *command, int stdio_fd, GError **error);

/* Takes. TERM to its process group now, KILL after 2 s to what is left of it. Never waits. */
void tunnel_child_abandon(TunnelChild *child);
