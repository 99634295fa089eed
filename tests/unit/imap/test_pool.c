/* test_pool.c - leases, switching, loss and back-off, against small servers that answer by verb. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "imapfs/base/clock.h"
#include "imapfs/base/error.h"
#include "imapfs/base/log.h"
#include "imapfs/imap/pool.h"

/* --- servers --- */

typedef enum { LET_IN, REFUSE, CLOSED, MUTE } Manner;

typedef struct World World;

typedef struct {
    World *world;
    guint number;
    Stream *stream; /* NULL: gone */
    GString *in;
    char *idle_tag;
    char *mailbox;
    Manner manner;
} Server;

struct World {
    GMainContext *context;
    Account account;
    Pool *pool;
    Manner manner;      /* of the next servers */
    GPtrArray *servers; /* of Server: all there ever were */
    GString *log;       /* what the pool told */
    gint asked, retried;
    bool stall;           /* SELECT is not answered */
    bool refuse;          /* SELECT, but not EXAMINE */
    bool writable;        /* what select_params says */
    PoolLease *give_back; /* by who is told that its mailbox is left */
};

G_GNUC_PRINTF(2, 3) static void server_say(Server *server, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *line = g_strdup_vprintf(format, args);
    va_end(args);
    gsize n;
    stream_write(server->stream, line, strlen(line), &n, NULL);
    stream_write(server->stream, "\r\n", 2, &n, NULL);
}

static void server_select(Server *server, const char *tag, const char *name, bool examine)
{
    if (server->world->stall)
        return;
    g_clear_pointer(&server->mailbox, g_free);
    if (strcmp(name, "\"Bad\"") == 0 || (server->world->refuse && !examine)) {
        server_say(server, "%s NO [NONEXISTENT] no", tag);
        return;
    }
    server->mailbox = g_strndup(name + 1, strlen(name) - 2);
    server_say(server, "* 3 EXISTS");
    server_say(server, "* OK [UIDVALIDITY 7] .");
    server_say(server, "%s OK done", tag);
}

static void server_line(Server *server, const char *line)
{
    g_auto(GStrv) words = g_strsplit(line, " ", 3);
    const char *tag = words[0], *verb = words[0] && words[1] ? words[1] : "";
    bool is_login = strcmp(verb, "LOGIN") == 0 || strcmp(verb, "AUTHENTICATE") == 0;
    if (strcmp(line, "DONE") == 0) {
        server_say(server, "%s OK idled", server->idle_tag);
        g_clear_pointer(&server->idle_tag, g_free);
    } else if (strcmp(verb, "IDLE") == 0) {
        server->idle_tag = g_strdup(tag);
        server_say(server, "+ idling");
    } else if (is_login && server->manner == REFUSE) {
        server_say(server, "%s NO [AUTHENTICATIONFAILED] no", tag);
    } else if (is_login) {
        server_say(server, "%s OK [CAPABILITY IMAP4rev1 IDLE UNSELECT] in", tag);
    } else if (strcmp(verb, "SELECT") == 0 || strcmp(verb, "EXAMINE") == 0) {
        server_select(server, tag, words[2], *verb == 'E');
    } else if (strcmp(verb, "HANG") != 0) {
        server_say(server, "%s OK done", tag);
    }
}

static void server_go(gpointer data)
{
    Server *server = data;
    char bytes[1000];
    gsize n;
    while (stream_read(server->stream, bytes, sizeof bytes, &n, NULL) == STREAM_OK)
        g_string_append_len(server->in, bytes, (gssize)n);
    for (char *end; server->manner != MUTE && (end = strstr(server->in->str, "\r\n"));) {
        *end = '\0';
        g_autofree char *line = g_strdup(server->in->str);
        g_string_erase(server->in, 0, end - server->in->str + 2);
        server_line(server, line);
    }
}

static void server_close(Server *server)
{
    g_clear_pointer(&server->stream, stream_free);
}

static void server_free(gpointer data)
{
    Server *server = data;
    server_close(server);
    g_string_free(server->in, TRUE);
    g_free(server->idle_tag);
    g_free(server->mailbox);
    g_free(server);
}

