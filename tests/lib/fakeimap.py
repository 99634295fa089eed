#!/usr/bin/env python3
"""An IMAP server in memory that a test can bend: which capabilities it has, and where it lies.

    fakeimap.py --connect SOCKET     joins standard input and output to a server's unix socket

It serves real mail correctly by itself; a test makes it misbehave through three hooks:

    server.on_command(conn, tag, name, arguments) -> True when it dealt with the command
    server.on_fetch(conn, message, items) -> the items (a dict) to send, raw bytes, or None: nothing
    server.greeting                        the bytes it greets with

One thread a connection, one lock around the mail. What is not in `capabilities` is refused as by a
server that never heard of it.
"""
import base64
import contextlib
import datetime
import hashlib
import itertools
import os
import re
import selectors
import socket
import ssl
import struct
import sys
import threading
import time

import mail
import proc
import servers
from fakemime import Part, listed, quoted

MINIMAL = ("IMAP4rev1",)
FULL = ("IMAP4rev1", "SASL-IR", "LITERAL+", "ID", "ENABLE", "IDLE", "NAMESPACE", "UNSELECT",
        "UIDPLUS", "MOVE", "CONDSTORE", "QRESYNC", "ESEARCH", "SPECIAL-USE", "LIST-EXTENDED",
        "LIST-STATUS")
POLL_S = 0.02


class Message:
    def __init__(self, uid, raw, flags=(), date=None, modseq=1):
        self.uid, self.raw, self.flags, self.modseq = uid, raw, set(flags), modseq
        self.date = date or datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.timezone.utc)
        self.emailid = int(hashlib.sha256(raw).hexdigest()[:15], 16) + 1
        self._part = None

    @property
    def part(self):
        if self._part is None:
            self._part = Part(self.raw)
        return self._part


class Mailbox:
    def __init__(self, name, uidvalidity, attributes=(),
                 permanent=b"\\Answered \\Flagged \\Deleted \\Seen \\Draft \\*"):
        self.name, self.uidvalidity, self.attributes = name, uidvalidity, list(attributes)
        self.permanent = permanent
        self.messages, self.expunged = [], []  # expunged: (uid, modseq)
        self.uidnext = self.modseq = 1
        self.nomodseq = False  # it tells none (RFC 7162 3.1.2.2)

    def changed(self):
        self.modseq += 1
        return self.modseq

    def add(self, raw, flags=(), date=None, uid=None):
        uid = uid or self.uidnext
        self.uidnext = max(self.uidnext, uid + 1)
        self.messages.append(Message(uid, raw, flags, date, self.changed()))
        return uid

    def remove(self, uids):
        gone = [message for message in self.messages if message.uid in uids]
        self.expunged += [(message.uid, self.changed()) for message in gone]
        self.messages = [message for message in self.messages if message.uid not in uids]

    def store(self, uid, flags):
        for message in self.messages:
            if message.uid == uid:
                message.flags, message.modseq = set(flags), self.changed()


class Drop(Exception):
    """Ends the connection, with FIN or RST."""

    def __init__(self, how="fin"):
        super().__init__(how)
        self.how = how


# --- syntax -------------------------------------------------------------------------------------

TOKEN = re.compile(rb'\s*(?:(\()|(\))|"((?:[^"\\]|\\.)*)"|\{(\d+)\+?\}\r\n|'
                   rb'((?:[^\s()\["]|\[[^\]]*\])+))', re.DOTALL)


def parse(data):
    """The arguments of a command as nested lists of bytes."""
    stack, at = [[]], 0
    while at < len(data.rstrip()):
        match = TOKEN.match(data, at)
        if not match:
            raise ValueError(data[at:at + 40])
        at = match.end()
        opened, closed, string, literal, atom = match.groups()
        if opened:
            stack.append([])
        elif closed:
            inner = stack.pop()
            stack[-1].append(inner)
        elif literal is not None:
            stack[-1].append(data[at:at + int(literal)])
            at += int(literal)
        elif string is not None:
            stack[-1].append(re.sub(rb"\\(.)", rb"\1", string))
        else:
            stack[-1].append(atom)
    return stack[0]


