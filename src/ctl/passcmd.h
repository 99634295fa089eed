/* passcmd.h - runs the user's command that prints a password, or a token.
 *
 * Layer ctl. Any thread; blocks until the command ended, at most timeout_ms. */
#pragma once
#include "imapfs/base/secret.h"
#include <glib.h>
#include <stdbool.h>

/* The first line of what /bin/sh -c COMMAND prints. option: what messages call it. at_terminal: the
 * command may ask at our terminal (it stays in our process group), and what it says on its standard
 * error is shown when it fails; else it is cut off from both. NULL with AUTH when it fails, prints
 * nothing, too much or too late; the message holds nothing of its output. */
Secret *passcmd_run(const char *option, const char *command, guint timeout_ms, bool at_terminal,
                    GError **error);
