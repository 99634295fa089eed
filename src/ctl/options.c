/* options.c - the table of options, and setting them from text.
 *
 * The rule: a value that was accepted here is right, so nobody behind checks it again; and no
 * message repeats a value, as the name may be a typing error of something secret. */
#include "options.h"
#include "fail.h"
#include "imapfs/base/log.h"
#include <string.h>

#define GIB (1024ull * 1024 * 1024)

const OptionSpec option_specs[N_OPTIONS] = {
    [OPT_TUNNEL] = {"tunnel", OPTION_TEXT, false, "COMMAND", NULL, NULL, 0, 0,
                    "speak IMAP with this command instead of over the network"},
    [OPT_USER] = {"user", OPTION_TEXT, false, "NAME", NULL, NULL, 0, 0,
                  "log in as NAME (when SOURCE does not say it)"},
    [OPT_PORT] = {"port", OPTION_NUMBER, false, "N", NULL, NULL, 1, 65535,
                  "TCP port (default: SRV records, then 993, or 143 with imap://)"},
    [OPT_PASSCMD] = {"passcmd", OPTION_TEXT, false, "COMMAND", NULL, NULL, 0, 0,
                     "the first line that COMMAND prints is the password"},
    [OPT_TOKENCMD] = {"tokencmd", OPTION_TEXT, false, "COMMAND", NULL, NULL, 0, 0,
                      "the first line that COMMAND prints is an OAuth 2.0 access token"},
    [OPT_CAFILE] = {"cafile", OPTION_PATH, false, "FILE", NULL, NULL, 0, 0,
                    "PEM file of the authorities to trust, instead of the system's"},
    [OPT_PIN] = {"pin", OPTION_TEXT, false, "sha256//BASE64", NULL, NULL, 0, 0,
                 "require in addition that the server has this public key"},
    [OPT_CLIENTCERT] = {"clientcert", OPTION_PATH, false, "FILE", NULL, NULL, 0, 0,
                        "PEM file of a certificate and key to show to the server"},
    [OPT_TIMEOUT] = {"timeout", OPTION_NUMBER, false, "SECONDS", "30", NULL, 1, 3600,
                     "give up waiting for the server after this long"},
    [OPT_POLL] = {"poll", OPTION_NUMBER, false, "SECONDS", "60", NULL, 5, 86400,
                  "how often to ask about mailboxes that the server does not announce"},
    [OPT_MAX_CONNECTIONS] = {"max-connections", OPTION_NUMBER, false, "N", "4", NULL, 1, 16,
                             "connections to the server at most"},
    [OPT_COMPRESS] = {"compress", OPTION_CHOICE, false, "auto|yes|no", "auto", NULL, 0, 0,
                      "compress the traffic where the server can (auto: unless it is near)"},
    [OPT_DISABLE] = {"disable", OPTION_WORDS, false, "CAPABILITY[:...]", NULL, NULL, 0, 0,
                     "act as if the server had not announced these"},
    [OPT_MODE] = {"mode", OPTION_CHOICE, false, "online|disconnected|offline", "disconnected", NULL,
                  0, 0, "what is kept here; this version has only disconnected"},
    [OPT_CACHE_SIZE] = {"cache-size", OPTION_SIZE, false, "SIZE", "1G", NULL, 1024 * 1024,
                        1ull << 50, "bytes of mail to keep, as in 500M or 2G"},
    [OPT_PREFETCH] = {"prefetch", OPTION_SIZE, false, "SIZE", "2M", NULL, 0, 1u << 30,
                      "bytes to bring ahead of who reads in order; 0: nothing"},
    [OPT_CACHE_DIR] = {"cache-dir", OPTION_PATH, false, "DIR", NULL, NULL, 0, 0,
                       "keep mail in DIR/ACCOUNT (default: $XDG_CACHE_HOME/imapfs)"},
    [OPT_STATE_DIR] = {"state-dir", OPTION_PATH, false, "DIR", NULL, NULL, 0, 0,
                       "keep the index in DIR/ACCOUNT (default: $XDG_STATE_HOME/imapfs)"},
    [OPT_TRACE] = {"trace", OPTION_PATH, false, "FILE", NULL, NULL, 0, 0,
                   "append what is said to and by the server, without passwords"},
    [OPT_DEBUG] = {"debug", OPTION_WORDS, false, "CATEGORY[:...]", NULL, "all", 0, 0,
                   "log more: all, or some of net, imap, engine, sync, replay, store, fuse"},
    [OPT_ALLOW_OTHER] = {"allow_other", OPTION_BOOL, false, NULL, "no", "yes", 0, 0,
                         "let other users in (the modes still keep them from the mail)"},
    [OPT_RO] = {"ro", OPTION_BOOL, false, NULL, "no", "yes", 0, 0,
                "mount read-only: nothing can be changed, and nothing that waits is sent"},
    [OPT_EXACT] = {"exact", OPTION_BOOL, false, NULL, "no", "yes", 0, 0,
                   "fetch a file before its size is told, so that opening one costs nothing; ro"},
    [OPT_OFFLINE] = {"offline", OPTION_BOOL, false, NULL, "no", "yes", 0, 0,
                     "use no network before \"imapfsctl online\" says so"},
    [OPT_DELETE] = {"delete", OPTION_CHOICE, false, "trash|expunge", "trash", NULL, 0, 0,
                    "what rm of a message does: to the mailbox for trash, or for good"},
    [OPT_GUARD] = {"guard", OPTION_NUMBER, false, "N", "1000", NULL, 0, 1000000,
                   "more deletions than this in a minute wait to be confirmed; 0: none do"},
    [OPT_APPEND_ID] = {"append_id", OPTION_CHOICE, false, "auto|never", "auto", NULL, 0, 0,
                       "give letters that are put here without a Message-ID one"},
    [OPT_APPEND_SEEN] = {"append_seen", OPTION_BOOL, false, NULL, "yes", "yes", 0, 0,
                         "mark letters that are put here as read"},
    [OPT_HOST] = {"host", OPTION_TEXT, true, "NAME", NULL, NULL, 0, 0, "the server"},
    [OPT_SECURITY] = {"security", OPTION_CHOICE, true, "tls|starttls", "tls", NULL, 0, 0,
                      "TLS from the first byte, or STARTTLS, which is then required"},
};

