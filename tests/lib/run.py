#!/usr/bin/env python3
"""Runs the suites and counts single test cases.

    run.py [-k PATTERN] [-j N] [SUITE...]

Suites: layers, unit and the other suites of meson (in $IMAPFS_BUILD, default build-test), server,
crash, mount. None named: all. The last line is "N passed, N failed" or "N passed, N failed, N skipped".
"""
import argparse
import collections
import importlib
import json
import os
import re
import subprocess
import sys
import time
import traceback
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import mount
import proc

PYTHON_SUITES = ("server", "crash", "mount")
COLOUR = sys.stdout.isatty() and not os.environ.get("NO_COLOR")


class Tally:
    """Counts of one suite."""

    def __init__(self, suite):
        self.suite, self.started = suite, time.monotonic()
        self.passed = self.failed = self.skipped = 0
        self.failures = []
        self.counts = collections.Counter()  # of what tests say they did, by its name

    def count(self, verdict, name, note=""):
        word = {"passed": "ok  ", "failed": "FAIL", "skipped": "skip"}[verdict]
        setattr(self, verdict, getattr(self, verdict) + 1)
        if verdict == "failed":
            self.failures.append(name)
            word = f"\033[31m{word}\033[0m" if COLOUR else word
        print(f"{word} {name}{'  ' + note if note else ''}", flush=True)

    def line(self):
        counts = ", ".join(f"{number:,} {name}" for name, number in self.counts.items())
        return (f"{self.suite:<12} {self.passed:5} passed {self.failed:5} failed "
                f"{self.skipped:5} skipped {time.monotonic() - self.started:8.1f} s"
                f"{'  ' + counts if counts else ''}")


# --- layers -------------------------------------------------------------------------------------

def run_layers(tally):
    done = subprocess.run([sys.executable, os.path.join(proc.ROOT, "scripts", "check-layers")],
                          capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stdout + done.stderr)
    tally.count("failed" if done.returncode else "passed", "layers", done.stdout.split("\n")[-2])


# --- meson --------------------------------------------------------------------------------------

CMOCKA = re.compile(r"^\[\s+(OK|FAILED|SKIPPED)\s+\] (?!\d+ test\(s\))(.+)$", re.MULTILINE)
VERDICT = {"OK": "passed", "FAILED": "failed", "SKIPPED": "skipped"}


def meson_suites():
    """Names of meson's own suites in the build."""
    listing = subprocess.run(["meson", "introspect", mount.BUILD, "--tests"], check=True,
                             capture_output=True, text=True).stdout
    return {suite.split(":")[-1] for test in json.loads(listing) for suite in test["suite"]}


def run_meson(tally):
    log = os.path.join(mount.BUILD, "meson-logs", f"testlog-{tally.suite}.json")
    if os.path.exists(log):
        os.unlink(log)
    env = dict(os.environ)
    corpus = os.path.join(proc.ROOT, "..", "shared", "corpus")
    if os.path.isdir(corpus):
        env.setdefault("IMAPFS_CORPUS", corpus)
    subprocess.run(["meson", "test", "-C", mount.BUILD, "--no-rebuild", "--suite", tally.suite,
                    "--num-processes", "4", "--logbase", f"testlog-{tally.suite}", "--quiet",
                    "--timeout-multiplier", os.environ.get("IMAPFS_PATIENCE") or "1"],
                   stdout=subprocess.DEVNULL, env=env, check=False)
    with open(log) as lines:
        for line in lines:
            count_meson_test(tally, json.loads(line))


def count_meson_test(tally, test):
    """cmocka's own cases where the output names them, else the program as one case."""
    output = test.get("stdout", "") + test.get("stderr", "")
    name = test["name"].split(" / ")[-1]
    cases = {case: verdict for verdict, case in CMOCKA.findall(output)}
    for case, verdict in cases.items():
        tally.count(VERDICT[verdict], f"{name}:{case}")
    bad = test["result"] not in ("OK", "SKIP", "EXPECTEDFAIL")
    if not cases or (bad and "FAILED" not in cases.values()):
        verdict = "failed" if bad else "skipped" if test["result"] == "SKIP" else "passed"
        tally.count(verdict, name, f"{test['result']} {test['duration']:.1f} s")
    if bad:
        print("    " + output[-6000:].replace("\n", "\n    "))


# --- python -------------------------------------------------------------------------------------

class Result(unittest.TestResult):
    def __init__(self, tally):
        super().__init__()
        self.tally, self.started = tally, time.monotonic()
        self.counted = False  # a test may fail in several subtests, and in its cleanup

    def startTest(self, test):
        super().startTest(test)
        self.started, self.counted = time.monotonic(), False

    def name(self, test):
        return re.sub(r"^(test_\w+\.)", f"{self.tally.suite}.", test.id())

    def count(self, verdict, test, note=""):
        counts = getattr(test, "counts", {})
        self.tally.counts.update(counts)
        notes = [f"{time.monotonic() - self.started:.2f} s", *getattr(test, "notes", []),
                 ", ".join(f"{number} {name}" for name, number in counts.items()), note]
        self.tally.count(verdict, self.name(test), "; ".join(filter(None, notes)))

    def addSuccess(self, test):
        self.count("passed", test)

    def addFailure(self, test, err):
        if not self.counted:
            self.count("failed", test)
        else:
            print(f"     {self.name(test)}")
        self.counted = not isinstance(test, unittest.suite._ErrorHolder)
        print("".join(traceback.format_exception(*err)))
        for each in getattr(getattr(test, "test_case", test), "mounts_made", []):
            print(f"--- {each.log}\n{each.output()[-2000:]}", flush=True)

    addError = addFailure

    def addSkip(self, test, reason):
        self.count("skipped", test, reason)

    def addSubTest(self, test, subtest, err):
        if err:
            self.addFailure(subtest, err)


