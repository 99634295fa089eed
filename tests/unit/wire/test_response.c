/* Every kind of response but FETCH, well-formed and as servers send it; each case whole, split at
 * every byte, and byte by byte. */
#include "reader_case.h"

static const ReaderCase text_cases[] = {
    {"ok", "* OK IMAP4rev1 server ready\r\n", "OK text=\"IMAP4rev1 server ready\""},
    {"tagged", "A142 OK [READ-WRITE] SELECT completed\r\n",
     "OK tag=\"A142\" code=READ-WRITE code_text=\"READ-WRITE\" text=\"SELECT completed\""},
    {"no", "A223 NO COPY failed: disk is full\r\n",
     "NO tag=\"A223\" text=\"COPY failed: disk is full\""},
    {"bad", "* BAD Disk crash!\r\n", "BAD text=\"Disk crash!\""},
    {"bye", "* BYE Autologout; idle for too long\r\n",
     "BYE text=\"Autologout; idle for too long\""},
    {"preauth", "* PREAUTH logged in as Smith\r\n", "PREAUTH text=\"logged in as Smith\""},
    {"no text", "* BYE\r\nA1 OK\r\n* BAD \r\n",
     "BYE text=\"\"\nOK tag=\"A1\" text=\"\"\nBAD text=\"\""},
    {"lower case", "* ok hello\r\na1 no [trycreate] x\r\n",
     "OK text=\"hello\"\nNO tag=\"a1\" code=TRYCREATE code_text=\"trycreate\" text=\"x\""},
    {"LF alone", "* OK a\n* OK b\n", "OK text=\"a\"\nOK text=\"b\""},
    {"continue", "+ Ready for literal data\r\n", "CONTINUE text=\"Ready for literal data\""},
    {"continue, plus without space", "+\r\n+idling\r\n+ \r\n",
     "CONTINUE text=\"\"\nCONTINUE text=\"idling\"\nCONTINUE text=\"\""},
    {"text that ends like a literal",
     "* OK mind the {5}\r\nA1 NO [ALERT] or {99999999999}\r\n+ {3}\r\n* BYE {-1}\r\n* NO ~{5}\r\n",
     "OK text=\"mind the {5}\"\nNO tag=\"A1\" code=ALERT code_text=\"ALERT\" text=\"or "
     "{99999999999}\"\nCONTINUE text=\"{3}\"\nBYE text=\"{-1}\"\nNO text=\"~{5}\""},
    {"8-bit text", "* OK \xf0\x9d\x96\x80 \xff\r\n", "OK text=\"\\f0\\9d\\96\\80 \\ff\""},
    {"bare CR in text", "* OK a\rb\r\n", "OK text=\"a\\0db\""},
    {"backoff", "A1 BAD Request is throttled. Suggested Backoff Time: 299961 milliseconds\r\n",
     "BAD tag=\"A1\" text=\"Request is throttled. Suggested Backoff Time: 299961 milliseconds\" "
     "backoff=299961"},
    {"backoff without sense", "* NO Suggested Backoff Time: soon, : 5\r\n",
     "NO text=\"Suggested Backoff Time: soon, : 5\""},
    {"a tag of garbage", "A{1 OK x\r\n(A1 OK x\r\nA\"1\" OK x\r\nA1 FINE x\r\nA1\r\n\r\n",
     "UNKNOWN text=\"A{1 OK x\"\nUNKNOWN text=\"(A1 OK x\"\nUNKNOWN text=\"A\\221\\22 OK x\"\n"
     "UNKNOWN text=\"A1 FINE x\"\nUNKNOWN text=\"A1\"\nUNKNOWN text=\"\""},
    {"not IMAP", "HTTP/1.1 400 Bad Request\r\n220 smtp ESMTP\r\n",
     "UNKNOWN text=\"HTTP/1.1 400 Bad Request\"\nUNKNOWN text=\"220 smtp ESMTP\""},
};

