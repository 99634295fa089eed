/* fake.c - see fake.h. A thread a connection, one lock around the mail. */
#include "fake.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "imapfs/wire/flags.h"

#define WAIT_S 20

typedef struct {
    Fake *fake;
    int fd;
    FakeBox *box;
    guint told; /* messages that the box has, as said */
    GString *out;
    bool closing;
} Connection;

/* --- the mail --- */

static void message_free(gpointer data)
{
    FakeMessage *message = data;
    g_free(message->flags);
    g_free(message->emailid);
    g_free(message->bytes);
    g_free(message->date);
    g_free(message);
}

static void box_free(gpointer data)
{
    FakeBox *box = data;
    g_free(box->name);
    g_free(box->mailboxid);
    g_ptr_array_unref(box->messages);
    g_free(box);
}

static FakeBox *find_box(Fake *fake, const char *name)
{
    for (guint i = 0; i < fake->boxes->len; i++) {
        FakeBox *box = fake->boxes->pdata[i];
        if (strcmp(box->name, name) == 0)
            return box;
    }
    return NULL;
}

FakeBox *fake_box(Fake *fake, const char *name)
{
    FakeBox *box = find_box(fake, name);
    if (box)
        return box;
    box = g_new0(FakeBox, 1);
    box->name = g_strdup(name);
    box->uidvalidity = 1000;
    box->uidnext = 1;
    box->mailboxid = g_strdelimit(g_strdup_printf("F%s", name), "/", '_'); /* RFC 8474 7 */
    box->permanent = "\\Seen \\Answered \\Flagged \\Deleted \\Draft \\*";
    box->messages = g_ptr_array_new_with_free_func(message_free);
    g_ptr_array_add(fake->boxes, box);
    return box;
}

void fake_drop_box(Fake *fake, const char *name)
{
    g_ptr_array_remove(fake->boxes, find_box(fake, name));
}

FakeMessage *fake_add(Fake *fake, const char *mailbox, guint32 uid, const char *flags)
{
    FakeBox *box = fake_box(fake, mailbox);
    FakeMessage *message = g_new0(FakeMessage, 1);
    message->uid = uid;
    message->flags = g_strdup(flags);
    message->number = ++fake->n_messages;
    message->emailid = g_strdup_printf("M%u", message->number);
    box->uidnext = MAX(box->uidnext, uid + 1);
    g_ptr_array_add(box->messages, message);
    return message;
}

static FakeMessage *find_message(const FakeBox *box, guint32 uid)
{
    for (guint i = 0; box && i < box->messages->len; i++) {
        FakeMessage *message = box->messages->pdata[i];
        if (message->uid == uid)
            return message;
    }
    return NULL;
}

FakeMessage *fake_message(Fake *fake, const char *mailbox, guint32 uid)
{
    return find_message(find_box(fake, mailbox), uid);
}

void fake_expunge(Fake *fake, const char *mailbox, guint32 uid)
{
    FakeBox *box = find_box(fake, mailbox);
    g_ptr_array_remove(box->messages, find_message(box, uid));
}

void fake_lock(Fake *fake)
{
    pthread_mutex_lock(&fake->lock);
}

void fake_unlock(Fake *fake)
{
    pthread_mutex_unlock(&fake->lock);
}

char *fake_flags(Fake *fake, const char *mailbox, guint32 uid)
{
    fake_lock(fake);
    const FakeMessage *message = fake_message(fake, mailbox, uid);
    char *flags = message ? g_strdup(message->flags) : NULL;
    fake_unlock(fake);
    return flags;
}

void fake_rule(Fake *fake, FakeRule rule)
{
    fake_lock(fake);
    guint i = 0;
    while (i < FAKE_MAX_RULES - 1 && fake->rules[i].words)
        i++;
    assert_null(fake->rules[i].words);
    fake->rules[i] = rule;
    fake_unlock(fake);
}

void fake_cut(Fake *fake)
{
    fake_lock(fake);
    for (guint i = 0; i < fake->connections->len; i++)
        shutdown(g_array_index(fake->connections, int, i), SHUT_RDWR);
    fake_unlock(fake);
}

guint fake_number(Fake *fake, const char *mailbox)
{
    fake_lock(fake);
    const FakeBox *box = find_box(fake, mailbox);
    guint n = box ? box->messages->len : 0;
    fake_unlock(fake);
    return n;
}

