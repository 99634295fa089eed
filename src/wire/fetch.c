/* fetch.c - FETCH (RFC 9051 7.5.2): a table of items, each item on its own.
 *
 * The rule: one bad item spoils that message's answer and nothing else. The response is marked
 * broken with the item's name, the rest is read from the next place that makes sense, and the UID
 * is found if the server said it anywhere. Tolerated by name: "NIL item" (is absent), "modseq
 * without list", "absurd date" and "negative size" (are absent), "RFC822[]". */
#include "response_parse.h"
#include <string.h>
#include "fetch_items.h"
#include "imapfs/base/limits.h"
#include "internaldate.h"
#include "structure.h"

#define RESYNC_TRIES 16 /* places where a broken response may go on */
#define FAULTS_MAX 8    /* broken items after which the rest is not looked at; keeps it linear */

static void body_free(gpointer data)
{
    FetchBody *body = data;
    g_free(body->section);
    if (body->bytes != NULL)
        g_bytes_unref(body->bytes);
    g_free(body);
}

static void binary_size_clear(gpointer data)
{
    g_free(((BinarySize *)data)->section);
}

void fetch_data_free(FetchData *fetch)
{
    if (fetch == NULL)
        return;
    g_free(fetch->problem);
    flags_clear(&fetch->flags);
    envelope_free(fetch->envelope);
    body_part_free(fetch->body);
    g_free(fetch->emailid);
    if (fetch->bodies != NULL)
        g_ptr_array_unref(fetch->bodies);
    if (fetch->binary_sizes != NULL)
        g_array_unref(fetch->binary_sizes);
    g_free(fetch);
}

static bool read_uid(Lexer *lex, FetchData *fetch, const FetchName *name)
{
    LexNumber number;
    if (!lexer_number(lex, &number))
        return false;
    if (!number.known || number.value == 0 || number.value > G_MAXUINT32)
        return lexer_fail(lex, "not a UID");
    if ((fetch->present & FETCH_UID) != 0 && number.value != fetch->uid)
        return lexer_fail(lex, "another UID");
    fetch->uid = (guint32)number.value;
    fetch->present |= FETCH_UID;
    return true;
}

static bool read_flags(Lexer *lex, FetchData *fetch, const FetchName *name)
{
    flags_clear(&fetch->flags);
    if (!flags_read(lex, &fetch->flags))
        return false;
    fetch->present |= FETCH_FLAGS;
    return true;
}

static bool read_internaldate(Lexer *lex, FetchData *fetch, const FetchName *name)
{
    g_autofree char *text = NULL;
    if (!lexer_nstring(lex, &text))
        return false;
    if (text != NULL && internaldate_parse(text, &fetch->internaldate, &fetch->internaldate_zone))
        fetch->present |= FETCH_INTERNALDATE;
    return true;
}

static bool read_size(Lexer *lex, FetchData *fetch, const FetchName *name)
{
    LexNumber number;
    if (!lexer_number(lex, &number))
        return false;
    if (number.known) {
        fetch->size = number.value;
        fetch->present |= FETCH_SIZE;
    }
    return true;
}

static bool read_modseq(Lexer *lex, FetchData *fetch, const FetchName *name)
{
    LexNumber number;
    bool list = lexer_closes(lex, '(');
    if (!lexer_number(lex, &number) || (list && !lexer_skip_rest(lex)))
        return false;
    if (number.known) {
        fetch->modseq = number.value;
        fetch->present |= FETCH_MODSEQ;
    }
    return true;
}

static bool read_envelope(Lexer *lex, FetchData *fetch, const FetchName *name)
{
    if (lexer_take_nil(lex))
        return true;
    Envelope *envelope = envelope_read(lex);
    if (envelope == NULL)
        return false;
    envelope_free(fetch->envelope);
    fetch->envelope = envelope;
    fetch->present |= FETCH_ENVELOPE;
    return true;
}

static bool read_bodystructure(Lexer *lex, FetchData *fetch, const FetchName *name)
{
    if (lexer_take_nil(lex))
        return true;
    BodyPart *body = bodystructure_read(lex);
    if (body == NULL)
        return false;
    body_part_free(fetch->body);
    fetch->body = body;
    fetch->present |= FETCH_BODYSTRUCTURE;
    return true;
}

/* EMAILID (M5fdc09b49ea703), RFC 8474 5.1 */
static bool read_emailid(Lexer *lex, FetchData *fetch, const FetchName *name)
{
    char *id = NULL;
    bool list = lexer_closes(lex, '(');
    bool ok = lexer_nstring(lex, &id) && (!list || lexer_skip_rest(lex));
    if (!ok || id == NULL) {
        g_free(id);
        return ok;
    }
    g_free(fetch->emailid);
    fetch->emailid = id;
    fetch->present |= FETCH_EMAILID;
    return true;
}

