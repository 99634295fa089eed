/* config.h - the configuration file: a section an account, a key an option.
 *
 * Layer ctl. Main thread. */
#pragma once
#include "options.h"

/* $XDG_CONFIG_HOME/imapfs/config. Caller frees. */
char *config_path(void);

/* Sets the keys of the section, where the command line has not. *found_out: there is such a
 * section; a file that does not exist has none. Error CONFIG, naming file, section and key. */
bool config_load(const char *path, const char *section, Options *options, bool *found_out,
                 GError **error);
