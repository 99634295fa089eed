/* response.c - what kind of response a line is, and the small kinds (RFC 9051 7).
 *
 * The rule: the table says who reads what; a reader that fails makes RESP_UNKNOWN, and nothing of
 * what it read is kept. Tolerated by name: "code without OK" (* [COPYUID ..], Exchange), "no text",
 * "plus without space", "extra spaces", "trailing spaces". */
#include "response_parse.h"
#include <string.h>
#include "imapfs/base/limits.h"
#include "number_stream.h"

const char *response_kind_name(ResponseKind kind)
{
    static const char *const names[] = {
#define RESPONSE_KIND_NAME(name) #name,
        RESPONSE_KINDS(RESPONSE_KIND_NAME)
#undef RESPONSE_KIND_NAME
    };
    return (guint)kind < G_N_ELEMENTS(names) ? names[kind] : "?";
}

static void unref_if(GPtrArray *array)
{
    if (array != NULL)
        g_ptr_array_unref(array);
}

void response_free(Response *response)
{
    if (response == NULL)
        return;
    g_free(response->tag);
    g_free(response->code_text);
    g_free(response->text);
    unref_if(response->words);
    flags_clear(&response->flags);
    uidset_free(response->uids);
    uidset_free(response->source_uids);
    g_free(response->search_tag);
    list_item_free(response->list);
    status_item_free(response->status);
    fetch_data_free(response->fetch);
    for (guint i = 0; i < G_N_ELEMENTS(response->namespaces); i++)
        if (response->namespaces[i] != NULL)
            g_array_unref(response->namespaces[i]);
    unref_if(response->id);
    g_free(response);
}

GPtrArray *words_read(Lexer *lex, bool upper)
{
    GPtrArray *words = g_ptr_array_new_with_free_func(g_free);
    const char *at;
    gsize length;
    for (;;) {
        lexer_skip_spaces(lex);
        if (lexer_at_end(lex))
            return words;
        if (!lexer_atom(lex, "", &at, &length)) {
            lex->at++; /* a stray parenthesis or quote between words */
            continue;
        }
        if (words->len < LIMIT_CAPABILITIES)
            g_ptr_array_add(words,
                            upper ? g_ascii_strup(at, (gssize)length) : g_strndup(at, length));
    }
}

bool flags_read(Lexer *lex, Flags *flags)
{
    guint depth = 0, words = 0;
    LexString string;
    if (!lexer_expect(lex, '('))
        return false;
    for (;;) {
        lexer_skip_spaces(lex);
        if (lexer_take(lex, '(')) {
            if (++depth > LIMIT_NESTING)
                return lexer_fail(lex, "nested too deep");
        } else if (lexer_take(lex, ')')) {
            if (depth-- == 0)
                return true;
        } else {
            if (!lexer_string(lex, &string))
                return false;
            /* What repeats itself for ever costs no more than a long list may. */
            if (string.length == 0 || words++ >= 2 * LIMIT_FLAGS)
                continue;
            g_autofree char *flag = lex_string_dup(&string);
            flags_add(flags, flag);
        }
    }
}

static bool flags_response_read(Lexer *lex, Response *response)
{
    return flags_read(lex, &response->flags);
}

static bool upper_words_read(Lexer *lex, Response *response)
{
    response->words = words_read(lex, true);
    return true;
}

/* mailbox SP rights (RFC 4314 3.8); letters are different in upper case. */
static bool myrights_read(Lexer *lex, Response *response)
{
    LexString mailbox, rights;
    if (!lexer_string(lex, &mailbox) || !lexer_string(lex, &rights))
        return false;
    response->words = g_ptr_array_new_with_free_func(g_free);
    g_ptr_array_add(response->words, lex_string_dup(&rights));
    return true;
}

/* RFC 2971 3.2: NIL, or pairs in a list. */
static bool id_read(Lexer *lex, Response *response)
{
    lexer_skip_spaces(lex);
    if (lexer_take_nil(lex))
        return true;
    if (!lexer_expect(lex, '('))
        return false;
    response->id = g_ptr_array_new_with_free_func(g_free);
    while (!lexer_closes(lex, ')')) {
        char *text = NULL;
        if (!lexer_nstring(lex, &text))
            return false;
        g_ptr_array_add(response->id, text);
    }
    if (response->id->len % 2 != 0)
        g_ptr_array_add(response->id, NULL);
    return true;
}

