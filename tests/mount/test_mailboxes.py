"""Mailboxes made, removed and renamed through the mount: online, without the network, over unmounts,
and against what another client does meanwhile."""
import contextlib
import errno
import os
import re
import threading
import unittest

import mail
import mount as mounts
import proxy
import servers
from case import Case


class MailboxesCase(Case):
    timeout = 90
    boxes = ()
    extra = ""

    def setUp(self):
        self.server = servers.Dovecot(extra=self.extra).start()
        self.addCleanup(self.server.stop)
        self.server.prefill("INBOX", [(mail.quick(number, 900), None) for number in range(3)],
                            flags="")
        with self.server.client() as client:
            for box in self.boxes:
                client.create(box)
        self.link = proxy.Proxy(self.server.port).start()
        self.addCleanup(self.link.stop)
        self.home = mounts.Home()

    def up(self, *options, **more):
        source, given = self.server.source(port=self.link.port)
        return self.mount(source, [*given, *options], self.home, **more)

    def server_boxes(self):
        with self.server.client() as client:
            _, lines = client.imap.list()
        return {re.search(rb'"?([^" ]+)"?$', line).group(1).decode() for line in lines
                if rb"\NonExistent" not in line} - set(servers.SPECIAL)

    def subscribed(self):
        with self.server.client() as client:
            _, lines = client.imap.lsub()
        return {re.search(rb'"?([^" ]+)"?$', line).group(1).decode() for line in lines if line}

    def tree(self, mounted, path="", inside=None):
        """The names of all mailboxes that are shown."""
        found = set()
        for name in mounted.list(path) if path else mounted.list():
            whole = os.path.join(path, name)
            if os.path.isdir(mounted.path(whole)) and not re.search(r"\.\+?\d+$", name):
                found |= {whole} | self.tree(mounted, whole)
        return found - set(servers.SPECIAL)

    def failed(self, mounted):
        return {name.split("-")[1]: mounted.text(".imapfs", "failed", name, "reason.txt")
                for name in mounted.list(".imapfs", "failed")}


