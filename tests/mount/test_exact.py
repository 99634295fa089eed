"""The option exact: sizes are exact before they are told, and the kernel opens files by itself."""
import collections
import errno
import os
import re
import shutil
import signal
import subprocess

import fakeimap
import mail
import mount as mounts
import proc
import proxy
import servers
from case import Case

REQUEST = re.compile(r"unique: \d+, opcode: (\w+)")


class ExactCase(Case):
    timeout = 90
    options = ("exact", "poll=5", "timeout=5")

    def grep(self, mounted, word="Köln", box="INBOX"):
        done = subprocess.run(["grep", "-rl", word, mounted.path(box)], capture_output=True,
                              timeout=60, check=False)
        self.assertEqual(done.stderr, b"")
        return sorted(done.stdout.decode().splitlines())


class Requests:
    """What the kernel sent since: {operation: how often}, as libfuse tells it."""

    def __init__(self, mounted):
        self.mounted, self.begin = mounted, len(mounted.output())
        self.reach_end()
        self.begin = len(mounted.output())

    def reach_end(self):
        """The log comes over a pipe: one more request that is seen there is behind all others."""
        os.statvfs(self.mounted.mountpoint)
        proc.wait_for(lambda: "STATFS" in self.text(), 15, 0.01, "the log")

    def counted(self):
        self.reach_end()
        found = collections.Counter(REQUEST.findall(self.text()))
        found.pop("STATFS", None)
        return dict(found)

    def text(self):
        return self.mounted.output()[self.begin:]


