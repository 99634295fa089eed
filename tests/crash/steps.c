/* steps.c - the steps of a driver's script.
 *
 * The one rule: a change and the number of its step are committed in one transaction, so that a run
 * that was killed goes on exactly after what is in the store, and what it had acknowledged but is
 * not there is known to be lost. */
#include "steps.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include "imapfs/base/clock.h"
#include "imapfs/base/error.h"
#include "imapfs/wire/response.h"

#define STEP_KEY "crash.step"
#define REFUSED " refused" /* behind its number */
#define RETRY_US (20 * 1000)

/* --- asking the engine --- */

typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t done;
    bool over;
    GError *error;
} Answer;

static void on_answer(const GError *error, gpointer data)
{
    Answer *answer = data;
    pthread_mutex_lock(&answer->lock);
    answer->over = true;
    answer->error = error ? g_error_copy(error) : NULL;
    pthread_cond_signal(&answer->done);
    pthread_mutex_unlock(&answer->lock);
}

static bool ask(Driver *driver, const Need *need, GError **error)
{
    Answer answer = {.lock = PTHREAD_MUTEX_INITIALIZER, .done = PTHREAD_COND_INITIALIZER};
    gint64 until_us = g_get_monotonic_time() + (gint64)driver->wait_ms * 1000;
    struct timespec until = {.tv_sec = until_us / G_USEC_PER_SEC,
                             .tv_nsec = until_us % G_USEC_PER_SEC * 1000};
    guint64 handle = engine_want(driver->engine, need, on_answer, &answer);
    pthread_mutex_lock(&answer.lock);
    while (!answer.over) {
        if (pthread_cond_clockwait(&answer.done, &answer.lock, CLOCK_MONOTONIC, &until) != 0) {
            pthread_mutex_unlock(&answer.lock);
            engine_cancel(driver->engine, handle);
            pthread_mutex_lock(&answer.lock);
            until.tv_sec += 5; /* it is answered soon now */
        }
    }
    pthread_mutex_unlock(&answer.lock);
    if (answer.error)
        g_propagate_error(error, answer.error);
    return !answer.error;
}

static bool is_of_connection(const GError *error)
{
    return error->domain == IMAPFS_ERROR &&
           (error->code == IMAPFS_ERROR_OFFLINE || error->code == IMAPFS_ERROR_LOST ||
            error->code == IMAPFS_ERROR_TIMEOUT);
}

bool ask_until(Driver *driver, const Need *need, GError **error)
{
    gint64 until_us = g_get_monotonic_time() + (gint64)driver->wait_ms * 1000;
    for (;;) {
        g_autoptr(GError) problem = NULL;
        if (!driver->offline)
            engine_wait_online(driver->engine, driver->wait_ms, NULL);
        if (ask(driver, need, &problem))
            return true;
        if (driver->offline || !is_of_connection(problem) || g_get_monotonic_time() > until_us) {
            g_propagate_error(error, g_steal_pointer(&problem));
            return false;
        }
        if (driver->kick)
            engine_kick(driver->engine);
        g_usleep(RETRY_US);
    }
}

/* --- transactions --- */

guint driver_last_step(Store *store)
{
    g_autofree char *text = store_meta_get(store_reader(store), STEP_KEY);
    return text ? (guint)g_ascii_strtoull(text, NULL, 10) : 0;
}

bool driver_last_was_refused(Store *store)
{
    g_autofree char *text = store_meta_get(store_reader(store), STEP_KEY);
    return text && g_str_has_suffix(text, REFUSED);
}

bool change_begin(Change *change, Driver *driver, guint step, GError **error)
{
    *change = (Change){driver, step, store_begin(driver->store, true, error)};
    return change->txn != NULL;
}

bool change_end(Change *change, GError *failure, GError **error)
{
    g_autofree char *number = g_strdup_printf("%u%s", change->step, failure ? REFUSED : "");
    bool goes_on = !failure || g_error_matches(failure, IMAPFS_ERROR, IMAPFS_ERROR_GONE) ||
                   g_error_matches(failure, IMAPFS_ERROR, IMAPFS_ERROR_DENIED) ||
                   g_error_matches(failure, IMAPFS_ERROR, IMAPFS_ERROR_BUSY);
    if (!goes_on) {
        store_rollback(change->txn);
        g_propagate_error(error, failure);
        return false;
    }
    if (!store_meta_put(change->txn, STEP_KEY, number, failure ? NULL : error)) {
        store_rollback(change->txn);
        if (failure)
            g_propagate_error(error, failure);
        return false;
    }
    if (!store_commit(change->txn, failure ? NULL : error)) {
        if (failure)
            g_propagate_error(error, failure);
        return false;
    }
    if (failure)
        g_propagate_error(error, failure);
    return !failure;
}

