/* Layouts: which file each part becomes, and what holds for any structure at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <sqlite3.h>
#include "imapfs/base/limits.h"
#include "imapfs/mime/layout.h"
#include "imapfs/mime/param.h"
#include "imapfs/mime/structure.h"

#define TEXT(sub, rest) "(\"text\" \"" sub "\" " rest ")"
#define PLAIN TEXT("plain", "NIL NIL NIL \"7bit\" 10 1")
#define HTML TEXT("html", "(\"charset\" \"utf-8\") NIL NIL \"quoted-printable\" 20 1")
#define PLAIN_AS(disposition) TEXT("plain", "NIL NIL NIL \"7bit\" 10 1 NIL " disposition)
#define NAMED(name) "(\"filename\" \"" name "\")"
#define PDF(name)                                      \
    "(\"application\" \"pdf\" (\"name\" \"" name       \
    "\") NIL NIL \"base64\" 1000 NIL (\"attachment\" " \
    "NIL))"
#define ENVELOPE "(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)"
#define MESSAGE_OF(encoding, body) \
    "(\"message\" \"rfc822\" NIL NIL NIL \"" encoding "\" 500 " ENVELOPE " " body " 10)"
#define MESSAGE(body) MESSAGE_OF("7bit", body)

static BodyPart *parse(const char *text)
{
    g_autoptr(GError) error = NULL;
    BodyPart *body = bodystructure_parse(text, strlen(text), &error);
    if (!body)
        print_error("%s: %s\n", text, error->message);
    assert_non_null(body);
    return body;
}

/* "body.txt=1 attachments/x.pdf=2": all that has bytes but the fixed files of the top. */
static char *describe(const Layout *layout)
{
    GString *out = g_string_new(NULL);
    for (guint i = LAYOUT_INDEX_FIRST_PART; i < layout->nodes->len; i++) {
        const LayoutNode *node = g_ptr_array_index(layout->nodes, i);
        if (node->kind == LAYOUT_MESSAGE_DIR || node->kind == LAYOUT_ATTACHMENTS)
            continue;
        g_autofree char *path = g_strdup(node->name);
        for (guint p = node->parent; p > 0;) {
            const LayoutNode *dir = g_ptr_array_index(layout->nodes, p);
            char *longer = g_strdup_printf("%s/%s", dir->name, path);
            g_free(path);
            path = longer;
            p = dir->parent;
        }
        g_string_append_printf(out, "%s%s=%s", out->len ? " " : "", path, node->section);
    }
    return g_string_free(out, FALSE);
}

