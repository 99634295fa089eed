/* The conflict matrix of what moves, copies, deletes and appends: a test a cell. Work/2 (number 2)
 * is what is changed; what the server did meanwhile is a line of the table. */
#include <string.h>

#include "cells.h"

#define ALL "MOVE UIDPLUS LITERAL+ OBJECTID"
#define PLAIN "MOVE UIDPLUS LITERAL+"
#define LETTER "From: a@example.org\r\nMessage-ID: <new@example.org>\r\n\r\nText.\r\n"

typedef enum { KIND_MOVE, KIND_COPY, KIND_EXPUNGE, KIND_TRASH, KIND_APPEND } Kind;
static const struct {
    const char *word;
    guint row;
    const char *command;
} kinds[] = {
    [KIND_MOVE] = {"MOVE", LOG_MOVE, "UID MOVE"},
    [KIND_COPY] = {"COPY", LOG_COPY, "UID COPY"},
    [KIND_EXPUNGE] = {"EXPUNGE", LOG_EXPUNGE, "UID STORE"},
    [KIND_TRASH] = {"TRASH", CONFLICT_ROW_TRASH, "UID MOVE"},
    [KIND_APPEND] = {"APPEND", LOG_APPEND, "APPEND"},
};

typedef enum { TO_TARGET, TO_OTHER } Where;

typedef struct {
    Kind kind;
    Conflict conflict;
    const char *capabilities;
    Action action;
    guint pending, failed;
    const char *work, *target; /* numbers there then; NULL: no such mailbox */
    Where where;               /* MOVED */
} Cell;

