/* steps.h - what the kinds of steps share: steps.c (flags, operations, the network), place.c
 * (messages that go elsewhere, mailboxes). */
#pragma once
#include "driver.h"

/* A step that changes the store: its change and its number are one transaction. */
typedef struct {
    Driver *driver;
    guint step;
    StoreTxn *txn;
} Change;
bool change_begin(Change *change, Driver *driver, guint step, GError **error);
/* failure: the step's own result (taken), of a kind that leaves the transaction good; it is
 * committed that the step was taken, too. */
bool change_end(Change *change, GError *failure, GError **error);

bool find_box(StoreReader *reader, const char *name, guint32 *id_out, GError **error);

/* Asks again while only the connection is to blame and time is left. */
bool ask_until(Driver *driver, const Need *need, GError **error);

/* --- messages by name: place.c --- */

typedef struct {
    guint32 box, uid; /* as everything names them: perhaps (STORE_BOX_PENDING, n) */
} Named;

/* KEYS of a mailbox: UIDs and ranges of them, =CONTENT (the one "About CONTENT" that is shown
 * there), +K (the K-th that was placed by this script, wherever it is now). BOX "*": in any, and
 * "from BOX" is told. Fails with GONE. */
bool named_find(StoreReader *reader, const char *box, const char *keys, GArray *out /* of Named */,
                GError **error);
/* The same before the step: what is not found is looked for at the server, when that is there. */
void named_look(Driver *driver, const char *box, const char *keys);
/* How many of a subject are shown in all mailboxes. */
guint named_count(StoreReader *reader, const char *subject);

bool step_place(Driver *driver, guint step, char **argv, GError **error);
bool step_expunge(Driver *driver, guint step, char **argv, GError **error);
bool step_append(Driver *driver, guint step, char **argv, GError **error);
bool step_mailbox(Driver *driver, guint step, char **argv, GError **error);
