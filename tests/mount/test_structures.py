"""BODYSTRUCTURE as many servers write it, well and badly: whatever it says, the message is all there.

For each structure a message is made that fits it (types, encodings, names, sizes), and a scripted
server tells that structure of it. The corpus's transcripts of Gmail, Exchange, Dovecot and others are
used where they are (IMAPFS_CORPUS, default ../shared/corpus); OWN has the same kinds.
"""
import base64
import glob
import json
import os
import re
import unittest

import fakeimap
import proc
from case import Case

CORPUS = os.environ.get("IMAPFS_CORPUS") or os.path.join(proc.ROOT, "..", "shared", "corpus")
BOM = b"\xef\xbb\xbf"
ENCODINGS = (b"7bit", b"8bit", b"binary", b"base64", b"quoted-printable")
SUBTYPES = {b"text": b"plain", b"audio": b"basic"}
NIL = b"NIL"
NOTES = ("ü", "и", "한", "")

T = b'("text" "plain" ("charset" "utf-8") NIL NIL "8bit" 120 3 NIL NIL NIL NIL)'
HTML = b'("text" "html" ("charset" "koi8-r") NIL NIL "quoted-printable" 300 9 NIL NIL NIL NIL)'
PDF = (b'("application" "pdf" ("name" "a.pdf") NIL NIL "base64" 4000 NIL '
       b'("attachment" ("filename" "a.pdf")) NIL NIL)')
ENV = b"(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)"

OWN = {
    "one text": T,
    "one file": PDF,
    "no extensions": b'("TEXT" "PLAIN" ("CHARSET" "US-ASCII") NIL NIL "7BIT" 302 9)',
    "capitals": b'(' + T.upper() + PDF.upper() + b' "MIXED" ("BOUNDARY" "x1") NIL NIL NIL)',
    "a multipart of which only the kind is told": b"(" + T + HTML + b' "ALTERNATIVE")',
    "a multipart's parameters as a string": b"(" + T + PDF + b' "mixed" ("boundary" "b") "It" NIL)',
    "related in alternative": b"(" + T + b"(" + HTML + b'("image" "png" ("name" "1.png") "<1@x>" NIL '
                              b'"base64" 900 NIL ("inline" ("filename" "1.png")) NIL "1.png") '
                              b'"related" ("boundary" "in") NIL NIL NIL) "alternative" '
                              b'("boundary" "ou") NIL NIL NIL)',
    "a message": b"(" + T + b'("message" "rfc822" NIL NIL NIL "7bit" 5000 ' + ENV + b" (" + HTML + PDF +
                 b' "mixed" ("boundary" "in") NIL NIL NIL) 90 NIL NIL NIL NIL) "mixed" '
                 b'("boundary" "ou") NIL NIL NIL)',
    "a message in a message": b'("message" "rfc822" NIL NIL NIL "7bit" 3000 ' + ENV +
                              b' ("message" "rfc822" NIL NIL NIL "7bit" 2500 ' + ENV + b" " + T +
                              b" 40 NIL NIL NIL NIL) 50 NIL NIL NIL NIL)",
    "a message of size 0": b"(" + T + b'("message" "rfc822" NIL NIL NIL "8bit" 0 ' + ENV + b" (" + T +
                           PDF + b' "mixed" ("boundary" "in") NIL NIL) 0 NIL NIL NIL NIL) "digest" '
                           b'("boundary" "ou") NIL NIL)',
    "a message without a body": b"(" + T + b'("message" "rfc822" NIL NIL NIL "7bit" 900 ' + ENV +
                                b' () 0 NIL NIL NIL) "report" ("boundary" "ou") NIL NIL)',
    "a part of which nothing is said": b'((NIL NIL NIL NIL NIL "7bit" 300 NIL NIL NIL NIL)' + PDF +
                                       b' "report" ("boundary" "ou") NIL NIL)',
    "multiparts without parts": b"(" + T + b'("RELATED" NIL ("ATTACHMENT" NIL) NIL)("RELATED" NIL '
                                b'("ATTACHMENT" NIL) NIL) "MIXED" ("BOUNDARY" "ou") NIL NIL)',
    "a multipart told as a part": b'(("multipart" "related" ("boundary" "in") NIL NIL "7bit" 400 '
                                  b'("boundary" "in") NIL NIL NIL)' + HTML + b' "mixed" '
                                  b'("boundary" "ou") NIL NIL NIL)',
    "a negative size": b'("multipart" "digest" ("boundary" "x") NIL NIL "7bit" -1 NIL NIL NIL NIL)',
    "a type without a subtype": b'(("TEXT" ("CHARSET" "koi8-r") NIL NIL "base64" 356 5)("AUDIO" NIL '
                                b'NIL NIL "base64" 356) "MIXED" ("BOUNDARY" "ou") NIL NIL)',
    "a subtype without a type": b"(" + T + b'( "X-ZIP" ("BOUNDARY" "") NIL NIL "base64" 4096) "MIXED" '
                                b'("BOUNDARY" "ou") NIL NIL)',
    "quotes in quotes": b'(("BOUNDARY="_0_1_"" "OCTET-STREAM" ("name" "a.dat") NIL NIL '
                        b'"quoted-printable" 2000 NIL ("attachment" ("filename" "a.dat"))) "MIXED" '
                        b'("boundary" "ou"))',
    "a disposition without a kind": b"(" + T + b'("application" "msword" NIL NIL NIL "base64" 5044 NIL '
                                    b'(NIL NIL) NIL NIL) "mixed" ("boundary" "ou") NIL NIL)',
    "disposition and language swapped": b"(" + T + PDF + b' "related" ("boundary" "ou") NIL '
                                        b'("inline" NIL) NIL NIL)',
    "names in literals": b'(' + T + b'("application" "pdf" ("name" {7}\r\na(b.pdf) NIL NIL "base64" '
                         b'400 NIL NIL NIL NIL) "mixed" ("boundary" "ou") NIL NIL)',
}


