"""A server that lies, breaks the grammar, or attacks: one bad answer spoils one message at most."""
import errno
import os
import re
import subprocess
import threading
import time

import fakeimap
import mail
import mount as mounts
from case import Case

BAD = (errno.EIO, errno.ENETUNREACH, errno.ETIMEDOUT)
HOSTILE_NAMES = [
    "../../etc/passwd", "..", ".", "-rf", ".bashrc", "a/b", "a\x00b", "a\nb", "\x1b[2Jx", "x" * 400,
    "\u202egpj.exe", "con.txt ", "evil.desktop", "HEAD", "", "  ", "%2e%2e%2f", "name\u0000.pdf",
]


class LieCase(Case):
    timeout = 90
    capabilities = fakeimap.FULL

    def setUp(self):
        self.server = fakeimap.FakeImap(self.capabilities).start()
        self.addCleanup(self.server.stop)
        self.mails = [mail.message(number) for number in range(10)]
        self.uids = self.server.fill("INBOX", self.mails)

    def up(self, *options):
        source, more = self.server.source()
        return self.mount(source, [*more, "timeout=3", "poll=5", *options])

    def one_message_spoiled(self, lie, errnos=(errno.EIO,), victim=5, structure=True):
        """With on_fetch = lie for the victim, all other messages read well and the victim's text
        gives an error. structure False: the victim may have other files, yet must be listed."""
        def on_fetch(conn, message, items):
            return lie(message, items) if message.uid == victim else items
        self.server.on_fetch = on_fetch
        mounted = self.up()
        names = mounted.messages("INBOX")
        self.assertLessEqual(set(self.uids) - {victim}, set(names))
        for uid, made in zip(self.uids, self.mails):
            if uid != victim:
                self.assertEqual(mounted.text("INBOX", names[uid], "body.txt"), made.text)
        if structure and victim in names:
            self.assert_fails(errnos, mounted.read, "INBOX", names[victim], "body.txt")
        mounted.messages("INBOX")
        return mounted, names


def change(**values):
    """A lie that gives items other values; the names' underscores are dots, None takes it away."""
    table = {name.replace("_", ".").encode(): value for name, value in values.items()}

    def lie(_message, items):
        out = {}
        for name, value in items.items():
            key = name.split(b"[")[0]
            if key not in table:
                out[name] = value
            elif table[key] is not None:
                out[name] = table[key]
        return out
    return lie


