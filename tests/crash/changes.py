"""Scenarios of messages that are moved, copied, deleted and appended, and of mailboxes.

scenarios.py says how a row is read. A message that was not there in the beginning, or is elsewhere
now, is named by its key where it is then; "=a" asks for that, +1 is the first that was placed.
"""
from interrupt import Failed, Scenario
from others import (ACL, ALL_RIGHTS, acl, append, both, command, expunge, move, renew, rows, store,
                    quota, QUOTA)

TWO = {"INBOX": "a b:S c:F", "Work": "w:S"}
THREE = {**TWO, "Sent": "s"}
MOVE, COPY, APPEND, EXPUNGE = "UID MOVE", "UID COPY", "APPEND", "UID EXPUNGE"
CREATE, DELETE, RENAME = "CREATE", "DELETE", "RENAME"


def offline(*steps):
    return ["offline", *steps, "online"]


def drained(*steps):
    return [each for step in steps for each in (step, "drain")]


# --- each kind alone ----------------------------------------------------------------------------

PLACES = rows(
    Scenario("move", TWO, ["move INBOX a Work"], {"INBOX": "b:S c:F", "Work": "w:S a"},
             stores=0, sends={MOVE: 1}),
    Scenario("move with its flags", {"INBOX": "a:SF,work b:S"}, ["mkbox Work", "move INBOX a Work"],
             {"INBOX": "b:S", "Work": "a:SF,work"}, stores=0, sends={CREATE: 1, MOVE: 1}),
    Scenario("move several", TWO, ["move INBOX a,b,c Work"], {"INBOX": "", "Work": "w:S a b:S c:F"},
             stores=0, sends={MOVE: 1}),
    Scenario("move to two", THREE, ["move INBOX a Work", "move INBOX b,c Sent"],
             {"INBOX": "", "Work": "w:S a", "Sent": "s b:S c:F"}, stores=0, sends={MOVE: 2}),
    Scenario("copy", TWO, ["copy INBOX a Work"], {**TWO, "Work": "w:S a"}, stores=0,
             sends={COPY: 1}),
    Scenario("copy several", TWO, ["copy INBOX a,b,c Work"], {**TWO, "Work": "w:S a b:S c:F"},
             stores=0, sends={COPY: 1}),
    Scenario("copy to where it is", TWO, ["copy INBOX a INBOX"], {**TWO, "INBOX": "a a b:S c:F"},
             stores=0, sends={COPY: 1}),
    Scenario("copy twice", TWO, ["copy INBOX a Work", "copy INBOX a Work"],
             {**TWO, "Work": "w:S a a"}, stores=0, sends={COPY: 2}),
    Scenario("copy of two that are alike", {"INBOX": "a=x b=x", "Work": "w:S"},
             ["copy INBOX a,b Work"], {"INBOX": "a=x b=x", "Work": "w:S x x"}, stores=0,
             sends={COPY: 1}),
    Scenario("move of what nothing is known by", {"INBOX": "anonymous1 anonymous2", "Work": "w"},
             ["move INBOX anonymous1 Work"], {"INBOX": "anonymous2", "Work": "w anonymous1"},
             stores=0, sends={MOVE: 1}),
    Scenario("move of two alike", {"INBOX": "a=x b=x c:F", "Work": "w d=x"},
             ["move INBOX a Work", "move INBOX b Work"], {"INBOX": "c:F", "Work": "w x x d=x"},
             stores=0, sends={MOVE: 2}),
    Scenario("expunge", TWO, ["expunge INBOX a"], {"INBOX": "b:S c:F", "Work": "w:S"}, stores=1,
             sends={EXPUNGE: 1}),
    Scenario("expunge several", TWO, ["expunge INBOX a,c"], {"INBOX": "b:S", "Work": "w:S"},
             stores=1, sends={EXPUNGE: 1}),
    Scenario("expunge beside what others marked", {"INBOX": "a b:T c:F"}, ["expunge INBOX a"],
             {"INBOX": "b:T c:F"}, stores=1, sends={EXPUNGE: 1}),
    Scenario("append", TWO, ["append Work n"], {**TWO, "Work": "w:S n"}, stores=0,
             sends={APPEND: 1}),
    Scenario("append with flags", TWO, ["append Work n:SD,work"], {**TWO, "Work": "w:S n:SD,work"},
             stores=0, sends={APPEND: 1}),
    Scenario("append several", TWO, ["append Work n1", "append INBOX n2:S", "append Work n3:F"],
             {"INBOX": "a b:S c:F n2:S", "Work": "w:S n1 n3:F"}, stores=0, sends={APPEND: 3}),
    Scenario("append the same twice", TWO, ["append Work n", "append Work n"],
             {**TWO, "Work": "w:S n n"}, stores=0, sends={APPEND: 2}),
    Scenario("append what is there", TWO, ["append INBOX a"], {**TWO, "INBOX": "a a b:S c:F"},
             stores=0, sends={APPEND: 1}),
    Scenario("append what nothing is known by", TWO, ["append Work anonymous7"],
             {**TWO, "Work": "w:S anonymous7"}, stores=0, sends={APPEND: 1}),
    Scenario("odd names of places", {"INBOX": "a b", "Entwürfe": "", "R&D \"x\" 100%": "d"},
             ["move INBOX a Entwürfe", ("copy", "R&D \"x\" 100%", "d", "Entwürfe"),
              ("append", "R&D \"x\" 100%", "n")],
             {"INBOX": "b", "Entwürfe": "a d", "R&D \"x\" 100%": "d n"}, stores=0,
             sends={MOVE: 1, COPY: 1, APPEND: 1}),
    Scenario("high UIDs of places", TWO, ["move INBOX a Work", "copy INBOX c Work", "expunge INBOX b"],
             {"INBOX": "c:F", "Work": "w:S a c:F"}, profile={"first": 4_294_967_200}, stores=1,
             sends={MOVE: 1, COPY: 1, EXPUNGE: 1}),
    Scenario("there is no such", TWO, ["move INBOX 77 Work", "copy INBOX 77 Work",
                                       "expunge INBOX 77", "move INBOX a Nowhere"], TWO,
             errors={1: "GONE", 2: "GONE", 3: "GONE", 4: "GONE"}, stores=0),
)

