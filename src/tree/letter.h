/* letter.h - a file in a mailbox while it is written, and how it becomes a message.
 *
 * Layer tree, private. Bytes are kept in the spool. letter.c is the file, letter_log.c what it
 * becomes, letter_head.c what its header says. */
#pragma once
#include <pthread.h>

#include "imapfs/store/spool.h"
#include "node.h"

struct Letter {
    gint refs; /* atomic */
    Tree *tree;
    guint32 dir;   /* the mailbox where it goes */
    guint32 given; /* number of its name; 0: none */
    bool kept;     /* is in a Maildir's tmp/: not its close but its next name makes a message */
    TreeMessage replaces; /* the draft that goes when this one is there; or 0, 0 */
    pthread_mutex_t lock; /* of what follows */
    Spool *spool;
    TreeMessage copied; /* it stands for a copy of this one; or 0, 0 */
    guint64 copied_size;
    bool settled; /* it became a message, or will not: nothing more is taken */
    gint64 mtime; /* seconds; 0: not set */
    char *flags;  /* that the message is to have, in their text form; NULL: the usual */
};
Letter *letter_ref(Letter *letter);
void letter_unref(Letter *letter); /* NULL is fine */
/* Its file is closed: its name is forgotten. */
void letter_closed(Letter *letter);
gssize letter_read(Letter *letter, void *buffer, gsize size, guint64 offset, int *err_out);
guint64 letter_size(Letter *letter);
bool letter_owes(Letter *letter); /* as tree_file_owes_letter() */
/* 0 or an errno. */
int letter_write(Letter *letter, const void *bytes, gsize size, guint64 offset);
int letter_truncate(Letter *letter, guint64 size);
int letter_touch(Letter *letter, gint64 seconds);
int letter_copy(Letter *letter, const TreeMessage *message, guint64 size);
/* A draft, to be written anew. */
TreeStatus letter_open_draft(const Call *call, const Node *node, TreeFile **file_out);
/* A name that a letter was written under, to be written again: another letter. */
TreeStatus letter_open_again(const Call *call, const Node *node, TreeFile **file_out);

/* --- letter_log.c --- */

/* Before the transaction: the bytes are whole and on disk, and what is to be known of them is. */
LetterReady *letter_prepare(Letter *letter, int *err_out);
/* In it. 0 or an errno. */
int letter_log(Changing *changing, LetterReady *ready);
/* After it. Takes. */
void letter_finish(TreeChange *change, LetterReady *ready, bool committed);

/* --- letter_head.c --- */

/* What a letter says of itself. Strings are the caller's (letter_head_clear). */
typedef struct {
    char *from, *subject, *message_id; /* as StoreMsg has them; message_id NULL: none */
} LetterHead;
void letter_head_clear(LetterHead *head);
/* False: it is no message; *why_out says in words. */
bool letter_head_read(int fd, LetterHead *out, const char **why_out);
