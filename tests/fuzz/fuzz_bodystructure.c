/* fuzz_bodystructure.c - parse(print(x)) is x, for BODYSTRUCTURE and for ENVELOPE. */
#include "../unit/wire/dump.h"
#include "check_envelope.h"
#include "fuzz.h"

/* Sections and the print hold all there is in a tree. */
static char *describe(const BodyPart *part)
{
    GString *out = g_string_new(NULL);
    bodystructure_print(part, out);
    dump_part(out, part);
    return g_string_free(out, FALSE);
}

static void check_structure(const char *text, gsize size)
{
    g_autoptr(BodyPart) part = bodystructure_parse(text, size, NULL);
    if (part == NULL)
        return;
    g_autoptr(GString) printed = g_string_new(NULL);
    bodystructure_print(part, printed);
    g_autoptr(BodyPart) back = bodystructure_parse(printed->str, printed->len, NULL);
    FUZZ_CHECK(back != NULL, "%s", printed->str);
    g_autofree char *one = describe(part), *two = describe(back);
    FUZZ_CHECK(strcmp(one, two) == 0, "%s\n%s", one, two);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_structure((const char *)data, size);
    g_autoptr(Envelope) envelope = envelope_parse((const char *)data, size, NULL);
    if (envelope != NULL)
        check_envelope(envelope);
    return 0;
}
