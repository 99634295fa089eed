/* Real messages: what our parser and decoders make of them, against hashes computed by others.
 *
 * Runs when the corpus is there (IMAPFS_CORPUS, else ../shared/corpus beside the source). Class A
 * must come out byte for byte, class B with the misses named below, class C without a crash. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <sqlite3.h>
#include "imapfs/mime/decode.h"
#include "imapfs/mime/param.h"
#include "imapfs/mime/structure.h"

typedef struct {
    guint messages, right, wrong_parts;
    guint missing, raw, bytes, text; /* parts that are wrong, and how */
    guint names, names_right;        /* parts that the reference has a file name for */
    guint read_better;               /* messages where we read text that was given up on */
} Tally;

/* Of class B, what comes out otherwise, and why that is as good. */
static const char *const KNOWN[] = {
    /* The sender made backslashes yen signs: we decode all lines, the reference stops at one. */
    "messages/libetpan-jwz/35.eml",
    /* UTF-8 that says it is Big5: noise in any reading, and the tables of noise differ. */
    "messages/mikel-mail/error_emails_content_transfer_encoding_empty.eml",
    NULL,
};

static char *corpus_path(const char *file)
{
    const char *dir = g_getenv("IMAPFS_CORPUS");
    g_autofree char *here = g_path_get_dirname(__FILE__);
    g_autofree char *fallback = g_build_filename(here, "../../../../shared/corpus", NULL);
    return g_build_filename(dir ? dir : fallback, file, NULL);
}

/* As an IMAP server serves it: every LF has its CR. */
static GByteArray *with_crlf(const char *text, gsize length)
{
    GByteArray *out = g_byte_array_sized_new((guint)length + 1024);
    for (gsize i = 0; i < length; i++) {
        if (text[i] == '\n' && (i == 0 || text[i - 1] != '\r'))
            g_byte_array_append(out, (const guint8 *)"\r", 1);
        g_byte_array_append(out, (const guint8 *)text + i, 1);
    }
    return out;
}

static bool hash_is(const guint8 *bytes, gsize length, const char *want)
{
    g_autofree char *have =
        g_compute_checksum_for_data(G_CHECKSUM_SHA256, bytes ? bytes : (const guint8 *)"", length);
    return strcmp(have, want) == 0;
}

/* In pieces of `step` bytes. */
static GByteArray *decode(const char *cte, const char *charset, bool text, const char *raw,
                          gsize length, gsize step)
{
    GByteArray *out = g_byte_array_new();
    g_autoptr(Decoder) decoder = decoder_new(cte, charset, text, false);
    for (gsize i = 0; i < length; i += step)
        decoder_feed(decoder, raw + i, MIN(step, length - i), out);
    decoder_finish(decoder, out);
    return out;
}

static const char *column(sqlite3_stmt *row, int i)
{
    return (const char *)sqlite3_column_text(row, i);
}

/* What the label says to the letter: U+FFFD for bytes over 0x7f in US-ASCII (also when nothing is
 * declared), and the C1 controls of ISO 8859-1. The reference reads so; we read what was meant. */
static bool is_literal_reading(const GByteArray *bytes, const char *charset, const char *want)
{
    bool latin1 = charset && g_ascii_strcasecmp(charset, "iso-8859-1") == 0;
    if (charset && !latin1 && g_ascii_strcasecmp(charset, "us-ascii") != 0)
        return false;
    g_autoptr(GString) text = g_string_new(NULL);
    for (guint i = 0; i < bytes->len; i++) {
        guint8 c = bytes->data[i];
        if (c == '\r' && i + 1 < bytes->len && bytes->data[i + 1] == '\n')
            continue;
        if (c < 0x80)
            g_string_append_c(text, (char)c);
        else
            g_string_append_unichar(text, latin1 ? c : 0xfffd);
    }
    return hash_is((const guint8 *)text->str, text->len, want);
}

/* One expected part; NULL when it is right, else what is wrong with it. */
static const char *check_part(const MimeIndex *index, const char *raw, sqlite3_stmt *row)
{
    gsize offset, length;
    if (!mime_index_find(index, column(row, 1), &offset, &length))
        return "missing";
    raw += offset;
    if (!hash_is((const guint8 *)raw, length, column(row, 5)))
        return "raw";
    if (strcmp(column(row, 0), "leaf") != 0)
        return NULL;
    static const gsize STEPS[] = {1, 7, 4096, G_MAXSIZE / 2};
    const char *utf8 = column(row, 7);
    for (guint i = 0; i < G_N_ELEMENTS(STEPS); i++) {
        g_autoptr(GByteArray) bytes = decode(column(row, 3), NULL, false, raw, length, STEPS[i]);
        if (!hash_is(bytes->data, bytes->len, column(row, 6)))
            return "bytes";
        g_autoptr(GByteArray) text =
            decode(column(row, 3), column(row, 4), true, raw, length, STEPS[i]);
        assert_true(g_utf8_validate((const char *)text->data, text->len, NULL) ||
                    memchr(text->data, 0, text->len));
        if (utf8 && !hash_is(text->data, text->len, utf8))
            return is_literal_reading(bytes, column(row, 4), utf8) ? "better" : "text";
    }
    return NULL;
}

static const BodyPart *find_part(const BodyPart *part, const char *section)
{
    const BodyPart *found = strcmp(part->section, section) == 0 ? part : NULL;
    for (guint i = 0; !found && part->children && i < part->children->len; i++)
        found = find_part(g_ptr_array_index(part->children, i), section);
    return found;
}

/* Control characters of an expected name as we give them: a line break is a blank, others U+FFFD.
 */
