"""A thousand hostile names in attachments and subjects: no escape, no clash, no surprise for the
tools that walk over them."""
import base64
import errno
import os
import random
import re
import subprocess
import unicodedata
import urllib.parse

import fakeimap
import proc
from case import Case

COUNT = 1000
PER_MESSAGE = 20

# By kind: whatever a sender may call a file
BASES = [
    # traversal
    "../../../etc/passwd", "..", ".", "/", "//", "/etc/shadow", "..\\..\\windows\\win.ini", "a/../b",
    "./x", "a/b/c", "%2e%2e%2f%2e%2e%2f", "..%2f", "\u2025/\u2025/x", "\uff0e\uff0e\uff0fx",
    # hidden, options, controls
    ".bashrc", ".git", ".gitignore", "-rf", "--help", "-", "a\0b", "a\nb", "a\r\nb", "\x1b[2Jx", "\x07",
    "\x7f", "\u0085x", "tab\there", " leading", "trailing ", "trailing.", "...", "", " ", "\u00a0",
    # what cannot be seen, or turns around
    "\u202egpj.exe", "\u2066x\u2069", "\u200b", "\u200dx", "\ufeffx", "x\u2028y", "x\u00ady",
    "\U000e0041x", "e\u0301", "\u00e9", "\u1112\u1161\u11ab",
    # long
    "x" * 300, "x" * 300 + ".pdf", "\u65e5" * 200, "\U0001f600" * 100 + ".jpg", "a" + "\u0301" * 300,
    "x." + "y" * 300,
    # duplicates and case twins
    "same.pdf", "same.pdf", "SAME.PDF", "Same.Pdf", "same (2).pdf", "\u017fame.pdf", "stra\u00dfe.txt",
    "STRASSE.TXT", "\u0131.txt", "i.txt", "\u0130.txt",
    # what desktops and DOS act on
    "evil.desktop", "x.DESKTOP", "x.url", "x.lnk", "autorun.inf", "desktop.ini", "con", "CON.txt",
    "aux.h", "nul", "com1", "a:b", "a*b?c", "a|b<c>d", 'a"b', "~root", "$(id)", "`id`", ";ls", "&",
    # names of our own
    "attachments", "body.txt", "body.html", "headers.txt", "flags", "message.eml", "PROBLEM.txt",
    "part-1.message", "part-2.message", ".uid", ".imapfs", ".Trash", "INBOX",
    # a bare git repository in one directory
    "HEAD", "config", "objects", "refs", "hooks", "index", "packed-refs", "commondir", "gitdir",
    "description", "info",
]


def hostile_names():
    names, rng = list(BASES), random.Random(7)
    alphabet = "ab./\\-~ \0\n\r\t\x1b\u202e\u200b\u0301\u00e9\u65e5%:*?\"<>|'$`"
    while len(names) < COUNT:
        size = rng.choice((1, 2, 3, 5, 20, 300))
        names.append("".join(rng.choice(alphabet) for _ in range(size)))
    return names


def parameter(name, number):
    """The name as a sender may write it: RFC 2231, an encoded word, raw UTF-8, raw bytes."""
    data = name.encode()
    plain = re.sub(rb'[\r\n\0]', b"_", data).replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    return (
        b"filename*=utf-8''" + urllib.parse.quote(data, safe="").encode(),
        b'filename="=?utf-8?q?' + b"".join(b"=%02X" % byte for byte in data) + b'?="',
        b'filename="' + plain + b'"',
        b'filename="' + plain + b'\xff\xfe\x80"',
    )[number % 4]


def message(names, first):
    subject = re.sub(rb"[\r\n]", b" ", names[0].encode())
    raw = (b"From: " + subject[:80] + b" <a@example.org>\r\nSubject: " + subject + b"\r\n"
           b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=xx\r\n\r\n"
           b"--xx\r\nContent-Type: text/plain\r\n\r\nbody\r\n")
    for number, name in enumerate(names, first):
        raw += (b"--xx\r\nContent-Type: application/octet-stream\r\nContent-Disposition: attachment; "
                + parameter(name, number) + b"\r\n\r\nnumber %d" % number + b"\r\n")
    return raw + b"--xx--\r\n"


