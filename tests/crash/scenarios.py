"""The table of scenarios: a row says what is there, what is done here and by others, and the end.

Mailboxes are written as world.py says: "a b:S c:F,work". Steps are the driver's (steps.c). What
another client does is a function of others.py. Those of more than flags are in changes.py.
"""
import changes
from interrupt import Failed, Scenario
from others import ACL, ALL_RIGHTS, acl, both, command, expunge, renew, rows, store

THREE = {"INBOX": "a b:S c:F"}
KEEP = {"Keep": "k:F"}  # somewhere else, to be left alone
LONG = "k" * 60  # Dovecot takes at most 50 bytes of a keyword


# --- one client alone ---------------------------------------------------------------------------

ALONE = rows(
    Scenario("add", THREE, ["flag INBOX a +\\Seen"], {"INBOX": "a:S b:S c:F"}, stores=1),
    Scenario("remove", THREE, ["flag INBOX b -\\Seen"], {"INBOX": "a b c:F"}, stores=1),
    Scenario("add and remove", THREE, ["flag INBOX c +\\Seen -\\Flagged"],
             {"INBOX": "a b:S c:S"}, stores=2),
    Scenario("several flags", THREE, ["flag INBOX a +\\Seen +\\Flagged +\\Answered"],
             {"INBOX": "a:SFR b:S c:F"}, stores=1),
    Scenario("every system flag", THREE,
             ["flag INBOX a +\\Seen +\\Flagged +\\Answered +\\Draft +\\Deleted"],
             {"INBOX": "a:SFRDT b:S c:F"}, stores=1),
    Scenario("deleted is a flag", THREE, ["flag INBOX b +\\Deleted"], {"INBOX": "a b:ST c:F"}),
    Scenario("undelete", {"INBOX": "a:T b:ST"}, ["flag INBOX a,b -\\Deleted"],
             {"INBOX": "a b:S"}, stores=1),
    Scenario("keyword", THREE, ["flag INBOX a +$Forwarded +work"],
             {"INBOX": "a,$Forwarded,work b:S c:F"}, stores=1),
    Scenario("keyword goes", {"INBOX": "a:S,home,work b,work"}, ["flag INBOX a -work"],
             {"INBOX": "a:S,home b,work"}, stores=1),
    Scenario("full list", THREE, ["set INBOX c \\Seen work"], {"INBOX": "a b:S c:S,work"}, stores=2),
    Scenario("empty list", {"INBOX": "a:SF,work b:S"}, ["set INBOX a"], {"INBOX": "a b:S"}),
    Scenario("already so", THREE, ["flag INBOX b +\\Seen", "flag INBOX a -\\Seen"], THREE),
    Scenario("same change of several", {"INBOX": "a b c d:S e"},
             ["flag INBOX a,b,d,e +\\Seen"], {"INBOX": "a:S b:S c d:S e:S"}, stores=1),
    Scenario("other changes of several", {"INBOX": "a b c d:S e"},
             ["flag INBOX a +\\Seen", "flag INBOX b +\\Flagged", "flag INBOX d -\\Seen",
              "flag INBOX e +work +\\Draft"], {"INBOX": "a:S b:F c d e:D,work"}),
    Scenario("several mailboxes", {"INBOX": "a", "Sent": "s t:S", "Lists/dev": "l", **KEEP},
             ["flag INBOX a +\\Seen", "flag Sent s,t +\\Answered", "flag Lists/dev l +work"],
             {"INBOX": "a:S", "Sent": "s:R t:SR", "Lists/dev": "l,work", **KEEP}, stores=3),
    Scenario("odd names", {"INBOX": "a", "Entwürfe": "b", "日本/語": "c", "R&D \"x\" 100%": "d"},
             ["flag Entwürfe b +\\Seen", "flag 日本/語 c +\\Flagged",
              ("flag", "R&D \"x\" 100%", "d", "+\\Seen")],
             {"INBOX": "a", "Entwürfe": "b:S", "日本/語": "c:F", "R&D \"x\" 100%": "d:S"}),
    Scenario("high UIDs", THREE, ["flag INBOX a,c +\\Seen"], {"INBOX": "a:S b:S c:SF"},
             profile={"first": 4_294_967_290}, stores=1),
    Scenario("one after the other", THREE,
             ["flag INBOX a +\\Seen", "drain", "flag INBOX a +\\Flagged", "drain",
              "flag INBOX a -\\Seen", "drain"], {"INBOX": "a:F b:S c:F"}, stores=3),
    Scenario("without stopping", THREE,
             ["flag INBOX a +\\Seen", "flag INBOX a +\\Flagged", "flag INBOX b -\\Seen",
              "flag INBOX c +work", "flag INBOX a -\\Seen"], {"INBOX": "a:F b c:F,work"}, stores=6),
    Scenario("on, then off at once", THREE, ["flag INBOX a +\\Seen", "flag INBOX a -\\Seen"], THREE),
    Scenario("off, then on at once", THREE, ["flag INBOX b -\\Seen", "flag INBOX b +\\Seen"], THREE),
    Scenario("to and fro at once", THREE,
             [f"flag INBOX a {sign}\\Seen" for sign in "+-+-+-+"], {"INBOX": "a:S b:S c:F"}),
)

