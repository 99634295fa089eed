"""Parts that may not be encoded, and are: a message or a multipart in base64 or quoted-printable.

RFC 2045 6.4 forbids it, and servers do what they like with it: Dovecot and our own parser look for
parts in the encoded lines. What is inside must be there as a file all the same.
"""
import binascii
import os
import quopri

import fakeimap
import servers
from case import Case

TEXT = b"A text with b=C3=BCcher.\r\n"  # looks encoded, but is not
INNER = (b"From: Bob <bob@example.org>\r\nSubject: Inner\r\nMIME-Version: 1.0\r\n"
         b"Content-Type: multipart/mixed; boundary=\"in=ner\"\r\n\r\n"
         b"--in=ner\r\nContent-Type: text/plain\r\n\r\n" + TEXT + b"\r\n"
         b"--in=ner\r\nContent-Type: application/octet-stream\r\n"
         b"Content-Disposition: attachment; filename=data.bin\r\n\r\n" + b"data " * 99 + b"\r\n"
         b"--in=ner--\r\n")
BODY = INNER.partition(b"\r\n\r\n")[2]
FILE = bytes(range(256)) * 9

ENCODERS = {
    b"base64": lambda data: b"".join(binascii.b2a_base64(data[at:at + 57]).replace(b"\n", b"\r\n")
                                     for at in range(0, len(data), 57)),
    b"quoted-printable": lambda data: quopri.encodestring(data.replace(b"\r\n", b"\n"))
                         .replace(b"\n", b"\r\n"),
}
TYPES = {b"message/rfc822": INNER, b"message/global": INNER,
         b'multipart/mixed; boundary="in=ner"': BODY, b"multipart/digest; boundary=x": BODY}
UU_LABELS = (b"x-uuencode", b"uuencode", b"X-UUE", b"uue")


def uuencoded(data):
    return b"begin 644 a.bin\r\n" + b"".join(
        binascii.b2a_uu(data[at:at + 45]).replace(b"\n", b"\r\n")
        for at in range(0, len(data), 45)) + b"`\r\nend\r\n"


def alone(kind, encoding, data):
    return (b"From: Alice Doe <alice@example.org>\r\nSubject: Alone\r\nMIME-Version: 1.0\r\n"
            b"Content-Type: %s\r\nContent-Transfer-Encoding: %s\r\n\r\n%s" % (kind, encoding, data))


def beside(kind, encoding, data):
    return (b"From: Alice Doe <alice@example.org>\r\nSubject: Beside\r\nMIME-Version: 1.0\r\n"
            b"Content-Type: multipart/mixed; boundary=outer\r\n\r\n"
            b"--outer\r\nContent-Type: text/plain\r\n\r\nOuter.\r\n"
            b"--outer\r\nContent-Type: %s\r\nContent-Transfer-Encoding: %s\r\n\r\n%s\r\n"
            b"--outer--\r\n" % (kind, encoding, data))


def cases():
    """{words: (raw, what must be a file)}"""
    found = {}
    for kind, data in TYPES.items():
        for encoding, encode in ENCODERS.items():
            for place in (alone, beside):
                found[f"{kind.decode()} in {encoding.decode()}, {place.__name__}"] = \
                    place(kind, encoding, encode(data)), data
    for label in UU_LABELS:
        for place in (alone, beside):
            found[f"{label.decode()}, {place.__name__}"] = \
                place(b"application/octet-stream", label, uuencoded(FILE)), FILE
            found[f"{label.decode()} that is none, {place.__name__}"] = \
                place(b"text/plain", label, TEXT), TEXT
    return found


class EncodedContract:
    timeout = 120

    def test_all_is_there(self):
        made = cases()
        source, options = self.serve([raw for raw, _ in made.values()])
        mounted = self.mount(source, [*options, "poll=60"])
        names = mounted.messages("INBOX")
        self.assertEqual(len(names), len(made))
        for uid, (words, (raw, data)) in enumerate(made.items(), 1):
            with self.subTest(words):
                self.check(mounted.path("INBOX", names[uid]), raw, data)

    def check(self, path, raw, data):
        contents = {}
        for folder, _, names in os.walk(path):
            for name in names:
                with open(os.path.join(folder, name), "rb") as file:
                    contents[os.path.relpath(os.path.join(folder, name), path)] = file.read()
        self.assertEqual(contents["message.eml"], raw)
        wanted = data, data.rstrip(b"\r\n"), data.replace(b"\r\n", b"\n")
        self.assertTrue(any(each in wanted for each in contents.values()),
                        {name: content[:50] for name, content in contents.items()})


class TestEncodedDovecot(EncodedContract, Case):
    def serve(self, raws):
        server = servers.Tunnel().start()
        self.addCleanup(server.stop)
        server.prefill("INBOX", [(raw, None) for raw in raws])
        return server.source()


class TestEncodedParsedHere(EncodedContract, Case):
    def serve(self, raws):
        server = fakeimap.FakeImap(fakeimap.FULL, security="tunnel").start()
        self.addCleanup(server.stop)
        for raw in raws:
            server.box("INBOX").add(raw)
        server.on_fetch = lambda _conn, _message, items: {
            name: b"((" if name == b"BODYSTRUCTURE" else value for name, value in items.items()}
        return server.source()