/* What mount(8), fstab and systemd may hand to every helper. A mount of ours always is noexec,
 * nosuid and nodev, whatever is asked. "user" is one of these only without a value. */
static const char *const generic_options[] = {
    "rw",          "suid",          "nosuid",   "dev",        "nodev",    "exec",
    "noexec",      "auto",          "noauto",   "user",       "nouser",   "users",
    "group",       "owner",         "defaults", "async",      "sync",     "dirsync",
    "atime",       "noatime",       "diratime", "nodiratime", "relatime", "norelatime",
    "strictatime", "nostrictatime", "lazytime", "nolazytime", "silent",   "loud",
    "mand",        "nomand",        "iversion", "noiversion", "_netdev",  "nofail",
    "comment",
};

/* Names people try, and why it is no. */
static const struct {
    const char *name, *why;
} refused_options[] = {
    {"password", "a password here could be read by others; use passcmd=COMMAND, ~/.netrc, the "
                 "Secret Service or the prompt"},
    {"pass", "a password here could be read by others; use passcmd=COMMAND, ~/.netrc, the "
             "Secret Service or the prompt"},
    {"insecure", "there is no way to skip the check of a certificate; use cafile=FILE for a "
                 "private authority"},
};

struct Options {
    char *text[N_OPTIONS];
    OptionOrigin origin[N_OPTIONS];
};

Options *options_new(void)
{
    Options *options = g_new0(Options, 1);
    for (guint i = 0; i < N_OPTIONS; i++)
        options->text[i] = g_strdup(option_specs[i].initial);
    return options;
}

void options_free(Options *options)
{
    if (!options)
        return;
    for (guint i = 0; i < N_OPTIONS; i++)
        g_free(options->text[i]);
    g_free(options);
}

/* --- checking a value: each returns the text to keep, or NULL with why --- */

static bool has_controls(const char *text)
{
    for (const char *c = text; *c; c++)
        if ((guchar)*c < 0x20 || *c == 0x7f)
            return true;
    return false;
}

static char *check_path(const char *value)
{
    if (g_str_has_prefix(value, "~/"))
        return g_build_filename(g_get_home_dir(), value + 2, NULL);
    return g_canonicalize_filename(value, NULL);
}

static bool parse_size(const char *value, guint64 *out)
{
    static const char units[] = "KMGT";
    char *end = NULL;
    if (!g_ascii_isdigit(*value))
        return false;
    guint64 number = g_ascii_strtoull(value, &end, 10);
    const char *unit = *end ? strchr(units, g_ascii_toupper(*end)) : NULL;
    guint shift = unit ? 10 * (guint)(unit - units + 1) : 0;
    if ((*end && (!unit || end[1])) || number > (G_MAXUINT64 >> shift))
        return false;
    *out = number << shift;
    return true;
}

/* As parse_size() takes it. */
static char *size_text(guint64 size)
{
    static const char *const units[] = {"", "K", "M", "G", "T"};
    guint unit = 0;
    for (; size && size % 1024 == 0 && unit + 1 < G_N_ELEMENTS(units); unit++)
        size /= 1024;
    return g_strdup_printf("%" G_GUINT64_FORMAT "%s", size, units[unit]);
}

