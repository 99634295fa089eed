/* prompt.h - asks for a password at the terminal.
 *
 * Layer ctl. Any thread, one at a time; blocks until a line was typed. */
#pragma once
#include "imapfs/base/secret.h"
#include <glib.h>
#include <stdbool.h>

/* Whether /dev/tty is there to ask at. */
bool prompt_possible(void);

/* Writes the text and reads a line with echo off. A signal that ends or stops the process does so
 * only after echo is on again; after a stop the question is asked again. NULL with AUTH when there
 * is no terminal, or it ended, or nothing was typed. */
Secret *prompt_password(const char *text, GError **error);
/* Called before the process ends by itself: puts echo on if somebody is being asked. */
void prompt_abort(void);

/* The same as prompt_password at a terminal that is open already. */
Secret *prompt_password_at(int terminal, const char *text, GError **error);
