"""What each call does in each place: it works, or it has the errno that is documented. The kinds of
pjdfstest (rename, unlink, rmdir, mkdir, open, link, symlink, mknod, chmod, chown, truncate,
utimensat) as a table of our own."""
import errno
import os
import socket

from test_verbs import LETTER, VerbsCase

WORKS = 0
E = errno


def touch(path, flags=os.O_WRONLY | os.O_CREAT, mode=0o600):
    os.close(os.open(path, flags, mode))


def times(path):
    os.utime(path, (1, 1))


def bind(path):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path)


class TestErrnos(VerbsCase):
    count = 8
    nonexistent = "nothing"

    def places(self, mounted):
        """Nodes of every kind, by short names. M2 to M8 are there to be used up."""
        names = mounted.messages("INBOX")
        for name in names.values():  # so that all is known without the network
            for top, _, files in os.walk(mounted.path("INBOX", name)):
                for each in files:
                    mounted.read(top, each)
        found = {f"M{uid}": mounted.path("INBOX", name) for uid, name in names.items()}
        message = found["M1"]
        found.update({
            "ROOT": mounted.mountpoint, "BOX": mounted.path("INBOX"),
            "OTHER": mounted.path("Archive"), "MESSAGE": message,
            "PART": os.path.join(message, "body.txt"), "FLAGS": os.path.join(message, "flags"),
            "EML": os.path.join(message, "message.eml"),
            "DIR": os.path.join(message, "attachments"),
            "RAW": mounted.path(".imapfs", "raw", "INBOX", "1.eml"),
            "RAWBOX": mounted.path(".imapfs", "raw", "INBOX"),
            "UID": mounted.path("INBOX", ".uid"), "LINK": mounted.path("INBOX", ".uid", "1"),
            "CONTROL": mounted.path(".imapfs"), "STATUS": mounted.path(".imapfs", "status"),
            "QUEUE": mounted.path(".imapfs", "queue"),
            "NAME": os.path.basename(message), "NAME2": names[2], "NAME3": names[3],
            "NAME4": names[4], "STEM2": names[2].rsplit(".", 1)[0],
            "LONG": "x" * 256 + ".eml", "MUCH": "y" * 247 + ".eml", "OUT": self.home.dir,
        })
        return found

    ROWS = [
        # open and create: files only as NAME.eml in a mailbox
        ("create", touch, "BOX/a.eml", WORKS), ("create", touch, "OTHER/MUCH", WORKS),
        ("create", touch, "OTHER/a", E.EPERM), ("create", touch, "OTHER/.a.eml", E.EPERM),
        ("create", touch, "OTHER/-a.eml", E.EPERM), ("create", touch, "OTHER/a.EML", E.EPERM),
        ("create", touch, "OTHER/.eml", E.EPERM), ("create", touch, "OTHER/LONG", E.ENAMETOOLONG),
        ("create", touch, "OTHER/nothing/a.eml", E.ENOENT),
        ("create", touch, "PART/a.eml", E.ENOTDIR), ("create", touch, "ROOT/a.eml", E.EPERM),
        ("create", touch, "MESSAGE/a.eml", E.EPERM), ("create", touch, "DIR/a.eml", E.EPERM),
        ("create", touch, "UID/a.eml", E.EPERM), ("create", touch, "RAWBOX/a.eml", E.EPERM),
        ("create", touch, "CONTROL/a.eml", E.EPERM), ("create", touch, "QUEUE/a.eml", E.EPERM),
        ("create", touch, "PART", E.EPERM), ("create", touch, "EML", E.EPERM),
        ("open w", touch, "BOX", os.O_WRONLY, E.EISDIR), ("open", touch, "nothing", 0, E.ENOENT),
        ("open w", touch, "PART", os.O_WRONLY, E.EPERM), ("open w", touch, "RAW", os.O_WRONLY,
                                                          E.EPERM),
        ("open w", touch, "RAW", os.O_WRONLY | os.O_TRUNC, E.EPERM),
        ("open w", touch, "FLAGS", os.O_WRONLY, WORKS),
        ("open r", touch, "PART", os.O_RDONLY, WORKS), ("open r", touch, "EML", os.O_RDONLY, WORKS),
        ("open excl", touch, "PART", os.O_WRONLY | os.O_CREAT | os.O_EXCL, E.EEXIST),
        ("open nofollow", touch, "EML", os.O_RDONLY | os.O_NOFOLLOW, E.ELOOP),
        ("open dir", touch, "PART", os.O_RDONLY | os.O_DIRECTORY, E.ENOTDIR),
        ("open tmp", touch, "OTHER", os.O_WRONLY | os.O_TMPFILE, E.EOPNOTSUPP),
        # rename: messages, to mailboxes, under their names
        ("rename", os.rename, "M2", "OTHER/NAME2", WORKS),
        ("rename", os.rename, "M3", "OTHER/NAME3", WORKS),
        ("rename again", os.rename, "M3", "OTHER/NAME3", E.EPERM),
        ("rename", os.rename, "M4", "OTHER/NAME4.5", E.EPERM),
        ("rename", os.rename, "M4", "OTHER/other", E.EPERM),
        ("rename", os.rename, "M4", "OTHER/nothing/NAME4", E.ENOENT),
        ("rename", os.rename, "M4", "OTHER/STEM2.4", E.EPERM),
        ("rename", os.rename, "M4", "BOX/other", E.EPERM),
        ("rename", os.rename, "M4", "M4", WORKS), ("rename", os.rename, "M4", "ROOT/NAME4", E.EPERM),
        ("rename", os.rename, "M4", "MESSAGE/NAME4", E.EPERM),
        ("rename", os.rename, "M4", "QUEUE/NAME4", E.EPERM),
        ("rename", os.rename, "M4", "RAWBOX/NAME4", E.EPERM),
        ("rename", os.rename, "M4", "OUT/x", E.EXDEV), ("rename", os.rename, "M4", "M5", E.EPERM),
        ("rename", os.rename, "M4", "PART", E.ENOTDIR),
        ("rename", os.rename, "BOX/nothing.9", "OTHER/nothing.9", E.ENOENT),
        ("rename", os.rename, "PART", "MESSAGE/x", E.EPERM),
        ("rename", os.rename, "PART", "OTHER/x.eml", E.EPERM),
        ("rename", os.rename, "DIR", "OTHER/x", E.EPERM),
        ("rename", os.rename, "EML", "OTHER/x.eml", E.EPERM),
        ("rename", os.rename, "FLAGS", "MESSAGE/x", E.EPERM),
        ("rename", os.rename, "LINK", "UID/x", E.EPERM),
        ("rename", os.rename, "STATUS", "CONTROL/x", E.EPERM),
        # link: a copy, of a whole message
        ("link", os.link, "RAW", "OTHER/l.eml", WORKS), ("link", os.link, "RAW", "OTHER/l", E.EPERM),
        ("link", os.link, "RAW", "OTHER/l.eml", E.EEXIST),
        ("link", os.link, "RAW", "MESSAGE/l.eml", E.EPERM),
        ("link", os.link, "RAW", "ROOT/l.eml", E.EPERM), ("link", os.link, "PART", "OTHER/m.eml",
                                                          E.EPERM),
        ("link", os.link, "FLAGS", "OTHER/m.eml", E.EPERM),
        ("link", os.link, "BOX", "OTHER/m.eml", E.EPERM),
        ("link", os.link, "RAW", "OUT/m.eml", E.EXDEV),
        # unlink: parts, for a while; nothing else
        ("unlink", os.unlink, "M6/body.txt", WORKS), ("unlink", os.unlink, "M6/body.txt", E.ENOENT),
        ("unlink", os.unlink, "M6/message.eml", WORKS), ("unlink", os.unlink, "M6/flags", WORKS),
        ("unlink", os.unlink, "M6/nothing", E.ENOENT), ("unlink", os.unlink, "DIR", E.EISDIR),
        ("unlink", os.unlink, "MESSAGE", E.EISDIR), ("unlink", os.unlink, "BOX", E.EISDIR),
        ("unlink", os.unlink, "LINK", E.EPERM), ("unlink", os.unlink, "RAW", E.EPERM),
        ("unlink", os.unlink, "STATUS", E.EPERM), ("unlink", os.unlink, "PART/x", E.ENOTDIR),
        ("unlink", os.unlink, "OTHER/l.eml", WORKS),
        # rmdir: messages; directories inside, for a while
        ("rmdir", os.rmdir, "M6/attachments", WORKS), ("rmdir", os.rmdir, "M6", WORKS),
        ("rmdir", os.rmdir, "M6", E.ENOENT), ("rmdir", os.rmdir, "M7", WORKS),
        ("rmdir", os.rmdir, "PART", E.ENOTDIR), ("rmdir", os.rmdir, "UID", E.EPERM),
        ("rmdir", os.rmdir, "CONTROL", E.EPERM), ("rmdir", os.rmdir, "QUEUE", E.EPERM),
        ("rmdir", os.rmdir, "RAWBOX", E.EPERM), ("rmdir", os.rmdir, "M8/.", E.EINVAL),
        ("rmdir", os.rmdir, "BOX/nothing.9", E.ENOENT),
        # mkdir: of messages, and in them, never
        ("mkdir", os.mkdir, "OTHER/NAME4", E.EPERM), ("mkdir", os.mkdir, "MESSAGE", E.EEXIST),
        ("mkdir", os.mkdir, "MESSAGE/x", E.EPERM), ("mkdir", os.mkdir, "DIR/x", E.EPERM),
        ("mkdir", os.mkdir, "CONTROL/x", E.EPERM), ("mkdir", os.mkdir, "RAWBOX/x", E.EPERM),
        ("mkdir", os.mkdir, "UID/x", E.EPERM), ("mkdir", os.mkdir, "PART/x", E.ENOTDIR),
        # what is never possible
        ("symlink", os.symlink, "/", "OTHER/s.eml", E.EPERM),
        ("symlink", os.symlink, "/", "PART", E.EEXIST), ("mkfifo", os.mkfifo, "OTHER/f.eml", E.EPERM),
        ("mkfifo", os.mkfifo, "MESSAGE/f", E.EPERM), ("bind", bind, "OTHER/b.eml", E.EPERM),
        ("chmod", os.chmod, "MESSAGE", 0o700, E.EPERM), ("chmod", os.chmod, "BOX", 0o755, E.EPERM),
        ("chmod", os.chmod, "PART", 0o400, E.EPERM), ("chmod", os.chmod, "RAW", 0o600, E.EPERM),
        ("chown", os.chown, "MESSAGE", 1, 1, E.EPERM), ("chown", os.chown, "FLAGS", 1, 1, E.EPERM),
        ("truncate", os.truncate, "PART", 0, E.EPERM), ("truncate", os.truncate, "RAW", 0, E.EPERM),
        ("truncate", os.truncate, "FLAGS", 5, E.EINVAL),
        ("truncate", os.truncate, "BOX", 0, E.EISDIR), ("utime", times, "MESSAGE", E.EPERM),
        ("utime", times, "PART", E.EPERM), ("utime", times, "BOX", E.EPERM),
        ("utime", times, "RAW", E.EPERM),
        ("setxattr", os.setxattr, "PART", "user.x", b"1", E.EPERM),
        ("setxattr", os.setxattr, "BOX", "user.x", b"1", E.EPERM),
        ("setxattr", os.setxattr, "MESSAGE", "security.x", b"1", E.EOPNOTSUPP),
        ("removexattr", os.removexattr, "MESSAGE", "user.imap.uid", E.EPERM),
    ]

    def fill(self, argument, places):
        """Words of a path that are names of places are these."""
        if not isinstance(argument, str) or argument in ("/", "user.x"):
            return argument
        if argument.startswith("/"):
            return argument
        words = argument.split("/")
        words = [next((places[key] + word[len(key):] for key in sorted(places, key=len, reverse=True)
                       if word == key or word.startswith(key + ".")), word) for word in words]
        path = os.path.join(*words)
        return path if path.startswith("/") else os.path.join(places["ROOT"], path)

    def check(self, rows, places):
        for number, (what, call, *arguments, want) in enumerate(rows):
            paths = [self.fill(each, places) if "xattr" not in what or not i else each
                     for i, each in enumerate(arguments)]
            with self.subTest(f"{number} {what} {arguments}"):
                try:
                    call(*paths)
                    got = WORKS
                except OSError as error:
                    got = error.errno
                self.assertEqual(errno.errorcode.get(got, got), errno.errorcode.get(want, want))

    def test_table(self):
        mounted = self.up()
        places = self.places(mounted)
        self.offline(mounted)
        self.check(self.ROWS, places)
        self.assertEqual(len(mounted.messages("INBOX")), self.count - 4)
        self.online(mounted)
        self.assertEqual(len(self.on_server("INBOX")), self.count - 4)
        self.assertEqual(len(self.on_server("Archive")), 3)
        self.assertEqual(len(self.on_server("Trash")), 2)

    def test_letters_that_are_open(self):
        """Of a file that is being written."""
        mounted = self.up()
        path = mounted.path("Archive", "w.eml")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        os.write(descriptor, LETTER.encode())
        rows = [("fchmod", os.fchmod, descriptor, 0o640, WORKS),
                ("fchown", os.fchown, descriptor, os.getuid(), os.getgid(), WORKS),
                ("fchown", os.fchown, descriptor, 12345, 1, E.EPERM),
                ("futimens", times, descriptor, WORKS), ("utimens", times, path, WORKS),
                ("fsync", os.fsync, descriptor, WORKS), ("read", os.read, descriptor, 5, WORKS),
                ("ftruncate", os.ftruncate, descriptor, 20, WORKS),
                ("pwrite", os.pwrite, descriptor, LETTER[20:].encode(), 20, WORKS),
                ("unlink", os.unlink, path, E.EPERM),
                ("rename", os.rename, path, mounted.path("Archive", "v.eml"), E.EPERM),
                ("link", os.link, path, mounted.path("Archive", "v.eml"), E.EPERM),
                ("open", touch, path, os.O_RDONLY, E.EBUSY)]
        self.check(rows, {"ROOT": mounted.mountpoint})
        os.close(descriptor)
        self.control("sync", mounted.mountpoint)
        self.assertEqual(self.on_server("Archive"), [1])
        self.assertTrue(mounted.read("Archive", "w.eml").endswith(
            LETTER.replace("\n", "\r\n").encode()))

    def test_nothing_is_left(self):
        """After refusals only: no operation, no file in the spool, the same listing."""
        mounted = self.up()
        places = self.places(mounted)
        before = {box: mounted.list(box) for box in ("INBOX", "Archive", "Trash")}
        self.check([row for row in self.ROWS if row[-1] and row[-1] not in (E.EEXIST, E.ENOENT)
                    and "again" not in row[0] and row[2] != "OTHER/l.eml"], places)
        self.assertEqual({box: mounted.list(box) for box in before}, before)
        self.assertEqual(mounted.list(".imapfs", "queue"), [])
        self.assertEqual(self.on_server("INBOX"), list(range(1, self.count + 1)))