static guint count_commands(const Fake *fake, const char *words)
{
    guint n = 0;
    for (guint i = 0; i < fake->commands->len; i++)
        n += strstr(fake->commands->pdata[i], words) != NULL;
    return n;
}

guint fake_count(Fake *fake, const char *words)
{
    fake_lock(fake);
    guint n = count_commands(fake, words);
    fake_unlock(fake);
    return n;
}

void fake_wait(Fake *fake, const char *words, guint n)
{
    gint64 until = g_get_monotonic_time() + WAIT_S * G_USEC_PER_SEC;
    fake_lock(fake);
    while (count_commands(fake, words) < n) {
        if (!world_cond_wait(&fake->changed, &fake->lock, until)) {
            fake_unlock(fake);
            fail_msg("\"%s\" did not come %u times", words, n);
        }
    }
    fake_unlock(fake);
}

/* --- what it says --- */

G_GNUC_PRINTF(2, 3) static void say(Connection *connection, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_string_append_vprintf(connection->out, format, args);
    g_string_append(connection->out, "\r\n");
    va_end(args);
}

/* The header field of a letter, or as made of the number. Caller frees. */
static char *message_id_of(const FakeMessage *message)
{
    const char *field = message->bytes ? strstr(message->bytes, "Message-ID: ") : NULL;
    if (field)
        return g_strndup(field + 12, strcspn(field + 12, "\r\n"));
    return g_strdup_printf("<%u@example.org>", message->number);
}

/* A piece of the bytes of a message, if that is asked for. */
static void say_piece(Connection *connection, const FakeMessage *message, const char *items)
{
    gsize at = 0, n = 0, size = message->bytes ? strlen(message->bytes) : 0;
    const char *item = strstr(items, "BODY.PEEK[]<");
    if (!item || !size || sscanf(item, "BODY.PEEK[]<%zu.%zu>", &at, &n) != 2)
        return;
    at = MIN(at, size);
    n = MIN(n, size - at);
    g_string_append_printf(connection->out, " BODY[]<%zu> {%zu}\r\n", at, n);
    g_string_append_len(connection->out, message->bytes + at, (gssize)n);
}

static void say_message(Connection *connection, guint seq, const FakeMessage *message,
                        const char *items)
{
    bool objectid = strstr(connection->fake->capabilities, "OBJECTID") != NULL;
    g_string_append_printf(connection->out, "* %u FETCH (UID %u FLAGS (%s)", seq, message->uid,
                           message->flags);
    if (strstr(items, "BODYSTRUCTURE"))
        g_string_append(connection->out, " BODYSTRUCTURE (\"TEXT\" \"PLAIN\" NIL NIL NIL \"7BIT\" 9"
                                         " 1 NIL NIL NIL NIL)");
    say_piece(connection, message, items);
    if (strstr(items, "INTERNALDATE")) {
        g_autofree char *id = message_id_of(message);
        g_autofree char *header = g_strdup_printf(
            "From: a@example.org\r\nSubject: %u\r\nMessage-ID: %s\r\n\r\n", message->number, id);
        gsize size = message->bytes ? strlen(message->bytes) : 100 + message->number;
        if (objectid)
            g_string_append_printf(connection->out, " EMAILID (%s)", message->emailid);
        g_string_append_printf(connection->out,
                               " INTERNALDATE \"01-Jan-2026 00:00:%02u +0000\" RFC822.SIZE %zu"
                               " BODY[HEADER.FIELDS (FROM SUBJECT MESSAGE-ID)] {%zu}\r\n%s",
                               message->number % 60, size, strlen(header), header);
    }
    say(connection, ")");
}

/* How many messages of its box there are for this session. */
static guint in_view(const Connection *connection)
{
    guint n = connection->box->messages->len;
    return connection->fake->lags ? MIN(connection->told, n) : n;
}

static UidSet *set_of(const FakeBox *box, const char *text)
{
    UidSet *set = uidset_new();
    guint32 last = 0, from = 0;
    for (guint i = 0; i < box->messages->len; i++)
        last = ((const FakeMessage *)box->messages->pdata[i])->uid;
    if (sscanf(text, "%u:*", &from) == 1 && g_str_has_suffix(text, ":*"))
        uidset_add_range(set, MIN(from, last), MAX(from, last));
    else
        uidset_parse(set, text, strlen(text));
    return set;
}

