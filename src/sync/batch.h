/* batch.h - the inside of a batch: what its files share. batch.c begins one and asks what the
 * server has afterwards; flags.c, place.c, expunge.c and append.c say what is sent of a kind, and
 * what its answers mean; settle.c records what it came to. */
#pragma once
#include "replay.h"

/* What one kind of operation does. Every command holds the batch (batch_command_new); when the last
 * of a wave is over, wave_end either sends more or calls batch_settle(). */
typedef struct {
    void (*send)(Batch *batch);
    void (*wave_end)(Batch *batch);
    /* Before it is recorded: makes one outcome of all that is known of an item. Again when the
     * store failed: it must come to the same. */
    void (*judge)(const Batch *batch, Item *item);
    /* OUTCOME_DONE, in the transaction. */
    bool (*record)(Batch *batch, StoreTxn *txn, const Item *item, GError **error);
    bool durable; /* what is recorded must outlive a loss of power before anything else is done */
    bool
        takes_away; /* what the server says went may be this batch's doing: see replay_holds_back */
} BatchKind;
extern const BatchKind flags_kind, place_kind, expunge_kind, append_kind;

struct Batch {
    const BatchKind *kind;
    Mailbox *mailbox; /* a reference */
    guint32 box;
    guint generation;
    guint32 view_uidnext; /* what the session had been told of when it began; 0: of nothing */
    GPtrArray *ops;       /* of LogOp */
    GPtrArray *items;     /* of Item */
    GHashTable *by_uid;   /* uid -> Item; nothing of APPEND */
    guint in_flight;      /* commands */
    bool lost;
    GSource *settle;    /* the store failed: settled again later */
    gint64 later_ns;    /* when it is tried again */
    guint refs;         /* commands, and the mailbox */
    bool look_again;    /* answers did not fit together */
    bool settled;       /* recorded: nothing is held back any more */
    LogEffects effects; /* of recording it */

    /* FLAGS */
    GPtrArray *again;   /* of FlagStore: halves of what was refused */
    GPtrArray *refused; /* of FlagStore: of this wave, with more than one member */
    guint stores;       /* commands: STOREs; what comes before their end is not our answer */

    /* MOVE, COPY, EXPUNGE */
    GPtrArray *groups; /* of GPtrArray of Item: to be sent in the next wave */
    GPtrArray *halves; /* the same: what was refused together */
    bool asked;        /* this wave is the question what is there */

    /* MOVE, COPY, APPEND */
    char *to_name;    /* canonical, or as the server knows it while it is being renamed */
    bool by_copy;     /* UID COPY is what is sent, also for a MOVE where there is none */
    bool to_trash;    /* a MOVE is a deletion */
    bool to_known;    /* where it goes has a MAILBOXID */
    bool target_gone; /* the server said TRYCREATE */
    bool uidplus;     /* EXPUNGE: there is UID EXPUNGE */
    guint next;       /* APPEND: of the items */
    PoolLease *lease;
    Session *session;
};

/* The session that it began on is still the mailbox's. */
bool batch_can_send(const Batch *batch);
/* A command of the batch; text, wants and what is called then are the caller's to fill in. Its
 * on_done ends with batch_command_over(). */
Command *batch_command_new(Batch *batch, CommandDone done, gpointer data);
void batch_command_over(Batch *batch);
/* What the server says that concerns all: patience. */
void batch_note_answer(Batch *batch, Outcome outcome, const Response *tagged);
/* Asks what the server has of these messages: Item.told or .silent then (or neither). */
void batch_ask(Batch *batch, const UidSet *uids);
/* Before something is changed, on servers that work on an old view of the mailbox. */
void batch_ask_for_news(Batch *batch);
/* Groups of items that make a command each: as many UIDs as a line takes; what was refused before
 * goes alone. used: octets of the line besides the set. */
GPtrArray *batch_group(const Batch *batch, gsize used);
/* Of each group that was refused (batch->halves): two, of those of it that are still there. */
void batch_halve_refused(Batch *batch);
/* Every command was answered, or lost. */
void batch_settle(Batch *batch);
void batch_unref(Batch *batch);
bool batch_is_still_ours(const Batch *batch);

/* --- telling (tell.c) --- */

/* What it came to, once that is recorded. */
void batch_tell(Batch *batch);
/* What is shown of its message is another thing now than while it was pending. */
void tell_op_changed(Engine *engine, const LogOp *op);
