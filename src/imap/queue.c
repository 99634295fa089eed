/* queue.c - commands waiting and in flight: what is sent when, and whose answer is whose.
 *
 * The one rule: the policy of pipelining is queue_next(), and nothing else decides what is written.
 * Segments keep what was submitted for one mailbox from meeting another: a SELECT is sent when all
 * of its predecessors were, whatever their lane. */
#include "session_impl.h"

#include <string.h>

/* --- what a command needs, by its verb --- */

enum {
    NEEDS_MAILBOX = 1, /* makes sense in a selected mailbox only */
    NEEDS_SETTLED = 2, /* changes something: never behind a SELECT that may yet fail */
};

static const struct {
    const char *verb;
    guint8 needs;
} verbs[] = {
    {"UID FETCH ", NEEDS_MAILBOX},
    {"UID SEARCH ", NEEDS_MAILBOX},
    {"FETCH ", NEEDS_MAILBOX},
    {"SEARCH ", NEEDS_MAILBOX},
    {"NOOP", 0},
    {"CAPABILITY", 0},
    {"ID ", 0},
    {"LIST ", 0},
    {"LSUB ", 0},
    {"STATUS ", 0},
    {"NAMESPACE", 0},
    {"GETQUOTA ", 0},
    {"GETQUOTAROOT ", 0},
    {"GETACL ", 0},
    {"MYRIGHTS ", 0},
    {"APPEND ", NEEDS_SETTLED},
    {"CREATE ", NEEDS_SETTLED},
    {"DELETE ", NEEDS_SETTLED},
    {"RENAME ", NEEDS_SETTLED},
    {"SUBSCRIBE ", NEEDS_SETTLED},
    {"UNSUBSCRIBE ", NEEDS_SETTLED},
};

static guint8 command_needs(const Command *command)
{
    g_autofree char *text = command_text_describe(command->text);
    for (gsize i = 0; i < G_N_ELEMENTS(verbs); i++)
        if (g_ascii_strncasecmp(text, verbs[i].verb, strlen(verbs[i].verb)) == 0)
            return verbs[i].needs;
    return NEEDS_MAILBOX | NEEDS_SETTLED; /* STORE, COPY, MOVE, EXPUNGE, and what we do not know */
}

/* --- queues --- */

static Segment *segment_new(Command *barrier)
{
    Segment *segment = g_new0(Segment, 1);
    segment->barrier = barrier;
    g_queue_init(&segment->lanes[LANE_FOREGROUND]);
    g_queue_init(&segment->lanes[LANE_BACKGROUND]);
    return segment;
}

static bool segment_is_empty(const Segment *segment)
{
    return !segment->barrier && segment->lanes[LANE_FOREGROUND].length == 0 &&
           segment->lanes[LANE_BACKGROUND].length == 0;
}

void queue_init(Queue *queue)
{
    g_queue_init(&queue->internal);
    g_queue_init(&queue->segments);
    g_queue_init(&queue->in_flight);
    g_queue_push_tail(&queue->segments, segment_new(NULL));
    queue->outbox = outbox_new();
}

void queue_clear(Queue *queue)
{
    g_queue_clear_full(&queue->segments, g_free);
    g_clear_pointer(&queue->outbox, outbox_free);
}

static void command_free(Command *command)
{
    g_clear_pointer(&command->pieces, g_array_unref);
    command_text_free(command->text);
    g_free(command->tag);
    g_free(command);
}

void queue_finish_command(Session *session, Command *command, CommandResult result,
                          const Response *tagged)
{
    if (session->queue.literal == command)
        session->queue.literal = NULL;
    if (command->cancelled && result != COMMAND_LOST)
        result = COMMAND_CANCELLED;
    else if (command->void_mailbox && result == COMMAND_OK)
        result = COMMAND_LOST; /* RFC 9051 6.3.2: nothing is selected; a server that says OK errs */
    if (result == COMMAND_LOST || result == COMMAND_CANCELLED)
        tagged = NULL;
    if (command->on_done)
        command->on_done(command, result, tagged, command->data);
    command_free(command);
}

