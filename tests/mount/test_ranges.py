"""Large parts read by ranges: right bytes, few bytes, and never wrong ones."""
import base64
import errno
import os
import random
import re
import subprocess
import sys
import threading
import time

import fakeimap
import mail
import proxy
import servers
from case import Case

OFFLINE = (errno.ENETUNREACH, errno.ETIMEDOUT, errno.EIO)
LONG = bool(os.environ.get("IMAPFS_LONG"))
TIMEOUT = 5  # seconds, the option
BIG = 40 << 20
HEAD = (b"From: Alice Doe <alice@example.org>\nSubject: Files\nDate: Sat, 3 Feb 2024 10:00:00 +0000\n"
        b"Message-ID: <files@example.org>\nMIME-Version: 1.0\n"
        b"Content-Type: multipart/mixed; boundary=\"=_cut\"\n\n")


SHRUNK = ("spoilt.bin", "shrunk.bin")
GROWN = ("joined.bin", "grown.bin")
DAMAGED = (*SHRUNK, *GROWN)
RANDOM_READS = """
import hashlib, mmap, os, random, sys
rng = random.Random(7)
with open(sys.argv[1], "rb") as file:
    size = os.fstat(file.fileno()).st_size
    view = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    for _ in range(int(sys.argv[2])):
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
    """base64 of which some lines go on where their end should be: the ends show nothing of it, and
    there is more in it than they say."""
    encoded = base64.b64encode(data)
    out, at = [], 0
    while at < len(encoded):
        width = 78 + 76 if len(out) in places else 76
        out.append(encoded[at:at + width])
        at += width
    return b"\n".join(out)


def damaged(data, *places):
    """(base64 with some lines spoilt in which all but five characters stay, what it decodes to)"""
    text = bytearray(lines(base64.b64encode(data), 76))
    for place in places:
        text[place * 77 + 7:place * 77 + 12] = b"!#$%&"
    kept = bytes(text).translate(None, b"!#$%&\n").rstrip(b"=")
    return bytes(text), base64.b64decode(kept[:len(kept) // 4 * 4] +
                                         (kept[len(kept) // 4 * 4:] + b"==")[:4]
                                         if len(kept) % 4 > 1 else kept[:len(kept) // 4 * 4])


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
            "joined.bin": made(3_000_000, 4),
            "grown.bin": made(3_000_000, 7),
            "start.bin": made(1_000_000, 5),
            "empty-line.bin": made(900_000, 6),
        }
        f = cls.files
        spoilt, f["spoilt.bin"] = damaged(made(3_000_000, 8), 20_000)
        shrunk, f["shrunk.bin"] = damaged(made(3_000_000, 9), *range(10_000, 20_000))
        raw = message(
            part(b"video.bin", b"base64", lines(base64.b64encode(cls.big), 76)),
            part(b"wide.bin", b"base64", lines(base64.b64encode(f["wide.bin"]), 152)),
            part(b"narrow.bin", b"BASE64", lines(base64.b64encode(f["narrow.bin"]), 60)),
            part(b"table.csv", b"8bit", table.replace(b"\r\n", b"\n").rstrip(b"\n") + b"\n"),
            part(b"joined.bin", b"base64", joined(f["joined.bin"], 25_000, 25_010)),
            part(b"grown.bin", b"base64", joined(f["grown.bin"], *range(5_000, 15_000, 2))),
            part(b"spoilt.bin", b"base64", spoilt), part(b"shrunk.bin", b"base64", shrunk),
            part(b"start.bin", b"base64", irregular(f["start.bin"], 0)),
            part(b"empty-line.bin", b"base64",
                 lines(base64.b64encode(f["empty-line.bin"]), 76) + b"\n\n"))
        cls.server.prefill("INBOX", [(raw, None)])
        cls.server.prefill("Other", [(mail.message(1).raw, None)])
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
            if name == "video.bin" or name in DAMAGED:
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

    def test_another_mailbox_meanwhile(self):
        """With one connection, too: it does not wait for the end of what is copied."""
        self.link.stop()
        self.link = proxy.Proxy(self.server.port, 20, 24).start()
        self.mounted("max-connections=1")
        mounted = self.mounts_made[-1]
        got = []
        reader = threading.Thread(target=lambda: got.append(self.whole("video.bin")), daemon=True)
        reader.start()
        self.soon(lambda: self.link.down.bytes > 2_000_000, what="the first megabytes")
        self.assertEqual(len(mounted.list("Other")), 1)
        self.assertTrue(reader.is_alive(), "it was there before the other was listed")
        reader.join(60)
        self.check("video.bin", got[0])

    def test_random_ranges(self):
        """In a process of its own: a page fault would hold up the proxy's thread here."""
        self.mounted()
        count = 2000 if LONG else 600
        done = subprocess.run([sys.executable, "-c", RANDOM_READS, self.path("video.bin"),
                               str(count)], stdout=subprocess.PIPE, check=True, timeout=100)
        reads = done.stdout.decode().split("\n")[:-1]
        self.assertEqual(len(reads), count)
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


