"""mv, rm, cp and ln of messages, and letters written into mailboxes: what they mean, with and
without the network."""
import errno
import glob
import os
import re
import shutil
import stat
import subprocess

import mail
import mount as mounts
import proxy
import servers
from case import Case

PENDING = re.compile(r"^\d{4}-\d\d-\d\d .*\.\+(\d+)$", re.DOTALL)
LETTER = ("From: Ann Author <ann@example.org>\nTo: alice@example.org\nSubject: A letter\n"
          "Date: Fri, 20 Nov 2026 10:00:00 +0100\n\nfirst line\nsecond line\n")


class VerbsCase(Case):
    timeout = 120
    count = 12
    boxes = ("Archive", "Drafts", "Trash")

    def setUp(self):
        self.server = servers.Dovecot().start()
        self.addCleanup(self.server.stop)
        self.mails = [mail.message(number, "attachment") for number in range(self.count)]
        self.server.prefill("INBOX", [(each.raw, None) for each in self.mails], flags="")
        with self.server.client() as client:
            for name in self.boxes:
                client.create(name)
        self.link = proxy.Proxy(self.server.port).start()
        self.addCleanup(self.link.stop)
        self.home = mounts.Home()

    def up(self, *options, **more):
        source, given = self.server.source(port=self.link.port)
        mounted = self.mount(source, [*given, *options], self.home, **more)
        for box in ("INBOX", *self.boxes):
            mounted.messages(box)
        return mounted

    def pending(self, mounted, box):
        """Names of what the server has not numbered yet."""
        return [name for name in sorted(mounted.list(box)) if PENDING.match(name)]

    def state(self, path):
        return os.getxattr(path, "user.imapfs.state").decode()

    def shell(self, script, cwd, code=0):
        done = subprocess.run(["bash", "-c", script], cwd=cwd, text=True, capture_output=True,
                              timeout=100, check=False)
        self.assertEqual(done.returncode, code, (script, done.stdout, done.stderr))
        return done.stdout + done.stderr

    def on_server(self, box):
        with self.server.client() as client:
            return sorted(client.uids(box))

    def subjects(self, box):
        """Subjects of what the server has in a mailbox."""
        with self.server.client() as client:
            client.select(box)
            uids = client.uids(box)
            if not uids:
                return []
            answer = client.imap.uid("fetch", ",".join(map(str, uids)),
                                     "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")[1]
            return sorted(part[1].decode().strip() for part in answer if isinstance(part, tuple))


