/* fuzz_layout.c - any structure, a server's or one parsed here, gives a layout in which every leaf
 * is exactly one file. */
#include <stdbool.h>
#include "imapfs/mime/layout.h"
#include "imapfs/mime/structure.h"
#include "fuzz.h"

static void count_leaves(const BodyPart *part, guint *leaves)
{
    if (!part->children || part->children->len == 0)
        ++*leaves;
    for (guint i = 0; part->children && i < part->children->len; i++)
        count_leaves(g_ptr_array_index(part->children, i), leaves);
}

static void check(const BodyPart *body)
{
    g_autoptr(Layout) layout = layout_new(body);
    g_autoptr(GHashTable) names = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    guint leaves = 0, files = 0, messages = 0;
    count_leaves(body, &leaves);
    for (guint i = 1; i < layout->nodes->len; i++) {
        const LayoutNode *node = g_ptr_array_index(layout->nodes, i);
        if (node->kind == LAYOUT_PROBLEM)
            return;
        FUZZ_CHECK(node->parent < i, "%u in %u", i, node->parent);
        FUZZ_CHECK(*node->name && strlen(node->name) <= 255 && !strchr(node->name, '/') &&
                       node->name[0] != '.' && node->name[0] != '-' &&
                       g_utf8_validate(node->name, -1, NULL),
                   "%s", node->name);
        g_autofree char *folded = g_utf8_casefold(node->name, -1);
        bool own = g_hash_table_add(names, g_strdup_printf("%u/%s", node->parent, folded));
        FUZZ_CHECK(own, "%s", node->name);
        messages += node->kind == LAYOUT_MESSAGE_DIR;
        files +=
            node->kind == LAYOUT_TEXT || node->kind == LAYOUT_HTML || node->kind == LAYOUT_PART;
        layout_estimate_size(node);
    }
    /* A message that was sent encoded is a file besides its directory. */
    FUZZ_CHECK(files >= leaves && files <= leaves + messages, "%u files for %u leaves", files,
               leaves);
    mime_structure_doubt(body);
}

static void check_sections(const MimeIndex *index, const BodyPart *part, gsize size)
{
    static const char *const SUFFIXES[] = {"", ".MIME", ".HEADER", ".TEXT"};
    for (guint i = 0; i < G_N_ELEMENTS(SUFFIXES); i++) {
        g_autofree char *section = g_strconcat(part->section, SUFFIXES[i], NULL);
        gsize offset, length;
        bool found = mime_index_find(index, section, &offset, &length);
        FUZZ_CHECK(found || i > 0, "%s", section);
        FUZZ_CHECK(!found || (offset <= size && length <= size - offset), "%s", section);
    }
    for (guint i = 0; part->children && i < part->children->len; i++)
        check_sections(index, g_ptr_array_index(part->children, i), size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autoptr(BodyPart) server = bodystructure_parse((const char *)data, size, NULL);
    if (server)
        check(server);
    g_autoptr(MimeIndex) index = mime_index_new((const char *)data, size, NULL);
    if (!index)
        return 0;
    const BodyPart *body = mime_index_body(index);
    check(body);
    check_sections(index, body, size);
    g_autoptr(GString) printed = g_string_new(NULL);
    bodystructure_print(body, printed);
    g_autoptr(BodyPart) again = bodystructure_parse(printed->str, printed->len, NULL);
    FUZZ_CHECK(again != NULL, "%s", printed->str);
    guint before = 0, after = 0;
    count_leaves(body, &before);
    count_leaves(again, &after);
    FUZZ_CHECK(before == after, "%u and %u leaves: %s", before, after, printed->str);
    return 0;
}
