/* test_log_boxes.c - mailboxes that are made, removed and renamed here: what is shown, what is
 * sent, and what LIST makes of it.
 *
 * A story is steps separated by ';' against a server that is a list of names:
 *   mkdir A, rmdir A, mv A B   what a person does; "!" in front: it is refused
 *   put A, take A              a message that is placed in A and not sent yet; it is sent
 *   make A, drop A, move A B   what another client does on the server
 *   list                       LIST is laid over the rows
 *   send, no                   the next operation is sent, and done or refused for good
 *   lost, late                 the same, cut before and after the server had it
 *   restart                    the mount begins anew
 * After it come what is shown, what is pending, and what the server has. */
#include "plans_check.h"
#include "imapfs/store/log.h"
#include "../../../src/store/box_private.h"

typedef struct {
    Fixture fixture;
    Store *store;
    GPtrArray *server; /* of char * */
    guint32 letter;
    const char *title;
    guint n_wrong;
} Story;

/* --- the server --- */

static bool is_of(const char *name, const char *top)
{
    gsize n = strlen(top);
    return strncmp(name, top, n) == 0 && (name[n] == '\0' || name[n] == '/');
}

static bool server_has(Story *self, const char *name)
{
    return g_ptr_array_find_with_equal_func(self->server, name, g_str_equal, NULL);
}

static void server_make(Story *self, const char *name)
{
    if (!server_has(self, name))
        g_ptr_array_add(self->server, g_strdup(name));
}

static void server_drop(Story *self, const char *name)
{
    guint i;
    if (g_ptr_array_find_with_equal_func(self->server, name, g_str_equal, &i))
        g_ptr_array_remove_index(self->server, i);
}

static void server_move(Story *self, const char *from, const char *to)
{
    for (guint i = 0; i < self->server->len; i++) {
        char *name = self->server->pdata[i];
        if (!is_of(name, from))
            continue;
        self->server->pdata[i] = g_strconcat(to, name + strlen(from), NULL);
        g_free(name);
    }
}

static void server_do(Story *self, const LogOp *op, const char *name)
{
    if (op->kind == LOG_MKBOX)
        server_make(self, op->mailbox);
    else if (op->kind == LOG_RMBOX)
        server_drop(self, name);
    else
        server_move(self, name, op->target);
}

static void list(Story *self)
{
    g_autoptr(GArray) listings = g_array_new(FALSE, FALSE, sizeof(StoreListing));
    GError *error = NULL;
    for (guint i = 0; i < self->server->len; i++) {
        StoreListing one = {self->server->pdata[i], '/', 0};
        g_array_append_val(listings, one);
    }
    StoreTxn *txn = begin(self->store);
    assert_true(store_boxes_reconcile(txn, (const StoreListing *)(void *)listings->data,
                                      listings->len, 5, NULL, NULL, &error));
    assert_no_error(error);
    commit(txn);
}

/* --- steps --- */

static guint32 id_of(Story *self, const char *name)
{
    StoreBox box = {0};
    if (!store_box_by_name(store_reader(self->store), name, &box))
        fail_msg("%s: no %s", self->title, name);
    guint32 id = box.id;
    store_box_clear(&box);
    return id;
}

/* As if all mailboxes had been listed, and found empty. */
static void note_listed(StoreTxn *txn)
{
    static const char sql[] = "UPDATE box SET listed = 1";
    Query query;
    assert_true(txn_open_query(txn, &query, sql, NULL));
    assert_true(txn_run_query(txn, &query, NULL));
}

static void person(Story *self, char **words, bool refused)
{
    GError *error = NULL;
    bool ok = false;
    guint32 id = strcmp(words[0], "mkdir") ? id_of(self, words[1]) : 0;
    StoreTxn *txn = begin(self->store);
    note_listed(txn);
    if (strcmp(words[0], "mkdir") == 0)
        ok = log_mkbox(txn, words[1], 7, NULL, &error);
    else if (strcmp(words[0], "rmdir") == 0)
        ok = log_rmbox(txn, id, 7, &error);
    else
        ok = log_renbox(txn, id, words[2], 7, &error);
    commit(txn); /* a refusal leaves the transaction as it was */
    if (ok == refused)
        fail_msg("%s: %s %s: %s", self->title, words[0], words[1], error ? error->message : "done");
    g_clear_error(&error);
}

