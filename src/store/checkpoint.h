/* checkpoint.h - moves what was committed from the logs (WAL) into the database files.
 *
 * Private to the store. A thread of its own, as it syncs to disk and the loop must not. */
#pragma once
#include "db.h"

typedef struct Checkpointer Checkpointer;

Checkpointer *checkpointer_new(void);
/* Adds a file before the first commit to it; writer: whose commits make it grow. */
bool checkpointer_add(Checkpointer *self, const char *path, Db *writer, GError **error);
/* Ends the thread, closes its connections; NULL is fine. Before the writers are closed. */
void checkpointer_free(Checkpointer *self);

/* By the thread that committed on writer. Returns at once, but for a log that grew faster than it
 * can be moved: then it waits for the mover, so that the log is bounded. */
void checkpointer_committed(Checkpointer *self, Db *writer);
