/* address.c - who a message is from, out of an address list (RFC 5322 3.4) as it is really sent.
 *
 * The rule: linear in the length, and some name comes out of whatever is there. */
#include "imapfs/mime/name.h"
#include <string.h>

/* What is looked at: the first address is at the start, and lists can have megabytes. */
#define INPUT_BYTES 16384

/* The parts of the address being read. */
typedef struct {
    const char *p;
    bool quotes_end;  /* a quotation mark further on may have its closing one */
    GString *phrase;  /* words outside brackets */
    GString *comment; /* the first (comment) */
    GString *address; /* inside <> */
    bool has_angle;
    char *group;
} Scan;

/* Appends what stands between quotes, backslashes seen through; a lone quotation mark is skipped.
 */
static void scan_quoted(Scan *scan)
{
    const char *end = scan->p + 1;
    while (*end && *end != '"')
        end += end[0] == '\\' && end[1] ? 2 : 1;
    if (!scan->quotes_end || !*end) {
        scan->quotes_end = false;
        scan->p++;
        return;
    }
    for (const char *q = scan->p + 1; q < end; q++) {
        if (*q == '\\' && q + 1 < end)
            q++;
        g_string_append_c(scan->phrase, *q);
    }
    scan->p = end + 1;
}

static void scan_comment(Scan *scan)
{
    bool keep = scan->comment->len == 0;
    guint depth = 0;
    for (; *scan->p; scan->p++) {
        char c = *scan->p;
        if (c == '\\' && scan->p[1])
            c = *++scan->p;
        else if (c == '(' && depth++ == 0)
            continue;
        else if (c == ')' && --depth == 0)
            break;
        if (keep)
            g_string_append_c(scan->comment, c);
    }
    if (*scan->p)
        scan->p++;
}

static void scan_angle(Scan *scan)
{
    gsize n = strcspn(scan->p + 1, ">");
    if (!scan->has_angle)
        g_string_append_len(scan->address, scan->p + 1, (gssize)n);
    scan->has_angle = true;
    scan->p += 1 + n;
    if (*scan->p)
        scan->p++;
}

/* Whether the address that ends here is one. "Doe, John <j@x>" without quotes is not two. */
static bool is_complete(const Scan *scan)
{
    return scan->has_angle || strchr(scan->phrase->str, '@') != NULL;
}

/* An encoded word is passed as a whole: its text may hold anything. */
static bool scan_encoded_word(Scan *scan)
{
    if (scan->p[0] != '=' || scan->p[1] != '?')
        return false;
    const char *p = scan->p + 2;
    for (guint marks = 0; marks < 2; p++) {
        if (!*p || *p == ' ' || *p == '<' || *p == ',')
            return false;
        marks += *p == '?';
    }
    const char *end = strstr(p, "?=");
    const char *stop = strpbrk(p, "<\"");
    if (!end || (stop && stop < end))
        return false;
    g_string_append_len(scan->phrase, scan->p, end + 2 - scan->p);
    scan->p = end + 2;
    return true;
}

static void scan_first(Scan *scan)
{
    while (*scan->p) {
        char c = *scan->p;
        if (scan_encoded_word(scan))
            continue;
        if (c == '"') {
            scan_quoted(scan);
        } else if (c == '(') {
            scan_comment(scan);
        } else if (c == '<') {
            scan_angle(scan);
        } else if ((c == ',' || c == ';') && is_complete(scan)) {
            return;
        } else if (c == ':' && !scan->group && !is_complete(scan)) {
            scan->group = g_strdup(scan->phrase->str);
            g_string_truncate(scan->phrase, 0);
            scan->p++;
        } else {
            bool skip = c == ';' || (c == ',' && scan->phrase->len == 0);
            if (!skip)
                g_string_append_c(scan->phrase, c);
            scan->p++;
        }
    }
}

/* Decoded, blanks at the ends taken away and runs of them made one; NULL when nothing is left. */
static char *readable(const char *text)
{
    if (!text)
        return NULL;
    g_autofree char *decoded = mime_decode_header(text);
    GString *out = g_string_new(NULL);
    for (const char *p = g_strstrip(decoded); *p; p++) {
        if (*p != ' ' || p[1] != ' ')
            g_string_append_c(out, *p);
    }
    if (out->len == 0) {
        g_string_free(out, TRUE);
        return NULL;
    }
    return g_string_free(out, FALSE);
}

char *mime_from_display(const char *value)
{
    g_autofree char *input = g_strndup(value, INPUT_BYTES);
    g_autoptr(GString) phrase = g_string_new(NULL), comment = g_string_new(NULL),
                       address = g_string_new(NULL);
    Scan scan = {
        .p = input, .quotes_end = true, .phrase = phrase, .comment = comment, .address = address};
    scan_first(&scan);
    g_autofree char *group = scan.group;
    /* "a@b (Alice)" is how it was written before there were phrases. */
    bool bare = !scan.has_angle && strchr(phrase->str, '@');
    const char *order[] = {bare ? comment->str : phrase->str, bare ? phrase->str : comment->str,
                           address->str, group};
    for (guint i = 0; i < G_N_ELEMENTS(order); i++) {
        char *display = readable(order[i]);
        if (display)
            return display;
    }
    return g_strdup("");
}