# --- without the network ------------------------------------------------------------------------

APART = rows(
    Scenario("all kinds offline", THREE,
             offline("move INBOX a Work", "copy INBOX b Sent", "expunge INBOX c", "append Work n:S",
                     "flag Sent s +\\Flagged"),
             {"INBOX": "b:S", "Work": "w:S a n:S", "Sent": "s:F b:S"}, stores=2,
             sends={MOVE: 1, COPY: 1, EXPUNGE: 1, APPEND: 1}),
    Scenario("move twice", THREE, offline("move INBOX a Work", "move Work =a Sent"),
             {"INBOX": "b:S c:F", "Work": "w:S", "Sent": "s a"}, stores=0, sends={MOVE: 1}),
    Scenario("move back", TWO, offline("move INBOX a Work", "move Work =a INBOX"), TWO, stores=0),
    Scenario("move to and fro", THREE,
             offline(*["move INBOX =a Work", "move Work =a INBOX"] * 3, "move INBOX =a Sent"),
             {"INBOX": "b:S c:F", "Work": "w:S", "Sent": "s a"}, stores=0, sends={MOVE: 1}),
    Scenario("flags, move, flags", TWO,
             offline("flag INBOX a +\\Flagged", "move INBOX a Work", "flag Work =a +\\Seen",
                     "flag Work +1 +work"),
             {"INBOX": "b:S c:F", "Work": "w:S a:SF,work"}, stores=3, sends={MOVE: 1}),
    Scenario("move, flags of the other way", TWO,
             offline("flag INBOX c -\\Flagged", "move INBOX c Work", "flag Work =c +\\Flagged",
                     "flag Work =c -\\Flagged +\\Answered"),
             {"INBOX": "a b:S", "Work": "w:S c:R"}, stores=4, sends={MOVE: 1}),
    Scenario("append, move, flag, delete", TWO,
             offline("append INBOX n", "move INBOX =n Work", "flag Work =n +\\Seen",
                     "expunge Work =n"), TWO, stores=0),
    Scenario("append, move, flag", TWO,
             offline("append INBOX n", "move INBOX =n Work", "flag Work =n +\\Seen"),
             {**TWO, "Work": "w:S n:S"}, stores=1, sends={APPEND: 1, MOVE: 1}),
    Scenario("append, flags off", TWO,
             offline("append Work n:SF", "flag Work =n -\\Seen +work", "flag Work +1 +\\Answered"),
             {**TWO, "Work": "w:S n:FR,work"}, stores=2, sends={APPEND: 1}),
    Scenario("append, copy, delete the first", THREE,
             offline("append INBOX n", "copy INBOX =n Work", "copy INBOX =n Sent",
                     "expunge INBOX =n"),
             {**THREE, "Work": "w:S n", "Sent": "s n"}, stores=1,
             sends={APPEND: 2, COPY: 2, EXPUNGE: 1}),
    Scenario("copy, delete the source", TWO, offline("copy INBOX a Work", "expunge INBOX a"),
             {"INBOX": "b:S c:F", "Work": "w:S a"}, stores=1, sends={COPY: 1, EXPUNGE: 1}),
    Scenario("copy, move the source", THREE, offline("copy INBOX a Work", "move INBOX a Sent"),
             {"INBOX": "b:S c:F", "Work": "w:S a", "Sent": "s a"}, stores=0,
             sends={COPY: 1, MOVE: 1}),
    Scenario("copy, move the copy", THREE, offline("copy INBOX a Work", "move Work =a Sent"),
             {**THREE, "Sent": "s a"}, stores=0, sends={COPY: 1, MOVE: 1}),
    Scenario("copy, delete the copy", TWO, offline("copy INBOX a Work", "expunge Work =a"), TWO,
             stores=0),
    Scenario("copy of a copy", THREE,
             offline("copy INBOX a Work", "flag Work =a +\\Flagged", "copy Work =a Sent",
                     "expunge Work =a"), {**THREE, "Sent": "s a:F"}, stores=2,
             sends={COPY: 2, EXPUNGE: 1}),
    Scenario("copy of what was moved", THREE, offline("move INBOX a Work", "copy Work =a Sent"),
             {"INBOX": "b:S c:F", "Work": "w:S a", "Sent": "s a"}, stores=0,
             sends={COPY: 1, MOVE: 1}),
    Scenario("move, delete", TWO, offline("move INBOX a Work", "expunge Work =a"),
             {"INBOX": "b:S c:F", "Work": "w:S"}, stores=1, sends={EXPUNGE: 1}),
    Scenario("flags, delete", TWO, offline("flag INBOX a +\\Seen", "expunge INBOX a"),
             {"INBOX": "b:S c:F", "Work": "w:S"}, stores=2, sends={EXPUNGE: 1}),
    Scenario("exchange", TWO, offline("move INBOX a Work", "move Work w INBOX"),
             {"INBOX": "b:S c:F w:S", "Work": "a"}, stores=0, sends={MOVE: 2}),
    Scenario("move cancelled", TWO,
             offline("move INBOX a Work", "move INBOX b Work", "cancel INBOX a"),
             {"INBOX": "a c:F", "Work": "w:S b:S"}, stores=0, sends={MOVE: 1}),
    Scenario("append cancelled", TWO, offline("append Work n", "cancel Work append"), TWO,
             stores=0),
    Scenario("delete cancelled", TWO, offline("expunge INBOX a", "cancel INBOX a"), TWO, stores=0),
    Scenario("held, confirmed", TWO,
             offline("expunge INBOX a held", "expunge INBOX b held", "confirm INBOX a",
                     "cancel INBOX b"), {"INBOX": "b:S c:F", "Work": "w:S"}, stores=1,
             sends={EXPUNGE: 1}),
    Scenario("move held, confirmed", TWO,
             offline("move INBOX a Work held", "confirm INBOX move"),
             {"INBOX": "b:S c:F", "Work": "w:S a"}, stores=0, sends={MOVE: 1}),
    Scenario("in and out with all kinds", THREE,
             ["offline", "move INBOX a Work", "online", "offline", "append Sent n", "online",
              "offline", "copy INBOX b Sent", "online", "offline", "expunge INBOX c", "online"],
             {"INBOX": "b:S", "Work": "w:S a", "Sent": "s n b:S"}, stores=2,
             sends={MOVE: 2, APPEND: 2, COPY: 2, EXPUNGE: 2}),
)

