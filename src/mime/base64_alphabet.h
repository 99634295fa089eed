/* base64_alphabet.h - what the characters of base64 stand for (RFC 2045 6.8).
 *
 * Private to src/mime. */
#pragma once
#include <glib.h>

/* Value + 1 of a character of the alphabet; 0 for any other byte. */
static const guint8 base64_values[256] = {
    ['A'] = 1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11,         12,         13,
    14,         15, 16, 17, 18, 19, 20, 21, 22, 23, 24,         25,         26,
    ['a'] = 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37,         38,         39,
    40,         41, 42, 43, 44, 45, 46, 47, 48, 49, 50,         51,         52,
    ['0'] = 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, ['+'] = 63, ['/'] = 64,
};
