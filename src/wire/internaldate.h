/* internaldate.h - INTERNALDATE to seconds (RFC 9051 date-time).
 *
 * Layer wire, private. */
#pragma once
#include <glib.h>
#include <stdbool.h>

/* "17-Jul-1996 02:44:25 -0700". false when no moment can be made of it. Zone in minutes. */
bool internaldate_parse(const char *text, gint64 *seconds_out, gint32 *zone_out);
