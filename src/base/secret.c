/* secret.c - each secret in pages of its own: locked, not dumped, wiped. */
#include "imapfs/base/secret.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#define SECRET_MAX (64u * 1024)

struct Secret {
    gint refs;
    gsize mapped;
    gsize length;
    char bytes[];
};

Secret *secret_new(const char *bytes, gsize length)
{
    if (length > SECRET_MAX)
        return NULL;
    gsize page = (gsize)sysconf(_SC_PAGESIZE);
    gsize mapped = (sizeof(Secret) + length + 1 + page - 1) / page * page;
    Secret *secret = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (secret == MAP_FAILED)
        return NULL;
    mlock(secret, mapped); /* may fail under RLIMIT_MEMLOCK; then it can reach swap, no worse */
    madvise(secret, mapped, MADV_DONTDUMP);
    secret->refs = 1;
    secret->mapped = mapped;
    secret->length = length;
    if (length > 0)
        memcpy(secret->bytes, bytes, length);
    secret->bytes[length] = '\0';
    return secret;
}

Secret *secret_ref(Secret *secret)
{
    g_atomic_int_inc(&secret->refs);
    return secret;
}

void secret_unref(Secret *secret)
{
    if (!secret || !g_atomic_int_dec_and_test(&secret->refs))
        return;
    gsize mapped = secret->mapped;
    secret_wipe(secret, mapped);
    munmap(secret, mapped);
}

const char *secret_bytes(const Secret *secret, gsize *length_out)
{
    if (length_out)
        *length_out = secret->length;
    return secret->bytes;
}

void secret_wipe(void *bytes, gsize length)
{
    explicit_bzero(bytes, length);
}

void secret_harden_process(void)
{
    struct rlimit none = {0, 0};
    prctl(PR_SET_DUMPABLE, 0);
    setrlimit(RLIMIT_CORE, &none);
}