def load(suite, pattern=None):
    """{class name: its tests} of one folder, those whose name matches."""
    folder = os.path.join(proc.ROOT, "tests", suite)
    sys.path.insert(0, folder)
    classes = {}
    for file in sorted(os.listdir(folder)):
        if not re.fullmatch(r"test_\w+\.py", file):
            continue
        module = importlib.import_module(file[:-3])
        loader = unittest.TestLoader()
        if pattern:
            loader.testNamePatterns = [f"*{pattern}*"]
        for tests in loader.loadTestsFromModule(module):
            if tests.countTestCases():
                first = next(iter(tests))
                classes[f"{first.__module__}.{type(first).__name__}"] = tests
    return classes


def weight(tests):
    return getattr(type(next(iter(tests))), "weight", 0)


def run_class(suite, name, pattern, counts):
    """In a process of its own: runs one class and leaves its counts in a file."""
    tally = Tally(suite)
    load(suite, pattern)[name].run(Result(tally))
    proc.end_all()
    with open(counts, "w") as file:
        json.dump([tally.passed, tally.failed, tally.skipped, tally.failures, tally.counts], file)


class Worker:
    """The process that runs one class."""

    def __init__(self, tally, name, options, folder):
        self.tally, self.name = tally, name
        self.counts = os.path.join(folder, f"{name}.json")
        self.process = proc.Process(
            [sys.executable, os.path.abspath(__file__), "--class", name, "--counts", self.counts,
             *(["-k", options.pattern] if options.pattern else []), tally.suite],
            os.path.join(folder, f"{name}.log"))

    def finish(self):
        """Takes over its counts and shows what it printed."""
        self.process.end()
        print(self.process.output(), end="", flush=True)
        try:
            with open(self.counts) as file:
                passed, failed, skipped, failures, counts = json.load(file)
        except (OSError, ValueError):
            self.tally.count("failed", self.name, "its process ended before its tests")
            return
        self.tally.passed += passed
        self.tally.failed += failed
        self.tally.skipped += skipped
        self.tally.failures += failures
        self.tally.counts.update(counts)


def run_python(tally, options):
    if tally.suite != "crash" and not os.access("/dev/fuse", os.R_OK | os.W_OK):
        tally.count("skipped", tally.suite, "no /dev/fuse here")
        return
    classes, running = load(tally.suite, options.pattern), []
    waiting = sorted(classes, key=lambda name: -weight(classes[name]))  # what is long first
    folder = proc.workdir("results")
    while waiting or running:
        while waiting and len(running) < options.jobs:
            running.append(Worker(tally, waiting.pop(0), options, folder))
        for worker in [each for each in running if each.process.code is not None]:
            running.remove(worker)
            worker.finish()
        time.sleep(0.05)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-k", dest="pattern", help="only tests of this name (server, crash, mount)")
    parser.add_argument("-j", dest="jobs", type=int, default=max(2, os.cpu_count() or 1),
                        help="classes of tests at the same time (server, crash, mount)")
    parser.add_argument("--class", dest="one_class", help=argparse.SUPPRESS)
    parser.add_argument("--counts", help=argparse.SUPPRESS)
    parser.add_argument("suites", nargs="*")
    options = parser.parse_args()
    proc.end_on_signals()
    if options.one_class:
        run_class(options.suites[0], options.one_class, options.pattern, options.counts)
        return 0
    meson = sorted(meson_suites(), key=lambda name: (name != "unit", name))
    known = ["layers", *meson, *PYTHON_SUITES]
    unknown = [name for name in options.suites if name not in known]
    if unknown:
        parser.error(f"no suite {', '.join(unknown)}; there are: {', '.join(known)}")
    tallies = []
    for suite in options.suites or known:
        print(f"== {suite}", flush=True)
        tallies.append(Tally(suite))
        if suite == "layers":
            run_layers(tallies[-1])
        elif suite in PYTHON_SUITES:
            run_python(tallies[-1], options)
        else:
            run_meson(tallies[-1])
        tallies[-1].summary = tallies[-1].line()
    return report(tallies)


def report(tallies):
    proc.end_all()
    print("\n== summary")
    for tally in tallies:
        print(tally.summary)
    for tally in tallies:
        for name in tally.failures:
            print(f"FAILED {name}")
    passed, failed, skipped = (sum(getattr(t, kind) for t in tallies)
                               for kind in ("passed", "failed", "skipped"))
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""),
          flush=True)
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted")