static char *check_number(const OptionSpec *spec, const char *value, char **why)
{
    guint64 number = 0;
    bool ok = spec->kind == OPTION_SIZE
                  ? parse_size(value, &number)
                  : g_ascii_string_to_unsigned(value, 10, 0, G_MAXUINT64, &number, NULL);
    if (ok && number >= spec->min && number <= spec->max)
        return g_strdup_printf("%" G_GUINT64_FORMAT, number);
    bool is_size = spec->kind == OPTION_SIZE;
    g_autofree char *min =
        is_size ? size_text(spec->min) : g_strdup_printf("%" G_GUINT64_FORMAT, spec->min);
    g_autofree char *max =
        is_size ? size_text(spec->max) : g_strdup_printf("%" G_GUINT64_FORMAT, spec->max);
    *why = g_strdup_printf("needs a %s from %s to %s", is_size ? "size" : "number", min, max);
    return NULL;
}

static char *check_bool(const char *value, char **why)
{
    static const char *const words[][2] = {
        {"yes", "no"}, {"true", "false"}, {"on", "off"}, {"1", "0"}};
    for (guint i = 0; i < G_N_ELEMENTS(words); i++)
        for (guint no = 0; no < 2; no++)
            if (g_ascii_strcasecmp(value, words[i][no]) == 0)
                return g_strdup(words[0][no]);
    *why = g_strdup("is yes or no");
    return NULL;
}

static char *check_choice(const OptionSpec *spec, const char *value, char **why)
{
    g_auto(GStrv) words = g_strsplit(spec->argument, "|", -1);
    if (g_strv_contains((const char *const *)words, value))
        return g_strdup(value);
    g_autofree char *list = g_strjoinv(", ", words);
    *why = g_strdup_printf("is one of %s", list);
    return NULL;
}

/* Capabilities and log categories: what IMAP calls an atom, near enough. */
static char *check_words(const char *value, char **why)
{
    if (value[strspn(value, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                            "-+=_./:")] == '\0')
        return g_strdup(value);
    *why = g_strdup("is a list of words separated by ':'");
    return NULL;
}

static char *check_value(const OptionSpec *spec, const char *value, char **why)
{
    if (!*value || has_controls(value) || !g_utf8_validate(value, -1, NULL)) {
        *why = g_strdup(*value ? "contains control characters or is not UTF-8" : "needs a value");
        return NULL;
    }
    switch (spec->kind) {
    case OPTION_TEXT:
        return g_strdup(value);
    case OPTION_PATH:
        return check_path(value);
    case OPTION_NUMBER:
    case OPTION_SIZE:
        return check_number(spec, value, why);
    case OPTION_BOOL:
        return check_bool(value, why);
    case OPTION_CHOICE:
        return check_choice(spec, value, why);
    case OPTION_WORDS:
        return check_words(value, why);
    }
    g_assert_not_reached();
}

/* --- names --- */

/* Levenshtein distance, at most `bound` + 1. Names are short. */
static guint edit_distance(const char *a, const char *b, guint bound)
{
    gsize width = strlen(b);
    if (strlen(a) > width + bound || width > strlen(a) + bound)
        return bound + 1;
    g_autofree guint *row = g_new(guint, width + 1);
    for (gsize j = 0; j <= width; j++)
        row[j] = (guint)j;
    for (gsize i = 1; a[i - 1]; i++) {
        guint diagonal = row[0];
        row[0] = (guint)i;
        for (gsize j = 1; j <= width; j++) {
            guint change = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            row[j] = MIN(change, MIN(row[j], row[j - 1]) + 1);
        }
    }
    return row[width];
}

static const char *nearest_name(const char *name, OptionOrigin origin)
{
    const char *best = NULL;
    guint best_distance = 3;
    for (guint i = 0; i < N_OPTIONS; i++) {
        if (option_specs[i].file_only && origin == OPTION_FROM_COMMAND)
            continue;
        guint distance = edit_distance(name, option_specs[i].name, 2);
        if (distance < best_distance && distance < strlen(name)) {
            best = option_specs[i].name;
            best_distance = distance;
        }
    }
    return best;
}

static bool is_generic(const char *name, const char *value)
{
    if (g_str_has_prefix(name, "x-") || g_str_has_prefix(name, "X-") ||
        strcmp(name, "comment") == 0)
        return true;
    for (guint i = 0; i < G_N_ELEMENTS(generic_options); i++)
        if (!value && strcmp(name, generic_options[i]) == 0)
            return true;
    return false;
}