static Command *pop_any(Queue *queue)
{
    Command *command = g_queue_pop_head(&queue->in_flight);
    if (!command)
        command = g_queue_pop_head(&queue->internal);
    while (!command) {
        Segment *segment = g_queue_peek_head(&queue->segments);
        command = g_steal_pointer(&segment->barrier);
        for (int lane = 0; !command && lane < 2; lane++)
            command = g_queue_pop_head(&segment->lanes[lane]);
        if (command || queue->segments.length == 1)
            return command;
        g_free(g_queue_pop_head(&queue->segments));
    }
    return command;
}

static guint count_all(const Queue *queue)
{
    guint n = queue->in_flight.length + queue->internal.length;
    for (const GList *l = queue->segments.head; l; l = l->next) {
        const Segment *segment = l->data;
        n += (segment->barrier != NULL) + segment->lanes[0].length + segment->lanes[1].length;
    }
    return n;
}

/* As many as there are now: who hears of it and submits again is answered when the end of the
 * session was told, or this would not end. */
void queue_lose_all(Session *session)
{
    Command *command;
    for (guint n = count_all(&session->queue); n > 0 && (command = pop_any(&session->queue)); n--)
        queue_finish_command(session, command, COMMAND_LOST, NULL);
}

/* --- submitting --- */

void session_submit(Session *session, Command *command)
{
    Segment *segment = g_queue_peek_tail(&session->queue.segments);
    command->needs = command_needs(command);
    g_queue_push_tail(&segment->lanes[command->lane], command);
    session_wake(session);
}

void queue_submit_internal(Session *session, Command *command)
{
    g_queue_push_tail(&session->queue.internal, command);
    session_wake(session);
}

void queue_submit_barrier(Session *session, Command *command)
{
    g_queue_push_tail(&session->queue.segments, segment_new(command));
    session_wake(session);
}

void session_cancel(Session *session, Command *command)
{
    for (GList *l = session->queue.segments.head; l; l = l->next) {
        Segment *segment = l->data;
        if (!g_queue_remove(&segment->lanes[LANE_FOREGROUND], command) &&
            !g_queue_remove(&segment->lanes[LANE_BACKGROUND], command))
            continue;
        queue_finish_command(session, command, COMMAND_CANCELLED, NULL);
        return;
    }
    if (g_queue_find(&session->queue.in_flight, command))
        command->cancelled = true;
}

void session_hurry(Session *session, Command *command)
{
    for (GList *l = session->queue.segments.head; l; l = l->next) {
        Segment *segment = l->data;
        if (!g_queue_remove(&segment->lanes[LANE_BACKGROUND], command))
            continue;
        g_queue_push_tail(&segment->lanes[LANE_FOREGROUND], command);
        session_wake(session);
        return;
    }
}

guint session_queued(const Session *session)
{
    guint n = 0;
    for (GList *l = session->queue.segments.head; l; l = l->next) {
        const Segment *segment = l->data;
        n += (segment->barrier != NULL) + segment->lanes[0].length + segment->lanes[1].length;
    }
    return n;
}

guint session_in_flight(const Session *session)
{
    return session->queue.in_flight.length - (session->idle.command ? 1 : 0);
}

bool queue_is_quiet(const Session *session)
{
    return session->queue.internal.length == 0 && session_queued(session) == 0 &&
           session_in_flight(session) == 0;
}

/* --- the policy --- */

#define KEPT_FREE 2u        /* places for what somebody waits for, ... */
#define BACKGROUND_LARGE 2u /* ... and all but so many while much is to come for nobody yet */
#define BACKGROUND_BYTES (768u * 1024)
#define FOREGROUND_FEW 2u /* with more in flight, the background waits */

static guint count_lane(const Session *session, CommandLane lane)
{
    guint n = 0;
    for (GList *l = session->queue.in_flight.head; l; l = l->next) {
        const Command *command = l->data;
        n += command != session->idle.command && command->lane == lane && !command->brief;
    }
    return n;
}

/* What a foreground command may have to wait for. Some servers (Dovecot) work on a few commands at
 * a time and end them together: with no more than these in flight the link is idle for a round trip
 * after each such group. */
