/* replay_main.c - gives a fuzz target the files named, or those of the folders named, once each.
 *
 * The rule: a folder without a file is a failure, or the test could not fail. */
#include "fuzz.h"

static guint replay_file(const char *path)
{
    g_autofree char *bytes = NULL;
    gsize size;
    if (!g_file_get_contents(path, &bytes, &size, NULL)) {
        fprintf(stderr, "cannot read %s\n", path);
        exit(1);
    }
    /* A copy of the very size, so that the sanitizer sees a read past the end. */
    uint8_t *data = g_malloc(size > 0 ? size : 1);
    memcpy(data, bytes, size);
    LLVMFuzzerTestOneInput(data, size);
    g_free(data);
    return 1;
}

static guint replay(const char *path)
{
    if (!g_file_test(path, G_FILE_TEST_IS_DIR))
        return replay_file(path);
    guint n = 0;
    const char *name;
    GDir *entries = g_dir_open(path, 0, NULL);
    while (entries != NULL && (name = g_dir_read_name(entries)) != NULL) {
        g_autofree char *below = g_build_filename(path, name, NULL);
        n += replay(below);
    }
    if (entries != NULL)
        g_dir_close(entries);
    return n;
}

int main(int argc, char **argv)
{
    guint n = 0;
    for (int i = 1; i < argc; i++)
        n += replay(argv[i]);
    printf("%u inputs\n", n);
    return n > 0 ? 0 : 1;
}