static const struct {
    const char *name, *body, *want;
} TABLE[] = {
    {"one text", PLAIN, "body.txt=1"},
    {"one html", HTML, "body.html=1"},
    {"alternative", "(" PLAIN HTML " \"alternative\")", "body.txt=1 body.html=2"},
    {"mixed", "(" PLAIN PDF("a.pdf") " \"mixed\")", "body.txt=1 attachments/a.pdf=2"},
    {"only an attachment", PDF("a.pdf"), "attachments/a.pdf=1"},
    {"text that is an attachment", PLAIN_AS("(\"attachment\" " NAMED("a.txt") ")"),
     "attachments/a.txt=1"},
    {"first text with a name is the body", PLAIN_AS("(\"inline\" " NAMED("a.txt") ")"),
     "body.txt=1"},
    {"later text with a name is not",
     "(" PLAIN PLAIN_AS("(\"inline\" " NAMED("a.txt") ")") " \"mixed\")",
     "body.txt=1 attachments/a.txt=2"},
    {"later text without a name is", "(" PLAIN PDF("a.pdf") PLAIN " \"mixed\")",
     "body.txt=1 body-2.txt=3 attachments/a.pdf=2"},
    {"several of both", "(" PLAIN HTML PLAIN HTML " \"mixed\")",
     "body.txt=1 body.html=2 body-2.txt=3 body-2.html=4"},
    {"related",
     "((" HTML "(\"image\" \"png\" NIL \"<x>\" NIL \"base64\" 99)" TEXT(
         "html", "NIL NIL NIL \"7bit\" 5 1") " \"related\")" PDF("a.pdf") " \"mixed\")",
     "body.html=1.1 attachments/part-1.2.png=1.2 attachments/part-1.3.html=1.3 "
     "attachments/a.pdf=2"},
    {"alternative with related",
     "(" PLAIN "(" HTML "(\"image\" \"gif\" (\"name\" \"l.gif\") \"<x>\" NIL \"base64\" 99) "
     "\"related\") \"alternative\")",
     "body.txt=1 body.html=2.1 attachments/l.gif=2.2"},
    {"calendar in alternative",
     "(" PLAIN TEXT("calendar", "NIL NIL NIL \"7bit\" 9 1") " \"alternative\")",
     "body.txt=1 attachments/part-2.ics=2"},
    {"signed",
     "(" PLAIN
     "(\"application\" \"pgp-signature\" (\"name\" \"signature.asc\") NIL NIL \"7bit\" 99) "
     "\"signed\")",
     "body.txt=1 attachments/signature.asc=2"},
    {"signed without a name",
     "(" PLAIN "(\"application\" \"pkcs7-signature\" NIL NIL NIL \"base64\" 99) \"signed\")",
     "body.txt=1 attachments/part-2.p7s=2"},
    {"encrypted",
     "((\"application\" \"pgp-encrypted\" NIL NIL NIL \"7bit\" 9)(\"application\" "
     "\"octet-stream\" (\"name\" \"encrypted.asc\") NIL NIL \"7bit\" 99) \"encrypted\")",
     "attachments/part-1.asc=1 attachments/encrypted.asc=2"},
    {"report",
     "(" PLAIN "(\"message\" \"delivery-status\" NIL NIL NIL \"7bit\" 9)" TEXT(
         "rfc822-headers", "NIL NIL NIL \"7bit\" 9 1") " \"report\")",
     "body.txt=1 attachments/part-2.txt=2 attachments/part-3.txt=3"},
    {"nested message", "(" PLAIN MESSAGE(PLAIN) " \"mixed\")",
     "body.txt=1 attachments/part-2.message/headers.txt=2 attachments/part-2.message/message.eml=2 "
     "attachments/part-2.message/body.txt=2.1"},
    {"nested multipart", "(" PLAIN MESSAGE("(" PLAIN PDF("a.pdf") " \"mixed\")") " \"mixed\")",
     "body.txt=1 attachments/part-2.message/headers.txt=2 attachments/part-2.message/message.eml=2 "
     "attachments/part-2.message/body.txt=2.1 "
     "attachments/part-2.message/attachments/a.pdf=2.2"},
    {"message is a message", MESSAGE(MESSAGE(PLAIN)),
     "attachments/part-1.message/headers.txt=1 attachments/part-1.message/message.eml=1 "
     "attachments/part-1.message/attachments/part-1.1.message/headers.txt=1.1 "
     "attachments/part-1.message/attachments/part-1.1.message/message.eml=1.1 "
     "attachments/part-1.message/attachments/part-1.1.message/body.txt=1.1.1"},
    {"encoded message", MESSAGE_OF("base64", PLAIN),
     "attachments/part-1.eml=1 attachments/part-1.message/headers.txt=1 "
     "attachments/part-1.message/message.eml=1 attachments/part-1.message/body.txt=1.1"},
    {"same names", "(" PLAIN PDF("a.pdf") PDF("a.pdf") PDF("A.pdf") " \"mixed\")",
     "body.txt=1 attachments/a.pdf=2 attachments/a (2).pdf=3 attachments/A (3).pdf=4"},
    {"a name of ours", "(" PDF("part-2.message") MESSAGE(PLAIN) " \"mixed\")",
     "attachments/part-2 (2).message=1 attachments/part-2.message/headers.txt=2 "
     "attachments/part-2.message/message.eml=2 attachments/part-2.message/body.txt=2.1"},
    {"names of our files", "(" PLAIN PDF("body.txt") PDF("flags") PDF("../x") " \"mixed\")",
     "body.txt=1 attachments/body.txt=2 attachments/flags=3 attachments/_x=4"},
    {"name in RFC 2231 pieces",
     "(\"a\" \"b\" NIL NIL NIL \"7bit\" 1 NIL (\"attachment\" (\"filename*0*\" "
     "\"utf-8''%c3%a9\" \"filename*1\" \"t.pdf\")))",
     "attachments/\xc3\xa9t.pdf=1"},
    {"name extended",
     "(\"a\" \"b\" NIL NIL NIL \"7bit\" 1 NIL (\"attachment\" (\"filename*\" "
     "\"iso-8859-1'en'%e9.pdf\")))",
     "attachments/\xc3\xa9.pdf=1"},
    {"name in RFC 2047", "(\"a\" \"b\" (\"name\" \"=?iso-8859-1?Q?=E9.pdf?=\") NIL NIL \"7bit\" 1)",
     "attachments/\xc3\xa9.pdf=1"},
};

