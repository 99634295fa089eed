/* need.c - Need as a value. */
#include "imapfs/sync/engine.h"

ContentKey need_content_key(const Need *need)
{
    return (ContentKey){need->box, need->uid, need->content, need->section ? need->section : ""};
}

Need *need_copy(const Need *need)
{
    Need *copy = g_new(Need, 1);
    *copy = *need;
    copy->section = g_strdup(need->section);
    copy->encoding = g_strdup(need->encoding);
    copy->charset = g_strdup(need->charset);
    return copy;
}

void need_clear(Need *need)
{
    g_clear_pointer(&need->section, g_free);
    g_clear_pointer(&need->encoding, g_free);
    g_clear_pointer(&need->charset, g_free);
}

void need_free(Need *need)
{
    if (!need)
        return;
    need_clear(need);
    g_free(need);
}
