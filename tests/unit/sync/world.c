/* world.c - see world.h. */
#include "world.h"

#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <glib/gstdio.h>

#include "imapfs/base/clock.h"
#include "imapfs/store/log.h"

#define DOVECOT_IMAP "/usr/lib/dovecot/imap"
#define WAIT_S 20

static void tell(Told *told, guint *what)
{
    pthread_mutex_lock(&told->lock);
    (*what)++;
    pthread_cond_broadcast(&told->changed);
    pthread_mutex_unlock(&told->lock);
}

static void on_box_added(guint32 parent, guint32 box, const char *leaf, gpointer data)
{
    tell(data, &((Told *)data)->boxes_added);
}
static void on_box_removed(guint32 parent, guint32 box, const char *leaf, gpointer data)
{
    tell(data, &((Told *)data)->boxes_removed);
}
static void on_msg_added(guint32 box, guint32 uid, const char *name, gpointer data)
{
    tell(data, &((Told *)data)->added);
}
static void on_msg_removed(guint32 box, guint32 uid, const char *name, gpointer data)
{
    tell(data, &((Told *)data)->removed);
}
static void on_flags_changed(guint32 box, guint32 uid, gpointer data)
{
    tell(data, &((Told *)data)->flags);
}

static const EngineEvents told_events = {
    .box_added = on_box_added,
    .box_removed = on_box_removed,
    .msg_added = on_msg_added,
    .msg_removed = on_msg_removed,
    .flags_changed = on_flags_changed,
};

void wait_told(Told *told, const guint *what, guint n)
{
    gint64 until = g_get_monotonic_time() + WAIT_S * G_USEC_PER_SEC;
    pthread_mutex_lock(&told->lock);
    while (*what < n) {
        if (!world_cond_wait(&told->changed, &told->lock, until)) {
            pthread_mutex_unlock(&told->lock);
            fail_msg("the engine did not tell");
        }
    }
    pthread_mutex_unlock(&told->lock);
}

/* --- a world: mail, account, store, engine --- */

void write_file(World *world, const char *path, const char *text)
{
    assert_true(g_file_set_contents(path, text, -1, NULL));
    if (getuid() == 0)
        assert_int_equal(chown(path, world->uid, world->gid), 0);
}

static void make_dir(World *world, const char *path)
{
    assert_int_equal(g_mkdir_with_parents(path, 0755), 0);
    if (getuid() == 0)
        assert_int_equal(chown(path, world->uid, world->gid), 0);
}

void make_maildir(World *world, const char *path)
{
    static const char *const parts[] = {"", "cur", "new", "tmp"};
    for (guint i = 0; i < G_N_ELEMENTS(parts); i++) {
        g_autofree char *sub = g_build_filename(path, parts[i], NULL);
        make_dir(world, sub);
    }
}

char *deliver_bytes(World *world, const char *folder, const char *flags, const char *bytes)
{
    guint n = ++world->n_delivered;
    g_autofree char *name = g_strdup_printf("%u.M%uP1.test:2,%s", 1700000000 + n, n, flags);
    char *path = g_build_filename(world->maildir, folder, "cur", name, NULL);
    write_file(world, path, bytes);
    return path;
}

char *deliver(World *world, const char *folder, const char *flags)
{
    guint n = world->n_delivered + 1;
    g_autofree char *text = g_strdup_printf("From: Alice Doe <alice@example.org>\r\n"
                                            "Subject: =?utf-8?q?N=C2=B0?= %u\r\n"
                                            "Message-ID: <%u@example.org>\r\n"
                                            "Content-Type: text/plain; charset=utf-8\r\n"
                                            "\r\n"
                                            "This is text %u.\r\n",
                                            n, n, n);
    return deliver_bytes(world, folder, flags, text);
}

static char *tunnel_command(World *world)
{
    g_autofree char *step = getuid() == 0
                                ? g_strdup_printf("setpriv --reuid %u --regid %u --clear-groups ",
                                                  world->uid, world->gid)
                                : g_strdup("");
    return g_strdup_printf("exec %senv HOME=%s USER=test " DOVECOT_IMAP " -c %s/dovecot.conf", step,
                           world->dir, world->dir);
}

