/* place.c - the steps that move, copy, delete and append messages, and those on mailboxes.
 *
 * The one rule: a message is named by what cannot change under a run that is killed: by its UID of
 * the beginning, by its subject in what is shown, or by the number of what placed it. */
#include "steps.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "imapfs/base/clock.h"
#include "imapfs/base/error.h"
#include "imapfs/mime/name.h"
#include "imapfs/store/spool.h"

#define MADE_KEY "crash.made" /* lines of N, MAILBOX, SUBJECT, with tabs between */

/* --- by subject, in what is shown --- */

typedef struct {
    const char *subject;
    guint32 uid; /* of the first */
    guint n;
} Sought;

static bool on_msg(const StoreMsg *msg, gpointer data)
{
    Sought *sought = data;
    if (strcmp(msg->subject, sought->subject) == 0 && sought->n++ == 0)
        sought->uid = msg->uid;
    return true;
}

/* How many there are; the first of those placed, before those pending. */
static guint look_in(StoreReader *reader, guint32 box, const char *subject, Named *first)
{
    Sought sought = {.subject = subject};
    log_shown_each(reader, box, 0, on_msg, &sought);
    first->box = sought.n ? box : STORE_BOX_PENDING;
    log_pending_each(reader, box, 0, on_msg, &sought);
    first->uid = sought.uid;
    return sought.n;
}

static bool find_subject(StoreReader *reader, const char *name, const char *subject, Named *out)
{
    guint32 box;
    return find_box(reader, name, &box, NULL) && look_in(reader, box, subject, out) > 0;
}

typedef struct {
    const char *subject;
    StoreReader *reader;
    bool all; /* else up to the first that is found */
    Named found;
    guint n;
} Anywhere;

static bool on_box(const StoreBox *box, gpointer data)
{
    Anywhere *anywhere = data;
    guint n =
        box->doomed ? 0 : look_in(anywhere->reader, box->id, anywhere->subject, &anywhere->found);
    anywhere->n += n;
    if (n == 0 || anywhere->all)
        return true;
    printf("from\t%s\n", box->name);
    return false;
}

/* In any mailbox, and tells in which. */
static bool find_anywhere(StoreReader *reader, const char *subject, Named *out)
{
    Anywhere anywhere = {.subject = subject, .reader = reader};
    store_box_all(reader, on_box, &anywhere);
    *out = anywhere.found;
    return anywhere.n > 0;
}

guint named_count(StoreReader *reader, const char *subject)
{
    Anywhere anywhere = {.subject = subject, .reader = reader, .all = true};
    store_box_all(reader, on_box, &anywhere);
    return anywhere.n;
}

/* --- by the number of what placed it --- */

static bool made_put(StoreTxn *txn, guint32 n, const char *mailbox, const char *subject,
                     GError **error)
{
    g_autofree char *before = store_meta_get(store_txn_reader(txn), MADE_KEY);
    g_autofree char *after =
        g_strdup_printf("%s%u\t%s\t%s\n", before ? before : "", n, mailbox, subject);
    return store_meta_put(txn, MADE_KEY, after, error);
}

/* Where the K-th is: still pending, or where it went; after a kill only its subject tells. */
static bool find_made(StoreReader *reader, guint64 k, Named *out)
{
    g_autofree char *text = store_meta_get(reader, MADE_KEY);
    g_auto(GStrv) lines = g_strsplit(text ? text : "", "\n", -1);
    LogPending pending;
    if (k == 0 || k >= g_strv_length(lines))
        return false;
    g_auto(GStrv) fields = g_strsplit(lines[k - 1], "\t", 3);
    guint32 n = (guint32)g_ascii_strtoull(fields[0], NULL, 10);
    *out = (Named){STORE_BOX_PENDING, n};
    if (log_pending_get(reader, n, &pending))
        return true;
    return log_went(reader, STORE_BOX_PENDING, n, &out->box, &out->uid) ||
           find_subject(reader, fields[1], fields[2], out);
}

/* --- keys --- */

static bool find_one(StoreReader *reader, const char *box, const char *key, Named *out)
{
    if (*key == '+')
        return find_made(reader, g_ascii_strtoull(key + 1, NULL, 10), out);
    g_autofree char *subject = g_strdup_printf("About %s", key + 1);
    return strcmp(box, "*") == 0 ? find_anywhere(reader, subject, out)
                                 : find_subject(reader, box, subject, out);
}

