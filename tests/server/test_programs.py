"""Programs that know nothing of IMAP, on the Maildir view and on the tree: notmuch, mu, rsync,
mutt, neomutt, pcmanfm."""
import ctypes
import datetime
import fcntl
import mailbox
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import termios
import time
import unittest
import zlib

import mail
import proc
import servers
from case import Case

N = 2000
SIZE = 3000


class Opens:
    """Counts files that anybody opens in a directory, by inotify."""
    IN_OPEN, IN_ISDIR, IN_NONBLOCK = 0x20, 0x40000000, os.O_NONBLOCK

    def __init__(self, path):
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.fd = self.libc.inotify_init1(self.IN_NONBLOCK)
        if self.libc.inotify_add_watch(self.fd, os.fsencode(path), self.IN_OPEN) < 0:
            raise OSError(ctypes.get_errno(), path)

    def take(self):
        """Names that were opened since the last call, one for each time."""
        names = []
        while select.select([self.fd], [], [], 0)[0]:
            data = os.read(self.fd, 1 << 20)
            while data:
                _, mask, _, length = struct.unpack_from("iIII", data)
                name = data[16:16 + length].rstrip(b"\0").decode()
                data = data[16 + length:]
                if not mask & self.IN_ISDIR:
                    names.append(name)
        return names

    def close(self):
        os.close(self.fd)


def needs(*programs):
    missing = [each for each in programs if not shutil.which(each)]
    return unittest.skipIf(missing, f"not installed: {' '.join(missing)}")


class Programs(Case):
    """A Dovecot with 2,000 messages, mounted."""
    timeout = 300

    def setUp(self):
        self.server = servers.Dovecot()
        self.server.prefill("INBOX", [(mail.quick(i, SIZE), self.date(i))
                                      for i in range(1, N + 1)], flags="")
        self.server.prefill("Archive", [(mail.quick(N + 1, SIZE), self.date(N + 1))])
        self.server.prefill("Trash", [])
        self.server.start()
        self.addCleanup(self.server.stop)
        source, options = self.server.source()
        self.mounted = self.mount(source, options)
        self.maildir = self.mounted.path(".imapfs", "maildir")
        self.work = proc.workdir("programs")
        self.env = dict(os.environ, HOME=self.work, LC_ALL="C.UTF-8", TERM="vt100")

    @staticmethod
    def date(number):
        return mail.EPOCH + datetime.timedelta(minutes=number)

    def path(self, *parts):
        return os.path.join(self.maildir, *parts)

    def cur(self, box="INBOX"):
        return os.listdir(self.path(box, "cur"))

    def run_program(self, *words, seconds=200):
        return proc.run(*words, env=self.env, timeout=seconds, stdin=-3).decode()  # DEVNULL

    def write(self, name, text):
        path = os.path.join(self.work, name)
        with open(path, "w") as file:
            file.write(text)
        return path

    def synced(self, box="INBOX"):
        fd = os.open(self.mounted.path(box), os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)

    def on_server(self, box="INBOX"):
        """{Message-ID: flags}."""
        found = {}
        with self.server.client() as client:
            client.ask(client.imap.select(client.wire(box), readonly=True))
            if client.imap.response("EXISTS")[1] == [b"0"]:
                return found
            for part in client.ask(client.imap.uid(
                    "FETCH", "1:*", "(FLAGS BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])")):
                if isinstance(part, tuple):
                    flags = re.search(rb"FLAGS \(([^)]*)\)", part[0]).group(1).decode().split()
                    name = re.search(rb"<q(\d+)@", part[1])
                    found[int(name.group(1)) if name else part[1]] = set(flags) - {"\\Recent"}
        return found


