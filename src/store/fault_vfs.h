/* fault_vfs.h - SQLite's calls as fault points; private to this layer. */
#pragma once

/* Puts itself in front of SQLite's own way to the files when IMAPFS_FAULT names disk.* or asks for
 * a loss of power; else nothing. Before the first database is opened. */
void fault_vfs_install(void);
