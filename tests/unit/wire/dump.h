/* dump.h - a Response as one line of text, and a stream of bytes as such lines, so that tests
 * compare everything the parser said with what it should have said.
 *
 * Shared by the unit tests and the fuzz targets of layer wire. */
#pragma once
#include <string.h>
#include "imapfs/wire/reader.h"

static inline void dump_bytes(GString *out, const char *name, const void *bytes, gsize length)
{
    static const char hex[] = "0123456789abcdef";
    const guchar *p = bytes;
    g_string_append_printf(out, " %s=\"", name);
    gsize at = out->len;
    g_string_set_size(out, at + 3 * length);
    for (gsize i = 0; i < length; i++) {
        bool plain = p[i] >= 0x20 && p[i] < 0x7f && p[i] != '\\' && p[i] != '"';
        out->str[at++] = plain ? (char)p[i] : '\\';
        if (!plain) {
            out->str[at++] = hex[p[i] >> 4];
            out->str[at++] = hex[p[i] & 15];
        }
    }
    g_string_truncate(out, at);
    g_string_append_c(out, '"');
}

static inline void dump_text(GString *out, const char *name, const char *text)
{
    if (text != NULL)
        dump_bytes(out, name, text, strlen(text));
}

static inline void dump_number(GString *out, const char *name, guint64 number)
{
    if (number != 0)
        g_string_append_printf(out, " %s=%" G_GUINT64_FORMAT, name, number);
}

static inline void dump_uids(GString *out, const char *name, const UidSet *uids)
{
    if (uids == NULL)
        return;
    g_string_append_printf(out, " %s=", name);
    uidset_print(uids, out);
}

static inline void dump_flags(GString *out, const char *name, const Flags *flags)
{
    g_string_append_printf(out, " %s=(", name);
    flags_print(flags, out);
    g_string_append_c(out, ')');
}

static inline void dump_words(GString *out, const char *name, const GPtrArray *words)
{
    if (words == NULL)
        return;
    g_string_append_printf(out, " %s=(", name);
    for (guint i = 0; i < words->len; i++) {
        const char *word = g_ptr_array_index(words, i);
        g_string_append_printf(out, "%s%s", i > 0 ? " " : "", word != NULL ? word : "NIL");
    }
    g_string_append_c(out, ')');
}

static inline void dump_char(GString *out, const char *name, char c)
{
    dump_bytes(out, name, &c, c != '\0' ? 1 : 0);
}

static inline void dump_list(GString *out, const ListItem *item)
{
    g_string_append_printf(out, " attributes=%x", item->attributes);
    dump_char(out, "delimiter", item->delimiter);
    dump_bytes(out, "name", item->name, item->name_length);
}

static inline void dump_status(GString *out, const StatusItem *item)
{
    g_string_append_printf(out, " present=%x", item->present);
    dump_bytes(out, "name", item->name, item->name_length);
    dump_number(out, "messages", item->messages);
    dump_number(out, "uidnext", item->uidnext);
    dump_number(out, "uidvalidity", item->uidvalidity);
    dump_number(out, "unseen", item->unseen);
    dump_number(out, "highestmodseq", item->highestmodseq);
    dump_number(out, "size", item->size);
    dump_text(out, "mailboxid", item->mailboxid);
}

static inline void dump_part(GString *out, const BodyPart *part)
{
    g_string_append_printf(out, " [%s %s/%s]", part->section, part->type, part->subtype);
    for (guint i = 0; part->children != NULL && i < part->children->len; i++)
        dump_part(out, g_ptr_array_index(part->children, i));
}

static inline void dump_body(GString *out, const FetchBody *body)
{
    dump_text(out, body->binary ? "binary" : "body", body->section);
    if (body->has_origin)
        g_string_append_printf(out, "<%" G_GUINT64_FORMAT ">", body->origin);
    g_string_append_printf(out, "{%" G_GUINT64_FORMAT "}", body->length);
    if (body->bytes != NULL) {
        gsize length;
        const void *bytes = g_bytes_get_data(body->bytes, &length);
        dump_bytes(out, "bytes", bytes, length);
    } else {
        g_string_append(out, " NIL");
    }
}

static inline void dump_fetch(GString *out, const FetchData *fetch)
{
    g_string_append_printf(out, " seq=%u present=%x", fetch->seq, fetch->present);
    dump_text(out, "broken", fetch->broken ? fetch->problem : NULL);
    dump_number(out, "uid", fetch->uid);
    if ((fetch->present & FETCH_FLAGS) != 0)
        dump_flags(out, "flags", &fetch->flags);
    if ((fetch->present & FETCH_INTERNALDATE) != 0)
        g_string_append_printf(out, " date=%" G_GINT64_FORMAT "%+d", fetch->internaldate,
                               fetch->internaldate_zone);
    dump_number(out, "size", fetch->size);
    dump_number(out, "modseq", fetch->modseq);
    if (fetch->envelope != NULL) {
        g_string_append(out, " envelope=");
        envelope_print(fetch->envelope, out);
    }
    if (fetch->body != NULL) {
        dump_part(out, fetch->body);
        g_string_append_c(out, ' ');
        bodystructure_print(fetch->body, out);
    }
    dump_text(out, "emailid", fetch->emailid);
    for (guint i = 0; fetch->bodies != NULL && i < fetch->bodies->len; i++)
        dump_body(out, g_ptr_array_index(fetch->bodies, i));
    for (guint i = 0; fetch->binary_sizes != NULL && i < fetch->binary_sizes->len; i++) {
        const BinarySize *size = &g_array_index(fetch->binary_sizes, BinarySize, i);
        g_string_append_printf(out, " binary.size[%s]=%" G_GUINT64_FORMAT, size->section,
                               size->size);
    }
}

