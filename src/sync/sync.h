/* sync.h - what the files of the sync layer share. Private to src/sync; the loop thread only,
 * except Engine.shared, which its lock guards.
 *
 * A Job is something the store lacks, wanted by any number of waiters. A Mailbox is the live side
 * of a mailbox that somebody looked at since the mount began: which session it is on, and what is
 * known to be out of date (its dirty bits). */
#pragma once
#include <pthread.h>
#include "imapfs/store/log.h"
#include "imapfs/sync/engine.h"

typedef struct Mailbox Mailbox;
typedef struct Job Job;
typedef struct LocalMessage LocalMessage;
typedef struct Ahead Ahead;
typedef struct Listing Listing;

/* --- what sends the log (replay.c): the account's side, and a mailbox's --- */

typedef struct {
    GHashTable *paces; /* id -> Pace *: mailboxes with something new in the log */
    GHashTable *told;  /* ids of those whose line in events is still to come */
    GSource *gather, *tell, *due;
    gint64 pause_us;  /* nothing is sent before this: the server asks for patience */
    gint64 online_us; /* since when there is a connection; 0: there is none */
    bool rehoming;    /* mailboxes are being asked for their ids */
} Replay;

typedef struct Batch Batch;
typedef struct BoxOp BoxOp;

/* Changes of mailboxes (box_ops.c). */
typedef struct {
    BoxOp *now;      /* the one that is under way */
    guint changes;   /* counts what may make the answer of a LIST an old one */
    bool list_again; /* the list is to be asked for when nothing is under way */
    guint level;     /* of back-off: refusals for now, one after the other */
} BoxOps;

typedef enum {
    REPLAY_IDLE,
    REPLAY_HELD,    /* wants the mailbox, or has it and waits for it to be in sync or writable */
    REPLAY_SENDING, /* a batch is under way */
} ReplayPhase;

/* Looking for what was sent and not answered (probe.c). */
typedef enum {
    PROBE_UNKNOWN, /* whether there is anything */
    PROBE_NONE,
    PROBE_WANTED,
    PROBE_NEWS, /* NOOP is under way */
    PROBE_SYNC, /* when it is in sync next */
} ProbeStage;

typedef struct {
    ReplayPhase phase;
    guint generation; /* of the session that is held */
    bool holds;
    bool reselecting;   /* EXAMINE is being made SELECT */
    bool maybe_unbound; /* look for UNBOUND operations when it is in sync */
    bool fencing;       /* STATUS of where it goes is under way */
    bool catching;      /* NOOP is under way */
    guint n_caught;
    ProbeStage probe;
    gint64 probe_us;      /* not before */
    Batch *batch;         /* while SENDING */
    guint level, n_lost;  /* of back-off: refusals for now; connections lost over a batch */
    guint n_odd;          /* what was due could not be had so often */
    gint64 not_before_us; /* no attempt before this */
    gint64 written_us;    /* when something was last sent */
} MailboxReplay;

/* --- the engine --- */

struct Engine {
    EngineConfig config;
    Store *store;
    GThread *thread;
    GMainContext *context;
    GMainLoop *loop;
    Pool *pool;
    guint64 next_handle; /* atomic */

    GHashTable *jobs;      /* key -> Job */
    GHashTable *waiters;   /* handle -> Waiter */
    GHashTable *mailboxes; /* canonical name -> Mailbox */
    GHashTable *opening;   /* name -> what is being found out of a large content (ranged_open.c) */
    GSource *tick;         /* while somebody waits: deadlines */
    GSource *poll;
    GSource *evict;
    gint64 started_us, stop_us;
    bool list_plain; /* LIST with RETURN was refused */
    bool listing;    /* a LIST is under way */
    gint64 quota_us; /* when the quota was last asked for; 0: it may be another one now */
    bool asking_quota;
    bool polling; /* a lease for STATUS commands is awaited */
    guint polls;
    LocalMessage *local; /* the last one that was parsed here, for a moment */
    GSource *local_end;
    struct {
        guint32 box, uid;
        bool local;       /* its structure was made here */
    } known;              /* the last message of which that was asked */
    gint64 connecting_us; /* when the attempt to connect that is under way began */
    Replay replay;
    BoxOps boxes;