static Session *connector(const Account *account, const SessionEvents *events, gpointer member,
                          gpointer data)
{
    World *world = data;
    Server *server = g_new0(Server, 1);
    Stream *client;
    server->world = world;
    server->manner = world->manner;
    server->number = world->servers->len + 1;
    server->in = g_string_new(NULL);
    g_ptr_array_add(world->servers, server);
    memory_stream_pair(&client, &server->stream);
    memory_stream_set_secure(client, true);
    stream_set_notify(server->stream, server_go, server);
    Session *session = session_new_on_stream(account, client, events, member);
    if (server->manner == CLOSED)
        server_close(server);
    else if (server->manner != MUTE)
        server_say(server, "* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=XOAUTH2] hello");
    if (server->stream)
        server_go(server);
    return session;
}

static Server *server_at(World *world, guint number)
{
    assert_true(number <= world->servers->len);
    return world->servers->pdata[number - 1];
}

/* --- the world --- */

G_GNUC_PRINTF(2, 3) static void note(World *world, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_string_append(world->log, world->log->len ? " " : "");
    g_string_append_vprintf(world->log, format, args);
    va_end(args);
}

static const char *error_word(const GError *error)
{
    return error ? imapfs_error_name((ImapfsError)error->code) : "-";
}

static void on_state(Pool *pool, PoolState state, const GError *error, gpointer data)
{
    static const char *const names[] = {"connecting", "online", "offline", "stopped"};
    note(data, error ? "%s:%s" : "%s", names[state], error_word(error));
}

static void select_params(Pool *pool, const char *mailbox, SelectParams *params, gpointer data)
{
    params->examine = !((World *)data)->writable;
}

static void on_selected(Pool *pool, Session *session, const char *mailbox,
                        const SelectResult *result, const GError *error, gpointer data)
{
    const char *how = result && !result->examined ? "writable" : "selected";
    note(data, result ? "%s(%s)" : "%s(%s):%s", how, mailbox, error_word(error));
}

static void on_unselected(Pool *pool, const char *mailbox, gpointer data)
{
    World *world = data;
    note(world, "unselected(%s)", mailbox);
    if (world->give_back)
        pool_release(g_steal_pointer(&world->give_back));
}

static void on_wanted(Pool *pool, const char *mailbox, gpointer data)
{
    World *world = data;
    note(world, "wanted(%s)", mailbox);
    if (world->give_back)
        pool_release(g_steal_pointer(&world->give_back));
}

static void on_session(Pool *pool, Session *session, gpointer data)
{
    note(data, "session");
}

static Secret *password(gpointer data, bool retry, GError **error)
{
    World *world = data;
    g_atomic_int_inc(&world->asked);
    if (retry)
        g_atomic_int_inc(&world->retried);
    return secret_new("secret", 6);
}

static World *world_new(guint max_connections)
{
    static const PoolEvents events = {
        .on_state = on_state,
        .select_params = select_params,
        .on_selected = on_selected,
        .on_unselected = on_unselected,
        .on_wanted = on_wanted,
        .on_session = on_session,
    };
    World *world = g_new0(World, 1);
    world->context = g_main_context_new();
    g_main_context_push_thread_default(world->context);
    clock_fake_set(G_GINT64_CONSTANT(1700000000) * G_USEC_PER_SEC * 1000);
    world->account = (Account){
        .name = (char *)"test",
        .user = (char *)"alice",
        .password = password,
        .password_data = world,
        .timeout_ms = 60000,
        .max_connections = max_connections,
        .trace_fd = -1,
    };
    world->servers = g_ptr_array_new_with_free_func(server_free);
    world->log = g_string_new(NULL);
    world->pool = pool_new(&world->account, &events, world);
    pool_set_connector(world->pool, connector, world);
    return world;
}

/* Runs until nothing is left to do. Passwords come from another thread. */
static void settle(World *world)
{
    for (int i = 0; i < 3; i++) {
        while (g_main_context_iteration(world->context, FALSE))
            ;
        assert_true(account_passwords_settled(10000));
    }
}

static void tick_session(Session *session, gpointer data)
{
    session_tick(session);
}

static void advance(World *world, guint ms)
{
    clock_fake_advance((gint64)ms * 1000);
    pool_tick(world->pool);
    pool_each_session(world->pool, tick_session, NULL);
    settle(world);
}

