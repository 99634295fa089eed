"""Mail, a server on it, and the driver: what a scenario starts from, and how it is looked at.

A mailbox is written as words, a message each: KEY[=CONTENT][:LETTERS][,KEYWORD...]. LETTERS are
those of Maildir (S seen, F flagged, R answered, T deleted, D draft). Messages with the same CONTENT
are the same by Message-ID, date and size. "a b:SF c=b:S,work" are three messages, with UIDs 1, 2, 3.
What was copied, moved or appended is known by its subject: its key is its CONTENT then, and the second
of a key in the same mailbox is "a a", in whatever order.

The server is Dovecot's imap on a socket pair, without a daemon. What it keeps is read from its
files, so that nothing of the program under test is trusted for it.
"""
import contextlib
import ctypes
import multiprocessing
import multiprocessing.util
import os
import pwd
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import mail  # noqa: E402
import proc  # noqa: E402
import servers  # noqa: E402

BUILD = os.path.join(proc.ROOT, os.environ.get("IMAPFS_BUILD") or "build-test")
DRIVER = os.path.join(BUILD, "tests", "crash", "crash_driver")
IMAP = os.path.join(BUILD, "tests", "crash", "crash_imap")
UIDVALIDITY = 1_700_000_000
LETTERS = {"S": "\\Seen", "F": "\\Flagged", "R": "\\Answered", "T": "\\Deleted", "D": "\\Draft"}
PATIENCE = float(os.environ.get("IMAPFS_PATIENCE") or 1)
CHANGING = re.compile(r"^C: \S+ (?:UID )?(STORE|EXPUNGE|APPEND|COPY|MOVE|REPLACE|CREATE|DELETE|RENAME|"
                      r"SUBSCRIBE|UNSUBSCRIBE|CLOSE|SETMETADATA|SETACL)\b", re.IGNORECASE)


def become_subreaper():
    """Servers that a killed driver leaves are our children then, and their end can be awaited."""
    PR_SET_CHILD_SUBREAPER = 36
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def _begin_worker():
    become_subreaper()
    multiprocessing.util.Finalize(None, proc.end_all, exitpriority=1)


@contextlib.contextmanager
def workers(jobs):
    """A pool of processes, each of which ends what it started when it ends."""
    with multiprocessing.Pool(jobs, _begin_worker) as pool:
        yield pool
        pool.close()
        pool.join()


def fast_dir(name):
    """In memory where there is room: a process that is killed loses nothing there, either."""
    room = os.statvfs("/dev/shm") if os.access("/dev/shm", os.W_OK) else None
    if room and room.f_bavail * room.f_frsize > 256 << 20:
        path = subprocess.run(["mktemp", "-d", f"/dev/shm/imapfs-{name}-XXXXXX"], check=True,
                              capture_output=True, text=True).stdout.strip()
        if not proc.KEEP:
            proc.at_end(lambda: subprocess.run(["rm", "-rf", path], check=False))
        os.chmod(path, 0o755)
        return path
    return proc.workdir(name)


def copy_tree(source, target):
    """As cp -a does, without a process for it."""
    os.mkdir(target)
    for entry in os.scandir(source):
        here = os.path.join(target, entry.name)
        if entry.is_dir(follow_symlinks=False):
            copy_tree(entry.path, here)
        elif entry.is_symlink():
            os.symlink(os.readlink(entry.path), here)
        else:
            copy_file(entry, here)
    like(os.stat(source), target)


def copy_file(entry, target):
    source = os.open(entry.path, os.O_RDONLY)
    copy = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        while os.sendfile(copy, source, None, 1 << 24):
            pass
        like(entry.stat(), copy)
    finally:
        os.close(source)
        os.close(copy)


def like(stat, target):
    if os.getuid() == 0:
        os.chown(target, stat.st_uid, stat.st_gid)
    os.chmod(target, stat.st_mode & 0o7777)
    os.utime(target, ns=(stat.st_atime_ns, stat.st_mtime_ns))


# --- the little language ------------------------------------------------------------------------