static void do_fetch(Connection *connection, const char *set, const char *items)
{
    g_autoptr(UidSet) uids = set_of(connection->box, set);
    for (guint i = 0; i < in_view(connection); i++) {
        const FakeMessage *message = connection->box->messages->pdata[i];
        if (uidset_contains(uids, message->uid))
            say_message(connection, i + 1, message, items);
    }
}

static void do_store(Connection *connection, const char *set, const char *what)
{
    FakeBox *box = connection->box;
    g_autoptr(UidSet) uids = set_of(box, set);
    const char *list = strchr(what, '(');
    assert_non_null(list);
    g_autofree char *words = g_strndup(list + 1, strcspn(list + 1, ")"));
    g_auto(Flags) flags = {0};
    g_auto(Flags) lost = {0};
    flags_parse(&flags, words);
    flags_parse(&lost, box->loses ? box->loses : "");
    flags_remove_all(&flags, &lost);
    for (guint i = 0; i < in_view(connection); i++) {
        FakeMessage *message = box->messages->pdata[i];
        if (!uidset_contains(uids, message->uid))
            continue;
        g_auto(Flags) now = {0};
        flags_parse(&now, message->flags);
        if (*what == '+')
            flags_add_all(&now, &flags);
        else
            flags_remove_all(&now, &flags);
        GString *text = g_string_new(NULL);
        flags_print(&now, text);
        g_free(message->flags);
        message->flags = g_string_free(text, FALSE);
    }
}

static void do_search(Connection *connection)
{
    g_string_append(connection->out, "* SEARCH");
    for (guint i = 0; i < in_view(connection); i++)
        g_string_append_printf(connection->out, " %u",
                               ((const FakeMessage *)connection->box->messages->pdata[i])->uid);
    say(connection, "%s", "");
}

static char *unquoted(const char *text)
{
    gsize length = strlen(text);
    return *text == '"' && length >= 2 ? g_strndup(text + 1, length - 2) : g_strdup(text);
}

static void enter(Connection *connection, FakeBox *box)
{
    if (connection->box && g_ptr_array_find(connection->fake->boxes, connection->box, NULL))
        connection->box->users--;
    connection->box = box;
    if (box)
        box->users++;
}

static void do_select(Connection *connection, const char *tag, const char *argument, bool examine)
{
    g_autofree char *name = unquoted(argument);
    FakeBox *box = find_box(connection->fake, name);
    enter(connection, box);
    connection->told = box ? box->messages->len : 0;
    if (!box) {
        say(connection, "%s NO [NONEXISTENT] no such mailbox", tag);
        return;
    }
    say(connection, "* %u EXISTS", box->messages->len);
    say(connection, "* OK [UIDVALIDITY %u] .", box->uidvalidity);
    if (!connection->fake->no_uidnext)
        say(connection, "* OK [UIDNEXT %u] .", box->uidnext);
    if (examine)
        say(connection, "* OK [PERMANENTFLAGS ()] .");
    else if (box->permanent)
        say(connection, "* OK [PERMANENTFLAGS (%s)] .", box->permanent);
    if (strstr(connection->fake->capabilities, "OBJECTID"))
        say(connection, "* OK [MAILBOXID (%s)] .", box->mailboxid);
    say(connection, "%s OK [%s] done", tag, examine || box->read_only ? "READ-ONLY" : "READ-WRITE");
}

static void do_status(Connection *connection, const char *tag, const char *argument,
                      const char *items)
{
    g_autofree char *name = unquoted(argument);
    const FakeBox *box = find_box(connection->fake, name);
    if (!box || box->noselect) {
        say(connection, "%s NO [NONEXISTENT] no such mailbox", tag);
        return;
    }
    if (strstr(items, "MAILBOXID"))
        say(connection, "* STATUS %s (MAILBOXID (%s) UIDNEXT %u UIDVALIDITY %u)", argument,
            box->mailboxid, box->uidnext, box->uidvalidity);
    else
        say(connection, "* STATUS %s (MESSAGES %u UIDNEXT %u UIDVALIDITY %u)", argument,
            box->messages->len, box->uidnext, box->uidvalidity);
    say(connection, "%s OK done", tag);
}

/* --- moving, copying, deleting, appending --- */

