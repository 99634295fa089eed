/* flags.c - a message's flags: the one place that shows them, and what writing to them means.
 *
 * What is shown is what the server said with the log over it. What is written is intent: flags to
 * set and to clear. A full list is made into that against what is shown at the time, so it never
 * clears a flag that nobody could have seen. */
#include <errno.h>
#include <string.h>
#include <sys/xattr.h>

#include "imapfs/base/clock.h"
#include "imapfs/base/log.h"
#include "imapfs/wire/flags.h"
#include "node.h"

#define TEXT_MAX (64u * 1024) /* of one write */
#define UNENDED_MAX 4096u     /* a longer text without a newline may be a piece of one */
#define WORD_SHOWN_MAX 100    /* bytes of a word in the log */
#define BLANKS " \t\r\n\v\f"

char *flags_shown(StoreReader *reader, guint32 box, const StoreMsg *msg)
{
    return log_shown_flags(reader, box, msg->uid, msg->flags ? msg->flags : "");
}

char *flags_text(StoreReader *reader, guint32 box, const StoreMsg *msg)
{
    g_autofree char *shown = flags_shown(reader, box, msg);
    GString *text = g_string_new(NULL);
    g_auto(GStrv) words = g_strsplit(shown, " ", -1);

    for (char **word = words; *word; word++) {
        if (**word)
            g_string_append_printf(text, "%s\n", *word);
    }
    return g_string_free(text, FALSE);
}

static void flags_fill(const Call *call, const Node *node, TreeEntry *out)
{
    g_autofree char *text = flags_text(call->reader, node->ino.box, &node->msg);

    entry_set_size(out, strlen(text));
}

static TreeStatus flags_open(const Call *call, const Node *node, TreeFile **file_out)
{
    *file_out = file_of_flags(call->tree, node->ino.box, node->ino.uid, false);
    return TREE_OK;
}

/* --- what was written --- */

/* A text taken apart. */
typedef struct {
    Flags set, clear; /* by words as they are and with '+', and by those with '-' */
    guint n_plain, n_signed;
} FlagText;

