/* fail.h - refusing what the user asked for, in one line.
 *
 * Layer ctl. Any thread. */
#pragma once
#include <glib.h>
#include <stdbool.h>

/* Sets CONFIG with these words; always false. */
bool fail(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);