static bool refuse_name(const char *name, OptionOrigin origin, GError **error)
{
    g_autofree char *shown = log_printable(name, strlen(name), 60);
    for (guint i = 0; i < G_N_ELEMENTS(refused_options); i++) {
        if (strcmp(name, refused_options[i].name) == 0) {
            fail(error, "option %s: %s", shown, refused_options[i].why);
            return false;
        }
    }
    const char *near = nearest_name(name, origin);
    if (near)
        fail(error, "unknown option %s: did you mean %s?", shown, near);
    else
        fail(error, "unknown option %s (imapfs --help lists them)", shown);
    return false;
}

static const OptionSpec *find_spec(const char *name)
{
    for (guint i = 0; i < N_OPTIONS; i++)
        if (strcmp(name, option_specs[i].name) == 0)
            return &option_specs[i];
    return NULL;
}

/* --- setting --- */

bool options_set(Options *options, const char *name, const char *value, OptionOrigin origin,
                 GError **error)
{
    if (origin == OPTION_FROM_COMMAND && is_generic(name, value))
        return true;
    const OptionSpec *spec = find_spec(name);
    if (!spec)
        return refuse_name(name, origin, error);
    if (spec->file_only && origin == OPTION_FROM_COMMAND) {
        fail(error, "option %s is for the configuration file; here SOURCE says it", name);
        return false;
    }
    if (!value)
        value = spec->bare;
    g_autofree char *why = NULL;
    g_autofree char *text = value ? check_value(spec, value, &why) : NULL;
    if (!text) {
        fail(error, "option %s %s", name, why ? why : "needs a value");
        return false;
    }
    OptionId id = (OptionId)(spec - option_specs);
    if (origin >= options->origin[id]) {
        g_free(options->text[id]);
        options->text[id] = g_steal_pointer(&text);
        options->origin[id] = origin;
    }
    return true;
}

/* The next item of an -o list, unescaped; *cursor moves behind its comma. */
static char *next_item(const char **cursor)
{
    GString *item = g_string_new(NULL);
    const char *c = *cursor;
    for (; *c && *c != ','; c++) {
        if (*c == '\\' && (c[1] == ',' || c[1] == '\\'))
            c++;
        g_string_append_c(item, *c);
    }
    *cursor = *c ? c + 1 : c;
    return g_string_free(item, FALSE);
}

bool options_parse(Options *options, const char *list, GError **error)
{
    while (*list) {
        g_autofree char *name = next_item(&list);
        char *equals = strchr(name, '=');
        if (equals)
            *equals = '\0';
        /* Empty items come from lists that scripts glue together. */
        if (!*name && !equals)
            continue;
        if (!options_set(options, name, equals ? equals + 1 : NULL, OPTION_FROM_COMMAND, error))
            return false;
    }
    return true;
}

/* --- asking --- */

const char *options_text(const Options *options, OptionId id)
{
    return options->text[id];
}

guint64 options_number(const Options *options, OptionId id)
{
    guint64 number = 0;
    if (options->text[id])
        parse_size(options->text[id], &number);
    return number;
}

bool options_bool(const Options *options, OptionId id)
{
    return g_strcmp0(options->text[id], "yes") == 0;
}

char **options_words(const Options *options, OptionId id)
{
    g_auto(GStrv) pieces = g_strsplit(options->text[id] ? options->text[id] : "", ":", -1);
    GPtrArray *words = g_ptr_array_new();
    for (guint i = 0; pieces[i]; i++)
        if (*pieces[i])
            g_ptr_array_add(words, g_strdup(pieces[i]));
    g_ptr_array_add(words, NULL);
    return (char **)g_ptr_array_free(words, FALSE);
}

OptionOrigin options_origin(const Options *options, OptionId id)
{
    return options->origin[id];
}

/* --- help --- */

static void print_options(FILE *out, bool file_only)
{
    for (guint i = 0; i < N_OPTIONS; i++) {
        const OptionSpec *spec = &option_specs[i];
        if (spec->file_only != file_only)
            continue;
        g_autofree char *left =
            spec->argument ? g_strdup_printf("%s%s=%s%s", spec->name, spec->bare ? "[" : "",
                                             spec->argument, spec->bare ? "]" : "")
                           : g_strdup(spec->name);
        fprintf(out, "    %-26s", left);
        if (strlen(left) > 25)
            fprintf(out, "\n%30s", "");
        bool tell = spec->initial && spec->kind != OPTION_BOOL;
        fprintf(out, " %s%s%s%s\n", spec->help, tell ? " [" : "", tell ? spec->initial : "",
                tell ? "]" : "");
    }
}

void options_print_help(FILE *out)
{
    fputs("OPTION:\n", out);
    print_options(out, false);
    fputs("In the configuration file also:\n", out);
    print_options(out, true);
}
