"""imapfsctl, and .imapfs: what waits, what was refused, and what can be done about it."""
import contextlib
import os
import re
import signal
import subprocess
import threading
import time

import fakeimap
import mail
import mount as mounts
import proxy
from case import Case


class ControlCase(Case):
    timeout = 90
    count = 8

    def setUp(self):
        self.server = fakeimap.FakeImap(fakeimap.FULL).start()
        self.addCleanup(self.server.stop)
        self.server.fill("INBOX", [mail.message(number) for number in range(self.count)])
        self.home = mounts.Home()
        self.stores = 0
        self.answer = None  # what STORE is answered, when the server shall not do it
        self.go = threading.Event()  # STORE is held up while this is not set
        self.go.set()

    def up(self, *options, **more):
        source, given = self.server.source(**more)
        self.server.on_command = self.on_command
        return self.mount(source, [*given, *options], self.home)

    def on_command(self, conn, tag, name, _arguments):
        if name != "STORE":
            return False
        self.stores += 1
        self.go.wait(20)
        if self.answer:
            conn.send(tag, b" ", self.answer, b"\r\n")
        return bool(self.answer)

    def start(self, *words):
        return subprocess.Popen([mounts.CONTROL, *words], env=self.home.env, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def flags(self, mounted, uid):
        return set(mounted.text(mounted.message("INBOX", uid), "flags").split())

    def refused_change(self):
        """A mount with one change that the server has refused; its number."""
        self.answer = b"NO [NOPERM] not \x1b[1myours"
        mounted = self.up()
        self.control("flag", mounted.message("INBOX", 1), "+todo")
        self.soon(lambda: mounted.list(".imapfs", "failed"), what="the refusal")
        (name,) = mounted.list(".imapfs", "failed")
        self.answer = None
        return mounted, name.split("-")[0]


class TestQueue(ControlCase):
    def test_flag_and_queue(self):
        mounted = self.up()
        names = mounted.messages("INBOX")
        paths = [mounted.path("INBOX", names[uid]) for uid in (1, 2, 3)]
        self.control("offline", mounted.mountpoint)
        self.assertIn("offline", mounted.status())
        self.assertEqual(self.control("queue", mounted.mountpoint), "")
        self.control("flag", *paths, "+\\Flagged", "+todo", "-\\Seen")
        self.assertEqual(self.flags(mounted, 3), {"\\Flagged", "todo"})
        lines = self.control("queue", mounted.mountpoint).splitlines()
        self.assertEqual(len(lines), 3)
        for line, uid in zip(lines, (1, 2, 3)):
            self.assertRegex(line, r"^\d+  queued  \+\\Flagged \+todo -\\Seen  INBOX/")
            self.assertTrue(line.endswith(names[uid]), line)
        first = lines[0].split()[0]
        self.control("cancel", mounted.mountpoint, first)
        self.assertEqual(len(self.control("queue", mounted.mountpoint).splitlines()), 2)
        self.assertEqual(self.flags(mounted, 1), set())
        self.assertIn("no such change", self.control("cancel", mounted.mountpoint, first,
                                                         code=1))
        os.unlink(mounted.path(".imapfs", "queue", mounted.list(".imapfs", "queue")[0]))
        self.assertEqual(self.flags(mounted, 2), set())
        self.assertIn("cannot be reached", self.control("sync", mounted.mountpoint, code=3))
        self.assertEqual(self.stores, 0)
        self.control("online", mounted.mountpoint)
        self.soon(lambda: not mounted.list(".imapfs", "queue"), what="replay")
        self.control("sync", mounted.mountpoint)
        self.assertEqual(self.server.client().flags("INBOX")[3], {"\\Flagged", "todo"})
        self.assertEqual(self.server.client().flags("INBOX")[1], frozenset())

    def test_flag_says_what_is_wrong(self):
        mounted = self.up()
        message = mounted.message("INBOX", 1)
        self.assertIn("a flag is none", self.control("flag", message, "+\\Foo", code=1))
        self.assertIn("No such file", self.control("flag", mounted.path("INBOX", "x.1"), "+a",
                                                   code=1))
        self.assertIn("not in an imapfs mount", self.control("flag", "/tmp", "+a", code=1))
        self.control("flag", os.path.join(message, "flags"), "+a")
        self.assertEqual(self.flags(mounted, 1), {"a"})
        for words in (("flag",), ("flag", message), ("flag", "+a"), ("retry", "x", "y", "z"),
                      ("discard",), ("cancel", mounted.mountpoint), ("status", "a", "b")):
            self.control(*words, code=2)

    def test_sync_waits(self):
        """It waits for the server, holds nobody up, and ends on Ctrl-C."""
        mounted = self.up()
        message = mounted.message("INBOX", 1)
        self.go.clear()
        self.control("flag", message, "+a")
        waiting, other = self.start("sync", mounted.mountpoint), self.start("sync", mounted.mountpoint)
        time.sleep(0.5)
        self.assertIsNone(waiting.poll())
        self.control("flag", message, "+b")
        self.assertEqual(len(self.control("queue", mounted.mountpoint).splitlines()), 2)
        self.control("status", mounted.mountpoint)
        waiting.send_signal(signal.SIGINT)
        waiting.communicate(timeout=10)
        self.assertEqual(waiting.returncode, -signal.SIGINT)
        self.go.set()
        self.assertEqual(other.communicate(timeout=30)[0], "")
        self.assertEqual(other.returncode, 0)

    def test_sync_when_the_server_is_back(self):
        """It does not go by an attempt of a moment ago."""
        link = proxy.Proxy(self.server.port).start()
        self.addCleanup(link.stop)
        mounted = self.up(port=link.port)
        message = mounted.message("INBOX", 1)
        for number in range(3):
            link.refuse()
            self.soon(lambda: "connection: offline" in mounted.status(), what="that it is gone")
            self.control("flag", message, f"+flag{number}")
            self.assertIn("cannot be reached", self.control("sync", mounted.mountpoint, code=3))
            link.resume()
            self.control("sync", mounted.mountpoint)
            self.assertEqual(mounted.list(".imapfs", "queue"), [])
            self.assertIn(f"flag{number}", self.server.client().flags("INBOX")[1])

    def test_bytes_are_counted_over_connections(self):
        """What came over a connection that is gone has come all the same."""
        link = proxy.Proxy(self.server.port).start()
        self.addCleanup(link.stop)
        mounted = self.up(port=link.port)
        mounted.read(mounted.message("INBOX", 1), "body.txt")

        def counted(word):
            number, unit = re.search(rf"^{word}: ([\d.]+).(\w+)$", mounted.status(), re.M).groups()
            return float(number) * {"byte": 1, "bytes": 1, "KiB": 1 << 10, "MiB": 1 << 20}[unit]

        before = {word: counted(word) for word in ("received", "sent")}
        self.assertGreater(before["received"], 1000)
        link.refuse()
        self.soon(lambda: "connection: offline" in mounted.status(), what="that it is gone")
        for word, number in before.items():
            self.assertGreaterEqual(counted(word), number)
        link.resume()
        self.control("online", mounted.mountpoint)
        self.control("flag", mounted.message("INBOX", 1), "+x")
        self.control("sync", mounted.mountpoint)
        for word, number in before.items():
            self.assertGreater(counted(word), number)

    def test_ctl(self):
        """The file itself, from a shell."""
        mounted = self.up()
        mounted.messages("INBOX")
        for command, want in (("echo offline > ctl", 0), ("echo online > ctl", 0),
                              ("echo sync > ctl", 0), ("echo nonsense > ctl 2>/dev/null", 1)):
            done = subprocess.run(["bash", "-c", command], cwd=mounted.path(".imapfs"), check=False,
                                  timeout=30)
            self.assertEqual(done.returncode, want, command)


class TestFailed(ControlCase):
    def test_shown(self):
        mounted, number = self.refused_change()
        self.assertEqual(self.flags(mounted, 1), set())  # rolled back
        state = os.getxattr(mounted.message("INBOX", 1), "user.imapfs.state")
        self.assertEqual(state, b"failed")
        (line,) = self.control("failed", mounted.mountpoint).splitlines()
        self.assertRegex(line, rf"^{number}  failed  \+todo  INBOX/.*\.1: .*not ")
        self.assertNotIn("\x1b", line)
        where = mounted.path(".imapfs", "failed", f"{number}-flags")
        self.assertEqual(sorted(os.listdir(where)),
                         ["discard", "message", "message.eml", "reason.txt", "retry"])
        self.assertNotIn("\x1b", mounted.text(where, "reason.txt"))
        self.assertEqual(mounted.read(where, "message", "body.txt"),
                         mounted.read(mounted.message("INBOX", 1), "body.txt"))
        self.assertIn(b"Subject:", mounted.read(where, "message.eml"))
        self.assertIn("failed", self.control("status", mounted.mountpoint))
        self.assertEqual(self.control("queue", mounted.mountpoint), "")

    def test_retry(self):
        mounted, number = self.refused_change()
        self.control("retry", mounted.mountpoint, number)
        self.control("sync", mounted.mountpoint)
        self.assertEqual(self.server.client().flags("INBOX")[1], {"todo"})
        self.assertEqual(self.control("failed", mounted.mountpoint), "")
        self.assertIn("no such change", self.control("retry", mounted.mountpoint, number,
                                                         code=1))
        self.control("retry", mounted.mountpoint)  # all there are: none

    def test_discard(self):
        mounted, number = self.refused_change()
        with open(mounted.path(".imapfs", "failed", f"{number}-flags", "discard"), "w") as file:
            file.write("x\n")
        self.assertEqual(mounted.list(".imapfs", "failed"), [])
        self.assertEqual(self.flags(mounted, 1), set())
        self.control("discard", mounted.mountpoint, "all")
        self.assertEqual(self.server.client().flags("INBOX")[1], frozenset())

    def test_rm(self):
        mounted, number = self.refused_change()
        subprocess.run(["rm", "-r", mounted.path(".imapfs", "failed", f"{number}-flags")],
                       check=True, timeout=20)
        self.assertEqual(mounted.list(".imapfs", "failed"), [])

    def test_survives_a_mount(self):
        mounted, number = self.refused_change()
        mounted.unmount()
        mounted = self.up()
        self.assertEqual(mounted.list(".imapfs", "failed"), [f"{number}-flags"])
        self.assertEqual(self.flags(mounted, 1), set())
        self.control("discard", mounted.mountpoint, number)

    def test_sync_tells(self):
        """Who waits for a change that is refused hears of it."""
        self.answer = b"NO [NOPERM] no"
        mounted = self.up()
        self.go.clear()
        self.control("flag", mounted.message("INBOX", 1), "+todo")
        waiting = self.start("sync", mounted.mountpoint)
        self.soon(lambda: self.stores, what="STORE")
        time.sleep(0.3)
        self.go.set()
        self.assertIn("imapfsctl failed", waiting.communicate(timeout=30)[0])
        self.assertEqual(waiting.returncode, 1)
        self.control("sync", mounted.mountpoint)  # nothing waits any more


class TestEvents(ControlCase):
    def follow(self, process, want, seconds=20):
        """Reads lines until one matches."""
        deadline = time.monotonic() + seconds
        os.set_blocking(process.stdout.fileno(), False)
        text = ""
        while not re.search(want, text):
            self.assertLess(time.monotonic(), deadline, (want, text))
            with contextlib.suppress(TypeError):
                text += process.stdout.read() or ""
            time.sleep(0.02)
        return text

    def test_tail(self):
        mounted = self.up()
        mounted.messages("INBOX")
        for words in (["tail", "-n", "+1", "-s", "0.1", "-f", mounted.path(".imapfs", "events")],
                      [mounts.CONTROL, "events", mounted.mountpoint]):
            with self.subTest(words[0]):
                process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True,
                                           start_new_session=True)
                self.addCleanup(process.stdout.close)
                try:
                    self.follow(process, "online")
                    self.control("flag", mounted.message("INBOX", 2), "+k" + words[0][-4:])
                    self.follow(process, "sent INBOX: 1 change")
                    self.assertIsNone(process.poll())
                finally:
                    os.killpg(process.pid, signal.SIGTERM)
                    process.wait(10)
                    self.soon(lambda pid=process.pid: self.all_gone(pid), what="its end")

    @staticmethod
    def all_gone(group):
        """Nobody of a process group is left, who could hold the mount."""
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        return False
