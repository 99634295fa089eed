/* layout.c - from a tree of MIME parts to the files of a message's directory.
 *
 * The rule: nothing of the message is out of reach. Every leaf of the structure is exactly one
 * node, whatever the tree looks like; a tree that is too large gives PROBLEM.txt instead, never a
 * part of the truth. */
#include "imapfs/mime/layout.h"
#include <string.h>
#include "imapfs/base/limits.h"
#include "imapfs/mime/name.h"
#include "imapfs/mime/param.h"
#include "imapfs/mime/transfer.h"

/* The tree has 15 bits for a node of a message, and uses some for itself. */
#define MAX_NODES 32000

#define SECTION_BYTES 180 /* in a name, with words around it */
#define DIGEST_BYTES 16

/* One level of the message: its directory and the parts that go there. */
typedef struct {
    GPtrArray *texts;       /* borrowed BodyPart *: body.txt, body.html, ... in document order */
    GPtrArray *attachments; /* the other leaves and nested messages, in document order */
} Level;

typedef struct {
    Layout *layout;
    guint depth; /* nested messages above */
    guint words; /* that may still be decoded in names */
    bool failed; /* over a limit */
} Builder;

static void node_free(gpointer data)
{
    LayoutNode *node = data;
    g_free(node->name);
    g_free(node->section);
    g_free(node->encoding);
    g_free(node->charset);
    g_free(node->content_type);
    g_free(node);
}

void layout_free(Layout *layout)
{
    if (!layout)
        return;
    g_ptr_array_unref(layout->nodes);
    g_free(layout);
}

/* Takes name. Returns the index. */
static guint add_node(Builder *builder, LayoutKind kind, guint parent, char *name,
                      const char *section)
{
    GPtrArray *nodes = builder->layout->nodes;
    LayoutNode *node = g_new0(LayoutNode, 1);
    node->kind = kind;
    node->parent = parent;
    node->name = name;
    node->section = g_strdup(section);
    g_ptr_array_add(nodes, node);
    builder->failed = builder->failed || nodes->len > MAX_NODES;
    return nodes->len - 1;
}

static void describe(Builder *builder, guint index, const BodyPart *part)
{
    LayoutNode *node = g_ptr_array_index(builder->layout->nodes, index);
    node->encoding = g_strdup(part->encoding ? part->encoding : "7bit");
    node->content_type = g_strdup_printf("%s/%s", part->type, part->subtype);
    node->encoded_size = part->size;
    if (node->kind != LAYOUT_TEXT && node->kind != LAYOUT_HTML)
        return;
    node->charset = g_strdup(body_part_param(part, "charset"));
    if (!node->charset) /* "charset*=us-ascii'en'koi8-r" */
        node->charset = mime_param_text(part->params, "charset", &builder->words);
}

/* --- which part goes where --- */

static guint n_children(const BodyPart *part)
{
    return part->children ? part->children->len : 0;
}

static bool is_multipart(const BodyPart *part)
{
    return body_part_is(part, "multipart", NULL) && n_children(part) > 0;
}

static bool is_message(const BodyPart *part)
{
    return body_part_is(part, "message", NULL) && n_children(part) > 0;
}

/* A message/rfc822 in base64 (which RFC 2046 5.2.1 forbids, and Exchange sends): the server parsed
 * the encoded lines, and only we can give what is inside. */
static bool is_encoded_message(const BodyPart *part)
{
    return is_message(part) && transfer_kind(part->encoding) != TRANSFER_IDENTITY;
}

/* Whether a part is text of the message itself, as JMAP tells it (RFC 8621 4.1.4): not said to be
 * an attachment, and either the first of its multipart, or without a name and not something that an
 * HTML body refers to. */
static bool is_body_text(Builder *builder, const BodyPart *part)
{
    if (!body_part_is(part, "text", "plain") && !body_part_is(part, "text", "html"))
        return false;
    if (part->disposition && strcmp(part->disposition, "attachment") == 0)
        return false;
    const BodyPart *parent = part->parent;
    if (!parent || !is_multipart(parent) || g_ptr_array_index(parent->children, 0) == part)
        return true;
    if (body_part_is(parent, "multipart", "related"))
        return false;
    g_autofree char *name = mime_part_filename(part, &builder->words);
    return !name || !*name;
}