static const ReaderCase code_cases[] = {
    {"alert", "* OK [ALERT] down in 10 minutes\r\n",
     "OK code=ALERT code_text=\"ALERT\" text=\"down in 10 minutes\""},
    {"uidvalidity", "* OK [UIDVALIDITY 3857529045] UIDs valid\r\n",
     "OK code=UIDVALIDITY code_text=\"UIDVALIDITY 3857529045\" text=\"UIDs valid\" "
     "number=3857529045"},
    {"uidvalidity over 32 bits", "* OK [UIDVALIDITY 4294967296] x\r\n",
     "OK code=OTHER code_text=\"UIDVALIDITY 4294967296\" text=\"x\""},
    {"uidnext of nothing", "* OK [UIDNEXT] x\r\n* OK [UIDNEXT 5x] x\r\n",
     "OK code=OTHER code_text=\"UIDNEXT\" text=\"x\"\nOK code=OTHER code_text=\"UIDNEXT 5x\" "
     "text=\"x\""},
    {"highestmodseq without text", "* OK [HIGHESTMODSEQ 715194045007]\r\n",
     "OK code=HIGHESTMODSEQ code_text=\"HIGHESTMODSEQ 715194045007\" text=\"\" "
     "number=715194045007"},
    {"permanentflags", "* OK [PERMANENTFLAGS (\\Deleted \\Seen \\*)] Limited\r\n",
     "OK code=PERMANENTFLAGS code_text=\"PERMANENTFLAGS (\\5cDeleted \\5cSeen \\5c*)\" "
     "text=\"Limited\" flags=(\\Seen \\Deleted \\*)"},
    {"permanentflags, bracket in keyword",
     "* OK [PERMANENTFLAGS (\\Seen OIB-Seen-[Gmail]/All Mail \\*)] Flags permitted.\r\n",
     "OK code=PERMANENTFLAGS code_text=\"PERMANENTFLAGS (\\5cSeen OIB-Seen-[Gmail]/All Mail "
     "\\5c*)\" text=\"Flags permitted.\" flags=(\\Seen \\* Mail OIB-Seen-[Gmail]/All)"},
    {"permanentflags, unclosed list in code", "* OK [PERMANENTFLAGS (\\Seen \\Draft] Limited\r\n",
     "OK code=PERMANENTFLAGS code_text=\"PERMANENTFLAGS (\\5cSeen \\5cDraft\" text=\"Limited\" "
     "flags=(\\Seen \\Draft)"},
    {"capability", "* OK [CAPABILITY IMAP4rev1 auth=PLAIN] Hi\r\n",
     "OK code=CAPABILITY code_text=\"CAPABILITY IMAP4rev1 auth=PLAIN\" text=\"Hi\" "
     "words=(IMAP4REV1 AUTH=PLAIN)"},
    {"appenduid", "A3 OK [APPENDUID 38505 3955] done\r\n",
     "OK tag=\"A3\" code=APPENDUID code_text=\"APPENDUID 38505 3955\" text=\"done\" number=38505 "
     "uids=3955"},
    {"appenduid of several", "A3 OK [APPENDUID 2 4,6:7,9] done\r\n",
     "OK tag=\"A3\" code=APPENDUID code_text=\"APPENDUID 2 4,6:7,9\" text=\"done\" number=2 "
     "uids=4,6:7,9"},
    {"copyuid, turned round", "A4 OK [copyUID 9999 20:19,500:495 92:97,101:100] Done\r\n",
     "OK tag=\"A4\" code=COPYUID code_text=\"copyUID 9999 20:19,500:495 92:97,101:100\" "
     "text=\"Done\" number=9999 uids=92:97,100:101 source=19:20,495:500"},
    {"copyuid, half of it", "A4 OK [COPYUID 9999 1:3] Done\r\n",
     "OK tag=\"A4\" code=OTHER code_text=\"COPYUID 9999 1:3\" text=\"Done\""},
    {"copyuid with a star", "A4 OK [COPYUID 1 1:* 5] Done\r\n",
     "OK tag=\"A4\" code=OTHER code_text=\"COPYUID 1 1:* 5\" text=\"Done\""},
    {"modified", "d105 OK [MODIFIED 7,9] Conditional STORE failed\r\n",
     "OK tag=\"d105\" code=MODIFIED code_text=\"MODIFIED 7,9\" text=\"Conditional STORE failed\" "
     "uids=7,9"},
    {"names with a hyphen", "* OK [READ-ONLY]\r\n* NO [UNKNOWN-CTE] x\r\n",
     "OK code=READ-ONLY code_text=\"READ-ONLY\" text=\"\"\nNO code=UNKNOWN-CTE "
     "code_text=\"UNKNOWN-CTE\" text=\"x\""},
    {"names with an underscore are others", "* OK [READ_ONLY] x\r\n",
     "OK code=OTHER code_text=\"READ_ONLY\" text=\"x\""},
    {"unknown code", "* OK [XTEST arbitrary text] y\r\n",
     "OK code=OTHER code_text=\"XTEST arbitrary text\" text=\"y\""},
    {"the words NONE and OTHER", "* OK [NONE] x\r\n* OK [OTHER] x\r\n",
     "OK code=OTHER code_text=\"NONE\" text=\"x\"\nOK code=OTHER code_text=\"OTHER\" text=\"x\""},
    {"brackets in quotes in a list", "t BAD [BADCHARSET (US-ASCII \"[a] b)\")] unsupported\r\n",
     "BAD tag=\"t\" code=BADCHARSET code_text=\"BADCHARSET (US-ASCII \\22[a] b)\\22)\" "
     "text=\"unsupported\""},
    {"bracket in the text", "R4 OK [READ-WRITE] [Gmail]/Sent Mail selected.\r\n",
     "OK tag=\"R4\" code=READ-WRITE code_text=\"READ-WRITE\" text=\"[Gmail]/Sent Mail selected.\""},
    {"unclosed code", "* OK [ALERT no end\r\n", "OK text=\"[ALERT no end\""},
    {"empty code", "* OK [] x\r\n", "OK code=OTHER code_text=\"\" text=\"x\""},
    {"code without OK", "* [COPYUID 1 2 3] done\r\n",
     "OK code=COPYUID code_text=\"COPYUID 1 2 3\" text=\"done\" number=1 uids=3 source=2"},
    {"code without space", "A1 OK[ALERT]x\r\n* OK[ALERT] x\r\n",
     "OK tag=\"A1\" code=ALERT code_text=\"ALERT\" text=\"x\"\nOK code=ALERT code_text=\"ALERT\" "
     "text=\"x\""},
    {"compression", "A1 NO [COMPRESSIONACTIVE] DEFLATE active\r\n",
     "NO tag=\"A1\" code=COMPRESSIONACTIVE code_text=\"COMPRESSIONACTIVE\" text=\"DEFLATE "
     "active\""},
};

