/* fuzz_response.c - one response parses to something, and what can be printed reads back. */
#include "../../src/wire/response_parse.h"
#include "../unit/wire/dump.h"
#include "check_envelope.h"
#include "fuzz.h"
#include "imapfs/wire/mailbox_name.h"

static void check_flags(const Flags *flags)
{
    Flags back = {0};
    g_autoptr(GString) printed = g_string_new(NULL);
    flags_print(flags, printed);
    flags_parse(&back, printed->str);
    FUZZ_CHECK(flags_equal(flags, &back), "%s", printed->str);
    flags_clear(&back);
}

static void check_uids(const UidSet *uids)
{
    g_autoptr(GString) printed = g_string_new(NULL);
    g_autoptr(UidSet) back = uidset_new();
    uidset_print(uids, printed);
    FUZZ_CHECK(uidset_is_empty(uids) || uidset_parse(back, printed->str, printed->len), "%s",
               printed->str);
    FUZZ_CHECK(uidset_count(uids) == uidset_count(back), "%s", printed->str);
}

static void check_name(const ListItem *item)
{
    for (int utf8 = 0; utf8 < 2; utf8++) {
        g_autofree char *name =
            mailbox_name_from_wire(item->name, item->name_length, utf8, item->delimiter);
        if (name == NULL)
            continue;
        FUZZ_CHECK(g_utf8_validate(name, -1, NULL), "%s", item->name);
        g_autofree char *wire = mailbox_name_to_wire(name, utf8);
        FUZZ_CHECK(wire != NULL && g_ascii_strcasecmp(wire, item->name) == 0, "%s", name);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autoptr(GString) out = g_string_new(NULL);
    g_autoptr(Response) response = response_parse((const char *)data, size);
    dump_response(out, response);
    check_flags(&response->flags);
    if (response->uids != NULL)
        check_uids(response->uids);
    if (response->list != NULL)
        check_name(response->list);
    if (response->fetch != NULL)
        check_flags(&response->fetch->flags);
    if (response->fetch != NULL && response->fetch->envelope != NULL)
        check_envelope(response->fetch->envelope);
    return 0;
}