static void write_config(World *world)
{
    g_autofree char *path = g_build_filename(world->dir, "dovecot.conf", NULL);
    g_autofree char *text = g_strdup_printf("base_dir = %s/run\n"
                                            "state_dir = %s/run\n"
                                            "log_path = %s/dovecot.log\n"
                                            "stats_writer_socket_path =\n"
                                            "ssl = no\n"
                                            "mail_location = maildir:%s:LAYOUT=fs\n"
                                            "first_valid_uid = 0\n"
                                            "mailbox_list_index = no\n"
                                            "namespace inbox {\n"
                                            "  inbox = yes\n"
                                            "  separator = /\n"
                                            "}\n",
                                            world->dir, world->dir, world->dir, world->maildir);
    write_file(world, path, text);
}

void open_store(World *world)
{
    StoreConfig store_config = {.state_dir = world->state,
                                .cache_dir = world->cache,
                                .cache_size = 1 << 24,
                                .account = "test"};
    GError *error = NULL;
    world->store = store_open(&store_config, &error);
    assert_null(error);
    assert_non_null(world->store);
}

void open_engine(World *world)
{
    GError *error = NULL;
    if (world->on_open)
        world->on_open(world->fake);
    open_store(world);
    EngineConfig config = {.account = &world->account,
                           .store = world->store,
                           .timeout_ms = WAIT_S * 1000,
                           .fresh_ms = 10000,
                           .poll_s = world->poll_s ? world->poll_s : 60,
                           .read_only = world->read_only,
                           .events = told_events,
                           .events_data = &world->told};
    world->engine = engine_new(&config, &error);
    assert_non_null(world->engine);
}

void close_engine(World *world)
{
    g_clear_pointer(&world->engine, engine_free);
    g_clear_pointer(&world->store, store_close);
}

bool world_is_possible(void)
{
    return access(DOVECOT_IMAP, X_OK) == 0;
}

int setup(void **state)
{
    if (!world_is_possible())
        return -1;
    World *world = g_new0(World, 1);
    struct passwd *nobody = getpwnam("nobody");
    world->uid = getuid() == 0 && nobody ? nobody->pw_uid : getuid();
    world->gid = getuid() == 0 && nobody ? nobody->pw_gid : getgid();
    world->dir = g_dir_make_tmp("imapfs-engine-XXXXXX", NULL);
    assert_int_equal(chmod(world->dir, 0755), 0);
    make_dir(world, world->dir);
    world->maildir = g_build_filename(world->dir, "mail", NULL);
    world->state = g_build_filename(world->dir, "state", NULL);
    world->cache = g_build_filename(world->dir, "cache", NULL);
    make_maildir(world, world->maildir);
    for (guint i = 0; i < 3; i++)
        g_free(deliver(world, "", i == 1 ? "S" : ""));
    write_config(world);
    world->account = (Account){.name = g_strdup("test"),
                               .user = g_strdup("test"),
                               .target = {.security = NET_TUNNEL, .tunnel = tunnel_command(world)},
                               .timeout_ms = 10000,
                               .max_connections = 3,
                               .trace_fd = -1,
                               .disable = world->disable};
    *state = world;
    return 0;
}

void remove_tree(const char *path)
{
    g_autofree char *quoted = g_shell_quote(path);
    g_autofree char *command = g_strdup_printf("rm -rf %s", quoted);
    assert_int_equal(system(command), 0);
}

int teardown(void **state)
{
    World *world = *state;
    if (!world)
        return 0;
    close_engine(world);
    remove_tree(world->dir);
    g_free(world->account.name);
    g_free(world->account.user);
    g_free(world->account.target.tunnel);
    g_free(world->dir);
    g_free(world->maildir);
    g_free(world->state);
    g_free(world->cache);
    g_free(world);
    return 0;
}

/* --- asking --- */