class Message:
    def __init__(self, word):
        self.word = word
        match = re.fullmatch(r"([^=:,]+)(?:=([^:,]+))?(?::([A-Z]*))?((?:,[^,]+)*)", word)
        self.key, content, letters, keywords = match.groups()
        self.content = content or self.key
        self.letters = letters or ""
        self.keywords = [keyword for keyword in keywords.split(",") if keyword]

    @property
    def flags(self):
        return frozenset([LETTERS[letter] for letter in self.letters] + self.keywords)

    @property
    def stamp(self):
        return 1_600_000_000 + sum(ord(c) * 31 ** i for i, c in enumerate(self.content)) % 10_000_000

    def raw(self):
        number = self.stamp % 89
        identity = "" if self.content.startswith("anonymous") else \
            f"Message-ID: <{self.content}@example.org>\n"
        return (f"From: Alice Doe <alice@example.org>\nTo: bob@example.org\n"
                f"Subject: About {self.content}\n{identity}\n"
                f"This is {self.content}.\n{'x' * number}\n").encode()


def messages(words):
    return [Message(word) for word in words.split()]


def counted(pairs):
    """{key: flags} of (key, flags); the second of a key is called KEY#2, by the order of flags."""
    found = {}
    for key, flags in sorted(pairs, key=lambda pair: (pair[0], sorted(pair[1]))):
        number = 2
        name = key
        while name in found:
            name, number = f"{key}#{number}", number + 1
        found[name] = flags
    return found


def flags_of(words):
    """{key: flags} of a mailbox in the little language."""
    return counted((message.key, message.flags) for message in messages(words))


# --- Maildir ------------------------------------------------------------------------------------

def write_uidlist(path, names, uidvalidity, first=1):
    with open(os.path.join(path, "dovecot-uidlist"), "w") as out:
        out.write(f"3 V{uidvalidity} N{first + len(names)} G{uidvalidity:032x}\n")
        for uid, name in enumerate(names, first):
            out.write(f"{uid} :{name}\n")


def write_maildir(path, words, uidvalidity=UIDVALIDITY, first=1):
    for sub in ("cur", "new", "tmp"):
        os.makedirs(os.path.join(path, sub), exist_ok=True)
    wanted = messages(words)
    keywords = sorted({keyword for message in wanted for keyword in message.keywords})
    if keywords:
        with open(os.path.join(path, "dovecot-keywords"), "w") as out:
            out.writelines(f"{i} {keyword}\n" for i, keyword in enumerate(keywords))
    for message in wanted:
        letters = "".join(sorted(message.letters)) + "".join(
            chr(ord("a") + keywords.index(keyword)) for keyword in sorted(message.keywords))
        name = f"{path}/cur/{message.stamp}.{message.key}.x:2,{letters}"
        with open(name, "wb") as out:
            out.write(message.raw())
        os.utime(name, (message.stamp, message.stamp))
    write_uidlist(path, [f"{message.stamp}.{message.key}.x" for message in wanted], uidvalidity,
                  first)


subjects = {}  # name of a file that a server made: CONTENT


def key_of(path):
    """What a file of a Maildir is: its name says so, or, where a server gave that, its subject."""
    name = os.path.basename(path).partition(":2,")[0]
    if name.endswith(".x"):
        return name.split(".")[1]
    if name not in subjects:
        with open(path, "rb") as file:
            subjects[name] = content_of(file.read())
    return subjects[name]


def at_rest(read):
    """What is read again when a file was given another name meanwhile."""
    def reader(path):
        for _ in range(100):
            with contextlib.suppress(FileNotFoundError):
                return read(path)
        return read(path)
    return reader


def content_of(raw):
    """The CONTENT of a message, whose bytes must be those that it was made of."""
    raw = raw.replace(b"\r\n", b"\n")
    content = re.search(rb"^Subject: About (.*)$", raw, re.MULTILINE).group(1).decode()
    given = re.sub(rb"^Message-ID: <[^>]*@imapfs.invalid>\n", b"", raw, flags=re.MULTILINE)
    assert given == Message(content).raw(), f"not as it was: {raw}"
    return content