static void world_free(World *world)
{
    pool_free(world->pool);
    settle(world);
    g_ptr_array_unref(world->servers);
    g_string_free(world->log, TRUE);
    g_main_context_pop_thread_default(world->context);
    g_main_context_unref(world->context);
    clock_fake_off();
    g_free(world);
}

#define assert_log(world, want)                       \
    do {                                              \
        settle(world);                                \
        assert_string_equal((world)->log->str, want); \
        g_string_truncate((world)->log, 0);           \
    } while (0)

/* A lease with what came of it. */
typedef struct {
    World *world;
    const char *name;
    PoolLease *lease;
    Session *session;
    GError *error;
    guint n_ready;
    bool release_at_once;
} Held;

static void on_lease(PoolLease *lease, Session *session, const GError *error, gpointer data)
{
    Held *held = data;
    held->n_ready++;
    held->session = session;
    held->error = error ? g_error_copy(error) : NULL;
    note(held->world, session ? "got(%s)" : "got(%s):%s", held->name, error_word(error));
    if (held->release_at_once)
        pool_release(lease);
}

static void take_lane(World *world, Held *held, const char *mailbox, CommandLane lane)
{
    held->world = world;
    held->name = mailbox ? mailbox : "any";
    held->lease = pool_lease(world->pool, mailbox, lane, on_lease, held);
}

static void take(World *world, Held *held, const char *mailbox)
{
    take_lane(world, held, mailbox, LANE_FOREGROUND);
}

static void give(Held *held)
{
    assert_true(held->n_ready <= 1);
    pool_release(held->lease);
    g_clear_error(&held->error);
    *held = (Held){0};
}

static void on_done(Command *command, CommandResult result, const Response *tagged, gpointer data)
{
    static const char *const names[] = {"OK", "NO", "BAD", "LOST", "CANCELLED"};
    note(data, "done:%s", names[result]);
}

static void submit(World *world, Session *session, const char *text)
{
    Command *command = command_new(LANE_FOREGROUND, on_done, world);
    command_text_add(command->text, "%s", text);
    session_submit(session, command);
}

static World *online(guint max_connections)
{
    World *world = world_new(max_connections);
    pool_start(world->pool);
    assert_log(world, "connecting online session");
    return world;
}

/* --- leases --- */

static void test_any(void **state)
{
    World *world = online(1);
    Held held = {0}, other = {0};
    take(world, &held, NULL);
    take(world, &other, NULL);
    assert_log(world, "got(any) got(any)"); /* from inside the call */
    assert_ptr_equal(held.session, other.session);
    submit(world, held.session, "NOOP");
    assert_log(world, "done:OK");
    give(&held);
    give(&other);
    world_free(world);
}

static void test_before_online(void **state)
{
    World *world = world_new(1);
    Held held = {0};
    pool_start(world->pool);
    take(world, &held, "INBOX");
    assert_log(world, "connecting online session got(INBOX) selected(INBOX)");
    give(&held);
    world_free(world);
}

static void test_without_start(void **state)
{
    World *world = world_new(1);
    Held held = {0};
    take(world, &held, "INBOX");
    assert_log(world, "connecting online session got(INBOX) selected(INBOX)");
    give(&held);
    world_free(world);
}

static void test_shared(void **state)
{
    World *world = online(3);
    Held held = {0}, other = {0};
    take(world, &held, "INBOX");
    take(world, &other, "INBOX");
    assert_log(world, "got(INBOX) got(INBOX) selected(INBOX)");
    assert_ptr_equal(held.session, other.session);
    give(&held);
    give(&other);
    take(world, &held, "INBOX"); /* still selected */
    assert_log(world, "got(INBOX)");
    give(&held);
    assert_int_equal(world->servers->len, 1);
    world_free(world);
}

static void test_waits_for_its_turn(void **state)
{
    World *world = online(1);
    Held one = {0}, two = {0}, three = {0};
    take(world, &one, "One");
    assert_log(world, "got(One) selected(One)");
    take_lane(world, &two, "Two", LANE_BACKGROUND);
    take(world, &three, "Three");
    assert_log(world, "");
    give(&one);
    assert_log(world, "unselected(One) got(Three) selected(Three)"); /* foreground first */
    give(&three);
    assert_log(world, "unselected(Three) got(Two) selected(Two)");
    give(&two);
    world_free(world);
}

