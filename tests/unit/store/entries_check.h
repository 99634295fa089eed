/* entries_check.h - holds store_entries_changed() against what a mailbox shows before and after a
 * transaction: it goes up when a name or its letters changed, and stays when none did. */
#pragma once
#include "store_test.h"

#include "imapfs/store/log.h"
#include "imapfs/wire/flags.h"

typedef struct {
    StoreReader *reader;
    guint32 box;
    GString *names;
} EntriesWalk;

static inline bool entries_add(const StoreMsg *msg, gpointer data)
{
    EntriesWalk *walk = data;
    g_auto(Flags) flags = {0};
    g_autofree char *shown = log_shown_flags(walk->reader, walk->box, msg->uid, msg->flags);
    char letters[FLAGS_LETTERS_MAX];
    flags_parse(&flags, shown);
    flags_letters(&flags, letters);
    g_string_append_printf(walk->names, "%u/%u:%s ", walk->box, msg->uid, letters);
    return true;
}

/* Caller frees. */
static inline char *entries_names(Store *store, guint32 box)
{
    EntriesWalk walk = {store_reader(store), box, g_string_new(NULL)};
    log_shown_each(walk.reader, box, 0, entries_add, &walk);
    walk.box = STORE_BOX_PENDING;
    log_pending_each(walk.reader, box, 0, entries_add, &walk);
    return g_string_free(walk.names, FALSE);
}

typedef struct {
    guint32 box;
    char *names;
    gint64 changed;
} Entries;

static inline Entries entries_before(Store *store, guint32 box)
{
    return (Entries){box, entries_names(store, box),
                     store_entries_changed(store_reader(store), box)};
}

/* Frees what is in `before`. what: for the words of a failure. */
static inline void entries_after(Store *store, Entries *before, const char *what)
{
    g_autofree char *old = g_steal_pointer(&before->names);
    g_autofree char *now = entries_names(store, before->box);
    gint64 changed = store_entries_changed(store_reader(store), before->box);
    if (strcmp(old, now) == 0 ? changed != before->changed : changed <= before->changed)
        fail_msg("%s: box %u was at %" G_GINT64_FORMAT " with \"%s\", is at %" G_GINT64_FORMAT
                 " with \"%s\"",
                 what, before->box, before->changed, old, changed, now);
}
