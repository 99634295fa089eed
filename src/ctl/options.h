/* options.h - the one table of options: -o, configuration keys, --help, and what the manual names.
 *
 * Layer ctl. Main thread. A value is checked when it is set and kept as text; the first setter of
 * the stronger origin wins: the command line over the configuration file over the table. */
#pragma once
#include <glib.h>
#include <stdbool.h>
#include <stdio.h>

typedef enum {
    OPTION_TEXT,   /* anything without control characters, not empty */
    OPTION_PATH,   /* made absolute; "~/" is the home directory */
    OPTION_NUMBER, /* decimal, min .. max */
    OPTION_SIZE,   /* a number with K, M, G or T (powers of 1024), min .. max */
    OPTION_BOOL,   /* alone, or =yes, =no */
    OPTION_CHOICE, /* one of the words of `argument`, separated by '|' */
    OPTION_WORDS,  /* words separated by ':'; alone it is "all" where the table says so */
} OptionKind;

typedef enum {
    OPT_TUNNEL,
    OPT_USER,
    OPT_PORT,
    OPT_PASSCMD,
    OPT_TOKENCMD,
    OPT_CAFILE,
    OPT_PIN,
    OPT_CLIENTCERT,
    OPT_TIMEOUT,
    OPT_POLL,
    OPT_MAX_CONNECTIONS,
    OPT_COMPRESS,
    OPT_DISABLE,
    OPT_MODE,
    OPT_CACHE_SIZE,
    OPT_PREFETCH,
    OPT_CACHE_DIR,
    OPT_STATE_DIR,
    OPT_TRACE,
    OPT_DEBUG,
    OPT_ALLOW_OTHER,
    OPT_RO,
    OPT_EXACT,
    OPT_OFFLINE,
    OPT_DELETE,
    OPT_GUARD,
    OPT_APPEND_ID,
    OPT_APPEND_SEEN,
    OPT_HOST,     /* of the configuration file only, as SOURCE says it on the command line */
    OPT_SECURITY, /* likewise */
    N_OPTIONS
} OptionId;

typedef struct {
    const char *name;
    OptionKind kind;
    bool file_only;
    const char *argument; /* what stands behind '=' in the help */
    const char *initial;  /* the value when nobody sets one; NULL: none */
    const char *bare;     /* the value of the name alone, without '='; NULL: it needs one */
    guint64 min, max;     /* of NUMBER and SIZE */
    const char *help;
} OptionSpec;

extern const OptionSpec option_specs[N_OPTIONS];

typedef enum { OPTION_FROM_NOBODY, OPTION_FROM_FILE, OPTION_FROM_COMMAND } OptionOrigin;

typedef struct Options Options;
Options *options_new(void);
void options_free(Options *options);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Options, options_free)

/* value NULL: the name stood alone. Error CONFIG, naming the option. Mount options that mean
 * nothing here (nosuid, noauto, x-..., ...) are ignored on the command line only. */
bool options_set(Options *options, const char *name, const char *value, OptionOrigin origin,
                 GError **error);
/* The argument of one -o: NAME[=VALUE] separated by ','; "\," is a comma and "\\" a backslash. */
bool options_parse(Options *options, const char *list, GError **error);

const char *options_text(const Options *options, OptionId id); /* borrowed; NULL: none */
guint64 options_number(const Options *options, OptionId id);   /* of NUMBER and SIZE */
bool options_bool(const Options *options, OptionId id);
char **options_words(const Options *options, OptionId id); /* empty when none; caller frees */
OptionOrigin options_origin(const Options *options, OptionId id);

void options_print_help(FILE *out);