@at_rest
def read_maildir(path):
    """{key: flags}, counted. A keyword is in its file before it is in a name; one that is not there
    was looked for under the old name of a mailbox that was renamed meanwhile."""
    keywords, found = {}, []
    names = [(sub, name) for sub in ("cur", "new") for name in os.listdir(os.path.join(path, sub))]
    with contextlib.suppress(FileNotFoundError), \
            open(os.path.join(path, "dovecot-keywords")) as file:
        for line in file:
            number, keyword = line.split()
            keywords[chr(ord("a") + int(number))] = keyword
    for sub, name in names:
        letters = name.partition(":2,")[2]
        if missing := set(letters) - set(LETTERS) - set(keywords):
            raise FileNotFoundError(f"{path}: no keyword {missing}: {keywords}")
        flags = frozenset(LETTERS.get(letter) or keywords[letter] for letter in letters)
        found.append((key_of(os.path.join(path, sub, name)), flags))
    return counted(found)


@at_rest
def read_uidlist(path):
    """(uidvalidity, {uid: key})."""
    files = {name.partition(":2,")[0]: os.path.join(path, sub, name)
             for sub in ("cur", "new") for name in os.listdir(os.path.join(path, sub))}
    try:
        file = open(os.path.join(path, "dovecot-uidlist"))
    except FileNotFoundError:
        return None, {}  # nobody looked into it so far
    with file:
        first = file.readline()
        uids = {}
        for line in file:
            fields, _, name = line.rstrip("\n").partition(" :")
            name = name.split(":")[0]
            if name in files:
                uids[int(fields.split()[0])] = key_of(files[name])
    return int(re.search(r" V(\d+)", first).group(1)), uids


# --- a world ------------------------------------------------------------------------------------

CONFIG = """
base_dir = {dir}/run
state_dir = {dir}/run
log_path = {dir}/dovecot.log
info_log_path = /dev/null
stats_writer_socket_path =
ssl = no
mail_location = maildir:{dir}/now/mail:LAYOUT=fs
first_valid_uid = 0
mailbox_list_index = no
{more}
namespace inbox {{
  inbox = yes
  separator = /
}}
"""


meant = {}  # more of CONFIG: as an environment


