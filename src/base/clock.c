/* clock.c - the three clocks, or one that a test moves. */
#include "imapfs/base/clock.h"

#include <time.h>

static struct {
    gint on; /* atomic */
    gint64 real_ns, mono_us;
} fake;

static gint64 read_clock(clockid_t id, gint64 per_second, gint64 ns_per_unit)
{
    struct timespec ts;
    clock_gettime(id, &ts);
    return (gint64)ts.tv_sec * per_second + ts.tv_nsec / ns_per_unit;
}

gint64 clock_mono_us(void)
{
    return g_atomic_int_get(&fake.on) ? fake.mono_us : read_clock(CLOCK_MONOTONIC, 1000000, 1000);
}

gint64 clock_boot_us(void)
{
    return g_atomic_int_get(&fake.on) ? fake.mono_us : read_clock(CLOCK_BOOTTIME, 1000000, 1000);
}

gint64 clock_real_ns(void)
{
    return g_atomic_int_get(&fake.on) ? fake.real_ns : read_clock(CLOCK_REALTIME, 1000000000, 1);
}

void clock_fake_set(gint64 real_ns)
{
    fake.real_ns = real_ns;
    fake.mono_us = real_ns / 1000;
    g_atomic_int_set(&fake.on, 1);
}

void clock_fake_advance(gint64 us)
{
    fake.mono_us += us;
    fake.real_ns += us * 1000;
}

void clock_fake_off(void)
{
    g_atomic_int_set(&fake.on, 0);
}
