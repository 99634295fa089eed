/* leases.c - who may use which session, and who waits for one.
 *
 * The one rule: a mailbox is on one session at most, and a session that somebody holds for a
 * mailbox keeps it. Callbacks may take and release leases: the queue is looked at anew after each.
 */
#include "pool_impl.h"

#include <string.h>

/* --- which session --- */

static guint load_of(const Member *member)
{
    return session_in_flight(member->session) + session_queued(member->session);
}

static Member *least_loaded(const Pool *pool)
{
    Member *best = NULL;
    for (guint i = 0; i < pool->members->len; i++) {
        Member *member = pool->members->pdata[i];
        if (member->ready && (!best || load_of(member) < load_of(best)))
            best = member;
    }
    return best;
}

static Member *member_of(const Pool *pool, const char *mailbox)
{
    for (guint i = 0; i < pool->members->len; i++) {
        Member *member = pool->members->pdata[i];
        if (member->ready && g_strcmp0(member->mailbox, mailbox) == 0)
            return member;
    }
    return NULL;
}

/* One without a mailbox, else the one whose mailbox was not used for the longest time. */
static Member *free_member(const Pool *pool)
{
    Member *best = NULL;
    for (guint i = 0; i < pool->members->len; i++) {
        Member *member = pool->members->pdata[i];
        if (!member->ready || member->n_held > 0)
            continue;
        if (!member->mailbox)
            return member;
        if (!best || member->used_us < best->used_us)
            best = member;
    }
    return best;
}

static Member *find_member(Pool *pool, const PoolLease *lease)
{
    if (!lease->mailbox)
        return least_loaded(pool);
    Member *member = member_of(pool, lease->mailbox);
    if (member)
        return member;
    member = free_member(pool);
    if (!member)
        return NULL;
    g_autofree char *displaced = g_strdup(member->mailbox);
    member_switch(member, lease->mailbox);
    if (displaced)
        pool_grow(pool, displaced);
    return member;
}

bool pool_reselect(Pool *pool, const char *mailbox)
{
    Member *member = member_of(pool, mailbox);
    if (member)
        member_select(member);
    return member != NULL;
}

void pool_forget(Pool *pool, const char *mailbox)
{
    Member *member = member_of(pool, mailbox);
    for (guint i = 0; i < pool->members->len; i++) {
        Member *coming = pool->members->pdata[i];
        if (g_strcmp0(coming->watch, mailbox) == 0)
            g_clear_pointer(&coming->watch, g_free);
    }
    if (!member)
        return;
    member_leave(member);
    leases_serve(pool);
}

/* --- granting --- */

static void grant(PoolLease *lease, Member *member)
{
    lease->member = member;
    member->n_leases++;
    member->n_held += lease->mailbox != NULL;
    member->used_us = clock_mono_us();
    lease->ready(lease, member->session, NULL, lease->data);
}

static bool serve_one(Pool *pool)
{
    for (int lane = 0; lane < 2; lane++) {
        for (GList *l = pool->waiting[lane].head; l; l = l->next) {
            PoolLease *lease = l->data;
            Member *member = find_member(pool, lease);
            if (!member)
                continue;
            g_queue_delete_link(&pool->waiting[lane], l);
            grant(lease, member);
            return true;
        }
    }
    return false;
}

void leases_serve(Pool *pool)
{
    if (pool->freeing)
        return;
    if (pool->serving) {
        pool->serve_again = true;
        return;
    }
    pool->serving = true;
    do {
        pool->serve_again = false;
        while (serve_one(pool))
            ;
    } while (pool->serve_again);
    pool->serving = false;
    if (pool->waiting[0].length + pool->waiting[1].length > 0 && pool_count_ready(pool) > 0)
        pool_grow(pool, NULL);
}

gint64 leases_wait_since(const Pool *pool)
{
    const PoolLease *lease = g_queue_peek_head((GQueue *)&pool->waiting[LANE_FOREGROUND]);
    return lease && pool_count_ready(pool) > 0 ? lease->since_us : 0;
}

/* --- failing --- */

static void fail(PoolLease *lease, const GError *error)
{
    g_queue_remove(&lease->pool->waiting[lease->lane], lease);
    lease->ready(lease, NULL, error, lease->data);
}

static PoolLease *first_waiting(const Pool *pool, guint64 last)
{
    for (int lane = 0; lane < 2; lane++)
        for (GList *l = pool->waiting[lane].head; l; l = l->next)
            if (((PoolLease *)l->data)->serial <= last)
                return l->data;
    return NULL;
}

/* Those that wait now; not what their owners ask for when they hear of it. */
void leases_fail_waiting(Pool *pool, const GError *error)
{
    g_autoptr(GError) copy = g_error_copy(error);
    guint64 last = pool->n_leases;
    PoolLease *lease;
    while ((lease = first_waiting(pool, last)))
        fail(lease, copy);
}

void leases_orphan(Pool *pool)
{
    for (guint i = 0; i < pool->leases->len; i++) {
        PoolLease *lease = pool->leases->pdata[i];
        lease->pool = NULL;
        lease->member = NULL;
    }
}

/* --- the calls --- */

static void wake_offline(PoolLease *lease)
{
    if (pool_reach(lease->pool, false))
        return;
    g_autoptr(GError) error = g_error_copy(lease->pool->error);
    fail(lease, error);
}

static void lease_free(PoolLease *lease)
{
    g_free(lease->mailbox);
    g_free(lease);
}

PoolLease *pool_lease(Pool *pool, const char *mailbox, CommandLane lane, PoolReady ready,
                      gpointer data)
{
    PoolLease *lease = g_new0(PoolLease, 1);
    *lease = (PoolLease){.pool = pool,
                         .mailbox = g_strdup(mailbox),
                         .lane = lane,
                         .ready = ready,
                         .data = data,
                         .serial = ++pool->n_leases,
                         .since_us = clock_mono_us(),
                         .in_call = true};
    g_ptr_array_add(pool->leases, lease);
    g_queue_push_tail(&pool->waiting[lane], lease);
    leases_serve(pool);
    if (!lease->released && g_queue_find(&pool->waiting[lane], lease))
        wake_offline(lease);
    pool_arm(pool);
    lease->in_call = false;
    if (!lease->released)
        return lease;
    lease_free(lease);
    return NULL;
}

void pool_hurry(PoolLease *lease)
{
    Pool *pool = lease->pool;
    if (!pool || lease->lane == LANE_FOREGROUND)
        return;
    if (g_queue_remove(&pool->waiting[lease->lane], lease))
        g_queue_push_tail(&pool->waiting[LANE_FOREGROUND], lease);
    lease->lane = LANE_FOREGROUND;
    pool_arm(pool); /* others may be asked for what they hold */
}

static void let_go(PoolLease *lease)
{
    Member *member = lease->member;
    if (!member)
        return;
    member->n_leases--;
    member->n_held -= lease->mailbox != NULL;
    member->used_us = clock_mono_us();
    lease->member = NULL;
    member_unref(member);
}

void pool_release(PoolLease *lease)
{
    if (!lease)
        return;
    Pool *pool = lease->pool;
    if (pool) {
        g_ptr_array_remove_fast(pool->leases, lease);
        g_queue_remove(&pool->waiting[lease->lane], lease);
        let_go(lease);
    }
    if (lease->in_call)
        lease->released = true;
    else
        lease_free(lease);
    if (pool)
        leases_serve(pool);
}
