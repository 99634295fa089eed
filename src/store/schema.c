/* schema.c - versions of the database files, and the way from each to the next.
 *
 * The rule: a step that was released is never edited; a change is a new step at the end. */
#include "schema.h"

#include "imapfs/base/error.h"

/* Version 1. msg_uid repeats the key of msg without its texts: counting, listing UIDs and finding
 * what has no structure read a twentieth of the pages. */
static const char index_1[] =
    "CREATE TABLE account(id INTEGER PRIMARY KEY CHECK (id = 1), name TEXT NOT NULL,"
    " generation TEXT NOT NULL, next_box INTEGER NOT NULL DEFAULT 1,"
    " boxes_synced_ns INTEGER NOT NULL DEFAULT 0, top_changed_ns INTEGER NOT NULL DEFAULT 0);"
    "CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;"
    "CREATE TABLE box(id INTEGER PRIMARY KEY, parent INTEGER NOT NULL, name TEXT NOT NULL,"
    " leaf TEXT NOT NULL, delimiter INTEGER NOT NULL, attributes INTEGER NOT NULL,"
    " uidvalidity INTEGER NOT NULL DEFAULT 0, uidnext INTEGER NOT NULL DEFAULT 0,"
    " highestmodseq INTEGER NOT NULL DEFAULT 0, n_exists INTEGER NOT NULL DEFAULT 0,"
    " listed INTEGER NOT NULL DEFAULT 0, synced_ns INTEGER NOT NULL DEFAULT 0,"
    " changed_ns INTEGER NOT NULL DEFAULT 0, permanent_flags TEXT,"
    " read_only INTEGER NOT NULL DEFAULT 0);"
    "CREATE UNIQUE INDEX box_name ON box(name);"
    "CREATE UNIQUE INDEX box_leaf ON box(parent, leaf);"
    "CREATE INDEX box_parent ON box(parent);"
    "CREATE TABLE msg(box INTEGER NOT NULL, uid INTEGER NOT NULL, name TEXT NOT NULL,"
    " sender TEXT NOT NULL, subject TEXT NOT NULL, message_id TEXT,"
    " internaldate INTEGER NOT NULL, zone INTEGER NOT NULL, size INTEGER NOT NULL,"
    " flags TEXT NOT NULL, modseq INTEGER NOT NULL, emailid TEXT,"
    " has_structure INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (box, uid)) WITHOUT ROWID;"
    "CREATE INDEX msg_uid ON msg(box, uid, has_structure);"
    "CREATE TABLE structure(box INTEGER NOT NULL, uid INTEGER NOT NULL, text TEXT NOT NULL,"
    " PRIMARY KEY (box, uid)) WITHOUT ROWID;"
    "CREATE TABLE size(box INTEGER NOT NULL, uid INTEGER NOT NULL, kind INTEGER NOT NULL,"
    " section TEXT NOT NULL, size INTEGER NOT NULL,"
    " PRIMARY KEY (box, uid, kind, section)) WITHOUT ROWID;";

/* Version 2: the write-back log. What EXAMINE had said of flags is forgotten: it says that of every
 * mailbox. */
static const char index_2[] =
    "CREATE TABLE log(seq INTEGER PRIMARY KEY AUTOINCREMENT, kind INTEGER NOT NULL,"
    " state INTEGER NOT NULL DEFAULT 0, box INTEGER NOT NULL, uid INTEGER NOT NULL,"
    " uidvalidity INTEGER NOT NULL, plus TEXT NOT NULL, minus TEXT NOT NULL,"
    " attempts INTEGER NOT NULL DEFAULT 0, next_try_ns INTEGER NOT NULL DEFAULT 0,"
    " logged_ns INTEGER NOT NULL, changed_ns INTEGER NOT NULL DEFAULT 0, reason TEXT,"
    " mailbox TEXT NOT NULL, mailboxid TEXT, name TEXT NOT NULL, message_id TEXT, emailid TEXT,"
    " internaldate INTEGER NOT NULL, size INTEGER NOT NULL);"
    "CREATE INDEX log_msg ON log(box, uid);"
    "CREATE INDEX log_state ON log(state, box);"
    "CREATE TABLE local_flag(box INTEGER NOT NULL, uid INTEGER NOT NULL, plus TEXT NOT NULL,"
    " minus TEXT NOT NULL, PRIMARY KEY (box, uid)) WITHOUT ROWID;"
    "CREATE INDEX msg_emailid ON msg(emailid) WHERE emailid IS NOT NULL;"
    "ALTER TABLE box ADD COLUMN mailboxid TEXT;"
    "UPDATE box SET read_only = 0, permanent_flags = NULL;";

/* Version 3: changes of all kinds. pending: messages that the server has not numbered; what places
 * one is the row of log with that to_n. hidden: messages that are done with here, but are still in
 * the mailbox. went: where a message is now. log_hides repeats what is hidden by the log, so that a
 * listing need not read the rest; 1 and 3: MOVE and EXPUNGE. */
