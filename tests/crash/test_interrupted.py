"""Every scenario of scenarios.py, whole and killed at each of its steps; slices of the other ways.
scripts/crash has all of it."""
import os
import unittest

import run
import scenarios
import world

HOURS = bool(os.environ.get("IMAPFS_LONG"))


class Interrupted(unittest.TestCase):
    table = {}

    def setUp(self):
        self.notes = []
        if not os.access(world.DRIVER, os.X_OK):
            self.fail(f"{world.DRIVER} is not built")
        if not os.access(world.servers.DOVECOT_IMAP, os.X_OK):
            self.skipTest("no Dovecot here")
        world.become_subreaper()

    def check(self, scenario, modes, stride=1):
        interruptions, runs = run.run(scenario, modes, stride)
        self.notes.append(f"{interruptions} interruptions, {runs} runs")


def class_of(name, table):
    """A test a scenario. They run in a process of their own, a class each."""
    members = {}
    for scenario in table.values():
        word = "".join(c if c.isalnum() else "_" for c in scenario.name)

        def test(self, scenario=scenario):
            self.check(scenario, ["points"])
            # what is alike in all of them is looked at in a few, from another place in each
            self.check(scenario, ["power"], 3)
            self.check(scenario, ["out"], 9)
            self.check(scenario, ["in"], 61)
        members[f"test_{word}"] = test
    return type(name, (Interrupted,), members)


Alone = class_of("Alone", scenarios.ALONE)
Offline = class_of("Offline", scenarios.OFFLINE)
Servers = class_of("Servers", scenarios.SERVERS)
Others = class_of("Others", scenarios.OTHERS)
Renewed = class_of("Renewed", scenarios.RENEWED)
Permits = class_of("Permits", scenarios.PERMITS)
Batches = class_of("Batches", scenarios.BATCHES)
del Interrupted
