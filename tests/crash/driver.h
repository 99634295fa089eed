/* driver.h - what the parts of the crash tests' driver share. */
#pragma once
#include "imapfs/store/log.h"
#include "imapfs/sync/engine.h"

typedef struct {
    Store *store;
    Engine *engine;
    const char *letters; /* directory of letters that can be appended */
    guint wait_ms;       /* the longest that a step waits */
    bool kick;           /* a lost connection is made again at once */
    bool offline;        /* by the script */
    guint last;          /* the step that is committed */
} Driver;

/* Runs one line of the script, its words separated by tabs; its number is step. false: *error says
 * why. */
bool driver_step(Driver *driver, guint step, const char *line, GError **error);
/* Whether a line is about the network: those before the first step to run are told again. */
bool driver_step_is_mode(const char *line);
/* The step that the store says was the last to be committed; and whether it came to nothing. */
guint driver_last_step(Store *store);
bool driver_last_was_refused(Store *store);

/* Prints all that the store knows, a thing a line, its fields separated by tabs. */
void driver_show(Store *store);

/* A run with its words, and many of them on request (serve.c). Both return the exit status. */
int driver_main(int argc, char **argv);
int driver_serve(char *name);
