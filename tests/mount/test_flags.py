"""Flags changed through the mount: online, without the network, over unmounts and crashes."""
import errno
import os
import re
import shutil
import subprocess
import threading
import time
import unittest

import mail
import mount as mounts
import proxy
import servers
from case import Case


class FlagsCase(Case):
    timeout = 90
    count = 12

    def setUp(self):
        self.server = servers.Dovecot().start()
        self.addCleanup(self.server.stop)
        self.server.prefill("INBOX", [(mail.quick(number, 1500), None)
                                      for number in range(self.count)], flags="")
        self.link = proxy.Proxy(self.server.port).start()
        self.addCleanup(self.link.stop)
        self.home = mounts.Home()

    def up(self, *options, **more):
        source, given = self.server.source(port=self.link.port)
        return self.mount(source, [*given, *options], self.home, **more)

    def flags(self, mounted, uid):
        return set(mounted.text(mounted.message("INBOX", uid), "flags").split())

    def write(self, mounted, uid, text, mode="a"):
        with open(os.path.join(mounted.message("INBOX", uid), "flags"), mode) as file:
            file.write(text)

    def server_flags(self):
        with self.server.client() as client:
            return {uid: set(flags) - {"\\Recent"} for uid, flags in client.flags("INBOX").items()}

    def state(self, mounted, uid):
        return os.getxattr(mounted.message("INBOX", uid), "user.imapfs.state").decode()