def in_set(text, last):
    """A function that says whether a number is in an IMAP sequence set."""
    ranges = []
    for piece in text.decode().split(","):
        low, _, high = piece.partition(":")
        ends = sorted(last if end == "*" else int(end) for end in (low, high or low))
        ranges.append(ends)
    return lambda number: any(low <= number <= high for low, high in ranges)


def set_of(numbers):
    """The compact form of ascending numbers."""
    runs = []
    for number in sorted(numbers):
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(f"{a}:{b}" if a != b else str(a) for a, b in runs).encode()


# --- one connection -----------------------------------------------------------------------------

class Connection:
    def __init__(self, server, sock, authenticated):
        self.server, self.sock = server, sock
        self.buffer = b""
        self.authenticated = authenticated
        self.box, self.read_only = None, False
        self.view, self.seen_modseq = [], 0  # messages by number, as the client knows them
        self.enabled = set()

    def has(self, capability):
        return capability in self.server.capabilities

    # input and output

    def send(self, *parts):
        self.sock.sendall(b"".join(parts))

    def untagged(self, *parts):
        self.send(b"* ", *parts, b"\r\n")

    def stall(self):
        """Says nothing more, until the other side or the server's end closes."""
        while self._fill(None):
            self.buffer = b""
        raise Drop()

    def _fill(self, timeout):
        self.sock.settimeout(timeout)
        try:
            data = self.sock.recv(65536)
        except (TimeoutError, ssl.SSLWantReadError):
            return None
        if not data:
            raise Drop()
        self.server.received += len(data)
        self.buffer += data
        return data

    def _line(self):
        while b"\r\n" not in self.buffer:
            self._fill(None)
        line, _, self.buffer = self.buffer.partition(b"\r\n")
        return line

    def _command(self):
        """One command, its literals asked for and inside."""
        data = self._line()
        while match := re.search(rb"\{(\d+)(\+?)\}$", data):
            if not match.group(2) or not self.has("LITERAL+"):
                self.send(b"+ go on\r\n")
            while len(self.buffer) < int(match.group(1)):
                self._fill(None)
            size = int(match.group(1))
            data += b"\r\n" + self.buffer[:size]
            self.buffer = self.buffer[size:]
            data += self._line()
        return data

    # the life of a connection

    def serve(self):
        self.send(self.server.greeting or (
            b"* PREAUTH ready\r\n" if self.authenticated else b"* OK ready\r\n"))
        while True:
            data = self._command()
            tag, _, rest = data.partition(b" ")
            name, _, rest = rest.partition(b" ")
            name = name.upper().decode("ascii", "replace")
            uid = name == "UID"
            if uid:
                name, _, rest = rest.partition(b" ")
                name = name.upper().decode("ascii", "replace")
            self.server.log.append((time.monotonic(), data))
            arguments = parse(rest)
            hook = self.server.on_command
            if hook and hook(self, tag, name, arguments):
                continue
            self._dispatch(tag, name, arguments, uid)
            if name == "LOGOUT":
                return

    def _dispatch(self, tag, name, arguments, uid):
        method = getattr(self, "do_" + name.lower(), None)
        needs = {"IDLE": "IDLE", "ENABLE": "ENABLE", "NAMESPACE": "NAMESPACE", "ID": "ID",
                 "UNSELECT": "UNSELECT", "MOVE": "MOVE",
                 "EXPUNGE": "UIDPLUS" if uid else None}.get(name)
        before_login = name in ("CAPABILITY", "LOGIN", "AUTHENTICATE", "NOOP", "LOGOUT", "ID")
        if not method or (needs and not self.has(needs)) or \
                not (self.authenticated or before_login):
            self.send(tag, b" BAD unknown command\r\n")
            return
        try:
            with self.server.lock if name != "IDLE" else contextlib.nullcontext():
                answer = method(tag, arguments, uid) if name in (
                    "FETCH", "STORE", "SEARCH", "EXPUNGE", "COPY", "MOVE") else method(tag, arguments)
                if name not in ("FETCH", "STORE", "SEARCH"):
                    self.tell_news()
        except (ValueError, IndexError, KeyError) as error:
            answer = b"BAD " + repr(error).encode()
        self.send(tag, b" ", answer or b"OK done", b"\r\n")

    # what changed since the client last heard

    def tell_news(self):
        if not self.box:
            return
        if self.box.name not in self.server.boxes and not self.server.keeps_removed:
            raise Drop()  # deleted under the client, as Dovecot does
        now = {message.uid for message in self.box.messages}
        gone = [message.uid for message in self.view if message.uid not in now]
        if gone and "QRESYNC" in self.enabled:
            self.untagged(b"VANISHED ", set_of(gone))
        elif gone:
            numbers = [number for number, message in enumerate(self.view, 1)
                       if message.uid not in now]
            for number in self.server.expunges(numbers):
                self.untagged(b"%d EXPUNGE" % number)
        known = len(self.view) - len(gone)
        if len(self.box.messages) != known:
            self.untagged(b"%d EXISTS" % len(self.box.messages))
        self.view = list(self.box.messages)
        for number, message in enumerate(self.view[:known], 1):
            if message.modseq > self.seen_modseq:
                self.untagged(b"%d FETCH " % number, listed(self._flag_items(message)))
        self.seen_modseq = self.box.modseq

    def _flag_items(self, message):
        items = [b"UID %d" % message.uid,
                 b"FLAGS (%s)" % " ".join(sorted(message.flags)).encode()]
        if self.has("CONDSTORE") and self.enabled and not self.box.nomodseq:
            items.append(b"MODSEQ (%d)" % message.modseq)
        return items

    # commands

    def do_capability(self, _tag, _arguments):
        names = list(self.server.capabilities)
        if not self.authenticated:
            names.append("AUTH=PLAIN")
        self.untagged(b"CAPABILITY ", " ".join(names).encode())

    def do_noop(self, _tag, _arguments):
        return None

    do_check = do_noop

    def do_logout(self, _tag, _arguments):
        self.untagged(b"BYE see you")

    def do_login(self, _tag, arguments):
        return self._login(*(word.decode() for word in arguments))

    def do_authenticate(self, _tag, arguments):
        if len(arguments) < 2:
            self.send(b"+ \r\n")
            arguments.append(self._line())
        _, user, password = base64.b64decode(arguments[1]).decode().split("\0")
        return self._login(user, password)

    def _login(self, user, password):
        if servers.USERS.get(user) != password:
            return b"NO [AUTHENTICATIONFAILED] no"
        self.authenticated = True
        return None

    def do_id(self, _tag, _arguments):
        self.untagged(b'ID ("name" "fakeimap")')

    def do_enable(self, _tag, arguments):
        names = {name.decode().upper() for name in arguments} & set(self.server.capabilities)
        self.enabled |= names & {"CONDSTORE", "QRESYNC"}
        self.untagged(b"ENABLED ", " ".join(sorted(names)).encode())

    def do_namespace(self, _tag, _arguments):
        self.untagged(b'NAMESPACE (("" "/")) NIL NIL')

    def do_list(self, _tag, arguments):
        returns = [word for each in arguments for word in (each if isinstance(each, list) else [])]
        wants_status = next((returns[i + 1] for i, word in enumerate(returns)
                             if word == b"STATUS"), None)
        if isinstance(arguments[0], list):
            arguments = arguments[1:]
        pattern = arguments[1][0] if isinstance(arguments[1], list) else arguments[1]
        if pattern == b"":
            self.untagged(b'LIST (\\Noselect) "/" ""')
            return
        expression = "".join({"*": ".*", "%": "[^/]*"}.get(c, re.escape(c))
                             for c in (arguments[0] + pattern).decode())
        for name, box in sorted(self.server.boxes.items()):
            wire = mail.modified_utf7(name)
            if re.fullmatch(expression, wire, re.DOTALL):
                attributes = " ".join(box.attributes).encode()
                self.untagged(b"LIST (", attributes, b') "/" ', quoted(wire))
                if wants_status and "\\Noselect" not in box.attributes:
                    self._status(box, wants_status)

    do_lsub = do_list

    def _find(self, wire):
        for name, box in self.server.boxes.items():
            if mail.modified_utf7(name).encode() == wire or \
                    (name == "INBOX" and wire.upper() == b"INBOX"):
                return box
        return None

    def _status(self, box, items):
        values = {b"MESSAGES": len(box.messages), b"RECENT": 0, b"UIDNEXT": box.uidnext,
                  b"UIDVALIDITY": box.uidvalidity,
                  b"UNSEEN": sum("\\Seen" not in m.flags for m in box.messages)}
        if self.has("CONDSTORE"):
            values[b"HIGHESTMODSEQ"] = 0 if box.nomodseq else box.modseq
        if self.has("OBJECTID"):
            values[b"MAILBOXID"] = f"(F{box.uidvalidity})"
        pairs = [item.upper() + f" {values[item.upper()]}".encode() for item in items]
        self.untagged(b"STATUS ", quoted(mail.modified_utf7(box.name)), b" ", listed(pairs))

    def do_status(self, _tag, arguments):
        box = self._find(arguments[0])
        if not box:
            return b"NO no such mailbox"
        self._status(box, arguments[1])
        return None

    def do_select(self, tag, arguments, read_only=False):
        self.box, self.view = None, []
        box = self._find(arguments[0])
        if not box or "\\Noselect" in box.attributes:
            return b"NO [NONEXISTENT] no such mailbox"
        self.untagged(b"FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft)")
        self.untagged(b"OK [PERMANENTFLAGS (%s)] ok" % box.permanent)
        self.untagged(b"%d EXISTS" % len(box.messages))
        self.untagged(b"0 RECENT")
        self.untagged(b"OK [UIDVALIDITY %d] ok" % box.uidvalidity)
        self.untagged(b"OK [UIDNEXT %d] ok" % box.uidnext)
        if box.nomodseq:
            self.untagged(b"OK [NOMODSEQ] ok")
        elif self.has("CONDSTORE"):
            self.untagged(b"OK [HIGHESTMODSEQ %d] ok" % box.modseq)
        self.box, self.read_only = box, read_only
        self.view, self.seen_modseq = list(box.messages), box.modseq
        if len(arguments) > 1:
            self._resync(arguments[1])
        return b"OK [READ-ONLY] done" if read_only else b"OK [READ-WRITE] done"

    def do_examine(self, tag, arguments):
        return self.do_select(tag, arguments, read_only=True)

    def _resync(self, parameters):
        """SELECT's (CONDSTORE) and (QRESYNC (uidvalidity modseq ...)), RFC 7162 section 3.2.5."""
        if parameters[0] == b"CONDSTORE":
            self.enabled.add("CONDSTORE")
        if parameters[0] != b"QRESYNC" or "QRESYNC" not in self.enabled or self.box.nomodseq:
            return
        validity, modseq = int(parameters[1][0]), int(parameters[1][1])
        if validity != self.box.uidvalidity:
            return
        gone = [uid for uid, when in self.box.expunged if when > modseq]
        if gone:
            self.untagged(b"VANISHED (EARLIER) ", set_of(gone))
        for number, message in enumerate(self.view, 1):
            if message.modseq > modseq:
                self.untagged(b"%d FETCH " % number, listed(self._flag_items(message)))

    def do_unselect(self, _tag, _arguments):
        self.box, self.view = None, []

    do_close = do_unselect

    def do_idle(self, tag, _arguments):
        self.send(b"+ idling\r\n")
        while b"\r\n" not in self.buffer:
            with self.server.lock:
                self.tell_news()
            self._fill(POLL_S)
        self._line()

    def _chosen(self, text, uid):
        """(number, message) of a set of numbers or UIDs."""
        if not self.view:
            return []
        chosen = in_set(text, self.view[-1].uid if uid else len(self.view))
        return [(number, message) for number, message in enumerate(self.view, 1)
                if chosen(message.uid if uid else number)]

    def do_fetch(self, _tag, arguments, uid):
        wanted = arguments[1] if isinstance(arguments[1], list) else [arguments[1]]
        wanted = [item for word in wanted for item in {
            b"FAST": [b"FLAGS", b"INTERNALDATE", b"RFC822.SIZE"],
            b"ALL": [b"FLAGS", b"INTERNALDATE", b"RFC822.SIZE", b"ENVELOPE"],
        }.get(word.upper(), [word])]
        since = 0
        if len(arguments) > 2:
            if not self.has("CONDSTORE") or arguments[2][0].upper() != b"CHANGEDSINCE":
                raise ValueError("modifier")
            since = int(arguments[2][1])
            self.enabled.add("CONDSTORE")
            wanted.append(b"MODSEQ")
            if b"VANISHED" in [word.upper() for word in arguments[2]]:
                gone = [u for u, when in self.box.expunged if when > since]
                if gone:
                    self.untagged(b"VANISHED (EARLIER) ", set_of(gone))
        if self.box.nomodseq and b"MODSEQ" in wanted:
            raise ValueError("no mod-sequences")
        for number, message in self._chosen(arguments[0], uid):
            if message.modseq > since:
                self._fetch_one(number, message, wanted, uid)

    def _fetch_one(self, number, message, wanted, uid):
        items = {b"UID": b"%d" % message.uid} if uid else {}
        for word in wanted:
            name, value = self._item(message, word)
            items[name] = value
        hook = self.server.on_fetch
        if hook:
            items = hook(self, message, items)
        if isinstance(items, bytes):
            self.send(items)
        elif items is not None:
            body = b" ".join(name + b" " + value for name, value in items.items())
            self.untagged(b"%d FETCH (" % number, body, b")")

    def _emailid(self, message, capability):
        if not self.has(capability):
            raise ValueError(capability)
        return message.emailid

    def _item(self, message, word):
        plain = word.upper()
        simple = {b"UID": lambda: b"%d" % message.uid,
                  b"FLAGS": lambda: listed([" ".join(sorted(message.flags)).encode()]),
                  b"INTERNALDATE": lambda: quoted(f"{message.date:%d-%b-%Y %H:%M:%S %z}"),
                  b"RFC822.SIZE": lambda: b"%d" % len(message.raw),
                  b"MODSEQ": lambda: b"(%d)" % message.modseq,
                  b"EMAILID": lambda: b"(M%x)" % self._emailid(message, "OBJECTID"),
                  b"X-GM-MSGID": lambda: b"%d" % self._emailid(message, "X-GM-EXT-1"),
                  b"ENVELOPE": message.part.envelope,
                  b"BODYSTRUCTURE": message.part.bodystructure}
        if plain in simple:
            return plain, simple[plain]()
        match = re.match(rb"^BODY(\.PEEK)?\[(.*)\](?:<(\d+)\.(\d+)>)?$", plain, re.DOTALL)
        if not match:
            raise ValueError(word)
        peek, section, start, size = match.groups()
        if not peek and not self.read_only:
            message.flags.add("\\Seen")
        value = message.part.section(section.decode())
        name = b"BODY[" + section + b"]"
        if start is not None:
            name += b"<" + start + b">"
            value = value and value[int(start):int(start) + int(size)]
        return name, b"NIL" if value is None else b"{%d}\r\n%s" % (len(value), value)

    def do_search(self, tag, arguments, uid):
        words, returns = list(arguments), None
        if words[0].upper() == b"RETURN":
            if not self.has("ESEARCH"):
                raise ValueError("RETURN")
            returns, words = words[1], words[2:]
        found = list(enumerate(self.view, 1))
        while words:
            word = words.pop(0).upper()
            if word == b"UID":
                chosen = self._chosen(words.pop(0), True)
            elif word == b"ALL":
                chosen = found
            elif re.fullmatch(rb"[\d:*,]+", word):
                chosen = self._chosen(word, False)
            else:
                raise ValueError(word)
            found = [each for each in found if each in chosen]
        numbers = [message.uid if uid else number for number, message in found]
        if returns is None:
            self.untagged(b"SEARCH" + b"".join(b" %d" % number for number in numbers))
        else:
            self.untagged(b"ESEARCH (TAG ", quoted(tag), b")", b" UID" if uid else b"",
                          b" ALL " + set_of(numbers) if numbers else b"")

    def do_store(self, _tag, arguments, uid):
        change = arguments[1].decode().upper()
        flags = {flag.decode() for flag in (arguments[2] if isinstance(arguments[2], list)
                                            else [arguments[2]])}
        for _number, message in self._chosen(arguments[0], uid):
            message.flags = (message.flags | flags if change[0] == "+" else
                             message.flags - flags if change[0] == "-" else flags)
            message.modseq = self.box.changed()

    def do_expunge(self, _tag, arguments, uid):
        chosen = self._chosen(arguments[0], True) if uid else enumerate(self.view, 1)
        self.box.remove({m.uid for _, m in chosen if "\\Deleted" in m.flags})

    def do_append(self, _tag, arguments):
        box = self._find(arguments[0])
        if not box:
            return b"NO [TRYCREATE] no such mailbox"
        flags = next((a for a in arguments[1:-1] if isinstance(a, list)), [])
        dates = [a.decode() for a in arguments[1:-1] if isinstance(a, bytes)]
        date = datetime.datetime.strptime(dates[0].strip(), "%d-%b-%Y %H:%M:%S %z") if dates else None
        uid = box.add(arguments[-1], [flag.decode() for flag in flags], date)
        return b"OK [APPENDUID %d %d] done" % (box.uidvalidity, uid) if self.has("UIDPLUS") else None

    def _place(self, arguments, uid):
        """Copies; returns (messages that were copied, the response code)."""
        box = self._find(arguments[1])
        if not box:
            return None, b"NO [TRYCREATE] no such mailbox"
        chosen = [message for _, message in self._chosen(arguments[0], uid)]
        there = {message.uid for message in self.box.messages}
        chosen = [message for message in chosen if message.uid in there]
        uids = [box.add(message.raw, message.flags, message.date) for message in chosen]
        code = b"[COPYUID %d %s %s] " % (box.uidvalidity, set_of([m.uid for m in chosen]),
                                         set_of(uids)) if uids and self.has("UIDPLUS") else b""
        return chosen, code

    def do_copy(self, _tag, arguments, uid):
        chosen, code = self._place(arguments, uid)
        return code if chosen is None else b"OK " + code + b"copied"

    def do_move(self, _tag, arguments, uid):
        chosen, code = self._place(arguments, uid)
        if chosen is None:
            return code
        if code:
            self.untagged(b"OK ", code, b"moved")
        self.box.remove({message.uid for message in chosen})
        return None

    def do_create(self, _tag, arguments):
        name = mail.from_modified_utf7(arguments[0].decode()).rstrip("/")
        if self._find(arguments[0]):
            return b"NO [ALREADYEXISTS] it is there"
        self.server.box(name)
        return None

    def do_delete(self, _tag, arguments):
        box = self._find(arguments[0])
        if not box or box.name == "INBOX":
            return b"NO [NONEXISTENT] no such mailbox" if not box else b"NO [CANNOT] not that one"
        del self.server.boxes[box.name]
        return None

    def do_rename(self, _tag, arguments):
        box, new = self._find(arguments[0]), mail.from_modified_utf7(arguments[1].decode())
        if not box:
            return b"NO [NONEXISTENT] no such mailbox"
        if self._find(arguments[1]):
            return b"NO [ALREADYEXISTS] it is there"
        self.server.client().rename(box.name, new)
        return None

    def do_subscribe(self, _tag, _arguments):
        return None

    do_unsubscribe = do_subscribe