class TestDamaged(RangeCase):
    """Parts whose ends do not show that their middle is irregular: the size that is told at first is
    wrong."""

    WAYS = {
        "cat": ["sh", "-c", 'cat "$1"', "cat"],
        "cp": ["sh", "-c", 'cp "$1" "$2" && cat "$2"', "cp"],
        "dd": ["sh", "-c", 'dd bs=1M status=none if="$1"', "dd"],
        "small reads": ["sh", "-c", 'dd bs=1000 status=none if="$1"', "dd"],
        "sendfile": [sys.executable, "-c", """
import os, sys
with open(sys.argv[1], "rb") as file, open(sys.argv[2], "wb") as out:
    while os.sendfile(out.fileno(), file.fileno(), None, 1 << 20):
        pass
with open(sys.argv[2], "rb") as out:
    sys.stdout.buffer.write(out.read())
"""],
        # the last stat is waited for: it would keep the mount busy
        "while others stat": ["sh", "-c", '(trap exit TERM; while :; do stat "$1" >/dev/null; done) &'
                                          ' cat "$1"; kill $!; wait $! || :', "stat"],
    }

    def test_read_from_the_start(self):
        """All that a whole fetch reads, by any way."""
        for how, command in self.WAYS.items():
            mounted = self.mounted()
            copy = os.path.join(mounted.home.dir, "copy")
            subprocess.run(["ls", "-l", os.path.dirname(self.path("x"))], check=True, timeout=30,
                           stdout=subprocess.DEVNULL)
            for name in SHRUNK:
                with self.subTest(how, name=name):
                    done = subprocess.run([*command, self.path(name), copy], check=True,
                                          timeout=60, stdout=subprocess.PIPE)
                    self.check(name, done.stdout)
                    self.assertEqual(os.stat(self.path(name)).st_size, len(self.files[name]))
                    self.check(name, self.whole(name))
            mounted.unmount()

    def test_longer_than_told(self):
        """An error at the end, for some ways to read go by the size alone; then the right bytes."""
        for how, command in self.WAYS.items():
            mounted = self.mounted()
            copy = os.path.join(mounted.home.dir, "copy")
            for name in GROWN:
                with self.subTest(how, name=name):
                    done = subprocess.run([*command, self.path(name), copy], check=False,
                                          timeout=60, capture_output=True)
                    self.assertIn(b"Input/output error", done.stderr)
                    done = subprocess.run([*command, self.path(name), copy], check=True,
                                          timeout=60, stdout=subprocess.PIPE)
                    self.check(name, done.stdout)
            mounted.unmount()

    def test_sha256sum_of_all(self):
        self.mounted()
        done = subprocess.run(["sha256sum", *(self.path(name) for name in SHRUNK)], check=True,
                              timeout=60, stdout=subprocess.PIPE)
        self.assertEqual([line.split()[0] for line in done.stdout.decode().splitlines()],
                         [mail.sha256(self.files[name]) for name in SHRUNK])

    def test_opened_before_and_after(self):
        """Who opens it while it is read on waits for its size."""
        self.mounted()
        with open(self.path("shrunk.bin"), "rb") as file:
            self.check("shrunk.bin", file.read(1_400_000), 0, 1_400_000)
            with open(self.path("shrunk.bin"), "rb") as other:
                self.assertEqual(os.fstat(other.fileno()).st_size, len(self.files["shrunk.bin"]))
                self.check("shrunk.bin", other.read())
            self.check("shrunk.bin", file.read(), 1_400_000)

    def test_wrong_bytes_were_read(self):
        """An error for who read what was in the wrong place, and then the right bytes."""
        self.mounted()
        for name in ("grown.bin", "spoilt.bin", "shrunk.bin"):
            with self.subTest(name), open(self.path(name), "rb") as file:
                os.pread(file.fileno(), 10_000, 2_500_000)
                self.assert_fails((errno.EIO,), lambda file=file: [
                    os.pread(file.fileno(), 100_000, at) for at in range(0, 3_000_000, 100_000)])
                self.check(name, self.whole(name))
                with open(self.path(name), "rb") as again:
                    self.check(name, os.pread(again.fileno(), 10_000, 2_500_000), 2_500_000,
                               2_510_000)


