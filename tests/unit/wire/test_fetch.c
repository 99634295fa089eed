/* FETCH: every item, every tolerance, and what is saved of a broken response. */
#include "reader_case.h"

#define F "* 3 FETCH "
#define WANT "FETCH seq=3 present="

static const ReaderCase item_cases[] = {
    {"uid", F "(UID 92285)\r\n", WANT "1 uid=92285"},
    {"empty", F "()\r\n", WANT "0"},
    {"flags and size", F "(FLAGS (\\Seen $x \\Recent) RFC822.SIZE 44827)\r\n",
     WANT "a flags=(\\Seen $x) size=44827"},
    {"no flags", F "(FLAGS ())\r\n", WANT "2 flags=()"},
    {"flags twice: the last", F "(FLAGS (\\Seen) FLAGS (\\Draft))\r\n", WANT "2 flags=(\\Draft)"},
    {"modseq", F "(MODSEQ (12121230956) UID 1)\r\n", WANT "11 uid=1 modseq=12121230956"},
    {"modseq without list", F "(MODSEQ 7 UID 1)\r\n", WANT "11 uid=1 modseq=7"},
    {"lower case", "* 3 fetch (uid 5 flags (\\seen))\r\n", WANT "3 uid=5 flags=(\\Seen)"},
    {"spaces", "*  3  FETCH  ( UID  5  FLAGS ( ) ) \r\n", WANT "3 uid=5 flags=()"},
    {"no space after a list", F "(FLAGS (\\Seen)UID 5)\r\n", WANT "3 uid=5 flags=(\\Seen)"},
    {"emailid", F "(EMAILID (M5fdc) THREADID (T11) UID 5)\r\n", WANT "81 uid=5 emailid=\"M5fdc\""},
    {"emailid of nobody", F "(EMAILID NIL THREADID NIL)\r\n", WANT "0"},
    {"gmail", F "(X-GM-MSGID 1278455344230334865 X-GM-THRID 12 UID 5)\r\n",
     WANT "81 uid=5 emailid=\"gm1278455344230334865\""},
    {"gmail: 64 bits", F "(X-GM-MSGID 18446744073709551615 UID 5)\r\n",
     WANT "81 uid=5 emailid=\"gm18446744073709551615\""},
    {"gmail: none", F "(X-GM-MSGID NIL UID 5)\r\n", WANT "1 uid=5"},
    {"gmail and emailid", F "(X-GM-MSGID 1 EMAILID (M2))\r\n" F "(EMAILID (M2) X-GM-MSGID 1)\r\n",
     WANT "80 emailid=\"M2\"\n" WANT "80 emailid=\"M2\""},
    {"labels and strangers",
     F "(X-GM-LABELS (\\Inbox \"Muy (\" NIL {2}\r\n)) x) XAOL 0 X (A (B \"c\") ()) UID 5)\r\n",
     WANT "1 uid=5"},
    {"absent: NIL", F "(ENVELOPE NIL BODYSTRUCTURE NIL INTERNALDATE NIL RFC822.SIZE NIL UID 5)\r\n",
     WANT "1 uid=5"},
    {"absent: negative size", F "(RFC822.SIZE -1 UID 5)\r\n", WANT "1 uid=5"},
    {"float number", F "(RFC822.SIZE 9.3736e+06 UID 5)\r\n", WANT "9 uid=5 size=9373600"},
    {"quoted number", F "(UID \"5\" RFC822.SIZE \"7\")\r\n", WANT "9 uid=5 size=7"},
    {"binary size", F "(BINARY.SIZE[1.2] 17 BINARY.SIZE[] 5)\r\n",
     WANT "200 binary.size[1.2]=17 binary.size[]=5"},
    {"structure without extensions is not asked for",
     F "(BODY (\"TEXT\" \"PLAIN\" NIL NIL NIL "
       "\"7BIT\" 5 1) UID 5)\r\n",
     WANT "1 uid=5"},
};

