"""The tree as programs see it: tools, times, inodes, errors of changing it, many mailboxes."""
import errno
import os
import subprocess
import tarfile
import time

import fakeimap
import mail
import mount as mounts
import proc
import servers
from case import Case


class KernelCase(Case):
    timeout = 90

    @classmethod
    def setUpClass(cls):
        cls.server = servers.Tunnel()
        cls.mails = [mail.message(number) for number in range(40)]
        cls.server.prefill("INBOX", [(made.raw, made.date) for made in cls.mails])
        cls.server.start()
        cls.addClassCleanup(cls.server.stop)

    def up(self, *options, home=None):
        source, more = self.server.source()
        return self.mount(source, [*more, "poll=5", *options], home)

    def run_tool(self, *command, code=0):
        done = subprocess.run(command, capture_output=True, timeout=60, check=False)
        self.assertEqual(done.returncode, code, done.stderr.decode())
        return done.stdout


class TestTools(KernelCase):
    def test_grep(self):
        mounted = self.up()
        word = "Köln"
        found = self.run_tool("grep", "-rl", word, mounted.path("INBOX")).decode().splitlines()
        texts = [made.text for made in self.mails]
        texts += [made.nested.text for made in self.mails if made.nested]
        want = sum(word in text for text in texts)
        self.assertEqual(sum(path.endswith("body.txt") for path in found), want)
        again = self.run_tool("grep", "-rl", word, mounted.path("INBOX")).decode().splitlines()
        self.assertEqual(found, again)

    def test_find(self):
        mounted = self.up()
        files = self.run_tool("find", mounted.path("INBOX"), "-type", "f", "-print0")
        names = [os.path.basename(path) for path in files.decode().split("\0") if path]
        self.assertEqual(names.count("body.txt"),
                         len(self.mails) + sum(made.nested is not None for made in self.mails))
        self.run_tool("find", mounted.path("INBOX"), "-maxdepth", "1", "-name", "*report.1")

    def test_copies_are_right(self):
        """cp -r, tar and rsync before anything was read: sizes that were estimates must not
        cut or pad."""
        for tool in ("cp", "tar", "rsync"):
            with self.subTest(tool):
                mounted, out = self.up(), proc.workdir("copy")
                box = mounted.path("INBOX")
                if tool == "cp":
                    self.run_tool("cp", "-r", box, out)
                elif tool == "rsync":
                    self.run_tool("rsync", "-a", box, out)
                else:
                    self.run_tool("tar", "-C", mounted.mountpoint, "-cf", f"{out}/x.tar", "INBOX")
                    with tarfile.open(f"{out}/x.tar") as archive:
                        archive.extractall(out)
                self.check_copy(os.path.join(out, "INBOX"))
                mounted.unmount()

    def check_copy(self, folder):
        names = sorted(os.listdir(folder), key=lambda name: int(name.rpartition(".")[2]))
        self.assertEqual(len(names), len(self.mails))
        for name, made in zip(names, self.mails):
            with open(os.path.join(folder, name, "body.txt"), "rb") as file:
                self.assertEqual(file.read().decode(), made.text)
            for attachment, data in made.attachments:
                with open(os.path.join(folder, name, "attachments", attachment), "rb") as file:
                    self.assertEqual(mail.sha256(file.read()), mail.sha256(data))

    def test_du_downloads_nothing(self):
        mounted = self.up()
        self.run_tool("du", "-s", mounted.path("INBOX"))
        self.run_tool("df", mounted.mountpoint)
        self.run_tool("ls", "-lR", mounted.path("INBOX"))

    def test_mmap(self):
        mounted = self.up()
        code = ("import mmap,sys; f=open(sys.argv[1],'rb'); "
                "m=mmap.mmap(f.fileno(),0,prot=mmap.PROT_READ); sys.stdout.buffer.write(m[:])")
        path = os.path.join(mounted.message("INBOX", 1), "body.txt")
        self.assertEqual(self.run_tool("/usr/bin/python3", "-c", code, path).decode(),
                         self.mails[0].text)

    def test_status_and_control(self):
        mounted = self.up()
        mounted.messages("INBOX")
        self.assertTrue(mounted.status().strip())
        self.assertTrue(mounted.read(".imapfs", "log") is not None)
        self.assertEqual(self.run_tool(mounts.CONTROL, "status", mounted.mountpoint).decode()
                         .splitlines()[0], mounted.status().splitlines()[0])

    def test_mount_options_hold_no_secret(self):
        self.up()
        with open("/proc/mounts") as table:
            line = next(line for line in table if "fuse.imapfs" in line)
        for option in ("nosuid", "nodev", "noexec"):
            self.assertIn(option, line)
        self.assertNotIn("passcmd", line)