/* Who holds one for long is told that another waits, and again; those in turn. */
static void test_wanted(void **state)
{
    World *world = online(2);
    Held one = {0}, two = {0}, three = {0}, poll = {0};
    take(world, &one, "One");
    take(world, &two, "Two");
    take_lane(world, &poll, "Poll", LANE_BACKGROUND);
    assert_log(world, "got(One) selected(One) session got(Two) selected(Two)");
    advance(world, 60000);
    assert_log(world, "");
    take(world, &three, "Three");
    advance(world, 1999);
    assert_log(world, "");
    advance(world, 1);
    advance(world, 999);
    assert_log(world, "wanted(One)");
    advance(world, 1);
    advance(world, 1000);
    assert_log(world, "wanted(Two) wanted(One)");
    world->give_back = two.lease;
    advance(world, 1000);
    assert_log(world, "wanted(Two) unselected(Two) got(Three) selected(Three)");
    advance(world, 10000);
    assert_log(world, ""); /* polling does not matter so much */
    give(&one);
    assert_log(world, "unselected(One) got(Poll) selected(Poll)");
    give(&three);
    give(&poll);
    world_free(world);
}

static void test_second_connection(void **state)
{
    World *world = online(2);
    Held one = {0}, two = {0}, three = {0};
    take(world, &one, "One");
    take(world, &two, "Two");
    take(world, &three, "Three");
    assert_log(world, "got(One) selected(One) session got(Two) selected(Two)");
    assert_int_equal(world->servers->len, 2);
    assert_ptr_not_equal(one.session, two.session);
    give(&two);
    assert_log(world, "unselected(Two) got(Three) selected(Three)");
    give(&one);
    give(&three);
    world_free(world);
}

/* INBOX has to go from the one connection that there is; another is on its way. */
static World *displacing(Held *held)
{
    World *world = online(2);
    take(world, held, "INBOX");
    give(held);
    assert_log(world, "got(INBOX) selected(INBOX)");
    take(world, held, "Archive");
    return world;
}

/* The mailbox that has to go is watched again by another connection. */
static void test_displaced(void **state)
{
    Held held = {0};
    World *world = displacing(&held);
    assert_log(world, "unselected(INBOX) got(Archive) selected(Archive) session selected(INBOX)");
    give(&held);
    take(world, &held, "INBOX");
    assert_log(world, "got(INBOX)");
    give(&held);
    take(world, &held, "Third"); /* no third connection: Archive was not used for longer */
    assert_log(world, "unselected(Archive) got(Third) selected(Third)");
    assert_string_equal(server_at(world, 1)->mailbox, "Third");
    assert_string_equal(server_at(world, 2)->mailbox, "INBOX");
    give(&held);
    world_free(world);
}

/* But not when it was forgotten while that was on its way. */
static void test_forgotten(void **state)
{
    Held held = {0};
    World *world = displacing(&held);
    pool_forget(world->pool, "INBOX");
    assert_log(world, "unselected(INBOX) got(Archive) selected(Archive) session");
    give(&held);
    pool_forget(world->pool, "Archive");
    assert_log(world, "unselected(Archive)");
    world_free(world);
}

static void test_released_in_ready(void **state)
{
    World *world = online(1);
    Held held = {.release_at_once = true};
    take(world, &held, NULL);
    assert_null(held.lease);
    assert_log(world, "got(any)");

    Held one = {0}, waiting = {.release_at_once = true};
    take(world, &one, "One");
    take(world, &waiting, "Two");
    assert_non_null(waiting.lease);
    give(&one);
    assert_log(world, "got(One) got(Two) selected(One) unselected(One) selected(Two)");
    world_free(world);
}

static void test_given_up(void **state)
{
    World *world = online(1);
    Held one = {0}, two = {0};
    take(world, &one, "One");
    take(world, &two, "Two");
    assert_log(world, "got(One) selected(One)");
    give(&two); /* never became ready */
    give(&one);
    assert_log(world, "");
    world_free(world);
}

static void test_bad_mailbox(void **state)
{
    World *world = online(1);
    Held held = {0}, other = {0};
    take(world, &held, "Bad");
    submit(world, held.session, "UID STORE 1 +FLAGS (x)");
    assert_log(world, "got(Bad) selected(Bad):NOT_FOUND done:LOST");
    give(&held);
    take(world, &other, "Good");
    assert_log(world, "got(Good) selected(Good)");
    give(&other);
    world_free(world);
}