class World:
    """A directory: `start` is what a scenario starts from, `now` is a copy that is worked on."""

    def __init__(self, boxes, profile=None):
        profile = profile or {}
        self.profile = profile
        self.dir = fast_dir("crash")
        self.start, self.now = (os.path.join(self.dir, name) for name in ("start", "now"))
        self.configured = None
        os.makedirs(os.path.join(self.dir, "run"))
        self.configure(profile.get("conf", ""))
        self.letters = os.path.join(self.dir, "letters")
        os.mkdir(self.letters)
        self.tunnel = self._tunnel()
        self.make(boxes)

    def configure(self, more):
        """What the server finds when the next connection is made: what a configuration means is
        known before, and it reads none (imap.c)."""
        if more == self.configured:
            return
        self.configured = more
        path = os.path.join(self.dir, "conf")
        with open(path, "w") as out:
            out.write(CONFIG.format(dir=self.dir, more=more))
        if more not in meant:
            mark = self.dir.encode()
            meant[more] = proc.run(
                "doveconf", "-f", "service=imap", "-c", path, "-m", "imap", "-m", "ssl", "-e",
                "/usr/bin/env", "-0", env={"PATH": os.environ["PATH"]}).replace(mark, b"<dir>")
        user, (uid, gid) = pwd.getpwuid(os.getuid()).pw_name, servers.mail_owner()
        if os.getuid() == 0:
            user = "nobody"
        words = [uid, gid, os.path.join(self.dir, "imap.log"), servers.DOVECOT_IMAP,
                 f"HOME={self.dir}", f"USER={user}"]
        with open(os.path.join(self.dir, "imap"), "wb") as out:
            out.write(b"".join(f"{word}\0".encode() for word in words) +
                      meant[more].replace(b"<dir>", self.dir.encode()))

    def write_letters(self, words):
        """Letters that the driver's step `append` can name."""
        for message in messages(words):
            path = os.path.join(self.letters, message.content)
            with open(path, "wb") as out:
                out.write(message.raw())
            os.utime(path, (message.stamp, message.stamp))

    def _tunnel(self):
        with open(os.path.join(self.dir, "imap.log"), "w"):
            pass
        command = f"exec {IMAP} {self.dir}/imap"
        said = self.profile.get("filter")  # what the server says goes through it
        return f"{command} | {said}" if said else command

    def give(self, path):
        if os.getuid() == 0:
            proc.run("chown", "-R", ":".join(map(str, servers.mail_owner())), path)

    def path(self, box):
        """Where a mailbox is on the server now."""
        root = os.path.join(self.now, "mail")
        return root if box == "INBOX" else os.path.join(root, mail.modified_utf7(box))

    def make(self, boxes):
        """The mail, and a store that knows all of it."""
        os.makedirs(self.now)
        for box, words in boxes.items():
            write_maildir(self.path(box), words, first=self.profile.get("first", 1))
        self.give(self.dir)
        for box, rights in self.profile.get("acl", {}).items():
            self.set_acl(box, rights)
        first = self.drive(["sync *"], leaks=False)
        assert first.code == 0 and not first.errors, f"the first sync failed:\n{first}"
        self.forget_trace()
        self.first_uids = {(box, key): uid for box in boxes
                           for uid, key in self.uids(box)[1].items()}
        os.rename(self.now, self.start)

    def reset(self):
        """`now` is `start` again."""
        self.configure(self.profile.get("conf", ""))
        if os.path.exists(self.now):
            shutil.rmtree(self.now)
        copy_tree(self.start, self.now)

    def close(self):
        if not proc.KEEP:
            proc.run("rm", "-rf", self.dir)

    def another_boot(self):
        """The machine has started anew since the store was last open."""
        for name in ("state/lock", "cache/cache.lock"):
            with open(os.path.join(self.now, name), "w") as lock:
                lock.write("1 another-boot\n")

    trace = property(lambda self: os.path.join(self.now, "trace"))

    def drive(self, steps, others=None, fault=None, more=(), leaks=True):
        """Runs the driver with a script of words separated by spaces, or of tuples of words.
        leaks: a build that looks for leaks may do so in the end; it takes its time."""
        lines = [step if isinstance(step, tuple) else tuple(step.split()) for step in steps]
        command = [*self.command(), *more, "\n".join("\t".join(line) for line in lines)]
        return Drive(command, others or {}, fault, leaks)

    def command(self):
        """The driver's, but for the script."""
        command = [DRIVER, "--state", f"{self.now}/state", "--cache", f"{self.now}/cache",
                   "--letters", self.letters, "--trace", self.trace, "--connections", str(self.profile.get("connections", 1)),
                   "--wait", str(int(10_000 * PATIENCE)), *self.server()]
        if self.profile.get("disable"):
            command += ["--disable", self.profile["disable"]]
        return command

    def server(self):
        """The driver's options that say where the server is."""
        return ["--tunnel", self.tunnel]

    # --- what others do, and see ---

    def imap(self, *commands):
        """Another client: runs commands, which must succeed, and returns all that was said."""
        lines = [f"x{i} {command}" for i, command in enumerate([*commands, "LOGOUT"])]
        done = subprocess.run(["sh", "-c", self.tunnel], input="\r\n".join(lines).encode() + b"\r\n",
                              capture_output=True, timeout=20 * PATIENCE, check=False)
        said = done.stdout.decode(errors="replace")
        for i, line in enumerate(lines):
            assert re.search(rf"^x{i} OK", said, re.MULTILINE), f"{line}: {said}"
        return said

    def uid(self, box, key):
        for uid, each in self.uids(box)[1].items():
            if each == key:
                return uid
        raise KeyError(f"{key} is not in {box}")

    def uids(self, box):
        """(uidvalidity, {uid: key}), or None: there is no such mailbox."""
        path = self.path(box)
        return read_uidlist(path) if os.path.isdir(os.path.join(path, "cur")) else None

    def on_server(self):
        """{box: {key: flags}}."""
        root, found = os.path.join(self.now, "mail"), {}
        for path, folders, _ in os.walk(root):
            if "cur" not in folders:
                continue
            folders[:] = [name for name in folders if name not in ("cur", "new", "tmp")]
            box = "INBOX" if path == root else mail.from_modified_utf7(os.path.relpath(path, root))
            found[box] = read_maildir(path)
        return found

    def renew(self, box, words=None, by=1):
        """Another UIDVALIDITY, and other UIDs: the messages there in reverse order, or words."""
        path = self.path(box)
        names = sorted((name.split(":")[0] for name in os.listdir(f"{path}/cur")), reverse=True)
        for name in os.listdir(path):
            if name.startswith("dovecot.index") or name == "dovecot-uidlist":
                os.unlink(os.path.join(path, name))
        if words is not None:
            for name in os.listdir(f"{path}/cur"):
                os.unlink(f"{path}/cur/{name}")
            write_maildir(path, words, UIDVALIDITY + by, 11)
        else:
            write_uidlist(path, names, UIDVALIDITY + by, 11)
        self.give(path)

    def set_acl(self, box, rights):
        path = os.path.join(self.path(box), "dovecot-acl")
        with open(path, "w") as out:
            out.write(rights + "\n")
        self.give(path)

    def spooled(self):
        """Files of letters that wait."""
        spool = os.path.join(self.now, "state", "spool")
        return sorted(os.listdir(spool)) if os.path.isdir(spool) else []

    def changes(self):
        """The changing commands that were sent, from the trace."""
        try:
            with open(self.trace, errors="replace") as file:
                return [line.rstrip("\n") for line in file if CHANGING.match(line)]
        except FileNotFoundError:
            return []

    def forget_trace(self):
        if os.path.exists(self.trace):
            os.unlink(self.trace)


