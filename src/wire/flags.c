/* flags.c - system flags as bits, keywords as a sorted list (RFC 9051 2.3.2).
 *
 * The rule: a keyword that a server may not send is dropped, as what stays here is printed into
 * files that people show on terminals. */
#include "imapfs/wire/flags.h"
#include <string.h>
#include "imapfs/base/limits.h"

#define KEYWORD_MAX 255

/* In the order of the text form. */
static const struct {
    const char *name;
    guint32 bit;
} system_flags[] = {
    {"\\Seen", FLAG_SEEN},       {"\\Answered", FLAG_ANSWERED}, {"\\Flagged", FLAG_FLAGGED},
    {"\\Deleted", FLAG_DELETED}, {"\\Draft", FLAG_DRAFT},       {"\\*", FLAG_ANY_KEYWORD},
};

void flags_clear(Flags *flags)
{
    g_clear_pointer(&flags->keywords, g_ptr_array_unref);
    flags->system = 0;
}

/* An atom (RFC 9051 9), and tolerance "bracket in keyword": Gmail sends "]" unquoted. */
static bool is_keyword(const char *flag)
{
    gsize length = strlen(flag);
    if (length == 0 || length > KEYWORD_MAX)
        return false;
    for (const char *p = flag; *p != '\0'; p++)
        if (!g_ascii_isgraph(*p) || strchr("(){%*\"\\", *p) != NULL)
            return false;
    return true;
}

/* Byte order; the same word in another case counts as equal when it is looked for. */
static bool find_keyword(const GPtrArray *keywords, const char *flag, guint *position_out)
{
    *position_out = keywords->len;
    for (guint i = 0; i < keywords->len; i++) {
        const char *have = g_ptr_array_index(keywords, i);
        if (g_ascii_strcasecmp(have, flag) == 0)
            return true;
        if (*position_out == keywords->len && strcmp(have, flag) > 0)
            *position_out = i;
    }
    return false;
}

static bool add_keyword(Flags *flags, const char *flag)
{
    if (!is_keyword(flag))
        return false;
    if (flags->keywords == NULL)
        flags->keywords = g_ptr_array_new_with_free_func(g_free);
    guint position;
    if (find_keyword(flags->keywords, flag, &position))
        return true;
    if (flags->keywords->len >= LIMIT_FLAGS)
        return false;
    g_ptr_array_insert(flags->keywords, (gint)position, g_strdup(flag));
    return true;
}

bool flags_add(Flags *flags, const char *flag)
{
    if (flag[0] != '\\')
        return add_keyword(flags, flag);
    for (guint i = 0; i < G_N_ELEMENTS(system_flags); i++) {
        if (g_ascii_strcasecmp(flag, system_flags[i].name) == 0) {
            flags->system |= system_flags[i].bit;
            return true;
        }
    }
    return false;
}

void flags_parse(Flags *flags, const char *text)
{
    g_auto(GStrv) words = g_strsplit_set(text, " \t\r\n", -1);
    for (guint i = 0; words[i] != NULL; i++)
        if (words[i][0] != '\0')
            flags_add(flags, words[i]);
}

void flags_print(const Flags *flags, GString *out)
{
    const char *between = "";
    for (guint i = 0; i < G_N_ELEMENTS(system_flags); i++) {
        if ((flags->system & system_flags[i].bit) == 0)
            continue;
        g_string_append_printf(out, "%s%s", between, system_flags[i].name);
        between = " ";
    }
    for (guint i = 0; flags->keywords != NULL && i < flags->keywords->len; i++) {
        const char *keyword = g_ptr_array_index(flags->keywords, i);
        g_string_append_printf(out, "%s%s", between, keyword);
        between = " ";
    }
}

char *flags_to_text(const Flags *flags)
{
    GString *text = g_string_new(NULL);
    flags_print(flags, text);
    return g_string_free(text, FALSE);
}

bool flags_equal(const Flags *a, const Flags *b)
{
    guint n = a->keywords != NULL ? a->keywords->len : 0;
    if (a->system != b->system || n != (b->keywords != NULL ? b->keywords->len : 0))
        return false;
    for (guint i = 0; i < n; i++) {
        guint position;
        /* Byte order puts "$A" and "$a" at different places, so look rather than walk. */
        if (!find_keyword(b->keywords, g_ptr_array_index(a->keywords, i), &position))
            return false;
    }
    return true;
}

bool flags_is_empty(const Flags *flags)
{
    return flags->system == 0 && (flags->keywords == NULL || flags->keywords->len == 0);
}

void flags_add_all(Flags *to, const Flags *what)
{
    to->system |= what->system;
    for (guint i = 0; what->keywords != NULL && i < what->keywords->len; i++)
        add_keyword(to, g_ptr_array_index(what->keywords, i));
}

static void remove_keyword(Flags *from, const char *keyword)
{
    for (guint i = 0; i < from->keywords->len; i++) {
        if (g_ascii_strcasecmp(g_ptr_array_index(from->keywords, i), keyword) == 0) {
            g_ptr_array_remove_index(from->keywords, i);
            return;
        }
    }
}

void flags_remove_all(Flags *from, const Flags *what)
{
    from->system &= ~what->system;
    if (from->keywords == NULL || what->keywords == NULL)
        return;
    for (guint i = 0; i < what->keywords->len; i++)
        remove_keyword(from, g_ptr_array_index(what->keywords, i));
}

/* In byte order. */
static const struct {
    char letter;
    const char *flag;
} letter_flags[] = {
    {'D', "\\Draft"},    {'F', "\\Flagged"}, {'P', "$Forwarded"},
    {'R', "\\Answered"}, {'S', "\\Seen"},    {'T', "\\Deleted"},
};

static bool has_flag(const Flags *flags, const char *flag)
{
    guint position;
    for (guint i = 0; i < G_N_ELEMENTS(system_flags); i++)
        if (strcmp(flag, system_flags[i].name) == 0)
            return flags->system & system_flags[i].bit;
    return flags->keywords != NULL && find_keyword(flags->keywords, flag, &position);
}

void flags_letters(const Flags *flags, char out[FLAGS_LETTERS_MAX])
{
    guint n = 0;
    G_STATIC_ASSERT(G_N_ELEMENTS(letter_flags) < FLAGS_LETTERS_MAX);
    for (guint i = 0; i < G_N_ELEMENTS(letter_flags); i++)
        if (has_flag(flags, letter_flags[i].flag))
            out[n++] = letter_flags[i].letter;
    out[n] = '\0';
}

bool flags_of_letters(Flags *flags, const char *letters)
{
    const char *p = letters;
    for (guint i = 0; i < G_N_ELEMENTS(letter_flags); i++)
        if (*p == letter_flags[i].letter) {
            flags_add(flags, letter_flags[i].flag);
            p++;
        }
    return *p == '\0';
}

void flags_keep_all(Flags *of, const Flags *what)
{
    g_auto(Flags) rest = {0};
    flags_add_all(&rest, of);
    flags_remove_all(&rest, what);
    flags_remove_all(of, &rest);
}