static bool add_uids(StoreReader *reader, const char *name, const char *key, GArray *out,
                     GError **error)
{
    guint32 box;
    guint n;
    g_autoptr(UidSet) uids = uidset_new();
    if (!uidset_parse(uids, key, strlen(key))) {
        g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_CONFIG, "%s: no set of UIDs", key);
        return false;
    }
    if (!find_box(reader, name, &box, error))
        return false;
    const UidRange *ranges = uidset_ranges(uids, &n);
    for (guint i = 0; i < n; i++) {
        for (guint64 uid = ranges[i].lo; uid <= ranges[i].hi; uid++) {
            Named named = {box, (guint32)uid};
            g_array_append_val(out, named);
        }
    }
    return true;
}

bool named_find(StoreReader *reader, const char *box, const char *keys, GArray *out, GError **error)
{
    g_auto(GStrv) each = g_strsplit(keys, ",", -1);
    for (char **key = each; *key; key++) {
        Named named;
        if (g_ascii_isdigit(**key)) {
            if (!add_uids(reader, box, *key, out, error))
                return false;
        } else if (find_one(reader, box, *key, &named)) {
            g_array_append_val(out, named);
        } else {
            g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_GONE, "no message %s in %s", *key, box);
            return false;
        }
    }
    return true;
}

void named_look(Driver *driver, const char *box, const char *keys)
{
    g_autoptr(GArray) found = g_array_new(FALSE, FALSE, sizeof(Named));
    StoreReader *reader = store_reader(driver->store);
    Need need = {.kind = NEED_MAILBOX};
    if (!driver->offline && !named_find(reader, box, keys, found, NULL) &&
        find_box(reader, box, &need.box, NULL))
        ask_until(driver, &need, NULL);
}

/* --- messages --- */

static bool place_one(Change *change, const char *verb, const Named *named, const char *to,
                      bool held, GError **error)
{
    StoreTxn *txn = change->txn;
    guint32 to_box, n = 0;
    StoreMsg msg = {0};
    if (!find_box(store_txn_reader(txn), to, &to_box, error))
        return false;
    if (!store_msg_get(store_txn_reader(txn), named->box, named->uid, &msg)) {
        g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_GONE, "no such message");
        return false;
    }
    g_autofree char *subject = g_strdup(msg.subject);
    store_msg_clear(&msg);
    bool ok =
        strcmp(verb, "move") == 0
            ? log_move(txn, named->box, named->uid, to_box, held, clock_real_ns(), &n, NULL, error)
            : log_copy(txn, named->box, named->uid, to_box, clock_real_ns(), &n, NULL, error);
    return ok && (n == 0 || made_put(txn, n, to, subject, error));
}

/* All of them, or, when one cannot be, those before it: as a command that names several does. */
static bool each_named(Change *change, char **argv, GArray *named, GError **error)
{
    const char *to = strcmp(argv[0], "expunge") == 0 ? NULL : argv[3];
    const char *how = to ? argv[4] : argv[3];
    bool held = how && strcmp(how, "held") == 0;
    for (guint i = 0; i < named->len; i++) {
        const Named *each = &g_array_index(named, Named, i);
        bool ok = to ? place_one(change, argv[0], each, to, held, error)
                     : log_expunge(change->txn, each->box, each->uid, 0, held, clock_real_ns(),
                                   NULL, error);
        if (!ok)
            return false;
    }
    return true;
}

static void tell_engine(Driver *driver, const char *name)
{
    guint32 box;
    if (name && find_box(store_reader(driver->store), name, &box, NULL))
        engine_logged(driver->engine, box, 0);
}

/* move|copy BOX KEYS TO [held] */
bool step_place(Driver *driver, guint step, char **argv, GError **error)
{
    Change change;
    GError *failure = NULL;
    g_autoptr(GArray) named = g_array_new(FALSE, FALSE, sizeof(Named));
    named_look(driver, argv[1], argv[2]);
    if (!change_begin(&change, driver, step, error))
        return false;
    if (named_find(store_txn_reader(change.txn), argv[1], argv[2], named, &failure))
        each_named(&change, argv, named, &failure);
    bool good = change_end(&change, failure, error);
    for (guint i = 0; i < named->len; i++)
        engine_logged(driver->engine, g_array_index(named, Named, i).box, 0);
    if (strcmp(argv[0], "expunge") != 0)
        tell_engine(driver, argv[3]);
    return good;
}

