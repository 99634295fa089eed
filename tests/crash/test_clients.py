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
        checked, counts = clients.play(seed, 800)
        self.notes.append(f"{counts['flag']} changes, {checked.barriers} checks")

    def test_seed_101(self):
        self.check(101)

    def test_seed_102(self):
        self.check(102)


def barrier(flags, stored=None, shown=None, pending=(), failed=(), client="A"):
    """All is healed: message m of box I has flags on the server, and so at the client."""
    server = {"I": {"m": flags}} if flags is not None else {"I": {}}
    return {"do": "barrier", "server": server,
            "clients": {client: {"stored": server if stored is None else {"I": {"m": stored}},
                                 "shown": server if shown is None else {"I": {"m": shown}},
                                 "pending": list(pending), "failed": list(failed)}}}


def flag(client, plus=(), minus=(), result="ok"):
    return {"do": "flag", "client": client, "box": "I", "key": "m", "set": list(plus),
            "clear": list(minus), "result": result}


DRAINED = {"do": "drained", "client": "A"}
EXPUNGED = {"do": "expunge", "box": "I", "key": "m"}


def sent(plus, *flags, client="A"):
    return {"do": "sent", "client": client, "box": "I", "key": "m", "plus": plus,
            "flags": list(flags)}


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
        "the second check": [flag("A", ["y"]), barrier(["x", "y"]), barrier(["x", "y"])],
        "expunged": [flag("A", ["y"]), EXPUNGED, flag("A", ["x"], result="gone"), barrier(None)],
        "parked": [flag("A", ["y"]), barrier(["x"], failed=[["I", "m", ["y"], []]])],
        "asked for": [flag("A", ["y"]), sent(True, "y"), barrier(["x", "y"])],
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
        "own change not shown": [flag("A", ["y"]), {"do": "shown", "client": "A", "box": "I",
                                                    "key": "m", "since": 0, "flags": ["x"]}],
    }

    def test_good(self):
        for name, events in self.GOOD.items():
            with self.subTest(name):
                model.check([barrier(["x"]), *events])

    def test_bad(self):
        for name, events in self.BAD.items():
            with self.subTest(name), self.assertRaises(model.Violation):
                model.check([barrier(["x"]), *events])