    struct {
        pthread_mutex_t lock; /* a leaf but for a Ranged's; not GMutex, as ThreadSanitizer does not
                                 see its futex */
        pthread_cond_t changed;
        bool decided; /* the first attempt to connect has ended */
        PoolState state;
        GError *error;           /* why it is offline */
        gint64 listed_us;        /* when LIST last ended well on a connection that is still there */
        GHashTable *fresh_until; /* box id -> gint64 *: monotonic us; G_MAXINT64 while watched */
        char *status;
        EngineProgress progress;
        GHashTable *ranged;    /* name -> Ranged */
        GHashTable *corrected; /* names of contents of which wrong bytes were read */
        GString *events;
        bool offline;     /* as wished */
        GPtrArray *reads; /* of Need *: what engine_read() was told, and the loop was not yet */
        guint reads_kept; /* so many of them may be kept without waking the loop */
        bool reads_posted;
    } shared;
};

typedef void (*EngineFunc)(Engine *engine, gpointer data);
/* What was read until now is noted. */
void engine_take_reads(Engine *engine);
/* Runs f on the loop, soon and in order; destroy frees data also when the loop ends before. */
void engine_post(Engine *engine, EngineFunc f, gpointer data, GDestroyNotify destroy);
/* A source on the loop; unrefs itself. ms 0: idle. */
GSource *engine_timer(Engine *engine, guint ms, GSourceFunc f, gpointer data);
void engine_timer_clear(GSource **source);

void engine_set_progress(Engine *engine, const char *mailbox, guint64 done, guint64 total);
void engine_set_fresh(Engine *engine, guint32 box, gint64 until_us);
void engine_set_listed(Engine *engine, gint64 at_us);

/* --- .imapfs/events (events.c): any thread --- */

void events_add(Engine *engine, const char *word, const char *format, ...) G_GNUC_PRINTF(3, 4);
/* "MAILBOX: N WHATs"; nothing for 0. */
void events_add_count(Engine *engine, const char *word, const char *mailbox, guint64 n,
                      const char *what);
void events_add_message(Engine *engine, const char *word, const char *mailbox, const char *name,
                        guint32 uid);

/* --- jobs (jobs.c) --- */

struct Job {
    Engine *engine;
    char *key;
    Need need;
    GArray *handles; /* of waiters, guint64 */
    gint64 progress_us;
    guint attempts;
    Job *awaits; /* another job that this one needs: its progress is this one's, too */
    bool finished;
    guint refs;
};

Job *job_ref(Job *job);
void job_unref(Job *job);
void job_progress(Job *job);
/* Tells every waiter; error NULL: the store has it. The job leaves the table; refs may linger. */
void job_finish(Job *job, const GError *error);
bool job_is_wanted(const Job *job);
Job *job_find(Engine *engine, NeedKind kind, guint32 box, guint32 uid, ContentKind content,
              const char *section);
/* Wants need for the job and calls then when the store has it or it failed, perhaps from inside;
 * not when the job was finished meanwhile. One at a time. */
void job_await(Job *job, const Need *need, void (*then)(Job *job, const GError *error));
/* Calls f with a reference to each job of a kind; f may end them. */
void jobs_each(Engine *engine, NeedKind kind, void (*f)(Job *job, gpointer data), gpointer data);
/* Ends all jobs that need the network. */
void jobs_fail_all(Engine *engine, const GError *error);
/* Ends all jobs about a mailbox that is gone or has another identity now. */
void jobs_fail_box(Engine *engine, guint32 box, const GError *error);
/* After COMMAND_LOST: runs again(job) once the session's end was dealt with, or finishes the job
 * when it was tried often enough. Takes a reference to the job for the while. */
void job_retry(Job *job, void (*again)(Job *job), const GError *error);

/* --- mailboxes (mailboxes.c): LIST, NAMESPACE, polling --- */

void mailboxes_job_start(Job *job);
void mailboxes_refresh(Engine *engine); /* in the background */
void mailboxes_poll(Engine *engine);    /* STATUS of what no session watches */

/* --- one mailbox (mailbox.c: live state and events; resync.c: the phases) --- */

enum {
    DIRTY_FLAGS = 1 << 0,  /* flags of known messages may have changed */
    DIRTY_NEW = 1 << 1,    /* there may be messages after the last known */
    DIRTY_VERIFY = 1 << 2, /* compare the number of rows with EXISTS, and the UIDs if they differ */
};

typedef struct {
    guint32 uid;
    char *flags; /* text form */
    guint64 modseq;
} FlagNews;

