"""The tests' own tools, held against a real server: the scripted IMAP server, and the link."""
import imaplib
import re
import socket
import ssl
import threading

import fakeimap
import mail
import proxy
import servers
from case import Case

ITEMS = ["RFC822.SIZE", "INTERNALDATE", "ENVELOPE", "BODY.PEEK[]", "BODY.PEEK[HEADER]",
         "BODY.PEEK[TEXT]", "BODY.PEEK[1]", "BODY.PEEK[1.MIME]", "BODY.PEEK[]<10.100>",
         "BODY.PEEK[HEADER.FIELDS (FROM SUBJECT)]"]
NESTED = ["BODY.PEEK[2]", "BODY.PEEK[2.HEADER]", "BODY.PEEK[2.TEXT]", "BODY.PEEK[2.1]",
          "BODY.PEEK[2.2.MIME]"]


def flat(answer):
    """A FETCH answer as one string, however its strings are written."""
    parts = []
    for each in answer[1]:
        parts += [re.sub(rb"\{\d+\}$", b"", each[0]), each[1]] if isinstance(each, tuple) else [each]
    text = re.sub(rb" ?FLAGS \([^)]*\) ?", b"", b"".join(parts))
    return text.replace(b'"', b"").replace(b"\\", b"")


class TestScriptedServer(Case):
    def test_answers_as_dovecot_does(self):
        mails = [mail.message(number) for number in range(len(mail.KINDS))]
        with fakeimap.FakeImap(fakeimap.FULL) as fake, servers.Dovecot() as dovecot:
            fake.fill("INBOX", mails)
            with dovecot.client() as client:
                for made in mails:
                    client.append("INBOX", made.raw, date=made.date)
            context = ssl.create_default_context(cafile=fake.tls.ca)
            ours = imaplib.IMAP4_SSL("localhost", fake.port, ssl_context=context)
            ours.login("alice", servers.USERS["alice"])
            theirs = dovecot.client().imap
            for imap in (ours, theirs):
                imap.select("INBOX", readonly=True)
            for number, made in enumerate(mails, 1):
                for item in ITEMS + (NESTED if made.kind == "forward" else []):
                    with self.subTest(kind=made.kind, item=item):
                        answers = [flat(imap.fetch(str(number), f"({item})"))
                                   for imap in (ours, theirs)]
                        self.assertEqual(*answers)
            ours.logout()
            theirs.logout()


class TestLink(Case):
    """The proxy before a server that sends as much as it is asked for."""

    def setUp(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.listener.close)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.answer, args=(sock,), daemon=True).start()

    @staticmethod
    def answer(sock):
        try:
            with sock:
                while line := sock.recv(64):
                    sock.sendall(b"x" * int(line))
        except OSError:
            pass

    def ask(self, link, count):
        """(bytes that came, how it ended) of a connection that asks for count bytes."""
        sock = socket.create_connection(("127.0.0.1", link.port), 10)
        with sock:
            sock.sendall(b"%d" % count)
            got = 0
            try:
                while got < count:
                    data = sock.recv(65536)
                    if not data:
                        return got, "fin"
                    got += len(data)
            except ConnectionResetError:
                return got, "rst"
            except TimeoutError:
                return got, "stall"
            return got, "whole"

    def test_counts_and_cuts_to_the_byte(self):
        with proxy.Proxy(self.listener.getsockname()[1]) as link:
            self.assertEqual(self.ask(link, 100_000), (100_000, "whole"))
            self.assertEqual(link.counted(), (6, 100_000))
            for how in ("fin", "rst"):
                link.cut_after(1234, how=how)
                got, end = self.ask(link, 100_000)
                self.assertEqual(end, how)
                self.assertLessEqual(got, 1234)  # RST may overtake
            self.assertEqual(link.down.bytes, 100_000 + 2 * 1234)
            self.assertEqual(link.cuts, 2)
            link.refuse()
            self.assertRaises(ConnectionRefusedError, self.ask, link, 1)
            link.resume()
            self.assertEqual(self.ask(link, 10), (10, "whole"))
