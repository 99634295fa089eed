/* test_log.c - the write-back log: a table of small stories, each told in steps.
 *
 * Steps, one a word (":" between fields):
 *   put:UID          a message (message_id and emailid by its UID; size 6000+UID)
 *   putid:UID        ... with an EMAILID         putgm:UID        ... with Gmail's number
 *   twin:UID:OF      a message that is the same as another but for its UID; no EMAILID
 *   flags:UID:+F-G   a person changes flags      server:UID:F,G   the server says them
 *   claim:N          replay claims N at most     back, done, park, here: of all that were claimed
 *   gone:UID         expunged on the server      renew            another UIDVALIDITY
 *   bind             the listing is there again  lose             LIST has it no longer
 *   cancel:SEQ retry:SEQ discard:SEQ  recover    keeps:F,G        PERMANENTFLAGS ("" for none)
 * A step that is refused adds "!CODE" to what is told; claim tells what it claimed; at the end the
 * log and what is shown of UIDs 1 to 3 is told. */
#include "entries_check.h"
#include "log_story.h"
#include "plans_check.h"

struct Story {
    Store *store;
    guint32 box;
    GPtrArray *claimed;
    GString *told;
};

static char *spaced(const char *commas)
{
    return g_strdelimit(g_strdup(commas), ",", ' ');
}

static StoreMsg story_msg(guint32 uid, char **emailid, char **message_id)
{
    StoreMsg msg = sample_msg(uid);
    *emailid = g_strdup_printf("E%u", uid);
    *message_id = g_strdup_printf("<%u@example.org>", uid);
    msg.message_id = *message_id;
    msg.flags = "";
    return msg;
}

static bool step_put(Story *story, StoreTxn *txn, char **arg, GError **error)
{
    guint32 uid = (guint32)atoi(arg[1]);
    guint32 of = arg[2] ? (guint32)atoi(arg[2]) : uid;
    g_autofree char *emailid = NULL, *message_id = NULL;
    StoreMsg msg = story_msg(of, &emailid, &message_id);
    msg.uid = uid;
    g_autofree char *gmail = g_strdup_printf("gm%u", of);
    msg.emailid = strcmp(arg[0], "putid") == 0   ? emailid
                  : strcmp(arg[0], "putgm") == 0 ? gmail
                                                 : NULL;
    return store_msg_put(txn, story->box, &msg, NULL, error);
}

static bool step_flags(Story *story, StoreTxn *txn, char **arg, GError **error)
{
    g_auto(Flags) set = {0};
    g_auto(Flags) clear = {0};
    g_auto(GStrv) words = g_strsplit(arg[2], ",", -1);
    for (char **word = words; *word; word++)
        flags_add(**word == '-' ? &clear : &set, *word + 1);
    return log_flags(txn, story->box, (guint32)atoi(arg[1]), &set, &clear, 1000, NULL, error);
}

static bool step_server(Story *story, StoreTxn *txn, char **arg, GError **error)
{
    g_autofree char *flags = spaced(arg[2]);
    return store_msg_set_flags(txn, story->box, (guint32)atoi(arg[1]), flags, 0, NULL, error);
}

static bool step_claim(Story *story, StoreTxn *txn, char **arg, GError **error)
{
    g_clear_pointer(&story->claimed, g_ptr_array_unref);
    if (!log_claim(txn, story->box, 5000, LOG_ANY, (guint)atoi(arg[1]), &story->claimed, error))
        return false;
    for (guint i = 0; i < story->claimed->len; i++) {
        const LogOp *op = story->claimed->pdata[i];
        g_string_append_printf(story->told, "%u>%u+%s-%s ", op->seq, op->uid, op->set, op->clear);
    }
    return true;
}

static bool narrow(StoreTxn *txn, guint32 seq, const char *words, GError **error)
{
    g_auto(Flags) left = {0};
    g_autofree char *text = spaced(words);
    flags_parse(&left, text);
    return log_narrow(txn, seq, &left, error);
}

