/* envelope.c - ENVELOPE (RFC 9051 7.5.2), read and printed.
 *
 * The rule: fields are by position, so a value of the wrong kind is skipped whole and counts as
 * NIL. Tolerated by name: "extra parentheses" round the envelope or an address list (Domino),
 * "missing fields" at the end of envelope or address, "spaces between addresses", "NIL address",
 * "empty list" for NIL, "list as string" and "string as list". */
#include "structure.h"
#include <string.h>
#include "imapfs/base/error.h"
#include "imapfs/base/limits.h"

static void address_free(gpointer data)
{
    WireAddress *address = data;
    g_free(address->name);
    g_free(address->route);
    g_free(address->mailbox);
    g_free(address->host);
    g_free(address);
}

void envelope_free(Envelope *envelope)
{
    if (envelope == NULL)
        return;
    GPtrArray *lists[] = {envelope->from, envelope->sender, envelope->reply_to,
                          envelope->to,   envelope->cc,     envelope->bcc};
    for (guint i = 0; i < G_N_ELEMENTS(lists); i++)
        if (lists[i] != NULL)
            g_ptr_array_unref(lists[i]);
    g_free(envelope->date);
    g_free(envelope->subject);
    g_free(envelope->in_reply_to);
    g_free(envelope->message_id);
    g_free(envelope);
}

/* Behind the "(" of an address. */
static WireAddress *address_read(Lexer *lex)
{
    WireAddress *address = g_new0(WireAddress, 1);
    char **fields[] = {&address->name, &address->route, &address->mailbox, &address->host};
    for (guint i = 0; i < G_N_ELEMENTS(fields); i++) {
        if (lexer_closes(lex, ')'))
            return address;
        if (!lexer_nstring(lex, fields[i])) {
            address_free(address);
            return NULL;
        }
    }
    if (!lexer_skip_rest(lex)) {
        address_free(address);
        return NULL;
    }
    return address;
}

/* Behind the "(" of a list. `extra` counts the parentheses too many round it. */
static bool addresses_read(Lexer *lex, GPtrArray *list)
{
    guint extra = 0;
    while (!lexer_closes(lex, ')')) {
        if (lexer_peek(lex) != '(') {
            if (!lexer_skip_value(lex))
                return false;
            continue;
        }
        lexer_take(lex, '(');
        lexer_skip_spaces(lex);
        if (lexer_peek(lex) == '(') {
            if (++extra > LIMIT_NESTING)
                return lexer_fail(lex, "nested too deep");
            continue;
        }
        WireAddress *address = address_read(lex);
        if (address == NULL)
            return false;
        g_ptr_array_add(list, address);
        for (; extra > 0 && lexer_closes(lex, ')'); extra--)
            ;
    }
    return true;
}

static bool address_list_read(Lexer *lex, GPtrArray **out)
{
    *out = NULL;
    lexer_skip_spaces(lex);
    if (!lexer_take(lex, '('))
        return lexer_skip_value(lex);
    GPtrArray *list = g_ptr_array_new_with_free_func(address_free);
    bool ok = addresses_read(lex, list);
    if (ok && list->len > 0)
        *out = list;
    else
        g_ptr_array_unref(list);
    return ok;
}

/* Behind the "(" of the envelope; takes its ")". */
static bool fields_read(Lexer *lex, Envelope *envelope)
{
    const struct {
        bool is_list;
        void *field; /* char ** or GPtrArray ** */
    } fields[] = {
        {false, &envelope->date},        {false, &envelope->subject},
        {true, &envelope->from},         {true, &envelope->sender},
        {true, &envelope->reply_to},     {true, &envelope->to},
        {true, &envelope->cc},           {true, &envelope->bcc},
        {false, &envelope->in_reply_to}, {false, &envelope->message_id},
    };
    for (guint i = 0; i < G_N_ELEMENTS(fields); i++) {
        if (lexer_closes(lex, ')'))
            return true;
        if (fields[i].is_list ? !address_list_read(lex, fields[i].field)
                              : !lexer_nstring(lex, fields[i].field))
            return false;
    }
    return lexer_skip_rest(lex);
}

Envelope *envelope_read(Lexer *lex)
{
    guint extra = 0;
    if (!lexer_expect(lex, '('))
        return NULL;
    while (lexer_closes(lex, '(')) /* the date is never a list */
        if (++extra > LIMIT_NESTING) {
            lexer_fail(lex, "nested too deep");
            return NULL;
        }
    g_autoptr(Envelope) envelope = g_new0(Envelope, 1);
    if (!fields_read(lex, envelope))
        return NULL;
    for (; extra > 0; extra--)
        if (!lexer_skip_rest(lex))
            return NULL;
    return g_steal_pointer(&envelope);
}

Envelope *envelope_parse(const char *text, gsize length, GError **error)
{
    Lexer lex;
    lexer_init(&lex, text, length);
    Envelope *envelope = envelope_read(&lex);
    if (envelope == NULL)
        g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_DATA, "ENVELOPE: %s", lex.problem);
    return envelope;
}

void print_nstring(GString *out, const char *text)
{
    if (text == NULL) {
        g_string_append(out, "NIL");
        return;
    }
    if (strpbrk(text, "\r\n") != NULL) {
        g_string_append_printf(out, "{%zu}\r\n%s", strlen(text), text);
        return;
    }
    g_string_append_c(out, '"');
    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '"' || *p == '\\')
            g_string_append_c(out, '\\');
        g_string_append_c(out, *p);
    }
    g_string_append_c(out, '"');
}

static void print_addresses(GString *out, const GPtrArray *list)
{
    if (list == NULL || list->len == 0) {
        g_string_append(out, "NIL");
        return;
    }
    g_string_append_c(out, '(');
    for (guint i = 0; i < list->len; i++) {
        const WireAddress *address = g_ptr_array_index(list, i);
        g_string_append_c(out, '(');
        print_nstring(out, address->name);
        g_string_append_c(out, ' ');
        print_nstring(out, address->route);
        g_string_append_c(out, ' ');
        print_nstring(out, address->mailbox);
        g_string_append_c(out, ' ');
        print_nstring(out, address->host);
        g_string_append_c(out, ')');
    }
    g_string_append_c(out, ')');
}

void envelope_print(const Envelope *envelope, GString *out)
{
    const GPtrArray *lists[] = {envelope->from, envelope->sender, envelope->reply_to,
                                envelope->to,   envelope->cc,     envelope->bcc};
    g_string_append_c(out, '(');
    print_nstring(out, envelope->date);
    g_string_append_c(out, ' ');
    print_nstring(out, envelope->subject);
    for (guint i = 0; i < G_N_ELEMENTS(lists); i++) {
        g_string_append_c(out, ' ');
        print_addresses(out, lists[i]);
    }
    g_string_append_c(out, ' ');
    print_nstring(out, envelope->in_reply_to);
    g_string_append_c(out, ' ');
    print_nstring(out, envelope->message_id);
    g_string_append_c(out, ')');
}
