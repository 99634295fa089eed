"""What every server must give: one contract, run on each of them."""
import errno
import os
import subprocess
import time
import urllib.parse

import fakeimap
import mail
import mount as mounts
import proc
import proxy
import servers
from case import Case, OfServer

BOM = b"\xef\xbb\xbf"
OFFLINE = (errno.ENETUNREACH, errno.ETIMEDOUT)


def leaf(name):
    """A mailbox level as a file name: '%' is written as %25."""
    return name.replace("%", urllib.parse.quote("%"))


class Contract(OfServer):
    timeout = 150
    INBOX = len(mail.KINDS)
    flags_kept = frozenset({"\\Flagged", "\\Answered"})

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.mails = {}  # mailbox -> {uid: Mail}
        with cls.server.client() as client:
            cls.populate(client)
        source, options = cls.server.source()
        cls.shared = mounts.Mount(source, [*options, "poll=5"])
        cls.addClassCleanup(cls.shared.finish)

    @classmethod
    def populate(cls, client):
        boxes = {"INBOX": range(cls.INBOX), "Archive": range(100, 102),
                 "Archive/2024": range(102, 105), "Empty": ()}
        boxes |= {name: [200 + n] for n, name in enumerate(cls.server.odd_names)}
        for name, numbers in boxes.items():
            if name != "INBOX":
                client.create(name)
            for number in numbers:
                made = mail.message(number)
                flags = ["\\Flagged"] if number == 1 else sorted(cls.flags_kept) \
                    if number == 2 else ()
                client.append(name, made.raw, date=made.date, flags=flags)
            cls.mails[name] = dict(zip(client.uids(name), map(mail.message, numbers)))

    def box(self, name):
        """Path of a mailbox in the tree."""
        return "/".join(map(leaf, self.server.path(name).split("/")))

    def fresh(self, *options, home=None):
        source, more = self.server.source()
        return self.mount(source, [*more, "poll=5", *options], home)

    def each_message(self, name="INBOX"):
        """(path of the message's directory, uid, Mail) of a mailbox in the shared mount."""
        found = self.shared.messages(self.box(name))
        for uid, made in self.mails[name].items():
            self.assertIn(uid, found)
            yield self.shared.path(self.box(name), found[uid]), uid, made

    @staticmethod
    def bytes_of(*parts):
        with open(os.path.join(*parts), "rb") as file:
            return file.read()

    # --- reading ---

    def test_mailboxes(self):
        for name in self.mails:
            with self.subTest(name):
                self.assertTrue(os.path.isdir(self.shared.path(self.box(name))))
                parent, _, own = self.box(name).rpartition("/")
                self.assertIn(own, self.shared.list(parent) if parent else self.shared.list())
        self.assertNotIn(".imapfs", self.shared.list())
        self.assertEqual(self.shared.messages(self.box("Empty")), {})

    def test_messages_are_complete(self):
        for name, mails in self.mails.items():
            with self.subTest(name):
                self.assertEqual(set(self.shared.messages(self.box(name))), set(mails))

    def test_names(self):
        names = self.shared.messages(self.box("INBOX"))
        for uid, made in self.mails["INBOX"].items():
            if made.directory.isascii() and not set(made.directory) & set("/:\"*?<>|\\"):
                self.assertEqual(names[uid], f"{made.directory}.{uid}")
            self.assertTrue(names[uid].startswith(f"{made.date:%Y-%m-%d} {made.sender} - "),
                            names[uid])

    def test_texts(self):
        for path, _, made in self.each_message():
            with self.subTest(made.kind):
                self.assertEqual(self.bytes_of(path, "body.txt").decode(), made.text)
                if made.html is None:
                    self.assertNotIn("body.html", os.listdir(path))
                else:
                    self.assertEqual(self.bytes_of(path, "body.html"), BOM + made.html.encode())

    def test_attachments(self):
        for path, _, made in self.each_message():
            wanted = {name: mail.sha256(data) for name, data in made.attachments}
            with self.subTest(made.kind):
                self.assertEqual(bool(wanted or made.nested), "attachments" in os.listdir(path))
                if wanted:
                    folder = os.path.join(path, "attachments")
                    self.assertEqual({name: mail.sha256(self.bytes_of(folder, name))
                                      for name in os.listdir(folder)}, wanted)

    def test_nested_message(self):
        path, made = next((path, made) for path, _, made in self.each_message() if made.nested)
        inner, folder = made.nested, os.path.join(path, "attachments", "part-2.message")
        self.assertEqual(self.bytes_of(folder, "body.txt").decode(), inner.text)
        name, data = inner.attachments[0]
        self.assertEqual(self.bytes_of(folder, "attachments", name), data)
        self.assertIn(f"Subject: {inner.subject}",
                      self.bytes_of(folder, "headers.txt").decode().splitlines())

    def test_exact_bytes(self):
        for path, uid, made in self.each_message():
            with self.subTest(made.kind):
                link = os.path.join(path, "message.eml")
                self.assertTrue(os.path.islink(link))
                self.assertEqual(self.bytes_of(link), made.raw)
                raw = self.shared.path(".imapfs", "raw", self.box("INBOX"), f"{uid}.eml")
                self.assertEqual(mail.sha256(self.bytes_of(raw)), mail.sha256(made.raw))

    def test_headers(self):
        for path, _, made in self.each_message():
            with self.subTest(made.kind):
                lines = self.bytes_of(path, "headers.txt").decode().splitlines()
                self.assertIn(f"Subject: {made.subject}", lines)
                self.assertEqual(sum(line.startswith("Received: ") for line in lines), 1)
                sender = next(line for line in lines if line.startswith("From: "))
                self.assertIn(made.sender, sender)

    def test_flags_file(self):
        with self.server.client() as client:
            told = client.flags("INBOX")
        for path, uid, _ in self.each_message():
            self.assertEqual(set(self.bytes_of(path, "flags").decode().split()), set(told[uid]))

    def test_attributes(self):
        with self.server.client() as client:
            uidvalidity = client.uidvalidity("INBOX")
        for path, uid, made in self.each_message():
            values = {name: os.getxattr(path, name).decode() for name in (
                "user.imap.uid", "user.imap.uidvalidity", "user.xdg.origin.email.subject",
                "user.xdg.origin.email.from", "user.xdg.origin.email.message-id",
                "user.imap.flags")}
            self.assertEqual(values["user.imap.uidvalidity"], str(uidvalidity))
            self.assertEqual(values["user.imap.uid"], str(uid))
            self.assertEqual(values["user.xdg.origin.email.subject"], made.subject)
            self.assertIn(made.sender, values["user.xdg.origin.email.from"])
            self.assertIn("@example.org>", values["user.xdg.origin.email.message-id"])
            self.assertLessEqual(set(values), set(os.listxattr(path)) | {"user.imap.flags"})

    def test_uid_links(self):
        for path, uid, _ in self.each_message():
            link = self.shared.path(self.box("INBOX"), ".uid", str(uid))
            self.assertTrue(os.path.islink(link))
            self.assertEqual(os.path.realpath(link), os.path.realpath(path))

    def test_times_and_modes(self):
        for path, _, made in self.each_message():
            status = os.stat(path)
            self.assertEqual(int(status.st_mtime), int(made.date.timestamp()))
            self.assertEqual(status.st_mode & 0o777, 0o500 if status.st_mode & 0o200 == 0
                             else 0o700)
            file = os.stat(os.path.join(path, "body.txt"))
            self.assertEqual(file.st_mode & 0o777, 0o400)
            self.assertEqual((file.st_uid, file.st_gid), (os.getuid(), os.getgid()))

    def test_sizes(self):
        mounted = self.fresh()
        for uid, made in self.mails["INBOX"].items():
            path = os.path.join(mounted.message(self.box("INBOX"), uid), "body.txt")
            self.assertGreater(os.stat(path).st_size, 0)
            with open(path, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                self.assertEqual(size, len(made.text.encode()))
                self.assertEqual(len(file.read()), size)

    def test_attachment_in_the_middle(self):
        path, made = next((path, made) for path, _, made in self.each_message()
                          if made.kind == "attachments")
        name, data = made.attachments[-1]
        with open(os.path.join(path, "attachments", name), "rb") as file:
            file.seek(20_000)
            self.assertEqual(file.read(5000), data[20_000:25_000])

    def test_reading_changes_nothing(self):
        mounted, out = self.fresh(), proc.workdir("copy")
        with self.server.client() as client:
            before = {name: client.flags(name) for name in ("INBOX", "Archive/2024")}
        box = mounted.path(self.box("INBOX"))
        for command in (["grep", "-r", "meeting", box], ["cp", "-r", box, out],
                        ["tar", "-C", mounted.mountpoint, "-cf", os.path.join(out, "a.tar"), "."]):
            done = subprocess.run(command, capture_output=True, timeout=60 * self.patience(), check=False)
            self.assertEqual(done.returncode, 0, done.stderr.decode())
        with self.server.client() as client:
            after = {name: client.flags(name) for name in before}
        self.assertEqual(before, after)
        self.assertTrue(any("\\Seen" not in flags for flags in after["INBOX"].values()))

    # --- the cache ---

    def test_second_mount_needs_no_network(self):
        if isinstance(self.server, fakeimap.FakeImap) and self.server.security == "tunnel":
            self.skipTest("as the other tunnel")
        home = mounts.Home()
        first = self.fresh("prefetch=0", home=home)  # one text is not read
        box, unread = self.box("INBOX"), max(self.mails["INBOX"])
        for uid, name in first.messages(box).items():
            if uid != unread:
                first.read(box, name, "body.txt")
        first.messages(self.box("Archive/2024"))
        first.unmount()
        self.server.stop()
        try:
            second = self.fresh("timeout=2", home=home)
            self.assertEqual(set(second.messages(box)), set(self.mails["INBOX"]))
            self.assertEqual(set(second.messages(self.box("Archive/2024"))),
                             set(self.mails["Archive/2024"]))
            for uid, name in second.messages(box).items():
                if uid == unread:
                    self.assert_fails(OFFLINE, second.read, box, name, "body.txt")
                else:
                    self.assertEqual(second.text(box, name, "body.txt"),
                                     self.mails["INBOX"][uid].text)
        finally:
            self.server.start()
        # and it comes back by itself
        path = os.path.join(second.message(box, unread), "body.txt")

        def works():
            try:
                return self.bytes_of(path)
            except OSError:
                return None
        self.assertEqual(self.soon(works, 60, "the session to return").decode(),
                         self.mails["INBOX"][unread].text)

    # --- what other clients do ---

    def watched(self, name):
        """A mount that has listed a mailbox, and a clock for the server's word."""
        with self.server.client() as client:
            client.create(name)
            client.append(name, mail.message(300).raw, date=mail.message(300).date)
            client.append(name, mail.message(301).raw)
        self.addCleanup(self.server.clear, [name])
        mounted = self.fresh()
        self.soon(lambda: os.path.isdir(mounted.path(self.box(name))), what="the mailbox")
        self.assertEqual(len(mounted.messages(self.box(name))), 2)
        watcher = None
        if self.server.idles and not isinstance(self.server, fakeimap.FakeImap):
            watcher = servers.Watcher(self.server.client(), name)
            self.addCleanup(watcher.close)
        return mounted, watcher

    def _delete(self, name):
        with self.server.client() as client:
            client.delete(name)

    def by_itself(self, _mounted, condition, what):
        """Waits as a user does: for the server's word, where it has none for a poll."""
        return self.soon(condition, 90, what)  # Courier looks every minute for what it overlooked

    def told(self, mounted, condition, what):
        """Waits for what the server tells by itself, where it does."""
        if self.server.idles and not self.server.overlooks:
            return self.soon(condition, 30, what)
        return self.asked(mounted, condition, what)

    def latency(self, mounted, change, pattern, watcher, condition, what, wait=None):
        """Does change, waits for condition, and notes how long after the server's word it was."""
        time.sleep(0.3)  # the program's own IDLE, begun after its listing
        since = time.monotonic()
        change()
        done = time.monotonic()
        (wait or self.told)(mounted, condition, what)
        seen = time.monotonic()
        if watcher:
            try:
                word = watcher.when(pattern, since, 2)
                self.note(f"{seen - word:+.3f} s after the word, {seen - done:.3f} s after the act")
                return
            except AssertionError:
                pass
        self.note(f"{seen - done:.3f} s after the act (no word)")

    def test_new_message(self):
        mounted, watcher = self.watched("Growing")
        made, box = mail.message(3), self.box("Growing")
        with self.server.client() as client:
            self.latency(mounted, lambda: client.append("Growing", made.raw), rb"EXISTS", watcher,
                         lambda: len(mounted.messages(box)) == 3, "the new message",
                         self.by_itself)
        uid = max(mounted.messages(box))
        self.assertEqual(mounted.text(box, mounted.messages(box)[uid], "body.txt"), made.text)

    def test_expunged_message(self):
        mounted, watcher = self.watched("Shrinking")
        box = self.box("Shrinking")
        uid, name = min(mounted.messages(box).items())
        mounted.read(box, name, "body.txt")
        with self.server.client() as client:
            self.latency(mounted, lambda: client.expunge("Shrinking", [uid]),
                         rb"EXPUNGE|VANISHED", watcher,
                         lambda: uid not in mounted.messages(box), "the message to go")
        self.assert_fails((errno.ENOENT, errno.ESTALE), os.stat, mounted.path(box, name))
        self.assertEqual(len(mounted.messages(box)), 1)

    def test_flag_change(self):
        mounted, watcher = self.watched("Flagging")
        box = self.box("Flagging")
        uid = min(mounted.messages(box))
        path = os.path.join(mounted.message(box, uid), "flags")
        self.assertNotIn(b"\\Flagged", self.bytes_of(path))
        with self.server.client() as client:
            self.latency(mounted, lambda: client.store("Flagging", uid, "+FLAGS", ["\\Flagged"]),
                         rb"FETCH.*Flagged", watcher,
                         lambda: b"\\Flagged" in self.bytes_of(path), "the flag")

    def test_listing_during_changes(self):
        """Every listing is one that the mailbox had at some moment."""
        mounted, _ = self.watched("Busy")
        box, kept = self.box("Busy"), set(mounted.messages(self.box("Busy")))
        with self.server.client() as client:
            for number in range(15):
                client.append("Busy", mail.message(number).raw)
                found = mounted.messages(box)
                self.assertLessEqual(kept, set(found))
                self.assertLessEqual(len(found), 3 + number)
            self.told(mounted, lambda: len(mounted.messages(box)) == 17, "all of them")
            client.expunge("Busy", sorted(kept))
            self.told(mounted, lambda: not kept & set(mounted.messages(box)), "the old ones to go")
        for name in mounted.messages(box).values():
            self.assertTrue(mounted.read(box, name, "body.txt"))

    def test_new_and_removed_mailbox(self):
        mounted = self.fresh()
        path = mounted.path(self.box("Passing"))
        self.assertFalse(os.path.exists(path))
        with self.server.client() as client:
            client.create("Passing")
            client.append("Passing", mail.message(5).raw)
        self.asked(mounted, lambda: os.path.isdir(path), "the new mailbox")
        self.asked(mounted, lambda: len(mounted.messages(self.box("Passing"))) == 1, "its message")
        self._delete("Passing")
        self.asked(mounted, lambda: not os.path.exists(path), "the mailbox to go")

    def test_renamed_mailbox(self):
        with self.server.client() as client:
            client.create("Before")
            client.append("Before", mail.message(6).raw)
        mounted = self.fresh()
        self.assertEqual(len(mounted.messages(self.box("Before"))), 1)
        with self.server.client() as client:
            client.rename("Before", "After")
        self.addCleanup(self.server.clear, ["After"])
        self.asked(mounted, lambda: os.path.isdir(mounted.path(self.box("After"))), "the new name")
        self.asked(mounted, lambda: not os.path.exists(mounted.path(self.box("Before"))),
                   "the old name to go")
        self.asked(mounted, lambda: len(mounted.messages(self.box("After"))) == 1, "the message")
        name = mounted.messages(self.box("After")).popitem()[1]
        self.assertEqual(mounted.text(self.box("After"), name, "body.txt"), mail.message(6).text)

    def test_mailbox_made_anew(self):
        """Another UIDVALIDITY: same name, same UIDs, other messages."""
        with self.server.client() as client:
            client.create("Anew")
            client.append("Anew", mail.message(0).raw)
            old = client.uidvalidity("Anew")
        home = mounts.Home()
        mounted = self.fresh(home=home)
        uid, name = mounted.messages(self.box("Anew")).popitem()
        self.assertEqual(mounted.text(self.box("Anew"), name, "body.txt"), mail.message(0).text)
        mounted.unmount()
        time.sleep(1.1)  # UIDVALIDITY is often the time in seconds
        self._delete("Anew")
        self.addCleanup(self.server.clear, ["Anew"])
        with self.server.client() as client:
            client.create("Anew")
            client.append("Anew", mail.message(7).raw)
            self.assertNotEqual(client.uidvalidity("Anew"), old)
        mounted = self.fresh(home=home)

        def renewed():
            try:
                found = mounted.messages(self.box("Anew"))
            except OSError as error:  # the old one, until the kernel has forgotten it
                self.assertEqual(error.errno, errno.ESTALE)
                return None
            return None if list(found.values()) in ([], [name]) else found
        found = self.soon(renewed, 30, "the new message")
        self.assertEqual(len(found), 1)
        for new in found.values():
            self.assertEqual(mounted.text(self.box("Anew"), new, "body.txt"), mail.message(7).text)
        self.assertTrue(uid)


class LoginContract(Contract):
    """And of those that have a network and passwords."""

    def one_clear_line(self, code, output, *words):
        self.assertNotEqual(code, 0)
        lines = output.strip().splitlines()
        self.assertEqual(len(lines), 1, output)
        self.assertTrue(any(word.lower() in output.lower() for word in words), output)
        for secret in (*servers.USERS.values(), "wrong-password"):
            self.assertNotIn(secret, output)

    def test_wrong_password(self):
        source, _ = self.server.source()
        code, output = self.refused(source, [
            f"cafile={self.server.tls.ca}",
            f"passcmd={self.server.passcmd(password='wrong-password')}"])
        self.one_clear_line(code, output, "login", "password", "authentication")

    def test_awkward_password(self):
        source, options = self.server.source(user="carol")
        mounted = self.mount(source, options)
        self.assertEqual(mounted.messages("INBOX"), {})

    def test_untrusted_certificate(self):
        source, _ = self.server.source()
        code, output = self.refused(source, [f"passcmd={self.server.passcmd()}"])
        self.one_clear_line(code, output, "certificate")

    def test_wrong_host_name(self):
        source, options = self.server.source(host="localhost.localdomain.invalid")
        code, output = self.refused(source, options)
        self.one_clear_line(code, output, "localhost.localdomain.invalid")

    def test_nobody_listens(self):
        source, options = self.server.source(port=proc.free_ports(1)[0])
        code, output = self.refused(source, options)
        self.one_clear_line(code, output, "refused", "reached")


class TestDovecotTls(LoginContract, Case):
    @classmethod
    def make(cls):
        return servers.Dovecot()

    def test_certificate_of_another_host(self):
        self.check_certificate(self.server.tls.wrong_host, "certificate", "host")

    def test_expired_certificate(self):
        self.check_certificate(self.server.tls.expired, "expired")

    def check_certificate(self, certificate, *words):
        with servers.Dovecot(cert=certificate) as server:
            for security in ("tls", "starttls"):
                source, options = server.source(security)
                code, output = self.refused(source, options)
                self.one_clear_line(code, output, *words)


class TestDovecotStarttls(LoginContract, Case):
    @classmethod
    def make(cls):
        return servers.Dovecot(security="starttls")

    def test_starttls_not_offered(self):
        """Without STARTTLS no password is sent: a server that has none is refused."""
        with servers.Dovecot(security="starttls", has_tls=False) as server:
            source, options = server.source("starttls")
            code, output = self.refused(source, options)
            self.one_clear_line(code, output, "starttls", "tls")
            self.assertNotIn("alice", server.log())


class TestDovecotTunnel(Contract, Case):
    @classmethod
    def make(cls):
        return servers.Tunnel()

    def test_command_that_fails(self):
        code, output = self.refused("sample", ["tunnel=echo no such thing >&2; exit 3"])
        self.assertNotEqual(code, 0)
        self.assertTrue(output.strip())


class TestCyrus(LoginContract, Case):
    @classmethod
    def make(cls):
        return servers.Cyrus()

    def test_a_copy_is_not_fetched_again(self):
        """EMAILID: what was read in one mailbox moves no bytes when it is read in another."""
        made = mail.big(77, 700_000)
        with self.server.client() as client:
            for name in ("First", "Second"):
                client.create(name)
                self.addCleanup(self._delete, name)
            client.append("First", made.raw)
            client.select("First")
            client.ask(client.imap.uid("COPY", "1", client.wire("Second")))
        link = proxy.Proxy(self.server.port).start()
        self.addCleanup(link.stop)
        source, options = self.server.source(port=link.port)
        mounted = self.mount(source, [*options, "poll=5"])
        moved = {}
        for name in ("First", "Second"):
            (folder,) = mounted.messages(self.box(name)).values()
            before = link.down.bytes
            self.assertEqual(mounted.text(self.box(name), folder, "body.txt"), made.text)
            video = mounted.read(self.box(name), folder, "attachments", "video.mp4")
            self.assertEqual(mail.sha256(video), mail.sha256(made.attachments[0][1]))
            moved[name] = link.down.bytes - before
        self.note(f"bytes from the server: {moved}")
        self.assertGreater(moved["First"], 700_000)
        self.assertLess(moved["Second"], 1000)


class TestCourier(LoginContract, Case):
    @classmethod
    def make(cls):
        return servers.Courier()


class TestMinimal(Contract, Case):
    """IMAP4rev1 and nothing else, not even IDLE."""
    @classmethod
    def make(cls):
        return fakeimap.FakeImap(fakeimap.MINIMAL)


class TestFull(Contract, Case):
    """The same server with all it has, through a tunnel."""
    @classmethod
    def make(cls):
        return fakeimap.FakeImap(fakeimap.FULL, security="tunnel")
