/* test_log_place.c - whole messages in the write-back log: stories, each told in steps.
 *
 * Mailboxes are a, b, c and t (\Trash), UIDVALIDITY 10, UIDNEXT 100. A message is named by its
 * mailbox and UID (a1), or n and its number if it is pending (n1). Steps, one a word:
 *   put:a1[:OF] putid:a1[:OF]       a message (with EMAILID), the same as OF but for its UID
 *   flags:a1:+F,-G                  a person changes flags     server:a1:F,G   the server says them
 *   move:a1:b copy:a1:b del:a1[:SEQ] app:b[:OF]   a person; hmove and hdel are held
 *   cancel:SEQ retry:SEQ discard:SEQ confirm:SEQ
 *   claim:a                         replay takes what is next of a mailbox; tells it
 *   done back park unsure           of all that was claimed
 *   placed:SEQ:UID still:SEQ:UID hide:SEQ recover probe:b
 *   gone:a1 renew:a:UV bind:a lose:a found:a boxid:a:ID house:ID:a:UV drop:ID adrift
 *   ro:a keeps:a:F,G next:a:UIDNEXT sync:a (what is known, and listed)
 * Told: "!CODE" for what is refused; at the end the log, what each mailbox shows, and what is
 * parked. */
#include "entries_check.h"
#include "log_story.h"
#include "plans_check.h"

#include "../../../src/store/private.h"
#include "imapfs/store/spool.h"

struct Story {
    Store *store;
    guint32 boxes[256]; /* by letter */
    GPtrArray *claimed;
    GString *told;
};

static const char letters[] = "abct";

static guint32 ref(const Story *story, const char *text, guint32 *uid)
{
    *uid = (guint32)atoi(text + 1);
    return text[0] == 'n' ? STORE_BOX_PENDING : story->boxes[(guchar)text[0]];
}

static void tell_ref(Story *story, guint32 box, guint32 uid)
{
    char letter = box == 0 ? '?' : box == STORE_BOX_PENDING ? 'n' : '!';
    for (const char *at = letters; *at; at++)
        if (box != 0 && story->boxes[(guchar)*at] == box)
            letter = *at;
    g_string_append_printf(story->told, "%c", letter);
    if (uid)
        g_string_append_printf(story->told, "%u", uid);
}

static StoreMsg story_msg(guint32 of, char **emailid, char **message_id)
{
    StoreMsg msg = sample_msg(of);
    *emailid = g_strdup_printf("E%u", of);
    *message_id = g_strdup_printf("<%u@example.org>", of);
    msg.message_id = *message_id;
    msg.flags = "";
    return msg;
}

/* --- the server --- */

static bool step_put(Story *story, StoreTxn *txn, char **arg, GError **error)
{
    guint32 uid, box = ref(story, arg[1], &uid);
    g_autofree char *emailid = NULL, *message_id = NULL;
    StoreMsg msg = story_msg(arg[2] ? (guint32)atoi(arg[2]) : uid, &emailid, &message_id);
    msg.uid = uid;
    msg.emailid = strcmp(arg[0], "putid") == 0 ? emailid : NULL;
    return store_msg_put(txn, box, &msg, NULL, error);
}

static bool step_server(Story *story, StoreTxn *txn, char **arg, GError **error)
{
    guint32 uid, box = ref(story, arg[1], &uid);
    g_autofree char *flags = g_strdelimit(g_strdup(arg[2]), ",", ' ');
    return store_msg_set_flags(txn, box, uid, flags, 0, NULL, error);
}

static bool step_gone(Story *story, StoreTxn *txn, char **arg, GError **error)
{
    guint32 uid, box = ref(story, arg[1], &uid);
    g_autoptr(UidSet) uids = uidset_new();
    uidset_add(uids, uid);
    return store_msg_remove(txn, box, uids, NULL, error);
}

static bool update(Story *story, StoreTxn *txn, char letter, void (*change)(StoreBox *, char **),
                   char **arg, GError **error)
{
    StoreBox box;
    assert_true(store_box_by_id(store_txn_reader(txn), story->boxes[(guchar)letter], &box));
    if (box.uidvalidity == 0) {
        box.uidvalidity = 10;
        box.uidnext = 100;
        box.listed = true;
    }
    change(&box, arg);
    bool ok = store_box_update(txn, &box, error);
    store_box_clear(&box);
    return ok;
}

static void set_nothing(StoreBox *box, char **arg)
{
}