static bool background_has_room(const Session *session)
{
    guint n = 0;
    guint64 weight = 0;
    for (GList *l = session->queue.in_flight.head; l; l = l->next) {
        const Command *command = l->data;
        if (command == session->idle.command || command->lane != LANE_BACKGROUND)
            continue;
        n++;
        weight += command->weight;
    }
    return n < (weight < BACKGROUND_BYTES ? LIMIT_PIPELINE - KEPT_FREE : BACKGROUND_LARGE);
}

static bool is_alone_in_flight(const Session *session)
{
    const GList *last = session->queue.in_flight.tail;
    return last && ((const Command *)last->data)->alone;
}

/* "Suggested Backoff Time: N milliseconds" (Exchange): what nobody waits for waits. */
#define THROTTLE_MAX_MS (5 * 60 * 1000)

static void note_throttle(Session *session, const Response *response)
{
    if (response->backoff_ms <= 0)
        return;
    gint64 ms = MIN(response->backoff_ms, THROTTLE_MAX_MS);
    session->queue.throttled_us = clock_mono_us() + ms * 1000;
    log_info(LOG_IMAP, "%s: the server asks for %" G_GINT64_FORMAT " s of patience", session->label,
             ms / 1000);
}

static bool is_throttled(const Session *session)
{
    return clock_mono_us() < session->queue.throttled_us;
}

gint64 queue_throttled_until(const Session *session)
{
    return is_throttled(session) && session_queued(session) > 0 ? session->queue.throttled_us : 0;
}

static bool lane_has_room(const Session *session, CommandLane lane)
{
    if (session_in_flight(session) >= LIMIT_PIPELINE)
        return false;
    return lane == LANE_FOREGROUND || (!is_throttled(session) && background_has_room(session) &&
                                       count_lane(session, LANE_FOREGROUND) <= FOREGROUND_FEW);
}

static bool may_follow(const Session *session, const Command *command)
{
    if (command->alone && session->queue.in_flight.length > 0)
        return false;
    return !((command->needs & NEEDS_SETTLED) && selected_is_selecting(session));
}

/* The head of a lane, when it may be sent now. A head that may not holds the line: the order within
 * a lane is a promise, and so is that nothing overtakes a foreground command. */
static GQueue *next_source(Session *session)
{
    Queue *queue = &session->queue;
    if (queue->internal.length > 0)
        return may_follow(session, queue->internal.head->data) ? &queue->internal : NULL;
    if (session->state != SESSION_READY)
        return NULL;

    Segment *segment = g_queue_peek_head(&queue->segments);
    while (segment_is_empty(segment) && queue->segments.length > 1) {
        g_free(g_queue_pop_head(&queue->segments));
        segment = g_queue_peek_head(&queue->segments);
    }
    if (segment->barrier) {
        if (selected_is_selecting(session) || !lane_has_room(session, LANE_FOREGROUND))
            return NULL;
        g_queue_push_head(&queue->internal, g_steal_pointer(&segment->barrier));
        return &queue->internal;
    }
    for (int lane = LANE_FOREGROUND; lane <= LANE_BACKGROUND; lane++) {
        GQueue *source = &segment->lanes[lane];
        if (source->length == 0)
            continue;
        bool now =
            lane_has_room(session, (CommandLane)lane) && may_follow(session, source->head->data);
        return now ? source : NULL;
    }
    return NULL;
}

static bool has_work(const Session *session)
{
    return session->queue.internal.length > 0 ||
           (session->state == SESSION_READY && session_queued(session) > 0);
}

/* What to send next, taken off its queue; NULL when nothing may be sent now. In this order: a
 * literal that waits for "+" and a command that is alone hold everything; IDLE is left first; our
 * own commands come before the owner's; then the next segment's SELECT; then the foreground; then
 * the background. */
static Command *queue_next(Session *session)
{
    if (session->queue.literal || is_alone_in_flight(session) || !has_work(session))
        return NULL;
    if (session->idle.state != IDLE_OFF && !idle_make_way(session))
        return NULL;
    GQueue *source = next_source(session);
    return source ? g_queue_pop_head(source) : NULL;
}

