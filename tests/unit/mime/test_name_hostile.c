/* More than a thousand names that somebody might send to do harm: none escapes, none hides, none
 * equals another, and git finds no repository among them. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include <glib/gstdio.h>
#include "imapfs/mime/name.h"

static const char *const WHOLE[] = {
    "",
    ".",
    "..",
    "...",
    "....",
    " ",
    "  ",
    ". .",
    "-",
    "--",
    "-rf",
    "-rf *",
    "--help",
    "-",
    "~",
    "~root",
    "/",
    "//",
    "/etc/passwd",
    "//etc//passwd",
    "../x",
    "../../x",
    "../../../../../../x",
    "a/../../x",
    "./x",
    "x/",
    "x/.",
    "x/..",
    "\\",
    "..\\x",
    "C:",
    "C:\\x",
    "C:x",
    "\\\\host\\share",
    "\\\\?\\C:\\x",
    "file:///etc/passwd",
    "x:y",
    "x::$DATA",
    "a\tb",
    "a\nb",
    "a\r\nb",
    "\n",
    "\r",
    "\x1b[2J",
    "\x1b]0;x\x07",
    "\x9b"
    "31m",
    "\xc2\x9b"
    "31m",
    "\x7f",
    "\x08\x08\x08",
    "$(id)",
    "`id`",
    ";id",
    "|id",
    "&id",
    "a;b",
    "a|b",
    "a&b",
    "a>b",
    "a<b",
    "a*b",
    "a?b",
    "*",
    "?",
    "[a-z]",
    "{a,b}",
    "!x",
    "#x",
    "#x#",
    "%x",
    "%2e%2e%2f",
    "%00",
    "=x",
    "@x",
    "^x",
    "'x'",
    "\"x\"",
    "x'y",
    ".bashrc",
    ".profile",
    ".ssh",
    ".git",
    ".gitmodules",
    ".gitattributes",
    ".hg",
    ".svn",
    ".envrc",
    ".vscode",
    ".editorconfig",
    ".htaccess",
    ".nomedia",
    ".directory",
    ".desktop",
    ".DS_Store",
    ".Trash-1000",
    ".hidden",
    ".imapfs",
    ".search",
    ".fuse_hidden0000001",
    ".nfs0001",
    "HEAD",
    "head",
    "Head",
    "config",
    "objects",
    "refs",
    "commondir",
    "COMMONDIR",
    "gitdir",
    "hooks",
    "index",
    "packed-refs",
    "ORIG_HEAD",
    "FETCH_HEAD",
    "shallow",
    "HEAD.",
    "HEAD ",
    " HEAD",
    ".HEAD",
    "HEAD/",
    "H\xe2\x80\x8b"
    "EAD",
    "HEA\xcc\x80"
    "D",
    "CON",
    "con",
    "PRN",
    "AUX",
    "NUL",
    "COM1",
    "LPT9",
    "con.txt",
    "nul.tar.gz",
    "CON.",
    "aux.",
    "headers.txt",
    "body.txt",
    "body.html",
    "body-2.txt",
    "flags",
    "message.eml",
    "attachments",
    "PROBLEM.txt",
    "part-1.message",
    "part-2.message",
    "PART-1.MESSAGE",
    "part-1.bin",
    "a.desktop",
    "a.DESKTOP",
    "a.desktop ",
    "a.desktop.",
    "a.desktop. .",
    "a.desktop\xe2\x80\x8b",
    "a.\xe2\x80\x8b"
    "desktop",
    "a.desktop\n",
    "a.desktop/",
    "a.desktop?",
    "a.desktop:",
    "a.directory",
    "a.url",
    "a.lnk",
    "a.webloc",
    "a.service",
    "a.mount",
    "a.pif",
    "a.scf",
    "a.desktop\xc2\xa0",
    "a.desktop\xe3\x80\x80",
    "a.des\xe2\x84\xaatop",
    "a.pdf.desktop",
    "invoice\xe2\x80\xae"
    "fdp.exe",
    "\xe2\x80\xaex",
    "x\xe2\x80\xae",
    "\xe2\x81\xa6x\xe2\x81\xa9",
    "\xd8\x9cx",
    "\xe2\x80\x8fx",
    "\xef\xbb\xbfx",
    "x\xef\xbb\xbf",
    "\xe2\x80\xa8x",
    "x\xe2\x80\xa9y",
    "a\xc2\xad"
    "b",
    "\xc2\xad",
    "\xe2\x80\x8b",
    "\xe2\xa0\x80",
    "\xe3\x85\xa4",
    "\xcc\x81",
    "\xcc\x81x",
    "e\xcc\x81",
    "\xc3\xa9",
    "\xc3\x89",
    "E\xcc\x81",
    "\xe1\x84\x80\xe1\x85\xa1",
    "\xea\xb0\x80",
    "\xef\xbc\x8fx",
    "\xe2\x88\x95x",
    "\xe2\x81\x84x",
    "\xe2\x80\xa4\xe2\x80\xa4/",
    "\xef\xbc\x8e\xef\xbc\x8e/",
    "\xc0\xae\xc0\xae\xc0\xaf",
    "\xc0\x80",
    "\xe0\x80\xaf",
    "\xed\xa0\x80",
    "\xed\xb0\x80",
    "\xf4\x90\x80\x80",
    "\xf8\x88\x80\x80\x80",
    "\xff",
    "\xfe\xff",
    "\x80",
    "a\xff",
    "a\xc3",
    "a\xe2\x82",
    "a\xf0\x9f",
    "\xef\xbf\xbf",
    "\xef\xbf\xbe",
    "\xef\xb7\x90",
    "\xf0\x9f\xbf\xbf",
    "\xf3\xa0\x80\xa0",
    "\xf3\xa0\x84\x80x",
    "\xef\x80\xa1x",
    "\xee\x80\x80",
    "\xf3\xb0\x80\x80",
    "x\xef\xb8\x8f",
    "\xf0\x9f\x91\xa8\xe2\x80\x8d\xf0\x9f\x91\xa9",
    "STRASSE",
    "stra\xc3\x9f"
    "e",
    "\xc4\xb0",
    "\xc4\xb1",
    "I",
    "i",
    "\xef\xac\x81",
    "fi",
    "\xce\xa3",
    "\xcf\x83",
    "\xcf\x82",
    "A",
    "a",
    "\xc5\xbf",
    "s",
};

static GPtrArray *all_names(void)
{
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
    for (guint i = 0; i < G_N_ELEMENTS(WHOLE); i++)
        g_ptr_array_add(names, g_strdup(WHOLE[i]));
    static const char *const SHAPES[] = {"%s", "a%sb", "%s.pdf", "a.%sdesktop", "..%s"};
    static const struct {
        gunichar first, last;
    } RANGES[] = {
        {0x01, 0x2f},     {0x7f, 0xa0},     {0x2000, 0x2012},   {0x2028, 0x202f},
        {0x205f, 0x206f}, {0xfff0, 0xffff}, {0xe0000, 0xe0004}, {0x180b, 0x180f},
    };
    for (guint r = 0; r < G_N_ELEMENTS(RANGES); r++) {
        for (gunichar c = RANGES[r].first; c <= RANGES[r].last; c++) {
            char utf8[7] = "";
            g_unichar_to_utf8(c, utf8);
            for (guint s = 0; s < G_N_ELEMENTS(SHAPES); s++) {
                g_auto(GStrv) halves = g_strsplit(SHAPES[s], "%s", 2);
                g_ptr_array_add(names, g_strconcat(halves[0], utf8, halves[1], NULL));
            }
        }
    }
    static const char *const FILL[] = {"x",
                                       ".",
                                       "-",
                                       " ",
                                       "/",
                                       "\xc3\xa9",
                                       "\xcc\x81",
                                       "\xf0\x9f\x98\x80",
                                       "\xe2\x80\x8b",
                                       "\xff",
                                       "\xe4\xb8",
                                       "a."};
    for (guint f = 0; f < G_N_ELEMENTS(FILL); f++) {
        for (guint n = 60; n < 1500; n = n * 5 / 4) {
            GString *name = g_string_new(NULL);
            while (name->len < n)
                g_string_append(name, FILL[f]);
            g_ptr_array_add(names, g_strconcat(name->str, ".desktop", NULL));
            g_ptr_array_add(names, g_string_free(name, FALSE));
        }
    }
    return names;
}

static void check(const char *sent, const char *name)
{
    gsize length = strlen(name);
    assert_true(length > 0 && length <= 255 && g_utf8_validate(name, -1, NULL));
    assert_false(name[0] == '.' || name[0] == '-' || name[0] == ' ');
    assert_false(name[length - 1] == '.' || name[length - 1] == ' ');
    assert_null(strpbrk(name, "/\\:*?\"<>|"));
    g_autofree char *nfc = g_utf8_normalize(name, -1, G_NORMALIZE_NFC);
    assert_string_equal(nfc, name);
    for (const char *p = name; *p; p = g_utf8_next_char(p)) {
        gunichar c = g_utf8_get_char(p);
        GUnicodeType type = g_unichar_type(c);
        bool bad = type == G_UNICODE_CONTROL || type == G_UNICODE_FORMAT ||
                   type == G_UNICODE_UNASSIGNED || type == G_UNICODE_SURROGATE ||
                   type == G_UNICODE_PRIVATE_USE || type == G_UNICODE_LINE_SEPARATOR ||
                   type == G_UNICODE_PARAGRAPH_SEPARATOR ||
                   (type == G_UNICODE_SPACE_SEPARATOR && c != ' ');
        if (bad)
            print_error("\"%s\" became \"%s\"\n", sent, name);
        assert_false(bad);
    }
}

/* A file, not a directory: what desktops and tools act on. */
static void check_file(const char *name)
{
    static const char *const EXTENSIONS[] = {".desktop", ".directory", ".url", ".lnk", ".webloc",
                                             ".service", ".mount",     ".pif", ".scf"};
    g_autofree char *folded = g_utf8_casefold(name, -1);
    for (guint i = 0; i < G_N_ELEMENTS(EXTENSIONS); i++)
        assert_false(g_str_has_suffix(folded, EXTENSIONS[i]));
    assert_string_not_equal(folded, "head");
    assert_string_not_equal(folded, "con");
}