# --- one thing after the other, each done before the next ---------------------------------------

CHAINS = rows(
    Scenario("append, move, flag, delete; drained", TWO,
             drained("append INBOX n", "move INBOX =n Work", "flag Work =n +\\Seen",
                     "expunge Work =n"), TWO, stores=2, sends={APPEND: 1, MOVE: 1, EXPUNGE: 1}),
    Scenario("append, move, flag, delete; at once", TWO,
             ["append INBOX n", "move INBOX =n Work", "flag Work =n +\\Seen", "expunge Work =n"],
             TWO, stores=4, sends={APPEND: 2, MOVE: 2, EXPUNGE: 2}),
    Scenario("move twice; drained", THREE, drained("move INBOX a Work", "move Work =a Sent"),
             {"INBOX": "b:S c:F", "Work": "w:S", "Sent": "s a"}, stores=0, sends={MOVE: 2}),
    Scenario("move twice; at once", THREE,
             ["move INBOX a Work", "move Work =a Sent", "flag Sent =a +\\Seen"],
             {"INBOX": "b:S c:F", "Work": "w:S", "Sent": "s a:S"}, stores=1, sends={MOVE: 2}),
    Scenario("move back; drained", TWO, drained("move INBOX a Work", "move Work =a INBOX"), TWO,
             stores=0, sends={MOVE: 2}),
    Scenario("move back; at once", TWO, ["move INBOX a Work", "move Work =a INBOX"], TWO, stores=0,
             sends={MOVE: 2}),
    Scenario("by its number", THREE,
             drained("move INBOX a Work", "flag Work +1 +\\Seen", "move Work +1 Sent",
                     "flag Sent +2 +\\Flagged"),
             {"INBOX": "b:S c:F", "Work": "w:S", "Sent": "s a:SF"}, stores=2, sends={MOVE: 2}),
    Scenario("copy, delete the source; drained", TWO,
             drained("copy INBOX a Work", "expunge INBOX a"),
             {"INBOX": "b:S c:F", "Work": "w:S a"}, stores=1, sends={COPY: 1, EXPUNGE: 1}),
    Scenario("copy, delete the source; at once", TWO, ["copy INBOX a Work", "expunge INBOX a"],
             {"INBOX": "b:S c:F", "Work": "w:S a"}, stores=1, sends={COPY: 1, EXPUNGE: 1}),
)

