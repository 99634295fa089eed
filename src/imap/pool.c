/* pool.c - the connections of an account: made, lost, made again.
 *
 * The one rule: while nobody is online there is one attempt at a time, and what it comes to is what
 * everybody waiting hears. More connections are made only beside one that works. */
#include "pool_impl.h"

#include <string.h>

#define BACKOFF_MAX_S 300u
#define STEADY_US (10 * G_USEC_PER_SEC) /* a session that lived so long was no failure */
#define GROW_AGAIN_US (60 * G_USEC_PER_SEC)
#define REFUSALS 2u
#define TICK_US (5 * G_USEC_PER_SEC)
#define SLEPT_US (2 * G_USEC_PER_SEC)
#define FRESH_FAILURE_US (5 * G_USEC_PER_SEC)
#define AFTER_RESUME_US (60 * G_USEC_PER_SEC)
#define GIVE_WAY_US (2 * G_USEC_PER_SEC) /* so long who waits lets others have what they hold */
#define WANTED_AGAIN_US (1 * G_USEC_PER_SEC)

static const SessionEvents session_events;

/* --- states --- */

static const char *const state_names[] = {
    [POOL_CONNECTING] = "connecting",
    [POOL_ONLINE] = "online",
    [POOL_OFFLINE] = "offline",
    [POOL_STOPPED] = "stopped",
};

static void set_state(Pool *pool, PoolState state, const GError *error)
{
    GError *copy = error ? g_error_copy(error) : NULL;
    bool same = pool->state == state && state != POOL_OFFLINE;
    if (state !=
        POOL_CONNECTING) { /* while it is tried again, why it was not is still of interest */
        g_clear_error(&pool->error);
        pool->error = g_steal_pointer(&copy);
    }
    g_clear_error(&copy);
    pool->state = state;
    if (same)
        return;
    if (state == POOL_OFFLINE)
        log_warn(LOG_POOL, "%s: offline: %s", pool->account->name,
                 pool->error ? pool->error->message : "?");
    else
        log_info(LOG_POOL, "%s: %s", pool->account->name, state_names[state]);
    if (pool->events.on_state)
        pool->events.on_state(pool, state, state == POOL_CONNECTING ? NULL : pool->error,
                              pool->data);
}

PoolState pool_state(const Pool *pool)
{
    return pool->state;
}

const GError *pool_error(const Pool *pool, gint64 *next_attempt_us_out)
{
    if (next_attempt_us_out)
        *next_attempt_us_out = pool->attempt_us;
    return pool->error;
}

guint pool_count_ready(const Pool *pool)
{
    guint n = 0;
    for (guint i = 0; i < pool->members->len; i++)
        n += ((Member *)pool->members->pdata[i])->ready;
    return n;
}

static guint count_alive(const Pool *pool)
{
    guint n = 0;
    for (guint i = 0; i < pool->members->len; i++)
        n += !((Member *)pool->members->pdata[i])->ended;
    return n;
}

bool pool_is_connecting(const Pool *pool)
{
    for (guint i = 0; i < pool->members->len; i++) {
        const Member *member = pool->members->pdata[i];
        if (!member->ready && !member->ended && !member->closing)
            return true;
    }
    return false;
}

bool pool_waits_for_kick(const Pool *pool)
{
    return pool->n_refused >= REFUSALS;
}

/* --- the timer --- */

/* When to tell that a session is wanted; 0: nobody waits, or nobody would hear it. */
static gint64 wanted_at(const Pool *pool)
{
    gint64 since = pool->events.on_wanted ? leases_wait_since(pool) : 0;
    return since ? MAX(since + GIVE_WAY_US, pool->wanted_us + WANTED_AGAIN_US) : 0;
}

/* To the one that it was not told of for the longest time. */
static void tell_wanted(Pool *pool)
{
    Member *best = NULL;
    for (guint i = 0; i < pool->members->len; i++) {
        Member *member = pool->members->pdata[i];
        if (member->ready && member->n_held > 0 && member->mailbox &&
            (!best || member->wanted_us < best->wanted_us))
            best = member;
    }
    pool->wanted_us = clock_mono_us();
    if (!best)
        return;
    best->wanted_us = pool->wanted_us;
    g_autofree char *mailbox = g_strdup(best->mailbox);
    pool->events.on_wanted(pool, mailbox, pool->data);
}

void pool_arm(Pool *pool)
{
    gint64 at = pool->tick_us, wanted = wanted_at(pool);
    if (pool->attempt_us && pool->attempt_us < at)
        at = pool->attempt_us;
    if (wanted && wanted < at)
        at = wanted;
    g_source_set_ready_time(pool->timer, g_get_monotonic_time() + MAX(0, at - clock_mono_us()));
}

static gint64 asleep_us(void)
{
    return clock_boot_us() - clock_mono_us();
}