class TestIndexers(Programs):
    @needs("notmuch")
    def test_notmuch(self):
        self.env["NOTMUCH_CONFIG"] = self.write("notmuch", (
            f"[database]\npath={self.work}/index\nmail_root={self.maildir}\n"
            "[user]\nname=Alice\nprimary_email=alice@example.org\n"
            "[new]\ntags=unread\n[maildir]\nsynchronize_flags=true\n"))
        os.mkdir(os.path.join(self.work, "index"))
        opens = Opens(self.path("INBOX", "cur"))
        self.addCleanup(opens.close)
        self.note(self.run_program("notmuch", "new").split("\n")[0])
        self.assertEqual(int(self.run_program("notmuch", "count", "*")), N + 1)
        self.assertEqual(int(self.run_program("notmuch", "count", "tag:unread")), N)
        self.assertEqual(len(set(opens.take())), N)

        self.run_program("notmuch", "new")
        self.assertEqual(opens.take(), [], "nothing has changed")

        # a flag from elsewhere: that one alone
        with self.server.client() as client:
            client.store("INBOX", 17, "+FLAGS", ["\\Seen"])
        self.soon(lambda: any("_17." in name and name.endswith("S") for name in self.cur()))
        time.sleep(1.1)  # it does not believe a time within the second
        self.run_program("notmuch", "new")
        self.assertEqual(int(self.run_program("notmuch", "count", "tag:unread")), N - 1)
        self.assertLessEqual(len(set(opens.take())), 1)
        self.run_program("notmuch", "new")
        self.assertEqual(opens.take(), [])

        # its tags are flags
        self.run_program("notmuch", "tag", "+flagged", "-unread", "--", "id:q3@example.org")
        self.synced()
        self.assertEqual(self.on_server()[3], {"\\Flagged", "\\Seen"})

    @needs("mu")
    def test_mu(self):
        self.run_program("mu", "init", f"--muhome={self.work}/mu", f"--maildir={self.maildir}")
        opens = Opens(self.path("INBOX", "cur"))
        self.addCleanup(opens.close)
        self.run_program("mu", "index", "--quiet", f"--muhome={self.work}/mu")
        found = self.run_program("mu", "find", f"--muhome={self.work}/mu", "--fields=i",
                                 "maildir:/INBOX")
        self.assertEqual(len(found.split()), N)
        self.assertEqual(len(set(opens.take())), N)
        self.run_program("mu", "index", "--quiet", f"--muhome={self.work}/mu")
        self.assertEqual(opens.take(), [], "nothing has changed")
        self.run_program("mu", "index", "--quiet", "--lazy-check", f"--muhome={self.work}/mu")
        self.assertEqual(opens.take(), [])

    @needs("rsync")
    def test_rsync(self):
        copy = os.path.join(self.work, "copy")
        words = ["rsync", "-a", "--itemize-changes", self.path("INBOX") + "/", copy]
        self.run_program(*words)
        made = mailbox.Maildir(copy, create=False)
        self.assertEqual(len(made), N)
        got = {}
        for name in os.listdir(os.path.join(copy, "cur")):
            with open(os.path.join(copy, "cur", name), "rb") as file:
                got[int(re.search(r"_(\d+)\.", name).group(1))] = file.read()
        self.assertEqual(got, {i: mail.quick(i, SIZE) for i in range(1, N + 1)})
        self.assertEqual(self.run_program(*words), "", "nothing has changed")
        with self.server.client() as client:
            client.store("INBOX", 17, "+FLAGS", ["\\Seen"])
        self.soon(lambda: any("_17." in name and name.endswith("S") for name in self.cur()))
        changed = self.run_program(*words, "--delete", "--fuzzy").split("\n")
        self.assertEqual(len([line for line in changed if line.startswith(">f")]), 1, changed)
        self.assertEqual(len(mailbox.Maildir(copy, create=False)), N)


MUTTRC = """
set folder="{folder}" spoolfile="{folder}/INBOX" mbox_type=Maildir tmpdir="{work}"
set realname=Alice from=alice@example.org hostname=example.org
set quit=yes delete=yes confirmappend=no confirmcreate=no wait_key=no sort=date beep=no
set mark_old=no move=no timeout=5 mail_check=1 check_new=yes
{more}
"""


class Terminal:
    """A program in a terminal of its own, whose output is read away."""

    def __init__(self, words, env, seconds):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            try:
                os.execvpe(words[0], words, env)
            finally:
                os._exit(127)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        self.seconds, self.output = seconds, b""

    def wait(self):
        """Its exit code; AssertionError when it does not end."""
        until = time.monotonic() + self.seconds
        try:
            while time.monotonic() < until:
                if select.select([self.fd], [], [], 0.1)[0]:
                    try:
                        data = os.read(self.fd, 65536)
                    except OSError:
                        data = b""
                    if not data:
                        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
                    self.output = (self.output + data)[-20000:]
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            raise AssertionError(f"it did not end:\n{self.text()}")
        finally:
            os.close(self.fd)

    def text(self):
        return re.sub(r"\x1b[\[(][0-9;?]*[A-Za-z]", " ", self.output.decode(errors="replace"))


