/* box_ops.h - mailboxes that are made, removed and renamed on the server (box_ops.c), and the
 * commands for it (box_commands.c). Private to src/sync. */
#pragma once
#include "replay.h"

/* One operation on its way. */
struct BoxOp {
    Engine *engine;
    LogOp op;
    PoolLease *lease;
    Session *session;
    char *name;   /* that the server knows it by; of MKBOX, that it will */
    char *target; /* of RENBOX */
    char delimiter;
    bool selectable;        /* it may hold messages */
    GHashTable *subscribed; /* of char *: the account's subscribed mailboxes */
    guint in_flight;
    bool waiting; /* for its lease */
    bool claimed, ended;
    Outcome outcome;
    char *reason;
    ImapfsError error;
    GSource *settle; /* again, after the store has failed */
};

/* Sends its commands one after the other, and calls box_op_over() at the end, not from inside. */
void box_commands_start(BoxOp *self);
void box_op_over(BoxOp *self);
/* Keeps the worse outcome. reason: copied. */
void box_op_note(BoxOp *self, Outcome outcome, const char *reason, ImapfsError error);