class TestTree(KernelCase):
    def test_read_only(self):
        """Every call that would change something, and its errno: on a mount that may not."""
        mounted = self.up("ro")
        self.refuse_all(mounted, errno.EROFS)
        message = mounted.message("INBOX", 1)
        flags = os.path.join(message, "flags")
        before = mounted.read(flags)
        self.assert_fails((errno.EROFS,), open, flags, "w")
        self.assert_fails((errno.EROFS,), open, flags, "a")
        self.assert_fails((errno.EROFS,), os.setxattr, message, "user.imap.flags", b"\\Seen")
        self.assert_fails((errno.EROFS,), open, mounted.path(".imapfs", "ctl"), "w")
        self.assertEqual(mounted.read(flags), before)

    def test_what_cannot_be_changed(self):
        """What is refused on a mount that may change things."""
        self.refuse_all(self.up(), errno.EPERM, ("unlink", "rmdir", "mkdir", "root",
                                                 "rename mailbox", "rmdir mailbox"))

    def refuse_all(self, mounted, want, possible=()):
        message = mounted.message("INBOX", 1)
        body, new = os.path.join(message, "body.txt"), mounted.path("INBOX", "new")
        refused = (errno.EROFS, errno.EPERM, errno.EACCES)
        table = {
            "create": (open, new, "w"), "write": (open, body, "r+"), "mkdir": (os.mkdir, new),
            "truncate": (os.truncate, body, 0), "unlink": (os.unlink, body),
            "rmdir": (os.rmdir, message), "rename": (os.rename, message, new),
            "symlink": (os.symlink, "x", new), "link": (os.link, body, new),
            "chmod": (os.chmod, body, 0o644), "chown": (os.chown, body, 1, 1),
            "utime": (os.utime, body), "mkfifo": (os.mkfifo, new),
            "setxattr": (os.setxattr, body, "user.x", b"1"),
            "removexattr": (os.removexattr, body, "user.x"),
            "rename mailbox": (os.rename, mounted.path("INBOX"), mounted.path("Other")),
            "rmdir mailbox": (os.rmdir, mounted.path("INBOX")),
            "root": (os.mkdir, mounted.path("New")),
        }
        for what in table.keys() - set(possible):
            call, *arguments = table[what]
            with self.subTest(what):
                error = self.assert_fails(refused, call, *arguments)
                self.assertEqual(error.errno, want)

    def test_errors_of_paths(self):
        mounted = self.up()
        message = mounted.message("INBOX", 1)
        uid_changed = message[:-2] + ".2"
        for path in ("nothing", "INBOX/nothing", f"{message}/nothing", uid_changed,
                     message.replace("2026", "2025"), "INBOX/x.1", ".imapfs/nothing",
                     ".imapfs/raw/INBOX/9999.eml", "INBOX/.uid/9999", "INBOX/.uid/abc"):
            with self.subTest(path):
                self.assert_fails((errno.ENOENT,), os.lstat, mounted.path(path))
        self.assert_fails((errno.ENOTDIR,), os.listdir, os.path.join(message, "body.txt"))
        self.assert_fails((errno.EISDIR,), open, message)
        self.assert_fails((errno.ENAMETOOLONG,), os.stat, mounted.path("x" * 256))

    def test_inodes_are_stable(self):
        home = mounts.Home()

        def inodes():
            mounted = self.up(home=home)
            found = {}
            for folder, folders, files in os.walk(mounted.path("INBOX")):
                for name in [*folders, *files]:
                    path = os.path.join(folder, name)
                    found[path] = os.lstat(path).st_ino
            mounted.unmount()
            return found
        first = inodes()
        self.assertEqual(len(set(first.values())), len(first))
        self.assertEqual(inodes(), first)

    def test_order(self):
        """Readdir order is inode order is UID order."""
        mounted = self.up()
        with os.scandir(mounted.path("INBOX")) as entries:
            found = [(entry.inode(), int(entry.name.rpartition(".")[2])) for entry in entries
                     if mounts.MESSAGE.match(entry.name)]
        self.assertEqual(found, sorted(found))
        self.assertEqual([uid for _, uid in found], sorted(uid for _, uid in found))

    def test_seekdir(self):
        """A listing in many small pieces, and from a position, is the same listing."""
        mounted = self.up()
        whole = mounted.list("INBOX")
        code = ("import os,sys\nfor n in os.scandir(sys.argv[1]): print(n.name)")
        out = subprocess.run(["/usr/bin/python3", "-c", code, mounted.path("INBOX")],
                             capture_output=True, text=True, check=True, timeout=30).stdout
        self.assertEqual(sorted(out.splitlines()), whole)

    def test_directory_times(self):
        """A directory's mtime changes exactly when its entries do."""
        with self.server.client() as client:
            client.create("Times")
            client.append("Times", self.mails[0].raw)
        self.addCleanup(self._delete, "Times")
        mounted = self.up()
        box = mounted.path("Times")
        self.assertEqual(len(mounted.messages("Times")), 1)

        def mtime():
            return os.stat(box).st_mtime_ns
        before, root, uid = mtime(), os.stat(mounted.mountpoint).st_mtime_ns, 1
        mounted.read("Times", mounted.messages("Times")[uid], "body.txt")
        with self.server.client() as client:
            client.store("Times", uid, "+FLAGS", ["\\Answered"])
            path = os.path.join(mounted.message("Times", uid), "flags")
            self.soon(lambda: b"\\Answered" in mounted.read(path), what="the flag")
            self.assertEqual(mtime(), before, "a flag is no entry")
            client.append("Times", self.mails[1].raw)
            self.soon(lambda: len(mounted.messages("Times")) == 2, what="the new message")
            self.soon(lambda: mtime() > before, 5, "a new mtime")
            before = mtime()
            client.expunge("Times", [uid])
            self.soon(lambda: len(mounted.messages("Times")) == 1, what="the expunge")
            self.soon(lambda: mtime() > before, 5, "a new mtime")
            before = mtime()
            client.create("Times/Child")
            self.asked(mounted, lambda: os.path.isdir(os.path.join(box, "Child")), "the child")
            self.soon(lambda: mtime() > before, 5, "a new mtime")
            client.delete("Times/Child")
        self.assertEqual(os.stat(mounted.mountpoint).st_mtime_ns, root)

    def _delete(self, name):
        with self.server.client() as client:
            client.delete(name)

    def test_inotify_free_poll(self):
        """An open directory sees a new message when it is read again from the start."""
        with self.server.client() as client:
            client.create("Open")
            client.append("Open", self.mails[0].raw)
        self.addCleanup(self._delete, "Open")
        mounted = self.up()
        self.assertEqual(len(mounted.messages("Open")), 1)
        descriptor = os.open(mounted.path("Open"), os.O_RDONLY)
        try:
            with self.server.client() as client:
                client.append("Open", self.mails[1].raw)
            self.soon(lambda: len(os.listdir(descriptor)) >= 2, what="the new message")
        finally:
            os.close(descriptor)

    def test_expunged_while_open(self):
        """What was opened stays readable to the end."""
        with self.server.client() as client:
            client.create("Held")
            client.append("Held", self.mails[0].raw)
        self.addCleanup(self._delete, "Held")
        mounted = self.up()
        path = os.path.join(mounted.message("Held", 1), "body.txt")
        with open(path, "rb") as file:
            with self.server.client() as client:
                client.expunge("Held", [1])
            self.soon(lambda: not mounted.messages("Held"), what="the expunge")
            self.assertEqual(file.read().decode(), self.mails[0].text)
        self.assert_fails((errno.ENOENT, errno.ESTALE), os.stat, path)