# --- the server ---------------------------------------------------------------------------------

class FakeImap(servers.Server):
    """Listens on TLS, and on a unix socket for tunnels (PREAUTH)."""
    name = "fakeimap"
    odd_names = ("name with spaces", 'quo"te', "Entwürfe", "日本語", "R&D", "a.b", "100%", "it's",
                 "back\\slash")

    def __init__(self, capabilities=MINIMAL, security="tls"):
        super().__init__()
        self.capabilities, self.security = tuple(capabilities), security
        self.idles = "IDLE" in self.capabilities
        self._validity = itertools.count(1000)
        self.boxes = {"INBOX": Mailbox("INBOX", next(self._validity))}
        self.lock = threading.RLock()
        self.greeting = self.on_command = self.on_fetch = None
        self.keeps_removed = False  # a client may go on in a mailbox that is removed
        self.expunges = reversed    # how EXPUNGE tells of the messages with these numbers
        self.log = []  # (time, command) as received
        self.received = 0
        self.socket_path = os.path.join(self.dir, "socket")
        self._listeners, self._connections = [], set()
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(self.tls.good, self.tls.key)

    # the test's side

    def box(self, name, **more):
        """The mailbox of this name, made when it is not there."""
        with self.lock:
            if name not in self.boxes:
                self.boxes[name] = Mailbox(name, next(self._validity), **more)
            return self.boxes[name]

    def fill(self, name, messages):
        """Adds Mails; returns their UIDs."""
        with self.lock:
            return [self.box(name).add(m.raw, date=m.date) for m in messages]

    def commands(self, pattern=b""):
        return [data for _, data in self.log if re.search(pattern, data)]

    def client(self, user="alice"):
        return FakeClient(self)

    def source(self, security=None, user="alice", port=None, host="localhost"):
        if (security or self.security) == "tunnel":
            return "fake", [f"tunnel={sys.executable} {os.path.abspath(__file__)} "
                            f"--connect {self.socket_path}"]
        return super().source(security, user, port, host)

    # the life of the server

    def start(self):
        tcp = socket.socket()
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tcp.bind(("127.0.0.1", self.port))
        unix = socket.socket(socket.AF_UNIX)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.socket_path)
        unix.bind(self.socket_path)
        self._listeners = [tcp, unix]
        for listener, wrap in ((tcp, True), (unix, False)):
            listener.listen(64)
            threading.Thread(target=self._accept, args=(listener, wrap), daemon=True).start()
        self._handle = proc.at_end(self.stop)
        return self

    def stop(self):
        for listener in self._listeners:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self._listeners = []
        self.drop_all()

    def drop_all(self):
        for sock in list(self._connections):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener, wrap):
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock, wrap), daemon=True).start()

    def _serve(self, sock, wrap):
        how = "fin"
        try:
            if wrap:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock = self._tls.wrap_socket(sock, server_side=True)
            self._connections.add(sock)
            Connection(self, sock, authenticated=not wrap).serve()
        except Drop as drop:
            how = drop.how
        except OSError:
            pass
        finally:
            self._connections.discard(sock)
            with contextlib.suppress(OSError):
                if how == "rst":
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.close()


