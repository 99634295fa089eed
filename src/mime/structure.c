/* structure.c - the parts of a message found by their boundaries (RFC 2046 5.1), in one pass.
 *
 * The rule: no recursion and no second look. Open parts are a stack of at most LIMIT_NESTING, lines
 * that do not begin with "--" are never looked at one by one, and the first limit that is passed
 * ends it. */
#include "imapfs/mime/structure.h"
#include <string.h>
#include "content_field.h"
#include "header.h"
#include "imapfs/base/error.h"
#include "imapfs/base/limits.h"
#include "imapfs/mime/decode.h"
#include "imapfs/mime/param.h"

/* RFC 2046 5.1.1 allows 70 characters. */
#define MAX_BOUNDARY 1000

/* A part, and where it is. */
typedef struct {
    BodyPart *part;
    gsize header, body, end; /* [header, body) and [body, end) */
} Node;

/* A part that is still open. */
typedef struct {
    guint node;
    char *boundary; /* of a multipart, until its closing delimiter; else NULL */
    gsize boundary_length;
} Open;

typedef struct {
    const char *raw;
    gsize length, pos;
    GArray *nodes; /* of Node, in document order */
    GArray *stack; /* of Open, the message at the bottom */
    gsize header_bytes;
    GError *error;
} Parser;

struct MimeIndex {
    const char *raw;
    gsize length;
    gsize text; /* where the message's own header ends */
    BodyPart *body;
    GHashTable *sections; /* "1.2" -> Node *, borrowing the nodes */
    GArray *nodes;
};

static void open_clear(gpointer data)
{
    g_free(((Open *)data)->boundary);
}

static Node *node_at(const Parser *parser, guint i)
{
    return &g_array_index(parser->nodes, Node, i);
}

static Open *open_at(const Parser *parser, guint i)
{
    return &g_array_index(parser->stack, Open, i);
}

static bool fail(Parser *parser, const char *what)
{
    if (!parser->error)
        g_set_error(&parser->error, IMAPFS_ERROR, IMAPFS_ERROR_DATA, "the message has %s", what);
    return false;
}

/* --- parts --- */

static bool in_digest(const Parser *parser)
{
    if (parser->stack->len == 0)
        return false;
    const Open *top = open_at(parser, parser->stack->len - 1);
    return body_part_is(node_at(parser, top->node)->part, "multipart", "digest");
}

static void append_child(BodyPart *parent, BodyPart *child)
{
    if (!parent->children)
        parent->children = g_ptr_array_new_with_free_func((GDestroyNotify)body_part_free);
    g_ptr_array_add(parent->children, child);
    child->parent = parent;
}

/* In one piece, or in those of RFC 2231. */
static char *boundary_of(const BodyPart *part)
{
    guint words = 0;
    const char *boundary = body_part_param(part, "boundary");
    return boundary ? g_strdup(boundary) : mime_param_text(part->params, "boundary", &words);
}

static void push(Parser *parser, guint node, bool has_body)
{
    const BodyPart *part = node_at(parser, node)->part;
    Open open = {.node = node};
    if (has_body && body_part_is(part, "multipart", NULL)) {
        open.boundary = boundary_of(part);
        open.boundary_length = open.boundary ? strlen(open.boundary) : 0;
        if (open.boundary_length == 0 || open.boundary_length > MAX_BOUNDARY)
            g_clear_pointer(&open.boundary, g_free);
    }
    g_array_append_val(parser->stack, open);
}

/* The delimiter that the line at pos is: index in the stack, or -1. The innermost of those that
 * match best: servers take a boundary that only begins the line, but the longest (RFC 2046 5.1.1
 * wants all of it; real mail has "X" and "X-1" nested). */
static int find_delimiter(const Parser *parser, gsize pos, bool *closes_out)
{
    const char *line = parser->raw + pos;
    gsize left = parser->length - pos;
    if (left < 2 || line[0] != '-' || line[1] != '-')
        return -1;
    line += 2;
    left = MIN(left - 2, MAX_BOUNDARY + 2);
    const char *nl = memchr(line, '\n', left);
    left = nl ? (gsize)(nl - line) : left;
    int best = -1;
    gsize best_length = 0;
    for (int i = (int)parser->stack->len - 1; i >= 0; i--) {
        const Open *open = open_at(parser, (guint)i);
        gsize n = open->boundary_length;
        if (!open->boundary || n > left || (best >= 0 && n <= best_length) ||
            memcmp(line, open->boundary, n) != 0)
            continue;
        best = i;
        best_length = n;
        bool exact = n == left || line[n] == '\r';
        if (exact)
            break;
    }
    if (best >= 0)
        *closes_out =
            left >= best_length + 2 && line[best_length] == '-' && line[best_length + 1] == '-';
    return best;
}