void pool_tick(Pool *pool)
{
    gint64 now = clock_mono_us();
    if (now >= pool->tick_us) {
        gint64 asleep = asleep_us();
        bool slept = asleep - pool->asleep_us > SLEPT_US;
        pool->asleep_us = asleep;
        pool->tick_us = now + TICK_US;
        if (slept)
            pool_resumed(pool);
    }
    if (pool->attempt_us && now >= pool->attempt_us)
        pool_attempt(pool);
    gint64 wanted = wanted_at(pool);
    if (wanted && now >= wanted)
        tell_wanted(pool);
    pool_arm(pool);
}

static gboolean timer_dispatch(GSource *source, GSourceFunc callback, gpointer data)
{
    return callback(data);
}

static gboolean on_timer(gpointer data)
{
    pool_tick(data);
    return G_SOURCE_CONTINUE;
}

static GSourceFuncs timer_funcs = {.dispatch = timer_dispatch};

/* --- back-off --- */

static gint64 backoff_us(guint level)
{
    gdouble seconds = level < 9 ? (gdouble)(1u << level) : BACKOFF_MAX_S;
    seconds *= g_random_double_range(0.8, 1.2);
    return (gint64)(CLAMP(seconds, 1.0, (gdouble)BACKOFF_MAX_S) * G_USEC_PER_SEC);
}

static void schedule(Pool *pool)
{
    pool->attempt_us = 0;
    if (pool->freeing || pool->state == POOL_STOPPED || pool_waits_for_kick(pool))
        return;
    bool resumed = pool->resumed_us && clock_mono_us() - pool->resumed_us < AFTER_RESUME_US;
    pool->attempt_us = clock_mono_us() + (resumed ? 0 : backoff_us(pool->level++));
    pool->resumed_us = 0;
    pool_arm(pool);
}

/* --- members --- */

static void member_free(gpointer data)
{
    Member *member = data;
    session_free(member->session);
    g_free(member->mailbox);
    g_free(member->watch);
    g_free(member);
}

void member_unref(Member *member)
{
    if (member->ended && !member->telling && member->n_leases == 0 && !member->pool->freeing)
        g_ptr_array_remove_fast(member->pool->members, member);
}

static void tell_unselected(Member *member)
{
    Pool *pool = member->pool;
    g_autofree char *old = g_steal_pointer(&member->mailbox);
    bool was = member->selected;
    member->selected = false;
    if (was && old && pool->events.on_unselected)
        pool->events.on_unselected(pool, old, pool->data);
}

/* It logs out: what is still to be told of its mailbox is told now, as that may be on another
 * session when it ends. */
static void tell_stopped(Member *member)
{
    Pool *pool = member->pool;
    if (member->mailbox && !member->selected && pool->events.on_selected) {
        g_autofree char *mailbox = g_steal_pointer(&member->mailbox);
        g_autoptr(GError) error = G_ERRORF(LOST, "%s: the connection is closed", mailbox);
        pool->events.on_selected(pool, member->session, mailbox, NULL, error, pool->data);
    }
    tell_unselected(member);
}

void member_select(Member *member)
{
    Pool *pool = member->pool;
    SelectParams params = {0};
    if (pool->events.select_params)
        pool->events.select_params(pool, member->mailbox, &params, pool->data);
    params.mailbox = member->mailbox;
    session_select(member->session, &params);
}

void member_leave(Member *member)
{
    tell_unselected(member);
    session_unselect(member->session);
}

void member_switch(Member *member, const char *mailbox)
{
    tell_unselected(member);
    member->mailbox = g_strdup(mailbox);
    member_select(member);
}

static void connect_one(Pool *pool, const char *watch)
{
    Member *member = g_new0(Member, 1);
    member->pool = pool;
    member->watch = g_strdup(watch);
    g_ptr_array_add(pool->members, member);
    member->session = pool->connector ? pool->connector(pool->account, &session_events, member,
                                                        pool->connector_data)
                                      : session_new(pool->account, &session_events, member);
    session_set_password_retry(member->session, pool->n_refused > 0);
}

void pool_attempt(Pool *pool)
{
    pool->attempt_us = 0;
    if (pool->freeing || pool->state == POOL_STOPPED || pool_count_ready(pool) > 0 ||
        pool_is_connecting(pool))
        return;
    set_state(pool, POOL_CONNECTING, NULL);
    connect_one(pool, NULL);
}

void pool_grow(Pool *pool, const char *watch)
{
    guint max = CLAMP(pool->account->max_connections, 1, 16);
    if (pool->freeing || pool->state != POOL_ONLINE || pool_is_connecting(pool) ||
        count_alive(pool) >= max || clock_mono_us() < pool->grow_us)
        return;
    connect_one(pool, watch);
}

/* --- what becomes of an attempt --- */