static void sort_part(Builder *builder, const BodyPart *part, Level *level, guint depth)
{
    if (depth > LIMIT_NESTING) {
        builder->failed = true;
        return;
    }
    if (!is_multipart(part)) {
        g_ptr_array_add(is_body_text(builder, part) ? level->texts : level->attachments,
                        (gpointer)part);
        return;
    }
    for (guint i = 0; i < part->children->len; i++)
        sort_part(builder, g_ptr_array_index(part->children, i), level, depth + 1);
}

/* --- the nodes --- */

static void add_level(Builder *builder, const GPtrArray *bodies, guint dir);

static void add_texts(Builder *builder, const GPtrArray *texts, guint dir)
{
    guint plain = 0, html = 0;
    for (guint i = 0; i < texts->len; i++) {
        const BodyPart *part = g_ptr_array_index(texts, i);
        bool is_html = body_part_is(part, "text", "html");
        guint number = is_html ? ++html : ++plain;
        const char *extension = is_html ? "html" : "txt";
        char *name = number == 1 ? g_strdup_printf("body.%s", extension)
                                 : g_strdup_printf("body-%u.%s", number, extension);
        LayoutKind kind = is_html ? LAYOUT_HTML : LAYOUT_TEXT;
        describe(builder, add_node(builder, kind, dir, name, part->section), part);
    }
}

char *layout_section_name(const char *section)
{
    if (strlen(section) <= SECTION_BYTES)
        return g_strdup(section);
    g_autofree char *digest = g_compute_checksum_for_string(G_CHECKSUM_SHA256, section, -1);
    return g_strdup_printf("%.*s~%.*s", SECTION_BYTES - 1 - DIGEST_BYTES, section, DIGEST_BYTES,
                           digest);
}

static char *message_dir_name(const BodyPart *part)
{
    g_autofree char *section = layout_section_name(part->section);
    return g_strdup_printf("part-%s.message", section);
}

static void add_message(Builder *builder, const BodyPart *part, guint dir)
{
    guint self = add_node(builder, LAYOUT_MESSAGE_DIR, dir, message_dir_name(part), part->section);
    add_node(builder, LAYOUT_HEADERS, self, g_strdup("headers.txt"), part->section);
    guint eml = add_node(builder, LAYOUT_EML, self, g_strdup("message.eml"), part->section);
    describe(builder, self, part);
    describe(builder, eml, part);
    builder->depth++;
    add_level(builder, part->children, self);
    builder->depth--;
}

static void add_attachment(Builder *builder, const BodyPart *part, guint dir, GHashTable *taken)
{
    const char *type = part->type, *subtype = part->subtype;
    /* A multipart without parts: whatever is there is BODY[section], or BODY[TEXT] at the top. */
    const char *section = *part->section ? part->section : "TEXT";
    g_autofree char *sender = is_message(part) ? NULL : mime_part_filename(part, &builder->words);
    g_autofree char *shown = layout_section_name(section);
    char *name = name_make_unique(taken, name_attachment(sender, shown, type, subtype));
    describe(builder, add_node(builder, LAYOUT_PART, dir, name, section), part);
}

static void add_attachments(Builder *builder, const GPtrArray *parts, guint dir)
{
    if (parts->len == 0)
        return;
    guint self = add_node(builder, LAYOUT_ATTACHMENTS, dir, g_strdup("attachments"), "");
    g_autoptr(GHashTable) taken = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    /* Names of directories are ours: no sender's name comes before them. */
    for (guint i = 0; i < parts->len; i++) {
        const BodyPart *part = g_ptr_array_index(parts, i);
        g_autofree char *name = is_message(part) ? message_dir_name(part) : NULL;
        if (name)
            g_hash_table_add(taken, g_utf8_casefold(name, -1));
    }
    for (guint i = 0; i < parts->len && !builder->failed; i++) {
        const BodyPart *part = g_ptr_array_index(parts, i);
        if (!is_message(part) || is_encoded_message(part))
            add_attachment(builder, part, self, taken);
        if (is_message(part))
            add_message(builder, part, self);
    }
}

