/* number_stream.h - SEARCH, ESEARCH and VANISHED, parsed while they arrive.
 *
 * Layer wire, private. A million UIDs are 8 MB of line but one range in memory. The result does
 * not depend on how the bytes were split. */
#pragma once
#include "imapfs/wire/response.h"

typedef struct NumberStream NumberStream;

/* RESP_UNKNOWN unless line begins with one of the three names, the name followed by a separator;
 * *head_out is then where its data starts. */
ResponseKind number_stream_kind(const char *line, gsize length, gsize *head_out);

NumberStream *number_stream_new(ResponseKind kind);
void number_stream_free(NumberStream *stream);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(NumberStream, number_stream_free)

/* What follows the name; the line end is as good as a space. false: over LIMIT_SET_RANGES. */
bool number_stream_feed(NumberStream *stream, const char *bytes, gsize length);
/* At the end of the line. RESP_UNKNOWN when it made no sense: half a list is not a list. NULL: the
 * last word was over LIMIT_SET_RANGES. */
Response *number_stream_finish(NumberStream *stream);
