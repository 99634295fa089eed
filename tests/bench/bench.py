#!/usr/bin/env python3
"""What scripts/bench runs: workloads side by side for imapfs and others, and a table of them.

    bench.py [-k NAME]... [--runs N] [--quick] [--readme]

A workload's result replaces its last one in build/bench/results.json; the table and the picture are
made of all results there, so that workloads can be run one at a time.
"""
import argparse
import dataclasses
import os
import subprocess
import sys
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "lib")]

import account
import peers
import picture
import proc
import report
import settings as sizes
import workloads


README = """## Beside others

`scripts/bench` makes mail of real sizes, serves it by Dovecot behind an emulated link, and lets imapfs,
mbsync, sshfs on the server's Maildir, and a local copy do the same work in the same run. Answers are
checked before a time counts; what is cold starts with an empty cache and a new mount. The limit is the
bytes as the server has them at the link's bandwidth, and one round trip; compression, which imapfs,
mbsync and sshfs use, can beat it. nullfs holds a copy of the tree in memory and answers at once: what
it takes is FUSE itself, and no file system that opens files can be faster here. In the rows "on one
processor" grep and the file system share one: where a virtual machine has to wake another one for each
request and each answer, that is most of the time.

![Times of imapfs beside others](docs/bench.svg)

"""


class Bench:
    """What workloads share: the account, imapfs, and what was made once for several."""

    def __init__(self, settings):
        self.settings = settings
        self.account = account.Account()
        self.imapfs = peers.Imapfs(self.account, settings)
        self._made = {}

    def once(self, name, make):
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]


def first_line(*command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    return (done.stdout + done.stderr).strip().split("\n")[0]


def machine():
    """What it was measured with, in a line."""
    dovecot = first_line("dovecot", "--version").split(" ")[0]
    sshfs = first_line("dpkg-query", "-W", "-f", "${Version}", "sshfs").split("-")[0]
    linux = ".".join(os.uname().release.split(".")[:2])
    disk = first_line("findmnt", "-n", "-o", "FSTYPE", "-T", "/var/tmp")
    return (f"Dovecot {dovecot}, {first_line('mbsync', '--version')}, sshfs {sshfs}, "
            f"Linux {linux}, {os.cpu_count()} processors"
            + ("." if disk == "ext4" else f"; what the table calls ext4 is {disk}."))


def run(bench, name):
    title, function = workloads.ALL[name]
    print(f"-- {name}: {title}", flush=True)
    before, began, rows, failure = os.getloadavg()[0], time.monotonic(), [], ""
    try:
        for row in function(bench):
            rows.append(row)
    except Exception as error:  # the other workloads still tell something
        traceback.print_exc()
        failure = str(error).split("\n", maxsplit=1)[0] or type(error).__name__
    print(f"   {time.monotonic() - began:.0f} s", flush=True)
    return report.Section(name, title, rows, dataclasses.asdict(bench.settings),
                          [before, os.getloadavg()[0]], failure, machine())


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-k", dest="names", action="append", metavar="NAME",
                        choices=list(workloads.ALL),
                        help="only this one; may be repeated: " + ", ".join(workloads.ALL))
    parser.add_argument("--runs", type=int, help="of which medians are taken (3)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it work at all?")
    parser.add_argument("--rtt", type=float, metavar="MS", dest="rtt_ms")
    parser.add_argument("--mbit", type=float)
    parser.add_argument("--size", action="append", default=[], metavar="WHAT=N",
                        help="texts, held, large, million, subjects, attachment, sample, probes")
    parser.add_argument("-o", action="append", dest="options", metavar="OPTION",
                        help="one more option of imapfs")
    parser.add_argument("--no-compress", action="store_const", const="no", dest="compress")
    parser.add_argument("--readme", action="store_true",
                        help="also put the table into README.md and the picture into docs/")
    return parser.parse_args(arguments)


def make_settings(options):
    values = dict(sizes.QUICK) if options.quick else {}
    for name in ("runs", "rtt_ms", "mbit", "compress", "options"):
        if getattr(options, name) is not None:
            values[name] = getattr(options, name)
    for each in options.size:
        name, _, value = each.partition("=")
        values[name] = int(value)
    return sizes.Settings(**values)


def main(arguments):
    options = parse(arguments)
    proc.end_on_signals()
    folder = os.path.join(proc.ROOT, "build", "bench-quick" if options.quick else "bench")
    os.makedirs(folder, exist_ok=True)
    kept = os.path.join(folder, "results.json")
    names = options.names or [name for name in workloads.ALL if name not in workloads.LONG]
    bench = Bench(make_settings(options))
    results = {section.name: section for section in report.load(kept)}
    for name in names:
        results[name] = run(bench, name)
        print(report.text([results[name]]), flush=True)
        report.save(kept, list(results.values()))
    sections = [results[name] for name in workloads.ALL if name in results]
    write(os.path.join(folder, "bench.md"), report.markdown(sections))
    write(os.path.join(folder, "bench.svg"), picture.draw(sections))
    if options.readme:
        report.put_in_readme(os.path.join(proc.ROOT, "README.md"),
                             README + report.markdown(sections))
        write(os.path.join(proc.ROOT, "docs", "bench.svg"), picture.draw(sections))
    fell_short, failed = report.missed([results[name] for name in names])
    print(f"{fell_short} goals missed, {failed} workloads failed; the table is in {folder}")
    return 1 if fell_short or failed else 0


def write(path, content):
    with open(path, "w") as file:
        file.write(content)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
