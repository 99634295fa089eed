"""What is kept here: search and walks, beside the same tree on the local file system.

Beside the time by the clock stands the processor time, of the command and of imapfs: what others do
on the machine changes it less. Where a virtual machine has to wake another processor for every
request and every answer, that is most of the time: so the rows "on one processor" have the command
and imapfs share one.
"""
import os

import corpus
import peers
import proc
from clock import expect, processor_s, timed
from report import Goal, Row

BOX = "Warm"
PROCESSOR = "0"
WALKS = (("find", ("find",), 1.2), ("ls -lR", ("ls", "-lR"), 1.2), ("du", ("du", "-s"), 1.2))


class Held:
    """A home that holds everything, the mount that fetched it, and a copy of its tree."""

    def __init__(self, bench):
        self.bench = bench
        self.box = bench.account.box(BOX, "modest", bench.settings.held)
        self.together = False  # on one processor
        self.mounted = bench.imapfs.mount()
        self.home = self.mounted.home
        self.copy = os.path.join(proc.workdir("copy"), BOX)
        self.copying = timed("cp", "-r", self.tree, self.copy).seconds
        self.lines = timed(*self.grep(self.copy)).lines
        expect("parts found in the copy", self.lines, self.box.corpus.found)
        self.files = timed("find", self.copy, "-type", "f").lines

    @property
    def tree(self):
        return self.mounted.path(BOX)

    @staticmethod
    def grep(path):
        return ["grep", "-r", corpus.WORD.decode(), path]

    @property
    def prefix(self):
        return ["taskset", "-c", PROCESSOR] if self.together else []

    def run(self, *command):
        return timed(*self.prefix, *command)

    def search(self, path):
        done = self.run(*self.grep(path))
        expect("parts found", done.lines, self.lines)
        return done.seconds

    def both(self, row, used, *command):
        """A command on the tree and on the copy, into a row, and its processor time."""
        pid = self.mounted.program_pid()
        before = processor_s(pid)
        mine = self.run(*command, self.tree)
        served = processor_s(pid) - before
        theirs = self.run(*command, self.copy)
        row.add(imapfs=mine.seconds, ext4=theirs.seconds)
        used.add(imapfs=mine.cpu + served, ext4=theirs.cpu)
        return mine, theirs

    def compare(self, row, used):
        for done in self.both(row, used, "grep", "-r", corpus.WORD.decode()):
            expect("parts found", done.lines, self.lines)

    def beside_nullfs(self, first, third):
        """The same searches of a new mount of the copy, behind which there is nothing."""
        with peers.nullfs(self.copy, self.prefix) as mountpoint:
            first.add(nullfs=self.search(mountpoint))
            self.search(mountpoint)
            third.add(nullfs=self.search(mountpoint))

    def again(self, *options):
        """Unmounts and mounts: what the kernel kept is gone, what we keep is not."""
        self.mounted.unmount()
        self.mounted = self.bench.imapfs.mount(None, self.home, *options)
        if self.together:
            proc.run("taskset", "-a", "-c", "-p", PROCESSOR, str(self.mounted.program_pid()))


def held(bench):
    return bench.once("held", lambda: Held(bench))


def warm(bench):
    settings = bench.settings
    all_held = held(bench)
    count = f"{all_held.box.count:,}"
    third = Row(f"third grep -r of {count} messages, nothing changed",
                goals=[Goal(1.8, "ext4")], picture=True)
    first = Row("first grep -r after a remount",
                goals=[Goal(3.5, "ext4"), Goal(2.2, "ext4", "with content pushed ahead")],
                picture=True)
    later = Row("third grep -r after a remount, when every size is known",
                goals=[Goal(1.8, "ext4")])
    exact = Row("third grep -r of a mount with the option exact", picture=True,
                goals=[Goal(1.15, "ext4", "with zero-message open")])
    began = Row("    its first")
    one_first = Row("    on one processor", goals=[Goal(3.5, "ext4")])
    one_later = Row("    on one processor", goals=[Goal(1.8, "ext4")])
    used = [Row("    processor time") for _ in range(4)]
    yield from (third, used[0], first, used[1], one_first, later, used[2], one_later, exact,
                used[3], began)
    for _ in range(2):
        all_held.search(all_held.tree)
        all_held.search(all_held.copy)
    for _ in range(settings.runs):
        all_held.compare(third, used[0])
    for _ in range(settings.runs):
        all_held.again()
        all_held.compare(first, used[1])
        all_held.search(all_held.tree)
        all_held.compare(later, used[2])
        all_held.beside_nullfs(first, third)
    all_held.together = True
    for _ in range(settings.runs):
        all_held.again()
        all_held.compare(one_first, Row(""))
        all_held.search(all_held.tree)
        all_held.compare(one_later, Row(""))
        all_held.beside_nullfs(one_first, one_later)
    all_held.together = False
    for _ in range(settings.runs):
        all_held.again("exact")
        all_held.compare(began, Row(""))
        all_held.search(all_held.tree)
        all_held.compare(exact, used[3])
    all_held.again()
    third.note = (f"{all_held.files:,} files, {corpus_size(all_held)} of mail. Copying all of it "
                  f"the first time, without a link: {all_held.copying:.1f} s.")


def corpus_size(all_held):
    return f"{all_held.box.corpus.raw_octets / 1e6:,.0f} MB"


def walk(bench):
    all_held = held(bench)
    for name, command, factor in WALKS:
        all_held.again()
        first = Row(f"    first {name} after a remount")
        row = Row(f"{name} of {all_held.box.count:,} messages", goals=[Goal(factor, "ext4")],
                  picture=True)
        used = Row("    processor time")
        yield from (row, used, first)
        all_held.both(first, Row(""), *command)
        timed(*command, all_held.tree)
        for _ in range(bench.settings.runs):
            mine, theirs = all_held.both(row, used, *command)
        if name == "find":
            expect("files found", mine.lines, theirs.lines)
