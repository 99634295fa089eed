/* status.c - the text of .imapfs/status: "key: value" lines, made anew each time it is read. */
#include "sync.h"

#include <string.h>
#include <time.h>

#include "imapfs/base/clock.h"
#include "imapfs/base/log.h"
#include "imapfs/base/version.h"

static const char *state_words[] = {
    [POOL_CONNECTING] = "connecting",
    [POOL_ONLINE] = "online",
    [POOL_OFFLINE] = "offline",
    [POOL_STOPPED] = "stopped",
};

static void add_size(GString *out, const char *key, guint64 bytes)
{
    g_autofree char *words = g_format_size_full(bytes, G_FORMAT_SIZE_IEC_UNITS);
    g_string_append_printf(out, "%s: %s\n", key, words);
}

static void add_mode(Engine *engine, GString *out)
{
    LogCounts counts = {0};
    log_count(store_reader(engine->store), 0, 0, &counts);
    g_string_append_printf(
        out, "mode: %s%s%s\n", engine_is_offline(engine) ? "offline" : "disconnected",
        engine->config.read_only ? ", read-only" : "", engine->config.exact ? ", exact" : "");
    g_string_append_printf(out, "pending: %" G_GUINT64_FORMAT "\n", counts.pending);
    g_string_append_printf(out, "failed: %" G_GUINT64_FORMAT "\n", counts.failed);
}

static void add_connection(Engine *engine, GString *out)
{
    PoolState state = pool_state(engine->pool);
    g_string_append_printf(out, "connection: %s\n", state_words[state]);
    gint64 next = 0;
    const GError *error = pool_error(engine->pool, &next);
    if (state == POOL_ONLINE || !error)
        return;
    g_string_append_printf(out, "error: %s\n", error->message);
    if (next > clock_mono_us())
        g_string_append_printf(out, "next attempt: in %" G_GINT64_FORMAT " s\n",
                               (next - clock_mono_us()) / G_USEC_PER_SEC + 1);
}

typedef struct {
    GString *out;
    guint n;
} Sessions;

static void add_session(Session *session, gpointer data)
{
    Sessions *sessions = data;
    g_autofree char *words = session_describe(session);
    g_autofree char *safe = log_printable(words, strlen(words), 500);
    g_string_append_printf(sessions->out, "connection %u: %s\n", ++sessions->n, safe);
}

static bool keeps_flags(const StoreBox *box)
{
    return !box->read_only && (!box->permanent_flags || *box->permanent_flags);
}

static void add_box(Engine *engine, const StoreBox *box, GString *out)
{
    const Mailbox *mailbox = mailbox_find(engine, box->name);
    g_autofree char *name = log_printable(box->name, strlen(box->name), 300);
    LogCounts counts = {0};
    log_count(store_reader(engine->store), box->id, 0, &counts);
    if (!box->listed && !mailbox && !counts.pending)
        return;
    g_string_append_printf(out, "mailbox %s: ", name);
    if (box->listed)
        g_string_append_printf(out, "%u messages, ", box->exists);
    if (counts.pending)
        g_string_append_printf(out, "%" G_GUINT64_FORMAT " pending, ", counts.pending);
    if (!keeps_flags(box))
        g_string_append(out, "flags kept here, ");
    gint64 age = (clock_real_ns() - box->synced_ns) / 1000000000;
    if (mailbox && mailbox->select_error)
        g_string_append_printf(out, "cannot be opened: %s\n", mailbox->select_error->message);
    else if (mailbox && mailbox->selected && !mailbox->must_sync)
        g_string_append(out, "watched\n");
    else if (mailbox && (mailbox->syncing || mailbox->must_sync))
        g_string_append(out, "being brought up to date\n");
    else if (box->synced_ns)
        g_string_append_printf(out, "as of %" G_GINT64_FORMAT " s ago\n", MAX(age, 0));
    else
        g_string_append(out, "not read yet\n");
}

typedef struct {
    Engine *engine;
    GString *out;
    guint n, shown;
} Boxes;

#define MAX_BOXES_SHOWN 200

static bool each_box(const StoreBox *box, gpointer data)
{
    Boxes *boxes = data;
    gsize before = boxes->out->len;
    boxes->n++;
    if (boxes->shown < MAX_BOXES_SHOWN)
        add_box(boxes->engine, box, boxes->out);
    boxes->shown += boxes->out->len > before;
    return true;
}

static char *render(Engine *engine)
{
    GString *out = g_string_new(NULL);
    g_autoptr(GString) mailboxes = g_string_new(NULL);
    Sessions sessions = {.out = g_string_new(NULL)};
    Boxes boxes = {engine, mailboxes, 0, 0};
    EngineProgress progress;
    guint64 bytes = 0, count = 0, received, sent;

    g_string_append_printf(out, "imapfs: %s\n", imapfs_version());
    g_string_append_printf(out, "account: %s\n", engine->config.account->name);
    add_mode(engine, out);
    add_connection(engine, out);
    pool_each_session(engine->pool, add_session, &sessions);
    g_string_append_len(out, sessions.out->str, (gssize)sessions.out->len);
    g_string_free(sessions.out, TRUE);
    pool_counters(engine->pool, &received, &sent);
    add_size(out, "received", received);
    add_size(out, "sent", sent);
    engine_progress(engine, &progress);
    if (progress.total) {
        g_autofree char *name = log_printable(progress.mailbox, strlen(progress.mailbox), 128);
        g_string_append_printf(out, "listing %s: %" G_GUINT64_FORMAT " of %" G_GUINT64_FORMAT "\n",
                               name, progress.done, progress.total);
    }
    content_stats(engine->store, &bytes, &count);
    add_size(out, "cache", bytes);
    g_string_append_printf(out, "cached parts: %" G_GUINT64_FORMAT "\n", count);
    g_string_append_printf(out, "waiting calls: %u\n", g_hash_table_size(engine->waiters) - 1);
    store_box_all(store_reader(engine->store), each_box, &boxes);
    g_string_append_printf(out, "mailboxes: %u\n", boxes.n);
    g_string_append_len(out, mailboxes->str, (gssize)mailboxes->len);
    return g_string_free(out, FALSE);
}

void status_job_start(Job *job)
{
    Engine *engine = job->engine;
    char *text = render(engine);
    pthread_mutex_lock(&engine->shared.lock);
    g_free(engine->shared.status);
    engine->shared.status = text;
    pthread_mutex_unlock(&engine->shared.lock);
    job_finish(job, NULL);
}
