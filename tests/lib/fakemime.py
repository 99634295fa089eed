"""Sections, BODYSTRUCTURE and ENVELOPE of raw messages, for the IMAP server in fakeimap.py.

Works on the raw bytes, so that a section is exactly what a real server would serve.
"""
import email.parser
import email.policy
import email.utils
import re
import urllib.parse

HEADERS = email.parser.BytesHeaderParser(policy=email.policy.compat32)
NIL = b"NIL"


def quoted(value):
    """A string for the wire: quoted where possible, else a literal; None is NIL."""
    if value is None:
        return NIL
    data = value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogateescape")
    if re.search(rb"[\r\n\0\x80-\xff]", data) or len(data) > 500:
        return b"{%d}\r\n%s" % (len(data), data)
    return b'"' + data.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def listed(items):
    return b"(" + b" ".join(items) + b")"


class Part:
    """A MIME entity: its header and body bytes, and the parts in it."""

    def __init__(self, raw, default="text/plain"):
        end = raw.find(b"\r\n\r\n")
        if raw.startswith(b"\r\n"):
            self.header, self.body = b"\r\n", raw[2:]
        elif end < 0:
            self.header, self.body = raw, b""
        else:
            self.header, self.body = raw[:end + 4], raw[end + 4:]
        self.fields = HEADERS.parsebytes(self.header)
        self.fields.set_default_type(default)
        self.type, self.subtype = self.fields.get_content_type().split("/")
        self.children = []
        if self.type == "multipart":
            self._split()
        elif self.type == "message" and self.subtype == "rfc822":
            self.children = [Part(self.body)]

    def _split(self):
        boundary = self.fields.get_param("boundary", "", unquote=True)
        kind = "message/rfc822" if self.subtype == "digest" else "text/plain"
        line = re.compile(rb"(?:^|\r\n)--" + re.escape(str(boundary).encode()) +
                          rb"(--)?[ \t]*(?:\r\n|$)")
        start = None
        for match in line.finditer(self.body):
            if start is not None:
                self.children.append(Part(self.body[start:max(start, match.start())], kind))
            start = match.end()
            if match.group(1):
                return
        if start is not None:
            self.children.append(Part(self.body[start:], kind))
        elif not self.children:
            self.children = [Part(b"")]  # what Dovecot serves for a multipart without parts

    def part(self, numbers):
        """The part a section's numbers name, or None."""
        part, message = self, True  # message: part is one, and its only body has the number 1
        for number in numbers:
            if not message and part.type == "message" and part.children:
                part, message = part.children[0], True
            if part.type == "multipart":
                if not 1 <= number <= len(part.children):
                    return None
                part = part.children[number - 1]
            elif number != 1 or not message:
                return None
            message = False
        return part

    def section(self, text):
        """Bytes of BODY[text], or None when there is no such part (RFC 9051 section 6.4.5.1)."""
        match = re.match(r"^((?:\d+\.)*\d+)?\.?(.*)$", text)
        numbers = [int(n) for n in match.group(1).split(".")] if match.group(1) else []
        what, part = match.group(2).upper(), self.part(numbers)
        if part is None:
            return None
        if what == "MIME":
            return part.header
        if not what:
            return part.body if numbers else part.header + part.body
        if numbers:  # of the message inside
            if part.type != "message" or not part.children:
                return None
            part = part.children[0]
        if what == "TEXT":
            return part.body
        if what == "HEADER":
            return part.header
        fields = re.match(r"^HEADER\.FIELDS(\.NOT)? \((.*)\)$", what)
        return part.chosen(fields.group(2).split(), bool(fields.group(1))) if fields else None

    def chosen(self, names, inverted):
        """The header lines whose field is (or is not) among names."""
        names = {name.strip('"').lower().encode() for name in names}
        lines = re.findall(rb"[^\r\n][^\n]*\n(?:[ \t][^\n]*\n)*", self.header)
        return b"".join(line for line in lines
                        if (line.split(b":")[0].strip().lower() in names) != inverted) + b"\r\n"

    def _parameters(self, header="content-type"):
        pairs = []
        for key, value in self.fields.get_params(failobj=[], header=header)[1:]:
            if isinstance(value, tuple):  # RFC 2231, decoded by the parser: back again
                charset, language, text = value
                text = urllib.parse.quote(text, encoding="latin-1")
                key, value = f"{key}*", f"{charset or ''}'{language or ''}'{text}"
            pairs += [quoted(key), quoted(value)]
        return listed(pairs) if pairs else NIL

    def _disposition(self):
        kind = self.fields.get_content_disposition()
        if not kind:
            return NIL
        return listed([quoted(kind), self._parameters("content-disposition")])

    def bodystructure(self):
        if self.type == "multipart" and self.children:
            inner = b"".join(child.bodystructure() for child in self.children)
            return b"(%s %s %s %s NIL NIL)" % (inner, quoted(self.subtype), self._parameters(),
                                               self._disposition())
        items = [quoted(self.type), quoted(self.subtype), self._parameters(),
                 quoted(self.fields.get("content-id")), NIL,
                 quoted(self.fields.get("content-transfer-encoding", "7bit").lower()),
                 b"%d" % len(self.body)]
        if self.type == "message" and self.children:
            items += [self.children[0].envelope(), self.children[0].bodystructure()]
        if self.type in ("text", "message"):
            items.append(b"%d" % self.body.count(b"\n"))
        return listed([*items, NIL, self._disposition(), NIL, NIL])

    def _addresses(self, name):
        values = [str(value) for value in self.fields.get_all(name, [])]
        found = [listed([quoted(person or None), NIL, quoted(address.partition("@")[0]),
                         quoted(address.partition("@")[2])])
                 for person, address in email.utils.getaddresses(values) if address]
        return b"(" + b"".join(found) + b")" if found else NIL

    def _field(self, name):
        value = self.fields.get(name)
        return quoted(None if value is None else re.sub(r"\r?\n", "", str(value)))

    def envelope(self):
        sender = self._addresses("from")
        others = [self._addresses(name) if name in self.fields else sender
                  for name in ("sender", "reply-to")]
        return listed([self._field("date"), self._field("subject"), sender, *others,
                       *(self._addresses(name) for name in ("to", "cc", "bcc")),
                       self._field("in-reply-to"), self._field("message-id")])
