/* uid_list.h - UIDs as a server lists them, in any order, gathered into a UidSet.
 *
 * Layer wire, private. A UidSet takes ascending UIDs in constant time and others in linear time,
 * so a hostile order would cost a square; this sorts once instead. */
#pragma once
#include "imapfs/base/uidset.h"

typedef struct UidList UidList;

UidList *uid_list_new(void);
void uid_list_free(UidList *list);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(UidList, uid_list_free)

/* One element, "7" or "7:9" or "9:7"; 0 is ignored as no message has it. */
typedef enum { UID_LIST_OK, UID_LIST_SYNTAX, UID_LIST_FULL } UidListStatus;
UidListStatus uid_list_add(UidList *list, const char *text, gsize length);
UidSet *uid_list_to_set(UidList *list); /* sorts in place; caller frees the set */

/* A whole sequence-set without '*'; NULL on bad syntax or over LIMIT_SET_RANGES. */
UidSet *uid_list_parse(const char *text, gsize length);