static gsize next_line(const Parser *parser, gsize pos)
{
    const char *nl = memchr(parser->raw + pos, '\n', parser->length - pos);
    return nl ? (gsize)(nl - parser->raw) + 1 : parser->length;
}

/* The line break before a delimiter belongs to it (RFC 2046 5.1.1). */
static gsize before_break(const Parser *parser, gsize pos)
{
    if (pos > 0 && parser->raw[pos - 1] == '\n')
        pos--;
    if (pos > 0 && parser->raw[pos - 1] == '\r')
        pos--;
    return pos;
}

/* Parts from the top of the stack down to and without `keep` end at pos. */
static void close_parts(Parser *parser, guint keep, gsize pos)
{
    for (guint i = keep; i < parser->stack->len; i++) {
        Node *node = node_at(parser, open_at(parser, i)->node);
        node->end = MAX(pos, node->body);
    }
    g_array_set_size(parser->stack, keep);
}

/* --- the pass --- */

/* The header at pos, up to and with its empty line, or up to a delimiter of an open multipart: then
 * there is no body. */
static bool read_header(Parser *parser, BodyPart *part, bool *has_body_out)
{
    gsize start = parser->pos;
    *has_body_out = false;
    for (;;) {
        bool closes;
        if (parser->pos >= parser->length || find_delimiter(parser, parser->pos, &closes) >= 0)
            break;
        HeaderField field;
        gsize before = parser->pos;
        if (!header_next_field(parser->raw, parser->length, &parser->pos, &field)) {
            parser->pos = next_line(parser, before); /* the empty line */
            *has_body_out = true;
            break;
        }
        content_part_field(part, &field);
    }
    parser->header_bytes += parser->pos - start;
    return parser->header_bytes <= LIMIT_HEADERS_ALL || fail(parser, "too long headers");
}

/* A new part at pos: its header, and what its type says of its body. */
static bool begin_one(Parser *parser, bool *again_out)
{
    *again_out = false;
    if (parser->nodes->len >= LIMIT_PARTS)
        return fail(parser, "too many parts");
    if (parser->stack->len >= LIMIT_NESTING)
        return fail(parser, "too deeply nested parts");
    BodyPart *part = g_new0(BodyPart, 1);
    bool digest = in_digest(parser);
    Node node = {.part = part, .header = parser->pos, .end = parser->length};
    if (parser->stack->len > 0)
        append_child(node_at(parser, open_at(parser, parser->stack->len - 1)->node)->part, part);
    g_array_append_val(parser->nodes, node);
    guint index = parser->nodes->len - 1;
    bool has_body;
    bool ok = read_header(parser, part, &has_body);
    content_part_finish(part, digest);
    if (!ok)
        return false;
    node_at(parser, index)->body = parser->pos;
    push(parser, index, has_body);
    *again_out = body_part_is(part, "message", "rfc822");
    return true;
}

static bool begin_part(Parser *parser)
{
    bool again = true;
    while (again) {
        if (!begin_one(parser, &again))
            return false;
    }
    return true;
}

/* The next line that begins with "--", at or after pos; length when there is none. */
static gsize next_candidate(const Parser *parser, gsize pos)
{
    if (pos + 2 <= parser->length && memcmp(parser->raw + pos, "--", 2) == 0 &&
        (pos == 0 || parser->raw[pos - 1] == '\n'))
        return pos;
    const char *found = memmem(parser->raw + pos, parser->length - pos, "\n--", 3);
    return found ? (gsize)(found - parser->raw) + 1 : parser->length;
}

static bool parse_all(Parser *parser)
{
    if (!begin_part(parser))
        return false;
    while ((parser->pos = next_candidate(parser, parser->pos)) < parser->length) {
        bool closes = false;
        int found = find_delimiter(parser, parser->pos, &closes);
        gsize line = parser->pos;
        parser->pos = next_line(parser, line);
        if (found < 0)
            continue;
        close_parts(parser, (guint)found + 1, before_break(parser, line));
        if (!closes) {
            if (!begin_part(parser))
                return false;
            continue;
        }
        Open *open = open_at(parser, (guint)found);
        g_clear_pointer(&open->boundary, g_free);
    }
    close_parts(parser, 0, parser->length);
    return true;
}

