/* conflict.c - the conflict matrix: what the server did meanwhile, and what becomes of our change.
 *
 * One row a kind of operation. What the store finds out by itself (a message that is gone, a
 * mailbox that left LIST) it decides by the same table: store/log_server.c does what stands here
 * under EXPUNGED, MOVED, MAILBOX_GONE and MAILBOX_RENAMED. SAME_FLAG and OTHER_FLAGS need no
 * decision, as flags are sent as deltas: nobody's other flags are named, and with that no
 * UNCHANGEDSINCE (RFC 7162 3.1.3) is of use. It would turn "ours" into "theirs" for the one flag
 * that both changed, and nothing else. MODIFIED, which only answers it, is an ordinary refusal. */
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

static const Action matrix[][N_CONFLICTS] = {
    [LOG_FLAGS] =
        {
            [CONFLICT_EXPUNGED] = ACTION_DROP,
            [CONFLICT_MOVED] = ACTION_FOLLOW_ELSE_DROP,
            [CONFLICT_SAME_FLAG] = ACTION_OURS,
            [CONFLICT_OTHER_FLAGS] = ACTION_MERGE,
            [CONFLICT_UIDVALIDITY] = ACTION_BIND_ELSE_PARK,
            [CONFLICT_MAILBOX_GONE] = ACTION_DROP,
            [CONFLICT_MAILBOX_RENAMED] = ACTION_FOLLOW_ELSE_PARK,
            [CONFLICT_READ_ONLY] = ACTION_KEEP_HERE,
            [CONFLICT_NOPERM] = ACTION_PARK,
            [CONFLICT_QUOTA] = ACTION_HOLD,
        },
};

const char *conflict_words(Conflict conflict)
{
    return (unsigned)conflict < G_N_ELEMENTS(words) ? words[conflict] : "?";
}

const char *action_name(Action action)
{
    return (unsigned)action < G_N_ELEMENTS(action_names) ? action_names[action] : "?";
}

Action conflict_action(LogKind kind, Conflict conflict)
{
    if ((unsigned)kind >= G_N_ELEMENTS(matrix) || (unsigned)conflict >= N_CONFLICTS)
        return ACTION_PARK;
    return matrix[kind][conflict];
}
