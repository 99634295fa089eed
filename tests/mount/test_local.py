"""Messages whose structure the server does not tell, or tells wrong: parsed here, nothing lost."""
import errno
import os
import re

import fakeimap
import mail
from case import Case

BOM = b"\xef\xbb\xbf"
VICTIM = "forward"  # a text, and a message with a text and an attachment in it

# What a server may say instead of the structure
LIES = {
    "broken": b'(("text" "plain"',
    "nil": b"NIL",
    "empty": b"()",
    "too deep": b"(" * 150 + b")" * 150,
    "too many parts": b"(" + b'("text" "plain" NIL NIL NIL "7bit" 0 0)' * 20_000 + b' "mixed")',
    "no parts": b'("multipart" "mixed" NIL NIL NIL "7bit" 77)',
    "an invented text": b'(("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0 NIL NIL NIL '
                        b'NIL) "mixed" ("boundary" "x") NIL NIL NIL)',
    "equal boundaries": b'((("text" "plain" NIL NIL NIL "7bit" 5 1) "alternative" ("boundary" "x") '
                        b'NIL NIL NIL) "mixed" ("boundary" "x") NIL NIL NIL)',
}


class TestParsedHere(Case):
    timeout = 90

    def setUp(self):
        self.server = fakeimap.FakeImap(fakeimap.FULL, security="tunnel").start()
        self.addCleanup(self.server.stop)
        self.mails = [mail.message(number, kind) for number, kind in enumerate(mail.KINDS)]
        self.uids = dict(zip(self.server.fill("INBOX", self.mails), self.mails))
        self.victim = next(uid for uid, made in self.uids.items() if made.kind == VICTIM)

    def up(self, *options):
        source, more = self.server.source()
        return self.mount(source, [*more, "timeout=5", "poll=60", *options])

    def lie(self, structure, only=None, body=None):
        """The server tells this structure, of one message or of all; and this for BODY[]."""
        def on_fetch(_conn, message, items):
            if only not in (None, message.uid):
                return items
            instead = {b"BODYSTRUCTURE": structure}
            if body is not None:
                instead[b"BODY[]"] = body
            return {name: instead.get(re.sub(rb"<\d+>$", b"", name), value)
                    for name, value in items.items()}
        self.server.on_fetch = on_fetch

    def check(self, path, made):
        """A message's directory has all that was put into it."""
        files = {"body.txt": made.text.encode()}
        if made.html:
            files["body.html"] = BOM + made.html.encode()
        files |= {f"attachments/{name}": data for name, data in made.attachments}
        for name, data in files.items():
            with open(os.path.join(path, name), "rb") as file:
                self.assertEqual(file.read(), data, name)
        if made.nested:
            inner = os.path.join(path, "attachments", "part-2.message")
            self.check(inner, made.nested)
            with open(os.path.join(inner, "headers.txt")) as file:
                self.assertIn(f"Subject: {made.nested.subject}\n", file.read())
        with open(os.path.join(path, "message.eml"), "rb") as file:
            eml = file.read()
        if path.endswith(".message"):  # its boundaries were renamed
            self.assertTrue(any(eml in outer.raw for outer in self.mails))
        else:
            self.assertEqual(eml, made.raw)

    def test_every_kind(self):
        self.lie(LIES["broken"])
        mounted = self.up()
        for uid, name in mounted.messages("INBOX").items():
            self.check(mounted.path("INBOX", name), self.uids[uid])
        # its sections are ours: none was asked of the server, and every message was asked for once
        self.assertEqual(self.server.commands(rb"BODY\.PEEK\[\d"), [])
        asked = self.server.commands(rb"BODY\.PEEK\[\]")
        self.assertEqual(len(asked), len(self.uids), asked)

    def test_every_lie(self):
        for words, structure in LIES.items():
            with self.subTest(words):
                self.lie(structure, self.victim)
                mounted = self.up()
                for uid, name in mounted.messages("INBOX").items():
                    self.check(mounted.path("INBOX", name), self.uids[uid])
                mounted.unmount()

    def test_neighbours_are_not_fetched(self):
        """Read-ahead of structures meets a broken one: only who looks at it pays for it."""
        self.lie(LIES["broken"], self.victim)
        mounted = self.up()
        for uid, name in sorted(mounted.messages("INBOX").items()):
            if uid != self.victim:
                mounted.list("INBOX", name)
        self.assertEqual(self.server.commands(rb"BODY\.PEEK\[\]"), [])

    def test_whole_message_fails_too(self):
        self.lie(LIES["broken"], self.victim, b"NIL")
        mounted = self.up()
        names = mounted.messages("INBOX")
        self.assert_fails((errno.EIO,), mounted.read, "INBOX", names[self.victim], "body.txt")
        for uid, name in names.items():
            if uid != self.victim:
                self.check(mounted.path("INBOX", name), self.uids[uid])

    def test_cached_message(self):
        """After a restart, without a server: from the cache alone."""
        self.lie(LIES["broken"], self.victim)
        first = self.up()
        names = first.messages("INBOX")
        self.assertTrue(first.list("INBOX", names[self.victim]))
        first.unmount()
        self.server.stop()
        source, more = self.server.source()
        second = self.mount(source, [*more, "timeout=2"], first.home)
        self.check(second.path("INBOX", names[self.victim]), self.uids[self.victim])

    def test_over_a_limit_here_as_well(self):
        part = b"--x\r\n\r\n\r\n"
        raw = (b"Subject: many\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n" + part * 20_000)
        uid = self.server.box("INBOX").add(raw)
        self.lie(LIES["too many parts"], uid)
        mounted = self.up()
        name = mounted.messages("INBOX")[uid]
        self.assertEqual(set(mounted.list("INBOX", name)),
                         {"PROBLEM.txt", "flags", "headers.txt", "message.eml"})
        self.assertEqual(mounted.read("INBOX", name, "message.eml"), raw)
        self.assertIn("message.eml", mounted.text("INBOX", name, "PROBLEM.txt"))
