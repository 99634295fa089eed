/* given.c - names that a person gave, where a message has another.
 *
 * "letter.eml" in a mailbox is a message as soon as it is closed, and that has a name of its own;
 * who wrote it looks for what he wrote. The same of the name that a message was moved to. Bounded:
 * when there are too many, the oldest is forgotten. */
#include "given.h"

#include <pthread.h>
#include <string.h>

#include "imapfs/base/limits.h"
#include "letter.h"

/* What is kept of one: the tables hold its name, the queue its link. */
typedef struct {
    GivenName name; /* first */
    GList link;
} Kept;

struct Given {
    pthread_mutex_t lock;
    GHashTable *by_place; /* GivenName by dir and name */
    GHashTable *by_number;
    GQueue age; /* of Kept, the oldest first */
    guint32 last;
};

static guint place_hash(gconstpointer key)
{
    const GivenName *name = key;

    return g_str_hash(name->name) ^ name->dir;
}

static gboolean place_equal(gconstpointer a, gconstpointer b)
{
    const GivenName *x = a, *y = b;

    return x->dir == y->dir && strcmp(x->name, y->name) == 0;
}

void given_name_clear(GivenName *name)
{
    g_free(name->name);
    letter_unref(name->letter);
    memset(name, 0, sizeof(*name));
}

static void given_name_free(gpointer data)
{
    given_name_clear(data);
    g_free(data);
}

Given *given_new(void)
{
    Given *given = g_new0(Given, 1);

    pthread_mutex_init(&given->lock, NULL);
    given->by_place = g_hash_table_new(place_hash, place_equal);
    given->by_number = g_hash_table_new(NULL, NULL);
    return given;
}

void given_free(Given *given)
{
    GList *link;

    g_hash_table_unref(given->by_place);
    g_hash_table_unref(given->by_number);
    while ((link = g_queue_pop_head_link(&given->age)))
        given_name_free(link->data);
    pthread_mutex_destroy(&given->lock);
    g_free(given);
}

/* Takes it out; the caller frees it when the lock is not held. */
static GivenName *take_out(Given *given, GivenName *name)
{
    if (!name)
        return NULL;
    if (g_hash_table_lookup(given->by_place, name) == name)
        g_hash_table_remove(given->by_place, name);
    g_hash_table_remove(given->by_number, GUINT_TO_POINTER(name->number));
    g_queue_unlink(&given->age, &((Kept *)name)->link);
    return name;
}

/* Takes what is in it. */
static guint32 add(Given *given, const GivenName *made)
{
    Kept *kept = g_new0(Kept, 1);
    GivenName *name = &kept->name, *old, *oldest = NULL;
    guint32 number;

    *name = *made;
    kept->link.data = kept;

    pthread_mutex_lock(&given->lock);
    old = take_out(given, g_hash_table_lookup(given->by_place, name));
    if (given->age.length >= LIMIT_GIVEN_NAMES)
        oldest = take_out(given, given->age.head->data);
    number = name->number = old ? old->number : ++given->last;
    g_hash_table_add(given->by_place, name);
    g_hash_table_insert(given->by_number, GUINT_TO_POINTER(number), name);
    g_queue_push_tail_link(&given->age, &kept->link);
    pthread_mutex_unlock(&given->lock);
    g_clear_pointer(&old, given_name_free);
    g_clear_pointer(&oldest, given_name_free);
    return number;
}

guint32 given_add(Given *given, GivenKind kind, guint32 dir, const char *name,
                  const TreeMessage *message)
{
    const GivenName made = {.kind = kind, .dir = dir, .name = g_strdup(name), .message = *message};

    return add(given, &made);
}

guint32 given_add_letter(Given *given, guint32 dir, const char *name, Letter *letter)
{
    const GivenName made = {
        .kind = GIVEN_LETTER, .dir = dir, .name = g_strdup(name), .letter = letter_ref(letter)};

    return add(given, &made);
}

void given_forget(Given *given, guint32 number)
{
    GivenName *name;

    pthread_mutex_lock(&given->lock);
    name = take_out(given, g_hash_table_lookup(given->by_number, GUINT_TO_POINTER(number)));
    pthread_mutex_unlock(&given->lock);
    g_clear_pointer(&name, given_name_free);
}

static bool copy_out(const GivenName *name, GivenName *out)
{
    if (!name)
        return false;
    *out = *name;
    out->name = g_strdup(name->name);
    if (out->letter)
        letter_ref(out->letter);
    return true;
}

bool given_find(Given *given, guint32 dir, const char *name, GivenName *out)
{
    const GivenName key = {.dir = dir, .name = (char *)name};
    bool found;

    pthread_mutex_lock(&given->lock);
    found = copy_out(g_hash_table_lookup(given->by_place, &key), out);
    pthread_mutex_unlock(&given->lock);
    return found;
}

bool given_get(Given *given, guint32 number, GivenName *out)
{
    bool found;

    pthread_mutex_lock(&given->lock);
    found = copy_out(g_hash_table_lookup(given->by_number, GUINT_TO_POINTER(number)), out);
    pthread_mutex_unlock(&given->lock);
    return found;
}
