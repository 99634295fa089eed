/* structure_text.c - the one place that knows how the store's structures are marked. */
#include "imapfs/sync/structure_text.h"

#include <string.h>

#include "imapfs/base/error.h"
#include "imapfs/base/limits.h"

#define LOCAL_MARK 'L'

char *structure_text_new(const BodyPart *body, bool local)
{
    GString *text = g_string_new(NULL);
    if (local)
        g_string_append_c(text, LOCAL_MARK);
    bodystructure_print(body, text);
    if (text->len > LIMIT_STRUCTURE) { /* long names by the thousand: it is read over and over */
        g_string_free(text, TRUE);
        return g_strdup("");
    }
    return g_string_free(text, FALSE);
}

bool structure_text_is_local(const char *text)
{
    return text[0] == LOCAL_MARK;
}

BodyPart *structure_text_parse(const char *text, GError **error)
{
    if (!*text) {
        g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_DATA, "it cannot be had");
        return NULL;
    }
    text += structure_text_is_local(text);
    return bodystructure_parse(text, strlen(text), error);
}
