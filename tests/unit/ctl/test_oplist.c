/* test_oplist.c - the lines that imapfsctl prints of .imapfs/queue and .imapfs/failed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "oplist.h"

static const struct {
    const char *name, *text, *want;
} lines[] = {
    {"12-flags",
     "logged: 2026-11-22T07:20:01Z\nmailbox: INBOX/A\nmessage: 2026-01-01 Bob - Hi.7\n"
     "set: \\Flagged todo\nclear: \\Seen\nstate: queued\nattempts: 0\n",
     "12  queued  +\\Flagged +todo -\\Seen  INBOX/A/2026-01-01 Bob - Hi.7\n"},
    {"3-flags",
     "mailbox: INBOX\nmessage: X.1\nclear: a\nstate: queued\nattempts: 2\n"
     "next try: 2026-11-22T08:00:00Z\nreason: the server said: NO busy\n",
     "3  queued  -a  INBOX/X.1: the server said: NO busy (again at 2026-11-22T08:00:00Z)\n"},
    {"4-flags", "mailbox: A\033[2JB\nmessage: X: Y.1\nset: k\nstate: failed\nreason: no\rway\n",
     "4  failed  +k  A\\x1B[2JB/X: Y.1: no\\x0Dway\n"},
    {"5-flags", "", "5  ?   ?\n"},
    {"6-flags", "state:queued\nset\n: x\nmailbox: ", "6  ?   \n"},
    {"7-mkbox", "mailbox: Work/2026\nstate: queued\n", "7  queued  mkbox  Work/2026\n"},
};

static void test_lines(void **state)
{
    for (guint i = 0; i < G_N_ELEMENTS(lines); i++) {
        g_autofree char *line = oplist_line(lines[i].name, lines[i].text);

        if (strcmp(line, lines[i].want) != 0)
            fail_msg("\"%s\", not \"%s\"", line, lines[i].want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lines)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