class TestMake(MailboxesCase):
    boxes = ("Work", "Work/Old")

    def test_reaches_the_server(self):
        mounted = self.up()
        os.mkdir(mounted.path("New"))
        os.mkdir(mounted.path("New", "Below"))
        os.mkdir(mounted.path("INBOX", "Zürich & more"))
        self.assertEqual(mounted.list("New"), ["Below"])
        self.control("sync", mounted.mountpoint)
        with self.server.client() as client:
            client.select("New/Below")
            client.select("INBOX/Zürich & more")
        self.assertEqual(self.tree(mounted), {"INBOX", "INBOX/Zürich & more", "New", "New/Below",
                                              "Work", "Work/Old"})
        self.assertEqual(mounted.list(".imapfs", "queue"), [])
        self.assertEqual(mounted.list(".imapfs", "failed"), [])

    def test_is_a_mailbox_at_once(self):
        """Without the network it is listed, empty, and can be listed again without waiting."""
        mounted = self.up()
        mounted.list()
        self.offline(mounted)
        os.mkdir(mounted.path("New"))
        self.assertIn("New", mounted.list())
        self.assertEqual(mounted.list("New"), [])
        self.assertTrue(os.stat(mounted.path("New")).st_mode & 0o200)
        self.assertIn("New", os.listdir(mounted.path(".imapfs", "raw")))
        self.online(mounted)
        self.assertIn("New", self.server_boxes())
        with self.server.client() as client:
            client.append("New", mail.quick(1, 500))
        self.soon(lambda: len(mounted.list("New")) == 1, what="the message")

    def test_names(self):
        mounted = self.up()
        for name in (".hidden", ".Trash-1000", "-x", "a.", "%zz", "2026-11-20 A - B.12", "a%2Fb",
                     "x\x01y", "%00", "e\u0301", " x", "x "):
            with self.subTest(name):
                self.assert_fails((errno.EPERM,), os.mkdir, mounted.path(name))
                self.assert_fails((errno.EPERM,), os.mkdir, mounted.path("Work", name))
        self.assert_fails((errno.EPERM,), os.mkdir, os.fsencode(mounted.path("")) + b"/bad\xff")
        self.assertIn(".Trash-1000: a mailbox cannot be called so", mounted.text(".imapfs", "log"))
        self.assert_fails((errno.EEXIST,), os.mkdir, mounted.path("inbox"))
        self.assert_fails((errno.EEXIST,), os.mkdir, mounted.path("Work"))
        self.assert_fails((errno.ENAMETOOLONG,), os.mkdir, mounted.path("x" * 256))
        os.mkdir(mounted.path("%2Edotted"))
        os.mkdir(mounted.path("100%25"))
        self.control("sync", mounted.mountpoint)
        with self.server.client() as client:
            client.select("100%")

    def test_made_by_another_too(self):
        mounted = self.up()
        mounted.list()
        self.offline(mounted)
        os.mkdir(mounted.path("Same"))
        before = os.stat(mounted.path("Same")).st_ino
        with self.server.client() as client:
            client.create("Same")
            client.append("Same", mail.quick(7, 500))
        self.online(mounted)
        self.soon(lambda: len(mounted.list("Same")) == 1, what="their message")
        self.assertEqual(os.stat(mounted.path("Same")).st_ino, before)
        self.assertEqual(mounted.list(".imapfs", "failed"), [])

    def test_subscribed(self):
        with self.server.client() as client:
            client.ask(client.imap.subscribe('"Work"'))
            client.ask(client.imap.subscribe('"Work/Old"'))
        mounted = self.up()
        os.mkdir(mounted.path("New"))
        self.control("sync", mounted.mountpoint)
        self.assertEqual(self.subscribed(), {"Work", "Work/Old", "New"})
        os.rename(mounted.path("Work"), mounted.path("New", "Job"))
        self.control("sync", mounted.mountpoint)
        self.assertEqual(self.subscribed(), {"New", "New/Job", "New/Job/Old"})
        os.rmdir(mounted.path("New", "Job", "Old"))
        self.control("sync", mounted.mountpoint)
        self.assertEqual(self.subscribed(), {"New", "New/Job"})

    def test_not_subscribed(self):
        mounted = self.up()
        os.mkdir(mounted.path("New"))
        self.control("sync", mounted.mountpoint)
        self.assertEqual(self.subscribed(), set())


class TestRemove(MailboxesCase):
    boxes = ("Empty", "Full", "Up", "Up/Down")

    def setUp(self):
        super().setUp()
        with self.server.client() as client:
            client.append("Full", mail.quick(5, 700))

    def test_reaches_the_server(self):
        mounted = self.up()
        os.rmdir(mounted.path("Empty"))
        self.assertNotIn("Empty", mounted.list())
        self.assertFalse(os.path.exists(mounted.path("Empty")))
        self.control("sync", mounted.mountpoint)
        self.assertEqual(self.server_boxes(), {"INBOX", "Full", "Up", "Up/Down"})
        self.assertNotIn("Empty", os.listdir(mounted.path(".imapfs", "raw")))

    def test_refusals(self):
        mounted = self.up()
        self.assert_fails((errno.ENOTEMPTY,), os.rmdir, mounted.path("Full"))
        self.assert_fails((errno.ENOTEMPTY,), os.rmdir, mounted.path("Up"))
        self.assert_fails((errno.EPERM,), os.rmdir, mounted.path("INBOX"))
        self.assert_fails((errno.ENOENT,), os.rmdir, mounted.path("None"))
        os.rmdir(mounted.path("Up", "Down"))
        os.rmdir(mounted.path("Up"))
        self.control("sync", mounted.mountpoint)
        self.assertEqual(self.server_boxes(), {"INBOX", "Empty", "Full"})

    def test_mail_that_came_meanwhile(self):
        """Nothing is removed that holds what nobody was shown."""
        mounted = self.up()
        mounted.list("Empty")
        self.offline(mounted)
        os.rmdir(mounted.path("Empty"))
        with self.server.client() as client:
            client.append("Empty", mail.quick(9, 700))
        self.control("online", mounted.mountpoint)
        self.soon(lambda: "rmbox" in self.failed(mounted), what="the failure")
        self.assertIn("1 messages in it", self.failed(mounted)["rmbox"])
        self.assertIn("Empty", self.server_boxes())
        self.soon(lambda: len(mounted.list("Empty")) == 1, what="the message")

    def test_unknown_offline(self):
        """What is in it was never listed: it is not known whether it may go."""
        mounted = self.up()
        mounted.list()
        self.offline(mounted)
        self.assert_fails((errno.ENETUNREACH, errno.ENOTEMPTY), os.rmdir, mounted.path("Empty"))

    def test_made_and_removed(self):
        mounted = self.up()
        mounted.list()
        self.offline(mounted)
        os.mkdir(mounted.path("Brief"))
        os.mkdir(mounted.path("Brief", "er"))
        self.assert_fails((errno.ENOTEMPTY,), os.rmdir, mounted.path("Brief"))
        os.rmdir(mounted.path("Brief", "er"))
        os.rmdir(mounted.path("Brief"))
        self.assertEqual(mounted.list(".imapfs", "queue"), [])


