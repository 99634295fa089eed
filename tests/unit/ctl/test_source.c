/* Tests of ctl/source. */
#include "source.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

typedef struct {
    const char *text;
    const char *name, *user, *host;
    guint16 port;
    bool url, starttls;
    const char *words; /* of the refusal */
} Case;

static const Case cases[] = {
    {"work", "work"},
    {"Fast mail, private", "Fast mail, private"},
    {"alice@mail.example", NULL, "alice", "mail.example"},
    {"alice@example.org@mail.example", NULL, "alice@example.org", "mail.example"},
    {"alice@mail.example:1143", NULL, "alice", "mail.example", 1143},
    {"alice@Mail.Example", NULL, "alice", "mail.example"},
    {"alice@[::1]", NULL, "alice", "::1"},
    {"alice@[::1]:993", NULL, "alice", "::1", 993},
    {"alice@127.0.0.1:993", NULL, "alice", "127.0.0.1", 993},
    {"alice@bücher.example", NULL, "alice", "xn--bcher-kva.example"},
    {"imaps://alice@mail.example", NULL, "alice", "mail.example", 0, true},
    {"IMAPS://alice@mail.example/", NULL, "alice", "mail.example", 0, true},
    {"imap://alice@mail.example:143", NULL, "alice", "mail.example", 143, true, true},
    {"imaps://mail.example", NULL, NULL, "mail.example", 0, true},
    {"imaps://alice%40example.org@mail.example", NULL, "alice@example.org", "mail.example", 0,
     true},
    {"imaps://alice@example.org@mail.example", NULL, "alice@example.org", "mail.example", 0, true},
    {"imaps://a%3Ab@[2001:db8::1]:44", NULL, "a:b", "2001:db8::1", 44, true},
    {"imaps://a%2525@h", NULL, "a%25", "h", 0, true},

    {"imaps://alice:hunter2@mail.example", .words = "SOURCE seems to hold a password"},
    {"alice:hunter2@mail.example", .words = "SOURCE seems to hold a password"},
    {"imaps://alice@mail.example/INBOX", .words = "a mailbox in the URL is not supported"},
    {"imaps://alice@mail.example/?x", .words = "a mailbox in the URL is not supported"},
    {"imaps://alice;AUTH=PLAIN@mail.example", .words = ";AUTH= is not supported"},
    {"imaps://a%00b@h", .words = "wrongly %-encoded"},
    {"imaps://a%0d%0ab@h", .words = "control characters"},
    {"imaps://a%zz@h", .words = "wrongly %-encoded"},
    {"imaps://a%ff@h", .words = "control characters"},
    {"imaps://@h", .words = "is empty"},
    {"@h", .words = "is empty"},
    {"alice@", .words = "not a host name"},
    {"alice@-oProxyCommand=x", .words = "not a host name"},
    {"alice@h st", .words = "not a host name"},
    {"alice@../x", .words = "not a host name"},
    {"alice@::1", .words = "stands in brackets"},
    {"alice@h:1:2", .words = "stands in brackets"},
    {"alice@[::1", .words = "stands in brackets"},
    {"alice@[mail.example]", .words = "not an IPv6 address"},
    {"alice@h:0", .words = "is not a number from 1 to 65535"},
    {"alice@h:65536", .words = "is not a number from 1 to 65535"},
    {"alice@h:", .words = "is not a number from 1 to 65535"},
    {"http://alice@h", .words = "begins with imaps:// or imap://"},
    {"", .words = "SOURCE is USER@HOST"},
    {"a/b", .words = "SOURCE is USER@HOST"},
    {"-f", .words = "SOURCE is USER@HOST"},
    {"mail.example:/INBOX", .words = "SOURCE is USER@HOST"},
    {"a\nb", .words = "control characters"},
    {"a\xff@h", .words = "not UTF-8"},
};

static void test_parse(void **state)
{
    (void)state;
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        const Case *c = &cases[i];
        g_auto(Source) source = {0};
        g_autoptr(GError) error = NULL;
        if (source_parse(c->text, &source, &error)) {
            if (c->words || g_strcmp0(source.name, c->name) || g_strcmp0(source.user, c->user) ||
                g_strcmp0(source.host, c->host) || source.port != c->port ||
                source.is_url != c->url || source.starttls != c->starttls)
                fail_msg("%s: name %s user %s host %s port %u", c->text, source.name, source.user,
                         source.host, source.port);
        } else {
            if (!c->words || !strstr(error->message, c->words))
                fail_msg("%s: %s", c->text, error->message);
            assert_null(strstr(error->message, "hunter2"));
            assert_null(source.host);
        }
    }
}

static void test_directory_name(void **state)
{
    (void)state;
    static const char *const names[][2] = {
        {"alice@mail.example", "alice@mail.example"},
        {"work", "work"},
        {"Fast mail", "Fast%20mail"},
        {"..", "%2E."},
        {".hidden", "%2Ehidden"},
        {"a/b%2F", "a%2Fb%252F"},
        {"größe", "größe"},
        {"a@::1:99", "a@::1:99"},
    };
    for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *name = source_directory_name(names[i][0]);
        assert_string_equal(name, names[i][1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_directory_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