class TestFetchLies(LieCase):
    def test_nil_body(self):
        self.one_message_spoiled(change(BODY=b"NIL"))

    def test_missing_body(self):
        def lie(_message, items):
            return {k: v for k, v in items.items() if not re.match(rb"BODY\[\d", k)}
        self.one_message_spoiled(lie)

    def test_no_answer_for_one(self):
        def lie(_message, items):
            return None if any(re.match(rb"BODY\[[\d]", k) for k in items) else items
        self.one_message_spoiled(lie, (errno.ESTALE,))  # as after an expunge

    def test_body_of_another_section(self):
        def lie(_message, items):
            return {re.sub(rb"^BODY\[\d+\]", b"BODY[9]", k): v for k, v in items.items()}
        self.one_message_spoiled(lie)

    def big(self, size=3_000_000):
        """A message whose attachment comes in several pieces: (uid, its bytes)."""
        made = mail.big(1, size)
        uid = self.server.box("INBOX").add(made.raw)
        return uid, made.attachments[0]

    def test_pieces_out_of_order(self):
        """Dovecot answers the newest command first when its output was blocked."""
        uid, (name, data) = self.big()
        held = []

        def on_fetch(conn, message, items):
            piece = next((k for k in items if re.match(rb"BODY\[2\]<[1-9]", k)), None)
            if piece is None or message.uid != uid:
                return items
            answer = b" ".join(k + b" " + v for k, v in items.items())
            held.append(b"* %d FETCH (%s)\r\n" % (len(conn.view), answer))
            if len(held) == 3:  # all that is in flight, the last first; then no more of it
                self.server.on_fetch = None
                conn.send(*reversed(held))
            return None
        self.server.on_fetch = on_fetch
        mounted = self.up()
        folder = mounted.message("INBOX", uid)
        with open(os.path.join(folder, "attachments", name), "rb") as file:
            self.assertEqual(file.read(), data)

    def test_short_piece(self):
        """The first of several pieces is short: what comes behind it shows that it was not all."""
        uid, (name, _) = self.big(600_000)

        def lie(_conn, message, items):
            out = {}
            for item, value in items.items():
                if message.uid == uid and item == b"BODY[2]<0>":
                    data = value.partition(b"\r\n")[2][:1000]
                    value = b"{%d}\r\n%s" % (len(data), data)
                out[item] = value
            return out
        self.server.on_fetch = lie
        mounted = self.up()
        folder = mounted.message("INBOX", uid)
        self.assert_fails((errno.EIO,), mounted.read, folder, "attachments", name)

    def test_pieces_that_never_come(self):
        """The server always gives another piece: an error, and not another try for ever."""
        uid, (name, _) = self.big()

        def on_fetch(_conn, message, items):
            return {re.sub(rb"^BODY\[2\]<[1-9]\d*>", b"BODY[2]<77777777>", k): v
                    for k, v in items.items()} if message.uid == uid else items
        self.server.on_fetch = on_fetch
        mounted = self.up()
        folder = mounted.message("INBOX", uid)
        self.assert_fails((errno.EIO,), mounted.read, folder, "attachments", name)
        self.assertLess(len(self.server.commands(rb"BODY\.PEEK\[2\]")), 20)

    def test_broken_bodystructure(self):
        for junk in (b'("boundary" NIL)', b"NIL", b"()", b'(("text"))', b'("text" "plain" 7)',
                     b"(" * 150 + b")" * 150):
            with self.subTest(junk[:20]):
                _, names = self.one_message_spoiled(change(BODYSTRUCTURE=junk), structure=False)
                self.assertIn(5, names)

    def test_broken_date(self):
        _, names = self.one_message_spoiled(change(INTERNALDATE=b'"99-Foo-2026 25:61:61 +9999"'),
                                            structure=False)
        self.assertLessEqual(set(names), set(self.uids))

    def test_broken_size(self):
        for junk in (b"-5", b"9.3736e+06", b"NIL", b"99999999999999999999999"):
            with self.subTest(junk):
                self.one_message_spoiled(change(RFC822_SIZE=junk), structure=False)

    def test_wrong_size(self):
        """RFC822.SIZE may be an estimate (Exchange): the bytes are right all the same."""
        for size in (b"1", b"5000000"):
            with self.subTest(size):
                mounted, names = self.one_message_spoiled(change(RFC822_SIZE=size),
                                                          structure=False)
                self.assertEqual(mounted.read("INBOX", names[5], "message.eml"),
                                 self.mails[4].raw)

    def test_broken_envelope(self):
        for junk in (b"NIL", b"()", b'("x")', b"(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)",
                     b'((("From" NIL "a" "b")) "x" NIL NIL NIL NIL NIL NIL NIL NIL)'):
            with self.subTest(junk[:20]):
                self.one_message_spoiled(change(ENVELOPE=junk), structure=False)

    def test_unknown_items(self):
        def lie(_message, items):
            return {b"X-GM-FOO": b'(1 "two" (3 {4}\r\nfour))', **items}
        self.one_message_spoiled(lie, structure=False)

    def test_message_gone_under_us(self):
        """An expunge that we have not heard of: ESTALE for that message."""
        mounted = self.up()
        names = mounted.messages("INBOX")

        def expunged(_conn, message, items):
            return None if message.uid == 5 else items
        self.server.on_fetch = expunged
        self.assert_fails((*BAD, errno.ESTALE), mounted.read, "INBOX", names[5], "body.txt")
        self.assertEqual(mounted.text("INBOX", names[6], "body.txt"), self.mails[5].text)