/* Gmail's number stands for EMAILID, which it does not replace where both are there. */
static bool read_gmail_id(Lexer *lex, FetchData *fetch, const FetchName *name)
{
    g_autofree char *text = NULL;
    guint64 id;
    if (!lexer_nstring(lex, &text))
        return false;
    if (text == NULL || fetch->emailid != NULL)
        return true;
    if (!lex_parse_number(text, strlen(text), G_MAXUINT64, &id) || id == 0)
        return lexer_fail(lex, "not a number");
    fetch->emailid = g_strdup_printf(EMAILID_GMAIL "%" G_GUINT64_FORMAT, id);
    fetch->present |= FETCH_EMAILID;
    return true;
}

static void set_body_bytes(FetchBody *body, const LexString *value)
{
    if (value->escaped) {
        char *text = lex_string_dup(value);
        body->length = strlen(text);
        body->bytes = g_bytes_new_take(text, body->length);
    } else if (!value->nil) {
        body->bytes = g_bytes_new(value->at, value->length);
        body->length = value->length;
    }
}

static bool read_bytes(Lexer *lex, FetchData *fetch, const char *section, const FetchName *name)
{
    LexString value;
    if (!lexer_string(lex, &value))
        return false;
    FetchBody *body = g_new0(FetchBody, 1);
    body->section = g_strdup(section);
    body->binary = lex_is(name->at, name->length, "BINARY");
    body->has_origin = name->has_origin;
    body->origin = name->origin;
    set_body_bytes(body, &value);
    if (fetch->bodies == NULL)
        fetch->bodies = g_ptr_array_new_with_free_func(body_free);
    g_ptr_array_add(fetch->bodies, body);
    fetch->present |= FETCH_BODY;
    return true;
}

static bool read_body(Lexer *lex, FetchData *fetch, const FetchName *name)
{
    return read_bytes(lex, fetch, name->section, name);
}

static bool read_rfc822(Lexer *lex, FetchData *fetch, const FetchName *name)
{
    return read_bytes(lex, fetch, "", name);
}

static bool read_rfc822_header(Lexer *lex, FetchData *fetch, const FetchName *name)
{
    return read_bytes(lex, fetch, "HEADER", name);
}

static bool read_rfc822_text(Lexer *lex, FetchData *fetch, const FetchName *name)
{
    return read_bytes(lex, fetch, "TEXT", name);
}

static bool read_binary_size(Lexer *lex, FetchData *fetch, const FetchName *name)
{
    LexNumber number;
    if (!lexer_number(lex, &number))
        return false;
    if (!number.known)
        return true;
    BinarySize size = {.section = g_strdup(name->section), .size = number.value};
    if (fetch->binary_sizes == NULL) {
        fetch->binary_sizes = g_array_new(FALSE, FALSE, sizeof(BinarySize));
        g_array_set_clear_func(fetch->binary_sizes, binary_size_clear);
    }
    g_array_append_val(fetch->binary_sizes, size);
    fetch->present |= FETCH_BINARY_SIZE;
    return true;
}

typedef enum { NO_SECTION, SECTION, ANY_SECTION } SectionRule;

static const struct {
    const char *name;
    SectionRule section;
    bool (*read)(Lexer *lex, FetchData *fetch, const FetchName *name);
} fetch_items[] = {
    {"UID", NO_SECTION, read_uid},
    {"FLAGS", NO_SECTION, read_flags},
    {"MODSEQ", NO_SECTION, read_modseq},
    {"INTERNALDATE", NO_SECTION, read_internaldate},
    {"RFC822.SIZE", NO_SECTION, read_size},
    {"ENVELOPE", NO_SECTION, read_envelope},
    {"BODYSTRUCTURE", NO_SECTION, read_bodystructure},
    {"BODY", SECTION, read_body},
    {"BINARY", SECTION, read_body},
    {"BINARY.SIZE", SECTION, read_binary_size},
    {"EMAILID", NO_SECTION, read_emailid},
    {"X-GM-MSGID", NO_SECTION, read_gmail_id},
    {"RFC822", ANY_SECTION, read_rfc822},
    {"RFC822.HEADER", ANY_SECTION, read_rfc822_header},
    {"RFC822.TEXT", ANY_SECTION, read_rfc822_text},
};

/* What is not in the table (X-GM-LABELS, THREADID, PREVIEW, ...) is skipped, whatever it is. */
static bool value_read(Lexer *lex, FetchData *fetch, const FetchName *name)
{
    lexer_skip_spaces(lex);
    for (guint i = 0; i < G_N_ELEMENTS(fetch_items); i++) {
        SectionRule rule = fetch_items[i].section;
        if (lex_is(name->at, name->length, fetch_items[i].name) &&
            (rule == ANY_SECTION || (rule == SECTION) == (name->section != NULL)))
            return fetch_items[i].read(lex, fetch, name);
    }
    return lexer_skip_value(lex);
}

static void set_broken(FetchData *fetch, const FetchName *name, const char *problem)
{
    fetch->broken = true;
    if (fetch->problem != NULL)
        return;
    GString *text = g_string_new(NULL);
    for (gsize i = 0; i < MIN(name->length, 64); i++)
        g_string_append_c(text, g_ascii_isgraph(name->at[i]) ? name->at[i] : '?');
    g_string_append_printf(text, "%s%s", text->len > 0 ? ": " : "", problem);
    fetch->problem = g_string_free(text, FALSE);
}