static void set_fact(StoreBox *box, char **arg)
{
    if (strcmp(arg[0], "ro") == 0) {
        box->read_only = true;
    } else if (strcmp(arg[0], "keeps") == 0) {
        g_free(box->permanent_flags);
        box->permanent_flags = g_strdelimit(g_strdup(arg[2]), ",", ' ');
    } else if (strcmp(arg[0], "boxid") == 0) {
        g_free(box->mailboxid);
        box->mailboxid = g_strdup(arg[2]);
    } else if (strcmp(arg[0], "next") == 0) {
        box->uidnext = (guint32)atoi(arg[2]);
    } else if (strcmp(arg[0], "sync") == 0) {
        box->uidnext = 100;
        box->listed = true;
    }
}

static bool step_fact(Story *story, StoreTxn *txn, char **arg, GError **error)
{
    return update(story, txn, arg[1][0], set_fact, arg, error);
}

static bool step_renew(Story *story, StoreTxn *txn, char **arg, GError **error)
{
    guint32 *box = &story->boxes[(guchar)arg[1][0]];
    return store_box_renew(txn, *box, (guint32)atoi(arg[2]), 1, box, error);
}

/* LIST says these letters. */
static bool list(Story *story, StoreTxn *txn, const char *names, GError **error)
{
    StoreListing listings[sizeof letters];
    char texts[sizeof letters][2];
    guint n = 0;
    for (const char *at = names; *at; at++, n++) {
        texts[n][0] = *at;
        texts[n][1] = '\0';
        listings[n] = (StoreListing){texts[n], '/', *at == 't' ? LIST_TRASH : 0};
    }
    if (!store_boxes_reconcile(txn, listings, n, 1, NULL, NULL, error))
        return false;
    for (const char *at = letters; *at; at++) {
        char name[2] = {*at, '\0'};
        StoreBox box;
        story->boxes[(guchar)*at] = 0;
        if (!store_box_by_name(store_txn_reader(txn), name, &box))
            continue;
        story->boxes[(guchar)*at] = box.id;
        store_box_clear(&box);
        if (!update(story, txn, *at, set_nothing, NULL, error))
            return false;
    }
    return true;
}

static bool step_lose(Story *story, StoreTxn *txn, char **arg, GError **error)
{
    g_autoptr(GString) names = g_string_new(NULL);
    for (const char *at = letters; *at; at++)
        if ((*at == arg[1][0]) ? strcmp(arg[0], "found") == 0 : story->boxes[(guchar)*at] != 0)
            g_string_append_c(names, *at);
    return list(story, txn, names->str, error);
}

static bool step_house(Story *story, StoreTxn *txn, char **arg, GError **error)
{
    return log_rehouse(txn, arg[1], story->boxes[(guchar)arg[2][0]], (guint32)atoi(arg[3]), error);
}

static bool step_drop(Story *story, StoreTxn *txn, char **arg, GError **error)
{
    guint n = 0;
    bool ok = strcmp(arg[0], "adrift") == 0 ? log_drop_adrift(txn, G_MAXINT64, &n, error)
                                            : log_drop_homeless(txn, arg[1], &n, error);
    g_string_append_printf(story->told, "dropped%u ", n);
    return ok;
}

static bool step_bind(Story *story, StoreTxn *txn, char **arg, GError **error)
{
    guint bound, parked;
    bool ok = log_bind_unbound(txn, story->boxes[(guchar)arg[1][0]], &bound, &parked, error);
    g_string_append_printf(story->told, "bound%u,%u ", bound, parked);
    return ok;
}

/* --- a person --- */

static bool step_flags(Story *story, StoreTxn *txn, char **arg, GError **error)
{
    guint32 uid, box = ref(story, arg[1], &uid);
    g_auto(Flags) set = {0};
    g_auto(Flags) clear = {0};
    g_auto(GStrv) words = g_strsplit(arg[2], ",", -1);
    for (char **word = words; *word; word++)
        flags_add(**word == '-' ? &clear : &set, *word + 1);
    return log_flags(txn, box, uid, &set, &clear, 1000, NULL, error);
}

static bool step_move(Story *story, StoreTxn *txn, char **arg, GError **error)
{
    guint32 uid, box = ref(story, arg[1], &uid), to = story->boxes[(guchar)arg[2][0]], n, seq;
    bool ok = strcmp(arg[0], "copy") == 0
                  ? log_copy(txn, box, uid, to, 1000, &n, &seq, error)
                  : log_move(txn, box, uid, to, arg[0][0] == 'h', 1000, &n, &seq, error);
    if (ok && n == 0)
        g_string_append(story->told, "back ");
    return ok;
}