static const ReaderCase body_cases[] = {
    {"literal", F "(UID 5 BODY[] {3}\r\na)b FLAGS ())\r\n",
     WANT "103 uid=5 flags=() body=\"\"{3} bytes=\"a)b\""},
    {"literal of nothing", F "(BODY[1] {0}\r\n UID 5)\r\n",
     WANT "101 uid=5 body=\"1\"{0} bytes=\"\""},
    NUL_CASE("NUL and line ends", F "(BODY[1] {7}\r\n\0\r\n\n{5} UID 5)\r\n",
             WANT "101 uid=5 body=\"1\"{7} bytes=\"\\00\\0d\\0a\\0a{5}\""),
    NUL_CASE("literal8", F "(BINARY[1.2]<0> ~{2}\r\n\0\1 UID 5)\r\n",
             WANT "101 uid=5 binary=\"1.2\"<0>{2} bytes=\"\\00\\01\""),
    {"literal with plus", F "(BODY[1] {2+}\r\nab)\r\n", WANT "100 body=\"1\"{2} bytes=\"ab\""},
    {"literal without space", F "(BODY[1]{2}\r\nab BODY[2]<7>{1}\r\nc)\r\n",
     WANT "100 body=\"1\"{2} bytes=\"ab\" body=\"2\"<7>{1} bytes=\"c\""},
    {"quoted", F "(BODY[1] \"a\\\"b\\\\\" BODY[2] \"\")\r\n",
     WANT "100 body=\"1\"{4} bytes=\"a\\22b\\5c\" body=\"2\"{0} bytes=\"\""},
    {"NIL", F "(UID 1 BODY[1.TEXT]<0> NIL)\r\n", WANT "101 uid=1 body=\"1.TEXT\"<0>{0} NIL"},
    {"origin", F "(BODY[]<4294967296> {1}\r\nx)\r\n" F "(BODY[]<5.100> {1}\r\nx)\r\n",
     WANT "100 body=\"\"<4294967296>{1} bytes=\"x\"\n" WANT "100 body=\"\"<5>{1} bytes=\"x\""},
    {"section in one spelling",
     F
     "(BODY[header.fields   (\"Content-Type\"  from {2}\r\nTO )] \"x\" "
     "BODY[HEADER.FIELDS.NOT(A)] NIL BODY[1.mime] NIL BODY[header.fields (\"a b\" \"c\")] NIL)\r\n",
     WANT "100 body=\"HEADER.FIELDS (CONTENT-TYPE FROM TO)\"{1} bytes=\"x\" "
          "body=\"HEADER.FIELDS.NOT (A)\"{0} NIL body=\"1.MIME\"{0} NIL "
          "body=\"HEADER.FIELDS (\\22A B\\22 C)\"{0} NIL"},
    {"rfc822", F "(RFC822 {1}\r\na RFC822.HEADER {1}\r\nb RFC822.TEXT {1}\r\nc RFC822[] \"d\")\r\n",
     WANT "100 body=\"\"{1} bytes=\"a\" body=\"HEADER\"{1} bytes=\"b\" body=\"TEXT\"{1} "
          "bytes=\"c\" body=\"\"{1} bytes=\"d\""},
    {"a response in a literal", F "(BODY[] {16}\r\n* 9 EXPUNGE\r\nA1 UID 5)\r\n",
     WANT "101 uid=5 body=\"\"{16} bytes=\"* 9 EXPUNGE\\0d\\0aA1 \""},
};