class TestRename(MailboxesCase):
    boxes = ("Work", "Work/Old", "Other")

    def setUp(self):
        super().setUp()
        with self.server.client() as client:
            client.append("Work", mail.quick(5, 700))
            client.append("Work/Old", mail.quick(6, 700))

    def test_reaches_the_server(self):
        mounted = self.up()
        before = {path: os.stat(mounted.path(path)).st_ino for path in ("Work", "Work/Old")}
        text = mounted.read(mounted.message("Work", 1), "body.txt")
        raw = mounted.read(mounted.message("Work/Old", 1), "message.eml")
        os.rename(mounted.path("Work"), mounted.path("Other", "Job"))
        self.assertEqual(self.tree(mounted), {"INBOX", "Other", "Other/Job", "Other/Job/Old"})
        self.assertEqual(os.stat(mounted.path("Other/Job")).st_ino, before["Work"])
        self.control("sync", mounted.mountpoint)
        self.assertEqual(self.server_boxes(), {"INBOX", "Other", "Other/Job", "Other/Job/Old"})
        self.assertEqual(os.stat(mounted.path("Other/Job/Old")).st_ino, before["Work/Old"])
        self.assertEqual(mounted.read(mounted.message("Other/Job", 1), "body.txt"), text)
        self.assertEqual(mounted.read(mounted.message("Other/Job/Old", 1), "message.eml"), raw)
        with self.server.client() as client:
            client.append("Other/Job", mail.quick(8, 700))
        self.soon(lambda: len(mounted.list("Other/Job")) == 3, what="a new message")

    def test_the_old_name_is_free(self):
        """What is made under a name that was another's is not mistaken for that."""
        mounted = self.up()
        mounted.messages("Work")
        os.rename(mounted.path("Work"), mounted.path("Gone"))
        os.mkdir(mounted.path("Work"))
        self.assertEqual(mounted.list("Work"), [])
        self.control("sync", mounted.mountpoint)
        with self.server.client() as client:
            client.append("Work", mail.quick(11, 700))
        self.soon(lambda: len(mounted.list("Work")) == 1, what="the new message")
        with open(os.path.join(mounted.message("Work", 1), "flags"), "a") as file:
            file.write("+new\n")
        with open(os.path.join(mounted.message("Gone", 1), "flags"), "a") as file:
            file.write("+old\n")
        self.control("sync", mounted.mountpoint)
        with self.server.client() as client:
            self.assertEqual(client.flags("Work")[1], {"new"})
            self.assertEqual(client.flags("Gone")[1], {"old"})

    def test_offline(self):
        """mkdir, mkdir below, rename, a message moved in, rmdir: the server has it all in the end."""
        mounted = self.up()
        self.tree(mounted)
        mounted.messages("INBOX")
        self.offline(mounted)
        os.mkdir(mounted.path("a"))
        os.mkdir(mounted.path("a", "b"))
        os.mkdir(mounted.path("a", "d"))
        os.rename(mounted.path("a"), mounted.path("c"))
        message = mounted.message("INBOX", 2)
        os.rename(message, mounted.path("c", "b", os.path.basename(message)))
        os.rename(mounted.path("Work"), mounted.path("c", "Work"))
        os.rmdir(mounted.path("c", "d"))
        want = {"INBOX", "Other", "c", "c/b", "c/Work", "c/Work/Old"}
        self.assertEqual(self.tree(mounted), want)
        self.online(mounted)
        self.assertEqual(self.server_boxes(), want)
        self.assertEqual(self.tree(mounted), want)
        with self.server.client() as client:
            self.assertEqual(len(client.uids("c/b")), 1)
            self.assertEqual(client.uids("INBOX"), [1, 3])
        self.assertEqual(mounted.list(".imapfs", "failed"), [])

    def test_over_an_unmount(self):
        mounted = self.up()
        self.tree(mounted)
        self.link.refuse()
        os.rename(mounted.path("Work"), mounted.path("Later"))
        os.mkdir(mounted.path("Later", "New"))
        mounted.unmount()
        mounted = self.up()
        self.assertIn("Later", mounted.list())
        self.assertEqual(self.tree(mounted), {"INBOX", "Other", "Later", "Later/Old", "Later/New"})
        mounted.unmount()
        self.link.resume()
        mounted = self.up()
        self.control("sync", mounted.mountpoint)
        self.assertEqual(self.server_boxes(),
                         {"INBOX", "Other", "Later", "Later/Old", "Later/New"})

    def test_refusals(self):
        mounted = self.up()
        self.tree(mounted)
        rows = [("INBOX", "Other/INBOX", errno.EPERM), ("Work", "Other", errno.EEXIST),
                ("Other", "Work", errno.ENOTEMPTY), ("Work", "Work/Old/x", errno.EINVAL),
                ("Work", ".hidden", errno.EPERM), ("Work", "INBOX/2026-11-20 A - B.7", errno.EPERM),
                ("None", "x", errno.ENOENT)]
        for old, new, want in rows:
            with self.subTest((old, new)):
                self.assert_fails((want,), os.rename, mounted.path(old), mounted.path(new))
        self.assert_fails((errno.EPERM, errno.ENOTDIR, errno.EXDEV), os.rename,
                          mounted.path("Other"),
                          os.path.join(mounted.message("Work", 1), "x"))
        for view in ("raw/Other", "maildir/Other", "maildir/Other/cur", "maildir/Other/new",
                     "maildir/Other/tmp", "queue"):
            with self.subTest(view):
                self.assert_fails((errno.EPERM,), os.rename, mounted.path("Work"),
                                  mounted.path(".imapfs", view, "Work"))
        self.assertEqual(mounted.list(".imapfs", "queue"), [])

    def renamed_offline(self):
        """A mount where Work is Mine, which the server does not know; the name of its message."""
        mounted = self.up()
        self.tree(mounted)
        mounted.messages("Work")
        self.offline(mounted)
        os.rename(mounted.path("Work"), mounted.path("Mine"))
        message = os.path.relpath(mounted.message("Mine", 1), mounted.path("Mine"))
        self.assertIn("raw/Mine/", os.readlink(mounted.path("Mine", message, "message.eml")))
        return mounted, message

    def test_cancel(self):
        mounted, message = self.renamed_offline()
        self.control("cancel", mounted.mountpoint, "all")
        self.assertIn("Work", mounted.list())
        self.soon(lambda: not os.path.exists(mounted.path("Mine")), what="its end")
        self.soon(lambda: "raw/Work/" in os.readlink(mounted.path("Work", message, "message.eml")),
                  what="the link")

    def test_another_has_the_name(self):
        mounted, message = self.renamed_offline()
        with self.server.client() as client:
            client.create("Mine")
        self.control("online", mounted.mountpoint)
        self.soon(lambda: "renbox" in self.failed(mounted), what="the failure")
        want = {"INBOX", "Other", "Mine", "Work", "Work/Old"}
        self.soon(lambda: self.tree(mounted) == want, what="the view")
        self.assertEqual(self.server_boxes(), want)
        self.assertEqual(len(mounted.messages("Work")), 1)
        self.soon(lambda: "raw/Work/" in os.readlink(mounted.path("Work", message, "message.eml")),
                  what="the link")
        with self.server.client() as client:
            client.delete("Mine")
        self.soon(lambda: "Mine" not in mounted.list(), what="its end")
        (parked,) = mounted.list(".imapfs", "failed")
        with open(mounted.path(".imapfs", "failed", parked, "retry"), "w") as file:
            file.write("1")
        self.control("sync", mounted.mountpoint)
        self.assertEqual(self.server_boxes(), {"INBOX", "Other", "Mine", "Mine/Old"})

    def test_while_it_is_read(self):
        """Reading and listing go on while mailboxes get other names."""
        mounted = self.up()
        names = ["Work", "Moved", "Other/Moved"]
        stop, wrong = threading.Event(), []

        def read():
            while not stop.is_set():
                try:
                    mounted.messages("INBOX")
                    mounted.text(mounted.message("INBOX", 1), "body.txt")
                except OSError as error:
                    wrong.append(error)

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        try:
            for turn in range(9):
                old, new = names[turn % 3], names[(turn + 1) % 3]
                os.rename(mounted.path(old), mounted.path(new))
                self.assertEqual(len(mounted.messages(new)), 1)
                self.control("sync", mounted.mountpoint)
                self.assertEqual(len(mounted.messages(new + "/Old")), 1)
        finally:
            stop.set()
            reader.join(30)
        self.assertEqual(wrong, [])
        self.assertEqual(self.server_boxes(), {"INBOX", "Work", "Work/Old", "Other"})