static void flag_text_clear(FlagText *text)
{
    flags_clear(&text->set);
    flags_clear(&text->clear);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(FlagText, flag_text_clear)

/* EINVAL, told in .imapfs/log. word: or NULL. */
static int refuse(const Node *node, guint line, const char *word, const char *why)
{
    g_autofree char *safe = word ? log_printable(word, strlen(word), WORD_SHOWN_MAX) : NULL;
    g_autofree char *where = line ? g_strdup_printf(", line %u", line) : g_strdup("");

    log_warn("tree", "flags of UID %" G_GUINT32_FORMAT "%s: %s%s%s%s; nothing was changed",
             node->ino.uid, where, safe ? "\"" : "", safe ? safe : "", safe ? "\" " : "", why);
    return EINVAL;
}

/* The flag a word is, alone. */
static const char *problem_of(const char *word, Flags *out)
{
    if (!*word)
        return "a sign without a flag";
    if (!flags_add(out, word))
        return *word == '\\' ? "is no flag that IMAP knows, or one that only servers set"
                             : "cannot be a keyword";
    if (out->system & FLAG_ANY_KEYWORD)
        return "is no flag of a message";
    return NULL;
}

static int add_word(FlagText *text, const Node *node, guint line, const char *word, bool signs)
{
    bool has_sign = signs && (*word == '+' || *word == '-');
    bool clears = has_sign && *word == '-';
    g_auto(Flags) flag = {0};
    const char *problem = problem_of(word + has_sign, &flag);

    if (problem)
        return refuse(node, line, word, problem);
    /* The last word on a flag wins. */
    flags_remove_all(clears ? &text->set : &text->clear, &flag);
    if (!flags_add(clears ? &text->clear : &text->set, word + has_sign))
        return refuse(node, line, NULL, "too many keywords");
    if (has_sign)
        text->n_signed++;
    else
        text->n_plain++;
    return 0;
}

/* Words between blanks; several on a line are as good. signs: '+' and '-' before a word mean
 * something. */
static int parse_text(FlagText *out, const Node *node, const char *bytes, gsize size, bool signs)
{
    g_autofree char *text = g_strndup(bytes, size);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    int err = 0;

    if (strlen(text) != size)
        return refuse(node, 0, NULL, "a zero byte");
    for (guint i = 0; !err && lines[i]; i++) {
        g_auto(GStrv) words = g_strsplit_set(lines[i], BLANKS, -1);
        for (guint j = 0; !err && words[j]; j++)
            err = *words[j] ? add_word(out, node, i + 1, words[j], signs) : 0;
    }
    return err;
}

/* --- what it changes --- */

static void flags_of(const Changing *changing, const Node *node, Flags *out)
{
    g_autofree char *shown = flags_shown(changing->call->reader, node->ino.box, &node->msg);

    flags_parse(out, shown);
}

static guint n_keywords(const Flags *flags)
{
    return flags->keywords ? flags->keywords->len : 0;
}

static int alter(Changing *changing, const Node *node, const Flags *set, const Flags *clear)
{
    g_auto(Flags) result = {0}, missing = {0};
    GError *error = NULL;

    if (flags_is_empty(set) && flags_is_empty(clear))
        return 0;
    flags_of(changing, node, &result);
    flags_remove_all(&result, clear);
    flags_add_all(&result, set);
    flags_add_all(&missing, set);
    flags_remove_all(&missing, &result);
    if (n_keywords(&missing))
        return refuse(node, 0, NULL, "too many keywords");
    if (!log_flags(changing->txn, node->ino.box, node->ino.uid, set, clear, clock_real_ns(), NULL,
                   &error))
        return changing_refuse(changing, error);
    changing_note(changing, node->ino.box, node->ino.uid);
    return 0;
}

static void keep_keywords(Flags *flags)
{
    flags->system = 0;
}

/* To this list, against what is shown; keywords: of those alone. */
static int replace(Changing *changing, const Node *node, const Flags *list, bool keywords)
{
    g_auto(Flags) set = {0}, clear = {0}, shown = {0};

    flags_of(changing, node, &shown);
    if (keywords)
        keep_keywords(&shown);
    flags_add_all(&set, list);
    flags_remove_all(&set, &shown);
    flags_add_all(&clear, &shown);
    flags_remove_all(&clear, list);
    return alter(changing, node, &set, &clear);
}

/* --- the file --- */

#define FILE_REPLACES (FILE_TRUNCATED | FILE_EMPTIED | FILE_LISTS)

/* Lines without a sign: the list begins, or goes on. */
static int write_list(Changing *changing, const Node *node, const FlagText *text)
{
    static const Flags none = {0};
    bool begins = changing->memory & FILE_TRUNCATED;

    if (!(changing->memory & FILE_REPLACES))
        return refuse(
            node, 0, NULL,
            "lines without + or - were written over the old ones: append, or replace all");
    changing->memory = (changing->memory & ~(guint)FILE_TRUNCATED) | FILE_LISTS;
    return begins ? replace(changing, node, &text->set, false)
                  : alter(changing, node, &text->set, &none);
}

static int write_changes(Changing *changing, const Node *node, const FlagText *text)
{
    changing->memory = (changing->memory & ~(guint)FILE_TRUNCATED) | FILE_ALTERS;
    return alter(changing, node, &text->set, &text->clear);
}

static int write_text(Changing *changing, const Node *node)
{
    const TreeChange *change = changing->change;
    g_auto(FlagText) text = {0};
    bool mixes = changing->memory & FILE_APPENDS && !(changing->memory & FILE_REPLACES);
    int err;

    if (change->size > TEXT_MAX)
        return EFBIG;
    if (change->size >= UNENDED_MAX && change->bytes[change->size - 1] != '\n')
        return refuse(node, 0, NULL, "the last line has no end, it may have been cut");
    err = parse_text(&text, node, change->bytes, change->size, true);
    if (err)
        return err;
    if (mixes)
        return alter(changing, node, &text.set, &text.clear);
    if ((text.n_plain && (text.n_signed || changing->memory & FILE_ALTERS)) ||
        (text.n_signed && changing->memory & FILE_LISTS))
        return refuse(node, 0, NULL, "lines with + or - and lines without are mixed");
    if (text.n_signed)
        return write_changes(changing, node, &text);
    /* Nothing but blanks is a list too, an empty one, where one is begun. */
    if (text.n_plain || changing->memory & FILE_TRUNCATED)
        return write_list(changing, node, &text);
    return 0;
}

static int clear_all(Changing *changing, const Node *node)
{
    static const Flags none = {0};

    return replace(changing, node, &none, false);
}

static int truncate_file(Changing *changing, const Node *node)
{
    g_autofree char *text = flags_text(changing->call->reader, node->ino.box, &node->msg);
    int err;

    if (changing->change->size == strlen(text) && *text)
        return 0;
    if (changing->change->size)
        return refuse(node, 0, NULL, "cut to a length that is not 0");
    err = clear_all(changing, node);
    if (!err)
        changing->memory = (changing->memory & ~(guint)FILE_TRUNCATED) | FILE_EMPTIED;
    return err;
}

/* --- extended attributes --- */

static int set_flags(Changing *changing, const Node *node)
{
    const TreeChange *change = changing->change;
    g_auto(FlagText) text = {0};
    int err;

    if (change->flags & XATTR_CREATE)
        return EEXIST; /* it always is there */
    if (change->size > TEXT_MAX)
        return E2BIG;
    err = parse_text(&text, node, change->bytes, change->size, false);
    return err ? err : replace(changing, node, &text.set, false);
}

static bool has_keywords(Changing *changing, const Node *node)
{
    g_auto(Flags) shown = {0};

    flags_of(changing, node, &shown);
    return n_keywords(&shown);
}

static int parse_tags(FlagText *out, const Node *node, const char *bytes, gsize size)
{
    g_autofree char *text = g_strndup(bytes, size);
    g_auto(GStrv) tags = g_strsplit(text, ",", -1);
    int err = strlen(text) == size ? 0 : refuse(node, 0, NULL, "a zero byte");

    for (guint i = 0; !err && tags[i]; i++) {
        const char *tag = g_strstrip(tags[i]);
        if (*tag == '\\')
            err = refuse(node, 0, tag, "cannot be a tag");
        else if (*tag)
            err = add_word(out, node, 0, tag, false);
    }
    return err;
}

static int set_tags(Changing *changing, const Node *node)
{
    const TreeChange *change = changing->change;
    g_auto(FlagText) text = {0};
    int err;

    if (change->size > TEXT_MAX)
        return E2BIG;
    if (change->flags & XATTR_CREATE && has_keywords(changing, node))
        return EEXIST;
    if (change->flags & XATTR_REPLACE && !has_keywords(changing, node))
        return ENODATA;
    err = parse_tags(&text, node, change->bytes, change->size);
    return err ? err : replace(changing, node, &text.set, true);
}

static int remove_tags(Changing *changing, const Node *node)
{
    static const Flags none = {0};

    return has_keywords(changing, node) ? replace(changing, node, &none, true) : ENODATA;
}

static int change_xattr(Changing *changing, const Node *node)
{
    bool sets = changing->change->kind == TREE_CHANGE_SETXATTR;

    if (strcmp(changing->change->name, "user.imap.flags") == 0)
        return sets ? set_flags(changing, node) : clear_all(changing, node);
    if (strcmp(changing->change->name, "user.xdg.tags") == 0)
        return sets ? set_tags(changing, node) : remove_tags(changing, node);
    return EPERM;
}

int flags_change(Changing *changing, const Node *node)
{
    switch (changing->change->kind) {
    case TREE_CHANGE_WRITE:
        return write_text(changing, node);
    case TREE_CHANGE_CLOSE:
        changing->memory &= ~(guint)FILE_TRUNCATED;
        return clear_all(changing, node);
    case TREE_CHANGE_TRUNCATE:
        return truncate_file(changing, node);
    case TREE_CHANGE_SETXATTR:
    case TREE_CHANGE_REMOVEXATTR:
        return change_xattr(changing, node);
    default:
        return 0; /* opened: nothing before something is written, or it is closed */
    }
}

const NodeKind kind_flags = {
    .name = "flags",
    .mode = S_IFREG | 0600,
    .xattrs = XATTR_OF_MESSAGE,
    .fill = flags_fill,
    .open = flags_open,
    .changes = CHANGES_OF_A_FILE | CHANGES_OF_XATTRS,
    .change = flags_change,
    .reopens = true,
};