# --- mailboxes ----------------------------------------------------------------------------------

MAILBOXES = rows(
    Scenario("mkbox", TWO, ["mkbox New"], {**TWO, "New": ""}, stores=0, sends={CREATE: 1}),
    Scenario("mkbox below", TWO, ["mkbox Work/2026", "mkbox Work/2026/Läden"],
             {**TWO, "Work/2026": "", "Work/2026/Läden": ""}, stores=0, sends={CREATE: 2}),
    Scenario("mkbox below nothing", TWO, ["mkbox Work/2026/Läden"], TWO, errors={1: "GONE"},
             stores=0),
    Scenario("mkbox, and use", TWO,
             offline("mkbox New", "move INBOX a New", "append New n:S", "copy Work w New"),
             {"INBOX": "b:S c:F", "Work": "w:S", "New": "a n:S w:S"}, stores=0,
             sends={CREATE: 1, MOVE: 1, APPEND: 1, COPY: 1}),
    Scenario("mkbox, renbox, use", TWO,
             offline("mkbox New", "move INBOX a New", "renbox New Newer", "append Newer n"),
             {"INBOX": "b:S c:F", "Work": "w:S", "Newer": "a n"}, stores=0,
             sends={CREATE: 1, RENAME: 1, MOVE: 1, APPEND: 1}),
    Scenario("mkbox, rmbox", TWO, offline("mkbox New", "rmbox New"), TWO, stores=0),
    Scenario("mkbox of what is there", TWO, ["mkbox Work"], TWO, errors={1: "BUSY"}, stores=0),
    Scenario("rmbox", {**TWO, "Old": ""}, ["rmbox Old"], TWO, stores=0, sends={DELETE: 1}),
    Scenario("rmbox with messages", TWO, ["rmbox Work", "rmbox INBOX"], TWO,
             errors={1: "DENIED", 2: "DENIED"}, stores=0),
    Scenario("rmbox after all moved out", TWO, offline("move Work w INBOX", "rmbox Work"),
             {"INBOX": "a b:S c:F w:S"}, stores=0, sends={MOVE: 1, DELETE: 1}),
    Scenario("rmbox after all was deleted", TWO, offline("expunge Work w", "rmbox Work"),
             {"INBOX": "a b:S c:F"}, stores=1, sends={EXPUNGE: 1, DELETE: 1}),
    Scenario("rmbox, mkbox again", {**TWO, "Old": ""},
             drained("rmbox Old", "mkbox Old", "append Old n"), {**TWO, "Old": "n"}, stores=0,
             sends={DELETE: 1, CREATE: 1, APPEND: 1}),
    Scenario("renbox", TWO, ["renbox Work Werk"], {"INBOX": "a b:S c:F", "Werk": "w:S"}, stores=0,
             sends={RENAME: 1}),
    Scenario("renbox with those below", {**TWO, "Work/Old": "o", "Work/Old/Older": "p:S"},
             ["renbox Work Werk"],
             {"INBOX": "a b:S c:F", "Werk": "w:S", "Werk/Old": "o", "Werk/Old/Older": "p:S"},
             stores=0, sends={RENAME: 1}),
    Scenario("renbox below another", THREE, ["renbox Work Sent/Work"],
             {"INBOX": "a b:S c:F", "Sent": "s", "Sent/Work": "w:S"}, stores=0, sends={RENAME: 1}),
    Scenario("renbox twice", TWO, offline("renbox Work Werk", "renbox Werk Opus"),
             {"INBOX": "a b:S c:F", "Opus": "w:S"}, stores=0, sends={RENAME: 1}),
    Scenario("renbox with messages pending", THREE,
             offline("move INBOX a Work", "append Work n", "flag Work w -\\Seen",
                     "renbox Work Werk", "copy INBOX b Werk", "flag Werk =n +\\Seen",
                     "move Werk w Sent"),
             {"INBOX": "b:S c:F", "Werk": "a n:S b:S", "Sent": "s w"}, stores=2,
             sends={MOVE: 2, APPEND: 1, COPY: 1, RENAME: 1}),
    Scenario("renbox, use; at once", TWO,
             ["move INBOX a Work", "renbox Work Werk", "append Werk n", "move Werk =a INBOX",
              "flag Werk w +\\Flagged"], {"INBOX": "a b:S c:F", "Werk": "w:SF n"}, stores=1,
             sends={MOVE: 2, APPEND: 1, RENAME: 1}),
)

