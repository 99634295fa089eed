/* layouts.c - the last few layouts, per thread.
 *
 * A walk asks for the same message's layout once for its listing and once for every file in it.
 * Structures are immutable, so an entry is never wrong; a thread's entries are its own, so there is
 * no lock. */
#include <errno.h>
#include <string.h>

#include "imapfs/base/log.h"
#include "imapfs/sync/structure_text.h"
#include "node.h"

#define LAYOUTS_KEPT 16

typedef struct {
    guint64 serial; /* of the tree; 0: unused */
    guint32 box, uid;
    Layout *layout;
} Kept;

typedef struct {
    Kept kept[LAYOUTS_KEPT]; /* most recently used first */
} Layouts;

static void layouts_free(gpointer data)
{
    Layouts *layouts = data;

    for (guint i = 0; i < LAYOUTS_KEPT; i++)
        layout_free(layouts->kept[i].layout);
    g_free(layouts);
}

static GPrivate of_thread = G_PRIVATE_INIT(layouts_free);

static Layouts *layouts_get(void)
{
    Layouts *layouts = g_private_get(&of_thread);

    if (!layouts)
        g_private_set(&of_thread, layouts = g_new0(Layouts, 1));
    return layouts;
}

/* Moves the entry at an index to the front. */
static Kept *bring_forward(Layouts *layouts, guint index)
{
    Kept entry = layouts->kept[index];

    memmove(layouts->kept + 1, layouts->kept, index * sizeof(Kept));
    layouts->kept[0] = entry;
    return &layouts->kept[0];
}

static Kept *find(Layouts *layouts, guint64 serial, guint32 box, guint32 uid)
{
    for (guint i = 0; i < LAYOUTS_KEPT; i++) {
        const Kept *kept = &layouts->kept[i];
        if (kept->serial == serial && kept->box == box && kept->uid == uid)
            return bring_forward(layouts, i);
    }
    return NULL;
}

/* NULL when the structure is of no use. */
static Layout *build(const char *text, guint32 box, guint32 uid)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(BodyPart) body = NULL;
    g_autoptr(Layout) layout = NULL;

    if (!*text)
        return NULL;
    body = structure_text_parse(text, &error);
    if (!body) {
        log_warn("tree", "structure of %u/%u: %s", box, uid, error->message);
        return NULL;
    }
    layout = layout_new(body);
    if (layout->nodes->len > SLOT_LAYOUT_MAX) {
        log_warn("tree", "structure of %u/%u: %u parts are too many to show", box, uid,
                 layout->nodes->len);
        return NULL;
    }
    return g_steal_pointer(&layout);
}

TreeStatus layout_load(const Call *call, guint32 box, guint32 uid, const Layout **out)
{
    Layouts *layouts = layouts_get();
    Kept *kept = find(layouts, call->tree->serial, box, uid);

    if (!kept) {
        g_autofree char *text = store_structure_get(call->reader, box, uid);

        if (!text)
            return call_need(call, NEED_STRUCTURE, box, uid);
        kept = bring_forward(layouts, LAYOUTS_KEPT - 1);
        layout_free(kept->layout);
        *kept = (Kept){call->tree->serial, box, uid, build(text, box, uid)};
    }
    *out = kept->layout ? kept->layout : call->tree->bare;
    return TREE_OK;
}

void layouts_forget(Tree *tree)
{
    Layouts *layouts = layouts_get();

    for (guint i = 0; i < LAYOUTS_KEPT; i++) {
        Kept *kept = &layouts->kept[i];
        if (kept->serial != tree->serial)
            continue;
        layout_free(kept->layout);
        memset(kept, 0, sizeof(*kept));
    }
}
