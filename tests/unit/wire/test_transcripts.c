/* Whole exchanges, cut at every byte: our own always, those of many servers when they are there
 * (IMAPFS_CORPUS, else ../shared/corpus beside the source; skipped, not failed, without it). */
#include "reader_case.h"

static char *beside_source(const char *path)
{
    g_autofree char *here = g_path_get_dirname(__FILE__);
    return g_build_filename(here, path, NULL);
}

static char *corpus_path(const char *path)
{
    const char *dir = g_getenv("IMAPFS_CORPUS");
    if (dir != NULL)
        return g_build_filename(dir, path, NULL);
    g_autofree char *beside = beside_source("../../../../shared/corpus");
    return g_build_filename(beside, path, NULL);
}

static GString *read_file(const char *path)
{
    char *bytes = NULL;
    gsize length;
    if (!g_file_get_contents(path, &bytes, &length, NULL))
        fail_msg("cannot read %s", path);
    GString *text = g_string_new_len(bytes, (gssize)length);
    g_free(bytes);
    return text;
}

/* Transcripts kept as text lost the CRs that their literals count. */
static void restore_line_ends(GString *text)
{
    if (memchr(text->str, '\r', text->len) == NULL)
        g_string_replace(text, "\n", "\r\n", 0);
}

static gint compare_paths(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Regular files below dir whose names end so, sorted. */
static void find_files(const char *dir, const char *suffix, GPtrArray *paths)
{
    GDir *entries = g_dir_open(dir, 0, NULL);
    const char *name;
    while (entries != NULL && (name = g_dir_read_name(entries)) != NULL) {
        char *path = g_build_filename(dir, name, NULL);
        if (g_file_test(path, G_FILE_TEST_IS_DIR))
            find_files(path, suffix, paths);
        else if (g_str_has_suffix(name, suffix))
            g_ptr_array_add(paths, g_steal_pointer(&path));
        g_free(path);
    }
    if (entries != NULL)
        g_dir_close(entries);
    g_ptr_array_sort(paths, compare_paths);
}

/* What a transcript may hold that is no success, and why. */
static const struct {
    const char *name; /* of the transcript: its end */
    const char *mark; /* in the dump */
    const char *reason;
} exceptions[] = {
    {"fetch-literal-overflow.imap", "BAD: a literal is too big", "4 GiB, over LIMIT_LITERAL"},
    {"headers.1+unsolicited-info.txt", "", "says {515} to 505 bytes, or 518 with CRs"},
    {"rfc9586_uidonly_responses.yml", "* 25997 UIDFETCH",
     "needs ENABLE UIDONLY, which we never send"},
};

/* Responses we know of and have no use for. */
static const char *const unused[] = {"METADATA", "THREAD",     "SORT",
                                     "XLIST",    "LISTRIGHTS", "ANNOTATION"};

static bool is_exception(const char *name, const char *line)
{
    for (gsize i = 0; i < G_N_ELEMENTS(exceptions); i++)
        if (g_str_has_suffix(name, exceptions[i].name) && strstr(line, exceptions[i].mark) != NULL)
            return true;
    for (gsize i = 0; i < G_N_ELEMENTS(unused); i++) {
        g_autofree char *start = g_strdup_printf("UNKNOWN text=\"* %s", unused[i]);
        if (g_str_has_prefix(line, start))
            return true;
    }
    return false;
}

/* Nothing in it is bad, unfinished, unknown or broken, but for the exceptions; at any split. */
static void check_transcript(const char *name, const char *bytes, gsize length)
{
    DumpMode mode = {0};
    g_autofree char *dump = dump_whole(mode, bytes, length);
    g_auto(GStrv) lines = g_strsplit(dump, "\n", -1);
    for (guint i = 0; lines[i] != NULL; i++) {
        bool fine = !g_str_has_prefix(lines[i], "BAD:") && strcmp(lines[i], "INSIDE") != 0 &&
                    !g_str_has_prefix(lines[i], "UNKNOWN") && strstr(lines[i], " broken=") == NULL;
        if (!fine && !is_exception(name, lines[i]))
            fail_msg("%s: %s", name, lines[i]);
    }
    check_splits(mode, name, bytes, length, dump);
}

static guint check_files(const char *dir, const char *suffix)
{
    g_autoptr(GPtrArray) paths = g_ptr_array_new_with_free_func(g_free);
    find_files(dir, suffix, paths);
    for (guint i = 0; i < paths->len; i++) {
        g_autoptr(GString) text = read_file(g_ptr_array_index(paths, i));
        restore_line_ends(text);
        /* MailKit's server tags; a tag has no '#' in it otherwise. */
        g_string_replace(text, "A########", "A00000001", 0);
        check_transcript(g_ptr_array_index(paths, i), text->str, text->len);
    }
    return paths->len;
}

static void test_own(void **state)
{
    g_autofree char *dir = beside_source("transcripts");
    assert_in_range(check_files(dir, ".imap"), 8, 100);
}

static bool have_corpus(void)
{
    g_autofree char *path = corpus_path("transcripts");
    return g_file_test(path, G_FILE_TEST_IS_DIR);
}

static void test_mailkit(void **state)
{
    if (!have_corpus())
        skip();
    g_autofree char *dir = corpus_path("transcripts/mailkit");
    assert_in_range(check_files(dir, ".txt"), 200, 10000);
}

static void test_libetpan(void **state)
{
    static const char *const dirs[] = {"transcripts/libetpan/response-data",
                                       "transcripts/libetpan/response-done",
                                       "fuzz/libetpan-imap-seeds"};
    if (!have_corpus())
        skip();
    for (gsize i = 0; i < G_N_ELEMENTS(dirs); i++) {
        g_autofree char *dir = corpus_path(dirs[i]);
        assert_in_range(check_files(dir, ".imap"), 5, 10000);
    }
}

/* A double-quoted scalar of YAML or a JSON string; p stands behind the quote. Returns behind the
 * closing one. Line breaks in it fold to one space (YAML 1.2 7.3.1). */
static const char *unquote(const char *p, GString *out)
{
    for (; *p != '\0' && *p != '"'; p++) {
        if (*p == '\n') {
            while (out->len > 0 && out->str[out->len - 1] == ' ')
                g_string_truncate(out, out->len - 1);
            p += strspn(p, " \n") - 1;
            g_string_append_c(out, ' ');
        } else if (*p != '\\') {
            g_string_append_c(out, *p);
        } else if (*++p == '\n') {
            p += strspn(p, " \n") - 1;
        } else if (*p == 'u') {
            char digits[5] = {0};
            strncpy(digits, p + 1, 4);
            g_string_append_unichar(out, (gunichar)strtoul(digits, NULL, 16));
            p += strlen(digits);
        } else {
            static const char from[] = "rnt", to[] = "\r\n\t";
            const char *escape = strchr(from, *p);
            g_string_append_c(out, escape != NULL && *p != '\0' ? to[escape - from] : *p);
        }
    }
    return *p == '"' ? p + 1 : p;
}

/* Each ":response:" of a file, with or without an anchor and a line break before its value. */
static guint check_yaml(const char *path)
{
    g_autoptr(GString) yaml = read_file(path);
    guint n = 0;
    for (const char *p = yaml->str; (p = strstr(p, "\n    :response:")) != NULL; n++) {
        g_autoptr(GString) response = g_string_new(NULL);
        p += strlen("\n    :response:");
        p += strspn(p, " ");
        if (*p == '&')
            p += strcspn(p, " \n");
        p += strspn(p, " \n");
        assert_int_equal(*p, '"');
        p = unquote(p + 1, response);
        check_transcript(path, response->str, response->len);
    }
    return n;
}

static void test_net_imap(void **state)
{
    if (!have_corpus())
        skip();
    g_autofree char *dir = corpus_path("transcripts/net-imap");
    g_autoptr(GPtrArray) paths = g_ptr_array_new_with_free_func(g_free);
    guint n = 0;
    find_files(dir, ".yml", paths);
    for (guint i = 0; i < paths->len; i++)
        n += check_yaml(g_ptr_array_index(paths, i));
    assert_in_range(n, 150, 10000);
}

/* MailKit's single values: the item each stands for, by a word in the test's name. */
static const struct {
    const char *word, *item;
} value_kinds[] = {
    {"Labels", "X-GM-LABELS"}, {"Annotations", "ANNOTATION"}, {"FlagsList", "FLAGS"},
    {"Body", "BODYSTRUCTURE"}, {"Envelope", "ENVELOPE"},
};

static const char *value_item(const char *test)
{
    for (gsize i = 0; i < G_N_ELEMENTS(value_kinds); i++)
        if (strstr(test, value_kinds[i].word) != NULL)
            return value_kinds[i].item;
    return "X-OTHER";
}

static const char *json_string(const char *p, const char *key, GString *out)
{
    g_autofree char *mark = g_strdup_printf("\"%s\": \"", key);
    p = strstr(p, mark);
    g_string_truncate(out, 0);
    return p != NULL ? unquote(p + strlen(mark), out) : NULL;
}

static void test_mailkit_values(void **state)
{
    if (!have_corpus())
        skip();
    g_autofree char *path = corpus_path("transcripts/mailkit/ImapUtilsTests-a.json");
    g_autoptr(GString) json = read_file(path), test = g_string_new(NULL),
                       value = g_string_new(NULL);
    guint n = 0;
    for (const char *p = json->str; (p = json_string(p, "test", test)) != NULL; n++) {
        p = json_string(p, "input", value);
        assert_non_null(p);
        while (value->len > 0 && strchr("\r\n", value->str[value->len - 1]) != NULL)
            g_string_truncate(value, value->len - 1);
        g_autoptr(GString) line = g_string_new("* 1 FETCH (UID 7 ");
        g_string_append_printf(line, "%s ", value_item(test->str));
        g_string_append_len(line, value->str, (gssize)value->len);
        g_string_append(line, " FLAGS (\\Seen))\r\n* OK done\r\n");
        check_transcript(test->str, line->str, line->len);
    }
    assert_in_range(n, 20, 1000);
}

/* Sections of leaves and of messages, in document order. */
static void list_sections(const BodyPart *part, GString *out)
{
    bool multipart = body_part_is(part, "multipart", NULL);
    if (!multipart || part->children == NULL)
        g_string_append_printf(out, " %s", part->section);
    for (guint i = 0; part->children != NULL && i < part->children->len; i++)
        list_sections(g_ptr_array_index(part->children, i), out);
}

static void want_sections(const char *line, GString *out)
{
    g_autoptr(GString) section = g_string_new(NULL);
    const char *p = strstr(line, "\"parts\": [");
    assert_non_null(p);
    while ((p = json_string(p, "section", section)) != NULL)
        g_string_append_printf(out, " %s", section->str);
}

static void test_bodystructures(void **state)
{
    if (!have_corpus())
        skip();
    g_autofree char *path = corpus_path("EXPECT.jsonl");
    g_autoptr(GString) all = read_file(path), structure = g_string_new(NULL);
    g_autoptr(GString) class = g_string_new(NULL), file = g_string_new(NULL);
    g_auto(GStrv) lines = g_strsplit(all->str, "\n", -1);
    guint n = 0;
    for (guint i = 0; lines[i] != NULL; i++) {
        if (json_string(lines[i], "dovecot_bodystructure", structure) == NULL)
            continue;
        json_string(lines[i], "class", class);
        json_string(lines[i], "file", file);
        g_autoptr(BodyPart) part = bodystructure_parse(structure->str, structure->len, NULL);
        if (part == NULL)
            fail_msg("%s: not read: %s", file->str, structure->str);
        g_autoptr(GString) printed = g_string_new(NULL), again = g_string_new(NULL);
        bodystructure_print(part, printed);
        g_autoptr(BodyPart) back = bodystructure_parse(printed->str, printed->len, NULL);
        assert_non_null(back);
        bodystructure_print(back, again);
        assert_string_equal(again->str, printed->str);
        g_autoptr(GString) got = g_string_new(NULL), want = g_string_new(NULL);
        list_sections(part, got);
        want_sections(lines[i], want);
        /* In class C the two do not agree what the parts are, nor on an empty multipart, for
         * which Dovecot says one part that is not there. */
        if (class->str[0] == 'C' || strstr(lines[i], "empty-multipart-placeholder") != NULL)
            continue;
        if (strcmp(got->str, want->str) != 0)
            fail_msg("%s: got%s, want%s", file->str, got->str, want->str);
        n++;
    }
    assert_in_range(n, 600, 100000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own),
        cmocka_unit_test(test_mailkit),
        cmocka_unit_test(test_libetpan),
        cmocka_unit_test(test_net_imap),
        cmocka_unit_test(test_mailkit_values),
        cmocka_unit_test(test_bodystructures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