# --- servers that can do less -------------------------------------------------------------------

NO_UIDS = {"filter": r"sed -u -e 's/\[\(COPYUID\|APPENDUID\) [^]]*\] *//'"}
WITHOUT = {
    "MOVE": {"disable": "MOVE"},
    "UIDPLUS": {"disable": "UIDPLUS", **NO_UIDS},
    "MOVE, UIDPLUS": {"disable": "MOVE,UIDPLUS", **NO_UIDS},
    "LITERAL+": {"disable": "LITERAL+,LITERAL-"},
    "all of them": {"disable": "MOVE,UIDPLUS,LITERAL+,CONDSTORE,QRESYNC,IDLE,ENABLE,ESEARCH",
                    **NO_UIDS},
}


def less(name, profile, marked):
    """The same on a server without something. marked: what is deleted is only marked there."""
    moves = {MOVE: 2} if "MOVE" not in profile["disable"] else {COPY: 2, EXPUNGE: 2}
    sends = {COPY: 2, **moves}
    yield Scenario(f"move, without {name}", TWO, ["move INBOX a Work"],
                   {"INBOX": ("a:T " if marked and MOVE not in moves else "") + "b:S c:F",
                    "Work": "w:S a"}, profile=profile, stores=1,
                   shown={"INBOX": "b:S c:F"},
                   sends=sends, hidden=[("INBOX", 1)] if marked and MOVE not in moves else [],
                   never=(EXPUNGE,) if marked else ())
    yield Scenario(f"several, without {name}", THREE,
                   offline("move INBOX a,c Work", "copy INBOX b Sent", "append Work n:S",
                           "move Work w Sent", "flag Sent =w +\\Flagged"),
                   {"INBOX": ("a:T c:FT " if marked and MOVE not in moves else "") + "b:S",
                    "Work": "a c:F n:S" + (" w:ST" if marked and MOVE not in moves else ""),
                    "Sent": "s b:S w:SF"}, profile=profile, stores=4,
                   shown={"INBOX": "b:S", "Work": "a c:F n:S"},
                   sends={**sends, COPY: 3, APPEND: 1},
                   hidden=[("INBOX", 1), ("INBOX", 3), ("Work", 1)]
                   if marked and MOVE not in moves else [], never=(EXPUNGE,) if marked else (),
                   slow=marked and MOVE not in moves)
    yield Scenario(f"delete, without {name}", TWO, ["expunge INBOX a"],
                   {"INBOX": ("a:T " if marked else "") + "b:S c:F", "Work": "w:S"},
                   profile=profile, stores=1, shown={"INBOX": "b:S c:F"},
                   sends={} if marked else {EXPUNGE: 1},
                   hidden=[("INBOX", 1)] if marked else [], never=(EXPUNGE,) if marked else ())


