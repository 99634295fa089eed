/* response_codes.c - "[CODE ...] text" (RFC 9051 7.1, RFC 5530, RFC 4315, RFC 7162).
 *
 * The rule: a code whose arguments make no sense is CODE_OTHER, so nobody acts on half of it.
 * Tolerated by name: "code without text", "bracket in keyword" (PERMANENTFLAGS with "]" in a list:
 * Gmail), "unclosed list in code" (FastMail's PERMANENTFLAGS), "unclosed code" (is text). */
#include "response_parse.h"
#include <string.h>
#include "uid_list.h"

static const char *const code_names[] = {
#define RESPONSE_CODE_NAME(name) #name,
    RESPONSE_CODES(RESPONSE_CODE_NAME)
#undef RESPONSE_CODE_NAME
};

const char *response_code_name(ResponseCode code)
{
    switch (code) { /* what cannot be a C name */
    case CODE_READ_ONLY:
        return "READ-ONLY";
    case CODE_READ_WRITE:
        return "READ-WRITE";
    case CODE_UNKNOWN_CTE:
        return "UNKNOWN-CTE";
    default:
        return (guint)code < G_N_ELEMENTS(code_names) ? code_names[code] : "?";
    }
}

static ResponseCode find_code(const char *at, gsize length)
{
    for (guint code = CODE_OTHER + 1; code < G_N_ELEMENTS(code_names); code++)
        if (lex_is(at, length, response_code_name(code)))
            return code;
    return CODE_OTHER;
}

static bool number_read(Lexer *lex, guint64 max, guint64 *out)
{
    const char *at;
    gsize length;
    lexer_skip_spaces(lex);
    return lexer_atom(lex, "", &at, &length) && lex_parse_number(at, length, max, out);
}

static bool uids_read(Lexer *lex, UidSet **out)
{
    const char *at;
    gsize length;
    lexer_skip_spaces(lex);
    if (!lexer_atom(lex, "", &at, &length))
        return false;
    *out = uid_list_parse(at, length);
    return *out != NULL;
}

static bool uid_number_code(Lexer *lex, Response *response)
{
    return number_read(lex, G_MAXUINT32, &response->number);
}

static bool modseq_code(Lexer *lex, Response *response)
{
    return number_read(lex, G_MAXINT64, &response->number);
}

/* Without a list some servers mean "none". */
static bool permanentflags_code(Lexer *lex, Response *response)
{
    Flags flags = {0};
    bool ok = flags_read(lex, &flags) || lexer_at_end(lex);
    if (!ok)
        flags_clear(&flags);
    response->flags = flags;
    return ok;
}

static bool capability_code(Lexer *lex, Response *response)
{
    response->words = words_read(lex, true);
    return true;
}

static bool appenduid_code(Lexer *lex, Response *response)
{
    return number_read(lex, G_MAXUINT32, &response->number) && uids_read(lex, &response->uids);
}

static bool copyuid_code(Lexer *lex, Response *response)
{
    return number_read(lex, G_MAXUINT32, &response->number) &&
           uids_read(lex, &response->source_uids) && uids_read(lex, &response->uids);
}

static bool modified_code(Lexer *lex, Response *response)
{
    return uids_read(lex, &response->uids);
}

static const struct {
    ResponseCode code;
    bool (*read)(Lexer *lex, Response *response);
} code_readers[] = {
    {CODE_CAPABILITY, capability_code},  {CODE_UIDNEXT, uid_number_code},
    {CODE_UIDVALIDITY, uid_number_code}, {CODE_UNSEEN, uid_number_code},
    {CODE_HIGHESTMODSEQ, modseq_code},   {CODE_PERMANENTFLAGS, permanentflags_code},
    {CODE_APPENDUID, appenduid_code},    {CODE_COPYUID, copyuid_code},
    {CODE_MODIFIED, modified_code},
};

static void forget_arguments(Response *response)
{
    response->number = 0;
    g_clear_pointer(&response->uids, uidset_free);
    g_clear_pointer(&response->source_uids, uidset_free);
}

static void code_read(const char *text, gsize length, Response *response)
{
    Lexer lex;
    const char *at;
    gsize name_length;
    response->code = CODE_OTHER;
    response->code_text = g_strndup(text, length);
    lexer_init(&lex, text, length);
    lexer_skip_spaces(&lex);
    if (!lexer_atom(&lex, "", &at, &name_length))
        return;
    response->code = find_code(at, name_length);
    for (guint i = 0; i < G_N_ELEMENTS(code_readers); i++) {
        if (code_readers[i].code == response->code && !code_readers[i].read(&lex, response)) {
            forget_arguments(response);
            response->code = CODE_OTHER;
            return;
        }
    }
}

/* The "]" that ends the code which begins at lex->at; brackets inside lists and, there, inside
 * quoted strings do not count. NULL: none. */
static const char *find_code_end(const Lexer *lex)
{
    guint depth = 0;
    bool quotes = false;
    for (const char *p = lex->at; p < lex->end; p++) {
        if (quotes) {
            if (*p == '\\' && p + 1 < lex->end)
                p++;
            else if (*p == '"')
                quotes = false;
        } else if (*p == '"') {
            quotes = depth > 0;
        } else if (*p == '(') {
            depth++;
        } else if (*p == ')') {
            depth -= depth > 0 ? 1 : 0;
        } else if (*p == ']' && depth == 0) {
            return p;
        }
    }
    return memchr(lex->at, ']', lex->end - lex->at);
}

/* Exchange: "Request is throttled. Suggested Backoff Time: 299961 milliseconds". */
static gint64 find_backoff(const char *text)
{
    static const char mark[] = "Suggested Backoff Time:";
    for (const char *p = text; (p = strchr(p, ':')) != NULL; p++) {
        gsize before = p + 1 - text;
        if (before < sizeof mark - 1 ||
            g_ascii_strncasecmp(p + 1 - (sizeof mark - 1), mark, sizeof mark - 1) != 0)
            continue;
        const char *digits = p + 1 + strspn(p + 1, " ");
        guint64 ms = 0;
        gsize n = strspn(digits, "0123456789");
        return lex_parse_number(digits, n, G_MAXINT64, &ms) ? (gint64)ms : 0;
    }
    return 0;
}

void resp_text_read(Lexer *lex, Response *response)
{
    lexer_skip_spaces(lex);
    if (lexer_peek(lex) == '[') {
        lexer_take(lex, '[');
        const char *end = find_code_end(lex);
        if (end != NULL) {
            code_read(lex->at, end - lex->at, response);
            lex->at = end + 1;
            lexer_skip_spaces(lex);
        } else {
            lex->at--;
        }
    }
    response->text = g_strndup(lex->at, lex->end - lex->at);
    response->backoff_ms = find_backoff(response->text);
    lex->at = lex->end;
}