class TestKilled(MailboxesCase):
    """Killed at every step on the way of a change: the next mount has the one that was meant, once."""
    boxes = ("Work", "Work/Old", "Empty")
    changes = {
        "mkdir": (lambda mounted: os.mkdir(mounted.path("Work", "New")),
                  {"INBOX", "Work", "Work/Old", "Work/New", "Empty"}),
        "rmdir": (lambda mounted: os.rmdir(mounted.path("Empty")), {"INBOX", "Work", "Work/Old"}),
        "rename": (lambda mounted: os.rename(mounted.path("Work"), mounted.path("Empty", "Job")),
                   {"INBOX", "Empty", "Empty/Job", "Empty/Job/Old"}),
    }

    def killed_at(self, point, kind):
        change, want = self.changes[kind]
        self.home.env["IMAPFS_FAULT"] = f"{point}:1=kill"
        mounted = self.up()
        del self.home.env["IMAPFS_FAULT"]
        mounted.list("Empty")
        with contextlib.suppress(OSError):  # it may be killed before this is answered
            change(mounted)
        self.soon(lambda: mounted.process.wait(0) is not None, what="its end")
        mounted.abandon()
        mounted = self.up()
        self.control("sync", mounted.mountpoint)
        self.assertEqual(self.server_boxes(), want)
        self.soon(lambda: self.tree(mounted) == want, what="the view")
        self.assertEqual(mounted.list(".imapfs", "queue"), [])
        self.assertEqual(mounted.list(".imapfs", "failed"), [])
        mounted.unmount()


