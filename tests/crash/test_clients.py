"""Several clients at random, and the model that checks what became of it. scripts/crash clients
plays longer."""
import os
import unittest

import clients
import model
import world


class Clients(unittest.TestCase):
    def setUp(self):
        self.notes = []
        if not os.access(world.servers.DOVECOT_IMAP, os.X_OK):
            self.skipTest("no Dovecot here")
        world.become_subreaper()

    def check(self, seed):
        checked, counts = clients.play(seed, 400)
        self.notes.append(f"{counts['flag']} flags, {checked.places_seen} placed, {checked.barriers} checks")

    def test_seed_101(self):
        self.check(101)

    def test_seed_102(self):
        self.check(102)


def barrier(flags, stored=None, shown=None, pending=(), failed=(), client="A", box="I", more=()):
    """All is healed: message m of box I has flags on the server, and so at the client."""
    server = {box: {"m": flags}} if flags is not None else {"I": {}}
    for where, name, its in more:
        server.setdefault(where, {})[name] = its
    return {"do": "barrier", "server": server,
            "clients": {client: {"stored": server if stored is None else {"I": {"m": stored}},
                                 "shown": server if shown is None else {"I": {"m": shown}},
                                 "pending": list(pending), "failed": list(failed)}}}


def flag(client, plus=(), minus=(), result="ok"):
    return {"do": "flag", "client": client, "key": "m", "set": list(plus),
            "clear": list(minus), "result": result}


def place(client, what, source, to, result="ok", key="m", flags=()):
    return {"do": "place", "client": client, "what": what, "key": key, "from": source, "to": to,
            "result": result, "flags": list(flags)}


DRAINED = {"do": "drained", "client": "A"}
EXPUNGED = place("C", "expunge", "I", None)
MOVED = place("A", "move", "I", "J")
NEW = place("A", "append", None, "J", key="n", flags=["y"])


def moved(client, uid=1, to_uid=1, box="I"):
    return {"do": "moved", "client": client, "key": "m", "box": box, "uid": uid, "to_uid": to_uid}


BOTH = [MOVED, place("C", "move", "I", "K")]
DOUBLED = barrier(["x"], box="J", more=[("K", "m", ["x"])])


def sent(plus, *flags, client="A"):
    return {"do": "sent", "client": client, "key": "m", "plus": plus, "flags": list(flags)}


