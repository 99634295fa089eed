/* error.c - the table from what went wrong to what a system call says. */
#include "imapfs/base/error.h"

#include <errno.h>

/* Not G_DEFINE_QUARK: the first errors may be made by two threads at once. */
GQuark imapfs_error_quark(void)
{
    static gint known;
    gint quark = g_atomic_int_get(&known);
    if (!quark) {
        quark = (gint)g_quark_from_static_string("imapfs-error");
        g_atomic_int_set(&known, quark);
    }
    return (GQuark)quark;
}

static const struct {
    const char *name;
    int err;
} error_table[] = {
#define IMAPFS_ERROR_ROW(code, err, words) [IMAPFS_ERROR_##code] = {#code, err},
    IMAPFS_ERRORS(IMAPFS_ERROR_ROW)
#undef IMAPFS_ERROR_ROW
};

int imapfs_error_to_errno(const GError *error)
{
    if (!error || error->domain != IMAPFS_ERROR)
        return EIO;
    if (error->code < 0 || error->code >= IMAPFS_N_ERRORS)
        return EIO;
    return error_table[error->code].err;
}

const char *imapfs_error_name(ImapfsError code)
{
    return (unsigned)code < IMAPFS_N_ERRORS ? error_table[code].name : "?";
}