/* What sizes.c remembers of a mailbox. */
typedef struct {
    guint32 box; /* whose UIDs these are; 0: nothing is remembered yet */
    guint window;
    guint32 last; /* the messages up to it were looked at */
    UidSet *in_flight;
    UidSet *asked; /* answered as well as it gets */
} MailboxSizes;

struct Mailbox {
    Engine *engine;
    char *name;       /* canonical; the one that the server knows it by */
    guint32 box;      /* its id now */
    bool gone;        /* left the table; freed with the last reference */
    gint64 rights_us; /* when they were last asked for */
    bool frozen;      /* it is being renamed or removed: no session has it */
    bool leasing;     /* a lease is waited for: */
    CommandLane lane; /* ... in this lane, by the most urgent of those who wait */
    PoolLease *asked; /* it, once that is known; borrowed */
    guint n_asked;
    guint refs;

    /* the session, if it is selected or being selected */
    PoolLease *lease;
    Session *session;
    bool selected; /* the tagged OK came */
    bool writable; /* ... of a SELECT */
    guint users, generation;
    guint patient;  /* of the users: see mailbox_is_patient() */
    GQueue waiting; /* of Acquire */
    GError *select_error;

    /* what the server said since the last flush */
    UidSet *vanished;
    GArray *expunged;  /* of guint32: the numbers of EXPUNGE since it was last in sync */
    GArray *flag_news; /* of FlagNews */
    GSource *flush;

    /* resync */
    guint dirty;
    bool syncing;
    Listing *early; /* a first listing that was begun before SELECT is answered, until that is */
    bool must_sync; /* not yet resynced since it was selected */
    guint verify_rounds;
    guint32 exists;
    guint32 uidvalidity, uidnext;
    guint32 view_uidnext; /* after the last UID that this session has been told of; 0: of none */
    guint32 was_uidnext;  /* what it was when it was last in sync; 0: it is by now */
    bool view_is_told;    /* SELECT told UIDNEXT */
    guint32 placed_uid;   /* the highest that was placed here by another session */
    bool partial; /* a first listing went on beyond rows that were there: compare the UIDs */
    bool kept;    /* held until it is in sync (mailbox_sync_soon) */
    guint kept_generation;
    guint64 highestmodseq; /* up to which the rows are true */
    guint64 select_modseq; /* what SELECT said: the rows are true up to it after a resync */
    gint64 used_us;        /* when somebody last asked for it */
    gint64 flags_us;       /* how long the last full FLAGS took */
    GSource *later;        /* a resync that waits, so as not to be done for every event */

    /* polling by STATUS */
    bool session_polled, polled_utf8;

    /* structures: read-ahead over neighbours */
    guint structure_window;
    guint32 structure_last;
    UidSet *structure_asked; /* in flight */

    MailboxSizes sizes;
    Ahead *ahead; /* contents: read-ahead over neighbours; NULL before the first read */
    MailboxReplay replay;
};

Mailbox *mailbox_get(Engine *engine, guint32 id, GError **error); /* borrowed; made if needed */
Mailbox *mailbox_find(Engine *engine, const char *name);
Mailbox *mailbox_ref(Mailbox *mailbox);
void mailbox_unref(Mailbox *mailbox);
void mailbox_drop(Mailbox *mailbox); /* it is no longer on the server */
void mailbox_free_all(Engine *engine);
/* From the one to the other nobody gets a session with it. name: that the server knows it by then.
 */
void mailbox_freeze(Mailbox *mailbox);
void mailbox_thaw(Mailbox *mailbox, const char *name);

/* A session with it selected, or being selected with the caller's commands behind it. ready is
 * called exactly once, perhaps from inside. Every call with a session is paid back by one
 * mailbox_release() with the generation of that moment. */
typedef void (*MailboxReady)(Mailbox *mailbox, Session *session, const GError *error,
                             gpointer data);
void mailbox_acquire(Mailbox *mailbox, CommandLane lane, MailboxReady ready, gpointer data);
void mailbox_release(Mailbox *mailbox, guint generation);
/* Who has just been given the session goes on where he was when it is taken from him between two
 * commands: then others need not wait for the end of what he does. Paid back by
 * mailbox_release_patient(). */
void mailbox_is_patient(Mailbox *mailbox);
void mailbox_release_patient(Mailbox *mailbox, guint generation);
/* Selects it, brings it into sync and lets go. Who asks for that and lets go at once may never see
 * it: while SELECT is not answered another mailbox can have the session. */
