/* Tests of ctl/settings and ctl/config: what SOURCE, options and file together mean. */
#include "settings.h"
#include "imapfs/base/error.h"
#include <glib/gstdio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

static const char config_text[] =
    "# accounts\n"
    "[work]\n"
    "host = mail.example\n"
    "user=alice@example.org\n"
    "passcmd=printf 'a\\tb' | tr '\\t' ,\n"
    "cache-size=2G\n"
    "ro=\n"
    "[old]\n"
    "host=mail.example\nuser=alice\nsecurity=starttls\nport=1143\n"
    "[local]\n"
    "tunnel=/usr/lib/dovecot/imap -o mail_location=maildir:~/Maildir\n"
    "[alice@mail.example]\n"
    "timeout=7\n"
    "[typo]\ntunel=x\n"
    "[secret]\nhost=h\nuser=u\npassword=hunter2\n"
    "[hostless]\nuser=u\n"
    "[badhost]\nhost=a b\nuser=u\n"
    "[both]\nhost=h\nuser=u\nmode=offline\n";

static char *dir, *path;

static int set_up(void **state)
{
    (void)state;
    dir = g_dir_make_tmp("imapfs-config-XXXXXX", NULL);
    path = g_build_filename(dir, "config", NULL);
    return g_file_set_contents_full(path, config_text, -1, G_FILE_SET_CONTENTS_NONE, 0600, NULL)
               ? 0
               : -1;
}

static int tear_down(void **state)
{
    (void)state;
    g_unlink(path);
    g_rmdir(dir);
    g_clear_pointer(&path, g_free);
    g_clear_pointer(&dir, g_free);
    return 0;
}

static Settings *make(const char *list, const char *source, GError **error)
{
    g_autoptr(Options) options = options_new();
    assert_true(options_parse(options, list, NULL));
    return settings_new(options, source, "/mnt", path, error);
}

typedef struct {
    const char *list, *source;
    const char *name, *identity, *user, *host;
    NetSecurity security;
    guint16 port;
} Good;

static const Good good[] = {
    {"", "alice@mail.example", "alice@mail.example", "alice@mail.example", "alice", "mail.example",
     NET_TLS, 0},
    {"port=993", "bob@mail.example", "bob@mail.example", "bob@mail.example", "bob", "mail.example",
     NET_TLS, 993},
    {"port=1993", "bob@mail.example", "bob@mail.example:1993", "bob@mail.example:1993", "bob",
     "mail.example", NET_TLS, 1993},
    {"", "imap://bob@mail.example:143", "bob@mail.example", "bob@mail.example", "bob",
     "mail.example", NET_STARTTLS, 143},
    {"user=bob", "imaps://mail.example", "bob@mail.example", "bob@mail.example", "bob",
     "mail.example", NET_TLS, 0},
    {"", "work", "work", "alice@example.org@mail.example", "alice@example.org", "mail.example",
     NET_TLS, 0},
    {"user=bob", "work", "work", "bob@mail.example", "bob", "mail.example", NET_TLS, 0},
    {"", "old", "old", "alice@mail.example:1143", "alice", "mail.example", NET_STARTTLS, 1143},
    {"port=143", "old", "old", "alice@mail.example", "alice", "mail.example", NET_STARTTLS, 143},
    {"", "local", "local", "tunnel local", "", "", NET_TUNNEL, 0},
    {"tunnel=ssh host imapd", "anything", "anything", "tunnel anything", "", "", NET_TUNNEL, 0},
    {"tunnel=x", "bob@mail.example", "bob@mail.example", "tunnel bob@mail.example", "bob",
     "mail.example", NET_TUNNEL, 0},
};

static void test_good(void **state)
{
    (void)state;
    for (guint i = 0; i < G_N_ELEMENTS(good); i++) {
        const Good *want = &good[i];
        g_autoptr(GError) error = NULL;
        g_autoptr(Settings) got = make(want->list, want->source, &error);
        if (!got) {
            fail_msg("%s: %s", want->source, error->message);
            return;
        }
        assert_string_equal(got->account.name, want->name);
        assert_string_equal(got->identity, want->identity);
        assert_string_equal(got->account.user, want->user);
        assert_string_equal(got->account.target.host, want->host);
        assert_int_equal(got->account.target.security, want->security);
        assert_int_equal(got->account.target.port, want->port);
    }
}

