"""Servers whose numbers go back, or are fewer or more than they should be."""
import errno
import os

import fakeimap
import mail
import mount as mounts
from case import Case

N = 10


class NumbersCase(Case):
    timeout = 90
    capabilities = fakeimap.FULL

    def setUp(self):
        self.server = fakeimap.FakeImap(self.capabilities).start()
        self.addCleanup(self.server.stop)
        self.mails = [mail.message(number, "plain") for number in range(N)]
        self.uids = self.server.fill("INBOX", self.mails)
        self.home = mounts.Home()

    def up(self, *options):
        source, more = self.server.source()
        return self.mount(source, [*more, "timeout=5", *options], self.home)

    def read_all(self):
        """A mount that lists and reads everything, and ends."""
        mounted = self.up()
        names = mounted.messages("INBOX")
        self.assertEqual(set(names), set(self.uids))
        for uid, made in zip(self.uids, self.mails):
            self.assertEqual(mounted.text("INBOX", names[uid], "body.txt"), made.text)
        mounted.unmount()

    def flags(self, mounted, uid):
        return mounted.text("INBOX", mounted.messages("INBOX")[uid], "flags").split()


class TestModseqs(NumbersCase):
    """An index that is lost begins to count anew, under the same UIDVALIDITY."""

    def restart(self):
        box = self.server.box("INBOX")
        with self.server.lock:
            for message in box.messages:
                message.modseq = 1
            box.modseq = 1
            box.store(5, ["\\Flagged"])

    def test_go_back(self):
        self.read_all()
        self.restart()
        mounted = self.up()
        self.assertEqual(self.flags(mounted, 5), ["\\Flagged"])
        mounted.unmount()
        with self.server.lock:
            self.server.box("INBOX").store(6, ["\\Seen"])
        mounted = self.up()
        self.assertEqual(self.flags(mounted, 6), ["\\Seen"])
        self.assertEqual(self.flags(mounted, 5), ["\\Flagged"])

    def test_none_any_more(self):
        self.read_all()
        box = self.server.box("INBOX")
        with self.server.lock:
            box.nomodseq = True
            box.store(5, ["\\Flagged"])
        mounted = self.up()
        self.assertEqual(self.flags(mounted, 5), ["\\Flagged"])
        mounted.unmount()
        with self.server.lock:
            box.store(6, ["\\Seen"])
        mounted = self.up()
        self.assertEqual(self.flags(mounted, 6), ["\\Seen"])


class TestModseqsCondstore(TestModseqs):
    capabilities = tuple(name for name in fakeimap.FULL if name != "QRESYNC")


class TestUidnext(NumbersCase):
    def test_goes_back(self):
        """A backup was put back: the last messages are not there, and new ones have their UIDs."""
        self.read_all()
        box = self.server.box("INBOX")
        other = mail.message(77, "plain")
        with self.server.lock:
            del box.messages[-3:]
            box.uidnext = 8
        mounted = self.up()
        self.assertEqual(set(mounted.messages("INBOX")), set(self.uids[:-3]))
        with self.server.lock:
            box.add(other.raw)
        names = self.asked(mounted, lambda: mounted.messages("INBOX")
                           if len(mounted.messages("INBOX")) == 8 else None)
        self.assertEqual(mounted.text("INBOX", names[8], "body.txt"), other.text)

    def test_goes_back_and_on(self):
        self.read_all()
        box = self.server.box("INBOX")
        with self.server.lock:
            del box.messages[-3:]
            box.uidnext = 8
            box.add(mail.message(77, "plain").raw)
        self.assertEqual(set(self.up().messages("INBOX")), set(range(1, 9)))