class TestExact(ExactCase):
    @classmethod
    def setUpClass(cls):
        cls.server = servers.Dovecot().start()
        cls.addClassCleanup(cls.server.stop)
        cls.mails = [mail.message(number) for number in range(40)]
        cls.server.prefill("INBOX", [(made.raw, made.date) for made in cls.mails])

    def setUp(self):
        self.link = proxy.Proxy(self.server.port).start()
        self.addCleanup(self.link.stop)

    def up(self, *options, home=None, **more):
        source, given = self.server.source(port=self.link.port)
        return self.mount(source, [*given, *self.options, *options], home, **more)

    def box(self, name, count=4):
        with self.server.client() as client:
            client.create(name)
            for made in self.mails[:count]:
                client.append(name, made.raw)
        self.addCleanup(self.delete, name)

    def delete(self, name):
        with self.server.client() as client:
            client.delete(name)

    def found_in(self, mounted, box):
        """Names of messages."""
        found = self.grep(mounted, "From", box)
        return {os.path.relpath(path, mounted.path(box)).split("/")[0] for path in found}

    # --- what it is for ---

    def test_nothing_is_sent(self):
        mounted = self.up(flags=("-d",))
        found = self.grep(mounted)
        self.assertTrue(found)
        # The mailbox's listing and time alone are asked for again, when it was listed first, or has
        # not been confirmed for long.
        listings = {"LOOKUP", "GETATTR", "READDIRPLUS", "READDIR"}
        counts = []
        while {} not in counts:
            self.assertLess(len(counts), 6, counts)
            again = Requests(mounted)
            self.assertEqual(self.grep(mounted), found)
            counts.append(again.counted())
            self.assertLessEqual(set(counts[-1]), listings)
            self.assertLess(sum(counts[-1].values()), 5)
        everything = "".join(re.findall(r"opcode: OPEN .*|opcode: RELEASE .*", mounted.output()))
        self.assertLessEqual(everything.count("opcode: OPEN "), 1)

    def test_sizes_before_anything_is_read(self):
        mounted = self.up()
        names = mounted.messages("INBOX")
        for uid, made in enumerate(self.mails, 1):
            folder = mounted.path("INBOX", names[uid])
            self.assertEqual(os.stat(os.path.join(folder, "body.txt")).st_size,
                             len(made.text.encode()))
            for name, data in made.attachments:
                path = os.path.join(folder, "attachments", name)
                self.assertEqual(os.stat(path).st_size, len(data))
        for uid, made in enumerate(self.mails, 1):
            self.assertEqual(mounted.text("INBOX", names[uid], "body.txt"), made.text)
            self.assertEqual(mounted.read("INBOX", names[uid], "message.eml"), made.raw)

    def test_read_only(self):
        mounted = self.up()
        message = mounted.message("INBOX", 1)
        flags = os.path.join(message, "flags")
        before = mounted.read(flags)
        self.assertIn("mode: disconnected, read-only, exact\n", mounted.status())
        self.assert_fails((errno.EROFS,), open, flags, "w")
        self.assert_fails((errno.EROFS,), open, mounted.path(".imapfs", "ctl"), "w")
        self.assert_fails((errno.EROFS,), os.rmdir, message)
        self.assertEqual(mounted.read(flags), before)
        source, more = self.server.source()
        code, said = self.refused(source, [*more, "exact", "ro=no"])
        self.assertEqual(code, 2)
        self.assertIn("exact", said)

    def test_read_ahead(self):
        """A walk that looks at sizes alone does not wait for each file."""
        self.box("Walk", len(self.mails))
        trace = os.path.join(proc.workdir("trace"), "trace")
        mounted = self.up(f"trace={trace}")
        subprocess.run(["find", mounted.path("Walk"), "-name", "body.txt", "-size", "+0"],
                       stdout=subprocess.DEVNULL, timeout=60, check=True)
        with open(trace, errors="replace") as file:
            asked = [line for line in file if re.search(r"UID FETCH .*BODY\.PEEK\[[0-9.]", line)]
        self.note(f"{len(asked)} commands for {len(self.mails)} texts")
        self.assertLess(len(asked), len(self.mails) // 2)

    # --- what changes ---

    def test_new_mail(self):
        self.box("New", 2)
        mounted = self.up()
        self.assertEqual(len(self.found_in(mounted, "New")), 2)
        self.server.deliver("New", self.mails[5].raw)
        self.soon(lambda: len(mounted.messages("New")) == 3, what="the new message")
        path = os.path.join(mounted.message("New", 3), "body.txt")
        self.assertEqual(os.stat(path).st_size, len(self.mails[5].text.encode()))
        self.assertEqual(mounted.text(path), self.mails[5].text)
        self.assertEqual(len(self.found_in(mounted, "New")), 3)

    def test_flags_change(self):
        self.box("Marked", 1)
        mounted = self.up()
        path = os.path.join(mounted.message("Marked", 1), "flags")
        self.assertNotIn("\\Flagged", mounted.text(path))
        for word in ("\\Flagged", "averylongkeyword", "\\Answered"):
            with self.server.client() as client:
                client.store("Marked", 1, "+FLAGS", [word])
            self.soon(lambda: word in mounted.text(path).split(), what=word)  # noqa: B023
            self.assertEqual(os.stat(path).st_size, len(mounted.read(path)))
        with self.server.client() as client:
            client.store("Marked", 1, "-FLAGS", ["averylongkeyword"])
        self.soon(lambda: "averylongkeyword" not in mounted.text(path), what="fewer flags")
        self.assertEqual(os.stat(path).st_size, len(mounted.read(path)))

    def test_expunged(self):
        self.box("Gone", 2)
        mounted = self.up()
        path = os.path.join(mounted.message("Gone", 1), "body.txt")
        self.assertEqual(mounted.text(path), self.mails[0].text)
        with self.server.client() as client:
            client.expunge("Gone", [1])
        self.soon(lambda: len(mounted.messages("Gone")) == 1, what="the expunge")
        self.assert_fails((errno.ENOENT, errno.ESTALE), os.stat, path)

    # --- .imapfs ---

    def test_control_files(self):
        mounted = self.up()
        last = 0
        for uid in range(1, 6):
            mounted.read(mounted.message("INBOX", uid * 17 % 40), "headers.txt")
            text = mounted.status()
            parts = int(re.search(r"cached parts: (\d+)", text).group(1))
            self.assertGreater(parts, last)
            last = parts
            self.assertTrue(text.endswith("\n"))
        with open(mounted.path(".imapfs", "status"), "rb") as file:
            one, two = os.fstat(file.fileno()), file.read()
            self.assertEqual(one.st_size, len(two))
            mounted.read(mounted.message("INBOX", 3), "message.eml")
            self.assertNotEqual(mounted.read(".imapfs", "status"), two)
            file.seek(0)
            self.assertEqual(file.read(), two)  # what was opened stays as it was
        self.assertIn("online", mounted.text(".imapfs", "log"))
        copy = os.path.join(proc.workdir("copy"), "copy")
        for name in ("status", "log", "events"):
            subprocess.run(["cp", mounted.path(".imapfs", name), copy], timeout=30, check=True)
            self.assertGreater(os.stat(copy).st_size, 0)
        for _ in range(2):
            names = subprocess.run(["ls", "-l", mounted.path(".imapfs")], capture_output=True,
                                   timeout=30, check=True).stdout.decode()
            self.assertIn(" status", names)

    def test_events_grow(self):
        self.box("News", 1)
        mounted = self.up()
        mounted.messages("News")
        path = mounted.path(".imapfs", "events")
        tail = proc.Process(["tail", "-n", "+1", "-f", path],
                            os.path.join(proc.workdir("tail"), "log"))
        self.addCleanup(tail.end)
        self.soon(lambda: "new News" in tail.output(), what="what happened before")
        self.server.deliver("News", self.mails[3].raw)
        mounted.messages("News")
        self.soon(lambda: tail.output().count("new News") >= 2, what="what happens")
        self.assertNotIn("\0", tail.output())

    def test_imapfsctl(self):
        mounted = self.up()

        def control(word):
            return subprocess.run([mounts.CONTROL, word, mounted.mountpoint], capture_output=True,
                                  env=mounted.home.env, timeout=30, check=False)
        for word in ("status", "log", "queue", "failed", "sync"):
            done = control(word)
            self.assertEqual((word, done.returncode, done.stderr), (word, 0, b""))
        done = control("offline")
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"read-only", done.stderr)

    # --- without the content, and without the server ---

    def remounted(self, lose_contents):
        """Everything was read once; the kernel has forgotten it, and perhaps we have as well."""
        mounted = self.up()
        self.grep(mounted)
        mounted.unmount()
        if lose_contents:
            shutil.rmtree(os.path.join(mounted.home.dir, "cache"))
        return mounted.home

    def test_read_after_eviction(self):
        home = self.remounted(True)
        again = self.up(home=home)
        path = os.path.join(again.message("INBOX", 2), "body.txt")
        self.assertEqual(os.stat(path).st_size, len(self.mails[1].text.encode()))
        self.assertEqual(again.text(path), self.mails[1].text)
        for uid, made in enumerate(self.mails, 1):
            for name, data in made.attachments:
                self.assertEqual(again.read(again.message("INBOX", uid), "attachments", name), data)

    def test_known_sizes_without_the_server(self):
        home = self.remounted(True)
        self.link.refuse()
        again = self.up(home=home)
        path = os.path.join(again.message("INBOX", 2), "body.txt")
        self.assertEqual(os.stat(path).st_size, len(self.mails[1].text.encode()))
        self.assert_fails((errno.ENETUNREACH, errno.ETIMEDOUT), again.read, path)
        for uid, made in enumerate(self.mails, 1):  # also those that might have been computed
            for name, data in made.attachments:
                path_of_it = os.path.join(again.message("INBOX", uid), "attachments", name)
                self.assertEqual(os.stat(path_of_it).st_size, len(data))
        self.link.resume()
        self.soon(lambda: "connection: online" in again.status(), what="the connection")
        self.assertEqual(again.text(path), self.mails[1].text)

    def test_without_the_server(self):
        self.box("Unread", 2)
        mounted = self.up()
        self.grep(mounted)
        unread = mounted.message("Unread", 1)
        os.listdir(unread)
        self.link.refuse()
        self.soon(lambda: "connection: online" not in mounted.status(), what="the loss")
        self.assertEqual(mounted.text(mounted.message("INBOX", 3), "body.txt"), self.mails[2].text)
        self.assert_fails((errno.ENETUNREACH, errno.ETIMEDOUT), os.stat,
                          os.path.join(unread, "body.txt"))

    def test_interrupted(self):
        self.box("Slow", 2)
        mounted = self.up("timeout=60")
        message = mounted.message("Slow", 1)
        os.listdir(message)
        self.link.freeze()
        for command in (["ls", "-l", message], ["cat", os.path.join(message, "body.txt")]):
            waits = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            self.soon(lambda: "waiting calls: 0" not in mounted.status(), what="the call")
            waits.send_signal(signal.SIGINT)
            waits.communicate(timeout=20)
            self.assertEqual(waits.returncode, -signal.SIGINT)
        self.link.resume()
        self.assertEqual(mounted.text(message, "body.txt"), self.mails[0].text)


    def test_ended_while_waiting(self):
        self.box("Ended", 1)
        mounted = self.up("timeout=60")
        message = mounted.message("Ended", 1)
        os.listdir(message)
        self.link.freeze()
        waits = subprocess.Popen(["stat", os.path.join(message, "body.txt")],
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.soon(lambda: "waiting calls: 0" not in mounted.status(), what="the call")
        mounted.terminate()
        waits.communicate(timeout=20)
        self.assertEqual(waits.returncode, 1)

    def test_large(self):
        """Read by several programs at once, in pieces and out of order, from one content."""
        made = mail.big(77, 3_000_000)
        self.box("Large", 0)
        with self.server.client() as client:
            client.append("Large", made.raw)
        mounted = self.up()
        name, data = made.attachments[0]
        path = os.path.join(mounted.message("Large", 1), "attachments", name)
        self.assertEqual(os.stat(path).st_size, len(data))
        readers = [subprocess.Popen(["sha256sum", path], stdout=subprocess.PIPE) for _ in range(3)]
        with open(path, "rb") as file:
            for at in (2_900_000, 5, 1_000_000, 0):
                self.assertEqual(os.pread(file.fileno(), 200_000, at), data[at:at + 200_000])
        for reader in readers:
            self.assertEqual(reader.communicate(timeout=30)[0].decode()[:64], mail.sha256(data))


class TestLies(ExactCase):
    """A server whose messages change, which they never may."""

    def setUp(self):
        self.server = fakeimap.FakeImap(fakeimap.FULL).start()
        self.addCleanup(self.server.stop)
        self.mails = [mail.message(number) for number in range(4)]
        self.server.fill("INBOX", self.mails)

    def up(self, home=None):
        source, more = self.server.source()
        return self.mount(source, [*more, *self.options], home)

    def replace(self, uid, raw):
        box = self.server.box("INBOX")
        with self.server.lock:
            message = next(each for each in box.messages if each.uid == uid)
            message.raw, message._part = raw, None

    def check(self, change):
        first = self.up()
        path = os.path.join(first.message("INBOX", 1), "message.eml")
        raw = first.read(path)
        first.unmount()
        shutil.rmtree(os.path.join(first.home.dir, "cache"))
        again = self.up(first.home)
        self.assertEqual(os.stat(path).st_size, len(raw))
        changed = change(raw)
        self.replace(1, changed)
        with open(path, "rb") as file:
            self.assert_fails((errno.EIO,), file.read)
        self.assertIn("had", again.text(".imapfs", "log"))
        self.assertEqual(again.read(path), changed)  # asked again, the kernel knows better
        self.assertEqual(os.stat(path).st_size, len(changed))

    def test_longer(self):
        self.check(lambda raw: raw + b"More.\r\n" * 1000)

    def test_shorter(self):
        self.check(lambda raw: raw[:-20])
