/* clock.h - time, replaceable by tests.
 *
 * Layer base. Any thread. Timers on the loop use GLib's sources; what decides by time asks here. */
#pragma once
#include <glib.h>

gint64 clock_mono_us(void); /* never goes back; stops during suspend */
gint64 clock_boot_us(void); /* never goes back; goes on during suspend (CLOCK_BOOTTIME) */
gint64 clock_real_ns(void); /* nanoseconds since 1970, UTC */

/* Tests: all three clocks stand still at a value and move only by this. */
void clock_fake_set(gint64 real_ns);
void clock_fake_advance(gint64 us);
void clock_fake_off(void);
