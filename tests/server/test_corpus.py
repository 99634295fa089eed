"""Real messages through real servers: every part must come out as others computed it.

The corpus (IMAPFS_CORPUS, default ../shared/corpus) is not part of the source; without it, the
project's own kinds of mail stand for it in test_servers and test_local.
"""
import base64
import binascii
import hashlib
import json
import os
import quopri
import re
import unittest

import fakeimap
import mount as mounts
import proc
import servers
from case import Case, OfServer

CORPUS = os.environ.get("IMAPFS_CORPUS") or os.path.join(proc.ROOT, "..", "shared", "corpus")
BOM = b"\xef\xbb\xbf"

# Class B: what comes out otherwise, and why that is as good.
KNOWN = {
    "messages/libetpan-jwz/35.eml":
        "a sender made backslashes yen signs: we decode all lines, the reference stops at one",
    "messages/mikel-mail/error_emails_content_transfer_encoding_empty.eml":
        "UTF-8 that says it is Big5: noise in any reading, and the tables of noise differ",
}


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def to_crlf(raw):
    """As an IMAP server serves it: every LF has its CR."""
    return re.sub(rb"(?<!\r)\n", b"\r\n", raw)


class Message:
    """A message of the corpus and what is expected of it."""

    def __init__(self, line):
        expected = json.loads(line)
        self.file, self.kind, self.parts = expected["file"], expected["class"], expected["parts"]
        with open(os.path.join(CORPUS, self.file), "rb") as file:
            self.source = file.read()
        self.raw = to_crlf(self.source)


def without_nul(raw):
    return raw.replace(b"\0", b"\x80")


def without_8bit_headers(raw):
    header, end, body = raw.partition(b"\r\n\r\n")
    return re.sub(rb"[\x80-\xff]", b"X", header) + end + body


def load():
    try:
        with open(os.path.join(CORPUS, "EXPECT.jsonl"), encoding="utf-8") as lines:
            return [Message(line) for line in lines]
    except FileNotFoundError:
        raise unittest.SkipTest("no corpus here") from None


def transfer_decoded(part, raw):
    """An independent decoding, for texts only."""
    if part["cte"] == "base64":
        try:
            return base64.b64decode(raw)
        except binascii.Error:
            return raw
    return quopri.decodestring(raw) if part["cte"] == "quoted-printable" else raw


def reads_better(part, raw, have):
    """The reference reads what the label says to the letter: U+FFFD for bytes over 0x7f of US-ASCII
    (also when nothing is declared), C1 controls for ISO 8859-1. We read what was meant."""
    charset = (part["charset"] or "us-ascii").lower()
    if charset not in ("us-ascii", "iso-8859-1"):
        return False
    data = transfer_decoded(part, raw).replace(b"\r\n", b"\n")
    literal = data.decode("ascii" if charset == "us-ascii" else "latin-1", "replace")
    if sha256(literal.encode()) != part["utf8_lf_sha256"]:
        return False
    windows = "".join(chr(byte) if byte in (0x81, 0x8d, 0x8f, 0x90, 0x9d)
                      else bytes([byte]).decode("cp1252") for byte in data).encode()
    return have == windows or (charset == "us-ascii" and have == data)


class Shown:
    """The files of one message in the tree."""

    def __init__(self, mounted, box, uid, name):
        self.raw_dir = mounted.path(".imapfs", "raw", box, str(uid))
        self.path = mounted.path(box, name)
        self.files = {}  # section -> (path, is it text of the message)
        self.problem = os.path.exists(os.path.join(self.path, "PROBLEM.txt"))
        for folder, _, names in os.walk(self.path):
            inside = os.path.basename(folder) == "attachments"
            for file in names:
                path = os.path.join(folder, file)
                if inside or re.fullmatch(r"body(-\d+)?\.(txt|html)", file):
                    section = os.getxattr(path, "user.imap.section").decode()
                    self.files[section] = (path, not inside)

    def eml(self):
        return read(os.path.join(self.path, "message.eml"))

    def section(self, section):
        return read(os.path.join(self.raw_dir, section))

    def wrong(self, part):
        """What is wrong with a part, or None."""
        if part["kind"] != "leaf":
            raw = self.section(part["section"])
            return None if sha256(raw) == part["raw_sha256"] else "message"
        if part["section"] not in self.files:
            return "missing"
        path, is_text = self.files[part["section"]]
        have = read(path)
        if not is_text:
            return None if sha256(have) == part["sha256"] else "bytes"
        if path.endswith(".html") and have:
            if not have.startswith(BOM):
                return "no byte order mark"
            have = have[len(BOM):]
        if not part.get("utf8_lf_sha256"):  # a charset that the reference does not know
            raw = self.section(part["section"])
            return None if sha256(raw) == part["raw_sha256"] else "raw"
        if sha256(have) == part["utf8_lf_sha256"]:
            return None
        if reads_better(part, self.section(part["section"]), have):
            return None
        return "text"


def read(path):
    with open(path, "rb") as file:
        return file.read()