class FakeClient:
    """Another client of a FakeImap: what servers.Client does, without a connection."""

    def __init__(self, server):
        self.server = server

    def create(self, name):
        self.server.box(name)

    def delete(self, name):
        with self.server.lock:
            del self.server.boxes[name]

    def rename(self, old, new):
        with self.server.lock:
            for name in list(self.server.boxes):
                if name == old or name.startswith(old + "/"):
                    box = self.server.boxes.pop(name)
                    box.name = new + name[len(old):]
                    self.server.boxes[box.name] = box

    def append(self, name, raw, flags=(), date=None):
        with self.server.lock:
            self.server.box(name or "INBOX").add(raw, flags, date)

    def flags(self, name):
        with self.server.lock:
            return {m.uid: frozenset(m.flags) for m in self.server.box(name).messages}

    def uids(self, name):
        return sorted(self.flags(name))

    def store(self, name, uid, change, flags):
        with self.server.lock:
            old = self.flags(name)[uid]
            new = {"+": old | set(flags), "-": old - set(flags)}.get(change[0], set(flags))
            self.server.box(name).store(uid, new)

    def expunge(self, name, uids):
        with self.server.lock:
            self.server.box(name).remove(set(uids))

    def uidvalidity(self, name):
        return self.server.box(name).uidvalidity

    def close(self):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def bridge(path):
    """Standard input and output to a unix socket and back, until either side ends."""
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(path)
    with selectors.DefaultSelector() as selector:
        selector.register(0, selectors.EVENT_READ, sock.sendall)
        selector.register(sock, selectors.EVENT_READ, lambda data: os.write(1, data))
        while True:
            for key, _ in selector.select():
                data = os.read(key.fd, 65536)
                if not data:
                    return 0
                while data:
                    done = key.data(data)
                    data = data[done:] if done is not None else b""


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "--connect":
        sys.exit(bridge(sys.argv[2]))
    print(__doc__.strip(), file=sys.stderr)
    sys.exit(2)