class TestMove(VerbsCase):
    def test_shows_at_once_and_reads_offline(self):
        mounted = self.up()
        name = mounted.messages("INBOX")[3]
        source = mounted.path("INBOX", name)
        parts = sorted(os.path.relpath(os.path.join(top, each), source)
                       for top, _, files in os.walk(source) for each in files)
        before = {part: mounted.read("INBOX", name, part) for part in parts}
        number = os.stat(source).st_ino
        self.offline(mounted)
        os.rename(source, mounted.path("Archive", name))
        self.assertNotIn(name, mounted.list("INBOX"))
        found = self.pending(mounted, "Archive")
        self.assertEqual([each.rsplit(".", 1)[0] for each in found], [name.rsplit(".", 1)[0]])
        new = mounted.path("Archive", found[0])
        self.assertNotEqual(os.stat(new).st_ino, number)
        self.assertEqual(self.state(new), "queued")
        for part, content in before.items():
            self.assertEqual(mounted.read("Archive", found[0], part), content, part)
        # the names of before and the one that it was moved to lead there
        for old in (source, mounted.path("Archive", name)):
            self.assertTrue(os.path.islink(old), old)
            self.assertTrue(os.path.samefile(old, new), old)
        self.assertIn("-move", " ".join(mounted.list(".imapfs", "queue")))
        self.online(mounted)
        self.assertEqual(self.on_server("Archive"), [1])
        self.assertNotIn(3, self.on_server("INBOX"))
        self.soon(lambda: list(mounted.messages("Archive")) == [1], what="its number")
        self.assertEqual(self.pending(mounted, "Archive"), [])
        last = mounted.message("Archive", 1)
        for old in (source, mounted.path("Archive", name), new):
            self.assertTrue(os.path.samefile(old, last), old)
        self.assertEqual(self.state(last), "synced")
        for part, content in before.items():
            self.assertEqual(mounted.read("Archive", os.path.basename(last), part), content, part)

    def test_to_where_nothing_was_listed(self):
        """Offline, into a mailbox that nobody ever looked into; it is not listed for that either."""
        source, given = self.server.source(port=self.link.port)
        mounted = self.mount(source, given, self.home)
        mounted.messages("INBOX")
        letter = os.path.join(self.home.dir, "letter.eml")
        with open(letter, "w") as file:
            file.write(LETTER)
        self.shell(f"cp '{letter}' Archive/online.eml && mv INBOX/*.1 Archive/",
                   mounted.mountpoint)
        self.control("sync", mounted.mountpoint)
        self.assertEqual(len(self.on_server("Archive")), 2)
        self.offline(mounted)
        self.shell(f"mv INBOX/*.3 INBOX/*.4 Drafts/ && cp '{letter}' Drafts/a.eml",
                   mounted.mountpoint)
        self.assertFalse(set(mounted.messages("INBOX")) & {1, 3, 4})
        self.assert_fails((errno.ENETUNREACH,), os.listdir, mounted.path("Drafts"))
        self.assert_fails((errno.ENETUNREACH,), os.stat, mounted.path("Drafts", "2020-01-01 x.7"))
        self.online(mounted)
        self.assertEqual(len(self.on_server("Drafts")), 3)
        self.assertEqual(len(mounted.messages("Drafts")), 3)

    def test_moved_on_when_it_got_its_number(self):
        """Who moves it under the name that it had a moment ago finds that name free there."""
        mounted = self.up()
        self.offline(mounted)
        name = mounted.messages("INBOX")[3]
        os.rename(mounted.path("INBOX", name), mounted.path("Archive", name))
        name = self.pending(mounted, "Archive")[0]
        self.online(mounted)
        self.soon(lambda: list(mounted.messages("Archive")) == [1], what="its number")
        self.assertTrue(os.path.samefile(mounted.path("Archive", name),
                                         mounted.message("Archive", 1)))
        self.assertFalse(os.path.lexists(mounted.path("Drafts", name)))
        self.shell(f"mv {mounted.message('Archive', 1)!r} 'Drafts/{name}'", mounted.mountpoint)
        self.assertEqual(mounted.list("Archive"), [])

    def test_back_and_forth(self):
        """Moved back before it was sent, it is as if nothing had happened; and again."""
        mounted = self.up()
        name = mounted.messages("INBOX")[5]
        self.offline(mounted)
        for _ in range(3):
            self.shell(f"mv 'INBOX/{name}' Archive/", mounted.mountpoint)
            moved = self.pending(mounted, "Archive")[0]
            self.assertFalse(name in mounted.list("INBOX"))
            self.shell(f"mv 'Archive/{moved}' INBOX/", mounted.mountpoint)
            self.assertIn(name, mounted.list("INBOX"))
            self.assertFalse(os.path.islink(mounted.path("INBOX", name)))
            self.assertEqual(self.pending(mounted, "Archive"), [])
            self.assertEqual(mounted.list(".imapfs", "queue"), [])
        self.online(mounted)
        self.assertEqual(len(self.on_server("INBOX")), self.count)

    def test_there_and_back_with_the_same_numbers(self):
        """Old names are in nobody's way, though the new numbers are the old ones by chance."""
        mounted = self.up()
        self.shell("mv INBOX/2* Archive/", mounted.mountpoint)
        self.control("sync", mounted.mountpoint)
        self.soon(lambda: len(mounted.messages("Archive")) == self.count, what="their numbers")
        self.assertEqual(sorted(mounted.messages("Archive")), list(range(1, self.count + 1)))
        self.shell("mv Archive/2* INBOX/", mounted.mountpoint)
        self.control("sync", mounted.mountpoint)
        self.soon(lambda: len(mounted.messages("INBOX")) == self.count, what="their numbers")
        self.shell("mv INBOX/2* Archive/", mounted.mountpoint)
        self.control("sync", mounted.mountpoint)
        self.assertEqual(len(self.on_server("Archive")), self.count)

    def test_many_and_flags_with_them(self):
        mounted = self.up()
        names = mounted.messages("INBOX")
        self.offline(mounted)
        for uid, name in names.items():
            if uid % 2:
                with open(mounted.path("INBOX", name, "flags"), "a") as file:
                    file.write("+odd\n")
        self.shell("mv INBOX/2* Archive/", mounted.mountpoint)
        self.assertEqual(mounted.messages("INBOX"), {})
        pending = self.pending(mounted, "Archive")
        self.assertEqual(len(pending), self.count)
        with open(mounted.path("Archive", pending[0], "flags"), "a") as file:
            file.write("+later\n")
        self.online(mounted)
        self.assertEqual(self.on_server("INBOX"), [])
        self.assertEqual(len(self.on_server("Archive")), self.count)
        with self.server.client() as client:
            flags = [set(each) for each in client.flags("Archive").values()]
        self.assertEqual(sum("odd" in each for each in flags), self.count // 2)
        self.assertEqual(sum("later" in each for each in flags), 1)

    def test_flags_by_what_was_known_before(self):
        """The kernel moves a name by itself, and goes on with the numbers that it knew; so does who
        has the flags open."""
        mounted = self.up()
        names = mounted.messages("INBOX")
        held = os.open(mounted.path("INBOX", names[1], "flags"), os.O_WRONLY | os.O_APPEND)
        self.addCleanup(os.close, held)
        self.offline(mounted)
        for uid in range(1, 7):
            os.lstat(mounted.path("INBOX", names[uid], "flags"))
            os.rename(mounted.path("INBOX", names[uid]), mounted.path("Archive", names[uid]))
            with open(mounted.path("Archive", names[uid], "flags"), "a") as file:
                file.write("+\\Flagged\n")
        os.write(held, b"+moved\n")
        for name in self.pending(mounted, "Archive"):
            self.assertIn("\\Flagged\n", mounted.text("Archive", name, "flags"))
        self.online(mounted)
        with self.server.client() as client:
            client.select("Archive")
            answer = client.imap.uid("fetch", "1:*", "(FLAGS)")[1]
        self.assertEqual([line.count(b"\\Flagged") for line in answer], [1] * 6)
        self.assertEqual([line.count(b"moved") for line in answer], [1] + [0] * 5)

    def test_an_open_directory_goes_on(self):
        mounted = self.up()
        name = mounted.messages("INBOX")[2]
        text = mounted.read("INBOX", name, "body.txt")
        descriptor = os.open(mounted.path("INBOX", name), os.O_RDONLY)
        self.addCleanup(os.close, descriptor)
        self.offline(mounted)
        os.rename(mounted.path("INBOX", name), mounted.path("Archive", name))
        with open(os.open("body.txt", os.O_RDONLY, dir_fd=descriptor), "rb") as file:
            self.assertEqual(file.read(), text)
        self.online(mounted)
        self.assertIn("body.txt", os.listdir(descriptor))

    def test_cancel(self):
        mounted = self.up()
        name = mounted.messages("INBOX")[4]
        self.offline(mounted)
        os.rename(mounted.path("INBOX", name), mounted.path("Archive", name))
        self.assertNotIn(name, mounted.list("INBOX"))
        self.control("cancel", mounted.mountpoint, "all")
        self.assertIn(name, mounted.list("INBOX"))
        self.assertEqual(self.pending(mounted, "Archive"), [])
        self.assertFalse(os.path.lexists(mounted.path("Archive", name)))

    def test_waits_for_the_next_mount(self):
        mounted = self.up()
        name = mounted.messages("INBOX")[4]
        self.offline(mounted)
        os.rename(mounted.path("INBOX", name), mounted.path("Archive", name))
        os.rmdir(mounted.message("INBOX", 5))
        mounted.unmount()
        mounted = self.up("offline")
        self.assertEqual(len(self.pending(mounted, "Archive")), 1)
        self.assertEqual(len(self.pending(mounted, "Trash")), 1)
        self.assertEqual(len(mounted.messages("INBOX")), self.count - 2)
        self.online(mounted)
        self.assertEqual((self.on_server("Archive"), self.on_server("Trash")), ([1], [1]))


class TestDelete(VerbsCase):
    def test_rm_r(self):
        """To Trash; in Trash for good. The name is gone."""
        mounted = self.up()
        path = mounted.message("INBOX", 6)
        self.assertIn("attachments", os.listdir(path))
        self.offline(mounted)
        self.shell(f"rm -r '{path}'", mounted.mountpoint)
        self.assertFalse(os.path.lexists(path))
        trashed = self.pending(mounted, "Trash")
        self.assertEqual(len(trashed), 1)
        self.assertIn("attachments", os.listdir(mounted.path("Trash", trashed[0])))
        self.online(mounted)
        self.assertNotIn(6, self.on_server("INBOX"))
        self.assertEqual(self.on_server("Trash"), [1])
        self.soon(lambda: list(mounted.messages("Trash")) == [1], what="its number")
        self.shell("rm -r Trash/2*.1", mounted.mountpoint)
        self.assertEqual(mounted.list("Trash"), [])
        self.control("sync", mounted.mountpoint)
        self.assertEqual(self.on_server("Trash"), [])

    def test_for_good(self):
        mounted = self.up("delete=expunge")
        for uid in (1, 2, 3):
            os.rmdir(mounted.message("INBOX", uid))
        self.assertEqual(sorted(mounted.messages("INBOX")), list(range(4, self.count + 1)))
        self.control("sync", mounted.mountpoint)
        self.assertEqual(self.on_server("INBOX"), list(range(4, self.count + 1)))
        self.assertEqual(self.on_server("Trash"), [])

    def test_find_delete(self):
        mounted = self.up()
        self.shell("find INBOX -mindepth 1 -delete", mounted.mountpoint)
        self.assertEqual(mounted.list("INBOX"), [])
        self.control("sync", mounted.mountpoint)
        self.assertEqual(len(self.on_server("Trash")), self.count)

    def test_rmtree(self):
        mounted = self.up()
        for uid in (1, 2):
            shutil.rmtree(mounted.message("INBOX", uid))
        self.assertEqual(len(mounted.messages("INBOX")), self.count - 2)

    def test_a_part_comes_back(self):
        mounted = self.up()
        path = mounted.message("INBOX", 1)
        whole = sorted(os.listdir(path))
        for each in whole:
            full = os.path.join(path, each)
            if os.path.isdir(full):
                for part in os.listdir(full):
                    os.unlink(os.path.join(full, part))
                os.rmdir(full)
            else:
                os.unlink(full)
        self.assertEqual(os.listdir(path), [])
        self.assert_fails((errno.ENOENT,), open, os.path.join(path, "body.txt"))
        self.assertEqual(mounted.list(".imapfs", "queue"), [])
        self.soon(lambda: sorted(os.listdir(path)) == whole, 30, "the parts")
        self.assertTrue(mounted.read(path, "body.txt"))
        self.assertEqual(len(os.listdir(os.path.join(path, "attachments"))), 1)
        self.assertEqual(self.on_server("INBOX"), list(range(1, self.count + 1)))

    def test_guard(self):
        mounted = self.up("guard=4")
        names = mounted.messages("INBOX")
        for uid in range(1, 8):
            os.rmdir(mounted.path("INBOX", names[uid]))
        self.assertEqual(len(mounted.messages("INBOX")), self.count - 7)
        said = self.control("status", mounted.mountpoint)
        self.assertIn("held: 3 deletions wait", said)
        self.assertIn("3 of them wait" if "3 of them wait" in self.control(
            "log", mounted.mountpoint) else "wait", self.control("log", mounted.mountpoint))
        self.assertIn(" held ", mounted.text(".imapfs", "events"))
        self.assertIn("waits to be confirmed", self.control("queue", mounted.mountpoint))
        self.soon(lambda: len(self.on_server("Trash")) == 4, what="those before")
        self.assertEqual(len(self.on_server("INBOX")), self.count - 4)
        seqs = sorted(int(each.split("-")[0]) for each in mounted.list(".imapfs", "queue"))
        self.assertEqual(len(seqs), 3)
        self.control("confirm", mounted.mountpoint, str(seqs[0]))
        self.soon(lambda: len(self.on_server("Trash")) == 5, what="the one confirmed")
        self.control("cancel", mounted.mountpoint, str(seqs[1]))
        self.soon(lambda: len(mounted.messages("INBOX")) == self.count - 6, what="it comes back")
        self.control("confirm", mounted.mountpoint, "all")
        self.control("sync", mounted.mountpoint)
        self.assertEqual(len(self.on_server("Trash")), 6)
        self.assertEqual(len(self.on_server("INBOX")), self.count - 6)
        self.assertNotIn("held", mounted.status())
        self.control("confirm", mounted.mountpoint, "999", code=1)


class TestLetters(VerbsCase):
    def put(self, text=LETTER, name="letter.eml"):
        path = os.path.join(self.home.dir, name)
        with open(path, "w", newline="") as file:
            file.write(text)
        return path

    def fetched(self, box, uid):
        with self.server.client() as client:
            client.select(box)
            answer = client.imap.uid("fetch", str(uid), "(FLAGS INTERNALDATE BODY.PEEK[])")[1]
            return answer[0][0].decode() + answer[1].decode(), answer[0][1]

    def test_cp(self):
        mounted = self.up()
        path = self.put()
        self.offline(mounted)
        self.shell(f"cp {path} Archive/", mounted.mountpoint)
        names = self.pending(mounted, "Archive")
        self.assertEqual([each.rsplit(".", 1)[0][11:] for each in names],
                         ["Ann Author - A letter"])
        given = mounted.path("Archive", "letter.eml")
        self.assertTrue(stat.S_ISREG(os.lstat(given).st_mode))
        self.assertNotIn("letter.eml", mounted.list("Archive"))
        self.assertEqual(mounted.read(given), mounted.read("Archive", names[0], "message.eml"))
        self.assertEqual(os.stat(given).st_size, len(mounted.read(given)))
        self.assertEqual(mounted.text("Archive", names[0], "body.txt"),
                         "first line\nsecond line\n")
        raw = mounted.read("Archive", "letter.eml")
        self.assertRegex(raw, rb"^Message-ID: <[0-9a-f-]{36}@imapfs.invalid>\r\nFrom: Ann")
        self.assertTrue(raw.endswith(LETTER.replace("\n", "\r\n").encode()))
        self.online(mounted)
        about, sent = self.fetched("Archive", 1)
        self.assertEqual(sent, raw)
        self.assertIn("\\Seen", about)
        self.soon(lambda: list(mounted.messages("Archive")) == [1], what="its number")
        self.assertEqual(mounted.read("Archive", "letter.eml"), raw)
        self.assertEqual(glob.glob(os.path.join(self.home.env["XDG_STATE_HOME"], "imapfs", "*",
                                                "spool", "*")), [])

    def test_times_and_owner(self):
        """cp -p, touch in the middle, an editor that sets modes: the time is INTERNALDATE."""
        mounted = self.up("append_seen=no", "append_id=never")
        path = self.put()
        os.utime(path, (1500000000, 1500000000))
        self.shell(f"cp -p {path} Archive/one.eml && mv {path} Archive/two.eml",
                   mounted.mountpoint)
        self.control("sync", mounted.mountpoint)
        for uid in (1, 2):
            about, sent = self.fetched("Archive", uid)
            self.assertIn("14-Jul-2017", about)
            self.assertNotIn("\\Seen", about)
            self.assertNotIn(b"Message-ID", sent)
        self.assertTrue(all(name.startswith("2017-07-14 ")
                            for name in mounted.messages("Archive").values()))

    def test_times_after_closing(self):
        """Python's ways to copy: by then the message has its date, and keeps it."""
        mounted = self.up()
        path = self.put()
        shutil.copy2(path, mounted.path("Archive"))
        shutil.move(path, mounted.path("Archive", "moved.eml"))
        self.assertFalse(os.path.exists(path))
        self.control("sync", mounted.mountpoint)
        self.assertEqual(self.on_server("Archive"), [1, 2])

    def test_a_message_of_many_writers(self):
        """One letter, whoever of a shell's children closes it."""
        mounted = self.up()
        path = self.put()
        self.shell(f"(head -c 40 {path}; tail -c +41 {path}) > Archive/a.eml; "
                   f"{{ head -c 40 {path}; tail -c +41 {path}; }} > Archive/b.eml; "
                   f"cat {path} > Archive/c.eml; exec 3> Archive/d.eml; head -c 40 {path} >&3; "
                   f"(exec 3>&-); tail -c +41 {path} >&3; exec 3>&-; "
                   f"dd if={path} of=Archive/e.eml bs=7 status=none", mounted.mountpoint)
        self.control("sync", mounted.mountpoint)
        self.assertEqual(self.on_server("Archive"), [1, 2, 3, 4, 5])
        for uid in range(1, 6):
            self.assertTrue(self.fetched("Archive", uid)[1].endswith(
                LETTER.replace("\n", "\r\n").encode()))

    def test_refused(self):
        mounted = self.up()
        box = mounted.path("Archive")
        letter = self.put()
        for name in (".DS_Store", "x~", ".goutputstream-ABC", ".Trash-1000", ".x.eml", "-x.eml",
                     "x.txt", "4913", "x.eml.part"):
            with self.subTest(name):
                self.assert_fails((errno.EPERM,), open, os.path.join(box, name), "w")
        for place in ("", "INBOX/.uid", ".imapfs", ".imapfs/queue", ".imapfs/raw/INBOX"):
            with self.subTest(place):
                self.assert_fails((errno.EPERM,), open, mounted.path(place, "x.eml"), "w")
        message = mounted.message("INBOX", 1)
        self.assert_fails((errno.EPERM,), open, os.path.join(message, "x.eml"), "w")
        for text, words in (("no letter at all\n", "does not begin with a header field"),
                            ("\nbody\n", "does not begin with a header field"),
                            ("From ann Fri Nov 20\nFrom: x\n\nx\n", "mbox"),
                            ("Subject: x\n\n\0\n", "zero byte")):
            with self.subTest(text):
                file = open(os.path.join(box, "x.eml"), "w")
                file.write(text)
                self.assert_fails((errno.EINVAL,), file.close)
                self.assertIn(words, self.control("log", mounted.mountpoint))
        with open(os.path.join(box, "big.eml"), "wb") as file:
            self.assert_fails((errno.EFBIG,), os.truncate, file.fileno(), (64 << 20) + 1)
            self.assert_fails((errno.EFBIG,), os.pwrite, file.fileno(), b"x", 64 << 20)
        self.shell(": > Archive/empty.eml; touch Archive/touched.eml", mounted.mountpoint)
        self.assertEqual(os.listdir(box), [])
        for name in ("x.eml", "big.eml", "empty.eml", "touched.eml"):
            self.assertFalse(os.path.lexists(os.path.join(box, name)), name)
        said = subprocess.run(["rsync", "-a", letter, box + "/"], capture_output=True, text=True,
                              check=False, timeout=60) if shutil.which("rsync") else None
        if said:
            self.assertNotEqual(said.returncode, 0)
            self.assertIn("Operation not permitted", said.stderr)
        self.assertEqual(self.on_server("Archive"), [])

    def test_while_it_is_written(self):
        mounted = self.up()
        path = mounted.path("Archive", "slow.eml")
        with open(path, "w+") as file:
            file.write(LETTER)
            file.flush()
            self.assertEqual(os.stat(path).st_size, len(LETTER))
            self.assertTrue(stat.S_ISREG(os.lstat(path).st_mode))
            self.assert_fails((errno.EBUSY,), open, path)
            self.assertEqual(mounted.list("Archive"), [])
            file.seek(0)
            self.assertEqual(file.read(), LETTER)
        self.assertEqual(len(mounted.list("Archive")), 1)
        self.assertTrue(os.path.isfile(path))
        self.assert_fails((errno.EPERM,), open, path, "a")

    def test_the_same_name_again(self):
        """Written again, it is another letter; the name can be changed, and taken away."""
        mounted = self.up()
        path = self.put()
        self.shell(f"cp {path} Archive/; cp -p {path} Archive/; cp --remove-destination {path} "
                   "Archive/; mv Archive/letter.eml Drafts/other.eml; rm Drafts/other.eml",
                   mounted.mountpoint)
        self.assertFalse(os.path.lexists(mounted.path("Archive", "letter.eml")))
        self.assertFalse(os.path.lexists(mounted.path("Drafts", "other.eml")))
        self.control("sync", mounted.mountpoint)
        self.assertEqual((len(self.on_server("Archive")), len(self.on_server("Drafts"))), (2, 1))

    def test_a_crash_before_the_close(self):
        mounted = self.up()
        with open(mounted.path("Archive", "x.eml"), "w") as file:
            file.write(LETTER)
            file.flush()
            mounted.kill()
            with self.assertRaises(OSError):
                file.close()
        mounted = self.up()
        self.assertEqual(mounted.list("Archive"), [])

    def test_a_crash_after_the_close(self):
        mounted = self.up()
        self.offline(mounted)
        shutil.copyfile(self.put(), mounted.path("Archive", "x.eml"))
        mounted.kill()
        mounted = self.up("offline")
        self.assertEqual(len(self.pending(mounted, "Archive")), 1)
        self.online(mounted)
        self.assertEqual(self.on_server("Archive"), [1])

    def test_draft(self):
        """Written anew, it is the one draft there is; its old name leads to it."""
        with self.server.client() as client:
            client.append("Drafts", LETTER.encode(), ["\\Draft"])
        mounted = self.up()
        old = mounted.message("Drafts", 1)
        new = LETTER.replace("first line", "another line")
        with open(os.path.join(old, "message.eml"), "w") as file:
            file.write(new)
        self.assertTrue(mounted.read(old, "body.txt").startswith(b"another line"))
        self.control("sync", mounted.mountpoint)
        self.assertEqual(self.on_server("Drafts"), [2])
        about, sent = self.fetched("Drafts", 2)
        self.assertIn("\\Draft", about)
        self.assertIn(b"another line", sent)
        self.assertTrue(os.path.samefile(old, mounted.message("Drafts", 2)))
        self.assert_fails((errno.EPERM,), open,
                          os.path.join(mounted.message("INBOX", 1), "message.eml"), "w")


    def test_draft_saved_often(self):
        """Also before any of it was sent: the last one takes the place of the one on the server."""
        with self.server.client() as client:
            client.append("Drafts", LETTER.encode(), ["\\Draft"])
        mounted = self.up()
        old = mounted.message("Drafts", 1)
        mounted.read(old, "message.eml")
        self.offline(mounted)
        for word in ("second", "third", "fourth"):
            with open(os.path.join(old, "message.eml"), "w") as file:
                file.write(LETTER.replace("first line", word + " line"))
        self.assertEqual(len(self.pending(mounted, "Drafts")), 1)
        self.assertEqual(len(mounted.list("Drafts")), 1)
        self.online(mounted)
        self.assertEqual(len(self.on_server("Drafts")), 1)
        about, sent = self.fetched("Drafts", self.on_server("Drafts")[0])
        self.assertIn("\\Draft", about)
        self.assertIn(b"fourth line", sent)


class TestCopies(VerbsCase):
    def test_ln(self):
        """A copy that the server makes."""
        mounted = self.up()
        message = mounted.message("INBOX", 3)
        raw = mounted.read(message, "message.eml")
        os.link(mounted.path(".imapfs", "raw", "INBOX", "3.eml"), mounted.path("Archive", "a.eml"))
        os.link(os.path.join(message, "message.eml"), mounted.path("Archive", "b.eml"),
                follow_symlinks=False)
        self.assertEqual(mounted.read("Archive", "a.eml"), raw)
        self.control("sync", mounted.mountpoint)
        self.assertEqual(self.on_server("Archive"), [1, 2])
        self.assertEqual(mounted.read("Archive", "b.eml"), raw)
        self.assertIn(3, self.on_server("INBOX"))
        self.assert_fails((errno.EPERM,), os.link, os.path.join(message, "body.txt"),
                          mounted.path("Archive", "c.eml"))
        self.assert_fails((errno.EPERM,), os.link, os.path.join(message, "message.eml"),
                          mounted.path("Archive", "c.txt"))
        self.assert_fails((errno.EEXIST,), os.link, os.path.join(message, "message.eml"),
                          mounted.path("Archive", "a.eml"))

    def test_ln_of_a_letter(self):
        """The name that a letter was written under is no message that could be linked."""
        mounted = self.up()
        letter = mounted.path("Archive", "x.eml")
        with open(letter, "w") as file:
            file.write(LETTER)
            file.flush()
            self.assert_fails((errno.EPERM,), os.link, letter, mounted.path("Archive", "y.eml"))
        for to in ("Archive/y.eml", ".imapfs/maildir/Archive/new/y",
                   ".imapfs/maildir/Archive/cur/y:2,S"):
            self.assert_fails((errno.EPERM,), os.link, letter, mounted.path(to))
        self.control("sync", mounted.mountpoint)
        self.assertEqual(self.on_server("Archive"), [1])

    def test_cp(self):
        mounted = self.up()
        message = mounted.message("INBOX", 3)
        raw = mounted.read(message, "message.eml")
        self.shell(f"cp '{message}/message.eml' Archive/x.eml", mounted.mountpoint)
        self.assertIn("-copy", " ".join([*mounted.list(".imapfs", "queue"),
                                         mounted.text(".imapfs", "events")]))
        self.control("sync", mounted.mountpoint)
        self.assertEqual(mounted.read("Archive", "x.eml"), raw)
        self.assertEqual(self.on_server("Archive"), [1])
        # and of messages that were never read
        sizes = sum(len(self.mails[uid - 1].raw) for uid in range(4, 10))
        before = self.link.counted()[1]
        for uid in range(4, 10):
            self.shell(f"cp INBOX/*.{uid}/message.eml Drafts/{uid}.eml",
                       mounted.mountpoint)
        self.control("sync", mounted.mountpoint)
        moved = self.link.counted()[1] - before
        self.assertEqual(len(self.on_server("Drafts")), 6)
        self.note(f"copies of {sizes} bytes of letters: {moved} bytes came")
        self.assertLess(moved, sizes // 2)
        self.assertEqual(mounted.read("Drafts", "5.eml"), self.mails[4].raw)
        self.shell(f"cp -r '{message}' Archive/", mounted.mountpoint, code=1)
        self.assertEqual(self.on_server("Archive"), [1])


class TestRefused(VerbsCase):
    def test_rename(self):
        mounted = self.up()
        message = mounted.message("INBOX", 1)
        name = os.path.basename(message)
        other = mounted.path("Archive")
        stem = name.rsplit(".", 1)[0]
        rows = [(os.path.join(other, "x"), errno.EPERM),
                (os.path.join(other, stem), errno.EPERM),
                (os.path.join(other, "2" + stem + ".1"), errno.EPERM),
                (mounted.path("INBOX", stem + ".99"), errno.EPERM),
                (mounted.path(name), errno.EPERM),
                (mounted.path(".imapfs", name), errno.EPERM),
                (mounted.path(".imapfs", "raw", "Archive", name), errno.EPERM),
                (os.path.join(mounted.message("INBOX", 2), name), errno.EPERM)]
        for to, want in rows:
            with self.subTest(to):
                self.assert_fails((want,), os.rename, message, to)
        self.assert_fails((errno.EPERM,), os.rename, os.path.join(message, "body.txt"),
                          os.path.join(message, "y"))
        os.rename(message, message)
        self.assertEqual(len(mounted.messages("INBOX")), self.count)
        # another number is no other name
        os.rename(message, os.path.join(other, stem + ".10"))
        self.assertTrue(os.path.isdir(os.path.join(other, stem + ".10")))
        self.assertEqual(len(mounted.list("Archive")), 1)
        # a link to its own name, as soon as the kernel asks for what it has moved itself
        self.soon(lambda: os.path.islink(os.path.join(other, stem + ".10")), what="the link")
        self.assert_fails((errno.ENOTDIR,), os.rmdir, os.path.join(other, stem + ".10"))

    def test_others(self):
        mounted = self.up()
        message = mounted.message("INBOX", 1)
        rows = {
            "mkdir like a message": (os.mkdir, mounted.path("Archive", os.path.basename(message))),
            "mkdir in a message": (os.mkdir, os.path.join(message, "x")),
            "symlink": (os.symlink, "x", mounted.path("Archive", "x.eml")),
            "mkfifo": (os.mkfifo, mounted.path("Archive", "x.eml")),
            "chmod": (os.chmod, message, 0o500),
            "chmod of sync": (os.chmod, mounted.path(".imapfs", "sync"), 0o600),
            "chown": (os.chown, message, 1, 1),
            "utime": (os.utime, message),
            "unlink of a message": (os.unlink, mounted.path("INBOX", ".uid", "1")),
        }
        for what, (call, *arguments) in rows.items():
            with self.subTest(what):
                self.assert_fails((errno.EPERM,), call, *arguments)
        self.assert_fails((errno.EISDIR, errno.EPERM), os.unlink, message)
        self.assert_fails((errno.ENOENT,), os.rmdir, message + "9")

    def test_read_only(self):
        mounted = self.up("ro")
        message = mounted.message("INBOX", 1)
        for path in (mounted.mountpoint, mounted.path("INBOX"), message,
                     os.path.join(message, "flags")):
            self.assertFalse(os.stat(path).st_mode & 0o222, path)
        rows = [(os.rename, message, mounted.path("Archive", os.path.basename(message))),
                (os.rmdir, message), (os.unlink, os.path.join(message, "body.txt")),
                (open, mounted.path("Archive", "x.eml"), "w"),
                (os.link, os.path.join(message, "message.eml"), mounted.path("Archive", "x.eml")),
                (open, os.path.join(message, "message.eml"), "w")]
        for call, *arguments in rows:
            with self.subTest(call):
                self.assert_fails((errno.EROFS,), call, *arguments)

    def test_modes(self):
        mounted = self.up()
        message = mounted.message("INBOX", 1)
        modes = {mounted.mountpoint: 0o700, mounted.path("INBOX"): 0o700, message: 0o700,
                 os.path.join(message, "flags"): 0o600, os.path.join(message, "body.txt"): 0o400,
                 mounted.path("INBOX", ".uid"): 0o500}
        for path, mode in modes.items():
            self.assertEqual(oct(stat.S_IMODE(os.stat(path).st_mode)), oct(mode), path)
