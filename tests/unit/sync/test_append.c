/* APPEND: what is sent, every answer, every cut; and letters that are read before they are sent. */
#include <string.h>

#include "cells.h"
#include "imapfs/base/error.h"
#include "imapfs/store/spool.h"

#define ALL "MOVE UIDPLUS LITERAL+ OBJECTID"
#define LETTER                                                                       \
    "From: a@example.org\r\nSubject: hello\r\nMessage-ID: <new@example.org>\r\n\r\n" \
    "The text.\r\n"

static guint32 open_archive(World *world, const char *capabilities)
{
    world_fake(world)->capabilities = capabilities;
    fake_box(world_fake(world), "Archive");
    open_listed(world);
    return listed(world, "Archive");
}

static const FakeMessage *appended(World *world, guint32 uid)
{
    Fake *fake = world_fake(world);
    fake_lock(fake);
    const FakeMessage *message = fake_message(fake, "Archive", uid);
    fake_unlock(fake);
    assert_non_null(message);
    return message;
}

/* --- the ordinary way, by what literals the server takes --- */

static const char *const capabilities[] = {ALL, "UIDPLUS LITERAL-", "UIDPLUS", "LITERAL+", ""};

static void check_append(void **state)
{
    void *made;
    assert_int_equal(fake_setup(&made), 0);
    World *world = made;
    guint32 archive = open_archive(world, *state);
    guint32 n = append_letter(world, archive, LETTER, "\\Seen $Tag");
    assert_int_equal(shown_count(world, archive), 1);
    settled(world);
    check_counts(world, 0, 0);
    check_uids(world, archive, "Archive", "1");
    const FakeMessage *message = appended(world, 1);
    assert_string_equal(message->bytes, LETTER);
    assert_string_equal(message->flags, "\\Seen $Tag");
    assert_string_equal(message->date, "01-Jan-2026 01:00:00 +0100");
    assert_int_equal(spool_open(world->store, n, NULL), -1);
    assert_int_equal(shown_count(world, archive), 1);
    fake_teardown(&made);
}

/* More than a piece of the file, and more than LITERAL- takes at once. */
static void check_large(void **state)
{
    void *made;
    assert_int_equal(fake_setup(&made), 0);
    World *world = made;
    GString *bytes = g_string_new(LETTER);
    for (guint i = 0; i < 20000; i++)
        g_string_append_printf(bytes, "line %u of the letter\r\n", i);
    guint32 archive = open_archive(world, *state);
    append_letter(world, archive, bytes->str, "");
    append_letter(world, archive, LETTER, "");
    settled(world);
    check_counts(world, 0, 0);
    assert_string_equal(appended(world, 1)->bytes, bytes->str);
    assert_string_equal(appended(world, 2)->bytes, LETTER);
    g_string_free(bytes, TRUE);
    fake_teardown(&made);
}

/* --- answers and cuts --- */

typedef struct {
    const char *name;
    const char *capabilities;
    FakeRule rule;
    guint pending, failed, there, commands; /* commands 0: not counted */
    const char *reason;
} Answered;

static const Answered answers[] = {
    {"cut, done", ALL, {.words = "APPEND", .times = 1, .cut = true}, 0, 0, 1, 1, NULL},
    {"cut, not done",
     ALL,
     {.words = "APPEND", .answer = "OK", .times = 1, .cut = true},
     0,
     0,
     1,
     2,
     NULL},
    {"cut, done, no UIDPLUS", "", {.words = "APPEND", .times = 1, .cut = true}, 0, 0, 1, 1, NULL},
    {"cut, not done, no UIDPLUS",
     "",
     {.words = "APPEND", .answer = "OK", .times = 1, .cut = true},
     0,
     0,
     1,
     2,
     NULL},
    {"TOOBIG", ALL, {.words = "APPEND", .answer = "NO [TOOBIG] big"}, 0, 1, 0, 1, "TOOBIG"},
    {"APPENDLIMIT", ALL " APPENDLIMIT=50", {.words = NULL}, 0, 1, 0, 0, "larger than the server"},
    {"OVERQUOTA", ALL, {.words = "APPEND", .answer = "NO [OVERQUOTA] full"}, 1, 0, 0, 1, NULL},
    {"TRYCREATE", ALL, {.words = "APPEND", .answer = "NO [TRYCREATE] no"}, 0, 1, 0, 2, "TRYCREATE"},
    {"TRYCREATE, no MAILBOXID",
     "UIDPLUS LITERAL+",
     {.words = "APPEND", .answer = "NO [TRYCREATE] no"},
     0,
     1,
     0,
     1,
     "TRYCREATE"},
    {"NOPERM", ALL, {.words = "APPEND", .answer = "NO [NOPERM] no"}, 0, 1, 0, 1, "NOPERM"},
    {"BAD", ALL, {.words = "APPEND", .answer = "BAD what"}, 0, 1, 0, 1, "BAD what"},
    {"NO twice", ALL, {.words = "APPEND", .answer = "NO no", .times = 2}, 0, 0, 1, 3, NULL},
    {"NO for good", ALL, {.words = "APPEND", .answer = "NO no"}, 0, 1, 0, 3, "NO no"},
    {"INUSE", ALL, {.words = "APPEND", .answer = "NO [INUSE] soon", .times = 1}, 0, 0, 1, 2, NULL},
};

