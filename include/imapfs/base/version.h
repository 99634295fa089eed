/* version.h - the version of imapfs, for --version, ID and .imapfs/status. */
#pragma once
const char *imapfs_version(void);
