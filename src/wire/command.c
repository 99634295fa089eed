/* command.c - a command as pieces to send (RFC 9051 4, 6; RFC 7888).
 *
 * The rule: no byte gets outside a literal that could end the line or start a literal of its own;
 * a command with one is never sent. Quoted strings rather than atoms, as every server reads them,
 * and literals for what is long, 8-bit or a control character. */
#include "imapfs/wire/command.h"
#include <stdarg.h>
#include <string.h>
#include <unistd.h>
#include "imapfs/wire/mailbox_name.h"

#define QUOTED_MAX 1000        /* longer strings go as literals; some servers' lines are short */
#define LITERAL_MINUS_MAX 4096 /* RFC 7888 5 */

typedef enum {
    SEGMENT_TEXT,
    SEGMENT_LITERAL,
    SEGMENT_FILE,
    SEGMENT_SECRET,
    SEGMENT_SECRET_LITERAL
} SegmentKind;

typedef struct {
    SegmentKind kind;
    GString *text;     /* SEGMENT_TEXT */
    GBytes *bytes;     /* SEGMENT_LITERAL */
    CommandFile *file; /* SEGMENT_FILE */
    Secret *secret;    /* the last two */
    bool quote;        /* SEGMENT_SECRET: as a quoted string */
} Segment;

struct CommandText {
    GPtrArray *segments; /* of Segment */
    bool bad;            /* holds what may not be sent */
};

static void file_close(gpointer data)
{
    close(((CommandFile *)data)->fd);
}

CommandFile *command_file_ref(CommandFile *file)
{
    return g_rc_box_acquire(file);
}

void command_file_unref(CommandFile *file)
{
    g_rc_box_release_full(file, file_close);
}

static void segment_free(gpointer data)
{
    Segment *segment = data;
    if (segment->file != NULL)
        command_file_unref(segment->file);
    if (segment->text != NULL)
        g_string_free(segment->text, TRUE);
    if (segment->bytes != NULL)
        g_bytes_unref(segment->bytes);
    if (segment->secret != NULL)
        secret_unref(segment->secret);
    g_free(segment);
}

CommandText *command_text_new(void)
{
    CommandText *text = g_new0(CommandText, 1);
    text->segments = g_ptr_array_new_with_free_func(segment_free);
    return text;
}

void command_text_free(CommandText *text)
{
    if (text == NULL)
        return;
    g_ptr_array_unref(text->segments);
    g_free(text);
}

static Segment *add_segment(CommandText *text, SegmentKind kind)
{
    Segment *segment = g_new0(Segment, 1);
    segment->kind = kind;
    g_ptr_array_add(text->segments, segment);
    return segment;
}

/* Where text goes: the last segment, or a new one. */
static GString *tail(CommandText *text)
{
    guint n = text->segments->len;
    Segment *last = n > 0 ? g_ptr_array_index(text->segments, n - 1) : NULL;
    if (last == NULL || last->kind != SEGMENT_TEXT) {
        last = add_segment(text, SEGMENT_TEXT);
        last->text = g_string_new(NULL);
    }
    return last->text;
}

void command_text_add(CommandText *text, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *words = g_strdup_vprintf(format, args);
    va_end(args);
    if (strpbrk(words, "\r\n") != NULL)
        text->bad = true;
    g_string_append(tail(text), words);
}

/* utf8: RFC 6855 3 lets quoted strings hold it. */
static bool can_quote(const char *bytes, gsize length, bool utf8)
{
    if (length > QUOTED_MAX)
        return false;
    for (gsize i = 0; i < length; i++)
        if ((guchar)bytes[i] < 0x20 || bytes[i] == 0x7f || ((guchar)bytes[i] > 0x7f && !utf8))
            return false;
    return !utf8 || g_utf8_validate(bytes, (gssize)length, NULL);
}

