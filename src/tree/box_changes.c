/* box_changes.c - mkdir, rmdir and mv of mailboxes. */
#include <errno.h>

#include "node.h"

int boxes_change(Changing *changing, const Node *dir)
{
    return EPERM;
}
