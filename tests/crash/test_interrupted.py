"""Every scenario of scenarios.py, whole, and killed at some of its fault points and at some of the
places of the other ways. scripts/crash has all of them."""
import collections
import os
import unittest

import interrupt
import scenarios
import world


class Interrupted(unittest.TestCase):
    weight = 0  # how long it takes, beside the others

    def setUp(self):
        self.counts = collections.Counter()
        if not os.access(world.servers.DOVECOT_IMAP, os.X_OK):
            self.skipTest("no Dovecot here")
        world.become_subreaper()

    def check(self, scenario, function):
        runner = interrupt.Runner(scenario)
        self.addCleanup(runner.close)
        function(runner)
        self.counts.update(interruptions=runner.interruptions, runs=runner.runs)

    def check_kills(self, scenario):
        self.check(scenario, kills)
        self.counts["scenarios"] = 1


def kills(runner):
    """Whole, and interrupted at a few places, others in each scenario."""
    out, into, out_before, in_before = runner.whole()
    if runner.scenario.whole_only:
        return
    number = sum(map(ord, runner.scenario.name))
    stride = 60 if runner.scenario.heavy else 12 if runner.scenario.slow else 4
    runner.each("*", ("kill", "kill", "kill", "power")[number % 4], 1 + number % stride, stride)
    if number % 2:
        runner.some("wire.out", out_before + 1, out, 3)
    else:
        runner.some("wire.in", in_before + 1, into, 3)


def class_of(name, table):
    """A test a scenario. Classes run at the same time, each in a process of its own."""
    tests = {}
    for scenario in table.values():
        word = "".join(c if c.isalnum() else "_" for c in scenario.name)
        tests[f"test_{word}"] = lambda self, scenario=scenario: self.check_kills(scenario)
    return type(name, (Interrupted,), {"weight": len(tests), **tests})


globals().update({name: class_of(name, table) for name, table in scenarios.TABLES.items()})


class Otherwise(Interrupted):
    """A few scenarios in the ways that take longer."""

    def test_killed_again_while_it_recovers(self):
        self.check(scenarios.OFFLINE["offline"], lambda runner: runner.twice(4))
        self.check(scenarios.RENEWED["renewed"], lambda runner: runner.twice(7))

    def test_killed_at_writes_of_the_database(self):
        self.check(scenarios.OFFLINE["offline"], lambda runner: runner.each("disk.*", stride=9))
        self.check(scenarios.OTHERS["one of several expunged"],
                   lambda runner: runner.each("disk.*", "power", stride=17))

    def test_errors_of_the_disk(self):
        def errors(runner):
            for kind in ("EIO", "ENOSPC"):
                runner.each_broken("*", kind, stride=11)
                runner.each_broken("disk.*", kind, stride=83)
            runner.each_broken("disk.*", "ENOSPC+", stride=127)
        self.check(scenarios.OFFLINE["offline"], errors)


del Interrupted