static void append_quoted(GString *out, const char *bytes, gsize length)
{
    g_string_append_c(out, '"');
    for (gsize i = 0; i < length; i++) {
        if (bytes[i] == '"' || bytes[i] == '\\')
            g_string_append_c(out, '\\');
        g_string_append_c(out, bytes[i]);
    }
    g_string_append_c(out, '"');
}

static void add_string(CommandText *text, const char *bytes, gsize length, bool utf8)
{
    if (memchr(bytes, '\0', length) != NULL)
        text->bad = true;
    if (can_quote(bytes, length, utf8)) {
        append_quoted(tail(text), bytes, length);
        return;
    }
    g_autoptr(GBytes) copy = g_bytes_new(bytes, length);
    command_text_add_literal(text, copy);
}

void command_text_add_astring(CommandText *text, const char *bytes, gsize length)
{
    add_string(text, bytes, length, false);
}

void command_text_add_mailbox(CommandText *text, const char *name, bool utf8)
{
    g_autofree char *wire = mailbox_name_to_wire(name, utf8);
    if (wire == NULL) {
        text->bad = true;
        return;
    }
    add_string(text, wire, strlen(wire), utf8);
}

void command_text_add_uids(CommandText *text, const UidSet *uids)
{
    if (uidset_is_empty(uids))
        text->bad = true;
    uidset_print(uids, tail(text));
}

void command_text_add_literal(CommandText *text, GBytes *bytes)
{
    add_segment(text, SEGMENT_LITERAL)->bytes = g_bytes_ref(bytes);
}

void command_text_add_literal_file(CommandText *text, int fd, guint64 size)
{
    CommandFile *file = g_rc_box_new(CommandFile);
    *file = (CommandFile){fd, size};
    add_segment(text, SEGMENT_FILE)->file = file;
}

void command_text_add_secret(CommandText *text, const Secret *secret, bool raw)
{
    gsize length;
    const char *bytes = secret_bytes(secret, &length);
    if (memchr(bytes, '\0', length) != NULL || (raw && strpbrk(bytes, "\r\n") != NULL))
        text->bad = true;
    bool quote = !raw && can_quote(bytes, length, false);
    SegmentKind kind = raw || quote ? SEGMENT_SECRET : SEGMENT_SECRET_LITERAL;
    Segment *segment = add_segment(text, kind);
    segment->secret = secret_ref((Secret *)secret);
    segment->quote = quote;
}

static guint64 literal_size(const Segment *segment)
{
    gsize length;
    if (segment->kind == SEGMENT_FILE)
        return segment->file->size;
    if (segment->kind == SEGMENT_LITERAL)
        return g_bytes_get_size(segment->bytes);
    secret_bytes(segment->secret, &length);
    return length;
}

/* Bytes that are wiped when the last reference to them goes. */
typedef struct {
    gsize length;
    char bytes[];
} Wiped;

static void wiped_free(gpointer data)
{
    Wiped *wiped = data;
    secret_wipe(wiped->bytes, wiped->length);
    g_free(wiped);
}

static GBytes *secret_piece_bytes(const Segment *segment)
{
    gsize length, n = 0;
    const char *bytes = secret_bytes(segment->secret, &length);
    Wiped *wiped = g_malloc(sizeof *wiped + 2 * length + 2);
    wiped->length = 2 * length + 2;
    if (segment->quote)
        wiped->bytes[n++] = '"';
    for (gsize i = 0; i < length; i++) {
        if (segment->quote && (bytes[i] == '"' || bytes[i] == '\\'))
            wiped->bytes[n++] = '\\';
        wiped->bytes[n++] = bytes[i];
    }
    if (segment->quote)
        wiped->bytes[n++] = '"';
    return g_bytes_new_with_free_func(wiped->bytes, n, wiped_free, wiped);
}

static void piece_clear(gpointer data)
{
    CommandPiece *piece = data;
    g_clear_pointer(&piece->bytes, g_bytes_unref);
    g_clear_pointer(&piece->file, command_file_unref);
}