static void test_table(void **state)
{
    for (guint i = 0; i < G_N_ELEMENTS(TABLE); i++) {
        g_autoptr(BodyPart) body = parse(TABLE[i].body);
        g_autoptr(Layout) layout = layout_new(body);
        g_autofree char *have = describe(layout);
        if (strcmp(have, TABLE[i].want) != 0)
            print_error("%s\n", TABLE[i].name);
        assert_string_equal(have, TABLE[i].want);
    }
}

static void count_leaves(const BodyPart *part, GHashTable *sections)
{
    bool leaf = !part->children || part->children->len == 0;
    if (leaf) {
        const char *section = *part->section ? part->section : "TEXT";
        assert_true(g_hash_table_add(sections, g_strdup(section)));
    }
    for (guint i = 0; !leaf && i < part->children->len; i++)
        count_leaves(g_ptr_array_index(part->children, i), sections);
}

/* What holds for any layout of any structure. */
static void check(const BodyPart *body)
{
    g_autoptr(Layout) layout = layout_new(body);
    g_autoptr(GHashTable) sections = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_autoptr(GHashTable) names = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_autoptr(GHashTable) messages = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    count_leaves(body, sections);
    assert_true(layout->nodes->len < 1 << 15);
    for (guint i = 0; i < layout->nodes->len; i++) {
        const LayoutNode *node = g_ptr_array_index(layout->nodes, i);
        assert_true(i == 0 ? node->parent == 0 : node->parent < i);
        const LayoutNode *dir = g_ptr_array_index(layout->nodes, node->parent);
        assert_true(dir->kind == LAYOUT_MESSAGE_DIR || dir->kind == LAYOUT_ATTACHMENTS);
        if (i == 0)
            continue;
        assert_true(strlen(node->name) > 0 && strlen(node->name) <= 255);
        assert_true(g_utf8_validate(node->name, -1, NULL));
        assert_null(strchr(node->name, '/'));
        assert_false(node->name[0] == '.' || node->name[0] == '-');
        g_autofree char *folded = g_utf8_casefold(node->name, -1);
        assert_true(g_hash_table_add(names, g_strdup_printf("%u/%s", node->parent, folded)));
        assert_true(node->kind != LAYOUT_PROBLEM);
        if (node->kind == LAYOUT_EML)
            g_hash_table_add(messages, g_strdup(node->section));
        if (node->kind != LAYOUT_TEXT && node->kind != LAYOUT_HTML && node->kind != LAYOUT_PART)
            continue;
        assert_non_null(node->encoding);
        assert_non_null(node->content_type);
        assert_true(node->encoded_size == 0 || layout_estimate_size(node) > 0);
        /* A message that was sent encoded is there as an attachment too. */
        if (!g_hash_table_remove(sections, node->section))
            assert_true(g_str_has_suffix(node->name, ".eml"));
    }
    assert_int_equal(g_hash_table_size(sections), 0);
}

static char *load_corpus_file(const char *file)
{
    const char *dir = g_getenv("IMAPFS_CORPUS");
    g_autofree char *here = g_path_get_dirname(__FILE__);
    g_autofree char *fallback = g_build_filename(here, "../../../../shared/corpus", NULL);
    g_autofree char *path = g_build_filename(dir ? dir : fallback, file, NULL);
    char *all = NULL;
    if (!g_file_get_contents(path, &all, NULL, NULL))
        print_message("no corpus at %s\n", path);
    return all;
}