# --- without the network ------------------------------------------------------------------------

OFFLINE = rows(
    Scenario("offline", THREE, ["offline", "flag INBOX a +\\Seen", "flag INBOX b -\\Seen", "online"],
             {"INBOX": "a:S b c:F"}, stores=2),
    Scenario("offline, on then off", THREE,
             ["offline", "flag INBOX a +\\Seen", "flag INBOX a -\\Seen", "online"], THREE, stores=1),
    Scenario("offline, off then on", THREE,
             ["offline", "flag INBOX b -\\Seen", "flag INBOX b +\\Seen", "online"], THREE, stores=1),
    Scenario("offline, many of one message", THREE,
             ["offline", *(f"flag INBOX a {sign}{flag}" for flag in ("\\Seen", "work", "\\Flagged")
                           for sign in "+-+"), "flag INBOX a -work", "online"],
             {"INBOX": "a:SF b:S c:F"}, stores=2),
    Scenario("offline, full lists", THREE,
             ["offline", "set INBOX a \\Seen \\Flagged work", "set INBOX a \\Flagged", "set INBOX c",
              "online"], {"INBOX": "a:F b:S c"}),
    Scenario("offline twice", THREE,
             ["offline", "flag INBOX a +\\Seen", "online", "drain", "offline",
              "flag INBOX a -\\Seen +\\Flagged", "online"], {"INBOX": "a:F b:S c:F"}, stores=3),
    Scenario("in and out", THREE,
             ["offline", "flag INBOX a +\\Seen", "online", "offline", "flag INBOX b -\\Seen",
              "online", "offline", "flag INBOX c +work", "online"],
             {"INBOX": "a:S b c:F,work"}, stores=8),
    Scenario("cancel", THREE,
             ["offline", "flag INBOX a +\\Seen", "flag INBOX b -\\Seen", "cancel INBOX a", "online"],
             {"INBOX": "a b c:F"}, stores=1),
    Scenario("cancel all", THREE,
             ["offline", "flag INBOX a +\\Seen", "cancel INBOX a", "online"], THREE, stores=0),
    Scenario("cancel, and again", THREE,
             ["offline", "flag INBOX a +\\Seen", "cancel INBOX a", "flag INBOX a +\\Flagged",
              "online"], {"INBOX": "a:F b:S c:F"}, stores=1),
    Scenario("cancel what is not there", THREE, ["offline", "cancel INBOX a", "online"], THREE,
             errors={2: "GONE"}, stores=0),
    Scenario("several mailboxes offline", {"INBOX": "a", "Sent": "s t:S", "Lists/dev": "l", **KEEP},
             ["offline", "flag INBOX a +\\Seen", "flag Sent s,t +\\Answered",
              "flag Lists/dev l +work", "flag Sent t -\\Seen", "online"],
             {"INBOX": "a:S", "Sent": "s:R t:R", "Lists/dev": "l,work", **KEEP}, stores=5),
)

# --- other kinds of servers ---------------------------------------------------------------------

CONFLICT = ["offline", "flag INBOX a,b +\\Seen", "flag INBOX c -\\Flagged", "other theirs", "online"]
SERVERS = rows(
    *(Scenario(name, {**THREE, "Sent": "s"}, [*CONFLICT, "flag Sent s +\\Seen"],
               {"INBOX": "a:SR b:S c", "Sent": "s:S"},
               {"theirs": store("INBOX", "a", "+", "\\Answered")}, profile)
      for name, profile in {
          "without QRESYNC": {"disable": "QRESYNC"},
          "without CONDSTORE": {"disable": "QRESYNC,CONDSTORE"},
          "without UIDPLUS, IDLE, ENABLE": {"disable": "UIDPLUS,IDLE,ENABLE,QRESYNC,CONDSTORE"},
          "two connections": {"connections": 2},
          "four connections": {"connections": 4},
      }.items()),
)

