/* fail.c - refusing what the user asked for, in one line.
 *
 * The rule: the words say what to do instead. */
#include "fail.h"
#include "imapfs/base/error.h"
#include <stdarg.h>

bool fail(GError **error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *words = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_set_error_literal(error, IMAPFS_ERROR, IMAPFS_ERROR_CONFIG, words);
    return false;
}
