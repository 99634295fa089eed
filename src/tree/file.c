/* file.c - an open file: a content, whole or by ranges, or a text made when it was opened, or a
 * message's flags, or the events.
 *
 * A file holds its content until it is closed, whatever is evicted or expunged meanwhile. Flags and
 * events are the exception: their bytes are made for every read, since the kernel may ask an old
 * open for a page that it will then show to new ones. */
#include <errno.h>
#include <string.h>

#include "imapfs/base/error.h"
#include "imapfs/base/log.h"
#include "imapfs/sync/ranged.h"
#include "letter.h"

/* content and ranged of the file are set once, under the lock. */
typedef struct {
    pthread_mutex_t lock;
    Tree *tree;
    ContentKey key;
    bool arrived, wrong;
} Later;

struct TreeFile {
    gint refs; /* atomic */
    Content *content;
    Ranged *ranged; /* a large content that is not here whole */
    GBytes *text;
    bool is_volatile, is_corrected;
    Tree *flags_of;    /* NULL unless it is a flags file */
    bool again;        /* which was open before */
    Engine *events_of; /* NULL unless it is the events file */
    Letter *letter;    /* NULL unless it becomes a message */
    Later *later;      /* NULL unless it is fetched when it is read */
    bool changes;      /* it was opened to be changed */
    gint memory;       /* atomic: FILE_* */
    guint32 box, uid;
    guint64 owner;
    guint64 size; /* when it was opened */
    guint64 told; /* atomic */
    TreeEntry entry;
};

static TreeFile *file_new(void)
{
    TreeFile *file = g_new0(TreeFile, 1);

    file->refs = 1;
    return file;
}

static TreeFile *file_of_ranged(Ranged *ranged)
{
    TreeFile *file = file_new();

    file->ranged = ranged;
    file->size = ranged_size(ranged);
    return file;
}

TreeFile *file_of_content(Content *content)
{
    TreeFile *file = file_new();

    file->content = content;
    file->size = content_size(content);
    return file;
}

TreeFile *file_of_text(char *text, bool is_volatile)
{
    TreeFile *file = file_new();

    file->size = strlen(text);
    file->text = g_bytes_new_take(text, file->size);
    file->is_volatile = is_volatile;
    return file;
}

bool file_ticket(const TreeFile *file, ContentTicket *out)
{
    if (!file->content || file->is_corrected)
        return false;
    *out = content_ticket(file->content);
    return true;
}

TreeFile *file_of_flags(Tree *tree, guint32 box, guint32 uid, bool again)
{
    TreeFile *file = file_new();

    file->flags_of = tree;
    file->again = again;
    file->box = box;
    file->uid = uid;
    return file;
}

TreeFile *file_of_events(Engine *engine)
{
    TreeFile *file = file_new();

    file->events_of = engine;
    file->size = engine_events_length(engine);
    file->is_volatile = true;
    return file;
}

TreeFile *file_of_letter(Letter *letter)
{
    TreeFile *file = file_new();

    file->letter = letter;
    file->is_volatile = true;
    return file;
}

Letter *file_letter(const TreeFile *file)
{
    return file->letter;
}

bool tree_file_is_letter(const TreeFile *file)
{
    return file->letter;
}

bool tree_file_owes_letter(const TreeFile *file)
{
    return file->letter && letter_owes(file->letter);
}

void tree_file_set_owner(TreeFile *file, guint64 owner)
{
    file->owner = owner;
}

guint64 tree_file_owner(const TreeFile *file)
{
    return file->owner;
}

int tree_file_write(TreeFile *file, const void *bytes, gsize size, guint64 offset)
{
    return letter_write(file->letter, bytes, size, offset);
}

TreeStatus file_open_content(const Call *call, const ContentKey *key, const LayoutNode *part,
                             gint64 encoded_size, TreeFile **file_out)
{
    Content *content = content_open(call->reader, key);
    Ranged *ranged = content ? NULL : engine_ranged(call->tree->config.engine, key);

    if (!content && !ranged)
        return call_need_content(call, key, part, encoded_size);
    if (content && content_is_first_use(content))
        engine_read(call->tree->config.engine, key->box, key->uid, key->kind, key->section);
    *file_out = content ? file_of_content(content) : file_of_ranged(ranged);
    (*file_out)->is_corrected = engine_was_corrected(call->tree->config.engine, key);
    return TREE_OK;
}

/* --- fetched when it is read --- */

