/* oplist.h - the files of .imapfs/queue and .imapfs/failed as one line each.
 *
 * Layer ctl. For a child (child.h): path is the directory. */
#pragma once
#include <glib.h>

int oplist_print(gconstpointer path, int out);

/* "12  queued  +\Flagged -todo  INBOX/NAME.7 (words)" and a newline, from the text of such a file.
 * Caller frees. */
char *oplist_line(const char *name, const char *text);
