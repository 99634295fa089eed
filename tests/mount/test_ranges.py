"""Large parts read by ranges: right bytes, few bytes, and never wrong ones."""
import base64
import errno
import os
import random
import subprocess
import sys
import threading
import time

import mail
import proxy
import servers
from case import Case

OFFLINE = (errno.ENETUNREACH, errno.ETIMEDOUT, errno.EIO)
TIMEOUT = 5  # seconds, the option
BIG = 40 << 20
HEAD = (b"From: Alice Doe <alice@example.org>\nSubject: Files\nDate: Sat, 3 Feb 2024 10:00:00 +0000\n"
        b"Message-ID: <files@example.org>\nMIME-Version: 1.0\n"
        b"Content-Type: multipart/mixed; boundary=\"=_cut\"\n\n")


RANDOM_READS = """
import hashlib, mmap, os, random, sys
rng = random.Random(7)
with open(sys.argv[1], "rb") as file:
    size = os.fstat(file.fileno()).st_size
    view = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    for _ in range(2000):
        start = size - rng.randrange(2000) if rng.random() < 0.05 else rng.randrange(size)
        length = int(2 ** rng.uniform(0, 17))
        if rng.random() < 0.3:
            got = view[start:start + length]
        else:
            got = os.pread(file.fileno(), length, start)
        print(start, length, hashlib.sha256(got).hexdigest())
"""


def lines(text, width):
    return b"\n".join(text[at:at + width] for at in range(0, len(text), width))


def part(name, encoding, body):
    return (b"--=_cut\nContent-Type: application/octet-stream; name=%s\n"
            b"Content-Disposition: attachment; filename=%s\n"
            b"Content-Transfer-Encoding: %s\n\n%s\n" % (name, name, encoding, body))


def message(*parts):
    return HEAD + b"".join(parts) + b"--=_cut--\n"


def made(size, seed):
    return random.Random(seed).randbytes(size)


def joined(data, *places):
    """base64 of which some lines go on where their end should be: the ends show nothing of it."""
    encoded = base64.b64encode(data)
    out, at = bytearray(), 0
    while at < len(encoded):
        width = 78 + 76 if len(out) // 78 in places else 76
        out += encoded[at:at + width] + b"\r\n"
        at += width
    return bytes(out).replace(b"\r\n", b"\n").rstrip(b"\n")


def irregular(data, at):
    """base64 with one line cut in two at a byte."""
    encoded = lines(base64.b64encode(data), 76)
    at = at // 77 * 77 + 40
    return encoded[:at] + b"\n" + encoded[at:]


class RangeCase(Case):
    timeout = 120

    @classmethod
    def setUpClass(cls):
        cls.server = servers.Dovecot()
        cls.big = made(BIG, 1)
        table = b"".join(b"%d;%s\r\n" % (n, made(20, n).hex().encode()) for n in range(20_000))
        cls.files = {
            "video.bin": cls.big,
            "wide.bin": made(2_000_001, 2),
            "narrow.bin": made(1_000_002, 3),
            "table.csv": table,
            "middle.bin": made(3_000_000, 4),
            "start.bin": made(1_000_000, 5),
            "empty-line.bin": made(600_000, 6),
        }
        f = cls.files
        raw = message(
            part(b"video.bin", b"base64", lines(base64.b64encode(cls.big), 76)),
            part(b"wide.bin", b"base64", lines(base64.b64encode(f["wide.bin"]), 152)),
            part(b"narrow.bin", b"BASE64", lines(base64.b64encode(f["narrow.bin"]), 60)),
            part(b"table.csv", b"8bit", table.replace(b"\r\n", b"\n").rstrip(b"\n") + b"\n"),
            part(b"middle.bin", b"base64", joined(f["middle.bin"], 30_000, 30_010)),
            part(b"start.bin", b"base64", irregular(f["start.bin"], 0)),
            part(b"empty-line.bin", b"base64",
                 lines(base64.b64encode(f["empty-line.bin"]), 76) + b"\n\n"))
        cls.server.prefill("INBOX", [(raw, None)])
        cls.server.start()
        cls.addClassCleanup(cls.server.stop)

    def setUp(self):
        self.link = proxy.Proxy(self.server.port).start()
        self.addCleanup(self.link.stop)

    def mounted(self, *options):
        source, more = self.server.source(port=self.link.port)
        mounted = self.mount(source, [*more, f"timeout={TIMEOUT}", *options])
        directory = os.path.join(mounted.message("INBOX", 1), "attachments")
        os.listdir(directory)
        self.path = lambda name: os.path.join(directory, name)
        return mounted

    def moved(self):
        return sum(self.link.counted())

    def quiet(self):
        while True:
            before = self.moved()
            time.sleep(0.7)
            if self.moved() == before:
                return before

    def whole(self, name):
        with open(self.path(name), "rb") as file:
            return file.read()

    def check(self, name, got, start=0, end=None):
        want = self.files[name][start:end]
        self.assertEqual(len(got), len(want), name)
        self.assertEqual(mail.sha256(got), mail.sha256(want), name)