static void test_header_of_8_bits(void **state)
{
    static const char letter[] = "Subject: Gr\xc3\xbc\xc3\x9f"
                                 "e\r\nMessage-ID: <8@example.org>\r\n\r\nx\r\n";
    World *world = *state;
    Fake *fake = world_fake(world);
    guint32 archive = open_archive(world, "UIDPLUS LITERAL+ ENABLE UTF8=ACCEPT");
    append_letter(world, archive, letter, "");
    settled(world);
    check_counts(world, 0, 0);
    assert_true(fake_count(fake, "ENABLE") > 0);
    assert_string_equal(appended(world, 1)->bytes, letter);
}

/* The quota that was known is not the one that the server goes by; and who comes online may have
 * made room. */
static void test_quota_asked_again(void **state)
{
    World *world = *state;
    Fake *fake = world_fake(world);
    guint32 archive = open_archive(world, "UIDPLUS LITERAL+ QUOTA");
    fake_wait(fake, "GETQUOTAROOT", 1);
    fake_rule(fake, (FakeRule){.words = "APPEND", .answer = "NO [OVERQUOTA] full", .times = 1});
    append_letter(world, archive, LETTER, "");
    fake_wait(fake, "APPEND", 1);
    fake_wait(fake, "GETQUOTAROOT", 2);
    check_counts(world, 1, 0);
    go_online(world);
    fake_wait(fake, "GETQUOTAROOT", 3);
    settled(world);
    check_counts(world, 0, 0);
    assert_int_equal(fake_number(fake, "Archive"), 1);
}

static void check_answer(void **state)
{
    const Answered *want = *state;
    void *made;
    assert_int_equal(fake_setup(&made), 0);
    World *world = made;
    Fake *fake = world_fake(world);
    guint32 archive = open_archive(world, want->capabilities);
    if (want->rule.words)
        fake_rule(fake, want->rule);
    guint32 n = append_letter(world, archive, LETTER, "");
    if (want->pending == 0)
        settled(world);
    else
        g_clear_error(&(GError *){ask(world, &(Need){.kind = NEED_REPLAYED})});
    check_counts(world, want->pending, want->failed);
    assert_int_equal(fake_number(fake, "Archive"), want->there);
    if (want->commands)
        assert_int_equal(fake_count(fake, "APPEND"), want->commands);
    if (want->reason)
        check_reason(world, true, want->reason);
    int fd = spool_open(world->store, n, NULL); /* kept until it is there, or discarded */
    assert_int_equal(fd >= 0, want->there == 0);
    if (fd >= 0)
        close(fd);
    ask_ok(world, &(Need){.kind = NEED_MAILBOX, .box = archive}); /* where no number was told */
    assert_int_equal(shown_count(world, archive), want->failed ? 0 : 1);
    fake_teardown(&made);
}

/* --- before it is sent --- */

static void test_read_offline(void **state)
{
    World *world = *state;
    guint32 archive = open_archive(world, ALL);
    go_offline(world);
    guint32 n = append_letter(world, archive, LETTER, "");
    ask_ok(world, &(Need){.kind = NEED_STRUCTURE, .box = STORE_BOX_PENDING, .uid = n});
    g_autofree char *structure =
        store_structure_get(store_reader(world->store), STORE_BOX_PENDING, n);
    assert_non_null(structure);
    assert_int_equal(*structure, 'L');
    check_text(world, STORE_BOX_PENDING, n, "The text.\n");
    Need raw = {.kind = NEED_CONTENT,
                .box = STORE_BOX_PENDING,
                .uid = n,
                .content = CONTENT_RAW,
                .section = (char *)"",
                .encoded_size = -1};
    ask_ok(world, &raw);
    g_autofree char *bytes =
        content_text(world, &(ContentKey){STORE_BOX_PENDING, n, CONTENT_RAW, ""});
    assert_string_equal(bytes, LETTER);
    go_online(world);
    settled(world);
    check_counts(world, 0, 0);
    ask_ok(world, &raw); /* under its old name still */
}