bool find_box(StoreReader *reader, const char *name, guint32 *id_out, GError **error)
{
    StoreBox box = {0};
    if (!store_box_by_name(reader, name, &box)) {
        g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_GONE, "no mailbox %s", name);
        return false;
    }
    *id_out = box.id;
    store_box_clear(&box);
    return true;
}

/* --- flags --- */

typedef struct {
    bool whole; /* the words are all the flags it shall have */
    Flags set, clear;
} FlagWords;

static void flag_words_clear(FlagWords *words)
{
    flags_clear(&words->set);
    flags_clear(&words->clear);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(FlagWords, flag_words_clear)

static void flag_words_parse(FlagWords *words, char **argv, bool whole)
{
    words->whole = whole;
    for (; *argv; argv++) {
        if (**argv == '-')
            flags_add(&words->clear, *argv + 1);
        else
            flags_add(&words->set, **argv == '+' ? *argv + 1 : *argv);
    }
}

/* A full list is the difference to what is shown: what others set meanwhile stays. */
static bool log_whole_list(StoreTxn *txn, guint32 box, guint32 uid, const Flags *want,
                           GError **error)
{
    StoreMsg msg = {0};
    if (!store_msg_get(store_txn_reader(txn), box, uid, &msg)) {
        g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_GONE, "no such message");
        return false;
    }
    g_autofree char *shown = log_shown_flags(store_txn_reader(txn), box, uid, msg.flags);
    g_auto(Flags) set = {0}, clear = {0}, now = {0};
    flags_parse(&now, shown);
    flags_add_all(&set, want);
    flags_remove_all(&set, &now);
    flags_add_all(&clear, &now);
    flags_remove_all(&clear, want);
    store_msg_clear(&msg);
    g_autoptr(GString) plus = g_string_new(NULL);
    g_autoptr(GString) minus = g_string_new(NULL);
    flags_print(&set, plus);
    flags_print(&clear, minus);
    printf("logged\t%u\t%s\t%s\n", uid, plus->str, minus->str);
    if (flags_is_empty(&set) && flags_is_empty(&clear))
        return true;
    return log_flags(txn, box, uid, &set, &clear, clock_real_ns(), NULL, error);
}

static bool log_each_named(StoreTxn *txn, const GArray *named, const FlagWords *words,
                           GError **error)
{
    for (guint i = 0; i < named->len; i++) {
        const Named *each = &g_array_index(named, Named, i);
        bool ok = words->whole ? log_whole_list(txn, each->box, each->uid, &words->set, error)
                               : log_flags(txn, each->box, each->uid, &words->set, &words->clear,
                                           clock_real_ns(), NULL, error);
        if (!ok)
            return false;
    }
    return true;
}

/* flag BOX KEYS [+-]FLAG... or set BOX KEYS FLAG... */
static bool step_flags(Driver *driver, guint step, char **argv, GError **error)
{
    Change change;
    g_auto(FlagWords) words = {0};
    g_autoptr(GArray) named = g_array_new(FALSE, FALSE, sizeof(Named));
    flag_words_parse(&words, argv + 3, strcmp(argv[0], "set") == 0);
    named_look(driver, argv[1], argv[2]);
    if (!change_begin(&change, driver, step, error))
        return false;
    GError *failure = NULL;
    if (named_find(store_txn_reader(change.txn), argv[1], argv[2], named, &failure))
        log_each_named(change.txn, named, &words, &failure);
    bool good = change_end(&change, failure, error);
    if (good && named->len > 0) {
        const Named *first = &g_array_index(named, Named, 0);
        engine_logged(driver->engine, first->box, named->len == 1 ? first->uid : 0);
    }
    return good;
}

/* --- what a person does to operations --- */

typedef struct {
    const char *mailbox;
    const char *kind; /* or NULL */
    guint32 uid, seq, box;
    LogState state;
} Wanted;

