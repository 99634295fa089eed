"""What people run on files, run on every part of a mailbox: right bytes and not a word on stderr.

Every program has a mount of its own with nothing in its cache, and is run twice: before anything was
opened, when sizes may be estimates, and after. The bytes are those that Python's open().read() gave
on another mount, which test_corpus compares with what others computed.
"""
import binascii
import contextlib
import os
import quopri
import random
import shutil
import subprocess
import sys

import mail
import mount as mounts
import proc
import servers
import test_corpus
from case import Case

NEEDLE = b"e"


def run(*command, **options):
    """Standard output; a word on standard error is a failure."""
    done = subprocess.run(command, capture_output=True, timeout=200, check=False, **options)
    if done.returncode or done.stderr:
        raise AssertionError(f"{command[0]} ({done.returncode}): "
                             f"{done.stderr.decode(errors='replace')[:2000]}")
    return done.stdout


def on_files(top, paths, *command):
    """A command's output for these files of a tree, as many at a time as a command line holds."""
    names = b"\0".join(os.fsencode(path) for path in paths)
    return run("xargs", "-0", *command, input=names, cwd=top)


def paths_of(top):
    """Regular files below top, in one order."""
    return sorted(os.path.relpath(os.path.join(folder, name), top)
                  for folder, _, names in os.walk(top) for name in names
                  if not os.path.islink(os.path.join(folder, name)))


def contents(top):
    found = {}
    for path in paths_of(top):
        with open(os.path.join(top, path), "rb") as file:
            found[path] = file.read()
    return found


# --- the programs: each takes the tree's top, what is there {path: bytes}, and an empty directory ---

def with_tar(top, want, out):
    archive, copy = os.path.join(out, "tar"), os.path.join(out, "copy")
    os.mkdir(copy)
    listed = run("bash", "-c", 'set -o pipefail; tar -C "$1" -cf - . | tee "$2" | tar -tf -', "sh",
                 top, archive)
    run("tar", "-C", copy, "-xf", archive)
    found = contents(copy)
    files = [line for line in listed.splitlines() if not line.endswith((b"/", b"message.eml"))]
    return found if len(files) == len(want) else {}


def with_rsync(top, want, out):
    copy = os.path.join(out, "copy")
    run("rsync", "-a", f"{top}/", copy)
    again = run("rsync", "-ai", "--stats", f"{top}/", copy).decode()
    for line in ("Number of regular files transferred: 0", "Total transferred file size: 0 bytes"):
        if line not in again:
            raise AssertionError(f"a second rsync: {again}")
    return contents(copy)


def with_cp(top, want, out):
    copy = os.path.join(out, "copy")
    run("cp", "-r", "--sparse=always", top, copy)
    return contents(copy)


def summed(want, output):
    """Of what was wanted, that of which this output of sha256sum -z says the same."""
    sums = {line[66:]: line[:64] for line in output.decode().split("\0")[:-1]}
    return {path: data for path, data in want.items() if sums.get(path) == mail.sha256(data)}


def with_sha256sum(top, want, out):
    return summed(want, on_files(top, want, "sha256sum", "-z", "--"))


def with_rg(top, want, out):
    """Counts lines, in maps of the files: a wrong size would be SIGBUS, or lines too few."""
    lines = run("rg", "--mmap", "-uu", "-a", "-c", "-0", "--include-zero", "--encoding", "none", "--",
                NEEDLE.decode(), ".", cwd=top).splitlines()
    counts = dict(line.rsplit(b"\0", 1) for line in lines)
    return {path: data for path, data in want.items()
            if int(counts.get(os.fsencode(f"./{path}"), -1)) ==
            sum(NEEDLE in line for line in data.split(b"\n"))}


def with_tail(top, want, out):
    tails = on_files(top, want, "tail", "-q", "-c", "100", "--")
    return want if tails == b"".join(data[-100:] for data in want.values()) else {}


def with_file(top, want, out):
    """As it says of plain files with the same bytes."""
    for path, data in want.items():
        os.makedirs(os.path.join(out, os.path.dirname(path)), exist_ok=True)
        with open(os.path.join(out, path), "wb") as file:
            file.write(data)
    said, plain = (on_files(folder, want, "file", "-0", "-E", "--").splitlines()
                   for folder in (top, out))
    return {path: data for (path, data), one, two in zip(want.items(), said, plain) if one == two}


def with_python(top, want, out):
    return contents(top)


MAPPER = """
import hashlib, mmap, os, sys
for path in sys.argv[1:]:
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        data = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) if size else b""
        print(hashlib.sha256(data).hexdigest(), "", path, end="\\0")
"""


def with_mmap(top, want, out):
    """In another process: a wrong size would be SIGBUS."""
    return summed(want, on_files(top, want, sys.executable, "-c", MAPPER))


# --- the test -----------------------------------------------------------------------------------