# --- others change the same ---------------------------------------------------------------------

OTHERS = rows(
    Scenario("same flag set", THREE, ["offline", "flag INBOX a +\\Seen", "other theirs", "online"],
             {"INBOX": "a:S b:S c:F"}, {"theirs": store("INBOX", "a", "+", "\\Seen")}),
    Scenario("same flag taken away", {"INBOX": "a b:S c:F"},
             ["offline", "flag INBOX c +\\Flagged", "other theirs", "online"],
             {"INBOX": "a b:S c:F"}, {"theirs": store("INBOX", "c", "-", "\\Flagged")}),
    Scenario("same flag set, ours off", THREE,
             ["offline", "flag INBOX a -\\Flagged", "other theirs", "online"], THREE,
             {"theirs": store("INBOX", "a", "+", "\\Flagged")}),
    Scenario("other flags set", THREE, ["offline", "flag INBOX a +\\Seen", "other theirs", "online"],
             {"INBOX": "a:SFR,home b:S c:F"},
             {"theirs": store("INBOX", "a", "+", "\\Flagged \\Answered home")}),
    Scenario("other flags replaced", {"INBOX": "a:R,old b:S"},
             ["offline", "flag INBOX a +\\Seen", "other theirs", "online"],
             {"INBOX": "a:SF,home b:S"}, {"theirs": store("INBOX", "a", "", "\\Flagged home")}),
    Scenario("full list, and theirs", {"INBOX": "a:R,old b:S"},
             ["offline", "set INBOX a \\Seen", "other theirs", "online"],
             {"INBOX": "a:SF b:S"}, {"theirs": store("INBOX", "a", "+", "\\Flagged")}),
    Scenario("other messages changed", THREE,
             ["offline", "flag INBOX a +\\Seen", "other theirs", "online"],
             {"INBOX": "a:S b c:F,home"}, {"theirs": both(store("INBOX", "b", "-", "\\Seen"),
                                                         store("INBOX", "c", "+", "home"))}),
    Scenario("theirs while online", THREE,
             ["flag INBOX a +\\Seen", "other theirs", "flag INBOX b +\\Flagged", "drain",
              "other more", "flag INBOX c +work"], {"INBOX": "a:SR b:SF c:SF,work"},
             {"theirs": store("INBOX", "a", "+", "\\Answered"),
              "more": store("INBOX", "c", "+", "\\Seen")}),
    Scenario("expunged", THREE, ["offline", "flag INBOX a +\\Seen", "other theirs", "online"],
             {"INBOX": "b:S c:F"}, {"theirs": expunge("INBOX", "a")}, stores=1),
    Scenario("one of several expunged", THREE,
             ["offline", "flag INBOX a,b,c +\\Answered", "other theirs", "online"],
             {"INBOX": "a:R c:FR"}, {"theirs": expunge("INBOX", "b")}, stores=2),
    Scenario("all expunged", THREE,
             ["offline", "flag INBOX a,b,c +\\Answered -\\Flagged", "other theirs", "online"],
             {"INBOX": ""}, {"theirs": expunge("INBOX", "a", "b", "c")}, stores=2),
    Scenario("expunged while online", THREE,
             ["sync INBOX", "other theirs", "flag INBOX b +\\Answered", "flag INBOX c +\\Answered"],
             {"INBOX": "a c:FR"}, {"theirs": expunge("INBOX", "b")}, maybe={3: "GONE"}, stores=3),
    Scenario("mailbox deleted", {**THREE, "Old": "o p:S"},
             ["offline", "flag Old o +\\Seen", "flag INBOX a +\\Seen", "other theirs", "online"],
             {"INBOX": "a:S b:S c:F"}, {"theirs": command('DELETE "Old"')},
             failed=[Failed("Old", "\\Seen", "", "no longer on the server")]),
    Scenario("mailbox renamed", {**THREE, "Old": "o p:S"},
             ["offline", "flag Old o +\\Seen", "flag INBOX a +\\Seen", "other theirs", "online"],
             {"INBOX": "a:S b:S c:F", "New": "o p:S"}, {"theirs": command('RENAME "Old" "New"')},
             failed=[Failed("Old", "\\Seen", "", "no longer on the server")]),
    Scenario("mailbox made anew", {**THREE, "Old": "o p:S"},
             ["offline", "flag Old o +\\Seen", "other theirs", "online"],
             {**THREE, "Old": ""}, {"theirs": command('DELETE "Old"', 'CREATE "Old"')},
             failed=[Failed("Old", "\\Seen", "", "UIDVALIDITY")]),
)