kept = set()  # processes of ours that go on: daemons


def children():
    found = set()
    for task in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError), \
                open(f"/proc/self/task/{task}/children") as file:
            found.update(int(word) for word in file.read().split())
    return found - kept


def reap_all(seconds):
    """Waits for what a killed driver left; nothing of it may act on the next run's mail."""
    deadline = time.monotonic() + seconds
    while waiting := children():
        for pid in waiting:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        assert time.monotonic() < deadline, "a server that lost its client does not end"
        time.sleep(0.0005)


# --- a run of the driver ------------------------------------------------------------------------

class Alone:
    """A process of its own, whose leaks are looked for in the end."""

    def __init__(self, command, fault, stderr):
        env = {**os.environ, **({"IMAPFS_FAULT": fault} if fault else {})}
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         stderr=stderr, env=env)
        self.pid = self._process.pid
        self.stdin, self.stdout = self._process.stdin.fileno(), self._process.stdout.fileno()

    def wait(self, seconds):
        self._process.wait(seconds)

    def end(self):
        if self._process.poll() is None:
            self._process.kill()
        self.code = self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()


class Starter:
    """A driver that is started already, and runs many times, one after the other (serve.c)."""

    def __init__(self):
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        env = {**os.environ, "LD_BIND_NOW": "1",
               "ASAN_OPTIONS": f"{os.environ.get('ASAN_OPTIONS', '')}:detect_leaks=0"}
        self._process = subprocess.Popen([DRIVER, "--serve"], stdin=theirs, env=env)
        theirs.close()
        kept.add(self._process.pid)
        proc.at_end(self.end)

    def end(self):
        self.socket.close()
        self._process.wait(20 * PATIENCE)

    def run(self, command, fault, stderr):
        return Started(self.socket, [fault, *command[1:]], stderr)


