/* Tests of ctl/options: every kind, every refusal, and that the manual names all of them. */
#include "options.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

typedef struct {
    const char *list;
    OptionId id;
    const char *want;  /* its text afterwards; NULL with refusal set */
    const char *words; /* of the refusal */
} Case;

static const Case cases[] = {
    /* what mount.fuse3, mount(8) and systemd hand over is not ours to judge */
    {"rw,nosuid,nodev,dev,suid,noexec,exec,auto,noauto,_netdev,nofail,user,users,defaults",
     OPT_USER, NULL, NULL},
    {"x-systemd.automount,x-gvfs-show,comment=a b,noatime", OPT_USER, NULL, NULL},
    {"", OPT_TIMEOUT, "30", NULL},
    {",,timeout=5,,", OPT_TIMEOUT, "5", NULL},
    {"timeout=5,timeout=6", OPT_TIMEOUT, "6", NULL},
    {"user=alice", OPT_USER, "alice", NULL},
    {"tunnel=a\\,b=c d,ro", OPT_TUNNEL, "a,b=c d", NULL},
    {"tunnel=a\\\\\\,b\\n", OPT_TUNNEL, "a\\,b\\n", NULL},
    {"tunnel=ends\\", OPT_TUNNEL, "ends\\", NULL},
    {"cache-size=1M", OPT_CACHE_SIZE, "1048576", NULL},
    {"cache-size=2g", OPT_CACHE_SIZE, "2147483648", NULL},
    {"cache-size=3000000", OPT_CACHE_SIZE, "3000000", NULL},
    {"allow_other", OPT_ALLOW_OTHER, "yes", NULL},
    {"allow_other=off", OPT_ALLOW_OTHER, "no", NULL},
    {"ro", OPT_RO, "yes", NULL},
    {"compress=no", OPT_COMPRESS, "no", NULL},
    {"debug", OPT_DEBUG, "all", NULL},
    {"debug=imap:store", OPT_DEBUG, "imap:store", NULL},
    {"disable=idle:COMPRESS=DEFLATE", OPT_DISABLE, "idle:COMPRESS=DEFLATE", NULL},
    {"cafile=/a/../b/ca.pem", OPT_CAFILE, "/b/ca.pem", NULL},
    {"port=65535", OPT_PORT, "65535", NULL},

    {"port=0", OPT_PORT, NULL, "option port needs a number from 1 to 65535"},
    {"port=65536", OPT_PORT, NULL, "option port needs a number from 1 to 65535"},
    {"port=+1", OPT_PORT, NULL, "option port needs a number from 1 to 65535"},
    {"port=99999999999999999999", OPT_PORT, NULL, "option port needs a number"},
    {"cache-size=1023K", OPT_CACHE_SIZE, NULL, "option cache-size needs a size"},
    {"cache-size=17592186044416T", OPT_CACHE_SIZE, NULL, "option cache-size needs a size"},
    {"cache-size=-1", OPT_CACHE_SIZE, NULL, "option cache-size needs a size"},
    {"cache-size=1GB", OPT_CACHE_SIZE, NULL, "option cache-size needs a size from 1M to 1024T"},
    {"prefetch=2G", OPT_PREFETCH, NULL, "option prefetch needs a size from 0 to 1G"},
    {"timeout", OPT_TIMEOUT, NULL, "option timeout needs a value"},
    {"timeout=", OPT_TIMEOUT, NULL, "option timeout needs a value"},
    {"ro=maybe", OPT_RO, NULL, "option ro is yes or no"},
    {"compress=on", OPT_COMPRESS, NULL, "option compress is one of auto, yes, no"},
    {"disable=a b", OPT_DISABLE, NULL, "option disable is a list of words"},
    {"user=a\rb", OPT_USER, NULL, "option user contains control characters"},
    {"user=\xff", OPT_USER, NULL, "option user contains control characters or is not UTF-8"},
    {"host=mail.example", OPT_HOST, NULL, "option host is for the configuration file"},
    {"tunel=x", OPT_TUNNEL, NULL, "unknown option tunel: did you mean tunnel?"},
    {"cache_size=1G", OPT_CACHE_SIZE, NULL, "unknown option cache_size: did you mean cache-size?"},
    {"allow-other", OPT_ALLOW_OTHER, NULL, "did you mean allow_other?"},
    {"frobnicate=secret", OPT_USER, NULL, "unknown option frobnicate (imapfs --help"},
    {"a\x1b[1m=x", OPT_USER, NULL, "unknown option a\\x1B[1m"},
    {"password=hunter2", OPT_PASSCMD, NULL, "option password: a password here could be read"},
    {"pass=hunter2", OPT_PASSCMD, NULL, "option pass: a password here could be read"},
    {"insecure", OPT_CAFILE, NULL, "there is no way to skip the check"},
    {"=x", OPT_USER, NULL, "unknown option"},
};

