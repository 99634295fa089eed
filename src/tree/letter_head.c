/* letter_head.c - what a letter's header says, and whether it is a letter at all.
 *
 * A server takes any bytes for a message and keeps them for ever. So what does not begin with a
 * header field is refused here, where whoever wrote it can be told. */
#include <string.h>
#include <unistd.h>

#include "imapfs/mime/decode.h"
#include "imapfs/mime/name.h"
#include "letter.h"

#define HEAD_MAX (1024u * 1024) /* bytes of a header that are looked at */

void letter_head_clear(LetterHead *head)
{
    g_free(head->from);
    g_free(head->subject);
    g_free(head->message_id);
    memset(head, 0, sizeof(*head));
}

/* RFC 5322 2.2: printable characters but the colon, a colon. */
static bool begins_with_field(const char *bytes, gsize length)
{
    gsize i = 0;

    while (i < length && bytes[i] > ' ' && bytes[i] < 0x7f && bytes[i] != ':')
        i++;
    while (i > 0 && i < length && (bytes[i] == ' ' || bytes[i] == '\t')) /* RFC 5322 4.5 */
        i++;
    return i > 0 && i < length && bytes[i] == ':';
}

static gsize read_head(int fd, char *buffer)
{
    gsize length = 0;
    ssize_t n;

    while (length < HEAD_MAX &&
           (n = pread(fd, buffer + length, HEAD_MAX - length, (off_t)length)) > 0)
        length += (gsize)n;
    return length;
}

bool letter_head_read(int fd, LetterHead *out, const char **why_out)
{
    g_autofree char *buffer = g_malloc(HEAD_MAX), *from = NULL, *subject = NULL;
    gsize length = read_head(fd, buffer);

    if (length > 5 && strncmp(buffer, "From ", 5) == 0) {
        *why_out =
            "it begins as a file of many letters (mbox) does; one letter begins with a field";
        return false;
    }
    if (!begins_with_field(buffer, length)) {
        *why_out = "it does not begin with a header field, so it is no letter";
        return false;
    }
    from = mime_header_value(buffer, length, "From");
    subject = mime_header_value(buffer, length, "Subject");
    out->from = mime_from_display(from ? from : "");
    out->subject = mime_decode_header(subject ? subject : "");
    out->message_id = mime_header_value(buffer, length, "Message-ID");
    if (out->message_id && !*g_strstrip(out->message_id))
        g_clear_pointer(&out->message_id, g_free);
    return true;
}