static bool step_settle(Story *story, StoreTxn *txn, char **arg, GError **error)
{
    bool ok = true;
    for (guint i = 0; ok && i < story->claimed->len; i++) {
        guint32 seq = ((LogOp *)story->claimed->pdata[i])->seq;
        if (strcmp(arg[0], "done") == 0)
            ok = log_done(txn, seq, error);
        else if (strcmp(arg[0], "park") == 0)
            ok = log_park(txn, seq, "refused", error);
        else if (strcmp(arg[0], "narrow") == 0)
            ok = narrow(txn, seq, arg[1], error);
        else if (strcmp(arg[0], "here") == 0)
            ok = log_keep_here(txn, seq, error);
        else
            ok = log_requeue(txn, seq, 1, arg[1] ? atoi(arg[1]) : 0, "lost", error);
    }
    return ok;
}

static bool step_gone(Story *story, StoreTxn *txn, char **arg, GError **error)
{
    g_autoptr(UidSet) uids = parse_uids(arg[1]);
    return store_msg_remove(txn, story->box, uids, NULL, error);
}

static bool step_renew(Story *story, StoreTxn *txn, char **arg, GError **error)
{
    return store_box_renew(txn, story->box, (guint32)atoi(arg[1]), 1, &story->box, error);
}

static bool step_bind(Story *story, StoreTxn *txn, char **arg, GError **error)
{
    guint bound, parked;
    bool ok = log_bind_unbound(txn, story->box, &bound, &parked, error);
    g_string_append_printf(story->told, "bound%u,parked%u ", bound, parked);
    return ok;
}

static bool step_person(Story *story, StoreTxn *txn, char **arg, GError **error)
{
    guint32 seq = (guint32)atoi(arg[1]);
    if (strcmp(arg[0], "cancel") == 0)
        return log_cancel(txn, seq, error);
    return strcmp(arg[0], "retry") == 0 ? log_retry(txn, seq, 2000, error)
                                        : log_discard(txn, seq, error);
}

static bool step_recover(Story *story, StoreTxn *txn, char **arg, GError **error)
{
    return log_recover(txn, error);
}

static bool update_box(Story *story, StoreTxn *txn, const char *permanent, bool read_only,
                       const char *mailboxid, GError **error)
{
    StoreBox box;
    assert_true(store_box_by_id(store_txn_reader(txn), story->box, &box));
    g_free(box.permanent_flags);
    box.permanent_flags = permanent ? spaced(permanent) : NULL;
    box.read_only = read_only;
    g_free(box.mailboxid);
    box.mailboxid = g_strdup(mailboxid);
    if (box.uidvalidity == 0)
        box.uidvalidity = 10;
    bool ok = store_box_update(txn, &box, error);
    store_box_clear(&box);
    return ok;
}

static bool step_keeps(Story *story, StoreTxn *txn, char **arg, GError **error)
{
    return update_box(story, txn, arg[1], false, NULL, error);
}

static bool step_boxid(Story *story, StoreTxn *txn, char **arg, GError **error)
{
    return update_box(story, txn, NULL, false, arg[1], error);
}

static bool list(Story *story, StoreTxn *txn, const char *name, GError **error)
{
    StoreListing listing = {name, '/', 0};
    return store_boxes_reconcile(txn, &listing, 1, 1, NULL, NULL, error);
}

/* The mailbox is gone; another is there, and the story goes on in it. */
static bool step_lose(Story *story, StoreTxn *txn, char **arg, GError **error)
{
    StoreBox box;
    if (!list(story, txn, "Other", error))
        return false;
    assert_true(store_box_by_name(store_txn_reader(txn), "Other", &box));
    story->box = box.id;
    store_box_clear(&box);
    return update_box(story, txn, NULL, false, NULL, error);
}

static bool step_house(Story *story, StoreTxn *txn, char **arg, GError **error)
{
    g_autoptr(GPtrArray) ids = log_homeless(store_txn_reader(txn));
    for (guint i = 0; i < ids->len; i++)
        g_string_append_printf(story->told, "%s? ", (char *)ids->pdata[i]);
    return log_rehouse(txn, arg[1], story->box, (guint32)atoi(arg[2]), error);
}

