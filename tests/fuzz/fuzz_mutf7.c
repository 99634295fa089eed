/* fuzz_mutf7.c - names come back as the bytes they were, but for the case of INBOX. */
#include "fuzz.h"
#include "imapfs/wire/mailbox_name.h"

static void check_codec(const char *text, gsize size)
{
    g_autofree char *decoded = mutf7_decode(text, size);
    if (decoded != NULL) {
        g_autofree char *encoded = mutf7_encode(decoded);
        FUZZ_CHECK(encoded != NULL && strlen(encoded) == size && memcmp(encoded, text, size) == 0,
                   "%s", decoded);
    }
    g_autofree char *utf8 = g_strndup(text, size);
    g_autofree char *encoded = mutf7_encode(utf8);
    FUZZ_CHECK((encoded != NULL) == g_utf8_validate(utf8, -1, NULL), "%s", utf8);
    if (encoded != NULL) {
        g_autofree char *back = mutf7_decode(encoded, strlen(encoded));
        FUZZ_CHECK(back != NULL && strcmp(back, utf8) == 0, "%s", encoded);
    }
}

static void check_name(const char *wire, gsize size, bool utf8)
{
    g_autofree char *name = mailbox_name_from_wire(wire, size, utf8, '/');
    if (name == NULL)
        return;
    FUZZ_CHECK(g_utf8_validate(name, -1, NULL), "not UTF-8");
    g_autofree char *back = mailbox_name_to_wire(name, utf8);
    FUZZ_CHECK(back != NULL && strlen(back) == size, "%s", name);
    bool inbox = size >= 5 && g_ascii_strncasecmp(wire, "inbox", 5) == 0;
    FUZZ_CHECK((inbox ? g_ascii_strncasecmp(back, wire, size) : memcmp(back, wire, size)) == 0,
               "%s", name);
    /* What came out is stable: the server's answer to it gives the same name. */
    g_autofree char *again = mailbox_name_from_wire(back, size, utf8, '/');
    FUZZ_CHECK(again != NULL && strcmp(again, name) == 0, "%s", name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_codec((const char *)data, size);
    check_name((const char *)data, size, false);
    check_name((const char *)data, size, true);
    return 0;
}
