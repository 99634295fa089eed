/* selected.c - which mailbox is selected, and which one the server is talking about.
 *
 * The one rule: data about messages belongs to the mailbox that was selected when the server said
 * it. While a SELECT is in flight that is the old one until all commands before it are answered
 * and, with QRESYNC, [CLOSED] came (RFC 7162 3.2.11); then the new one. With none, it is dropped.
 */
#include "session_impl.h"

#include <string.h>

#include "imapfs/wire/mailbox_name.h"

typedef struct {
    Session *session;
    char *mailbox;
    bool examine;
    bool wants_qresync;
    guint32 uidvalidity; /* what QRESYNC was asked for */
    bool saw_exists;
    guint n_asked;
    SelectResult result;
} SelectJob;

static void result_clear(SelectResult *result)
{
    flags_clear(&result->permanent_flags);
    g_free(result->mailboxid);
    memset(result, 0, sizeof *result);
}

static void job_free(SelectJob *job)
{
    result_clear(&job->result);
    g_free(job->mailbox);
    g_free(job);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SelectJob, job_free)

static void select_done(Command *command, CommandResult result, const Response *tagged,
                        gpointer data);

/* --- where a SELECT stands --- */

static Command *select_in_flight(const Session *session)
{
    for (GList *l = session->queue.in_flight.head; l; l = l->next)
        if (((Command *)l->data)->on_done == select_done)
            return l->data;
    return NULL;
}

/* The job that the server is at work on: all commands before it are answered. */
static SelectJob *current_job(const Session *session)
{
    const GList *head = session->queue.in_flight.head;
    const Command *command = head ? head->data : NULL;
    return command && command->on_done == select_done ? command->data : NULL;
}

bool selected_is_selecting(const Session *session)
{
    return select_in_flight(session) != NULL;
}

guint64 selected_exists(const Session *session)
{
    const SelectJob *job = current_job(session);
    return MAX(session->selected.exists, job ? job->result.exists : 0);
}

/* [CLOSED] has come, or is not to be expected. */
static bool is_past_boundary(const Session *session)
{
    return !session->selected.mailbox || !session->qresync;
}

void selected_clear(Session *session)
{
    g_clear_pointer(&session->selected.mailbox, g_free);
    g_clear_pointer(&session->selected.intent, g_free);
}

const char *session_mailbox(const Session *session)
{
    return session->selected.intent;
}

bool session_is_switching(const Session *session)
{
    return session->selected.n_answered != session->selected.n_asked;
}

/* --- untagged data --- */

static void track_exists(Session *session, guint64 *exists, const Response *response)
{
    if (response->kind == RESP_EXISTS && response->number > G_MAXUINT32)
        session_violation(session, "a mailbox of more than 2^32 messages");
    else if (response->kind == RESP_EXISTS)
        *exists = response->number;
    else if (response->kind == RESP_EXPUNGE)
        *exists -= *exists > 0;
    else if (response->kind == RESP_VANISHED && !response->earlier && response->uids)
        *exists -= MIN(*exists, uidset_count(response->uids));
}

/* In a SELECT only QRESYNC brings messages; an EXPUNGE has nothing yet that it could mean. */
static bool belongs_to_select(const SelectJob *job, const Response *response)
{
    if (response->kind == RESP_FETCH)
        return job->wants_qresync;
    if (response->kind == RESP_VANISHED)
        return job->wants_qresync && response->earlier;
    return response->kind != RESP_EXPUNGE;
}

static void on_select_data(Session *session, SelectJob *job, Response *response)
{
    if (!belongs_to_select(job, response))
        return;
    guint64 exists = job->result.exists;
    track_exists(session, &exists, response);
    job->result.exists = (guint32)exists;
    job->saw_exists |= response->kind == RESP_EXISTS;
    if (is_past_boundary(session))
        session_tell_untagged(session, job->mailbox, response);
}

