#!/usr/bin/env python3
"""Mail for tests and for the demo: realistic, varied, and always the same for the same number.

    mail.py sample DIR [N]     a small account as Maildirs below DIR (what scripts/demo shows)
    mail.py maildir DIR N SIZE N plain messages of about SIZE bytes, fast

In a program: message(i) gives a Mail, whose raw bytes are what IMAP serves (CRLF) and whose other
fields are what a reader must find in it.
"""
import dataclasses
import datetime
import email.header
import email.message
import email.policy
import email.utils
import hashlib
import os
import random
import re
import sys

POLICY = email.policy.SMTP.clone(max_line_length=78)
EPOCH = datetime.datetime(2026, 1, 5, 8, 0, tzinfo=datetime.timezone.utc)

PEOPLE = [
    ("Alice Doe", "alice@example.org"),
    ("Jörg Müller", "joerg@example.net"),
    ("山田 太郎", "yamada@example.jp"),
    ("Zoë O'Brien", "zoe@mail.example.com"),
    ("Анна Петрова", "anna@example.ru"),
    ("Smith, Bob", "bob.smith@example.co.uk"),
    ("", "build-bot@ci.example.com"),
]
TOPICS = [
    "Quarterly report", "Re: Lunch on Friday?", "Einladung: Grillfest am Samstag",
    "Entwürfe für das Plakat – bitte prüfen", "会議の資料について", "[patch 2/3] fix the off-by-one",
    "Отчёт за март", "Your invoice 2026-0417", "Fwd: Fotos de las vacaciones",
    "Build #1842 failed: 3 tests", "R&D budget / Q2: 40% \"approved\"", "Réunion déplacée à jeudi",
]
WORDS = """the of to and in is it you that was for on are with as they be at one have this from had
by but some what there we can out other were all your when up use how said an each she which do
their time if will way about many then would write like so these her long make thing see him two
has look more day could go come did my sound no most who over know than call first people may down
side been now find any new work part take get place made live where after back little only round
year meeting project deadline review attached update server release patch branch merge budget
customer contract proposal draft agenda minutes regards thanks please confirm delivery""".split()
UNICODE_LINES = [
    "Grüße aus Köln – bis später, schöne Woche!", "お世話になっております。資料を添付します。",
    "Спасибо за быстрый ответ, до встречи.", "À bientôt, et merci pour le café ☕",
]


@dataclasses.dataclass
class Mail:
    """A message and what is in it."""
    raw: bytes                      # CRLF, as IMAP serves it
    subject: str
    sender: str                     # display name, else address
    date: datetime.datetime
    text: str | None = None         # body.txt: UTF-8, LF
    html: str | None = None         # body.html without its BOM
    attachments: list = dataclasses.field(default_factory=list)  # (name, bytes)
    nested: "Mail | None" = None    # a message/rfc822 part
    kind: str = "plain"

    @property
    def directory(self):
        """NAME of the message's directory NAME.UID, where no character needs care."""
        return f"{self.date:%Y-%m-%d} {self.sender} - {self.subject}"


def sentences(rng, size):
    """English-looking text of about size bytes, with lines of at most 76 characters."""
    lines, line, total = [], "", 0
    while total < size:
        word = rng.choice(WORDS)
        if len(line) + len(word) > 74:
            lines.append(line)
            total += len(line) + 1
            line = ""
        line = f"{line} {word}" if line else word.capitalize()
    return "\n".join([*lines, line + "."]) + "\n"


def noise(rng, size, magic=b""):
    return magic + rng.randbytes(max(0, size - len(magic)))


