"""Messages and mailboxes that are moved, copied, deleted and made with the shell: the same script on
each kind of server, with the same end, online and offline."""
import collections
import errno
import os
import re
import shlex
import subprocess

import fakeimap
import mount as mounts
import proxy
import servers
from case import Case, OfServer

# m MAILBOX N: the directory of the message "Letter N" there, whatever the server calls it.
SHELL = r"""set -e
m() { for d in "$1"/*" - Letter $2".*; do [ -d "$d" ] && printf %s "$d" && return; done
      echo "no Letter $2 in $1" >&2; return 1; }
"""
FIRST = {"INBOX": range(1, 13), "Work": (20, 21), "Old": (30,), "Old/Older": (31,), "Empty": (),
         "Left": (40,)}
# What the shell is told to do; @ stands for what the names of mailboxes begin with here.
SCRIPT = r"""
mv "$(m INBOX 1)" @Work/                                # one
mv "$(m INBOX 2)" "$(m INBOX 3)" @Work/                 # several
mkdir @New
mv "$(m INBOX 4)" @New/                                 # into what was just made
echo '+\Flagged' >> "$(m INBOX 5)/flags"
mv "$(m INBOX 5)" @Work/                                # with its flags
echo '+\Answered' >> "$(m @Work 5)/flags"
mv "$(m @Work 20)" @New/
mv "$(m @New 20)" @Work/                                # there and back
mv "$(m INBOX 6)" @Work/
mv "$(m @Work 6)" @New/                                 # on
rm -r "$(m INBOX 7)"                                    # deleted
rm -r "$(m INBOX 8)" "$(m INBOX 9)"
cp "$(m INBOX 10)/message.eml" @Work/ten.eml            # copied
cp {letter} @Work/letter.eml                            # appended
cp {letter} @New/letter.eml
mv "$(m @Left 40)" INBOX/
rmdir @Empty                                            # removed when it is empty
mv @Old @Elder                                          # renamed with what is below
mkdir -p @Elder/Sub
mv "$(m INBOX 11)" @Elder/Sub/
"""
EMPTIED = "rmdir @Left\n"  # what was in it may be marked as deleted and still be there
LAST = {"INBOX": {"10": "", "12": "", "40": ""},
        "Work": {"1": "", "2": "", "3": "", "5": "FR", "10": "", "20": "", "21": "", "90": "S"},
        "New": {"4": "", "6": "", "90": "S"},
        "Elder": {"30": ""}, "Elder/Older": {"31": ""}, "Elder/Sub": {"11": ""}}
LETTERS = {"\\Flagged": "F", "\\Answered": "R", "\\Seen": "S", "\\Deleted": "T", "\\Draft": "D"}
BIG = 20_000
FORBIDDEN = re.compile(r"^C: \S+ (EXPUNGE|CLOSE|STORE|COPY|MOVE)\b", re.MULTILINE)