static bool is_watched(const Pool *pool, const char *mailbox)
{
    for (guint i = 0; i < pool->members->len; i++) {
        const Member *member = pool->members->pdata[i];
        if (member->ready && g_strcmp0(member->mailbox, mailbox) == 0)
            return true;
    }
    return false;
}

static void attempt_succeeded(Member *member)
{
    Pool *pool = member->pool;
    member->ready = true;
    member->ready_us = member->used_us = clock_mono_us();
    pool->failed_us = 0;
    pool->attempt_us = 0;
    pool->n_refused = 0;
    set_state(pool, POOL_ONLINE, NULL);
    if (pool->events.on_session)
        pool->events.on_session(pool, member->session, pool->data);
    leases_serve(pool);
    if (member->ready && !member->mailbox && member->watch && !is_watched(pool, member->watch))
        member_switch(member, member->watch);
}

static void attempt_failed(Member *member, const GError *error)
{
    Pool *pool = member->pool;
    member->ended = true; /* on_end follows at once */
    if (member->closing)
        return;
    if (pool_count_ready(pool) > 0) { /* a server's limit of connections, most likely */
        log_info(LOG_POOL, "%s: no further connection: %s", pool->account->name, error->message);
        pool->grow_us = clock_mono_us() + GROW_AGAIN_US;
        return;
    }
    /* A password that is offered again and again may lock the account; tokens are new ones. */
    bool refused =
        (g_error_matches(error, IMAPFS_ERROR, IMAPFS_ERROR_AUTH) && !pool->account->with_token) ||
        g_error_matches(error, IMAPFS_ERROR, IMAPFS_ERROR_CONFIG);
    pool->n_refused += refused;
    pool->failed_us = clock_mono_us();
    schedule(pool);
    set_state(pool, POOL_OFFLINE, error);
    leases_fail_waiting(pool, error);
}

static void on_ready(Session *session, const GError *error, gpointer data)
{
    if (error)
        attempt_failed(data, error);
    else
        attempt_succeeded(data);
}

/* --- what becomes of a session --- */

/* What comes of a SELECT that was given up is not of interest when another session has the mailbox:
 * it would be taken for the word of that one. */
static bool is_on_another(const Member *member, const char *mailbox)
{
    for (guint i = 0; i < member->pool->members->len; i++) {
        const Member *other = member->pool->members->pdata[i];
        if (other != member && g_strcmp0(other->mailbox, mailbox) == 0)
            return true;
    }
    return false;
}

static void on_selected(Session *session, const char *mailbox, const SelectResult *result,
                        const GError *error, gpointer data)
{
    Member *member = data;
    Pool *pool = member->pool;
    bool current = g_strcmp0(member->mailbox, mailbox) == 0;
    if (member->closing || (!current && is_on_another(member, mailbox)))
        return;
    if (result && current)
        member->selected = true;
    if (!result && current && !session_mailbox(session)) {
        g_clear_pointer(&member->mailbox, g_free);
        member->selected = false; /* it may have been, before it was selected again */
    }
    if (pool->events.on_selected)
        pool->events.on_selected(pool, session, mailbox, result, error, pool->data);
    if (result && !current && pool->events.on_unselected) /* another SELECT is behind it already */
        pool->events.on_unselected(pool, mailbox, pool->data);
    if (!result)
        leases_serve(pool);
}

static void on_untagged(Session *session, const char *mailbox, Response *response, gpointer data)
{
    Member *member = data;
    Pool *pool = member->pool;
    if (pool->events.on_untagged)
        pool->events.on_untagged(pool, session, mailbox, response, pool->data);
}

static void lost(Member *member, const GError *error)
{
    Pool *pool = member->pool;
    g_autoptr(GError) closed = G_ERRORF(LOST, "the connection was closed");
    bool waited = pool->waiting[0].length + pool->waiting[1].length > 0;
    if (clock_mono_us() - member->ready_us >= STEADY_US)
        pool->level = 0;
    if (pool_count_ready(pool) > 0 || pool->state == POOL_STOPPED)
        return;
    schedule(pool);
    set_state(pool, POOL_OFFLINE, error ? error : closed);
    if (waited)
        pool_attempt(pool);
}

static void add_counters(Session *session, guint64 *received, guint64 *sent)
{
    guint64 in, out;
    session_counters(session, &in, &out);
    *received += in;
    *sent += out;
}

static void on_end(Session *session, const GError *error, gpointer data)
{
    Member *member = data;
    Pool *pool = member->pool;
    add_counters(session, &pool->received, &pool->sent);
    bool was_ready = member->ready;
    member->ready = false;
    member->ended = true;
    member->telling = true;
    tell_unselected(member);
    if (was_ready)
        lost(member, error);
    member->telling = false;
    member_unref(member);
    leases_serve(pool);
}

static const SessionEvents session_events = {
    .on_ready = on_ready,
    .on_selected = on_selected,
    .on_untagged = on_untagged,
    .on_end = on_end,
};

