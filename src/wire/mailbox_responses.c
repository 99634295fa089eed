/* mailbox_responses.c - LIST, LSUB, STATUS and NAMESPACE (RFC 9051 7.3).
 *
 * The rule: names stay the server's bytes here. Tolerated by name: "unquoted name" with spaces or
 * control characters (Exchange), "unknown attribute", "lone backslash attribute", "empty status"
 * (STATUS x (), 163.com), "NIL number" (APPENDLIMIT NIL), "number out of range" (is not present).
 */
#include "response_parse.h"
#include <string.h>

static const struct {
    const char *name;
    guint32 bits;
} list_attributes[] = {
    {"\\Noselect", LIST_NOSELECT},
    {"\\NonExistent", LIST_NONEXISTENT | LIST_NOSELECT},
    {"\\Noinferiors", LIST_NOINFERIORS},
    {"\\HasChildren", LIST_HASCHILDREN},
    {"\\HasNoChildren", LIST_HASNOCHILDREN},
    {"\\Marked", LIST_MARKED},
    {"\\Unmarked", LIST_UNMARKED},
    {"\\Subscribed", LIST_SUBSCRIBED},
    {"\\Remote", LIST_REMOTE},
    {"\\All", LIST_ALL},
    {"\\Archive", LIST_ARCHIVE},
    {"\\Drafts", LIST_DRAFTS},
    {"\\Flagged", LIST_FLAGGED},
    {"\\Junk", LIST_JUNK},
    {"\\Sent", LIST_SENT},
    {"\\Trash", LIST_TRASH},
    {"\\Important", LIST_IMPORTANT},
};

void list_item_free(ListItem *item)
{
    if (item == NULL)
        return;
    g_free(item->name);
    g_free(item);
}

void status_item_free(StatusItem *item)
{
    if (item == NULL)
        return;
    g_free(item->name);
    g_free(item->mailboxid);
    g_free(item);
}

/* A name's bytes; unlike lex_string_dup a NUL stays, so that the name is refused, not changed. */
static char *name_dup(const LexString *string, gsize *length_out)
{
    if (string->escaped) {
        char *name = lex_string_dup(string);
        *length_out = strlen(name);
        return name;
    }
    char *name = g_malloc(string->length + 1);
    memcpy(name, string->at, string->length);
    name[string->length] = '\0';
    *length_out = string->length;
    return name;
}

static void trim_end(LexString *string)
{
    while (string->length > 0 && string->at[string->length - 1] == ' ')
        string->length--;
}

static bool attributes_read(Lexer *lex, guint32 *attributes_out)
{
    const char *at;
    gsize length;
    if (!lexer_expect(lex, '('))
        return false;
    while (!lexer_closes(lex, ')')) {
        if (!lexer_atom(lex, "", &at, &length))
            return false;
        for (guint i = 0; i < G_N_ELEMENTS(list_attributes); i++)
            if (lex_is(at, length, list_attributes[i].name))
                *attributes_out |= list_attributes[i].bits;
    }
    return true;
}

/* DQUOTE QUOTED-CHAR DQUOTE / nil; "" as NIL. */
static bool delimiter_read(Lexer *lex, char *out)
{
    g_autofree char *text = NULL;
    if (!lexer_nstring(lex, &text))
        return false;
    *out = text != NULL ? text[0] : '\0';
    return true;
}

bool list_read(Lexer *lex, Response *response)
{
    ListItem *item = response->list = g_new0(ListItem, 1);
    LexString name;
    if (!attributes_read(lex, &item->attributes) || !delimiter_read(lex, &item->delimiter))
        return false;
    lexer_skip_spaces(lex);
    const char *start = lex->at;
    if (!lexer_string(lex, &name))
        return false;
    lexer_skip_spaces(lex);
    /* After the name only the list of extended items may come (RFC 5258 3.5). */
    if (name.atom && !lexer_at_end(lex) && lexer_peek(lex) != '(') {
        name = (LexString){.at = start, .length = lex->end - start};
        trim_end(&name);
        lex->at = lex->end;
    }
    item->name = name_dup(&name, &item->name_length);
    return true;
}

typedef enum { STATUS_NUMBER32, STATUS_NUMBER64, STATUS_ID } StatusType;