class TestFlags(FlagsCase):
    def test_reach_the_server(self):
        mounted = self.up()
        self.write(mounted, 1, "+\\Flagged\n+todo\n")
        self.write(mounted, 2, "\\Seen\n", "w")
        os.setxattr(mounted.message("INBOX", 3), "user.xdg.tags", b"one,two")
        self.assertEqual(self.flags(mounted, 1), {"\\Flagged", "todo"})
        self.control("sync", mounted.mountpoint)
        found = self.server_flags()
        self.assertEqual(found[1], {"\\Flagged", "todo"})
        self.assertEqual(found[2], {"\\Seen"})
        self.assertEqual(found[3], {"one", "two"})
        self.assertEqual(self.state(mounted, 1), "synced")
        self.assertEqual(mounted.list(".imapfs", "queue"), [])
        self.assertEqual(self.flags(mounted, 3), {"one", "two"})

    def test_fsync_waits_for_the_server(self):
        mounted = self.up()
        message = mounted.message("INBOX", 4)
        self.write(mounted, 4, "+\\Answered\n")
        descriptor = os.open(message, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
        self.assertIn("\\Answered", self.server_flags()[4])

    def test_fsync_of_the_file_needs_no_server(self):
        """What an editor does when it saves."""
        mounted = self.up()
        message = mounted.message("INBOX", 4)
        self.control("offline", mounted.mountpoint)
        with open(os.path.join(message, "flags"), "a") as file:
            file.write("+more\n")
            file.flush()
            os.fsync(file.fileno())
        self.assertIn("more", self.flags(mounted, 4))

    def test_tools(self):
        """Flags as users write them."""
        mounted = self.up()
        message = mounted.message("INBOX", 1)
        rows = [("echo '\\Flagged' >> flags", {"\\Flagged"}),
                ("echo '-\\Flagged' >> flags", set()),
                ("printf '%s\\n' '\\Seen' work > flags", {"\\Seen", "work"}),
                (": > flags", set()),
                ("echo '+\\Draft' | tee -a flags", {"\\Draft"}),
                ("echo a | tee flags", {"a"}),
                ("sed 's/a/b/' flags > /tmp/imapfs.$$; cp /tmp/imapfs.$$ flags; "
                 "rm /tmp/imapfs.$$", {"b"}),
                ("dd of=flags conv=notrunc oflag=append status=none <<< c", {"b", "c"}),
                ("truncate -s 0 flags", set()),
                ("python3 -c 'open(\"flags\", \"w\").write(\"x\")'", {"x"})]
        for command, want in rows:
            with self.subTest(command):
                subprocess.run(["bash", "-ec", command], cwd=message, check=True, timeout=30,
                               stdout=subprocess.DEVNULL)
                self.assertEqual(self.flags(mounted, 1), want)
                size = os.stat(os.path.join(message, "flags")).st_size
                self.assertEqual(size, len(mounted.read(message, "flags")))

    def test_merges_with_what_the_server_says(self):
        """Offline, another client changes other flags: both are there in the end."""
        mounted = self.up()
        mounted.messages("INBOX")
        self.control("offline", mounted.mountpoint)
        self.write(mounted, 5, "+mine\n")
        with self.server.client() as client:
            client.store("INBOX", 5, "+FLAGS", ["theirs", "\\Answered"])
        self.assertEqual(self.flags(mounted, 5), {"mine"})
        self.control("online", mounted.mountpoint)
        self.soon(lambda: self.state(mounted, 5) == "synced", what="replay")
        want = {"mine", "theirs", "\\Answered"}
        self.assertEqual(self.server_flags()[5], want)
        self.soon(lambda: self.flags(mounted, 5) == want, what="the view")

    def test_what_is_no_flag(self):
        """What no client may set is refused, with its reason in the log."""
        mounted = self.up()
        message = mounted.message("INBOX", 1)
        self.assert_fails((errno.EINVAL,), os.setxattr, message, "user.imap.flags", b"\\Recent")
        self.assertIn('flags of UID 1, line 1: "\\Recent"',
                      self.control("log", mounted.mountpoint))


class TestInterrupted(FlagsCase):
    count = 60

    def test_offline_while_it_is_sending(self):
        """The network is given up and used again in the middle of sending: no message and no
        change is lost."""
        self.link.stop()
        self.link = proxy.Proxy(self.server.port, 30, 20).start()
        self.addCleanup(self.link.stop)
        mounted = self.up()
        names = mounted.messages("INBOX")
        want = {uid: set() for uid in names}
        for turn in range(12):
            for uid in names:
                word = f"k{turn % 3}"
                with open(mounted.path("INBOX", names[uid], "flags"), "a") as file:
                    file.write(("+" if turn % 2 else "-") + word + "\n")
                (want[uid].add if turn % 2 else want[uid].discard)(word)
            self.control("offline", mounted.mountpoint)
            self.assertEqual(mounted.messages("INBOX"), names)
            self.control("online", mounted.mountpoint)
        self.soon(lambda: "connection: online" in mounted.status(), what="the connection")
        self.control("sync", mounted.mountpoint)
        self.assertEqual(mounted.messages("INBOX"), names)
        found = self.server_flags()
        self.assertEqual({uid: found[uid] for uid in names}, want)
        self.assertEqual({uid: self.flags(mounted, uid) for uid in names}, want)


class TestWithoutNetwork(FlagsCase):
    def test_changes_wait_for_the_next_mount(self):
        mounted = self.up()
        mounted.messages("INBOX")
        self.link.refuse()
        for uid in range(1, 11):
            self.write(mounted, uid, f"+k{uid}\n-\\Seen\n")
        self.assertEqual(self.flags(mounted, 7), {"k7"})
        self.assertEqual(self.state(mounted, 7), "queued")
        mounted.unmount()
        self.assertIn("10 changes are queued and will be sent at the next mount", mounted.output())

        began = time.monotonic()
        mounted = self.up()  # nobody listens
        self.assertLess(time.monotonic() - began, 5)
        self.assertEqual(len(mounted.list(".imapfs", "queue")), 10)
        self.assertEqual(self.flags(mounted, 7), {"k7"})
        mounted.unmount()

        self.link.resume()
        mounted = self.up()
        self.control("sync", mounted.mountpoint)
        found = self.server_flags()
        self.assertEqual({uid: found[uid] for uid in range(1, 11)},
                         {uid: {f"k{uid}"} for uid in range(1, 11)})

    def test_silent_server(self):
        """A server that says nothing holds the mount up for two seconds, no longer."""
        mounted = self.up()
        mounted.messages("INBOX")
        mounted.unmount()
        self.link.freeze()
        began = time.monotonic()
        mounted = self.up()
        self.assertLess(time.monotonic() - began, 10)  # of 30 that the server is given
        self.write(mounted, 1, "+x\n")
        self.assertEqual(self.flags(mounted, 1), {"x"})
        self.link.resume()
        self.soon(lambda: self.state(mounted, 1) == "synced", 40, what="replay")

    def test_option_offline(self):
        source, given = self.server.source(port=self.link.port)
        code, said = self.refused(source, [*given, "offline"])
        self.assertEqual(code, 2, said)
        self.assertIn("nothing of this account is kept here", said)
        mounted = self.up()
        mounted.messages("INBOX")
        mounted.unmount()
        connects = self.link.connects
        mounted = self.up("offline")
        self.assertEqual(len(mounted.messages("INBOX")), self.count)
        self.write(mounted, 1, "+x\n")
        self.control("sync", mounted.mountpoint, code=3)
        self.assertEqual(self.link.connects, connects)  # not even for a moment
        self.assertNotIn("x", self.server_flags()[1])
        self.control("online", mounted.mountpoint)
        self.soon(lambda: self.state(mounted, 1) == "synced", what="replay")
        self.assertIn("x", self.server_flags()[1])

    def test_crash_loses_nothing(self):
        """kill -9 at any moment: what was acknowledged is there afterwards, and is sent."""
        mounted = self.up()
        names = {uid: mounted.message("INBOX", uid) for uid in range(1, 5)}
        self.control("offline", mounted.mountpoint)
        acknowledged = {uid: [] for uid in names}

        def change(uid):
            try:
                for number in range(100000):
                    descriptor = os.open(os.path.join(names[uid], "flags"),
                                         os.O_WRONLY | os.O_APPEND)
                    os.write(descriptor, b"+n%d\n" % (number % 500))
                    acknowledged[uid].append(number)
                    os.close(descriptor)
            except OSError:
                pass
        threads = [threading.Thread(target=change, args=(uid,)) for uid in names]
        for thread in threads:
            thread.start()
        time.sleep(0.7)
        mounted.kill()
        for thread in threads:
            thread.join(20)
        self.assertTrue(all(len(numbers) > 5 for numbers in acknowledged.values()))
        mounted = self.up("offline")
        for uid, numbers in acknowledged.items():
            want = {f"n{number % 500}" for number in numbers}
            self.assertLessEqual(want, self.flags(mounted, uid))
        self.control("online", mounted.mountpoint)
        self.control("sync", mounted.mountpoint)
        found = self.server_flags()
        for uid, numbers in acknowledged.items():
            self.assertLessEqual({f"n{number % 500}" for number in numbers}, found[uid])

    def test_read_only_keeps_the_queue(self):
        mounted = self.up()
        mounted.messages("INBOX")
        self.control("offline", mounted.mountpoint)
        self.write(mounted, 1, "+x\n")
        mounted.unmount()
        mounted = self.up("ro")
        mounted.messages("INBOX")
        self.assertEqual(self.flags(mounted, 1), {"x"})
        self.assertEqual(len(mounted.list(".imapfs", "queue")), 1)
        for words in (("sync",), ("offline",), ("cancel", "all")):
            said = self.control(*words[:1], mounted.mountpoint, *words[1:], code=1)
            self.assertIn("read-only", said)
        descriptor = os.open(mounted.message("INBOX", 1), os.O_RDONLY)
        self.assert_fails((errno.EROFS,), os.fsync, descriptor)
        os.close(descriptor)
        self.assertNotIn("x", self.server_flags()[1])
        mounted.unmount()
        mounted = self.up()
        self.control("sync", mounted.mountpoint)
        self.assertIn("x", self.server_flags()[1])


@unittest.skipUnless(shutil.which("strace"), "needs strace")
class TestWarm(FlagsCase):
    def test_warm_grep_asks_nothing(self):
        """Once read, a file costs an open and a close and nothing else: no request for
        attributes, which every read would cost where the kernel thinks that it changes them."""
        mounted = self.up()
        grep = ["grep", "-r", "nosuchword", mounted.path("INBOX")]
        for _ in range(2):
            subprocess.run(grep, check=False, timeout=60)
        more = [self.requests(mounted, grep)]
        # the third, unless something came in between, as on a busy machine
        while sum(more[-1].values()) - more[-1]["OPEN"] - more[-1]["RELEASE"] >= self.count:
            self.assertLess(len(more), 4, ("something is asked for every file", more))
            more.append(self.requests(mounted, grep))
        self.note(f"requests: {more[-1]}")
        self.assertGreaterEqual(more[-1]["OPEN"], self.count)
        self.assertGreaterEqual(more[-1]["RELEASE"], self.count)

    def test_first_walk_asks_for_no_name(self):
        """A listing tells the attributes of what is in it, also where the kernel would stop asking
        for them: who walks on is spared a question for each message."""
        self.server.prefill("Many", [(mail.quick(number, 300), None) for number in range(500)])
        mounted = self.up()
        self.assertEqual(len(mounted.messages("Many")), 500)
        mounted.unmount()
        mounted = self.up()
        counted = self.requests(mounted, ["find", mounted.path("Many"), "-name", "nosuchname"])
        self.note(f"requests: {counted}")
        self.assertGreaterEqual(counted["READDIRPLUS"], 500)
        self.assertLess(counted.get("LOOKUP", 0) + counted.get("GETATTR", 0), 50)

    OPCODES = {1: "LOOKUP", 3: "GETATTR", 5: "READLINK", 14: "OPEN", 15: "READ", 17: "STATFS",
               18: "RELEASE", 22: "GETXATTR", 25: "FLUSH", 28: "READDIR", 44: "READDIRPLUS"}

    def requests(self, mounted, command):
        """What the kernel asks the program while a command runs: {operation: count}."""
        trace = os.path.join(self.home.dir, "trace")
        tracer = subprocess.Popen(["strace", "-f", "-e", "trace=read", "-xx", "-s", "16",
                                   "-o", trace, "-p", str(mounted.program_pid())],
                                  stderr=subprocess.PIPE, text=True, errors="replace")
        try:
            while "attached" not in tracer.stderr.readline():
                pass
            subprocess.run(command, check=False, timeout=60)
            time.sleep(0.3)
        finally:
            tracer.terminate()
            tracer.communicate(timeout=10)
        return self.operations(trace)

    def operations(self, trace):
        found = {}
        with open(trace) as file:
            for line in file:
                # fuse_in_header: length, opcode
                match = re.search(r'read\(\d+, "((?:\\x[0-9a-f]{2}){16})"\.\.\., \d+\) = \d+', line)
                if match:
                    raw = bytes.fromhex(match.group(1).replace("\\x", ""))
                    name = self.OPCODES.get(int.from_bytes(raw[4:8], "little"), "other")
                    found[name] = found.get(name, 0) + 1
        return found
