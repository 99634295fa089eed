"""Connections that are cut at some of the bytes of cuts.py; scripts/crash cuts has all of them."""
import collections
import os
import unittest

import cuts
import world

PLACES = 4  # of each direction


class Cuts(unittest.TestCase):
    weight = 30

    def setUp(self):
        self.counts = collections.Counter()
        if not os.access(world.servers.DOVECOT_IMAP, os.X_OK):
            self.skipTest("no Dovecot here")
        world.become_subreaper()

    def check(self, kind, name, hows, places=PLACES, by_itself=False):
        runner = cuts.Cuts(cuts.DIALOGUES[name], kind, by_itself)
        self.addCleanup(runner.close)
        up, down, up_before, down_before = runner.sizes()
        for number, how in enumerate(hows):
            for direction, first, last in (("up", up_before, up), ("down", down_before, down)):
                step = max(1, (last - first) // places)
                for n in range(first + 1 + number * step // len(hows), last + 1, step):
                    runner.cut(direction, n, how)
        self.counts.update(cuts=runner.cuts, runs=runner.runs)
        self.assertGreater(runner.cuts, places)

    def test_several(self):
        self.check("dovecot", "several", ("fin", "rst", "stall"))

    def test_with_others(self):
        self.check("dovecot", "with others", ("fin", "rst"))

    def test_without_condstore(self):
        self.check("dovecot", "without CONDSTORE", ("fin",))

    def test_one_refused(self):
        self.check("dovecot", "one refused", ("rst",))

    def test_move(self):
        self.check("dovecot", "move", ("fin", "rst", "stall"))

    def test_copy(self):
        self.check("dovecot", "copy", ("fin", "stall"))

    def test_append(self):
        self.check("dovecot", "append", ("fin", "rst", "stall"))

    def test_all_kinds(self):
        self.check("dovecot", "all kinds", ("fin", "rst"))

    def test_mailboxes(self):
        self.check("dovecot", "mailboxes", ("rst",))

    def test_without_move(self):
        self.check("dovecot", "move, without MOVE", ("fin",))

    def test_without_uidplus(self):
        self.check("dovecot", "placed, without UIDPLUS", ("fin",))

    def test_comes_back_by_itself(self):
        self.check("dovecot", "one flag", ("fin", "rst"), 2, True)


class CutsAndOthers(Cuts):
    """Another client does something between the cut and the next connection."""

    def check(self, name, places=2):
        runner = cuts.CutsAndOthers(cuts.AFTER[name])
        self.addCleanup(runner.close)
        up, down, up_before, down_before = runner.sizes()
        for direction, first, last in (("up", up_before, up), ("down", down_before, down)):
            for n in range(first + 7, last + 1, max(1, (last - first) // places)):
                runner.cut(direction, n, "rst")
        self.counts.update(cuts=runner.cuts, runs=runner.runs)
        self.assertGreater(runner.cuts, 0)


for _name in [name for name in vars(Cuts) if name.startswith("test_")]:
    setattr(CutsAndOthers, _name, None)
for _name in cuts.AFTER:
    setattr(CutsAndOthers, "test_" + "".join(c if c.isalnum() else "_" for c in _name),
            lambda self, name=_name: self.check(name))


class Tcp(Cuts):
    """Where the other side hears of it, too."""

    def test_tls(self):
        self.check("tls", "several", ("fin", "rst"))

    def test_cyrus(self):
        if os.getuid():
            self.skipTest("Cyrus needs root")
        self.check("cyrus", "several", ("fin", "rst"))

    def test_cyrus_places(self):
        if os.getuid():
            self.skipTest("Cyrus needs root")
        self.check("cyrus", "all kinds", ("rst",), 2)

    test_several = test_with_others = test_without_condstore = None
    test_one_refused = test_comes_back_by_itself = test_move = test_copy = test_append = None
    test_all_kinds = test_mailboxes = test_without_move = test_without_uidplus = None
