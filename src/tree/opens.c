/* opens.c - what was opened before, by inode number: opened again without a question to the store.
 *
 * Contents are immutable, and so is what a number means as long as its message is there. So what
 * was opened stays as it was until any content or message is removed, and then all is forgotten.
 * A search of what was searched before asks for nothing but opens, and these are cheap so. */
#include "node.h"

/* Those that came first: of a walk that is longer, all would miss. */
#define OPENS_KEPT (1u << 17)

typedef struct {
    guint64 number;
    const NodeKind *kind;
    TreeMessage message;
    gint64 internaldate;
    ContentTicket ticket; /* unless it is flags */
} Known;

struct Opens {
    pthread_mutex_t lock;
    guint64 removals; /* content_removals() of all that is known */
    GHashTable *known;
};

Opens *opens_new(void)
{
    Opens *opens = g_new0(Opens, 1);

    pthread_mutex_init(&opens->lock, NULL);
    opens->known = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, g_free);
    return opens;
}

void opens_free(Opens *opens)
{
    g_hash_table_unref(opens->known);
    pthread_mutex_destroy(&opens->lock);
    g_free(opens);
}

/* Within the lock. */
static void forget_older(Opens *opens, guint64 removals)
{
    if (opens->removals >= removals)
        return;
    g_hash_table_remove_all(opens->known);
    opens->removals = removals;
}

TreeFile *opens_open(Tree *tree, guint64 number, guint64 removals, Node *out)
{
    Opens *opens = tree->opens;
    TreeFile *file = NULL;
    Content *content;
    Known *known;

    pthread_mutex_lock(&opens->lock);
    forget_older(opens, removals);
    known = opens->removals == removals ? g_hash_table_lookup(opens->known, &number) : NULL;
    if (known && known->kind == &kind_flags)
        file = file_of_flags(tree, known->message.box, known->message.uid, true);
    else if (known && (content = content_reopen(tree->config.store, &known->ticket, removals)))
        file = file_of_content(content);
    if (file) {
        *out = (Node){.number = number, .ino = ino_unpack(number), .kind = known->kind};
        out->msg.internaldate = known->internaldate;
    }
    pthread_mutex_unlock(&opens->lock);
    return file;
}

void opens_note(Tree *tree, const Node *node, TreeFile *file, guint64 removals)
{
    Opens *opens = tree->opens;
    Known known = {.number = node->number,
                   .kind = node->kind,
                   .message = {node->ino.box, node->ino.uid},
                   .internaldate = node->msg.internaldate};

    if (!node->kind->reopens || node->ino.box == STORE_BOX_PENDING ||
        (node->kind != &kind_flags && !file_ticket(file, &known.ticket)))
        return;
    pthread_mutex_lock(&opens->lock);
    forget_older(opens, removals);
    if (opens->removals == removals && g_hash_table_size(opens->known) < OPENS_KEPT) {
        Known *kept = g_memdup2(&known, sizeof(known));

        g_hash_table_replace(opens->known, &kept->number, kept);
    }
    pthread_mutex_unlock(&opens->lock);
}
