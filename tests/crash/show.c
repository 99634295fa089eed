/* show.c - the store and its log as lines, to be compared with what is on the server.
 *
 *   box     NAME  UIDVALIDITY  rw|ro  WORDS: listed, noselect, local, doomed
 *   msg     NAME  UID  FLAGS-OF-THE-SERVER  FLAGS-SHOWN  SUBJECT  shown|hidden
 *   placed  NAME  N  FLAGS-SHOWN  SUBJECT      a message that is pending, where it is shown
 *   pending SEQ  STATE  NAME  UID  SET  CLEAR  KIND  TARGET
 *   failed  SEQ  NAME  UID  SET  CLEAR  REASON  KIND  TARGET  NAME-OF-THE-MESSAGE
 *   strays  N                                  pending messages, also those shown nowhere */
#include "driver.h"

#include <stdio.h>
#include "imapfs/wire/response.h"

typedef struct {
    StoreReader *reader;
    const StoreBox *box;
} Showing;

static bool show_msg(const StoreMsg *msg, gpointer data)
{
    const Showing *showing = data;
    guint32 box = showing->box->id;
    g_autofree char *shown = log_shown_flags(showing->reader, box, msg->uid, msg->flags);
    printf("msg\t%s\t%u\t%s\t%s\t%s\t%s\n", showing->box->name, msg->uid, msg->flags, shown,
           msg->subject, log_is_hidden(showing->reader, box, msg->uid) ? "hidden" : "shown");
    return true;
}

static bool show_placed(const StoreMsg *msg, gpointer data)
{
    const Showing *showing = data;
    g_autofree char *shown =
        log_shown_flags(showing->reader, STORE_BOX_PENDING, msg->uid, msg->flags);
    printf("placed\t%s\t%u\t%s\t%s\n", showing->box->name, msg->uid, shown, msg->subject);
    return true;
}

static bool show_box(const StoreBox *box, gpointer data)
{
    Showing showing = {data, box};
    bool noselect = box->attributes & (LIST_NOSELECT | LIST_NONEXISTENT);
    printf("box\t%s\t%u\t%s\t%s%s%s%s\n", box->name, box->uidvalidity, box->read_only ? "ro" : "rw",
           box->listed ? "listed " : "", noselect ? "noselect " : "", box->local ? "local " : "",
           box->doomed ? "doomed" : "");
    store_msg_each(data, box->id, 0, show_msg, &showing);
    log_pending_each(data, box->id, 0, show_placed, &showing);
    return true;
}

static bool show_pending(const LogOp *op, gpointer data)
{
    printf("pending\t%u\t%s\t%s\t%u\t%s\t%s\t%s\t%s\n", op->seq, log_state_words(op->state),
           op->mailbox, op->uid, op->set, op->clear, log_kind_word(op->kind),
           op->target ? op->target : "");
    return true;
}

static bool show_failed(const LogOp *op, gpointer data)
{
    printf("failed\t%u\t%s\t%u\t%s\t%s\t%s\t%s\t%s\t%s\n", op->seq, op->mailbox, op->uid, op->set,
           op->clear, op->reason ? op->reason : "", log_kind_word(op->kind),
           op->target ? op->target : "", op->name ? op->name : "");
    return true;
}

void driver_show(Store *store)
{
    StoreReader *reader = store_reader(store);
    store_box_all(reader, show_box, reader);
    log_each(reader, false, 0, show_pending, NULL);
    log_each(reader, true, 0, show_failed, NULL);
    printf("strays\t%u\n", store_msg_count(reader, STORE_BOX_PENDING));
    g_autoptr(GError) error = NULL;
    if (!store_reader_check(reader, &error))
        printf("unreadable\t%s\n", error->message);
}