for _point in ("claimed", "sent", "answered", "settle", "settled"):
    for _kind in TestKilled.changes:
        def _test(self, point=_point, kind=_kind):
            self.killed_at(f"boxes.{point}", kind)
        setattr(TestKilled, f"test_{_kind}_{_point}", _test)


class TestRights(MailboxesCase):
    """What the server permits (RFC 4314), with Dovecot's acl plugin."""
    boxes = ("Read", "Put", "Put/Below", "Free")
    extra = """
mail_plugins = $mail_plugins acl
protocol imap {
  mail_plugins = zlib acl imap_zlib imap_acl
}
plugin {
  acl = vfile
}
"""

    def setUp(self):
        super().setUp()
        with self.server.client() as client:
            for number, box in enumerate(("Read", "Put", "Free")):
                client.append(box, mail.quick(10 + number, 700))
        for box, rights in {"Read": "lrs", "Put": "lrwsi"}.items():
            path = os.path.join(self.server.home(), "Maildir", box, "dovecot-acl")
            with open(path, "w") as file:
                file.write(f"owner {rights}\n")
        servers.give(self.server.home())

    def test_modes_and_errors(self):
        mounted = self.up()
        for box in self.boxes:
            mounted.messages(box)
        self.soon(lambda: not os.stat(mounted.path("Read")).st_mode & 0o200, what="the mode")
        self.assertTrue(os.stat(mounted.path("Put")).st_mode & 0o200)
        self.assertTrue(os.stat(mounted.path("Free")).st_mode & 0o200)
        free, put = mounted.message("Free", 1), mounted.message("Put", 1)
        self.assert_fails((errno.EACCES,), os.rename, free,
                          mounted.path("Read", os.path.basename(free)))
        self.assert_fails((errno.EACCES,), os.rename, put,
                          mounted.path("Free", os.path.basename(put)))
        self.assert_fails((errno.EACCES,), os.mkdir, mounted.path("Read", "x"))
        self.assert_fails((errno.EACCES,), os.mkdir, mounted.path("Put", "x"))
        self.assert_fails((errno.EACCES,), os.rename, mounted.path("Put"), mounted.path("y"))
        with self.assertRaises(PermissionError):
            with open(mounted.path("Read", "letter.eml"), "w") as file:
                file.write("Subject: x\n\nx\n")
        os.rename(free, mounted.path("Put", os.path.basename(free)))
        self.control("sync", mounted.mountpoint)
        with self.server.client() as client:
            self.assertEqual(client.uids("Free"), [])
            self.assertEqual(len(client.uids("Put")), 2)
        self.assertEqual(mounted.list(".imapfs", "failed"), [])

    def test_draft_that_cannot_go(self):
        """Where nothing may be deleted a draft is not written anew: there would be two of it."""
        with self.server.client() as client:
            client.append("Put", mail.quick(20, 700), ["\\Draft"])
        mounted = self.up()
        for box in ("Put", "Read"):
            mounted.messages(box)
        self.soon(lambda: not os.stat(mounted.path("Read")).st_mode & 0o200, what="the rights")
        path = os.path.join(mounted.message("Put", 2), "message.eml")
        before = mounted.read(path)
        with self.assertRaises(PermissionError) as raised:
            with open(path, "w") as file:
                file.write("Subject: another\n\nx\n")
        self.assertEqual(raised.exception.errno, errno.EACCES)
        self.control("sync", mounted.mountpoint)
        for part in ("queue", "failed"):
            self.assertEqual(mounted.list(".imapfs", part), [])
        self.assertEqual(sorted(mounted.messages("Put")), [1, 2])
        self.assertEqual(mounted.read(path), before)