void mailbox_sync_soon(Mailbox *mailbox, CommandLane lane);
void mailbox_sync_over(Mailbox *mailbox); /* the resync's end */
/* For a MailboxReady whose data is a reference to a job: whether it goes on. If not, as there is no
 * session or the job is over, the job knows, and its reference and the use are given back. */
bool mailbox_serves(Mailbox *mailbox, Session *session, const GError *error, Job *job);

/* Why a command in a mailbox did not end with OK: as error_from_result(), but of one that was lost
 * because the mailbox could not be selected the reason of that. Caller frees. */
GError *mailbox_command_error(const Mailbox *mailbox, CommandResult result, const Response *tagged,
                              const char *what);

/* Something was placed in it of which its session has not been told yet. */
bool mailbox_is_behind(const Mailbox *mailbox);
/* NOOP: what the session shows of its mailbox may be what it last saw. done may be NULL. */
void mailbox_ask_for_news(Session *session, CommandDone done, gpointer data);

void mailbox_job_start(Job *job); /* NEED_MAILBOX */
void mailbox_mark(Mailbox *mailbox, guint dirty);
void mailbox_flush(Mailbox *mailbox); /* writes what the server said into the store */
bool mailbox_is_watched(const Mailbox *mailbox);
void mailbox_on_status(Mailbox *mailbox, const StatusItem *status);

/* pool events */
void mailbox_select_params(Engine *engine, const char *name, SelectParams *params);
void mailbox_on_selected(Engine *engine, const char *name, Session *session,
                         const SelectResult *result, const GError *error);
void mailbox_on_untagged(Engine *engine, const char *name, Response *response);
void mailbox_give_way(Engine *engine, const char *name); /* if that costs nobody anything */
void mailbox_on_unselected(Engine *engine, const char *name);

/* expunged.c */
void expunged_note(Mailbox *mailbox, guint64 number);
void expunged_forget(Mailbox *mailbox);
/* The messages that those noted seem to be of, and one that must be there. They are forgotten.
 * Caller frees; NULL: it cannot be told. */
UidSet *expunged_guess(Mailbox *mailbox, guint32 *witness_out);

/* A session is about to select it: sends what will be wanted in any case. */
void resync_begin(Mailbox *mailbox);
/* Decides what SELECT's answer leaves to do. */
void resync_on_selected(Mailbox *mailbox, const SelectResult *result);
void resync_soon(Mailbox *mailbox); /* runs after a moment, for many events at once */
void resync_run(Mailbox *mailbox);  /* does what the dirty bits say, one phase after the other */

/* --- the log (replay.c: when; batch.c and settle.c: what; rehome.c: where it belongs) --- */

void replay_init(Engine *engine);  /* on the loop, before the first connection */
void replay_clear(Engine *engine); /* at the end */
void replay_online(Engine *engine);
void replay_offline(Engine *engine, const GError *error);
void replay_soon(Engine *engine);  /* looks for what is due */
void replay_poll(Engine *engine);  /* now and then */
void replay_hurry(Engine *engine); /* what was put off is due now: a person says so */
/* Sends what is due in a mailbox, whenever that can be. */
void replay_mailbox(Mailbox *mailbox, CommandLane lane);
bool replay_may_send(Engine *engine); /* anything that changes something */
bool replay_wants_select(Engine *engine, guint32 box);
void replayed_job_start(Job *job); /* NEED_REPLAYED */
/* Who waits for everything is a person at a shell, who may know that the server is back. */
bool replayed_job_insists(const Job *job);

/* What happened to a mailbox that replay may be waiting for. */
void replay_on_synced(Mailbox *mailbox);
void replay_on_unsynced(Mailbox *mailbox, const GError *error); /* its resync failed */
void replay_on_unselected(Mailbox *mailbox, const GError *refused /* NULL: left, or lost */);
void replay_on_dropped(Mailbox *mailbox);
/* A batch is under way that takes messages away: what the server says of these is its to record. */
bool replay_holds_back(const Mailbox *mailbox);
/* Takes out of a set what the batch is to record. */
void replay_hold_back(const Mailbox *mailbox, UidSet *gone);

/* Tells what a transaction did to the log, once it is committed. */
void replay_tell_effects(Engine *engine, const char *mailbox, const LogEffects *effects);

/* --- mailboxes that are made, removed, renamed (box_ops.c, box_commands.c) --- */

