/* mountcmd.h - one mount from its settings to its end: the wiring of all layers.
 *
 * Layer ctl. Main thread, before any other. */
#pragma once
#include "settings.h"

/* Exit codes, as the manual has them. */
typedef enum {
    EXIT_FINE = 0,
    EXIT_FAILED = 1,   /* not reachable, not mountable, or a failure while it served */
    EXIT_USAGE = 2,    /* command line, configuration or mount point */
    EXIT_LOGIN = 3,    /* the server refused the login, or there is no password */
    EXIT_INSECURE = 4, /* no secure connection: certificate, host name, STARTTLS, ... */
} ExitCode;

typedef struct {
    bool foreground; /* -f */
    bool debug_fuse; /* -d: libfuse's messages too */
} MountFlags;

/* "imapfs: WORDS" on standard error, made printable; the exit code for the error. */
ExitCode mount_complain(const GError *error);

/* Returns when the mount is gone, or failed; without -f in a child (see background.h). */
ExitCode mount_run(Settings *settings, const MountFlags *flags);
