/* test_chaos.c - servers that say anything, and owners that do anything at any moment.
 *
 * What the server says in the transcripts is cut, repeated and changed by a generator with a fixed
 * seed. Whatever comes of it: every command is answered once, every SELECT is answered once, the
 * end is told once, and nothing is touched after it was freed. */
#include "transcript.h"

#include "imap/test_paths.h"

typedef struct {
    GRand *rand;
    Session *session;
    bool freed;
    guint n_submitted, n_done, n_selects, n_selected, n_ready, n_end;
} Chaos;

static bool chance(Chaos *chaos, guint one_in)
{
    return g_rand_int_range(chaos->rand, 0, (gint32)one_in) == 0;
}

static void act(Chaos *chaos, bool in_event);

/* Sometimes the owner has had enough, in the middle of an event. */
static void maybe_act(Chaos *chaos)
{
    if (chaos->freed)
        return;
    if (chance(chaos, 60)) {
        chaos->freed = true;
        session_free(g_steal_pointer(&chaos->session));
    } else if (chance(chaos, 10)) {
        act(chaos, true);
    }
}

static void on_ready(Session *session, const GError *error, gpointer data)
{
    Chaos *chaos = data;
    assert_int_equal(++chaos->n_ready, 1);
    maybe_act(chaos);
}

static void on_selected(Session *session, const char *mailbox, const SelectResult *result,
                        const GError *error, gpointer data)
{
    Chaos *chaos = data;
    chaos->n_selected++;
    assert_true(!result == (error != NULL));
    maybe_act(chaos);
}

static void on_untagged(Session *session, const char *mailbox, Response *response, gpointer data)
{
    maybe_act(data);
}

static void on_end(Session *session, const GError *error, gpointer data)
{
    Chaos *chaos = data;
    assert_int_equal(++chaos->n_end, 1);
    maybe_act(chaos);
}

static bool on_data(Command *command, Response *response, gpointer data)
{
    Chaos *chaos = data;
    if (chance(chaos, 4))
        return false;
    maybe_act(chaos);
    return true;
}

static void on_done(Command *command, CommandResult result, const Response *tagged, gpointer data)
{
    Chaos *chaos = data;
    chaos->n_done++;
    maybe_act(chaos);
}

static void submit_one(Chaos *chaos)
{
    static const char *const texts[] = {"NOOP", "LIST \"\" *", "UID FETCH 1:5 (BODY.PEEK[1])",
                                        "UID STORE 1 +FLAGS (x)", "UID SEARCH ALL"};
    const char *text = texts[g_rand_int_range(chaos->rand, 0, G_N_ELEMENTS(texts))];
    Command *command =
        command_new(chance(chaos, 2) ? LANE_FOREGROUND : LANE_BACKGROUND, on_done, chaos);
    command->on_untagged = on_data;
    command->wants = g_rand_int(chaos->rand);
    command->alone = chance(chaos, 8);
    command_text_add(command->text, "%s", text);
    if (chance(chaos, 6)) {
        g_autoptr(GBytes) bytes = g_bytes_new("some bytes", 10);
        command_text_add_literal(command->text, bytes);
    }
    chaos->n_submitted++;
    session_submit(chaos->session, command);
    if (chance(chaos, 10))
        session_cancel(chaos->session, command);
}

static void select_one(Chaos *chaos)
{
    SelectParams params = {.mailbox = chance(chaos, 2) ? "One" : "Two",
                           .uidvalidity = 7,
                           .modseq = chance(chaos, 2) ? 5 : 0};
    chaos->n_selects++;
    session_select(chaos->session, &params);
}

static void act(Chaos *chaos, bool in_event)
{
    switch (g_rand_int_range(chaos->rand, 0, 8)) {
    case 0:
        select_one(chaos);
        break;
    case 1:
        session_unselect(chaos->session);
        break;
    case 2:
        session_check(chaos->session);
        break;
    case 3:
        session_set_idle(chaos->session, chance(chaos, 2), 100);
        break;
    case 4:
        if (chance(chaos, 10))
            session_close(chaos->session);
        break;
    default:
        submit_one(chaos);
    }
}

/* --- what the server says --- */

static void add_said(GPtrArray *said, const char *name)
{
    g_autofree char *path = g_build_filename(SCRIPT_DIR, name, NULL);
    g_autofree char *text = NULL;
    assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (guint i = 0; lines[i]; i++)
        if (g_str_has_prefix(lines[i], "S: "))
            g_ptr_array_add(said, g_strdup(lines[i] + 3));
}