/* --- loss and back-off --- */

static void test_loss(void **state)
{
    World *world = online(1);
    Held held = {0}, other = {0};
    take(world, &held, "INBOX");
    assert_log(world, "got(INBOX) selected(INBOX)");
    submit(world, held.session, "HANG");
    settle(world);
    server_close(server_at(world, 1));
    assert_log(world, "done:LOST unselected(INBOX) offline:LOST");
    assert_int_equal(session_state(held.session), SESSION_ENDED); /* and there until released */
    submit(world, held.session, "NOOP");
    assert_log(world, "done:LOST");
    take(world, &other, "INBOX"); /* does not wait for the back-off */
    assert_log(world, "connecting online session got(INBOX) selected(INBOX)");
    give(&held);
    give(&other);
    world_free(world);
}

/* Who is told that the mailbox is left gives the session back from inside. */
static void test_loss_gives_back(void **state)
{
    World *world = online(1);
    Held held = {0}, other = {0};
    take(world, &held, "INBOX");
    assert_log(world, "got(INBOX) selected(INBOX)");
    world->give_back = held.lease;
    server_close(server_at(world, 1));
    assert_log(world, "unselected(INBOX) offline:LOST");
    assert_null(world->give_back);
    take(world, &other, "INBOX");
    assert_log(world, "connecting online session got(INBOX) selected(INBOX)");
    give(&other);
    world_free(world);
}

typedef struct {
    World *world;
    Session *session;
    guint n;
} Again;

static void on_done_again(Command *command, CommandResult result, const Response *tagged,
                          gpointer data)
{
    Again *again = data;
    if (result != COMMAND_LOST || pool_state(again->world->pool) != POOL_ONLINE ||
        ++again->n == 1000)
        return;
    Command *next = command_new(LANE_FOREGROUND, on_done_again, again);
    command_text_add(next->text, "NOOP");
    session_submit(again->session, next);
}

/* Who submits again what was lost is told of the end of the session nonetheless. */
static void test_loss_and_again(void **state)
{
    World *world = online(1);
    Held held = {0};
    take(world, &held, "INBOX");
    Again again = {.world = world, .session = held.session};
    Command *command = command_new(LANE_FOREGROUND, on_done_again, &again);
    command_text_add(command->text, "HANG");
    session_submit(held.session, command);
    assert_log(world, "got(INBOX) selected(INBOX)");
    server_close(server_at(world, 1));
    assert_log(world, "unselected(INBOX) offline:LOST");
    assert_true(again.n > 0 && again.n < 10);
    give(&held);
    world_free(world);
}

static void test_loss_by_itself(void **state)
{
    World *world = online(1);
    server_close(server_at(world, 1));
    assert_log(world, "offline:LOST");
    advance(world, 900);
    assert_log(world, "");
    advance(world, 400);
    assert_log(world, "connecting online session");
    world_free(world);
}

/* A lease that waits for another's mailbox to be free survives the loss. */
static void test_loss_with_waiting(void **state)
{
    World *world = online(1);
    Held one = {0}, two = {0};
    take(world, &one, "One");
    take(world, &two, "Two");
    assert_log(world, "got(One) selected(One)");
    server_close(server_at(world, 1));
    assert_log(world, "unselected(One) offline:LOST connecting online session got(Two) "
                      "selected(Two)");
    give(&one);
    give(&two);
    world_free(world);
}

static void test_one_of_two_lost(void **state)
{
    World *world = online(2);
    Held one = {0}, two = {0};
    take(world, &one, "One");
    take(world, &two, "Two");
    assert_log(world, "got(One) selected(One) session got(Two) selected(Two)");
    server_close(server_at(world, 1));
    assert_log(world, "unselected(One)"); /* still online */
    assert_int_equal(pool_state(world->pool), POOL_ONLINE);
    give(&one);
    take(world, &one, "One");
    assert_log(world, "session got(One) selected(One)");
    give(&one);
    give(&two);
    world_free(world);
}