static void expunge_at(Connection *connection, guint at)
{
    g_ptr_array_remove_index(connection->box->messages, at);
    connection->told--;
    say(connection, "* %u EXPUNGE", at + 1);
}

static void do_expunge(Connection *connection, const char *set)
{
    FakeBox *box = connection->box;
    g_autoptr(UidSet) uids = set_of(box, set);
    for (guint i = in_view(connection); i-- > 0;) {
        const FakeMessage *message = box->messages->pdata[i];
        if (uidset_contains(uids, message->uid) && strstr(message->flags, "\\Deleted"))
            expunge_at(connection, i);
    }
}

typedef struct {
    GArray *from, *to; /* of guint32 */
} Copied;

static guint32 copy_one(Fake *fake, FakeBox *to, const FakeMessage *message)
{
    FakeMessage *copy = g_new0(FakeMessage, 1);
    copy->uid = to->uidnext++;
    copy->flags = g_strdup(message->flags);
    copy->emailid = g_strdup(message->emailid);
    copy->number = message->number;
    copy->bytes = g_strdup(message->bytes);
    g_ptr_array_add(to->messages, copy);
    return copy->uid;
}

static void copy_all(Connection *connection, FakeBox *to, const UidSet *uids, guint most,
                     Copied *out)
{
    FakeBox *box = connection->box;
    guint n = in_view(connection); /* it may be a copy into itself */
    for (guint i = 0; i < n && out->from->len < most; i++) {
        const FakeMessage *message = box->messages->pdata[i];
        if (!uidset_contains(uids, message->uid))
            continue;
        guint32 uid = copy_one(connection->fake, to, message);
        g_array_append_val(out->from, message->uid);
        g_array_append_val(out->to, uid);
    }
}

static void append_uids(GString *out, const GArray *uids, bool backward)
{
    for (guint i = 0; i < uids->len; i++)
        g_string_append_printf(out, "%s%u", i ? "," : "",
                               g_array_index(uids, guint32, backward ? uids->len - 1 - i : i));
}

/* "[COPYUID ...] ", or "". Caller frees. */
static char *copyuid_text(const Fake *fake, const FakeBox *to, const Copied *copied)
{
    GString *text = g_string_new(NULL);
    if (!strstr(fake->capabilities, "UIDPLUS") || fake->copyuid == COPYUID_NONE ||
        copied->from->len == 0)
        return g_string_free(text, FALSE);
    g_string_append_printf(text, "[COPYUID %u ",
                           to->uidvalidity + (fake->copyuid == COPYUID_OTHER));
    bool backward = fake->copyuid == COPYUID_BACKWARD;
    append_uids(text, copied->from, backward);
    if (fake->copyuid == COPYUID_MORE)
        g_string_append(text, ",4000000000");
    if (fake->copyuid == COPYUID_HUGE)
        g_string_append(text, ",1:4294967295");
    g_string_append(text, " ");
    append_uids(text, copied->to, backward);
    if (fake->copyuid == COPYUID_MORE)
        g_string_append(text, ",4000000000");
    if (fake->copyuid == COPYUID_HUGE)
        g_string_append(text, ",1:4294967295");
    if (fake->copyuid == COPYUID_TWICE)
        g_string_append_printf(text, ",%u", g_array_index(copied->to, guint32, 0));
    if (fake->copyuid == COPYUID_UNEVEN)
        g_string_append(text, ",4000000001");
    g_string_append(text, "] ");
    return g_string_free(text, FALSE);
}

static void say_apart(Connection *connection, const FakeBox *to, const Copied *copied)
{
    for (guint i = 0; i < copied->from->len; i++)
        say(connection, "* OK [COPYUID %u %u %u] .", to->uidvalidity,
            g_array_index(copied->from, guint32, i), g_array_index(copied->to, guint32, i));
}

static void take_sources(Connection *connection, const Copied *copied)
{
    for (guint i = connection->box->messages->len; i-- > 0;) {
        guint32 uid = ((const FakeMessage *)connection->box->messages->pdata[i])->uid;
        for (guint c = 0; c < copied->from->len; c++) {
            if (g_array_index(copied->from, guint32, c) != uid)
                continue;
            expunge_at(connection, i);
            break;
        }
    }
}