static int remove_all(const char *dir)
{
    g_autoptr(GDir) open = g_dir_open(dir, 0, NULL);
    for (const char *name; open && (name = g_dir_read_name(open));) {
        g_autofree char *path = g_build_filename(dir, name, NULL);
        if (g_file_test(path, G_FILE_TEST_IS_DIR) && !g_file_test(path, G_FILE_TEST_IS_SYMLINK))
            remove_all(path);
        else
            g_unlink(path);
    }
    return g_rmdir(dir);
}

/* Whether git takes the directory for a repository; false too when there is no git. */
static bool git_finds(const char *dir)
{
    g_autofree char *git = g_find_program_in_path("git");
    if (!git)
        return false;
    g_autofree char *parent = g_path_get_dirname(dir);
    g_auto(GStrv) env = g_environ_setenv(g_get_environ(), "GIT_CEILING_DIRECTORIES", parent, TRUE);
    const char *argv[] = {git, "-c", "safe.directory=*", "-C", dir, "rev-parse", "--git-dir", NULL};
    int status = -1;
    assert_true(g_spawn_sync(NULL, (char **)argv, env,
                             G_SPAWN_STDOUT_TO_DEV_NULL | G_SPAWN_STDERR_TO_DEV_NULL, NULL, NULL,
                             NULL, NULL, &status, NULL));
    return status == 0;
}