class Model(unittest.TestCase):
    """What it must let pass, and what it must not."""
    GOOD = {
        "nothing": [barrier(["x"])],
        "a change": [flag("A", ["y"]), barrier(["x", "y"])],
        "not made": [flag("A", ["y"], result="none"), barrier(["x"])],
        "the last of one client": [flag("A", ["y"]), flag("A", [], ["y"]), barrier(["x"])],
        "two clients, either": [flag("A", ["y"]), flag("C", [], ["y"]), barrier(["x"])],
        "two clients, or": [flag("A", ["y"]), flag("C", [], ["y"]), barrier(["x", "y"])],
        "drained, then another": [flag("A", ["y"]), DRAINED, flag("C", [], ["y"]), barrier(["x"])],
        "set, and killed, so to what is not known": [
            flag("A", ["y"], ["y"]), {"do": "shown", "client": "A", "key": "m", "since": 0,
                                      "flags": ["x"]}, barrier(["x", "y"])],
        "the second check": [flag("A", ["y"]), barrier(["x", "y"]), barrier(["x", "y"])],
        "expunged": [flag("A", ["y"]), EXPUNGED, flag("A", ["x"], result="gone"), barrier(None)],
        "parked": [flag("A", ["y"]), barrier(["x"], failed=[["flags", "m", ["y"], []]])],
        "asked for": [flag("A", ["y"]), sent(True, "y"), barrier(["x", "y"])],
        "moved": [MOVED, barrier(["x"], box="J")],
        "moved with its flags": [flag("A", ["y"]), MOVED, flag("A", [], ["x"]),
                                 barrier(["y"], box="J")],
        "moved by both": [MOVED, place("C", "move", "I", "K"), barrier(["x"], box="K")],
        "moved by both at once, and so did the server": [*BOTH, moved("A"), moved("C"), DOUBLED],
        "so it may have": [*BOTH, moved("A", to_uid=None), moved("C"), DOUBLED],
        "of a mailbox that was renamed": [
            MOVED, moved("A"), {"do": "renamed", "from": "I", "to": "Q"},
            place("C", "move", "Q", "K"), moved("C", box="Q"), DOUBLED],
        "moved, expunged there": [MOVED, EXPUNGED, barrier(None)],
        "moved, or expunged there": [MOVED, EXPUNGED, barrier(["x"], box="J")],
        "moved elsewhere, the flag is lost": [flag("A", ["y"]), place("C", "move", "I", "K"),
                                              barrier(["x"], box="K")],
        "copied": [place("A", "copy", "I", "J"), barrier(["x"], more=[("J", "m", ["x"])])],
        "copied to where it is": [place("A", "copy", "I", "I"),
                                  barrier(["x"], more=[("I", "m#2", ["x"])])],
        "copied, expunged there": [place("A", "copy", "I", "J"), EXPUNGED, barrier(None)],
        "appended": [NEW, barrier(["x"], more=[("J", "n", ["y"])])],
        "append parked": [NEW, barrier(["x"], failed=[["append", "n", [], []]])],
        "in a mailbox that was renamed": [MOVED, {"do": "renamed", "from": "J", "to": "K"},
                                          place("A", "copy", "J", "J"),
                                          barrier(["x"], box="K", more=[("K", "m#2", ["x"])])],
        "expunge asked for": [place("A", "expunge", "I", None), sent(True, "\\Deleted"),
                              {"do": "expunged", "client": "A", "key": "m"}, barrier(None)],
    }
    BAD = {
        "lost change": [flag("A", ["y"]), barrier(["x"])],
        "lost after a drain": [flag("C", [], ["y"]), flag("A", ["y"]), DRAINED, barrier(["x"])],
        "not the last of one client": [flag("A", ["y"]), flag("A", [], ["y"]),
                                       barrier(["x", "y"])],
        "came back": [flag("A", ["y"]), DRAINED, flag("C", [], ["y"]), barrier(["x", "y"])],
        "from nowhere": [barrier(["x", "z"])],
        "went away": [barrier([])],
        "message lost": [barrier(None)],
        "message came back": [EXPUNGED, barrier(["x"])],
        "gone, but there": [flag("A", ["y"], result="gone"), barrier(["x"])],
        "still pending": [flag("A", ["y"]), barrier(["x", "y"], pending=["1"])],
        "stored otherwise": [barrier(["x"], stored=[])],
        "shown otherwise": [barrier(["x"], shown=["x", "y"])],
        "nobody asked": [sent(True, "y"), barrier(["x"])],
        "asked the other way": [flag("A", ["y"]), sent(False, "y"), barrier(["x", "y"])],
        "own change not shown": [flag("A", ["y"]), {"do": "shown", "client": "A", "key": "m",
                                                    "since": 0, "flags": ["x"]}],
        "move not made": [MOVED, barrier(["x"])],
        "move doubled": [MOVED, barrier(["x"], more=[("J", "m", ["x"])])],
        "move lost": [MOVED, barrier(None)],
        "moved without its flags": [MOVED, barrier([], box="J")],
        "moved by both, lost": [MOVED, place("C", "move", "I", "K"), barrier(None)],
        "moved by both, doubled": [MOVED, place("C", "move", "I", "K"),
                                   barrier(["x"], box="J", more=[("K", "m", ["x"])])],
        "moved by both, doubled by one": [*BOTH, moved("C"), moved("C"), DOUBLED],
        "moved by both, one after the other, doubled": [
            *BOTH, moved("A"), moved("C", uid=2, box="J"), DOUBLED],
        "moved by both at once, and once more": [
            *BOTH, moved("A"), moved("C"),
            barrier(["x"], box="J", more=[("J", "m#2", ["x"]), ("K", "m", ["x"])])],
        "moved by both, to where nobody put it": [MOVED, place("C", "move", "I", "K"),
                                                  barrier(["x"], box="L")],
        "copied twice": [place("A", "copy", "I", "J"),
                         barrier(["x"], more=[("J", "m", ["x"]), ("J", "m#2", ["x"])])],
        "not copied": [place("A", "copy", "I", "J"), barrier(["x"])],
        "append doubled": [NEW, barrier(["x"], more=[("J", "n", ["y"]), ("J", "n#2", ["y"])])],
        "append lost": [NEW, barrier(["x"])],
        "append without its flags": [NEW, barrier(["x"], more=[("J", "n", [])])],
        "appended from nowhere": [barrier(["x"], more=[("J", "n", ["y"])])],
        "expunge not asked for": [{"do": "expunged", "client": "A", "key": "m"}, barrier(["x"])],
        "tidied, and a client does not know": [
            {**barrier(["x"], stored=["x", "y"]), "do": "tidied"}],
        "a mailbox more": [barrier(["x"], stored=["x"], more=[("J", "q", [])])],
    }

    def test_good(self):
        for name, events in self.GOOD.items():
            with self.subTest(name):
                model.check([barrier(["x"]), *events])

    def test_bad(self):
        for name, events in self.BAD.items():
            with self.subTest(name), self.assertRaises(model.Violation):
                model.check([barrier(["x"]), *events])
