""".imapfs/maildir: the mailboxes as Maildirs."""
import errno
import os
import re
import resource

import fakeimap
import mail
import servers
from case import Case

NAME = re.compile(r"^(-?\d+)\.(\d+)_(\+?\d+)\.imapfs:2,([A-Z]*)$")
N = 30


def letters_of(name):
    return NAME.match(name).group(4)


class Maildir(Case):
    """Of a server in memory that tells what it is asked."""
    timeout = 90
    capabilities = fakeimap.FULL

    def setUp(self):
        self.server = fakeimap.FakeImap(self.capabilities).start()
        self.addCleanup(self.server.stop)
        self.mails = [mail.message(number) for number in range(N)]
        self.uids = self.server.fill("INBOX", self.mails)

    def up(self, *options, home=None):
        source, more = self.server.source()
        return self.mount(source, [*more, "timeout=5", "poll=5", *options], home=home)

    def dir(self, mounted, *parts):
        return mounted.path(".imapfs", "maildir", *parts)

    def files(self, mounted, box="INBOX"):
        """{uid, or "+n": name in cur/}."""
        found = {}
        for name in os.listdir(self.dir(mounted, box, "cur")):
            match = NAME.match(name)
            self.assertTrue(match, name)
            uid = match.group(3)
            found[uid if uid.startswith("+") else int(uid)] = name
        return found

    def file(self, mounted, uid, box="INBOX"):
        return self.dir(mounted, box, "cur", self.files(mounted, box)[uid])

    def mtime(self, mounted, box="INBOX"):
        return os.stat(self.dir(mounted, box, "cur")).st_mtime_ns

    def set_flags(self, uid, *flags):
        """As another client does."""
        with self.server.lock:
            self.server.boxes["INBOX"].store(uid, flags)


