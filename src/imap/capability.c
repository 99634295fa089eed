/* capability.c - what the server can do, and what it does badly: two tables.
 *
 * The one rule: a capability counts only under its exact name, and a quirk only makes us ask for
 * less; so a server that lies about itself gains nothing. */
#include "session_impl.h"

#include <string.h>

static const char *const capability_names[] = {
#define CAPABILITY_ROW(name, wire) [CAP_##name] = (wire),
    CAPABILITIES(CAPABILITY_ROW)
#undef CAPABILITY_ROW
};
G_STATIC_ASSERT(CAP_N <= 64);

static const char *const quirk_names[] = {
#define QUIRK_ROW(name, words) [QUIRK_##name] = #name,
    QUIRKS(QUIRK_ROW)
#undef QUIRK_ROW
};
G_STATIC_ASSERT(QUIRK_N <= 32);

/* What IMAP4rev2 has built in (RFC 9051, appendix E). */
static const Capability rev2_has[] = {
    CAP_NAMESPACE, CAP_UNSELECT,    CAP_UIDPLUS,       CAP_ESEARCH, CAP_ENABLE,
    CAP_IDLE,      CAP_SASL_IR,     CAP_LIST_EXTENDED, CAP_MOVE,    CAP_LIST_STATUS,
    CAP_CHILDREN,  CAP_SPECIAL_USE, CAP_STATUS_SIZE,   CAP_BINARY,  CAP_LITERAL_MINUS,
};

/* Who has which quirk. A text is looked for without regard to ASCII case. */
#define Q(name) (1u << QUIRK_##name)
static const struct {
    QuirkFrom from;
    const char *text;
    guint32 quirks;
} quirk_table[] = {
    {QUIRK_FROM_GREETING, "Microsoft Exchange", Q(INEXACT_SIZE)},
    {QUIRK_FROM_GREETING, "Proton Mail Bridge", Q(NO_LIST_EXTENDED)},
    {QUIRK_FROM_GREETING, "ProtonMail Bridge", Q(NO_LIST_EXTENDED)},
    {QUIRK_FROM_ID, "proton", Q(NO_LIST_EXTENDED)},
    {QUIRK_FROM_GREETING, "Cyrus IMAP v2.", Q(NO_LIST_EXTENDED)},
    {QUIRK_FROM_GREETING, "Cyrus IMAP4 v2.", Q(NO_LIST_EXTENDED)},
    {QUIRK_FROM_HOST, ".strato.de", Q(NO_LIST_EXTENDED)},
    {QUIRK_FROM_CAPABILITY, "XYMHIGHESTMODSEQ", Q(SHORT_LINES)},
    {QUIRK_FROM_GREETING, "Panda IMAP", Q(SHORT_LINES)},
    {QUIRK_FROM_GREETING, "IMAP4rev1 2007", Q(SHORT_LINES)}, /* UW imapd */
    {QUIRK_FROM_GREETING, "Coremail", Q(ID_FIRST)},
    {QUIRK_FROM_HOST, ".163.com", Q(ID_FIRST)},
    {QUIRK_FROM_HOST, ".126.com", Q(ID_FIRST)},
    {QUIRK_FROM_HOST, ".gmx.net", Q(ID_NIL)},
    {QUIRK_FROM_HOST, ".gmx.com", Q(ID_NIL)},
    {QUIRK_FROM_HOST, ".web.de", Q(ID_NIL)},
};

const char *capability_name(Capability cap)
{
    return (unsigned)cap < CAP_N ? capability_names[cap] : "?";
}

const char *quirk_name(Quirk quirk)
{
    return (unsigned)quirk < QUIRK_N ? quirk_names[quirk] : "?";
}

static guint64 capability_bit(const char *word)
{
    for (unsigned i = 0; i < CAP_N; i++)
        if (g_ascii_strcasecmp(word, capability_names[i]) == 0)
            return (guint64)1 << i;
    return 0;
}

/* APPENDLIMIT=N (RFC 7889); without a number the limit is each mailbox's own. */
static bool append_limit(ServerInfo *info, const char *word)
{
    if (g_ascii_strncasecmp(word, "APPENDLIMIT=", 12) != 0)
        return false;
    guint64 limit = 0;
    if (g_ascii_string_to_unsigned(word + 12, 10, 0, G_MAXINT64, &limit, NULL))
        info->append_limit = limit;
    return true;
}

static bool is_disabled(char *const *disable, const char *word)
{
    for (; disable && *disable; disable++)
        if (g_ascii_strcasecmp(*disable, word) == 0)
            return true;
    return false;
}

static guint64 implied(guint64 capabilities, char *const *disable)
{
    guint64 rev1 = (guint64)1 << CAP_IMAP4REV1, rev2 = (guint64)1 << CAP_IMAP4REV2;
    /* A server of both speaks the older one until ENABLE IMAP4rev2, which we do not send. */
    if (!(capabilities & rev2) || (capabilities & rev1))
        return 0;
    guint64 bits = 0;
    for (gsize i = 0; i < G_N_ELEMENTS(rev2_has); i++)
        if (!is_disabled(disable, capability_names[rev2_has[i]]))
            bits |= (guint64)1 << rev2_has[i];
    return bits;
}

void server_info_set_capabilities(ServerInfo *info, const GPtrArray *words, char *const *disable)
{
    info->capabilities = 0;
    info->append_limit = 0;
    for (guint i = 0; words && i < MIN(words->len, LIMIT_CAPABILITIES); i++) {
        const char *word = words->pdata[i];
        if (is_disabled(disable, word))
            continue;
        if (append_limit(info, word))
            info->capabilities |= (guint64)1 << CAP_APPENDLIMIT;
        info->capabilities |= capability_bit(word);
        server_info_note_quirks(info, QUIRK_FROM_CAPABILITY, word);
    }
    info->capabilities |= implied(info->capabilities, disable);
}

static bool matches(QuirkFrom from, const char *text, const char *pattern)
{
    g_autofree char *low = g_ascii_strdown(text, -1);
    g_autofree char *low_pattern = g_ascii_strdown(pattern, -1);
    if (from == QUIRK_FROM_CAPABILITY)
        return strcmp(low, low_pattern) == 0;
    if (from == QUIRK_FROM_HOST) /* ".gmx.net": the domain or a host in it */
        return g_str_has_suffix(low, low_pattern) || strcmp(low, low_pattern + 1) == 0;
    return strstr(low, low_pattern) != NULL;
}

void server_info_note_quirks(ServerInfo *info, QuirkFrom from, const char *text)
{
    for (gsize i = 0; text && i < G_N_ELEMENTS(quirk_table); i++)
        if (quirk_table[i].from == from && matches(from, text, quirk_table[i].text))
            info->quirks |= quirk_table[i].quirks;
}

void server_info_clear(ServerInfo *info)
{
    g_free(info->server_name);
    memset(info, 0, sizeof *info);
}
