/* cells.h - small steps that the tests of conflicts share: what a person does, what is in the log
 * then, and what the server has. */
#pragma once
#include "../../../src/sync/replay.h"
#include "fake.h"

/* --- the log --- */

LogCounts counts_of(World *world, guint32 box);
void check_counts(World *world, guint pending, guint failed);
/* Nothing is pending any more; what was parked is no error here. */
void settled(World *world);
void retry(World *world, guint32 box, guint32 seq);
LogOp *op_of(World *world, bool failed); /* the first; caller frees. NULL: none */
void check_reason(World *world, bool failed, const char *want);

/* --- what is seen --- */

guint32 open_listed(World *world); /* the INBOX */
guint32 listed(World *world, const char *name);
/* Offline, so that all is logged before anything is sent. */
void go_offline(World *world);
void go_online(World *world);
void check_shown(World *world, guint32 box, guint32 uid, const char *want);
guint shown_count(World *world, guint32 box);
bool is_hidden(World *world, guint32 box, guint32 uid);
/* The mailbox has these UIDs, and so has the store. */
void check_uids(World *world, guint32 box, const char *name, const char *want);

/* --- what the server has --- */

void check_flags(World *world, const char *mailbox, guint32 uid, const char *want);
/* Numbers (FakeMessage.number) of the messages there: "1,2,4". */
void check_mail(World *world, const char *mailbox, const char *want);

/* --- what a person does; the number n that a message gets, or of the operation --- */

guint32 move_msg(World *world, guint32 box, guint32 uid, guint32 to_box);
guint32 copy_msg(World *world, guint32 box, guint32 uid, guint32 to_box);
guint32 expunge_msg(World *world, guint32 box, guint32 uid);
guint32 append_letter(World *world, guint32 to_box, const char *bytes, const char *flags);

#define TEST(f)                                                                              \
    {                                                                                        \
        .name = #f, .test_func = f, .setup_func = fake_setup, .teardown_func = fake_teardown \
    }
#define CELL(kind, f)                                                    \
    {                                                                    \
        .name = kind " x " #f, .test_func = f, .setup_func = fake_setup, \
        .teardown_func = fake_teardown                                   \
    }
/* main() of such a test. */
int run_cells(int argc, char **argv, const struct CMUnitTest *tests, gsize n);