/* --- the calls --- */

Pool *pool_new(const Account *account, const PoolEvents *events, gpointer data)
{
    Pool *pool = g_new0(Pool, 1);
    pool->account = account;
    pool->events = *events;
    pool->data = data;
    pool->state = POOL_OFFLINE;
    pool->members = g_ptr_array_new_with_free_func(member_free);
    pool->leases = g_ptr_array_new();
    g_queue_init(&pool->waiting[0]);
    g_queue_init(&pool->waiting[1]);
    pool->asleep_us = asleep_us();
    pool->timer = g_source_new(&timer_funcs, sizeof(GSource));
    g_source_set_callback(pool->timer, on_timer, pool, NULL);
    g_source_attach(pool->timer, g_main_context_get_thread_default());
    return pool;
}

void pool_free(Pool *pool)
{
    if (!pool)
        return;
    pool->freeing = true;
    for (guint i = 0; i < pool->members->len; i++) {
        Member *member = pool->members->pdata[i];
        session_free(member->session); /* commands answer LOST; leases are released from there */
        member->session = NULL;
        member->ready = false;
        member->ended = true;
    }
    leases_orphan(pool);
    g_ptr_array_unref(pool->members);
    g_ptr_array_unref(pool->leases);
    g_queue_clear(&pool->waiting[0]);
    g_queue_clear(&pool->waiting[1]);
    g_source_destroy(pool->timer);
    g_source_unref(pool->timer);
    g_clear_error(&pool->error);
    g_free(pool);
}

void pool_start(Pool *pool)
{
    pool->started = true;
    pool->tick_us = clock_mono_us() + TICK_US;
    pool_attempt(pool);
    pool_arm(pool);
}

void pool_resumed(Pool *pool)
{
    log_info(LOG_POOL, "%s: resumed after a sleep", pool->account->name);
    pool->resumed_us = clock_mono_us();
    pool->level = 0;
    for (guint i = 0; i < pool->members->len; i++)
        session_check(((Member *)pool->members->pdata[i])->session);
    if (pool->started && !pool_waits_for_kick(pool))
        pool_attempt(pool);
}

void pool_kick(Pool *pool)
{
    pool->level = 0;
    pool->n_refused = 0;
    pool->grow_us = 0;
    pool->failed_us = 0;
    for (guint i = 0; i < pool->members->len; i++)
        session_check(((Member *)pool->members->pdata[i])->session);
    pool_attempt(pool);
}

bool pool_reach(Pool *pool, bool insist)
{
    bool just_failed = pool->failed_us && clock_mono_us() - pool->failed_us < FRESH_FAILURE_US;
    if (pool->state == POOL_STOPPED)
        return false;
    if (pool_count_ready(pool) > 0 || pool_is_connecting(pool))
        return true;
    if (pool->error && (pool_waits_for_kick(pool) || (just_failed && !insist)))
        return false;
    pool_attempt(pool);
    return true;
}

static Member *first_open(const Pool *pool)
{
    for (guint i = 0; i < pool->members->len; i++) {
        Member *member = pool->members->pdata[i];
        if (!member->ended && !member->closing)
            return member;
    }
    return NULL;
}

/* Who is told may give back one that ended, which changes what stands where. */
static void stop(Pool *pool)
{
    Member *member;
    g_autoptr(GError) error = G_ERRORF(OFFLINE, "offline, as wished");
    pool->attempt_us = 0;
    set_state(pool, POOL_STOPPED, error);
    while ((member = first_open(pool))) {
        member->ready = false;
        member->closing = true;
        tell_stopped(member);
        session_close(member->session);
    }
    leases_fail_waiting(pool, error);
}

void pool_set_offline(Pool *pool, bool offline)
{
    if (offline == (pool->state == POOL_STOPPED))
        return;
    if (offline) {
        stop(pool);
        return;
    }
    pool->state = POOL_OFFLINE;
    g_clear_error(&pool->error);
    pool->level = 0;
    pool_attempt(pool);
}

void pool_each_session(Pool *pool, void (*f)(Session *session, gpointer data), gpointer data)
{
    for (guint i = 0; i < pool->members->len; i++) {
        const Member *member = pool->members->pdata[i];
        if (!member->ended)
            f(member->session, data);
    }
}

void pool_counters(Pool *pool, guint64 *received_out, guint64 *sent_out)
{
    *received_out = pool->received;
    *sent_out = pool->sent;
    for (guint i = 0; i < pool->members->len; i++) {
        const Member *member = pool->members->pdata[i];
        if (!member->ended)
            add_counters(member->session, received_out, sent_out);
    }
}

void pool_set_connector(Pool *pool, PoolConnector connector, gpointer data)
{
    pool->connector = connector;
    pool->connector_data = data;
}
