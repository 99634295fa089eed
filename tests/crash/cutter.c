/* cutter.c - a tunnel that is cut at a byte.
 *
 *   crash_cutter [--cut up|down:N:fin|rst|stall] [--done FILE] [--report FILE] [--log DIR]
 *                (PORT | COMMAND)
 *
 * Passes bytes between its standard input (a socket) and a TCP port of this machine, or a shell
 * command. After the n-th byte in one direction the connection ends: fin (what was passed arrives,
 * then the end), rst (at once, and both sides may hear of a reset), stall (open, and nothing
 * moves). Only once: --done is made then, and where it is nothing is cut. --report is told the
 * bytes up and down, and of these those before the first SELECT. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { UP, DOWN };

static struct {
    const char *done, *report;
    int direction;
    uint64_t after; /* 0: never */
    char how[8];
    bool is_tcp;
    uint64_t bytes[2], before[2];
    bool selected;
    int log[2]; /* -1: none */
} cutter = {.log = {-1, -1}};

static volatile sig_atomic_t ended; /* told to end: there is still something to report */

static void on_term(int number)
{
    ended = 1;
}

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static int connect_port(const char *port)
{
    struct sockaddr_in place = {.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)atoi(port)),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&place, sizeof place) != 0)
        fail("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    cutter.is_tcp = true;
    return fd;
}

static int start_command(const char *command)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0)
        fail("socketpair");
    pid_t pid = fork();
    if (pid < 0)
        fail("fork");
    if (pid == 0) {
        dup2(ends[1], 0);
        dup2(ends[1], 1);
        close(ends[0]);
        close(ends[1]);
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    return ends[0];
}

static void report(void)
{
    FILE *file = cutter.report ? fopen(cutter.report, "w") : NULL;
    if (!file)
        return;
    fprintf(file, "%llu %llu %llu %llu\n", (unsigned long long)cutter.bytes[UP],
            (unsigned long long)cutter.bytes[DOWN], (unsigned long long)cutter.before[UP],
            (unsigned long long)cutter.before[DOWN]);
    fclose(file);
}

static void pass_until_gone(int client)
{
    char buffer[4096];
    while (read(client, buffer, sizeof buffer) > 0)
        ;
}

static void cut(int client, int server)
{
    struct linger reset = {1, 0};
    int fd = cutter.done ? open(cutter.done, O_WRONLY | O_CREAT, 0600) : -1;
    if (fd >= 0)
        close(fd);
    report();
    if (strcmp(cutter.how, "rst") == 0) {
        if (cutter.is_tcp)
            setsockopt(server, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        close(server);
    } else if (strcmp(cutter.how, "fin") == 0) {
        shutdown(server, SHUT_WR);
        shutdown(client, SHUT_WR);
        pass_until_gone(client);
    } else { /* stall: until the client gives it up */
        struct pollfd gone = {.fd = client, .events = POLLRDHUP};
        while (poll(&gone, 1, -1) >= 0 && !(gone.revents & (POLLRDHUP | POLLHUP | POLLERR)))
            ;
    }
    exit(0);
}

static void write_all(int fd, const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t n = write(fd, bytes, length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            exit(0);
        bytes += n;
        length -= (size_t)n;
    }
}

static void look_for_select(const char *bytes, size_t length)
{
    if (cutter.selected || !memmem(bytes, length, " SELECT ", 8))
        return;
    cutter.selected = true;
    cutter.before[UP] = cutter.bytes[UP];
    cutter.before[DOWN] = cutter.bytes[DOWN];
}

static void keep(int direction, const char *bytes, size_t length)
{
    if (cutter.log[direction] >= 0 && write(cutter.log[direction], bytes, length) < 0)
        fail("log");
}

static void open_logs(const char *dir)
{
    static const char *const words[] = {[UP] = "up", [DOWN] = "down"};
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    for (int direction = UP; direction <= DOWN; direction++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%lld-%ld.%s", dir, (long long)now.tv_sec, (long)getpid(),
                 words[direction]); /* a number of a process is used again */
        cutter.log[direction] = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (cutter.log[direction] < 0)
            fail(path);
    }
}

/* false at the end. */
static bool pass(int from, int to, int direction, int client, int server)
{
    char buffer[16384];
    ssize_t n = read(from, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR)
        return true;
    if (n <= 0)
        return false;
    if (direction == UP)
        look_for_select(buffer, (size_t)n);
    uint64_t room = cutter.after - cutter.bytes[direction];
    bool ends = cutter.after && direction == cutter.direction && room <= (uint64_t)n;
    keep(direction, buffer, ends && direction == UP ? (size_t)room : (size_t)n);
    write_all(to, buffer, ends ? (size_t)room : (size_t)n);
    cutter.bytes[direction] += ends ? room : (uint64_t)n;
    if (ends)
        cut(client, server);
    return true;
}

static bool parse(int argc, char **argv)
{
    for (int i = 1; i + 1 < argc - 1; i += 2) {
        char direction[8];
        unsigned long long after;
        if (strcmp(argv[i], "--done") == 0)
            cutter.done = argv[i + 1];
        else if (strcmp(argv[i], "--report") == 0)
            cutter.report = argv[i + 1];
        else if (strcmp(argv[i], "--log") == 0)
            open_logs(argv[i + 1]);
        else if (strcmp(argv[i], "--cut") != 0 ||
                 sscanf(argv[i + 1], "%7[a-z]:%llu:%7s", direction, &after, cutter.how) != 3)
            return false;
        else {
            cutter.direction = strcmp(direction, "up") == 0 ? UP : DOWN;
            cutter.after = after;
        }
    }
    return argc % 2 == 0;
}

int main(int argc, char **argv)
{
    if (!parse(argc, argv)) {
        fputs("usage: crash_cutter [--cut up|down:N:HOW] [--done FILE] [--report FILE] "
              "[--log DIR] PORT|COMMAND\n",
              stderr);
        return 2;
    }
    if (cutter.done && access(cutter.done, F_OK) == 0)
        cutter.after = 0;
    const char *target = argv[argc - 1];
    int server = strspn(target, "0123456789") == strlen(target) ? connect_port(target)
                                                                : start_command(target);
    struct pollfd ends[2] = {{.fd = 0, .events = POLLIN}, {.fd = server, .events = POLLIN}};
    sigaction(SIGTERM, &(struct sigaction){.sa_handler = on_term}, NULL);
    while (!ended && (poll(ends, 2, -1) > 0 || errno == EINTR)) {
        if (ended)
            break;
        if (ends[0].revents && !pass(0, server, UP, 0, server))
            break;
        if (ends[1].revents && !pass(server, 0, DOWN, 0, server))
            break;
    }
    report();
    return 0;
}