static const ReaderCase data_cases[] = {
    {"capability", "* CAPABILITY IMAP4rev1 STARTTLS  AUTH=ATOKEN \r\n",
     "CAPABILITY words=(IMAP4REV1 STARTTLS AUTH=ATOKEN)"},
    {"capability of nothing", "* CAPABILITY\r\n", "CAPABILITY words=()"},
    {"capability with strays", "* CAPABILITY A (B) \"C\r\n", "CAPABILITY words=(A B C)"},
    {"enabled", "* ENABLED CONDSTORE QRESYNC\r\n* ENABLED\r\n",
     "ENABLED words=(CONDSTORE QRESYNC)\nENABLED words=()"},
    {"numbers", "* 23 EXISTS\r\n* 0 RECENT\r\n* 44 EXPUNGE\r\n* 4294967295 exists\r\n",
     "EXISTS number=23\nRECENT\nEXPUNGE number=44\nEXISTS number=4294967295"},
    {"numbers that are none",
     "* 0 EXPUNGE\r\n* 4294967296 EXISTS\r\n* -1 EXISTS\r\n* 5\r\n* 5 X\r\n",
     "UNKNOWN text=\"* 0 EXPUNGE\"\nUNKNOWN text=\"* 4294967296 EXISTS\"\n"
     "UNKNOWN text=\"* -1 EXISTS\"\nUNKNOWN text=\"* 5\"\nUNKNOWN text=\"* 5 X\""},
    {"extra and trailing spaces", "*  23  EXISTS \r\n*   CAPABILITY A\r\n* FLAGS  ( \\Seen ) \r\n",
     "EXISTS number=23\nCAPABILITY words=(A)\nFLAGS flags=(\\Seen)"},
    {"flags", "* FLAGS (\\Answered \\foo bAR $Etc \\Draft)\r\n* FLAGS ()\r\n",
     "FLAGS flags=(\\Answered \\Draft $Etc bAR)\nFLAGS flags=()"},
    {"nested flag list", "* FLAGS (\\Answered (\\Seen junk FLAGS) $label1)\r\n",
     "FLAGS flags=(\\Seen \\Answered $label1 FLAGS junk)"},
    {"quoted flag", "* FLAGS (\"$a\" \\Seen)\r\n", "FLAGS flags=(\\Seen $a)"},
    {"unclosed flags", "* FLAGS (\\Seen\r\n", "UNKNOWN text=\"* FLAGS (\\5cSeen\""},
    {"namespace",
     "* NAMESPACE ((\"\" \"/\")) NIL ((\"#pub.\" \".\")(\"#x\" NIL \"X\" (\"A\")))\r\n",
     "NAMESPACE ( prefix=\"\" delimiter=\"/\") NIL ( prefix=\"#pub.\" delimiter=\".\" "
     "prefix=\"#x\" delimiter=\"\")"},
    {"namespace, fields missing", "* NAMESPACE ((\"INBOX.\" \".\"))\r\n",
     "NAMESPACE ( prefix=\"INBOX.\" delimiter=\".\") NIL NIL"},
    {"namespace of junk", "* NAMESPACE (x)\r\n", "UNKNOWN text=\"* NAMESPACE (x)\""},
    {"id", "* ID (\"name\" \"GImap\" \"support-url\" NIL)\r\n* ID NIL\r\n* ID (\"a\")\r\n",
     "ID id=(name GImap support-url NIL)\nID\nID id=(a NIL)"},
    {"myrights", "* MYRIGHTS \"INBOX\" lrSw\r\n", "MYRIGHTS words=(lrSw)"},
    {"kinds kept as text",
     "* QUOTA \"\" (STORAGE 10 512)\r\n* QUOTAROOT INBOX \"\"\r\n* ACL x y r\r\n",
     "QUOTA text=\"\\22\\22 (STORAGE 10 512)\" storage=10/512\nQUOTAROOT text=\"INBOX \\22\\22\"\n"
     "ACL text=\"x y r\""},
    {"unknown with a literal", "* METADATA \"\" (/x {7}\r\n* OK no NIL)\r\n* OK\r\n",
     "UNKNOWN text=\"* METADATA \\22\\22 (/x {7}\\0d\\0a* OK no NIL)\"\nOK text=\"\""},
};