static bool on_op(const LogOp *op, gpointer data)
{
    Wanted *wanted = data;
    if (strcmp(op->mailbox, wanted->mailbox) != 0 || (wanted->uid && op->uid != wanted->uid) ||
        (wanted->kind && strcmp(log_kind_word(op->kind), wanted->kind) != 0))
        return true;
    wanted->seq = op->seq;
    wanted->box = op->box;
    wanted->state = op->state;
    return false;
}

/* Offline nothing more is sent; what is on its way is answered in a moment. */
static void await_answer(Driver *driver, Wanted *wanted)
{
    gint64 until_us = g_get_monotonic_time() + (gint64)driver->wait_ms * 1000;
    while (driver->offline && g_get_monotonic_time() < until_us) {
        wanted->state = LOG_QUEUED;
        log_each(store_reader(driver->store), false, 0, on_op, wanted);
        if (wanted->state != LOG_INFLIGHT)
            break;
        g_usleep(RETRY_US);
    }
    wanted->seq = 0;
}

static bool do_to_operation(StoreTxn *txn, const char *verb, guint32 seq, GError **error)
{
    if (!seq) {
        g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_GONE, "no such operation");
        return false;
    }
    if (strcmp(verb, "cancel") == 0)
        return log_cancel(txn, seq, error);
    if (strcmp(verb, "confirm") == 0)
        return log_confirm(txn, seq, error);
    return strcmp(verb, "retry") == 0 ? log_retry(txn, seq, clock_real_ns(), error)
                                      : log_discard(txn, seq, error);
}

/* cancel|confirm|retry|discard BOX [UID|KIND]: the first of these */
static bool step_operation(Driver *driver, guint step, char **argv, GError **error)
{
    Change change;
    const char *which = argv[2];
    bool is_kind = which && !g_ascii_isdigit(*which);
    Wanted wanted = {.mailbox = argv[1],
                     .kind = is_kind ? which : NULL,
                     .uid = which && !is_kind ? (guint32)g_ascii_strtoull(which, NULL, 10) : 0};
    bool failed = strcmp(argv[0], "retry") == 0 || strcmp(argv[0], "discard") == 0;
    await_answer(driver, &wanted);
    if (!change_begin(&change, driver, step, error))
        return false;
    log_each(store_txn_reader(change.txn), failed, 0, on_op, &wanted);
    GError *failure = NULL;
    do_to_operation(change.txn, argv[0], wanted.seq, &failure);
    bool good = change_end(&change, failure, error);
    if (good)
        engine_logged(driver->engine, wanted.box, wanted.uid);
    return good;
}

/* --- the network, and others --- */

/* offline|online */
static bool step_mode(Driver *driver, guint step, char **argv, GError **error)
{
    driver->offline = strcmp(argv[0], "offline") == 0;
    engine_set_offline(driver->engine, driver->offline);
    const Need status = {.kind = NEED_STATUS}; /* answered after it: nothing more is sent then */
    return !driver->offline || ask(driver, &status, error);
}

typedef struct {
    const char *name; /* "*": all */
    GArray *ids;
} Boxes;

static bool on_box(const StoreBox *box, gpointer data)
{
    Boxes *boxes = data;
    bool can = !(box->attributes & (LIST_NOSELECT | LIST_NONEXISTENT));
    if (can && (strcmp(boxes->name, "*") == 0 || strcmp(boxes->name, box->name) == 0))
        g_array_append_val(boxes->ids, box->id);
    return true;
}

static bool sync_boxes(Driver *driver, const char *name, GError **error)
{
    g_autoptr(GArray) ids = g_array_new(FALSE, FALSE, sizeof(guint32));
    Boxes boxes = {name, ids};
    if (!ask_until(driver, &(Need){.kind = NEED_MAILBOXES}, error))
        return false;
    store_box_all(store_reader(driver->store), on_box, &boxes);
    for (guint i = 0; i < ids->len; i++) {
        Need need = {.kind = NEED_MAILBOX, .box = g_array_index(ids, guint32, i)};
        if (!ask_until(driver, &need, error))
            return false;
    }
    return true;
}

/* sync BOX|*: as the server has it now. A mailbox that is gone, or another one now, is found out in
 * passing. */
static bool step_sync(Driver *driver, guint step, char **argv, GError **error)
{
    g_autoptr(GError) problem = NULL;
    if (sync_boxes(driver, argv[1], &problem))
        return true;
    if (g_error_matches(problem, IMAPFS_ERROR, IMAPFS_ERROR_GONE))
        return sync_boxes(driver, argv[1], error);
    g_propagate_error(error, g_steal_pointer(&problem));
    return false;
}