static const struct {
    const char *list, *source, *words;
} bad[] = {
    {"", "nosuch", "has no section [nosuch]"},
    {"", "imaps://mail.example", "there is no user"},
    {"user=bob", "alice@mail.example", "name different users"},
    {"port=1", "alice@mail.example:2", "name different ports"},
    {"passcmd=echo hunter2,tokencmd=y", "alice@mail.example", "only one of them"},
    {"debug=imap:pool", "alice@mail.example", "there is no category pool; there are all, engine"},
    {"mode=online", "alice@mail.example", "mode=online is not in this version"},
    {"", "both", "mode=offline is not in this version"},
    {"", "typo", "[typo]: unknown option tunel: did you mean tunnel?"},
    {"", "secret", "[secret]: option password: a password here could be read"},
    {"", "hostless", "section [hostless] has no host"},
    {"", "badhost", "not a host name"},
    {"", "a:b@c", "seems to hold a password"},
};

static void test_bad(void **state)
{
    (void)state;
    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(Settings) got = make(bad[i].list, bad[i].source, &error);
        if (got || !strstr(error->message, bad[i].words))
            fail_msg("%s: %s", bad[i].source, got ? "accepted" : error->message);
        assert_true(g_error_matches(error, IMAPFS_ERROR, IMAPFS_ERROR_CONFIG));
        assert_null(strstr(error->message, "hunter2"));
    }
}

static void test_values(void **state)
{
    (void)state;
    g_autoptr(Settings) work = make("state-dir=/s,cache-dir=/c,disable=idle:move", "work", NULL);
    assert_int_equal(work->cache_size, 2ull << 30);
    assert_true(work->read_only);
    assert_string_equal(work->state_dir, "/s/work");
    assert_string_equal(work->cache_dir, "/c/work");
    assert_string_equal(work->account.disable[1], "MOVE");
    assert_int_equal(work->account.compress, COMPRESS_AUTO);
    /* The command in the file is run as it stands there. */
    g_autoptr(Secret) secret = password_source_get(work->passwords, false, NULL);
    assert_string_equal(secret_bytes(secret, NULL), "a,b");

    /* USER@HOST may have a section of its own too. */
    g_autoptr(Settings) plain = make("debug=imap:net", "alice@mail.example", NULL);
    assert_int_equal(plain->account.timeout_ms, 7000);
    assert_string_equal(plain->debug, "imap,net");
    assert_false(plain->account.with_token);
    g_autoptr(Settings) token = make("tokencmd=echo ya29.x", "alice@mail.example", NULL);
    assert_true(token->account.with_token);
    g_autoptr(Secret) brought = password_source_get(token->passwords, false, NULL);
    assert_string_equal(secret_bytes(brought, NULL), "ya29.x");
    assert_string_equal(password_source_origin(token->passwords), "tokencmd");
    g_autoptr(Settings) stronger = make("timeout=9", "alice@mail.example", NULL);
    assert_int_equal(stronger->account.timeout_ms, 9000);
}

static void test_compress(void **state)
{
    (void)state;
    static const struct {
        const char *list;
        AccountCompress want;
    } cases[] = {
        {"", COMPRESS_AUTO},
        {"compress=auto", COMPRESS_AUTO},
        {"compress=no", COMPRESS_NO},
        {"compress=yes", COMPRESS_YES},
    };
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(Settings) settings = make(cases[i].list, "a@mail.example", NULL);
        assert_int_equal(settings->account.compress, cases[i].want);
    }
}

static void test_file(void **state)
{
    (void)state;
    g_autoptr(GError) error = NULL;
    /* Others could put a command of theirs into it. */
    assert_int_equal(g_chmod(path, 0660), 0);
    assert_null(make("", "work", &error));
    assert_non_null(strstr(error->message, "can be written by others"));
    g_clear_error(&error);
    assert_int_equal(g_chmod(path, 0644), 0);
    settings_free(make("", "work", &error));
    assert_null(error);

    assert_true(g_file_set_contents(path, "hunter2\n[work]\n", -1, NULL));
    assert_null(make("", "work", &error));
    assert_null(strstr(error->message, "hunter2"));
    g_clear_error(&error);
    assert_int_equal(g_unlink(path), 0);
    settings_free(make("", "alice@mail.example", &error));
    assert_null(error);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_good, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bad, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_values, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_compress, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_file, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
