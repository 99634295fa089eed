/* reader_case.h - a case of a table: bytes from a server, and the dump they must give. Each is read
 * whole, cut at every position, and byte by byte. */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "dump.h"

typedef struct {
    const char *name;
    const char *input;
    const char *want; /* without the last newline */
    gsize length;     /* 0: strlen(input) */
} ReaderCase;

#define CUT_STEP 199

/* One whose input holds NUL. */
#define NUL_CASE(name, input, want)          \
    {                                        \
        name, input, want, sizeof(input) - 1 \
    }

static inline void check_splits(DumpMode mode, const char *name, const char *bytes, gsize length,
                                const char *want)
{
    g_autofree char *slow = dump_bytewise(mode, bytes, length);
    if (strcmp(slow, want) != 0)
        fail_msg("%s, byte by byte:\n%s\nbut whole:\n%s", name, slow, want);
    /* One cut a run; in long inputs one every CUT_STEP bytes, so that the time stays linear. */
    g_autofree gsize *cuts = g_new(gsize, length / CUT_STEP + 1);
    for (gsize first = 1; first < length && first <= CUT_STEP; first++) {
        gsize n = 0;
        for (gsize cut = first; cut < length; cut += CUT_STEP)
            cuts[n++] = cut;
        g_autofree char *got = dump_stream(mode, bytes, length, cuts, n);
        if (strcmp(got, want) != 0)
            fail_msg("%s, cut at %zu:\n%s\nbut whole:\n%s", name, first, got, want);
    }
}

static inline void check_case(DumpMode mode, const ReaderCase *test)
{
    gsize length = test->length > 0 ? test->length : strlen(test->input);
    g_autofree char *got = dump_whole(mode, test->input, length);
    g_autofree char *want = g_strconcat(test->want, "\n", NULL);
    if (strcmp(got, want) != 0)
        fail_msg("%s:\n got %swant %s", test->name, got, want);
    check_splits(mode, test->name, test->input, length, got);
}

#define check_cases(mode, cases)                           \
    do {                                                   \
        for (gsize i_ = 0; i_ < G_N_ELEMENTS(cases); i_++) \
            check_case((mode), &(cases)[i_]);              \
    } while (0)
