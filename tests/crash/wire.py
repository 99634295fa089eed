"""What a client sent and what it was told, from the logs that crash_cutter keeps of a connection.

Read as it grows: facts() returns what is new, each a tuple:

  ("store", box, uids, sign, flags)   a UID STORE was sent
  ("expunge", box, uids)              a UID EXPUNGE was sent
  ("moved", box, uid, to, to_uid)     the server says that it has moved this (COPYUID)
  ("forbidden", line)                 a command was sent that names no UIDs
"""
import collections
import os
import re

import mail

SELECT = re.compile(r'\S+ (?:SELECT|EXAMINE) "?([^" ]*)"?')
STORE = re.compile(r"\S+ UID STORE (\S+) (?:\(.*?\) )?([+-])FLAGS\S* \((.*)\)")
EXPUNGE = re.compile(r"\S+ UID EXPUNGE (\S+)")
FORBIDDEN = re.compile(r"\S+ (EXPUNGE|CLOSE|STORE|COPY|MOVE)\b")
PLACE = re.compile(r'(\S+) UID (MOVE|COPY) (\S+) "?([^"]*)"?')
COPYUID = re.compile(r"\[COPYUID \d+ ([\d:,]+) ([\d:,]+)\]")

Place = collections.namedtuple("Place", "tag verb box uids to")


def expand(uids):
    for part in uids.split(","):
        low, _, high = part.partition(":")
        yield from range(int(low), int(high or low) + 1)


def pairs(line):
    """{source: destination} of a line with a COPYUID; else none."""
    match = COPYUID.search(line)
    return dict(zip(*map(expand, match.groups()))) if match else {}


class Lines:
    """The whole lines of a file that are new since the last time."""

    def __init__(self, path):
        self.path, self.at, self.rest = path, 0, b""

    def take(self):
        if os.path.getsize(self.path) == self.at:
            return []
        with open(self.path, "rb") as file:
            file.seek(self.at)
            data = file.read()
        self.at += len(data)
        *lines, self.rest = (self.rest + data).split(b"\r\n")
        return [line.decode(errors="replace") for line in lines]


class Connection:
    def __init__(self, path):
        self.up, self.down = Lines(f"{path}.up"), Lines(f"{path}.down")
        self.box = None
        self.open = []       # the Places that were sent and not answered

    def facts(self):
        found = []
        for line in self.up.take():
            found += self.sent(line)
        for line in self.down.take():
            found += self.told(line)
        return found

    def sent(self, line):
        if match := SELECT.match(line):
            self.box = mail.from_modified_utf7(match.group(1))
        elif match := STORE.fullmatch(line):
            yield "store", self.box, *match.groups()
        elif match := EXPUNGE.fullmatch(line):
            yield "expunge", self.box, match.group(1)
        elif match := PLACE.fullmatch(line):
            tag, verb, uids, to = match.groups()
            self.open.append(Place(tag, verb, self.box, frozenset(expand(uids)),
                                   mail.from_modified_utf7(to)))
        elif FORBIDDEN.match(line):
            yield "forbidden", line

    def told(self, line):
        """COPYUID comes before the tagged line, or in it."""
        given = pairs(line)
        for place in self.open:
            if given and place.uids >= given.keys():
                for uid, to_uid in given.items():
                    if place.verb == "MOVE":
                        yield "moved", place.box, uid, place.to, to_uid
                break
        self.open = [place for place in self.open if not line.startswith(f"{place.tag} ")]

    def unanswered(self):
        """[(box, uid)]: of MOVEs that may have been made. When the connection is over."""
        found = [(place.box, uid) for place in self.open if place.verb == "MOVE"
                 for uid in sorted(place.uids)]
        self.open = []
        return found


class Wire:
    """All connections of a client: a directory of logs."""

    def __init__(self, path):
        self.path, self.connections = path, {}

    def each(self):
        for name in sorted(os.listdir(self.path)):
            base = name.partition(".")[0]
            if base not in self.connections and os.path.exists(f"{self.path}/{base}.down"):
                self.connections[base] = Connection(os.path.join(self.path, base))
        return self.connections.values()

    def facts(self):
        for connection in self.each():
            yield from connection.facts()

    def unanswered(self):
        for connection in self.each():
            yield from connection.unanswered()
