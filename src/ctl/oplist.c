/* oplist.c - reads "key: value" files and prints what matters of them.
 *
 * An operation may go while we look: then it has no line. */
#include "oplist.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>

#include "child.h"
#include "imapfs/base/log.h"

/* The value of a key, or NULL; made printable. Caller frees. */
static char *value_of(char *const *lines, const char *key)
{
    gsize length = strlen(key);

    for (; *lines; lines++)
        if (strncmp(*lines, key, length) == 0 && strncmp(*lines + length, ": ", 2) == 0)
            return log_printable(*lines + length + 2, strlen(*lines + length + 2), 1500);
    return NULL;
}

static void add_flags(GString *out, char sign, const char *flags)
{
    g_auto(GStrv) words = g_strsplit(flags ? flags : "", " ", -1);

    for (guint i = 0; words[i]; i++)
        if (*words[i])
            g_string_append_printf(out, " %c%s", sign, words[i]);
}

char *oplist_line(const char *name, const char *text)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    g_autofree char *state = value_of(lines, "state"), *set = value_of(lines, "set");
    g_autofree char *clear = value_of(lines, "clear"), *mailbox = value_of(lines, "mailbox");
    g_autofree char *message = value_of(lines, "message"), *reason = value_of(lines, "reason");
    g_autofree char *next = value_of(lines, "next try"), *to = value_of(lines, "to");
    g_autoptr(GString) out = g_string_new(NULL);
    const char *kind = strchr(name, '-');

    g_string_append_printf(out, "%.*s  %s ", (int)strcspn(name, "-"), name, state ? state : "?");
    if (kind && strcmp(kind, "-flags") != 0)
        g_string_append_printf(out, " %s", kind + 1);
    add_flags(out, '+', set);
    add_flags(out, '-', clear);
    g_string_append_printf(out, "  %s", mailbox ? mailbox : "?");
    if (message) /* a mailbox is made, renamed or removed without */
        g_string_append_printf(out, "/%s", message);
    if (to)
        g_string_append_printf(out, " -> %s", to);
    if (reason)
        g_string_append_printf(out, ": %s", reason);
    if (next)
        g_string_append_printf(out, " (again at %s)", next);
    g_string_append_c(out, '\n');
    return g_string_free(g_steal_pointer(&out), FALSE);
}

static int print_one(const char *dir, const char *name, int out)
{
    g_autofree char *path = g_build_filename(dir, name, NULL);
    g_autofree char *reason = g_build_filename(path, "reason.txt", NULL);
    g_autofree char *text = NULL, *line = NULL;

    if (!g_file_get_contents(path, &text, NULL, NULL) &&
        !g_file_get_contents(reason, &text, NULL, NULL))
        return 0;
    line = oplist_line(name, text);
    return child_write_all(out, line, strlen(line));
}

int oplist_print(gconstpointer path, int out)
{
    DIR *dir = opendir(path);
    const struct dirent *entry;
    int err = 0;

    if (!dir)
        return errno;
    for (errno = 0; !err && (entry = readdir(dir)); errno = 0)
        err = *entry->d_name == '.' ? 0 : print_one(path, entry->d_name, out);
    if (!err)
        err = errno;
    closedir(dir);
    return err;
}