class TestUidvalidity(NumbersCase):
    def test_not_told(self):
        """Once it is not told: nothing is dropped for that."""
        self.read_all()

        def silent(conn, tag, name, arguments):
            if name not in ("SELECT", "EXAMINE"):
                return False
            self.server.on_command = None
            conn.untagged = lambda *parts: b"UIDVALIDITY" in parts[0] or \
                fakeimap.Connection.untagged(conn, *parts)
            with self.server.lock:
                answer = conn.do_select(tag, arguments, name == "EXAMINE")
            del conn.untagged
            conn.send(tag, b" ", answer, b"\r\n")
            return True
        self.server.on_command = silent
        mounted = self.up()
        self.assertEqual(set(mounted.messages("INBOX")), set(self.uids))  # as it was
        names = mounted.messages("INBOX")
        before = len(self.server.commands(rb"BODY\.PEEK\[1\]"))
        for uid, made in zip(self.uids, self.mails):
            self.assertEqual(mounted.text("INBOX", names[uid], "body.txt"), made.text)
        self.assertEqual(len(self.server.commands(rb"BODY\.PEEK\[1\]")), before)


class TestExists(NumbersCase):
    def test_goes_back(self):
        """Three are gone, and it says so by their number alone."""
        mounted = self.up()
        self.assertEqual(set(mounted.messages("INBOX")), set(self.uids))

        def hook(conn, _tag, name, _arguments):
            if name != "NOOP" or not conn.box:
                return False
            self.server.on_command = None
            with self.server.lock:
                del conn.box.messages[-3:]
                conn.view = list(conn.box.messages)
                conn.untagged(b"7 EXISTS")
            return False
        self.server.on_command = hook
        mounted.kick()
        self.soon(lambda: set(mounted.messages("INBOX")) == set(self.uids[:-3]))


class TestFewer(NumbersCase):
    """A server that tells of so many messages at a time and no more (RFC 9738)."""
    capabilities = fakeimap.MINIMAL

    def test_limit(self):
        self.read_all()

        def limited(conn, tag, name, arguments):
            ranged = name == "FETCH" and arguments[0].endswith(b":*")
            if name != "SEARCH" and not ranged:
                return False
            with conn.server.lock:
                view, conn.view = conn.view, conn.view[-3:]
                if name == "SEARCH":
                    conn.do_search(tag, arguments, True)
                else:
                    conn.do_fetch(tag, arguments, True)
                conn.view = view
            conn.send(tag, b" OK [MESSAGELIMIT 3 8] that is all\r\n")
            return True
        self.server.on_command = limited
        mounted = self.up()
        self.assertEqual(set(mounted.messages("INBOX")), set(self.uids))


class TestMore(NumbersCase):
    def test_all_there_could_be(self):
        """SEARCH finds every UID that there may be."""
        self.read_all()
        box = self.server.box("INBOX")

        def hook(conn, tag, name, _arguments):
            if name != "SEARCH":
                return False
            conn.untagged(b'ESEARCH (TAG "', tag, b'") UID ALL 1:4294967295')
            conn.send(tag, b" OK done\r\n")
            return True
        self.server.on_command = hook
        with self.server.lock:
            del box.messages[3]  # and VANISHED does not tell
        mounted = self.up()
        try:
            mounted.messages("INBOX")
        except OSError as error:
            self.assertIn(error.errno, (errno.EIO, errno.ETIMEDOUT))
        self.assertLess(len(self.server.commands(rb"UID FETCH .*INTERNALDATE")), 20)


class TestShortLines(NumbersCase):
    """No command is longer than a server takes that takes 1,000 octets (SERVERS.md)."""
    capabilities = (*fakeimap.MINIMAL, "XYMHIGHESTMODSEQ")

    def test_many_sparse(self):
        box = self.server.box("Sparse")
        uids = [1_000_000_000 + 3 * number for number in range(300)]
        for uid in uids:
            box.add(self.mails[uid % N].raw, uid=uid)

        def some(_conn, message, items):  # at first, only every other one
            listing = b"INTERNALDATE" in items and not self.server.commands(rb"UID SEARCH")
            return None if listing and message.uid % 2 else items
        self.server.on_fetch = some
        mounted = self.up()
        names = mounted.messages("Sparse")
        self.assertEqual(set(names), set(uids))
        for name in names.values():
            mounted.read("Sparse", name, "headers.txt")
            mounted.read("Sparse", name, "body.txt")
        self.assertLessEqual(max(len(line) for line in self.server.commands()), 998)
        self.assertLess(len(self.server.commands(rb"BODYSTRUCTURE")), 50)


