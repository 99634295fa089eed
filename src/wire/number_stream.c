/* number_stream.c - SEARCH (RFC 3501 7.2.5), ESEARCH (RFC 4731 3.1, RFC 7162 3.1.10), VANISHED
 * (RFC 7162 3.2.10), one word at a time.
 *
 * The rule: state lives only in the struct, never in where a chunk ends. */
#include "number_stream.h"
#include <string.h>
#include "lexer.h"
#include "uid_list.h"

#define WORD_MAX 255 /* of a range, a key or a tag */

typedef enum { KEY_NONE, KEY_COUNT, KEY_ALL, KEY_MODSEQ, KEY_OTHER } StreamKey;

struct NumberStream {
    ResponseKind kind;
    char word[WORD_MAX];
    gsize word_length;
    bool in_word, in_quotes, after_backslash;
    guint depth;
    StreamKey key; /* ESEARCH: whose value comes next */
    bool tag_next, modseq_next, correlator;
    bool bad; /* something that cannot be in such a response */
    UidList *uids;
    Response *response;
};

ResponseKind number_stream_kind(const char *line, gsize length, gsize *head_out)
{
    static const struct {
        const char *name;
        ResponseKind kind;
    } kinds[] = {
        {"* SEARCH", RESP_SEARCH}, {"* ESEARCH", RESP_ESEARCH}, {"* VANISHED", RESP_VANISHED}};
    for (guint i = 0; i < G_N_ELEMENTS(kinds); i++) {
        gsize n = strlen(kinds[i].name);
        if (length > n && lex_is(line, n, kinds[i].name) && strchr(" (\r\n", line[n]) != NULL &&
            line[n] != '\0') {
            *head_out = n;
            return kinds[i].kind;
        }
    }
    return RESP_UNKNOWN;
}

NumberStream *number_stream_new(ResponseKind kind)
{
    NumberStream *stream = g_new0(NumberStream, 1);
    stream->kind = kind;
    stream->uids = uid_list_new();
    stream->response = g_new0(Response, 1);
    return stream;
}

void number_stream_free(NumberStream *stream)
{
    if (stream == NULL)
        return;
    uid_list_free(stream->uids);
    response_free(stream->response);
    g_free(stream);
}

static bool add_uids(NumberStream *stream)
{
    UidListStatus status = uid_list_add(stream->uids, stream->word, stream->word_length);
    if (status == UID_LIST_SYNTAX)
        stream->bad = true;
    return status != UID_LIST_FULL;
}

static guint64 word_number(NumberStream *stream)
{
    guint64 value = 0;
    if (!lex_parse_number(stream->word, stream->word_length, G_MAXINT64, &value))
        stream->bad = true;
    return value;
}

static bool word_is(const NumberStream *stream, const char *name)
{
    return lex_is(stream->word, stream->word_length, name);
}

/* SEARCH 1 2 3 (MODSEQ 917162500) */
static bool search_word(NumberStream *stream)
{
    if (stream->depth == 0)
        return add_uids(stream);
    if (stream->modseq_next)
        stream->response->modseq = word_number(stream);
    stream->modseq_next = !stream->modseq_next && word_is(stream, "MODSEQ");
    return true;
}

/* VANISHED (EARLIER) 41,43:116 */
static bool vanished_word(NumberStream *stream)
{
    if (stream->depth == 0)
        return add_uids(stream);
    if (word_is(stream, "EARLIER"))
        stream->response->earlier = true;
    return true;
}

static StreamKey esearch_key(const NumberStream *stream)
{
    if (word_is(stream, "ALL"))
        return KEY_ALL;
    if (word_is(stream, "COUNT"))
        return KEY_COUNT;
    if (word_is(stream, "MODSEQ"))
        return KEY_MODSEQ;
    return KEY_OTHER; /* MIN, MAX, PARTIAL, what comes later: a name and one value */
}