static bool step_del(Story *story, StoreTxn *txn, char **arg, GError **error)
{
    guint32 uid, box = ref(story, arg[1], &uid);
    return log_expunge(txn, box, uid, arg[2] ? (guint32)atoi(arg[2]) : 0, arg[0][0] == 'h', 1000,
                       NULL, error);
}

static bool step_app(Story *story, StoreTxn *txn, char **arg, GError **error)
{
    static const char bytes[] = "Subject: x\r\n\r\nx\r\n";
    guint32 of = arg[2] ? (guint32)atoi(arg[2]) : 50;
    g_autofree char *emailid = NULL, *message_id = NULL;
    StoreMsg msg = story_msg(of, &emailid, &message_id);
    g_autoptr(Spool) spool = spool_new(story->store, error);
    guint64 size;
    if (!spool)
        return false;
    assert_int_equal(write(spool_fd(spool), bytes, sizeof bytes - 1), sizeof bytes - 1);
    assert_true(spool_commit(spool, NULL, &size, error));
    msg.uid = spool_number(spool);
    msg.flags = "\\Draft";
    if (log_append(txn, story->boxes[(guchar)arg[1][0]], &msg, 1000, NULL, error))
        return true;
    spool_unlink(story->store, msg.uid); /* as who made it does */
    return false;
}

static bool step_person(Story *story, StoreTxn *txn, char **arg, GError **error)
{
    guint32 seq = (guint32)atoi(arg[1]);
    switch (arg[0][0]) {
    case 'c':
        return arg[0][1] == 'a' ? log_cancel(txn, seq, error) : log_confirm(txn, seq, error);
    case 'r':
        return log_retry(txn, seq, 2000, error);
    default:
        return log_discard(txn, seq, error);
    }
}

/* --- replay --- */

static bool step_claim(Story *story, StoreTxn *txn, char **arg, GError **error)
{
    guint32 box = story->boxes[(guchar)arg[1][0]];
    LogNext next;
    bool any = log_next(store_txn_reader(txn), box, 5000, &next);
    g_autoptr(GPtrArray) ops = NULL;
    if (!log_claim(txn, box, 5000, LOG_ANY, 99, &ops, error))
        return false;
    for (guint i = 0; i < ops->len; i++) {
        const LogOp *op = ops->pdata[i];
        assert_true(any);
        assert_int_equal(op->kind, next.kind);
        assert_int_equal(op->to_box, next.to_box);
        g_string_append_printf(story->told, "%u>", op->seq);
        if (op->fence_uidnext)
            g_string_append_printf(story->told, "%u", op->fence_uidnext);
        g_string_append_c(story->told, ' ');
    }
    if (any && ops->len == 0)
        g_string_append(story->told, next.fenced ? "fenced?? " : "unfenced ");
    g_ptr_array_extend_and_steal(story->claimed, g_steal_pointer(&ops));
    return true;
}

/* So many messages had a number of ours since. */
static bool step_number(Story *story, StoreTxn *txn, char **arg, GError **error)
{
    store_number_seen(story->store, (guint32)atoi(arg[1]));
    return true;
}

static bool step_settle(Story *story, StoreTxn *txn, char **arg, GError **error)
{
    bool ok = true;
    for (guint i = 0; ok && i < story->claimed->len; i++) {
        guint32 seq = ((LogOp *)story->claimed->pdata[i])->seq;
        ok = arg[0][0] == 'd'   ? log_done(txn, seq, error)
             : arg[0][0] == 'p' ? log_park(txn, seq, "refused", error)
             : arg[0][0] == 'u' ? log_unsure(txn, seq, error)
                                : log_requeue(txn, seq, 1, 0, "lost", error);
    }
    g_ptr_array_set_size(story->claimed, 0);
    return ok;
}

static bool step_placed(Story *story, StoreTxn *txn, char **arg, GError **error)
{
    guint32 seq = (guint32)atoi(arg[1]);
    guint32 uid = arg[2] ? (guint32)atoi(arg[2]) : 0;
    guint32 uidvalidity = arg[2] && arg[3] ? (guint32)atoi(arg[3]) : 10;
    if (strcmp(arg[0], "hide") == 0)
        return log_hide(txn, seq, error);
    return log_placed(txn, seq, uid ? uidvalidity : 0, uid, strcmp(arg[0], "still") == 0, error);
}

