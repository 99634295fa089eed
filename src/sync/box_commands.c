/* box_commands.c - CREATE, DELETE, RENAME and what goes with them: the questions before, and the
 * subscriptions behind.
 *
 * The rule: DELETE is only sent right behind a STATUS that said that nothing is in the mailbox. An
 * account whose mailboxes are subscribed (LSUB names any) has those that are made here subscribed,
 * and those that are renamed under their new names; what becomes of that changes nothing else. */
#include "box_ops.h"

#include <string.h>

#include "imapfs/base/fault.h"
#include "imapfs/base/limits.h"
#include "imapfs/base/log.h"
#include "imapfs/wire/mailbox_name.h"

static void send_change(BoxOp *self);
static void send_subscriptions(BoxOp *self);

/* The step that all commands in flight belong to has ended. */
static void step_over(BoxOp *self, void (*next)(BoxOp *self))
{
    if (--self->in_flight > 0)
        return;
    if (next && self->outcome == OUTCOME_DONE && !self->ended)
        next(self);
    else
        box_op_over(self);
}

static void submit_on(BoxOp *self, Session *session, Command *command)
{
    self->in_flight++;
    session_submit(session, command);
}

static void submit(BoxOp *self, Command *command)
{
    submit_on(self, self->session, command);
}

static void add_mailbox(BoxOp *self, Command *command, const char *name)
{
    command_text_add_mailbox(command->text, name, session_utf8(self->session));
}

/* --- before: is it empty, and are mailboxes subscribed here? --- */

static bool on_lsub(Command *command, Response *response, gpointer data)
{
    BoxOp *self = data;
    const ListItem *item = response->list;
    if (response->kind != RESP_LSUB || !item)
        return false;
    char *name = mailbox_name_from_wire(item->name, item->name_length, session_utf8(self->session),
                                        item->delimiter);
    if (name && !(item->attributes & LIST_NOSELECT) &&
        g_hash_table_size(self->subscribed) < LIMIT_MAILBOXES)
        g_hash_table_add(self->subscribed, name);
    else
        g_free(name);
    return true;
}

/* A server that does not know it has no subscriptions. */
static void on_lsub_done(Command *command, CommandResult result, const Response *tagged,
                         gpointer data)
{
    BoxOp *self = data;
    if (result == COMMAND_LOST)
        box_op_note(self, OUTCOME_LATER, "the connection was lost", IMAPFS_ERROR_LOST);
    step_over(self, send_change);
}

static void ask_subscribed(BoxOp *self)
{
    Command *command = command_new(LANE_FOREGROUND, on_lsub_done, self);
    command_text_add(command->text, "LSUB \"\" \"*\"");
    command->wants = 1ull << RESP_LSUB;
    command->expected = LIMIT_MAILBOXES / LIMIT_UNTAGGED_FACTOR;
    command->on_untagged = on_lsub;
    submit(self, command);
}

/* Nothing is shown in it, so the rows that there are were deleted here, and are only marked. */
static char *not_empty_words(const BoxOp *self, guint32 n)
{
    g_autoptr(UidSet) rows = store_msg_uids(store_reader(self->engine->store), self->op.box);
    guint marked = (guint)MIN(uidset_count(rows), n);
    return marked == 0
               ? g_strdup_printf("there are %u messages in it that were not shown here", n)
               : g_strdup_printf("there are %u messages in it, %u of which were deleted here, but "
                                 "this server cannot expunge single ones (no UIDPLUS): expunge "
                                 "the mailbox with another program, then retry",
                                 n, marked);
}

static bool on_status(Command *command, Response *response, gpointer data)
{
    BoxOp *self = data;
    const StatusItem *status = response->status;
    if (response->kind != RESP_STATUS || !status || !(status->present & STATUS_MESSAGES))
        return false;
    g_autofree char *name = mailbox_name_from_wire(status->name, status->name_length,
                                                   session_utf8(self->session), self->delimiter);
    if (g_strcmp0(name, self->name) != 0)
        return false;
    self->selectable = false; /* answered */
    if (status->messages > 0) {
        g_autofree char *words = not_empty_words(self, status->messages);
        box_op_note(self, OUTCOME_PARK, words, IMAPFS_ERROR_CONFLICT);
    }
    return true;
}

static void note_refusal(BoxOp *self, CommandResult result, const Response *tagged)
{
    g_autofree char *words = outcome_words(result, tagged);
    box_op_note(self, outcome_of(result, tagged), words, outcome_error(tagged));
}

static void on_status_done(Command *command, CommandResult result, const Response *tagged,
                           gpointer data)
{
    BoxOp *self = data;
    if (result == COMMAND_NO && tagged && tagged->code == CODE_NONEXISTENT)
        self->ended = true;          /* somebody else has removed it */
    else if (result == COMMAND_LOST) /* nothing was changed by it */
        box_op_note(self, OUTCOME_LATER, "the connection was lost", IMAPFS_ERROR_LOST);
    else if (result != COMMAND_OK)
        note_refusal(self, result, tagged);
    else if (self->selectable)
        box_op_note(self, OUTCOME_REFUSED, "the server did not say what is in it",
                    IMAPFS_ERROR_PROTOCOL);
    step_over(self, send_change);
}

