/* mounts.c - the imapfs mounts of this machine, as the kernel lists them (proc(5), mountinfo). */
#include "mounts.h"
#include <string.h>

static void mount_free(gpointer data)
{
    Mount *mount = data;
    g_free(mount->mountpoint);
    g_free(mount->source);
    g_free(mount);
}

/* Space, tab, newline and backslash stand as \ooo. */
static char *unescape(const char *text)
{
    GString *plain = g_string_new(NULL);
    for (const char *c = text; *c; c++) {
        if (c[0] == '\\' && c[1] >= '0' && c[1] <= '3' && c[2] >= '0' && c[2] <= '7' &&
            c[3] >= '0' && c[3] <= '7') {
            g_string_append_c(plain, (char)((c[1] - '0') * 64 + (c[2] - '0') * 8 + (c[3] - '0')));
            c += 3;
        } else {
            g_string_append_c(plain, *c);
        }
    }
    return g_string_free(plain, FALSE);
}

static uid_t user_of(const char *super_options)
{
    g_auto(GStrv) options = g_strsplit(super_options, ",", -1);
    guint64 user = 0;
    for (guint i = 0; options[i]; i++)
        if (g_str_has_prefix(options[i], "user_id="))
            g_ascii_string_to_unsigned(options[i] + 8, 10, 0, G_MAXUINT32, &user, NULL);
    return (uid_t)user;
}

/* ID PARENT MAJ:MIN ROOT MOUNTPOINT OPTIONS [TAG...] - TYPE SOURCE SUPER-OPTIONS */
static Mount *parse_line(const char *line)
{
    g_auto(GStrv) fields = g_strsplit(line, " ", -1);
    guint n = g_strv_length(fields), dash = 6;
    while (dash < n && strcmp(fields[dash], "-") != 0)
        dash++;
    if (dash + 3 >= n || strcmp(fields[dash + 1], "fuse.imapfs") != 0)
        return NULL;
    /* A directory of one that is bound elsewhere is no mount to talk to: .imapfs is in the root. */
    if (strcmp(fields[3], "/") != 0)
        return NULL;
    Mount *mount = g_new0(Mount, 1);
    mount->mountpoint = unescape(fields[4]);
    mount->source = unescape(fields[dash + 2]);
    mount->user = user_of(fields[dash + 3]);
    return mount;
}

GPtrArray *mounts_parse(const char *mountinfo)
{
    GPtrArray *mounts = g_ptr_array_new_with_free_func(mount_free);
    g_auto(GStrv) lines = g_strsplit(mountinfo, "\n", -1);
    for (guint i = 0; lines[i]; i++) {
        Mount *mount = parse_line(lines[i]);
        if (mount)
            g_ptr_array_add(mounts, mount);
    }
    return mounts;
}

GPtrArray *mounts_load(void)
{
    g_autofree char *text = NULL;
    g_file_get_contents("/proc/self/mountinfo", &text, NULL, NULL);
    return mounts_parse(text ? text : "");
}

static bool is_in(const char *path, const char *mountpoint)
{
    gsize length = strlen(mountpoint);
    return strncmp(path, mountpoint, length) == 0 && (!path[length] || path[length] == '/');
}

const Mount *mounts_find(const GPtrArray *mounts, const char *path)
{
    const Mount *best = NULL;
    for (guint i = 0; i < mounts->len; i++) {
        const Mount *mount = g_ptr_array_index(mounts, i);
        if (is_in(path, mount->mountpoint) &&
            (!best || strlen(mount->mountpoint) >= strlen(best->mountpoint)))
            best = mount;
    }
    return best;
}