static guint64 count_pending(Driver *driver, const Need *need)
{
    LogCounts counts;
    log_count(store_reader(driver->store), need->box, need->uid, &counts);
    return counts.pending;
}

/* drain [BOX [UID]]: until nothing is pending. The error is the first that was met: who waits is
 * told at once of what is parked, while the rest goes on. */
static bool step_drain(Driver *driver, guint step, char **argv, GError **error)
{
    Need need = {.kind = NEED_REPLAYED};
    g_autoptr(GError) first = NULL;
    gint64 until_us = g_get_monotonic_time() + (gint64)driver->wait_ms * 1000;
    if (argv[1] && !find_box(store_reader(driver->store), argv[1], &need.box, error))
        return false;
    if (argv[1] && argv[2])
        need.uid = (guint32)g_ascii_strtoull(argv[2], NULL, 10);
    while (!ask_until(driver, &need, first ? NULL : &first) && !driver->offline &&
           count_pending(driver, &need) > 0 && g_get_monotonic_time() < until_us)
        g_usleep(RETRY_US);
    if (!first)
        return true;
    g_propagate_error(error, g_steal_pointer(&first));
    return false;
}

/* show, and get BOX KEY: what the store knows */
static bool step_show(Driver *driver, guint step, char **argv, GError **error)
{
    driver_show(driver->store);
    return true;
}

static bool step_get(Driver *driver, guint step, char **argv, GError **error)
{
    g_autoptr(GArray) named = g_array_new(FALSE, FALSE, sizeof(Named));
    StoreReader *reader = store_reader(driver->store);
    StoreMsg msg = {0};
    if (!named_find(reader, argv[1], argv[2], named, error))
        return false;
    const Named *each = &g_array_index(named, Named, 0);
    if (!store_msg_get(reader, each->box, each->uid, &msg)) {
        g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_GONE, "no such message");
        return false;
    }
    g_autofree char *shown = log_shown_flags(reader, each->box, each->uid, msg.flags);
    printf("msg\t%s\t%u\t%s\t%s\t%s\t%u\n", argv[1], each->uid, msg.flags, shown, msg.subject,
           named_count(reader, msg.subject));
    store_msg_clear(&msg);
    return store_reader_check(reader, error);
}

/* other NAME: somebody else does something now; an answer on standard input says that it is done */
static bool step_other(Driver *driver, guint step, char **argv, GError **error)
{
    char answer[16];
    printf("other\t%s\n", argv[1]);
    fflush(stdout);
    if (fgets(answer, sizeof answer, stdin))
        return true;
    g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_CANCELLED, "nobody answers");
    return false;
}

/* --- lines --- */

static const struct {
    const char *name;
    guint least; /* words, the name with them */
    bool (*run)(Driver *driver, guint step, char **argv, GError **error);
} step_kinds[] = {
    {"flag", 4, step_flags},        {"set", 3, step_flags},       {"cancel", 2, step_operation},
    {"confirm", 2, step_operation}, {"retry", 2, step_operation}, {"discard", 2, step_operation},
    {"move", 4, step_place},        {"copy", 4, step_place},      {"expunge", 3, step_expunge},
    {"append", 3, step_append},     {"mkbox", 2, step_mailbox},   {"rmbox", 2, step_mailbox},
    {"renbox", 3, step_mailbox},    {"offline", 1, step_mode},    {"online", 1, step_mode},
    {"sync", 2, step_sync},         {"drain", 1, step_drain},     {"other", 2, step_other},
    {"show", 1, step_show},         {"get", 3, step_get},
};

bool driver_step_is_mode(const char *line)
{
    return g_str_has_prefix(line, "offline") || g_str_has_prefix(line, "online");
}

bool driver_step(Driver *driver, guint step, const char *line, GError **error)
{
    g_auto(GStrv) argv = g_strsplit(line, "\t", -1);
    for (gsize i = 0; i < G_N_ELEMENTS(step_kinds); i++) {
        if (strcmp(step_kinds[i].name, argv[0]) == 0 && g_strv_length(argv) >= step_kinds[i].least)
            return step_kinds[i].run(driver, step, argv, error);
    }
    g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_CONFIG, "no such step: %s", line);
    return false;
}
