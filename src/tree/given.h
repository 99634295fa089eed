/* given.h - names that a person gave, where a message has another.
 *
 * Layer tree, private. In memory, for as long as the mount lives. Any thread. */
#pragma once
#include "imapfs/tree/tree.h"

typedef struct Given Given;
typedef struct Letter Letter; /* letter.h */

typedef enum {
    GIVEN_DIR,    /* of a message's directory, as long as that is in this mailbox */
    GIVEN_OLD,    /* the same, wherever the message is */
    GIVEN_EML,    /* of a message's bytes, as long as it is in this mailbox */
    GIVEN_LETTER, /* of a file that is being written */
    GIVEN_FILE,   /* of its file in a Maildir */
} GivenKind;

typedef struct {
    guint32 number; /* stands in inode numbers */
    GivenKind kind;
    guint32 dir; /* mailbox */
    char *name;
    TreeMessage message; /* not of a letter */
    Letter *letter;
} GivenName;
void given_name_clear(GivenName *name);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(GivenName, given_name_clear)

Given *given_new(void);
void given_free(Given *given);
/* Remembers a name in place of what it meant, whose number it keeps; the oldest is forgotten when
 * there are too many. Returns its number. */
guint32 given_add(Given *given, GivenKind kind, guint32 dir, const char *name,
                  const TreeMessage *message);
guint32 given_add_letter(Given *given, guint32 dir, const char *name, Letter *letter);
void given_forget(Given *given, guint32 number);
/* Copies; out is to be cleared. */
bool given_find(Given *given, guint32 dir, const char *name, GivenName *out);
bool given_get(Given *given, guint32 number, GivenName *out);