static void test_corpus(void **state)
{
    char *loaded = load_corpus_file("EXPECT.jsonl");
    if (!loaded)
        skip();
    g_autofree char *all = loaded;
    sqlite3 *db;
    assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
    sqlite3_stmt *row;
    sqlite3_prepare_v2(db, "SELECT json_extract(?1,'$.dovecot_bodystructure')", -1, &row, NULL);
    g_auto(GStrv) lines = g_strsplit(all, "\n", -1);
    guint messages = 0, doubtful = 0;
    for (guint i = 0; lines[i] && *lines[i]; i++) {
        sqlite3_bind_text(row, 1, lines[i], -1, SQLITE_STATIC);
        assert_int_equal(sqlite3_step(row), SQLITE_ROW);
        const char *text = (const char *)sqlite3_column_text(row, 0);
        if (text) {
            g_autoptr(BodyPart) body = parse(text);
            check(body);
            messages++;
            doubtful += mime_structure_doubt(body) != NULL;
        }
        sqlite3_reset(row);
    }
    sqlite3_finalize(row);
    sqlite3_close(db);
    print_message("%u structures, of which %u may hide something\n", messages, doubtful);
    assert_true(messages > 600);
}

/* Structures that other servers sent and that are broken: what is understood has a layout. */
static void test_broken(void **state)
{
    char *loaded = load_corpus_file("transcripts/mailkit/ImapUtilsTests-a.json");
    if (!loaded)
        skip();
    g_autofree char *all = loaded;
    sqlite3 *db;
    assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
    sqlite3_stmt *row;
    sqlite3_prepare_v2(db, "SELECT json_extract(value,'$.input') FROM json_each(?1)", -1, &row,
                       NULL);
    sqlite3_bind_text(row, 1, all, -1, SQLITE_STATIC);
    guint understood = 0;
    while (sqlite3_step(row) == SQLITE_ROW) {
        g_autofree char *text = g_strdup((const char *)sqlite3_column_text(row, 0));
        g_strchomp(text);
        g_autoptr(BodyPart) body = bodystructure_parse(text, strlen(text), NULL);
        if (!body)
            continue;
        check(body);
        understood++;
    }
    sqlite3_finalize(row);
    sqlite3_close(db);
    print_message("%u structures\n", understood);
    assert_true(understood >= 8);
}

/* A structure made by chance: any tree of any kinds, names from a few. */
static void random_part(GRand *rand, GString *out, guint depth)
{
    static const char *const LEAVES[] = {PLAIN,        HTML,
                                         PDF("a.pdf"), PDF("part-1.message"),
                                         PDF("..."),   PLAIN_AS("(\"attachment\" NIL)")};
    static const char *const KINDS[] = {"mixed", "alternative", "related", "digest", "signed"};
    guint choice = g_rand_int_range(rand, 0, depth > 6 ? 6 : 10);
    if (choice < 6) {
        g_string_append(out, LEAVES[choice]);
        return;
    }
    if (choice == 6) {
        g_string_append(out, "(\"message\" \"rfc822\" NIL NIL NIL \"");
        g_string_append(out, g_rand_boolean(rand) ? "7bit\" 9 " : "base64\" 9 ");
        g_string_append(out, ENVELOPE " ");
        random_part(rand, out, depth + 1);
        g_string_append(out, " 10)");
        return;
    }
    g_string_append_c(out, '(');
    for (int n = g_rand_int_range(rand, 1, 5); n > 0; n--)
        random_part(rand, out, depth + 1);
    g_string_append_printf(out, " \"%s\")", KINDS[g_rand_int_range(rand, 0, 5)]);
}

static void test_random(void **state)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(3);
    for (guint i = 0; i < 3000; i++) {
        g_autoptr(GString) text = g_string_new(NULL);
        random_part(rand, text, 0);
        g_autoptr(BodyPart) body = parse(text->str);
        check(body);
    }
}

static void assert_problem(const Layout *layout)
{
    g_autofree char *have = describe(layout);
    assert_string_equal(have, "PROBLEM.txt=");
}

static BodyPart *leaf(const char *section)
{
    BodyPart *part = g_new0(BodyPart, 1);
    part->section = g_strdup(section);
    part->type = g_strdup("application");
    part->subtype = g_strdup("pdf");
    part->encoding = g_strdup("7bit");
    return part;
}

