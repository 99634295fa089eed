/* imap.c - starts Dovecot's imap as somebody else, with its settings ready.
 *
 *   crash_imap FILE
 *
 * FILE holds words, each ended by NUL: a user's and a group's number, a file for what it complains
 * of, the program, and its whole environment. Dovecot's own way is to start a program that reads
 * the configuration and starts it again; with those that change the user before, a server is six
 * programs one after the other, and this is most of what a run costs. */
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FIELDS = 4, ENV_MAX = 256 };

static char text[1 << 16];

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void read_words(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (length <= 0 || (size_t)length == sizeof text - 1)
        fail(path);
    close(fd);
}

static void become(uid_t uid, gid_t gid)
{
    if (getuid() != 0)
        return;
    if (setgroups(0, NULL) != 0 || setgid(gid) != 0 || setuid(uid) != 0)
        fail("setuid");
}

int main(int argc, char **argv)
{
    char *fields[FIELDS], *env[ENV_MAX + 1] = {NULL}, *word = text;
    if (argc != 2)
        return 2;
    read_words(argv[1]);
    for (int i = 0; i < FIELDS; i++, word += strlen(word) + 1)
        fields[i] = word;
    for (int i = 0; i < ENV_MAX && *word; i++, word += strlen(word) + 1)
        env[i] = word;
    int log = open(fields[2], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (log < 0 || dup2(log, STDERR_FILENO) < 0)
        fail(fields[2]);
    become((uid_t)atoi(fields[0]), (gid_t)atoi(fields[1]));
    execve(fields[3], (char *[]){fields[3], NULL}, env);
    fail(fields[3]);
}