static bool step_recover(Story *story, StoreTxn *txn, char **arg, GError **error)
{
    return log_recover(txn, error);
}

static bool step_probe(Story *story, StoreTxn *txn, char **arg, GError **error)
{
    guint found, queued, parked;
    bool ok = log_probe(txn, story->boxes[(guchar)arg[1][0]], &found, &queued, &parked, error);
    g_string_append_printf(story->told, "found%u,%u,%u ", found, queued, parked);
    return ok;
}

static bool step_due(Story *story, StoreTxn *txn, char **arg, GError **error)
{
    g_autoptr(GArray) due = log_due(store_txn_reader(txn));
    g_string_append(story->told, "due:");
    for (guint i = 0; i < due->len; i++)
        tell_ref(story, g_array_index(due, LogDue, i).box, 0);
    g_string_append_c(story->told, ' ');
    return true;
}

/* Tells where a message is now. */
static bool step_went(Story *story, StoreTxn *txn, char **arg, GError **error)
{
    guint32 uid, box = ref(story, arg[1], &uid);
    if (log_went(store_txn_reader(txn), box, uid, &box, &uid))
        tell_ref(story, box, uid);
    else
        g_string_append_c(story->told, '-');
    g_string_append_c(story->told, ' ');
    return true;
}

static const StoryStep story_steps[] = {{"put", step_put},
                                        {"putid", step_put},
                                        {"server", step_server},
                                        {"gone", step_gone},
                                        {"renew", step_renew},
                                        {"lose", step_lose},
                                        {"found", step_lose},
                                        {"boxid", step_fact},
                                        {"ro", step_fact},
                                        {"keeps", step_fact},
                                        {"next", step_fact},
                                        {"sync", step_fact},
                                        {"house", step_house},
                                        {"drop", step_drop},
                                        {"adrift", step_drop},
                                        {"bind", step_bind},
                                        {"flags", step_flags},
                                        {"move", step_move},
                                        {"hmove", step_move},
                                        {"copy", step_move},
                                        {"del", step_del},
                                        {"hdel", step_del},
                                        {"app", step_app},
                                        {"cancel", step_person},
                                        {"retry", step_person},
                                        {"discard", step_person},
                                        {"confirm", step_person},
                                        {"claim", step_claim},
                                        {"done", step_settle},
                                        {"back", step_settle},
                                        {"park", step_settle},
                                        {"unsure", step_settle},
                                        {"placed", step_placed},
                                        {"still", step_placed},
                                        {"hide", step_placed},
                                        {"recover", step_recover},
                                        {"probe", step_probe},
                                        {"due", step_due},
                                        {"went", step_went},
                                        {"number", step_number},
                                        {NULL, NULL}};

/* Whatever it does: the times of the Maildir view are right after it. */
static void run_step(Story *story, const char *step)
{
    Entries before[sizeof letters - 1];
    for (guint i = 0; i < G_N_ELEMENTS(before); i++)
        before[i] = entries_before(story->store, story->boxes[(guchar)letters[i]]);
    story_step(story, story->store, story->told, story_steps, step);
    for (guint i = 0; i < G_N_ELEMENTS(before); i++) {
        if (before[i].box == story->boxes[(guchar)letters[i]])
            entries_after(story->store, &before[i], step);
        g_free(before[i].names);
    }
}

/* --- the end --- */

static bool tell_op(const LogOp *op, gpointer data)
{
    static const char *const states[] = {"q", "i", "u", "h", "a", "F", "?", "H"};
    static const char *const kinds[] = {"f", "m", "c", "x", "a"};
    Story *story = data;
    g_string_append_printf(story->told, "%u%s:%s:", op->seq, states[op->state], kinds[op->kind]);
    if (op->kind != LOG_APPEND)
        tell_ref(story, op->box, op->uid);
    if (op->kind == LOG_FLAGS)
        g_string_append_printf(story->told, "+%s-%s", op->set, op->clear);
    if (op->to_n) {
        StoreMsg msg;
        g_string_append_c(story->told, '>');
        tell_ref(story, op->to_box, 0);
        g_string_append_printf(story->told, "+%u", op->to_n);
        assert_true(store_msg_get(store_reader(story->store), STORE_BOX_PENDING, op->to_n, &msg));
        store_msg_clear(&msg);
    }
    if (op->after)
        g_string_append_printf(story->told, "/%u", op->after);
    g_string_append_c(story->told, ' ');
    return true;
}