static const Cell cells[] = {
    {KIND_MOVE, CONFLICT_EXPUNGED, PLAIN, ACTION_PARK, 0, 1, "1,3", "", 0},
    {KIND_COPY, CONFLICT_EXPUNGED, PLAIN, ACTION_PARK, 0, 1, "1,3", "", 0},
    {KIND_EXPUNGE, CONFLICT_EXPUNGED, PLAIN, ACTION_DONE, 0, 0, "1,3", "", 0},
    {KIND_TRASH, CONFLICT_EXPUNGED, PLAIN, ACTION_DONE, 0, 0, "1,3", "", 0},
    {KIND_MOVE, CONFLICT_MOVED, ALL, ACTION_DONE_ELSE_PARK, 0, 0, "1,3", "2", TO_TARGET},
    {KIND_COPY, CONFLICT_MOVED, ALL, ACTION_FOLLOW_ELSE_PARK, 0, 0, "1,3", "2", TO_TARGET},
    {KIND_EXPUNGE, CONFLICT_MOVED, ALL, ACTION_DONE, 0, 0, "1,3", "2", TO_TARGET},
    {KIND_TRASH, CONFLICT_MOVED, ALL, ACTION_DONE, 0, 0, "1,3", "2", TO_TARGET},
    {KIND_EXPUNGE, CONFLICT_MOVED, ALL, ACTION_DONE, 0, 0, "1,3", "", TO_OTHER},
    {KIND_MOVE, CONFLICT_SAME_FLAG, ALL, ACTION_OURS, 0, 0, "1,3", "2", 0},
    {KIND_COPY, CONFLICT_SAME_FLAG, ALL, ACTION_OURS, 0, 0, "1,2,3", "2", 0},
    {KIND_EXPUNGE, CONFLICT_SAME_FLAG, ALL, ACTION_OURS, 0, 0, "1,3", "", 0},
    {KIND_TRASH, CONFLICT_SAME_FLAG, ALL, ACTION_OURS, 0, 0, "1,3", "2", 0},
    {KIND_MOVE, CONFLICT_OTHER_FLAGS, ALL, ACTION_MERGE, 0, 0, "1,3", "2", 0},
    {KIND_COPY, CONFLICT_OTHER_FLAGS, ALL, ACTION_MERGE, 0, 0, "1,2,3", "2", 0},
    {KIND_EXPUNGE, CONFLICT_OTHER_FLAGS, ALL, ACTION_OURS, 0, 0, "1,3", "", 0},
    {KIND_TRASH, CONFLICT_OTHER_FLAGS, ALL, ACTION_OURS, 0, 0, "1,3", "2", 0},
    {KIND_MOVE, CONFLICT_MARKED, ALL, ACTION_MERGE, 0, 0, "1,3", "2", 0},
    {KIND_COPY, CONFLICT_MARKED, ALL, ACTION_MERGE, 0, 0, "1,2,3", "2", 0},
    {KIND_EXPUNGE, CONFLICT_MARKED, ALL, ACTION_PARK, 0, 1, "1,2,3", "", 0},
    {KIND_TRASH, CONFLICT_MARKED, ALL, ACTION_PARK, 0, 1, "1,2,3", "", 0},
    {KIND_MOVE, CONFLICT_UIDVALIDITY, ALL, ACTION_BIND_ELSE_PARK, 0, 0, "1,3", "2", 0},
    {KIND_COPY, CONFLICT_UIDVALIDITY, ALL, ACTION_BIND_ELSE_PARK, 0, 0, "1,2,3", "2", 0},
    {KIND_EXPUNGE, CONFLICT_UIDVALIDITY, ALL, ACTION_PARK, 0, 1, "1,2,3", "", 0},
    {KIND_TRASH, CONFLICT_UIDVALIDITY, ALL, ACTION_BIND_ELSE_PARK, 0, 0, "1,3", "2", 0},
    {KIND_APPEND, CONFLICT_UIDVALIDITY, ALL, ACTION_OURS, 0, 0, "1,2,3", "5", 0},
    {KIND_MOVE, CONFLICT_MAILBOX_GONE, PLAIN, ACTION_PARK, 0, 1, NULL, "", 0},
    {KIND_COPY, CONFLICT_MAILBOX_GONE, PLAIN, ACTION_PARK, 0, 1, NULL, "", 0},
    {KIND_MOVE, CONFLICT_TARGET_GONE, PLAIN, ACTION_PARK, 0, 1, "1,2,3", NULL, 0},
    {KIND_COPY, CONFLICT_TARGET_GONE, PLAIN, ACTION_PARK, 0, 1, "1,2,3", NULL, 0},
    {KIND_TRASH, CONFLICT_TARGET_GONE, PLAIN, ACTION_PARK, 0, 1, "1,2,3", NULL, 0},
    {KIND_APPEND, CONFLICT_TARGET_GONE, PLAIN, ACTION_PARK, 0, 1, "1,2,3", NULL, 0},
    {KIND_MOVE, CONFLICT_MAILBOX_RENAMED, ALL, ACTION_FOLLOW_ELSE_PARK, 0, 0, NULL, "2", 0},
    {KIND_COPY, CONFLICT_MAILBOX_RENAMED, ALL, ACTION_FOLLOW_ELSE_PARK, 0, 0, NULL, "2", 0},
    {KIND_EXPUNGE, CONFLICT_MAILBOX_RENAMED, ALL, ACTION_FOLLOW_ELSE_PARK, 0, 0, NULL, "", 0},
    {KIND_TRASH, CONFLICT_MAILBOX_RENAMED, ALL, ACTION_FOLLOW_ELSE_PARK, 0, 0, NULL, "2", 0},
    {KIND_APPEND, CONFLICT_MAILBOX_RENAMED, ALL, ACTION_FOLLOW_ELSE_PARK, 0, 0, "1,2,3", NULL, 0},
    {KIND_APPEND, CONFLICT_MAILBOX_RENAMED, PLAIN, ACTION_FOLLOW_ELSE_PARK, 0, 1, "1,2,3", NULL, 0},
    {KIND_MOVE, CONFLICT_READ_ONLY, ALL, ACTION_PARK, 0, 1, "1,2,3", "", 0},
    {KIND_COPY, CONFLICT_READ_ONLY, ALL, ACTION_OURS, 0, 0, "1,2,3", "2", 0},
    {KIND_EXPUNGE, CONFLICT_READ_ONLY, ALL, ACTION_PARK, 0, 1, "1,2,3", "", 0},
    {KIND_TRASH, CONFLICT_READ_ONLY, ALL, ACTION_PARK, 0, 1, "1,2,3", "", 0},
    {KIND_MOVE, CONFLICT_NOPERM, ALL, ACTION_PARK, 0, 1, "1,2,3", "", 0},
    {KIND_COPY, CONFLICT_NOPERM, ALL, ACTION_PARK, 0, 1, "1,2,3", "", 0},
    {KIND_EXPUNGE, CONFLICT_NOPERM, ALL, ACTION_PARK, 0, 1, "1,2,3", "", 0},
    {KIND_TRASH, CONFLICT_NOPERM, ALL, ACTION_PARK, 0, 1, "1,2,3", "", 0},
    {KIND_APPEND, CONFLICT_NOPERM, ALL, ACTION_PARK, 0, 1, "1,2,3", "", 0},
    {KIND_MOVE, CONFLICT_QUOTA, ALL, ACTION_HOLD, 1, 0, "1,2,3", "", 0},
    {KIND_COPY, CONFLICT_QUOTA, ALL, ACTION_HOLD, 1, 0, "1,2,3", "", 0},
    {KIND_EXPUNGE, CONFLICT_QUOTA, ALL, ACTION_HOLD, 1, 0, "1,2,3", "", 0},
    {KIND_TRASH, CONFLICT_QUOTA, ALL, ACTION_PARK, 0, 1, "1,2,3", "", 0},
    {KIND_APPEND, CONFLICT_QUOTA, ALL, ACTION_HOLD, 1, 0, "1,2,3", "", 0},
    {KIND_MOVE, CONFLICT_TOO_BIG, ALL, ACTION_PARK, 0, 1, "1,2,3", "", 0},
    {KIND_COPY, CONFLICT_TOO_BIG, ALL, ACTION_PARK, 0, 1, "1,2,3", "", 0},
    {KIND_TRASH, CONFLICT_TOO_BIG, ALL, ACTION_PARK, 0, 1, "1,2,3", "", 0},
    {KIND_APPEND, CONFLICT_TOO_BIG, ALL, ACTION_PARK, 0, 1, "1,2,3", "", 0},
};