class TestReading(Maildir):
    def test_what_is_there(self):
        mounted = self.up()
        self.assertIn("maildir", mounted.list(".imapfs"))
        self.assertEqual(sorted(os.listdir(self.dir(mounted))), mounted.list(""))
        self.assertEqual(sorted(os.listdir(self.dir(mounted, "INBOX"))), ["cur", "new", "tmp"])
        self.assertEqual(os.listdir(self.dir(mounted, "INBOX", "new")), [])
        self.assertEqual(os.listdir(self.dir(mounted, "INBOX", "tmp")), [])
        files = self.files(mounted)
        self.assertEqual(sorted(files), sorted(self.uids))
        for uid, made in zip(self.uids, self.mails):
            path = self.dir(mounted, "INBOX", "cur", files[uid])
            with open(path, "rb") as file:
                self.assertEqual(os.fstat(file.fileno()).st_size, len(mail.to_lf(made.raw)))
                self.assertEqual(file.read(), mail.to_lf(made.raw))
            self.assertEqual(os.stat(path).st_size, len(mail.to_lf(made.raw)))
            self.assertEqual(int(os.stat(path).st_mtime), int(NAME.match(files[uid]).group(1)))

    def test_a_walk_asks_in_sets(self):
        mounted = self.up()
        for name in sorted(self.files(mounted).values(), key=lambda n: int(NAME.match(n).group(3))):
            with open(self.dir(mounted, "INBOX", "cur", name), "rb") as file:
                file.read()
        asked = self.server.commands(rb"UID FETCH .*BODY\.PEEK\[\]")
        self.assertLess(len(asked), N // 2, asked)

    def test_one_message_alone(self):
        mounted = self.up()
        with open(self.file(mounted, self.uids[5]), "rb") as file:
            file.read()
        self.assertEqual(len(self.server.commands(rb"UID FETCH \d+ .*BODY\.PEEK\[\]")), 1)
        self.assertEqual(len(self.server.commands(rb"BODY\.PEEK\[\]")), 1)

    def test_raw_bytes_serve_for_it(self):
        mounted = self.up()
        uid = self.uids[3]
        mounted.read(".imapfs", "raw", "INBOX", f"{uid}.eml")
        with open(self.file(mounted, uid), "rb") as file:
            self.assertEqual(file.read(), mail.to_lf(self.mails[3].raw))
        self.assertEqual(len(self.server.commands(rb"BODY\.PEEK\[\]")), 1)

    def test_line_ends(self):
        """Only CRLF becomes LF, also where pieces are cut."""
        odd = (b"Subject: odd\r\n\r\na\rb\r\r\nc\nd\r\n\r" + b"x\r\n" * 200_000 + b"end\r")
        uid = self.server.fill("INBOX", [mail.Mail(odd, "odd", "", None)])[0]
        mounted = self.up()
        with open(self.file(mounted, uid), "rb") as file:
            self.assertEqual(file.read(), odd.replace(b"\r\n", b"\n"))

    def test_no_other_name(self):
        mounted = self.up()
        right = self.file(mounted, self.uids[0])
        base = os.path.basename(right)
        self.assertTrue(os.path.exists(right))
        for wrong in (base + "S", base[:-len(":2,")], "1" + base, base.replace("_", "_+"),
                      base.replace("_", "_0"), "x", "_", ".imapfs:2,", "_.imapfs:2,",
                      base.replace(".imapfs", ".imapfs:2,.imapfs")):
            self.assert_fails([errno.ENOENT], os.stat,
                              self.dir(mounted, "INBOX", "cur", wrong))
            if wrong + ":2," != base:  # in new/ it is the same without letters
                self.assert_fails([errno.ENOENT], os.stat,
                                  self.dir(mounted, "INBOX", "new", wrong))

    def test_letters(self):
        flags = {"\\Draft": "D", "\\Flagged": "F", "$Forwarded": "P", "\\Answered": "R",
                 "\\Seen": "S", "\\Deleted": "T"}
        for uid, (flag, _) in zip(self.uids, flags.items()):
            self.set_flags(uid, flag)
        self.set_flags(self.uids[10], "work", *reversed(flags))
        mounted = self.up()
        files = self.files(mounted)
        for uid, (_, letter) in zip(self.uids, flags.items()):
            self.assertEqual(letters_of(files[uid]), letter)
        self.assertEqual(letters_of(files[self.uids[10]]), "DFPRST")

    def test_mailboxes_called_as_what_is_there(self):
        for name in ("INBOX/cur", "INBOX/new", "cur", "cur/tmp", "INBOX/%63ur"):
            self.server.box(name)
        self.server.fill("INBOX/cur", self.mails[:1])
        mounted = self.up()
        self.assertEqual(sorted(os.listdir(self.dir(mounted, "INBOX"))),
                         ["%2563ur", "%63ur", "%6Eew", "cur", "new", "tmp"])
        self.assertIn("%63ur", os.listdir(self.dir(mounted)))
        self.assertIn("%74mp", os.listdir(self.dir(mounted, "%63ur")))
        self.assertEqual(len(os.listdir(self.dir(mounted, "INBOX", "%63ur", "cur"))), 1)
        self.assertEqual(len(os.listdir(self.dir(mounted, "INBOX", "cur"))), N)
        self.assert_fails([errno.ENOENT], os.stat, self.dir(mounted, "cur"))


class TestTimes(Maildir):
    """The time of cur/ is that of the last change of its entries."""

    def test_a_flag_from_elsewhere(self):
        mounted = self.up()
        old, before = self.file(mounted, self.uids[4]), self.mtime(mounted)
        self.set_flags(self.uids[4], "\\Flagged")
        self.soon(lambda: self.files(mounted)[self.uids[4]].endswith(":2,F"))
        self.assertGreater(self.mtime(mounted), before)
        self.assert_fails([errno.ENOENT], os.stat, old)

    def test_a_keyword_changes_no_name(self):
        mounted = self.up()
        self.files(mounted)
        before = self.mtime(mounted)
        self.set_flags(self.uids[4], "work")
        flags = os.path.join(mounted.message("INBOX", self.uids[4]), "flags")
        self.soon(lambda: mounted.text(flags) == "work\n")
        self.assertEqual(self.mtime(mounted), before)

    def test_a_flag_from_here(self):
        """Once when it is set, and not again when the server has it."""
        mounted = self.up()
        old, before = self.file(mounted, self.uids[4]), self.mtime(mounted)
        with open(os.path.join(mounted.message("INBOX", self.uids[4]), "flags"), "a") as file:
            file.write("\\Seen\n")
        changed = self.mtime(mounted)
        self.assertGreater(changed, before)
        self.assert_fails([errno.ENOENT], os.stat, old)
        self.assertTrue(os.path.exists(old + "S"))
        self.assertEqual(self.files(mounted)[self.uids[4]], os.path.basename(old) + "S")
        fd = os.open(mounted.path("INBOX"), os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)
        self.assertEqual(self.mtime(mounted), changed)

    def test_new_and_gone(self):
        mounted = self.up()
        self.files(mounted)
        before = self.mtime(mounted)
        uid = self.server.fill("INBOX", [mail.message(99)])[0]
        self.soon(lambda: uid in self.files(mounted))
        came = self.mtime(mounted)
        self.assertGreater(came, before)
        with self.server.lock:
            self.server.boxes["INBOX"].remove([uid])
        self.soon(lambda: uid not in self.files(mounted))
        self.assertGreater(self.mtime(mounted), came)

    def test_other_mailboxes_are_left_alone(self):
        self.server.box("Other")
        self.server.fill("Other", self.mails[:3])
        mounted = self.up()
        self.files(mounted)
        self.files(mounted, "Other")
        before = self.mtime(mounted, "Other")
        self.set_flags(self.uids[4], "\\Flagged")
        self.soon(lambda: self.files(mounted)[self.uids[4]].endswith(":2,F"))
        self.assertEqual(self.mtime(mounted, "Other"), before)

    def test_the_next_mount(self):
        mounted = self.up()
        self.files(mounted)
        before = self.mtime(mounted)
        mounted.unmount()
        mounted = self.up(home=mounted.home)
        self.files(mounted)
        self.assertEqual(self.mtime(mounted), before)
        self.assertEqual(os.stat(self.dir(mounted, "INBOX", "new")).st_mtime,
                         os.stat(self.dir(mounted, "INBOX", "tmp")).st_mtime)


class TestFlags(Maildir):
    """Renaming changes the letters."""

    def rename(self, mounted, uid, letters, sub="cur"):
        old = self.file(mounted, uid)
        new = old.replace("/cur/", f"/{sub}/")
        new = new[:new.rindex(":2,")] + (f":2,{letters}" if letters is not None else "")
        os.rename(old, new)
        return old, new

    def flags(self, uid):
        return next(m.flags for m in self.server.boxes["INBOX"].messages if m.uid == uid)

    def synced(self, mounted):
        fd = os.open(mounted.path("INBOX"), os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)

    def test_all_letters(self):
        mounted = self.up()
        uid, before = self.uids[2], self.mtime(mounted)
        self.set_flags(uid, "work")
        for letters in ("DFPRST", "FS", "S", "", "T", "PR"):
            old, new = self.rename(mounted, uid, letters)
            self.assert_fails([errno.ENOENT], os.stat, old)
            self.assertEqual(letters_of(self.files(mounted)[uid]), letters)
            with open(new, "rb") as file:
                self.assertEqual(file.read(), mail.to_lf(self.mails[2].raw))
            self.assertGreater(self.mtime(mounted), before)
            before = self.mtime(mounted)
        self.synced(mounted)
        self.assertEqual(self.flags(uid), {"work", "$Forwarded", "\\Answered"})

    def test_what_others_set_stays(self):
        mounted = self.up()
        uid = self.uids[2]
        old = self.file(mounted, uid)
        self.set_flags(uid, "\\Flagged", "work")
        self.soon(lambda: letters_of(self.files(mounted)[uid]) == "F")
        self.assert_fails([errno.ENOENT], os.rename, old, old + "S")
        self.rename(mounted, uid, "FS")
        self.synced(mounted)
        self.assertEqual(self.flags(uid), {"\\Flagged", "work", "\\Seen"})

    def test_refused(self):
        mounted = self.up()
        names = self.files(mounted)
        old = self.file(mounted, self.uids[0])
        base = old[:-len(":2,")]
        for new in (base + ":2,s", base + ":2,SF", base + ":2,SS", base + ":2,X", base,
                    base + "x:2,S", base.replace(".1000_", ".1000_9") + ":2,S"):
            self.assert_fails([errno.EINVAL], os.rename, old, new)
        self.assert_fails([errno.EPERM, errno.EINVAL], os.rename, old,
                          mounted.path("INBOX", "x"))
        self.assert_fails([errno.EPERM], os.rename, old,
                          self.dir(mounted, "INBOX", "tmp", "x"))
        self.assertEqual(self.files(mounted), names)
        self.assertEqual(self.server.commands(rb"UID STORE"), [])

    def test_new(self):
        """Back to new/, as mutt does with what is to be new again."""
        mounted = self.up()
        uid = self.uids[0]
        self.rename(mounted, uid, "S")
        _, new = self.rename(mounted, uid, None, "new")
        self.assertEqual(letters_of(self.files(mounted)[uid]), "")
        self.assertTrue(os.path.exists(new))
        self.assertEqual(os.listdir(self.dir(mounted, "INBOX", "new")), [])
        os.rename(new, self.dir(mounted, "INBOX", "cur", os.path.basename(new) + ":2,RS"))
        self.synced(mounted)
        self.assertEqual(self.flags(uid), {"\\Answered", "\\Seen"})

    def test_read_only(self):
        mounted = self.up("ro")
        old = self.file(mounted, self.uids[0])
        self.assert_fails([errno.EROFS], os.rename, old, old + "S")


class TestDelivery(Maildir):
    """tmp/ -> new/ or cur/, unlink, and moves to other mailboxes; offline, as the server plays no
    part in what is seen at once."""

    def setUp(self):
        super().setUp()
        self.server.box("Other")
        self.server.box("Trash", attributes=["\\Trash"])

    def up(self, *options, home=None):
        mounted = super().up(*options, home=home)
        for box in ("INBOX", "Other", "Trash"):
            self.files(mounted, box)
        self.read(self.file(mounted, self.uids[3]))
        with open(mounted.path(".imapfs", "ctl"), "w") as file:
            file.write("offline\n")
        return mounted

    def write(self, mounted, name, data, box="Other"):
        path = self.dir(mounted, box, "tmp", name)
        with open(path, "xb") as file:
            file.write(data)
        return path

    def read(self, path):
        with open(path, "rb") as file:
            return file.read()

    def only(self, mounted, box="Other"):
        """(key, name) of the only file of a mailbox."""
        files = self.files(mounted, box)
        self.assertEqual(len(files), 1, files)
        return next(iter(files.items()))

    def test_by_link(self):
        mounted = self.up()
        data = mail.to_lf(mail.message(77).raw)
        before = self.mtime(mounted, "Other")
        tmp = self.write(mounted, "1.a.host", data)
        self.assertEqual(os.stat(tmp).st_size, len(data))
        self.assertEqual(self.read(tmp), data)
        self.assertEqual(os.listdir(self.dir(mounted, "Other", "tmp")), [])
        self.assertEqual(self.files(mounted, "Other"), {})
        self.assertEqual(self.mtime(mounted, "Other"), before)
        new = self.dir(mounted, "Other", "new", "1.a.host")
        os.link(tmp, new)
        one, two = os.lstat(tmp), os.lstat(new)  # as mutt makes sure of it
        self.assertEqual((one.st_dev, one.st_ino), (two.st_dev, two.st_ino))
        os.unlink(tmp)
        self.assert_fails([errno.ENOENT], os.stat, tmp)
        os.utime(new, (1_700_000_000, 1_700_000_000))
        self.assertGreater(self.mtime(mounted, "Other"), before)
        key, name = self.only(mounted)
        self.assertRegex(str(key), r"^\+\d+$")
        self.assertEqual(letters_of(name), "")
        self.assertEqual(os.listdir(self.dir(mounted, "Other", "new")), [])
        self.assertEqual(self.read(new), data)
        self.assertEqual(self.read(self.dir(mounted, "Other", "cur", name)), data)
        self.assertEqual(os.stat(new).st_size, len(data))
        self.assertEqual(len(mounted.list("Other")), 1)
        # the name goes on, with letters as well
        os.rename(new, self.dir(mounted, "Other", "cur", "1.a.host:2,FS"))
        self.assert_fails([errno.ENOENT], os.stat, new)
        self.assertEqual(letters_of(self.only(mounted)[1]), "FS")
        self.assertEqual(self.read(self.dir(mounted, "Other", "cur", "1.a.host:2,FS")), data)

    def test_by_rename_with_letters(self):
        mounted = self.up()
        data = mail.to_lf(mail.message(78).raw)
        tmp = self.write(mounted, "x", data)
        cur = self.dir(mounted, "Other", "cur", "x:2,RS")
        for wrong in (cur[:-5], cur + "x", cur[:-2] + "SR"):
            self.assert_fails([errno.EINVAL], os.rename, tmp, wrong)
        os.rename(tmp, cur)
        self.assert_fails([errno.ENOENT], os.stat, tmp)
        self.assertEqual(letters_of(self.only(mounted)[1]), "RS")
        self.assertEqual(self.read(cur), data)

    def test_to_another_mailbox(self):
        mounted = self.up()
        tmp = self.write(mounted, "x", mail.message(78).raw, "INBOX")
        os.rename(tmp, self.dir(mounted, "Other", "new", "x"))
        self.only(mounted)
        self.assertEqual(len(self.files(mounted)), N)

    def test_never_delivered(self):
        mounted = self.up()
        tmp = self.write(mounted, "x", b"Subject: x\n\nx\n")
        self.assert_fails([errno.EEXIST], self.write, mounted, "x", b"")
        os.unlink(tmp)
        self.write(mounted, "x", b"Subject: x\n\nx\n")
        self.assert_fails([errno.EPERM], self.write, mounted, ".x", b"")
        self.assert_fails([errno.EPERM], open, self.dir(mounted, "Other", "new", "x"), "xb")
        self.assert_fails([errno.EPERM], open, self.dir(mounted, "Other", "cur", "x:2,"), "xb")
        mounted.unmount()
        mounted = self.up(home=mounted.home)
        self.assertEqual(self.files(mounted, "Other"), {})
        self.assert_fails([errno.ENOENT], os.stat, tmp)

    def test_many_at_once(self):
        """Each has a file of the program's own: the usual limit of these does not end the mount."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        mounted = self.up()
        data = b"Subject: x\n\nx\n"
        paths = [self.write(mounted, f"{number}", data) for number in range(300)]
        self.assertEqual(self.read(self.file(mounted, self.uids[3])),
                         mail.to_lf(self.mails[3].raw))
        for path in paths:
            os.unlink(path)

    def test_what_is_no_message(self):
        mounted = self.up()
        for data in (b"", b"no header\n", b"Subject: x\n\n\0\n"):
            tmp = self.write(mounted, "x", data)
            self.assert_fails([errno.EINVAL], os.link, tmp, self.dir(mounted, "Other", "new", "x"))
            os.unlink(tmp)
        self.assertEqual(self.files(mounted, "Other"), {})

    def test_flags_of_a_delivery(self):
        """They show in its name at once, whichever way they were changed."""
        mounted = self.up()
        os.rename(self.write(mounted, "x", b"Subject: x\n\nx\n"),
                  self.dir(mounted, "Other", "cur", "x:2,"))
        (name,) = mounted.list("Other")
        for number in range(200):
            self.only(mounted)
            os.setxattr(mounted.path("Other", name), "user.imap.flags",
                        b"" if number % 2 else b"\\Seen")
            self.assertEqual(letters_of(self.only(mounted)[1]), "" if number % 2 else "S")

    def test_unlink(self):
        mounted = self.up()
        path, before = self.file(mounted, self.uids[3]), self.mtime(mounted)
        os.unlink(path)
        self.assert_fails([errno.ENOENT], os.stat, path)
        self.assertEqual(sorted(self.files(mounted)), sorted(set(self.uids) - {self.uids[3]}))
        self.assertGreater(self.mtime(mounted), before)
        self.assertEqual(len(mounted.messages("INBOX")), N - 1)
        key, name = self.only(mounted, "Trash")
        self.assertEqual(self.read(self.dir(mounted, "Trash", "cur", name)),
                         mail.to_lf(self.mails[3].raw))
        os.unlink(self.dir(mounted, "Trash", "cur", name))
        self.assertEqual(self.files(mounted, "Trash"), {})

    def test_move(self):
        mounted = self.up()
        path, before = self.file(mounted, self.uids[3]), self.mtime(mounted, "Other")
        to = self.dir(mounted, "Other", "cur", os.path.basename(path) + "FS")
        os.rename(path, to)
        self.assert_fails([errno.ENOENT], os.stat, path)
        self.assertNotIn(self.uids[3], self.files(mounted))
        self.assertGreater(self.mtime(mounted, "Other"), before)
        self.assertEqual(letters_of(self.only(mounted)[1]), "FS")
        self.assertEqual(self.read(to), mail.to_lf(self.mails[3].raw))

    def test_copy_by_link(self):
        mounted = self.up()
        path = self.file(mounted, self.uids[3])
        to = self.dir(mounted, "Other", "cur", "copy:2,S")
        os.link(path, to)
        self.assertEqual(self.read(to), mail.to_lf(self.mails[3].raw))
        self.assertEqual(letters_of(self.only(mounted)[1]), "S")
        self.assertEqual(len(self.files(mounted)), N)
        self.assertTrue(os.path.exists(path))

    def test_letters_that_are_not_kept(self):
        """What is refused is not done half."""
        self.server.box("Few", permanent=b"\\Seen \\Deleted")
        self.server.fill("Few", [mail.message(77)])
        mounted = self.up()
        path = self.file(mounted, self.uids[3])
        with open(mounted.path(".imapfs", "ctl"), "w") as file:
            file.write("online\n")
        self.soon(lambda: "connection: online" in mounted.status(), what="the connection")
        first = self.file(mounted, 1, "Few")
        os.rename(first, first + "S")
        for word in ("sync", "offline"):
            with open(mounted.path(".imapfs", "ctl"), "w") as file:
                file.write(word)
        to = self.dir(mounted, "Few", "cur", os.path.basename(path) + "F")
        for change in (os.link, os.rename):
            self.assert_fails([errno.EACCES], change, path, to)
            self.assertEqual(list(self.files(mounted, "Few")), [1])
            self.assertEqual(len(self.files(mounted)), N)
            self.assertEqual(mounted.list(".imapfs", "queue"), [])
        os.rename(path, to[:-1] + "S")
        (_, name), (_, moved) = self.files(mounted, "Few").items()
        self.assertEqual((letters_of(name), letters_of(moved)), ("S", "S"))

    def test_the_next_mount(self):
        mounted = self.up()
        data = mail.to_lf(mail.message(77).raw)
        os.rename(self.write(mounted, "x", data), self.dir(mounted, "Other", "new", "x"))
        _, name = self.only(mounted)
        changed = self.mtime(mounted, "Other")
        mounted.unmount()
        mounted = super().up("offline", home=mounted.home)
        self.assertEqual(self.only(mounted)[1], name)
        self.assertEqual(self.mtime(mounted, "Other"), changed)
        self.assertEqual(self.read(self.dir(mounted, "Other", "cur", name)), data)


class TestOnServer(Case):
    """What the changes are on a real server, and that names go on when it has numbered them."""
    timeout = 90

    def setUp(self):
        self.server = servers.Tunnel()
        self.mails = [mail.message(number) for number in range(4)]
        self.server.prefill("INBOX", [(made.raw, made.date) for made in self.mails], flags="")
        for box in ("Other", "Trash"):
            self.server.prefill(box, [])
        self.server.start()
        self.addCleanup(self.server.stop)
        source, options = self.server.source()
        self.mounted = self.mount(source, options)
        for box in ("INBOX", "Other", "Trash"):
            self.files(box)

    def dir(self, *parts):
        return self.mounted.path(".imapfs", "maildir", *parts)

    def files(self, box):
        return sorted(os.listdir(self.dir(box, "cur")))

    def mtime(self, box):
        return os.stat(self.dir(box, "cur")).st_mtime_ns

    def read(self, *parts):
        with open(self.dir(*parts), "rb") as file:
            return file.read()

    def flags(self, box):
        with self.server.client() as client:
            return client.flags(box)

    def numbered(self, box):
        """The only name of a mailbox, when the server has numbered it."""
        return self.soon(lambda: [name for name in self.files(box) if "_+" not in name])[0]

    def deliver(self, name, to, data):
        tmp = self.dir("Other", "tmp", name)
        with open(tmp, "xb") as file:
            file.write(data)
        os.link(tmp, self.dir("Other", to))
        os.unlink(tmp)

    def test_delivery(self):
        data = mail.to_lf(mail.message(55).raw)
        self.deliver("x", "new/x", data)
        first = self.files("Other")[0]
        self.assertEqual(self.read("Other", "cur", first), data)
        second = self.numbered("Other")
        self.assertEqual(self.flags("Other"), {1: frozenset()})
        changed = self.mtime("Other")
        for name in ("new/x", f"cur/{first}", f"cur/{second}"):
            self.assertEqual(self.read("Other", name), data)
        self.assertEqual(self.files("Other"), [second])
        os.rename(self.dir("Other", "new/x"), self.dir("Other", "cur/x:2,FS"))
        self.assertEqual(self.files("Other"), [second + "FS"])
        self.assertGreater(self.mtime("Other"), changed)
        self.soon(lambda: self.flags("Other") == {1: frozenset(["\\Flagged", "\\Seen"])})
        self.assertEqual(self.read("Other", "cur/x:2,FS"), data)
        with self.server.client() as client:
            client.select("Other")
            self.assertEqual(client.imap.uid("FETCH", "1", "(BODY.PEEK[])")[1][0][1],
                             data.replace(b"\n", b"\r\n"))

    def test_letters_of_a_delivery(self):
        self.deliver("x", "cur/x:2,DFRS", mail.message(56).raw)
        self.numbered("Other")
        self.assertEqual(self.flags("Other"),
                         {1: frozenset(["\\Draft", "\\Flagged", "\\Answered", "\\Seen"])})

    def test_move(self):
        old = self.files("INBOX")[0]
        data = self.read("INBOX", "cur", old)
        os.rename(self.dir("INBOX", "cur", old), self.dir("Other", "cur", old + "FS"))
        self.numbered("Other")
        self.soon(lambda: self.flags("Other") == {1: frozenset(["\\Flagged", "\\Seen"])})
        self.assertEqual(len(self.flags("INBOX")), 3)
        self.assertEqual(len(self.files("INBOX")), 3)
        self.assertEqual(self.read("Other", "cur", old + "FS"), data)

    def test_copy(self):
        old = self.files("INBOX")[0]
        os.link(self.dir("INBOX", "cur", old), self.dir("Other", "new", "copy"))
        self.numbered("Other")
        self.assertEqual(len(self.flags("INBOX")), 4)
        self.assertEqual(self.read("Other", "new", "copy"), self.read("INBOX", "cur", old))

    def test_unlink(self):
        old = self.files("INBOX")[0]
        os.unlink(self.dir("INBOX", "cur", old))
        trashed = self.numbered("Trash")
        self.soon(lambda: len(self.flags("INBOX")) == 3)
        os.unlink(self.dir("Trash", "cur", trashed))
        self.soon(lambda: self.flags("Trash") == {})

    def test_time_is_of_the_last_change(self):
        """What the server does with a change, and says of it, changes no name again."""
        old = self.files("INBOX")[0]
        os.unlink(self.dir("INBOX", "cur", old))
        changed = self.mtime("INBOX")
        self.numbered("Trash")
        self.soon(lambda: len(self.flags("INBOX")) == 3)
        self.mounted.text(".imapfs", "sync")
        self.files("INBOX")
        self.assertEqual(self.mtime("INBOX"), changed)