static void test_change_before_it_is_sent(void **state)
{
    World *world = *state;
    Fake *fake = world_fake(world);
    guint32 archive = open_archive(world, ALL), inbox = box_id(world, "INBOX");
    go_offline(world);
    guint32 n = append_letter(world, archive, LETTER, "");
    world_change(world, STORE_BOX_PENDING, n, "\\Flagged", "");
    guint32 other = append_letter(world, archive, LETTER, "");
    expunge_msg(world, STORE_BOX_PENDING, other); /* as if it had never been */
    guint32 third = append_letter(world, archive, LETTER, "");
    move_msg(world, STORE_BOX_PENDING, third, inbox);
    go_online(world);
    settled(world);
    check_counts(world, 0, 0);
    assert_int_equal(fake_count(fake, "APPEND"), 2);
    check_flags(world, "Archive", 1, "\\Flagged");
    assert_int_equal(fake_number(fake, "INBOX"), 5);
}

static void test_two_hundred(void **state)
{
    enum { MANY = 200 };
    World *world = *state;
    Fake *fake = world_fake(world);
    guint32 archive = open_archive(world, ALL);
    go_offline(world);
    for (guint i = 0; i < MANY; i++) {
        g_autofree char *letter = g_strdup_printf(
            "From: a@example.org\r\nMessage-ID: <n%u@example.org>\r\n\r\n%020000u\r\n", i, i);
        append_letter(world, archive, letter, "");
    }
    go_online(world);
    settled(world);
    check_counts(world, 0, 0);
    assert_int_equal(fake_number(fake, "Archive"), MANY);
    assert_int_equal(fake_count(fake, "APPEND"), MANY);
    for (guint i = 0; i < MANY; i++) {
        g_autofree char *id = g_strdup_printf("<n%u@example.org>", i);
        assert_non_null(strstr(appended(world, i + 1)->bytes, id)); /* in their order */
    }
}

/* There was no room, and is again. */
static void test_room_again(void **state)
{
    World *world = *state;
    fake_rule(world_fake(world),
              (FakeRule){.words = "APPEND", .answer = "NO [OVERQUOTA] full", .times = 1});
    guint32 archive = open_archive(world, ALL);
    append_letter(world, archive, LETTER, "");
    g_clear_error(&(GError *){ask(world, &(Need){.kind = NEED_REPLAYED})});
    check_counts(world, 1, 0);
    go_offline(world);
    go_online(world);
    settled(world);
    check_counts(world, 0, 0);
    assert_int_equal(fake_number(world_fake(world), "Archive"), 1);
}

static const struct CMUnitTest plain_tests[] = {
    TEST(test_header_of_8_bits), TEST(test_quota_asked_again),        TEST(test_room_again),
    TEST(test_read_offline),     TEST(test_change_before_it_is_sent), TEST(test_two_hundred),
};

int main(int argc, char **argv)
{
    static struct CMUnitTest
        tests[G_N_ELEMENTS(plain_tests) + G_N_ELEMENTS(answers) + 2 * G_N_ELEMENTS(capabilities)];
    gsize n = G_N_ELEMENTS(plain_tests);
    memcpy(tests, plain_tests, sizeof(plain_tests));
    for (guint i = 0; i < G_N_ELEMENTS(capabilities); i++) {
        tests[n++] = (struct CMUnitTest){.name = *capabilities[i] ? capabilities[i] : "plain",
                                         .test_func = check_append,
                                         .initial_state = (void *)capabilities[i]};
        tests[n++] = (struct CMUnitTest){
            .name = "large", .test_func = check_large, .initial_state = (void *)capabilities[i]};
    }
    for (guint i = 0; i < G_N_ELEMENTS(answers); i++)
        tests[n++] = (struct CMUnitTest){.name = answers[i].name,
                                         .test_func = check_answer,
                                         .initial_state = (void *)&answers[i]};
    return run_cells(argc, argv, tests, n);
}