void selected_on_data(Session *session, Response *response)
{
    SelectJob *job = current_job(session);
    if (job && (is_past_boundary(session) || response->kind == RESP_EXISTS)) {
        on_select_data(session, job, response);
        return;
    }
    /* What a SELECT brings of the past is not the old mailbox's, even where [CLOSED] is left out.
     */
    if (!session->selected.mailbox || (job && response->earlier))
        return;
    /* Behind LOGOUT, too: a command that is answered with OK must have had all of its answer. */
    track_exists(session, &session->selected.exists, response);
    if (!queue_offer(session, response, select_in_flight(session)) &&
        session->state == SESSION_READY)
        session_tell_untagged(session, session->selected.mailbox, response);
}

/* "MAILBOXID (F2212ea87-6097)" (RFC 8474 4.1): 1 to 255 of letters, digits, "_" and "-". */
static char *parse_mailboxid(const char *text)
{
    if (!text || g_ascii_strncasecmp(text, "MAILBOXID", 9) != 0)
        return NULL;
    text += 9 + strspn(text + 9, " (");
    gsize length = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");
    return length > 0 && length <= 255 ? g_strndup(text, length) : NULL;
}

static guint32 number32(const Response *response)
{
    return response->number <= G_MAXUINT32 ? (guint32)response->number : 0;
}

static void note_code(SelectResult *result, const Response *response)
{
    switch (response->code) {
    case CODE_UIDVALIDITY:
        result->uidvalidity = number32(response);
        break;
    case CODE_UIDNEXT:
        result->uidnext = number32(response);
        break;
    case CODE_HIGHESTMODSEQ: /* 63 bits (RFC 7162 7) */
        result->highestmodseq = response->number <= G_MAXINT64 ? response->number : 0;
        break;
    case CODE_NOMODSEQ:
        result->highestmodseq = 0;
        break;
    case CODE_UIDNOTSTICKY:
        result->uid_not_sticky = true;
        break;
    case CODE_READ_ONLY:
        result->read_only = true;
        break;
    case CODE_READ_WRITE:
        result->read_only = false;
        break;
    case CODE_PERMANENTFLAGS:
        flags_clear(&result->permanent_flags);
        flags_add_all(&result->permanent_flags, &response->flags);
        result->has_permanent_flags = true;
        break;
    case CODE_OTHER: {
        char *id = parse_mailboxid(response->code_text);
        if (id) {
            g_free(result->mailboxid);
            result->mailboxid = id;
        }
        break;
    }
    default:
        break;
    }
}

bool selected_on_status(Session *session, const Response *response)
{
    SelectJob *job = current_job(session);
    if (!job)
        return false;
    if (response->code == CODE_CLOSED && session->selected.mailbox) {
        job->saw_exists = false;
        result_clear(&job->result);
        g_clear_pointer(&session->selected.mailbox, g_free);
        session->selected.exists = 0;
        return true;
    }
    note_code(&job->result, response);
    return true;
}

/* --- SELECT --- */

static ImapfsError refusal(CommandResult result, ResponseCode code)
{
    switch (code) {
    case CODE_NONEXISTENT:
        return IMAPFS_ERROR_NOT_FOUND;
    case CODE_NOPERM:
    case CODE_AUTHORIZATIONFAILED:
        return IMAPFS_ERROR_DENIED;
    case CODE_OVERQUOTA:
        return IMAPFS_ERROR_QUOTA;
    default:
        return IMAPFS_ERROR_SERVER;
    }
}

static void select_succeeded(Session *session, SelectJob *job, const Response *tagged)
{
    note_code(&job->result, tagged);
    job->result.examined = job->examine;
    job->result.read_only |= job->examine;
    /* Without [CLOSED] nobody knows which mailbox the delta was of. */
    job->result.qresync = job->wants_qresync && is_past_boundary(session) &&
                          job->result.highestmodseq != 0 &&
                          job->result.uidvalidity == job->uidvalidity;
    g_free(session->selected.mailbox);
    session->selected.mailbox = g_strdup(job->mailbox);
    session->selected.exists = job->result.exists;
    if (session->events.on_selected)
        session->events.on_selected(session, job->mailbox, &job->result, NULL, session->data);
}

static GError *select_error(const SelectJob *job, CommandResult result, const Response *tagged)
{
    g_autofree char *name = log_printable(job->mailbox, strlen(job->mailbox), 200);
    if (!tagged)
        return G_ERRORF(LOST, "%s: the connection was lost", name);
    g_autofree char *text = session_text(job->session, tagged);
    return g_error_new(IMAPFS_ERROR, refusal(result, tagged->code), "%s: the server says: %s", name,
                       text);
}