/* RFC 9208 4.2: what cannot be understood is not known. */
static const struct {
    const char *text, *want;
} quotas[] = {
    {"\"\" (STORAGE 10 512)", "storage=10/512"},
    {"\"\" (storage 10 512 MESSAGE 20 100)", "storage=10/512 message=20/100"},
    {"root (MESSAGE 20 100)", "message=20/100"},
    {"\"User quota\" (STORAGE 600 512)", "storage=600/512"},
    {"\"\" (STORAGE 0 0)", "storage=0/0"},
    {"\"\" ()", ""},
    {"\"\"", ""},
    {"", ""},
    {"\"\" (ANNOTATION-STORAGE 1 2 MAILBOX 3 4 STORAGE 5 6)", "storage=5/6"},
    {"\"\" (STORAGE 5 6 STORAGE 7 8)", "storage=7/8"},
    {"\"\" (STORAGE \"5\" \"6\")", "storage=5/6"},
    {"\"\" (STORAGE 5)", ""},
    {"\"\" (STORAGE 5 6", "storage=5/6"},
    {"\"\" (STORAGE -1 6)", ""},
    {"\"\" (STORAGE 5 6x)", ""},
    {"\"\" (STORAGE 9223372036854775807 9223372036854775807)",
     "storage=9223372036854775807/9223372036854775807"},
    {"\"\" (STORAGE 5 9223372036854775808)", ""},
    {"\"\" (STORAGE 5 99999999999999999999999)", ""},
    {"\"\" STORAGE 5 6", ""},
    {"\"\" ((STORAGE 5 6))", ""},
    {"(STORAGE 5 6)", ""},
};