LESS = rows(*(scenario for name, profile in WITHOUT.items()
              for scenario in less(name, profile, "UIDPLUS" in profile["disable"])))
ALL_KINDS = ["offline", "move INBOX a Work", "copy INBOX b Work", "append Work n:S", "expunge Work w",
             "flag Work =a +\\Seen", "flag INBOX c +work", "online"]
LESS.update(rows(*(
    Scenario(f"all kinds, {name}", TWO, ALL_KINDS,
             {"INBOX": "b:S c:F,work", "Work": "a:S b:S n:S"}, profile=profile, stores=3,
             sends={MOVE: 1, COPY: 1, APPEND: 1, EXPUNGE: 1})
    for name, profile in {"without CONDSTORE": {"disable": "QRESYNC,CONDSTORE"},
                          "without IDLE": {"disable": "IDLE"},
                          "two connections": {"connections": 2},
                          "four connections": {"connections": 4}}.items())))

# --- others change the same ---------------------------------------------------------------------

MEANWHILE = rows(
    Scenario("move, expunged there", TWO, ["offline", "move INBOX a,b Work", "other theirs", "online"],
             {"INBOX": "c:F", "Work": "w:S b:S"}, {"theirs": expunge("INBOX", "a")}, stores=0,
             sends={MOVE: 2}, failed=[Failed("INBOX", kind="move", words="no longer")]),
    Scenario("copy, expunged there", TWO, ["offline", "copy INBOX a,b Work", "other theirs", "online"],
             {"INBOX": "b:S c:F", "Work": "w:S b:S"}, {"theirs": expunge("INBOX", "a")}, stores=0,
             sends={COPY: 2}, failed=[Failed("INBOX", kind="copy", words="no longer")]),
    Scenario("expunge, expunged there", TWO,
             ["offline", "expunge INBOX a,b", "other theirs", "online"],
             {"INBOX": "c:F", "Work": "w:S"}, {"theirs": expunge("INBOX", "a")}, stores=2,
             sends={EXPUNGE: 2}),
    Scenario("move, moved elsewhere there", THREE,
             ["offline", "move INBOX a Work", "other theirs", "online"],
             {"INBOX": "b:S c:F", "Work": "w:S", "Sent": "s a"}, {"theirs": move("INBOX", "a", "Sent")},
             stores=0, sends={MOVE: 1}, failed=[Failed("INBOX", kind="move", words="no longer")]),
    Scenario("move, moved to the same place there", THREE,
             ["offline", "move INBOX a Work", "other theirs", "online"],
             {"INBOX": "b:S c:F", "Work": "w:S a", "Sent": "s"},
             {"theirs": move("INBOX", "a", "Work")}, stores=0, sends={MOVE: 1}, may_fail=("move",)),
    Scenario("delete, moved elsewhere there", THREE,
             ["offline", "expunge INBOX a", "other theirs", "online"],
             {"INBOX": "b:S c:F", "Work": "w:S", "Sent": "s a"}, {"theirs": move("INBOX", "a", "Sent")},
             stores=1, sends={EXPUNGE: 1}),
    Scenario("move, flags changed there", TWO,
             ["offline", "flag INBOX a +\\Seen", "move INBOX a Work", "other theirs", "online"],
             {"INBOX": "b:S c:F", "Work": "w:S a:SF,home"},
             {"theirs": store("INBOX", "a", "+", "\\Flagged home")}, stores=1, sends={MOVE: 1}),
    Scenario("move, target deleted", TWO,
             ["offline", "move INBOX a Work", "flag INBOX b -\\Seen", "other theirs", "online"],
             {"INBOX": "a b c:F"}, {"theirs": command('DELETE "Work"')}, stores=1,
             failed=[Failed("INBOX", kind="move")]),
    Scenario("append, target deleted", TWO, ["offline", "append Work n", "other theirs", "online"],
             {"INBOX": "a b:S c:F"}, {"theirs": command('DELETE "Work"')}, stores=0,
             sends={APPEND: 1}, failed=[Failed("Work", kind="append")]),
    Scenario("copy, target made anew", TWO, ["offline", "copy INBOX a Work", "other theirs", "online"],
             {"INBOX": "a b:S c:F", "Work": "a"},
             {"theirs": command('DELETE "Work"', 'CREATE "Work"')}, stores=0, sends={COPY: 1}),
    Scenario("move, source mailbox deleted", TWO,
             ["offline", "move Work w INBOX", "other theirs", "online"], {"INBOX": "a b:S c:F"},
             {"theirs": command('DELETE "Work"')}, stores=0, failed=[Failed("Work", kind="move")]),
    Scenario("move, source renewed", TWO, ["offline", "move INBOX a,c Work", "other theirs", "online"],
             {"INBOX": "b:S", "Work": "w:S a c:F"}, {"theirs": renew("INBOX")}, stores=0,
             sends={MOVE: 2}),
    Scenario("copy, source renewed", TWO, ["offline", "copy INBOX a,c Work", "other theirs", "online"],
             {**TWO, "Work": "w:S a c:F"}, {"theirs": renew("INBOX")}, stores=0, sends={COPY: 2}),
    Scenario("delete, renewed", TWO, ["offline", "expunge INBOX a", "other theirs", "online"],
             TWO, {"theirs": renew("INBOX")}, stores=0, failed=[Failed("INBOX", kind="expunge")]),
    Scenario("move, target renewed", TWO,
             ["offline", "move INBOX a Work", "append Work n", "other theirs", "online"],
             {"INBOX": "b:S c:F", "Work": "w:S a n"}, {"theirs": renew("Work")}, stores=0,
             sends={MOVE: 1, APPEND: 1}),
    Scenario("move, target renamed", TWO,
             ["offline", "move INBOX a Work", "other theirs", "online"],
             {"INBOX": "a b:S c:F", "Werk": "w:S"}, {"theirs": command('RENAME "Work" "Werk"')},
             stores=0, failed=[Failed("INBOX", kind="move")]),
    Scenario("others append the same", TWO,
             ["offline", "append Work n", "copy INBOX a Work", "other theirs", "online"],
             {**TWO, "Work": "w:S n n a a"}, {"theirs": both(append("Work", "n"),
                                                           append("Work", "a"))}, stores=0,
             sends={APPEND: 1, COPY: 1},
             # claimed, and killed before it was sent: theirs is taken for ours, as it came after
             # what was known of the mailbox; it is the same letter
             ends=[{**TWO, "Work": "w:S n a a"}, {**TWO, "Work": "w:S n n a"},
                   {**TWO, "Work": "w:S n a"}]),
    Scenario("mkbox, made there", TWO,
             ["offline", "mkbox New", "append New n", "other theirs", "online"],
             {**TWO, "New": "n"}, {"theirs": command('CREATE "New"')}, stores=0,
             sends={CREATE: 1, APPEND: 1}),
    Scenario("rmbox, removed there", {**TWO, "Old": ""},
             ["offline", "rmbox Old", "other theirs", "online"], TWO,
             {"theirs": command('DELETE "Old"')}, stores=0, sends={DELETE: 1}),
    Scenario("rmbox, filled there", {**TWO, "Old": ""},
             ["offline", "rmbox Old", "other theirs", "online"], {**TWO, "Old": "n"},
             {"theirs": append("Old", "n")}, stores=0, failed=[Failed("Old", kind="rmbox")]),
    Scenario("renbox, target made there", TWO,
             ["offline", "renbox Work Werk", "other theirs", "online"],
             {**TWO, "Werk": ""}, {"theirs": command('CREATE "Werk"')}, stores=0,
             sends={RENAME: 1}, failed=[Failed("Work", kind="renbox")]),
    Scenario("renbox, gone there", TWO, ["offline", "renbox Work Werk", "other theirs", "online"],
             {"INBOX": "a b:S c:F"}, {"theirs": command('DELETE "Work"')}, stores=0,
             sends={RENAME: 1}, failed=[Failed("Work", kind="renbox")]),
    Scenario("renbox, renamed so there", TWO,
             ["offline", "renbox Work Werk", "other theirs", "online"],
             {"INBOX": "a b:S c:F", "Werk": "w:S"}, {"theirs": command('RENAME "Work" "Werk"')},
             stores=0, sends={RENAME: 1}),
    Scenario("renbox, others put something in", TWO,
             ["offline", "renbox Work Werk", "append Werk n", "other theirs", "online"],
             {"INBOX": "a b:S c:F", "Werk": "w:S m n"}, {"theirs": append("Work", "m")}, stores=0,
             sends={RENAME: 1, APPEND: 1}),
    Scenario("target is read-only", {**TWO, "Board": "m"},
             ["offline", "copy INBOX a Board", "move INBOX c Board", "append Board n",
              "append Work o", "other theirs", "online"], {**TWO, "Work": "w:S o", "Board": "m"},
             {"theirs": acl("Board", "owner lr")},
             {**ACL, "acl": {"INBOX": ALL_RIGHTS, "Work": ALL_RIGHTS, "Board": ALL_RIGHTS}},
             stores=0, sends={APPEND: 2, COPY: 1, MOVE: 1},
             failed=[Failed("INBOX", kind="copy"), Failed("INBOX", kind="move"),
                     Failed("Board", kind="append")]),
    Scenario("nothing may be deleted", {**TWO, "Board": "m n"},
             ["offline", "expunge Board m", "move Board n Work", "other theirs", "online"],
             {**TWO, "Board": "m n"}, {"theirs": acl("Board", "owner lrsi")},
             {**ACL, "acl": {"INBOX": ALL_RIGHTS, "Work": ALL_RIGHTS, "Board": ALL_RIGHTS}},
             stores=2, sends={MOVE: 1, EXPUNGE: 2},
             failed=[Failed("Board", kind="expunge"), Failed("Board", kind="move")], slow=True),
    Scenario("over quota, taken back", TWO,
             ["offline", "append Work n", "copy INBOX a Work", "flag INBOX a +\\Seen", "other full",
              "online", "sync *", "offline", "cancel Work append", "cancel INBOX copy", "online"],
             {"INBOX": "a:S b:S c:F", "Work": "w:S"}, {"full": quota(4)}, QUOTA, stores=2,
             sends={APPEND: 2, COPY: 2}, whole_only=True),  # what is being sent cannot be taken back
)