class TestHostileNames(Case):
    timeout = 180

    def setUp(self):
        self.server = fakeimap.FakeImap(fakeimap.FULL, security="tunnel").start()
        self.addCleanup(self.server.stop)
        names = hostile_names()
        for at in range(0, COUNT, PER_MESSAGE):
            self.server.box("INBOX").add(message(names[at:at + PER_MESSAGE], at))
        source, more = self.server.source()
        self.mounted = self.mount(source, [*more, "poll=60"])
        self.top = self.mounted.path("INBOX")

    def test_thousand_names(self):
        self.assertEqual(len(self.mounted.messages("INBOX")), COUNT // PER_MESSAGE)
        contents = []
        for folder, folders, files in os.walk(os.fsencode(self.top)):
            self.check_folder(folder, folders + files)
            if os.path.basename(folder) == b"attachments":
                self.assertEqual((len(folders), len(files)), (0, PER_MESSAGE))
                for file in files:
                    with open(os.path.join(folder, file), "rb") as each:
                        contents.append(each.read())
        # every part once, in a file of its own
        self.assertEqual(sorted(contents), sorted(b"number %d" % i for i in range(COUNT)))
        self.check_git()
        self.check_tools()

    def test_what_programs_act_on(self):
        """Files that a program would run or obey, as senders would have them."""
        parts = [
            ("evil.desktop", b"[Desktop Entry]\nType=Application\nName=Photo\nExec=touch evil\n"),
            ("evil.bin", b"[Desktop Entry]\nType=Link\nName=Photo\nURL=file:///etc/passwd\n"),
            ("evil.sh", b"#!/bin/sh\ntouch evil\n"), ("evil", b"\x7fELF\x02\x01\x01"),
            ("HEAD", b"ref: refs/heads/main\n"), ("objects", b""), ("refs", b""),
            ("config", b"[core]\n\trepositoryformatversion = 0\n\tbare = false\n"
                       b"\tfsmonitor = touch evil\n\tworktree = .\n"),
            (".git", b"gitdir: .\n"), ("commondir", b".\n"), ("gitdir", b".\n"),
        ]
        raw = b"From: a@example.org\r\nContent-Type: multipart/mixed; boundary=xx\r\n\r\n"
        for name, data in parts:
            raw += (b"--xx\r\nContent-Type: application/x-desktop; name=\"%s\"\r\n"
                    b"Content-Transfer-Encoding: base64\r\n\r\n%s\r\n"
                    % (name.encode(), base64.b64encode(data)))
        uid = self.server.box("INBOX").add(raw + b"--xx--\r\n")
        folder = os.path.join(self.mounted.message("INBOX", uid), "attachments")
        self.check_folder(os.fsencode(folder), os.listdir(os.fsencode(folder)))
        self.assertEqual(len(os.listdir(folder)), len(parts))
        done = subprocess.run(["git", "status"], cwd=folder, capture_output=True, timeout=20,
                              env={"PATH": os.environ["PATH"], "LC_ALL": "C",
                                   "GIT_DISCOVERY_ACROSS_FILESYSTEM": "1"}, check=False)
        self.assertIn(b"not a git repository", done.stderr)
        self.check_desktop(folder, len(parts))

    def check_desktop(self, folder, count):
        """As a file manager sees it (GIO asks and sniffs for Nautilus, Thunar and others): nothing
        is a launcher, and nothing may be executed, without which none of them trusts one."""
        listed = subprocess.run(["gio", "list", "-h", "-a",
                                 "access::can-execute,standard::content-type", folder],
                                capture_output=True, timeout=30, check=True)
        self.assertEqual(listed.stderr, b"")
        rows = listed.stdout.decode().splitlines()
        self.assertEqual(len(rows), count, rows)
        for row in rows:
            self.assertRegex(row, "access::can-execute=FALSE")
            self.assertNotRegex(row, "content-type=application/x-desktop")
        for name in os.listdir(folder):
            path = os.path.join(folder, name)
            self.assertFalse(os.access(path, os.X_OK))
            self.assert_fails((errno.EACCES,), subprocess.run, [path])

    def check_folder(self, folder, names):
        decoded = [name.decode() for name in names]  # valid UTF-8
        self.assertEqual(len({name.casefold() for name in decoded}), len(names), folder)
        for name in decoded:
            if name == ".uid":
                continue
            self.assertLessEqual(len(name.encode()), 255)
            self.assertNotRegex(name, r"^[.\- ]|[/\\]|[ .]$")
            bad = [c for c in name if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
            self.assertEqual(bad, [], ascii(name))
            self.assertNotRegex(name.lower(), r"\.(desktop|url|lnk)$")
            if os.path.basename(folder) == b"attachments":
                self.assertNotRegex(name, r"(?i)^(head|con|nul|aux|com1)$")

    def check_git(self):
        """No directory is one that git takes for a repository, and then runs what it says."""
        env = {"PATH": os.environ["PATH"], "GIT_DISCOVERY_ACROSS_FILESYSTEM": "1",
               "GIT_CEILING_DIRECTORIES": os.path.dirname(self.mounted.mountpoint)}
        for folder, _, _ in os.walk(self.top):
            done = subprocess.run(["git", "rev-parse", "--git-dir"], cwd=folder, env=env, check=False,
                                  capture_output=True, timeout=20)
            self.assertNotEqual(done.returncode, 0, folder)

    def check_tools(self):
        out = proc.workdir("names")
        listed = proc.run("find", self.top, "-type", "f", "-print0", timeout=60)
        summed = proc.run("sh", "-c", 'find "$1" -type f -print0 | xargs -0 sha256sum -z --', "sh",
                          self.top, timeout=60)
        self.assertEqual(summed.count(b"\0"), listed.count(b"\0"))
        archive = os.path.join(out, "all.tar")
        proc.run("tar", "-C", self.mounted.mountpoint, "-cf", archive, "INBOX", timeout=60)
        untarred = os.path.join(out, "untarred")
        os.mkdir(untarred)
        proc.run("tar", "-C", untarred, "-xf", archive, timeout=60)
        proc.run("diff", "-r", "--no-dereference", self.top, os.path.join(untarred, "INBOX"),
                 timeout=60)
        copy = os.path.join(out, "copy")
        proc.run("rsync", "-a", f"{self.top}/", copy, timeout=60)
        again = proc.run("rsync", "-ai", f"{self.top}/", copy, timeout=60)
        self.assertEqual(again, b"")  # nothing is transferred twice
        self.assertEqual(sorted(os.listdir(out)), ["all.tar", "copy", "untarred"])