static void test_quota(void **state)
{
    for (gsize i = 0; i < G_N_ELEMENTS(quotas); i++) {
        g_autofree char *line = g_strdup_printf("* QUOTA %s\r\n", quotas[i].text);
        g_autofree char *got = dump_whole((DumpMode){0}, line, strlen(line));
        const char *end = strstr(got, "\" storage=");
        if (end == NULL)
            end = strstr(got, "\" message=");
        g_autofree char *told = g_strchomp(g_strdup(end != NULL ? end + 2 : ""));
        if (strcmp(told, quotas[i].want) != 0)
            fail_msg("%s: \"%s\", not \"%s\"", quotas[i].text, got, quotas[i].want);
    }
    (void)state;
}

static const ReaderCase list_cases[] = {
    {"plain", "* LIST (\\Noselect \\HasChildren) \"/\" ~/Mail/foo\r\n",
     "LIST attributes=9 delimiter=\"/\" name=\"~/Mail/foo\""},
    {"nonexistent", "* LIST (\\NonExistent) \".\" a\r\n",
     "LIST attributes=3 delimiter=\".\" name=\"a\""},
    {"special use",
     "* LIST (\\All \\archive \\Drafts \\Flagged \\Junk \\Sent \\Trash \\Important) "
     "\"/\" \"x\"\r\n",
     "LIST attributes=1fe00 delimiter=\"/\" name=\"x\""},
    {"lsub, no delimiter", "* LSUB () NIL INBOX\r\n* LIST () \"\" INBOX\r\n",
     "LSUB attributes=0 delimiter=\"\" name=\"INBOX\"\nLIST attributes=0 delimiter=\"\" "
     "name=\"INBOX\""},
    {"backslash delimiter", "* LIST () \"\\\\\" \"a\\\\b\\\"c\"\r\n",
     "LIST attributes=0 delimiter=\"\\5c\" name=\"a\\5cb\\22c\""},
    {"lone backslash attribute", "* LIST (\\HasChildren \\) \".\" \"Archive\"\r\n",
     "LIST attributes=8 delimiter=\".\" name=\"Archive\""},
    {"unknown attribute", "* LIST (\\X-Foo bar) \".\" a\r\n",
     "LIST attributes=0 delimiter=\".\" name=\"a\""},
    {"literal name", "* LIST () \"/\" {11}\r\na\r\n\"b) {5}\xe9\r\n* OK\r\n",
     "LIST attributes=0 delimiter=\"/\" name=\"a\\0d\\0a\\22b) {5}\\e9\"\nOK text=\"\""},
    {"literal of nothing", "* LIST () \"/\" {0}\r\n\r\n",
     "LIST attributes=0 delimiter=\"/\" name=\"\""},
    {"extended", "* LIST (\\Subscribed) \"/\" foo (\"CHILDINFO\" (\"SUBSCRIBED\"))\r\n",
     "LIST attributes=80 delimiter=\"/\" name=\"foo\""},
    {"unquoted name", "* LIST () \"/\" Sent Items (old) \r\n* LIST () \"/\" a\001b\002\r\n",
     "LIST attributes=0 delimiter=\"/\" name=\"Sent Items (old)\"\nLIST attributes=0 "
     "delimiter=\"/\" name=\"a\\01b\\02\""},
    {"unquoted name that ends like a literal", "* LIST () \"/\" a{5}\r\n",
     "LIST attributes=0 delimiter=\"/\" name=\"a{5}\""},
    {"stray quotes", "* LIST () \"/\" \"foo\"bar\"\r\n",
     "LIST attributes=0 delimiter=\"/\" name=\"foo\\22bar\""},
    {"lone backslash", "* LIST () \"/\" \"C:\\dir\"\r\n",
     "LIST attributes=0 delimiter=\"/\" name=\"C:\\5cdir\""},
    NUL_CASE("NUL in a literal name stays", "* LIST () \"/\" {3}\r\na\0b\r\n",
             "LIST attributes=0 delimiter=\"/\" name=\"a\\00b\""),
    {"name missing", "* LIST () \"/\"\r\n* LIST\r\n",
     "UNKNOWN text=\"* LIST () \\22/\\22\"\nUNKNOWN text=\"* LIST\""},
};

