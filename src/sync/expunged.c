/* expunged.c - which messages the EXPUNGEs of a session are of.
 *
 * EXPUNGE tells a number in a sequence that for sure only the server has. What that seems to be
 * here is a guess, and is asked about: nothing goes by its number alone. It saves asking for all
 * UIDs of the mailbox where there is no QRESYNC. */
#include "sync.h"

#define EXPUNGED_MOST 64 /* their UIDs fit in any command; of more, all are asked for */

void expunged_note(Mailbox *mailbox, guint64 number)
{
    guint32 n = (guint32)MIN(number, G_MAXUINT32);
    if (mailbox->expunged->len <= EXPUNGED_MOST)
        g_array_append_val(mailbox->expunged, n);
}

void expunged_forget(Mailbox *mailbox)
{
    g_array_set_size(mailbox->expunged, 0);
}

/* Each number counts without those before it. */
static UidSet *take_out(UidSet *rows, const GArray *numbers)
{
    g_autoptr(UidSet) out = uidset_new();
    for (guint i = 0; i < numbers->len; i++) {
        guint32 uid = uidset_nth(rows, g_array_index(numbers, guint32, i));
        if (!uid)
            return NULL;
        uidset_remove(rows, uid);
        uidset_add(out, uid);
    }
    return g_steal_pointer(&out);
}

UidSet *expunged_guess(Mailbox *mailbox, guint32 *witness_out)
{
    g_autoptr(GArray) numbers = mailbox->expunged;
    mailbox->expunged = g_array_new(FALSE, FALSE, sizeof(guint32));
    if (numbers->len == 0 || numbers->len > EXPUNGED_MOST || mailbox->exists == 0 ||
        mailbox->partial)
        return NULL;
    g_autoptr(UidSet) rows = store_msg_uids(store_reader(mailbox->engine->store), mailbox->box);
    if (uidset_count(rows) != (guint64)mailbox->exists + numbers->len)
        return NULL;
    UidSet *out = take_out(rows, numbers);
    *witness_out = out ? uidset_nth(rows, 1) : 0;
    return out;
}