static const struct {
    const char *name;
    guint32 bit;
    StatusType type;
    gsize offset;
} status_items[] = {
    {"MESSAGES", STATUS_MESSAGES, STATUS_NUMBER32, G_STRUCT_OFFSET(StatusItem, messages)},
    {"UIDNEXT", STATUS_UIDNEXT, STATUS_NUMBER32, G_STRUCT_OFFSET(StatusItem, uidnext)},
    {"UIDVALIDITY", STATUS_UIDVALIDITY, STATUS_NUMBER32, G_STRUCT_OFFSET(StatusItem, uidvalidity)},
    {"UNSEEN", STATUS_UNSEEN, STATUS_NUMBER32, G_STRUCT_OFFSET(StatusItem, unseen)},
    {"HIGHESTMODSEQ", STATUS_HIGHESTMODSEQ, STATUS_NUMBER64,
     G_STRUCT_OFFSET(StatusItem, highestmodseq)},
    {"SIZE", STATUS_SIZE, STATUS_NUMBER64, G_STRUCT_OFFSET(StatusItem, size)},
    {"MAILBOXID", STATUS_MAILBOXID, STATUS_ID, G_STRUCT_OFFSET(StatusItem, mailboxid)},
};

/* "(" id ")" (RFC 8474 4.3), or the id alone. */
static bool object_id_read(Lexer *lex, char **out)
{
    g_clear_pointer(out, g_free);
    lexer_skip_spaces(lex);
    if (!lexer_take(lex, '('))
        return lexer_nstring(lex, out);
    return lexer_nstring(lex, out) && lexer_skip_rest(lex);
}

static bool status_value_read(Lexer *lex, StatusItem *item, guint i)
{
    gpointer field = (char *)item + status_items[i].offset;
    LexNumber number;
    if (status_items[i].type == STATUS_ID) {
        if (!object_id_read(lex, field))
            return false;
        if (*(char **)field != NULL)
            item->present |= status_items[i].bit;
        return true;
    }
    if (!lexer_number(lex, &number))
        return false;
    bool narrow = status_items[i].type == STATUS_NUMBER32;
    if (!number.known || (narrow && number.value > G_MAXUINT32))
        return true;
    if (narrow)
        *(guint32 *)field = (guint32)number.value;
    else
        *(guint64 *)field = number.value;
    item->present |= status_items[i].bit;
    return true;
}

static bool status_item_read(Lexer *lex, StatusItem *item)
{
    const char *at;
    gsize length;
    if (!lexer_atom(lex, "", &at, &length))
        return false;
    for (guint i = 0; i < G_N_ELEMENTS(status_items); i++)
        if (lex_is(at, length, status_items[i].name))
            return status_value_read(lex, item, i);
    return lexer_skip_value(lex);
}

/* The name, up to the "(" that follows; an unquoted one may hold spaces, even parentheses. */
static bool status_name_read(Lexer *lex, StatusItem *item)
{
    LexString name;
    lexer_skip_spaces(lex);
    const char *start = lex->at;
    if (!lexer_string(lex, &name))
        return false;
    lexer_skip_spaces(lex);
    if (name.atom && !lexer_at_end(lex) && lexer_peek(lex) != '(') {
        const char *list = memrchr(start, '(', lex->end - start);
        if (list == NULL)
            list = lex->end;
        name = (LexString){.at = start, .length = list - start};
        trim_end(&name);
        lex->at = list;
    }
    item->name = name_dup(&name, &item->name_length);
    return true;
}

bool status_read(Lexer *lex, Response *response)
{
    StatusItem *item = response->status = g_new0(StatusItem, 1);
    if (!status_name_read(lex, item))
        return false;
    if (!lexer_closes(lex, '('))
        return lexer_at_end(lex);
    while (!lexer_closes(lex, ')'))
        if (!status_item_read(lex, item))
            return false;
    return true;
}

static void namespace_item_clear(gpointer data)
{
    g_free(((NamespaceItem *)data)->prefix);
}

/* "((prefix delimiter *(extension))...)" or NIL (RFC 9051 7.3.4 "Namespace"). */
static bool namespace_list_read(Lexer *lex, GArray **out)
{
    lexer_skip_spaces(lex);
    if (lexer_at_end(lex) || lexer_take_nil(lex))
        return true;
    if (!lexer_expect(lex, '('))
        return false;
    *out = g_array_new(FALSE, TRUE, sizeof(NamespaceItem));
    g_array_set_clear_func(*out, namespace_item_clear);
    while (!lexer_closes(lex, ')')) {
        g_array_set_size(*out, (*out)->len + 1);
        NamespaceItem *item = &g_array_index(*out, NamespaceItem, (*out)->len - 1);
        if (!lexer_expect(lex, '(') || !lexer_nstring(lex, &item->prefix))
            return false;
        if (item->prefix == NULL)
            item->prefix = g_strdup("");
        if (!delimiter_read(lex, &item->delimiter) || !lexer_skip_rest(lex))
            return false;
    }
    return true;
}

bool namespace_read(Lexer *lex, Response *response)
{
    for (guint i = 0; i < G_N_ELEMENTS(response->namespaces); i++)
        if (!namespace_list_read(lex, &response->namespaces[i]))
            return false;
    return true;
}