static inline void dump_namespaces(GString *out, const Response *response)
{
    for (guint i = 0; i < 3; i++) {
        const GArray *items = response->namespaces[i];
        g_string_append(out, items != NULL ? " (" : " NIL");
        for (guint j = 0; items != NULL && j < items->len; j++) {
            const NamespaceItem *item = &g_array_index(items, NamespaceItem, j);
            dump_text(out, "prefix", item->prefix);
            dump_char(out, "delimiter", item->delimiter);
        }
        if (items != NULL)
            g_string_append_c(out, ')');
    }
}

static inline void dump_quota(GString *out, const char *name, const QuotaResource *quota)
{
    if (quota->known)
        g_string_append_printf(out, " %s=%" G_GUINT64_FORMAT "/%" G_GUINT64_FORMAT, name,
                               quota->used, quota->limit);
}

static inline void dump_response(GString *out, const Response *response)
{
    g_string_append(out, response_kind_name(response->kind));
    dump_text(out, "tag", response->tag);
    if (response->code != CODE_NONE)
        g_string_append_printf(out, " code=%s", response_code_name(response->code));
    dump_text(out, "code_text", response->code_text);
    dump_text(out, "text", response->text);
    dump_number(out, "backoff", (guint64)response->backoff_ms);
    if (response->fetch == NULL)
        dump_number(out, "number", response->number);
    dump_words(out, "words", response->words);
    if (response->kind == RESP_FLAGS || response->code == CODE_PERMANENTFLAGS)
        dump_flags(out, "flags", &response->flags);
    dump_uids(out, "uids", response->uids);
    dump_uids(out, "source", response->source_uids);
    dump_number(out, "modseq", response->modseq);
    dump_text(out, "search_tag", response->search_tag);
    if (response->uid_flag)
        g_string_append(out, " UID");
    if (response->earlier)
        g_string_append(out, " EARLIER");
    if (response->list != NULL)
        dump_list(out, response->list);
    if (response->status != NULL)
        dump_status(out, response->status);
    if (response->fetch != NULL)
        dump_fetch(out, response->fetch);
    if (response->kind == RESP_NAMESPACE)
        dump_namespaces(out, response);
    dump_words(out, "id", response->id);
    dump_quota(out, "storage", &response->quota.storage);
    dump_quota(out, "message", &response->quota.message);
}

typedef struct {
    bool preauth;
} DumpMode;

/* Takes all responses there are; the last line is "MORE", "MORE inside" or "BAD: why". */
static inline ReadStatus dump_take(GString *out, Reader *reader)
{
    Response *response = NULL;
    g_autoptr(GError) error = NULL;
    ReadStatus status;
    while ((status = reader_next(reader, &response, &error)) == READ_OK) {
        dump_response(out, response);
        g_string_append_c(out, '\n');
        response_free(response);
    }
    if (status == READ_BAD)
        g_string_append_printf(out, "BAD: %s\n", error->message);
    return status;
}

/* Feeds the pieces that end at each of cuts (ascending), then the rest. Caller frees. */
static inline char *dump_stream(DumpMode mode, const char *bytes, gsize length, const gsize *cuts,
                                gsize n_cuts)
{
    g_autoptr(Reader) reader = reader_new();
    GString *out = g_string_new(NULL);
    ReadStatus status = READ_MORE;
    gsize done = 0;
    if (!mode.preauth)
        reader_set_authenticated(reader);
    for (gsize i = 0; i <= n_cuts && status != READ_BAD; i++) {
        gsize end = i < n_cuts ? cuts[i] : length;
        reader_feed(reader, bytes + done, end - done);
        done = end;
        status = dump_take(out, reader);
    }
    if (status == READ_MORE && reader_mid_response(reader))
        g_string_append(out, "INSIDE\n");
    return g_string_free(out, FALSE);
}

static inline char *dump_whole(DumpMode mode, const char *bytes, gsize length)
{
    return dump_stream(mode, bytes, length, &length, 0);
}

static inline char *dump_bytewise(DumpMode mode, const char *bytes, gsize length)
{
    g_autofree gsize *cuts = g_new(gsize, length + 1);
    for (gsize i = 0; i < length; i++)
        cuts[i] = i;
    return dump_stream(mode, bytes, length, cuts, length);
}