static bool text_read(Lexer *lex, Response *response)
{
    lexer_skip_spaces(lex);
    response->text = g_strndup(lex->at, lex->end - lex->at);
    lex->at = lex->end;
    return true;
}

/* RFC 9208 4.2.1: root SP "(" resource SP usage SP limit ... ")". What cannot be understood is not
 * known. */
static void quota_list_read(Lexer *lex, QuotaItem *quota)
{
    LexString root;
    if (!lexer_string(lex, &root))
        return;
    lexer_skip_spaces(lex);
    if (!lexer_expect(lex, '('))
        return;
    while (!lexer_closes(lex, ')')) {
        LexString words[3];
        QuotaResource told = {.known = true};
        for (guint i = 0; i < G_N_ELEMENTS(words); i++)
            if (!lexer_string(lex, &words[i]))
                return;
        told.known = lex_parse_number(words[1].at, words[1].length, G_MAXINT64, &told.used) &&
                     lex_parse_number(words[2].at, words[2].length, G_MAXINT64, &told.limit);
        if (lex_is(words[0].at, words[0].length, "STORAGE"))
            quota->storage = told;
        else if (lex_is(words[0].at, words[0].length, "MESSAGE"))
            quota->message = told;
    }
}

static bool quota_read(Lexer *lex, Response *response)
{
    Lexer list = *lex;
    quota_list_read(&list, &response->quota);
    return text_read(lex, response);
}

/* The reader streams these; this is for lines that came in some other way, as with more spaces. */
static bool numbers_read(Lexer *lex, Response *response)
{
    g_autoptr(NumberStream) stream = number_stream_new(response->kind);
    if (!number_stream_feed(stream, lex->at, lex->end - lex->at))
        return lexer_fail(lex, "too many ranges");
    Response *whole = number_stream_finish(stream);
    if (whole == NULL || whole->kind == RESP_UNKNOWN) {
        response_free(whole);
        return lexer_fail(lex, "not a list of numbers");
    }
    Response old = *response;
    *response = *whole;
    *whole = old;
    response_free(whole);
    return true;
}

static bool resp_text_response_read(Lexer *lex, Response *response)
{
    resp_text_read(lex, response);
    return true;
}

static const struct {
    const char *name;
    ResponseKind kind;
    bool (*read)(Lexer *lex, Response *response);
} named_responses[] = {
    {"OK", RESP_OK, resp_text_response_read},
    {"NO", RESP_NO, resp_text_response_read},
    {"BAD", RESP_BAD, resp_text_response_read},
    {"BYE", RESP_BYE, resp_text_response_read},
    {"PREAUTH", RESP_PREAUTH, resp_text_response_read},
    {"LIST", RESP_LIST, list_read},
    {"LSUB", RESP_LSUB, list_read},
    {"STATUS", RESP_STATUS, status_read},
    {"CAPABILITY", RESP_CAPABILITY, upper_words_read},
    {"ENABLED", RESP_ENABLED, upper_words_read},
    {"FLAGS", RESP_FLAGS, flags_response_read},
    {"SEARCH", RESP_SEARCH, numbers_read},
    {"ESEARCH", RESP_ESEARCH, numbers_read},
    {"VANISHED", RESP_VANISHED, numbers_read},
    {"NAMESPACE", RESP_NAMESPACE, namespace_read},
    {"ID", RESP_ID, id_read},
    {"MYRIGHTS", RESP_MYRIGHTS, myrights_read},
    {"QUOTA", RESP_QUOTA, quota_read},
    {"QUOTAROOT", RESP_QUOTAROOT, text_read},
    {"ACL", RESP_ACL, text_read},
};

