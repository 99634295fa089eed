/* nullfs.c - a file system that only answers: what FUSE itself takes, on this machine.
 *
 *     nullfs TREE MOUNTPOINT
 *
 * It reads all of TREE into memory, serves that in the foreground until it is unmounted or
 * signalled, and does what is known to make FUSE fast: names and attributes are kept by the kernel
 * for an hour, OPENDIR and FLUSH are not sent, the bytes of a small file are pushed before its
 * first OPEN is answered, and the next request is looked for before the loop sleeps. Behind an
 * answer is an array, and nothing else: no file system that opens files can be faster, so what is
 * left beside the local disk is not ours to save. */
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TTL 3600.0
#define SOON_NS 50000
#define PUSH_MAX (1024 * 1024)

typedef struct {
    char *name;
    mode_t type;
    char *bytes; /* of a file, or where a link leads to */
    size_t size;
    size_t first, count; /* of a directory: where its entries are */
    bool pushed;
} Node;

static Node *nodes; /* inode numbers are places here, and one more: the root is 1 */
static size_t n_nodes, room;
static struct fuse_session *session;

/* --- the tree --- */

static void *checked(void *memory)
{
    if (!memory)
        err(1, "memory");
    return memory;
}

static size_t add_node(const char *name)
{
    if (n_nodes == room) {
        room = room ? room * 2 : 1024;
        nodes = checked(realloc(nodes, room * sizeof(*nodes)));
    }
    nodes[n_nodes] = (Node){.name = checked(strdup(name))};
    return n_nodes++;
}

static void load_file(Node *node, int dir)
{
    int fd = openat(dir, node->name, O_RDONLY);
    size_t got = 0;
    ssize_t n;

    while ((n = read(fd, node->bytes + got, node->size - got)) > 0)
        got += (size_t)n;
    if (n < 0 || got != node->size)
        err(1, "%s", node->name);
    close(fd);
}

static void load_link(const Node *node, int dir)
{
    if (readlinkat(dir, node->name, node->bytes, node->size) != (ssize_t)node->size)
        err(1, "%s", node->name);
}

static void load_dir(size_t at, int fd);

