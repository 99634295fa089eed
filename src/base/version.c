/* version.c - the version, once. */
#include "imapfs/base/version.h"

const char *imapfs_version(void)
{
    return IMAPFS_VERSION;
}