void file_note_told(Tree *tree, guint64 told, guint64 is)
{
    if (told != is)
        g_atomic_int_set(&tree->told_sizes, TOLD_WRONG);
    else
        g_atomic_int_compare_and_exchange(&tree->told_sizes, TOLD_UNKNOWN, TOLD_RIGHT);
}

TreeFile *file_of_later(Tree *tree, const ContentKey *key, guint64 told)
{
    TreeFile *file = file_new();
    Later *later = g_new0(Later, 1);

    pthread_mutex_init(&later->lock, NULL);
    later->tree = tree;
    later->key = (ContentKey){key->box, key->uid, CONTENT_RAW, ""};
    file->later = later;
    file->size = told;
    file->is_volatile = true; /* what the kernel keeps of it, it keeps by a size that is exact */
    return file;
}

static void later_free(Later *later)
{
    pthread_mutex_destroy(&later->lock);
    g_free(later);
}

/* It may have been moved since it was opened. */
static void follow(Later *later, StoreReader *reader)
{
    TreeMessage now = {later->key.box, later->key.uid};
    g_auto(StoreMsg) msg = {0};

    if (store_msg_get(reader, now.box, now.uid, &msg))
        return;
    where_went(reader, &now);
    later->key.box = now.box;
    later->key.uid = now.uid;
}

static void take(TreeFile *file, Later *later)
{
    const TreeConfig *config = &later->tree->config;
    StoreReader *reader = store_reader(config->store);

    follow(later, reader);
    file->content = content_open(reader, &later->key);
    if (file->content && content_is_first_use(file->content))
        engine_read(config->engine, later->key.box, later->key.uid, CONTENT_RAW, "");
    if (!file->content)
        file->ranged = engine_ranged(config->engine, &later->key);
    later->arrived = file->content || file->ranged;
    if (!later->arrived)
        return;
    later->wrong =
        (file->content ? content_size(file->content) : ranged_size(file->ranged)) != file->size;
    if (later->wrong) {
        file_note_told(later->tree, 0, 1);
        log_warn("tree", "UID %" G_GUINT32_FORMAT ": the server told a wrong size", later->key.uid);
    }
}

/* 0 when its bytes are here; EAGAIN: not yet; EIO: never for this file. */
static int arrive(TreeFile *file)
{
    Later *later = file->later;
    int err;

    pthread_mutex_lock(&later->lock);
    if (!later->arrived)
        take(file, later);
    err = later->wrong ? EIO : later->arrived ? 0 : EAGAIN;
    pthread_mutex_unlock(&later->lock);
    return err;
}

void file_set_entry(TreeFile *file, const TreeEntry *entry)
{
    file->entry = *entry;
    file->told = file->size;
    entry_set_size(&file->entry, file->size);
}

void file_set_changes(TreeFile *file, guint memory)
{
    file->changes = file->is_volatile = true;
    file_remember(file, memory);
}

bool tree_file_changes(const TreeFile *file)
{
    return file->changes;
}

guint file_memory(const TreeFile *file)
{
    return (guint)g_atomic_int_get(&file->memory);
}

void file_remember(TreeFile *file, guint memory)
{
    g_atomic_int_set(&file->memory, (gint)memory);
}

void tree_file_entry(const TreeFile *file, TreeEntry *out)
{
    *out = file->entry;
    entry_set_size(out, tree_file_size(file));
}

guint64 tree_file_ino(const TreeFile *file)
{
    return file->entry.ino;
}

const void *tree_file_bytes(const TreeFile *file, gsize *size_out)
{
    if (!file->content || file->later || file->is_corrected || file->is_volatile)
        return NULL;
    return content_memory(file->content, size_out);
}

bool tree_file_is_flags(const TreeFile *file)
{
    return file->flags_of && !file->again && !file->is_volatile;
}

TreeFile *tree_file_ref(TreeFile *file)
{
    g_atomic_int_inc(&file->refs);
    return file;
}

void tree_file_close(TreeFile *file)
{
    if (!file || !g_atomic_int_dec_and_test(&file->refs))
        return;
    if (file->letter)
        letter_closed(file->letter);
    g_clear_pointer(&file->letter, letter_unref);
    g_clear_pointer(&file->later, later_free);
    g_clear_pointer(&file->content, content_unref);
    g_clear_pointer(&file->ranged, ranged_close);
    g_clear_pointer(&file->text, g_bytes_unref);
    g_free(file);
}

