/* ino.h - inode numbers: 17 bits mailbox, 32 bits UID, 15 bits slot.
 *
 * Layer tree. Pure functions. box 0 holds the fixed nodes (root = 1, .imapfs, ...), uid 0 the nodes
 * of a mailbox, slots of a message its files. Ascends with the UID, as FUSE tools that sort by
 * inode number above 10,000 entries then still read in order. */
#pragma once
#include <glib.h>

#define INO_SLOT_BITS 15
#define INO_UID_BITS 32

typedef struct {
    guint32 box, uid, slot;
} Ino;

static inline guint64 ino_pack(guint32 box, guint32 uid, guint32 slot)
{
    return ((guint64)box << (INO_UID_BITS + INO_SLOT_BITS)) | ((guint64)uid << INO_SLOT_BITS) |
           slot;
}
static inline Ino ino_unpack(guint64 ino)
{
    Ino out = {.box = (guint32)(ino >> (INO_UID_BITS + INO_SLOT_BITS)),
               .uid = (guint32)(ino >> INO_SLOT_BITS),
               .slot = (guint32)(ino & ((1u << INO_SLOT_BITS) - 1))};
    return out;
}