static bool step_drop(Story *story, StoreTxn *txn, char **arg, GError **error)
{
    guint n = 0;
    bool ok = strcmp(arg[1], "adrift") == 0 ? log_drop_adrift(txn, G_MAXINT64, &n, error)
                                            : log_drop_homeless(txn, arg[1], &n, error);
    g_string_append_printf(story->told, "dropped%u ", n);
    return ok;
}

static const StoryStep story_steps[] = {{"put", step_put},
                                        {"putid", step_put},
                                        {"putgm", step_put},
                                        {"twin", step_put},
                                        {"flags", step_flags},
                                        {"server", step_server},
                                        {"claim", step_claim},
                                        {"done", step_settle},
                                        {"park", step_settle},
                                        {"narrow", step_settle},
                                        {"here", step_settle},
                                        {"back", step_settle},
                                        {"gone", step_gone},
                                        {"renew", step_renew},
                                        {"bind", step_bind},
                                        {"cancel", step_person},
                                        {"retry", step_person},
                                        {"discard", step_person},
                                        {"recover", step_recover},
                                        {"keeps", step_keeps},
                                        {"boxid", step_boxid},
                                        {"lose", step_lose},
                                        {"house", step_house},
                                        {"drop", step_drop},
                                        {NULL, NULL}};

/* Whatever it does: the time of the Maildir view is right after it. */
static void run_step(Story *story, const char *step)
{
    Entries before = entries_before(story->store, story->box);
    story_step(story, story->store, story->told, story_steps, step);
    if (before.box == story->box)
        entries_after(story->store, &before, step);
    g_free(before.names);
}

static bool tell_op(const LogOp *op, gpointer data)
{
    Story *story = data;
    const char *states[] = {"q", "i", "u", "h", "a", "F"};
    g_string_append_printf(story->told, "%u%s%u+%s-%s ", op->seq, states[op->state], op->uid,
                           op->set, op->clear);
    return true;
}

static void tell_end(Story *story)
{
    StoreReader *reader = store_reader(story->store);
    g_string_append(story->told, "| ");
    log_each(reader, false, 0, tell_op, story);
    log_each(reader, true, 0, tell_op, story);
    g_string_append(story->told, "|");
    for (guint32 uid = 1; uid <= 3; uid++) {
        static const char *const states[] = {"", "L", "Q", "F", "U"};
        StoreMsg msg;
        if (!store_msg_get(reader, story->box, uid, &msg))
            continue;
        g_autofree char *shown = log_shown_flags(reader, story->box, uid, msg.flags);
        g_string_append_printf(story->told, " %u%s=%s", uid,
                               states[log_msg_state(reader, story->box, uid)], shown);
        store_msg_clear(&msg);
    }
}

