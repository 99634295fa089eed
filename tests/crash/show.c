/* show.c - the store and its log as lines, to be compared with what is on the server.
 *
 *   box     NAME  UIDVALIDITY  rw|ro  listed|unlisted
 *   msg     NAME  UID  FLAGS-OF-THE-SERVER  FLAGS-SHOWN
 *   pending SEQ  STATE  NAME  UID  SET  CLEAR
 *   failed  SEQ  NAME  UID  SET  CLEAR  REASON */
#include "driver.h"

#include <stdio.h>

typedef struct {
    StoreReader *reader;
    const StoreBox *box;
} Showing;

static bool show_msg(const StoreMsg *msg, gpointer data)
{
    const Showing *showing = data;
    g_autofree char *shown =
        log_shown_flags(showing->reader, showing->box->id, msg->uid, msg->flags);
    printf("msg\t%s\t%u\t%s\t%s\n", showing->box->name, msg->uid, msg->flags, shown);
    return true;
}

static bool show_box(const StoreBox *box, gpointer data)
{
    Showing showing = {data, box};
    printf("box\t%s\t%u\t%s\t%s\n", box->name, box->uidvalidity, box->read_only ? "ro" : "rw",
           box->listed ? "listed" : "unlisted");
    store_msg_each(data, box->id, 0, show_msg, &showing);
    return true;
}

static bool show_pending(const LogOp *op, gpointer data)
{
    printf("pending\t%u\t%s\t%s\t%u\t%s\t%s\n", op->seq, log_state_words(op->state), op->mailbox,
           op->uid, op->set, op->clear);
    return true;
}

static bool show_failed(const LogOp *op, gpointer data)
{
    printf("failed\t%u\t%s\t%u\t%s\t%s\t%s\n", op->seq, op->mailbox, op->uid, op->set, op->clear,
           op->reason ? op->reason : "");
    return true;
}

void driver_show(Store *store)
{
    StoreReader *reader = store_reader(store);
    store_box_all(reader, show_box, reader);
    log_each(reader, false, 0, show_pending, NULL);
    log_each(reader, true, 0, show_failed, NULL);
    g_autoptr(GError) error = NULL;
    if (!store_reader_check(reader, &error))
        printf("unreadable\t%s\n", error->message);
}
