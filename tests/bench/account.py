"""The account that everyone reads in a benchmark: one Dovecot, and a mailbox for each purpose,
filled when it is first wanted.
"""
import dataclasses
import os

import corpus
import mail
import proc
import rawclient
import servers


@dataclasses.dataclass
class Box:
    name: str
    path: str               # its messages in the server's Maildir
    corpus: corpus.Corpus | None
    octets: int             # on the wire

    @property
    def count(self):
        return self.corpus.count


class Account:
    def __init__(self):
        # the index of a million messages is larger than Dovecot's processes may be by default
        self.server = servers.Dovecot(extra="default_vsz_limit = 0\n")
        self.server.start()
        self._boxes = {}
        self._changes = 0

    def box(self, name, profile, count):
        """A mailbox with count messages, made once."""
        if name not in self._boxes:
            made = corpus.Corpus(profile, count)
            self._fill(name, ((each.raw, each.date) for each in made.messages()))
            self._boxes[name] = Box(name, self.path(name), made, made.raw_octets)
        return self._boxes[name]

    def single(self, name, size):
        """A mailbox with one message: a short text beside an attachment of size bytes."""
        if name not in self._boxes:
            made = corpus.beside(size)
            self._fill(name, [(made.raw, made.date)])
            self._boxes[name] = Box(name, self.path(name), None, len(made.raw))
        return self._boxes[name]

    def path(self, name):
        return os.path.join(self.server.home(), "Maildir", name, "cur")

    def _fill(self, name, messages):
        box = os.path.dirname(self.path(name))
        mail.maildir(box, messages)
        proc.run("chown", "-R", ":".join(map(str, servers.mail_owner())), box, timeout=900)
        with rawclient.RawClient(self.server) as client:
            # Dovecot keeps in its index what was asked for before, as of a mailbox in use
            client.ask(f"EXAMINE {name}", "UID FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE "
                       "ENVELOPE BODYSTRUCTURE BODY.PEEK[HEADER.FIELDS (DATE FROM SUBJECT "
                       "TO CC MESSAGE-ID REFERENCES CONTENT-TYPE)])")

    def change(self, name, new, flagged):
        """What another client does: new messages, and a flag on others."""
        made = corpus.Corpus("short", new)
        with self.server.client() as client:
            for each in made.messages():
                client.append(name, each.raw, date=each.date)
            client.select(name)
            step = max(1, self._boxes[name].count // flagged)
            wanted = ",".join(str(1 + index * step) for index in range(flagged))
            sign = "+-"[self._changes % 2]
            client.ask(client.imap.uid("STORE", wanted, f"{sign}FLAGS", "(\\Flagged)"))
        self._changes += 1

    def stop(self):
        self.server.stop()