class TestPieces(Case):
    """What a server may answer for a piece in place of the piece."""
    timeout = 90
    SIZE = 3_000_000

    def setUp(self):
        self.server = fakeimap.FakeImap(fakeimap.FULL).start()
        self.addCleanup(self.server.stop)
        self.made = mail.big(1, self.SIZE)
        self.uid = self.server.box("INBOX").add(self.made.raw)
        self.name, self.data = self.made.attachments[0]

    def opened(self):
        source, more = self.server.source()
        mounted = self.mount(source, [*more, "timeout=5"])
        path = os.path.join(mounted.message("INBOX", self.uid), "attachments", self.name)
        file = open(path, "rb")  # noqa: SIM115
        self.addCleanup(file.close)
        self.assertEqual(os.fstat(file.fileno()).st_size, len(self.data))
        return file

    def lie(self, lie):
        """lie(conn, items, piece) in place of pieces, until on_fetch is None again. The kernel asks
        again by itself when what it read ahead fails."""
        def on_fetch(conn, message, items):
            piece = next((key for key in items if re.match(rb"BODY\[2\]<", key)), None)
            return items if piece is None else lie(conn, items, piece)
        self.server.on_fetch = on_fetch

    def check_lie(self, lie, errnos=(errno.EIO,)):
        file = self.opened()
        self.lie(lie)
        self.assert_fails(errnos, os.pread, file.fileno(), 4096, 1_500_000)
        self.server.on_fetch = None
        self.assertEqual(os.pread(file.fileno(), 4096, 1_500_000), self.data[1_500_000:1_504_096])
        self.assertEqual(file.read(), self.data)

    @staticmethod
    def bytes_of(literal):
        return literal.partition(b"\r\n")[2]

    def changed(self, change):
        def lie(_conn, items, piece):
            made = change(self.bytes_of(items[piece]))
            return {**items, piece: b"{%d}\r\n" % len(made) + made}
        return lie

    def test_short(self):
        self.check_lie(self.changed(lambda body: body[:-78]))

    def test_empty(self):
        self.check_lie(self.changed(lambda body: b""))

    def test_long(self):
        self.check_lie(self.changed(lambda body: body + body[:78]))

    def test_nil(self):
        self.check_lie(lambda _conn, items, piece: {**items, piece: b"NIL"})

    def test_silence(self):
        self.check_lie(lambda _conn, _items, _piece: None, (errno.ESTALE,))

    def test_without_the_piece(self):
        self.check_lie(lambda _conn, items, piece: {
            key: value for key, value in items.items() if key != piece}, (errno.ESTALE, errno.EIO))

    def test_wrong_origin(self):
        self.check_lie(lambda _conn, items, piece: {
            (b"BODY[2]<78>" if key == piece else key): value for key, value in items.items()})

    def test_no_origin(self):
        self.check_lie(lambda _conn, items, piece: {
            (b"BODY[2]" if key == piece else key): value for key, value in items.items()})

    def test_refused(self):
        file = self.opened()

        def on_command(conn, tag, name, _arguments):
            if name != "FETCH":
                return False
            conn.send(tag, b" NO [LIMIT] not now\r\n")
            return True
        self.server.on_command = on_command
        self.assert_fails((errno.EIO,), os.pread, file.fileno(), 4096, 1_500_000)
        self.server.on_command = None
        self.assertEqual(file.read(), self.data)

    def test_out_of_order_and_in_one(self):
        """The pieces of a reader who goes forward, in reverse and in one answer."""
        for merged in (False, True):
            with self.subTest(merged=merged):
                file, held = self.opened(), []

                def on_fetch(conn, _message, items, held=held, merged=merged):
                    piece = next((key for key in items if re.match(rb"BODY\[2\]<", key)), None)
                    if piece is None or len(held) >= 6:
                        return items
                    held.append((piece, items[piece]))
                    if len(held) % 2:
                        return None
                    pair = [held[-1], held[-2]]
                    answers = [pair] if merged else [[each] for each in pair]
                    for answer in answers:
                        conn.send(b"* %d FETCH (UID %d %s)\r\n" % (
                            len(conn.view), self.uid, b" ".join(k + b" " + v for k, v in answer)))
                    return None
                file.read(200_000)
                self.server.on_fetch = on_fetch
                try:
                    got = file.read()
                except OSError:  # a piece whose command was over before it came
                    file.seek(200_000)
                    got = file.read()
                self.assertEqual(got, self.data[200_000:])

    def test_expunged_meanwhile(self):
        file = self.opened()
        self.assertEqual(os.pread(file.fileno(), 4096, 0), self.data[:4096])
        with self.server.lock:
            self.server.box("INBOX").remove({self.uid})
        self.soon(lambda: not os.path.exists(file.name))
        self.assert_fails((errno.ESTALE,), os.pread, file.fileno(), 4096, 1_500_000)
        self.assertEqual(os.pread(file.fileno(), 4096, 0), self.data[:4096])

    def test_cut_in_a_piece(self):
        file = self.opened()

        def lie(conn, items, piece):
            conn.send(b"* %d FETCH (UID %d %s " % (len(conn.view), self.uid, piece),
                      items[piece][:5000])
            self.server.on_fetch = None
            raise fakeimap.Drop("rst")
        self.lie(lie)
        self.assertEqual(file.read(), self.data)

    def test_no_room(self):
        """The temporary file cannot be written to, once: the kernel asks again."""
        for what, want in (("ENOSPC", errno.ENOSPC), ("EIO", errno.EIO)):
            with self.subTest(what):
                os.environ["IMAPFS_FAULT"] = f"ranged.write:2={what}"
                try:
                    file = self.opened()
                finally:
                    del os.environ["IMAPFS_FAULT"]
                self.assertEqual(os.pread(file.fileno(), 4096, 0), self.data[:4096])
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
                try:
                    os.pread(file.fileno(), 4096, 1_500_000)
                except OSError as error:
                    self.assertEqual(error.errno, want)
                self.assertEqual(file.read(), self.data)