static void ask_empty(BoxOp *self)
{
    Command *command = command_new(LANE_FOREGROUND, on_status_done, self);
    command_text_add(command->text, "STATUS ");
    add_mailbox(self, command, self->name);
    command_text_add(command->text, " (MESSAGES)");
    command->wants = 1ull << RESP_STATUS;
    command->expected = 1;
    command->on_untagged = on_status;
    submit(self, command);
}

/* --- before: has every other session left it? --- */

static void on_left(Command *command, CommandResult result, const Response *tagged, gpointer data)
{
    step_over(data, send_change);
}

/* It was told to (box_ops.c); what is answered behind that says that it has. */
static void await_left(Session *session, gpointer data)
{
    BoxOp *self = data;
    if (session == self->session || !session_is_switching(session))
        return;
    Command *command = command_new(LANE_FOREGROUND, on_left, self);
    command_text_add(command->text, "NOOP");
    submit_on(self, session, command);
}

/* --- the change --- */

/* What a refusal says of the state that was wanted. */
static bool is_done_already(const BoxOp *self, const Response *tagged)
{
    return (self->op.kind == LOG_MKBOX && tagged->code == CODE_ALREADYEXISTS) ||
           (self->op.kind == LOG_RMBOX && tagged->code == CODE_NONEXISTENT);
}

/* It may have been done, by somebody: LIST tells. Not every server says so by a code. */
static bool is_to_be_looked_for(const BoxOp *self, CommandResult result, const Response *tagged)
{
    return result == COMMAND_NO && self->op.attempts == 0 &&
           (outcome_of(result, tagged) == OUTCOME_REFUSED || tagged->code == CODE_NONEXISTENT ||
            tagged->code == CODE_ALREADYEXISTS);
}

static void on_change_done(Command *command, CommandResult result, const Response *tagged,
                           gpointer data)
{
    BoxOp *self = data;
    FAULT("boxes.answered");
    if (result == COMMAND_NO && tagged && is_done_already(self, tagged))
        ;
    else if (result == COMMAND_LOST || !tagged)
        box_op_note(self, OUTCOME_LOST, NULL, IMAPFS_ERROR_LOST);
    else if (is_to_be_looked_for(self, result, tagged))
        box_op_note(self, OUTCOME_UNSURE, tagged->text, IMAPFS_ERROR_LOST);
    else if (result != COMMAND_OK)
        note_refusal(self, result, tagged);
    step_over(self, send_subscriptions);
}

static void send_change(BoxOp *self)
{
    static const char *const verbs[] = {
        [LOG_MKBOX] = "CREATE ", [LOG_RMBOX] = "DELETE ", [LOG_RENBOX] = "RENAME "};
    Command *command = command_new(LANE_FOREGROUND, on_change_done, self);
    command_text_add(command->text, "%s", verbs[self->op.kind]);
    add_mailbox(self, command, self->name);
    if (self->op.kind == LOG_RENBOX) {
        command_text_add(command->text, " ");
        add_mailbox(self, command, self->target);
    }
    submit(self, command);
    FAULT("boxes.sent");
}

/* --- behind it: subscriptions --- */

static void on_subscribed(Command *command, CommandResult result, const Response *tagged,
                          gpointer data)
{
    if (result == COMMAND_NO || result == COMMAND_BAD) {
        g_autofree char *words = outcome_words(result, tagged);
        log_info("replay", "a subscription was not changed: %s", words);
    }
    step_over(data, NULL);
}

static void subscribe(BoxOp *self, const char *name, bool on)
{
    Command *command = command_new(LANE_FOREGROUND, on_subscribed, self);
    command_text_add(command->text, on ? "SUBSCRIBE " : "UNSUBSCRIBE ");
    add_mailbox(self, command, name);
    submit(self, command);
}

static bool is_of(const BoxOp *self, const char *name)
{
    gsize length = strlen(self->name);
    return strncmp(name, self->name, length) == 0 &&
           (name[length] == '\0' || (self->delimiter && name[length] == self->delimiter));
}

static void send_subscriptions(BoxOp *self)
{
    GHashTableIter iter;
    gpointer key;
    self->in_flight++; /* holds the end back until all are submitted */
    if (self->op.kind == LOG_MKBOX && g_hash_table_size(self->subscribed) > 0)
        subscribe(self, self->name, true);
    g_hash_table_iter_init(&iter, self->subscribed);
    while (self->op.kind != LOG_MKBOX && g_hash_table_iter_next(&iter, &key, NULL)) {
        if (!is_of(self, key) || (self->op.kind == LOG_RMBOX && strcmp(key, self->name) != 0))
            continue;
        subscribe(self, key, false);
        if (self->op.kind == LOG_RENBOX) {
            g_autofree char *name =
                g_strconcat(self->target, (const char *)key + strlen(self->name), NULL);
            subscribe(self, name, true);
        }
    }
    step_over(self, NULL);
}

void box_commands_start(BoxOp *self)
{
    self->in_flight++;
    ask_subscribed(self);
    if (self->op.kind == LOG_RMBOX && self->selectable)
        ask_empty(self);
    if (self->op.kind != LOG_MKBOX)
        pool_each_session(self->engine->pool, await_left, self);
    step_over(self, send_change);
}