class Started:
    """One of its runs."""

    def __init__(self, to_starter, words, stderr):
        self._socket, self.code = to_starter, None
        theirs, self.stdin = os.pipe()
        self.stdout, ours = os.pipe()
        socket.send_fds(self._socket, [b"".join(word.encode() + b"\0" for word in words)],
                        [theirs, ours, stderr])
        os.close(theirs)
        os.close(ours)
        self.pid = self._number()

    def _number(self):
        said = self._socket.recv(4)
        if len(said) != 4:
            raise AssertionError("what starts the driver has ended")
        return struct.unpack("i", said)[0]

    def wait(self, seconds):
        if self.code is not None:
            return
        if not select.select([self._socket], [], [], seconds)[0]:
            raise AssertionError("the driver has closed its output, and does not end")
        self.code = os.waitstatus_to_exitcode(self._number())

    def end(self):
        if self.code is None and not select.select([self._socket], [], [], 0)[0]:
            os.kill(self.pid, signal.SIGKILL)
        self.wait(20 * PATIENCE)
        os.close(self.stdin)
        os.close(self.stdout)


_starters = {}


def starter():
    """This process's own."""
    if os.getpid() not in _starters:
        _starters[os.getpid()] = Starter()
    return _starters[os.getpid()]


class Drive:
    """One run: what it acknowledged, and what it showed in the end."""

    def __init__(self, command, others, fault, leaks):
        self.fault, self.lines = fault, []
        self.begun = 0                       # the step that was committed when it began
        self.acknowledged = 0                # the last step that was told, done or refused
        self.good = set()                    # those that were done
        self.errors = {}                     # step: (kind, words)
        self.boxes, self.store = {}, {}      # name: uidvalidity; (name, uid): (flags, shown)
        self.words = {}                      # name: listed, noselect, local, doomed
        self.subjects, self.hidden = {}, []  # (name, uid): CONTENT; [(name, uid)]
        self.placed, self.strays = [], 0     # pending messages that are shown; all of them
        self.pending, self.failed = [], []
        self._stderr = os.memfd_create("stderr")
        self._process = (Alone if leaks else starter().run)(command, fault or "", self._stderr)
        try:
            self._read(others)
        finally:
            self._process.end()
            self.code = self._process.code
            self.log = os.pread(self._stderr, 1 << 16, 0).decode(errors="replace")
            os.close(self._stderr)
            reap_all(20 * PATIENCE)

    killed = property(lambda self: self.code == -signal.SIGKILL)

    def _read(self, others):
        fd, rest = self._process.stdout, b""
        deadline = time.monotonic() + 60 * PATIENCE
        while True:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([fd], [], [], left)[0]:
                os.kill(self._process.pid, signal.SIGABRT)
                raise AssertionError(f"the driver does not end: {self.lines[-5:]}")
            piece = os.read(fd, 1 << 16)
            if not piece:
                break
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                self._take(line.decode(), others)
        self._process.wait(20 * PATIENCE)

    def _take(self, line, others):
        self.lines.append(line)
        word, *fields = line.split("\t")
        if word == "at":
            self.begun = self.acknowledged = int(fields[0])
        elif word == "ok":
            self.acknowledged = int(fields[0])
            self.good.add(self.acknowledged)
        elif word == "error":
            self.acknowledged = int(fields[0])
            self.errors[int(fields[0])] = (fields[1], fields[2])
        elif word == "other":
            others[fields[0]]()
            try:
                os.write(self._process.stdin, b"done\n")
            except BrokenPipeError:
                pass
        elif word == "box":
            self.boxes[fields[0]] = int(fields[1])
            self.words[fields[0]] = fields[3].split()
        elif word == "msg":
            place = fields[0], int(fields[1])
            self.store[place] = (frozenset(fields[2].split()), frozenset(fields[3].split()))
            self.subjects[place] = fields[4].removeprefix("About ")
            if fields[5] == "hidden":
                self.hidden.append(place)
        elif word == "placed":
            self.placed.append(fields)
        elif word == "strays":
            self.strays = int(fields[0])
        elif word == "pending":
            self.pending.append(fields)
        elif word == "failed":
            self.failed.append(fields)
        elif word == "unreadable":
            raise AssertionError(f"the store cannot be read: {fields}")

    def __str__(self):
        return "\n".join([f"fault {self.fault}, code {self.code}", *self.lines, self.log])
