/* fuzz_reader.c - a stream of bytes gives the same responses however it is split.
 *
 * The last two bytes choose: bit 0 before login, bit 2 byte by byte; then the seed of the
 * split. So a transcript is a seed as it is. */
#include "../unit/wire/dump.h"
#include "fuzz.h"

#define CUTS_MAX 256

static gsize random_cuts(guint32 seed, gsize length, gsize cuts[CUTS_MAX])
{
    gsize n = 0, at = 0;
    while (n < CUTS_MAX) {
        seed = seed * 1664525u + 1013904223u;
        /* Mostly short pieces, some long. */
        at += (seed >> 28) == 0 ? seed >> 16 & 0xfff : seed >> 16 & 0x1f;
        if (at > length)
            break;
        cuts[n++] = at;
    }
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    size -= 2;
    gsize cuts[CUTS_MAX] = {0};
    const char *bytes = (const char *)data;
    DumpMode mode = {.preauth = (data[size] & 1) != 0};
    g_autofree char *whole = dump_whole(mode, bytes, size);
    g_autofree char *split = NULL;
    gsize n_cuts = random_cuts(data[size + 1], size, cuts);
    if ((data[size] & 4) != 0)
        split = dump_bytewise(mode, bytes, size);
    else
        split = dump_stream(mode, bytes, size, cuts, n_cuts);
    FUZZ_CHECK(strcmp(whole, split) == 0, "whole:\n%s\nsplit:\n%s", whole, split);
    return 0;
}