# --- the message that a structure tells of ------------------------------------------------------

def payload(encoding, data, size):
    """data in an encoding, filled up to size bytes, and what is then decoded."""
    if encoding == b"base64":
        room = max(len(data), (size - size // 39) * 3 // 4 - 60)
        data += b"." * (room - len(data))
        text = base64.b64encode(data)
        lines = b"\r\n".join(text[at:at + 76] for at in range(0, len(text), 76))
        return lines + b"\r\n" * ((size - len(lines)) // 2), data
    line = b"." * 70 + b"\r\n"
    escaped = b"".join(b"=%02X" % byte if byte > 0x7e or byte == 0x3d else bytes([byte])
                       for byte in data) if encoding == b"quoted-printable" else data
    left = max(0, size - len(escaped) - 2)
    fill = (b"\r\n" + line * (left // 72) + b"." * (left % 72)) if left else b""
    return escaped + fill, data + fill


class Maker:
    """Makes the message; contents: what must then be readable in it."""

    def __init__(self, structure):
        self.contents, self.boundaries = [], []
        header, body = self.part(fakeimap.parse(structure)[0])
        self.raw = (b"From: Alice Doe <alice@example.org>\r\nSubject: Made to fit\r\n"
                    b"MIME-Version: 1.0\r\n" + header + b"\r\n" + body)

    def leaf(self, kind, charset, encoding, size):
        note = next(n for n in NOTES if self.encodes(n, charset, encoding))
        words = f"leaf {len(self.contents)} {note}".rstrip() if size > 40 or size <= 0 else "leaf"
        body, data = payload(encoding, words.encode(charset), size)
        if kind in (b"text/plain", b"text/html"):
            data = data.decode(charset).encode()
        self.contents.append(data)
        return body

    @staticmethod
    def encodes(note, charset, encoding):
        try:
            return note.encode(charset).isascii() or encoding != b"7bit"
        except UnicodeEncodeError:
            return False

    def multipart(self, subtype, boundary, parts):
        while boundary in self.boundaries:
            boundary += b"x"
        self.boundaries.append(boundary)
        inner = b"".join(b"--%s\r\n%s\r\n%s\r\n" % (boundary, header, body)
                         for header, body in map(self.part, parts))
        return (b'Content-Type: multipart/%s; boundary="%s"\r\n' % (subtype, boundary),
                inner + b"--" + boundary + b"--\r\n")

    def part(self, told):
        """(header, body)"""
        if told and isinstance(told[0], list):
            children = [each for n, each in enumerate(told)
                        if all(isinstance(before, list) for before in told[:n + 1])]
            rest = told[len(children):]
            return self.multipart(rest[0].lower(), self.parameter(rest[1:2], b"boundary"), children)
        words = [each if isinstance(each, list) else each.lower() for each in told]
        kind, subtype = self.kind(words)
        encoding, size = self.encoding(words)
        if kind == b"multipart":
            text = [b"text", b"plain", NIL, NIL, NIL, b"7bit", b"%d" % max(0, size - 200)]
            return self.multipart(subtype, self.parameter(told, b"boundary"), [text])
        head = b"Content-Type: %s/%s" % (kind, subtype)
        lists = [each for each in told if isinstance(each, list)]
        if kind + b"/" + subtype == b"message/rfc822":
            header, body = self.part(lists[1] or [b"text", b"plain", NIL, NIL, NIL, b"7bit", b"200"])
            inner = b"Subject: Inner\r\n" + header + b"\r\n" + body
            return head + b"\r\n", b"X-Fill: ........\r\n" * ((size - len(inner)) // 18) + inner
        charset = self.parameter(told, b"charset", b"us-ascii")
        if kind == b"text":
            head += b'; charset="%s"' % charset
        name = self.parameter(told, b"name", None)
        if name:
            head += b'; name="%s"' % name
        body = self.leaf(kind + b"/" + subtype, charset.decode() if kind == b"text" else "ascii",
                         encoding, size)
        return head + b"\r\nContent-Transfer-Encoding: " + encoding + b"\r\n", body

    @staticmethod
    def kind(words):
        if words and words[0] in (b"related", b"mixed"):
            return b"multipart", words[0]
        first, second = ([*words, NIL, NIL])[:2]
        if first in (b"x-zip", NIL) or not re.fullmatch(rb"[a-z]+", first):
            subtype = first if first == b"x-zip" else b"octet-stream"
            return (b"application", subtype) if first != NIL else (b"text", b"plain")
        if isinstance(second, list) or second == NIL:
            return first, SUBTYPES[first]
        return first, second

    @staticmethod
    def encoding(words):
        for at, word in enumerate(words):
            if not isinstance(word, list) and word in ENCODINGS:
                return word, int(words[at + 1])
        return b"7bit", 0

    def parameter(self, told, name, default=b"boundary"):
        for each in told:
            if isinstance(each, list):
                flat = [word for word in each if not isinstance(word, list)]
                for key, value in zip(flat[::2], flat[1::2]):
                    if key.lower() == name and value:
                        return value
        return default


# --- the structures of others -------------------------------------------------------------------

def balanced(data):
    """The parenthesized list that data begins with; None when it does not end."""
    depth = at = 0
    while at < len(data):
        match = re.compile(rb'"(?:[^"\\\r\n]|\\.)*"|\{(\d+)\}\r?\n|.', re.DOTALL).match(data, at)
        at = match.end() + int(match.group(1) or 0)
        depth += {b"(": 1, b")": -1}.get(match.group(), 0)
        if depth == 0:
            return data[:at]
    return None


def transcripts():
    """{where: structure}, each once."""
    found = {}

    def add(where, structure):
        if structure and structure not in found.values():
            found[where] = structure

    folder = os.path.join(CORPUS, "transcripts")
    for path in sorted(glob.glob(os.path.join(folder, "*", "**", "*.*"), recursive=True)):
        with open(path, "rb") as file:
            data = file.read()
        if path.endswith(".yml"):
            data = re.sub(rb"\n\s+(#\s+)?", b" ", data).replace(b'\\"', b'"')
        for match in re.finditer(rb"(?<!\.)BODY(?:STRUCTURE)? (?=\([\"(])", data):
            add(f"{os.path.relpath(path, folder)}:{match.start()}", balanced(data[match.end():]))
    try:
        with open(os.path.join(folder, "mailkit", "ImapUtilsTests-a.json")) as file:
            tests = json.load(file)
    except FileNotFoundError:
        raise unittest.SkipTest("no corpus here") from None
    for test in tests:
        if "Body" in test["test"]:
            add(test["test"], test["input"].strip().encode())
    return found


# --- the test -----------------------------------------------------------------------------------

class StructureCase(Case):
    timeout = 120

    def setUp(self):
        self.server = fakeimap.FakeImap(fakeimap.FULL, security="tunnel").start()
        self.addCleanup(self.server.stop)

    def files(self, path):
        """{path: size as told before anything was opened}"""
        return {os.path.join(folder, name): os.lstat(os.path.join(folder, name)).st_size
                for folder, _, names in os.walk(path) for name in names
                if not os.path.islink(os.path.join(folder, name))}

    def check(self, path, made):
        self.assertNotIn("PROBLEM.txt", os.listdir(path))
        have = []
        for file, told in self.files(path).items():
            with open(file, "rb") as opened:
                size = os.fstat(opened.fileno()).st_size
                data = opened.read()
            self.assertEqual(size, len(data), file)
            self.assertEqual(os.stat(file).st_size, len(data), file)
            self.assertEqual(told > 0, len(data) > 0, f"{file}: {told} of {len(data)}")
            text = data.removeprefix(BOM)
            have += [data, text, text.replace(b"\n", b"\r\n")]
        for data in made.contents:
            self.assertTrue(data in have, f"not in the tree: {data[:60]!r}")
        with open(os.path.join(path, "message.eml"), "rb") as eml:
            self.assertEqual(eml.read(), made.raw)

    def check_all(self, structures):
        made = {}  # uid -> (words, structure, Maker)
        for words, structure in structures.items():
            maker = Maker(structure)
            made[self.server.box("INBOX").add(maker.raw)] = (words, structure, maker)

        def on_fetch(_conn, message, items):
            return {name: made[message.uid][1] if name == b"BODYSTRUCTURE" else value
                    for name, value in items.items()}
        self.server.on_fetch = on_fetch
        source, more = self.server.source()
        mounted = self.mount(source, [*more, "timeout=5", "poll=60"])
        names = mounted.messages("INBOX")
        self.assertEqual(set(names), set(made))
        for uid, (words, _, maker) in made.items():
            with self.subTest(words):
                self.check(mounted.path("INBOX", names[uid]), maker)
        self.note(f"{len(made)} structures, {mounted.output().count('is parsed here')} not believed")


class TestStructures(StructureCase):
    def test_own(self):
        self.check_all(OWN)

    def test_of_other_servers(self):
        found = transcripts()
        self.assertGreaterEqual(len(found), 20)
        self.check_all(found)