class TestSessionLies(LieCase):
    def recovers(self, mounted, uid=7):
        def text():
            try:
                names = mounted.messages("INBOX")
                return mounted.text("INBOX", names[uid], "body.txt") if uid in names else None
            except OSError as error:
                self.assertIn(error.errno, BAD, error)
                return None
        self.assertEqual(self.soon(text, 60, "the session to return"), self.mails[uid - 1].text)

    def once(self, command, act):
        """on_command that does act at the first command of this name, and is then good."""
        state = {"done": False}

        def hook(conn, tag, name, arguments):
            if name == command and not state["done"]:
                state["done"] = True
                return act(conn, tag)
            return False
        self.server.on_command = hook
        return state

    def test_bye(self):
        for command in ("SELECT", "EXAMINE", "FETCH"):
            with self.subTest(command):
                def bye(conn, _tag):
                    conn.untagged(b"BYE going down")
                    raise fakeimap.Drop()
                self.once(command, bye)
                self.recovers(self.up())

    def test_dropped_in_the_middle_of_a_literal(self):
        mounted = self.up()
        mounted.messages("INBOX")

        def cut(conn, _message, items):
            self.server.on_fetch = None
            conn.send(b"* 7 FETCH (UID 7 BODY[1] {100000}\r\nonly this")
            raise fakeimap.Drop("rst")
        self.server.on_fetch = cut
        self.recovers(mounted)

    def test_stalls(self):
        def stall(conn, _tag):
            conn.stall()
        self.once("FETCH", stall)
        self.recovers(self.up())

    def test_garbage(self):
        for junk in (b"\x00\xff\xfe garbage\r\n", b"* \r\n", b"* FETCH\r\n", b"* 1 FETCH (\r\n",
                     b"A999 OK not yours\r\n", b"* 5 FETCH (UID {99999999999}\r\n",
                     b"x" * 70_000 + b"\r\n", b"* 999999 EXPUNGE\r\n", b"* 0 FETCH (FLAGS ())\r\n"):
            with self.subTest(junk[:24]):
                def say(conn, _tag, junk=junk):
                    conn.send(junk)
                    return False
                self.once("FETCH", say)
                self.recovers(self.up())

    def test_greetings(self):
        for greeting, said in ((b"* BYE overloaded\r\n", "overloaded"), (b"hello\r\n", ""),
                               (b"A1 OK ready\r\n", ""), (b"* NO\r\n", "")):
            with self.subTest(greeting):
                self.server.greeting = greeting
                source, more = self.server.source()
                code, output = self.refused(source, [*more, "timeout=3"])
                self.assertNotEqual(code, 0)
                self.assertIn(said, output)

    def test_login_never_answered(self):
        def hook(conn, _tag, name, _arguments):
            if name in ("LOGIN", "AUTHENTICATE"):
                conn.stall()
        self.server.on_command = hook
        source, more = self.server.source()
        code, output = self.refused(source, [*more, "timeout=3"], 40)
        self.assertNotEqual(code, 0)
        self.assertTrue(output.strip())

    def test_absurd_uids(self):
        box = self.server.box("Absurd")
        for uid in (1, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1):
            box.add(self.mails[0].raw, uid=uid)
        mounted = self.up()
        names = mounted.messages("Absurd")
        self.assertEqual(set(names), {1, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1})
        for name in names.values():
            self.assertEqual(mounted.text("Absurd", name, "body.txt"), self.mails[0].text)

    def test_uid_zero(self):
        box = self.server.box("Zero")
        box.add(self.mails[0].raw)
        box.messages[0].uid = 0
        mounted = self.up()
        try:
            self.assertEqual(mounted.messages("Zero"), {})
        except OSError as error:
            self.assertIn(error.errno, BAD)
        self.recovers(mounted)

    def test_flood(self):
        """More untagged responses than any command may bring: closed, and not remembered."""
        def flood(conn, _tag):
            for _ in range(3000):
                conn.send(b"* OK [ALERT] buy this\r\n" * 100)
            return False
        self.once("FETCH", flood)
        mounted = self.up()
        self.recovers(mounted)
        self.assertLess(mounted.rss_kb(), 1_000_000)

    def test_alert_with_escapes(self):
        def alert(conn, _tag):
            conn.send(b"* OK [ALERT] \x1b[2J\x1b]0;owned\x07 and {5}\r\n")
            return False
        self.once("FETCH", alert)
        mounted = self.up()
        self.recovers(mounted)
        self.assertNotIn("\x1b", mounted.output())
        self.assertNotIn(b"\x1b", mounted.read(".imapfs", "log"))

    def test_refused_commands(self):
        """What was offered and is then refused: the program does without."""
        for word in ("ENABLE", "ID", "NAMESPACE", "IDLE", "RETURN", "CHANGEDSINCE", "CONDSTORE",
                     "QRESYNC", "STATUS", "UNSELECT"):
            with self.subTest(word):
                def refuse(conn, tag, name, arguments, word=word):
                    if word not in (name, *repr(arguments).upper().replace("'", " ").split()):
                        return False
                    conn.send(tag, b" BAD no such thing\r\n")
                    return True
                self.server.on_command = refuse
                home = mounts.Home()
                for _ in range(2):  # a first listing, and a resync
                    source, more = self.server.source()
                    mounted = self.mount(source, [*more, "timeout=3"], home)
                    self.assertEqual(set(mounted.messages("INBOX")), set(self.uids))
                    self.recovers(mounted)
                    mounted.unmount()