class TestRanges(RangeCase):
    def test_few_bytes(self):
        self.mounted()
        middle = BIG // 2 + 12_345
        for what, command, start in (
                ("head", ["head", "-c", "65536"], 0),
                ("dd in the middle", ["dd", "bs=65536", "count=1", "status=none",
                                      "iflag=skip_bytes", f"skip={middle}"], middle),
                ("tail", ["tail", "-c", "1000"], BIG - 1000)):
            with self.subTest(what):
                before = self.quiet()
                got = subprocess.run([*command[:1], *(["if=" + self.path("video.bin")]
                                                      if command[0] == "dd" else []),
                                      *command[1:], *([self.path("video.bin")]
                                                      if command[0] != "dd" else [])],
                                     stdout=subprocess.PIPE, check=True, timeout=30).stdout
                size = self.quiet() - before
                self.check("video.bin", got, start, start + (1000 if what == "tail" else 65536))
                self.note(f"{what}: {size / 1000:.0f} KB")
                self.assertLessEqual(size, 150_000)

    def test_every_kind(self):
        self.mounted()
        for name, want in self.files.items():
            if name in ("video.bin", "middle.bin"):
                continue
            with self.subTest(name):
                if name == "table.csv":  # whether the last line's end belongs to it
                    self.assertEqual(self.whole(name).rstrip(), want.rstrip())
                    continue
                with open(self.path(name), "rb") as file:
                    size = os.fstat(file.fileno()).st_size
                    self.assertEqual(size, len(want))
                    file.seek(size - 10)
                    self.check(name, file.read(), size - 10)
                    file.seek(300_000)
                    self.check(name, file.read(100), 300_000, 300_100)
                self.check(name, self.whole(name))

    def test_irregular_in_the_middle(self):
        """An error where it shows, and the right bytes from then on: never wrong ones."""
        self.mounted()
        with open(self.path("middle.bin"), "rb") as file:
            self.check("middle.bin", file.read(100_000), 0, 100_000)
        self.assert_fails((errno.EIO,), self.whole, "middle.bin")
        self.check("middle.bin", self.whole("middle.bin"))

    def test_copy(self):
        mounted = self.mounted()
        target = os.path.join(mounted.home.dir, "copy")
        began = time.monotonic()
        most = [0]
        over = threading.Event()

        def watch():
            while not over.wait(0.05):
                most[0] = max(most[0], mounted.rss_kb())
        watcher = threading.Thread(target=watch)
        watcher.start()
        before = self.moved()
        subprocess.run(["cp", self.path("video.bin"), target], check=True, timeout=100)
        seconds = time.monotonic() - began
        over.set()
        watcher.join()
        with open(target, "rb") as file:
            self.check("video.bin", file.read())
        self.note(f"{seconds:.1f} s, {(self.quiet() - before) / 1e6:.1f} MB moved, "
                  f"RSS {most[0] / 1024:.0f} MB")
        before = self.quiet()
        self.check("video.bin", self.whole("video.bin"))
        self.assertLess(self.quiet() - before, 20_000, "it is in the cache now")

    def test_random_ranges(self):
        """In a process of its own: a page fault would hold up the proxy's thread here."""
        self.mounted()
        done = subprocess.run([sys.executable, "-c", RANDOM_READS, self.path("video.bin")],
                              stdout=subprocess.PIPE, check=True, timeout=100)
        reads = done.stdout.decode().split("\n")[:-1]
        self.assertEqual(len(reads), 2000)
        for line in reads:
            start, length, digest = line.split()
            want = self.big[int(start):int(start) + int(length)]
            self.assertEqual(digest, mail.sha256(want), line)

    def test_what_was_read_stays_when_offline(self):
        self.mounted()
        with open(self.path("video.bin"), "rb") as file:
            first = os.pread(file.fileno(), 50_000, 10_000_000)
            self.link.refuse()
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            self.assertEqual(os.pread(file.fileno(), 50_000, 10_000_000), first)
            self.assert_fails(OFFLINE, os.pread, file.fileno(), 100, 30_000_000)
            self.link.resume()
            want = self.big[30_000_000:30_000_100]
            self.soon(lambda: self.read_or_none(file.fileno(), 30_000_000) == want, 60)

    @staticmethod
    def read_or_none(fd, offset):
        try:
            return os.pread(fd, 100, offset)
        except OSError:
            return None

    def test_cut_while_copying(self):
        mounted = self.mounted()
        target = os.path.join(mounted.home.dir, "copy")
        for how in ("rst", "fin", "stall"):
            with self.subTest(how):
                self.link.cut_after(6_000_000, how=how)
                done = subprocess.run(["cp", self.path("video.bin"), target], timeout=40,
                                      capture_output=True, check=False)
                self.link.resume()
                if done.returncode == 0:
                    with open(target, "rb") as file:
                        self.check("video.bin", file.read())
                self.note(f"{how}: exit code {done.returncode} {done.stderr.decode()[-60:].strip()}")
        self.soon(lambda: subprocess.run(["cp", self.path("video.bin"), target], check=False,
                                         capture_output=True, timeout=100).returncode == 0, 100)
        with open(target, "rb") as file:
            self.check("video.bin", file.read())