static char *without_controls(const char *name)
{
    GString *out = g_string_new(NULL);
    for (const char *p = name; *p; p = g_utf8_next_char(p)) {
        gunichar c = g_utf8_get_char(p);
        bool control = c < 0x20 || (c >= 0x7f && c < 0xa0);
        if (c == '\r' && p[1] == '\n')
            continue;
        g_string_append_unichar(out, c == '\n' ? ' ' : control ? 0xfffd : c);
    }
    return g_string_free(out, FALSE);
}

static void check_name(const MimeIndex *index, const char *file, sqlite3_stmt *row, bool report,
                       Tally *tally)
{
    const BodyPart *part = find_part(mime_index_body(index), column(row, 1));
    if (!column(row, 9) || !part)
        return;
    g_autofree char *want = without_controls(column(row, 9));
    tally->names++;
    guint words = PARAM_WORDS;
    g_autofree char *have = mime_part_filename(part, &words);
    tally->names_right += g_strcmp0(have, want) == 0;
    if (report && g_strcmp0(have, want) != 0)
        print_message("%s %s: named \"%s\", not \"%s\" %s\n", file, column(row, 1), have, want,
                      column(row, 8));
}

static void check_message(sqlite3 *db, const char *line, const char *file, bool report,
                          Tally *tally)
{
    g_autofree char *path = corpus_path(file);
    g_autofree char *contents = NULL;
    gsize length;
    assert_true(g_file_get_contents(path, &contents, &length, NULL));
    g_autoptr(GByteArray) raw = with_crlf(contents, length);
    g_autoptr(GError) error = NULL;
    g_autoptr(MimeIndex) index = mime_index_new((const char *)raw->data, raw->len, &error);
    tally->messages++;
    if (!index) {
        if (report)
            print_message("%s: %s\n", file, error->message);
        return;
    }
    sqlite3_stmt *rows;
    assert_int_equal(sqlite3_prepare_v2(
                         db,
                         "SELECT json_extract(value,'$.kind'), json_extract(value,'$.section'),"
                         " json_extract(value,'$.type'), json_extract(value,'$.cte'),"
                         " json_extract(value,'$.charset'), json_extract(value,'$.raw_sha256'),"
                         " json_extract(value,'$.sha256'), json_extract(value,'$.utf8_lf_sha256'),"
                         " json_extract(value,'$.flags'), json_extract(value,'$.filename')"
                         " FROM json_each(?1,'$.parts')",
                         -1, &rows, NULL),
                     SQLITE_OK);
    sqlite3_bind_text(rows, 1, line, -1, SQLITE_STATIC);
    guint wrong = 0, better = 0;
    while (sqlite3_step(rows) == SQLITE_ROW) {
        check_name(index, file, rows, report, tally);
        const char *problem = check_part(index, (const char *)raw->data, rows);
        if (!problem)
            continue;
        if (strcmp(problem, "better") == 0) {
            better++;
            continue;
        }
        wrong++;
        tally->missing += strcmp(problem, "missing") == 0;
        tally->raw += strcmp(problem, "raw") == 0;
        tally->bytes += strcmp(problem, "bytes") == 0;
        tally->text += strcmp(problem, "text") == 0;
        report = report && !g_strv_contains(KNOWN, file);
        if (report)
            print_message("%s %s: %s (%s, %s, %s, %s)\n", file, column(rows, 1), problem,
                          column(rows, 2), column(rows, 3),
                          column(rows, 4) ? column(rows, 4) : "no charset", column(rows, 8));
    }
    sqlite3_finalize(rows);
    tally->right += wrong == 0 && better == 0;
    tally->read_better += wrong == 0 && better > 0;
    tally->wrong_parts += wrong;
}

static char *load_expectations(void)
{
    g_autofree char *path = corpus_path("EXPECT.jsonl");
    char *all = NULL;
    if (!g_file_get_contents(path, &all, NULL, NULL))
        print_message("no corpus at %s\n", path);
    return all;
}

static void test_corpus(void **state)
{
    char *loaded = load_expectations();
    if (!loaded)
        skip();
    g_autofree char *all = loaded;
    sqlite3 *db;
    assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
    sqlite3_stmt *head;
    sqlite3_prepare_v2(db, "SELECT json_extract(?1,'$.file'), json_extract(?1,'$.class')", -1,
                       &head, NULL);
    Tally tally[3] = {{0}};
    g_auto(GStrv) lines = g_strsplit(all, "\n", -1);
    for (guint i = 0; lines[i] && *lines[i]; i++) {
        sqlite3_bind_text(head, 1, lines[i], -1, SQLITE_STATIC);
        assert_int_equal(sqlite3_step(head), SQLITE_ROW);
        char class = *column(head, 1);
        assert_in_range(class, 'A', 'C');
        check_message(db, lines[i], column(head, 0), class != 'C', &tally[class - 'A']);
        sqlite3_reset(head);
    }
    sqlite3_finalize(head);
    sqlite3_close(db);
    for (guint i = 0; i < 3; i++) {
        print_message("class %c: %u of %u file names as expected\n", 'A' + (char)i,
                      tally[i].names_right, tally[i].names);
        print_message("class %c: %u of %u messages right, %u read better; parts wrong: %u (%u not "
                      "found, %u cut "
                      "otherwise, %u decoded otherwise, %u text otherwise)\n",
                      'A' + (char)i, tally[i].right, tally[i].messages, tally[i].read_better,
                      tally[i].wrong_parts, tally[i].missing, tally[i].raw, tally[i].bytes,
                      tally[i].text);
    }
    assert_int_equal(tally[0].right, tally[0].messages);
    assert_int_equal(tally[0].names_right, tally[0].names);
    assert_true(tally[1].right + tally[1].read_better >= 198);
    assert_true(tally[1].right + tally[1].read_better + G_N_ELEMENTS(KNOWN) - 1 == 201);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_corpus)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
