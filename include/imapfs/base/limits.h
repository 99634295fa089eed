/* limits.h - every bound on what the other side controls, in one place.
 *
 * Layer base. Each has a test at the limit, one over, and ten times over. */
#pragma once

#define LIMIT_LINE_PREAUTH (8u * 1024)            /* a line outside literals before login */
#define LIMIT_LINE (1024u * 1024)                 /* and after it; number lists are streamed */
#define LIMIT_LITERAL_MEMORY (16u * 1024 * 1024)  /* a literal kept in memory */
#define LIMIT_LITERAL (2048ull * 1024 * 1024)     /* any literal */
#define LIMIT_RESPONSE_MEMORY (32u * 1024 * 1024) /* all of one response kept in memory */
#define LIMIT_NESTING 100                         /* parentheses in a response; MIME depth */
#define LIMIT_UNTAGGED_BASE 10000                 /* untagged responses a command may bring, ... */
#define LIMIT_UNTAGGED_FACTOR 10                  /* ... plus this times what it asked for */
#define LIMIT_SET_RANGES (1u << 20)               /* ranges in one UID set */
#define LIMIT_PARTS 10000                         /* MIME parts of a message */
#define LIMIT_STRUCTURE (4u * 1024 * 1024)        /* a message's structure, as text */
#define LIMIT_HEADER_BLOCK (10u * 1024 * 1024)    /* one header block */
#define LIMIT_HEADERS_ALL (50u * 1024 * 1024)     /* all header blocks of a message */
#define LIMIT_LOCAL_MESSAGE (128u * 1024 * 1024)  /* a message parsed in memory */
#define LIMIT_LETTER (64u * 1024 * 1024)          /* a message made here */
#define LIMIT_RFC2231_PIECES 100                  /* name*0*= ... of one parameter */
#define LIMIT_MAILBOXES 100000
#define LIMIT_MAILBOX_NAME 1024 /* bytes */
#define LIMIT_MAILBOX_DEPTH 64
#define LIMIT_CAPABILITIES 1024
#define LIMIT_FLAGS 1024         /* keywords on one message */
#define LIMIT_COMMAND_LINE 8000  /* octets of a command we send (RFC 7162 4) */
#define LIMIT_COMMAND_UIDS 500   /* messages of a metadata command */
#define LIMIT_PIPELINE 12        /* commands in flight on a session */
#define LIMIT_INFLATE_RATIO 1000 /* over windows of 1 MiB of output */
#define LIMIT_GREETING_MS 30000
#define LIMIT_IDLE_RENEW_S (9 * 60)
#define LIMIT_PASSCMD_MS 30000
#define LIMIT_PASSCMD_BYTES (64u * 1024)
#define LIMIT_GIVEN_NAMES 100000   /* names remembered that messages were written or moved to */
#define LIMIT_NAME 255             /* bytes of a file name */
#define LIMIT_EVENTS (1024 * 1024) /* bytes of .imapfs/events */
#define LIMIT_SERVER_TEXT 500      /* characters of server text in log or status */
