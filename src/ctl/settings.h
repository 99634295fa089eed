/* settings.h - SOURCE, options and configuration file made into what the layers below want.
 *
 * Layer ctl. Main thread; read-only afterwards. */
#pragma once
#include "options.h"
#include "password.h"
#include "imapfs/imap/account.h"
#include "imapfs/store/store.h"

typedef struct {
    char *source;     /* as it was typed: what df and mount show */
    char *mountpoint; /* as it was typed, until mount_run() has looked where it leads */
    Account account;  /* trace_fd is -1 here */
    PasswordSource *passwords;
    char *state_dir, *cache_dir; /* of this account */
    guint64 cache_size, prefetch;
    char *identity;   /* which mail it is: what the store must have been made from */
    char *trace_path; /* or NULL */
    char *debug;      /* categories separated by ',', or NULL: of the option, else $IMAPFS_DEBUG */
    guint poll_s;
    guint guard;
    bool allow_other, read_only, exact, offline;
    bool delete_expunges, append_no_id, append_unseen;
} Settings;

/* options is completed from the section of the configuration file (config_path() when path is NULL)
 * that is named as SOURCE is. Error CONFIG. */
Settings *settings_new(Options *options, const char *source, const char *mountpoint,
                       const char *path, GError **error);
void settings_free(Settings *settings);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Settings, settings_free)