/* After a value: a space, the end of the list, or (tolerated) the next thing at once. */
static bool at_separator(const Lexer *lex)
{
    int c = lexer_peek(lex);
    return c == ' ' || c == ')' || c == '\t';
}

/* Whether everything from here to the end of the response reads as items and a ")". */
static bool rest_makes_sense(const Lexer *lex)
{
    Lexer ahead = *lex;
    while (!lexer_closes(&ahead, ')')) {
        FetchName name;
        bool named = fetch_name_read(&ahead, &name);
        fetch_name_clear(&name);
        if (!named || !lexer_skip_value(&ahead))
            return false;
    }
    lexer_skip_spaces(&ahead);
    return lexer_at_end(&ahead);
}

/* Places behind lex->at where "UID " stands outside literals, the last RESYNC_TRIES of them. */
static guint find_uids(const Lexer *lex, const char *places[RESYNC_TRIES])
{
    guint n = 0;
    const char *p = lex->at;
    while (p < lex->end) {
        const char *newline = memchr(p, '\n', lex->end - p);
        const char *stop = newline != NULL ? newline + 1 : lex->end;
        for (const char *u = p; (u = memchr(u, ' ', stop - u)) != NULL; u++)
            if (stop - u > 5 && g_ascii_strncasecmp(u, " UID ", 5) == 0)
                places[n++ % RESYNC_TRIES] = u;
        guint64 size = 0;
        gsize begin;
        if (newline != NULL &&
            lex_literal_at_line_end(p, stop - p, &size, &begin) == LITERAL_HERE) {
            Lexer at_literal = *lex;
            LexString skipped;
            at_literal.at = p + begin;
            if (!lexer_string(&at_literal, &skipped))
                break;
            stop = at_literal.at;
        }
        p = stop;
    }
    return n;
}

/* Reading one response. */
typedef struct {
    Lexer *lex;
    FetchData *fetch;
    const char *list; /* behind its "(" */
    guint faults;
} FetchReader;

/* Goes on behind something broken at `from`: at the last place that says UID and from which the
 * rest makes sense. The last, because the text of a broken item may be a sender's, who may write
 * "UID" too; what the server itself says comes after it. While the UID is not known the search
 * covers the whole list, as what looked sound may have swallowed it. */
static bool resync(FetchReader *reader, const char *from)
{
    const char *places[RESYNC_TRIES];
    Lexer *lex = reader->lex;
    lex->at = (reader->fetch->present & FETCH_UID) != 0 ? from : reader->list;
    guint n = find_uids(lex, places);
    for (guint i = 0; i < MIN(n, RESYNC_TRIES); i++) {
        lex->at = places[(n - 1 - i) % RESYNC_TRIES];
        if (rest_makes_sense(lex))
            return true;
    }
    return false;
}

/* Past a value that could not be read, or, when value is NULL, a name. */
static bool pass_broken(FetchReader *reader, const char *value)
{
    Lexer *lex = reader->lex;
    if (value == NULL)
        return resync(reader, lex->at);
    lex->at = value;
    bool skipped = lexer_skip_value(lex) && at_separator(lex);
    lex->problem = NULL;
    return (skipped && rest_makes_sense(lex)) || resync(reader, value);
}

static bool item_read(FetchReader *reader)
{
    Lexer *lex = reader->lex;
    FetchName name;
    const char *value = NULL;
    bool ok = fetch_name_read(lex, &name);
    if (ok) {
        value = lex->at;
        ok = value_read(lex, reader->fetch, &name);
    }
    if (!ok) {
        set_broken(reader->fetch, &name, lex->problem);
        lex->problem = NULL;
        ok = ++reader->faults <= FAULTS_MAX && pass_broken(reader, value);
    }
    fetch_name_clear(&name);
    return ok;
}

/* Behind the ")". Whether there is more to read after all. */
static bool go_on_after_list(FetchReader *reader)
{
    const char *from = reader->lex->at;
    lexer_skip_spaces(reader->lex);
    if (lexer_at_end(reader->lex))
        return false;
    set_broken(reader->fetch, &(FetchName){0}, "something after the list");
    return ++reader->faults <= FAULTS_MAX && resync(reader, from);
}

bool fetch_read(Lexer *lex, Response *response)
{
    FetchData *fetch = response->fetch = g_new0(FetchData, 1);
    FetchReader reader = {.lex = lex, .fetch = fetch};
    fetch->seq = (guint32)response->number;
    if (fetch->seq == 0)
        set_broken(fetch, &(FetchName){0}, "message number 0");
    if (!lexer_expect(lex, '(')) {
        set_broken(fetch, &(FetchName){0}, lex->problem);
        return true;
    }
    reader.list = lex->at;
    while (lexer_closes(lex, ')') ? go_on_after_list(&reader) : item_read(&reader))
        ;
    return true;
}
