"""How long others wait while one attachment fills the link."""
import os
import subprocess
import time

import link
import proc
from clock import expect, timed
from report import Goal, Row


class Copy:
    """cp of a large attachment out of the mount; ended with the with block, done or not."""

    def __init__(self, source):
        self.target = os.path.join(proc.workdir("target"), "copy")
        self._command = ["cp", source, self.target]

    def __enter__(self):
        self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL)
        return self

    def running(self):
        return self._process.poll() is None

    def __exit__(self, *_):
        if self.running():
            self._process.kill()
        self._process.wait(30)


def busy(bench):
    settings = bench.settings
    trip = settings.rtt_ms / 1000
    video = bench.account.single("Video", settings.attachment)
    box = bench.account.box("Cold", "mail", settings.texts)
    size = f"{settings.attachment / 1e6:g} MB"
    cached = Row(f"cat of a cached part while {size} is copied", goals=[Goal(0.005)], picture=True)
    cached_worst = Row("    the longest")
    small = Row(f"cat of a part that is not cached, while {size} is copied",
                goals=[Goal(5 * trip + 0.1)], picture=True)
    small_worst = Row("    the longest")
    idle = Row("    the same with an idle link")
    yield from (cached, cached_worst, small, small_worst, idle)
    for _ in range(settings.runs):
        with bench.imapfs.link() as through:
            mount = bench.imapfs.mount(through)
            probe = Probe(mount, box, settings.probes)
            (name,) = mount.messages(video.name).values()
            source = mount.path(video.name, name, "attachments", "video.mp4")
            os.stat(source)
            through.quiet()
            for _ in range(settings.probes):
                idle.add(imapfs=probe.fresh())
                small.add(limit=link.shortest(probe.length, settings))
            mine, theirs, small_ones = [], [], []
            with Copy(source) as copy:
                fill(through, settings)
                for _ in range(settings.probes):
                    mine.append(probe.known())
                    theirs.append(timed("cat", probe.local).seconds)
                    small_ones.append(probe.fresh())
                if not copy.running():
                    raise AssertionError("the copy ended before the last probe")
            mount.unmount()
        for row, worst, values in ((cached, cached_worst, mine), (small, small_worst, small_ones)):
            for value in values:
                row.add(imapfs=value)
            worst.add(imapfs=max(values))
        for value in theirs:
            cached.add(ext4=value)


def fill(through, settings):
    """Waits until the copy fills the link."""
    began, before = time.monotonic(), through.moved()
    wanted = min(settings.attachment / 10, settings.mbit * 125_000)
    while through.moved() - before < wanted:
        if time.monotonic() - began > 30:
            raise TimeoutError("the copy did not get under way")
        time.sleep(0.02)


class Probe:
    """Parts to read: one that is cached, one of the same size on the local disk, and ever new
    ones, whose messages were listed and whose structure is known."""

    def __init__(self, mount, box, count):
        names = mount.messages(box.name)
        self.directories = [mount.path(box.name, names[uid])
                            for uid, _, octets in box.corpus.texts if octets < 4000]
        self.directories = spread(self.directories, 2 * count + 1)
        for each in self.directories:
            os.listdir(each)
        self.cached = os.path.join(self.directories.pop(), "body.txt")
        data = mount.read(self.cached)
        self.local = os.path.join(proc.workdir("local"), "body.txt")
        with open(self.local, "wb") as file:
            file.write(data)
        self.length = len(data)

    def known(self):
        done = timed("cat", self.cached)
        expect("bytes of the cached part", len(done.output), self.length)
        return done.seconds

    def fresh(self):
        done = timed("cat", os.path.join(self.directories.pop(), "body.txt"))
        expect("the part is there", len(done.output) > 100, True)
        return done.seconds


def spread(items, count):
    """count of items, far from each other: what lies beside one may have been fetched with it."""
    step = max(1, len(items) // count)
    chosen = items[::step][:count]
    expect("small parts to choose from", len(chosen), count)
    return chosen
