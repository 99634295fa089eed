/* fake.h - a small IMAP server of the test's own, and an engine on it. Its mail is in memory; a
 * test changes it as another client would, tells it what to answer instead, and reads what it was
 * sent.
 */
#pragma once
#include "world.h"

typedef struct {
    guint32 uid;
    char *flags; /* text form */
    char *emailid;
    guint number; /* tells the message from others: it makes its Message-ID and its date */
    char *bytes;  /* of one that was appended; NULL */
    char *date;   /* what APPEND said; NULL */
} FakeMessage;

typedef struct {
    char *name;
    guint32 uidvalidity, uidnext;
    char *mailboxid;       /* told when the server has OBJECTID */
    const char *permanent; /* of PERMANENTFLAGS; NULL: not told */
    const char *loses;     /* flags that it says OK to and does not keep */
    const char *says;      /* untagged, with each STORE; NULL */
    bool read_only;
    bool trash;          /* LIST says so */
    bool noselect;       /* and no STATUS */
    GPtrArray *messages; /* of FakeMessage, ascending */
    guint users;         /* connections that have it selected */
    bool pulled;         /* it was renamed while there were any */
} FakeBox;

/* What to do about a command whose line has these words in it. */
typedef struct {
    const char *words;
    const char *answer; /* "NO [NOPERM] no": instead of doing it; NULL: do it */
    guint times;        /* 0: always */
    bool cut;           /* the connection is closed in place of the answer */
    guint32 only_uid;   /* not 0: only if this is in its set */
    guint after_ms;     /* waits so long before it is done or answered */
    guint tag_after_ms; /* the tagged answer comes so long after the rest */
    guint partly;       /* not 0: of a MOVE do so many first, with their COPYUID, then answer */
} FakeRule;

#define FAKE_MAX_RULES 8

/* What the server says of what became what. With UIDPLUS, that is; else nothing. */
typedef enum {
    COPYUID_USUAL,    /* of a MOVE untagged, before the EXPUNGEs; of a COPY tagged */
    COPYUID_TAGGED,   /* of both */
    COPYUID_APART,    /* untagged, one for each message */
    COPYUID_NONE,     /* although it has UIDPLUS */
    COPYUID_MORE,     /* hostile: sources that were not asked for */
    COPYUID_UNEVEN,   /* hostile: fewer destinations */
    COPYUID_TWICE,    /* hostile: a destination twice */
    COPYUID_HUGE,     /* hostile: 1:4294967295 */
    COPYUID_OTHER,    /* another UIDVALIDITY */
    COPYUID_BACKWARD, /* legal: the sources in descending order */
} FakeCopyUid;

typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    const char *capabilities; /* besides IMAP4rev1 */
    GPtrArray *boxes;         /* of FakeBox */
    GPtrArray *commands;      /* of char *: what came, without tags */
    FakeRule rules[FAKE_MAX_RULES];
    FakeCopyUid copyuid;
    bool keeps_sources; /* hostile: a MOVE that leaves them */
    bool no_uidnext;    /* SELECT does not tell it */
    bool lags;          /* what others bring is there for a session from its next NOOP on */
    guint n_messages;   /* made so far */
    int listener;
    char *path;
    pthread_t thread;
    GArray *connections; /* of int */
    GPtrArray *threads;  /* of pthread_t */
    bool started;
} Fake;

int fake_setup(void **state); /* for cmocka; World with a Fake: INBOX with 4 messages, UIDs 1..4 */
int fake_teardown(void **state);
/* In main(), first: runs the tunnel's end when that is what the program was started for. */
void fake_main(int argc, char **argv);

Fake *world_fake(World *world);
void fake_lock(Fake *fake);
void fake_unlock(Fake *fake);
/* Under the lock: */
FakeBox *fake_box(Fake *fake, const char *name); /* made when there is none */
void fake_drop_box(Fake *fake, const char *name);
FakeMessage *fake_add(Fake *fake, const char *mailbox, guint32 uid, const char *flags);
FakeMessage *fake_message(Fake *fake, const char *mailbox, guint32 uid);
void fake_expunge(Fake *fake, const char *mailbox, guint32 uid);
/* Without it: */
void fake_rule(Fake *fake, FakeRule rule);
void fake_cut(Fake *fake);                                      /* all connections */
char *fake_flags(Fake *fake, const char *mailbox, guint32 uid); /* caller frees; NULL: gone */
guint fake_number(Fake *fake, const char *mailbox);             /* of messages there */
guint fake_count(Fake *fake, const char *words); /* commands that have these words in them */
void fake_wait(Fake *fake, const char *words, guint n);
