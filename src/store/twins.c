/* twins.c - messages that the server says are one and the same (EMAILID of RFC 8474, Gmail's
 * X-GM-MSGID), as one that was copied: what is kept of one is copied to another.
 *
 * The rule: the id alone is not believed, the size that was told has to be the same as well; and
 * what hangs on section numbers is only the same where the structure is. What a twin cannot give,
 * as it is not there or damaged, is asked of the server as if there was no twin. */
#include "content_private.h"

#include <zlib.h>
#include "imapfs/base/error.h"

/* A server may give one id to all it has: no more of them are looked at. */
#define TWINS_MAX 64
#define SLICE (256u * 1024)

typedef struct {
    guint32 box, uid;
} Twin;

/* --- who they are --- */

static void find_same(StoreReader *reader, guint32 box, const StoreMsg *msg, GArray *out)
{
    static const char sql[] =
        "SELECT box, uid, size FROM msg INDEXED BY msg_emailid WHERE emailid = ? LIMIT ?";
    Query query;
    if (!reader_open_query(reader, &query, sql))
        return;
    query_text(&query, msg->emailid);
    query_int(&query, TWINS_MAX);
    while (query_step(&query)) {
        Twin twin = {(guint32)query_get_int(&query, 0), (guint32)query_get_int(&query, 1)};
        if ((guint64)query_get_int(&query, 2) == msg->size &&
            (twin.box != box || twin.uid != msg->uid))
            g_array_append_val(out, twin);
    }
    reader_close_query(reader, &query);
}

/* Of Twin; caller unrefs. */
static GArray *twins_of(StoreReader *reader, guint32 box, guint32 uid)
{
    GArray *out = g_array_new(FALSE, FALSE, sizeof(Twin));
    StoreMsg msg = {0};
    if (store_msg_get(reader, box, uid, &msg) && msg.emailid != NULL && msg.emailid[0] != '\0' &&
        msg.size > 0)
        find_same(reader, box, &msg, out);
    store_msg_clear(&msg);
    return out;
}

static bool has_structure(StoreReader *reader, const Twin *twin, const char *text)
{
    g_autofree char *other = store_structure_get(reader, twin->box, twin->uid);
    return g_strcmp0(text, other) == 0;
}

/* Those whose sections are the same, too. */
static GArray *twins_by_structure(StoreReader *reader, guint32 box, guint32 uid)
{
    g_autofree char *text = NULL;
    GArray *twins = twins_of(reader, box, uid);
    if (twins->len > 0)
        text = store_structure_get(reader, box, uid);
    for (guint i = twins->len; i > 0; i--)
        if (text == NULL || !has_structure(reader, &g_array_index(twins, Twin, i - 1), text))
            g_array_remove_index(twins, i - 1);
    return twins;
}

/* --- structures and sizes --- */

char *store_twin_structure(StoreReader *reader, guint32 box, guint32 uid)
{
    g_autoptr(GArray) twins = twins_of(reader, box, uid);
    char *text = NULL;
    for (guint i = 0; i < twins->len && text == NULL; i++) {
        const Twin *twin = &g_array_index(twins, Twin, i);
        text = store_structure_get(reader, twin->box, twin->uid);
    }
    return text;
}

static void bind_both(Query *query, guint32 box, guint32 uid, const Twin *twin)
{
    query_int(query, box);
    query_int(query, uid);
    query_int(query, twin->box);
    query_int(query, twin->uid);
}

/* Whether it knows a size that this message's own row of sizes does not. */
static bool knows_more(StoreReader *reader, guint32 box, guint32 uid, const Twin *twin)
{
    static const char sql[] =
        "SELECT 1 FROM size AS theirs WHERE box = ?3 AND uid = ?4 AND NOT EXISTS (SELECT 1 FROM"
        " size WHERE box = ?1 AND uid = ?2 AND kind = theirs.kind AND section = theirs.section)"
        " LIMIT 1";
    Query query;
    if (!reader_open_query(reader, &query, sql))
        return false;
    bind_both(&query, box, uid, twin);
    bool found = query_step(&query);
    return reader_close_query(reader, &query) && found;
}

static bool find_sizes(StoreReader *reader, guint32 box, guint32 uid, Twin *out)
{
    g_autoptr(GArray) twins = twins_by_structure(reader, box, uid);
    for (guint i = 0; i < twins->len; i++) {
        *out = g_array_index(twins, Twin, i);
        if (knows_more(reader, box, uid, out))
            return true;
    }
    return false;
}

bool store_twin_has_sizes(StoreReader *reader, guint32 box, guint32 uid)
{
    Twin twin;
    return find_sizes(reader, box, uid, &twin);
}

bool store_twin_copy_sizes(StoreTxn *txn, guint32 box, guint32 uid, GError **error)
{
    static const char sql[] =
        "INSERT INTO size(box, uid, kind, section, size, proven)"
        " SELECT ?1, ?2, kind, section, size, proven FROM size WHERE box = ?3 AND uid = ?4"
        " ON CONFLICT DO NOTHING";
    Twin twin;
    Query query;
    if (!find_sizes(&txn->reader, box, uid, &twin))
        return true;
    if (!txn_open_query(txn, &query, sql, error))
        return false;
    bind_both(&query, box, uid, &twin);
    return txn_run_query(txn, &query, error);
}

/* --- contents --- */

Content *content_open_twin(StoreReader *reader, const ContentKey *key)
{
    bool of_part = key->section[0] != '\0';
    g_autoptr(GArray) twins = of_part ? twins_by_structure(reader, key->box, key->uid)
                                      : twins_of(reader, key->box, key->uid);
    Content *content = NULL;
    for (guint i = 0; i < twins->len && content == NULL; i++) {
        const Twin *twin = &g_array_index(twins, Twin, i);
        const ContentKey theirs = {twin->box, twin->uid, key->kind, key->section};
        content = content_open(reader, &theirs);
    }
    return content;
}

static bool copy_bytes(Store *store, Content *from, ContentWriter *to, GError **error)
{
    const ContentTicket ticket = content_ticket(from);
    g_autofree guint8 *slice = g_malloc(SLICE);
    guint32 crc = (guint32)crc32_z(0, NULL, 0);
    for (guint64 done = 0; done < ticket.size;) {
        gssize n = content_read(from, slice, SLICE, done, error);
        if (n < 0 || !content_write(to, slice, (gsize)n, error))
            return false;
        crc = (guint32)crc32_z(crc, slice, (gsize)n);
        done += (guint64)n;
    }
    if (crc == ticket.crc)
        return true;
    content_drop(store, ticket.id, "its checksum is wrong");
    g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_STORE, "content: its checksum is wrong");
    return false;
}

bool content_copy(Store *store, Content *from, const ContentKey *to, GError **error)
{
    const ContentTicket ticket = content_ticket(from);
    ContentWriter *writer = content_begin(store, to, 0, error);
    if (writer == NULL)
        return false;
    if ((ticket.is_file && content_write_link(writer, &ticket)) ||
        copy_bytes(store, from, writer, error))
        return content_commit(writer, error);
    content_abort(writer);
    return false;
}