/* answer: instead of OK, when only some are to be done. */
static void do_copy(Connection *connection, const char *tag, char **words, guint most,
                    const char *answer)
{
    Fake *fake = connection->fake;
    bool move = strcmp(words[1], "MOVE") == 0;
    g_autofree char *name = unquoted(words[3]);
    FakeBox *to = find_box(fake, name);
    if (!to) {
        say(connection, "%s NO [TRYCREATE] no such mailbox", tag);
        return;
    }
    g_autoptr(UidSet) uids = set_of(connection->box, words[2]);
    g_autoptr(GArray) from_uids = g_array_new(FALSE, FALSE, sizeof(guint32));
    g_autoptr(GArray) to_uids = g_array_new(FALSE, FALSE, sizeof(guint32));
    Copied copied = {from_uids, to_uids};
    copy_all(connection, to, uids, most, &copied);
    g_autofree char *code = copyuid_text(fake, to, &copied);
    bool tagged = fake->copyuid == COPYUID_TAGGED || !move;
    bool apart = fake->copyuid == COPYUID_APART && *code;
    if (apart)
        say_apart(connection, to, &copied);
    else if (!tagged && *code)
        say(connection, "* OK %s.", code);
    if (move && !fake->keeps_sources)
        take_sources(connection, &copied);
    if (answer)
        say(connection, "%s %s", tag, answer);
    else
        say(connection, "%s OK %sdone", tag, tagged && !apart ? code : "");
}

/* --- mailboxes --- */

static void do_create(Connection *connection, const char *tag, const char *argument)
{
    g_autofree char *name = unquoted(argument);
    if (find_box(connection->fake, name)) {
        say(connection, "%s NO [ALREADYEXISTS] there is one", tag);
        return;
    }
    fake_box(connection->fake, name);
    say(connection, "%s OK done", tag);
}

static void do_delete(Connection *connection, const char *tag, const char *argument)
{
    g_autofree char *name = unquoted(argument);
    if (!find_box(connection->fake, name)) {
        say(connection, "%s NO [NONEXISTENT] there is none", tag);
        return;
    }
    fake_drop_box(connection->fake, name);
    say(connection, "%s OK done", tag);
}

static void do_rename(Connection *connection, const char *tag, char **words)
{
    g_autofree char *from = unquoted(words[1]), *to = unquoted(words[2]);
    FakeBox *box = find_box(connection->fake, from);
    if (find_box(connection->fake, to)) {
        say(connection, "%s NO [ALREADYEXISTS] there is one", tag);
    } else if (!box) {
        say(connection, "%s NO [NONEXISTENT] there is none", tag);
    } else {
        g_free(box->name);
        box->name = g_strdup(to);
        box->pulled = box->users > 0;
        say(connection, "%s OK done", tag);
    }
}

static void do_append(Connection *connection, const char *tag, const char *line,
                      const char *literal)
{
    Fake *fake = connection->fake;
    const char *at = strchr(line, '"');
    assert_non_null(at);
    g_autofree char *name = g_strndup(at + 1, strcspn(at + 1, "\""));
    FakeBox *to = find_box(fake, name);
    if (!to) {
        say(connection, "%s NO [TRYCREATE] no such mailbox", tag);
        return;
    }
    at += strlen(name) + 2;
    const char *list = strchr(at, '('), *date = strchr(at, '"');
    g_autofree char *flags = list ? g_strndup(list + 1, strcspn(list + 1, ")")) : g_strdup("");
    FakeMessage *message = fake_add(fake, name, to->uidnext, flags);
    message->bytes = g_strdup(literal);
    message->date = date ? g_strndup(date + 1, strcspn(date + 1, "\"")) : NULL;
    if (strstr(fake->capabilities, "UIDPLUS") && fake->copyuid != COPYUID_NONE)
        say(connection, "%s OK [APPENDUID %u %u] done", tag,
            to->uidvalidity + (fake->copyuid == COPYUID_OTHER), message->uid);
    else
        say(connection, "%s OK done", tag);
}

static void do_noop(Connection *connection)
{
    guint now = connection->box ? connection->box->messages->len : 0;
    for (; connection->told > now; connection->told--)
        say(connection, "* 1 EXPUNGE");
    if (connection->told < now)
        say(connection, "* %u EXISTS", now);
    connection->told = now;
}