typedef struct {
    Story *story;
    guint32 box, n;
} Telling;

static bool tell_msg(const StoreMsg *msg, gpointer data)
{
    static const char *const states[] = {"", "L", "Q", "F", "U"};
    Telling *telling = data;
    StoreReader *reader = store_reader(telling->story->store);
    g_autofree char *shown = log_shown_flags(reader, telling->box, msg->uid, msg->flags);
    g_string_append_printf(telling->story->told, "%s%s%u%s%s", telling->n++ ? "," : "",
                           telling->box == STORE_BOX_PENDING ? "+" : "", msg->uid,
                           states[log_msg_state(reader, telling->box, msg->uid)],
                           shown[0] ? "=" : "");
    g_string_append(telling->story->told, shown);
    if (telling->box == STORE_BOX_PENDING) {
        LogPending pending;
        assert_true(log_pending_get(reader, msg->uid, &pending));
        assert_int_not_equal(pending.box, 0);
    }
    return true;
}

static bool count_row(const StoreMsg *msg, gpointer data)
{
    LogPending pending;
    Story *story = data;
    /* What is pending is placed by something. */
    assert_true(log_pending_get(store_reader(story->store), msg->uid, &pending));
    assert_int_not_equal(pending.seq, 0);
    if (!pending.box)
        g_string_append_printf(story->told, " (%u)", msg->uid);
    return true;
}

/* The letters in the spool are those that an APPEND names. */
static void check_spool(Story *story)
{
    g_autoptr(GArray) numbers = spool_numbers(story->store, NULL);
    assert_non_null(numbers);
    for (guint i = 0; i < numbers->len; i++) {
        LogPending pending;
        assert_true(log_pending_get(store_reader(story->store), g_array_index(numbers, guint32, i),
                                    &pending));
        assert_int_not_equal(pending.spooled, 0);
    }
}

static void tell_end(Story *story)
{
    StoreReader *reader = store_reader(story->store);
    g_string_append(story->told, "| ");
    log_each(reader, false, 0, tell_op, story);
    log_each(reader, true, 0, tell_op, story);
    g_string_append_c(story->told, '|');
    for (const char *at = letters; *at; at++) {
        guint32 box = story->boxes[(guchar)*at];
        Telling telling = {story, box, 0};
        g_autoptr(GString) before = g_string_new(story->told->str);
        g_string_append_printf(story->told, " %c:", *at);
        log_shown_each(reader, box, 0, tell_msg, &telling);
        telling.box = STORE_BOX_PENDING;
        log_pending_each(reader, box, 0, tell_msg, &telling);
        assert_int_equal(telling.n, box ? log_shown_count(reader, box) : 0);
        if (telling.n == 0)
            g_string_assign(story->told, before->str);
    }
    store_msg_each(reader, STORE_BOX_PENDING, 0, count_row, story);
    check_spool(story);
    assert_true(store_reader_check(reader, NULL));
}

#define M "put:a1 "
static const struct {
    const char *name, *steps, *want;
} stories[] = {
#include "log_place_stories.h"
};

static void test_stories(void **state)
{
    guint wrong = 0;
    for (gsize i = 0; i < G_N_ELEMENTS(stories); i++) {
        Fixture fixture;
        fixture_init_small(&fixture);
        Story story = {.store = fixture_open(&fixture),
                       .claimed = g_ptr_array_new_with_free_func((GDestroyNotify)log_op_free),
                       .told = g_string_new(NULL)};
        StoreTxn *txn = begin(story.store);
        assert_true(list(&story, txn, letters, NULL));
        commit(txn);
        g_auto(GStrv) steps = g_strsplit(stories[i].steps, " ", -1);
        for (char **step = steps; *step; step++)
            if (**step)
                run_step(&story, *step);
        tell_end(&story);
        if (strcmp(story.told->str, stories[i].want) != 0) {
            wrong++;
            print_message("%s: %s\n  got  %s\n  want %s\n", stories[i].name, stories[i].steps,
                          story.told->str, stories[i].want);
        }
        g_string_free(story.told, TRUE);
        g_ptr_array_unref(story.claimed);
        plans_check(fixture.store);
        fixture_clear(&fixture);
    }
    assert_int_equal(wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stories),
    };
    return cmocka_run_group_tests_name("log_place", tests, NULL, NULL);
}
