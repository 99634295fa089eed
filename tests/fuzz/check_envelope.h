/* check_envelope.h - what envelope_print writes, envelope_parse reads back. */
#pragma once
#include "fuzz.h"
#include "imapfs/wire/bodystructure.h"

static inline void check_envelope(const Envelope *envelope)
{
    g_autoptr(GString) printed = g_string_new(NULL), again = g_string_new(NULL);
    envelope_print(envelope, printed);
    g_autoptr(Envelope) back = envelope_parse(printed->str, printed->len, NULL);
    FUZZ_CHECK(back != NULL, "%s", printed->str);
    envelope_print(back, again);
    FUZZ_CHECK(g_string_equal(printed, again), "%s\n%s", printed->str, again->str);
}