static void load(size_t at, int dir)
{
    Node *node = &nodes[at];
    struct stat st;

    if (fstatat(dir, node->name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        err(1, "%s", node->name);
    node->type = st.st_mode & S_IFMT;
    if (S_ISDIR(st.st_mode)) {
        load_dir(at, openat(dir, node->name, O_RDONLY | O_DIRECTORY));
        return;
    }
    node->size = (size_t)st.st_size;
    node->bytes = checked(calloc(1, node->size + 1));
    if (S_ISLNK(st.st_mode))
        load_link(node, dir);
    else
        load_file(node, dir);
}

/* A directory's entries stand one behind the other, so it is gone through twice. */
static void load_dir(size_t at, int fd)
{
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *entry;

    if (!dir)
        err(1, "%s", nodes[at].name);
    nodes[at].first = n_nodes;
    while ((entry = readdir(dir)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            add_node(entry->d_name);
    nodes[at].count = n_nodes - nodes[at].first;
    for (size_t i = 0; i < nodes[at].count; i++)
        load(nodes[at].first + i, dirfd(dir));
    closedir(dir);
}

static struct stat stat_of(size_t at)
{
    const Node *node = &nodes[at];

    return (struct stat){.st_ino = at + 1,
                         .st_mode = node->type | (S_ISDIR(node->type) ? 0555 : 0444),
                         .st_nlink = S_ISDIR(node->type) ? 2 : 1,
                         .st_size = (off_t)node->size,
                         .st_blocks = (blkcnt_t)((node->size + 511) / 512)};
}

static struct fuse_entry_param entry_of(size_t at)
{
    return (struct fuse_entry_param){
        .ino = at + 1, .attr = stat_of(at), .attr_timeout = TTL, .entry_timeout = TTL};
}

/* --- answers --- */

static void on_init(void *data, struct fuse_conn_info *connection)
{
    connection->want |= connection->capable & (FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO);
}

static void on_lookup(fuse_req_t request, fuse_ino_t parent, const char *name)
{
    const Node *dir = &nodes[parent - 1];
    struct fuse_entry_param none = {.entry_timeout = TTL};

    for (size_t i = dir->first; i < dir->first + dir->count; i++) {
        if (strcmp(nodes[i].name, name) == 0) {
            struct fuse_entry_param entry = entry_of(i);
            fuse_reply_entry(request, &entry);
            return;
        }
    }
    fuse_reply_entry(request, &none);
}

static void on_getattr(fuse_req_t request, fuse_ino_t ino, struct fuse_file_info *file)
{
    struct stat st = stat_of(ino - 1);

    fuse_reply_attr(request, &st, TTL);
}

static void list(fuse_req_t request, fuse_ino_t ino, size_t size, off_t offset, bool plus)
{
    const Node *dir = &nodes[ino - 1];
    char *out = checked(malloc(size));
    size_t used = 0;

    for (size_t i = (size_t)offset; i < dir->count; i++) {
        size_t at = dir->first + i;
        struct fuse_entry_param entry = entry_of(at);
        size_t taken = plus ? fuse_add_direntry_plus(request, out + used, size - used,
                                                     nodes[at].name, &entry, (off_t)i + 1)
                            : fuse_add_direntry(request, out + used, size - used, nodes[at].name,
                                                &entry.attr, (off_t)i + 1);
        if (taken > size - used)
            break;
        used += taken;
    }
    fuse_reply_buf(request, out, used);
    free(out);
}

static void on_readdir(fuse_req_t request, fuse_ino_t ino, size_t size, off_t offset,
                       struct fuse_file_info *file)
{
    list(request, ino, size, offset, false);
}

static void on_readdirplus(fuse_req_t request, fuse_ino_t ino, size_t size, off_t offset,
                           struct fuse_file_info *file)
{
    list(request, ino, size, offset, true);
}

static void on_open(fuse_req_t request, fuse_ino_t ino, struct fuse_file_info *file)
{
    Node *node = &nodes[ino - 1];
    struct fuse_bufvec bytes = FUSE_BUFVEC_INIT(node->size);

    bytes.buf[0].mem = node->bytes;
    if (!node->pushed && node->size > 0 && node->size <= PUSH_MAX)
        fuse_lowlevel_notify_store(session, ino, 0, &bytes, 0);
    node->pushed = true;
    file->keep_cache = 1;
    file->noflush = 1;
    fuse_reply_open(request, file);
}

static void on_read(fuse_req_t request, fuse_ino_t ino, size_t size, off_t offset,
                    struct fuse_file_info *file)
{
    const Node *node = &nodes[ino - 1];
    size_t from = (size_t)offset < node->size ? (size_t)offset : node->size;
    size_t rest = node->size - from;

    fuse_reply_buf(request, node->bytes + from, size < rest ? size : rest);
}

static void on_release(fuse_req_t request, fuse_ino_t ino, struct fuse_file_info *file)
{
    fuse_reply_err(request, 0);
}

static void on_readlink(fuse_req_t request, fuse_ino_t ino)
{
    fuse_reply_readlink(request, nodes[ino - 1].bytes);
}

static void on_opendir(fuse_req_t request, fuse_ino_t ino, struct fuse_file_info *file)
{
    fuse_reply_err(request, ENOSYS); /* and from then on none is sent */
}

static void on_getxattr(fuse_req_t request, fuse_ino_t ino, const char *name, size_t size)
{
    fuse_reply_err(request, ENOSYS);
}

static const struct fuse_lowlevel_ops ops = {
    .init = on_init,
    .lookup = on_lookup,
    .getattr = on_getattr,
    .readlink = on_readlink,
    .readdir = on_readdir,
    .readdirplus = on_readdirplus,
    .open = on_open,
    .read = on_read,
    .release = on_release,
    .opendir = on_opendir,
    .getxattr = on_getxattr,
};

/* --- the device --- */

static long long now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static ssize_t device_read(int fd, void *buffer, size_t size, void *data)
{
    const bool *looks = data;

    for (;;) {
        long long until = now_ns() + (*looks ? SOON_NS : 0);
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        ssize_t n = read(fd, buffer, size);
        while (n < 0 && errno == EAGAIN && now_ns() < until) {
            sched_yield();
            n = read(fd, buffer, size);
        }
        if (n >= 0 || errno != EAGAIN)
            return n;
        if (poll(&wait, 1, -1) < 0)
            return -1;
    }
}

static ssize_t device_writev(int fd, struct iovec *iov, int count, void *data)
{
    return writev(fd, iov, count);
}

static const struct fuse_custom_io io = {.read = device_read, .writev = device_writev};

int main(int argc, char **argv)
{
    char *words[] = {argv[0], "-oro,fsname=nullfs"};
    struct fuse_args args = FUSE_ARGS_INIT(2, words);
    cpu_set_t processors;
    bool looks; /* for requests before it sleeps: whoever asks has another processor */
    int fd;

    if (argc != 3)
        errx(2, "usage: nullfs TREE MOUNTPOINT");
    looks =
        sched_getaffinity(0, sizeof(processors), &processors) != 0 || CPU_COUNT(&processors) > 1;
    load(add_node(argv[1]), AT_FDCWD);
    session = fuse_session_new(&args, &ops, sizeof(ops), &looks);
    if (!session || fuse_set_signal_handlers(session) != 0 ||
        fuse_session_mount(session, argv[2]) != 0)
        errx(1, "%s: cannot be mounted", argv[2]);
    fd = fuse_session_fd(session);
    if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) != 0 ||
        fuse_session_custom_io(session, &io, fd) != 0)
        err(1, "the FUSE device");
    fuse_session_loop(session);
    fuse_session_unmount(session);
    return 0;
}