class TestMutt(Programs):
    program, more = "mutt", ""

    def setUp(self):
        if not shutil.which(self.program):
            self.skipTest(f"not installed: {self.program}")
        super().setUp()

    def keys(self, *keys, box="INBOX"):
        rc = self.write("muttrc", MUTTRC.format(folder=self.maildir, work=self.work,
                                                more=self.more))
        flags = ["-n", "-F", rc, "-f", self.path(box), "-e", 'push "' + "".join(keys) + '"']
        terminal = Terminal([self.program, *flags], self.env, 60)
        code = terminal.wait()
        self.assertEqual(code, 0, terminal.text())
        return terminal.text()

    @staticmethod
    def message(number):
        return f"<search>~i q{number}@example<enter>"

    def test_flag_delete_save(self):
        text = self.keys(self.message(7), "<flag-message>", self.message(1500), "<set-flag>r",
                         self.message(40), "<delete-message>",
                         self.message(1999), "<save-message><kill-line>=Archive<enter>",
                         "<sync-mailbox><quit>")
        self.soon(lambda: len(self.on_server()) == N - 2, what="the server has it all")
        self.soon(lambda: len(self.on_server("Archive")) == 2 and
                  len(self.on_server("Trash")) == 2, what="the server has it all")
        there = self.on_server()
        self.assertEqual(there[7], {"\\Flagged"}, text)
        self.assertEqual(there[1500], {"\\Answered", "\\Seen"}, text)  # mutt sets both
        self.assertEqual({number for number, flags in there.items() if flags}, {7, 1500}, text)
        self.assertEqual(set(range(1, N + 1)) - set(there), {40, 1999})
        self.assertIn(1999, self.on_server("Archive"))
        self.assertIn(40, self.on_server("Trash"))
        with self.server.client() as client:
            client.select("Archive")
            raw = client.imap.uid("FETCH", "2", "(BODY.PEEK[])")[1][0][1]
        self.assertEqual(self.body(mail.to_lf(raw)), self.body(mail.quick(1999, SIZE)))

    @staticmethod
    def body(raw):
        return raw.partition(b"\n\n")[2]


class TestNeomutt(TestMutt):
    program = "neomutt"