static const struct {
    const char *name;
    ResponseKind kind;
    guint64 min;
    bool (*read)(Lexer *lex, Response *response);
} numbered_responses[] = {
    {"FETCH", RESP_FETCH, 0, fetch_read}, /* number 0 makes it broken */
    {"EXISTS", RESP_EXISTS, 0, NULL},
    {"EXPUNGE", RESP_EXPUNGE, 1, NULL},
    {"RECENT", RESP_RECENT, 0, NULL},
};

static bool numbered_read(Lexer *lex, Response *response, guint64 number)
{
    const char *at;
    gsize length;
    lexer_skip_spaces(lex);
    if (!lexer_atom(lex, "", &at, &length))
        return false;
    for (guint i = 0; i < G_N_ELEMENTS(numbered_responses); i++) {
        if (!lex_is(at, length, numbered_responses[i].name) || number < numbered_responses[i].min)
            continue;
        response->kind = numbered_responses[i].kind;
        response->number = number;
        return numbered_responses[i].read == NULL || numbered_responses[i].read(lex, response);
    }
    return false;
}

/* Behind "* ". */
static bool untagged_read(Lexer *lex, Response *response)
{
    const char *at;
    gsize length;
    guint64 number;
    lexer_skip_spaces(lex);
    if (lexer_peek(lex) == '[') {
        response->kind = RESP_OK;
        resp_text_read(lex, response);
        return true;
    }
    if (!lexer_atom(lex, "[", &at, &length))
        return false;
    if (lex_parse_number(at, length, G_MAXUINT32, &number))
        return numbered_read(lex, response, number);
    for (guint i = 0; i < G_N_ELEMENTS(named_responses); i++) {
        if (lex_is(at, length, named_responses[i].name)) {
            response->kind = named_responses[i].kind;
            return named_responses[i].read(lex, response);
        }
    }
    return false;
}

static bool is_tag(const char *at, gsize length)
{
    for (gsize i = 0; i < length; i++)
        if (!g_ascii_isgraph(at[i]) || strchr("(){%*\"\\+", at[i]) != NULL)
            return false;
    return length > 0;
}

static bool tagged_read(Lexer *lex, Response *response)
{
    const char *tag, *at;
    gsize tag_length, length;
    if (!lexer_atom(lex, "", &tag, &tag_length) || !is_tag(tag, tag_length))
        return false;
    lexer_skip_spaces(lex);
    if (!lexer_atom(lex, "[", &at, &length))
        return false;
    for (guint i = 0; i < 3; i++) { /* OK, NO, BAD come first */
        if (!lex_is(at, length, named_responses[i].name))
            continue;
        response->kind = named_responses[i].kind;
        response->tag = g_strndup(tag, tag_length);
        resp_text_read(lex, response);
        return true;
    }
    return false;
}

static bool any_read(Lexer *lex, Response *response)
{
    if (lexer_take(lex, '+')) {
        response->kind = RESP_CONTINUE;
        return text_read(lex, response);
    }
    if (lexer_peek(lex) != '*')
        return tagged_read(lex, response);
    lexer_take(lex, '*');
    return untagged_read(lex, response);
}

static Response *unknown_response(const char *frame, gsize length)
{
    Response *response = g_new0(Response, 1);
    response->kind = RESP_UNKNOWN;
    /* Enough for the log; a literal in it may hold NUL. */
    response->text = g_strndup(frame, MIN(length, LIMIT_SERVER_TEXT));
    return response;
}

Response *response_parse(const char *frame, gsize length)
{
    Lexer lex;
    lexer_init(&lex, frame, length);
    Response *response = g_new0(Response, 1);
    if (any_read(&lex, response))
        return response;
    response_free(response);
    return unknown_response(frame, length);
}

bool response_is_text_line(const char *line, gsize length)
{
    Lexer lex;
    const char *at;
    gsize word;
    lexer_init(&lex, line, length);
    if (!lexer_take(&lex, '*'))
        return true;
    lexer_skip_spaces(&lex);
    if (lexer_peek(&lex) == '[')
        return true;
    if (!lexer_atom(&lex, "[", &at, &word))
        return true;
    for (guint i = 0; i < 5; i++) /* OK, NO, BAD, BYE, PREAUTH come first */
        if (lex_is(at, word, named_responses[i].name))
            return true;
    return false;
}
