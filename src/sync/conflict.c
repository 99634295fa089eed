/* conflict.c - the conflict matrix: what the server did meanwhile, and what becomes of our change.
 *
 * One row a kind of operation. What the store finds out by itself (a message that is gone, a
 * mailbox that left LIST) it decides by the same table: store/log_server.c does what stands here
 * under EXPUNGED, MOVED, UIDVALIDITY, MAILBOX_GONE and MAILBOX_RENAMED.
 *
 * SAME_FLAG and OTHER_FLAGS of FLAGS need no decision, as flags are sent as deltas: nobody's other
 * flags are named, and with that no UNCHANGEDSINCE (RFC 7162 3.1.3) is of use. It would turn "ours"
 * into "theirs" for the one flag that both changed, and nothing else. MODIFIED, which only answers
 * it, is an ordinary refusal. */
#include "replay.h"

static const char *const words[] = {
#define CONFLICT_WORDS(name, text) [CONFLICT_##name] = (text),
    CONFLICTS(CONFLICT_WORDS)
#undef CONFLICT_WORDS
};

static const char *const action_names[] = {
#define ACTION_ROW(name) [ACTION_##name] = #name,
    ACTIONS(ACTION_ROW)
#undef ACTION_ROW
};

/* Columns in the order of CONFLICTS: EXPUNGED, MOVED, SAME_FLAG, OTHER_FLAGS, MARKED, UIDVALIDITY,
 * MAILBOX_GONE, TARGET_GONE, MAILBOX_RENAMED, READ_ONLY, NOPERM, QUOTA, TOO_BIG, EXISTS, NOT_EMPTY.
 */
/* clang-format off */
static const Action matrix[][N_CONFLICTS] = {
#define ROW(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o)                                   \
    {ACTION_##a, ACTION_##b, ACTION_##c, ACTION_##d, ACTION_##e, ACTION_##f, ACTION_##g,   \
     ACTION_##h, ACTION_##i, ACTION_##j, ACTION_##k, ACTION_##l, ACTION_##m, ACTION_##n,   \
     ACTION_##o}
    [LOG_FLAGS]   = ROW(DROP, FOLLOW_ELSE_DROP, OURS, MERGE, MERGE, BIND_ELSE_PARK, DROP, NONE,
                        FOLLOW_ELSE_PARK, KEEP_HERE, PARK, HOLD, PARK, NONE, NONE),
    [LOG_MOVE]    = ROW(PARK, DONE_ELSE_PARK, OURS, MERGE, MERGE, BIND_ELSE_PARK, PARK, PARK,
                        FOLLOW_ELSE_PARK, PARK, PARK, HOLD, PARK, NONE, NONE),
    [LOG_COPY]    = ROW(PARK, FOLLOW_ELSE_PARK, OURS, MERGE, MERGE, BIND_ELSE_PARK, PARK,
                        PARK, FOLLOW_ELSE_PARK, OURS, PARK, HOLD, PARK, NONE, NONE),
    [LOG_EXPUNGE] = ROW(DONE, DONE, OURS, OURS, PARK, PARK, DONE, NONE, FOLLOW_ELSE_PARK, PARK,
                        PARK, HOLD, PARK, NONE, NONE),
    [LOG_APPEND]  = ROW(NONE, NONE, NONE, NONE, NONE, OURS, PARK, PARK, FOLLOW_ELSE_PARK, PARK,
                        PARK, HOLD, PARK, NONE, NONE),
    [LOG_MKBOX]   = ROW(NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, PARK, PARK, PARK,
                        PARK, DONE, NONE),
    [LOG_RMBOX]   = ROW(NONE, NONE, NONE, NONE, NONE, PARK, DONE, NONE, PARK, PARK, PARK, PARK,
                        PARK, NONE, PARK),
    [LOG_RENBOX]  = ROW(NONE, NONE, NONE, NONE, NONE, OURS, PARK, NONE, DONE_ELSE_PARK, PARK, PARK,
                        PARK, PARK, PARK, NONE),
    [CONFLICT_ROW_TRASH] = ROW(DONE, DONE, OURS, OURS, PARK, BIND_ELSE_PARK, PARK, PARK, FOLLOW_ELSE_PARK,
                        PARK, PARK, PARK, PARK, NONE, NONE),
#undef ROW
};
/* clang-format on */

const char *conflict_words(Conflict conflict)
{
    return (unsigned)conflict < G_N_ELEMENTS(words) ? words[conflict] : "?";
}

const char *action_name(Action action)
{
    return (unsigned)action < G_N_ELEMENTS(action_names) ? action_names[action] : "?";
}

Action conflict_action(guint row, Conflict conflict)
{
    if (row >= G_N_ELEMENTS(matrix) || (unsigned)conflict >= N_CONFLICTS)
        return ACTION_PARK;
    return matrix[row][conflict];
}

guint conflict_row(const LogOp *op, const StoreBox *target)
{
    bool trash = op->kind == LOG_MOVE && target && target->attributes & LIST_TRASH;
    return trash ? CONFLICT_ROW_TRASH : op->kind;
}

bool conflict_is_marked(const LogOp *op, const char *flags_now)
{
    g_auto(Flags) then = {0};
    g_auto(Flags) now = {0};
    if (!op->shown)
        return false;
    flags_parse(&then, op->shown);
    flags_parse(&now, flags_now);
    return now.system & ~then.system & (FLAG_FLAGGED | FLAG_ANSWERED);
}