class TestMadeAgain(LieCase):
    def test_while_selected(self):
        """A mailbox is removed and made again by another client, and its session is not ended."""
        self.server.keeps_removed = True
        work = self.server.fill("Work", self.mails[:2])
        mounted = self.up()
        self.assertEqual(set(mounted.messages("Work")), set(work))
        with self.server.client() as client:
            client.delete("Work")
            self.asked(mounted, lambda: "Work" not in mounted.list())
            self.server.fill("Work", self.mails[2:7])
            self.asked(mounted, lambda: "Work" in mounted.list())
        names = mounted.messages("Work")
        self.assertEqual(len(names), 5)
        self.assertEqual(mounted.text("Work", names[1], "body.txt"), self.mails[2].text)


class TestNamespaces(LieCase):
    def test_refused(self):
        """A namespace that is told of and cannot be listed does not take the others with it, and
        what was known of it stays."""
        shared = self.server.box("#news/comp")
        refused = [True]

        def hook(conn, tag, name, arguments):
            if name == "NAMESPACE":
                conn.untagged(b'NAMESPACE (("" "/")) NIL (("#news/" "/"))')
                conn.send(tag, b" OK done\r\n")
            elif name == "LIST" and arguments[1] == b"*":  # not what is in the other namespace
                boxes, self.server.boxes = self.server.boxes, {"INBOX": self.server.boxes["INBOX"]}
                conn.do_list(tag, arguments)
                self.server.boxes = boxes
                conn.send(tag, b" OK done\r\n")
            elif name == "LIST" and refused[0]:
                conn.send(tag, b" NO not for you\r\n")
            else:
                return False
            return True
        self.server.on_command = hook
        mounted = self.up()
        self.assertEqual(mounted.list(), ["INBOX"])
        refused[0] = False
        self.asked(mounted, lambda: len(mounted.list()) == 2)
        refused[0] = True
        lists = len(self.server.commands(rb" LIST "))
        mounted.kick()
        self.soon(lambda: len(self.server.commands(rb" LIST ")) >= lists + 2)
        self.assertEqual(len(mounted.list()), 2)
        self.assertEqual(shared.messages, [])


class TestHollow(LieCase):
    """A mailbox that can only hold others becomes one with messages, and the reverse."""

    def setUp(self):
        super().setUp()
        self.server.keeps_removed = True
        self.server.fill("Work/Sub", self.mails[:1])

    def replace(self, **attributes):
        with self.server.lock:
            self.server.boxes.pop("Work")
            return self.server.box("Work", **attributes)

    def test_can_hold_messages(self):
        self.server.box("Work", attributes=["\\Noselect"])
        mounted = self.up()
        self.assertEqual(mounted.list("Work"), ["Sub"])
        self.replace()
        self.server.fill("Work", self.mails[:4])
        self.asked(mounted, lambda: len(mounted.messages("Work")) == 4)

    def test_is_hollow(self):
        self.server.fill("Work", self.mails[:4])
        mounted = self.up()
        names = mounted.messages("Work")
        self.assertEqual(len(names), 4)
        self.replace(attributes=["\\Noselect"])
        self.asked(mounted, lambda: mounted.list("Work") == ["Sub"])
        self.soon(lambda: not os.path.exists(mounted.path("Work", names[1])))
        self.replace()
        self.server.fill("Work", self.mails[4:6])

        def are_two():
            try:
                return len(mounted.messages("Work")) == 2
            except OSError as error:  # told once that it is another one
                self.assertEqual(error.errno, errno.ESTALE)
                return False
        self.asked(mounted, are_two)
        name = mounted.messages("Work")[1]
        self.assertEqual(mounted.text("Work", name, "body.txt"), self.mails[4].text)


