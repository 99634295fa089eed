"""Sizes of attachments, as ls -l and stat show them before anything is read."""
import base64
import os
import random
import subprocess

import mail
import proxy
import servers
from case import Case

SMALL, LARGE = 300, 300_000


def encoded(data, line, end=b""):
    text = base64.b64encode(data)
    step = line or len(text)
    return b"\r\n".join(text[at:at + step] for at in range(0, len(text), step)) + end


def message(number, *parts):
    """parts: (name, encoded bytes)."""
    lines = [b"From: Alice Doe <alice@example.org>", b"Subject: Parts %d" % number,
             b"Date: Mon, 05 Jan 2026 12:00:00 +0000", b"MIME-Version: 1.0",
             b"Content-Type: multipart/mixed; boundary=b", b"",
             b"--b", b"Content-Type: text/plain; charset=us-ascii", b"", b"Text %d." % number]
    for name, body in parts:
        lines += [b"--b", b"Content-Type: application/octet-stream",
                  b'Content-Disposition: attachment; filename="%s"' % name.encode(),
                  b"Content-Transfer-Encoding: base64", b"", body]
    return b"\r\n".join([*lines, b"--b--", b""])


class SizeCase(Case):
    timeout = 120

    @classmethod
    def setUpClass(cls):
        cls.server = servers.Dovecot()
        cls.rng = random.Random(5)
        cls.prefill()
        cls.server.start()
        cls.addClassCleanup(cls.server.stop)

    def setUp(self):
        self.link = proxy.Proxy(self.server.port).start()
        self.addCleanup(self.link.stop)

    def up(self, home=None):
        source, more = self.server.source(port=self.link.port)
        return self.mount(source, more, home)

    def moved(self):
        return sum(self.link.counted())

    @staticmethod
    def ls(path):
        """{name: size} by ls -l."""
        done = subprocess.run(["ls", "-l", path], capture_output=True, timeout=60, check=True)
        rows = [line.split(None, 8) for line in done.stdout.decode().splitlines()[1:]]
        return {row[8]: int(row[4]) for row in rows}


