/* letter_log.c - a letter that was closed becomes a message.
 *
 * The rule: its bytes are on disk under their name before the log names them, so what is
 * acknowledged is there; and what is on disk without being in the log never was. */
#include <errno.h>
#include <string.h>

#include "imapfs/base/clock.h"
#include "imapfs/base/error.h"
#include "imapfs/base/log.h"
#include "imapfs/mime/name.h"
#include "letter.h"

struct LetterReady {
    Letter *letter;
    guint32 n; /* 0: it is a copy */
    guint64 size;
    LetterHead head;
    gint64 internaldate;
    gint32 zone;
    char *old_name; /* of the draft that it replaces; NULL */
};

static void ready_free(LetterReady *ready)
{
    letter_head_clear(&ready->head);
    letter_unref(ready->letter);
    g_free(ready->old_name);
    g_free(ready);
}

/* --- before --- */

/* The name that it was given, for the log. Caller frees. */
static char *title_of(const Letter *letter)
{
    g_auto(GivenName) given = {0};

    if (letter->given && given_get(letter->tree->given, letter->given, &given))
        return log_printable(given.name, strlen(given.name), LIMIT_NAME);
    return g_strdup("a draft");
}

static int refuse(const Letter *letter, int err, const char *why)
{
    g_autofree char *title = title_of(letter);

    log_warn("tree", "%s: %s; no message was made", title, why);
    return err;
}

static void set_date(LetterReady *ready)
{
    gint64 now = clock_real_ns() / 1000000000;
    gint64 at = ready->letter->mtime ? ready->letter->mtime : now;
    g_autoptr(GDateTime) local = g_date_time_new_from_unix_local(at);

    ready->internaldate = local ? at : now;
    ready->zone = local ? (gint32)(g_date_time_get_utc_offset(local) / G_TIME_SPAN_MINUTE) : 0;
}

/* A letter that could not be known again if an answer to it was lost, gets an identity. */
static char *identity(LetterReady *ready)
{
    g_autofree char *random = NULL;

    if (ready->head.message_id || ready->letter->tree->config.append_no_id)
        return NULL;
    random = g_uuid_string_random();
    ready->head.message_id = g_strdup_printf("<%s@imapfs.invalid>", random);
    return g_strdup_printf("Message-ID: %s\r\n", ready->head.message_id);
}

static int commit(LetterReady *ready)
{
    Letter *letter = ready->letter;
    g_autoptr(GError) error = NULL;
    g_autofree char *insert = NULL;
    const char *why = NULL;

    if (!letter_head_read(spool_fd(letter->spool), &ready->head, &why))
        return refuse(letter, EINVAL, why);
    insert = identity(ready);
    if (!spool_commit(letter->spool, insert, &ready->size, &error))
        return refuse(letter, imapfs_error_to_errno(error), error->message);
    ready->n = spool_number(letter->spool);
    return 0;
}

/* Whether it has to become one; from here on nothing is written to it. */
static bool settle(Letter *letter)
{
    bool first;

    pthread_mutex_lock(&letter->lock);
    first = !letter->settled;
    letter->settled = true;
    pthread_mutex_unlock(&letter->lock);
    return first;
}

LetterReady *letter_prepare(Letter *letter, int *err_out)
{
    LetterReady *ready;

    if (!settle(letter))
        return NULL;
    ready = g_new0(LetterReady, 1);
    ready->letter = letter_ref(letter);
    set_date(ready);
    if (!letter->copied.box)
        *err_out = commit(ready);
    return ready;
}

/* --- in the transaction --- */

static bool append(Changing *changing, const LetterReady *ready, guint32 *seq_out, GError **error)
{
    const Letter *letter = ready->letter;
    const TreeConfig *config = &changing->call->tree->config;
    const LetterHead *head = &ready->head;
    g_autofree char *name =
        name_message(ready->internaldate, ready->zone, head->from, head->subject);
    g_autofree char *usual = g_strconcat(letter->replaces.box ? "\\Draft" : "",
                                         letter->replaces.box && !config->append_unseen ? " " : "",
                                         config->append_unseen ? "" : "\\Seen", NULL);
    const StoreMsg msg = {.uid = ready->n,
                          .name = name,
                          .from = head->from,
                          .subject = head->subject,
                          .message_id = head->message_id,
                          .internaldate = ready->internaldate,
                          .zone = ready->zone,
                          .size = ready->size,
                          .flags = letter->flags ? letter->flags : usual};

    return log_append(changing->txn, letter->dir, &msg, clock_real_ns(), seq_out, error);
}

/* The old draft goes when the new one is there; if it went already, so much the better. Where it
 * may not go both are there: what was written is logged by now. */
static int drop_replaced(Changing *changing, LetterReady *ready, guint32 after)
{
    TreeMessage old = ready->letter->replaces;
    StoreReader *reader = changing->call->reader;
    g_auto(StoreMsg) msg = {0};
    guint32 shown;
    GError *error = NULL;
    int err = 0;

    where_went(reader, &old);
    shown = where_shown(reader, old.box, old.uid);
    if (!shown || !store_msg_get(reader, old.box, old.uid, &msg))
        return 0;
    changing_note_names(changing, shown, old.box, &msg);
    ready->old_name = tree_message_entry_name(old.box, msg.name, old.uid);
    changing->change->places_first = true; /* an editor reads what it has saved */
    changing_note(changing, old.box, old.uid);
    if (!log_expunge(changing->txn, old.box, old.uid, after, false, clock_real_ns(), NULL, &error))
        err = changing_refuse(changing, error);
    return changing->failed ? err : 0;
}

static int log_letter(Changing *changing, LetterReady *ready)
{
    GError *error = NULL;
    guint32 seq = 0;

    if (!append(changing, ready, &seq, &error))
        return changing_refuse(changing, error);
    changing->change->made = (TreeMessage){STORE_BOX_PENDING, ready->n};
    changing_note(changing, ready->letter->dir, 0);
    changing_note_made(changing);
    return ready->letter->replaces.box ? drop_replaced(changing, ready, seq) : 0;
}

int letter_log(Changing *changing, LetterReady *ready)
{
    TreeMessage copied;

    if (!ready)
        return 0; /* it was one already */
    if (ready->n)
        return log_letter(changing, ready);
    copied = ready->letter->copied;
    where_went(changing->call->reader, &copied);
    return message_copy(changing, &copied, ready->letter->dir);
}

/* --- after --- */

/* Who wrote it looks for it under the name that he gave it. */
static void keep_name(const TreeChange *change, Letter *letter)
{
    g_auto(GivenName) given = {0};

    if (!letter->given || letter->kept || !given_get(letter->tree->given, letter->given, &given))
        return;
    letter->given = 0;
    given_add(letter->tree->given, GIVEN_EML, given.dir, given.name, &change->made);
}

void letter_finish(TreeChange *change, LetterReady *ready, bool committed)
{
    Letter *letter;

    if (!ready)
        return;
    letter = ready->letter;
    if (committed && !change->err) {
        keep_name(change, letter);
        if (ready->old_name) /* it is that of the new one */
            given_add(letter->tree->given, GIVEN_DIR, letter->dir, ready->old_name, &change->made);
    } else if (ready->n) {
        spool_unlink(letter->tree->config.store, ready->n);
    }
    ready_free(ready);
}