/* expunge BOX KEYS [held] */
bool step_expunge(Driver *driver, guint step, char **argv, GError **error)
{
    return step_place(driver, step, argv, error);
}

/* --- letters --- */

static bool write_all(int fd, const char *bytes, gsize length, GError **error)
{
    while (length > 0) {
        gssize n = write(fd, bytes, length);
        if (n <= 0) {
            g_set_error(error, IMAPFS_ERROR, IMAPFS_ERROR_STORE, "spool: %s", g_strerror(errno));
            return false;
        }
        bytes += n;
        length -= (gsize)n;
    }
    return true;
}

/* The letter's bytes, from the directory of letters, into the spool. Those without a Message-ID
 * get one, as they do in the program. */
static bool spool_letter(Driver *driver, const char *key, StoreMsg *msg, GError **error)
{
    g_autofree char *path = g_build_filename(driver->letters, key, NULL);
    g_autofree char *bytes = NULL;
    g_autofree char *insert = NULL;
    gsize length;
    struct stat st;
    if (!g_file_get_contents(path, &bytes, &length, error) || stat(path, &st) != 0)
        return false;
    g_autoptr(Spool) spool = spool_new(driver->store, error);
    if (!spool || !write_all(spool_fd(spool), bytes, length, error))
        return false;
    msg->uid = spool_number(spool);
    msg->internaldate = st.st_mtime;
    if (strstr(bytes, "\nMessage-ID: "))
        msg->message_id = g_strdup_printf("<%s@example.org>", key);
    else
        msg->message_id = g_strdup_printf("<%u.crash@imapfs.invalid>", msg->uid);
    if (!strstr(bytes, "\nMessage-ID: "))
        insert = g_strdup_printf("Message-ID: %s\r\n", msg->message_id);
    return spool_commit(spool, insert, &msg->size, error);
}

static void describe(StoreMsg *msg, const char *key, char **flags)
{
    msg->from = g_strdup("Alice Doe");
    msg->subject = g_strdup_printf("About %s", key);
    msg->name = name_message(msg->internaldate, 0, msg->from, msg->subject);
    msg->flags = g_strjoinv(" ", flags);
}

/* append BOX KEY [FLAG...] */
bool step_append(Driver *driver, guint step, char **argv, GError **error)
{
    Change change;
    StoreMsg msg = {0};
    guint32 box;
    GError *failure = NULL;
    bool good = false;
    if (spool_letter(driver, argv[2], &msg, error)) {
        describe(&msg, argv[2], argv + 3);
        good = change_begin(&change, driver, step, error);
    }
    if (good) {
        if (find_box(store_txn_reader(change.txn), argv[1], &box, &failure) &&
            log_append(change.txn, box, &msg, clock_real_ns(), NULL, &failure))
            made_put(change.txn, msg.uid, argv[1], msg.subject, &failure);
        good = change_end(&change, failure, error);
    }
    store_msg_clear(&msg);
    tell_engine(driver, argv[1]);
    return good;
}

/* --- mailboxes --- */

static bool change_mailbox(StoreTxn *txn, char **argv, GError **error)
{
    guint32 box;
    if (strcmp(argv[0], "mkbox") == 0)
        return log_mkbox(txn, argv[1], clock_real_ns(), &box, error);
    if (!find_box(store_txn_reader(txn), argv[1], &box, error))
        return false;
    return strcmp(argv[0], "rmbox") == 0 ? log_rmbox(txn, box, clock_real_ns(), error)
                                         : log_renbox(txn, box, argv[2], clock_real_ns(), error);
}

/* mkbox BOX, rmbox BOX, renbox BOX NEW */
bool step_mailbox(Driver *driver, guint step, char **argv, GError **error)
{
    Change change;
    GError *failure = NULL;
    if (!change_begin(&change, driver, step, error))
        return false;
    change_mailbox(change.txn, argv, &failure);
    bool good = change_end(&change, failure, error);
    engine_logged(driver->engine, 0, 0);
    return good;
}
