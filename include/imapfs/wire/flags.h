/* flags.h - the flags of a message: system flags as bits, keywords as a sorted list.
 *
 * Layer wire. Plain value type. Text form, used by the store and the `flags` file: "\Seen \Flagged
 * $Forwarded", system flags first in the order below, then keywords in byte order, one space
 * between. Keywords compare without ASCII case (RFC 9051 2.3.2); \Recent is dropped. */
#pragma once
#include <glib.h>
#include <stdbool.h>

enum {
    FLAG_SEEN = 1 << 0,
    FLAG_ANSWERED = 1 << 1,
    FLAG_FLAGGED = 1 << 2,
    FLAG_DELETED = 1 << 3,
    FLAG_DRAFT = 1 << 4,
    FLAG_ANY_KEYWORD = 1 << 5, /* "\*" in PERMANENTFLAGS */
};

typedef struct {
    guint32 system;
    GPtrArray *keywords; /* of char *, sorted, no duplicates; NULL when there are none */
} Flags;

void flags_clear(Flags *flags); /* frees what is inside */
/* One flag as on the wire ("\Seen", "$Junk"). Unknown system flags (\Foo) are ignored. At most
 * LIMIT_FLAGS keywords; false when it was ignored. */
bool flags_add(Flags *flags, const char *flag);
void flags_parse(Flags *flags, const char *text); /* adds the words of the text form */
void flags_print(const Flags *flags, GString *out);
/* As in the names of Maildir's files: a set of "DFPRST", in this order; P is $Forwarded. */
#define FLAGS_LETTERS_MAX 7 /* with the zero byte */
void flags_letters(const Flags *flags, char out[FLAGS_LETTERS_MAX]);
/* False: not such letters, or not each once and in order. */
bool flags_of_letters(Flags *flags, const char *letters);
char *flags_to_text(const Flags *flags); /* the text form; caller frees */
bool flags_equal(const Flags *a, const Flags *b);
bool flags_is_empty(const Flags *flags);
/* All of what is in to, no longer in from, or all that is left of; keywords without ASCII case. */
void flags_add_all(Flags *to, const Flags *what);
void flags_remove_all(Flags *from, const Flags *what);
void flags_keep_all(Flags *of, const Flags *what);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Flags, flags_clear)
