/* outcome.c - what the server's answer to a command makes of the operations in it.
 *
 * One table. The rule: nothing is given up but what the server refuses for good, and the bytes that
 * it could not understand (BAD) are never sent twice. */
#include "replay.h"

#include <string.h>

#include "imapfs/base/error.h"
#include "imapfs/base/limits.h"
#include "imapfs/base/log.h"

#define BACKOFF_MAX_S (15 * 60)

/* Response codes of a tagged NO (RFC 9051 7.1, RFC 5530, RFC 9738). What is not here is a refusal
 * without a reason. */
static const struct {
    ResponseCode code;
    Outcome outcome;
    ImapfsError error;
} codes[] = {
    {CODE_UNAVAILABLE, OUTCOME_LATER, IMAPFS_ERROR_SERVER},
    {CODE_INUSE, OUTCOME_LATER, IMAPFS_ERROR_SERVER},
    {CODE_SERVERBUG, OUTCOME_LATER, IMAPFS_ERROR_SERVER},
    {CODE_LIMIT, OUTCOME_LATER, IMAPFS_ERROR_SERVER},
    {CODE_OVERQUOTA, OUTCOME_HOLD, IMAPFS_ERROR_QUOTA},
    {CODE_PRIVACYREQUIRED, OUTCOME_HOLD, IMAPFS_ERROR_TLS},
    {CODE_EXPIRED, OUTCOME_HOLD, IMAPFS_ERROR_DENIED},
    {CODE_CONTACTADMIN, OUTCOME_HOLD, IMAPFS_ERROR_DENIED},
    {CODE_CORRUPTION, OUTCOME_HOLD, IMAPFS_ERROR_SERVER},
    {CODE_READ_ONLY, OUTCOME_KEEP_HERE, IMAPFS_ERROR_DENIED},
    {CODE_NOPERM, OUTCOME_PARK, IMAPFS_ERROR_DENIED},
    {CODE_AUTHORIZATIONFAILED, OUTCOME_PARK, IMAPFS_ERROR_DENIED},
    {CODE_CANNOT, OUTCOME_PARK, IMAPFS_ERROR_SERVER},
    {CODE_NONEXISTENT, OUTCOME_PARK, IMAPFS_ERROR_GONE},
    {CODE_ALREADYEXISTS, OUTCOME_PARK, IMAPFS_ERROR_SERVER},
    {CODE_HASCHILDREN, OUTCOME_PARK, IMAPFS_ERROR_SERVER},
    {CODE_TRYCREATE, OUTCOME_PARK, IMAPFS_ERROR_GONE},
    {CODE_TOOBIG, OUTCOME_PARK, IMAPFS_ERROR_TOO_BIG},
    {CODE_CLIENTBUG, OUTCOME_PARK, IMAPFS_ERROR_SERVER},
};

static const char *const outcome_names[] = {
#define OUTCOME_ROW(name) [OUTCOME_##name] = #name,
    OUTCOMES(OUTCOME_ROW)
#undef OUTCOME_ROW
};

const char *outcome_name(Outcome outcome)
{
    return (unsigned)outcome < G_N_ELEMENTS(outcome_names) ? outcome_names[outcome] : "?";
}

Outcome outcome_of(CommandResult result, const Response *tagged)
{
    if (result == COMMAND_OK)
        return OUTCOME_DONE;
    if (result == COMMAND_LOST || result == COMMAND_CANCELLED || !tagged)
        return OUTCOME_LOST;
    if (tagged->backoff_ms > 0) /* Exchange says it with BAD, too */
        return OUTCOME_LATER;
    if (result == COMMAND_BAD)
        return OUTCOME_PARK;
    for (gsize i = 0; i < G_N_ELEMENTS(codes); i++) {
        if (codes[i].code == tagged->code)
            return codes[i].outcome;
    }
    return OUTCOME_REFUSED;
}

ImapfsError outcome_error(const Response *tagged)
{
    for (gsize i = 0; tagged && i < G_N_ELEMENTS(codes); i++) {
        if (codes[i].code == tagged->code)
            return codes[i].error;
    }
    return IMAPFS_ERROR_SERVER;
}

char *outcome_words(CommandResult result, const Response *tagged)
{
    if (!tagged)
        return g_strdup("the connection was lost");
    const char *said = tagged->text ? tagged->text : "";
    g_autofree char *text = log_printable(said, strlen(said), LIMIT_SERVER_TEXT);
    const char *code = tagged->code_text ? tagged->code_text : "";
    g_autofree char *shown = log_printable(code, strlen(code), LIMIT_SERVER_TEXT / 5);
    return g_strdup_printf("the server said: %s %s%s%s%s", result == COMMAND_BAD ? "BAD" : "NO",
                           *shown ? "[" : "", shown, *shown ? "] " : "", text);
}

gint64 outcome_backoff_us(guint level)
{
    gdouble seconds = level < 10 ? (gdouble)(1u << level) : BACKOFF_MAX_S;
    seconds = MIN(seconds, (gdouble)BACKOFF_MAX_S) * g_random_double_range(0.8, 1.2);
    return (gint64)(CLAMP(seconds, 1.0, (gdouble)BACKOFF_MAX_S) * G_USEC_PER_SEC);
}