static void test_parse(void **state)
{
    (void)state;
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        const Case *c = &cases[i];
        g_autoptr(Options) options = options_new();
        g_autoptr(GError) error = NULL;
        bool ok = options_parse(options, c->list, &error);
        if (ok != !c->words || (ok && g_strcmp0(options_text(options, c->id), c->want) != 0) ||
            (!ok && !strstr(error->message, c->words)))
            fail_msg("-o '%s': %s", c->list, ok ? options_text(options, c->id) : error->message);
        if (!ok)
            assert_null(strstr(error->message, "hunter2"));
    }
}

static void test_origins(void **state)
{
    (void)state;
    g_autoptr(Options) options = options_new();
    assert_true(options_set(options, "poll", "10", OPTION_FROM_COMMAND, NULL));
    assert_true(options_set(options, "poll", "20", OPTION_FROM_FILE, NULL));
    assert_true(options_set(options, "timeout", "20", OPTION_FROM_FILE, NULL));
    assert_true(options_set(options, "host", "h", OPTION_FROM_FILE, NULL));
    assert_int_equal(options_number(options, OPT_POLL), 10);
    assert_int_equal(options_number(options, OPT_TIMEOUT), 20);
    assert_int_equal(options_origin(options, OPT_TIMEOUT), OPTION_FROM_FILE);
    assert_int_equal(options_origin(options, OPT_TRACE), OPTION_FROM_NOBODY);
    /* A typing error in the file is one too, and mount(8)'s words mean nothing there. */
    assert_false(options_set(options, "nosuid", NULL, OPTION_FROM_FILE, NULL));
    assert_false(options_set(options, "poll", "x", OPTION_FROM_FILE, NULL));
}

static void test_words(void **state)
{
    (void)state;
    g_autoptr(Options) options = options_new();
    g_auto(GStrv) none = options_words(options, OPT_DISABLE);
    assert_null(none[0]);
    assert_true(options_parse(options, "disable=:IDLE::MOVE:", NULL));
    g_auto(GStrv) two = options_words(options, OPT_DISABLE);
    assert_int_equal(g_strv_length(two), 2);
    assert_string_equal(two[1], "MOVE");
}

static void test_table(void **state)
{
    (void)state;
    g_autoptr(Options) options = options_new();
    for (guint i = 0; i < N_OPTIONS; i++) {
        const OptionSpec *spec = &option_specs[i];
        assert_non_null(spec->name);
        assert_true(*spec->help);
        /* What stands in the table must pass its own check. */
        if (spec->initial)
            assert_true(options_set(options, spec->name, spec->initial, OPTION_FROM_FILE, NULL));
        if (spec->bare)
            assert_true(options_set(options, spec->name, NULL, OPTION_FROM_FILE, NULL));
        for (guint j = 0; j < i; j++)
            assert_string_not_equal(spec->name, option_specs[j].name);
    }
}

static char *read_source(const char *name)
{
    const char *root = g_getenv("IMAPFS_SOURCE_ROOT");
    g_autofree char *path = g_build_filename(root ? root : ".", name, NULL);
    char *text = NULL;
    if (!g_file_get_contents(path, &text, NULL, NULL))
        fail_msg("%s cannot be read", path);
    return text;
}

/* In the manual each option is an item of its own, ".It Cm NAME". */
static void test_manual(void **state)
{
    (void)state;
    g_autofree char *manual = read_source("docs/imapfs.1");
    for (guint i = 0; i < N_OPTIONS; i++) {
        g_autofree char *pattern = g_strdup_printf("^\\.It Cm %s( |$|\\\\)", option_specs[i].name);
        if (!g_regex_match_simple(pattern, manual, G_REGEX_MULTILINE, 0))
            fail_msg("docs/imapfs.1 does not name option %s", option_specs[i].name);
    }
}

static void test_help(void **state)
{
    (void)state;
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    options_print_help(out);
    fclose(out);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (guint i = 0; lines[i]; i++)
        if (strlen(lines[i]) > 110)
            fail_msg("a line of the help is too long: %s", lines[i]);
    for (guint i = 0; i < N_OPTIONS; i++)
        assert_non_null(strstr(text, option_specs[i].help));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse), cmocka_unit_test(test_origins), cmocka_unit_test(test_words),
        cmocka_unit_test(test_table), cmocka_unit_test(test_manual),  cmocka_unit_test(test_help),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