/* Seconds from `date -d ... +%s`. */
static const ReaderCase date_cases[] = {
    {"plain", F "(INTERNALDATE \"17-Jul-1996 02:44:25 -0700\")\r\n", WANT "4 date=837596665-420"},
    {"space day", F "(INTERNALDATE \" 7-Jul-1996 02:44:25 +0000\")\r\n", WANT "4 date=836707465+0"},
    {"short day", F "(INTERNALDATE \"7-jul-1996 02:44:25 +0000\")\r\n", WANT "4 date=836707465+0"},
    {"missing zone", F "(INTERNALDATE \"17-Jul-1996 02:44:25\")\r\n", WANT "4 date=837571465+0"},
    {"missing seconds", F "(INTERNALDATE \"17-Jul-1996 02:44 +0530\")\r\n",
     WANT "4 date=837551640+330"},
    {"short year", F "(INTERNALDATE \"17-Jul-96 02:44:25 +0000\")\r\n", WANT "4 date=837571465+0"},
    {"year since 1900", F "(INTERNALDATE \"01-Jan-100 00:00:00 +0000\")\r\n",
     WANT "4 date=946684800+0"},
    {"epoch", F "(INTERNALDATE \"01-Jan-1970 00:00:00 +0000\")\r\n", WANT "4 date=0+0"},
    {"before it", F "(INTERNALDATE \"31-Dec-1969 23:59:59 +0000\")\r\n", WANT "4 date=-1+0"},
    {"year 0 and 9999",
     F "(INTERNALDATE \"01-Jan-0000 00:00:00 +0000\")\r\n" F
       "(INTERNALDATE \"31-Dec-9999 23:59:60 +0000\")\r\n",
     WANT "4 date=-62167219200+0\n" WANT "4 date=253402300800+0"},
    {"leap day", F "(INTERNALDATE \"29-Feb-2024 12:00:00 +0000\")\r\n", WANT "4 date=1709208000+0"},
    {"leap day that was none", F "(INTERNALDATE \"29-Feb-1900 12:00:00 +0000\")\r\n", WANT "0"},
    {"absurd", F "(INTERNALDATE \"99-Foo-0000 99:99:99 +9999\" UID 5)\r\n", WANT "1 uid=5"},
    {"absurd zone", F "(INTERNALDATE \"17-Jul-1996 02:44:25 +9999\")\r\n", WANT "0"},
    {"day 0", F "(INTERNALDATE \"00-Jan-1970 00:00:00 +0000\")\r\n", WANT "0"},
    {"trailing text", F "(INTERNALDATE \"17-Jul-1996 02:44:25 -0700 (PDT)\")\r\n", WANT "0"},
    {"empty", F "(INTERNALDATE \"\")\r\n", WANT "0"},
    {"long", F "(INTERNALDATE \"99999999999999999999-Jul-1996 02:44:25 -0700\")\r\n", WANT "0"},
    {"an atom", F "(INTERNALDATE 5 UID 6)\r\n", WANT "1 uid=6"},
};

