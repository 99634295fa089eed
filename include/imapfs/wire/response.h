/* response.h - what a server says, parsed (RFC 9051 7, RFC 3501 7, and the extensions we use).
 *
 * Layer wire. Plain data; a Response is owned by who got it from the reader. Strict in nothing that
 * real servers do, safe in everything: what cannot be understood becomes RESP_UNKNOWN, or for FETCH
 * `broken`, never an abort. */
#pragma once
#include <glib.h>
#include <stdbool.h>
#include "imapfs/base/uidset.h"
#include "imapfs/wire/bodystructure.h"
#include "imapfs/wire/flags.h"

/* X(NAME) */
/* clang-format off */
#define RESPONSE_KINDS(X)                                                                         \
    X(OK) X(NO) X(BAD) X(BYE) X(PREAUTH) X(CONTINUE) X(CAPABILITY) X(ENABLED) X(LIST) X(LSUB)     \
    X(STATUS) X(SEARCH) X(ESEARCH) X(FLAGS) X(EXISTS) X(RECENT) X(EXPUNGE) X(VANISHED) X(FETCH)   \
    X(NAMESPACE) X(ID) X(QUOTA) X(QUOTAROOT) X(ACL) X(MYRIGHTS) X(UNKNOWN)
/* clang-format on */
typedef enum {
#define RESPONSE_KIND_ENUM(name) RESP_##name,
    RESPONSE_KINDS(RESPONSE_KIND_ENUM)
#undef RESPONSE_KIND_ENUM
} ResponseKind;
const char *response_kind_name(ResponseKind kind);

/* Response codes we act on; the rest is CODE_OTHER with code_text. */
/* clang-format off */
#define RESPONSE_CODES(X)                                                                         \
    X(NONE) X(OTHER) X(ALERT) X(ALREADYEXISTS) X(APPENDUID) X(AUTHENTICATIONFAILED)               \
    X(AUTHORIZATIONFAILED) X(BADCHARSET) X(CANNOT) X(CAPABILITY) X(CLIENTBUG) X(CLOSED)           \
    X(CONTACTADMIN) X(COPYUID) X(CORRUPTION) X(EXPIRED) X(EXPUNGEISSUED) X(HASCHILDREN)           \
    X(HIGHESTMODSEQ) X(INUSE) X(LIMIT) X(MODIFIED) X(NOMODSEQ) X(NONEXISTENT) X(NOPERM)           \
    X(OVERQUOTA) X(PARSE) X(PERMANENTFLAGS) X(PRIVACYREQUIRED) X(READ_ONLY) X(READ_WRITE)         \
    X(REFERRAL) X(SERVERBUG) X(TOOBIG) X(TRYCREATE) X(UIDNEXT) X(UIDNOTSTICKY) X(UIDVALIDITY)     \
    X(UNAVAILABLE) X(UNKNOWN_CTE) X(UNSEEN) X(COMPRESSIONACTIVE)
/* clang-format on */
typedef enum {
#define RESPONSE_CODE_ENUM(name) CODE_##name,
    RESPONSE_CODES(RESPONSE_CODE_ENUM)
#undef RESPONSE_CODE_ENUM
} ResponseCode;
const char *response_code_name(ResponseCode code);

/* LIST attributes (RFC 9051 7.3.1, RFC 6154, RFC 5258). */
enum {
    LIST_NOSELECT = 1 << 0,
    LIST_NONEXISTENT = 1 << 1, /* implies NOSELECT */
    LIST_NOINFERIORS = 1 << 2,
    LIST_HASCHILDREN = 1 << 3,
    LIST_HASNOCHILDREN = 1 << 4,
    LIST_MARKED = 1 << 5,
    LIST_UNMARKED = 1 << 6,
    LIST_SUBSCRIBED = 1 << 7,
    LIST_REMOTE = 1 << 8,
    LIST_ALL = 1 << 9,
    LIST_ARCHIVE = 1 << 10,
    LIST_DRAFTS = 1 << 11,
    LIST_FLAGGED = 1 << 12,
    LIST_JUNK = 1 << 13,
    LIST_SENT = 1 << 14,
    LIST_TRASH = 1 << 15,
    LIST_IMPORTANT = 1 << 16,
};

typedef struct {
    guint32 attributes;
    char delimiter; /* 0 for NIL */
    char *name;     /* the wire's bytes, NUL-terminated; the session decodes them */
    gsize name_length;
} ListItem;