class TestQuota(MailboxesCase):
    """df, with Dovecot's quota plugin."""
    extra = """
mail_plugins = $mail_plugins quota
protocol imap {
  mail_plugins = zlib quota imap_zlib imap_quota
}
plugin {
  quota = count:User quota
  quota_vsizes = yes
  quota_rule = *:storage=10M:messages=500
}
"""

    def test_df(self):
        letter = mail.quick(30, 200000)
        with self.server.client() as client:
            client.append("INBOX", letter)
        mounted = self.up()
        mounted.messages("INBOX")

        def told():
            found = os.statvfs(mounted.mountpoint)
            return found if found.f_files == 500 else None

        found = self.soon(told, what="the quota")
        self.assertEqual(found.f_frsize * found.f_blocks, 10 << 20)
        used = found.f_frsize * (found.f_blocks - found.f_bavail)
        self.assertGreaterEqual(used, len(letter))
        self.assertLess(used, len(letter) + 20000)
        self.assertEqual(found.f_files - found.f_ffree, 4)


class TestNoQuota(MailboxesCase):
    def test_df(self):
        mounted = self.up()
        mounted.messages("INBOX")
        found, disk = os.statvfs(mounted.mountpoint), os.statvfs(self.home.dir)
        self.assertGreater(found.f_bavail, 0)  # what a letter is written to first
        self.assertAlmostEqual(found.f_bavail * found.f_frsize, disk.f_bavail * disk.f_frsize,
                               delta=1 << 30)
        self.assertEqual((found.f_files, found.f_ffree > 0), (3 + found.f_ffree, True))


if __name__ == "__main__":
    unittest.main()