static void put_letter(Story *self, const char *name)
{
    const StoreMsg msg = {.uid = ++self->letter,
                          .name = (char *)"x",
                          .from = (char *)"",
                          .subject = (char *)"",
                          .flags = (char *)""};
    GError *error = NULL;
    guint32 box = id_of(self, name), seq;
    StoreTxn *txn = begin(self->store);
    assert_true(log_append(txn, box, &msg, 7, &seq, &error));
    assert_no_error(error);
    commit(txn);
}

static bool is_append(const LogOp *op, gpointer data)
{
    if (op->kind == LOG_APPEND)
        *(guint32 *)data = op->seq;
    return op->kind != LOG_APPEND;
}

static void take_letter(Story *self)
{
    guint32 seq = 0;
    log_each(store_reader(self->store), false, 0, is_append, &seq);
    assert_true(seq != 0);
    StoreTxn *txn = begin(self->store);
    assert_true(log_placed(txn, seq, 1, 0, false, NULL));
    commit(txn);
}

static void replay(Story *self, const char *how)
{
    LogOp op = {0};
    gint64 due;
    if (!log_next_box(store_reader(self->store), 8, &op, &due))
        fail_msg("%s: nothing to %s", self->title, how);
    assert_int_equal(op.state, LOG_QUEUED);
    StoreTxn *txn = begin(self->store);
    g_autofree char *name = log_wire_name(store_txn_reader(txn), op.box);
    assert_true(log_claim_box(txn, op.seq, NULL));
    if (strcmp(how, "send") == 0 || strcmp(how, "late") == 0)
        server_do(self, &op, name);
    GError *error = NULL;
    bool ok = strcmp(how, "send") == 0   ? log_done(txn, op.seq, &error)
              : strcmp(how, "no") == 0   ? log_park(txn, op.seq, "no", &error)
              : strcmp(how, "hold") == 0 ? log_requeue(txn, op.seq, 0, 100, "full", &error)
                                         : log_unsure(txn, op.seq, &error);
    if (!ok)
        fail_msg("%s: %s: %s", self->title, how, error->message);
    commit(txn);
    log_op_clear(&op);
}

/* Nothing may be sent before what is put off. */
static void check_idle(Story *self)
{
    LogOp op = {0};
    gint64 due;
    if (log_next_box(store_reader(self->store), 8, &op, &due))
        fail_msg("%s: %s is next", self->title, op.mailbox);
    assert_int_equal(due, 100);
}

static void restart(Story *self)
{
    StoreTxn *txn = begin(self->store);
    assert_true(log_recover(txn, NULL));
    commit(txn);
}

static void step(Story *self, const char *text)
{
    g_auto(GStrv) words = g_strsplit(text, " ", -1);
    const char *verb = words[0];
    if (*verb == '!') {
        memmove(words[0], verb + 1, strlen(verb));
        person(self, words, true);
    } else if (strcmp(verb, "mkdir") == 0 || strcmp(verb, "rmdir") == 0 ||
               strcmp(verb, "mv") == 0) {
        person(self, words, false);
    } else if (strcmp(verb, "put") == 0) {
        put_letter(self, words[1]);
    } else if (strcmp(verb, "take") == 0) {
        take_letter(self);
    } else if (strcmp(verb, "make") == 0) {
        server_make(self, words[1]);
    } else if (strcmp(verb, "drop") == 0) {
        server_drop(self, words[1]);
    } else if (strcmp(verb, "move") == 0) {
        server_move(self, words[1], words[2]);
    } else if (strcmp(verb, "list") == 0) {
        list(self);
    } else if (strcmp(verb, "restart") == 0) {
        restart(self);
    } else if (strcmp(verb, "idle") == 0) {
        check_idle(self);
    } else {
        replay(self, verb);
    }
}

/* --- what is there --- */