class TestNames(LieCase):
    def test_hostile_mailbox_names(self):
        hostile = ["..", "../..", "a/../b", "./x", ".hidden", ".imapfs", "-rf", "x" * 200,
                   "2026-01-01 A - B.7", "tab\there", "new\nline", "esc\x1b[2J", "a//b", "/abs",
                   "%2e%2e", "\u202eabc"]
        for name in hostile:
            with self.server.lock:
                self.server.box(name).add(self.mails[0].raw)
        mounted = self.up()
        self.soon(lambda: "INBOX" in mounted.list())
        found = []
        for folder, folders, files in os.walk(mounted.mountpoint):
            relative = os.path.relpath(folder, mounted.mountpoint)
            self.assertFalse(relative.startswith(".."))
            found += folders
            for name in [*folders, *files]:
                self.safe(name)
        self.assertTrue(any("hidden" in name for name in found), found)
        self.assertFalse(os.path.exists(os.path.join(mounted.mountpoint, "..", "x")))

    def safe(self, name):
        encoded = name.encode("utf-8")  # not surrogates: valid UTF-8
        self.assertLessEqual(len(encoded), 255)
        self.assertNotRegex(name, r"[\x00-\x1f\x7f\u202a-\u202e/]")
        self.assertNotIn(name, (".", ".."))

    def test_hostile_attachment_names(self):
        raws = []
        for name in HOSTILE_NAMES:
            made = mail.message(3)
            raws.append(made.raw.replace(b'filename="report.pdf"',
                                         b"filename*=utf-8''" + quote(name)))
        box = self.server.box("Names")
        for raw in raws:
            box.add(raw)
        mounted = self.up()
        for name in mounted.messages("Names").values():
            folder = mounted.path("Names", name, "attachments")
            files = os.listdir(folder)
            self.assertEqual(len(files), 1)
            self.safe(files[0])
            self.assertNotRegex(files[0], r"^[.-]")
            self.assertFalse(files[0].endswith(".desktop"))
            with open(os.path.join(folder, files[0]), "rb") as file:
                self.assertEqual(file.read(), mail.message(3).attachments[0][1])

    def test_hostile_subjects(self):
        for subject in ("../../x", "a/b/c", "\x1b[31mred", ".", "x" * 5000, "=?utf-8?q?=00=0a=2f?=",
                        "\u202egnp.exe", ""):
            raw = re.sub(rb"(?m)^Subject: .*\r\n", b"Subject: " + subject.encode() + b"\r\n",
                         self.mails[0].raw, count=1)
            self.server.box("Subjects").add(raw)
        mounted = self.up()
        names = mounted.messages("Subjects")
        self.assertEqual(len(names), 8)
        for name in names.values():
            self.safe(name)
            self.assertEqual(mounted.text("Subjects", name, "body.txt"), self.mails[0].text)

    def test_endless_subjects(self):
        """What is kept of them is not more than anybody can be shown."""
        raw = b"Subject: " + b"words and " * 200_000 + b"\r\nFrom: a@b.c\r\n\r\nx\r\n"
        for _ in range(10):
            self.server.box("Endless").add(raw)
        mounted = self.up()
        self.assertEqual(len(mounted.messages("Endless")), 10)
        mounted.unmount()
        kept = sum(os.path.getsize(os.path.join(folder, file))
                   for folder, _, files in os.walk(mounted.home.dir) for file in files)
        self.assertLess(kept, 8_000_000)

    def test_odd_messages(self):
        odd = [b"", b"\r\n", b"no header at all", b"\r\nonly a body\r\n", b"Subject: x\r\n",
               b"Subject: x\r\n\r\n", b"A: b\r\n" * 3000 + b"\r\nbody\r\n",
               b"Content-Type: multipart/mixed; boundary=x\r\n\r\nno parts\r\n",
               b"Content-Type: multipart/mixed\r\n\r\n--\r\n\r\nx\r\n",
               b"Content-Type: text/plain; charset=nonsense\r\n\r\n\xff\xfe\x80\r\n",
               b"Content-Transfer-Encoding: base64\r\n\r\n!!!not base64!!!\r\n"]
        uids = [self.server.box("Odd").add(raw) for raw in odd]
        mounted = self.up()
        names = mounted.messages("Odd")
        self.assertEqual(set(names), set(uids))
        for uid, raw in zip(uids, odd):
            with self.subTest(raw[:30]):
                self.assertEqual(mounted.read("Odd", names[uid], "message.eml"), raw)
                for folder, _, files in os.walk(mounted.path("Odd", names[uid])):
                    for file in files:
                        with open(os.path.join(folder, file), "rb") as each:
                            each.read()