static const struct {
    const char *name, *steps, *want;
} stories[] = {
    {"nothing", "put:1", "| | 1="},
    {"set", "put:1 flags:1:+\\Seen", "| 1q1+\\Seen- | 1Q=\\Seen"},
    {"set and clear", "put:1 server:1:$A,\\Draft flags:1:+\\Seen,-$a",
     "| 1q1+\\Seen-$a | 1Q=\\Seen \\Draft"},
    {"the last value is kept, not annihilated", "put:1 flags:1:+\\Seen flags:1:-\\Seen",
     "| 1q1+-\\Seen | 1Q="},
    {"and the other way round", "put:1 flags:1:-\\Seen flags:1:+\\Seen",
     "| 1q1+\\Seen- | 1Q=\\Seen"},
    {"one operation a message", "put:1 put:2 flags:1:+\\Seen flags:2:+\\Seen flags:1:+$x",
     "| 1q1+\\Seen $x- 2q2+\\Seen- | 1Q=\\Seen $x 2Q=\\Seen"},
    {"in both: cleared", "put:1 flags:1:+\\Seen,-\\Seen", "| 1q1+-\\Seen | 1Q="},
    {"no such message", "put:1 flags:2:+\\Seen", "!GONE | | 1="},
    {"sent and done", "put:1 flags:1:+\\Seen claim:9 server:1:\\Seen done",
     "1>1+\\Seen- | | 1=\\Seen"},
    {"shown while it is sent", "put:1 flags:1:+\\Seen claim:9",
     "1>1+\\Seen- | 1i1+\\Seen- | 1Q=\\Seen"},
    {"what is sent is not merged", "put:1 flags:1:+\\Seen claim:9 flags:1:-\\Seen",
     "1>1+\\Seen- | 1i1+\\Seen- 2q1+-\\Seen | 1Q="},
    {"nor claimed beside it", "put:1 flags:1:+\\Seen claim:9 flags:1:-\\Seen claim:9",
     "1>1+\\Seen- | 1i1+\\Seen- 2q1+-\\Seen | 1Q="},
    {"what comes back merges under what came later",
     "put:1 flags:1:+\\Seen,+$x claim:9 flags:1:-\\Seen back",
     "1>1+\\Seen $x- | 1q1+$x-\\Seen | 1Q=$x"},
    {"not before it is due", "put:1 flags:1:+\\Seen claim:9 back:9999 claim:9",
     "1>1+\\Seen- | 1q1+\\Seen- | 1Q=\\Seen"},
    {"a new wish is due at once", "put:1 flags:1:+\\Seen claim:9 back:9999 flags:1:+$x claim:9",
     "1>1+\\Seen- 1>1+\\Seen $x- | 1i1+\\Seen $x- | 1Q=\\Seen $x"},
    {"at most so many", "put:1 put:2 flags:1:+\\Seen flags:2:+\\Seen claim:1",
     "1>1+\\Seen- | 1i1+\\Seen- 2q2+\\Seen- | 1Q=\\Seen 2Q=\\Seen"},
    {"a crash while it is sent", "put:1 flags:1:+\\Seen claim:9 flags:1:+$x recover",
     "1>1+\\Seen- | 1q1+\\Seen $x- | 1Q=\\Seen $x"},
    {"numbers are not used again", "put:1 flags:1:+\\Seen cancel:1 flags:1:+\\Seen",
     "| 2q1+\\Seen- | 1Q=\\Seen"},

    {"cancel", "put:1 flags:1:+\\Seen cancel:1", "| | 1="},
    {"cancel what is sent", "put:1 flags:1:+\\Seen claim:9 cancel:1",
     "1>1+\\Seen- !BUSY | 1i1+\\Seen- | 1Q=\\Seen"},
    {"cancel what is not there", "put:1 cancel:1", "!GONE | | 1="},
    {"parked: the view is rolled back", "put:1 flags:1:+\\Seen claim:9 park",
     "1>1+\\Seen- | 1F1+\\Seen- | 1F="},
    {"cancel what failed", "put:1 flags:1:+\\Seen claim:9 park cancel:1",
     "1>1+\\Seen- !BUSY | 1F1+\\Seen- | 1F="},
    {"retry", "put:1 flags:1:+\\Seen claim:9 park retry:1",
     "1>1+\\Seen- | 2q1+\\Seen- | 1Q=\\Seen"},
    {"retry merges", "put:1 flags:1:+\\Seen claim:9 park flags:1:+$x retry:1",
     "1>1+\\Seen- | 2q1+\\Seen $x- | 1Q=\\Seen $x"},
    {"retry, whatever the mailbox kept", "put:1 flags:1:+$x claim:9 park keeps:\\Seen retry:1",
     "1>1+$x- | 2q1+$x- | 1Q=$x"},
    {"what was done is not parked", "put:1 flags:1:+\\Seen,+$x,-$y claim:9 narrow:$x,\\Draft park",
     "1>1+\\Seen $x-$y | 1F1+$x- | 1F="},
    {"retry what is queued", "put:1 flags:1:+\\Seen retry:1", "!GONE | 1q1+\\Seen- | 1Q=\\Seen"},
    {"retry when the message is gone", "put:1 put:2 flags:1:+\\Seen claim:9 park gone:1 retry:1",
     "1>1+\\Seen- !GONE | 1F0+\\Seen- | 2="},
    {"discard", "put:1 flags:1:+\\Seen claim:9 park discard:1", "1>1+\\Seen- | | 1="},
    {"discard what is queued", "put:1 flags:1:+\\Seen discard:1",
     "!GONE | 1q1+\\Seen- | 1Q=\\Seen"},

    {"flags the mailbox keeps", "keeps:\\Seen,$x put:1 flags:1:+\\Seen,+$X",
     "| 1q1+\\Seen $X- | 1Q=\\Seen $X"},
    {"a keyword it does not keep", "keeps:\\Seen put:1 flags:1:+\\Seen,+$x", "!DENIED | | 1="},
    {"any keyword", "keeps:\\Seen,\\* put:1 flags:1:+$x", "| 1q1+$x- | 1Q=$x"},
    {"a system flag it does not keep", "keeps:\\Seen,\\* put:1 flags:1:+\\Flagged",
     "!DENIED | | 1="},
    {"clearing what is not there is no harm", "keeps:\\Seen put:1 flags:1:-\\Flagged",
     "| 1q1+-\\Flagged | 1Q="},
    {"clearing what is there and not kept",
     "keeps:\\Seen put:1 server:1:\\Flagged flags:1:-\\Flagged", "!DENIED | | 1=\\Flagged"},
    {"a mailbox that keeps none", "keeps: put:1 server:1:$s flags:1:+\\Seen,-$s", "| | 1L=\\Seen"},
    {"kept here, changed again", "keeps: put:1 flags:1:+\\Seen flags:1:-\\Seen,+$x", "| | 1L=$x"},
    {"kept here after all", "put:1 flags:1:+\\Seen claim:9 here", "1>1+\\Seen- | | 1L=\\Seen"},
    {"pending over what is kept here",
     "keeps: put:1 flags:1:+\\Seen,+$x keeps:\\Seen,\\* flags:1:-\\Seen", "| 1q1+-\\Seen | 1Q=$x"},
    {"... and sent: not kept here any more",
     "keeps: put:1 flags:1:+\\Seen,+$x keeps:\\Seen,\\* flags:1:-\\Seen claim:9 done",
     "1>1+-\\Seen | | 1L=$x"},
    {"... all of it",
     "keeps: put:1 flags:1:+\\Seen,-$x keeps:\\Seen,\\* flags:1:-\\Seen,+$x claim:9 done"
     " server:1:$x",
     "1>1+$x-\\Seen | | 1=$x"},
    {"what is kept here goes with its message", "keeps: put:1 flags:1:+\\Seen gone:1 put:1",
     "| | 1="},

    {"expunged: dropped", "put:1 flags:1:+\\Seen gone:1", "~dropped1 | |"},
    {"expunged while it is sent", "put:1 flags:1:+\\Seen claim:9 gone:1 done",
     "1>1+\\Seen- ~dropped1 | |"},
    {"expunged, then lost", "put:1 flags:1:+\\Seen claim:9 gone:1 back",
     "1>1+\\Seen- ~dropped1 | |"},
    {"others stay", "put:1 put:2 flags:1:+\\Seen flags:2:+\\Seen gone:1",
     "~dropped1 | 2q2+\\Seen- | 2Q=\\Seen"},
    {"expunged, known by EMAILID: waits", "putid:1 flags:1:+\\Seen gone:1",
     "~adrift1 | 1a0+\\Seen- |"},
    {"... and is given up", "putid:1 flags:1:+\\Seen gone:1 drop:adrift", "~adrift1 dropped1 | |"},
    {"... or found", "putid:1 flags:1:+\\Seen gone:1 putid:3:1",
     "~adrift1 ~followed1 | 1q3+\\Seen- | 3Q=\\Seen"},
    {"expunged, known by Gmail's number: waits", "putgm:1 flags:1:+\\Seen gone:1 putgm:3:1",
     "~adrift1 ~followed1 | 1q3+\\Seen- | 3Q=\\Seen"},
    {"... but a deletion does not go elsewhere", "putgm:1 flags:1:+\\Deleted gone:1 putgm:3:1",
     "~dropped1 | | 3="},
    {"... as it does with EMAILID", "putid:1 flags:1:+\\Deleted gone:1 putid:3:1",
     "~adrift1 ~followed1 | 1q3+\\Deleted- | 3Q=\\Deleted"},
    {"... not by another", "putid:1 flags:1:+\\Seen gone:1 putid:3", "~adrift1 | 1a0+\\Seen- | 3="},

    {"UIDVALIDITY: waits", "put:1 flags:1:+\\Seen renew:11", "~unbound1 | 1u0+\\Seen- |"},
    {"... and is bound by identity", "put:1 flags:1:+\\Seen renew:11 put:2 put:3:1 bind",
     "~unbound1 bound1,parked0 | 1q3+\\Seen- | 2= 3Q=\\Seen"},
    {"... the UID alone is nothing", "put:1 flags:1:+\\Seen renew:11 put:1:2 bind",
     "~unbound1 bound0,parked1 ~parked1 | 1F0+\\Seen- | 1="},
    {"... two of them", "put:1 flags:1:+\\Seen renew:11 put:1 twin:2:1 bind",
     "~unbound1 bound0,parked1 ~parked1 | 1F0+\\Seen- | 1= 2="},
    {"... two of them before", "put:1 twin:2:1 flags:1:+\\Seen renew:11 put:1 bind",
     "~parked1 bound0,parked0 | 1F0+\\Seen- | 1="},
    {"... EMAILID tells twins apart", "putid:1 flags:1:+\\Seen renew:11 putid:1 twin:2:1 bind",
     "~unbound1 bound1,parked0 | 1q1+\\Seen- | 1Q=\\Seen 2="},
    {"... twice", "put:1 flags:1:+\\Seen renew:11 renew:12 put:3:1 bind",
     "~unbound1 ~unbound1 bound1,parked0 | 1q3+\\Seen- | 3Q=\\Seen"},
    {"... while it is sent", "put:1 flags:1:+\\Seen claim:9 renew:11 back put:3:1 bind",
     "1>1+\\Seen- ~unbound1 bound1,parked0 | 1q3+\\Seen- | 3Q=\\Seen"},
    {"... and a new wish merges", "put:1 flags:1:+\\Seen,+$x renew:11 put:3:1 flags:3:-\\Seen bind",
     "~unbound1 bound1,parked0 | 1q3+$x-\\Seen | 3Q=$x"},
    {"... what failed stays so", "put:1 flags:1:+\\Seen claim:9 park renew:11 put:1 bind",
     "1>1+\\Seen- bound0,parked0 | 1F0+\\Seen- | 1="},
    {"... nothing is claimed of what waits", "put:1 flags:1:+\\Seen renew:11 put:1 claim:9",
     "~unbound1 | 1u0+\\Seen- | 1="},

    {"mailbox gone: parked", "put:1 flags:1:+\\Seen lose", "~parked1 | 1F0+\\Seen- |"},
    {"mailbox gone, id known: waits", "boxid:M1 put:1 flags:1:+\\Seen lose",
     "~homeless1 | 1h1+\\Seen- |"},
    {"... renamed", "boxid:M1 put:1 flags:1:+\\Seen lose put:1 house:M1:10",
     "~homeless1 M1? | 1q1+\\Seen- | 1Q=\\Seen"},
    {"... renamed, other UIDs", "boxid:M1 put:1 flags:1:+\\Seen lose put:2:1 house:M1:11 bind",
     "~homeless1 M1? ~unbound1 bound1,parked0 | 1q2+\\Seen- | 2Q=\\Seen"},
    {"... another mailbox", "boxid:M1 put:1 flags:1:+\\Seen lose put:1 house:M2:10",
     "~homeless1 M1? | 1h1+\\Seen- | 1="},
    {"... deleted", "boxid:M1 put:1 flags:1:+\\Seen lose drop:M1", "~homeless1 dropped1 | |"},
};

