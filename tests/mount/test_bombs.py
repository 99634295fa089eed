"""Messages made to cost more than they are worth: they cost what the limits say, and nothing is
lost of them; meanwhile other mailboxes answer."""
import os
import re
import threading
import time

import mail
import servers
from case import Case

LONG = bool(os.environ.get("IMAPFS_LONG"))
SCALE = 1 if LONG else 5  # what the numbers are divided by, so that this is no long test
RSS_MAX_KB = 256 * 1024
HEAD = b"From: a@example.org\nSubject: bomb\nMIME-Version: 1.0\n"
ONLY_RAW = {"PROBLEM.txt", "flags", "headers.txt", "message.eml"}
TEXT = {"body.txt", "flags", "headers.txt", "message.eml"}


def multipart(boundary):
    return b'Content-Type: multipart/mixed; boundary="%s"\n\n' % boundary


def nested(count):
    yield HEAD
    for number in range(count):
        yield multipart(b"b%dx" % number) + b"--b%dx\n" % number
    yield b"Content-Type: text/plain\n\nthe innermost\n"


def nested_alike(count):
    """Every part has the same boundary."""
    yield HEAD + (multipart(b"x") + b"--x\n") * count


def nested_messages(count):
    yield HEAD + b"Content-Type: message/rfc822\n\n" * count + b"\ninnermost\n"


def parts(count):
    yield HEAD + multipart(b"x") + b"--x\n\np\n" * count + b"--x--\n"


def long_names(count):
    yield HEAD + multipart(b"x")
    for number in range(count):
        yield b'--x\nContent-Type: text/plain; name="%s%d"\n\np\n' % (b"n" * 200, number)
    yield b"--x--\n"


def recipients(count):
    """Of a message inside: its envelope stands in the structure."""
    yield HEAD + b"Content-Type: message/rfc822\n\nFrom: a@example.org\nTo: "
    yield b",\n ".join(b"person%d@example.org" % number for number in range(count))
    yield b"\n\ninnermost\n"


def numbers(depth):
    """The eleventh part of the eleventh part of ...: sections of three bytes a level; the last two are
    a message, whose name is made of such a section, and its text."""
    yield HEAD
    for number in range(depth):
        yield multipart(b"b%dx" % number)
        yield b"--b%dx\nContent-Type: a/b\n\np\n" % number * 10 + b"--b%dx\n" % number
    yield b"Content-Type: message/rfc822\n\nSubject: in\n\nthe innermost\n"


def headers(count):
    yield HEAD + b"X-Bomb: b\n" * count + b"\nbody\n"


def long_header(count):
    yield HEAD + b"X-Bomb: " + b"x" * count + b"\n\nbody\n"