class TestSizes(SizeCase):
    @classmethod
    def prefill(cls):
        cls.datas = {f"line{line}-{end}.bin": (cls.rng.randbytes(LARGE + 7 * line + end), line, end)
                     for line in (76, 60, 64, 72, 0, 996) for end in (0, 2, 4)}
        parts = [(name, encoded(data, line, b"\r\n" * (end // 2)))
                 for name, (data, line, end) in cls.datas.items()]
        cls.small = cls.rng.randbytes(SMALL)
        cls.damaged = bytearray(encoded(cls.rng.randbytes(LARGE), 76))
        for at in range(78 * 2000, 78 * 2100, 78):
            cls.damaged[at + 7:at + 12] = b"!#$%&"
        cls.irregular = cls.rng.randbytes(LARGE)
        cls.server.prefill("INBOX", [(raw, None) for raw in (
            message(1, *parts), message(2, ("small.bin", encoded(cls.small, 76))),
            message(3, ("damaged.bin", bytes(cls.damaged))),
            message(4, ("irregular.bin", b"\r\n\r\n" + encoded(cls.irregular, 76))))])

    def attachments(self, mounted, uid):
        return os.path.join(mounted.message("INBOX", uid), "attachments")

    def test_exact_before_open(self):
        mounted = self.up()
        folder = self.attachments(mounted, 1)
        before = self.moved()
        self.assertEqual(self.ls(folder),
                         {name: len(data) for name, (data, _, _) in self.datas.items()})
        self.assertLess(self.moved() - before, 30_000)  # of 7 MB
        for name, (data, _, _) in self.datas.items():
            with open(os.path.join(folder, name), "rb") as file:
                self.assertEqual(mail.sha256(file.read()), mail.sha256(data), name)
        self.assertEqual(self.ls(folder),
                         {name: len(data) for name, (data, _, _) in self.datas.items()})

    def test_remembered(self):
        mounted = self.up()
        folder = self.attachments(mounted, 1)
        told = self.ls(folder)
        mounted.unmount()
        self.link.refuse()
        again = self.up(mounted.home)
        folder = os.path.join(again.message("INBOX", 1), "attachments")
        self.assertEqual(self.ls(folder), told)

    def test_offline_estimates(self):
        mounted = self.up()
        for uid in (3, 4):
            os.listdir(mounted.message("INBOX", uid))  # their structures
        mounted.unmount()
        self.link.refuse()
        again = self.up(mounted.home)
        for uid, name in ((3, "damaged.bin"), (4, "irregular.bin")):
            folder = os.path.join(again.message("INBOX", uid), "attachments")
            self.assertAlmostEqual(self.ls(folder)[name], LARGE, delta=LARGE // 50)

    def check_opened(self, uid, name, data):
        """Whatever stat said before, what is opened is right in size and bytes, by any way."""
        for tool in ("read", "cp", "tail"):
            with self.subTest(tool):
                mounted = self.up()
                folder = self.attachments(mounted, uid)
                path = os.path.join(folder, name)
                self.assertAlmostEqual(self.ls(folder)[name], LARGE, delta=LARGE // 50)
                if tool == "read":
                    with open(path, "rb") as file:
                        self.assertEqual(os.fstat(file.fileno()).st_size, len(data))
                        self.assertEqual(file.read(), data)
                elif tool == "cp":
                    copy = os.path.join(mounted.home.dir, "copy")
                    subprocess.run(["cp", path, copy], timeout=60, check=True)
                    with open(copy, "rb") as file:
                        self.assertEqual(file.read(), data)
                else:
                    done = subprocess.run(["tail", "-c", "100", path], capture_output=True,
                                          timeout=60, check=True)
                    self.assertEqual(done.stdout, data[-100:])
                self.assertEqual(os.stat(path).st_size, len(data))
                self.assertEqual(self.ls(folder)[name], len(data))
                mounted.unmount()

    def test_damaged_in_the_middle(self):
        kept = bytes(byte for byte in self.damaged if byte not in b"!#$%&\r\n")
        self.check_opened(3, "damaged.bin", base64.b64decode(kept + b"=" * (-len(kept) % 4)))

    def test_damaged_after_a_remount(self):
        """The computed size is in the store; the kernel is told the true one all the same."""
        mounted = self.up()
        self.ls(self.attachments(mounted, 3))
        mounted.unmount()
        kept = bytes(byte for byte in self.damaged if byte not in b"!#$%&\r\n")
        again = self.up(mounted.home)
        path = os.path.join(self.attachments(again, 3), "damaged.bin")
        self.assertEqual(os.stat(path).st_size, LARGE)
        with open(path, "rb") as file:
            self.assertEqual(len(file.read()), len(kept) * 3 // 4)
        self.assertEqual(os.stat(path).st_size, len(kept) * 3 // 4)

    def test_irregular(self):
        self.check_opened(4, "irregular.bin", self.irregular)

    def test_small(self):
        mounted = self.up()
        folder = self.attachments(mounted, 2)
        self.assertIn("small.bin", self.ls(folder))
        self.assertEqual(mounted.read(folder, "small.bin"), self.small)
        self.assertEqual(self.ls(folder), {"small.bin": SMALL})


class TestManyMessages(SizeCase):
    COUNT, WITH = 2000, 300

    @classmethod
    def prefill(cls):
        cls.sizes = {}
        block = cls.rng.randbytes(60_000)
        raws = []
        for number in range(1, cls.COUNT + 1):
            parts = []
            if number * cls.WITH // cls.COUNT > (number - 1) * cls.WITH // cls.COUNT:
                cls.sizes[number] = 20_000 + 13 * number
                parts = [("a.bin", encoded(block[:cls.sizes[number]], 76))]
            raws.append((message(number, *parts), None))
        cls.server.prefill("INBOX", raws)

    def test_ls_of_everything(self):
        mounted = self.up()
        before = self.moved()
        done = subprocess.run(["ls", "-lR", mounted.path("INBOX")], capture_output=True,
                              timeout=100, check=True)
        moved = (self.moved() - before) / self.COUNT
        rows = [line.split() for line in done.stdout.decode().splitlines()
                if line.endswith("a.bin")]
        self.assertEqual(sorted(int(row[4]) for row in rows), sorted(self.sizes.values()))
        print(f"     ls -lR: {moved:.0f} bytes a message")
        self.assertLess(moved, 1500)