static const char index_3[] =
    "ALTER TABLE box ADD COLUMN local INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE box ADD COLUMN doomed INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE log ADD COLUMN to_box INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE log ADD COLUMN to_n INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE log ADD COLUMN target TEXT;"
    "ALTER TABLE log ADD COLUMN shown TEXT;"
    "ALTER TABLE log ADD COLUMN fence_uidvalidity INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE log ADD COLUMN fence_uidnext INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE log ADD COLUMN after_seq INTEGER NOT NULL DEFAULT 0;"
    "CREATE INDEX log_hides ON log(box, uid, state) WHERE kind IN (1, 3);"
    "CREATE INDEX log_to_box ON log(to_box, to_n) WHERE to_box != 0;"
    "CREATE INDEX log_to_n ON log(to_n) WHERE to_n != 0;"
    "CREATE INDEX log_after ON log(after_seq) WHERE after_seq != 0;"
    "CREATE TABLE pending(n INTEGER PRIMARY KEY AUTOINCREMENT, from_box INTEGER NOT NULL,"
    " from_uid INTEGER NOT NULL, spooled INTEGER NOT NULL);"
    "CREATE INDEX pending_from ON pending(from_box, from_uid) WHERE from_box != 0;"
    "CREATE TABLE hidden(box INTEGER NOT NULL, uid INTEGER NOT NULL, PRIMARY KEY (box, uid))"
    " WITHOUT ROWID;"
    "CREATE TABLE went(box INTEGER NOT NULL, uid INTEGER NOT NULL, to_box INTEGER NOT NULL,"
    " to_uid INTEGER NOT NULL, PRIMARY KEY (box, uid)) WITHOUT ROWID;"
    "CREATE INDEX went_to ON went(to_box, to_uid);";

/* Version 4: of the Maildir view. */
static const char index_entries[] =
    "CREATE TABLE entries(box INTEGER PRIMARY KEY, changed_ns INTEGER NOT NULL);";

/* Version 5: mailboxes that are made, removed and renamed here. What is doomed has its name no
 * more. 5 and above: MKBOX, RMBOX, RENBOX. */
static const char index_names[] =
    "ALTER TABLE box ADD COLUMN wire_name TEXT;"
    "ALTER TABLE box ADD COLUMN rights TEXT;"
    "UPDATE box SET wire_name = name;"
    "DROP INDEX box_name;"
    "DROP INDEX box_leaf;"
    "CREATE UNIQUE INDEX box_name ON box(name) WHERE doomed = 0;"
    "CREATE UNIQUE INDEX box_leaf ON box(parent, leaf) WHERE doomed = 0;"
    "CREATE INDEX box_wire_name ON box(wire_name);"
    "CREATE INDEX log_boxes ON log(kind) WHERE kind >= 5;";

/* Version 6: what goes to a mailbox that left LIST waits for it. */
static const char index_targets[] = "ALTER TABLE log ADD COLUMN to_mailboxid TEXT;";

/* Version 7: whether a size is known from when all of it was here. Of those before, nobody knows.
 */
static const char index_proven[] = "ALTER TABLE size ADD COLUMN proven INTEGER NOT NULL DEFAULT 0;";

static const char *const index_steps[] = {index_1,     index_2,       index_3,     index_entries,
                                          index_names, index_targets, index_proven};
const Schema schema_index = {0x696d6678 /* "imfx" */, index_steps, G_N_ELEMENTS(index_steps)};

/* Version 1. state.generation ties the file to one index: ids of another mean other messages.
 * place: 0 in blob, 1 a file. used: milliseconds since 1970. */
static const char content_1[] =
    "CREATE TABLE state(id INTEGER PRIMARY KEY CHECK (id = 1), generation TEXT NOT NULL,"
    " bytes INTEGER NOT NULL DEFAULT 0, count INTEGER NOT NULL DEFAULT 0);"
    "CREATE TABLE content(id INTEGER PRIMARY KEY, box INTEGER NOT NULL, uid INTEGER NOT NULL,"
    " kind INTEGER NOT NULL, section TEXT NOT NULL, size INTEGER NOT NULL, crc INTEGER NOT NULL,"
    " place INTEGER NOT NULL, used INTEGER NOT NULL);"
    "CREATE UNIQUE INDEX content_key ON content(box, uid, kind, section);"
    "CREATE INDEX content_used ON content(used);"
    "CREATE TABLE blob(id INTEGER PRIMARY KEY, bytes BLOB NOT NULL);";

/* Version 2: rows with the same number here, that is not 0, are names of one file. */
static const char content_2[] = "ALTER TABLE content ADD COLUMN same INTEGER NOT NULL DEFAULT 0;"
                                "CREATE INDEX content_same ON content(same) WHERE same != 0;";

static const char *const content_steps[] = {content_1, content_2};
const Schema schema_content = {0x696d6663 /* "imfc" */, content_steps, G_N_ELEMENTS(content_steps)};

static bool run_step(Db *db, const Schema *schema, int step, GError **error)
{
    g_autofree char *mark = g_strdup_printf("PRAGMA application_id = %u; PRAGMA user_version = %d",
                                            schema->application_id, step + 1);
    if (!db_exec(db, "BEGIN IMMEDIATE", error))
        return false;
    if (db_exec(db, schema->steps[step], error) && db_exec(db, mark, error) &&
        db_exec(db, "COMMIT", error))
        return true;
    db_exec(db, "ROLLBACK", NULL);
    g_prefix_error(error, "schema version %d: ", step + 1);
    return false;
}

bool schema_migrate(Db *db, const Schema *schema, bool *unknown_out, GError **error)
{
    gint64 application, version, objects;
    *unknown_out = false;
    if (!db_get_int(db, "PRAGMA application_id", &application, error) ||
        !db_get_int(db, "PRAGMA user_version", &version, error) ||
        !db_get_int(db, "SELECT count(*) FROM sqlite_schema", &objects, error))
        return false;
    bool blank = application == 0 && version == 0 && objects == 0;
    if (!blank && (application != schema->application_id || version < 1)) {
        *unknown_out = true;
        g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_STORE,
                    "%s: this is another program's database", db->what);
        return false;
    }
    if (version > schema->n_steps) {
        *unknown_out = true;
        g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_STORE,
                    "%s: written by a newer imapfs (schema version %d, this one knows %d)",
                    db->what, (int)version, schema->n_steps);
        return false;
    }
    for (int step = (int)version; step < schema->n_steps; step++)
        if (!run_step(db, schema, step, error))
            return false;
    return true;
}
