/* test_script.c - every transcript of tests/script, in every way its bytes can come. */
#include "transcript.h"

#include "imap/test_paths.h"

typedef struct {
    char *path, *text;
    RunMode mode;
} Case;

static void run(void **state)
{
    const Case *this = *state;
    script_run(this->path, this->text, this->mode);
}

static gint compare(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static GPtrArray *find_scripts(const char *only)
{
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GDir) dir = g_dir_open(SCRIPT_DIR, 0, NULL);
    const char *name;
    while (dir && (name = g_dir_read_name(dir)))
        if (g_str_has_suffix(name, ".imap") && (!only || strstr(name, only)))
            g_ptr_array_add(names, g_strdup(name));
    g_ptr_array_sort(names, compare);
    return names;
}

static void add_cases(GArray *tests, GPtrArray *cases, const char *name)
{
    static const char *const modes[] = {"whole", "bytes", "stutter"};
    g_autofree char *path = g_build_filename(SCRIPT_DIR, name, NULL);
    for (int mode = 0; mode < RUN_N; mode++) {
        Case *this = g_new0(Case, 1);
        this->path = g_strdup(name);
        this->mode = (RunMode)mode;
        assert_true(g_file_get_contents(path, &this->text, NULL, NULL));
        g_ptr_array_add(cases, this);
        struct CMUnitTest test = {.name = g_strdup_printf("%s %s", name, modes[mode]),
                                  .test_func = run,
                                  .initial_state = this};
        g_array_append_val(tests, test);
    }
}

static void case_free(gpointer data)
{
    Case *this = data;
    g_free(this->path);
    g_free(this->text);
    g_free(this);
}

int main(int argc, char **argv)
{
    g_autoptr(GPtrArray) names = find_scripts(argc > 1 ? argv[1] : NULL);
    g_autoptr(GPtrArray) cases = g_ptr_array_new_with_free_func(case_free);
    g_autoptr(GArray) tests = g_array_new(FALSE, TRUE, sizeof(struct CMUnitTest));
    log_init(g_getenv("IMAPFS_DEBUG"));
    log_set_target(g_getenv("IMAPFS_DEBUG") ? LOG_TO_STDERR : LOG_TO_RING_ONLY);
    for (guint i = 0; i < names->len; i++)
        add_cases(tests, cases, names->pdata[i]);
    int failed = names->len == 0
                     ? 1
                     : _cmocka_run_group_tests("script", (struct CMUnitTest *)(void *)tests->data,
                                               tests->len, NULL, NULL);
    for (guint i = 0; i < tests->len; i++)
        g_free((char *)g_array_index(tests, struct CMUnitTest, i).name);
    unlink(script_cafile());
    g_free(script_cafile());
    cert_clear(script_cert());
    return failed;
}