static void do_list(Connection *connection)
{
    for (guint i = 0; i < connection->fake->boxes->len; i++) {
        const FakeBox *box = connection->fake->boxes->pdata[i];
        say(connection, "* LIST (%s) \"/\" \"%s\"", box->trash ? "\\Trash" : "", box->name);
    }
}

/* --- what it is told to do instead --- */

/* The rule for a command, if there is one, used once. */
static const FakeRule *find_rule(Fake *fake, const FakeBox *box, const char *line)
{
    static FakeRule found;
    for (guint i = 0; i < FAKE_MAX_RULES; i++) {
        FakeRule *rule = &fake->rules[i];
        if (!rule->words || !strstr(line, rule->words))
            continue;
        g_auto(GStrv) words = g_strsplit(line, " ", 4);
        if (rule->only_uid && box && g_strv_length(words) > 2) {
            g_autoptr(UidSet) uids = set_of(box, words[2]);
            if (!uidset_contains(uids, rule->only_uid))
                continue;
        }
        found = *rule;
        if (rule->times > 0 && --rule->times == 0)
            *rule = (FakeRule){.words = NULL};
        return &found;
    }
    return NULL;
}

static void run_uid(Connection *connection, const char *tag, char **words)
{
    if (!connection->box) {
        say(connection, "%s BAD nothing is selected", tag);
        return;
    }
    if (strcmp(words[1], "COPY") == 0 || strcmp(words[1], "MOVE") == 0) {
        do_copy(connection, tag, words, G_MAXUINT, NULL);
        return;
    }
    if (strcmp(words[1], "FETCH") == 0)
        do_fetch(connection, words[2], words[3]);
    else if (strcmp(words[1], "STORE") == 0)
        do_store(connection, words[2], words[3]);
    else if (strcmp(words[1], "EXPUNGE") == 0)
        do_expunge(connection, words[2]);
    else
        do_search(connection);
    if (strcmp(words[1], "STORE") == 0 && connection->box->says)
        say(connection, "* %s", connection->box->says);
    say(connection, "%s OK done", tag);
}

static void run(Connection *connection, const char *tag, const char *line, const char *literal)
{
    g_auto(GStrv) words = g_strsplit(line, " ", 4);
    const char *verb = words[0], *first = words[0] && words[1] ? words[1] : "";
    if (strcmp(verb, "UID") == 0)
        run_uid(connection, tag, words);
    else if (strcmp(verb, "SELECT") == 0 || strcmp(verb, "EXAMINE") == 0)
        do_select(connection, tag, first, *verb == 'E');
    else if (strcmp(verb, "STATUS") == 0)
        do_status(connection, tag, first, line);
    else if (strcmp(verb, "APPEND") == 0)
        do_append(connection, tag, line, literal);
    else if (strcmp(verb, "CREATE") == 0)
        do_create(connection, tag, first);
    else if (strcmp(verb, "DELETE") == 0)
        do_delete(connection, tag, first);
    else if (strcmp(verb, "RENAME") == 0 && words[1] && words[2])
        do_rename(connection, tag, words);
    else {
        if (strcmp(verb, "NOOP") == 0)
            do_noop(connection);
        if (strcmp(verb, "LIST") == 0)
            do_list(connection);
        if (strcmp(verb, "ENABLE") == 0 && strstr(line, "UTF8=ACCEPT"))
            say(connection, "* ENABLED UTF8=ACCEPT");
        if (strcmp(verb, "LOGOUT") == 0)
            say(connection, "* BYE bye");
        say(connection, "%s OK done", tag);
        connection->closing = strcmp(verb, "LOGOUT") == 0;
    }
}

static void run_partly(Connection *connection, const char *tag, const char *line,
                       const FakeRule *rule)
{
    g_auto(GStrv) words = g_strsplit(line, " ", 4);
    do_copy(connection, tag, words, rule->partly, rule->answer);
}

static void flush_out(Connection *connection)
{
    gsize at = 0;
    while (at < connection->out->len) {
        gssize n = send(connection->fd, connection->out->str + at, connection->out->len - at,
                        MSG_NOSIGNAL);
        if (n <= 0)
            break;
        at += (gsize)n;
    }
    g_string_truncate(connection->out, 0);
}

static void wait_ms(Fake *fake, guint ms)
{
    pthread_cond_broadcast(&fake->changed);
    fake_unlock(fake);
    g_usleep(ms * 1000ul);
    fake_lock(fake);
}

