/* config.c - the configuration file, a GKeyFile.
 *
 * The rule: the file holds commands that we run, so nobody else may be able to write it; and it
 * never holds a password. */
#include "config.h"
#include "fail.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CONFIG_MAX_BYTES (1024 * 1024)

char *config_path(void)
{
    return g_build_filename(g_get_user_config_dir(), "imapfs", "config", NULL);
}

static bool check_owner(int fd, const char *path, GError **error)
{
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        fail(error, "%s is not a file", path);
    else if (st.st_uid != geteuid() && st.st_uid != 0)
        fail(error, "%s belongs to somebody else", path);
    else if (st.st_mode & (S_IWGRP | S_IWOTH))
        fail(error, "%s can be written by others: chmod go-w it", path);
    else if (st.st_size > CONFIG_MAX_BYTES)
        fail(error, "%s is too big", path);
    else
        return true;
    return false;
}

static bool read_all(int fd, GString *text)
{
    char buffer[4096];
    gssize n;
    while ((n = read(fd, buffer, sizeof buffer)) > 0 && text->len <= CONFIG_MAX_BYTES)
        g_string_append_len(text, buffer, n);
    return n == 0;
}

/* NULL without an error: there is no file. */
static GKeyFile *open_key_file(const char *path, GError **error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        if (errno != ENOENT && errno != ENOTDIR)
            fail(error, "%s: %s", path, g_strerror(errno));
        return NULL;
    }
    g_autoptr(GString) text = g_string_new(NULL);
    bool ok = check_owner(fd, path, error);
    if (ok && !read_all(fd, text)) {
        ok = false;
        fail(error, "%s cannot be read", path);
    }
    close(fd);
    g_autoptr(GKeyFile) file = g_key_file_new();
    g_autoptr(GError) bad = NULL;
    if (ok && !g_key_file_load_from_data(file, text->str, text->len, G_KEY_FILE_NONE, &bad)) {
        ok = false;
        /* GLib's message repeats the bad line, which could be anything. */
        fail(error, "%s is not a list of [SECTION] and KEY=VALUE lines", path);
    }
    return ok ? g_steal_pointer(&file) : NULL;
}

static bool load_key(GKeyFile *file, const char *section, const char *key, Options *options,
                     GError **error)
{
    /* Raw, so that a backslash in a command is a backslash. The option without a value is "KEY=",
     * as a key file has no other way. */
    g_autofree char *value = g_key_file_get_value(file, section, key, NULL);
    if (!value)
        return true;
    g_strstrip(value);
    return options_set(options, key, *value ? value : NULL, OPTION_FROM_FILE, error);
}

bool config_load(const char *path, const char *section, Options *options, bool *found_out,
                 GError **error)
{
    g_autoptr(GError) failed = NULL;
    g_autoptr(GKeyFile) file = open_key_file(path, &failed);
    *found_out = false;
    if (failed) {
        g_propagate_error(error, g_steal_pointer(&failed));
        return false;
    }
    if (!file || !g_key_file_has_group(file, section))
        return true;
    g_auto(GStrv) keys = g_key_file_get_keys(file, section, NULL, NULL);
    for (guint i = 0; keys && keys[i]; i++) {
        if (!load_key(file, section, keys[i], options, error)) {
            g_prefix_error(error, "%s, [%s]: ", path, section);
            return false;
        }
    }
    *found_out = true;
    return true;
}