class CorpusContract(OfServer):
    timeout = 240
    others = {}   # file -> why this server's parts are others than everybody else's

    @classmethod
    def setUpClass(cls):
        cls.messages = load()
        super().setUpClass()
        cls.uids = cls.deliver()  # {uid: Message}
        source, options = cls.server.source()
        cls.mounted = mounts.Mount(source, [*options, "poll=60"])
        cls.addClassCleanup(cls.mounted.finish)

    def served(self, message):
        """The bytes that the server gives for a message that it was given."""
        return message.raw

    def judge(self, uid, message, name):
        """Everything wrong with one message, in words."""
        shown = Shown(self.mounted, "INBOX", uid, name)
        found = []
        if shown.eml() != self.served(message):
            found.append("message.eml")
        if shown.problem:
            found.append("PROBLEM.txt")
        for part in message.parts if not shown.problem else ():
            try:
                wrong = shown.wrong(part)
            except OSError as error:
                wrong = error.strerror
            if wrong:
                found.append(f"{part['section']} {wrong} ({part['type']}, {part['cte']}, "
                             f"{part['charset']}, {part['flags']})")
        for path, _ in shown.files.values():  # nothing of it may fail, whatever it is
            read(path)
        read(os.path.join(shown.path, "headers.txt")).decode()
        return found

    def test_every_part(self):
        names = self.mounted.messages("INBOX")
        self.assertEqual(set(names), set(self.uids))
        right, total, report = {}, {}, []
        self.assertGreaterEqual(len(names), len(self.messages) - 18)  # what Cyrus refuses
        for uid, message in self.uids.items():
            total[message.kind] = total.get(message.kind, 0) + 1
            wrong = self.judge(uid, message, names[uid])
            why = KNOWN.get(message.file) or self.others.get(message.file)
            right[message.kind] = right.get(message.kind, 0) + (not wrong)
            if why and not wrong:
                report.append(f"{message.file} is right: no need to say that {why}")
            if why or message.kind == "C":
                wrong = [each for each in wrong if each == "message.eml"]
            report += [f"{message.kind} {message.file}: {each}" for each in wrong]
        self.note(", ".join(f"class {kind}: {right[kind]} of {total[kind]}" for kind in "ABC"))
        self.assertEqual(report, [], "\n" + "\n".join(report))
        self.assertEqual(right["A"], total["A"])

    def test_tar_gives_the_same_again(self):
        """A second reading, now from the cache, in one piece and without a complaint."""
        command = ["sh", "-c", 'tar -C "$1" -cf - . | sha256sum', "sh", self.mounted.path("INBOX")]
        first = proc.run(*command, timeout=200)
        self.assertEqual(proc.run(*command, timeout=200), first)


class TestCorpusDovecot(CorpusContract, Case):
    def served(self, message):
        return without_nul(message.raw)  # RFC 9051 4.3.1: a literal has no NUL; Dovecot sends 0x80

    @classmethod
    def make(cls):
        return servers.Tunnel()

    @classmethod
    def deliver(cls):
        cls.server.prefill("INBOX", [(message.source, None) for message in cls.messages])
        return dict(enumerate(cls.messages, 1))


class TestCorpusCyrus(CorpusContract, Case):
    others = {f"messages/{file}": why for file, why in {
        "cpython/msg_38.eml": "a part that begins with a line which is no header",
        "mail-parser-malformed/007.eml": "the parts are empty or without a header's end",
        "mail-parser-malformed/009.eml": "an unclosed inner multipart takes the outer part",
        "mail-parser-malformed/012.eml": "an unclosed inner multipart takes the outer part",
        "mail-parser-malformed/020.eml": "two Content-Types: Cyrus takes the last, we the first",
        "mail-parser-malformed/021.eml": "two Content-Types: Cyrus takes the last, we the first",
        "mikel-mail/error_emails_multiple_content_types.eml":
            "two Content-Types: the whole body is one text",
        "mikel-mail/mime_emails_raw_email4.eml": "an unclosed inner multipart: fewer, longer parts",
        "mimekit/empty-multipart.eml": "an inner multipart that is empty takes the outer part",
        "mimetools/multi-bad.eml": "header lines that are none: the whole body is one text",
        "mimetools/multi-frag.eml": "an unclosed inner multipart takes the outer parts",
        "php-mime-mail-parser/issue126.eml": "two Content-Types: Cyrus takes the multipart",
    }.items()}

    def served(self, message):
        return without_8bit_headers(message.raw)  # its setting munge8bit, on by default

    @classmethod
    def make(cls):
        return servers.Cyrus()

    @classmethod
    def deliver(cls):
        taken = []
        with cls.server.client() as client:
            for message in cls.messages:
                try:
                    client.append("INBOX", message.raw)
                    taken.append(message)
                except RuntimeError as error:  # the server says why it takes no such message
                    if not re.search("NUL characters|invalid header", str(error)):
                        raise
            return dict(zip(client.uids("INBOX"), taken))


class TestCorpusParsedHere(CorpusContract, Case):
    """A server whose structures are all broken: every message is parsed here."""
    @classmethod
    def make(cls):
        return fakeimap.FakeImap(fakeimap.FULL, security="tunnel")

    @classmethod
    def deliver(cls):
        def on_fetch(_conn, _message, items):
            return {name: b"((" if name == b"BODYSTRUCTURE" else value
                    for name, value in items.items()}
        cls.server.on_fetch = on_fetch
        box = cls.server.box("INBOX")
        return {box.add(message.raw): message for message in cls.messages}