static void test_offline_leases(void **state)
{
    World *world = world_new(1);
    Held one = {0}, two = {0}, three = {0};
    world->manner = CLOSED;
    take(world, &one, "INBOX");
    take(world, &two, NULL);
    assert_log(world, "connecting offline:OFFLINE got(INBOX):OFFLINE got(any):OFFLINE");
    give(&one);
    give(&two);
    take(world, &three, "INBOX"); /* a moment ago it failed: no new attempt for this */
    assert_string_equal(world->log->str, "got(INBOX):OFFLINE");
    assert_log(world, "got(INBOX):OFFLINE");
    give(&three);
    assert_false(pool_reach(world->pool, false));
    assert_log(world, "");
    world->manner = LET_IN;
    pool_kick(world->pool);
    assert_log(world, "connecting online session");
    world_free(world);
}

static void test_reach(void **state)
{
    World *world = world_new(1);
    world->manner = CLOSED;
    assert_true(pool_reach(world->pool, false)); /* nothing has failed yet */
    assert_true(pool_reach(world->pool, true));  /* one at a time */
    assert_log(world, "connecting offline:OFFLINE");
    assert_true(pool_reach(world->pool, true));
    assert_log(world, "connecting offline:OFFLINE");
    world->manner = LET_IN;
    assert_false(pool_reach(world->pool, false));
    assert_true(pool_reach(world->pool, true));
    assert_log(world, "connecting online session");
    assert_true(pool_reach(world->pool, true));
    pool_set_offline(world->pool, true);
    assert_false(pool_reach(world->pool, true));
    assert_string_equal(pool_error(world->pool, NULL)->message, "offline, as wished");
    world_free(world);
}

static void test_offline_lease_later(void **state)
{
    World *world = world_new(1);
    Held held = {0};
    world->manner = CLOSED;
    pool_start(world->pool);
    assert_log(world, "connecting offline:OFFLINE");
    for (int i = 0; i < 6; i++)
        advance(world, 60000);
    g_string_truncate(world->log, 0);
    clock_fake_advance(6 * G_USEC_PER_SEC); /* no timer ran: only the lease may try */
    world->manner = LET_IN;
    take(world, &held, NULL);
    assert_log(world, "connecting online session got(any)");
    give(&held);
    world_free(world);
}

/* 1 s, 2 s, 4 s ... 5 min, each a fifth more or less. */
static void test_backoff(void **state)
{
    World *world = world_new(1);
    world->manner = CLOSED;
    pool_start(world->pool);
    settle(world);
    for (guint level = 0; level < 12; level++) {
        gint64 at = 0, want = MIN((gint64)1 << level, 300) * G_USEC_PER_SEC;
        assert_non_null(pool_error(world->pool, &at));
        gint64 delay = at - clock_mono_us();
        assert_in_range(delay, MAX(want * 8 / 10, G_USEC_PER_SEC),
                        MIN(want * 12 / 10, 300 * G_USEC_PER_SEC));
        guint before = world->servers->len;
        advance(world, (guint)(delay / 1000) + 1);
        assert_int_equal(world->servers->len, before + 1);
    }
    world_free(world);
}

static void test_refused(void **state)
{
    World *world = world_new(1);
    Held held = {0};
    world->manner = REFUSE;
    pool_start(world->pool);
    assert_log(world, "connecting offline:AUTH");
    advance(world, 2000);
    assert_log(world, "connecting offline:AUTH");
    assert_int_equal(world->retried, 1); /* told so, the second time */
    gint64 at = -1;
    pool_error(world->pool, &at);
    assert_int_equal(at, 0);
    for (int i = 0; i < 10; i++)
        advance(world, 600000);
    take(world, &held, "INBOX");
    assert_log(world, "got(INBOX):AUTH");
    give(&held);
    assert_false(pool_reach(world->pool, true));
    assert_int_equal(world->asked, 2); /* more would lock the account */
    world->manner = LET_IN;
    pool_kick(world->pool);
    assert_log(world, "connecting online session");
    assert_int_equal(world->asked, 3);
    world_free(world);
}

/* A token is a new one each time, and locks nothing. */
static void test_token_refused(void **state)
{
    World *world = world_new(1);
    world->account.with_token = true;
    world->manner = REFUSE;
    pool_start(world->pool);
    assert_log(world, "connecting offline:AUTH");
    for (int i = 0; i < 5; i++) {
        advance(world, 310000);
        assert_log(world, "connecting offline:AUTH");
    }
    world->manner = LET_IN;
    advance(world, 310000);
    assert_log(world, "connecting online session");
    assert_int_equal(world->asked, 7);
    world_free(world);
}