static const ReaderCase status_cases[] = {
    {"plain", "* STATUS blurdy (MESSAGES 231 UIDNEXT 44292 HIGHESTMODSEQ 7011231777)\r\n",
     "STATUS present=13 name=\"blurdy\" messages=231 uidnext=44292 highestmodseq=7011231777"},
    {"all",
     "* STATUS \"a b\" (UIDVALIDITY 4294967295 UNSEEN 0 SIZE 5000000000 RECENT 1 MAILBOXID "
     "(F2212-ea)) \r\n",
     "STATUS present=6c name=\"a b\" uidvalidity=4294967295 size=5000000000 "
     "mailboxid=\"F2212-ea\""},
    {"empty status", "* STATUS x ()\r\n* STATUS x\r\n",
     "STATUS present=0 name=\"x\"\nSTATUS present=0 name=\"x\""},
    {"literal name", "* STATUS {3}\r\na b (MESSAGES 1)\r\n",
     "STATUS present=1 name=\"a b\" messages=1"},
    {"unquoted name", "* STATUS Sent Items (x) (MESSAGES 1)\r\n",
     "STATUS present=1 name=\"Sent Items (x)\" messages=1"},
    {"NIL number, number out of range",
     "* STATUS x (APPENDLIMIT NIL MESSAGES 4294967296 UNSEEN -1 UIDNEXT NIL SIZE 9.3736e+06)\r\n",
     "STATUS present=20 name=\"x\" size=9373600"},
    {"unknown items", "* STATUS m (num 1 seq 1:5,*:7 e () l (1 \"s\" (n (d)))) \r\n",
     "STATUS present=0 name=\"m\""},
    {"broken", "* STATUS x (MESSAGES five)\r\n* STATUS x (MESSAGES 5\r\n* STATUS\r\n",
     "UNKNOWN text=\"* STATUS x (MESSAGES five)\"\nUNKNOWN text=\"* STATUS x (MESSAGES 5\"\n"
     "UNKNOWN text=\"* STATUS\""},
};