static void add_piece(GArray *pieces, GBytes *bytes, bool secret)
{
    CommandPiece piece = {.bytes = bytes, .secret = secret};
    g_array_append_val(pieces, piece);
}

static void add_file(GArray *pieces, CommandFile *file)
{
    CommandPiece piece = {.file = command_file_ref(file)};
    g_array_append_val(pieces, piece);
}

/* Makes a piece of the gathered text. */
static void flush(GArray *pieces, GString *line, bool wait)
{
    if (line->len == 0)
        return;
    add_piece(pieces, g_bytes_new(line->str, line->len), false);
    g_array_index(pieces, CommandPiece, pieces->len - 1).wait_continue = wait;
    g_string_truncate(line, 0);
}

static void append_literal_header(GArray *pieces, GString *line, guint64 size, LiteralMode mode)
{
    bool wait = mode == LITERAL_SYNC || (mode == LITERAL_MINUS && size > LITERAL_MINUS_MAX);
    g_string_append_printf(line, "{%" G_GUINT64_FORMAT "%s}\r\n", size, wait ? "" : "+");
    flush(pieces, line, wait);
}

GArray *command_text_pieces(const CommandText *text, const char *tag, LiteralMode mode)
{
    if (text->bad || strpbrk(tag, "\r\n") != NULL)
        return NULL;
    GArray *pieces = g_array_new(FALSE, TRUE, sizeof(CommandPiece));
    g_array_set_clear_func(pieces, piece_clear);
    g_autoptr(GString) line = g_string_new(tag);
    if (line->len > 0)
        g_string_append_c(line, ' ');
    for (guint i = 0; i < text->segments->len; i++) {
        const Segment *segment = g_ptr_array_index(text->segments, i);
        if (segment->kind == SEGMENT_LITERAL || segment->kind == SEGMENT_FILE ||
            segment->kind == SEGMENT_SECRET_LITERAL)
            append_literal_header(pieces, line, literal_size(segment), mode);
        else if (segment->kind == SEGMENT_SECRET)
            flush(pieces, line, false);
        if (segment->kind == SEGMENT_TEXT)
            g_string_append_len(line, segment->text->str, (gssize)segment->text->len);
        else if (segment->kind == SEGMENT_LITERAL)
            add_piece(pieces, g_bytes_ref(segment->bytes), false);
        else if (segment->kind == SEGMENT_FILE)
            add_file(pieces, segment->file);
        else
            add_piece(pieces, secret_piece_bytes(segment), true);
    }
    g_string_append(line, "\r\n");
    flush(pieces, line, false);
    return pieces;
}

gsize command_text_length(const CommandText *text)
{
    gsize total = 0, length;
    for (guint i = 0; i < text->segments->len; i++) {
        const Segment *segment = g_ptr_array_index(text->segments, i);
        if (segment->kind == SEGMENT_TEXT) {
            total += segment->text->len;
        } else if (segment->kind == SEGMENT_SECRET) {
            secret_bytes(segment->secret, &length);
            total += length + (segment->quote ? 2 : 0);
        } else {
            g_autofree char *header =
                g_strdup_printf("{%" G_GUINT64_FORMAT "+}", literal_size(segment));
            total += strlen(header);
        }
    }
    return total;
}

char *command_text_describe(const CommandText *text)
{
    GString *out = g_string_new(NULL);
    for (guint i = 0; i < text->segments->len; i++) {
        const Segment *segment = g_ptr_array_index(text->segments, i);
        if (segment->kind == SEGMENT_TEXT)
            g_string_append(out, segment->text->str);
        else if (segment->kind == SEGMENT_LITERAL || segment->kind == SEGMENT_FILE)
            g_string_append_printf(out, "{%" G_GUINT64_FORMAT "}", literal_size(segment));
        else
            g_string_append(out, "<secret>");
    }
    return g_string_free(out, FALSE);
}