/* --- what the server did meanwhile --- */

static void set_flags(Fake *fake, const char *flags)
{
    FakeMessage *message = fake_message(fake, "Work", 2);
    g_free(message->flags);
    message->flags = g_strdup(flags);
}

static void move_there(Fake *fake, const char *mailbox)
{
    FakeMessage *old = fake_message(fake, "Work", 2);
    FakeMessage *copy = fake_add(fake, mailbox, fake_box(fake, mailbox)->uidnext, "");
    copy->number = old->number;
    g_free(copy->emailid);
    copy->emailid = g_strdup(old->emailid);
    fake_expunge(fake, "Work", 2);
}

static void answer(Fake *fake, const Cell *cell, const char *words)
{
    fake_unlock(fake);
    fake_rule(fake, (FakeRule){.words = kinds[cell->kind].command, .answer = words});
    fake_lock(fake);
}

static void meanwhile(Fake *fake, const Cell *cell)
{
    FakeBox *work = fake_box(fake, "Work");
    switch (cell->conflict) {
    case CONFLICT_EXPUNGED:
        fake_expunge(fake, "Work", 2);
        break;
    case CONFLICT_MOVED:
        move_there(fake, cell->where == TO_TARGET ? "Target" : "Other");
        break;
    case CONFLICT_SAME_FLAG:
        set_flags(fake, "\\Deleted");
        break;
    case CONFLICT_OTHER_FLAGS:
        set_flags(fake, "\\Seen $Theirs");
        break;
    case CONFLICT_MARKED:
        set_flags(fake, "\\Flagged");
        break;
    case CONFLICT_UIDVALIDITY:
        if (cell->kind == KIND_APPEND)
            work = fake_box(fake, "Target");
        work->uidvalidity++;
        for (guint i = 0; i < work->messages->len; i++)
            ((FakeMessage *)work->messages->pdata[i])->uid += 10;
        work->uidnext += 10;
        break;
    case CONFLICT_MAILBOX_GONE:
        fake_drop_box(fake, "Work");
        break;
    case CONFLICT_TARGET_GONE:
        fake_drop_box(fake, "Target");
        break;
    case CONFLICT_MAILBOX_RENAMED:
        if (cell->kind == KIND_APPEND)
            work = fake_box(fake, "Target");
        g_free(work->name);
        work->name = g_strdup("Renamed");
        break;
    case CONFLICT_READ_ONLY:
        work->read_only = true;
        break;
    case CONFLICT_NOPERM:
        answer(fake, cell, "NO [NOPERM] no");
        break;
    case CONFLICT_QUOTA:
        answer(fake, cell, "NO [OVERQUOTA] full");
        break;
    case CONFLICT_TOO_BIG:
        answer(fake, cell, "NO [TOOBIG] big");
        break;
    default:
        fail_msg("no such column");
    }
}

