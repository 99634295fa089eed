"""Mailboxes made, removed and renamed from the mount on each server, in its own namespace."""
import contextlib
import errno
import os

import mail
import mount as mounts
import proxy
import servers
from case import Case, OfServer


class Boxes(OfServer):
    timeout = 90

    def setUp(self):
        self.link = proxy.Proxy(self.server.port).start()
        self.addCleanup(self.link.stop)
        self.home = mounts.Home()

    def up(self):
        source, given = self.server.source(port=self.link.port)
        return self.mount(source, given, self.home)

    def at(self, mounted, name):
        return mounted.path(self.server.path(name))

    def has(self, name):
        with self.server.client() as client:
            status, _ = client.imap.status(client.wire(name), "(MESSAGES)")
        return status == "OK"

    def check(self, mounted, there, gone):
        self.control("sync", mounted.mountpoint)
        for name in there:
            self.assertTrue(self.has(name), name)
            self.assertTrue(os.path.isdir(self.at(mounted, name)), name)
        for name in gone:
            self.assertFalse(self.has(name), name)
            self.assertFalse(os.path.exists(self.at(mounted, name)), name)
        self.assertEqual(mounted.list(".imapfs", "queue"), [])
        self.assertEqual(mounted.list(".imapfs", "failed"), [])

    def test_all(self):
        mounted = self.up()
        os.mkdir(self.at(mounted, "one"))
        os.mkdir(self.at(mounted, "one/two"))
        self.check(mounted, ("one", "one/two"), ())
        with self.server.client() as client:
            client.append("one/two", mail.quick(1, 700))
        self.soon(lambda: len(mounted.messages(self.server.path("one/two"))) == 1, what="the mail")
        os.rename(self.at(mounted, "one"), self.at(mounted, "three"))
        self.check(mounted, ("three", "three/two"), ("one",))

        def listed():
            with contextlib.suppress(OSError):  # Courier: it has another UIDVALIDITY then
                return len(mounted.messages(self.server.path("three/two"))) == 1

        self.soon(listed, what="the mail under the new name")
        self.assert_fails((errno.ENOTEMPTY,), os.rmdir, self.at(mounted, "three/two"))
        with self.server.client() as client:
            client.expunge("three/two", client.uids("three/two"))
        self.soon(lambda: not mounted.messages(self.server.path("three/two")), what="its end")
        os.rmdir(self.at(mounted, "three/two"))
        os.rmdir(self.at(mounted, "three"))
        self.check(mounted, (), ("three", "three/two"))

    def test_without_the_network(self):
        mounted = self.up()
        mounted.list(self.server.path("").rstrip("/"))
        self.control("offline", mounted.mountpoint)
        os.mkdir(self.at(mounted, "a"))
        os.mkdir(self.at(mounted, "a/b"))
        os.rename(self.at(mounted, "a"), self.at(mounted, "c"))
        os.mkdir(self.at(mounted, "d"))
        os.rmdir(self.at(mounted, "d"))
        self.control("online", mounted.mountpoint)
        self.soon(lambda: "connection: online" in mounted.status(), what="the connection")
        self.check(mounted, ("c", "c/b"), ("a", "d"))
        os.rmdir(self.at(mounted, "c/b"))
        os.rmdir(self.at(mounted, "c"))
        self.check(mounted, (), ("c", "c/b"))

    def test_where_there_can_be_none(self):
        mounted = self.up()
        mounted.list()
        self.assert_fails((errno.EPERM,), os.mkdir, self.at(mounted, f"x{self.server.delimiter}y")
                          if self.server.delimiter != "/" else mounted.path("x%2Fy"))
        if self.server.prefix:
            self.assert_fails((errno.EPERM,), os.mkdir, mounted.path("outside"))
        self.assertEqual(mounted.list(".imapfs", "queue"), [])


class TestDovecotBoxes(Boxes, Case):
    @classmethod
    def make(cls):
        return servers.Dovecot()


class TestCyrusBoxes(Boxes, Case):
    @classmethod
    def make(cls):
        return servers.Cyrus()


class TestCourierBoxes(Boxes, Case):
    @classmethod
    def make(cls):
        return servers.Courier()