class _Builder:
    """One message by its number: every choice comes from the number."""

    def __init__(self, number, subject=None, date=None):
        self.rng = random.Random(number * 7919 + 17)
        self.number = number
        name, address = PEOPLE[number % len(PEOPLE)]
        # the day of INTERNALDATE is in the name of the directory: keep away from midnight
        self.mail = Mail(b"", subject or TOPICS[number % len(TOPICS)], name or address,
                         date or EPOCH + datetime.timedelta(hours=5 * number % 10, days=number))
        self.message = message = email.message.EmailMessage(policy=POLICY)
        message["Return-Path"] = f"<{address}>"
        message["Received"] = ("from mx.example.com (mx.example.com [192.0.2.25]) "
                               f"by mail.example.org (Postfix) with ESMTPS id {number:08X} "
                               f"for <alice@example.org>; "
                               f"{email.utils.format_datetime(self.mail.date)}")
        message["From"] = email.utils.formataddr((name, address)) if name.isascii() else \
            f"{name} <{address}>"
        message["To"] = "Alice Doe <alice@example.org>"
        message["Subject"] = self.mail.subject
        message["Date"] = self.mail.date
        message["Message-ID"] = f"<{number}.{self.rng.getrandbits(64):016x}@example.org>"

    def text(self, size=1200, charset="utf-8", encoding="quoted-printable", extra=True):
        text = sentences(self.rng, size)
        if extra and charset == "utf-8":
            text += "\n" + self.rng.choice(UNICODE_LINES) + "\n"
        elif charset == "iso-8859-1":
            text += "\nÄÖÜ äöü ß – no: only Latin-1 here: é è ç ñ ½\n".replace("–", "-")
        elif charset == "koi8-r":
            text += "\nСпасибо за быстрый ответ, до встречи.\n"
        elif charset == "iso-2022-jp":
            text += "\nお世話になっております。\n"
        self.mail.text = text
        self.message.set_content(text, charset=charset, cte=encoding)

    def html(self):
        paragraphs = "".join(f"<p>{line}</p>\n" for line in self.mail.text.splitlines() if line)
        self.mail.html = ("<!DOCTYPE html>\n<html><head><style>p { margin: 1em }</style></head>\n"
                          f"<body>\n{paragraphs}</body></html>\n")
        self.message.add_alternative(self.mail.html, subtype="html", cte="quoted-printable")

    def attach(self, name, data, kind="application/octet-stream"):
        main, sub = kind.split("/")
        self.mail.attachments.append((name, data))
        self.message.add_attachment(data, maintype=main, subtype=sub, filename=name)

    def nest(self, other):
        self.mail.nested = other
        inner = email.message_from_bytes(other.raw, policy=POLICY)
        self.message.add_attachment(inner)

    def done(self, kind):
        for index, part in enumerate(p for p in self.message.walk() if p.is_multipart()):
            if part.get_content_maintype() == "multipart":
                part.set_boundary(f"=_{self.number}_{index}_{self.rng.getrandbits(48):x}")
        self.mail.kind = kind
        self.mail.raw = self.message.as_bytes()
        return self.mail


def _plain(b):
    b.text()


def _ascii(b):
    b.text(charset="us-ascii", encoding="7bit", extra=False)


def _latin1(b):
    b.text(charset="iso-8859-1")


def _cyrillic(b):
    b.text(charset="koi8-r", encoding="base64")


def _japanese(b):
    b.text(charset="iso-2022-jp", encoding="7bit")


def _base64(b):
    b.text(encoding="base64")


def _eightbit(b):
    b.text(encoding="8bit")


def _alternative(b):
    b.text()
    b.html()


def _attachment(b):
    b.text(400)
    b.attach("report.pdf", noise(b.rng, 23_456, b"%PDF-1.7\n"), "application/pdf")


def _attachments(b):
    b.text(600)
    b.html()
    b.attach("Übersicht März.xlsx", noise(b.rng, 9_001, b"PK\3\4"))
    b.attach("data.csv", b"name,value\r\n" + b"".join(b"row%d,%d\r\n" % (i, i * i)
                                                      for i in range(200)), "text/csv")
    b.attach("photo.jpg", noise(b.rng, 31_000, b"\xff\xd8\xff\xe0\0\x10JFIF"), "image/jpeg")


def _forward(b):
    b.text(300)
    b.nest(message(b.number + 1_000_000, kind="attachment"))


KINDS = {
    "plain": _plain, "alternative": _alternative, "ascii": _ascii, "attachment": _attachment,
    "latin1": _latin1, "forward": _forward, "base64": _base64, "attachments": _attachments,
    "eightbit": _eightbit, "cyrillic": _cyrillic, "japanese": _japanese,
}


def message(number, kind=None, subject=None, date=None):
    """The Mail with this number: of the given kind, or of the number's own."""
    kind = kind or list(KINDS)[number % len(KINDS)]
    builder = _Builder(number, subject, date)
    KINDS[kind](builder)
    return builder.done(kind)


