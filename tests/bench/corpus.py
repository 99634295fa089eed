"""Mail as real mailboxes hold it: what the benchmark reads. Always the same for the same number.

Sizes follow what is seen in the wild: texts of 1 to 20 KB (most are short), an HTML alternative in
two of three messages, several times as long as its text, attachments of 20 KB to 2 MB in about one
of six, and two to three KB of header fields. Words follow Zipf's law, so that compression and grep
find what they find in prose; attachments are noise, as compressed formats are.

The one rule: a Message says where its parts are and how long they are on the wire, so that a limit
can be worked out without asking a server.
"""
import base64
import dataclasses
import datetime
import email.utils
import math
import quopri
import random

WORD = b"marigold"   # in every 50th text and its HTML, in a line of its own, and nowhere else
EVERY = 50
SUBJECT_WORDS = 6
NEWEST = datetime.datetime(2026, 6, 1, 12, 0, tzinfo=datetime.timezone.utc)
STEP = datetime.timedelta(minutes=41)


@dataclasses.dataclass(frozen=True)
class Profile:
    """What a mailbox is made of: shares are of 1, sizes of bytes before transfer encoding."""
    text: tuple = (1_000, 3_000, 20_000)     # least, median, most
    html: float = 0.65
    attached: float = 0.18
    attachment: tuple = (20_000, 2_000_000)  # evenly spread over the orders of magnitude
    trace: bool = True                       # Received, DKIM-Signature and their like


PROFILES = {
    "mail": Profile(),
    # as "mail", with small attachments: what can be kept twice, and where files count, not bytes
    "modest": Profile(attachment=(20_000, 100_000)),
    # as "mail" without attachments, where only headers are read
    "mail-headers": Profile(attached=0),
    # for listings of very many: a header and some lines
    "short": Profile(text=(200, 400, 800), html=0, attached=0, trace=False),
}


@dataclasses.dataclass
class Message:
    raw: bytes
    date: datetime.datetime
    text: tuple        # (section, octets on the wire)
    found: int         # how many of its parts have WORD