static void test_stories(void **state)
{
    for (gsize i = 0; i < G_N_ELEMENTS(stories); i++) {
        Fixture fixture;
        fixture_init_small(&fixture);
        Story story = {.store = fixture_open(&fixture), .told = g_string_new(NULL)};
        reconcile(story.store, "INBOX", 1, NULL, NULL);
        story.box = box_id(story.store, "INBOX");
        g_auto(GStrv) steps = g_strsplit(stories[i].steps, " ", -1);
        StoreTxn *txn = begin(story.store);
        assert_true(update_box(&story, txn, NULL, false, NULL, NULL));
        commit(txn);
        for (char **step = steps; *step; step++)
            run_step(&story, *step);
        tell_end(&story);
        if (strcmp(story.told->str, stories[i].want) != 0)
            fail_msg("%s:\n  got  %s\n  want %s", stories[i].name, story.told->str,
                     stories[i].want);
        g_string_free(story.told, TRUE);
        g_clear_pointer(&story.claimed, g_ptr_array_unref);
        plans_check(fixture.store);
        fixture_clear(&fixture);
    }
}

/* What is logged durably is there after the store was closed and opened again. */
static void test_reopen(void **state)
{
    Fixture *fixture = *state;
    reconcile(fixture->store, "INBOX", 1, NULL, NULL);
    guint32 box = box_id(fixture->store, "INBOX");
    put_msgs(fixture->store, box, 1, 3);
    g_auto(Flags) set = {0};
    g_auto(Flags) clear = {0};
    flags_parse(&set, "\\Flagged $later");
    g_autoptr(GError) error = NULL;
    guint32 seq = 0;
    StoreTxn *txn = store_begin(fixture->store, true, &error);
    assert_true(log_flags(txn, box, 2, &set, &clear, 77, &seq, &error));
    assert_true(store_commit(txn, &error));
    fixture_close(fixture);
    fixture_open(fixture);
    LogOp op;
    assert_true(log_get(store_reader(fixture->store), seq, &op));
    assert_string_equal(op.set, "\\Flagged $later");
    assert_string_equal(op.mailbox, "INBOX");
    assert_int_equal(op.logged_ns, 77);
    assert_int_equal(op.uid, 2);
    log_op_clear(&op);
    g_autoptr(GArray) due = log_due(store_reader(fixture->store));
    assert_int_equal(due->len, 1);
    assert_int_equal(g_array_index(due, LogDue, 0).box, box);
    assert_false(log_get(store_reader(fixture->store), seq + 1, &op));
}