/* bodies: the one body of a message/rfc822, or the parts of its multipart (see BodyPart). */
static void add_level(Builder *builder, const GPtrArray *bodies, guint dir)
{
    if (builder->failed || builder->depth > LIMIT_NESTING) {
        builder->failed = true;
        return;
    }
    g_autoptr(GPtrArray) texts = g_ptr_array_new(), attachments = g_ptr_array_new();
    Level level = {texts, attachments};
    for (guint i = 0; i < bodies->len; i++)
        sort_part(builder, g_ptr_array_index(bodies, i), &level, builder->depth);
    add_texts(builder, texts, dir);
    add_attachments(builder, attachments, dir);
}

static void add_problem(Builder *builder)
{
    add_node(builder, LAYOUT_PROBLEM, LAYOUT_INDEX_DIR, g_strdup("PROBLEM.txt"), "");
}

/* Counts parts without recursion, until it is too many. */
static bool is_too_large(const BodyPart *body)
{
    g_autoptr(GPtrArray) todo = g_ptr_array_new();
    g_ptr_array_add(todo, (gpointer)body);
    for (guint i = 0; i < todo->len; i++) {
        const BodyPart *part = g_ptr_array_index(todo, i);
        for (guint c = 0; c < n_children(part); c++)
            g_ptr_array_add(todo, g_ptr_array_index(part->children, c));
        if (todo->len > LIMIT_PARTS)
            return true;
    }
    return false;
}

Layout *layout_new(const BodyPart *body)
{
    g_autoptr(Layout) layout = g_new0(Layout, 1);
    layout->nodes = g_ptr_array_new_with_free_func(node_free);
    Builder builder = {.layout = layout, .words = PARAM_WORDS};
    add_node(&builder, LAYOUT_MESSAGE_DIR, 0, g_strdup(""), "");
    add_node(&builder, LAYOUT_HEADERS, 0, g_strdup("headers.txt"), "");
    add_node(&builder, LAYOUT_FLAGS, 0, g_strdup("flags"), "");
    add_node(&builder, LAYOUT_EML, 0, g_strdup("message.eml"), "");
    g_assert(layout->nodes->len == LAYOUT_INDEX_FIRST_PART);
    if (!body || is_too_large(body)) {
        add_problem(&builder);
        return g_steal_pointer(&layout);
    }
    g_autoptr(GPtrArray) bodies = g_ptr_array_new();
    g_ptr_array_add(bodies, (gpointer)body);
    add_level(&builder, bodies, LAYOUT_INDEX_DIR);
    if (builder.failed) {
        g_ptr_array_set_size(layout->nodes, LAYOUT_INDEX_FIRST_PART);
        add_problem(&builder);
    }
    return g_steal_pointer(&layout);
}

/* --- sizes --- */

/* Header blocks are not counted by BODYSTRUCTURE; this is what they are in the middle. */
#define TYPICAL_HEADERS 2500

guint64 layout_estimate_size(const LayoutNode *node)
{
    guint64 size = node->encoded_size;
    switch (node->kind) {
    case LAYOUT_HEADERS:
        return TYPICAL_HEADERS;
    case LAYOUT_TEXT:
    case LAYOUT_HTML:
    case LAYOUT_PART:
        break;
    default:
        return size;
    }
    if (size == 0)
        return 0;
    switch (transfer_kind(node->encoding)) {
    case TRANSFER_BASE64: /* lines of 76 and CRLF carry 57 bytes */
        return MAX(size / 78 * 57 + size % 78 * 57 / 78, 1);
    case TRANSFER_UUENCODE: /* lines of 61 and CRLF carry 45 */
        return MAX(size / 63 * 45 + size % 63 * 45 / 63, 1);
    default:
        return size;
    }
}