static bool is_there(Fake *fake, const char *name)
{
    bool found = false;
    fake_lock(fake);
    for (guint i = 0; i < fake->boxes->len; i++)
        found |= strcmp(((const FakeBox *)fake->boxes->pdata[i])->name, name) == 0;
    fake_unlock(fake);
    return found;
}

static void check_cell(void **state)
{
    const Cell *cell = *state;
    void *made;
    assert_int_equal(conflict_action(kinds[cell->kind].row, cell->conflict), cell->action);
    assert_int_equal(fake_setup(&made), 0);
    World *world = made;
    Fake *fake = world_fake(world);
    fake->capabilities = cell->capabilities;
    for (guint32 uid = 1; uid <= 3; uid++)
        fake_add(fake, "Work", uid, "")->number = uid;
    fake->n_messages = 4;
    fake_box(fake, "Target")->trash = cell->kind == KIND_TRASH;
    fake_box(fake, "Other");
    open_listed(world);
    guint32 work = listed(world, "Work"), target = listed(world, "Target");
    go_offline(world);
    if (cell->kind == KIND_EXPUNGE)
        expunge_msg(world, work, 2);
    else if (cell->kind == KIND_APPEND)
        append_letter(world, target, LETTER, "");
    else if (cell->kind == KIND_COPY)
        copy_msg(world, work, 2, target);
    else
        move_msg(world, work, 2, target);
    fake_lock(fake);
    meanwhile(fake, cell);
    fake_unlock(fake);
    go_online(world);
    ask_ok(world, &(Need){.kind = NEED_MAILBOXES});
    if (cell->conflict == CONFLICT_MOVED && is_there(fake, "Target"))
        ask_ok(world, &(Need){.kind = NEED_MAILBOX, .box = target});
    if (cell->pending == 0)
        settled(world);
    else
        g_clear_error(&(GError *){ask(world, &(Need){.kind = NEED_REPLAYED})});
    check_counts(world, cell->pending, cell->failed);
    if (cell->work)
        check_mail(world, "Work", cell->work);
    if (cell->target)
        check_mail(world, "Target", cell->target);
    if (cell->conflict == CONFLICT_OTHER_FLAGS && cell->kind != KIND_EXPUNGE)
        check_flags(world, "Target", 1, "\\Seen $Theirs");
    fake_teardown(&made);
}

int main(int argc, char **argv)
{
    static struct CMUnitTest tests[G_N_ELEMENTS(cells)];
    for (guint i = 0; i < G_N_ELEMENTS(cells); i++)
        tests[i] = (struct CMUnitTest){
            .name = g_strdup_printf("%s x %s%s", kinds[cells[i].kind].word,
                                    conflict_words(cells[i].conflict),
                                    cells[i].where == TO_OTHER ? " (elsewhere)" : ""),
            .test_func = check_cell,
            .initial_state = (void *)&cells[i]};
    int failed = run_cells(argc, argv, tests, G_N_ELEMENTS(tests));
    for (guint i = 0; i < G_N_ELEMENTS(cells); i++)
        g_free((char *)tests[i].name);
    return failed;
}
