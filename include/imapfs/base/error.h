/* error.h - the one error domain, and what each code means to a file system call.
 *
 * Layer base. Any thread. Every fallible function above this layer reports through GError in this
 * domain; errno is chosen from the code in one table (imapfs_error_to_errno), applied only where
 * replies are made. */
#pragma once
#include <glib.h>
#include <stdbool.h>

/* X(code, errno, "words for a person") */
#define IMAPFS_ERRORS(X)                                       \
    X(OFFLINE, ENETUNREACH, "the server cannot be reached")    \
    X(LOST, ENETUNREACH, "the connection was lost")            \
    X(TIMEOUT, ETIMEDOUT, "the server did not answer in time") \
    X(CANCELLED, EINTR, "interrupted")                         \
    X(GONE, ESTALE, "the message is no longer on the server")  \
    X(NOT_FOUND, ENOENT, "no such file or directory")          \
    X(DENIED, EACCES, "the server does not permit it")         \
    X(AUTH, EACCES, "the server refused the login")            \
    X(TLS, EPROTO, "the connection is not secure")             \
    X(QUOTA, EDQUOT, "over quota")                             \
    X(TOO_BIG, EFBIG, "too big")                               \
    X(PROTOCOL, EIO, "the server broke the protocol")          \
    X(SERVER, EIO, "the server refused the command")           \
    X(DATA, EIO, "the message cannot be read")                 \
    X(CONFLICT, EBUSY, "another client changed it")            \
    X(BUSY, EBUSY, "it is being sent")                         \
    X(STORE, EIO, "the local store failed")                    \
    X(FULL, ENOSPC, "no space left on the local disk")         \
    X(READONLY, EROFS, "read-only")                            \
    X(INVALID, EINVAL, "invalid argument")                     \
    X(CONFIG, EINVAL, "bad configuration")                     \
    X(UNSUPPORTED, EOPNOTSUPP, "not supported")

typedef enum {
#define IMAPFS_ERROR_ENUM(code, err, words) IMAPFS_ERROR_##code,
    IMAPFS_ERRORS(IMAPFS_ERROR_ENUM)
#undef IMAPFS_ERROR_ENUM
        IMAPFS_N_ERRORS
} ImapfsError;

#define IMAPFS_ERROR imapfs_error_quark()
GQuark imapfs_error_quark(void);

/* The errno for an error; EIO for errors of other domains and for NULL. */
int imapfs_error_to_errno(const GError *error);

/* "OFFLINE" and so on; for logs. */
const char *imapfs_error_name(ImapfsError code);