static bool correlator_word(NumberStream *stream)
{
    Response *response = stream->response;
    if (stream->tag_next && response->search_tag == NULL)
        response->search_tag = g_strndup(stream->word, stream->word_length);
    stream->tag_next = !stream->tag_next && word_is(stream, "TAG");
    return true;
}

/* ESEARCH (TAG "A1") UID COUNT 17 ALL 4:18,21 MODSEQ 5; a comma keeps the key for the next. */
static bool esearch_word(NumberStream *stream, char end)
{
    if (stream->depth > 0)
        return stream->correlator ? correlator_word(stream) : true;
    StreamKey key = stream->key;
    if (end != ',')
        stream->key = KEY_NONE;
    switch (key) {
    case KEY_NONE:
        if (word_is(stream, "UID"))
            stream->response->uid_flag = true;
        else
            stream->key = esearch_key(stream);
        return true;
    case KEY_COUNT:
        stream->response->number = word_number(stream);
        return true;
    case KEY_MODSEQ:
        stream->response->modseq = word_number(stream);
        return true;
    case KEY_ALL:
        return add_uids(stream);
    case KEY_OTHER:
        return true;
    }
    return true;
}

static bool end_word(NumberStream *stream, char end)
{
    if (!stream->in_word)
        return true;
    bool fits = true;
    switch (stream->kind) {
    case RESP_SEARCH:
        fits = search_word(stream);
        break;
    case RESP_VANISHED:
        fits = vanished_word(stream);
        break;
    default:
        fits = esearch_word(stream, end);
        break;
    }
    stream->in_word = false;
    stream->word_length = 0;
    return fits;
}

static void open_list(NumberStream *stream)
{
    if (stream->depth++ == 0)
        stream->correlator = stream->key == KEY_NONE;
}

static void close_list(NumberStream *stream)
{
    if (stream->depth == 0)
        stream->bad = true;
    else if (--stream->depth == 0)
        stream->key = KEY_NONE;
}

static void add_to_word(NumberStream *stream, char c)
{
    stream->in_word = true;
    if (stream->word_length < WORD_MAX)
        stream->word[stream->word_length++] = c;
    else
        stream->bad = true;
}

static void quoted_byte(NumberStream *stream, char c)
{
    if (!stream->after_backslash && c == '"') {
        stream->in_quotes = false;
    } else if (!stream->after_backslash && c == '\\') {
        stream->after_backslash = true;
    } else {
        stream->after_backslash = false;
        add_to_word(stream, c);
    }
}

static bool feed_byte(NumberStream *stream, char c)
{
    switch (c) {
    case ' ':
    case '\t':
    case '\r':
    case '\n':
    case ',':
        return end_word(stream, c);
    case '(':
        if (!end_word(stream, c))
            return false;
        open_list(stream);
        return true;
    case ')':
        if (!end_word(stream, c))
            return false;
        close_list(stream);
        return true;
    case '"':
        stream->in_word = stream->in_quotes = true;
        return true;
    default:
        add_to_word(stream, c);
        return true;
    }
}

bool number_stream_feed(NumberStream *stream, const char *bytes, gsize length)
{
    for (gsize i = 0; i < length; i++) {
        if (stream->in_quotes)
            quoted_byte(stream, bytes[i]);
        else if (!feed_byte(stream, bytes[i]))
            return false;
    }
    return true;
}

Response *number_stream_finish(NumberStream *stream)
{
    if (!end_word(stream, '\n'))
        return NULL;
    if (stream->bad || stream->depth > 0 || stream->in_quotes) {
        Response *unknown = g_new0(Response, 1);
        unknown->kind = RESP_UNKNOWN;
        unknown->text = g_strdup_printf("%s that makes no sense", response_kind_name(stream->kind));
        return unknown;
    }
    Response *response = g_steal_pointer(&stream->response);
    response->kind = stream->kind;
    response->uids = uid_list_to_set(stream->uids);
    return response;
}