/* Sends what is next, unless something is under way; in how many us something is due, or -1. */
gint64 box_ops_start(Engine *engine);
/* It is being renamed or removed, or is below such a one: nothing is to be begun with it. */
bool box_ops_hold(const Engine *engine, const char *name);
void box_ops_clear(Engine *engine); /* at the end */
/* Names that mean something else now (of StoreName). */
void box_names_tell(Engine *engine, const GArray *names);

/* --- what may be done, and how much (rights.c) --- */

void rights_ask(Mailbox *mailbox, Session *session); /* it is being selected there */
void quota_ask(Engine *engine);                      /* not more often than once a minute */

void rehome_unbound(Mailbox *mailbox); /* in sync: binds to messages what waits for the listing */
void rehome_homeless(Engine *engine);  /* after LIST */
void rehome_drop_adrift(Engine *engine);

/* --- fetching (structure.c, sizes.c, content.c, ranged*.c) --- */

void structure_job_start(Job *job);
/* Somebody reads in order and comes to this message soon: its structure and the next ones. */
void structure_ahead(Mailbox *mailbox, guint32 uid, guint most);
void sizes_job_start(Job *job);
void sizes_clear(MailboxSizes *sizes);
void content_job_start(Job *job);
void content_job_fetch(Job *job); /* whole, whatever its size */
void ranged_job_start(Job *job);
/* Whether a need of a content is one that can be met by ranges: large, and not of text. */
bool ranged_suits(const Engine *engine, const Need *need);
/* Somebody is expected to read a content that suits: finds out whether it can be, and fetches so
 * many bytes, as sent, from its start on. */
void ranged_open_ahead(Mailbox *mailbox, const Need *need, guint64 encoded);
/* Of one of which that was begun, or done: so many bytes. False: it was not. */
bool ranged_ask_ahead(Engine *engine, const ContentKey *key, guint64 encoded);
/* Whether somebody has opened it, or waits for that. */
bool ranged_is_met(Engine *engine, const ContentKey *key);
/* As sent; -1: it is not ranged. */
gint64 ranged_encoded_size(Engine *engine, const Need *need);
/* A content is wanted, or was opened for the first time since it came: brings what is likely to be
 * read next (ahead.c). */
void ahead_note(Mailbox *mailbox, const Need *need);
/* A ranged content was read up to here, as sent, from its start on. */
void ahead_went_on(Mailbox *mailbox, const ContentKey *key, guint64 encoded);
/* It is on its way: that will answer the job. */
bool ahead_brings(Mailbox *mailbox, const Need *need);
void ahead_free(Ahead *ahead);
/* The IMAP section that a need is about (RFC 9051 6.4.5.1). Caller frees. */
char *need_wire_section(const Need *need);

/* Where the bytes of a section go, still encoded (sink.c). Free without finish: nothing is kept. */
typedef struct Sink Sink;
Sink *sink_new(Store *store, const Need *need, GError **error);
bool sink_take(Sink *sink, const void *bytes, gsize length, GError **error);
bool sink_finish(Sink *sink, GError **error); /* the store has it now */
void sink_free(Sink *sink);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Sink, sink_free)

/* --- messages that are the same as others (twin.c): nothing is asked of the server --- */

/* Of the structures that are to be asked for, those of a twin's: they are in the store then, who
 * waits for them is told, and they are taken out of the set. */
void twin_structures(Engine *engine, guint32 box, UidSet *uids);
/* Whether a content came from a twin: the job is over then. */
bool twin_content_start(Job *job);
/* The same of what is read ahead. */
bool twin_takes(Engine *engine, const Need *need);
/* Whether sizes of parts of this message came from a twin. */
bool twin_sizes(Engine *engine, guint32 box, guint32 uid);

/* --- messages that are parsed here (local.c) --- */

/* doubt: what is wrong with the server's structure, in words. Finishes the job. */
void local_structure_start(Job *job, const char *doubt);
bool local_has_parts(const Job *job); /* whether a content job is about such a message's part */
void local_content_start(Job *job);
/* Makes a letter of the exact bytes, which are in the store: nothing is asked of the server. */
bool local_has_letter(const Job *job);
void local_letter_start(Job *job);
void local_forget(Engine *engine);

/* --- messages that wait to be sent (spooled.c) --- */

/* A need about one whose bytes are in the spool: it is answered. */
bool spooled_start(Job *job);

/* --- .imapfs/status (status.c) --- */

void status_job_start(Job *job);

/* An error from a tagged NO, BAD, or a lost command. Caller frees. */
GError *error_from_result(CommandResult result, const Response *tagged, const char *what);