/* Says what there is but the last line, and that after a while. */
static void say_last_later(Connection *connection, guint ms)
{
    GString *out = connection->out;
    gsize at = out->len - 2; /* of its CRLF */
    while (at > 0 && out->str[at - 1] != '\n')
        at--;
    g_autofree char *last = g_strdup(out->str + at);
    g_string_truncate(out, at);
    flush_out(connection);
    wait_ms(connection->fake, ms);
    g_string_append(out, last);
}

static void serve_line(Connection *connection, const char *line, const char *literal)
{
    Fake *fake = connection->fake;
    const char *space = strchr(line, ' ');
    g_autofree char *tag = g_strndup(line, space ? (gsize)(space - line) : 0);
    const char *rest = space ? space + 1 : line;
    g_ptr_array_add(fake->commands, g_strdup(rest));
    const FakeRule *rule = find_rule(fake, connection->box, rest);
    guint tag_after_ms = rule ? rule->tag_after_ms : 0;
    if (rule && rule->after_ms)
        wait_ms(fake, rule->after_ms);
    if (rule && rule->partly)
        run_partly(connection, tag, rest, rule);
    else if (rule && rule->answer)
        say(connection, "%s %s", tag, rule->answer);
    else
        run(connection, tag, rest, literal);
    if (tag_after_ms)
        say_last_later(connection, tag_after_ms);
    if (rule && rule->cut) {
        g_string_truncate(connection->out, 0);
        connection->closing = true;
    }
    pthread_cond_broadcast(&fake->changed);
}

/* --- connections --- */

/* The literal that a line announces; -1: none. */
static gssize literal_of(const char *line, bool *sync_out)
{
    const char *brace = strrchr(line, '{');
    if (!brace || !g_str_has_suffix(line, "}"))
        return -1;
    *sync_out = !g_str_has_suffix(line, "+}");
    return (gssize)g_ascii_strtoull(brace + 1, NULL, 10);
}

/* A command with its literal, if all of it has come. False: not yet. */
static bool serve_next(Connection *connection, GString *in, bool *asked)
{
    char *end = strstr(in->str, "\r\n");
    bool sync = false;
    if (!end || connection->closing)
        return false;
    gsize head = (gsize)(end - in->str);
    g_autofree char *line = g_strndup(in->str, head);
    gssize size = literal_of(line, &sync);
    if (size < 0) {
        g_string_erase(in, 0, (gssize)head + 2);
        serve_line(connection, line, NULL);
        return true;
    }
    if (sync && !*asked) {
        say(connection, "+ go on");
        *asked = true;
    }
    if (in->len < head + 2 + (gsize)size + 2)
        return false;
    g_autofree char *literal = g_strndup(in->str + head + 2, (gsize)size);
    g_string_erase(in, 0, (gssize)head + 2 + size + 2);
    *asked = false;
    serve_line(connection, line, literal);
    return true;
}

static void *serve(void *data)
{
    Connection *connection = data;
    Fake *fake = connection->fake;
    GString *in = g_string_new(NULL);
    char bytes[4096];
    bool asked = false;
    say(connection, "* PREAUTH [CAPABILITY IMAP4rev1 %s] hello", fake->capabilities);
    flush_out(connection);
    while (!connection->closing) {
        gssize n = recv(connection->fd, bytes, sizeof(bytes), 0);
        if (n <= 0)
            break;
        g_string_append_len(in, bytes, n);
        fake_lock(fake);
        while (serve_next(connection, in, &asked))
            ;
        fake_unlock(fake);
        flush_out(connection);
    }
    fake_lock(fake);
    enter(connection, NULL);
    fake_unlock(fake);
    shutdown(connection->fd, SHUT_RDWR);
    g_string_free(in, TRUE);
    g_string_free(connection->out, TRUE);
    g_free(connection);
    return NULL;
}

static void *listen_loop(void *data)
{
    Fake *fake = data;
    int fd;
    while ((fd = accept(fake->listener, NULL, NULL)) >= 0) {
        Connection *connection = g_new0(Connection, 1);
        connection->fake = fake;
        connection->fd = fd;
        connection->out = g_string_new(NULL);
        pthread_t *thread = g_new(pthread_t, 1);
        fake_lock(fake);
        g_array_append_val(fake->connections, fd);
        g_ptr_array_add(fake->threads, thread);
        fake_unlock(fake);
        assert_int_equal(pthread_create(thread, NULL, serve, connection), 0);
    }
    return NULL;
}