/* --- what it means --- */

static guint64 count_lines(const char *text, gsize length)
{
    guint64 lines = 0;
    const char *end = text + length;
    for (const char *p = text; p < end && (p = memchr(p, '\n', (gsize)(end - p))); p++)
        lines++;
    return lines + (length > 0 && end[-1] != '\n');
}

/* A multipart whose boundary never came is text: that is how its lines can be read. */
static void settle_node(const Parser *parser, Node *node)
{
    BodyPart *part = node->part;
    bool multipart = body_part_is(part, "multipart", NULL);
    if (multipart && part->children)
        return;
    if (multipart) {
        g_free(part->type);
        g_free(part->subtype);
        part->type = g_strdup("text");
        part->subtype = g_strdup("plain");
        g_clear_pointer(&part->params, g_array_unref);
    }
    part->size = node->end - node->body;
    if (body_part_is(part, "text", NULL) || part->children)
        part->lines = count_lines(parser->raw + node->body, node->end - node->body);
}

/* The section of a part (see BodyPart.section); its parent has one already. */
static char *section_of(const BodyPart *part)
{
    const BodyPart *parent = part->parent;
    bool multipart = part->children && body_part_is(part, "multipart", NULL);
    if (!parent)
        return g_strdup(multipart ? "" : "1");
    if (body_part_is(parent, "message", NULL))
        return multipart ? g_strdup(parent->section) : g_strconcat(parent->section, ".1", NULL);
    return NULL; /* by its place in a multipart */
}

static void number_children(BodyPart *part)
{
    for (guint i = 0; part->children && i < part->children->len; i++) {
        BodyPart *child = g_ptr_array_index(part->children, i);
        child->section = section_of(child);
        if (!child->section)
            child->section = *part->section ? g_strdup_printf("%s.%u", part->section, i + 1)
                                            : g_strdup_printf("%u", i + 1);
    }
}

static MimeIndex *index_of(Parser *parser)
{
    for (guint i = 0; i < parser->nodes->len; i++)
        settle_node(parser, node_at(parser, i));
    MimeIndex *index = g_new0(MimeIndex, 1);
    index->raw = parser->raw;
    index->length = parser->length;
    index->nodes = g_array_ref(parser->nodes);
    index->sections = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    index->text = node_at(parser, 0)->body;
    index->body = node_at(parser, 0)->part;
    index->body->section = section_of(index->body);
    for (guint i = 0; i < parser->nodes->len; i++) { /* parents come before children */
        Node *node = node_at(parser, i);
        BodyPart *part = node->part;
        number_children(part);
        bool shares = part->parent && body_part_is(part->parent, "message", NULL) &&
                      part->children && body_part_is(part, "multipart", NULL);
        if (*part->section && !shares)
            g_hash_table_insert(index->sections, g_strdup(part->section), node);
    }
    return index;
}

MimeIndex *mime_index_new(const char *raw, gsize length, GError **error)
{
    Parser parser = {.raw = raw ? raw : "", .length = length};
    parser.nodes = g_array_new(FALSE, FALSE, sizeof(Node));
    parser.stack = g_array_new(FALSE, FALSE, sizeof(Open));
    g_array_set_clear_func(parser.stack, open_clear);
    MimeIndex *index = NULL;
    if (parse_all(&parser)) {
        index = index_of(&parser);
    } else {
        body_part_free(node_at(&parser, 0)->part);
        g_propagate_error(error, parser.error);
    }
    g_array_unref(parser.stack);
    g_array_unref(parser.nodes);
    return index;
}

void mime_index_free(MimeIndex *index)
{
    if (!index)
        return;
    body_part_free(index->body);
    g_hash_table_unref(index->sections);
    g_array_unref(index->nodes);
    g_free(index);
}

const BodyPart *mime_index_body(const MimeIndex *index)
{
    return index->body;
}

BodyPart *mime_parse_structure(const char *raw, gsize length, GError **error)
{
    g_autoptr(MimeIndex) index = mime_index_new(raw, length, error);
    return index ? g_steal_pointer(&index->body) : NULL;
}