class Prose:
    """A few megabytes of made-up prose, from which every message takes a piece."""

    SIZE = 4_000_000
    ONSETS = "b c d f g h j k l m n p r s t v w br ch cl dr fl gr pl pr sh sl st th tr".split()
    VOWELS = "a e i o u ai ea ee io oo ou".split()
    CODAS = ["", "", "", "n", "r", "s", "t", "l", "nd", "st", "ng", "ck"]
    SHORT = ("the of to and in is it you that was for on are with as at be this have from or one "
             "had by but not what all were we when your can said there use an each she do").split()

    def __init__(self):
        rng = random.Random(1733)
        words = list(self.SHORT)
        seen = set(words)
        while len(words) < 12_000:
            count = 1 + int(math.log10(len(words)) * rng.random())
            word = "".join(rng.choice(kind) for _ in range(count)
                           for kind in (self.ONSETS, self.VOWELS, self.CODAS))
            if word not in seen:
                seen.add(word)
                words.append(word)
        weights, total = [], 0.0
        for rank in range(len(words)):
            total += 1 / (rank + 2.7)
            weights.append(total)
        self.words = words
        self.lines, line, size = [], [], 0
        for word in rng.choices(words, cum_weights=weights, k=self.SIZE // 5):
            line.append(word)
            size += len(word) + 1
            if size > 66:
                self.lines.append(" ".join(line).capitalize() if rng.random() < 0.2
                                  else " ".join(line))
                line, size = [], 0
        self.average = sum(map(len, self.lines)) / len(self.lines) + 1

    def piece(self, rng, size):
        """Lines of about size bytes."""
        count = max(2, int(size / self.average))
        start = rng.randrange(len(self.lines) - count)
        return self.lines[start:start + count]


_prose = []


def prose():
    if not _prose:
        _prose.append(Prose())
    return _prose[0]


def spread(rng, least, most):
    return int(math.exp(rng.uniform(math.log(least), math.log(most))))


def encode(text, kind):
    """bytes, CRLF, in a transfer encoding."""
    data = text.encode()
    if kind == "base64":
        return base64.encodebytes(data.replace(b"\n", b"\r\n")).replace(b"\n", b"\r\n")
    if kind == "quoted-printable":
        data = quopri.encodestring(data)
    return data.replace(b"\n", b"\r\n")


class Corpus:
    """count messages of a profile, oldest first; their UIDs in a new mailbox are 1 to count."""

    def __init__(self, profile, count):
        self.profile, self.count = PROFILES[profile], count
        self.raw_octets = self.text_octets = 0
        self.found_texts = self.found = 0
        self.texts = []  # (uid, section, octets)

    def messages(self):
        """Makes them one by one, and sums up."""
        for number in range(1, self.count + 1):
            made = self._message(number)
            self.raw_octets += len(made.raw)
            self.text_octets += made.text[1]
            self.found_texts += made.found > 0
            self.found += made.found
            self.texts.append((number, *made.text))
            yield made

    def _message(self, number):
        rng = random.Random(number * 6151 + 3)
        profile = self.profile
        date = NEWEST - STEP * (self.count - number)
        least, median, most = profile.text
        size = min(most, max(least, int(rng.lognormvariate(math.log(median), 0.9))))
        lines = prose().piece(rng, size)
        found = number % EVERY == 7
        if found:
            lines = [*lines, WORD.decode()]
        accents = rng.random() < 0.3
        if accents:
            lines = [*lines, "Grüße, à bientôt – 山田さんによろしく"]
        kind = rng.choices(("7bit", "quoted-printable", "base64"), (5, 4, 1))[0]
        if accents and kind == "7bit":
            kind = "quoted-printable"
        text = self._part("text/plain; charset=utf-8", encode("\n".join(lines) + "\n", kind), kind)
        content, section = text, "1"
        page = None
        if rng.random() < profile.html:
            page = self._part("text/html; charset=utf-8",
                              encode(self._html(rng, lines), "quoted-printable"),
                              "quoted-printable")
            content = self._multipart(rng, "alternative", [text, page])
        if rng.random() < profile.attached:
            section = "1" if content is text else "1.1"
            content = self._multipart(rng, "mixed", [content, *(
                self._attachment(rng) for _ in range(rng.choices((1, 2, 3), (15, 4, 1))[0]))])
        raw = self._header(rng, number, date) + b"".join(content)
        return Message(raw, date, (section, len(text[1])), found * (2 if page else 1))

    # a part is (its header fields with the empty line, its body)

    @staticmethod
    def _part(kind, body, encoding, more=""):
        head = f"Content-Type: {kind}\r\nContent-Transfer-Encoding: {encoding}\r\n{more}\r\n"
        return head.encode(), body

    @staticmethod
    def _multipart(rng, kind, parts):
        boundary = f"=_{rng.getrandbits(80):020x}"
        head = f'Content-Type: multipart/{kind}; boundary="{boundary}"\r\n\r\n'
        pieces = []
        for part in parts:
            pieces += [f"--{boundary}\r\n".encode(), *part, b"\r\n"]
        return head.encode(), b"".join([*pieces, f"--{boundary}--\r\n".encode()])

    def _attachment(self, rng):
        kind, end = rng.choice((("application/pdf", "pdf"), ("image/jpeg", "jpg"),
                                ("image/png", "png"), ("application/zip", "zip")))
        name = f"{rng.choice(prose().words)}-{rng.randrange(1000)}.{end}"
        data = base64.encodebytes(rng.randbytes(spread(rng, *self.profile.attachment)))
        return self._part(f'{kind}; name="{name}"', data.replace(b"\n", b"\r\n"), "base64",
                          f'Content-Disposition: attachment; filename="{name}"\r\n')

    @staticmethod
    def _html(rng, lines):
        """The text in the wrapping that mail programs put round it."""
        style = ("font-family:Calibri,Arial,sans-serif;font-size:11pt;color:#1f497d;"
                 "margin:0 0 8px 0;line-height:1.4")
        rows = [f'<p class="x{rng.randrange(9)}" style="{style}">{line}</p>' if index % 3 == 0
                else f"{line}<br>" for index, line in enumerate(lines)]
        return ('<!DOCTYPE html>\n<html><head><meta charset="utf-8"><style>'
                + "".join(f".x{i} {{ padding: {i}px 0 }}\n" for i in range(9))
                + '</style></head><body>\n<table width="600" cellpadding="0"><tr><td>\n'
                + "\n".join(rows) + "\n</td></tr></table>\n</body></html>\n")

    def _header(self, rng, number, date):
        words = prose().words
        given, family = (rng.choice(words[200:]).capitalize() for _ in range(2))
        address = f"{given}.{family}@{rng.choice(words[60:400])}.example".lower()
        subject = " ".join(rng.choices(words[:3000], k=rng.randint(2, 2 * SUBJECT_WORDS - 2)))
        when = email.utils.format_datetime(date)
        ident = f"{number}.{rng.getrandbits(64):016x}@mx.example"
        fields = [f"Return-Path: <{address}>"]
        if self.profile.trace:
            fields += self._trace(rng, address, when)
        fields += [f"From: {given} {family} <{address}>", "To: Alice Doe <alice@example.org>",
                   f"Subject: {'Re: ' if rng.random() < 0.4 else ''}{subject.capitalize()}",
                   f"Date: {when}", f"Message-ID: <{ident}>", "MIME-Version: 1.0"]
        if rng.random() < 0.5:
            replied = f"<{number - 1}.{rng.getrandbits(64):016x}@mx.example>"
            fields += [f"In-Reply-To: {replied}", f"References: {replied}"]
        return ("\r\n".join(fields) + "\r\n").encode()

    @staticmethod
    def _trace(rng, address, when):
        domain = address.split("@")[1]

        def received(index):
            return (f"Received: from relay{index}.{domain} (relay{index}.{domain} "
                    f"[192.0.2.{rng.randrange(256)}])\r\n\tby mx{index}.example.org (Postfix) with "
                    f"ESMTPS id {rng.getrandbits(48):012X}\r\n\t(using TLSv1.3 with cipher "
                    f"TLS_AES_256_GCM_SHA384 (256/256 bits))\r\n\tfor <alice@example.org>; {when}")

        def signature(size):
            made = base64.b64encode(rng.randbytes(size)).decode()
            return "\r\n\t ".join(made[i:i + 70] for i in range(0, len(made), 70))

        return ["Delivered-To: alice@example.org", *(received(index) for index in range(3)),
                f"Authentication-Results: mx.example.org; dkim=pass header.d={domain};\r\n\t"
                f"spf=pass smtp.mailfrom={address}; dmarc=pass (p=reject)",
                f"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d={domain}; s=2026;\r\n\t"
                f"h=from:to:subject:date:message-id; bh={signature(32)};\r\n\tb={signature(256)}",
                f"ARC-Seal: i=1; a=rsa-sha256; d={domain}; s=arc; cv=none;\r\n\t"
                f"b={signature(256)}",
                f"X-Spam-Status: No, score={rng.uniform(-5, 1):.1f} required=5.0 "
                "tests=DKIM_SIGNED,DKIM_VALID,HTML_MESSAGE,SPF_PASS",
                f"X-Mailer: Example Mail {rng.randrange(9)}.{rng.randrange(20)}"]


def beside(size):
    """One message: a text of 2 KB and an attachment of size bytes."""
    maker = Corpus("mail", 1)
    rng = random.Random(size)
    text = maker._part("text/plain; charset=utf-8",
                       encode("\n".join(prose().piece(rng, 2_000)) + "\n", "7bit"), "7bit")
    data = base64.encodebytes(rng.randbytes(size)).replace(b"\n", b"\r\n")
    video = maker._part('video/mp4; name="video.mp4"', data, "base64",
                        'Content-Disposition: attachment; filename="video.mp4"\r\n')
    head, body = maker._multipart(rng, "mixed", [text, video])
    return Message(maker._header(rng, 1, NEWEST) + head + body, NEWEST, ("1", len(text[1])), 0)