class TestMany(Case):
    timeout = 180

    def test_thousands_of_mailboxes(self):
        server = fakeimap.FakeImap(fakeimap.FULL).start()
        self.addCleanup(server.stop)
        made = mail.message(0)
        for number in range(3000):
            server.box(f"Box {number:04}" if number % 3 else f"Nested/{number // 100}/{number}")
        server.box("Box 0001").add(made.raw)
        source, options = server.source()
        mounted = self.mount(source, options)
        began = time.monotonic()
        self.assertEqual(sum(name.startswith("Box ") for name in mounted.list()), 2000)
        self.note(f"ls of 2,000: {time.monotonic() - began:.2f} s")
        self.assertEqual(len(mounted.list("Nested")), 30)
        self.assertEqual(len(mounted.messages("Box 0001")), 1)
        count = sum(len(folders) for _, folders, _ in os.walk(mounted.mountpoint))
        self.assertGreaterEqual(count, 3000)

    def test_thousands_of_messages(self):
        server = servers.Tunnel()
        server.prefill("INBOX", [(mail.quick(number, 1500), None) for number in range(5000)])
        server.start()
        self.addCleanup(server.stop)
        source, options = server.source()
        mounted = self.mount(source, options)
        began = time.monotonic()
        names = mounted.messages("INBOX")
        self.note(f"ls of 5,000: {time.monotonic() - began:.2f} s, {mounted.rss_kb() // 1024} MB")
        self.assertEqual(set(names), set(range(1, 5001)))
        for uid in (1, 2500, 5000):
            self.assertIn(f"Number {uid - 1}.", mounted.text("INBOX", names[uid], "body.txt"))

    def test_many_readers(self):
        """64 processes at once, cold."""
        server = servers.Tunnel()
        mails = [mail.message(number) for number in range(64)]
        server.prefill("INBOX", [(made.raw, made.date) for made in mails])
        server.start()
        self.addCleanup(server.stop)
        source, options = server.source()
        mounted = self.mount(source, options)
        names = mounted.messages("INBOX")
        readers = [subprocess.Popen(["cat", mounted.path("INBOX", names[uid], "body.txt")],
                                    stdout=subprocess.PIPE) for uid in sorted(names)]
        for reader, made in zip(readers, mails):
            self.assertEqual(reader.communicate(timeout=60)[0].decode(), made.text)