static const ReaderCase broken_cases[] = {
    {"number 0", "* 0 FETCH (UID 5)\r\n",
     "FETCH seq=0 present=1 broken=\"message number 0\" uid=5"},
    {"no list", F "UID 5\r\n", WANT "0 broken=\"a list is missing\""},
    {"nothing", F "\r\n", WANT "0 broken=\"a list is missing\""},
    {"no end", F "(UID 5\r\n", WANT "1 broken=\"an item has no name\" uid=5"},
    {"text behind", F "(UID 5) x\r\n", WANT "1 broken=\"something after the list\" uid=5"},
    {"gmail: 0", F "(UID 5 X-GM-MSGID 0)\r\n", WANT "1 broken=\"X-GM-MSGID: not a number\" uid=5"},
    {"gmail: 65 bits", F "(UID 5 X-GM-MSGID 18446744073709551616)\r\n",
     WANT "1 broken=\"X-GM-MSGID: not a number\" uid=5"},
    {"gmail: negative", F "(UID 5 X-GM-MSGID -1)\r\n",
     WANT "1 broken=\"X-GM-MSGID: not a number\" uid=5"},
    {"gmail: not only digits", F "(UID 5 X-GM-MSGID 12a)\r\n",
     WANT "1 broken=\"X-GM-MSGID: not a number\" uid=5"},
    {"uid 0", F "(UID 0 FLAGS (\\Seen))\r\n", WANT "2 broken=\"UID: not a UID\" flags=(\\Seen)"},
    {"uid over 32 bits", F "(UID 4294967296 FLAGS ())\r\n",
     WANT "2 broken=\"UID: not a UID\" flags=()"},
    {"uid at 32 bits", F "(UID 4294967295)\r\n", WANT "1 uid=4294967295"},
    {"two uids", F "(UID 5 UID 6)\r\n", WANT "1 broken=\"UID: another UID\" uid=5"},
    {"the same uid twice", F "(UID 5 UID 5)\r\n", WANT "1 uid=5"},
    {"uid behind a broken item", F "(RFC822.SIZE x FLAGS (\\Seen) UID 5)\r\n",
     WANT "3 broken=\"RFC822.SIZE: not a number\" uid=5 flags=(\\Seen)"},
    {"a list for a string", F "(ENVELOPE \"x\" UID 5 FLAGS ())\r\n",
     WANT "3 broken=\"ENVELOPE: a list is missing\" uid=5 flags=()"},
    {"envelope of too many closings", F "(ENVELOPE (NIL NIL)) UID 5)\r\n",
     WANT
     "21 broken=\"something after the list\" uid=5 envelope=(NIL NIL NIL NIL NIL NIL NIL NIL NIL "
     "NIL)"},
    {"structure of too many openings",
     F "(BODYSTRUCTURE (((\"TEXT\" \"PLAIN\") \"MIXED\") UID 5 FLAGS ())\r\n",
     WANT "43 broken=\"an item has no name\" uid=5 flags=() [ multipart/uid] [1 multipart/mixed] "
          "[1.1 text/plain] (((\"text\" \"plain\" NIL NIL NIL \"7bit\" 0 0 NIL NIL NIL NIL) "
          "\"mixed\" NIL NIL NIL NIL) \"uid\" NIL (\"flags\" NIL) NIL NIL)"},
    {"quotes without partners", F "(BODYSTRUCTURE (\"TEXT PLAIN NIL) UID 5 FLAGS (\\Seen))\r\n",
     WANT "3 broken=\"BODYSTRUCTURE: a quoted string is not closed\" uid=5 flags=(\\Seen)"},
    {"value missing", F "(UID 5 ENVELOPE)\r\n",
     WANT "1 broken=\"ENVELOPE: a list is missing\" uid=5"},
    {"name missing", F "(\"x\" 5 UID 6)\r\n", WANT "1 broken=\"an item has no name\" uid=6"},
    {"controls in the name of the item", F "(UID 6 A\033\001 (\r\n",
     WANT "1 broken=\"A??: a word is missing\" uid=6"},
    {"section without end", F "(BODY[1 NIL UID 6)\r\n",
     WANT "1 broken=\"BODY: a word is missing\" uid=6"},
    {"origin without end", F "(BODY[1]<5 NIL UID 6)\r\n",
     WANT "1 broken=\"BODY: an origin is not closed\" uid=6"},
    {"a sender writes UID", F "(ENVELOPE (x \"a\" \" UID 7)\") y) UID 5)\r\n",
     WANT "21 broken=\"y: a word is missing\" uid=5 envelope=(\"x\" \"a\" NIL NIL NIL NIL NIL NIL "
          "NIL NIL)"},
    {"a sender writes UID, unquoted by the server",
     F "(ENVELOPE (\"a \" (\" UID 7)\" NIL) UID 5 FLAGS ())\r\n",
     WANT "23 broken=\"an item has no name\" uid=5 flags=() envelope=(\"a \" NIL NIL NIL NIL NIL "
          "NIL NIL NIL NIL)"},
    {"UID in a body is none", F "(ENVELOPE x( BODY[1] {7}\r\n UID 7) UID 5)\r\n",
     WANT "1 broken=\"ENVELOPE: a list is missing\" uid=5"},
    {"UID at the end of a body is none", F "(ENVELOPE x( BODY[1] {6}\r\n UID 7)\r\n",
     WANT "0 broken=\"ENVELOPE: a list is missing\""},
    {"literal longer than announced", F "(BODY[1] {2}\r\nabc UID 5)\r\n",
     WANT "101 broken=\"an item has no name\" uid=5 body=\"1\"{2} bytes=\"ab\""},
    {"many faults", F "(UID 0 UID 0 UID 0 UID 0 UID 0 UID 0 UID 0 UID 0 UID 0 UID 5)\r\n",
     WANT "0 broken=\"UID: not a UID\""},
    {"the next is unhurt", F "(ENVELOPE (\r\n" F "(UID 5)\r\n",
     WANT "0 broken=\"ENVELOPE: a word is missing\"\n" WANT "1 uid=5"},
};

static void test_items(void **state)
{
    check_cases((DumpMode){0}, item_cases);
}

static void test_bodies(void **state)
{
    check_cases((DumpMode){0}, body_cases);
}

static void test_dates(void **state)
{
    check_cases((DumpMode){0}, date_cases);
}

static void test_broken(void **state)
{
    check_cases((DumpMode){0}, broken_cases);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_items),
        cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_dates),
        cmocka_unit_test(test_broken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