/* --- sending --- */

static LiteralMode literal_mode(const Session *session)
{
    if (server_can(&session->server, CAP_LITERAL_PLUS))
        return LITERAL_PLUS;
    return server_can(&session->server, CAP_LITERAL_MINUS) ? LITERAL_MINUS : LITERAL_SYNC;
}

/* Writes pieces up to the next wait for "+", or to the end. */
static void send_pieces(Session *session, Command *command)
{
    Queue *queue = &session->queue;
    queue->literal = NULL;
    command->progress_us = clock_mono_us();
    while (command->next_piece < command->pieces->len) {
        const CommandPiece *piece =
            &g_array_index(command->pieces, CommandPiece, command->next_piece++);
        if (piece->file)
            outbox_add_file(queue->outbox, piece->file);
        else
            outbox_add_piece(queue->outbox, command->pieces, piece->bytes, piece->secret);
        if (piece->wait_continue) {
            queue->literal = command;
            return;
        }
    }
    command->end_offset = outbox_added(queue->outbox);
    /* The outbox keeps the bytes until they are written; a password is not kept for longer. */
    g_clear_pointer(&command->pieces, g_array_unref);
    g_clear_pointer(&command->text, command_text_free);
}

/* What wire will not write (a NUL in a name) is answered as the server would have. */
static void refuse(Session *session, Command *command)
{
    g_autofree char *text = command_text_describe(command->text);
    log_warn(LOG_IMAP, "%s: not fit to be sent: %s", session->label, text);
    g_autoptr(Response) answer = g_new0(Response, 1);
    answer->kind = RESP_BAD;
    answer->tag = g_strdup(command->tag);
    answer->text = g_strdup("not fit to be sent");
    queue_finish_command(session, command, COMMAND_BAD, answer);
}

static void queue_start(Session *session, Command *command)
{
    Queue *queue = &session->queue;
    command->tag = g_strdup_printf("A%u", ++queue->n_tags);
    command->pieces = command_text_pieces(command->text, command->tag, literal_mode(session));
    if (!command->pieces) {
        refuse(session, command);
        return;
    }
    command->sent_us = clock_mono_us();
    if (log_debug_on(LOG_IMAP)) {
        g_autofree char *text = command_text_describe(command->text);
        log_debug(LOG_IMAP, "%s: %s %s", session->label, command->tag, text);
    }
    queue->n_stray = queue->stray_exists = 0;
    command->begin_offset = outbox_added(queue->outbox);
    g_queue_push_tail(&queue->in_flight, command);
    send_pieces(session, command);
}

void queue_run(Session *session)
{
    Command *command;
    while ((command = queue_next(session)))
        queue_start(session, command);
}

/* --- answers --- */

static Command *find_tag(Queue *queue, const char *tag)
{
    for (GList *l = queue->in_flight.head; l; l = l->next)
        if (strcmp(((Command *)l->data)->tag, tag) == 0)
            return l->data;
    return NULL;
}

static bool is_wholly_sent(const Session *session, const Command *command)
{
    return command->end_offset > 0 && outbox_written(session->queue.outbox) >= command->end_offset;
}

/* NO and BAD may come early: a literal refused instead of "+", or while it is sent. OK may not. */
static bool answer_is_due(const Session *session, const Command *command, ResponseKind kind)
{
    if (is_wholly_sent(session, command))
        return true;
    return kind != RESP_OK && outbox_written(session->queue.outbox) > command->begin_offset;
}

void queue_on_tagged(Session *session, const Response *response)
{
    Command *command = find_tag(&session->queue, response->tag);
    if (!command && idle_on_unknown_tag(session, response))
        return;
    if (!command) {
        session_violation(session, "an answer to a command that was not sent");
        return;
    }
    if (!answer_is_due(session, command, response->kind)) {
        session_violation(session, "an answer before the command was whole");
        return;
    }
    g_queue_remove(&session->queue.in_flight, command);
    note_throttle(session, response);
    log_debug(LOG_IMAP, "%s: %s %s", session->label, command->tag,
              response_kind_name(response->kind));
    queue_finish_command(session, command,
                         response->kind == RESP_OK   ? COMMAND_OK
                         : response->kind == RESP_NO ? COMMAND_NO
                                                     : COMMAND_BAD,
                         response);
}