static void add_child(BodyPart *parent, BodyPart *child)
{
    if (!parent->children)
        parent->children = g_ptr_array_new_with_free_func((GDestroyNotify)body_part_free);
    g_ptr_array_add(parent->children, child);
    child->parent = parent;
}

static void test_charset(void **state)
{
    static const struct {
        const char *params, *want;
    } CASES[] = {
        {"NIL", NULL},
        {"(\"charset\" \"koi8-r\")", "koi8-r"},
        {"(\"charset*\" \"us-ascii'en'koi8-r\")", "koi8-r"},
        {"(\"charset*1\" \"8-r\" \"charset*0\" \"koi\")", "koi8-r"},
    };
    for (guint i = 0; i < G_N_ELEMENTS(CASES); i++) {
        g_autofree char *text =
            g_strdup_printf(TEXT("plain", "%s NIL NIL \"8bit\" 10 1"), CASES[i].params);
        g_autoptr(BodyPart) body = parse(text);
        g_autoptr(Layout) layout = layout_new(body);
        const LayoutNode *node = g_ptr_array_index(layout->nodes, LAYOUT_INDEX_FIRST_PART);
        assert_int_equal(g_strcmp0(node->charset, CASES[i].want), 0);
    }
}

static void clear_param(gpointer data)
{
    BodyParam *param = data;
    g_free(param->name);
    g_free(param->value);
}

static BodyPart *wide(guint parts)
{
    BodyPart *body = leaf("");
    g_free(body->type);
    body->type = g_strdup("multipart");
    for (guint i = 1; i < parts; i++) {
        g_autofree char *section = g_strdup_printf("%u", i);
        add_child(body, leaf(section));
    }
    return body;
}

static BodyPart *deep(guint levels)
{
    BodyPart *body = leaf("1"), *at = body;
    for (guint i = 0; i < levels; i++) {
        g_free(at->type);
        at->type = g_strdup("message");
        g_autofree char *section = g_strconcat(at->section, ".1", NULL);
        BodyPart *child = leaf(section);
        add_child(at, child);
        at = child;
    }
    return body;
}

/* Multiparts in multiparts, the tenth part of each: sections of 300 bytes, names of at most 255. */
static void test_deep_sections(void **state)
{
    BodyPart *at = wide(12);
    g_autoptr(BodyPart) body = at;
    for (guint depth = 1; depth < LIMIT_NESTING - 1; depth++) {
        BodyPart *inner = wide(12);
        inner->parent = at;
        body_part_free(g_ptr_array_index(at->children, 10));
        g_ptr_array_index(at->children, 10) = inner;
        g_free(inner->section);
        inner->section = *at->section ? g_strconcat(at->section, ".11", NULL) : g_strdup("11");
        for (guint i = 0; i < inner->children->len; i++) {
            BodyPart *child = g_ptr_array_index(inner->children, i);
            g_free(child->section);
            child->section = g_strdup_printf("%s.%u", inner->section, i + 1);
        }
        at = inner;
    }
    check(body);
    g_autoptr(Layout) layout = layout_new(body);
    const LayoutNode *last = g_ptr_array_index(layout->nodes, layout->nodes->len - 1);
    assert_true(strlen(last->section) > 255 && strlen(last->name) <= 255);
    g_autofree char *name = layout_section_name(last->section);
    assert_true(strlen(name) < 200 && g_str_has_prefix(last->section, "11.11.11.11"));
    g_autofree char *itself = layout_section_name("1.2.3");
    assert_string_equal(itself, "1.2.3");
}