/* NULL: its message is gone. Caller frees. */
static char *flags_now(const TreeFile *file)
{
    StoreReader *reader = store_reader(file->flags_of->config.store);
    g_auto(StoreMsg) msg = {0};

    if (!store_msg_get(reader, file->box, file->uid, &msg))
        return NULL;
    return flags_text(reader, file->box, &msg);
}

guint64 tree_file_size(const TreeFile *file)
{
    if (file->flags_of) {
        g_autofree char *text = flags_now(file);

        return text ? strlen(text) : 0;
    }
    if (file->letter)
        return letter_size(file->letter);
    if (file->later)
        return file->size;
    return file->ranged ? ranged_size(file->ranged) : file->size;
}

bool tree_file_resized(TreeFile *file)
{
    guint64 size = tree_file_size(file);

    return __atomic_exchange_n(&file->told, size, __ATOMIC_ACQ_REL) != size;
}

bool tree_file_shrank(const TreeFile *file)
{
    return !file->later && file->ranged && ranged_size(file->ranged) < file->size;
}

bool tree_file_corrected(const TreeFile *file)
{
    return file->is_corrected;
}

bool tree_file_volatile(const TreeFile *file)
{
    return file->is_volatile;
}

static gssize copy_out(const char *bytes, gsize length, void *buffer, gsize size, guint64 offset)
{
    if (offset >= length)
        return 0;
    size = MIN(size, length - (gsize)offset);
    memcpy(buffer, bytes + offset, size);
    return (gssize)size;
}

static gssize read_flags(TreeFile *file, void *buffer, gsize size, guint64 offset, int *err_out)
{
    g_autofree char *text = flags_now(file);

    if (!text) {
        *err_out = ESTALE;
        return -1;
    }
    return copy_out(text, strlen(text), buffer, size, offset);
}

static gssize read_events(TreeFile *file, void *buffer, gsize size, guint64 offset)
{
    gsize length = 0;
    g_autofree char *text = engine_events(file->events_of, &length);

    return copy_out(text, length, buffer, size, offset);
}

gssize tree_file_read(TreeFile *file, void *buffer, gsize size, guint64 offset, int *err_out)
{
    g_autoptr(GError) error = NULL;
    gssize n;

    if (file->letter)
        return letter_read(file->letter, buffer, size, offset, err_out);
    if (file->flags_of)
        return read_flags(file, buffer, size, offset, err_out);
    if (file->events_of)
        return read_events(file, buffer, size, offset);
    if (file->text) {
        gsize length = 0;
        const char *bytes = g_bytes_get_data(file->text, &length);
        return copy_out(bytes, length, buffer, size, offset);
    }
    if (file->later && (*err_out = arrive(file)))
        return -1;
    n = file->ranged ? ranged_read(file->ranged, buffer, size, offset, &error)
                     : content_read(file->content, buffer, size, offset, &error);
    if (n == RANGED_ABSENT) {
        *err_out = EAGAIN;
        return -1;
    }
    if (n < 0) {
        log_warn("tree", "read: %s", error->message);
        *err_out = imapfs_error_to_errno(error);
    }
    return n;
}

bool tree_file_last(const TreeFile *file, char *byte_out)
{
    guint64 size = tree_file_size(file);
    int err = 0;

    if (file->later)
        return false; /* nobody goes by its size */
    if (file->ranged)
        return ranged_last(file->ranged, byte_out);
    return size > 0 && tree_file_read((TreeFile *)file, byte_out, 1, size - 1, &err) == 1;
}

/* False: only a range of it is needed. */
static bool need_whole(const TreeFile *file, Need *out)
{
    Later *later = file->later;
    bool whole;

    pthread_mutex_lock(&later->lock);
    whole = !file->ranged;
    if (whole)
        *out = (Need){.kind = NEED_CONTENT,
                      .box = later->key.box,
                      .uid = later->key.uid,
                      .content = CONTENT_RAW,
                      .section = g_strdup(""),
                      .encoded_size = (gint64)file->size};
    pthread_mutex_unlock(&later->lock);
    return whole;
}

void tree_file_need(const TreeFile *file, gsize size, guint64 offset, TreeAsk *ask)
{
    const ContentKey *key;

    need_clear(&ask->need);
    if (file->later && need_whole(file, &ask->need))
        return;
    key = ranged_key(file->ranged);
    ask->need = (Need){.kind = NEED_RANGE,
                       .box = key->box,
                       .uid = key->uid,
                       .content = key->kind,
                       .section = g_strdup(key->section),
                       .offset = offset,
                       .length = size};
}
