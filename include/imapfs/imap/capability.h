/* capability.h - what the server can do, as a table; and what it does badly, by name.
 *
 * Layer imap. Plain values. */
#pragma once
#include <glib.h>
#include <stdbool.h>

/* X(NAME, "wire name") */
/* clang-format off */
#define CAPABILITIES(X) \
    X(IMAP4REV1, "IMAP4REV1") \
    X(IMAP4REV2, "IMAP4REV2") \
    X(ACL, "ACL") \
    X(APPENDLIMIT, "APPENDLIMIT") \
    X(AUTH_PLAIN, "AUTH=PLAIN") \
    X(AUTH_EXTERNAL, "AUTH=EXTERNAL") \
    X(AUTH_OAUTHBEARER, "AUTH=OAUTHBEARER") \
    X(AUTH_XOAUTH2, "AUTH=XOAUTH2") \
    X(BINARY, "BINARY") \
    X(CHILDREN, "CHILDREN") \
    X(COMPRESS_DEFLATE, "COMPRESS=DEFLATE") \
    X(CONDSTORE, "CONDSTORE") \
    X(ENABLE, "ENABLE") \
    X(ESEARCH, "ESEARCH") \
    X(ID, "ID") \
    X(IDLE, "IDLE") \
    X(LIST_EXTENDED, "LIST-EXTENDED") \
    X(LIST_STATUS, "LIST-STATUS") \
    X(LITERAL_MINUS, "LITERAL-") \
    X(LITERAL_PLUS, "LITERAL+") \
    X(LOGINDISABLED, "LOGINDISABLED") \
    X(MOVE, "MOVE") \
    X(NAMESPACE, "NAMESPACE") \
    X(NOTIFY, "NOTIFY") \
    X(OBJECTID, "OBJECTID") \
    X(QRESYNC, "QRESYNC") \
    X(QUOTA, "QUOTA") \
    X(REPLACE, "REPLACE") \
    X(SASL_IR, "SASL-IR") \
    X(SPECIAL_USE, "SPECIAL-USE") \
    X(STARTTLS, "STARTTLS") \
    X(STATUS_SIZE, "STATUS=SIZE") \
    X(UIDPLUS, "UIDPLUS") \
    X(UNSELECT, "UNSELECT") \
    X(UTF8_ACCEPT, "UTF8=ACCEPT") \
    X(XLIST, "XLIST") \
    X(GMAIL, "X-GM-EXT-1")
/* clang-format on */
typedef enum {
#define CAPABILITY_ENUM(name, wire) CAP_##name,
    CAPABILITIES(CAPABILITY_ENUM)
#undef CAPABILITY_ENUM
        CAP_N
} Capability;

/* X(NAME, "what it means for us"): from the greeting, ID, capabilities or host (table in the .c) */
#define QUIRKS(X)                                                    \
    X(NO_LIST_EXTENDED, "LIST extended forms answer BAD or nothing") \
    X(SHORT_LINES, "commands over 1,000 octets are refused")         \
    X(ID_NIL, "ID with a list is not understood")                    \
    X(ID_FIRST, "wants ID before anything else")                     \
    X(INEXACT_SIZE, "RFC822.SIZE is an estimate")
typedef enum {
#define QUIRK_ENUM(name, words) QUIRK_##name,
    QUIRKS(QUIRK_ENUM)
#undef QUIRK_ENUM
        QUIRK_N
} Quirk;

typedef struct {
    guint64 capabilities; /* bit CAP_* */
    guint32 quirks;       /* bit QUIRK_* */
    guint64 append_limit; /* 0: none told */
    char *server_name;    /* from ID or the greeting, printable; NULL */
} ServerInfo;
static inline bool server_can(const ServerInfo *info, Capability cap)
{
    return (info->capabilities >> cap) & 1;
}
static inline bool server_has_quirk(const ServerInfo *info, Quirk quirk)
{
    return (info->quirks >> quirk) & 1;
}
const char *capability_name(Capability cap);
const char *quirk_name(Quirk quirk);
