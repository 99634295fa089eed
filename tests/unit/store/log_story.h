/* log_story.h - what the stories of the log have in common: a step is a word and its fields, and
 * runs in a transaction of its own. */
#pragma once

#include "store_test.h"

#include "imapfs/store/log.h"

typedef struct Story Story; /* each test has its own */

typedef struct {
    const char *word;
    bool (*run)(Story *story, StoreTxn *txn, char **arg, GError **error);
} StoryStep;

static inline void tell_effects(GString *told, const LogEffects *effects)
{
    const struct {
        const char *word;
        guint n;
    } all[] = {{"dropped", effects->dropped}, {"parked", effects->parked},
               {"unbound", effects->unbound}, {"homeless", effects->homeless},
               {"adrift", effects->adrift},   {"followed", effects->followed}};
    for (guint i = 0; i < G_N_ELEMENTS(all); i++)
        if (all[i].n)
            g_string_append_printf(told, "~%s%u ", all[i].word, all[i].n);
}

/* steps ends with one without a word. A refusal and the effects are told. */
static inline void story_step(Story *story, Store *store, GString *told, const StoryStep *steps,
                              const char *step)
{
    g_auto(GStrv) arg = g_strsplit(step, ":", -1);
    g_autoptr(GError) error = NULL;
    while (steps->word && strcmp(steps->word, arg[0]) != 0)
        steps++;
    if (!steps->word)
        fail_msg("no step %s", step);
    StoreTxn *txn = begin(store);
    if (!steps->run(story, txn, arg, &error))
        g_string_append_printf(told, "!%s ", imapfs_error_name((ImapfsError)error->code));
    tell_effects(told, log_effects(txn));
    commit(txn); /* a refusal leaves the transaction usable */
}
