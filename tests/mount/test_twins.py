"""A message that is in two mailboxes is fetched once: EMAILID, or Gmail's X-GM-MSGID, says that it is
one and the same."""
import os

import fakeimap
import mail
from case import Case

TWO = 2 << 20
BODIES = rb"BODY\.PEEK\[(?!HEADER\.FIELDS)|BODYSTRUCTURE"
OBJECTID = (*fakeimap.FULL, "OBJECTID")
GMAIL = ("IMAP4rev1", "SASL-IR", "ID", "ENABLE", "IDLE", "NAMESPACE", "UNSELECT", "UIDPLUS", "MOVE",
         "CONDSTORE", "ESEARCH", "SPECIAL-USE", "LIST-EXTENDED", "LIST-STATUS", "X-GM-EXT-1")


class Twins:
    timeout = 90
    capabilities = None

    def setUp(self):
        self.server = fakeimap.FakeImap(self.capabilities).start()
        self.addCleanup(self.server.stop)
        self.server.box("All Mail")

    def up(self, *options):
        source, more = self.server.source()
        return self.mount(source, [*more, "timeout=3", "poll=5", *options])

    def fill(self, *mails):
        """Both mailboxes, as a COPY makes them."""
        for name in ("INBOX", "All Mail"):
            self.server.fill(name, mails)

    def asked(self):
        return self.server.commands(BODIES)

    def read(self, mounted, box, made):
        folder = next(path for uid, path in mounted.messages(box).items()
                      if self.number(box, uid) == made.raw)
        self.assertEqual(mounted.text(box, folder, "body.txt"), made.text)
        self.assertIn(f"Subject: {made.subject}", mounted.text(box, folder, "headers.txt"))
        for name, data in made.attachments:
            path = mounted.path(box, folder, "attachments", name)
            self.assertEqual(mail.sha256(mounted.read(path)), mail.sha256(data))
            self.assertEqual(os.stat(path).st_size, len(data))

    def number(self, box, uid):
        return next(m.raw for m in self.server.box(box).messages if m.uid == uid)

    def test_read_again_elsewhere(self):
        mails = [mail.message(1, "attachment"), mail.message(2, "alternative"),
                 mail.message(3, "plain"), mail.message(4, "attachments")]
        self.fill(*mails)
        mounted = self.up()
        for made in mails:
            self.read(mounted, "INBOX", made)
        mounted.list("All Mail")
        asked = self.asked()
        self.assertTrue(asked)
        for made in mails:
            self.read(mounted, "All Mail", made)
        self.assertEqual(self.asked()[len(asked):], [])

    def sizes(self, mounted, box, made):
        folder = mounted.path(box, *mounted.messages(box).values(), "attachments")
        self.assertEqual({name: os.stat(os.path.join(folder, name)).st_size
                          for name in os.listdir(folder)},
                         {name: len(data) for name, data in made.attachments})

    def test_sizes(self):
        made = mail.message(1, "attachment")
        self.fill(made)
        mounted = self.up()
        self.sizes(mounted, "INBOX", made)
        mounted.list("All Mail")
        asked = self.asked()
        self.assertTrue(asked)
        self.sizes(mounted, "All Mail", made)
        self.assertEqual(self.asked()[len(asked):], [])

    def test_sizes_later(self):
        """Both structures are known before the first size is."""
        made = mail.message(1, "attachment")
        self.fill(made)
        mounted = self.up()
        for box in ("INBOX", "All Mail"):
            mounted.list(box, mounted.messages(box)[1], "attachments")
        self.sizes(mounted, "INBOX", made)
        asked = self.asked()
        self.sizes(mounted, "All Mail", made)
        self.assertEqual(self.asked()[len(asked):], [])

    def test_large(self):
        """A copy that is made while the program runs."""
        big = mail.big(5, TWO)
        uid, = self.server.fill("INBOX", [big])
        mounted = self.up("exact")
        self.read(mounted, "INBOX", big)
        self.server.fill("All Mail", [big])
        self.soon(lambda: mounted.messages("All Mail"), 15, "the copy")
        asked = self.asked()
        self.read(mounted, "All Mail", big)
        self.assertEqual(self.asked()[len(asked):], [])
        self.server.client().expunge("INBOX", [uid])
        self.soon(lambda: not mounted.messages("INBOX"), 15, "the first one goes")
        self.read(mounted, "All Mail", big)
        self.assertEqual(self.asked()[len(asked):], [])

    def test_large_by_ranges(self):
        big = mail.big(5, TWO)
        self.fill(big)
        mounted = self.up()
        self.read(mounted, "INBOX", big)
        mounted.list("All Mail")

        def pieces():
            return self.server.commands(rb"BODY\.PEEK\[2\]")

        def kept():  # as a whole, in idle time
            self.read(mounted, "INBOX", big)
            return self.is_file(mounted)
        self.soon(kept, 15, "a file in the cache")
        before = pieces()
        self.read(mounted, "All Mail", big)
        self.assertEqual(pieces()[len(before):], [])

    @staticmethod
    def is_file(mounted):
        for folder, _, files in os.walk(mounted.home.dir):
            for name in files:
                if os.path.basename(folder) == "content" and \
                        os.path.getsize(os.path.join(folder, name)) == TWO:
                    return True
        return False

    def test_ahead(self):
        """A walk through the second mailbox meets some that the first has not."""
        mails = [mail.message(number, "plain") for number in range(40)]
        self.server.fill("INBOX", mails[::2])
        self.server.fill("All Mail", mails)
        mounted = self.up()
        for made in mails[::2]:
            self.read(mounted, "INBOX", made)
        mounted.list("All Mail")
        before = len(self.server.log)
        for made in mails:
            self.read(mounted, "All Mail", made)
        uids = self.uids_asked(before)
        there = {m.uid for m in self.server.box("All Mail").messages}
        self.assertEqual(uids, {uid for uid in there if uid % 2 == 0})

    def uids_asked(self, start):
        """UIDs of which bodies were asked for from here on in the log."""
        uids = set()
        for _, line in self.server.log[start:]:
            if b"BODY.PEEK[1]" in line:
                inside = fakeimap.in_set(line.split(b" ")[3], 10000)
                uids |= {uid for uid in range(1, 200) if inside(uid)}
        return uids

    def test_another_size(self):
        """A server that lies: the id is the same, but the message is not."""
        one, other = mail.message(1, "plain"), mail.message(2, "plain")
        self.server.fill("INBOX", [one])
        self.server.fill("All Mail", [other])
        self.server.box("All Mail").messages[0].emailid = \
            self.server.box("INBOX").messages[0].emailid
        self.assertNotEqual(len(one.raw), len(other.raw))
        mounted = self.up()
        self.read(mounted, "INBOX", one)
        asked = self.asked()
        self.read(mounted, "All Mail", other)
        self.assertGreater(len(self.asked()), len(asked))

    def test_offline(self):
        """What is here of the one can be read of the other."""
        made = mail.message(1, "attachment")
        self.fill(made)
        mounted = self.up()
        mounted.list("All Mail")
        self.read(mounted, "INBOX", made)
        self.server.stop()
        self.read(mounted, "All Mail", made)

    def test_after_a_damage(self):
        """A message of which the first copy's content is not there is fetched."""
        made = mail.big(5, 300_000)
        self.fill(made)
        mounted = self.up()
        self.read(mounted, "INBOX", made)
        for folder, _, files in os.walk(mounted.home.dir):
            if os.path.basename(folder) == "content":
                for name in files:
                    os.truncate(os.path.join(folder, name), 7)
        asked = len(self.server.commands(rb"BODY\.PEEK\[2\]"))
        self.read(mounted, "All Mail", made)
        self.assertGreater(len(self.server.commands(rb"BODY\.PEEK\[2\]")), asked)


class TestTwins(Twins, Case):
    capabilities = OBJECTID


class TestTwinsGmail(Twins, Case):
    capabilities = GMAIL


class TestNoTwins(Case):
    """Without such an id equal messages are two."""
    timeout = 60

    def test_fetched_twice(self):
        server = fakeimap.FakeImap(fakeimap.FULL).start()
        self.addCleanup(server.stop)
        made = mail.message(3, "plain")
        for name in ("INBOX", "Archive"):
            server.fill(name, [made])
        source, more = server.source()
        mounted = self.mount(source, [*more, "timeout=3", "poll=5"])
        for name in ("INBOX", "Archive"):
            folder = mounted.messages(name)[1]
            self.assertEqual(mounted.text(name, folder, "body.txt"), made.text)
        self.assertEqual(len(server.commands(rb"BODY\.PEEK\[1\]")), 2)