class TestExpunge(NumbersCase):
    """Without QRESYNC a number is all that is told of what is gone. What it seems to mean is asked
    about; all messages only when that does not fit."""
    capabilities = ("IMAP4rev1", "IDLE", "SASL-IR")

    def gone(self, mounted, uids, new=()):
        """Another client deletes these, and adds some; returns the SEARCHes."""
        before = len(self.server.commands(rb"UID SEARCH"))
        box = self.server.box("INBOX")
        with self.server.lock:
            self.uids += [box.add(made.raw) for made in new]
            box.remove(set(uids))
        left = set(self.uids) - set(uids)
        seen = []

        def look():
            seen.append(set(mounted.messages("INBOX")))
            return seen[-1] == left
        self.soon(look, what="the rest")
        for each in seen:
            self.assertLessEqual(left - set(self.uids[-len(new):] if new else ()), each)
        self.uids = sorted(left)
        return self.server.commands(rb"UID SEARCH")[before:]

    def check_few(self, asked, *uids):
        self.assertTrue(asked)
        for each in asked:
            self.assertFalse(each.endswith(b" ALL"), asked)
        for uid in uids:
            self.assertRegex(b"\n".join(asked), rb"\b%d\b" % uid)

    def upward(self, numbers):
        return [number - before for before, number in enumerate(numbers)]

    def test_one_and_some(self):
        mounted = self.up()
        mounted.messages("INBOX")
        self.check_few(self.gone(mounted, [self.uids[4]]), 5)
        self.check_few(self.gone(mounted, [1, 3, 8]), 1, 3, 8)
        self.server.expunges = self.upward
        self.check_few(self.gone(mounted, [2, 4, 10]), 2, 4, 10)
        self.assertEqual(set(mounted.messages("INBOX")), {6, 7, 9})

    def test_esearch(self):
        self.server.capabilities = (*self.capabilities, "ESEARCH")
        mounted = self.up()
        mounted.messages("INBOX")
        self.check_few(self.gone(mounted, [3, 4, 5]))

    def test_with_new_ones(self):
        mounted = self.up()
        mounted.messages("INBOX")
        self.check_few(self.gone(mounted, [2, 9], self.mails[:2]), 2, 9)
        self.assertEqual(self.uids[-2:], [N + 1, N + 2])

    def test_many(self):
        """More than are asked about one by one."""
        box = self.server.box("INBOX")
        with self.server.lock:
            self.uids += [box.add(self.mails[0].raw) for _ in range(80)]
        mounted = self.up()
        self.assertEqual(set(mounted.messages("INBOX")), set(self.uids))
        self.gone(mounted, self.uids[5:85])

    def test_wrong_numbers(self):
        """It is another message that is gone, or none has such a number."""
        mounted = self.up()
        mounted.messages("INBOX")
        for wrong in ([1], [10], [9, 9], [4000000000], [5]):
            self.server.expunges = lambda _numbers, wrong=wrong: wrong
            asked = self.gone(mounted, [self.uids[3]])
            self.assertTrue(asked[-1].endswith(b"UID SEARCH ALL"), (wrong, asked))

    def test_silence(self):
        """An answer that names nothing tells nothing, of one message either."""
        mounted = self.up()
        mounted.messages("INBOX")

        def hook(conn, tag, name, arguments):
            if name != "SEARCH" or arguments[0].upper() == b"ALL":
                return False
            conn.send(b"* SEARCH\r\n", tag, b" OK done\r\n")
            return True
        self.server.on_command = hook
        asked = self.gone(mounted, [6])
        self.assertTrue(asked[0].endswith(b"UID SEARCH UID 1,6"), asked)
        self.assertTrue(asked[-1].endswith(b"UID SEARCH ALL"), asked)

    def test_own(self):
        """What this mount deletes itself is known."""
        mounted = self.up("delete=expunge")
        names = mounted.messages("INBOX")
        before = len(self.server.commands(rb"UID SEARCH"))
        os.rmdir(mounted.path("INBOX", names[5]))
        self.control("sync", mounted.mountpoint)
        self.assertEqual(set(mounted.messages("INBOX")), set(self.uids) - {5})
        self.assertEqual(len(self.server.commands(rb"UID SEARCH")), before)
