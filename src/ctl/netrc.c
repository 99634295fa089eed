/* netrc.c - passwords from netrc and authinfo files.
 *
 * The rule: the text and every word of it live in buffers that are wiped; and a password that
 * others can read is not used, so that the user hears of it. */
#include "netrc.h"
#include "fail.h"
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NETRC_MAX_BYTES (256 * 1024)

typedef struct {
    const char *next, *end;
    char *word;    /* room for the longest word, NUL-terminated */
    bool new_line; /* nothing but spaces since the beginning of the line */
} Scanner;

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Spaces, and comments: from a '#' at the beginning of a line to its end (a password may well begin
 * with one). */
static void skip_space(Scanner *scan)
{
    bool comment = false;
    for (; scan->next < scan->end; scan->next++) {
        if (*scan->next == '\n') {
            scan->new_line = true;
            comment = false;
        } else if (*scan->next == '#' && scan->new_line) {
            comment = true;
        } else if (!comment && !is_space(*scan->next)) {
            return;
        }
    }
}

static bool next_word(Scanner *scan)
{
    char *out = scan->word;
    skip_space(scan);
    if (scan->next == scan->end)
        return false;
    bool quoted = *scan->next == '"';
    if (quoted)
        scan->next++;
    while (scan->next < scan->end && (quoted ? *scan->next != '"' : !is_space(*scan->next))) {
        if (quoted && *scan->next == '\\' && scan->next + 1 < scan->end)
            scan->next++;
        *out++ = *scan->next++;
    }
    if (quoted && scan->next < scan->end)
        scan->next++;
    *out = '\0';
    scan->new_line = false;
    return true;
}

/* macdef NAME, then lines up to an empty one. */
static void skip_macro(Scanner *scan)
{
    const char *empty = g_strstr_len(scan->next, scan->end - scan->next, "\n\n");
    scan->next = empty ? empty + 1 : scan->end;
}

typedef struct {
    bool in_machine, fits;
    Secret *password;
} Entry;

static void begin_entry(Entry *entry, bool in_machine, bool fits)
{
    secret_unref(entry->password);
    *entry = (Entry){.in_machine = in_machine, .fits = fits};
}

static bool port_fits(const char *text, guint16 port)
{
    guint64 number = 0;
    if (strcmp(text, "imaps") == 0)
        return port == 993;
    if (strcmp(text, "imap") == 0)
        return port == 143;
    return g_ascii_string_to_unsigned(text, 10, 1, 65535, &number, NULL) && number == port;
}

/* HOST, HOST:PORT, or [IPV6]:PORT. */
static bool machine_fits(const char *word, const NetrcQuery *query)
{
    gsize length = strlen(query->host);
    if (*word == '[' && strlen(word) > length + 1 && word[length + 1] == ']')
        return g_ascii_strncasecmp(word + 1, query->host, length) == 0 &&
               (!word[length + 2] ||
                (word[length + 2] == ':' && port_fits(word + length + 3, query->port)));
    if (g_ascii_strncasecmp(word, query->host, length) != 0)
        return false;
    return !word[length] || (word[length] == ':' && port_fits(word + length + 1, query->port));
}

/* One keyword with its value. */
static void take_pair(Scanner *scan, const char *key, Entry *entry, const NetrcQuery *query)
{
    if (!next_word(scan))
        return;
    if (strcmp(key, "machine") == 0)
        begin_entry(entry, true, machine_fits(scan->word, query));
    else if (strcmp(key, "login") == 0 || strcmp(key, "user") == 0)
        entry->fits = entry->fits && strcmp(scan->word, query->user) == 0;
    else if (strcmp(key, "port") == 0)
        entry->fits = entry->fits && port_fits(scan->word, query->port);
    else if (strcmp(key, "macdef") == 0)
        skip_macro(scan);
    else if (strcmp(key, "password") == 0 && entry->in_machine && *scan->word) {
        secret_unref(entry->password);
        entry->password = secret_new(scan->word, strlen(scan->word));
    }
}

static bool is_complete(const Entry *entry)
{
    return entry->fits && entry->password;
}

Secret *netrc_find(const char *text, gsize length, const NetrcQuery *query)
{
    Scanner scan = {text, text + length, g_malloc(length + 1), true};
    Entry entry = {0};
    char key[16];
    bool found = false;
    while (!found && next_word(&scan)) {
        /* A keyword that opens an entry closes the one before it. */
        g_strlcpy(key, scan.word, sizeof key);
        if (strcmp(key, "machine") == 0 || strcmp(key, "default") == 0) {
            found = is_complete(&entry);
            if (!found)
                begin_entry(&entry, false, false);
        }
        if (!found && strcmp(key, "default") != 0)
            take_pair(&scan, key, &entry, query);
    }
    found = found || is_complete(&entry);
    secret_wipe(scan.word, length + 1);
    secret_wipe(key, sizeof key);
    g_free(scan.word);
    if (found)
        return entry.password;
    secret_unref(entry.password);
    return NULL;
}

static gssize read_up_to(int fd, char *buffer, gsize size)
{
    gsize length = 0;
    while (length < size) {
        gssize n = read(fd, buffer + length, size - length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        length += (gsize)n;
    }
    return (gssize)length;
}

static Secret *find_in_fd(int fd, const char *path, const NetrcQuery *query, GError **error)
{
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size > NETRC_MAX_BYTES) {
        fail(error, "%s is not a file of at most %d KiB", path, NETRC_MAX_BYTES / 1024);
        return NULL;
    }
    char *text = g_malloc(NETRC_MAX_BYTES);
    gssize length = read_up_to(fd, text, NETRC_MAX_BYTES);
    g_autoptr(Secret) secret = length > 0 ? netrc_find(text, (gsize)length, query) : NULL;
    secret_wipe(text, NETRC_MAX_BYTES);
    g_free(text);
    if (!secret)
        return NULL;
    if (st.st_uid != geteuid())
        fail(error, "%s belongs to somebody else", path);
    else if (st.st_mode & 077)
        fail(error, "%s can be read by others: chmod 600 it", path);
    else
        return g_steal_pointer(&secret);
    return NULL;
}

Secret *netrc_find_in_file(const char *path, const NetrcQuery *query, GError **error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        if (errno != ENOENT && errno != ENOTDIR)
            fail(error, "%s: %s", path, g_strerror(errno));
        return NULL;
    }
    Secret *secret = find_in_fd(fd, path, query, error);
    close(fd);
    return secret;
}
