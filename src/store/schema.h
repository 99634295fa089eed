/* schema.h - versions of the database files, and the way from each to the next.
 *
 * Private to the store. */
#pragma once
#include "db.h"

typedef struct {
    guint32 application_id;   /* of the file's header: whose file it is */
    const char *const *steps; /* SQL; steps[i] takes version i to i + 1 */
    int n_steps;              /* the version we know */
} Schema;

extern const Schema schema_index, schema_content;

/* Brings the file to the newest version, each step in a transaction of its own. Fails with STORE
 * when the file is another program's or a newer version's; *unknown_out is then true. */
bool schema_migrate(Db *db, const Schema *schema, bool *unknown_out, GError **error);