static GPtrArray *all_said(void)
{
    GPtrArray *said = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GDir) dir = g_dir_open(SCRIPT_DIR, 0, NULL);
    const char *name;
    while (dir && (name = g_dir_read_name(dir)))
        if (g_str_has_suffix(name, ".imap"))
            add_said(said, name);
    assert_true(said->len > 100);
    return said;
}

/* A line of the transcripts; its tag is often that of a command that may be in flight. */
static void say(Chaos *chaos, GByteArray *out, const GPtrArray *said, guint *tag)
{
    const char *line = said->pdata[g_rand_int_range(chaos->rand, 0, (gint32)said->len)];
    if (line[0] == 'A' && !chance(chaos, 8)) {
        g_autofree char *word = g_strdup_printf("A%u", ++*tag);
        g_byte_array_append(out, (const guint8 *)word, (guint)strlen(word));
        line += strcspn(line, " ");
    }
    g_byte_array_append(out, (const guint8 *)line, (guint)strlen(line));
    g_byte_array_append(out, (const guint8 *)"\r\n", chance(chaos, 50) ? 1 : 2);
    if (chance(chaos, 30))
        out->data[g_rand_int_range(chaos->rand, 0, (gint32)out->len)] =
            (guint8)g_rand_int(chaos->rand);
}

static Secret *no_password(gpointer data, bool retry, GError **error)
{
    return secret_new("secret", 6);
}

static void one_life(const GPtrArray *said, guint32 seed)
{
    static const SessionEvents events = {on_ready, on_selected, on_untagged, on_end};
    static const char *const greetings[] = {
        "* PREAUTH [CAPABILITY IMAP4rev1 IDLE LITERAL+] in\r\n",
        "* PREAUTH [CAPABILITY IMAP4rev1 ENABLE QRESYNC IDLE UNSELECT] in\r\n",
        "* OK [CAPABILITY IMAP4rev1] hello\r\n",
        "",
    };
    Account account = {.name = (char *)"chaos",
                       .user = (char *)"alice",
                       .password = no_password,
                       .timeout_ms = 60000,
                       .trace_fd = -1};
    Chaos chaos = {.rand = g_rand_new_with_seed(seed)};
    Stream *client, *server;
    guint tag = 0;
    gsize n;
    memory_stream_pair(&client, &server);
    memory_stream_set_secure(client, true);
    chaos.session = session_new_on_stream(&account, client, &events, &chaos);
    const char *greeting = greetings[g_rand_int_range(chaos.rand, 0, 4)];
    if (*greeting)
        stream_write(server, greeting, strlen(greeting), &n, NULL);
    for (guint step = 0; step < 60 && !chaos.freed; step++) {
        g_autoptr(GByteArray) bytes = g_byte_array_new();
        for (int i = g_rand_int_range(chaos.rand, 0, 3); i > 0; i--)
            say(&chaos, bytes, said, &tag);
        if (bytes->len)
            stream_write(server, bytes->data, bytes->len, &n, NULL);
        run_ready(1000);
        if (!chaos.freed && chance(&chaos, 2))
            act(&chaos, false);
        if (!chaos.freed && chance(&chaos, 4)) {
            clock_fake_advance(g_rand_int_range(chaos.rand, 0, 2000000));
            session_tick(chaos.session);
        }
    }
    stream_free(server);
    run_ready(1000);
    if (!chaos.freed)
        assert_int_equal(chaos.n_end, 1);
    bool told = !chaos.freed;
    chaos.freed = true;
    session_free(chaos.session);
    assert_int_equal(chaos.n_done, chaos.n_submitted);
    if (told)
        assert_int_equal(chaos.n_selected, chaos.n_selects);
    g_rand_free(chaos.rand);
}

static void test_lives(void **state)
{
    const char *lives = g_getenv("IMAPFS_CHAOS");
    guint n = lives ? (guint)atoi(lives) : 3000;
    g_autoptr(GPtrArray) said = all_said();
    clock_fake_set(G_GINT64_CONSTANT(1700000000) * G_USEC_PER_SEC * 1000);
    for (guint seed = 1; seed <= n; seed++)
        one_life(said, seed);
    assert_true(account_passwords_settled(10000));
    run_ready(100000);
    clock_fake_off();
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lives)};
    log_init(g_getenv("IMAPFS_DEBUG"));
    log_set_target(g_getenv("IMAPFS_DEBUG") ? LOG_TO_STDERR : LOG_TO_RING_ONLY);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
