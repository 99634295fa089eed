"""Changes of flags, from the mount to each server, with another client at work in between."""
import os
import threading
import time

import mail
import mount as mounts
import proxy
import servers
from case import Case, OfServer


class Replay(OfServer):
    timeout = 150
    COUNT = 20
    BOXES = 4

    def setUp(self):
        self.names = ["INBOX", *(f"B{number}" for number in range(1, self.BOXES))]
        with self.server.client() as client:
            for name in self.names:
                if name != "INBOX":
                    client.create(name)
                for number in range(self.COUNT):
                    client.append(name, mail.quick(number, 800))
        self.addCleanup(lambda: self.server.clear(self.names))
        self.link = proxy.Proxy(self.server.port).start()
        self.addCleanup(self.link.stop)
        self.home = mounts.Home()

    def up(self, *options):
        source, given = self.server.source(port=self.link.port)
        mounted = self.mount(source, [*given, *options], self.home)
        self.listed = {name: mounted.messages(self.server.path(name)) for name in self.names}
        return mounted

    def write(self, mounted, name, uid, text):
        path = mounted.path(self.server.path(name), self.listed[name][uid], "flags")
        with open(path, "a") as file:
            file.write(text)

    def server_flags(self, name="INBOX"):
        with self.server.client() as client:
            return {uid: set(flags) - {"\\Recent"} for uid, flags in client.flags(name).items()}

    def check_quiet(self, mounted):
        self.assertEqual(mounted.list(".imapfs", "queue"), [])
        self.assertEqual(mounted.list(".imapfs", "failed"), [])

    def test_online(self):
        mounted = self.up()
        first, second = sorted(self.listed["INBOX"])[:2]
        self.write(mounted, "INBOX", first, "+\\Flagged\n+work\n")
        self.control("sync", mounted.mountpoint)
        self.assertEqual(self.server_flags()[first], {"\\Flagged", "work"})
        self.write(mounted, "INBOX", first, "-\\Flagged\n")
        self.write(mounted, "INBOX", second, "+\\Seen\n")
        self.control("sync", mounted.mountpoint)
        self.assertEqual(self.server_flags()[first], {"work"})
        self.assertEqual(self.server_flags()[second], {"\\Seen"})
        self.check_quiet(mounted)

    def test_offline_in_all_mailboxes(self):
        """What is changed without the network arrives, with what others changed meanwhile."""
        mounted = self.up()
        self.link.refuse()
        for name in self.names:
            for place, uid in enumerate(self.listed[name]):
                self.write(mounted, name, uid, "+\\Seen\n" if place % 2 else "+\\Flagged\n")
        with self.server.client() as client:
            for name in self.names:
                client.store(name, min(self.listed[name]), "+FLAGS", ["\\Answered"])
        self.link.resume()
        self.control("online", mounted.mountpoint)
        self.control("sync", mounted.mountpoint)
        for name in self.names:
            found = self.server_flags(name)
            for place, uid in enumerate(self.listed[name]):
                want = {"\\Seen"} if place % 2 else {"\\Flagged"}
                if uid == min(self.listed[name]):
                    want |= {"\\Answered"}
                self.assertEqual(found[uid], want, (name, uid))
        self.check_quiet(mounted)

    def test_expunged_by_another_client(self):
        """While the mailbox is watched, and while it is not: such a change is dropped."""
        mounted = self.up()
        uids = sorted(self.listed["INBOX"])
        self.write(mounted, "INBOX", uids[0], "+\\Seen\n")
        self.control("sync", mounted.mountpoint)
        path = mounted.path("INBOX", self.listed["INBOX"][uids[1]], "flags")
        with open(path, "a") as file, self.server.client() as client:
            client.expunge("INBOX", [uids[1]])
            try:
                file.write("+\\Seen\n")
                file.flush()
            except OSError:
                pass  # it was told already
        self.soon(lambda: not mounted.list(".imapfs", "queue"), 60, what="the queue")
        self.check_quiet(mounted)

        self.link.refuse()
        self.write(mounted, "INBOX", uids[2], "+\\Seen\n")
        self.write(mounted, "INBOX", uids[3], "+\\Seen\n")
        with self.server.client() as client:
            client.expunge("INBOX", [uids[2]])
        self.link.resume()
        self.control("online", mounted.mountpoint)
        self.control("sync", mounted.mountpoint)
        self.check_quiet(mounted)
        self.assertEqual(self.server_flags()[uids[3]], {"\\Seen"})

    def test_mailbox_gone_and_made_anew(self):
        """Its UIDs mean other messages now, and another mailbox of its name is another one."""
        mounted = self.up()
        self.link.refuse()
        for uid in self.listed["B1"]:
            self.write(mounted, "B1", uid, "+\\Flagged\n")
        with self.server.client() as client:
            client.delete("B1")
            time.sleep(1.1)  # UIDVALIDITY is made of the time here and there
            client.create("B1")
            for number in range(100, 105):
                client.append("B1", mail.quick(number, 800))
        self.link.resume()
        self.control("online", mounted.mountpoint)
        self.soon(lambda: not mounted.list(".imapfs", "queue"), 60, what="the queue")
        self.assertEqual(list(self.server_flags("B1").values()), [set()] * 5)

    def test_renamed_mailbox(self):
        """With MAILBOXID the changes follow; without, they are parked, and none is made."""
        mounted = self.up()
        self.link.refuse()
        uid = min(self.listed["B2"])
        self.write(mounted, "B2", uid, "+\\Flagged\n")
        with self.server.client() as client:
            client.rename("B2", "Renamed")
        self.names[2] = "Renamed"
        self.link.resume()
        self.control("online", mounted.mountpoint)
        if self.has_mailboxid:
            self.control("sync", mounted.mountpoint)
            self.assertEqual(self.server_flags("Renamed")[uid], {"\\Flagged"})
            self.check_quiet(mounted)
        else:
            self.soon(lambda: len(mounted.list(".imapfs", "failed")) == 1, 20, what="parked")
            self.assertEqual(self.server_flags("Renamed")[uid], set())

    def test_cut_again_and_again(self):
        """The link is cut after so many bytes, again and again, each way it can be."""
        mounted = self.up()
        uids = sorted(self.listed["INBOX"])
        for turn, how in enumerate(("fin", "rst", "fin", "rst")):
            self.control("offline", mounted.mountpoint)
            for uid in uids:
                sign = "+" if turn % 2 == 0 else "-"
                self.write(mounted, "INBOX", uid, f"{sign}\\Answered\n+t{turn}\n")
            # what the login takes and a little more: in the middle of SELECT, STORE or FETCH
            self.link.cut_after(900 + 170 * turn, direction="up", how=how)
            self.control("online", mounted.mountpoint)
            self.soon(lambda: not mounted.list(".imapfs", "queue"), 40, what="the queue")
            self.link.no_more_cuts()
        want = {f"t{turn}" for turn in range(4)}
        self.assertEqual(self.server_flags(), {uid: want for uid in uids})
        self.check_quiet(mounted)

    def test_two_mounts_and_a_client(self):
        """Three change the same message at once: each one's own flags are there in the end."""
        source, given = self.server.source(port=self.link.port)
        one = self.up()
        two = self.mount(source, given, mounts.Home())
        self.assertEqual(len(two.messages("INBOX")), self.COUNT)
        uid = min(self.listed["INBOX"])

        def by_mount(mounted, word):
            path = os.path.join(mounted.path("INBOX"), self.listed["INBOX"][uid], "flags")
            for number in range(10):
                with open(path, "a") as file:
                    file.write(f"+{word}{number}\n")
                time.sleep(0.02)
        threads = [threading.Thread(target=by_mount, args=each)
                   for each in ((one, "one"), (two, "two"))]
        for thread in threads:
            thread.start()
        with self.server.client() as client:
            for number in range(10):
                client.store("INBOX", uid, "+FLAGS", [f"three{number}"])
        for thread in threads:
            thread.join(30)
        for mounted in (one, two):
            self.soon(lambda: not mounted.list(".imapfs", "queue"), 60, what="the queue")
            self.assertEqual(mounted.list(".imapfs", "failed"), [])
        want = {f"{word}{number}" for word in ("one", "two", "three") for number in range(10)}
        if not self.many_keywords:
            return
        self.assertEqual(self.server_flags()[uid], want)
        for mounted in (one, two):
            self.soon(lambda: set(mounted.text("INBOX", self.listed["INBOX"][uid],
                                               "flags").split()) == want, 30, what="the view")


class TestDovecotReplay(Replay, Case):
    has_mailboxid, many_keywords = False, True

    @classmethod
    def make(cls):
        return servers.Dovecot()


class TestCyrusReplay(Replay, Case):
    has_mailboxid, many_keywords = True, True

    @classmethod
    def make(cls):
        return servers.Cyrus()


class TestCourierReplay(Replay, Case):
    # two sessions that set keywords at the same time take away each other's
    has_mailboxid, many_keywords = False, False

    @classmethod
    def make(cls):
        return servers.Courier()