class TestSlowServer(LieCase):
    def test_slow_but_alive(self):
        """What comes slowly is not stalled, however long it takes: 64 KB in a second."""
        made = mail.big(3, 280_000)  # six seconds, twice the timeout
        self.server.fill("Slow", [made])
        mounted = self.up()

        def trickle(conn, _message, items):
            if not any(name.startswith(b"BODY[2]") for name in items):
                return items
            data = b"* 1 FETCH (" + b" ".join(k + b" " + v for k, v in items.items()) + b")\r\n"
            for at in range(0, len(data), 16_384):
                conn.send(data[at:at + 16_384])
                time.sleep(0.25)
            return None
        path = os.path.join(mounted.message("Slow", 1), "attachments", "video.mp4")
        os.stat(path)
        self.server.on_fetch = trickle
        with open(path, "rb") as file:
            self.assertEqual(mail.sha256(file.read()), mail.sha256(made.attachments[0][1]))


class TestTwoSections(LieCase):
    """Pieces past the end of a message are on their way while another section of it is asked for,
    and the server says OK to the two when it has sent both."""

    def test_headers_beside_the_whole(self):
        made = mail.big(10, 300_000)
        uid = self.server.fill("INBOX", [made])[0]

        def lie(conn, message, items):
            if message.uid == uid and b"RFC822.SIZE" in items:
                items[b"RFC822.SIZE"] = b"900000"
            return items
        self.server.on_fetch = lie
        mounted = self.up("timeout=20")
        message = mounted.message("INBOX", uid)
        begun, held = threading.Event(), []

        def hook(conn, tag, name, arguments):
            if name != "FETCH" or not conn.server.log[-1][1].startswith(tag + b" UID FETCH"):
                return False
            if b"<524288." in conn.server.log[-1][1]:
                conn.do_fetch(tag, arguments, True)
                held.append(tag)
                begun.set()
                return True
            if held and b"HEADER" in conn.server.log[-1][1]:
                conn.do_fetch(tag, arguments, True)
                conn.send(held.pop(), b" OK done\r\n", tag, b" OK done\r\n")
                return True
            return False
        self.server.on_command = hook
        whole = subprocess.Popen(["cat", os.path.join(message, "message.eml")],
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertTrue(begun.wait(20))
        self.assertIn("Subject: Holiday video", mounted.text(message, "headers.txt"))
        self.assertEqual(len(self.server.commands(rb"BODY\.PEEK\[HEADER\]")), 1)  # it was taken
        out, err = whole.communicate(timeout=30)
        self.assertEqual((err, mail.sha256(out)), (b"", mail.sha256(made.raw)))


class TestSilentSearch(LieCase):
    capabilities = ("IMAP4rev1", "IDLE", "SASL-IR")

    def test_silence_is_not_an_empty_mailbox(self):
        """SEARCH that says nothing, or finds nothing, drops no message that is there."""
        mounted = self.up()
        self.assertEqual(set(mounted.messages("INBOX")), set(self.uids))
        asked = []
        for silence in (b"", b"* SEARCH\r\n"):
            def hook(conn, tag, name, _arguments, silence=silence):
                if name != "SEARCH":
                    return False
                asked.append(tag)
                conn.send(silence, tag, b" OK done\r\n")
                return True
            self.server.on_command = hook
            before = len(asked)
            gone = self.uids.pop(2)
            with self.server.client() as client:
                client.expunge("INBOX", [gone])
            self.soon(lambda before=before: len(asked) > before, 20, "a SEARCH")
            try:
                self.assertLessEqual(set(self.uids), set(mounted.messages("INBOX")))
            except OSError as error:
                self.assertIn(error.errno, BAD)
        self.server.on_command = None
        with self.server.client() as client:
            client.expunge("INBOX", [self.uids.pop(0)])
        self.assertTrue(self.soon(lambda: set(mounted.messages("INBOX")) == set(self.uids), 20,
                                  "the right listing"))


def quote(name):
    return "".join(f"%{byte:02X}" for byte in name.encode()).encode()