void queue_on_continue(Session *session, const Response *response)
{
    Command *literal = session->queue.literal;
    bool asked = outbox_written(session->queue.outbox) == outbox_added(session->queue.outbox);
    if (literal && asked)
        send_pieces(session, literal);
    else if (!login_on_continue(session, response) && !idle_on_continue(session))
        session_violation(session, "\"+\" that nobody waits for");
}

bool queue_count_untagged(Session *session)
{
    Command *command = g_queue_peek_head(&session->queue.in_flight);
    guint64 *count = command ? &command->n_untagged : &session->queue.n_stray;
    guint64 *exists = command ? &command->most_exists : &session->queue.stray_exists;
    /* Whatever is asked, news of every message of the mailbox may come with the answer: that it is
     * gone, too. */
    *exists = MAX(*exists, MIN(selected_exists(session), 10000000));
    guint64 expected = *exists + (command ? command->expected : 0);
    return ++*count <= LIMIT_UNTAGGED_BASE + LIMIT_UNTAGGED_FACTOR * expected;
}

bool queue_offer(Session *session, Response *response, const Command *until)
{
    guint64 bit = (guint64)1 << response->kind;
    GList *next;
    for (GList *l = session->queue.in_flight.head; l && l->data != until; l = next) {
        Command *command = l->data;
        next = l->next;
        if (!(command->wants & bit) || !command->on_untagged || command->void_mailbox ||
            !is_wholly_sent(session, command))
            continue;
        if (command->on_untagged(command, response, command->data))
            return true;
        if (session->ending)
            return false;
    }
    return false;
}

void queue_note_progress(Session *session)
{
    gint64 now = clock_mono_us();
    for (GList *l = session->queue.in_flight.head; l; l = l->next) {
        Command *command = l->data;
        command->progress_us = now;
        if (command->on_progress)
            command->on_progress(command->data);
    }
}

/* Taken for bytes of what was sent first, as answers mostly come in that order: what is still to
 * come of a few large ones is what counts, not that they were large. */
void queue_note_bytes(Session *session, gsize n)
{
    for (GList *l = session->queue.in_flight.head; l && n > 0; l = l->next) {
        Command *command = l->data;
        gsize taken = (gsize)MIN(command->weight, n);
        command->weight -= taken;
        n -= taken;
    }
}

gint64 queue_deadline(const Session *session)
{
    gint64 oldest = 0;
    for (GList *l = session->queue.in_flight.head; l; l = l->next) {
        const Command *command = l->data;
        bool watching = command == session->idle.command && session->idle.state == IDLE_ON;
        if (!watching && (!oldest || command->progress_us < oldest))
            oldest = command->progress_us;
    }
    return oldest ? oldest + session_timeout_us(session) : 0;
}

/* --- a SELECT that failed --- */

void queue_void_behind(Session *session, GQueue *doomed_out)
{
    /* The SELECT has left in_flight; what was sent before it was answered before it. */
    for (GList *l = session->queue.in_flight.head; l; l = l->next) {
        Command *command = l->data;
        command->void_mailbox = (command->needs & NEEDS_MAILBOX) != 0;
    }
    Segment *segment = g_queue_peek_head(&session->queue.segments);
    if (segment->barrier)
        return; /* what is queued is meant for the next one */
    for (int lane = 0; lane < 2; lane++) {
        GList *next;
        for (GList *l = segment->lanes[lane].head; l; l = next) {
            Command *command = l->data;
            next = l->next;
            if (!(command->needs & NEEDS_MAILBOX))
                continue;
            g_queue_delete_link(&segment->lanes[lane], l);
            g_queue_push_tail(doomed_out, command);
        }
    }
}

void queue_answer_lost(Session *session, GQueue *doomed)
{
    Command *command;
    while ((command = g_queue_pop_head(doomed)))
        queue_finish_command(session, command, COMMAND_LOST, NULL);
}
