/* Tests of ctl/mounts. */
#include "mounts.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

static const char table[] =
    "22 28 0:20 / /sys rw,nosuid shared:7 - sysfs sysfs rw\n"
    "90 28 0:77 / /home/alice/mail rw,nosuid,nodev,noexec - fuse.imapfs alice@mail.example "
    "rw,user_id=1000,group_id=1000\n"
    "91 28 0:78 / /home/alice/my\\040mail\\134x rw shared:9 master:3 - fuse.imapfs work "
    "ro,user_id=1001,group_id=1000\n"
    "97 28 0:77 /INBOX /home/alice/inbox rw - fuse.imapfs alice@mail.example rw,user_id=1000\n"
    "92 28 0:79 / /home/alice/ssh rw - fuse.sshfs host: rw,user_id=1000\n"
    "93 90 0:80 / /home/alice/mail/inner rw - fuse.imapfs inner rw,user_id=0\n"
    "94 90 0:81 / /broken rw - fuse.imapfs\n"
    "- fuse.imapfs\n"
    "\n"
    "95 28 0:82 / /no/user rw - fuse.imapfs x rw,user_id=99999999999\n"
    "96 28 0:83 / /\\04 rw - fuse.imapfs y rw,user_id=5";

static void test_parse(void **state)
{
    (void)state;
    static const struct {
        const char *mountpoint, *source;
        uid_t user;
    } want[] = {
        {"/home/alice/mail", "alice@mail.example", 1000},
        {"/home/alice/my mail\\x", "work", 1001},
        {"/home/alice/mail/inner", "inner", 0},
        {"/no/user", "x", 0},
        {"/\\04", "y", 5},
    };
    g_autoptr(GPtrArray) mounts = mounts_parse(table);
    assert_int_equal(mounts->len, G_N_ELEMENTS(want));
    for (guint i = 0; i < mounts->len; i++) {
        const Mount *mount = g_ptr_array_index(mounts, i);
        assert_string_equal(mount->mountpoint, want[i].mountpoint);
        assert_string_equal(mount->source, want[i].source);
        assert_int_equal(mount->user, want[i].user);
    }
}

static void test_find(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"/home/alice/mail", "alice@mail.example"},
        {"/home/alice/mail/INBOX/x", "alice@mail.example"},
        {"/home/alice/mail/inner/INBOX", "inner"},
        {"/home/alice/mailbox", NULL},
        {"/home/alice/inbox", NULL}, /* bound from within a mount: it has no .imapfs */
        {"/home/alice", NULL},
        {"/", NULL},
    };
    g_autoptr(GPtrArray) mounts = mounts_parse(table);
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        const Mount *mount = mounts_find(mounts, cases[i][0]);
        if (g_strcmp0(mount ? mount->source : NULL, cases[i][1]) != 0)
            fail_msg("%s: %s", cases[i][0], mount ? mount->source : NULL);
    }
}

static void test_load(void **state)
{
    (void)state;
    /* There need not be one; but the machine's own table must do no harm. */
    g_autoptr(GPtrArray) mounts = mounts_load();
    assert_non_null(mounts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