# --- many ---------------------------------------------------------------------------------------

MANY = 300


def many(prefix, letters=lambda i: "", first=0):
    return " ".join(f"{prefix}{i:03d}{letters(i)}" for i in range(first, MANY))


CROWDS = rows(
    Scenario("move many", {"INBOX": many("m", lambda i: ":S" * (i % 2)), "Work": "w"},
             offline(f"move INBOX 1:{MANY} Work"),
             {"INBOX": "", "Work": "w " + many("m", lambda i: ":S" * (i % 2))}, stores=0,
             sends={MOVE: 1}, heavy=True),
    Scenario("copy many, delete half", {"INBOX": many("m"), "Work": "w"},
             offline(f"copy INBOX 1:{MANY} Work", f"expunge INBOX 1:{MANY // 2}"),
             {"INBOX": many("m", first=MANY // 2), "Work": "w " + many("m")}, stores=1,
             sends={COPY: 1, EXPUNGE: 1}, heavy=True),
    Scenario("append many", TWO, offline(*(f"append Work n{i:02d}" for i in range(30))),
             {**TWO, "Work": "w:S " + " ".join(f"n{i:02d}" for i in range(30))}, stores=0,
             sends={APPEND: 30}, heavy=True),
)

TABLES = {"Places": PLACES, "Apart": APART, "Chains": CHAINS, "Mailboxes": MAILBOXES, "Less": LESS,
          "Meanwhile": MEANWHILE, "Crowds": CROWDS}