/* --- sections --- */

static bool range(gsize start, gsize end, gsize *offset_out, gsize *length_out)
{
    *offset_out = start;
    *length_out = end - start;
    return true;
}

/* HEADER and TEXT of the message in a message/rfc822 part: those of its one body. */
static bool find_in_message(const Node *node, bool header, gsize *offset_out, gsize *length_out)
{
    if (!node->part->children || !body_part_is(node->part, "message", NULL))
        return false;
    const Node *body = node + 1;             /* in document order its body is next */
    gsize text = MIN(body->body, node->end); /* a delimiter may have ended the header */
    return header ? range(node->body, text, offset_out, length_out)
                  : range(text, node->end, offset_out, length_out);
}

bool mime_index_find(const MimeIndex *index, const char *section, gsize *offset_out,
                     gsize *length_out)
{
    if (!*section)
        return range(0, index->length, offset_out, length_out);
    if (strcmp(section, "HEADER") == 0)
        return range(0, index->text, offset_out, length_out);
    if (strcmp(section, "TEXT") == 0)
        return range(index->text, index->length, offset_out, length_out);
    const Node *node = g_hash_table_lookup(index->sections, section);
    if (node)
        return range(node->body, node->end, offset_out, length_out);
    const char *dot = strrchr(section, '.');
    g_autofree char *number = dot ? g_strndup(section, (gsize)(dot - section)) : NULL;
    node = number ? g_hash_table_lookup(index->sections, number) : NULL;
    if (!node)
        return false;
    if (strcmp(dot, ".MIME") == 0)
        return range(node->header, node->body, offset_out, length_out);
    if (strcmp(dot, ".HEADER") == 0)
        return find_in_message(node, true, offset_out, length_out);
    return strcmp(dot, ".TEXT") == 0 && find_in_message(node, false, offset_out, length_out);
}

/* --- a server's structure --- */

static guint n_children(const BodyPart *part)
{
    return part->children ? part->children->len : 0;
}

static bool is_bare_multipart(const BodyPart *part)
{
    return body_part_is(part, "multipart", NULL) && n_children(part) == 0;
}

static bool is_invented_text(const BodyPart *part)
{
    if (!body_part_is(part, "multipart", NULL) || n_children(part) != 1)
        return false;
    const BodyPart *only = g_ptr_array_index(part->children, 0);
    return body_part_is(only, "text", "plain") && only->size == 0 && !only->disposition &&
           !only->id && !only->description;
}

static bool is_bare_message(const BodyPart *part)
{
    return body_part_is(part, "message", "rfc822") && n_children(part) == 0;
}

/* What an empty "()" is read as. */
static bool is_unknown_part(const BodyPart *part)
{
    return body_part_is(part, "application", "octet-stream") && part->size == 0 && !part->params &&
           !part->disposition && !part->id && !part->description;
}

/* Which of two nested boundaries a line is, where one begins the other, servers decide each in
 * their own way; Cyrus and Gmail lose parts. */
static bool has_doubtful_boundary(const BodyPart *part)
{
    if (!body_part_is(part, "multipart", NULL))
        return false;
    const char *own = body_part_param(part, "boundary");
    for (const BodyPart *above = part->parent; own && above; above = above->parent) {
        const char *other =
            body_part_is(above, "multipart", NULL) ? body_part_param(above, "boundary") : NULL;
        if (other && (g_str_has_prefix(own, other) || g_str_has_prefix(other, own)))
            return true;
    }
    return false;
}

static const struct {
    const char *words;
    bool (*holds)(const BodyPart *part);
} DOUBTS[] = {
    {"a multipart without parts", is_bare_multipart},
    {"a multipart of one empty text", is_invented_text},
    {"a message without a body", is_bare_message},
    {"a part of which nothing is said", is_unknown_part},
    {"nested boundaries that begin alike", has_doubtful_boundary},
};

const char *mime_structure_doubt(const BodyPart *body)
{
    for (guint i = 0; i < G_N_ELEMENTS(DOUBTS); i++) {
        if (DOUBTS[i].holds(body))
            return DOUBTS[i].words;
    }
    for (guint i = 0; i < n_children(body); i++) {
        const char *doubt = mime_structure_doubt(g_ptr_array_index(body->children, i));
        if (doubt)
            return doubt;
    }
    return NULL;
}