static const ReaderCase number_list_cases[] = {
    {"search", "* SEARCH 2 3 6\r\n* SEARCH\r\n* SEARCH \r\n* SEARCH 5 4 1 2\r\n",
     "SEARCH uids=2:3,6\nSEARCH uids=\nSEARCH uids=\nSEARCH uids=1:2,4:5"},
    {"search with modseq", "* SEARCH 2 5 (MODSEQ 917162500)\r\n",
     "SEARCH uids=2,5 modseq=917162500"},
    {"search, odd forms", "* search 1:3 0 3\r\n*  SEARCH  7\t8\r\n",
     "SEARCH uids=1:3\nSEARCH uids=7:8"},
    {"search of no sense",
     "* SEARCH 1 two\r\n* SEARCH 4294967296\r\n* SEARCH 1 (MODSEQ x)\r\n"
     "* SEARCH 1 (MODSEQ 5\r\n* SEARCH 1)\r\n* SEARCH \"1\r\n* SEARCHES 1\r\n",
     "UNKNOWN text=\"SEARCH that makes no sense\"\nUNKNOWN text=\"SEARCH that makes no sense\"\n"
     "UNKNOWN text=\"SEARCH that makes no sense\"\nUNKNOWN text=\"SEARCH that makes no sense\"\n"
     "UNKNOWN text=\"SEARCH that makes no sense\"\nUNKNOWN text=\"SEARCH that makes no sense\"\n"
     "UNKNOWN text=\"* SEARCHES 1\""},
    {"search, no spaces, no sense", "*  SEARCH x\r\n", "UNKNOWN text=\"*  SEARCH x\""},
    {"esearch", "* ESEARCH (TAG \"A282\") MIN 2 COUNT 3\r\n",
     "ESEARCH number=3 uids= search_tag=\"A282\""},
    {"esearch all", "* ESEARCH (TAG \"a567\") UID COUNT 17 ALL 4:18,21,28\r\n",
     "ESEARCH number=17 uids=4:18,21,28 search_tag=\"a567\" UID"},
    {"esearch, no tag", "* ESEARCH COUNT 18 ALL 1:17,21\r\n* ESEARCH\r\n* ESEARCH UID\r\n",
     "ESEARCH number=18 uids=1:17,21\nESEARCH uids=\nESEARCH uids= UID"},
    {"esearch with modseq", "* ESEARCH (TAG \"a\") ALL 5,3,2,1 MODSEQ 1236\r\n",
     "ESEARCH uids=1:3,5 modseq=1236 search_tag=\"a\""},
    {"esearch partial is no part of all",
     "* ESEARCH (TAG \"A01\") UID PARTIAL (-1:-100 200:250,252:300) ALL 7\r\n",
     "ESEARCH uids=7 search_tag=\"A01\" UID"},
    {"esearch, more in the correlator",
     "* ESEARCH (TAG \"a\\\"b\" MAILBOX \"x\" UIDVALIDITY 5) UID ALL 1\r\n",
     "ESEARCH uids=1 search_tag=\"a\\22b\" UID"},
    {"esearch of no sense", "* ESEARCH ALL x\r\n* ESEARCH (TAG \"a\" ALL 1\r\n",
     "UNKNOWN text=\"ESEARCH that makes no sense\"\nUNKNOWN text=\"ESEARCH that makes no sense\""},
    {"vanished", "* VANISHED 405,407,410,425\r\n* vanished (EARLIER) 41,43:116\r\n",
     "VANISHED uids=405,407,410,425\nVANISHED uids=41,43:116 EARLIER"},
    {"vanished, odd sets", "* VANISHED 0\r\n* VANISHED 9:7,1:4294967295\r\n* VANISHED 0:3,\r\n",
     "VANISHED uids=\nVANISHED uids=1:4294967295\nVANISHED uids=1:3"},
    {"vanished with a star", "* VANISHED 5:*\r\n* VANISHED :5\r\n* VANISHED 1:2:3\r\n",
     "UNKNOWN text=\"VANISHED that makes no sense\"\nUNKNOWN text=\"VANISHED that makes no "
     "sense\"\nUNKNOWN text=\"VANISHED that makes no sense\""},
};

static void test_text(void **state)
{
    check_cases((DumpMode){0}, text_cases);
}

static void test_codes(void **state)
{
    check_cases((DumpMode){0}, code_cases);
}

static void test_data(void **state)
{
    check_cases((DumpMode){0}, data_cases);
}

static void test_list(void **state)
{
    check_cases((DumpMode){0}, list_cases);
}

static void test_status(void **state)
{
    check_cases((DumpMode){0}, status_cases);
}

static void test_number_lists(void **state)
{
    check_cases((DumpMode){0}, number_list_cases);
}

static void test_names(void **state)
{
    assert_string_equal(response_kind_name(RESP_OK), "OK");
    assert_string_equal(response_kind_name(RESP_UNKNOWN), "UNKNOWN");
    assert_string_equal(response_kind_name((ResponseKind)1000), "?");
    assert_string_equal(response_code_name(CODE_NONE), "NONE");
    assert_string_equal(response_code_name(CODE_READ_WRITE), "READ-WRITE");
    assert_string_equal(response_code_name(CODE_COMPRESSIONACTIVE), "COMPRESSIONACTIVE");
    assert_string_equal(response_code_name((ResponseCode)1000), "?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),   cmocka_unit_test(test_codes),
        cmocka_unit_test(test_data),   cmocka_unit_test(test_list),
        cmocka_unit_test(test_status), cmocka_unit_test(test_number_lists),
        cmocka_unit_test(test_names),  cmocka_unit_test(test_quota),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
