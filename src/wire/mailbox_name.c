/* mailbox_name.c - the canonical name of a mailbox and the bytes the server knows it by.
 *
 * The rule: from_wire then to_wire gives the server's own bytes, but for the case of INBOX. */
#include "imapfs/wire/mailbox_name.h"
#include <string.h>
#include "imapfs/base/limits.h"

#define RAW_MARK '\001' /* starts a name kept as wire bytes */

static char *keep_raw(const char *wire, gsize length)
{
    GString *name = g_string_sized_new(length + 1);
    g_string_append_c(name, RAW_MARK);
    for (gsize i = 0; i < length; i++)
        g_string_append_unichar(name, (guchar)wire[i]);
    return g_string_free(name, FALSE);
}

static char *raw_to_wire(const char *name)
{
    g_autoptr(GString) wire = g_string_new(NULL);
    for (const char *p = name; *p != '\0'; p = g_utf8_next_char(p)) {
        gunichar c = g_utf8_get_char(p);
        if (c > 0xff)
            return NULL;
        g_string_append_c(wire, (char)c);
    }
    return g_string_free(g_steal_pointer(&wire), FALSE);
}

/* RFC 9051 5.1: INBOX is special in any case; and servers put its children under any case too. */
static void capitalise_inbox(char *name, char delimiter)
{
    if (g_ascii_strncasecmp(name, "INBOX", 5) != 0)
        return;
    if (name[5] == '\0' || (delimiter != '\0' && name[5] == delimiter))
        memcpy(name, "INBOX", 5);
}

char *mailbox_name_from_wire(const char *wire, gsize length, bool utf8, char delimiter)
{
    if (length == 0 || length > LIMIT_MAILBOX_NAME || memchr(wire, '\0', length) != NULL)
        return NULL;
    char *name = NULL;
    if (!utf8)
        name = mutf7_decode(wire, length);
    else if (g_utf8_validate(wire, (gssize)length, NULL))
        name = g_strndup(wire, length);
    if (name == NULL || name[0] == RAW_MARK) {
        g_free(name);
        return keep_raw(wire, length);
    }
    capitalise_inbox(name, delimiter);
    return name;
}

char *mailbox_name_to_wire(const char *name, bool utf8)
{
    if (!g_utf8_validate(name, -1, NULL))
        return NULL;
    if (name[0] == RAW_MARK)
        return raw_to_wire(name + 1);
    return utf8 ? g_strdup(name) : mutf7_encode(name);
}