/* Many operations under a mailbox that is replaced: one pass, not one search each. */
static void test_bind_many(void **state)
{
    enum { N = 3000 };
    Fixture *fixture = *state;
    Store *store = fixture->store;
    Story story = {.store = store};
    reconcile(store, "INBOX", 1, NULL, NULL);
    story.box = box_id(store, "INBOX");
    g_auto(Flags) set = {0};
    g_auto(Flags) clear = {0};
    flags_parse(&set, "\\Seen");
    StoreTxn *txn = begin(store);
    assert_true(update_box(&story, txn, NULL, false, NULL, NULL));
    for (guint32 uid = 1; uid <= N; uid++) {
        g_autofree char *emailid = NULL, *message_id = NULL;
        StoreMsg msg = story_msg(uid, &emailid, &message_id);
        assert_true(store_msg_put(txn, story.box, &msg, NULL, NULL));
        assert_true(log_flags(txn, story.box, uid, &set, &clear, 1, NULL, NULL));
    }
    assert_true(store_box_renew(txn, story.box, 11, 1, &story.box, NULL));
    for (guint32 uid = 1; uid <= N; uid++) {
        g_autofree char *emailid = NULL, *message_id = NULL;
        StoreMsg msg = story_msg(uid, &emailid, &message_id);
        msg.uid = 2 * N - uid;
        assert_true(store_msg_put(txn, story.box, &msg, NULL, NULL));
    }
    guint bound, parked;
    assert_true(log_bind_unbound(txn, story.box, &bound, &parked, NULL));
    assert_int_equal(bound, N);
    assert_int_equal(parked, 0);
    commit(txn);
    LogCounts counts;
    log_count(store_reader(store), story.box, 2 * N - 7, &counts);
    assert_int_equal(counts.pending, 1);
    log_count(store_reader(store), story.box, 0, &counts);
    assert_int_equal(counts.pending, N);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stories),
        cmocka_unit_test_setup_teardown(test_reopen, setup_store, teardown_store),
        cmocka_unit_test_setup_teardown(test_bind_many, setup_store, teardown_store),
    };
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