/* RFC 9051 6.3.2: then nothing is selected, not even what was before. */
static void select_failed(Session *session, SelectJob *job, CommandResult result,
                          const Response *tagged)
{
    GQueue doomed = G_QUEUE_INIT;
    g_clear_pointer(&session->selected.mailbox, g_free);
    session->selected.exists = 0;
    if (session->selected.n_asked == job->n_asked)
        g_clear_pointer(&session->selected.intent, g_free);
    if (result == COMMAND_BAD && job->wants_qresync)
        session->qresync = false; /* then it does not mean it; the next SELECT goes without */
    if (tagged)
        queue_void_behind(session, &doomed);
    g_autoptr(GError) error = select_error(job, result, tagged);
    if (session->events.on_selected)
        session->events.on_selected(session, job->mailbox, NULL, error, session->data);
    queue_answer_lost(session, &doomed);
}

static void select_done(Command *command, CommandResult result, const Response *tagged,
                        gpointer data)
{
    g_autoptr(SelectJob) job = data;
    job->session->selected.n_answered++;
    if (result == COMMAND_OK && !job->saw_exists) { /* it would seem that all messages are gone */
        session_violation(job->session, "SELECT brought no EXISTS");
        select_failed(job->session, job, COMMAND_LOST, NULL);
    } else if (result == COMMAND_OK) {
        select_succeeded(job->session, job, tagged);
    } else {
        select_failed(job->session, job, result, tagged);
    }
}

#define KNOWN_ROOM 512u /* octets of a SELECT besides name and known UIDs */

static void add_qresync(Session *session, Command *command, const SelectParams *params)
{
    command_text_add(command->text, " (QRESYNC (%" G_GUINT32_FORMAT " %" G_GUINT64_FORMAT,
                     params->uidvalidity, params->modseq);
    if (params->known && !uidset_is_empty(params->known)) {
        g_autoptr(GString) known = g_string_new(NULL);
        uidset_print(params->known, known);
        if (known->len + command_text_length(command->text) + KNOWN_ROOM <
            session_line_limit(session))
            command_text_add(command->text, " %s", known->str);
    }
    command_text_add(command->text, "))");
}

void session_select(Session *session, const SelectParams *params)
{
    SelectJob *job = g_new0(SelectJob, 1);
    job->session = session;
    job->mailbox = g_strdup(params->mailbox);
    job->examine = params->examine;
    job->n_asked = ++session->selected.n_asked;
    job->wants_qresync = session->qresync && params->modseq != 0 && params->uidvalidity != 0;
    job->uidvalidity = params->uidvalidity;
    g_free(session->selected.intent);
    session->selected.intent = g_strdup(params->mailbox);

    Command *command = command_new(LANE_FOREGROUND, select_done, job);
    command_text_add(command->text, params->examine ? "EXAMINE " : "SELECT ");
    command_text_add_mailbox(command->text, params->mailbox, session->utf8);
    if (job->wants_qresync)
        add_qresync(session, command, params);
    else if (session->condstore && !session->qresync)
        command_text_add(command->text, " (CONDSTORE)");
    queue_submit_barrier(session, command);
}

static void unselect_done(Command *command, CommandResult result, const Response *tagged,
                          gpointer data)
{
    Session *session = data;
    session->selected.n_answered++;
    if (result == COMMAND_LOST)
        return;
    g_clear_pointer(&session->selected.mailbox, g_free);
    session->selected.exists = 0;
}

/* Never CLOSE: after SELECT it expunges what others marked (RFC 9051 6.4.1). A failing EXAMINE has
 * the effect of UNSELECT. */
void session_unselect(Session *session)
{
    if (!session->selected.intent)
        return;
    g_clear_pointer(&session->selected.intent, g_free);
    session->selected.n_asked++;
    bool can = server_can(&session->server, CAP_UNSELECT);
    queue_submit_barrier(session,
                         session_command(session, unselect_done, "%s",
                                         can ? "UNSELECT" : "EXAMINE imapfs-no-such-mailbox"));
}
