/* progress.h - the line that shows a listing under way.
 *
 * Layer ctl. Any thread. */
#pragma once
#include "imapfs/sync/engine.h"

/* One line without a newline, of at most `width` columns (30 at least); empty when nothing is under
 * way. Caller frees. */
char *progress_line(const EngineProgress *progress, guint width);