/* The other end of the tunnel: standard input and output, joined to the socket. */
void fake_main(int argc, char **argv)
{
    if (argc != 3 || strcmp(argv[1], "--connect") != 0)
        return;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    g_strlcpy(address.sun_path, argv[2], sizeof(address.sun_path));
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0)
        _exit(1);
    struct pollfd ends[2] = {{.fd = 0, .events = POLLIN}, {.fd = fd, .events = POLLIN}};
    char bytes[65536];
    while (poll(ends, 2, -1) >= 0 || errno == EINTR) {
        for (int i = 0; i < 2; i++) {
            if (!(ends[i].revents & (POLLIN | POLLHUP | POLLERR)))
                continue;
            gssize n = read(ends[i].fd, bytes, sizeof(bytes));
            if (n <= 0 || write(i == 0 ? fd : 1, bytes, (gsize)n) != n)
                _exit(0);
        }
    }
    _exit(0);
}

/* --- setup --- */

Fake *world_fake(World *world)
{
    return world->fake;
}

/* When the first engine is opened: until then the test has the mail for itself. */
static void start(gpointer data)
{
    Fake *fake = data;
    if (fake->started)
        return;
    fake->started = true;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    g_strlcpy(address.sun_path, fake->path, sizeof(address.sun_path));
    fake->listener = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_true(fake->listener >= 0);
    assert_int_equal(bind(fake->listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fake->listener, 16), 0);
    assert_int_equal(pthread_create(&fake->thread, NULL, listen_loop, fake), 0);
}

int fake_setup(void **state)
{
    World *world = g_new0(World, 1);
    Fake *fake = world->fake = g_new0(Fake, 1);
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
    pthread_mutex_init(&fake->lock, NULL);
    pthread_cond_init(&fake->changed, NULL);
    world->dir = g_dir_make_tmp("imapfs-fake-XXXXXX", NULL);
    world->state = g_build_filename(world->dir, "state", NULL);
    world->cache = g_build_filename(world->dir, "cache", NULL);
    fake->path = g_build_filename(world->dir, "socket", NULL);
    fake->capabilities = "";
    fake->boxes = g_ptr_array_new_with_free_func(box_free);
    fake->commands = g_ptr_array_new_with_free_func(g_free);
    fake->connections = g_array_new(FALSE, FALSE, sizeof(int));
    fake->threads = g_ptr_array_new_with_free_func(g_free);
    for (guint32 uid = 1; uid <= 4; uid++)
        fake_add(fake, "INBOX", uid, "");
    world->on_open = start;
    world->account =
        (Account){.name = g_strdup("test"),
                  .user = g_strdup("test"),
                  .target = {.security = NET_TUNNEL,
                             .tunnel = g_strdup_printf("exec %s --connect %s", self, fake->path)},
                  .timeout_ms = 10000,
                  .max_connections = 3,
                  .trace_fd = -1,
                  .disable = world->disable};
    *state = world;
    return 0;
}

static void stop(Fake *fake)
{
    if (!fake->started)
        return;
    shutdown(fake->listener, SHUT_RDWR);
    pthread_join(fake->thread, NULL);
    fake_cut(fake);
    for (guint i = 0; i < fake->threads->len; i++)
        pthread_join(*(pthread_t *)fake->threads->pdata[i], NULL);
    for (guint i = 0; i < fake->connections->len; i++)
        close(g_array_index(fake->connections, int, i));
    close(fake->listener);
}

int fake_teardown(void **state)
{
    World *world = *state;
    if (!world)
        return 0;
    close_engine(world);
    Fake *fake = world->fake;
    stop(fake);
    g_ptr_array_unref(fake->boxes);
    g_ptr_array_unref(fake->commands);
    g_ptr_array_unref(fake->threads);
    g_array_unref(fake->connections);
    g_free(fake->path);
    g_free(fake);
    remove_tree(world->dir);
    g_free(world->account.name);
    g_free(world->account.user);
    g_free(world->account.target.tunnel);
    g_free(world->dir);
    g_free(world->state);
    g_free(world->cache);
    g_free(world);
    return 0;
}
