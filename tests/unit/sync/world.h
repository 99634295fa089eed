/* world.h - a real Dovecot over a tunnel, whose mail is a Maildir of this test, a store and an
 * engine on it. "Another client" is a file put into, taken from or renamed in that Maildir. */
#pragma once
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "imapfs/sync/engine.h"

/* What the engine told. */
typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    guint added, removed, flags, boxes_added, boxes_removed;
} Told;

/* Waits until one of the counts is n; fails the test when it takes too long. */
void wait_told(Told *told, const guint *what, guint n);

typedef struct {
    char *dir, *maildir, *state, *cache;
    uid_t uid;
    gid_t gid;
    guint n_delivered;
    Account account;
    Store *store;
    Engine *engine;
    Told told;
    char *disable[8];
    bool read_only;
    guint poll_s;  /* 0: so seldom that no test sees it */
    gpointer fake; /* fake.h: in place of the Dovecot */
    void (*on_open)(gpointer fake);
} World;

bool world_is_possible(void);
int setup(void **state); /* for cmocka; the INBOX has three messages */
int teardown(void **state);
void open_engine(World *world); /* and its store */
void open_store(World *world);  /* alone */
void close_engine(World *world);

void write_file(World *world, const char *path, const char *text);
void make_maildir(World *world, const char *path);
/* Delivers a message whose text says its number, or the given bytes, into cur/ with Maildir flags.
 * Returns the file's name; caller frees. */
char *deliver(World *world, const char *folder, const char *flags);
char *deliver_bytes(World *world, const char *folder, const char *flags, const char *bytes);
void remove_tree(const char *path);

typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t done;
    bool over;
    GError *error;
} Answer;

void on_answer(const GError *error, gpointer data);
GError *await_answer(Answer *answer);        /* after engine_want() with on_answer; caller frees */
GError *ask(World *world, const Need *need); /* caller frees */
void ask_ok(World *world, const Need *need);

guint32 box_id(World *world, const char *name); /* 0: there is none */
guint32 list_inbox(World *world);               /* lists all of it; its id */
/* Logs a change of flags, as the mount does; its number. */
guint32 world_change(World *world, guint32 box, guint32 uid, const char *set, const char *clear);
/* Waits until a line of the engine's events has these words in it. */
void wait_event(World *world, const char *words);
char *content_text(World *world, const ContentKey *key); /* caller frees; NULL: not there */
void check_text(World *world, guint32 box, guint32 uid, const char *want);

/* Until a g_get_monotonic_time(); false when that came. POSIX's locks: ThreadSanitizer sees them.
 */
bool world_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock, gint64 until_us);