static void test_further_refused(void **state)
{
    World *world = online(3);
    Held one = {0}, two = {0};
    world->manner = REFUSE;
    take(world, &one, "One");
    take(world, &two, "Two");
    assert_log(world, "got(One) selected(One)"); /* two waits, nobody is offline */
    assert_int_equal(world->servers->len, 2);
    advance(world, 59000);
    assert_int_equal(world->servers->len, 2);
    assert_log(world, "wanted(One)");
    give(&one);
    assert_log(world, "unselected(One) got(Two) selected(Two)");
    give(&two);
    world_free(world);
}

/* --- sleep, kick, stop --- */

static void test_resumed(void **state)
{
    World *world = online(1);
    server_at(world, 1)->manner = MUTE; /* the other side forgot us while we slept */
    pool_start(world->pool);
    pool_resumed(world->pool);
    advance(world, 4999);
    assert_log(world, "");
    advance(world, 1);
    advance(world, 0); /* at once: no back-off after a resume */
    assert_log(world, "offline:LOST connecting online session");
    world_free(world);
}

static void test_resumed_alive(void **state)
{
    World *world = online(1);
    pool_resumed(world->pool);
    settle(world);
    advance(world, 6000);
    assert_log(world, "");
    assert_int_equal(world->servers->len, 1);
    world_free(world);
}

static void test_stop(void **state)
{
    World *world = online(1);
    Held one = {0}, two = {0}, three = {0};
    take(world, &one, "One");
    take(world, &two, "Two");
    assert_log(world, "got(One) selected(One)");
    pool_set_offline(world->pool, true);
    assert_string_equal(world->log->str, "stopped:OFFLINE unselected(One) got(Two):OFFLINE");
    assert_log(world, "stopped:OFFLINE unselected(One) got(Two):OFFLINE");
    take(world, &three, NULL);
    assert_log(world, "got(any):OFFLINE");
    give(&three);
    give(&two);
    give(&one);
    for (int i = 0; i < 5; i++)
        advance(world, 100000);
    pool_kick(world->pool);
    assert_log(world, "");
    pool_set_offline(world->pool, false);
    assert_log(world, "connecting online session");
    world_free(world);
}

/* A session that logs out has a SELECT that was never answered; the mailbox is on another one by
 * the time it ends. */
static void test_stop_while_selecting(void **state)
{
    World *world = online(1);
    Held one = {0}, again = {0};
    server_at(world, 1)->manner = MUTE;
    take(world, &one, "One");
    assert_log(world, "got(One)");
    pool_set_offline(world->pool, true);
    assert_log(world, "stopped:OFFLINE selected(One):LOST");
    give(&one);
    pool_set_offline(world->pool, false);
    assert_log(world, "connecting online session");
    take(world, &again, "One");
    assert_log(world, "got(One) selected(One)");
    advance(world, 2000);
    assert_log(world, "");
    give(&again);
    world_free(world);
}

/* Who is told that its mailbox is left gives back a session that was lost before, which is freed
 * then: no other is forgotten over it. */
static void test_stop_gives_back(void **state)
{
    World *world = online(3);
    Held one = {0}, two = {0}, three = {0};
    take(world, &one, "One");
    take(world, &two, "Two");
    settle(world);
    take(world, &three, "Three");
    settle(world);
    server_close(server_at(world, 1));
    settle(world);
    g_string_truncate(world->log, 0);
    world->give_back = one.lease;
    pool_set_offline(world->pool, true);
    assert_null(world->give_back);
    assert_log(world, "stopped:OFFLINE unselected(Two) unselected(Three)");
    assert_int_equal(session_state(two.session), SESSION_ENDED);
    assert_int_equal(session_state(three.session), SESSION_ENDED);
    give(&two);
    give(&three);
    world_free(world);
}