def long_subject(count):
    yield b"From: a@example.org\nSubject: " + b"=?utf-8?q?=41?= " * (count // 16) + b"\n\nbody\n"


def pieces(count):
    yield HEAD + b"Content-Type: text/plain"
    for number in range(count):
        yield b";\n name*%d=x" % number
    yield b"\n\nbody\n"


# name -> (maker, its number in the long test, what the message's directory may hold)
BOMBS = {
    "100,000 nested multiparts": (nested, 100_000, None),
    "100,000 nested alike": (nested_alike, 100_000, None),
    "100,000 nested messages": (nested_messages, 100_000, None),
    "1,000,000 parts": (parts, 1_000_000, None),
    "45,000 parts with long names": (long_names, 45_000, None),
    "200,000 recipients inside": (recipients, 200_000, None),
    "sections of 290 bytes": (numbers, 96 * SCALE, None),
    "500,000 headers": (headers, 500_000, [TEXT]),
    "a header of 10 MB": (long_header, 10_000_000, [TEXT]),
    "a header of 12 MB": (long_header, 12_000_000 * SCALE, [TEXT]),
    "a subject of 10 MB": (long_subject, 10_000_000, [TEXT]),
    "100,000 pieces of RFC 2231": (pieces, 100_000, None),
}


def sanitized(pid):
    with open(f"/proc/{pid}/maps") as maps:
        return bool(re.search(r"lib[at]san", maps.read()))


class Neighbour(threading.Thread):
    """Reads another mailbox all the while, as another user of the mount does."""

    def __init__(self, mounted, box):
        super().__init__(daemon=True)
        self.mounted, self.box = mounted, box
        self.over = threading.Event()
        self.longest, self.count, self.error = 0.0, 0, None

    def run(self):
        try:
            while not self.over.wait(0.02):
                began = time.monotonic()
                name = self.mounted.messages(self.box).popitem()[1]
                self.mounted.read(self.box, name, "body.txt")
                self.longest = max(self.longest, time.monotonic() - began)
                self.count += 1
        except OSError as error:
            self.error = error

    def finish(self):
        self.over.set()
        self.join(30)


class TestBombs(Case):
    timeout = 300

    def test_bombs(self):
        server = servers.Tunnel()
        server.start()
        self.addCleanup(server.stop)
        raws = [b"".join(make(number // SCALE)) for make, number, _ in BOMBS.values()]
        server.prefill("Bombs", [(raw, None) for raw in raws])
        server.prefill("Calm", [(mail.message(n).raw, mail.message(n).date) for n in range(20)])
        source, more = server.source()
        mounted = self.mount(source, [*more, "poll=60"])
        neighbour = Neighbour(mounted, "Calm")
        mounted.messages("Calm")
        neighbour.start()
        try:
            names = mounted.messages("Bombs")
            self.assertEqual(len(names), len(BOMBS))
            for uid, (what, (_, _, allowed)) in enumerate(BOMBS.items(), 1):
                with self.subTest(what):
                    self.defuse(mounted, names[uid], what, raws[uid - 1], allowed)
        finally:
            neighbour.finish()
        self.assertIsNone(neighbour.error)
        self.assertNotIn("offline", mounted.text(".imapfs", "log"))
        self.assertGreater(neighbour.count, 10)
        self.note(f"others waited {neighbour.longest:.2f} s at most; "
                  f"{self.peak_kb(mounted) // 1024} MB at most")
        if not sanitized(mounted.process.pid):
            self.assertLessEqual(self.peak_kb(mounted), RSS_MAX_KB)

    @staticmethod
    def peak_kb(mounted):
        with open(f"/proc/{mounted.process.pid}/status") as file:
            return int(re.search(r"VmHWM:\s+(\d+)", file.read()).group(1))

    @staticmethod
    def cpu_s(mounted):
        with open(f"/proc/{mounted.process.pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def defuse(self, mounted, name, what, raw, allowed):
        """Reads all there is of a message: each byte of it can be had."""
        began = self.cpu_s(mounted)
        found = set(mounted.list("Bombs", name))
        if allowed:
            self.assertIn(found, allowed)
        else:
            self.assertLessEqual({"headers.txt", "message.eml", "flags"}, found)
        if "PROBLEM.txt" in found:
            self.assertEqual(found, ONLY_RAW)
            self.assertIn("message.eml", mounted.text("Bombs", name, "PROBLEM.txt"))
        else:
            self.assertTrue(found & {"body.txt", "attachments"})
        count = 0
        for folder, _, files in os.walk(mounted.path("Bombs", name)):
            count += len(files)
            for file in files[:100] + files[-100:]:
                with open(os.path.join(folder, file), "rb") as each:
                    while each.read(1 << 20):
                        pass
        eml = mounted.read("Bombs", name, "message.eml")
        self.assertEqual(mail.sha256(eml), mail.sha256(raw.replace(b"\n", b"\r\n")))
        cpu = self.cpu_s(mounted) - began
        self.note(f"{what}: {count} files, {cpu:.1f} s of CPU, {len(raw) / 1e6:.0f} MB")