class Display:
    """An X server without a screen, and hands on its keyboard."""

    def __init__(self, dir, env):
        self.dir, self.env = dir, env
        number = next(n for n in range(100 + os.getpid() % 400, 1000)
                      if not os.path.exists(f"/tmp/.X{n}-lock"))
        self.process = proc.Process(["Xvfb", f":{number}", "-screen", "0", "1000x700x24",
                                     "-fbdir", dir], os.path.join(dir, "xvfb.log"))
        self.env["DISPLAY"] = f":{number}"
        proc.wait_for(lambda: os.path.exists(f"/tmp/.X11-unix/X{number}"), 20, what="a display")

    def tool(self, *words):
        """What xdotool says; "" when it fails, as a search does that finds nothing."""
        done = subprocess.run(["xdotool", *words], env=self.env, timeout=20, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        return done.stdout.decode()

    def focus(self, program):
        """Its window, when it is there."""
        window = proc.wait_for(
            lambda: self.tool("search", "--onlyvisible", "--class", program).split(), 60, 0.2,
            f"a window of {program}")[-1]
        self.tool("windowfocus", "--sync", window)
        return window

    def keys(self, *keys):
        self.tool("key", "--clearmodifiers", *keys)

    def type(self, text):
        self.tool("type", "--delay", "3", text)

    def screenshot(self, path):
        """A PNG of what Xvfb keeps in a file as xwd(1) writes it: 32 bits a pixel."""
        with open(os.path.join(self.dir, "Xvfb_screen0"), "rb") as file:
            data = file.read()
        fields = struct.unpack(">25I", data[:100])
        size, width, height, line, colours = (fields[i] for i in (0, 4, 5, 12, 19))
        start, rows = size + colours * 12, []
        for y in range(height):
            row = data[start + y * line:start + y * line + width * 4]
            pixels = bytearray(width * 3)
            pixels[0::3], pixels[1::3], pixels[2::3] = row[2::4], row[1::4], row[0::4]
            rows.append(b"\0" + bytes(pixels))
        with open(path, "wb") as out:
            out.write(b"\x89PNG\r\n\x1a\n")
            for kind, part in ((b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
                               (b"IDAT", zlib.compress(b"".join(rows))), (b"IEND", b"")):
                out.write(struct.pack(">I", len(part)) + kind + part +
                          struct.pack(">I", zlib.crc32(kind + part)))

    def end(self):
        self.process.end()


@unittest.skipUnless(os.environ.get("IMAPFS_LONG"), "a desktop: with IMAPFS_LONG=1")
@needs("pcmanfm", "Xvfb", "xdotool")
class TestFileManager(Case):
    """A person at a desktop: looks at a message, takes an attachment out of it, moves a message to
    another mailbox and deletes one."""
    timeout = 150

    def setUp(self):
        self.server = servers.Dovecot()
        self.mails = {box: mail.message(7 * number, "attachment", f"Report for {box}")
                      for number, box in enumerate(("INBOX", "Here", "Old"), 1)}
        for box, made in self.mails.items():
            self.server.prefill(box, [(made.raw, made.date)])
        self.server.prefill("There", [])
        self.server.start()
        self.addCleanup(self.server.stop)
        source, options = self.server.source()
        self.mounted = self.mount(source, options)
        self.work = proc.workdir("desktop")
        env = {key: value for key, value in os.environ.items() if not key.startswith("DBUS")}
        self.env = dict(env, HOME=self.work, XDG_RUNTIME_DIR=self.work, LC_ALL="C.UTF-8")
        os.makedirs(os.path.join(self.work, ".config", "libfm"))
        with open(os.path.join(self.work, ".config", "libfm", "libfm.conf"), "w") as file:
            file.write("[config]\nuse_trash=0\nconfirm_del=0\n")
        os.mkdir(os.path.join(self.work, "out"))
        self.display = Display(self.work, self.env)
        self.addCleanup(self.display.end)

    def go(self, path):
        """Opens a directory in the window."""
        self.display.keys("ctrl+l")
        self.display.keys("ctrl+a")
        self.display.type(path)
        self.display.keys("Return")
        self.soon(lambda: self.display.tool("getwindowname", self.window).strip() ==
                  os.path.basename(path), what=f"the window shows {path}")
        time.sleep(1)  # until its icons are there, of which nothing can be known from outside
        self.display.keys("Escape")

    def show(self, name):
        if os.environ.get("IMAPFS_ARTIFACTS"):
            self.display.screenshot(os.path.join(os.environ["IMAPFS_ARTIFACTS"], name))

    def messages(self, box):
        return len(self.mounted.messages(box))

    def on_server(self, box):
        with self.server.client() as client:
            return len(client.uids(box))

    def test_a_message(self):
        path = self.mounted.message("INBOX", 1)
        program = proc.Process(["pcmanfm", "--no-desktop", path],
                               os.path.join(self.work, "pcmanfm.log"), env=self.env)
        self.addCleanup(program.end)
        self.window = self.display.focus("pcmanfm")
        time.sleep(1)
        self.show("pcmanfm-message.png")

        self.go(os.path.join(path, "attachments"))
        self.display.keys("ctrl+a", "ctrl+c")
        self.go(os.path.join(self.work, "out"))
        self.display.keys("ctrl+v")
        name, data = self.mails["INBOX"].attachments[0]
        out = os.path.join(self.work, "out", name)
        self.soon(lambda: os.path.exists(out) and os.path.getsize(out) == len(data))
        with open(out, "rb") as file:
            self.assertEqual(file.read(), data)

        self.go(self.mounted.path("Here"))
        self.display.keys("ctrl+a", "ctrl+x")
        self.go(self.mounted.path("There"))
        self.display.keys("ctrl+v")
        self.soon(lambda: (self.messages("Here"), self.messages("There")) == (0, 1))
        self.show("pcmanfm-moved.png")

        self.go(self.mounted.path("Old"))
        self.display.keys("ctrl+a", "shift+Delete")
        self.soon(lambda: self.messages("Old") == 0)
        self.show("pcmanfm-deleted.png")
        self.soon(lambda: [self.on_server(box) for box in ("Here", "There", "Old")] == [0, 1, 0])
