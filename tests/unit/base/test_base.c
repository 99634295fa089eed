/* Errors, clocks, secrets, fault points. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "imapfs/base/clock.h"
#include "imapfs/base/error.h"
#include "imapfs/base/fault.h"
#include "imapfs/base/secret.h"

static void test_errors(void **state)
{
    g_autoptr(GError) offline = g_error_new(IMAPFS_ERROR, IMAPFS_ERROR_OFFLINE, "x");
    g_autoptr(GError) foreign = g_error_new(g_quark_from_static_string("other"), 1, "x");
    assert_int_equal(imapfs_error_to_errno(offline), ENETUNREACH);
    assert_int_equal(imapfs_error_to_errno(foreign), EIO);
    assert_int_equal(imapfs_error_to_errno(NULL), EIO);
    assert_string_equal(imapfs_error_name(IMAPFS_ERROR_GONE), "GONE");
    for (int code = 0; code < IMAPFS_N_ERRORS; code++) {
        g_autoptr(GError) error = g_error_new(IMAPFS_ERROR, code, "x");
        assert_true(imapfs_error_to_errno(error) > 0);
    }
}

static void test_clock(void **state)
{
    clock_fake_set(5000000000);
    gint64 mono = clock_mono_us();
    clock_fake_advance(1500000);
    assert_int_equal(clock_mono_us() - mono, 1500000);
    assert_int_equal(clock_real_ns(), 6500000000);
    clock_fake_off();
    gint64 a = clock_mono_us();
    assert_true(clock_mono_us() >= a && clock_boot_us() > 0);
}

static void test_secret(void **state)
{
    g_autoptr(Secret) secret = secret_new("p\0w", 3);
    gsize length;
    assert_memory_equal(secret_bytes(secret, &length), "p\0w", 4);
    assert_int_equal(length, 3);
    Secret *again = secret_ref(secret);
    secret_unref(again);
    assert_memory_equal(secret_bytes(secret, NULL), "p\0w", 4);
    g_autofree char *big = g_malloc0(64 * 1024 + 1);
    assert_null(secret_new(big, 64 * 1024 + 1));
    g_autoptr(Secret) most = secret_new(big, 64 * 1024);
    assert_non_null(most);
}

static void test_fault(void **state)
{
    assert_int_equal(fault_errno("store.commit"), 0);
    setenv("IMAPFS_FAULT", "store.commit:2=ENOSPC", 1);
    fault_init();
    assert_int_equal(fault_errno("store.begin"), 0);
    assert_int_equal(fault_errno("store.commit"), 0);
    assert_int_equal(fault_errno("store.commit"), ENOSPC);
    assert_int_equal(fault_errno("store.commit"), 0);
    setenv("IMAPFS_FAULT", "*:2=EIO", 1);
    fault_init();
    assert_int_equal(fault_errno("a"), 0);
    assert_int_equal(fault_errno("b"), EIO);
    fault_enabled = false;
    unsetenv("IMAPFS_FAULT");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_clock),
        cmocka_unit_test(test_secret),
        cmocka_unit_test(test_fault),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