# --- another UIDVALIDITY ------------------------------------------------------------------------

RENEWED = rows(
    Scenario("renewed", THREE, ["offline", "flag INBOX a +\\Seen", "other theirs", "online"],
             {"INBOX": "a:S b:S c:F"}, {"theirs": renew("INBOX")}),
    Scenario("renewed, all changed", THREE,
             ["offline", "flag INBOX a +\\Seen", "flag INBOX b -\\Seen", "set INBOX c work",
              "other theirs", "online"], {"INBOX": "a:S b c,work"}, {"theirs": renew("INBOX")}),
    Scenario("renewed, two alike before", {"INBOX": "a=x b=x c:F"},
             ["offline", "flag INBOX a,c +\\Seen", "other theirs", "online"],
             {"INBOX": "a=x b=x c:SF"}, {"theirs": renew("INBOX")},
             failed=[Failed("INBOX", "\\Seen", "", "UIDVALIDITY")]),
    Scenario("renewed, two alike after", THREE,
             ["offline", "flag INBOX a,c +\\Seen", "other theirs", "online"],
             {"INBOX": "a d=a b:S c:SF"}, {"theirs": renew("INBOX", "a d=a b:S c:F")},
             failed=[Failed("INBOX", "\\Seen", "", "UIDVALIDITY")]),
    Scenario("renewed, not there any more", THREE,
             ["offline", "flag INBOX a,c +\\Seen", "other theirs", "online"],
             {"INBOX": "b:S c:SF"}, {"theirs": renew("INBOX", "b:S c:F")},
             failed=[Failed("INBOX", "\\Seen", "", "UIDVALIDITY")]),
    Scenario("renewed, nothing to know them by", {"INBOX": "anonymous1 anonymous2 c:F"},
             ["offline", "flag INBOX anonymous1,c +\\Seen", "other theirs", "online"],
             {"INBOX": "anonymous1 anonymous2 c:SF"}, {"theirs": renew("INBOX")},
             failed=[Failed("INBOX", "\\Seen", "", "UIDVALIDITY")]),
    Scenario("renewed twice", THREE,
             ["offline", "flag INBOX a +\\Seen", "other first", "other second", "online"],
             {"INBOX": "a:S b:S c:F"}, {"first": renew("INBOX"),
                                        "second": lambda world: world.renew("INBOX", by=2)}),
    Scenario("renewed, then changed", THREE,
             ["offline", "flag INBOX a +\\Seen", "other theirs", "online", "drain",
              "offline", "flag INBOX 13 -\\Flagged +work", "online"],
             {"INBOX": "a:S b:S c:F"}, {"theirs": renew("INBOX", "a b:S c:F")}),
    Scenario("renewed, cancelled", THREE,
             ["offline", "flag INBOX a +\\Seen", "flag INBOX b +\\Flagged", "cancel INBOX a",
              "other theirs", "online"], {"INBOX": "a b:SF c:F"}, {"theirs": renew("INBOX")}),
    Scenario("one of two renewed", {**THREE, "Sent": "s t:S"},
             ["offline", "flag INBOX a +\\Seen", "flag Sent s +\\Seen", "other theirs", "online"],
             {"INBOX": "a:S b:S c:F", "Sent": "s:S t:S"}, {"theirs": renew("Sent")}),
)
RENEWED["renewed, then changed"].want = {"INBOX": "a:S b:S c,work"}

# --- what the server does not permit ------------------------------------------------------------

def with_acl(**rights):
    return {**ACL, "acl": {"INBOX": ALL_RIGHTS, **rights}}


