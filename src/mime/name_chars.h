/* name_chars.h - what a code point may do in a file name. Private to layer mime. */
#pragma once
#include <glib.h>

typedef enum {
    NAME_CHAR_KEEP,
    NAME_CHAR_SPACE,     /* blanks and line ends of any kind */
    NAME_CHAR_SEPARATOR, /* of paths, on some system or other */
    NAME_CHAR_DROP,      /* controls, bidi marks, invisible, unassigned */
} NameChar;
NameChar name_char_class(gunichar c);