def letter(number, size=2000):
    lines = f"This is letter {number}.\r\n" * (size // 24)
    return (f"From: Alice Doe <alice@example.org>\r\nTo: bob@example.org\r\n"
            f"Date: Tue, 3 Mar 2026 10:00:00 +0000\r\nSubject: Letter {number}\r\n"
            f"Message-ID: <letter{number}@example.org>\r\n\r\n{lines}").encode()


class Changes(OfServer):
    maxDiff = None
    timeout = 120
    marks = False  # without UIDPLUS: what is deleted is only marked

    def setUp(self):
        self.addCleanup(self.empty)
        with self.server.client() as client:
            for name, numbers in FIRST.items():
                if name != "INBOX":
                    client.create(name)
                for number in numbers:
                    client.append(name, letter(number))
        self.link = proxy.Proxy(self.server.port).start()
        self.addCleanup(self.link.stop)
        self.home = mounts.Home()
        self.trace = os.path.join(self.home.dir, "trace")
        self.letter = os.path.join(self.home.dir, "letter.eml")
        with open(self.letter, "wb") as file:
            file.write(letter(90).replace(b"\r\n", b"\n"))

    def empty(self):
        with self.server.client() as client:
            names = self.names(client)
        self.server.clear(names)

    def up(self, *options):
        source, given = self.server.source(port=self.link.port)
        mounted = self.mount(source, [*given, f"trace={self.trace}", *options], self.home)
        for name in FIRST:
            self.assertEqual(len(mounted.messages(self.server.path(name))), len(FIRST[name]), name)
        self.shell(mounted, 'cat "$(m INBOX 10)/message.eml" >/dev/null')  # what is copied offline
        return mounted

    def script(self):
        return SCRIPT + ("" if self.marks else EMPTIED)

    def last(self):
        return {**LAST, **({"Left": {}} if self.marks else {})}

    def shell(self, mounted, script):
        script = re.sub(r"@(?=\w)", self.server.prefix, script)
        script = SHELL + script.replace("{letter}", shlex.quote(self.letter))
        done = subprocess.run(["bash", "-c", script], cwd=mounted.mountpoint, text=True,
                              capture_output=True, timeout=90 * self.patience(), check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
        return done.stdout

    # --- what is there ---

    def names(self, client):
        """The server's mailboxes, as Client names them."""
        if isinstance(client, fakeimap.FakeClient):
            return list(self.server.boxes)
        found = []
        for line in client.ask(client.imap.list()):
            wire = re.search(rb'"." (.*)$', line).group(1).decode().strip('"')
            name = servers.mail.from_modified_utf7(wire).replace(self.server.delimiter, "/")
            found.append(name.removeprefix(self.server.prefix) if name != "INBOX" else name)
        return found

    def letters(self, client, name):
        """[(uid, raw, flags)]"""
        if isinstance(client, fakeimap.FakeClient):
            return [(m.uid, m.raw, m.flags) for m in self.server.box(name).messages]
        flags = client.flags(name)
        client.ask(client.imap.select(client.wire(name), readonly=True))
        items = client.ask(client.imap.uid("FETCH", "1:*", "(UID BODY.PEEK[])")) if flags else []
        client.imap.close()
        found = {int(re.search(rb"UID (\d+)", item[0] + rest).group(1)): item[1]
                 for item, rest in zip(items[::2], items[1::2]) if isinstance(item, tuple)}
        return [(uid, raw, flags[uid]) for uid, raw in found.items()]

    def at_server(self):
        """{mailbox: {number: letters of flags}}; what is only marked as deleted counts as deleted
        where the server can do no more. The bytes must be right."""
        found = {}
        with self.server.client() as client:
            for name in self.names(client):
                numbers = []
                for _, raw, flags in self.letters(client, name):
                    number = re.search(rb"^Subject: Letter (\d+)\r?$", raw, re.MULTILINE).group(1)
                    self.assertIn(raw, (letter(int(number)), letter(int(number), BIG)))
                    if not (self.marks and "\\Deleted" in flags):
                        numbers.append((number.decode(), "".join(
                            sorted(LETTERS[flag] for flag in flags if flag in LETTERS))))
                twice = [number for number, n in
                         collections.Counter(number for number, _ in numbers).items() if n > 1]
                self.assertEqual(twice, [], f"twice in {name}")
                found[name] = dict(numbers)
        return found

    def in_mount(self, mounted, names):
        """The same of the tree."""
        found = {}
        for name in names:
            found[name] = {}
            path = self.server.path(name)
            for entry in mounted.list(path):
                match = re.search(r" - Letter (\d+)\.(\+?\d+)$", entry)
                if match:
                    flags = mounted.text(path, entry, "flags").split()
                    self.assertNotIn(match.group(1), found[name], f"twice in {name}")
                    found[name][match.group(1)] = "".join(
                        sorted(LETTERS[flag] for flag in flags if flag in LETTERS))
        return found

    def is_in_mount(self, mounted, want):
        try:
            return self.in_mount(mounted, want) == want
        except OSError as error:  # a server may give a mailbox another UIDVALIDITY as it renames it
            self.assertIn(error.errno, (errno.ESTALE, errno.ENOENT))
            return False

    def check_end(self, mounted, want):
        self.control("sync", mounted.mountpoint)
        self.assertEqual(mounted.list(".imapfs", "queue"), [])
        self.assertEqual(mounted.list(".imapfs", "failed"), [])
        self.assertEqual(self.at_server(), want)
        self.soon(lambda: self.is_in_mount(mounted, want), 20, what="the tree")
        self.check_trace()

    def check_trace(self):
        with open(self.trace, errors="replace") as file:
            said = file.read()
        self.assertEqual([match.group(0) for match in FORBIDDEN.finditer(said)], [])
        if self.marks:
            self.assertNotIn(" UID EXPUNGE ", said)

    # --- tests ---

    def test_online(self):
        mounted = self.up("delete=expunge")
        self.shell(mounted, self.script())
        self.check_end(mounted, self.last())

    def test_offline(self):
        """All of it while the server cannot be reached: shown at once, and there later."""
        mounted = self.up("delete=expunge")
        self.control("offline", mounted.mountpoint)
        self.shell(mounted, self.script())
        self.assertEqual(self.in_mount(mounted, self.last()), self.last())
        with self.server.client() as client:
            self.assertEqual(set(self.names(client)), set(FIRST))
        self.control("online", mounted.mountpoint)
        self.check_end(mounted, self.last())

    def test_killed_in_between(self):
        """kill -9 after it was done offline, and while it is being sent."""
        mounted = self.up("delete=expunge")
        self.control("offline", mounted.mountpoint)
        self.shell(mounted, self.script())
        mounted.kill()
        self.link.cut_after(2500, direction="up", how="rst")
        mounted = self.mount(*self.again("delete=expunge"))
        self.soon(lambda: self.link.cuts or not mounted.list(".imapfs", "queue"), 30, what="the cut")
        mounted.kill()
        self.link.resume()
        mounted = self.mount(*self.again("delete=expunge"))
        self.check_end(mounted, self.last())

    def again(self, *options):
        source, given = self.server.source(port=self.link.port)
        return source, [*given, f"trace={self.trace}", *options], self.home

    def test_step_by_step(self):
        """Each line is on the server before the next."""
        mounted = self.up("delete=expunge")
        for line in self.script().strip().splitlines():
            self.shell(mounted, line)
            self.control("sync", mounted.mountpoint)
        self.check_end(mounted, self.last())

    def test_link_is_cut_again_and_again(self):
        mounted = self.up("delete=expunge")
        self.control("offline", mounted.mountpoint)
        self.shell(mounted, self.script())
        for turn in range(6):
            self.link.cut_after(1100 + 450 * turn, direction="up", how=("fin", "rst")[turn % 2])
            self.control("online", mounted.mountpoint)
            self.soon(lambda: self.link.cuts > turn or not mounted.list(".imapfs", "queue"), 40,
                      what="the cut")
            self.link.no_more_cuts()
            if turn < 5:
                self.control("offline", mounted.mountpoint)
        self.control("online", mounted.mountpoint)
        self.check_end(mounted, self.last())

    def test_copies_move_no_bytes(self):
        """cp of many messages between mailboxes is done by the server."""
        count, size = self.MANY, BIG
        with self.server.client() as client:
            client.create("Many")
            for number in range(100, 100 + count):
                client.append("Many", letter(number, size))
        mounted = self.up()
        path = self.server.path("Many")
        self.assertEqual(len(mounted.messages(path)), count)
        before = self.link.counted()
        self.shell(mounted, 'for d in @Many/*" - Letter "*; do n=${d##*.}; '
                            'cp "$d/message.eml" "@Work/copy$n.eml"; done')
        self.control("sync", mounted.mountpoint)
        up, down = (now - then for now, then in zip(self.link.counted(), before))
        self.note(f"{count} messages of {size} bytes: {up} bytes up, {down} down")
        self.assertLess(up, count * 400)    # commands, and the new listing
        self.assertLess(down, count * 2000)
        there = self.at_server()
        self.assertEqual(len(there["Work"]), count + 2)
        self.assertEqual(len(there["Many"]), count)
        self.check_trace()

    MANY = 60


class TestDovecotChanges(Changes, Case):
    MANY = 500

    @classmethod
    def make(cls):
        return servers.Dovecot()

    def names(self, client):  # those it has by itself are not part of it
        return [name for name in super().names(client) if name not in servers.SPECIAL]

    def test_trash(self):
        """What is deleted goes to the mailbox for it, and from there for good."""
        with self.server.client() as client:
            client.create("Trash")
        mounted = self.up()
        self.shell(mounted, 'rm -r "$(m INBOX 1)" "$(m INBOX 2)"\nrm -r "$(m Work 20)"')
        self.control("sync", mounted.mountpoint)
        self.soon(lambda: sorted(self.in_mount(mounted, ["Trash"])["Trash"]) == ["1", "2", "20"])
        self.shell(mounted, 'rm -r "$(m Trash 1)"\nmv "$(m Trash 2)" INBOX/')
        self.control("sync", mounted.mountpoint)
        with self.server.client() as client:
            self.assertEqual(len(client.flags("Trash")), 1)
            client.expunge("Trash", list(client.flags("Trash")))
            client.delete("Trash")
        self.assertIn("2", self.at_server()["INBOX"])
        self.assertNotIn("1", self.at_server()["INBOX"])
        self.check_trace()


class TestCyrusChanges(Changes, Case):
    @classmethod
    def make(cls):
        return servers.Cyrus()


class TestCourierChanges(Changes, Case):
    """No MOVE."""

    @classmethod
    def make(cls):
        return servers.Courier()


class TestScriptedFull(Changes, Case):
    @classmethod
    def make(cls):
        return fakeimap.FakeImap(fakeimap.FULL)


class TestScriptedMinimal(Changes, Case):
    """IMAP4rev1 and nothing else: COPY, and what is deleted is marked."""
    marks = True

    @classmethod
    def make(cls):
        return fakeimap.FakeImap(fakeimap.MINIMAL)


del Changes