BOARD = {**THREE, "Board": "m n:S"}
PERMITS = rows(
    Scenario("read-only", BOARD, ["flag Board m +\\Seen +\\Flagged", "flag INBOX a +\\Seen"],
             {"INBOX": "a:S b:S c:F", "Board": "m n:S"}, profile=with_acl(Board="owner lr"),
             shown={"Board": "m:SF n:S"}, stores=1),
    Scenario("read-only, offline", BOARD,
             ["offline", "flag Board m,n +\\Flagged", "flag INBOX a +\\Seen", "online"],
             {"INBOX": "a:S b:S c:F", "Board": "m n:S"}, profile=with_acl(Board="owner lr"),
             shown={"Board": "m:F n:SF"}, stores=1),
    Scenario("becomes read-only", BOARD,
             ["offline", "flag Board m +\\Seen", "flag INBOX a +\\Seen", "other theirs", "online"],
             {"INBOX": "a:S b:S c:F", "Board": "m n:S"}, {"theirs": acl("Board", "owner lr")},
             with_acl(Board=ALL_RIGHTS), shown={"Board": "m:S n:S"}),
    Scenario("only seen", BOARD,
             ["offline", "flag Board n -\\Seen", "online", "drain",  # what it keeps is known now
              "flag Board m +\\Flagged", "flag Board m +\\Seen", "flag INBOX a +\\Seen"],
             {"INBOX": "a:S b:S c:F", "Board": "m:S n"}, profile=with_acl(Board="owner lrs"),
             errors={5: "DENIED"}, stores=3),
    Scenario("only seen, not known yet", BOARD,
             ["offline", "flag Board m +\\Flagged", "flag Board n -\\Seen", "online"],
             {"INBOX": "a b:S c:F", "Board": "m n"}, profile=with_acl(Board="owner lrs"),
             failed=[Failed("Board", "\\Flagged", "", "does not keep")], stores=1),
    Scenario("one flag of two", BOARD,
             ["offline", "flag Board m +\\Flagged +\\Seen", "online"],
             {"INBOX": "a b:S c:F", "Board": "m:S n:S"}, profile=with_acl(Board="owner lrs"),
             failed=[Failed("Board", "\\Flagged", "", "does not keep")], stores=1),
    Scenario("becomes only seen", BOARD,
             ["offline", "flag Board m +\\Flagged", "flag Board n -\\Seen", "other theirs", "online"],
             {"INBOX": "a b:S c:F", "Board": "m n"}, {"theirs": acl("Board", "owner lrs")},
             with_acl(Board=ALL_RIGHTS), failed=[Failed("Board", "\\Flagged", "", "")]),
    Scenario("keyword refused", THREE, [f"flag INBOX a +{LONG}", "flag INBOX b +work"],
             {"INBOX": "a b:S,work c:F"}, failed=[Failed("INBOX", LONG, "", "")]),
    Scenario("refused, retried", BOARD,
             ["offline", "flag Board m +\\Flagged", "other theirs", "online", "drain",
              "other back", "offline", "retry Board", "online"],
             {"INBOX": "a b:S c:F", "Board": "m:F n:S"},
             {"theirs": acl("Board", "owner lrs"), "back": acl("Board", ALL_RIGHTS)},
             with_acl(Board=ALL_RIGHTS)),
    Scenario("refused, discarded", BOARD,
             ["offline", "flag Board m +\\Flagged", "other theirs", "online", "drain",
              "discard Board"], {"INBOX": "a b:S c:F", "Board": "m n:S"},
             {"theirs": acl("Board", "owner lrs")}, with_acl(Board=ALL_RIGHTS)),
)

# --- many ---------------------------------------------------------------------------------------

MANY = 600


def many(letters):
    return " ".join(f"m{i:03d}{letters(i)}" for i in range(MANY))


BATCHES = rows(
    Scenario("batch", {"INBOX": many(lambda i: "")}, ["offline", f"flag INBOX 1:{MANY} +\\Seen",
                                                      "online"],
             {"INBOX": many(lambda i: ":S")}, stores=2, heavy=True),
    Scenario("batch of two kinds", {"INBOX": many(lambda i: ":S")},
             ["offline", f"flag INBOX {','.join(str(i + 1) for i in range(0, MANY, 2))} +\\Flagged",
              f"flag INBOX {','.join(str(i + 1) for i in range(1, MANY, 2))} -\\Seen", "online"],
             {"INBOX": many(lambda i: ":SF" if i % 2 == 0 else "")}, stores=4, heavy=True),
)

TABLES = {"Alone": ALONE, "Offline": OFFLINE, "Servers": SERVERS, "Others": OTHERS,
          "Renewed": RENEWED, "Permits": PERMITS, "Batches": BATCHES, **changes.TABLES}
SCENARIOS = {name: row for table in TABLES.values() for name, row in table.items()}
