"""Reading ahead: few commands for a walk, none for a single file, and nothing wrong if it fails."""
import os
import random
import re

import fakeimap
import mail
from case import Case

N = 60


class TestAhead(Case):
    timeout = 90

    def setUp(self):
        self.server = fakeimap.FakeImap(fakeimap.FULL).start()
        self.addCleanup(self.server.stop)
        self.mails = [mail.message(number, "plain") for number in range(N)]
        self.uids = self.server.fill("INBOX", self.mails)

    def up(self, *options):
        source, more = self.server.source()
        return self.mount(source, [*more, "timeout=3", "poll=5", *options])

    def fetched(self):
        """UIDs of all BODY.PEEK[1] asked for, and the number of commands."""
        uids, commands = [], 0
        for line in self.server.commands(rb"UID FETCH .*BODY\.PEEK\[1\]"):
            commands += 1
            text = re.search(rb"UID FETCH (\S+)", line).group(1).decode()
            for part in text.split(","):
                low, _, high = part.partition(":")
                uids += range(int(low), int(high or low) + 1)
        return uids, commands

    def read_all(self, mounted, order):
        names = mounted.messages("INBOX")
        for name in names.values():  # all structures are known: only contents are missing
            mounted.list("INBOX", name)
        for index in order:
            uid = self.uids[index]
            self.assertEqual(mounted.text("INBOX", names[uid], "body.txt"), self.mails[index].text)

    def test_a_walk(self):
        mounted = self.up()
        self.read_all(mounted, range(N))
        uids, commands = self.fetched()
        self.assertEqual(set(uids), set(self.uids))
        # who wants one that is still to be asked for does not wait for that
        self.assertLess(len(uids), N + 6)
        self.assertLess(commands, N // 3, self.server.commands(rb"UID FETCH .*PEEK"))

    def test_one_file(self):
        mounted = self.up()
        self.read_all(mounted, [7])
        self.assertEqual(self.fetched(), ([self.uids[7]], 1))

    def test_the_first_message(self):
        """Who reads two files of the first is likely to go on: a few of the next come along."""
        mounted = self.up()
        name = mounted.messages("INBOX")[self.uids[0]]
        self.assertEqual(mounted.text("INBOX", name, "body.txt"), self.mails[0].text)
        self.assertEqual(self.fetched(), ([self.uids[0]], 1))
        self.assertIn("Subject: ", mounted.text("INBOX", name, "headers.txt"))
        self.soon(lambda: len(self.fetched()[0]) > 1)
        uids = self.fetched()[0]
        self.assertEqual(uids, self.uids[:len(uids)])
        self.assertLess(sum(len(made.raw) for made in self.mails[1:len(uids)]), 64 * 1024)

    def test_turned_off(self):
        mounted = self.up("prefetch=0")
        self.read_all(mounted, range(N))
        uids, commands = self.fetched()
        self.assertEqual((uids, commands), (list(self.uids), N))

    def test_two_files_far_apart(self):
        mounted = self.up()
        self.read_all(mounted, [7, 40, 20])
        self.assertEqual(self.fetched()[0], [self.uids[i] for i in (7, 40, 20)])

    def test_backwards(self):
        mounted = self.up()
        self.read_all(mounted, range(N - 1, -1, -1))
        self.assertEqual(self.fetched()[1], N, "a walk backwards is not foreseen")

    def check_once(self):
        """Each once; but who waits for one that is still to be asked for does not wait for that."""
        uids, _ = self.fetched()
        self.assertEqual(set(uids), set(self.uids))
        self.assertLess(len(uids), N + 6)

    def test_any_order(self):
        order = list(range(N))
        random.Random(5).shuffle(order)
        mounted = self.up()
        self.read_all(mounted, order)
        self.check_once()

    def test_every_other(self):
        mounted = self.up()
        self.read_all(mounted, range(0, N, 2))
        self.read_all(mounted, range(1, N, 2))
        self.check_once()

    def test_structures_unknown(self):
        """A walk from the listing on, as grep -r does it."""
        mounted = self.up()
        names = mounted.messages("INBOX")
        for uid, made in zip(self.uids, self.mails):
            self.assertEqual(mounted.text("INBOX", names[uid], "body.txt"), made.text)
        self.check_once()
        commands = self.fetched()[1]
        self.assertLess(commands, N // 3, self.server.commands(rb"UID FETCH .*PEEK"))

    def test_headers(self):
        mounted = self.up()
        names = mounted.messages("INBOX")
        for uid in self.uids:
            self.assertIn("Subject: ", mounted.text("INBOX", names[uid], "headers.txt"))
        self.assertLess(len(self.server.commands(rb"BODY\.PEEK\[HEADER\]")), N // 3)

    def test_kinds_together(self):
        """Who reads all of one message before the next gets all of the next ones in a command."""
        mounted = self.up()
        names = mounted.messages("INBOX")
        for uid, made in zip(self.uids, self.mails):
            self.assertIn("Subject: ", mounted.text("INBOX", names[uid], "headers.txt"))
            self.assertEqual(mounted.text("INBOX", names[uid], "body.txt"), made.text)
        both = self.server.commands(rb"BODY\.PEEK\[HEADER\] BODY\.PEEK\[1\]")
        self.assertGreater(len(both), 1)
        self.assertLess(len(self.server.commands(rb"UID FETCH .*BODY\.PEEK\[[H1]")), N // 2)
        self.check_once()

    def test_attachments_are_left_alone(self):
        """Who reads headers and texts, whatever their number, does not pay for what is beside."""
        self.mails = [mail.message(number, "attachment") for number in range(N)]
        self.uids = self.server.fill("Files", self.mails)
        mounted = self.up()
        names = mounted.messages("Files")
        for uid, made in zip(self.uids, self.mails):
            self.assertIn("Subject: ", mounted.text("Files", names[uid], "headers.txt"))
            self.assertEqual(mounted.text("Files", names[uid], "body.txt"), made.text)
        self.assertEqual(self.server.commands(rb"BODY\.PEEK\[2\](?!<)"), [])

    def test_everything(self):
        """... and who reads an attachment in such a walk has the next ones before he opens them."""
        self.mails = [mail.message(number, "attachment") for number in range(N)]
        self.uids = self.server.fill("Files", self.mails)
        mounted = self.up()
        names = mounted.messages("Files")
        for uid, made in zip(self.uids, self.mails):
            mounted.text("Files", names[uid], "headers.txt")
            mounted.text("Files", names[uid], "body.txt")
            for name, data in made.attachments:
                self.assertEqual(mounted.read("Files", names[uid], "attachments", name), data)
        self.assertLess(len(self.server.commands(rb"BODY\.PEEK\[2\](?!<)")), N // 2)

    def test_one_kind_is_read_no_more(self):
        """It is not brought for ever with the one that is."""
        mounted = self.up()
        names = mounted.messages("INBOX")
        for index, uid in enumerate(self.uids):
            if index < 3:
                mounted.text("INBOX", names[uid], "body.txt")
            self.assertIn("Subject: ", mounted.text("INBOX", names[uid], "headers.txt"))
        self.assertLess(len(set(self.fetched()[0])), N)

    def test_several_threads(self):
        """Files are not opened in their order quite."""
        order = [index ^ 3 for index in range(N)]
        mounted = self.up()
        self.read_all(mounted, order)
        uids, commands = self.fetched()
        self.assertEqual(set(uids), set(self.uids))
        self.assertLess(len(uids), N + 12)
        self.assertLess(commands, N // 3, self.server.commands(rb"UID FETCH .*PEEK"))

    def test_server_answers_one_in_three(self):
        """What a set leaves out is asked for by itself."""
        def on_fetch(_conn, message, items):
            several = len(self.server.commands(rb"BODY\.PEEK\[1\]")) and self.in_set(message.uid)
            return None if several and message.uid % 3 else items
        self.server.on_fetch = on_fetch
        mounted = self.up()
        self.read_all(mounted, range(N))

    def in_set(self, uid):
        """Whether the last command about this body was for several messages."""
        last = self.server.commands(rb"UID FETCH .*BODY\.PEEK\[1\]")[-1]
        return re.search(rb"UID FETCH \d+ ", last) is None

    def test_expunged_on_the_way(self):
        mounted = self.up()
        names = mounted.messages("INBOX")
        for name in names.values():
            mounted.list("INBOX", name)
        gone = set(self.uids[20:30])
        for index, (uid, made) in enumerate(zip(self.uids, self.mails)):
            if index == 5:
                self.server.box("INBOX").remove(gone)
            try:
                self.assertEqual(mounted.text("INBOX", names[uid], "body.txt"), made.text)
            except OSError:
                self.assertIn(uid, gone)

    def test_connection_lost_on_the_way(self):
        """Nobody who reads notices, but for the wait."""
        count = [0]

        def on_fetch(_conn, message, items):
            if any(key.startswith(b"BODY[1]") for key in items):
                count[0] += 1
                if count[0] == 25:
                    raise fakeimap.Drop()
            return items
        self.server.on_fetch = on_fetch
        mounted = self.up()
        self.read_all(mounted, range(N))

    def test_a_full_cache(self):
        """What was brought and evicted before it was read is brought again."""
        mounted = self.up("cache-size=1M")
        self.read_all(mounted, range(N))
        self.assertTrue(os.path.isdir(mounted.path()))


class TestLargeAhead(Case):
    """Files over 1 MB: their beginnings, while those before them are read one after the other."""
    timeout = 120
    SIZE = 1_100_000
    N = 6

    def setUp(self):
        self.server = fakeimap.FakeImap(fakeimap.FULL).start()
        self.addCleanup(self.server.stop)

    def fill(self, *counts):
        """Messages with so many attachments each."""
        self.files = {}
        made = []
        for number, count in enumerate(counts):
            for index in range(count):
                self.files[number, index] = random.Random(number * 9 + index).randbytes(self.SIZE)
            made.append(mail.attached(number, *((f"{index}.bin", self.files[number, index])
                                                for index in range(count))))
        self.uids = self.server.fill("INBOX", made)

    def up(self, *options):
        source, more = self.server.source()
        mounted = self.mount(source, [*more, "timeout=5", "poll=5", *options])
        names = mounted.messages("INBOX")
        self.path = lambda number, index: mounted.path(
            "INBOX", names[self.uids[number]], "attachments", f"{index}.bin")
        return mounted

    def read(self, number, index=0, size=-1):
        with open(self.path(number, index), "rb") as file:
            got = file.read(size)
        expected = self.files[number, index]
        self.assertEqual(got, expected[:size] if size >= 0 else expected)

    def pieces(self, number, index=0):
        """(offset, length) of all that was asked for of a file, but for its narrow ends."""
        asked = []
        for line in self.server.commands(rb"UID FETCH %d " % self.uids[number]):
            asked += [(int(start), int(length)) for start, length in
                      re.findall(rb"BODY\.PEEK\[%d\]<(\d+)\.(\d+)>" % (index + 2), line)
                      if int(length) > 500]
        return asked

    def check_once(self, number, index=0):
        """Each of its bytes once, but for the ends by which it was measured."""
        end = 0
        for start, length in sorted(self.pieces(number, index)):
            if length > 3000:
                self.assertGreaterEqual(start, end, self.pieces(number, index))
                end = start + length

    def test_in_sequence(self):
        self.fill(*[1] * self.N)
        self.up()
        for number in range(2):
            self.read(number)
        for number in range(2, self.N):
            # before it is opened
            self.soon(lambda at=number: any(length > 3000 for _, length in self.pieces(at)))
            self.read(number)
        for number in range(self.N):
            self.check_once(number)

    def test_several_in_a_message(self):
        self.fill(1, 1, 4, 1)
        self.up()
        self.read(0)
        self.read(1)
        for index in range(4):
            self.soon(lambda at=index: self.pieces(2, at))
            self.read(2, index)
            self.check_once(2, index)
        self.soon(lambda: self.pieces(3))
        self.read(3)

    def test_opened_before_it_is_reached(self):
        """In a walk the ends of the next large file are asked for in time, and nothing else of it."""
        self.fill(0, 0, 0, 0, 1, 0, 1)
        self.up()
        for number in range(2):
            message = os.path.dirname(os.path.dirname(self.path(number, 0)))
            for name in ("headers.txt", "body.txt"):
                with open(os.path.join(message, name), "rb") as file:
                    self.assertTrue(file.read())
        self.soon(lambda: len(self.pieces(4)) == 2)
        self.assertLess(max(length for _, length in self.pieces(4)), 3000)
        self.assertEqual(self.pieces(6), [])

    def test_one_is_alone(self):
        """Nobody pays for a neighbour of a single file; and no more than the budget is brought."""
        self.fill(*[1] * self.N)
        self.up()
        self.read(2)
        self.read(2, size=1000)
        self.assertEqual([self.pieces(number) for number in (0, 1, 3, 4, 5)], [[]] * 5)

    def test_turned_off(self):
        self.fill(*[1] * 3)
        self.up("prefetch=0")
        for number in range(3):
            self.assertEqual(self.pieces(number), [])
            self.read(number)

    def test_beginnings(self):
        """Who reads only the beginning of each pays for the budget of the next ones at most."""
        self.fill(*[1] * self.N)
        self.up("prefetch=262144")
        for number in range(self.N):
            self.read(number, size=100)
        for number in range(self.N):
            asked = sum(length for _, length in self.pieces(number))
            self.assertLess(asked, 900_000)

    def test_irregular(self):
        """What is no good for ranges is read all the same."""
        self.fill(*[1] * 4)

        def on_fetch(_conn, _message, items):
            for key in items:
                if re.match(rb"BODY\[2\]<0>", key) and len(items[key]) < 3000:
                    items[key] = items[key].replace(b"\r\n", b"\n\n", 3)
            return items
        self.server.on_fetch = on_fetch
        self.up()
        for number in range(4):
            self.read(number)

    def test_connection_lost_on_the_way(self):
        self.fill(*[1] * self.N)
        count = [0]

        def on_fetch(_conn, _message, items):
            if any(key.startswith(b"BODY[2]<") for key in items):
                count[0] += 1
                if count[0] in (25, 40, 41):
                    raise fakeimap.Drop()
            return items
        self.server.on_fetch = on_fetch
        self.up()
        for number in range(self.N):
            self.read(number)