static gint by_text(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static char *join(GPtrArray *texts)
{
    g_ptr_array_sort(texts, by_text);
    g_ptr_array_add(texts, NULL);
    char *out = g_strjoinv(" ", (char **)texts->pdata);
    g_ptr_array_unref(texts);
    return out;
}

/* By the tree, and each must be where its name says. */
typedef struct {
    Story *story;
    GPtrArray *out;
    const char *above;
} Shown;

static bool note_shown(const StoreBox *box, gpointer data)
{
    Shown *self = data;
    g_autofree char *name =
        self->above ? g_strdup_printf("%s/%s", self->above, box->leaf) : g_strdup(box->leaf);
    if (strcmp(name, box->name) != 0)
        fail_msg("%s: %s is shown as %s", self->story->title, box->name, name);
    if (box->local != (box->wire_name == NULL))
        fail_msg("%s: %s: local %d, wire %s", self->story->title, name, box->local, box->wire_name);
    g_ptr_array_add(self->out, g_strconcat(name, box->local ? "+" : "", NULL));
    Shown below = {self->story, self->out, name};
    store_box_children(store_reader(self->story->store), box->id, 0, note_shown, &below);
    return true;
}

static bool note_op(const LogOp *op, gpointer data)
{
    if (log_is_of_box(op->kind))
        g_ptr_array_add(data,
                        op->kind == LOG_RENBOX
                            ? g_strdup_printf("%u:%s>%s", op->seq, op->mailbox, op->target)
                            : g_strdup_printf("%u:%s%s", op->seq, op->kind == LOG_MKBOX ? "+" : "-",
                                              op->mailbox));
    return true;
}

static char *ops(Story *self, bool failed)
{
    GPtrArray *out = g_ptr_array_new_with_free_func(g_free);
    log_each(store_reader(self->store), failed, 0, note_op, out);
    for (guint i = 0; i < out->len; i++) { /* their numbers are not of interest, their order is */
        char *text = out->pdata[i];
        memmove(text, strchr(text, ':') + 1, strlen(strchr(text, ':')));
    }
    g_ptr_array_add(out, NULL);
    char *text = g_strjoinv(" ", (char **)out->pdata);
    g_ptr_array_unref(out);
    return text;
}

static char *shown(Story *self)
{
    GPtrArray *out = g_ptr_array_new_with_free_func(g_free);
    Shown top = {self, out, NULL};
    store_box_children(store_reader(self->store), 0, 0, note_shown, &top);
    return join(out);
}

static char *server_names(Story *self)
{
    GPtrArray *out = g_ptr_array_new_with_free_func(g_free);
    for (guint i = 0; i < self->server->len; i++)
        g_ptr_array_add(out, g_strdup(self->server->pdata[i]));
    return join(out);
}

static void check(Story *self, const char *what, char *got, const char *want)
{
    if (want && strcmp(got, want) != 0)
        print_error("%s: %s: \"%s\", not \"%s\"\n", self->title, what, got, want), self->n_wrong++;
    g_free(got);
}

static void story_begin(Story *self, const char *title, const char *server)
{
    *self = (Story){.title = title};
    fixture_init_small(&self->fixture);
    self->store = fixture_open(&self->fixture);
    self->server = g_ptr_array_new_with_free_func(g_free);
    g_auto(GStrv) names = g_strsplit(server, " ", -1);
    for (char **name = names; *name; name++)
        server_make(self, *name);
    list(self);
}

static guint story_close(Story *self)
{
    g_ptr_array_unref(self->server);
    plans_check(self->fixture.store);
    fixture_clear(&self->fixture);
    return self->n_wrong;
}

static void story_end(Story *self)
{
    assert_int_equal(story_close(self), 0);
}

static void story_go(Story *self, const char *steps)
{
    g_auto(GStrv) all = g_strsplit(steps, "; ", -1);
    for (char **one = all; *one; one++)
        step(self, *one);
}

/* --- the stories --- */

static const struct {
    const char *steps;
    const char *server; /* at the beginning, beside INBOX */
    const char *shown, *pending, *failed, *after;
} stories[] = {
    /* made */
    {"mkdir a", "", "INBOX a+", "+a", "", "INBOX"},
    {"mkdir a; send", "", "INBOX a", "", "", "INBOX a"},
    {"mkdir a; send; list", "", "INBOX a", "", "", "INBOX a"},
    {"mkdir a; list", "", "INBOX a+", "+a", "", "INBOX"},
    {"mkdir a; mkdir a/b; list; send; list; send; list", "", "INBOX a a/b", "", "", "INBOX a a/b"},
    {"mkdir INBOX/x; send; list", "", "INBOX INBOX/x", "", "", "INBOX INBOX/x"},
    {"!mkdir a", "a", "INBOX a", "", "", "INBOX a"},
    {"!mkdir inbox", "", "INBOX", "", "", "INBOX"},
    {"!mkdir a/b", "", "INBOX", "", "", "INBOX"},
    {"mkdir a; !mkdir a", "", "INBOX a+", "+a", "", "INBOX"},
    /* ... by another as well: it is that one */
    {"mkdir a; make a; list", "", "INBOX a", "", "", "INBOX a"},
    {"mkdir a; mkdir a/b; make a; list", "", "INBOX a a/b+", "+a/b", "", "INBOX a"},
    {"mkdir a; make a/x; list", "", "INBOX a+ a/x", "+a", "", "INBOX a/x"},
    /* ... and cut */
    {"mkdir a; lost; list", "", "INBOX a+", "+a", "", "INBOX"},
    {"mkdir a; lost; list; send; list", "", "INBOX a", "", "", "INBOX a"},
    {"mkdir a; late; list", "", "INBOX a", "", "", "INBOX a"},
    {"mkdir a; late; restart; list", "", "INBOX a", "", "", "INBOX a"},
    {"mkdir a; late; drop a; list; send; list", "", "INBOX a", "", "", "INBOX a"},
    /* ... and refused */
    {"mkdir a; no; list", "", "INBOX", "", "+a", "INBOX"},
    {"mkdir a; mkdir a/b; no; list", "", "INBOX", "", "+a +a/b", "INBOX"},
    {"mkdir a; mv x a/x; no; list", "x", "INBOX x", "", "+a x>a/x", "INBOX x"},
    {"mkdir a; put a; no; list", "", "INBOX", "", "+a", "INBOX"},
    {"mkdir a; no; mkdir a; send; list", "", "INBOX a", "", "+a", "INBOX a"},
    /* never sent */
    {"mkdir a; rmdir a; list", "", "INBOX", "", "", "INBOX"},
    {"mkdir a; mv a b; rmdir b; list", "", "INBOX", "", "", "INBOX"},
    {"mkdir a; mkdir a/b; rmdir a/b; rmdir a", "", "INBOX", "", "", "INBOX"},
    {"mkdir a; mv a b; list", "", "INBOX b+", "+b", "", "INBOX"},
    {"mkdir a; mkdir a/b; mv a c; list", "", "INBOX c+ c/b+", "+c +c/b", "", "INBOX"},
    {"mkdir a; mv x a/x; mv a b; list", "x", "INBOX b+ b/x", "+b x>b/x", "", "INBOX x"},
    {"mkdir a; put a; !rmdir a; take a; rmdir a", "", "INBOX", "", "", "INBOX"},
    /* sent in between */
    {"mkdir a; late; rmdir a; list; send; list", "", "INBOX", "", "", "INBOX"},
    {"mkdir a; lost; mv a b; list; send; list; send; list", "", "INBOX b", "", "", "INBOX b"},
    {"mkdir a; late; mv a b; list; send; list", "", "INBOX b", "", "", "INBOX b"},
    /* removed */
    {"rmdir a", "a", "INBOX", "-a", "", "INBOX a"},
    {"rmdir a; list", "a", "INBOX", "-a", "", "INBOX a"},
    {"rmdir a; list; send; list", "a", "INBOX", "", "", "INBOX"},
    {"rmdir a; lost; list", "a", "INBOX", "-a", "", "INBOX a"},
    {"rmdir a; late; list", "a", "INBOX", "", "", "INBOX"},
    {"rmdir a; late; make a; list", "a", "INBOX", "-a", "", "INBOX a"},
    {"rmdir a; no", "a", "INBOX a", "", "-a", "INBOX a"},
    {"rmdir a; no; list", "a", "INBOX a", "", "-a", "INBOX a"},
    {"rmdir a; drop a; list", "a", "INBOX", "", "", "INBOX"},
    {"rmdir a; make a/x; list", "a", "INBOX a a/x", "-a", "", "INBOX a a/x"},
    {"!rmdir a; rmdir a/b; rmdir a; send; send; list", "a a/b", "INBOX", "", "", "INBOX"},
    {"!rmdir INBOX", "", "INBOX", "", "", "INBOX"},
    {"put a; !rmdir a", "a", "INBOX a", "", "", "INBOX a"},
    /* ... and made again */
    {"rmdir a; mkdir a; list", "a", "INBOX a", "", "", "INBOX a"},
    {"rmdir a; lost; mkdir a; list; send; send; list", "a", "INBOX a", "", "", "INBOX a"},
    {"rmdir a; late; mkdir a; list; send; list", "a", "INBOX a", "", "", "INBOX a"},
    {"rmdir a; lost; mkdir a; list; no; list", "a", "INBOX a", "", "-a +a", "INBOX a"},
    {"rmdir a; mv b a; list; send; list; send; list", "a b", "INBOX a", "", "", "INBOX a"},
    {"rmdir a; mv b a; no; list", "a b", "INBOX a b", "", "-a b>a", "INBOX a b"},
    /* renamed */
    {"mv a b", "a", "INBOX b", "a>b", "", "INBOX a"},
    {"mv a b; list", "a a/x", "INBOX b b/x", "a>b", "", "INBOX a a/x"},
    {"mv a b; list; send; list", "a a/x", "INBOX b b/x", "", "", "INBOX b b/x"},
    {"mv a b; send", "a a/x", "INBOX b b/x", "", "", "INBOX b b/x"},
    {"mv a b/a; list; send; list", "a a/x b", "INBOX b b/a b/a/x", "", "", "INBOX b b/a b/a/x"},
    {"mv b/a a; list; send; list", "b b/a b/a/x", "INBOX a a/x b", "", "", "INBOX a a/x b"},
    {"mv a b; mv b c; list", "a", "INBOX c", "a>c", "", "INBOX a"},
    {"mv a b; mv b a; list", "a", "INBOX a", "", "", "INBOX a"},
    {"mv a b; mkdir b/y; mv b a; list", "a", "INBOX a a/y+", "+a/y", "", "INBOX a"},
    {"mv a b; mkdir b/y; list; send; list; send; list", "a", "INBOX b b/y", "", "", "INBOX b b/y"},
    {"mkdir a/y; mv a b; list; send; list; send; list", "a", "INBOX b b/y", "", "", "INBOX b b/y"},
    {"mv a t; mv b a; mv t b; list; send; send; send; list", "a a/1 b b/2", "INBOX a a/2 b b/1", "",
     "", "INBOX a a/2 b b/1"},
    {"!mv a b; !mv a a/x; !mv a INBOX; !mv INBOX c; !mv a n/x", "a b", "INBOX a b", "", "",
     "INBOX a b"},
    {"mv a b; mkdir a; list; send; list; send; list", "a a/x", "INBOX a b b/x", "", "",
     "INBOX a b b/x"},
    {"rmdir a/x; mv a b; list; send; send; list", "a a/x", "INBOX b", "", "", "INBOX b"},
    {"mv a b; rmdir b; send; send; list", "a", "INBOX", "", "", "INBOX"},
    /* ... and cut */
    {"mv a b; lost; list", "a a/x", "INBOX b b/x", "a>b", "", "INBOX a a/x"},
    {"mv a b; late; list", "a a/x", "INBOX b b/x", "", "", "INBOX b b/x"},
    {"mv a b; late; restart; list", "a a/x", "INBOX b b/x", "", "", "INBOX b b/x"},
    {"mv a b; lost; make b; list", "a", "INBOX a b", "", "a>b", "INBOX a b"},
    {"mv a b; lost; drop a; list", "a", "INBOX", "", "a>b", "INBOX"},
    {"mv a b; lost; mv b c; list; send; send; list", "a", "INBOX c", "", "", "INBOX c"},
    {"mv a b; late; mv b c; list; send; list", "a", "INBOX c", "", "", "INBOX c"},
    /* ... and refused, or overtaken */
    {"mv a b; no; list", "a a/x", "INBOX a a/x", "", "a>b", "INBOX a a/x"},
    {"mv a b; mkdir b/y; no; list", "a a/x", "INBOX a a/x", "", "a>b +b/y", "INBOX a a/x"},
    {"mv a b; mkdir a; no; list", "a", "INBOX a", "", "a>b +a", "INBOX a"},
    {"mv a b; make b; list", "a", "INBOX a b", "", "a>b", "INBOX a b"},
    {"mv a b; move a b; list", "a a/x", "INBOX b b/x", "", "", "INBOX b b/x"},
    {"mv a b; move a c; list", "a", "INBOX c", "", "a>b", "INBOX c"},
    {"mv a b; drop a; list", "a", "INBOX", "", "a>b", "INBOX"},
    {"mv a b; make a/new; list", "a", "INBOX b b/new", "a>b", "", "INBOX a a/new"},
    /* put off: what has nothing to do with it is sent */
    {"mkdir a; mkdir b; hold; send; idle; list", "", "INBOX a+ b", "+a", "", "INBOX b"},
    {"mkdir a; mkdir a/x; mkdir b; hold; send; idle; list", "", "INBOX a+ a/x+ b", "+a +a/x", "",
     "INBOX b"},
    {"mkdir a; mv x a/x; mkdir a/x/y; hold; idle", "x", "INBOX a+ a/x a/x/y+", "+a x>a/x +a/x/y",
     "", "INBOX x"},
    {"mv a b; mkdir a; mkdir ab; hold; send; idle; list", "a", "INBOX a+ ab b", "a>b +a", "",
     "INBOX a ab"},
    {"mv a/x c; rmdir a; mv d e; hold; send; idle; list", "a a/x d", "INBOX c e", "a/x>c -a", "",
     "INBOX a a/x e"},
    /* what waits for messages is passed by what they may wait for */
    {"put x; mkdir a; take x; send; list", "x", "INBOX a x", "", "", "INBOX a x"},
};

static void test_stories(void **state)
{
    guint n_wrong = 0;
    for (gsize i = 0; i < G_N_ELEMENTS(stories); i++) {
        g_autofree char *server = g_strstrip(g_strconcat("INBOX ", stories[i].server, NULL));
        g_autofree char *title = g_strdup_printf("%zu \"%s\"", i, stories[i].steps);
        Story story;
        story_begin(&story, title, server);
        story_go(&story, stories[i].steps);
        check(&story, "shown", shown(&story), stories[i].shown);
        check(&story, "pending", ops(&story, false), stories[i].pending);
        check(&story, "failed", ops(&story, true), stories[i].failed);
        check(&story, "server", server_names(&story), stories[i].after);
        n_wrong += story_close(&story);
    }
    assert_int_equal(n_wrong, 0);
    (void)state;
}

/* Whatever it is called, a mailbox keeps its number. */
static void test_ids(void **state)
{
    Story story;
    story_begin(&story, "ids", "INBOX a a/x");
    guint32 a = id_of(&story, "a"), x = id_of(&story, "a/x");
    story_go(&story, "mkdir n; mv a n/b; list");
    guint32 n = id_of(&story, "n");
    assert_int_equal(id_of(&story, "n/b"), a);
    assert_int_equal(id_of(&story, "n/b/x"), x);
    story_go(&story, "send; list; send; list");
    assert_int_equal(id_of(&story, "n"), n);
    assert_int_equal(id_of(&story, "n/b"), a);
    assert_int_equal(id_of(&story, "n/b/x"), x);
    story_end(&story);
    (void)state;
}

static void test_wire_names(void **state)
{
    Story story;
    story_begin(&story, "names", "INBOX a a/x");
    story_go(&story, "mv a b; mkdir b/n");
    StoreReader *reader = store_reader(story.store);
    static const char *const want[][2] = {{"b", "a"}, {"b/x", "a/x"}, {"b/n", "b/n"}};
    for (gsize i = 0; i < G_N_ELEMENTS(want); i++) {
        g_autofree char *name = log_wire_name(reader, id_of(&story, want[i][0]));
        assert_string_equal(name, want[i][1]);
    }
    StoreBox box = {0};
    assert_true(store_box_by_wire_name(reader, "a/x", &box));
    assert_int_equal(box.id, id_of(&story, "b/x"));
    store_box_clear(&box);
    assert_false(store_box_by_wire_name(reader, "b", &box));
    story_end(&story);
    (void)state;
}

/* A mailbox goes when what was logged before has left it; others need not wait for that. */
static void test_waiting(void **state)
{
    Story story;
    story_begin(&story, "waiting", "INBOX a b");
    put_letter(&story, "a"); /* logged first, in a by accident of this test: it is moved on */
    StoreTxn *txn = begin(story.store);
    StoreBox box = {.id = id_of(&story, "a")};
    assert_true(store_box_by_id(store_txn_reader(txn), box.id, &box));
    assert_true(box_set_doomed(txn, &box, true, 9, NULL));
    store_box_clear(&box);
    static const char sql[] =
        "INSERT INTO log(kind, box, uid, uidvalidity, plus, minus, logged_ns, mailbox, name,"
        " internaldate, size) SELECT 6, id, 0, 0, '', '', 9, name, '', 0, 0 FROM box"
        " WHERE doomed = 1";
    Query query;
    assert_true(txn_open_query(txn, &query, sql, NULL));
    assert_true(txn_run_query(txn, &query, NULL));
    commit(txn);
    story_go(&story, "!mv b a; mkdir c");
    LogOp op = {0};
    gint64 due;
    assert_true(log_next_box(store_reader(story.store), 10, &op, &due));
    assert_string_equal(op.mailbox, "c");
    log_op_clear(&op);
    story_go(&story, "send; take a; send; list");
    check(&story, "server", server_names(&story), "INBOX b c");
    story_end(&story);
    (void)state;
}

static void put_message(Story *self, guint32 box)
{
    StoreMsg msg = {.uid = 1, .name = (char *)"x", .from = (char *)"", .subject = (char *)""};
    StoreTxn *txn = begin(self->store);
    msg.flags = (char *)"";
    assert_true(store_msg_put(txn, box, &msg, NULL, NULL));
    commit(txn);
}

/* What a server without MOVE has copied out of a mailbox is expunged there before that goes, though
 * the EXPUNGE is logged after the mailbox was removed here. */
static void test_moved_out_by_copy(void **state)
{
    Story story;
    story_begin(&story, "moved out by copy", "INBOX a b");
    guint32 from = id_of(&story, "a"), to = id_of(&story, "b"), n, seq;
    LogOp op = {0};
    gint64 due;
    put_message(&story, from);
    StoreTxn *txn = begin(story.store);
    note_listed(txn);
    assert_true(log_move(txn, from, 1, to, false, 1, &n, &seq, NULL));
    commit(txn);
    story_go(&story, "rmdir a");
    g_autoptr(GPtrArray) ops = NULL;
    txn = begin(story.store);
    assert_true(log_claim(txn, from, G_MAXINT64, LOG_ANY, 1, &ops, NULL));
    commit(txn);
    assert_false(log_next_box(store_reader(story.store), 10, &op, &due));
    txn = begin(story.store);
    assert_true(log_placed(txn, seq, 10, 1, true, NULL));
    commit(txn);
    assert_false(log_next_box(store_reader(story.store), 10, &op, &due));
    g_clear_pointer(&ops, g_ptr_array_unref);
    txn = begin(story.store);
    assert_true(log_claim(txn, from, G_MAXINT64, LOG_ANY, 1, &ops, NULL));
    assert_int_equal(((LogOp *)ops->pdata[0])->kind, LOG_EXPUNGE);
    assert_true(log_hide(txn, ((LogOp *)ops->pdata[0])->seq, NULL));
    commit(txn);
    assert_true(log_next_box(store_reader(story.store), 10, &op, &due));
    assert_int_equal(op.kind, LOG_RMBOX);
    log_op_clear(&op);
    story_end(&story);
    (void)state;
}

/* A refusal of the server holds up what builds on it. */
static void test_back_off(void **state)
{
    Story story;
    story_begin(&story, "back-off", "INBOX");
    story_go(&story, "mkdir a; mkdir a/b");
    LogOp op = {0};
    gint64 due = 0;
    assert_true(log_next_box(store_reader(story.store), 10, &op, &due));
    StoreTxn *txn = begin(story.store);
    assert_true(log_claim_box(txn, op.seq, NULL));
    assert_true(log_requeue(txn, op.seq, 1, 1000, "later", NULL));
    commit(txn);
    log_op_clear(&op);
    assert_false(log_next_box(store_reader(story.store), 10, &op, &due));
    assert_int_equal(due, 1000);
    assert_true(log_next_box(store_reader(story.store), 1000, &op, &due));
    assert_int_equal(op.attempts, 1);
    assert_string_equal(op.mailbox, "a");
    log_op_clear(&op);
    story_end(&story);
    (void)state;
}

static void test_cancel_and_retry(void **state)
{
    static const struct {
        const char *before, *server, *shown;
        bool failed, ok;
    } rows[] = {
        {"mkdir a", "INBOX", "INBOX", false, true},
        {"mkdir a; mkdir a/b", "INBOX", "INBOX a+ a/b+", false, false},
        {"mkdir a; put a", "INBOX", "INBOX a+", false, false},
        {"rmdir a", "INBOX a", "INBOX a", false, true},
        {"mv a b", "INBOX a a/x", "INBOX a a/x", false, true},
        {"mv a b; mkdir a", "INBOX a", "INBOX a+ b", false, false},
        {"mkdir a; no", "INBOX", "INBOX a+", true, true},
        {"rmdir a; no", "INBOX a", "INBOX", true, true},
        {"mv a b; no", "INBOX a a/x", "INBOX b b/x", true, true},
        {"mv a b; no; make b; list", "INBOX a", "INBOX a b", true, false},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        Story story;
        GError *error = NULL;
        guint32 first = 0;
        story_begin(&story, rows[i].before, rows[i].server);
        story_go(&story, rows[i].before);
        for (guint32 seq = 1; seq < 10 && first == 0; seq++) {
            LogOp op = {0};
            if (log_get(store_reader(story.store), seq, &op))
                first = seq;
            log_op_clear(&op);
        }
        StoreTxn *txn = begin(story.store);
        bool ok =
            rows[i].failed ? log_retry(txn, first, 9, &error) : log_cancel(txn, first, &error);
        commit(txn);
        if (ok != rows[i].ok)
            fail_msg("%s: %s", rows[i].before, error ? error->message : "done");
        g_clear_error(&error);
        check(&story, "shown", shown(&story), rows[i].shown);
        story_end(&story);
    }
    (void)state;
}

static void test_namespace(void **state)
{
    Story story;
    story_begin(&story, "namespace", "INBOX");
    StoreTxn *txn = begin(story.store);
    assert_true(store_meta_put(txn, STORE_META_NAMESPACES, "INBOX/\n", NULL));
    commit(txn);
    story_go(&story, "!mkdir a; mkdir INBOX/a");
    story_end(&story);
    (void)state;
}

static void test_rights(void **state)
{
    Story story;
    story_begin(&story, "rights", "INBOX a b");
    StoreTxn *txn = begin(story.store);
    StoreBox box = {0};
    assert_true(store_box_by_name(store_txn_reader(txn), "a", &box));
    box.rights = g_strdup("lrs");
    assert_true(store_box_update(txn, &box, NULL));
    store_box_clear(&box);
    commit(txn);
    story_go(&story, "!mkdir a/x; !rmdir a; !mv a c; !mv b a/b; mkdir b/x");
    story_end(&story);
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stories),
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_wire_names),
        cmocka_unit_test(test_waiting),
        cmocka_unit_test(test_moved_out_by_copy),
        cmocka_unit_test(test_back_off),
        cmocka_unit_test(test_cancel_and_retry),
        cmocka_unit_test(test_namespace),
        cmocka_unit_test(test_rights),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