void on_answer(const GError *error, gpointer data)
{
    Answer *answer = data;
    pthread_mutex_lock(&answer->lock);
    assert_false(answer->over); /* exactly once */
    answer->over = true;
    answer->error = error ? g_error_copy(error) : NULL;
    pthread_cond_signal(&answer->done);
    pthread_mutex_unlock(&answer->lock);
}

GError *await_answer(Answer *answer)
{
    gint64 until = g_get_monotonic_time() + 2 * WAIT_S * G_USEC_PER_SEC;
    pthread_mutex_lock(&answer->lock);
    while (!answer->over)
        assert_true(world_cond_wait(&answer->done, &answer->lock, until));
    pthread_mutex_unlock(&answer->lock);
    return answer->error;
}

GError *ask(World *world, const Need *need)
{
    Answer answer = {.over = false};
    engine_want(world->engine, need, on_answer, &answer);
    return await_answer(&answer);
}

void ask_ok(World *world, const Need *need)
{
    g_autoptr(GError) error = ask(world, need);
    if (error)
        fail_msg("%s", error->message);
}

guint32 box_id(World *world, const char *name)
{
    StoreBox box = {0};
    if (!store_box_by_name(store_reader(world->store), name, &box))
        return 0;
    guint32 id = box.id;
    store_box_clear(&box);
    return id;
}

guint32 list_inbox(World *world)
{
    ask_ok(world, &(Need){.kind = NEED_MAILBOXES});
    guint32 inbox = box_id(world, "INBOX");
    assert_int_not_equal(inbox, 0);
    ask_ok(world, &(Need){.kind = NEED_MAILBOX, .box = inbox});
    return inbox;
}

guint32 world_change(World *world, guint32 box, guint32 uid, const char *set, const char *clear)
{
    g_auto(Flags) plus = {0};
    g_auto(Flags) minus = {0};
    GError *error = NULL;
    guint32 seq = 0;
    flags_parse(&plus, set);
    flags_parse(&minus, clear);
    StoreTxn *txn = store_begin(world->store, true, &error);
    assert_non_null(txn);
    if (!log_flags(txn, box, uid, &plus, &minus, clock_real_ns(), &seq, &error))
        fail_msg("%s", error->message);
    assert_true(store_commit(txn, &error));
    if (world->engine)
        engine_logged(world->engine, box, uid);
    return seq;
}

void wait_event(World *world, const char *words)
{
    gint64 until = g_get_monotonic_time() + WAIT_S * G_USEC_PER_SEC;
    for (;;) {
        g_autofree char *events = engine_events(world->engine, NULL);
        if (strstr(events, words))
            return;
        if (g_get_monotonic_time() > until)
            fail_msg("\"%s\" did not come; what came:\n%s", words, events);
        g_usleep(2000);
    }
}

char *content_text(World *world, const ContentKey *key)
{
    g_autoptr(Content) content = content_open(store_reader(world->store), key);
    if (!content)
        return NULL;
    char *text = g_malloc0(content_size(content) + 1);
    assert_int_equal(content_read(content, text, content_size(content), 0, NULL),
                     content_size(content));
    return text;
}

void check_text(World *world, guint32 box, guint32 uid, const char *want)
{
    Need need = {.kind = NEED_CONTENT,
                 .box = box,
                 .uid = uid,
                 .content = CONTENT_TEXT,
                 .section = (char *)"1",
                 .encoding = (char *)"7bit",
                 .charset = (char *)"utf-8",
                 .encoded_size = -1};
    ask_ok(world, &need);
    g_autofree char *text = content_text(world, &(ContentKey){box, uid, CONTENT_TEXT, "1"});
    assert_string_equal(text, want);
}

bool world_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock, gint64 until_us)
{
    struct timespec until = {.tv_sec = until_us / G_USEC_PER_SEC,
                             .tv_nsec = until_us % G_USEC_PER_SEC * 1000};
    return pthread_cond_clockwait(cond, lock, CLOCK_MONOTONIC, &until) == 0;
}