class BatteryContract:
    timeout = 240
    options = ()

    @classmethod
    def setUpClass(cls):
        cls.messages = cls.load()
        cls.server = servers.Tunnel().start()
        cls.addClassCleanup(cls.server.stop)
        cls.server.prefill("INBOX", [(raw, None) for raw in cls.messages])
        with contextlib.closing(cls.mounted_afresh()) as mounted:
            cls.want = contents(mounted.path("INBOX"))

    @classmethod
    def mounted_afresh(cls, home=None):
        source, options = cls.server.source()
        made = mounts.Mount(source, [*options, "poll=60", *cls.options], home)
        made.close = made.finish
        return made

    def runs(self, program):
        out = proc.workdir("battery")
        with contextlib.closing(self.mounted_afresh()) as mounted:
            for when in ("before", "after"):
                folder = os.path.join(out, when)
                os.mkdir(folder)
                found = program(mounted.path("INBOX"), self.want, folder)
                wrong = [path for path in self.want if found.get(path) != self.want[path]]
                self.assertEqual(wrong, [], f"{when} the first open")
                self.assertEqual(set(found), set(self.want))
        self.note(f"{len(self.want)} files, {sum(map(len, self.want.values()))} bytes, twice")
        shutil.rmtree(out)

    def test_tar(self):
        self.runs(with_tar)

    def test_rsync(self):
        self.runs(with_rsync)

    def test_cp_sparse(self):
        self.runs(with_cp)

    def test_sha256sum(self):
        self.runs(with_sha256sum)

    def test_rg_mmap(self):
        self.runs(with_rg)

    def test_mmap(self):
        self.runs(with_mmap)

    def test_tail(self):
        self.runs(with_tail)

    def test_file(self):
        self.runs(with_file)

    def test_python(self):
        self.runs(with_python)

    def test_rsync_after_the_cache_is_gone(self):
        """Sizes are remembered without the contents: nothing is transferred, so nothing is read."""
        copy = os.path.join(proc.workdir("battery"), "copy")
        first = self.mounted_afresh()
        run("rsync", "-a", first.path("INBOX") + "/", copy)
        first.finish()
        shutil.rmtree(os.path.join(first.home.dir, "cache"))
        with contextlib.closing(self.mounted_afresh(first.home)) as mounted:
            again = run("rsync", "-ai", mounted.path("INBOX") + "/", copy)
        self.assertEqual(again, b"")

    def test_whole_messages(self):
        """message.eml of every message, through the links."""
        with contextlib.closing(self.mounted_afresh()) as mounted:
            top = mounted.path("INBOX")
            names = mounted.messages("INBOX")
            links = {f"{names[uid]}/message.eml": self.served(raw)
                     for uid, raw in enumerate(self.messages, 1)}
            for _ in ("before", "after"):
                out = proc.workdir("battery")
                self.assertEqual(with_sha256sum(top, links, out), links)
                run("bash", "-c", 'set -o pipefail; tar -C "$1" -chf - . | tar -C "$2" -xf -', "sh",
                    top, out)
                for path, data in links.items():
                    with open(os.path.join(out, path), "rb") as file:
                        self.assertTrue(file.read() == data, path)

    @staticmethod
    def served(raw):
        return test_corpus.without_nul(test_corpus.to_crlf(raw))


class TestBatteryCorpus(BatteryContract, Case):
    @staticmethod
    def load():
        return [message.source for message in test_corpus.load()]


# Sizes around a page of memory and a line of base64, and one of many pages.
SIZES = (0, 1, 2, 56, 57, 58, 4095, 4096, 4097, 100_000)
DAMAGED = b"QUJD!!RE" * 500 + b"=\n=\nQUJDREVG\n" + b"Q"


def in_lines(data, size, encode):
    return b"".join(encode(data[at:at + size]) for at in range(0, len(data), size))


def with_parts(number, *parts):
    """A message with parts (encoding, bytes as sent)."""
    raw = (b"From: Alice Doe <alice@example.org>\nSubject: Parts %d\nMIME-Version: 1.0\n"
           b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\nText.\n" % number)
    for at, (encoding, data) in enumerate(parts):
        raw += (b"--b\nContent-Type: application/octet-stream\nContent-Disposition: attachment; "
                b"filename=\"%d.bin\"\nContent-Transfer-Encoding: %s\n\n" % (at, encoding))
        raw += data + b"\n"
    return raw + b"--b--\n"


class TestBattery(BatteryContract, Case):
    """Our own messages: every kind, every encoding, also damaged ones."""

    @staticmethod
    def load():
        rng = random.Random(3)
        datas = [rng.randbytes(size) for size in SIZES]
        encoded = [in_lines(data, 57, binascii.b2a_base64) for data in datas]
        texts = [mail.sentences(rng, size).encode() + "ü".encode() * 9 for size in SIZES]
        uu = [b"begin 644 a\n" + in_lines(data, 45, binascii.b2a_uu) + b"`\nend"
              for data in datas]
        return [mail.to_lf(mail.message(number, kind).raw)
                for number, kind in enumerate(mail.KINDS)] + [
            with_parts(1, *((b"base64", data) for data in encoded)),
            with_parts(2, *((b"quoted-printable", quopri.encodestring(data, quotetabs=True))
                            for data in datas)),
            with_parts(3, *((b"8bit", text) for text in texts)),
            with_parts(4, *((b"x-uuencode", data) for data in uu)),
            with_parts(5, (b"base64", DAMAGED), (b"quoted-printable", b"=\n=4=zz=  \n=C3=BC="),
                       (b"x-uuencode", uu[4][:40]), (b"unheard-of", b"as it is"),
                       (b"base64", encoded[-1][:50_001] + b"\n\n" + encoded[-1][50_001:])),
            mail.to_lf(mail.big(6, 3_000_000).raw),
        ]


class TestBatteryExact(TestBattery):
    """Files that are never opened: nothing but what LOOKUP and GETATTR say makes sizes right."""
    options = ("exact",)