def big(number, size, text_size=2000):
    """A short text and an attachment of size bytes (a video, say)."""
    builder = _Builder(number, subject="Holiday video")
    builder.text(text_size)
    block = noise(builder.rng, 1 << 16)
    builder.attach("video.mp4", (block * (size // len(block) + 1))[:size], "video/mp4")
    return builder.done("big")


def attached(number, *files):
    """A text and these files: (name, bytes)."""
    builder = _Builder(number)
    builder.text()
    for name, data in files:
        builder.attach(name, data)
    return builder.done("attached")


def quick(number, size=6000):
    """Raw bytes (LF) of a plain message of about size bytes, made in microseconds."""
    name, address = PEOPLE[number % 2 * 3]
    when = EPOCH - datetime.timedelta(minutes=37 * number)
    lead = _paragraphs()[number % 64]
    name = email.header.Header(name, "utf-8").encode() if not name.isascii() else name
    head = (f"Return-Path: <{address}>\nReceived: from mx.example.com (192.0.2.25) by "
            f"mail.example.org\n\tid {number:08X}; {email.utils.format_datetime(when)}\n"
            f"From: {name} <{address}>\nTo: Alice Doe <alice@example.org>\n"
            f"Subject: Message {number} about {WORDS[number % len(WORDS)]} and "
            f"{WORDS[number * 7 % len(WORDS)]}\n"
            f"Date: {email.utils.format_datetime(when)}\n"
            f"Message-ID: <q{number}@example.org>\nMIME-Version: 1.0\n"
            f"Content-Type: text/plain; charset=us-ascii\n\nNumber {number}.\n\n").encode()
    return head + lead[:max(1, size - len(head) - 1)] + b"\n"


def _paragraphs(made=[]):
    if not made:
        made.extend(sentences(random.Random(i), 16_000).encode() for i in range(64))
    return made


def to_lf(raw):
    return raw.replace(b"\r\n", b"\n")


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def modified_utf7(name):
    """A mailbox name as IMAP4rev1 sends it (RFC 3501 section 5.1.3)."""
    out, pending = [], ""

    def flush():
        nonlocal pending
        if pending:
            packed = pending.encode("utf-7").decode().strip("+-").replace("/", ",")
            out.append(f"&{packed}-")
            pending = ""

    for char in name:
        if " " <= char <= "~":
            flush()
            out.append("&-" if char == "&" else char)
        else:
            pending += char
    flush()
    return "".join(out)


def from_modified_utf7(name):
    return re.sub(r"&([^-]*)-", lambda match: "&" if not match.group(1) else
                  f"+{match.group(1).replace(',', '/')}-".encode().decode("utf-7"), name)


def maildir(path, messages, flags="S", start=1):
    """Writes (raw bytes, datetime or None) into the Maildir at path, oldest first."""
    for sub in ("cur", "new", "tmp"):
        os.makedirs(os.path.join(path, sub), exist_ok=True)
    for number, (raw, when) in enumerate(messages, start):
        stamp = int(when.timestamp()) if when else 1_700_000_000 + number
        name = f"{path}/cur/{stamp}.M{number:06d}.example:2,{flags}"
        with open(name, "wb") as file:
            file.write(to_lf(raw))
        os.utime(name, (stamp, stamp))


def quick_maildir(path, count, size=6000):
    maildir(path, ((quick(number, size), EPOCH - datetime.timedelta(minutes=37 * number))
                   for number in range(count, 0, -1)))


SAMPLE = {"": 14, "Projects": 6, "Projects/imapfs": 8, "Lists/fuse-devel": 6, "Sent": 4,
          "Entwürfe": 2, "Archive": 0, "Archive/2025": 3}


def sample(path, scale=1):
    """A small account: Maildirs below path (Dovecot's LAYOUT=fs), the INBOX at path itself."""
    number = 0
    for box, count in SAMPLE.items():
        mails = [message(number + i) for i in range(count * scale)]
        number += len(mails)
        maildir(os.path.join(path, modified_utf7(box)), [(m.raw, m.date) for m in mails],
                flags="S" if box != "" else "", start=number)


def main(argv):
    if len(argv) >= 3 and argv[1] == "sample":
        sample(argv[2])
    elif len(argv) == 5 and argv[1] == "maildir":
        quick_maildir(argv[2], int(argv[3]), int(argv[4]))
    else:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