static void put_file(int dir, const char *name, const char *text, mode_t mode)
{
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

static void test_all(void **state)
{
    g_autoptr(GPtrArray) sent = all_names();
    assert_true(sent->len >= 1000);
    g_autoptr(GHashTable) taken = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_autofree char *dir = g_dir_make_tmp("imapfs-names-XXXXXX", NULL);
    assert_non_null(dir);
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    for (guint i = 0; i < sent->len; i++) {
        const char *from = g_ptr_array_index(sent, i);
        g_autofree char *section = g_strdup_printf("%u", i);
        g_autofree char *name = name_make_unique(taken, name_attachment(from, section, "a", "b"));
        check(from, name);
        check_file(name);
        put_file(fd, name, "ref: refs/heads/main\n", 0400);
        g_autofree char *message = name_message(0, 0, from, from);
        assert_true(strlen(message) <= 240 && g_str_has_prefix(message, "1970-01-01 "));
        check(from, message);
    }
    guint files = 0;
    GDir *list = g_dir_open(dir, 0, NULL);
    while (g_dir_read_name(list))
        files++;
    g_dir_close(list);
    close(fd);
    bool git = git_finds(dir);
    assert_int_equal(remove_all(dir), 0);
    assert_int_equal(files, sent->len);
    assert_false(git);
}

/* Parts called as the files of a bare repository. A mount shows them as files without x, which is
 * not enough for git; and if somebody copied them beside real directories, HEAD still is not there.
 */
static void test_bare_repository(void **state)
{
    static const char *const PARTS[] = {"HEAD", "config", "commondir", "packed-refs"};
    static const char *const DIRS[] = {"objects", "refs"};
    for (guint real = 0; real < 2; real++) {
        g_autofree char *dir = g_dir_make_tmp("imapfs-bare-XXXXXX", NULL);
        int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        for (guint i = 0; i < G_N_ELEMENTS(PARTS); i++) {
            g_autofree char *ours = name_attachment(PARTS[i], "1", "a", "b");
            const char *name = real ? PARTS[i] : ours;
            if (strcmp(PARTS[i], "commondir") != 0 || !real)
                put_file(fd, name, i == 0 ? "ref: refs/heads/main\n" : "", 0400);
        }
        for (guint i = 0; i < G_N_ELEMENTS(DIRS); i++)
            assert_int_equal(mkdirat(fd, DIRS[i], 0700), 0);
        close(fd);
        bool git = git_finds(dir);
        g_autofree char *present = g_find_program_in_path("git");
        assert_int_equal(remove_all(dir), 0);
        /* With the names as they were sent it is one: the test can tell. */
        assert_int_equal(git, real && present);
    }
    g_autofree char *dir = g_dir_make_tmp("imapfs-bare-XXXXXX", NULL);
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (guint i = 0; i < G_N_ELEMENTS(PARTS); i++) {
        g_autofree char *name = name_attachment(PARTS[i], "1", "a", "b");
        put_file(fd, name, "ref: refs/heads/main\n", 0400);
    }
    for (guint i = 0; i < G_N_ELEMENTS(DIRS); i++) {
        g_autofree char *name = name_attachment(DIRS[i], "1", "a", "b");
        put_file(fd, name, "x", 0400);
    }
    close(fd);
    bool git = git_finds(dir);
    assert_int_equal(remove_all(dir), 0);
    assert_false(git);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all),
        cmocka_unit_test(test_bare_repository),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
