/* init.c - one bit of the INIT reply that libfuse before 3.17 never sends: FUSE_PARALLEL_DIROPS.
 *
 * libfuse 3.0 to 3.16 list FUSE_CAP_PARALLEL_DIROPS as on by default but leave it out of the reply
 * (fixed in libfuse by commit c9905341, 2023-11-16). Without it the kernel serialises all lookups
 * and listings in a directory, so that one which waits for the server stalls the others. The bit is
 * added only when the kernel offered it; from 3.17 on it is there already and nothing changes. */
#include <linux/fuse.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>
#include <glib.h>

#include "impl.h"

void init_patch_request(InitPatch *patch, const void *bytes, gsize length)
{
    struct fuse_in_header header;
    struct fuse_init_in init = {0};

    if (length < sizeof(header))
        return;
    memcpy(&header, bytes, sizeof(header));
    if (header.opcode != FUSE_INIT)
        return;
    memcpy(&init, (const char *)bytes + sizeof(header), MIN(length - sizeof(header), sizeof(init)));
    patch->unique = header.unique;
    patch->add_flags = init.flags & FUSE_PARALLEL_DIROPS;
    g_atomic_int_set(&patch->expected, 1);
}

gssize init_patch_writev(InitPatch *patch, int fd, struct iovec *iov, int count)
{
    struct fuse_out_header header;
    struct fuse_init_out reply;
    struct iovec patched[2];

    if (!g_atomic_int_get(&patch->expected) || count != 2 || iov[0].iov_len != sizeof(header) ||
        iov[1].iov_len > sizeof(reply) ||
        iov[1].iov_len < G_STRUCT_OFFSET(struct fuse_init_out, flags) + sizeof(reply.flags))
        return writev(fd, iov, count);
    memcpy(&header, iov[0].iov_base, sizeof(header));
    if (header.unique != patch->unique || header.error)
        return writev(fd, iov, count);
    g_atomic_int_set(&patch->expected, 0);
    memcpy(&reply, iov[1].iov_base, iov[1].iov_len);
    reply.flags |= patch->add_flags;
    patched[0] = iov[0];
    patched[1] = (struct iovec){&reply, iov[1].iov_len};
    return writev(fd, patched, 2);
}