enum {
    STATUS_MESSAGES = 1 << 0,
    STATUS_UIDNEXT = 1 << 1,
    STATUS_UIDVALIDITY = 1 << 2,
    STATUS_UNSEEN = 1 << 3,
    STATUS_HIGHESTMODSEQ = 1 << 4,
    STATUS_SIZE = 1 << 5,
    STATUS_MAILBOXID = 1 << 6,
};
typedef struct {
    guint32 present; /* of the bits above */
    char *name;      /* as in ListItem */
    gsize name_length;
    guint32 messages, uidnext, uidvalidity, unseen;
    guint64 highestmodseq, size;
    char *mailboxid;
} StatusItem;

typedef struct {
    char *section;   /* upper-cased text between the brackets: "", "1.2", "HEADER", "1.MIME",
                        "HEADER.FIELDS (FROM SUBJECT)" normalised to single spaces */
    bool binary;     /* BINARY[...] */
    bool has_origin; /* <n> was there */
    guint64 origin;
    GBytes *bytes;  /* NULL for NIL */
    guint64 length; /* bytes of the value */
} FetchBody;

enum {
    FETCH_UID = 1 << 0,
    FETCH_FLAGS = 1 << 1,
    FETCH_INTERNALDATE = 1 << 2,
    FETCH_SIZE = 1 << 3,
    FETCH_MODSEQ = 1 << 4,
    FETCH_ENVELOPE = 1 << 5,
    FETCH_BODYSTRUCTURE = 1 << 6,
    FETCH_EMAILID = 1 << 7,
    FETCH_BODY = 1 << 8, /* bodies has something */
    FETCH_BINARY_SIZE = 1 << 9,
};
/* How an id begins that is Gmail's; its decimal digits follow. */
#define EMAILID_GMAIL "gm"

typedef struct {
    guint32 seq;
    guint32 present; /* of the bits above: items that were there and well-formed */
    bool broken;     /* some item could not be parsed; `problem` says which. Of the others believe
                        the UID; what stood before or behind the broken one may be junk */
    char *problem;
    guint32 uid;
    Flags flags;
    gint64 internaldate;      /* seconds since 1970, UTC */
    gint32 internaldate_zone; /* minutes east of UTC, as the server gave it */
    guint64 size, modseq;
    Envelope *envelope;
    BodyPart *body;       /* of BODYSTRUCTURE */
    char *emailid;        /* EMAILID, or EMAILID_GMAIL and X-GM-MSGID */
    GPtrArray *bodies;    /* of FetchBody *, or NULL */
    GArray *binary_sizes; /* of BinarySize, or NULL */
} FetchData;
typedef struct {
    char *section;
    guint64 size;
} BinarySize;

typedef struct {
    bool known;
    guint64 used, limit;
} QuotaResource;
typedef struct {
    QuotaResource storage; /* in units of 1,024 octets (RFC 9208 5.1) */
    QuotaResource message;
} QuotaItem;

typedef struct {
    char *prefix; /* as ListItem.name */
    char delimiter;
} NamespaceItem;

typedef struct {
    ResponseKind kind;
    char *tag;         /* tagged OK, NO, BAD only */
    ResponseCode code; /* of OK, NO, BAD, BYE, PREAUTH */
    char *code_text;   /* what stood in the brackets, name included; NULL */
    char *text;        /* human text, or a CONTINUE's base64; may be ""; of QUOTA, QUOTAROOT,
                          ACL what follows the name; of UNKNOWN the start of the line, for logs */
    gint64 backoff_ms; /* "Suggested Backoff Time: N milliseconds" in the text; 0 */

    guint64 number;      /* EXISTS, RECENT, EXPUNGE; UIDNEXT, UIDVALIDITY, HIGHESTMODSEQ,
                            UNSEEN codes; UIDVALIDITY in APPENDUID, COPYUID; ESEARCH COUNT */
    GPtrArray *words;    /* CAPABILITY (also the code), ENABLED: char *, upper case;
                            MYRIGHTS: one */
    Flags flags;         /* FLAGS, PERMANENTFLAGS */
    UidSet *uids;        /* SEARCH, ESEARCH ALL, VANISHED: never NULL, empty when none were listed;
                            MODIFIED; APPENDUID/COPYUID: the destination's. Of a list that made
                            no sense nothing is kept: it is RESP_UNKNOWN, so do not take a missing
                            answer for an empty one */
    UidSet *source_uids; /* COPYUID */
    guint64 modseq;      /* MODSEQ of SEARCH and ESEARCH */
    char *search_tag;    /* ESEARCH (TAG "A1") */
    bool uid_flag;       /* ESEARCH UID */
    bool earlier;        /* VANISHED (EARLIER) */
    ListItem *list;      /* LIST, LSUB */
    StatusItem *status;
    QuotaItem quota;
    FetchData *fetch;
    GArray *namespaces[3]; /* personal, other users', shared: NamespaceItem; NULL for NIL */
    GPtrArray *id;         /* ID: name, value, name, value: char *, value may be NULL */
} Response;
void response_free(Response *response);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Response, response_free)