/* It was switched away while its SELECT was on the way, and the mailbox is on another session. */
static void test_overtaken(void **state)
{
    World *world = online(2);
    Held one = {0}, two = {0};
    Server *first = server_at(world, 1);
    first->manner = MUTE;
    take(world, &one, "One");
    give(&one);
    take(world, &two, "Two");
    assert_log(world, "got(One) got(Two) session selected(One)");
    take(world, &one, "One");
    assert_log(world, "got(One)");
    first->manner = LET_IN;
    server_go(first);
    assert_log(world, "selected(Two)");
    give(&one);
    give(&two);
    world_free(world);
}

static void test_free_with_leases(void **state)
{
    World *world = online(1);
    Held one = {0}, two = {0};
    take(world, &one, "One");
    take(world, &two, "Two");
    submit(world, one.session, "HANG");
    assert_log(world, "got(One) selected(One)");
    pool_free(g_steal_pointer(&world->pool));
    assert_log(world, "done:LOST");
    pool_release(one.lease);
    pool_release(two.lease);
    world_free(world);
}

static void test_greeting_mute(void **state)
{
    World *world = world_new(1);
    Held held = {0};
    world->manner = MUTE;
    take(world, &held, NULL);
    advance(world, 29999);
    assert_log(world, "connecting");
    advance(world, 1);
    assert_log(world, "offline:TIMEOUT got(any):TIMEOUT");
    give(&held);
    world_free(world);
}

/* EXAMINE becomes SELECT on the same session; nobody's lease and no command is lost. */
static void test_reselect(void **state)
{
    World *world = online(1);
    Held held = {0};
    take(world, &held, "INBOX");
    assert_log(world, "got(INBOX) selected(INBOX)");
    assert_false(pool_reselect(world->pool, "Other"));
    world->writable = true;
    submit(world, held.session, "UID FETCH 1 (FLAGS)");
    assert_true(pool_reselect(world->pool, "INBOX"));
    submit(world, held.session, "UID STORE 1 +FLAGS.SILENT (\\Seen)");
    assert_log(world, "done:OK writable(INBOX) done:OK");
    give(&held);
    world_free(world);
}

static void test_reselect_refused(void **state)
{
    World *world = online(1);
    Held held = {0};
    take(world, &held, "INBOX");
    assert_log(world, "got(INBOX) selected(INBOX)");
    world->writable = world->refuse = true;
    assert_true(pool_reselect(world->pool, "INBOX"));
    submit(world, held.session, "UID STORE 1 +FLAGS.SILENT (\\Seen)");
    assert_log(world, "selected(INBOX):NOT_FOUND done:LOST");
    give(&held);
    world->writable = false;
    take(world, &held, "INBOX");
    assert_log(world, "got(INBOX) selected(INBOX)");
    give(&held);
    world_free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reselect),
        cmocka_unit_test(test_reselect_refused),
        cmocka_unit_test(test_any),
        cmocka_unit_test(test_before_online),
        cmocka_unit_test(test_without_start),
        cmocka_unit_test(test_shared),
        cmocka_unit_test(test_waits_for_its_turn),
        cmocka_unit_test(test_wanted),
        cmocka_unit_test(test_second_connection),
        cmocka_unit_test(test_displaced),
        cmocka_unit_test(test_forgotten),
        cmocka_unit_test(test_released_in_ready),
        cmocka_unit_test(test_given_up),
        cmocka_unit_test(test_bad_mailbox),
        cmocka_unit_test(test_loss),
        cmocka_unit_test(test_loss_gives_back),
        cmocka_unit_test(test_loss_and_again),
        cmocka_unit_test(test_loss_by_itself),
        cmocka_unit_test(test_loss_with_waiting),
        cmocka_unit_test(test_one_of_two_lost),
        cmocka_unit_test(test_offline_leases),
        cmocka_unit_test(test_reach),
        cmocka_unit_test(test_offline_lease_later),
        cmocka_unit_test(test_backoff),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_token_refused),
        cmocka_unit_test(test_further_refused),
        cmocka_unit_test(test_resumed),
        cmocka_unit_test(test_resumed_alive),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_stop_while_selecting),
        cmocka_unit_test(test_stop_gives_back),
        cmocka_unit_test(test_overtaken),
        cmocka_unit_test(test_free_with_leases),
        cmocka_unit_test(test_greeting_mute),
    };
    log_init(g_getenv("IMAPFS_DEBUG"));
    log_set_target(g_getenv("IMAPFS_DEBUG") ? LOG_TO_STDERR : LOG_TO_RING_ONLY);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