static void test_limits(void **state)
{
    g_autoptr(Layout) none = layout_new(NULL);
    assert_problem(none);
    static const guint OVER[] = {LIMIT_PARTS + 1, 10 * LIMIT_PARTS};
    for (guint i = 0; i < G_N_ELEMENTS(OVER); i++) {
        g_autoptr(BodyPart) body = wide(OVER[i]);
        g_autoptr(Layout) layout = layout_new(body);
        assert_problem(layout);
    }
    g_autoptr(BodyPart) at_limit = wide(LIMIT_PARTS);
    check(at_limit);
    g_autoptr(BodyPart) nested = deep(LIMIT_NESTING);
    check(nested);
    static const guint DEEPER[] = {LIMIT_NESTING + 1, 10 * LIMIT_NESTING};
    for (guint i = 0; i < G_N_ELEMENTS(DEEPER); i++) {
        g_autoptr(BodyPart) body = deep(DEEPER[i]);
        g_autoptr(Layout) layout = layout_new(body);
        assert_problem(layout);
    }
}

/* The names of a message together have so many encoded words decoded, as a word may cost the
 * opening of a charset: what comes after them is a file all the same. */
static void test_words(void **state)
{
    const guint words = 200, parts = PARAM_WORDS / words + 1;
    g_autoptr(BodyPart) body = wide(parts + 1);
    g_autoptr(GString) name = g_string_new(NULL);
    for (guint i = 0; i < words; i++)
        g_string_append(name, "=?utf-8?q?a?= ");
    for (guint i = 0; i < parts; i++) {
        BodyPart *part = g_ptr_array_index(body->children, i);
        BodyParam param = {g_strdup("name"), g_strdup(name->str)};
        part->params = g_array_new(FALSE, FALSE, sizeof(BodyParam));
        g_array_set_clear_func(part->params, clear_param);
        g_array_append_val(part->params, param);
    }
    g_autoptr(Layout) layout = layout_new(body);
    assert_int_equal(layout->nodes->len, LAYOUT_INDEX_FIRST_PART + 1 + parts);
    const LayoutNode *last = g_ptr_array_index(layout->nodes, layout->nodes->len - 1);
    const LayoutNode *before = g_ptr_array_index(layout->nodes, layout->nodes->len - 2);
    assert_true(g_str_has_prefix(before->name, "aaaaaaaa"));
    assert_true(g_str_has_prefix(last->name, "=_utf-8_q_a_= "));
}

/* Messages in messages take four nodes a part: over what an inode number can hold. */
static void test_node_limit(void **state)
{
    g_autoptr(BodyPart) body = leaf("");
    g_free(body->type);
    body->type = g_strdup("multipart");
    for (guint i = 1; i <= 100; i++) {
        BodyPart *chain = deep(98);
        add_child(body, chain);
        for (BodyPart *at = chain; at;
             at = at->children ? g_ptr_array_index(at->children, 0) : NULL) {
            char *section = g_strdup_printf("%u%s", i, at->section + 1);
            g_free(at->section);
            at->section = section;
        }
    }
    g_autoptr(Layout) layout = layout_new(body);
    assert_problem(layout);
}

static void test_estimate(void **state)
{
    static const struct {
        LayoutKind kind;
        const char *encoding;
        guint64 encoded, low, high;
    } CASES[] = {
        {LAYOUT_PART, "base64", 0, 0, 0},
        {LAYOUT_PART, "base64", 1, 1, 1},
        {LAYOUT_PART, "base64", 78 * 1000, 57000, 57000},
        {LAYOUT_PART, "base64", G_MAXUINT64, G_MAXUINT64 / 78 * 57, G_MAXUINT64 / 4 * 3},
        {LAYOUT_PART, "7bit", 77, 77, 77},
        {LAYOUT_TEXT, "quoted-printable", 77, 1, 77},
        {LAYOUT_HEADERS, NULL, 0, 1, 100000},
    };
    for (guint i = 0; i < G_N_ELEMENTS(CASES); i++) {
        LayoutNode node = {.kind = CASES[i].kind,
                           .encoding = (char *)CASES[i].encoding,
                           .encoded_size = CASES[i].encoded};
        guint64 size = layout_estimate_size(&node);
        assert_true(size >= CASES[i].low && size <= CASES[i].high);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),         cmocka_unit_test(test_corpus),
        cmocka_unit_test(test_broken),        cmocka_unit_test(test_random),
        cmocka_unit_test(test_limits),        cmocka_unit_test(test_node_limit),
        cmocka_unit_test(test_estimate),      cmocka_unit_test(test_words),
        cmocka_unit_test(test_deep_sections), cmocka_unit_test(test_charset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
