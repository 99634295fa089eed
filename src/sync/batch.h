/* batch.h - the inside of a batch, shared by batch.c (what is sent) and settle.c (what it came to).
 */
#pragma once
#include "replay.h"

struct Batch {
    Mailbox *mailbox; /* a reference */
    guint32 box;
    guint generation;
    GPtrArray *ops;     /* of LogOp */
    GPtrArray *items;   /* of Item */
    GHashTable *by_uid; /* uid -> Item */
    GPtrArray *again;   /* of FlagStore: halves of what was refused */
    GPtrArray *refused; /* of FlagStore: of this wave, with more than one member */
    guint in_flight;    /* commands */
    guint stores;       /* of these, STOREs: what comes before their end is not our answer */
    bool lost;
    GSource *settle; /* the store failed: settled again later */
    guint refs;      /* commands, and the mailbox */
    bool look_again; /* answers did not fit together */
};

/* The session that it began on is still the mailbox's. */
bool batch_can_send(const Batch *batch);
/* Every command was answered, or lost. */
void batch_settle(Batch *batch);
void batch_unref(Batch *batch);
