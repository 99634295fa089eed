/* charset_label.h - what a charset label stands for. Private to layer mime. */
#pragma once
#include <glib.h>

#define CHARSET_LABEL_MAX 64

/* iconv's name for a label (it may be written to `clean`); "?" when the label says nothing or
 * cannot be one. "UTF-8", "CP1252", "UTF-7", "HZ", "UTF-16" and "UTF-32" are decoded in charset.c.
 */
const char *charset_label_resolve(const char *label, char clean[CHARSET_LABEL_MAX]);

/* The table's entry for a label in lower case, or NULL; underscores become hyphens on the way. */
const char *charset_label_lookup(char *clean);
